/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libFuzzer target: the input is what a driver and clients of ports do to the
 * console device's control messages. A byte says what comes next; see step().
 * What must hold afterwards is checked against a second, simpler account.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/console.h>
#include <lkvm/util.h>

#define PORTS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct account {
	struct console_control control;
	bool added[PORTS], named[PORTS], open[PORTS];
};

static void must(bool true_or_dead)
{
	if (!true_or_dead)
		abort();
}

/* 5.3.6.2: what a device must not send; and what Linux would trip over. */
static void check_sent(struct account *a, const char *buf, size_t len)
{
	struct virtio_console_control message;
	uint32_t id;

	must(len >= sizeof(message) && len <= CONSOLE_CONTROL_MAX);
	memcpy(&message, buf, sizeof(message));
	id = le32toh(message.id);
	must(id < PORTS && a->control.port[id].name);
	switch (le16toh(message.event)) {
	case VIRTIO_CONSOLE_PORT_ADD:
		must(!a->added[id]);
		a->added[id] = true;
		break;
	case VIRTIO_CONSOLE_PORT_NAME:
		must(a->added[id] && !a->named[id]);
		must(len == sizeof(message) + strlen(a->control.port[id].name));
		a->named[id] = true;
		break;
	case VIRTIO_CONSOLE_PORT_OPEN:
		must(a->named[id] && le16toh(message.value) <= 1);
		a->open[id] = le16toh(message.value);
		break;
	default:
		abort();
	}
}

static bool send_one(struct account *a)
{
	/* Of its own size, so that a byte too much is noticed. */
	char *buf = malloc(CONSOLE_CONTROL_MAX);
	bool pending = console_control_pending(&a->control);
	size_t len = console_control_send(&a->control, buf);

	must(pending == (len != 0));
	if (len)
		check_sent(a, buf, len);
	free(buf);
	return len;
}

static void receive(struct account *a, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + !len);
	int err;

	memcpy(copy, data, len);
	err = console_control_receive(&a->control, copy, len);
	must((err == -EPROTO) == (len < 8));
	free(copy);
}

static void reset(struct account *a)
{
	console_control_reset(&a->control);
	memset(a->added, 0, sizeof(a->added));
	memset(a->named, 0, sizeof(a->named));
	memset(a->open, 0, sizeof(a->open));
	must(!console_control_pending(&a->control));
}

/* Returns the bytes that were used. */
static size_t step(struct account *a, const uint8_t *data, size_t size)
{
	unsigned int id = data[0] >> 2 & 1;
	size_t len;

	switch (data[0] & 3) {
	case 0: /* a message, shorter than it should be if the input ends */
		len = MIN(size - 1, 8);
		receive(a, data + 1, len);
		return 1 + len;
	case 1: /* a buffer for one */
		send_one(a);
		break;
	case 2: /* a client comes or goes */
		console_control_set_open(&a->control, 1 + 2 * id,
					 data[0] >> 3 & 1);
		break;
	case 3:
		if (data[0] == 0xff)
			reset(a);
		break;
	}
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char longest[] = "0123456789abcdef0123456789abcdef"
				      "0123456789abcdef0123456789abcdef";
	struct account a = {
		.control = {
			.nr_ports = PORTS,
			.port = { [1] = { .name = longest },
				  [3] = { .name = "a", .host_open = true } },
		},
	};

	while (size) {
		size_t used = step(&a, data, size);

		data += used;
		size -= used;
	}
	while (send_one(&a))
		;
	/* In the end the driver knows the truth of every port it has. */
	for (unsigned int id = 0; id < PORTS; id++)
		if (a.control.port[id].ready)
			must(a.open[id] == a.control.port[id].host_open);
	return 0;
}
