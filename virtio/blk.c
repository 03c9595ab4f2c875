/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Block device (virtio 1.2, 5.2): one queue, served by a thread of its own.
 *
 * The thread owns the queue, the pool of requests and the image from start()
 * to stop(); vCPUs and the main thread touch them only outside of that span.
 * A request holds pointers into guest RAM, so stop() waits for all of them.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define SECTOR 512
#define BLK_QUEUE_SIZE 256

/* Chains taken before the thread's other work and the interrupt get a turn. */
#define BLK_BATCH 32

/* PCI Code and ID Assignment: mass storage controller, other. */
#define BLK_PCI_CLASS 0x018000

_Static_assert(sizeof(struct virtio_blk_outhdr) == 16, "5.2.6");
_Static_assert(sizeof(struct virtio_blk_config) <= VIRTIO_CONFIG_MAX, "5.2.4");

struct blk_data {
	const struct iovec *iov;
	unsigned int count;
	uint64_t len;
};

struct blk_request {
	struct image_request image;
	struct blk *blk;
	uint32_t type; /* VIRTIO_BLK_T_* */
	uint64_t sector;
	uint8_t *status; /* in guest RAM */
	struct blk_data out, in; /* without header and status */
	struct virtq_chain chain;
};

struct blk {
	struct virtio_device vdev;
	struct image *image;
	struct io_thread *thread;
	int kick_fd; /* eventfd: the queue wants a look */
	struct loop_source kick;

	bool started; /* vdev.lock: the thread serves the queue */

	/* The thread's from start() to stop(), as is the queue. */
	struct blk_request *requests; /* one more than the queue's size */
	uint16_t free[VIRTQ_MAX_SIZE + 1]; /* indices into requests, a stack */
	unsigned int nr_free;
	unsigned int in_flight;
	bool serving; /* within blk_serve(), which signals at its end */
	bool stopping; /* the last request posts idle */
	bool write_through; /* FLUSH was not negotiated */
	sem_t idle;

	/* statistics; written by the thread */
	_Atomic uint64_t reads, writes, flushes, errors;
	_Atomic uint64_t read_bytes, written_bytes;
};

static struct blk *to_blk(struct virtio_device *vdev)
{
	return container_of(vdev, struct blk, vdev);
}

/* ---- requests (5.2.6), on the thread ------------------------------------- */

/*
 * Return @req with @filled bytes of its data written. The used length covers
 * what was written without a gap from the start (2.7.8.2), so the status byte
 * at the end counts only when all before it was filled.
 */
static void complete(struct blk_request *req, uint8_t status, uint64_t filled)
{
	struct blk *blk = req->blk;
	struct virtq *vq = &blk->vdev.queue[0];

	if (filled == req->in.len)
		filled++;
	*req->status = status;
	virtq_push(vq, req->chain.head, (uint32_t)filled);
	blk->free[blk->nr_free++] = (uint16_t)(req - blk->requests);
	blk->in_flight--;
	if (!blk->serving)
		virtio_device_signal(&blk->vdev, vq);
	if (blk->stopping && !blk->in_flight)
		sem_post(&blk->idle);
}

static void fail(struct blk_request *req, uint8_t status, const char *why)
{
	struct blk *blk = req->blk;

	log_warn_limited(&blk->vdev.warn, "blk",
			 "%s: request of type %u at sector %llu, %llu bytes: "
			 "%s",
			 blk->vdev.device.name, req->type,
			 (unsigned long long)req->sector,
			 (unsigned long long)req->out.len + req->in.len, why);
	atomic_fetch_add(&blk->errors, 1);
	complete(req, status, 0);
}

static void image_done(struct image_request *image, int result)
{
	struct blk_request *req =
		container_of(image, struct blk_request, image);
	struct blk *blk = req->blk;
	uint64_t filled = 0;

	if (result) {
		fail(req, VIRTIO_BLK_S_IOERR, strerror(-result));
		return;
	}
	if (image->op == IMAGE_WRITE && blk->write_through) {
		/* 5.2.6.2: such a driver takes a finished write for stable. */
		image->op = IMAGE_FLUSH;
		image_submit(blk->image, image);
		return;
	}
	switch (req->type) {
	case VIRTIO_BLK_T_IN:
		atomic_fetch_add(&blk->reads, 1);
		atomic_fetch_add(&blk->read_bytes, image->len);
		filled = image->len;
		break;
	case VIRTIO_BLK_T_OUT:
		atomic_fetch_add(&blk->writes, 1);
		atomic_fetch_add(&blk->written_bytes, image->len);
		break;
	default:
		atomic_fetch_add(&blk->flushes, 1);
		break;
	}
	complete(req, VIRTIO_BLK_S_OK, filled);
}

static void submit(struct blk_request *req, enum image_op op,
		   const struct blk_data *data)
{
	struct image *image = req->blk->image;
	uint64_t capacity = image->size / SECTOR;

	/* Compared in sectors: no sum or product here can overflow. */
	if (data->len % SECTOR || req->sector > capacity ||
	    data->len / SECTOR > capacity - req->sector) {
		fail(req, VIRTIO_BLK_S_IOERR, "not within the disk's sectors");
		return;
	}
	req->image.op = op;
	req->image.offset = req->sector * SECTOR;
	req->image.iov = data->iov;
	req->image.iov_count = data->count;
	req->image.len = data->len;
	req->image.done = image_done;
	image_submit(image, &req->image);
}

static void get_id(struct blk_request *req)
{
	char id[VIRTIO_BLK_ID_BYTES + 1] = "";

	/* Zero-padded, and not terminated when all bytes are used (5.2.6). */
	snprintf(id, sizeof(id), "lkvm-%s", req->blk->vdev.device.name);
	complete(req, VIRTIO_BLK_S_OK,
		 iov_from_buf(req->in.iov, req->in.count, 0, id,
			      VIRTIO_BLK_ID_BYTES));
}

static void execute(struct blk_request *req)
{
	const struct blk_data none = { .len = 0 };

	switch (req->type) {
	case VIRTIO_BLK_T_IN:
		submit(req, IMAGE_READ, &req->in);
		break;
	case VIRTIO_BLK_T_OUT:
		submit(req, IMAGE_WRITE, &req->out);
		break;
	case VIRTIO_BLK_T_FLUSH:
		/* 5.2.6.1 wants sector 0; nothing depends on it. */
		req->sector = 0;
		submit(req, IMAGE_FLUSH, &none);
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

/* Take one chain and start it. Returns as virtq_pop(). */
static int take(struct blk *blk)
{
	struct virtq *vq = &blk->vdev.queue[0];
	struct blk_request *req = &blk->requests[blk->free[blk->nr_free - 1]];
	int got = virtq_pop(vq, &req->chain);
	const char *error;

	if (got <= 0)
		return got;
	error = parse(req);
	if (error)
		return virtq_break(vq, error);
	req->blk = blk;
	blk->nr_free--;
	blk->in_flight++;
	execute(req);
	return 1;
}

static void blk_serve(struct blk *blk)
{
	struct virtq *vq = &blk->vdev.queue[0];
	unsigned int budget = BLK_BATCH;
	int got = 1;

	blk->serving = true;
	virtq_disable_notify(vq);
	do {
		while (budget && (got = take(blk)) > 0)
			budget--;
	} while (budget && !got && virtq_enable_notify(vq));
	blk->serving = false;
	virtio_device_signal(&blk->vdev, vq);
	if (got < 0)
		virtio_device_broken(&blk->vdev);
	else if (!budget)
		/* More may wait: after the loop's other sources. */
		eventfd_write(blk->kick_fd, 1);
}

static void kick_ready(void *opaque, uint32_t events)
{
	struct blk *blk = opaque;
	eventfd_t count;

	(void)events;
	eventfd_read(blk->kick_fd, &count);
	blk_serve(blk);
}

/* ---- start and stop ------------------------------------------------------ */

static int start_locked(struct blk *blk)
{
	int err;

	blk->stopping = false;
	err = loop_add(io_thread_loop(blk->thread), &blk->kick, EPOLLIN);
	if (err)
		return err;
	blk->started = true;
	/* The driver may have filled the queue before anybody listened. */
	eventfd_write(blk->kick_fd, 1);
	return 0;
}

static void stop_on_thread(void *opaque)
{
	struct blk *blk = opaque;

	loop_del(io_thread_loop(blk->thread), &blk->kick);
	blk->stopping = true;
	if (!blk->in_flight)
		sem_post(&blk->idle);
}

static void stop_locked(struct blk *blk)
{
	if (!blk->started)
		return;
	io_thread_call(blk->thread, stop_on_thread, blk);
	while (sem_wait(&blk->idle) && errno == EINTR)
		;
	blk->started = false;
}

static int blk_activate(struct virtio_device *vdev, uint64_t features)
{
	struct blk *blk = to_blk(vdev);
	unsigned int size = vdev->queue[0].size;
	int err;

	/* A driver that set up no queue gets no service, and no error. */
	if (!vdev->queue[0].running)
		return 0;
	/* One more than can be in flight: a pop always has where to go. */
	blk->requests = calloc(size + 1, sizeof(*blk->requests));
	if (!blk->requests)
		return -ENOMEM;
	for (unsigned int i = 0; i <= size; i++)
		blk->free[i] = (uint16_t)(size - i);
	blk->nr_free = size + 1;
	blk->in_flight = 0;
	blk->write_through = !(features & BIT_ULL(VIRTIO_BLK_F_FLUSH));
	err = virtio_device_notify_fd(vdev, 0, blk->kick_fd);
	if (err)
		goto free_requests;
	err = start_locked(blk);
	if (err)
		goto detach;
	return 0;

detach:
	virtio_device_notify_fd(vdev, 0, -1);
free_requests:
	free(blk->requests);
	blk->requests = NULL;
	return err;
}

static void blk_deactivate(struct virtio_device *vdev)
{
	struct blk *blk = to_blk(vdev);

	virtio_device_notify_fd(vdev, 0, -1);
	stop_locked(blk);
	free(blk->requests);
	blk->requests = NULL;
}

static void blk_handle_queue(struct virtio_device *vdev, unsigned int index)
{
	(void)index;
	eventfd_write(to_blk(vdev)->kick_fd, 1);
}

static const struct virtio_device_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.pci_class = BLK_PCI_CLASS,
	.activate = blk_activate,
	.deactivate = blk_deactivate,
	.handle_queue = blk_handle_queue,
};

/* ---- device type --------------------------------------------------------- */

static void blk_quiesce(struct device *device)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);

	pthread_mutex_lock(&blk->vdev.lock);
	stop_locked(blk);
	pthread_mutex_unlock(&blk->vdev.lock);
}

static void blk_resume(struct device *device)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);

	pthread_mutex_lock(&blk->vdev.lock);
	if (blk->requests && start_locked(blk))
		virtio_device_broken(&blk->vdev);
	pthread_mutex_unlock(&blk->vdev.lock);
}

static void blk_reset(struct device *device)
{
	virtio_device_machine_reset(
		container_of(device, struct virtio_device, device));
}

static void blk_destroy(struct device *device)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);

	/* A guest need not have reset its devices before it went. */
	virtio_device_set_status(&blk->vdev, 0);
	io_thread_destroy(blk->thread);
	virtio_device_release(&blk->vdev);
	sem_destroy(&blk->idle);
	close(blk->kick_fd);
	image_close(blk->image);
	free(blk);
}

static void blk_stats(struct device *device, FILE *out)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);
	const struct {
		const char *name;
		_Atomic uint64_t *value;
	} counters[] = {
		{ "reads", &blk->reads },
		{ "read-bytes", &blk->read_bytes },
		{ "writes", &blk->writes },
		{ "written-bytes", &blk->written_bytes },
		{ "flushes", &blk->flushes },
		{ "errors", &blk->errors },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(counters); i++)
		print_count(out, device->name, counters[i].name,
			    atomic_load(counters[i].value));
}

/* vda ... vdz, vdaa ...: as the guest's kernel names them. */
static void set_name(struct blk *blk, const struct machine *machine)
{
	char letters[8] = "";
	size_t at = sizeof(letters) - 1;
	unsigned int n = 1;

	for (struct device *d = machine->devices; d; d = d->next)
		n += d->type == &virtio_blk_type;
	for (; n; n = (n - 1) / 26)
		letters[--at] = (char)('a' + (n - 1) % 26);
	snprintf(blk->vdev.device.name, sizeof(blk->vdev.device.name), "vd%s",
		 letters + at);
}

static void set_config(struct blk *blk)
{
	const struct virtio_blk_config config = {
		.capacity = htole64(blk->image->size / SECTOR),
		.seg_max = htole32(VIRTQ_MAX_CHAIN - 2),
		.blk_size = htole32(SECTOR),
	};

	memcpy(blk->vdev.config, &config, sizeof(config));
	blk->vdev.config_len = sizeof(config);
}

static int create_kick(struct blk *blk)
{
	blk->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (blk->kick_fd < 0) {
		int err = -errno;

		log_err("blk", "cannot create %s's eventfd: %s",
			blk->vdev.device.name, strerror(-err));
		return err;
	}
	blk->kick = (struct loop_source) {
		.fd = blk->kick_fd,
		.ready = kick_ready,
		.opaque = blk,
	};
	return 0;
}

static int create_thread(struct blk *blk)
{
	char name[sizeof(blk->vdev.device.name) + 3];
	int err;

	snprintf(name, sizeof(name), "io-%s", blk->vdev.device.name);
	err = io_thread_create(name, &blk->thread);
	if (err)
		log_err("blk", "cannot start thread %s: %s", name,
			strerror(-err));
	return err;
}

static int blk_create(struct machine *machine, const void *config,
		      struct device **out)
{
	const struct virtio_blk_options *options = config;
	const struct image_options image_options = {
		.path = options->path,
		.read_only = options->read_only,
		.direct = options->direct,
	};
	uint64_t features = BIT_ULL(VIRTIO_BLK_F_SEG_MAX) |
			    BIT_ULL(VIRTIO_BLK_F_BLK_SIZE) |
			    BIT_ULL(VIRTIO_BLK_F_FLUSH);
	struct blk *blk = calloc(1, sizeof(*blk));
	int err;

	if (!blk)
		return -ENOMEM;
	set_name(blk, machine);
	err = image_open(&image_options, &blk->image);
	if (err)
		goto free_blk;
	set_config(blk);
	err = create_kick(blk);
	if (err)
		goto close_image;
	sem_init(&blk->idle, 0, 0);
	if (options->read_only)
		features |= BIT_ULL(VIRTIO_BLK_F_RO);
	virtio_device_init(&blk->vdev, machine, &virtio_blk_type, &blk_ops,
			   features, 1, BLK_QUEUE_SIZE);
	err = create_thread(blk);
	if (err)
		goto release;
	err = virtio_device_plug(&blk->vdev);
	if (err)
		goto destroy_thread;
	*out = &blk->vdev.device;
	return 0;

destroy_thread:
	io_thread_destroy(blk->thread);
release:
	virtio_device_release(&blk->vdev);
	sem_destroy(&blk->idle);
	close(blk->kick_fd);
close_image:
	image_close(blk->image);
free_blk:
	free(blk);
	return err;
}

static const struct option_desc blk_options[] = {
	{
		.kind = OPTION_FLAG,
		.name = "ro",
		.help = "the guest cannot write to the disk",
		.offset = offsetof(struct virtio_blk_options, read_only),
	},
	{
		.kind = OPTION_FLAG,
		.name = "direct",
		.help = "bypass the host's page cache (O_DIRECT)",
		.offset = offsetof(struct virtio_blk_options, direct),
	},
	{ .kind = OPTION_END },
};

static const struct state_field blk_fields[] = {
	STATE_FIELD(struct blk, vdev.status, 1, 0),
	STATE_FIELD(struct blk, vdev.driver_features, 1, 0),
	STATE_FIELD(struct blk, vdev.features, 1, 0),
	STATE_FIELD(struct blk, vdev.config_generation, 1, 0),
	STATE_FIELD(struct blk, vdev.queue[0].size, 1, BLK_QUEUE_SIZE),
	STATE_FIELD(struct blk, vdev.queue[0].ready, 1, 0),
	STATE_FIELD(struct blk, vdev.queue[0].vector, 1, VIRTIO_MSI_NO_VECTOR),
	STATE_FIELD(struct blk, vdev.queue[0].desc_addr, 1, 0),
	STATE_FIELD(struct blk, vdev.queue[0].driver_addr, 1, 0),
	STATE_FIELD(struct blk, vdev.queue[0].device_addr, 1, 0),
	STATE_FIELD(struct blk, vdev.queue[0].last_avail, 1, 0),
	STATE_FIELD(struct blk, vdev.queue[0].used_idx, 1, 0),
	STATE_FIELD(struct blk, vdev.queue[0].signalled_used, 1, 0),
	STATE_END,
};

static const struct state_table blk_state = {
	.name = "virtio-blk",
	.version = 1,
	.fields = blk_fields,
};

const struct device_type virtio_blk_type = {
	.name = "virtio-blk",
	.options = blk_options,
	.create = blk_create,
	.destroy = blk_destroy,
	.reset = blk_reset,
	.quiesce = blk_quiesce,
	.resume = blk_resume,
	.stats = blk_stats,
	.state = &blk_state,
};
