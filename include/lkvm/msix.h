/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2): table, pending bits, masks, and an irqfd
 * for each vector in use. Every index that a guest supplies is bounded here.
 */
#ifndef LKVM_MSIX_H
#define LKVM_MSIX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/pci.h>

struct irq;

#define MSIX_MAX_VECTORS 64

struct msix_vector {
	uint64_t address;
	uint32_t data;
	uint32_t control; /* bit 0: masked */
	uint32_t gsi; /* route, when irqfd is attached */
	int eventfd; /* -1 until first used */
	bool attached; /* eventfd is an irqfd of gsi */
	bool stale; /* the route has not seen the last address or data */
	bool direct; /* others write eventfd: see msix_irqfd() */
	bool pending;
};

struct msix {
	struct pci_device *pci;
	struct irq *irq;
	unsigned int nr_vectors;
	unsigned int capability; /* offset in configuration space */
	pthread_mutex_t lock; /* guards the vectors and the two below */
	bool enabled;
	bool function_masked;
	struct msix_vector vector[MSIX_MAX_VECTORS];
};

/*
 * Add the capability to @pci, which is not registered yet, with a table of
 * @nr_vectors (1..MSIX_MAX_VECTORS) and the PBA behind it at @bar_offset (a
 * multiple of 8) of BAR @bar. Returns 0, -EINVAL or -ENOSPC. Main thread.
 */
int msix_init(struct msix *msix, struct pci_device *pci, struct irq *irq,
	      unsigned int nr_vectors, unsigned int bar,
	      unsigned int bar_offset);

/* Give back routes and eventfds, and all else. vCPUs are gone. */
void msix_release(struct msix *msix);

/* Off, all vectors masked, none pending. Also for a machine's reset. */
void msix_reset(struct msix *msix);

/* From pci_device.config_written(), with its arguments. vCPU's thread. */
void msix_config_written(struct msix *msix, unsigned int offset,
			 unsigned int len);

/*
 * Guest access to table and PBA; @offset is from bar_offset. Anything but an
 * aligned dword or qword inside them reads as zero and writes nothing. vCPU's
 * thread.
 */
uint64_t msix_read(struct msix *msix, uint64_t offset, unsigned int len);
void msix_write(struct msix *msix, uint64_t offset, uint64_t value,
		unsigned int len);

/* Is MSI-X on (so that INTx must stay quiet)? Any thread. */
bool msix_enabled(struct msix *msix);

/*
 * Raise @vector; a masked one becomes pending. One that does not exist is
 * ignored. Any thread.
 */
void msix_signal(struct msix *msix, unsigned int vector);

/*
 * The eventfd of @vector, for somebody outside of this process to raise it by;
 * what is written while the vector is masked stays pending. It remains msix's
 * own, and good until msix_reset(). Returns -1 when MSI-X is off, there is no
 * such vector, or no eventfd is to be had. Any thread.
 */
int msix_irqfd(struct msix *msix, unsigned int vector);

#endif
