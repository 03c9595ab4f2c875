/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine told as JSON: what --dry-run and x-lkvm-devices print. All of it
 * is read from the machine itself, whether KVM is behind it or not.
 *
 * Each returns a new reference, or NULL when memory is short. Main thread,
 * while the list of devices does not change.
 */
#ifndef LKVM_DESCRIBE_H
#define LKVM_DESCRIBE_H

#include <jansson.h>

struct machine;

/*
 * [{"name": "vda", "type": "virtio-blk", "transport": "pci",
 *   "address": "00:01.0", "gsi": 17,
 *   "regions": [{"space": "mmio"|"pio", "base": N, "size": N}]}, ...]
 * in order of creation. "transport" is "mmio" for virtio-mmio devices and
 * "platform" for the board's own; only PCI functions have an "address", and
 * "gsi" is there where there is an interrupt line.
 */
json_t *describe_devices(const struct machine *machine);

/* [{"kind": "ram", "base": N, "size": N}, ...] in ascending order. */
json_t *describe_memory(const struct machine *machine);

/* @text, where JSON wants UTF-8 and a file's name need not be; NULL: null. */
json_t *describe_text(const char *text);

#endif
