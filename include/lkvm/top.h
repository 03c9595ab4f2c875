/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What `lkvm top` computes and draws, apart from the VMs it asks and the
 * terminal it draws on.
 */
#ifndef LKVM_TOP_H
#define LKVM_TOP_H

#include <jansson.h>
#include <stdio.h>

/*
 * What a VM did between two samples of x-lkvm-stats, @seconds (above 0) apart:
 *
 *	{"exits": N, "vcpus": {"vcpu0": {"exits": N, "pio": N, ...}, ...},
 *	 "devices": {"vda": {"reads": N, "read-bytes": N, ...}, ...}}
 *
 * All numbers are rates, per second; those that are 0 are left out, but for
 * "exits". @before may be NULL: then nothing is known to have happened, as with
 * a counter that went back. Returns a new reference, or NULL for want of memory.
 */
json_t *top_rates(const json_t *before, const json_t *now, double seconds);

/*
 * Draw @vms on @out, at most @rows lines of at most @cols characters each (0: as
 * many as it takes); lines end with "\n". @vms is an array of what `lkvm top
 * --once --json` prints: see docs/lkvm.1.
 */
void top_draw(const json_t *vms, unsigned int rows, unsigned int cols,
	      FILE *out);

#endif
