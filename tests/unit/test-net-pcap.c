/* SPDX-License-Identifier: GPL-2.0 */
/*
 * net/pcap.c: a capture has whole frames, both ways, and tshark reads it; it
 * ends cleanly when the file cannot grow; the backend behind does not notice.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/net.h>
#include <lkvm/util.h>

#define HEADER 24
#define RECORD 16

/* A backend that takes all, and has the frame that the test wants. */
struct fake {
	struct net_backend backend;
	unsigned int sent, destroyed, configured;
	int send_result;
	size_t next_len; /* without header; 0: none */
	uint8_t next[2000];
};

static int fake_attach(struct net_backend *backend, unsigned int queue,
		       struct loop *loop)
{
	(void)backend;
	(void)queue;
	(void)loop;
	return -EBUSY;
}

static int fake_send(struct net_backend *backend, unsigned int queue,
		     const struct iovec *iov, unsigned int count, size_t len)
{
	struct fake *fake = container_of(backend, struct fake, backend);

	(void)queue;
	assert_int_equal(iov_length(iov, count), len);
	fake->sent++;
	return fake->send_result;
}

static ssize_t fake_receive(struct net_backend *backend, unsigned int queue,
			    const struct iovec *iov, unsigned int count,
			    size_t room)
{
	struct fake *fake = container_of(backend, struct fake, backend);

	(void)queue;
	(void)room;
	if (!fake->next_len)
		return -EAGAIN;
	iov_from_buf(iov, count, NET_HEADER_BYTES, fake->next, fake->next_len);
	return (ssize_t)(NET_HEADER_BYTES + fake->next_len);
}

static int fake_configure(struct net_backend *backend, uint64_t features,
			  unsigned int pairs)
{
	struct fake *fake = container_of(backend, struct fake, backend);

	assert_int_equal(features, 5);
	fake->configured = pairs;
	return 0;
}

static int fake_vhost_fd(struct net_backend *backend, unsigned int queue)
{
	(void)backend;
	(void)queue;
	return 0;
}

static void fake_destroy(struct net_backend *backend)
{
	container_of(backend, struct fake, backend)->destroyed++;
}

static const struct net_backend_ops fake_ops = {
	.name = "fake",
	.attach = fake_attach,
	.send = fake_send,
	.receive = fake_receive,
	.configure = fake_configure,
	.vhost_fd = fake_vhost_fd,
	.destroy = fake_destroy,
};

static const struct net_backend_ops least_ops = {
	.name = "least",
	.attach = fake_attach,
	.send = fake_send,
	.receive = fake_receive,
	.destroy = fake_destroy,
};

struct capture {
	struct fake fake;
	struct net_backend *backend;
	char path[40];
	unsigned int readable, writable, links;
};

static int set_up(void **state)
{
	struct capture *capture = calloc(1, sizeof(*capture));
	int fd;

	assert_non_null(capture);
	strcpy(capture->path, "/tmp/lkvm-pcap.XXXXXX");
	fd = mkstemp(capture->path);
	assert_true(fd >= 0);
	/* What was there before is gone. */
	assert_int_equal(ftruncate(fd, 100000), 0);
	close(fd);
	capture->fake.backend = (struct net_backend) {
		.ops = &fake_ops,
		.pairs = 3,
		.features = 0x77,
		.mtu = 1234,
	};
	assert_int_equal(net_pcap_create(&capture->fake.backend, capture->path,
					 &capture->backend),
			 0);
	*state = capture;
	return 0;
}

static int tear_down(void **state)
{
	struct capture *capture = *state;

	capture->backend->ops->destroy(capture->backend);
	assert_int_equal(capture->fake.destroyed, 1);
	unlink(capture->path);
	free(capture);
	return 0;
}

static size_t contents(const struct capture *capture, uint8_t *to, size_t size)
{
	int fd = open(capture->path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, to, size);

	assert_true(n >= 0);
	close(fd);
	return (size_t)n;
}

/* An ARP question of @seed's, padded to @len, in two pieces. */
static int put(struct capture *capture, size_t len, uint8_t seed)
{
	static const uint8_t arp[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,
		0,    8,    6,	  0,	1,    8,    0, 6, 4, 0, 1,
	};
	uint8_t packet[NET_HEADER_BYTES + 2000] = { 0 };
	const struct iovec iov[] = {
		{ packet, NET_HEADER_BYTES + 3 },
		{ packet + NET_HEADER_BYTES + 3, len - 3 },
	};

	memcpy(packet + NET_HEADER_BYTES, arp, sizeof(arp));
	packet[NET_HEADER_BYTES + 11] = seed;
	return capture->backend->ops->send(capture->backend, 1, iov, 2,
					   NET_HEADER_BYTES + len);
}

static ssize_t take(struct capture *capture, size_t len)
{
	uint8_t packet[NET_HEADER_BYTES + 2000];
	const struct iovec iov = { packet, sizeof(packet) };

	capture->fake.next_len = len;
	return capture->backend->ops->receive(capture->backend, 2, &iov, 1,
					      sizeof(packet));
}

static void test_records(void **state)
{
	struct capture *capture = *state;
	uint8_t bytes[8192];
	uint32_t words[6], record[4];

	assert_int_equal(contents(capture, bytes, sizeof(bytes)), HEADER);
	memcpy(words, bytes, HEADER);
	assert_int_equal(words[0], 0xa1b23c4d);
	assert_int_equal(words[4], NET_MAX_FRAME);
	assert_int_equal(words[5], 1);

	assert_int_equal(put(capture, 60, 9), 0);
	memset(capture->fake.next, 0x5a, sizeof(capture->fake.next));
	assert_int_equal(take(capture, 1500), NET_HEADER_BYTES + 1500);
	/* What did not pass is not there. */
	capture->fake.send_result = -EAGAIN;
	assert_int_equal(put(capture, 60, 9), -EAGAIN);
	assert_int_equal(take(capture, 0), -EAGAIN);
	assert_int_equal(capture->fake.sent, 2);

	assert_int_equal(contents(capture, bytes, sizeof(bytes)),
			 HEADER + RECORD + 60 + RECORD + 1500);
	memcpy(record, bytes + HEADER, RECORD);
	assert_true(record[1] < 1000000000);
	assert_int_equal(record[2], 60);
	assert_int_equal(record[3], 60);
	assert_int_equal(bytes[HEADER + RECORD], 0xff);
	assert_int_equal(bytes[HEADER + RECORD + 11], 9);
	memcpy(record, bytes + HEADER + RECORD + 60, RECORD);
	assert_int_equal(record[2], 1500);
	assert_int_equal(bytes[HEADER + RECORD + 60 + RECORD + 1499], 0x5a);
}

static void test_tshark_reads(void **state)
{
	struct capture *capture = *state;
	char command[160], line[256];
	unsigned int lines = 0;
	FILE *out;

	for (uint8_t i = 0; i < 20; i++)
		assert_int_equal(put(capture, 60, i), 0);
	snprintf(command, sizeof(command),
		 "tshark -n -r %s -Y 'arp.opcode == 1' 2>/dev/null",
		 capture->path);
	out = popen(command, "re");
	assert_non_null(out);
	while (fgets(line, sizeof(line), out))
		lines += strstr(line, "ARP") != NULL;
	assert_int_equal(pclose(out), 0);
	assert_int_equal(lines, 20);
}

/* `ulimit -f`, or a full disk: whole records, and the frames go on. */
static void test_file_is_full(void **state)
{
	struct capture *capture = *state;
	struct rlimit before, limit;
	uint8_t bytes[8192];

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = HEADER + 5 * (RECORD + 60) + 30;
	setrlimit(RLIMIT_FSIZE, &limit);
	for (uint8_t i = 0; i < 10; i++)
		assert_int_equal(put(capture, 60, i), 0);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(put(capture, 60, 0), 0);
	assert_int_equal(capture->fake.sent, 11);
	assert_int_equal(contents(capture, bytes, sizeof(bytes)),
			 HEADER + 5 * (RECORD + 60));
}

static void on_readable(void *opaque, unsigned int queue)
{
	((struct capture *)opaque)->readable += queue;
}

static void on_writable(void *opaque, unsigned int queue)
{
	((struct capture *)opaque)->writable += queue;
}

static void on_link(void *opaque, bool up)
{
	((struct capture *)opaque)->links += up ? 1 : 100;
}

/* Device and backend see each other through it. */
static void test_stands_in(void **state)
{
	static const struct net_frontend_ops ops = { on_readable, on_writable,
						     on_link };
	struct capture *capture = *state;
	struct net_backend *inner = &capture->fake.backend;
	struct net_backend *outer = capture->backend;

	assert_int_equal(outer->pairs, 3);
	assert_int_equal(outer->features, 0x77);
	assert_int_equal(outer->mtu, 1234);
	outer->frontend = &ops;
	outer->opaque = capture;
	inner->frontend->readable(inner->opaque, 2);
	inner->frontend->writable(inner->opaque, 3);
	inner->frontend->link(inner->opaque, true);
	inner->frontend->link(inner->opaque, false);
	assert_int_equal(capture->readable, 2);
	assert_int_equal(capture->writable, 3);
	assert_int_equal(capture->links, 101);
	assert_int_equal(outer->ops->attach(outer, 0, NULL), -EBUSY);
	assert_int_equal(outer->ops->configure(outer, 5, 2), 0);
	assert_int_equal(capture->fake.configured, 2);
	/* Frames that the kernel moves would not be seen. */
	assert_null(outer->ops->vhost_fd);
	assert_null(outer->ops->complete);
}

/* It can do no more than the backend can. */
static void test_optional(void **state)
{
	struct capture *capture = *state;
	struct fake least = { .backend.ops = &least_ops };
	struct net_backend *outer;

	assert_int_equal(net_pcap_create(&least.backend, capture->path, &outer),
			 0);
	assert_null(outer->ops->configure);
	outer->ops->destroy(outer);
	assert_int_equal(least.destroyed, 1);
}

static void test_bad_files(void **state)
{
	static const char *const bad[] = { "/", "/nosuch/file", "/dev/null" };
	struct capture *capture = *state;
	struct fake fake = { .backend.ops = &fake_ops };
	struct net_backend *outer;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(net_pcap_create(&fake.backend, bad[i], &outer) < 0);
	unlink(capture->path);
	assert_int_equal(mkfifo(capture->path, 0600), 0);
	assert_true(net_pcap_create(&fake.backend, capture->path, &outer) < 0);
	assert_int_equal(fake.destroyed, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_records),	 TEST(test_tshark_reads),
		TEST(test_file_is_full), TEST(test_stands_in),
		TEST(test_optional),	 TEST(test_bad_files),
	};

	return cmocka_run_group_tests_name("net-pcap", tests, NULL, NULL);
}
