/* SPDX-License-Identifier: GPL-2.0 */
/* core/util.c: vectors to the byte, whatever their shape; seconds; threads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

static void walk_is_the_flat_buffer(void **state)
{
	char data[16] = "0123456789abcdef";
	const struct iovec iov[] = {
		{ data, 0 },	 { data, 3 },	   { data + 3, 0 },
		{ data + 3, 1 }, { data + 4, 12 }, { data + 16, 0 },
	};

	(void)state;
	/* One past each end, too. */
	for (size_t skip = 0; skip <= sizeof(data) + 1; skip++) {
		for (size_t len = 0; len <= sizeof(data) + 1; len++) {
			struct iov_walk walk = { iov, ARRAY_SIZE(iov), skip,
						 len };
			struct iovec part = { NULL, 0 };
			const char *at = data + skip;
			size_t left = skip < sizeof(data) ?
					      MIN(len, sizeof(data) - skip) :
					      0;

			while (iov_next(&walk, &part)) {
				assert_ptr_equal(part.iov_base, at);
				assert_in_range(part.iov_len, 1, left);
				at += part.iov_len;
				left -= part.iov_len;
			}
			assert_int_equal(left, 0);
			/* The end is no piece. */
			part.iov_len = 99;
			assert_false(iov_next(&walk, &part));
			assert_int_equal(part.iov_len, 99);
		}
	}
}

static void copies_stop_where_the_vector_does(void **state)
{
	char data[8] = "abcdefgh", flat[8];
	const struct iovec iov[] = { { data, 2 }, { data + 2, 6 } };

	(void)state;
	assert_int_equal(iov_to_buf(iov, 2, 1, flat, 8), 7);
	assert_memory_equal(flat, "bcdefgh", 7);
	assert_int_equal(iov_to_buf(iov, 2, 9, flat, 8), 0);
	assert_int_equal(iov_from_buf(iov, 2, 6, "12345678", 8), 2);
	assert_memory_equal(data, "abcdef12", 8);
	assert_int_equal(iov_from_buf(iov, 2, 1, "XY", 2), 2);
	assert_memory_equal(data, "aXYdef12", 8);
}

static void seconds_have_fractions(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "0", 0 },
		{ "10", 10000000000 },
		{ "0.25", 250000000 },
		{ "010.000000001", 10000000001 },
		{ "1.9999999999999", 1999999999 },
		{ "18446744073.709551615", UINT64_MAX },
	};
	static const struct {
		const char *text;
		int err;
	} bad[] = {
		{ "", -EINVAL },
		{ ".5", -EINVAL },
		{ "5.", -EINVAL },
		{ "1.5x", -EINVAL },
		{ "1.5.5", -EINVAL },
		{ "-1", -EINVAL },
		{ " 1", -EINVAL },
		{ "0x1", -EINVAL },
		{ "18446744073.709551616", -ERANGE },
		{ "18446744074", -ERANGE },
		{ "18446744073709551616", -ERANGE },
	};
	uint64_t ns;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_seconds(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ns = 1;
		assert_int_equal(parse_seconds(bad[i].text, &ns), bad[i].err);
		assert_int_equal(ns, 1);
	}
}

static void *take_stack_bytes(void *opaque)
{
	pthread_attr_t attr;
	void *start;

	if (!pthread_getattr_np(pthread_self(), &attr)) {
		pthread_attr_getstack(&attr, &start, opaque);
		pthread_attr_destroy(&attr);
	}
	return NULL;
}

static void a_threads_stack_has_no_room_for_a_huge_page(void **state)
{
	size_t bytes = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(thread_create(&thread, take_stack_bytes, &bytes), 0);
	pthread_join(thread, NULL);
	assert_in_range(bytes, 1, 2 * MIB - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walk_is_the_flat_buffer),
		cmocka_unit_test(copies_stop_where_the_vector_does),
		cmocka_unit_test(seconds_have_fractions),
		cmocka_unit_test(a_threads_stack_has_no_room_for_a_huge_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
