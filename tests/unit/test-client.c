/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What builtin-client.c promises of conversations with VMs, against a server
 * that says what each test wants it to.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>
#include <lkvm/unix-socket.h>
#include <lkvm/vm.h>

/* builtin-help.c wants one. */
const struct command commands[] = { { .name = NULL } };

#define GREETING "{\"QMP\": {}}\r\n"
#define NEGOTIATED "{\"return\": {}, \"id\": 1}\r\n"

static char folder[] = "/tmp/lkvm-client-XXXXXX";

/* One connection's server: says line after line, one for each it hears. */
struct server {
	struct unix_listener listener;
	const char *const *says; /* NULL-ended; then it listens to the end */
	bool hangs_up; /* ... or closes */
	pthread_barrier_t *together; /* it greets when others do; or NULL */
	char heard[1024];
	pthread_t thread;
};

static void hear_line(struct server *s, int fd)
{
	size_t len = strlen(s->heard);
	char c = 0;

	while (c != '\n' && len < sizeof(s->heard) - 1 && read(fd, &c, 1) == 1)
		s->heard[len++] = c;
}

static void *serve(void *opaque)
{
	struct server *s = opaque;
	struct pollfd ready = { .fd = s->listener.fd, .events = POLLIN };
	int fd;
	char c;

	poll(&ready, 1, -1);
	fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	if (s->together)
		pthread_barrier_wait(s->together);
	for (unsigned int i = 0; s->says[i]; i++) {
		if (i)
			hear_line(s, fd);
		send(fd, s->says[i], strlen(s->says[i]), MSG_NOSIGNAL);
	}
	while (!s->hangs_up && read(fd, &c, 1) == 1)
		;
	close(fd);
	return NULL;
}

static void server_start(struct server *s, const char *name,
			 const char *const *says)
{
	char path[100];

	s->says = says;
	snprintf(path, sizeof(path), "%s/lkvm/%s.sock", folder, name);
	assert_int_equal(unix_listen(path, 4, &s->listener), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_end(struct server *s)
{
	pthread_join(s->thread, NULL);
	unix_listener_close(&s->listener);
}

static void client_init(struct client *c, char *name)
{
	*c = (struct client) {
		.name = name,
		.limit_ns = CLIENT_LIMIT_NS,
		.fd = -1,
		.pidfd = -1,
	};
}

/* Ask a server that @says so; what is wrong is @error. Returns the answer. */
static json_t *ask(const char *const *says, bool hangs_up, int err,
		   const char *error)
{
	struct server s = { .hangs_up = hangs_up };
	json_t *answer = NULL;
	struct client c;
	int got;

	client_init(&c, "vm");
	server_start(&s, "vm", says);
	/* Only a server that says nothing may take its time. */
	if (err == -ETIMEDOUT)
		c.limit_ns = 50000000;
	got = client_connect(&c);
	if (!got)
		got = client_execute(&c, "query-x", json_pack("{s:i}", "a", 5),
				     &answer);
	assert_int_equal(got, err);
	if (error)
		assert_string_equal(c.error, error);
	client_disconnect(&c);
	server_end(&s);
	if (!err)
		assert_string_equal(
			s.heard,
			"{\"execute\":\"qmp_capabilities\",\"id\":1}\n"
			"{\"execute\":\"query-x\",\"arguments\":{\"a\":5},"
			"\"id\":2}\n");
	return answer;
}

static void check_answer(json_t *answer)
{
	assert_int_equal(json_integer_value(json_object_get(answer, "n")), 42);
	json_decref(answer);
}

#define ANSWER "{\"return\": {\"n\": 42}, \"id\": 2}\r\n"
#define SAYS(...) ((const char *const[]) { __VA_ARGS__, NULL })

static void an_answer_is_taken(void **state)
{
	(void)state;
	check_answer(ask(SAYS(GREETING, NEGOTIATED, ANSWER), false, 0, NULL));
	check_answer(ask(SAYS(GREETING, NEGOTIATED, ANSWER), true, 0, NULL));
}

static void events_and_late_answers_are_passed_over(void **state)
{
	(void)state;
	check_answer(ask(SAYS(GREETING, NEGOTIATED "{\"event\": \"STOP\"}\n",
			      "{\"event\": \"RESUME\"}\n"
			      "{\"return\": {\"n\": 1}, \"id\": 1}\n" ANSWER),
			 false, 0, NULL));
}

static void an_answer_longer_than_a_buffer_is_taken(void **state)
{
	char *text;

	(void)state;
	assert_true(asprintf(&text,
			     "{\"return\": {\"n\": 42, \"x\": \"%0*d\"}, "
			     "\"id\": 2}\n",
			     100000, 7) > 0);
	check_answer(ask(SAYS(GREETING, NEGOTIATED, text), false, 0, NULL));
	free(text);
}

static void a_refusal_is_told_in_the_vms_words(void **state)
{
	(void)state;
	ask(SAYS(GREETING, NEGOTIATED,
		 "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"},"
		 " \"id\": 2}\n"),
	    false, -EREMOTEIO, "no");
	ask(SAYS(GREETING, NEGOTIATED, "{\"error\": 5, \"id\": 2}\n"), false,
	    -EREMOTEIO, "it refuses");
}

static void a_refusal_may_come_in_place_of_a_greeting(void **state)
{
	(void)state;
	ask(SAYS("{\"error\": {\"class\": \"GenericError\", \"desc\": "
		 "\"too many\"}}\r\n"),
	    true, -EREMOTEIO, "too many");
}

static void what_is_not_qmp_is_told(void **state)
{
	static const char told[] = "its socket does not speak QMP";

	(void)state;
	ask(SAYS("HTTP/1.1 400 Bad Request\r\n"), true, -EPROTO, told);
	ask(SAYS("[]\n"), true, -EPROTO, told);
	ask(SAYS("{\"return\": {}}\n"), true, -EPROTO, told);
	ask(SAYS(GREETING, "nonsense\n"), true, -EPROTO, told);
	ask(SAYS(GREETING, NEGOTIATED, "{\"id\": 2}\n"), true, -EPROTO, told);
}

static void an_answer_without_end_is_given_up(void **state)
{
	size_t len = CLIENT_MAX_MESSAGE + (1 << 20);
	char *text = malloc(len + 1);

	(void)state;
	memset(text, 'x', len);
	text[len] = '\0';
	ask(SAYS(GREETING, NEGOTIATED, text), true, -EPROTO,
	    "its answer has no end");
	free(text);
}

static void a_vm_that_ends_is_told(void **state)
{
	(void)state;
	ask(SAYS(GREETING, NEGOTIATED, "{\"return\": {\"n\""), true,
	    -ECONNRESET, "it has ended");
	ask(SAYS(GREETING), true, -ECONNRESET, "it has ended");
	ask(SAYS(""), true, -ECONNRESET, "it has ended");
}

static void a_vm_that_says_nothing_is_given_up(void **state)
{
	(void)state;
	ask(SAYS(""), false, -ETIMEDOUT, "it does not answer");
	ask(SAYS(GREETING), false, -ETIMEDOUT, "it does not answer");
	ask(SAYS(GREETING, NEGOTIATED, "{\"return\": {}"), false, -ETIMEDOUT,
	    "it does not answer");
}

/* Each of its answers would have hours. */
static void all_answers_together_have_their_time(void **state)
{
	struct server s = { 0 };
	struct client c;

	(void)state;
	alarm(60);
	client_init(&c, "vm");
	c.limit_ns = UINT64_C(3600) * 1000000000;
	c.until_ns = now_ns() + 200000000;
	server_start(&s, "vm", SAYS(GREETING, NEGOTIATED));
	assert_int_equal(client_connect(&c), 0);
	assert_int_equal(client_execute(&c, "query-x", NULL, NULL), -ETIMEDOUT);
	client_disconnect(&c);
	server_end(&s);
	alarm(0);
}

static void those_of_a_glance_have_it_together(void **state)
{
	struct client clients[3] = { 0 };
	struct client_set set = { clients, ARRAY_SIZE(clients) };

	(void)state;
	client_set_glance(&set);
	assert_true(clients[0].until_ns > now_ns());
	assert_true(clients[0].until_ns < now_ns() + 2 * CLIENT_GLANCE_NS);
	assert_int_equal(clients[1].until_ns, clients[0].until_ns);
	assert_int_equal(clients[2].until_ns, clients[0].until_ns);
}

/* A socket file that nobody listens on. */
static void make_stale(const char *name)
{
	struct unix_listener listener;
	char path[100];

	snprintf(path, sizeof(path), "%s/lkvm/%s.sock", folder, name);
	assert_int_equal(unix_listen(path, 1, &listener), 0);
	close(listener.fd);
}

static void remove_socket(const char *name)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/lkvm/%s.sock", folder, name);
	assert_int_equal(unlink(path), 0);
}

static void check_connect(char *name, int err, const char *error)
{
	struct client c;

	client_init(&c, name);
	assert_int_equal(client_connect(&c), err);
	assert_string_equal(c.error, error);
	client_disconnect(&c);
}

static void a_vm_that_is_not_there_is_told(void **state)
{
	(void)state;
	check_connect("nosuch", -ENOENT,
		      "there is no VM of this name ('lkvm list' shows all)");
	check_connect("./nosuch", -ENOENT,
		      "there is no VM of this name ('lkvm list' shows all)");
	check_connect("", -EINVAL, "no VM can have this name");
	make_stale("dead");
	check_connect("dead", -ECONNREFUSED,
		      "its process has died ('lkvm list' removes what is left "
		      "of it)");
	remove_socket("dead");
}

static void a_folder_that_others_can_change_is_not_trusted(void **state)
{
	struct server s = { 0 };
	struct client_set set;
	char path[100];
	struct client c;

	(void)state;
	server_start(&s, "vm", SAYS(GREETING, NEGOTIATED));
	snprintf(path, sizeof(path), "%s/lkvm", folder);
	assert_int_equal(chmod(path, 0777), 0);
	client_init(&c, "vm");
	assert_int_equal(client_connect(&c), -EPERM);
	assert_int_equal(c.fd, -1);
	assert_int_equal(client_set_all(&set), -EPERM);
	assert_int_equal(chmod(path, 0700), 0);
	assert_int_equal(client_connect(&c), 0);
	client_disconnect(&c);
	server_end(&s);
}

static void another_users_socket_is_not_spoken_to(void **state)
{
	struct server s = { 0 };
	struct client c;

	(void)state;
	if (geteuid())
		skip();
	server_start(&s, "vm", SAYS(GREETING, NEGOTIATED));
	/* Who has listened last counts for the other side. */
	assert_int_equal(seteuid(65534), 0);
	assert_int_equal(listen(s.listener.fd, 4), 0);
	assert_int_equal(seteuid(0), 0);
	client_init(&c, "vm");
	assert_int_equal(client_connect(&c), -EPERM);
	assert_string_equal(c.error,
			    "its socket is that of user 65534, not yours");
	client_disconnect(&c);
	server_end(&s);
}

static int ask_n(struct client *c, void *opaque)
{
	return client_execute(c, opaque, NULL, &c->result);
}

static void all_vms_are_found_and_asked_at_once(void **state)
{
	pthread_barrier_t barrier;
	struct server s[2] = { { .together = &barrier },
			       { .together = &barrier } };
	struct client_set set;

	(void)state;
	pthread_barrier_init(&barrier, NULL, 2);
	server_start(&s[0], "vm10", SAYS(GREETING, NEGOTIATED, ANSWER));
	server_start(&s[1], "vm9", SAYS(GREETING, NEGOTIATED, ANSWER));
	make_stale("zombie");
	assert_int_equal(client_set_all(&set), 0);
	assert_int_equal(set.count, 3);
	assert_string_equal(set.clients[0].name, "vm9");
	assert_string_equal(set.clients[1].name, "vm10");
	assert_string_equal(set.clients[2].name, "zombie");
	client_set_run(&set, ask_n, "query-x");
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(set.clients[i].err, 0);
		assert_int_equal(set.clients[i].pid, getpid());
		check_answer(json_incref(set.clients[i].result));
	}
	assert_int_equal(set.clients[2].err, -ECONNREFUSED);
	assert_true(client_is_gone(&set.clients[2]));
	/* Of all, the dead are not missed. */
	assert_int_equal(client_set_report(&set, true), STATUS_OK);
	assert_int_equal(client_set_report(&set, false), STATUS_LKVM_FAILED);
	client_set_release(&set);
	server_end(&s[0]);
	server_end(&s[1]);
	pthread_barrier_destroy(&barrier);
	remove_socket("zombie");
}

static void only_sockets_of_vms_are_found(void **state)
{
	static const char *const others[] = { "lkvm/.sock", "lkvm/.x.sock",
					      "lkvm/vm.sock.old", "lkvm/vm" };
	struct client_set set;
	char path[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, others[i]);
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	assert_int_equal(client_set_all(&set), 0);
	assert_int_equal(set.count, 0);
	client_set_release(&set);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, others[i]);
		assert_int_equal(unlink(path), 0);
	}
}

static int make_folder(void **state)
{
	char path[100];

	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/lkvm", folder);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	return mkdir(path, 0700);
}

static int remove_folder(void **state)
{
	char path[100];

	(void)state;
	snprintf(path, sizeof(path), "%s/lkvm", folder);
	return rmdir(path) || rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_taken),
		cmocka_unit_test(events_and_late_answers_are_passed_over),
		cmocka_unit_test(an_answer_longer_than_a_buffer_is_taken),
		cmocka_unit_test(a_refusal_is_told_in_the_vms_words),
		cmocka_unit_test(a_refusal_may_come_in_place_of_a_greeting),
		cmocka_unit_test(what_is_not_qmp_is_told),
		cmocka_unit_test(an_answer_without_end_is_given_up),
		cmocka_unit_test(a_vm_that_ends_is_told),
		cmocka_unit_test(a_vm_that_says_nothing_is_given_up),
		cmocka_unit_test(all_answers_together_have_their_time),
		cmocka_unit_test(those_of_a_glance_have_it_together),
		cmocka_unit_test(a_vm_that_is_not_there_is_told),
		cmocka_unit_test(
			a_folder_that_others_can_change_is_not_trusted),
		cmocka_unit_test(another_users_socket_is_not_spoken_to),
		cmocka_unit_test(all_vms_are_found_and_asked_at_once),
		cmocka_unit_test(only_sockets_of_vms_are_found),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
