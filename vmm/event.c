/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Events: a queue of texts from all threads to the main one, which gives them
 * to the control socket's clients and writes them to --events. See event.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/control.h>
#include <lkvm/event.h>
#include <lkvm/log.h>
#include <lkvm/vm.h>

#define SECOND_NS 1000000000ULL

/* A guest can cause one at each page that it gives up. */
#define BALLOON_EVENT_NS SECOND_NS

/* Disk errors of one VM that are told a second. */
#define DISK_EVENTS 10

struct event {
	char *text; /* JSON, with its newline; owned */
	size_t len;
	bool own; /* for the file alone */
};

struct events {
	int fd; /* --events; -1: none */
	bool fd_is_ours;
	bool fd_failed;
	struct loop_source wake; /* eventfd: something waits */
	struct loop_source timer; /* timerfd: tell of the balloon */

	pthread_mutex_t lock; /* guards the rest */
	struct event waiting[EVENT_MAX_WAITING];
	unsigned int nr_waiting;
	uint64_t balloon_bytes; /* in it, as last heard */
	bool balloon_news;
	uint64_t balloon_told_ns;
	uint64_t disk_second_ns; /* when this second began */
	unsigned int disk_told; /* in this second */
};

/* ---- telling ------------------------------------------------------------- */

/* The event as text, with a newline; NULL when memory is short. */
static char *event_text(const char *name, json_t *data, size_t *len)
{
	struct timespec now;
	json_t *event;
	char *text;

	clock_gettime(CLOCK_REALTIME, &now);
	event = json_pack("{s:{s:I,s:i},s:s,s:O*}", "timestamp", "seconds",
			  (json_int_t)now.tv_sec, "microseconds",
			  (int)(now.tv_nsec / 1000), "event", name, "data",
			  data);
	text = event ? json_dumps(event, JSON_COMPACT) : NULL;
	json_decref(event);
	if (!text)
		return NULL;
	*len = strlen(text);
	text[(*len)++] = '\n'; /* in place of the string's end */
	return text;
}

static void tell(struct vm *vm, const char *name, json_t *data, bool own)
{
	struct events *events = vm->events;
	struct event event = { .own = own };

	if (events)
		event.text = event_text(name, data, &event.len);
	json_decref(data);
	if (!event.text)
		return;
	pthread_mutex_lock(&events->lock);
	if (events->nr_waiting < EVENT_MAX_WAITING) {
		events->waiting[events->nr_waiting++] = event;
		event.text = NULL;
	}
	pthread_mutex_unlock(&events->lock);
	free(event.text);
	eventfd_write(events->wake.fd, 1);
}

void vm_event(struct vm *vm, const char *name, json_t *data)
{
	tell(vm, name, data, false);
}

void vm_event_own(struct vm *vm, const char *name, json_t *data)
{
	tell(vm, name, data, true);
}

/* ---- what devices tell --------------------------------------------------- */

/* Tell now, or when a second has passed since the last time. */
static void on_balloon(struct machine *machine, uint64_t bytes)
{
	struct vm *vm = container_of(machine, struct vm, machine);
	struct events *events = vm->events;
	uint64_t now = now_ns();
	uint64_t next;

	pthread_mutex_lock(&events->lock);
	events->balloon_bytes = bytes;
	next = events->balloon_told_ns + BALLOON_EVENT_NS;
	if (!events->balloon_news)
		timer_arm(events->timer.fd, next > now ? next - now : 1);
	events->balloon_news = true;
	pthread_mutex_unlock(&events->lock);
}

static void tell_of_balloon(void *opaque, uint32_t fired)
{
	struct vm *vm = opaque;
	struct events *events = vm->events;
	uint64_t ram = memory_size(&vm->machine.memory);
	uint64_t expirations, bytes;
	bool news;

	(void)fired;
	(void)!read(events->timer.fd, &expirations, sizeof(expirations));
	pthread_mutex_lock(&events->lock);
	news = events->balloon_news;
	/* A guest may say more than there is. */
	bytes = MIN(events->balloon_bytes, memory_size(&vm->machine.memory));
	events->balloon_news = false;
	events->balloon_told_ns = now_ns();
	pthread_mutex_unlock(&events->lock);
	/* The guest may claim whatever it likes. */
	bytes = ram - MIN(bytes, ram);
	if (news)
		vm_event(vm, "BALLOON_CHANGE",
			 json_pack("{s:I}", "actual", (json_int_t)bytes));
}

static void on_disk_error(struct machine *machine, const char *device,
			  bool write, int err)
{
	struct vm *vm = container_of(machine, struct vm, machine);
	struct events *events = vm->events;
	uint64_t now = now_ns();
	bool ok;

	pthread_mutex_lock(&events->lock);
	if (now - events->disk_second_ns >= SECOND_NS) {
		events->disk_second_ns = now;
		events->disk_told = 0;
	}
	ok = events->disk_told++ < DISK_EVENTS;
	pthread_mutex_unlock(&events->lock);
	if (!ok)
		return;
	vm_event(vm, "BLOCK_IO_ERROR",
		 json_pack("{s:s,s:s,s:s,s:s,s:b,s:s}", "device", device,
			   "node-name", device, "operation",
			   write ? "write" : "read", "action", "report",
			   "nospace", err == -ENOSPC, "reason",
			   strerror(-err)));
}

/* ---- delivering ---------------------------------------------------------- */

/*
 * A pipe that has room, and a file, take a whole line at once; what a reader
 * who is too slow leaves no room for is lost, and not waited for.
 */
static void write_line(struct events *events, const struct event *event)
{
	struct pollfd out = { .fd = events->fd, .events = POLLOUT };
	int err = 0;

	if (poll(&out, 1, 0) <= 0)
		err = -EAGAIN;
	else if (!(out.revents & POLLOUT))
		err = -EPIPE;
	else
		err = write_full(events->fd, event->text, event->len);
	if (err && !events->fd_failed)
		log_warn("event", "--events: a line is lost: %s",
			 err == -EAGAIN ? "its reader is too slow" :
					  strerror(-err));
	events->fd_failed = err != 0;
}

void events_deliver(struct vm *vm)
{
	struct events *events = vm->events;
	struct event taken[EVENT_MAX_WAITING];
	unsigned int count;
	eventfd_t wakes;

	if (!events)
		return;
	(void)eventfd_read(events->wake.fd, &wakes);
	pthread_mutex_lock(&events->lock);
	count = events->nr_waiting;
	memcpy(taken, events->waiting, count * sizeof(*taken));
	events->nr_waiting = 0;
	pthread_mutex_unlock(&events->lock);
	for (unsigned int i = 0; i < count; i++) {
		const struct event *event = &taken[i];

		if (events->fd >= 0)
			write_line(events, event);
		/* The line's end is the server's to choose. */
		if (vm->control && !event->own)
			control_event(vm->control, event->text, event->len - 1);
		free(event->text);
	}
}

static void on_wake(void *opaque, uint32_t fired)
{
	(void)fired;
	events_deliver(opaque);
}

/* ---- life ---------------------------------------------------------------- */

int events_open(struct vm *vm)
{
	const struct vm_config *config = vm->config;
	struct events *events = vm->events;
	int err;

	if (!config->events)
		return 0;
	events->fd_is_ours = config->events_fd < 0;
	if (!events->fd_is_ours) {
		events->fd = config->events_fd;
		return 0;
	}
	/* A pipe without a reader is an error, not to be waited for. */
	events->fd = open(config->events,
			  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK,
			  0666);
	if (events->fd >= 0)
		return 0;
	err = -errno;
	log_err("event", "--events: cannot write to %s: %s", config->events,
		strerror(-err));
	return err;
}

static int watch(struct vm *vm, struct loop_source *source, int fd,
		 void (*ready)(void *opaque, uint32_t events))
{
	*source = (struct loop_source) {
		.fd = fd,
		.ready = ready,
		.opaque = vm,
	};
	return fd < 0 ? -errno : loop_add(vm->machine.loop, source, EPOLLIN);
}

int events_create(struct vm *vm)
{
	struct events *events = calloc(1, sizeof(*events));
	int err;

	if (!events)
		return -ENOMEM;
	events->fd = -1;
	events->wake.fd = -1;
	events->timer.fd = -1;
	pthread_mutex_init(&events->lock, NULL);
	vm->events = events;
	err = watch(vm, &events->wake, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		    on_wake);
	if (!err)
		err = watch(vm, &events->timer,
			    timerfd_create(CLOCK_MONOTONIC,
					   TFD_CLOEXEC | TFD_NONBLOCK),
			    tell_of_balloon);
	if (err) {
		log_err("event", "cannot set events up: %s", strerror(-err));
		return err;
	}
	vm->machine.balloon_changed = on_balloon;
	vm->machine.disk_error = on_disk_error;
	return 0;
}

static void unwatch(struct vm *vm, struct loop_source *source)
{
	if (source->fd < 0)
		return;
	loop_del(vm->machine.loop, source);
	close(source->fd);
}

void events_destroy(struct vm *vm)
{
	struct events *events = vm->events;

	if (!events)
		return;
	events_deliver(vm);
	unwatch(vm, &events->wake);
	unwatch(vm, &events->timer);
	if (events->fd_is_ours && events->fd >= 0)
		close(events->fd);
	pthread_mutex_destroy(&events->lock);
	vm->events = NULL;
	free(events);
}
