/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all engines share: choosing one, queueing what exceeds its depth,
 * continuing short transfers, and the ways to write zeroes. See engine.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/engine.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

/* Zeroes are written from one buffer, aligned for O_DIRECT on any disk. */
#define ZERO_BYTES (256 * KIB)
#define ZERO_ALIGN 4096

/*
 * A batch ends when so much was moved, though more is to do: what the calls
 * are made for can use it meanwhile, on another CPU.
 */
#define BATCH_BYTES (128 * KIB)

/* Ways to write zeroes, best first; the next when a file system lacks one. */
enum zero_method { ZERO_PUNCH, ZERO_RANGE, ZERO_WRITE };

static unsigned int first_zero_method(const struct engine_io *io)
{
	return io->op == ENGINE_ALLOCATE_ZEROES ? ZERO_RANGE : ZERO_PUNCH;
}

/* The next call for @io, READ or WRITE. */
static void prepare_transfer(struct engine_io *io)
{
	struct engine_call *call = &io->call;

	call->kind = io->op == ENGINE_READ ? ENGINE_CALL_READV :
					     ENGINE_CALL_WRITEV;
	if (io->skip) {
		/* The iovec is the caller's: a cut element goes on its own. */
		io->cut.iov_base = (char *)io->iov[io->at].iov_base + io->skip;
		io->cut.iov_len = io->iov[io->at].iov_len - io->skip;
		call->iov = &io->cut;
		call->iov_count = 1;
	} else {
		call->iov = io->iov + io->at;
		call->iov_count = MIN(io->iov_count - io->at, IOV_MAX);
	}
}

static int prepare_zeroes(struct engine *engine, struct engine_io *io)
{
	struct engine_call *call = &io->call;

	if (io->method != ZERO_WRITE) {
		call->kind = ENGINE_CALL_FALLOCATE;
		call->mode = io->method == ZERO_RANGE ? FALLOC_FL_ZERO_RANGE :
							FALLOC_FL_PUNCH_HOLE;
		/* The one kind of longer file is the one that was asked for. */
		if (io->op != ENGINE_ALLOCATE_ZEROES)
			call->mode |= FALLOC_FL_KEEP_SIZE;
		return 0;
	}
	if (!engine->zeroes) {
		engine->zeroes = aligned_alloc(ZERO_ALIGN, ZERO_BYTES);
		if (!engine->zeroes)
			return -ENOMEM;
		memset(engine->zeroes, 0, ZERO_BYTES);
	}
	io->cut.iov_base = engine->zeroes;
	io->cut.iov_len = MIN(io->len - io->transferred, ZERO_BYTES);
	call->kind = ENGINE_CALL_WRITEV;
	call->iov = &io->cut;
	call->iov_count = 1;
	return 0;
}

static int prepare(struct engine *engine, struct engine_io *io)
{
	struct engine_call *call = &io->call;

	call->offset = io->offset + io->transferred;
	call->len = io->len - io->transferred;
	switch (io->op) {
	case ENGINE_READ:
	case ENGINE_WRITE:
		prepare_transfer(io);
		break;
	case ENGINE_SYNC_DATA:
		call->kind = ENGINE_CALL_FDATASYNC;
		break;
	case ENGINE_DISCARD:
		call->kind = ENGINE_CALL_FALLOCATE;
		call->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case ENGINE_WRITE_ZEROES:
	case ENGINE_ALLOCATE_ZEROES:
		return prepare_zeroes(engine, io);
	}
	return 0;
}

/* ---- one operation ------------------------------------------------------- */

static void report(struct engine *engine, struct engine_io *io, int result)
{
	engine->finished++;
	engine->batch_bytes += io->transferred;
	io->done(io, result);
}

/* Before all others: it has waited for its turn already. */
static void put_first(struct engine *engine, struct engine_io *io)
{
	io->next = engine->waiting;
	if (!io->next)
		engine->waiting_tail = &io->next;
	engine->waiting = io;
}

static void advance(struct engine_io *io, size_t bytes)
{
	io->transferred += bytes;
	if (io->op != ENGINE_READ && io->op != ENGINE_WRITE)
		return;
	io->skip += bytes;
	while (io->at < io->iov_count && io->skip >= io->iov[io->at].iov_len)
		io->skip -= io->iov[io->at++].iov_len;
}

void engine_finish(struct engine *engine, struct engine_io *io, ssize_t result)
{
	enum engine_call_kind kind = io->call.kind;
	bool transfer = kind == ENGINE_CALL_READV || kind == ENGINE_CALL_WRITEV;

	engine->active--;
	if (result == -EINTR) {
		put_first(engine, io);
	} else if (result == -EOPNOTSUPP && kind == ENGINE_CALL_FALLOCATE &&
		   io->op != ENGINE_DISCARD) {
		/* Only fallocate() is tried twice: ZERO_WRITE is the last. */
		io->method++;
		put_first(engine, io);
	} else if (result < 0) {
		report(engine, io, (int)result);
	} else if (transfer && !result) {
		/* The file has become shorter than it was when opened. */
		report(engine, io, -EIO);
	} else if (transfer) {
		advance(io, (size_t)result);
		if (io->transferred < io->len)
			put_first(engine, io);
		else
			report(engine, io, 0);
	} else {
		report(engine, io, 0);
	}
}

ssize_t engine_call_now(const struct engine_io *io)
{
	const struct engine_call *call = &io->call;
	off_t offset = (off_t)call->offset;
	ssize_t n = 0;

	switch (call->kind) {
	case ENGINE_CALL_READV:
		n = preadv(io->fd, call->iov, (int)call->iov_count, offset);
		break;
	case ENGINE_CALL_WRITEV:
		n = pwritev(io->fd, call->iov, (int)call->iov_count, offset);
		break;
	case ENGINE_CALL_FDATASYNC:
		n = fdatasync(io->fd);
		break;
	case ENGINE_CALL_FALLOCATE:
		n = fallocate(io->fd, call->mode, offset, (off_t)call->len);
		break;
	}
	return n < 0 ? -errno : n;
}

static void start(struct engine *engine, struct engine_io *io)
{
	bool ranged = io->op != ENGINE_SYNC_DATA;
	int err;

	engine->active++;
	/* Nothing to do is no business of the kernel's, which may object. */
	if (ranged && io->transferred == io->len) {
		engine->active--;
		report(engine, io, 0);
		return;
	}
	err = prepare(engine, io);
	if (err) {
		engine->active--;
		report(engine, io, err);
		return;
	}
	engine->ops->start(engine, io);
}

/* ---- the queue ----------------------------------------------------------- */

void engine_submit(struct engine *engine, struct engine_io *io)
{
	io->next = NULL;
	io->transferred = 0;
	io->at = 0;
	io->skip = 0;
	io->method = first_zero_method(io);
	*engine->waiting_tail = io;
	engine->waiting_tail = &io->next;
}

/* For what is done since the last time. */
static void end_batch(struct engine *engine)
{
	if (engine->batch_at == engine->finished)
		return;
	engine->batch_at = engine->finished;
	engine->batch_bytes = 0;
	if (engine->batch_fn)
		engine->batch_fn(engine->batch_opaque);
}

static bool may_start(const struct engine *engine)
{
	return engine->waiting && engine->active < engine->depth;
}

static void start_waiting(struct engine *engine)
{
	while (may_start(engine)) {
		struct engine_io *io = engine->waiting;

		engine->waiting = io->next;
		if (!engine->waiting)
			engine->waiting_tail = &engine->waiting;
		start(engine, io);
		if (engine->batch_bytes >= BATCH_BYTES)
			end_batch(engine);
	}
}

static void run(struct engine *engine, bool reap)
{
	engine->busy = true;
	if (reap)
		engine->ops->reap(engine);
	/* done() may have submitted more, and calls may have ended at once. */
	do {
		start_waiting(engine);
		if (engine->ops->submit)
			engine->ops->submit(engine);
	} while (may_start(engine));
	engine->busy = false;
	end_batch(engine);
}

void engine_kick(struct engine *engine)
{
	/* From within done(): the caller of that goes on to do it. */
	if (!engine->busy && engine->waiting)
		run(engine, false);
}

static void source_ready(void *opaque, uint32_t events)
{
	(void)events;
	run(opaque, true);
}

void engine_on_batch(struct engine *engine, void (*fn)(void *opaque),
		     void *opaque)
{
	engine->batch_fn = fn;
	engine->batch_opaque = opaque;
}

/* ---- life ---------------------------------------------------------------- */

int engine_init(struct engine *engine, const struct engine_ops *ops,
		enum engine_kind kind, unsigned int depth, struct loop *loop,
		int fd, uint32_t events)
{
	engine->ops = ops;
	engine->kind = kind;
	engine->depth = depth;
	engine->loop = loop;
	engine->waiting_tail = &engine->waiting;
	engine->source = (struct loop_source) {
		.fd = fd,
		.ready = source_ready,
		.opaque = engine,
	};
	return fd < 0 ? 0 : loop_add(loop, &engine->source, events);
}

void engine_destroy(struct engine *engine)
{
	if (!engine)
		return;
	loop_del(engine->loop, &engine->source);
	free(engine->zeroes);
	engine->ops->destroy(engine);
}

const char *engine_name(enum engine_kind kind)
{
	static const char *const name[] = {
		[ENGINE_AUTO] = "auto",
		[ENGINE_IO_URING] = "io_uring",
		[ENGINE_AIO] = "aio",
		[ENGINE_SYNC] = "sync",
	};

	return name[kind];
}

static int create_auto(bool direct, unsigned int depth, struct loop *loop,
		       struct engine **out)
{
	int err = engine_create_uring(direct, depth, loop, out);

	/* libaio blocks on files that are not O_DIRECT, as sync does. */
	if (err && direct)
		err = engine_create_aio(depth, loop, out);
	if (err)
		err = engine_create_sync(depth, loop, out);
	if (!err)
		log_debug("disk", "engine: %s", engine_name((*out)->kind));
	return err;
}

int engine_create(enum engine_kind kind, bool direct, unsigned int depth,
		  struct loop *loop, struct engine **out)
{
	switch (kind) {
	case ENGINE_AUTO:
		return create_auto(direct, depth, loop, out);
	case ENGINE_IO_URING:
		return engine_create_uring(direct, depth, loop, out);
	case ENGINE_AIO:
		return engine_create_aio(depth, loop, out);
	case ENGINE_SYNC:
		return engine_create_sync(depth, loop, out);
	}
	return -EINVAL;
}
