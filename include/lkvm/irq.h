/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupts into the guest (lines, MSIs, irqfds) and the eventfds that a
 * guest's write can signal (ioeventfds): KVM's side of both.
 *
 * All functions may be called from any thread.
 */
#ifndef LKVM_IRQ_H
#define LKVM_IRQ_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Global system interrupts below this are lines of the interrupt controllers,
 * from here on they are MSI routes. */
#define IRQ_NR_LINES 24

/* MSI routes that one VM may hold (KVM's own limit is 4096). */
#define IRQ_MAX_MSI 2048

struct kvm_irq_routing;
struct kvm_irq_routing_entry;

struct irq {
	int vm_fd; /* not owned; -1: no KVM, everything is accepted silently */
	pthread_mutex_t lock;
	struct kvm_irq_routing *routing; /* guarded by lock; built on need */
	uint64_t msi_used[IRQ_MAX_MSI / 64]; /* guarded by lock */
	uint64_t line_sources[IRQ_NR_LINES]; /* who holds it high; lock */
};

/* Prepare for the VM of @vm_fd, which outlives it. Returns 0 or -ENOMEM. */
int irq_init(struct irq *irq, int vm_fd);
void irq_release(struct irq *irq);

/*
 * The architecture's routes of its lines, which stand in KVM's table before
 * all MSI routes: at most IRQ_NR_LINES * 2 of them, once, before any MSI is
 * allocated. Returns 0, -ENOSPC or KVM's -errno.
 */
int irq_set_line_routes(struct irq *irq,
			const struct kvm_irq_routing_entry *routes,
			unsigned int count);

/*
 * Drive line @gsi (< IRQ_NR_LINES), which several devices may share: it is
 * high while any of its sources (@source: 0..63, the caller's own number on
 * that line) is. Returns 0 or -errno.
 */
int irq_set_line(struct irq *irq, uint32_t gsi, unsigned int source,
		 bool level);

/* Send one MSI now, without a route. Returns 0 or -errno. */
int irq_send_msi(struct irq *irq, uint64_t address, uint32_t data);

/*
 * An MSI route that irqfds can name. irq_msi_alloc() hands out a GSI of its
 * own for @address/@data; irq_msi_update() changes where it points.
 * Return 0 or -errno (-ENOSPC: IRQ_MAX_MSI routes are taken).
 */
int irq_msi_alloc(struct irq *irq, uint64_t address, uint32_t data,
		  uint32_t *gsi);
int irq_msi_update(struct irq *irq, uint32_t gsi, uint64_t address,
		   uint32_t data);
void irq_msi_free(struct irq *irq, uint32_t gsi);

/*
 * A write to eventfd @fd raises @gsi (edge), or does so no more. Return 0 or
 * -errno.
 */
int irq_attach_fd(struct irq *irq, uint32_t gsi, int fd);
int irq_detach_fd(struct irq *irq, uint32_t gsi, int fd);

/* A guest's write that signals eventfd @fd and never leaves the kernel. */
struct ioevent {
	bool pio; /* @addr is a port, else an MMIO address */
	uint64_t addr;
	unsigned int len; /* of the write, in bytes; 0: any */
	bool match; /* only when @value is written; @len is not 0 then */
	uint64_t value;
	int fd;
};

/* Return 0 or -errno. */
int ioevent_attach(struct irq *irq, const struct ioevent *event);
int ioevent_detach(struct irq *irq, const struct ioevent *event);

#endif
