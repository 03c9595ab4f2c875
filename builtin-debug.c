/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm debug: look at a VM that hangs, or wake it up: registers, an NMI, the
 * kernel's magic SysRq key.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>
#include <lkvm/log.h>
#include <lkvm/vm.h>

#define NO_VCPU UINT64_MAX

struct debug_options {
	struct client_choice choice;
	bool dump;
	uint64_t nmi; /* a vCPU, or NO_VCPU */
	const char *sysrq;
};

#define FIELD(name) offsetof(struct debug_options, name)

const struct option_desc debug_options[] = {
	CLIENT_OPTIONS(debug_options),
	{ OPTION_FLAG, 'd', "dump", NULL, "print the registers of all vCPUs",
	  .offset = FIELD(dump) },
	{ OPTION_UINT, 'm', "nmi", "VCPU", "send an NMI to this vCPU",
	  .offset = FIELD(nmi), .max = UINT32_MAX },
	{ OPTION_STRING, 's', "sysrq", "KEY",
	  "press SysRq and this key at the serial console",
	  .offset = FIELD(sysrq) },
	{ .kind = OPTION_END },
};

/* The texts of all vCPUs, as an array of strings, become the result. */
static int dump_registers(struct client *c)
{
	json_int_t cpus;
	json_t *info;
	int err = client_execute(c, "x-lkvm-info", NULL, &info);

	if (err)
		return err;
	cpus = json_integer_value(json_object_get(info, "cpus"));
	json_decref(info);
	c->result = json_array();
	for (json_int_t i = 0; i < cpus && !err; i++) {
		json_t *answer = NULL;

		err = client_execute(c, "x-lkvm-registers",
				     json_pack("{s:I}", "cpu-index", i),
				     &answer);
		json_array_append(c->result, json_object_get(answer, "text"));
		json_decref(answer);
	}
	return err;
}

static int debug_one(struct client *c, void *opaque)
{
	const struct debug_options *options = opaque;
	int err = 0;

	if (options->dump)
		err = dump_registers(c);
	if (!err && options->nmi != NO_VCPU)
		err = client_execute(c, "x-lkvm-nmi",
				     json_pack("{s:I}", "cpu-index",
					       (json_int_t)options->nmi),
				     NULL);
	if (!err && options->sysrq)
		err = client_execute(c, "x-lkvm-sysrq",
				     json_pack("{s:s}", "key", options->sysrq),
				     NULL);
	return err;
}

static void print_registers(const struct client_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct client *c = &set->clients[i];
		json_t *text;
		size_t at;

		if (c->result && set->count > 1)
			printf("%s:\n", c->name);
		json_array_foreach(c->result, at, text) {
			if (json_is_string(text))
				fputs(json_string_value(text), stdout);
		}
	}
}

/* Is there one thing at least to do, and can it be done? */
static bool check(const struct debug_options *options)
{
	if (!options->dump && options->nmi == NO_VCPU && !options->sysrq) {
		log_err("debug",
			"debug: nothing to do (--dump, --nmi VCPU or --sysrq KEY)");
		return false;
	}
	if (options->sysrq && (strlen(options->sysrq) != 1 ||
			       !isalnum((unsigned char)options->sysrq[0]))) {
		log_err("debug",
			"--sysrq: bad value '%s': use one letter or digit",
			options->sysrq);
		return false;
	}
	return true;
}

int command_debug(int argc, char **argv)
{
	struct debug_options options = { .nmi = NO_VCPU };
	int status = STATUS_LKVM_FAILED;
	struct client_set set;

	if (!client_begin(debug_options, argc, argv, &options, &options.choice,
			  &set, &status))
		return status;
	if (check(&options)) {
		client_set_run(&set, debug_one, &options);
		print_registers(&set);
		status = client_set_report(&set, options.choice.all);
	}
	client_set_release(&set);
	return status;
}
