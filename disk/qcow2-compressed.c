/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: reading compressed clusters ("Compressed Clusters Descriptor"; raw
 * deflate or zstd frames). They are never written: a write makes them normal.
 *
 * One cluster at a time for each queue, so that memory is bounded however many
 * requests wait; the last one is kept, for small reads in a row.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <lkvm/qcow2.h>

/* A frame may ask for more memory than this: 8 MiB, 4 of the largest clusters. */
#define ZSTD_MAX_WINDOW_LOG 23

/* A part of a compressed cluster that a request waits for. */
struct inflate_request {
	struct qcow2_op *op;
	uint64_t entry;
	uint64_t skip, len; /* of the cluster */
	struct qcow2_vector vector;
	STAILQ_ENTRY(inflate_request) link;
};

STAILQ_HEAD(inflate_list, inflate_request);

struct qcow2_inflater {
	struct qcow2_queue *queue;
	struct inflate_list requests;
	bool busy; /* inside serve(), or the first is being read */
	uint64_t entry; /* what data is from; 0: from nothing */
	uint8_t *data; /* a cluster */
	uint8_t *packed; /* two clusters: the longest that can be told */
	ZSTD_DCtx *zstd;
	struct engine_io io;
	struct iovec iov;
};

static int inflate_zlib(struct qcow2_inflater *inflater, size_t packed_len,
			size_t cluster_size)
{
	z_stream stream = {
		.next_in = inflater->packed,
		.avail_in = (uInt)packed_len,
		.next_out = inflater->data,
		.avail_out = (uInt)cluster_size,
	};
	int ret = inflateInit2(&stream, -MAX_WBITS);

	if (ret != Z_OK)
		return -ENOMEM;
	ret = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	/* It need not end where the cluster does: the rest is of no interest. */
	return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) &&
			       !stream.avail_out ?
		       0 :
		       -EIO;
}

static int inflate_zstd(struct qcow2_inflater *inflater, size_t packed_len,
			size_t cluster_size)
{
	ZSTD_inBuffer in = { inflater->packed, packed_len, 0 };
	ZSTD_outBuffer out = { inflater->data, cluster_size, 0 };
	size_t ret = 1;

	if (!inflater->zstd) {
		inflater->zstd = ZSTD_createDCtx();
		if (!inflater->zstd)
			return -ENOMEM;
		ZSTD_DCtx_setParameter(inflater->zstd, ZSTD_d_windowLogMax,
				       ZSTD_MAX_WINDOW_LOG);
	}
	ZSTD_DCtx_reset(inflater->zstd, ZSTD_reset_session_only);
	while (out.pos < out.size) {
		size_t in_before = in.pos, out_before = out.pos;

		ret = ZSTD_decompressStream(inflater->zstd, &out, &in);
		if (ZSTD_isError(ret) ||
		    (in.pos == in_before && out.pos == out_before))
			return -EIO;
	}
	return 0;
}

static int unpack(struct qcow2_inflater *inflater, size_t packed_len)
{
	struct qcow2 *q = qcow2_of_queue(inflater->queue);
	int err;

	if (q->compression == QCOW2_ZSTD)
		err = inflate_zstd(inflater, packed_len, q->cluster_size);
	else
		err = inflate_zlib(inflater, packed_len, q->cluster_size);
	if (err == -EIO)
		log_warn_limited(&q->limit, "disk",
				 "%s: a compressed cluster is broken", q->name);
	return err;
}

static void finish_first(struct qcow2_inflater *inflater, int err)
{
	struct inflate_request *r = STAILQ_FIRST(&inflater->requests);
	struct qcow2_op *op = r->op;

	STAILQ_REMOVE_HEAD(&inflater->requests, link);
	if (!err)
		iov_from_buf(r->vector.iov, r->vector.count, r->vector.skip,
			     inflater->data + r->skip, r->len);
	free(r);
	qcow2_op_put(op, err);
}

static void serve(struct qcow2_inflater *inflater);

static void packed_read(struct engine_io *io, int result)
{
	struct qcow2_inflater *inflater =
		container_of(io, struct qcow2_inflater, io);
	uint64_t entry = STAILQ_FIRST(&inflater->requests)->entry;

	inflater->entry = 0;
	if (!result)
		result = unpack(inflater, inflater->iov.iov_len);
	if (!result)
		inflater->entry = entry;
	finish_first(inflater, result);
	serve(inflater);
}

/* Answer from what is there, and read for the first that needs more. */
static void serve(struct qcow2_inflater *inflater)
{
	struct qcow2 *q = qcow2_of_queue(inflater->queue);
	struct inflate_request *r;
	uint64_t offset, len;

	inflater->busy = true;
	while ((r = STAILQ_FIRST(&inflater->requests)) &&
	       r->entry == inflater->entry)
		finish_first(inflater, 0);
	if (!r) {
		inflater->busy = false;
		return;
	}
	qcow2_compressed_bytes(q, r->entry, &offset, &len);
	pthread_mutex_lock(&q->lock);
	/* The last sector may be cut short with the file. */
	len = MIN(len, q->file_end - offset);
	pthread_mutex_unlock(&q->lock);
	inflater->iov.iov_base = inflater->packed;
	inflater->iov.iov_len = len;
	inflater->io = (struct engine_io) {
		.op = ENGINE_READ,
		.fd = q->fd,
		.offset = offset,
		.len = len,
		.iov = &inflater->iov,
		.iov_count = 1,
		.done = packed_read,
	};
	engine_submit(inflater->queue->queue->engine, &inflater->io);
}

int qcow2_inflater_create(struct qcow2_queue *queue,
			  struct qcow2_inflater **out)
{
	uint32_t cluster_size = qcow2_of_queue(queue)->cluster_size;
	struct qcow2_inflater *inflater = calloc(1, sizeof(*inflater));

	if (!inflater)
		return -ENOMEM;
	inflater->queue = queue;
	STAILQ_INIT(&inflater->requests);
	/* Untouched, and so no memory, while nothing is compressed. */
	inflater->data = malloc(cluster_size);
	inflater->packed = malloc(2 * (size_t)cluster_size);
	if (!inflater->data || !inflater->packed) {
		qcow2_inflater_destroy(inflater);
		return -ENOMEM;
	}
	*out = inflater;
	return 0;
}

void qcow2_inflater_destroy(struct qcow2_inflater *inflater)
{
	if (!inflater)
		return;
	ZSTD_freeDCtx(inflater->zstd);
	free(inflater->packed);
	free(inflater->data);
	free(inflater);
}

void qcow2_read_compressed(struct qcow2_op *op, uint64_t entry, uint64_t skip,
			   uint64_t len, struct qcow2_vector vector)
{
	struct qcow2_inflater *inflater = op->queue->inflater;
	struct inflate_request *r = malloc(sizeof(*r));

	if (!r) {
		op->error = -ENOMEM;
		return;
	}
	*r = (struct inflate_request) { op, entry, skip, len, vector, { 0 } };
	op->pending++;
	STAILQ_INSERT_TAIL(&inflater->requests, r, link);
	if (!inflater->busy)
		serve(inflater);
}
