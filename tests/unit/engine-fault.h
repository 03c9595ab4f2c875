/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An engine for tests that does what disks do on bad days: errors, short
 * transfers, completions late and in any order, and losing what no flush
 * covered when the power goes. Configured by struct faults, which the test may
 * change at any time.
 */
#ifndef TESTS_ENGINE_FAULT_H
#define TESTS_ENGINE_FAULT_H

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/engine.h>
#include <lkvm/util.h>

struct faults {
	unsigned int seed; /* of rand_r() */
	unsigned int error_permille; /* of calls give error */
	int error; /* -EIO, -ENOSPC */
	bool spare_reads; /* no errors for those */
	unsigned int short_permille; /* of transfers move one part only */
	bool reorder; /* complete in any order, one each turn */
	int record_fd; /* what power cuts are for; -1: none */
};

/* Something that a power cut may undo. */
struct fault_write {
	struct fault_write *next;
	uint64_t offset, len;
	uint8_t data[];
};

struct fault_engine {
	struct engine engine;
	struct faults *faults;
	int event_fd;
	struct engine_io *started; /* newest first */
	unsigned int count;
	/* Power cuts: what is stable, and what came since, oldest first. */
	uint8_t *stable;
	uint64_t stable_len;
	struct fault_write *writes, **writes_tail;
};

static inline bool fault_chance(struct faults *faults, unsigned int permille)
{
	return (unsigned int)rand_r(&faults->seed) % 1000 < permille;
}

static inline void fault_record(struct fault_engine *fault,
				const struct engine_io *io, uint64_t len)
{
	struct fault_write *write = malloc(sizeof(*write) + len);

	write->next = NULL;
	write->offset = io->call.offset;
	write->len = len;
	memset(write->data, 0, len);
	if (io->call.kind == ENGINE_CALL_WRITEV)
		iov_to_buf(io->call.iov, io->call.iov_count, 0, write->data,
			   len);
	*fault->writes_tail = write;
	fault->writes_tail = &write->next;
}

/* Bring a range of @write to @image, which has @len bytes. */
static inline void fault_apply(const struct fault_write *write, uint64_t at,
			       uint64_t n, uint8_t *image, uint64_t len)
{
	if (write->offset + at >= len)
		return;
	n = MIN(n, len - write->offset - at);
	memcpy(image + write->offset + at, write->data + at, n);
}

static inline void fault_make_stable(struct fault_engine *fault)
{
	while (fault->writes) {
		struct fault_write *write = fault->writes;

		fault_apply(write, 0, write->len, fault->stable,
			    fault->stable_len);
		fault->writes = write->next;
		free(write);
	}
	fault->writes_tail = &fault->writes;
}

/*
 * The power goes: the recorded file has what was stable and, of what came
 * since, any sectors.
 */
static inline void fault_power_cut(struct engine *engine)
{
	struct fault_engine *fault =
		container_of(engine, struct fault_engine, engine);
	struct fault_write *write;

	for (write = fault->writes; write; write = write->next)
		for (uint64_t at = 0; at < write->len; at += 512)
			if (fault_chance(fault->faults, 500))
				fault_apply(write, at,
					    MIN(512, write->len - at),
					    fault->stable, fault->stable_len);
	while (fault->writes) {
		write = fault->writes;
		fault->writes = write->next;
		free(write);
	}
	fault->writes_tail = &fault->writes;
	(void)!pwrite(fault->faults->record_fd, fault->stable,
		      fault->stable_len, 0);
}

static inline ssize_t fault_call(struct fault_engine *fault,
				 struct engine_io *io)
{
	struct faults *faults = fault->faults;
	struct engine_call *call = &io->call;
	bool transfer = call->kind == ENGINE_CALL_READV ||
			call->kind == ENGINE_CALL_WRITEV;
	struct iovec part;
	ssize_t n;

	if (!(faults->spare_reads && call->kind == ENGINE_CALL_READV) &&
	    fault_chance(faults, faults->error_permille))
		return faults->error;
	if (transfer && fault_chance(faults, faults->short_permille)) {
		part = call->iov[0];
		if (part.iov_len > 1)
			part.iov_len = 1 + (unsigned int)rand_r(&faults->seed) %
						   (part.iov_len - 1);
		call->iov = &part;
		call->iov_count = 1;
	}
	n = engine_call_now(io);
	if (io->fd != faults->record_fd || n < 0)
		return n;
	if (call->kind == ENGINE_CALL_WRITEV)
		fault_record(fault, io, (uint64_t)n);
	else if (call->kind == ENGINE_CALL_FALLOCATE)
		fault_record(fault, io, call->len);
	else if (call->kind == ENGINE_CALL_FDATASYNC)
		fault_make_stable(fault);
	return n;
}

static inline void fault_start(struct engine *engine, struct engine_io *io)
{
	struct fault_engine *fault =
		container_of(engine, struct fault_engine, engine);

	io->next = fault->started;
	fault->started = io;
	fault->count++;
	eventfd_write(fault->event_fd, 1);
}

static inline void fault_reap(struct engine *engine)
{
	struct fault_engine *fault =
		container_of(engine, struct fault_engine, engine);
	unsigned int left = fault->faults->reorder ? 1 : fault->count;
	eventfd_t count;

	eventfd_read(fault->event_fd, &count);
	while (left-- && fault->count) {
		struct engine_io **at = &fault->started;
		unsigned int skip = fault->count - 1; /* the oldest */
		struct engine_io *io;

		if (fault->faults->reorder)
			skip = (unsigned int)rand_r(&fault->faults->seed) %
			       fault->count;
		while (skip--)
			at = &(*at)->next;
		io = *at;
		*at = io->next;
		fault->count--;
		engine_finish(engine, io, fault_call(fault, io));
	}
	if (fault->count)
		eventfd_write(fault->event_fd, 1);
}

static inline void fault_destroy(struct engine *engine)
{
	struct fault_engine *fault =
		container_of(engine, struct fault_engine, engine);

	if (fault->stable)
		fault_make_stable(fault);
	free(fault->stable);
	close(fault->event_fd);
	free(fault);
}

static inline struct engine *engine_create_fault(struct faults *faults,
						 unsigned int depth,
						 struct loop *loop)
{
	static const struct engine_ops fault_ops = {
		.start = fault_start,
		.reap = fault_reap,
		.destroy = fault_destroy,
	};
	struct fault_engine *fault = calloc(1, sizeof(*fault));
	struct stat st;

	fault->faults = faults;
	fault->writes_tail = &fault->writes;
	fault->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (faults->record_fd >= 0 && !fstat(faults->record_fd, &st)) {
		fault->stable_len = (uint64_t)st.st_size;
		fault->stable = malloc(fault->stable_len);
		(void)!pread(faults->record_fd, fault->stable,
			     fault->stable_len, 0);
	}
	engine_init(&fault->engine, &fault_ops, ENGINE_SYNC, depth, loop,
		    fault->event_fd, EPOLLIN);
	return &fault->engine;
}

#endif
