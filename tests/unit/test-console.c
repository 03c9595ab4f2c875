/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio/console*.c: the state machine of control messages by itself, and the
 * device with a driver that this file plays, on sockets and pipes.
 */
#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <lkvm/console.h>

#define W VRING_DESC_F_WRITE
#define N VRING_DESC_F_NEXT

#define RX 4 /* queues of port 1 */
#define TX 5

/* ---- the state machine --------------------------------------------------- */

static int say(struct console_control *c, uint32_t id, uint16_t event,
	       uint16_t value)
{
	const struct virtio_console_control message = { htole32(id),
							htole16(event),
							htole16(value) };

	return console_control_receive(c, &message, sizeof(message));
}

static void assert_told(struct console_control *c, uint32_t id, uint16_t event,
			uint16_t value, const char *payload)
{
	char buf[CONSOLE_CONTROL_MAX];
	struct virtio_console_control message;
	size_t len;

	assert_true(console_control_pending(c));
	len = console_control_send(c, buf);
	assert_int_equal(len, sizeof(message) + strlen(payload));
	memcpy(&message, buf, sizeof(message));
	assert_int_equal(le32toh(message.id), id);
	assert_int_equal(le16toh(message.event), event);
	assert_int_equal(le16toh(message.value), value);
	assert_memory_equal(buf + sizeof(message), payload, strlen(payload));
}

static void assert_nothing_told(struct console_control *c)
{
	char buf[CONSOLE_CONTROL_MAX];

	assert_false(console_control_pending(c));
	assert_int_equal(console_control_send(c, buf), 0);
}

static const struct console_control two_ports = {
	.nr_ports = 3,
	.port = { [1] = { .name = "one", .host_open = true },
		  [2] = { .name = "two" } },
};

static void ports_are_made_once(void **state)
{
	struct console_control c = two_ports;

	(void)state;
	assert_nothing_told(&c);
	assert_int_equal(say(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1), 0);
	assert_told(&c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(&c, 2, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_nothing_told(&c);
	assert_int_equal(say(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1), -EINVAL);
	assert_nothing_told(&c);
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_READY, 1), 0);
	assert_told(&c, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "one");
	assert_told(&c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_READY, 1), -EINVAL);
	assert_nothing_told(&c);
	/* Nobody is at the other end of port 2. */
	assert_int_equal(say(&c, 2, VIRTIO_CONSOLE_PORT_READY, 1), 0);
	assert_told(&c, 2, VIRTIO_CONSOLE_PORT_NAME, 1, "two");
	assert_nothing_told(&c);
	console_control_set_open(&c, 2, true);
	console_control_set_open(&c, 1, false);
	assert_true(console_control_pending_open(&c, 2));
	assert_told(&c, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	assert_told(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	assert_false(console_control_pending_open(&c, 2));
	console_control_set_open(&c, 2, true);
	assert_nothing_told(&c);
	/* From the beginning, with what has changed since. */
	console_control_reset(&c);
	assert_nothing_told(&c);
	assert_int_equal(say(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1), 0);
	assert_told(&c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_READY, 1), 0);
	assert_told(&c, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "one");
	assert_told(&c, 2, VIRTIO_CONSOLE_PORT_ADD, 1, "");
}

static void messages_out_of_place_change_nothing(void **state)
{
	struct console_control c = two_ports;
	char byte[7] = { 0 };

	(void)state;
	assert_int_equal(console_control_receive(&c, byte, sizeof(byte)),
			 -EPROTO);
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_READY, 1), -EINVAL);
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1), -EINVAL);
	assert_int_equal(say(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 0), -EINVAL);
	assert_nothing_told(&c);
	assert_int_equal(say(&c, 99, VIRTIO_CONSOLE_DEVICE_READY, 1), 0);
	assert_told(&c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	/* Port 2 has not been added yet, port 0 never will. */
	for (uint32_t id = 0; id < 4; id++)
		if (id != 1)
			assert_int_equal(say(&c, id, VIRTIO_CONSOLE_PORT_READY,
					     1),
					 -EINVAL);
	assert_int_equal(say(&c, UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1),
			 -EINVAL);
	/* One beyond the last, whatever is found there. */
	c.port[3].added = true;
	assert_int_equal(say(&c, 3, VIRTIO_CONSOLE_PORT_READY, 1), -EINVAL);
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1), -EINVAL);
	assert_false(c.port[1].guest_open);
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_READY, 0), -EINVAL);
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_READY, 1), 0);
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_OPEN, 2), -EINVAL);
	assert_false(c.port[1].guest_open);
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1), 0);
	assert_true(c.port[1].guest_open);
	assert_int_equal(say(&c, 1, VIRTIO_CONSOLE_PORT_OPEN, 0), 0);
	assert_false(c.port[1].guest_open);
	/* Messages that are the device's to send, and unknown ones. */
	for (uint16_t event = 0; event < 16; event++)
		if (event != VIRTIO_CONSOLE_PORT_OPEN)
			assert_int_equal(say(&c, 1, event, 1), -EINVAL);
}

/* ---- the device ---------------------------------------------------------- */

struct fixture {
	struct driver driver;
	struct device *device;
	char dir[32];
	char to[64];
	int host; /* a client, or the console's own end */
	struct chardev console;
	char shown[64];
	size_t nr_shown;
	size_t got, wrong; /* by a thread that reads */
};

static void create(struct fixture *f, const char *to, bool console)
{
	const struct virtio_console_options options = {
		.console = console,
		.nr_ports = !console,
		.port = { { .name = "p1", .to = to } },
	};

	assert_int_equal(virtio_console_type.create(&f->driver.machine,
						    &options, &f->device),
			 0);
}

static void connect_client(struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", f->dir);
	f->host = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(f->host, (struct sockaddr *)&address,
				 sizeof(address)),
			 0);
}

static void tell(struct fixture *f, unsigned int id, uint16_t event,
		 uint16_t value)
{
	const struct virtio_console_control message = { htole32(id),
							htole16(event),
							htole16(value) };

	memcpy(driver_data(&f->driver, CONSOLE_CONTROL_TX, 0), &message, 8);
	driver_set_desc(&f->driver, CONSOLE_CONTROL_TX, 0, 8, 0, 0);
	driver_offer(&f->driver, CONSOLE_CONTROL_TX, 0);
	driver_kick(&f->driver, CONSOLE_CONTROL_TX);
	driver_wait(&f->driver, CONSOLE_CONTROL_TX, NULL);
}

/* The device's next message must be this one, with no payload but a name. */
static void expect(struct fixture *f, unsigned int id, uint16_t event,
		   uint16_t value)
{
	struct virtio_console_control message;
	unsigned int head;
	uint32_t len;

	head = driver_wait(&f->driver, CONSOLE_CONTROL_RX, &len);
	memcpy(&message, driver_data(&f->driver, CONSOLE_CONTROL_RX, head), 8);
	assert_int_equal(le32toh(message.id), id);
	assert_int_equal(le16toh(message.event), event);
	assert_int_equal(le16toh(message.value), value);
	assert_int_equal(len, event == VIRTIO_CONSOLE_PORT_NAME ? 10 : 8);
	driver_offer(&f->driver, CONSOLE_CONTROL_RX, head);
	driver_kick(&f->driver, CONSOLE_CONTROL_RX);
}

static void start(struct fixture *f)
{
	driver_set_up(&f->driver, f->driver.vdev->offered &
					  BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT));
	for (unsigned int i = 0; f->driver.vdev->nr_queues > 2 && i < 8; i++) {
		driver_set_desc(&f->driver, CONSOLE_CONTROL_RX, i, 128, W, 0);
		driver_offer(&f->driver, CONSOLE_CONTROL_RX, i);
	}
	driver_start(&f->driver);
	assert_false(driver_broken(&f->driver));
}

/* As Linux does, with a program that has opened the port. */
static void open_port(struct fixture *f, bool connected)
{
	tell(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect(f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	tell(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect(f, 1, VIRTIO_CONSOLE_PORT_NAME, 1);
	if (connected)
		expect(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static void offer_input(struct fixture *f, unsigned int queue, uint32_t len)
{
	driver_set_desc(&f->driver, queue, 0, len, W, 0);
	driver_offer(&f->driver, queue, 0);
	driver_kick(&f->driver, queue);
}

static void assert_input(struct fixture *f, unsigned int queue,
			 const char *text)
{
	uint32_t len;

	driver_wait(&f->driver, queue, &len);
	assert_int_equal(len, strlen(text));
	assert_memory_equal(driver_data(&f->driver, queue, 0), text, len);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	driver_init(&f->driver);
	f->driver.size = 64;
	f->host = -1;
	strcpy(f->dir, "/tmp/lkvm-console-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->to, sizeof(f->to), "unix:%s/s", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->device)
		virtio_console_type.destroy(f->device);
	if (f->host >= 0)
		close(f->host);
	/* Empty: the device has removed its socket. */
	assert_int_equal(rmdir(f->dir), 0);
	driver_release(&f->driver);
	free(f);
	return 0;
}

static void bytes_pass_both_ways(void **state)
{
	struct fixture *f = *state;
	char data[8] = "";

	create(f, f->to, false);
	start(f);
	open_port(f, false);
	connect_client(f);
	expect(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_int_equal(write(f->host, "hello", 5), 5);
	offer_input(f, RX, 3);
	assert_input(f, RX, "hel");
	offer_input(f, RX, 100);
	assert_input(f, RX, "lo");
	memcpy(driver_data(&f->driver, TX, 0), "wor", 3);
	memcpy(driver_data(&f->driver, TX, 1), "ld", 2);
	driver_set_desc(&f->driver, TX, 0, 3, N, 1);
	driver_set_desc(&f->driver, TX, 1, 2, 0, 0);
	driver_offer(&f->driver, TX, 0);
	driver_kick(&f->driver, TX);
	assert_int_equal(recv(f->host, data, 5, MSG_WAITALL), 5);
	assert_string_equal(data, "world");
	assert_int_equal(driver_counter(f->device, "bytes-in"), 5);
}

static void input_waits_until_the_guest_opens_the_port(void **state)
{
	struct fixture *f = *state;

	create(f, f->to, false);
	connect_client(f);
	assert_int_equal(write(f->host, "early", 5), 5);
	start(f);
	driver_set_desc(&f->driver, RX, 0, 100, W, 0);
	driver_offer(&f->driver, RX, 0);
	driver_kick(&f->driver, RX);
	open_port(f, true);
	assert_input(f, RX, "early");
	/* Closed again: the next words are for who comes then. */
	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	offer_input(f, RX, 100);
	assert_int_equal(write(f->host, "later", 5), 5);
	usleep(50000);
	assert_int_equal(driver_used_idx(&f->driver, RX), 1);
	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_input(f, RX, "later");
}

/* Each client's words come before its going, and that before the next one. */
static void clients_are_told_apart(void **state)
{
	struct fixture *f = *state;

	create(f, f->to, false);
	start(f);
	connect_client(f);
	assert_int_equal(write(f->host, "one", 3), 3);
	close(f->host);
	connect_client(f);
	assert_int_equal(write(f->host, "two", 3), 3);
	open_port(f, true);
	offer_input(f, RX, 100);
	assert_input(f, RX, "one");
	expect(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	expect(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	offer_input(f, RX, 100);
	assert_input(f, RX, "two");
	/* A client that sends no more may still read. */
	shutdown(f->host, SHUT_WR);
	memcpy(driver_data(&f->driver, TX, 0), "x", 1);
	driver_set_desc(&f->driver, TX, 0, 1, 0, 0);
	driver_offer(&f->driver, TX, 0);
	driver_kick(&f->driver, TX);
	assert_int_equal(read(f->host, f->shown, 1), 1);
	close(f->host);
	f->host = -1;
	expect(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
}

/* More than all buffers hold; pauses come in between. */
static void a_slow_reader_gets_every_byte(void **state)
{
	struct fixture *f = *state;
	const unsigned int total = 1 << 20;
	unsigned int sent = 0, got = 0;
	bool kicked = false;
	char data[4096];

	create(f, f->to, false);
	start(f);
	connect_client(f);
	open_port(f, true);
	for (unsigned int i = 0; i < 64; i++)
		driver_set_desc(&f->driver, TX, i, 8000, 0, 0);
	while (got < total) {
		ssize_t n;

		while (sent < total &&
		       (uint16_t)(f->driver.avail_idx[TX] -
				  driver_used_idx(&f->driver, TX)) < 64) {
			unsigned int i = f->driver.avail_idx[TX] % 64;
			uint32_t len = MIN(8000, total - sent);

			for (unsigned int at = 0; at < len; at++)
				driver_data(&f->driver, TX, i)[at] =
					(uint8_t)((sent + at) * 7 >> 5);
			driver_set_desc(&f->driver, TX, i, len, 0, 0);
			driver_offer(&f->driver, TX, i);
			sent += len;
		}
		/* From the last chain on, the device goes on by itself. */
		if (sent < total || !kicked)
			driver_kick(&f->driver, TX);
		kicked = sent == total;
		if (got % 3 == 0 && sent < total) {
			virtio_console_type.quiesce(f->device);
			virtio_console_type.resume(f->device);
		}
		n = read(f->host, data, 1 + got % sizeof(data));
		assert_true(n > 0);
		for (ssize_t at = 0; at < n; at++, got++)
			assert_int_equal((uint8_t)data[at],
					 (uint8_t)(got * 7 >> 5));
	}
	assert_true(driver_counter(f->device, "waits-out") > 0);
}

static void a_slow_guest_holds_the_writer_back(void **state)
{
	struct fixture *f = *state;
	char data[4096] = "";
	size_t sent = 0, got = 0;
	ssize_t n;

	create(f, f->to, false);
	start(f);
	connect_client(f);
	open_port(f, true);
	/* Until it would block for good. */
	fcntl(f->host, F_SETFL, O_NONBLOCK);
	for (unsigned int tries = 0; tries < 20;) {
		n = write(f->host, data, sizeof(data));
		if (n > 0)
			sent += (size_t)n;
		else
			usleep(5000);
		tries = n > 0 ? 0 : tries + 1;
		assert_true(sent < 4 * MIB);
	}
	while (got < sent) {
		uint32_t len;

		offer_input(f, RX, 8000);
		driver_wait(&f->driver, RX, &len);
		got += len;
	}
	assert_int_equal(got, sent);
}

static void a_reset_forgets_what_the_driver_was_told(void **state)
{
	struct fixture *f = *state;

	create(f, f->to, false);
	for (unsigned int i = 0; i < 20; i++) {
		start(f);
		open_port(f, i);
		if (!i) {
			connect_client(f);
			expect(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
		}
		offer_input(f, RX, 100);
		assert_int_equal(write(f->host, "again", 5), 5);
		assert_input(f, RX, "again");
		driver_reset(&f->driver);
	}
}

/* The guest of a device at @to powers off with bytes in the queue: "bye!". */
static void say_bye(struct fixture *f, const char *to)
{
	create(f, to, false);
	start(f);
	virtio_console_type.quiesce(f->device);
	memcpy(driver_data(&f->driver, TX, 0), "bye", 3);
	driver_set_desc(&f->driver, TX, 0, 3, 0, 0);
	driver_offer(&f->driver, TX, 0);
	driver_offer(&f->driver, TX, 1);
	memcpy(driver_data(&f->driver, TX, 1), "!", 1);
	driver_set_desc(&f->driver, TX, 1, 1, 0, 0);
	virtio_console_type.destroy(f->device);
	f->device = NULL;
}

static void what_the_guest_left_is_written_in_the_end(void **state)
{
	struct fixture *f = *state;
	char path[64], to[70], data[6] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/file", f->dir);
	snprintf(to, sizeof(to), "file:%s", path);
	say_bye(f, to);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, data, sizeof(data)), 4);
	assert_string_equal(data, "bye!");
	close(fd);
	unlink(path);
}

/* Somebody else's file keeps what it has and gets, and its flags. */
static void what_is_open_already_is_added_to(void **state)
{
	struct fixture *f = *state;
	char path[64], to[16], data[13] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/file", f->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "old ", 4), 4);
	snprintf(to, sizeof(to), "fd:%d", fd);
	say_bye(f, to);
	assert_int_equal(write(fd, " new", 4), 4);
	assert_int_equal(pread(fd, data, sizeof(data), 0), 12);
	assert_string_equal(data, "old bye! new");
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	unlink(path);
}

static void *read_slowly(void *opaque)
{
	struct fixture *f = opaque;
	char data[3000];
	ssize_t n;

	while ((n = read(f->host, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			f->wrong += data[i] != (char)((f->got + i) * 7 >> 5);
		f->got += (size_t)n;
		usleep(100);
	}
	return NULL;
}

/* The same, more than a named pipe holds, and to a reader that is slow. */
static void a_slow_reader_gets_the_end_too(void **state)
{
	struct fixture *f = *state;
	char path[64], to[70];
	pthread_t reader;
	uint32_t sent = 0;

	snprintf(path, sizeof(path), "%s/p.in", f->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/p.out", f->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(to, sizeof(to), "pipe:%s/p", f->dir);
	create(f, to, false);
	start(f);
	f->host = open(path, O_RDONLY | O_CLOEXEC);
	virtio_console_type.quiesce(f->device);
	for (unsigned int i = 0; i < 64; i++) {
		for (unsigned int at = 0; at < 8000; at++)
			driver_data(&f->driver, TX, i)[at] =
				(uint8_t)((sent + at) * 7 >> 5);
		sent += 8000;
		driver_set_desc(&f->driver, TX, i, 8000, 0, 0);
		driver_offer(&f->driver, TX, i);
	}
	assert_int_equal(pthread_create(&reader, NULL, read_slowly, f), 0);
	virtio_console_type.destroy(f->device);
	f->device = NULL;
	pthread_join(reader, NULL);
	assert_int_equal(f->got, sent);
	assert_int_equal(f->wrong, 0);
	unlink(path);
	snprintf(path, sizeof(path), "%s/p.in", f->dir);
	unlink(path);
}

static void breaks(struct fixture *f, unsigned int queue, unsigned int flags,
		   uint32_t len)
{
	driver_set_desc(&f->driver, queue, 9, len, flags, 0);
	driver_offer(&f->driver, queue, 9);
	driver_kick(&f->driver, queue);
	driver_wait_broken(&f->driver);
	driver_reset(&f->driver);
}

/* What it is to be told waits for its buffers, and nobody spins meanwhile. */
static void a_driver_without_buffers_keeps_nobody_busy(void **state)
{
	struct fixture *f = *state;
	struct console *console;
	eventfd_t kicks;
	int fd;

	create(f, f->to, false);
	console = container_of(f->device, struct console, vdev.device);
	fd = console->worker.kick[CONSOLE_CONTROL_RX].source.fd;
	driver_set_up(&f->driver, BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT));
	driver_start(&f->driver);
	tell(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	usleep(20000);
	assert_int_equal(eventfd_read(fd, &kicks), 0);
	usleep(50000);
	assert_int_equal(eventfd_read(fd, &kicks), -1);
	assert_int_equal(errno, EAGAIN);
	offer_input(f, CONSOLE_CONTROL_RX, 128);
	expect(f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
}

static void buffers_of_the_wrong_kind_break_the_queue(void **state)
{
	struct fixture *f = *state;

	create(f, f->to, false);
	connect_client(f);
	assert_int_equal(write(f->host, "x", 1), 1);
	start(f);
	breaks(f, TX, W, 10);
	start(f);
	breaks(f, CONSOLE_CONTROL_TX, W, 10);
	start(f);
	breaks(f, CONSOLE_CONTROL_TX, 0, 7);
	start(f);
	open_port(f, true);
	breaks(f, RX, 0, 10);
	/* Too small for a name. */
	driver_set_up(&f->driver, BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT));
	driver_start(&f->driver);
	driver_set_desc(&f->driver, CONSOLE_CONTROL_RX, 9, 8, W, 0);
	driver_offer(&f->driver, CONSOLE_CONTROL_RX, 9);
	tell(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	driver_wait_broken(&f->driver);
}

/* ---- the console --------------------------------------------------------- */

static size_t console_write(struct chardev *chardev, const void *data,
			    size_t len)
{
	struct fixture *f = container_of(chardev, struct fixture, console);

	assert_true(f->nr_shown + len <= sizeof(f->shown));
	memcpy(f->shown + f->nr_shown, data, len);
	f->nr_shown += len;
	return len;
}

static void console_input_wanted(struct chardev *chardev)
{
	(void)chardev;
}

static const struct chardev_ops console_ops = {
	.write = console_write,
	.input_wanted = console_input_wanted,
};

static void create_console(struct fixture *f)
{
	f->console.ops = &console_ops;
	f->console.connected = true;
	f->driver.machine.console = &f->console;
	create(f, NULL, true);
}

static void type(struct fixture *f, const char *text)
{
	struct chardev *chardev = &f->console;

	assert_int_equal(chardev->frontend->receive(chardev->opaque, text,
						    strlen(text)),
			 strlen(text));
}

static void print(struct fixture *f, unsigned int head, const char *text)
{
	memcpy(driver_data(&f->driver, 1, head), text, strlen(text));
	driver_set_desc(&f->driver, 1, head, (uint32_t)strlen(text), 0, 0);
	driver_offer(&f->driver, 1, head);
	driver_kick(&f->driver, 1);
	driver_wait(&f->driver, 1, NULL);
}

/* Nothing has been received: the device has had a turn since. */
static void assert_no_input(struct fixture *f, unsigned int head)
{
	print(f, head, "x");
	assert_int_equal(driver_used_idx(&f->driver, 0), 0);
}

/* Linux's driver looks at the size when it is ready, having been told to. */
static void the_consoles_input_waits_for_its_driver(void **state)
{
	struct fixture *f = *state;
	uint16_t cols;

	create_console(f);
	virtio_device_read_config(f->driver.vdev, 0, &cols, sizeof(cols));
	for (int run = 0; run < 2; run++) {
		driver_set_up(&f->driver, BIT_ULL(VIRTIO_CONSOLE_F_SIZE));
		driver_start(&f->driver);
		type(f, "early");
		offer_input(f, 0, 100);
		assert_no_input(f, 0);
		virtio_device_read_config(f->driver.vdev, 4, &cols, 2);
		assert_no_input(f, 1);
		virtio_device_read_config(f->driver.vdev, 0, &cols, 2);
		assert_input(f, 0, "early");
		driver_reset(&f->driver);
	}
}

static void a_driver_that_knows_no_size_gets_input_at_once(void **state)
{
	struct fixture *f = *state;

	create_console(f);
	driver_set_up(&f->driver, 0);
	driver_start(&f->driver);
	assert_int_equal(atomic_load(&f->driver.config_signals), 0);
	type(f, "early");
	offer_input(f, 0, 100);
	assert_input(f, 0, "early");
}

/* In the end it gets its input, by the next thing that happens. */
static void a_driver_that_never_looks_gets_input_too(void **state)
{
	struct fixture *f = *state;
	struct console *console;

	create_console(f);
	console = container_of(f->device, struct console, vdev.device);
	driver_set_up(&f->driver, BIT_ULL(VIRTIO_CONSOLE_F_SIZE));
	driver_start(&f->driver);
	type(f, "early");
	offer_input(f, 0, 100);
	assert_no_input(f, 0);
	atomic_store(&console->listens_at, now_ns());
	print(f, 1, "login: ");
	assert_input(f, 0, "early");
}

/* Nor need anything happen. */
static void a_driver_that_is_silent_gets_input_too(void **state)
{
	struct fixture *f = *state;
	struct itimerspec left;
	struct console *console;

	create_console(f);
	console = container_of(f->device, struct console, vdev.device);
	driver_set_up(&f->driver, BIT_ULL(VIRTIO_CONSOLE_F_SIZE));
	driver_start(&f->driver);
	type(f, "early");
	offer_input(f, 0, 100);
	assert_no_input(f, 0);
	assert_int_equal(timerfd_gettime(console->listen_timer.fd, &left), 0);
	assert_true(left.it_value.tv_sec || left.it_value.tv_nsec);
	/* The seconds have passed. */
	atomic_store(&console->listens_at, now_ns());
	timer_arm(console->listen_timer.fd, 1);
	assert_input(f, 0, "early");
}

static void the_console_needs_no_control_queue(void **state)
{
	struct fixture *f = *state;
	struct virtio_console_config config;
	uint32_t emergency = htole32(0x12345600 | '!');

	create_console(f);
	assert_int_equal(f->driver.vdev->nr_queues, 2);
	/* 5.3.5.1: at any time; the lower byte. */
	virtio_device_write_config(f->driver.vdev, 8, &emergency, 4);
	assert_memory_equal(f->shown, "!", 1);
	f->console.frontend->resized(f->console.opaque, 80, 25);
	assert_int_equal(atomic_load(&f->driver.config_signals), 0);
	driver_set_up(&f->driver, BIT_ULL(VIRTIO_CONSOLE_F_SIZE));
	driver_start(&f->driver);
	assert_int_equal(atomic_load(&f->driver.config_signals), 1);
	f->console.frontend->resized(f->console.opaque, 132, 43);
	assert_int_equal(atomic_load(&f->driver.config_signals), 2);
	virtio_device_read_config(f->driver.vdev, 0, &config, sizeof(config));
	assert_int_equal(le16toh(config.cols), 132);
	assert_int_equal(le16toh(config.rows), 43);
	type(f, "key");
	offer_input(f, 0, 100);
	assert_input(f, 0, "key");
	print(f, 0, "out");
	assert_memory_equal(f->shown, "!out", 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_are_made_once),
		cmocka_unit_test(messages_out_of_place_change_nothing),
		TEST(bytes_pass_both_ways),
		TEST(input_waits_until_the_guest_opens_the_port),
		TEST(clients_are_told_apart),
		TEST(a_slow_reader_gets_every_byte),
		TEST(a_slow_guest_holds_the_writer_back),
		TEST(a_reset_forgets_what_the_driver_was_told),
		TEST(what_the_guest_left_is_written_in_the_end),
		TEST(what_is_open_already_is_added_to),
		TEST(a_slow_reader_gets_the_end_too),
		TEST(a_driver_without_buffers_keeps_nobody_busy),
		TEST(buffers_of_the_wrong_kind_break_the_queue),
		TEST(the_consoles_input_waits_for_its_driver),
		TEST(a_driver_that_knows_no_size_gets_input_at_once),
		TEST(a_driver_that_never_looks_gets_input_too),
		TEST(a_driver_that_is_silent_gets_input_too),
		TEST(the_console_needs_no_control_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
