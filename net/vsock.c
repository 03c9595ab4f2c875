/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's end of a socket device (virtio 1.2, 5.10.6): which connection a
 * packet belongs to, which one sends next, who connects to whom. What happens
 * within a connection stands in vsock-connection.c; see vsock.h.
 */
#include <endian.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/vsock.h>

#define BACKLOG 128

/* Ports below are for services; clients' own begin here, as users expect. */
#define FIRST_PORT (1U << 30)

_Static_assert(VSOCK_BUCKETS == 256, "a byte");

/* ---- which connections there are ----------------------------------------- */

static struct vsock_list *bucket_of(struct vsock *vsock, uint32_t guest_port,
				    uint32_t host_port)
{
	uint32_t hash =
		(guest_port ^ host_port << 16 ^ host_port >> 16) * 0x9e3779b1U;

	return &vsock->buckets[hash >> 24];
}

static struct vsock_connection *find(struct vsock *vsock, uint32_t guest_port,
				     uint32_t host_port)
{
	struct vsock_connection *conn;

	LIST_FOREACH(conn, bucket_of(vsock, guest_port, host_port), bucket)
	if (conn->guest_port == guest_port && conn->host_port == host_port)
		return conn;
	return NULL;
}

void vsock_know(struct vsock_connection *conn)
{
	LIST_INSERT_HEAD(bucket_of(conn->vsock, conn->guest_port,
				   conn->host_port),
			 conn, bucket);
	conn->known = true;
}

void vsock_unknow(struct vsock_connection *conn)
{
	if (conn->known)
		LIST_REMOVE(conn, bucket);
	conn->known = false;
}

uint32_t vsock_free_port(struct vsock *vsock, uint32_t guest_port)
{
	uint32_t port;

	/* There are far less connections than ports. */
	do
		port = FIRST_PORT + vsock->next_port++ % FIRST_PORT;
	while (find(vsock, guest_port, port));
	return port;
}

void vsock_ready(struct vsock_connection *conn)
{
	if (!conn->is_ready)
		TAILQ_INSERT_TAIL(&conn->vsock->ready, conn, ready);
	conn->is_ready = true;
}

void vsock_not_ready(struct vsock_connection *conn)
{
	if (conn->is_ready)
		TAILQ_REMOVE(&conn->vsock->ready, conn, ready);
	conn->is_ready = false;
}

/* ---- packets from the guest ---------------------------------------------- */

bool vsock_is_full(const struct vsock *vsock)
{
	return vsock->nr_resets >= VSOCK_FULL_RESETS;
}

void vsock_queue_reset(struct vsock *vsock, const struct vsock_reset *reset)
{
	unsigned int at =
		(vsock->resets_at + vsock->nr_resets++) % VSOCK_MAX_RESETS;

	vsock->resets[at] = *reset;
}

/* 5.10.6.4, 5.10.6.5: nobody is there, or not for this. */
static void refuse(struct vsock *vsock, uint64_t cid,
		   const struct vsock_packet *packet)
{
	const struct vsock_reset reset = {
		.cid = cid,
		.guest_port = packet->guest_port,
		.host_port = packet->host_port,
		.type = packet->type,
	};

	if (packet->op == VIRTIO_VSOCK_OP_REQUEST)
		counter_add(&vsock->counters.refused, 1);
	/* A reset is not answered, or two would go on for ever. */
	if (packet->op != VIRTIO_VSOCK_OP_RST)
		vsock_queue_reset(vsock, &reset);
}

/* A socket connected to PATH_@port, or -errno. */
static int connect_to(const struct vsock *vsock, uint32_t port)
{
	char path[UNIX_PATH_MAX_BYTES + 1];

	snprintf(path, sizeof(path), "%.*s_%u", (int)VSOCK_MAX_PATH,
		 vsock->listener.address.sun_path, port);
	return unix_connect(path);
}

static int open_connection(struct vsock *vsock,
			   const struct vsock_packet *packet)
{
	struct vsock_connection *conn;
	int fd;
	int err;

	if (vsock->nr_connections >= VSOCK_MAX_CONNECTIONS)
		return -ENOSPC;
	fd = connect_to(vsock, packet->host_port);
	if (fd < 0)
		return fd;
	err = vsock_connection_create(vsock, fd, VSOCK_ESTABLISHED, &conn);
	if (err) {
		close(fd);
		return err;
	}
	conn->guest_port = packet->guest_port;
	conn->host_port = packet->host_port;
	conn->peer_buf_alloc = packet->buf_alloc;
	conn->pending = BIT(VIRTIO_VSOCK_OP_RESPONSE);
	vsock_know(conn);
	vsock_ready(conn);
	counter_add(&vsock->counters.from_guest, 1);
	return 0;
}

int vsock_receive(struct vsock *vsock, const struct iovec *iov,
		  unsigned int count, uint64_t len)
{
	struct virtio_vsock_hdr header;
	struct vsock_connection *conn;
	struct vsock_packet packet;
	uint64_t cid;

	if (iov_to_buf(iov, count, 0, &header, sizeof(header)) !=
		    sizeof(header) ||
	    le32toh(header.len) > len - sizeof(header))
		return -EPROTO;
	counter_add(&vsock->counters.packets_in, 1);
	/* 5.10.6.4.1; and there is nobody whom an answer would reach. */
	if (le64toh(header.src_cid) != vsock->cid) {
		counter_add(&vsock->counters.dropped, 1);
		return 0;
	}
	cid = le64toh(header.dst_cid);
	packet = (struct vsock_packet) {
		.guest_port = le32toh(header.src_port),
		.host_port = le32toh(header.dst_port),
		.len = le32toh(header.len),
		.type = le16toh(header.type),
		.op = le16toh(header.op),
		.flags = le32toh(header.flags),
		.buf_alloc = le32toh(header.buf_alloc),
		.fwd_cnt = le32toh(header.fwd_cnt),
		.iov = iov,
		.count = count,
	};
	if (cid != VMADDR_CID_HOST || packet.type != VIRTIO_VSOCK_TYPE_STREAM)
		refuse(vsock, cid, &packet);
	else if ((conn = find(vsock, packet.guest_port, packet.host_port)))
		vsock_connection_receive(conn, &packet);
	else if (packet.op != VIRTIO_VSOCK_OP_REQUEST ||
		 open_connection(vsock, &packet))
		refuse(vsock, cid, &packet);
	/* Clients need not come where connections cannot be reset. */
	if (vsock_is_full(vsock))
		vsock_update_accepting(vsock);
	return 0;
}

/* ---- packets to the guest ------------------------------------------------ */

bool vsock_pending(struct vsock *vsock)
{
	while (!vsock->nr_resets) {
		struct vsock_connection *conn = TAILQ_FIRST(&vsock->ready);

		if (!conn)
			return false;
		if (vsock_connection_pending(conn))
			return true;
	}
	return true;
}

static uint32_t send_reset(struct vsock *vsock, const struct iovec *iov,
			   unsigned int count)
{
	const struct vsock_reset *reset = &vsock->resets[vsock->resets_at];
	const struct virtio_vsock_hdr header = {
		.src_cid = htole64(reset->cid),
		.dst_cid = htole64(vsock->cid),
		.src_port = htole32(reset->host_port),
		.dst_port = htole32(reset->guest_port),
		.type = htole16(reset->type),
		.op = htole16(VIRTIO_VSOCK_OP_RST),
	};

	vsock->resets_at = (vsock->resets_at + 1) % VSOCK_MAX_RESETS;
	vsock->nr_resets--;
	vsock_update_accepting(vsock);
	iov_from_buf(iov, count, 0, &header, sizeof(header));
	return sizeof(header);
}

uint32_t vsock_send(struct vsock *vsock, const struct iovec *iov,
		    unsigned int count, uint64_t room)
{
	struct vsock_connection *conn;

	counter_add(&vsock->counters.packets_out, 1);
	/* First: a new connection may have the ports of one that is gone. */
	if (vsock->nr_resets)
		return send_reset(vsock, iov, count);
	conn = TAILQ_FIRST(&vsock->ready);
	/* Each in its turn. */
	vsock_not_ready(conn);
	vsock_ready(conn);
	return vsock_connection_send(conn, iov, count, room);
}

/* ---- clients of the host ------------------------------------------------- */

void vsock_update_accepting(struct vsock *vsock)
{
	bool accepting = vsock->running && !vsock->starved &&
			 !vsock_is_full(vsock) &&
			 vsock->nr_clients < VSOCK_MAX_CLIENTS &&
			 vsock->nr_connections < VSOCK_MAX_CONNECTIONS;

	if (!accepting)
		loop_del(vsock->loop, &vsock->accepting);
	else if (!vsock->accepting.added)
		loop_add(vsock->loop, &vsock->accepting, EPOLLIN);
}

static void start_ticking(struct vsock *vsock)
{
	const struct itimerspec second = { .it_value.tv_sec = 1 };

	if (!vsock->ticking)
		timerfd_settime(vsock->timer.fd, 0, &second, NULL);
	vsock->ticking = true;
}

static void accept_client(void *opaque, uint32_t events)
{
	struct vsock *vsock = opaque;
	struct vsock_connection *conn;
	int fd = accept4(vsock->listener.fd, NULL, NULL,
			 SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0) {
		/* It stays readable: look again later, not at once. */
		vsock->starved = errno != EAGAIN && errno != ECONNABORTED &&
				 errno != EINTR;
		if (vsock->starved)
			start_ticking(vsock);
	} else if (vsock_connection_create(vsock, fd, VSOCK_CLIENT, &conn)) {
		close(fd);
	}
	vsock_update_accepting(vsock);
}

/* ---- time ---------------------------------------------------------------- */

void vsock_set_deadline(struct vsock_connection *conn, uint64_t ns)
{
	conn->deadline_ns = now_ns() + ns;
	start_ticking(conn->vsock);
}

static void tick(void *opaque, uint32_t events)
{
	struct vsock *vsock = opaque;
	struct vsock_connection *conn = LIST_FIRST(&vsock->all);
	struct vsock_connection *next;
	uint64_t now = now_ns();
	uint64_t expirations;

	(void)events;
	(void)!read(vsock->timer.fd, &expirations, sizeof(expirations));
	vsock->ticking = false;
	vsock->starved = false;
	for (; conn; conn = next) {
		next = LIST_NEXT(conn, all);
		if (!conn->deadline_ns)
			continue;
		if (conn->deadline_ns <= now)
			vsock_connection_expire(conn);
		else
			start_ticking(vsock);
	}
	vsock_update_accepting(vsock);
	vsock->wake(vsock->opaque);
}

/* ---- life ---------------------------------------------------------------- */

void vsock_start(struct vsock *vsock)
{
	vsock->running = true;
	vsock_update_accepting(vsock);
}

void vsock_stop(struct vsock *vsock)
{
	vsock->running = false;
	vsock_update_accepting(vsock);
}

bool vsock_forget(struct vsock *vsock)
{
	struct vsock_connection *conn = LIST_FIRST(&vsock->all);
	struct vsock_connection *next;
	bool lost = false;

	for (; conn; conn = next) {
		next = LIST_NEXT(conn, all);
		lost |= conn->known;
		vsock_connection_forget(conn);
	}
	vsock->nr_resets = 0;
	return lost;
}

static int listen_at(struct vsock *vsock, const char *path)
{
	int err;

	if (strlen(path) > VSOCK_MAX_PATH) {
		log_err("vsock",
			"--vsock: the socket's name '%s' is longer than %zu "
			"bytes",
			path, VSOCK_MAX_PATH);
		return -ENAMETOOLONG;
	}
	err = unix_listen(path, BACKLOG, &vsock->listener);
	if (err == -EADDRINUSE)
		log_err("vsock", "--vsock: %s is another process's socket",
			path);
	else if (err == -EEXIST)
		log_err("vsock", "--vsock: %s exists and is no socket", path);
	else if (err)
		log_err("vsock", "--vsock: cannot make the socket %s: %s", path,
			strerror(-err));
	return err;
}

static int create_timer(struct vsock *vsock)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int err;

	if (fd < 0)
		return -errno;
	vsock->timer = (struct loop_source) {
		.fd = fd,
		.ready = tick,
		.opaque = vsock,
	};
	err = loop_add(vsock->loop, &vsock->timer, EPOLLIN);
	if (err)
		close(fd);
	return err;
}

int vsock_create(uint64_t cid, const char *path, struct loop *loop,
		 void (*wake)(void *opaque), void *opaque, struct vsock **out)
{
	struct vsock *vsock = calloc(1, sizeof(*vsock));
	int err;

	if (!vsock)
		return -ENOMEM;
	vsock->cid = cid;
	vsock->loop = loop;
	vsock->wake = wake;
	vsock->opaque = opaque;
	LIST_INIT(&vsock->all);
	TAILQ_INIT(&vsock->ready);
	err = listen_at(vsock, path);
	if (err)
		goto free_vsock;
	vsock->accepting = (struct loop_source) {
		.fd = vsock->listener.fd,
		.ready = accept_client,
		.opaque = vsock,
	};
	err = create_timer(vsock);
	if (err)
		goto close_listener;
	*out = vsock;
	return 0;

close_listener:
	unix_listener_close(&vsock->listener);
free_vsock:
	free(vsock);
	return err;
}

void vsock_destroy(struct vsock *vsock)
{
	struct vsock_connection *conn;

	vsock_stop(vsock);
	while ((conn = LIST_FIRST(&vsock->all)))
		vsock_connection_destroy(conn);
	loop_del(vsock->loop, &vsock->timer);
	close(vsock->timer.fd);
	unix_listener_close(&vsock->listener);
	free(vsock);
}

void vsock_print_stats(const struct vsock *vsock, const char *who,
		       struct stats_sink *sink)
{
	const struct vsock_counters *c = &vsock->counters;
	const struct {
		const char *what;
		const _Atomic uint64_t *count;
	} rows[] = {
		{ "connections-from-guest", &c->from_guest },
		{ "connections-from-host", &c->from_host },
		{ "connections-refused", &c->refused },
		{ "connections-reset", &c->resets },
		{ "packets-from-guest", &c->packets_in },
		{ "packets-to-guest", &c->packets_out },
		{ "bytes-from-guest", &c->bytes_in },
		{ "bytes-to-guest", &c->bytes_out },
		{ "packets-dropped", &c->dropped },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		stats_count(sink, who, rows[i].what,
			    atomic_load_explicit(rows[i].count,
						 memory_order_relaxed));
}
