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

#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
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

/* virtio 1.2, 5.1.3; Debian 12's headers are older. */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#endif

struct net_backend;

/* In the order of the words that the option takes. */
enum net_mode {
	NET_MODE_USER,
	NET_MODE_TAP,
	NET_MODE_NONE,
};

enum net_vhost {
	NET_VHOST_AUTO,
	NET_VHOST_OFF,
	NET_VHOST_ON,
};

#define NET_NO_FD UINT64_MAX

/* Forwards of one device. */
#define NET_MAX_FORWARDS 64

/* What comes to a port of the host goes to a port of the guest. */
struct net_forward {
	bool udp; /* or TCP */
	char address[INET6_ADDRSTRLEN]; /* of the host; empty: all */
	uint16_t host_port, guest_port;
};

/*
 * One network device, as the user asked for it; NULL and 0: not said. The
 * frontend looks after guest_mac, vhost, pairs and mtu; each backend refuses,
 * with a message, what it cannot do of the rest.
 */
struct net_options {
	int mode; /* enum net_mode */
	int vhost; /* enum net_vhost */
	int trans; /* the option's words in order; -1: not said */
	bool packed;
	uint8_t guest_mac[ETH_ALEN]; /* all 0: not said */
	const char *guest_ip;
	const char *host_ip; /* ADDRESS or ADDRESS/BITS */
	const char *tapif; /* a name, or the path of a macvtap's node */
	const char *script;
	const char *downscript;
	uint64_t fd; /* or NET_NO_FD */
	uint64_t pairs;
	uint64_t mtu;
	const char *pcap; /* a file for all frames, or NULL */
	struct net_forward forward[NET_MAX_FORWARDS];
	unsigned int nr_forwards;
	bool implicit; /* nobody asked for it: failing is worth a warning */
};

/* Of one direction, as the guest sees it. */
struct net_counts {
	uint64_t frames, bytes, drops;
};

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
	/*
	 * The guest is about to run: wait for what creation has only begun.
	 * Returns 0, or -errno after a message. Main thread, once. Optional.
	 */
	int (*complete)(struct net_backend *backend);
	/*
	 * What the host has counted, for frames that vhost-net moves. Returns
	 * 0 or -errno. With vhost_fd. Any thread.
	 */
	int (*counts)(struct net_backend *backend, struct net_counts *received,
		      struct net_counts *sent);
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
	/* The one address that it lets the guest have; all 0: any. */
	uint8_t mac[ETH_ALEN];
	const struct net_frontend_ops *frontend;
	void *opaque; /* the frontend's */
};

/*
 * Make the backend that @options asks for, of the device that is called @name
 * ("net0"). Not for NET_MODE_NONE. Returns 0, or -errno after a message;
 * ops->destroy() ends it. Main thread.
 */
int net_backend_create(const struct net_options *options, const char *name,
		       struct net_backend **out);

/* The same, for one mode each. */
int net_tap_create(const struct net_options *options, const char *name,
		   struct net_backend **out);
int net_user_create(const struct net_options *options, const char *name,
		    struct net_backend **out);

/*
 * Would mode=user work as @options ask for it? Starts nothing. Returns as
 * net_user_create(), with its messages.
 */
int net_user_check(const struct net_options *options, const char *name);

/*
 * Write all frames of @inner to a new file @path, in pcap's format: what comes
 * out is to be used in its place, and owns it. On failure (-errno after a
 * message) @inner stays the caller's. Main thread.
 */
int net_pcap_create(struct net_backend *inner, const char *path,
		    struct net_backend **out);

/*
 * Parse "tcp|udp:[ADDR:]PORT-:PORT". Returns 0, or -EINVAL and in @why what is
 * wrong.
 */
int net_forward_parse(const char *text, struct net_forward *out,
		      const char **why);

#endif
