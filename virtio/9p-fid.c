/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's handles of files (fids, intro(5)): a table by number, with a
 * limit, and counted references, for messages on a handle and the one that
 * drops it may be served at once. See 9p.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

static struct p9_fid **bucket_of(struct p9_fids *fids, uint32_t id)
{
	return &fids->bucket[id % P9_FID_BUCKETS];
}

/* Where the pointer to fid @id stands, or would stand. */
static struct p9_fid **find_locked(struct p9_fids *fids, uint32_t id)
{
	struct p9_fid **at = bucket_of(fids, id);

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void destroy(struct p9_fids *fids, struct p9_fid *fid)
{
	if (fid->fd >= 0)
		close(fid->fd);
	if (fid->has_locks)
		p9_locks_drop(fids, fid);
	if (fid->buffer)
		atomic_fetch_sub(&fids->buffer_bytes, fid->buffer->size);
	free(fid->buffer);
	pthread_mutex_destroy(&fid->lock);
	free(fid);
}

void p9_fids_init(struct p9_fids *fids)
{
	pthread_mutex_init(&fids->lock, NULL);
	pthread_mutex_init(&fids->owners_lock, NULL);
}

void p9_fids_clear(struct p9_fids *fids)
{
	for (unsigned int i = 0; i < P9_FID_BUCKETS; i++)
		while (fids->bucket[i])
			p9_fid_put(fids,
				   p9_fid_remove(fids, fids->bucket[i]->id));
}

void p9_fids_release(struct p9_fids *fids)
{
	p9_fids_clear(fids);
	pthread_mutex_destroy(&fids->owners_lock);
	pthread_mutex_destroy(&fids->lock);
}

struct p9_fid *p9_fid_create(enum p9_fid_kind kind, int fd, uint32_t uid,
			     mode_t type)
{
	struct p9_fid *fid = calloc(1, sizeof(*fid));

	if (!fid) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	fid->refs = 1;
	fid->kind = kind;
	fid->fd = fd;
	fid->uid = uid;
	fid->type = type;
	pthread_mutex_init(&fid->lock, NULL);
	return fid;
}

int p9_fid_insert(struct p9_fids *fids, struct p9_fid *fid, uint32_t id)
{
	struct p9_fid **at;
	int err = 0;

	if (id == P9_NO_FID)
		return -EINVAL;
	pthread_mutex_lock(&fids->lock);
	at = find_locked(fids, id);
	if (*at) {
		err = -EINVAL;
	} else if (fids->count == P9_MAX_FIDS) {
		err = -EMFILE;
	} else {
		fid->id = id;
		fid->refs++;
		fids->count++;
		fids->last_fd = fid->fd;
		*at = fid;
	}
	pthread_mutex_unlock(&fids->lock);
	return err;
}

bool p9_fids_crowded(struct p9_server *server)
{
	unsigned int max = MIN(P9_MAX_FIDS, (unsigned int)server->share.max_fd);
	struct p9_fids *fids = &server->fids;
	unsigned int used;
	bool crowded;

	pthread_mutex_lock(&fids->lock);
	/* Other shares take descriptors too: it was the lowest that was free. */
	used = MAX(fids->count, (unsigned int)MAX(fids->last_fd, 0));
	if (used <= max / 2 || !fids->mark)
		fids->mark = max / 2;
	crowded = used > fids->mark;
	if (crowded)
		fids->mark = used + max / 8;
	pthread_mutex_unlock(&fids->lock);
	return crowded;
}

int p9_fid_replace(struct p9_fids *fids, struct p9_fid *old, struct p9_fid *fid)
{
	struct p9_fid **at;
	int err = 0;

	pthread_mutex_lock(&fids->lock);
	at = find_locked(fids, old->id);
	if (*at != old) {
		err = -EBADF;
	} else {
		fid->id = old->id;
		fid->refs++;
		fid->next = old->next;
		*at = fid;
		old->refs--; /* not the last: the caller has one */
	}
	pthread_mutex_unlock(&fids->lock);
	return err;
}

struct p9_fid *p9_fid_get(struct p9_fids *fids, uint32_t id)
{
	struct p9_fid *fid;

	pthread_mutex_lock(&fids->lock);
	fid = *find_locked(fids, id);
	if (fid)
		fid->refs++;
	pthread_mutex_unlock(&fids->lock);
	return fid;
}

struct p9_fid *p9_fid_remove(struct p9_fids *fids, uint32_t id)
{
	struct p9_fid **at;
	struct p9_fid *fid;

	pthread_mutex_lock(&fids->lock);
	at = find_locked(fids, id);
	fid = *at;
	if (fid) {
		*at = fid->next;
		fids->count--;
	}
	pthread_mutex_unlock(&fids->lock);
	return fid;
}

void p9_fid_put(struct p9_fids *fids, struct p9_fid *fid)
{
	bool last;

	if (!fid)
		return;
	pthread_mutex_lock(&fids->lock);
	last = !--fid->refs;
	pthread_mutex_unlock(&fids->lock);
	if (last)
		destroy(fids, fid);
}

int p9_fid_buffer(struct p9_fids *fids, struct p9_fid *fid, uint32_t size)
{
	struct p9_buffer *buffer;

	if (atomic_fetch_add(&fids->buffer_bytes, size) + size >
	    P9_MAX_BUFFERS) {
		atomic_fetch_sub(&fids->buffer_bytes, size);
		return -ENOSPC;
	}
	buffer = calloc(1, sizeof(*buffer) + size);
	if (!buffer) {
		atomic_fetch_sub(&fids->buffer_bytes, size);
		return -ENOMEM;
	}
	buffer->size = size;
	fid->buffer = buffer;
	return 0;
}
