/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Queues of a virtio device that the host's kernel serves (/dev/vhost-net,
 * /dev/vhost-vsock): <linux/vhost.h>, and the kernel's drivers/vhost.
 *
 * The driver's notifications reach the kernel by ioeventfd and its interrupts
 * come by irqfd, where the transport has one for the queue; else they take the
 * way through a thread of ours, which is also told of broken rings.
 */
#ifndef LKVM_VHOST_H
#define LKVM_VHOST_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/loop.h>
#include <lkvm/virtio.h>

/* Of one open file: the data queues of one net pair, or of vsock. */
#define VHOST_MAX_QUEUES 2

struct vhost;

struct vhost_queue {
	struct vhost *vhost;
	struct virtq *vq;
	int kick_fd; /* the driver's notifications */
	struct loop_source call; /* interrupts, where there is no irqfd */
};

struct vhost {
	struct virtio_device *vdev;
	struct io_thread *thread; /* not owned */
	int fd; /* of /dev/vhost-*; for the device's own ioctls, too */
	uint64_t features; /* that the kernel has */
	unsigned int count;
	bool started; /* vdev->lock */
	struct loop_source error; /* the kernel found a broken ring */
	struct vhost_queue queue[VHOST_MAX_QUEUES];
};

/*
 * Open the device node @path for this process. Returns a descriptor with its
 * features in @features, or -errno: nothing is said. Main thread.
 */
int vhost_open(const char *path, uint64_t *features);

/*
 * @fd, of vhost_open() with @features, is to serve @count queues of @vdev from
 * @first on. @thread does what only this process can. @vdev is initialised;
 * @fd belongs to @vhost from now on, also when this fails. Returns 0 or
 * -errno. Main thread.
 */
int vhost_create(struct vhost *vhost, int fd, uint64_t features,
		 struct virtio_device *vdev, struct io_thread *thread,
		 unsigned int first, unsigned int count);

/* The device is inactive; @thread is still there. Main thread. */
void vhost_destroy(struct vhost *vhost);

/*
 * Hand the queues to the kernel, all of them running, from where they stand.
 * The device's own ioctl that makes it begin comes after (VHOST_NET_SET_BACKEND,
 * VHOST_VSOCK_SET_RUNNING). From activate() or resume(), vdev->lock held.
 * Returns 0, or -errno and there is nothing to undo.
 */
int vhost_start(struct vhost *vhost);

/*
 * Take them back; the device's own ioctl has made the kernel pause. From
 * deactivate() or quiesce(), vdev->lock held. Without a start: nothing.
 */
void vhost_stop(struct vhost *vhost);

/*
 * For virtio_device_ops.handle_queue: a notification of queue @index of the
 * device, one of the kernel's, that came without ioeventfd. Any thread.
 */
void vhost_kick(struct vhost *vhost, unsigned int index);

#endif
