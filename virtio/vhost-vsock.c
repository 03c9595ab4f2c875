/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Socket device (virtio 1.2, 5.10) whose packets the host's kernel handles, so
 * that programs of the host reach the guest by AF_VSOCK: <linux/vhost.h>.
 *
 * The event queue stays here, and silent: a guest whose connections are lost
 * has reset the device, and forgotten them itself (5.10.6.7).
 */
#include <endian.h>
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/util.h>
#include <lkvm/vhost.h>
#include <lkvm/virtio.h>

#define VHOST_VSOCK_PATH "/dev/vhost-vsock"
#define VHOST_VSOCK_QUEUE_SIZE 256

/* PCI Code and ID Assignment: communication controller, other. */
#define VSOCK_PCI_CLASS 0x078000

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES }; /* 5.10.2 */

struct vhost_vsock {
	struct virtio_device vdev;
	struct io_thread *thread;
	struct vhost vhost;
	bool active; /* vdev.lock: the driver has set both queues up */
};

static struct vhost_vsock *to_vsock(struct virtio_device *vdev)
{
	return container_of(vdev, struct vhost_vsock, vdev);
}

static int set_running(struct vhost_vsock *vsock, int running)
{
	return ioctl(vsock->vhost.fd, VHOST_VSOCK_SET_RUNNING, &running) ?
		       -errno :
		       0;
}

static int start_locked(struct vhost_vsock *vsock)
{
	int err = vhost_start(&vsock->vhost);

	if (err)
		return err;
	err = set_running(vsock, 1);
	if (err)
		vhost_stop(&vsock->vhost);
	return err;
}

static void stop_locked(struct vhost_vsock *vsock)
{
	if (vsock->active)
		set_running(vsock, 0);
	vhost_stop(&vsock->vhost);
}

static int vsock_activate(struct virtio_device *vdev, uint64_t features)
{
	struct vhost_vsock *vsock = to_vsock(vdev);
	int err;

	(void)features;
	/* A driver that does not set them up gets no service, and no error. */
	if (!vdev->queue[VSOCK_RX].running || !vdev->queue[VSOCK_TX].running)
		return 0;
	err = start_locked(vsock);
	vsock->active = !err;
	return err;
}

static void vsock_deactivate(struct virtio_device *vdev)
{
	struct vhost_vsock *vsock = to_vsock(vdev);

	stop_locked(vsock);
	vsock->active = false;
}

static void vsock_handle_queue(struct virtio_device *vdev, unsigned int index)
{
	vhost_kick(&to_vsock(vdev)->vhost, index);
}

static const struct virtio_device_ops vsock_ops = {
	.id = VIRTIO_ID_VSOCK,
	.pci_class = VSOCK_PCI_CLASS,
	.activate = vsock_activate,
	.deactivate = vsock_deactivate,
	.handle_queue = vsock_handle_queue,
};

/* ---- device type --------------------------------------------------------- */

static void vsock_quiesce(struct device *device)
{
	struct vhost_vsock *vsock =
		container_of(device, struct vhost_vsock, vdev.device);

	pthread_mutex_lock(&vsock->vdev.lock);
	stop_locked(vsock);
	pthread_mutex_unlock(&vsock->vdev.lock);
}

static void vsock_resume(struct device *device)
{
	struct vhost_vsock *vsock =
		container_of(device, struct vhost_vsock, vdev.device);

	pthread_mutex_lock(&vsock->vdev.lock);
	if (vsock->active && start_locked(vsock))
		virtio_device_broken(&vsock->vdev);
	pthread_mutex_unlock(&vsock->vdev.lock);
}

static void vsock_destroy(struct device *device)
{
	struct vhost_vsock *vsock =
		container_of(device, struct vhost_vsock, vdev.device);

	/* A guest need not have reset its devices before it went. */
	virtio_device_set_status(&vsock->vdev, 0);
	vhost_destroy(&vsock->vhost);
	io_thread_destroy(vsock->thread);
	virtio_device_release(&vsock->vdev);
	free(vsock);
}

/* Returns a descriptor that has taken @cid, or -errno after a message. */
static int open_vhost(uint64_t cid, uint64_t *features)
{
	int fd = vhost_open(VHOST_VSOCK_PATH, features);
	int err;

	if (fd < 0) {
		log_err("vsock",
			"--vsock: cannot open " VHOST_VSOCK_PATH ": %s (load "
			"vhost_vsock, or name the host's socket by unix=PATH)",
			strerror(-fd));
		return fd;
	}
	if (!ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid))
		return fd;
	err = -errno;
	if (err == -EADDRINUSE)
		log_err("vsock",
			"--vsock: another virtual machine of this host has the "
			"CID %llu",
			(unsigned long long)cid);
	else
		log_err("vsock",
			"--vsock: the host's kernel refuses the CID "
			"%llu: %s",
			(unsigned long long)cid, strerror(-err));
	close(fd);
	return err;
}

static int vsock_create(struct machine *machine, const void *config,
			struct device **out)
{
	const struct virtio_vsock_options *options = config;
	const struct virtio_vsock_config space = {
		.guest_cid = htole64(options->cid),
	};
	struct vhost_vsock *vsock;
	uint64_t features;
	int fd = open_vhost(options->cid, &features);
	int err;

	if (fd < 0)
		return fd;
	vsock = calloc(1, sizeof(*vsock));
	if (!vsock) {
		close(fd);
		return -ENOMEM;
	}
	strcpy(vsock->vdev.device.name, "vsock0");
	memcpy(vsock->vdev.config, &space, sizeof(space));
	vsock->vdev.config_len = sizeof(space);
	virtio_device_init(&vsock->vdev, machine, &vhost_vsock_type, &vsock_ops,
			   features & BIT_ULL(VIRTIO_VSOCK_F_SEQPACKET),
			   VSOCK_QUEUES, VHOST_VSOCK_QUEUE_SIZE);
	err = io_thread_create("io-vsock0", &vsock->thread);
	if (err) {
		close(fd);
		goto release;
	}
	err = vhost_create(&vsock->vhost, fd, features, &vsock->vdev,
			   vsock->thread, VSOCK_RX, 2);
	if (err)
		goto destroy_thread;
	err = virtio_device_plug(&vsock->vdev);
	if (err)
		goto destroy_vhost;
	*out = &vsock->vdev.device;
	return 0;

destroy_vhost:
	vhost_destroy(&vsock->vhost);
destroy_thread:
	io_thread_destroy(vsock->thread);
release:
	virtio_device_release(&vsock->vdev);
	free(vsock);
	return err;
}

static int vsock_plan(const struct machine *machine, const void *config,
		      struct device_plan *plan)
{
	(void)machine;
	(void)config;
	strcpy(plan->name, "vsock0");
	plan->ops = &vsock_ops;
	device_plan_file(plan, VHOST_VSOCK_PATH, "read-write");
	return 0;
}

/* ---- state --------------------------------------------------------------- */

#define QUEUE_STATE(n) \
	VIRTIO_QUEUE_STATE(struct vhost_vsock, n, VHOST_VSOCK_QUEUE_SIZE)

static const struct state_field vsock_fields[] = {
	VIRTIO_STATE(struct vhost_vsock),
	QUEUE_STATE(VSOCK_RX),
	QUEUE_STATE(VSOCK_TX),
	QUEUE_STATE(VSOCK_EVENT),
	STATE_END,
};

static const struct state_table vsock_state = {
	.name = "vhost-vsock",
	.version = 1,
	.fields = vsock_fields,
};

const struct device_type vhost_vsock_type = {
	.name = "vhost-vsock",
	.create = vsock_create,
	.plan = vsock_plan,
	.destroy = vsock_destroy,
	.reset = virtio_device_machine_reset,
	.quiesce = vsock_quiesce,
	.resume = vsock_resume,
	.state = &vsock_state,
};
