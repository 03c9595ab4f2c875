/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The root file system of commands in the guest, and the host's folders that
 * the guest sees at the same paths: what the user asked for, made into
 * devices, and into a list of what guest/init is to mount.
 */
#ifndef LKVM_ROOTFS_H
#define LKVM_ROOTFS_H

#include <stdbool.h>
#include <stdio.h>

#include <lkvm/device.h>
#include <lkvm/modules.h>

#define ROOTFS_MAX_SHARES 14

/* What the user asked for. Strings are borrowed. */
struct rootfs_share {
	const char *path;
	bool writable;
};

struct rootfs_options {
	const char *root; /* folder or image; NULL: the host's own */
	bool root_writable; /* ",rw": writes reach it */
	bool initrd; /* the initrd is the root; root is NULL */
	struct rootfs_share shares[ROOTFS_MAX_SHARES];
	unsigned int nr_shares;
};

/* What the guest mounts first to last. */
struct rootfs_mount {
	char *path; /* absolute, "/" for the root */
	/*
	 * "9p", or the file system of a disk: "erofs", "squashfs", "ext4"...
	 */
	const char *type;
	/* The 9p device's tag, or the disk's serial number. */
	char source[21];
	bool writable;
};

/*
 * The first mount, when its path is "/", is the root; not writable, it gets
 * an overlay on a tmpfs, so that the guest may write. No such mount: the
 * initrd is the root.
 */
struct rootfs {
	struct rootfs_mount mounts[1 + ROOTFS_MAX_SHARES];
	unsigned int nr_mounts;
	/* One a mount; configs are owned. */
	struct device_request devices[1 + ROOTFS_MAX_SHARES];
};

/*
 * Check @options and decide how each of them reaches the guest: by 9p where
 * the kernel has it, else in an image, which is made or taken from the cache
 * (one line on stderr says so). Returns 0, or -errno after one line on stderr.
 */
int rootfs_create(const struct rootfs_options *options,
		  const struct modules *modules, struct rootfs *rootfs);
void rootfs_release(struct rootfs *rootfs);

/*
 * The modules that @rootfs needs, appended to @names (room for @max, and no
 * more is used). Returns their new count.
 */
unsigned int rootfs_modules(const struct rootfs *rootfs, const char **names,
			    unsigned int count, unsigned int max);

#endif
