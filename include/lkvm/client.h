/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the commands that speak to running VMs share: which VMs the user
 * means, and a conversation with each of them over its control socket
 * (docs/control.md), which is all that these commands know of a VM.
 *
 * A command chooses a set of VMs, lets a function of its own talk to all of
 * them at once, each on a thread of its own so that a VM that does not answer
 * delays no other, and prints what came of it in the order of their names.
 */
#ifndef LKVM_CLIENT_H
#define LKVM_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <lkvm/options.h>
#include <lkvm/util.h>

/* How long a VM may take for one answer. */
#define CLIENT_LIMIT_NS 10000000000ULL

/*
 * And for all answers together where a person looks at many VMs at once: a
 * second, and more for each of them, whose threads have to run as well.
 */
#define CLIENT_GLANCE_NS 1000000000ULL
#define CLIENT_GLANCE_EACH_NS 20000000ULL

/* The longest message that is taken from a VM, in bytes. */
#define CLIENT_MAX_MESSAGE (16 << 20)

/* One VM, and the conversation with it. */
struct client {
	char *name; /* owned */
	uint64_t limit_ns; /* for each answer */
	uint64_t until_ns; /* for all of them, of now_ns(); 0: no such time */
	int fd; /* non-blocking; -1: not connected */
	pid_t pid; /* of its process; 0: not known here */
	/* The same, from the connection until client_set_release(); -1: none. */
	int pidfd;
	json_t *result; /* what the command's function left; owned */
	int err; /* how that ended: 0 or -errno; */
	char error[256]; /* and in words, without the VM's name */
	unsigned int last_id;
	char *in; /* received, not yet taken; owned */
	size_t in_len, in_room;
};

/* The VMs of a command, sorted by their names. */
struct client_set {
	struct client *clients;
	size_t count;
};

/* What the user said of which VMs; embedded in a command's own options. */
struct client_choice {
	const char *name;
	bool all;
	bool help;
	bool all_by_default; /* the command's word: no name means all */
};

/* The first lines of the table of struct @type, whose member choice it is. */
#define CLIENT_OPTIONS(type)                                           \
	{ OPTION_STRING, 'n', "name", "NAME", "the VM of this name",   \
	  .offset = offsetof(struct type, choice.name) },              \
	{ OPTION_FLAG, 'a', "all", NULL, "all VMs of this user",       \
	  .offset = offsetof(struct type, choice.all) },               \
	{ OPTION_FLAG, 'h', "help", NULL, "explain the command",       \
	  .offset = offsetof(struct type, choice.help) }

/*
 * Parse a client command's @argv by @table into @options, in which @choice
 * lies, and find the VMs that it names: by --name, as arguments, or all. A
 * name with a slash is the path of a socket.
 * Returns true if the command shall go on with @set, which is the caller's;
 * otherwise it returns *@status: help was wanted, or the user has been told
 * what is wrong. With --all there may be no VM at all.
 */
bool client_begin(const struct option_desc *table, int argc, char **argv,
		  void *options, struct client_choice *choice,
		  struct client_set *set, int *status);

/*
 * All VMs of this user that have a socket in its place, dead or alive. Returns
 * 0, or -errno after one line on stderr.
 */
int client_set_all(struct client_set *set);

void client_set_release(struct client_set *set);

/*
 * From now on all of @set have CLIENT_GLANCE_NS together, and a little for each,
 * so that those that do not answer cost no more time than one of them.
 */
void client_set_glance(struct client_set *set);

/*
 * Connect to each VM of @set and let @work speak with it; all at once, and
 * wait for all. @work runs on a thread of the VM's own and returns 0, or
 * -errno with client->error set. Connections are closed in the end.
 */
void client_set_run(struct client_set *set,
		    int (*work)(struct client *client, void *opaque),
		    void *opaque);

/*
 * Say one line on stderr for each VM with which it went wrong. With @all, VMs
 * that have ended meanwhile, or whose socket nobody listens on any more, are
 * not worth a line. Returns the command's status.
 */
int client_set_report(const struct client_set *set, bool all);

/* Print @value to stdout, for people to read as well. */
void client_print_json(const json_t *value);

/* Print the results of @set as an array of {"name": NAME, @key: RESULT}. */
void client_set_print_json(const struct client_set *set, const char *key);

/* Nobody answers at its socket: it has ended, or died. */
bool client_is_gone(const struct client *client);

/*
 * Connect to the VM of client->name and take its greeting. The caller
 * disconnects in any case. Returns 0, or -errno with client->error set:
 * -ENOENT (there is no such VM), -ECONNREFUSED (its process has died),
 * -ETIMEDOUT (it does not answer), -EPERM (the folder, or the socket, may be
 * somebody else's), -EPROTO (that is no VM's socket).
 */
int client_connect(struct client *client);
void client_disconnect(struct client *client);

/*
 * Let the VM execute @command with @arguments, which are taken over (NULL:
 * none), and wait for the answer; events on the way are passed over. *@answer
 * is the caller's, and may be NULL when it does not matter. Returns 0, or
 * -errno with client->error set: -EREMOTEIO (the VM refuses, and says why),
 * -ECONNRESET (it has ended), and as client_connect().
 */
int client_execute(struct client *client, const char *command,
		   json_t *arguments, json_t **answer);

/*
 * Take the next message, an answer or an event, until @deadline_ns (of
 * now_ns()). *@out is the caller's. As client_execute().
 */
int client_receive(struct client *client, uint64_t deadline_ns, json_t **out);

/* Note what went wrong, and return @err. */
int client_fail(struct client *client, int err, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

#endif
