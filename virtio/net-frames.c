/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Frames of the network device (virtio 1.2, 5.1.6.2 to 5.1.6.4), on the threads
 * of its queue pairs: from the driver's buffers into the backend, and from the
 * backend into the driver's buffers, with no copy of ours in between.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/log.h>
#include <lkvm/util.h>
#include <lkvm/virtio-net.h>

_Static_assert(NET_HEADER_BYTES == 12, "5.1.6");
_Static_assert(NET_RX_IOVS >= 2 * VIRTQ_MAX_CHAIN, "room for another chain");

#define SPILL_BYTES (NET_HEADER_BYTES + NET_MAX_FRAME)

/* No frame is shorter than its own header. */
#define MIN_BYTES (NET_HEADER_BYTES + ETH_HLEN)

/* Frames that are received before the loop's other sources get a turn. */
#define RX_BATCH 256

int net_pair_init(struct net_pair *pair)
{
	pair->buffers.spill = malloc(SPILL_BYTES);
	if (!pair->buffers.spill)
		return -ENOMEM;
	pthread_mutex_init(&pair->filter_lock, NULL);
	return 0;
}

void net_pair_release(struct net_pair *pair)
{
	pthread_mutex_destroy(&pair->filter_lock);
	free(pair->buffers.spill);
}

/* ---- receive buffers ----------------------------------------------------- */

static void rx_clear(struct net_rx *rx)
{
	rx->iov_at = 0;
	rx->iov_end = 0;
	rx->chain_at = 0;
	rx->chain_end = 0;
	rx->room = 0;
	rx->held = 0;
}

void net_rx_stop(struct net_pair *pair)
{
	struct net_rx *rx = &pair->buffers;

	/* A frame that waits for more buffers is lost, as on any wire. */
	if (rx->held)
		counter_add(&pair->received.drops, 1);
	while (rx->chain_end > rx->chain_at)
		virtq_unpop(pair->rx, rx->chain[--rx->chain_end].head);
	rx_clear(rx);
}

/* Make the arrays' free part one piece; most times nothing is left to move. */
static void rx_compact(struct net_rx *rx)
{
	unsigned int iovs = rx->iov_end - rx->iov_at;
	unsigned int chains = rx->chain_end - rx->chain_at;

	memmove(rx->iov, rx->iov + rx->iov_at, iovs * sizeof(*rx->iov));
	memmove(rx->chain, rx->chain + rx->chain_at,
		chains * sizeof(*rx->chain));
	rx->iov_at = 0;
	rx->iov_end = iovs;
	rx->chain_at = 0;
	rx->chain_end = chains;
}

static bool rx_full(struct net_rx *rx)
{
	if (rx->iov_end + VIRTQ_MAX_CHAIN <= NET_RX_IOVS &&
	    rx->chain_end < NET_RX_CHAINS)
		return false;
	rx_compact(rx);
	return rx->iov_end + VIRTQ_MAX_CHAIN > NET_RX_IOVS ||
	       rx->chain_end == NET_RX_CHAINS;
}

static void rx_append(struct net_rx *rx, const struct virtq_chain *chain)
{
	memcpy(&rx->iov[rx->iov_end], &chain->iov[chain->out_count],
	       chain->in_count * sizeof(*rx->iov));
	rx->iov_end += chain->in_count;
	rx->chain[rx->chain_end++] = (struct net_rx_chain) {
		.head = chain->head,
		.iovs = (uint16_t)chain->in_count,
		.len = (uint32_t)chain->in_len,
	};
	rx->room += chain->in_len;
}

/*
 * Pop until there is room for @wanted bytes; one chain is all that a frame may
 * have if they cannot be merged. Returns 1, 0 (there is less: the ring is
 * empty, or the buffers are tiny) or -EPROTO.
 */
static int rx_gather(struct net_pair *pair, size_t wanted)
{
	struct net_rx *rx = &pair->buffers;

	while (pair->mergeable ? rx->room < wanted :
				 rx->chain_at == rx->chain_end) {
		int got;

		if (rx_full(rx))
			return 0;
		got = virtq_pop(pair->rx, &pair->chain);
		if (got <= 0)
			return got;
		if (pair->chain.in_len < NET_HEADER_BYTES)
			return virtq_break(
				pair->rx,
				"a receive buffer is shorter than a header");
		rx_append(rx, &pair->chain);
	}
	return 1;
}

/* ---- one frame received -------------------------------------------------- */

static bool wanted(struct net_pair *pair, const struct iovec *iov,
		   unsigned int count, size_t len)
{
	uint8_t bytes[NET_FILTER_BYTES];
	size_t got = iov_to_buf(iov, count, NET_HEADER_BYTES, bytes,
				MIN(len - NET_HEADER_BYTES, sizeof(bytes)));
	bool accepted;

	pthread_mutex_lock(&pair->filter_lock);
	accepted = net_filter_accepts(&pair->filter, bytes, got);
	pthread_mutex_unlock(&pair->filter_lock);
	return accepted;
}

/* What the device says in the header, and the backend cannot know. */
static void finish_header(const struct net_pair *pair, const struct iovec *iov,
			  unsigned int count, uint16_t buffers)
{
	__virtio16 num = htole16(buffers);
	const uint8_t none = 0;

	/* 5.1.6.4.1: no flags for a driver that takes no partial checksums. */
	if (!pair->checksums)
		iov_from_buf(iov, count,
			     offsetof(struct virtio_net_hdr_v1, flags), &none,
			     sizeof(none));
	iov_from_buf(iov, count,
		     offsetof(struct virtio_net_hdr_v1, num_buffers), &num,
		     sizeof(num));
}

/* The frame of @len bytes in the first buffers is the driver's now. */
static void rx_deliver(struct net_pair *pair, size_t len)
{
	struct net_rx *rx = &pair->buffers;
	unsigned int first = rx->chain_at;
	const struct iovec *iov = &rx->iov[rx->iov_at];
	unsigned int count = rx->iov_end - rx->iov_at;
	size_t left = len;

	while (left) {
		const struct net_rx_chain *chain = &rx->chain[rx->chain_at++];
		uint32_t written = (uint32_t)MIN(left, chain->len);

		virtq_fill(pair->rx, chain->head, written);
		left -= written;
		rx->room -= chain->len;
		rx->iov_at += chain->iovs;
	}
	finish_header(pair, iov, count, (uint16_t)(rx->chain_at - first));
	virtq_show(pair->rx);
	counter_add(&pair->received.frames, 1);
	counter_add(&pair->received.bytes, len - NET_HEADER_BYTES);
	if (rx->chain_at == rx->chain_end)
		rx_clear(rx);
}

/*
 * The end of a frame is in the spill: find buffers for it. Returns 1, 0 (the
 * ring is empty: it goes on waiting), or -EPROTO; the frame that no buffers
 * can hold is lost.
 */
static int rx_unspill(struct net_pair *pair)
{
	struct net_rx *rx = &pair->buffers;
	size_t len = rx->held;
	int got = pair->mergeable ? rx_gather(pair, len) : 0;

	if (got < 0)
		return got;
	if (rx->room < len) {
		if (pair->mergeable && !rx_full(rx))
			return 0;
		rx->held = 0;
		counter_add(&pair->received.drops, 1);
		return 1;
	}
	iov_from_buf(&rx->iov[rx->iov_at], rx->iov_end - rx->iov_at,
		     rx->held_room, rx->spill, len - rx->held_room);
	rx->held = 0;
	rx_deliver(pair, len);
	return 1;
}

/*
 * Returns 1 (a frame came, and was delivered, filtered or lost), -EAGAIN (the
 * backend has none), 0 (the driver has no buffers), or -EPROTO.
 */
static int receive_one(struct net_pair *pair)
{
	struct net_backend *backend = pair->net->backend;
	struct net_rx *rx = &pair->buffers;
	struct iovec *iov;
	unsigned int count;
	ssize_t len;
	int got;

	if (rx->held)
		return rx_unspill(pair);
	got = rx_gather(pair, pair->wanted);
	if (got < 0 || rx->chain_at == rx->chain_end)
		return got;

	iov = &rx->iov[rx->iov_at];
	count = rx->iov_end - rx->iov_at;
	iov[count] = (struct iovec) { rx->spill, SPILL_BYTES };
	len = backend->ops->receive(backend, pair->index, iov, count + 1,
				    rx->room + SPILL_BYTES);
	if (len == -EAGAIN)
		return -EAGAIN;
	if (len < (ssize_t)MIN_BYTES) {
		counter_add(&pair->received.drops, 1);
		/* An error that lasts must not keep us here. */
		return len < 0 && len != -EMSGSIZE ? -EAGAIN : 1;
	}
	if (atomic_load(&pair->net->unplugged)) {
		counter_add(&pair->received.drops, 1);
		return 1;
	}
	if (!wanted(pair, iov, count, (size_t)len))
		return 1;
	if ((size_t)len > rx->room) {
		rx->held = (size_t)len;
		rx->held_room = rx->room;
		return rx_unspill(pair);
	}
	rx_deliver(pair, (size_t)len);
	return 1;
}

void net_rx_run(struct net_pair *pair)
{
	struct virtio_device *vdev = &pair->net->vdev;
	unsigned int budget = RX_BATCH;
	int got = 1;

	virtq_disable_notify(pair->rx);
	while (budget-- && (got = receive_one(pair)) > 0)
		/* Early, so that the driver works beside us from now on. */
		virtio_device_signal(vdev, pair->rx);
	if (got == -EPROTO)
		virtio_device_broken(vdev);
	/* With no buffers, the driver's next notification brings us back. */
	else if (got > 0 || (!got && virtq_enable_notify(pair->rx)))
		virtio_worker_kick(&pair->worker, pair->rx);
}

/* ---- frames sent --------------------------------------------------------- */

static int send_one(struct virtio_worker *worker, struct virtq *vq)
{
	struct net_pair *pair = container_of(worker, struct net_pair, worker);
	struct net_backend *backend = pair->net->backend;
	struct virtq_chain *chain = &pair->chain;
	int got = virtq_pop(vq, chain);
	int err = -EINVAL;

	if (got <= 0)
		return got;
	if (chain->out_len >= MIN_BYTES && chain->out_len <= SPILL_BYTES &&
	    !atomic_load(&pair->net->unplugged))
		err = backend->ops->send(backend, pair->index, chain->iov,
					 chain->out_count, chain->out_len);
	if (err == -EAGAIN) {
		virtq_unpop(vq, chain->head);
		return -EAGAIN;
	}
	if (err) {
		counter_add(&pair->sent.drops, 1);
	} else {
		counter_add(&pair->sent.frames, 1);
		counter_add(&pair->sent.bytes,
			    chain->out_len - NET_HEADER_BYTES);
	}
	virtq_push(vq, chain->head, 0);
	/* At once: a sender waits for what it has under way. */
	virtio_device_signal(worker->vdev, vq);
	return 1;
}

void net_tx_run(struct net_pair *pair)
{
	virtio_worker_serve(&pair->worker, pair->tx, send_one);
}
