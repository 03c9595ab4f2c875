/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of virtio/net*.c: a network device over a backend that this
 * file plays, with the driver of driver.h.
 */
#ifndef TESTS_NET_H
#define TESTS_NET_H

#include "driver.h"

#include <linux/virtio_net.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/virtio-net.h>

#define QUEUES 5
#define SIZE 64 /* of every queue */
#define BUFFERS 0x200000
#define RAM (4 * MIB)

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define HEADER NET_HEADER_BYTES

#define MRG BIT_ULL(VIRTIO_NET_F_MRG_RXBUF)
#define CTRL BIT_ULL(VIRTIO_NET_F_CTRL_VQ)

#define MAX_FRAMES 64

struct frame {
	size_t len;
	uint8_t *bytes; /* owned */
};

/* Frames on their way, guarded by the fixture's lock. */
struct wire {
	struct frame frame[MAX_FRAMES];
	unsigned int put, taken;
};

struct fixture {
	struct driver driver;
	struct io_thread *main; /* plays the main loop */
	struct device *device;
	unsigned int next_desc[QUEUES];

	/* the backend */
	struct net_backend backend;
	struct loop_source source[NET_MAX_PAIRS];
	struct loop *loop[NET_MAX_PAIRS];
	pthread_mutex_t lock;
	struct wire to_guest, from_guest;
	_Atomic int send_error, receive_error, configure_error;
	_Atomic unsigned int receives, configures;
	_Atomic uint64_t configured;
	_Atomic unsigned int configured_pairs;
};

static struct fixture *the_fixture;

static inline struct fixture *of_backend(struct net_backend *backend)
{
	return container_of(backend, struct fixture, backend);
}

/* ---- the backend --------------------------------------------------------- */

static inline void put_frame(struct fixture *f, struct wire *wire,
			     const void *bytes, size_t len)
{
	struct frame *frame;

	pthread_mutex_lock(&f->lock);
	assert_true(wire->put - wire->taken < MAX_FRAMES);
	frame = &wire->frame[wire->put++ % MAX_FRAMES];
	frame->len = len;
	frame->bytes = malloc(len ? len : 1);
	assert_non_null(frame->bytes);
	memcpy(frame->bytes, bytes, len);
	pthread_mutex_unlock(&f->lock);
}

/* The caller frees its bytes. */
static inline bool take_frame(struct fixture *f, struct wire *wire,
			      struct frame *out)
{
	bool there;

	pthread_mutex_lock(&f->lock);
	there = wire->taken != wire->put;
	if (there)
		*out = wire->frame[wire->taken++ % MAX_FRAMES];
	pthread_mutex_unlock(&f->lock);
	return there;
}

static inline void backend_ready(void *opaque, uint32_t events)
{
	struct loop_source *source = opaque;
	unsigned int queue = (unsigned int)(source - the_fixture->source);

	(void)events;
	if (!atomic_load(&the_fixture->send_error))
		the_fixture->backend.frontend->writable(
			the_fixture->backend.opaque, queue);
	the_fixture->backend.frontend->readable(the_fixture->backend.opaque,
						queue);
}

static inline int backend_attach(struct net_backend *backend,
				 unsigned int queue, struct loop *loop)
{
	struct fixture *f = of_backend(backend);

	f->loop[queue] = loop;
	f->source[queue].ready = backend_ready;
	f->source[queue].opaque = &f->source[queue];
	return loop_add(loop, &f->source[queue], EPOLLIN | EPOLLET);
}

static inline void backend_detach(struct net_backend *backend,
				  unsigned int queue)
{
	struct fixture *f = of_backend(backend);

	loop_del(f->loop[queue], &f->source[queue]);
}

static inline int backend_send(struct net_backend *backend, unsigned int queue,
			       const struct iovec *iov, unsigned int count,
			       size_t len)
{
	struct fixture *f = of_backend(backend);
	uint8_t *flat;

	(void)queue;
	if (atomic_load(&f->send_error))
		return atomic_load(&f->send_error);
	assert_int_equal(iov_length(iov, count), len);
	flat = malloc(len);
	assert_non_null(flat);
	iov_to_buf(iov, count, 0, flat, len);
	put_frame(f, &f->from_guest, flat, len);
	free(flat);
	return 0;
}

static inline ssize_t backend_receive(struct net_backend *backend,
				      unsigned int queue,
				      const struct iovec *iov,
				      unsigned int count, size_t room)
{
	struct fixture *f = of_backend(backend);
	struct frame frame;

	(void)queue;
	atomic_fetch_add(&f->receives, 1);
	if (atomic_load(&f->receive_error))
		return atomic_load(&f->receive_error);
	assert_int_equal(iov_length(iov, count), room);
	if (!take_frame(f, &f->to_guest, &frame))
		return -EAGAIN;
	assert_int_equal(iov_from_buf(iov, count, 0, frame.bytes, frame.len),
			 frame.len);
	free(frame.bytes);
	return (ssize_t)frame.len;
}

static inline int backend_configure(struct net_backend *backend,
				    uint64_t features, unsigned int pairs)
{
	struct fixture *f = of_backend(backend);

	atomic_fetch_add(&f->configures, 1);
	if (atomic_load(&f->configure_error))
		return atomic_load(&f->configure_error);
	atomic_store(&f->configured, features);
	atomic_store(&f->configured_pairs, pairs);
	return 0;
}

static inline void backend_destroy(struct net_backend *backend)
{
	(void)backend;
}

static const struct net_backend_ops backend_ops = {
	.name = "fake",
	.attach = backend_attach,
	.detach = backend_detach,
	.send = backend_send,
	.receive = backend_receive,
	.configure = backend_configure,
	.destroy = backend_destroy,
};

/* Instead of net/backend.c. */
int net_backend_create(const struct net_options *options, const char *name,
		       struct net_backend **out)
{
	(void)name;
	the_fixture->backend.ops = &backend_ops;
	the_fixture->backend.pairs = (unsigned int)options->pairs;
	the_fixture->backend.features = BIT_ULL(VIRTIO_NET_F_CSUM) |
					BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) |
					BIT_ULL(VIRTIO_NET_F_GUEST_TSO4);
	*out = &the_fixture->backend;
	return 0;
}

/* ---- the driver ---------------------------------------------------------- */

static inline void start(struct fixture *f, uint64_t features)
{
	memset(f->next_desc, 0, sizeof(f->next_desc));
	driver_run(&f->driver, features);
}

static inline void kick(struct fixture *f, unsigned int queue)
{
	driver_kick(&f->driver, queue);
}

/* One piece of a chain: where in BUFFERS, how long, VRING_DESC_F_WRITE or 0. */
struct piece {
	uint32_t at, len;
	unsigned int flags;
};

/* Make a chain of @count pieces available. Returns its head. */
static inline uint16_t offer(struct fixture *f, unsigned int queue,
			     const struct piece *piece, unsigned int count)
{
	unsigned int head = f->next_desc[queue] % SIZE;

	for (unsigned int i = 0; i < count; i++)
		driver_put_desc(&f->driver, queue, (head + i) % SIZE,
				BUFFERS + piece[i].at, piece[i].len,
				piece[i].flags | (i + 1 < count ? NEXT : 0),
				(head + i + 1) % SIZE);
	f->next_desc[queue] += count;
	driver_offer(&f->driver, queue, head);
	return (uint16_t)head;
}

static inline void doze(void)
{
	nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
}

static inline uint16_t used_idx(struct fixture *f, unsigned int queue)
{
	return driver_used_idx(&f->driver, queue);
}

/* Wait for the next used element. */
static inline struct vring_used_elem next_used(struct fixture *f,
					       unsigned int queue)
{
	struct vring_used_elem elem;

	elem.id = driver_wait(&f->driver, queue, &elem.len);
	return elem;
}

static inline void await_broken(struct fixture *f)
{
	driver_wait_broken(&f->driver);
}

/* A frame with header for the guest, and its backend says so. */
static inline void arrive(struct fixture *f, const void *bytes, size_t len)
{
	put_frame(f, &f->to_guest, bytes, len);
	eventfd_write(f->source[0].fd, 1);
}

/* Wait for the next frame from the guest. The caller frees its bytes. */
static inline struct frame sent_frame(struct fixture *f)
{
	struct frame frame;

	while (!take_frame(f, &f->from_guest, &frame))
		doze();
	return frame;
}

/* Until the pair's thread has done all that it was asked for before. */
static inline void nothing(void *opaque)
{
	(void)opaque;
}

static inline struct net *net_of(struct fixture *f)
{
	return container_of(f->driver.vdev, struct net, vdev);
}

static inline void settle(struct fixture *f)
{
	/* Twice: the first round may kick the thread itself. */
	for (unsigned int i = 0; i < 4; i++) {
		io_thread_call(net_of(f)->pair[0].worker.thread, nothing, NULL);
		io_thread_call(f->main, nothing, NULL);
		doze();
	}
}

/* ---- life ---------------------------------------------------------------- */

static inline void create_with(struct fixture *f, unsigned int pairs)
{
	struct net_options options =
		*(const struct net_options *)virtio_net_type.defaults;

	options.vhost = NET_VHOST_OFF;
	options.pairs = pairs;
	assert_int_equal(virtio_net_type.create(&f->driver.machine, &options,
						&f->device),
			 0);
}

static inline int setup_pairs(void **state, unsigned int pairs)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	driver_init_ram(&f->driver, RAM);
	f->driver.size = SIZE;
	the_fixture = f;
	assert_int_equal(io_thread_create("main", &f->main), 0);
	f->driver.machine.loop = io_thread_loop(f->main);
	pthread_mutex_init(&f->lock, NULL);
	for (unsigned int i = 0; i < NET_MAX_PAIRS; i++)
		f->source[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	create_with(f, pairs);
	*state = f;
	return 0;
}

static inline int setup(void **state)
{
	return setup_pairs(state, 1);
}

static inline int setup_two_pairs(void **state)
{
	return setup_pairs(state, 2);
}

static inline void destroy_on_main(void *opaque)
{
	struct fixture *f = opaque;

	virtio_net_type.destroy(f->device);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	struct frame frame;

	io_thread_call(f->main, destroy_on_main, f);
	io_thread_destroy(f->main);
	while (take_frame(f, &f->to_guest, &frame) ||
	       take_frame(f, &f->from_guest, &frame))
		free(frame.bytes);
	for (unsigned int i = 0; i < NET_MAX_PAIRS; i++)
		close(f->source[i].fd);
	pthread_mutex_destroy(&f->lock);
	driver_release(&f->driver);
	free(f);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
