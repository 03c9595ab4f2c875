/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which modules are found for a kernel, in which order they are loaded, and
 * what is in the archive that a guest gets: against a tree of text files, in a
 * folder that vanishes afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <lkvm/arch.h>
#include <lkvm/cache.h>
#include <lkvm/initrd.h>
#include <lkvm/log.h>
#include <lkvm/modules.h>
#include <lkvm/unpack.h>
#include <lkvm/util.h>

struct fixture {
	char dir[32];
	struct modules *modules;
	struct module_list list;
	int fd;
	char message[512];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/lkvm-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(chdir(f->dir), 0);
	setenv("XDG_CACHE_HOME", f->dir, 1);
	log_set_level(LOG_LEVEL_ERROR);
	f->fd = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *command;

	modules_close(f->modules);
	module_list_release(&f->list);
	if (f->fd >= 0)
		close(f->fd);
	assert_int_equal(chdir("/"), 0);
	assert_true(asprintf(&command, "rm -rf %s", f->dir) > 0);
	assert_int_equal(system(command), 0);
	free(command);
	free(f);
	return 0;
}

/* @path with its folders. */
static void put(const char *path, const void *data, size_t len)
{
	char part[PATH_MAX];
	int fd;

	for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		mkdir(part, 0755);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, data, len), 0);
	close(fd);
}

static void put_text(const char *path, const char *text)
{
	put(path, text, strlen(text));
}

/* A module, whose contents are its name. */
static void put_module(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "lib/modules/6.1/kernel/%s.ko", name);
	put_text(path, name);
}

static void open_tree(struct fixture *f, const char *dep)
{
	put_text("bzImage", "");
	put_text("lib/modules/6.1/modules.dep", dep);
	assert_int_equal(modules_open("bzImage", "6.1", NULL, &f->modules), 0);
}

/* The names in the order of loading, parted by blanks. */
static void assert_order(struct fixture *f, const char *wanted,
			 const char *expected)
{
	const char *names[] = { wanted };
	char order[256] = "";

	assert_int_equal(modules_pack(f->modules, names, 1, &f->list, &f->fd),
			 0);
	for (unsigned int i = 0; i < f->list.count; i++)
		snprintf(order + strlen(order), sizeof(order) - strlen(order),
			 "%s%s", i ? " " : "", f->list.names[i]);
	assert_string_equal(order, expected);
}

/* What cpio(1) says of the archive. */
static void assert_listing(int fd, const char *options, const char *expected)
{
	char command[256], text[4096];
	FILE *pipe;
	size_t len;

	snprintf(command, sizeof(command),
		 "cpio --quiet %s </proc/%d/fd/%d 2>&1", options, getpid(), fd);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	len = fread(text, 1, sizeof(text) - 1, pipe);
	text[len] = '\0';
	assert_int_equal(pclose(pipe), 0);
	assert_string_equal(text, expected);
}

/* ---- archives ------------------------------------------------------------ */

static void archives_are_what_cpio_reads(void **state)
{
	struct initrd archive;
	struct fixture *f = *state;
	struct stat st;

	initrd_init(&archive);
	initrd_add_folder(&archive, "/a");
	initrd_add_file(&archive, "a/odd", 0640, "12345", 5);
	initrd_add_file(&archive, "a/even", 0755, "1234", 4);
	initrd_add_file(&archive, "none", 0600, "", 0);
	f->fd = initrd_finish(&archive);
	assert_true(f->fd >= 0);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size % 4, 0);
	assert_listing(f->fd, "-t", "a\na/odd\na/even\nnone\n");
	assert_listing(f->fd, "-i --to-stdout a/odd", "12345");
	assert_listing(f->fd, "-i --to-stdout a/even", "1234");
	assert_listing(f->fd, "-idm", "");
	assert_int_equal(stat("a/odd", &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(stat("a/even", &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0755);
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
}

static void archives_begin_with_the_formats_bytes(void **state)
{
	static const char expected[] =
		"070701" /* newc */
		"00000001000081A4" /* inode, mode */
		"0000000000000000" /* owner */
		"0000000100000000" /* links, time */
		"00000003" /* size */
		"00000000000000000000000000000000" /* devices */
		"0000000300000000" /* name, checksum */
		"hi";
	struct fixture *f = *state;
	struct initrd archive;
	char bytes[120];

	initrd_init(&archive);
	initrd_add_file(&archive, "hi", 0644, "abc", 3);
	f->fd = initrd_finish(&archive);
	assert_int_equal(pread_full(f->fd, bytes, sizeof(bytes), 0), 0);
	for (unsigned int i = 0; i < 110; i++)
		assert_int_equal(bytes[i] | 0x20, expected[i] | 0x20);
	assert_memory_equal(bytes + 110, "hi\0\0\0\0abc\0", 10);
}

static void a_name_too_long_spoils_the_archive(void **state)
{
	char name[300];
	struct initrd archive;

	(void)state;
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	initrd_init(&archive);
	initrd_add_folder(&archive, name);
	initrd_add_folder(&archive, "a");
	assert_int_equal(initrd_finish(&archive), -EFBIG);
}

/* ---- order --------------------------------------------------------------- */

static void modules_come_after_what_they_need(void **state)
{
	struct fixture *f = *state;

	put_module("a");
	put_module("b");
	put_module("c");
	put_module("other");
	/* Only direct needs, and in any order. */
	open_tree(f, "kernel/other.ko:\nkernel/a.ko: kernel/b.ko\n"
		     "kernel/c.ko:\nkernel/b.ko: kernel/c.ko\n");
	assert_order(f, "a", "c.ko b.ko a.ko");
	assert_listing(f->fd, "-t",
		       "lkvm\nlkvm/modules\nlkvm/modules/c.ko\n"
		       "lkvm/modules/b.ko\nlkvm/modules/a.ko\n");
	assert_listing(f->fd, "-i --to-stdout lkvm/modules/b.ko", "b");
}

static void loops_in_the_list_end(void **state)
{
	struct fixture *f = *state;

	put_module("a");
	put_module("b");
	open_tree(f, "kernel/a.ko: kernel/a.ko kernel/b.ko\n"
		     "kernel/b.ko: kernel/a.ko\n");
	assert_order(f, "a", "b.ko a.ko");
}

static void softdeps_come_before_and_after(void **state)
{
	struct fixture *f = *state;

	put_module("fs");
	put_module("sum-fast");
	put_module("sum_slow");
	put_module("late");
	put_text("lib/modules/6.1/modules.softdep",
		 "# comment\nsoftdep other pre: late\n"
		 "softdep fs pre: sum nosuch post: late\n");
	put_text("lib/modules/6.1/modules.alias",
		 "alias sum sum_fast\nalias sum sum_slow\n"
		 "alias s* late\nalias\nalias sum\n");
	open_tree(f, "kernel/fs.ko:\nkernel/sum-fast.ko:\nkernel/sum_slow.ko:\n"
		     "kernel/late.ko:\n");
	assert_order(f, "fs", "sum_slow.ko sum-fast.ko fs.ko late.ko");
}

static void dash_and_underscore_are_one(void **state)
{
	struct fixture *f = *state;

	put_module("virtio-rng");
	open_tree(f, "kernel/virtio-rng.ko:\n");
	assert_int_equal(modules_find(f->modules, "virtio_rng"), MODULE_FILE);
	assert_order(f, "virtio_rng", "virtio-rng.ko");
}

static void lines_without_sense_are_passed_over(void **state)
{
	struct fixture *f = *state;

	put_module("a");
	open_tree(f, "\n\n:\nnocolon\n.ko:\nkernel/: x\nkernel/x: kernel/a.ko\n"
		     "   \nkernel/a.ko: kernel/nosuch.ko x .ko /\t \n"
		     "kernel/last.ko");
	assert_int_equal(modules_find(f->modules, "last"), MODULE_MISSING);
	assert_order(f, "a", "a.ko");
}

static void nothing_to_load_is_no_archive(void **state)
{
	struct fixture *f = *state;

	open_tree(f, "");
	assert_order(f, "a", "");
	assert_int_equal(f->fd, -1);
}

static void a_chain_without_end_is_refused(void **state)
{
	struct fixture *f = *state;
	const char *names[] = { "m0" };
	char dep[64 * 1024] = "";
	size_t len = 0;

	for (int i = 0; i <= MODULES_MAX; i++)
		len += (size_t)snprintf(dep + len, sizeof(dep) - len,
					"k/m%d.ko: k/m%d.ko\n", i, i + 1);
	open_tree(f, dep);
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(modules_pack(f->modules, names, 1, &f->list, &f->fd),
			 -E2BIG);
}

static void huge_modules_are_refused(void **state)
{
	struct fixture *f = *state;
	const char *names[] = { "a" };

	put_module("a");
	open_tree(f, "kernel/a.ko:\n");
	assert_int_equal(truncate("lib/modules/6.1/kernel/a.ko", 1L << 40), 0);
	assert_int_equal(modules_pack(f->modules, names, 1, &f->list, &f->fd),
			 -EFBIG);
	assert_int_equal(f->list.count, 0);
	assert_int_equal(unlink("lib/modules/6.1/kernel/a.ko"), 0);
	assert_int_equal(modules_pack(f->modules, names, 1, &f->list, &f->fd),
			 -ENOENT);
}

static void huge_lists_are_no_lists(void **state)
{
	struct fixture *f = *state;

	put_text("bzImage", "");
	put_text("lib/modules/6.1/modules.dep", "kernel/a.ko:\n");
	assert_int_equal(truncate("lib/modules/6.1/modules.dep", 1L << 40), 0);
	assert_int_equal(modules_open("bzImage", "6.1", NULL, &f->modules), 0);
	assert_int_equal(modules_find(f->modules, "a"), MODULE_MISSING);
}

/* ---- compression --------------------------------------------------------- */

static void compressed_modules_come_unpacked(void **state)
{
	static const char name[] = "lib/modules/6.1/kernel/";
	struct fixture *f = *state;
	const char *names[] = { "x", "z", "g" };
	static char text[100000];
	static uint8_t packed[200000];
	size_t len = 0;
	char path[64];
	gzFile gz;

	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('a' + i / 1000 % 26);
	snprintf(path, sizeof(path), "%sx.ko.xz", name);
	put_text(path, "");
	assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL,
						 (uint8_t *)text, sizeof(text),
						 packed, &len, sizeof(packed)),
			 LZMA_OK);
	put(path, packed, len);
	len = ZSTD_compress(packed, sizeof(packed), text, sizeof(text), 3);
	snprintf(path, sizeof(path), "%sz.ko.zst", name);
	put(path, packed, len);
	snprintf(path, sizeof(path), "%sg.ko.gz", name);
	gz = gzopen(path, "w");
	assert_int_equal(gzwrite(gz, text, sizeof(text)), sizeof(text));
	gzclose(gz);
	open_tree(f, "kernel/x.ko.xz:\nkernel/z.ko.zst:\nkernel/g.ko.gz:\n");
	assert_int_equal(modules_pack(f->modules, names, 3, &f->list, &f->fd),
			 0);
	assert_string_equal(f->list.names[0], "x.ko");
	lseek(f->fd, 0, SEEK_SET);
	assert_listing(f->fd, "-id", "");
	for (unsigned int i = 0; i < 3; i++) {
		static char got[sizeof(text)];
		int fd;

		snprintf(path, sizeof(path), "lkvm/modules/%s.ko", names[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_int_equal(pread_full(fd, got, sizeof(got), 0), 0);
		assert_memory_equal(got, text, sizeof(text));
		close(fd);
	}
}

static void broken_and_boundless_data_is_refused(void **state)
{
	static const char *const names[] = { "a.gz", "a.xz", "a.zst" };
	static uint8_t zeros[1 << 20], packed[1 << 20];
	size_t len = 0, out_len;
	void *out;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(unpack(names[i], "not packed at all", 17, 4096,
					&out, &out_len),
				 -EBADMSG);
		assert_int_equal(unpack(names[i], "", 0, 4096, &out, &out_len),
				 i == 2 ? 0 : -EBADMSG);
		if (i == 2)
			free(out);
	}
	len = ZSTD_compress(packed, sizeof(packed), zeros, sizeof(zeros), 1);
	assert_int_equal(unpack("a.zst", packed, len, 4096, &out, &out_len),
			 -EFBIG);
	assert_int_equal(unpack("a.zst", packed, len - 1, sizeof(zeros), &out,
				&out_len),
			 -EBADMSG);
	len = 0;
	assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL,
						 zeros, sizeof(zeros), packed,
						 &len, sizeof(packed)),
			 LZMA_OK);
	assert_int_equal(unpack("a.xz", packed, len, 4096, &out, &out_len),
			 -EFBIG);
	for (size_t cut = 1; cut < len; cut++)
		assert_int_equal(unpack("a.xz", packed, len - cut,
					2 * sizeof(zeros), &out, &out_len),
				 -EBADMSG);
}

/* ---- where they are ------------------------------------------------------ */

static void assert_found(struct fixture *f, const char *kernel, const char *dir,
			 const char *expected)
{
	char *path = expected ? realpath(expected, NULL) : NULL;

	assert_int_equal(modules_open(kernel, "6.1", dir, &f->modules), 0);
	if (expected)
		assert_string_equal(modules_folder(f->modules), path);
	else
		assert_null(modules_folder(f->modules));
	free(path);
	modules_close(f->modules);
	f->modules = NULL;
}

static void folders_are_searched_from_the_kernel_on(void **state)
{
	struct fixture *f = *state;

	put_text("x/boot/vmlinuz", "");
	assert_found(f, "x/boot/vmlinuz", NULL, NULL);
	put_text("x/lib/modules/6.1/modules.dep", "");
	assert_found(f, "x/boot/vmlinuz", NULL, "x/lib/modules/6.1");
	put_text("x/boot/lib/modules/6.1/modules.dep", "");
	assert_found(f, "x/boot/vmlinuz", NULL, "x/boot/lib/modules/6.1");
	put_text("named/6.1/modules.dep", "");
	assert_found(f, "x/boot/vmlinuz", "named", "named/6.1");
	assert_found(f, "x/boot/vmlinuz", "named/6.1", "named/6.1");
	assert_found(f, "x/boot/vmlinuz", "x", "x/lib/modules/6.1");
	assert_int_equal(modules_open("x/boot/vmlinuz", "6.1", "x/boot/lib",
				      &f->modules),
			 -ENOENT);
	assert_null(f->modules);
}

/* As modules_open(), with what it says. */
static int open_and_hear(struct fixture *f, const char *kernel)
{
	int own = dup(STDERR_FILENO), words = unnamed_file(f->dir), ret;
	ssize_t len;

	dup2(words, STDERR_FILENO);
	ret = modules_open(kernel, "6.1", NULL, &f->modules);
	dup2(own, STDERR_FILENO);
	len = pread(words, f->message, sizeof(f->message) - 1, 0);
	f->message[MAX(len, 0)] = '\0';
	close(words);
	close(own);
	return ret;
}

static void a_build_trees_list_of_what_is_built_in_is_used(void **state)
{
	struct fixture *f = *state;

	put_text("linux/arch/x/boot/bzImage", "");
	put_text("linux/modules.builtin", "kernel/fs/9p/9p.ko\n");
	assert_int_equal(modules_open("linux/arch/x/boot/bzImage", "6.1", NULL,
				      &f->modules),
			 0);
	assert_int_equal(modules_find(f->modules, "9p"), MODULE_BUILT_IN);
	assert_int_equal(modules_find(f->modules, "ext4"), MODULE_MISSING);
	modules_close(f->modules);
	/* Those that are no part of it are told of, and not used. */
	log_set_level(LOG_LEVEL_WARNING);
	put_text("linux/modules.order", "fs/ext4/ext4.o\n");
	assert_int_equal(open_and_hear(f, "linux/arch/x/boot/bzImage"), 0);
	assert_non_null(strstr(f->message, "the modules built in "));
	modules_close(f->modules);
	put_text("linux/lib/modules/6.1/modules.dep", "kernel/ext4.ko:\n");
	assert_int_equal(modules_open("linux/arch/x/boot/bzImage", "6.1", NULL,
				      &f->modules),
			 0);
	assert_int_equal(modules_find(f->modules, "ext4"), MODULE_FILE);
}

static void without_a_list_all_may_be_built_in(void **state)
{
	struct fixture *f = *state;

	put_text("bzImage", "");
	assert_int_equal(modules_open("bzImage", "6.1", NULL, &f->modules), 0);
	assert_int_equal(modules_find(f->modules, "9p"), MODULE_UNKNOWN);
	assert_order(f, "9p", "");
}

static void folders_of_strangers_are_passed_over(void **state)
{
	struct fixture *f = *state;

	if (geteuid())
		skip();
	put_text("bzImage", "");
	put_text("lib/modules/6.1/modules.dep", "");
	assert_int_equal(chown("lib/modules/6.1", 4711, 4711), 0);
	assert_found(f, "bzImage", NULL, NULL);
	assert_int_equal(chown("bzImage", 4711, 4711), 0);
	assert_found(f, "bzImage", NULL, "lib/modules/6.1");
}

/* ---- the kernel's release ------------------------------------------------ */

static int version_of(const void *data, size_t len, char *version)
{
	int fd, ret;

	put("kernel", data, len);
	fd = open("kernel", O_RDONLY | O_CLOEXEC);
	ret = arch_kernel_version(fd, version, 64);
	close(fd);
	return ret;
}

static void kernels_tell_their_release(void **state)
{
	static char image[1 << 20];
	char version[64] = "untouched";

	(void)state;
	assert_int_equal(version_of("no", 2, version), -ENOEXEC);
	assert_int_equal(version_of(image, sizeof(image), version), -ENOEXEC);
	memcpy(image + 0x202, "HdrS", 4);
	assert_int_equal(version_of(image, sizeof(image), version), -ENOEXEC);
	image[0x20f] = 0x30; /* kernel_version: 0x3000 from 0x200 on */
	assert_int_equal(version_of(image, sizeof(image), version), -ENOEXEC);
	memcpy(image + 0x3200, "../x", 4);
	assert_int_equal(version_of(image, sizeof(image), version), -ENOEXEC);
	assert_int_equal(version_of(image, 0x3210, version), -ENOEXEC);
	assert_string_equal(version, "untouched");
	memcpy(image + 0x3200, "6.1.0-1 (who) #1", 16);
	assert_int_equal(version_of(image, sizeof(image), version), 0);
	assert_string_equal(version, "6.1.0-1");
}

/* The banner may lie across what is read at once. */
static void elf_kernels_tell_it_in_their_banner(void **state)
{
	static const char banner[] = "Linux version 6.2-x (a@b)";
	static char image[1 << 20];
	char version[64];

	(void)state;
	memcpy(image, "\177ELF", 4);
	assert_int_equal(version_of(image, sizeof(image), version), -ENOEXEC);
	for (size_t at = 262144 - 200; at < 262144 + 200; at++) {
		memset(image + 4, 0, sizeof(image) - 4);
		memcpy(image + 100, "Linux version %s", 16);
		memcpy(image + at, banner, sizeof(banner));
		version[0] = '\0';
		assert_int_equal(version_of(image, 600000, version), 0);
		assert_string_equal(version, "6.2-x");
	}
}

/* ---- the cache ----------------------------------------------------------- */

static ino_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void archives_are_taken_from_the_cache(void **state)
{
	struct fixture *f = *state;
	ino_t first;

	put_module("a");
	open_tree(f, "kernel/a.ko:\n");
	assert_order(f, "a", "a.ko");
	close(f->fd); /* made in memory; a copy is kept */
	module_list_release(&f->list);
	assert_order(f, "a", "a.ko");
	first = inode_of(f->fd);
	close(f->fd);
	module_list_release(&f->list);
	assert_order(f, "a", "a.ko");
	assert_int_equal(inode_of(f->fd), first);
	assert_listing(f->fd, "-i --to-stdout lkvm/modules/a.ko", "a");
	close(f->fd);
	module_list_release(&f->list);
	put_text("lib/modules/6.1/kernel/a.ko", "new");
	assert_order(f, "a", "a.ko");
	assert_int_not_equal(inode_of(f->fd), first);
	assert_listing(f->fd, "-i --to-stdout lkvm/modules/a.ko", "new");
}

static void no_cache_is_no_error(void **state)
{
	struct fixture *f = *state;

	put_module("a");
	open_tree(f, "kernel/a.ko:\n");
	put_text("file", "");
	setenv("XDG_CACHE_HOME", "/nosuch/folder", 1);
	assert_order(f, "a", "a.ko");
	assert_listing(f->fd, "-i --to-stdout lkvm/modules/a.ko", "a");
}

static void a_cache_elsewhere_is_not_touched(void **state)
{
	struct fixture *f = *state;

	put_module("a");
	open_tree(f, "kernel/a.ko:\n");
	assert_int_equal(mkdir("elsewhere", 0700), 0);
	assert_int_equal(symlink("elsewhere", "lkvm"), 0);
	assert_order(f, "a", "a.ko");
	assert_int_equal(system("test -z \"$(ls -A elsewhere)\""), 0);
}

static void the_cache_has_limits(void **state)
{
	struct cache_file file;
	struct cache_key key;
	char command[] = "ls lkvm | wc -l | grep -qx 32";
	int fd;

	(void)state;
	for (unsigned int i = 0; i < CACHE_MAX_FILES + 8; i++) {
		struct timespec times[2] = { { .tv_sec = 1000 + i },
					     { .tv_sec = 1000 + i } };

		cache_key_init(&key);
		cache_key_add(&key, &i, sizeof(i));
		assert_int_equal(cache_begin("x", &key, &file), 0);
		assert_int_equal(write_full(file.fd, "x", 1), 0);
		fd = cache_done(&file);
		futimens(fd, times);
		close(fd);
	}
	assert_int_equal(system(command), 0);
	/* The last one is there, the first has gone. */
	fd = cache_open("x", &key);
	assert_true(fd >= 0);
	close(fd);
	cache_key_init(&key);
	cache_key_add(&key, (unsigned int[]) { 0 }, 4);
	assert_int_equal(cache_open("x", &key), -ENOENT);
}

static void unfinished_files_leave_nothing(void **state)
{
	struct cache_file file;
	struct cache_key key;

	(void)state;
	cache_key_init(&key);
	assert_int_equal(cache_begin("x", &key, &file), 0);
	assert_int_equal(cache_open("x", &key), -ENOENT);
	/* Nor does one whose maker is killed. */
	assert_int_equal(system("test -z \"$(ls -A lkvm)\""), 0);
	cache_abandon(&file);
	assert_int_equal(system("test -z \"$(ls -A lkvm)\""), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(archives_are_what_cpio_reads),
		TEST(archives_begin_with_the_formats_bytes),
		TEST(a_name_too_long_spoils_the_archive),
		TEST(modules_come_after_what_they_need),
		TEST(loops_in_the_list_end),
		TEST(softdeps_come_before_and_after),
		TEST(dash_and_underscore_are_one),
		TEST(lines_without_sense_are_passed_over),
		TEST(nothing_to_load_is_no_archive),
		TEST(a_chain_without_end_is_refused),
		TEST(huge_modules_are_refused),
		TEST(huge_lists_are_no_lists),
		TEST(compressed_modules_come_unpacked),
		TEST(broken_and_boundless_data_is_refused),
		TEST(folders_are_searched_from_the_kernel_on),
		TEST(a_build_trees_list_of_what_is_built_in_is_used),
		TEST(without_a_list_all_may_be_built_in),
		TEST(folders_of_strangers_are_passed_over),
		TEST(kernels_tell_their_release),
		TEST(elf_kernels_tell_it_in_their_banner),
		TEST(archives_are_taken_from_the_cache),
		TEST(no_cache_is_no_error),
		TEST(a_cache_elsewhere_is_not_touched),
		TEST(the_cache_has_limits),
		TEST(unfinished_files_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
