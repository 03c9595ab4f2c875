/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Opening a host file under a disk image: what it is, how large, what direct
 * I/O asks for. See file.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <lkvm/file.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#define SECTOR 512

/* What O_DIRECT is content with on any disk, when nothing less is known. */
#define DIRECT_ALIGN 4096

/* Before the open: opening a device node can do things. */
static int check_kind(const struct image_file_options *options)
{
	struct stat st;
	int err = 0;

	if (stat(options->path, &st))
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	if (err) {
		log_err("disk", "cannot open %s %s: %s", options->what,
			options->path, strerror(-err));
		return err;
	}
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
		return 0;
	log_err("disk",
		"cannot use %s as a %s: it is a %s (a regular "
		"file or a block device is needed)",
		options->path, options->what,
		S_ISCHR(st.st_mode)  ? "character device" :
		S_ISFIFO(st.st_mode) ? "pipe" :
				       "socket");
	return -EINVAL;
}

static int open_fd(const struct image_file_options *options)
{
	int flags = O_CLOEXEC | O_NOCTTY |
		    (options->read_only ? O_RDONLY : O_RDWR) |
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
	log_err("disk", "cannot open %s %s: %s%s", options->what, options->path,
		strerror(err), fix);
	return -err;
}

int image_file_size(const struct image_file *file, uint64_t *size)
{
	struct stat st;

	if (file->is_block_device)
		return ioctl(file->fd, BLKGETSIZE64, size) ? -errno : 0;
	if (fstat(file->fd, &st))
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

/* ---- properties ---------------------------------------------------------- */

/* Does direct I/O of @align bytes at an address of that alignment work? */
static bool direct_works(int fd, uint32_t align)
{
	char *buf = aligned_alloc(DIRECT_ALIGN, 2 * DIRECT_ALIGN);
	bool works = buf && pread(fd, buf + align, align, 0) == (ssize_t)align;

	free(buf);
	return works;
}

static void find_alignment(struct image_file *file)
{
	struct statx stx;

	file->align = file->mem_align = 1;
	if (!file->direct)
		return;
	if (!statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    stx.stx_mask & STATX_DIOALIGN && stx.stx_dio_offset_align) {
		file->align = MAX(stx.stx_dio_offset_align, SECTOR);
		file->mem_align = stx.stx_dio_mem_align;
	} else if (file->is_block_device) {
		file->align = file->mem_align = file->block_size;
	} else {
		file->align = direct_works(file->fd, SECTOR) ? SECTOR :
							       DIRECT_ALIGN;
		file->mem_align = file->align;
	}
}

/* One number of /sys/dev/block/MAJOR:MINOR/@name, 0 when there is none. */
static uint32_t sysfs_number(dev_t dev, const char *name)
{
	char path[96];
	char text[24] = "";
	uint64_t value = 0;
	int fd;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(dev),
		 minor(dev), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) > 0) {
		text[strcspn(text, "\n")] = '\0';
		if (parse_uint(text, 0, UINT32_MAX, &value))
			value = 0;
	}
	close(fd);
	return (uint32_t)value;
}

static void measure_block_device(struct image_file *file, const struct stat *st)
{
	unsigned int physical;
	int logical;

	if (!ioctl(file->fd, BLKSSZGET, &logical) && logical > SECTOR)
		file->block_size = (uint32_t)logical;
	if (!ioctl(file->fd, BLKPBSZGET, &physical))
		file->physical_block_size = physical;
	file->discard_granularity =
		sysfs_number(st->st_rdev, "queue/discard_granularity");
	if (!file->discard_granularity) /* a partition has its disk's queue */
		file->discard_granularity = sysfs_number(
			st->st_rdev, "../queue/discard_granularity");
}

/* Of the file that was opened, which need not be the path's now. */
static int measure(struct image_file *file)
{
	struct stat st;

	if (fstat(file->fd, &st))
		return -errno;
	file->is_block_device = S_ISBLK(st.st_mode);
	file->block_size = SECTOR;
	file->physical_block_size = SECTOR;
	if (file->is_block_device) {
		measure_block_device(file, &st);
	} else {
		/* The unit of allocation, and of the page cache. */
		file->physical_block_size = 4096;
		file->discard_granularity = 4096;
	}
	find_alignment(file);
	return image_file_size(file, &file->size);
}

/* ---- life ---------------------------------------------------------------- */

static int lock(const struct image_file *file,
		const struct image_file_options *options)
{
	char who[IMAGE_LOCK_WHO];
	int err = image_file_lock(file->fd, !file->read_only, who);

	if (err == -EBUSY) {
		log_err("disk",
			"%s %s is in use by %s (stop that first; "
			"\",locking=off\" if sharing it is safe)",
			options->what, options->path, who);
		return err;
	}
	/* Some network file systems have no locks: work goes on as ever. */
	if (err)
		log_warn("disk",
			 "cannot lock %s %s: %s (make sure that nobody else "
			 "writes to it; \",locking=off\" silences this)",
			 options->what, options->path, strerror(-err));
	return 0;
}

int image_file_open(const struct image_file_options *options,
		    struct image_file **out)
{
	struct image_file *file;
	int err = check_kind(options);

	if (err)
		return err;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->fd = -1;
	file->read_only = options->read_only;
	file->direct = options->direct;
	file->path = strdup(options->path);
	if (!file->path) {
		err = -ENOMEM;
		goto close_file;
	}
	file->fd = open_fd(options);
	if (file->fd < 0) {
		err = file->fd;
		goto close_file;
	}
	err = measure(file);
	if (err) {
		log_err("disk", "cannot get the size of %s %s: %s",
			options->what, options->path, strerror(-err));
		goto close_file;
	}
	if (!options->no_locking)
		err = lock(file, options);
	if (err)
		goto close_file;
	*out = file;
	return 0;

close_file:
	image_file_close(file);
	return err;
}

void image_file_close(struct image_file *file)
{
	if (!file)
		return;
	if (file->fd >= 0) {
		/* The kernel's end of io_uring may keep the file for a while. */
		image_file_unlock(file->fd);
		close(file->fd);
	}
	free(file->path);
	free(file);
}
