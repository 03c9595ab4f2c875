/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The commands of the lkvm binary: `lkvm NAME ...`.
 */
#ifndef LKVM_COMMANDS_H
#define LKVM_COMMANDS_H

#include <lkvm/options.h>

struct command {
	const char *name;
	const char *arguments; /* after the name in a usage line */
	const char *summary;
	const struct option_desc *options; /* for help; NULL: none */
	/* Returns the process's exit status. argv[0] is the command. */
	int (*run)(int argc, char **argv);
};

/* builtin-run.c, builtin-help.c, builtin-version.c: as command.run. */
int command_run(int argc, char **argv);
int command_help(int argc, char **argv);
int command_version(int argc, char **argv);

/* builtin-*.c: commands that speak to running VMs; as command.run. */
int command_balloon(int argc, char **argv);
int command_console(int argc, char **argv);
int command_debug(int argc, char **argv);
int command_list(int argc, char **argv);
int command_pause(int argc, char **argv);
int command_resume(int argc, char **argv);
int command_stat(int argc, char **argv);
int command_stop(int argc, char **argv);
int command_top(int argc, char **argv);

/* What they take. */
extern const struct option_desc balloon_options[];
extern const struct option_desc console_options[];
extern const struct option_desc debug_options[];
extern const struct option_desc list_options[];
extern const struct option_desc pause_options[]; /* and resume */
extern const struct option_desc stat_options[];
extern const struct option_desc stop_options[];
extern const struct option_desc top_options[];

int command_sandbox(int argc, char **argv);
int command_setup(int argc, char **argv);

/* What `lkvm run` and `lkvm help` take. */
extern const struct option_desc run_options[];
extern const struct option_desc help_options[];

/* In the order of the words that --completion takes. */
enum completion_shell { COMPLETION_BASH, COMPLETION_ZSH, COMPLETION_FISH };

/* builtin-completion.c: print the script for @shell to stdout. */
void print_completion(enum completion_shell shell);

/* main.c: all commands, ended by a NULL name. */
extern const struct command commands[];

#endif
