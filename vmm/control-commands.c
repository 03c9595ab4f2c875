/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From a command's text to its reply: what QMP asks of any command, and the
 * check of its arguments against its table. Class names and texts of errors
 * are QMP's where clients know them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/control-parts.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/vm.h>

#define NEGOTIATE "qmp_capabilities"

const struct control_command *const control_commands[] = {
	control_vm_commands,
	control_device_commands,
	control_block_commands,
	control_console_commands,
	NULL,
};

static const struct control_arg negotiate_args[] = {
	{ "enable", CONTROL_ARRAY, CONTROL_OPTIONAL },
	{ NULL, 0, 0 },
};

/* The one command of a client that has not negotiated. */
static void negotiate(struct control_call *call)
{
	if (call->client && control_client_is_refused(call->client))
		control_fail(call, CONTROL_GENERIC, CONTROL_TOO_MANY);
	if (json_array_size(json_object_get(call->args, "enable")))
		control_fail(call, CONTROL_GENERIC,
			     "there are no capabilities to enable");
}

static const struct control_command negotiation = {
	NEGOTIATE,
	negotiate_args,
	negotiate,
};

/* ---- for commands -------------------------------------------------------- */

void control_fail(struct control_call *call, const char *class, const char *fmt,
		  ...)
{
	va_list args;

	if (call->error_class)
		return;
	call->error_class = class;
	va_start(args, fmt);
	vsnprintf(call->error, sizeof(call->error), fmt, args);
	va_end(args);
}

const char *control_string(const struct control_call *call, const char *name)
{
	return json_string_value(json_object_get(call->args, name));
}

uint64_t control_integer(const struct control_call *call, const char *name,
			 uint64_t absent)
{
	const json_t *value = json_object_get(call->args, name);

	return value ? (uint64_t)json_integer_value(value) : absent;
}

bool control_boolean(const struct control_call *call, const char *name)
{
	return json_is_true(json_object_get(call->args, name));
}

struct device *control_find_device(struct control_call *call, const char *name)
{
	for (struct device *d = call->vm->machine.devices; d; d = d->next)
		if (!strcmp(d->name, name))
			return d;
	control_fail(call, CONTROL_NO_DEVICE, "Device '%s' not found", name);
	return NULL;
}

json_t *control_number(uint64_t value)
{
	return json_integer((json_int_t)MIN(value, INT64_MAX));
}

/* ---- arguments ----------------------------------------------------------- */

static bool has_type(const json_t *value, enum control_type type)
{
	switch (type) {
	case CONTROL_STRING:
		return json_is_string(value);
	case CONTROL_INTEGER:
		return json_is_integer(value) && json_integer_value(value) >= 0;
	case CONTROL_BOOLEAN:
		return json_is_boolean(value);
	case CONTROL_ARRAY:
		return json_is_array(value);
	}
	return false;
}

static const struct control_arg *find_arg(const struct control_arg *args,
					  const char *name)
{
	for (; args && args->name; args++)
		if (!strcmp(args->name, name))
			return args;
	return NULL;
}

static void check_arguments(struct control_call *call,
			    const struct control_arg *args)
{
	static const char *const types[] = {
		[CONTROL_STRING] = "string",
		[CONTROL_INTEGER] = "integer, not negative",
		[CONTROL_BOOLEAN] = "boolean",
		[CONTROL_ARRAY] = "array",
	};
	const char *name;
	json_t *value;

	json_object_foreach(call->args, name, value) {
		const struct control_arg *arg = find_arg(args, name);

		if (!arg)
			control_fail(call, CONTROL_GENERIC,
				     "Parameter '%s' is unexpected", name);
		else if (!has_type(value, arg->type))
			control_fail(call, CONTROL_GENERIC,
				     "Invalid parameter type for '%s', "
				     "expected: %s",
				     name, types[arg->type]);
	}
	for (; args && args->name; args++)
		if (args->need == CONTROL_REQUIRED &&
		    !json_object_get(call->args, args->name))
			control_fail(call, CONTROL_GENERIC,
				     "Parameter '%s' is missing", args->name);
}

/* ---- messages ------------------------------------------------------------ */

static const struct control_command *
find_command(struct control_call *call, const char *name, bool negotiated)
{
	if (!negotiated) {
		if (!strcmp(name, NEGOTIATE))
			return &negotiation;
		control_fail(call, CONTROL_NO_COMMAND,
			     "Expecting capabilities negotiation with '%s'",
			     NEGOTIATE);
		return NULL;
	}
	if (!strcmp(name, NEGOTIATE)) {
		control_fail(call, CONTROL_NO_COMMAND,
			     "Capabilities negotiation is already complete, "
			     "command '%s' ignored",
			     NEGOTIATE);
		return NULL;
	}
	for (unsigned int i = 0; control_commands[i]; i++)
		for (const struct control_command *c = control_commands[i];
		     c->name; c++)
			if (!strcmp(c->name, name))
				return c;
	control_fail(call, CONTROL_NO_COMMAND,
		     "The command %s has not been found", name);
	return NULL;
}

/* The members of @message; the name of the command, NULL after an error. */
static const char *take_apart(struct control_call *call, json_t *message)
{
	const char *execute = NULL;
	const char *name;
	json_t *value;

	if (!json_is_object(message)) {
		control_fail(call, CONTROL_GENERIC,
			     "QMP input must be a JSON object");
		return NULL;
	}
	json_object_foreach(message, name, value) {
		if (!strcmp(name, "id"))
			continue;
		if (!strcmp(name, "execute") && json_is_string(value))
			execute = json_string_value(value);
		else if (!strcmp(name, "execute"))
			control_fail(call, CONTROL_GENERIC,
				     "QMP input member 'execute' must be a "
				     "string");
		else if (strcmp(name, "arguments") != 0)
			control_fail(call, CONTROL_GENERIC,
				     "QMP input member '%s' is unexpected",
				     name);
		else if (json_is_object(value))
			call->args = value;
		else
			control_fail(call, CONTROL_GENERIC,
				     "QMP input member 'arguments' must be an "
				     "object");
	}
	if (!execute)
		control_fail(call, CONTROL_GENERIC,
			     "QMP input lacks member 'execute'");
	return call->error_class ? NULL : execute;
}

static void run(struct control_call *call, json_t *message, bool *negotiated)
{
	const char *name = take_apart(call, message);
	const struct control_command *command;

	if (!name)
		return;
	command = find_command(call, name, *negotiated);
	if (!command)
		return;
	check_arguments(call, command->args);
	if (!call->error_class)
		command->run(call);
	if (command == &negotiation && !call->error_class)
		*negotiated = true;
}

json_t *control_error_reply(const char *class, const char *text)
{
	/* A name that the client made up may be cut within a character. */
	json_t *reply = json_pack("{s:{s:s,s:s}}", "error", "class", class,
				  "desc", text);

	return reply ? reply :
		       json_pack("{s:{s:s,s:s}}", "error", "class", class,
				 "desc", "the name is too long");
}

json_t *control_execute(struct vm *vm, struct control_client *client,
			bool *negotiated, const char *message, size_t len)
{
	struct control_call call = { .vm = vm, .client = client };
	json_error_t error;
	json_t *value, *id, *reply;

	value = json_loadb(message, len,
			   JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (value)
		run(&call, value, negotiated);
	else
		control_fail(&call, CONTROL_GENERIC, "JSON parse error, %s",
			     error.text);
	if (!call.error_class && !call.result)
		call.result = json_object();
	if (call.error_class)
		reply = control_error_reply(call.error_class, call.error);
	else
		reply = json_pack("{s:O}", "return", call.result);
	id = json_is_object(value) ? json_object_get(value, "id") : NULL;
	if (id)
		json_object_set(reply, "id", id);
	json_decref(call.result);
	json_decref(value);
	return reply;
}

/* What clients read first. The version is lkvm's, under the name they know. */
json_t *control_greeting(void)
{
	return json_pack("{s:{s:o,s:[]}}", "QMP", "version", control_version(),
			 "capabilities");
}
