/* SPDX-License-Identifier: GPL-2.0 */
/* vmm/console-text.c: what is text, and where lines end. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/console-text.h>
#include <lkvm/util.h>

/* Each call of line() as "<text>" with ( and ) where the line is cut. */
struct heard {
	struct console_lines lines;
	size_t len;
	size_t longest;
	char text[65536];
};

static void on_line(void *opaque, const char *text, bool begins, bool ends)
{
	struct heard *h = opaque;
	int n = snprintf(h->text + h->len, sizeof(h->text) - h->len, "%c%s%c",
			 begins ? '<' : '(', text, ends ? '>' : ')');

	h->len = MIN(h->len + (size_t)n, sizeof(h->text) - 1);
	h->longest = MAX(h->longest, strlen(text));
}

static void hear(struct heard *h, const char *said)
{
	console_lines_add(&h->lines, said, strlen(said));
}

static int setup(void **state)
{
	struct heard *h = calloc(1, sizeof(*h));

	h->lines.line = on_line;
	h->lines.opaque = h;
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void test_lines(void **state)
{
	struct heard *h = *state;

	hear(h, "one\r\n\ntwo\tthree\nfo");
	assert_string_equal(h->text, "<one><><two\tthree>");
	console_lines_add(&h->lines, "u\0r", 3);
	hear(h, "\b\x7f\nx");
	assert_string_equal(h->text, "<one><><two\tthree><four>");
}

static void test_peek(void **state)
{
	struct heard *h = *state;

	console_lines_peek(&h->lines);
	assert_string_equal(h->text, "");
	hear(h, "login: ");
	console_lines_peek(&h->lines);
	console_lines_peek(&h->lines);
	assert_string_equal(h->text, "<login: )");
	hear(h, "\033[0m\r");
	console_lines_peek(&h->lines);
	assert_string_equal(h->text, "<login: )");
	hear(h, "me");
	console_lines_peek(&h->lines);
	hear(h, "\n");
	console_lines_peek(&h->lines);
	assert_string_equal(h->text, "<login: )<login: me)<login: me>");
}

/* ECMA-48's kinds, and bytes beyond ASCII. */
static void test_escapes(void **state)
{
	struct heard *h = *state;

	hear(h, "\033[1;31ma\033[0m\033[?25hb\033(Bc\0337d\033]0;title\007e"
		"\033]0;title\033\\f\033P$q\033\\g\xc3\xa4\n");
	assert_string_equal(h->text, "<abcdefg\xc3\xa4>");
}

/* Nothing is hidden for longer than a line. */
static void test_endless_escape(void **state)
{
	static const char *const begins[] = { "\033]0;never ended", "\033[1;2",
					      "\033P", "\033(", "\033" };
	struct heard *h = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(begins); i++) {
		hear(h, begins[i]);
		hear(h, "\nseen\n");
	}
	assert_string_equal(h->text,
			    "<><seen><><seen><><seen><><seen><><seen>");
}

/* A text of less than half of the limit is in one piece at least. */
static void test_long_line(void **state)
{
	struct heard *h = *state;
	char mark[8];

	for (unsigned int i = 0; i < 2000; i++) {
		snprintf(mark, sizeof(mark), "%06u ", i);
		hear(h, mark);
	}
	hear(h, "\nnext\n");
	assert_int_equal(h->longest, CONSOLE_LINE);
	for (unsigned int i = 0; i < 2000; i++) {
		snprintf(mark, sizeof(mark), "%06u ", i);
		assert_non_null(strstr(h->text, mark));
	}
	assert_memory_equal(h->text, "<000000 ", 8);
	/* only the first piece begins a line, and the last ends it */
	assert_null(strstr(h->text + 1, "<0"));
	assert_non_null(strstr(h->text, "001999 ><next>"));
}

#define text_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		text_test(test_lines),	   text_test(test_peek),
		text_test(test_escapes),   text_test(test_endless_escape),
		text_test(test_long_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
