/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine told as JSON, from the places of its devices and the
 * architecture's memory map: see describe.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/arch.h>
#include <lkvm/describe.h>
#include <lkvm/pci.h>

json_t *describe_text(const char *text)
{
	json_t *out;
	char *copy;

	if (!text)
		return json_null();
	out = json_string(text);
	copy = out ? NULL : strdup(text);
	if (!copy)
		return out;
	for (char *c = copy; *c; c++)
		if (*c & 0x80)
			*c = '?';
	out = json_string(copy);
	free(copy);
	return out;
}

static void add_region(json_t *regions, const char *space, uint64_t base,
		       uint64_t size)
{
	json_array_append_new(
		regions, json_pack("{s:s, s:I, s:I}", "space", space, "base",
				   (json_int_t)base, "size", (json_int_t)size));
}

/* Where its BARs are now: a guest may have moved them. */
static void add_bars(json_t *regions, struct pci_device *pci)
{
	for (unsigned int i = 0; i < PCI_STD_NUM_BARS; i++) {
		const struct pci_bar *bar = &pci->bar[i];
		unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * i;
		uint64_t base;

		if (!bar->size)
			continue;
		base = pci_config_get(pci, reg, 4) &
		       (uint32_t)(bar->is_io ? PCI_BASE_ADDRESS_IO_MASK :
					       PCI_BASE_ADDRESS_MEM_MASK);
		if (bar->is_64bit)
			base |= (uint64_t)pci_config_get(pci, reg + 4, 4) << 32;
		add_region(regions, bar->is_io ? "pio" : "mmio", base,
			   bar->size);
	}
}

static const char *transport_of(const struct device_place *place)
{
	if (place->pci)
		return "pci";
	return place->resource &&
			       place->resource->kind == RESOURCE_VIRTIO_MMIO ?
		       "mmio" :
		       "platform";
}

static json_t *describe_device(const struct device *device)
{
	const struct resource *resource = device->place.resource;
	struct pci_device *pci = device->place.pci;
	json_t *regions = json_array();
	json_t *out = json_pack("{s:s, s:s, s:s}", "name", device->name, "type",
				device->type->name, "transport",
				transport_of(&device->place));
	char address[16];

	if (pci) {
		snprintf(address, sizeof(address), "00:%02x.0", pci->slot);
		json_object_set_new(out, "address", json_string(address));
		add_bars(regions, pci);
		if (pci_config_get(pci, PCI_INTERRUPT_PIN, 1))
			json_object_set_new(
				out, "gsi",
				json_integer(pci_slot_gsi(pci->slot)));
	}
	if (resource) {
		add_region(regions, resource->pio ? "pio" : "mmio",
			   resource->base, resource->len);
		if (resource->gsi != RESOURCE_NO_GSI)
			json_object_set_new(out, "gsi",
					    json_integer(resource->gsi));
	}
	json_object_set_new(out, "regions", regions);
	return out;
}

json_t *describe_devices(const struct machine *machine)
{
	json_t *out = json_array();

	for (const struct device *d = machine->devices; d; d = d->next)
		json_array_append_new(out, describe_device(d));
	return out;
}

json_t *describe_memory(const struct machine *machine)
{
	struct arch_range map[ARCH_MAX_RANGES];
	unsigned int count = arch_memory_map(machine, map);
	json_t *out = json_array();

	for (unsigned int i = 0; i < count; i++)
		json_array_append_new(
			out, json_pack("{s:s, s:I, s:I}", "kind", map[i].kind,
				       "base", (json_int_t)map[i].base, "size",
				       (json_int_t)map[i].len));
	return out;
}
