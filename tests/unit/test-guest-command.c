/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What vmm/guest-command.c promises to lkvm and to the init in the guest, which
 * this test plays: see guest-command.h and guest-protocol.h.
 */
#include "terminal.h"

#include <elf.h>
#include <endian.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <lkvm/console-hub.h>
#include <lkvm/guest-command.h>
#include <lkvm/guest-protocol.h>

enum { CONTROL, STDIO, ERROR, PORTS };

/* What a port's device has got. */
struct port {
	struct guest *guest;
	struct chardev *chardev;
	char data[65536];
	size_t len, at;
	size_t room;
};

/* The guest, and the VM's main thread. */
struct guest {
	struct loop *loop;
	struct terminal *terminal;
	struct guest_command *command;
	struct console_hub *hub;
	pthread_t thread;
	struct loop_source asked; /* eventfd: main_does() */
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t changed;
	struct port ports[PORTS];
	int status; /* -1: not yet */
	char why[256];
	int answer;
	/* Set by the test, cleared by the main thread: it is answered. */
	int (*ask)(struct guest_command *command);
};

static size_t port_receive(void *opaque, const void *data, size_t len)
{
	struct port *port = opaque;
	struct guest *guest = port->guest;

	pthread_mutex_lock(&guest->lock);
	len = MIN(len, port->room - port->len);
	memcpy(port->data + port->len, data, len);
	port->len += len;
	pthread_cond_broadcast(&guest->changed);
	pthread_mutex_unlock(&guest->lock);
	return len;
}

static void port_writable(void *opaque)
{
	(void)opaque;
}

static const struct chardev_frontend_ops port_ops = {
	.receive = port_receive,
	.writable = port_writable,
};

static void command_ended(void *opaque, int status, const char *why)
{
	struct guest *guest = opaque;

	pthread_mutex_lock(&guest->lock);
	CHECK(guest->status == -1);
	guest->status = status;
	snprintf(guest->why, sizeof(guest->why), "%s", why ? why : "");
	pthread_cond_broadcast(&guest->changed);
	pthread_mutex_unlock(&guest->lock);
}

static void on_asked(void *opaque, uint32_t events)
{
	struct guest *guest = opaque;
	int (*ask)(struct guest_command * command);
	eventfd_t count;
	int answer;

	(void)events;
	CHECK(!eventfd_read(guest->asked.fd, &count));
	pthread_mutex_lock(&guest->lock);
	ask = guest->ask;
	pthread_mutex_unlock(&guest->lock);
	answer = ask(guest->command);
	pthread_mutex_lock(&guest->lock);
	guest->answer = answer;
	guest->ask = NULL;
	pthread_cond_broadcast(&guest->changed);
	pthread_mutex_unlock(&guest->lock);
}

/* What @ask returns on the main thread. */
static int main_does(struct guest *guest,
		     int (*ask)(struct guest_command *command))
{
	int answer;

	pthread_mutex_lock(&guest->lock);
	guest->ask = ask;
	eventfd_write(guest->asked.fd, 1);
	while (guest->ask)
		pthread_cond_wait(&guest->changed, &guest->lock);
	answer = guest->answer;
	pthread_mutex_unlock(&guest->lock);
	return answer;
}

static int tell_state(struct guest_command *command)
{
	return (int)guest_command_state(command);
}

static int interrupt(struct guest_command *command)
{
	return guest_command_signal(command, SIGINT);
}

static void *guest_loop(void *opaque)
{
	struct guest *guest = opaque;

	loop_run(guest->loop);
	return NULL;
}

/* With the streams as they are. */
static struct guest *guest_create(void)
{
	const struct terminal_callbacks none = { 0 };
	struct guest *guest = calloc(1, sizeof(*guest));
	struct guest_command_callbacks callbacks = { command_ended, guest };
	struct virtio_console_options options;

	CHECK(guest);
	guest->status = -1;
	pthread_mutex_init(&guest->lock, NULL);
	pthread_cond_init(&guest->changed, NULL);
	CHECK(!loop_create(&guest->loop));
	guest->asked = (struct loop_source) {
		.fd = eventfd(0, EFD_CLOEXEC),
		.ready = on_asked,
		.opaque = guest,
	};
	CHECK(!loop_add(guest->loop, &guest->asked, EPOLLIN));
	CHECK(!terminal_create(guest->loop, &none, &guest->terminal));
	CHECK(!guest_command_create(guest->loop, guest->terminal, &callbacks,
				    &guest->command));
	CHECK(!console_hub_create(guest->loop, NULL, NULL, &guest->hub));
	guest_command_watch(guest->command, guest->hub);
	guest_command_ports(guest->command, &options);
	CHECK(options.nr_ports == PORTS && !options.console);
	CHECK(!strcmp(options.port[CONTROL].name, GUEST_PORT_CONTROL));
	CHECK(!strcmp(options.port[STDIO].name, GUEST_PORT_STDIO));
	CHECK(!strcmp(options.port[ERROR].name, GUEST_PORT_STDERR));
	for (int i = 0; i < PORTS; i++) {
		struct port *port = &guest->ports[i];

		port->guest = guest;
		port->room = sizeof(port->data);
		port->chardev = options.port[i].chardev;
		port->chardev->frontend = &port_ops;
		port->chardev->opaque = port;
	}
	CHECK(!terminal_start(guest->terminal));
	return guest;
}

static void guest_run(struct guest *guest)
{
	CHECK(!pthread_create(&guest->thread, NULL, guest_loop, guest));
}

static void guest_destroy(struct guest *guest)
{
	loop_stop(guest->loop);
	pthread_join(guest->thread, NULL);
	guest_command_destroy(guest->command);
	console_hub_destroy(guest->hub);
	terminal_destroy(guest->terminal);
	loop_destroy(guest->loop);
	close(guest->asked.fd);
	free(guest);
}

static size_t say(struct guest *guest, int port, const void *data, size_t len)
{
	struct chardev *chardev = guest->ports[port].chardev;

	return chardev->ops->write(chardev, data, len);
}

static void send_message(struct guest *guest, uint32_t type, const void *data,
			 size_t len)
{
	const struct guest_header header = { htole32(type),
					     htole32((uint32_t)len) };

	CHECK(say(guest, CONTROL, &header, sizeof(header)) == sizeof(header));
	CHECK(say(guest, CONTROL, data, len) == len);
}

static void send_hello(struct guest *guest)
{
	const struct guest_hello hello = { htole32(GUEST_PROTOCOL_VERSION) };

	CHECK(say(guest, STDIO, "", 1) == 1);
	send_message(guest, GUEST_HELLO, &hello, sizeof(hello));
}

static void send_exit(struct guest *guest, uint32_t status, uint64_t out,
		      uint64_t error)
{
	const struct guest_exit end = {
		.status = htole32(status),
		.stdout_bytes = htole64(out),
		.stderr_bytes = htole64(error),
	};

	send_message(guest, GUEST_EXIT, &end, sizeof(end));
}

/* The next @len bytes that have come by @port. */
static void receive(struct guest *guest, int index, void *data, size_t len)
{
	struct port *port = &guest->ports[index];

	pthread_mutex_lock(&guest->lock);
	while (port->len - port->at < len)
		pthread_cond_wait(&guest->changed, &guest->lock);
	memcpy(data, port->data + port->at, len);
	port->at += len;
	pthread_mutex_unlock(&guest->lock);
}

/* The next message is a @type; its data, of @len bytes, into @data. */
static void expect_message(struct guest *guest, uint32_t type, void *data,
			   size_t len)
{
	struct guest_header header;

	receive(guest, CONTROL, &header, sizeof(header));
	CHECK(le32toh(header.type) == type);
	CHECK(le32toh(header.len) == len);
	receive(guest, CONTROL, data, len);
}

static void expect_start(struct guest *guest)
{
	struct guest_size size;

	expect_message(guest, GUEST_START, &size, sizeof(size));
	CHECK(!size.columns && !size.rows);
}

static void greet(struct guest *guest)
{
	send_hello(guest);
	expect_start(guest);
}

static void expect_end(struct guest *guest, int status, const char *why)
{
	pthread_mutex_lock(&guest->lock);
	while (guest->status < 0)
		pthread_cond_wait(&guest->changed, &guest->lock);
	CHECK(guest->status == status);
	CHECK(!strcmp(guest->why, why));
	pthread_mutex_unlock(&guest->lock);
}

static bool has_ended(struct guest *guest)
{
	bool ended;

	pthread_mutex_lock(&guest->lock);
	ended = guest->status >= 0;
	pthread_mutex_unlock(&guest->lock);
	return ended;
}

/* Wait until the main thread has handled what was sent before. */
static void settle(struct guest *guest)
{
	while (main_does(guest, tell_state) == COMMAND_BOOTING)
		usleep(1000);
	usleep(20000);
}

/* ---- tests --------------------------------------------------------------- */

struct streams {
	int in, out, error; /* the user's ends */
};

static void redirect(struct streams *streams)
{
	int in[2], out[2], error[2];

	CHECK(!pipe(in) && !pipe(out) && !pipe(error));
	become(in[0], out[1]);
	CHECK(dup2(error[1], STDERR_FILENO) == STDERR_FILENO);
	close(in[0]);
	close(out[1]);
	close(error[1]);
	*streams = (struct streams) { in[1], out[0], error[0] };
}

/* On new streams, and running. */
static struct guest *guest_start(struct streams *streams)
{
	struct guest *guest;

	redirect(streams);
	guest = guest_create();
	guest_run(guest);
	return guest;
}

IN_CHILD(stdin_comes_after_hello_and_its_end_is_counted)
{
	struct guest_stdin_end stdin_end;
	struct streams streams;
	struct guest *guest;
	char data[5];

	redirect(&streams);
	put(streams.in, "hello");
	close(streams.in);
	guest = guest_create();
	guest_run(guest);
	usleep(20000);
	CHECK(!guest->ports[STDIO].len);
	greet(guest);
	receive(guest, STDIO, data, sizeof(data));
	CHECK(!memcmp(data, "hello", 5));
	expect_message(guest, GUEST_STDIN_END, &stdin_end, sizeof(stdin_end));
	CHECK(le64toh(stdin_end.bytes) == 5);
	guest_destroy(guest);
}

IN_CHILD(the_end_waits_for_all_output)
{
	struct streams streams;
	struct guest *guest;

	guest = guest_start(&streams);
	send_hello(guest);
	send_message(guest, GUEST_STARTED, "", 0);
	send_exit(guest, 7, 5, 6);
	settle(guest);
	CHECK(!has_ended(guest));
	CHECK(say(guest, STDIO, "o\0t\xffx", 5) == 5);
	settle(guest);
	CHECK(!has_ended(guest));
	CHECK(say(guest, ERROR, "error\n", 6) == 6);
	expect_end(guest, 7, "");
	guest_destroy(guest);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	{
		char data[10];

		CHECK(read(streams.out, data, sizeof(data)) == 5);
		CHECK(!memcmp(data, "o\0t\xffx", 5));
		CHECK(read(streams.out, data, sizeof(data)) == 0);
		expect(streams.error, "error\n");
		CHECK(read(streams.error, data, sizeof(data)) == 0);
	}
}

IN_CHILD(the_end_waits_for_a_slow_reader)
{
	struct streams streams;
	struct guest *guest;
	char data[8192] = { 0 };
	size_t sent = 0, got = 0;

	redirect(&streams);
	CHECK(fcntl(streams.out, F_SETPIPE_SZ, 4096) == 4096);
	guest = guest_create();
	guest_run(guest);
	send_hello(guest);
	while (sent < sizeof(data))
		sent += say(guest, STDIO, data, sizeof(data) - sent);
	send_exit(guest, 0, sent, 0);
	settle(guest);
	CHECK(!has_ended(guest));
	while (got < sizeof(data)) {
		ssize_t n = read(streams.out, data, sizeof(data));

		CHECK(n > 0);
		got += (size_t)n;
	}
	expect_end(guest, 0, "");
	guest_destroy(guest);
}

IN_CHILD(a_guest_that_says_more_than_we_hold_has_to_wait)
{
	char flood[65536 * 2] = { 0 };
	struct streams streams;
	struct guest *guest;

	redirect(&streams);
	guest = guest_create();
	/* The main thread does not run yet. */
	CHECK(say(guest, CONTROL, flood, sizeof(flood)) < sizeof(flood));
	CHECK(say(guest, STDIO, flood, sizeof(flood)) < sizeof(flood));
	CHECK(say(guest, ERROR, flood, sizeof(flood)) < sizeof(flood));
	guest_run(guest);
	guest_destroy(guest);
}

IN_CHILD(the_guest_hears_that_nobody_reads)
{
	struct guest_closed closed;
	struct streams streams;
	struct guest *guest;

	guest = guest_start(&streams);
	greet(guest);
	close(streams.out);
	CHECK(say(guest, STDIO, "lost", 4) == 4);
	expect_message(guest, GUEST_CLOSED, &closed, sizeof(closed));
	CHECK(le32toh(closed.fd) == STDOUT_FILENO);
	close(streams.error);
	CHECK(say(guest, ERROR, "lost", 4) == 4);
	expect_message(guest, GUEST_CLOSED, &closed, sizeof(closed));
	CHECK(le32toh(closed.fd) == STDERR_FILENO);
	/* It counts as written: nothing waits for it. */
	send_exit(guest, 141, 4, 4);
	expect_end(guest, 141, "");
	guest_destroy(guest);
}

IN_CHILD(signals_are_passed_while_the_command_runs)
{
	struct guest_signal message;
	struct streams streams;
	struct guest *guest;

	redirect(&streams);
	guest = guest_create();
	CHECK(!guest_command_signal(guest->command, SIGUSR1));
	guest_run(guest);
	greet(guest);
	CHECK(!main_does(guest, interrupt));
	send_message(guest, GUEST_STARTED, "", 0);
	while (main_does(guest, tell_state) != COMMAND_RUNNING)
		usleep(1000);
	CHECK(main_does(guest, interrupt));
	expect_message(guest, GUEST_SIGNAL, &message, sizeof(message));
	CHECK(le32toh(message.signo) == SIGINT);
	guest_command_drop_caches(guest->command);
	expect_message(guest, GUEST_DROP_CACHES, &message, 0);
	send_exit(guest, 0, 0, 0);
	expect_end(guest, 0, "");
	CHECK(!main_does(guest, interrupt));
	guest_destroy(guest);
}

IN_CHILD(what_the_guest_says_ends_in_one_clean_line)
{
	struct streams streams;
	struct guest *guest;

	guest = guest_start(&streams);
	send_hello(guest);
	/* C2 9B is what ESC [ is, in UTF-8. */
	send_message(guest, GUEST_FAILED,
		     "no\033[2J\n driver\xc2\x9b"
		     "2J\x9b",
		     19);
	expect_end(guest, 125, "no?[2J? driver??2J?");
	guest_destroy(guest);
}

/* Ends the command with status 125, and no byte is read that is not there. */
static void nonsense(uint32_t type, const void *data, uint32_t claimed,
		     size_t len)
{
	const struct guest_header header = { htole32(type), htole32(claimed) };
	struct streams streams;
	struct guest *guest;

	guest = guest_start(&streams);
	CHECK(say(guest, CONTROL, &header, sizeof(header)) == sizeof(header));
	say(guest, CONTROL, data, len);
	expect_end(guest, 125, "what runs in the guest is not lkvm's init");
	guest_destroy(guest);
}

IN_CHILD(a_message_that_is_too_long_ends_it)
{
	nonsense(GUEST_SAY, "", GUEST_MESSAGE_MAX + 1, 0);
}

IN_CHILD(a_message_of_an_unknown_type_ends_it)
{
	nonsense(GUEST_CLOSED + 1, "", 0, 0);
}

IN_CHILD(a_message_of_the_wrong_length_ends_it)
{
	nonsense(GUEST_EXIT, "1234", 4, 4);
}

IN_CHILD(another_version_ends_it)
{
	const uint32_t version = htole32(GUEST_PROTOCOL_VERSION + 1);

	nonsense(GUEST_HELLO, &version, 4, 4);
}

IN_CHILD(the_last_message_is_the_last_one)
{
	const struct guest_header wrong = { htole32(GUEST_CLOSED + 1), 0 };
	const struct guest_header large = { htole32(GUEST_SAY),
					    htole32(GUEST_MESSAGE_MAX + 1) };
	static const char more[2 * GUEST_MESSAGE_MAX];
	struct streams streams;
	struct guest *guest;

	redirect(&streams);
	guest = guest_create();
	guest_run(guest);
	send_hello(guest);
	send_message(guest, GUEST_STARTED, "", 0);
	send_exit(guest, 7, 5, 0);
	send_message(guest, GUEST_FAILED, "after all", 9);
	say(guest, CONTROL, &wrong, sizeof(wrong));
	settle(guest);
	/* However much there is: nobody waits for room. */
	CHECK(say(guest, CONTROL, &large, sizeof(large)) == sizeof(large));
	for (unsigned int i = 0; i < 8; i++) {
		settle(guest);
		CHECK(say(guest, CONTROL, more, sizeof(more)) == sizeof(more));
	}
	settle(guest);
	CHECK(say(guest, STDIO, "hello", 5) == 5);
	expect_end(guest, 7, "");
	guest_destroy(guest);
}

IN_CHILD(messages_may_come_byte_by_byte)
{
	const struct guest_hello hello = { htole32(GUEST_PROTOCOL_VERSION) };
	const struct guest_header header = { htole32(GUEST_HELLO),
					     htole32(sizeof(hello)) };
	struct streams streams;
	struct guest *guest;

	guest = guest_start(&streams);
	for (size_t i = 0; i < sizeof(header); i++) {
		CHECK(say(guest, CONTROL, (const char *)&header + i, 1) == 1);
		usleep(1000);
	}
	CHECK(say(guest, CONTROL, &hello, sizeof(hello)) == sizeof(hello));
	expect_start(guest);
	guest_destroy(guest);
}

IN_CHILD(many_messages_are_handled_in_several_turns)
{
	struct streams streams;
	struct guest *guest;

	redirect(&streams);
	guest = guest_create();
	for (int i = 0; i < 200; i++)
		send_message(guest, GUEST_STARTED, "", 0);
	send_hello(guest);
	guest_run(guest);
	expect_start(guest);
	guest_destroy(guest);
}

IN_CHILD(a_line_on_the_console_tells_before_hello_only)
{
	static const char line[] = "[ 1.0] lkvm-init: no driver (CONFIG_X)\r\n";
	struct streams streams;
	struct chardev *console;
	struct guest *guest;

	redirect(&streams);
	guest = guest_create();
	console = console_hub_chardev(guest->hub);
	console->ops->write(console, "quite\nanother line", 18);
	console->ops->write(console, line, sizeof(line) - 1);
	guest_run(guest);
	expect_end(guest, 125, "no driver (CONFIG_X)");
	guest_destroy(guest);

	guest = guest_create();
	guest_run(guest);
	greet(guest);
	console = console_hub_chardev(guest->hub);
	console->ops->write(console, line, sizeof(line) - 1);
	usleep(50000);
	CHECK(!has_ended(guest));
	guest_destroy(guest);
}

IN_CHILD(a_reset_starts_over)
{
	struct streams streams;
	struct guest *guest;

	guest = guest_start(&streams);
	greet(guest);
	CHECK(say(guest, STDIO, "first", 5) == 5);
	expect(streams.out, "first");
	loop_stop(guest->loop);
	pthread_join(guest->thread, NULL);
	guest_command_reset(guest->command);
	guest_run(guest);
	greet(guest);
	send_exit(guest, 0, 6, 0);
	settle(guest);
	CHECK(!has_ended(guest));
	CHECK(say(guest, STDIO, "second", 6) == 6);
	expect_end(guest, 0, "");
	expect(streams.out, "second");
	guest_destroy(guest);
}

/* It runs where there is no other file. */
static void init_is_small_and_needs_no_library(void **state)
{
	Elf64_Ehdr elf;

	(void)state;
	assert_in_range(guest_init_size, sizeof(elf), 65535);
	memcpy(&elf, guest_init, sizeof(elf));
	assert_memory_equal(elf.e_ident, ELFMAG, SELFMAG);
	assert_int_equal(elf.e_type, ET_EXEC);
	for (unsigned int i = 0; i < elf.e_phnum; i++) {
		Elf64_Phdr part;

		memcpy(&part, guest_init + elf.e_phoff + i * sizeof(part),
		       sizeof(part));
		assert_int_not_equal(part.p_type, PT_INTERP);
		assert_int_not_equal(part.p_type, PT_DYNAMIC);
	}
}

static void the_records_of_a_command(void **state)
{
	static const char wanted[] = "arg=sh\0arg=\0env=B=2\0env=A=3\0"
				     "try-cwd=/here\0user=me\0tty=1";
	char *argv[] = { "sh", "", NULL };
	const char *env[] = { "A=1", "B=2", "A=3" };
	const struct guest_command_options options = {
		.argv = argv,
		.env = env,
		.nr_env = 3,
		.try_cwd = "/here",
		.user = "me",
		.tty = true,
	};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	guest_command_describe(&options, out);
	fclose(out);
	assert_int_equal(len, sizeof(wanted));
	assert_memory_equal(text, wanted, len);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			stdin_comes_after_hello_and_its_end_is_counted),
		cmocka_unit_test(the_end_waits_for_all_output),
		cmocka_unit_test(the_end_waits_for_a_slow_reader),
		cmocka_unit_test(
			a_guest_that_says_more_than_we_hold_has_to_wait),
		cmocka_unit_test(the_guest_hears_that_nobody_reads),
		cmocka_unit_test(signals_are_passed_while_the_command_runs),
		cmocka_unit_test(what_the_guest_says_ends_in_one_clean_line),
		cmocka_unit_test(a_message_that_is_too_long_ends_it),
		cmocka_unit_test(a_message_of_an_unknown_type_ends_it),
		cmocka_unit_test(a_message_of_the_wrong_length_ends_it),
		cmocka_unit_test(another_version_ends_it),
		cmocka_unit_test(the_last_message_is_the_last_one),
		cmocka_unit_test(messages_may_come_byte_by_byte),
		cmocka_unit_test(many_messages_are_handled_in_several_turns),
		cmocka_unit_test(a_line_on_the_console_tells_before_hello_only),
		cmocka_unit_test(a_reset_starts_over),
		cmocka_unit_test(init_is_small_and_needs_no_library),
		cmocka_unit_test(the_records_of_a_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
