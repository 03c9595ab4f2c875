/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Raw images: byte n of the disk is byte n of the file or block device.
 *
 * Requests are carried out within submit(), on the image's I/O thread. With
 * O_DIRECT, what is not aligned goes through a buffer of fixed size.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include <lkvm/image.h>
#include <lkvm/util.h>

/* The bounce buffer, unless one block is larger. */
#define BOUNCE_BYTES (256 * KIB)

struct raw_image {
	struct image image;
	int fd;
	uint32_t align; /* 0: not O_DIRECT */
	void *bounce; /* bounce_len bytes, a multiple of align */
	uint64_t bounce_len;
};

/*
 * Move all @len bytes of @iov. A call that moved a part only (a signal, the
 * kernel's limit of 2 GiB) is followed by one for the rest.
 */
static int transfer(int fd, enum image_op op, const struct iovec *iov,
		    unsigned int count, uint64_t offset, uint64_t len)
{
	size_t skip = 0; /* bytes of iov[0] that are done */

	while (len && count) {
		struct iovec rest;
		ssize_t n;

		/* @iov is the caller's: a cut element goes on its own. */
		rest.iov_base = (char *)iov->iov_base + skip;
		rest.iov_len = iov->iov_len - skip;
		if (op == IMAGE_READ)
			n = preadv(fd, skip ? &rest : iov,
				   skip ? 1 : (int)MIN(count, IOV_MAX),
				   (off_t)offset);
		else
			n = pwritev(fd, skip ? &rest : iov,
				    skip ? 1 : (int)MIN(count, IOV_MAX),
				    (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* The file has become shorter than it was when opened. */
		if (!n)
			return -EIO;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
		skip += (size_t)n;
		while (count && skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			count--;
		}
	}
	return len ? -EINVAL : 0;
}

static bool is_aligned(const struct raw_image *raw,
		       const struct image_request *request)
{
	uint64_t bits = request->offset;

	if (!raw->align)
		return true;
	for (unsigned int i = 0; i < request->iov_count; i++)
		bits |= (uintptr_t)request->iov[i].iov_base |
			request->iov[i].iov_len;
	return !(bits & (raw->align - 1));
}

/*
 * Carry @request out in aligned windows of the bounce buffer. A window that
 * is written in part is read first. Windows end within the image, whose size
 * is a multiple of the alignment.
 */
static int bounce(struct raw_image *raw, const struct image_request *request)
{
	uint64_t end = request->offset + request->len;
	uint64_t pos = request->offset;

	while (pos < end) {
		uint64_t start = align_down(pos, raw->align);
		uint64_t stop =
			MIN(start + raw->bounce_len, align_up(end, raw->align));
		struct iovec window = { raw->bounce, stop - start };
		char *data = (char *)raw->bounce + (pos - start);
		uint64_t done = pos - request->offset;
		uint64_t n = MIN(stop, end) - pos;
		int err = 0;

		if (request->op == IMAGE_READ || n != stop - start)
			err = transfer(raw->fd, IMAGE_READ, &window, 1, start,
				       stop - start);
		if (err)
			return err;
		if (request->op == IMAGE_READ) {
			iov_from_buf(request->iov, request->iov_count, done,
				     data, n);
		} else {
			iov_to_buf(request->iov, request->iov_count, done, data,
				   n);
			err = transfer(raw->fd, IMAGE_WRITE, &window, 1, start,
				       stop - start);
		}
		if (err)
			return err;
		pos += n;
	}
	return 0;
}

static void raw_submit(struct image *image, struct image_request *request)
{
	struct raw_image *raw = container_of(image, struct raw_image, image);
	int err;

	if (request->op == IMAGE_FLUSH)
		err = fdatasync(raw->fd) ? -errno : 0;
	else if (is_aligned(raw, request))
		err = transfer(raw->fd, request->op, request->iov,
			       request->iov_count, request->offset,
			       request->len);
	else
		err = bounce(raw, request);
	request->done(request, err);
}

static void raw_close(struct image *image)
{
	struct raw_image *raw = container_of(image, struct raw_image, image);

	close(raw->fd);
	free(raw->bounce);
	free(raw);
}

static const struct image_ops raw_ops = {
	.submit = raw_submit,
	.close = raw_close,
};

int raw_image_create(int fd, uint64_t size, bool read_only, uint32_t align,
		     struct image **out)
{
	struct raw_image *raw = calloc(1, sizeof(*raw));

	if (!raw)
		return -ENOMEM;
	if (align) {
		raw->bounce_len = MAX(BOUNCE_BYTES, align);
		raw->bounce = aligned_alloc(align, raw->bounce_len);
		if (!raw->bounce) {
			free(raw);
			return -ENOMEM;
		}
	}
	raw->image.ops = &raw_ops;
	raw->image.size = size;
	raw->image.read_only = read_only;
	raw->fd = fd;
	raw->align = align;
	*out = &raw->image;
	return 0;
}
