/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Frames over a stream socket, as passt (and QEMU's stream backend) have them:
 * each with its length in front, 32 bits in network order.
 *
 * Who is at the other end is not trusted: lengths are checked, and what cannot
 * be made sense of ends the stream. One thread at a time.
 */
#ifndef LKVM_NET_STREAM_H
#define LKVM_NET_STREAM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct net_stream {
	int fd;
	bool dead; /* nothing comes or goes any more */
	uint32_t bad_length; /* that ended it, or 0 */
	/* What was read and not yet taken: [in_at, in_end) of in. */
	uint8_t *in;
	size_t in_at, in_end;
	/* The end of a frame that was sent in part. */
	uint8_t *out;
	size_t out_at, out_end;
	struct iovec iov[IOV_MAX]; /* of one system call */
};

/*
 * @fd is a connected stream socket, and @stream's from now on. Returns 0 or
 * -ENOMEM.
 */
int net_stream_init(struct net_stream *stream, int fd);

/* Closes the socket. Also for one that is zeroed, with an fd of -1. */
void net_stream_release(struct net_stream *stream);

/*
 * Send one frame with its virtio_net_hdr_v1, @len bytes in all; a checksum
 * that the header asks for is filled in. Never blocks. Returns as
 * net_backend_ops.send: -EAGAIN until net_stream_flush() is true, -EPIPE when
 * the stream is dead, -EINVAL for what is no frame.
 */
int net_stream_send(struct net_stream *stream, const struct iovec *iov,
		    unsigned int count, size_t len);

/* Send what is left of an earlier frame; true: nothing is left. */
bool net_stream_flush(struct net_stream *stream);

/* Is something left that net_stream_flush() has to send? */
static inline bool net_stream_unsent(const struct net_stream *stream)
{
	return stream->out_at < stream->out_end && !stream->dead;
}

/*
 * Take the next frame, with a virtio_net_hdr_v1, into @iov, @room bytes in
 * all. Never blocks. Returns as net_backend_ops.receive; -EAGAIN also when the
 * stream is dead.
 */
ssize_t net_stream_receive(struct net_stream *stream, const struct iovec *iov,
			   unsigned int count, size_t room);

#endif
