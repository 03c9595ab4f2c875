/* SPDX-License-Identifier: GPL-2.0 */
/* Why a run ends, when more than one asks for it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>

#include <lkvm/util.h>
#include <lkvm/vm.h>

struct fixture {
	struct vm_config config;
	struct vm vm;
};

/* As much of a VM as vm_end() looks at. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->vm.config = &f->config;
	pthread_mutex_init(&f->vm.lock, NULL);
	assert_int_equal(loop_create(&f->vm.machine.loop), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_destroy(f->vm.machine.loop);
	pthread_mutex_destroy(&f->vm.lock);
	free(f);
	return 0;
}

static void the_first_request_wins(void **state)
{
	struct fixture *f = *state;

	vm_end(&f->vm, VM_END_PANIC, 0);
	vm_end(&f->vm, VM_END_RESET, 0);
	vm_end(&f->vm, VM_END_SIGNAL, SIGTERM);
	assert_int_equal(f->vm.end, VM_END_PANIC);
	/* And the loop has been told. */
	assert_int_equal(loop_run(f->vm.machine.loop), 0);
}

static void a_reset_that_ends_the_run_is_an_end(void **state)
{
	struct fixture *f = *state;

	f->config.on_reset = ON_RESET_EXIT;
	vm_end(&f->vm, VM_END_RESET, 0);
	vm_end(&f->vm, VM_END_SIGNAL, SIGTERM);
	assert_int_equal(f->vm.end, VM_END_RESET);
}

/* The boot would forget them: SIGTERM came with a reset, and was lost. */
static void a_users_end_comes_before_another_boot(void **state)
{
	struct fixture *f = *state;

	f->config.on_reset = ON_RESET_RESET;
	vm_end(&f->vm, VM_END_RESET, 0);
	vm_end(&f->vm, VM_END_PANIC, 0);
	assert_int_equal(f->vm.end, VM_END_RESET);
	vm_end(&f->vm, VM_END_SIGNAL, SIGTERM);
	assert_int_equal(f->vm.end, VM_END_SIGNAL);
	assert_int_equal(f->vm.end_detail, SIGTERM);
	vm_end(&f->vm, VM_END_QUIT, 0);
	assert_int_equal(f->vm.end, VM_END_SIGNAL);
}

/* The user's own reset boots again whatever a guest's would do. */
static void a_users_reset_needs_no_option(void **state)
{
	struct fixture *f = *state;

	f->config.on_reset = ON_RESET_EXIT;
	vm_end(&f->vm, VM_END_USER_RESET, 0);
	vm_end(&f->vm, VM_END_POWEROFF, 0);
	assert_int_equal(f->vm.end, VM_END_USER_RESET);
	vm_end(&f->vm, VM_END_SIGNAL, SIGTERM);
	assert_int_equal(f->vm.end, VM_END_SIGNAL);
}

/* What a guest does after it has been asked to stop is its end. */
static void a_guest_that_shall_stop_boots_no_more(void **state)
{
	struct fixture *f = *state;

	f->config.on_reset = ON_RESET_RESET;
	f->config.on_panic = ON_PANIC_RESET;
	f->vm.stopping = true;
	vm_end(&f->vm, VM_END_RESET, 0);
	vm_end(&f->vm, VM_END_SIGNAL, SIGTERM);
	assert_int_equal(f->vm.end, VM_END_RESET);
	f->vm.end = VM_END_NONE;
	vm_end(&f->vm, VM_END_PANIC, 0);
	vm_end(&f->vm, VM_END_TIMEOUT, 0);
	assert_int_equal(f->vm.end, VM_END_PANIC);
}

static void the_clock_comes_before_another_boot(void **state)
{
	static const enum vm_end ends[] = { VM_END_TIMEOUT, VM_END_DECIDED };
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++) {
		f->config.on_panic = ON_PANIC_PAUSE;
		f->vm.end = VM_END_NONE;
		vm_end(&f->vm, VM_END_PANIC, 0);
		vm_end(&f->vm, ends[i], 0);
		assert_int_equal(f->vm.end, ends[i]);
		f->config.on_panic = ON_PANIC_EXIT;
		f->vm.end = VM_END_NONE;
		vm_end(&f->vm, VM_END_PANIC, 0);
		vm_end(&f->vm, ends[i], 0);
		assert_int_equal(f->vm.end, VM_END_PANIC);
	}
}

#define END_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		END_TEST(the_first_request_wins),
		END_TEST(a_reset_that_ends_the_run_is_an_end),
		END_TEST(a_users_end_comes_before_another_boot),
		END_TEST(a_users_reset_needs_no_option),
		END_TEST(a_guest_that_shall_stop_boots_no_more),
		END_TEST(the_clock_comes_before_another_boot),
	};

	return cmocka_run_group_tests_name("vm-end", tests, NULL, NULL);
}
