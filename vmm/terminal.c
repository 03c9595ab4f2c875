/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Standard input and output as the host's end of the console: see terminal.h.
 *
 * Output is output.c's. Input is read by the loop's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

#include <lkvm/loop.h>
#include <lkvm/output.h>
#include <lkvm/terminal.h>
#include <lkvm/util.h>

#define INPUT_CHUNK 65536
#define INPUT_KEYS 256
/* What a person may type ahead of a guest that does not read. */
#define INPUT_HELD (4 * KIB)

#define CTRL_A 0x01

struct terminal {
	struct chardev chardev;
	struct chardev output; /* see terminal_output() */
	struct loop *loop;
	struct terminal_callbacks callbacks;

	/* The loop's thread, or the main thread while no loop runs. */
	struct loop_source in_source;
	struct loop_source wake_source; /* a timerfd; any thread sets it */
	struct loop_source resize_source; /* a signalfd; -1: no terminal */
	bool started;
	bool interactive; /* stdin is a terminal */
	bool escape; /* Ctrl-a was typed */
	bool prompting; /* keys are the control prompt's */
	bool in_ended;
	bool end_told;
	size_t in_len;
	char in[INPUT_CHUNK]; /* the frontend did not take these yet */
	void *signal_stack;
	stack_t old_signal_stack;

	struct output out;
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

/* ---- output ------------------------------------------------------------- */

static void wake_now(struct terminal *t)
{
	timer_arm(t->wake_source.fd, 1);
}

static size_t terminal_write(struct chardev *chardev, const void *data,
			     size_t len)
{
	struct terminal *t = container_of(chardev, struct terminal, chardev);

	return output_put(&t->out, data, len);
}

/* Both writers wait for room together; either may write then. */
static void tell_writable(const struct chardev *chardev)
{
	if (chardev->frontend)
		chardev->frontend->writable(chardev->opaque);
}

static void on_writable(void *opaque)
{
	struct terminal *t = opaque;

	tell_writable(&t->chardev);
	tell_writable(&t->output);
}

static void on_written(void *opaque)
{
	const struct chardev *chardev = &((struct terminal *)opaque)->chardev;

	if (chardev->frontend && chardev->frontend->written)
		chardev->frontend->written(chardev->opaque);
}

static void on_lost(void *opaque)
{
	const struct chardev *chardev = &((struct terminal *)opaque)->chardev;

	if (chardev->frontend && chardev->frontend->lost)
		chardev->frontend->lost(chardev->opaque);
}

void terminal_print(struct terminal *t, const char *text, size_t len)
{
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		output_put(&t->out, text, n);
		if (end)
			output_put(&t->out, "\r\n", 2);
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
	struct terminal *t = container_of(chardev, struct terminal, output);

	return output_put(&t->out, data, len);
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
	if (t->in_len < INPUT_HELD)
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

/* All that stdin had has been delivered: once. */
static void input_tell_end(struct terminal *t)
{
	const struct chardev_frontend_ops *frontend = t->chardev.frontend;

	if (t->end_told || !t->in_ended || t->in_len)
		return;
	t->end_told = true;
	if (frontend && frontend->ended)
		frontend->ended(t->chardev.opaque);
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

/* A terminal is always read, because Ctrl-a x must work when the guest hangs. */
static bool read_keys(struct terminal *t)
{
	char keys[INPUT_KEYS];
	size_t n;

	/* In the background, input is the shell's. */
	if (!tty_is_foreground())
		return false;
	tty_make_raw();
	n = input_from_host(t, keys, sizeof(keys));
	for (size_t i = 0; i < n; i++)
		input_key(t, keys[i]);
	return n;
}

/* A pipe only when the guest has taken everything: its writer waits. */
static bool read_bytes(struct terminal *t)
{
	if (t->in_len)
		return false;
	t->in_len = input_from_host(t, t->in, sizeof(t->in));
	return t->in_len;
}

/* Deliver what is held, then read once. */
static void input_turn(struct terminal *t)
{
	input_deliver(t);
	if (t->started && !t->in_ended &&
	    (t->interactive ? read_keys(t) : read_bytes(t))) {
		input_deliver(t);
		/* stdin is watched for edges (or is a file): look for more. */
		if (!t->in_len || t->interactive)
			wake_now(t);
	}
	input_tell_end(t);
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

	(void)events;
	(void)!read(t->wake_source.fd, &expirations, sizeof(expirations));
	input_turn(t);
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
	const struct output_callbacks callbacks = {
		.writable = on_writable,
		.written = on_written,
		.lost = on_lost,
		.opaque = t,
	};
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
	init_sources(t);
	if (t->wake_source.fd < 0) {
		err = -errno;
		goto free_stack;
	}
	err = loop_add(loop, &t->wake_source, EPOLLIN);
	if (err)
		goto close_timer;
	err = output_init(&t->out, loop, STDOUT_FILENO, &callbacks);
	if (err)
		goto del_timer;
	*out = t;
	return 0;

del_timer:
	loop_del(loop, &t->wake_source);
close_timer:
	close(t->wake_source.fd);
free_stack:
	free(t->signal_stack);
free_terminal:
	free(t);
	return err;
}

void terminal_set_plain(struct terminal *t)
{
	t->interactive = false;
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
	output_flush(&t->out);
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
	output_release(&t->out);
	loop_del(t->loop, &t->wake_source);
	close(t->wake_source.fd);
	if (t->resize_source.fd >= 0)
		close(t->resize_source.fd);
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

bool terminal_is_written(struct terminal *t)
{
	return output_is_empty(&t->out);
}
