/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One virtual CPU and the thread that runs it.
 */
#ifndef LKVM_VCPU_H
#define LKVM_VCPU_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <lkvm/bus.h>

struct kvm_run;
struct vm;

/* KVM_EXIT_* reasons that are counted apart; higher ones share the last. */
#define VCPU_EXIT_REASONS 40

/* Counters: written by the vCPU's thread alone, read by anyone, relaxed. */
struct vcpu_stats {
	uint64_t exits[VCPU_EXIT_REASONS];
	uint64_t interrupted; /* KVM_RUN came back for a signal */
	/* Accesses by bus_region.id; the last slot counts unclaimed ones. */
	uint64_t pio[BUS_MAX_REGIONS + 1];
	uint64_t mmio[BUS_MAX_REGIONS + 1];
};

struct vcpu {
	struct vm *vm;
	unsigned int index;
	pthread_t thread;
	bool started; /* thread exists */
	int fd; /* -1 until the thread has created it */
	/* Guarded by vm->lock. */
	struct kvm_run *run; /* set once, when the vCPU exists */
	unsigned int reset_seen; /* vm->reset_count that it has followed */
	bool dead; /* KVM cannot run it on; waits for a reset or the end */
	void (*call)(struct vcpu *vcpu, void *opaque); /* see vcpu_call() */
	void *call_opaque;
	pid_t thread_id; /* of the host's; set once, as run is */
	/* The vCPU thread's own. */
	struct bus_cache pio_cache;
	struct bus_cache mmio_cache;
	struct vcpu_stats stats;
};

/* Start @vcpu's thread, which creates the vCPU and parks. 0 or -errno. */
int vcpu_start(struct vcpu *vcpu);

/* Make KVM_RUN return soon. vm->lock held, the run state has been set. */
void vcpu_kick(struct vcpu *vcpu);

/*
 * Run @call on @vcpu's thread, where KVM's ioctls on the vCPU do not wait for
 * the guest, and wait until it has returned. The guest runs on after it, or
 * stays paused. Main thread.
 */
void vcpu_call(struct vcpu *vcpu, void (*call)(struct vcpu *vcpu, void *opaque),
	       void *opaque);

/* A non-maskable interrupt. Main thread. Returns 0 or -errno. */
int vcpu_inject_nmi(struct vcpu *vcpu);

/* Join the thread (the run state is VM_STOPPING) and free what it made. */
void vcpu_join(struct vcpu *vcpu);

/*
 * The signal that kicks vCPU threads: install its handler, once a process,
 * before vcpu_start(). Returns 0 or -errno.
 */
int vcpu_setup_signal(void);

#endif
