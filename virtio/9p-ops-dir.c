/* SPDX-License-Identifier: GPL-2.0 */
/*
 * 9P operations on folders and names: Treaddir, Tmkdir, Tmknod, Tsymlink,
 * Treadlink, Tlink, Trename, Trenameat, Tunlinkat of the .L dialect. See 9p.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

/* Entries are taken from the host in readings of this many bytes. */
#define DIR_BYTES (16 * KIB)

/* AT_REMOVEDIR of the protocol */
#define L_REMOVEDIR 0x200

/* ---- reading a folder ---------------------------------------------------- */

/* What precedes the name in an entry of Rreaddir. */
#define ENTRY_BYTES (P9_QID_BYTES + 8 + 1 + 2)

static bool is_root(const struct p9_share *share, const struct stat *st)
{
	return st->st_dev == share->dev && st->st_ino == share->ino;
}

static struct p9_qid entry_qid(const struct p9_share *share,
			       const struct p9_fid *fid, const struct stat *dir,
			       const struct dirent64 *entry, uint8_t *type)
{
	uint64_t ino = entry->d_ino;
	struct stat st;

	*type = entry->d_type;
	/* What is above the share is none of the guest's business. */
	if (!strcmp(entry->d_name, "..") && is_root(share, dir))
		ino = dir->st_ino;
	if (*type == DT_UNKNOWN &&
	    !fstatat(fid->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
		*type = IFTODT(st.st_mode);
	return (struct p9_qid) {
		.type = *type == DT_DIR ? P9_QID_DIR :
			*type == DT_LNK ? P9_QID_SYMLINK :
					  0,
		.path = p9_qid_path(share, dir->st_dev, ino),
	};
}

/* Have an entry of @fid at dir_at. Returns 1, 0 at the end, or -errno. */
static int fill_locked(struct p9_fids *fids, struct p9_fid *fid)
{
	struct p9_buffer *buffer;
	ssize_t got;

	if (!fid->buffer) {
		int err = p9_fid_buffer(fids, fid, DIR_BYTES);

		if (err)
			return err;
	}
	buffer = fid->buffer;
	if (fid->dir_at < buffer->filled)
		return 1;
	got = getdents64(fid->fd, buffer->data, buffer->size);
	if (got < 0)
		return -errno;
	fid->dir_at = 0;
	buffer->filled = (uint32_t)got;
	return got > 0;
}

/*
 * Offsets are the host's own, good as long as the folder lives. Going on
 * where the last message ended needs no seek: file systems whose offsets move
 * when entries go (tmpfs) then lose none.
 */
static int seek_locked(struct p9_fid *fid, uint64_t offset)
{
	if (offset == fid->dir_next)
		return 0;
	if (lseek(fid->fd, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	fid->dir_at = 0;
	if (fid->buffer)
		fid->buffer->filled = 0;
	fid->dir_next = offset;
	return 0;
}

/* Put entries into @c as long as they fit. */
static int entries_locked(struct p9_server *server, struct p9_fid *fid,
			  struct p9_cursor *c)
{
	uint8_t *start = c->at;
	struct stat dir;
	int got;

	if (fstat(fid->fd, &dir))
		return -errno;
	while ((got = fill_locked(&server->fids, fid)) > 0) {
		const struct dirent64 *entry =
			(const void *)(fid->buffer->data + fid->dir_at);
		struct p9_qid qid;
		uint8_t type;

		if (ENTRY_BYTES + strlen(entry->d_name) >
		    (size_t)(c->end - c->at))
			return c->at == start ? -EINVAL : 0;
		qid = entry_qid(&server->share, fid, &dir, entry, &type);
		p9_put_qid(c, &qid);
		p9_put_u64(c, (uint64_t)entry->d_off);
		p9_put_u8(c, type);
		p9_put_string(c, entry->d_name);
		fid->dir_next = (uint64_t)entry->d_off;
		fid->dir_at += entry->d_reclen;
	}
	/* What was put before is worth telling; the error comes again. */
	return c->at == start ? got : 0;
}

static int read_dir(struct p9_call *call, struct p9_fid *fid, uint64_t offset,
		    uint32_t count)
{
	struct p9_cursor length = call->out;
	struct p9_cursor c;
	uint8_t *start;
	int err;

	if (fid->kind != P9_FID_DIR)
		return -EBADF;
	p9_put_u32(&call->out, 0); /* its place */
	if (call->out.err)
		return call->out.err;
	c = call->out;
	start = c.at;
	if (count < (size_t)(c.end - c.at))
		c.end = c.at + count;
	pthread_mutex_lock(&fid->lock);
	err = seek_locked(fid, offset);
	if (!err)
		err = entries_locked(call->server, fid, &c);
	pthread_mutex_unlock(&fid->lock);
	p9_put_u32(&length, (uint32_t)(c.at - start));
	call->out.at = c.at;
	return err;
}

int p9_readdir(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	uint64_t offset = p9_get_u64(&call->in);
	uint32_t count = p9_get_u32(&call->in);
	int err = p9_get_end(&call->in);

	if (!err)
		err = read_dir(call, fid, offset, count);
	p9_fid_put(&call->server->fids, fid);
	return err;
}

/* ---- new entries --------------------------------------------------------- */

/* What was just made as @name in @dir gets its owner; its qid is put. */
static int made(struct p9_call *call, int dir, const char *name,
		const struct p9_creator *creator)
{
	const struct p9_share *share = &call->server->share;
	struct p9_qid qid;
	struct stat st;
	int err;
	int fd = p9_fs_lookup(share, dir, name);

	if (fd < 0)
		return fd;
	err = p9_attr_created(share, fd, creator);
	if (!err && fstat(fd, &st))
		err = -errno;
	if (!err) {
		qid = p9_qid(share, &st);
		p9_put_qid(&call->out, &qid);
	}
	close(fd);
	if (err)
		unlinkat(dir, name, S_ISDIR(creator->mode) ? AT_REMOVEDIR : 0);
	return err;
}

/* Make a folder, a FIFO, a socket or a regular file. */
static int make_node(struct p9_call *call, struct p9_fid *dir, const char *name,
		     struct p9_creator *creator)
{
	mode_t mode = p9_attr_host_mode(&call->server->share, creator->mode);
	int failed;

	if (dir->fd < 0)
		return -EBADF;
	creator->uid = dir->uid;
	mode &= 07777;
	if (S_ISDIR(creator->mode))
		failed = mkdirat(dir->fd, name, mode);
	else
		failed = mknodat(dir->fd, name, (creator->mode & S_IFMT) | mode,
				 0);
	if (failed)
		return -errno;
	return made(call, dir->fd, name, creator);
}

int p9_mkdir(struct p9_call *call)
{
	struct p9_fid *dir = p9_get_fid(call);
	struct p9_creator creator = { 0 };
	struct p9_name name;
	int err;

	p9_get_name(&call->in, &name);
	creator.mode = (p9_get_u32(&call->in) & 07777) | S_IFDIR;
	creator.gid = p9_get_u32(&call->in);
	err = p9_get_end(&call->in);
	if (!err)
		err = make_node(call, dir, name.text, &creator);
	p9_fid_put(&call->server->fids, dir);
	return err;
}

int p9_mknod(struct p9_call *call)
{
	struct p9_fid *dir = p9_get_fid(call);
	struct p9_creator creator = { 0 };
	struct p9_name name;
	int err;

	p9_get_name(&call->in, &name);
	creator.mode = p9_get_u32(&call->in);
	p9_get_u32(&call->in); /* major, minor: of devices only */
	p9_get_u32(&call->in);
	creator.gid = p9_get_u32(&call->in);
	err = p9_get_end(&call->in);
	/* A device of the guest's making would be one of the host's. */
	if (!err && !S_ISREG(creator.mode) && !S_ISFIFO(creator.mode) &&
	    !S_ISSOCK(creator.mode))
		err = -EPERM;
	if (!err)
		err = make_node(call, dir, name.text, &creator);
	p9_fid_put(&call->server->fids, dir);
	return err;
}

int p9_symlink(struct p9_call *call)
{
	struct p9_fid *dir = p9_get_fid(call);
	struct p9_creator creator = { .mode = S_IFLNK };
	char target[PATH_MAX];
	struct p9_name name;
	int err;

	p9_get_name(&call->in, &name);
	p9_get_string(&call->in, target, sizeof(target));
	creator.gid = p9_get_u32(&call->in);
	err = p9_get_end(&call->in);
	if (!err && dir->fd < 0)
		err = -EBADF;
	/* Whatever it says: it is the guest who follows it. */
	if (!err && symlinkat(target, dir->fd, name.text))
		err = -errno;
	if (!err)
		err = made(call, dir->fd, name.text, &creator);
	p9_fid_put(&call->server->fids, dir);
	return err;
}

int p9_readlink(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	char target[PATH_MAX + 1];
	int err = p9_get_end(&call->in);
	ssize_t len;

	if (!err && (fid->fd < 0 || !S_ISLNK(fid->type)))
		err = -EINVAL;
	if (!err) {
		len = readlinkat(fid->fd, "", target, PATH_MAX);
		target[len < 0 ? 0 : len] = '\0';
		err = len < 0 ? -errno : 0;
	}
	p9_fid_put(&call->server->fids, fid);
	if (!err)
		p9_put_string(&call->out, target);
	return err;
}

int p9_link(struct p9_call *call)
{
	struct p9_fid *dir = p9_get_fid(call);
	struct p9_fid *fid = p9_get_fid(call);
	struct p9_name name;
	int err;

	p9_get_name(&call->in, &name);
	err = p9_get_end(&call->in);
	if (!err && (dir->fd < 0 || fid->fd < 0))
		err = -EBADF;
	/* The link that is followed is the one in /proc. */
	if (!err && linkat(AT_FDCWD, p9_fd_path(fid->fd).text, dir->fd,
			   name.text, AT_SYMLINK_FOLLOW))
		err = -errno;
	p9_fid_put(&call->server->fids, fid);
	p9_fid_put(&call->server->fids, dir);
	return err;
}

/* ---- names that go ------------------------------------------------------- */

static int rename_fid(struct p9_server *server, const struct p9_fid *fid,
		      const struct p9_fid *dir, const char *name)
{
	struct p9_name old;
	int err = 0;
	int from;

	if (fid->fd < 0 || dir->fd < 0)
		return -EBADF;
	from = p9_fs_parent(&server->share, fid->fd, &old);
	if (from < 0)
		return from;
	if (renameat(from, old.text, dir->fd, name))
		err = -errno;
	close(from);
	return err;
}

int p9_rename(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	struct p9_fid *dir = p9_get_fid(call);
	struct p9_name name;
	int err;

	p9_get_name(&call->in, &name);
	err = p9_get_end(&call->in);
	if (!err)
		err = rename_fid(call->server, fid, dir, name.text);
	p9_fid_put(&call->server->fids, dir);
	p9_fid_put(&call->server->fids, fid);
	return err;
}

int p9_renameat(struct p9_call *call)
{
	struct p9_fid *from = p9_get_fid(call);
	struct p9_name old, new;
	struct p9_fid *to;
	int err;

	p9_get_name(&call->in, &old);
	to = p9_get_fid(call);
	p9_get_name(&call->in, &new);
	err = p9_get_end(&call->in);
	if (!err && (from->fd < 0 || to->fd < 0))
		err = -EBADF;
	if (!err && renameat(from->fd, old.text, to->fd, new.text))
		err = -errno;
	p9_fid_put(&call->server->fids, to);
	p9_fid_put(&call->server->fids, from);
	return err;
}

int p9_unlinkat(struct p9_call *call)
{
	struct p9_fid *dir = p9_get_fid(call);
	struct p9_name name;
	uint32_t flags;
	int err;

	p9_get_name(&call->in, &name);
	flags = p9_get_u32(&call->in);
	err = p9_get_end(&call->in);
	if (!err && dir->fd < 0)
		err = -EBADF;
	if (!err && unlinkat(dir->fd, name.text,
			     flags & L_REMOVEDIR ? AT_REMOVEDIR : 0))
		err = -errno;
	p9_fid_put(&call->server->fids, dir);
	return err;
}
