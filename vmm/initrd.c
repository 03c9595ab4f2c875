/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writing an archive for a kernel's initrd: cpio's "newc" format, as the
 * kernel's driver-api/early-userspace/buffer-format.rst specifies it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <lkvm/initrd.h>
#include <lkvm/util.h>

#define MAGIC "070701"
#define TRAILER "TRAILER!!!"
#define HEADER_BYTES 110
#define ALIGN 4
#define NAME_MAX_BYTES 256

void initrd_init(struct initrd *initrd)
{
	*initrd = (struct initrd) {
		.fd = memfd_create("initrd", MFD_CLOEXEC),
	};
	initrd->error = initrd->fd < 0 ? -errno : 0;
}

static void put(struct initrd *initrd, const void *data, size_t len)
{
	if (!initrd->error)
		initrd->error = write_full(initrd->fd, data, len);
	initrd->size += len;
}

static void pad(struct initrd *initrd)
{
	static const char zeros[ALIGN];

	put(initrd, zeros, align_up(initrd->size, ALIGN) - initrd->size);
}

/* Header and name; each number has eight hexadecimal digits. */
static void put_header(struct initrd *initrd, const char *path, mode_t mode,
		       size_t len)
{
	char header[HEADER_BYTES + NAME_MAX_BYTES];
	size_t name_bytes;

	path += strspn(path, "/");
	name_bytes = strlen(path) + 1;
	if (name_bytes > NAME_MAX_BYTES || len > UINT32_MAX) {
		initrd->error = initrd->error ?: -EFBIG;
		return;
	}
	snprintf(header, sizeof(header),
		 MAGIC "%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		 ++initrd->entries, /* inode */
		 mode, 0, 0, /* owner and group */
		 1, 0, /* links, time */
		 (unsigned int)len, 0, 0, 0, 0, /* devices */
		 (unsigned int)name_bytes, 0 /* no checksum */);
	memcpy(header + HEADER_BYTES, path, name_bytes);
	put(initrd, header, HEADER_BYTES + name_bytes);
	pad(initrd);
}

void initrd_add_folder(struct initrd *initrd, const char *path)
{
	put_header(initrd, path, S_IFDIR | 0755, 0);
}

void initrd_add_file(struct initrd *initrd, const char *path, unsigned int mode,
		     const void *data, size_t len)
{
	put_header(initrd, path, S_IFREG | mode, len);
	put(initrd, data, len);
	pad(initrd);
}

int initrd_finish(struct initrd *initrd)
{
	put_header(initrd, TRAILER, 0, 0);
	if (!initrd->error)
		return initrd->fd;
	if (initrd->fd >= 0)
		close(initrd->fd);
	return initrd->error;
}
