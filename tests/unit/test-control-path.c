/* SPDX-License-Identifier: GPL-2.0 */
/* Where control sockets are, and which folders are fit for them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/control-path.h>
#include <lkvm/util.h>

static void the_folder_is_that_of_the_session_or_home(void **state)
{
	struct control_path path;

	(void)state;
	setenv("HOME", "/home/x", 1);
	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	assert_int_equal(control_path("a", &path), 0);
	assert_string_equal(path.text, "/run/user/1/lkvm/a.sock");
	/* The base directory specification: relative ones are ignored. */
	setenv("XDG_RUNTIME_DIR", "run", 1);
	assert_int_equal(control_path("a", &path), 0);
	assert_string_equal(path.text, "/home/x/.lkvm/a.sock");
	unsetenv("XDG_RUNTIME_DIR");
	assert_int_equal(control_folder(&path), 0);
	assert_string_equal(path.text, "/home/x/.lkvm");
	unsetenv("HOME");
	assert_int_equal(control_folder(&path), -ENOENT);
	assert_int_equal(control_path("a", &path), -ENOENT);
	assert_string_equal(path.text, "/home/x/.lkvm");
}

static void names_are_names_of_files(void **state)
{
	static const char *const bad[] = { "",	 ".",	 "..",	 ".a",	  "a/b",
					   "/a", "a\nb", "\x7f", "\x1b[m" };
	static const char *const good[] = { "a", "a.b", "a b", "-",
					    "\xc3\xa4" };
	struct control_path path;

	(void)state;
	setenv("XDG_RUNTIME_DIR", "/r", 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(control_path(bad[i], &path), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(control_path(good[i], &path), 0);
}

static void what_is_too_long_for_a_socket_is_told(void **state)
{
	struct control_path path;
	char name[120];

	(void)state;
	setenv("XDG_RUNTIME_DIR", "/r", 1);
	memset(name, 'a', sizeof(name));
	/* "/r/lkvm/" and ".sock" are around it. */
	name[UNIX_PATH_MAX_BYTES - 13] = '\0';
	assert_int_equal(control_path(name, &path), 0);
	assert_int_equal(strlen(path.text), UNIX_PATH_MAX_BYTES);
	name[UNIX_PATH_MAX_BYTES - 13] = 'a';
	name[UNIX_PATH_MAX_BYTES - 12] = '\0';
	assert_int_equal(control_path(name, &path), -ENAMETOOLONG);
}

static void a_folder_that_others_can_change_is_refused(void **state)
{
	char base[] = "/tmp/lkvm-test-XXXXXX";
	struct control_path folder;
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(base));
	snprintf(folder.text, sizeof(folder.text), "%s/lkvm", base);
	assert_int_equal(control_check_folder(&folder), -ENOENT);
	assert_int_equal(control_make_folder(&folder), 0);
	assert_int_equal(control_check_folder(&folder), 0);
	assert_int_equal(stat(folder.text, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(control_make_folder(&folder), 0);
	chmod(folder.text, 0770);
	assert_int_equal(control_make_folder(&folder), -EPERM);
	rmdir(folder.text);
	/* Somebody else's folder, by way of a link of ours, is none of ours. */
	assert_int_equal(symlink(base, folder.text), 0);
	assert_int_equal(control_make_folder(&folder), -ENOTDIR);
	unlink(folder.text);
	snprintf(folder.text, sizeof(folder.text), "%s/no/lkvm", base);
	assert_int_equal(control_make_folder(&folder), -ENOENT);
	rmdir(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_folder_is_that_of_the_session_or_home),
		cmocka_unit_test(names_are_names_of_files),
		cmocka_unit_test(what_is_too_long_for_a_socket_is_told),
		cmocka_unit_test(a_folder_that_others_can_change_is_refused),
	};

	return cmocka_run_group_tests_name("control-path", tests, NULL, NULL);
}
