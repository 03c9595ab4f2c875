/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Block device (virtio 1.2, 5.2): features, config space, one thread a queue.
 * What the threads do stands in blk-request.c.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/blk.h>
#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define BLK_QUEUE_SIZE 256

/*
 * With the longest chain, a request is within what one system call transfers
 * (2 GiB less a page), and need not be cut.
 */
#define BLK_SIZE_MAX (4 * MIB)

/* PCI Code and ID Assignment: mass storage controller, other. */
#define BLK_PCI_CLASS 0x018000

_Static_assert(sizeof(struct virtio_blk_config) <= VIRTIO_CONFIG_MAX, "5.2.4");
_Static_assert(BLK_MAX_QUEUES <= VIRTIO_MAX_QUEUES, "one each");

static struct blk *to_blk(struct virtio_device *vdev)
{
	return container_of(vdev, struct blk, vdev);
}

/* ---- start and stop ------------------------------------------------------ */

static void deactivate_queue(struct blk_queue *queue)
{
	virtio_worker_deactivate(&queue->worker);
	free(queue->requests);
	queue->requests = NULL;
}

static int activate_queue(struct blk_queue *queue)
{
	/* One more than can be in flight: a pop always has where to go. */
	unsigned int count = queue->vq->size + 1U;
	int err;

	/* A driver that does not set it up gets no service, and no error. */
	if (!queue->vq->running)
		return 0;
	queue->requests = calloc(count, sizeof(*queue->requests));
	if (!queue->requests)
		return -ENOMEM;
	queue->free = NULL;
	for (unsigned int i = 0; i < count; i++) {
		struct blk_request *req = &queue->requests[i];

		req->queue = queue;
		req->next_free = queue->free;
		queue->free = req;
	}
	err = virtio_worker_activate(&queue->worker);
	if (err) {
		free(queue->requests);
		queue->requests = NULL;
	}
	return err;
}

/* Must what is written be stable when its request ends (5.2.6.2)? */
static void set_write_through(struct blk *blk)
{
	const struct virtio_blk_config *config =
		(const struct virtio_blk_config *)blk->vdev.config;
	uint64_t features = blk->vdev.features;
	bool through = !(features & BIT_ULL(VIRTIO_BLK_F_FLUSH));

	if (features & BIT_ULL(VIRTIO_BLK_F_CONFIG_WCE))
		through = !config->wce;
	atomic_store(&blk->write_through, through);
}

static void blk_negotiated(struct virtio_device *vdev)
{
	struct virtio_blk_config *config =
		(struct virtio_blk_config *)vdev->config;

	/* 5.2.5.2: 0 when nobody would flush. */
	config->wce = !!(vdev->features & BIT_ULL(VIRTIO_BLK_F_FLUSH));
	set_write_through(to_blk(vdev));
}

static int blk_activate(struct virtio_device *vdev, uint64_t features)
{
	struct blk *blk = to_blk(vdev);
	unsigned int i;
	int err = 0;

	(void)features;
	for (i = 0; i < blk->nr_queues && !err; i++)
		err = activate_queue(&blk->queue[i]);
	if (err)
		while (i--)
			deactivate_queue(&blk->queue[i]);
	return err;
}

static void blk_deactivate(struct virtio_device *vdev)
{
	struct blk *blk = to_blk(vdev);

	for (unsigned int i = 0; i < blk->nr_queues; i++)
		deactivate_queue(&blk->queue[i]);
}

static void blk_handle_queue(struct virtio_device *vdev, unsigned int index)
{
	virtio_worker_kick(&to_blk(vdev)->queue[index].worker,
			   &vdev->queue[index]);
}

static void blk_config_write(struct virtio_device *vdev, unsigned int offset,
			     const void *data, unsigned int len)
{
	struct virtio_blk_config *config =
		(struct virtio_blk_config *)vdev->config;
	unsigned int at = offsetof(struct virtio_blk_config, wce);

	if (!(vdev->features & BIT_ULL(VIRTIO_BLK_F_CONFIG_WCE)) ||
	    offset > at || at - offset >= len)
		return;
	config->wce = !!((const uint8_t *)data)[at - offset];
	set_write_through(to_blk(vdev));
}

static const struct virtio_device_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.pci_class = BLK_PCI_CLASS,
	.negotiated = blk_negotiated,
	.activate = blk_activate,
	.deactivate = blk_deactivate,
	.handle_queue = blk_handle_queue,
	.config_write = blk_config_write,
};

/* ---- features and config space (5.2.3, 5.2.4) ---------------------------- */

static uint64_t blk_features(const struct blk *blk, bool packed)
{
	uint64_t features =
		BIT_ULL(VIRTIO_BLK_F_SIZE_MAX) | BIT_ULL(VIRTIO_BLK_F_SEG_MAX) |
		BIT_ULL(VIRTIO_BLK_F_BLK_SIZE) |
		BIT_ULL(VIRTIO_BLK_F_TOPOLOGY) | BIT_ULL(VIRTIO_BLK_F_FLUSH) |
		BIT_ULL(VIRTIO_BLK_F_CONFIG_WCE);

	if (blk->image->read_only)
		features |= BIT_ULL(VIRTIO_BLK_F_RO);
	else
		features |= BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES);
	if (blk->image->discard_granularity)
		features |= BIT_ULL(VIRTIO_BLK_F_DISCARD);
	if (blk->nr_queues > 1)
		features |= BIT_ULL(VIRTIO_BLK_F_MQ);
	if (packed)
		features |= BIT_ULL(VIRTIO_F_RING_PACKED);
	return features;
}

/* In sectors, but whole blocks of the disk. */
static uint64_t capacity(const struct image *image)
{
	return align_down(image->size, image->block_size) / BLK_SECTOR;
}

static void set_config(struct blk *blk, uint16_t queue_size)
{
	const struct image *image = blk->image;
	uint32_t blocks = image->physical_block_size / image->block_size;
	const struct virtio_blk_config config = {
		.capacity = htole64(capacity(image)),
		.size_max = htole32(BLK_SIZE_MAX),
		/* 2.7.5.3.1: a chain is no longer than the queue. */
		.seg_max = htole32(MIN(queue_size, VIRTQ_MAX_CHAIN) - 2U),
		.blk_size = htole32(image->block_size),
		.physical_block_exp = (uint8_t)__builtin_ctz(MAX(blocks, 1U)),
		.min_io_size = htole16((uint16_t)MAX(blocks, 1U)),
		.wce = 1,
		.num_queues = htole16((uint16_t)blk->nr_queues),
		.max_discard_sectors = htole32(BLK_MAX_RANGE),
		.max_discard_seg = htole32(BLK_MAX_SEGMENTS),
		.discard_sector_alignment = htole32(
			MAX(image->discard_granularity / BLK_SECTOR, 1U)),
		.max_write_zeroes_sectors = htole32(BLK_MAX_RANGE),
		.max_write_zeroes_seg = htole32(BLK_MAX_SEGMENTS),
		.write_zeroes_may_unmap = image->discard_granularity != 0,
	};

	memcpy(blk->vdev.config, &config, sizeof(config));
	blk->vdev.config_len = sizeof(config);
}

int virtio_blk_resize(struct device *device)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);
	struct virtio_blk_config *config =
		(struct virtio_blk_config *)blk->vdev.config;
	__virtio64 sectors;
	int err;

	pthread_mutex_lock(&blk->vdev.lock);
	err = image_refresh(blk->image);
	sectors = htole64(capacity(blk->image));
	if (!err && sectors != config->capacity) {
		config->capacity = sectors;
		virtio_device_config_changed(&blk->vdev);
	}
	pthread_mutex_unlock(&blk->vdev.lock);
	return err;
}

int virtio_blk_resize_to(struct device *device, uint64_t bytes)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);
	int err = image_resize(blk->image, bytes);

	return err ? err : virtio_blk_resize(device);
}

void virtio_blk_set_limits(struct device *device,
			   const struct throttle_limits *limits)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);

	image_set_limits(blk->image, limits);
}

void virtio_blk_info(struct device *device, struct virtio_blk_info *out)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);
	const struct image *image = blk->image;

	*out = (struct virtio_blk_info) {
		.path = image->options.path,
		.format = image->ops->format,
		.serial = blk->serial,
		.bytes = capacity(image) * BLK_SECTOR,
		.read_only = image->read_only,
		.direct = image->options.cache == IMAGE_CACHE_NONE,
		.no_flush = image->options.cache == IMAGE_CACHE_UNSAFE,
	};
	image_get_limits(image, &out->limits);
	blk_add_counts(blk, BLK_READ, &out->read);
	blk_add_counts(blk, BLK_WRITE, &out->write);
	blk_add_counts(blk, BLK_ZEROES, &out->write);
	blk_add_counts(blk, BLK_FLUSH, &out->flush);
	blk_add_counts(blk, BLK_DISCARD, &out->discard);
	for (unsigned int i = 0; i < blk->nr_queues; i++)
		out->errors += atomic_load(&blk->queue[i].errors);
}

/* ---- device type --------------------------------------------------------- */

static void blk_quiesce(struct device *device)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);

	for (unsigned int i = 0; i < blk->nr_queues; i++)
		virtio_worker_quiesce(&blk->queue[i].worker);
}

static void blk_resume(struct device *device)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);

	for (unsigned int i = 0; i < blk->nr_queues; i++)
		virtio_worker_resume(&blk->queue[i].worker);
}

static void release_on_thread(void *opaque)
{
	struct blk_queue *queue = opaque;

	image_queue_destroy(queue->image);
}

static void release_queue(struct blk_queue *queue)
{
	/* There, no event of the image's can be on its way any more. */
	io_thread_call(queue->worker.thread, release_on_thread, queue);
	virtio_worker_destroy(&queue->worker);
}

/* Queue @index, zeroed, gets its thread and its way into the image. */
static int init_queue(struct blk *blk, unsigned int index)
{
	struct blk_queue *queue = &blk->queue[index];
	struct virtio_worker *worker = &queue->worker;
	char name[sizeof(blk->vdev.device.name) + 16];
	int err;

	queue->blk = blk;
	queue->vq = &blk->vdev.queue[index];
	/* io-vda, io-vda-1, ... */
	snprintf(name, sizeof(name), index ? "io-%s-%u" : "io-%s",
		 blk->vdev.device.name, index);
	err = virtio_worker_create(worker, &blk->vdev, &blk_worker_ops, name,
				   index, 1);
	if (err)
		return err;
	err = image_queue_create(blk->image, virtio_worker_loop(worker),
				 queue->vq->max_size, &queue->image);
	if (err) {
		virtio_worker_destroy(worker);
		return err;
	}
	image_queue_on_batch(queue->image, blk_queue_batch_done, queue);
	return 0;
}

static void release_queues(struct blk *blk, unsigned int count)
{
	while (count--)
		release_queue(&blk->queue[count]);
}

static int init_queues(struct blk *blk)
{
	for (unsigned int i = 0; i < blk->nr_queues; i++) {
		int err = init_queue(blk, i);

		if (err) {
			log_err("blk", "cannot start queue %u of %s: %s", i,
				blk->vdev.device.name, strerror(-err));
			release_queues(blk, i);
			return err;
		}
	}
	return 0;
}

static void blk_destroy(struct device *device)
{
	struct blk *blk = container_of(device, struct blk, vdev.device);

	/* A guest need not have reset its devices before it went. */
	virtio_device_set_status(&blk->vdev, 0);
	release_queues(blk, blk->nr_queues);
	virtio_device_release(&blk->vdev);
	image_close(blk->image);
	free(blk);
}

/* vda ... vdz, vdaa ...: as the guest's kernel names them. */
static void set_name(char name[16], const struct machine *machine)
{
	char letters[8] = "";
	size_t at = sizeof(letters) - 1;

	for (unsigned int n = machine_count(machine, &virtio_blk_type) + 1; n;
	     n = (n - 1) / 26)
		letters[--at] = (char)('a' + (n - 1) % 26);
	snprintf(name, 16, "vd%s", letters + at);
}

/* What no key's own description can tell; one line if it is wrong. */
static int check_options(const struct virtio_blk_options *options)
{
	bool cached = options->cache == IMAGE_CACHE_WRITEBACK ||
		      options->cache == IMAGE_CACHE_UNSAFE;

	if (options->direct && cached) {
		log_err("blk",
			"disk image %s: 'direct' is cache=none, and goes with "
			"no other cache",
			options->path);
		return -EINVAL;
	}
	if (!is_power_of_two(options->queue_size)) {
		log_err("blk",
			"disk image %s: queue-size=%llu is not a power of 2",
			options->path, (unsigned long long)options->queue_size);
		return -EINVAL;
	}
	if (options->serial && strlen(options->serial) > VIRTIO_BLK_ID_BYTES) {
		log_err("blk",
			"disk image %s: the serial '%s' is longer than %u "
			"characters",
			options->path, options->serial, VIRTIO_BLK_ID_BYTES);
		return -EINVAL;
	}
	return 0;
}

static int open_image(const struct virtio_blk_options *options,
		      struct image **out)
{
	const struct image_options image_options = {
		.path = options->path,
		.format = (enum image_format)options->format,
		.cache = options->direct    ? IMAGE_CACHE_NONE :
			 options->cache < 0 ? IMAGE_CACHE_WRITEBACK :
					      (enum image_cache)options->cache,
		.engine = (enum engine_kind)options->engine,
		.read_only = options->read_only,
		.snapshot = options->snapshot,
		.no_locking = !options->locking,
		.backing_ok = options->backing_ok,
		.no_discard = !options->discard,
		.iops = options->iops,
		.bandwidth = options->bandwidth,
	};

	return image_open(&image_options, out);
}

static int blk_create(struct machine *machine, const void *config,
		      struct device **out)
{
	const struct virtio_blk_options *options = config;
	uint16_t queue_size = (uint16_t)options->queue_size;
	struct blk *blk;
	int err = check_options(options);

	if (err)
		return err;
	blk = calloc(1, sizeof(*blk) + options->queues * sizeof(*blk->queue));
	if (!blk)
		return -ENOMEM;
	blk->nr_queues = (unsigned int)options->queues;
	set_name(blk->vdev.device.name, machine);
	snprintf(blk->serial, sizeof(blk->serial), "%s%s",
		 options->serial ? "" : "lkvm-",
		 options->serial ? options->serial : blk->vdev.device.name);
	err = open_image(options, &blk->image);
	if (err)
		goto free_blk;
	set_config(blk, queue_size);
	virtio_device_init(&blk->vdev, machine, &virtio_blk_type, &blk_ops,
			   blk_features(blk, options->packed), blk->nr_queues,
			   queue_size);
	err = init_queues(blk);
	if (err)
		goto release;
	err = virtio_device_plug(&blk->vdev);
	if (err)
		goto release_queues;
	*out = &blk->vdev.device;
	return 0;

release_queues:
	release_queues(blk, blk->nr_queues);
release:
	virtio_device_release(&blk->vdev);
	image_close(blk->image);
free_blk:
	free(blk);
	return err;
}

static int blk_plan(const struct machine *machine, const void *config,
		    struct device_plan *plan)
{
	const struct virtio_blk_options *options = config;
	bool read_only = options->read_only || options->snapshot;

	set_name(plan->name, machine);
	plan->ops = &blk_ops;
	device_plan_file(plan, options->path,
			 read_only ? "read" : "read-write");
	return check_options(options);
}

/* ---- options ------------------------------------------------------------- */

const struct virtio_blk_options virtio_blk_defaults = {
	.discard = true,
	.locking = true,
	.cache = -1,
	.queues = 1,
	.queue_size = BLK_QUEUE_SIZE,
};

/* In the order of the enums. */
static const char *const formats[] = { "auto", "raw", "qcow2", NULL };
static const char *const caches[] = { "writeback", "none", "unsafe", NULL };
static const char *const engines[] = { "auto", "io_uring", "aio", "sync",
				       NULL };

#define FIELD(name) offsetof(struct virtio_blk_options, name)

static const char *const blk_positional[] = { "file", NULL };

const struct option_desc virtio_blk_keys[] = {
	{ OPTION_STRING, 0, "file", "FILE", "the image or block device",
	  .offset = FIELD(path) },
	{ OPTION_FLAG, 0, "ro", NULL, "the guest cannot write to the disk",
	  .offset = FIELD(read_only) },
	{ OPTION_FLAG, 0, "direct", NULL, "the same as cache=none",
	  .offset = FIELD(direct) },
	{ OPTION_ENUM, 0, "format", "auto|raw|qcow2",
	  "what the file is (auto: by its first bytes)",
	  .offset = FIELD(format), .choices = formats },
	{ OPTION_ENUM, 0, "cache", "writeback|none|unsafe",
	  "the host's page cache, none (O_DIRECT), or never flush",
	  .offset = FIELD(cache), .choices = caches },
	{ OPTION_ENUM, 0, "engine", "auto|io_uring|aio|sync",
	  "how the host's file is read and written", .offset = FIELD(engine),
	  .choices = engines },
	{ OPTION_FLAG, 0, "snapshot", NULL,
	  "writes go to a temporary file and vanish at the end",
	  .offset = FIELD(snapshot) },
	{ OPTION_STRING, 0, "serial", "TEXT",
	  "serial number, at most 20 bytes (default: lkvm-vda, ...)",
	  .offset = FIELD(serial) },
	{ OPTION_UINT, 0, "queues", "N",
	  "request queues, each with a thread (1 to 16, default 1)",
	  .offset = FIELD(queues), .min = 1, .max = BLK_MAX_QUEUES },
	{ OPTION_UINT, 0, "queue-size", "N",
	  "entries of each, a power of 2 (4 to 1024, default 256)",
	  .offset = FIELD(queue_size), .min = 4, .max = VIRTQ_MAX_SIZE },
	{ OPTION_FLAG, 0, "packed", NULL,
	  "offer packed rings to the guest (default off)",
	  .offset = FIELD(packed) },
	{ OPTION_FLAG, 0, "discard", NULL,
	  "the guest can give blocks back (default on)",
	  .offset = FIELD(discard) },
	{ OPTION_UINT, 0, "iops", "N", "at most N requests a second",
	  .offset = FIELD(iops), .min = 1, .max = 1000000000 },
	{ OPTION_SIZE, 0, "bw", "SIZE", "at most SIZE bytes a second",
	  .offset = FIELD(bandwidth), .min = 1 },
	{ OPTION_FLAG, 0, "locking", NULL,
	  "refuse files that others write (default on)",
	  .offset = FIELD(locking) },
	{ OPTION_FLAG, 0, "backing-ok", NULL,
	  "allow backing files outside the image's folder",
	  .offset = FIELD(backing_ok) },
	{ .kind = OPTION_END },
};

/* ---- state --------------------------------------------------------------- */

#define QUEUE_STATE(n) VIRTIO_QUEUE_STATE(struct blk, n, BLK_QUEUE_SIZE)

static const struct state_field blk_fields[] = {
	VIRTIO_STATE(struct blk),
	{
		.name = "wce",
		.offset = offsetof(struct blk, vdev.config) +
			  offsetof(struct virtio_blk_config, wce),
		.width = 1,
		.count = 1,
		.version = 1,
		.reset = 1,
	},
	QUEUE_STATE(0),
	QUEUE_STATE(1),
	QUEUE_STATE(2),
	QUEUE_STATE(3),
	QUEUE_STATE(4),
	QUEUE_STATE(5),
	QUEUE_STATE(6),
	QUEUE_STATE(7),
	QUEUE_STATE(8),
	QUEUE_STATE(9),
	QUEUE_STATE(10),
	QUEUE_STATE(11),
	QUEUE_STATE(12),
	QUEUE_STATE(13),
	QUEUE_STATE(14),
	QUEUE_STATE(15),
	STATE_END,
};

static const struct state_table blk_state = {
	.name = "virtio-blk",
	.version = 1,
	.fields = blk_fields,
};

const struct device_type virtio_blk_type = {
	.name = "virtio-blk",
	.options = virtio_blk_keys,
	.positional = blk_positional,
	.defaults = &virtio_blk_defaults,
	.config_size = sizeof(struct virtio_blk_options),
	.create = blk_create,
	.plan = blk_plan,
	.destroy = blk_destroy,
	.reset = virtio_device_machine_reset,
	.quiesce = blk_quiesce,
	.resume = blk_resume,
	.stats = blk_stats,
	.state = &blk_state,
};
