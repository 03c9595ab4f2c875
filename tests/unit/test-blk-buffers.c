/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What of a virtio-blk chain reaches the image: the data's buffers and no
 * other, in place. With direct I/O a stray one (the header's or the status
 * byte's, even when it is empty) has every request copied for its alignment.
 *
 * An image that only notes what it is asked for stands in for disk/image.c.
 */
#include "driver.h"

#include <linux/virtio_blk.h>

#include <lkvm/image.h>

#define HEADER 0x10008 /* aligned as a kernel's own allocator does */
#define STATUS 0x11003
#define DATA 0x20000
#define RAM (4 * MIB)

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE

struct fixture {
	struct driver driver;
	struct device *device;
	struct image image;
	struct image_queue queue;
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

int image_resize(struct image *image, uint64_t size)
{
	(void)image;
	(void)size;
	return -ENOTSUP;
}

void image_set_limits(struct image *image, const struct throttle_limits *limits)
{
	(void)image;
	(void)limits;
}

void image_get_limits(const struct image *image, struct throttle_limits *out)
{
	(void)image;
	*out = (struct throttle_limits) { 0 };
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

/* ---- the driver --------------------------------------------------------- */

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_blk_options options = virtio_blk_defaults;

	assert_non_null(f);
	options.path = (char *)f;
	driver_init_ram(&f->driver, RAM);
	assert_int_equal(virtio_blk_type.create(&f->driver.machine, &options,
						&f->device),
			 0);
	driver_run(&f->driver, BIT_ULL(VIRTIO_BLK_F_FLUSH));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_blk_type.destroy(f->device);
	driver_release(&f->driver);
	free(f);
	return 0;
}

static void set(struct fixture *f, unsigned int index, uint64_t addr,
		uint32_t len, unsigned int flags)
{
	driver_put_desc(&f->driver, 0, index, addr, len, flags, index + 1);
}

/* The chain at descriptor 0. */
static void serve(struct fixture *f, uint32_t type)
{
	const struct virtio_blk_outhdr header = { .type = htole32(type) };

	memcpy(f->driver.ram + HEADER, &header, sizeof(header));
	driver_offer(&f->driver, 0, 0);
	driver_kick(&f->driver, 0);
	driver_wait_all(&f->driver, 0);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
}

static void assert_buffer(const struct fixture *f, unsigned int index,
			  uint64_t addr, size_t len)
{
	assert_ptr_equal(f->iov[index].iov_base, f->driver.ram + addr);
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
