/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Network device (virtio 1.2, 5.1): features, config space, one thread a pair
 * of queues, and the commands of the control queue. What the threads do with
 * frames stands in net-frames.c, unless the host's kernel does it (vhost-net).
 */
#include <endian.h>
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/tap.h>
#include <lkvm/util.h>
#include <lkvm/virtio-net.h>

/* PCI Code and ID Assignment: network controller, Ethernet. */
#define NET_PCI_CLASS 0x020000

#define VHOST_NET_NODE "/dev/vhost-net"

/* 5.1.4.2: the least MTU. */
#define NET_MIN_MTU 68

/* An Ethernet header, and the tag of a VLAN. */
#define NET_FRAME_HEADER (ETH_HLEN + 4)

_Static_assert(2 * NET_MAX_PAIRS + 1 <= VIRTIO_MAX_QUEUES, "5.1.2");
_Static_assert(offsetof(struct virtio_net_config, speed) == 12, "5.1.4");

static struct net *to_net(struct virtio_device *vdev)
{
	return container_of(vdev, struct net, vdev);
}

static struct virtio_net_config *config_of(struct net *net)
{
	return (struct virtio_net_config *)net->vdev.config;
}

static bool has(const struct net *net, unsigned int feature)
{
	return net->vdev.features & BIT_ULL(feature);
}

/* ---- what config space shows (5.1.4) ------------------------------------- */

/* device->lock held, or nobody runs yet. */
static void show_locked(struct net *net)
{
	struct virtio_net_config *config = config_of(net);
	bool status_changed;

	pthread_mutex_lock(&net->shown_lock);
	status_changed = config->status != htole16(net->shown_status);
	config->status = htole16(net->shown_status);
	memcpy(config->mac, net->shown_mac, ETH_ALEN);
	pthread_mutex_unlock(&net->shown_lock);
	/* 5.1.4.1: the driver is not told of what it has set itself. */
	if (status_changed)
		virtio_device_config_changed(&net->vdev);
}

static void show(void *opaque, uint32_t events)
{
	struct net *net = opaque;
	eventfd_t count;

	(void)events;
	(void)eventfd_read(net->show.fd, &count);
	pthread_mutex_lock(&net->vdev.lock);
	show_locked(net);
	pthread_mutex_unlock(&net->vdev.lock);
}

/* Any thread. */
static void set_status(struct net *net, uint16_t set, uint16_t clear)
{
	pthread_mutex_lock(&net->shown_lock);
	net->shown_status |= set;
	net->shown_status &= ~clear;
	pthread_mutex_unlock(&net->shown_lock);
	eventfd_write(net->show.fd, 1);
}

static void set_mac(struct net *net, const uint8_t *mac)
{
	pthread_mutex_lock(&net->shown_lock);
	memcpy(net->shown_mac, mac, ETH_ALEN);
	pthread_mutex_unlock(&net->shown_lock);
	eventfd_write(net->show.fd, 1);
}

/* ---- what the backend says ----------------------------------------------- */

static void on_readable(void *opaque, unsigned int queue)
{
	struct net_pair *pair = &((struct net *)opaque)->pair[queue];

	net_rx_run(pair);
}

static void on_writable(void *opaque, unsigned int queue)
{
	struct net_pair *pair = &((struct net *)opaque)->pair[queue];

	net_tx_run(pair);
}

/* There is a link when the backend has one and the user lets it be. */
static void show_link(struct net *net)
{
	bool up;

	pthread_mutex_lock(&net->shown_lock);
	up = net->carrier && !net->unplugged;
	pthread_mutex_unlock(&net->shown_lock);
	if (up)
		/* Who is at the other end may not know this guest. */
		set_status(net, VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE,
			   0);
	else
		set_status(net, 0, VIRTIO_NET_S_LINK_UP);
}

static void on_link(void *opaque, bool up)
{
	struct net *net = opaque;

	pthread_mutex_lock(&net->shown_lock);
	net->carrier = up;
	pthread_mutex_unlock(&net->shown_lock);
	show_link(net);
}

static const struct net_frontend_ops frontend_ops = {
	.readable = on_readable,
	.writable = on_writable,
	.link = on_link,
};

/* ---- control queue ------------------------------------------------------- */

static void share_filter(struct net *net)
{
	for (unsigned int i = 0; i < net->nr_pairs; i++) {
		struct net_pair *pair = &net->pair[i];

		pthread_mutex_lock(&pair->filter_lock);
		pair->filter = net->control.filter;
		pthread_mutex_unlock(&pair->filter_lock);
	}
}

static int configure_backend(struct net *net)
{
	const struct net_control *control = &net->control;
	uint64_t features = (control->features & ~net_guest_offloads) |
			    control->offloads;

	if (!net->backend->ops->configure)
		return 0;
	return net->backend->ops->configure(net->backend, features,
					    control->pairs);
}

/* The rest of the device follows what a good command has changed. */
static uint8_t follow(struct net *net, const struct net_control *before)
{
	struct net_control *now = &net->control;

	if ((now->pairs != before->pairs ||
	     now->offloads != before->offloads) &&
	    configure_backend(net)) {
		*now = *before;
		configure_backend(net);
		return VIRTIO_NET_ERR;
	}
	if (memcmp(now->filter.mac, before->filter.mac, ETH_ALEN) != 0)
		set_mac(net, now->filter.mac);
	if (now->announced) {
		now->announced = false;
		set_status(net, 0, VIRTIO_NET_S_ANNOUNCE);
	}
	share_filter(net);
	return VIRTIO_NET_OK;
}

static int control_one(struct virtio_worker *worker, struct virtq *vq)
{
	struct net_pair *pair = container_of(worker, struct net_pair, worker);
	struct net *net = pair->net;
	struct virtq_chain *chain = &pair->chain;
	const struct net_control before = net->control;
	int got = virtq_pop(vq, chain);
	uint8_t ack;

	if (got <= 0)
		return got;
	if (!chain->in_len)
		return virtq_break(vq, "a command has no room for its answer");
	ack = net_control_command(&net->control, chain->iov, chain->out_count);
	if (ack == VIRTIO_NET_OK)
		ack = follow(net, &before);
	iov_from_buf(&chain->iov[chain->out_count], chain->in_count, 0, &ack,
		     sizeof(ack));
	virtq_push(vq, chain->head, sizeof(ack));
	return 1;
}

/* ---- threads ------------------------------------------------------------- */

static bool moves_frames(const struct net_pair *pair)
{
	return pair->enabled && !pair->net->vhost;
}

static void on_kicked(struct virtio_worker *worker, struct virtq *vq)
{
	struct net_pair *pair = container_of(worker, struct net_pair, worker);

	if (vq == pair->net->ctrl)
		virtio_worker_serve(worker, vq, control_one);
	else if (!moves_frames(pair))
		return;
	else if (vq == pair->rx)
		net_rx_run(pair);
	else if (vq == pair->tx)
		net_tx_run(pair);
}

static void on_start(struct virtio_worker *worker)
{
	struct net_pair *pair = container_of(worker, struct net_pair, worker);
	struct net_backend *backend = pair->net->backend;

	if (moves_frames(pair) &&
	    backend->ops->attach(backend, pair->index,
				 virtio_worker_loop(worker)))
		on_link(pair->net, false);
}

static void on_stop(struct virtio_worker *worker)
{
	struct net_pair *pair = container_of(worker, struct net_pair, worker);
	struct net_backend *backend = pair->net->backend;

	if (moves_frames(pair)) {
		backend->ops->detach(backend, pair->index);
		net_rx_stop(pair);
	}
	virtio_worker_idle(worker);
}

static const struct virtio_worker_ops worker_ops = {
	.kicked = on_kicked,
	.start = on_start,
	.stop = on_stop,
};

/* ---- vhost-net ----------------------------------------------------------- */

static int set_vhost_backend(const struct net_pair *pair, int fd)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct vhost_vring_file file = { .index = i, .fd = fd };

		if (ioctl(pair->vhost.fd, VHOST_NET_SET_BACKEND, &file))
			return -errno;
	}
	return 0;
}

static void vhost_stop_locked(struct net *net)
{
	for (unsigned int i = 0; i < net->nr_pairs && net->vhost; i++) {
		struct net_pair *pair = &net->pair[i];

		if (!pair->vhost.started)
			continue;
		set_vhost_backend(pair, -1);
		vhost_stop(&pair->vhost);
	}
}

/* What is unplugged stays with this process, which moves nothing. */
static int vhost_start_locked(struct net *net)
{
	struct net_backend *backend = net->backend;
	int err = 0;

	if (net->unplugged)
		return 0;
	for (unsigned int i = 0; i < net->nr_pairs && net->vhost && !err; i++) {
		struct net_pair *pair = &net->pair[i];

		if (!pair->enabled)
			continue;
		err = vhost_start(&pair->vhost);
		if (!err)
			err = set_vhost_backend(
				pair, backend->ops->vhost_fd(backend, i));
	}
	if (err) {
		log_err("net", "%s: vhost-net does not start: %s",
			net->vdev.device.name, strerror(-err));
		vhost_stop_locked(net);
	}
	return err;
}

/* ---- start and stop ------------------------------------------------------ */

/* 5.1.2: the control queue follows the pairs that the driver knows of. */
static void assign_queues(struct net *net)
{
	unsigned int pairs = has(net, VIRTIO_NET_F_MQ) ? net->nr_pairs : 1;
	struct virtq *queue = net->vdev.queue;
	bool big = has(net, VIRTIO_NET_F_GUEST_TSO4) ||
		   has(net, VIRTIO_NET_F_GUEST_TSO6) ||
		   has(net, VIRTIO_NET_F_GUEST_USO4) ||
		   has(net, VIRTIO_NET_F_GUEST_USO6);
	unsigned int mtu = le16toh((uint16_t)config_of(net)->mtu);

	net->ctrl = NULL;
	if (has(net, VIRTIO_NET_F_CTRL_VQ))
		net->ctrl = &queue[2 * pairs];
	for (unsigned int i = 0; i < net->nr_pairs; i++) {
		struct net_pair *pair = &net->pair[i];

		pair->enabled = i < pairs && pair->rx->running &&
				pair->tx->running;
		pair->mergeable = has(net, VIRTIO_NET_F_MRG_RXBUF);
		pair->checksums = has(net, VIRTIO_NET_F_GUEST_CSUM);
		pair->wanted =
			NET_HEADER_BYTES +
			(big ? NET_MAX_FRAME :
			       NET_FRAME_HEADER + (mtu ? mtu : ETH_DATA_LEN));
	}
}

static void net_deactivate(struct virtio_device *vdev)
{
	struct net *net = to_net(vdev);

	vhost_stop_locked(net);
	for (unsigned int i = 0; i < net->nr_pairs; i++)
		virtio_worker_deactivate(&net->pair[i].worker);
	/* What the driver has set is forgotten; the link is as it is. */
	set_mac(net, net->mac);
	set_status(net, 0, VIRTIO_NET_S_ANNOUNCE);
	show_locked(net);
}

static int net_activate(struct virtio_device *vdev, uint64_t features)
{
	struct net *net = to_net(vdev);
	int err;

	net_control_init(&net->control, features, net->nr_pairs, net->mac);
	share_filter(net);
	assign_queues(net);
	err = configure_backend(net);
	for (unsigned int i = 0; i < net->nr_pairs && !err; i++)
		err = virtio_worker_activate(&net->pair[i].worker);
	if (!err)
		err = vhost_start_locked(net);
	if (err)
		net_deactivate(vdev);
	return err;
}

static void net_handle_queue(struct virtio_device *vdev, unsigned int index)
{
	struct net *net = to_net(vdev);
	struct net_pair *pair = &net->pair[MIN(index / 2, net->nr_pairs - 1)];

	if (net->vhost && &vdev->queue[index] != net->ctrl)
		vhost_kick(&pair->vhost, index);
	else
		virtio_worker_kick(&pair->worker, &vdev->queue[index]);
}

static const struct virtio_device_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.pci_class = NET_PCI_CLASS,
	.activate = net_activate,
	.deactivate = net_deactivate,
	.handle_queue = net_handle_queue,
};

void net_quiesce(struct device *device)
{
	struct net *net = container_of(device, struct net, vdev.device);

	pthread_mutex_lock(&net->vdev.lock);
	vhost_stop_locked(net);
	net->quiesced = true;
	pthread_mutex_unlock(&net->vdev.lock);
	for (unsigned int i = 0; i < net->nr_pairs; i++)
		virtio_worker_quiesce(&net->pair[i].worker);
}

void net_resume(struct device *device)
{
	struct net *net = container_of(device, struct net, vdev.device);

	for (unsigned int i = 0; i < net->nr_pairs; i++)
		virtio_worker_resume(&net->pair[i].worker);
	pthread_mutex_lock(&net->vdev.lock);
	net->quiesced = false;
	if (net->vdev.active && vhost_start_locked(net))
		virtio_device_broken(&net->vdev);
	/* Switches may have forgotten where this guest is. */
	if (net->vdev.active && has(net, VIRTIO_NET_F_GUEST_ANNOUNCE))
		set_status(net, VIRTIO_NET_S_ANNOUNCE, 0);
	pthread_mutex_unlock(&net->vdev.lock);
}

void virtio_net_set_link(struct device *device, bool up)
{
	struct net *net = container_of(device, struct net, vdev.device);

	pthread_mutex_lock(&net->vdev.lock);
	pthread_mutex_lock(&net->shown_lock);
	net->unplugged = !up;
	pthread_mutex_unlock(&net->shown_lock);
	if (!up)
		vhost_stop_locked(net);
	else if (net->vdev.active && !net->quiesced && vhost_start_locked(net))
		virtio_device_broken(&net->vdev);
	pthread_mutex_unlock(&net->vdev.lock);
	show_link(net);
}

/* ---- features and config space (5.1.3, 5.1.4) ---------------------------- */

static uint64_t net_features(const struct net *net,
			     const struct net_options *options,
			     unsigned int mtu, uint64_t vhost_features)
{
	uint64_t features =
		BIT_ULL(VIRTIO_NET_F_MAC) | BIT_ULL(VIRTIO_NET_F_STATUS) |
		BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) |
		BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX) |
		BIT_ULL(VIRTIO_NET_F_CTRL_RX_EXTRA) |
		BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) |
		BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) |
		BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) | net->backend->features;

	if (mtu >= NET_MIN_MTU)
		features |= BIT_ULL(VIRTIO_NET_F_MTU);
	if (options->packed)
		features |= BIT_ULL(VIRTIO_F_RING_PACKED);
	if (net->nr_pairs > 1)
		features |= BIT_ULL(VIRTIO_NET_F_MQ);
	if (features & net_guest_offloads && net->backend->ops->configure)
		features |= BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	if (net->vhost && !(vhost_features & BIT_ULL(VIRTIO_NET_F_MRG_RXBUF)))
		features &= ~BIT_ULL(VIRTIO_NET_F_MRG_RXBUF);
	return features;
}

static void set_config(struct net *net, unsigned int mtu)
{
	const struct virtio_net_config config = {
		.max_virtqueue_pairs = htole16((uint16_t)net->nr_pairs),
		.mtu = htole16((uint16_t)mtu),
	};

	memcpy(net->vdev.config, &config, sizeof(config));
	net->vdev.config_len = offsetof(struct virtio_net_config, speed);
	net->shown_status = VIRTIO_NET_S_LINK_UP;
	net->carrier = true;
	memcpy(net->shown_mac, net->mac, ETH_ALEN);
	show_locked(net);
}

/*
 * The user's, or the only one that the backend lets through, or one of the
 * locally administered that begins as kvmtool's does.
 */
static int choose_mac(struct net *net, const struct net_options *options)
{
	static const uint8_t none[ETH_ALEN];
	uint8_t made[ETH_ALEN] = { 0x02, 0x15, 0x15 };

	if (memcmp(options->guest_mac, none, ETH_ALEN) != 0) {
		memcpy(net->mac, options->guest_mac, ETH_ALEN);
		return 0;
	}
	if (memcmp(net->backend->mac, none, ETH_ALEN) != 0) {
		memcpy(net->mac, net->backend->mac, ETH_ALEN);
		return 0;
	}
	if (getrandom(made + 3, 3, 0) != 3)
		return -EIO;
	memcpy(net->mac, made, ETH_ALEN);
	return 0;
}

/* ---- life ---------------------------------------------------------------- */

static void release_pair(struct net_pair *pair)
{
	if (pair->net->vhost)
		vhost_destroy(&pair->vhost);
	virtio_worker_destroy(&pair->worker);
	net_pair_release(pair);
}

static void release_pairs(struct net *net, unsigned int count)
{
	while (count--)
		release_pair(&net->pair[count]);
}

/* @fd: of vhost-net, or -1; the pair's from now on. */
static int init_pair(struct net *net, unsigned int index, int fd,
		     uint64_t vhost_features)
{
	struct net_pair *pair = &net->pair[index];
	bool last = index + 1 == net->nr_pairs;
	char name[sizeof(net->vdev.device.name) + 16];
	int err;

	pair->net = net;
	pair->index = index;
	pair->rx = &net->vdev.queue[2 * index];
	pair->tx = &net->vdev.queue[2 * index + 1];
	/* io-net0, io-net0-1, ... */
	snprintf(name, sizeof(name), index ? "io-%s-%u" : "io-%s",
		 net->vdev.device.name, index);
	err = net_pair_init(pair);
	if (err)
		goto close_fd;
	/* The last one has the control queue, too. */
	err = virtio_worker_create(&pair->worker, &net->vdev, &worker_ops, name,
				   2 * index, last ? 3 : 2);
	if (err)
		goto release;
	if (fd < 0)
		return 0;
	err = vhost_create(&pair->vhost, fd, vhost_features, &net->vdev,
			   pair->worker.thread, 2 * index, 2);
	if (!err)
		return 0;
	fd = -1;
	virtio_worker_destroy(&pair->worker);
release:
	net_pair_release(pair);
close_fd:
	if (fd >= 0)
		close(fd);
	return err;
}

/* @fd: the first of vhost-net's, or -1. */
static int init_pairs(struct net *net, int fd, uint64_t vhost_features)
{
	for (unsigned int i = 0; i < net->nr_pairs; i++) {
		int err = 0;

		if (i && net->vhost)
			fd = vhost_open(VHOST_NET_NODE, &vhost_features);
		if (net->vhost && fd < 0)
			err = fd;
		if (!err)
			err = init_pair(net, i, fd, vhost_features);
		if (err) {
			log_err("net", "cannot start pair %u of %s: %s", i,
				net->vdev.device.name, strerror(-err));
			release_pairs(net, i);
			return err;
		}
	}
	return 0;
}

/* Sets net->vhost, and @fd and @features if it is true. */
static int choose_vhost(struct net *net, const struct net_options *options,
			int *fd, uint64_t *features)
{
	const char *name = net->vdev.device.name;

	if (options->vhost == NET_VHOST_OFF)
		return 0;
	/* The kernel knows no packed rings. */
	if (!net->backend->ops->vhost_fd || options->packed) {
		if (options->vhost != NET_VHOST_ON)
			return 0;
		log_err("net", "%s: vhost=on: it goes with no %s", name,
			options->packed ? "packed rings" : "such backend");
		return -EINVAL;
	}
	*fd = vhost_open(VHOST_NET_NODE, features);
	net->vhost = *fd >= 0;
	if (net->vhost)
		net->backend->ops->counts(net->backend, &net->received_before,
					  &net->sent_before);
	if (net->vhost || options->vhost != NET_VHOST_ON)
		return 0;
	log_err("net", "%s: vhost=on: cannot open %s: %s", name, VHOST_NET_NODE,
		strerror(-*fd));
	return *fd;
}

static int create_show(struct net *net)
{
	net->show = (struct loop_source) {
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.ready = show,
		.opaque = net,
	};
	if (net->show.fd < 0)
		return -errno;
	return loop_add(net->vdev.machine->loop, &net->show, EPOLLIN);
}

static void release_show(struct net *net)
{
	loop_del(net->vdev.machine->loop, &net->show);
	if (net->show.fd >= 0)
		close(net->show.fd);
}

void net_destroy(struct device *device)
{
	struct net *net = container_of(device, struct net, vdev.device);

	/* A guest need not have reset its devices before it went. */
	virtio_device_set_status(&net->vdev, 0);
	release_pairs(net, net->nr_pairs);
	net->backend->ops->destroy(net->backend);
	release_show(net);
	virtio_device_release(&net->vdev);
	pthread_mutex_destroy(&net->shown_lock);
	free(net->pair);
	free(net);
}

int net_complete(struct device *device)
{
	struct net *net = container_of(device, struct net, vdev.device);
	struct net_backend *backend = net->backend;
	int err = backend->ops->complete ? backend->ops->complete(backend) : 0;

	return err && net->implicit ? -ENODEV : err;
}

static void set_name(char name[16], const struct machine *machine)
{
	snprintf(name, 16, "net%u", machine_count(machine, &virtio_net_type));
}

/* The user's own choice for this device, or NULL. */
static const struct virtio_transport *
transport_of(const struct net_options *options)
{
	static const struct virtio_transport *const transports[] = {
		&virtio_pci_transport,
		&virtio_mmio_transport,
	};

	return options->trans < 0 ? NULL : transports[options->trans];
}

/* Everything behind the backend. On failure nothing is left but that. */
static int net_build(struct net *net, struct machine *machine,
		     const struct net_options *options)
{
	unsigned int mtu = options->mtu ? (unsigned int)options->mtu :
					  net->backend->mtu;
	uint64_t vhost_features = 0;
	int fd = -1;
	int err;

	net->backend->frontend = &frontend_ops;
	net->backend->opaque = net;
	err = choose_mac(net, options);
	if (!err)
		err = choose_vhost(net, options, &fd, &vhost_features);
	if (err)
		return err;
	virtio_device_init(&net->vdev, machine, &virtio_net_type, &net_ops,
			   net_features(net, options, mtu, vhost_features),
			   2 * net->nr_pairs + 1, NET_QUEUE_SIZE);
	set_config(net, mtu);
	err = create_show(net);
	if (!err)
		err = init_pairs(net, fd, vhost_features);
	else if (fd >= 0)
		close(fd);
	if (err)
		goto release;
	net->vdev.own_transport = transport_of(options);
	err = virtio_device_plug(&net->vdev);
	if (!err)
		return 0;
	release_pairs(net, net->nr_pairs);
release:
	release_show(net);
	virtio_device_release(&net->vdev);
	return err;
}

int net_create(struct machine *machine, const void *config, struct device **out)
{
	const struct net_options *options = config;
	struct net *net;
	int err = -ENOMEM;

	if (options->mode == NET_MODE_NONE) {
		*out = NULL;
		return 0;
	}
	net = calloc(1, sizeof(*net));
	if (!net)
		return -ENOMEM;
	set_name(net->vdev.device.name, machine);
	err = net_backend_create(options, net->vdev.device.name, &net->backend);
	if (err && options->implicit) {
		*out = NULL;
		err = 0;
	}
	if (!net->backend)
		goto free_net;
	net->implicit = options->implicit;
	net->nr_pairs = net->backend->pairs;
	net->pair = calloc(net->nr_pairs, sizeof(*net->pair));
	if (!net->pair) {
		err = -ENOMEM;
		goto destroy_backend;
	}
	pthread_mutex_init(&net->shown_lock, NULL);
	err = net_build(net, machine, options);
	if (err)
		goto free_pairs;
	*out = &net->vdev.device;
	return 0;

free_pairs:
	pthread_mutex_destroy(&net->shown_lock);
	free(net->pair);
destroy_backend:
	net->backend->ops->destroy(net->backend);
free_net:
	free(net);
	return err;
}

/* What a tap opens, and who moves its frames. */
static void plan_tap(const struct net_options *options,
		     struct device_plan *plan)
{
	bool node = options->tapif && options->tapif[0] == '/';

	if (options->fd == NET_NO_FD)
		device_plan_file(plan, node ? options->tapif : TUN_NODE,
				 "read-write");
	if (options->vhost != NET_VHOST_OFF)
		device_plan_file(plan, VHOST_NET_NODE, "read-write");
	device_plan_file(plan, options->script, "run");
	device_plan_file(plan, options->downscript, "run");
}

int net_plan(const struct machine *machine, const void *config,
	     struct device_plan *plan)
{
	const struct net_options *options = config;

	if (options->mode == NET_MODE_NONE)
		return 0;
	set_name(plan->name, machine);
	plan->transport = transport_of(options);
	if (options->mode == NET_MODE_TAP) {
		plan_tap(options, plan);
	} else {
		int err = net_user_check(options, plan->name);

		if (err)
			return options->implicit ? 0 : err;
		device_plan_file(plan, "passt", "run");
	}
	device_plan_file(plan, options->pcap, "write");
	plan->ops = &net_ops;
	return 0;
}
