/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Files, pipes, pseudo-terminals and sockets as host ends: see stream.h. How
 * each is opened stands in stream-open.c.
 *
 * File descriptors are watched for edges: what is ready is remembered, and a
 * source whose bytes nobody takes causes no event that would have to be
 * ignored. A step reads or writes once; who has more to do sets the timer, and
 * the loop's other sources come in between.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/stream-open.h>
#include <lkvm/util.h>

#define FLUSH_NS 1000000000ULL

/*
 * A pseudo-terminal may wake its writer a moment before it has room, and then
 * not again: a full one is looked at once more after this.
 */
#define RETRY_NS 20000000ULL

/* ---- waking the loop's thread -------------------------------------------- */

static void wake_locked(struct stream *s)
{
	if (s->woken || !s->loop)
		return;
	s->woken = true;
	timer_arm(s->wake_source.fd, 1);
}

static void wake(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	wake_locked(s);
	pthread_mutex_unlock(&s->lock);
}

static void wake_later(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->woken)
		timer_arm(s->wake_source.fd, RETRY_NS);
	pthread_mutex_unlock(&s->lock);
}

/* ---- output -------------------------------------------------------------- */

/* Any thread, under a device's lock: neither blocks nor calls back. */
static size_t stream_write(struct chardev *chardev, const void *data,
			   size_t len)
{
	struct stream *s = container_of(chardev, struct stream, chardev);
	size_t taken = len;

	pthread_mutex_lock(&s->lock);
	if (s->connected) {
		taken = ring_put(&s->out, data, len);
		if (taken < len)
			s->out_refused = true;
		wake_locked(s);
	}
	pthread_mutex_unlock(&s->lock);
	return taken;
}

/* @len bytes of what was buffered are gone; let the device write on. */
static void output_done(struct stream *s, size_t len)
{
	const struct chardev_frontend_ops *frontend = s->chardev.frontend;
	bool refused;

	pthread_mutex_lock(&s->lock);
	ring_drop(&s->out, len);
	refused = s->out_refused && s->out.len <= RING_BYTES / 2;
	if (refused)
		s->out_refused = false;
	pthread_mutex_unlock(&s->lock);
	if (refused && frontend)
		frontend->writable(s->chardev.opaque);
}

static size_t output_len(struct stream *s, const char **data)
{
	size_t len;

	pthread_mutex_lock(&s->lock);
	len = ring_peek(&s->out, data);
	pthread_mutex_unlock(&s->lock);
	return len;
}

static void output_failed(struct stream *s, int err)
{
	const char *data;
	size_t len;

	if (!s->listens)
		log_warn_limited(&s->warn, "stream", "%s: output is lost: %s",
				 s->who, strerror(err));
	while ((len = output_len(s, &data)))
		output_done(s, len);
}

/* Write once. Is there more to write, and room for it? */
static bool output_step(struct stream *s)
{
	const char *data;
	size_t len = output_len(s, &data);
	ssize_t n;

	if (!len || !s->out_ready)
		return false;
	/* Outside the lock: others only append, behind these bytes. */
	n = write(s->out_fd, data, len);
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN) {
		s->out_ready = false;
		if (s->slave_fd >= 0)
			wake_later(s);
		return false;
	}
	if (n < 0)
		output_failed(s, errno);
	else
		output_done(s, (size_t)n);
	return output_len(s, &data) != 0;
}

bool stream_flush(struct stream *s)
{
	struct pollfd room = { .fd = s->out_fd, .events = POLLOUT };
	uint64_t deadline = now_ns() + FLUSH_NS;
	const char *data;
	size_t left = output_len(s, &data);

	while (left) {
		size_t before = left;

		s->out_ready = true;
		output_step(s);
		left = output_len(s, &data);
		if (left != before)
			deadline = now_ns() + FLUSH_NS;
		else if (now_ns() >= deadline)
			return false;
		else
			poll(&room, 1, 1 + (int)(RETRY_NS / 1000000));
	}
	return true;
}

/* ---- input --------------------------------------------------------------- */

/* Any thread, under a device's lock. */
static void stream_input_wanted(struct chardev *chardev)
{
	wake(container_of(chardev, struct stream, chardev));
}

/* Has the device taken all that was read? If not, it says when it wants it. */
static bool input_delivered(struct stream *s)
{
	const struct chardev_frontend_ops *frontend = s->chardev.frontend;
	size_t taken;

	if (s->in_len && frontend) {
		taken = frontend->receive(s->chardev.opaque, s->in + s->in_at,
					  s->in_len);
		s->in_at += taken;
		s->in_len -= taken;
	}
	return !s->in_len;
}

/* Deliver what is held, or else read once. May there be more at once? */
static bool input_step(struct stream *s)
{
	ssize_t n;

	if (!input_delivered(s) || s->in_fd < 0 || s->in_ended || !s->in_ready)
		return false;
	n = read(s->in_fd, s->in, sizeof(s->in));
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN) {
		s->in_ready = false;
		return false;
	}
	if (n <= 0) {
		s->in_ended = true;
		return false;
	}
	s->in_at = 0;
	s->in_len = (size_t)n;
	return input_delivered(s);
}

/* ---- clients of a socket ------------------------------------------------- */

static void tell_connected(struct stream *s, bool connected)
{
	const struct chardev_frontend_ops *frontend = s->chardev.frontend;

	pthread_mutex_lock(&s->lock);
	s->connected = connected;
	pthread_mutex_unlock(&s->lock);
	if (frontend && frontend->connected)
		frontend->connected(s->chardev.opaque, connected);
}

/* The next client, if one waits and there is none. */
static void accept_client(struct stream *s)
{
	int fd;

	if (!s->listens || s->in_fd >= 0)
		return;
	fd = accept4(s->listen_source.fd, NULL, NULL,
		     SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED)
			log_warn_limited(&s->warn, "stream",
					 "%s: a client is not let in: %s",
					 s->who, strerror(errno));
		return;
	}
	s->in_fd = fd;
	s->out_fd = fd;
	s->in_source.fd = fd;
	s->in_ended = false;
	s->hung_up = false;
	s->in_ready = true;
	s->out_ready = true;
	if (loop_add(s->loop, &s->in_source,
		     EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)) {
		close(fd);
		s->in_fd = -1;
		s->out_fd = -1;
		return;
	}
	tell_connected(s, true);
	wake(s);
}

static void drop_client(struct stream *s)
{
	const char *data;
	size_t len;

	loop_del(s->loop, &s->in_source);
	close(s->in_fd);
	s->in_fd = -1;
	s->out_fd = -1;
	tell_connected(s, false);
	while ((len = output_len(s, &data)))
		output_done(s, len);
}

/* ---- events -------------------------------------------------------------- */

static void turn(struct stream *s)
{
	bool more = output_step(s);

	if (input_step(s))
		more = true;
	/* A half-closed client may still read. */
	if (s->listens && s->in_fd >= 0 && s->hung_up && s->in_ended &&
	    !s->in_len)
		drop_client(s);
	accept_client(s);
	if (more)
		wake(s);
}

static void on_ready(void *opaque, uint32_t events)
{
	struct stream *s = opaque;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->in_ready = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		s->out_ready = true;
	if (events & (EPOLLHUP | EPOLLERR))
		s->hung_up = true;
	turn(s);
}

static void on_out_ready(void *opaque, uint32_t events)
{
	struct stream *s = opaque;

	(void)events;
	s->out_ready = true;
	turn(s);
}

static void on_listen(void *opaque, uint32_t events)
{
	(void)events;
	accept_client(opaque);
}

static void on_wake(void *opaque, uint32_t events)
{
	struct stream *s = opaque;
	uint64_t expirations;

	(void)events;
	(void)!read(s->wake_source.fd, &expirations, sizeof(expirations));
	pthread_mutex_lock(&s->lock);
	s->woken = false;
	pthread_mutex_unlock(&s->lock);
	if (s->slave_fd >= 0)
		s->out_ready = true;
	turn(s);
}

/* ---- the interface ------------------------------------------------------- */

static const struct chardev_ops stream_ops = {
	.write = stream_write,
	.input_wanted = stream_input_wanted,
};

/* Regular files are always ready, and epoll does not have them. */
static int watch(struct stream *s, struct loop_source *source, uint32_t events)
{
	int err = source->fd < 0 ? 0 : loop_add(s->loop, source, events);

	return err == -EPERM ? 0 : err;
}

static void unwatch(struct stream *s)
{
	loop_del(s->loop, &s->wake_source);
	loop_del(s->loop, &s->listen_source);
	loop_del(s->loop, &s->in_source);
	loop_del(s->loop, &s->out_source);
}

int stream_start(struct stream *s, struct loop *loop)
{
	uint32_t in = EPOLLIN | EPOLLET;
	int err;

	if (s->in_fd == s->out_fd)
		in |= EPOLLOUT;
	s->loop = loop;
	err = watch(s, &s->wake_source, EPOLLIN);
	if (!err)
		err = watch(s, &s->listen_source, EPOLLIN | EPOLLET);
	if (!err)
		err = watch(s, &s->in_source, in);
	if (!err && s->out_fd != s->in_fd)
		err = watch(s, &s->out_source, EPOLLOUT | EPOLLET);
	if (err) {
		unwatch(s);
		s->loop = NULL;
		return err;
	}
	wake(s);
	return 0;
}

void stream_stop(struct stream *s)
{
	if (!s->loop)
		return;
	stream_flush(s);
	unwatch(s);
	pthread_mutex_lock(&s->lock);
	s->loop = NULL;
	pthread_mutex_unlock(&s->lock);
}

void stream_init(struct stream *s)
{
	s->chardev.ops = &stream_ops;
	s->in_source.ready = on_ready;
	s->out_source.ready = on_out_ready;
	s->listen_source.ready = on_listen;
	s->wake_source.ready = on_wake;
	s->in_source.opaque = s;
	s->out_source.opaque = s;
	s->listen_source.opaque = s;
	s->wake_source.opaque = s;
	s->in_ready = true;
	s->out_ready = true;
	pthread_mutex_init(&s->lock, NULL);
}

struct chardev *stream_chardev(struct stream *s)
{
	return &s->chardev;
}
