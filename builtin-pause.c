/* SPDX-License-Identifier: GPL-2.0 */
/* lkvm pause and lkvm resume: QMP's stop and cont. */
#include <lkvm/client.h>
#include <lkvm/commands.h>

struct pause_options {
	struct client_choice choice;
};

const struct option_desc pause_options[] = {
	CLIENT_OPTIONS(pause_options),
	{ .kind = OPTION_END },
};

static int execute(struct client *c, void *command)
{
	return client_execute(c, command, NULL, NULL);
}

static int execute_on_all(int argc, char **argv, char *command)
{
	struct pause_options options = { 0 };
	struct client_set set;
	int status;

	if (!client_begin(pause_options, argc, argv, &options, &options.choice,
			  &set, &status))
		return status;
	client_set_run(&set, execute, command);
	status = client_set_report(&set, options.choice.all);
	client_set_release(&set);
	return status;
}

int command_pause(int argc, char **argv)
{
	return execute_on_all(argc, argv, "stop");
}

int command_resume(int argc, char **argv)
{
	return execute_on_all(argc, argv, "cont");
}
