/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The console, from the guest's UART to the process's standard streams and
 * back: every byte arrives once, however slow the other side is.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/util.h>

#define ECHO_BYTES 100000
#define PIPE_BYTES 4096

/* The other ends of stdin and stdout, served by a thread. */
struct streams {
	int in, out; /* -1: closed */
	const uint8_t *send;
	size_t to_send;
	uint8_t *received; /* of room bytes */
	size_t nr_received, room;
	unsigned int slow_us; /* before each read */
	int start; /* eventfd to wait for, or -1 */
};

static void streams_send(struct streams *s)
{
	ssize_t n = write(s->in, s->send, s->to_send);

	if (n > 0) {
		s->send += n;
		s->to_send -= (size_t)n;
	}
	if (!s->to_send || (n < 0 && errno != EAGAIN)) {
		close(s->in);
		s->in = -1;
	}
}

static void streams_receive(struct streams *s)
{
	ssize_t n;

	usleep(s->slow_us);
	n = read(s->out, s->received + s->nr_received,
		 MIN(s->room - s->nr_received, 4096));
	if (n > 0) {
		s->nr_received += (size_t)n;
	} else {
		close(s->out);
		s->out = -1;
	}
}

static void *streams_serve(void *opaque)
{
	struct streams *s = opaque;
	eventfd_t count;

	if (s->start >= 0)
		eventfd_read(s->start, &count);
	while (s->out >= 0) {
		struct pollfd fds[] = {
			{ .fd = s->out, .events = POLLIN },
			{ .fd = s->in, .events = POLLOUT },
		};

		poll(fds, 2, -1);
		if (fds[1].revents)
			streams_send(s);
		if (fds[0].revents)
			streams_receive(s);
	}
	if (s->in >= 0)
		close(s->in);
	return NULL;
}

/* A pipe whose end @mine becomes our @fd; the other is returned. */
static int swap_for_pipe(int fd, int mine, int *saved)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES) > 0);
	assert_int_equal(fcntl(ends[!mine], F_SETFL, O_NONBLOCK), 0);
	*saved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	assert_true(*saved >= 0);
	assert_int_equal(dup2(ends[mine], fd), fd);
	close(ends[mine]);
	return ends[!mine];
}

static void swap_back(int fd, int saved)
{
	dup2(saved, fd);
	close(saved);
}

struct uart_test {
	uint32_t bytes, burst;
	int waits; /* eventfd: the guest cannot send, or -1 */
};

static uint64_t uart_read(struct guest *g, uint64_t addr, unsigned int len)
{
	struct uart_test *test = g->opaque;

	(void)len;
	return addr == SERIAL_BYTES ? test->bytes : test->burst;
}

static void uart_write(struct guest *g, uint64_t addr, uint64_t value,
		       unsigned int len)
{
	struct uart_test *test = g->opaque;

	(void)value;
	(void)len;
	if (addr == SERIAL_WAITS && test->waits >= 0)
		eventfd_write(test->waits, 1);
}

/* Run guest @name between pipes that @s describes; returns its status. */
static int run_between_pipes(const char *name, struct uart_test *test,
			     struct streams *s)
{
	int saved_in, saved_out;
	pthread_t thread;
	struct guest g;
	int status;

	s->room = test->bytes + 4096;
	s->received = calloc(1, s->room);
	assert_non_null(s->received);
	s->in = swap_for_pipe(STDIN_FILENO, 0, &saved_in);
	s->out = swap_for_pipe(STDOUT_FILENO, 1, &saved_out);
	assert_int_equal(pthread_create(&thread, NULL, streams_serve, s), 0);
	guest_init(&g, name);
	g.read = uart_read;
	g.write = uart_write;
	g.opaque = test;
	status = guest_run_once(&g);
	if (s->start >= 0)
		eventfd_write(s->start, 1);
	swap_back(STDIN_FILENO, saved_in);
	swap_back(STDOUT_FILENO, saved_out);
	pthread_join(thread, NULL);
	return status;
}

/* What serial-out.S writes. */
static void assert_counted(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != (uint8_t)(i + (i >> 8) + (i >> 16)))
			fail_msg("byte %zu is 0x%02x", i, data[i]);
}

static void check_output(uint32_t bytes, uint32_t burst, unsigned int slow_us,
			 int start)
{
	struct uart_test test = {
		.bytes = bytes,
		.burst = burst,
		.waits = start,
	};
	struct streams s = { .slow_us = slow_us, .start = start };

	assert_int_equal(run_between_pipes("serial-out", &test, &s), 1);
	assert_int_equal(s.nr_received, bytes);
	assert_counted(s.received, bytes);
	free(s.received);
}

static void output_by_polling_arrives_whole(void **state)
{
	(void)state;
	check_output(4 * KIB, 1, 0, -1);
}

static void output_to_a_slow_reader_arrives_whole(void **state)
{
	(void)state;
	check_output(64 * KIB, 1, 2000, -1);
}

/* All buffers are full, and the guest has to wait, before the first read. */
static void output_nobody_reads_yet_is_not_lost(void **state)
{
	int start = eventfd(0, EFD_CLOEXEC);

	(void)state;
	check_output(160 * KIB, 16, 500, start);
	close(start);
}

static void input_reaches_the_guest_and_comes_back(void **state)
{
	struct uart_test test = { .bytes = ECHO_BYTES, .waits = -1 };
	struct streams s = { .to_send = ECHO_BYTES, .start = -1 };
	uint8_t *data = calloc(1, ECHO_BYTES);
	uint32_t random = 1;

	(void)state;
	assert_non_null(data);
	/* All byte values, Ctrl-a too: a pipe has no escape key. */
	for (size_t i = 0; i < ECHO_BYTES; i++) {
		random = random * 1664525 + 1013904223;
		data[i] = (uint8_t)(random >> 24);
	}
	s.send = data;
	assert_int_equal(run_between_pipes("serial-echo", &test, &s), 1);
	assert_int_equal(s.nr_received, ECHO_BYTES);
	assert_memory_equal(s.received, data, ECHO_BYTES);
	free(s.received);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(output_by_polling_arrives_whole),
		kvm_test(output_to_a_slow_reader_arrives_whole),
		kvm_test(output_nobody_reads_yet_is_not_lost),
		kvm_test(input_reaches_the_guest_and_comes_back),
	};

	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
