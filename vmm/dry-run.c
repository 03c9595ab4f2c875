/* SPDX-License-Identifier: GPL-2.0 */
/*
 * --dry-run: the machine that would run. The board, its devices, the PCI bus
 * and the loaders are the real ones, with no KVM behind them; of the user's
 * devices, which would open and start things, only what the guest sees of
 * their place is plugged in.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/describe.h>
#include <lkvm/dry-run.h>
#include <lkvm/log.h>
#include <lkvm/virtio.h>
#include <lkvm/vm-parts.h>

/* A user's device: its name and its place. */
struct planned {
	struct virtio_device vdev;
	struct device_plan plan;
};

static int plan_device(struct machine *machine,
		       const struct device_request *request,
		       struct device **out)
{
	struct planned *planned;
	int err;

	if (!request->type->plan)
		return request->type->create(machine, request->config, out);
	planned = calloc(1, sizeof(*planned));
	if (!planned)
		return -ENOMEM;
	err = request->type->plan(machine, request->config, &planned->plan);
	if (err || !planned->plan.ops) {
		free(planned);
		*out = NULL;
		return err;
	}
	memcpy(planned->vdev.device.name, planned->plan.name,
	       sizeof(planned->vdev.device.name));
	/* How many queues there are changes no address. */
	virtio_device_init(&planned->vdev, machine, request->type,
			   planned->plan.ops, 0, 1, 1);
	planned->vdev.own_transport = planned->plan.transport;
	err = virtio_device_plug(&planned->vdev);
	if (err) {
		virtio_device_release(&planned->vdev);
		free(planned);
		return err;
	}
	*out = &planned->vdev.device;
	return 0;
}

static struct planned *to_planned(struct device *device)
{
	return device->type->plan ?
		       container_of(device, struct planned, vdev.device) :
		       NULL;
}

static void unplug(struct vm *vm)
{
	struct device **link = &vm->machine.devices;

	while (*link) {
		struct planned *planned = to_planned(*link);

		if (!planned) {
			link = &(*link)->next;
			continue;
		}
		*link = planned->vdev.device.next;
		virtio_device_release(&planned->vdev);
		free(planned);
	}
}

/* As vm_create() does it, but for KVM, vCPUs and the terminal. */
static int build(struct vm *vm)
{
	const struct arch_config arch = {
		.cpus = vm->config->cpus,
		.ram_bytes = vm->config->ram_bytes,
		.debug_exit = vm->config->debug_exit,
	};
	struct machine *machine = &vm->machine;
	int err = vm_open_boot_files(vm);

	if (!err)
		err = loop_create(&machine->loop);
	if (!err)
		err = irq_init(&machine->irq, -1);
	if (!err)
		err = arch_board_create(machine, -1, -1, &arch);
	if (!err)
		err = vm_create_devices(vm, plan_device);
	return err ?: arch_boot_load(machine, &vm->boot);
}

/* ---- the description ----------------------------------------------------- */

static void add_file(json_t *files, const char *path, const char *use)
{
	bool reads = !strncmp(use, "read", strlen("read"));
	bool writes = !strcmp(use, "read-write");
	json_t *file;

	if (!path)
		return;
	file = json_pack("{s:o, s:s}", "path", describe_text(path), "use", use);
	/* Opening it would tell more, and might do more. */
	if (reads && access(path, writes ? R_OK | W_OK : R_OK))
		json_object_set_new(file, "error",
				    json_string(strerror(errno)));
	json_array_append_new(files, file);
}

static json_t *describe_files(struct vm *vm)
{
	const struct vm_config *config = vm->config;
	json_t *files = json_array();

	add_file(files, config->kvm_path, "read-write");
	add_file(files, config->kernel, "read");
	add_file(files, config->initrd, "read");
	add_file(files, config->memory.hugetlbfs, "write");
	add_file(files, config->dump_dtb, "write");
	add_file(files, config->control, "listen");
	add_file(files, config->events, "write");
	add_file(files, config->klog, "write");
	for (struct device *d = vm->machine.devices; d; d = d->next) {
		const struct planned *planned = to_planned(d);

		for (unsigned int i = 0; planned && i < planned->plan.nr_files;
		     i++)
			add_file(files, planned->plan.file[i].path,
				 planned->plan.file[i].use);
	}
	return files;
}

static json_t *describe(struct vm *vm)
{
	const struct vm_config *config = vm->config;
	char *cmdline = arch_cmdline(&vm->machine, &vm->boot);
	json_t *out;

	out = json_pack("{s:o, s:i, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
			describe_text(config->name), "cpus", (int)config->cpus,
			"memory", (json_int_t)config->ram_bytes, "kernel",
			describe_text(config->kernel), "initrd",
			describe_text(config->initrd), "cmdline",
			describe_text(cmdline), "memory-map",
			describe_memory(&vm->machine), "devices",
			describe_devices(&vm->machine), "files",
			describe_files(vm));
	free(cmdline);
	return out;
}

/* ---- as text ------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ?: "";
}

static uint64_t number_of(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void print_range(const json_t *range, int digits, FILE *out)
{
	uint64_t base = number_of(range, "base");

	fprintf(out, "0x%0*" PRIx64 "-0x%0*" PRIx64, digits, base, digits,
		base + number_of(range, "size") - 1);
}

static void print_each(const json_t *list,
		       void (*print)(const json_t *entry, FILE *out), FILE *out)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		print(json_array_get(list, i), out);
}

static void print_memory(const json_t *range, FILE *out)
{
	fprintf(out, "  ");
	print_range(range, 9, out);
	fprintf(out, "  %s\n", text_of(range, "kind"));
}

static void print_region(const json_t *region, FILE *out)
{
	fprintf(out, "  %s ", text_of(region, "space"));
	print_range(region, 0, out);
}

static void print_device(const json_t *device, FILE *out)
{
	const json_t *gsi = json_object_get(device, "gsi");

	fprintf(out, "  %-12s %-16s %-8s %-7s", text_of(device, "name"),
		text_of(device, "type"), text_of(device, "transport"),
		text_of(device, "address"));
	if (gsi)
		fprintf(out, "  gsi %-2" PRIu64, number_of(device, "gsi"));
	else
		fprintf(out, "  %6s", "");
	print_each(json_object_get(device, "regions"), print_region, out);
	fputc('\n', out);
}

static void print_file(const json_t *file, FILE *out)
{
	const char *error = text_of(file, "error");

	fprintf(out, "  %-10s %s%s%s%s\n", text_of(file, "use"),
		text_of(file, "path"), *error ? " (" : "", error,
		*error ? ")" : "");
}

static void print_text(const json_t *vm, FILE *out)
{
	if (*text_of(vm, "name"))
		fprintf(out, "name:         %s\n", text_of(vm, "name"));
	fprintf(out, "cpus:         %" PRIu64 "\n", number_of(vm, "cpus"));
	fprintf(out, "memory:       %s\n",
		format_size(number_of(vm, "memory")).text);
	fprintf(out, "kernel:       %s\n", text_of(vm, "kernel"));
	if (*text_of(vm, "initrd"))
		fprintf(out, "initrd:       %s\n", text_of(vm, "initrd"));
	fprintf(out, "command line: %s\n", text_of(vm, "cmdline"));
	fprintf(out, "memory map:\n");
	print_each(json_object_get(vm, "memory-map"), print_memory, out);
	fprintf(out, "devices:\n");
	print_each(json_object_get(vm, "devices"), print_device, out);
	fprintf(out, "files:\n");
	print_each(json_object_get(vm, "files"), print_file, out);
}

static int print(struct vm *vm, bool json, FILE *out)
{
	json_t *description = describe(vm);
	int err = 0;

	if (!description)
		err = -ENOMEM;
	else if (json)
		json_dumpf(description, out, JSON_INDENT(2));
	else
		print_text(description, out);
	if (json)
		fputc('\n', out);
	json_decref(description);
	if (!err && (fflush(out) || ferror(out)))
		err = -EIO;
	if (err)
		log_err("run", "cannot print the machine: %s", strerror(-err));
	return err;
}

int dry_run(const struct vm_config *config, bool json, FILE *out)
{
	struct vm *vm = vm_alloc(config);
	int err;

	if (!vm) {
		log_err("vm", "out of memory");
		return -ENOMEM;
	}
	err = build(vm);
	if (!err)
		err = print(vm, json, out);
	unplug(vm);
	vm_destroy(vm);
	return err;
}
