/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files that a VM is made of share, and nobody else needs.
 */
#ifndef LKVM_VM_PARTS_H
#define LKVM_VM_PARTS_H

#include <lkvm/vm.h>

/* Note that @phase has been reached now. Any thread. */
void vm_phase_mark(struct vm *vm, enum boot_phase phase);

/* Changed by the main thread alone. Any thread. */
bool vm_is_running(struct vm *vm);

/*
 * Does vm->end, as it is, mean that the run goes on: another boot, or a pause
 * after a panic? With vm->lock; any thread.
 */
bool vm_goes_on_locked(const struct vm *vm);

/*
 * Let all (parked) vCPUs take their power-on state. Main thread. Returns 0, or
 * -errno after saying why.
 */
int vm_reset_vcpus(struct vm *vm);

/*
 * vm-create.c: a VM that has nothing yet; NULL when memory is short.
 * vm_destroy() ends it.
 */
struct vm *vm_alloc(const struct vm_config *config);

/* Open what boots. Returns 0, or -errno after saying why. Main thread. */
int vm_open_boot_files(struct vm *vm);

/*
 * Let @create make each device, the board's and the user's, in the one order
 * that there is, and append what it made. @create works as
 * device_type.create, for *@request. Returns 0 or the first -errno; has said
 * why. Main thread.
 */
int vm_create_devices(struct vm *vm,
		      int (*create)(struct machine *machine,
				    const struct device_request *request,
				    struct device **out));

/* For struct guest_command_callbacks. */
void vm_command_ended(void *vm, int status, const char *why);

/*
 * tty.c: make the pseudo-terminals that the user asked for, and plug them into
 * machine.serial[]. Main thread. Returns 0, or -errno after saying why;
 * ttys_destroy() follows in each case, when the devices and who else uses them
 * have gone.
 */
int ttys_create(struct vm *vm);
void ttys_destroy(struct vm *vm);

/* Park all vCPUs for good and end their threads. Once is enough. */
void vm_stop(struct vm *vm);

#endif
