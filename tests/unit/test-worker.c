/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio/worker.c: which thread has a device's queues, and when. The device is
 * one of three queues that answers each chain at once, or holds it until it is
 * told to let go.
 */
#include "driver.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <lkvm/worker.h>

#define QUEUES 3

struct fixture {
	struct driver driver;
	struct virtio_device vdev;
	struct virtio_worker worker;
	struct virtq_chain chain;
	/* The worker's thread: */
	bool holding; /* chains are kept until the device is stopped */
	uint16_t held[VIRTQ_MAX_SIZE];
	unsigned int nr_held;
	struct loop_source later; /* an eventfd of the test's own */
	unsigned int served_before_other;
	/* Any thread: */
	_Atomic unsigned int room; /* chains that fit; UINT_MAX: all */
	_Atomic unsigned int served, starts, stops, kicks[QUEUES];
};

static struct fixture *of(struct virtio_worker *worker)
{
	return container_of(worker, struct fixture, worker);
}

/* ---- the device ---------------------------------------------------------- */

static int take(struct virtio_worker *worker, struct virtq *vq)
{
	struct fixture *f = of(worker);
	int got;

	if (!atomic_load(&f->room))
		return -EAGAIN;
	got = virtq_pop(vq, &f->chain);
	if (got <= 0)
		return got;
	if (f->chain.out_len == 1)
		return virtq_break(vq, "the test wants it so");
	if (f->holding)
		f->held[f->nr_held++] = f->chain.head;
	else
		virtq_push(vq, f->chain.head, 0);
	if (!atomic_fetch_add(&f->served, 1))
		eventfd_write(f->later.fd, 1);
	if (atomic_load(&f->room) != UINT_MAX)
		atomic_fetch_sub(&f->room, 1);
	return got;
}

static void kicked(struct virtio_worker *worker, struct virtq *vq)
{
	atomic_fetch_add(&of(worker)->kicks[vq->index], 1);
	virtio_worker_serve(worker, vq, take);
}

static void start(struct virtio_worker *worker)
{
	atomic_fetch_add(&of(worker)->starts, 1);
}

static void stop(struct virtio_worker *worker)
{
	struct fixture *f = of(worker);

	atomic_fetch_add(&f->stops, 1);
	if (f->nr_held)
		eventfd_write(f->later.fd, 1);
	else
		virtio_worker_idle(worker);
}

/* The device's own event: held chains end, and the stop is answered. */
static void later(void *opaque, uint32_t events)
{
	struct fixture *f = opaque;
	eventfd_t count;

	(void)events;
	eventfd_read(f->later.fd, &count);
	f->served_before_other = atomic_load(&f->served);
	if (!f->nr_held || f->worker.running)
		return;
	/* Who does not wait for it looks too early. */
	usleep(20000);
	while (f->nr_held)
		virtq_push(&f->vdev.queue[0], f->held[--f->nr_held], 0);
	virtio_worker_idle(&f->worker);
}

static const struct virtio_worker_ops asynchronous = {
	.kicked = kicked,
	.start = start,
	.stop = stop,
};

static const struct virtio_worker_ops synchronous = {
	.kicked = kicked,
};

static int activate(struct virtio_device *vdev, uint64_t features)
{
	(void)features;
	return virtio_worker_activate(
		&container_of(vdev, struct fixture, vdev)->worker);
}

static void deactivate(struct virtio_device *vdev)
{
	virtio_worker_deactivate(
		&container_of(vdev, struct fixture, vdev)->worker);
}

static void handle_queue(struct virtio_device *vdev, unsigned int index)
{
	virtio_worker_kick(&container_of(vdev, struct fixture, vdev)->worker,
			   &vdev->queue[index]);
}

static const struct virtio_device_ops device_ops = {
	.activate = activate,
	.deactivate = deactivate,
	.handle_queue = handle_queue,
};

static const struct device_type type = { .name = "test" };

/* ---- the fixture --------------------------------------------------------- */

static int setup_with(void **state, const struct virtio_worker_ops *ops)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	driver_init(&f->driver);
	atomic_store(&f->room, UINT_MAX);
	strcpy(f->vdev.device.name, "test0");
	virtio_device_init(&f->vdev, &f->driver.machine, &type, &device_ops, 0,
			   QUEUES, VIRTQ_MAX_SIZE);
	assert_int_equal(virtio_device_plug(&f->vdev), 0);
	assert_int_equal(virtio_worker_create(&f->worker, &f->vdev, ops,
					      "io-test0", 0, QUEUES),
			 0);
	f->later = (struct loop_source) {
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.ready = later,
		.opaque = f,
	};
	assert_int_equal(loop_add(virtio_worker_loop(&f->worker), &f->later,
				  EPOLLIN),
			 0);
	for (unsigned int q = 0; q < QUEUES; q++)
		for (unsigned int i = 0; i < VIRTQ_MAX_SIZE; i++)
			driver_set_desc(&f->driver, q, i, 16, 0, 0);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, &synchronous);
}

static int setup_async(void **state)
{
	return setup_with(state, &asynchronous);
}

static void unwatch(void *opaque)
{
	struct fixture *f = opaque;

	loop_del(virtio_worker_loop(&f->worker), &f->later);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	driver_reset(&f->driver);
	io_thread_call(f->worker.thread, unwatch, f);
	virtio_worker_destroy(&f->worker);
	close(f->later.fd);
	virtio_device_release(&f->vdev);
	driver_release(&f->driver);
	free(f);
	return 0;
}

static void run(struct fixture *f)
{
	driver_set_up(&f->driver, 0);
	driver_start(&f->driver);
	assert_false(driver_broken(&f->driver));
}

static void nothing(void *opaque)
{
	(void)opaque;
}

/* Whatever kicks were sent before have been looked at after this. */
static void settle(struct fixture *f)
{
	io_thread_call(f->worker.thread, nothing, NULL);
	io_thread_call(f->worker.thread, nothing, f);
}

/* ---- tests --------------------------------------------------------------- */

static void each_queue_is_served(void **state)
{
	struct fixture *f = *state;

	run(f);
	for (unsigned int q = 0; q < QUEUES; q++) {
		driver_offer(&f->driver, q, 7);
		driver_kick(&f->driver, q);
		assert_int_equal(driver_wait(&f->driver, q, NULL), 7);
	}
	/* A transport without eventfds calls the device. */
	driver_offer(&f->driver, 1, 8);
	virtio_device_notify(&f->vdev, 1);
	assert_int_equal(driver_wait(&f->driver, 1, NULL), 8);
}

static void what_was_offered_before_the_start_is_served(void **state)
{
	struct fixture *f = *state;

	driver_set_up(&f->driver, 0);
	driver_offer(&f->driver, 2, 3);
	driver_start(&f->driver);
	assert_int_equal(driver_wait(&f->driver, 2, NULL), 3);
}

static void a_queue_that_is_not_set_up_is_left_alone(void **state)
{
	struct fixture *f = *state;

	driver_set_up(&f->driver, 0);
	virtio_device_set_queue(&f->vdev, 1, VIRTQ_REG_READY, 0);
	driver_start(&f->driver);
	driver_offer(&f->driver, 1, 3);
	driver_kick(&f->driver, 1);
	driver_offer(&f->driver, 0, 4);
	driver_kick(&f->driver, 0);
	driver_wait(&f->driver, 0, NULL);
	settle(f);
	assert_int_equal(atomic_load(&f->served), 1);
	assert_int_equal(atomic_load(&f->kicks[1]), 0);
}

static void a_paused_worker_does_nothing(void **state)
{
	struct fixture *f = *state;

	run(f);
	virtio_worker_quiesce(&f->worker);
	driver_offer(&f->driver, 0, 1);
	driver_kick(&f->driver, 0);
	settle(f);
	assert_int_equal(driver_used_idx(&f->driver, 0), 0);
	/* That kick was not forgotten. */
	virtio_worker_resume(&f->worker);
	assert_int_equal(driver_wait(&f->driver, 0, NULL), 1);
}

static void a_device_activated_while_paused_waits(void **state)
{
	struct fixture *f = *state;

	virtio_worker_quiesce(&f->worker);
	driver_set_up(&f->driver, 0);
	driver_offer(&f->driver, 0, 1);
	driver_start(&f->driver);
	settle(f);
	assert_int_equal(atomic_load(&f->starts), 0);
	assert_int_equal(driver_used_idx(&f->driver, 0), 0);
	virtio_worker_resume(&f->worker);
	assert_int_equal(driver_wait(&f->driver, 0, NULL), 1);
	virtio_worker_resume(&f->worker);
	assert_int_equal(atomic_load(&f->starts), 1);
	driver_reset(&f->driver);
	assert_int_equal(atomic_load(&f->stops), 1);
}

static void pauses_of_a_device_without_driver_do_nothing(void **state)
{
	struct fixture *f = *state;

	virtio_worker_resume(&f->worker);
	virtio_worker_quiesce(&f->worker);
	virtio_worker_resume(&f->worker);
	run(f);
	driver_reset(&f->driver);
	virtio_worker_quiesce(&f->worker);
	virtio_worker_resume(&f->worker);
	assert_int_equal(atomic_load(&f->starts), 1);
	assert_int_equal(atomic_load(&f->stops), 1);
}

static void a_reset_waits_for_what_is_in_flight(void **state)
{
	struct fixture *f = *state;

	f->holding = true;
	run(f);
	for (unsigned int i = 0; i < 5; i++)
		driver_offer(&f->driver, 0, i);
	driver_kick(&f->driver, 0);
	while (atomic_load(&f->served) < 5)
		sched_yield();
	assert_int_equal(driver_used_idx(&f->driver, 0), 0);
	driver_reset(&f->driver);
	assert_int_equal(driver_used_idx(&f->driver, 0), 5);
	assert_int_equal(f->driver.notify_fd[0], -1);
}

static void a_pause_waits_for_what_is_in_flight(void **state)
{
	struct fixture *f = *state;

	f->holding = true;
	run(f);
	driver_offer(&f->driver, 0, 9);
	driver_kick(&f->driver, 0);
	while (!atomic_load(&f->served))
		sched_yield();
	virtio_worker_quiesce(&f->worker);
	assert_int_equal(driver_used_idx(&f->driver, 0), 1);
	virtio_worker_resume(&f->worker);
	assert_int_equal(atomic_load(&f->starts), 2);
}

static void a_broken_queue_needs_a_reset(void **state)
{
	struct fixture *f = *state;

	run(f);
	driver_set_desc(&f->driver, 0, 5, 1, 0, 0);
	driver_offer(&f->driver, 0, 4);
	driver_offer(&f->driver, 0, 5);
	driver_offer(&f->driver, 0, 6);
	driver_kick(&f->driver, 0);
	driver_wait_broken(&f->driver);
	driver_kick(&f->driver, 0);
	settle(f);
	assert_int_equal(driver_used_idx(&f->driver, 0), 1);
	driver_reset(&f->driver);
	run(f);
	driver_offer(&f->driver, 0, 6);
	driver_kick(&f->driver, 0);
	assert_int_equal(driver_wait(&f->driver, 0, NULL), 6);
}

static void without_room_chains_wait_for_a_kick(void **state)
{
	struct fixture *f = *state;

	atomic_store(&f->room, 2);
	run(f);
	for (unsigned int i = 0; i < 4; i++)
		driver_offer(&f->driver, 0, i);
	driver_kick(&f->driver, 0);
	driver_wait(&f->driver, 0, NULL);
	driver_wait(&f->driver, 0, NULL);
	settle(f);
	assert_int_equal(driver_used_idx(&f->driver, 0), 2);
	/* The driver need not notify while there is none. */
	assert_int_equal(driver_used_flags(&f->driver, 0),
			 VRING_USED_F_NO_NOTIFY);
	atomic_store(&f->room, UINT_MAX);
	virtio_worker_kick(&f->worker, &f->vdev.queue[0]);
	driver_wait(&f->driver, 0, NULL);
	driver_wait(&f->driver, 0, NULL);
	settle(f);
	assert_int_equal(driver_used_flags(&f->driver, 0), 0);
}

static void a_full_ring_lets_others_have_a_turn(void **state)
{
	struct fixture *f = *state;

	f->driver.size = VIRTQ_MAX_SIZE;
	driver_set_up(&f->driver, 0);
	for (unsigned int i = 0; i < VIRTQ_MAX_SIZE; i++)
		driver_offer(&f->driver, 0, i);
	driver_start(&f->driver);
	for (unsigned int i = 0; i < VIRTQ_MAX_SIZE; i++)
		driver_wait(&f->driver, 0, NULL);
	settle(f);
	assert_in_range(f->served_before_other, 1, VIRTQ_MAX_SIZE / 2);
	/* And interrupts are few. */
	assert_true(atomic_load(&f->driver.signals) <= VIRTQ_MAX_SIZE / 32);
}

static void what_cannot_be_attached_is_undone(void **state)
{
	struct fixture *f = *state;

	f->driver.attach_fails = 2;
	driver_set_up(&f->driver, 0);
	driver_start(&f->driver);
	assert_true(driver_broken(&f->driver));
	assert_int_equal(f->driver.notify_fd[0], -1);
	assert_int_equal(atomic_load(&f->starts), 0);
	f->driver.attach_fails = 0;
	driver_reset(&f->driver);
	run(f);
	driver_offer(&f->driver, 0, 6);
	driver_kick(&f->driver, 0);
	driver_wait(&f->driver, 0, NULL);
}

static void a_second_worker_has_queues_of_its_own(void **state)
{
	struct fixture *f = *state;
	struct virtio_worker second;

	driver_set_up(&f->driver, 0);
	assert_int_equal(virtio_worker_create(&second, &f->vdev, &synchronous,
					      "io-test0-1", 1, 2),
			 0);
	assert_ptr_equal(second.kick[0].vq, &f->vdev.queue[1]);
	assert_ptr_equal(second.kick[1].vq, &f->vdev.queue[2]);
	assert_int_equal(virtio_worker_activate(&second), 0);
	assert_int_equal(f->driver.notify_fd[0], -1);
	assert_int_equal(f->driver.notify_fd[2], second.kick[1].source.fd);
	virtio_worker_deactivate(&second);
	assert_int_equal(f->driver.notify_fd[2], -1);
	virtio_worker_destroy(&second);
}

/* ---- races --------------------------------------------------------------- */

#define ROUNDS 400

static _Atomic bool stop_racing;

/* The machine's pauses. */
static void *pauses(void *opaque)
{
	struct fixture *f = opaque;

	while (!atomic_load(&stop_racing)) {
		virtio_worker_quiesce(&f->worker);
		sched_yield();
		virtio_worker_resume(&f->worker);
		sched_yield();
	}
	return NULL;
}

/* Another vCPU that notifies whatever state the device is in. */
static void *notifications(void *opaque)
{
	struct fixture *f = opaque;

	while (!atomic_load(&stop_racing)) {
		for (unsigned int q = 0; q < QUEUES; q++)
			virtio_device_notify(&f->vdev, q);
		virtio_worker_kick(&f->worker, &f->vdev.queue[0]);
		sched_yield();
	}
	return NULL;
}

/*
 * Every round's rings are written anew: a worker that had not let go of them
 * would answer twice, or not at all; and thread sanitizers would tell.
 */
static void starts_stops_and_pauses_race(void **state)
{
	struct fixture *f = *state;
	pthread_t thread[2];
	unsigned int wait = 0;

	atomic_store(&stop_racing, false);
	assert_int_equal(pthread_create(&thread[0], NULL, pauses, f), 0);
	assert_int_equal(pthread_create(&thread[1], NULL, notifications, f), 0);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned int count = round % 50;

		run(f);
		for (unsigned int i = 0; i < count; i++) {
			driver_offer(&f->driver, i % QUEUES, i);
			driver_kick(&f->driver, i % QUEUES);
		}
		/* Every other time the reset comes into the work. */
		for (unsigned int i = 0; round % 2 && i < count; i++) {
			driver_wait(&f->driver, i % QUEUES, NULL);
			wait++;
		}
		driver_reset(&f->driver);
		for (unsigned int q = 0; q < QUEUES; q++)
			assert_true(driver_used_idx(&f->driver, q) <=
				    f->driver.avail_idx[q]);
	}
	atomic_store(&stop_racing, true);
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	assert_true(atomic_load(&f->served) >= wait);
	assert_int_equal(atomic_load(&f->starts), atomic_load(&f->stops));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define ASYNC(name) cmocka_unit_test_setup_teardown(name, setup_async, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_queue_is_served),
		TEST(what_was_offered_before_the_start_is_served),
		TEST(a_queue_that_is_not_set_up_is_left_alone),
		TEST(a_paused_worker_does_nothing),
		ASYNC(a_device_activated_while_paused_waits),
		ASYNC(pauses_of_a_device_without_driver_do_nothing),
		ASYNC(a_reset_waits_for_what_is_in_flight),
		ASYNC(a_pause_waits_for_what_is_in_flight),
		TEST(a_broken_queue_needs_a_reset),
		TEST(without_room_chains_wait_for_a_kick),
		TEST(a_full_ring_lets_others_have_a_turn),
		TEST(what_cannot_be_attached_is_undone),
		TEST(a_second_worker_has_queues_of_its_own),
		ASYNC(starts_stops_and_pauses_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
