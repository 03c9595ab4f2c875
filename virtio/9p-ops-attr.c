/* SPDX-License-Identifier: GPL-2.0 */
/*
 * 9P operations on attributes: Tgetattr, Tsetattr, Tstatfs, Txattrwalk,
 * Txattrcreate of the .L dialect. See 9p.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

/* Tgetattr's mask: all that stat(2) has. */
#define GETATTR_BASIC 0x7ffULL

/* Tsetattr's mask */
#define SETATTR_MODE 0x001
#define SETATTR_UID 0x002
#define SETATTR_GID 0x004
#define SETATTR_SIZE 0x008
#define SETATTR_ATIME 0x010
#define SETATTR_MTIME 0x020
#define SETATTR_ATIME_SET 0x080
#define SETATTR_MTIME_SET 0x100

/* A guest's programs take this for a good size of reads and writes. */
#define BLOCK_MAX (128 * KIB)

static uint64_t block_size(const struct p9_server *server)
{
	uint64_t size = BLOCK_MAX;

	while (size > server->msize - P9_WRITE_BYTES)
		size /= 2;
	return size;
}

static void put_time(struct p9_cursor *c, const struct timespec *time)
{
	p9_put_u64(c, (uint64_t)time->tv_sec);
	p9_put_u64(c, (uint64_t)time->tv_nsec);
}

static void put_attributes(struct p9_call *call, const struct stat *st)
{
	static const struct timespec never;
	struct p9_qid qid = p9_qid(&call->server->share, st);
	struct p9_cursor *c = &call->out;

	p9_put_u64(c, GETATTR_BASIC);
	p9_put_qid(c, &qid);
	p9_put_u32(c, st->st_mode);
	p9_put_u32(c, st->st_uid);
	p9_put_u32(c, st->st_gid);
	p9_put_u64(c, st->st_nlink);
	p9_put_u64(c, st->st_rdev);
	p9_put_u64(c, (uint64_t)st->st_size);
	p9_put_u64(c, block_size(call->server));
	p9_put_u64(c, (uint64_t)st->st_blocks);
	put_time(c, &st->st_atim);
	put_time(c, &st->st_mtim);
	put_time(c, &st->st_ctim);
	put_time(c, &never); /* btime, generation, data version: not valid */
	p9_put_u64(c, 0);
	p9_put_u64(c, 0);
}

int p9_getattr(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	struct stat st;
	int err;

	p9_get_u64(&call->in); /* what is wanted: it gets all of it */
	err = p9_get_end(&call->in);
	if (!err && fid->fd < 0)
		err = -EBADF;
	if (!err)
		err = p9_attr_get(&call->server->share, fid->fd, &st);
	if (!err)
		put_attributes(call, &st);
	p9_fid_put(&call->server->fids, fid);
	return err;
}

/* ---- Tsetattr ------------------------------------------------------------ */

struct attributes {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	struct timespec times[2];
};

static int set_size(struct p9_server *server, const struct p9_fid *fid,
		    uint64_t size)
{
	int err = 0;
	int fd;

	if (!S_ISREG(fid->type))
		return S_ISDIR(fid->type) ? -EISDIR : -EINVAL;
	if (fid->kind == P9_FID_FILE && (fid->flags & O_ACCMODE) != O_RDONLY)
		return ftruncate(fid->fd, (off_t)size) ? -errno : 0;
	fd = p9_fs_open(&server->share, fid->fd, O_WRONLY);
	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)size))
		err = -errno;
	close(fd);
	return err;
}

static int set_times(const struct p9_fid *fid, struct attributes *a)
{
	if (!(a->valid & SETATTR_ATIME))
		a->times[0].tv_nsec = UTIME_OMIT;
	else if (!(a->valid & SETATTR_ATIME_SET))
		a->times[0].tv_nsec = UTIME_NOW;
	if (!(a->valid & SETATTR_MTIME))
		a->times[1].tv_nsec = UTIME_OMIT;
	else if (!(a->valid & SETATTR_MTIME_SET))
		a->times[1].tv_nsec = UTIME_NOW;
	if (utimensat(AT_FDCWD, p9_fd_path(fid->fd).text, a->times, 0))
		return -errno;
	return 0;
}

static int set_attributes(struct p9_server *server, const struct p9_fid *fid,
			  struct attributes *a)
{
	const struct p9_share *share = &server->share;
	int err = 0;

	if (fid->fd < 0)
		return -EBADF;
	/* In this order: a new owner costs the set-user-ID bit. */
	if (a->valid & (SETATTR_UID | SETATTR_GID))
		err = p9_attr_chown(
			share, fid->fd,
			a->valid & SETATTR_UID ? a->uid : UINT32_MAX,
			a->valid & SETATTR_GID ? a->gid : UINT32_MAX);
	if (!err && a->valid & SETATTR_MODE)
		err = p9_attr_chmod(share, fid->fd, a->mode);
	if (!err && a->valid & SETATTR_SIZE)
		err = set_size(server, fid, a->size);
	if (!err && a->valid & (SETATTR_ATIME | SETATTR_MTIME))
		err = set_times(fid, a);
	return err;
}

int p9_setattr(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	struct p9_cursor *in = &call->in;
	struct attributes a;
	int err;

	a.valid = p9_get_u32(in);
	a.mode = p9_get_u32(in);
	a.uid = p9_get_u32(in);
	a.gid = p9_get_u32(in);
	a.size = p9_get_u64(in);
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t seconds = p9_get_u64(in);
		uint64_t nanoseconds = p9_get_u64(in);

		/* UTIME_NOW and UTIME_OMIT are not for the guest to say. */
		if (nanoseconds >= 1000000000)
			nanoseconds = 0;
		a.times[i].tv_sec = (time_t)seconds;
		a.times[i].tv_nsec = (long)nanoseconds;
	}
	err = p9_get_end(in);
	if (!err)
		err = set_attributes(call->server, fid, &a);
	p9_fid_put(&call->server->fids, fid);
	return err;
}

int p9_statfs(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	struct p9_cursor *c = &call->out;
	int err = p9_get_end(&call->in);
	struct statfs st;
	uint64_t id;

	if (!err && fid->fd < 0)
		err = -EBADF;
	if (!err && fstatfs(fid->fd, &st))
		err = -errno;
	p9_fid_put(&call->server->fids, fid);
	if (err)
		return err;
	memcpy(&id, &st.f_fsid, sizeof(id));
	p9_put_u32(c, (uint32_t)st.f_type);
	p9_put_u32(c, (uint32_t)st.f_bsize);
	p9_put_u64(c, st.f_blocks);
	p9_put_u64(c, st.f_bfree);
	p9_put_u64(c, st.f_bavail);
	p9_put_u64(c, st.f_files);
	p9_put_u64(c, st.f_ffree);
	p9_put_u64(c, id);
	p9_put_u32(c, (uint32_t)st.f_namelen);
	return 0;
}

/* ---- extended attributes ------------------------------------------------- */

/* Drop from the list in @buffer what the guest must not see. */
static void filter(struct p9_buffer *buffer)
{
	uint32_t kept = 0;
	uint32_t at = 0;

	while (at < buffer->filled) {
		char *name = (char *)buffer->data + at;
		size_t len = strnlen(name, buffer->filled - at) + 1;

		at += (uint32_t)len;
		if (!p9_attr_visible(name))
			continue;
		memmove(buffer->data + kept, name, len);
		kept += (uint32_t)len;
	}
	buffer->filled = kept;
}

/* The value of attribute @name, or the list of names if it is empty. */
static ssize_t get_xattr(const char *path, const char *name, void *value,
			 size_t size)
{
	return name[0] ? getxattr(path, name, value, size) :
			 listxattr(path, value, size);
}

/*
 * Fill @to's buffer. It has the size that is needed now; should that grow
 * before it is read, -ERANGE tells the guest to begin again.
 */
static int load_xattr(struct p9_server *server, const struct p9_fid *from,
		      struct p9_fid *to, const char *name)
{
	struct p9_fd_path path = p9_fd_path(from->fd);
	ssize_t size = get_xattr(path.text, name, NULL, 0);
	int err;

	if (size < 0)
		return -errno;
	if (size > P9_MAX_XATTR)
		return -E2BIG;
	if (!size)
		return 0;
	err = p9_fid_buffer(&server->fids, to, (uint32_t)size);
	if (err)
		return err;
	size = get_xattr(path.text, name, to->buffer->data, (size_t)size);
	if (size < 0)
		return -errno;
	to->buffer->filled = (uint32_t)size;
	if (!name[0])
		filter(to->buffer);
	return 0;
}

static int walk_xattr(struct p9_call *call, const struct p9_fid *from,
		      uint32_t id, const char *name)
{
	struct p9_server *server = call->server;
	struct p9_fid *fid;
	int err;

	if (from->fd < 0)
		return -EBADF;
	/* Others are the host's: capabilities, labels, access lists. */
	if (name[0] && !p9_attr_visible(name))
		return -EOPNOTSUPP;
	fid = p9_fid_create(P9_FID_XATTR_READ, -1, from->uid, from->type);
	if (!fid)
		return -ENOMEM;
	err = load_xattr(server, from, fid, name);
	if (!err)
		err = p9_fid_insert(&server->fids, fid, id);
	p9_put_u64(&call->out, fid->buffer ? fid->buffer->filled : 0);
	p9_fid_put(&server->fids, fid);
	return err;
}

int p9_xattrwalk(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	uint32_t id = p9_get_u32(&call->in);
	struct p9_name name;
	int err;

	p9_get_string(&call->in, name.text, sizeof(name.text));
	err = p9_get_end(&call->in);
	if (!err)
		err = walk_xattr(call, fid, id, name.text);
	p9_fid_put(&call->server->fids, fid);
	return err;
}

static int create_xattr(struct p9_call *call, struct p9_fid *file,
			const struct p9_name *name, uint64_t size,
			uint32_t flags)
{
	struct p9_server *server = call->server;
	struct p9_fid *fid;
	int err;
	int fd;

	if (file->kind != P9_FID_PATH)
		return -EBADF;
	if (!p9_attr_visible(name->text))
		return -EOPNOTSUPP;
	if (size > P9_MAX_XATTR)
		return -E2BIG;
	if (flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	fd = p9_fs_dup(&server->share, file->fd);
	if (fd < 0)
		return fd;
	fid = p9_fid_create(P9_FID_XATTR_WRITE, fd, file->uid, file->type);
	if (!fid)
		return -ENOMEM;
	fid->xattr = *name;
	fid->flags = (int)flags;
	err = p9_fid_buffer(&server->fids, fid, (uint32_t)size);
	if (!err)
		err = p9_fid_replace(&server->fids, file, fid);
	p9_fid_put(&server->fids, fid);
	return err;
}

int p9_xattrcreate(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	struct p9_name name;
	uint32_t flags;
	uint64_t size;
	int err;

	p9_get_string(&call->in, name.text, sizeof(name.text));
	size = p9_get_u64(&call->in);
	flags = p9_get_u32(&call->in);
	err = p9_get_end(&call->in);
	if (!err)
		err = create_xattr(call, fid, &name, size, flags);
	p9_fid_put(&call->server->fids, fid);
	return err;
}

int p9_xattr_apply(struct p9_fid *fid)
{
	struct p9_fd_path path = p9_fd_path(fid->fd);
	struct p9_buffer *value = fid->buffer;

	/* Nothing in place of something: that is how v9fs removes. */
	if (!value->size && fid->flags == XATTR_REPLACE)
		return removexattr(path.text, fid->xattr.text) ? -errno : 0;
	if (value->filled != value->size)
		return -EINVAL;
	if (setxattr(path.text, fid->xattr.text, value->data, value->size,
		     fid->flags))
		return -errno;
	return 0;
}
