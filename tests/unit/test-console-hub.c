/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vmm/console-hub.c: the test is the device above and the host end below; its
 * thread is the main thread.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/console-hub.h>
#include <lkvm/loop.h>
#include <lkvm/util.h>

#define RING 65536

/* The host end. */
struct lower {
	struct chardev chardev;
	size_t room;
	size_t len; /* of what was written */
	unsigned int wanted;
	char data[4 * RING];
};

/* An observer. */
struct watcher {
	struct console_observer observer;
	struct fixture *f;
	size_t len;
	unsigned int wanted;
	char data[4 * RING];
};

struct fixture {
	struct loop *loop;
	struct lower lower, second;
	struct console_hub *hub;
	struct chardev *end, *second_end;
	struct watcher watcher[3];
	/* the device */
	size_t room, typed_len;
	char typed[256];
	unsigned int writable, second_writable;
	uint16_t cols;
};

static size_t lower_write(struct chardev *chardev, const void *data, size_t len)
{
	struct lower *l = container_of(chardev, struct lower, chardev);
	size_t taken = MIN(len, l->room);

	memcpy(l->data + l->len, data, taken);
	l->len += taken;
	l->room -= taken;
	return taken;
}

static void lower_wanted(struct chardev *chardev)
{
	container_of(chardev, struct lower, chardev)->wanted++;
}

static const struct chardev_ops lower_ops = {
	.write = lower_write,
	.input_wanted = lower_wanted,
};

static size_t device_receive(void *opaque, const void *data, size_t len)
{
	struct fixture *f = opaque;
	size_t taken = MIN(len, f->room);

	memcpy(f->typed + f->typed_len, data, taken);
	f->typed_len += taken;
	f->room -= taken;
	return taken;
}

static void device_writable(void *opaque)
{
	((struct fixture *)opaque)->writable++;
}

static void second_writable(void *opaque)
{
	((struct fixture *)opaque)->second_writable++;
}

static void device_resized(void *opaque, uint16_t cols, uint16_t rows)
{
	(void)rows;
	((struct fixture *)opaque)->cols = cols;
}

static const struct chardev_frontend_ops device_ops = {
	.receive = device_receive,
	.writable = device_writable,
	.resized = device_resized,
};

static const struct chardev_frontend_ops second_ops = {
	.receive = device_receive,
	.writable = second_writable,
};

static void on_output(void *opaque, const char *data, size_t len)
{
	struct watcher *w = opaque;

	memcpy(w->data + w->len, data, len);
	w->len += len;
}

static void on_wanted(void *opaque)
{
	((struct watcher *)opaque)->wanted++;
}

static void make(struct fixture *f, bool below)
{
	f->lower.chardev.ops = &lower_ops;
	f->second.chardev.ops = &lower_ops;
	f->lower.room = sizeof(f->lower.data);
	f->second.room = sizeof(f->second.data);
	assert_int_equal(loop_create(&f->loop), 0);
	assert_int_equal(
		console_hub_create(f->loop, below ? &f->lower.chardev : NULL,
				   below ? &f->second.chardev : NULL, &f->hub),
		0);
	f->end = console_hub_chardev(f->hub);
	f->end->opaque = f;
	f->end->frontend = &device_ops;
	f->second_end = console_hub_second(f->hub);
	f->second_end->opaque = f;
	f->second_end->frontend = &second_ops;
	for (unsigned int i = 0; i < ARRAY_SIZE(f->watcher); i++) {
		struct watcher *w = &f->watcher[i];

		w->f = f;
		w->observer = (struct console_observer) {
			.output = on_output,
			.input_wanted = on_wanted,
			.opaque = w,
		};
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	make(f, true);
	*state = f;
	return 0;
}

static int setup_alone(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	make(f, false);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	console_hub_destroy(f->hub);
	assert_null(f->lower.chardev.frontend);
	loop_destroy(f->loop);
	free(f);
	return 0;
}

static size_t say(struct fixture *f, const char *text)
{
	return f->end->ops->write(f->end, text, strlen(text));
}

static void assert_seen(const struct watcher *w, const char *text)
{
	assert_int_equal(w->len, strlen(text));
	assert_memory_equal(w->data, text, w->len);
}

static void on_stop(void *opaque, uint32_t events)
{
	(void)events;
	loop_stop(opaque);
}

/* The loop's turns for @ms. */
static void turn(struct fixture *f, unsigned int ms)
{
	struct loop_source timer = {
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC),
		.ready = on_stop,
		.opaque = f->loop,
	};

	timer_arm(timer.fd, ms * 1000000ULL);
	assert_int_equal(loop_add(f->loop, &timer, EPOLLIN), 0);
	assert_int_equal(loop_run(f->loop), 0);
	loop_del(f->loop, &timer);
	close(timer.fd);
}

static void test_passes_output(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(say(f, "hello "), 6);
	assert_int_equal(f->second_end->ops->write(f->second_end, "there", 5),
			 5);
	assert_int_equal(f->lower.len, 6);
	assert_memory_equal(f->lower.data, "hello ", 6);
	assert_int_equal(f->second.len, 5);
	assert_memory_equal(f->second.data, "there", 5);
}

static void test_loop_tells_observers(void **state)
{
	struct fixture *f = *state;

	say(f, "before ");
	console_hub_observe(f->hub, &f->watcher[0].observer);
	say(f, "one ");
	assert_seen(&f->watcher[0], "");
	turn(f, 50);
	assert_seen(&f->watcher[0], "one ");
	console_hub_observe(f->hub, &f->watcher[1].observer);
	f->second_end->ops->write(f->second_end, "two ", 4);
	turn(f, 50);
	assert_seen(&f->watcher[0], "one two ");
	assert_seen(&f->watcher[1], "two ");
	console_hub_unobserve(f->hub, &f->watcher[0].observer);
	say(f, "three");
	turn(f, 50);
	assert_seen(&f->watcher[0], "one two ");
	assert_seen(&f->watcher[1], "two three");
}

/* What the host end has no room for has not been said yet. */
static void test_host_end_is_full(void **state)
{
	struct fixture *f = *state;

	console_hub_observe(f->hub, &f->watcher[0].observer);
	f->lower.room = 3;
	assert_int_equal(say(f, "hello"), 3);
	console_hub_flush(f->hub);
	assert_seen(&f->watcher[0], "hel");
	assert_int_equal(f->writable, 0);
	f->lower.room = 10;
	f->lower.chardev.frontend->writable(f->lower.chardev.opaque);
	assert_int_equal(f->writable, 1);
	f->second.chardev.frontend->writable(f->second.chardev.opaque);
	assert_int_equal(f->second_writable, 1);
	assert_int_equal(say(f, "lo"), 2);
	console_hub_flush(f->hub);
	assert_seen(&f->watcher[0], "hello");
}

static void fill(char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 31 + i / 251);
}

static void test_observers_miss_nothing(void **state)
{
	struct fixture *f = *state;
	static char data[3 * RING];
	size_t done = 0;

	fill(data, sizeof(data));
	console_hub_observe(f->hub, &f->watcher[0].observer);
	console_hub_observe(f->hub, &f->watcher[1].observer);
	while (done < sizeof(data)) {
		size_t n = f->end->ops->write(f->end, data + done,
					      sizeof(data) - done);

		done += n;
		if (n)
			continue;
		f->writable = 0;
		turn(f, 20);
		assert_int_equal(f->writable, 1);
	}
	console_hub_flush(f->hub);
	assert_int_equal(f->lower.len, sizeof(data));
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(f->watcher[i].len, sizeof(data));
		assert_memory_equal(f->watcher[i].data, data, sizeof(data));
	}
}

/* Nobody watches: nobody is waited for. */
static void test_without_observers(void **state)
{
	struct fixture *f = *state;
	static char data[3 * RING];

	fill(data, sizeof(data));
	assert_int_equal(f->end->ops->write(f->end, data, sizeof(data)),
			 sizeof(data));
	assert_int_equal(f->end->ops->write(f->end, data, RING), RING);
}

static void test_last_observer_leaves(void **state)
{
	struct fixture *f = *state;
	static char data[2 * RING];

	console_hub_observe(f->hub, &f->watcher[0].observer);
	assert_int_equal(f->end->ops->write(f->end, data, sizeof(data)), RING);
	assert_int_equal(say(f, "x"), 0);
	console_hub_unobserve(f->hub, &f->watcher[0].observer);
	assert_int_equal(f->writable, 1);
	assert_int_equal(say(f, "x"), 1);
	/* the next one is told only what comes then */
	console_hub_observe(f->hub, &f->watcher[1].observer);
	say(f, "new");
	console_hub_flush(f->hub);
	assert_seen(&f->watcher[1], "new");
}

/* Its callback takes the next one off, and itself. */
static void leave(void *opaque, const char *data, size_t len)
{
	struct watcher *w = opaque;

	on_output(opaque, data, len);
	for (unsigned int i = 0; i < 2; i++)
		console_hub_unobserve(w->f->hub, &w->f->watcher[i].observer);
}

static void test_leaving_in_a_callback(void **state)
{
	struct fixture *f = *state;

	/* the newest is told first */
	for (unsigned int i = 0; i < 3; i++)
		console_hub_observe(f->hub, &f->watcher[2 - i].observer);
	f->watcher[0].observer.output = leave;
	say(f, "one");
	console_hub_flush(f->hub);
	say(f, "two");
	console_hub_flush(f->hub);
	assert_seen(&f->watcher[0], "one");
	assert_seen(&f->watcher[1], "");
	assert_seen(&f->watcher[2], "onetwo");
}

static void test_tail(void **state)
{
	struct fixture *f = *state;
	static char data[RING + 1000], tail[RING];

	assert_int_equal(console_hub_tail(f->hub, tail, sizeof(tail)), 0);
	say(f, "short");
	assert_int_equal(console_hub_tail(f->hub, tail, sizeof(tail)), 5);
	assert_memory_equal(tail, "short", 5);
	fill(data, sizeof(data));
	f->end->ops->write(f->end, data, sizeof(data));
	assert_int_equal(console_hub_tail(f->hub, tail, sizeof(tail)),
			 CONSOLE_TAIL);
	assert_memory_equal(tail, data + sizeof(data) - CONSOLE_TAIL,
			    CONSOLE_TAIL);
	assert_int_equal(console_hub_tail(f->hub, tail, 3), 3);
	assert_memory_equal(tail, data + sizeof(data) - 3, 3);
}

static size_t type_below(struct fixture *f, const char *text)
{
	return f->lower.chardev.frontend->receive(f->lower.chardev.opaque, text,
						  strlen(text));
}

static void test_input(void **state)
{
	struct fixture *f = *state;

	f->room = 7;
	assert_int_equal(type_below(f, "ab"), 2);
	assert_int_equal(console_hub_input(f->hub, "cd", 2), 2);
	assert_int_equal(type_below(f, "efghi"), 3);
	assert_int_equal(f->typed_len, 7);
	assert_memory_equal(f->typed, "abcdefg", 7);
}

/* Who was refused is told when there is room, whoever it was. */
static void test_refused_input(void **state)
{
	struct fixture *f = *state;

	console_hub_observe(f->hub, &f->watcher[0].observer);
	assert_int_equal(console_hub_input(f->hub, "x", 1), 0);
	assert_int_equal(f->lower.wanted, 0);
	f->end->ops->input_wanted(f->end);
	assert_int_equal(f->lower.wanted, 1);
	turn(f, 20);
	assert_int_equal(f->watcher[0].wanted, 1);

	/* the device counts only the last call's refusal */
	assert_int_equal(type_below(f, "y"), 0);
	f->room = 10;
	assert_int_equal(console_hub_input(f->hub, "x", 1), 1);
	assert_int_equal(f->lower.wanted, 2);
	f->room = 0;
	assert_int_equal(console_hub_input(f->hub, "x", 1), 0);
	f->room = 10;
	assert_int_equal(type_below(f, "y"), 1);
	turn(f, 20);
	assert_int_equal(f->watcher[0].wanted, 2);

	/* and nobody who was not refused */
	assert_int_equal(console_hub_input(f->hub, "x", 1), 1);
	f->end->ops->input_wanted(f->end);
	turn(f, 20);
	assert_int_equal(f->watcher[0].wanted, 2);
}

static void test_resize(void **state)
{
	struct fixture *f = *state;

	f->lower.chardev.frontend->resized(f->lower.chardev.opaque, 132, 43);
	assert_int_equal(f->cols, 132);
}

static void test_nothing_below(void **state)
{
	struct fixture *f = *state;

	console_hub_observe(f->hub, &f->watcher[0].observer);
	assert_int_equal(say(f, "hello"), 5);
	console_hub_flush(f->hub);
	assert_seen(&f->watcher[0], "hello");
	f->room = 2;
	assert_int_equal(console_hub_input(f->hub, "abc", 3), 2);
	f->end->ops->input_wanted(f->end);
	turn(f, 20);
	assert_int_equal(f->watcher[0].wanted, 1);
}

#define hub_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		hub_test(test_passes_output),
		hub_test(test_loop_tells_observers),
		hub_test(test_host_end_is_full),
		hub_test(test_observers_miss_nothing),
		hub_test(test_without_observers),
		hub_test(test_last_observer_leaves),
		hub_test(test_leaving_in_a_callback),
		hub_test(test_tail),
		hub_test(test_input),
		hub_test(test_refused_input),
		hub_test(test_resize),
		cmocka_unit_test_setup_teardown(test_nothing_below, setup_alone,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
