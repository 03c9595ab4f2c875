/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control prompt: a table of commands, and as much of a line editor as
 * typing them needs. What it prints goes to the terminal with the guest's own
 * output; a command that the terminal's buffer has no room for is cut.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/device.h>
#include <lkvm/prompt.h>
#include <lkvm/terminal.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>
#include <lkvm/vm.h>

#define CTRL_C 0x03
#define CTRL_H 0x08
#define CTRL_U 0x15
#define DELETE 0x7f

/* ---- commands ------------------------------------------------------------ */

struct command {
	const char *name;
	const char *argument; /* NULL: takes none; "[X]": may take one */
	const char *help;
	/* @argument is NULL when there is none. */
	void (*run)(struct vm *vm, const char *argument, FILE *out);
};

static struct device *find_device(struct vm *vm, const struct device_type *type,
				  FILE *out)
{
	for (struct device *d = vm->machine.devices; d; d = d->next)
		if (d->type == type)
			return d;
	fprintf(out, "there is no %s\n", type->name);
	return NULL;
}

static void run_balloon(struct vm *vm, const char *argument, FILE *out)
{
	struct device *balloon = find_device(vm, &virtio_balloon_type, out);
	struct virtio_balloon_info info;
	uint64_t bytes;

	if (!balloon)
		return;
	if (!argument) {
		virtio_balloon_info(balloon, &info);
		fprintf(out, "the balloon has %s and shall have %s\n",
			format_size(info.actual).text,
			format_size(info.target).text);
		return;
	}
	if (parse_size(argument, MIB, &bytes))
		fprintf(out, "'%s' is no size\n", argument);
	else if (virtio_balloon_set_target(balloon, bytes))
		fprintf(out, "the guest has only %s of RAM\n",
			format_size(memory_size(&vm->machine.memory)).text);
}

static void run_hint(struct vm *vm, const char *argument, FILE *out)
{
	struct device *balloon = find_device(vm, &virtio_balloon_type, out);
	int err;

	(void)argument;
	if (!balloon)
		return;
	err = virtio_balloon_hint(balloon);
	if (err == -EBUSY)
		fprintf(out, "the guest has not ended the last round\n");
	else if (err)
		fprintf(out, "the guest does not do that (see hinting in "
			     "--balloon)\n");
}

static void run_pause(struct vm *vm, const char *argument, FILE *out)
{
	(void)argument;
	(void)out;
	vm_pause(vm);
}

static void run_resume(struct vm *vm, const char *argument, FILE *out)
{
	(void)argument;
	(void)out;
	vm_resume(vm);
}

static void run_reset(struct vm *vm, const char *argument, FILE *out)
{
	(void)argument;
	(void)out;
	vm_end(vm, VM_END_USER_RESET, 0);
}

static void run_powerdown(struct vm *vm, const char *argument, FILE *out)
{
	(void)argument;
	(void)out;
	vm->machine.power_button(vm->machine.power_button_opaque);
}

static void run_stats(struct vm *vm, const char *argument, FILE *out)
{
	(void)argument;
	vm_print_stats(vm, out);
}

static void run_quit(struct vm *vm, const char *argument, FILE *out)
{
	(void)argument;
	(void)out;
	vm_end(vm, VM_END_QUIT, 0);
}

static void run_help(struct vm *vm, const char *argument, FILE *out);

static const struct command commands[] = {
	{ "balloon", "[SIZE]", "what the guest shall give up; or show it",
	  run_balloon },
	{ "help", NULL, "this list", run_help },
	{ "hint", NULL, "take the guest's free pages, once", run_hint },
	{ "pause", NULL, "stop the guest", run_pause },
	{ "powerdown", NULL, "press the power button", run_powerdown },
	{ "quit", NULL, "end at once", run_quit },
	{ "reset", NULL, "boot again", run_reset },
	{ "resume", NULL, "let the guest go on", run_resume },
	{ "stats", NULL, "counters of exits and devices", run_stats },
};

static void run_help(struct vm *vm, const char *argument, FILE *out)
{
	(void)vm;
	(void)argument;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];
		const char *takes = c->argument ? c->argument : "";

		fprintf(out, "%-9s %-7s %s\n", c->name, takes, c->help);
	}
	fprintf(out, "Ctrl-a c goes back to the guest.\n");
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

void prompt_run(struct vm *vm, char *line, FILE *out)
{
	char *at = NULL;
	const char *name = strtok_r(line, " ", &at);
	const char *argument = strtok_r(NULL, " ", &at);
	const struct command *command;

	if (!name)
		return;
	command = find_command(name);
	if (!command)
		fprintf(out, "there is no command '%s' (try help)\n", name);
	else if (strtok_r(NULL, " ", &at) || (argument && !command->argument))
		fprintf(out, "%s: too many words (try help)\n", name);
	else
		command->run(vm, argument, out);
}

/* ---- the line ------------------------------------------------------------ */

static void print(struct vm *vm, const char *text)
{
	terminal_print(vm->terminal, text, strlen(text));
}

static void begin_line(struct vm *vm)
{
	vm->prompt.len = 0;
	print(vm, "(lkvm) ");
}

void prompt_show(struct vm *vm, bool on)
{
	print(vm, "\n");
	if (on)
		begin_line(vm);
}

static void end_line(struct vm *vm)
{
	struct prompt *p = &vm->prompt;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	print(vm, "\n");
	p->line[p->len] = '\0';
	if (out) {
		prompt_run(vm, p->line, out);
		fclose(out);
		terminal_print(vm->terminal, text, len);
	}
	free(text);
	begin_line(vm);
}

void prompt_key(struct vm *vm, char key)
{
	struct prompt *p = &vm->prompt;
	const char shown[] = { key, '\0' };

	switch (key) {
	case '\r':
	case '\n':
		end_line(vm);
		break;
	case CTRL_H:
	case DELETE:
		if (p->len) {
			p->len--;
			print(vm, "\b \b");
		}
		break;
	case CTRL_C:
	case CTRL_U:
		print(vm, "\n");
		begin_line(vm);
		break;
	default:
		/* One is for the end of the string. */
		if (key >= ' ' && p->len < sizeof(p->line) - 1) {
			p->line[p->len++] = key;
			print(vm, shown);
		}
		break;
	}
}
