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
struct pci_device;
struct resource;
struct virtio_device_ops;
struct virtio_transport;

/* Something of the host's that a device would open. */
struct device_file {
	const char *path;
	const char *use; /* "read", "read-write", "write", "listen", "run" */
};

#define DEVICE_PLAN_MAX_FILES 32

/* What is known of a virtio device that nobody makes: for --dry-run. */
struct device_plan {
	char name[16]; /* that create() would give it */
	const struct virtio_device_ops *ops; /* NULL: there is no device */
	const struct virtio_transport *transport; /* NULL: the machine's */
	unsigned int nr_files;
	struct device_file file[DEVICE_PLAN_MAX_FILES]; /* borrowed */
};

/* Note that the device would open @path, unless that is NULL. */
void device_plan_file(struct device_plan *plan, const char *path,
		      const char *use);

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
	 * What create() would make of @config, into the zeroed @plan, without
	 * touching the host. For types that users can ask for. Returns as
	 * create() does. Main thread.
	 */
	int (*plan)(const struct machine *machine, const void *config,
		    struct device_plan *plan);
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
	 * stopped. Optional, and a device may have nothing to resume.
	 */
	void (*quiesce)(struct device *device);
	void (*resume)(struct device *device);
	/* Give own counters to @sink. Any thread. Optional. */
	void (*stats)(struct device *device, struct stats_sink *sink);
	const struct state_table *state;
};

/* Where a guest finds a device; at least one is set once it is created. */
struct device_place {
	const struct resource *resource; /* ports or addresses, GSI */
	struct pci_device *pci; /* its function */
};

/* First member of every device's own struct. */
struct device {
	const struct device_type *type;
	char name[16]; /* unique in the machine: "vda", "serial0" */
	struct device_place place;
	struct device *next; /* in order of creation; the machine's */
};

/* One instance that somebody asked for. */
struct device_request {
	const struct device_type *type;
	const void *config;
};

#endif
