/* SPDX-License-Identifier: GPL-2.0 */
/* lkvm balloon: take memory from guests, give it back, show how much. */
#include <errno.h>
#include <stdio.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>
#include <lkvm/log.h>
#include <lkvm/vm.h>

struct balloon_options {
	struct client_choice choice;
	uint64_t inflate, deflate; /* bytes; 0: not wanted */
	bool json;
};

#define FIELD(name) offsetof(struct balloon_options, name)

const struct option_desc balloon_options[] = {
	CLIENT_OPTIONS(balloon_options),
	{ OPTION_SIZE, 'i', "inflate", "MB", "take so much more from the guest",
	  .offset = FIELD(inflate), .min = MIB, .unit = MIB },
	{ OPTION_SIZE, 'd', "deflate", "MB", "give so much back to the guest",
	  .offset = FIELD(deflate), .min = MIB, .unit = MIB },
	{ OPTION_FLAG, 0, "json", NULL, "show it as a JSON array",
	  .offset = FIELD(json) },
	{ .kind = OPTION_END },
};

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* {"memory", "target", "actual"}: bytes. */
static int look(struct client *c, json_t **out)
{
	json_t *info = NULL;
	json_t *stats = NULL;
	int err;

	err = client_execute(c, "x-lkvm-info", NULL, &info);
	if (!err)
		err = client_execute(c, "x-lkvm-balloon-stats", NULL, &stats);
	if (!err)
		*out = json_pack("{s:O*, s:O*, s:O*}", "memory",
				 json_object_get(info, "memory"), "target",
				 json_object_get(stats, "target"), "actual",
				 json_object_get(stats, "actual"));
	if (!err && !*out)
		err = client_fail(c, -ENOMEM, "out of memory");
	json_decref(info);
	json_decref(stats);
	return err;
}

static int change(struct client *c, const struct balloon_options *options,
		  const json_t *state)
{
	uint64_t memory = number(state, "memory");
	uint64_t target = number(state, "target");
	/* QMP counts what the guest keeps. */
	uint64_t keeps = memory - MIN(target, memory);

	if (options->inflate > keeps)
		return client_fail(c, -ERANGE, "the guest has only %s left",
				   format_size(keeps).text);
	if (options->deflate > target)
		return client_fail(c, -ERANGE,
				   "the balloon shall have only %s already",
				   format_size(target).text);
	keeps += options->deflate - options->inflate;
	return client_execute(c, "balloon",
			      json_pack("{s:I}", "value", (json_int_t)keeps),
			      NULL);
}

static int balloon_one(struct client *c, void *opaque)
{
	const struct balloon_options *options = opaque;
	json_t *state = NULL;
	int err = look(c, &state);

	if (!err && (options->inflate || options->deflate)) {
		err = change(c, options, state);
		json_decref(state);
		state = NULL;
		/* As it is now: the guest follows in its own time. */
		if (!err)
			err = look(c, &state);
	}
	c->result = state;
	return err;
}

static void print_table(const struct client_set *set)
{
	bool headed = false;

	for (size_t i = 0; i < set->count; i++) {
		const json_t *state = set->clients[i].result;

		if (!state)
			continue;
		if (!headed)
			printf("%-20s %10s %10s %10s\n", "NAME", "MEMORY",
			       "TARGET", "BALLOON");
		headed = true;
		printf("%-20s %10s %10s %10s\n", set->clients[i].name,
		       format_size(number(state, "memory")).text,
		       format_size(number(state, "target")).text,
		       format_size(number(state, "actual")).text);
	}
}

int command_balloon(int argc, char **argv)
{
	struct balloon_options options = { 0 };
	struct client_set set;
	int status;

	if (!client_begin(balloon_options, argc, argv, &options,
			  &options.choice, &set, &status))
		return status;
	if (options.inflate && options.deflate) {
		log_err("balloon",
			"--inflate and --deflate do not go together");
		client_set_release(&set);
		return STATUS_LKVM_FAILED;
	}
	client_set_run(&set, balloon_one, &options);
	if (options.json)
		client_set_print_json(&set, "balloon");
	else if (!options.inflate && !options.deflate)
		print_table(&set);
	status = client_set_report(&set, options.choice.all);
	client_set_release(&set);
	return status;
}
