/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Attributes of a 9P server's files. See 9p.h.
 *
 * security=none: files are those of the user who runs lkvm. Owners are
 * changed if the host lets us, and stay as they are if not. The set-user-ID
 * and set-group-ID bits never reach a file of the host's, where somebody else
 * could run it.
 *
 * security=mapped: owner and permissions are those in the user.virtfs.*
 * attributes of a file or folder (the names and forms of QEMU's mapped-xattr),
 * and the file's own stay private to the user who runs lkvm. What cannot have
 * such attributes (symbolic links, FIFOs, sockets) shows its own, and keeps
 * them.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

#define MAPPED_PREFIX "user.virtfs."
#define MAPPED_UID MAPPED_PREFIX "uid"
#define MAPPED_GID MAPPED_PREFIX "gid"
#define MAPPED_MODE MAPPED_PREFIX "mode"

#define PERMISSIONS 07777

bool p9_attr_visible(const char *name)
{
	return !strncmp(name, "user.", 5) &&
	       strncmp(name, MAPPED_PREFIX, strlen(MAPPED_PREFIX)) != 0;
}

/* Does a file of this type have its attributes mapped? */
static bool mapped(const struct p9_share *share, mode_t mode)
{
	return share->mapped && (S_ISREG(mode) || S_ISDIR(mode));
}

static bool get_mapped(const char *path, const char *name, uint32_t *out)
{
	uint32_t value;

	if (getxattr(path, name, &value, sizeof(value)) != sizeof(value))
		return false;
	*out = le32toh(value);
	return true;
}

static int set_mapped(const char *path, const char *name, uint32_t value)
{
	value = htole32(value);
	return setxattr(path, name, &value, sizeof(value), 0) ? -errno : 0;
}

int p9_attr_get(const struct p9_share *share, int fd, struct stat *st)
{
	struct p9_fd_path path;
	uint32_t mode;

	if (fstat(fd, st))
		return -errno;
	if (!mapped(share, st->st_mode))
		return 0;
	path = p9_fd_path(fd);
	get_mapped(path.text, MAPPED_UID, &st->st_uid);
	get_mapped(path.text, MAPPED_GID, &st->st_gid);
	/* Of the mode only the permissions: the type is the file's own. */
	if (get_mapped(path.text, MAPPED_MODE, &mode))
		st->st_mode = (st->st_mode & S_IFMT) | (mode & PERMISSIONS);
	return 0;
}

mode_t p9_attr_host_mode(const struct p9_share *share, mode_t mode)
{
	if (!share->mapped)
		return mode & (S_ISDIR(mode) ? 03777 : 01777);
	return S_ISDIR(mode) ? 0700 : 0600;
}

int p9_attr_created(const struct p9_share *share, int fd,
		    const struct p9_creator *creator)
{
	struct p9_fd_path path = p9_fd_path(fd);
	int err;

	if (!mapped(share, creator->mode))
		return 0;
	err = set_mapped(path.text, MAPPED_UID, creator->uid);
	if (!err)
		err = set_mapped(path.text, MAPPED_GID, creator->gid);
	if (!err)
		err = set_mapped(path.text, MAPPED_MODE, creator->mode);
	return err;
}

int p9_attr_chown(const struct p9_share *share, int fd, uint32_t uid,
		  uint32_t gid)
{
	struct p9_fd_path path = p9_fd_path(fd);
	struct stat st;
	int err = 0;

	if (fstat(fd, &st))
		return -errno;
	if (mapped(share, st.st_mode)) {
		if (uid != UINT32_MAX)
			err = set_mapped(path.text, MAPPED_UID, uid);
		if (!err && gid != UINT32_MAX)
			err = set_mapped(path.text, MAPPED_GID, gid);
		return err;
	}
	if (share->mapped)
		return 0;
	/* The guest's root may, so the guest expects no refusal of ours. */
	if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) && errno != EPERM)
		return -errno;
	return 0;
}

int p9_attr_chmod(const struct p9_share *share, int fd, mode_t mode)
{
	struct p9_fd_path path = p9_fd_path(fd);
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	mode = (st.st_mode & S_IFMT) | (mode & PERMISSIONS);
	if (mapped(share, mode))
		return set_mapped(path.text, MAPPED_MODE, mode);
	/* fchmod() minds O_PATH; the path is the same file's. */
	if (chmod(path.text, p9_attr_host_mode(share, mode) & PERMISSIONS))
		return -errno;
	return 0;
}

/* ---- identity ------------------------------------------------------------ */

/* Spreads all bits of @x over all bits of the result (Stafford's mix 13). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

uint64_t p9_qid_path(const struct p9_share *share, dev_t dev, ino_t ino)
{
	/* The share's own file system keeps its numbers, others get away. */
	return dev == share->dev ? ino : mix(mix(dev) ^ ino);
}

struct p9_qid p9_qid(const struct p9_share *share, const struct stat *st)
{
	uint64_t changed = (uint64_t)st->st_mtim.tv_sec * 1000000000 +
			   (uint64_t)st->st_mtim.tv_nsec;

	changed ^= mix((uint64_t)st->st_ctim.tv_sec * 1000000000 +
		       (uint64_t)st->st_ctim.tv_nsec);
	return (struct p9_qid) {
		.type = S_ISDIR(st->st_mode) ? P9_QID_DIR :
			S_ISLNK(st->st_mode) ? P9_QID_SYMLINK :
					       0,
		.version = (uint32_t)mix(changed),
		.path = p9_qid_path(share, st->st_dev, st->st_ino),
	};
}
