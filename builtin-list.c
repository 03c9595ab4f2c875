/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm list: the user's VMs. What dead ones left behind is cleaned up on the
 * way.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>
#include <lkvm/control-path.h>
#include <lkvm/describe.h>
#include <lkvm/log.h>
#include <lkvm/root-folder.h>
#include <lkvm/vm.h>

/* A socket that is younger may be one that its VM does not listen on yet. */
#define STALE_SECONDS 5

struct list_options {
	bool instances; /* VMs: what is listed if nothing is said */
	bool roots;
	bool json;
	bool help;
};

#define FIELD(name) offsetof(struct list_options, name)

const struct option_desc list_options[] = {
	{ OPTION_FLAG, 'i', "instances", NULL, "list VMs (the default)",
	  .offset = FIELD(instances) },
	{ OPTION_FLAG, 'r', "rootfs", NULL,
	  "list root folders that 'lkvm setup' has made",
	  .offset = FIELD(roots) },
	{ OPTION_FLAG, 0, "json", NULL, "as a JSON array",
	  .offset = FIELD(json) },
	{ OPTION_FLAG, 'h', "help", NULL, "explain the command",
	  .offset = FIELD(help) },
	{ .kind = OPTION_END },
};

/* What x-lkvm-info tells, and how the VM is. */
static int ask(struct client *c, void *opaque)
{
	json_t *status;
	json_t *info;
	int err;

	(void)opaque;
	err = client_execute(c, "query-status", NULL, &status);
	if (err)
		return err;
	err = client_execute(c, "x-lkvm-info", NULL, &info);
	if (!err) {
		/* One that was not given a name has one here. */
		json_object_set_new(info, "name", describe_text(c->name));
		json_object_set(info, "status",
				json_object_get(status, "status"));
		c->result = info;
	}
	json_decref(status);
	return err;
}

/*
 * Nobody listens there: remove the file, unless it is so young that another VM
 * may just be starting by that name.
 */
static void remove_stale(const char *name)
{
	struct control_path path;
	struct stat st;

	if (!control_path(name, &path) && !lstat(path.text, &st) &&
	    S_ISSOCK(st.st_mode) && time(NULL) - st.st_mtime >= STALE_SECONDS)
		unlink(path.text);
}

/* What is shown of a VM that says nothing of itself. */
static json_t *unresponsive(const struct client *c)
{
	return json_pack("{s:o, s:i, s:s}", "name", describe_text(c->name),
			 "pid", (int)c->pid, "status",
			 c->err == -ETIMEDOUT ? "unresponsive" : "unknown");
}

/* Returns an array with an object for each VM that lives. NULL: no memory. */
static json_t *collect(struct client_set *set)
{
	json_t *list = json_array();

	for (size_t i = 0; i < set->count; i++) {
		struct client *c = &set->clients[i];

		if (c->err == -ECONNREFUSED)
			remove_stale(c->name);
		if (client_is_gone(c))
			continue;
		if (json_array_append_new(list, c->result ?
							json_incref(c->result) :
							unresponsive(c))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_int_t number(const json_t *vm, const char *key)
{
	return json_integer_value(json_object_get(vm, key));
}

static const char *text(const json_t *vm, const char *key)
{
	const char *value = json_string_value(json_object_get(vm, key));

	return value ? value : "-";
}

static void print_vm(const json_t *vm)
{
	json_int_t seconds = number(vm, "uptime-ns") / 1000000000;
	char uptime[32];

	printf("%-20s %8" JSON_INTEGER_FORMAT " ", text(vm, "name"),
	       number(vm, "pid"));
	if (!json_object_get(vm, "memory")) {
		printf("%s\n", text(vm, "status"));
		return;
	}
	snprintf(uptime, sizeof(uptime), "%" JSON_INTEGER_FORMAT ":%02d:%02d",
		 seconds / 3600, (int)(seconds / 60 % 60), (int)(seconds % 60));
	printf("%-14s %4" JSON_INTEGER_FORMAT " %8s %10s  %s\n",
	       text(vm, "status"), number(vm, "cpus"),
	       format_size((uint64_t)number(vm, "memory")).text, uptime,
	       text(vm, "kernel"));
}

static void print_table(const json_t *list)
{
	json_t *vm;
	size_t i;

	printf("%-20s %8s %-14s %4s %8s %10s  %s\n", "NAME", "PID", "STATE",
	       "CPUS", "MEMORY", "UPTIME", "KERNEL");
	json_array_foreach(list, i, vm) {
		print_vm(vm);
	}
}

static int list_all(bool json)
{
	struct client_set set;
	json_t *list;

	if (client_set_all(&set))
		return STATUS_LKVM_FAILED;
	client_set_glance(&set);
	client_set_run(&set, ask, NULL);
	list = collect(&set);
	if (!list)
		log_err("list", "out of memory");
	else if (json)
		client_print_json(list);
	else
		print_table(list);
	client_set_release(&set);
	json_decref(list);
	return list ? STATUS_OK : STATUS_LKVM_FAILED;
}

static void add_root(const char *name, void *list)
{
	json_array_append_new(list, describe_text(name));
}

static int list_roots(bool json)
{
	json_t *list = json_array();
	int err = root_folder_each(add_root, list);

	if (err) {
		log_err("list", "cannot look for root folders: %s",
			strerror(-err));
		json_decref(list);
		return STATUS_LKVM_FAILED;
	}
	if (json)
		client_print_json(list);
	for (size_t i = 0; !json && i < json_array_size(list); i++)
		puts(json_string_value(json_array_get(list, i)));
	json_decref(list);
	return STATUS_OK;
}

int command_list(int argc, char **argv)
{
	struct list_options options = { 0 };
	int status = STATUS_OK;
	int nr_args;

	if (options_parse(list_options, "list", argc, argv, &options, &nr_args,
			  NULL))
		return STATUS_LKVM_FAILED;
	if (options.help) {
		char *help[] = { "help", "list", NULL };

		return command_help(2, help);
	}
	if (nr_args) {
		log_err("list", "list takes no arguments, got '%s'", argv[0]);
		return STATUS_LKVM_FAILED;
	}
	if (options.instances && options.roots && options.json) {
		log_err("list", "--json lists instances or root folders, not "
				"both");
		return STATUS_LKVM_FAILED;
	}
	if (options.instances || !options.roots)
		status = list_all(options.json);
	if (options.roots && status == STATUS_OK)
		status = list_roots(options.json);
	return status;
}
