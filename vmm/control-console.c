/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commands of the control socket for the console: watching it, typing, and the
 * magic SysRq key. See docs/control.md.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/console-hub.h>
#include <lkvm/control-parts.h>
#include <lkvm/vm.h>

static void attach(struct control_call *call)
{
	size_t backlog;

	if (!call->client || control_client_console(call->client, &backlog))
		control_fail(call, CONTROL_GENERIC, "out of memory");
	else
		call->result =
			json_pack("{s:I}", "backlog", (json_int_t)backlog);
}

/* The value of a digit of base64 (RFC 4648, 4), or -1. */
static int digit_of(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		"0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/*
 * @text, of @len characters, to the bytes that it stands for, in place. Returns
 * how many, or -EINVAL.
 */
static ssize_t decode(char *text, size_t len)
{
	unsigned int bits = 0, held = 0;
	size_t out = 0;

	if (len % 4)
		return -EINVAL;
	for (unsigned int i = 0; i < 2 && len && text[len - 1] == '='; i++)
		len--;
	for (size_t i = 0; i < len; i++) {
		int digit = digit_of(text[i]);

		if (digit < 0)
			return -EINVAL;
		bits = (bits << 6 | (unsigned int)digit) & 0xffff;
		held += 6;
		if (held >= 8) {
			held -= 8;
			text[out++] = (char)(bits >> held);
		}
	}
	return (ssize_t)out;
}

static const struct control_arg write_args[] = {
	{ "data", CONTROL_STRING, CONTROL_REQUIRED },
	{ NULL, 0, 0 },
};

static void type(struct control_call *call)
{
	char *data = strdup(control_string(call, "data"));
	ssize_t len = data ? decode(data, strlen(data)) : -ENOMEM;
	size_t taken = 0;

	if (len < 0)
		control_fail(call, CONTROL_GENERIC,
			     "Parameter 'data' expects base64");
	else
		taken = console_hub_input(call->vm->console, data, (size_t)len);
	call->result = json_pack("{s:I}", "taken", (json_int_t)taken);
	free(data);
}

static const struct control_arg sysrq_args[] = {
	{ "key", CONTROL_STRING, CONTROL_REQUIRED },
	{ NULL, 0, 0 },
};

static void send_sysrq(struct control_call *call)
{
	const char *key = control_string(call, "key");
	struct chardev *serial = call->vm->machine.serial[0];
	int err = -ENODEV;

	if (strlen(key) != 1) {
		control_fail(call, CONTROL_GENERIC,
			     "Parameter 'key' expects one ASCII character");
		return;
	}
	if (serial && serial->frontend && serial->frontend->send_break)
		err = serial->frontend->send_break(serial->opaque,
						   (uint8_t)*key);
	if (err)
		control_fail(call, CONTROL_GENERIC,
			     err == -EBUSY ?
				     "the guest has not read the last one" :
				     "there is no serial port 0");
}

const struct control_command control_console_commands[] = {
	{ "x-lkvm-console", NULL, attach },
	{ "x-lkvm-console-write", write_args, type },
	{ "x-lkvm-sysrq", sysrq_args, send_sysrq },
	{ NULL, NULL, NULL },
};
