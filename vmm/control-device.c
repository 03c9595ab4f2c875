/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commands of the control socket for devices: the list of them and their
 * counters, the balloon, a network device's link. See docs/control.md.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/control-parts.h>
#include <lkvm/describe.h>
#include <lkvm/net.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>
#include <lkvm/vm.h>

/* ---- counters ------------------------------------------------------------ */

static void add_row(struct stats_sink *sink, const char *who, const char *what,
		    uint64_t count)
{
	json_t *all = sink->opaque;
	json_t *rows = json_object_get(all, who);

	if (!rows) {
		rows = json_object();
		json_object_set_new(all, who, rows);
	}
	json_object_set_new(rows, what, control_number(count));
}

static void show_stats(struct control_call *call)
{
	struct stats_sink sink = { .row = add_row };

	call->result = json_object();
	sink.opaque = call->result;
	vm_stats(call->vm, &sink);
}

/* ---- the balloon --------------------------------------------------------- */

static struct device *find_balloon(struct control_call *call)
{
	for (struct device *d = call->vm->machine.devices; d; d = d->next)
		if (d->type == &virtio_balloon_type)
			return d;
	control_fail(call, CONTROL_NOT_ACTIVE,
		     "No balloon device has been activated");
	return NULL;
}

static const struct control_arg balloon_args[] = {
	{ "value", CONTROL_INTEGER, CONTROL_REQUIRED },
	{ NULL, 0, 0 },
};

/* QMP counts what the guest keeps, the device what it gives up. */
static void set_balloon(struct control_call *call)
{
	uint64_t ram = memory_size(&call->vm->machine.memory);
	uint64_t value = control_integer(call, "value", 0);
	struct device *balloon = find_balloon(call);

	if (!balloon)
		return;
	if (!value || value > ram)
		control_fail(call, CONTROL_GENERIC,
			     "Parameter 'value' expects a size of at most "
			     "%" PRIu64 " bytes",
			     ram);
	else
		virtio_balloon_set_target(balloon, ram - value);
}

static void query_balloon(struct control_call *call)
{
	uint64_t ram = memory_size(&call->vm->machine.memory);
	struct device *balloon = find_balloon(call);
	struct virtio_balloon_info info;

	if (!balloon)
		return;
	virtio_balloon_info(balloon, &info);
	call->result = json_pack("{s:o}", "actual",
				 control_number(ram - MIN(info.actual, ram)));
}

/* Of the device's rows those that the guest has told. */
static void add_guest_row(struct stats_sink *sink, const char *who,
			  const char *what, uint64_t count)
{
	static const char prefix[] = "guest-";

	(void)who;
	if (!strncmp(what, prefix, strlen(prefix)))
		json_object_set_new(sink->opaque, what + strlen(prefix),
				    control_number(count));
}

static void show_balloon_stats(struct control_call *call)
{
	struct device *balloon = find_balloon(call);
	struct stats_sink sink = { .row = add_guest_row };
	struct virtio_balloon_info info;

	if (!balloon)
		return;
	virtio_balloon_info(balloon, &info);
	sink.opaque = json_object();
	balloon->type->stats(balloon, &sink);
	call->result = json_pack("{s:o,s:o,s:o}", "target",
				 control_number(info.target), "actual",
				 control_number(info.actual), "guest",
				 sink.opaque);
}

/* ---- network ------------------------------------------------------------- */

static const struct control_arg link_args[] = {
	{ "name", CONTROL_STRING, CONTROL_REQUIRED },
	{ "up", CONTROL_BOOLEAN, CONTROL_REQUIRED },
	{ NULL, 0, 0 },
};

static void set_link(struct control_call *call)
{
	const char *name = control_string(call, "name");
	struct device *device = control_find_device(call, name);

	if (!device)
		return;
	if (device->type == &virtio_net_type)
		virtio_net_set_link(device, control_boolean(call, "up"));
	else
		control_fail(call, CONTROL_NO_DEVICE,
			     "Device '%s' is no network device", name);
}

static void show_devices(struct control_call *call)
{
	call->result = describe_devices(&call->vm->machine);
}

const struct control_command control_device_commands[] = {
	{ "balloon", balloon_args, set_balloon },
	{ "query-balloon", NULL, query_balloon },
	{ "set_link", link_args, set_link },
	{ "x-lkvm-balloon-stats", NULL, show_balloon_stats },
	{ "x-lkvm-devices", NULL, show_devices },
	{ "x-lkvm-stats", NULL, show_stats },
	{ NULL, NULL, NULL },
};
