/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control socket's server, over a socket: what clients get whatever they
 * send, and however they behave. The VM's loop runs on a thread of its own.
 */
#include "control.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/json-frame.h>
#include <lkvm/unix-socket.h>

/* A server that answers no more ends the test by SIGALRM. */
#define TIME_LIMIT 60

struct server {
	struct control_fixture fixture;
	char folder[32];
	char path[64];
	pthread_t thread;
	struct chardev *console; /* the end that a guest would have */
	char typed[64]; /* what it was given */
	_Atomic size_t nr_typed;
	size_t room; /* for what it still takes */
};

static size_t guest_receive(void *opaque, const void *data, size_t len)
{
	struct server *s = opaque;
	size_t taken = MIN(len, s->room);

	memcpy(s->typed + s->nr_typed, data, taken);
	s->room -= taken;
	s->nr_typed += taken;
	return taken;
}

static void guest_writable(void *opaque)
{
	(void)opaque;
}

static const struct chardev_frontend_ops guest_ops = {
	.receive = guest_receive,
	.writable = guest_writable,
};

static void *run_loop(void *opaque)
{
	struct server *s = opaque;

	loop_run(s->fixture.vm.machine.loop);
	return NULL;
}

static int setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	alarm(TIME_LIMIT);
	strcpy(s->folder, "/tmp/lkvm-test-XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	snprintf(s->path, sizeof(s->path), "%s/vm.sock", s->folder);
	fixture_init(&s->fixture);
	s->fixture.config.control = s->path;
	s->console = console_hub_chardev(s->fixture.vm.console);
	s->console->frontend = &guest_ops;
	s->console->opaque = s;
	s->room = sizeof(s->typed);
	assert_int_equal(control_create(&s->fixture.vm), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, run_loop, s), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;

	loop_stop(s->fixture.vm.machine.loop);
	pthread_join(s->thread, NULL);
	control_destroy(&s->fixture.vm);
	assert_int_equal(access(s->path, F_OK), -1);
	s->console->frontend = NULL;
	fixture_release(&s->fixture);
	rmdir(s->folder);
	free(s);
	alarm(0);
	return 0;
}

/* ---- clients ------------------------------------------------------------- */

static int connect_to(struct server *s)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(address.sun_path, s->path);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 strlen(text));
}

/* The next line, without its end; NULL at the end of the stream. */
static char *line_of(int fd)
{
	static char line[1 << 16];
	const char *end = NULL;
	size_t len = 0;

	while (!end) {
		size_t room = sizeof(line) - 1 - len;
		ssize_t got = recv(fd, line + len, room, MSG_PEEK);

		if (got <= 0)
			return NULL;
		end = memchr(line + len, '\n', (size_t)got);
		/* Only up to there. */
		if (end)
			got = end + 1 - (line + len);
		assert_int_equal(recv(fd, line + len, (size_t)got, 0), got);
		len += (size_t)got;
		assert_true(end || len < sizeof(line) - 1);
	}
	assert_true(len >= 2);
	assert_int_equal(line[len - 2], '\r');
	line[len - 2] = '\0';
	return line;
}

static void hears(int fd, const char *text)
{
	const char *line = line_of(fd);

	assert_non_null(line);
	assert_string_equal(line, text);
}

static void hears_end(int fd)
{
	assert_null(line_of(fd));
	close(fd);
}

#define NOTHING "{\"return\":{}}"
#define RUNNING "{\"return\":{\"status\":\"running\",\"running\":true}}"

static int greet(struct server *s)
{
	int fd = connect_to(s);
	const char *greeting = line_of(fd);

	assert_non_null(greeting);
	assert_non_null(strstr(greeting, "{\"QMP\":{\"version\":{\"qemu\":{"));
	assert_non_null(strstr(greeting, "\"capabilities\":[]}}"));
	say(fd, "{\"execute\":\"qmp_capabilities\"}");
	hears(fd, NOTHING);
	return fd;
}

/* The server serves others, whatever has happened. */
static void works(struct server *s)
{
	int fd = greet(s);

	say(fd, "{\"execute\":\"query-status\"}");
	hears(fd, RUNNING);
	close(fd);
}

/* ---- tests --------------------------------------------------------------- */

static void commands_come_cut_anywhere(void **state)
{
	static const char text[] =
		" {\"execute\":\"query-status\",\"id\":\"}\\\"{\"}"
		"{\"execute\":\"query-kvm\"}\r\n\n[]";
	int fd = greet(*state);

	for (size_t step = 1; step < sizeof(text); step++) {
		for (size_t at = 0; at < strlen(text); at += step) {
			size_t len = MIN(step, strlen(text) - at);

			assert_int_equal(send(fd, text + at, len, 0), len);
		}
		hears(fd, "{\"return\":{\"status\":\"running\","
			  "\"running\":true},\"id\":\"}\\\"{\"}");
		hears(fd, "{\"return\":{\"enabled\":true,\"present\":true}}");
		hears(fd, "{\"error\":{\"class\":\"GenericError\",\"desc\":"
			  "\"QMP input must be a JSON object\"}}");
	}
	close(fd);
}

static void all_that_is_said_before_the_end_is_answered(void **state)
{
	int fd = greet(*state);

	say(fd, "{\"execute\":\"query-status\"}{\"execute\":\"stop\"}{\"a\"");
	shutdown(fd, SHUT_WR);
	hears(fd, RUNNING);
	assert_non_null(strstr(line_of(fd), "STOP"));
	hears(fd, NOTHING);
	hears_end(fd);
}

static void events_go_to_those_who_have_negotiated(void **state)
{
	struct server *s = *state;
	int watcher = greet(s);
	int mute = connect_to(s);
	int fd = greet(s);
	const char *line;

	assert_non_null(line_of(mute));
	say(fd, "{\"execute\":\"stop\"}");
	/* What a command causes comes before its reply. */
	line = line_of(fd);
	assert_non_null(strstr(line, "{\"timestamp\":{\"seconds\":"));
	assert_non_null(strstr(line, "\"event\":\"STOP\"}"));
	hears(fd, NOTHING);
	assert_non_null(strstr(line_of(watcher), "\"event\":\"STOP\"}"));
	say(mute, "{\"execute\":\"stop\"}");
	assert_non_null(strstr(line_of(mute), "CommandNotFound"));
	vm_event(&s->fixture.vm, "POWERDOWN", NULL);
	assert_non_null(strstr(line_of(watcher), "\"event\":\"POWERDOWN\"}"));
	/* Nor do they hear what is for --events alone. */
	vm_event_own(&s->fixture.vm, "START", NULL);
	vm_event(&s->fixture.vm, "RESET", json_pack("{s:b}", "guest", 1));
	assert_non_null(
		strstr(line_of(watcher),
		       "\"event\":\"RESET\",\"data\":{\"guest\":true}}"));
	close(watcher);
	close(mute);
	close(fd);
}

static void what_is_too_long_ends_its_client(void **state)
{
	static char text[CONTROL_MAX_MESSAGE];
	int fd = greet(*state);

	/* The longest command that there can be. */
	memset(text, ' ', sizeof(text));
	memcpy(text, "{\"execute\":\"query-status\"", 25);
	text[sizeof(text) - 1] = '}';
	assert_int_equal(send(fd, text, sizeof(text), 0), sizeof(text));
	hears(fd, RUNNING);
	text[sizeof(text) - 1] = ' ';
	assert_int_equal(send(fd, text, sizeof(text), 0), sizeof(text));
	assert_non_null(strstr(line_of(fd), "the command is too long"));
	hears_end(fd);
	works(*state);
}

static void what_is_too_deep_ends_its_client(void **state)
{
	char text[JSON_FRAME_MAX_DEPTH + 2];
	int fd = greet(*state);

	memset(text, '[', sizeof(text));
	text[JSON_FRAME_MAX_DEPTH + 1] = '\0';
	say(fd, text);
	assert_non_null(strstr(line_of(fd), "nested too deeply"));
	hears_end(fd);
	works(*state);
}

static void a_gibibyte_without_an_end_is_cut_off(void **state)
{
	static char block[1 << 20];
	int fd = greet(*state);
	uint64_t sent = 0;
	ssize_t got;

	memset(block, 'x', sizeof(block));
	do {
		got = send(fd, block, sizeof(block), MSG_NOSIGNAL);
		sent += got > 0 ? (uint64_t)got : 0;
	} while (got > 0 && sent < GIB);
	assert_true(sent < GIB);
	close(fd);
	works(*state);
}

static void who_does_not_read_is_read_no_more(void **state)
{
	static const char command[] = "{\"execute\":\"query-commands\"}";
	struct server *s = *state;
	int fd = greet(s);
	ssize_t got;

	/* Its own replies fill the way back, and then its commands that here. */
	do {
		got = send(fd, command, strlen(command),
			   MSG_DONTWAIT | MSG_NOSIGNAL);
		if (got < 0 && errno == EAGAIN) {
			struct pollfd wait = { .fd = fd, .events = POLLOUT };

			works(s);
			if (!poll(&wait, 1, 50))
				break;
			got = 1;
		}
	} while (got > 0);
	assert_int_equal(got, -1);
	works(s);
	/* It is served again as soon as it reads. */
	for (unsigned int i = 0; i < 100; i++)
		assert_non_null(strstr(line_of(fd), "query-commands"));
	close(fd);
	works(s);
}

static void who_does_not_take_events_is_ended(void **state)
{
	struct server *s = *state;
	int idle = greet(s);
	int fd = greet(s);
	uint64_t bytes = 0;
	char text[4096];
	ssize_t got;

	/* The socket holds some, too. */
	while (bytes < 2 * CONTROL_MAX_OUTPUT) {
		for (unsigned int i = 0; i < 10; i++)
			say(fd, "{\"execute\":\"stop\"}{\"execute\":\"cont\"}");
		for (unsigned int i = 0; i < 40; i++)
			bytes += strlen(line_of(fd));
	}
	bytes = 0;
	while ((got = read(idle, text, sizeof(text))) > 0)
		bytes += (uint64_t)got;
	/* The end came early, and nothing that was sent is lost before it. */
	assert_true(bytes < 2 * CONTROL_MAX_OUTPUT);
	close(idle);
	close(fd);
	works(s);
}

static void clients_may_go_at_any_time(void **state)
{
	static const char text[] =
		"{\"execute\":\"query-commands\"}{\"execute\":\"stop\"}"
		"{\"execute\":\"cont\"}{\"execute\":\"x-lkvm-console\"}";
	struct server *s = *state;

	for (size_t len = 0; len <= strlen(text); len++) {
		int fd = greet(s);

		assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
		close(fd);
	}
	works(s);
}

static void clients_are_limited(void **state)
{
	static const char refusal[] =
		"\"error\":{\"class\":\"GenericError\",\"desc\":\"too many "
		"clients are connected (32 at most)\"}";
	int fds[CONTROL_MAX_CLIENTS], refused[CONTROL_MAX_REFUSED];
	int more;

	for (unsigned int i = 0; i < CONTROL_MAX_CLIENTS; i++)
		fds[i] = greet(*state);
	for (unsigned int i = 0; i < CONTROL_MAX_REFUSED; i++) {
		refused[i] = connect_to(*state);
		assert_non_null(strstr(line_of(refused[i]), "{\"QMP\":"));
	}
	/* Nor is there room for more of those. */
	more = connect_to(*state);
	assert_non_null(strstr(line_of(more), refusal));
	hears_end(more);
	for (unsigned int i = 0; i < CONTROL_MAX_REFUSED; i++) {
		say(refused[i], "{\"execute\":\"qmp_capabilities\",\"id\":7}");
		more = refused[i];
		assert_non_null(strstr(line_of(more), refusal));
		hears_end(more);
	}
	say(fds[0], "{\"execute\":\"query-status\"}");
	hears(fds[0], RUNNING);
	/* The end of one makes room; when, is the server's to know. */
	shutdown(fds[0], SHUT_WR);
	hears_end(fds[0]);
	fds[0] = greet(*state);
	for (unsigned int i = 0; i < CONTROL_MAX_CLIENTS; i++)
		close(fds[i]);
}

static void hears_bytes(int fd, const char *text)
{
	for (; *text; text++) {
		char c = '\0';

		assert_int_equal(read(fd, &c, 1), 1);
		assert_int_equal(c, *text);
	}
}

static void guest_says(struct server *s, const char *text)
{
	assert_int_equal(s->console->ops->write(s->console, text, strlen(text)),
			 strlen(text));
}

static void a_console_has_several_watchers(void **state)
{
	struct server *s = *state;
	int first = greet(s);
	int second = greet(s);
	int fd = greet(s);

	guest_says(s, "boot\n");
	say(first, "{\"execute\":\"x-lkvm-console\"}");
	hears(first, "{\"return\":{\"backlog\":5}}");
	hears_bytes(first, "boot\n");
	say(second, "{\"execute\":\"x-lkvm-console\",\"id\":1}");
	hears(second, "{\"return\":{\"backlog\":5},\"id\":1}");
	hears_bytes(second, "boot\n");
	guest_says(s, "login: ");
	hears_bytes(first, "login: ");
	hears_bytes(second, "login: ");
	/* There are no events among it. */
	say(fd, "{\"execute\":\"stop\"}");
	assert_non_null(line_of(fd));
	hears(fd, NOTHING);
	guest_says(s, "\xff{}");
	hears_bytes(first, "\xff{}");
	close(first);
	guest_says(s, "more");
	hears_bytes(second, "\xff{}more");
	close(second);
	close(fd);
}

/* Also when those who watch already have not been shown all of it. */
static void a_watcher_is_shown_everything_once(void **state)
{
	struct server *s = *state;
	int watcher = greet(s);
	char shown[32] = "";
	char reply[64];

	say(watcher, "{\"execute\":\"x-lkvm-console\"}");
	hears(watcher, "{\"return\":{\"backlog\":0}}");
	for (unsigned int i = 1; i <= 10; i++) {
		int fd = greet(s);

		guest_says(s, "a");
		say(fd, "{\"execute\":\"x-lkvm-console\"}");
		strcat(shown, "a");
		snprintf(reply, sizeof(reply), "{\"return\":{\"backlog\":%zu}}",
			 strlen(shown));
		hears(fd, reply);
		hears_bytes(fd, shown);
		guest_says(s, "b");
		strcat(shown, "b");
		hears_bytes(fd, "b");
		close(fd);
	}
	hears_bytes(watcher, shown);
	close(watcher);
}

static void typed(struct server *s, const char *text)
{
	while (s->nr_typed < strlen(text))
		usleep(100);
	assert_int_equal(s->nr_typed, strlen(text));
	assert_memory_equal(s->typed, text, strlen(text));
}

static void what_a_watcher_sends_is_typed(void **state)
{
	struct server *s = *state;
	int fd = greet(s);
	int other = greet(s);

	/* The end of the command's line is none of it, however late it comes. */
	say(fd, "{\"execute\":\"x-lkvm-console\"}");
	hears(fd, "{\"return\":{\"backlog\":0}}");
	say(fd, "\r\n");
	say(fd, "{\"a\"");
	typed(s, "{\"a\"");
	say(other, "{\"execute\":\"x-lkvm-console-write\",\"arguments\":"
		   "{\"data\":\"aGkK\"}}");
	hears(other, "{\"return\":{\"taken\":3}}");
	typed(s, "{\"a\"hi\n");
	close(fd);
	close(other);
}

/* More than a socket holds: the rest goes out after the client's last word. */
static void what_was_shown_reaches_a_watcher_that_says_no_more(void **state)
{
	static char text[1000];
	struct server *s = *state;
	int watcher = greet(s);
	size_t left = 400 * sizeof(text);
	ssize_t got;

	say(watcher, "{\"execute\":\"x-lkvm-console\"}");
	hears(watcher, "{\"return\":{\"backlog\":0}}");
	for (size_t said = 0; said < left;)
		said += s->console->ops->write(s->console, text,
					       MIN(sizeof(text), left - said));
	usleep(20000);
	works(s);
	shutdown(watcher, SHUT_WR);
	works(s);
	while ((got = read(watcher, text, MIN(sizeof(text), left))) > 0)
		left -= (size_t)got;
	assert_int_equal(left, 0);
	hears_end(watcher);
}

static void a_slow_watcher_holds_nobody_up(void **state)
{
	static char text[1000];
	struct server *s = *state;
	int slow = greet(s);
	int fd = greet(s);
	uint64_t said = 0;
	size_t taken;

	memset(text, 'x', sizeof(text));
	say(slow, "{\"execute\":\"x-lkvm-console\"}");
	hears(slow, "{\"return\":{\"backlog\":0}}");
	while (said < 4 * CONTROL_MAX_OUTPUT) {
		taken = s->console->ops->write(s->console, text, sizeof(text));
		said += taken;
		if (taken == sizeof(text))
			continue;
		say(fd, "{\"execute\":\"query-status\"}");
		hears(fd, RUNNING);
	}
	close(fd);
	close(slow);
	works(s);
}

static void a_second_server_has_no_such_place(void **state)
{
	struct server *s = *state;
	struct control_fixture other;

	fixture_init(&other);
	other.config.control = s->path;
	assert_int_equal(control_create(&other.vm), -EADDRINUSE);
	control_destroy(&other.vm);
	fixture_release(&other);
	works(s);
}

#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER_TEST(commands_come_cut_anywhere),
		SERVER_TEST(all_that_is_said_before_the_end_is_answered),
		SERVER_TEST(events_go_to_those_who_have_negotiated),
		SERVER_TEST(what_is_too_long_ends_its_client),
		SERVER_TEST(what_is_too_deep_ends_its_client),
		SERVER_TEST(a_gibibyte_without_an_end_is_cut_off),
		SERVER_TEST(who_does_not_read_is_read_no_more),
		SERVER_TEST(who_does_not_take_events_is_ended),
		SERVER_TEST(clients_may_go_at_any_time),
		SERVER_TEST(clients_are_limited),
		SERVER_TEST(a_console_has_several_watchers),
		SERVER_TEST(a_watcher_is_shown_everything_once),
		SERVER_TEST(what_a_watcher_sends_is_typed),
		SERVER_TEST(what_was_shown_reaches_a_watcher_that_says_no_more),
		SERVER_TEST(a_slow_watcher_holds_nobody_up),
		SERVER_TEST(a_second_server_has_no_such_place),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
