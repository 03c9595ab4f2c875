/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Socket device (virtio 1.2, 5.10) in the process: queues and config space,
 * with one thread. What packets mean stands in net/vsock.c; the device that
 * the host's kernel serves in vhost-vsock.c.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>
#include <lkvm/vsock.h>
#include <lkvm/worker.h>

#define VSOCK_QUEUE_SIZE 256

/* 5.10.3; <linux/virtio_vsock.h> does not know this one yet. */
#define VSOCK_F_STREAM 0

/* PCI Code and ID Assignment: communication controller, other. */
#define VSOCK_PCI_CLASS 0x078000

/* Packets that are sent before the loop's other sources get a turn. */
#define VSOCK_BUDGET 256

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES }; /* 5.10.2 */

_Static_assert(sizeof(struct virtio_vsock_config) == 8, "5.10.4");
_Static_assert(sizeof(struct virtio_vsock_event) == 4, "5.10.6.7");

struct vsock_device {
	struct virtio_device vdev;
	struct virtio_worker worker;
	struct vsock *vsock;
	/* the worker's thread only, as all below */
	bool full; /* packets wait until vsock_is_full() is over */
	bool interrupted; /* connections were lost; the driver is to hear it */
	struct virtq_chain chain;
};

static struct vsock_device *to_vsock(struct virtio_device *vdev)
{
	return container_of(vdev, struct vsock_device, vdev);
}

/* ---- queues -------------------------------------------------------------- */

/* Give the driver one packet. Returns as virtq_pop(). */
static int send_packet(struct vsock_device *dev, struct virtq *vq)
{
	struct virtq_chain *chain = &dev->chain;
	int got = virtq_pop(vq, chain);

	if (got <= 0)
		return got;
	/* 5.10.6.4; with no byte of data nothing would ever come through. */
	if (chain->out_count || chain->in_len <= VSOCK_HEADER_BYTES)
		return virtq_break(vq, "a buffer for packets is of no use");
	virtq_push(vq, chain->head,
		   vsock_send(dev->vsock, chain->iov, chain->in_count,
			      chain->in_len));
	return 1;
}

/* Give the driver all packets that there are, as long as it has buffers. */
static void send_packets(struct vsock_device *dev)
{
	struct virtq *vq = &dev->vdev.queue[VSOCK_RX];
	unsigned int budget = VSOCK_BUDGET;
	int got = 1;

	if (!dev->worker.running || !vq->running)
		return;
	virtq_disable_notify(vq);
	while (budget && got > 0 && vsock_pending(dev->vsock)) {
		got = send_packet(dev, vq);
		budget--;
		/* Out of buffers: the next one's coming is of interest. */
		if (!got && virtq_enable_notify(vq))
			got = 1;
	}
	virtio_device_signal(&dev->vdev, vq);
	if (got == -EPROTO)
		virtio_device_broken(&dev->vdev);
	else if (!budget)
		virtio_worker_kick(&dev->worker, vq);
	if (dev->full && !vsock_is_full(dev->vsock)) {
		dev->full = false;
		virtio_worker_kick(&dev->worker, &dev->vdev.queue[VSOCK_TX]);
	}
}

static int take_packet(struct virtio_worker *worker, struct virtq *vq)
{
	struct vsock_device *dev = to_vsock(worker->vdev);
	struct virtq_chain *chain = &dev->chain;
	int got;

	dev->full = vsock_is_full(dev->vsock);
	if (dev->full)
		return -EAGAIN;
	got = virtq_pop(vq, chain);
	if (got <= 0)
		return got;
	if (chain->in_count)
		return virtq_break(vq, "a packet has a writable buffer");
	if (vsock_receive(dev->vsock, chain->iov, chain->out_count,
			  chain->out_len))
		return virtq_break(vq, "a packet is shorter than it says");
	virtq_push(vq, chain->head, 0);
	return 1;
}

/*
 * 5.10.6.7: a driver that kept connections over its reset of the device, or
 * over ours, hears that they are gone. One that did not has none to lose.
 */
static int take_event(struct virtio_worker *worker, struct virtq *vq)
{
	const struct virtio_vsock_event event = {
		.id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET),
	};
	struct vsock_device *dev = to_vsock(worker->vdev);
	struct virtq_chain *chain = &dev->chain;
	int got;

	if (!dev->interrupted)
		return -EAGAIN;
	got = virtq_pop(vq, chain);
	if (got <= 0)
		return got;
	if (chain->out_count || chain->in_len < sizeof(event))
		return virtq_break(vq, "a buffer for events is of no use");
	iov_from_buf(chain->iov, chain->in_count, 0, &event, sizeof(event));
	virtq_push(vq, chain->head, sizeof(event));
	dev->interrupted = false;
	return 1;
}

static void vsock_kicked(struct virtio_worker *worker, struct virtq *vq)
{
	struct vsock_device *dev = to_vsock(worker->vdev);

	/* First: it would end connections that begin now. */
	if (dev->interrupted || vq->index == VSOCK_EVENT)
		virtio_worker_serve(worker, &dev->vdev.queue[VSOCK_EVENT],
				    take_event);
	if (vq->index == VSOCK_TX)
		virtio_worker_serve(worker, vq, take_packet);
	/* Packets have answers, and what was taken leaves room for more. */
	send_packets(dev);
}

static void vsock_worker_start(struct virtio_worker *worker)
{
	vsock_start(to_vsock(worker->vdev)->vsock);
}

static void vsock_worker_stop(struct virtio_worker *worker)
{
	vsock_stop(to_vsock(worker->vdev)->vsock);
	virtio_worker_idle(worker);
}

static const struct virtio_worker_ops worker_ops = {
	.kicked = vsock_kicked,
	.start = vsock_worker_start,
	.stop = vsock_worker_stop,
};

static void wake(void *opaque)
{
	send_packets(opaque);
}

/* ---- device -------------------------------------------------------------- */

static int vsock_activate(struct virtio_device *vdev, uint64_t features)
{
	(void)features;
	return virtio_worker_activate(&to_vsock(vdev)->worker);
}

static void forget_on_thread(void *opaque)
{
	struct vsock_device *dev = opaque;

	dev->full = false;
	dev->interrupted |= vsock_forget(dev->vsock);
}

static void vsock_deactivate(struct virtio_device *vdev)
{
	struct vsock_device *dev = to_vsock(vdev);

	virtio_worker_deactivate(&dev->worker);
	io_thread_call(dev->worker.thread, forget_on_thread, dev);
}

static const struct virtio_device_ops vsock_ops = {
	.id = VIRTIO_ID_VSOCK,
	.pci_class = VSOCK_PCI_CLASS,
	.activate = vsock_activate,
	.deactivate = vsock_deactivate,
	.handle_queue = virtio_device_kick,
};

static void vsock_stats(struct device *device, struct stats_sink *sink)
{
	struct vsock_device *dev =
		container_of(device, struct vsock_device, vdev.device);

	vsock_print_stats(dev->vsock, device->name, sink);
}

static void destroy_on_thread(void *opaque)
{
	vsock_destroy(opaque);
}

static void vsock_device_destroy(struct device *device)
{
	struct vsock_device *dev =
		container_of(device, struct vsock_device, vdev.device);

	/* A guest need not have reset its devices before it went. */
	virtio_device_set_status(&dev->vdev, 0);
	io_thread_call(dev->worker.thread, destroy_on_thread, dev->vsock);
	virtio_worker_destroy(&dev->worker);
	virtio_device_release(&dev->vdev);
	free(dev);
}

/* What no key's own description can tell; one line if it is wrong. */
static int check_options(const struct machine *machine,
			 const struct virtio_vsock_options *options)
{
	/* The guest's addresses are its kernel's, and that takes one only. */
	for (struct device *d = machine->devices; d; d = d->next)
		if (d->type == &virtio_vsock_type ||
		    d->type == &vhost_vsock_type) {
			log_err("vsock", "--vsock: a guest can have only one");
			return -EEXIST;
		}
	if (options->path && options->vhost == VIRTIO_VSOCK_VHOST_ON) {
		log_err("vsock",
			"--vsock: unix= and vhost=on exclude each other");
		return -EINVAL;
	}
	if (!options->path && options->vhost == VIRTIO_VSOCK_VHOST_OFF) {
		log_err("vsock", "--vsock: vhost=off needs unix=PATH");
		return -EINVAL;
	}
	return 0;
}

static int vsock_device_create(struct machine *machine, const void *config,
			       struct device **out)
{
	const struct virtio_vsock_options *options = config;
	const struct virtio_vsock_config space = {
		.guest_cid = htole64(options->cid),
	};
	struct vsock_device *dev;
	int err = check_options(machine, options);

	if (err)
		return err;
	if (!options->path)
		return vhost_vsock_type.create(machine, config, out);
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	strcpy(dev->vdev.device.name, "vsock0");
	memcpy(dev->vdev.config, &space, sizeof(space));
	dev->vdev.config_len = sizeof(space);
	virtio_device_init(&dev->vdev, machine, &virtio_vsock_type, &vsock_ops,
			   BIT_ULL(VSOCK_F_STREAM), VSOCK_QUEUES,
			   VSOCK_QUEUE_SIZE);
	err = virtio_worker_create(&dev->worker, &dev->vdev, &worker_ops,
				   "io-vsock0", 0, VSOCK_QUEUES);
	if (err)
		goto release;
	err = vsock_create(options->cid, options->path,
			   virtio_worker_loop(&dev->worker), wake, dev,
			   &dev->vsock);
	if (err)
		goto destroy_worker;
	err = virtio_device_plug(&dev->vdev);
	if (err)
		goto destroy_vsock;
	*out = &dev->vdev.device;
	return 0;

destroy_vsock:
	io_thread_call(dev->worker.thread, destroy_on_thread, dev->vsock);
destroy_worker:
	virtio_worker_destroy(&dev->worker);
release:
	virtio_device_release(&dev->vdev);
	free(dev);
	return err;
}

static int vsock_plan(const struct machine *machine, const void *config,
		      struct device_plan *plan)
{
	const struct virtio_vsock_options *options = config;

	int err = check_options(machine, options);

	if (err)
		return err;
	if (!options->path)
		return vhost_vsock_type.plan(machine, config, plan);
	strcpy(plan->name, "vsock0");
	plan->ops = &vsock_ops;
	device_plan_file(plan, options->path, "listen");
	return 0;
}

/* ---- options and state --------------------------------------------------- */

const struct virtio_vsock_options virtio_vsock_defaults = {
	.vhost = VIRTIO_VSOCK_VHOST_AUTO,
};

static const char *const vhost_choices[] = { "auto", "on", "off", NULL };

#define FIELD(name) offsetof(struct virtio_vsock_options, name)

static const char *const vsock_positional[] = { "cid", NULL };

const struct option_desc virtio_vsock_keys[] = {
	{ OPTION_UINT, 0, "cid", "CID", "the guest's address (3 to 4294967294)",
	  .offset = FIELD(cid), .min = 3, .max = 0xfffffffe },
	{ OPTION_STRING, 0, "unix", "PATH",
	  "socket where clients write CONNECT PORT; the guest's reach PATH_PORT",
	  .offset = FIELD(path) },
	{ OPTION_ENUM, 0, "vhost", "auto|on|off",
	  "the host's kernel serves it, by AF_VSOCK (auto: without unix=)",
	  .offset = FIELD(vhost), .choices = vhost_choices },
	{ .kind = OPTION_END },
};

#define QUEUE_STATE(n) \
	VIRTIO_QUEUE_STATE(struct vsock_device, n, VSOCK_QUEUE_SIZE)

static const struct state_field vsock_fields[] = {
	VIRTIO_STATE(struct vsock_device),
	QUEUE_STATE(VSOCK_RX),
	QUEUE_STATE(VSOCK_TX),
	QUEUE_STATE(VSOCK_EVENT),
	STATE_END,
};

static const struct state_table vsock_state = {
	.name = "virtio-vsock",
	.version = 1,
	.fields = vsock_fields,
};

const struct device_type virtio_vsock_type = {
	.name = "virtio-vsock",
	.options = virtio_vsock_keys,
	.positional = vsock_positional,
	.defaults = &virtio_vsock_defaults,
	.config_size = sizeof(struct virtio_vsock_options),
	.create = vsock_device_create,
	.plan = vsock_plan,
	.destroy = vsock_device_destroy,
	.reset = virtio_device_machine_reset,
	.quiesce = virtio_device_quiesce,
	.resume = virtio_device_resume,
	.stats = vsock_stats,
	.state = &vsock_state,
};
