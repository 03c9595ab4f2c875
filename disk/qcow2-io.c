/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: the data of requests. Each range is cut into pieces that lie in one
 * place, and these are under way together. The caller's request has the range
 * for itself as far as it must: see qcow2-request.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/qcow2.h>

/* Page cache and O_DIRECT never meet in a page: see data_fd(). */
#define DIRECT_BYTES 4096ULL

/* One piece of I/O. */
struct piece {
	struct qcow2_op *op;
	union {
		struct engine_io io;
		struct image_request backing;
	};
	struct iovec iov[];
};

void qcow2_op_put(struct qcow2_op *op, int error)
{
	if (error && !op->error)
		op->error = error;
	if (!--op->pending)
		op->done(op);
}

/* ---- vectors and pieces -------------------------------------------------- */

static struct iov_walk walk_of(const struct qcow2_vector *vector, uint64_t len)
{
	return (struct iov_walk) { vector->iov, vector->count, vector->skip,
				   len };
}

static void fill_zeroes(const struct qcow2_vector *vector, uint64_t len)
{
	struct iov_walk walk = walk_of(vector, len);
	struct iovec part;

	while (iov_next(&walk, &part))
		memset(part.iov_base, 0, part.iov_len);
}

/* A zeroed piece of @op with a vector of its own; NULL fails @op. */
static struct piece *new_piece(struct qcow2_op *op,
			       const struct qcow2_vector *vector, uint64_t len,
			       unsigned int *count)
{
	struct iov_walk walk = walk_of(vector, len);
	struct iovec part;
	struct piece *piece;

	for (*count = 0; iov_next(&walk, &part);)
		++*count;
	piece = calloc(1, sizeof(*piece) + *count * sizeof(piece->iov[0]));
	op->pending++;
	if (!piece) {
		qcow2_op_put(op, -ENOMEM);
		return NULL;
	}
	walk = walk_of(vector, len);
	for (unsigned int i = 0; iov_next(&walk, &piece->iov[i]);)
		i++;
	piece->op = op;
	return piece;
}

static void piece_done(struct engine_io *io, int result)
{
	struct piece *piece = container_of(io, struct piece, io);
	struct qcow2_op *op = piece->op;

	free(piece);
	qcow2_op_put(op, result);
}

static void backing_done(struct image_request *request, int result)
{
	struct piece *piece = container_of(request, struct piece, backing);
	struct qcow2_op *op = piece->op;

	free(piece);
	qcow2_op_put(op, result);
}

/*
 * O_DIRECT takes what is aligned; the page cache takes the rest. Whole pages
 * only for the former, so that neither has an old copy of what the other
 * wrote beside it; clusters smaller than a page leave direct_fd at -1.
 */
static int data_fd(const struct qcow2 *q, const struct engine_io *io)
{
	uintptr_t bits = 0;

	if (q->direct_fd < 0 || ((io->offset | io->len) & (DIRECT_BYTES - 1)))
		return q->fd;
	for (unsigned int i = 0; i < io->iov_count; i++)
		bits |= (uintptr_t)io->iov[i].iov_base | io->iov[i].iov_len;
	return bits & (q->direct_align - 1) ? q->fd : q->direct_fd;
}

/* Bytes at @host of the file, from or to @vector. */
static void transfer(struct qcow2_op *op, enum engine_op kind, uint64_t host,
		     uint64_t len, const struct qcow2_vector *vector)
{
	unsigned int count;
	struct piece *piece = new_piece(op, vector, len, &count);

	if (!piece)
		return;
	piece->io.op = kind;
	piece->io.offset = host;
	piece->io.len = len;
	piece->io.iov = piece->iov;
	piece->io.iov_count = count;
	piece->io.done = piece_done;
	piece->io.fd = data_fd(qcow2_of_queue(op->queue), &piece->io);
	engine_submit(op->queue->queue->engine, &piece->io);
}

void qcow2_operate(struct qcow2_op *op, enum engine_op kind, uint64_t host,
		   uint64_t len)
{
	const struct qcow2_vector none = { .count = 0 };
	unsigned int count;
	struct piece *piece = new_piece(op, &none, 0, &count);

	if (!piece)
		return;
	piece->io.op = kind;
	piece->io.fd = qcow2_of_queue(op->queue)->fd;
	piece->io.offset = host;
	piece->io.len = len;
	piece->io.done = piece_done;
	engine_submit(op->queue->queue->engine, &piece->io);
}

/* ---- reading ------------------------------------------------------------- */

/* What the backing file has; zeroes where it ends. */
static void read_backing(struct qcow2_op *op, uint64_t offset, uint64_t len,
			 struct qcow2_vector vector)
{
	struct qcow2 *q = qcow2_of_queue(op->queue);
	uint64_t size = q->backing ? q->backing->size : 0;
	uint64_t n = offset < size ? MIN(len, size - offset) : 0;
	struct piece *piece;
	unsigned int count;

	if (n) {
		piece = new_piece(op, &vector, n, &count);
		if (!piece)
			return;
		piece->backing.op = IMAGE_READ;
		piece->backing.offset = offset;
		piece->backing.len = n;
		piece->backing.iov = piece->iov;
		piece->backing.iov_count = count;
		piece->backing.done = backing_done;
		image_submit(&op->queue->backing, &piece->backing);
	}
	vector.skip += n;
	fill_zeroes(&vector, len - n);
}

void qcow2_read_range(struct qcow2_op *op, uint64_t offset, uint64_t len,
		      struct qcow2_vector vector)
{
	struct qcow2 *q = qcow2_of_queue(op->queue);
	struct qcow2_run run;

	while (len && !op->error) {
		pthread_mutex_lock(&q->lock);
		op->error = qcow2_map(q, offset, len, &run);
		pthread_mutex_unlock(&q->lock);
		if (op->error)
			break;
		switch (run.kind) {
		case QCOW2_IS_UNALLOCATED:
			read_backing(op, offset, run.len, vector);
			break;
		case QCOW2_IS_ZERO:
			fill_zeroes(&vector, run.len);
			break;
		case QCOW2_IS_DATA:
			transfer(op, ENGINE_READ, run.host, run.len, &vector);
			break;
		case QCOW2_IS_COMPRESSED:
			qcow2_read_compressed(op, run.entry,
					      qcow2_within(q, offset), run.len,
					      vector);
			break;
		}
		offset += run.len;
		vector.skip += run.len;
		len -= run.len;
	}
}

/* ---- writing ------------------------------------------------------------- */

struct new_clusters;

/* A part of a new cluster that the request does not write. */
struct edge {
	struct qcow2_op read;
	struct new_clusters *owner;
	uint64_t host;
	struct iovec iov;
};

/* Clusters on their way to replace what was there. */
struct new_clusters {
	struct qcow2_op op; /* all that is written to them */
	struct qcow2_op *parent;
	uint64_t offset; /* of the disk */
	struct qcow2_allocation place;
	struct edge head, tail;
};

bool qcow2_reads_as_zero(const struct qcow2 *q, uint64_t offset,
			 const struct qcow2_run *run)
{
	return run->kind == QCOW2_IS_ZERO ||
	       (run->kind == QCOW2_IS_UNALLOCATED &&
		(!q->backing || offset >= q->backing->size));
}

static void edge_read(struct qcow2_op *op)
{
	struct edge *edge = container_of(op, struct edge, read);
	struct qcow2_op *writes = &edge->owner->op;
	const struct qcow2_vector vector = { &edge->iov, 1, 0 };

	if (!op->error)
		transfer(writes, ENGINE_WRITE, edge->host, edge->iov.iov_len,
			 &vector);
	qcow2_op_put(writes, op->error);
}

/* Copy [@offset, +@len), which lies in one cluster, to its new place. */
static void copy_edge(struct new_clusters *new, struct edge *edge,
		      uint64_t offset, uint64_t len)
{
	struct qcow2 *q = qcow2_of_queue(new->op.queue);
	const struct qcow2_vector vector = { &edge->iov, 1, 0 };
	struct qcow2_run run;
	int err;

	if (!len)
		return;
	pthread_mutex_lock(&q->lock);
	err = qcow2_map(q, offset, len, &run);
	pthread_mutex_unlock(&q->lock);
	if (!err && new->place.fresh &&
	    run.len == len &&qcow2_reads_as_zero(q, offset, &run))
		return;
	if (!err)
		edge->iov.iov_base = aligned_alloc(DIRECT_BYTES,
						   align_up(len, DIRECT_BYTES));
	edge->iov.iov_len = len;
	edge->owner = new;
	edge->host = new->place.host + (offset - new->offset);
	edge->read = (struct qcow2_op) {
		.queue = new->op.queue,
		.pending = 1,
		.error = edge->iov.iov_base ? 0 : -ENOMEM,
		.done = edge_read,
	};
	if (err)
		edge->read.error = err;
	new->op.pending++;
	if (!edge->read.error)
		qcow2_read_range(&edge->read, offset, len, vector);
	qcow2_op_put(&edge->read, 0);
}

static void new_clusters_done(struct qcow2_op *op)
{
	struct new_clusters *new = container_of(op, struct new_clusters, op);
	struct qcow2 *q = qcow2_of_queue(op->queue);
	struct qcow2_op *parent = new->parent;
	int err = op->error;

	pthread_mutex_lock(&q->lock);
	if (err)
		qcow2_free_now(q, new->place.host / q->cluster_size,
			       new->place.clusters);
	else
		err = qcow2_link(q, new->offset, new->place.host,
				 new->place.clusters);
	pthread_mutex_unlock(&q->lock);
	free(new->head.iov.iov_base);
	free(new->tail.iov.iov_base);
	free(new);
	qcow2_op_put(parent, err);
}

/* Write as much of [@offset, +@len) as new clusters in a row take. */
static uint64_t write_new(struct qcow2_op *op, uint64_t offset, uint64_t len,
			  const struct qcow2_vector *vector)
{
	struct qcow2 *q = qcow2_of_queue(op->queue);
	struct new_clusters *new = calloc(1, sizeof(*new));
	uint64_t start = qcow2_start(q, offset);
	uint64_t end = qcow2_end(q, offset + len);
	int err = -ENOMEM;

	if (new) {
		pthread_mutex_lock(&q->lock);
		err = qcow2_allocate(q, (end - start) / q->cluster_size,
				     &new->place);
		pthread_mutex_unlock(&q->lock);
	}
	if (err) {
		free(new);
		op->error = err;
		return 0;
	}
	end = MIN(end,
		  start + (uint64_t) new->place.clusters * q->cluster_size);
	len = MIN(len, end - offset);
	op->pending++;
	new->parent = op;
	new->offset = start;
	new->op = (struct qcow2_op) {
		.queue = op->queue,
		.pending = 1,
		.done = new_clusters_done,
	};
	transfer(&new->op, ENGINE_WRITE, new->place.host + (offset - start),
		 len, vector);
	copy_edge(new, &new->head, start, offset - start);
	copy_edge(new, &new->tail, offset + len, end - (offset + len));
	qcow2_op_put(&new->op, 0);
	return len;
}

void qcow2_write_range(struct qcow2_op *op, uint64_t offset, uint64_t len,
		       struct qcow2_vector vector)
{
	struct qcow2 *q = qcow2_of_queue(op->queue);
	struct qcow2_run run;

	while (len && !op->error) {
		uint64_t n;

		pthread_mutex_lock(&q->lock);
		op->error = qcow2_map_for_write(q, offset, len, &run);
		pthread_mutex_unlock(&q->lock);
		if (op->error)
			break;
		n = run.len;
		if (run.in_place)
			transfer(op, ENGINE_WRITE, run.host, n, &vector);
		else
			n = write_new(op, offset, n, &vector);
		offset += n;
		vector.skip += n;
		len -= n;
	}
}
