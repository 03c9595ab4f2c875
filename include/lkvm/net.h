/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Backends of network devices: where a guest's frames go and come from.
 *
 * A frame travels with a struct virtio_net_hdr_v1 (virtio 1.2, 5.1.6) in
 * front, in both directions; a backend without offloads ignores it on send()
 * and zeroes it on receive(). Backends know no guest address: they are given
 * iovecs, and copy at most once.
 *
 * A backend has one queue or several (multiqueue tap). All calls for one queue
 * come from the thread of the loop that the queue is attached to.
 */
#ifndef LKVM_NET_H
#define LKVM_NET_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <lkvm/loop.h>

/* Queue pairs of one device. */
#define NET_MAX_PAIRS 8

/* The longest frame that is carried, without its header: a GSO one. */
#define NET_MAX_FRAME 65550

#define NET_HEADER_BYTES sizeof(struct virtio_net_hdr_v1)

struct net_backend;

/* What a backend tells its device. Set before the first attach(). */
struct net_frontend_ops {
	/* receive() on @queue may have a frame. The queue's thread. */
	void (*readable)(void *opaque, unsigned int queue);
	/* send() on @queue, which said -EAGAIN, may go on. The queue's thread. */
	void (*writable)(void *opaque, unsigned int queue);
	/* The link went down for good or came up. Any thread. */
	void (*link)(void *opaque, bool up);
};

struct net_backend_ops {
	const char *name; /* "tap", "user" */
	/*
	 * Watch queue @queue on @loop and call the frontend from there, or
	 * stop that. On the loop's thread. Return 0 or -errno. Edge-like:
	 * readable() comes after new frames came since receive() last said
	 * -EAGAIN.
	 */
	int (*attach)(struct net_backend *backend, unsigned int queue,
		      struct loop *loop);
	void (*detach)(struct net_backend *backend, unsigned int queue);
	/*
	 * Send one frame with its header, @len bytes in all. Returns 0,
	 * -EAGAIN (nothing was sent; writable() will come), or another
	 * -errno: the frame is lost, and the caller goes on with the next.
	 */
	int (*send)(struct net_backend *backend, unsigned int queue,
		    const struct iovec *iov, unsigned int count, size_t len);
	/*
	 * Put the next frame, with its header, into @iov, @room bytes in all.
	 * Returns its length with header, -EAGAIN when there is none, or
	 * -EMSGSIZE: the frame did not fit and is lost. num_buffers of the
	 * header is the caller's to set.
	 */
	ssize_t (*receive)(struct net_backend *backend, unsigned int queue,
			   const struct iovec *iov, unsigned int count,
			   size_t room);
	/*
	 * The driver has agreed on @features (VIRTIO_NET_F_* bits, a subset of
	 * backend->features), and uses @pairs queue pairs. Any thread; no
	 * queue is attached or all are. Returns 0 or -errno. Optional.
	 */
	int (*configure)(struct net_backend *backend, uint64_t features,
			 unsigned int pairs);
	/*
	 * The file descriptor of @queue that vhost-net can take, or -1.
	 * Optional. Stays the backend's.
	 */
	int (*vhost_fd)(struct net_backend *backend, unsigned int queue);
	/* Free everything; no queue is attached. Main thread. */
	void (*destroy)(struct net_backend *backend);
};

/* Embedded in each backend's own struct. */
struct net_backend {
	const struct net_backend_ops *ops;
	unsigned int pairs; /* queues */
	/*
	 * Offload features that it can carry: VIRTIO_NET_F_CSUM, GUEST_CSUM,
	 * HOST_TSO4 ..., as feature bits' masks.
	 */
	uint64_t features;
	unsigned int mtu; /* 0: not known */
	const struct net_frontend_ops *frontend;
	void *opaque; /* the frontend's */
};

#endif
