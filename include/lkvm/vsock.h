/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's end of a socket device (virtio 1.2, 5.10): the packets of a guest
 * on one side, Unix stream sockets on the other.
 *
 * A host's client connects to the socket file PATH and writes "CONNECT PORT\n";
 * when the guest's listener on that port has accepted it reads "OK HOSTPORT\n",
 * and the bytes that follow are the connection's. A guest that connects to
 * port P of the host (CID 2) reaches whoever listens on the socket file PATH_P.
 *
 * Nothing here knows queues or guest addresses: the device hands in packets
 * and asks for packets, as iovecs. All of it runs on the thread of one loop,
 * but for vsock_create(), and nothing blocks. Bytes for the guest are read
 * from a host's socket only when the guest has promised room for them and the
 * device has a buffer at hand; bytes for the host are buffered, up to what
 * the guest was promised.
 */
#ifndef LKVM_VSOCK_H
#define LKVM_VSOCK_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include <lkvm/loop.h>
#include <lkvm/stats.h>
#include <lkvm/unix-socket.h>
#include <lkvm/util.h>

/* Half of the file descriptors that a process may have, as a rule. */
#define VSOCK_MAX_CONNECTIONS 512

/* Clients of the host that have not said yet whom to connect to. */
#define VSOCK_MAX_CLIENTS 32

/*
 * What a guest may send ahead on one connection; the second when all the
 * connections of the first kind have VSOCK_LARGE_BYTES together.
 */
#define VSOCK_BUFFER_BYTES (256 * KIB)
#define VSOCK_SMALL_BUFFER_BYTES (64 * KIB)
#define VSOCK_LARGE_BYTES (32 * MIB)

/* So much may be buffered in all. */
#define VSOCK_TOTAL_BYTES (64 * MIB)

/* Resets that wait for a buffer of the guest's; see vsock_is_full(). */
#define VSOCK_MAX_RESETS 1024
#define VSOCK_FULL_RESETS 256

/* "CONNECT 4294967295\n", with some room. */
#define VSOCK_LINE_BYTES 32

/* A path's "_4294967295" and its end must fit, too. */
#define VSOCK_MAX_PATH (UNIX_PATH_MAX_BYTES - 11)

/*
 * How long, in ns: a client for its line, a guest for its answer to a
 * request, a guest for its end of a connection that the host has closed, a
 * host for the next byte of a connection that the guest has closed.
 */
#define VSOCK_LINE_NS 5000000000ULL
#define VSOCK_REQUEST_NS 10000000000ULL
#define VSOCK_CLOSE_NS 10000000000ULL
#define VSOCK_LINGER_NS 60000000000ULL

/* Elements of a packet's data that one system call takes; the rest follows. */
#define VSOCK_MAX_IOV 64

#define VSOCK_HEADER_BYTES sizeof(struct virtio_vsock_hdr)

_Static_assert(sizeof(struct virtio_vsock_hdr) == 44, "5.10.6");
_Static_assert(VSOCK_LARGE_BYTES + VSOCK_MAX_CONNECTIONS *
					   VSOCK_SMALL_BUFFER_BYTES <=
		       VSOCK_TOTAL_BYTES,
	       "each connection's promise counts");
_Static_assert(VSOCK_FULL_RESETS + VSOCK_MAX_CONNECTIONS <= VSOCK_MAX_RESETS,
	       "each connection can be reset once");

struct vsock;

/* A guest's packet: its header, checked, in the host's byte order. */
struct vsock_packet {
	uint32_t guest_port, host_port;
	uint32_t len;
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt;
	const struct iovec *iov; /* of the whole packet, header included */
	unsigned int count;
};

enum vsock_state {
	VSOCK_CLIENT, /* the host's client has yet to say CONNECT */
	VSOCK_REQUESTED, /* the guest has yet to answer */
	VSOCK_ESTABLISHED,
	VSOCK_CLOSING, /* the host is gone, the guest has been told */
	VSOCK_LINGERING, /* the guest is gone, the host has yet to read */
};

struct vsock_connection {
	struct vsock *vsock;
	struct loop_source source; /* the host's socket; edge-triggered */
	enum vsock_state state;
	uint32_t guest_port, host_port; /* from VSOCK_REQUESTED on */
	uint64_t deadline_ns; /* 0: none */
	LIST_ENTRY(vsock_connection) all;
	LIST_ENTRY(vsock_connection) bucket; /* while the guest knows it */
	bool known;
	TAILQ_ENTRY(vsock_connection) ready; /* may have a packet to send */
	bool is_ready;
	uint16_t pending; /* control packets to send: BIT(VIRTIO_VSOCK_OP_*) */

	/* what the socket's events have told */
	bool readable; /* since the last look at how much */
	bool host_done; /* it sends no more */
	bool host_gone; /* nor does it receive */
	bool host_failed;

	/* to the host: free-running counts, modulo 2^32 (5.10.6.3) */
	uint32_t buf_alloc; /* promised to the guest */
	uint32_t rx_cnt; /* taken from the guest */
	uint32_t fwd_cnt; /* given to the host */
	uint32_t fwd_sent; /* fwd_cnt as the guest knows it */
	uint32_t guest_shut; /* VIRTIO_VSOCK_SHUTDOWN_* that it has sent */
	uint8_t *buffer; /* ring of buf_alloc bytes; NULL: empty */
	uint32_t buffer_at, buffer_len;

	/* to the guest */
	uint32_t available; /* bytes that the socket has, at least */
	uint32_t tx_cnt; /* sent to the guest */
	uint32_t peer_buf_alloc, peer_fwd_cnt; /* the guest's */
	bool asked; /* for credit, and it has come to none yet */
	uint32_t host_shut; /* flags of the SHUTDOWN that was or is sent */
};

/* Written by the loop's thread, read by any. */
struct vsock_counters {
	_Atomic uint64_t from_guest, from_host; /* connections */
	_Atomic uint64_t refused; /* that did not come to be */
	_Atomic uint64_t resets; /* that ended so */
	_Atomic uint64_t packets_in, packets_out; /* of the guest, to it */
	_Atomic uint64_t bytes_in, bytes_out;
	_Atomic uint64_t dropped; /* packets with another's source address */
};

/* A reset that answers a packet, or outlives its connection. */
struct vsock_reset {
	uint64_t cid; /* the host's, as the guest addressed it */
	uint32_t guest_port, host_port;
	uint16_t type;
};

LIST_HEAD(vsock_list, vsock_connection);
TAILQ_HEAD(vsock_queue, vsock_connection);

#define VSOCK_BUCKETS 256

struct vsock {
	uint64_t cid; /* the guest's */
	struct loop *loop;
	/* On the loop's thread: vsock_pending() may be true by now. */
	void (*wake)(void *opaque);
	void *opaque;
	struct unix_listener listener;
	struct loop_source accepting;
	struct loop_source timer; /* ticks while something has a deadline */
	bool running;
	bool ticking;
	bool starved; /* of file descriptors, at the last accept() */
	unsigned int nr_connections; /* all of them, clients too */
	unsigned int nr_clients;
	uint64_t large_bytes; /* promised by those with a large buffer */
	uint32_t next_port; /* of those for clients */
	struct vsock_list all;
	struct vsock_list buckets[VSOCK_BUCKETS];
	struct vsock_queue ready;
	struct vsock_reset resets[VSOCK_MAX_RESETS]; /* a ring */
	unsigned int resets_at, nr_resets;
	struct vsock_counters counters;
};

/* ---- for the device ------------------------------------------------------ */

/*
 * Listen on @path for the guest with @cid. Clients are served between
 * vsock_start() and vsock_stop(); until then they wait. Returns 0, or -errno
 * after a message. Any thread; all that follows is called on the loop's.
 */
int vsock_create(uint64_t cid, const char *path, struct loop *loop,
		 void (*wake)(void *opaque), void *opaque, struct vsock **out);
void vsock_destroy(struct vsock *vsock);

void vsock_start(struct vsock *vsock);
void vsock_stop(struct vsock *vsock);

/*
 * The guest has forgotten all connections (its driver reset the device). What
 * it had sent before it closed one still reaches the host. Returns whether
 * any connection was lost.
 */
bool vsock_forget(struct vsock *vsock);

/*
 * Take one packet of the guest, @len bytes in @iov. Not called while
 * vsock_is_full(): then so many answers wait for buffers that the guest must
 * first supply some (5.10.6.1). Returns 0 or -EPROTO: shorter than its header
 * says.
 */
bool vsock_is_full(const struct vsock *vsock);
int vsock_receive(struct vsock *vsock, const struct iovec *iov,
		  unsigned int count, uint64_t len);

/*
 * Is there a packet for the guest? Then vsock_send() writes it to @iov, @room
 * bytes in all and more than a header's, and returns its length.
 */
bool vsock_pending(struct vsock *vsock);
uint32_t vsock_send(struct vsock *vsock, const struct iovec *iov,
		    unsigned int count, uint64_t room);

/* Give counters to @sink, in the name of @who. Any thread. */
void vsock_print_stats(const struct vsock *vsock, const char *who,
		       struct stats_sink *sink);

/* ---- between net/vsock.c and net/vsock-connection.c ---------------------- */

/* @conn may have a packet to send. */
void vsock_ready(struct vsock_connection *conn);
void vsock_not_ready(struct vsock_connection *conn);

/* vsock_connection_expire() comes @ns from now, or up to a second later. */
void vsock_set_deadline(struct vsock_connection *conn, uint64_t ns);

/*
 * The guest knows @conn by its two ports, and no other one by these; or does
 * so no longer.
 */
void vsock_know(struct vsock_connection *conn);
void vsock_unknow(struct vsock_connection *conn);

/* A port of the host's from which nobody is connected to @guest_port. */
uint32_t vsock_free_port(struct vsock *vsock, uint32_t guest_port);

/* Send a reset, when there is a buffer for it. */
void vsock_queue_reset(struct vsock *vsock, const struct vsock_reset *reset);

/* The number of clients or connections has changed: accept, or do not. */
void vsock_update_accepting(struct vsock *vsock);

/*
 * A connection over @fd, which it owns from then on (not after an error), in
 * state @state. Returns 0 or -errno.
 */
int vsock_connection_create(struct vsock *vsock, int fd, enum vsock_state state,
			    struct vsock_connection **out);

/* Close it without a word to the guest. */
void vsock_connection_destroy(struct vsock_connection *conn);

/* Tell the guest, and close it. */
void vsock_connection_reset(struct vsock_connection *conn);

/* The guest has forgotten it. */
void vsock_connection_forget(struct vsock_connection *conn);

/* Its deadline has come. */
void vsock_connection_expire(struct vsock_connection *conn);

/* A packet of the guest's for it. Destroys it at times. */
void vsock_connection_receive(struct vsock_connection *conn,
			      const struct vsock_packet *packet);

/*
 * Has it a packet for the guest? If not, it is not ready any more, or even
 * destroyed. If so, the second function writes one, as vsock_send() does.
 */
bool vsock_connection_pending(struct vsock_connection *conn);
uint32_t vsock_connection_send(struct vsock_connection *conn,
			       const struct iovec *iov, unsigned int count,
			       uint64_t room);

#endif
