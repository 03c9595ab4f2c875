/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commands of the control socket without the socket: what is no command, what
 * are no arguments, and what the commands do to a VM.
 */
#include "control.h"

static int setup(void **state)
{
	struct control_fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	fixture_init(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_release(*state);
	free(*state);
	return 0;
}

static json_t *execute(struct control_fixture *f, const char *text)
{
	json_t *reply = control_execute(&f->vm, NULL, &f->negotiated, text,
					strlen(text));

	assert_non_null(reply);
	return reply;
}

/* The class of the error that @text gets; its text has @part in it. */
static void fails(struct control_fixture *f, const char *text,
		  const char *class, const char *part)
{
	json_t *reply = execute(f, text);
	const json_t *error = json_object_get(reply, "error");

	if (!error)
		fail_msg("%s: no error", text);
	assert_string_equal(json_string_value(json_object_get(error, "class")),
			    class);
	if (!strstr(json_string_value(json_object_get(error, "desc")), part))
		fail_msg("%s: '%s'", text,
			 json_string_value(json_object_get(error, "desc")));
	assert_null(json_object_get(reply, "return"));
	json_decref(reply);
}

/* @text's reply is @expected, an object in JSON. */
static void gives(struct control_fixture *f, const char *text,
		  const char *expected)
{
	json_t *wanted = json_loads(expected, 0, NULL);
	json_t *reply = execute(f, text);

	assert_non_null(wanted);
	if (!json_equal(reply, wanted)) {
		char *got = json_dumps(reply, JSON_ENCODE_ANY);

		fail_msg("%s: %s", text, got);
	}
	json_decref(reply);
	json_decref(wanted);
}

static void nothing_but_negotiation_comes_first(void **state)
{
	struct control_fixture *f = *state;

	f->negotiated = false;
	fails(f, "{\"execute\": \"stop\"}", "CommandNotFound",
	      "Expecting capabilities negotiation");
	assert_int_equal(f->vm.run_state, VM_RUNNING);
	fails(f,
	      "{\"execute\": \"qmp_capabilities\", \"arguments\": "
	      "{\"enable\": [\"oob\"]}}",
	      "GenericError", "no capabilities");
	assert_false(f->negotiated);
	gives(f,
	      "{\"execute\": \"qmp_capabilities\", \"arguments\": "
	      "{\"enable\": []}}",
	      "{\"return\": {}}");
	assert_true(f->negotiated);
	fails(f, "{\"execute\": \"qmp_capabilities\"}", "CommandNotFound",
	      "already complete");
	gives(f, "{\"execute\": \"query-kvm\"}",
	      "{\"return\": {\"enabled\": true, \"present\": true}}");
}

static void what_is_no_command_is_told(void **state)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
		{ "", "JSON parse error" },
		{ "junk\n", "JSON parse error" },
		{ "{]", "JSON parse error" },
		{ "{\"execute\": \"stop\", \"execute\": \"cont\"}",
		  "JSON parse error" },
		{ "{\"execute\": \"\xff\"}", "JSON parse error" },
		{ "{\"execute\": \"query-kvm\"} x", "JSON parse error" },
		{ "{\"execute\": \"query-kvm\", \"id\": 1e999}",
		  "JSON parse error" },
		{ "[]", "must be a JSON object" },
		{ "3", "must be a JSON object" },
		{ "null", "must be a JSON object" },
		{ "{}", "lacks member 'execute'" },
		{ "{\"arguments\": {}}", "lacks member 'execute'" },
		{ "{\"execute\": 3}", "'execute' must be a string" },
		{ "{\"execute\": \"query-kvm\", \"arguments\": []}",
		  "'arguments' must be an object" },
		{ "{\"execute\": \"query-kvm\", \"arguments\": null}",
		  "'arguments' must be an object" },
		{ "{\"execute\": \"query-kvm\", \"control\": {}}",
		  "'control' is unexpected" },
		{ "{\"exec-oob\": \"query-kvm\"}", "'exec-oob' is unexpected" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		fails(*state, cases[i].text, "GenericError", cases[i].part);
	fails(*state, "{\"execute\": \"eject\"}", "CommandNotFound",
	      "The command eject has not been found");
	fails(*state, "{\"execute\": \"\"}", "CommandNotFound", "found");
}

static void an_id_comes_back(void **state)
{
	gives(*state,
	      "{\"execute\": \"query-kvm\", \"id\": [1, {\"a\": null}]}",
	      "{\"return\": {\"enabled\": true, \"present\": true},"
	      " \"id\": [1, {\"a\": null}]}");
	gives(*state, "{\"execute\": \"eject\", \"id\": \"x\"}",
	      "{\"error\": {\"class\": \"CommandNotFound\", \"desc\":"
	      " \"The command eject has not been found\"}, \"id\": \"x\"}");
	gives(*state, "{\"id\": 0}",
	      "{\"error\": {\"class\": \"GenericError\", \"desc\":"
	      " \"QMP input lacks member 'execute'\"}, \"id\": 0}");
}

/* A value that is wrong for @type, one for each @kind; NULL after the last. */
static json_t *wrong_value(enum control_type type, unsigned int kind)
{
	static const char *const texts[] = { "null", "{}", "\"x\"", "true",
					     "1",    "-1", "1.5",   "[]" };
	static const char *const right[] = {
		[CONTROL_STRING] = "\"x\"",
		[CONTROL_INTEGER] = "1",
		[CONTROL_BOOLEAN] = "true",
		[CONTROL_ARRAY] = "[]",
	};

	if (kind == ARRAY_SIZE(texts))
		return NULL;
	if (!strcmp(texts[kind], right[type]))
		return json_string_nocheck("");
	return json_loads(texts[kind], JSON_DECODE_ANY, NULL);
}

static json_t *right_value(enum control_type type)
{
	switch (type) {
	case CONTROL_STRING:
		return json_string("some0");
	case CONTROL_INTEGER:
		return json_integer(INT64_MAX);
	case CONTROL_BOOLEAN:
		return json_true();
	case CONTROL_ARRAY:
		return json_array();
	}
	return NULL;
}

static json_t *right_arguments(const struct control_command *command)
{
	json_t *args = json_object();

	for (const struct control_arg *a = command->args; a && a->name; a++)
		json_object_set_new(args, a->name, right_value(a->type));
	return args;
}

/* Run @command with @args, whose reference is taken; it fails as told. */
static void refuses(struct control_fixture *f,
		    const struct control_command *command, json_t *args,
		    const char *part)
{
	json_t *message = json_pack("{s:s,s:o}", "execute", command->name,
				    "arguments", args);
	char *text = json_dumps(message, 0);

	fails(f, text, "GenericError", part);
	free(text);
	json_decref(message);
}

static void each_command_checks_its_arguments(void **state)
{
	struct control_fixture *f = *state;
	unsigned int checked = 0;

	for (unsigned int i = 0; control_commands[i]; i++)
		for (const struct control_command *c = control_commands[i];
		     c->name; c++, checked++) {
			const struct control_arg *a = c->args;
			json_t *args = right_arguments(c);
			json_t *wrong;

			json_object_set_new(args, "extra", json_integer(1));
			refuses(f, c, args, "Parameter 'extra' is unexpected");
			for (; a && a->name; a++) {
				args = right_arguments(c);
				json_object_del(args, a->name);
				if (a->need == CONTROL_REQUIRED)
					refuses(f, c, args, "is missing");
				else
					json_decref(args);
				for (unsigned int kind = 0;
				     (wrong = wrong_value(a->type, kind));
				     kind++) {
					if (a->type == CONTROL_STRING &&
					    json_is_string(wrong)) {
						json_decref(wrong);
						continue;
					}
					args = right_arguments(c);
					json_object_set_new(args, a->name,
							    wrong);
					refuses(f, c, args,
						"Invalid parameter type");
				}
			}
		}
	assert_true(checked > 25);
	assert_int_equal(f->vm.end, VM_END_NONE);
	assert_int_equal(f->vm.run_state, VM_RUNNING);
	assert_int_equal(f->pressed, 0);
}

static void enormous_arguments_change_nothing(void **state)
{
	struct control_fixture *f = *state;
	char *text;

	fails(f,
	      "{\"execute\": \"x-lkvm-registers\", \"arguments\":"
	      " {\"cpu-index\": 9223372036854775807}}",
	      "GenericError", "there are only 0 CPUs");
	fails(f,
	      "{\"execute\": \"balloon\", \"arguments\":"
	      " {\"value\": 9223372036854775808}}",
	      "GenericError", "JSON parse error");
	fails(f,
	      "{\"execute\": \"x-lkvm-sysrq\", \"arguments\":"
	      " {\"key\": \"tt\"}}",
	      "GenericError", "one ASCII character");
	assert_true(asprintf(&text,
			     "{\"execute\": \"set_link\", \"arguments\":"
			     " {\"name\": \"%060000d\", \"up\": true}}",
			     1) > 0);
	fails(f, text, "DeviceNotFound", "Device '000");
	free(text);
	/* The error's text is cut within a character. */
	assert_true(asprintf(&text, "{\"execute\": \"%0400d\"}", 1) > 0);
	for (char *at = text + 13; at + 1 < text + 400; at += 2)
		memcpy(at, "\xc3\xa4", 2);
	fails(f, text, "CommandNotFound", "");
	free(text);
}

static void stop_and_cont_are_the_prompts_pause(void **state)
{
	struct control_fixture *f = *state;
	char pause[] = "pause";
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	gives(f, "{\"execute\": \"query-status\"}",
	      "{\"return\": {\"status\": \"running\", \"running\": true}}");
	gives(f, "{\"execute\": \"stop\"}", "{\"return\": {}}");
	gives(f, "{\"execute\": \"stop\"}", "{\"return\": {}}");
	assert_int_equal(f->quiesced, 1);
	gives(f, "{\"execute\": \"query-status\"}",
	      "{\"return\": {\"status\": \"paused\", \"running\": false}}");
	gives(f, "{\"execute\": \"cont\"}", "{\"return\": {}}");
	assert_int_equal(f->quiesced, 0);
	prompt_run(&f->vm, pause, out);
	gives(f, "{\"execute\": \"query-status\"}",
	      "{\"return\": {\"status\": \"paused\", \"running\": false}}");
	gives(f, "{\"execute\": \"cont\"}", "{\"return\": {}}");
	assert_int_equal(f->quiesced, 0);
	fclose(out);
	free(text);
}

static void the_end_is_asked_for(void **state)
{
	struct control_fixture *f = *state;

	gives(f, "{\"execute\": \"system_powerdown\"}", "{\"return\": {}}");
	assert_int_equal(f->pressed, 1);
	assert_int_equal(f->vm.end, VM_END_NONE);
	gives(f, "{\"execute\": \"system_reset\"}", "{\"return\": {}}");
	assert_int_equal(f->vm.end, VM_END_USER_RESET);
	gives(f, "{\"execute\": \"quit\"}", "{\"return\": {}}");
	assert_int_equal(f->vm.end, VM_END_QUIT);
	assert_int_equal(f->vm.end_detail, QUIT_BY_CONTROL);
}

static void counters_are_sorted_by_who(void **state)
{
	/* JSON's integers end where int64_t does. */
	gives(*state, "{\"execute\": \"x-lkvm-stats\"}",
	      "{\"return\": {\"some0\": {\"things\": 7,"
	      " \"most\": 9223372036854775807}}}");
}

static void devices_that_are_not_there_are_told(void **state)
{
	fails(*state, "{\"execute\": \"query-balloon\"}", "DeviceNotActive",
	      "No balloon");
	fails(*state,
	      "{\"execute\": \"balloon\", \"arguments\": {\"value\": 1}}",
	      "DeviceNotActive", "No balloon");
	fails(*state,
	      "{\"execute\": \"set_link\", \"arguments\":"
	      " {\"name\": \"net0\", \"up\": true}}",
	      "DeviceNotFound", "Device 'net0' not found");
	fails(*state,
	      "{\"execute\": \"set_link\", \"arguments\":"
	      " {\"name\": \"some0\", \"up\": true}}",
	      "DeviceNotFound", "no network device");
	fails(*state,
	      "{\"execute\": \"block_resize\", \"arguments\":"
	      " {\"device\": \"some0\", \"size\": 512}}",
	      "DeviceNotFound", "no disk");
	fails(*state,
	      "{\"execute\": \"block_resize\", \"arguments\": {\"size\": 512}}",
	      "GenericError", "Parameter 'device' is missing");
	fails(*state,
	      "{\"execute\": \"x-lkvm-sysrq\", \"arguments\":"
	      " {\"key\": \"t\"}}",
	      "GenericError", "no serial port 0");
	gives(*state, "{\"execute\": \"query-block\"}", "{\"return\": []}");
}

static void only_base64_is_typed(void **state)
{
	static const char *const bad[] = {
		"a", "ab", "abc", "=", "====", "a===", "ab=c", "ab*d", "ab\\n="
	};
	char text[160];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text),
			 "{\"execute\": \"x-lkvm-console-write\","
			 " \"arguments\": {\"data\": \"%s\"}}",
			 bad[i]);
		fails(*state, text, "GenericError", "expects base64");
	}
	/* Nobody reads that console. */
	gives(*state,
	      "{\"execute\": \"x-lkvm-console-write\","
	      " \"arguments\": {\"data\": \"aGkK\"}}",
	      "{\"return\": {\"taken\": 0}}");
}

static void commands_are_listed(void **state)
{
	json_t *reply = execute(*state, "{\"execute\": \"query-commands\"}");
	json_t *list = json_object_get(reply, "return");
	size_t count = 0;

	for (unsigned int i = 0; control_commands[i]; i++)
		for (const struct control_command *c = control_commands[i];
		     c->name; c++)
			assert_string_equal(
				json_string_value(json_object_get(
					json_array_get(list, count++), "name")),
				c->name);
	assert_int_equal(json_array_size(list), count);
	json_decref(reply);
}

#define CONTROL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONTROL_TEST(nothing_but_negotiation_comes_first),
		CONTROL_TEST(what_is_no_command_is_told),
		CONTROL_TEST(an_id_comes_back),
		CONTROL_TEST(each_command_checks_its_arguments),
		CONTROL_TEST(enormous_arguments_change_nothing),
		CONTROL_TEST(stop_and_cont_are_the_prompts_pause),
		CONTROL_TEST(the_end_is_asked_for),
		CONTROL_TEST(counters_are_sorted_by_who),
		CONTROL_TEST(devices_that_are_not_there_are_told),
		CONTROL_TEST(only_base64_is_typed),
		CONTROL_TEST(commands_are_listed),
	};

	return cmocka_run_group_tests_name("control-commands", tests, NULL,
					   NULL);
}
