/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The console's hub: see console-hub.h.
 *
 * Positions count all bytes that the console ever said; a byte lies in the ring
 * at its position modulo the ring's size. Writers wait for the observers, not
 * for the tail: that is whatever lies before the end.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/console-hub.h>
#include <lkvm/loop.h>
#include <lkvm/util.h>

#define HUB_RING (64 * KIB)
/* Not sooner: each time it runs out, the vCPU that set it leaves its guest. */
#define HUB_BATCH_NS 10000000ULL

/* How soon the main thread is to look. */
enum wake { WAKE_NONE, WAKE_BATCH, WAKE_NOW };

struct console_hub {
	struct chardev end; /* for the console */
	struct chardev second_end;
	struct chardev *lower, *second; /* not owned; NULL: none */

	/* The main thread. */
	struct loop *loop;
	struct loop_source wake_source; /* a timerfd, set under lock */
	struct console_observer *observers;
	struct console_observer *next; /* whose turn is next, in a round */
	bool lower_refused; /* the device has not taken all of its input */

	pthread_mutex_t lock; /* guards the rest */
	enum wake wake;
	bool observed; /* there are observers */
	bool refused; /* a writer waits for the observers */
	bool typist_refused; /* console_hub_input() could not give all */
	bool typist_wanted; /* observers are to be told that it may again */
	uint64_t said; /* position of the next byte */
	uint64_t seen; /* up to which the observers have had it */
	char ring[HUB_RING];
};

static void wake_locked(struct console_hub *hub, enum wake wake)
{
	if (hub->wake >= wake)
		return;
	hub->wake = wake;
	timer_arm(hub->wake_source.fd, wake == WAKE_NOW ? 1 : HUB_BATCH_NS);
}

/* ---- the device's side: any thread, under its lock ------------------------ */

static void remember_locked(struct console_hub *hub, const char *data,
			    size_t len)
{
	size_t skip = len - MIN(len, HUB_RING);
	size_t at = (hub->said + skip) % HUB_RING;
	size_t first = MIN(len - skip, HUB_RING - at);

	memcpy(hub->ring + at, data + skip, first);
	memcpy(hub->ring, data + skip + first, len - skip - first);
	hub->said += len;
	if (!hub->observed) {
		hub->seen = hub->said;
		return;
	}
	wake_locked(hub, hub->said - hub->seen < HUB_RING / 2 ? WAKE_BATCH :
								WAKE_NOW);
}

static size_t hub_write(struct console_hub *hub, struct chardev *lower,
			const void *data, size_t len)
{
	size_t room, taken;

	pthread_mutex_lock(&hub->lock);
	room = hub->observed ? HUB_RING - (hub->said - hub->seen) : SIZE_MAX;
	if (len > room) {
		hub->refused = true;
		len = room;
	}
	/* Within the lock, so that all see the two writers in one order. */
	taken = lower && len ? lower->ops->write(lower, data, len) : len;
	if (taken)
		remember_locked(hub, data, taken);
	pthread_mutex_unlock(&hub->lock);
	return taken;
}

static size_t end_write(struct chardev *chardev, const void *data, size_t len)
{
	struct console_hub *hub =
		container_of(chardev, struct console_hub, end);

	return hub_write(hub, hub->lower, data, len);
}

static size_t second_write(struct chardev *chardev, const void *data,
			   size_t len)
{
	struct console_hub *hub =
		container_of(chardev, struct console_hub, second_end);

	return hub_write(hub, hub->second, data, len);
}

/* Let the main thread tell the observers that it may take input again. */
static void typist_wanted(struct console_hub *hub)
{
	pthread_mutex_lock(&hub->lock);
	if (hub->typist_refused) {
		hub->typist_wanted = true;
		wake_locked(hub, WAKE_NOW);
	}
	pthread_mutex_unlock(&hub->lock);
}

static void end_input_wanted(struct chardev *chardev)
{
	struct console_hub *hub =
		container_of(chardev, struct console_hub, end);

	if (hub->lower)
		hub->lower->ops->input_wanted(hub->lower);
	typist_wanted(hub);
}

static void no_input(struct chardev *chardev)
{
	(void)chardev;
}

static const struct chardev_ops end_ops = {
	.write = end_write,
	.input_wanted = end_input_wanted,
};

static const struct chardev_ops second_ops = {
	.write = second_write,
	.input_wanted = no_input,
};

/* ---- the host end's side: the main thread --------------------------------- */

static void tell_writable(const struct chardev *end)
{
	if (end->frontend)
		end->frontend->writable(end->opaque);
}

/*
 * The device remembers only of the last call whether it refused some: when
 * both sources have something, each one's success is the other's chance.
 */
static size_t lower_receive(void *opaque, const void *data, size_t len)
{
	struct console_hub *hub = opaque;
	size_t taken = 0;

	if (hub->end.frontend)
		taken = hub->end.frontend->receive(hub->end.opaque, data, len);
	hub->lower_refused = taken < len;
	if (!hub->lower_refused)
		typist_wanted(hub);
	return taken;
}

static void lower_writable(void *opaque)
{
	struct console_hub *hub = opaque;

	tell_writable(&hub->end);
}

static void second_writable(void *opaque)
{
	struct console_hub *hub = opaque;

	tell_writable(&hub->second_end);
}

static void lower_connected(void *opaque, bool connected)
{
	struct console_hub *hub = opaque;
	const struct chardev_frontend_ops *frontend = hub->end.frontend;

	if (frontend && frontend->connected)
		frontend->connected(hub->end.opaque, connected);
}

static void lower_resized(void *opaque, uint16_t cols, uint16_t rows)
{
	struct console_hub *hub = opaque;
	const struct chardev_frontend_ops *frontend = hub->end.frontend;

	if (frontend && frontend->resized)
		frontend->resized(hub->end.opaque, cols, rows);
}

static const struct chardev_frontend_ops lower_ops = {
	.receive = lower_receive,
	.writable = lower_writable,
	.connected = lower_connected,
	.resized = lower_resized,
};

static size_t no_receive(void *opaque, const void *data, size_t len)
{
	(void)opaque;
	(void)data;
	return len;
}

static const struct chardev_frontend_ops second_lower_ops = {
	.receive = no_receive,
	.writable = second_writable,
};

/* ---- observers: the main thread ------------------------------------------- */

/* One piece, up to position @until. Returns false when there was none. */
static bool deliver_piece(struct console_hub *hub, uint64_t until)
{
	uint64_t at;
	size_t len;
	bool told;

	pthread_mutex_lock(&hub->lock);
	at = hub->seen;
	pthread_mutex_unlock(&hub->lock);
	if (at >= until)
		return false;
	len = MIN(until - at, HUB_RING - at % HUB_RING);
	/* Outside the lock: writers keep away from what has not been seen. */
	for (struct console_observer *o = hub->observers; o; o = hub->next) {
		hub->next = o->next;
		o->output(o->opaque, hub->ring + at % HUB_RING, len);
	}
	pthread_mutex_lock(&hub->lock);
	/* The last observer may just have gone. */
	hub->seen = MAX(hub->seen, at + len);
	told = hub->refused;
	hub->refused = false;
	pthread_mutex_unlock(&hub->lock);
	if (told) {
		tell_writable(&hub->end);
		tell_writable(&hub->second_end);
	}
	return true;
}

static uint64_t said(struct console_hub *hub)
{
	uint64_t at;

	pthread_mutex_lock(&hub->lock);
	at = hub->said;
	pthread_mutex_unlock(&hub->lock);
	return at;
}

static void deliver(struct console_hub *hub, uint64_t until)
{
	while (deliver_piece(hub, until))
		;
}

static void tell_input_wanted(struct console_hub *hub)
{
	for (struct console_observer *o = hub->observers; o; o = hub->next) {
		hub->next = o->next;
		if (o->input_wanted)
			o->input_wanted(o->opaque);
	}
}

static void on_wake(void *opaque, uint32_t events)
{
	struct console_hub *hub = opaque;
	uint64_t expirations;
	bool wanted;

	(void)events;
	(void)!read(hub->wake_source.fd, &expirations, sizeof(expirations));
	pthread_mutex_lock(&hub->lock);
	hub->wake = WAKE_NONE;
	wanted = hub->typist_wanted;
	hub->typist_wanted = false;
	pthread_mutex_unlock(&hub->lock);
	/* No more than is there: a chatty guest must not keep us here. */
	deliver(hub, said(hub));
	if (wanted)
		tell_input_wanted(hub);
}

void console_hub_flush(struct console_hub *hub)
{
	deliver(hub, said(hub));
}

static void set_observed(struct console_hub *hub)
{
	bool told;

	pthread_mutex_lock(&hub->lock);
	hub->observed = hub->observers != NULL;
	if (!hub->observed)
		hub->seen = hub->said;
	told = !hub->observed && hub->refused;
	if (told)
		hub->refused = false;
	pthread_mutex_unlock(&hub->lock);
	if (told) {
		tell_writable(&hub->end);
		tell_writable(&hub->second_end);
	}
}

void console_hub_observe(struct console_hub *hub,
			 struct console_observer *observer)
{
	deliver(hub, said(hub));
	observer->next = hub->observers;
	hub->observers = observer;
	set_observed(hub);
}

void console_hub_unobserve(struct console_hub *hub,
			   struct console_observer *observer)
{
	struct console_observer **link = &hub->observers;

	while (*link && *link != observer)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = observer->next;
	if (hub->next == observer)
		hub->next = observer->next;
	set_observed(hub);
}

size_t console_hub_input(struct console_hub *hub, const void *data, size_t len)
{
	size_t taken = 0;

	/* Before: the device may want it as soon as it has refused it. */
	pthread_mutex_lock(&hub->lock);
	hub->typist_refused = true;
	pthread_mutex_unlock(&hub->lock);
	if (hub->end.frontend)
		taken = hub->end.frontend->receive(hub->end.opaque, data, len);
	if (taken < len)
		return taken;
	pthread_mutex_lock(&hub->lock);
	hub->typist_refused = false;
	pthread_mutex_unlock(&hub->lock);
	if (hub->lower_refused && hub->lower)
		hub->lower->ops->input_wanted(hub->lower);
	return taken;
}

size_t console_hub_tail(struct console_hub *hub, char *out, size_t len)
{
	pthread_mutex_lock(&hub->lock);
	len = MIN(MIN(len, CONSOLE_TAIL), hub->seen);
	/* What has not been seen may lie where more of it was. */
	len = MIN(len, HUB_RING - (hub->said - hub->seen));
	for (size_t i = 0; i < len; i++)
		out[i] = hub->ring[(hub->seen - len + i) % HUB_RING];
	pthread_mutex_unlock(&hub->lock);
	return len;
}

/* ---- life ------------------------------------------------------------------ */

static void attach(struct console_hub *hub, struct chardev *lower,
		   const struct chardev_frontend_ops *ops)
{
	if (!lower)
		return;
	lower->opaque = hub;
	lower->frontend = ops;
}

static void detach(struct chardev *lower)
{
	if (lower)
		lower->frontend = NULL;
}

int console_hub_create(struct loop *loop, struct chardev *lower,
		       struct chardev *second, struct console_hub **out)
{
	struct console_hub *hub = calloc(1, sizeof(*hub));
	int err;

	if (!hub)
		return -ENOMEM;
	hub->loop = loop;
	hub->lower = lower;
	hub->second = second;
	hub->end.ops = &end_ops;
	hub->end.connected = !lower || lower->connected;
	hub->second_end.ops = &second_ops;
	hub->second_end.connected = true;
	hub->wake_source = (struct loop_source) {
		.fd = timerfd_create(CLOCK_MONOTONIC,
				     TFD_NONBLOCK | TFD_CLOEXEC),
		.ready = on_wake,
		.opaque = hub,
	};
	err = hub->wake_source.fd < 0 ?
		      -errno :
		      loop_add(loop, &hub->wake_source, EPOLLIN);
	if (err)
		goto fail;
	pthread_mutex_init(&hub->lock, NULL);
	attach(hub, lower, &lower_ops);
	attach(hub, second, &second_lower_ops);
	*out = hub;
	return 0;

fail:
	if (hub->wake_source.fd >= 0)
		close(hub->wake_source.fd);
	free(hub);
	return err;
}

void console_hub_destroy(struct console_hub *hub)
{
	if (!hub)
		return;
	detach(hub->lower);
	detach(hub->second);
	loop_del(hub->loop, &hub->wake_source);
	close(hub->wake_source.fd);
	pthread_mutex_destroy(&hub->lock);
	free(hub);
}

struct chardev *console_hub_chardev(struct console_hub *hub)
{
	return &hub->end;
}

struct chardev *console_hub_second(struct console_hub *hub)
{
	return &hub->second_end;
}
