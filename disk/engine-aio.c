/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The engine over io_submit(2), for O_DIRECT files (on others, the kernel
 * blocks in io_submit()). An eventfd tells the loop of completions. What the
 * interface lacks is done by system calls.
 */
#include <errno.h>
#include <libaio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/engine.h>
#include <lkvm/util.h>

#define AIO_EVENTS 64

struct aio {
	struct engine engine;
	io_context_t context;
	int event_fd;
	struct iocb *iocbs; /* engine.depth of them */
	struct iocb **free; /* a stack */
	unsigned int nr_free;
	struct iocb **pending; /* not handed over, oldest first */
	unsigned int nr_pending;
	unsigned int with_kernel;
};

static void aio_start(struct engine *engine, struct engine_io *io)
{
	struct aio *aio = container_of(engine, struct aio, engine);
	const struct engine_call *call = &io->call;
	struct iocb *iocb;

	if (call->kind == ENGINE_CALL_FALLOCATE) {
		engine_finish(engine, io, engine_call_now(io));
		return;
	}
	iocb = aio->free[--aio->nr_free];
	if (call->kind == ENGINE_CALL_READV)
		io_prep_preadv(iocb, io->fd, call->iov, (int)call->iov_count,
			       (long long)call->offset);
	else if (call->kind == ENGINE_CALL_WRITEV)
		io_prep_pwritev(iocb, io->fd, call->iov, (int)call->iov_count,
				(long long)call->offset);
	else
		io_prep_fdsync(iocb, io->fd);
	io_set_eventfd(iocb, aio->event_fd);
	iocb->data = io;
	aio->pending[aio->nr_pending++] = iocb;
}

static void release(struct aio *aio, struct iocb *iocb, ssize_t result)
{
	struct engine_io *io = iocb->data;

	aio->free[aio->nr_free++] = iocb;
	engine_finish(&aio->engine, io, result);
}

static void aio_submit(struct engine *engine)
{
	struct aio *aio = container_of(engine, struct aio, engine);
	unsigned int at = 0;

	while (at < aio->nr_pending) {
		int n = io_submit(aio->context, aio->nr_pending - at,
				  aio->pending + at);
		struct iocb *iocb;

		if (n > 0) {
			at += (unsigned int)n;
			aio->with_kernel += (unsigned int)n;
			continue;
		}
		/* Short of memory: a completion comes back to this. */
		if (n == -EAGAIN && aio->with_kernel)
			break;
		/* The kernel will not have the first (no fdsync there). */
		iocb = aio->pending[at++];
		release(aio, iocb, engine_call_now(iocb->data));
	}
	aio->nr_pending -= at;
	for (unsigned int i = 0; i < aio->nr_pending; i++)
		aio->pending[i] = aio->pending[at + i];
}

static void aio_reap(struct engine *engine)
{
	struct aio *aio = container_of(engine, struct aio, engine);
	struct timespec no_time = { 0 };
	struct io_event events[AIO_EVENTS];
	eventfd_t count;
	int n;

	eventfd_read(aio->event_fd, &count);
	do {
		n = io_getevents(aio->context, 0, AIO_EVENTS, events, &no_time);
		for (int i = 0; i < n; i++) {
			aio->with_kernel--;
			release(aio, events[i].obj, (ssize_t)events[i].res);
		}
	} while (n == AIO_EVENTS);
}

static void aio_destroy(struct engine *engine)
{
	struct aio *aio = container_of(engine, struct aio, engine);

	io_destroy(aio->context);
	close(aio->event_fd);
	free(aio->pending);
	free(aio->free);
	free(aio->iocbs);
	free(aio);
}

static const struct engine_ops aio_ops = {
	.start = aio_start,
	.submit = aio_submit,
	.reap = aio_reap,
	.destroy = aio_destroy,
};

int engine_create_aio(unsigned int depth, struct loop *loop,
		      struct engine **out)
{
	struct aio *aio = calloc(1, sizeof(*aio));
	int err = -ENOMEM;

	if (!aio)
		return -ENOMEM;
	aio->iocbs = calloc(depth, sizeof(*aio->iocbs));
	aio->free = calloc(depth, sizeof(struct iocb *));
	aio->pending = calloc(depth, sizeof(struct iocb *));
	if (!aio->iocbs || !aio->free || !aio->pending)
		goto free_aio;
	for (unsigned int i = 0; i < depth; i++)
		aio->free[aio->nr_free++] = &aio->iocbs[i];
	aio->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (aio->event_fd < 0) {
		err = -errno;
		goto free_aio;
	}
	err = io_setup((int)depth, &aio->context);
	if (err) {
		/* EAGAIN: /proc/sys/fs/aio-max-nr is used up. */
		err = err == -ENOSYS || err == -EPERM ? -ENOTSUP : err;
		goto close_event;
	}
	err = engine_init(&aio->engine, &aio_ops, ENGINE_AIO, depth, loop,
			  aio->event_fd, EPOLLIN);
	if (err)
		goto destroy_context;
	*out = &aio->engine;
	return 0;

destroy_context:
	io_destroy(aio->context);
close_event:
	close(aio->event_fd);
free_aio:
	free(aio->pending);
	free(aio->free);
	free(aio->iocbs);
	free(aio);
	return err;
}
