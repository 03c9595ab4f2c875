/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vmm/endings.c on as much of a VM as it looks at: a console that the test
 * writes to, a power button that counts, and no vCPU.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/console-hub.h>
#include <lkvm/endings.h>
#include <lkvm/guest-command.h>
#include <lkvm/terminal.h>
#include <lkvm/util.h>
#include <lkvm/vm.h>

#define HOURS (3600 * 1000000000ULL)

struct fixture {
	struct vm_config config;
	struct pattern expect[2], fail;
	struct vm vm;
	unsigned int pressed;
};

static void on_power_button(void *opaque)
{
	((struct fixture *)opaque)->pressed++;
}

static void add(struct pattern_list *list, struct pattern *pattern,
		const char *text)
{
	pattern->text = text;
	assert_int_equal(
		regcomp(&pattern->regex, text, REG_EXTENDED | REG_NOSUB), 0);
	list->count++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->config.grace_ns = HOURS;
	f->config.expect.pattern = f->expect;
	f->config.fail.pattern = &f->fail;
	f->vm.config = &f->config;
	f->vm.run_state = VM_RUNNING;
	f->vm.console_shown = true;
	f->vm.machine.power_button = on_power_button;
	f->vm.machine.power_button_opaque = f;
	pthread_mutex_init(&f->vm.lock, NULL);
	pthread_cond_init(&f->vm.changed, NULL);
	assert_int_equal(loop_create(&f->vm.machine.loop), 0);
	assert_int_equal(console_hub_create(f->vm.machine.loop, NULL, NULL,
					    &f->vm.console),
			 0);
	*state = f;
	return 0;
}

static void release(struct pattern_list *list)
{
	for (unsigned int i = 0; i < list->count; i++)
		regfree(&list->pattern[i].regex);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	endings_stop(&f->vm);
	console_hub_destroy(f->vm.console);
	loop_destroy(f->vm.machine.loop);
	pthread_cond_destroy(&f->vm.changed);
	pthread_mutex_destroy(&f->vm.lock);
	release(&f->config.expect);
	release(&f->config.fail);
	free(f);
	return 0;
}

static void start(struct fixture *f)
{
	assert_int_equal(endings_start(&f->vm), 0);
}

/* The guest says @text; nobody has looked yet. */
static void say(struct fixture *f, const char *text)
{
	struct chardev *console = console_hub_chardev(f->vm.console);

	assert_int_equal(console->ops->write(console, text, strlen(text)),
			 strlen(text));
}

/* The guest ends so: the status. */
static int ended(struct fixture *f, enum vm_end end)
{
	vm_end(&f->vm, end, 0);
	assert_false(endings_go_on(&f->vm));
	return endings_report(&f->vm);
}

static void what_was_said_comes_before_the_end(void **state)
{
	struct fixture *f = *state;

	add(&f->config.expect, &f->expect[0], "^good$");
	add(&f->config.fail, &f->fail, "^bad$");
	start(f);
	say(f, "good\nbad\n");
	assert_int_equal(ended(f, VM_END_POWEROFF), STATUS_OK);
	/* It was late for a button. */
	assert_int_equal(f->pressed, 0);
}

static void the_first_verdict_stands(void **state)
{
	struct fixture *f = *state;

	add(&f->config.expect, &f->expect[0], "^good$");
	add(&f->config.fail, &f->fail, "^bad$");
	start(f);
	say(f, "bad\n");
	console_hub_flush(f->vm.console);
	assert_int_equal(f->pressed, 1);
	say(f, "good\n");
	console_hub_flush(f->vm.console);
	assert_int_equal(f->pressed, 1);
	assert_int_equal(ended(f, VM_END_PANIC), STATUS_VERDICT);
}

static void all_of_expect_is_needed(void **state)
{
	struct fixture *f = *state;

	add(&f->config.expect, &f->expect[0], "one");
	add(&f->config.expect, &f->expect[1], "two$");
	start(f);
	say(f, "two");
	console_hub_flush(f->vm.console);
	say(f, "s\none\none\n");
	assert_int_equal(ended(f, VM_END_QUIT), STATUS_VERDICT);
}

static void an_unfinished_line_counts(void **state)
{
	struct fixture *f = *state;

	add(&f->config.expect, &f->expect[0], "^login: ");
	start(f);
	say(f, "log");
	console_hub_flush(f->vm.console);
	assert_int_equal(f->pressed, 0);
	say(f, "in: ");
	console_hub_flush(f->vm.console);
	assert_int_equal(f->pressed, 1);
}

static void a_signal_asks_and_the_second_forces(void **state)
{
	struct fixture *f = *state;

	start(f);
	endings_signal(&f->vm, SIGTERM);
	assert_int_equal(f->pressed, 1);
	assert_int_equal(f->vm.end, VM_END_NONE);
	endings_signal(&f->vm, SIGINT);
	assert_int_equal(f->pressed, 1);
	assert_int_equal(f->vm.end, VM_END_SIGNAL);
	assert_false(endings_go_on(&f->vm));
	assert_int_equal(endings_report(&f->vm), STATUS_SIGNALLED + SIGTERM);
}

static void a_guest_that_follows_a_signal_has_its_status(void **state)
{
	struct fixture *f = *state;

	f->config.on_reset = ON_RESET_RESET;
	start(f);
	endings_signal(&f->vm, SIGHUP);
	assert_int_equal(ended(f, VM_END_RESET), STATUS_SIGNALLED + SIGHUP);
}

/* What is said on the way down is no verdict. */
static void a_signal_is_a_decision(void **state)
{
	struct fixture *f = *state;

	add(&f->config.fail, &f->fail, "bad");
	start(f);
	endings_signal(&f->vm, SIGTERM);
	say(f, "bad\n");
	assert_int_equal(ended(f, VM_END_POWEROFF), STATUS_SIGNALLED + SIGTERM);
}

static void what_was_said_comes_before_a_signal(void **state)
{
	struct fixture *f = *state;

	add(&f->config.fail, &f->fail, "bad");
	start(f);
	say(f, "bad\n");
	endings_signal(&f->vm, SIGTERM);
	assert_int_equal(f->pressed, 1);
	/* It was asked to stop by its words: this was the second time. */
	assert_int_equal(f->vm.end, VM_END_SIGNAL);
	assert_false(endings_go_on(&f->vm));
	assert_int_equal(endings_report(&f->vm), STATUS_VERDICT);
}

static void a_signal_after_the_end_is_too_late(void **state)
{
	struct fixture *f = *state;

	start(f);
	vm_end(&f->vm, VM_END_POWEROFF, 0);
	endings_signal(&f->vm, SIGTERM);
	assert_int_equal(ended(f, VM_END_POWEROFF), STATUS_OK);
}

static void the_end_of_a_panic_is_an_end(void **state)
{
	static const char *const words[] = {
		"[ 1.0] ---[ end Kernel panic - not syncing: x ]---\n",
		"[ 1.0] Rebooting in 60 seconds..\n",
	};
	struct fixture *f = *state;

	start(f);
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		say(f, "[ 1.0] Kernel panic - not syncing: x\r\n");
		console_hub_flush(f->vm.console);
		assert_int_equal(f->vm.end, VM_END_NONE);
		say(f, words[i]);
		console_hub_flush(f->vm.console);
		assert_int_equal(f->vm.end, VM_END_PANIC);
		f->vm.end = VM_END_NONE;
	}
	assert_int_equal(ended(f, VM_END_RESET), STATUS_PANIC);
}

/* All of it must have been read before anybody boots again. */
static void what_was_said_comes_before_a_reset(void **state)
{
	struct fixture *f = *state;

	f->config.on_reset = ON_RESET_RESET;
	add(&f->config.expect, &f->expect[0], "good");
	start(f);
	say(f, "good\n");
	assert_int_equal(ended(f, VM_END_RESET), STATUS_OK);
}

static void a_reset_in_a_panic_is_one(void **state)
{
	struct fixture *f = *state;

	start(f);
	say(f, "Kernel panic - not syncing: x\n");
	assert_int_equal(ended(f, VM_END_RESET), STATUS_PANIC);
}

static void words_alone_are_no_panic(void **state)
{
	struct fixture *f = *state;

	start(f);
	say(f, "---[ end Kernel panic\nRebooting in 1 seconds..\n");
	console_hub_flush(f->vm.console);
	assert_int_equal(f->vm.end, VM_END_NONE);
	say(f, "Kernel panic - not syncing\n");
	assert_int_equal(ended(f, VM_END_POWEROFF), STATUS_OK);
}

static void a_panic_that_pauses_is_remembered(void **state)
{
	struct fixture *f = *state;

	f->config.on_panic = ON_PANIC_PAUSE;
	start(f);
	vm_end(&f->vm, VM_END_PANIC, 0);
	assert_true(endings_go_on(&f->vm));
	assert_true(endings_panicked(&f->vm));
	assert_int_equal(f->vm.run_state, VM_PAUSED);
	/* There is nobody to hear a button. */
	endings_signal(&f->vm, SIGTERM);
	assert_int_equal(f->pressed, 0);
	assert_int_equal(ended(f, VM_END_SIGNAL), STATUS_PANIC);
}

static void a_paused_guest_is_woken_to_hear(void **state)
{
	struct fixture *f = *state;

	start(f);
	vm_pause(&f->vm);
	endings_signal(&f->vm, SIGTERM);
	assert_int_equal(f->vm.run_state, VM_RUNNING);
	assert_int_equal(f->pressed, 1);
}

static void without_grace_there_is_no_button(void **state)
{
	struct fixture *f = *state;

	f->config.grace_ns = 0;
	add(&f->config.expect, &f->expect[0], "good");
	start(f);
	say(f, "good");
	console_hub_flush(f->vm.console);
	assert_int_equal(f->pressed, 0);
	assert_int_equal(f->vm.end, VM_END_DECIDED);
}

static void never_ends(void *opaque, int status, const char *why)
{
	(void)opaque;
	fail_msg("%d %s", status, why);
}

static void who_kills_a_command_does_not_make_it_succeed(void **state)
{
	const struct guest_command_callbacks callbacks = {
		.ended = never_ends,
	};
	const struct terminal_callbacks none = { 0 };
	struct fixture *f = *state;
	struct vm *vm = &f->vm;

	start(f);
	assert_int_equal(
		terminal_create(vm->machine.loop, &none, &vm->terminal), 0);
	assert_int_equal(guest_command_create(vm->machine.loop, vm->terminal,
					      &callbacks, &vm->command),
			 0);
	assert_int_equal(ended(f, VM_END_QUIT), STATUS_SIGNALLED + SIGKILL);
	/* It has been asked by a gentler one. */
	vm->end = VM_END_NONE;
	endings_signal(vm, SIGTERM);
	vm->end = VM_END_QUIT;
	assert_int_equal(endings_report(vm), STATUS_SIGNALLED + SIGTERM);
	guest_command_destroy(vm->command);
	terminal_destroy(vm->terminal);
}

static void a_guest_without_a_command_may_be_ended(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(ended(f, VM_END_QUIT), STATUS_OK);
}

#define END_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		END_TEST(what_was_said_comes_before_the_end),
		END_TEST(the_first_verdict_stands),
		END_TEST(all_of_expect_is_needed),
		END_TEST(an_unfinished_line_counts),
		END_TEST(a_signal_asks_and_the_second_forces),
		END_TEST(a_guest_that_follows_a_signal_has_its_status),
		END_TEST(a_signal_is_a_decision),
		END_TEST(what_was_said_comes_before_a_signal),
		END_TEST(a_signal_after_the_end_is_too_late),
		END_TEST(the_end_of_a_panic_is_an_end),
		END_TEST(what_was_said_comes_before_a_reset),
		END_TEST(a_reset_in_a_panic_is_one),
		END_TEST(words_alone_are_no_panic),
		END_TEST(a_panic_that_pauses_is_remembered),
		END_TEST(a_paused_guest_is_woken_to_hear),
		END_TEST(without_grace_there_is_no_button),
		END_TEST(who_kills_a_command_does_not_make_it_succeed),
		END_TEST(a_guest_without_a_command_may_be_ended),
	};

	return cmocka_run_group_tests_name("endings", tests, NULL, NULL);
}
