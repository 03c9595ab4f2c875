/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The share of a 9P server: the only place that opens its files. See 9p.h.
 *
 * Confinement: the guest names one element of a path at a time, never "..",
 * and each is looked up by openat2() beneath a folder that was reached in the
 * same way. Symbolic links are never followed: the guest's kernel reads them
 * and walks on by itself. Only regular files and folders are opened; what a
 * descriptor refers to is known (by O_PATH) before it is opened.
 *
 * File systems that are mounted beneath the share's folder belong to it, except
 * for the insides of the kernel's own (proc, sysfs and the like), whose files
 * only look regular: reading one may wait for ever, or take something away.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

#define CONFINED (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)

struct p9_fd_path p9_fd_path(int fd)
{
	struct p9_fd_path path;

	snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
	return path;
}

/* ---- descriptors --------------------------------------------------------- */

/*
 * The kernel gives the lowest number that is free: one as high as this tells
 * that nearly all are in use.
 */
static int within_limit(const struct p9_share *share, int fd)
{
	if (fd < share->max_fd)
		return fd;
	close(fd);
	return -EMFILE;
}

static int confined_open(const struct p9_share *share, int dir,
			 const char *path, int flags)
{
	const struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = CONFINED,
	};
	long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));

	return fd < 0 ? -errno : within_limit(share, (int)fd);
}

int p9_fs_lookup(const struct p9_share *share, int dir, const char *name)
{
	return confined_open(share, dir, name, O_PATH | O_NOFOLLOW);
}

int p9_fs_dup(const struct p9_share *share, int fd)
{
	int flags = fcntl(fd, F_GETFL);
	int copy;

	/* A copy of one that is open would share its position. */
	if (flags & O_PATH)
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	else
		copy = open(p9_fd_path(fd).text, O_PATH | O_CLOEXEC);
	return copy < 0 ? -errno : within_limit(share, copy);
}

/* ---- opening and creating ------------------------------------------------ */

static bool is_kernels_own(int fd)
{
	static const uint32_t types[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC,	      DEBUGFS_MAGIC,
		TRACEFS_MAGIC,	  CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		SECURITYFS_MAGIC, BPF_FS_MAGIC,	      PSTOREFS_MAGIC,
		EFIVARFS_MAGIC,	  SELINUX_MAGIC,      BINFMTFS_MAGIC,
	};
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((uint32_t)fs.f_type == types[i])
			return true;
	return false;
}

int p9_fs_open(const struct p9_share *share, int fd, int flags)
{
	struct stat st;
	int opened;

	if (share->read_only &&
	    ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC))
		return -EROFS;
	/* Opening a device or a FIFO has effects, so look before. */
	if (fstat(fd, &st))
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return -ENXIO;
	if (st.st_dev != share->dev && is_kernels_own(fd))
		return -EACCES;
	/* By the descriptor: whatever became of the name meanwhile. */
	opened = open(p9_fd_path(fd).text,
		      (flags & ~(O_CREAT | O_EXCL)) | O_CLOEXEC | O_NOCTTY);
	return opened < 0 ? -errno : within_limit(share, opened);
}

static int open_existing(const struct p9_share *share, int dir,
			 const char *name, int flags)
{
	int path = p9_fs_lookup(share, dir, name);
	int fd;

	if (path < 0)
		return path;
	fd = p9_fs_open(share, path, flags);
	close(path);
	return fd;
}

int p9_fs_create(const struct p9_share *share, int dir, const char *name,
		 int flags, mode_t mode, bool *created)
{
	/* O_EXCL also where the guest has none: then it is a new file. */
	int fd = openat(dir, name,
			flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			mode);
	int err;

	if (fd >= 0) {
		fd = within_limit(share, fd);
		if (fd < 0)
			unlinkat(dir, name, 0);
		else
			*created = true;
		return fd;
	}
	err = -errno;
	if (err != -EEXIST || flags & O_EXCL)
		return err;
	fd = open_existing(share, dir, name, flags);
	if (fd >= 0)
		*created = false;
	return fd;
}

/* ---- back to a name ------------------------------------------------------ */

/* The path of @fd as the kernel knows it now; @path has PATH_MAX bytes. */
static int name_of(int fd, char *path)
{
	ssize_t len = readlink(p9_fd_path(fd).text, path, PATH_MAX);

	if (len < 0)
		return -errno;
	if (len == PATH_MAX)
		return -ENAMETOOLONG;
	path[len] = '\0';
	return 0;
}

static bool same_file(int fd, int dir, const char *name)
{
	struct stat a, b;

	return !fstat(fd, &a) && !fstatat(dir, name, &b, AT_SYMLINK_NOFOLLOW) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int p9_fs_parent(const struct p9_share *share, int fd, struct p9_name *name)
{
	char path[PATH_MAX], root[PATH_MAX];
	char *last;
	size_t len;
	int dir;
	int err = name_of(fd, path);

	if (!err)
		err = name_of(share->root, root);
	if (err)
		return err;
	len = strcmp(root, "/") != 0 ? strlen(root) : 0;
	if (strncmp(path, root, len) != 0 || path[len] != '/')
		return strcmp(path, root) != 0 ? -ENOENT : -EBUSY;
	last = strrchr(path + len, '/');
	if (strlen(last + 1) >= sizeof(name->text))
		return -ENAMETOOLONG;
	/* A hint, and no more: what it leads to is confined and compared. */
	*last = '\0';
	dir = confined_open(share, share->root,
			    last == path + len ? "." : path + len + 1,
			    O_PATH | O_DIRECTORY);
	if (dir < 0)
		return dir;
	if (!same_file(fd, dir, last + 1)) {
		close(dir);
		return -ENOENT;
	}
	memcpy(name->text, last + 1, strlen(last + 1) + 1);
	return dir;
}

/* ---- life ---------------------------------------------------------------- */

/*
 * A guest's handle is a descriptor here: as many as this process may have.
 * The hard limit is root's to raise; failing that is no error.
 */
static int raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return INT_MAX;
	if (limit.rlim_cur < 2 * P9_MAX_FIDS) {
		struct rlimit wanted = {
			.rlim_cur = 2 * P9_MAX_FIDS,
			.rlim_max = MAX(limit.rlim_max, 2 * P9_MAX_FIDS),
		};

		if (!setrlimit(RLIMIT_NOFILE, &wanted))
			return 2 * P9_MAX_FIDS;
		limit.rlim_cur = MIN(limit.rlim_max, 2 * P9_MAX_FIDS);
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	return (int)MIN(limit.rlim_cur, INT_MAX);
}

/* Can it be listed, and does it hold attributes if they are needed? */
static int probe(int root, bool mapped)
{
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (mapped && fgetxattr(fd, "user.virtfs.mode", NULL, 0) < 0 &&
	    errno == EOPNOTSUPP)
		err = -EOPNOTSUPP;
	close(fd);
	return err;
}

int p9_share_open(struct p9_share *share, const char *path, bool read_only,
		  bool mapped)
{
	int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int limit, err;

	if (root < 0)
		return -errno;
	err = probe(root, mapped);
	if (!err && fstat(root, &st))
		err = -errno;
	if (err) {
		close(root);
		return err;
	}
	limit = raise_limit();
	*share = (struct p9_share) {
		.root = root,
		.dev = st.st_dev,
		.ino = st.st_ino,
		.max_fd = limit - MIN(P9_RESERVED_FDS, limit / 2),
		.read_only = read_only,
		.mapped = mapped,
	};
	return 0;
}

void p9_share_close(struct p9_share *share)
{
	close(share->root);
}
