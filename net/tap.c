/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Network backend: a tap interface of the host, or a macvtap's character
 * device (Linux, Documentation/networking/tuntap.rst). Frames pass the kernel
 * with their struct virtio_net_hdr_v1, and so do checksum and segmentation
 * offloads.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/net.h>
#include <lkvm/tap.h>
#include <lkvm/util.h>

/* Linux 6.2; Debian 12's headers are older. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct tap;

struct tap_queue {
	struct tap *tap;
	int fd;
	struct loop *loop; /* while attached */
	struct loop_source source;
	bool blocked; /* the thread's: send() said -EAGAIN */
	bool gone; /* the thread's: the interface was removed */
	bool used; /* the kernel gives it frames (TUNSETQUEUE) */
};

struct tap {
	struct net_backend backend;
	char who[16]; /* "net0", for messages */
	char name[IFNAMSIZ]; /* of the interface */
	char *downscript; /* run at the end, if not NULL */
	struct tap_queue queue[NET_MAX_PAIRS];
};

static struct tap *to_tap(struct net_backend *backend)
{
	return container_of(backend, struct tap, backend);
}

/* ---- frames -------------------------------------------------------------- */

static void tap_ready(void *opaque, uint32_t events)
{
	struct tap_queue *queue = opaque;
	struct net_backend *backend = &queue->tap->backend;
	unsigned int index = (unsigned int)(queue - queue->tap->queue);

	if (events & (EPOLLERR | EPOLLHUP)) {
		loop_del(queue->loop, &queue->source);
		log_warn("net", "%s: interface %s has gone", queue->tap->who,
			 queue->tap->name);
		queue->gone = true;
		backend->frontend->link(backend->opaque, false);
		/* What waited for room is lost, and need not wait. */
		if (queue->blocked)
			backend->frontend->writable(backend->opaque, index);
		queue->blocked = false;
		return;
	}
	if (events & EPOLLOUT && queue->blocked) {
		queue->blocked = false;
		backend->frontend->writable(backend->opaque, index);
	}
	if (events & EPOLLIN)
		backend->frontend->readable(backend->opaque, index);
}

static int tap_attach(struct net_backend *backend, unsigned int index,
		      struct loop *loop)
{
	struct tap_queue *queue = &to_tap(backend)->queue[index];

	queue->blocked = false;
	queue->loop = loop;
	/* Said once, however often a driver resets its device. */
	if (queue->gone)
		return 0;
	queue->source = (struct loop_source) {
		.fd = queue->fd,
		.ready = tap_ready,
		.opaque = queue,
	};
	return loop_add(loop, &queue->source, EPOLLIN | EPOLLOUT | EPOLLET);
}

static void tap_detach(struct net_backend *backend, unsigned int index)
{
	struct tap_queue *queue = &to_tap(backend)->queue[index];

	loop_del(queue->loop, &queue->source);
}

static int tap_send(struct net_backend *backend, unsigned int index,
		    const struct iovec *iov, unsigned int count, size_t len)
{
	struct tap_queue *queue = &to_tap(backend)->queue[index];

	(void)len;
	if (writev(queue->fd, iov, (int)count) >= 0)
		return 0;
	queue->blocked = errno == EAGAIN;
	return -errno;
}

static ssize_t tap_receive(struct net_backend *backend, unsigned int index,
			   const struct iovec *iov, unsigned int count,
			   size_t room)
{
	ssize_t got = readv(to_tap(backend)->queue[index].fd, iov, (int)count);

	(void)room;
	return got < 0 ? -errno : got;
}

/* ---- offloads and queues ------------------------------------------------- */

static unsigned int offload_flags(uint64_t features)
{
	static const struct {
		unsigned int feature, flag;
	} map[] = {
		{ VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM },
		{ VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
		{ VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
		{ VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN },
		{ VIRTIO_NET_F_GUEST_USO4, TUN_F_USO4 },
		{ VIRTIO_NET_F_GUEST_USO6, TUN_F_USO6 },
	};
	unsigned int flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (features & BIT_ULL(map[i].feature))
			flags |= map[i].flag;
	return flags;
}

static int set_offload(struct tap *tap, uint64_t features)
{
	for (unsigned int i = 0; i < tap->backend.pairs; i++)
		if (ioctl(tap->queue[i].fd, TUNSETOFFLOAD,
			  offload_flags(features)))
			return -errno;
	return 0;
}

/* The kernel spreads frames over the queues that are in use. */
static int use_queue(struct tap_queue *queue, bool use)
{
	struct ifreq req = {
		.ifr_flags = use ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE,
	};

	if (queue->used == use)
		return 0;
	if (ioctl(queue->fd, TUNSETQUEUE, &req))
		return -errno;
	queue->used = use;
	return 0;
}

static int tap_configure(struct net_backend *backend, uint64_t features,
			 unsigned int pairs)
{
	struct tap *tap = to_tap(backend);
	int err = 0;

	for (unsigned int i = 0; i < backend->pairs && !err; i++)
		err = use_queue(&tap->queue[i], i < pairs);
	return err ? err : set_offload(tap, features);
}

static int tap_vhost_fd(struct net_backend *backend, unsigned int index)
{
	return to_tap(backend)->queue[index].fd;
}

static int tap_counts(struct net_backend *backend, struct net_counts *received,
		      struct net_counts *sent)
{
	return tap_count(to_tap(backend)->name, sent, received);
}

static const uint64_t basic_offloads =
	BIT_ULL(VIRTIO_NET_F_CSUM) | BIT_ULL(VIRTIO_NET_F_HOST_TSO4) |
	BIT_ULL(VIRTIO_NET_F_HOST_TSO6) | BIT_ULL(VIRTIO_NET_F_HOST_ECN) |
	BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) |
	BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) | BIT_ULL(VIRTIO_NET_F_GUEST_ECN);

static const uint64_t udp_offloads = BIT_ULL(VIRTIO_NET_F_HOST_USO) |
				     BIT_ULL(VIRTIO_NET_F_GUEST_USO4) |
				     BIT_ULL(VIRTIO_NET_F_GUEST_USO6);

/* A kernel refuses flags that it does not know. */
static void probe_offloads(struct tap *tap)
{
	if (!set_offload(tap, basic_offloads | udp_offloads))
		tap->backend.features = basic_offloads | udp_offloads;
	else if (!set_offload(tap, basic_offloads))
		tap->backend.features = basic_offloads;
	set_offload(tap, 0);
}

/* ---- opening ------------------------------------------------------------- */

static int tun_error(const struct tap *tap, int err)
{
	const char *name = *tap->name ? tap->name : "tap";

	switch (err) {
	case -EBUSY:
		log_err("net", "%s: interface %s is in use by another process",
			tap->who, name);
		break;
	case -EPERM:
		log_err("net",
			"%s: not allowed to open interface %s (as root: ip "
			"tuntap add mode tap user USER name NAME)",
			tap->who, name);
		break;
	case -EINVAL:
		log_err("net", "%s: interface %s is no tap%s", tap->who, name,
			tap->backend.pairs > 1 ?
				" with several queues (ip tuntap add "
				"multi_queue)" :
				"");
		break;
	default:
		log_err("net", "%s: cannot open interface %s: %s", tap->who,
			name, strerror(-err));
		break;
	}
	return err;
}

static int open_node(const struct tap *tap, const char *path, int *out)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int err;

	if (fd >= 0) {
		*out = fd;
		return 0;
	}
	err = -errno;
	log_err("net", "%s: cannot open %s: %s%s", tap->who, path,
		strerror(-err),
		err == -ENOENT && !strcmp(path, TUN_NODE) ?
			" (load the tun module)" :
			"");
	return err;
}

/* Bind @fd to tap->name, "" for one that the kernel picks. */
static int set_interface(struct tap *tap, int fd, bool multi)
{
	struct ifreq req = {
		.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
				     (multi ? IFF_MULTI_QUEUE : 0)),
	};

	memcpy(req.ifr_name, tap->name, sizeof(tap->name));
	if (ioctl(fd, TUNSETIFF, &req))
		return -errno;
	memcpy(tap->name, req.ifr_name, sizeof(tap->name) - 1);
	return 0;
}

/* The same header for the driver, us and the kernel (5.1.6.1). */
static int set_header(const struct tap *tap, int fd)
{
	int bytes = NET_HEADER_BYTES;
	int little = 1;
	int err;

	if (!ioctl(fd, TUNSETVNETHDRSZ, &bytes) &&
	    !ioctl(fd, TUNSETVNETLE, &little))
		return 0;
	err = -errno;
	log_err("net", "%s: interface %s knows no virtio headers: %s", tap->who,
		tap->name, strerror(-err));
	return err;
}

static int open_queue(struct tap *tap, struct tap_queue *queue,
		      const char *path)
{
	bool multi = tap->backend.pairs > 1;
	int err = open_node(tap, path, &queue->fd);

	if (err)
		return err;
	err = set_interface(tap, queue->fd, multi);
	/* One queue of an interface that could have more will do, too. */
	if (err == -EINVAL && !multi)
		err = set_interface(tap, queue->fd, true);
	if (err)
		return tun_error(tap, err);
	queue->used = true;
	return set_header(tap, queue->fd);
}

static int open_queues(struct tap *tap, const char *path)
{
	int err = 0;

	for (unsigned int i = 0; i < tap->backend.pairs && !err; i++)
		err = open_queue(tap, &tap->queue[i], path);
	return err;
}

/* A descriptor of a tap that somebody else has opened for us. */
static int open_fd(struct tap *tap, uint64_t number)
{
	int fd = number > INT32_MAX ? -1 : (int)number;
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
	struct ifreq req = { 0 };

	if (flags < 0) {
		log_err("net", "%s: fd=%llu is not open", tap->who,
			(unsigned long long)number);
		return -EBADF;
	}
	if (tap->backend.pairs > 1) {
		log_err("net", "%s: fd= is one queue, and mq=%u needs more",
			tap->who, tap->backend.pairs);
		return -EINVAL;
	}
	if (ioctl(fd, TUNGETIFF, &req) ||
	    (req.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) !=
		    (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) {
		log_err("net",
			"%s: fd=%d is no tap with IFF_NO_PI and IFF_VNET_HDR",
			tap->who, fd);
		return -EINVAL;
	}
	memcpy(tap->name, req.ifr_name, sizeof(tap->name) - 1);
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC))
		return -errno;
	tap->queue[0].fd = fd;
	tap->queue[0].used = true;
	return set_header(tap, fd);
}

/* A macvtap drops all that does not come from its own address. */
static int open_macvtap(struct tap *tap, const char *path)
{
	struct ifreq req = { 0 };
	int err = open_queues(tap, path);

	if (!err && !ioctl(tap->queue[0].fd, SIOCGIFHWADDR, &req))
		memcpy(tap->backend.mac, req.ifr_hwaddr.sa_data, ETH_ALEN);
	return err;
}

/* ---- options ------------------------------------------------------------- */

static bool given(const char *script)
{
	return script && strcmp(script, "none") != 0;
}

static int refuse(const struct tap *tap, const char *key, const char *why)
{
	log_err("net", "%s: %s: %s", tap->who, key, why);
	return -EINVAL;
}

static int check_options(const struct tap *tap,
			 const struct net_options *options)
{
	const char *tapif = options->tapif;

	if (options->guest_ip)
		return refuse(tap, "guest_ip",
			      "a tap gives out no addresses (use mode=user, or "
			      "-p ip=...)");
	if (options->nr_forwards)
		return refuse(tap, "hostfwd", "only mode=user has it");
	if (tapif && options->fd != NET_NO_FD)
		return refuse(tap, "fd", "it goes with no tapif");
	if (tapif && tapif[0] != '/' && strlen(tapif) >= IFNAMSIZ)
		return refuse(tap, "tapif", "the name is too long");
	return 0;
}

/* What can be said only of interfaces that we make. */
static int check_existing(const struct tap *tap,
			  const struct net_options *options)
{
	bool up = true;

	if (options->host_ip)
		return refuse(tap, "host_ip",
			      "the interface is there already, and keeps what "
			      "it has (see ip-address(8))");
	tap_ask(tap->name, NULL, &up);
	if (!up && !given(options->script))
		log_warn("net", "%s: interface %s is down (ip link set %s up)",
			 tap->who, tap->name, tap->name);
	return 0;
}

/* The new interface is as the user wants it, or as kvmtool has it. */
static int set_up_made(const struct tap *tap, const struct net_options *options)
{
	const char *text = options->host_ip;
	struct tap_address address;

	if (!text && !given(options->script))
		text = TAP_HOST_IP;
	if (text && tap_parse_address(text, &address))
		return refuse(tap, "host_ip",
			      "use an IPv4 address, or one with /BITS");
	return tap_set_up(tap->name, (unsigned int)options->mtu,
			  text ? &address : NULL, !given(options->script));
}

/*
 * Is the interface one to be made? A name alone must exist, for it may be
 * misspelt; with a script or an address there is a plan for a new one.
 */
static int decide(const struct tap *tap, const struct net_options *options,
		  bool *make)
{
	*make = false;
	if (options->fd != NET_NO_FD ||
	    (options->tapif && options->tapif[0] == '/'))
		return 0;
	if (options->tapif && if_nametoindex(options->tapif))
		return 0;
	if (options->tapif && !options->host_ip && !given(options->script)) {
		log_err("net",
			"%s: there is no interface %s (make it with ip "
			"tuntap, or say host_ip= or script= to have it made)",
			tap->who, options->tapif);
		return -ENODEV;
	}
	*make = true;
	return 0;
}

static int tap_open(struct tap *tap, const struct net_options *options)
{
	const char *tapif = options->tapif;
	bool make;
	int err = check_options(tap, options);

	if (!err)
		err = decide(tap, options, &make);
	if (err)
		return err;
	if (options->fd != NET_NO_FD) {
		err = open_fd(tap, options->fd);
	} else if (tapif && tapif[0] == '/') {
		err = open_macvtap(tap, tapif);
	} else {
		if (tapif)
			snprintf(tap->name, sizeof(tap->name), "%s", tapif);
		err = open_queues(tap, TUN_NODE);
	}
	if (!err)
		err = make ? set_up_made(tap, options) :
			     check_existing(tap, options);
	if (!err && given(options->script))
		err = tap_run_script(options->script, tap->name);
	if (!err && given(options->downscript)) {
		tap->downscript = strdup(options->downscript);
		err = tap->downscript ? 0 : -ENOMEM;
	}
	return err;
}

/* ---- life ---------------------------------------------------------------- */

static void tap_destroy(struct net_backend *backend)
{
	struct tap *tap = to_tap(backend);

	if (tap->downscript)
		tap_run_script(tap->downscript, tap->name);
	/* With its last descriptor goes the interface that we made. */
	for (unsigned int i = 0; i < backend->pairs; i++)
		if (tap->queue[i].fd >= 0)
			close(tap->queue[i].fd);
	free(tap->downscript);
	free(tap);
}

static const struct net_backend_ops tap_ops = {
	.name = "tap",
	.attach = tap_attach,
	.detach = tap_detach,
	.send = tap_send,
	.receive = tap_receive,
	.configure = tap_configure,
	.vhost_fd = tap_vhost_fd,
	.counts = tap_counts,
	.destroy = tap_destroy,
};

int net_tap_create(const struct net_options *options, const char *name,
		   struct net_backend **out)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	int err;

	if (!tap)
		return -ENOMEM;
	tap->backend.ops = &tap_ops;
	tap->backend.pairs = (unsigned int)options->pairs;
	snprintf(tap->who, sizeof(tap->who), "%s", name);
	for (unsigned int i = 0; i < NET_MAX_PAIRS; i++) {
		tap->queue[i].tap = tap;
		tap->queue[i].fd = -1;
	}
	err = tap_open(tap, options);
	if (err) {
		tap_destroy(&tap->backend);
		return err;
	}
	probe_offloads(tap);
	tap_ask(tap->name, &tap->backend.mtu, NULL);
	*out = &tap->backend;
	return 0;
}
