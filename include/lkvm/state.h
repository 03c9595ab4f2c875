/* SPDX-License-Identifier: GPL-2.0 */
/*
 * State tables: the fields of a device that a guest can change and observe.
 *
 * A table describes the modelled device and never dumps a struct. Today it
 * drives reset: state_reset() gives every field the value that the
 * specification names. Snapshots will read the same tables, which is why each
 * field has a name and the version that introduced it.
 */
#ifndef LKVM_STATE_H
#define LKVM_STATE_H

#include <stddef.h>
#include <stdint.h>

struct state_field {
	const char *name; /* NULL ends a table */
	size_t offset; /* of the first element in the device's struct */
	uint16_t width; /* bytes an element: 1, 2, 4 or 8 */
	uint16_t count; /* elements */
	uint16_t version; /* first version of the table that has it */
	uint64_t reset; /* value after reset, of every element */
};

struct state_table {
	const char *name;
	uint16_t version;
	const struct state_field *fields;
};

/* A scalar or array member of @type; enum and bool members are fine too. */
#define STATE_FIELD(type, member, since, reset_value)              \
	{                                                          \
		.name = #member, .offset = offsetof(type, member), \
		.width = sizeof(((type *)0)->member), .count = 1,  \
		.version = (since), .reset = (reset_value),        \
	}
#define STATE_ARRAY(type, member, since, reset_value)              \
	{                                                          \
		.name = #member, .offset = offsetof(type, member), \
		.width = sizeof(((type *)0)->member[0]),           \
		.count = sizeof(((type *)0)->member) /             \
			 sizeof(((type *)0)->member[0]),           \
		.version = (since), .reset = (reset_value),        \
	}
#define STATE_END            \
	{                    \
		.name = NULL \
	}

/* Set each field of @object to its reset value. The caller holds its lock. */
void state_reset(const struct state_table *table, void *object);

#endif
