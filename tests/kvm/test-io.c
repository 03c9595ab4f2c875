/* SPDX-License-Identifier: GPL-2.0 */
/* Port and memory-mapped I/O as guests do it, in all widths and places. */
#include "harness.h"

#include <lkvm/util.h>

#define EXIT                                 \
	{                                    \
		AGENT_OUT8, DEBUG_EXIT, 0, 0 \
	}
#define NOBODY TEST_WINDOW - 0x1000

/* A new guest, which does @ops; its caller destroys it. */
static void run_agent(struct guest *g, struct agent_op *ops, unsigned int count)
{
	guest_init(g, "agent64");
	guest_create(g);
	assert_int_equal(agent_run(g, ops, count), 1);
}

/* @ops read 1, 2, 4 ... bytes each: from entry @first of the log on. */
static void assert_reads(const struct guest *g, const struct agent_op *ops,
			 unsigned int first, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		unsigned int len = 1U << i;
		uint64_t value = pattern(ops[i].addr, len);

		assert_access(g, first + i, false, ops[i].addr, len, value);
		assert_int_equal(ops[i].result, value);
	}
}

static void ports_are_written_and_read_in_all_widths(void **state)
{
	struct agent_op ops[] = {
		{ AGENT_OUT8, TEST_PORTS, 0x12345678, 0 },
		{ AGENT_OUT16, TEST_PORTS + 2, 0x12345678, 0 },
		{ AGENT_OUT32, TEST_PORTS + 5, 0x12345678, 0 },
		{ AGENT_IN8, TEST_PORTS + 0x41, 0, 0 },
		{ AGENT_IN16, TEST_PORTS + 0x43, 0, 0 },
		{ AGENT_IN32, TEST_PORTS + 0x46, 0, 0 },
		EXIT,
	};
	struct guest g;

	(void)state;
	run_agent(&g, ops, ARRAY_SIZE(ops));
	assert_int_equal(g.nr_log, 6);
	assert_access(&g, 0, true, TEST_PORTS, 1, 0x78);
	assert_access(&g, 1, true, TEST_PORTS + 2, 2, 0x5678);
	assert_access(&g, 2, true, TEST_PORTS + 5, 4, 0x12345678);
	assert_reads(&g, ops + 3, 3, 3);
	guest_destroy(&g);
}

static void a_port_access_across_the_end_belongs_to_nobody(void **state)
{
	struct agent_op ops[] = {
		{ AGENT_IN16, TEST_PORTS + TEST_PORTS_BYTES - 1, 0, 0 },
		{ AGENT_IN32, TEST_PORTS + TEST_PORTS_BYTES - 3, 0, 0 },
		{ AGENT_IN32, TEST_PORTS - 1, 0, 0 },
		{ AGENT_IN32, 0xffff, 0, 0 },
		{ AGENT_IN8, TEST_PORTS + TEST_PORTS_BYTES, 0, 0 },
		{ AGENT_OUT16, TEST_PORTS + TEST_PORTS_BYTES - 1, 1, 0 },
		{ AGENT_OUT32, TEST_PORTS - 2, 1, 0 },
		{ AGENT_OUT32, 0xfffe, 1, 0 },
		EXIT,
	};
	static const uint64_t ones[] = { 0xffff, 0xffffffff, 0xffffffff,
					 0xffffffff, 0xff };
	struct guest g;

	(void)state;
	run_agent(&g, ops, ARRAY_SIZE(ops));
	assert_int_equal(g.nr_log, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(ones); i++)
		assert_int_equal(ops[i].result, ones[i]);
	guest_destroy(&g);
}

/* One pass of strings.S: @width bytes an item; returns the next access. */
static unsigned int check_strings(const struct guest *g, unsigned int at,
				  unsigned int width)
{
	uint64_t in = STRING_IN + width;

	for (unsigned int i = 0; i < STRING_ITEMS; i++, at++) {
		uint64_t sent = 0;

		/* The first pass left what it read at the buffer's start. */
		for (unsigned int b = 0; b < width; b++) {
			unsigned int byte = i * width + b;
			uint8_t value = (uint8_t)(byte * 37 + 11);

			if (byte < STRING_ITEMS * (width / 2))
				value = (uint8_t)pattern(
					STRING_IN + width / 2 +
						byte % (width / 2),
					1);
			sent |= (uint64_t)value << (8 * b);
		}
		assert_access(g, at, true, STRING_OUT + width, width, sent);
	}
	for (unsigned int i = 0; i < STRING_ITEMS; i++, at++)
		assert_access(g, at, false, in, width, pattern(in, width));
	for (unsigned int i = 0; i < STRING_ITEMS * width; i++, at++)
		assert_access(g, at, true, STRING_ECHO + width, 1,
			      pattern(in + i % width, 1));
	return at;
}

static void strings_of_all_widths_arrive_whole_and_in_order(void **state)
{
	unsigned int at = 0;
	struct guest g;

	(void)state;
	guest_init(&g, "strings");
	guest_create(&g);
	assert_int_equal(vm_run(g.vm), 1);
	at = check_strings(&g, at, 1);
	at = check_strings(&g, at, 2);
	at = check_strings(&g, at, 4);
	/* Backwards. */
	for (unsigned int i = 0; i < STRING_ITEMS; i++, at++)
		assert_access(&g, at, false, STRING_IN + 8, 2,
			      pattern(STRING_IN + 8, 2));
	for (unsigned int i = 0; i < STRING_ITEMS; i++, at++)
		assert_access(&g, at, true, STRING_ECHO + 8, 2,
			      pattern(STRING_IN + 8, 2));
	assert_int_equal(g.nr_log, at);
	guest_destroy(&g);
}

static void memory_is_written_and_read_in_all_widths(void **state)
{
	struct agent_op ops[] = {
		{ AGENT_WRITE8, TEST_WINDOW + 1, 0x1122334455667788, 0 },
		{ AGENT_WRITE16, TEST_WINDOW + 3, 0x1122334455667788, 0 },
		{ AGENT_WRITE32, TEST_WINDOW + 8, 0x1122334455667788, 0 },
		{ AGENT_WRITE64, TEST_WINDOW + 20, 0x1122334455667788, 0 },
		{ AGENT_READ8, TEST_WINDOW + 0x101, 0, 0 },
		{ AGENT_READ16, TEST_WINDOW + 0x105, 0, 0 },
		{ AGENT_READ32, TEST_WINDOW + 0x10b, 0, 0 },
		{ AGENT_READ64, TEST_WINDOW + 0x111, 0, 0 },
		EXIT,
	};
	struct guest g;

	(void)state;
	run_agent(&g, ops, ARRAY_SIZE(ops));
	assert_int_equal(g.nr_log, 8);
	assert_access(&g, 0, true, TEST_WINDOW + 1, 1, 0x88);
	assert_access(&g, 1, true, TEST_WINDOW + 3, 2, 0x7788);
	assert_access(&g, 2, true, TEST_WINDOW + 8, 4, 0x55667788);
	assert_access(&g, 3, true, TEST_WINDOW + 20, 8, 0x1122334455667788);
	assert_reads(&g, ops + 4, 4, 4);
	guest_destroy(&g);
}

static void an_access_across_a_regions_end_belongs_to_nobody(void **state)
{
	uint32_t end = TEST_WINDOW + TEST_WINDOW_BYTES;
	struct agent_op ops[] = {
		{ AGENT_READ64, end - 6, 0, 0 },
		{ AGENT_READ32, end - 2, 0, 0 },
		{ AGENT_READ16, end - 1, 0, 0 },
		{ AGENT_READ8, end, 0, 0 },
		{ AGENT_WRITE64, end - 6, 1, 0 },
		{ AGENT_WRITE32, end - 2, 1, 0 },
		{ AGENT_WRITE16, end - 1, 1, 0 },
		{ AGENT_WRITE8, end, 1, 0 },
		{ AGENT_READ64, NOBODY, 0, 0 },
		/* The last bytes themselves are there. */
		{ AGENT_READ32, end - 4, 0, 0 },
		EXIT,
	};
	static const uint64_t ones[] = { UINT64_MAX, 0xffffffff, 0xffff, 0xff };
	struct guest g;

	(void)state;
	run_agent(&g, ops, ARRAY_SIZE(ops));
	for (unsigned int i = 0; i < ARRAY_SIZE(ones); i++)
		assert_int_equal(ops[i].result, ones[i]);
	assert_int_equal(ops[8].result, UINT64_MAX);
	assert_int_equal(ops[9].result, pattern(end - 4, 4));
	assert_int_equal(g.nr_log, 1);
	guest_destroy(&g);
}

/* The bytes of all logged writes, by address, are those of @value at @addr. */
static void assert_written(const struct guest *g, uint64_t addr, uint64_t value,
			   unsigned int len)
{
	unsigned int bytes = 0;

	for (unsigned int i = 0; i < g->nr_log; i++) {
		const struct access *a = &g->log[i];

		if (!a->write)
			continue;
		for (unsigned int b = 0; b < a->len; b++) {
			uint64_t at = a->addr + b - addr;

			assert_in_range(at, 0, len - 1);
			assert_int_equal((uint8_t)(a->value >> (8 * b)),
					 (uint8_t)(value >> (8 * at)));
			bytes++;
		}
	}
	assert_int_equal(bytes, len);
}

static void an_access_across_a_page_keeps_its_bytes(void **state)
{
	for (uint32_t before = 1; before < 8; before++) {
		uint32_t addr = TEST_WINDOW + 0x1000 - before;
		struct agent_op ops[] = {
			{ AGENT_WRITE64, addr, 0x8877665544332211, 0 },
			{ AGENT_READ64, addr, 0, 0 },
			EXIT,
		};
		struct guest g;

		(void)state;
		run_agent(&g, ops, ARRAY_SIZE(ops));
		assert_int_equal(ops[1].result, pattern(addr, 8));
		assert_written(&g, addr, 0x8877665544332211, 8);
		guest_destroy(&g);
	}
}

/* The page after the second window is nobody's. */
static void beyond_the_last_page_are_ones(void **state)
{
	uint32_t addr = TEST_PAGE + 0x1000 - 4;
	struct agent_op ops[] = {
		{ AGENT_WRITE64, addr, 0x8877665544332211, 0 },
		{ AGENT_READ64, addr, 0, 0 },
		EXIT,
	};
	struct guest g;

	(void)state;
	run_agent(&g, ops, ARRAY_SIZE(ops));
	assert_int_equal(ops[1].result, pattern(addr, 4) | 0xffffffff00000000);
	assert_written(&g, addr, 0x44332211, 4);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(ports_are_written_and_read_in_all_widths),
		kvm_test(a_port_access_across_the_end_belongs_to_nobody),
		kvm_test(strings_of_all_widths_arrive_whole_and_in_order),
		kvm_test(memory_is_written_and_read_in_all_widths),
		kvm_test(an_access_across_a_regions_end_belongs_to_nobody),
		kvm_test(an_access_across_a_page_keeps_its_bytes),
		kvm_test(beyond_the_last_page_are_ones),
	};

	return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
