/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files that a VM is made of share, and nobody else needs.
 */
#ifndef LKVM_VM_PARTS_H
#define LKVM_VM_PARTS_H

#include <lkvm/vm.h>

/* Note that @phase has been reached now. Any thread. */
void vm_phase_mark(struct vm *vm, enum boot_phase phase);

/*
 * Let all (parked) vCPUs take their power-on state. Main thread. Returns 0, or
 * -errno after saying why.
 */
int vm_reset_vcpus(struct vm *vm);

/*
 * tty.c: make the pseudo-terminals that the user asked for, and plug them into
 * machine.serial[]. Main thread. Returns 0, or -errno after saying why;
 * ttys_destroy() follows in each case, when the devices and who else uses them have gone.
 */
int ttys_create(struct vm *vm);
void ttys_destroy(struct vm *vm);

/* Park all vCPUs for good and end their threads. Once is enough. */
void vm_stop(struct vm *vm);

#endif
