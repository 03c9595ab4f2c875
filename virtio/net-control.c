/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Control commands of the network device (virtio 1.2, 5.1.6.5), and the filter
 * that they set. The bytes come from the driver: a cursor reads each of them
 * once, and knows where they end.
 */
#include <endian.h>
#include <linux/virtio_net.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtio-net.h>

_Static_assert(sizeof(struct virtio_net_ctrl_hdr) == 2, "5.1.6.5");
_Static_assert(sizeof(struct virtio_net_ctrl_mac) == 4, "5.1.6.5.2");
_Static_assert(sizeof(struct virtio_net_ctrl_mq) == 2, "5.1.6.5.5");

/* 802.1Q: the tag's low bits are the VLAN. */
#define VLAN_MASK 0x0fff

const uint64_t net_guest_offloads =
	BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) |
	BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) | BIT_ULL(VIRTIO_NET_F_GUEST_ECN) |
	BIT_ULL(VIRTIO_NET_F_GUEST_UFO) | BIT_ULL(VIRTIO_NET_F_GUEST_USO4) |
	BIT_ULL(VIRTIO_NET_F_GUEST_USO6);

struct cursor {
	const struct iovec *iov;
	unsigned int count;
	size_t at;
	size_t left;
};

static bool take(struct cursor *c, void *out, size_t len)
{
	if (len > c->left)
		return false;
	iov_to_buf(c->iov, c->count, c->at, out, len);
	c->at += len;
	c->left -= len;
	return true;
}

static bool skip(struct cursor *c, size_t len)
{
	if (len > c->left)
		return false;
	c->at += len;
	c->left -= len;
	return true;
}

static bool has(const struct net_control *control, unsigned int feature)
{
	return control->features & BIT_ULL(feature);
}

void net_control_init(struct net_control *control, uint64_t features,
		      unsigned int max_pairs, const uint8_t *mac)
{
	*control = (struct net_control) {
		.features = features,
		.max_pairs = (uint16_t)max_pairs,
		/* 5.1.6.5.5: one pair, until the driver asks for more. */
		.pairs = 1,
		.offloads = features & net_guest_offloads,
		/* A driver that sets no filter expects what is on the wire. */
		.filter.promiscuous = true,
		.filter.vlans_only = features & BIT_ULL(VIRTIO_NET_F_CTRL_VLAN),
	};
	memcpy(control->filter.mac, mac, ETH_ALEN);
}

/* ---- commands, each true when it was good -------------------------------- */

static bool rx_mode(struct net_control *control, uint8_t command,
		    struct cursor *c)
{
	struct net_filter *filter = &control->filter;
	bool *const mode[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &filter->promiscuous,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &filter->all_multicast,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &filter->all_unicast,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &filter->no_multicast,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &filter->no_unicast,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &filter->no_broadcast,
	};
	unsigned int feature = command <= VIRTIO_NET_CTRL_RX_ALLMULTI ?
				       VIRTIO_NET_F_CTRL_RX :
				       VIRTIO_NET_F_CTRL_RX_EXTRA;
	uint8_t on;

	if (command >= ARRAY_SIZE(mode) || !has(control, feature) ||
	    !take(c, &on, sizeof(on)))
		return false;
	*mode[command] = on;
	return true;
}

static bool mac_table(struct cursor *c, struct net_mac_table *out)
{
	struct virtio_net_ctrl_mac head;
	uint64_t given;
	uint16_t kept;

	if (!take(c, &head, sizeof(head)))
		return false;
	given = le32toh((uint32_t)head.entries);
	kept = (uint16_t)MIN(given, NET_MAX_MACS);
	if (!take(c, out->mac, (size_t)kept * ETH_ALEN) ||
	    !skip(c, (given - kept) * ETH_ALEN))
		return false;
	out->count = kept;
	out->all = given > kept;
	return true;
}

static bool mac_command(struct net_control *control, uint8_t command,
			struct cursor *c)
{
	struct net_filter *filter = &control->filter;
	struct net_mac_table unicast = { 0 }, multicast = { 0 };
	uint8_t mac[ETH_ALEN];

	if (command == VIRTIO_NET_CTRL_MAC_ADDR_SET) {
		if (!has(control, VIRTIO_NET_F_CTRL_MAC_ADDR) ||
		    !take(c, mac, sizeof(mac)) || mac[0] & 1)
			return false;
		memcpy(filter->mac, mac, sizeof(mac));
		return true;
	}
	if (command != VIRTIO_NET_CTRL_MAC_TABLE_SET ||
	    !has(control, VIRTIO_NET_F_CTRL_RX) || !mac_table(c, &unicast) ||
	    !mac_table(c, &multicast))
		return false;
	filter->unicast = unicast;
	filter->multicast = multicast;
	return true;
}

static bool vlan_command(struct net_control *control, uint8_t command,
			 struct cursor *c)
{
	uint16_t vlan;
	uint64_t *word;

	if (!has(control, VIRTIO_NET_F_CTRL_VLAN) ||
	    !take(c, &vlan, sizeof(vlan)))
		return false;
	vlan = le16toh(vlan);
	if (vlan >= NET_VLANS)
		return false;
	word = &control->filter.vlan[vlan / 64];
	if (command == VIRTIO_NET_CTRL_VLAN_ADD)
		*word |= BIT_ULL(vlan % 64);
	else if (command == VIRTIO_NET_CTRL_VLAN_DEL)
		*word &= ~BIT_ULL(vlan % 64);
	else
		return false;
	return true;
}

static bool announce_command(struct net_control *control, uint8_t command)
{
	if (command != VIRTIO_NET_CTRL_ANNOUNCE_ACK ||
	    !has(control, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	control->announced = true;
	return true;
}

static bool mq_command(struct net_control *control, uint8_t command,
		       struct cursor *c)
{
	struct virtio_net_ctrl_mq mq;
	uint16_t pairs;

	if (command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET ||
	    !has(control, VIRTIO_NET_F_MQ) || !take(c, &mq, sizeof(mq)))
		return false;
	pairs = le16toh((uint16_t)mq.virtqueue_pairs);
	if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN ||
	    pairs > control->max_pairs)
		return false;
	control->pairs = pairs;
	return true;
}

static bool offloads_command(struct net_control *control, uint8_t command,
			     struct cursor *c)
{
	uint64_t offloads;

	if (command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !has(control, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    !take(c, &offloads, sizeof(offloads)))
		return false;
	offloads = le64toh(offloads);
	/* 5.1.6.5.6.2: only what was negotiated. */
	if (offloads & ~(control->features & net_guest_offloads))
		return false;
	control->offloads = offloads;
	return true;
}

uint8_t net_control_command(struct net_control *control,
			    const struct iovec *iov, unsigned int count)
{
	struct cursor c = {
		.iov = iov,
		.count = count,
		.left = iov_length(iov, count),
	};
	struct virtio_net_ctrl_hdr hdr;
	bool good = false;

	if (!take(&c, &hdr, sizeof(hdr)))
		return VIRTIO_NET_ERR;
	switch (hdr.class) {
	case VIRTIO_NET_CTRL_RX:
		good = rx_mode(control, hdr.cmd, &c);
		break;
	case VIRTIO_NET_CTRL_MAC:
		good = mac_command(control, hdr.cmd, &c);
		break;
	case VIRTIO_NET_CTRL_VLAN:
		good = vlan_command(control, hdr.cmd, &c);
		break;
	case VIRTIO_NET_CTRL_ANNOUNCE:
		good = announce_command(control, hdr.cmd);
		break;
	case VIRTIO_NET_CTRL_MQ:
		good = mq_command(control, hdr.cmd, &c);
		break;
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		good = offloads_command(control, hdr.cmd, &c);
		break;
	default:
		break;
	}
	return good ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
}

/* ---- the filter ---------------------------------------------------------- */

static bool in_table(const struct net_mac_table *table, const uint8_t *mac)
{
	if (table->all)
		return true;
	for (unsigned int i = 0; i < table->count; i++)
		if (!memcmp(&table->mac[i * ETH_ALEN], mac, ETH_ALEN))
			return true;
	return false;
}

static bool vlan_accepted(const struct net_filter *filter, const uint8_t *frame,
			  size_t len)
{
	uint16_t type, tag;

	if (!filter->vlans_only || len < NET_FILTER_BYTES)
		return true;
	memcpy(&type, frame + 2 * ETH_ALEN, sizeof(type));
	if (type != htobe16(ETH_P_8021Q))
		return true;
	memcpy(&tag, frame + ETH_HLEN, sizeof(tag));
	tag = be16toh(tag) & VLAN_MASK;
	return filter->vlan[tag / 64] & BIT_ULL(tag % 64);
}

bool net_filter_accepts(const struct net_filter *filter, const uint8_t *frame,
			size_t len)
{
	static const uint8_t broadcast[ETH_ALEN] = { 0xff, 0xff, 0xff,
						     0xff, 0xff, 0xff };

	if (filter->promiscuous)
		return true;
	if (len < ETH_HLEN || !vlan_accepted(filter, frame, len))
		return false;
	if (!memcmp(frame, broadcast, ETH_ALEN))
		return !filter->no_broadcast;
	if (frame[0] & 1)
		return !filter->no_multicast &&
		       (filter->all_multicast ||
			in_table(&filter->multicast, frame));
	return !filter->no_unicast &&
	       (filter->all_unicast || !memcmp(frame, filter->mac, ETH_ALEN) ||
		in_table(&filter->unicast, frame));
}
