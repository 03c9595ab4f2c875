/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of virtio/net*.c: a network device over a backend that this
 * file plays, with a driver and a transport that it plays, too, and RAM without
 * KVM.
 */
#ifndef TESTS_NET_H
#define TESTS_NET_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio-net.h>

#define QUEUES 5
#define SIZE 64 /* of every queue */
#define RING(queue) (0x100000 + 0x8000ULL * (queue))
#define AVAIL 0x4000
#define USED 0x5000
#define BUFFERS 0x200000
#define RAM (4 * MIB)

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define HEADER NET_HEADER_BYTES

#define VERSION_1 BIT_ULL(VIRTIO_F_VERSION_1)
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

struct ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx;
	uint16_t seen; /* of the used ring */
	unsigned int next_desc;
};

struct fixture {
	struct machine machine;
	struct virtio_transport transport;
	struct io_thread *main; /* plays the main loop */
	struct device *device;
	struct virtio_device *vdev;
	uint8_t *ram;
	struct ring ring[QUEUES];
	int notify_fd[QUEUES];
	_Atomic unsigned int config_signals;

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

/* ---- the transport ------------------------------------------------------- */

static inline void fake_signal_queue(void *transport, struct virtq *vq)
{
	(void)transport;
	(void)vq;
}

static inline void fake_signal_config(void *transport)
{
	atomic_fetch_add(&((struct fixture *)transport)->config_signals, 1);
}

static inline int fake_attach_notify(void *transport, unsigned int index,
				     int fd)
{
	((struct fixture *)transport)->notify_fd[index] = fd;
	return 0;
}

static inline void fake_detach_notify(void *transport, unsigned int index,
				      int fd)
{
	struct fixture *f = transport;

	assert_int_equal(f->notify_fd[index], fd);
	f->notify_fd[index] = -1;
}

static inline void fake_nothing(void *transport)
{
	(void)transport;
}

static const struct virtio_transport_ops fake_transport_ops = {
	.signal_queue = fake_signal_queue,
	.signal_config = fake_signal_config,
	.attach_notify = fake_attach_notify,
	.detach_notify = fake_detach_notify,
	.destroy = fake_nothing,
	.reset = fake_nothing,
};

static inline int fake_attach(struct machine *machine,
			      struct virtio_device *vdev)
{
	vdev->transport_ops = &fake_transport_ops;
	vdev->transport = container_of(machine, struct fixture, machine);
	return 0;
}

/* ---- the driver ---------------------------------------------------------- */

static inline void set_up_queue(struct fixture *f, unsigned int index)
{
	struct ring *ring = &f->ring[index];
	uint8_t *at = f->ram + RING(index);

	ring->desc = (struct vring_desc *)at;
	ring->avail = (struct vring_avail *)(at + AVAIL);
	ring->used = (struct vring_used *)(at + USED);
	memset(at, 0, 0x8000);
	ring->avail_idx = 0;
	ring->seen = 0;
	ring->next_desc = 0;
	virtio_device_set_queue(f->vdev, index, VIRTQ_REG_SIZE, SIZE);
	virtio_device_set_queue(f->vdev, index, VIRTQ_REG_DESC, RING(index));
	virtio_device_set_queue(f->vdev, index, VIRTQ_REG_DRIVER,
				RING(index) + AVAIL);
	virtio_device_set_queue(f->vdev, index, VIRTQ_REG_DEVICE,
				RING(index) + USED);
	virtio_device_set_queue(f->vdev, index, VIRTQ_REG_READY, 1);
}

static inline void start(struct fixture *f, uint64_t features)
{
	struct virtio_device *vdev = f->vdev;

	features |= VERSION_1;
	virtio_device_set_features(vdev, 0, (uint32_t)features);
	virtio_device_set_features(vdev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(vdev, VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int i = 0; i < vdev->nr_queues; i++)
		set_up_queue(f, i);
	virtio_device_set_status(vdev, VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(virtio_device_get_status(vdev),
			 VIRTIO_CONFIG_S_FEATURES_OK |
				 VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline void kick(struct fixture *f, unsigned int queue)
{
	eventfd_write(f->notify_fd[queue], 1);
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
	struct ring *ring = &f->ring[queue];
	unsigned int head = ring->next_desc % SIZE;

	for (unsigned int i = 0; i < count; i++) {
		struct vring_desc *desc = &ring->desc[(head + i) % SIZE];

		desc->addr = htole64(BUFFERS + piece[i].at);
		desc->len = htole32(piece[i].len);
		desc->flags = htole16((uint16_t)(piece[i].flags |
						 (i + 1 < count ? NEXT : 0)));
		desc->next = htole16((uint16_t)((head + i + 1) % SIZE));
	}
	ring->next_desc += count;
	ring->avail->ring[ring->avail_idx % SIZE] = htole16((uint16_t)head);
	ring->avail_idx++;
	__atomic_store_n(&ring->avail->idx, htole16(ring->avail_idx),
			 __ATOMIC_RELEASE);
	return (uint16_t)head;
}

static inline void doze(void)
{
	nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
}

static inline uint16_t used_idx(const struct ring *ring)
{
	return le16toh(__atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE));
}

/* Wait for the next used element. */
static inline struct vring_used_elem next_used(struct fixture *f,
					       unsigned int queue)
{
	struct ring *ring = &f->ring[queue];
	struct vring_used_elem elem;

	while (used_idx(ring) == ring->seen)
		doze();
	elem = ring->used->ring[ring->seen++ % SIZE];
	return (struct vring_used_elem) {
		.id = le32toh(elem.id),
		.len = le32toh(elem.len),
	};
}

static inline void await_broken(struct fixture *f)
{
	while (!(virtio_device_get_status(f->vdev) &
		 VIRTIO_CONFIG_S_NEEDS_RESET))
		doze();
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
	return container_of(f->vdev, struct net, vdev);
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
	assert_int_equal(
		virtio_net_type.create(&f->machine, &options, &f->device), 0);
	f->vdev = container_of(f->device, struct virtio_device, device);
}

static inline int setup_pairs(void **state, unsigned int pairs)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	log_set_level(LOG_LEVEL_ERROR);
	the_fixture = f;
	memory_init(&f->machine.memory, -1);
	assert_int_equal(memory_add_ram(&f->machine.memory, 0, RAM), 0);
	f->ram = guest_map(&f->machine.memory, 0, RAM);
	f->transport.attach = fake_attach;
	f->machine.virtio_transport = &f->transport;
	assert_int_equal(io_thread_create("main", &f->main), 0);
	f->machine.loop = io_thread_loop(f->main);
	pthread_mutex_init(&f->lock, NULL);
	for (unsigned int i = 0; i < QUEUES; i++)
		f->notify_fd[i] = -1;
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
	memory_release(&f->machine.memory);
	free(f);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
