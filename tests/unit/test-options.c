/* SPDX-License-Identifier: GPL-2.0 */
/* Option parsing: forms, limits, lists. Messages are tests/cli's subject. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include <lkvm/log.h>
#include <lkvm/options.h>
#include <lkvm/util.h>

struct target {
	bool flag, other;
	const char *text;
	uint64_t number, size;
	int choice;
	unsigned int calls;
};

static int count_call(void *target, const struct option_desc *desc,
		      const char *value)
{
	struct target *t = target;

	(void)desc;
	t->calls++;
	return strcmp(value, "bad") ? 0 : -EINVAL;
}

static const char *const choices[] = { "red", "green", NULL };

static const struct option_desc table[] = {
	{ OPTION_FLAG, 'f', "flag", NULL, "",
	  .offset = offsetof(struct target, flag) },
	{ OPTION_FLAG, 0, "other", NULL, "",
	  .offset = offsetof(struct target, other) },
	{ OPTION_STRING, 't', "text", "S", "",
	  .offset = offsetof(struct target, text) },
	{ OPTION_UINT, 'n', "number", "N", "",
	  .offset = offsetof(struct target, number), .min = 1, .max = 255 },
	{ OPTION_SIZE, 's', "size", "N", "",
	  .offset = offsetof(struct target, size), .min = MIB, .unit = MIB },
	{ OPTION_ENUM, 0, "choice", "C", "",
	  .offset = offsetof(struct target, choice), .choices = choices },
	{ OPTION_CALL, 'c', "call", "V", "", .call = count_call },
	{ .kind = OPTION_END },
};

/* Parse the words after the command's name. */
static int parse(struct target *t, int *nr_args, int *rest, char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	memset(t, 0, sizeof(*t));
	return options_parse(table, "test", argc, argv, t, nr_args, rest);
}

#define PARSE(t, ...) \
	parse(t, &nr_args, &rest, (char *[]) { "test", __VA_ARGS__, NULL })

static void accepts_all_forms_of_an_option(void **state)
{
	struct target t;
	int nr_args, rest;

	(void)state;
	assert_int_equal(PARSE(&t, "--text", "a", "-n", "7", "-f"), 0);
	assert_string_equal(t.text, "a");
	assert_int_equal(t.number, 7);
	assert_true(t.flag);
	assert_int_equal(PARSE(&t, "--text=b=c", "-n255"), 0);
	assert_string_equal(t.text, "b=c");
	assert_int_equal(t.number, 255);
	/* A prefix that only one option has. */
	assert_int_equal(PARSE(&t, "--num", "3"), 0);
	assert_int_equal(t.number, 3);
}

static void sizes_know_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "1", MIB },	      { "64", 64 * MIB },  { "2048k", 2 * MIB },
		{ "5G", 5 * GIB },    { "1048576B", MIB }, { "1t", 1024 * GIB },
		{ "0x10", 16 * MIB },
	};
	static const char *const bad[] = { "",
					   "1Q",
					   "1MM",
					   "M",
					   "-1",
					   "0",
					   " 1",
					   "1 ",
					   "99999999999999P",
					   "18446744073709551616" };
	struct target t;
	int nr_args, rest;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(PARSE(&t, "-s", (char *)good[i].text), 0);
		assert_int_equal(t.size, good[i].bytes);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(PARSE(&t, "-s", (char *)bad[i]), -EINVAL);
}

static void numbers_keep_their_range(void **state)
{
	static const char *const bad[] = { "0", "256", "x",  "1x",
					   "",	"+1",  "1.5" };
	struct target t;
	int nr_args, rest;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(PARSE(&t, "-n", (char *)bad[i]), -EINVAL);
		assert_int_equal(t.number, 0);
	}
}

static void refuses_what_it_does_not_know(void **state)
{
	struct target t;
	int nr_args, rest;

	(void)state;
	assert_int_equal(PARSE(&t, "--nosuch"), -EINVAL);
	assert_int_equal(PARSE(&t, "-z"), -EINVAL);
	assert_int_equal(PARSE(&t, "-fx"), -EINVAL);
	assert_int_equal(PARSE(&t, "--text"), -EINVAL);
	assert_int_equal(PARSE(&t, "--text="), -EINVAL);
	assert_int_equal(PARSE(&t, "--choice", "blue"), -EINVAL);
	assert_int_equal(PARSE(&t, "--flag=maybe"), -EINVAL);
	/* "--c" could be --choice and --call. */
	assert_int_equal(PARSE(&t, "--c", "red"), -EINVAL);
	assert_int_equal(PARSE(&t, "--call", "bad"), -EINVAL);
}

static void positional_arguments_and_the_rest_are_found(void **state)
{
	char *argv[] = { "test", "one", "-f", "two", "--", "-n", "x", NULL };
	struct target t;
	int nr_args, rest;

	(void)state;
	assert_int_equal(parse(&t, &nr_args, &rest, argv), 0);
	assert_int_equal(nr_args, 2);
	assert_string_equal(argv[0], "one");
	assert_string_equal(argv[1], "two");
	assert_int_equal(rest, 5);
	assert_true(t.flag);
	assert_int_equal(t.number, 0);
}

static void lists_split_at_commas_and_fold_double_ones(void **state)
{
	char list[] = "flag,text=a,,b,number=9,choice=green,other=off";
	struct target t = { .other = true };

	(void)state;
	assert_int_equal(options_parse_list(table, NULL, "-x", list, &t), 0);
	assert_true(t.flag);
	assert_false(t.other);
	assert_string_equal(t.text, "a,b");
	assert_int_equal(t.number, 9);
	assert_int_equal(t.choice, 1);
}

static void positional_items_need_no_key(void **state)
{
	static const char *const positional[] = { "text", "number", NULL };
	char list[] = "a=b,,c,flag,7";
	char twice[] = "a,7,8";
	struct target t = { 0 };

	(void)state;
	assert_int_equal(options_parse_list(table, positional, "-x", list, &t),
			 0);
	assert_string_equal(t.text, "a=b,c");
	assert_true(t.flag);
	assert_int_equal(t.number, 7);
	assert_int_equal(options_parse_list(table, positional, "-x", twice, &t),
			 -EINVAL);
}

static void lists_refuse_unknown_and_empty_keys(void **state)
{
	static const char *const bad[] = { "nosuch", "",      "flag,",
					   "text",   "text=", "number=0",
					   "flag=2" };
	struct target t = { 0 };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		char list[32];

		strcpy(list, bad[i]);
		assert_int_equal(options_parse_list(table, NULL, "-x", list, &t),
				 -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_all_forms_of_an_option),
		cmocka_unit_test(sizes_know_units),
		cmocka_unit_test(numbers_keep_their_range),
		cmocka_unit_test(refuses_what_it_does_not_know),
		cmocka_unit_test(positional_arguments_and_the_rest_are_found),
		cmocka_unit_test(lists_split_at_commas_and_fold_double_ones),
		cmocka_unit_test(positional_items_need_no_key),
		cmocka_unit_test(lists_refuse_unknown_and_empty_keys),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
