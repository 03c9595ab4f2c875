/* SPDX-License-Identifier: GPL-2.0 */
/* The file systems that the command sees. */
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "init.h"

/* In the initrd: where the root is put together, and what it is made of. */
#define NEW_ROOT "/lkvm/root"
#define LAYERS "/lkvm/layers"

#define MAX_PATH 4096

/* A record mount=MODE:TYPE:SOURCE:OPTIONS:PATH. */
struct mount {
	const char *mode, *type, *source, *options, *path;
	char text[MAX_PATH + 512]; /* what these point into */
};

static void parse_mount(struct init *init, const char *record,
			struct mount *mount)
{
	size_t len = strlen(record) + 1;

	if (len > sizeof(mount->text))
		init_fail(init, "a path is too long", NULL, 0, NULL);
	memcpy(mount->text, record, len);
	mount->mode = mount->text;
	mount->type = text_cut(mount->text, ':');
	mount->source = text_cut((char *)mount->type, ':');
	mount->options = text_cut((char *)mount->source, ':');
	mount->path = text_cut((char *)mount->options, ':');
}

/* ---- one mount ----------------------------------------------------------- */

/* A folder and those above it. What cannot be made is missed by the mount. */
static void make_folders(const char *path)
{
	char part[MAX_PATH + sizeof(NEW_ROOT)];
	size_t len = strlen(path);

	if (len >= sizeof(part) || !sys_access(path))
		return;
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i])
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		sys_mkdir(part, 0755);
	}
}

/* The option that a kernel without the file system @type lacks. */
static const char *option_of(const char *type)
{
	static const struct {
		const char *type, *option;
	} options[] = {
		{ "9p", "CONFIG_9P_FS and CONFIG_NET_9P_VIRTIO, or module 9p" },
		{ "overlay", "CONFIG_OVERLAY_FS, or module overlay" },
		{ "erofs", "CONFIG_EROFS_FS, or module erofs" },
		{ "squashfs", "CONFIG_SQUASHFS, or module squashfs" },
		{ "ext4", "CONFIG_EXT4_FS, or module ext4" },
		{ "xfs", "CONFIG_XFS_FS, or module xfs" },
		{ "btrfs", "CONFIG_BTRFS_FS, or module btrfs" },
		{ "tmpfs", "CONFIG_TMPFS" },
		{ "devtmpfs", "CONFIG_DEVTMPFS" },
		{ "devpts", "CONFIG_UNIX98_PTYS" },
		{ "sysfs", "CONFIG_SYSFS" },
		{ "proc", "CONFIG_PROC_FS" },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (text_is(options[i].type, type))
			return options[i].option;
	return "its driver";
}

static void mount_or_fail(struct init *init, const char *source,
			  const char *target, const char *type,
			  unsigned long flags, const char *options)
{
	int err = sys_mount(source, target, type, flags, options);

	if (!err)
		return;
	if (err == -ENODEV)
		init_fail(init, "this kernel has no file system", type, 0,
			  option_of(type));
	init_fail(init, "cannot mount", target, err,
		  text_is(type, "9p") ? "CONFIG_NET_9P_VIRTIO?" : NULL);
}

/* The disk with the serial number @serial: /dev/vda to /dev/vdz. */
static void find_disk(struct init *init, const char *serial, char device[12])
{
	char path[] = "/sys/block/vda/serial";
	char *letter = path + sizeof("/sys/block/vd") - 1;

	for (; *letter <= 'z'; ++*letter) {
		char found[24] = "";
		int fd = sys_open(path, O_RDONLY, 0);

		if (fd < 0)
			continue;
		sys_read(fd, found, sizeof(found) - 1);
		sys_close(fd);
		text_cut(found, '\n');
		if (!text_is(found, serial))
			continue;
		memcpy(device, "/dev/vd", 7);
		device[7] = *letter;
		device[8] = '\0';
		return;
	}
	init_fail(init, "this kernel does not find the root's disk", NULL, 0,
		  "CONFIG_VIRTIO_BLK, or module virtio_blk");
}

static void mount_source(struct init *init, const struct mount *mount,
			 const char *target)
{
	unsigned long flags = text_is(mount->mode, "rw") ? 0 : MS_RDONLY;
	char device[12];

	if (text_is(mount->type, "9p")) {
		mount_or_fail(init, mount->source, target, "9p", flags,
			      mount->options);
		return;
	}
	find_disk(init, mount->source, device);
	mount_or_fail(init, device, target, mount->type, flags, mount->options);
}

/* The root; what is written to it is kept in RAM. */
static void mount_overlay(struct init *init, const struct mount *mount)
{
	make_folders(LAYERS "/lower");
	make_folders(LAYERS "/upper");
	mount_source(init, mount, LAYERS "/lower");
	mount_or_fail(init, "tmpfs", LAYERS "/upper", "tmpfs", 0, "mode=755");
	sys_mkdir(LAYERS "/upper/data", 0755);
	sys_mkdir(LAYERS "/upper/work", 0755);
	mount_or_fail(init, "overlay", NEW_ROOT, "overlay", 0,
		      "lowerdir=" LAYERS "/lower,upperdir=" LAYERS
		      "/upper/data,workdir=" LAYERS "/upper/work");
}

/* ---- all of them --------------------------------------------------------- */

void mount_kernel(struct init *init)
{
	static const struct {
		const char *target, *type;
	} mounts[] = {
		{ "/proc", "proc" },
		{ "/sys", "sysfs" },
		{ "/dev", "devtmpfs" },
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		int err;

		sys_mkdir(mounts[i].target, 0755);
		err = sys_mount(mounts[i].type, mounts[i].target,
				mounts[i].type, 0, NULL);
		/* CONFIG_DEVTMPFS_MOUNT is for other roots than the initrd. */
		if (err && err != -EBUSY)
			init_fail(init, "this kernel has no file system",
				  mounts[i].type, 0, option_of(mounts[i].type));
	}
}

/* What programs expect below /dev, and folders for what is running. */
static void mount_usual(struct init *init)
{
	static const char *const links[][2] = {
		{ "/proc/self/fd", "/dev/fd" },
		{ "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" },
		{ "/proc/self/fd/2", "/dev/stderr" },
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		sys(__NR_symlink, links[i][0], links[i][1], 0, 0, 0);
	sys_mkdir("/dev/pts", 0755);
	sys_mkdir("/dev/shm", 01777);
	sys_mkdir("/run", 0755);
	sys_mkdir("/tmp", 01777);
	sys_mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV,
		  "mode=1777");
	sys_mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	if (init->tty)
		mount_or_fail(init, "devpts", "/dev/pts", "devpts", 0,
			      "ptmxmode=666,mode=620,gid=5");
	else
		sys_mount("devpts", "/dev/pts", "devpts", 0,
			  "ptmxmode=666,mode=620,gid=5");
}

static void enter_root(struct init *init)
{
	static const char *const moved[] = { "/proc", "/sys", "/dev" };
	int err;

	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
		struct text target = { 0 };

		text_add(&target, NEW_ROOT);
		text_add(&target, moved[i]);
		sys_mkdir(target.data, 0755);
		err = sys_mount(moved[i], target.data, NULL, MS_MOVE, NULL);
		if (err)
			init_fail(init, "the root needs a folder", moved[i],
				  err, NULL);
	}
	sys(__NR_chdir, NEW_ROOT, 0, 0, 0, 0);
	err = sys_mount(".", "/", NULL, MS_MOVE, NULL);
	if (!err)
		err = (int)sys(__NR_chroot, ".", 0, 0, 0, 0);
	if (err)
		init_fail(init, "cannot enter the root", NULL, err, NULL);
	sys(__NR_chdir, "/", 0, 0, 0, 0);
}

void mount_root(struct init *init)
{
	const char *record = config_find(init, "mount=", NULL);
	struct mount mount;

	if (record)
		parse_mount(init, record, &mount);
	if (record && text_is(mount.path, "/")) {
		make_folders(NEW_ROOT);
		if (text_is(mount.mode, "tmp"))
			mount_overlay(init, &mount);
		else
			mount_source(init, &mount, NEW_ROOT);
		enter_root(init);
		record = config_find(init, "mount=", record);
	}
	mount_usual(init);
	/* Last, for they may be below /run or /dev/shm. */
	for (; record; record = config_find(init, "mount=", record)) {
		parse_mount(init, record, &mount);
		make_folders(mount.path);
		mount_source(init, &mount, mount.path);
	}
}

/* Disks are left as if they had been unmounted, shares need no more. */
void mounts_finish(struct init *init)
{
	const char *record = NULL;
	struct mount mount;

	sys(__NR_sync, 0, 0, 0, 0, 0);
	while ((record = config_find(init, "mount=rw:", record))) {
		/* config_find() left "mount=rw:" out. */
		if (text_after(record, "9p:"))
			continue;
		parse_mount(init, record - sizeof("rw:") + 1, &mount);
		sys_mount(NULL, mount.path, NULL, MS_REMOUNT | MS_RDONLY, NULL);
	}
}
