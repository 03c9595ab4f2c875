/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Asynchronous I/O on host files: one engine an I/O thread, over io_uring,
 * libaio or plain system calls. Knows files, not formats.
 *
 * An engine belongs to the thread of the loop that it was created on: every
 * call and every done() is on that thread; only creating and destroying may
 * happen elsewhere, before and after the loop runs. done() comes from the
 * loop or from engine_kick(), never from engine_submit().
 * What it submits is kicked by the engine.
 */
#ifndef LKVM_ENGINE_H
#define LKVM_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <lkvm/loop.h>

enum engine_kind {
	ENGINE_AUTO, /* io_uring where the kernel allows it, else aio or sync */
	ENGINE_IO_URING,
	ENGINE_AIO, /* libaio; truly asynchronous with O_DIRECT only */
	ENGINE_SYNC, /* system calls on the spot, within engine_kick() */
};

enum engine_op {
	ENGINE_READ,
	ENGINE_WRITE,
	ENGINE_SYNC_DATA, /* fdatasync */
	ENGINE_DISCARD, /* give the range back; it then reads as zero or old */
	ENGINE_WRITE_ZEROES, /* it then reads as zeroes; may deallocate */
	ENGINE_ALLOCATE_ZEROES, /* as before, but keeps blocks allocated */
};

/* What the kernel is asked for next, for the sake of one engine_io. */
enum engine_call_kind {
	ENGINE_CALL_READV,
	ENGINE_CALL_WRITEV,
	ENGINE_CALL_FDATASYNC,
	ENGINE_CALL_FALLOCATE,
};

struct engine_call {
	enum engine_call_kind kind;
	int mode; /* FALLOCATE */
	uint64_t offset, len; /* len: FALLOCATE */
	const struct iovec *iov;
	unsigned int iov_count; /* at most IOV_MAX */
};

struct engine_io {
	enum engine_op op;
	int fd; /* a regular file or block device; not owned */
	uint64_t offset; /* bytes */
	uint64_t len; /* bytes of iov, or of the range */
	const struct iovec *iov; /* READ, WRITE: valid until done() */
	unsigned int iov_count;
	/*
	 * @result: 0, or -errno. Short transfers have been continued; one that
	 * ends at the file's end gives -EIO (a read is never padded). DISCARD
	 * gives -EOPNOTSUPP where the file system has none; zeroes are written
	 * there. Neither DISCARD nor WRITE_ZEROES makes a file longer; the
	 * other two writes do.
	 */
	void (*done)(struct engine_io *io, int result);

	/* the engine's own, from here on */
	struct engine_io *next;
	uint64_t transferred;
	unsigned int method; /* WRITE_ZEROES: which of several ways */
	unsigned int at; /* the first element of iov that is not done */
	size_t skip; /* bytes of it that are */
	struct iovec cut; /* the rest of that element */
	struct engine_call call;
};

struct engine;

/*
 * An engine of @kind for up to @depth operations in flight (more are queued
 * inside), completing on @loop. Without @direct, files go through the page
 * cache, and what is a copy to or from there may be done on the spot; none of
 * them is O_DIRECT then. ENGINE_AUTO tries what is best for files
 * that were opened with @direct, and says at debug level what it got.
 * Returns 0, -ENOTSUP when the host does not have @kind, or -errno.
 */
int engine_create(enum engine_kind kind, bool direct, unsigned int depth,
		  struct loop *loop, struct engine **out);

/* Nothing is in flight. NULL is allowed. */
void engine_destroy(struct engine *engine);

/*
 * Call @fn(@opaque) after each batch of done()s: for what costs per batch. A
 * batch may end while more is under way within the same kick.
 */
void engine_on_batch(struct engine *engine, void (*fn)(void *opaque),
		     void *opaque);

/* Queue @io; it may wait for engine_kick() to reach the kernel. */
void engine_submit(struct engine *engine, struct engine_io *io);

/* Hand all that is queued to the kernel: once for each batch. */
void engine_kick(struct engine *engine);

/* "auto", "io_uring", "aio", "sync". */
const char *engine_name(enum engine_kind kind);

/* ---- between engine.c and the kinds -------------------------------------- */

struct engine_ops {
	/*
	 * Take @io->call. May call engine_finish() at once; otherwise it goes
	 * to the kernel with the next submit().
	 */
	void (*start)(struct engine *engine, struct engine_io *io);
	/* Hand what was started to the kernel. Optional. */
	void (*submit)(struct engine *engine);
	/* engine_finish() what is complete. NULL: nothing outlives start(). */
	void (*reap)(struct engine *engine);
	void (*destroy)(struct engine *engine);
};

/* First member of each kind's own struct; set up by engine_init(). */
struct engine {
	const struct engine_ops *ops;
	enum engine_kind kind; /* never ENGINE_AUTO */
	unsigned int depth;
	struct loop *loop;
	struct loop_source source; /* fd: readable when reap() has work */
	struct engine_io *waiting, **waiting_tail;
	unsigned int active; /* with the kind: started, not finished */
	uint64_t finished; /* done() was called so often */
	bool busy; /* inside start(), submit() or reap() */
	void *zeroes; /* to be written; made when first needed */
	void (*batch_fn)(void *opaque);
	void *batch_opaque;
	uint64_t batch_at; /* finished, at the last batch_fn() */
	uint64_t batch_bytes; /* transferred since */
};

/*
 * Set up the zeroed @engine. @fd is watched for @events (EPOLL*), at which reap() is
 * called (-1: nothing is).
 * Returns 0 or -errno, and nothing is left behind.
 */
int engine_init(struct engine *engine, const struct engine_ops *ops,
		enum engine_kind kind, unsigned int depth, struct loop *loop,
		int fd, uint32_t events);

/* @io's call returned @result: bytes, 0, or -errno. */
void engine_finish(struct engine *engine, struct engine_io *io, ssize_t result);

/* Make @io's call on the spot. Returns what engine_finish() takes. */
ssize_t engine_call_now(const struct engine_io *io);

/* The kinds. Each returns 0, -ENOTSUP or -errno. */
int engine_create_uring(bool direct, unsigned int depth, struct loop *loop,
			struct engine **out);
int engine_create_aio(unsigned int depth, struct loop *loop,
		      struct engine **out);
int engine_create_sync(unsigned int depth, struct loop *loop,
		       struct engine **out);

#endif
