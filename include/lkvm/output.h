/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One of this process's output streams, for bytes that come from any thread:
 * put into a ring, and written by the loop's thread, which never waits for a
 * reader and does not change how others use the same terminal or pipe.
 */
#ifndef LKVM_OUTPUT_H
#define LKVM_OUTPUT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include <lkvm/loop.h>
#include <lkvm/ring.h>

/* On the loop's thread, with no lock held. */
struct output_callbacks {
	/* There is room again, after output_put() took less than all. */
	void (*writable)(void *opaque);
	/* All that was put in has been written out. */
	void (*written)(void *opaque);
	/* Nobody can read: what was put in is discarded. */
	void (*lost)(void *opaque);
	void *opaque;
};

/* How soon the loop's thread is to look. */
enum output_wake {
	OUTPUT_SLEEP,
	OUTPUT_BATCH, /* a moment after the first byte */
	OUTPUT_NOW,
};

struct output {
	struct loop *loop;
	struct output_callbacks callbacks;
	int fd; /* the stream's number */
	int own_fd; /* own description of it, or -1 */
	bool socket;
	struct loop_source room; /* added while waiting */
	struct loop_source timer; /* a timerfd, set under lock */

	pthread_mutex_t lock; /* guards the rest */
	enum output_wake wake;
	bool waiting; /* for room: epoll will tell */
	bool refused; /* somebody waits for writable() */
	struct ring ring;
};

/*
 * @output is zeroed, @fd is 1 or 2. The loop's thread. Returns 0 or -errno.
 */
int output_init(struct output *output, struct loop *loop, int fd,
		const struct output_callbacks *callbacks);

/* What has not been written is lost. The loop's thread, or it has ended. */
void output_release(struct output *output);

/* Returns the bytes that were taken. Any thread. */
size_t output_put(struct output *output, const void *data, size_t len);

/* Is nothing left to write? Any thread. */
bool output_is_empty(struct output *output);

/* Write what is left, until nobody has read for a second. The loop's thread. */
void output_flush(struct output *output);

#endif
