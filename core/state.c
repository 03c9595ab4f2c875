/* SPDX-License-Identifier: GPL-2.0 */
/* State tables: see state.h. */
#include <string.h>

#include <lkvm/state.h>

void state_reset(const struct state_table *table, void *object)
{
	for (const struct state_field *f = table->fields; f->name; f++) {
		char *at = (char *)object + f->offset;

		/* Little-endian host: the low bytes are the narrow value. */
		for (unsigned int i = 0; i < f->count; i++)
			memcpy(at + (size_t)i * f->width, &f->reset, f->width);
	}
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "state_reset() takes the low bytes of a reset value first");
