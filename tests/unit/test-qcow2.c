/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: tables that lie, a host that fails, requests that meet, and threads.
 * See test-qcow2-random.c, -images.c and -crash.c for the rest.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "qcow2.h"

#define DISK_BYTES (1 * MIB)
#define CLUSTER 4096ULL

/* Where qcow2_create() puts things, with one cluster each. */
#define REFTABLE_AT (1 * CLUSTER)
#define BLOCK_AT (2 * CLUSTER)
#define L1_AT (3 * CLUSTER)
/* And where the first write puts its own. */
#define DATA_AT (4 * CLUSTER)
#define L2_AT (5 * CLUSTER)

struct fixture {
	char *folder;
	char path[128];
	uint8_t *want, *data;
	uint64_t random;
};

/* What stands for system calls has no argument for it: the error of a sync. */
static int sync_error;

int fdatasync(int fd)
{
	if (!sync_error)
		return (int)syscall(SYS_fdatasync, fd);
	errno = sync_error;
	return -1;
}

static int setup(void **state)
{
	const struct qcow2_geometry geometry = {
		.size = DISK_BYTES,
		.version = 3,
		.cluster_bits = 12,
		.refcount_order = 4,
	};
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	f->folder = make_folder();
	f->want = calloc(1, DISK_BYTES);
	f->data = malloc(DISK_BYTES);
	f->random = 0x13198a2e03707344;
	assert_non_null(f->want);
	assert_non_null(f->data);
	snprintf(f->path, sizeof(f->path), "%s/disk", f->folder);
	fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(qcow2_create(fd, &geometry), 0);
	close(fd);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	free(f->want);
	free(f->data);
	remove_folder(f->folder);
	free(f);
	return 0;
}

static void put64(struct fixture *f, uint64_t at, uint64_t value)
{
	int fd = open(f->path, O_RDWR | O_CLOEXEC);

	value = htobe64(value);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &value, 8, (off_t)at), 8);
	close(fd);
}

static uint64_t get64(struct fixture *f, uint64_t at)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	uint64_t value;

	assert_true(fd >= 0);
	assert_int_equal(pread_full(fd, &value, 8, (off_t)at), 0);
	close(fd);
	return be64toh(value);
}

static void put32(struct fixture *f, uint64_t at, uint32_t value)
{
	uint64_t old = get64(f, at);

	put64(f, at, (uint64_t)value << 32 | (uint32_t)old);
}

/* A cluster of data, with its L2 table, at the places above. */
static void write_first_cluster(struct fixture *f)
{
	struct disk disk;

	memset(f->want, 0x77, CLUSTER);
	disk_open(&disk, f->path, false, ENGINE_SYNC);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 0, f->want, CLUSTER), 0);
	disk_close(&disk);
	assert_int_equal(get64(f, L1_AT), L2_AT | QCOW2_COPIED);
	assert_int_equal(get64(f, L2_AT), DATA_AT | QCOW2_COPIED);
}

/* ---- lies ---------------------------------------------------------------- */

static const struct {
	size_t at;
	unsigned int bytes;
	uint64_t value;
} lies[] = {
	{ 0, 4, 0 },
	{ 4, 4, 1 },
	{ 4, 4, 0xffffffff },
	{ 8, 8, 8 * CLUSTER }, /* the backing file's name */
	{ 8, 8, UINT64_MAX },
	{ 20, 4, 8 }, /* cluster_bits */
	{ 20, 4, 22 },
	{ 20, 4, 63 },
	{ 20, 4, 0xffffffff },
	{ 24, 8, 0 }, /* size */
	{ 24, 8, 511 },
	{ 24, 8, DISK_BYTES + 8 * MIB },
	{ 24, 8, INT64_MAX - 511 },
	{ 24, 8, UINT64_MAX - 511 },
	{ 32, 4, 1 }, /* crypt_method */
	{ 36, 4, 0 }, /* l1_size */
	{ 36, 4, 0x7fffffff },
	{ 36, 4, 0xffffffff },
	{ 40, 8, 0 }, /* l1_table_offset */
	{ 40, 8, L1_AT + 512 },
	{ 40, 8, BLOCK_AT },
	{ 40, 8, REFTABLE_AT },
	{ 40, 8, 100 * CLUSTER },
	{ 40, 8, UINT64_MAX - CLUSTER + 1 },
	{ 48, 8, 0 }, /* refcount_table_offset */
	{ 48, 8, REFTABLE_AT + 8 },
	{ 48, 8, UINT64_MAX - CLUSTER + 1 },
	{ 56, 4, 0 }, /* refcount_table_clusters */
	{ 56, 4, 100 },
	{ 56, 4, 0xffffffff },
	{ 60, 4, 1 }, /* nb_snapshots */
	{ 60, 4, 65537 },
	{ 60, 4, 0xffffffff },
	{ 72, 8, 4 }, /* incompatible_features */
	{ 72, 8, 8 },
	{ 72, 8, BIT_ULL(63) },
	{ 96, 4, 7 }, /* refcount_order */
	{ 96, 4, 0xffffffff },
	{ 100, 4, 0 }, /* header_length */
	{ 100, 4, 96 },
	{ 100, 4, 111 },
	{ 100, 4, 0xfffffff8 },
	{ L1_AT, 8, QCOW2_COPIED }, /* entries */
	{ L1_AT, 8, DATA_AT | 1 },
	{ L1_AT, 8, DATA_AT + 512 },
	{ L1_AT, 8, BIT_ULL(56) },
	{ L1_AT, 8, BLOCK_AT | QCOW2_COPIED },
	{ L1_AT, 8, L1_AT | QCOW2_COPIED },
	{ L1_AT, 8, 100 * CLUSTER | QCOW2_COPIED },
	{ REFTABLE_AT, 8, 1 },
	{ REFTABLE_AT, 8, REFTABLE_AT },
	{ REFTABLE_AT, 8, UINT64_MAX - CLUSTER + 1 },
};

static void lies_of_the_header_are_refused(void **state)
{
	struct fixture *f = *state;

	write_first_cluster(f);
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		const struct image_options options = {
			.path = f->path,
			.format = IMAGE_FORMAT_QCOW2,
		};
		uint64_t old = get64(f, lies[i].at);
		struct image *image;

		if (lies[i].bytes == 8)
			put64(f, lies[i].at, lies[i].value);
		else
			put32(f, lies[i].at, (uint32_t)lies[i].value);
		if (!image_open(&options, &image))
			fail_msg("lie %zu was believed", i);
		put64(f, lies[i].at, old);
	}
	check_image(f->path, false);
}

/* Both a read and a write get -EIO, and the image is not written after. */
static void assert_entry_is_refused(struct fixture *f, uint64_t entry,
				    bool read_fails)
{
	uint64_t old = get64(f, L2_AT);
	struct disk disk;

	put64(f, L2_AT, entry);
	disk_open(&disk, f->path, true, ENGINE_SYNC);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, f->data, 512),
			 read_fails ? -EIO : 0);
	disk_close(&disk);
	disk_open(&disk, f->path, false, ENGINE_SYNC);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 512, f->data, 512), -EIO);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 64 * KIB, f->data, 512),
			 -EIO);
	disk_close(&disk);
	assert_int_equal(get64(f, 72), QCOW2_INCOMPAT_CORRUPT);
	put64(f, 72, 0);
	put64(f, L2_AT, old);
}

static void lies_of_l2_tables_are_io_errors(void **state)
{
	struct fixture *f = *state;

	write_first_cluster(f);
	assert_entry_is_refused(f, QCOW2_COPIED, true);
	assert_entry_is_refused(f, REFTABLE_AT | QCOW2_COPIED, true);
	assert_entry_is_refused(f, BLOCK_AT | QCOW2_COPIED, true);
	assert_entry_is_refused(f, L1_AT | QCOW2_COPIED, true);
	assert_entry_is_refused(f, L2_AT | QCOW2_COPIED, true);
	assert_entry_is_refused(f, (DATA_AT + 512) | QCOW2_COPIED, true);
	assert_entry_is_refused(f, DATA_AT | 2, true);
	assert_entry_is_refused(f, DATA_AT | BIT_ULL(57), true);
	assert_entry_is_refused(f, 6000 * CLUSTER | QCOW2_COPIED, true);
	assert_entry_is_refused(f, QCOW2_OFFSET_MASK & ~(CLUSTER - 1), true);
	assert_entry_is_refused(f, QCOW2_COMPRESSED, true);
	assert_entry_is_refused(f, QCOW2_COMPRESSED | BLOCK_AT, true);
	assert_entry_is_refused(f, UINT64_MAX, true);
	assert_entry_is_refused(f, QCOW2_COMPRESSED | 6000 * CLUSTER, true);
	check_image(f->path, false);
}

static void broken_compressed_data_is_an_io_error(void **state)
{
	struct fixture *f = *state;
	struct disk disk;

	write_first_cluster(f);
	put64(f, L2_AT, QCOW2_COMPRESSED | DATA_AT);
	disk_open(&disk, f->path, true, ENGINE_SYNC);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, f->data, CLUSTER), -EIO);
	assert_int_equal(disk_do(&disk, IMAGE_READ, CLUSTER, f->data, CLUSTER),
			 0);
	disk_close(&disk);
}

/* A cluster in use that is counted as free, or as shared. */
static void lies_of_refcounts_are_io_errors(void **state)
{
	struct fixture *f = *state;
	uint64_t counts;

	write_first_cluster(f);
	counts = get64(f, BLOCK_AT + 8);
	assert_int_equal(counts, 0x0001000100000000);
	put64(f, BLOCK_AT + 8, 0x0000000100000000);
	assert_entry_is_refused(f, DATA_AT | QCOW2_COPIED, false);
	put64(f, BLOCK_AT + 8, 0x0002000100000000);
	assert_entry_is_refused(f, DATA_AT | QCOW2_COPIED, false);
	/* The L2 table is free: it must not be given to somebody else. */
	put64(f, BLOCK_AT + 8, 0x0001000000000000);
	assert_entry_is_refused(f, 0, false);
	/* As must the header, which nothing counts. */
	put64(f, BLOCK_AT, 0x0000000100010001);
	put64(f, BLOCK_AT + 8, counts);
	assert_entry_is_refused(f, 0, false);
	put64(f, BLOCK_AT, 0x0001000100010001);
	check_image(f->path, false);
}

/* The dirty bit: refcounts and COPIED bits say nothing, the tables all. */
static void unclean_image_is_repaired(void **state)
{
	struct fixture *f = *state;
	struct disk disk;

	write_first_cluster(f);
	put64(f, BLOCK_AT + 8, 0);
	put64(f, L2_AT, DATA_AT);
	put64(f, L1_AT, L2_AT);
	put64(f, 72, QCOW2_INCOMPAT_DIRTY);
	disk_open(&disk, f->path, true, ENGINE_SYNC);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, f->data, CLUSTER), 0);
	assert_memory_equal(f->data, f->want, CLUSTER);
	disk_close(&disk);
	assert_int_equal(get64(f, 72), QCOW2_INCOMPAT_DIRTY);
	disk_open(&disk, f->path, false, ENGINE_SYNC);
	disk_close(&disk);
	assert_int_equal(get64(f, 72), 0);
	assert_int_equal(get64(f, L2_AT), DATA_AT | QCOW2_COPIED);
	assert_int_equal(get64(f, L1_AT), L2_AT | QCOW2_COPIED);
	check_image(f->path, false);
	compare_image(f->path, f->want, DISK_BYTES);
}

/* ---- a host that fails --------------------------------------------------- */

static void full_host_is_an_error_to_the_guest_alone(void **state)
{
	struct rlimit old, small;
	struct fixture *f = *state;
	struct disk disk;
	int err = 0;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_IGN);
	disk_open(&disk, f->path, false, ENGINE_SYNC);
	fill_random(&f->random, f->want, DISK_BYTES);
	/* The file grows by 1 MiB at a time. */
	small = old;
	small.rlim_cur = CLUSTER * 8;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 0, f->want, CLUSTER),
			 -EFBIG);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, f->data, CLUSTER), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	for (uint64_t at = 0; at < DISK_BYTES && !err; at += CLUSTER)
		err = disk_do(&disk, IMAGE_WRITE, at, f->want + at, CLUSTER);
	assert_int_equal(err, 0);
	disk_close(&disk);
	signal(SIGXFSZ, SIG_DFL);
	check_image(f->path, false);
	compare_image(f->path, f->want, DISK_BYTES);
}

/* What was written before the error may be gone: no table may name it. */
static void failed_sync_ends_all_writing(void **state)
{
	struct fixture *f = *state;
	struct disk disk;

	disk_open(&disk, f->path, false, ENGINE_SYNC);
	memset(f->want, 0x11, CLUSTER);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 0, f->want, CLUSTER), 0);
	sync_error = EIO;
	assert_int_equal(disk_do(&disk, IMAGE_FLUSH, 0, NULL, 0), -EIO);
	sync_error = 0;
	assert_int_equal(disk_do(&disk, IMAGE_FLUSH, 0, NULL, 0), -EIO);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, MIB / 2, f->want, CLUSTER),
			 -EIO);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, f->data, CLUSTER), 0);
	assert_memory_equal(f->data, f->want, CLUSTER);
	disk_close(&disk);
	assert_int_equal(get64(f, L1_AT), 0);
	check_image(f->path, true);
}

/* ---- space --------------------------------------------------------------- */

static uint64_t blocks_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks;
}

static void discard_gives_space_back(void **state)
{
	struct fixture *f = *state;
	struct disk disk;
	uint64_t before;

	disk_open(&disk, f->path, false, ENGINE_SYNC);
	before = blocks_of(f->path);
	memset(f->want, 0x22, DISK_BYTES);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 0, f->want, DISK_BYTES),
			 0);
	assert_int_equal(disk_do(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	assert_true(blocks_of(f->path) >= before + DISK_BYTES / 512);
	assert_int_equal(disk_do(&disk, IMAGE_DISCARD, 0, NULL, DISK_BYTES), 0);
	/* Not before the tables that do not name it are in the file. */
	assert_true(blocks_of(f->path) >= before + DISK_BYTES / 512);
	assert_int_equal(disk_do(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	assert_true(blocks_of(f->path) <= before + 16 * CLUSTER / 512);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, f->data, DISK_BYTES), 0);
	memset(f->want, 0, DISK_BYTES);
	assert_memory_equal(f->data, f->want, DISK_BYTES);
	/* And what is free is used again. */
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 0, f->want, DISK_BYTES),
			 0);
	disk_close(&disk);
	assert_true(blocks_of(f->path) <=
		    before + (DISK_BYTES + 32 * CLUSTER) / 512);
	check_image(f->path, false);
}

static void discard_can_be_off(void **state)
{
	struct fixture *f = *state;
	const struct image_options options = {
		.path = f->path,
		.engine = ENGINE_SYNC,
		.no_discard = true,
	};
	struct disk disk;
	uint64_t before;

	assert_int_equal(disk_open_with(&disk, &options), 0);
	memset(f->want, 0x22, DISK_BYTES);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 0, f->want, DISK_BYTES),
			 0);
	before = blocks_of(f->path);
	assert_int_equal(disk_do(&disk, IMAGE_DISCARD, 0, NULL, DISK_BYTES), 0);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE_ZEROES, 0, NULL, MIB / 2),
			 0);
	assert_int_equal(disk_do(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	assert_true(blocks_of(f->path) >= before);
	memset(f->want, 0, MIB / 2);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, f->data, DISK_BYTES), 0);
	assert_memory_equal(f->data, f->want, DISK_BYTES);
	disk_close(&disk);
	check_image(f->path, false);
}

/* One write in a row is one piece in the file, tables aside. */
static void sequential_writes_lie_in_a_row(void **state)
{
	struct fixture *f = *state;
	struct qcow2_run run;
	struct disk disk;
	struct qcow2 *q;

	disk_open(&disk, f->path, false, ENGINE_SYNC);
	for (uint64_t at = 0; at < DISK_BYTES; at += 64 * KIB)
		assert_int_equal(disk_do(&disk, IMAGE_WRITE, at, f->want + at,
					 64 * KIB),
				 0);
	q = qcow2_of(disk.image);
	pthread_mutex_lock(&q->lock);
	assert_int_equal(qcow2_map(q, 128 * KIB, DISK_BYTES - 128 * KIB, &run),
			 0);
	pthread_mutex_unlock(&q->lock);
	assert_int_equal(run.len, DISK_BYTES - 128 * KIB);
	disk_close(&disk);
}

/* ---- threads ------------------------------------------------------------- */

/* Each writes every second sector: all clusters are everybody's. */
struct writer {
	struct io_thread *thread;
	struct disk disk;
	const struct fixture *f;
	struct call calls[8];
	uint64_t random;
	unsigned int which, left, under_way;
	_Atomic bool done;
};

static void writer_done(struct image_request *request, int result)
{
	struct call *call = container_of(request, struct call, request);
	struct writer *w = request->format_data;

	assert_int_equal(result, 0);
	call->done = 0;
	w->under_way--;
	if (!w->left && !w->under_way)
		w->done = true;
}

static void write_one(struct writer *w, struct call *call)
{
	uint64_t sector =
		next_random(&w->random) % (DISK_BYTES / 1024) * 2 + w->which;

	w->left--;
	w->under_way++;
	call->done = 1;
	call->iov.iov_base = w->f->want + sector * 512;
	call->iov.iov_len = 512;
	call->request = (struct image_request) {
		.op = w->left % 64 ? IMAGE_WRITE : IMAGE_FLUSH,
		.offset = sector * 512,
		.len = 512,
		.iov = &call->iov,
		.iov_count = 1,
		.done = writer_done,
		.format_data = w,
	};
	image_submit(w->disk.queue, &call->request);
}

static void write_more(struct writer *w)
{
	/* What ends within image_submit() ends no batch. */
	do {
		for (size_t i = 0; i < ARRAY_SIZE(w->calls) && w->left; i++)
			if (!w->calls[i].done)
				write_one(w, &w->calls[i]);
	} while (w->left && !w->under_way);
	image_kick(w->disk.queue);
}

static void writer_batch(void *opaque)
{
	write_more(opaque);
}

static void writer_start(void *opaque)
{
	struct writer *w = opaque;

	image_queue_on_batch(w->disk.queue, writer_batch, w);
	write_more(w);
}

static void writer_stop(void *opaque)
{
	struct writer *w = opaque;

	image_queue_destroy(w->disk.queue);
}

static void threads_share_clusters(void **state)
{
	struct fixture *f = *state;
	struct writer writers[3] = { { .which = 0 } };
	struct image *image;
	const struct image_options options = { .path = f->path };

	fill_random(&f->random, f->want, DISK_BYTES);
	assert_int_equal(image_open(&options, &image), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(writers); i++) {
		struct writer *w = &writers[i];

		w->f = f;
		w->which = i % 2;
		w->left = 20000;
		w->random = 77 + i;
		assert_int_equal(io_thread_create("io-test", &w->thread), 0);
		assert_int_equal(image_queue_create(image,
						    io_thread_loop(w->thread),
						    16, &w->disk.queue),
				 0);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(writers); i++)
		io_thread_call(writers[i].thread, writer_start, &writers[i]);
	for (unsigned int i = 0; i < ARRAY_SIZE(writers); i++)
		while (!writers[i].done)
			usleep(1000);
	for (unsigned int i = 0; i < ARRAY_SIZE(writers); i++) {
		io_thread_call(writers[i].thread, writer_stop, &writers[i]);
		io_thread_destroy(writers[i].thread);
	}
	image_close(image);
	check_image(f->path, false);
	compare_image(f->path, f->want, DISK_BYTES);
}

#define QCOW2_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		QCOW2_TEST(lies_of_the_header_are_refused),
		QCOW2_TEST(lies_of_l2_tables_are_io_errors),
		QCOW2_TEST(broken_compressed_data_is_an_io_error),
		QCOW2_TEST(lies_of_refcounts_are_io_errors),
		QCOW2_TEST(unclean_image_is_repaired),
		QCOW2_TEST(full_host_is_an_error_to_the_guest_alone),
		QCOW2_TEST(failed_sync_ends_all_writing),
		QCOW2_TEST(discard_gives_space_back),
		QCOW2_TEST(discard_can_be_off),
		QCOW2_TEST(sequential_writes_lie_in_a_row),
		QCOW2_TEST(threads_share_clusters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
