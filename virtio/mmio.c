/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio over MMIO: virtio 1.2, 4.2, version 2 of the register file.
 *
 * A device takes one of the board's RESOURCE_VIRTIO_PLACEs, and is described
 * to the guest as RESOURCE_VIRTIO_MMIO from then on.
 *
 * Its interrupt is a level: high while InterruptStatus has a bit set, which
 * is what 4.2.3.4 says, and what lets devices share a line and lose nothing.
 * An irqfd would not set the status that the driver reads first, and reaches
 * the interrupt controller by way of a work queue, later than an ioctl.
 *
 * Lock order: vdev->lock, registers_lock, irq->lock. No lock of this file is
 * held across virtio_device_*().
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_mmio.h>

#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/virtio.h>

#define MAGIC 0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR 0x4d564b4c /* "LKVM" */

/* On a line, after the 32 sources that a PCI bus can be. */
#define FIRST_SOURCE 32

_Static_assert(VIRTIO_MMIO_SLOTS <= 64 - FIRST_SOURCE, "irq_set_line()");
_Static_assert(VIRTIO_MMIO_CONFIG + VIRTIO_CONFIG_MAX <= VIRTIO_MMIO_BYTES,
	       "4.2.2");

/* Registers that belong to the transport, not to the device. */
struct virtio_mmio_registers {
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint32_t queue_select;
	uint32_t interrupt_status;
};

struct virtio_mmio {
	struct bus_region region;
	char region_name[24];
	struct virtio_device *vdev;
	struct irq *irq;
	struct resource *place;
	pthread_mutex_t registers_lock;
	struct virtio_mmio_registers registers; /* registers_lock */
};

static const struct state_field virtio_mmio_fields[] = {
	STATE_FIELD(struct virtio_mmio, registers.device_feature_select, 1, 0),
	STATE_FIELD(struct virtio_mmio, registers.driver_feature_select, 1, 0),
	STATE_FIELD(struct virtio_mmio, registers.queue_select, 1, 0),
	STATE_FIELD(struct virtio_mmio, registers.interrupt_status, 1, 0),
	STATE_END,
};

static const struct state_table virtio_mmio_state = {
	.name = "virtio-mmio",
	.version = 1,
	.fields = virtio_mmio_fields,
};

/* ---- interrupts and notifications ---------------------------------------- */

static void line_update_locked(struct virtio_mmio *vm)
{
	irq_set_line(vm->irq, vm->place->gsi, FIRST_SOURCE + vm->place->index,
		     vm->registers.interrupt_status);
}

static void interrupt_raise(struct virtio_mmio *vm, uint32_t bit)
{
	pthread_mutex_lock(&vm->registers_lock);
	vm->registers.interrupt_status |= bit;
	line_update_locked(vm);
	pthread_mutex_unlock(&vm->registers_lock);
}

static void interrupt_acknowledge(struct virtio_mmio *vm, uint32_t bits)
{
	pthread_mutex_lock(&vm->registers_lock);
	vm->registers.interrupt_status &= ~bits;
	line_update_locked(vm);
	pthread_mutex_unlock(&vm->registers_lock);
}

static void virtio_mmio_signal_queue(void *transport, struct virtq *vq)
{
	(void)vq;
	interrupt_raise(transport, VIRTIO_MMIO_INT_VRING);
}

static void virtio_mmio_signal_config(void *transport)
{
	interrupt_raise(transport, VIRTIO_MMIO_INT_CONFIG);
}

/* All queues have one register; the value that is written tells them apart. */
static struct ioevent notify_event(const struct virtio_mmio *vm,
				   unsigned int index, int fd)
{
	return (struct ioevent) {
		.addr = vm->place->base + VIRTIO_MMIO_QUEUE_NOTIFY,
		.len = 4,
		.match = true,
		.value = index,
		.fd = fd,
	};
}

static int virtio_mmio_attach_notify(void *transport, unsigned int index,
				     int fd)
{
	struct virtio_mmio *vm = transport;
	const struct ioevent event = notify_event(vm, index, fd);

	return ioevent_attach(vm->irq, &event);
}

static void virtio_mmio_detach_notify(void *transport, unsigned int index,
				      int fd)
{
	struct virtio_mmio *vm = transport;
	const struct ioevent event = notify_event(vm, index, fd);

	ioevent_detach(vm->irq, &event);
}

/* ---- registers (4.2.2) --------------------------------------------------- */

static struct virtio_mmio_registers registers_get(struct virtio_mmio *vm)
{
	struct virtio_mmio_registers registers;

	pthread_mutex_lock(&vm->registers_lock);
	registers = vm->registers;
	pthread_mutex_unlock(&vm->registers_lock);
	return registers;
}

/* One that reads at all: 0 for the others. */
static uint32_t register_read(struct virtio_mmio *vm, uint64_t offset)
{
	const struct virtio_mmio_registers now = registers_get(vm);
	struct virtio_device *vdev = vm->vdev;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return vdev->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return virtio_device_get_features(vdev,
						  now.device_feature_select);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return virtio_device_get_queue(vdev, now.queue_select,
					       VIRTQ_REG_MAX_SIZE);
	case VIRTIO_MMIO_QUEUE_READY:
		return virtio_device_get_queue(vdev, now.queue_select,
					       VIRTQ_REG_READY);
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return now.interrupt_status;
	case VIRTIO_MMIO_STATUS:
		return virtio_device_get_status(vdev);
	case VIRTIO_MMIO_SHM_LEN_LOW: /* no region has any number */
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return virtio_device_config_generation(vdev);
	default:
		return 0;
	}
}

static void registers_reset(struct virtio_mmio *vm)
{
	pthread_mutex_lock(&vm->registers_lock);
	state_reset(&virtio_mmio_state, vm);
	line_update_locked(vm);
	pthread_mutex_unlock(&vm->registers_lock);
}

/* 4.2.2.1: after a reset no event is pending. */
static void status_write(struct virtio_mmio *vm, uint32_t value)
{
	/* Other bits are reserved, and do not make it a reset. */
	if (value && !(value & 0xff))
		return;
	virtio_device_set_status(vm->vdev, (uint8_t)value);
	if (!value)
		registers_reset(vm);
}

static void select_write(struct virtio_mmio *vm, uint32_t *select,
			 uint32_t value)
{
	pthread_mutex_lock(&vm->registers_lock);
	*select = value;
	pthread_mutex_unlock(&vm->registers_lock);
}

/* Half of one of a queue's addresses. */
static void address_write(struct virtio_mmio *vm, enum virtq_register reg,
			  unsigned int shift, uint32_t value)
{
	uint32_t index = registers_get(vm).queue_select;
	uint64_t old = virtio_device_get_queue(vm->vdev, index, reg);

	virtio_device_set_queue(vm->vdev, index, reg,
				(old & ~((uint64_t)UINT32_MAX << shift)) |
					(uint64_t)value << shift);
}

static void queue_write(struct virtio_mmio *vm, uint64_t offset, uint32_t value)
{
	uint32_t index = registers_get(vm).queue_select;

	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		/* What 16 bits do not hold is no size, as 0 is none. */
		virtio_device_set_queue(vm->vdev, index, VIRTQ_REG_SIZE,
					value > UINT16_MAX ? 0 : value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		virtio_device_set_queue(vm->vdev, index, VIRTQ_REG_READY,
					value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		address_write(vm, VIRTQ_REG_DESC, 0, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		address_write(vm, VIRTQ_REG_DESC, 32, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		address_write(vm, VIRTQ_REG_DRIVER, 0, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		address_write(vm, VIRTQ_REG_DRIVER, 32, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		address_write(vm, VIRTQ_REG_DEVICE, 0, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		address_write(vm, VIRTQ_REG_DEVICE, 32, value);
		break;
	default:
		break;
	}
}

static void register_write(struct virtio_mmio *vm, uint64_t offset,
			   uint32_t value)
{
	struct virtio_mmio_registers *regs = &vm->registers;

	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		select_write(vm, &regs->device_feature_select, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		select_write(vm, &regs->driver_feature_select, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		select_write(vm, &regs->queue_select, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_device_set_features(
			vm->vdev, registers_get(vm).driver_feature_select,
			value);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		virtio_device_notify(vm->vdev, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		interrupt_acknowledge(vm, value);
		break;
	case VIRTIO_MMIO_STATUS:
		status_write(vm, value);
		break;
	default:
		queue_write(vm, offset, value);
		break;
	}
}

static uint64_t virtio_mmio_read(void *opaque, uint64_t offset,
				 unsigned int len)
{
	struct virtio_mmio *vm = opaque;
	uint64_t value = 0;

	if (offset >= VIRTIO_MMIO_CONFIG) {
		virtio_device_read_config(vm->vdev, offset - VIRTIO_MMIO_CONFIG,
					  &value, len);
		return le64toh(value);
	}
	/* 4.2.2.2: registers are read and written as a whole, or not at all. */
	return len == 4 ? register_read(vm, offset) : 0;
}

static void virtio_mmio_write(void *opaque, uint64_t offset, uint64_t value,
			      unsigned int len)
{
	struct virtio_mmio *vm = opaque;
	uint64_t bytes = htole64(value);

	if (offset >= VIRTIO_MMIO_CONFIG)
		virtio_device_write_config(
			vm->vdev, offset - VIRTIO_MMIO_CONFIG, &bytes, len);
	else if (len == 4)
		register_write(vm, offset, (uint32_t)value);
}

static const struct bus_ops virtio_mmio_bus_ops = {
	.read = virtio_mmio_read,
	.write = virtio_mmio_write,
};

/* ---- life ---------------------------------------------------------------- */

static void virtio_mmio_reset(void *transport)
{
	registers_reset(transport);
}

static void virtio_mmio_destroy(void *transport)
{
	struct virtio_mmio *vm = transport;

	bus_unmap(&vm->region);
	registers_reset(vm);
	vm->place->kind = RESOURCE_VIRTIO_PLACE;
	pthread_mutex_destroy(&vm->registers_lock);
	free(vm);
}

static const struct virtio_transport_ops virtio_mmio_ops = {
	.signal_queue = virtio_mmio_signal_queue,
	.signal_config = virtio_mmio_signal_config,
	.attach_notify = virtio_mmio_attach_notify,
	.detach_notify = virtio_mmio_detach_notify,
	.destroy = virtio_mmio_destroy,
	.reset = virtio_mmio_reset,
};

static struct resource *find_place(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->nr_resources; i++)
		if (machine->resource[i].kind == RESOURCE_VIRTIO_PLACE)
			return &machine->resource[i];
	return NULL;
}

static int virtio_mmio_attach(struct machine *machine,
			      struct virtio_device *vdev)
{
	struct virtio_mmio *vm = calloc(1, sizeof(*vm));
	int err = -ENOMEM;

	if (!vm)
		goto failed;
	vm->vdev = vdev;
	vm->irq = &machine->irq;
	vm->place = find_place(machine);
	snprintf(vm->region_name, sizeof(vm->region_name), "%s-mmio",
		 vdev->device.name);
	vm->region.name = vm->region_name;
	vm->region.ops = &virtio_mmio_bus_ops;
	vm->region.opaque = vm;
	err = vm->place ? machine_map(machine, vm->place, &vm->region) :
			  -ENOSPC;
	if (err)
		goto free_vm;
	pthread_mutex_init(&vm->registers_lock, NULL);
	vm->place->kind = RESOURCE_VIRTIO_MMIO;
	vdev->transport_ops = &virtio_mmio_ops;
	vdev->transport = vm;
	vdev->device.place.resource = vm->place;
	return 0;

free_vm:
	free(vm);
failed:
	log_err("virtio", "no room for %s among %u virtio-mmio devices: %s",
		vdev->device.name, VIRTIO_MMIO_SLOTS, strerror(-err));
	return err;
}

const struct virtio_transport virtio_mmio_transport = {
	.attach = virtio_mmio_attach,
};
