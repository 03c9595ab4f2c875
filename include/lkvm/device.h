/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every device type supplies, and what every device instance begins with.
 *
 * Types are constant data, named in the one array of vmm/device-table.c;
 * instances are made in that array's order and destroyed in reverse.
 */
#ifndef LKVM_DEVICE_H
#define LKVM_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include <lkvm/options.h>
#include <lkvm/state.h>
#include <lkvm/stats.h>

struct device;
struct machine;

struct device_type {
	const char *name; /* "virtio-blk", "serial" */
	/*
	 * For types that users can ask for: the key=value options of an
	 * instance, the keys whose values may stand alone, the config struct
	 * that they set and what holds where they say nothing.
	 */
	const struct option_desc *options;
	const char *const *positional; /* see options_parse_list() */
	const void *defaults;
	size_t config_size;
	/*
	 * Make an instance from @config (the type's own struct, only read
	 * during the call). On error returns -errno and leaves nothing behind;
	 * a type that users can ask for has said why, for the board's own
	 * devices the caller does. Main thread.
	 */
	int (*create)(struct machine *machine, const void *config,
		      struct device **out);
	/*
	 * The guest is about to run for the first time: wait for what create()
	 * has only begun. Returns 0, -ENODEV (the device is to be destroyed,
	 * and the VM goes on without it) or another -errno; has said why. Main
	 * thread. Optional.
	 */
	int (*complete)(struct device *device);
	/* Free everything. vCPUs are gone; own threads are joined here. */
	void (*destroy)(struct device *device);
	/* Power-on state. vCPUs and I/O are stopped (quiesced). Optional. */
	void (*reset)(struct device *device);
	/*
	 * Stop I/O: on return no request is in flight and own threads touch
	 * neither guest memory nor interrupts until resume(). vCPUs are
	 * stopped. Optional, both or neither.
	 */
	void (*quiesce)(struct device *device);
	void (*resume)(struct device *device);
	/* Give own counters to @sink. Any thread. Optional. */
	void (*stats)(struct device *device, struct stats_sink *sink);
	const struct state_table *state;
};

/* Where the guest finds a device that is on a transport. */
struct device_place {
	const char *transport; /* "pci", "mmio"; NULL: the board's own */
	uint64_t base; /* its address; of PCI the slot on bus 0 */
	uint32_t gsi;
};

/* First member of every device's own struct. */
struct device {
	const struct device_type *type;
	char name[16]; /* unique in the machine: "vda", "serial0" */
	struct device *next; /* in order of creation; the machine's */
	struct device_place place;
};

/* One instance that somebody asked for. */
struct device_request {
	const struct device_type *type;
	const void *config;
};

#endif
