/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupts wake a guest from HLT: lines through the PIC and through the
 * IOAPIC, MSIs sent at once and through an irqfd.
 */
#include "harness.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/irq.h>

#define ROUNDS 20
#define MSI_ADDRESS 0xfee00000

struct irq_test {
	unsigned int mode;
	unsigned int waits; /* how often the guest was about to HLT */
	unsigned int wakes;
	unsigned int vector; /* of the last wake */
	unsigned int round;
};

static uint64_t irq_read(struct guest *g, uint64_t addr, unsigned int len)
{
	struct irq_test *test = g->opaque;

	(void)len;
	return addr == IRQ_MODE ? test->mode : UINT64_MAX;
}

static void irq_write(struct guest *g, uint64_t addr, uint64_t value,
		      unsigned int len)
{
	struct irq_test *test = g->opaque;

	(void)len;
	if (addr == IRQ_WAITS)
		test->waits++;
	if (addr == IRQ_VECTOR) {
		test->vector = (unsigned int)value;
		test->wakes++;
	}
}

/* The guest waits, and all earlier interrupts have been seen. */
static bool guest_waits(struct guest *g)
{
	struct irq_test *test = g->opaque;

	return test->waits == test->round + 1;
}

static bool guest_woke(struct guest *g)
{
	struct irq_test *test = g->opaque;

	return test->wakes == test->round + 1;
}

/* Each call of @fire wakes the guest once, with @vector. */
static void check_wakes(unsigned int mode, unsigned int vector,
			void (*fire)(struct irq *irq, int fd), int fd)
{
	struct irq_test test = { .mode = mode };
	struct guest g;
	uint32_t gsi;

	guest_init(&g, "irq");
	g.read = irq_read;
	g.write = irq_write;
	g.opaque = &test;
	guest_create(&g);
	if (fd >= 0) {
		struct irq *irq = &g.vm->machine.irq;

		assert_int_equal(irq_msi_alloc(irq, MSI_ADDRESS, vector, &gsi),
				 0);
		assert_int_equal(irq_attach_fd(irq, gsi, fd), 0);
	}
	vm_resume(g.vm);
	for (; test.round < ROUNDS; test.round++) {
		guest_wait_until(&g, guest_waits);
		/* In half of the rounds it has surely reached its HLT. */
		if (test.round & 1)
			usleep(2000);
		fire(&g.vm->machine.irq, fd);
		guest_wait_until(&g, guest_woke);
		assert_int_equal(test.vector, vector);
	}
	vm_pause(g.vm);
	assert_int_equal(test.wakes, ROUNDS);
	guest_destroy(&g);
}

static void pulse_line(struct irq *irq, int fd)
{
	(void)fd;
	assert_int_equal(irq_set_line(irq, IRQ_LINE, 0, true), 0);
	assert_int_equal(irq_set_line(irq, IRQ_LINE, 0, false), 0);
}

static void send_msi(struct irq *irq, int fd)
{
	(void)fd;
	assert_int_equal(irq_send_msi(irq, MSI_ADDRESS, IRQ_MSI_VECTOR), 0);
}

static void write_eventfd(struct irq *irq, int fd)
{
	(void)irq;
	assert_int_equal(eventfd_write(fd, 1), 0);
}

static void a_line_wakes_through_the_pic(void **state)
{
	(void)state;
	check_wakes(IRQ_MODE_PIC, IRQ_PIC_VECTOR, pulse_line, -1);
}

static void a_line_wakes_through_the_ioapic(void **state)
{
	(void)state;
	check_wakes(IRQ_MODE_APIC, IRQ_IOAPIC_VECTOR, pulse_line, -1);
}

static void an_msi_wakes(void **state)
{
	(void)state;
	check_wakes(IRQ_MODE_APIC, IRQ_MSI_VECTOR, send_msi, -1);
}

static void an_msi_wakes_through_an_irqfd(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	(void)state;
	check_wakes(IRQ_MODE_APIC, IRQ_MSI_VECTOR, write_eventfd, fd);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(a_line_wakes_through_the_pic),
		kvm_test(a_line_wakes_through_the_ioapic),
		kvm_test(an_msi_wakes),
		kvm_test(an_msi_wakes_through_an_irqfd),
	};

	return cmocka_run_group_tests_name("irq", tests, NULL, NULL);
}
