/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The console device's own: its protocol of control messages (virtio 1.2,
 * 5.3.6.2) as a state machine that knows no queue, and its ports.
 *
 * There are two kinds of instances. The console has port 0 alone and no
 * control queues, so that its size stands in the config space: in the message
 * that tells of it otherwise, kernels disagree on which of the two numbers
 * comes first. The other has named ports from 1 on, and no port 0, which
 * drivers take for a console.
 */
#ifndef LKVM_CONSOLE_H
#define LKVM_CONSOLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/chardev.h>
#include <lkvm/ring.h>
#include <lkvm/stream.h>
#include <lkvm/virtio.h>
#include <lkvm/worker.h>

/* Two queues each, and two for control (5.3.2). */
#define CONSOLE_MAX_PORTS ((VIRTIO_MAX_QUEUES - 2) / 2)

#define CONSOLE_NAME_MAX 64

/* ---- control messages (console-control.c) -------------------------------- */

/* What the driver is still to be told of a port, in this order. */
enum console_message {
	CONSOLE_TELL_ADD,
	CONSOLE_TELL_NAME,
	CONSOLE_TELL_OPEN,
	CONSOLE_MESSAGES,
};

struct console_control_port {
	/* Set by the device: */
	const char *name; /* NULL: there is no such port */
	bool host_open;
	/* What has become of it; gone with a reset: */
	bool added;
	bool ready;
	bool guest_open;
	uint8_t pending; /* a bit for each enum console_message */
};

struct console_control {
	unsigned int nr_ports;
	bool ready; /* the driver wants to know of ports */
	struct console_control_port port[CONSOLE_MAX_PORTS];
};

/* The largest message to the driver, in bytes. */
#define CONSOLE_CONTROL_MAX (8 + CONSOLE_NAME_MAX)

/* Forget what the driver has been told and has said. */
void console_control_reset(struct console_control *control);

/*
 * The driver sent @len bytes at @data, which do not change any more. Returns
 * 0, -EPROTO when that is no message, or -EINVAL when it is one that makes no
 * sense and was ignored.
 */
int console_control_receive(struct console_control *control, const void *data,
			    size_t len);

/* Is there a message for the driver? */
bool console_control_pending(const struct console_control *control);

/*
 * Write the next message for the driver to @buf, which has
 * CONSOLE_CONTROL_MAX bytes. Returns its length, or 0 if there is none.
 */
size_t console_control_send(struct console_control *control, void *buf);

/* Somebody is at port @id's host end, or nobody. */
void console_control_set_open(struct console_control *control, unsigned int id,
			      bool open);

/* Has the driver still to be told that port @id was opened or closed? */
bool console_control_pending_open(const struct console_control *control,
				  unsigned int id);

/* ---- ports (console-port.c) ---------------------------------------------- */

struct console;

/*
 * The host's thread puts input into the ring and takes notice of clients; the
 * worker takes it from there. Output goes to the host end at once.
 */
struct console_port {
	struct console *console;
	unsigned int id;
	char name[CONSOLE_NAME_MAX + 1];
	struct chardev *chardev; /* NULL: there is no such port */
	struct stream *stream; /* which that is part of, if it is ours */
	struct virtq *rx, *tx;

	/* The worker's thread: */
	uint32_t tx_done; /* bytes of the next chain that were written */
	_Atomic uint64_t in_bytes, out_bytes, out_waits;

	pthread_mutex_t lock; /* guards the rest */
	bool starved; /* the host end holds input */
	bool closing; /* its client has gone: told when the ring is empty */
	bool opening; /* its next client has come: told after that */
	struct ring in;
};

struct console {
	struct virtio_device vdev;
	struct virtio_worker worker;
	struct virtq_chain chain; /* the worker's thread, as the next two */
	struct console_control control;
	struct ratelimit warn;
	/* Port 0's input may go, or will at that time (now_ns()). */
	_Atomic bool listens;
	_Atomic uint64_t listens_at;
	struct loop_source listen_timer; /* a timerfd for that; -1: no port 0 */
	struct console_port port[CONSOLE_MAX_PORTS]; /* control.nr_ports */
};

/* Queue numbers (5.3.2). */
#define CONSOLE_CONTROL_RX 2
#define CONSOLE_CONTROL_TX 3

static inline unsigned int console_rx_queue(unsigned int port)
{
	return port ? 2 * port + 2 : 0;
}

static inline unsigned int console_tx_queue(unsigned int port)
{
	return console_rx_queue(port) + 1;
}

/* Not for the control queues. */
static inline unsigned int console_port_of_queue(unsigned int queue)
{
	return queue < CONSOLE_CONTROL_RX ? 0 : queue / 2 - 1;
}

/* The zeroed @port becomes @console's port @id, without a host end. */
void console_port_init(struct console_port *port, struct console *console,
		       unsigned int id);

/* Before the host end's thread and the worker run. */
void console_port_attach(struct console_port *port, struct chardev *chardev);

/* Neither runs any more. */
void console_port_release(struct console_port *port);

/*
 * Serve the port's queues. Input goes when the guest has opened the port, or
 * when it listens, if it is port 0. The worker's thread, running.
 */
void console_port_receive(struct console_port *port);
void console_port_transmit(struct console_port *port);

/*
 * The guest has ended: write out what is in the port's queue, for as long as
 * somebody reads it and not beyond now_ns() @until. The worker's thread.
 */
void console_port_drain(struct console_port *port, uint64_t until);

/*
 * Look whether clients came or went, and have the driver told. The worker's
 * thread, running.
 */
void console_port_update(struct console_port *port);

/* console.c: the console's screen has this size. Not the worker's thread. */
void console_resize(struct console *console, uint16_t cols, uint16_t rows);

#endif
