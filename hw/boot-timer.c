/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The boot timer port: a guest writes a byte at a moment of its boot that is
 * worth knowing, and the time is noted under that number. It has no state, and
 * therefore no lock.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <lkvm/hw.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

struct boot_timer {
	struct device device;
	struct machine *machine;
	struct bus_region region;
};

static void boot_timer_write(void *opaque, uint64_t offset, uint64_t value,
			     unsigned int len)
{
	struct boot_timer *boot_timer = opaque;

	(void)offset;
	(void)len;
	boot_timer->machine->boot_mark(boot_timer->machine, value & 0xff);
}

static const struct bus_ops boot_timer_bus_ops = {
	.read = bus_read_zero,
	.write = boot_timer_write,
};

static void boot_timer_destroy(struct device *device)
{
	struct boot_timer *boot_timer =
		container_of(device, struct boot_timer, device);

	bus_unmap(&boot_timer->region);
	free(boot_timer);
}

static int boot_timer_create(struct machine *machine, const void *config,
			     struct device **out)
{
	const struct resource *resource = config;
	struct boot_timer *boot_timer;
	int err;

	boot_timer = calloc(1, sizeof(*boot_timer));
	if (!boot_timer)
		return -ENOMEM;
	boot_timer->device.type = &boot_timer_type;
	snprintf(boot_timer->device.name, sizeof(boot_timer->device.name),
		 "boot-timer");
	boot_timer->machine = machine;
	boot_timer->region = (struct bus_region) {
		.name = boot_timer->device.name,
		.ops = &boot_timer_bus_ops,
		.opaque = boot_timer,
	};
	err = machine_map(machine, resource, &boot_timer->region);
	if (err) {
		free(boot_timer);
		return err;
	}
	*out = &boot_timer->device;
	return 0;
}

const struct device_type boot_timer_type = {
	.name = "boot-timer",
	.create = boot_timer_create,
	.destroy = boot_timer_destroy,
};
