/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Events: their lines in --events, what is told of a guest that causes many,
 * and threads that tell at once. No loop runs: the test delivers.
 */
#include "control.h"

#include <stdio.h>
#include <unistd.h>

struct fixture {
	struct control_fixture base;
	char path[32];
	size_t stop_at; /* lines that end the loop */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	fixture_init(&f->base);
	strcpy(f->path, "/tmp/lkvm-test-XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "old", 3), 3);
	close(fd);
	f->base.config.events = f->path;
	assert_int_equal(events_open(&f->base.vm), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fixture_release(&f->base);
	unlink(f->path);
	free(f);
	return 0;
}

/* The lines so far, as a JSON array; the caller's. */
static json_t *lines_of(const struct fixture *f)
{
	FILE *file = fopen(f->path, "r");
	json_t *all = json_array();
	char *line = NULL;
	size_t room = 0;

	assert_non_null(file);
	while (getline(&line, &room, file) > 0) {
		json_t *event = json_loads(line, 0, NULL);

		assert_non_null(event);
		assert_int_equal(json_array_append_new(all, event), 0);
	}
	free(line);
	fclose(file);
	return all;
}

static json_t *delivered(struct fixture *f)
{
	events_deliver(&f->base.vm);
	return lines_of(f);
}

static const char *name_of(const json_t *all, size_t i)
{
	return json_string_value(
		json_object_get(json_array_get(all, i), "event"));
}

static void each_event_is_a_line_with_its_time(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = &f->base.vm;
	json_int_t before = time(NULL);
	json_t *all, *when;

	vm_event(vm, "STOP", NULL);
	vm_event_own(vm, "START", json_pack("{s:s}", "name", "a\n\"b"));
	all = delivered(f);
	assert_int_equal(json_array_size(all), 2);
	assert_string_equal(name_of(all, 0), "STOP");
	assert_null(json_object_get(json_array_get(all, 0), "data"));
	assert_string_equal(name_of(all, 1), "START");
	assert_string_equal(
		json_string_value(json_object_get(
			json_object_get(json_array_get(all, 1), "data"),
			"name")),
		"a\n\"b");
	when = json_object_get(json_array_get(all, 1), "timestamp");
	assert_in_range(json_integer_value(json_object_get(when, "seconds")),
			before, time(NULL));
	assert_in_range(
		json_integer_value(json_object_get(when, "microseconds")), 0,
		999999);
	json_decref(all);
}

static void what_waits_is_limited(void **state)
{
	struct fixture *f = *state;
	json_t *all;

	for (unsigned int i = 0; i < 2 * EVENT_MAX_WAITING; i++)
		vm_event(&f->base.vm, i ? "STOP" : "RESUME", NULL);
	all = delivered(f);
	/* The oldest are kept: what comes on top is lost. */
	assert_int_equal(json_array_size(all), EVENT_MAX_WAITING);
	assert_string_equal(name_of(all, 0), "RESUME");
	json_decref(all);
	vm_event(&f->base.vm, "RESET", NULL);
	all = delivered(f);
	assert_string_equal(name_of(all, EVENT_MAX_WAITING), "RESET");
	json_decref(all);
}

static void disk_errors_are_limited(void **state)
{
	struct fixture *f = *state;
	struct machine *m = &f->base.vm.machine;
	json_t *all, *data;

	for (unsigned int i = 0; i < 100; i++)
		m->disk_error(m, "vda", true, -ENOSPC);
	all = delivered(f);
	/* Ten a second; this may lie across the end of one. */
	assert_in_range(json_array_size(all), 10, 20);
	data = json_object_get(json_array_get(all, 0), "data");
	assert_string_equal(name_of(all, 0), "BLOCK_IO_ERROR");
	assert_string_equal(json_string_value(json_object_get(data, "device")),
			    "vda");
	assert_string_equal(
		json_string_value(json_object_get(data, "operation")), "write");
	assert_true(json_is_true(json_object_get(data, "nospace")));
	json_decref(all);
}

/* The loop ends when the balloon's timer has had its way. */
static void *stop_when_told(void *opaque)
{
	struct fixture *f = opaque;
	bool told = false;

	while (!told) {
		json_t *all = lines_of(f);

		told = json_array_size(all) == f->stop_at;
		json_decref(all);
		usleep(1000);
	}
	loop_stop(f->base.vm.machine.loop);
	return NULL;
}

static json_t *run_until(struct fixture *f, size_t lines)
{
	pthread_t thread;

	f->stop_at = lines;
	assert_int_equal(pthread_create(&thread, NULL, stop_when_told, f), 0);
	assert_int_equal(loop_run(f->base.vm.machine.loop), 0);
	pthread_join(thread, NULL);
	return delivered(f);
}

static json_int_t actual_of(const json_t *all, size_t i)
{
	const json_t *data = json_object_get(json_array_get(all, i), "data");

	assert_string_equal(name_of(all, i), "BALLOON_CHANGE");
	return json_integer_value(json_object_get(data, "actual"));
}

static void a_busy_balloon_is_told_of_once(void **state)
{
	struct fixture *f = *state;
	struct machine *m = &f->base.vm.machine;
	json_t *all;

	assert_int_equal(memory_add_ram(&m->memory, 0, 4 * MIB), 0);
	for (unsigned int i = 1; i <= 100; i++)
		m->balloon_changed(m, i * 4 * KIB);
	all = run_until(f, 1);
	assert_int_equal(json_array_size(all), 1);
	assert_int_equal(actual_of(all, 0), 4 * MIB - 400 * KIB);
	json_decref(all);
	/* The next one a second later, of what it is then. */
	m->balloon_changed(m, 8 * KIB);
	/* And if the guest says that it has more in it than there is. */
	m->balloon_changed(m, 5 * MIB);
	all = run_until(f, 2);
	assert_int_equal(json_array_size(all), 2);
	assert_int_equal(actual_of(all, 1), 0);
	json_decref(all);
}

#define THREADS 4
#define EACH 50

static void *tell_some(void *opaque)
{
	for (unsigned int i = 0; i < EACH; i++)
		vm_event(opaque, "STOP", json_pack("{s:i}", "i", (int)i));
	return NULL;
}

static void threads_tell_at_once(void **state)
{
	struct fixture *f = *state;
	pthread_t thread[THREADS];
	json_t *all;

	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, tell_some,
						&f->base.vm),
				 0);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	all = delivered(f);
	assert_int_equal(json_array_size(all), THREADS * EACH);
	json_decref(all);
}

#define EVENT_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EVENT_TEST(each_event_is_a_line_with_its_time),
		EVENT_TEST(what_waits_is_limited),
		EVENT_TEST(disk_errors_are_limited),
		EVENT_TEST(a_busy_balloon_is_told_of_once),
		EVENT_TEST(threads_tell_at_once),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
