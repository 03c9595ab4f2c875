/* SPDX-License-Identifier: GPL-2.0 */
/* An epoll event loop and the threads that run one: see loop.h. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/loop.h>
#include <lkvm/util.h>

#define LOOP_BATCH 16

struct loop {
	int epoll_fd;
	int wake_fd; /* eventfd: stop or call */
	_Atomic bool stop;
	/* What epoll_wait() gave; loop_del() strikes out of it. */
	struct epoll_event batch[LOOP_BATCH];
	int batch_count; /* loop's thread only, as is batch */
	int batch_at;
	/* One pending loop_call(), guarded by lock. */
	pthread_mutex_t lock;
	pthread_cond_t done;
	void (*call_fn)(void *opaque);
	void *call_opaque;
};

int loop_create(struct loop **out)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct loop *loop = calloc(1, sizeof(*loop));
	int err;

	if (!loop)
		return -ENOMEM;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->done, NULL);
	loop->wake_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		goto fail;
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0)
		goto fail;
	/* data.ptr NULL marks our own eventfd. */
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event))
		goto fail;
	*out = loop;
	return 0;
fail:
	err = -errno;
	loop_destroy(loop);
	return err;
}

void loop_destroy(struct loop *loop)
{
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	pthread_cond_destroy(&loop->done);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

int loop_add(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event))
		return -errno;
	source->added = true;
	return 0;
}

void loop_del(struct loop *loop, struct loop_source *source)
{
	if (!source->added)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->added = false;
	for (int i = loop->batch_at; i < loop->batch_count; i++)
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].events = 0;
}

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	(void)!write(loop->wake_fd, &one, sizeof(one));
}

static void run_pending_call(struct loop *loop)
{
	uint64_t count;

	(void)!read(loop->wake_fd, &count, sizeof(count));
	pthread_mutex_lock(&loop->lock);
	if (loop->call_fn) {
		loop->call_fn(loop->call_opaque);
		loop->call_fn = NULL;
		pthread_cond_broadcast(&loop->done);
	}
	pthread_mutex_unlock(&loop->lock);
}

int loop_run(struct loop *loop)
{
	while (!atomic_load(&loop->stop)) {
		loop->batch_at = 0;
		loop->batch_count =
			epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, -1);
		if (loop->batch_count < 0) {
			int err = errno;

			loop->batch_count = 0;
			if (err == EINTR)
				continue;
			return -err;
		}
		while (loop->batch_at < loop->batch_count) {
			struct epoll_event *event =
				&loop->batch[loop->batch_at++];
			struct loop_source *source = event->data.ptr;

			if (!source)
				run_pending_call(loop);
			else if (event->events)
				source->ready(source->opaque, event->events);
		}
	}
	atomic_store(&loop->stop, false);
	loop->batch_count = 0;
	return 0;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	loop_wake(loop);
}

/* Run @fn on the loop's thread, which runs, and wait until it returned. */
static void loop_call(struct loop *loop, void (*fn)(void *opaque), void *opaque)
{
	pthread_mutex_lock(&loop->lock);
	/* One caller at a time: wait for an earlier one's turn to end. */
	while (loop->call_fn)
		pthread_cond_wait(&loop->done, &loop->lock);
	loop->call_fn = fn;
	loop->call_opaque = opaque;
	loop_wake(loop);
	while (loop->call_fn == fn && loop->call_opaque == opaque)
		pthread_cond_wait(&loop->done, &loop->lock);
	pthread_mutex_unlock(&loop->lock);
}

struct io_thread {
	struct loop *loop;
	pthread_t thread;
	char name[16]; /* the kernel's limit for a thread's name */
};

static void *io_thread_main(void *opaque)
{
	struct io_thread *thread = opaque;

	pthread_setname_np(pthread_self(), thread->name);
	loop_run(thread->loop);
	return NULL;
}

int io_thread_create(const char *name, struct io_thread **out)
{
	struct io_thread *thread = calloc(1, sizeof(*thread));
	int err;

	if (!thread)
		return -ENOMEM;
	snprintf(thread->name, sizeof(thread->name), "%s", name);
	err = loop_create(&thread->loop);
	if (err)
		goto free_thread;
	err = thread_create(&thread->thread, io_thread_main, thread);
	if (err)
		goto destroy_loop;
	*out = thread;
	return 0;

destroy_loop:
	loop_destroy(thread->loop);
free_thread:
	free(thread);
	return err;
}

void io_thread_destroy(struct io_thread *thread)
{
	if (!thread)
		return;
	loop_stop(thread->loop);
	pthread_join(thread->thread, NULL);
	loop_destroy(thread->loop);
	free(thread);
}

struct loop *io_thread_loop(struct io_thread *thread)
{
	return thread->loop;
}

void io_thread_call(struct io_thread *thread, void (*fn)(void *opaque),
		    void *opaque)
{
	loop_call(thread->loop, fn, opaque);
}
