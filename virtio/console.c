/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Console device (virtio 1.2, 5.3): features, config space, control queues.
 * What passes through its ports stands in console-port.c, the protocol of the
 * control queues in console-control.c.
 *
 * An instance is either the console, with port 0 alone, or has named ports:
 * see console.h.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/console.h>
#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

#define CONSOLE_QUEUE_SIZE 128

/*
 * What a guest that has ended left in its queues is written out for so long at
 * most, and only while somebody reads it.
 */
#define CONSOLE_DRAIN_NS 30000000000ULL

/* The same when a running driver resets the device, and a vCPU waits. */
#define CONSOLE_RESET_DRAIN_NS 2000000000ULL

/*
 * Linux drops what comes while its driver makes hvc0. Then it looks at the
 * size, having been told of a change, and until it does input waits; for a
 * driver that never looks, this long.
 */
#define CONSOLE_LISTEN_NS 5000000000ULL

/* PCI Code and ID Assignment: simple communication controller, other. */
#define CONSOLE_PCI_CLASS 0x078000

_Static_assert(sizeof(struct virtio_console_config) == 12, "5.3.4");
_Static_assert(VIRTIO_MAX_PORTS == CONSOLE_MAX_PORTS - 1, "port 0");

static struct console *to_console(struct device *device)
{
	return container_of(device, struct console, vdev.device);
}

/* ---- control queues: the worker's thread --------------------------------- */

static int take_control_rx(struct virtio_worker *worker, struct virtq *vq)
{
	struct console *console = container_of(worker, struct console, worker);
	struct virtq_chain *chain = &console->chain;
	char message[CONSOLE_CONTROL_MAX];
	size_t len;
	int got;

	if (!console_control_pending(&console->control))
		return -EAGAIN;
	got = virtq_pop(vq, chain);
	if (got <= 0)
		return got;
	if (chain->out_count || chain->in_len < sizeof(message))
		return virtq_break(vq, "a buffer is not for control messages");
	len = console_control_send(&console->control, message);
	iov_from_buf(chain->iov, chain->in_count, 0, message, len);
	virtq_push(vq, chain->head, (uint32_t)len);
	return got;
}

static int take_control_tx(struct virtio_worker *worker, struct virtq *vq)
{
	struct console *console = container_of(worker, struct console, worker);
	struct virtq_chain *chain = &console->chain;
	struct virtio_console_control message;
	size_t len;
	int got = virtq_pop(vq, chain);
	int err;

	if (got <= 0)
		return got;
	len = iov_to_buf(chain->iov, chain->out_count, 0, &message,
			 sizeof(message));
	err = console_control_receive(&console->control, &message, len);
	/* It may be one that has an answer. */
	if (!err)
		virtio_worker_kick(worker,
				   &worker->vdev->queue[CONSOLE_CONTROL_RX]);
	if (err == -EPROTO || chain->in_count)
		return virtq_break(vq, "a control message is none");
	if (err)
		log_warn_limited(&console->warn, "console",
				 "%s: a control message of the guest's makes "
				 "no sense",
				 console->vdev.device.name);
	virtq_push(vq, chain->head, 0);
	return got;
}

static void kicked(struct virtio_worker *worker, struct virtq *vq)
{
	struct console *console = container_of(worker, struct console, worker);
	struct console_port *port =
		&console->port[console_port_of_queue(vq->index)];
	bool control = vq->index == CONSOLE_CONTROL_RX ||
		       vq->index == CONSOLE_CONTROL_TX;

	if (vq->index == CONSOLE_CONTROL_TX)
		virtio_worker_serve(worker, vq, take_control_tx);
	else if (vq->index == CONSOLE_CONTROL_RX)
		virtio_worker_serve(worker, vq, take_control_rx);
	else if (vq == port->rx)
		console_port_receive(port);
	else
		console_port_transmit(port);
	/* It may be time by now. */
	if (vq == port->tx && !port->id && !atomic_load(&console->listens))
		console_port_receive(port);
	/* Ports were opened, or told of; that may be what others wait for. */
	for (unsigned int i = 0; control && i < console->control.nr_ports; i++)
		console_port_receive(&console->port[i]);
}

static const struct virtio_worker_ops worker_ops = {
	.kicked = kicked,
};

/* ---- the device ---------------------------------------------------------- */

static int activate(struct virtio_device *vdev, uint64_t features)
{
	struct console *console = to_console(&vdev->device);
	bool looks = features & BIT_ULL(VIRTIO_CONSOLE_F_SIZE);
	int err;

	atomic_store(&console->listens, !looks);
	atomic_store(&console->listens_at, now_ns() + CONSOLE_LISTEN_NS);
	if (looks)
		timer_arm(console->listen_timer.fd, CONSOLE_LISTEN_NS);
	err = virtio_worker_activate(&console->worker);
	/* Linux looks at the size when it is told that it has changed. */
	if (!err && looks)
		virtio_device_config_changed(vdev);
	return err;
}

static void config_was_read(struct virtio_device *vdev, unsigned int offset,
			    unsigned int len)
{
	struct console *console = to_console(&vdev->device);
	unsigned int at = offsetof(struct virtio_console_config, cols);

	if (offset <= at && at - offset < len &&
	    !atomic_exchange(&console->listens, true))
		virtio_worker_kick(&console->worker, console->port[0].rx);
}

/* The guest may say nothing for ever, and nothing else be typed. */
static void on_listen_timer(void *opaque, uint32_t events)
{
	struct console *console = opaque;
	uint64_t expirations;

	(void)events;
	(void)!read(console->listen_timer.fd, &expirations,
		    sizeof(expirations));
	virtio_worker_kick(&console->worker, console->port[0].rx);
}

struct drain {
	struct console *console;
	uint64_t until; /* now_ns() */
};

static void drain_on_thread(void *opaque)
{
	const struct drain *drain = opaque;

	for (unsigned int i = 0; i < drain->console->control.nr_ports; i++)
		console_port_drain(&drain->console->port[i], drain->until);
}

/*
 * What the guest wrote before it powered off or reset has left it, as far as
 * its programs know, but may be in a queue still. Waits for at most @ns.
 */
static void drain(struct console *console, uint64_t ns)
{
	struct drain drain = { .console = console, .until = now_ns() + ns };

	io_thread_call(console->worker.thread, drain_on_thread, &drain);
}

static void deactivate(struct virtio_device *vdev)
{
	struct console *console = to_console(&vdev->device);

	/* Linux resets its devices before it powers off. */
	if (console->worker.started)
		drain(console, CONSOLE_RESET_DRAIN_NS);
	virtio_worker_deactivate(&console->worker);
	console_control_reset(&console->control);
	for (unsigned int i = 0; i < console->control.nr_ports; i++)
		console->port[i].tx_done = 0;
}

/* 5.3.5.1: works at any time, whatever state the device is in. */
static void config_write(struct virtio_device *vdev, unsigned int offset,
			 const void *data, unsigned int len)
{
	unsigned int at = offsetof(struct virtio_console_config, emerg_wr);
	struct chardev *chardev = to_console(&vdev->device)->port[0].chardev;

	if (chardev && offset <= at && at - offset < len)
		chardev->ops->write(chardev, (const char *)data + at - offset,
				    1);
}

static const struct virtio_device_ops console_ops = {
	.id = VIRTIO_ID_CONSOLE,
	.pci_class = CONSOLE_PCI_CLASS,
	.activate = activate,
	.deactivate = deactivate,
	.handle_queue = virtio_device_kick,
	.config_write = config_write,
	.config_was_read = config_was_read,
};

void console_resize(struct console *console, uint16_t cols, uint16_t rows)
{
	struct virtio_console_config *config =
		(struct virtio_console_config *)console->vdev.config;

	pthread_mutex_lock(&console->vdev.lock);
	config->cols = htole16(cols);
	config->rows = htole16(rows);
	virtio_device_config_changed(&console->vdev);
	pthread_mutex_unlock(&console->vdev.lock);
}

static void console_stats(struct device *device, struct stats_sink *sink)
{
	const struct console *console = to_console(device);

	for (unsigned int i = 0; i < console->control.nr_ports; i++) {
		const struct console_port *port = &console->port[i];
		const char *who = i ? port->name : device->name;

		if (!port->chardev)
			continue;
		stats_count(sink, who, "bytes-in",
			    atomic_load(&port->in_bytes));
		stats_count(sink, who, "bytes-out",
			    atomic_load(&port->out_bytes));
		stats_count(sink, who, "waits-out",
			    atomic_load(&port->out_waits));
	}
}

/* ---- life ---------------------------------------------------------------- */

static void start_on_thread(void *opaque)
{
	struct console *console = opaque;
	struct loop *loop = virtio_worker_loop(&console->worker);

	for (unsigned int i = 0; i < console->control.nr_ports; i++) {
		struct console_port *port = &console->port[i];
		int err = port->stream ? stream_start(port->stream, loop) : 0;

		if (err)
			log_err("console", "port %s: cannot watch it: %s",
				port->name, strerror(-err));
	}
	if (console->listen_timer.fd >= 0 &&
	    loop_add(loop, &console->listen_timer, EPOLLIN))
		log_err("console", "cannot watch the console's timer");
}

static void console_reset(struct device *device)
{
	struct console *console = to_console(device);

	if (console->vdev.active)
		drain(console, CONSOLE_DRAIN_NS);
	virtio_device_machine_reset(device);
}

static void stop_on_thread(void *opaque)
{
	struct console *console = opaque;

	for (unsigned int i = 0; i < console->control.nr_ports; i++)
		if (console->port[i].stream)
			stream_stop(console->port[i].stream);
	if (console->listen_timer.fd >= 0)
		loop_del(virtio_worker_loop(&console->worker),
			 &console->listen_timer);
}

static void release_host_ends(struct console *console)
{
	for (unsigned int i = 0; i < console->control.nr_ports; i++) {
		struct console_port *port = &console->port[i];

		console_port_release(port);
		stream_close(port->stream);
	}
	if (console->listen_timer.fd >= 0)
		close(console->listen_timer.fd);
}

static void console_destroy(struct device *device)
{
	struct console *console = to_console(device);

	if (console->vdev.active)
		drain(console, CONSOLE_DRAIN_NS);
	/* A guest need not have reset its devices before it went. */
	virtio_device_set_status(&console->vdev, 0);
	io_thread_call(console->worker.thread, stop_on_thread, console);
	virtio_worker_destroy(&console->worker);
	release_host_ends(console);
	virtio_device_release(&console->vdev);
	free(console);
}

/* Port @id as the user asked for it. */
static int open_port(struct console *console, unsigned int id,
		     const struct virtio_port_options *options)
{
	struct console_port *port = &console->port[id];
	char who[sizeof(port->name) + 8];
	int err = 0;

	snprintf(port->name, sizeof(port->name), "%s", options->name);
	snprintf(who, sizeof(who), "port %s", port->name);
	console->control.port[id].name = port->name;
	if (options->chardev) {
		console_port_attach(port, options->chardev);
		return 0;
	}
	if (!strcmp(options->to, "stdio")) {
		console_port_attach(port, console->vdev.machine->console);
		return 0;
	}
	err = stream_open(who, options->to, options->from, &port->stream);
	if (!err)
		console_port_attach(port, stream_chardev(port->stream));
	return err;
}

static int open_ports(struct console *console,
		      const struct virtio_console_options *options)
{
	int err = 0;

	if (options->console) {
		console->listen_timer.fd = timerfd_create(
			CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
		if (console->listen_timer.fd < 0)
			return -errno;
		console_port_attach(&console->port[0],
				    console->vdev.machine->console);
	}
	for (unsigned int i = 0; i < options->nr_ports && !err; i++)
		err = open_port(console, i + 1, &options->port[i]);
	return err;
}

static int start_worker(struct console *console)
{
	const char *name = console->vdev.device.name;
	char thread[sizeof(console->vdev.device.name) + 4];
	int err;

	snprintf(thread, sizeof(thread), "io-%s", name);
	err = virtio_worker_create(&console->worker, &console->vdev,
				   &worker_ops, thread, 0,
				   console->vdev.nr_queues);
	if (err)
		log_err("console", "cannot start %s: %s", name, strerror(-err));
	return err;
}

static void set_name(char name[16],
		     const struct virtio_console_options *options)
{
	snprintf(name, 16, "%s",
		 options->console ? "hvc0" : options->name ?: "ports");
}

static void init_console(struct console *console, struct machine *machine,
			 const struct virtio_console_options *options)
{
	const struct virtio_console_config config = {
		.max_nr_ports = htole32(options->nr_ports + 1),
	};
	uint64_t features = BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT);
	unsigned int queues = console_tx_queue(options->nr_ports) + 1;

	if (options->console)
		features = BIT_ULL(VIRTIO_CONSOLE_F_SIZE) |
			   BIT_ULL(VIRTIO_CONSOLE_F_EMERG_WRITE);
	set_name(console->vdev.device.name, options);
	if (options->packed)
		features |= BIT_ULL(VIRTIO_F_RING_PACKED);
	memcpy(console->vdev.config, &config, sizeof(config));
	console->vdev.config_len = sizeof(config);
	virtio_device_init(&console->vdev, machine, &virtio_console_type,
			   &console_ops, features, queues, CONSOLE_QUEUE_SIZE);
	console->control.nr_ports = options->nr_ports + 1;
	console->listen_timer = (struct loop_source) {
		.fd = -1,
		.ready = on_listen_timer,
		.opaque = console,
	};
	for (unsigned int i = 0; i < console->control.nr_ports; i++)
		console_port_init(&console->port[i], console, i);
}

static int console_create(struct machine *machine, const void *config,
			  struct device **out)
{
	const struct virtio_console_options *options = config;
	struct console *console = calloc(1, sizeof(*console));
	int err;

	if (!console)
		return -ENOMEM;
	init_console(console, machine, options);
	err = open_ports(console, options);
	if (err)
		goto release;
	err = start_worker(console);
	if (err)
		goto release;
	err = virtio_device_plug(&console->vdev);
	if (err)
		goto destroy_worker;
	io_thread_call(console->worker.thread, start_on_thread, console);
	*out = &console->vdev.device;
	return 0;

destroy_worker:
	virtio_worker_destroy(&console->worker);
release:
	release_host_ends(console);
	virtio_device_release(&console->vdev);
	free(console);
	return err;
}

static int console_plan(const struct machine *machine, const void *config,
			struct device_plan *plan)
{
	const struct virtio_console_options *options = config;

	(void)machine;
	set_name(plan->name, options);
	plan->ops = &console_ops;
	for (unsigned int i = 0; i < options->nr_ports; i++) {
		device_plan_file(plan, options->port[i].to, "port");
		device_plan_file(plan, options->port[i].from, "read");
	}
	return 0;
}

/* ---- options ------------------------------------------------------------- */

/* It becomes a file's name in the guest. */
static bool good_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";
	size_t len = strlen(name);

	return len <= CONSOLE_NAME_MAX && strspn(name, allowed) == len &&
	       name[0] != '.';
}

int virtio_port_check(const struct virtio_console_options *ports)
{
	const struct virtio_port_options *port =
		&ports->port[ports->nr_ports - 1];

	if (!port->name || !port->to) {
		log_err("console", "--port: %s= is missing",
			port->name ? "to" : "name");
		return -EINVAL;
	}
	if (!good_name(port->name)) {
		log_err("console",
			"--port: bad name '%s': use at most %u letters, "
			"digits, '.', '_' or '-', and no '.' first",
			port->name, CONSOLE_NAME_MAX);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < ports->nr_ports - 1; i++)
		if (!strcmp(ports->port[i].name, port->name)) {
			log_err("console", "--port: there are two ports %s",
				port->name);
			return -EINVAL;
		}
	if (!strcmp(port->to, "stdio") && port->from) {
		log_err("console",
			"port %s: input comes from stdio, and cannot come "
			"from %s",
			port->name, port->from);
		return -EINVAL;
	}
	return 0;
}

const struct option_desc virtio_port_keys[] = {
	{ OPTION_STRING, 0, "name", "NAME",
	  "of the port: letters, digits, '.', '_' and '-'",
	  .offset = offsetof(struct virtio_port_options, name) },
	{ OPTION_STRING, 0, "to", "WHERE",
	  "file:PATH, fd:N, pipe:PATH, pty[:LINK], unix:PATH, stdio or null",
	  .offset = offsetof(struct virtio_port_options, to) },
	{ OPTION_STRING, 0, "from", "PATH",
	  "with to=file, fd or null: a file that the guest reads",
	  .offset = offsetof(struct virtio_port_options, from) },
	{ .kind = OPTION_END },
};

/* ---- state --------------------------------------------------------------- */

#define QUEUE_STATE(n) VIRTIO_QUEUE_STATE(struct console, n, CONSOLE_QUEUE_SIZE)

/* Port @n and its queues @rx and @rx + 1. */
#define PORT_STATE(n, rx)                                                      \
	STATE_FIELD(struct console, control.port[n].added, 1, 0),              \
		STATE_FIELD(struct console, control.port[n].ready, 1, 0),      \
		STATE_FIELD(struct console, control.port[n].guest_open, 1, 0), \
		STATE_FIELD(struct console, control.port[n].pending, 1, 0),    \
		STATE_FIELD(struct console, port[n].tx_done, 1, 0),            \
		QUEUE_STATE(rx), QUEUE_STATE((rx) + 1)

static const struct state_field console_fields[] = {
	VIRTIO_STATE(struct console),
	STATE_FIELD(struct console, control.ready, 1, 0),
	STATE_FIELD(struct console, listens, 1, 0),
	QUEUE_STATE(CONSOLE_CONTROL_RX),
	QUEUE_STATE(CONSOLE_CONTROL_TX),
	PORT_STATE(0, 0),
	PORT_STATE(1, 4),
	PORT_STATE(2, 6),
	PORT_STATE(3, 8),
	PORT_STATE(4, 10),
	PORT_STATE(5, 12),
	PORT_STATE(6, 14),
	PORT_STATE(7, 16),
	PORT_STATE(8, 18),
	PORT_STATE(9, 20),
	PORT_STATE(10, 22),
	PORT_STATE(11, 24),
	PORT_STATE(12, 26),
	PORT_STATE(13, 28),
	PORT_STATE(14, 30),
	STATE_END,
};

static const struct state_table console_state = {
	.name = "virtio-console",
	.version = 1,
	.fields = console_fields,
};

const struct device_type virtio_console_type = {
	.name = "virtio-console",
	.config_size = sizeof(struct virtio_console_options),
	.create = console_create,
	.plan = console_plan,
	.destroy = console_destroy,
	.reset = console_reset,
	.quiesce = virtio_device_quiesce,
	.resume = virtio_device_resume,
	.stats = console_stats,
	.state = &console_state,
};
