/* SPDX-License-Identifier: GPL-2.0 */
/* Rate limits of a disk: see throttle.h. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/bucket.h>
#include <lkvm/image.h>
#include <lkvm/loop.h>
#include <lkvm/throttle.h>
#include <lkvm/util.h>

#define SECOND_NS 1000000000ULL

struct throttle {
	pthread_mutex_t lock;
	struct throttle_limits limits_set; /* lock, as the next */
	struct bucket requests[2], bytes[2]; /* by rate and by max */
	_Atomic bool limits; /* one of them has a rate */
	struct throttle_queue *queues; /* lock; by next */
};

struct throttle_queue {
	struct throttle *throttle;
	struct throttle_queue *next; /* of the throttle's */
	struct image_queue *queue;
	void (*submit)(struct image_queue *queue,
		       struct image_request *request);
	struct loop_source timer; /* a timerfd */
	struct image_request *waiting, **waiting_tail;
	bool hurry; /* nothing waits */
};

/* ---- buckets ------------------------------------------------------------- */

static void set_buckets(struct bucket buckets[2],
			const struct throttle_limit *limit)
{
	unsigned __int128 burst =
		(unsigned __int128)limit->max * limit->seconds * SECOND_NS;

	/* Debts were made under the old limits. */
	buckets[0] = (struct bucket) {
		.rate = limit->rate,
		.burst_ns = limit->rate ? (uint64_t)(burst / limit->rate) : 0,
	};
	/* For one second there is nothing to spread. */
	buckets[1] = (struct bucket) {
		.rate = limit->seconds > 1 ? limit->max : 0,
	};
}

uint64_t throttle_take(struct throttle *throttle, uint64_t bytes, bool force,
		       uint64_t at_ns)
{
	uint64_t wait = 0;

	pthread_mutex_lock(&throttle->lock);
	for (unsigned int i = 0; i < 2 && !force; i++) {
		wait = MAX(wait, bucket_wait(&throttle->requests[i], at_ns));
		wait = MAX(wait, bucket_wait(&throttle->bytes[i], at_ns));
	}
	for (unsigned int i = 0; i < 2 && !wait; i++) {
		bucket_pay(&throttle->requests[i], 1, at_ns);
		bucket_pay(&throttle->bytes[i], bytes, at_ns);
	}
	pthread_mutex_unlock(&throttle->lock);
	return wait;
}

int throttle_create(uint64_t iops, uint64_t bandwidth, struct throttle **out)
{
	const struct throttle_limits limits = {
		.requests.rate = iops,
		.bytes.rate = bandwidth,
	};
	struct throttle *throttle = calloc(1, sizeof(*throttle));

	if (!throttle)
		return -ENOMEM;
	pthread_mutex_init(&throttle->lock, NULL);
	throttle_set(throttle, &limits);
	*out = throttle;
	return 0;
}

void throttle_set(struct throttle *throttle,
		  const struct throttle_limits *limits)
{
	pthread_mutex_lock(&throttle->lock);
	throttle->limits_set = *limits;
	set_buckets(throttle->requests, &limits->requests);
	set_buckets(throttle->bytes, &limits->bytes);
	atomic_store(&throttle->limits,
		     limits->requests.rate || limits->bytes.rate);
	/* What waits may have waited long enough for the new ones. */
	for (struct throttle_queue *tq = throttle->queues; tq; tq = tq->next)
		timer_arm(tq->timer.fd, 1);
	pthread_mutex_unlock(&throttle->lock);
}

void throttle_get(struct throttle *throttle, struct throttle_limits *out)
{
	pthread_mutex_lock(&throttle->lock);
	*out = throttle->limits_set;
	pthread_mutex_unlock(&throttle->lock);
}

void throttle_destroy(struct throttle *throttle)
{
	if (!throttle)
		return;
	pthread_mutex_destroy(&throttle->lock);
	free(throttle);
}

/* ---- queues -------------------------------------------------------------- */

static uint64_t bytes_of(const struct image_request *request)
{
	/* The rest moves none, however long its range is. */
	return request->op == IMAGE_READ || request->op == IMAGE_WRITE ?
		       request->len :
		       0;
}

static struct image_request *pop(struct throttle_queue *tq)
{
	struct image_request *request = tq->waiting;

	tq->waiting = request->next;
	if (!tq->waiting)
		tq->waiting_tail = &tq->waiting;
	return request;
}

static void timer_ready(void *opaque, uint32_t events)
{
	struct throttle_queue *tq = opaque;
	uint64_t expirations;
	uint64_t wait = 0;

	(void)events;
	(void)!read(tq->timer.fd, &expirations, sizeof(expirations));
	while (tq->waiting && !wait) {
		wait = throttle_take(tq->throttle, bytes_of(tq->waiting), false,
				     now_ns());
		if (!wait)
			tq->submit(tq->queue, pop(tq));
	}
	if (wait)
		timer_arm(tq->timer.fd, wait);
	image_end_batch(tq->queue);
}

bool throttle_pass(struct throttle_queue *tq, struct image_request *request)
{
	uint64_t wait = 1;

	if (request->op == IMAGE_FLUSH)
		return true;
	/* No lock where nothing is limited, as a rule. */
	if (!tq->waiting && !atomic_load(&tq->throttle->limits))
		return true;
	/* Behind those that came before. */
	if (!tq->waiting)
		wait = throttle_take(tq->throttle, bytes_of(request), tq->hurry,
				     now_ns());
	if (!wait)
		return true;
	if (!tq->waiting)
		timer_arm(tq->timer.fd, wait);
	request->next = NULL;
	*tq->waiting_tail = request;
	tq->waiting_tail = &request->next;
	return false;
}

void throttle_hurry(struct throttle_queue *tq, bool hurry)
{
	tq->hurry = hurry;
	if (!hurry)
		return;
	while (tq->waiting) {
		throttle_take(tq->throttle, bytes_of(tq->waiting), true,
			      now_ns());
		tq->submit(tq->queue, pop(tq));
	}
	image_end_batch(tq->queue);
}

int throttle_queue_create(struct throttle *throttle, struct image_queue *queue,
			  void (*submit)(struct image_queue *queue,
					 struct image_request *request),
			  struct throttle_queue **out)
{
	struct throttle_queue *tq = calloc(1, sizeof(*tq));
	int err;

	if (!tq)
		return -ENOMEM;
	tq->throttle = throttle;
	tq->queue = queue;
	tq->submit = submit;
	tq->waiting_tail = &tq->waiting;
	tq->timer = (struct loop_source) {
		.fd = timerfd_create(CLOCK_MONOTONIC,
				     TFD_CLOEXEC | TFD_NONBLOCK),
		.ready = timer_ready,
		.opaque = tq,
	};
	if (tq->timer.fd < 0) {
		err = -errno;
		goto free_tq;
	}
	err = loop_add(queue->engine->loop, &tq->timer, EPOLLIN);
	if (err)
		goto close_timer;
	pthread_mutex_lock(&throttle->lock);
	tq->next = throttle->queues;
	throttle->queues = tq;
	pthread_mutex_unlock(&throttle->lock);
	*out = tq;
	return 0;

close_timer:
	close(tq->timer.fd);
free_tq:
	free(tq);
	return err;
}

void throttle_queue_destroy(struct throttle_queue *tq)
{
	struct throttle_queue **link;

	if (!tq)
		return;
	pthread_mutex_lock(&tq->throttle->lock);
	link = &tq->throttle->queues;
	while (*link != tq)
		link = &(*link)->next;
	*link = tq->next;
	pthread_mutex_unlock(&tq->throttle->lock);
	loop_del(tq->queue->engine->loop, &tq->timer);
	close(tq->timer.fd);
	free(tq);
}
