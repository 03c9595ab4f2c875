/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A host file under a disk image: opened, measured, locked. Formats do their
 * I/O on its descriptor, through engines or by system calls.
 */
#ifndef LKVM_FILE_H
#define LKVM_FILE_H

#include <stdbool.h>
#include <stdint.h>

struct image_file_options {
	const char *path;
	const char *what; /* in messages: "disk image", "backing file" */
	bool read_only;
	bool direct; /* O_DIRECT */
	bool no_locking;
};

struct image_file {
	int fd;
	char *path; /* a copy */
	bool read_only;
	bool direct;
	bool is_block_device;
	/*
	 * What O_DIRECT asks of offsets and of lengths (@align) and of
	 * addresses (@mem_align); powers of two, 1 without O_DIRECT.
	 */
	uint32_t align, mem_align;
	uint32_t block_size; /* logical: 512, or a block device's own */
	uint32_t physical_block_size;
	uint32_t discard_granularity; /* bytes; 0: the device has no discard */
	uint64_t size; /* bytes, when it was opened */
};

/*
 * Open a regular file or block device, and lock it as QEMU does its images:
 * a reader lets no other process write, a writer lets none write or count on
 * the content. Returns 0, or -errno after one line on stderr that names file
 * and fix; -EBUSY when another process holds a lock.
 */
int image_file_open(const struct image_file_options *options,
		    struct image_file **out);

/* Releases the locks. NULL is allowed. */
void image_file_close(struct image_file *file);

/* The size that the file has now. Returns 0 or -errno. Any thread. */
int image_file_size(const struct image_file *file, uint64_t *size);

/* ---- file-lock.c --------------------------------------------------------- */

/*
 * Take OFD locks on @fd for a reader or a writer. They last until they are
 * released or the last duplicate of @fd is closed. Returns 0; -EBUSY with the holder in @who,
 * "process 12 (qemu-io)"; or another -errno, that of fcntl().
 */
#define IMAGE_LOCK_WHO 64
int image_file_lock(int fd, bool writable, char who[IMAGE_LOCK_WHO]);

/* Release all locks on @fd, whoever else still has the open file. */
void image_file_unlock(int fd);

#endif
