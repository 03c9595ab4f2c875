/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine of RAM alone, and how a kernel looks at the tables in it: for the
 * tests of x86/acpi.c and x86/mptable.c.
 */
#ifndef TESTS_UNIT_TABLES_H
#define TESTS_UNIT_TABLES_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/pci.h>
#include <lkvm/x86.h>

struct fixture {
	struct machine machine;
	uint8_t *ram;
};

static inline int setup_ram(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	memory_init(&f->machine.memory, -1);
	if (memory_add_ram(&f->machine.memory, 0, 16 * MIB))
		return -1;
	f->ram = guest_map(&f->machine.memory, 0, 16 * MIB);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	memory_release(&f->machine.memory);
	free(f);
	return 0;
}

static inline uint64_t load(const uint8_t *p, size_t bytes)
{
	uint64_t value = 0;

	memcpy(&value, p, bytes);
	return le64toh(value);
}

static inline uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t total = 0;

	while (len--)
		total += *p++;
	return total;
}

#endif
