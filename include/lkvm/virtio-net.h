/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of the network device (virtio 1.2, 5.1): what the driver asks for
 * by control commands, and the frames of one pair of queues.
 */
#ifndef LKVM_VIRTIO_NET_H
#define LKVM_VIRTIO_NET_H

#include <linux/if_ether.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <lkvm/net.h>
#include <lkvm/vhost.h>
#include <lkvm/virtio.h>
#include <lkvm/worker.h>

/* ---- control commands (5.1.6.5) ------------------------------------------ */

/* Addresses of each kind that are filtered exactly; with more, all pass. */
#define NET_MAX_MACS 64

#define NET_VLANS 4096

/* What of a frame a filter looks at: two addresses, type, VLAN tag. */
#define NET_FILTER_BYTES (ETH_HLEN + 4)

struct net_mac_table {
	uint8_t mac[NET_MAX_MACS * ETH_ALEN];
	uint16_t count;
	bool all; /* more were given */
};

/* Which frames the driver wants to receive. */
struct net_filter {
	uint8_t mac[ETH_ALEN];
	bool promiscuous;
	bool all_unicast, no_unicast;
	bool all_multicast, no_multicast;
	bool no_broadcast;
	bool vlans_only; /* of tagged frames those of vlan[] */
	struct net_mac_table unicast, multicast;
	uint64_t vlan[NET_VLANS / 64];
};

/* All that control commands change. */
struct net_control {
	uint64_t features; /* negotiated */
	uint16_t max_pairs;
	uint16_t pairs; /* that the driver uses */
	uint64_t offloads; /* VIRTIO_NET_F_GUEST_*, as masks */
	bool announced; /* the driver has acknowledged VIRTIO_NET_S_ANNOUNCE */
	struct net_filter filter;
};

/* VIRTIO_NET_F_GUEST_* that CTRL_GUEST_OFFLOADS switches (5.1.6.5.6). */
extern const uint64_t net_guest_offloads;

/* As after a reset, for a driver that agreed on @features. */
void net_control_init(struct net_control *control, uint64_t features,
		      unsigned int max_pairs, const uint8_t *mac);

/*
 * One command, as the driver wrote it to @iov. Returns VIRTIO_NET_OK, or
 * VIRTIO_NET_ERR and nothing has changed. Any bytes will do.
 */
uint8_t net_control_command(struct net_control *control,
			    const struct iovec *iov, unsigned int count);

/* Is a frame wanted that begins with the @len bytes at @frame? */
bool net_filter_accepts(const struct net_filter *filter, const uint8_t *frame,
			size_t len);

/* ---- frames -------------------------------------------------------------- */

/* Elements of receive buffers that are taken from the ring in advance. */
#define NET_RX_IOVS 768
#define NET_RX_CHAINS 256

struct net_rx_chain {
	uint16_t head;
	uint16_t iovs;
	uint32_t len;
};

/*
 * Receive buffers that were popped, and wait in order for a frame: nobody
 * knows its length before it is there. What does not fit goes to @spill, and
 * waits for further buffers.
 */
struct net_rx {
	struct iovec iov[NET_RX_IOVS + 1]; /* and one for the spill */
	struct net_rx_chain chain[NET_RX_CHAINS];
	unsigned int iov_at, iov_end;
	unsigned int chain_at, chain_end;
	size_t room; /* of all buffers */
	size_t held; /* length of a frame whose end is in spill, or 0 */
	size_t held_room; /* bytes of it that are in the buffers */
	uint8_t *spill; /* NET_HEADER_BYTES + NET_MAX_FRAME */
};

/* Written by one thread only. */
struct net_counters {
	_Atomic uint64_t frames, bytes, drops;
};

struct net;

/* Two queues, and the thread that serves them. */
struct net_pair {
	struct net *net;
	unsigned int index;
	struct virtq *rx, *tx;
	struct virtio_worker worker;
	struct vhost vhost; /* net->vhost: serves the queues instead */
	/* Set before the thread starts on the queues, constant then. */
	bool enabled; /* the driver has set both queues up */
	bool mergeable;
	bool checksums; /* the driver takes partial ones */
	size_t wanted; /* bytes that the longest usual frame takes */

	pthread_mutex_t filter_lock;
	struct net_filter filter; /* filter_lock */
	/* The thread's own. */
	struct net_rx buffers;
	struct virtq_chain chain;
	struct net_counters received, sent;
};

/* The spill of @pair. Returns 0 or -ENOMEM. */
int net_pair_init(struct net_pair *pair);
void net_pair_release(struct net_pair *pair);

/* Give the buffers back to the ring that no frame is in. The pair's thread. */
void net_rx_stop(struct net_pair *pair);

/* Move frames from the backend to the driver, and back. The pair's thread. */
void net_rx_run(struct net_pair *pair);
void net_tx_run(struct net_pair *pair);

/* ---- the device ---------------------------------------------------------- */

struct net {
	struct virtio_device vdev;
	struct net_backend *backend;
	unsigned int nr_pairs;
	bool vhost; /* the kernel moves the frames */
	bool implicit; /* the VM can do without */
	/* With vhost: what the host had counted when the device was made. */
	struct net_counts received_before, sent_before;
	uint8_t mac[ETH_ALEN]; /* at reset */
	struct virtq *ctrl; /* NULL: not negotiated; constant while active */
	struct net_control control; /* the thread's that serves ctrl */

	/*
	 * What config space is to show. Queues' threads must not take the
	 * device's lock, so the main thread carries it over.
	 */
	pthread_mutex_t shown_lock;
	uint8_t shown_mac[ETH_ALEN]; /* shown_lock, as the next */
	uint16_t shown_status;
	bool carrier; /* shown_lock: the backend has one */
	_Atomic bool unplugged; /* by the user; set under shown_lock */
	bool quiesced; /* vdev.lock */
	struct loop_source show; /* eventfd on the main loop */

	struct net_pair *pair; /* nr_pairs */
};

#define NET_QUEUE_SIZE 256

/* For the device type; see device.h. */
int net_create(struct machine *machine, const void *config,
	       struct device **out);
int net_plan(const struct machine *machine, const void *config,
	     struct device_plan *plan);
int net_complete(struct device *device);
void net_destroy(struct device *device);
void net_quiesce(struct device *device);
void net_resume(struct device *device);

#endif
