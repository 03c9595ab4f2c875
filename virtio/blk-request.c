/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests of the block device (virtio 1.2, 5.2.6), on their queue's thread:
 * parsing, checking, carrying out, answering. See blk.h.
 *
 * A request holds pointers into guest RAM, so stopping waits for all of them.
 */
#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include <lkvm/blk.h>
#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

_Static_assert(sizeof(struct virtio_blk_outhdr) == 16, "5.2.6");
_Static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16, "5.2.6");

static void submit_segment(struct blk_request *req);

/* ---- answers ------------------------------------------------------------- */

/*
 * Return @req with @filled bytes of its data written. The used length covers
 * what was written without a gap from the start (2.7.8.2), so the status byte
 * at the end counts only when all before it was filled.
 */
static void complete(struct blk_request *req, uint8_t status, uint64_t filled)
{
	struct blk_queue *queue = req->queue;

	if (filled == req->in.len)
		filled++;
	*req->status = status;
	virtq_push(queue->vq, req->chain.head, (uint32_t)filled);
	req->next_free = queue->free;
	queue->free = req;
	queue->in_flight--;
}

static void fail(struct blk_request *req, uint8_t status, const char *why)
{
	struct blk_queue *queue = req->queue;
	struct virtio_device *vdev = &queue->blk->vdev;

	log_warn_limited(&vdev->warn, "blk",
			 "%s: request of type %u at sector %llu, %llu bytes: "
			 "%s",
			 vdev->device.name, req->type,
			 (unsigned long long)req->sector,
			 (unsigned long long)req->out.len + req->in.len, why);
	counter_add(&queue->errors, 1);
	complete(req, status, 0);
}

static void succeed(struct blk_request *req)
{
	blk_count(&req->queue->counters[req->class], req->bytes,
		  now_ns() - req->started_ns);
	complete(req, VIRTIO_BLK_S_OK,
		 req->class == BLK_READ ? req->in.len : 0);
}

/* ---- the image ----------------------------------------------------------- */

/* What the guest is told, the VM's owner may want to know as well. */
static void tell_of_error(const struct blk_request *req, bool writes, int err)
{
	struct virtio_device *vdev = &req->queue->blk->vdev;
	struct machine *machine = vdev->machine;

	if (machine->disk_error)
		machine->disk_error(machine, vdev->device.name, writes, err);
}

static void image_done(struct image_request *image, int result)
{
	struct blk_request *req =
		container_of(image, struct blk_request, image);
	bool writes = image->op == IMAGE_WRITE ||
		      image->op == IMAGE_WRITE_ZEROES;

	if (result) {
		tell_of_error(req, writes, result);
		fail(req, VIRTIO_BLK_S_IOERR, strerror(-result));
	} else if (++req->segment < req->nr_segments) {
		submit_segment(req);
	} else if (writes && atomic_load(&req->queue->blk->write_through)) {
		/* 5.2.6.2: what such a driver has finished writing is stable. */
		image->op = IMAGE_FLUSH;
		image_submit(req->queue->image, image);
	} else {
		succeed(req);
	}
}

static bool in_disk(const struct blk_request *req, uint64_t sector,
		    uint64_t count)
{
	uint64_t capacity = req->queue->blk->image->size / BLK_SECTOR;

	/* Compared in sectors: no sum or product here can overflow. */
	return sector <= capacity && count <= capacity - sector;
}

/* All of @req is one operation of the image's, on sectors of the disk. */
static void submit(struct blk_request *req, enum image_op op, uint64_t sector,
		   uint64_t bytes)
{
	req->image.op = op;
	req->image.offset = sector * BLK_SECTOR;
	req->image.len = bytes;
	req->image.done = image_done;
	image_submit(req->queue->image, &req->image);
}

static void transfer(struct blk_request *req, enum image_op op,
		     const struct blk_data *data, const struct blk_data *other)
{
	if (other->len) {
		fail(req, VIRTIO_BLK_S_IOERR, "data of the wrong direction");
		return;
	}
	if (data->len % BLK_SECTOR ||
	    !in_disk(req, req->sector, data->len / BLK_SECTOR)) {
		fail(req, VIRTIO_BLK_S_IOERR, "not within the disk's sectors");
		return;
	}
	req->bytes = data->len;
	req->image.iov = data->iov;
	req->image.iov_count = data->count;
	submit(req, op, req->sector, data->len);
}

/* ---- discard and write zeroes -------------------------------------------- */

static void submit_segment(struct blk_request *req)
{
	const struct blk_segment *segment = &req->segments[req->segment];

	req->image.unmap = segment->unmap;
	submit(req,
	       req->class == BLK_DISCARD ? IMAGE_DISCARD : IMAGE_WRITE_ZEROES,
	       segment->sector, (uint64_t)segment->count * BLK_SECTOR);
}

/* Copy and check segment @index: a status, and @why when it is not OK. */
static uint8_t parse_segment(struct blk_request *req, unsigned int index,
			     const char **why)
{
	struct blk_segment *segment = &req->segments[index];
	uint32_t known = req->class == BLK_ZEROES ?
				 VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP :
				 0;
	struct virtio_blk_discard_write_zeroes wire;
	uint32_t flags;

	iov_to_buf(req->out.iov, req->out.count, index * sizeof(wire), &wire,
		   sizeof(wire));
	flags = le32toh(wire.flags);
	segment->sector = le64toh(wire.sector);
	segment->count = le32toh(wire.num_sectors);
	segment->unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	if (flags & ~known) {
		/* 5.2.6.2: also for unmap of a discard. */
		*why = "unknown flags";
		return VIRTIO_BLK_S_UNSUPP;
	}
	if (segment->count > BLK_MAX_RANGE) {
		*why = "a segment is too long";
		return VIRTIO_BLK_S_IOERR;
	}
	if (!in_disk(req, segment->sector, segment->count)) {
		*why = "a segment is not within the disk";
		return VIRTIO_BLK_S_IOERR;
	}
	req->bytes += (uint64_t)segment->count * BLK_SECTOR;
	return VIRTIO_BLK_S_OK;
}

/* Begin what has segments, when all of them are good. */
static void ranges(struct blk_request *req, unsigned int feature)
{
	size_t size = sizeof(struct virtio_blk_discard_write_zeroes);
	const char *why = NULL;

	if (!(req->queue->blk->vdev.features & BIT_ULL(feature))) {
		fail(req, VIRTIO_BLK_S_UNSUPP, "not negotiated");
		return;
	}
	if (!req->out.len || req->out.len % size || req->in.len ||
	    req->out.len / size > BLK_MAX_SEGMENTS) {
		fail(req, VIRTIO_BLK_S_IOERR, "a bad number of segments");
		return;
	}
	req->nr_segments = (unsigned int)(req->out.len / size);
	for (unsigned int i = 0; i < req->nr_segments; i++) {
		uint8_t status = parse_segment(req, i, &why);

		if (status != VIRTIO_BLK_S_OK) {
			fail(req, status, why);
			return;
		}
	}
	submit_segment(req);
}

/* ---- requests ------------------------------------------------------------ */

static void get_id(struct blk_request *req)
{
	/* Zero-padded, and not terminated when all bytes are used (5.2.6). */
	complete(req, VIRTIO_BLK_S_OK,
		 iov_from_buf(req->in.iov, req->in.count, 0,
			      req->queue->blk->serial, VIRTIO_BLK_ID_BYTES));
}

static void execute(struct blk_request *req)
{
	req->bytes = 0;
	req->segment = 0;
	req->nr_segments = 0;
	switch (req->type) {
	case VIRTIO_BLK_T_IN:
		req->class = BLK_READ;
		transfer(req, IMAGE_READ, &req->in, &req->out);
		break;
	case VIRTIO_BLK_T_OUT:
		req->class = BLK_WRITE;
		transfer(req, IMAGE_WRITE, &req->out, &req->in);
		break;
	case VIRTIO_BLK_T_FLUSH:
		/* 5.2.6.1 wants sector 0 and no data; nothing depends on it. */
		req->class = BLK_FLUSH;
		submit(req, IMAGE_FLUSH, 0, 0);
		break;
	case VIRTIO_BLK_T_DISCARD:
		req->class = BLK_DISCARD;
		ranges(req, VIRTIO_BLK_F_DISCARD);
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		req->class = BLK_ZEROES;
		ranges(req, VIRTIO_BLK_F_WRITE_ZEROES);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(req);
		break;
	default:
		fail(req, VIRTIO_BLK_S_UNSUPP, "unknown type");
		break;
	}
}

/*
 * Find header, data and status in the chain, however it is cut into buffers
 * (2.7.4.1). Returns NULL or what lacks.
 */
static const char *parse(struct blk_request *req)
{
	struct virtq_chain *chain = &req->chain;
	struct iovec *iov = chain->iov;
	struct virtio_blk_outhdr header;
	size_t skip = sizeof(header);
	struct iovec *last;

	if (iov_to_buf(iov, chain->out_count, 0, &header, sizeof(header)) !=
	    sizeof(header))
		return "a request without a whole header";
	if (!chain->in_count)
		return "a request without a status byte";
	req->type = le32toh(header.type);
	req->sector = le64toh(header.sector);

	req->in.iov = iov + chain->out_count;
	req->in.count = chain->in_count;
	req->in.len = chain->in_len - 1;
	last = iov + chain->out_count + chain->in_count - 1;
	last->iov_len--;
	req->status = (uint8_t *)last->iov_base + last->iov_len;
	/* What is empty now goes: direct I/O minds even its address. */
	if (!last->iov_len)
		req->in.count--;

	while (skip) {
		size_t n = MIN(skip, iov->iov_len);

		iov->iov_base = (char *)iov->iov_base + n;
		iov->iov_len -= n;
		skip -= n;
		if (!iov->iov_len)
			iov++;
	}
	req->out.iov = iov;
	req->out.count = chain->out_count - (unsigned int)(iov - chain->iov);
	req->out.len = chain->out_len - sizeof(header);
	return NULL;
}

/* ---- the queue ----------------------------------------------------------- */

static struct blk_queue *to_queue(struct virtio_worker *worker)
{
	return container_of(worker, struct blk_queue, worker);
}

/* Take one chain and start it: see virtio_worker_serve(). */
static int take(struct virtio_worker *worker, struct virtq *vq)
{
	struct blk_queue *queue = to_queue(worker);
	/* Never NULL: there is one more than can be in flight. */
	struct blk_request *req = queue->free;
	int got = virtq_pop(vq, &req->chain);
	const char *error;

	if (got <= 0)
		return got;
	error = parse(req);
	if (error)
		return virtq_break(vq, error);
	queue->free = req->next_free;
	queue->in_flight++;
	/* One look at the clock for all of a batch. */
	if (!queue->now_ns)
		queue->now_ns = now_ns();
	req->started_ns = queue->now_ns;
	execute(req);
	return 1;
}

static void taken(struct virtio_worker *worker)
{
	struct blk_queue *queue = to_queue(worker);

	queue->now_ns = 0;
	image_kick(queue->image);
}

static void kicked(struct virtio_worker *worker, struct virtq *vq)
{
	virtio_worker_serve(worker, vq, take);
}

/* Requests have completed: one signal for all. */
void blk_queue_batch_done(void *opaque)
{
	struct blk_queue *queue = opaque;

	if (!queue->worker.running && !queue->stopping)
		return;
	virtio_device_signal(&queue->blk->vdev, queue->vq);
	if (queue->stopping && !queue->in_flight) {
		/* In this order: the queue is another thread's after it. */
		queue->stopping = false;
		virtio_worker_idle(&queue->worker);
	}
}

static void start(struct virtio_worker *worker)
{
	image_queue_hurry(to_queue(worker)->image, false);
}

static void stop(struct virtio_worker *worker)
{
	struct blk_queue *queue = to_queue(worker);

	image_queue_hurry(queue->image, true);
	image_kick(queue->image);
	queue->stopping = true;
	blk_queue_batch_done(queue);
}

const struct virtio_worker_ops blk_worker_ops = {
	.kicked = kicked,
	.taken = taken,
	.start = start,
	.stop = stop,
};
