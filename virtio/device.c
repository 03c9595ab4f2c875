/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all virtio devices have in common (virtio 1.2, 2.1 to 2.5 and 3.1):
 * feature negotiation, device status, bounds of config space and of queue
 * registers, reset. Knows neither device types nor transports.
 *
 * Registers are guarded by vdev->lock. A queue's thread never takes it: a
 * vCPU that resets the device holds it while it waits for that thread. What
 * such a thread may do to the device, virtio_device_broken(), is one atomic
 * operation on the status.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

/* Status bits that are the driver's to set; NEEDS_RESET is the device's. */
#define DRIVER_STATUS                                              \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |    \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | \
	 VIRTIO_CONFIG_S_FAILED)

void virtio_device_init(struct virtio_device *vdev, struct machine *machine,
			const struct device_type *type,
			const struct virtio_device_ops *ops, uint64_t features,
			unsigned int nr_queues, uint16_t queue_size)
{
	vdev->device.type = type;
	vdev->machine = machine;
	vdev->ops = ops;
	vdev->offered = features | BIT_ULL(VIRTIO_F_VERSION_1) |
			BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
			BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	vdev->nr_queues = nr_queues;
	pthread_mutex_init(&vdev->lock, NULL);
	for (unsigned int i = 0; i < nr_queues; i++) {
		vdev->queue[i].device = vdev;
		vdev->queue[i].memory = &machine->memory;
		vdev->queue[i].index = i;
		vdev->queue[i].max_size = queue_size;
		virtq_reset(&vdev->queue[i]);
		vdev->notify_fd[i] = -1;
	}
}

int virtio_device_plug(struct virtio_device *vdev)
{
	const struct virtio_transport *transport =
		vdev->own_transport ?: vdev->machine->virtio_transport;

	return transport->attach(vdev->machine, vdev);
}

void virtio_device_release(struct virtio_device *vdev)
{
	if (vdev->transport_ops)
		vdev->transport_ops->destroy(vdev->transport);
	pthread_mutex_destroy(&vdev->lock);
}

static void reset_locked(struct virtio_device *vdev)
{
	if (vdev->active)
		vdev->ops->deactivate(vdev);
	vdev->active = false;
	for (unsigned int i = 0; i < vdev->nr_queues; i++)
		virtq_reset(&vdev->queue[i]);
	vdev->driver_features = 0;
	vdev->features = 0;
	/* Last: nothing is left that could set NEEDS_RESET once more. */
	atomic_store(&vdev->status, 0);
}

void virtio_device_machine_reset(struct device *device)
{
	struct virtio_device *vdev =
		container_of(device, struct virtio_device, device);

	pthread_mutex_lock(&vdev->lock);
	reset_locked(vdev);
	vdev->config_generation = 0;
	pthread_mutex_unlock(&vdev->lock);
	vdev->transport_ops->reset(vdev->transport);
}

int virtio_device_notify_fd(struct virtio_device *vdev, unsigned int index,
			    int fd)
{
	int *attached = &vdev->notify_fd[index];
	int err = 0;

	if (*attached >= 0)
		vdev->transport_ops->detach_notify(vdev->transport, index,
						   *attached);
	*attached = -1;
	if (fd >= 0)
		err = vdev->transport_ops->attach_notify(vdev->transport, index,
							 fd);
	if (!err)
		*attached = fd;
	return err;
}

void virtio_device_signal(struct virtio_device *vdev, struct virtq *vq)
{
	if (virtq_should_signal(vq))
		vdev->transport_ops->signal_queue(vdev->transport, vq);
}

void virtio_device_config_changed(struct virtio_device *vdev)
{
	vdev->config_generation++;
	if (atomic_load(&vdev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		vdev->transport_ops->signal_config(vdev->transport);
}

void virtio_device_broken(struct virtio_device *vdev)
{
	uint8_t old =
		atomic_fetch_or(&vdev->status, VIRTIO_CONFIG_S_NEEDS_RESET);

	/* 2.1.2: the driver is told, if it is there to be told. */
	if (!(old & VIRTIO_CONFIG_S_NEEDS_RESET) &&
	    old & VIRTIO_CONFIG_S_DRIVER_OK)
		vdev->transport_ops->signal_config(vdev->transport);
}

/* ---- features and status ------------------------------------------------- */

uint32_t virtio_device_get_features(struct virtio_device *vdev, uint32_t select)
{
	return select < 2 ? (uint32_t)(vdev->offered >> (32 * select)) : 0;
}

void virtio_device_set_features(struct virtio_device *vdev, uint32_t select,
				uint32_t value)
{
	unsigned int shift = 32 * (select & 1);

	if (select > 1)
		return;
	pthread_mutex_lock(&vdev->lock);
	/* 3.1.1: what FEATURES_OK has sealed does not change. */
	if (!(atomic_load(&vdev->status) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		vdev->driver_features &= ~((uint64_t)UINT32_MAX << shift);
		vdev->driver_features |= (uint64_t)value << shift;
	}
	pthread_mutex_unlock(&vdev->lock);
}

uint8_t virtio_device_get_status(struct virtio_device *vdev)
{
	return atomic_load(&vdev->status);
}

static void activate_locked(struct virtio_device *vdev)
{
	int err = 0;

	for (unsigned int i = 0; i < vdev->nr_queues && !err; i++)
		if (vdev->queue[i].ready)
			err = virtq_start(&vdev->queue[i], vdev->features);
	if (!err)
		err = vdev->ops->activate(vdev, vdev->features);
	if (err)
		virtio_device_broken(vdev);
	else
		vdev->active = true;
}

/* Is this a subset that a device without legacy interface can live with? */
static bool features_ok(struct virtio_device *vdev)
{
	if (!(vdev->driver_features & ~vdev->offered) &&
	    vdev->driver_features & BIT_ULL(VIRTIO_F_VERSION_1))
		return true;
	log_warn_limited(&vdev->warn, "virtio",
			 "%s: features %#llx of the guest are refused",
			 vdev->device.name,
			 (unsigned long long)vdev->driver_features);
	return false;
}

/* Bits are only ever added (2.1.1); the way back is a reset. */
static void set_status_locked(struct virtio_device *vdev, uint8_t status)
{
	uint8_t now = atomic_load(&vdev->status);
	uint8_t set = status & DRIVER_STATUS & ~now;

	if (set & VIRTIO_CONFIG_S_FEATURES_OK) {
		if (features_ok(vdev))
			vdev->features = vdev->driver_features;
		else
			set &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	}
	/* 3.1.1: nothing runs on features that were not agreed on. */
	if (!((now | set) & VIRTIO_CONFIG_S_FEATURES_OK) ||
	    (now | set) & VIRTIO_CONFIG_S_FAILED)
		set &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	if (set & VIRTIO_CONFIG_S_FEATURES_OK && vdev->ops->negotiated)
		vdev->ops->negotiated(vdev);
	/* Before activation, which may set NEEDS_RESET and must interrupt. */
	atomic_fetch_or(&vdev->status, set);
	if (set & VIRTIO_CONFIG_S_DRIVER_OK)
		activate_locked(vdev);
}

void virtio_device_set_status(struct virtio_device *vdev, uint8_t status)
{
	pthread_mutex_lock(&vdev->lock);
	if (status)
		set_status_locked(vdev, status);
	else
		reset_locked(vdev);
	pthread_mutex_unlock(&vdev->lock);
}

/* ---- config space -------------------------------------------------------- */

static bool config_range_ok(const struct virtio_device *vdev, uint64_t offset,
			    unsigned int len)
{
	return offset <= vdev->config_len && len <= vdev->config_len - offset;
}

void virtio_device_read_config(struct virtio_device *vdev, uint64_t offset,
			       void *data, unsigned int len)
{
	memset(data, 0, len);
	if (!config_range_ok(vdev, offset, len))
		return;
	pthread_mutex_lock(&vdev->lock);
	memcpy(data, vdev->config + offset, len);
	if (vdev->active && vdev->ops->config_was_read)
		vdev->ops->config_was_read(vdev, (unsigned int)offset, len);
	pthread_mutex_unlock(&vdev->lock);
}

void virtio_device_write_config(struct virtio_device *vdev, uint64_t offset,
				const void *data, unsigned int len)
{
	if (!vdev->ops->config_write || !config_range_ok(vdev, offset, len))
		return;
	pthread_mutex_lock(&vdev->lock);
	vdev->ops->config_write(vdev, (unsigned int)offset, data, len);
	pthread_mutex_unlock(&vdev->lock);
}

uint32_t virtio_device_config_generation(struct virtio_device *vdev)
{
	uint32_t generation;

	pthread_mutex_lock(&vdev->lock);
	generation = vdev->config_generation;
	pthread_mutex_unlock(&vdev->lock);
	return generation;
}

/* ---- queue registers ----------------------------------------------------- */

static uint64_t get_register(const struct virtq *vq, enum virtq_register reg)
{
	switch (reg) {
	case VIRTQ_REG_MAX_SIZE:
		return vq->max_size;
	case VIRTQ_REG_SIZE:
		return vq->size;
	case VIRTQ_REG_READY:
		return vq->ready;
	case VIRTQ_REG_VECTOR:
		return vq->vector;
	case VIRTQ_REG_DESC:
		return vq->desc_addr;
	case VIRTQ_REG_DRIVER:
		return vq->driver_addr;
	case VIRTQ_REG_DEVICE:
		return vq->device_addr;
	}
	return 0;
}

/* Any value is taken here; virtq_start() judges them together. */
static void set_register(struct virtq *vq, enum virtq_register reg,
			 uint64_t value)
{
	switch (reg) {
	case VIRTQ_REG_MAX_SIZE:
		break;
	case VIRTQ_REG_SIZE:
		vq->size = (uint16_t)value;
		break;
	case VIRTQ_REG_READY:
		vq->ready = value == 1;
		break;
	case VIRTQ_REG_VECTOR:
		vq->vector = (uint16_t)value;
		break;
	case VIRTQ_REG_DESC:
		vq->desc_addr = value;
		break;
	case VIRTQ_REG_DRIVER:
		vq->driver_addr = value;
		break;
	case VIRTQ_REG_DEVICE:
		vq->device_addr = value;
		break;
	}
}

uint64_t virtio_device_get_queue(struct virtio_device *vdev, unsigned int index,
				 enum virtq_register reg)
{
	uint64_t value;

	if (index >= vdev->nr_queues)
		return 0;
	pthread_mutex_lock(&vdev->lock);
	value = get_register(&vdev->queue[index], reg);
	pthread_mutex_unlock(&vdev->lock);
	return value;
}

void virtio_device_set_queue(struct virtio_device *vdev, unsigned int index,
			     enum virtq_register reg, uint64_t value)
{
	if (index >= vdev->nr_queues)
		return;
	pthread_mutex_lock(&vdev->lock);
	/* A queue in use would follow addresses that nobody has checked. */
	if (!(atomic_load(&vdev->status) & VIRTIO_CONFIG_S_DRIVER_OK))
		set_register(&vdev->queue[index], reg, value);
	pthread_mutex_unlock(&vdev->lock);
}

void virtio_device_notify(struct virtio_device *vdev, unsigned int index)
{
	bool running;

	if (index >= vdev->nr_queues)
		return;
	pthread_mutex_lock(&vdev->lock);
	running = vdev->active && vdev->queue[index].running;
	pthread_mutex_unlock(&vdev->lock);
	if (running)
		vdev->ops->handle_queue(vdev, index);
}
