/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One connection of a socket device (virtio 1.2, 5.10.6.3 and 5.10.6.5): its
 * states, the credit of both sides, its two halves. See vsock.h.
 *
 * The host's socket is watched edge-triggered: an event sets a flag, and a
 * system call that finds nothing more clears it.
 */
#include <endian.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/vsock.h>

#define SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* Bytes [@offset, @offset + @len) of @iov, in at most VSOCK_MAX_IOV pieces. */
static unsigned int iov_cut(struct iovec *to, const struct iovec *iov,
			    unsigned int count, size_t offset, size_t len)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < count && len && n < VSOCK_MAX_IOV; i++) {
		size_t skip = MIN(offset, iov[i].iov_len);
		size_t take = MIN(iov[i].iov_len - skip, len);

		offset -= skip;
		if (!take)
			continue;
		to[n].iov_base = (char *)iov[i].iov_base + skip;
		to[n++].iov_len = take;
		len -= take;
	}
	return n;
}

/* Send @op, as soon as the guest has a buffer. */
static void set_pending(struct vsock_connection *conn, unsigned int op)
{
	conn->pending |= (uint16_t)BIT(op);
	vsock_ready(conn);
}

/* ---- life ---------------------------------------------------------------- */

static void drop_buffer(struct vsock_connection *conn)
{
	free(conn->buffer);
	conn->buffer = NULL;
	conn->buffer_at = 0;
	conn->buffer_len = 0;
}

static void set_state(struct vsock_connection *conn, enum vsock_state state)
{
	if (conn->state == VSOCK_CLIENT)
		conn->vsock->nr_clients--;
	conn->state = state;
	conn->deadline_ns = 0;
}

void vsock_connection_destroy(struct vsock_connection *conn)
{
	struct vsock *vsock = conn->vsock;

	vsock_unknow(conn);
	vsock_not_ready(conn);
	LIST_REMOVE(conn, all);
	vsock->nr_connections--;
	vsock->nr_clients -= conn->state == VSOCK_CLIENT;
	if (conn->buf_alloc == VSOCK_BUFFER_BYTES)
		vsock->large_bytes -= VSOCK_BUFFER_BYTES;
	loop_del(vsock->loop, &conn->source);
	close(conn->source.fd);
	free(conn->buffer);
	free(conn);
	vsock_update_accepting(vsock);
}

/* Send a reset, whatever becomes of @conn. */
static void queue_reset(struct vsock_connection *conn)
{
	const struct vsock_reset reset = {
		.cid = VMADDR_CID_HOST,
		.guest_port = conn->guest_port,
		.host_port = conn->host_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
	};

	vsock_queue_reset(conn->vsock, &reset);
}

void vsock_connection_reset(struct vsock_connection *conn)
{
	counter_add(&conn->vsock->counters.resets, 1);
	queue_reset(conn);
	vsock_connection_destroy(conn);
}

/* The guest is done with it; what it sent before still goes to the host. */
static void linger_or_destroy(struct vsock_connection *conn)
{
	if (!conn->buffer) {
		vsock_connection_destroy(conn);
		return;
	}
	vsock_unknow(conn);
	vsock_not_ready(conn);
	conn->pending = 0;
	set_state(conn, VSOCK_LINGERING);
	vsock_set_deadline(conn, VSOCK_LINGER_NS);
}

void vsock_connection_forget(struct vsock_connection *conn)
{
	if (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
		linger_or_destroy(conn);
	else
		vsock_connection_destroy(conn);
}

void vsock_connection_expire(struct vsock_connection *conn)
{
	/* The guest knows nothing of the others, or no longer. */
	if (conn->state == VSOCK_REQUESTED || conn->state == VSOCK_CLOSING)
		vsock_connection_reset(conn);
	else
		vsock_connection_destroy(conn);
}

/* ---- to the host --------------------------------------------------------- */

/* The host takes nothing any more. */
static void host_refuses(struct vsock_connection *conn)
{
	drop_buffer(conn);
	conn->fwd_cnt = conn->rx_cnt;
	if (!(conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV))
		set_pending(conn, VIRTIO_VSOCK_OP_SHUTDOWN);
	conn->host_shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
}

/* Tell the guest of room that it has, when by what it knows that is little. */
static void update_credit(struct vsock_connection *conn)
{
	uint32_t room = conn->buf_alloc - (conn->rx_cnt - conn->fwd_sent);

	if (conn->fwd_sent != conn->fwd_cnt && room < conn->buf_alloc / 2)
		set_pending(conn, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
}

/* Returns the bytes that the socket took (0: none now), or -errno. */
static ssize_t send_iov(struct vsock_connection *conn, struct iovec *iov,
			unsigned int count)
{
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = count };
	ssize_t n = sendmsg(conn->source.fd, &message, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n;
}

/* After the last byte that the guest has sent. */
static void finish_sending(struct vsock_connection *conn)
{
	if (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND && !conn->buffer)
		shutdown(conn->source.fd, SHUT_WR);
}

/* The ring's contents, or its free part, in at most two pieces. */
static unsigned int buffer_iov(const struct vsock_connection *conn, bool used,
			       struct iovec iov[2])
{
	uint32_t at =
		used ? conn->buffer_at :
		       (conn->buffer_at + conn->buffer_len) % conn->buf_alloc;
	uint32_t len = used ? conn->buffer_len :
			      conn->buf_alloc - conn->buffer_len;
	uint32_t first = MIN(len, conn->buf_alloc - at);

	iov[0] = (struct iovec) { conn->buffer + at, first };
	iov[1] = (struct iovec) { conn->buffer, len - first };
	return len > first ? 2 : 1;
}

/* The socket may take more. Destroys a lingering connection when it is done. */
static void flush(struct vsock_connection *conn)
{
	struct iovec iov[2];
	ssize_t n = 1;

	while (conn->buffer_len && n > 0) {
		n = send_iov(conn, iov, buffer_iov(conn, true, iov));
		if (n <= 0)
			break;
		conn->buffer_at =
			(conn->buffer_at + (uint32_t)n) % conn->buf_alloc;
		conn->buffer_len -= (uint32_t)n;
		conn->fwd_cnt += (uint32_t)n;
		if (conn->state == VSOCK_LINGERING)
			vsock_set_deadline(conn, VSOCK_LINGER_NS);
	}
	if (conn->buffer && !conn->buffer_len)
		drop_buffer(conn);
	if (conn->state == VSOCK_LINGERING) {
		if (n < 0 || !conn->buffer)
			vsock_connection_destroy(conn);
		return;
	}
	if (n < 0)
		host_refuses(conn);
	finish_sending(conn);
	update_credit(conn);
}

/* Keep @len bytes of @iov, for which there is room. Returns 0 or -ENOMEM. */
static int buffer_data(struct vsock_connection *conn, const struct iovec *iov,
		       unsigned int count, size_t offset, uint32_t len)
{
	struct iovec room[2];
	size_t first;

	if (!conn->buffer)
		conn->buffer = malloc(conn->buf_alloc);
	if (!conn->buffer)
		return -ENOMEM;
	buffer_iov(conn, false, room);
	first = MIN(len, room[0].iov_len);
	iov_to_buf(iov, count, offset, room[0].iov_base, first);
	iov_to_buf(iov, count, offset + first, room[1].iov_base, len - first);
	conn->buffer_len += len;
	return 0;
}

static void receive_data(struct vsock_connection *conn,
			 const struct vsock_packet *packet)
{
	uint32_t room = conn->buf_alloc - (conn->rx_cnt - conn->fwd_cnt);
	struct iovec data[VSOCK_MAX_IOV];
	ssize_t n = 0;

	/* 5.10.6.3.1; and what is shut stays so (5.10.6.5). */
	if (packet->len > room ||
	    conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) {
		vsock_connection_reset(conn);
		return;
	}
	counter_add(&conn->vsock->counters.bytes_in, packet->len);
	conn->rx_cnt += packet->len;
	if (!conn->buffer && packet->len &&
	    !(conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV))
		n = send_iov(conn, data,
			     iov_cut(data, packet->iov, packet->count,
				     VSOCK_HEADER_BYTES, packet->len));
	if (n < 0 || conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		host_refuses(conn);
	} else {
		conn->fwd_cnt += (uint32_t)n;
		if (packet->len > n &&
		    buffer_data(conn, packet->iov, packet->count,
				VSOCK_HEADER_BYTES + (size_t)n,
				packet->len - (uint32_t)n)) {
			vsock_connection_reset(conn);
			return;
		}
	}
	update_credit(conn);
}

/* ---- from the host ------------------------------------------------------- */

/*
 * What may be sent to the guest now. Both of its numbers are whatever it
 * says: less than it has harms it alone, and more is bounded by its buffers.
 */
static uint32_t credit(const struct vsock_connection *conn)
{
	uint32_t in_flight = conn->tx_cnt - conn->peer_fwd_cnt;

	return conn->peer_buf_alloc > in_flight ?
		       conn->peer_buf_alloc - in_flight :
		       0;
}

static void take_credit(struct vsock_connection *conn,
			const struct vsock_packet *packet)
{
	conn->peer_buf_alloc = packet->buf_alloc;
	/*
	 * Packets of a guest with several CPUs may come out of order: only
	 * what moves forward counts, and only as far as what was sent.
	 */
	if (conn->tx_cnt - packet->fwd_cnt < conn->tx_cnt - conn->peer_fwd_cnt)
		conn->peer_fwd_cnt = packet->fwd_cnt;
	if (!credit(conn))
		return;
	conn->asked = false;
	if (conn->available)
		vsock_ready(conn);
}

/* How much there is to read from the host's socket, at least. */
static void count_available(struct vsock_connection *conn)
{
	int available = 0;

	if (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		conn->available = 0;
	} else if (conn->readable) {
		/* Before the look: what comes after it makes an event. */
		conn->readable = false;
		if (ioctl(conn->source.fd, FIONREAD, &available))
			conn->host_failed = true;
		conn->available = (uint32_t)available;
	}
}

/*
 * What the host's socket has for the guest: bytes, or their end. May destroy
 * @conn; returns false then.
 */
static bool look_at_host(struct vsock_connection *conn)
{
	if (conn->state != VSOCK_ESTABLISHED)
		return true;
	count_available(conn);
	if (conn->available) {
		if (!credit(conn) && !conn->asked) {
			conn->asked = true;
			set_pending(conn, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
		}
		return true;
	}
	if (conn->host_failed) {
		vsock_connection_reset(conn);
		return false;
	}
	if (conn->host_done &&
	    !(conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)) {
		conn->host_shut |= VIRTIO_VSOCK_SHUTDOWN_SEND;
		set_pending(conn, VIRTIO_VSOCK_OP_SHUTDOWN);
	}
	if (conn->host_gone)
		host_refuses(conn);
	return true;
}

/* May bytes of the host's go to the guest? After look_at_host(). */
static bool has_data(const struct vsock_connection *conn)
{
	return conn->state == VSOCK_ESTABLISHED && conn->available &&
	       credit(conn);
}

bool vsock_connection_pending(struct vsock_connection *conn)
{
	if (!look_at_host(conn))
		return false;
	if (conn->pending || has_data(conn))
		return true;
	vsock_not_ready(conn);
	return false;
}

/* A request or its answer precedes all else, and data is the last. */
static uint16_t next_op(const struct vsock_connection *conn)
{
	static const uint16_t order[] = {
		VIRTIO_VSOCK_OP_REQUEST,
		VIRTIO_VSOCK_OP_RESPONSE,
		VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_OP_CREDIT_REQUEST,
	};

	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		if (conn->pending & BIT(order[i]))
			return order[i];
	/* It tells of credit, too. */
	return has_data(conn) ? VIRTIO_VSOCK_OP_RW :
				VIRTIO_VSOCK_OP_CREDIT_UPDATE;
}

/* Read up to @room bytes of data. Returns their count, or 0: none came. */
static uint32_t read_data(struct vsock_connection *conn,
			  const struct iovec *iov, unsigned int count,
			  uint64_t room)
{
	uint64_t len = MIN(MIN(conn->available, credit(conn)), room);
	struct iovec data[VSOCK_MAX_IOV];
	struct msghdr message = {
		.msg_iov = data,
		.msg_iovlen =
			iov_cut(data, iov, count, VSOCK_HEADER_BYTES, len),
	};
	ssize_t n = recvmsg(conn->source.fd, &message, 0);

	if (n <= 0)
		return 0;
	counter_add(&conn->vsock->counters.bytes_out, (uint64_t)n);
	conn->available -= (uint32_t)n;
	conn->tx_cnt += (uint32_t)n;
	return (uint32_t)n;
}

uint32_t vsock_connection_send(struct vsock_connection *conn,
			       const struct iovec *iov, unsigned int count,
			       uint64_t room)
{
	uint16_t op = next_op(conn);
	struct virtio_vsock_hdr header = {
		.src_cid = htole64(VMADDR_CID_HOST),
		.dst_cid = htole64(conn->vsock->cid),
		.src_port = htole32(conn->host_port),
		.dst_port = htole32(conn->guest_port),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.buf_alloc = htole32(conn->buf_alloc),
		.fwd_cnt = htole32(conn->fwd_cnt),
	};
	uint32_t len = 0;

	conn->pending &=
		(uint16_t) ~(BIT(op) | BIT(VIRTIO_VSOCK_OP_CREDIT_UPDATE));
	conn->fwd_sent = conn->fwd_cnt;
	if (op == VIRTIO_VSOCK_OP_SHUTDOWN) {
		header.flags = htole32(conn->host_shut);
		if (conn->host_shut == SHUTDOWN_BOTH) {
			set_state(conn, VSOCK_CLOSING);
			vsock_set_deadline(conn, VSOCK_CLOSE_NS);
		}
	} else if (op == VIRTIO_VSOCK_OP_RW) {
		len = read_data(conn, iov, count, room - VSOCK_HEADER_BYTES);
		/* The socket broke its word. */
		if (!len) {
			op = VIRTIO_VSOCK_OP_RST;
			counter_add(&conn->vsock->counters.resets, 1);
			vsock_connection_destroy(conn);
		}
	}
	header.op = htole16(op);
	header.len = htole32(len);
	iov_from_buf(iov, count, 0, &header, sizeof(header));
	return (uint32_t)sizeof(header) + len;
}

/* ---- from the guest ------------------------------------------------------ */

/* The guest's listener has taken a connection of the host's. */
static void accepted(struct vsock_connection *conn)
{
	char line[VSOCK_LINE_BYTES];
	struct iovec iov = { .iov_base = line };

	set_state(conn, VSOCK_ESTABLISHED);
	iov.iov_len = (size_t)snprintf(line, sizeof(line), "OK %u\n",
				       conn->host_port);
	/* Nothing is in the socket yet: it takes the line, or the host left. */
	if (send_iov(conn, &iov, 1) != (ssize_t)iov.iov_len)
		host_refuses(conn);
	vsock_ready(conn);
}

static void guest_shut(struct vsock_connection *conn, uint32_t flags)
{
	conn->guest_shut |= flags & SHUTDOWN_BOTH;
	if (conn->guest_shut == SHUTDOWN_BOTH) {
		/* 5.10.6.5: the answer with which the guest is done. */
		queue_reset(conn);
		linger_or_destroy(conn);
		return;
	}
	if (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)
		shutdown(conn->source.fd, SHUT_RD);
	finish_sending(conn);
}

static void guest_reset(struct vsock_connection *conn)
{
	struct vsock_counters *counters = &conn->vsock->counters;

	if (conn->state == VSOCK_REQUESTED)
		counter_add(&counters->refused, 1);
	else if (conn->state != VSOCK_CLOSING)
		counter_add(&counters->resets, 1);
	vsock_connection_forget(conn);
}

void vsock_connection_receive(struct vsock_connection *conn,
			      const struct vsock_packet *packet)
{
	bool requested = conn->state == VSOCK_REQUESTED;

	take_credit(conn, packet);
	if (packet->op == VIRTIO_VSOCK_OP_RST)
		guest_reset(conn);
	else if (requested != (packet->op == VIRTIO_VSOCK_OP_RESPONSE))
		vsock_connection_reset(conn);
	else if (requested)
		accepted(conn);
	else if (packet->op == VIRTIO_VSOCK_OP_SHUTDOWN)
		guest_shut(conn, packet->flags);
	else if (packet->op == VIRTIO_VSOCK_OP_RW)
		receive_data(conn, packet);
	else if (packet->op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
		set_pending(conn, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	else if (packet->op != VIRTIO_VSOCK_OP_CREDIT_UPDATE)
		vsock_connection_reset(conn);
}

/* ---- the host's socket --------------------------------------------------- */

/* "CONNECT PORT", in place of whose end there is a 0. Returns 0 or -errno. */
static int parse_line(const char *line, uint32_t *port)
{
	static const char connect[] = "CONNECT ";
	uint64_t value;
	int err;

	if (strncasecmp(line, connect, strlen(connect)))
		return -EINVAL;
	err = parse_uint(line + strlen(connect), 0, VMADDR_PORT_ANY - 1,
			 &value);
	if (!err)
		*port = (uint32_t)value;
	return err;
}

/* What a client has written: its line, or a part, and more. May destroy it. */
static void read_line(struct vsock_connection *conn)
{
	char line[VSOCK_LINE_BYTES];
	/* What follows the line is the guest's, and stays in the socket. */
	ssize_t n = recv(conn->source.fd, line, sizeof(line), MSG_PEEK);
	char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
	size_t len;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (!end) {
		if (n <= 0 || n == sizeof(line) || conn->host_done)
			vsock_connection_destroy(conn);
		return;
	}
	*end = '\0';
	len = (size_t)(end - line) + 1;
	if (parse_line(line, &conn->guest_port) ||
	    recv(conn->source.fd, line, len, 0) != (ssize_t)len) {
		vsock_connection_destroy(conn);
		return;
	}
	conn->host_port = vsock_free_port(conn->vsock, conn->guest_port);
	vsock_know(conn);
	set_state(conn, VSOCK_REQUESTED);
	vsock_set_deadline(conn, VSOCK_REQUEST_NS);
	set_pending(conn, VIRTIO_VSOCK_OP_REQUEST);
	counter_add(&conn->vsock->counters.from_host, 1);
}

static void host_event(void *opaque, uint32_t events)
{
	struct vsock_connection *conn = opaque;
	struct vsock *vsock = conn->vsock;

	conn->readable = true;
	conn->host_done |= !!(events & (EPOLLRDHUP | EPOLLHUP));
	conn->host_gone |= !!(events & EPOLLHUP);
	conn->host_failed |= !!(events & EPOLLERR);
	if (conn->state == VSOCK_CLIENT) {
		read_line(conn);
	} else {
		if (conn->state != VSOCK_LINGERING)
			vsock_ready(conn);
		if (conn->buffer)
			flush(conn);
	}
	vsock->wake(vsock->opaque);
}

int vsock_connection_create(struct vsock *vsock, int fd, enum vsock_state state,
			    struct vsock_connection **out)
{
	struct vsock_connection *conn = calloc(1, sizeof(*conn));
	bool large = vsock->large_bytes + VSOCK_BUFFER_BYTES <=
		     VSOCK_LARGE_BYTES;
	int err;

	if (!conn)
		return -ENOMEM;
	conn->vsock = vsock;
	conn->state = state;
	conn->source = (struct loop_source) {
		.fd = fd,
		.ready = host_event,
		.opaque = conn,
	};
	err = loop_add(vsock->loop, &conn->source,
		       EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	if (err) {
		free(conn);
		return err;
	}
	conn->buf_alloc = large ? VSOCK_BUFFER_BYTES : VSOCK_SMALL_BUFFER_BYTES;
	if (large)
		vsock->large_bytes += VSOCK_BUFFER_BYTES;
	LIST_INSERT_HEAD(&vsock->all, conn, all);
	vsock->nr_connections++;
	if (state == VSOCK_CLIENT) {
		vsock->nr_clients++;
		vsock_set_deadline(conn, VSOCK_LINE_NS);
	}
	*out = conn;
	return 0;
}
