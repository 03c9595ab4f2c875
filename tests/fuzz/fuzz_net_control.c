/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libFuzzer target: control commands of the network device. The input is a
 * byte that chooses features, then commands, each behind its length (a byte)
 * and the length of its first piece (another). What they have set is asked
 * about a frame, which is the input itself. See "make fuzz".
 */
#include <stdlib.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtio-net.h>

#define PAIRS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bits of the first byte. */
static const unsigned int choices[] = {
	VIRTIO_NET_F_CTRL_RX,
	VIRTIO_NET_F_CTRL_RX_EXTRA,
	VIRTIO_NET_F_CTRL_VLAN,
	VIRTIO_NET_F_CTRL_MAC_ADDR,
	VIRTIO_NET_F_GUEST_ANNOUNCE,
	VIRTIO_NET_F_MQ,
	VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
	VIRTIO_NET_F_GUEST_CSUM,
};

/* In memory of its own, so that a byte too far is seen. */
static void command(struct net_control *control, const uint8_t *data,
		    size_t size, size_t first)
{
	struct iovec iov[2];

	first = MIN(first, size);
	iov[0] = (struct iovec) { malloc(first + !first), first };
	iov[1] = (struct iovec) { malloc(size - first + 1), size - first };
	if (iov[0].iov_base && iov[1].iov_base) {
		memcpy(iov[0].iov_base, data, first);
		memcpy(iov[1].iov_base, data + first, size - first);
		net_control_command(control, iov, ARRAY_SIZE(iov));
	}
	free(iov[0].iov_base);
	free(iov[1].iov_base);
}

static void check(const struct net_control *control)
{
	const struct net_filter *filter = &control->filter;

	if (control->pairs < 1 || control->pairs > PAIRS ||
	    control->offloads & ~control->features ||
	    filter->unicast.count > NET_MAX_MACS ||
	    filter->multicast.count > NET_MAX_MACS || filter->mac[0] & 1)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 1 };
	const uint8_t *whole = data;
	size_t whole_size = size;
	struct net_control control;
	uint64_t features = 0;

	if (!size)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(choices); i++)
		if (data[0] & BIT(i))
			features |= BIT_ULL(choices[i]);
	data++;
	size--;
	net_control_init(&control, features, PAIRS, mac);
	while (size > 2) {
		size_t len = MIN(data[0], size - 2);

		command(&control, data + 2, len, data[1]);
		check(&control);
		data += 2 + len;
		size -= 2 + len;
	}
	net_filter_accepts(&control.filter, whole, whole_size);
	return 0;
}
