/* SPDX-License-Identifier: GPL-2.0 */
/* Where JSON values end, however the stream is cut. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <lkvm/json-frame.h>
#include <lkvm/util.h>

/* The end of the first value of @text, cut into pieces of @step bytes; or 0. */
static size_t end_of(const char *text, size_t step)
{
	struct json_frame frame = { 0 };
	size_t len = strlen(text);
	size_t at = 0;

	while (at < len) {
		size_t used = 0;

		switch (json_frame_feed(&frame, text + at, MIN(step, len - at),
					&used)) {
		case JSON_FRAME_WHOLE:
			return at + used;
		case JSON_FRAME_DEEP:
			return SIZE_MAX;
		default:
			assert_int_equal(used, MIN(step, len - at));
			at += used;
		}
	}
	return 0;
}

static void values_end_where_their_brackets_do(void **state)
{
	static const struct {
		const char *text;
		size_t end;
	} cases[] = {
		{ "{}", 2 },
		{ "{}{}", 2 },
		{ " \r\n\t{\"a\": [1, {\"b\": {}}]}x", 25 },
		{ "[[],[]] {}", 7 },
		{ "{\"}\": \"]\"}", 10 },
		{ "{\"\\\"}\": 1}", 10 },
		{ "{\"\\\\\"}{}", 6 },
		{ "{\"a\"", 0 },
		{ "{\"a}}}}", 0 },
		{ "{\"\\", 0 },
		{ "", 0 },
		{ "  \n", 0 },
		/* what is no value goes up to the line's end */
		{ "junk { \"x\n{}", 10 },
		{ "\"{\" }\n", 6 },
		{ "}\n", 2 },
		{ "12", 0 },
		/* brackets are counted, not matched */
		{ "{]{}", 2 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t step = 1; step < 30; step++)
			assert_int_equal(end_of(cases[i].text, step),
					 cases[i].end);
}

static void depth_is_limited(void **state)
{
	char text[JSON_FRAME_MAX_DEPTH + 2];

	(void)state;
	memset(text, '[', sizeof(text));
	text[JSON_FRAME_MAX_DEPTH] = '\0';
	assert_int_equal(end_of(text, 7), 0);
	text[JSON_FRAME_MAX_DEPTH] = '[';
	text[JSON_FRAME_MAX_DEPTH + 1] = '\0';
	assert_int_equal(end_of(text, 7), SIZE_MAX);
}

/* Between values there is no state: the next one begins as the first. */
static void values_follow_each_other(void **state)
{
	static const char text[] = "{\"a\":1} junk\n[2]\r\n{}";
	static const size_t ends[] = { 7, 13, 16, 20 };
	struct json_frame frame = { 0 };
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		size_t used = 0;

		assert_int_equal(json_frame_feed(&frame, text + at,
						 strlen(text) - at, &used),
				 JSON_FRAME_WHOLE);
		at += used;
		assert_int_equal(at, ends[i]);
	}
	assert_int_equal(json_frame_feed(&frame, "", 0, &at), JSON_FRAME_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_end_where_their_brackets_do),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(values_follow_each_other),
	};

	return cmocka_run_group_tests_name("json-frame", tests, NULL, NULL);
}
