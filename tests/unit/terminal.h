/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of vmm/terminal.c: each runs in a child of its own, whose
 * standard input and output are what it speaks of. The loop runs on a second
 * thread (the VM's main thread), and the test plays the vCPU and the person at
 * the other end.
 */
#ifndef TESTS_UNIT_TERMINAL_H
#define TESTS_UNIT_TERMINAL_H

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
	_Atomic unsigned int ended, written, lost; /* calls of these */
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

static inline size_t vm_receive(void *opaque, const void *data, size_t len)
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

static inline void vm_writable(void *opaque)
{
	struct vm *vm = opaque;

	pthread_mutex_lock(&vm->lock);
	vm->writable++;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

static inline void vm_ended(void *opaque)
{
	((struct vm *)opaque)->ended++;
}

static inline void vm_written(void *opaque)
{
	((struct vm *)opaque)->written++;
}

static inline void vm_lost(void *opaque)
{
	((struct vm *)opaque)->lost++;
}

static const struct chardev_frontend_ops vm_ops = {
	.receive = vm_receive,
	.writable = vm_writable,
	.ended = vm_ended,
	.written = vm_written,
	.lost = vm_lost,
};

static inline void on_quit(void *opaque)
{
	struct vm *vm = opaque;

	vm->quit = true;
}

/* The prompt answers with each key, and in brackets with its coming. */
static inline void on_prompt(void *opaque, bool on)
{
	struct vm *vm = opaque;

	terminal_print(vm->terminal, on ? "\n<" : ">\n", 2);
}

static inline void on_prompt_key(void *opaque, char key)
{
	struct vm *vm = opaque;

	terminal_print(vm->terminal, &key, 1);
}

static inline void *run_loop(void *opaque)
{
	struct vm *vm = opaque;

	loop_run(vm->loop);
	return NULL;
}

static inline void vm_create_terminal(struct vm *vm, size_t room)
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
}

static inline void vm_run_loop(struct vm *vm)
{
	CHECK(!terminal_start(vm->terminal));
	CHECK(!pthread_create(&vm->thread, NULL, run_loop, vm));
}

static inline void vm_start(struct vm *vm, size_t room)
{
	vm_create_terminal(vm, room);
	vm_run_loop(vm);
}

static inline void vm_end(struct vm *vm)
{
	loop_stop(vm->loop);
	pthread_join(vm->thread, NULL);
	terminal_destroy(vm->terminal);
	loop_destroy(vm->loop);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
}

static inline size_t vm_write(struct vm *vm, const char *text)
{
	return vm->chardev->ops->write(vm->chardev, text, strlen(text));
}

static inline void vm_make_room(struct vm *vm, size_t room)
{
	pthread_mutex_lock(&vm->lock);
	vm->room += room;
	pthread_mutex_unlock(&vm->lock);
	vm->chardev->ops->input_wanted(vm->chardev);
}

/* Wait until the guest has got exactly @text. */
static inline void vm_expect(struct vm *vm, const char *text)
{
	pthread_mutex_lock(&vm->lock);
	while (vm->input_len < strlen(text))
		pthread_cond_wait(&vm->changed, &vm->lock);
	CHECK(vm->input_len == strlen(text));
	CHECK(!memcmp(vm->input, text, vm->input_len));
	pthread_mutex_unlock(&vm->lock);
}

static inline void put(int fd, const char *text)
{
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

/* Read from @fd until exactly @text has come. */
static inline void expect(int fd, const char *text)
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

static inline void become(int in, int out)
{
	CHECK(dup2(in, STDIN_FILENO) == STDIN_FILENO);
	CHECK(dup2(out, STDOUT_FILENO) == STDOUT_FILENO);
}

/* A pseudo-terminal's two ends; both are closed on exec and exit only. */
static inline void make_pty(int *master, int *slave)
{
	*master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(*master >= 0 && !grantpt(*master) && !unlockpt(*master));
	*slave = open(ptsname(*master), O_RDWR | O_NOCTTY);
	CHECK(*slave >= 0);
}

static inline int temporary_file(void)
{
	char path[] = "/tmp/test-terminal.XXXXXX";
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	unlink(path);
	return fd;
}

static inline bool is_raw(int tty)
{
	struct termios mode;

	CHECK(!tcgetattr(tty, &mode));
	return !(mode.c_lflag & (ICANON | ECHO | ISIG)) &&
	       !(mode.c_iflag & (ICRNL | IXON));
}

/* Is all of @mode as it was? */
static inline bool mode_is(int tty, const struct termios *mode)
{
	struct termios now;

	CHECK(!tcgetattr(tty, &now));
	return now.c_iflag == mode->c_iflag && now.c_oflag == mode->c_oflag &&
	       now.c_lflag == mode->c_lflag && now.c_cflag == mode->c_cflag &&
	       !memcmp(now.c_cc, mode->c_cc, sizeof(now.c_cc));
}

/* Run @body in a child, which must end well and within the limit. */
static inline void in_child(void (*body)(void))
{
	/*
	 * cmocka's handlers would go on with the tests; and who runs these may
	 * have had the others ignored (nohup, a shell's background).
	 */
	static const int caught[] = { SIGFPE, SIGILL,  SIGSEGV, SIGBUS, SIGSYS,
				      SIGHUP, SIGTERM, SIGINT,	SIGQUIT };
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

#endif
