/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM that runs a tiny guest of guests/, with a test device in it that
 * records what the guest does. See guests/guest.h for where it answers.
 *
 * Every function fails the running cmocka test when something goes wrong, so
 * tests need not check; hooks run on vCPU threads, where cmocka cannot fail,
 * and only note what they see.
 */
#ifndef TESTS_KVM_HARNESS_H
#define TESTS_KVM_HARNESS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <lkvm/vm.h>

#include "guests/guest.h"

#define GUEST_LOG_MAX 65536

struct access {
	bool write;
	uint64_t addr; /* a port, or an address above all ports */
	unsigned int len;
	uint64_t value;
};

/* One operation for the agent, and what it read or got back. */
struct agent_op {
	uint32_t kind;
	uint32_t addr;
	uint64_t value;
	uint64_t result;
};

struct guest;

struct test_region {
	struct bus_region bus_region;
	struct guest *guest;
};

struct guest {
	struct vm_config config; /* to be changed before guest_create() */
	struct vm *vm;
	char kernel[PATH_MAX];
	struct test_region ports, window, page;

	/*
	 * Instead of the log, if set before guest_create(): called with the
	 * lock held, and followed by a wake-up of guest_wait_until().
	 */
	uint64_t (*read)(struct guest *guest, uint64_t addr, unsigned int len);
	void (*write)(struct guest *guest, uint64_t addr, uint64_t value,
		      unsigned int len);
	void *opaque;

	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t changed;
	struct access *log;
	unsigned int nr_log; /* beyond GUEST_LOG_MAX they are counted only */

	/*
	 * The agent's next operation; false: it halts for ever. @op comes with
	 * the one before and its result.
	 */
	bool (*next_op)(struct guest *guest, struct agent_op *op);
	struct agent_op *ops; /* next_op NULL: these */
	unsigned int nr_ops;
	unsigned int ops_done;
	struct agent_op op;
	unsigned int fetch_at, reply_at;
};

/*
 * Prepare guest @name: one CPU, 16 MiB of RAM, a debug exit device.
 * guest_create() makes the VM and plugs the test device.
 */
void guest_init(struct guest *guest, const char *name);
void guest_create(struct guest *guest);
void guest_destroy(struct guest *guest);

/* All of it in one go; returns vm_run()'s status. */
int guest_run_once(struct guest *guest);

/* Let the agent do @ops (the last one ends the VM): its status. */
int agent_run(struct guest *guest, struct agent_op *ops, unsigned int count);

/* Let vCPUs run (after vm_resume()) until @done says so, under the lock. */
void guest_wait_until(struct guest *guest, bool (*done)(struct guest *guest));

/* What the test device answers where no hook does. */
uint64_t pattern(uint64_t addr, unsigned int len);

/* Is access @i of the log this one? */
void assert_access(const struct guest *guest, unsigned int i, bool write,
		   uint64_t addr, unsigned int len, uint64_t value);

/*
 * Let file descriptor @fd be another file, and back. capture_end() returns
 * what was written meanwhile as a string that the caller frees.
 */
struct capture {
	int fd, file, saved;
};
void capture_begin(struct capture *capture, int fd);
char *capture_end(struct capture *capture);

/*
 * A hang ends the program by SIGALRM instead of being measured: the limit is
 * generous enough for a software CPU.
 */
#define TEST_TIME_LIMIT 240
int kvm_test_setup(void **state);
int kvm_test_teardown(void **state);
#define kvm_test(fn) \
	cmocka_unit_test_setup_teardown(fn, kvm_test_setup, kvm_test_teardown)

#endif
