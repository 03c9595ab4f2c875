/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The debug exit port of kvm-unit-tests and many small kernels: a value
 * written ends the machine, and lkvm with (value << 1) | 1. It has no state,
 * and therefore no lock.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <lkvm/hw.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

struct debug_exit {
	struct device device;
	struct machine *machine;
	struct bus_region region;
};

static void debug_exit_write(void *opaque, uint64_t offset, uint64_t value,
			     unsigned int len)
{
	struct debug_exit *debug_exit = opaque;

	(void)offset;
	(void)len;
	debug_exit->machine->request(debug_exit->machine, MACHINE_DEBUG_EXIT,
				     value & 0xff);
}

static const struct bus_ops debug_exit_bus_ops = {
	.read = bus_read_zero,
	.write = debug_exit_write,
};

static void debug_exit_destroy(struct device *device)
{
	struct debug_exit *debug_exit =
		container_of(device, struct debug_exit, device);

	bus_unmap(&debug_exit->region);
	free(debug_exit);
}

static int debug_exit_create(struct machine *machine, const void *config,
			     struct device **out)
{
	const struct resource *resource = config;
	struct debug_exit *debug_exit;
	int err;

	debug_exit = calloc(1, sizeof(*debug_exit));
	if (!debug_exit)
		return -ENOMEM;
	debug_exit->device.type = &debug_exit_type;
	snprintf(debug_exit->device.name, sizeof(debug_exit->device.name),
		 "debug-exit");
	debug_exit->machine = machine;
	debug_exit->region = (struct bus_region) {
		.name = debug_exit->device.name,
		.ops = &debug_exit_bus_ops,
		.opaque = debug_exit,
	};
	err = machine_map(machine, resource, &debug_exit->region);
	if (err) {
		free(debug_exit);
		return err;
	}
	*out = &debug_exit->device;
	return 0;
}

const struct device_type debug_exit_type = {
	.name = "debug-exit",
	.create = debug_exit_create,
	.destroy = debug_exit_destroy,
};
