/* SPDX-License-Identifier: GPL-2.0 */
/* lkvm stat: the counters of VMs, or what their guests say of their memory. */
#include <stdio.h>
#include <string.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>
#include <lkvm/stats.h>

struct stat_options {
	struct client_choice choice;
	bool memory;
	bool json;
};

#define FIELD(name) offsetof(struct stat_options, name)

const struct option_desc stat_options[] = {
	CLIENT_OPTIONS(stat_options),
	{ OPTION_FLAG, 'm', "memory", NULL,
	  "what the guest says of its memory, by its balloon",
	  .offset = FIELD(memory) },
	{ OPTION_FLAG, 0, "json", NULL, "as a JSON array",
	  .offset = FIELD(json) },
	{ .kind = OPTION_END },
};

static int ask(struct client *c, void *opaque)
{
	const struct stat_options *options = opaque;

	return client_execute(
		c, options->memory ? "x-lkvm-balloon-stats" : "x-lkvm-stats",
		NULL, &c->result);
}

static void print_integers(const char *who, json_t *values)
{
	struct stats_sink sink = { .opaque = stdout };
	const char *key;
	json_t *value;

	json_object_foreach(values, key, value)
		if (json_is_integer(value))
			stats_print(&sink, who, key,
				    (uint64_t)json_integer_value(value));
}

static void print_table(const struct client *c)
{
	const char *key;
	json_t *value;

	printf("%-10s %-24s %12s\n", "who", "what", "count");
	/* Of --memory, the host's numbers stand beside the guest's. */
	print_integers("balloon", c->result);
	json_object_foreach(c->result, key, value) {
		print_integers(key, value);
	}
}

static void print_tables(const struct client_set *set)
{
	const char *blank = "";

	for (size_t i = 0; i < set->count; i++) {
		if (!set->clients[i].result)
			continue;
		if (set->count > 1)
			printf("%s%s:\n", blank, set->clients[i].name);
		print_table(&set->clients[i]);
		blank = "\n";
	}
}

int command_stat(int argc, char **argv)
{
	struct stat_options options = { 0 };
	struct client_set set;
	int status;

	if (!client_begin(stat_options, argc, argv, &options, &options.choice,
			  &set, &status))
		return status;
	client_set_run(&set, ask, &options);
	if (options.json)
		client_set_print_json(&set,
				      options.memory ? "memory" : "stats");
	else
		print_tables(&set);
	status = client_set_report(&set, options.choice.all);
	client_set_release(&set);
	return status;
}
