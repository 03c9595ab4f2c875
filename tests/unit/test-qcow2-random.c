/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Random operations on qcow2, with a flat buffer as the oracle, over sizes of
 * clusters and widths of refcounts; then qemu-img has its say.
 *
 * LKVM_LONG=1 makes it a million operations.
 */
#include <sys/syscall.h>

#include "qcow2.h"

#define MAX_CALLS 8 /* at once */

struct setting {
	const char *name;
	uint32_t version, cluster_bits, refcount_order;
	uint64_t size;
	enum engine_kind engine;
	const char *backing; /* "raw", "qcow2" or NULL */
	unsigned int snapshots; /* a refcount of 2 bits counts to 3 */
	bool hard; /* no holes in files, hardly a cache */
	enum image_cache cache;
};

static const struct setting settings[] = {
	{ "512b-1", 3, 9, 0, 1 * MIB, ENGINE_SYNC, NULL, 0, true,
	  IMAGE_CACHE_WRITEBACK },
	{ "512b-64", 3, 9, 6, 3 * MIB + 512, ENGINE_AUTO, "raw", 0, false,
	  IMAGE_CACHE_WRITEBACK },
	{ "1k-2", 3, 10, 1, 2 * MIB + 1536, ENGINE_AUTO, NULL, 2, true,
	  IMAGE_CACHE_WRITEBACK },
	{ "4k-v2", 2, 12, 4, 4 * MIB, ENGINE_SYNC, "raw", 0, false,
	  IMAGE_CACHE_WRITEBACK },
	{ "4k-4", 3, 12, 2, 4 * MIB, ENGINE_AUTO, "qcow2", 3, true,
	  IMAGE_CACHE_WRITEBACK },
	{ "64k-8", 3, 16, 3, 8 * MIB, ENGINE_AUTO, NULL, 0, false,
	  IMAGE_CACHE_WRITEBACK },
	{ "64k-16", 3, 16, 4, 8 * MIB + 512, ENGINE_AUTO, "qcow2", 3, true,
	  IMAGE_CACHE_WRITEBACK },
	{ "64k-v2", 2, 16, 4, 8 * MIB, ENGINE_AUTO, NULL, 3, false,
	  IMAGE_CACHE_WRITEBACK },
	{ "256k-32", 3, 18, 5, 8 * MIB, ENGINE_AUTO, "raw", 0, true,
	  IMAGE_CACHE_WRITEBACK },
	{ "2m-16", 3, 21, 4, 16 * MIB, ENGINE_AUTO, NULL, 0, false,
	  IMAGE_CACHE_WRITEBACK },
	{ "64k-direct", 3, 16, 4, 8 * MIB, ENGINE_AUTO, "qcow2", 0, false,
	  IMAGE_CACHE_NONE },
	{ "4k-direct", 3, 12, 4, 4 * MIB, ENGINE_AIO, "raw", 0, true,
	  IMAGE_CACHE_NONE },
};

struct fixture {
	const struct setting *setting;
	char *folder;
	char path[128];
	struct disk disk;
	uint8_t *want, *data;
	uint64_t random;
};

/* What stands for a system call has no argument for it. */
static bool no_holes;

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (!no_holes)
		return (int)syscall(SYS_fallocate, fd, mode, offset, len);
	errno = EOPNOTSUPP;
	return -1;
}

/* ---- making the image ---------------------------------------------------- */

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, data, len), 0);
	close(fd);
}

/* A backing file that ends before the disk does, with holes of zeroes. */
static void make_with_backing(struct fixture *f)
{
	const struct setting *s = f->setting;
	uint64_t len = align_down(s->size * 2 / 3, 512);

	fill_random(&f->random, f->want, len);
	memset(f->want + len / 4, 0, len / 4);
	snprintf(f->path, sizeof(f->path), "%s/raw", f->folder);
	write_file(f->path, f->want, len);
	if (!strcmp(s->backing, "qcow2"))
		assert_int_equal(run("cd %s && qemu-img convert -c -f raw "
				     "-O qcow2 -o cluster_size=4k raw qcow2",
				     f->folder),
				 0);
	assert_int_equal(
		run("cd %s && qemu-img create -q -f qcow2 -o compat=%s,"
		    "cluster_size=%u,refcount_bits=%u -b %s -F %s disk %llu",
		    f->folder, s->version == 2 ? "0.10" : "1.1",
		    1U << s->cluster_bits, 1U << s->refcount_order, s->backing,
		    s->backing, (unsigned long long)s->size),
		0);
}

static void make_image(struct fixture *f)
{
	const struct setting *s = f->setting;
	const struct qcow2_geometry geometry = {
		.size = s->size,
		.version = s->version,
		.cluster_bits = s->cluster_bits,
		.refcount_order = s->refcount_order,
	};
	int fd;

	if (s->backing)
		make_with_backing(f);
	snprintf(f->path, sizeof(f->path), "%s/disk", f->folder);
	if (s->backing)
		return;
	fd = open(f->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(qcow2_create(fd, &geometry), 0);
	close(fd);
}

/* ---- operations ---------------------------------------------------------- */

/* Mostly near each other, so that they meet in clusters. */
static void choose_range(struct fixture *f, uint64_t *offset, uint64_t *len)
{
	uint64_t sectors = f->setting->size / 512;
	uint64_t at = next_random(&f->random) % sectors;
	uint64_t n = 1 + next_random(&f->random) % 16;

	if (next_random(&f->random) % 8 == 0)
		n = 1 + next_random(&f->random) % 512;
	if (next_random(&f->random) % 4 == 0) {
		uint64_t cluster = BIT_ULL(f->setting->cluster_bits) / 512;

		at = align_down(at, cluster);
		n = cluster * (1 + next_random(&f->random) % 3);
	}
	*offset = at * 512;
	*len = MIN(n, sectors - at) * 512;
}

/* What the oracle says of DISCARD is "zero or as before": ask. */
static void settle_discard(struct fixture *f, uint64_t offset, uint64_t len)
{
	assert_int_equal(disk_do(&f->disk, IMAGE_READ, offset, f->data, len),
			 0);
	for (uint64_t i = 0; i < len; i += 512) {
		static const uint8_t zeroes[512];

		if (memcmp(f->data + i, zeroes, 512))
			assert_memory_equal(f->data + i, f->want + offset + i,
					    512);
	}
	memcpy(f->want + offset, f->data, len);
}

static bool overlaps(const struct call *calls, unsigned int count,
		     uint64_t offset, uint64_t len)
{
	for (unsigned int i = 0; i < count; i++)
		if (calls[i].request.offset < offset + len &&
		    offset < calls[i].request.offset + calls[i].request.len)
			return true;
	return false;
}

static enum image_op choose_op(struct fixture *f)
{
	static const enum image_op ops[] = {
		IMAGE_READ,    IMAGE_READ,  IMAGE_READ,		IMAGE_WRITE,
		IMAGE_WRITE,   IMAGE_WRITE, IMAGE_WRITE,	IMAGE_WRITE,
		IMAGE_DISCARD, IMAGE_WRITE, IMAGE_WRITE_ZEROES, IMAGE_WRITE,
	};

	return ops[next_random(&f->random) % ARRAY_SIZE(ops)];
}

/* Several at once that share clusters, but no sector. */
static unsigned int batch(struct fixture *f)
{
	unsigned int wanted = 1 + next_random(&f->random) % MAX_CALLS;
	struct call calls[MAX_CALLS];
	unsigned int count = 0;
	uint64_t offset, len;

	while (count < wanted) {
		enum image_op op = choose_op(f);
		void *data = NULL;

		choose_range(f, &offset, &len);
		if (overlaps(calls, count, offset, len))
			break;
		if (op == IMAGE_READ || op == IMAGE_WRITE)
			data = f->data + offset;
		if (op == IMAGE_WRITE) {
			fill_random(&f->random, data, len);
			memcpy(f->want + offset, data, len);
		} else if (op == IMAGE_WRITE_ZEROES) {
			memset(f->want + offset, 0, len);
		}
		call_start(&f->disk, &calls[count++], op, offset, data, len,
			   next_random(&f->random) & 1);
	}
	for (unsigned int i = 0; i < count; i++) {
		const struct image_request *r = &calls[i].request;

		assert_int_equal(call_end(&f->disk, &calls[i]), 0);
		if (r->op == IMAGE_READ)
			assert_memory_equal(r->iov->iov_base,
					    f->want + r->offset, r->len);
	}
	for (unsigned int i = 0; i < count; i++)
		if (calls[i].request.op == IMAGE_DISCARD)
			settle_discard(f, calls[i].request.offset,
				       calls[i].request.len);
	return count;
}

static void open_disk(struct fixture *f)
{
	const struct image_options options = {
		.path = f->path,
		.engine = f->setting->engine,
		.cache = f->setting->cache,
	};
	struct qcow2 *q;

	assert_int_equal(disk_open_with(&f->disk, &options), 0);
	if (!f->setting->hard)
		return;
	q = qcow2_of(f->disk.image);
	q->l2_cache.limit = QCOW2_MIN_TABLES;
	q->block_cache.limit = QCOW2_MIN_TABLES;
}

static void reopen(struct fixture *f, unsigned int round)
{
	disk_close(&f->disk);
	if (round < f->setting->snapshots)
		assert_int_equal(run("qemu-img snapshot -c s%u %s && "
				     "cp %s %s/s%u.want",
				     round, f->path, f->path, f->folder, round),
				 0);
	open_disk(f);
}

/* What a snapshot held when it was taken is what it holds. */
static void check_snapshots(struct fixture *f, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(
			run("cd %s && qemu-img convert -l s%u -O raw disk got "
			    "&& qemu-img convert -l s%u -O raw s%u.want want "
			    "&& cmp got want",
			    f->folder, i, i, i),
			0);
}

static void run_setting(const struct setting *setting)
{
	unsigned long total = long_run() ? 100000 : 2500;
	unsigned int rounds = 4;
	struct fixture f = {
		.setting = setting,
		.random = 0x9e3779b97f4a7c15 ^ setting->cluster_bits,
	};

	/* Files in memory have no O_DIRECT. */
	f.folder = setting->cache == IMAGE_CACHE_NONE ?
			   make_folder_in("/var/tmp") :
			   make_folder();
	f.want = calloc(1, setting->size);
	f.data = aligned_alloc(4096, align_up(setting->size, 4096));
	assert_non_null(f.want);
	assert_non_null(f.data);
	make_image(&f);
	no_holes = setting->hard;
	open_disk(&f);
	for (unsigned int round = 0; round < rounds; round++) {
		for (unsigned long n = 0; n < total / rounds;) {
			n += batch(&f);
			if (next_random(&f.random) % 64 == 0)
				assert_int_equal(disk_do(&f.disk, IMAGE_FLUSH,
							 0, NULL, 0),
						 0);
		}
		if (round + 1 < rounds)
			reopen(&f, round);
	}
	assert_int_equal(disk_do(&f.disk, IMAGE_READ, 0, f.data, setting->size),
			 0);
	assert_memory_equal(f.data, f.want, setting->size);
	disk_close(&f.disk);
	check_image(f.path, false);
	compare_image(f.path, f.want, setting->size);
	check_snapshots(&f, setting->snapshots);
	free(f.want);
	free(f.data);
	remove_folder(f.folder);
}

static bool has_direct(const char *parent)
{
	int fd = open(parent, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void random_operations_match_a_buffer(void **state)
{
	(void)state;
	if (!have_qemu_img())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		print_message("# %s\n", settings[i].name);
		if (settings[i].cache == IMAGE_CACHE_NONE &&
		    !has_direct("/var/tmp"))
			print_message("# no O_DIRECT in /var/tmp\n");
		else
			run_setting(&settings[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_match_a_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
