/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupts and ioeventfds: see irq.h and Documentation/virt/kvm/api.rst.
 *
 * KVM takes its table of routes as a whole; it is kept here: the lines' routes
 * first, then the MSI routes in no order.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <lkvm/irq.h>
#include <lkvm/util.h>

#define ROUTES_MAX (IRQ_NR_LINES * 2 + IRQ_MAX_MSI)

int irq_init(struct irq *irq, int vm_fd)
{
	memset(irq, 0, sizeof(*irq));
	irq->vm_fd = vm_fd;
	irq->routing = calloc(
		1, sizeof(*irq->routing) +
			   ROUTES_MAX * sizeof(irq->routing->entries[0]));
	if (!irq->routing)
		return -ENOMEM;
	pthread_mutex_init(&irq->lock, NULL);
	return 0;
}

void irq_release(struct irq *irq)
{
	free(irq->routing);
	irq->routing = NULL;
	pthread_mutex_destroy(&irq->lock);
}

/* An ioctl on the VM; without KVM everything succeeds. */
static int irq_ioctl(struct irq *irq, unsigned long request, void *arg)
{
	if (irq->vm_fd < 0)
		return 0;
	return ioctl(irq->vm_fd, request, arg) < 0 ? -errno : 0;
}

static int routes_commit_locked(struct irq *irq)
{
	return irq_ioctl(irq, KVM_SET_GSI_ROUTING, irq->routing);
}

int irq_set_line_routes(struct irq *irq,
			const struct kvm_irq_routing_entry *routes,
			unsigned int count)
{
	int err;

	if (count > IRQ_NR_LINES * 2)
		return -ENOSPC;
	pthread_mutex_lock(&irq->lock);
	memcpy(irq->routing->entries, routes, count * sizeof(*routes));
	irq->routing->nr = count;
	err = routes_commit_locked(irq);
	pthread_mutex_unlock(&irq->lock);
	return err;
}

static int irq_set_line_locked(struct irq *irq, uint32_t gsi, bool level)
{
	struct kvm_irq_level line = { .irq = gsi, .level = level };

	return irq_ioctl(irq, KVM_IRQ_LINE, &line);
}

int irq_set_line(struct irq *irq, uint32_t gsi, unsigned int source, bool level)
{
	uint64_t before;
	int err = 0;

	if (gsi >= IRQ_NR_LINES || source >= 64)
		return -EINVAL;
	pthread_mutex_lock(&irq->lock);
	before = irq->line_sources[gsi];
	if (level)
		irq->line_sources[gsi] |= BIT_ULL(source);
	else
		irq->line_sources[gsi] &= ~BIT_ULL(source);
	if (!before != !irq->line_sources[gsi])
		err = irq_set_line_locked(irq, gsi, level);
	pthread_mutex_unlock(&irq->lock);
	return err;
}

int irq_send_msi(struct irq *irq, uint64_t address, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)address,
		.address_hi = (uint32_t)(address >> 32),
		.data = data,
	};

	return irq_ioctl(irq, KVM_SIGNAL_MSI, &msi);
}

static struct kvm_irq_routing_entry *route_find_locked(struct irq *irq,
						       uint32_t gsi)
{
	/* Newest first: it is the one that is most often changed. */
	for (uint32_t i = irq->routing->nr; i-- > 0;)
		if (irq->routing->entries[i].gsi == gsi)
			return &irq->routing->entries[i];
	return NULL;
}

static void route_set_msi(struct kvm_irq_routing_entry *route, uint32_t gsi,
			  uint64_t address, uint32_t data)
{
	*route = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {
			.address_lo = (uint32_t)address,
			.address_hi = (uint32_t)(address >> 32),
			.data = data,
		},
	};
}

static bool msi_used(const struct irq *irq, unsigned int i)
{
	return irq->msi_used[i / 64] & BIT_ULL(i % 64);
}

int irq_msi_alloc(struct irq *irq, uint64_t address, uint32_t data,
		  uint32_t *gsi)
{
	unsigned int i = 0;
	int err = -ENOSPC;

	pthread_mutex_lock(&irq->lock);
	while (i < IRQ_MAX_MSI && msi_used(irq, i))
		i++;
	if (i < IRQ_MAX_MSI) {
		route_set_msi(&irq->routing->entries[irq->routing->nr++],
			      IRQ_NR_LINES + i, address, data);
		err = routes_commit_locked(irq);
		if (err)
			irq->routing->nr--;
	}
	if (!err) {
		irq->msi_used[i / 64] |= BIT_ULL(i % 64);
		*gsi = IRQ_NR_LINES + i;
	}
	pthread_mutex_unlock(&irq->lock);
	return err;
}

int irq_msi_update(struct irq *irq, uint32_t gsi, uint64_t address,
		   uint32_t data)
{
	struct kvm_irq_routing_entry *route;
	struct kvm_irq_routing_entry before;
	int err = -ENOENT;

	pthread_mutex_lock(&irq->lock);
	route = route_find_locked(irq, gsi);
	if (route) {
		before = *route;
		route_set_msi(route, gsi, address, data);
		err = routes_commit_locked(irq);
		/* KVM kept its old table; so does ours. */
		if (err)
			*route = before;
	}
	pthread_mutex_unlock(&irq->lock);
	return err;
}

void irq_msi_free(struct irq *irq, uint32_t gsi)
{
	struct kvm_irq_routing_entry *route;
	unsigned int i = gsi - IRQ_NR_LINES;

	pthread_mutex_lock(&irq->lock);
	route = gsi >= IRQ_NR_LINES ? route_find_locked(irq, gsi) : NULL;
	if (route) {
		*route = irq->routing->entries[--irq->routing->nr];
		irq->msi_used[i / 64] &= ~BIT_ULL(i % 64);
		/* A stale route points nowhere without an irqfd on it. */
		routes_commit_locked(irq);
	}
	pthread_mutex_unlock(&irq->lock);
}

static int irqfd_set(struct irq *irq, uint32_t gsi, int fd, uint32_t flags)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = flags,
	};

	return irq_ioctl(irq, KVM_IRQFD, &irqfd);
}

int irq_attach_fd(struct irq *irq, uint32_t gsi, int fd)
{
	return irqfd_set(irq, gsi, fd, 0);
}

int irq_detach_fd(struct irq *irq, uint32_t gsi, int fd)
{
	return irqfd_set(irq, gsi, fd, KVM_IRQFD_FLAG_DEASSIGN);
}

static int ioevent_set(struct irq *irq, const struct ioevent *event,
		       uint32_t flags)
{
	struct kvm_ioeventfd args = {
		.datamatch = event->value,
		.addr = event->addr,
		.len = event->len,
		.fd = event->fd,
		.flags = flags,
	};

	if (event->pio)
		args.flags |= KVM_IOEVENTFD_FLAG_PIO;
	if (event->match)
		args.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
	return irq_ioctl(irq, KVM_IOEVENTFD, &args);
}

int ioevent_attach(struct irq *irq, const struct ioevent *event)
{
	return ioevent_set(irq, event, 0);
}

int ioevent_detach(struct irq *irq, const struct ioevent *event)
{
	return ioevent_set(irq, event, KVM_IOEVENTFD_FLAG_DEASSIGN);
}
