/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Disk images: bytes at offsets, with no word of virtio or of guest
 * addresses.
 *
 * Requests are asynchronous on the image's one I/O thread: image_submit()
 * starts one, done() reports it, maybe before image_submit() returns.
 */
#ifndef LKVM_IMAGE_H
#define LKVM_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct image;

enum image_op {
	IMAGE_READ,
	IMAGE_WRITE,
	IMAGE_FLUSH, /* what completed before is on stable storage after */
};

struct image_request {
	enum image_op op;
	uint64_t offset; /* bytes */
	const struct iovec *iov; /* stays valid until done() */
	unsigned int iov_count;
	uint64_t len; /* bytes of iov */
	/* @result: 0, or -errno and nothing is known of the data. */
	void (*done)(struct image_request *request, int result);
};

/* What a format supplies; both as the image_*() functions of their names. */
struct image_ops {
	/* @request lies within the image, and may write if it is a write. */
	void (*submit)(struct image *image, struct image_request *request);
	/* Frees @image, too. */
	void (*close)(struct image *image);
};

/* First member of each format's own struct. */
struct image {
	const struct image_ops *ops;
	uint64_t size; /* bytes, a multiple of 512 */
	bool read_only;
};

struct image_options {
	const char *path;
	bool read_only;
	bool direct; /* O_DIRECT */
};

/*
 * Open @options->path: a regular file or block device, raw.
 * Returns 0, or -errno after one line on stderr that names file and fix.
 */
int image_open(const struct image_options *options, struct image **out);

/* Close and free; no request is in flight. NULL is allowed. */
void image_close(struct image *image);

/*
 * Start @request. A range outside the image, or a write to a read-only one,
 * is answered with -EINVAL or -EROFS without reaching the file. The image's
 * I/O thread.
 */
void image_submit(struct image *image, struct image_request *request);

/* ---- formats, for image_open() ------------------------------------------ */

/*
 * The bytes of @fd as they are. @align is what O_DIRECT asks of addresses,
 * offsets and lengths, 0 when @fd is not O_DIRECT; @size is a multiple of it.
 * On success @fd belongs to the image. Returns 0 or -ENOMEM.
 */
int raw_image_create(int fd, uint64_t size, bool read_only, uint32_t align,
		     struct image **out);

#endif
