/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pvpanic: one port by which a guest's kernel says that it panicked, as
 * specified by QEMU's docs/specs/pvpanic and <misc/pvpanic.h>. It has no
 * state, and therefore no lock.
 */
#include <errno.h>
#include <misc/pvpanic.h>
#include <stdio.h>
#include <stdlib.h>

#include <lkvm/hw.h>
#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

struct pvpanic {
	struct device device;
	struct machine *machine;
	struct bus_region region;
	struct ratelimit limit;
};

/* The events that we understand. */
static uint64_t pvpanic_read(void *opaque, uint64_t offset, unsigned int len)
{
	(void)opaque;
	(void)offset;
	(void)len;
	return PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static void pvpanic_write(void *opaque, uint64_t offset, uint64_t value,
			  unsigned int len)
{
	struct pvpanic *pvpanic = opaque;
	struct machine *machine = pvpanic->machine;

	(void)offset;
	(void)len;
	if (value & PVPANIC_PANICKED)
		machine->request(machine, MACHINE_PANIC, 0);
	/* The guest handles its crash itself, by kdump: it runs on. */
	else if ((value & PVPANIC_CRASH_LOADED) &&
		 ratelimit_ok(&pvpanic->limit))
		log_info("pvpanic", "the guest panicked and runs its own "
				    "crash kernel");
}

static const struct bus_ops pvpanic_bus_ops = {
	.read = pvpanic_read,
	.write = pvpanic_write,
};

static void pvpanic_destroy(struct device *device)
{
	struct pvpanic *pvpanic = container_of(device, struct pvpanic, device);

	bus_unmap(&pvpanic->region);
	free(pvpanic);
}

static int pvpanic_create(struct machine *machine, const void *config,
			  struct device **out)
{
	const struct resource *resource = config;
	struct pvpanic *pvpanic;
	int err;

	pvpanic = calloc(1, sizeof(*pvpanic));
	if (!pvpanic)
		return -ENOMEM;
	pvpanic->device.type = &pvpanic_type;
	snprintf(pvpanic->device.name, sizeof(pvpanic->device.name), "pvpanic");
	pvpanic->machine = machine;
	pvpanic->region = (struct bus_region) {
		.name = pvpanic->device.name,
		.ops = &pvpanic_bus_ops,
		.opaque = pvpanic,
	};
	err = machine_map(machine, resource, &pvpanic->region);
	if (err) {
		free(pvpanic);
		return err;
	}
	*out = &pvpanic->device;
	return 0;
}

const struct device_type pvpanic_type = {
	.name = "pvpanic",
	.create = pvpanic_create,
	.destroy = pvpanic_destroy,
};
