/* SPDX-License-Identifier: GPL-2.0 */
/* What hw/serial.c promises to a guest's 8250 driver and to the host end. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/kvm.h>
#include <linux/serial_reg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <lkvm/hw.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

#define COM1 0x3f8
#define COM3 0x3e8
#define GSI 4
#define FAKE_VM_FD 1000

/* Rising edges of the line, as KVM is told of them. */
static unsigned int edges;

/* In place of the C library's: KVM's side. */
int ioctl(int fd, unsigned long request, ...)
{
	const struct kvm_irq_level *line;
	va_list args;

	assert_int_equal(fd, FAKE_VM_FD);
	assert_int_equal(request, KVM_IRQ_LINE);
	va_start(args, request);
	line = va_arg(args, const struct kvm_irq_level *);
	va_end(args);
	assert_int_equal(line->irq, GSI);
	edges += line->level;
	return 0;
}

/* A host end that takes as much as it is told to. */
struct host {
	struct chardev chardev;
	char text[256];
	size_t len;
	size_t room;
	unsigned int wanted;
	struct loop *stops; /* by output; NULL: none */
};

struct fixture {
	struct machine machine;
	struct host host;
	struct device *com1;
	struct device *com3;
};

static size_t host_write(struct chardev *chardev, const void *data, size_t len)
{
	struct host *host = container_of(chardev, struct host, chardev);
	size_t taken = MIN(len, host->room);

	memcpy(host->text + host->len, data, taken);
	host->len += taken;
	host->room -= taken;
	if (host->stops)
		loop_stop(host->stops);
	return taken;
}

static void host_input_wanted(struct chardev *chardev)
{
	container_of(chardev, struct host, chardev)->wanted++;
}

static const struct chardev_ops host_ops = {
	.write = host_write,
	.input_wanted = host_input_wanted,
};

static int setup(void **state)
{
	const struct resource com1 = {
		RESOURCE_SERIAL, true, 0, COM1, 8, GSI,
	};
	const struct resource com3 = {
		RESOURCE_SERIAL, true, 2, COM3, 8, GSI,
	};
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	bus_init(&f->machine.pio);
	if (irq_init(&f->machine.irq, FAKE_VM_FD) ||
	    loop_create(&f->machine.loop))
		return -1;
	f->host.chardev.ops = &host_ops;
	f->host.room = sizeof(f->host.text);
	f->machine.serial[0] = &f->host.chardev;
	if (serial_type.create(&f->machine, &com1, &f->com1) ||
	    serial_type.create(&f->machine, &com3, &f->com3))
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	serial_type.destroy(f->com3);
	serial_type.destroy(f->com1);
	loop_destroy(f->machine.loop);
	irq_release(&f->machine.irq);
	bus_release(&f->machine.pio);
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned int reg)
{
	uint64_t value = 0;

	assert_non_null(bus_read(&f->machine.pio, NULL, COM1 + reg, 1, &value));
	return value;
}

static void out(struct fixture *f, unsigned int reg, uint8_t value)
{
	assert_non_null(bus_write(&f->machine.pio, NULL, COM1 + reg, 1, value));
}

static bool line(struct fixture *f)
{
	return f->machine.irq.line_sources[GSI];
}

static size_t type(struct fixture *f, const char *text)
{
	struct chardev *chardev = &f->host.chardev;

	return chardev->frontend->receive(chardev->opaque, text, strlen(text));
}

static void make_room(struct fixture *f, size_t room)
{
	f->host.room = room;
	f->host.chardev.frontend->writable(f->host.chardev.opaque);
}

/* As a driver opens the port: FIFOs on and clear, receive interrupt on. */
static void open_port(struct fixture *f)
{
	out(f, UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
	out(f, UART_FCR,
	    UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	out(f, UART_IER, UART_IER_RDI | UART_IER_RLSI);
}

/* The probe of Linux's drivers/tty/serial/8250/8250_port.c. */
static void probe_finds_a_16550a_and_nothing_better(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, 0);
	assert_int_equal(in(f, UART_IER), 0);
	out(f, UART_IER, 0xff);
	assert_int_equal(in(f, UART_IER), 0x0f);
	out(f, UART_IER, 0);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(in(f, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(f, UART_MCR, 0);
	assert_int_equal(in(f, UART_MSR) & 0xf0,
			 UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	assert_int_equal(in(f, UART_IIR) >> 6, 0);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(in(f, UART_IIR) >> 6, 3);
	/* Not a 16C950 or 16650: no EFR shows with LCR at 0xbf. */
	out(f, UART_LCR, UART_LCR_CONF_MODE_B);
	assert_int_not_equal(in(f, UART_EFR), 0);
	/* Not a 16750: no 64 byte FIFO. */
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	assert_int_equal(in(f, UART_IIR) & 0x20, 0);
	out(f, UART_LCR, 0);
}

static void scratch_and_divisor_are_stored_apart(void **state)
{
	struct fixture *f = *state;

	out(f, UART_SCR, 0x5a);
	out(f, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out(f, UART_DLL, 0x34);
	out(f, UART_DLM, 0x12);
	assert_int_equal(in(f, UART_DLL), 0x34);
	assert_int_equal(in(f, UART_DLM), 0x12);
	out(f, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(in(f, UART_LCR), UART_LCR_WLEN8);
	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(in(f, UART_SCR), 0x5a);
	assert_int_equal(f->host.len, 0);
}

static void polled_output_reaches_the_host_in_order(void **state)
{
	struct fixture *f = *state;

	for (const char *c = "hello"; *c; c++) {
		assert_true(in(f, UART_LSR) & UART_LSR_THRE);
		out(f, UART_TX, *c);
	}
	assert_int_equal(f->host.len, 5);
	assert_memory_equal(f->host.text, "hello", 5);
	assert_false(line(f));
}

static void a_wide_write_is_split_into_bytes(void **state)
{
	struct fixture *f = *state;

	bus_write(&f->machine.pio, NULL, COM1, 2, 0x0241);
	assert_memory_equal(f->host.text, "A", 1);
	assert_int_equal(in(f, UART_IER), UART_IER_THRI);
}

static void enabling_thri_while_empty_raises_the_line(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_THRI);
	assert_true(line(f));
	assert_int_equal(in(f, UART_IIR), UART_IIR_THRI);
	/* Reading IIR acknowledged it. */
	assert_false(line(f));
	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	/* Only a change enables: it stays acknowledged... */
	out(f, UART_IER, UART_IER_THRI);
	assert_false(line(f));
	/* ... until it is disabled and enabled again. */
	out(f, UART_IER, 0);
	out(f, UART_IER, UART_IER_THRI);
	assert_true(line(f));
}

static void reading_iir_acknowledges_only_what_it_names(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	out(f, UART_IER, UART_IER_RDI | UART_IER_THRI);
	assert_int_equal(type(f, "x"), 1);
	assert_int_equal(in(f, UART_IIR) & 0x0f, UART_IIR_RDI);
	assert_int_equal(in(f, UART_RX), 'x');
	assert_int_equal(in(f, UART_IIR) & 0x0f, UART_IIR_THRI);
	assert_int_equal(in(f, UART_IIR) & 0x0f, UART_IIR_NO_INT);
}

static void interrupt_driven_output_goes_on_until_disabled(void **state)
{
	struct fixture *f = *state;

	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	out(f, UART_IER, UART_IER_THRI);
	for (int burst = 0; burst < 3; burst++) {
		assert_int_equal(in(f, UART_IIR) & 0x0f, UART_IIR_THRI);
		assert_false(line(f));
		for (int i = 0; i < 16; i++)
			out(f, UART_TX, 'a' + i);
		assert_true(line(f));
	}
	out(f, UART_IER, 0);
	assert_false(line(f));
	assert_int_equal(f->host.len, 48);
}

/* The line is edge-triggered: one that only stays high is not seen. */
static void each_transmitted_byte_is_an_edge(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_THRI);
	edges = 0;
	out(f, UART_TX, 'a');
	out(f, UART_TX, 'b');
	assert_int_equal(edges, 2);
}

/* With FIFOs, the interrupt is for all that was in one. */
static void a_full_fifo_leaves_with_one_edge(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	out(f, UART_IER, UART_IER_THRI);
	in(f, UART_IIR);
	edges = 0;
	for (int i = 0; i < 15; i++)
		out(f, UART_TX, 'a' + i);
	assert_int_equal(f->host.len, 0);
	assert_false(line(f));
	out(f, UART_TX, 'p');
	assert_memory_equal(f->host.text, "abcdefghijklmnop", 16);
	assert_int_equal(edges, 1);
}

static void bytes_leave_when_the_guest_looks(void **state)
{
	static const uint8_t registers[] = { UART_IER, UART_IIR, UART_LSR,
					     UART_MSR, UART_MCR };
	struct fixture *f = *state;

	open_port(f);
	for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
		out(f, UART_TX, 'a');
		assert_int_equal(f->host.len, i);
		in(f, registers[i]);
		assert_int_equal(f->host.len, i + 1);
	}
	out(f, UART_TX, 'a');
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT);
	assert_int_equal(f->host.len, ARRAY_SIZE(registers) + 1);
}

static void bytes_leave_when_nothing_follows(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	out(f, UART_IER, UART_IER_THRI);
	in(f, UART_IIR);
	f->host.stops = f->machine.loop;
	out(f, UART_TX, 'a');
	assert_false(line(f));
	assert_int_equal(loop_run(f->machine.loop), 0);
	assert_int_equal(f->host.len, 1);
	assert_true(line(f));
	/* It waits for interrupts: those of the next bytes come at once. */
	for (unsigned int i = 0; i < 255; i++) {
		f->host.len = 0;
		out(f, UART_TX, 'a');
		assert_int_equal(f->host.len, 1);
		assert_true(line(f));
		f->host.room++;
	}
	f->host.stops = NULL;
	f->host.len = 0;
	out(f, UART_TX, 'a');
	assert_int_equal(f->host.len, 0);
}

static void bytes_leave_when_the_machine_stops(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	out(f, UART_TX, 'a');
	serial_type.quiesce(f->com1);
	assert_int_equal(f->host.len, 1);
}

static void a_full_host_keeps_thre_low_until_writable(void **state)
{
	struct fixture *f = *state;

	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	out(f, UART_IER, UART_IER_THRI);
	in(f, UART_IIR);
	f->host.room = 4;
	for (int i = 0; i < 20; i++)
		out(f, UART_TX, 'a' + i);
	assert_int_equal(f->host.len, 4);
	assert_int_equal(in(f, UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT), 0);
	assert_false(line(f));

	make_room(f, 6);
	assert_false(in(f, UART_LSR) & UART_LSR_THRE);
	assert_false(line(f));
	make_room(f, 100);
	assert_true(line(f));
	assert_true(in(f, UART_LSR) & UART_LSR_THRE);
	assert_int_equal(f->host.len, 20);
	assert_memory_equal(f->host.text, "abcdefghijklmnopqrst", 20);
}

static void a_guest_that_ignores_thre_overflows_nothing(void **state)
{
	struct fixture *f = *state;

	f->host.room = 0;
	for (int mode = 0; mode < 2; mode++) {
		out(f, UART_FCR, mode ? UART_FCR_ENABLE_FIFO : 0);
		for (int i = 0; i < 1000; i++)
			out(f, UART_TX, 'x');
	}
	make_room(f, 100);
	assert_int_equal(f->host.len, 16);
}

static void a_fifo_reset_drops_what_waits(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	f->host.room = 0;
	out(f, UART_TX, 'x');
	assert_int_equal(type(f, "abc"), 3);
	out(f, UART_FCR,
	    UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	assert_int_equal(in(f, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	assert_false(line(f));
	make_room(f, 10);
	assert_int_equal(f->host.len, 0);
}

static void fifos_that_come_on_keep_what_came_before(void **state)
{
	struct fixture *f = *state;

	out(f, UART_FCR, 0);
	out(f, UART_MCR, UART_MCR_OUT2);
	out(f, UART_IER, UART_IER_RDI);
	assert_int_equal(type(f, "echo"), 1);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(in(f, UART_RX), 'e');
	assert_int_equal(type(f, "cho"), 3);
	out(f, UART_FCR, 0);
	assert_false(in(f, UART_LSR) & UART_LSR_DR);
}

static void input_raises_the_line_and_reading_lowers_it(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	assert_int_equal(type(f, "hi"), 2);
	assert_true(line(f));
	assert_true(in(f, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 'h');
	assert_true(line(f));
	assert_int_equal(in(f, UART_RX), 'i');
	assert_false(line(f));
	assert_false(in(f, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 0);
}

static void input_is_taken_as_the_fifo_has_room(void **state)
{
	struct fixture *f = *state;
	unsigned int wanted;

	open_port(f);
	wanted = f->host.wanted;
	assert_int_equal(type(f, "0123456789abcdefgh"), 16);
	assert_int_equal(type(f, "gh"), 0);
	for (int i = 0; i < 15; i++)
		in(f, UART_RX);
	assert_int_equal(f->host.wanted, wanted);
	assert_int_equal(in(f, UART_RX), 'f');
	assert_int_equal(f->host.wanted, wanted + 1);
	assert_int_equal(type(f, "gh"), 2);
	in(f, UART_RX);
	in(f, UART_RX);
	/* The host has no more: it need not be asked. */
	assert_int_equal(f->host.wanted, wanted + 1);
}

static void without_fifos_one_byte_is_held(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_RDI);
	assert_int_equal(type(f, "ab"), 1);
	assert_int_equal(in(f, UART_RX), 'a');
	assert_int_equal(type(f, "b"), 1);
	assert_int_equal(in(f, UART_RX), 'b');
}

static void input_waits_until_the_guest_reads(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(type(f, "typed ahead"), 0);
	/* What a console prints does not count as reading. */
	for (int i = 0; i < 100; i++) {
		in(f, UART_LSR);
		out(f, UART_TX, '.');
	}
	assert_int_equal(type(f, "typed ahead"), 0);
	/* Nor does a probe that enables all for a moment. */
	out(f, UART_IER, 0x0f);
	assert_int_equal(type(f, "typed ahead"), 0);
	out(f, UART_IER, 0);
	assert_int_equal(f->host.wanted, 0);
	open_port(f);
	assert_int_equal(f->host.wanted, 1);
	assert_int_equal(type(f, "typed ahead"), 11);
	assert_int_equal(in(f, UART_RX), 't');
}

static void a_polling_guest_gets_input_too(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(type(f, "y"), 0);
	for (int i = 0; i < 50; i++)
		in(f, UART_LSR);
	assert_int_equal(f->host.wanted, 1);
	assert_int_equal(type(f, "y"), 1);
	assert_true(in(f, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 'y');
}

static void a_driver_that_sets_up_is_no_polling_reader(void **state)
{
	struct fixture *f = *state;

	/* A quiet boot: nothing is sent between one probe and the next. */
	for (int i = 0; i < 50; i++) {
		in(f, UART_LSR);
		in(f, UART_RX);
		out(f, UART_FCR, 0);
	}
	assert_int_equal(type(f, "echo"), 0);
}

static void loopback_returns_data_and_keeps_it_from_the_host(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	out(f, UART_MCR, UART_MCR_LOOP);
	assert_int_equal(type(f, "x"), 0);
	for (int i = 0; i < 16; i++)
		out(f, UART_TX, i);
	assert_int_equal(in(f, UART_LSR),
			 UART_LSR_DR | UART_LSR_THRE | UART_LSR_TEMT);
	out(f, UART_TX, 16);
	assert_int_equal(in(f, UART_IIR) & 0x0f, UART_IIR_RLSI);
	assert_true(in(f, UART_LSR) & UART_LSR_OE);
	assert_int_equal(in(f, UART_IIR) & 0x0f, UART_IIR_RDI);
	for (int i = 0; i < 16; i++)
		assert_int_equal(in(f, UART_RX), i);
	assert_int_equal(f->host.len, 0);
	out(f, UART_MCR, 0);
	assert_int_equal(type(f, "x"), 1);
}

static void modem_lines_report_their_changes_once(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_MSI);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 | UART_MCR_DTR);
	assert_true(line(f));
	assert_int_equal(in(f, UART_IIR), UART_IIR_MSI);
	assert_int_equal(in(f, UART_MSR), UART_MSR_RI | UART_MSR_DSR |
						  UART_MSR_DCTS |
						  UART_MSR_DDCD);
	assert_false(line(f));
	assert_int_equal(in(f, UART_MSR), UART_MSR_RI | UART_MSR_DSR);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_DTR);
	assert_int_equal(in(f, UART_MSR), UART_MSR_DSR | UART_MSR_TERI);
}

static void two_ports_share_a_line_by_or(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	out(f, UART_IER, UART_IER_THRI);
	bus_write(&f->machine.pio, NULL, COM3 + UART_IER, 1, UART_IER_THRI);
	assert_true(line(f));
	in(f, UART_IIR);
	assert_true(line(f));
	bus_read(&f->machine.pio, NULL, COM3 + UART_IIR, 1, &value);
	assert_int_equal(value, UART_IIR_THRI);
	assert_false(line(f));
}

static void a_port_without_host_end_swallows_output(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	for (int i = 0; i < 100; i++)
		bus_write(&f->machine.pio, NULL, COM3 + UART_TX, 1, 'x');
	bus_read(&f->machine.pio, NULL, COM3 + UART_LSR, 1, &value);
	assert_int_equal(value, UART_LSR_THRE | UART_LSR_TEMT);
	assert_int_equal(f->host.len, 0);
}

static void reset_gives_power_on_state_and_loses_no_output(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	out(f, UART_LCR, UART_LCR_WLEN8);
	f->host.room = 0;
	out(f, UART_TX, 'p');
	assert_int_equal(type(f, "q"), 1);
	assert_true(line(f));
	f->host.room = 10;
	serial_type.reset(f->com1);
	assert_false(line(f));
	assert_int_equal(f->host.len, 1);
	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	assert_int_equal(in(f, UART_LCR), 0);
	assert_int_equal(in(f, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	assert_int_equal(in(f, UART_MSR),
			 UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
}

static int send_break(struct fixture *f, uint8_t key)
{
	struct chardev *chardev = &f->host.chardev;

	return chardev->frontend->send_break(chardev->opaque, key);
}

static void a_break_comes_with_its_key(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	assert_int_equal(send_break(f, 'h'), 0);
	assert_true(line(f));
	assert_int_equal(in(f, UART_IIR) & UART_IIR_ID, UART_IIR_RLSI);
	assert_int_equal(in(f, UART_LSR) & (UART_LSR_BI | UART_LSR_DR),
			 UART_LSR_BI | UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 0);
	/* Of the key, LSR tells no break. */
	assert_int_equal(in(f, UART_LSR) & (UART_LSR_BI | UART_LSR_DR),
			 UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 'h');
	assert_int_equal(in(f, UART_LSR) & UART_LSR_DR, 0);
	assert_false(line(f));
}

static void a_break_waits_for_what_came_before(void **state)
{
	struct fixture *f = *state;
	int wanted;

	open_port(f);
	wanted = f->host.wanted;
	assert_int_equal(type(f, "ab"), 2);
	assert_int_equal(send_break(f, 'h'), 0);
	assert_int_equal(send_break(f, 'i'), -EBUSY);
	assert_int_equal(type(f, "c"), 0);
	for (const char *at = "ab"; *at; at++) {
		assert_int_equal(in(f, UART_LSR) & UART_LSR_BI, 0);
		assert_int_equal(in(f, UART_RX), *at);
	}
	assert_int_equal(in(f, UART_LSR) & UART_LSR_BI, UART_LSR_BI);
	assert_int_equal(in(f, UART_RX), 0);
	assert_int_equal(f->host.wanted, wanted);
	assert_int_equal(in(f, UART_RX), 'h');
	/* What came after it is wanted now. */
	assert_int_equal(f->host.wanted, wanted + 1);
	assert_int_equal(type(f, "c"), 1);
	assert_int_equal(in(f, UART_RX), 'c');
	assert_int_equal(send_break(f, 'i'), 0);
}

static void a_break_waits_for_a_driver_and_not_for_a_reset(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send_break(f, 'h'), 0);
	open_port(f);
	assert_int_equal(in(f, UART_LSR) & UART_LSR_BI, UART_LSR_BI);
	assert_int_equal(in(f, UART_RX), 0);
	assert_int_equal(in(f, UART_RX), 'h');
	serial_type.reset(f->com1);
	assert_int_equal(send_break(f, 'h'), 0);
	serial_type.reset(f->com1);
	open_port(f);
	assert_int_equal(in(f, UART_LSR) & (UART_LSR_BI | UART_LSR_DR), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(probe_finds_a_16550a_and_nothing_better),
		TEST(scratch_and_divisor_are_stored_apart),
		TEST(polled_output_reaches_the_host_in_order),
		TEST(a_wide_write_is_split_into_bytes),
		TEST(enabling_thri_while_empty_raises_the_line),
		TEST(reading_iir_acknowledges_only_what_it_names),
		TEST(interrupt_driven_output_goes_on_until_disabled),
		TEST(each_transmitted_byte_is_an_edge),
		TEST(a_full_fifo_leaves_with_one_edge),
		TEST(bytes_leave_when_the_guest_looks),
		TEST(bytes_leave_when_nothing_follows),
		TEST(bytes_leave_when_the_machine_stops),
		TEST(a_full_host_keeps_thre_low_until_writable),
		TEST(a_guest_that_ignores_thre_overflows_nothing),
		TEST(a_fifo_reset_drops_what_waits),
		TEST(fifos_that_come_on_keep_what_came_before),
		TEST(input_raises_the_line_and_reading_lowers_it),
		TEST(input_is_taken_as_the_fifo_has_room),
		TEST(without_fifos_one_byte_is_held),
		TEST(input_waits_until_the_guest_reads),
		TEST(a_polling_guest_gets_input_too),
		TEST(a_driver_that_sets_up_is_no_polling_reader),
		TEST(loopback_returns_data_and_keeps_it_from_the_host),
		TEST(modem_lines_report_their_changes_once),
		TEST(two_ports_share_a_line_by_or),
		TEST(a_port_without_host_end_swallows_output),
		TEST(reset_gives_power_on_state_and_loses_no_output),
		TEST(a_break_comes_with_its_key),
		TEST(a_break_waits_for_what_came_before),
		TEST(a_break_waits_for_a_driver_and_not_for_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
