/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Standard output and standard error: see output.h.
 *
 * vCPU and I/O threads only append to the ring and set a timer; the loop's
 * thread writes. The timer runs out some milliseconds after the first byte:
 * what the guest sends byte by byte reaches write(2) in batches, and a prompt
 * is still there at once. (A timer that runs out makes the vCPU that it was
 * set by leave its guest: too soon is dear.)
 *
 * O_NONBLOCK belongs to the open file description, which is shared with the
 * shell and whatever else holds the same terminal or pipe, and must not be set
 * there. So output goes to a description of its own where one can be had, and
 * otherwise poll(2) is asked before each small write.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

#include <lkvm/output.h>
#include <lkvm/util.h>

#define BATCH_NS 4000000L
#define FLUSH_NS 1000000000ULL

static void wake_locked(struct output *o, enum output_wake wake)
{
	if (o->wake >= wake)
		return;
	o->wake = wake;
	timer_arm(o->timer.fd, wake == OUTPUT_NOW ? 1 : BATCH_NS);
}

/* Under a device's lock: neither blocks nor calls back. */
size_t output_put(struct output *o, const void *data, size_t len)
{
	size_t taken;

	pthread_mutex_lock(&o->lock);
	taken = ring_put(&o->ring, data, len);
	if (taken < len)
		o->refused = true;
	if (!o->waiting)
		wake_locked(o, o->ring.len < RING_BYTES / 2 ? OUTPUT_BATCH :
							      OUTPUT_NOW);
	pthread_mutex_unlock(&o->lock);
	return taken;
}

/* Returns bytes or -errno; -EAGAIN instead of blocking. */
static ssize_t write_to_host(struct output *o, const char *data, size_t len)
{
	struct pollfd room = { .fd = o->fd, .events = POLLOUT };
	ssize_t n;

	if (o->own_fd >= 0) {
		n = write(o->own_fd, data, len);
	} else if (o->socket) {
		n = send(o->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		if (poll(&room, 1, 0) <= 0)
			return -EAGAIN;
		/* A pipe that polls writable has room for this much. */
		n = write(o->fd, data, MIN(len, PIPE_BUF));
	}
	return n < 0 ? -errno : n;
}

/* @done bytes have been written, or all are lost for @done is below 0. */
static void step_done(struct output *o, ssize_t done)
{
	bool refused, empty;

	pthread_mutex_lock(&o->lock);
	/* A reader that has gone is no reason for the guest to wait. */
	ring_drop(&o->ring, done < 0 ? o->ring.len : (size_t)done);
	empty = !o->ring.len;
	refused = o->refused && o->ring.len <= RING_BYTES / 2;
	if (refused)
		o->refused = false;
	pthread_mutex_unlock(&o->lock);
	if (done < 0)
		o->callbacks.lost(o->callbacks.opaque);
	if (refused)
		o->callbacks.writable(o->callbacks.opaque);
	if (empty)
		o->callbacks.written(o->callbacks.opaque);
}

/*
 * Write once. Returns the bytes written, -EAGAIN when there is no room now,
 * or another -errno, by which what is buffered has been discarded.
 */
static ssize_t output_step(struct output *o)
{
	const char *data;
	size_t len;
	ssize_t n;

	pthread_mutex_lock(&o->lock);
	len = ring_peek(&o->ring, &data);
	pthread_mutex_unlock(&o->lock);
	if (!len)
		return 0;
	/* Outside the lock: others only append, behind these bytes. */
	n = write_to_host(o, data, len);
	if (n == -EAGAIN || n == -EINTR)
		return -EAGAIN;
	step_done(o, n);
	return n;
}

/* One write a turn of the loop, so that a chatty guest cannot keep it here. */
static void output_turn(struct output *o)
{
	bool full = output_step(o) == -EAGAIN;

	pthread_mutex_lock(&o->lock);
	if (full && !o->waiting) {
		o->waiting = !loop_add(o->loop, &o->room, EPOLLOUT);
	} else if (!o->ring.len && o->waiting) {
		loop_del(o->loop, &o->room);
		o->waiting = false;
	}
	if (o->ring.len && !o->waiting)
		wake_locked(o, full ? OUTPUT_BATCH : OUTPUT_NOW);
	pthread_mutex_unlock(&o->lock);
}

/*
 * vCPUs are parked: what is left only shrinks, but for a UART's FIFO. A reader
 * that takes nothing for FLUSH_NS loses the rest.
 */
void output_flush(struct output *o)
{
	struct pollfd room = { .fd = o->room.fd, .events = POLLOUT };
	uint64_t deadline = now_ns() + FLUSH_NS;
	uint64_t now;
	ssize_t n;

	do {
		n = output_step(o);
		now = now_ns();
		if (n > 0)
			deadline = now + FLUSH_NS;
		else if (n == -EAGAIN && now < deadline)
			poll(&room, 1, (int)((deadline - now) / 1000000) + 1);
	} while (n > 0 || (n == -EAGAIN && now < deadline));
}

bool output_is_empty(struct output *o)
{
	bool empty;

	pthread_mutex_lock(&o->lock);
	empty = !o->ring.len;
	pthread_mutex_unlock(&o->lock);
	return empty;
}

static void on_room(void *opaque, uint32_t events)
{
	(void)events;
	output_turn(opaque);
}

static void on_timer(void *opaque, uint32_t events)
{
	struct output *o = opaque;
	uint64_t expirations;

	(void)events;
	(void)!read(o->timer.fd, &expirations, sizeof(expirations));
	pthread_mutex_lock(&o->lock);
	o->wake = OUTPUT_SLEEP;
	pthread_mutex_unlock(&o->lock);
	output_turn(o);
}

/*
 * A description of our own for the same terminal or pipe. Not for files: it
 * would have an offset of its own, and overwrite what others appended.
 */
static int reopen(int stream, const struct stat *st)
{
	int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	char path[32];
	int fd;

	if (!S_ISFIFO(st->st_mode) && !isatty(stream))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", stream);
	fd = open(path, flags);
	/* After su(1) a terminal's node belongs to another user. */
	if (fd < 0 && S_ISCHR(st->st_mode) && tcgetsid(stream) == getsid(0))
		fd = open("/dev/tty", flags);
	return fd;
}

int output_init(struct output *o, struct loop *loop, int fd,
		const struct output_callbacks *callbacks)
{
	struct stat st = { 0 };
	int err;

	o->loop = loop;
	o->callbacks = *callbacks;
	o->fd = fd;
	fstat(fd, &st);
	o->socket = S_ISSOCK(st.st_mode);
	o->timer = (struct loop_source) {
		.fd = timerfd_create(CLOCK_MONOTONIC,
				     TFD_NONBLOCK | TFD_CLOEXEC),
		.ready = on_timer,
		.opaque = o,
	};
	if (o->timer.fd < 0)
		return -errno;
	err = loop_add(loop, &o->timer, EPOLLIN);
	if (err) {
		close(o->timer.fd);
		return err;
	}
	o->own_fd = reopen(fd, &st);
	o->room = (struct loop_source) {
		.fd = o->own_fd >= 0 ? o->own_fd : fd,
		.ready = on_room,
		.opaque = o,
	};
	pthread_mutex_init(&o->lock, NULL);
	return 0;
}

void output_release(struct output *o)
{
	loop_del(o->loop, &o->room);
	loop_del(o->loop, &o->timer);
	close(o->timer.fd);
	if (o->own_fd >= 0)
		close(o->own_fd);
	pthread_mutex_destroy(&o->lock);
}
