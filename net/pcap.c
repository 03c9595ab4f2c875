/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A capture of all frames that pass between a device and its backend, in the
 * format of draft-ietf-opsawg-pcap (classic pcap, nanoseconds). Each record is
 * one write, so what has passed is in the file, whatever happens next.
 *
 * Frames stand there as they pass: with offloads, longer than any wire would
 * have them, and with checksums that are yet to be filled in.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/net.h>
#include <lkvm/util.h>

#define PCAP_MAGIC_NS 0xa1b23c4d
#define PCAP_LINK_ETHERNET 1

/* Both in the host's own byte order: the magic tells which. */
struct pcap_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t reserved[2];
	uint32_t snap_len;
	uint32_t link_type;
};

struct pcap_record {
	uint32_t seconds, nanoseconds;
	uint32_t captured_len, len;
};

_Static_assert(sizeof(struct pcap_header) == 24, "section 4");
_Static_assert(sizeof(struct pcap_record) == 16, "section 5");

struct pcap {
	struct net_backend backend;
	struct net_backend_ops ops; /* has what the inner one's have */
	struct net_backend *inner;
	const char *path; /* owned */
	pthread_mutex_t lock; /* for all below: queues have threads */
	int fd; /* -1: a write has failed, and there are no more */
	off_t end; /* of the last whole record */
	struct iovec iov[IOV_MAX];
};

static struct pcap *to_pcap(struct net_backend *backend)
{
	return container_of(backend, struct pcap, backend);
}

/* ---- records ------------------------------------------------------------- */

/* The file is full: it ends with a whole record, and the VM goes on. */
static void stop_locked(struct pcap *pcap, int err)
{
	log_warn("net", "the capture %s ends here: %s", pcap->path,
		 strerror(err));
	(void)!ftruncate(pcap->fd, pcap->end);
	close(pcap->fd);
	pcap->fd = -1;
}

static void record_locked(struct pcap *pcap, const struct iovec *iov,
			  unsigned int count, size_t frame)
{
	struct pcap_record record = {
		.captured_len = (uint32_t)frame,
		.len = (uint32_t)frame,
	};
	struct iovec *all = pcap->iov;
	unsigned int parts = iov_slice(all + 1, IOV_MAX - 1, iov, count,
				       NET_HEADER_BYTES, frame);
	size_t bytes = sizeof(record) + frame;
	struct timespec now;
	ssize_t n;

	if (!parts || pcap->fd < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	record.seconds = (uint32_t)now.tv_sec;
	record.nanoseconds = (uint32_t)now.tv_nsec;
	all[0] = (struct iovec) { &record, sizeof(record) };
	n = pwritev(pcap->fd, all, (int)parts + 1, pcap->end);
	if (n == (ssize_t)bytes)
		pcap->end += n;
	else
		stop_locked(pcap, n < 0 ? errno : ENOSPC);
}

/* @len: with the header. */
static void record(struct pcap *pcap, const struct iovec *iov,
		   unsigned int count, size_t len)
{
	if (len <= NET_HEADER_BYTES)
		return;
	pthread_mutex_lock(&pcap->lock);
	record_locked(pcap, iov, count, len - NET_HEADER_BYTES);
	pthread_mutex_unlock(&pcap->lock);
}

/* ---- in place of the backend --------------------------------------------- */

static int pcap_attach(struct net_backend *backend, unsigned int queue,
		       struct loop *loop)
{
	struct net_backend *inner = to_pcap(backend)->inner;

	return inner->ops->attach(inner, queue, loop);
}

static void pcap_detach(struct net_backend *backend, unsigned int queue)
{
	struct net_backend *inner = to_pcap(backend)->inner;

	inner->ops->detach(inner, queue);
}

static int pcap_send(struct net_backend *backend, unsigned int queue,
		     const struct iovec *iov, unsigned int count, size_t len)
{
	struct pcap *pcap = to_pcap(backend);
	int err = pcap->inner->ops->send(pcap->inner, queue, iov, count, len);

	if (!err)
		record(pcap, iov, count, len);
	return err;
}

static ssize_t pcap_receive(struct net_backend *backend, unsigned int queue,
			    const struct iovec *iov, unsigned int count,
			    size_t room)
{
	struct pcap *pcap = to_pcap(backend);
	ssize_t n =
		pcap->inner->ops->receive(pcap->inner, queue, iov, count, room);

	if (n > 0)
		record(pcap, iov, count, (size_t)n);
	return n;
}

static int pcap_configure(struct net_backend *backend, uint64_t features,
			  unsigned int pairs)
{
	struct net_backend *inner = to_pcap(backend)->inner;

	return inner->ops->configure(inner, features, pairs);
}

static int pcap_complete(struct net_backend *backend)
{
	struct net_backend *inner = to_pcap(backend)->inner;

	return inner->ops->complete(inner);
}

static void pcap_free(struct pcap *pcap)
{
	if (pcap->fd >= 0)
		close(pcap->fd);
	pthread_mutex_destroy(&pcap->lock);
	free((char *)pcap->path);
	free(pcap);
}

static void pcap_destroy(struct net_backend *backend)
{
	struct pcap *pcap = to_pcap(backend);

	pcap->inner->ops->destroy(pcap->inner);
	pcap_free(pcap);
}

/* ---- in place of the device ---------------------------------------------- */

static void on_readable(void *opaque, unsigned int queue)
{
	struct net_backend *backend = opaque;

	backend->frontend->readable(backend->opaque, queue);
}

static void on_writable(void *opaque, unsigned int queue)
{
	struct net_backend *backend = opaque;

	backend->frontend->writable(backend->opaque, queue);
}

static void on_link(void *opaque, bool up)
{
	struct net_backend *backend = opaque;

	backend->frontend->link(backend->opaque, up);
}

static const struct net_frontend_ops frontend_ops = {
	.readable = on_readable,
	.writable = on_writable,
	.link = on_link,
};

/* ---- life ---------------------------------------------------------------- */

static int open_file(struct pcap *pcap)
{
	const struct pcap_header header = {
		.magic = PCAP_MAGIC_NS,
		.major = 2,
		.minor = 4,
		.snap_len = NET_MAX_FRAME,
		.link_type = PCAP_LINK_ETHERNET,
	};

	/* A pipe, which could keep frames waiting, has no length to be set. */
	pcap->fd = open(pcap->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK,
			0600);
	if (pcap->fd < 0 || ftruncate(pcap->fd, 0))
		return -errno;
	pcap->end = sizeof(header);
	return write_full(pcap->fd, &header, sizeof(header));
}

static void stand_in(struct pcap *pcap, struct net_backend *inner)
{
	pcap->ops = (struct net_backend_ops) {
		.name = inner->ops->name,
		.attach = pcap_attach,
		.detach = pcap_detach,
		.send = pcap_send,
		.receive = pcap_receive,
		.configure = inner->ops->configure ? pcap_configure : NULL,
		.complete = inner->ops->complete ? pcap_complete : NULL,
		.destroy = pcap_destroy,
	};
	pcap->inner = inner;
	pcap->backend = *inner;
	pcap->backend.ops = &pcap->ops;
	inner->frontend = &frontend_ops;
	inner->opaque = &pcap->backend;
}

int net_pcap_create(struct net_backend *inner, const char *path,
		    struct net_backend **out)
{
	struct pcap *pcap = calloc(1, sizeof(*pcap));
	int err;

	if (!pcap) {
		log_err("net", "out of memory");
		return -ENOMEM;
	}
	pthread_mutex_init(&pcap->lock, NULL);
	pcap->fd = -1;
	pcap->path = strdup(path);
	err = pcap->path ? open_file(pcap) : -ENOMEM;
	if (err) {
		log_err("net", "cannot write a capture to %s: %s", path,
			err == -EINVAL || err == -ENXIO ?
				"it is not a regular file" :
				strerror(-err));
		pcap_free(pcap);
		return err;
	}
	stand_in(pcap, inner);
	*out = &pcap->backend;
	return 0;
}
