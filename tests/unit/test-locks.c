/* SPDX-License-Identifier: GPL-2.0 */
/*
 * disk/file-lock.c: who may open an image that another has open, ourselves and
 * QEMU's tools, either way round.
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
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/file.h>
#include <lkvm/util.h>

struct fixture {
	char path[64];
	pid_t holder;
	int to_holder; /* it ends when this is closed */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	strcpy(f->path, "/tmp/lkvm-locks-XXXXXX");
	fd = mkostemp(f->path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 65536), 0);
	close(fd);
	f->to_holder = -1;
	*state = f;
	return 0;
}

static void stop_holder(struct fixture *f)
{
	if (f->to_holder < 0)
		return;
	close(f->to_holder);
	f->to_holder = -1;
	assert_int_equal(waitpid(f->holder, NULL, 0), f->holder);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	stop_holder(f);
	unlink(f->path);
	free(f);
	return 0;
}

static int try_open(const struct fixture *f, bool read_only, bool no_locking,
		    struct image_file **out)
{
	const struct image_file_options options = {
		.path = f->path,
		.what = "disk image",
		.read_only = read_only,
		.no_locking = no_locking,
	};

	return image_file_open(&options, out);
}

static struct image_file *open_file(const struct fixture *f, bool read_only)
{
	struct image_file *file;

	assert_int_equal(try_open(f, read_only, false, &file), 0);
	return file;
}

/* Refused, with @who in a line on stderr. */
static void assert_refused(const struct fixture *f, bool read_only,
			   const char *who)
{
	int saved = dup(STDERR_FILENO);
	struct image_file *file;
	char line[512] = "";
	int fds[2];
	int err;

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	dup2(fds[1], STDERR_FILENO);
	err = try_open(f, read_only, false, &file);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	(void)!read(fds[0], line, sizeof(line) - 1);
	close(fds[0]);

	assert_int_equal(err, -EBUSY);
	if (!strstr(line, who) || !strstr(line, f->path))
		fail_msg("'%s' lacks '%s' or '%s'", line, who, f->path);
}

static void assert_may_open(const struct fixture *f, bool read_only)
{
	image_file_close(open_file(f, read_only));
}

/* Another process of ours that has the file open. */
static void hold(struct fixture *f, bool read_only)
{
	int in[2], out[2];
	char byte = 0;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	f->holder = fork();
	if (!f->holder) {
		struct image_file *file;
		int err = try_open(f, read_only, false, &file);

		close(in[1]);
		(void)!write(out[1], &byte, !err);
		close(out[1]);
		(void)!read(in[0], &byte, 1);
		_exit(0);
	}
	close(in[0]);
	close(out[1]);
	f->to_holder = in[1];
	assert_int_equal(read(out[0], &byte, 1), 1);
	close(out[0]);
}

/* ---- ourselves ----------------------------------------------------------- */

static void one_writer_excludes_all(void **state)
{
	struct fixture *f = *state;
	char who[IMAGE_LOCK_WHO];

	hold(f, false);
	snprintf(who, sizeof(who), "process %d (test-locks)", (int)f->holder);
	assert_refused(f, false, who);
	assert_refused(f, true, who);
	stop_holder(f);
	assert_may_open(f, false);
}

static void readers_share_and_exclude_writers(void **state)
{
	struct fixture *f = *state;
	char who[IMAGE_LOCK_WHO];

	hold(f, true);
	snprintf(who, sizeof(who), "process %d (test-locks)", (int)f->holder);
	assert_may_open(f, true);
	assert_refused(f, false, who);
	stop_holder(f);
	assert_may_open(f, false);
}

static void the_dead_hold_nothing(void **state)
{
	struct fixture *f = *state;

	hold(f, false);
	kill(f->holder, SIGKILL);
	stop_holder(f);
	assert_may_open(f, false);
}

/* As the kernel may have one, for io_uring. */
static void closing_releases_what_others_keep_open(void **state)
{
	struct fixture *f = *state;
	const struct image_file_options options = {
		.path = f->path,
		.what = "disk image",
	};
	struct image_file *file;
	int other;

	assert_int_equal(image_file_open(&options, &file), 0);
	other = dup(file->fd);
	image_file_close(file);
	assert_may_open(f, false);
	close(other);
}

static void one_process_is_no_exception(void **state)
{
	struct fixture *f = *state;
	struct image_file *file = open_file(f, false);

	assert_refused(f, false, "another disk of this VM");
	assert_refused(f, true, "another disk of this VM");
	image_file_close(file);
	file = open_file(f, true);
	assert_may_open(f, true);
	/* A refusal has left no lock behind. */
	assert_refused(f, false, "another disk of this VM");
	assert_may_open(f, true);
	image_file_close(file);
	assert_may_open(f, false);
}

static void locking_can_be_left_out(void **state)
{
	struct fixture *f = *state;
	struct image_file *file;

	hold(f, false);
	assert_int_equal(try_open(f, false, true, &file), 0);
	image_file_close(file);
	/* Nor does such a file keep others out. */
	stop_holder(f);
	assert_int_equal(try_open(f, false, true, &file), 0);
	assert_may_open(f, false);
	image_file_close(file);
}

/* ---- QEMU ---------------------------------------------------------------- */

/*
 * With a qcow2 image, whose readers deny others to write; those of raw images
 * deny nothing, and nobody refuses them.
 */
static void need_qemu(const struct fixture *f)
{
	char command[256];

	if (system("command -v qemu-io qemu-img >/dev/null"))
		skip();
	snprintf(command, sizeof(command), "qemu-img create -q -f qcow2 %s 1M",
		 f->path);
	assert_int_equal(system(command), 0);
}

/* qemu-io that has the file open, until its input ends. */
static void hold_with_qemu(struct fixture *f, bool read_only)
{
	static const char command[] = "read 0 512\n";
	int in[2], out[2];
	char byte;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	f->holder = fork();
	if (!f->holder) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execlp("qemu-io", "qemu-io", "-f", "qcow2",
		       read_only ? "-r" : f->path, read_only ? f->path : NULL,
		       NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	f->to_holder = in[1];
	assert_int_equal(write_full(in[1], command, strlen(command)), 0);
	/* It says what it has read: by then it has the file. */
	do {
		assert_int_equal(read(out[0], &byte, 1), 1);
	} while (byte != '\n');
	/* Left open: qemu-io may write its prompt to it. */
	close(out[0]);
}

/* Could qemu-io use the file? */
static bool qemu_may(const struct fixture *f, bool read_only)
{
	char command[256];
	int status;

	snprintf(command, sizeof(command),
		 "qemu-io -f qcow2 %s -c 'read 0 512' %s >/dev/null 2>&1",
		 read_only ? "-r" : "", f->path);
	status = system(command);
	assert_true(WIFEXITED(status));
	return !WEXITSTATUS(status);
}

static void qemus_locks_are_respected(void **state)
{
	struct fixture *f = *state;
	char who[IMAGE_LOCK_WHO];

	need_qemu(f);
	hold_with_qemu(f, false);
	snprintf(who, sizeof(who), "process %d (qemu-io)", (int)f->holder);
	assert_refused(f, false, who);
	assert_refused(f, true, who);
	stop_holder(f);
	hold_with_qemu(f, true);
	snprintf(who, sizeof(who), "process %d (qemu-io)", (int)f->holder);
	assert_refused(f, false, who);
	assert_may_open(f, true);
	stop_holder(f);
	assert_may_open(f, false);
}

static void qemu_respects_our_locks(void **state)
{
	struct fixture *f = *state;
	struct image_file *file;

	need_qemu(f);
	assert_true(qemu_may(f, false));
	file = open_file(f, false);
	assert_false(qemu_may(f, false));
	assert_false(qemu_may(f, true));
	image_file_close(file);
	file = open_file(f, true);
	assert_false(qemu_may(f, false));
	assert_true(qemu_may(f, true));
	image_file_close(file);
	assert_true(qemu_may(f, false));
}

#define LOCK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST(one_writer_excludes_all),
		LOCK_TEST(readers_share_and_exclude_writers),
		LOCK_TEST(the_dead_hold_nothing),
		LOCK_TEST(closing_releases_what_others_keep_open),
		LOCK_TEST(one_process_is_no_exception),
		LOCK_TEST(locking_can_be_left_out),
		LOCK_TEST(qemus_locks_are_respected),
		LOCK_TEST(qemu_respects_our_locks),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
