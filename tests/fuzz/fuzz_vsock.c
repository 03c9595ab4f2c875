/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libFuzzer target: the input is what a guest, the host's programs and time do
 * to a socket device, one step after the other. See "make fuzz" and
 * make-corpus-vsock.
 */
#include <endian.h>
#include <libgen.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/vsock.h>

#define CID 3
#define PORT 6000 /* of the host; somebody listens there */
#define MAX_ENDS 16
#define MAX_SOURCES (VSOCK_MAX_CONNECTIONS + 2)
#define ROOM (HEADER + 4096)
#define HEADER VSOCK_HEADER_BYTES

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[32]; /* of the device's socket */
static struct unix_listener listener = { .fd = -1 }; /* at PATH_PORT */
static int ends[MAX_ENDS]; /* of the host's programs; 0: none */
static struct loop_source *sources[MAX_SOURCES];
static uint32_t watched[MAX_SOURCES]; /* events */

/* ---- instead of core/log.c: formats, and says nothing -------------------- */

void log_err(const char *subsystem, const char *fmt, ...)
{
	char text[512];
	va_list args;

	(void)subsystem;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
}

/* ---- instead of core/loop.c: events come when the input says so ---------- */

int loop_add(struct loop *loop, struct loop_source *source, uint32_t events)
{
	(void)loop;
	for (unsigned int i = 0; i < MAX_SOURCES; i++) {
		if (sources[i])
			continue;
		sources[i] = source;
		watched[i] = events;
		source->added = true;
		return 0;
	}
	abort();
}

void loop_del(struct loop *loop, struct loop_source *source)
{
	(void)loop;
	for (unsigned int i = 0; i < MAX_SOURCES && source->added; i++)
		if (sources[i] == source)
			sources[i] = NULL;
	source->added = false;
}

static void deliver_events(void)
{
	for (unsigned int i = 0; i < MAX_SOURCES; i++) {
		struct pollfd pollfd;

		if (!sources[i])
			continue;
		pollfd = (struct pollfd) {
			.fd = sources[i]->fd,
			.events = (short)watched[i],
		};
		/* The bits are those of epoll. */
		if (poll(&pollfd, 1, 0) > 0)
			sources[i]->ready(sources[i]->opaque,
					  (uint32_t)pollfd.revents);
	}
}

static void wake(void *opaque)
{
	(void)opaque;
}

/* ---- the steps ----------------------------------------------------------- */

struct input {
	const uint8_t *at;
	size_t left;
};

/* Bytes past the end are zero. */
static uint32_t take(struct input *in, unsigned int bytes)
{
	uint32_t value = 0;

	while (bytes--) {
		value = value << 8 | (in->left ? *in->at : 0);
		in->at += in->left > 0;
		in->left -= in->left > 0;
	}
	return value;
}

/* Few values of each, so that packets belong together. */
static void guest_sends(struct vsock *vsock, struct input *in)
{
	static uint8_t packet[HEADER + 64 * KIB];
	uint32_t kind = take(in, 1);
	struct virtio_vsock_hdr header = { .op = htole16(kind & 15) };
	struct iovec iov[3];
	uint32_t value;
	uint64_t room;

	header.src_cid = htole64(kind & 0x80 ? take(in, 1) : CID);
	header.dst_cid = htole64(kind & 0x40 ? take(in, 1) : 2);
	header.src_port = htole32(take(in, 1) % 4);
	header.type = htole16(kind & 0x20 ? (uint16_t)take(in, 2) : 1);
	value = take(in, 1);
	header.dst_port = htole32(value & 0x80 ? (1U << 30) + value % 8 :
						 PORT + value % 2);
	header.flags = htole32(take(in, 1));
	value = take(in, 2);
	header.buf_alloc = htole32(value << (take(in, 1) & 15));
	header.fwd_cnt = htole32(take(in, 2));
	header.len = htole32(take(in, 2));
	room = kind & 0x10 ? take(in, 2) : HEADER + le32toh(header.len);
	room = MIN(room, sizeof(packet));
	memcpy(packet, &header, HEADER);
	iov[0] = (struct iovec) { packet, MIN(room, 20) };
	iov[1] = (struct iovec) { packet + 20, MIN(room - iov[0].iov_len, 30) };
	iov[2] = (struct iovec) { packet + 50,
				  room - iov[0].iov_len - iov[1].iov_len };
	if (!vsock_is_full(vsock))
		(void)vsock_receive(vsock, iov, 3, room);
}

static void guest_receives(struct vsock *vsock, struct input *in)
{
	static uint8_t packet[ROOM];
	struct virtio_vsock_hdr header;
	uint32_t room = HEADER + 1 + take(in, 2) % (ROOM - HEADER);
	struct iovec iov[2] = { { packet, 7 }, { packet + 7, room - 7 } };
	uint32_t len;

	if (!vsock_pending(vsock))
		return;
	len = vsock_send(vsock, iov, 2, room);
	memcpy(&header, packet, HEADER);
	if (len < HEADER || len > room || le32toh(header.len) != len - HEADER ||
	    le64toh(header.dst_cid) != CID || !header.op)
		abort();
}

static void keep(int fd)
{
	for (unsigned int i = 0; fd >= 0 && i < MAX_ENDS; i++)
		if (!ends[i]) {
			ends[i] = fd;
			return;
		}
	if (fd >= 0)
		close(fd);
}

static void client_connects(struct input *in)
{
	char text[64];
	int fd = unix_connect(path);
	uint32_t kind = take(in, 1);
	size_t len;

	if (kind & 0x80)
		len = (size_t)snprintf(text, sizeof(text), "CONNECT %u\nxyz",
				       kind % 4);
	else
		for (len = 0; len < kind % sizeof(text); len++)
			text[len] = (char)take(in, 1);
	if (fd >= 0)
		(void)!send(fd, text, len, MSG_NOSIGNAL);
	keep(fd);
}

static void program_acts(struct input *in)
{
	static char buffer[64 * KIB];
	uint32_t kind = take(in, 1);
	int *fd = &ends[kind % MAX_ENDS];
	size_t len = take(in, 2);

	if (!*fd)
		return;
	switch (kind >> 4) {
	case 0 ... 3:
		(void)!send(*fd, buffer, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 4 ... 8:
		(void)!recv(*fd, buffer, len, MSG_DONTWAIT);
		break;
	case 9:
		shutdown(*fd, SHUT_RD);
		break;
	case 10:
		shutdown(*fd, SHUT_WR);
		break;
	default:
		close(*fd);
		*fd = 0;
	}
}

/* All that has a deadline is late. */
static void time_passes(struct vsock *vsock)
{
	struct vsock_connection *conn;

	LIST_FOREACH(conn, &vsock->all, all)
	if (conn->deadline_ns)
		conn->deadline_ns = 1;
	vsock->timer.ready(vsock->timer.opaque, EPOLLIN);
}

static void step(struct vsock *vsock, struct input *in)
{
	uint32_t what = take(in, 1);

	if (what < 0x80)
		guest_sends(vsock, in);
	else if (what < 0xa0)
		guest_receives(vsock, in);
	else if (what < 0xb8)
		deliver_events();
	else if (what < 0xd0)
		program_acts(in);
	else if (what < 0xe0)
		client_connects(in);
	else if (what < 0xf0)
		keep(accept4(listener.fd, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK));
	else if (what < 0xf8)
		time_passes(vsock);
	else if (what < 0xfc)
		vsock_forget(vsock);
	else if (what < 0xfe)
		vsock_stop(vsock);
	else
		vsock_start(vsock);
}

/* What must hold between any two steps. */
static void check(const struct vsock *vsock)
{
	const struct vsock_connection *conn;
	unsigned int count = 0, clients = 0;
	uint64_t bytes = 0;

	LIST_FOREACH(conn, &vsock->all, all)
	{
		count++;
		clients += conn->state == VSOCK_CLIENT;
		bytes += conn->buffer ? conn->buf_alloc : 0;
		if (conn->buffer_len > conn->buf_alloc ||
		    conn->rx_cnt - conn->fwd_cnt != conn->buffer_len ||
		    conn->rx_cnt - conn->fwd_sent > conn->buf_alloc ||
		    !conn->buffer != !conn->buffer_len)
			abort();
	}
	if (count != vsock->nr_connections || clients != vsock->nr_clients ||
	    count > VSOCK_MAX_CONNECTIONS || bytes > VSOCK_TOTAL_BYTES ||
	    vsock->nr_resets > VSOCK_MAX_RESETS)
		abort();
}

/* One folder and one listener for all inputs. */
static void clean_up(void)
{
	unix_listener_close(&listener);
	rmdir(dirname(path));
}

static void prepare(void)
{
	char dir[] = "/tmp/fuzz-vsock-XXXXXX";
	char name[48];

	if (listener.fd >= 0)
		return;
	if (!mkdtemp(dir))
		abort();
	snprintf(path, sizeof(path), "%s/v", dir);
	snprintf(name, sizeof(name), "%s_%u", path, PORT);
	if (unix_listen(name, 64, &listener) || atexit(clean_up))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct vsock *vsock;
	int fd;

	prepare();
	if (vsock_create(CID, path, NULL, wake, NULL, &vsock))
		abort();
	vsock_start(vsock);
	while (in.left) {
		step(vsock, &in);
		check(vsock);
	}
	vsock_destroy(vsock);
	for (unsigned int i = 0; i < MAX_SOURCES; i++)
		if (sources[i])
			abort();
	for (unsigned int i = 0; i < MAX_ENDS; i++) {
		if (ends[i])
			close(ends[i]);
		ends[i] = 0;
	}
	while ((fd = accept4(listener.fd, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		close(fd);
	return 0;
}
