/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Asynchronous I/O on host files: one engine an I/O thread, over io_uring,
 * libaio or plain system calls. Knows files, not formats.
 *
 * An engine belongs to the thread of the loop that it was created on: every
 * call and every done() is on that thread. done() is never called from within
 * engine_submit(): it comes from the loop, or from engine_wait().
 */
#ifndef LKVM_ENGINE_H
#define LKVM_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct loop;

enum engine_kind {
	ENGINE_AUTO, /* io_uring where the kernel allows it, else aio or sync */
	ENGINE_IO_URING,
	ENGINE_AIO, /* libaio; truly asynchronous with O_DIRECT only */
	ENGINE_SYNC, /* system calls on the spot; done() from the loop */
};

enum engine_op {
	ENGINE_READ,
	ENGINE_WRITE,
	ENGINE_SYNC_DATA, /* fdatasync */
	ENGINE_DISCARD, /* give the range back; it then reads as anything */
	ENGINE_WRITE_ZEROES, /* it then reads as zeroes; may deallocate */
	ENGINE_ALLOCATE_ZEROES, /* as before, but keeps blocks allocated */
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
	 * ends at the file's end gives -EIO (a read is never padded).
	 */
	void (*done)(struct engine_io *io, int result);

	/* the engine's own, from here on */
	struct engine_io *next;
	struct iovec *rest; /* what a short transfer left to do */
	uint64_t transferred;
	int result;
};

struct engine;

/*
 * An engine of @kind for up to @depth operations in flight (more are queued
 * inside), completing on @loop. @actual (may be NULL) gets the kind that
 * ENGINE_AUTO chose for files opened with @direct.
 * Returns 0, -ENOTSUP when the host does not have it, or -errno.
 */
int engine_create(enum engine_kind kind, bool direct, unsigned int depth,
		  struct loop *loop, struct engine **out,
		  enum engine_kind *actual);

/* Nothing is in flight. NULL is allowed. */
void engine_destroy(struct engine *engine);

/* Queue @io; it may wait for engine_kick() to reach the kernel. */
void engine_submit(struct engine *engine, struct engine_io *io);

/* Hand all that is queued to the kernel: once for each batch. */
void engine_kick(struct engine *engine);

/* Operations submitted and not done. */
unsigned int engine_in_flight(const struct engine *engine);

/* Wait until at least one of those is done, and call done(). */
void engine_wait(struct engine *engine);

/* "io_uring", "aio", "sync". */
const char *engine_name(enum engine_kind kind);

#endif
