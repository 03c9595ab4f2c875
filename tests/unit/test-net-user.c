/* SPDX-License-Identifier: GPL-2.0 */
/*
 * net/passt.c and passt-args.c: forwards and addresses as users write them;
 * a passt that is missing, fails, lies or dies, and the real one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/loop.h>
#include <lkvm/passt.h>
#include <lkvm/util.h>

/* ---- forwards ------------------------------------------------------------ */

static const struct {
	const char *text;
	struct net_forward wanted;
} good_forwards[] = {
	{ "tcp:8080-:80", { false, "", 8080, 80 } },
	{ "udp:53-:5353", { true, "", 53, 5353 } },
	{ "tcp::2222-:22", { false, "", 2222, 22 } },
	{ "tcp:127.0.0.1:1-:65535", { false, "127.0.0.1", 1, 65535 } },
	{ "udp:[::1]:65535-:1", { true, "::1", 65535, 1 } },
	{ "tcp:[fe80::1:2]:22-:22", { false, "fe80::1:2", 22, 22 } },
};
static const char *const bad_forwards[] = {
	"",
	"tcp",
	"tcp:",
	"tcp:80",
	"tcp:80:80",
	"tcp:80-80",
	"tcp:-:",
	"tcp:80-:",
	"tcp:-:80",
	"sctp:80-:80",
	"80-:80",
	"tcp:0-:80",
	"tcp:80-:0",
	"tcp:65536-:80",
	"tcp:80-:65536",
	"tcp:+80-:80",
	"tcp: 80-:80",
	"tcp:0x50-:80",
	"tcp:080-:80",
	"tcp:010-:80",
	"tcp:80-:80,",
	"tcp:80-:80-:80",
	"tcp:1.2.3:80-:80",
	"tcp:1.2.3.4.5:80-:80",
	"tcp:host:80-:80",
	"tcp:::1:80-:80",
	"tcp:[::1:80-:80",
	"tcp:[]:80-:80",
	"tcp:[1.2.3.4]:80-:80",
	"tcp:[::1]80-:80",
	"tcp:::80-:80",
	"tcp:123456789-:80",
	"tcp:[1111:1111:1111:1111:1111:1111:1111:1111:1:1]:80-:80",
};

static void test_forwards(void **state)
{
	struct net_forward got;
	const char *why;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(good_forwards); i++) {
		memset(&got, 0xee, sizeof(got));
		assert_int_equal(net_forward_parse(good_forwards[i].text, &got,
						   &why),
				 0);
		assert_int_equal(got.udp, good_forwards[i].wanted.udp);
		assert_string_equal(got.address,
				    good_forwards[i].wanted.address);
		assert_int_equal(got.host_port,
				 good_forwards[i].wanted.host_port);
		assert_int_equal(got.guest_port,
				 good_forwards[i].wanted.guest_port);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(bad_forwards); i++) {
		why = NULL;
		if (net_forward_parse(bad_forwards[i], &got, &why) != -EINVAL)
			fail_msg("'%s' was taken", bad_forwards[i]);
		assert_non_null(why);
	}
}

/* ---- arguments ----------------------------------------------------------- */

static const struct net_options plain = {
	.mode = NET_MODE_USER,
	.fd = NET_NO_FD,
	.pairs = 1,
};

/* The arguments, each with a blank in front. */
static char *joined(const struct net_options *options)
{
	struct passt_args args;
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	if (passt_args_init(&args, options, "net0", 3))
		return NULL;
	out = open_memstream(&text, &len);
	for (unsigned int i = 0; i < args.argc; i++)
		fprintf(out, " %s", args.argv[i]);
	fclose(out);
	assert_null(args.argv[args.argc]);
	passt_args_release(&args);
	return text;
}

static void assert_args(const struct net_options *options, const char *part)
{
	char *text = joined(options);

	assert_non_null(text);
	if (!strstr(text, part))
		fail_msg("no '%s' in '%s'", part, text);
	free(text);
}

static void test_arguments(void **state)
{
	struct net_options options = plain;

	(void)state;
	assert_args(&options, " --foreground --quiet --fd 3 --mtu 65520"
			      " -a 192.168.33.15 -g 192.168.33.1 -n 24 -M ");
	assert_args(&options, " -t none -u none");
	options.guest_ip = "10.0.0.9";
	options.host_ip = "10.1.0.1/8";
	options.mtu = 1400;
	assert_args(&options, " --mtu 1400 -a 10.0.0.9 -g 10.1.0.1 -n 8 ");
	for (unsigned int i = 0; i < NET_MAX_FORWARDS; i++)
		options.forward[options.nr_forwards++] = (struct net_forward) {
			.host_port = (uint16_t)(1000 + i),
			.guest_port = 22,
		};
	assert_args(&options, " -t 1063:22 -u none");
	options.forward[63].udp = true;
	strcpy(options.forward[63].address, "::1");
	assert_args(&options, " -t 1062:22 -u ::1/1063:22");
}

static void test_arguments_refused(void **state)
{
	static const struct {
		const char *guest, *host;
	} addresses[] = {
		{ "10.0.0.1", NULL },	    { NULL, "10.0.0.1" },
		{ "192.168.33.1", NULL },   { "::1", NULL },
		{ "192.168.33.300", NULL }, { NULL, "192.168.33.1/33" },
		{ NULL, "192.168.33.1/" },  { "192.168.33.15/24", NULL },
	};
	struct net_options options;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(addresses); i++) {
		options = plain;
		options.guest_ip = addresses[i].guest;
		options.host_ip = addresses[i].host;
		assert_null(joined(&options));
	}
	options = plain;
	options.tapif = "tap0";
	assert_null(joined(&options));
	options = plain;
	options.script = "x";
	assert_null(joined(&options));
	options = plain;
	options.downscript = "x";
	assert_null(joined(&options));
	options = plain;
	options.fd = 3;
	assert_null(joined(&options));
	options = plain;
	options.pairs = 2;
	assert_null(joined(&options));
	options = plain;
	options.mtu = PASST_MTU + 1;
	assert_null(joined(&options));
}

/* ---- processes ----------------------------------------------------------- */

struct host {
	char dir[32];
	char *path; /* PATH as it was */
	char *err; /* what was said on stderr */
	int saved_stderr;
	struct net_backend *backend;
	struct loop *loop;
	unsigned int readable, writable, downs;
};

/* A passt of our own: the shell script @body. */
static void fake(struct host *host, const char *body)
{
	char file[64];
	FILE *out;

	snprintf(file, sizeof(file), "%s/passt", host->dir);
	out = fopen(file, "we");
	assert_non_null(out);
	fprintf(out, "#!/bin/bash\nPATH=/bin:/usr/bin\n%s\n", body);
	fclose(out);
	assert_int_equal(chmod(file, 0755), 0);
	setenv("PATH", host->dir, 1);
}

static void hear(struct host *host)
{
	char file[64];
	int fd;

	snprintf(file, sizeof(file), "%s/err", host->dir);
	fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	host->saved_stderr = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/* What was said since hear(), in one line. */
static void assert_said(struct host *host, const char *wanted)
{
	char text[512] = "";
	ssize_t n = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	dup2(host->saved_stderr, STDERR_FILENO);
	close(host->saved_stderr);
	assert_string_equal(text, wanted);
}

static int set_up(void **state)
{
	struct host *host = calloc(1, sizeof(*host));

	assert_non_null(host);
	strcpy(host->dir, "/tmp/lkvm-passt.XXXXXX");
	assert_non_null(mkdtemp(host->dir));
	host->path = strdup(getenv("PATH"));
	assert_int_equal(loop_create(&host->loop), 0);
	*state = host;
	return 0;
}

static int tear_down(void **state)
{
	struct host *host = *state;
	char file[64];

	if (host->backend)
		host->backend->ops->destroy(host->backend);
	/* Nobody is left behind. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	loop_destroy(host->loop);
	setenv("PATH", host->path, 1);
	snprintf(file, sizeof(file), "%s/passt", host->dir);
	unlink(file);
	snprintf(file, sizeof(file), "%s/err", host->dir);
	unlink(file);
	rmdir(host->dir);
	free(host->path);
	free(host);
	return 0;
}

static void on_readable(void *opaque, unsigned int queue)
{
	struct host *host = opaque;
	uint8_t frame[2048];
	struct iovec iov = { frame, sizeof(frame) };

	assert_int_equal(queue, 0);
	while (host->backend->ops->receive(host->backend, 0, &iov, 1,
					   sizeof(frame)) > 0)
		host->readable++;
	if (host->readable)
		loop_stop(host->loop);
}

static void on_writable(void *opaque, unsigned int queue)
{
	struct host *host = opaque;

	assert_int_equal(queue, 0);
	host->writable++;
}

static void on_link(void *opaque, bool up)
{
	struct host *host = opaque;

	assert_false(up);
	host->downs++;
	loop_stop(host->loop);
}

static const struct net_frontend_ops frontend = {
	.readable = on_readable,
	.writable = on_writable,
	.link = on_link,
};

static int create(struct host *host, const struct net_options *options)
{
	int err = net_user_create(options, "net0", &host->backend);

	if (!err) {
		host->backend->frontend = &frontend;
		host->backend->opaque = host;
	}
	return err;
}

static int complete(struct host *host)
{
	return host->backend->ops->complete(host->backend);
}

/* An answer of any kind says that it has started. */
#define ANSWER "printf '\\0\\0\\0\\17%015d' 0 >&3\n"

static void test_missing(void **state)
{
	struct host *host = *state;
	struct net_options options = plain;

	setenv("PATH", host->dir, 1);
	hear(host);
	assert_int_equal(create(host, &options), -ENOENT);
	assert_said(host, "lkvm: net0: mode=user needs passt (install the "
			  "package passt)\n");
	options.implicit = true;
	hear(host);
	assert_int_equal(create(host, &options), -ENOENT);
	assert_said(host,
		    "lkvm: warning: no network: there is no passt (install "
		    "the package passt, or -n mode=none for none)\n");
}

static void assert_start_fails(struct host *host, const char *body,
			       const char *why)
{
	char wanted[256];

	fake(host, body);
	hear(host);
	assert_int_equal(create(host, &plain), 0);
	assert_true(complete(host) < 0);
	snprintf(wanted, sizeof(wanted), "lkvm: net0: passt cannot start: %s\n",
		 why);
	assert_said(host, wanted);
	host->backend->ops->destroy(host->backend);
	host->backend = NULL;
}

static void test_fails(void **state)
{
	struct host *host = *state;

	assert_start_fails(host, "exit 7", "status 7");
	assert_start_fails(host, "kill -9 $$", "killed by signal 9");
	assert_start_fails(host, "echo no port >&2; exit 1", "no port");
	assert_start_fails(host,
			   "echo first >&2; echo Failed to send 9 bytes >&2\n"
			   "printf 'last\\033[31m\\n' >&2\n"
			   "echo \"Don't run as root. Nobody.\" >&2; exit 1",
			   "last[31m");
	assert_start_fails(host, "printf '\\377\\0\\0\\1' >&3; sleep 100",
			   "it sent a frame of 4278190081 bytes");
	/* Lines without end are cut, and many of them harm nobody. */
	assert_start_fails(host,
			   "yes line | head -c 300000 >&2\n"
			   "head -c 90 /dev/zero | tr '\\0' x >&2\n"
			   "echo >&2; exit 1",
			   "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			   "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}

/* It gets what it needs: no other descriptor, no environment, no terminal. */
static void test_inherits_nothing(void **state)
{
	struct host *host = *state;
	int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */

	/* The last one is ls's own. */
	fake(host, "[ -z \"$HOME\" ] || echo environment >&2\n"
		   "[ \"$(ps -o tty= -o pgid= $$ | xargs)\" = \"? $$\" ] ||"
		   " { echo session >&2; exit; }\n"
		   "[ -n \"$HOME\" ] || exec ls -m /proc/self/fd >&2");
	hear(host);
	assert_int_equal(create(host, &plain), 0);
	assert_true(complete(host) < 0);
	close(leak);
	assert_said(host, "lkvm: net0: passt cannot start: 0, 1, 2, 3, 4\n");
}

static void run(struct host *host)
{
	assert_int_equal(
		host->backend->ops->attach(host->backend, 0, host->loop), 0);
	assert_int_equal(loop_run(host->loop), 0);
	host->backend->ops->detach(host->backend, 0);
}

static void on_tick(void *opaque, uint32_t events)
{
	(void)events;
	loop_stop(opaque);
}

/* All events that are there now. */
static void run_once(struct host *host)
{
	struct loop_source tick = {
		.fd = eventfd(1, EFD_CLOEXEC),
		.ready = on_tick,
		.opaque = host->loop,
	};

	assert_int_equal(loop_add(host->loop, &tick, EPOLLIN), 0);
	assert_int_equal(loop_run(host->loop), 0);
	loop_del(host->loop, &tick);
	close(tick.fd);
}

static void test_dies(void **state)
{
	struct host *host = *state;
	uint8_t packet[NET_HEADER_BYTES + 60] = { 0 };
	struct iovec iov = { packet, sizeof(packet) };

	fake(host, ANSWER "echo it was fine >&2\nhead -c 1 <&3 >/dev/null\n"
			  "exit 3");
	assert_int_equal(create(host, &plain), 0);
	hear(host);
	assert_int_equal(complete(host), 0);
	run(host);
	assert_said(host, "lkvm: warning: net0: passt has ended (it was fine)"
			  ": the link is down\n");
	assert_int_equal(host->downs, 1);
	/* A device whose frames waited gets rid of them. */
	assert_int_equal(host->writable, 1);
	/* Said once, and frames go nowhere from now on. */
	assert_int_equal(
		host->backend->ops->attach(host->backend, 0, host->loop), 0);
	run_once(host);
	assert_int_equal(host->backend->ops->send(host->backend, 0, &iov, 1,
						  sizeof(packet)),
			 -EPIPE);
	assert_int_equal(host->backend->ops->receive(host->backend, 0, &iov, 1,
						     sizeof(packet)),
			 -EAGAIN);
	host->backend->ops->detach(host->backend, 0);
	assert_int_equal(host->downs, 1);
}

/* One that lies about a length is not listened to any further, nor kept. */
static void test_lies(void **state)
{
	struct host *host = *state;

	fake(host, ANSWER "sleep 0.2\nprintf '\\1\\2\\3\\4 and so on' >&3\n"
			  "sleep 1000");
	assert_int_equal(create(host, &plain), 0);
	assert_int_equal(complete(host), 0);
	hear(host);
	run(host);
	assert_said(host, "lkvm: warning: net0: passt has ended (it sent a "
			  "frame of 16909060 bytes): the link is down\n");
	assert_int_equal(host->downs, 1);
}

/* One that reads nothing: frames wait, and go on when it reads again. */
static void test_stalls(void **state)
{
	struct host *host = *state;
	static uint8_t packet[NET_HEADER_BYTES + 60000];
	struct iovec iov = { packet, sizeof(packet) };
	unsigned int sent = 0;
	int err = 0;

	fake(host, ANSWER "read -r -t 1 -u 4\nhead -c 46 <&3 >/dev/null\n"
			  "cat <&3 >/dev/null & sleep 1; printf "
			  "'\\0\\0\\0\\17%015d' 0 >&3; wait");
	assert_int_equal(create(host, &plain), 0);
	assert_int_equal(complete(host), 0);
	assert_int_equal(
		host->backend->ops->attach(host->backend, 0, host->loop), 0);
	while (!err && sent < 1000) {
		err = host->backend->ops->send(host->backend, 0, &iov, 1,
					       sizeof(packet));
		sent += !err;
	}
	/* Enough that it has work while the device learns of room. */
	assert_true(sent > 5);
	if (err) {
		assert_int_equal(err, -EAGAIN);
		assert_int_equal(loop_run(host->loop), 0);
		assert_true(host->writable > 0);
	}
	host->backend->ops->detach(host->backend, 0);
	assert_int_equal(host->downs, 0);
}

/* The real one answers for the host's address, and ends with its socket. */
static void test_real(void **state)
{
	struct host *host = *state;
	struct net_options options = plain;

	assert_int_equal(create(host, &options), 0);
	assert_int_equal(complete(host), 0);
	host->backend->ops->destroy(host->backend);
	/* The same port twice: it says so itself. */
	options.nr_forwards = 2;
	options.forward[0] =
		(struct net_forward) { false, "127.0.0.1", 47011, 80 };
	options.forward[1] = options.forward[0];
	assert_int_equal(create(host, &options), 0);
	hear(host);
	assert_true(complete(host) < 0);
	assert_said(host, "lkvm: net0: passt cannot start: Overlapping port "
			  "specifier 127.0.0.1/47011:80\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forwards),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_arguments_refused),
		TEST(test_missing),
		TEST(test_fails),
		TEST(test_inherits_nothing),
		TEST(test_dies),
		TEST(test_lies),
		TEST(test_stalls),
		TEST(test_real),
	};

	return cmocka_run_group_tests_name("net-user", tests, NULL, NULL);
}
