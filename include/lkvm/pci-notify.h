/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a driver notifies the queues of a virtio device on PCI (virtio 1.2,
 * 4.1.4.4): a write to an address or port of the queue, which KVM turns into
 * an eventfd's signal.
 *
 * Ports are preferred where the board has them: of a write to a port, KVM is
 * told all by the CPU, and need not decode the guest's instruction as it must
 * for memory on AMD. Drivers that cannot use ports still find the notifications
 * in the memory BAR; each then costs an exit to us.
 */
#ifndef LKVM_PCI_NOTIFY_H
#define LKVM_PCI_NOTIFY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/irq.h>
#include <lkvm/log.h>
#include <lkvm/pci.h>
#include <lkvm/virtio.h>

/* Bytes from one queue's to the next one's. */
#define PCI_NOTIFY_STRIDE 4

struct pci_notify {
	struct irq *irq;
	struct virtio_device *vdev;
	bool ports; /* fixed */
	char region_name[24];
	pthread_mutex_t lock; /* guards what follows */
	uint64_t base; /* address or port of queue 0's, while mapped */
	bool mapped;
	int fd[VIRTIO_MAX_QUEUES]; /* -1: writes come to us */
	struct ratelimit warn;
};

/* Main thread. What is signalled by @ports writes, or by memory writes. */
void pci_notify_init(struct pci_notify *notify, struct irq *irq,
		     struct virtio_device *vdev, bool ports);
void pci_notify_release(struct pci_notify *notify);

/* Fill @bar, an I/O BAR with room for all queues. Needs @ports. */
void pci_notify_bar(struct pci_notify *notify, struct pci_bar *bar);

/*
 * Let notifications of queue @index signal eventfd @fd, or @fd no more. Any
 * thread. Returns 0, -EINVAL (no such queue), or KVM's -errno.
 */
int pci_notify_attach(struct pci_notify *notify, unsigned int index, int fd);
void pci_notify_detach(struct pci_notify *notify, unsigned int index, int fd);

/* Queue 0's is at @base from now on, or no more. With the PCI bus's lock. */
void pci_notify_moved(struct pci_notify *notify, uint64_t base, bool mapped);

/*
 * A guest wrote at @offset from queue 0's, and no eventfd took it. vCPU's
 * thread.
 */
void pci_notified(struct pci_notify *notify, uint64_t offset);

#endif
