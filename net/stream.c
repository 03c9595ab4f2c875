/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Frames over a stream socket: see net-stream.h.
 *
 * Short frames are read many at a time, and copied once. The most of a long
 * one is read straight to where it is wanted, together with the beginning of
 * the next.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <lkvm/net-stream.h>
#include <lkvm/net.h>
#include <lkvm/util.h>
#include <unistd.h>

#define LENGTH_BYTES sizeof(uint32_t)

/* Read in advance of the frame that is wanted. */
#define READ_AHEAD (16 * KIB)

/* What saves a copy, and is worth a system call. */
#define DIRECT_MIN 4096

#define OUT_BYTES (LENGTH_BYTES + NET_MAX_FRAME)
#define IN_BYTES (OUT_BYTES + READ_AHEAD)

/* Headers up to a checksum: Ethernet, IPv6 with extensions, TCP. */
#define CHECKSUM_REACH 256

int net_stream_init(struct net_stream *stream, int fd)
{
	*stream = (struct net_stream) { .fd = fd };
	stream->in = malloc(IN_BYTES);
	stream->out = malloc(OUT_BYTES);
	return stream->in && stream->out ? 0 : -ENOMEM;
}

void net_stream_release(struct net_stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	free(stream->in);
	free(stream->out);
}

/* ---- checksums (RFC 1071) ------------------------------------------------ */

struct checksum {
	uint64_t sum;
	bool odd; /* an odd number of bytes came before */
};

/* At most 64 KiB, or the sum overflows. */
static void checksum_add(struct checksum *checksum, const uint8_t *data,
			 size_t len)
{
	bool odd = len & 1;
	uint64_t sum = 0;
	uint64_t word;

	for (; len >= sizeof(word); len -= sizeof(word), data += sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		sum += (word & UINT32_MAX) + (word >> 32);
	}
	word = 0;
	memcpy(&word, data, len);
	sum += (word & UINT32_MAX) + (word >> 32);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	checksum->sum += checksum->odd ? __builtin_bswap16((uint16_t)sum) : sum;
	checksum->odd ^= odd;
}

static uint16_t checksum_end(const struct checksum *checksum)
{
	uint64_t sum = checksum->sum;

	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	/* The other form of zero: UDP takes this one for "no checksum". */
	return sum == 0xffff ? 0xffff : (uint16_t)~sum;
}

/*
 * virtio 1.2, 5.1.6.2: the frame behind @iov's header has a checksum of what
 * follows csum_start yet to be put at csum_offset. Copies the frame up to the
 * checksum to @head, with the checksum; returns the length of that, or
 * -EINVAL.
 */
static ssize_t fill_checksum(const struct virtio_net_hdr_v1 *hdr,
			     const struct iovec *iov, unsigned int count,
			     size_t frame, uint8_t *head)
{
	size_t start = le16toh((uint16_t)hdr->csum_start);
	size_t at = start + le16toh((uint16_t)hdr->csum_offset);
	size_t end = at + sizeof(uint16_t);
	struct checksum checksum = { 0 };
	size_t skip = NET_HEADER_BYTES + end;
	uint16_t result;

	if (end > frame || end > CHECKSUM_REACH)
		return -EINVAL;
	iov_to_buf(iov, count, NET_HEADER_BYTES, head, end);
	checksum_add(&checksum, head + start, end - start);
	for (unsigned int i = 0; i < count; i++) {
		size_t n = iov[i].iov_len;

		if (skip < n)
			checksum_add(&checksum,
				     (uint8_t *)iov[i].iov_base + skip,
				     n - skip);
		skip -= MIN(skip, n);
	}
	result = checksum_end(&checksum);
	memcpy(head + at, &result, sizeof(result));
	return (ssize_t)end;
}

/* ---- sending ------------------------------------------------------------- */

/* Returns the bytes that went, or -EAGAIN, or -EPIPE and the end has come. */
static ssize_t put(struct net_stream *stream, struct iovec *iov,
		   unsigned int count)
{
	const struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };
	ssize_t n;

	do {
		n = sendmsg(stream->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == ENOBUFS)
		return -EAGAIN;
	stream->dead = true;
	return -EPIPE;
}

bool net_stream_flush(struct net_stream *stream)
{
	while (net_stream_unsent(stream)) {
		struct iovec rest = {
			.iov_base = stream->out + stream->out_at,
			.iov_len = stream->out_end - stream->out_at,
		};
		ssize_t n = put(stream, &rest, 1);

		if (n == -EAGAIN)
			return false;
		if (n > 0)
			stream->out_at += (size_t)n;
	}
	return true;
}

/* The socket took @sent bytes of @iov: the rest is ours to send. */
static void keep_rest(struct net_stream *stream, unsigned int count,
		      size_t sent)
{
	size_t rest = iov_length(stream->iov, count) - sent;

	iov_to_buf(stream->iov, count, sent, stream->out, rest);
	stream->out_at = 0;
	stream->out_end = rest;
}

int net_stream_send(struct net_stream *stream, const struct iovec *iov,
		    unsigned int count, size_t len)
{
	size_t frame = len - MIN(len, NET_HEADER_BYTES);
	struct virtio_net_hdr_v1 hdr;
	uint8_t head[CHECKSUM_REACH];
	ssize_t head_len = 0;
	unsigned int rest;
	uint32_t length;
	ssize_t n;

	if (stream->dead)
		return -EPIPE;
	if (!net_stream_flush(stream))
		return -EAGAIN;
	if (frame < ETH_HLEN || frame > NET_MAX_FRAME)
		return -EINVAL;
	iov_to_buf(iov, count, 0, &hdr, sizeof(hdr));
	if (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		head_len = fill_checksum(&hdr, iov, count, frame, head);
	if (head_len < 0)
		return -EINVAL;

	length = htobe32((uint32_t)frame);
	stream->iov[0] = (struct iovec) { &length, sizeof(length) };
	stream->iov[1] = (struct iovec) { head, (size_t)head_len };
	rest = iov_slice(&stream->iov[2], IOV_MAX - 2, iov, count,
		     NET_HEADER_BYTES + (size_t)head_len,
		     frame - (size_t)head_len);
	if (!rest && frame > (size_t)head_len)
		return -EINVAL;
	n = put(stream, stream->iov, rest + 2);
	if (n < 0)
		return (int)n;
	keep_rest(stream, rest + 2, (size_t)n);
	return 0;
}

/* ---- receiving ----------------------------------------------------------- */

/* Read up to @max more bytes into the buffer. Returns 0 or -EAGAIN. */
static int fill(struct net_stream *stream, size_t max)
{
	size_t have = stream->in_end - stream->in_at;
	ssize_t n;

	memmove(stream->in, stream->in + stream->in_at, have);
	stream->in_at = 0;
	stream->in_end = have;
	do {
		n = recv(stream->fd, stream->in + have,
			 MIN(max, IN_BYTES - have), MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		stream->in_end += (size_t)n;
		return 0;
	}
	if (!n || errno != EAGAIN)
		stream->dead = true;
	return -EAGAIN;
}

/*
 * The frame of @len bytes has begun in the buffer, and its last @missing bytes
 * wait in the socket: read these to their place in @iov, and then what follows
 * into the buffer. False: that cannot be, or would not pay.
 */
static bool read_direct(struct net_stream *stream, const struct iovec *iov,
			unsigned int count, size_t len, size_t missing)
{
	size_t begun = len - missing;
	unsigned int parts;
	struct msghdr msg;
	int waiting;
	ssize_t n;

	if (missing < DIRECT_MIN || ioctl(stream->fd, FIONREAD, &waiting) ||
	    waiting < 0 || (size_t)waiting < missing)
		return false;
	parts = iov_slice(stream->iov, IOV_MAX - 1, iov, count,
		      NET_HEADER_BYTES + begun, missing);
	if (!parts)
		return false;
	iov_from_buf(iov, count, NET_HEADER_BYTES,
		     stream->in + stream->in_at + LENGTH_BYTES, begun);
	stream->in_at = 0;
	stream->in_end = 0;
	stream->iov[parts] = (struct iovec) { stream->in, READ_AHEAD };
	msg = (struct msghdr) { .msg_iov = stream->iov,
				.msg_iovlen = parts + 1 };
	do {
		n = recvmsg(stream->fd, &msg, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 || (size_t)n < missing)
		stream->dead = true; /* it was there a moment ago */
	else
		stream->in_end = (size_t)n - missing;
	return true;
}

/* A frame of @len bytes is in the buffer: hand it over. */
static void take_buffered(struct net_stream *stream, const struct iovec *iov,
			  unsigned int count, size_t len)
{
	iov_from_buf(iov, count, NET_HEADER_BYTES,
		     stream->in + stream->in_at + LENGTH_BYTES, len);
	stream->in_at += LENGTH_BYTES + len;
}

static ssize_t received(const struct iovec *iov, unsigned int count, size_t len)
{
	/* It never left this machine's memory: no need to look again. */
	const struct virtio_net_hdr_v1 hdr = {
		.flags = VIRTIO_NET_HDR_F_DATA_VALID,
	};

	iov_from_buf(iov, count, 0, &hdr, sizeof(hdr));
	return (ssize_t)(NET_HEADER_BYTES + len);
}

/* The length that the next frame has, @have bytes being in the buffer. */
static bool next_length(struct net_stream *stream, size_t have, uint32_t *len)
{
	if (have < LENGTH_BYTES)
		return false;
	memcpy(len, stream->in + stream->in_at, LENGTH_BYTES);
	*len = be32toh(*len);
	if (*len <= NET_MAX_FRAME)
		return true;
	/* Where would the next one begin? */
	stream->bad_length = *len;
	stream->dead = true;
	return false;
}

ssize_t net_stream_receive(struct net_stream *stream, const struct iovec *iov,
			   unsigned int count, size_t room)
{
	while (!stream->dead) {
		size_t have = stream->in_end - stream->in_at;
		bool fits;
		uint32_t len;

		if (!next_length(stream, have, &len)) {
			if (stream->dead || fill(stream, READ_AHEAD))
				break;
			continue;
		}
		fits = len >= ETH_HLEN && NET_HEADER_BYTES + len <= room;
		if (have < LENGTH_BYTES + len) {
			size_t missing = LENGTH_BYTES + len - have;

			if (fits &&
			    read_direct(stream, iov, count, len, missing)) {
				if (stream->dead)
					break;
				return received(iov, count, len);
			}
			if (fill(stream, missing + READ_AHEAD))
				break;
			continue;
		}
		if (!fits) {
			stream->in_at += LENGTH_BYTES + len;
			return -EMSGSIZE;
		}
		take_buffered(stream, iov, count, len);
		return received(iov, count, len);
	}
	return -EAGAIN;
}
