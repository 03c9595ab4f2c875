/* SPDX-License-Identifier: GPL-2.0 */
/* Option tables: parsing and help from one description. See options.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/log.h>
#include <lkvm/options.h>
#include <lkvm/util.h>

/* How an option is called in a message: "--mem", "-m", "ro in --disk". */
struct option_label {
	char text[96];
};

static int bad_value(const struct option_label *label, const char *value,
		     const char *why)
{
	log_err("options", "%s: bad value '%s': %s", label->text, value, why);
	return -EINVAL;
}

static int set_enum(const struct option_desc *desc,
		    const struct option_label *label, int *field,
		    const char *value)
{
	char list[160] = "";
	size_t len = 0;

	for (int i = 0; desc->choices[i]; i++) {
		if (!strcmp(desc->choices[i], value)) {
			*field = i;
			return 0;
		}
		if (len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len,
						"%s%s", i ? ", " : "use ",
						desc->choices[i]);
	}
	return bad_value(label, value, list);
}

/* Sizes and counts share their limits and the words for them. */
static int set_number(const struct option_desc *desc,
		      const struct option_label *label, uint64_t *field,
		      const char *value)
{
	bool size = desc->kind == OPTION_SIZE;
	uint64_t max = desc->max ? desc->max : UINT64_MAX;
	bool tiny = false;
	uint64_t number;
	char why[96];
	int err;

	if (size) {
		err = parse_size(value, desc->unit ? desc->unit : 1, &number);
		tiny = !err && number < desc->min;
		if (!err && (tiny || number > max))
			err = -ERANGE;
	} else {
		err = parse_uint(value, desc->min, max, &number);
	}
	if (err == -EINVAL)
		return bad_value(label, value,
				 size ? "use a number and one of B K M G T P" :
					"use a whole number");
	if (err && size && desc->max)
		snprintf(why, sizeof(why), "use %s to %s",
			 format_size(desc->min).text, format_size(max).text);
	else if (err && size && tiny)
		snprintf(why, sizeof(why), "use at least %s",
			 format_size(desc->min).text);
	else if (err && size)
		snprintf(why, sizeof(why), "it is too large");
	else if (err)
		snprintf(why, sizeof(why), "use %" PRIu64 " to %" PRIu64,
			 desc->min, max);
	if (err)
		return bad_value(label, value, why);
	*field = number;
	return 0;
}

static int set_seconds(const struct option_desc *desc,
		       const struct option_label *label, uint64_t *field,
		       const char *value)
{
	uint64_t ns;
	char why[64];
	int err = parse_seconds(value, &ns);

	if (err == -EINVAL)
		return bad_value(label, value, "use a number of seconds");
	if (err || ns < desc->min || ns > desc->max) {
		snprintf(why, sizeof(why), "use %g to %.0f seconds",
			 (double)desc->min / 1e9, (double)desc->max / 1e9);
		return bad_value(label, value, why);
	}
	*field = ns;
	return 0;
}

static int set_flag(const struct option_label *label, bool *field,
		    const char *value)
{
	bool on = !value || !strcmp(value, "on");

	if (!on && strcmp(value, "off") != 0)
		return bad_value(label, value, "use on or off");
	*field = on;
	return 0;
}

/* @value is NULL when there is none; few kinds may do without. */
static int set_option(const struct option_desc *desc,
		      const struct option_label *label, void *target,
		      const char *value)
{
	void *field = (char *)target + desc->offset;

	if (desc->kind == OPTION_FLAG)
		return set_flag(label, field, value);
	if (desc->kind == OPTION_CALL && desc->optional)
		return desc->call(target, desc, value);
	if (!value) {
		log_err("options", "%s needs a value: %s", label->text,
			desc->metavar);
		return -EINVAL;
	}
	switch (desc->kind) {
	case OPTION_STRING:
		if (!*value)
			return bad_value(label, value, "it is empty");
		*(const char **)field = value;
		return 0;
	case OPTION_UINT:
	case OPTION_SIZE:
		return set_number(desc, label, field, value);
	case OPTION_SECONDS:
		return set_seconds(desc, label, field, value);
	case OPTION_ENUM:
		return set_enum(desc, label, field, value);
	case OPTION_CALL:
		return desc->call(target, desc, value);
	case OPTION_FLAG:
	case OPTION_END:
		break;
	}
	return -EINVAL;
}

static const struct option_desc *find_letter(const struct option_desc *table,
					     char letter)
{
	for (; table->kind != OPTION_END; table++)
		if (table->letter && table->letter == letter)
			return table;
	return NULL;
}

/*
 * An exact name, or else a prefix that only one name has; @ambiguous is set
 * to the second when there are more.
 */
static const struct option_desc *find_name(const struct option_desc *table,
					   const char *name, size_t len,
					   const struct option_desc **ambiguous)
{
	const struct option_desc *found = NULL;
	const struct option_desc *second = NULL;

	for (; table->kind != OPTION_END; table++) {
		if (strncmp(table->name, name, len) != 0)
			continue;
		if (!table->name[len])
			return table;
		if (!found)
			found = table;
		else if (!second)
			second = table;
	}
	*ambiguous = second;
	return found;
}

struct parse {
	const struct option_desc *table;
	const char *command;
	int argc;
	char **argv;
	int at; /* the argument that is being looked at */
	void *target;
};

static int unknown_option(const struct parse *p, const char *arg)
{
	log_err("options", "unknown option '%s' (see 'lkvm help %s')", arg,
		p->command);
	return -EINVAL;
}

/* The option's value: attached, or else the next argument. */
static int take_value(struct parse *p, const struct option_desc *desc,
		      const struct option_label *label, const char *attached)
{
	if (!attached && desc->kind != OPTION_FLAG && !desc->optional &&
	    p->at + 1 < p->argc)
		attached = p->argv[++p->at];
	return set_option(desc, label, p->target, attached);
}

static int parse_long(struct parse *p)
{
	const char *name = p->argv[p->at] + 2;
	size_t len = strcspn(name, "=");
	const struct option_desc *other = NULL;
	const struct option_desc *desc = find_name(p->table, name, len, &other);
	struct option_label label;

	if (!desc)
		return unknown_option(p, p->argv[p->at]);
	if (other) {
		log_err("options", "'--%.*s' could be --%s or --%s", (int)len,
			name, desc->name, other->name);
		return -EINVAL;
	}
	snprintf(label.text, sizeof(label.text), "--%s", desc->name);
	return take_value(p, desc, &label, name[len] ? name + len + 1 : NULL);
}

static int parse_short(struct parse *p)
{
	const char *arg = p->argv[p->at];
	const struct option_desc *desc = find_letter(p->table, arg[1]);
	struct option_label label;

	if (!desc || (!desc->metavar && arg[2]))
		return unknown_option(p, arg);
	snprintf(label.text, sizeof(label.text), "-%c (--%s)", desc->letter,
		 desc->name);
	return take_value(p, desc, &label, arg[2] ? arg + 2 : NULL);
}

int options_parse(const struct option_desc *table, const char *command,
		  int argc, char **argv, void *target, int *nr_args,
		  int *dashdash)
{
	struct parse p = {
		.table = table,
		.command = command,
		.argc = argc,
		.argv = argv,
		.target = target,
	};
	int args = 0;
	int rest = -1;

	for (p.at = 1; p.at < argc && rest < 0; p.at++) {
		char *arg = argv[p.at];
		int err = 0;

		if (!strcmp(arg, "--"))
			rest = p.at + 1;
		else if (!strncmp(arg, "--", 2))
			err = parse_long(&p);
		else if (arg[0] == '-' && arg[1])
			err = parse_short(&p);
		else
			argv[args++] = arg;
		if (err)
			return err;
	}
	*nr_args = args;
	if (dashdash)
		*dashdash = rest < 0 ? argc : rest;
	return 0;
}

char *options_cut(char *list)
{
	char *to = list;

	for (char *from = list; *from; from++) {
		if (*from == ',' && from[1] != ',') {
			*to = '\0';
			return from + 1;
		}
		if (*from == ',')
			from++;
		*to++ = *from;
	}
	*to = '\0';
	return NULL;
}

static int unknown_key(const struct option_desc *table, const char *what,
		       const char *key)
{
	char keys[256] = "";
	size_t len = 0;

	for (; table->kind != OPTION_END && len < sizeof(keys); table++)
		len += (size_t)snprintf(keys + len, sizeof(keys) - len, "%s%s",
					len ? ", " : "", table->name);
	log_err("options", "%s: unknown key '%s' (it has: %s)", what, key,
		keys);
	return -EINVAL;
}

static const struct option_desc *find_key(const struct option_desc *table,
					  const char *key)
{
	for (; table->kind != OPTION_END; table++)
		if (!strcmp(table->name, key))
			return table;
	return NULL;
}

int options_parse_list(const struct option_desc *table,
		       const char *const *positional, const char *what,
		       char *list, void *target)
{
	for (char *item = list, *next; item; item = next) {
		const struct option_desc *desc = NULL;
		bool whole = positional && item == list;
		struct option_label label;
		char *value = NULL;
		int err;

		next = options_cut(item);
		if (!whole) {
			value = strchr(item, '=');
			if (value)
				*value++ = '\0';
			desc = find_key(table, item);
		}
		if (!desc && !value && positional && *positional) {
			desc = find_key(table, *positional++);
			value = item;
		}
		if (!desc)
			return unknown_key(table, what, item);
		snprintf(label.text, sizeof(label.text), "%s: %s", what,
			 desc->name);
		err = set_option(desc, &label, target, value);
		if (err)
			return err;
	}
	return 0;
}

static void print_line(const char *left, const char *help)
{
	/* A long left column pushes its text to a line of its own. */
	if (strlen(left) > 30)
		printf("%s\n%32s%s\n", left, "", help);
	else
		printf("%-32s%s\n", left, help);
}

static void print_option(const struct option_desc *desc)
{
	char left[80];

	snprintf(left, sizeof(left), "  %c%c%s --%s%s%s",
		 desc->letter ? '-' : ' ', desc->letter ? desc->letter : ' ',
		 desc->letter ? "," : " ", desc->name,
		 desc->metavar && !desc->optional ? " " : "",
		 desc->metavar ? desc->metavar : "");
	print_line(left, desc->help);
}

static void print_keys(const struct option_desc *list)
{
	printf("\nKeys of --%s:\n", list->name);
	for (const struct option_desc *key = list->keys;
	     key->kind != OPTION_END; key++) {
		char left[80];

		snprintf(left, sizeof(left), "  %s%s%s", key->name,
			 key->metavar ? "=" : "[=on|off]",
			 key->metavar ? key->metavar : "");
		print_line(left, key->help);
	}
}

void options_print_help(const struct option_desc *table)
{
	const struct option_desc *desc;

	for (desc = table; desc->kind != OPTION_END; desc++)
		print_option(desc);
	for (desc = table; desc->kind != OPTION_END; desc++)
		if (desc->keys)
			print_keys(desc);
}
