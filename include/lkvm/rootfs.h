/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The root file system of what runs in the guest, and the host's folders that
 * the guest sees at the same paths: what the user asked for, made into
 * devices, and into a list of what init in the guest is to mount.
 */
#ifndef LKVM_ROOTFS_H
#define LKVM_ROOTFS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/device.h>
#include <lkvm/modules.h>
#include <lkvm/virtio.h>

#define ROOTFS_MAX_SHARES 14 /* of the user's */
#define ROOTFS_MAX_HOST 8 /* of the host's, in a root folder of setup's */
#define ROOTFS_MAX_MODULES 8
#define ROOTFS_TYPE_BYTES 16

/* What --root takes. */
struct rootfs_root {
	const char *path; /* folder, image or block device */
	bool writable; /* writes reach it */
	const char *type; /* file system of an image; NULL: look */
	bool made; /* a folder that the run makes, where it is missing */
};

extern const struct option_desc rootfs_root_keys[];
extern const char *const rootfs_root_positional[];

/* A folder that the guest has at the same path. */
struct rootfs_share {
	const char *path;
	bool writable;
};

/* What the user asked for. Strings are borrowed. */
struct rootfs_options {
	struct rootfs_root root; /* path NULL: the host's own root */
	bool initrd; /* the initrd is the root; no path then */
	bool dry_run; /* make no image: the folder stands for it */
	struct rootfs_share shares[ROOTFS_MAX_HOST + ROOTFS_MAX_SHARES];
	unsigned int nr_shares;
};

/* How one of them reaches the guest. */
struct rootfs_part {
	char *path; /* owned; of a folder or an image */
	char name[16]; /* the 9P device's tag, or the disk's serial number */
	char type[ROOTFS_TYPE_BYTES]; /* of file system */
	int image_fd; /* keeps an image of ours; -1: none */
	union {
		struct virtio_9p_options share;
		struct virtio_blk_options disk;
	};
};

/*
 * What a command in the guest runs in, and the devices that bring it there;
 * they point into it.
 */
struct rootfs {
	/* Records for init in the guest (guest-protocol.h); owned. */
	char *config;
	size_t config_bytes;
	struct device_request devices[1 + ROOTFS_MAX_HOST + ROOTFS_MAX_SHARES];
	struct rootfs_part parts[1 + ROOTFS_MAX_HOST + ROOTFS_MAX_SHARES];
	unsigned int nr_parts; /* of both */
	/* Names for modules_pack(). */
	const char *modules[ROOTFS_MAX_MODULES];
	unsigned int nr_modules;
};

/*
 * Check @options and decide how each of them reaches the guest: by 9P where
 * @kernel (a path, for messages) has it, else in an image, which is made or
 * taken from the cache (one line on stderr says so when it is made). Returns
 * 0, or -errno after one line on stderr. Main thread.
 */
int rootfs_create(const struct rootfs_options *options, const char *kernel,
		  const struct modules *modules, struct rootfs *rootfs);

/* After the devices are gone. */
void rootfs_release(struct rootfs *rootfs);

/* ---- images (rootfs-image.c) --------------------------------------------- */

/* The most that the files in an image may have, in bytes. */
#define ROOTFS_IMAGE_MAX (4ULL * 1024 * 1024 * 1024)

/* Parts of a folder that are left out of its image. */
#define ROOTFS_MAX_LEFT_OUT 256

/*
 * An image of the folder @dir as file system @type ("erofs" or "squashfs"),
 * without what is mounted below it and what cannot be read. Returns the file
 * descriptor, and *@path where it can be opened as long as that is open, both
 * the caller's; or -errno after one line on stderr.
 */
int rootfs_image(const char *dir, const char *type, char **path);

/* Would that refuse @dir? Makes nothing; returns 0 or its error, told. */
int rootfs_image_check(const char *dir, const char *type);

/* Can images of @type be made here? */
bool rootfs_image_possible(const char *type);

/*
 * The file system in the image or block device @path as Linux calls it, NULL
 * when it is none that is known. Returns 0 or -errno.
 */
int rootfs_probe(const char *path, const char **type);

#endif
