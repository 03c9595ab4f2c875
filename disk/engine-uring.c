/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The engine over io_uring(7): one ring. A batch costs one io_uring_enter();
 * what the page cache has is complete when that returns.
 *
 * Files that are not O_DIRECT are tried on the spot first. The ring would hand
 * their writes, and what a file system cannot do without waiting, to threads of
 * the kernel's, at many times the price of the copy that such a call is. Reads
 * that would wait go to the ring.
 *
 * The loop watches an eventfd, not the ring: polling a ring that defers its
 * task work is woken by some kernels only. It is turned off while we look at
 * the ring anyway, and watched edge-triggered, so that nobody need read it.
 */
#include <errno.h>
#include <linux/magic.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <lkvm/engine.h>
#include <lkvm/util.h>

/* Files that take no RWF_NOWAIT; beyond so many, each read finds out anew. */
#define URING_ODD_FILES 8

struct odd_file {
	int fd;
	bool in_memory; /* no disk to wait for: reads may be made on the spot */
};

struct uring {
	struct engine engine;
	struct io_uring ring;
	int event_fd;
	bool cached; /* files are not O_DIRECT */
	struct odd_file odd[URING_ODD_FILES];
	unsigned int nr_odd;
	bool disabled; /* until the thread that uses it has come */
	bool refused; /* the kernel takes no more: system calls do */
	/* In the ring and not handed over, in that order. */
	struct engine_io *pending, **pending_tail;
	unsigned int with_kernel;
};

/* tmpfs of older kernels: nothing to wait for, and no RWF_NOWAIT. */
static bool is_in_memory(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) &&
	       (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static const struct odd_file *find_odd(const struct uring *uring, int fd)
{
	for (unsigned int i = 0; i < uring->nr_odd; i++)
		if (uring->odd[i].fd == fd)
			return &uring->odd[i];
	return NULL;
}

/* What the page cache has: the bytes, -EAGAIN, -EOPNOTSUPP or an error. */
static ssize_t read_cached(struct uring *uring, const struct engine_io *io)
{
	const struct engine_call *call = &io->call;
	const struct odd_file *odd = find_odd(uring, io->fd);
	ssize_t n;

	if (odd)
		return odd->in_memory ? engine_call_now(io) : -EOPNOTSUPP;
	n = preadv2(io->fd, call->iov, (int)call->iov_count,
		    (off_t)call->offset, RWF_NOWAIT);
	if (n < 0)
		n = -errno;
	if (n == -EOPNOTSUPP && uring->nr_odd < URING_ODD_FILES)
		uring->odd[uring->nr_odd++] = (struct odd_file) {
			.fd = io->fd,
			.in_memory = is_in_memory(io->fd),
		};
	return n;
}

/* Make the call if that is a matter of the page cache alone. */
static bool try_now(struct uring *uring, struct engine_io *io)
{
	enum engine_call_kind kind = io->call.kind;
	ssize_t n;

	if (uring->refused || (uring->cached && kind == ENGINE_CALL_WRITEV)) {
		n = engine_call_now(io);
	} else if (uring->cached && kind == ENGINE_CALL_READV) {
		n = read_cached(uring, io);
		if (n == -EAGAIN || n == -EOPNOTSUPP)
			return false;
	} else {
		return false;
	}
	engine_finish(&uring->engine, io, n);
	return true;
}

static void uring_start(struct engine *engine, struct engine_io *io)
{
	struct uring *uring = container_of(engine, struct uring, engine);
	const struct engine_call *call = &io->call;
	struct io_uring_sqe *sqe;

	if (try_now(uring, io))
		return;
	/* Never NULL: the ring has room for engine->depth. */
	sqe = io_uring_get_sqe(&uring->ring);
	switch (call->kind) {
	case ENGINE_CALL_READV:
		io_uring_prep_readv(sqe, io->fd, call->iov, call->iov_count,
				    call->offset);
		break;
	case ENGINE_CALL_WRITEV:
		io_uring_prep_writev(sqe, io->fd, call->iov, call->iov_count,
				     call->offset);
		break;
	case ENGINE_CALL_FDATASYNC:
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
		break;
	case ENGINE_CALL_FALLOCATE:
		io_uring_prep_fallocate(sqe, io->fd, call->mode,
					(off_t)call->offset, (off_t)call->len);
		break;
	}
	io_uring_sqe_set_data(sqe, io);
	io->next = NULL;
	*uring->pending_tail = io;
	uring->pending_tail = &io->next;
}

static struct engine_io *take_pending(struct uring *uring)
{
	struct engine_io *io = uring->pending;

	uring->pending = io->next;
	if (!uring->pending)
		uring->pending_tail = &uring->pending;
	return io;
}

static void finish_complete(struct uring *uring)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&uring->ring, &cqe)) {
		struct engine_io *io = io_uring_cqe_get_data(cqe);
		ssize_t result = cqe->res;

		/* Before done(), which may look for more. */
		io_uring_cqe_seen(&uring->ring, cqe);
		uring->with_kernel--;
		engine_finish(&uring->engine, io, result);
	}
}

/* What the ring holds stays there, and is never handed over. */
static void give_up(struct uring *uring)
{
	uring->refused = true;
	while (uring->pending) {
		struct engine_io *io = take_pending(uring);

		engine_finish(&uring->engine, io, engine_call_now(io));
	}
}

/* Events are wanted from now on; what came until now is not forgotten. */
static void finish_and_listen(struct uring *uring)
{
	finish_complete(uring);
	io_uring_cq_eventfd_toggle(&uring->ring, true);
	finish_complete(uring);
}

static void uring_submit(struct engine *engine)
{
	struct uring *uring = container_of(engine, struct uring, engine);

	if (!uring->pending)
		return;
	io_uring_cq_eventfd_toggle(&uring->ring, false);
	if (uring->disabled) {
		/* io_uring_enable_rings() is not exported by liburing 2.3. */
		io_uring_register((unsigned int)uring->ring.ring_fd,
				  IORING_REGISTER_ENABLE_RINGS, NULL, 0);
		uring->disabled = false;
	}
	while (uring->pending) {
		int n = io_uring_submit(&uring->ring);

		if (n == -EINTR)
			continue;
		/* Short of memory: a completion comes back to this. */
		if ((n == -EAGAIN || n == -EBUSY) && uring->with_kernel)
			break;
		if (n <= 0) {
			give_up(uring);
			break;
		}
		uring->with_kernel += (unsigned int)n;
		while (n--)
			take_pending(uring);
	}
	finish_and_listen(uring);
}

static void uring_reap(struct engine *engine)
{
	finish_complete(container_of(engine, struct uring, engine));
}

static void uring_destroy(struct engine *engine)
{
	struct uring *uring = container_of(engine, struct uring, engine);

	io_uring_queue_exit(&uring->ring);
	close(uring->event_fd);
	free(uring);
}

static const struct engine_ops uring_ops = {
	.start = uring_start,
	.submit = uring_submit,
	.reap = uring_reap,
	.destroy = uring_destroy,
};

/* A ring with the cheapest completions that this kernel knows. */
static int make_ring(unsigned int depth, struct uring *uring)
{
	static const unsigned int flags[] = {
		/* Linux 6.1: completions run when we ask, on our thread. */
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
		/* Linux 5.19: they interrupt no system call. */
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int err = -EINVAL;

	for (unsigned int i = 0; err == -EINVAL && i < ARRAY_SIZE(flags); i++) {
		err = io_uring_queue_init(depth, &uring->ring, flags[i]);
		uring->disabled = flags[i] & IORING_SETUP_R_DISABLED;
	}
	return err;
}

/* fallocate is of Linux 5.6, as is the probe: older rings are not used. */
static bool has_operations(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool has = probe &&
		   io_uring_opcode_supported(probe, IORING_OP_FALLOCATE);

	io_uring_free_probe(probe);
	return has;
}

int engine_create_uring(bool direct, unsigned int depth, struct loop *loop,
			struct engine **out)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	int err;

	if (!uring)
		return -ENOMEM;
	uring->cached = !direct;
	uring->pending_tail = &uring->pending;
	err = make_ring(depth, uring);
	if (err) {
		/* Compiled out, or forbidden by sysctl or seccomp. */
		if (err == -ENOSYS || err == -EPERM || err == -EACCES)
			err = -ENOTSUP;
		goto free_uring;
	}
	if (!has_operations(&uring->ring)) {
		err = -ENOTSUP;
		goto exit_ring;
	}
	uring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (uring->event_fd < 0) {
		err = -errno;
		goto exit_ring;
	}
	err = io_uring_register_eventfd(&uring->ring, uring->event_fd);
	if (err)
		goto close_event;
	err = engine_init(&uring->engine, &uring_ops, ENGINE_IO_URING, depth,
			  loop, uring->event_fd, EPOLLIN | EPOLLET);
	if (err)
		goto close_event;
	*out = &uring->engine;
	return 0;

close_event:
	close(uring->event_fd);
exit_ring:
	io_uring_queue_exit(&uring->ring);
free_uring:
	free(uring);
	return err;
}
