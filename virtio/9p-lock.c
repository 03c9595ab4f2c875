/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Locks of files (Tlock and Tgetlock of 9P2000.L). See 9p.h.
 *
 * The guest's kernel settles conflicts within the guest; here the guest's
 * locks become ones that the host and other guests see. They are those of an
 * open file description (OFD locks): unlike a process's they vanish with that
 * description only. A lock of the whole file is one of flock() too, for the
 * protocol does not tell which of both the guest's program asked for.
 *
 * A description is an owner: the locks of one of the guest's processes on one
 * file, through whichever handles, as POSIX wants it. A handle stays with its
 * first owner, so that a lock of flock(), which is the handle's, can be let
 * go by another process. No call waits: the answer to a lock that is taken is
 * that it is, and the guest asks again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <lkvm/9p.h>

enum {
	TYPE_READ,
	TYPE_WRITE,
	TYPE_UNLOCK,
};

enum {
	STATUS_SUCCESS,
	STATUS_BLOCKED,
};

struct p9_owner {
	struct p9_owner *next; /* owners_lock, as is refs */
	unsigned int refs; /* handles */
	uint32_t process; /* the guest's number of it */
	dev_t dev;
	ino_t ino;
	int fd;
};

void p9_owner_put(struct p9_fids *fids, struct p9_owner *owner)
{
	struct p9_owner **at = &fids->owners;

	if (!owner)
		return;
	pthread_mutex_lock(&fids->owners_lock);
	if (--owner->refs) {
		owner = NULL;
	} else {
		while (*at != owner)
			at = &(*at)->next;
		*at = owner->next;
	}
	pthread_mutex_unlock(&fids->owners_lock);
	if (owner)
		close(owner->fd); /* and its locks are gone */
	free(owner);
}

/* For locks of both kinds a description must be open for both. */
static int open_for_locks(const struct p9_share *share, int fd)
{
	int opened = p9_fs_open(share, fd, O_RDWR);

	if (opened == -EACCES || opened == -EROFS || opened == -EISDIR)
		opened = p9_fs_open(share, fd, O_RDONLY);
	return opened;
}

static int create_owner(struct p9_server *server, struct p9_fid *fid,
			const struct stat *st, uint32_t process)
{
	struct p9_owner *owner = calloc(1, sizeof(*owner));
	int fd;

	if (!owner)
		return -ENOMEM;
	fd = open_for_locks(&server->share, fid->fd);
	if (fd < 0) {
		free(owner);
		return fd;
	}
	*owner = (struct p9_owner) {
		.refs = 1,
		.process = process,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.fd = fd,
	};
	pthread_mutex_lock(&server->fids.owners_lock);
	owner->next = server->fids.owners;
	server->fids.owners = owner;
	pthread_mutex_unlock(&server->fids.owners_lock);
	fid->owner = owner;
	return 0;
}

/* Give @fid an owner, if it has none yet. */
static int find_owner_locked(struct p9_server *server, struct p9_fid *fid,
			     uint32_t process)
{
	struct p9_owner *owner;
	struct stat st;

	if (fid->owner)
		return 0;
	if (fstat(fid->fd, &st))
		return -errno;
	pthread_mutex_lock(&server->fids.owners_lock);
	owner = server->fids.owners;
	while (owner && (owner->process != process || owner->dev != st.st_dev ||
			 owner->ino != st.st_ino))
		owner = owner->next;
	if (owner)
		owner->refs++;
	pthread_mutex_unlock(&server->fids.owners_lock);
	fid->owner = owner;
	return owner ? 0 : create_owner(server, fid, &st, process);
}

static int set_record_lock(int fd, const struct flock *lock)
{
	return fcntl(fd, F_OFD_SETLK, lock) ? -errno : 0;
}

/* The lock of flock() that goes with @lock, if one does. */
static int set_file_lock(int fd, const struct flock *lock)
{
	int op = lock->l_type == F_UNLCK ? LOCK_UN :
		 lock->l_type == F_WRLCK ? LOCK_EX :
					   LOCK_SH;

	if (lock->l_start || lock->l_len)
		return 0;
	return flock(fd, op | LOCK_NB) ? -errno : 0;
}

static int set_lock(struct p9_server *server, struct p9_fid *fid,
		    struct flock *lock, uint32_t process)
{
	int err;
	int fd;

	if (fid->kind != P9_FID_FILE && fid->kind != P9_FID_DIR)
		return -EBADF;
	pthread_mutex_lock(&fid->lock);
	err = find_owner_locked(server, fid, process);
	fd = err ? -1 : fid->owner->fd;
	pthread_mutex_unlock(&fid->lock);
	if (err)
		return err;
	err = set_file_lock(fd, lock);
	if (err)
		return err;
	err = set_record_lock(fd, lock);
	/* A folder, or a file that we cannot write, has but the other kind. */
	if (err == -EBADF && !lock->l_start && !lock->l_len)
		err = 0;
	if (err && lock->l_type != F_UNLCK && !lock->l_start && !lock->l_len)
		flock(fd, LOCK_UN);
	return err;
}

/* The fields that Tlock and Tgetlock share. */
static void get_range(struct p9_cursor *in, struct flock *lock)
{
	lock->l_whence = SEEK_SET;
	lock->l_start = (off_t)p9_get_u64(in);
	lock->l_len = (off_t)p9_get_u64(in);
}

static int get_type(struct p9_cursor *in, struct flock *lock)
{
	static const short types[] = {
		[TYPE_READ] = F_RDLCK,
		[TYPE_WRITE] = F_WRLCK,
		[TYPE_UNLOCK] = F_UNLCK,
	};
	uint8_t type = p9_get_u8(in);

	if (type > TYPE_UNLOCK)
		return -EINVAL;
	lock->l_type = types[type];
	return 0;
}

int p9_lock(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	struct flock lock = { 0 };
	int bad_type = get_type(&call->in, &lock);
	uint32_t process;
	char client[256];
	int err;

	/* "Wait" and "reclaim": neither is done here, and no other is known. */
	p9_get_u32(&call->in);
	get_range(&call->in, &lock);
	process = p9_get_u32(&call->in);
	p9_get_string(&call->in, client, sizeof(client));
	err = p9_get_end(&call->in);
	if (!err)
		err = bad_type;
	if (!err)
		err = set_lock(call->server, fid, &lock, process);
	p9_fid_put(&call->server->fids, fid);
	if (err && err != -EAGAIN && err != -EACCES)
		return err;
	p9_put_u8(&call->out, err ? STATUS_BLOCKED : STATUS_SUCCESS);
	return 0;
}

static int test_lock(struct p9_fid *fid, struct flock *lock)
{
	int fd;

	if (fid->kind != P9_FID_FILE)
		return -EBADF;
	pthread_mutex_lock(&fid->lock);
	fd = fid->owner ? fid->owner->fd : fid->fd;
	pthread_mutex_unlock(&fid->lock);
	return fcntl(fd, F_OFD_GETLK, lock) ? -errno : 0;
}

int p9_getlock(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	struct flock lock = { 0 };
	int bad_type = get_type(&call->in, &lock);
	uint32_t process;
	char client[256];
	int err;

	get_range(&call->in, &lock);
	process = p9_get_u32(&call->in);
	p9_get_string(&call->in, client, sizeof(client));
	err = p9_get_end(&call->in);
	if (!err)
		err = bad_type;
	if (!err)
		err = test_lock(fid, &lock);
	p9_fid_put(&call->server->fids, fid);
	if (err)
		return err;
	p9_put_u8(&call->out, lock.l_type == F_UNLCK ? TYPE_UNLOCK :
			      lock.l_type == F_WRLCK ? TYPE_WRITE :
						       TYPE_READ);
	p9_put_u64(&call->out, (uint64_t)lock.l_start);
	p9_put_u64(&call->out, (uint64_t)lock.l_len);
	p9_put_u32(&call->out, process);
	p9_put_string(&call->out, client);
	return 0;
}
