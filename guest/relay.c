/* SPDX-License-Identifier: GPL-2.0 */
/*
 * While the command runs: its bytes between pipes (or a terminal) and ports,
 * lkvm's messages, and the ends of processes.
 *
 * Each direction has one buffer, which is filled only when it is empty: who
 * is slow at one end holds back the other.
 */
#include <signal.h>
#include <sys/wait.h>

#include "init.h"

#define PUMP_BYTES 65536

struct pump {
	int from, to; /* -1: over */
	size_t at, len;
	uint64_t passed; /* bytes written to @to */
	char *data;
};

enum { PUMP_IN, PUMP_OUT, PUMP_ERR, PUMPS };

struct relay {
	struct init *init;
	struct command *command;
	struct pump pumps[PUMPS];
	bool in_ends; /* at in_bytes */
	uint64_t in_bytes;
	bool over; /* the command has ended: */
	int status; /* of wait4(2) */
	/* What has come of the next message. */
	size_t have;
	struct {
		struct guest_header header;
		char data[GUEST_MESSAGE_MAX];
	} message;
};

/* ---- messages ------------------------------------------------------------ */

/*
 * Read what is missing of the next message. Returns 1 when it is complete, 0
 * when more must come, or -1 when nothing will.
 */
static int read_message(struct relay *relay)
{
	struct guest_header *header = &relay->message.header;
	char *data = (char *)&relay->message;

	for (;;) {
		size_t want = sizeof(*header);
		long n;

		if (relay->have >= want)
			want += header->len;
		if (want > sizeof(relay->message))
			return -1;
		if (relay->have == want && relay->have >= sizeof(*header)) {
			relay->have = 0;
			return 1;
		}
		n = sys_read(relay->init->ports[PORT_CONTROL],
			     data + relay->have, want - relay->have);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return -1;
		relay->have += (size_t)n;
	}
}

void receive_start(struct init *init, struct guest_size *size)
{
	struct pollfd readable = { .fd = init->ports[PORT_CONTROL],
				   .events = POLLIN };
	struct relay relay = { .init = init };
	int got;

	while (!(got = read_message(&relay)))
		sys(__NR_poll, &readable, 1, -1, 0, 0);
	if (got < 0 || relay.message.header.type != GUEST_START ||
	    relay.message.header.len != sizeof(*size))
		init_fail(init, "lkvm did not say when to start", NULL, 0,
			  NULL);
	memcpy(size, relay.message.data, sizeof(*size));
}

/*
 * A terminal's signals go to a whole group of processes, as they would if the
 * terminal was the command's own; others to the command.
 */
static void pass_signal(struct relay *relay, int signo)
{
	int pid = relay->command->pid;

	if (signo <= 0 || relay->over)
		return;
	if (signo == SIGINT || signo == SIGQUIT || signo == SIGHUP)
		sys_kill(-pid, signo);
	else
		sys_kill(pid, signo);
}

static void close_pump(struct pump *pump)
{
	if (pump->from >= 0)
		sys_close(pump->from);
	pump->from = -1;
	pump->len = 0;
}

static void close_target(struct pump *pump)
{
	if (pump->to >= 0)
		sys_close(pump->to);
	pump->to = -1;
	pump->len = 0;
}

/*
 * Nobody takes what the command writes to @fd: that raises SIGPIPE from now
 * on, or its terminal hangs up, which both of our ends hold.
 */
static void on_closed(struct relay *relay, uint32_t fd)
{
	close_pump(&relay->pumps[fd == 1 ? PUMP_OUT : PUMP_ERR]);
	if (relay->init->tty && fd == 1)
		close_target(&relay->pumps[PUMP_IN]);
}

/*
 * Linux's sysctl/vm.rst: 2 frees names and inodes that nobody uses. A 9p file
 * system keeps a handle of lkvm's for each.
 */
static void drop_caches(void)
{
	int fd = sys_open("/proc/sys/vm/drop_caches", O_WRONLY, 0);

	if (fd < 0)
		return;
	sys_write(fd, "2", 1);
	sys_close(fd);
}

static void take_message(struct relay *relay)
{
	union {
		struct guest_stdin_end end;
		struct guest_size size;
		struct guest_signal signal;
		struct guest_closed closed;
	} message = { 0 };
	uint32_t len = relay->message.header.len;

	memcpy(&message, relay->message.data,
	       len < sizeof(message) ? len : sizeof(message));
	switch (relay->message.header.type) {
	case GUEST_SIZE:
		if (relay->init->tty)
			command_resize(relay->command, &message.size);
		break;
	case GUEST_SIGNAL:
		pass_signal(relay, (int)message.signal.signo);
		break;
	case GUEST_STDIN_END:
		relay->in_ends = true;
		relay->in_bytes = message.end.bytes;
		break;
	case GUEST_CLOSED:
		on_closed(relay, message.closed.fd);
		break;
	case GUEST_DROP_CACHES:
		drop_caches();
		break;
	}
}

/* ---- bytes --------------------------------------------------------------- */

static void fill(struct pump *pump)
{
	long n = sys_read(pump->from, pump->data, PUMP_BYTES);

	if (n > 0) {
		pump->at = 0;
		pump->len = (size_t)n;
	} else if (n != -EAGAIN && n != -EINTR) {
		close_pump(pump);
	}
}

static void empty(struct pump *pump)
{
	long n = sys_write(pump->to, pump->data + pump->at, pump->len);

	if (n == -EAGAIN || n == -EINTR)
		return;
	/* The command does not read any more: neither do we. */
	if (n < 0) {
		close_target(pump);
		return;
	}
	pump->passed += (uint64_t)n;
	pump->at += (size_t)n;
	pump->len -= (size_t)n;
}

/* What to wait for, and go on when that has come. */
static void watch(const struct pump *pump, struct pollfd *event)
{
	event->fd = pump->len ? pump->to : pump->from;
	event->events = pump->len ? POLLOUT : POLLIN;
	if (pump->to < 0)
		event->fd = -1;
}

static void go_on(struct pump *pump)
{
	if (!pump->len)
		fill(pump);
	/* There is room more often than not. */
	if (pump->len)
		empty(pump);
}

/* stdin's pipe is closed behind its last byte. */
static void end_input(struct relay *relay)
{
	struct pump *in = &relay->pumps[PUMP_IN];

	if (!relay->in_ends || in->passed < relay->in_bytes || in->to < 0 ||
	    relay->init->tty)
		return;
	close_target(in);
}

/* ---- the end ------------------------------------------------------------- */

static void reap(struct relay *relay)
{
	char infos[1024];
	int status = 0;
	long pid;

	sys_read(relay->init->signals, infos, sizeof(infos));
	while ((pid = sys(__NR_wait4, -1, &status, WNOHANG, 0, 0)) > 0) {
		if (pid != relay->command->pid)
			continue;
		relay->over = true;
		relay->status = status;
	}
}

/* What is in the pipe still belongs to the output. */
static void drain(struct pump *pump)
{
	struct pollfd room = { .fd = pump->to, .events = POLLOUT };

	while (pump->from >= 0) {
		if (!pump->len)
			fill(pump);
		if (!pump->len)
			return;
		empty(pump);
		if (pump->len)
			sys(__NR_poll, &room, 1, -1, 0, 0);
	}
}

static void report_end(struct relay *relay)
{
	int status = relay->status;
	struct guest_exit end = {
		.status = WIFSIGNALED(status) ?
				  128 + (uint32_t)WTERMSIG(status) :
				  (uint32_t)WEXITSTATUS(status),
	};

	/*
	 * Others might write on and on. Until they are gone, what they have
	 * open keeps disks from being remounted.
	 */
	sys_kill(-1, SIGKILL);
	while (sys(__NR_wait4, -1, NULL, 0, 0, 0) > 0)
		;
	drain(&relay->pumps[PUMP_OUT]);
	drain(&relay->pumps[PUMP_ERR]);
	end.stdout_bytes = relay->pumps[PUMP_OUT].passed;
	end.stderr_bytes = relay->pumps[PUMP_ERR].passed;
	mounts_finish(relay->init);
	init_send(relay->init, GUEST_EXIT, &end, sizeof(end));
}

void relay(struct init *init, struct command *command)
{
	struct relay relay = {
		.init = init,
		.command = command,
		.pumps = {
			[PUMP_IN] = { .from = init->ports[PORT_STDIO],
				      .to = command->in },
			[PUMP_OUT] = { .from = command->out,
				       .to = init->ports[PORT_STDIO] },
			[PUMP_ERR] = { .from = command->err,
				       .to = init->ports[PORT_STDERR] },
		},
	};
	struct pollfd events[PUMPS + 2] = {
		[PUMPS] = { .fd = init->signals, .events = POLLIN },
		[PUMPS + 1] = { .fd = init->ports[PORT_CONTROL],
				.events = POLLIN },
	};

	for (int i = 0; i < PUMPS; i++) {
		relay.pumps[i].data = sys_alloc(PUMP_BYTES);
		if (sys_is_error(relay.pumps[i].data))
			init_fail(init, "no memory", NULL, -ENOMEM, NULL);
	}
	while (!relay.over) {
		for (int i = 0; i < PUMPS; i++)
			watch(&relay.pumps[i], &events[i]);
		sys(__NR_poll, events, PUMPS + 2, -1, 0, 0);
		for (int i = 0; i < PUMPS; i++)
			if (events[i].fd >= 0 && events[i].revents)
				go_on(&relay.pumps[i]);
		if (events[PUMPS + 1].revents)
			while (read_message(&relay) > 0)
				take_message(&relay);
		end_input(&relay);
		if (events[PUMPS].revents)
			reap(&relay);
	}
	report_end(&relay);
}
