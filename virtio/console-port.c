/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The console device's ports: bytes between their queues (virtio 1.2, 5.3.6)
 * and their host ends, with back-pressure both ways.
 *
 * A chain that the host end has taken only a part of is given back to the
 * queue, and the part is remembered: so nothing is in flight when the device
 * is stopped, and nothing is lost when it goes on.
 */
#include <errno.h>
#include <string.h>

#include <lkvm/console.h>
#include <lkvm/util.h>

/* ---- the host's side: its thread ----------------------------------------- */

static size_t from_host(void *opaque, const void *data, size_t len)
{
	struct console_port *port = opaque;
	size_t taken = 0;
	bool first;

	pthread_mutex_lock(&port->lock);
	first = !port->in.len;
	/* The next client's bytes are kept apart from the last one's. */
	if (!port->closing)
		taken = ring_put(&port->in, data, len);
	port->starved = taken < len;
	pthread_mutex_unlock(&port->lock);
	if (first && taken)
		virtio_worker_kick(&port->console->worker, port->rx);
	return taken;
}

static void host_writable(void *opaque)
{
	struct console_port *port = opaque;

	virtio_worker_kick(&port->console->worker, port->tx);
}

static void host_connected(void *opaque, bool connected)
{
	struct console_port *port = opaque;

	pthread_mutex_lock(&port->lock);
	if (!connected)
		port->closing = true;
	port->opening = connected;
	pthread_mutex_unlock(&port->lock);
	virtio_worker_kick(&port->console->worker, port->rx);
}

/* 5.3.6: of port 0, told by the config space. */
static void host_resized(void *opaque, uint16_t cols, uint16_t rows)
{
	struct console_port *port = opaque;

	console_resize(port->console, cols, rows);
}

static const struct chardev_frontend_ops frontend_ops = {
	.receive = from_host,
	.writable = host_writable,
	.connected = host_connected,
	.resized = host_resized,
};

/* ---- the guest's side: the worker's thread ------------------------------- */

static struct console_port *port_of(struct virtio_worker *worker,
				    struct virtq *vq)
{
	struct console *console = container_of(worker, struct console, worker);

	return &console->port[console_port_of_queue(vq->index)];
}

static bool guest_open(const struct console_port *port)
{
	const struct console *console = port->console;

	if (port->id)
		return console->control.port[port->id].guest_open;
	return atomic_load(&console->listens) ||
	       now_ns() >= atomic_load(&console->listens_at);
}

/*
 * Tell the state machine of control messages what has become of the host end;
 * first that a client has gone, and when that is on its way to the driver, of
 * the next one. Is there a message now that there was not?
 */
static bool update_connection(struct console_port *port)
{
	struct console_control *control = &port->console->control;
	bool old = console_control_pending_open(control, port->id);
	bool wanted = false;

	pthread_mutex_lock(&port->lock);
	if (port->closing && !port->in.len) {
		port->closing = false;
		wanted = port->starved;
		port->starved = false;
		console_control_set_open(control, port->id, false);
	}
	if (port->opening && !port->closing &&
	    !console_control_pending_open(control, port->id)) {
		port->opening = false;
		console_control_set_open(control, port->id, true);
	}
	pthread_mutex_unlock(&port->lock);
	if (wanted)
		port->chardev->ops->input_wanted(port->chardev);
	return !old && console_control_pending_open(control, port->id);
}

void console_port_update(struct console_port *port)
{
	struct console *console = port->console;

	if (!port->id || !port->chardev)
		return;
	/* Old messages wait for the driver's buffers, not for a turn. */
	if (update_connection(port))
		virtio_worker_kick(&console->worker,
				   &console->vdev.queue[CONSOLE_CONTROL_RX]);
}

/* Move input into the chain; returns how much. */
static uint32_t fill(struct console_port *port, const struct virtq_chain *chain)
{
	size_t done = 0;
	bool wanted;

	pthread_mutex_lock(&port->lock);
	for (unsigned int i = 0; i < chain->in_count && port->in.len; i++) {
		char *to = chain->iov[i].iov_base;
		size_t left = chain->iov[i].iov_len;

		while (left && port->in.len) {
			const char *data;
			size_t len = MIN(ring_peek(&port->in, &data), left);

			memcpy(to, data, len);
			ring_drop(&port->in, len);
			to += len;
			left -= len;
			done += len;
		}
	}
	wanted = port->starved && !port->closing &&
		 port->in.len <= RING_BYTES / 2;
	if (wanted)
		port->starved = false;
	pthread_mutex_unlock(&port->lock);
	if (wanted)
		port->chardev->ops->input_wanted(port->chardev);
	return (uint32_t)done;
}

static bool has_input(struct console_port *port)
{
	bool has;

	pthread_mutex_lock(&port->lock);
	has = port->in.len;
	pthread_mutex_unlock(&port->lock);
	return has;
}

static int take_receive(struct virtio_worker *worker, struct virtq *vq)
{
	struct console_port *port = port_of(worker, vq);
	struct virtq_chain *chain = &port->console->chain;
	uint32_t done;
	int got;

	/* Linux drops what comes while nobody has the port open. */
	if (!guest_open(port) || !has_input(port))
		return -EAGAIN;
	got = virtq_pop(vq, chain);
	if (got <= 0)
		return got;
	/* 5.3.6.1 */
	if (chain->out_count || !chain->in_len)
		return virtq_break(vq, "a receive buffer is not for input");
	done = fill(port, chain);
	virtq_push(vq, chain->head, done);
	counter_add(&port->in_bytes, done);
	return got;
}

void console_port_receive(struct console_port *port)
{
	virtio_worker_serve(&port->console->worker, port->rx, take_receive);
	console_port_update(port);
}

/* Offer the chain's bytes from @done on; returns up to where they were taken. */
static uint32_t drain(struct console_port *port,
		      const struct virtq_chain *chain, uint32_t done)
{
	uint64_t at = 0;

	for (unsigned int i = 0; i < chain->out_count; i++) {
		const char *data = chain->iov[i].iov_base;
		size_t len = chain->iov[i].iov_len;
		size_t skip = done - MIN(at, done);
		size_t taken;

		at += len;
		if (skip >= len)
			continue;
		taken = port->chardev->ops->write(port->chardev, data + skip,
						  len - skip);
		done += (uint32_t)taken;
		if (taken < len - skip)
			break;
	}
	return done;
}

static int take_transmit(struct virtio_worker *worker, struct virtq *vq)
{
	struct console_port *port = port_of(worker, vq);
	struct virtq_chain *chain = &port->console->chain;
	int got = virtq_pop(vq, chain);
	uint32_t done;

	if (got <= 0)
		return got;
	/* 5.3.6.1 */
	if (chain->in_count)
		return virtq_break(vq, "a transmit buffer is not for output");
	done = port->chardev ? drain(port, chain, port->tx_done) :
			       (uint32_t)chain->out_len;
	counter_add(&port->out_bytes, done - port->tx_done);
	port->tx_done = 0;
	if (done >= chain->out_len) {
		virtq_push(vq, chain->head, 0);
		return got;
	}
	port->tx_done = done;
	virtq_unpop(vq, chain->head);
	counter_add(&port->out_waits, 1);
	return -EAGAIN;
}

void console_port_transmit(struct console_port *port)
{
	virtio_worker_serve(&port->console->worker, port->tx, take_transmit);
}

void console_port_drain(struct console_port *port, uint64_t until)
{
	struct virtio_worker *worker = &port->console->worker;
	int got = 1;

	if (!port->stream)
		return;
	while (now_ns() < until &&
	       (got > 0 || (got == -EAGAIN && stream_flush(port->stream))))
		got = take_transmit(worker, port->tx);
}

/* ---- life ---------------------------------------------------------------- */

void console_port_init(struct console_port *port, struct console *console,
		       unsigned int id)
{
	port->console = console;
	port->id = id;
	port->rx = &console->vdev.queue[console_rx_queue(id)];
	port->tx = &console->vdev.queue[console_tx_queue(id)];
	pthread_mutex_init(&port->lock, NULL);
}

void console_port_attach(struct console_port *port, struct chardev *chardev)
{
	port->chardev = chardev;
	port->console->control.port[port->id].host_open = chardev->connected;
	chardev->opaque = port;
	chardev->frontend = &frontend_ops;
}

void console_port_release(struct console_port *port)
{
	if (port->chardev)
		port->chardev->frontend = NULL;
	pthread_mutex_destroy(&port->lock);
}
