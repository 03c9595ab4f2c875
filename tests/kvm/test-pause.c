/* SPDX-License-Identifier: GPL-2.0 */
/* The barrier: pause and resume under load, and the end of what never ends. */
#include "harness.h"

#include <signal.h>
#include <sched.h>
#include <unistd.h>

#define CPUS 4
#define PAUSES 200

/* Each CPU's next value at each of its four places. */
struct hammer {
	uint64_t out, in, written, read;
};

struct pause_test {
	struct hammer cpu[CPUS];
	uint64_t floor[CPUS]; /* to be passed before the next pause */
	unsigned int wrong; /* a value that was lost or came twice */
};

static uint64_t hammer_read(struct guest *g, uint64_t addr, unsigned int len)
{
	struct pause_test *test = g->opaque;

	(void)len;
	for (unsigned int i = 0; i < CPUS; i++) {
		if (addr == HAMMER_PORT(i))
			return test->cpu[i].in++;
		if (addr == HAMMER_READ(i))
			return test->cpu[i].read++;
	}
	test->wrong++;
	return 0;
}

static void hammer_write(struct guest *g, uint64_t addr, uint64_t value,
			 unsigned int len)
{
	struct pause_test *test = g->opaque;

	(void)len;
	for (unsigned int i = 0; i < CPUS; i++) {
		if (addr == HAMMER_PORT(i) && value == test->cpu[i].out) {
			test->cpu[i].out++;
			return;
		}
		if (addr == HAMMER_WRITE(i) && value == test->cpu[i].written) {
			test->cpu[i].written++;
			return;
		}
	}
	test->wrong++;
}

static bool all_went_on(struct guest *g)
{
	struct pause_test *test = g->opaque;

	for (unsigned int i = 0; i < CPUS; i++)
		if (test->cpu[i].read <= test->floor[i])
			return false;
	return true;
}

/* Counters stand still while the VM is paused, whatever it was doing. */
static void check_pause(struct guest *g, struct pause_test *test)
{
	struct pause_test before;

	vm_pause(g->vm);
	before = *test;
	usleep(500);
	sched_yield();
	assert_memory_equal(&before, test, sizeof(before));
	for (unsigned int i = 0; i < CPUS; i++) {
		const struct hammer *h = &test->cpu[i];

		test->floor[i] = h->read + 3;
		/* In the order of the guest's program, at most one ahead. */
		assert_in_range(h->out - h->in, 0, 1);
		assert_in_range(h->in - h->written, 0, 1);
		assert_in_range(h->written - h->read, 0, 1);
		assert_in_range(h->out - h->read, 0, 1);
	}
	vm_resume(g->vm);
}

static void pauses_under_load_lose_and_repeat_nothing(void **state)
{
	struct pause_test test = { .wrong = 0 };
	struct guest g;

	(void)state;
	guest_init(&g, "hammer");
	g.config.cpus = CPUS;
	g.read = hammer_read;
	g.write = hammer_write;
	g.opaque = &test;
	guest_create(&g);
	vm_resume(g.vm);
	guest_wait_until(&g, all_went_on);
	for (unsigned int i = 0; i < PAUSES; i++) {
		check_pause(&g, &test);
		/* Now and then the next pause comes at once. */
		if (i % 4)
			guest_wait_until(&g, all_went_on);
	}
	guest_wait_until(&g, all_went_on);
	vm_pause(g.vm);
	assert_int_equal(test.wrong, 0);
	guest_destroy(&g);
}

static bool all_spin(struct guest *g)
{
	return g->nr_log == g->config.cpus;
}

/* alarm() is the judge of a guest that cannot be stopped. */
static void spinning_cpus_are_stopped(void **state)
{
	(void)state;
	for (unsigned int cpus = 1; cpus <= CPUS; cpus += CPUS - 1) {
		struct guest g;

		guest_init(&g, "spin");
		g.config.cpus = cpus;
		guest_create(&g);
		vm_resume(g.vm);
		guest_wait_until(&g, all_spin);
		guest_destroy(&g);
	}
}

static void spinning_cpus_are_paused_and_go_on(void **state)
{
	struct guest g;

	(void)state;
	guest_init(&g, "spin");
	g.config.cpus = 2;
	guest_create(&g);
	vm_resume(g.vm);
	guest_wait_until(&g, all_spin);
	for (unsigned int i = 0; i < PAUSES; i++) {
		vm_pause(g.vm);
		vm_resume(g.vm);
	}
	/* They did not start over. */
	assert_int_equal(g.nr_log, 2);
	guest_destroy(&g);
}

static void terminate(struct guest *g, uint64_t addr, uint64_t value,
		      unsigned int len)
{
	(void)g;
	(void)addr;
	(void)value;
	(void)len;
	kill(getpid(), SIGTERM);
}

static void a_spinning_guest_ends_by_a_signal(void **state)
{
	struct guest g;

	(void)state;
	guest_init(&g, "spin");
	g.write = terminate;
	assert_int_equal(guest_run_once(&g), STATUS_SIGNALLED + SIGTERM);
}

static void a_vm_that_never_ran_is_destroyed(void **state)
{
	struct guest g;

	(void)state;
	guest_init(&g, "spin");
	g.config.cpus = CPUS;
	guest_create(&g);
	assert_int_equal(g.nr_log, 0);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(pauses_under_load_lose_and_repeat_nothing),
		kvm_test(spinning_cpus_are_stopped),
		kvm_test(spinning_cpus_are_paused_and_go_on),
		kvm_test(a_spinning_guest_ends_by_a_signal),
		kvm_test(a_vm_that_never_ran_is_destroyed),
	};

	return cmocka_run_group_tests_name("pause", tests, NULL, NULL);
}
