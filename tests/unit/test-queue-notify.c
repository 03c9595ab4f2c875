/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio/queue.c: who is woken when. Suppression of interrupts and of
 * notifications, by event index and by flag (virtio 1.2, 2.7.7 and 2.7.10),
 * against a driver that this file plays.
 */
#include <linux/virtio_config.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "queue.h"

#define EVENT_IDX BIT_ULL(VIRTIO_RING_F_EVENT_IDX)

static void start(struct fixture *f, uint16_t size, uint64_t features)
{
	configure(f, size);
	assert_int_equal(virtq_start(&f->vq, features), 0);
}

/* ---- notifications ------------------------------------------------------ */

/* One chain through the queue, as device and driver. */
static void cycle(struct fixture *f)
{
	set(&f->desc[0], BUFFER, 16, 0, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	virtq_push(&f->vq, 0, 0);
}

static void set_used_event(struct fixture *f, uint16_t event)
{
	f->avail->ring[f->vq.size] = htole16(event);
}

static void event_idx_decides_interrupts(void **state)
{
	struct fixture *f = *state;

	start(f, 8, EVENT_IDX);
	set_used_event(f, 0);
	assert_false(virtq_should_signal(&f->vq));
	cycle(f); /* entry 0 */
	assert_true(virtq_should_signal(&f->vq));
	assert_false(virtq_should_signal(&f->vq));
	cycle(f); /* entry 1: the driver has not moved its event */
	assert_false(virtq_should_signal(&f->vq));
	set_used_event(f, 4);
	cycle(f);
	cycle(f);
	assert_false(virtq_should_signal(&f->vq));
	cycle(f); /* entry 4 */
	cycle(f);
	assert_true(virtq_should_signal(&f->vq));
	/* flags mean nothing here (2.7.7.2). */
	f->avail->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	set_used_event(f, 6);
	cycle(f);
	assert_true(virtq_should_signal(&f->vq));
}

static void event_idx_wraps_at_65536(void **state)
{
	struct fixture *f = *state;
	unsigned int signals = 0;

	start(f, 8, EVENT_IDX);
	set_used_event(f, 0xfffe);
	for (unsigned int i = 0; i < 0xfffe; i++) {
		cycle(f);
		signals += virtq_should_signal(&f->vq);
	}
	assert_int_equal(signals, 0);
	cycle(f); /* entry 0xfffe */
	assert_true(virtq_should_signal(&f->vq));
	/* One batch over the wrap, with the event on its far side. */
	set_used_event(f, 0);
	cycle(f);
	cycle(f);
	assert_int_equal(f->vq.used_idx, 1);
	assert_true(virtq_should_signal(&f->vq));
	set_used_event(f, 0xffff);
	cycle(f);
	assert_false(virtq_should_signal(&f->vq));
}

static void flags_decide_interrupts_without_event_idx(void **state)
{
	struct fixture *f = *state;

	start(f, 8, 0);
	/* The field means nothing here. */
	set_used_event(f, 0x7000);
	assert_false(virtq_should_signal(&f->vq));
	cycle(f);
	assert_true(virtq_should_signal(&f->vq));
	assert_false(virtq_should_signal(&f->vq));
	f->avail->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	cycle(f);
	assert_false(virtq_should_signal(&f->vq));
}

static void avail_event_asks_for_notifications(void **state)
{
	struct fixture *f = *state;
	uint16_t *event;

	start(f, 8, EVENT_IDX);
	event = (uint16_t *)&f->used->ring[8];
	cycle(f);
	cycle(f);
	virtq_disable_notify(&f->vq);
	assert_int_equal(f->used->flags, 0); /* 2.7.10.2 */
	assert_false(virtq_enable_notify(&f->vq));
	assert_int_equal(le16toh(*event), 2);
	offer(f, 0);
	assert_true(virtq_enable_notify(&f->vq));
}

static void flags_ask_for_notifications_without_event_idx(void **state)
{
	struct fixture *f = *state;

	start(f, 8, 0);
	virtq_disable_notify(&f->vq);
	assert_int_equal(le16toh(f->used->flags), VRING_USED_F_NO_NOTIFY);
	offer(f, 0);
	assert_true(virtq_enable_notify(&f->vq));
	assert_int_equal(f->used->flags, 0);
}

/* ---- two threads -------------------------------------------------------- */

static uint16_t used_idx(struct fixture *f)
{
	return le16toh(__atomic_load_n(&f->used->idx, __ATOMIC_SEQ_CST));
}

/* Both sides sleep whenever they may; a lost wake-up leaves this hanging. */
static void no_wake_up_is_lost(void **state)
{
	struct fixture *f = *state;
	struct stress s = { f, eventfd(0, EFD_CLOEXEC),
			    eventfd(0, EFD_CLOEXEC) };
	uint16_t *avail_event;
	pthread_t thread;

	start(f, 4, EVENT_IDX);
	avail_event = (uint16_t *)&f->used->ring[4];
	for (unsigned int i = 0; i < 4; i++)
		set(&f->desc[i], BUFFER, 16, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, device_thread, &s), 0);
	for (unsigned int sent = 0; sent < STRESS_ROUNDS;) {
		uint16_t old = f->avail_idx;
		unsigned int batch = 1 + sent % 3;

		for (unsigned int i = 0; i < batch && sent < STRESS_ROUNDS; i++)
			offer(f, (uint16_t)(sent++ % 4));
		__atomic_store_n(&f->avail->idx, htole16(f->avail_idx),
				 __ATOMIC_SEQ_CST);
		if (vring_need_event(le16toh(__atomic_load_n(avail_event,
							     __ATOMIC_SEQ_CST)),
				     f->avail_idx, old))
			eventfd_write(s.kick_fd, 1);
		while (used_idx(f) != f->avail_idx) {
			__atomic_store_n(&f->avail->ring[4],
					 htole16(f->avail_idx - 1),
					 __ATOMIC_SEQ_CST);
			if (used_idx(f) != f->avail_idx)
				wait_fd(s.irq_fd);
		}
	}
	pthread_join(thread, NULL);
	close(s.kick_fd);
	close(s.irq_fd);
}

#define QUEUE_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup_queue, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		QUEUE_TEST(event_idx_decides_interrupts),
		QUEUE_TEST(event_idx_wraps_at_65536),
		QUEUE_TEST(flags_decide_interrupts_without_event_idx),
		QUEUE_TEST(avail_event_asks_for_notifications),
		QUEUE_TEST(flags_ask_for_notifications_without_event_idx),
		QUEUE_TEST(no_wake_up_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
