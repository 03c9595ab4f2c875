/* SPDX-License-Identifier: GPL-2.0 */
/*
 * hw/msix.c: table, masks, pending bits, routes. KVM's side is this file's
 * ioctl(): it keeps the routes, and can refuse them.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <linux/kvm.h>
#include <linux/pci_regs.h>

#include <lkvm/msix.h>

#include "pci-host.h"

#define VECTORS 4
#define TABLE_OFFSET 0x100
#define PBA (VECTORS * PCI_MSIX_ENTRY_SIZE)

/* What KVM was asked for. */
struct kvm_seen {
	unsigned int routings; /* calls that set the routes */
	unsigned int nr_routes;
	uint64_t address; /* of the last route */
	uint32_t data;
	unsigned int irqfds; /* attached now */
	unsigned int msis; /* sent without a route */
	uint64_t msi_address;
	uint32_t msi_data;
	bool refuse_routes;
};

static struct kvm_seen seen;

static int see_routing(const struct kvm_irq_routing *routing)
{
	seen.routings++;
	if (seen.refuse_routes) {
		errno = EINVAL;
		return -1;
	}
	seen.nr_routes = routing->nr;
	if (routing->nr) {
		const struct kvm_irq_routing_entry *last =
			&routing->entries[routing->nr - 1];

		seen.address = (uint64_t)last->u.msi.address_hi << 32 |
			       last->u.msi.address_lo;
		seen.data = last->u.msi.data;
	}
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	const struct kvm_irqfd *irqfd;
	const struct kvm_msi *msi;
	va_list args;
	void *arg;

	assert_int_equal(fd, FAKE_VM_FD);
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (request) {
	case KVM_SET_GSI_ROUTING:
		return see_routing(arg);
	case KVM_IRQFD:
		irqfd = arg;
		assert_true(irqfd->gsi >= IRQ_NR_LINES);
		if (irqfd->flags & KVM_IRQFD_FLAG_DEASSIGN)
			seen.irqfds--;
		else
			seen.irqfds++;
		return 0;
	case KVM_SIGNAL_MSI:
		msi = arg;
		seen.msis++;
		seen.msi_address = (uint64_t)msi->address_hi << 32 |
				   msi->address_lo;
		seen.msi_data = msi->data;
		return 1;
	default:
		return 0;
	}
}

struct setup {
	struct machine machine;
	struct device *host;
	struct pci_device pci;
	struct msix msix;
};

static void config_written(struct pci_device *pci, unsigned int offset,
			   unsigned int len)
{
	msix_config_written(&container_of(pci, struct setup, pci)->msix, offset,
			    len);
}

static int setup(void **state)
{
	static const struct pci_identity id = { .vendor = 1, .device = 2 };
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	memset(&seen, 0, sizeof(seen));
	s->host = pci_machine_init(&s->machine);
	pci_device_init(&s->pci, &id);
	s->pci.config_written = config_written;
	assert_int_equal(msix_init(&s->msix, &s->pci, &s->machine.irq, VECTORS,
				   1, TABLE_OFFSET),
			 0);
	assert_int_equal(pci_register(s->machine.pci, &s->pci), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct setup *s = *state;

	pci_unregister(&s->pci);
	msix_release(&s->msix);
	/* Whatever a test did, nothing stays behind in KVM. */
	assert_int_equal(seen.irqfds, 0);
	assert_int_equal(seen.nr_routes, 0);
	pci_machine_release(&s->machine, s->host);
	free(s);
	return 0;
}

/* As a guest does it: Message Control through configuration space. */
static void control(struct setup *s, uint16_t flags)
{
	assert_non_null(bus_write(
		&s->machine.mmio, NULL,
		FUNCTION + s->msix.capability + PCI_MSIX_FLAGS, 2, flags));
}

/* Program @vector as Linux does, and take its mask off. */
static void program(struct setup *s, unsigned int vector, uint64_t address,
		    uint32_t data)
{
	uint64_t entry = vector * PCI_MSIX_ENTRY_SIZE;

	msix_write(&s->msix, entry, (uint32_t)address, 4);
	msix_write(&s->msix, entry + 4, address >> 32, 4);
	msix_write(&s->msix, entry + 8, data, 4);
	msix_write(&s->msix, entry + 12, 0, 4);
}

static void mask(struct setup *s, unsigned int vector, bool masked)
{
	msix_write(&s->msix, vector * PCI_MSIX_ENTRY_SIZE + 12, masked, 4);
}

/* How often @vector's eventfd was signalled since the last look. */
static uint64_t fired(struct setup *s, unsigned int vector)
{
	eventfd_t count = 0;

	if (s->msix.vector[vector].eventfd >= 0)
		(void)eventfd_read(s->msix.vector[vector].eventfd, &count);
	return count;
}

static void capability_describes_table_and_pba(void **state)
{
	struct setup *s = *state;
	unsigned int at = s->msix.capability;

	assert_int_equal(pci_config_get(&s->pci, at, 1), PCI_CAP_ID_MSIX);
	assert_int_equal(pci_config_get(&s->pci, at + PCI_MSIX_FLAGS, 2),
			 VECTORS - 1);
	assert_int_equal(pci_config_get(&s->pci, at + PCI_MSIX_TABLE, 4),
			 TABLE_OFFSET | 1);
	assert_int_equal(pci_config_get(&s->pci, at + PCI_MSIX_PBA, 4),
			 (TABLE_OFFSET + PBA) | 1);
	/* The table's size is not the guest's to choose. */
	control(s, 0xffff);
	assert_int_equal(pci_config_get(&s->pci, at + PCI_MSIX_FLAGS, 2),
			 0xc000 | (VECTORS - 1));
}

static void bad_geometry_is_refused(void **state)
{
	struct setup *s = *state;
	struct irq *irq = &s->machine.irq;
	struct pci_device pci = { .capability_end = 0x40 };
	struct msix msix;

	assert_int_equal(msix_init(&msix, &pci, irq, 0, 0, 0), -EINVAL);
	assert_int_equal(msix_init(&msix, &pci, irq, MSIX_MAX_VECTORS + 1, 0,
				   0),
			 -EINVAL);
	assert_int_equal(msix_init(&msix, &pci, irq, 1, PCI_STD_NUM_BARS, 0),
			 -EINVAL);
	assert_int_equal(msix_init(&msix, &pci, irq, 1, 0, 4), -EINVAL);
}

static void table_reads_back_what_may_be_written(void **state)
{
	struct setup *s = *state;

	assert_int_equal(msix_read(&s->msix, 12, 4), 1);
	for (unsigned int i = 0; i < VECTORS * 4; i++)
		msix_write(&s->msix, i * 4, 0xffffffff, 4);
	for (unsigned int i = 0; i < VECTORS; i++) {
		assert_int_equal(msix_read(&s->msix, i * 16, 4), 0xfffffffc);
		assert_int_equal(msix_read(&s->msix, i * 16 + 4, 4),
				 0xffffffff);
		assert_int_equal(msix_read(&s->msix, i * 16 + 8, 4),
				 0xffffffff);
		assert_int_equal(msix_read(&s->msix, i * 16 + 12, 4), 1);
	}
	msix_write(&s->msix, 16, 0x123456789abcdef0, 8);
	msix_write(&s->msix, 24, 0x0000000011223344, 8);
	assert_int_equal(msix_read(&s->msix, 16, 8), 0x123456789abcdef0);
	assert_int_equal(msix_read(&s->msix, 24, 8), 0x11223344);
	assert_int_equal(msix_read(&s->msix, 20, 4), 0x12345678);
}

static void odd_accesses_do_nothing(void **state)
{
	static const struct {
		uint64_t offset;
		unsigned int len;
	} odd[] = {
		{ 0, 1 },
		{ 0, 2 },
		{ 2, 4 },
		{ 4, 8 },
		{ PBA + 8, 4 },
		{ PBA + 4, 8 },
		{ PBA + 8, 8 },
		{ 0xff8, 8 },
		{ ~0ULL - 7, 8 },
		{ ~0ULL - 3, 4 },
		{ 0xffffffff0ULL, 4 },
		{ VECTORS * 16 - 4, 8 },
	};
	struct setup *s = *state;

	program(s, 0, 0xfee00000, 0x41);
	for (unsigned int i = 0; i < ARRAY_SIZE(odd); i++) {
		msix_write(&s->msix, odd[i].offset, ~0ULL, odd[i].len);
		assert_int_equal(msix_read(&s->msix, odd[i].offset, odd[i].len),
				 0);
	}
	assert_int_equal(msix_read(&s->msix, 0, 8), 0xfee00000);
	assert_int_equal(msix_read(&s->msix, 8, 8), 0x41);
}

static void first_signal_makes_the_route(void **state)
{
	struct setup *s = *state;

	program(s, 2, 0x1fee01000, 0x4041);
	control(s, PCI_MSIX_FLAGS_ENABLE);
	assert_true(msix_enabled(&s->msix));
	/* A vector that never fires costs nothing. */
	assert_int_equal(seen.routings, 0);
	msix_signal(&s->msix, 2);
	assert_int_equal(fired(s, 2), 1);
	assert_int_equal(seen.nr_routes, 1);
	assert_int_equal(seen.irqfds, 1);
	assert_int_equal(seen.address, 0x1fee01000);
	assert_int_equal(seen.data, 0x4041);
	msix_signal(&s->msix, 2);
	msix_signal(&s->msix, 2);
	assert_int_equal(fired(s, 2), 2);
	assert_int_equal(seen.routings, 1);
}

static void vectors_that_do_not_exist_are_ignored(void **state)
{
	struct setup *s = *state;

	control(s, PCI_MSIX_FLAGS_ENABLE);
	msix_signal(&s->msix, VECTORS);
	msix_signal(&s->msix, MSIX_MAX_VECTORS);
	msix_signal(&s->msix, 0xffff);
	msix_signal(&s->msix, UINT32_MAX);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 0);
	assert_int_equal(seen.routings + seen.msis, 0);
}

static void disabled_msix_signals_nothing(void **state)
{
	struct setup *s = *state;

	program(s, 0, 0xfee00000, 0x41);
	msix_signal(&s->msix, 0);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 0);
	control(s, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(fired(s, 0), 0);
	control(s, 0);
	assert_false(msix_enabled(&s->msix));
	msix_signal(&s->msix, 0);
	assert_int_equal(fired(s, 0), 0);
}

static void a_masked_vector_is_pending_until_unmasked(void **state)
{
	struct setup *s = *state;

	control(s, PCI_MSIX_FLAGS_ENABLE);
	program(s, 1, 0xfee00000, 0x41);
	mask(s, 1, true);
	msix_signal(&s->msix, 1);
	msix_signal(&s->msix, 1);
	assert_int_equal(fired(s, 1), 0);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 2);
	assert_int_equal(msix_read(&s->msix, PBA, 4), 2);
	assert_int_equal(msix_read(&s->msix, PBA + 4, 4), 0);
	/* Pending bits are read-only. */
	msix_write(&s->msix, PBA, 0, 8);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 2);
	mask(s, 1, false);
	assert_int_equal(fired(s, 1), 1);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 0);
}

static void function_mask_holds_back_all_vectors(void **state)
{
	struct setup *s = *state;

	program(s, 0, 0xfee00000, 0x41);
	program(s, 3, 0xfee00000, 0x43);
	control(s, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	msix_signal(&s->msix, 0);
	msix_signal(&s->msix, 3);
	assert_int_equal(fired(s, 0) + fired(s, 3), 0);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 9);
	/* The vector's own mask goes on holding when the function's opens. */
	mask(s, 3, true);
	control(s, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(fired(s, 0), 1);
	assert_int_equal(fired(s, 3), 0);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 8);
}

static void others_raise_a_vector_by_its_eventfd(void **state)
{
	struct setup *s = *state;
	int fd;

	assert_int_equal(msix_irqfd(&s->msix, 1), -1);
	control(s, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(msix_irqfd(&s->msix, VECTORS), -1);
	/* Masked, as at reset: nothing reaches the guest. */
	fd = msix_irqfd(&s->msix, 1);
	assert_true(fd >= 0);
	assert_int_equal(seen.irqfds, 0);
	program(s, 1, 0xfee00000, 0x41);
	assert_int_equal(seen.irqfds, 1);
	assert_int_equal(seen.data, 0x41);
	assert_int_equal(msix_irqfd(&s->msix, 1), fd);
	assert_int_equal(seen.irqfds, 1);
	/* What is written while masked stays in the eventfd, pending. */
	mask(s, 1, true);
	assert_int_equal(seen.irqfds, 0);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 0);
	eventfd_write(fd, 1);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 2);
	mask(s, 1, false);
	assert_int_equal(seen.irqfds, 1);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 0);
	assert_int_equal(fired(s, 1), 1);
	/* Our own signals take the same way. */
	msix_signal(&s->msix, 1);
	assert_int_equal(fired(s, 1), 1);
	control(s, 0);
	assert_int_equal(seen.irqfds, 0);
}

/* KVM refuses its address: then we deliver, by whatever way there is. */
static void an_eventfd_that_nobody_hears_is_not_given_out(void **state)
{
	struct setup *s = *state;

	control(s, PCI_MSIX_FLAGS_ENABLE);
	program(s, 1, 0xfee00000, 0x41);
	seen.refuse_routes = true;
	assert_int_equal(msix_irqfd(&s->msix, 1), -1);
	msix_signal(&s->msix, 1);
	assert_int_equal(seen.msis, 1);
	seen.refuse_routes = false;
	assert_true(msix_irqfd(&s->msix, 1) >= 0);
	assert_int_equal(seen.irqfds, 1);
}

static void the_route_follows_the_table(void **state)
{
	struct setup *s = *state;

	control(s, PCI_MSIX_FLAGS_ENABLE);
	program(s, 0, 0xfee00000, 0x41);
	msix_signal(&s->msix, 0);
	assert_int_equal(seen.routings, 1);
	/* Masked: written in pieces, seen by KVM once and whole. */
	mask(s, 0, true);
	program(s, 0, 0xfee02000, 0x52);
	assert_int_equal(seen.routings, 2);
	assert_int_equal(seen.address, 0xfee02000);
	assert_int_equal(seen.data, 0x52);
	/* Unmasked: at once. */
	msix_write(&s->msix, 8, 0x53, 4);
	assert_int_equal(seen.data, 0x53);
	/* A mask that opens over an unchanged entry costs nothing. */
	mask(s, 0, true);
	mask(s, 0, false);
	assert_int_equal(seen.routings, 3);
	assert_int_equal(seen.nr_routes, 1);
}

static void without_a_route_the_msi_is_sent_directly(void **state)
{
	struct setup *s = *state;

	control(s, PCI_MSIX_FLAGS_ENABLE);
	program(s, 0, 0x1fee03000, 0x61);
	seen.refuse_routes = true;
	msix_signal(&s->msix, 0);
	assert_int_equal(seen.msis, 1);
	assert_int_equal(seen.msi_address, 0x1fee03000);
	assert_int_equal(seen.msi_data, 0x61);
	assert_int_equal(fired(s, 0), 0);
	/* And goes back to the faster way when there is one again. */
	seen.refuse_routes = false;
	msix_signal(&s->msix, 0);
	assert_int_equal(seen.msis, 1);
	assert_int_equal(fired(s, 0), 1);
}

static void exhausted_routes_fall_back_too(void **state)
{
	struct setup *s = *state;
	struct irq *irq = &s->machine.irq;
	uint32_t gsi[IRQ_MAX_MSI];

	for (unsigned int i = 0; i < IRQ_MAX_MSI; i++)
		assert_int_equal(irq_msi_alloc(irq, 0, 0, &gsi[i]), 0);
	control(s, PCI_MSIX_FLAGS_ENABLE);
	program(s, 0, 0xfee00000, 0x61);
	msix_signal(&s->msix, 0);
	assert_int_equal(seen.msis, 1);
	for (unsigned int i = 0; i < IRQ_MAX_MSI; i++)
		irq_msi_free(irq, gsi[i]);
}

static void a_refused_update_gives_the_route_up(void **state)
{
	struct setup *s = *state;

	control(s, PCI_MSIX_FLAGS_ENABLE);
	program(s, 0, 0xfee00000, 0x41);
	msix_signal(&s->msix, 0);
	assert_int_equal(fired(s, 0), 1);
	seen.refuse_routes = true;
	msix_write(&s->msix, 4, 0xdeadbeef, 4);
	assert_int_equal(seen.irqfds, 0);
	msix_signal(&s->msix, 0);
	assert_int_equal(fired(s, 0), 0);
	assert_int_equal(seen.msis, 1);
	seen.refuse_routes = false;
	/* KVM's table is written again with the next change. */
	msix_write(&s->msix, 4, 0, 4);
	msix_signal(&s->msix, 0);
	assert_int_equal(fired(s, 0), 1);
}

static void reset_forgets_all(void **state)
{
	struct setup *s = *state;
	int fd;

	control(s, PCI_MSIX_FLAGS_ENABLE);
	program(s, 0, 0xfee00000, 0x41);
	msix_signal(&s->msix, 0);
	msix_signal(&s->msix, 1);
	fd = s->msix.vector[0].eventfd;
	msix_reset(&s->msix);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_false(msix_enabled(&s->msix));
	assert_int_equal(seen.irqfds, 0);
	assert_int_equal(seen.nr_routes, 0);
	assert_int_equal(msix_read(&s->msix, 0, 8), 0);
	assert_int_equal(msix_read(&s->msix, 8, 8), 1ULL << 32);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 0);
}

static void *signal_many(void *opaque)
{
	for (unsigned int i = 0; i < 1000; i++)
		msix_signal(opaque, 0);
	return NULL;
}

/* Run with SAN=thread this proves the locking, too. */
static void signals_race_with_masks_and_lose_none(void **state)
{
	struct setup *s = *state;
	pthread_t thread;
	uint64_t count;

	control(s, PCI_MSIX_FLAGS_ENABLE);
	program(s, 0, 0xfee00000, 0x41);
	assert_int_equal(pthread_create(&thread, NULL, signal_many, &s->msix),
			 0);
	for (unsigned int i = 0; i < 200; i++) {
		mask(s, 0, true);
		program(s, 0, 0xfee00000 + (i << 12), 0x41);
		control(s, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
		control(s, PCI_MSIX_FLAGS_ENABLE);
	}
	pthread_join(thread, NULL);
	assert_int_equal(msix_read(&s->msix, PBA, 8), 0);
	count = fired(s, 0);
	assert_in_range(count, 1, 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(capability_describes_table_and_pba),
		TEST(bad_geometry_is_refused),
		TEST(table_reads_back_what_may_be_written),
		TEST(odd_accesses_do_nothing),
		TEST(first_signal_makes_the_route),
		TEST(vectors_that_do_not_exist_are_ignored),
		TEST(disabled_msix_signals_nothing),
		TEST(a_masked_vector_is_pending_until_unmasked),
		TEST(function_mask_holds_back_all_vectors),
		TEST(others_raise_a_vector_by_its_eventfd),
		TEST(an_eventfd_that_nobody_hears_is_not_given_out),
		TEST(the_route_follows_the_table),
		TEST(without_a_route_the_msi_is_sent_directly),
		TEST(exhausted_routes_fall_back_too),
		TEST(a_refused_update_gives_the_route_up),
		TEST(reset_forgets_all),
		TEST(signals_race_with_masks_and_lose_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
