/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the commands that speak to running VMs share: see client.h. The
 * protocol is QMP's, one JSON object a line; docs/control.md has it.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>
#include <lkvm/control-path.h>
#include <lkvm/describe.h>
#include <lkvm/log.h>
#include <lkvm/unix-socket.h>
#include <lkvm/vm.h>

#define READ_CHUNK 4096

static const char nowhere[] =
	"there is no place for VMs' sockets (set XDG_RUNTIME_DIR or HOME)";

#define NOT_OURS                                                        \
	"%s is no folder of yours alone, so who listens there may be "  \
	"anybody (choose another one with XDG_RUNTIME_DIR, or make it " \
	"so with chown and chmod)"

int client_fail(struct client *c, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(c->error, sizeof(c->error), fmt, args);
	va_end(args);
	return err;
}

/* ---- one conversation ---------------------------------------------------- */

static int fail_gone(struct client *c)
{
	return client_fail(c, -ECONNRESET, "it has ended");
}

static int fail_no_memory(struct client *c)
{
	return client_fail(c, -ENOMEM, "out of memory");
}

/* Until the socket can be read (POLLIN) or written. Returns 0 or -errno. */
static int wait_for(struct client *c, short events, uint64_t deadline_ns)
{
	struct pollfd pollfd = { .fd = c->fd, .events = events };
	uint64_t now = now_ns();
	int n = 0;

	if (now < deadline_ns)
		n = poll(&pollfd, 1, (int)((deadline_ns - now) / 1000000) + 1);
	if (n > 0 || (n < 0 && errno == EINTR))
		return 0;
	return client_fail(c, -ETIMEDOUT, "it does not answer");
}

/* When the next answer must have come. */
static uint64_t answer_deadline(const struct client *c)
{
	uint64_t deadline_ns = now_ns() + c->limit_ns;

	return c->until_ns ? MIN(deadline_ns, c->until_ns) : deadline_ns;
}

static int send_all(struct client *c, const char *data, size_t len,
		    uint64_t deadline_ns)
{
	while (len) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
		int err = 0;

		if (n >= 0) {
			data += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			err = wait_for(c, POLLOUT, deadline_ns);
		} else if (errno != EINTR) {
			err = fail_gone(c);
		}
		if (err)
			return err;
	}
	return 0;
}

static int receive_some(struct client *c, uint64_t deadline_ns)
{
	ssize_t n;

	if (c->in_room - c->in_len < READ_CHUNK) {
		size_t room = c->in_room ? c->in_room * 2 : READ_CHUNK;
		char *grown = realloc(c->in, room);

		if (!grown)
			return fail_no_memory(c);
		c->in = grown;
		c->in_room = room;
	}
	n = recv(c->fd, c->in + c->in_len, c->in_room - c->in_len, 0);
	if (n > 0) {
		c->in_len += (size_t)n;
		return 0;
	}
	if (n < 0 && errno == EAGAIN)
		return wait_for(c, POLLIN, deadline_ns);
	return n < 0 && errno == EINTR ? 0 : fail_gone(c);
}

/* Take the first @len bytes of what was received, a line, as JSON. */
static int take_line(struct client *c, size_t len, json_t **out)
{
	json_t *message = json_loadb(c->in, len, 0, NULL);

	c->in_len -= len;
	memmove(c->in, c->in + len, c->in_len);
	if (json_is_object(message)) {
		*out = message;
		return 0;
	}
	json_decref(message);
	return client_fail(c, -EPROTO, "its socket does not speak QMP");
}

int client_receive(struct client *c, uint64_t deadline_ns, json_t **out)
{
	size_t searched = 0;

	for (;;) {
		char *end = NULL;
		int err;

		if (c->in_len > searched)
			end = memchr(c->in + searched, '\n',
				     c->in_len - searched);
		if (end)
			return take_line(c, (size_t)(end - c->in) + 1, out);
		searched = c->in_len;
		if (searched > CLIENT_MAX_MESSAGE)
			return client_fail(c, -EPROTO, "its answer has no end");
		err = receive_some(c, deadline_ns);
		if (err)
			return err;
	}
}

static int send_command(struct client *c, const char *command,
			json_t *arguments, uint64_t deadline_ns)
{
	json_t *message = json_pack("{s:s, s:o*, s:I}", "execute", command,
				    "arguments", arguments, "id",
				    (json_int_t)++c->last_id);
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	char *line = NULL;
	int len = -1;
	int err;

	/* At once: who refuses may hang up after the command's last brace. */
	if (text)
		len = asprintf(&line, "%s\n", text);
	json_decref(message);
	free(text);
	if (len < 0)
		return fail_no_memory(c);
	err = send_all(c, line, (size_t)len, deadline_ns);
	free(line);
	return err;
}

/* Returns 0, or -EREMOTEIO if @message says that the VM refuses. */
static int take_error(struct client *c, const json_t *message)
{
	const json_t *error = json_object_get(message, "error");
	const char *desc = json_string_value(json_object_get(error, "desc"));

	if (!error)
		return 0;
	return client_fail(c, -EREMOTEIO, "%s", desc ? desc : "it refuses");
}

int client_execute(struct client *c, const char *command, json_t *arguments,
		   json_t **answer)
{
	uint64_t deadline_ns = answer_deadline(c);
	json_t *message = NULL;
	json_t *result;
	int err;

	err = send_command(c, command, arguments, deadline_ns);
	if (err)
		return err;
	do {
		json_decref(message);
		message = NULL;
		err = client_receive(c, deadline_ns, &message);
		if (err)
			return err;
	} while (json_integer_value(json_object_get(message, "id")) !=
		 c->last_id);

	result = json_object_get(message, "return");
	err = take_error(c, message);
	if (!err && !result)
		err = client_fail(c, -EPROTO, "its socket does not speak QMP");
	else if (!err && answer)
		*answer = json_incref(result);
	json_decref(message);
	return err;
}

static int fail_connect(struct client *c, int err)
{
	switch (err) {
	case -ENOENT:
		return client_fail(
			c, err,
			"there is no VM of this name ('lkvm list' shows all)");
	case -ECONNREFUSED:
		return client_fail(
			c, err,
			"its process has died ('lkvm list' removes what is left of it)");
	case -EAGAIN:
		return client_fail(c, -ETIMEDOUT, "it does not answer");
	case -EINVAL:
		return client_fail(c, err, "no VM can have this name");
	default:
		return client_fail(c, err, "cannot connect: %s",
				   strerror(-err));
	}
}

/* The socket of the VM of that name, in a folder that can be trusted. */
static int find_socket(struct client *c, struct control_path *out)
{
	struct control_path folder;
	int err;

	err = control_path(c->name, out);
	if (err == -ENOENT)
		return client_fail(c, err, "%s", nowhere);
	if (!err)
		err = control_folder(&folder);
	if (!err)
		err = control_check_folder(&folder);
	if (err == -EPERM)
		return client_fail(c, err, NOT_OURS, folder.text);
	return err ? fail_connect(c, err) : 0;
}

/* Another user's VM, or what looks like one, is not to be spoken to. */
static int check_peer(struct client *c)
{
	socklen_t len = sizeof(struct ucred);
	struct ucred peer;

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return fail_connect(c, -errno);
	if (peer.uid && peer.uid != geteuid())
		return client_fail(c, -EPERM,
				   "its socket is that of user %u, not yours",
				   (unsigned int)peer.uid);
	c->pid = peer.pid;
	/* Now, while it holds the other end: later the number may be another's. */
	if (c->pid > 0 && c->pidfd < 0)
		c->pidfd = pidfd_open(c->pid, 0);
	return 0;
}

int client_connect(struct client *c)
{
	/* A slash is in no name: that is a path, as of `run --control`. */
	bool is_path = strchr(c->name, '/');
	struct control_path path;
	json_t *greeting = NULL;
	int err = is_path ? 0 : find_socket(c, &path);

	if (err)
		return err;
	c->fd = unix_connect(is_path ? c->name : path.text);
	if (c->fd < 0)
		return fail_connect(c, c->fd);
	err = check_peer(c);
	if (err)
		return err;
	err = client_receive(c, answer_deadline(c), &greeting);
	if (err)
		return err;
	err = take_error(c, greeting);
	if (!err && !json_object_get(greeting, "QMP"))
		err = client_fail(c, -EPROTO, "its socket does not speak QMP");
	json_decref(greeting);
	return err ? err : client_execute(c, "qmp_capabilities", NULL, NULL);
}

void client_disconnect(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	free(c->in);
	c->in = NULL;
	c->in_len = 0;
	c->in_room = 0;
}

bool client_is_gone(const struct client *c)
{
	return c->err == -ENOENT || c->err == -ECONNREFUSED ||
	       c->err == -ECONNRESET;
}

/* ---- all of them --------------------------------------------------------- */

static int set_add(struct client_set *set, const char *name, size_t len)
{
	struct client *grown =
		reallocarray(set->clients, set->count + 1, sizeof(*grown));
	char *copy = strndup(name, len);

	if (grown)
		set->clients = grown;
	if (!grown || !copy) {
		free(copy);
		return -ENOMEM;
	}
	grown[set->count++] = (struct client) {
		.name = copy,
		.limit_ns = CLIENT_LIMIT_NS,
		.fd = -1,
		.pidfd = -1,
	};
	return 0;
}

void client_set_release(struct client_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		client_disconnect(&set->clients[i]);
		if (set->clients[i].pidfd >= 0)
			close(set->clients[i].pidfd);
		json_decref(set->clients[i].result);
		free(set->clients[i].name);
	}
	free(set->clients);
	*set = (struct client_set) { 0 };
}

/* Of two names with numbers, the smaller number comes first. */
static int compare_names(const void *a, const void *b)
{
	return strverscmp(((const struct client *)a)->name,
			  ((const struct client *)b)->name);
}

static int add_sockets(struct client_set *set, DIR *folder)
{
	const size_t suffix = strlen(CONTROL_SUFFIX);
	const struct dirent *entry;

	while ((entry = readdir(folder))) {
		size_t len = strlen(entry->d_name);
		int err;

		if (entry->d_name[0] == '.' || len <= suffix ||
		    strcmp(entry->d_name + len - suffix, CONTROL_SUFFIX) != 0)
			continue;
		err = set_add(set, entry->d_name, len - suffix);
		if (err)
			return err;
	}
	return 0;
}

static int find_all(struct client_set *set)
{
	struct control_path path;
	DIR *folder;
	int err = control_folder(&path);

	if (err) {
		log_err("client", "%s",
			err == -ENOENT ? nowhere : strerror(-err));
		return err;
	}
	err = control_check_folder(&path);
	/* The first VM makes it. */
	if (err == -ENOENT)
		return 0;
	if (err == -EPERM) {
		log_err("client", NOT_OURS, path.text);
		return err;
	}
	folder = err ? NULL : opendir(path.text);
	/* And the last one takes it away. */
	if (!err && !folder && errno == ENOENT)
		return 0;
	if (folder)
		err = add_sockets(set, folder);
	else if (!err)
		err = -errno;
	if (err)
		log_err("client", "cannot look for VMs in %s: %s", path.text,
			strerror(-err));
	if (folder)
		closedir(folder);
	return err;
}

int client_set_all(struct client_set *out)
{
	struct client_set set = { 0 };
	int err = find_all(&set);

	if (err) {
		client_set_release(&set);
		return err;
	}
	if (set.count)
		qsort(set.clients, set.count, sizeof(*set.clients),
		      compare_names);
	*out = set;
	return 0;
}

struct job {
	struct client *client;
	int (*work)(struct client *client, void *opaque);
	void *opaque;
	pthread_t thread;
	bool started;
};

static void *run_job(void *opaque)
{
	struct job *job = opaque;
	struct client *c = job->client;

	c->err = client_connect(c);
	if (!c->err)
		c->err = job->work(c, job->opaque);
	client_disconnect(c);
	return NULL;
}

void client_set_glance(struct client_set *set)
{
	uint64_t until_ns = now_ns() + CLIENT_GLANCE_NS +
			    set->count * CLIENT_GLANCE_EACH_NS;

	for (size_t i = 0; i < set->count; i++)
		set->clients[i].until_ns = until_ns;
}

void client_set_run(struct client_set *set,
		    int (*work)(struct client *client, void *opaque),
		    void *opaque)
{
	struct job *jobs = calloc(set->count, sizeof(*jobs));

	for (size_t i = 0; i < set->count; i++) {
		struct client *c = &set->clients[i];
		int err = -ENOMEM;

		if (jobs) {
			jobs[i] = (struct job) { c, work, opaque, 0, false };
			err = thread_create(&jobs[i].thread, run_job, &jobs[i]);
			jobs[i].started = !err;
		}
		if (err)
			c->err = client_fail(c, err, "no thread for it: %s",
					     strerror(-err));
	}
	for (size_t i = 0; jobs && i < set->count; i++)
		if (jobs[i].started)
			pthread_join(jobs[i].thread, NULL);
	free(jobs);
}

int client_set_report(const struct client_set *set, bool all)
{
	int status = STATUS_OK;

	for (size_t i = 0; i < set->count; i++) {
		const struct client *c = &set->clients[i];

		if (!c->err || (all && client_is_gone(c)))
			continue;
		log_err("client", "%s: %s", c->name, c->error);
		status = STATUS_LKVM_FAILED;
	}
	return status;
}

/* ---- which of them ------------------------------------------------------- */

static int choose(struct client_choice *choice, const char *command,
		  char **names, int nr_names, struct client_set *set)
{
	int err = 0;

	if (choice->all_by_default && !choice->name && !nr_names)
		choice->all = true;
	if (choice->all && (choice->name || nr_names)) {
		log_err("client", "%s: --all and '%s' do not go together",
			command, choice->name ? choice->name : names[0]);
		return -EINVAL;
	}
	if (choice->all)
		return client_set_all(set);
	if (!choice->name && !nr_names) {
		log_err("client",
			"%s: which VM? (give its name; 'lkvm list' shows all)",
			command);
		return -EINVAL;
	}
	if (choice->name)
		err = set_add(set, choice->name, strlen(choice->name));
	for (int i = 0; i < nr_names && !err; i++)
		err = set_add(set, names[i], strlen(names[i]));
	if (err)
		log_err("client", "out of memory");
	return err;
}

bool client_begin(const struct option_desc *table, int argc, char **argv,
		  void *options, struct client_choice *choice,
		  struct client_set *set, int *status)
{
	const char *command = argv[0];
	int nr_names;

	*status = STATUS_LKVM_FAILED;
	*set = (struct client_set) { 0 };
	if (options_parse(table, command, argc, argv, options, &nr_names, NULL))
		return false;
	if (choice->help) {
		char *help[] = { "help", (char *)command, NULL };

		*status = command_help(2, help);
		return false;
	}
	if (choose(choice, command, argv, nr_names, set)) {
		client_set_release(set);
		return false;
	}
	return true;
}

void client_print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
}

void client_set_print_json(const struct client_set *set, const char *key)
{
	json_t *list = json_array();

	for (size_t i = 0; i < set->count; i++) {
		const struct client *c = &set->clients[i];

		if (c->result)
			json_array_append_new(list,
					      json_pack("{s:o, s:O}", "name",
							describe_text(c->name),
							key, c->result));
	}
	client_print_json(list);
	json_decref(list);
}
