/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine without KVM, a kernel image in memory, and what the loaders say
 * of it: for the tests of boot-linux.c and boot-elf.c.
 */
#ifndef TESTS_UNIT_BOOT_H
#define TESTS_UNIT_BOOT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <asm/bootparam.h>
#include <asm/e820.h>

#include <lkvm/log.h>
#include <lkvm/x86.h>

#define RAM (16 * MIB)
#define CODE_BYTES 4096

struct fixture {
	struct machine machine;
	struct board board;
	struct boot_config boot;
	struct x86_entry entry;
	uint8_t image[8192];
	size_t size;
	int kernel_fd, initrd_fd, stderr_fd, message_fd;
	char message[512];
};

static inline int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	return fd;
}

static inline void set_ram(struct fixture *f, uint64_t size)
{
	struct guest_memory *mem = &f->machine.memory;
	uint64_t low = MIN(size, X86_HOLE_START);

	memory_release(mem);
	memory_init(mem, -1);
	assert_int_equal(memory_add_ram(mem, 0, low), 0);
	if (size > low)
		assert_int_equal(memory_add_ram(mem, X86_HOLE_END, size - low),
				 0);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->boot.kernel_path = "KERNEL";
	f->boot.kernel_fd = -1;
	f->boot.cmdline = "console=ttyS0";
	f->board.cpus = 1;
	f->machine.board = &f->board;
	f->initrd_fd = -1;
	f->stderr_fd = dup(STDERR_FILENO);
	f->message_fd = file_of("", 0);
	set_ram(f, RAM);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	memory_release(&f->machine.memory);
	if (f->initrd_fd >= 0)
		close(f->initrd_fd);
	close(f->stderr_fd);
	close(f->message_fd);
	free(f);
	return 0;
}

typedef int (*loader_t)(struct machine *machine, const struct boot_config *boot,
			uint64_t size, struct x86_entry *entry);

/* Run @loader on the first @size bytes of the image; note what it says. */
static inline int load(struct fixture *f, loader_t loader, size_t size)
{
	ssize_t got;
	int ret;

	f->boot.kernel_fd = file_of(f->image, size);
	assert_int_equal(ftruncate(f->message_fd, 0), 0);
	lseek(f->message_fd, 0, SEEK_SET);
	dup2(f->message_fd, STDERR_FILENO);
	ret = loader(&f->machine, &f->boot, size, &f->entry);
	dup2(f->stderr_fd, STDERR_FILENO);
	close(f->boot.kernel_fd);

	got = pread(f->message_fd, f->message, sizeof(f->message) - 1, 0);
	assert_true(got >= 0);
	f->message[got] = '\0';
	return ret;
}

/* It fails, says so in one line with @text in it, and has set no entry. */
static inline void assert_refused(struct fixture *f, loader_t loader,
				  size_t size, const char *text)
{
	const struct x86_entry none = { .ip = 0x5a5a, .info = 0x5a5a };
	const char *newline;

	f->entry = none;
	assert_true(load(f, loader, size) < 0);
	newline = strchr(f->message, '\n');
	assert_non_null(newline);
	assert_int_equal(newline[1], '\0');
	if (!strstr(f->message, text))
		fail_msg("\"%s\" is not in: %s", text, f->message);
	assert_memory_equal(&f->entry, &none, sizeof(none));
}

static inline void read_ram(struct fixture *f, gpa_t gpa, void *dst, size_t len)
{
	assert_int_equal(guest_read(&f->machine.memory, gpa, dst, len), 0);
}

static inline void add_initrd(struct fixture *f, size_t size)
{
	uint8_t *bytes = malloc(size);

	memset(bytes, 0xcc, size);
	f->initrd_fd = file_of(bytes, size);
	f->boot.initrds[0] = (struct boot_file) { "INITRD", f->initrd_fd };
	f->boot.nr_initrds = 1;
	free(bytes);
}

static inline uint8_t code_byte(size_t i)
{
	return (uint8_t)(i * 7 + 1);
}

static inline void assert_code_at(struct fixture *f, gpa_t gpa)
{
	uint8_t code[CODE_BYTES];

	read_ram(f, gpa, code, sizeof(code));
	for (size_t i = 0; i < CODE_BYTES; i++)
		assert_int_equal(code[i], code_byte(i));
}

static inline struct boot_params params_in_ram(struct fixture *f)
{
	struct boot_params params;

	read_ram(f, X86_BOOT_PARAMS, &params, sizeof(params));
	return params;
}

/* The walk of a 64-bit CPU, for large pages. */
static inline uint64_t translate(struct fixture *f, uint64_t address)
{
	uint64_t table = X86_PAGE_TABLES, entry = 0;

	for (int shift = 39; shift >= 21; shift -= 9) {
		read_ram(f, table + (address >> shift & 511) * 8, &entry, 8);
		entry = le64toh(entry);
		assert_int_equal(entry & 3, 3);
		table = align_down(entry, 4096);
	}
	assert_int_equal(entry & 0x80, 0x80);
	return table + (address & (2 * MIB - 1));
}

static inline int load_any(struct machine *machine,
			   const struct boot_config *boot, uint64_t size,
			   struct x86_entry *entry)
{
	int ret = arch_boot_load(machine, boot);

	(void)size;
	if (!ret)
		*entry = machine->board->entry;
	return ret;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
