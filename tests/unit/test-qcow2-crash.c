/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is left of a qcow2 image when the power fails, or the process dies:
 * nothing but leaked clusters to qemu-img check, and all that was flushed.
 *
 * The system calls that change the file are replaced below: a power cut keeps
 * what was written before the last fdatasync(), and of what came after any
 * sectors. Each sector of the disk holds its number and a stamp that grows.
 */
#include <linux/falloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "qcow2.h"

#define DISK_BYTES (3 * MIB)
/* No more than the L1 table has room for, with clusters of 512 bytes. */
#define GROWTH (1 * MIB)
#define SECTORS (DISK_BYTES / 512)
#define MAX_FLUSHES 64

enum change_kind { CHANGE_WRITE, CHANGE_ZERO, CHANGE_SIZE, CHANGE_SYNC };

struct change {
	enum change_kind kind;
	uint64_t offset, len;
	void *data;
};

/* What the disk held when a flush had ended. */
struct flushed {
	size_t at; /* changes before it */
	uint64_t stamp; /* all later writes have larger ones */
	uint64_t sectors[SECTORS]; /* stamps; 0: zeroes */
};

struct recording {
	bool on;
	bool no_holes; /* fallocate() fails: what was freed keeps its bytes */
	struct change *changes;
	size_t count, room;
};

/* What stands for system calls has no argument for it. */
static struct recording recording;

/* ---- the system calls ---------------------------------------------------- */

static void record(enum change_kind kind, uint64_t offset, uint64_t len,
		   const void *data)
{
	struct change *change;

	if (!recording.on)
		return;
	if (recording.count == recording.room) {
		recording.room = 2 * recording.room + 256;
		recording.changes =
			realloc(recording.changes,
				recording.room * sizeof(*recording.changes));
		assert_non_null(recording.changes);
	}
	change = &recording.changes[recording.count++];
	*change = (struct change) { kind, offset, len, NULL };
	if (data) {
		change->data = malloc(len);
		assert_non_null(change->data);
		memcpy(change->data, data, len);
	}
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	ssize_t n = syscall(SYS_pwrite64, fd, buf, len, offset);

	if (n > 0)
		record(CHANGE_WRITE, (uint64_t)offset, (uint64_t)n, buf);
	return n;
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	ssize_t total = 0;

	for (int i = 0; i < count; i++) {
		ssize_t n = pwrite(fd, iov[i].iov_base, iov[i].iov_len,
				   offset + total);

		if (n < 0)
			return total ? total : n;
		total += n;
		if ((size_t)n < iov[i].iov_len)
			break;
	}
	return total;
}

int ftruncate(int fd, off_t len)
{
	record(CHANGE_SIZE, 0, (uint64_t)len, NULL);
	return (int)syscall(SYS_ftruncate, fd, len);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (recording.no_holes) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (syscall(SYS_fallocate, fd, mode, offset, len))
		return -1;
	record(CHANGE_ZERO, (uint64_t)offset, (uint64_t)len, NULL);
	return 0;
}

int fdatasync(int fd)
{
	int err = (int)syscall(SYS_fdatasync, fd);

	record(CHANGE_SYNC, 0, 0, NULL);
	return err;
}

/* ---- the load ------------------------------------------------------------ */

struct load {
	char *folder;
	char path[128], crashed[128];
	uint32_t cluster_bits, refcount_order;
	bool snapshot;
	struct disk disk;
	uint64_t random;
	uint64_t stamp;
	uint64_t now[SECTORS]; /* stamps */
	uint64_t *zeroed; /* of each sector: the stamp when it last became so */
	struct flushed *flushed;
	size_t flush_count;
	uint8_t *data;
	void *before; /* the file, when the recording began */
	size_t before_len;
};

static void put_stamp(void *sector, uint64_t number, uint64_t stamp)
{
	uint64_t *words = sector;

	for (size_t i = 0; i < 64; i += 2) {
		words[i] = number;
		words[i + 1] = stamp;
	}
}

/* 0 for zeroes; fails on anything that no write of ours left. */
static uint64_t get_stamp(const void *sector, uint64_t number)
{
	const uint64_t *words = sector;

	for (size_t i = 2; i < 64; i++)
		if (words[i] != words[i & 1])
			fail_msg("sector %llu is torn",
				 (unsigned long long)number);
	if (words[0] != (words[1] ? number : 0))
		fail_msg("sector %llu holds %llu", (unsigned long long)number,
			 (unsigned long long)words[0]);
	return words[1];
}

/* One random change of the disk. */
static void step(struct load *load)
{
	uint64_t first = next_random(&load->random) % SECTORS;
	uint64_t count = 1 + next_random(&load->random) % 300;
	unsigned int dice = next_random(&load->random) % 16;
	enum image_op op = IMAGE_WRITE;

	if (dice & 1)
		count = 1 + count % 16;
	count = MIN(count, SECTORS - first);
	load->stamp++;
	if (dice == 15)
		op = IMAGE_WRITE_ZEROES;
	else if (dice == 14)
		op = IMAGE_DISCARD;
	for (uint64_t i = 0; i < count; i++) {
		put_stamp(load->data + i * 512, first + i, load->stamp);
		load->now[first + i] = op == IMAGE_WRITE ? load->stamp : 0;
		if (op != IMAGE_WRITE)
			load->zeroed[first + i] = load->stamp;
	}
	assert_int_equal(disk_do(&load->disk, op, first * 512,
				 op == IMAGE_WRITE ? load->data : NULL,
				 count * 512),
			 0);
	if (op != IMAGE_DISCARD)
		return;
	/* Sectors beside whole clusters are as they were. */
	assert_int_equal(disk_do(&load->disk, IMAGE_READ, first * 512,
				 load->data, count * 512),
			 0);
	for (uint64_t i = 0; i < count; i++)
		load->now[first + i] =
			get_stamp(load->data + i * 512, first + i);
}

static void flush(struct load *load)
{
	struct flushed *flushed = &load->flushed[load->flush_count++];

	assert_int_equal(disk_do(&load->disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	flushed->at = recording.count;
	flushed->stamp = load->stamp;
	memcpy(flushed->sectors, load->now, sizeof(load->now));
}

static void load_init(struct load *load, uint32_t cluster_bits,
		      uint32_t refcount_order, bool snapshot, unsigned int seed)
{
	*load = (struct load) {
		.folder = make_folder(),
		.cluster_bits = cluster_bits,
		.refcount_order = refcount_order,
		.snapshot = snapshot,
		.random = 88172645463325252ULL + 32 * seed + cluster_bits,
		.flushed = calloc(MAX_FLUSHES, sizeof(struct flushed)),
		.zeroed = calloc(SECTORS, sizeof(uint64_t)),
		.data = malloc(DISK_BYTES),
	};
	assert_non_null(load->flushed);
	assert_non_null(load->zeroed);
	assert_non_null(load->data);
	snprintf(load->path, sizeof(load->path), "%s/disk", load->folder);
	snprintf(load->crashed, sizeof(load->crashed), "%s/crashed",
		 load->folder);
}

static void load_release(struct load *load)
{
	free(load->flushed);
	free(load->zeroed);
	free(load->data);
	remove_folder(load->folder);
}

static void make_disk(struct load *load)
{
	const struct qcow2_geometry geometry = {
		.size = DISK_BYTES,
		.version = 3,
		.cluster_bits = load->cluster_bits,
		.refcount_order = load->refcount_order,
	};
	int fd = open(load->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(qcow2_create(fd, &geometry), 0);
	close(fd);
	memset(load->now, 0, sizeof(load->now));
	memset(load->zeroed, 0, SECTORS * sizeof(*load->zeroed));
	load->flush_count = 0;
	if (!load->snapshot)
		return;
	disk_open(&load->disk, load->path, false, ENGINE_SYNC);
	for (unsigned int i = 0; i < 20; i++)
		step(load);
	disk_close(&load->disk);
	assert_int_equal(run("qemu-img snapshot -c one %s", load->path), 0);
}

/* ---- after a crash ------------------------------------------------------- */

static void check_content(struct load *load, const struct flushed *flushed)
{
	struct disk disk;

	disk_open(&disk, load->crashed, true, ENGINE_SYNC);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, load->data, DISK_BYTES),
			 0);
	for (uint64_t i = 0; i < SECTORS; i++) {
		uint64_t stamp = get_stamp(load->data + i * 512, i);

		if (stamp == flushed->sectors[i] || stamp > flushed->stamp ||
		    (!stamp && load->zeroed[i] > flushed->stamp))
			continue;
		fail_msg("sector %llu: flushed %llu, found %llu",
			 (unsigned long long)i,
			 (unsigned long long)flushed->sectors[i],
			 (unsigned long long)stamp);
	}
	disk_close(&disk);
}

/* It can be written again, however it was left. */
static void go_on_after(struct load *load)
{
	struct disk disk;

	memset(load->data, 0x5a, DISK_BYTES);
	disk_open(&disk, load->crashed, false, ENGINE_SYNC);
	for (uint64_t at = 0; at < DISK_BYTES; at += 64 * KIB)
		assert_int_equal(disk_do(&disk, IMAGE_WRITE, at, load->data,
					 at % (192 * KIB) ? 4096 : 64 * KIB),
				 0);
	disk_close(&disk);
	check_image(load->crashed, true);
}

/* ---- power cuts ---------------------------------------------------------- */

/* A write that was not synced: any of its sectors. */
static void apply_torn(struct load *load, int fd, const struct change *change)
{
	uint64_t end = change->offset + change->len;
	uint64_t at = change->offset;
	unsigned int dice = next_random(&load->random) % 4;

	if (!dice)
		return;
	while (at < end) {
		uint64_t n = MIN(align_down(at, 512) + 512, end) - at;

		if (dice == 1 || next_random(&load->random) & 1)
			syscall(SYS_pwrite64, fd,
				(char *)change->data + (at - change->offset), n,
				at);
		at += n;
	}
}

static void apply(struct load *load, int fd, const struct change *change,
		  bool synced)
{
	if (!synced && change->kind == CHANGE_WRITE) {
		apply_torn(load, fd, change);
		return;
	}
	if (!synced && next_random(&load->random) & 1)
		return;
	switch (change->kind) {
	case CHANGE_WRITE:
		syscall(SYS_pwrite64, fd, change->data, change->len,
			change->offset);
		break;
	case CHANGE_ZERO:
		syscall(SYS_fallocate, fd,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			change->offset, change->len);
		break;
	case CHANGE_SIZE:
		syscall(SYS_ftruncate, fd, change->len);
		break;
	case CHANGE_SYNC:
		break;
	}
}

/* The file as a power cut after change @at leaves it. */
static void cut(struct load *load, size_t at)
{
	const struct flushed *flushed = load->flushed;
	size_t synced = 0;
	int fd;

	for (size_t i = 0; i < at; i++)
		if (recording.changes[i].kind == CHANGE_SYNC)
			synced = i;
	fd = open(load->crashed, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, load->before, load->before_len), 0);
	for (size_t i = 0; i < at; i++)
		apply(load, fd, &recording.changes[i], i < synced);
	close(fd);
	for (size_t i = 1; i < load->flush_count; i++)
		if (load->flushed[i].at <= at)
			flushed = &load->flushed[i];
	check_image(load->crashed, true);
	check_content(load, flushed);
	if (at % 4 == 0)
		go_on_after(load);
}

static void keep_before(struct load *load)
{
	int fd = open(load->path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	load->before_len = (size_t)st.st_size;
	load->before = malloc(load->before_len);
	assert_non_null(load->before);
	assert_int_equal(pread_full(fd, load->before, load->before_len, 0), 0);
	close(fd);
}

static void record_load(struct load *load)
{
	struct qcow2 *q;

	make_disk(load);
	keep_before(load);
	disk_open(&load->disk, load->path, false, ENGINE_SYNC);
	/* Tables go out of the cache all the time. */
	q = qcow2_of(load->disk.image);
	q->l2_cache.limit = QCOW2_MIN_TABLES;
	q->block_cache.limit = QCOW2_MIN_TABLES;
	recording.on = true;
	recording.no_holes = load->snapshot;
	flush(load);
	while (load->flush_count < MAX_FLUSHES / 2) {
		step(load);
		if (next_random(&load->random) % 8 == 0)
			flush(load);
		/* More L1 entries, and more of the disk. */
		if (load->flush_count == MAX_FLUSHES / 4)
			assert_int_equal(image_resize(load->disk.image,
						      DISK_BYTES + GROWTH),
					 0);
	}
	disk_close(&load->disk);
	recording.on = false;
}

/* Just before a sync most is at stake, above all if the header changed. */
static bool is_good_moment(struct load *load, size_t at)
{
	const struct change *change = &recording.changes[at];
	unsigned int one_in = long_run() ? 1 : 4;

	if (change->kind != CHANGE_SYNC)
		return !(next_random(&load->random) % (40 * one_in));
	if (at && change[-1].kind == CHANGE_WRITE && change[-1].offset < 512)
		return true;
	return !(next_random(&load->random) % one_in);
}

static void cut_power(uint32_t cluster_bits, uint32_t refcount_order,
		      bool snapshot, unsigned int seed)
{
	struct load load;

	load_init(&load, cluster_bits, refcount_order, snapshot, seed);
	record_load(&load);
	for (size_t i = 0; i < recording.count; i++)
		if (is_good_moment(&load, i))
			cut(&load, i);
	for (size_t i = 0; i < recording.count; i++)
		free(recording.changes[i].data);
	free(recording.changes);
	recording = (struct recording) { .on = false };
	free(load.before);
	load_release(&load);
}

static void power_cut_loses_nothing_that_was_flushed(void **state)
{
	(void)state;
	if (!have_qemu_img())
		skip();
	for (unsigned int i = 0; i < (long_run() ? 10 : 1); i++) {
		cut_power(9, 6, false, i); /* a refcount table that grows */
		cut_power(12, 4, false, i);
		cut_power(9, 4, true, i); /* many tables are copied */
		cut_power(16, 4, true, i);
	}
}

/* ---- killed processes ---------------------------------------------------- */

/* In the memory that child and parent share. */
struct shared {
	struct flushed flushed[2]; /* by turns: one is whole */
	_Atomic unsigned int current;
	uint64_t zeroed[SECTORS];
};

static void write_until_killed(struct load *load, struct shared *shared)
{
	unsigned int next = 1;

	disk_open(&load->disk, load->path, false, ENGINE_AUTO);
	for (;;) {
		for (unsigned int i = 0; i < 8; i++)
			step(load);
		load->flush_count = 0;
		flush(load);
		shared->flushed[next] = load->flushed[0];
		shared->current = next;
		next = !next;
	}
}

/* A ring of io_uring, and locks with it, outlive their process a little. */
static void wait_for_locks(const char *path)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	for (unsigned int i = 0; i < 10000; i++) {
		struct flock lock = { .l_type = F_WRLCK };

		assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
		if (lock.l_type == F_UNLCK)
			break;
		nanosleep(&pause, NULL);
	}
	close(fd);
}

static void kill_one(struct load *load, struct shared *shared)
{
	struct timespec moment = {
		.tv_nsec = (long)(next_random(&load->random) % 20000000),
	};
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		write_until_killed(load, shared);
		_exit(1);
	}
	nanosleep(&moment, NULL);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	wait_for_locks(load->path);
	check_image(load->path, true);
	check_content(load, &shared->flushed[shared->current]);
}

static void killed_process_loses_nothing_that_was_flushed(void **state)
{
	unsigned int kills = long_run() ? 200 : 25;
	struct shared *shared = mmap(NULL, sizeof(*shared),
				     PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct load load;

	(void)state;
	if (!have_qemu_img())
		skip();
	assert_true(shared != MAP_FAILED);
	load_init(&load, 12, 4, true, 0);
	memcpy(load.crashed, load.path, sizeof(load.crashed));
	free(load.zeroed);
	load.zeroed = shared->zeroed;
	for (unsigned int i = 0; i < kills; i++) {
		load.snapshot = i & 1;
		make_disk(&load);
		memset(shared, 0, sizeof(*shared));
		shared->flushed[0].stamp = load.stamp;
		memcpy(shared->flushed[0].sectors, load.now, sizeof(load.now));
		kill_one(&load, shared);
		load.stamp += 1000000;
	}
	load.zeroed = NULL;
	munmap(shared, sizeof(*shared));
	load_release(&load);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_cut_loses_nothing_that_was_flushed),
		cmocka_unit_test(killed_process_loses_nothing_that_was_flushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
