/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine's resources: their list, and where they are mapped; its devices:
 * how many there are, and what is planned of them.
 */
#include <errno.h>

#include <lkvm/machine.h>

void device_plan_file(struct device_plan *plan, const char *path,
		      const char *use)
{
	if (path && plan->nr_files < DEVICE_PLAN_MAX_FILES)
		plan->file[plan->nr_files++] = (struct device_file) {
			.path = path,
			.use = use,
		};
}

unsigned int machine_count(const struct machine *machine,
			   const struct device_type *type)
{
	unsigned int count = 0;

	for (const struct device *d = machine->devices; d; d = d->next)
		count += d->type == type;
	return count;
}

int machine_add_resource(struct machine *machine,
			 const struct resource *resource)
{
	if (machine->nr_resources == MACHINE_MAX_RESOURCES)
		return -ENOSPC;
	machine->resource[machine->nr_resources++] = *resource;
	return 0;
}

const struct resource *machine_find_resource(const struct machine *machine,
					     enum resource_kind kind,
					     unsigned int index)
{
	for (unsigned int i = 0; i < machine->nr_resources; i++) {
		const struct resource *r = &machine->resource[i];

		if (r->kind == kind && r->index == index)
			return r;
	}
	return NULL;
}

int machine_map(struct machine *machine, const struct resource *resource,
		struct bus_region *region)
{
	region->base = resource->base;
	region->len = resource->len;
	return bus_map(resource->pio ? &machine->pio : &machine->mmio, region);
}
