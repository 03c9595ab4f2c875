/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What vmm/terminal.c promises on pipes, files, terminals and closed ends.
 *
 * Each test runs in a child of its own, whose standard input and output are
 * what it speaks of: the loop runs on a second thread (the VM's main thread),
 * and the test plays the vCPU and the person at the other end.
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
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <lkvm/loop.h>
#include <lkvm/terminal.h>
#include <lkvm/util.h>

#define LIMIT_MS 10000

/* The VM's side of the console. */
struct vm {
	struct loop *loop;
	struct terminal *terminal;
	struct chardev *chardev;
	pthread_t thread;
	_Atomic bool quit;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t changed;
	char input[65536];
	size_t input_len;
	size_t room; /* what the guest takes */
	unsigned int writable;
};

/* In the child an assertion is an exit status that its parent sees. */
#define CHECK(condition)                                              \
	do {                                                          \
		if (!(condition))                                     \
			_exit(__LINE__ & 0xff ? __LINE__ & 0xff : 1); \
	} while (0)

static size_t vm_receive(void *opaque, const void *data, size_t len)
{
	struct vm *vm = opaque;
	size_t taken;

	pthread_mutex_lock(&vm->lock);
	taken = MIN(len, vm->room);
	memcpy(vm->input + vm->input_len, data, taken);
	vm->input_len += taken;
	vm->room -= taken;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	return taken;
}

static void vm_writable(void *opaque)
{
	struct vm *vm = opaque;

	pthread_mutex_lock(&vm->lock);
	vm->writable++;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

static const struct chardev_frontend_ops vm_ops = {
	.receive = vm_receive,
	.writable = vm_writable,
};

static void on_quit(void *opaque)
{
	struct vm *vm = opaque;

	vm->quit = true;
}

/* The prompt answers with each key, and in brackets with its coming. */
static void on_prompt(void *opaque, bool on)
{
	struct vm *vm = opaque;

	terminal_print(vm->terminal, on ? "\n<" : ">\n", 2);
}

static void on_prompt_key(void *opaque, char key)
{
	struct vm *vm = opaque;

	terminal_print(vm->terminal, &key, 1);
}

static void *run_loop(void *opaque)
{
	struct vm *vm = opaque;

	loop_run(vm->loop);
	return NULL;
}

static void vm_start(struct vm *vm, size_t room)
{
	const struct terminal_callbacks callbacks = {
		.quit = on_quit,
		.prompt = on_prompt,
		.prompt_key = on_prompt_key,
		.opaque = vm,
	};

	memset(vm, 0, sizeof(*vm));
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	vm->room = room;
	CHECK(!loop_create(&vm->loop));
	CHECK(!terminal_create(vm->loop, &callbacks, &vm->terminal));
	vm->chardev = terminal_chardev(vm->terminal);
	vm->chardev->opaque = vm;
	vm->chardev->frontend = &vm_ops;
	CHECK(!terminal_start(vm->terminal));
	CHECK(!pthread_create(&vm->thread, NULL, run_loop, vm));
}

static void vm_end(struct vm *vm)
{
	loop_stop(vm->loop);
	pthread_join(vm->thread, NULL);
	terminal_destroy(vm->terminal);
	loop_destroy(vm->loop);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
}

static size_t vm_write(struct vm *vm, const char *text)
{
	return vm->chardev->ops->write(vm->chardev, text, strlen(text));
}

static void vm_make_room(struct vm *vm, size_t room)
{
	pthread_mutex_lock(&vm->lock);
	vm->room += room;
	pthread_mutex_unlock(&vm->lock);
	vm->chardev->ops->input_wanted(vm->chardev);
}

/* Wait until the guest has got exactly @text. */
static void vm_expect(struct vm *vm, const char *text)
{
	pthread_mutex_lock(&vm->lock);
	while (vm->input_len < strlen(text))
		pthread_cond_wait(&vm->changed, &vm->lock);
	CHECK(vm->input_len == strlen(text));
	CHECK(!memcmp(vm->input, text, vm->input_len));
	pthread_mutex_unlock(&vm->lock);
}

static void put(int fd, const char *text)
{
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

/* Read from @fd until exactly @text has come. */
static void expect(int fd, const char *text)
{
	char data[4096];
	size_t len = 0;

	while (len < strlen(text)) {
		ssize_t n = read(fd, data + len, sizeof(data) - len);

		CHECK(n > 0);
		len += (size_t)n;
	}
	CHECK(len == strlen(text));
	CHECK(!memcmp(data, text, len));
}

static void become(int in, int out)
{
	CHECK(dup2(in, STDIN_FILENO) == STDIN_FILENO);
	CHECK(dup2(out, STDOUT_FILENO) == STDOUT_FILENO);
}

/* A pseudo-terminal's two ends; both are closed on exec and exit only. */
static void make_pty(int *master, int *slave)
{
	*master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(*master >= 0 && !grantpt(*master) && !unlockpt(*master));
	*slave = open(ptsname(*master), O_RDWR | O_NOCTTY);
	CHECK(*slave >= 0);
}

static int temporary_file(void)
{
	char path[] = "/tmp/test-terminal.XXXXXX";
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	unlink(path);
	return fd;
}

static bool is_raw(int tty)
{
	struct termios mode;

	CHECK(!tcgetattr(tty, &mode));
	return !(mode.c_lflag & (ICANON | ECHO | ISIG)) &&
	       !(mode.c_iflag & (ICRNL | IXON));
}

/* Is all of @mode as it was? */
static bool mode_is(int tty, const struct termios *mode)
{
	struct termios now;

	CHECK(!tcgetattr(tty, &now));
	return now.c_iflag == mode->c_iflag && now.c_oflag == mode->c_oflag &&
	       now.c_lflag == mode->c_lflag && now.c_cflag == mode->c_cflag &&
	       !memcmp(now.c_cc, mode->c_cc, sizeof(now.c_cc));
}

/* Run @body in a child, which must end well and within the limit. */
static void in_child(void (*body)(void))
{
	/* cmocka's handlers would go on with the tests. */
	static const int caught[] = { SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		for (size_t i = 0; i < ARRAY_SIZE(caught); i++)
			signal(caught[i], SIG_DFL);
		signal(SIGPIPE, SIG_IGN);
		alarm(LIMIT_MS / 1000);
		body();
		/* Through exit(), for the leak checker. */
		exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("status %#x: signal %d or line %d modulo 256", status,
			 WTERMSIG(status), WEXITSTATUS(status));
}

/* A test whose body runs in a child. */
#define IN_CHILD(name)                 \
	static void name##_body(void); \
	static void name(void **state) \
	{                              \
		(void)state;           \
		in_child(name##_body); \
	}                              \
	static void name##_body(void)

/* ---- input -------------------------------------------------------------- */

IN_CHILD(piped_input_arrives_and_its_end_is_no_end)
{
	struct vm vm;
	int in[2], out[2];

	CHECK(!pipe(in) && !pipe(out));
	become(in[0], out[1]);
	vm_start(&vm, 100);
	put(in[1], "hello\n");
	vm_expect(&vm, "hello\n");
	put(in[1], "\001x!");
	vm_expect(&vm, "hello\n\001x!");
	CHECK(!vm.quit);
	close(in[1]);
	CHECK(vm_write(&vm, "still here") == 10);
	expect(out[0], "still here");
	vm_end(&vm);
}

IN_CHILD(input_that_the_guest_did_not_take_is_kept)
{
	struct vm vm;
	int in[2];

	CHECK(!pipe(in));
	become(in[0], open("/dev/null", O_WRONLY));
	vm_start(&vm, 3);
	put(in[1], "abcdef");
	close(in[1]);
	vm_expect(&vm, "abc");
	vm_make_room(&vm, 1);
	vm_expect(&vm, "abcd");
	vm_make_room(&vm, 10);
	vm_expect(&vm, "abcdef");
	vm_end(&vm);
}

IN_CHILD(a_guest_that_does_not_read_makes_the_writer_wait)
{
	struct vm vm;
	char data[1024];
	size_t sent = 0;
	ssize_t n;
	int in[2];

	memset(data, 'x', sizeof(data));
	CHECK(!pipe2(in, O_NONBLOCK));
	CHECK(fcntl(in[1], F_SETPIPE_SZ, 4096) == 4096);
	become(in[0], open("/dev/null", O_WRONLY));
	vm_start(&vm, 0);
	/* What a pipe holds, and one read of the terminal's. */
	for (int i = 0; i < 100; i++) {
		n = write(in[1], data, sizeof(data));
		if (n > 0)
			sent += (size_t)n;
		usleep(1000);
	}
	CHECK(sent >= 4096 && sent <= 8192);
	close(in[1]);
	vm_make_room(&vm, sizeof(vm.input));
	pthread_mutex_lock(&vm.lock);
	while (vm.input_len < sent)
		pthread_cond_wait(&vm.changed, &vm.lock);
	pthread_mutex_unlock(&vm.lock);
	vm_end(&vm);
}

IN_CHILD(a_regular_file_is_read_as_the_guest_wants_input)
{
	struct vm vm;
	int in = temporary_file();
	char text[2001];

	memset(text, 'f', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	put(in, text);
	CHECK(lseek(in, 0, SEEK_SET) == 0);
	become(in, open("/dev/null", O_WRONLY));
	vm_start(&vm, 1000);
	usleep(10000);
	vm_make_room(&vm, 1001);
	vm_expect(&vm, text);
	vm_end(&vm);
}

IN_CHILD(dev_null_as_stdin_is_no_reason_to_end)
{
	struct vm vm;
	int out[2];

	CHECK(!pipe(out));
	become(open("/dev/null", O_RDONLY), out[1]);
	vm_start(&vm, 100);
	CHECK(vm_write(&vm, "running") == 7);
	expect(out[0], "running");
	CHECK(vm.input_len == 0 && !vm.quit);
	vm_end(&vm);
}

/* ---- output ------------------------------------------------------------- */

IN_CHILD(bytes_written_one_by_one_leave_in_one_write)
{
	const struct terminal_callbacks callbacks = { 0 };
	struct terminal *terminal;
	struct chardev *chardev;
	struct loop *loop;
	char data[4096];
	int out[2];

	/* Each write(2) to it is a packet that the reader can count. */
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, out));
	become(open("/dev/null", O_RDONLY), out[1]);
	CHECK(!loop_create(&loop));
	CHECK(!terminal_create(loop, &callbacks, &terminal));
	chardev = terminal_chardev(terminal);
	for (int i = 0; i < 1000; i++)
		CHECK(chardev->ops->write(chardev, "b", 1) == 1);
	terminal_stop(terminal);
	CHECK(recv(out[0], data, sizeof(data), MSG_DONTWAIT) == 1000);
	terminal_destroy(terminal);
	loop_destroy(loop);
}

/*
 * Write as much as is taken, behind @total bytes that went before; they count
 * 0 to 250, over and over. Returns the new total.
 */
static size_t fill(struct vm *vm, size_t total)
{
	size_t taken;

	do {
		char data[251];

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (char)((total + i) % 251);
		taken = vm->chardev->ops->write(vm->chardev, data,
						sizeof(data));
		total += taken;
		usleep(50);
	} while (taken == 251 && total < 1000000);
	CHECK(total < 1000000);
	return total;
}

static void drain(int fd, size_t len)
{
	uint8_t data[4096];

	for (size_t at = 0; at < len;) {
		ssize_t n = read(fd, data, MIN(len - at, sizeof(data)));

		CHECK(n > 0);
		for (ssize_t i = 0; i < n; i++)
			CHECK(data[i] == (at + (size_t)i) % 251);
		at += (size_t)n;
	}
}

static void check_reader_that_does_not_read(int reader, int writer)
{
	size_t total = 0, before;
	struct vm vm;
	int in[2];

	CHECK(!pipe(in));
	become(in[0], writer);
	vm_start(&vm, 100);
	/* A loop's thread that is late has made room again meanwhile. */
	do {
		pthread_mutex_lock(&vm.lock);
		vm.writable = 0;
		pthread_mutex_unlock(&vm.lock);
		before = total;
		total = fill(&vm, total);
		usleep(20000);
	} while (total > before);
	/* Neither the guest nor the main loop is held up by that. */
	put(in[1], "alive");
	vm_expect(&vm, "alive");
	CHECK(!(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK));
	pthread_mutex_lock(&vm.lock);
	CHECK(!vm.writable);
	pthread_mutex_unlock(&vm.lock);
	drain(reader, total);
	pthread_mutex_lock(&vm.lock);
	while (!vm.writable)
		pthread_cond_wait(&vm.changed, &vm.lock);
	pthread_mutex_unlock(&vm.lock);
	CHECK(vm_write(&vm, "more") == 4);
	expect(reader, "more");
	vm_end(&vm);
}

static void body_unread_pipe(void)
{
	int out[2];

	CHECK(!pipe(out));
	check_reader_that_does_not_read(out[0], out[1]);
}

static void body_unread_socket(void)
{
	int out[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, out));
	check_reader_that_does_not_read(out[0], out[1]);
}

static void body_unread_tty(void)
{
	struct termios mode;
	int master, slave;

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &mode));
	cfmakeraw(&mode);
	CHECK(!tcsetattr(slave, TCSANOW, &mode));
	check_reader_that_does_not_read(master, slave);
}

/* Where stdout cannot be opened anew, poll(2) is asked before each write. */
static void body_unread_without_proc(void)
{
	int out[2];

	CHECK(!pipe(out) && !chdir("/sys") && !chroot("/sys"));
	check_reader_that_does_not_read(out[0], out[1]);
	_exit(0); /* leak checkers need /proc */
}

static void a_reader_that_does_not_read_stops_only_output(void **state)
{
	(void)state;
	in_child(body_unread_pipe);
	in_child(body_unread_socket);
	in_child(body_unread_tty);
	if (geteuid() == 0)
		in_child(body_unread_without_proc);
}

IN_CHILD(output_after_its_reader_has_gone_is_discarded)
{
	struct vm vm;
	int in[2], out[2];

	CHECK(!pipe(in) && !pipe(out));
	become(in[0], out[1]);
	vm_start(&vm, 100);
	close(out[0]);
	close(out[1]);
	for (size_t total = 0; total < 1000000; total += 1000) {
		char data[1000] = { 0 };

		while (!vm.chardev->ops->write(vm.chardev, data, sizeof(data)))
			usleep(1000);
	}
	put(in[1], "alive");
	vm_expect(&vm, "alive");
	vm_end(&vm);
}

IN_CHILD(a_reader_that_does_not_read_cannot_prevent_the_end)
{
	struct vm vm;
	int out[2];

	CHECK(!pipe(out));
	become(open("/dev/null", O_RDONLY), out[1]);
	vm_start(&vm, 0);
	fill(&vm, 0);
	vm_end(&vm);
}

IN_CHILD(a_file_gets_output_behind_what_it_holds)
{
	char data[100];
	struct vm vm;
	int out = temporary_file();

	put(out, "before ");
	become(open("/dev/null", O_RDONLY), out);
	vm_start(&vm, 0);
	CHECK(vm_write(&vm, "during ") == 7);
	vm_end(&vm);
	put(out, "after");
	CHECK(pread(out, data, sizeof(data), 0) == 19);
	CHECK(!memcmp(data, "before during after", 19));
}

/* ---- terminals ---------------------------------------------------------- */

IN_CHILD(a_terminal_is_raw_and_afterwards_as_before)
{
	struct termios before;
	struct vm vm;
	int master, slave;

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	become(slave, slave);
	vm_start(&vm, 100);
	CHECK(is_raw(slave));
	put(master, "\003\r\021\177");
	vm_expect(&vm, "\003\r\021\177");
	CHECK(vm_write(&vm, "# ") == 2);
	expect(master, "# ");
	vm_end(&vm);
	CHECK(mode_is(slave, &before));
}

IN_CHILD(one_end_alone_may_be_a_terminal)
{
	struct termios before;
	struct vm vm;
	int master, slave, in[2], out[2];

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	CHECK(!pipe(in) && !pipe(out));

	become(in[0], slave);
	vm_start(&vm, 100);
	CHECK(mode_is(slave, &before));
	CHECK(vm_write(&vm, "to the screen") == 13);
	expect(master, "to the screen");
	vm_end(&vm);

	become(slave, out[1]);
	vm_start(&vm, 100);
	CHECK(is_raw(slave));
	put(master, "k");
	vm_expect(&vm, "k");
	CHECK(vm_write(&vm, "to the pipe") == 11);
	expect(out[0], "to the pipe");
	vm_end(&vm);
	CHECK(mode_is(slave, &before));
}

IN_CHILD(ctrl_a_commands_work_even_when_the_guest_hangs)
{
	char help[1000];
	size_t len = 0;
	struct vm vm;
	int master, slave;

	make_pty(&master, &slave);
	become(slave, slave);
	vm_start(&vm, 6);
	put(master, "\001");
	usleep(1000);
	put(master, "a1\001\001\001z2");
	/* Ctrl-a a; Ctrl-a twice, both; Ctrl-a z, both. */
	vm_expect(&vm, "\0011\001\001\001z");
	put(master, "\001h");
	do {
		ssize_t n = read(master, help + len, sizeof(help) - 1 - len);

		CHECK(n > 0);
		len += (size_t)n;
		help[len] = '\0';
	} while (!strstr(help, "sent to the guest"));
	CHECK(strstr(help, "quit lkvm"));
	/* The guest takes nothing any more, and has much to take. */
	for (int i = 0; i < 1000; i++)
		put(master, "typed");
	put(master, "\001x");
	while (!vm.quit)
		usleep(1000);
	vm_end(&vm);
}

IN_CHILD(ctrl_a_c_switches_between_guest_and_prompt)
{
	char shown[100] = "";
	size_t len = 0;
	struct vm vm;
	int master, slave;

	make_pty(&master, &slave);
	become(slave, slave);
	vm_start(&vm, 100);
	/* Ctrl-a a is the guest's also from there. */
	put(master, "to guest\001cto\003me\001a\001c, again");
	vm_expect(&vm, "to guest\001, again");
	while (!strchr(shown, '>')) {
		ssize_t n = read(master, shown + len, sizeof(shown) - 1 - len);

		CHECK(n > 0);
		len += (size_t)n;
		shown[len] = '\0';
	}
	CHECK(strstr(shown, "\r\n<to\003me>"));
	vm_end(&vm);
}

/*
 * Fork a process that holds a terminal on @slave and waits. With @session the
 * terminal is its controlling one.
 */
static pid_t hold_terminal(int master, int slave, bool session)
{
	struct vm vm;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid)
		return pid;
	if (session)
		CHECK(setsid() > 0 && !ioctl(slave, TIOCSCTTY, 0));
	close(master);
	become(slave, slave);
	vm_start(&vm, 100);
	for (;;)
		pause();
}

static void wait_for_raw(int tty, bool raw)
{
	while (is_raw(tty) != raw)
		usleep(1000);
}

IN_CHILD(a_fatal_signal_restores_the_terminal_and_still_kills)
{
	static const int signals[] = { SIGSEGV, SIGBUS,	 SIGILL, SIGFPE,
				       SIGABRT, SIGTERM, SIGHUP, SIGINT,
				       SIGQUIT, SIGUSR1 };
	struct termios before;
	int master, slave, status;

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		pid_t pid = hold_terminal(master, slave, i % 2);

		wait_for_raw(slave, true);
		/* After raw mode is set the handlers are long there. */
		CHECK(!kill(pid, signals[i]));
		CHECK(waitpid(pid, &status, 0) == pid);
		/* A sanitizer's handler, if there is one, exits instead. */
		CHECK(WIFSIGNALED(status) || WEXITSTATUS(status));
		CHECK(mode_is(slave, &before));
	}
}

IN_CHILD(a_stop_restores_the_terminal_and_going_on_makes_it_raw)
{
	struct termios before;
	int master, slave, status;
	pid_t pid;

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	pid = hold_terminal(master, slave, true);
	wait_for_raw(slave, true);
	CHECK(!kill(pid, SIGTSTP));
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	CHECK(mode_is(slave, &before));
	CHECK(!kill(pid, SIGCONT));
	wait_for_raw(slave, true);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

IN_CHILD(in_the_background_the_terminal_is_left_alone)
{
	struct termios before;
	struct vm vm;
	int master, slave, started[2], status;
	char data[20];
	pid_t pid;

	/* A shell of sorts, and its terminal. */
	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	CHECK(setsid() > 0 && !ioctl(slave, TIOCSCTTY, 0));
	CHECK(!pipe(started));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		setpgid(0, 0);
		become(slave, slave);
		vm_start(&vm, 100);
		put(started[1], "s");
		vm_expect(&vm, "k\n");
		vm_end(&vm);
		_exit(0);
	}
	CHECK(read(started[0], data, 1) == 1);
	CHECK(mode_is(slave, &before));
	put(master, "shell's\n");
	usleep(10000);
	CHECK(read(slave, data, sizeof(data)) == 8);
	CHECK(mode_is(slave, &before));
	/* The shell's fg. */
	CHECK(!tcsetpgrp(slave, pid));
	put(master, "k\n");
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK(mode_is(slave, &before));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(piped_input_arrives_and_its_end_is_no_end),
		cmocka_unit_test(input_that_the_guest_did_not_take_is_kept),
		cmocka_unit_test(
			a_guest_that_does_not_read_makes_the_writer_wait),
		cmocka_unit_test(
			a_regular_file_is_read_as_the_guest_wants_input),
		cmocka_unit_test(dev_null_as_stdin_is_no_reason_to_end),
		cmocka_unit_test(bytes_written_one_by_one_leave_in_one_write),
		cmocka_unit_test(a_reader_that_does_not_read_stops_only_output),
		cmocka_unit_test(output_after_its_reader_has_gone_is_discarded),
		cmocka_unit_test(
			a_reader_that_does_not_read_cannot_prevent_the_end),
		cmocka_unit_test(a_file_gets_output_behind_what_it_holds),
		cmocka_unit_test(a_terminal_is_raw_and_afterwards_as_before),
		cmocka_unit_test(one_end_alone_may_be_a_terminal),
		cmocka_unit_test(
			ctrl_a_commands_work_even_when_the_guest_hangs),
		cmocka_unit_test(ctrl_a_c_switches_between_guest_and_prompt),
		cmocka_unit_test(
			a_fatal_signal_restores_the_terminal_and_still_kills),
		cmocka_unit_test(
			a_stop_restores_the_terminal_and_going_on_makes_it_raw),
		cmocka_unit_test(in_the_background_the_terminal_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
