/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An epoll event loop: the main thread runs one, and so does each I/O thread.
 */
#ifndef LKVM_LOOP_H
#define LKVM_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;

/*
 * A file descriptor that a loop watches. Owned by whoever adds it; it must
 * stay in place until loop_del(). @ready runs on the loop's thread with the
 * EPOLL* bits that are set.
 */
struct loop_source {
	int fd; /* not owned */
	void (*ready)(void *opaque, uint32_t events);
	void *opaque;
	bool added; /* the loop's own */
};

/* Returns 0 or -errno. */
int loop_create(struct loop **out);

/* All sources have been deleted and nobody is inside loop_run(). */
void loop_destroy(struct loop *loop);

/*
 * Watch @source->fd for @events (EPOLLIN, EPOLLOUT, EPOLLET; level-triggered
 * without the last). Any thread. Returns 0 or -errno (-EPERM: a regular file,
 * which epoll cannot watch).
 */
int loop_add(struct loop *loop, struct loop_source *source, uint32_t events);

/*
 * Stop watching. On the loop's own thread @ready is not called any more once
 * this returns, even for an event that was collected already; other threads
 * use io_thread_call() to get there.
 */
void loop_del(struct loop *loop, struct loop_source *source);

/* Dispatch until loop_stop(). Returns 0 or -errno. */
int loop_run(struct loop *loop);

/* Make loop_run() return; a stop before the run counts. Any thread. */
void loop_stop(struct loop *loop);

/* A named thread that does nothing but run its own loop. */
struct io_thread;

/* @name is cut to 15 bytes (the kernel's limit). Returns 0 or -errno. */
int io_thread_create(const char *name, struct io_thread **out);

/* Stops the loop and joins the thread. NULL is allowed. */
void io_thread_destroy(struct io_thread *thread);

/* The thread's loop, to add sources to; the thread's as long as it lives. */
struct loop *io_thread_loop(struct io_thread *thread);

/*
 * Run @fn(@opaque) on the thread and wait until it has returned. Any other
 * thread.
 */
void io_thread_call(struct io_thread *thread, void (*fn)(void *opaque),
		    void *opaque);

#endif
