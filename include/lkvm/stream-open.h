/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A stream's insides, for the two files that it is made of: how it is opened,
 * and what it does.
 */
#ifndef LKVM_STREAM_OPEN_H
#define LKVM_STREAM_OPEN_H

#include <pthread.h>

#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/ring.h>
#include <lkvm/stream.h>

struct stream {
	struct chardev chardev;
	char who[64]; /* for messages */
	char *path; /* socket or link, which goes in the end; NULL: none */
	int slave_fd; /* of a pseudo-terminal, so that it never hangs up */
	bool listens; /* a socket: in_fd and out_fd are the client's */

	/* The loop's thread: */
	struct loop *loop; /* lock too; NULL: stopped */
	int in_fd, out_fd; /* may be the same; -1: none */
	struct loop_source in_source, out_source, listen_source;
	struct loop_source wake_source; /* a timerfd, set under lock */
	bool in_ready, out_ready; /* the next call need not say EAGAIN */
	bool in_ended;
	bool hung_up;
	size_t in_at, in_len; /* what the device did not take yet */
	char in[RING_BYTES];
	struct ratelimit warn;

	pthread_mutex_t lock; /* guards the rest */
	bool connected; /* false: output is dropped */
	bool woken;
	bool out_refused; /* the device waits for writable() */
	struct ring out;
};

/* stream.c: set what does not depend on the kind; the fds are. */
void stream_init(struct stream *stream);

#endif
