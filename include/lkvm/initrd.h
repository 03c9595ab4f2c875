/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Archives that a kernel unpacks into its first root file system: cpio,
 * "newc" format, as the kernel's driver-api/early-userspace/
 * buffer-format.rst specifies it. Several of them stand behind each other in
 * guest RAM (struct boot_config); later files replace earlier ones.
 */
#ifndef LKVM_INITRD_H
#define LKVM_INITRD_H

#include <stddef.h>
#include <stdint.h>

/*
 * What an initrd of ours holds besides the agent (guest/protocol.h): modules
 * at this path, in the guest.
 */
#define INITRD_FOLDER "/lkvm"
#define INITRD_MODULES INITRD_FOLDER "/modules"

/*
 * An archive under way. Errors stick: what follows one does nothing, and
 * initrd_finish() tells.
 */
struct initrd {
	int fd;
	int error; /* the first -errno, or 0 */
	uint64_t size; /* bytes written */
	uint32_t entries;
};

/* Begin an archive, in memory. */
void initrd_init(struct initrd *initrd);

/* A folder, mode 0755; parents come first. Leading slashes are left out. */
void initrd_add_folder(struct initrd *initrd, const char *path);

/* A regular file of @len bytes with @mode (permission bits). */
void initrd_add_file(struct initrd *initrd, const char *path, unsigned int mode,
		     const void *data, size_t len);

/*
 * End the archive. Returns its file descriptor, which is the caller's to close,
 * or -errno.
 */
int initrd_finish(struct initrd *initrd);

#endif
