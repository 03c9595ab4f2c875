/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine: everything that one `lkvm run` owns.
 */
#ifndef LKVM_VM_H
#define LKVM_VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/arch.h>
#include <lkvm/config.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/prompt.h>
#include <lkvm/vcpu.h>

struct console_hub;
struct control;
struct endings;
struct events;
struct guest_command;
struct stream;
struct terminal;

/* Process statuses of `lkvm run`; 128 + N means ended by signal N. */
enum vm_status {
	STATUS_OK = 0,
	STATUS_TIMEOUT = 124,
	STATUS_LKVM_FAILED = 125,
	STATUS_SIGNALLED = 128,
	STATUS_RESET = 252, /* --on-reset=fail */
	STATUS_KVM_FAILED = 253, /* triple fault, internal error */
	STATUS_VERDICT = 254, /* of --expect and --fail: failed */
	STATUS_PANIC = 255,
};

/* What vCPU threads shall do. */
enum vm_run_state { VM_PAUSED, VM_RUNNING, VM_STOPPING };

/* Why a run ended. */
enum vm_end {
	VM_END_NONE,
	VM_END_POWEROFF,
	VM_END_RESET,
	VM_END_USER_RESET, /* boots again, whatever --on-reset says */
	VM_END_PANIC,
	VM_END_DEBUG_EXIT, /* detail: the byte */
	VM_END_COMMAND, /* has ended; detail: the status */
	VM_END_QUIT, /* detail: enum quit_by */
	VM_END_SIGNAL, /* forced by one; detail: its number */
	VM_END_DECIDED, /* forced, after --expect or --fail */
	VM_END_TIMEOUT,
	VM_END_TRIPLE_FAULT,
	VM_END_KVM_ERROR,
	VM_END_FAILED, /* lkvm itself, which has said why */
};

/* Who asked for VM_END_QUIT. */
enum quit_by { QUIT_BY_TERMINAL, QUIT_BY_CONTROL };

/* Moments that --boot-timer reports; times are now_ns(). */
enum boot_phase {
	PHASE_START, /* the command began */
	PHASE_BOARD, /* the board exists, vCPUs are being created */
	PHASE_DEVICES, /* all devices exist */
	PHASE_LOADED, /* kernel is in guest RAM */
	PHASE_RUN, /* all vCPUs may enter the guest */
	PHASE_USERSPACE, /* the guest wrote to the boot-timer port */
	PHASE_END, /* the guest is done */
	PHASE_COUNT,
};

struct vm {
	struct machine machine; /* first: the devices' machine is the VM's */
	const struct vm_config *config; /* not owned */
	struct boot_config boot;
	int initrd_fd; /* the user's; -1: none */
	int kvm_fd, vm_fd;
	struct terminal *terminal;
	struct stream *tty[MACHINE_SERIALS]; /* NULL: not asked for */
	struct console_hub *console;
	bool console_shown; /* on stdout, and that is not /dev/null */
	struct endings *endings; /* while it runs; the main thread's */
	struct events *events; /* NULL: not yet, or no longer */
	struct control *control; /* NULL: there is no socket */
	struct guest_command *command; /* NULL: none */
	struct stream *klog; /* of --klog, or NULL */
	struct prompt prompt;
	struct loop_source signals; /* while it runs: SIGTERM and the like */

	/* Guarded by lock; changed tells of every change. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum vm_run_state run_state;
	unsigned int ready; /* vCPUs whose threads have created them */
	unsigned int parked; /* vCPUs that wait at the barrier */
	unsigned int reset_count; /* parked vCPUs follow it */
	unsigned int resets_done; /* vCPUs that have followed */
	int vcpu_error; /* first vCPU that could not be made: -errno */
	enum vm_end end; /* the first request wins */
	bool stopping; /* the guest has been asked to: no other boot */
	unsigned int end_detail;
	char *end_dump; /* registers, of a vCPU that failed; owned */

	_Atomic uint64_t phase_ns[PHASE_COUNT];
	unsigned int nr_vcpus;
	struct vcpu *vcpus;
};

/*
 * Make the VM that @config describes, ready to run. On error says why,
 * returns -errno and leaves nothing. @config must outlive the VM. Main thread.
 */
int vm_create(const struct vm_config *config, struct vm **out);

/*
 * Run it until it ends; main thread. Returns the process's exit status
 * (0..255) after saying on stderr what a user must know of the end. Signals
 * that asked for the end stay blocked. It may run again after vm_reset().
 */
int vm_run(struct vm *vm);

/* Stop what runs, free everything. Main thread. */
void vm_destroy(struct vm *vm);

/*
 * Bring all vCPUs to the barrier and all I/O to rest, and back. Main thread.
 * A VM that is paused already, or runs, is left as it is. After vm_pause() no thread but the caller touches guest memory.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

/* The same at a user's wish, who is told of it by an event. Main thread. */
void vm_user_pause(struct vm *vm);
void vm_user_resume(struct vm *vm);

/*
 * Press the power button, and tell; a command in the guest is asked by SIGTERM
 * instead. Main thread.
 */
void vm_press_power_button(struct vm *vm);

/*
 * Reset the machine in this process: devices, RAM, kernel, vCPUs, as at the
 * first start. Between vm_pause() and vm_resume(). Returns 0 or -errno.
 */
int vm_reset(struct vm *vm);

/* Note why the run ends, and wake the main thread. Any thread. */
void vm_end(struct vm *vm, enum vm_end end, unsigned int detail);

/* As vm_end(), with the registers of the vCPU whose thread calls. */
void vm_end_dump(struct vm *vm, enum vm_end end, struct vcpu *vcpu);

/* stats.c: all counters, of vCPUs and devices. Any thread. */
void vm_stats(struct vm *vm, struct stats_sink *sink);

/* The same as the table of --stats; and that of --boot-timer. */
void vm_print_stats(struct vm *vm, FILE *out);
void vm_print_phases(struct vm *vm, FILE *out);

/* device-table.c: all types, in order of creation, NULL-ended. */
extern const struct device_type *const device_table[];

#endif
