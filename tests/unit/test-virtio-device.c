/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio/device.c between a device and a transport that this file plays:
 * negotiation, status, bounds and freezing of registers, reset (virtio 1.2,
 * 2.1 to 2.5 and 3.1).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define NR_QUEUES 2
#define QUEUE_SIZE 64
#define FEATURE BIT_ULL(5)
#define CONFIG_LEN 12

#define S_NEGOTIATING (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define S_AGREED (S_NEGOTIATING | VIRTIO_CONFIG_S_FEATURES_OK)
#define S_RUNNING (S_AGREED | VIRTIO_CONFIG_S_DRIVER_OK)

struct fixture {
	struct machine machine;
	struct virtio_transport transport;
	struct virtio_device vdev;
	/* what the device saw */
	int activate_result;
	unsigned int activations, deactivations, notifications;
	unsigned int config_writes;
	uint64_t active_features;
	/* what the transport saw */
	unsigned int config_signals, queue_signals, resets, destroys;
	int attach_result;
	int attached_fd;
};

static struct fixture *of_device(struct virtio_device *vdev)
{
	return container_of(vdev, struct fixture, vdev);
}

static int fake_activate(struct virtio_device *vdev, uint64_t features)
{
	of_device(vdev)->activations++;
	of_device(vdev)->active_features = features;
	return of_device(vdev)->activate_result;
}

static void fake_deactivate(struct virtio_device *vdev)
{
	/* What is left of a request may still look at its queue. */
	assert_true(vdev->queue[0].running);
	of_device(vdev)->deactivations++;
}

static void fake_handle_queue(struct virtio_device *vdev, unsigned int index)
{
	assert_int_equal(index, 0);
	of_device(vdev)->notifications++;
}

static void fake_config_write(struct virtio_device *vdev, unsigned int offset,
			      const void *data, unsigned int len)
{
	memcpy(vdev->config + offset, data, len);
	of_device(vdev)->config_writes++;
}

static const struct virtio_device_ops fake_ops = {
	.id = 42,
	.activate = fake_activate,
	.deactivate = fake_deactivate,
	.handle_queue = fake_handle_queue,
	.config_write = fake_config_write,
};

static void fake_signal_queue(void *transport, struct virtq *vq)
{
	struct fixture *f = transport;

	(void)vq;
	f->queue_signals++;
}

static void fake_signal_config(void *transport)
{
	struct fixture *f = transport;

	f->config_signals++;
}

static int fake_attach_notify(void *transport, unsigned int index, int fd)
{
	struct fixture *f = transport;

	(void)index;
	assert_int_equal(f->attached_fd, -1);
	if (!f->attach_result)
		f->attached_fd = fd;
	return f->attach_result;
}

static void fake_detach_notify(void *transport, unsigned int index, int fd)
{
	struct fixture *f = transport;

	(void)index;
	assert_int_equal(f->attached_fd, fd);
	f->attached_fd = -1;
}

static void fake_destroy(void *transport)
{
	struct fixture *f = transport;

	f->destroys++;
}

static void fake_reset(void *transport)
{
	struct fixture *f = transport;

	f->resets++;
}

static const struct virtio_transport_ops fake_transport_ops = {
	.signal_queue = fake_signal_queue,
	.signal_config = fake_signal_config,
	.attach_notify = fake_attach_notify,
	.detach_notify = fake_detach_notify,
	.destroy = fake_destroy,
	.reset = fake_reset,
};

static int fake_attach(struct machine *machine, struct virtio_device *vdev)
{
	(void)machine;
	vdev->transport_ops = &fake_transport_ops;
	vdev->transport = of_device(vdev);
	return 0;
}

static const struct device_type fake_type = { .name = "fake" };

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	log_set_level(LOG_LEVEL_ERROR);
	memory_init(&f->machine.memory, -1);
	assert_int_equal(memory_add_ram(&f->machine.memory, 0, 1 * MIB), 0);
	f->transport.attach = fake_attach;
	f->machine.virtio_transport = &f->transport;
	f->attached_fd = -1;
	virtio_device_init(&f->vdev, &f->machine, &fake_type, &fake_ops,
			   FEATURE, NR_QUEUES, QUEUE_SIZE);
	f->vdev.config_len = CONFIG_LEN;
	assert_int_equal(virtio_device_plug(&f->vdev), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_device_set_status(&f->vdev, 0);
	virtio_device_release(&f->vdev);
	assert_int_equal(f->destroys, 1);
	memory_release(&f->machine.memory);
	free(f);
	return 0;
}

static void accept_features(struct fixture *f, uint64_t features)
{
	virtio_device_set_features(&f->vdev, 0, (uint32_t)features);
	virtio_device_set_features(&f->vdev, 1, (uint32_t)(features >> 32));
}

/* Up to FEATURES_OK, and queue 0 set up. */
static void negotiate(struct fixture *f)
{
	virtio_device_set_status(&f->vdev, S_NEGOTIATING);
	accept_features(f, BIT_ULL(VIRTIO_F_VERSION_1) | FEATURE);
	virtio_device_set_status(&f->vdev, S_AGREED);
	assert_int_equal(virtio_device_get_status(&f->vdev), S_AGREED);
	virtio_device_set_queue(&f->vdev, 0, VIRTQ_REG_DESC, 0x1000);
	virtio_device_set_queue(&f->vdev, 0, VIRTQ_REG_DRIVER, 0x2000);
	virtio_device_set_queue(&f->vdev, 0, VIRTQ_REG_DEVICE, 0x3000);
	virtio_device_set_queue(&f->vdev, 0, VIRTQ_REG_READY, 1);
}

static void run(struct fixture *f)
{
	negotiate(f);
	virtio_device_set_status(&f->vdev, S_RUNNING);
	assert_int_equal(virtio_device_get_status(&f->vdev), S_RUNNING);
}

/* ---- negotiation -------------------------------------------------------- */

static void features_are_offered_in_halves(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(virtio_device_get_features(&f->vdev, 0),
			 FEATURE | BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
				 BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC));
	assert_int_equal(virtio_device_get_features(&f->vdev, 1),
			 BIT_ULL(VIRTIO_F_VERSION_1) >> 32);
	assert_int_equal(virtio_device_get_features(&f->vdev, 2), 0);
	assert_int_equal(virtio_device_get_features(&f->vdev, UINT32_MAX), 0);
}

static void features_without_version_1_are_refused(void **state)
{
	struct fixture *f = *state;

	accept_features(f, FEATURE);
	virtio_device_set_status(&f->vdev, S_AGREED);
	assert_int_equal(virtio_device_get_status(&f->vdev), S_NEGOTIATING);
	assert_int_equal(f->vdev.features, 0);
}

static void features_not_offered_are_refused(void **state)
{
	struct fixture *f = *state;

	accept_features(f, BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(6));
	virtio_device_set_status(&f->vdev, S_AGREED);
	assert_int_equal(virtio_device_get_status(&f->vdev), S_NEGOTIATING);
	accept_features(f, BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(63));
	virtio_device_set_status(&f->vdev, S_AGREED);
	assert_int_equal(virtio_device_get_status(&f->vdev), S_NEGOTIATING);
	/* A driver that thinks again is welcome. */
	accept_features(f, BIT_ULL(VIRTIO_F_VERSION_1));
	virtio_device_set_status(&f->vdev, S_AGREED);
	assert_int_equal(virtio_device_get_status(&f->vdev), S_AGREED);
}

static void features_are_sealed_by_features_ok(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	accept_features(f, UINT64_MAX);
	virtio_device_set_features(&f->vdev, 2, UINT32_MAX);
	assert_int_equal(f->vdev.driver_features,
			 BIT_ULL(VIRTIO_F_VERSION_1) | FEATURE);
	virtio_device_set_status(&f->vdev, S_RUNNING);
	assert_int_equal(f->active_features,
			 BIT_ULL(VIRTIO_F_VERSION_1) | FEATURE);
}

/* ---- status ------------------------------------------------------------- */

static void driver_ok_activates_once(void **state)
{
	struct fixture *f = *state;

	run(f);
	assert_int_equal(f->activations, 1);
	virtio_device_set_status(&f->vdev, S_RUNNING);
	assert_int_equal(f->activations, 1);
	/* Bits are not taken back one by one, and activation stays. */
	virtio_device_set_status(&f->vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(virtio_device_get_status(&f->vdev), S_RUNNING);
	virtio_device_set_status(&f->vdev, S_RUNNING);
	assert_int_equal(f->activations, 1);
	assert_int_equal(f->deactivations, 0);
}

static void driver_ok_needs_features_ok(void **state)
{
	struct fixture *f = *state;

	virtio_device_set_status(&f->vdev,
				 S_NEGOTIATING | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(virtio_device_get_status(&f->vdev), S_NEGOTIATING);
	/* Nor does a refused FEATURES_OK in the same write help. */
	virtio_device_set_status(&f->vdev, S_RUNNING);
	assert_int_equal(virtio_device_get_status(&f->vdev), S_NEGOTIATING);
	assert_int_equal(f->activations, 0);
}

static void failed_device_is_not_activated(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	virtio_device_set_status(&f->vdev, S_AGREED | VIRTIO_CONFIG_S_FAILED);
	virtio_device_set_status(&f->vdev, S_RUNNING);
	assert_int_equal(f->activations, 0);
	virtio_device_set_status(&f->vdev, 0);
	run(f);
	assert_int_equal(f->activations, 1);
}

static void driver_cannot_set_needs_reset(void **state)
{
	struct fixture *f = *state;

	virtio_device_set_status(&f->vdev,
				 0xff & ~VIRTIO_CONFIG_S_DRIVER_OK &
					 ~VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(virtio_device_get_status(&f->vdev),
			 S_NEGOTIATING | VIRTIO_CONFIG_S_FAILED);
}

static void reset_brings_everything_back(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 1; i <= 3; i++) {
		run(f);
		virtio_device_set_status(&f->vdev, 0);
		assert_int_equal(f->activations, i);
		assert_int_equal(f->deactivations, i);
		assert_int_equal(virtio_device_get_status(&f->vdev), 0);
		assert_int_equal(f->vdev.driver_features, 0);
		assert_int_equal(f->vdev.features, 0);
		assert_false(f->vdev.queue[0].running);
		assert_int_equal(virtio_device_get_queue(&f->vdev, 0,
							 VIRTQ_REG_READY),
				 0);
		assert_int_equal(virtio_device_get_queue(&f->vdev, 0,
							 VIRTQ_REG_SIZE),
				 QUEUE_SIZE);
	}
	/* A device that does not run is not stopped. */
	virtio_device_set_status(&f->vdev, 0);
	assert_int_equal(f->deactivations, 3);
}

static void failed_activation_needs_reset(void **state)
{
	struct fixture *f = *state;

	f->activate_result = -ENOMEM;
	negotiate(f);
	virtio_device_set_status(&f->vdev, S_RUNNING);
	assert_int_equal(virtio_device_get_status(&f->vdev),
			 S_RUNNING | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(f->config_signals, 1);
	virtio_device_notify(&f->vdev, 0);
	assert_int_equal(f->notifications, 0);
	virtio_device_set_status(&f->vdev, 0);
	assert_int_equal(f->deactivations, 0);
	f->activate_result = 0;
	run(f);
}

static void bad_queue_needs_reset(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	virtio_device_set_queue(&f->vdev, 0, VIRTQ_REG_SIZE, 63);
	virtio_device_set_status(&f->vdev, S_RUNNING);
	assert_int_equal(virtio_device_get_status(&f->vdev),
			 S_RUNNING | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(f->activations, 0);
	assert_int_equal(f->config_signals, 1);
}

static void broken_device_says_so_once(void **state)
{
	struct fixture *f = *state;

	run(f);
	virtio_device_broken(&f->vdev);
	virtio_device_broken(&f->vdev);
	assert_int_equal(virtio_device_get_status(&f->vdev),
			 S_RUNNING | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(f->config_signals, 1);
	virtio_device_set_status(&f->vdev, 0);
	assert_int_equal(virtio_device_get_status(&f->vdev), 0);
}

static void broken_device_does_not_interrupt_before_driver_ok(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	virtio_device_broken(&f->vdev);
	assert_int_equal(f->config_signals, 0);
}

/* A queue's thread calls it while a vCPU, with the lock, waits for it. */
static void broken_takes_no_lock(void **state)
{
	struct fixture *f = *state;

	run(f);
	pthread_mutex_lock(&f->vdev.lock);
	virtio_device_broken(&f->vdev);
	pthread_mutex_unlock(&f->vdev.lock);
	assert_int_equal(f->config_signals, 1);
}

static void machine_reset_resets_transport_too(void **state)
{
	struct fixture *f = *state;

	run(f);
	virtio_device_machine_reset(&f->vdev.device);
	assert_int_equal(f->deactivations, 1);
	assert_int_equal(f->resets, 1);
	assert_int_equal(virtio_device_get_status(&f->vdev), 0);
	run(f);
}

/* ---- config space ------------------------------------------------------- */

static void config_reads_stay_in_bounds(void **state)
{
	static const uint64_t outside[] = { CONFIG_LEN - 3, CONFIG_LEN,
					    CONFIG_LEN + 1, UINT32_MAX,
					    UINT64_MAX - 2, UINT64_MAX };
	struct fixture *f = *state;
	uint32_t value;

	memset(f->vdev.config, 0xaa, sizeof(f->vdev.config));
	virtio_device_read_config(&f->vdev, CONFIG_LEN - 4, &value, 4);
	assert_int_equal(value, 0xaaaaaaaa);
	for (unsigned int i = 0; i < ARRAY_SIZE(outside); i++) {
		value = 0x55555555;
		virtio_device_read_config(&f->vdev, outside[i], &value, 4);
		assert_int_equal(value, 0);
	}
}

static void config_writes_stay_in_bounds(void **state)
{
	struct fixture *f = *state;
	uint32_t value = 0x11223344;

	virtio_device_write_config(&f->vdev, CONFIG_LEN - 3, &value, 4);
	virtio_device_write_config(&f->vdev, CONFIG_LEN, &value, 1);
	virtio_device_write_config(&f->vdev, UINT64_MAX, &value, 4);
	assert_int_equal(f->config_writes, 0);
	virtio_device_write_config(&f->vdev, CONFIG_LEN - 4, &value, 4);
	assert_int_equal(f->config_writes, 1);
	assert_memory_equal(f->vdev.config + CONFIG_LEN - 4, &value, 4);
}

static void config_change_bumps_generation(void **state)
{
	struct fixture *f = *state;
	uint32_t before = virtio_device_config_generation(&f->vdev);

	/* Nobody is there to be interrupted yet. */
	pthread_mutex_lock(&f->vdev.lock);
	virtio_device_config_changed(&f->vdev);
	pthread_mutex_unlock(&f->vdev.lock);
	assert_int_equal(f->config_signals, 0);
	run(f);
	pthread_mutex_lock(&f->vdev.lock);
	virtio_device_config_changed(&f->vdev);
	pthread_mutex_unlock(&f->vdev.lock);
	assert_int_equal(f->config_signals, 1);
	assert_int_equal(virtio_device_config_generation(&f->vdev), before + 2);
}

/* ---- queue registers ---------------------------------------------------- */

static void queue_registers_are_kept(void **state)
{
	struct fixture *f = *state;
	struct virtio_device *vdev = &f->vdev;

	virtio_device_set_queue(vdev, 1, VIRTQ_REG_SIZE, 16);
	virtio_device_set_queue(vdev, 1, VIRTQ_REG_VECTOR, 3);
	virtio_device_set_queue(vdev, 1, VIRTQ_REG_DESC, 0x123456789abcdef0);
	virtio_device_set_queue(vdev, 1, VIRTQ_REG_DRIVER, 0x10);
	virtio_device_set_queue(vdev, 1, VIRTQ_REG_DEVICE, 0x20);
	virtio_device_set_queue(vdev, 1, VIRTQ_REG_READY, 1);
	virtio_device_set_queue(vdev, 1, VIRTQ_REG_MAX_SIZE, 1024);
	assert_int_equal(virtio_device_get_queue(vdev, 1, VIRTQ_REG_SIZE), 16);
	assert_int_equal(virtio_device_get_queue(vdev, 1, VIRTQ_REG_VECTOR), 3);
	assert_int_equal(virtio_device_get_queue(vdev, 1, VIRTQ_REG_DESC),
			 0x123456789abcdef0);
	assert_int_equal(virtio_device_get_queue(vdev, 1, VIRTQ_REG_DRIVER),
			 0x10);
	assert_int_equal(virtio_device_get_queue(vdev, 1, VIRTQ_REG_DEVICE),
			 0x20);
	assert_int_equal(virtio_device_get_queue(vdev, 1, VIRTQ_REG_READY), 1);
	assert_int_equal(virtio_device_get_queue(vdev, 1, VIRTQ_REG_MAX_SIZE),
			 QUEUE_SIZE);
	/* The other queue is another one. */
	assert_int_equal(virtio_device_get_queue(vdev, 0, VIRTQ_REG_SIZE),
			 QUEUE_SIZE);
	assert_int_equal(virtio_device_get_queue(vdev, 0, VIRTQ_REG_VECTOR),
			 VIRTIO_MSI_NO_VECTOR);
}

static void queue_registers_freeze_at_driver_ok(void **state)
{
	struct fixture *f = *state;
	struct virtio_device *vdev = &f->vdev;

	run(f);
	for (unsigned int i = 0; i < NR_QUEUES; i++) {
		struct virtq before = vdev->queue[i];

		for (int reg = VIRTQ_REG_MAX_SIZE; reg <= VIRTQ_REG_DEVICE;
		     reg++)
			virtio_device_set_queue(vdev, i,
						(enum virtq_register)reg, 8);
		assert_memory_equal(&before, &vdev->queue[i], sizeof(before));
	}
	/* Still so when the device is broken; only reset thaws. */
	virtio_device_broken(vdev);
	virtio_device_set_queue(vdev, 0, VIRTQ_REG_DESC, 0x8000);
	assert_int_equal(virtio_device_get_queue(vdev, 0, VIRTQ_REG_DESC),
			 0x1000);
	virtio_device_set_status(vdev, 0);
	virtio_device_set_queue(vdev, 0, VIRTQ_REG_DESC, 0x8000);
	assert_int_equal(virtio_device_get_queue(vdev, 0, VIRTQ_REG_DESC),
			 0x8000);
}

static void queue_index_is_bounded(void **state)
{
	static const unsigned int outside[] = { NR_QUEUES, VIRTIO_MAX_QUEUES,
						0xffff, UINT32_MAX };
	struct fixture *f = *state;

	run(f);
	for (unsigned int i = 0; i < ARRAY_SIZE(outside); i++) {
		assert_int_equal(virtio_device_get_queue(&f->vdev, outside[i],
							 VIRTQ_REG_MAX_SIZE),
				 0);
		virtio_device_set_queue(&f->vdev, outside[i], VIRTQ_REG_SIZE,
					1);
		virtio_device_notify(&f->vdev, outside[i]);
	}
	assert_int_equal(f->notifications, 0);
}

static void notifications_reach_running_queues_only(void **state)
{
	struct fixture *f = *state;

	virtio_device_notify(&f->vdev, 0);
	negotiate(f);
	virtio_device_notify(&f->vdev, 0);
	assert_int_equal(f->notifications, 0);
	virtio_device_set_status(&f->vdev, S_RUNNING);
	virtio_device_notify(&f->vdev, 0);
	assert_int_equal(f->notifications, 1);
	/* Queue 1 was never made ready. */
	virtio_device_notify(&f->vdev, 1);
	assert_int_equal(f->notifications, 1);
	virtio_device_set_status(&f->vdev, 0);
	virtio_device_notify(&f->vdev, 0);
	assert_int_equal(f->notifications, 1);
}

static void notify_fd_is_attached_and_detached(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(virtio_device_notify_fd(&f->vdev, 0, 7), 0);
	assert_int_equal(f->attached_fd, 7);
	/* Another one takes its place. */
	assert_int_equal(virtio_device_notify_fd(&f->vdev, 0, 8), 0);
	assert_int_equal(f->attached_fd, 8);
	assert_int_equal(virtio_device_notify_fd(&f->vdev, 0, -1), 0);
	assert_int_equal(f->attached_fd, -1);
	assert_int_equal(virtio_device_notify_fd(&f->vdev, 0, -1), 0);
	f->attach_result = -ENOSPC;
	assert_int_equal(virtio_device_notify_fd(&f->vdev, 0, 9), -ENOSPC);
	assert_int_equal(f->vdev.notify_fd[0], -1);
}

static void signal_asks_the_queue_first(void **state)
{
	struct fixture *f = *state;
	struct virtq *vq = &f->vdev.queue[0];
	uint16_t suppress = VRING_AVAIL_F_NO_INTERRUPT;

	run(f);
	virtio_device_signal(&f->vdev, vq);
	assert_int_equal(f->queue_signals, 0);
	virtq_push(vq, 0, 0);
	virtio_device_signal(&f->vdev, vq);
	assert_int_equal(f->queue_signals, 1);
	assert_int_equal(guest_write(&f->machine.memory, 0x2000, &suppress, 2),
			 0);
	virtq_push(vq, 1, 0);
	virtio_device_signal(&f->vdev, vq);
	assert_int_equal(f->queue_signals, 1);
}

#define DEVICE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DEVICE_TEST(features_are_offered_in_halves),
		DEVICE_TEST(features_without_version_1_are_refused),
		DEVICE_TEST(features_not_offered_are_refused),
		DEVICE_TEST(features_are_sealed_by_features_ok),
		DEVICE_TEST(driver_ok_activates_once),
		DEVICE_TEST(driver_ok_needs_features_ok),
		DEVICE_TEST(failed_device_is_not_activated),
		DEVICE_TEST(driver_cannot_set_needs_reset),
		DEVICE_TEST(reset_brings_everything_back),
		DEVICE_TEST(failed_activation_needs_reset),
		DEVICE_TEST(bad_queue_needs_reset),
		DEVICE_TEST(broken_device_says_so_once),
		DEVICE_TEST(broken_device_does_not_interrupt_before_driver_ok),
		DEVICE_TEST(broken_takes_no_lock),
		DEVICE_TEST(machine_reset_resets_transport_too),
		DEVICE_TEST(config_reads_stay_in_bounds),
		DEVICE_TEST(config_writes_stay_in_bounds),
		DEVICE_TEST(config_change_bumps_generation),
		DEVICE_TEST(queue_registers_are_kept),
		DEVICE_TEST(queue_registers_freeze_at_driver_ok),
		DEVICE_TEST(queue_index_is_bounded),
		DEVICE_TEST(notifications_reach_running_queues_only),
		DEVICE_TEST(notify_fd_is_attached_and_detached),
		DEVICE_TEST(signal_asks_the_queue_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
