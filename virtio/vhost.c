/* SPDX-License-Identifier: GPL-2.0 */
/* Queues that the host's kernel serves: see vhost.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/vhost.h>

int vhost_open(const char *path, uint64_t *features)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint64_t found;
	int err;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, VHOST_SET_OWNER) ||
	    ioctl(fd, VHOST_GET_FEATURES, &found)) {
		err = -errno;
		close(fd);
		return err;
	}
	*features = found;
	return fd;
}

/* ---- what comes from the kernel, on the thread --------------------------- */

static void take(int fd)
{
	eventfd_t count;

	(void)eventfd_read(fd, &count);
}

static void called(void *opaque, uint32_t events)
{
	struct vhost_queue *queue = opaque;
	struct virtio_device *vdev = queue->vhost->vdev;

	(void)events;
	take(queue->call.fd);
	vdev->transport_ops->signal_queue(vdev->transport, queue->vq);
}

static void failed(void *opaque, uint32_t events)
{
	struct vhost *vhost = opaque;
	struct virtio_device *vdev = vhost->vdev;

	(void)events;
	take(vhost->error.fd);
	log_warn_limited(&vdev->warn, "vhost",
			 "%s: the guest broke a queue, says the kernel",
			 vdev->device.name);
	virtio_device_broken(vdev);
}

/* ---- start and stop ------------------------------------------------------ */

static int set_memory(const struct vhost *vhost)
{
	const struct guest_memory *memory = &vhost->vdev->machine->memory;
	struct vhost_memory *table;
	int err;

	table = calloc(1, sizeof(*table) + memory->nr_regions *
						   sizeof(table->regions[0]));
	if (!table)
		return -ENOMEM;
	table->nregions = memory->nr_regions;
	for (unsigned int i = 0; i < memory->nr_regions; i++)
		table->regions[i] = (struct vhost_memory_region) {
			.guest_phys_addr = memory->region[i].base,
			.memory_size = memory->region[i].size,
			.userspace_addr = (uintptr_t)memory->region[i].host,
		};
	err = ioctl(vhost->fd, VHOST_SET_MEM_TABLE, table) ? -errno : 0;
	free(table);
	return err;
}

/* Where the kernel writes when the driver is to be interrupted. */
static int call_fd(const struct vhost *vhost, const struct vhost_queue *queue)
{
	const struct virtio_transport_ops *ops = vhost->vdev->transport_ops;
	int fd = -1;

	if (ops->queue_irqfd)
		fd = ops->queue_irqfd(vhost->vdev->transport, queue->vq);
	return fd < 0 ? queue->call.fd : fd;
}

static int set_file(const struct vhost *vhost, unsigned long request,
		    unsigned int index, int fd)
{
	struct vhost_vring_file file = { .index = index, .fd = fd };

	return ioctl(vhost->fd, request, &file) ? -errno : 0;
}

static int set_ring(const struct vhost *vhost, unsigned int index)
{
	const struct virtq *vq = vhost->queue[index].vq;
	struct vhost_vring_state size = { .index = index, .num = vq->size };
	struct vhost_vring_state at = { .index = index, .num = vq->last_avail };
	struct vhost_vring_addr areas = {
		.index = index,
		.desc_user_addr = (uintptr_t)vq->desc,
		.avail_user_addr = (uintptr_t)vq->avail,
		.used_user_addr = (uintptr_t)vq->used,
	};

	if (ioctl(vhost->fd, VHOST_SET_VRING_NUM, &size) ||
	    ioctl(vhost->fd, VHOST_SET_VRING_BASE, &at) ||
	    ioctl(vhost->fd, VHOST_SET_VRING_ADDR, &areas))
		return -errno;
	return 0;
}

static int start_queue(const struct vhost *vhost, unsigned int index)
{
	const struct vhost_queue *queue = &vhost->queue[index];
	int err = set_ring(vhost, index);

	if (!err)
		err = set_file(vhost, VHOST_SET_VRING_ERR, index,
			       vhost->error.fd);
	if (!err)
		err = set_file(vhost, VHOST_SET_VRING_CALL, index,
			       call_fd(vhost, queue));
	if (!err)
		err = set_file(vhost, VHOST_SET_VRING_KICK, index,
			       queue->kick_fd);
	if (!err)
		err = virtio_device_notify_fd(vhost->vdev, queue->vq->index,
					      queue->kick_fd);
	return err;
}

static void stop_queue(const struct vhost *vhost, unsigned int index)
{
	const struct vhost_queue *queue = &vhost->queue[index];
	struct vhost_vring_state at = { .index = index };

	virtio_device_notify_fd(vhost->vdev, queue->vq->index, -1);
	set_file(vhost, VHOST_SET_VRING_KICK, index, -1);
	set_file(vhost, VHOST_SET_VRING_CALL, index, -1);
	set_file(vhost, VHOST_SET_VRING_ERR, index, -1);
	if (!ioctl(vhost->fd, VHOST_GET_VRING_BASE, &at))
		virtq_set_position(queue->vq, (uint16_t)at.num);
}

int vhost_start(struct vhost *vhost)
{
	uint64_t features = vhost->vdev->features & vhost->features;
	unsigned int i;
	int err;

	if (ioctl(vhost->fd, VHOST_SET_FEATURES, &features))
		return -errno;
	err = set_memory(vhost);
	if (err)
		return err;
	for (i = 0; i < vhost->count && !err; i++)
		err = start_queue(vhost, i);
	if (err) {
		while (i--)
			stop_queue(vhost, i);
		return err;
	}
	/* What the driver made available before is looked for. */
	for (i = 0; i < vhost->count; i++)
		eventfd_write(vhost->queue[i].kick_fd, 1);
	vhost->started = true;
	return 0;
}

static void nothing(void *opaque)
{
	(void)opaque;
}

void vhost_stop(struct vhost *vhost)
{
	if (!vhost->started)
		return;
	for (unsigned int i = 0; i < vhost->count; i++)
		stop_queue(vhost, i);
	vhost->started = false;
	/*
	 * What the thread was told before is done when this returns: nobody
	 * signals a queue of a device that is being reset, or says that it
	 * needs another one.
	 */
	for (unsigned int i = 0; i < vhost->count; i++)
		take(vhost->queue[i].call.fd);
	take(vhost->error.fd);
	io_thread_call(vhost->thread, nothing, NULL);
}

void vhost_kick(struct vhost *vhost, unsigned int index)
{
	for (unsigned int i = 0; i < vhost->count; i++)
		if (vhost->queue[i].vq->index == index)
			eventfd_write(vhost->queue[i].kick_fd, 1);
}

/* ---- life ---------------------------------------------------------------- */

static void unwatch_on_thread(void *opaque)
{
	struct vhost *vhost = opaque;
	struct loop *loop = io_thread_loop(vhost->thread);

	loop_del(loop, &vhost->error);
	for (unsigned int i = 0; i < vhost->count; i++)
		loop_del(loop, &vhost->queue[i].call);
}

void vhost_destroy(struct vhost *vhost)
{
	/* There, no event can be on its way any more. */
	io_thread_call(vhost->thread, unwatch_on_thread, vhost);
	for (unsigned int i = 0; i < vhost->count; i++) {
		if (vhost->queue[i].kick_fd >= 0)
			close(vhost->queue[i].kick_fd);
		if (vhost->queue[i].call.fd >= 0)
			close(vhost->queue[i].call.fd);
	}
	if (vhost->error.fd >= 0)
		close(vhost->error.fd);
	close(vhost->fd);
}

static int watch(struct vhost *vhost, struct loop_source *source,
		 void (*ready)(void *opaque, uint32_t events), void *opaque)
{
	source->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (source->fd < 0)
		return -errno;
	source->ready = ready;
	source->opaque = opaque;
	return loop_add(io_thread_loop(vhost->thread), source, EPOLLIN);
}

static int init_queue(struct vhost *vhost, unsigned int index, struct virtq *vq)
{
	struct vhost_queue *queue = &vhost->queue[index];

	queue->vhost = vhost;
	queue->vq = vq;
	queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->kick_fd < 0)
		return -errno;
	return watch(vhost, &queue->call, called, queue);
}

int vhost_create(struct vhost *vhost, int fd, uint64_t features,
		 struct virtio_device *vdev, struct io_thread *thread,
		 unsigned int first, unsigned int count)
{
	int err;

	*vhost = (struct vhost) {
		.vdev = vdev,
		.thread = thread,
		.fd = fd,
		.features = features,
		.count = count,
		.error.fd = -1,
	};
	for (unsigned int i = 0; i < count; i++) {
		vhost->queue[i].kick_fd = -1;
		vhost->queue[i].call.fd = -1;
	}
	err = watch(vhost, &vhost->error, failed, vhost);
	for (unsigned int i = 0; i < count && !err; i++)
		err = init_queue(vhost, i, &vdev->queue[first + i]);
	if (err)
		vhost_destroy(vhost);
	return err;
}
