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

static int help_on(const char *name)
{
	for (const struct command *c = commands; c->name; c++) {
		if (!strcmp(c->name, name)) {
			print_command(c);
			return STATUS_OK;
		}
	}
	log_err("help", "no command '%s' (see 'lkvm help')", name);
	return STATUS_LKVM_FAILED;
}

struct help_options {
	int shell; /* enum completion_shell, -1: not said */
};

static const char *const shells[] = { "bash", "zsh", "fish", NULL };

const struct option_desc help_options[] = {
	{ OPTION_ENUM, 0, "completion", "bash|zsh|fish",
	  "print what makes this shell complete lkvm's command line",
	  .offset = offsetof(struct help_options, shell), .choices = shells },
	{ .kind = OPTION_END },
};

int command_help(int argc, char **argv)
{
	struct help_options options = { .shell = -1 };
	int nr_args;

	if (options_parse(help_options, "help", argc, argv, &options, &nr_args,
			  NULL))
		return STATUS_LKVM_FAILED;
	if (nr_args > 1 || (nr_args && options.shell >= 0)) {
		log_err("help", "help takes one command, got '%s' too",
			argv[nr_args - 1]);
		return STATUS_LKVM_FAILED;
	}
	if (options.shell >= 0) {
		print_completion((enum completion_shell)options.shell);
		/* An installed half of a script would be worse than none. */
		return fflush(stdout) || ferror(stdout) ? STATUS_LKVM_FAILED :
							  STATUS_OK;
	}
	if (nr_args)
		return help_on(argv[0]);
	print_overview();
	return STATUS_OK;
}
