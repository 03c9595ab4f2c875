/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Option tables: one description that parses, documents and completes.
 *
 * The same table form serves a command's long and short options and the
 * key=value lists of a device (`-d disk.img,ro`). Parsing writes into a
 * caller's struct at each option's offset; strings point into argv (or into
 * the list's own copy) and are not copied.
 */
#ifndef LKVM_OPTIONS_H
#define LKVM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
	OPTION_END, /* terminates a table */
	OPTION_FLAG, /* bool; no value (in a list: `key` or `key=on|off`) */
	OPTION_STRING, /* const char *; not empty */
	OPTION_UINT, /* uint64_t in [min, max] */
	OPTION_SIZE, /* uint64_t bytes in [min, max]; bare numbers x unit */
	OPTION_SECONDS, /* uint64_t nanoseconds in [min, max]; "1.5" is fine */
	OPTION_ENUM, /* int: index into the NULL-ended list `choices` */
	OPTION_CALL, /* call() does it all; may repeat */
};

struct option_desc {
	enum option_kind kind;
	char letter; /* short form, 0: none */
	const char *name; /* long form or key; every option has one */
	const char *metavar; /* "FILE", shown in help; NULL for flags */
	const char *help; /* one line */
	size_t offset; /* of the field in the target struct */
	uint64_t min, max; /* of these; max 0: no limit (SECONDS has one) */
	uint64_t unit; /* OPTION_SIZE; 0 means 1 */
	const char *const *choices; /* OPTION_ENUM */
	/*
	 * OPTION_CALL: returns 0, or a negative errno after saying what is
	 * wrong.
	 */
	int (*call)(void *target, const struct option_desc *desc,
		    const char *value);
	/* OPTION_CALL that takes a list: what may stand in it; for the help */
	const struct option_desc *keys;
	/*
	 * OPTION_CALL: a value comes by `--name=value` only, or is NULL; the
	 * metavar is "[=VALUE]" then.
	 */
	bool optional;
	const void *arg; /* the caller's own; for call() */
};

/*
 * Parse @argv[1..] against @table into @target. Options may stand between
 * positional arguments; `--name value`, `--name=value`, `-n value` and
 * `-nvalue` are accepted, also a prefix of a name that is unique; `--` ends
 * the options. Positional arguments are moved to the front of @argv (from
 * index 0) and counted in @nr_args; the index of what follows `--` is stored
 * in @dashdash when that is not NULL (@argc when there is none).
 * @command is for messages ("run").
 * Returns 0, or -EINVAL after one line on stderr that names the option.
 */
int options_parse(const struct option_desc *table, const char *command,
		  int argc, char **argv, void *target, int *nr_args,
		  int *dashdash);

/*
 * Parse @list, "key=value,key,...", which is modified, into @target.
 * A comma in a value is written as two. @what names the list in messages
 * ("--disk"). @positional, if not NULL, is a NULL-ended list of keys whose
 * values may stand without them: the first one's is the list's first item,
 * whatever it looks like; the others' are items that are no key. Returns as
 * options_parse().
 */
int options_parse_list(const struct option_desc *table,
		       const char *const *positional, const char *what,
		       char *list, void *target);

/*
 * End the first item of @list at its comma, in place, folding each ",," to
 * one. Returns what follows the comma, or NULL when there was none.
 */
char *options_cut(char *list);

/* Print one aligned line an option to stdout, then those of their lists. */
void options_print_help(const struct option_desc *table);

#endif
