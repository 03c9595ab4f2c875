/* SPDX-License-Identifier: GPL-2.0 */
/*
 * 9P operations on opened files: Tlopen, Tlcreate, Tfsync of the .L dialect,
 * read(5), write(5). See 9p.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

/* The dialect's flags of Tlopen: Linux's values on most architectures. */
#define L_ACCMODE 00000003
#define L_EXCL 00000200
#define L_TRUNC 00001000
#define L_APPEND 00002000
#define L_DSYNC 00010000
#define L_DIRECTORY 00200000
#define L_SYNC 04000000

/*
 * What is not in the list is the client's own affair (O_NONBLOCK, O_NOATIME),
 * or not possible on its unaligned buffers (O_DIRECT).
 */
static int host_flags(uint32_t flags)
{
	static const struct {
		uint32_t guest;
		int host;
	} map[] = {
		{ L_EXCL, O_EXCL },	      { L_TRUNC, O_TRUNC },
		{ L_APPEND, O_APPEND },	      { L_DSYNC, O_DSYNC },
		{ L_DIRECTORY, O_DIRECTORY }, { L_SYNC, O_SYNC },
	};
	int host = (int)(flags & L_ACCMODE); /* 0, 1, 2 everywhere */

	for (unsigned int i = 0; i < ARRAY_SIZE(map); i++)
		if ((flags & map[i].guest) == map[i].guest)
			host |= map[i].host;
	return host;
}

/* Put an opened handle of @fd, which it owns, in the place of @old. */
static int enter_opened(struct p9_call *call, struct p9_fid *old, int fd,
			int flags)
{
	struct p9_server *server = call->server;
	enum p9_fid_kind kind;
	struct p9_fid *fid;
	struct p9_qid qid;
	struct stat st;
	int err;

	if (fstat(fd, &st)) {
		err = -errno;
		close(fd);
		return err;
	}
	kind = S_ISDIR(st.st_mode) ? P9_FID_DIR : P9_FID_FILE;
	fid = p9_fid_create(kind, fd, old->uid, st.st_mode & S_IFMT);
	if (!fid)
		return -ENOMEM;
	fid->flags = flags;
	err = p9_fid_replace(&server->fids, old, fid);
	p9_fid_put(&server->fids, fid);
	qid = p9_qid(&server->share, &st);
	p9_put_qid(&call->out, &qid);
	p9_put_u32(&call->out, 0); /* iounit: as msize allows */
	return err;
}

int p9_lopen(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	int flags = host_flags(p9_get_u32(&call->in));
	int err = p9_get_end(&call->in);

	if (!err && fid->kind != P9_FID_PATH)
		err = -EBADF;
	if (!err) {
		int fd = p9_fs_open(&call->server->share, fid->fd, flags);

		err = fd < 0 ? fd : enter_opened(call, fid, fd, flags);
	}
	p9_fid_put(&call->server->fids, fid);
	return err;
}

static int create(struct p9_call *call, struct p9_fid *dir, const char *name,
		  uint32_t flags, struct p9_creator *creator)
{
	const struct p9_share *share = &call->server->share;
	int host = host_flags(flags);
	bool created;
	int err = 0;
	int fd;

	if (dir->kind != P9_FID_PATH)
		return -EBADF;
	creator->uid = dir->uid;
	creator->mode = (creator->mode & 07777) | S_IFREG;
	fd = p9_fs_create(share, dir->fd, name, host,
			  p9_attr_host_mode(share, creator->mode) & 07777,
			  &created);
	if (fd < 0)
		return fd;
	if (created)
		err = p9_attr_created(share, fd, creator);
	if (err) {
		unlinkat(dir->fd, name, 0);
		close(fd);
		return err;
	}
	return enter_opened(call, dir, fd, host);
}

int p9_lcreate(struct p9_call *call)
{
	struct p9_fid *dir = p9_get_fid(call);
	struct p9_creator creator = { 0 };
	struct p9_name name;
	uint32_t flags;
	int err;

	p9_get_name(&call->in, &name);
	flags = p9_get_u32(&call->in);
	creator.mode = p9_get_u32(&call->in);
	creator.gid = p9_get_u32(&call->in);
	err = p9_get_end(&call->in);
	if (!err)
		err = create(call, dir, name.text, flags, &creator);
	p9_fid_put(&call->server->fids, dir);
	return err;
}

int p9_fsync(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	uint32_t data_only = p9_get_u32(&call->in);
	int err = p9_get_end(&call->in);

	if (!err && fid->kind != P9_FID_FILE && fid->kind != P9_FID_DIR)
		err = -EBADF;
	if (!err && (data_only ? fdatasync(fid->fd) : fsync(fid->fd)))
		err = -errno;
	p9_fid_put(&call->server->fids, fid);
	return err;
}

/* ---- data ---------------------------------------------------------------- */

/* Bytes [@skip, @skip + @len) of @iov, as @out. Returns how many buffers. */
static int slice(struct iovec *out, const struct iovec *iov, unsigned int count,
		 size_t skip, size_t len)
{
	int n = 0;

	for (unsigned int i = 0; i < count && len; i++) {
		size_t part;

		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		part = MIN(iov[i].iov_len - skip, len);
		out[n].iov_base = (char *)iov[i].iov_base + skip;
		out[n].iov_len = part;
		n++;
		skip = 0;
		len -= part;
	}
	return n;
}

/* The attribute's value, or the list of names, from @offset. */
static ssize_t read_buffer(struct p9_call *call, const struct p9_fid *fid,
			   uint64_t offset, uint32_t count)
{
	const struct p9_buffer *buffer = fid->buffer;

	if (!buffer || offset >= buffer->filled)
		return 0;
	count = (uint32_t)MIN(count, buffer->filled - offset);
	return (ssize_t)iov_from_buf(call->message->in, call->message->in_count,
				     P9_READ_BYTES, buffer->data + offset,
				     count);
}

static int read_data(struct p9_call *call, struct p9_fid *fid, uint64_t offset,
		     uint32_t count)
{
	struct p9_message *message = call->message;
	uint64_t room = MIN(message->in_len, call->server->msize);
	ssize_t got;

	count = (uint32_t)MIN(count, room - P9_READ_BYTES);
	if (fid->kind == P9_FID_XATTR_READ)
		got = read_buffer(call, fid, offset, count);
	else if (fid->kind == P9_FID_FILE)
		got = preadv(fid->fd, call->data,
			     slice(call->data, message->in, message->in_count,
				   P9_READ_BYTES, count),
			     (off_t)offset);
	else
		return fid->kind == P9_FID_DIR ? -EISDIR : -EBADF;
	if (got < 0)
		return -errno;
	message->data_read = (uint32_t)got;
	p9_put_u32(&call->out, (uint32_t)got);
	return 0;
}

int p9_read(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	uint64_t offset = p9_get_u64(&call->in);
	uint32_t count = p9_get_u32(&call->in);
	int err = p9_get_end(&call->in);

	if (!err)
		err = read_data(call, fid, offset, count);
	p9_fid_put(&call->server->fids, fid);
	return err;
}

/* A part of an attribute's value, which was announced with its size. */
static ssize_t write_buffer(struct p9_call *call, struct p9_fid *fid,
			    uint64_t offset, uint32_t count)
{
	struct p9_buffer *buffer = fid->buffer;
	ssize_t got;

	if (offset > buffer->size || count > buffer->size - offset) {
		errno = ENOSPC;
		return -1;
	}
	pthread_mutex_lock(&fid->lock);
	got = (ssize_t)iov_to_buf(call->message->out, call->message->out_count,
				  P9_WRITE_BYTES, buffer->data + offset, count);
	buffer->filled = MAX(buffer->filled, (uint32_t)(offset + count));
	pthread_mutex_unlock(&fid->lock);
	return got;
}

static int write_data(struct p9_call *call, struct p9_fid *fid, uint64_t offset,
		      uint32_t count)
{
	struct p9_message *message = call->message;
	ssize_t done;

	/* Two lengths that must agree. */
	if (count != message->size - P9_WRITE_BYTES)
		return -EPROTO;
	if (fid->kind == P9_FID_XATTR_WRITE)
		done = write_buffer(call, fid, offset, count);
	else if (fid->kind == P9_FID_FILE)
		done = pwritev(fid->fd, call->data,
			       slice(call->data, message->out,
				     message->out_count, P9_WRITE_BYTES, count),
			       (off_t)offset);
	else
		return -EBADF;
	if (done < 0)
		return -errno;
	message->data_written = (uint32_t)done;
	p9_put_u32(&call->out, (uint32_t)done);
	return 0;
}

int p9_write(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	uint64_t offset = p9_get_u64(&call->in);
	uint32_t count = p9_get_u32(&call->in);
	int err = p9_get_end(&call->in);

	if (!err)
		err = write_data(call, fid, offset, count);
	p9_fid_put(&call->server->fids, fid);
	return err;
}
