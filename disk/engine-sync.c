/* SPDX-License-Identifier: GPL-2.0 */
/* The engine of plain system calls: each is over when it was started. */
#include <errno.h>
#include <stdlib.h>

#include <lkvm/engine.h>

static void sync_start(struct engine *engine, struct engine_io *io)
{
	engine_finish(engine, io, engine_call_now(io));
}

static void sync_destroy(struct engine *engine)
{
	free(engine);
}

static const struct engine_ops sync_ops = {
	.start = sync_start,
	.destroy = sync_destroy,
};

int engine_create_sync(unsigned int depth, struct loop *loop,
		       struct engine **out)
{
	struct engine *engine = calloc(1, sizeof(*engine));

	if (!engine)
		return -ENOMEM;
	/* There is nothing to watch, so nothing to fail. */
	engine_init(engine, &sync_ops, ENGINE_SYNC, depth, loop, -1, 0);
	*out = engine;
	return 0;
}
