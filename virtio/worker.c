/* SPDX-License-Identifier: GPL-2.0 */
/* A thread that serves queues of a virtio device. See worker.h. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/util.h>
#include <lkvm/worker.h>

/* Chains that are taken before the driver gets its interrupt. */
#define BATCH 32

/* Batches before the loop's other sources get a turn. */
#define ROUNDS 8

static void kicked(void *opaque, uint32_t events)
{
	struct virtio_worker_kick *kick = opaque;

	(void)events;
	/* Edge-triggered: the eventfd's count grows, and nobody reads it. */
	if (kick->worker->running && kick->vq->running)
		kick->worker->ops->kicked(kick->worker, kick->vq);
}

static void start_on_thread(void *opaque)
{
	struct virtio_worker *worker = opaque;

	worker->running = true;
	if (worker->ops->start)
		worker->ops->start(worker);
	/* What the driver made available before is looked for. */
	for (unsigned int i = 0; i < worker->count; i++)
		eventfd_write(worker->kick[i].source.fd, 1);
}

static void stop_on_thread(void *opaque)
{
	struct virtio_worker *worker = opaque;

	worker->running = false;
	if (worker->ops->stop)
		worker->ops->stop(worker);
	else
		virtio_worker_idle(worker);
}

void virtio_worker_idle(struct virtio_worker *worker)
{
	sem_post(&worker->idle);
}

static void start_locked(struct virtio_worker *worker)
{
	if (!worker->active || worker->paused || worker->started)
		return;
	io_thread_call(worker->thread, start_on_thread, worker);
	worker->started = true;
}

static void stop_locked(struct virtio_worker *worker)
{
	if (!worker->started)
		return;
	io_thread_call(worker->thread, stop_on_thread, worker);
	while (sem_wait(&worker->idle) && errno == EINTR)
		;
	worker->started = false;
}

static void detach(struct virtio_worker *worker, unsigned int count)
{
	while (count--)
		virtio_device_notify_fd(worker->vdev, worker->first + count,
					-1);
}

int virtio_worker_activate(struct virtio_worker *worker)
{
	for (unsigned int i = 0; i < worker->count; i++) {
		int err = virtio_device_notify_fd(worker->vdev,
						  worker->first + i,
						  worker->kick[i].source.fd);

		if (err) {
			detach(worker, i);
			return err;
		}
	}
	worker->active = true;
	start_locked(worker);
	return 0;
}

void virtio_worker_deactivate(struct virtio_worker *worker)
{
	if (!worker->active)
		return;
	detach(worker, worker->count);
	stop_locked(worker);
	worker->active = false;
}

void virtio_worker_quiesce(struct virtio_worker *worker)
{
	pthread_mutex_lock(&worker->vdev->lock);
	worker->paused = true;
	stop_locked(worker);
	pthread_mutex_unlock(&worker->vdev->lock);
}

void virtio_worker_resume(struct virtio_worker *worker)
{
	pthread_mutex_lock(&worker->vdev->lock);
	worker->paused = false;
	start_locked(worker);
	pthread_mutex_unlock(&worker->vdev->lock);
}

void virtio_worker_kick(struct virtio_worker *worker, struct virtq *vq)
{
	eventfd_write(worker->kick[vq->index - worker->first].source.fd, 1);
}

static struct virtio_worker *worker_of(struct device *device)
{
	return container_of(device, struct virtio_device, device)->worker;
}

void virtio_device_quiesce(struct device *device)
{
	virtio_worker_quiesce(worker_of(device));
}

void virtio_device_resume(struct device *device)
{
	virtio_worker_resume(worker_of(device));
}

void virtio_device_kick(struct virtio_device *vdev, unsigned int index)
{
	virtio_worker_kick(vdev->worker, &vdev->queue[index]);
}

void virtio_worker_serve(struct virtio_worker *worker, struct virtq *vq,
			 int (*take)(struct virtio_worker *worker,
				     struct virtq *vq))
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned int budget = BATCH;
		int got = 1;

		virtq_disable_notify(vq);
		while (budget && (got = take(worker, vq)) > 0)
			budget--;
		if (worker->ops->taken)
			worker->ops->taken(worker);
		virtio_device_signal(worker->vdev, vq);
		if (got == -EPROTO)
			virtio_device_broken(worker->vdev);
		if (got < 0)
			return;
		if (!got && budget == BATCH && !virtq_enable_notify(vq))
			return;
	}
	virtio_worker_kick(worker, vq);
}

/* ---- life ---------------------------------------------------------------- */

static void unwatch_on_thread(void *opaque)
{
	struct virtio_worker *worker = opaque;
	struct loop *loop = virtio_worker_loop(worker);

	for (unsigned int i = 0; i < worker->count; i++)
		if (worker->kick[i].source.added)
			loop_del(loop, &worker->kick[i].source);
}

void virtio_worker_destroy(struct virtio_worker *worker)
{
	/* There, no event of a kick's can be on its way any more. */
	io_thread_call(worker->thread, unwatch_on_thread, worker);
	io_thread_destroy(worker->thread);
	for (unsigned int i = 0; i < worker->count; i++)
		if (worker->kick[i].source.fd >= 0)
			close(worker->kick[i].source.fd);
	sem_destroy(&worker->idle);
}

static int watch(struct virtio_worker *worker, unsigned int index)
{
	struct virtio_worker_kick *kick = &worker->kick[index];
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	kick->worker = worker;
	kick->vq = &worker->vdev->queue[worker->first + index];
	kick->source.fd = fd;
	kick->source.ready = kicked;
	kick->source.opaque = kick;
	return loop_add(virtio_worker_loop(worker), &kick->source,
			EPOLLIN | EPOLLET);
}

int virtio_worker_create(struct virtio_worker *worker,
			 struct virtio_device *vdev,
			 const struct virtio_worker_ops *ops, const char *name,
			 unsigned int first, unsigned int count)
{
	int err;

	*worker = (struct virtio_worker) {
		.vdev = vdev,
		.ops = ops,
		.first = first,
		.count = count,
	};
	for (unsigned int i = 0; i < count; i++)
		worker->kick[i].source.fd = -1;
	sem_init(&worker->idle, 0, 0);
	err = io_thread_create(name, &worker->thread);
	if (err) {
		sem_destroy(&worker->idle);
		return err;
	}
	for (unsigned int i = 0; i < count && !err; i++)
		err = watch(worker, i);
	if (err)
		virtio_worker_destroy(worker);
	else if (count == vdev->nr_queues)
		vdev->worker = worker;
	return err;
}
