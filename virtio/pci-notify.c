/* SPDX-License-Identifier: GPL-2.0 */
/* Queue notifications of virtio over PCI: see pci-notify.h. */
#include <errno.h>
#include <stdio.h>

#include <lkvm/pci-notify.h>

/* Any length: KVM can then answer without decoding the instruction. */
static struct ioevent event_of(const struct pci_notify *notify,
			       unsigned int index)
{
	return (struct ioevent) {
		.pio = notify->ports,
		.addr = notify->base + PCI_NOTIFY_STRIDE * index,
		.fd = notify->fd[index],
	};
}

static int attach_locked(struct pci_notify *notify, unsigned int index)
{
	const struct ioevent event = event_of(notify, index);

	return ioevent_attach(notify->irq, &event);
}

static void detach_locked(struct pci_notify *notify, unsigned int index)
{
	const struct ioevent event = event_of(notify, index);

	ioevent_detach(notify->irq, &event);
}

int pci_notify_attach(struct pci_notify *notify, unsigned int index, int fd)
{
	int err = 0;

	if (index >= VIRTIO_MAX_QUEUES)
		return -EINVAL;
	pthread_mutex_lock(&notify->lock);
	notify->fd[index] = fd;
	if (notify->mapped)
		err = attach_locked(notify, index);
	if (err)
		notify->fd[index] = -1;
	pthread_mutex_unlock(&notify->lock);
	return err;
}

void pci_notify_detach(struct pci_notify *notify, unsigned int index, int fd)
{
	pthread_mutex_lock(&notify->lock);
	if (index < VIRTIO_MAX_QUEUES && notify->fd[index] == fd) {
		if (notify->mapped)
			detach_locked(notify, index);
		notify->fd[index] = -1;
	}
	pthread_mutex_unlock(&notify->lock);
}

void pci_notify_moved(struct pci_notify *notify, uint64_t base, bool mapped)
{
	pthread_mutex_lock(&notify->lock);
	notify->base = base;
	notify->mapped = mapped;
	for (unsigned int i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		if (notify->fd[i] < 0)
			continue;
		if (!mapped)
			detach_locked(notify, i);
		else if (attach_locked(notify, i))
			/* Slower, not lost: the writes come to us instead. */
			log_warn_limited(&notify->warn, "virtio",
					 "%s: no ioeventfd for queue %u",
					 notify->vdev->device.name, i);
	}
	pthread_mutex_unlock(&notify->lock);
}

/* The address names the queue, as it does for an eventfd. */
void pci_notified(struct pci_notify *notify, uint64_t offset)
{
	if (offset % PCI_NOTIFY_STRIDE == 0)
		virtio_device_notify(notify->vdev, offset / PCI_NOTIFY_STRIDE);
}

/* ---- the I/O BAR --------------------------------------------------------- */

static void bar_write(void *opaque, uint64_t offset, uint64_t value,
		      unsigned int len)
{
	(void)value;
	(void)len;
	pci_notified(opaque, offset);
}

static const struct bus_ops bar_ops = {
	.read = bus_read_zero,
	.write = bar_write,
};

void pci_notify_bar(struct pci_notify *notify, struct pci_bar *bar)
{
	/* Of one size, so that where they are does not tell of the queues. */
	*bar = (struct pci_bar) {
		.size = VIRTIO_MAX_QUEUES * PCI_NOTIFY_STRIDE,
		.is_io = true,
		.region = {
			.name = notify->region_name,
			.ops = &bar_ops,
			.opaque = notify,
		},
	};
}

/* ---- life ---------------------------------------------------------------- */

void pci_notify_init(struct pci_notify *notify, struct irq *irq,
		     struct virtio_device *vdev, bool ports)
{
	*notify = (struct pci_notify) {
		.irq = irq,
		.vdev = vdev,
		.ports = ports,
	};
	snprintf(notify->region_name, sizeof(notify->region_name), "%s-notify",
		 vdev->device.name);
	for (unsigned int i = 0; i < VIRTIO_MAX_QUEUES; i++)
		notify->fd[i] = -1;
	pthread_mutex_init(&notify->lock, NULL);
}

void pci_notify_release(struct pci_notify *notify)
{
	pthread_mutex_destroy(&notify->lock);
}
