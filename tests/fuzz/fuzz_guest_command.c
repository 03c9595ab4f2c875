/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libFuzzer target: what a guest tells of the command that runs in it. The
 * input's first byte says by which way the rest comes, and into pieces of
 * which size it is cut: messages on the control port (guest-protocol.h), or
 * lines on the console. How it ends is checked against a second, simpler
 * account.
 */
#include <endian.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/console-hub.h>
#include <lkvm/guest-command.h>
#include <lkvm/guest-protocol.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/terminal.h>
#include <lkvm/util.h>
#include <lkvm/vm.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct host {
	struct loop *loop;
	struct loop_source turn; /* a timerfd */
	struct terminal *terminal;
	struct guest_command *command;
	struct console_hub *hub;
	struct chardev *control;
	size_t told; /* bytes to the guest */
	int status; /* -1: it has not ended */
};

static void must(bool true_or_dead)
{
	if (!true_or_dead)
		abort();
}

static void on_end(void *opaque, int status, const char *why)
{
	struct host *host = opaque;

	must(host->status == -1 && status >= 0 && status <= 255);
	must(!why || status == STATUS_LKVM_FAILED);
	for (; why && *why; why++)
		must(*why >= ' ' && *why <= '~');
	host->status = status;
}

static size_t on_told(void *opaque, const void *data, size_t len)
{
	struct host *host = opaque;

	(void)data;
	host->told += len;
	return len;
}

static void on_writable(void *opaque)
{
	(void)opaque;
}

static const struct chardev_frontend_ops frontend = {
	.receive = on_told,
	.writable = on_writable,
};

static void on_turn(void *opaque, uint32_t events)
{
	struct host *host = opaque;
	uint64_t expirations;

	(void)events;
	(void)!read(host->turn.fd, &expirations, sizeof(expirations));
	loop_stop(host->loop);
}

static void start(struct host *host)
{
	const struct guest_command_callbacks callbacks = { on_end, host };
	const struct terminal_callbacks none = { 0 };
	struct virtio_console_options ports;

	host->status = -1;
	must(!loop_create(&host->loop));
	host->turn = (struct loop_source) {
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC),
		.ready = on_turn,
		.opaque = host,
	};
	must(host->turn.fd >= 0);
	must(!loop_add(host->loop, &host->turn, EPOLLIN));
	must(!terminal_create(host->loop, &none, &host->terminal));
	must(!guest_command_create(host->loop, host->terminal, &callbacks,
				   &host->command));
	must(!console_hub_create(host->loop, NULL, NULL, &host->hub));
	guest_command_watch(host->command, host->hub);
	guest_command_ports(host->command, &ports);
	host->control = ports.port[0].chardev;
	host->control->frontend = &frontend;
	host->control->opaque = host;
}

static void stop(struct host *host)
{
	guest_command_destroy(host->command);
	console_hub_destroy(host->hub);
	terminal_destroy(host->terminal);
	loop_del(host->loop, &host->turn);
	close(host->turn.fd);
	loop_destroy(host->loop);
}

/* What was to come at once has come before. */
static void turn(struct host *host)
{
	timer_arm(host->turn.fd, 1);
	must(!loop_run(host->loop));
}

/* In memory of its own, so that a byte too far is seen. */
static size_t say(struct chardev *port, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len);
	size_t taken;

	memcpy(copy, data, len);
	taken = port->ops->write(port, copy, len);
	must(taken <= len);
	free(copy);
	return taken;
}

/* The status that these messages end with; -1: none. */
static int expected(const uint8_t *data, size_t size)
{
	bool hello = false;

	for (;;) {
		struct guest_header header;
		struct guest_exit end;

		if (size < sizeof(header))
			return -1;
		memcpy(&header, data, sizeof(header));
		header.type = le32toh(header.type);
		header.len = le32toh(header.len);
		data += sizeof(header);
		size -= sizeof(header);
		if (header.len > GUEST_MESSAGE_MAX)
			return STATUS_LKVM_FAILED;
		if (header.len > size)
			return -1;
		if (header.type == GUEST_FAILED || header.type > GUEST_EXIT)
			return STATUS_LKVM_FAILED;
		if (header.type == GUEST_HELLO) {
			if (header.len != 4 || memcmp(data, "\1\0\0\0", 4) != 0)
				return STATUS_LKVM_FAILED;
			hello = true;
		}
		if (header.type == GUEST_EXIT) {
			if (header.len != sizeof(end))
				return STATUS_LKVM_FAILED;
			memcpy(&end, data, sizeof(end));
			/* The first one counts; nothing is ever written. */
			if (hello && (end.stdout_bytes || end.stderr_bytes))
				return -1;
			if (hello)
				return (int)(le32toh(end.status) & 0xff);
		}
		data += header.len;
		size -= header.len;
	}
}

static void run_messages(struct host *host, const uint8_t *data, size_t size,
			 size_t step)
{
	size_t done = 0;
	int wanted = expected(data, size);

	while (done < size && host->status == -1) {
		done += say(host->control, data + done, MIN(step, size - done));
		turn(host);
	}
	for (unsigned int i = 0; i < 4 + size / 64; i++)
		turn(host);
	must(host->status == wanted);
	must(host->told == 0 ||
	     host->told ==
		     sizeof(struct guest_header) + sizeof(struct guest_size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct host host = { 0 };
	size_t step;

	if (!size)
		return 0;
	/* What guests say to users is not for those who watch the fuzzer. */
	log_set_level(LOG_LEVEL_ERROR - 1);
	step = (*data >> 1) + 1;
	start(&host);
	if (*data & 1) {
		struct chardev *console = console_hub_chardev(host.hub);

		for (size_t at = 1; at < size; at += step) {
			say(console, data + at, MIN(step, size - at));
			console_hub_flush(host.hub);
		}
		must(host.status == -1 || host.status == STATUS_LKVM_FAILED);
	} else {
		run_messages(&host, data + 1, size - 1, step);
	}
	stop(&host);
	return 0;
}
