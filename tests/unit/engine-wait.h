/* SPDX-License-Identifier: GPL-2.0 */
/* For tests of engines on a loop that nobody runs: what it would do. */
#ifndef TESTS_ENGINE_WAIT_H
#define TESTS_ENGINE_WAIT_H

#include <poll.h>

#include <lkvm/engine.h>

/* Operations submitted and not done. */
static inline unsigned int engine_in_flight(const struct engine *engine)
{
	unsigned int count = engine->active;

	for (const struct engine_io *io = engine->waiting; io; io = io->next)
		count++;
	return count;
}

/* Wait until at least one of those is done. Not from within done(). */
static inline void engine_wait(struct engine *engine)
{
	uint64_t before = engine->finished;

	engine_kick(engine);
	while (engine_in_flight(engine) && engine->finished == before) {
		struct pollfd pollfd = { engine->source.fd, POLLIN, 0 };

		poll(&pollfd, 1, -1);
		engine->source.ready(engine->source.opaque, POLLIN);
	}
}

#endif
