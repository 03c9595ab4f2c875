/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A socket device's queues, limits, resets and files (virtio 1.2, 5.10). See
 * vsock.h.
 */
#include <sys/stat.h>

#include "vsock.h"

/* ---- framing ------------------------------------------------------------- */

/* A packet of @op in pieces of @piece bytes, and the data "hello". */
static void send_pieces(struct fixture *f, unsigned int op, uint32_t piece)
{
	struct virtio_vsock_hdr header = header_of(f, op);
	uint32_t len = HEADER + 5;
	uint16_t n = 0;

	header.len = htole32(5);
	memcpy(f->driver.ram + TX_BUFFER, &header, HEADER);
	memcpy(f->driver.ram + TX_BUFFER + HEADER, "hello and more", 14);
	for (uint32_t at = 0; at < len; at += piece, n++)
		set(f, TX, n, TX_BUFFER + at, MIN(piece, len - at),
		    at + piece < len ? NEXT : 0, n + 1U);
	offer(f, TX, 0);
	wait_used(f, TX);
}

static void packets_may_come_in_any_pieces(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	for (uint32_t piece = 1; piece < HEADER + 5; piece++) {
		send_pieces(f, VIRTIO_VSOCK_OP_RW, piece);
		expect_text(fd, "hello");
	}
	close(fd);
}

static void a_buffer_longer_than_its_packet_is_cut(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);
	struct virtio_vsock_hdr header = header_of(f, VIRTIO_VSOCK_OP_RW);

	/* 5.10.6 */
	header.len = htole32(5);
	memcpy(f->driver.ram + TX_BUFFER, &header, HEADER);
	memcpy(f->driver.ram + TX_BUFFER + HEADER, "hello and more", 14);
	set(f, TX, 0, TX_BUFFER, HEADER + 14, 0, 0);
	offer(f, TX, 0);
	wait_used(f, TX);
	expect_text(fd, "hello");
	send_data(f, "!", 1);
	expect_text(fd, "!");
	close(fd);
}

static void data_may_fill_several_buffers_of_a_chain(void **state)
{
	struct fixture *f = *state;
	uint32_t pieces[] = { 20, 30, 3, 1, 100 };
	uint64_t at = RX_BUFFER(0);
	int fd;

	/* The answer to the request comes in pieces, too. */
	for (unsigned int chain = 0; chain < 2; chain++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(pieces); i++) {
			unsigned int n = chain * 8 + i;
			bool last = i + 1 == ARRAY_SIZE(pieces);

			set(f, RX, n, at, pieces[i], WRITE | (last ? 0 : NEXT),
			    n + 1);
			/* Not one behind the other. */
			at += pieces[i] + 50;
		}
		offer(f, RX, (uint16_t)(chain * 8));
	}
	send_op(f, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(wait_used(f, RX), HEADER);
	fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(write(fd, "0123456789abcdef", 16), 16);
	assert_int_equal(wait_used(f, RX), HEADER + 16);
	at = RX_BUFFER(0) + 154 + 5 * 50;
	/* 44 bytes of header, then 6, 3, 1 and 6 of data. */
	assert_memory_equal(f->driver.ram + at + 70 + 24, "012345", 6);
	assert_memory_equal(f->driver.ram + at + 150, "678", 3);
	assert_memory_equal(f->driver.ram + at + 203, "9", 1);
	assert_memory_equal(f->driver.ram + at + 254, "abcdef", 6);
	close(fd);
}

static void a_packet_shorter_than_a_header_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	set(f, TX, 0, TX_BUFFER, HEADER - 1, 0, 0);
	offer(f, TX, 0);
	wait_broken(f);
}

static void a_packet_shorter_than_it_says_breaks_the_queue(void **state)
{
	struct fixture *f = *state;
	struct virtio_vsock_hdr header = header_of(f, VIRTIO_VSOCK_OP_RW);

	header.len = htole32(11);
	memcpy(f->driver.ram + TX_BUFFER, &header, HEADER);
	set(f, TX, 0, TX_BUFFER, HEADER + 10, 0, 0);
	offer(f, TX, 0);
	wait_broken(f);
}

static void a_writable_packet_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	set(f, TX, 0, TX_BUFFER, HEADER, NEXT, 1);
	set(f, TX, 1, TX_BUFFER, HEADER, WRITE, 0);
	offer(f, TX, 0);
	wait_broken(f);
}

static void a_buffer_without_room_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	set(f, RX, 0, RX_BUFFER(0), HEADER, WRITE, 0);
	offer(f, RX, 0);
	send_op(f, VIRTIO_VSOCK_OP_RW);
	wait_broken(f);
}

static void a_readable_buffer_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	set(f, RX, 0, RX_BUFFER(0), HEADER, NEXT, 1);
	set(f, RX, 1, RX_BUFFER(1), RX_BYTES, WRITE, 0);
	offer(f, RX, 0);
	send_op(f, VIRTIO_VSOCK_OP_RW);
	wait_broken(f);
}

/* ---- limits -------------------------------------------------------------- */

/* The guest's ports from 10000 on: how many connections came to be? */
static unsigned int connect_all(struct fixture *f, unsigned int count,
				uint32_t *large)
{
	unsigned int answered = 0;

	for (unsigned int i = 0; i < count; i++) {
		f->guest_port = 10000 + i;
		send_op(f, VIRTIO_VSOCK_OP_REQUEST);
		if (receive(f) != VIRTIO_VSOCK_OP_RESPONSE)
			continue;
		answered++;
		*large += le32toh(f->header.buf_alloc) == VSOCK_BUFFER_BYTES;
	}
	return answered;
}

static void connections_and_promises_are_limited(void **state)
{
	struct fixture *f = *state;
	uint32_t large = 0;
	char end;
	int fd;

	assert_int_equal(connect_all(f, VSOCK_MAX_CONNECTIONS + 3, &large),
			 VSOCK_MAX_CONNECTIONS);
	assert_int_equal(counter(f, "connections-refused"), 3);
	assert_int_equal(large, VSOCK_LARGE_BYTES / VSOCK_BUFFER_BYTES);
	/* A client waits until there is room. */
	fd = client_says(f, "CONNECT 5\n");
	assert_int_equal(recv(fd, &end, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	f->guest_port = 10000;
	send_op(f, VIRTIO_VSOCK_OP_RST);
	f->guest_port = 5;
	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	close(fd);
	/* What was promised to those that are gone is free again. */
	virtio_device_set_status(f->driver.vdev, 0);
	run(f);
	large = 0;
	assert_int_equal(connect_all(f, 10, &large), 10);
	assert_int_equal(large, 10);
}

static void clients_without_a_line_are_limited(void **state)
{
	struct fixture *f = *state;
	int fds[VSOCK_MAX_CLIENTS];
	int fd;

	for (unsigned int i = 0; i < VSOCK_MAX_CLIENTS; i++)
		fds[i] = client_says(f, "");
	fd = client_says(f, "CONNECT 1000\n");
	expect_nothing(f);
	/* One of them leaves. */
	close(fds[3]);
	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	for (unsigned int i = 0; i < VSOCK_MAX_CLIENTS; i++)
		if (i != 3)
			close(fds[i]);
	close(fd);
}

static void packets_wait_while_their_answers_do(void **state)
{
	struct fixture *f = *state;
	int fd;

	/* As many answers wait for buffers as there may be. */
	for (unsigned int i = 0; i < VSOCK_FULL_RESETS; i++) {
		f->guest_port = 10000 + i;
		send_op(f, VIRTIO_VSOCK_OP_RW);
	}
	f->guest_port = 10000 + VSOCK_FULL_RESETS;
	post(f, header_of(f, VIRTIO_VSOCK_OP_RW), NULL, 0);
	/* Clients of the host wait, too. */
	fd = client_says(f, "CONNECT 1000\n");
	usleep(2000);
	assert_true(none_used(f, TX));
	assert_int_equal(counter(f, "connections-from-host"), 0);
	/* All come, in their order, once the guest has buffers. */
	f->no_buffers = false;
	for (uint16_t i = 0; i < 8; i++)
		give_buffer(f, i);
	for (unsigned int i = 0; i <= VSOCK_FULL_RESETS; i++) {
		f->guest_port = 10000 + i;
		expect(f, VIRTIO_VSOCK_OP_RST);
	}
	wait_used(f, TX);
	f->guest_port = GUEST_PORT;
	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	expect_nothing(f);
	close(fd);
}

static void data_stays_with_the_host_until_there_is_a_buffer(void **state)
{
	struct fixture *f = *state;
	int fd;

	send_op(f, VIRTIO_VSOCK_OP_REQUEST);
	fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(write(fd, "hello", 5), 5);
	give_buffer(f, 0);
	expect(f, VIRTIO_VSOCK_OP_RESPONSE);
	give_buffer(f, 1);
	expect_data(f, "hello", 5);
	close(fd);
}

static void connections_take_turns(void **state)
{
	struct fixture *f = *state;
	const struct virtio_vsock_hdr *header =
		(const struct virtio_vsock_hdr *)(f->driver.ram + RX_BUFFER(0));
	uint8_t data[8192] = { 0 };
	uint32_t ports[4];
	int fds[2];

	for (unsigned int i = 0; i < 2; i++) {
		f->guest_port = 10000 + i;
		send_op(f, VIRTIO_VSOCK_OP_REQUEST);
		give_buffer(f, 0);
		expect(f, VIRTIO_VSOCK_OP_RESPONSE);
		fds[i] = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	}
	/* Two packets each. */
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(write(fds[i], data, sizeof(data)),
				 sizeof(data));
	/* When this is taken, the device has seen both. */
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	for (unsigned int i = 0; i < 4; i++) {
		give_buffer(f, 0);
		wait_used(f, RX);
		ports[i] = le32toh(header->dst_port);
	}
	assert_int_not_equal(ports[0], ports[1]);
	assert_int_equal(ports[0], ports[2]);
	assert_int_equal(ports[1], ports[3]);
	close(fds[0]);
	close(fds[1]);
}

/* ---- resets -------------------------------------------------------------- */

static uint32_t give_event_buffer(struct fixture *f)
{
	memset(f->driver.ram + EVENT_BUFFER, 0xff, 4);
	set(f, EVENT, 0, EVENT_BUFFER, 4, WRITE, 0);
	offer(f, EVENT, 0);
	return wait_used(f, EVENT);
}

static void a_reset_closes_connections_and_tells(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);
	int client = client_says(f, "CONNECT 1000\n");
	char byte;

	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	virtio_device_set_status(f->driver.vdev, 0);
	expect_end(fd);
	expect_end(client);
	close(fd);
	close(client);
	/* Who comes meanwhile waits. */
	client = client_says(f, "CONNECT 1000\n");
	run(f);
	expect(f, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(give_event_buffer(f), 4);
	assert_int_equal(f->driver.ram[EVENT_BUFFER],
			 VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), -1);
	close(client);
}

static void without_connections_there_is_no_event(void **state)
{
	struct fixture *f = *state;

	virtio_device_set_status(f->driver.vdev, 0);
	run(f);
	set(f, EVENT, 0, EVENT_BUFFER, 4, WRITE, 0);
	offer(f, EVENT, 0);
	close(guest_connects(f));
	expect(f, VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(driver_used_idx(&f->driver, EVENT), 0);
	assert_false(virtio_device_get_status(f->driver.vdev) &
		     VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void a_bad_event_buffer_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	close(guest_connects(f));
	virtio_device_set_status(f->driver.vdev, 0);
	run(f);
	set(f, EVENT, 0, EVENT_BUFFER, 3, WRITE, 0);
	offer(f, EVENT, 0);
	wait_broken(f);
}

static void a_machine_reset_closes_connections(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	virtio_vsock_type.quiesce(f->device);
	virtio_vsock_type.reset(f->device);
	virtio_vsock_type.resume(f->device);
	expect_end(fd);
	close(fd);
	run(f);
	close(guest_connects(f));
}

static void nothing_moves_while_quiesced(void **state)
{
	struct fixture *f = *state;
	int fd = guest_connects(f);

	virtio_vsock_type.quiesce(f->device);
	assert_int_equal(write(fd, "hello", 5), 5);
	post(f, header_of(f, VIRTIO_VSOCK_OP_RW), "abc", 3);
	usleep(2000);
	assert_true(none_used(f, RX));
	assert_true(none_used(f, TX));
	virtio_vsock_type.resume(f->device);
	expect_data(f, "hello", 5);
	expect_text(fd, "abc");
	close(fd);
}

/* ---- files --------------------------------------------------------------- */

static void the_socket_is_its_owners_and_vanishes(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	virtio_vsock_type.destroy(f->device);
	f->device = NULL;
	assert_int_equal(stat(f->path, &st), -1);
}

static void anothers_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	/* It has come in the place of the device's. */
	unlink(f->path);
	close(open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	virtio_vsock_type.destroy(f->device);
	f->device = NULL;
	assert_int_equal(stat(f->path, &st), 0);
	unlink(f->path);
}

static void only_a_stale_socket_is_replaced(void **state)
{
	struct fixture *f = *state;
	char path[160];

	/* Somebody listens there. */
	snprintf(path, sizeof(path), "%s_%u", f->path, HOST_PORT);
	assert_int_equal(try_create(f, path), -EADDRINUSE);
	close(f->listener);
	assert_int_equal(try_create(f, path), 0);
	virtio_vsock_type.destroy(f->device);
	f->device = NULL;
	f->listener = listen_at(f, HOST_PORT);
}

static void what_is_no_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	close(open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(try_create(f, f->path), -EEXIST);
	assert_int_equal(stat(f->path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	unlink(f->path);
	assert_int_equal(try_create(f, "/nowhere/v"), -ENOENT);
}

static void names_leave_room_for_ports(void **state)
{
	struct fixture *f = *state;
	struct virtio_vsock_hdr request = header_of(f, VIRTIO_VSOCK_OP_REQUEST);
	char short_path[sizeof(f->path)];
	char path[160];
	int listener;

	strcpy(short_path, f->path);
	memset(path, 'x', sizeof(path));
	memcpy(path, f->dir, strlen(f->dir));
	path[strlen(f->dir)] = '/';
	path[VSOCK_MAX_PATH + 1] = '\0';
	assert_int_equal(try_create(f, path), -ENAMETOOLONG);
	path[VSOCK_MAX_PATH] = '\0';
	assert_int_equal(try_create(f, path), 0);
	/* The longest port's, too. */
	run(f);
	strcpy(f->path, path);
	request.dst_port = htole32(UINT32_MAX);
	listener = listen_at(f, UINT32_MAX);
	send_header(f, request);
	expect(f, VIRTIO_VSOCK_OP_RESPONSE);
	close(listener);
	snprintf(path, sizeof(path), "%s_%u", f->path, UINT32_MAX);
	unlink(path);
	strcpy(f->path, short_path);
}

static void failed_creation_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	int before = dup(0);
	struct stat st;
	int after;

	f->driver.transport.attach = driver_attach_refused;
	assert_int_equal(try_create(f, f->path), -ENOSPC);
	assert_int_equal(stat(f->path, &st), -1);
	after = dup(0);
	assert_int_equal(after, before + 1);
	close(before);
	close(after);
}

static void there_is_one_at_most(void **state)
{
	struct fixture *f = *state;
	struct device *first = f->device;

	f->driver.machine.devices = first;
	assert_int_equal(try_create(f, f->path), -EEXIST);
	f->driver.machine.devices = NULL;
	f->device = first;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VSOCK_TEST(packets_may_come_in_any_pieces),
		VSOCK_TEST(a_buffer_longer_than_its_packet_is_cut),
		MUTE_TEST(data_may_fill_several_buffers_of_a_chain),
		VSOCK_TEST(a_packet_shorter_than_a_header_breaks_the_queue),
		VSOCK_TEST(a_packet_shorter_than_it_says_breaks_the_queue),
		VSOCK_TEST(a_writable_packet_breaks_the_queue),
		MUTE_TEST(a_buffer_without_room_breaks_the_queue),
		MUTE_TEST(a_readable_buffer_breaks_the_queue),
		VSOCK_TEST(connections_and_promises_are_limited),
		VSOCK_TEST(clients_without_a_line_are_limited),
		MUTE_TEST(packets_wait_while_their_answers_do),
		MUTE_TEST(data_stays_with_the_host_until_there_is_a_buffer),
		MUTE_TEST(connections_take_turns),
		VSOCK_TEST(a_reset_closes_connections_and_tells),
		VSOCK_TEST(without_connections_there_is_no_event),
		VSOCK_TEST(a_bad_event_buffer_breaks_the_queue),
		VSOCK_TEST(a_machine_reset_closes_connections),
		VSOCK_TEST(nothing_moves_while_quiesced),
		VSOCK_TEST(the_socket_is_its_owners_and_vanishes),
		VSOCK_TEST(anothers_socket_is_left_alone),
		IDLE_TEST(only_a_stale_socket_is_replaced),
		IDLE_TEST(what_is_no_socket_is_left_alone),
		IDLE_TEST(names_leave_room_for_ports),
		IDLE_TEST(failed_creation_leaves_nothing),
		VSOCK_TEST(there_is_one_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
