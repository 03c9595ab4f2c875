/* SPDX-License-Identifier: GPL-2.0 */
/* What a user can say of a network device, and read of it; and its state. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/log.h>
#include <lkvm/util.h>
#include <lkvm/virtio-net.h>

/* ---- options ------------------------------------------------------------- */

static const struct net_options net_defaults = {
	.mode = NET_MODE_TAP,
	.vhost = NET_VHOST_AUTO,
	.trans = -1,
	.fd = NET_NO_FD,
	.pairs = 1,
};

/* In the order of the enums. */
static const char *const modes[] = { "user", "tap", "none", NULL };
static const char *const transports[] = { "pci", "mmio", NULL };

#define FIELD(name) offsetof(struct net_options, name)

/* Six pairs of hex digits; a group's address is nobody's. */
static int set_mac(void *target, const struct option_desc *desc,
		   const char *value)
{
	struct net_options *options = target;
	uint8_t mac[ETH_ALEN];
	int end = 0;

	if (sscanf(value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0],
		   &mac[1], &mac[2], &mac[3], &mac[4], &mac[5], &end) != 6 ||
	    end != 17 || value[end] ||
	    strspn(value, "0123456789abcdefABCDEF:") != 17) {
		log_err("options",
			"--network: %s: bad value '%s': use "
			"XX:XX:XX:XX:XX:XX",
			desc->name, value);
		return -EINVAL;
	}
	if (mac[0] & 1 || !memcmp(mac, (uint8_t[ETH_ALEN]) { 0 }, ETH_ALEN)) {
		log_err("options",
			"--network: %s: bad value '%s': it is no single "
			"device's address",
			desc->name, value);
		return -EINVAL;
	}
	memcpy(options->guest_mac, mac, ETH_ALEN);
	return 0;
}

/* kvmtool's 0 and 1 are fine, too. */
static int set_vhost(void *target, const struct option_desc *desc,
		     const char *value)
{
	static const struct {
		const char *word;
		enum net_vhost vhost;
	} words[] = {
		{ "auto", NET_VHOST_AUTO }, { "on", NET_VHOST_ON },
		{ "1", NET_VHOST_ON },	    { "off", NET_VHOST_OFF },
		{ "0", NET_VHOST_OFF },
	};
	struct net_options *options = target;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(words[i].word, value)) {
			options->vhost = words[i].vhost;
			return 0;
		}
	log_err("options", "--network: %s: bad value '%s': use %s", desc->name,
		value, desc->metavar);
	return -EINVAL;
}

static int add_forward(void *target, const struct option_desc *desc,
		       const char *value)
{
	struct net_options *options = target;
	struct net_forward *next = &options->forward[options->nr_forwards];
	const char *why;

	if (options->nr_forwards == NET_MAX_FORWARDS) {
		log_err("options", "--network: %s: there are more than %u",
			desc->name, NET_MAX_FORWARDS);
		return -EINVAL;
	}
	if (net_forward_parse(value, next, &why)) {
		log_err("options", "--network: %s: bad value '%s': %s",
			desc->name, value, why);
		return -EINVAL;
	}
	options->nr_forwards++;
	return 0;
}

const struct option_desc virtio_net_keys[] = {
	{ OPTION_ENUM, 0, "mode", "user|tap|none",
	  "who carries the frames (default tap)", .offset = FIELD(mode),
	  .choices = modes },
	{ OPTION_CALL, 0, "guest_mac", "MAC",
	  "the guest's address (default: 02:15:15 and three random bytes)",
	  .call = set_mac },
	{ OPTION_STRING, 0, "guest_ip", "ADDR",
	  "the guest's address (mode=user; default 192.168.33.15)",
	  .offset = FIELD(guest_ip) },
	{ OPTION_STRING, 0, "host_ip", "ADDR[/BITS]",
	  "the host's address there (default 192.168.33.1/24)",
	  .offset = FIELD(host_ip) },
	{ OPTION_CALL, 0, "hostfwd", "tcp|udp:[ADDR:]PORT-:PORT",
	  "send a host's port to the guest's (mode=user; may repeat)",
	  .call = add_forward },
	{ OPTION_STRING, 0, "pcap", "FILE", "write all frames there",
	  .offset = FIELD(pcap) },
	{ OPTION_STRING, 0, "tapif", "NAME",
	  "interface, or /dev/tapN of a macvtap (default: a new one)",
	  .offset = FIELD(tapif) },
	{ OPTION_UINT, 0, "fd", "N", "a tap that is open already",
	  .offset = FIELD(fd), .max = INT32_MAX },
	{ OPTION_STRING, 0, "script", "FILE",
	  "run with the interface's name before the guest starts",
	  .offset = FIELD(script) },
	{ OPTION_STRING, 0, "downscript", "FILE", "the same at the end",
	  .offset = FIELD(downscript) },
	{ OPTION_CALL, 0, "vhost", "auto|on|off",
	  "let the host's kernel move the frames (auto: where it can)",
	  .call = set_vhost },
	{ OPTION_UINT, 0, "mq", "N",
	  "pairs of queues, each with a thread (1 to 8, default 1)",
	  .offset = FIELD(pairs), .min = 1, .max = NET_MAX_PAIRS },
	{ OPTION_UINT, 0, "mtu", "N",
	  "longest packet, 68 to 65535 (default: the interface's)",
	  .offset = FIELD(mtu), .min = 68, .max = 65535 },
	{ OPTION_ENUM, 0, "trans", "pci|mmio",
	  "how the device is attached (default: as all others)",
	  .offset = FIELD(trans), .choices = transports },
	{ OPTION_FLAG, 0, "packed", NULL,
	  "offer packed rings to the guest (default off)",
	  .offset = FIELD(packed) },
	{ .kind = OPTION_END },
};

/* ---- counters ------------------------------------------------------------ */

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add(struct net_counts *sum, const struct net_counters *counters)
{
	sum->frames += load(&counters->frames);
	sum->bytes += load(&counters->bytes);
	sum->drops += load(&counters->drops);
}

static void subtract(struct net_counts *from, const struct net_counts *what)
{
	from->frames -= what->frames;
	from->bytes -= what->bytes;
	from->drops -= what->drops;
}

static void print(struct stats_sink *sink, const char *who, const char *way,
		  const struct net_counts *counts)
{
	char what[32];

	snprintf(what, sizeof(what), "%s-frames", way);
	stats_count(sink, who, what, counts->frames);
	snprintf(what, sizeof(what), "%s-bytes", way);
	stats_count(sink, who, what, counts->bytes);
	snprintf(what, sizeof(what), "%s-drops", way);
	stats_count(sink, who, what, counts->drops);
}

static void net_stats(struct device *device, struct stats_sink *sink)
{
	struct net *net = container_of(device, struct net, vdev.device);
	struct net_counts received = { 0 }, sent = { 0 };

	for (unsigned int i = 0; i < net->nr_pairs; i++) {
		add(&received, &net->pair[i].received);
		add(&sent, &net->pair[i].sent);
	}
	/* An interface that has gone tells nothing any more. */
	if (net->vhost &&
	    !net->backend->ops->counts(net->backend, &received, &sent)) {
		subtract(&received, &net->received_before);
		subtract(&sent, &net->sent_before);
	}
	print(sink, device->name, "rx", &received);
	print(sink, device->name, "tx", &sent);
}

/* ---- device type --------------------------------------------------------- */

#define QUEUE_STATE(n) VIRTIO_QUEUE_STATE(struct net, n, NET_QUEUE_SIZE)
#define PAIR_STATE(n) QUEUE_STATE(2 * (n)), QUEUE_STATE(2 * (n) + 1)
#define FILTER_STATE(field, value) \
	STATE_FIELD(struct net, control.filter.field, 1, value)
#define TABLE_STATE(table)                                                 \
	STATE_ARRAY(struct net, control.filter.table.mac, 1, 0),           \
		STATE_FIELD(struct net, control.filter.table.count, 1, 0), \
		STATE_FIELD(struct net, control.filter.table.all, 1, 0)

static const struct state_field net_fields[] = {
	VIRTIO_STATE(struct net),
	PAIR_STATE(0),
	PAIR_STATE(1),
	PAIR_STATE(2),
	PAIR_STATE(3),
	PAIR_STATE(4),
	PAIR_STATE(5),
	PAIR_STATE(6),
	PAIR_STATE(7),
	QUEUE_STATE(16),
	STATE_FIELD(struct net, shown_status, 1, VIRTIO_NET_S_LINK_UP),
	STATE_FIELD(struct net, control.pairs, 1, 1),
	STATE_FIELD(struct net, control.offloads, 1, 0),
	STATE_ARRAY(struct net, control.filter.mac, 1, 0),
	FILTER_STATE(promiscuous, true),
	FILTER_STATE(all_unicast, false),
	FILTER_STATE(no_unicast, false),
	FILTER_STATE(all_multicast, false),
	FILTER_STATE(no_multicast, false),
	FILTER_STATE(no_broadcast, false),
	FILTER_STATE(vlans_only, false),
	TABLE_STATE(unicast),
	TABLE_STATE(multicast),
	STATE_ARRAY(struct net, control.filter.vlan, 1, 0),
	STATE_END,
};

static const struct state_table net_state = {
	.name = "virtio-net",
	.version = 1,
	.fields = net_fields,
};

const struct device_type virtio_net_type = {
	.name = "virtio-net",
	.options = virtio_net_keys,
	.defaults = &net_defaults,
	.config_size = sizeof(struct net_options),
	.create = net_create,
	.plan = net_plan,
	.complete = net_complete,
	.destroy = net_destroy,
	.reset = virtio_device_machine_reset,
	.quiesce = net_quiesce,
	.resume = net_resume,
	.stats = net_stats,
	.state = &net_state,
};
