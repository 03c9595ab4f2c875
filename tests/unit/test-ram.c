/* SPDX-License-Identifier: GPL-2.0 */
/*
 * core/ram.c: pages that go back to the host, of each kind of RAM. A pool of
 * huge pages is played by a memfd: its "huge pages" are of 64 KiB, and it has
 * none left when the file has been cut off.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/memory.h>

#define HUGE (64 * KIB)
#define RAM (1 * MIB)

/* The pool is empty, as fallocate() sees it. */
static bool pool_is_empty;

/* In place of the C library's. */
int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (pool_is_empty && !(mode & FALLOC_FL_PUNCH_HOLE)) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

enum kind { PRIVATE, MEMFD, HUGETLBFS };

struct fixture {
	struct guest_memory mem;
	uint8_t *ram;
};

static void make(struct fixture *f, enum kind kind, uint64_t page,
		 uint64_t size)
{
	const struct memory_backing memfd = { .file = true };

	log_set_level(LOG_LEVEL_ERROR);
	memory_init(&f->mem, -1);
	if (kind == MEMFD) {
		assert_int_equal(memory_set_backing(&f->mem, &memfd, size), 0);
	} else if (kind == HUGETLBFS) {
		f->mem.backing.hugetlbfs = "a memfd";
		f->mem.page_size = page;
		f->mem.fd = memfd_create("pool", MFD_CLOEXEC);
		assert_true(f->mem.fd >= 0);
	}
	assert_int_equal(memory_add_ram(&f->mem, 0, size), 0);
	f->ram = guest_map(&f->mem, 0, size);
	memset(f->ram, 0xa5, size);
}

static void is(const uint8_t *at, uint8_t value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i] != value)
			fail_msg("byte %zu is %#x, not %#x", i, at[i], value);
}

static uint64_t blocks(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->mem.fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static uint64_t resident(const struct fixture *f)
{
	static unsigned char map[RAM / 4096];
	uint64_t bytes = 0;

	assert_int_equal(mincore(f->ram, RAM, map), 0);
	for (size_t i = 0; i < sizeof(map); i++)
		bytes += map[i] & 1 ? 4096 : 0;
	return bytes;
}

/* Pages in the middle of a range that begins and ends within others. */
static void check_discard(struct fixture *f)
{
	assert_int_equal(memory_discard(&f->mem, f->ram + 4000, 96 + 8192 + 1),
			 0);
	is(f->ram, 0xa5, 4096);
	is(f->ram + 4096, 0, 8192);
	is(f->ram + 3 * 4096, 0xa5, RAM - 3 * 4096);
	/* Nothing is whole in these. */
	assert_int_equal(memory_discard(&f->mem, f->ram + 65537, 4095), 0);
	assert_int_equal(memory_discard(&f->mem, f->ram + 65537, 8190), 0);
	is(f->ram + 3 * 4096, 0xa5, RAM - 3 * 4096);
	f->ram[4096] = 1;
	assert_int_equal(memory_restore(&f->mem, f->ram, RAM), 0);
	assert_int_equal(f->ram[4096], 1);
}

static void private_pages_go_and_come_back_zeroed(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, PRIVATE, 0, RAM);
	check_discard(&f);
	assert_int_equal(memory_discard(&f.mem, f.ram, RAM), 0);
	assert_int_equal(resident(&f), 0);
	memory_release(&f.mem);
}

static void pages_of_a_file_leave_the_file(void **state)
{
	struct fixture f;
	uint8_t byte = 0;

	(void)state;
	make(&f, MEMFD, 0, RAM);
	check_discard(&f);
	/* Others see what the guest sees. */
	f.ram[RAM - 1] = 0x77;
	assert_int_equal(pread(f.mem.fd, &byte, 1, RAM - 1), 1);
	assert_int_equal(byte, 0x77);
	assert_true(blocks(&f) > RAM / 2);
	assert_int_equal(memory_clear(&f.mem), 0);
	assert_int_equal(blocks(&f), 0);
	is(f.ram, 0, RAM);
	memory_release(&f.mem);
	assert_int_equal(f.mem.fd, -1);
}

static void huge_pages_are_there_before_they_are_touched(void **state)
{
	struct fixture f;

	(void)state;
	memory_init(&f.mem, -1);
	f.mem.backing.hugetlbfs = "a memfd";
	f.mem.page_size = HUGE;
	f.mem.fd = memfd_create("pool", MFD_CLOEXEC);
	assert_int_equal(memory_add_ram(&f.mem, 0, RAM + 4096), -EINVAL);
	assert_int_equal(memory_add_ram(&f.mem, 0, RAM), 0);
	assert_int_equal(blocks(&f), RAM);
	memory_release(&f.mem);
}

static void huge_pages_go_whole_and_return(void **state)
{
	struct fixture f;
	uint8_t byte = 0;

	(void)state;
	make(&f, HUGETLBFS, HUGE, RAM);
	/* The second of them, and parts of its neighbours. */
	assert_int_equal(memory_discard(&f.mem, f.ram + 4096, 3 * HUGE - 8192),
			 0);
	is(f.ram, 0xa5, HUGE);
	is(f.ram + HUGE, 0, HUGE);
	is(f.ram + 2 * HUGE, 0xa5, RAM - 2 * HUGE);
	assert_int_equal(blocks(&f), RAM - HUGE);
	assert_int_equal(f.mem.nr_borders, 2);
	/* There is memory all the same, but not the pool's. */
	f.ram[HUGE] = 1;
	assert_int_equal(blocks(&f), RAM - HUGE);
	assert_int_equal(pread(f.mem.fd, &byte, 1, HUGE), 1);
	assert_int_equal(byte, 0);

	/* Part of a page brings it whole; and nothing happens to others. */
	assert_int_equal(memory_restore(&f.mem, f.ram + HUGE + 4096, 1), 0);
	is(f.ram + HUGE, 0, HUGE);
	is(f.ram + 2 * HUGE, 0xa5, RAM - 2 * HUGE);
	assert_int_equal(blocks(&f), RAM);
	assert_int_equal(f.mem.nr_borders, 0);
	f.ram[HUGE] = 2;
	assert_int_equal(pread(f.mem.fd, &byte, 1, HUGE), 1);
	assert_int_equal(byte, 2);
	assert_int_equal(memory_restore(&f.mem, f.ram, RAM), 0);
	is(f.ram + 2 * HUGE, 0xa5, RAM - 2 * HUGE);
	memory_release(&f.mem);
}

static void borders_are_counted_however_pages_go(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, HUGETLBFS, HUGE, RAM);
	assert_int_equal(memory_discard(&f.mem, f.ram, HUGE), 0);
	assert_int_equal(f.mem.nr_borders, 1);
	assert_int_equal(memory_discard(&f.mem, f.ram + 2 * HUGE, HUGE), 0);
	assert_int_equal(f.mem.nr_borders, 3);
	assert_int_equal(memory_discard(&f.mem, f.ram + HUGE, HUGE), 0);
	assert_int_equal(f.mem.nr_borders, 1);
	assert_int_equal(memory_discard(&f.mem, f.ram + HUGE, HUGE), 0);
	assert_int_equal(f.mem.nr_borders, 1);
	assert_int_equal(memory_discard(&f.mem, f.ram + RAM - HUGE, HUGE), 0);
	assert_int_equal(f.mem.nr_borders, 2);
	assert_int_equal(memory_discard(&f.mem, f.ram, RAM), 0);
	assert_int_equal(f.mem.nr_borders, 0);
	assert_int_equal(memory_restore(&f.mem, f.ram + HUGE, 2 * HUGE), 0);
	assert_int_equal(f.mem.nr_borders, 2);
	memory_release(&f.mem);
}

static void without_a_free_page_ram_is_ordinary(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, HUGETLBFS, HUGE, RAM);
	assert_int_equal(memory_discard(&f.mem, f.ram + RAM - HUGE, HUGE), 0);
	assert_int_equal(ftruncate(f.mem.fd, (off_t)(RAM - HUGE)), 0);
	assert_int_equal(memory_restore(&f.mem, f.ram + RAM - HUGE, HUGE),
			 -ENOMEM);
	is(f.ram + RAM - HUGE, 0, HUGE);
	memset(f.ram + RAM - HUGE, 3, HUGE);
	/* Later there is one. */
	assert_int_equal(ftruncate(f.mem.fd, (off_t)RAM), 0);
	assert_int_equal(memory_restore(&f.mem, f.ram + RAM - HUGE, HUGE), 0);
	is(f.ram + RAM - HUGE, 0, HUGE);
	is(f.ram, 0xa5, RAM - HUGE);
	memory_release(&f.mem);
}

/* What a guest has in it already stays as it is, in memory that is there. */
static void pages_are_had_before_they_are_mapped(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, HUGETLBFS, HUGE, RAM);
	assert_int_equal(memory_discard(&f.mem, f.ram, 2 * HUGE), 0);
	memset(f.ram, 0x11, 2 * HUGE);
	pool_is_empty = true;
	assert_int_equal(memory_restore(&f.mem, f.ram, 2 * HUGE), -ENOSPC);
	pool_is_empty = false;
	is(f.ram, 0x11, 2 * HUGE);
	assert_int_equal(blocks(&f), RAM - 2 * HUGE);
	assert_int_equal(memory_restore(&f.mem, f.ram, 2 * HUGE), 0);
	assert_int_equal(blocks(&f), RAM);
	memory_release(&f.mem);
}

static void a_reset_takes_huge_pages_back(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, HUGETLBFS, HUGE, RAM);
	assert_int_equal(memory_discard(&f.mem, f.ram, 3 * HUGE), 0);
	assert_int_equal(memory_clear(&f.mem), 0);
	assert_int_equal(f.mem.nr_borders, 0);
	assert_int_equal(blocks(&f), RAM);
	is(f.ram, 0, RAM);
	/* And goes on without them when others have them. */
	memset(f.ram, 0xa5, RAM);
	assert_int_equal(ftruncate(f.mem.fd, (off_t)(RAM - HUGE)), 0);
	assert_int_equal(memory_clear(&f.mem), 0);
	is(f.ram, 0, RAM);
	assert_int_equal(blocks(&f), 0);
	memory_release(&f.mem);
}

/* A process has 65530 mappings, and needs some for itself. */
static void a_guest_cannot_use_all_mappings(void **state)
{
	uint64_t size = 70000 * 4096ULL;
	struct fixture f;
	uint64_t at;
	int err = 0;

	(void)state;
	make(&f, HUGETLBFS, 4096, size);
	for (at = 4096; at < size && !err; at += 2 * 4096)
		err = memory_discard(&f.mem, f.ram + at, 4096);
	assert_int_equal(err, -ENOSPC);
	assert_in_range(f.mem.nr_borders, 30000, 32000);
	is(f.ram + at - 2 * 4096, 0xa5, 4096);
	/* All of RAM can go, as at a reset. */
	assert_int_equal(memory_clear(&f.mem), 0);
	assert_int_equal(f.mem.nr_borders, 0);
	memory_release(&f.mem);
}

static void regions_follow_each_other_in_the_file(void **state)
{
	const struct memory_backing memfd = { .file = true };
	struct guest_memory mem;
	uint8_t byte = 0;

	(void)state;
	memory_init(&mem, -1);
	assert_int_equal(memory_set_backing(&mem, &memfd, 2 * RAM), 0);
	assert_int_equal(memory_add_ram(&mem, 0, RAM), 0);
	assert_int_equal(memory_add_ram(&mem, 4 * GIB, RAM), 0);
	assert_int_equal(memory_size(&mem), 2 * RAM);
	assert_int_equal(guest_write(&mem, 4 * GIB + 5, "x", 1), 0);
	assert_int_equal(pread(mem.fd, &byte, 1, RAM + 5), 1);
	assert_int_equal(byte, 'x');
	assert_int_equal(
		memory_discard(&mem, guest_map(&mem, 4 * GIB, 4096), 4096), 0);
	assert_int_equal(pread(mem.fd, &byte, 1, RAM + 5), 1);
	assert_int_equal(byte, 0);
	memory_release(&mem);
}

static int choose(struct memory_backing backing, uint64_t bytes)
{
	struct guest_memory mem;
	int err;

	memory_init(&mem, -1);
	err = memory_set_backing(&mem, &backing, bytes);
	memory_release(&mem);
	return err;
}

static void choices_that_cannot_be_are_refused(void **state)
{
	(void)state;
	assert_int_equal(choose((struct memory_backing) { 0 }, RAM), 0);
	assert_int_equal(
		choose((struct memory_backing) { .file = true, .ksm = true },
		       RAM),
		-EINVAL);
	assert_int_equal(choose((struct memory_backing) { .hugetlbfs = "/",
							  .ksm = true },
				RAM),
			 -EINVAL);
	assert_int_equal(choose((struct memory_backing) { .hugetlbfs = "/",
							  .file = true },
				RAM),
			 -EINVAL);
	assert_int_equal(choose((struct memory_backing) { .hugetlbfs = "/tmp" },
				RAM),
			 -EINVAL);
	assert_int_equal(
		choose((struct memory_backing) { .hugetlbfs = "/no/where" },
		       RAM),
		-ENOENT);
	/* The last that can be named is not there, as a rule. */
	assert_int_equal(
		choose((struct memory_backing) { .bound = true,
						 .node = MEMORY_MAX_NODES - 1 },
		       RAM),
		-EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(private_pages_go_and_come_back_zeroed),
		cmocka_unit_test(pages_of_a_file_leave_the_file),
		cmocka_unit_test(huge_pages_are_there_before_they_are_touched),
		cmocka_unit_test(huge_pages_go_whole_and_return),
		cmocka_unit_test(borders_are_counted_however_pages_go),
		cmocka_unit_test(without_a_free_page_ram_is_ordinary),
		cmocka_unit_test(pages_are_had_before_they_are_mapped),
		cmocka_unit_test(a_reset_takes_huge_pages_back),
		cmocka_unit_test(a_guest_cannot_use_all_mappings),
		cmocka_unit_test(regions_follow_each_other_in_the_file),
		cmocka_unit_test(choices_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests_name("ram", tests, NULL, NULL);
}
