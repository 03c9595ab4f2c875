/* SPDX-License-Identifier: GPL-2.0 */
/* core/log.c: a reader of stderr that does not read holds nobody up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/log.h>

struct setup {
	int stderr_fd; /* what fd 2 was */
	int pipe[2]; /* and what it is now: the second of these */
};

static int setup(void **state)
{
	static struct setup s;

	s.stderr_fd = dup(STDERR_FILENO);
	if (s.stderr_fd < 0 || pipe2(s.pipe, O_CLOEXEC) ||
	    dup2(s.pipe[1], STDERR_FILENO) < 0)
		return -1;
	*state = &s;
	return 0;
}

static int teardown(void **state)
{
	struct setup *s = *state;

	dup2(s->stderr_fd, STDERR_FILENO);
	close(s->stderr_fd);
	close(s->pipe[0]);
	close(s->pipe[1]);
	return 0;
}

/* Take what is in the pipe; its last bytes are then in @text. */
static void drain(struct setup *s, char *text, size_t size)
{
	ssize_t n;

	fcntl(s->pipe[0], F_SETFL, O_NONBLOCK);
	text[0] = '\0';
	while ((n = read(s->pipe[0], text, size - 1)) > 0)
		text[n] = '\0';
}

static void fill(struct setup *s)
{
	static const char block[4096];

	fcntl(s->pipe[1], F_SETFL, O_NONBLOCK);
	while (write(s->pipe[1], block, sizeof(block)) > 0)
		;
	fcntl(s->pipe[1], F_SETFL, 0);
}

static void a_full_pipe_loses_lines_and_no_time(void **state)
{
	struct setup *s = *state;
	char text[8192];

	fill(s);
	/* Each would wait for ever. */
	alarm(60);
	for (unsigned int i = 0; i < 1000; i++)
		log_err("test", "nobody reads this");
	alarm(0);
	drain(s, text, sizeof(text));
	log_err("test", "read again");
	drain(s, text, sizeof(text));
	assert_string_equal(text, "lkvm: read again\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_full_pipe_loses_lines_and_no_time, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
