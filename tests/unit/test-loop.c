/* SPDX-License-Identifier: GPL-2.0 */
/* Event loop: dispatch, deletion from a callback, calls from other threads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/loop.h>

struct pair {
	struct loop *loop;
	struct loop_source a, b;
	unsigned int calls;
};

/* Whoever is called first deletes the other, which is ready as well. */
static void delete_other(struct pair *pair, struct loop_source *other)
{
	pair->calls++;
	loop_del(pair->loop, other);
	loop_stop(pair->loop);
}

static void ready_a(void *opaque, uint32_t events)
{
	struct pair *pair = opaque;

	assert_true(events & EPOLLIN);
	delete_other(pair, &pair->b);
}

static void ready_b(void *opaque, uint32_t events)
{
	struct pair *pair = opaque;

	assert_true(events & EPOLLIN);
	delete_other(pair, &pair->a);
}

static void a_deleted_source_is_not_called_any_more(void **state)
{
	struct pair pair = { .calls = 0 };

	(void)state;
	pair.a = (struct loop_source) { eventfd(1, EFD_CLOEXEC), ready_a, &pair,
					false };
	pair.b = (struct loop_source) { eventfd(1, EFD_CLOEXEC), ready_b, &pair,
					false };
	assert_int_equal(loop_create(&pair.loop), 0);
	assert_int_equal(loop_add(pair.loop, &pair.a, EPOLLIN), 0);
	assert_int_equal(loop_add(pair.loop, &pair.b, EPOLLIN), 0);
	assert_int_equal(loop_run(pair.loop), 0);
	assert_int_equal(pair.calls, 1);
	loop_del(pair.loop, &pair.a);
	loop_del(pair.loop, &pair.b);
	loop_destroy(pair.loop);
	close(pair.a.fd);
	close(pair.b.fd);
}

static void a_stop_before_the_run_counts(void **state)
{
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_create(&loop), 0);
	loop_stop(loop);
	assert_int_equal(loop_run(loop), 0);
	loop_destroy(loop);
}

static void note_thread(void *opaque)
{
	*(pthread_t *)opaque = pthread_self();
}

static void calls_run_on_the_thread_and_have_ended(void **state)
{
	struct io_thread *thread;
	pthread_t who;

	(void)state;
	assert_int_equal(io_thread_create("io-test", &thread), 0);
	for (unsigned int i = 0; i < 1000; i++) {
		who = pthread_self();
		io_thread_call(thread, note_thread, &who);
		assert_false(pthread_equal(who, pthread_self()));
	}
	io_thread_destroy(thread);
}

static void add_one(void *opaque)
{
	(*(unsigned int *)opaque)++;
}

struct caller {
	struct io_thread *thread;
	unsigned int *count;
};

static void *call_often(void *opaque)
{
	struct caller *caller = opaque;

	for (unsigned int i = 0; i < 1000; i++)
		io_thread_call(caller->thread, add_one, caller->count);
	return NULL;
}

static void calls_of_several_threads_are_all_made(void **state)
{
	unsigned int count = 0;
	struct caller caller = { .count = &count };
	pthread_t threads[3];

	(void)state;
	assert_int_equal(io_thread_create("io-test", &caller.thread), 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_often,
						&caller),
				 0);
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	io_thread_destroy(caller.thread);
	assert_int_equal(count, 3000);
}

static void get_mask(void *opaque)
{
	pthread_sigmask(SIG_SETMASK, NULL, opaque);
}

/* The process's signals are the main thread's, a crash is one's own. */
static void a_thread_takes_no_signals_but_its_own(void **state)
{
	struct io_thread *thread;
	sigset_t before, after, own;

	(void)state;
	get_mask(&before);
	assert_int_equal(io_thread_create("io-test", &thread), 0);
	io_thread_call(thread, get_mask, &own);
	io_thread_destroy(thread);
	get_mask(&after);
	assert_int_equal(sigismember(&before, SIGTERM), 0);
	assert_int_equal(sigismember(&after, SIGTERM), 0);
	assert_int_equal(sigismember(&own, SIGTERM), 1);
	assert_int_equal(sigismember(&own, SIGHUP), 1);
	assert_int_equal(sigismember(&own, SIGSEGV), 0);
	assert_int_equal(sigismember(&own, SIGABRT), 0);
}

static void a_regular_file_is_refused(void **state)
{
	struct loop_source source = { .fd = -1 };
	char path[] = "/tmp/lkvm-test-XXXXXX";
	struct loop *loop;

	(void)state;
	source.fd = mkstemp(path);
	unlink(path);
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(loop_add(loop, &source, EPOLLIN), -EPERM);
	loop_destroy(loop);
	close(source.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_deleted_source_is_not_called_any_more),
		cmocka_unit_test(a_stop_before_the_run_counts),
		cmocka_unit_test(calls_run_on_the_thread_and_have_ended),
		cmocka_unit_test(calls_of_several_threads_are_all_made),
		cmocka_unit_test(a_thread_takes_no_signals_but_its_own),
		cmocka_unit_test(a_regular_file_is_refused),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
