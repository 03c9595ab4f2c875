/* SPDX-License-Identifier: GPL-2.0 */
/*
 * disk/throttle.c: how much a limit lets through, told in time that the test
 * makes up; and that what waits is not forgotten.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/image.h>
#include <lkvm/loop.h>
#include <lkvm/throttle.h>
#include <lkvm/util.h>

#include "engine-wait.h"

#define SECOND 1000000000ULL

/* ---- buckets ------------------------------------------------------------- */

/* Requests of @bytes that get through in [0, @end), asking whenever told to. */
static unsigned int passed(struct throttle *throttle, uint64_t bytes,
			   uint64_t end)
{
	uint64_t now = 5 * SECOND; /* the clock did not begin with us */
	unsigned int count = 0;

	end += now;
	while (now < end) {
		uint64_t wait = throttle_take(throttle, bytes, false, now);

		if (wait) {
			/* It says the earliest time that is worth it. */
			assert_int_not_equal(throttle_take(throttle, bytes,
							   false,
							   now + wait - 1),
					     0);
			now += wait;
		} else {
			count++;
		}
	}
	return count;
}

static void assert_passed(uint64_t iops, uint64_t bandwidth, uint64_t bytes,
			  uint64_t end, unsigned int min, unsigned int max)
{
	struct throttle *throttle;

	assert_int_equal(throttle_create(iops, bandwidth, &throttle), 0);
	assert_in_range(passed(throttle, bytes, end), min, max);
	throttle_destroy(throttle);
}

static void limits_are_kept(void **state)
{
	(void)state;
	/* Ten seconds, and a burst of a tenth of one. */
	assert_passed(1000, 0, 4096, 10 * SECOND, 10099, 10101);
	assert_passed(0, 4096000, 4096, 10 * SECOND, 10099, 10101);
	/* Both: the smaller one counts. */
	assert_passed(1000, 409600, 4096, 10 * SECOND, 1009, 1011);
	assert_passed(100, 4096000, 4096, 10 * SECOND, 1009, 1011);
	/* No number is too odd. */
	assert_passed(3, 0, 512, 100 * SECOND, 300, 301);
	assert_passed(1, 0, 512, 10 * SECOND, 10, 11);
	assert_passed(1000000, 0, 512, SECOND / 10, 199999, 200001);
}

/* 1000 a second, and a burst as @max and @seconds tell. */
static void assert_burst(uint64_t max, uint64_t seconds, uint64_t end,
			 unsigned int count)
{
	const struct throttle_limits limits = {
		.requests = { 1000, max, seconds },
	};
	struct throttle *throttle;

	assert_int_equal(throttle_create(0, 0, &throttle), 0);
	throttle_set(throttle, &limits);
	assert_in_range(passed(throttle, 4096, end), count - 1, count + 2);
	throttle_destroy(throttle);
}

static void bursts_are_as_long_and_as_fast_as_they_may_be(void **state)
{
	(void)state;
	/* For one second: all of it at once, and no more of it. */
	assert_burst(5000, 1, 1, 5000);
	assert_burst(5000, 1, 10 * SECOND, 5000 + 10000);
	/* For longer: not faster than that. */
	assert_burst(5000, 4, 1, 500);
	assert_burst(5000, 4, SECOND, 500 + 5000);
	assert_burst(5000, 4, 3 * SECOND, 500 + 15000);
	/* What has been used up comes back at the slow rate meanwhile. */
	assert_burst(5000, 4, 20 * SECOND, 20000 + 20000);
}

/* It is let through, and paid for after. */
static void requests_larger_than_the_burst_pass(void **state)
{
	(void)state;
	assert_passed(0, 1000, 100000, 1000 * SECOND, 10, 11);
	assert_passed(0, 1, UINT32_MAX, 10 * SECOND, 1, 1);
	assert_passed(0, 1, UINT64_MAX, 10 * SECOND, 1, 1);
}

static void idle_time_is_not_saved_up(void **state)
{
	struct throttle *throttle;
	unsigned int count = 0;

	(void)state;
	assert_int_equal(throttle_create(1000, 0, &throttle), 0);
	while (!throttle_take(throttle, 0, false, 1000 * SECOND))
		count++;
	assert_in_range(count, 100, 101);
	throttle_destroy(throttle);
}

static void forced_requests_are_paid_for(void **state)
{
	struct throttle *throttle;

	(void)state;
	assert_int_equal(throttle_create(10, 0, &throttle), 0);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(throttle_take(throttle, 0, true, SECOND), 0);
	assert_int_not_equal(throttle_take(throttle, 0, false, 10 * SECOND), 0);
	assert_int_equal(throttle_take(throttle, 0, false, 12 * SECOND), 0);
	throttle_destroy(throttle);
	throttle_destroy(NULL);
}

/* ---- queues -------------------------------------------------------------- */

#define COUNT 150

struct fixture;

struct call {
	struct image_request image;
	struct fixture *f;
};

struct fixture {
	char path[64];
	struct loop *loop;
	struct image *image;
	struct image_queue *queue, *other;
	struct call call[COUNT + 1];
	struct iovec iov;
	uint8_t data[512];
	unsigned int done, batches;
	unsigned int stop_at;
};

static void setup_with(struct fixture *f, uint64_t iops)
{
	const struct image_options options = {
		.path = f->path,
		.iops = iops,
	};

	assert_int_equal(image_open(&options, &f->image), 0);
	assert_int_equal(image_queue_create(f->image, f->loop, 8, &f->queue),
			 0);
	assert_int_equal(image_queue_create(f->image, f->loop, 8, &f->other),
			 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	strcpy(f->path, "/tmp/lkvm-throttle-XXXXXX");
	fd = mkostemp(f->path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	assert_int_equal(loop_create(&f->loop), 0);
	f->iov.iov_base = f->data;
	f->iov.iov_len = sizeof(f->data);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	image_queue_destroy(f->queue);
	image_queue_destroy(f->other);
	image_close(f->image);
	loop_destroy(f->loop);
	unlink(f->path);
	free(f);
	return 0;
}

static void request_done(struct image_request *image, int result)
{
	struct call *call = container_of(image, struct call, image);
	struct fixture *f = call->f;

	assert_int_equal(result, 0);
	if (++f->done == f->stop_at)
		loop_stop(f->loop);
}

static void batch_done(void *opaque)
{
	struct fixture *f = opaque;

	f->batches++;
}

static void submit(struct fixture *f, struct image_queue *queue, unsigned int i,
		   enum image_op op)
{
	struct image_request *request = &f->call[i].image;

	f->call[i].f = f;
	request->op = op;
	request->offset = 512 * i;
	request->len = op == IMAGE_FLUSH ? 0 : 512;
	request->iov = &f->iov;
	request->iov_count = 1;
	request->done = request_done;
	image_submit(queue, request);
	image_kick(queue);
	while (engine_in_flight(queue->engine))
		engine_wait(queue->engine);
}

static void what_waits_is_done_in_time(void **state)
{
	struct fixture *f = *state;

	setup_with(f, 1000);
	image_queue_on_batch(f->queue, batch_done, f);
	f->stop_at = COUNT;
	for (unsigned int i = 0; i < COUNT; i++)
		submit(f, f->queue, i, IMAGE_READ);
	assert_in_range(f->done, 100, COUNT);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->done, COUNT);
	assert_true(f->batches > 0);
}

static void queues_share_the_limit(void **state)
{
	struct fixture *f = *state;

	setup_with(f, 1);
	submit(f, f->queue, 0, IMAGE_READ);
	assert_int_equal(f->done, 1);
	submit(f, f->other, 1, IMAGE_READ);
	assert_int_equal(f->done, 1);
	image_queue_hurry(f->queue, true);
	assert_int_equal(f->done, 1);
	image_queue_hurry(f->other, true);
	while (engine_in_flight(f->other->engine))
		engine_wait(f->other->engine);
	assert_int_equal(f->done, 2);
}

static void flushes_do_not_wait(void **state)
{
	struct fixture *f = *state;

	setup_with(f, 1);
	for (unsigned int i = 0; i < 3; i++)
		submit(f, f->queue, i, IMAGE_READ);
	assert_int_equal(f->done, 1);
	submit(f, f->queue, COUNT, IMAGE_FLUSH);
	assert_int_equal(f->done, 2);
	image_queue_hurry(f->queue, true);
	while (engine_in_flight(f->queue->engine))
		engine_wait(f->queue->engine);
	assert_int_equal(f->done, 4);
}

/* A request with many parts submits the next one when one is done. */
static void what_comes_in_a_hurry_does_not_wait(void **state)
{
	struct fixture *f = *state;

	setup_with(f, 1);
	for (unsigned int i = 0; i < 3; i++)
		submit(f, f->queue, i, IMAGE_READ);
	image_queue_hurry(f->queue, true);
	submit(f, f->queue, 3, IMAGE_READ);
	assert_int_equal(f->done, 4);
	image_queue_hurry(f->queue, false);
	submit(f, f->queue, 4, IMAGE_READ);
	assert_int_equal(f->done, 4);
	image_queue_hurry(f->queue, true);
	while (engine_in_flight(f->queue->engine))
		engine_wait(f->queue->engine);
	assert_int_equal(f->done, 5);
}

/* From a day to now, and from now to a day. */
static void other_limits_hold_at_once(void **state)
{
	struct fixture *f = *state;
	const struct throttle_limits slow = { .bytes.rate = 1 };
	const struct throttle_limits none = { 0 };
	struct throttle_limits limits;

	setup_with(f, 0);
	/* Eight minutes for each. */
	image_set_limits(f->image, &slow);
	for (unsigned int i = 0; i < 3; i++)
		submit(f, f->queue, i, IMAGE_READ);
	submit(f, f->other, 3, IMAGE_READ);
	assert_int_equal(f->done, 1);
	f->stop_at = 4;
	image_set_limits(f->image, &none);
	alarm(60);
	assert_int_equal(loop_run(f->loop), 0);
	alarm(0);
	assert_int_equal(f->done, 4);
	submit(f, f->queue, 4, IMAGE_READ);
	assert_int_equal(f->done, 5);
	image_set_limits(f->image, &slow);
	image_get_limits(f->image, &limits);
	assert_memory_equal(&limits, &slow, sizeof(limits));
	for (unsigned int i = 5; i < 8; i++)
		submit(f, f->queue, i, IMAGE_READ);
	assert_int_equal(f->done, 6);
	image_queue_hurry(f->queue, true);
	while (engine_in_flight(f->queue->engine))
		engine_wait(f->queue->engine);
	assert_int_equal(f->done, 8);
}

#define QUEUE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(bursts_are_as_long_and_as_fast_as_they_may_be),
		cmocka_unit_test(requests_larger_than_the_burst_pass),
		cmocka_unit_test(idle_time_is_not_saved_up),
		cmocka_unit_test(forced_requests_are_paid_for),
		QUEUE_TEST(what_waits_is_done_in_time),
		QUEUE_TEST(queues_share_the_limit),
		QUEUE_TEST(flushes_do_not_wait),
		QUEUE_TEST(what_comes_in_a_hurry_does_not_wait),
		QUEUE_TEST(other_limits_hold_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
