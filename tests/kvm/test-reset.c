/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Resets within the process, a hundred of them: each time the machine is as
 * at first, all CPUs are back, and the process has not grown.
 */
#include "harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define CPUS 4
#define RESETS 100
#define WARM_UP 10 /* resets after which nothing may grow */

/* Sanitizers keep books that grow, and find leaks themselves. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#define GROWTH_MAX (64 * MIB)
#else
#define GROWTH_MAX (512 * KIB)
#endif

#define OWN_MARK 0x600d600d /* in the kernel's image */

/* What a process can leak, guest RAM aside. */
struct footprint {
	unsigned int fds, threads;
	uint64_t resident;
};

struct reset_test {
	unsigned int round;
	unsigned int found; /* items reported in this round */
	uint32_t first[RESET_FOUND_ITEMS]; /* of the first round */
	unsigned int unlike; /* items that were not as at first */
	unsigned int cpus; /* mask, this round */
	unsigned int cpus_twice;
	struct footprint warm, end;
};

static unsigned int entries_of(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

/* Resident bytes of all mappings but those of guest RAM. */
static uint64_t resident_besides(const struct guest_memory *memory)
{
	uint64_t low = (uintptr_t)memory->region[0].host;
	uint64_t high = low + memory->region[0].size;
	FILE *maps = fopen("/proc/self/smaps", "re");
	bool counts = false;
	uint64_t sum = 0;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long long start, end, kib;

		if (sscanf(line, "%llx-%llx ", &start, &end) == 2)
			counts = end <= low || start >= high;
		else if (counts && sscanf(line, "Rss: %llu kB", &kib) == 1)
			sum += kib * KIB;
	}
	if (maps)
		fclose(maps);
	return sum;
}

static void take_footprint(struct guest *g, struct footprint *out)
{
	out->fds = entries_of("/proc/self/fd");
	out->threads = entries_of("/proc/self/task");
	out->resident = resident_besides(&g->vm->machine.memory);
}

static void note_found(struct reset_test *test, uint32_t value)
{
	if (test->found < RESET_FOUND_ITEMS) {
		if (test->round == 0)
			test->first[test->found] = value;
		else if (test->first[test->found] != value)
			test->unlike++;
	}
	test->found++;
}

static void reset_write(struct guest *g, uint64_t addr, uint64_t value,
			unsigned int len)
{
	struct reset_test *test = g->opaque;

	(void)len;
	if (addr == RESET_FOUND)
		note_found(test, (uint32_t)value);
	if (addr == RESET_CPU) {
		if (test->cpus & 1U << value)
			test->cpus_twice++;
		test->cpus |= 1U << value;
	}
}

/* What vCPU 0 shall do, once all its fellows run. */
static uint64_t reset_read(struct guest *g, uint64_t addr, unsigned int len)
{
	struct reset_test *test = g->opaque;

	(void)len;
	if (addr != RESET_ACTION || test->cpus != (1U << CPUS) - 1)
		return RESET_WAIT;
	if (test->found != RESET_FOUND_ITEMS)
		test->unlike++;
	if (test->round == WARM_UP)
		take_footprint(g, &test->warm);
	if (test->round == RESETS) {
		take_footprint(g, &test->end);
		return RESET_NO_MORE;
	}
	test->found = 0;
	test->cpus = 0;
	return test->round++ % 2 ? RESET_BY_I8042 : RESET_BY_POWER;
}

static void a_hundred_resets_leave_nothing_behind(void **state)
{
	struct reset_test test = { .round = 0 };
	char disk[] = "/tmp/lkvm-test-XXXXXX";
	struct virtio_blk_options blk = virtio_blk_defaults;
	const struct device_request device = { &virtio_blk_type, &blk };
	int fd = mkstemp(disk);
	struct guest g;

	(void)state;
	assert_true(fd >= 0);
	blk.path = disk;
	assert_int_equal(ftruncate(fd, MIB), 0);
	close(fd);
	guest_init(&g, "reset");
	g.config.cpus = CPUS;
	g.config.on_reset = ON_RESET_RESET;
	g.config.devices = &device;
	g.config.nr_devices = 1;
	g.read = reset_read;
	g.write = reset_write;
	g.opaque = &test;
	guest_create(&g);
	unlink(disk);
	assert_int_equal(vm_run(g.vm), 1);
	guest_destroy(&g);

	assert_int_equal(test.round, RESETS);
	assert_int_equal(test.unlike, 0);
	assert_int_equal(test.cpus_twice, 0);
	/* RAM, the image, the scratch register, and a BAR that is one. */
	assert_int_equal(test.first[0], 0);
	assert_int_equal(test.first[1], 0);
	assert_int_equal(test.first[2], OWN_MARK);
	assert_int_equal(test.first[3], 0);
	assert_true(test.first[5] & PCI_BASE_ADDRESS_MEM_MASK);

	assert_int_equal(test.end.fds, test.warm.fds);
	assert_int_equal(test.end.threads, test.warm.threads);
	assert_true(test.end.resident < test.warm.resident + GROWTH_MAX);
}

static bool cpus_run(struct guest *g)
{
	struct reset_test *test = g->opaque;

	return test->cpus == (1U << CPUS) - 1;
}

static uint64_t never_act(struct guest *g, uint64_t addr, unsigned int len)
{
	(void)g;
	(void)addr;
	(void)len;
	return RESET_WAIT;
}

/* By the functions that a control command would call. */
static void a_paused_vm_is_reset_and_resumed(void **state)
{
	struct reset_test test = { .round = 0 };
	struct guest g;

	(void)state;
	guest_init(&g, "reset");
	g.config.cpus = CPUS;
	g.read = never_act;
	g.write = reset_write;
	g.opaque = &test;
	guest_create(&g);
	vm_resume(g.vm);
	for (; test.round < 10; test.round++) {
		guest_wait_until(&g, cpus_run);
		vm_pause(g.vm);
		assert_int_equal(test.found, RESET_FOUND_ITEMS);
		test.found = 0;
		test.cpus = 0;
		assert_int_equal(vm_reset(g.vm), 0);
		vm_resume(g.vm);
	}
	guest_wait_until(&g, cpus_run);
	vm_pause(g.vm);
	assert_int_equal(test.unlike, 0);
	assert_int_equal(test.cpus_twice, 0);
	guest_destroy(&g);
}

static void a_cpu_that_died_runs_again_after_a_reset(void **state)
{
	struct agent_op fault = { AGENT_TRIPLE_FAULT, 0, 0, 0 };
	struct agent_op done = { AGENT_OUT8, DEBUG_EXIT, 3, 0 };
	struct capture capture;
	struct guest g;

	(void)state;
	guest_init(&g, "agent64");
	guest_create(&g);
	capture_begin(&capture, STDERR_FILENO);
	assert_int_equal(agent_run(&g, &fault, 1), STATUS_KVM_FAILED);
	free(capture_end(&capture));
	assert_int_equal(vm_reset(g.vm), 0);
	assert_int_equal(agent_run(&g, &done, 1), 3 << 1 | 1);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(a_hundred_resets_leave_nothing_behind),
		kvm_test(a_paused_vm_is_reset_and_resumed),
		kvm_test(a_cpu_that_died_runs_again_after_a_reset),
	};

	return cmocka_run_group_tests_name("reset", tests, NULL, NULL);
}
