/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Disk images: opening them, and the checks that every format shares.
 *
 * What a file is, is decided once, by its kind and size and what the user
 * said, never by its content: a guest that writes another format's magic
 * into a raw disk gains nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#define SECTOR 512

/* What O_DIRECT is content with on any disk, when the kernel does not say. */
#define DIRECT_ALIGN 4096

/* Before the open: opening a device node can do things. */
static int check_kind(const char *path)
{
	struct stat st;
	int err = 0;

	if (stat(path, &st))
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	if (err) {
		log_err("disk", "cannot open disk image %s: %s", path,
			strerror(-err));
		return err;
	}
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
		return 0;
	log_err("disk",
		"cannot use %s as a disk image: it is a %s (a regular "
		"file or a block device is needed)",
		path,
		S_ISCHR(st.st_mode)  ? "character device" :
		S_ISFIFO(st.st_mode) ? "pipe" :
				       "socket");
	return -EINVAL;
}

static int open_file(const struct image_options *options)
{
	int flags = O_CLOEXEC | (options->read_only ? O_RDONLY : O_RDWR) |
		    (options->direct ? O_DIRECT : 0);
	int fd = open(options->path, flags);
	const char *fix = "";
	int err = errno;

	if (fd >= 0)
		return fd;
	if (options->direct && err == EINVAL)
		fix = " (no direct I/O there: leave out \",direct\")";
	else if (!options->read_only && (err == EACCES || err == EROFS) &&
		 !access(options->path, R_OK))
		fix = " (not writable: add \",ro\" to use it read-only)";
	log_err("disk", "cannot open disk image %s: %s%s", options->path,
		strerror(err), fix);
	return -err;
}

/* The size of the file that was opened, which need not be the path's now. */
static int get_size(int fd, const char *path, uint64_t *size)
{
	struct stat st;
	int err = 0;

	if (fstat(fd, &st))
		err = -errno;
	else if (S_ISREG(st.st_mode))
		*size = (uint64_t)st.st_size;
	else if (ioctl(fd, BLKGETSIZE64, size))
		err = -errno;
	if (err)
		log_err("disk", "cannot get the size of disk image %s: %s",
			path, strerror(-err));
	return err;
}

static int check_size(const char *path, uint64_t size, uint64_t unit)
{
	if (!size) {
		log_err("disk",
			"disk image %s is empty (make one with: "
			"truncate -s 1G FILE)",
			path);
		return -EINVAL;
	}
	if (size % SECTOR) {
		log_err("disk",
			"disk image %s has %llu bytes, not a multiple "
			"of %u (round it up with: truncate -s %%%u "
			"FILE)",
			path, (unsigned long long)size, SECTOR, SECTOR);
		return -EINVAL;
	}
	if (size % unit) {
		log_err("disk",
			"disk image %s has %llu bytes, not a multiple "
			"of %llu, the block size of direct I/O there "
			"(leave out \",direct\")",
			path, (unsigned long long)size,
			(unsigned long long)unit);
		return -EINVAL;
	}
	return 0;
}

/* Alignment of addresses, offsets and lengths that O_DIRECT wants of @fd. */
static uint32_t direct_align(int fd)
{
	struct statx stx;
	int block;

	if (!ioctl(fd, BLKSSZGET, &block) && block > 0)
		return (uint32_t)block;
	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    stx.stx_mask & STATX_DIOALIGN && stx.stx_dio_offset_align)
		return MAX(stx.stx_dio_offset_align, stx.stx_dio_mem_align);
	return DIRECT_ALIGN;
}

int image_open(const struct image_options *options, struct image **out)
{
	uint32_t align = 0;
	uint64_t size = 0;
	int err;
	int fd;

	err = check_kind(options->path);
	if (err)
		return err;
	fd = open_file(options);
	if (fd < 0)
		return fd;
	err = get_size(fd, options->path, &size);
	if (err)
		goto close_fd;
	if (options->direct)
		align = direct_align(fd);
	err = check_size(options->path, size, MAX(align, SECTOR));
	if (err)
		goto close_fd;
	err = raw_image_create(fd, size, options->read_only, align, out);
	if (err) {
		log_err("disk", "cannot open disk image %s: %s", options->path,
			strerror(-err));
		goto close_fd;
	}
	return 0;

close_fd:
	close(fd);
	return err;
}

void image_close(struct image *image)
{
	if (image)
		image->ops->close(image);
}

void image_submit(struct image *image, struct image_request *request)
{
	int err = 0;

	if (request->op == IMAGE_WRITE && image->read_only)
		err = -EROFS;
	else if (request->op != IMAGE_FLUSH &&
		 (request->offset > image->size ||
		  request->len > image->size - request->offset))
		err = -EINVAL;
	if (err)
		request->done(request, err);
	else
		image->ops->submit(image, request);
}
