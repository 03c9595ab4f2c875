/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the options --root, --ro and --rw become: devices, modules and lines for
 * init in the guest; what is refused; and images of folders.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/rootfs.h>
#include <lkvm/util.h>

#define ALL                                                            \
	"fs/9p.ko\nnet/9pnet_virtio.ko\nfs/erofs.ko\nfs/squashfs.ko\n" \
	"fs/ext4.ko\nfs/overlay.ko\n"

struct fixture {
	char dir[PATH_MAX];
	struct modules *modules;
	struct rootfs_options options;
	struct rootfs rootfs;
	int stderr_fd, message_fd;
	char message[1024];
};

/* A kernel that has @built_in in it. */
static void set_kernel(struct fixture *f, const char *built_in)
{
	int fd;

	modules_close(f->modules);
	fd = open("modules.builtin", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		  0644);
	assert_int_equal(write_full(fd, built_in, strlen(built_in)), 0);
	close(fd);
	close(open("bzImage", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	assert_int_equal(modules_open("bzImage", "6.1", NULL, &f->modules), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[] = "/tmp/lkvm-test-XXXXXX";

	assert_non_null(mkdtemp(path));
	assert_non_null(realpath(path, f->dir));
	assert_int_equal(chdir(f->dir), 0);
	setenv("XDG_CACHE_HOME", f->dir, 1);
	log_set_level(LOG_LEVEL_WARNING);
	set_kernel(f, ALL);
	f->stderr_fd = dup(STDERR_FILENO);
	f->message_fd = unnamed_file(f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *command;

	rootfs_release(&f->rootfs);
	modules_close(f->modules);
	close(f->stderr_fd);
	close(f->message_fd);
	assert_int_equal(chdir("/"), 0);
	assert_true(asprintf(&command, "rm -rf %s", f->dir) > 0);
	assert_int_equal(system(command), 0);
	free(command);
	free(f);
	return 0;
}

static int create(struct fixture *f)
{
	ssize_t len;
	int ret;

	rootfs_release(&f->rootfs);
	assert_int_equal(ftruncate(f->message_fd, 0), 0);
	lseek(f->message_fd, 0, SEEK_SET);
	dup2(f->message_fd, STDERR_FILENO);
	ret = rootfs_create(&f->options, "KERNEL", f->modules, &f->rootfs);
	dup2(f->stderr_fd, STDERR_FILENO);
	len = pread(f->message_fd, f->message, sizeof(f->message) - 1, 0);
	f->message[MAX(len, 0)] = '\0';
	return ret;
}

/* It is refused in one line with @text in it, and leaves nothing. */
static void assert_refused(struct fixture *f, int err, const char *text)
{
	const char *newline;

	assert_int_equal(create(f), err);
	newline = strchr(f->message, '\n');
	assert_non_null(newline);
	assert_int_equal(newline[1], '\0');
	if (!strstr(f->message, text))
		fail_msg("\"%s\" is not in: %s", text, f->message);
	assert_int_equal(f->rootfs.nr_parts, 0);
	assert_null(f->rootfs.config);
}

/* The records, joined by blanks, and the modules. */
static void assert_made(struct fixture *f, const char *records,
			const char *modules)
{
	char text[2048], names[256] = "";
	size_t len;

	assert_int_equal(create(f), 0);
	len = f->rootfs.config_bytes;
	assert_true(len > 0 && len <= sizeof(text));
	memcpy(text, f->rootfs.config, len);
	for (size_t i = 0; i + 1 < len; i++)
		if (!text[i])
			text[i] = ' ';
	assert_string_equal(text, records);
	for (unsigned int i = 0; i < f->rootfs.nr_modules; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names),
			 "%s%s", i ? " " : "", f->rootfs.modules[i]);
	assert_string_equal(names, modules);
}

static const struct virtio_9p_options *share(struct fixture *f, unsigned int i)
{
	assert_ptr_equal(f->rootfs.devices[i].type, &virtio_9p_type);
	return f->rootfs.devices[i].config;
}

static const struct virtio_blk_options *disk(struct fixture *f, unsigned int i)
{
	assert_ptr_equal(f->rootfs.devices[i].type, &virtio_blk_type);
	return f->rootfs.devices[i].config;
}

#define OPTIONS "trans=virtio,version=9p2000.L,msize=512000,cache="

/* ---- by 9P --------------------------------------------------------------- */

static void the_hosts_root_is_read_only_below_an_overlay(void **state)
{
	struct fixture *f = *state;

	assert_made(f, "mount=tmp:9p:lkvm.0:" OPTIONS "loose:/",
		    "9pnet_virtio 9p overlay");
	assert_string_equal(share(f, 0)->path, "/");
	assert_string_equal(share(f, 0)->tag, "lkvm.0");
	assert_true(share(f, 0)->read_only);
}

static void folders_come_at_the_same_path(void **state)
{
	struct fixture *f = *state;
	char *records;

	mkdir("a", 0755);
	mkdir("b:c", 0755);
	assert_int_equal(symlink("b:c", "link"), 0);
	f->options.shares[0].path = "a";
	f->options.shares[1].path = "link";
	f->options.shares[1].writable = true;
	f->options.nr_shares = 2;
	assert_true(asprintf(&records,
			     "mount=tmp:9p:lkvm.0:" OPTIONS "loose:/ "
			     "mount=ro:9p:lkvm.1:" OPTIONS "loose:%s/a "
			     "mount=rw:9p:lkvm.2:" OPTIONS "mmap:%s/b:c",
			     f->dir, f->dir) > 0);
	assert_made(f, records, "9pnet_virtio 9p overlay");
	free(records);
	assert_true(share(f, 1)->read_only);
	assert_false(share(f, 2)->read_only);
}

static void a_folder_can_be_the_root(void **state)
{
	struct fixture *f = *state;

	f->options.root.path = ".";
	assert_made(f, "mount=tmp:9p:lkvm.0:" OPTIONS "loose:/",
		    "9pnet_virtio 9p overlay");
	assert_string_equal(share(f, 0)->path, f->dir);
	assert_true(share(f, 0)->read_only);
	f->options.root.writable = true;
	assert_made(f, "mount=rw:9p:lkvm.0:" OPTIONS "mmap:/",
		    "9pnet_virtio 9p");
	assert_false(share(f, 0)->read_only);
}

static void the_initrd_can_be_the_root(void **state)
{
	struct fixture *f = *state;

	f->options.initrd = true;
	assert_int_equal(create(f), 0);
	assert_int_equal(f->rootfs.nr_parts, 0);
	assert_int_equal(f->rootfs.config_bytes, 0);
}

static void the_hosts_root_is_never_writable(void **state)
{
	struct fixture *f = *state;

	f->options.root.path = "/";
	f->options.root.writable = true;
	assert_refused(f, -EPERM, "--root /: the host's own root is never");
	f->options.root = (struct rootfs_root) { 0 };
	f->options.nr_shares = 1;
	f->options.shares[0].writable = true;
	f->options.shares[0].path = "/";
	assert_refused(f, -EPERM, "--rw /: the host's own root is never");
	f->options.shares[0].path = "/usr/..";
	assert_refused(f, -EPERM, "--rw /usr/..: the host's own root");
	assert_int_equal(symlink("/", "slash"), 0);
	f->options.shares[0].path = "slash";
	assert_refused(f, -EPERM, "--rw slash: the host's own root");
	mkdir("bound", 0755);
	if (mount("/", "bound", NULL, MS_BIND, NULL))
		return;
	f->options.shares[0].path = "bound";
	assert_refused(f, -EPERM, "--rw bound: the host's own root");
	assert_int_equal(umount2("bound", MNT_DETACH), 0);
}

static void what_is_no_folder_is_refused(void **state)
{
	struct fixture *f = *state;

	f->options.root.path = "nosuch";
	assert_refused(f, -ENOENT, "--root nosuch: No such file or directory");
	f->options.root.path = ".";
	f->options.root.type = "ext4";
	assert_refused(f, -EINVAL, "--root .: \",type=\" is for images");
	f->options.root = (struct rootfs_root) { 0 };
	f->options.nr_shares = 1;
	f->options.shares[0].path = "nosuch";
	assert_refused(f, -ENOENT, "--ro nosuch: No such file or directory");
	f->options.shares[0].path = "bzImage";
	assert_refused(f, -ENOTDIR, "--ro bzImage: Not a directory");
}

/* ---- images that somebody made ------------------------------------------- */

static void put_image(const char *path, size_t at, const char *magic)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_int_equal(ftruncate(fd, 128 * KIB), 0);
	assert_int_equal(pwrite(fd, magic, strlen(magic), (off_t)at),
			 strlen(magic));
	close(fd);
}

static void disk_images_lose_what_is_written(void **state)
{
	struct fixture *f = *state;

	put_image("image", 1080, "\x53\xef");
	f->options.root.path = "image";
	assert_made(f, "mount=rw:ext4:lkvm.0::/", "virtio_blk ext4");
	assert_string_equal(disk(f, 0)->path, "image");
	assert_string_equal(disk(f, 0)->serial, "lkvm.0");
	assert_true(disk(f, 0)->snapshot);
	f->options.root.writable = true;
	assert_made(f, "mount=rw:ext4:lkvm.0::/", "virtio_blk ext4");
	assert_false(disk(f, 0)->snapshot);
	assert_false(disk(f, 0)->read_only);
}

static void read_only_images_get_an_overlay(void **state)
{
	struct fixture *f = *state;

	f->options.root.path = "image";
	put_image("image", 0, "hsqs");
	assert_made(f, "mount=tmp:squashfs:lkvm.0::/",
		    "virtio_blk squashfs overlay");
	assert_true(disk(f, 0)->read_only);
	put_image("image", 1024, "\xe2\xe1\xf5\xe0");
	assert_made(f, "mount=tmp:erofs:lkvm.0::/", "virtio_blk erofs overlay");
	f->options.root.writable = true;
	assert_refused(f, -EINVAL,
		       "erofs can only be read (leave out \",rw\")");
}

static void images_that_nobody_knows_are_refused(void **state)
{
	struct fixture *f = *state;

	f->options.root.path = "image";
	put_image("image", 0, "MZ");
	assert_refused(f, -EINVAL, "image: no file system that is known");
	f->options.root.type = "ext4";
	assert_made(f, "mount=rw:ext4:lkvm.0::/", "virtio_blk ext4");
	f->options.root.type = "xfs";
	assert_refused(f, -EINVAL, "kernel KERNEL does not have xfs");
}

/* ---- images of our own --------------------------------------------------- */

static void without_9p_nothing_is_shared_to_write(void **state)
{
	struct fixture *f = *state;

	set_kernel(f, "fs/erofs.ko\nfs/9p.ko\n");
	mkdir("a", 0755);
	f->options.initrd = true;
	f->options.nr_shares = 1;
	f->options.shares[0].writable = true;
	f->options.shares[0].path = "a";
	assert_refused(f, -ENOTSUP, "--rw a: kernel KERNEL does not have 9P");
	set_kernel(f, "fs/9p.ko\n");
	f->options.shares[0].writable = false;
	assert_refused(f, -ENOTSUP,
		       "has neither 9P (CONFIG_NET_9P_VIRTIO, "
		       "CONFIG_9P_FS) nor erofs nor squashfs");
}

static void assert_image(struct fixture *f, const char *kernel,
			 const char *record)
{
	char command[256];

	set_kernel(f, kernel);
	assert_made(f, record,
		    strstr(kernel, "erofs") ? "virtio_blk erofs overlay" :
					      "virtio_blk squashfs overlay");
	assert_non_null(strstr(f->message, "the kernel has no 9P: making "));
	assert_true(disk(f, 0)->read_only);
	assert_string_equal(f->rootfs.parts[0].path, disk(f, 0)->path);
	snprintf(command, sizeof(command), "grep -aq needle /proc/%d/fd/%d",
		 getpid(), f->rootfs.parts[0].image_fd);
	assert_int_equal(system(command), 0);
	/* From the cache now, as long as nothing changes. */
	assert_int_equal(create(f), 0);
	assert_string_equal(f->message, "");
	assert_int_equal(system("echo x >>a/file"), 0);
	assert_int_equal(create(f), 0);
	assert_non_null(strstr(f->message, "making an"));
	/* Size and time of its data are as they were. */
	assert_int_equal(system("cp -p a/file old && printf z | "
				"dd of=a/file conv=notrunc status=none && "
				"touch -r old a/file"),
			 0);
	assert_int_equal(create(f), 0);
	assert_non_null(strstr(f->message, "making an"));
}

static void folders_come_in_images_without_9p(void **state)
{
	struct fixture *f = *state;

	mkdir("a", 0755);
	assert_int_equal(system("yes needle | head -n 9999 >a/file"), 0);
	f->options.root.path = "a";
	if (rootfs_image_possible("erofs"))
		assert_image(f, "fs/erofs.ko\nfs/overlay.ko\n",
			     "mount=tmp:erofs:lkvm.0::/");
	if (rootfs_image_possible("squashfs"))
		assert_image(f, "fs/squashfs.ko\nfs/overlay.ko\n",
			     "mount=tmp:squashfs:lkvm.0::/");
	assert_int_equal(system("test -z \"$(ls -A lkvm/.new* 2>/dev/null)\""),
			 0);
}

static void too_large_folders_are_refused(void **state)
{
	struct fixture *f = *state;
	int fd;

	mkdir("a", 0755);
	f->options.root.path = "a";
	set_kernel(f, "fs/erofs.ko\nfs/overlay.ko\n");
	fd = open("a/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(ftruncate(fd, (off_t)ROOTFS_IMAGE_MAX + 1), 0);
	close(fd);
	assert_refused(f, -EFBIG, "cannot make an image of ");
	assert_non_null(strstr(f->message, "more than 4G"));
}

static void mounts_are_left_out_of_images(void **state)
{
	struct fixture *f = *state;

	if (!rootfs_image_possible("erofs"))
		skip();
	assert_int_equal(system("mkdir -p a/b/mounted"), 0);
	if (mount("tmpfs", "a/b/mounted", "tmpfs", 0, NULL))
		skip();
	assert_int_equal(system("echo secretsecret >a/b/mounted/file; "
				"echo public >a/b/file"),
			 0);
	set_kernel(f, "fs/erofs.ko\nfs/overlay.ko\n");
	f->options.root.path = "a";
	assert_int_equal(create(f), 0);
	assert_int_equal(umount("a/b/mounted"), 0);
	assert_non_null(strstr(f->message, "without 1 other file systems"));
	assert_int_equal(system("grep -q public lkvm/root-*"), 0);
	assert_int_not_equal(system("grep -q secretsecret lkvm/root-*"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_hosts_root_is_read_only_below_an_overlay),
		TEST(folders_come_at_the_same_path),
		TEST(a_folder_can_be_the_root),
		TEST(the_initrd_can_be_the_root),
		TEST(the_hosts_root_is_never_writable),
		TEST(what_is_no_folder_is_refused),
		TEST(disk_images_lose_what_is_written),
		TEST(read_only_images_get_an_overlay),
		TEST(images_that_nobody_knows_are_refused),
		TEST(without_9p_nothing_is_shared_to_write),
		TEST(folders_come_in_images_without_9p),
		TEST(too_large_folders_are_refused),
		TEST(mounts_are_left_out_of_images),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
