/* SPDX-License-Identifier: GPL-2.0 */
/* lkvm help [COMMAND]: from the same tables that parse the options. */
#include <stdio.h>
#include <string.h>

#include <lkvm/commands.h>
#include <lkvm/log.h>
#include <lkvm/vm.h>

static void print_overview(void)
{
	printf("usage: lkvm COMMAND [OPTIONS]\n"
	       "       lkvm KERNEL [OPTIONS]\n\n"
	       "The most commonly used lkvm commands are:\n");
	for (const struct command *c = commands; c->name; c++)
		printf("  %-10s %s\n", c->name, c->summary);
	printf("\nSee 'lkvm help COMMAND' for a command's options.\n");
}

static void print_command(const struct command *command)
{
	printf("usage: lkvm %s%s%s\n\n%s.\n", command->name,
	       *command->arguments ? " " : "", command->arguments,
	       command->summary);
	if (command->options) {
		printf("\nOptions:\n");
		options_print_help(command->options);
	}
}

int command_help(int argc, char **argv)
{
	if (argc < 2) {
		print_overview();
		return STATUS_OK;
	}
	if (argc > 2) {
		log_err("help", "help takes one command, got '%s' too",
			argv[2]);
		return STATUS_LKVM_FAILED;
	}
	for (const struct command *c = commands; c->name; c++) {
		if (!strcmp(c->name, argv[1])) {
			print_command(c);
			return STATUS_OK;
		}
	}
	log_err("help", "no command '%s' (see 'lkvm help')", argv[1]);
	return STATUS_LKVM_FAILED;
}
