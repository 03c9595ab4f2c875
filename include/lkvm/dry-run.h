/* SPDX-License-Identifier: GPL-2.0 */
/*
 * --dry-run: the machine that would run.
 */
#ifndef LKVM_DRY_RUN_H
#define LKVM_DRY_RUN_H

#include <stdbool.h>
#include <stdio.h>

struct vm_config;

/*
 * Put together the machine of @config, without KVM and without what its
 * devices would open or start, load what boots, and print it all to @out: as
 * one JSON object, or as text. Makes nothing that outlasts it. Returns 0, or
 * -errno after one line that says what a run would fail on. Main thread.
 */
int dry_run(const struct vm_config *config, bool json, FILE *out);

#endif
