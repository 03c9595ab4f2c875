/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MSI-X: PCI Local Bus 3.0, 6.8.2 (capability, table, pending bits) and 6.8.3
 * (masking).
 *
 * A vector that fires for the first time gets an MSI route and an irqfd, so a
 * vector that never fires costs no route. While the vector is masked nobody
 * writes its eventfd; the route follows the table when the mask opens.
 *
 * Lock order: msix->lock, then the PCI bus's or struct irq's.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#include <lkvm/irq.h>
#include <lkvm/msix.h>
#include <lkvm/util.h>

_Static_assert(MSIX_MAX_VECTORS - 1 <= PCI_MSIX_FLAGS_QSIZE, "6.8.2.3");
_Static_assert(MSIX_MAX_VECTORS <= 64, "the pending bits are one qword");

#define PBA_BYTES 8

static unsigned int table_bytes(unsigned int nr_vectors)
{
	return nr_vectors * PCI_MSIX_ENTRY_SIZE;
}

/* ---- delivery ----------------------------------------------------------- */

static void msix_detach(struct msix *msix, struct msix_vector *v)
{
	if (!v->attached)
		return;
	irq_detach_fd(msix->irq, v->gsi, v->eventfd);
	irq_msi_free(msix->irq, v->gsi);
	v->attached = false;
}

/* Returns 0 or -errno: no route is left, or KVM refuses the address. */
static int msix_attach(struct msix *msix, struct msix_vector *v)
{
	uint32_t gsi;
	int err;

	if (v->eventfd < 0)
		v->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->eventfd < 0)
		return -errno;
	err = irq_msi_alloc(msix->irq, v->address, v->data, &gsi);
	if (err)
		return err;
	err = irq_attach_fd(msix->irq, gsi, v->eventfd);
	if (err) {
		irq_msi_free(msix->irq, gsi);
		return err;
	}
	v->gsi = gsi;
	v->attached = true;
	v->stale = false;
	return 0;
}

/* Let an existing route see what the guest wrote to the table. */
static void msix_update_route(struct msix *msix, struct msix_vector *v)
{
	if (!v->attached || !v->stale)
		return;
	v->stale = false;
	if (irq_msi_update(msix->irq, v->gsi, v->address, v->data))
		msix_detach(msix, v);
}

static void msix_deliver(struct msix *msix, struct msix_vector *v)
{
	v->pending = false;
	if (!v->attached && msix_attach(msix, v)) {
		/* An address that KVM refuses is lost, as on a real bus. */
		irq_send_msi(msix->irq, v->address, v->data);
		return;
	}
	/* Fails only when the counter is full: then it is signalled already. */
	(void)eventfd_write(v->eventfd, 1);
}

static bool msix_masked(const struct msix *msix, const struct msix_vector *v)
{
	return !msix->enabled || msix->function_masked ||
	       v->control & PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

/* After a mask or the table has changed. */
static void msix_refresh_locked(struct msix *msix, struct msix_vector *v)
{
	if (msix_masked(msix, v)) {
		/* Its eventfd then keeps what others write (6.8.3.4). */
		if (v->direct)
			msix_detach(msix, v);
		return;
	}
	msix_update_route(msix, v);
	/* KVM looks at the eventfd's count, and raises what was kept. */
	if (v->direct && !v->attached)
		msix_attach(msix, v);
	if (v->pending)
		msix_deliver(msix, v);
}

void msix_signal(struct msix *msix, unsigned int vector)
{
	struct msix_vector *v;

	if (vector >= msix->nr_vectors)
		return;
	v = &msix->vector[vector];
	pthread_mutex_lock(&msix->lock);
	if (msix_masked(msix, v))
		v->pending = msix->enabled;
	else
		msix_deliver(msix, v);
	pthread_mutex_unlock(&msix->lock);
}

int msix_irqfd(struct msix *msix, unsigned int vector)
{
	struct msix_vector *v;
	int fd = -1;

	if (vector >= msix->nr_vectors)
		return -1;
	v = &msix->vector[vector];
	pthread_mutex_lock(&msix->lock);
	if (msix->enabled) {
		if (v->eventfd < 0)
			v->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		v->direct = v->eventfd >= 0;
		msix_refresh_locked(msix, v);
		/* Nobody would hear it. */
		if (v->direct && !v->attached && !msix_masked(msix, v))
			v->direct = false;
		if (v->direct)
			fd = v->eventfd;
	}
	pthread_mutex_unlock(&msix->lock);
	return fd;
}

bool msix_enabled(struct msix *msix)
{
	bool enabled;

	pthread_mutex_lock(&msix->lock);
	enabled = msix->enabled;
	pthread_mutex_unlock(&msix->lock);
	return enabled;
}

/* ---- guest access ------------------------------------------------------- */

void msix_config_written(struct msix *msix, unsigned int offset,
			 unsigned int len)
{
	unsigned int control = msix->capability + PCI_MSIX_FLAGS;
	uint32_t flags;

	if (offset >= control + 2 || control >= offset + len)
		return;
	/* Read with our lock held: the last writer's view must win. */
	pthread_mutex_lock(&msix->lock);
	flags = pci_config_get(msix->pci, control, 2);
	msix->enabled = flags & PCI_MSIX_FLAGS_ENABLE;
	msix->function_masked = flags & PCI_MSIX_FLAGS_MASKALL;
	for (unsigned int i = 0; i < msix->nr_vectors; i++)
		msix_refresh_locked(msix, &msix->vector[i]);
	pthread_mutex_unlock(&msix->lock);
}

static uint32_t table_read_locked(const struct msix *msix, uint64_t offset)
{
	const struct msix_vector *v =
		&msix->vector[offset / PCI_MSIX_ENTRY_SIZE];

	switch (offset % PCI_MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return (uint32_t)v->address;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return (uint32_t)(v->address >> 32);
	case PCI_MSIX_ENTRY_DATA:
		return v->data;
	default:
		return v->control;
	}
}

static void table_write_locked(struct msix *msix, uint64_t offset,
			       uint32_t value)
{
	struct msix_vector *v = &msix->vector[offset / PCI_MSIX_ENTRY_SIZE];

	switch (offset % PCI_MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		/* 6.8.2.7: a dword's address, the low two bits stay zero. */
		v->address = (v->address & ~0xffffffffULL) | (value & ~3U);
		v->stale = true;
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		v->address = (v->address & 0xffffffffULL) | (uint64_t)value
								    << 32;
		v->stale = true;
		break;
	case PCI_MSIX_ENTRY_DATA:
		v->data = value;
		v->stale = true;
		break;
	default:
		v->control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
		break;
	}
}

static bool is_pending(const struct msix_vector *v)
{
	struct pollfd kept = { .fd = v->eventfd, .events = POLLIN };

	return v->pending ||
	       (v->direct && !v->attached && poll(&kept, 1, 0) > 0);
}

static uint64_t pba_locked(const struct msix *msix)
{
	uint64_t bits = 0;

	for (unsigned int i = 0; i < msix->nr_vectors; i++)
		if (is_pending(&msix->vector[i]))
			bits |= BIT_ULL(i);
	return bits;
}

/* 6.8.2: dwords and qwords, aligned; anything else is undefined. */
static bool access_ok(uint64_t offset, unsigned int len)
{
	return (len == 4 || len == 8) && offset % len == 0;
}

uint64_t msix_read(struct msix *msix, uint64_t offset, unsigned int len)
{
	unsigned int table = table_bytes(msix->nr_vectors);
	uint64_t value = 0;

	if (!access_ok(offset, len))
		return 0;
	pthread_mutex_lock(&msix->lock);
	if (offset < table) {
		value = table_read_locked(msix, offset);
		if (len == 8)
			value |= (uint64_t)table_read_locked(msix, offset + 4)
				 << 32;
	} else if (offset < table + PBA_BYTES) {
		value = pba_locked(msix) >> (8 * (offset - table));
	}
	pthread_mutex_unlock(&msix->lock);
	return value;
}

void msix_write(struct msix *msix, uint64_t offset, uint64_t value,
		unsigned int len)
{
	/* 6.8.2.10: writes to the pending bits are undefined; ignored here. */
	if (!access_ok(offset, len) || offset >= table_bytes(msix->nr_vectors))
		return;
	pthread_mutex_lock(&msix->lock);
	table_write_locked(msix, offset, (uint32_t)value);
	if (len == 8)
		table_write_locked(msix, offset + 4, (uint32_t)(value >> 32));
	msix_refresh_locked(msix, &msix->vector[offset / PCI_MSIX_ENTRY_SIZE]);
	pthread_mutex_unlock(&msix->lock);
}

/* ---- life --------------------------------------------------------------- */

int msix_init(struct msix *msix, struct pci_device *pci, struct irq *irq,
	      unsigned int nr_vectors, unsigned int bar,
	      unsigned int bar_offset)
{
	uint16_t size = htole16((uint16_t)(nr_vectors - 1));
	uint32_t table = htole32(bar_offset | bar);
	uint32_t pba = htole32((bar_offset + table_bytes(nr_vectors)) | bar);
	uint8_t data[PCI_CAP_MSIX_SIZEOF] = { 0 };
	uint8_t mask[PCI_CAP_MSIX_SIZEOF] = { 0 };
	int offset;

	if (!nr_vectors || nr_vectors > MSIX_MAX_VECTORS ||
	    bar >= PCI_STD_NUM_BARS || bar_offset % 8)
		return -EINVAL;
	memcpy(&data[PCI_MSIX_FLAGS], &size, sizeof(size));
	memcpy(&data[PCI_MSIX_TABLE], &table, sizeof(table));
	memcpy(&data[PCI_MSIX_PBA], &pba, sizeof(pba));
	mask[PCI_MSIX_FLAGS + 1] =
		(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
	offset = pci_add_capability(pci, PCI_CAP_ID_MSIX, data, sizeof(data),
				    mask);
	if (offset < 0)
		return offset;

	memset(msix, 0, sizeof(*msix));
	msix->pci = pci;
	msix->irq = irq;
	msix->nr_vectors = nr_vectors;
	msix->capability = (unsigned int)offset;
	pthread_mutex_init(&msix->lock, NULL);
	for (unsigned int i = 0; i < nr_vectors; i++)
		msix->vector[i] = (struct msix_vector) {
			.control = PCI_MSIX_ENTRY_CTRL_MASKBIT,
			.eventfd = -1,
		};
	return 0;
}

void msix_reset(struct msix *msix)
{
	pthread_mutex_lock(&msix->lock);
	msix->enabled = false;
	msix->function_masked = false;
	for (unsigned int i = 0; i < msix->nr_vectors; i++) {
		struct msix_vector *v = &msix->vector[i];

		msix_detach(msix, v);
		if (v->eventfd >= 0)
			close(v->eventfd);
		*v = (struct msix_vector) {
			.control = PCI_MSIX_ENTRY_CTRL_MASKBIT,
			.eventfd = -1,
		};
	}
	pthread_mutex_unlock(&msix->lock);
}

void msix_release(struct msix *msix)
{
	msix_reset(msix);
	pthread_mutex_destroy(&msix->lock);
}
