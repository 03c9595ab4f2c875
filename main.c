/* SPDX-License-Identifier: GPL-2.0 */
/* The command table. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/commands.h>
#include <lkvm/log.h>
#include <lkvm/vm.h>

const struct command commands[] = {
	{
		.name = "run",
		.arguments = "[OPTIONS] [KERNEL]",
		.summary = "Boot a kernel in a virtual machine",
		.options = run_options,
		.run = command_run,
	},
	{
		.name = "sandbox",
		.arguments = "[OPTIONS] [KERNEL] -- COMMAND",
		.summary = "Run a command in a guest whose root is a folder",
		.options = run_options,
		.run = command_sandbox,
	},
	{
		.name = "setup",
		.arguments = "NAME",
		.summary = "Make a folder that is a guest's root",
		.run = command_setup,
	},
	{
		.name = "list",
		.arguments = "[OPTIONS]",
		.summary = "List virtual machines",
		.options = list_options,
		.run = command_list,
	},
	{
		.name = "stop",
		.arguments = "[OPTIONS] [NAME...]",
		.summary = "Power virtual machines off",
		.options = stop_options,
		.run = command_stop,
	},
	{
		.name = "pause",
		.arguments = "[OPTIONS] [NAME...]",
		.summary = "Stop virtual machines for a while",
		.options = pause_options,
		.run = command_pause,
	},
	{
		.name = "resume",
		.arguments = "[OPTIONS] [NAME...]",
		.summary = "Let paused virtual machines go on",
		.options = pause_options,
		.run = command_resume,
	},
	{
		.name = "console",
		.arguments = "[OPTIONS] [NAME]",
		.summary = "Watch a virtual machine's console, and type",
		.options = console_options,
		.run = command_console,
	},
	{
		.name = "stat",
		.arguments = "[OPTIONS] [NAME...]",
		.summary = "Show counters of virtual machines",
		.options = stat_options,
		.run = command_stat,
	},
	{
		.name = "top",
		.arguments = "[OPTIONS] [NAME...]",
		.summary = "Watch what virtual machines do",
		.options = top_options,
		.run = command_top,
	},
	{
		.name = "balloon",
		.arguments = "[OPTIONS] [NAME...]",
		.summary = "Take memory from guests, or give it back",
		.options = balloon_options,
		.run = command_balloon,
	},
	{
		.name = "debug",
		.arguments = "[OPTIONS] [NAME...]",
		.summary = "Look at, or wake, a virtual machine that hangs",
		.options = debug_options,
		.run = command_debug,
	},
	{
		.name = "version",
		.arguments = "",
		.summary = "Print the version",
		.run = command_version,
	},
	{
		.name = "help",
		.arguments = "[COMMAND]",
		.summary = "Explain lkvm, or one of its commands",
		.options = help_options,
		.run = command_help,
	},
	{ .name = NULL },
};

static const struct command *find_command(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

/*
 * A caller may have closed 0, 1 or 2. Whatever is opened next would take that
 * number, and messages would go into a disk image.
 */
static void fill_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct command *command;

	fill_standard_fds();

	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return command_help(argc - 1, argv + 1);
	if (!strcmp(argv[1], "--version"))
		return command_version(argc - 1, argv + 1);
	command = find_command(argv[1]);
	if (command)
		return command->run(argc - 1, argv + 1);
	/* `lkvm -k bzImage` and `lkvm bzImage` run it. */
	if (argv[1][0] == '-' || strpbrk(argv[1], "/.") ||
	    !access(argv[1], F_OK))
		return command_run(argc, argv);
	log_err("main",
		"'%s' is neither a command nor a kernel (see 'lkvm help')",
		argv[1]);
	return STATUS_LKVM_FAILED;
}
