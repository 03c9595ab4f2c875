/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The server behind the control socket: clients, and bytes to and from them.
 * The protocol is QEMU's QMP, as docs/control.md describes it; what commands do
 * stands in control-commands.c and beside it.
 *
 * A client's commands are read only while its last replies have gone out, so
 * one that does not read costs a buffer and no more; events that it does not
 * take end it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/console-hub.h>
#include <lkvm/control-parts.h>
#include <lkvm/control-path.h>
#include <lkvm/event.h>
#include <lkvm/json-frame.h>
#include <lkvm/log.h>
#include <lkvm/unix-socket.h>
#include <lkvm/vm.h>

#define LINE_END "\r\n"

/* Those that wait while nobody accepts: as many as are let in. */
#define BACKLOG CONTROL_MAX_CLIENTS

enum client_mode {
	CLIENT_COMMANDS,
	CLIENT_CONSOLE,
	CLIENT_LAST, /* nothing is read any more; it ends when all is sent */
};

struct control_client {
	struct control *control;
	struct control_client *next;
	struct loop_source source;
	uint32_t watched; /* EPOLL* that the loop watches for */
	enum client_mode mode;
	bool negotiated;
	bool refused; /* there are too many, as it is told by its first reply */
	bool failed; /* its end has been decided */
	bool ended; /* it sends nothing more */
	bool busy; /* a command of its runs: it is not to be ended */
	bool line_open; /* a console's command may have its line's end to come */
	struct console_observer observer;
	struct json_frame frame;
	size_t in_len; /* bytes in in[] */
	size_t in_seen; /* of these, frame has */
	char *tail; /* what a console begins with, before it is sent; owned */
	size_t tail_len;
	char *out; /* what is to be sent, from out_at to out_len */
	size_t out_at, out_len, out_room;
	char in[CONTROL_MAX_MESSAGE];
};

struct control {
	struct vm *vm;
	struct unix_listener listener;
	struct loop_source accept;
	struct control_client *clients;
	unsigned int nr_clients; /* without those that are refused: */
	unsigned int nr_refused;
};

/* ---- sending ------------------------------------------------------------- */

static bool has_output(const struct control_client *client)
{
	return client->out_at < client->out_len;
}

/* Send what the socket takes. */
static void flush(struct control_client *client)
{
	while (has_output(client) && !client->failed) {
		ssize_t sent = send(client->source.fd,
				    client->out + client->out_at,
				    client->out_len - client->out_at,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0)
			client->out_at += (size_t)sent;
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			client->failed = true;
	}
	client->out_at = 0;
	client->out_len = 0;
}

/* Room for @len more bytes, or the client has failed. */
static bool make_room(struct control_client *client, size_t len)
{
	size_t held = client->out_len - client->out_at;
	size_t room = client->out_room;
	char *grown;

	if (client->failed)
		return false;
	if (held + len > CONTROL_MAX_OUTPUT) {
		log_info("control", "a client does not read: ended");
		goto fail;
	}
	if (held)
		memmove(client->out, client->out + client->out_at, held);
	client->out_at = 0;
	client->out_len = held;
	while (room < held + len)
		room = room ? room * 2 : 1024;
	if (room == client->out_room)
		return true;
	grown = realloc(client->out, room);
	if (!grown)
		goto fail;
	client->out = grown;
	client->out_room = room;
	return true;

fail:
	client->failed = true;
	return false;
}

static void queue_bytes(struct control_client *client, const char *data,
			size_t len)
{
	if (!make_room(client, len))
		return;
	memcpy(client->out + client->out_len, data, len);
	client->out_len += len;
}

static int queue_json(const char *data, size_t len, void *client)
{
	queue_bytes(client, data, len);
	return 0;
}

/* Takes the reference to @reply; NULL: memory is short. */
static void send_reply(struct control_client *client, json_t *reply)
{
	if (!reply) {
		client->failed = true;
		return;
	}
	json_dump_callback(reply, queue_json, client, JSON_COMPACT);
	queue_bytes(client, LINE_END, strlen(LINE_END));
	json_decref(reply);
}

/* ---- a client's life ----------------------------------------------------- */

/* Watch for what can be gone on with; end who has failed. */
static void settle(struct control_client *client);

static void end_client(struct control_client *client)
{
	struct control *control = client->control;
	struct control_client **link = &control->clients;

	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	if (client->refused)
		control->nr_refused--;
	else
		control->nr_clients--;
	if (client->mode == CLIENT_CONSOLE)
		console_hub_unobserve(control->vm->console, &client->observer);
	loop_del(control->vm->machine.loop, &client->source);
	close(client->source.fd);
	free(client->tail);
	free(client->out);
	free(client);
}

/* Nothing more is taken from it, and what it was told still goes out. */
static void begin_end(struct control_client *client)
{
	if (client->mode == CLIENT_CONSOLE)
		console_hub_unobserve(client->control->vm->console,
				      &client->observer);
	client->mode = CLIENT_LAST;
	client->in_len = 0;
	client->in_seen = 0;
}

/* It sends nothing more, and all that it sent to a console has been typed. */
static void end_if_done(struct control_client *client)
{
	if (client->ended && client->mode != CLIENT_LAST &&
	    (client->mode != CLIENT_CONSOLE || !client->in_len))
		begin_end(client);
}

/* ---- consoles ------------------------------------------------------------ */

static void on_console_output(void *opaque, const char *data, size_t len)
{
	struct control_client *client = opaque;

	queue_bytes(client, data, len);
	settle(client);
}

/* What follows the command up to the end of its line is nothing to type. */
static void skip_line_end(struct control_client *client)
{
	size_t at = 0;

	while (client->line_open && at < client->in_len) {
		char c = client->in[at];
		bool blank = c == ' ' || c == '\r' || c == '\n';

		client->line_open = blank && c != '\n';
		at += blank;
	}
	client->in_len -= at;
	memmove(client->in, client->in + at, client->in_len);
}

/* Type what the client has sent, as far as the guest takes it. */
static void type(struct control_client *client)
{
	size_t taken;

	skip_line_end(client);
	taken = console_hub_input(client->control->vm->console, client->in,
				  client->in_len);
	client->in_len -= taken;
	memmove(client->in, client->in + taken, client->in_len);
}

static void on_console_wanted(void *opaque)
{
	struct control_client *client = opaque;

	type(client);
	end_if_done(client);
	settle(client);
}

bool control_client_is_refused(const struct control_client *client)
{
	return client->refused;
}

int control_client_console(struct control_client *client, size_t *backlog)
{
	struct console_hub *hub = client->control->vm->console;

	client->tail = malloc(CONSOLE_TAIL);
	if (!client->tail)
		return -ENOMEM;
	client->mode = CLIENT_CONSOLE;
	client->line_open = true;
	client->observer = (struct console_observer) {
		.output = on_console_output,
		.input_wanted = on_console_wanted,
		.opaque = client,
	};
	console_hub_observe(hub, &client->observer);
	client->tail_len = console_hub_tail(hub, client->tail, CONSOLE_TAIL);
	*backlog = client->tail_len;
	return 0;
}

/* The reply has been queued: now what it has announced. */
static void send_tail(struct control_client *client)
{
	queue_bytes(client, client->tail, client->tail_len);
	free(client->tail);
	client->tail = NULL;
}

/* ---- commands ------------------------------------------------------------ */

static void lost(struct control_client *client, const char *why)
{
	send_reply(client, control_error_reply(CONTROL_GENERIC, why));
	begin_end(client);
}

/*
 * Look for a whole command in what has been read, from in[@from] on. Returns
 * where it ends, or 0: there is none yet, or the stream is lost.
 */
static size_t next_command(struct control_client *client, size_t from)
{
	enum json_frame_state state;
	size_t used = 0;

	state = json_frame_feed(&client->frame, client->in + client->in_seen,
				client->in_len - client->in_seen, &used);
	client->in_seen += used;
	if (state == JSON_FRAME_WHOLE)
		return client->in_seen;
	if (state == JSON_FRAME_DEEP)
		lost(client, "JSON parse error, nested too deeply");
	else if (state == JSON_FRAME_PART && !from &&
		 client->in_len == sizeof(client->in))
		lost(client, "JSON parse error, the command is too long");
	else if (state == JSON_FRAME_NONE)
		client->in_len = client->in_seen = from;
	return 0;
}

/* Forget what has been read up to in[@from]. */
static void drop_input(struct control_client *client, size_t from)
{
	client->in_len -= from;
	client->in_seen -= MIN(client->in_seen, from);
	memmove(client->in, client->in + from, client->in_len);
}

/* What a command has caused is told before its reply. */
static void run_one(struct control_client *client, const char *text, size_t len)
{
	struct vm *vm = client->control->vm;
	json_t *reply;

	client->busy = true;
	reply = control_execute(vm, client, &client->negotiated, text, len);
	events_deliver(vm);
	client->busy = false;
	send_reply(client, reply);
	if (client->refused)
		begin_end(client);
}

/* Run what has been read, as long as the replies go out. */
static void run_commands(struct control_client *client)
{
	size_t from = 0;

	while (client->mode == CLIENT_COMMANDS && !client->failed &&
	       !has_output(client)) {
		size_t end = next_command(client, from);

		if (!end)
			break;
		run_one(client, client->in + from, end - from);
		from = end;
		if (client->tail)
			send_tail(client);
		flush(client);
	}
	if (client->mode != CLIENT_LAST)
		drop_input(client, from);
}

/* ---- the loop ------------------------------------------------------------ */

static void receive(struct control_client *client)
{
	size_t room = sizeof(client->in) - client->in_len;
	ssize_t got;

	if (!room || client->mode == CLIENT_LAST)
		return;
	got = recv(client->source.fd, client->in + client->in_len, room, 0);
	if (got > 0)
		client->in_len += (size_t)got;
	else if (!got)
		client->ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		client->failed = true;
}

static uint32_t wanted_events(const struct control_client *client)
{
	uint32_t wanted = has_output(client) ? EPOLLOUT : 0;

	if (client->ended)
		return wanted;
	if ((client->mode == CLIENT_COMMANDS && !wanted) ||
	    (client->mode == CLIENT_CONSOLE &&
	     client->in_len < sizeof(client->in)))
		wanted |= EPOLLIN;
	return wanted;
}

static void settle(struct control_client *client)
{
	struct loop *loop = client->control->vm->machine.loop;
	uint32_t wanted;

	if (client->busy)
		return;
	flush(client);
	if (client->failed ||
	    (client->mode == CLIENT_LAST && !has_output(client))) {
		end_client(client);
		return;
	}
	wanted = wanted_events(client);
	if (wanted == client->watched)
		return;
	loop_del(loop, &client->source);
	client->watched = wanted;
	if (loop_add(loop, &client->source, wanted))
		end_client(client);
}

static void on_client(void *opaque, uint32_t events)
{
	struct control_client *client = opaque;

	flush(client);
	if (events & EPOLLIN)
		receive(client);
	else if (events & (EPOLLHUP | EPOLLERR))
		client->failed = true;
	if (client->mode == CLIENT_COMMANDS)
		run_commands(client);
	if (client->mode == CLIENT_CONSOLE)
		type(client);
	end_if_done(client);
	settle(client);
}

static void add_client(struct control *control, int fd)
{
	struct control_client *client = calloc(1, sizeof(*client));

	if (!client) {
		close(fd);
		return;
	}
	client->control = control;
	client->source = (struct loop_source) {
		.fd = fd,
		.ready = on_client,
		.opaque = client,
	};
	client->next = control->clients;
	control->clients = client;
	client->refused = control->nr_clients >= CONTROL_MAX_CLIENTS;
	if (!client->refused)
		control->nr_clients++;
	else
		control->nr_refused++;
	/* Clients know an error for what it is in reply to a command. */
	if (!client->refused || control->nr_refused <= CONTROL_MAX_REFUSED)
		send_reply(client, control_greeting());
	else
		lost(client, CONTROL_TOO_MANY);
	settle(client);
}

static void on_accept(void *opaque, uint32_t events)
{
	struct control *control = opaque;
	int fd;

	(void)events;
	do {
		fd = accept4(control->listener.fd, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			add_client(control, fd);
	} while (fd >= 0 || errno == EINTR || errno == ECONNABORTED);
}

void control_event(struct control *control, const char *text, size_t len)
{
	struct control_client *next;

	for (struct control_client *c = control->clients; c; c = next) {
		next = c->next;
		if (!c->negotiated || c->mode != CLIENT_COMMANDS)
			continue;
		queue_bytes(c, text, len);
		queue_bytes(c, LINE_END, strlen(LINE_END));
		settle(c);
	}
}

/* ---- life ---------------------------------------------------------------- */

/*
 * Listen, in a folder that is made when it is not there. The last VM there
 * removes it when it ends, which may be now: then once more.
 */
static int listen_in_folder(const struct vm_config *config,
			    struct unix_listener *listener)
{
	struct control_path folder;
	int err;

	if (!config->control_folder)
		return unix_listen(config->control, BACKLOG, listener);
	snprintf(folder.text, sizeof(folder.text), "%s",
		 config->control_folder);
	do {
		err = control_make_folder(&folder);
		if (err)
			return err;
		err = unix_listen(config->control, BACKLOG, listener);
	} while (err == -ENOENT);
	return err;
}

/* A VM that nobody has named can do without. */
static int say_why_not(const struct vm_config *config, int err)
{
	if (config->control_folder && !config->name) {
		log_info("control", "there is no control socket at %s: %s",
			 config->control, strerror(-err));
		return 0;
	}
	if ((err == -ENOTDIR || err == -EPERM) && config->control_folder)
		log_err("control",
			"%s is no folder of yours alone, for the control "
			"socket (choose another place with --control)",
			config->control_folder);
	else if (err == -EADDRINUSE)
		log_err("control",
			"a VM listens on %s already (give this one another "
			"--name, or end that one)",
			config->control);
	else
		log_err("control",
			"cannot listen on %s: %s (choose another place with "
			"--control)",
			config->control, strerror(-err));
	return err;
}

int control_create(struct vm *vm)
{
	struct control *control;
	int err;

	if (!vm->config->control)
		return 0;
	control = calloc(1, sizeof(*control));
	if (!control)
		return -ENOMEM;
	control->vm = vm;
	err = listen_in_folder(vm->config, &control->listener);
	if (err) {
		free(control);
		return say_why_not(vm->config, err);
	}
	vm->control = control;
	control->accept = (struct loop_source) {
		.fd = control->listener.fd,
		.ready = on_accept,
		.opaque = control,
	};
	/*
	 * Edge-triggered: where there is no file descriptor for a client, the
	 * next one is the next occasion, and the loop does not spin.
	 */
	err = loop_add(vm->machine.loop, &control->accept, EPOLLIN | EPOLLET);
	return err ? say_why_not(vm->config, err) : 0;
}

void control_destroy(struct vm *vm)
{
	struct control *control = vm->control;
	struct control_client *client, *next;

	if (!control)
		return;
	for (client = control->clients; client; client = next) {
		next = client->next;
		flush(client);
		end_client(client);
	}
	loop_del(vm->machine.loop, &control->accept);
	unix_listener_close(&control->listener);
	/* Only if nobody else has a socket in it. */
	if (vm->config->control_folder)
		rmdir(vm->config->control_folder);
	vm->control = NULL;
	free(control);
}
