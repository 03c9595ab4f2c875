/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The console device's control messages (virtio 1.2, 5.3.6.2), without the
 * queues that carry them.
 *
 * Nothing is queued here: what the driver is to be told of a port is a bit,
 * and the message is made when there is a buffer for it. So a driver that
 * asks and asks, and gives no buffers, fills no memory.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <string.h>

#include <lkvm/console.h>
#include <lkvm/util.h>

_Static_assert(sizeof(struct virtio_console_control) == 8, "5.3.6.2");

void console_control_reset(struct console_control *control)
{
	control->ready = false;
	for (unsigned int i = 0; i < control->nr_ports; i++) {
		struct console_control_port *port = &control->port[i];

		port->added = false;
		port->ready = false;
		port->guest_open = false;
		port->pending = 0;
	}
}

/* ---- from the driver ----------------------------------------------------- */

/* 5.3.6.2: a port that exists is not added again, whatever the driver says. */
static int driver_ready(struct console_control *control, uint16_t value)
{
	if (value != 1 || control->ready)
		return -EINVAL;
	control->ready = true;
	for (unsigned int i = 0; i < control->nr_ports; i++)
		if (control->port[i].name)
			control->port[i].pending = BIT(CONSOLE_TELL_ADD);
	return 0;
}

static int port_ready(struct console_control_port *port, uint16_t value)
{
	/* 0: the driver could not make it; then it stays closed. */
	if (value != 1 || !port->added || port->ready)
		return -EINVAL;
	port->ready = true;
	port->pending |= BIT(CONSOLE_TELL_NAME);
	if (port->host_open)
		port->pending |= BIT(CONSOLE_TELL_OPEN);
	return 0;
}

static int port_open(struct console_control_port *port, uint16_t value)
{
	if (!port->ready || value > 1)
		return -EINVAL;
	port->guest_open = value;
	return 0;
}

int console_control_receive(struct console_control *control, const void *data,
			    size_t len)
{
	struct virtio_console_control message;
	uint32_t id;
	uint16_t event, value;

	if (len < sizeof(message))
		return -EPROTO;
	memcpy(&message, data, sizeof(message));
	id = le32toh(message.id);
	event = le16toh(message.event);
	value = le16toh(message.value);
	if (event == VIRTIO_CONSOLE_DEVICE_READY)
		return driver_ready(control, value);
	if (id >= control->nr_ports)
		return -EINVAL;
	switch (event) {
	case VIRTIO_CONSOLE_PORT_READY:
		return port_ready(&control->port[id], value);
	case VIRTIO_CONSOLE_PORT_OPEN:
		return port_open(&control->port[id], value);
	}
	return -EINVAL;
}

/* ---- to the driver ------------------------------------------------------- */

bool console_control_pending(const struct console_control *control)
{
	for (unsigned int i = 0; i < control->nr_ports; i++)
		if (control->port[i].pending)
			return true;
	return false;
}

static const uint16_t events[CONSOLE_MESSAGES] = {
	[CONSOLE_TELL_ADD] = VIRTIO_CONSOLE_PORT_ADD,
	[CONSOLE_TELL_NAME] = VIRTIO_CONSOLE_PORT_NAME,
	[CONSOLE_TELL_OPEN] = VIRTIO_CONSOLE_PORT_OPEN,
};

static size_t put_message(struct console_control_port *port, unsigned int id,
			  void *buf)
{
	enum console_message what = __builtin_ctz(port->pending);
	const struct virtio_console_control message = {
		.id = htole32(id),
		.event = htole16(events[what]),
		.value = htole16(what == CONSOLE_TELL_OPEN ? port->host_open :
							     1),
	};
	size_t len = 0;

	port->pending &= ~BIT(what);
	if (what == CONSOLE_TELL_ADD)
		port->added = true;
	/* 5.3.6.2: a name follows its message, without its NUL. */
	if (what == CONSOLE_TELL_NAME)
		len = strnlen(port->name, CONSOLE_NAME_MAX);
	memcpy(buf, &message, sizeof(message));
	memcpy((char *)buf + sizeof(message), port->name, len);
	return sizeof(message) + len;
}

size_t console_control_send(struct console_control *control, void *buf)
{
	for (unsigned int i = 0; i < control->nr_ports; i++)
		if (control->port[i].pending)
			return put_message(&control->port[i], i, buf);
	return 0;
}

void console_control_set_open(struct console_control *control, unsigned int id,
			      bool open)
{
	struct console_control_port *port = &control->port[id];

	if (port->ready && port->host_open != open)
		port->pending |= BIT(CONSOLE_TELL_OPEN);
	port->host_open = open;
}

bool console_control_pending_open(const struct console_control *control,
				  unsigned int id)
{
	return control->port[id].pending & BIT(CONSOLE_TELL_OPEN);
}
