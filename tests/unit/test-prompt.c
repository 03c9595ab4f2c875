/* SPDX-License-Identifier: GPL-2.0 */
/* The commands of the control prompt, on a VM without vCPUs and devices. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <lkvm/prompt.h>
#include <lkvm/vm.h>

struct fixture {
	struct vm_config config;
	struct vm vm;
	bool pressed;
	struct device device;
	int quiesced; /* how often more than resumed */
	char *answer; /* of the last command */
};

static void press(void *opaque)
{
	*(bool *)opaque = true;
}

static void quiesce(struct device *device)
{
	container_of(device, struct fixture, device)->quiesced++;
}

static void resume(struct device *device)
{
	container_of(device, struct fixture, device)->quiesced--;
}

static const struct device_type some_type = {
	.name = "some",
	.quiesce = quiesce,
	.resume = resume,
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->vm.config = &f->config;
	f->vm.run_state = VM_RUNNING;
	f->device.type = &some_type;
	f->vm.machine.devices = &f->device;
	f->vm.machine.power_button = press;
	f->vm.machine.power_button_opaque = &f->pressed;
	pthread_mutex_init(&f->vm.lock, NULL);
	pthread_cond_init(&f->vm.changed, NULL);
	assert_int_equal(loop_create(&f->vm.machine.loop), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_destroy(f->vm.machine.loop);
	pthread_cond_destroy(&f->vm.changed);
	pthread_mutex_destroy(&f->vm.lock);
	free(f->answer);
	free(f);
	return 0;
}

static const char *type(struct fixture *f, const char *text)
{
	char line[PROMPT_LINE];
	size_t len;
	FILE *out;

	free(f->answer);
	f->answer = NULL;
	out = open_memstream(&f->answer, &len);
	snprintf(line, sizeof(line), "%s", text);
	prompt_run(&f->vm, line, out);
	fclose(out);
	return f->answer;
}

static void an_empty_line_does_nothing(void **state)
{
	assert_string_equal(type(*state, ""), "");
	assert_string_equal(type(*state, "   "), "");
}

static void unknown_commands_are_told(void **state)
{
	assert_string_equal(type(*state, "eject"),
			    "there is no command 'eject' (try help)\n");
	assert_string_equal(type(*state, "qui"),
			    "there is no command 'qui' (try help)\n");
	assert_string_equal(type(*state, "QUIT"),
			    "there is no command 'QUIT' (try help)\n");
}

static void arguments_are_counted(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(type(f, "quit now"),
			    "quit: too many words (try help)\n");
	assert_int_equal(f->vm.end, VM_END_NONE);
	assert_string_equal(type(f, "balloon 1 2"),
			    "balloon: too many words (try help)\n");
}

static void help_names_each_command(void **state)
{
	static const char *const names[] = {
		"balloon",   "help", "hint",  "link",	"pause",
		"powerdown", "quit", "reset", "resume", "stats",
	};
	const char *help = type(*state, "help");

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_non_null(strstr(help, names[i]));
}

static void link_wants_a_device_and_a_state(void **state)
{
	assert_string_equal(type(*state, "link"),
			    "link: which device, and on or off?\n");
	assert_string_equal(type(*state, "link net0"),
			    "link: which device, and on or off?\n");
	assert_string_equal(type(*state, "link net0 up"),
			    "link: 'up' is neither on nor off\n");
	assert_string_equal(type(*state, "link  net0   off "),
			    "there is no network device 'net0'\n");
	assert_string_equal(type(*state, "link net0 off now"),
			    "link: too many words (try help)\n");
}

static void quit_and_reset_end_the_run(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(type(f, "reset"), "");
	assert_int_equal(f->vm.end, VM_END_USER_RESET);
	assert_string_equal(type(f, " quit "), "");
	assert_int_equal(f->vm.end, VM_END_QUIT);
}

static void powerdown_presses_the_button(void **state)
{
	struct fixture *f = *state;

	type(f, "powerdown");
	assert_true(f->pressed);
	assert_int_equal(f->vm.end, VM_END_NONE);
}

static void pause_and_resume_may_repeat(void **state)
{
	struct fixture *f = *state;

	type(f, "resume");
	assert_int_equal(f->vm.run_state, VM_RUNNING);
	assert_int_equal(f->quiesced, 0);
	for (int i = 0; i < 2; i++) {
		type(f, "pause");
		assert_int_equal(f->vm.run_state, VM_PAUSED);
		assert_int_equal(f->quiesced, 1);
	}
	for (int i = 0; i < 2; i++) {
		type(f, "resume");
		assert_int_equal(f->vm.run_state, VM_RUNNING);
		assert_int_equal(f->quiesced, 0);
	}
}

static void a_missing_balloon_is_told(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(type(f, "balloon"), "there is no virtio-balloon\n");
	assert_string_equal(type(f, "balloon 1G"),
			    "there is no virtio-balloon\n");
	assert_string_equal(type(f, "hint"), "there is no virtio-balloon\n");
}

static void stats_have_a_heading(void **state)
{
	assert_non_null(strstr(type(*state, "stats"), "count\n"));
}

#define PROMPT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROMPT_TEST(an_empty_line_does_nothing),
		PROMPT_TEST(unknown_commands_are_told),
		PROMPT_TEST(arguments_are_counted),
		PROMPT_TEST(help_names_each_command),
		PROMPT_TEST(link_wants_a_device_and_a_state),
		PROMPT_TEST(quit_and_reset_end_the_run),
		PROMPT_TEST(powerdown_presses_the_button),
		PROMPT_TEST(pause_and_resume_may_repeat),
		PROMPT_TEST(a_missing_balloon_is_told),
		PROMPT_TEST(stats_have_a_heading),
	};

	return cmocka_run_group_tests_name("prompt", tests, NULL, NULL);
}
