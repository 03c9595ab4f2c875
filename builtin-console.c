/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm console: watch the console of a VM that runs elsewhere, and type. The
 * control connection becomes a stream of bytes in both directions
 * (docs/control.md); the terminal is that of `lkvm run`.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/terminal.h>
#include <lkvm/vm.h>

struct console_options {
	struct client_choice choice;
};

const struct option_desc console_options[] = {
	{ OPTION_STRING, 'n', "name", "NAME", "the VM of this name",
	  .offset = offsetof(struct console_options, choice.name) },
	{ OPTION_FLAG, 'h', "help", NULL, "explain the command",
	  .offset = offsetof(struct console_options, choice.help) },
	{ .kind = OPTION_END },
};

/* Between a terminal and a VM. All of it is the main thread's. */
struct attachment {
	struct client *client;
	struct loop *loop;
	struct terminal *terminal;
	struct chardev *screen; /* the terminal's end */
	struct loop_source socket;
	uint32_t events; /* that the socket is watched for */
	struct loop_source reader; /* of stdout: tells when it has gone */
	size_t held; /* bytes of data that the terminal did not take yet */
	char data[4096];
	bool ended; /* the VM, not the user */
};

/* ---- the loop's sources -------------------------------------------------- */

/* Watched for nothing, a socket would still tell of its end, again and again. */
static void watch_socket(struct attachment *a, uint32_t events)
{
	if (events == a->events)
		return;
	loop_del(a->loop, &a->socket);
	a->events = events;
	if (events && loop_add(a->loop, &a->socket, events))
		loop_stop(a->loop);
}

/* Show what is held; while some is left, no more is read. */
static void show(struct attachment *a)
{
	size_t taken = a->screen->ops->write(a->screen, a->data, a->held);

	a->held -= taken;
	memmove(a->data, a->data + taken, a->held);
	watch_socket(a, a->held ? a->events & ~(uint32_t)EPOLLIN :
				  a->events | EPOLLIN);
}

static void read_socket(struct attachment *a)
{
	ssize_t n = recv(a->socket.fd, a->data, sizeof(a->data), 0);

	if (n > 0) {
		a->held = (size_t)n;
		show(a);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		a->ended = true;
		loop_stop(a->loop);
	}
}

static void on_socket(void *opaque, uint32_t events)
{
	struct attachment *a = opaque;

	if (events & EPOLLOUT) {
		watch_socket(a, a->events & ~(uint32_t)EPOLLOUT);
		a->screen->ops->input_wanted(a->screen);
	}
	if (!a->held && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		read_socket(a);
}

/* Nobody reads our output any more. */
static void on_reader_gone(void *opaque, uint32_t events)
{
	struct attachment *a = opaque;

	if (events & (EPOLLERR | EPOLLHUP))
		loop_stop(a->loop);
}

static void on_detach(void *opaque)
{
	struct attachment *a = opaque;

	loop_stop(a->loop);
}

/* ---- the terminal's other end -------------------------------------------- */

static size_t receive_keys(void *opaque, const void *data, size_t len)
{
	struct attachment *a = opaque;
	ssize_t n = send(a->socket.fd, data, len, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return len; /* the VM has gone: reading tells */
	if (n < (ssize_t)len)
		watch_socket(a, a->events | EPOLLOUT);
	return n < 0 ? 0 : (size_t)n;
}

static void on_writable(void *opaque)
{
	show(opaque);
}

static const struct chardev_frontend_ops frontend = {
	.receive = receive_keys,
	.writable = on_writable,
};

/* ---- the command --------------------------------------------------------- */

static void say_attached(struct attachment *a)
{
	char line[320];
	int len;

	if (!isatty(STDIN_FILENO))
		return;
	len = snprintf(line, sizeof(line),
		       "lkvm: this is %.200s's console; Ctrl-a d detaches\n",
		       a->client->name);
	terminal_print(a->terminal, line, (size_t)len);
}

static int watch_all(struct attachment *a)
{
	struct client *c = a->client;
	int err;

	a->screen = terminal_chardev(a->terminal);
	a->screen->frontend = &frontend;
	a->screen->opaque = a;
	a->socket = (struct loop_source) {
		.fd = c->fd,
		.ready = on_socket,
		.opaque = a,
	};
	a->reader = (struct loop_source) {
		.fd = dup(STDOUT_FILENO),
		.ready = on_reader_gone,
		.opaque = a,
	};
	err = loop_add(a->loop, &a->reader, 0);
	/* A file has no reader. */
	if (err && err != -EPERM)
		return err;
	say_attached(a);
	/* What came behind the reply, if anything, is the console's. */
	a->screen->ops->write(a->screen, c->in, c->in_len);
	a->events = EPOLLIN;
	err = loop_add(a->loop, &a->socket, a->events);
	return err ? err : terminal_start(a->terminal);
}

/* Returns 0 or -errno, after the terminal is as it was before. */
static int attach(struct client *c, bool *ended)
{
	struct attachment a = { .client = c, .reader.fd = -1 };
	const struct terminal_callbacks callbacks = {
		.detach = on_detach,
		.opaque = &a,
	};
	int err;

	err = loop_create(&a.loop);
	if (err)
		return err;
	err = terminal_create(a.loop, &callbacks, &a.terminal);
	if (err)
		goto destroy_loop;
	err = watch_all(&a);
	if (!err)
		err = loop_run(a.loop);
	*ended = a.ended;

	loop_del(a.loop, &a.socket);
	loop_del(a.loop, &a.reader);
	if (a.reader.fd >= 0)
		close(a.reader.fd);
	terminal_destroy(a.terminal);
destroy_loop:
	loop_destroy(a.loop);
	return err;
}

static int watch_console(struct client *c)
{
	bool ended;
	int err;

	err = client_connect(c);
	if (!err)
		err = client_execute(c, "x-lkvm-console", NULL, NULL);
	if (err) {
		log_err("console", "%s: %s", c->name, c->error);
		return STATUS_LKVM_FAILED;
	}
	/* A reader that goes is noticed in the loop. */
	signal(SIGPIPE, SIG_IGN);
	err = attach(c, &ended);
	if (err) {
		log_err("console", "cannot watch the terminal: %s",
			strerror(-err));
		return STATUS_LKVM_FAILED;
	}
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "\nlkvm: %s %s\n",
			ended ? "this was the end of" : "detached from",
			c->name);
	return STATUS_OK;
}

int command_console(int argc, char **argv)
{
	struct console_options options = { 0 };
	struct client_set set;
	int status;

	if (!client_begin(console_options, argc, argv, &options,
			  &options.choice, &set, &status))
		return status;
	if (set.count == 1)
		status = watch_console(&set.clients[0]);
	else
		log_err("console", "console: one VM at a time");
	client_set_release(&set);
	return status;
}
