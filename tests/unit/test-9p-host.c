/* SPDX-License-Identifier: GPL-2.0 */
/* What a 9P share takes of its host: descriptors, and which files it opens. */
#include "9p.h"

#include <sys/resource.h>
#include <sys/wait.h>

/* Two shares can use up together what neither has half of. */
static void descriptors_of_others_count(void **state)
{
	struct fixture *f = *state;
	int fds[64];

	f->server.share.max_fd = 100;
	assert_false(p9_fids_crowded(&f->server));
	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_true(p9_fids_crowded(&f->server));
	assert_false(p9_fids_crowded(&f->server));
	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	assert_int_equal(walk(f, ROOT, 2, NULL), 0);
	assert_false(p9_fids_crowded(&f->server));
}

/* The limits of the process that does this stay so. */
static int share_with_few_descriptors(void)
{
	const struct rlimit few = { 600, 600 };
	struct p9_share share;

	/* Who may raise it would. */
	if (setrlimit(RLIMIT_NOFILE, &few) || (!geteuid() && seteuid(65534)) ||
	    p9_share_open(&share, "/", true, false))
		return 1;
	p9_share_close(&share);
	return share.max_fd == 300 ? 0 : 2;
}

/* A guest's handles leave room, however few there can be. */
static void few_descriptors_are_shared_out(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (!pid)
		_exit(share_with_few_descriptors());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Reading /proc/kmsg waits for ever, and takes its lines from others. */
static void the_kernels_own_files_are_not_opened(void **state)
{
	struct p9_share share;
	int proc, file, etc, fd;

	(void)state;
	assert_int_equal(p9_share_open(&share, "/", true, false), 0);
	proc = p9_fs_lookup(&share, share.root, "proc");
	assert_true(proc >= 0);
	file = p9_fs_lookup(&share, proc, "version");
	assert_true(file >= 0);
	assert_int_equal(p9_fs_open(&share, file, O_RDONLY), -EACCES);
	assert_int_equal(p9_fs_open(&share, proc, O_RDONLY | O_DIRECTORY),
			 -EACCES);
	etc = p9_fs_lookup(&share, share.root, "etc");
	fd = p9_fs_open(&share, etc, O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	close(fd);
	close(etc);
	close(file);
	close(proc);
	p9_share_close(&share);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(descriptors_of_others_count),
		cmocka_unit_test(few_descriptors_are_shared_out),
		cmocka_unit_test(the_kernels_own_files_are_not_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
