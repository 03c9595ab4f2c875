/* SPDX-License-Identifier: GPL-2.0 */
/*
 * 9P operations on the session and on handles: version(5), attach(5),
 * flush(5), walk(5), clunk(5), remove(5). See 9p.h.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

int p9_version(struct p9_call *call)
{
	struct p9_server *server = call->server;
	uint32_t msize = p9_get_u32(&call->in);
	char version[32];
	bool known;
	int err;

	p9_get_string(&call->in, version, sizeof(version));
	err = p9_get_end(&call->in);
	if (err)
		return err;
	if (msize < P9_MIN_MSIZE)
		return -EMSGSIZE;
	/* A new session: no handle outlives it, agreement or not. */
	p9_server_reset(server);
	known = !strcmp(version, "9P2000.L");
	if (known)
		server->msize = MIN(msize, P9_MAX_MSIZE);
	p9_put_u32(&call->out, MIN(msize, P9_MAX_MSIZE));
	p9_put_string(&call->out, known ? version : "unknown");
	return 0;
}

int p9_auth(struct p9_call *call)
{
	(void)call;
	return -EOPNOTSUPP; /* attach(5): so none is required */
}

/*
 * A handle @id for @fd, which it owns from now on; *@qid is told. Takes the
 * place of @old if that has the number.
 */
static int enter(struct p9_server *server, uint32_t id, int fd, uint32_t uid,
		 struct p9_fid *old, struct p9_qid *qid)
{
	struct p9_fid *fid;
	struct stat st;
	int err;

	if (fstat(fd, &st)) {
		err = -errno;
		close(fd);
		return err;
	}
	*qid = p9_qid(&server->share, &st);
	fid = p9_fid_create(P9_FID_PATH, fd, uid, st.st_mode & S_IFMT);
	if (!fid)
		return -ENOMEM;
	if (old && old->id == id)
		err = p9_fid_replace(&server->fids, old, fid);
	else
		err = p9_fid_insert(&server->fids, fid, id);
	p9_fid_put(&server->fids, fid);
	return err;
}

int p9_attach(struct p9_call *call)
{
	struct p9_server *server = call->server;
	uint32_t id = p9_get_u32(&call->in);
	uint32_t auth = p9_get_u32(&call->in);
	char user[256], tree[256];
	struct p9_qid qid;
	uint32_t uid;
	int err;
	int fd;

	p9_get_string(&call->in, user, sizeof(user));
	p9_get_string(&call->in, tree, sizeof(tree));
	uid = p9_get_u32(&call->in);
	err = p9_get_end(&call->in);
	if (err)
		return err;
	if (auth != P9_NO_FID)
		return -EINVAL;
	if (tree[0] && strcmp(tree, "/") != 0)
		return -ENOENT;
	fd = p9_fs_dup(&server->share, server->share.root);
	if (fd < 0)
		return fd;
	err = enter(server, id, fd, uid, NULL, &qid);
	p9_put_qid(&call->out, &qid);
	return err;
}

int p9_flush(struct p9_call *call)
{
	/* It has waited for its turn: what it flushes has been answered. */
	p9_get_u16(&call->in);
	return p9_get_end(&call->in);
}

/* ---- walk ---------------------------------------------------------------- */

/*
 * Follow @names from @fd as far as they exist, with a qid put for each, but
 * that of the last. Returns the last one's descriptor, or -errno and *@found
 * tells how many there were.
 */
static int follow(struct p9_call *call, int fd, const struct p9_name *names,
		  unsigned int count, unsigned int *found)
{
	const struct p9_share *share = &call->server->share;
	struct p9_qid qid;
	struct stat st;
	int at = fd;

	for (*found = 0; *found < count; ++*found) {
		int next = p9_fs_lookup(share, at, names[*found].text);
		int err = 0;

		if (next >= 0 && fstat(next, &st))
			err = -errno;
		if (at != fd)
			close(at);
		if (next >= 0 && err)
			close(next);
		if (next < 0 || err)
			return next < 0 ? next : err;
		at = next;
		qid = p9_qid(share, &st);
		p9_put_qid(&call->out, &qid);
	}
	return count ? at : p9_fs_dup(share, fd);
}

static int walk(struct p9_call *call, struct p9_fid *fid, uint32_t new_id,
		const struct p9_name *names, unsigned int count)
{
	struct p9_cursor answer = call->out;
	struct p9_qid qid;
	unsigned int found;
	int fd;

	if (fid->fd < 0)
		return -EBADF;
	p9_put_u16(&call->out, (uint16_t)count);
	fd = follow(call, fid->fd, names, count, &found);
	if (fd >= 0)
		return enter(call->server, new_id, fd, fid->uid, fid, &qid);
	/* walk(5): only the first one's failure is an error. */
	if (!found)
		return fd;
	p9_put_u16(&answer, (uint16_t)found);
	return 0;
}

int p9_walk(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	uint32_t new_id = p9_get_u32(&call->in);
	unsigned int count = p9_get_u16(&call->in);
	struct p9_name names[P9_MAX_WALK];
	int err;

	if (count > P9_MAX_WALK)
		call->in.err = -EINVAL;
	for (unsigned int i = 0; i < count && !call->in.err; i++)
		p9_get_name(&call->in, &names[i]);
	err = p9_get_end(&call->in);
	if (!err)
		err = walk(call, fid, new_id, names, count);
	p9_fid_put(&call->server->fids, fid);
	return err;
}

/* ---- the end of a handle ------------------------------------------------- */

/* Take the message's handle out of the table; the caller puts *@out. */
static int take_fid(struct p9_call *call, struct p9_fid **out)
{
	uint32_t id = p9_get_u32(&call->in);
	struct p9_fid *fid;
	int err = p9_get_end(&call->in);

	if (err)
		return err;
	fid = p9_fid_remove(&call->server->fids, id);
	if (!fid)
		return -EBADF;
	*out = fid;
	return 0;
}

int p9_clunk(struct p9_call *call)
{
	struct p9_fid *fid;
	int err = take_fid(call, &fid);

	if (err)
		return err;
	if (fid->kind == P9_FID_XATTR_WRITE)
		err = p9_xattr_apply(fid);
	p9_fid_put(&call->server->fids, fid);
	return err;
}

static int remove_file(struct p9_server *server, const struct p9_fid *fid)
{
	struct p9_name name;
	int err = 0;
	int dir;

	if (server->share.read_only)
		return -EROFS;
	if (fid->fd < 0)
		return -EBADF;
	dir = p9_fs_parent(&server->share, fid->fd, &name);
	if (dir < 0)
		return dir;
	if (unlinkat(dir, name.text, S_ISDIR(fid->type) ? AT_REMOVEDIR : 0))
		err = -errno;
	close(dir);
	return err;
}

int p9_remove(struct p9_call *call)
{
	struct p9_fid *fid;
	int err = take_fid(call, &fid);

	if (err)
		return err;
	err = remove_file(call->server, fid);
	p9_fid_put(&call->server->fids, fid);
	return err;
}
