/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commands of the control socket for disks: what they are, what they have
 * done, their sizes and rate limits. See docs/control.md.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/control-parts.h>
#include <lkvm/describe.h>
#include <lkvm/virtio.h>
#include <lkvm/vm.h>

/* ---- questions ----------------------------------------------------------- */

static json_t *describe_image(const struct virtio_blk_info *info)
{
	return json_pack("{s:o,s:s,s:o}", "filename", describe_text(info->path),
			 "format", info->format, "virtual-size",
			 control_number(info->bytes));
}

/* As QEMU does, only where there is one. */
static void add_burst(json_t *inserted, const char *max, const char *length,
		      const struct throttle_limit *limit)
{
	if (!limit->max)
		return;
	json_object_set_new(inserted, max, control_number(limit->max));
	json_object_set_new(inserted, length, control_number(limit->seconds));
}

/* Members that QMP's clients count on, whether there is such a thing or not. */
static json_t *describe_inserted(const char *name,
				 const struct virtio_blk_info *info)
{
	const struct throttle_limits *limits = &info->limits;
	json_t *inserted = json_pack(
		"{s:o,s:s,s:b,s:s,s:b,s:i,s:o,s:i,s:i,s:o,s:i,s:i,s:s,s:i,"
		"s:{s:b,s:b,s:b},s:o}",
		"file", describe_text(info->path), "node-name", name, "ro",
		info->read_only, "drv", info->format, "encrypted", 0,
		"backing_file_depth", 0, "bps",
		control_number(limits->bytes.rate), "bps_rd", 0, "bps_wr", 0,
		"iops", control_number(limits->requests.rate), "iops_rd", 0,
		"iops_wr", 0, "detect_zeroes", "off", "write_threshold", 0,
		"cache", "writeback", 1, "direct", info->direct, "no-flush",
		info->no_flush, "image", describe_image(info));

	add_burst(inserted, "bps_max", "bps_max_length", &limits->bytes);
	add_burst(inserted, "iops_max", "iops_max_length", &limits->requests);
	return inserted;
}

static json_t *describe_disk(struct device *device)
{
	struct virtio_blk_info info;

	virtio_blk_info(device, &info);
	return json_pack("{s:s,s:s,s:o,s:b,s:b,s:s,s:o}", "device",
			 device->name, "qdev", device->name, "serial",
			 describe_text(info.serial), "locked", 0, "removable",
			 0, "type", "unknown", "inserted",
			 describe_inserted(device->name, &info));
}

static json_t *describe_counts(const struct virtio_blk_info *info)
{
	return json_pack(
		"{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
		"rd_operations", control_number(info->read.requests),
		"rd_bytes", control_number(info->read.bytes),
		"rd_total_time_ns", control_number(info->read.ns),
		"wr_operations", control_number(info->write.requests),
		"wr_bytes", control_number(info->write.bytes),
		"wr_total_time_ns", control_number(info->write.ns),
		"flush_operations", control_number(info->flush.requests),
		"flush_total_time_ns", control_number(info->flush.ns),
		"unmap_operations", control_number(info->discard.requests),
		"unmap_bytes", control_number(info->discard.bytes),
		"unmap_total_time_ns", control_number(info->discard.ns),
		"x-lkvm-failed_operations", control_number(info->errors));
}

static json_t *describe_stats(struct device *device)
{
	struct virtio_blk_info info;

	virtio_blk_info(device, &info);
	return json_pack("{s:s,s:s,s:s,s:o}", "device", device->name, "qdev",
			 device->name, "node-name", device->name, "stats",
			 describe_counts(&info));
}

static void list_disks(struct control_call *call,
		       json_t *(*describe)(struct device *device))
{
	call->result = json_array();
	for (struct device *d = call->vm->machine.devices; d; d = d->next)
		if (d->type == &virtio_blk_type &&
		    json_array_append_new(call->result, describe(d)))
			control_fail(call, CONTROL_GENERIC, "out of memory");
}

static void query_block(struct control_call *call)
{
	list_disks(call, describe_disk);
}

static void query_blockstats(struct control_call *call)
{
	list_disks(call, describe_stats);
}

/* ---- changes ------------------------------------------------------------- */

/* The disk that argument @key or @other names; NULL after control_fail(). */
static struct device *find_disk(struct control_call *call, const char *key,
				const char *other)
{
	const char *name = control_string(call, key);
	struct device *device;

	if (!name)
		name = control_string(call, other);
	if (!name) {
		control_fail(call, CONTROL_GENERIC, "Parameter '%s' is missing",
			     key);
		return NULL;
	}
	device = control_find_device(call, name);
	if (device && device->type != &virtio_blk_type) {
		control_fail(call, CONTROL_NO_DEVICE, "Device '%s' is no disk",
			     name);
		return NULL;
	}
	return device;
}

static const struct control_arg resize_args[] = {
	{ "device", CONTROL_STRING, CONTROL_OPTIONAL },
	{ "node-name", CONTROL_STRING, CONTROL_OPTIONAL },
	{ "size", CONTROL_INTEGER, CONTROL_REQUIRED },
	{ NULL, 0, 0 },
};

static void resize(struct control_call *call)
{
	struct device *disk = find_disk(call, "device", "node-name");
	uint64_t size = control_integer(call, "size", 0);
	int err = disk ? virtio_blk_resize_to(disk, size) : 0;

	if (err == -ENOTSUP)
		control_fail(call, CONTROL_GENERIC,
			     "%s can only grow, and only without snapshots of "
			     "version 2, a larger backing file and data past "
			     "its end",
			     disk->name);
	else if (err == -ERANGE)
		control_fail(call, CONTROL_GENERIC,
			     "%s cannot have %" PRIu64 " bytes: its L1 table "
			     "has no room (stop the VM and use qemu-img "
			     "resize)",
			     disk->name, size);
	else if (err)
		control_fail(call, CONTROL_GENERIC,
			     "%s cannot have %" PRIu64 " bytes: %s", disk->name,
			     size, strerror(-err));
}

static const struct control_arg throttle_args[] = {
	{ "device", CONTROL_STRING, CONTROL_OPTIONAL },
	{ "id", CONTROL_STRING, CONTROL_OPTIONAL },
	{ "bps", CONTROL_INTEGER, CONTROL_REQUIRED },
	{ "bps_rd", CONTROL_INTEGER, CONTROL_REQUIRED },
	{ "bps_wr", CONTROL_INTEGER, CONTROL_REQUIRED },
	{ "iops", CONTROL_INTEGER, CONTROL_REQUIRED },
	{ "iops_rd", CONTROL_INTEGER, CONTROL_REQUIRED },
	{ "iops_wr", CONTROL_INTEGER, CONTROL_REQUIRED },
	{ "bps_max", CONTROL_INTEGER, CONTROL_OPTIONAL },
	{ "bps_rd_max", CONTROL_INTEGER, CONTROL_OPTIONAL },
	{ "bps_wr_max", CONTROL_INTEGER, CONTROL_OPTIONAL },
	{ "iops_max", CONTROL_INTEGER, CONTROL_OPTIONAL },
	{ "iops_rd_max", CONTROL_INTEGER, CONTROL_OPTIONAL },
	{ "iops_wr_max", CONTROL_INTEGER, CONTROL_OPTIONAL },
	{ "bps_max_length", CONTROL_INTEGER, CONTROL_OPTIONAL },
	{ "iops_max_length", CONTROL_INTEGER, CONTROL_OPTIONAL },
	{ NULL, 0, 0 },
};

/* The limit of arguments @name, @name_max and @name_max_length. */
static struct throttle_limit get_limit(struct control_call *call,
				       const char *name)
{
	struct throttle_limit limit;
	char max[16], length[24];

	snprintf(max, sizeof(max), "%s_max", name);
	snprintf(length, sizeof(length), "%s_max_length", name);
	limit.rate = control_integer(call, name, 0);
	limit.max = control_integer(call, max, 0);
	limit.seconds = control_integer(call, length, 1);
	if (!limit.seconds || (limit.seconds > 1 && !limit.max))
		control_fail(call, CONTROL_GENERIC,
			     "Parameter '%s' expects a number of seconds, for "
			     "'%s'",
			     length, max);
	if (limit.max && (!limit.rate || limit.max < limit.rate))
		control_fail(call, CONTROL_GENERIC,
			     "Parameter '%s' expects '%s' and no less", max,
			     name);
	if ((unsigned __int128)limit.max * limit.seconds >
	    (unsigned __int128)limit.rate * THROTTLE_BURST_SECONDS)
		control_fail(call, CONTROL_GENERIC,
			     "Parameter '%s' expects a burst that '%s' makes "
			     "up for within a day",
			     max, name);
	return limit;
}

/* Reads and writes share their limits here. */
static void throttle(struct control_call *call)
{
	static const char *const others[] = { "bps_rd",	     "bps_wr",
					      "iops_rd",     "iops_wr",
					      "bps_rd_max",  "bps_wr_max",
					      "iops_rd_max", "iops_wr_max" };
	const struct throttle_limits limits = {
		.requests = get_limit(call, "iops"),
		.bytes = get_limit(call, "bps"),
	};
	struct device *disk = find_disk(call, "id", "device");

	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++)
		if (control_integer(call, others[i], 0))
			control_fail(call, CONTROL_GENERIC,
				     "Parameter '%s' expects 0: reads and "
				     "writes have their limits together",
				     others[i]);
	if (disk && !call->error_class)
		virtio_blk_set_limits(disk, &limits);
}

const struct control_command control_block_commands[] = {
	{ "query-block", NULL, query_block },
	{ "query-blockstats", NULL, query_blockstats },
	{ "block_resize", resize_args, resize },
	{ "block_set_io_throttle", throttle_args, throttle },
	{ NULL, NULL, NULL },
};
