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

/* Until the VM closes the socket, and then until its process is gone. */
static int wait_for_end(struct client *c, int pidfd, uint64_t seconds)
{
	uint64_t deadline_ns = now_ns() + seconds * 1000000000ULL;
	struct pollfd process = { .fd = pidfd, .events = POLLIN };
	json_t *message;
	uint64_t now;
	int err;

	do {
		err = client_receive(c, deadline_ns, &message);
		if (!err)
			json_decref(message);
	} while (!err);
	now = now_ns();
	if (err == -ECONNRESET && pidfd >= 0 &&
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
	/* A VM whose process is not seen here: its socket's end must do. */
	int pidfd = c->pid > 0 ? pidfd_open(c->pid, 0) : -1;
	int err;

	if (options->force)
		err = client_execute(c, "quit", NULL, NULL);
	else
		err = press_power_button(c);
	/* It may be gone before it has answered. */
	if (!err || err == -ECONNRESET)
		err = wait_for_end(c, pidfd, options->seconds);
	if (pidfd >= 0)
		close(pidfd);
	return err;
}

/*
 * What has not answered: its process is stopped or hangs, and only the kernel
 * can end it. (Its tap and socket remain; the latter is list's to remove.)
 */
static void kill_silent(struct client *c, uint64_t seconds)
{
	struct pollfd process = { .fd = -1, .events = POLLIN };

	if (c->err != -ETIMEDOUT || c->pid <= 0)
		return;
	process.fd = pidfd_open(c->pid, 0);
	if (process.fd < 0)
		return;
	if (!pidfd_send_signal(process.fd, SIGKILL, NULL, 0) &&
	    poll(&process, 1, (int)seconds * 1000) > 0)
		c->err = 0;
	close(process.fd);
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
	for (size_t i = 0; options.force && i < set.count; i++)
		kill_silent(&set.clients[i], options.seconds);
	status = client_set_report(&set, options.choice.all);
	client_set_release(&set);
	return status;
}
