/* SPDX-License-Identifier: GPL-2.0 */
/* The first CPU starts all others by INIT and SIPI; each tells who it is. */
#include "harness.h"

struct smp_test {
	unsigned int cpus;
	unsigned int reports;
	unsigned int seen[256]; /* by the local APIC's id */
	unsigned int unlike; /* CPUID said another id */
};

static void smp_write(struct guest *g, uint64_t addr, uint64_t value,
		      unsigned int len)
{
	struct smp_test *test = g->opaque;

	(void)addr;
	(void)len;
	test->seen[value & 0xff]++;
	if ((value & 0xff) != (value >> 8 & 0xff))
		test->unlike++;
	test->reports++;
}

static bool all_reported(struct guest *g)
{
	struct smp_test *test = g->opaque;

	return test->reports >= test->cpus;
}

static void check_start(unsigned int cpus)
{
	struct smp_test test = { .cpus = cpus };
	struct guest g;

	guest_init(&g, "smp");
	g.config.cpus = cpus;
	g.write = smp_write;
	g.opaque = &test;
	guest_create(&g);
	vm_resume(g.vm);
	guest_wait_until(&g, all_reported);
	vm_pause(g.vm);
	assert_int_equal(test.reports, cpus);
	assert_int_equal(test.unlike, 0);
	for (unsigned int i = 0; i < 256; i++)
		assert_int_equal(test.seen[i], i < cpus);
	guest_destroy(&g);
}

static void one_to_eight_cpus_start(void **state)
{
	(void)state;
	for (unsigned int cpus = 1; cpus <= 8; cpus++)
		check_start(cpus);
}

static void the_most_cpus_start(void **state)
{
	(void)state;
	check_start(ARCH_MAX_CPUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(one_to_eight_cpus_start),
		kvm_test(the_most_cpus_start),
	};

	return cmocka_run_group_tests_name("smp", tests, NULL, NULL);
}
