/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Connections of a socket device as guest and host see them (virtio 1.2,
 * 5.10.6). See vsock.h.
 */
#include <poll.h>
#include <sys/stat.h>

#include "vsock.h"

#define RCV VIRTIO_VSOCK_SHUTDOWN_RCV
#define SEND VIRTIO_VSOCK_SHUTDOWN_SEND

/* ---- who reaches whom ---------------------------------------------------- */

static void config_space_has_the_address(void **state)
{
	struct fixture *f = *state;
	struct virtio_vsock_config config;

	assert_int_equal(f->driver.vdev->ops->id, VIRTIO_ID_VSOCK);
	virtio_device_read_config(f->driver.vdev, 0, &config, sizeof(config));
	assert_int_equal(le64toh(config.guest_cid), CID);
	memset(&config, 0xff, sizeof(config));
	virtio_device_write_config(f->driver.vdev, 0, &config, sizeof(config));
	virtio_device_read_config(f->driver.vdev, 0, &config, sizeof(config));
	assert_int_equal(le64toh(config.guest_cid), CID);
	/* SEQPACKET is not offered. */
	assert_int_equal(virtio_device_get_features(f->driver.vdev, 0) & 7, 1);
}

static void a_guest_reaches_a_listener_of_the_host(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	assert_int_equal(le64toh(f->header.src_cid), VMADDR_CID_HOST);
	assert_int_equal(le32toh(f->header.src_port), HOST_PORT);
	assert_int_equal(le16toh(f->header.type), VIRTIO_VSOCK_TYPE_STREAM);
	assert_int_equal(le32toh(f->header.buf_alloc), VSOCK_BUFFER_BYTES);
	assert_int_equal(le32toh(f->header.fwd_cnt), 0);
	send_data(f, "hello", 5);
	expect_text(fd, "hello");
	assert_int_equal(write(fd, "answer", 6), 6);
	expect_data(f, "answer", 6);
	assert_int_equal(le32toh(f->header.fwd_cnt), 5);
	assert_int_equal(counter(f, "connections-from-guest"), 1);
	assert_int_equal(counter(f, "packets-from-guest"), 2);
	assert_int_equal(counter(f, "packets-to-guest"), 2);
	assert_int_equal(counter(f, "bytes-from-guest"), 5);
	assert_int_equal(counter(f, "bytes-to-guest"), 6);
	close(fd);
}

static void a_guest_is_refused_where_nobody_listens(void **state)
{
	struct fixture *f = *state;
	struct virtio_vsock_hdr request = header_of(f, VIRTIO_VSOCK_OP_REQUEST);

	request.dst_port = htole32(HOST_PORT + 1);
	send_header(f, request);
	expect(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le32toh(f->header.src_port), HOST_PORT + 1);
	assert_int_equal(counter(f, "connections-refused"), 1);
}

static void a_client_of_the_host_reaches_the_guest(void **state)
{
	struct fixture *f = *state;
	/* What follows the line is for the guest. */
	int fd = client_says(f, "CONNECT 1000\nearly");
	struct virtio_vsock_hdr response;
	char line[32];

	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(le32toh(f->header.src_port), 1U << 30);
	expect_nothing(f);
	response = header_of(f, VIRTIO_VSOCK_OP_RESPONSE);
	response.dst_port = htole32(1U << 30);
	send_header(f, response);
	snprintf(line, sizeof(line), "OK %u\n", 1U << 30);
	expect_text(fd, line);
	expect_data(f, "early", 5);
	assert_int_equal(counter(f, "connections-from-host"), 1);
	close(fd);
}

static void a_client_whom_the_guest_refuses_is_closed(void **state)
{
	struct fixture *f = *state;
	int fd = client_says(f, "CONNECT 1000\n");
	struct virtio_vsock_hdr rst = header_of(f, VIRTIO_VSOCK_OP_RST);

	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	rst.dst_port = f->header.src_port;
	send_header(f, rst);
	expect_end(fd);
	assert_int_equal(counter(f, "connections-refused"), 1);
	close(fd);
}

static void a_line_may_come_in_pieces(void **state)
{
	struct fixture *f = *state;
	int fd = client_says(f, "conn");

	usleep(1000);
	assert_int_equal(write(fd, "ect 10", 6), 6);
	usleep(1000);
	assert_int_equal(write(fd, "00\n", 3), 3);
	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	close(fd);
}

static void bad_lines_close_the_socket(void **state)
{
	static const char *const lines[] = {
		"\n",
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT x\n",
		"CONNECT -1\n",
		"CONNECT  1\n",
		"CONNECT 1 2\n",
		"CONNECT 1000\r\n",
		"CONNECT 4294967295\n",
		"CONNECT 99999999999999999999\n",
		"CONNEKT 1000\n",
		"GET / HTTP/1.1\n",
		"CONNECT 1000 and nothing that ends the line",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		int fd = client_says(f, lines[i]);
		char byte;

		/* What was not read makes it a reset. */
		assert_true(read(fd, &byte, 1) <= 0);
		close(fd);
	}
	expect_nothing(f);
}

static void a_client_that_leaves_early_is_forgotten(void **state)
{
	struct fixture *f = *state;
	int fd = client_says(f, "CONNECT");

	shutdown(fd, SHUT_WR);
	assert_int_equal(recv(fd, (char[1]) { 0 }, 1, 0), -1);
	close(fd);
}

static void a_client_must_say_its_line_in_time(void **state)
{
	struct fixture *f = *state;
	int fd = client_says(f, "");
	int other;

	/* Its time runs from when the device has seen it. */
	expect_nothing(f);
	atomic_fetch_add(&clock_seconds, 4);
	other = client_says(f, "");
	expect_nothing(f);
	atomic_fetch_add(&clock_seconds, 2);
	expect_end(fd);
	/* The other one has some seconds left. */
	assert_int_equal(write(other, "CONNECT 1000\n", 13), 13);
	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	close(fd);
	close(other);
}

static void a_guest_must_answer_a_request_in_time(void **state)
{
	struct fixture *f = *state;
	int fd = client_says(f, "CONNECT 1000\n");

	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	atomic_fetch_add(&clock_seconds, 11);
	expect(f, VIRTIO_VSOCK_OP_RST);
	expect_end(fd);
	close(fd);
}

static void only_an_answer_may_follow_a_request(void **state)
{
	static const uint16_t ops[] = {
		VIRTIO_VSOCK_OP_REQUEST,
		VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_OP_RW,
		VIRTIO_VSOCK_OP_CREDIT_UPDATE,
		VIRTIO_VSOCK_OP_CREDIT_REQUEST,
		VIRTIO_VSOCK_OP_INVALID,
		77,
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		int fd = client_says(f, "CONNECT 1000\n");
		struct virtio_vsock_hdr header = header_of(f, ops[i]);

		expect(f, VIRTIO_VSOCK_OP_REQUEST);
		header.dst_port = f->header.src_port;
		send_header(f, header);
		expect(f, VIRTIO_VSOCK_OP_RST);
		expect_end(fd);
		close(fd);
	}
}

static void host_ports_are_not_used_twice(void **state)
{
	struct fixture *f = *state;
	struct virtio_vsock_hdr request = header_of(f, VIRTIO_VSOCK_OP_REQUEST);
	int listener = listen_at(f, 1U << 30);
	char path[160];
	int fd;

	/* The guest has the first one for a connection of its own. */
	request.dst_port = htole32(1U << 30);
	send_header(f, request);
	expect(f, VIRTIO_VSOCK_OP_RESPONSE);
	fd = client_says(f, "CONNECT 1000\n");
	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(le32toh(f->header.src_port), (1U << 30) + 1);
	close(fd);
	close(listener);
	snprintf(path, sizeof(path), "%s_%u", f->path, 1U << 30);
	unlink(path);
}

/* ---- stray packets ------------------------------------------------------- */

static void packets_in_anothers_name_are_dropped(void **state)
{
	struct fixture *f = *state;
	struct virtio_vsock_hdr request = header_of(f, VIRTIO_VSOCK_OP_REQUEST);

	request.src_cid = htole64(CID + 1);
	send_header(f, request);
	request.src_cid = htole64(CID | 1ULL << 32);
	send_header(f, request);
	expect_nothing(f);
	assert_int_equal(counter(f, "packets-dropped"), 2);
	assert_int_equal(counter(f, "connections-from-guest"), 0);
}

static void other_hosts_and_types_are_reset(void **state)
{
	struct fixture *f = *state;
	struct virtio_vsock_hdr request = header_of(f, VIRTIO_VSOCK_OP_REQUEST);

	request.dst_cid = htole64(1ULL << 32 | VMADDR_CID_HOST);
	send_header(f, request);
	expect(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le64toh(f->header.src_cid),
			 1ULL << 32 | VMADDR_CID_HOST);
	request.dst_cid = htole64(VMADDR_CID_HOST);
	/* 5.10.6.4.2 */
	request.type = htole16(VIRTIO_VSOCK_TYPE_SEQPACKET);
	send_header(f, request);
	expect(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le16toh(f->header.type), VIRTIO_VSOCK_TYPE_SEQPACKET);
	request.type = htole16(0x1234);
	send_header(f, request);
	expect(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le16toh(f->header.type), 0x1234);
	assert_int_equal(counter(f, "connections-refused"), 3);
}

static void a_reset_is_never_answered(void **state)
{
	struct fixture *f = *state;
	struct virtio_vsock_hdr rst = header_of(f, VIRTIO_VSOCK_OP_RST);

	send_header(f, rst);
	rst.type = htole16(VIRTIO_VSOCK_TYPE_SEQPACKET);
	send_header(f, rst);
	rst.dst_cid = htole64(CID);
	send_header(f, rst);
	expect_nothing(f);
}

static void packets_without_a_connection_are_reset(void **state)
{
	struct fixture *f = *state;

	for (unsigned int op = 0; op < 10; op++) {
		if (op == VIRTIO_VSOCK_OP_REQUEST || op == VIRTIO_VSOCK_OP_RST)
			continue;
		send_op(f, op);
		expect(f, VIRTIO_VSOCK_OP_RST);
	}
}

static void what_no_connection_allows_resets_it(void **state)
{
	static const uint16_t ops[] = {
		VIRTIO_VSOCK_OP_INVALID,
		VIRTIO_VSOCK_OP_REQUEST,
		VIRTIO_VSOCK_OP_RESPONSE,
		8,
		0xffff,
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		int fd = guest_connects(f);

		send_op(f, ops[i]);
		expect(f, VIRTIO_VSOCK_OP_RST);
		expect_end(fd);
		close(fd);
	}
	assert_int_equal(counter(f, "connections-reset"), ARRAY_SIZE(ops));
}

/* ---- credit of the guest ------------------------------------------------- */

static void more_than_was_promised_is_a_reset(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	fill(f, 0);
	send_data(f, "", 0);
	expect_nothing(f);
	send_data(f, "x", 1);
	expect(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(counter(f, "connections-reset"), 1);
	close(fd);
}

static void room_that_was_not_told_is_none(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[64 * KIB];
	int fd;

	send_op(f, VIRTIO_VSOCK_OP_REQUEST);
	give_buffer(f, 0);
	expect(f, VIRTIO_VSOCK_OP_RESPONSE);
	fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	/* The host takes it all, but the guest has no buffer for the news. */
	for (uint32_t at = 0; at < VSOCK_BUFFER_BYTES; at += sizeof(data)) {
		send_data(f, data, sizeof(data));
		assert_int_equal(recv(fd, data, sizeof(data), MSG_WAITALL),
				 sizeof(data));
	}
	send_data(f, "x", 1);
	give_buffer(f, 0);
	expect(f, VIRTIO_VSOCK_OP_RST);
	close(fd);
}

static void a_slow_host_stops_the_guest(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);
	uint32_t sent = fill(f, 0);

	/* The socket's own buffer has some, the rest is here. */
	assert_true(sent > VSOCK_BUFFER_BYTES);
	expect_fill(fd, 0, sent);
	/* Now there is room again, and the guest hears of it. */
	expect(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(forwarded(f), sent);
	close(fd);
}

static void buffered_data_keeps_its_order(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);
	uint32_t sent = fill(f, 0);
	uint32_t got = 0;

	/* More than the ring has: it wraps. */
	for (; got < 2 * VSOCK_BUFFER_BYTES; got += 100000) {
		expect_fill(fd, got, 100000);
		sent = fill(f, sent);
	}
	expect_fill(fd, got, sent - got);
	close(fd);
}

static void credit_is_told_on_request(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	send_data(f, "four", 4);
	expect_nothing(f);
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	expect(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(le32toh(f->header.fwd_cnt), 4);
	assert_int_equal(le32toh(f->header.buf_alloc), VSOCK_BUFFER_BYTES);
	close(fd);
}

/* ---- credit from the guest ----------------------------------------------- */

static void a_slow_guest_is_not_overrun(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->buf_alloc = 10;
	fd = guest_connects(f);
	assert_int_equal(write(fd, "0123456789abcdefghij", 20), 20);
	expect_data(f, "0123456789", 10);
	/* Asked for once. */
	expect(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	expect_nothing(f);
	f->fwd_cnt = 4;
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	expect_data(f, "abcd", 4);
	expect(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	f->fwd_cnt = 14;
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	expect_data(f, "efghij", 6);
	expect_nothing(f);
	close(fd);
}

static void credit_that_cannot_be_is_not_taken(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->buf_alloc = 10;
	fd = guest_connects(f);
	assert_int_equal(write(fd, "0123456789abcdefghij", 20), 20);
	expect_data(f, "0123456789", 10);
	expect(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	/* More than it was sent, ever. */
	f->fwd_cnt = 11;
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	f->fwd_cnt = 0xffffffff;
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	expect_nothing(f);
	/* An older packet that comes late takes nothing back. */
	f->fwd_cnt = 6;
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	expect_data(f, "abcdef", 6);
	expect(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	f->fwd_cnt = 3;
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	f->buf_alloc = 12;
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	expect_data(f, "gh", 2);
	expect(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	/* The buffer has become smaller than what is in it. */
	f->fwd_cnt = 18;
	f->buf_alloc = 0;
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	expect_nothing(f);
	close(fd);
}

static void data_comes_in_pieces_of_a_buffer(void **state)
{
	struct fixture *f = *state;
	uint8_t data[10000];
	int fd = guest_connects(f);

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i / 3);
	assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	expect_data(f, data, 4096);
	expect_data(f, data + 4096, 4096);
	expect_data(f, data + 8192, 10000 - 8192);
	close(fd);
}

/* ---- ends ---------------------------------------------------------------- */

static void halves_end_on_their_own(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	/* The host's half; the guest goes on. */
	assert_int_equal(write(fd, "last", 4), 4);
	shutdown(fd, SHUT_WR);
	expect_data(f, "last", 4);
	expect_shutdown(f, SEND);
	send_data(f, "still", 5);
	expect_text(fd, "still");
	/* The guest's half. */
	send_shutdown(f, SEND);
	expect_end(fd);
	/* Nothing is left but to say so. */
	expect_shutdown(f, SEND | RCV);
	send_shutdown(f, SEND | RCV);
	expect(f, VIRTIO_VSOCK_OP_RST);
	expect_nothing(f);
	assert_int_equal(counter(f, "connections-reset"), 0);
	close(fd);
}

static void a_guest_that_stops_receiving_ends_that_half(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	send_shutdown(f, RCV);
	/* Own hint: nothing comes from the host any more. */
	expect_shutdown(f, SEND);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	send_data(f, "still", 5);
	expect_text(fd, "still");
	/* The bits of hints add up. */
	send_shutdown(f, SEND);
	expect(f, VIRTIO_VSOCK_OP_RST);
	expect_end(fd);
	close(fd);
}

static void data_after_its_end_is_a_reset(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	send_shutdown(f, SEND);
	expect_end(fd);
	send_data(f, "x", 1);
	expect(f, VIRTIO_VSOCK_OP_RST);
	close(fd);
}

static void a_host_that_closes_waits_for_the_guest(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	assert_int_equal(write(fd, "last", 4), 4);
	close(fd);
	expect_data(f, "last", 4);
	expect_shutdown(f, SEND | RCV);
	/* What was on its way is for nobody. */
	send_data(f, "late", 4);
	expect_nothing(f);
	send_op(f, VIRTIO_VSOCK_OP_RST);
	expect_nothing(f);
	assert_int_equal(counter(f, "connections-reset"), 0);
	/* The ports are free again. */
	close(guest_connects(f));
	expect_shutdown(f, SEND | RCV);
}

static void a_guest_must_end_its_half_in_time(void **state)
{
	struct fixture *f = *state;

	close(guest_connects(f));
	expect_shutdown(f, SEND | RCV);
	atomic_fetch_add(&clock_seconds, 11);
	expect(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(counter(f, "connections-reset"), 1);
}

static void a_host_that_closes_with_data_unread_resets(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	send_data(f, "unread", 6);
	close(fd);
	expect(f, VIRTIO_VSOCK_OP_RST);
	expect_nothing(f);
}

static void a_host_that_only_writes_tells_so(void **state)
{
	static const uint8_t zeroes[64 * KIB];
	struct fixture *f = *state;
	int fd = guest_connects(f);

	shutdown(fd, SHUT_RD);
	send_data(f, "x", 1);
	expect_shutdown(f, RCV);
	/* The guest's stream goes on, into nothing, as its credit allows. */
	for (unsigned int i = 1; i <= 9; i++) {
		send_data(f, zeroes, sizeof(zeroes));
		if (i % 3)
			continue;
		expect(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		assert_int_equal(le32toh(f->header.fwd_cnt), 1 + i * 64 * KIB);
	}
	assert_int_equal(write(fd, "y", 1), 1);
	expect_data(f, "y", 1);
	close(fd);
	expect_shutdown(f, SEND | RCV);
}

/* What a guest has sent before it closed reaches a host that is slow. */
static void data_outlives(struct fixture *f, void (*end)(struct fixture *f))
{
	int fd = guest_connects(f);
	uint32_t sent = fill(f, 0);

	end(f);
	expect_fill(fd, 0, sent);
	expect_end(fd);
	close(fd);
}

static void end_at_once(struct fixture *f)
{
	send_shutdown(f, SEND | RCV);
	expect(f, VIRTIO_VSOCK_OP_RST);
}

static void end_by_reset(struct fixture *f)
{
	send_shutdown(f, SEND);
	send_op(f, VIRTIO_VSOCK_OP_RST);
}

static void end_of_driver(struct fixture *f)
{
	send_shutdown(f, SEND);
	virtio_device_set_status(f->driver.vdev, 0);
}

static void data_outlives_a_clean_end(void **state)
{
	data_outlives(*state, end_at_once);
}

static void data_outlives_a_reset_after_the_end(void **state)
{
	data_outlives(*state, end_by_reset);
}

static void data_outlives_the_driver(void **state)
{
	data_outlives(*state, end_of_driver);
}

static void a_host_must_read_what_is_left_in_time(void **state)
{
	struct fixture *f = *state;
	struct pollfd pollfd = { .fd = guest_connects(f) };

	fill(f, 0);
	send_shutdown(f, SEND | RCV);
	expect(f, VIRTIO_VSOCK_OP_RST);
	atomic_fetch_add(&clock_seconds, 61);
	assert_int_equal(poll(&pollfd, 1, -1), 1);
	assert_true(pollfd.revents & POLLHUP);
	close(pollfd.fd);
}

static void a_plain_reset_drops_all(void **state)
{
	struct fixture *f = *state;
	struct pollfd pollfd = { .fd = guest_connects(f) };

	fill(f, 0);
	send_op(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(poll(&pollfd, 1, -1), 1);
	assert_true(pollfd.revents & POLLHUP);
	assert_int_equal(counter(f, "connections-reset"), 1);
	close(pollfd.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VSOCK_TEST(config_space_has_the_address),
		VSOCK_TEST(a_guest_reaches_a_listener_of_the_host),
		VSOCK_TEST(a_guest_is_refused_where_nobody_listens),
		VSOCK_TEST(a_client_of_the_host_reaches_the_guest),
		VSOCK_TEST(a_client_whom_the_guest_refuses_is_closed),
		VSOCK_TEST(a_line_may_come_in_pieces),
		VSOCK_TEST(bad_lines_close_the_socket),
		VSOCK_TEST(a_client_that_leaves_early_is_forgotten),
		VSOCK_TEST(a_client_must_say_its_line_in_time),
		VSOCK_TEST(a_guest_must_answer_a_request_in_time),
		VSOCK_TEST(only_an_answer_may_follow_a_request),
		VSOCK_TEST(host_ports_are_not_used_twice),
		VSOCK_TEST(packets_in_anothers_name_are_dropped),
		VSOCK_TEST(other_hosts_and_types_are_reset),
		VSOCK_TEST(a_reset_is_never_answered),
		VSOCK_TEST(packets_without_a_connection_are_reset),
		VSOCK_TEST(what_no_connection_allows_resets_it),
		VSOCK_TEST(more_than_was_promised_is_a_reset),
		MUTE_TEST(room_that_was_not_told_is_none),
		VSOCK_TEST(a_slow_host_stops_the_guest),
		VSOCK_TEST(buffered_data_keeps_its_order),
		VSOCK_TEST(credit_is_told_on_request),
		VSOCK_TEST(a_slow_guest_is_not_overrun),
		VSOCK_TEST(credit_that_cannot_be_is_not_taken),
		VSOCK_TEST(data_comes_in_pieces_of_a_buffer),
		VSOCK_TEST(halves_end_on_their_own),
		VSOCK_TEST(a_guest_that_stops_receiving_ends_that_half),
		VSOCK_TEST(data_after_its_end_is_a_reset),
		VSOCK_TEST(a_host_that_closes_waits_for_the_guest),
		VSOCK_TEST(a_guest_must_end_its_half_in_time),
		VSOCK_TEST(a_host_that_closes_with_data_unread_resets),
		VSOCK_TEST(a_host_that_only_writes_tells_so),
		VSOCK_TEST(data_outlives_a_clean_end),
		VSOCK_TEST(data_outlives_a_reset_after_the_end),
		VSOCK_TEST(data_outlives_the_driver),
		VSOCK_TEST(a_host_must_read_what_is_left_in_time),
		VSOCK_TEST(a_plain_reset_drops_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
