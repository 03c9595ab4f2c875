/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's side of a command in the guest: see guest-command.h, and
 * guest-protocol.h for what is said to whom.
 *
 * The ports' device writes from its own thread. Bytes of stdout and stderr go
 * straight into the rings of these streams; messages are collected, and the
 * main thread handles them. The guest is not trusted: what it says can end the
 * command, with whatever status, and print lines, at a limited rate.
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/console-hub.h>
#include <lkvm/guest-command.h>
#include <lkvm/guest-protocol.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/output.h>
#include <lkvm/terminal.h>
#include <lkvm/vm.h>

/* Messages for a guest that does not read; more are dropped. */
#define PENDING_BYTES 4096

/* Then others on the main thread get a turn. */
#define MESSAGES_A_TURN 64

/* How much of a line on the console is looked at. */
#define CONSOLE_LINE 512

struct guest_command {
	struct guest_command_callbacks callbacks;
	struct chardev control, stdio, error; /* the ports' host ends */
	struct chardev *streams; /* the terminal's: stdin and stdout */
	struct terminal *terminal;

	/* The main thread: */
	struct loop *loop;
	struct loop_source wake_source; /* a timerfd; any thread sets it */
	enum guest_command_state state;
	int status; /* COMMAND_OVER: what was told */
	bool stdin_ended;
	uint64_t stdin_bytes;
	struct guest_size size;
	struct guest_exit exit; /* in the host's byte order */
	struct ratelimit limit;
	size_t pending_len;
	char pending[PENDING_BYTES];
	struct console_hub *hub;
	struct console_observer observer;
	size_t line_len;
	char line[CONSOLE_LINE];

	pthread_mutex_t lock; /* guards the rest */
	bool greeted; /* the NUL on stdio has come */
	bool woken;
	bool drop_caches; /* the guest is to be told so */
	uint64_t stdout_bytes, stderr_bytes; /* that were taken */
	bool in_refused; /* the device holds back messages */
	size_t in_len;
	char in[8 * sizeof(struct guest_header) + 4 * GUEST_MESSAGE_MAX];

	struct output stderr_out;
};

static void wake_locked(struct guest_command *c)
{
	if (c->woken)
		return;
	c->woken = true;
	timer_arm(c->wake_source.fd, 1);
}

/* ---- the initrd ----------------------------------------------------------- */

static void put(FILE *out, const char *key, const char *value)
{
	fprintf(out, "%s=%s%c", key, value, '\0');
}

/* Is variable @i set once more behind it? Programs would take the first. */
static bool is_set_again(const struct guest_command_options *options,
			 unsigned int i)
{
	size_t len = strcspn(options->env[i], "=") + 1;

	for (unsigned int k = i + 1; k < options->nr_env; k++)
		if (!strncmp(options->env[i], options->env[k], len))
			return true;
	return false;
}

void guest_command_describe(const struct guest_command_options *options,
			    FILE *out)
{
	for (char *const *arg = options->argv; *arg; arg++)
		put(out, "arg", *arg);
	for (unsigned int i = 0; i < options->nr_env; i++)
		if (!is_set_again(options, i))
			put(out, "env", options->env[i]);
	if (options->cwd)
		put(out, "cwd", options->cwd);
	if (options->try_cwd)
		put(out, "try-cwd", options->try_cwd);
	if (options->user)
		put(out, "user", options->user);
	if (options->tty)
		put(out, "tty", "1");
}

/* ---- to the guest: the main thread --------------------------------------- */

static void push_pending(struct guest_command *c)
{
	const struct chardev *port = &c->control;
	size_t taken;

	if (!c->pending_len || !port->frontend)
		return;
	taken = port->frontend->receive(port->opaque, c->pending,
					c->pending_len);
	c->pending_len -= taken;
	memmove(c->pending, c->pending + taken, c->pending_len);
}

static void tell_guest(struct guest_command *c, enum guest_message_type type,
		       const void *data, size_t len)
{
	const struct guest_header header = {
		.type = htole32(type),
		.len = htole32((uint32_t)len),
	};

	if (c->state == COMMAND_BOOTING ||
	    sizeof(header) + len > PENDING_BYTES - c->pending_len)
		return;
	memcpy(c->pending + c->pending_len, &header, sizeof(header));
	if (len)
		memcpy(c->pending + c->pending_len + sizeof(header), data, len);
	c->pending_len += sizeof(header) + len;
	push_pending(c);
}

static void tell_size(struct guest_command *c, enum guest_message_type type)
{
	const struct guest_size size = {
		.columns = htole16(c->size.columns),
		.rows = htole16(c->size.rows),
	};

	tell_guest(c, type, &size, sizeof(size));
}

static void tell_stdin_end(struct guest_command *c)
{
	const struct guest_stdin_end end = { .bytes = htole64(c->stdin_bytes) };

	if (c->stdin_ended)
		tell_guest(c, GUEST_STDIN_END, &end, sizeof(end));
}

static void tell_closed(struct guest_command *c, uint32_t fd)
{
	const struct guest_closed closed = { .fd = htole32(fd) };

	tell_guest(c, GUEST_CLOSED, &closed, sizeof(closed));
}

bool guest_command_signal(struct guest_command *c, int signo)
{
	const struct guest_signal message = {
		.signo = htole32((uint32_t)signo),
	};

	if (c->state != COMMAND_RUNNING)
		return false;
	tell_guest(c, GUEST_SIGNAL, &message, sizeof(message));
	return true;
}

/* ---- the end ------------------------------------------------------------- */

static void end(struct guest_command *c, int status, const char *why)
{
	if (c->state == COMMAND_OVER)
		return;
	c->state = COMMAND_OVER;
	c->status = status;
	c->callbacks.ended(c->callbacks.opaque, status, why);
}

/* Has all that the command wrote been written here? */
static void check_end(struct guest_command *c)
{
	bool complete;

	if (c->state != COMMAND_EXITED)
		return;
	pthread_mutex_lock(&c->lock);
	complete = c->stdout_bytes >= c->exit.stdout_bytes &&
		   c->stderr_bytes >= c->exit.stderr_bytes;
	pthread_mutex_unlock(&c->lock);
	if (complete && terminal_is_written(c->terminal) &&
	    output_is_empty(&c->stderr_out))
		end(c, (int)(c->exit.status & 0xff), NULL);
}

/* ---- from the guest: the main thread ------------------------------------- */

/*
 * @data, of @len bytes, becomes a line that no terminal takes for commands:
 * beyond ASCII there are more of these, as bytes or in UTF-8.
 */
static void make_printable(char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] < ' ' || data[i] > '~')
			data[i] = '?';
	data[len] = '\0';
}

static void on_hello(struct guest_command *c)
{
	if (c->state != COMMAND_BOOTING)
		return;
	c->state = COMMAND_HELLO;
	tell_size(c, GUEST_START);
	tell_stdin_end(c);
	c->streams->ops->input_wanted(c->streams);
}

static void on_exit_message(struct guest_command *c, const void *data)
{
	if (c->state == COMMAND_BOOTING)
		return;
	memcpy(&c->exit, data, sizeof(c->exit));
	c->exit.status = le32toh(c->exit.status);
	c->exit.stdout_bytes = le64toh(c->exit.stdout_bytes);
	c->exit.stderr_bytes = le64toh(c->exit.stderr_bytes);
	c->state = COMMAND_EXITED;
}

/* Returns 0, or -EPROTO. */
static int handle_message(struct guest_command *c, uint32_t type, char *data,
			  uint32_t len)
{
	/* GUEST_EXIT is the last one: it does not matter what follows. */
	if (c->state >= COMMAND_EXITED)
		return 0;
	switch (type) {
	case GUEST_HELLO: {
		struct guest_hello hello;

		if (len != sizeof(hello))
			return -EPROTO;
		memcpy(&hello, data, sizeof(hello));
		if (le32toh(hello.version) != GUEST_PROTOCOL_VERSION)
			return -EPROTO;
		on_hello(c);
		return 0;
	}
	case GUEST_SAY:
		make_printable(data, len);
		if (ratelimit_ok(&c->limit))
			log_err("command", "%s", data);
		return 0;
	case GUEST_FAILED:
		make_printable(data, len);
		end(c, STATUS_LKVM_FAILED, data);
		return 0;
	case GUEST_STARTED:
		if (c->state == COMMAND_HELLO)
			c->state = COMMAND_RUNNING;
		return 0;
	case GUEST_EXIT:
		if (len != sizeof(struct guest_exit))
			return -EPROTO;
		on_exit_message(c, data);
		return 0;
	}
	return -EPROTO;
}

/*
 * Take the next message. Returns 1, 0 when it has not come as a whole, or
 * -EPROTO.
 */
static int take_message(struct guest_command *c, struct guest_header *header,
			char data[GUEST_MESSAGE_MAX + 1])
{
	size_t len = sizeof(*header);
	int got = 0;

	pthread_mutex_lock(&c->lock);
	if (c->in_len < len)
		goto unlock;
	memcpy(header, c->in, len);
	header->type = le32toh(header->type);
	header->len = le32toh(header->len);
	if (header->len > GUEST_MESSAGE_MAX) {
		got = -EPROTO;
		goto unlock;
	}
	len += header->len;
	if (c->in_len < len)
		goto unlock;
	memcpy(data, c->in + sizeof(*header), header->len);
	c->in_len -= len;
	memmove(c->in, c->in + len, c->in_len);
	got = 1;
unlock:
	pthread_mutex_unlock(&c->lock);
	return got;
}

static void on_wake(void *opaque, uint32_t events)
{
	struct guest_command *c = opaque;
	char data[GUEST_MESSAGE_MAX + 1];
	struct guest_header header;
	unsigned int left = MESSAGES_A_TURN;
	uint64_t expirations;
	bool refused, drop;
	int got;

	(void)events;
	(void)!read(c->wake_source.fd, &expirations, sizeof(expirations));
	pthread_mutex_lock(&c->lock);
	c->woken = false;
	drop = c->drop_caches;
	c->drop_caches = false;
	pthread_mutex_unlock(&c->lock);
	if (drop)
		tell_guest(c, GUEST_DROP_CACHES, NULL, 0);
	push_pending(c);
	do {
		got = take_message(c, &header, data);
		if (got > 0)
			got = handle_message(c, header.type, data, header.len) ?
				      -EPROTO :
				      1;
	} while (got > 0 && --left);
	if (got < 0 && c->state < COMMAND_EXITED)
		end(c, STATUS_LKVM_FAILED,
		    "what runs in the guest is not lkvm's init");
	pthread_mutex_lock(&c->lock);
	refused = c->in_refused;
	c->in_refused = false;
	/* Nothing counts after the last message, nor may it fill the buffer. */
	if (c->state >= COMMAND_EXITED)
		c->in_len = 0;
	else if (got > 0)
		wake_locked(c);
	pthread_mutex_unlock(&c->lock);
	if (refused && c->control.frontend)
		c->control.frontend->writable(c->control.opaque);
	check_end(c);
}

/* ---- the console: the main thread ------------------------------------------ */

/* Init has found no port, or the kernel has not found init. */
static void look_at_line(struct guest_command *c)
{
	static const struct {
		const char *text, *why;
	} signs[] = {
		{ "Failed to execute " GUEST_INIT_PATH,
		  "this kernel does not run programs of this host's kind" },
		{ "Initramfs unpacking failed",
		  "the initrd is broken, or does not fit into memory" },
		{ "VFS: Unable to mount root fs",
		  "this kernel did not unpack its initrd "
		  "(is --initrd broken? CONFIG_BLK_DEV_INITRD and enough "
		  "memory are needed)" },
	};
	const char *found;

	make_printable(c->line, c->line_len);
	c->line_len = 0;
	found = strstr(c->line, GUEST_CONSOLE_PREFIX);
	if (found)
		end(c, STATUS_LKVM_FAILED,
		    found + strlen(GUEST_CONSOLE_PREFIX));
	for (size_t i = 0; i < ARRAY_SIZE(signs); i++)
		if (strstr(c->line, signs[i].text))
			end(c, STATUS_LKVM_FAILED, signs[i].why);
}

static void on_console(void *opaque, const char *data, size_t len)
{
	struct guest_command *c = opaque;

	/* From the first message on, it is the command's. */
	for (size_t i = 0; i < len && c->state == COMMAND_BOOTING; i++)
		if (data[i] == '\r' || data[i] == '\n')
			look_at_line(c);
		else if (c->line_len < sizeof(c->line) - 1)
			c->line[c->line_len++] = data[i];
}

void guest_command_watch(struct guest_command *c, struct console_hub *hub)
{
	c->hub = hub;
	c->observer = (struct console_observer) {
		.output = on_console,
		.opaque = c,
	};
	console_hub_observe(hub, &c->observer);
}

void guest_command_drop_caches(struct guest_command *c)
{
	pthread_mutex_lock(&c->lock);
	c->drop_caches = true;
	wake_locked(c);
	pthread_mutex_unlock(&c->lock);
}

/* ---- the ports: the device's thread --------------------------------------- */

static size_t control_write(struct chardev *chardev, const void *data,
			    size_t len)
{
	struct guest_command *c =
		container_of(chardev, struct guest_command, control);
	size_t taken;

	pthread_mutex_lock(&c->lock);
	taken = MIN(len, sizeof(c->in) - c->in_len);
	memcpy(c->in + c->in_len, data, taken);
	c->in_len += taken;
	c->in_refused = taken < len;
	wake_locked(c);
	pthread_mutex_unlock(&c->lock);
	return taken;
}

static void control_wanted(struct chardev *chardev)
{
	struct guest_command *c =
		container_of(chardev, struct guest_command, control);

	pthread_mutex_lock(&c->lock);
	wake_locked(c);
	pthread_mutex_unlock(&c->lock);
}

/* Count first: who sees that all has been written has the count as well. */
static void count(struct guest_command *c, uint64_t *bytes, size_t len)
{
	pthread_mutex_lock(&c->lock);
	*bytes += len;
	pthread_mutex_unlock(&c->lock);
}

static size_t stdio_write(struct chardev *chardev, const void *data, size_t len)
{
	struct guest_command *c =
		container_of(chardev, struct guest_command, stdio);
	size_t skip = 0, taken;

	pthread_mutex_lock(&c->lock);
	if (!c->greeted && len) {
		c->greeted = true;
		skip = 1;
	}
	pthread_mutex_unlock(&c->lock);
	if (skip == len)
		return len;
	taken = c->streams->ops->write(c->streams, (const char *)data + skip,
				       len - skip);
	count(c, &c->stdout_bytes, taken);
	return skip + taken;
}

static void stdio_wanted(struct chardev *chardev)
{
	struct guest_command *c =
		container_of(chardev, struct guest_command, stdio);

	c->streams->ops->input_wanted(c->streams);
}

static size_t error_write(struct chardev *chardev, const void *data, size_t len)
{
	struct guest_command *c =
		container_of(chardev, struct guest_command, error);
	size_t taken = output_put(&c->stderr_out, data, len);

	count(c, &c->stderr_bytes, taken);
	return taken;
}

static void no_input(struct chardev *chardev)
{
	(void)chardev;
}

static const struct chardev_ops control_ops = {
	.write = control_write,
	.input_wanted = control_wanted,
};

static const struct chardev_ops stdio_ops = {
	.write = stdio_write,
	.input_wanted = stdio_wanted,
};

static const struct chardev_ops error_ops = {
	.write = error_write,
	.input_wanted = no_input,
};

/* ---- stdin and stdout: the main thread ------------------------------------ */

/* Before init is there, nobody takes anything. */
static size_t on_stdin(void *opaque, const void *data, size_t len)
{
	struct guest_command *c = opaque;
	size_t taken = 0;

	if (c->state != COMMAND_BOOTING && c->stdio.frontend)
		taken = c->stdio.frontend->receive(c->stdio.opaque, data, len);
	c->stdin_bytes += taken;
	return taken;
}

static void on_stdin_end(void *opaque)
{
	struct guest_command *c = opaque;

	c->stdin_ended = true;
	tell_stdin_end(c);
}

static void on_size(void *opaque, uint16_t columns, uint16_t rows)
{
	struct guest_command *c = opaque;

	c->size.columns = columns;
	c->size.rows = rows;
	tell_size(c, GUEST_SIZE);
}

static void on_stdout_room(void *opaque)
{
	struct guest_command *c = opaque;

	if (c->stdio.frontend)
		c->stdio.frontend->writable(c->stdio.opaque);
}

static void on_stdout_lost(void *opaque)
{
	tell_closed(opaque, STDOUT_FILENO);
}

static void on_stderr_room(void *opaque)
{
	struct guest_command *c = opaque;

	if (c->error.frontend)
		c->error.frontend->writable(c->error.opaque);
}

static void on_stderr_lost(void *opaque)
{
	tell_closed(opaque, STDERR_FILENO);
}

static void on_written(void *opaque)
{
	check_end(opaque);
}

static const struct chardev_frontend_ops streams_ops = {
	.receive = on_stdin,
	.writable = on_stdout_room,
	.resized = on_size,
	.ended = on_stdin_end,
	.written = on_written,
	.lost = on_stdout_lost,
};

/* ---- life ------------------------------------------------------------------ */

void guest_command_ports(struct guest_command *c,
			 struct virtio_console_options *options)
{
	*options = (struct virtio_console_options) {
		.name = "command",
		.nr_ports = 3,
		.port = {
			{ .name = GUEST_PORT_CONTROL,
			  .chardev = c ? &c->control : NULL },
			{ .name = GUEST_PORT_STDIO,
			  .chardev = c ? &c->stdio : NULL },
			{ .name = GUEST_PORT_STDERR,
			  .chardev = c ? &c->error : NULL },
		},
	};
}

enum guest_command_state guest_command_state(const struct guest_command *c)
{
	return c->state;
}

int guest_command_status(const struct guest_command *c)
{
	return c->status;
}

void guest_command_reset(struct guest_command *c)
{
	c->state = COMMAND_BOOTING;
	c->stdin_bytes = 0;
	c->pending_len = 0;
	c->line_len = 0;
	pthread_mutex_lock(&c->lock);
	c->greeted = false;
	c->stdout_bytes = 0;
	c->stderr_bytes = 0;
	c->in_len = 0;
	pthread_mutex_unlock(&c->lock);
}

static void plug(struct guest_command *c)
{
	c->control.ops = &control_ops;
	c->stdio.ops = &stdio_ops;
	c->error.ops = &error_ops;
	c->control.connected = true;
	c->stdio.connected = true;
	c->error.connected = true;
	c->streams = terminal_chardev(c->terminal);
	c->streams->opaque = c;
	c->streams->frontend = &streams_ops;
}

int guest_command_create(struct loop *loop, struct terminal *terminal,
			 const struct guest_command_callbacks *callbacks,
			 struct guest_command **out)
{
	struct guest_command *c = calloc(1, sizeof(*c));
	const struct output_callbacks error = {
		.writable = on_stderr_room,
		.written = on_written,
		.lost = on_stderr_lost,
		.opaque = c,
	};
	int err;

	if (!c)
		return -ENOMEM;
	c->loop = loop;
	c->terminal = terminal;
	c->callbacks = *callbacks;
	c->wake_source = (struct loop_source) {
		.fd = timerfd_create(CLOCK_MONOTONIC,
				     TFD_NONBLOCK | TFD_CLOEXEC),
		.ready = on_wake,
		.opaque = c,
	};
	if (c->wake_source.fd < 0) {
		err = -errno;
		goto free_command;
	}
	err = loop_add(loop, &c->wake_source, EPOLLIN);
	if (err)
		goto close_timer;
	err = output_init(&c->stderr_out, loop, STDERR_FILENO, &error);
	if (err)
		goto del_timer;
	pthread_mutex_init(&c->lock, NULL);
	plug(c);
	*out = c;
	return 0;

del_timer:
	loop_del(loop, &c->wake_source);
close_timer:
	close(c->wake_source.fd);
free_command:
	free(c);
	return err;
}

void guest_command_flush(struct guest_command *c)
{
	output_flush(&c->stderr_out);
}

void guest_command_destroy(struct guest_command *c)
{
	if (!c)
		return;
	if (c->hub)
		console_hub_unobserve(c->hub, &c->observer);
	c->streams->frontend = NULL;
	output_release(&c->stderr_out);
	loop_del(c->loop, &c->wake_source);
	close(c->wake_source.fd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
