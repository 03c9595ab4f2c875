/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Images that qemu-img made, in all the ways that it has: read, written, and
 * given back to it. And those that are refused, with what is said then.
 */
#include "qcow2.h"

#define DISK_BYTES (4 * MIB)

struct fixture {
	char *folder;
	char path[128]; /* folder/disk */
	char said[4096]; /* on stderr, by the last try_open() */
	uint8_t *want, *data;
	uint64_t random;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->folder = make_folder();
	f->want = calloc(1, 2 * DISK_BYTES);
	f->data = malloc(2 * DISK_BYTES);
	assert_non_null(f->want);
	assert_non_null(f->data);
	f->random = 0x243f6a8885a308d3;
	snprintf(f->path, sizeof(f->path), "%s/disk", f->folder);
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

static void write_file(struct fixture *f, const char *name, const void *data,
		       size_t len)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, data, len), 0);
	close(fd);
}

/* In the folder. */
#define sh(f, fmt, ...) \
	assert_int_equal(run("cd %s && " fmt, (f)->folder, ##__VA_ARGS__), 0)

/* Compressible, with holes, and different each time. */
static void make_content(struct fixture *f, uint8_t *data, size_t len)
{
	for (size_t at = 0; at < len; at += 4096) {
		unsigned int dice = next_random(&f->random) % 4;

		memset(data + at, dice ? (int)(at / 4096) : 0, 4096);
		if (dice == 1)
			fill_random(&f->random, data + at, 1024);
	}
}

static void patch(struct fixture *f, uint64_t offset, const void *data,
		  size_t len)
{
	int fd = open(f->path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, (off_t)offset), (ssize_t)len);
	close(fd);
}

/* ---- reading and writing ------------------------------------------------- */

static void assert_content(struct fixture *f, struct disk *disk, uint64_t len)
{
	assert_int_equal(disk->image->size, len);
	assert_int_equal(disk_do(disk, IMAGE_READ, 0, f->data, len), 0);
	assert_memory_equal(f->data, f->want, len);
}

/* Read it, write here and there, and see what qemu-img reads. */
static void use_image(struct fixture *f, uint64_t len)
{
	struct disk disk;

	disk_open(&disk, f->path, true, ENGINE_AUTO);
	assert_content(f, &disk, len);
	disk_close(&disk);
	disk_open(&disk, f->path, false, ENGINE_AUTO);
	for (unsigned int i = 0; i < 60; i++) {
		uint64_t at = next_random(&f->random) % (len / 512) * 512;
		uint64_t n = (1 + next_random(&f->random) % 100) * 512;

		n = MIN(n, len - at);
		fill_random(&f->random, f->want + at, n);
		assert_int_equal(
			disk_do(&disk, IMAGE_WRITE, at, f->want + at, n), 0);
		if (i == 30)
			assert_int_equal(
				disk_do(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	}
	assert_content(f, &disk, len);
	disk_close(&disk);
	check_image(f->path, false);
	compare_image(f->path, f->want, len);
}

static void every_way_to_convert(void **state)
{
	static const char *const ways[] = {
		"-o compat=0.10",
		"-o compat=0.10,cluster_size=512",
		"-o cluster_size=512,refcount_bits=1",
		"-o cluster_size=1k,refcount_bits=2",
		"-o cluster_size=4k,refcount_bits=4",
		"-o refcount_bits=8",
		"-o refcount_bits=32",
		"-o cluster_size=2M,refcount_bits=64",
		"-o lazy_refcounts=on",
		"-S 0 -o preallocation=metadata",
		"-S 0 -o preallocation=falloc",
		"-S 0 -o preallocation=full",
		"-c",
		"-c -o compat=0.10",
		"-c -o cluster_size=512",
		"-c -o cluster_size=2M",
		"-c -o compression_type=zstd",
		"-c -o compression_type=zstd,cluster_size=4k",
		"-c -o compression_type=zstd,cluster_size=2M",
	};
	struct fixture *f = *state;

	if (!have_qemu_img())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		print_message("# %s\n", ways[i]);
		make_content(f, f->want, DISK_BYTES);
		write_file(f, "raw", f->want, DISK_BYTES);
		sh(f, "qemu-img convert -f raw -O qcow2 %s raw disk", ways[i]);
		use_image(f, DISK_BYTES);
	}
}

static void empty_image_with_preallocated_tables(void **state)
{
	struct fixture *f = *state;

	if (!have_qemu_img())
		skip();
	sh(f, "qemu-img create -q -f qcow2 -o preallocation=metadata disk %llu",
	   DISK_BYTES);
	use_image(f, DISK_BYTES);
}

/* raw <- compressed <- version 2 <- 512-byte clusters <- disk, ever longer */
static void chain_of_four_backing_files(void **state)
{
	struct fixture *f = *state;

	if (!have_qemu_img())
		skip();
	make_content(f, f->want, MIB);
	write_file(f, "raw", f->want, MIB);
	sh(f, "qemu-img convert -c -f raw -O qcow2 raw a && truncate -s 0 raw");
	sh(f, "qemu-img create -q -f qcow2 -o compat=0.10 -b a -F qcow2 b "
	      "1536k && qemu-io -c 'write -P 7 100k 300k' b >b.log");
	memset(f->want + 100 * KIB, 7, 300 * KIB);
	sh(f, "qemu-img create -q -f qcow2 -o cluster_size=512 -b b -F qcow2 c "
	      "2M && qemu-io -c 'write -P 8 200k 50k' -c 'write -z 1M 64k' "
	      "-c 'write -P 9 1700k 5k' c >c.log");
	memset(f->want + 200 * KIB, 8, 50 * KIB);
	memset(f->want + MIB, 0, 64 * KIB);
	memset(f->want + 1700 * KIB, 9, 5 * KIB);
	sh(f, "qemu-img create -q -f qcow2 -b c -F qcow2 disk 4M");
	use_image(f, 4 * MIB);
	sh(f, "qemu-img compare -q -f qcow2 -F qcow2 b b");
}

/* A raw backing file, read where it lies, and not written. */
static void snapshot_leaves_the_file_as_it_was(void **state)
{
	static const char *const kinds[] = { "raw", "qcow2" };
	struct fixture *f = *state;
	struct disk disk;

	if (!have_qemu_img())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct image_options options = {
			.path = f->path,
			.snapshot = true,
			.engine = ENGINE_AUTO,
		};

		make_content(f, f->want, DISK_BYTES);
		write_file(f, "raw", f->want, DISK_BYTES);
		sh(f, "qemu-img convert -f raw -O %s raw disk && cp disk copy",
		   kinds[i]);
		assert_int_equal(disk_open_with(&disk, &options), 0);
		assert_content(f, &disk, DISK_BYTES);
		memset(f->want + 70000 / 512 * 512, 3, 100 * KIB);
		assert_int_equal(disk_do(&disk, IMAGE_WRITE, 70000 / 512 * 512,
					 f->want + 70000 / 512 * 512,
					 100 * KIB),
				 0);
		memset(f->want + 2 * MIB, 0, MIB);
		assert_int_equal(disk_do(&disk, IMAGE_WRITE_ZEROES, 2 * MIB,
					 NULL, MIB),
				 0);
		assert_int_equal(disk_do(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
		assert_content(f, &disk, DISK_BYTES);
		disk_close(&disk);
		sh(f, "cmp disk copy");
	}
}

/* ---- bits of the header -------------------------------------------------- */

static void unclean_image_is_repaired(void **state)
{
	struct fixture *f = *state;
	struct disk disk;

	if (!have_qemu_img())
		skip();
	/* What was written before the crash, with refcounts that lag. */
	sh(f, "qemu-img create -q -f qcow2 -o lazy_refcounts=on disk 4M && "
	      "qemu-io -c 'write -P 1 0 1M' disk >log && "
	      "qemu-img snapshot -c one disk && "
	      "{ qemu-io -c 'write -P 2 512k 1M' -c 'flush' -c 'sigraise 9' "
	      "disk >log 2>&1 || true; }");
	assert_int_not_equal(
		run("qemu-img check -q %s >/dev/null 2>&1", f->path), 0);
	memset(f->want, 1, MIB);
	memset(f->want + 512 * KIB, 2, MIB);
	disk_open(&disk, f->path, true, ENGINE_SYNC);
	assert_content(f, &disk, 4 * MIB);
	disk_close(&disk);
	disk_open(&disk, f->path, false, ENGINE_SYNC);
	disk_close(&disk);
	/* Only now: it would have been repaired by qemu-img itself. */
	sh(f, "qemu-img info disk | grep -q 'dirty' && exit 1; true");
	check_image(f->path, true);
	sh(f, "qemu-img check -q -r leaks disk >log 2>&1");
	use_image(f, 4 * MIB);
	sh(f, "qemu-img convert -l one -O raw disk one && "
	      "qemu-io -f raw -r -c 'read -P 1 0 1M' -c 'read -P 0 1M 3M' one "
	      "| grep -q failed && exit 1; true");
}

static void autoclear_bits_go_with_the_first_write(void **state)
{
	struct fixture *f = *state;
	struct qcow2_header header;
	struct disk disk;

	if (!have_qemu_img())
		skip();
	sh(f, "qemu-img create -q -f qcow2 disk 4M && "
	      "qemu-img bitmap --add disk b0 && cp disk copy");
	disk_open(&disk, f->path, false, ENGINE_SYNC);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, f->data, 4096), 0);
	disk_close(&disk);
	sh(f, "cmp disk copy");
	disk_open(&disk, f->path, false, ENGINE_SYNC);
	assert_int_not_equal(qcow2_of(disk.image)->autoclear, 0);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 0, f->want, 4096), 0);
	assert_int_equal(qcow2_of(disk.image)->autoclear, 0);
	assert_int_equal(pread_full(qcow2_of(disk.image)->fd, &header,
				    sizeof(header), 0),
			 0);
	assert_int_equal(header.autoclear_features, 0);
	disk_close(&disk);
	check_image(f->path, true);
}

/* ---- what is refused ----------------------------------------------------- */

static int try_open(struct fixture *f, const struct image_options *options)
{
	int saved = dup(STDERR_FILENO);
	FILE *file = tmpfile();
	struct image *image;
	size_t n;
	int err;

	assert_non_null(file);
	assert_true(saved >= 0);
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	err = image_open(options, &image);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	n = fread(f->said, 1, sizeof(f->said) - 1, file);
	f->said[n] = '\0';
	fclose(file);
	if (!err)
		image_close(image);
	return err;
}

/* One line, which holds @text. */
static void assert_refused(struct fixture *f, const char *text)
{
	const struct image_options options = {
		.path = f->path,
		.format = IMAGE_FORMAT_QCOW2,
	};

	assert_true(try_open(f, &options) < 0);
	if (!strstr(f->said, text))
		fail_msg("'%s' says nothing of '%s'", f->said, text);
	assert_ptr_equal(strchr(f->said, '\n'), f->said + strlen(f->said) - 1);
}

static void assert_opens(struct fixture *f, bool read_only, bool backing_ok)
{
	const struct image_options options = {
		.path = f->path,
		.read_only = read_only,
		.backing_ok = backing_ok,
	};

	if (try_open(f, &options))
		fail_msg("refused: %s", f->said);
}

static void features_that_are_missing_are_named(void **state)
{
	static const uint8_t none[4] = { 0 };
	static const uint8_t three[4] = { 0, 0, 0, 3 };
	static const uint8_t four[4] = { 0, 0, 0, 4 };
	static const uint8_t unknown[8] = { 0, 0, 0, 0, 0, 0, 1, 0 };
	static const uint8_t corrupt[8] = { 0, 0, 0, 0, 0, 0, 0, 2 };
	struct fixture *f = *state;

	if (!have_qemu_img())
		skip();
	sh(f, "qemu-img create -q -f qcow2 -o extended_l2=on disk 4M");
	assert_refused(f, "extended L2 entries");
	sh(f, "rm disk; qemu-img create -q -f qcow2 -o data_file=ext disk 4M");
	assert_refused(f, "external data file");
	sh(f, "rm disk; qemu-img create -q -f qcow2 disk 4M");
	patch(f, 32, four, sizeof(four));
	assert_refused(f, "encrypted");
	patch(f, 32, none, sizeof(none));
	patch(f, 4, four, sizeof(four));
	assert_refused(f, "version 4");
	patch(f, 4, three, sizeof(three));
	assert_opens(f, false, false);
	patch(f, 72, unknown, sizeof(unknown));
	assert_refused(f, "feature bit 8 (unknown)");
	patch(f, 72, corrupt, sizeof(corrupt));
	assert_refused(f, "marked as corrupt");
	assert_opens(f, true, false);
	sh(f, "head -c 1000 /dev/zero >disk");
	assert_refused(f, "not a qcow2 image");
}

/* The table of names is the image's, and so is not to be trusted. */
static void unknown_feature_is_called_by_its_name(void **state)
{
	static const uint8_t unknown[8] = { 0, 0, 0, 0, 0, 0, 1, 0 };
	uint8_t table[8 + 48 + 8] = {
		0x68, 0x03, 0xf8, 0x57, 0, 0, 0, 48, 0, 8
	};
	struct fixture *f = *state;

	if (!have_qemu_img())
		skip();
	memcpy(table + 10, "tele\033port", 9);
	sh(f, "qemu-img create -q -f qcow2 disk 4M");
	patch(f, 72, unknown, sizeof(unknown));
	patch(f, 112, table, sizeof(table));
	assert_refused(f, "feature bit 8 (tele?port)");
}

static void backing_files_that_are_refused(void **state)
{
	struct fixture *f = *state;

	if (!have_qemu_img())
		skip();
	sh(f, "mkdir in && qemu-img create -q -f qcow2 other 4M");
	snprintf(f->path, sizeof(f->path), "%s/in/disk", f->folder);
	sh(f, "cd in && qemu-img create -q -f qcow2 -b ../other -F qcow2 disk");
	assert_refused(f, "outside of the image's folder (add \",backing-ok\"");
	assert_opens(f, false, true);
	sh(f, "cd in && ln -s ../other link && "
	      "qemu-img rebase -u -b link -F qcow2 disk");
	assert_refused(f, "outside of the image's folder");
	sh(f, "cd in && rm link && cp ../other link");
	assert_opens(f, false, false);
	sh(f, "rm in/link");
	assert_refused(f, "No such file");
	sh(f, "cd in && qemu-img rebase -u -b nbd:localhost:1 -F raw disk");
	assert_refused(f, "only plain files");
	sh(f, "cd in && qemu-img rebase -u -b 'json:{}' -F raw disk");
	assert_refused(f, "only plain files");
	sh(f, "cd in && qemu-img rebase -u -b disk -F qcow2 disk");
	assert_refused(f, "is a loop");
	sh(f,
	   "cd in && qemu-img create -q -f qcow2 -u -b disk -F qcow2 b 4M && "
	   "qemu-img rebase -u -b b -F qcow2 disk");
	assert_refused(f, "is a loop");
}

static void format_of_a_backing_file_is_probed_with_a_warning(void **state)
{
	static const uint8_t other_extension[4] = { 1, 2, 3, 4 };
	struct fixture *f = *state;
	struct disk disk;

	if (!have_qemu_img())
		skip();
	make_content(f, f->want, DISK_BYTES);
	write_file(f, "raw", f->want, DISK_BYTES);
	sh(f, "qemu-img convert -f raw -O qcow2 raw base && "
	      "qemu-img create -q -f qcow2 -b base -F qcow2 disk 4M");
	/* It stands first, and is named no more. */
	patch(f, sizeof(struct qcow2_header), other_extension, 4);
	assert_opens(f, false, false);
	assert_non_null(strstr(f->said, "does not name the format"));
	disk_open(&disk, f->path, true, ENGINE_SYNC);
	assert_content(f, &disk, DISK_BYTES);
	disk_close(&disk);
	/* And where it is named, it is believed: these bytes are the disk. */
	sh(f, "qemu-img rebase -u -b base -F raw disk");
	disk_open(&disk, f->path, true, ENGINE_SYNC);
	assert_int_equal(disk_do(&disk, IMAGE_READ, 0, f->data, 512), 0);
	assert_memory_equal(f->data, "QFI\xfb", 4);
	disk_close(&disk);
}

/* ---- growing ------------------------------------------------------------- */

/* What lies behind the L1 table in its cluster is nobody's, and not empty. */
static void dirty_l1_end(struct fixture *f)
{
	const uint64_t garbage[2] = { UINT64_MAX, UINT64_MAX };
	struct qcow2_header h;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	close(fd);
	patch(f, be64toh(h.l1_table_offset) + be32toh(h.l1_size) * 8ULL,
	      garbage, sizeof(garbage));
}

static void grow_and_use(struct fixture *f)
{
	struct disk disk;

	memset(f->want + DISK_BYTES, 0, DISK_BYTES);
	disk_open(&disk, f->path, false, ENGINE_AUTO);
	assert_int_equal(image_resize(disk.image, 2 * DISK_BYTES), 0);
	assert_content(f, &disk, 2 * DISK_BYTES);
	/* Over the old end, and at the new one. */
	fill_random(&f->random, f->want + DISK_BYTES - 4096, 8192);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, DISK_BYTES - 4096,
				 f->want + DISK_BYTES - 4096, 8192),
			 0);
	/* Else the L1 table's entries in between were written as well. */
	assert_int_equal(disk_do(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	fill_random(&f->random, f->want + 2 * DISK_BYTES - 512, 512);
	assert_int_equal(disk_do(&disk, IMAGE_WRITE, 2 * DISK_BYTES - 512,
				 f->want + 2 * DISK_BYTES - 512, 512),
			 0);
	disk_close(&disk);
	check_image(f->path, false);
	compare_image(f->path, f->want, 2 * DISK_BYTES);
}

static void disk_grows_while_it_is_used(void **state)
{
	static const char *const ways[] = {
		"-o cluster_size=2k",
		"-o cluster_size=4k,compat=0.10",
		"-o cluster_size=64k,lazy_refcounts=on",
		"-c -o cluster_size=2M",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		make_content(f, f->want, DISK_BYTES);
		write_file(f, "raw", f->want, DISK_BYTES);
		sh(f, "qemu-img convert -f raw -O qcow2 %s raw disk", ways[i]);
		dirty_l1_end(f);
		grow_and_use(f);
	}
	/* Over a backing file that ends where the disk did. */
	make_content(f, f->want, DISK_BYTES);
	write_file(f, "raw", f->want, DISK_BYTES);
	sh(f, "rm disk && qemu-img create -q -f qcow2 -b raw -F raw disk");
	grow_and_use(f);
}

static void refuses_size(struct fixture *f, uint64_t size, int err)
{
	struct disk disk;
	uint64_t before;

	disk_open(&disk, f->path, false, ENGINE_SYNC);
	before = disk.image->size;
	assert_int_equal(image_resize(disk.image, size), err);
	assert_int_equal(disk.image->size, before);
	disk_close(&disk);
	check_image(f->path, false);
}

static void growing_has_limits(void **state)
{
	const uint64_t two_mib = htobe64(2 * MIB);
	struct fixture *f = *state;

	sh(f, "qemu-img create -q -f qcow2 disk 4M");
	refuses_size(f, DISK_BYTES - 512, -ENOTSUP);
	refuses_size(f, DISK_BYTES + 511, -EINVAL);
	/* 8192 entries of 512 MiB each, and no more. */
	refuses_size(f, 4096ULL * 1024 * MIB + 512, -ERANGE);
	sh(f, "qemu-img create -q -f qcow2 -o compat=0.10 disk 4M && "
	      "qemu-img snapshot -c s disk");
	refuses_size(f, 2 * DISK_BYTES, -ENOTSUP);
	sh(f, "qemu-img amend -o compat=1.1 disk");
	memset(f->want, 0, DISK_BYTES);
	grow_and_use(f);
	/* Hidden by a smaller disk: in its last cluster, and in whole ones. */
	sh(f, "qemu-img create -q -f qcow2 disk 4M && "
	      "qemu-io -c 'write -q 0 4M' disk && "
	      "qemu-img resize -q --shrink disk 2050k");
	refuses_size(f, DISK_BYTES, -ENOTSUP);
	sh(f, "qemu-img create -q -f qcow2 -o cluster_size=4k disk 4M && "
	      "qemu-io -c 'write -q -P 7 2M 2M' disk && "
	      "qemu-img snapshot -c large disk");
	patch(f, offsetof(struct qcow2_header, size), &two_mib, 8);
	refuses_size(f, DISK_BYTES, -ENOTSUP);
	sh(f, "truncate -s 8M raw && "
	      "qemu-img create -q -f qcow2 -b raw -F raw disk 4M");
	refuses_size(f, 2 * DISK_BYTES, -ENOTSUP);
}

#define IMAGE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IMAGE_TEST(every_way_to_convert),
		IMAGE_TEST(empty_image_with_preallocated_tables),
		IMAGE_TEST(chain_of_four_backing_files),
		IMAGE_TEST(snapshot_leaves_the_file_as_it_was),
		IMAGE_TEST(unclean_image_is_repaired),
		IMAGE_TEST(autoclear_bits_go_with_the_first_write),
		IMAGE_TEST(features_that_are_missing_are_named),
		IMAGE_TEST(unknown_feature_is_called_by_its_name),
		IMAGE_TEST(backing_files_that_are_refused),
		IMAGE_TEST(format_of_a_backing_file_is_probed_with_a_warning),
		IMAGE_TEST(disk_grows_while_it_is_used),
		IMAGE_TEST(growing_has_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
