/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A 16550A UART, after National Semiconductor's PC16550D data sheet (register
 * and clause names are its own, section 8).
 *
 * There is no baud rate: a byte leaves as soon as the host end takes it. When
 * that end is full, the transmit FIFO stays full and THRE low until it has
 * room again, so the guest waits in its own way and no vCPU ever blocks.
 *
 * With FIFOs on, bytes wait in there for more, as they do on hardware, where
 * one takes its time to leave: until the FIFO is full, the guest looks at the
 * port again, or SERIAL_HOLD_NS have passed. Then THRE's interrupt comes once
 * for sixteen bytes, and not for each.
 *
 * OUT2 does not gate the interrupt, as it does on a PC's board: small kernels
 * that never set it work in every other virtual machine.
 */
#include <errno.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/hw.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

#define SERIAL_FIFO 16

/* Long beside an exit, or most timers would run out before a FIFO is full. */
#define SERIAL_HOLD_NS 10000000
#define SERIAL_IIR_FIFOS 0xc0 /* 8.6: both set while the FIFOs are enabled */
#define SERIAL_IER_MASK \
	(UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI)
#define SERIAL_MCR_MASK 0x1f
#define SERIAL_MSR_LINES 0xf0

/* Reads of LSR in a row, with nothing to do, that show a polling reader. */
#define SERIAL_IDLE_POLLS 16

struct serial {
	struct device device;
	struct machine *machine;
	struct bus_region region;
	struct chardev *chardev; /* NULL: output is dropped, input never is */
	uint32_t gsi;
	unsigned int index;
	struct loop_source hold; /* a timerfd; -1: bytes leave at once */
	pthread_mutex_t lock; /* guards the rest */
	bool holding; /* the timer runs */
	uint8_t eager; /* so many bytes more leave at once */
	bool line; /* as driven last */
	uint8_t ier;
	uint8_t fcr;
	uint8_t lcr;
	uint8_t mcr;
	uint8_t lsr; /* error bits alone */
	uint8_t msr;
	uint8_t scr;
	uint8_t divisor[2];
	bool thre; /* transmitter-empty interrupt not yet acknowledged */
	uint8_t rx_len;
	uint8_t tx_len;
	uint8_t rx[SERIAL_FIFO];
	uint8_t tx[SERIAL_FIFO];
	uint8_t polls; /* see serial_accepts_input() */
	bool break_waits; /* for what came before it to be read */
	uint8_t break_key; /* what comes after it */
	bool starved; /* the host may hold input for us */
};

static unsigned int serial_depth(const struct serial *serial)
{
	return serial->fcr & UART_FCR_ENABLE_FIFO ? SERIAL_FIFO : 1;
}

/* The pending interrupt of highest priority, as IIR names it (8.6). */
static uint8_t serial_cause(const struct serial *serial)
{
	if ((serial->ier & UART_IER_RLSI) && serial->lsr)
		return UART_IIR_RLSI;
	if ((serial->ier & UART_IER_RDI) && serial->rx_len)
		return UART_IIR_RDI;
	if ((serial->ier & UART_IER_THRI) && serial->thre)
		return UART_IIR_THRI;
	if ((serial->ier & UART_IER_MSI) && (serial->msr & UART_MSR_ANY_DELTA))
		return UART_IIR_MSI;
	return UART_IIR_NO_INT;
}

static void serial_update_irq_locked(struct serial *serial)
{
	bool level = serial_cause(serial) != UART_IIR_NO_INT;

	if (level == serial->line || serial->gsi == RESOURCE_NO_GSI)
		return;
	serial->line = level;
	irq_set_line(&serial->machine->irq, serial->gsi, serial->index, level);
}

/*
 * Take input only once the guest shows that it reads: its driver enables the
 * receive interrupt, or it polls LSR without having anything to send. Whatever
 * sat in the FIFO before would be lost, for drivers clear it when they start,
 * and then the first line of piped input would be missing.
 */
static bool serial_accepts_input(const struct serial *serial)
{
	if (serial->mcr & UART_MCR_LOOP)
		return false;
	/* A probe sets all of IER for a moment, and takes what came then. A
	 * driver that is open has OUT2 set, or waits for input alone. */
	if ((serial->ier & UART_IER_RDI) &&
	    ((serial->mcr & UART_MCR_OUT2) || !(serial->ier & UART_IER_THRI)))
		return true;
	return serial->polls == SERIAL_IDLE_POLLS;
}

/*
 * 8.6.3: a break is a null character with BI. What was received before it is
 * read first, for LSR tells of the FIFO's first character.
 */
static void serial_take_break_locked(struct serial *serial)
{
	if (!serial->break_waits || serial->rx_len ||
	    !serial_accepts_input(serial))
		return;
	serial->break_waits = false;
	serial->lsr |= UART_LSR_BI;
	serial->rx[0] = 0;
	serial->rx[1] = serial->break_key;
	serial->rx_len = 2;
}

static void serial_pull_input_locked(struct serial *serial)
{
	if (!serial->starved || !serial->chardev || serial->rx_len ||
	    !serial_accepts_input(serial))
		return;
	serial->starved = false;
	serial->chardev->ops->input_wanted(serial->chardev);
}

/* Offer the transmit FIFO to the host end, which takes what it has room for. */
static void serial_transmit_locked(struct serial *serial)
{
	size_t taken = serial->tx_len;

	if (!serial->tx_len)
		return;
	if (serial->chardev)
		taken = serial->chardev->ops->write(serial->chardev, serial->tx,
						    serial->tx_len);
	serial->tx_len -= taken;
	memmove(serial->tx, serial->tx + taken, serial->tx_len);
	if (!serial->tx_len)
		serial->thre = true;
}

/* The loop's thread: nobody has looked at the port since. */
static void serial_hold_ended(void *opaque, uint32_t events)
{
	struct serial *serial = opaque;
	uint64_t count;

	(void)events;
	(void)!read(serial->hold.fd, &count, sizeof(count));
	pthread_mutex_lock(&serial->lock);
	serial->holding = false;
	/* It sends a byte for each interrupt, and would wait for each. */
	if (serial->tx_len && serial->ier & UART_IER_THRI)
		serial->eager = UINT8_MAX;
	serial_transmit_locked(serial);
	serial_update_irq_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

/* Set once for whatever comes until it has run out: a call for many bytes. */
static void serial_hold_locked(struct serial *serial)
{
	if (!serial->holding)
		timer_arm(serial->hold.fd, SERIAL_HOLD_NS);
	serial->holding = true;
}

static void serial_write_thr_locked(struct serial *serial, uint8_t value)
{
	/* 8.6: a write acknowledges. The interrupt that follows when the FIFO
	 * has emptied must be an edge of its own. */
	serial->thre = false;
	serial_update_irq_locked(serial);
	if (serial->mcr & UART_MCR_LOOP) {
		if (serial->rx_len < serial_depth(serial))
			serial->rx[serial->rx_len++] = value;
		else
			serial->lsr |= UART_LSR_OE;
		serial->thre = true;
		return;
	}
	/* A guest that does not wait for THRE loses bytes, as on hardware. */
	if (serial->tx_len < serial_depth(serial))
		serial->tx[serial->tx_len++] = value;
	if (serial->hold.fd >= 0 && serial->tx_len < serial_depth(serial) &&
	    !serial->eager) {
		serial_hold_locked(serial);
		return;
	}
	serial->eager -= serial->eager > 0;
	serial_transmit_locked(serial);
}

static uint8_t serial_read_rbr_locked(struct serial *serial)
{
	uint8_t value = serial->rx[0];

	if (!serial->rx_len)
		return 0;
	serial->rx_len--;
	memmove(serial->rx, serial->rx + 1, serial->rx_len);
	return value;
}

static void serial_write_ier_locked(struct serial *serial, uint8_t value)
{
	uint8_t enabled = value & ~serial->ier;

	serial->ier = value & SERIAL_IER_MASK;
	/* 8.6: enabling the interrupt while the register is empty raises it;
	 * drivers start sending by that. */
	if ((enabled & UART_IER_THRI) && !serial->tx_len)
		serial->thre = true;
}

static void serial_write_fcr_locked(struct serial *serial, uint8_t value)
{
	uint8_t toggled = (value ^ serial->fcr) & UART_FCR_ENABLE_FIFO;

	/* 8.5: other bits count only together with the enable bit, whose
	 * change clears both FIFOs. */
	if (!(value & UART_FCR_ENABLE_FIFO))
		value = 0;
	/* A byte from before is in neither: drivers enable the receive
	 * interrupt first, and then the FIFOs. */
	if ((toggled & serial->fcr) || (value & UART_FCR_CLEAR_RCVR))
		serial->rx_len = 0;
	if ((toggled || (value & UART_FCR_CLEAR_XMIT)) && serial->tx_len) {
		serial->tx_len = 0;
		serial->thre = true;
	}
	serial->fcr = value & ~(UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
}

/* 8.7: in loopback the four outputs are the four inputs. */
static void serial_write_mcr_locked(struct serial *serial, uint8_t value)
{
	uint8_t lines = UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	uint8_t changed;

	serial->mcr = value & SERIAL_MCR_MASK;
	if (value & UART_MCR_LOOP)
		lines = (value & UART_MCR_DTR ? UART_MSR_DSR : 0) |
			(value & UART_MCR_RTS ? UART_MSR_CTS : 0) |
			(value & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
			(value & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
	changed = (lines ^ serial->msr) & SERIAL_MSR_LINES;
	/* 8.8: the ring indicator reports its trailing edge only. */
	if (lines & UART_MSR_RI)
		changed &= ~UART_MSR_RI;
	serial->msr = lines | (serial->msr & UART_MSR_ANY_DELTA) | changed >> 4;
}

static uint8_t serial_read_lsr_locked(struct serial *serial)
{
	uint8_t value = serial->lsr;

	serial->lsr = 0;
	if (serial->rx_len)
		value |= UART_LSR_DR;
	if (!serial->tx_len)
		value |= UART_LSR_THRE | UART_LSR_TEMT;
	if (!serial->rx_len && !serial->tx_len &&
	    serial->polls < SERIAL_IDLE_POLLS)
		serial->polls++;
	return value;
}

static uint8_t serial_read_iir_locked(struct serial *serial)
{
	uint8_t cause = serial_cause(serial);

	if (cause == UART_IIR_THRI)
		serial->thre = false;
	if (serial->fcr & UART_FCR_ENABLE_FIFO)
		cause |= SERIAL_IIR_FIFOS;
	return cause;
}

static uint8_t serial_read_locked(struct serial *serial, uint64_t offset)
{
	bool dlab = serial->lcr & UART_LCR_DLAB;
	uint8_t value;

	serial_transmit_locked(serial);
	switch (offset) {
	case UART_RX:
		return dlab ? serial->divisor[0] :
			      serial_read_rbr_locked(serial);
	case UART_IER:
		return dlab ? serial->divisor[1] : serial->ier;
	case UART_IIR:
		serial->polls = 0;
		return serial_read_iir_locked(serial);
	case UART_LCR:
		return serial->lcr;
	case UART_MCR:
		return serial->mcr;
	case UART_LSR:
		return serial_read_lsr_locked(serial);
	case UART_MSR:
		value = serial->msr;
		serial->msr &= SERIAL_MSR_LINES;
		return value;
	default:
		return serial->scr;
	}
}

static void serial_write_locked(struct serial *serial, uint64_t offset,
				uint8_t value)
{
	bool dlab = serial->lcr & UART_LCR_DLAB;

	/* Who sets the port up, or sends, is not (yet) waiting for input. */
	serial->polls = 0;
	if (offset != UART_TX || dlab)
		serial_transmit_locked(serial);
	switch (offset) {
	case UART_TX:
		if (dlab)
			serial->divisor[0] = value;
		else
			serial_write_thr_locked(serial, value);
		break;
	case UART_IER:
		if (dlab)
			serial->divisor[1] = value;
		else
			serial_write_ier_locked(serial, value);
		break;
	case UART_FCR:
		serial_write_fcr_locked(serial, value);
		break;
	case UART_LCR:
		serial->lcr = value;
		break;
	case UART_MCR:
		serial_write_mcr_locked(serial, value);
		break;
	case UART_SCR:
		serial->scr = value;
		break;
	}
}

/* Wider accesses are split into bytes, as the ISA bus does. */
static uint64_t serial_read(void *opaque, uint64_t offset, unsigned int len)
{
	struct serial *serial = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&serial->lock);
	for (unsigned int i = 0; i < len; i++)
		value |= (uint64_t)serial_read_locked(serial, offset + i)
			 << (8 * i);
	serial_take_break_locked(serial);
	serial_update_irq_locked(serial);
	serial_pull_input_locked(serial);
	pthread_mutex_unlock(&serial->lock);
	return value;
}

static void serial_write(void *opaque, uint64_t offset, uint64_t value,
			 unsigned int len)
{
	struct serial *serial = opaque;

	pthread_mutex_lock(&serial->lock);
	for (unsigned int i = 0; i < len; i++)
		serial_write_locked(serial, offset + i, value >> (8 * i));
	serial_take_break_locked(serial);
	serial_update_irq_locked(serial);
	serial_pull_input_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

static const struct bus_ops serial_bus_ops = {
	.read = serial_read,
	.write = serial_write,
};

/* A character timeout is not modelled: data is announced at once (8.4). */
static size_t serial_receive(void *opaque, const void *data, size_t len)
{
	struct serial *serial = opaque;
	size_t taken = 0;

	pthread_mutex_lock(&serial->lock);
	if (serial_accepts_input(serial) && !serial->break_waits &&
	    serial->rx_len < serial_depth(serial))
		taken = MIN(len, serial_depth(serial) - serial->rx_len);
	memcpy(serial->rx + serial->rx_len, data, taken);
	serial->rx_len += taken;
	serial->starved = taken < len;
	serial_update_irq_locked(serial);
	pthread_mutex_unlock(&serial->lock);
	return taken;
}

static void serial_writable(void *opaque)
{
	struct serial *serial = opaque;

	pthread_mutex_lock(&serial->lock);
	serial_transmit_locked(serial);
	serial_update_irq_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

static int serial_send_break(void *opaque, uint8_t key)
{
	struct serial *serial = opaque;
	int err = 0;

	pthread_mutex_lock(&serial->lock);
	if (serial->break_waits) {
		err = -EBUSY;
	} else {
		serial->break_waits = true;
		serial->break_key = key;
		serial_take_break_locked(serial);
		serial_update_irq_locked(serial);
	}
	pthread_mutex_unlock(&serial->lock);
	return err;
}

static const struct chardev_frontend_ops serial_frontend_ops = {
	.receive = serial_receive,
	.writable = serial_writable,
	.send_break = serial_send_break,
};

static const struct state_field serial_fields[] = {
	STATE_FIELD(struct serial, ier, 1, 0),
	STATE_FIELD(struct serial, fcr, 1, 0),
	STATE_FIELD(struct serial, lcr, 1, 0),
	STATE_FIELD(struct serial, mcr, 1, 0),
	STATE_FIELD(struct serial, lsr, 1, 0),
	STATE_FIELD(struct serial, msr, 1,
		    UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS),
	STATE_FIELD(struct serial, scr, 1, 0),
	STATE_ARRAY(struct serial, divisor, 1, 0),
	STATE_FIELD(struct serial, thre, 1, 0),
	STATE_FIELD(struct serial, rx_len, 1, 0),
	STATE_FIELD(struct serial, tx_len, 1, 0),
	STATE_ARRAY(struct serial, rx, 1, 0),
	STATE_ARRAY(struct serial, tx, 1, 0),
	STATE_FIELD(struct serial, eager, 1, 0),
	STATE_FIELD(struct serial, polls, 1, 0),
	STATE_FIELD(struct serial, starved, 1, true),
	STATE_FIELD(struct serial, break_waits, 1, 0),
	STATE_FIELD(struct serial, break_key, 1, 0),
	STATE_END,
};

static const struct state_table serial_state = {
	.name = "serial",
	.version = 1,
	.fields = serial_fields,
};

static void serial_reset(struct device *device)
{
	struct serial *serial = container_of(device, struct serial, device);

	pthread_mutex_lock(&serial->lock);
	/* The last words before a reset are the ones that matter. */
	serial_transmit_locked(serial);
	state_reset(&serial_state, serial);
	serial_update_irq_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

/* What was sent has been sent: nobody will look at the port. */
static void serial_quiesce(struct device *device)
{
	struct serial *serial = container_of(device, struct serial, device);

	pthread_mutex_lock(&serial->lock);
	serial_transmit_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

static void serial_detach(struct serial *serial)
{
	if (serial->chardev)
		serial->chardev->frontend = NULL;
	if (serial->hold.fd < 0)
		return;
	loop_del(serial->machine->loop, &serial->hold);
	close(serial->hold.fd);
}

static void serial_destroy(struct device *device)
{
	struct serial *serial = container_of(device, struct serial, device);

	bus_unmap(&serial->region);
	serial_detach(serial);
	pthread_mutex_destroy(&serial->lock);
	free(serial);
}

/* Without a host end there is nothing that bytes could wait for. */
static int serial_attach(struct serial *serial, struct chardev *chardev)
{
	int err;

	serial->hold.fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (serial->hold.fd < 0)
		return -errno;
	err = loop_add(serial->machine->loop, &serial->hold, EPOLLIN);
	if (err) {
		close(serial->hold.fd);
		serial->hold.fd = -1;
		return err;
	}
	serial->chardev = chardev;
	chardev->opaque = serial;
	chardev->frontend = &serial_frontend_ops;
	return 0;
}

static int serial_create(struct machine *machine, const void *config,
			 struct device **out)
{
	const struct resource *resource = config;
	struct chardev *chardev = NULL;
	struct serial *serial;
	int err = 0;

	serial = calloc(1, sizeof(*serial));
	if (!serial)
		return -ENOMEM;
	serial->device.type = &serial_type;
	snprintf(serial->device.name, sizeof(serial->device.name), "serial%u",
		 resource->index);
	serial->machine = machine;
	serial->gsi = resource->gsi;
	serial->index = resource->index;
	serial->hold = (struct loop_source) {
		.fd = -1,
		.ready = serial_hold_ended,
		.opaque = serial,
	};
	pthread_mutex_init(&serial->lock, NULL);
	state_reset(&serial_state, serial);
	serial->region = (struct bus_region) {
		.name = serial->device.name,
		.ops = &serial_bus_ops,
		.opaque = serial,
	};
	if (resource->index < ARRAY_SIZE(machine->serial))
		chardev = machine->serial[resource->index];
	if (chardev)
		err = serial_attach(serial, chardev);
	if (!err)
		err = machine_map(machine, resource, &serial->region);
	if (err) {
		serial_detach(serial);
		pthread_mutex_destroy(&serial->lock);
		free(serial);
		return err;
	}
	*out = &serial->device;
	return 0;
}

const struct device_type serial_type = {
	.name = "serial",
	.create = serial_create,
	.destroy = serial_destroy,
	.reset = serial_reset,
	.quiesce = serial_quiesce,
	.state = &serial_state,
};
