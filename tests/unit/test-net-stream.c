/* SPDX-License-Identifier: GPL-2.0 */
/*
 * net/stream.c: frames over a stream socket arrive whole however they are cut;
 * lengths that lie, and an end in the middle, harm nobody; checksums.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/net-stream.h>
#include <lkvm/net.h>
#include <lkvm/util.h>

#define ROOM (NET_HEADER_BYTES + NET_MAX_FRAME)

struct pair {
	struct net_stream stream;
	int peer;
	uint8_t *guest; /* where frames are received: ROOM bytes */
};

static int set_up(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int fds[2];

	assert_non_null(pair);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(net_stream_init(&pair->stream, fds[0]), 0);
	pair->peer = fds[1];
	pair->guest = malloc(ROOM);
	assert_non_null(pair->guest);
	*state = pair;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *pair = *state;

	net_stream_release(&pair->stream);
	if (pair->peer >= 0)
		close(pair->peer);
	free(pair->guest);
	free(pair);
	return 0;
}

/* Bytes that tell one frame from another. */
static void make_frame(uint8_t *frame, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + i / 251 + seed * 31);
}

/* Appends a frame with its length to @to; returns the bytes. */
static size_t put_frame(uint8_t *to, size_t len, unsigned int seed)
{
	uint32_t length = htonl((uint32_t)len);

	memcpy(to, &length, sizeof(length));
	make_frame(to + sizeof(length), len, seed);
	return sizeof(length) + len;
}

/* The guest's buffers: uneven pieces, one of them empty. */
static unsigned int guest_iov(struct pair *pair, struct iovec *iov)
{
	static const size_t pieces[] = { 5, 9, 0, 1, 1500, 4096, 20000 };
	unsigned int count = 0;
	size_t at = 0;

	for (; count < ARRAY_SIZE(pieces); count++) {
		iov[count] = (struct iovec) { pair->guest + at, pieces[count] };
		at += pieces[count];
	}
	iov[count++] = (struct iovec) { pair->guest + at, ROOM - at };
	return count;
}

static ssize_t receive(struct pair *pair)
{
	struct iovec iov[8];
	unsigned int count = guest_iov(pair, iov);

	memset(pair->guest, 0xee, ROOM);
	return net_stream_receive(&pair->stream, iov, count, ROOM);
}

static void assert_frame(struct pair *pair, ssize_t got, size_t len,
			 unsigned int seed)
{
	struct virtio_net_hdr_v1 hdr;
	uint8_t *wanted = malloc(len);

	assert_non_null(wanted);
	make_frame(wanted, len, seed);
	assert_int_equal(got, NET_HEADER_BYTES + len);
	memcpy(&hdr, pair->guest, sizeof(hdr));
	assert_int_equal(hdr.flags, VIRTIO_NET_HDR_F_DATA_VALID);
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	assert_memory_equal(pair->guest + NET_HEADER_BYTES, wanted, len);
	if (NET_HEADER_BYTES + len < ROOM)
		assert_int_equal(pair->guest[NET_HEADER_BYTES + len], 0xee);
	free(wanted);
}

static void feed(struct pair *pair, const void *data, size_t len)
{
	assert_int_equal(write(pair->peer, data, len), len);
}

/* ---- receiving ----------------------------------------------------------- */

/* Three frames, cut in two anywhere: nothing comes before it is whole. */
static void test_every_cut(void **state)
{
	static const size_t sizes[] = { ETH_HLEN, 60, 200 };
	struct pair *pair = *state;
	uint8_t bytes[512];
	size_t total = 0;

	for (unsigned int i = 0; i < 3; i++)
		total += put_frame(bytes + total, sizes[i], i);
	for (size_t cut = 0; cut <= total; cut++) {
		size_t end = 0;
		unsigned int i = 0;

		feed(pair, bytes, cut);
		for (; i < 3 && end + sizeof(uint32_t) + sizes[i] <= cut; i++) {
			assert_frame(pair, receive(pair), sizes[i], i);
			end += sizeof(uint32_t) + sizes[i];
		}
		assert_int_equal(receive(pair), -EAGAIN);
		feed(pair, bytes + cut, total - cut);
		for (; i < 3; i++)
			assert_frame(pair, receive(pair), sizes[i], i);
		assert_int_equal(receive(pair), -EAGAIN);
	}
	assert_false(pair->stream.dead);
}

/* The longest frame, and a short one behind it, cut at various places. */
static void test_long_frames(void **state)
{
	static const size_t sizes[] = { 4000,  8192,  16384,
					20481, 65534, NET_MAX_FRAME };
	struct pair *pair = *state;
	uint8_t *bytes = malloc(2 * ROOM);

	assert_non_null(bytes);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t total = put_frame(bytes, sizes[i], i);

		total += put_frame(bytes + total, 61, 9);
		for (size_t cut = 1; cut < total; cut += cut < 64 ? 1 : 997) {
			feed(pair, bytes, cut);
			if (cut < sizeof(uint32_t) + sizes[i])
				assert_int_equal(receive(pair), -EAGAIN);
			feed(pair, bytes + cut, total - cut);
			assert_frame(pair, receive(pair), sizes[i], i);
			assert_frame(pair, receive(pair), 61, 9);
			assert_int_equal(receive(pair), -EAGAIN);
		}
	}
	free(bytes);
}

/* Many short frames come by few reads, in their order. */
static void test_batch(void **state)
{
	struct pair *pair = *state;
	uint8_t bytes[100 * 64];
	size_t total = 0;

	for (unsigned int i = 0; i < 100; i++)
		total += put_frame(bytes + total, 60, i);
	feed(pair, bytes, total);
	assert_frame(pair, receive(pair), 60, 0);
	/* One read has brought them all. */
	assert_int_equal(pair->stream.in_end, total);
	for (unsigned int i = 1; i < 100; i++)
		assert_frame(pair, receive(pair), 60, i);
	assert_int_equal(receive(pair), -EAGAIN);
}

/* No Ethernet frame, or one for which there is no room: lost, and no more. */
static void test_frames_lost(void **state)
{
	static const size_t runts[] = { 0, 1, ETH_HLEN - 1 };
	struct pair *pair = *state;
	struct iovec small = { pair->guest, NET_HEADER_BYTES + 100 };
	uint8_t bytes[20000];
	size_t total;

	for (unsigned int i = 0; i < ARRAY_SIZE(runts); i++) {
		total = put_frame(bytes, runts[i], 0);
		total += put_frame(bytes + total, 60, i);
		feed(pair, bytes, total);
		assert_int_equal(receive(pair), -EMSGSIZE);
		assert_frame(pair, receive(pair), 60, i);
	}
	total = put_frame(bytes, 101, 0);
	total += put_frame(bytes + total, 10000, 0);
	total += put_frame(bytes + total, 100, 5);
	feed(pair, bytes, total);
	memset(pair->guest, 0xee, ROOM);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(net_stream_receive(&pair->stream, &small, 1,
						    small.iov_len),
				 -EMSGSIZE);
		assert_int_equal(pair->guest[small.iov_len], 0xee);
	}
	assert_frame(pair,
		     net_stream_receive(&pair->stream, &small, 1,
					small.iov_len),
		     100, 5);
}

/* There is no telling where the next frame begins. */
static void test_length_too_long(void **state)
{
	static const uint32_t lengths[] = { NET_MAX_FRAME + 1, 0x1000000,
					    0x80000000, UINT32_MAX };
	struct pair *pair;

	for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint32_t length = htonl(lengths[i]);
		uint8_t good[64 + 60];
		size_t total;

		tear_down(state);
		set_up(state);
		pair = *state;
		total = put_frame(good, 60, 1);
		feed(pair, good, total);
		feed(pair, &length, sizeof(length));
		assert_frame(pair, receive(pair), 60, 1);
		assert_int_equal(receive(pair), -EAGAIN);
		assert_true(pair->stream.dead);
		assert_int_equal(pair->stream.bad_length, lengths[i]);
		feed(pair, good, total);
		assert_int_equal(receive(pair), -EAGAIN);
	}
}

/* The other end goes in the middle of a frame. */
static void test_end_in_frame(void **state)
{
	struct pair *pair = *state;
	uint8_t bytes[8192 + 4];
	size_t total = put_frame(bytes, 8192, 3);

	for (size_t cut = 0; cut < total; cut += cut < 8 ? 1 : 4093) {
		tear_down(state);
		set_up(state);
		pair = *state;
		feed(pair, bytes, cut);
		close(pair->peer);
		pair->peer = -1;
		assert_int_equal(receive(pair), -EAGAIN);
		assert_true(pair->stream.dead);
	}
}

/* A peer that passes a descriptor has its bytes cut there: no harm either. */
static void test_descriptor_in_frame(void **state)
{
	struct pair *pair = *state;
	uint8_t bytes[16384 + 4];
	size_t total = put_frame(bytes, 16384, 3);
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { bytes + 8000, total - 8000 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	ssize_t got;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &pair->peer, sizeof(int));
	feed(pair, bytes, 8000);
	assert_int_equal(sendmsg(pair->peer, &msg, 0), total - 8000);
	got = receive(pair);
	if (got == -EAGAIN)
		assert_true(pair->stream.dead);
	else
		assert_frame(pair, got, 16384, 3);
}

/* ---- sending ------------------------------------------------------------- */

/* @len bytes behind a header, in pieces of @piece. */
static int send_pieces(struct pair *pair, uint8_t *with_header, size_t len,
		       size_t piece)
{
	static struct iovec iov[ROOM];
	unsigned int count = 0;

	for (size_t at = 0; at < len; at += piece)
		iov[count++] = (struct iovec) { with_header + at,
						MIN(piece, len - at) };
	return net_stream_send(&pair->stream, iov, count, len);
}

static void read_exactly(struct pair *pair, uint8_t *to, size_t len)
{
	while (len) {
		ssize_t n = read(pair->peer, to, len);

		assert_true(n > 0);
		to += n;
		len -= (size_t)n;
	}
}

static void test_send_pieces(void **state)
{
	static const size_t pieces[] = { 1, 7, 12, 13, 100, 5000 };
	struct pair *pair = *state;
	uint8_t packet[NET_HEADER_BYTES + 900] = { 0 };
	uint8_t got[904], wanted[904];

	put_frame(wanted, 900, 4);
	make_frame(packet + NET_HEADER_BYTES, 900, 4);
	for (unsigned int i = 0; i < ARRAY_SIZE(pieces); i++) {
		assert_int_equal(send_pieces(pair, packet, sizeof(packet),
					     pieces[i]),
				 0);
		read_exactly(pair, got, sizeof(got));
		assert_memory_equal(got, wanted, sizeof(got));
	}
}

static void test_send_refuses(void **state)
{
	static uint8_t packet[ROOM + 1];
	struct pair *pair = *state;
	uint8_t byte;

	for (size_t len = 1; len < NET_HEADER_BYTES + ETH_HLEN; len++)
		assert_int_equal(send_pieces(pair, packet, len, 5), -EINVAL);
	assert_int_equal(send_pieces(pair, packet, ROOM + 1, 30000), -EINVAL);
	/* More pieces than a system call takes. */
	assert_int_equal(send_pieces(pair, packet, 5000, 1), -EINVAL);
	assert_int_equal(recv(pair->peer, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* A socket that takes a part: the rest follows, and nothing gets between. */
static void test_back_pressure(void **state)
{
	static uint8_t packet[ROOM], got[ROOM + 4], wanted[ROOM + 4];
	struct pair *pair = *state;
	unsigned int sent = 0, seen = 0;
	int small = 1;

	setsockopt(pair->stream.fd, SOL_SOCKET, SO_SNDBUF, &small,
		   sizeof(small));
	while (seen < 200) {
		size_t len = 60 + sent * 977 % 60000;
		int err = 0;

		while (sent < 200 && !err) {
			len = 60 + sent * 977 % 60000;
			make_frame(packet + NET_HEADER_BYTES, len, sent);
			err = send_pieces(pair, packet, NET_HEADER_BYTES + len,
					  3000);
			if (!err)
				sent++;
		}
		assert_true(!err || err == -EAGAIN);
		assert_true(seen < sent);
		len = 60 + seen * 977 % 60000;
		put_frame(wanted, len, seen);
		/* The reader and the rest take turns. */
		for (size_t at = 0; at < len + 4;) {
			ssize_t n = recv(pair->peer, got + at,
					 MIN(len + 4 - at, 1000), MSG_DONTWAIT);

			if (n > 0)
				at += (size_t)n;
			else
				net_stream_flush(&pair->stream);
		}
		assert_memory_equal(got, wanted, len + 4);
		seen++;
	}
	assert_true(net_stream_flush(&pair->stream));
	assert_false(net_stream_unsent(&pair->stream));
}

static void test_send_to_nobody(void **state)
{
	uint8_t packet[NET_HEADER_BYTES + 60] = { 0 };
	struct pair *pair = *state;

	close(pair->peer);
	pair->peer = -1;
	assert_int_equal(send_pieces(pair, packet, sizeof(packet), 100),
			 -EPIPE);
	assert_true(pair->stream.dead);
	assert_int_equal(send_pieces(pair, packet, sizeof(packet), 100),
			 -EPIPE);
	assert_true(net_stream_flush(&pair->stream));
}

/* ---- checksums ----------------------------------------------------------- */

/* RFC 1071, the plain way: of [@start, @len). */
static uint16_t sum_of(const uint8_t *frame, size_t start, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = start; i < len; i += 2)
		sum += (uint32_t)(frame[i] << 8) |
		       (i + 1 < len ? frame[i + 1] : 0);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void send_partial(struct pair *pair, uint8_t *packet, size_t frame,
			 uint16_t start, uint16_t offset, size_t piece,
			 uint8_t *got)
{
	const struct virtio_net_hdr_v1 hdr = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = htole16(start),
		.csum_offset = htole16(offset),
	};

	memcpy(packet, &hdr, sizeof(hdr));
	assert_int_equal(
		send_pieces(pair, packet, NET_HEADER_BYTES + frame, piece), 0);
	read_exactly(pair, got, 4 + frame);
}

/* All is as it was but the checksum, and with it the sum is all ones. */
static void test_checksums(void **state)
{
	static uint8_t packet[ROOM], got[ROOM];
	static const size_t frames[] = { 60, 61, 1514, 9001, 65534 };
	static const size_t pieces[] = { 11, 64, 1000, 4097, ROOM };
	static const uint16_t starts[] = { 34, 35, 54 };
	struct pair *pair = *state;

	for (unsigned int i = 0; i < 5 * 5 * 3; i++) {
		size_t frame = frames[i % 5];
		size_t piece = pieces[i / 5 % 5];
		uint16_t start = starts[i / 25];
		uint16_t offset = start == 54 ? 4 : i % 2 ? 6 : 16;
		uint8_t *sent = packet + NET_HEADER_BYTES;
		size_t at = start + offset;

		if (frame / piece > 1000 || at + 2 > frame)
			continue;
		make_frame(sent, frame, i);
		send_partial(pair, packet, frame, start, offset, piece, got);
		assert_memory_equal(got + 4, sent, at);
		assert_memory_equal(got + 4 + at + 2, sent + at + 2,
				    frame - at - 2);
		/* The field took part in the sum, as the driver left it. */
		got[4 + at] ^= 0xff;
		got[4 + at + 1] ^= 0xff;
		assert_int_equal((got[4 + at] << 8 | got[4 + at + 1]),
				 sum_of(sent, start, frame));
	}
}

/* What sums up to nothing is sent as the other zero. */
static void test_checksum_of_zero(void **state)
{
	uint8_t packet[NET_HEADER_BYTES + 60] = { 0 };
	struct pair *pair = *state;
	uint8_t got[64];

	packet[NET_HEADER_BYTES + 50] = 0xff;
	packet[NET_HEADER_BYTES + 51] = 0xff;
	send_partial(pair, packet, 60, 34, 6, 100, got);
	assert_int_equal(got[4 + 40], 0xff);
	assert_int_equal(got[4 + 41], 0xff);
}

static void test_checksum_refused(void **state)
{
	static const struct {
		uint16_t start, offset;
	} places[] = {
		{ 60, 0 },	    { 59, 0 },	   { 58, 1 },	  { 0, 59 },
		{ 0xffff, 0xffff }, { 0, 0xffff }, { 0xffff, 0 }, { 250, 6 },
	};
	struct pair *pair = *state;
	uint8_t packet[NET_HEADER_BYTES + 300] = { 0 };
	uint8_t byte;

	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		const struct virtio_net_hdr_v1 hdr = {
			.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			.csum_start = htole16(places[i].start),
			.csum_offset = htole16(places[i].offset),
		};
		size_t frame = places[i].start == 250 ? 300 : 60;

		memcpy(packet, &hdr, sizeof(hdr));
		assert_int_equal(send_pieces(pair, packet,
					     NET_HEADER_BYTES + frame, 100),
				 -EINVAL);
	}
	assert_int_equal(recv(pair->peer, &byte, 1, MSG_DONTWAIT), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_cut),
		TEST(test_long_frames),
		TEST(test_batch),
		TEST(test_frames_lost),
		TEST(test_length_too_long),
		TEST(test_end_in_frame),
		TEST(test_descriptor_in_frame),
		TEST(test_send_pieces),
		TEST(test_send_refuses),
		TEST(test_back_pressure),
		TEST(test_send_to_nobody),
		TEST(test_checksums),
		TEST(test_checksum_of_zero),
		TEST(test_checksum_refused),
	};

	return cmocka_run_group_tests_name("net-stream", tests, NULL, NULL);
}
