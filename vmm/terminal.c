/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Standard input and output as the host's end of the console: see terminal.h.
 *
 * vCPU threads only append to the output ring and set a timer; everything
 * else, each read and write of a file descriptor included, is done by the
 * loop's thread. The timer runs out a millisecond after the first byte: what
 * the guest sends byte by byte reaches write(2) in batches, and a prompt is
 * still there at once.
 *
 * O_NONBLOCK belongs to the open file description, which is shared with the
 * shell and whatever else holds the same terminal or pipe, and must not be set
 * there. So output goes to a description of its own where one can be had, and
 * otherwise poll(2) is asked before each small write.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

#include <lkvm/loop.h>
#include <lkvm/terminal.h>
#include <lkvm/util.h>

#define OUTPUT_RING (64 * KIB)
#define OUTPUT_BATCH_NS 1000000L
#define FLUSH_NS 1000000000ULL
#define INPUT_CHUNK 256
/* What a person may type ahead of a guest that does not read. */
#define INPUT_HELD 1024

#define CTRL_A 0x01

/* How soon the loop's thread is to look at the terminal. */
enum wake {
	WAKE_NONE,
	WAKE_BATCH, /* OUTPUT_BATCH_NS from the first byte on */
	WAKE_NOW,
};

struct terminal {
	struct chardev chardev;
	struct chardev output; /* see terminal_output() */
	struct loop *loop;
	struct terminal_callbacks callbacks;

	/* The loop's thread, or the main thread while no loop runs. */
	struct loop_source in_source;
	struct loop_source out_source; /* added while out_waiting */
	struct loop_source wake_source; /* a timerfd, set under lock */
	struct loop_source resize_source; /* a signalfd; -1: no terminal */
	bool started;
	bool interactive; /* stdin is a terminal */
	bool escape; /* Ctrl-a was typed */
	bool prompting; /* keys are the control prompt's */
	bool in_ended;
	size_t in_len;
	char in[INPUT_HELD]; /* the frontend did not take these yet */
	int own_out_fd; /* own description of stdout, or -1 */
	bool out_socket;
	void *signal_stack;
	stack_t old_signal_stack;

	pthread_mutex_t lock; /* guards the rest */
	enum wake wake;
	bool out_waiting; /* for room: epoll will tell */
	bool out_refused; /* the frontend waits for writable() */
	size_t out_head;
	size_t out_len;
	char out[OUTPUT_RING];
};

/* ---- raw mode, and its end on every way out ----------------------------- */

static const int fatal_signals[] = {
	SIGHUP,	 SIGINT,  SIGQUIT,   SIGTERM, SIGABRT, SIGBUS,
	SIGFPE,	 SIGILL,  SIGSEGV,   SIGSYS,  SIGTRAP, SIGXCPU,
	SIGXFSZ, SIGALRM, SIGVTALRM, SIGPROF, SIGUSR1, SIGUSR2,
};

/*
 * The one mutable datum of file scope: a signal handler has no argument, and
 * the process has one controlling terminal. Written while no handler can run
 * (raw is false), read by handlers while it is true.
 */
static struct {
	volatile sig_atomic_t raw; /* the two modes are valid */
	struct termios saved_mode;
	struct termios raw_mode;
	struct sigaction old[ARRAY_SIZE(fatal_signals)];
	struct sigaction old_tstp;
	struct sigaction old_cont;
} tty;

/*
 * Only the foreground process group may change a terminal's mode: others
 * would be stopped by SIGTTOU, or change it under the shell's feet. A terminal
 * that is not ours to control has no job control either.
 */
static bool tty_is_foreground(void)
{
	pid_t group = tcgetpgrp(STDIN_FILENO);

	return group < 0 || group == getpgrp();
}

static void tty_restore(void)
{
	if (tty.raw && tty_is_foreground())
		tcsetattr(STDIN_FILENO, TCSANOW, &tty.saved_mode);
}

static void on_fatal_signal(int signo)
{
	int saved_errno = errno;

	tty_restore();
	for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++)
		if (fatal_signals[i] == signo)
			sigaction(signo, &tty.old[i], NULL);
	raise(signo);
	errno = saved_errno;
}

static void on_stop_signal(int signo)
{
	int saved_errno = errno;

	(void)signo;
	tty_restore();
	raise(SIGSTOP);
	errno = saved_errno;
}

static void on_continue_signal(int signo)
{
	int saved_errno = errno;

	(void)signo;
	if (tty.raw && tty_is_foreground())
		tcsetattr(STDIN_FILENO, TCSANOW, &tty.raw_mode);
	errno = saved_errno;
}

/*
 * Each key reaches the guest as it was pressed, and each byte of the guest's
 * reaches the terminal as it was sent: with OPOST on, a full-screen program
 * in the guest that moves down by a bare newline would be moved left as well.
 */
static void tty_make_raw(void)
{
	struct termios *raw = &tty.raw_mode;

	if (tty.raw || !tty_is_foreground() ||
	    tcgetattr(STDIN_FILENO, &tty.saved_mode))
		return;
	*raw = tty.saved_mode;
	raw->c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR |
			  ICRNL | IXON);
	raw->c_oflag &= ~OPOST;
	raw->c_lflag &= ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	raw->c_cc[VMIN] = 1;
	raw->c_cc[VTIME] = 0;
	tty.raw = true;
	tcsetattr(STDIN_FILENO, TCSANOW, raw);
}

static void install_handler(int signo, void (*handler)(int signo), int flags,
			    struct sigaction *old)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	sigaction(signo, NULL, old);
	/* nohup's and the shell's wish to ignore a signal stands. */
	if (old->sa_handler != SIG_IGN)
		sigaction(signo, &action, NULL);
}

static void handlers_install(struct terminal *t)
{
	stack_t stack = { .ss_sp = t->signal_stack, .ss_size = SIGSTKSZ };

	/* A crash may be a stack overflow; the handler needs another stack. */
	sigaltstack(&stack, &t->old_signal_stack);
	for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++)
		install_handler(fatal_signals[i], on_fatal_signal,
				SA_ONSTACK | SA_NODEFER, &tty.old[i]);
	install_handler(SIGTSTP, on_stop_signal, SA_RESTART, &tty.old_tstp);
	install_handler(SIGCONT, on_continue_signal, SA_RESTART, &tty.old_cont);
}

static void handlers_remove(struct terminal *t)
{
	for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++)
		sigaction(fatal_signals[i], &tty.old[i], NULL);
	sigaction(SIGTSTP, &tty.old_tstp, NULL);
	sigaction(SIGCONT, &tty.old_cont, NULL);
	sigaltstack(&t->old_signal_stack, NULL);
}

/* ---- waking the loop's thread ------------------------------------------- */

static void wake_locked(struct terminal *t, enum wake wake)
{
	struct itimerspec timer = { 0 };

	if (t->wake >= wake)
		return;
	t->wake = wake;
	timer.it_value.tv_nsec = wake == WAKE_NOW ? 1 : OUTPUT_BATCH_NS;
	timerfd_settime(t->wake_source.fd, 0, &timer, NULL);
}

static void wake_now(struct terminal *t)
{
	pthread_mutex_lock(&t->lock);
	wake_locked(t, WAKE_NOW);
	pthread_mutex_unlock(&t->lock);
}

/* ---- output ------------------------------------------------------------- */

/* Any thread, under a device's lock: neither blocks nor calls back. */
static size_t output_put(struct terminal *t, const void *data, size_t len)
{
	size_t taken, tail, first;

	pthread_mutex_lock(&t->lock);
	taken = MIN(len, OUTPUT_RING - t->out_len);
	tail = (t->out_head + t->out_len) % OUTPUT_RING;
	first = MIN(taken, OUTPUT_RING - tail);
	memcpy(t->out + tail, data, first);
	memcpy(t->out, (const char *)data + first, taken - first);
	t->out_len += taken;
	if (taken < len)
		t->out_refused = true;
	if (!t->out_waiting)
		wake_locked(t, t->out_len < OUTPUT_RING / 2 ? WAKE_BATCH :
							      WAKE_NOW);
	pthread_mutex_unlock(&t->lock);
	return taken;
}

static size_t terminal_write(struct chardev *chardev, const void *data,
			     size_t len)
{
	return output_put(container_of(chardev, struct terminal, chardev), data,
			  len);
}

/* Both writers wait for room together; either may write then. */
static void tell_writable(const struct chardev *chardev)
{
	if (chardev->frontend)
		chardev->frontend->writable(chardev->opaque);
}

/* Returns bytes or -errno; -EAGAIN instead of blocking. */
static ssize_t output_to_host(struct terminal *t, const char *data, size_t len)
{
	struct pollfd room = { .fd = STDOUT_FILENO, .events = POLLOUT };
	ssize_t n;

	if (t->own_out_fd >= 0) {
		n = write(t->own_out_fd, data, len);
	} else if (t->out_socket) {
		n = send(STDOUT_FILENO, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		if (poll(&room, 1, 0) <= 0)
			return -EAGAIN;
		/* A pipe that polls writable has room for this much. */
		n = write(STDOUT_FILENO, data, MIN(len, PIPE_BUF));
	}
	return n < 0 ? -errno : n;
}

/*
 * Write once. Returns the bytes written, -EAGAIN when stdout has no room now,
 * or another -errno, by which what is buffered has been discarded.
 */
static ssize_t output_step(struct terminal *t)
{
	size_t head, len;
	bool refused;
	ssize_t n;

	pthread_mutex_lock(&t->lock);
	head = t->out_head;
	len = MIN(t->out_len, OUTPUT_RING - head);
	pthread_mutex_unlock(&t->lock);
	if (!len)
		return 0;
	/* Outside the lock: others only append, behind these bytes. */
	n = output_to_host(t, t->out + head, len);
	if (n == -EAGAIN || n == -EINTR)
		return -EAGAIN;

	pthread_mutex_lock(&t->lock);
	/* A reader that has gone is no reason for the guest to wait. */
	t->out_len -= n < 0 ? t->out_len : (size_t)n;
	/* Starting over keeps the ring's other pages untouched. */
	t->out_head = t->out_len ? (head + (size_t)n) % OUTPUT_RING : 0;
	refused = t->out_refused && t->out_len <= OUTPUT_RING / 2;
	if (refused)
		t->out_refused = false;
	pthread_mutex_unlock(&t->lock);
	if (refused) {
		tell_writable(&t->chardev);
		tell_writable(&t->output);
	}
	return n;
}

/* One write a turn of the loop, so that a chatty guest cannot keep it here. */
static void output_turn(struct terminal *t)
{
	bool full = output_step(t) == -EAGAIN;

	pthread_mutex_lock(&t->lock);
	if (full && !t->out_waiting) {
		t->out_waiting = !loop_add(t->loop, &t->out_source, EPOLLOUT);
	} else if (!t->out_len && t->out_waiting) {
		loop_del(t->loop, &t->out_source);
		t->out_waiting = false;
	}
	if (t->out_len && !t->out_waiting)
		wake_locked(t, full ? WAKE_BATCH : WAKE_NOW);
	pthread_mutex_unlock(&t->lock);
}

/*
 * vCPUs are parked: what is left only shrinks, but for a UART's FIFO. A reader
 * that takes nothing for FLUSH_NS loses the rest.
 */
static void output_flush(struct terminal *t)
{
	struct pollfd room = { .fd = t->out_source.fd, .events = POLLOUT };
	uint64_t deadline = now_ns() + FLUSH_NS;
	uint64_t now;
	ssize_t n;

	do {
		n = output_step(t);
		now = now_ns();
		if (n > 0)
			deadline = now + FLUSH_NS;
		else if (n == -EAGAIN && now < deadline)
			poll(&room, 1, (int)((deadline - now) / 1000000) + 1);
	} while (n > 0 || (n == -EAGAIN && now < deadline));
}

static void on_stdout_ready(void *opaque, uint32_t events)
{
	(void)events;
	output_turn(opaque);
}

/*
 * A description of our own for the same terminal or pipe. Not for files: it
 * would have an offset of its own, and overwrite what others appended.
 */
static int reopen_stdout(const struct stat *st)
{
	int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd;

	if (!S_ISFIFO(st->st_mode) && !isatty(STDOUT_FILENO))
		return -1;
	fd = open("/proc/self/fd/1", flags);
	/* After su(1) a terminal's node belongs to another user. */
	if (fd < 0 && S_ISCHR(st->st_mode) &&
	    tcgetsid(STDOUT_FILENO) == getsid(0))
		fd = open("/dev/tty", flags);
	return fd;
}

void terminal_print(struct terminal *t, const char *text, size_t len)
{
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		output_put(t, text, n);
		if (end)
			output_put(t, "\r\n", 2);
		n += end != NULL;
		text += n;
		len -= n;
	}
}

static void print_help(struct terminal *t)
{
	const struct terminal_callbacks *cb = &t->callbacks;
	char help[320];
	int len;

	len = snprintf(help, sizeof(help), "\n%s%s%s%s",
		       cb->quit ? "Ctrl-a x   quit lkvm\n" : "",
		       cb->detach ? "Ctrl-a d   detach\n" : "",
		       cb->prompt ? "Ctrl-a c   control prompt, and back\n" : "",
		       "Ctrl-a a   send Ctrl-a to the guest\n"
		       "Ctrl-a h   this help\n"
		       "Any other key after Ctrl-a: both are sent to the "
		       "guest.\n");
	terminal_print(t, help, (size_t)len);
}

/* ---- input -------------------------------------------------------------- */

/* Any thread, under a device's lock. */
static void terminal_input_wanted(struct chardev *chardev)
{
	wake_now(container_of(chardev, struct terminal, chardev));
}

static const struct chardev_ops terminal_ops = {
	.write = terminal_write,
	.input_wanted = terminal_input_wanted,
};

static size_t second_write(struct chardev *chardev, const void *data,
			   size_t len)
{
	return output_put(container_of(chardev, struct terminal, output), data,
			  len);
}

static void no_input(struct chardev *chardev)
{
	(void)chardev;
}

static const struct chardev_ops output_ops = {
	.write = second_write,
	.input_wanted = no_input,
};

/* Beyond what can be held, keys are dropped, as a terminal itself does. */
static void input_hold(struct terminal *t, char c)
{
	if (t->in_len < sizeof(t->in))
		t->in[t->in_len++] = c;
}

/* A key behind Ctrl-a: is it a command? */
static bool command_key(struct terminal *t, char c)
{
	const struct terminal_callbacks *cb = &t->callbacks;

	if (c == 'x' && cb->quit) {
		cb->quit(cb->opaque);
	} else if (c == 'd' && cb->detach) {
		cb->detach(cb->opaque);
	} else if (c == 'c' && cb->prompt) {
		t->prompting = !t->prompting;
		cb->prompt(cb->opaque, t->prompting);
	} else if (c == 'a') {
		input_hold(t, CTRL_A);
	} else if (c == 'h') {
		print_help(t);
	} else {
		return false;
	}
	return true;
}

static void input_key(struct terminal *t, char c)
{
	if (!t->escape) {
		t->escape = c == CTRL_A;
		if (t->escape)
			return;
		if (t->prompting)
			t->callbacks.prompt_key(t->callbacks.opaque, c);
		else
			input_hold(t, c);
		return;
	}
	t->escape = false;
	if (!command_key(t, c)) {
		input_hold(t, CTRL_A);
		input_hold(t, c);
	}
}

static void input_deliver(struct terminal *t)
{
	const struct chardev_frontend_ops *frontend = t->chardev.frontend;
	size_t taken;

	if (!t->in_len || !frontend)
		return;
	taken = frontend->receive(t->chardev.opaque, t->in, t->in_len);
	t->in_len -= taken;
	memmove(t->in, t->in + taken, t->in_len);
}

static void input_end(struct terminal *t)
{
	t->in_ended = true;
	loop_del(t->loop, &t->in_source);
}

/* Returns bytes read: 0 when there are none now, or never again. */
static size_t input_from_host(struct terminal *t, char *data, size_t len)
{
	struct pollfd ready = { .fd = STDIN_FILENO, .events = POLLIN };
	ssize_t n;

	/* Regular files always poll ready. */
	if (poll(&ready, 1, 0) <= 0)
		return 0;
	n = read(STDIN_FILENO, data, len);
	if (n > 0)
		return (size_t)n;
	if (n == 0 || (errno != EINTR && errno != EAGAIN))
		input_end(t);
	return 0;
}

/*
 * Deliver what is held, then read once. A pipe is read only when the guest has
 * taken everything, so that its writer waits; a terminal always, because
 * Ctrl-a x must work when the guest hangs.
 */
static void input_turn(struct terminal *t)
{
	char data[INPUT_CHUNK];
	size_t n;

	input_deliver(t);
	if (!t->started || t->in_ended || (t->in_len && !t->interactive))
		return;
	if (t->interactive) {
		/* In the background, input is the shell's. */
		if (!tty_is_foreground())
			return;
		tty_make_raw();
	}
	n = input_from_host(t, data, sizeof(data));
	if (!n)
		return;
	for (size_t i = 0; i < n; i++)
		if (t->interactive)
			input_key(t, data[i]);
		else
			input_hold(t, data[i]);
	input_deliver(t);
	/* stdin is watched for edges (or is a file): look for more. */
	if (!t->in_len || t->interactive)
		wake_now(t);
}

static void on_stdin_ready(void *opaque, uint32_t events)
{
	(void)events;
	input_turn(opaque);
}

static void on_wake(void *opaque, uint32_t events)
{
	struct terminal *t = opaque;
	uint64_t expirations;
	bool now;

	(void)events;
	(void)!read(t->wake_source.fd, &expirations, sizeof(expirations));
	pthread_mutex_lock(&t->lock);
	now = t->wake == WAKE_NOW;
	t->wake = WAKE_NONE;
	pthread_mutex_unlock(&t->lock);
	if (now)
		input_turn(t);
	output_turn(t);
}

/* ---- the window's size -------------------------------------------------- */

static void tell_size(struct terminal *t)
{
	const struct chardev_frontend_ops *frontend = t->chardev.frontend;
	struct winsize size;

	if (frontend && frontend->resized &&
	    !ioctl(STDIN_FILENO, TIOCGWINSZ, &size))
		frontend->resized(t->chardev.opaque, size.ws_col, size.ws_row);
}

static void on_resize(void *opaque, uint32_t events)
{
	struct terminal *t = opaque;
	struct signalfd_siginfo info;

	(void)events;
	while (read(t->resize_source.fd, &info, sizeof(info)) > 0)
		;
	tell_size(t);
}

/* From here on SIGWINCH comes to the loop. */
static int watch_size(struct terminal *t)
{
	sigset_t set;
	int err;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	t->resize_source.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (t->resize_source.fd < 0)
		return -errno;
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	err = loop_add(t->loop, &t->resize_source, EPOLLIN);
	if (!err)
		tell_size(t);
	return err;
}

/* ---- the interface ------------------------------------------------------ */

/* The timer is there afterwards, or its descriptor is below 0. */
static void init_sources(struct terminal *t)
{
	t->in_source = (struct loop_source) {
		.fd = STDIN_FILENO,
		.ready = on_stdin_ready,
		.opaque = t,
	};
	t->out_source = (struct loop_source) {
		.fd = t->own_out_fd >= 0 ? t->own_out_fd : STDOUT_FILENO,
		.ready = on_stdout_ready,
		.opaque = t,
	};
	t->resize_source = (struct loop_source) {
		.fd = -1,
		.ready = on_resize,
		.opaque = t,
	};
	t->wake_source = (struct loop_source) {
		.fd = timerfd_create(CLOCK_MONOTONIC,
				     TFD_NONBLOCK | TFD_CLOEXEC),
		.ready = on_wake,
		.opaque = t,
	};
}

int terminal_create(struct loop *loop, const struct terminal_callbacks *cb,
		    struct terminal **out)
{
	struct terminal *t = calloc(1, sizeof(*t));
	struct stat st = { 0 };
	int err = -ENOMEM;

	if (!t)
		return -ENOMEM;
	t->signal_stack = malloc(SIGSTKSZ);
	if (!t->signal_stack)
		goto free_terminal;
	t->chardev.ops = &terminal_ops;
	t->chardev.connected = true;
	t->output.ops = &output_ops;
	t->output.connected = true;
	t->loop = loop;
	t->callbacks = *cb;
	t->interactive = isatty(STDIN_FILENO);
	fstat(STDOUT_FILENO, &st);
	t->out_socket = S_ISSOCK(st.st_mode);
	t->own_out_fd = reopen_stdout(&st);
	init_sources(t);
	if (t->wake_source.fd < 0) {
		err = -errno;
		goto close_stdout;
	}
	err = loop_add(loop, &t->wake_source, EPOLLIN);
	if (err)
		goto close_timer;
	pthread_mutex_init(&t->lock, NULL);
	*out = t;
	return 0;

close_timer:
	close(t->wake_source.fd);
close_stdout:
	if (t->own_out_fd >= 0)
		close(t->own_out_fd);
	free(t->signal_stack);
free_terminal:
	free(t);
	return err;
}

int terminal_start(struct terminal *t)
{
	int err = 0;

	if (t->started)
		return 0;
	if (!t->in_ended)
		err = loop_add(t->loop, &t->in_source, EPOLLIN | EPOLLET);
	/* A file, which epoll refuses, is read as the guest wants input; and
	 * stdin that is closed is an end of file. */
	if (err && err != -EPERM && err != -EBADF)
		return err;
	t->started = true;
	if (t->interactive) {
		handlers_install(t);
		tty_make_raw();
		err = watch_size(t);
		if (err)
			return err;
	}
	wake_now(t);
	return 0;
}

void terminal_stop(struct terminal *t)
{
	output_flush(t);
	if (!t->started)
		return;
	t->started = false;
	loop_del(t->loop, &t->in_source);
	loop_del(t->loop, &t->resize_source);
	if (!t->interactive)
		return;
	tty_restore();
	tty.raw = false;
	handlers_remove(t);
}

void terminal_destroy(struct terminal *t)
{
	if (!t)
		return;
	terminal_stop(t);
	loop_del(t->loop, &t->out_source);
	loop_del(t->loop, &t->wake_source);
	close(t->wake_source.fd);
	if (t->resize_source.fd >= 0)
		close(t->resize_source.fd);
	if (t->own_out_fd >= 0)
		close(t->own_out_fd);
	pthread_mutex_destroy(&t->lock);
	free(t->signal_stack);
	free(t);
}

struct chardev *terminal_chardev(struct terminal *t)
{
	return &t->chardev;
}

struct chardev *terminal_output(struct terminal *t)
{
	return &t->output;
}
