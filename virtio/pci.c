/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio over PCI: virtio 1.2, 4.1, without the legacy interface.
 *
 * A memory BAR, a page for each structure. It is a 32-bit one because the host
 * bridge's window lies below 4 GiB: a 64-bit BAR could go nowhere else, and
 * costs every kernel two more configuration writes a probe. And an I/O BAR for
 * notifications, where the board has ports: see pci-notify.h.
 *
 * Lock order: vdev->lock, registers_lock, msix.lock, the PCI bus's lock,
 * notify.lock. No lock of this file is held across virtio_device_*().
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/msix.h>
#include <lkvm/pci-notify.h>
#include <lkvm/pci.h>
#include <lkvm/virtio.h>

/* 4.1.2: vendor, first modern device ID, and the least modern revision. */
#define VIRTIO_PCI_VENDOR 0x1af4
#define VIRTIO_PCI_DEVICE_BASE 0x1040
#define VIRTIO_PCI_REVISION 1

#define VIRTIO_BAR 0
#define BAR_PAGE 0x1000U
#define BAR_COMMON 0x0000U
#define BAR_ISR 0x1000U
#define BAR_DEVICE 0x2000U
#define BAR_NOTIFY 0x3000U
#define BAR_MSIX 0x4000U
#define BAR_BYTES 0x8000U
#define NOTIFY_BAR 1 /* ports */

/* 4.1.4.5: bit 0 for used buffers; bit 1 is VIRTIO_PCI_ISR_CONFIG. */
#define ISR_QUEUE 0x1

_Static_assert(sizeof(struct virtio_pci_cap) == 16, "4.1.4");
_Static_assert(sizeof(struct virtio_pci_notify_cap) == 20, "4.1.4.4");
_Static_assert(sizeof(struct virtio_pci_cfg_cap) == 20, "4.1.4.9");
_Static_assert(sizeof(struct virtio_pci_common_cfg) == 56, "4.1.4.3");
_Static_assert(VIRTIO_MAX_QUEUES *PCI_NOTIFY_STRIDE <= BAR_PAGE, "one page");
_Static_assert(VIRTQ_REG_DRIVER == VIRTQ_REG_DESC + 1 &&
		       VIRTQ_REG_DEVICE == VIRTQ_REG_DESC + 2,
	       "4.1.4.3");
_Static_assert(VIRTIO_MAX_QUEUES + 1 <= MSIX_MAX_VECTORS, "4.1.5.1.2");
_Static_assert((MSIX_MAX_VECTORS + 1) * PCI_MSIX_ENTRY_SIZE <= BAR_PAGE,
	       "one page");

/* Registers that belong to the transport, not to the device. */
struct virtio_pci_registers {
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t isr;
};

struct virtio_pci {
	struct pci_device pci;
	struct msix msix;
	struct virtio_device *vdev;
	struct irq *irq;
	char region_name[24];
	unsigned int window; /* offset of the PCI_CFG capability */
	pthread_mutex_t registers_lock;
	struct virtio_pci_registers registers; /* registers_lock */
	struct pci_notify notify;
};

static const struct state_field virtio_pci_fields[] = {
	STATE_FIELD(struct virtio_pci, registers.device_feature_select, 1, 0),
	STATE_FIELD(struct virtio_pci, registers.driver_feature_select, 1, 0),
	STATE_FIELD(struct virtio_pci, registers.queue_select, 1, 0),
	STATE_FIELD(struct virtio_pci, registers.config_vector, 1,
		    VIRTIO_MSI_NO_VECTOR),
	STATE_FIELD(struct virtio_pci, registers.isr, 1, 0),
	STATE_END,
};

static const struct state_table virtio_pci_state = {
	.name = "virtio-pci",
	.version = 1,
	.fields = virtio_pci_fields,
};

/* ---- interrupts --------------------------------------------------------- */

/* 4.1.5.3: INTx follows the ISR status while MSI-X is disabled. */
static void intx_update_locked(struct virtio_pci *vp)
{
	pci_set_intx(&vp->pci, vp->registers.isr && !msix_enabled(&vp->msix));
}

static void isr_raise(struct virtio_pci *vp, uint8_t bit)
{
	pthread_mutex_lock(&vp->registers_lock);
	vp->registers.isr |= bit;
	intx_update_locked(vp);
	pthread_mutex_unlock(&vp->registers_lock);
}

/* 4.1.4.5: reading clears, and takes the line down. */
static uint8_t isr_take(struct virtio_pci *vp)
{
	uint8_t isr;

	pthread_mutex_lock(&vp->registers_lock);
	isr = vp->registers.isr;
	vp->registers.isr = 0;
	intx_update_locked(vp);
	pthread_mutex_unlock(&vp->registers_lock);
	return isr;
}

static void virtio_pci_signal_queue(void *transport, struct virtq *vq)
{
	struct virtio_pci *vp = transport;

	/*
	 * The vector needs no lock: it is frozen while the device is active,
	 * and a queue is signalled only then. "No vector" is out of range.
	 */
	if (msix_enabled(&vp->msix))
		msix_signal(&vp->msix, vq->vector);
	else
		isr_raise(vp, ISR_QUEUE);
}

static int virtio_pci_queue_irqfd(void *transport, struct virtq *vq)
{
	struct virtio_pci *vp = transport;

	return msix_irqfd(&vp->msix, vq->vector);
}

static struct virtio_pci_registers registers_get(struct virtio_pci *vp)
{
	struct virtio_pci_registers registers;

	pthread_mutex_lock(&vp->registers_lock);
	registers = vp->registers;
	pthread_mutex_unlock(&vp->registers_lock);
	return registers;
}

static void virtio_pci_signal_config(void *transport)
{
	struct virtio_pci *vp = transport;

	/* 4.1.4.5.1: the ISR bit is set with MSI-X, too. */
	isr_raise(vp, VIRTIO_PCI_ISR_CONFIG);
	if (msix_enabled(&vp->msix))
		msix_signal(&vp->msix, registers_get(vp).config_vector);
}

/* ---- notifications ------------------------------------------------------ */

static int virtio_pci_attach_notify(void *transport, unsigned int index, int fd)
{
	struct virtio_pci *vp = transport;

	return pci_notify_attach(&vp->notify, index, fd);
}

static void virtio_pci_detach_notify(void *transport, unsigned int index,
				     int fd)
{
	struct virtio_pci *vp = transport;

	pci_notify_detach(&vp->notify, index, fd);
}

static void virtio_pci_bar_moved(struct pci_device *pci, unsigned int bar,
				 uint64_t base, bool mapped)
{
	struct virtio_pci *vp = container_of(pci, struct virtio_pci, pci);

	if (bar == VIRTIO_BAR && !vp->notify.ports)
		pci_notify_moved(&vp->notify, base + BAR_NOTIFY, mapped);
	if (bar == NOTIFY_BAR)
		pci_notify_moved(&vp->notify, base, mapped);
}

/* ---- common configuration (4.1.4.3) -------------------------------------- */

/*
 * 4.1.3.1: a field answers to accesses of exactly its own width, so offset
 * and width together select a register.
 */
#define REG(offset, len) ((offset) << 4 | (len))

static uint16_t vector_bound(const struct virtio_pci *vp, uint64_t vector)
{
	/* 4.1.5.1.2.1: what cannot be mapped reads back as "no vector". */
	return vector < vp->msix.nr_vectors ? (uint16_t)vector :
					      VIRTIO_MSI_NO_VECTOR;
}

static uint32_t driver_features(struct virtio_pci *vp, uint32_t select)
{
	uint64_t features;

	if (select > 1)
		return 0;
	pthread_mutex_lock(&vp->vdev->lock);
	features = vp->vdev->driver_features;
	pthread_mutex_unlock(&vp->vdev->lock);
	return (uint32_t)(features >> (32 * select));
}

/*
 * Is this one of a queue's three addresses, as a whole or by its halves? They
 * lie side by side, in the order of enum virtq_register.
 */
static bool queue_address(uint64_t offset, unsigned int len,
			  enum virtq_register *reg, unsigned int *shift)
{
	if (offset < VIRTIO_PCI_COMMON_Q_DESCLO ||
	    offset > VIRTIO_PCI_COMMON_Q_USEDHI || len < 4 || offset % len)
		return false;
	*reg = VIRTQ_REG_DESC + (offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 8;
	*shift = 8 * (offset % 8);
	return true;
}

static uint64_t queue_read(struct virtio_pci *vp, unsigned int index,
			   uint64_t offset, unsigned int len)
{
	struct virtio_device *vdev = vp->vdev;
	enum virtq_register reg;
	unsigned int shift;

	switch (REG(offset, len)) {
	case REG(VIRTIO_PCI_COMMON_Q_SIZE, 2):
		return virtio_device_get_queue(vdev, index, VIRTQ_REG_SIZE);
	case REG(VIRTIO_PCI_COMMON_Q_MSIX, 2):
		/* One that does not exist reads as zero, not as vector 0. */
		if (index >= vdev->nr_queues)
			return VIRTIO_MSI_NO_VECTOR;
		return virtio_device_get_queue(vdev, index, VIRTQ_REG_VECTOR);
	case REG(VIRTIO_PCI_COMMON_Q_ENABLE, 2):
		return virtio_device_get_queue(vdev, index, VIRTQ_REG_READY);
	case REG(VIRTIO_PCI_COMMON_Q_NOFF, 2):
		return index < vdev->nr_queues ? index : 0;
	default:
		if (!queue_address(offset, len, &reg, &shift))
			return 0;
		return virtio_device_get_queue(vdev, index, reg) >> shift;
	}
}

static uint64_t common_read(struct virtio_pci *vp, uint64_t offset,
			    unsigned int len)
{
	const struct virtio_pci_registers now = registers_get(vp);
	struct virtio_device *vdev = vp->vdev;

	switch (REG(offset, len)) {
	case REG(VIRTIO_PCI_COMMON_DFSELECT, 4):
		return now.device_feature_select;
	case REG(VIRTIO_PCI_COMMON_DF, 4):
		return virtio_device_get_features(vdev,
						  now.device_feature_select);
	case REG(VIRTIO_PCI_COMMON_GFSELECT, 4):
		return now.driver_feature_select;
	case REG(VIRTIO_PCI_COMMON_GF, 4):
		return driver_features(vp, now.driver_feature_select);
	case REG(VIRTIO_PCI_COMMON_MSIX, 2):
		return now.config_vector;
	case REG(VIRTIO_PCI_COMMON_NUMQ, 2):
		return vdev->nr_queues;
	case REG(VIRTIO_PCI_COMMON_STATUS, 1):
		return virtio_device_get_status(vdev);
	case REG(VIRTIO_PCI_COMMON_CFGGENERATION, 1):
		return virtio_device_config_generation(vdev);
	case REG(VIRTIO_PCI_COMMON_Q_SELECT, 2):
		return now.queue_select;
	default:
		return queue_read(vp, now.queue_select, offset, len);
	}
}

static void queue_write(struct virtio_pci *vp, unsigned int index,
			uint64_t offset, uint64_t value, unsigned int len)
{
	uint64_t mask = len == 8 ? UINT64_MAX : UINT32_MAX;
	struct virtio_device *vdev = vp->vdev;
	enum virtq_register reg;
	unsigned int shift;
	uint64_t old;

	switch (REG(offset, len)) {
	case REG(VIRTIO_PCI_COMMON_Q_SIZE, 2):
		virtio_device_set_queue(vdev, index, VIRTQ_REG_SIZE, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_MSIX, 2):
		virtio_device_set_queue(vdev, index, VIRTQ_REG_VECTOR,
					vector_bound(vp, value));
		break;
	case REG(VIRTIO_PCI_COMMON_Q_ENABLE, 2):
		/* 4.1.4.3.2: the driver must not write a 0. */
		if (value == 1)
			virtio_device_set_queue(vdev, index, VIRTQ_REG_READY,
						1);
		break;
	default:
		if (!queue_address(offset, len, &reg, &shift))
			break;
		old = virtio_device_get_queue(vdev, index, reg);
		virtio_device_set_queue(vdev, index, reg,
					(old & ~(mask << shift)) |
						value << shift);
		break;
	}
}

static void registers_reset(struct virtio_pci *vp)
{
	pthread_mutex_lock(&vp->registers_lock);
	state_reset(&virtio_pci_state, vp);
	intx_update_locked(vp);
	pthread_mutex_unlock(&vp->registers_lock);
}

static void status_write(struct virtio_pci *vp, uint8_t status)
{
	/* 4.1.4.3.1: when status reads 0 again, everything is reset. */
	virtio_device_set_status(vp->vdev, status);
	if (!status)
		registers_reset(vp);
}

static void common_write(struct virtio_pci *vp, uint64_t offset, uint64_t value,
			 unsigned int len)
{
	struct virtio_pci_registers *regs = &vp->registers;
	struct virtio_pci_registers now;

	pthread_mutex_lock(&vp->registers_lock);
	switch (REG(offset, len)) {
	case REG(VIRTIO_PCI_COMMON_DFSELECT, 4):
		regs->device_feature_select = (uint32_t)value;
		break;
	case REG(VIRTIO_PCI_COMMON_GFSELECT, 4):
		regs->driver_feature_select = (uint32_t)value;
		break;
	case REG(VIRTIO_PCI_COMMON_MSIX, 2):
		regs->config_vector = vector_bound(vp, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_SELECT, 2):
		regs->queue_select = (uint16_t)value;
		break;
	default:
		break;
	}
	now = *regs;
	pthread_mutex_unlock(&vp->registers_lock);

	switch (REG(offset, len)) {
	case REG(VIRTIO_PCI_COMMON_GF, 4):
		virtio_device_set_features(vp->vdev, now.driver_feature_select,
					   (uint32_t)value);
		break;
	case REG(VIRTIO_PCI_COMMON_STATUS, 1):
		status_write(vp, (uint8_t)value);
		break;
	default:
		queue_write(vp, now.queue_select, offset, value, len);
		break;
	}
}

/* ---- the BARs ----------------------------------------------------------- */

static uint64_t device_read(struct virtio_pci *vp, uint64_t offset,
			    unsigned int len)
{
	uint64_t value = 0;

	virtio_device_read_config(vp->vdev, offset, &value, len);
	return le64toh(value);
}

static void device_write(struct virtio_pci *vp, uint64_t offset, uint64_t value,
			 unsigned int len)
{
	uint64_t bytes = htole64(value);

	virtio_device_write_config(vp->vdev, offset, &bytes, len);
}

static uint64_t virtio_pci_bar_read(void *opaque, uint64_t offset,
				    unsigned int len)
{
	struct virtio_pci *vp = opaque;
	uint64_t at = offset % BAR_PAGE;

	switch (offset - at) {
	case BAR_COMMON:
		return common_read(vp, at, len);
	case BAR_ISR:
		return at == 0 && len == 1 ? isr_take(vp) : 0;
	case BAR_DEVICE:
		return device_read(vp, at, len);
	case BAR_MSIX:
		return msix_read(&vp->msix, at, len);
	default:
		return 0;
	}
}

static void virtio_pci_bar_write(void *opaque, uint64_t offset, uint64_t value,
				 unsigned int len)
{
	struct virtio_pci *vp = opaque;
	uint64_t at = offset % BAR_PAGE;

	switch (offset - at) {
	case BAR_COMMON:
		common_write(vp, at, value, len);
		break;
	case BAR_DEVICE:
		device_write(vp, at, value, len);
		break;
	case BAR_NOTIFY:
		pci_notified(&vp->notify, at);
		break;
	case BAR_MSIX:
		msix_write(&vp->msix, at, value, len);
		break;
	default:
		break;
	}
}

static const struct bus_ops virtio_pci_bar_ops = {
	.read = virtio_pci_bar_read,
	.write = virtio_pci_bar_write,
};

/* ---- the window in configuration space (4.1.4.9) ------------------------ */

static bool window_touched(const struct virtio_pci *vp, unsigned int offset,
			   unsigned int len)
{
	unsigned int data =
		vp->window + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);

	return offset < data + 4 && data < offset + len;
}

/*
 * What the guest wants to reach through the window. NULL when that is not an
 * aligned access inside a BAR: then it reads as zero and writes nothing.
 */
static const struct bus_region *
window_target(struct virtio_pci *vp, uint32_t *offset, uint32_t *length)
{
	uint32_t bar =
		pci_config_get(&vp->pci, vp->window + VIRTIO_PCI_CAP_BAR, 1);
	uint32_t at =
		pci_config_get(&vp->pci, vp->window + VIRTIO_PCI_CAP_OFFSET, 4);
	uint32_t len =
		pci_config_get(&vp->pci, vp->window + VIRTIO_PCI_CAP_LENGTH, 4);

	if (bar > NOTIFY_BAR || (len != 1 && len != 2 && len != 4))
		return NULL;
	if (!vp->pci.bar[bar].size || at % len ||
	    at > vp->pci.bar[bar].size - len)
		return NULL;
	*offset = at;
	*length = len;
	return &vp->pci.bar[bar].region;
}

static void virtio_pci_config_reading(struct pci_device *pci,
				      unsigned int offset, unsigned int len)
{
	struct virtio_pci *vp = container_of(pci, struct virtio_pci, pci);
	unsigned int data =
		vp->window + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	const struct bus_region *target;
	uint64_t value = 0;
	uint32_t at, length;

	if (!window_touched(vp, offset, len))
		return;
	target = window_target(vp, &at, &length);
	if (target)
		value = target->ops->read(target->opaque, at, length) &
			((1ULL << (8 * length)) - 1);
	pci_config_set(pci, data, (uint32_t)value, 4);
}

static void virtio_pci_config_written(struct pci_device *pci,
				      unsigned int offset, unsigned int len)
{
	struct virtio_pci *vp = container_of(pci, struct virtio_pci, pci);
	unsigned int data =
		vp->window + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	const struct bus_region *target;
	uint32_t at, length;

	msix_config_written(&vp->msix, offset, len);
	/* MSI-X may have gone on or off under a pending interrupt. */
	pthread_mutex_lock(&vp->registers_lock);
	intx_update_locked(vp);
	pthread_mutex_unlock(&vp->registers_lock);

	if (!window_touched(vp, offset, len))
		return;
	target = window_target(vp, &at, &length);
	if (target)
		target->ops->write(target->opaque, at,
				   pci_config_get(pci, data, length), length);
}

/* ---- life --------------------------------------------------------------- */

static int add_capability(struct virtio_pci *vp, uint8_t type, uint32_t offset,
			  uint32_t length)
{
	struct virtio_pci_cap cap = {
		.cap_len = sizeof(cap),
		.cfg_type = type,
		.bar = VIRTIO_BAR,
		.offset = htole32(offset),
		.length = htole32(length),
	};

	return pci_add_capability(&vp->pci, PCI_CAP_ID_VNDR, &cap, sizeof(cap),
				  NULL);
}

static int add_notify_capability(struct virtio_pci *vp, uint8_t bar,
				 uint32_t offset)
{
	struct virtio_pci_notify_cap cap = {
		.cap = {
			.cap_len = sizeof(cap),
			.cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
			.bar = bar,
			.offset = htole32(offset),
			.length = htole32(vp->vdev->nr_queues *
					  PCI_NOTIFY_STRIDE),
		},
		.notify_off_multiplier = htole32(PCI_NOTIFY_STRIDE),
	};

	return pci_add_capability(&vp->pci, PCI_CAP_ID_VNDR, &cap, sizeof(cap),
				  NULL);
}

static int add_window_capability(struct virtio_pci *vp)
{
	struct virtio_pci_cfg_cap cap = {
		.cap = {
			.cap_len = sizeof(cap),
			.cfg_type = VIRTIO_PCI_CAP_PCI_CFG,
		},
	};
	struct virtio_pci_cfg_cap mask = {
		.cap = {
			.bar = 0xff,
			.offset = 0xffffffff,
			.length = 0xffffffff,
		},
		.pci_cfg_data = { 0xff, 0xff, 0xff, 0xff },
	};

	return pci_add_capability(&vp->pci, PCI_CAP_ID_VNDR, &cap, sizeof(cap),
				  (const uint8_t *)&mask);
}

static int add_capabilities(struct virtio_pci *vp)
{
	struct virtio_device *vdev = vp->vdev;
	int ret;

	ret = add_capability(vp, VIRTIO_PCI_CAP_COMMON_CFG, BAR_COMMON,
			     sizeof(struct virtio_pci_common_cfg));
	if (ret < 0)
		return ret;
	ret = add_capability(vp, VIRTIO_PCI_CAP_ISR_CFG, BAR_ISR, 1);
	if (ret < 0)
		return ret;
	/* 4.1.4.6: only devices that have a configuration space. */
	if (vdev->config_len)
		ret = add_capability(vp, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_DEVICE,
				     vdev->config_len);
	if (ret < 0)
		return ret;
	/* The first of a kind is the one to prefer (4.1.4.1). */
	if (vp->notify.ports) {
		ret = add_notify_capability(vp, NOTIFY_BAR, 0);
		if (ret < 0)
			return ret;
	}
	ret = add_notify_capability(vp, VIRTIO_BAR, BAR_NOTIFY);
	if (ret < 0)
		return ret;
	ret = add_window_capability(vp);
	if (ret < 0)
		return ret;
	vp->window = (unsigned int)ret;
	return 0;
}

static void virtio_pci_destroy(void *transport)
{
	struct virtio_pci *vp = transport;

	pci_unregister(&vp->pci);
	msix_release(&vp->msix);
	pci_notify_release(&vp->notify);
	pthread_mutex_destroy(&vp->registers_lock);
	free(vp);
}

static void virtio_pci_reset(void *transport)
{
	struct virtio_pci *vp = transport;

	msix_reset(&vp->msix);
	registers_reset(vp);
	pci_device_reset(&vp->pci);
}

static const struct virtio_transport_ops virtio_pci_ops = {
	.signal_queue = virtio_pci_signal_queue,
	.signal_config = virtio_pci_signal_config,
	.queue_irqfd = virtio_pci_queue_irqfd,
	.attach_notify = virtio_pci_attach_notify,
	.detach_notify = virtio_pci_detach_notify,
	.destroy = virtio_pci_destroy,
	.reset = virtio_pci_reset,
};

static void virtio_pci_init(struct virtio_pci *vp, struct machine *machine,
			    struct virtio_device *vdev)
{
	const struct pci_identity id = {
		.vendor = VIRTIO_PCI_VENDOR,
		.device = VIRTIO_PCI_DEVICE_BASE + vdev->ops->id,
		.subsystem_vendor = VIRTIO_PCI_VENDOR,
		/* 4.1.2.1: 0x40 or higher, apart from transitional devices. */
		.subsystem = VIRTIO_PCI_DEVICE_BASE + vdev->ops->id,
		.class_code = vdev->ops->pci_class,
		.revision = VIRTIO_PCI_REVISION,
	};

	vp->vdev = vdev;
	vp->irq = &machine->irq;
	pthread_mutex_init(&vp->registers_lock, NULL);
	state_reset(&virtio_pci_state, vp);
	snprintf(vp->region_name, sizeof(vp->region_name), "%s-pci",
		 vdev->device.name);

	pci_device_init(&vp->pci, &id);
	vp->pci.config_reading = virtio_pci_config_reading;
	vp->pci.config_written = virtio_pci_config_written;
	vp->pci.bar_moved = virtio_pci_bar_moved;
	vp->pci.bar[VIRTIO_BAR] = (struct pci_bar){
		.size = BAR_BYTES,
		.region = {
			.name = vp->region_name,
			.ops = &virtio_pci_bar_ops,
			.opaque = vp,
		},
	};
	pci_notify_init(&vp->notify, vp->irq, vdev,
			machine->pci && pci_has_ports(machine->pci));
	if (vp->notify.ports)
		pci_notify_bar(&vp->notify, &vp->pci.bar[NOTIFY_BAR]);
}

static int virtio_pci_attach(struct machine *machine,
			     struct virtio_device *vdev)
{
	struct virtio_pci *vp;
	int err;

	vp = calloc(1, sizeof(*vp));
	if (!vp)
		return -ENOMEM;
	virtio_pci_init(vp, machine, vdev);
	/* One vector for each queue, one for the configuration. */
	err = msix_init(&vp->msix, &vp->pci, vp->irq, vdev->nr_queues + 1,
			VIRTIO_BAR, BAR_MSIX);
	if (err)
		goto free_vp;
	err = add_capabilities(vp);
	if (err)
		goto release_msix;
	err = machine->pci ? pci_register(machine->pci, &vp->pci) : -ENODEV;
	if (err)
		goto release_msix;
	vdev->transport_ops = &virtio_pci_ops;
	vdev->transport = vp;
	vdev->device.place.pci = &vp->pci;
	return 0;

release_msix:
	msix_release(&vp->msix);
free_vp:
	pci_notify_release(&vp->notify);
	pthread_mutex_destroy(&vp->registers_lock);
	free(vp);
	log_err("virtio", "no room for %s on the PCI bus: %s",
		vdev->device.name, strerror(-err));
	return err;
}

const struct virtio_transport virtio_pci_transport = {
	.attach = virtio_pci_attach,
};
