/* SPDX-License-Identifier: GPL-2.0 */
/*
 * disk/engine*.c: what each kind of engine promises, on a file of the folder
 * for temporary files; and what they do when the kernel refuses.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/engine.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#include "engine-fault.h"
#include "engine-wait.h"

#define SIZE (1 * MIB)
#define DEPTH 4

/* A kind for what the tests alone can make happen, and a kind's other half. */
#define ENGINE_FAULT 4
#define ENGINE_URING_CACHED 5

/* ---- what the kernel says, if a test wants ------------------------------- */

static struct {
	int submit_error; /* of io_uring_submit() or io_submit(); once */
	int submit_always; /* of the same; for good */
	int uring_error, aio_error; /* of io_uring_queue_init(), io_setup() */
	int fallocate_error;
	unsigned int fallocates;
	unsigned int most; /* that io_submit() takes at once */
	int waits_fd; /* where preadv2() knows no RWF_NOWAIT, plus 1 */
	int read_fd; /* of the last preadv() */
} kernel;

int io_uring_submit(struct io_uring *ring)
{
	int (*real)(struct io_uring * ring) = dlsym(RTLD_NEXT, __func__);
	int err = kernel.submit_error;

	kernel.submit_error = kernel.submit_always;
	return err ? err : real(ring);
}

int io_uring_queue_init(unsigned int entries, struct io_uring *ring,
			unsigned int flags)
{
	int (*real)(unsigned int entries, struct io_uring *ring,
		    unsigned int flags) = dlsym(RTLD_NEXT, __func__);

	return kernel.uring_error ? kernel.uring_error :
				    real(entries, ring, flags);
}

int io_setup(int maxevents, io_context_t *ctxp)
{
	int (*real)(int maxevents, io_context_t *ctxp) =
		dlsym(RTLD_NEXT, __func__);

	return kernel.aio_error ? kernel.aio_error : real(maxevents, ctxp);
}

int io_submit(io_context_t ctx, long nr, struct iocb *ios[])
{
	int (*real)(io_context_t ctx, long nr, struct iocb *ios[]) =
		dlsym(RTLD_NEXT, __func__);
	int err = kernel.submit_error;

	kernel.submit_error = kernel.submit_always;
	if (err)
		return err;
	return real(ctx, kernel.most ? MIN(nr, kernel.most) : nr, ios);
}

ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset,
		int flags)
{
	ssize_t (*real)(int fd, const struct iovec *iov, int count,
			off_t offset, int flags) = dlsym(RTLD_NEXT, __func__);

	if (fd + 1 != kernel.waits_fd)
		return real(fd, iov, count, offset, flags);
	errno = EOPNOTSUPP;
	return -1;
}

ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
	ssize_t (*real)(int fd, const struct iovec *iov, int count,
			off_t offset) = dlsym(RTLD_NEXT, __func__);

	kernel.read_fd = fd;
	return real(fd, iov, count, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	int (*real)(int fd, int mode, off_t offset, off_t len) =
		dlsym(RTLD_NEXT, __func__);

	kernel.fallocates++;
	if (kernel.fallocate_error) {
		errno = -kernel.fallocate_error;
		return -1;
	}
	return real(fd, mode, offset, len);
}

/* ---- fixture ------------------------------------------------------------- */

struct fixture {
	unsigned int kind;
	char path[64];
	int fd;
	struct loop *loop;
	struct engine *engine;
	struct faults faults;
	uint8_t *want; /* what the file should hold: SIZE bytes */
	bool submitting; /* no done() may come */
	unsigned int done, failed, batches;
	int error; /* of the last that failed */
	unsigned int chain; /* done() submits so many more */
	struct engine_io chained;
};

struct op {
	struct engine_io io;
	struct fixture *f;
	struct iovec iov;
};

static void op_done(struct engine_io *io, int result)
{
	struct op *op = container_of(io, struct op, io);

	assert_false(op->f->submitting);
	op->f->done++;
	if (result) {
		op->f->failed++;
		op->f->error = result;
	}
}

static void batch_done(void *opaque)
{
	struct fixture *f = opaque;

	f->batches++;
}

static void prepare(struct fixture *f, struct op *op, enum engine_op kind,
		    uint64_t offset, void *data, uint64_t len)
{
	memset(op, 0xee, sizeof(*op)); /* nothing is expected to be zero */
	op->f = f;
	op->iov.iov_base = data;
	op->iov.iov_len = len;
	op->io.op = kind;
	op->io.fd = f->fd;
	op->io.offset = offset;
	op->io.len = len;
	op->io.iov = &op->iov;
	op->io.iov_count = 1;
	op->io.done = op_done;
}

static void submit(struct fixture *f, struct engine_io *io)
{
	f->submitting = true;
	engine_submit(f->engine, io);
	f->submitting = false;
}

static void wait_all(struct fixture *f)
{
	while (engine_in_flight(f->engine))
		engine_wait(f->engine);
}

/* The result of one operation. */
static int run(struct fixture *f, enum engine_op kind, uint64_t offset,
	       void *data, uint64_t len)
{
	struct op op;

	prepare(f, &op, kind, offset, data, len);
	f->error = 0;
	f->done = 0;
	submit(f, &op.io);
	wait_all(f);
	assert_int_equal(f->done, 1);
	return f->error;
}

static void assert_file_is_as_wanted(const struct fixture *f)
{
	uint8_t *have = malloc(SIZE);
	struct stat st;

	assert_non_null(have);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	for (size_t at = 0; at < SIZE;) {
		ssize_t n = pread(f->fd, have + at, SIZE - at, (off_t)at);

		assert_true(n > 0);
		at += (size_t)n;
	}
	assert_memory_equal(have, f->want, SIZE);
	free(have);
}

static void create(struct fixture *f, unsigned int depth)
{
	int err = 0;

	if (f->kind == ENGINE_FAULT)
		f->engine = engine_create_fault(&f->faults, depth, f->loop);
	else if (f->kind == ENGINE_URING_CACHED)
		err = engine_create(ENGINE_IO_URING, false, depth, f->loop,
				    &f->engine);
	else /* as if the file were O_DIRECT: nothing is done on the spot */
		err = engine_create(f->kind, true, depth, f->loop, &f->engine);
	if (err == -ENOTSUP)
		skip();
	assert_int_equal(err, 0);
	engine_on_batch(f->engine, batch_done, f);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	memset(&kernel, 0, sizeof(kernel));
	f->kind = *(unsigned int *)*state;
	f->faults = (struct faults) {
		.seed = 1,
		.short_permille = 300,
		.reorder = true,
		.record_fd = -1,
	};
	strcpy(f->path, "/tmp/lkvm-engine-XXXXXX");
	f->fd = mkostemp(f->path, O_CLOEXEC);
	assert_true(f->fd >= 0);
	f->want = malloc(SIZE);
	assert_non_null(f->want);
	for (size_t i = 0; i < SIZE; i++)
		f->want[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
	assert_int_equal(write_full(f->fd, f->want, SIZE), 0);
	assert_int_equal(fsync(f->fd), 0);
	assert_int_equal(loop_create(&f->loop), 0);
	create(f, DEPTH);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	engine_destroy(f->engine);
	loop_destroy(f->loop);
	close(f->fd);
	unlink(f->path);
	free(f->want);
	free(f);
	return 0;
}

/* ---- transfers ----------------------------------------------------------- */

static void bytes_move_both_ways(void **state)
{
	struct fixture *f = *state;
	uint8_t data[1000];

	assert_int_equal(run(f, ENGINE_READ, 4321, data, 1000), 0);
	assert_memory_equal(data, f->want + 4321, 1000);
	memset(data, 0x77, 1000);
	memset(f->want + 77, 0x77, 1000);
	assert_int_equal(run(f, ENGINE_WRITE, 77, data, 1000), 0);
	assert_int_equal(run(f, ENGINE_SYNC_DATA, 0, NULL, 0), 0);
	assert_int_equal(run(f, ENGINE_READ, 0, NULL, 0), 0);
	assert_int_equal(run(f, ENGINE_WRITE, SIZE, NULL, 0), 0);
	assert_file_is_as_wanted(f);
	assert_int_equal(engine_in_flight(f->engine), 0);
}

static void more_elements_than_one_call_takes(void **state)
{
	enum { COUNT = 2 * IOV_MAX + 7 };
	struct fixture *f = *state;
	struct iovec *iov = calloc(COUNT, sizeof(*iov));
	uint8_t *data = calloc(COUNT, 3);
	struct op op;

	assert_non_null(iov);
	assert_non_null(data);
	/* Empty ones among them. */
	for (unsigned int i = 0, at = 0; i < COUNT; at += i++ % 4) {
		iov[i].iov_base = data + at;
		iov[i].iov_len = i % 4;
	}
	prepare(f, &op, ENGINE_READ, 100, NULL, iov_length(iov, COUNT));
	op.io.iov = iov;
	op.io.iov_count = COUNT;
	submit(f, &op.io);
	wait_all(f);
	assert_memory_equal(data, f->want + 100, op.io.len);

	memset(data, 0x33, op.io.len);
	memset(f->want + 5, 0x33, op.io.len);
	op.io.op = ENGINE_WRITE;
	op.io.offset = 5;
	submit(f, &op.io);
	wait_all(f);
	assert_int_equal(f->done, 2);
	assert_int_equal(f->failed, 0);
	assert_file_is_as_wanted(f);
	free(iov);
	free(data);
}

/* What lies past a file's end is not made up. */
static void end_of_file_is_an_error(void **state)
{
	struct fixture *f = *state;
	uint8_t data[1024];

	assert_int_equal(run(f, ENGINE_READ, SIZE - 1000, data, 1000), 0);
	assert_int_equal(run(f, ENGINE_READ, SIZE - 1000, data, 1001), -EIO);
	assert_int_equal(run(f, ENGINE_READ, 2 * SIZE, data, 1), -EIO);
}

static void errors_are_reported(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512];
	int good = f->fd;

	f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(run(f, ENGINE_WRITE, 0, data, 512), -EBADF);
	assert_int_equal(run(f, ENGINE_WRITE_ZEROES, 0, NULL, 512), -EBADF);
	assert_int_equal(run(f, ENGINE_DISCARD, 0, NULL, 512), -EBADF);
	close(f->fd);
	f->fd = -1;
	assert_int_equal(run(f, ENGINE_READ, 0, data, 512), -EBADF);
	assert_int_equal(run(f, ENGINE_SYNC_DATA, 0, NULL, 0), -EBADF);
	f->fd = good;
	assert_int_equal(run(f, ENGINE_READ, 0, data, 512), 0);
	assert_file_is_as_wanted(f);
}

/* ---- queueing ------------------------------------------------------------ */

static void any_number_may_be_submitted(void **state)
{
	enum { COUNT = 50 * DEPTH };
	struct fixture *f = *state;
	struct op *op = calloc(COUNT, sizeof(*op));
	uint8_t *data = malloc(SIZE);

	assert_non_null(op);
	assert_non_null(data);
	for (unsigned int i = 0; i < COUNT; i++) {
		prepare(f, &op[i], ENGINE_READ, 4096 * i, data + 4096 * i,
			4096);
		submit(f, &op[i].io);
	}
	assert_int_equal(f->done, 0);
	assert_int_equal(engine_in_flight(f->engine), COUNT);
	engine_kick(f->engine);
	engine_kick(f->engine);
	wait_all(f);
	assert_int_equal(f->done, COUNT);
	assert_int_equal(f->failed, 0);
	assert_memory_equal(data, f->want, COUNT * 4096);
	free(data);
	free(op);
}

static void chain_done(struct engine_io *io, int result)
{
	struct op *op = container_of(io, struct op, io);
	struct fixture *f = op->f;

	assert_int_equal(result, 0);
	f->done++;
	if (f->chain--) {
		io->offset = (io->offset + 512) % SIZE;
		engine_submit(f->engine, io);
		/* Needless, and harmless. */
		engine_kick(f->engine);
	} else {
		loop_stop(f->loop);
	}
}

/* With nobody but the loop to see to it. */
static void done_may_submit_more(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512];
	struct op op;

	/* So many that a call in a call in a call would be noticed. */
	f->chain = 100000;
	prepare(f, &op, ENGINE_READ, 0, data, 512);
	op.io.done = chain_done;
	submit(f, &op.io);
	engine_kick(f->engine);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->done, 100001);
	assert_memory_equal(data, f->want + 512 * 100000 % SIZE, 512);
	assert_int_equal(engine_in_flight(f->engine), 0);
	assert_in_range(f->batches, 1, 100001);
}

static void stop_done(struct engine_io *io, int result)
{
	struct op *op = container_of(io, struct op, io);

	assert_int_equal(result, 0);
	op->f->done++;
	loop_stop(op->f->loop);
}

/* The page cache has none of these ready. */
static void the_loop_hears_of_what_takes_time(void **state)
{
	static const enum engine_op ops[] = {
		ENGINE_SYNC_DATA,
		ENGINE_DISCARD,
		ENGINE_ALLOCATE_ZEROES,
	};
	struct fixture *f = *state;
	struct op op;

	for (unsigned int i = 0; i < 300; i++) {
		prepare(f, &op, ops[i % 3], 4096 * i, NULL, 4096);
		op.io.done = stop_done;
		submit(f, &op.io);
		engine_kick(f->engine);
		assert_int_equal(loop_run(f->loop), 0);
		assert_int_equal(f->done, i + 1);
	}
}

/* Who waits for the first need not wait for the last. */
static void much_data_is_more_than_one_batch(void **state)
{
	enum { COUNT = 8 };
	struct fixture *f = *state;
	struct op op[COUNT];

	for (unsigned int i = 0; i < COUNT; i++) {
		prepare(f, &op[i], ENGINE_WRITE, 0, f->want, SIZE / 4);
		submit(f, &op[i].io);
	}
	engine_kick(f->engine);
	assert_int_equal(f->done, COUNT);
	assert_in_range(f->batches, 2, COUNT);
}

/* What holds for a file in memory does not for one on a disk beside it. */
static void each_file_is_read_its_own_way(void **state)
{
	char path[] = "/dev/shm/lkvm-engine-XXXXXX";
	struct fixture *f = *state;
	uint8_t data[4096];
	int disk = f->fd;
	int memory = mkostemp(path, O_CLOEXEC);

	if (memory < 0)
		skip();
	unlink(path);
	assert_int_equal(write_full(memory, f->want, 4096), 0);
	kernel.waits_fd = memory + 1;
	for (unsigned int i = 0; i < 2; i++) {
		f->fd = memory;
		memset(data, 0, sizeof(data));
		assert_int_equal(run(f, ENGINE_READ, 0, data, 4096), 0);
		assert_memory_equal(data, f->want, 4096);
	}
	/* On the spot, when that was known. */
	assert_int_equal(kernel.read_fd, memory);
	f->fd = disk;
	assert_int_equal(run(f, ENGINE_READ, 0, data, 4096), 0);
	assert_int_equal(kernel.read_fd, memory);
	close(memory);
}

static void waiting_for_nothing_returns(void **state)
{
	struct fixture *f = *state;

	engine_wait(f->engine);
	engine_kick(f->engine);
	assert_int_equal(f->batches, 0);
	engine_destroy(NULL);
}

/* ---- zeroes and holes ---------------------------------------------------- */

static blkcnt_t blocks(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(fsync(f->fd), 0);
	assert_int_equal(fstat(f->fd, &st), 0);
	return st.st_blocks;
}

static void zeroes_are_written_and_blocks_given_back(void **state)
{
	struct fixture *f = *state;
	blkcnt_t before = blocks(f);

	memset(f->want + 65536, 0, 131072);
	assert_int_equal(run(f, ENGINE_WRITE_ZEROES, 65536, NULL, 131072), 0);
	assert_file_is_as_wanted(f);
	assert_int_equal(lseek(f->fd, 0, SEEK_HOLE), 65536);
	assert_true(blocks(f) < before);
}

static void zeroes_are_written_and_blocks_kept(void **state)
{
	struct fixture *f = *state;
	blkcnt_t before = blocks(f);

	memset(f->want + 65536, 0, 131072);
	assert_int_equal(run(f, ENGINE_ALLOCATE_ZEROES, 65536, NULL, 131072),
			 0);
	assert_file_is_as_wanted(f);
	assert_true(blocks(f) >= before);
}

static void discard_gives_blocks_back(void **state)
{
	struct fixture *f = *state;
	blkcnt_t before = blocks(f);

	assert_int_equal(run(f, ENGINE_DISCARD, 0, NULL, SIZE), 0);
	assert_true(blocks(f) < before);
	assert_int_equal(lseek(f->fd, 0, SEEK_HOLE), 0);
}

static void only_allocation_makes_files_longer(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(run(f, ENGINE_DISCARD, SIZE, NULL, 4096), 0);
	assert_int_equal(run(f, ENGINE_WRITE_ZEROES, SIZE, NULL, 4096), 0);
	assert_file_is_as_wanted(f);
	assert_int_equal(run(f, ENGINE_ALLOCATE_ZEROES, SIZE, NULL, 4096), 0);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size, SIZE + 4096);
}

/* Where a file system has neither holes nor zero ranges. */
static void zeroes_are_written_without_fallocate(void **state)
{
	struct fixture *f = *state;

	/* io_uring asks the kernel itself. */
	if (f->kind == ENGINE_IO_URING || f->kind == ENGINE_URING_CACHED)
		kernel.submit_error = kernel.submit_always = -EPERM;
	kernel.fallocate_error = -EOPNOTSUPP;
	memset(f->want + 1000, 0, 900000);
	assert_int_equal(run(f, ENGINE_WRITE_ZEROES, 1000, NULL, 900000), 0);
	assert_int_equal(kernel.fallocates, 2);
	assert_file_is_as_wanted(f);
	assert_int_equal(run(f, ENGINE_ALLOCATE_ZEROES, 1000, NULL, 900000), 0);
	assert_int_equal(kernel.fallocates, 3);
	assert_file_is_as_wanted(f);
	assert_int_equal(run(f, ENGINE_DISCARD, 1000, NULL, 900000),
			 -EOPNOTSUPP);
	kernel.fallocate_error = -ENOSPC;
	assert_int_equal(run(f, ENGINE_WRITE_ZEROES, 1000, NULL, 900000),
			 -ENOSPC);
}

/* ---- a kernel that refuses ----------------------------------------------- */

static void write_many(struct fixture *f)
{
	enum { COUNT = 3 * DEPTH };
	struct op op[COUNT];
	uint8_t data[COUNT][512];

	f->done = 0;
	for (unsigned int i = 0; i < COUNT; i++) {
		memset(data[i], (int)i + 1, 512);
		memset(f->want + 1024 * i, (int)i + 1, 512);
		prepare(f, &op[i], ENGINE_WRITE, 1024 * i, data[i], 512);
		submit(f, &op[i].io);
	}
	wait_all(f);
	assert_int_equal(f->done, COUNT);
	assert_int_equal(f->failed, 0);
	assert_file_is_as_wanted(f);
}

static void refused_submissions_are_carried_out(void **state)
{
	static const int errors[] = { -EINTR, -EAGAIN, -EBUSY, -ENOMEM };
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++) {
		kernel.submit_error = errors[i];
		write_many(f);
	}
	kernel.submit_always = -EAGAIN;
	write_many(f);
	assert_int_equal(run(f, ENGINE_SYNC_DATA, 0, NULL, 0), 0);
}

static void submissions_may_be_taken_in_part(void **state)
{
	struct fixture *f = *state;

	kernel.most = 1;
	write_many(f);
}

static enum engine_kind auto_kind(struct fixture *f, bool direct)
{
	struct engine *engine;
	enum engine_kind kind;

	assert_int_equal(
		engine_create(ENGINE_AUTO, direct, 8, f->loop, &engine), 0);
	kind = engine->kind;
	engine_destroy(engine);
	return kind;
}

static void missing_engines_are_replaced(void **state)
{
	struct fixture *f = *state;
	struct engine *engine = NULL;

	kernel.uring_error = -ENOSYS;
	assert_int_equal(engine_create(ENGINE_IO_URING, true, 8, f->loop,
				       &engine),
			 -ENOTSUP);
	assert_int_equal(auto_kind(f, true), ENGINE_AIO);
	assert_int_equal(auto_kind(f, false), ENGINE_SYNC);
	kernel.aio_error = -ENOSYS;
	assert_int_equal(engine_create(ENGINE_AIO, true, 8, f->loop, &engine),
			 -ENOTSUP);
	assert_null(engine);
	assert_int_equal(auto_kind(f, true), ENGINE_SYNC);
}

/* ---- faults -------------------------------------------------------------- */

/* The test's own engine does what it says: other tests build on it. */
static void faults_hit_some_and_no_more(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512];
	unsigned int failed = 0;

	f->faults.error = -ENOSPC;
	f->faults.error_permille = 200;
	for (unsigned int i = 0; i < 500; i++) {
		int err = run(f, ENGINE_READ, 512 * i, data, 512);

		assert_true(err == 0 || err == -ENOSPC);
		if (err)
			failed++;
		else
			assert_memory_equal(data, f->want + 512 * i, 512);
	}
	assert_in_range(failed, 30, 400);
	/* A signal is no reason to give up. */
	f->faults.error = -EINTR;
	for (unsigned int i = 0; i < 500; i++)
		assert_int_equal(run(f, ENGINE_READ, 512 * i, data, 512), 0);
}

static void power_cuts_undo_what_no_flush_covered(void **state)
{
	struct fixture *f = *state;
	uint8_t *data = malloc(SIZE);
	unsigned int old = 0, new = 0;

	assert_non_null(data);
	engine_destroy(f->engine);
	f->faults.record_fd = f->fd;
	create(f, DEPTH);
	memset(f->want, 1, SIZE / 2);
	memset(data, 1, SIZE / 2);
	assert_int_equal(run(f, ENGINE_WRITE, 0, data, SIZE / 2), 0);
	assert_int_equal(run(f, ENGINE_SYNC_DATA, 0, NULL, 0), 0);
	memset(data, 2, SIZE);
	assert_int_equal(run(f, ENGINE_WRITE, 0, data, SIZE), 0);
	fault_power_cut(f->engine);
	assert_int_equal(pread_full(f->fd, data, SIZE, 0), 0);
	for (unsigned int i = 0; i < SIZE; i++)
		if (data[i] == 2)
			new ++;
		else if (data[i] == f->want[i])
			old++;
	assert_int_equal(old + new, SIZE);
	assert_in_range(new, SIZE / 4, SIZE / 4 * 3);
	free(data);
}

/* ---- all of it ----------------------------------------------------------- */

static const unsigned int kinds[] = { ENGINE_IO_URING, ENGINE_AIO, ENGINE_SYNC,
				      ENGINE_FAULT, ENGINE_URING_CACHED };

#define ONLY(kind) BIT(kind)

static const struct {
	const char *name;
	CMUnitTestFunction function;
	unsigned long kinds; /* bits, by enum engine_kind */
} table[] = {
#define T(name, mask)             \
	{                         \
#name, name, mask \
	}
	T(bytes_move_both_ways, ~0UL),
	T(more_elements_than_one_call_takes, ~0UL),
	T(end_of_file_is_an_error, ~0UL),
	T(errors_are_reported, ~0UL),
	T(any_number_may_be_submitted, ~0UL),
	T(done_may_submit_more, ~0UL),
	T(the_loop_hears_of_what_takes_time, ~0UL),
	T(much_data_is_more_than_one_batch,
	  ONLY(ENGINE_SYNC) | ONLY(ENGINE_URING_CACHED)),
	T(each_file_is_read_its_own_way, ONLY(ENGINE_URING_CACHED)),
	T(waiting_for_nothing_returns, ~0UL),
	T(zeroes_are_written_and_blocks_given_back, ~0UL),
	T(zeroes_are_written_and_blocks_kept, ~0UL),
	T(discard_gives_blocks_back, ~0UL),
	T(only_allocation_makes_files_longer, ~0UL),
	T(zeroes_are_written_without_fallocate, ~0UL),
	T(refused_submissions_are_carried_out,
	  ONLY(ENGINE_IO_URING) | ONLY(ENGINE_AIO)),
	T(submissions_may_be_taken_in_part, ONLY(ENGINE_AIO)),
	T(missing_engines_are_replaced, ONLY(ENGINE_SYNC)),
	T(faults_hit_some_and_no_more, ONLY(ENGINE_FAULT)),
	T(power_cuts_undo_what_no_flush_covered, ONLY(ENGINE_FAULT)),
#undef T
};

static const char *kind_name(unsigned int kind)
{
	if (kind == ENGINE_FAULT)
		return "faulty";
	return kind == ENGINE_URING_CACHED ? "io_uring, cached" :
					     engine_name(kind);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(table) * ARRAY_SIZE(kinds)];
	char names[ARRAY_SIZE(tests)][80];
	size_t count = 0;

	for (unsigned int k = 0; k < ARRAY_SIZE(kinds); k++)
		for (unsigned int t = 0; t < ARRAY_SIZE(table); t++) {
			if (!(table[t].kinds & BIT(kinds[k])))
				continue;
			snprintf(names[count], sizeof(names[count]), "%s: %s",
				 kind_name(kinds[k]), table[t].name);
			tests[count] = (struct CMUnitTest) {
				.name = names[count],
				.test_func = table[t].function,
				.setup_func = setup,
				.teardown_func = teardown,
				.initial_state = (void *)&kinds[k],
			};
			count++;
		}
	return _cmocka_run_group_tests("engine", tests, count, NULL, NULL);
}
