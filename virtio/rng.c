/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Entropy device (virtio 1.2, 5.4): buffers are filled by getrandom(2) on a
 * thread of the device's own.
 *
 * A limit in bytes a second keeps a guest from using up a CPU of the host's:
 * while it is exceeded, no buffers are taken, and a timer tells when to look
 * again.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/bucket.h>
#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>
#include <lkvm/worker.h>

#define RNG_QUEUE_SIZE 64

/*
 * What one buffer gets at most, so that a reset never waits long for the
 * thread. 5.4.6.2 asks for one byte or more; drivers ask again.
 */
#define RNG_MAX_BYTES (4 * KIB)

/* PCI Code and ID Assignment: a device that fits in no class. */
#define RNG_PCI_CLASS 0xff0000

struct rng_options {
	uint64_t rate;
};

struct rng {
	struct virtio_device vdev;
	struct virtio_worker worker;
	struct virtq_chain chain; /* the worker's thread, as the next two */
	struct bucket bucket;
	struct loop_source timer; /* runs out when the bucket has something */
	_Atomic uint64_t requests, bytes, waits;
};

static struct rng *to_rng(struct device *device)
{
	return container_of(device, struct rng, vdev.device);
}

/* ---- on the worker's thread ---------------------------------------------- */

/* Random bytes into the chain, at most RNG_MAX_BYTES; returns how many. */
static uint32_t fill(const struct virtq_chain *chain)
{
	size_t room = MIN(chain->in_len, RNG_MAX_BYTES);
	size_t done = 0;

	for (unsigned int i = 0; done < room; i++) {
		size_t len = MIN(chain->iov[i].iov_len, room - done);
		ssize_t n = getrandom(chain->iov[i].iov_base, len, 0);

		if (n <= 0)
			break;
		done += (size_t)n;
		if ((size_t)n < len)
			break;
	}
	return (uint32_t)done;
}

static int take(struct virtio_worker *worker, struct virtq *vq)
{
	struct rng *rng = container_of(worker, struct rng, worker);
	uint64_t wait = bucket_wait(&rng->bucket, now_ns());
	uint32_t done;
	int got;

	if (wait) {
		timer_arm(rng->timer.fd, wait);
		counter_add(&rng->waits, 1);
		return -EAGAIN;
	}
	got = virtq_pop(vq, &rng->chain);
	if (got <= 0)
		return got;
	/* 5.4.6.1 */
	if (rng->chain.out_count || !rng->chain.in_len)
		return virtq_break(vq, "a buffer is not for random bytes");
	done = fill(&rng->chain);
	virtq_push(vq, rng->chain.head, done);
	bucket_pay(&rng->bucket, done, now_ns());
	counter_add(&rng->requests, 1);
	counter_add(&rng->bytes, done);
	return got;
}

static void kicked(struct virtio_worker *worker, struct virtq *vq)
{
	virtio_worker_serve(worker, vq, take);
}

static void timer_ready(void *opaque, uint32_t events)
{
	struct rng *rng = opaque;
	uint64_t expirations;

	(void)events;
	(void)!read(rng->timer.fd, &expirations, sizeof(expirations));
	virtio_worker_kick(&rng->worker, &rng->vdev.queue[0]);
}

static const struct virtio_worker_ops worker_ops = {
	.kicked = kicked,
};

/* ---- the device ---------------------------------------------------------- */

static int activate(struct virtio_device *vdev, uint64_t features)
{
	(void)features;
	return virtio_worker_activate(&to_rng(&vdev->device)->worker);
}

static void deactivate(struct virtio_device *vdev)
{
	virtio_worker_deactivate(&to_rng(&vdev->device)->worker);
}

static const struct virtio_device_ops rng_ops = {
	.id = VIRTIO_ID_RNG,
	.pci_class = RNG_PCI_CLASS,
	.activate = activate,
	.deactivate = deactivate,
	.handle_queue = virtio_device_kick,
};

static void rng_stats(struct device *device, struct stats_sink *sink)
{
	struct rng *rng = to_rng(device);

	stats_count(sink, device->name, "requests",
		    atomic_load(&rng->requests));
	stats_count(sink, device->name, "bytes", atomic_load(&rng->bytes));
	stats_count(sink, device->name, "waits", atomic_load(&rng->waits));
}

static void unwatch_on_thread(void *opaque)
{
	struct rng *rng = opaque;

	loop_del(virtio_worker_loop(&rng->worker), &rng->timer);
}

static void stop_worker(struct rng *rng)
{
	io_thread_call(rng->worker.thread, unwatch_on_thread, rng);
	virtio_worker_destroy(&rng->worker);
	close(rng->timer.fd);
}

static void rng_destroy(struct device *device)
{
	struct rng *rng = to_rng(device);

	/* A guest need not have reset its devices before it went. */
	virtio_device_set_status(&rng->vdev, 0);
	stop_worker(rng);
	virtio_device_release(&rng->vdev);
	free(rng);
}

static int create_timer(struct rng *rng)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	rng->timer = (struct loop_source) {
		.fd = fd,
		.ready = timer_ready,
		.opaque = rng,
	};
	return 0;
}

/* The thread, and the timer on its loop. */
static int start_worker(struct rng *rng)
{
	const char *name = rng->vdev.device.name;
	char thread[sizeof(rng->vdev.device.name) + 4];
	int err = create_timer(rng);

	if (err)
		goto fail;
	snprintf(thread, sizeof(thread), "io-%s", name);
	err = virtio_worker_create(&rng->worker, &rng->vdev, &worker_ops,
				   thread, 0, 1);
	if (err)
		goto close_timer;
	err = loop_add(virtio_worker_loop(&rng->worker), &rng->timer, EPOLLIN);
	if (err)
		goto destroy_worker;
	return 0;

destroy_worker:
	virtio_worker_destroy(&rng->worker);
close_timer:
	close(rng->timer.fd);
fail:
	log_err("rng", "cannot start %s: %s", name, strerror(-err));
	return err;
}

/* rng0, rng1, ... */
static void set_name(char name[16], const struct machine *machine)
{
	snprintf(name, 16, "rng%u", machine_count(machine, &virtio_rng_type));
}

static int rng_create(struct machine *machine, const void *config,
		      struct device **out)
{
	const struct rng_options *options = config;
	struct rng *rng;
	char byte;
	int err;

	/* Once this has returned, the thread never has to wait for it. */
	if (getrandom(&byte, sizeof(byte), 0) < 0) {
		err = -errno;
		log_err("rng", "the host has no random bytes: %s",
			strerror(-err));
		return err;
	}
	rng = calloc(1, sizeof(*rng));
	if (!rng)
		return -ENOMEM;
	set_name(rng->vdev.device.name, machine);
	rng->bucket.rate = options->rate;
	virtio_device_init(&rng->vdev, machine, &virtio_rng_type, &rng_ops, 0,
			   1, RNG_QUEUE_SIZE);
	err = start_worker(rng);
	if (err)
		goto release;
	err = virtio_device_plug(&rng->vdev);
	if (err)
		goto stop_worker;
	*out = &rng->vdev.device;
	return 0;

stop_worker:
	stop_worker(rng);
release:
	virtio_device_release(&rng->vdev);
	free(rng);
	return err;
}

static int rng_plan(const struct machine *machine, const void *config,
		    struct device_plan *plan)
{
	(void)config;
	set_name(plan->name, machine);
	plan->ops = &rng_ops;
	return 0;
}

const struct option_desc virtio_rng_keys[] = {
	{ OPTION_SIZE, 0, "rate", "SIZE", "at most SIZE bytes a second",
	  .offset = offsetof(struct rng_options, rate), .min = 1 },
	{ .kind = OPTION_END },
};

static const struct rng_options defaults = { .rate = 0 };

static const struct state_field rng_fields[] = {
	VIRTIO_STATE(struct rng),
	VIRTIO_QUEUE_STATE(struct rng, 0, RNG_QUEUE_SIZE),
	STATE_END,
};

static const struct state_table rng_state = {
	.name = "virtio-rng",
	.version = 1,
	.fields = rng_fields,
};

const struct device_type virtio_rng_type = {
	.name = "virtio-rng",
	.options = virtio_rng_keys,
	.defaults = &defaults,
	.config_size = sizeof(struct rng_options),
	.create = rng_create,
	.plan = rng_plan,
	.destroy = rng_destroy,
	.reset = virtio_device_machine_reset,
	.quiesce = virtio_device_quiesce,
	.resume = virtio_device_resume,
	.stats = rng_stats,
	.state = &rng_state,
};
