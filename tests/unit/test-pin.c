/* SPDX-License-Identifier: GPL-2.0 */
/* The list of --pin. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>

#include <lkvm/log.h>
#include <lkvm/pin.h>

#define VCPUS 3

/* One that this process may use. */
static int some_cpu(void)
{
	cpu_set_t set;
	int cpu = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	while (!CPU_ISSET((size_t)cpu, &set))
		cpu++;
	return cpu;
}

static int parse(int *pins, const char *fmt, int cpu)
{
	char list[64];

	log_set_level(LOG_LEVEL_ERROR);
	snprintf(list, sizeof(list), "%s%d", fmt, cpu);
	return pin_parse(list, VCPUS, pins);
}

static void names_some_or_all_vcpus(void **state)
{
	int cpu = some_cpu();
	char list[64];
	int pins[VCPUS];

	(void)state;
	assert_int_equal(parse(pins, "1=", cpu), 0);
	assert_int_equal(pins[0], -1);
	assert_int_equal(pins[1], cpu);
	assert_int_equal(pins[2], -1);
	snprintf(list, sizeof(list), "2=%d,0=%d,1=%d", cpu, cpu, cpu);
	assert_int_equal(pin_parse(list, VCPUS, pins), 0);
	for (unsigned int i = 0; i < VCPUS; i++)
		assert_int_equal(pins[i], cpu);
}

static void refuses_what_is_no_pair(void **state)
{
	static const char *const lists[] = {
		"",	    "0",	  "=",
		"0=",	    "=0",	  "0=x",
		"0=-1",	    "0=0,",	  ",0=0",
		"0=0=0",    "0:0",	  "0=0;1=0",
		" ",	    "0=0-1",	  "00000000000x=1",
		"0=1 ",	    "0x=1",	  "-1=0",
		"0=0,,1=0", "a=b",	  "0=1024",
		"0=65536",  "0=99999999", "0=4294967296",
	};
	int pins[VCPUS];

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		assert_int_equal(pin_parse(lists[i], VCPUS, pins), -EINVAL);
}

static void refuses_vcpus_that_are_not_there_or_twice(void **state)
{
	int cpu = some_cpu();
	char list[64];
	int pins[VCPUS + 1];

	(void)state;
	pins[VCPUS] = -1;
	assert_int_equal(parse(pins, "2=", cpu), 0);
	assert_int_equal(parse(pins, "3=", cpu), -EINVAL);
	assert_int_equal(parse(pins, "4294967296=", cpu), -EINVAL);
	assert_int_equal(pins[VCPUS], -1);
	snprintf(list, sizeof(list), "0=%d,0=%d", cpu, cpu);
	assert_int_equal(pin_parse(list, VCPUS, pins), -EINVAL);
}

static void binds_the_calling_thread(void **state)
{
	int cpu = some_cpu();
	cpu_set_t before, set;

	(void)state;
	sched_getaffinity(0, sizeof(before), &before);
	assert_int_equal(pin_thread(-1), 0);
	sched_getaffinity(0, sizeof(set), &set);
	assert_true(CPU_EQUAL(&set, &before));
	assert_int_equal(pin_thread(cpu), 0);
	sched_getaffinity(0, sizeof(set), &set);
	assert_int_equal(CPU_COUNT(&set), 1);
	assert_true(CPU_ISSET((size_t)cpu, &set));
	sched_setaffinity(0, sizeof(before), &before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_some_or_all_vcpus),
		cmocka_unit_test(refuses_what_is_no_pair),
		cmocka_unit_test(refuses_vcpus_that_are_not_there_or_twice),
		cmocka_unit_test(binds_the_calling_thread),
	};

	return cmocka_run_group_tests_name("pin", tests, NULL, NULL);
}
