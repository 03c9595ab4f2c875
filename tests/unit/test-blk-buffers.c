/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What of a virtio-blk chain reaches the image: the data's buffers and no
 * other, in place. With direct I/O a stray one (the header's or the status
 * byte's, even when it is empty) has every request copied for its alignment.
 *
 * An image that only notes what it is asked for stands in for disk/image.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <lkvm/image.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define DESC 0x1000
#define AVAIL 0x3000
#define USED 0x4000
#define HEADER 0x10008 /* aligned as a kernel's own allocator does */
#define STATUS 0x11003
#define DATA 0x20000
#define RAM (4 * MIB)

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE

struct fixture {
	struct machine machine;
	struct virtio_transport transport;
	struct device *device;
	struct image image;
	struct image_queue queue;
	uint8_t *ram;
	struct vring_desc *desc;
	struct vring_avail *avail;
	int notify_fd;
	sem_t served;
	/* what the image was asked for last */
	unsigned int count;
	struct iovec iov[8];
};

/* ---- in place of disk/image.c ------------------------------------------- */

int image_open(const struct image_options *options, struct image **out)
{
	struct fixture *f = (struct fixture *)(uintptr_t)options->path;

	f->image.size = MIB;
	f->image.block_size = 512;
	f->image.physical_block_size = 512;
	*out = &f->image;
	return 0;
}

void image_close(struct image *image)
{
	(void)image;
}

int image_refresh(struct image *image)
{
	(void)image;
	return 0;
}

int image_queue_create(struct image *image, struct loop *loop,
		       unsigned int depth, struct image_queue **out)
{
	struct fixture *f = container_of(image, struct fixture, image);

	(void)loop;
	(void)depth;
	f->queue.image = image;
	*out = &f->queue;
	return 0;
}

void image_queue_destroy(struct image_queue *queue)
{
	(void)queue;
}

void image_queue_on_batch(struct image_queue *queue, void (*fn)(void *opaque),
			  void *opaque)
{
	(void)queue;
	(void)fn;
	(void)opaque;
}

void image_queue_hurry(struct image_queue *queue, bool hurry)
{
	(void)queue;
	(void)hurry;
}

void image_kick(struct image_queue *queue)
{
	(void)queue;
}

void image_submit(struct image_queue *queue, struct image_request *request)
{
	struct fixture *f = container_of(queue, struct fixture, queue);

	f->count = request->iov_count;
	memcpy(f->iov, request->iov,
	       MIN(f->count, ARRAY_SIZE(f->iov)) * sizeof(f->iov[0]));
	request->done(request, 0);
}

/* ---- in place of a transport -------------------------------------------- */

static void signal_queue(void *transport, struct virtq *vq)
{
	struct fixture *f = transport;

	(void)vq;
	sem_post(&f->served);
}

static int attach_notify(void *transport, unsigned int index, int fd)
{
	struct fixture *f = transport;

	(void)index;
	f->notify_fd = fd;
	return 0;
}

static void detach_notify(void *transport, unsigned int index, int fd)
{
	(void)transport;
	(void)index;
	(void)fd;
}

static void nothing(void *transport)
{
	(void)transport;
}

static const struct virtio_transport_ops transport_ops = {
	.signal_queue = signal_queue,
	.signal_config = nothing,
	.attach_notify = attach_notify,
	.detach_notify = detach_notify,
	.destroy = nothing,
	.reset = nothing,
};

static int attach(struct machine *machine, struct virtio_device *vdev)
{
	vdev->transport_ops = &transport_ops;
	vdev->transport = container_of(machine, struct fixture, machine);
	return 0;
}

/* ---- the driver --------------------------------------------------------- */

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_blk_options options = virtio_blk_defaults;
	struct virtio_device *vdev;

	assert_non_null(f);
	options.path = (char *)f;
	memory_init(&f->machine.memory, -1);
	assert_int_equal(memory_add_ram(&f->machine.memory, 0, RAM), 0);
	f->ram = guest_map(&f->machine.memory, 0, RAM);
	f->desc = (struct vring_desc *)(f->ram + DESC);
	f->avail = (struct vring_avail *)(f->ram + AVAIL);
	f->transport.attach = attach;
	f->machine.virtio_transport = &f->transport;
	sem_init(&f->served, 0, 0);
	assert_int_equal(
		virtio_blk_type.create(&f->machine, &options, &f->device), 0);
	vdev = container_of(f->device, struct virtio_device, device);
	virtio_device_set_features(vdev, 0, 1U << VIRTIO_BLK_F_FLUSH);
	virtio_device_set_features(vdev, 1, 1U << (VIRTIO_F_VERSION_1 - 32));
	virtio_device_set_status(vdev, VIRTIO_CONFIG_S_FEATURES_OK);
	virtio_device_set_queue(vdev, 0, VIRTQ_REG_DESC, DESC);
	virtio_device_set_queue(vdev, 0, VIRTQ_REG_DRIVER, AVAIL);
	virtio_device_set_queue(vdev, 0, VIRTQ_REG_DEVICE, USED);
	virtio_device_set_queue(vdev, 0, VIRTQ_REG_READY, 1);
	virtio_device_set_status(vdev, VIRTIO_CONFIG_S_DRIVER_OK);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_blk_type.destroy(f->device);
	sem_destroy(&f->served);
	memory_release(&f->machine.memory);
	free(f);
	return 0;
}

static void set(struct fixture *f, unsigned int index, uint64_t addr,
		uint32_t len, unsigned int flags)
{
	f->desc[index].addr = htole64(addr);
	f->desc[index].len = htole32(len);
	f->desc[index].flags = htole16((uint16_t)flags);
	f->desc[index].next = htole16((uint16_t)(index + 1));
}

/* The chain at descriptor 0. */
static void serve(struct fixture *f, uint32_t type)
{
	const struct virtio_blk_outhdr header = { .type = htole32(type) };

	memcpy(f->ram + HEADER, &header, sizeof(header));
	__atomic_store_n(&f->avail->idx, htole16(1), __ATOMIC_SEQ_CST);
	assert_int_equal(eventfd_write(f->notify_fd, 1), 0);
	while (sem_wait(&f->served))
		;
	assert_int_equal(f->ram[STATUS], VIRTIO_BLK_S_OK);
}

static void assert_buffer(const struct fixture *f, unsigned int index,
			  uint64_t addr, size_t len)
{
	assert_ptr_equal(f->iov[index].iov_base, f->ram + addr);
	assert_int_equal(f->iov[index].iov_len, len);
}

static void a_read_has_its_data_buffers_alone(void **state)
{
	struct fixture *f = *state;

	set(f, 0, HEADER, 16, NEXT);
	set(f, 1, DATA, 512, NEXT | WRITE);
	set(f, 2, DATA + 4096, 1024, NEXT | WRITE);
	set(f, 3, STATUS, 1, WRITE);
	serve(f, VIRTIO_BLK_T_IN);
	assert_int_equal(f->count, 2);
	assert_buffer(f, 0, DATA, 512);
	assert_buffer(f, 1, DATA + 4096, 1024);
}

static void a_write_has_its_data_buffers_alone(void **state)
{
	struct fixture *f = *state;

	set(f, 0, HEADER, 16, NEXT);
	set(f, 1, DATA, 512, NEXT);
	set(f, 2, DATA + 4096, 1024, NEXT);
	set(f, 3, STATUS, 1, WRITE);
	serve(f, VIRTIO_BLK_T_OUT);
	assert_int_equal(f->count, 2);
	assert_buffer(f, 0, DATA, 512);
	assert_buffer(f, 1, DATA + 4096, 1024);
}

/* 2.7.4.1: the header may be cut, and lie before data in one buffer. */
static void data_behind_the_header_is_found(void **state)
{
	struct fixture *f = *state;

	set(f, 0, HEADER, 8, NEXT);
	set(f, 1, HEADER + 8, 8 + 500, NEXT);
	set(f, 2, DATA, 12, NEXT);
	set(f, 3, STATUS, 1, WRITE);
	serve(f, VIRTIO_BLK_T_OUT);
	assert_int_equal(f->count, 2);
	assert_buffer(f, 0, HEADER + 16, 500);
	assert_buffer(f, 1, DATA, 12);
}

#define BLK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BLK_TEST(a_read_has_its_data_buffers_alone),
		BLK_TEST(a_write_has_its_data_buffers_alone),
		BLK_TEST(data_behind_the_header_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
