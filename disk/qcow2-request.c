/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: requests, and the order among them.
 *
 * A request that changes where clusters are (it allocates, or takes away) is
 * alone on its clusters: it waits for all earlier ones there, and later ones
 * wait for it. So no I/O is under way in a cluster that changes hands, and two
 * writes to a new cluster do not both make one. Waiting costs no thread: the
 * request stays in qcow2.requests, and is looked at again when one ends. It
 * only ever waits for earlier ones, so there is no deadlock, and later ones do
 * not overtake it there, so there is no starvation.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/qcow2.h>

/* What write-zeroes writes at once where it has to write. */
#define ZERO_BYTES (256 * KIB)

enum request_state {
	SHARED, /* changes no place */
	EXCLUSIVE,
	WAITING, /* may come to be either: later ones there wait */
};

struct qcow2_request {
	struct qcow2_op op;
	struct image_request *request;
	uint64_t first, last; /* clusters */
	uint64_t position; /* WRITE_ZEROES: done so far */
	struct iovec zeroes; /* WRITE_ZEROES: made when first needed */
	/* Guarded by qcow2.lock. */
	TAILQ_ENTRY(qcow2_request) link;
	enum request_state state;
	uint64_t copy_bytes;
};

/* ---- discard, zeroes, flush ---------------------------------------------- */

/* The end of the last whole cluster before @end; the disk's last is whole. */
static uint64_t whole_end(const struct qcow2 *q, uint64_t end)
{
	return end == q->image.size ? qcow2_end(q, end) : qcow2_start(q, end);
}

static void discard(struct qcow2_request *r)
{
	struct qcow2 *q = qcow2_of_queue(r->op.queue);
	uint64_t start = qcow2_end(q, r->request->offset);
	uint64_t end = whole_end(q, r->request->offset + r->request->len);

	if (start >= end)
		return;
	pthread_mutex_lock(&q->lock);
	r->op.error = qcow2_unlink(q, start, end - start, false);
	pthread_mutex_unlock(&q->lock);
}

/* What zeroes are written from, and how much of it is needed for @len. */
static uint64_t zero_buffer(struct qcow2_request *r, uint64_t len)
{
	struct qcow2 *q = qcow2_of_queue(r->op.queue);

	if (!r->zeroes.iov_base) {
		r->zeroes.iov_len = MAX(q->cluster_size, ZERO_BYTES);
		r->zeroes.iov_base = calloc(1, r->zeroes.iov_len);
		if (!r->zeroes.iov_base)
			r->op.error = -ENOMEM;
	}
	return r->op.error ? 0 : MIN(len, r->zeroes.iov_len);
}

/*
 * Make some of [@at, +@len) zero. *@n is how much, or will be: true when that
 * is under way as a piece of the request.
 */
static bool zero_some(struct qcow2_request *r, uint64_t at, uint64_t len,
		      bool whole, uint64_t *n)
{
	struct qcow2 *q = qcow2_of_queue(r->op.queue);
	const struct qcow2_vector zeroes = { &r->zeroes, 1, 0 };
	bool unmap = r->request->unmap && !q->image.options.no_discard;
	bool may_unlink = whole && (!q->backing || q->version >= 3);
	struct qcow2_run run = { .len = 0 };
	bool unlinked = false;

	pthread_mutex_lock(&q->lock);
	r->op.error = qcow2_map_for_write(q, at, len, &run);
	if (!r->op.error && may_unlink && (unmap || !run.in_place)) {
		r->op.error = qcow2_unlink(q, at, run.len, true);
		unlinked = true;
	}
	pthread_mutex_unlock(&q->lock);
	*n = run.len;
	if (r->op.error || unlinked || qcow2_reads_as_zero(q, at, &run))
		return false;
	r->op.pending = 1;
	if (run.in_place) {
		qcow2_operate(&r->op, ENGINE_ALLOCATE_ZEROES, run.host,
			      run.len);
	} else {
		*n = zero_buffer(r, run.len);
		qcow2_write_range(&r->op, at, *n, zeroes);
	}
	return true;
}

static void request_done(struct qcow2_op *op);

/* One step after the other: ranges can be as large as the disk. */
static void zero_step(struct qcow2_op *op)
{
	struct qcow2_request *r = container_of(op, struct qcow2_request, op);
	struct qcow2 *q = qcow2_of_queue(op->queue);
	uint64_t end = r->request->offset + r->request->len;

	while (!op->error && r->position < end) {
		uint64_t at = r->position;
		uint64_t stop = whole_end(q, end);
		bool whole = !qcow2_within(q, at) && at < stop;
		bool under_way;
		uint64_t n;

		if (!whole)
			stop = MIN(qcow2_end(q, at + 1), end);
		under_way = zero_some(r, at, stop - at, whole, &n);
		r->position += n;
		if (under_way) {
			qcow2_op_put(op, 0);
			return;
		}
	}
	request_done(op);
}

static void flush_done(struct qcow2_op *op)
{
	struct qcow2_request *r = container_of(op, struct qcow2_request, op);

	r->request->done(r->request, op->error);
	free(r);
}

static void flush(struct qcow2_request *r)
{
	struct qcow2 *q = qcow2_of_queue(r->op.queue);
	bool synced = !q->syncs || q->image.read_only;

	pthread_mutex_lock(&q->lock);
	r->op.error = qcow2_write_back(q, &synced);
	pthread_mutex_unlock(&q->lock);
	r->op.pending = 1;
	r->op.done = flush_done;
	if (!r->op.error && !synced)
		qcow2_operate(&r->op, ENGINE_SYNC_DATA, 0, 0);
	qcow2_op_put(&r->op, 0);
}

/* ---- who may run: lock held ---------------------------------------------- */

static void set_state(struct qcow2 *q, struct qcow2_request *r,
		      enum request_state state)
{
	q->barriers += (state != SHARED) - (r->state != SHARED);
	q->waiting += (state == WAITING) - (r->state == WAITING);
	r->op.queue->waiting += (state == WAITING) - (r->state == WAITING);
	r->state = state;
}

/* Does an earlier request keep @r from being what it wants to be? */
static bool must_wait(const struct qcow2 *q, const struct qcow2_request *r,
		      bool exclusive)
{
	const struct qcow2_request *other;

	/* The usual case: nobody allocates, nobody waits. */
	if (!exclusive && q->barriers == (r->state == WAITING))
		return false;
	TAILQ_FOREACH(other, &q->requests, link)
	{
		if (other == r)
			break;
		if ((exclusive || other->state != SHARED) &&
		    other->first <= r->last && r->first <= other->last)
			return true;
	}
	return false;
}

/* Does @r change where clusters are? */
static int look_at(struct qcow2 *q, const struct image_request *request,
		   bool *exclusive)
{
	uint64_t at = request->offset;
	uint64_t end = at + request->len;
	struct qcow2_run run;
	int err;

	*exclusive = false;
	if (request->op == IMAGE_READ)
		return 0;
	err = q->corrupt ? -EIO : qcow2_prepare_write(q);
	*exclusive = request->op != IMAGE_WRITE;
	while (!err && !*exclusive && at < end) {
		err = qcow2_map_for_write(q, at, end - at, &run);
		if (err)
			break;
		*exclusive = !run.in_place;
		at += run.len;
	}
	return err;
}

/* Buffers that @r may need at most. */
static uint64_t copy_bytes(const struct qcow2 *q,
			   const struct image_request *request)
{
	uint64_t end = request->offset + request->len;

	switch (request->op) {
	case IMAGE_WRITE:
		return qcow2_within(q, request->offset) +
		       (qcow2_end(q, end) - end);
	case IMAGE_WRITE_ZEROES:
		return MAX(q->cluster_size, ZERO_BYTES) +
		       2ULL * q->cluster_size;
	default:
		return 0;
	}
}

/* Let @r run, or wait. An error is the request's, which runs to say so. */
static bool admit(struct qcow2 *q, struct qcow2_request *r)
{
	bool exclusive = false;
	uint64_t bytes = 0;
	bool wait = must_wait(q, r, false);

	if (!wait) {
		r->op.error = look_at(q, r->request, &exclusive);
		wait = !r->op.error && exclusive && must_wait(q, r, true);
	}
	if (!wait && exclusive) {
		bytes = copy_bytes(q, r->request);
		wait = q->copy_bytes &&
		       q->copy_bytes + bytes > QCOW2_COPY_BYTES;
	}
	if (wait) {
		set_state(q, r, WAITING);
		return false;
	}
	q->copy_bytes += bytes;
	r->copy_bytes = bytes;
	set_state(q, r, exclusive ? EXCLUSIVE : SHARED);
	return true;
}

static void start(struct qcow2_request *r)
{
	const struct image_request *request = r->request;
	const struct qcow2_vector vector = { request->iov, request->iov_count,
					     0 };

	r->op.pending = 1;
	r->op.done = request_done;
	if (r->op.error) {
		qcow2_op_put(&r->op, 0);
		return;
	}
	switch (request->op) {
	case IMAGE_READ:
		qcow2_read_range(&r->op, request->offset, request->len, vector);
		break;
	case IMAGE_WRITE:
		qcow2_write_range(&r->op, request->offset, request->len,
				  vector);
		break;
	case IMAGE_DISCARD:
		discard(r);
		break;
	case IMAGE_WRITE_ZEROES:
		r->position = request->offset;
		r->op.done = zero_step;
		break;
	case IMAGE_FLUSH:
		break;
	}
	qcow2_op_put(&r->op, 0);
}

static struct qcow2_request *next_to_resume(struct qcow2_queue *queue)
{
	struct qcow2 *q = qcow2_of_queue(queue);
	struct qcow2_request *r;

	pthread_mutex_lock(&q->lock);
	TAILQ_FOREACH(r, &q->requests, link)
	{
		if (r->op.queue == queue && r->state == WAITING && admit(q, r))
			break;
	}
	pthread_mutex_unlock(&q->lock);
	return r;
}

/* Not nested, however many requests end at once within start(). */
static void resume(struct qcow2_queue *queue)
{
	struct qcow2_request *r;

	queue->again = true;
	if (queue->resuming)
		return;
	queue->resuming = true;
	while (queue->again) {
		queue->again = false;
		while ((r = next_to_resume(queue)))
			start(r);
	}
	queue->resuming = false;
}

/* Requests of other queues resume on their own threads. */
static void wake_others(struct qcow2 *q, const struct qcow2_queue *self)
{
	struct qcow2_queue *queue;
	uint64_t one = 1;

	LIST_FOREACH(queue, &q->queues, link)
	{
		if (queue != self && queue->waiting)
			(void)!write(queue->wake.fd, &one, sizeof(one));
	}
}

static void request_done(struct qcow2_op *op)
{
	struct qcow2_request *r = container_of(op, struct qcow2_request, op);
	struct qcow2_queue *queue = op->queue;
	struct qcow2 *q = qcow2_of_queue(queue);
	struct image_request *request = r->request;
	int err = op->error;
	bool own;

	pthread_mutex_lock(&q->lock);
	TAILQ_REMOVE(&q->requests, r, link);
	set_state(q, r, SHARED);
	q->copy_bytes -= r->copy_bytes;
	if (q->waiting)
		wake_others(q, queue);
	own = queue->waiting;
	pthread_mutex_unlock(&q->lock);
	free(r->zeroes.iov_base);
	free(r);
	request->done(request, err);
	if (own)
		resume(queue);
}

void qcow2_submit(struct image_queue *queue, struct image_request *request)
{
	struct qcow2_queue *own = queue->format_data;
	struct qcow2 *q = qcow2_of(queue->image);
	struct qcow2_request *r = calloc(1, sizeof(*r));
	bool run;

	if (!r) {
		request->done(request, -ENOMEM);
		return;
	}
	r->op.queue = own;
	r->request = request;
	if (request->op == IMAGE_FLUSH) {
		flush(r);
		return;
	}
	r->first = request->offset >> q->cluster_bits;
	r->last = (request->offset + request->len - 1) >> q->cluster_bits;
	pthread_mutex_lock(&q->lock);
	TAILQ_INSERT_TAIL(&q->requests, r, link);
	run = admit(q, r);
	pthread_mutex_unlock(&q->lock);
	if (run)
		start(r);
}

/* ---- queues -------------------------------------------------------------- */

static void wake_ready(void *opaque, uint32_t events)
{
	struct qcow2_queue *queue = opaque;
	uint64_t count;

	(void)events;
	(void)!read(queue->wake.fd, &count, sizeof(count));
	resume(queue);
	image_end_batch(queue->queue);
}

static int init_backing(struct qcow2_queue *queue, struct image *backing)
{
	queue->backing.image = backing;
	queue->backing.engine = queue->queue->engine;
	return backing->ops->queue_init ?
		       backing->ops->queue_init(&queue->backing) :
		       0;
}

static int init_wake(struct qcow2_queue *queue)
{
	int err;

	queue->wake.ready = wake_ready;
	queue->wake.opaque = queue;
	queue->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->wake.fd < 0)
		return -errno;
	err = loop_add(queue->queue->engine->loop, &queue->wake, EPOLLIN);
	if (err)
		close(queue->wake.fd);
	return err;
}

int qcow2_queue_init(struct image_queue *queue)
{
	struct qcow2 *q = qcow2_of(queue->image);
	struct qcow2_queue *own = calloc(1, sizeof(*own));
	int err;

	if (!own)
		return -ENOMEM;
	own->queue = queue;
	err = init_wake(own);
	if (err)
		goto free_own;
	err = qcow2_inflater_create(own, &own->inflater);
	if (err)
		goto release_wake;
	err = q->backing ? init_backing(own, q->backing) : 0;
	if (err)
		goto destroy_inflater;
	queue->format_data = own;
	pthread_mutex_lock(&q->lock);
	LIST_INSERT_HEAD(&q->queues, own, link);
	pthread_mutex_unlock(&q->lock);
	return 0;

destroy_inflater:
	qcow2_inflater_destroy(own->inflater);
release_wake:
	loop_del(queue->engine->loop, &own->wake);
	close(own->wake.fd);
free_own:
	free(own);
	return err;
}

void qcow2_queue_release(struct image_queue *queue)
{
	struct qcow2_queue *own = queue->format_data;
	struct qcow2 *q = qcow2_of(queue->image);

	pthread_mutex_lock(&q->lock);
	LIST_REMOVE(own, link);
	pthread_mutex_unlock(&q->lock);
	if (q->backing && q->backing->ops->queue_release)
		q->backing->ops->queue_release(&own->backing);
	loop_del(queue->engine->loop, &own->wake);
	close(own->wake.fd);
	qcow2_inflater_destroy(own->inflater);
	free(own);
}
