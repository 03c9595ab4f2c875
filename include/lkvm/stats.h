/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counters that somebody wants to see: whoever has some gives them, a row
 * each, to a sink, which prints them or does something else with them.
 */
#ifndef LKVM_STATS_H
#define LKVM_STATS_H

#include <stdint.h>

struct stats_sink {
	void (*row)(struct stats_sink *sink, const char *who, const char *what,
		    uint64_t count);
	void *opaque; /* row()'s own */
};

/* One row: who ("vda"), what ("read-bytes"), and how many. */
static inline void stats_count(struct stats_sink *sink, const char *who,
			       const char *what, uint64_t count)
{
	sink->row(sink, who, what, count);
}

/* A row of a sink that prints, a line each; its opaque is the FILE. */
void stats_print(struct stats_sink *sink, const char *who, const char *what,
		 uint64_t count);

#endif
