/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm stop: press the power button of VMs and wait until they are gone, or
 * end them at once.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>

#define DEFAULT_SECONDS 60
#define MAX_SECONDS 86400

struct stop_options {
	struct client_choice choice;
	uint64_t seconds;
	bool force;
};

#define FIELD(name) offsetof(struct stop_options, name)

const struct option_desc stop_options[] = {
	CLIENT_OPTIONS(stop_options),
	{ OPTION_UINT, 't', "timeout", "SECONDS",
	  "how long a VM may take to power off (default: 60)",
	  .offset = FIELD(seconds), .min = 1, .max = MAX_SECONDS },
	{ OPTION_FLAG, 'f', "force", NULL,
	  "do not ask the guest; kill what does not answer",
	  .offset = FIELD(force) },
	{ .kind = OPTION_END },
};

/*
 * The guest is asked by the power button. One that is paused has to go on to
 * hear of it, and one that cannot go on is ended.
 */
static int press_power_button(struct client *c)
{
	const char *text;
	json_t *status;
	bool runs;
	int err = client_execute(c, "query-status", NULL, &status);

	if (err)
		return err;
	text = json_string_value(json_object_get(status, "status"));
	runs = text && !strcmp(text, "running");
	if (text && !strcmp(text, "paused")) {
		err = client_execute(c, "cont", NULL, NULL);
		runs = true;
	}
	if (!err)
		err = client_execute(c, runs ? "system_powerdown" : "quit",
				     NULL, NULL);
	json_decref(status);
	return err;
}

/*
 * Until the VM closes the socket, and then until its process is gone; where
 * that is not seen from here, the socket's end must do.
 */
static int wait_for_end(struct client *c, uint64_t seconds)
{
	uint64_t deadline_ns = now_ns() + seconds * 1000000000ULL;
	struct pollfd process = { .fd = c->pidfd, .events = POLLIN };
	json_t *message;
	uint64_t now;
	int err;

	do {
		err = client_receive(c, deadline_ns, &message);
		if (!err)
			json_decref(message);
	} while (!err);
	now = now_ns();
	if (err == -ECONNRESET && c->pidfd >= 0 &&
	    (now >= deadline_ns ||
	     !poll(&process, 1, (int)((deadline_ns - now) / 1000000) + 1)))
		err = -ETIMEDOUT;
	if (err == -ETIMEDOUT)
		return client_fail(c, err,
				   "it still runs after %u s (--force ends it)",
				   (unsigned int)seconds);
	return err == -ECONNRESET ? 0 : err;
}

static int stop_one(struct client *c, void *opaque)
{
	const struct stop_options *options = opaque;
	int err;

	if (options->force)
		err = client_execute(c, "quit", NULL, NULL);
	else
		err = press_power_button(c);
	/* It may be gone before it has answered. */
	if (!err || err == -ECONNRESET)
		err = wait_for_end(c, options->seconds);
	return err;
}

/*
 * By a name, its socket is in the user's own folder, where only lkvm puts some;
 * a path may be any program's.
 */
static bool may_kill(const struct client *c)
{
	return c->err == -ETIMEDOUT && c->pidfd >= 0 && !strchr(c->name, '/');
}

/*
 * What has not answered: its process is stopped or hangs, and only the kernel
 * can end it.
 */
static void kill_silent(struct client_set *set, uint64_t seconds)
{
	uint64_t deadline_ns = now_ns() + seconds * 1000000000ULL;

	for (size_t i = 0; i < set->count; i++)
		if (may_kill(&set->clients[i]))
			pidfd_send_signal(set->clients[i].pidfd, SIGKILL, NULL,
					  0);
	for (size_t i = 0; i < set->count; i++) {
		struct client *c = &set->clients[i];
		struct pollfd process = { .fd = c->pidfd, .events = POLLIN };
		uint64_t now = now_ns();
		uint64_t left_ms =
			deadline_ns > now ? (deadline_ns - now) / 1000000 : 0;

		if (c->err != -ETIMEDOUT)
			continue;
		if (may_kill(c) && poll(&process, 1, (int)left_ms) > 0)
			c->err = 0;
		else
			client_fail(c, c->err,
				    "it does not answer (kill its process)");
	}
}

int command_stop(int argc, char **argv)
{
	struct stop_options options = { .seconds = DEFAULT_SECONDS };
	struct client_set set;
	int status;

	if (!client_begin(stop_options, argc, argv, &options, &options.choice,
			  &set, &status))
		return status;
	for (size_t i = 0; i < set.count; i++)
		set.clients[i].limit_ns = MIN(set.clients[i].limit_ns,
					      options.seconds * 1000000000ULL);
	client_set_run(&set, stop_one, &options);
	if (options.force)
		kill_silent(&set, options.seconds);
	status = client_set_report(&set, options.choice.all);
	client_set_release(&set);
	return status;
}
