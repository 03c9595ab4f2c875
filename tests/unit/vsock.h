/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of the socket device: virtio_vsock_type with the driver of
 * driver.h, real Unix sockets on the host's side, and a clock that tests set.
 */
#ifndef TESTS_VSOCK_H
#define TESTS_VSOCK_H

#include "driver.h"

#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/vsock.h>

#define CID 3
#define GUEST_PORT 1000
#define HOST_PORT 6000
#define STRAY_PORT 99

#define RX 0
#define TX 1
#define EVENT 2
#define RING_SIZE 64

#define HEADER VSOCK_HEADER_BYTES

#define RX_BUFFER(n) (0x100000ULL + 0x2000ULL * (n))
#define RX_BYTES (HEADER + 4096)
#define TX_BUFFER 0x200000ULL
#define EVENT_BUFFER 0x50000ULL
#define RAM (4 * MIB)

#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT

struct fixture {
	struct driver driver;
	struct device *device;
	char dir[32];
	char path[VSOCK_MAX_PATH + 1];
	int listener; /* of the host, at HOST_PORT */
	bool no_buffers; /* what receive() took is not given again */
	/* of each packet that the driver sends */
	uint32_t guest_port, buf_alloc, fwd_cnt;
	/* the packet that receive() took */
	struct virtio_vsock_hdr header;
	const uint8_t *data;
};

/* ---- a clock ------------------------------------------------------------- */

static _Atomic int64_t clock_seconds;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int err = (int)syscall(SYS_clock_gettime, id, ts);

	ts->tv_sec += atomic_load(&clock_seconds);
	return err;
}

/* Seconds are milliseconds: ticks come at once. */
int timerfd_settime(int fd, int flags, const struct itimerspec *value,
		    struct itimerspec *old)
{
	struct itimerspec soon = { .it_value.tv_nsec = 1000000 };

	assert_int_equal(value->it_value.tv_sec, 1);
	return (int)syscall(SYS_timerfd_settime, fd, flags, &soon, old);
}

/* ---- the driver ---------------------------------------------------------- */

static inline void set(struct fixture *f, unsigned int queue,
		       unsigned int index, uint64_t addr, uint64_t len,
		       unsigned int flags, unsigned int next)
{
	driver_put_desc(&f->driver, queue, index, addr, (uint32_t)len, flags,
			next);
}

static inline void offer(struct fixture *f, unsigned int queue, uint16_t head)
{
	driver_offer(&f->driver, queue, head);
	driver_kick(&f->driver, queue);
}

/* Has @queue no used element that was not waited for? */
static inline bool none_used(struct fixture *f, unsigned int queue)
{
	return driver_used_idx(&f->driver, queue) == f->driver.seen[queue];
}

/* Wait for the next used element of @queue; returns its length. */
static inline uint32_t wait_used(struct fixture *f, unsigned int queue)
{
	uint32_t len;

	driver_wait(&f->driver, queue, &len);
	return len;
}

static inline void wait_broken(struct fixture *f)
{
	driver_wait_broken(&f->driver);
}

static inline void give_buffer(struct fixture *f, uint16_t n)
{
	set(f, RX, n, RX_BUFFER(n), RX_BYTES, WRITE, 0);
	offer(f, RX, n);
}

static inline struct virtio_vsock_hdr header_of(const struct fixture *f,
						unsigned int op)
{
	return (struct virtio_vsock_hdr) {
		.src_cid = htole64(CID),
		.dst_cid = htole64(VMADDR_CID_HOST),
		.src_port = htole32(f->guest_port),
		.dst_port = htole32(HOST_PORT),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16((uint16_t)op),
		.buf_alloc = htole32(f->buf_alloc),
		.fwd_cnt = htole32(f->fwd_cnt),
	};
}

/* Put a packet of @header, whose len is the data's, on the tx queue. */
static inline void post(struct fixture *f, struct virtio_vsock_hdr header,
			const void *data, uint32_t len)
{
	uint8_t *to = f->driver.ram + TX_BUFFER;

	header.len = htole32(len);
	memcpy(to, &header, HEADER);
	if (len)
		memcpy(to + HEADER, data, len);
	set(f, TX, 0, TX_BUFFER, HEADER + len, 0, 0);
	offer(f, TX, 0);
}

/* The same, and wait until the device has taken it. */
static inline void send_header(struct fixture *f,
			       struct virtio_vsock_hdr header)
{
	post(f, header, NULL, 0);
	wait_used(f, TX);
}

static inline void send_op(struct fixture *f, unsigned int op)
{
	send_header(f, header_of(f, op));
}

static inline void send_data(struct fixture *f, const void *data, uint32_t len)
{
	post(f, header_of(f, VIRTIO_VSOCK_OP_RW), data, len);
	wait_used(f, TX);
}

static inline void send_shutdown(struct fixture *f, uint32_t flags)
{
	struct virtio_vsock_hdr header = header_of(f, VIRTIO_VSOCK_OP_SHUTDOWN);

	header.flags = htole32(flags);
	send_header(f, header);
}

/* The next packet from the device: its op. */
static inline uint16_t receive(struct fixture *f)
{
	uint32_t len;
	uint16_t n = (uint16_t)driver_wait(&f->driver, RX, &len);
	static uint8_t copy[RX_BYTES];

	memcpy(copy, f->driver.ram + RX_BUFFER(n), sizeof(copy));
	memcpy(&f->header, copy, HEADER);
	f->data = copy + HEADER;
	assert_int_equal(len, HEADER + le32toh(f->header.len));
	assert_int_equal(le64toh(f->header.dst_cid), CID);
	if (le32toh(f->header.dst_port) != STRAY_PORT)
		assert_int_equal(le32toh(f->header.dst_port), f->guest_port);
	if (!f->no_buffers)
		give_buffer(f, n);
	return le16toh(f->header.op);
}

/* It must be @op, with @len bytes of @data. */
static inline void expect_data(struct fixture *f, const void *data,
			       uint32_t len)
{
	assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RW);
	assert_int_equal(le32toh(f->header.len), len);
	assert_memory_equal(f->data, data, len);
}

#define expect(f, expected) assert_int_equal(receive(f), expected)

static inline void expect_shutdown(struct fixture *f, uint32_t flags)
{
	expect(f, VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(le32toh(f->header.flags), flags);
}

/*
 * Packets that the device had to send before this call; the last one stays in
 * @f. The answer to a stray packet ends a round, but is sent before others of
 * the same round: so there are two.
 */
static inline unsigned int take_all(struct fixture *f)
{
	struct virtio_vsock_hdr last = f->header;
	uint32_t port = f->guest_port;
	unsigned int count = 0;

	for (unsigned int round = 0; round < 2; round++) {
		f->guest_port = STRAY_PORT;
		send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		f->guest_port = port;
		while (receive(f) != VIRTIO_VSOCK_OP_RST ||
		       le32toh(f->header.dst_port) != STRAY_PORT) {
			last = f->header;
			count++;
		}
	}
	f->header = last;
	return count;
}

#define expect_nothing(f) assert_int_equal(take_all(f), 0)

/* The device has given so much of the connection's data to the host. */
static inline uint32_t forwarded(struct fixture *f)
{
	send_op(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	assert_true(take_all(f) >= 1);
	assert_int_equal(le16toh(f->header.op), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	return le32toh(f->header.fwd_cnt);
}

/* The @n-th byte of any connection's data. */
static inline uint8_t pattern(uint32_t n)
{
	return (uint8_t)(n * 7 + n / 1000);
}

/*
 * Send as much as may be sent to a host that does not read, from the @sent-th
 * byte on: the number of the next one.
 */
static inline uint32_t fill(struct fixture *f, uint32_t sent)
{
	static uint8_t data[64 * KIB];
	uint32_t room;

	while ((room = VSOCK_BUFFER_BYTES - (sent - forwarded(f)))) {
		room = MIN(room, sizeof(data));
		for (uint32_t i = 0; i < room; i++)
			data[i] = pattern(sent + i);
		send_data(f, data, room);
		sent += room;
	}
	return sent;
}

/* The host reads that, from the @from-th byte on. */
static inline void expect_fill(int fd, uint32_t from, uint32_t len)
{
	uint8_t *got = malloc(len);

	assert_int_equal(recv(fd, got, len, MSG_WAITALL), len);
	for (uint32_t i = 0; i < len; i++)
		if (got[i] != pattern(from + i))
			fail_msg("byte %u is not as it was sent", from + i);
	free(got);
}

/* ---- life ---------------------------------------------------------------- */

static inline int try_create(struct fixture *f, const char *path)
{
	struct virtio_vsock_options options = virtio_vsock_defaults;

	options.cid = CID;
	options.path = path;
	return virtio_vsock_type.create(&f->driver.machine, &options,
					&f->device);
}

static inline void run(struct fixture *f)
{
	driver_run(&f->driver, 0);
	for (uint16_t i = 0; i < RING_SIZE && !f->no_buffers; i++)
		give_buffer(f, i);
}

/* A listening socket at PATH_@port. */
static inline int listen_at(const struct fixture *f, unsigned int port)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s_%u", f->path,
		 port);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	assert_int_equal(listen(fd, 1000), 0);
	return fd;
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	driver_init_ram(&f->driver, RAM);
	f->driver.size = RING_SIZE;
	atomic_store(&clock_seconds, 0);
	f->guest_port = GUEST_PORT;
	f->buf_alloc = 64 * KIB;
	strcpy(f->dir, "/tmp/lkvm-vsock-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/v", f->dir);
	f->listener = listen_at(f, HOST_PORT);
	*state = f;
	return 0;
}

static inline int setup_running(void **state)
{
	setup(state);
	assert_int_equal(try_create(*state, ((struct fixture *)*state)->path),
			 0);
	run(*state);
	return 0;
}

/* Without buffers for packets to the guest. */
static inline int setup_mute(void **state)
{
	struct fixture *f;

	setup(state);
	f = *state;
	f->no_buffers = true;
	assert_int_equal(try_create(f, f->path), 0);
	run(f);
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	char name[160];

	if (f->device)
		virtio_vsock_type.destroy(f->device);
	close(f->listener);
	/* The device has removed what was its own. */
	snprintf(name, sizeof(name), "%s_%u", f->path, HOST_PORT);
	unlink(name);
	assert_int_equal(rmdir(f->dir), 0);
	driver_release(&f->driver);
	free(f);
	return 0;
}

/* ---- connections --------------------------------------------------------- */

/* The guest connects to HOST_PORT: the host's end. */
static inline int guest_connects(struct fixture *f)
{
	int fd;

	send_op(f, VIRTIO_VSOCK_OP_REQUEST);
	expect(f, VIRTIO_VSOCK_OP_RESPONSE);
	fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* A client of the host, who writes @text. */
static inline int client_says(const struct fixture *f, const char *text)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, f->path);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

/* Exactly @text comes next. */
static inline void expect_text(int fd, const char *text)
{
	char got[64] = "";
	size_t len = strlen(text);

	assert_int_equal(recv(fd, got, len, MSG_WAITALL), len);
	assert_memory_equal(got, text, len);
}

/* The other side sends no more. */
static inline void expect_end(int fd)
{
	char byte;

	assert_int_equal(read(fd, &byte, 1), 0);
}

static inline uint64_t counter(struct fixture *f, const char *name)
{
	return driver_counter(f->device, name);
}

#define VSOCK_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup_running, teardown)
#define MUTE_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup_mute, teardown)
#define IDLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
