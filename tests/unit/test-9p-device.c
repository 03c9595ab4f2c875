/* SPDX-License-Identifier: GPL-2.0 */
/* virtio_9p_type: messages in flight, their order, start and stop. */
#include "driver.h"

#include <fcntl.h>
#include <linux/virtio_9p.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/9p.h>

#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT

struct fixture {
	struct driver driver; /* first */
	struct device *device;
	char path[64];
};

/* ---- a file system that waits -------------------------------------------- */

static struct {
	sem_t begun, go;
	_Atomic bool slow;
} sync_gate;

/* fsync() of a share's file takes as long as the test wants. */
int fsync(int fd)
{
	(void)fd;
	if (atomic_load(&sync_gate.slow)) {
		sem_post(&sync_gate.begun);
		sem_wait(&sync_gate.go);
	}
	return 0;
}

/* ---- messages ------------------------------------------------------------ */

/*
 * Message n is in the buffer of descriptor 2n, its answer in that of 2n + 1;
 * its tag is n.
 */
static struct p9_cursor begin(struct fixture *f, unsigned int n, uint8_t type)
{
	uint8_t *at = driver_data(&f->driver, 0, 2 * n);
	struct p9_cursor c = { at, at + DRIVER_BUFFER, 0 };

	p9_put_u32(&c, 0);
	p9_put_u8(&c, type);
	p9_put_u16(&c, (uint16_t)n);
	return c;
}

static void offer(struct fixture *f, unsigned int n, struct p9_cursor *c)
{
	uint8_t *at = driver_data(&f->driver, 0, 2 * n);
	uint32_t size = (uint32_t)(c->at - at);
	struct p9_cursor start = { at, at + 4, 0 };

	p9_put_u32(&start, size);
	memset(driver_data(&f->driver, 0, 2 * n + 1), 0, 64);
	driver_set_desc(&f->driver, 0, 2 * n, size, NEXT, 2 * n + 1);
	driver_set_desc(&f->driver, 0, 2 * n + 1, 4096, WRITE, 0);
	driver_offer(&f->driver, 0, 2 * n);
	driver_kick(&f->driver, 0);
}

static void offer_version(struct fixture *f, unsigned int n)
{
	struct p9_cursor c = begin(f, n, P9_TVERSION);

	p9_put_u32(&c, 8192);
	p9_put_string(&c, "9P2000.L");
	offer(f, n, &c);
}

static void offer_fsync(struct fixture *f, unsigned int n)
{
	struct p9_cursor c = begin(f, n, P9_TFSYNC);

	p9_put_u32(&c, 1);
	p9_put_u32(&c, 0);
	offer(f, n, &c);
}

static void offer_getattr(struct fixture *f, unsigned int n)
{
	struct p9_cursor c = begin(f, n, P9_TGETATTR);

	p9_put_u32(&c, 0);
	p9_put_u64(&c, 0x7ff);
	offer(f, n, &c);
}

static void offer_flush(struct fixture *f, unsigned int n, uint16_t tag)
{
	struct p9_cursor c = begin(f, n, P9_TFLUSH);

	p9_put_u16(&c, tag);
	offer(f, n, &c);
}

/* The next answer is message @n's, of @type. */
static void expect(struct fixture *f, unsigned int n, uint8_t type)
{
	const uint8_t *answer = driver_data(&f->driver, 0, 2 * n + 1);
	uint32_t len;

	assert_int_equal(driver_wait(&f->driver, 0, &len), 2 * n);
	assert_int_equal(answer[4], type);
	assert_int_equal(answer[5], n);
	assert_int_equal(answer[0] | answer[1] << 8, len);
}

/* Fid 0 is the root, fid 1 a file that is open. */
static void open_file(struct fixture *f)
{
	struct p9_cursor c;

	offer_version(f, 0);
	expect(f, 0, P9_TVERSION + 1);
	c = begin(f, 0, P9_TATTACH);
	p9_put_u32(&c, 0);
	p9_put_u32(&c, P9_NO_FID);
	p9_put_string(&c, "");
	p9_put_string(&c, "");
	p9_put_u32(&c, 0);
	offer(f, 0, &c);
	expect(f, 0, P9_TATTACH + 1);
	c = begin(f, 0, P9_TWALK);
	p9_put_u32(&c, 0);
	p9_put_u32(&c, 1);
	p9_put_u16(&c, 1);
	p9_put_string(&c, "file");
	offer(f, 0, &c);
	expect(f, 0, P9_TWALK + 1);
	c = begin(f, 0, P9_TLOPEN);
	p9_put_u32(&c, 1);
	p9_put_u32(&c, 0);
	offer(f, 0, &c);
	expect(f, 0, P9_TLOPEN + 1);
}

/* ---- the device ---------------------------------------------------------- */

static int try_create(struct fixture *f, const char *tag, struct device **out)
{
	struct virtio_9p_options options;

	memcpy(&options, virtio_9p_type.defaults, sizeof(options));
	options.path = f->path;
	if (tag)
		options.tag = tag;
	return virtio_9p_type.create(&f->driver.machine, &options, out);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char file[80];
	int fd;

	assert_non_null(f);
	sem_init(&sync_gate.begun, 0, 0);
	sem_init(&sync_gate.go, 0, 0);
	atomic_store(&sync_gate.slow, false);
	driver_init(&f->driver);
	strcpy(f->path, "/tmp/lkvm-9p.XXXXXX");
	assert_non_null(mkdtemp(f->path));
	snprintf(file, sizeof(file), "%s/file", f->path);
	fd = open(file, O_CREAT | O_WRONLY, 0644);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(try_create(f, NULL, &f->device), 0);
	driver_set_up(&f->driver, BIT_ULL(VIRTIO_9P_MOUNT_TAG));
	driver_start(&f->driver);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char file[80];

	virtio_9p_type.destroy(f->device);
	driver_release(&f->driver);
	snprintf(file, sizeof(file), "%s/file", f->path);
	unlink(file);
	rmdir(f->path);
	free(f);
	return 0;
}

static unsigned int count_fds(void)
{
	int lowest = dup(0);

	close(lowest);
	return (unsigned int)lowest;
}

/* ---- tests --------------------------------------------------------------- */

static void the_tag_is_told(void **state)
{
	struct fixture *f = *state;
	uint8_t config[16] = { 0 };

	assert_int_equal(f->driver.vdev->ops->id, VIRTIO_ID_9P);
	assert_int_equal(f->driver.vdev->config_len, 8);
	virtio_device_read_config(f->driver.vdev, 0, config, 8);
	assert_memory_equal(config, "\6\0kvm_9p", 8);
	assert_string_equal(f->device->name, "9p0");
}

static void tags_are_unique_and_short(void **state)
{
	struct fixture *f = *state;
	struct device *other;
	unsigned int before = count_fds();

	f->driver.machine.devices = f->device;
	assert_int_equal(try_create(f, "kvm_9p", &other), -EEXIST);
	assert_int_equal(try_create(f, "123456789012345678901234567890123",
				    &other),
			 -EINVAL);
	assert_int_equal(count_fds(), before);
	f->driver.machine.devices = NULL;
}

static void a_slow_message_delays_no_other(void **state)
{
	struct fixture *f = *state;

	open_file(f);
	atomic_store(&sync_gate.slow, true);
	offer_fsync(f, 1);
	sem_wait(&sync_gate.begun);
	offer_getattr(f, 2);
	expect(f, 2, P9_TGETATTR + 1);
	sem_post(&sync_gate.go);
	expect(f, 1, P9_TFSYNC + 1);
	assert_int_equal(driver_counter(f->device, "messages"), 6);
}

static void a_flush_waits_for_what_it_flushes(void **state)
{
	struct fixture *f = *state;

	open_file(f);
	atomic_store(&sync_gate.slow, true);
	offer_fsync(f, 1);
	sem_wait(&sync_gate.begun);
	offer_flush(f, 2, 1);
	offer_flush(f, 3, 1);
	/* One of a tag that is not there waits for nothing. */
	offer_flush(f, 4, 99);
	expect(f, 4, P9_TFLUSH + 1);
	offer_getattr(f, 5);
	expect(f, 5, P9_TGETATTR + 1);
	assert_int_equal(driver_used_idx(&f->driver, 0), f->driver.seen[0]);
	sem_post(&sync_gate.go);
	expect(f, 1, P9_TFSYNC + 1);
	for (unsigned int i = 0; i < 2; i++)
		driver_wait(&f->driver, 0, NULL);
	assert_int_equal(driver_data(&f->driver, 0, 5)[4], P9_TFLUSH + 1);
	assert_int_equal(driver_data(&f->driver, 0, 7)[4], P9_TFLUSH + 1);
}

static void a_version_is_alone(void **state)
{
	struct fixture *f = *state;

	open_file(f);
	atomic_store(&sync_gate.slow, true);
	offer_fsync(f, 1);
	sem_wait(&sync_gate.begun);
	offer_version(f, 2);
	offer_getattr(f, 3);
	usleep(20000);
	assert_int_equal(driver_used_idx(&f->driver, 0), f->driver.seen[0]);
	sem_post(&sync_gate.go);
	expect(f, 1, P9_TFSYNC + 1);
	expect(f, 2, P9_TVERSION + 1);
	/* What came after it finds the handles gone. */
	expect(f, 3, P9_RLERROR);
	assert_int_equal(driver_counter(f->device, "errors"), 1);
}

static void what_is_no_message_breaks_the_queue(void **state)
{
	static const struct {
		uint32_t size, out, in;
	} bad[] = {
		{ 7, 6, 64 },		{ 6, 7, 64 }, { 8, 7, 64 },
		{ UINT32_MAX, 64, 64 }, { 7, 7, 10 },
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct p9_cursor c = begin(f, 0, P9_TVERSION);

		c.at = driver_data(&f->driver, 0, 0);
		p9_put_u32(&c, bad[i].size);
		driver_set_desc(&f->driver, 0, 0, bad[i].out, NEXT, 1);
		driver_set_desc(&f->driver, 0, 1, bad[i].in, WRITE, 0);
		driver_offer(&f->driver, 0, 0);
		driver_kick(&f->driver, 0);
		driver_wait_broken(&f->driver);
		assert_int_equal(driver_used_idx(&f->driver, 0), 0);
		driver_reset(&f->driver);
		driver_set_up(&f->driver, 0);
		driver_start(&f->driver);
	}
	open_file(f);
}

struct resetter {
	struct fixture *f;
	_Atomic bool done;
};

static void *reset_device(void *opaque)
{
	struct resetter *r = opaque;

	driver_reset(&r->f->driver);
	atomic_store(&r->done, true);
	return NULL;
}

static void a_reset_waits_and_forgets(void **state)
{
	struct fixture *f = *state;
	struct resetter resetter = { .f = f };
	unsigned int before = count_fds();
	pthread_t thread;

	open_file(f);
	atomic_store(&sync_gate.slow, true);
	offer_fsync(f, 1);
	sem_wait(&sync_gate.begun);
	pthread_create(&thread, NULL, reset_device, &resetter);
	usleep(20000);
	assert_false(atomic_load(&resetter.done));
	atomic_store(&sync_gate.slow, false);
	sem_post(&sync_gate.go);
	pthread_join(thread, NULL);
	assert_int_equal(count_fds(), before);
	driver_set_up(&f->driver, 0);
	driver_start(&f->driver);
	offer_getattr(f, 1);
	expect(f, 1, P9_RLERROR);
	open_file(f);
}

static void a_pause_keeps_what_is_open(void **state)
{
	struct fixture *f = *state;

	open_file(f);
	virtio_9p_type.quiesce(f->device);
	offer_getattr(f, 1);
	usleep(20000);
	assert_int_equal(driver_used_idx(&f->driver, 0), f->driver.seen[0]);
	virtio_9p_type.resume(f->device);
	expect(f, 1, P9_TGETATTR + 1);
	offer_fsync(f, 1);
	expect(f, 1, P9_TFSYNC + 1);
}

static void a_full_queue_is_served(void **state)
{
	struct fixture *f = *state;
	unsigned int seen[32] = { 0 };

	open_file(f);
	for (unsigned int round = 0; round < 50; round++) {
		for (unsigned int n = 0; n < 32; n++)
			offer_getattr(f, n);
		for (unsigned int n = 0; n < 32; n++)
			seen[driver_wait(&f->driver, 0, NULL) / 2]++;
		for (unsigned int n = 0; n < 32; n++)
			assert_int_equal(seen[n], round + 1);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_tag_is_told),
		TEST(tags_are_unique_and_short),
		TEST(a_slow_message_delays_no_other),
		TEST(a_flush_waits_for_what_it_flushes),
		TEST(a_version_is_alone),
		TEST(what_is_no_message_breaks_the_queue),
		TEST(a_reset_waits_and_forgets),
		TEST(a_pause_keeps_what_is_open),
		TEST(a_full_queue_is_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
