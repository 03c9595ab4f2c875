/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A thread that serves queues of a virtio device: woken by the driver's
 * notifications, stopped and started with the device and with the machine.
 *
 * A device has one worker or several, each with a range of its queues. The
 * worker owns these queues from start() until its stop has been answered by
 * virtio_worker_idle(); vCPUs and the main thread touch them only outside of
 * that span. All of a device's callbacks below run on the worker's thread.
 */
#ifndef LKVM_WORKER_H
#define LKVM_WORKER_H

#include <semaphore.h>
#include <stdbool.h>

#include <lkvm/loop.h>
#include <lkvm/virtio.h>

struct virtio_worker;

struct virtio_worker_ops {
	/*
	 * The driver may have made chains of @vq available, or the device
	 * has just been started. The worker runs and the queue is running.
	 */
	void (*kicked)(struct virtio_worker *worker, struct virtq *vq);
	/*
	 * virtio_worker_serve() has taken a batch of chains: what costs per
	 * batch, before the driver's interrupt. Optional.
	 */
	void (*taken)(struct virtio_worker *worker);
	/* The worker may touch its queues from now on. Optional. */
	void (*start)(struct virtio_worker *worker);
	/*
	 * Take no more chains; when the last one in flight is pushed (now,
	 * if there is none) call virtio_worker_idle(). Optional: a device
	 * that pushes each chain before kicked() returns needs none.
	 */
	void (*stop)(struct virtio_worker *worker);
};

struct virtio_worker_kick {
	struct loop_source source; /* eventfd */
	struct virtio_worker *worker;
	struct virtq *vq;
};

struct virtio_worker {
	struct virtio_device *vdev;
	const struct virtio_worker_ops *ops;
	struct io_thread *thread;
	unsigned int first, count; /* of the device's queues */
	bool active; /* vdev->lock: the driver has set the device up */
	bool paused; /* vdev->lock: between quiesce and resume */
	bool started; /* vdev->lock: between start and stop */
	bool running; /* the thread's: queues may be touched */
	sem_t idle;
	struct virtio_worker_kick kick[VIRTIO_MAX_QUEUES];
};

/*
 * Start the thread @name ("io-rng0") for @count queues of @vdev from @first
 * on; @vdev is initialised. With all of them it becomes vdev->worker. Returns 0
 * or -errno. Main thread.
 */
int virtio_worker_create(struct virtio_worker *worker,
			 struct virtio_device *vdev,
			 const struct virtio_worker_ops *ops, const char *name,
			 unsigned int first, unsigned int count);

/* Joins the thread. The device is inactive (its status is 0). Main thread. */
void virtio_worker_destroy(struct virtio_worker *worker);

/*
 * For virtio_device_ops.activate and deactivate: notifications reach the
 * worker, and the worker the queues, or neither. vdev->lock is held. When
 * activate fails (-errno) there is nothing to undo.
 */
int virtio_worker_activate(struct virtio_worker *worker);
void virtio_worker_deactivate(struct virtio_worker *worker);

/*
 * For device_type.quiesce and resume; take vdev->lock. A device that is
 * activated in between starts with the resume.
 */
void virtio_worker_quiesce(struct virtio_worker *worker);
void virtio_worker_resume(struct virtio_worker *worker);

/*
 * The same for the one worker of a device that has all of its queues: as
 * device_type.quiesce and resume, and as virtio_device_ops.handle_queue.
 */
void virtio_device_quiesce(struct device *device);
void virtio_device_resume(struct device *device);
void virtio_device_kick(struct virtio_device *vdev, unsigned int index);

/* Answer to ops->stop(): nothing is in flight, nor will be. Any thread. */
void virtio_worker_idle(struct virtio_worker *worker);

/*
 * Call @take until the ring of @vq stays empty, then interrupt the driver,
 * which need not notify meanwhile. After a while the loop's other sources get
 * a turn first. @take pops one chain and goes on with it; it returns what
 * virtq_pop() or virtq_break() did, or -EAGAIN when the device has no room
 * for a chain now: notifications are then off until the next serve().
 * The worker's thread, running.
 */
void virtio_worker_serve(struct virtio_worker *worker, struct virtq *vq,
			 int (*take)(struct virtio_worker *worker,
				     struct virtq *vq));

/* Look at @vq again soon, as if it was kicked. Any thread. */
void virtio_worker_kick(struct virtio_worker *worker, struct virtq *vq);

/* The thread's loop: for sources of the device's own. */
static inline struct loop *virtio_worker_loop(struct virtio_worker *worker)
{
	return io_thread_loop(worker->thread);
}

#endif
