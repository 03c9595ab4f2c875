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
 * file, through whichever handles, as POSIX wants it. It goes when the process
 * unlocks all of the file, as Linux does for it at each close(), or with the
 * handle through which it first locked. The handle alone would not do: v9fs
 * unlocks all for each process that ends and had inherited a descriptor.
 *
 * On a share that is read-only the guest's locks are its own affair: who may
 * change nothing there may not keep others from it either.
 *
 * No call waits: the answer to a lock that is taken is that it is, and the
 * guest asks again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
	struct p9_owner *next; /* owners_lock */
	const struct p9_fid *fid; /* that it goes with */
	uint32_t process; /* the guest's number of it */
	dev_t dev;
	ino_t ino;
	int fd;
	unsigned int ranges; /* at most so many are locked */
};

/* Unlink and free what @at points to; its locks go with the descriptor. */
static void drop_locked(struct p9_fids *fids, struct p9_owner **at)
{
	struct p9_owner *owner = *at;

	*at = owner->next;
	fids->nr_owners--;
	close(owner->fd);
	free(owner);
}

void p9_locks_drop(struct p9_fids *fids, const struct p9_fid *fid)
{
	struct p9_owner **at = &fids->owners;

	pthread_mutex_lock(&fids->owners_lock);
	while (*at) {
		if ((*at)->fid == fid)
			drop_locked(fids, at);
		else
			at = &(*at)->next;
	}
	pthread_mutex_unlock(&fids->owners_lock);
}

/* Where the pointer to the owner stands, or would stand. */
static struct p9_owner **find_locked(struct p9_fids *fids,
				     const struct stat *st, uint32_t process)
{
	struct p9_owner **at = &fids->owners;

	while (*at && ((*at)->process != process || (*at)->dev != st->st_dev ||
		       (*at)->ino != st->st_ino))
		at = &(*at)->next;
	return at;
}

/* For locks of both kinds a description must be open for both. */
static int open_for_locks(const struct p9_share *share, int fd)
{
	int opened = p9_fs_open(share, fd, O_RDWR);

	if (opened == -EACCES || opened == -EROFS || opened == -EISDIR)
		opened = p9_fs_open(share, fd, O_RDONLY);
	return opened;
}

static int create_locked(struct p9_server *server, struct p9_fid *fid,
			 const struct stat *st, uint32_t process)
{
	struct p9_fids *fids = &server->fids;
	struct p9_owner *owner;
	int fd;

	if (fids->nr_owners == P9_MAX_OWNERS)
		return -ENOLCK;
	owner = calloc(1, sizeof(*owner));
	if (!owner)
		return -ENOMEM;
	fd = open_for_locks(&server->share, fid->fd);
	if (fd < 0) {
		free(owner);
		return fd;
	}
	*owner = (struct p9_owner) {
		.next = fids->owners,
		.fid = fid,
		.process = process,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.fd = fd,
	};
	fids->owners = owner;
	fids->nr_owners++;
	fid->has_locks = true;
	return 0;
}

/* How many locks the description of @fd has; UINT_MAX: nobody knows. */
static unsigned int count_ranges(int fd)
{
	unsigned int count = 0;
	char text[256];
	FILE *info;

	snprintf(text, sizeof(text), "/proc/self/fdinfo/%d", fd);
	info = fopen(text, "re");
	if (!info)
		return UINT_MAX;
	/* proc(5): a line for each */
	while (fgets(text, sizeof(text), info))
		count += !strncmp(text, "lock:", strlen("lock:"));
	fclose(info);
	return count;
}

/*
 * May @owner set @lock? The kernel has no limit of its own for ranges. Taking
 * one may cut another one in three; giving one back, in two: that has the
 * higher limit, for who is at the first one to come down from it.
 */
static bool has_room(struct p9_owner *owner, const struct flock *lock)
{
	unsigned int limit = lock->l_type == F_UNLCK ? 2 * P9_MAX_RANGES :
						       P9_MAX_RANGES;

	/* What others joined or covered was counted, too. */
	if (owner->ranges > limit - 2)
		owner->ranges = count_ranges(owner->fd);
	if (owner->ranges > limit - 2)
		return false;
	owner->ranges += 2;
	return true;
}

static bool all_of_it(const struct flock *lock)
{
	return !lock->l_start && !lock->l_len;
}

/* Both kinds of lock, or none. */
static int set_on(int fd, const struct flock *lock)
{
	int op = lock->l_type == F_WRLCK ? LOCK_EX : LOCK_SH;

	if (all_of_it(lock) && flock(fd, op | LOCK_NB))
		return -errno;
	if (!fcntl(fd, F_OFD_SETLK, lock))
		return 0;
	/* A folder, or a file that we cannot write, has but the other kind. */
	if (errno == EBADF && all_of_it(lock))
		return 0;
	if (all_of_it(lock)) {
		int err = -errno;

		flock(fd, LOCK_UN);
		return err;
	}
	return -errno;
}

static int set_locked(struct p9_server *server, struct p9_fid *fid,
		      const struct flock *lock, uint32_t process)
{
	struct p9_owner **at;
	struct stat st;
	int err;

	if (fstat(fid->fd, &st))
		return -errno;
	at = find_locked(&server->fids, &st, process);
	if (lock->l_type == F_UNLCK) {
		if (!*at)
			return 0;
		if (!all_of_it(lock) && !has_room(*at, lock))
			return -ENOLCK;
		if (!all_of_it(lock))
			return fcntl((*at)->fd, F_OFD_SETLK, lock) ? -errno : 0;
		drop_locked(&server->fids, at);
		return 0;
	}
	if (!*at) {
		err = create_locked(server, fid, &st, process);
		if (err)
			return err;
		at = &server->fids.owners;
	}
	return has_room(*at, lock) ? set_on((*at)->fd, lock) : -ENOLCK;
}

static int set_lock(struct p9_server *server, struct p9_fid *fid,
		    const struct flock *lock, uint32_t process)
{
	int err;

	if (fid->kind != P9_FID_FILE && fid->kind != P9_FID_DIR)
		return -EBADF;
	if (server->share.read_only)
		return 0;
	pthread_mutex_lock(&server->fids.owners_lock);
	err = set_locked(server, fid, lock, process);
	pthread_mutex_unlock(&server->fids.owners_lock);
	return err;
}

struct request {
	struct flock lock;
	uint32_t process;
	char client[256];
};

/* The fields of Tlock or, without @flags, of Tgetlock. */
static int get_request(struct p9_cursor *in, bool flags,
		       struct request *request)
{
	static const short types[] = {
		[TYPE_READ] = F_RDLCK,
		[TYPE_WRITE] = F_WRLCK,
		[TYPE_UNLOCK] = F_UNLCK,
	};
	uint8_t type = p9_get_u8(in);
	int err;

	/* "Wait" and "reclaim": neither is done here, and no other is known. */
	if (flags)
		p9_get_u32(in);
	request->lock = (struct flock) { .l_whence = SEEK_SET };
	request->lock.l_start = (off_t)p9_get_u64(in);
	request->lock.l_len = (off_t)p9_get_u64(in);
	request->process = p9_get_u32(in);
	p9_get_string(in, request->client, sizeof(request->client));
	err = p9_get_end(in);
	if (err)
		return err;
	if (type > TYPE_UNLOCK)
		return -EINVAL;
	request->lock.l_type = types[type];
	return 0;
}

int p9_lock(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	struct request request;
	int err = get_request(&call->in, true, &request);

	if (!err)
		err = set_lock(call->server, fid, &request.lock,
			       request.process);
	p9_fid_put(&call->server->fids, fid);
	if (err && err != -EAGAIN && err != -EACCES)
		return err;
	p9_put_u8(&call->out, err ? STATUS_BLOCKED : STATUS_SUCCESS);
	return 0;
}

static int test_lock(struct p9_server *server, struct p9_fid *fid,
		     struct flock *lock, uint32_t process)
{
	struct p9_owner *owner;
	struct stat st;
	int err = 0;

	if (fid->kind != P9_FID_FILE)
		return -EBADF;
	if (fstat(fid->fd, &st))
		return -errno;
	pthread_mutex_lock(&server->fids.owners_lock);
	owner = *find_locked(&server->fids, &st, process);
	if (fcntl(owner ? owner->fd : fid->fd, F_OFD_GETLK, lock))
		err = -errno;
	pthread_mutex_unlock(&server->fids.owners_lock);
	return err;
}

int p9_getlock(struct p9_call *call)
{
	struct p9_fid *fid = p9_get_fid(call);
	struct request request;
	struct flock *lock = &request.lock;
	int err = get_request(&call->in, false, &request);

	if (!err)
		err = test_lock(call->server, fid, lock, request.process);
	p9_fid_put(&call->server->fids, fid);
	if (err)
		return err;
	p9_put_u8(&call->out, lock->l_type == F_UNLCK ? TYPE_UNLOCK :
			      lock->l_type == F_WRLCK ? TYPE_WRITE :
							TYPE_READ);
	p9_put_u64(&call->out, (uint64_t)lock->l_start);
	p9_put_u64(&call->out, (uint64_t)lock->l_len);
	p9_put_u32(&call->out, request.process);
	p9_put_string(&call->out, request.client);
	return 0;
}
