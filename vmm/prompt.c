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
	const char *argument; /* NULL: takes none; "[X]": may be left out */
	const char *help;
	/* @argument is what follows the name, or NULL. */
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

static void run_link(struct vm *vm, const char *argument, FILE *out)
{
	char name[16] = "";
	char state[8] = "";
	bool on;

	if (!argument || sscanf(argument, "%15s %7s", name, state) != 2) {
		fprintf(out, "link: which device, and on or off?\n");
		return;
	}
	on = !strcmp(state, "on");
	if (!on && strcmp(state, "off") != 0) {
		fprintf(out, "link: '%s' is neither on nor off\n", state);
		return;
	}
	for (struct device *d = vm->machine.devices; d; d = d->next)
		if (d->type == &virtio_net_type && !strcmp(d->name, name)) {
			virtio_net_set_link(d, on);
			return;
		}
	fprintf(out, "there is no network device '%s'\n", name);
}

static void run_pause(struct vm *vm, const char *argument, FILE *out)
{
	(void)argument;
	(void)out;
	vm_user_pause(vm);
}

static void run_resume(struct vm *vm, const char *argument, FILE *out)
{
	(void)argument;
	(void)out;
	vm_user_resume(vm);
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
	vm_press_power_button(vm);
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
	vm_end(vm, VM_END_QUIT, QUIT_BY_TERMINAL);
}

static void run_help(struct vm *vm, const char *argument, FILE *out);

static const struct command commands[] = {
	{ "balloon", "[SIZE]", "what the guest shall give up; or show it",
	  run_balloon },
	{ "help", NULL, "this list", run_help },
	{ "hint", NULL, "take the guest's free pages, once", run_hint },
	{ "link", "NAME on|off", "the cable of a network device", run_link },
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

		fprintf(out, "%-9s %-11s %s\n", c->name, takes, c->help);
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

/* How many words a command takes at most, as its description has them. */
static unsigned int count_words(const char *text)
{
	unsigned int words = text && *text;

	for (; text && *text; text++)
		words += *text == ' ' && text[1] && text[1] != ' ';
	return words;
}

void prompt_run(struct vm *vm, char *line, FILE *out)
{
	size_t len = strlen(line);
	char *at = NULL;
	const char *name;
	const struct command *command;
	const char *argument;

	while (len && line[len - 1] == ' ')
		line[--len] = '\0';
	name = strtok_r(line, " ", &at);
	if (!name)
		return;
	argument = at + strspn(at, " ");
	if (!*argument)
		argument = NULL;
	command = find_command(name);
	if (!command)
		fprintf(out, "there is no command '%s' (try help)\n", name);
	else if (count_words(argument) > count_words(command->argument))
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
