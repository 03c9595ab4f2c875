/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's root file system and shared folders: see rootfs.h.
 *
 * The host's own root is never writable. What is not writable gets an overlay
 * in the guest's RAM, or for disk images a snapshot, so that the guest may
 * write and nobody else sees it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/rootfs.h>
#include <lkvm/util.h>

/*
 * What is read-only may change on the host meanwhile, but the guest need not
 * notice; what both sides write to is looked up each time.
 */
#define OPTIONS_9P "trans=virtio,version=9p2000.L,msize=512000"
#define OPTIONS_RO OPTIONS_9P ",cache=loose"
#define OPTIONS_RW OPTIONS_9P ",cache=mmap"

#define FIELD(name) offsetof(struct rootfs_root, name)

const char *const rootfs_root_positional[] = { "path", NULL };

const struct option_desc rootfs_root_keys[] = {
	{ OPTION_STRING, 0, "path", "PATH",
	  "a folder, a disk image, or an erofs or squashfs image",
	  .offset = FIELD(path) },
	{ OPTION_FLAG, 0, "rw", NULL,
	  "what the guest writes stays (without it: vanishes in the end)",
	  .offset = FIELD(writable) },
	{ OPTION_STRING, 0, "type", "NAME",
	  "the file system of an image (default: by its contents)",
	  .offset = FIELD(type) },
	{ .kind = OPTION_END },
};

enum rootfs_mode {
	ROOTFS_READ_ONLY,
	ROOTFS_WRITABLE,
	ROOTFS_THROW_AWAY, /* writable for the guest, and nobody sees it */
};

/* What init in the guest is told of it. */
static const char *const modes[] = {
	[ROOTFS_READ_ONLY] = "ro",
	[ROOTFS_WRITABLE] = "rw",
	[ROOTFS_THROW_AWAY] = "tmp",
};

struct builder {
	struct rootfs *rootfs;
	const char *kernel;
	const struct modules *modules;
	bool dry_run;
	FILE *config;
};

static bool has_module(const struct builder *b, const char *name)
{
	return modules_find(b->modules, name) != MODULE_MISSING;
}

static bool has_9p(const struct builder *b)
{
	return has_module(b, "9p") && has_module(b, "9pnet_virtio");
}

/* Is @type a file system that nobody can write to? */
static bool only_read(const char *type)
{
	return !strcmp(type, "erofs") || !strcmp(type, "squashfs") ||
	       !strcmp(type, "iso9660");
}

static int no_memory(void)
{
	log_err("rootfs", "out of memory");
	return -ENOMEM;
}

static void need(struct rootfs *rootfs, const char *module)
{
	for (unsigned int i = 0; i < rootfs->nr_modules; i++)
		if (!strcmp(rootfs->modules[i], module))
			return;
	rootfs->modules[rootfs->nr_modules++] = module;
}

/* A record of what stands at @path in the guest. */
static void describe(struct builder *b, const struct rootfs_part *part,
		     enum rootfs_mode mode, const char *options,
		     const char *path)
{
	fprintf(b->config, "mount=%s:%s:%s:%s:%s%c", modes[mode], part->type,
		part->name, options, path, 0);
	need(b->rootfs, part->type);
	if (mode == ROOTFS_THROW_AWAY)
		need(b->rootfs, "overlay");
}

/* A new part with its device; @path becomes its own. */
static struct rootfs_part *add_part(struct builder *b, char *path,
				    const char *type, const char *driver)
{
	struct rootfs *rootfs = b->rootfs;
	unsigned int n = rootfs->nr_parts++;
	struct rootfs_part *part = &rootfs->parts[n];

	part->path = path;
	part->image_fd = -1;
	snprintf(part->name, sizeof(part->name), "lkvm.%u", n);
	snprintf(part->type, sizeof(part->type), "%s", type);
	need(rootfs, driver);
	return part;
}

/* ---- folders ------------------------------------------------------------- */

/*
 * The absolute path of @dir, without links, which is the caller's; or NULL with
 * *@err after saying why, where @option is what named it.
 */
static char *find_dir(const char *option, const char *dir, int *err)
{
	char *path = realpath(dir, NULL);
	struct stat st;

	if (path && !stat(path, &st)) {
		if (S_ISDIR(st.st_mode))
			return path;
		errno = ENOTDIR;
	}
	*err = -errno;
	log_err("rootfs", "%s %s: %s", option, dir, strerror(-*err));
	free(path);
	return NULL;
}

/* By whatever name: a bind mount of it is the same folder. */
static bool is_host_root(const char *path)
{
	struct stat st, root;

	return stat(path, &st) || stat("/", &root) ||
	       (st.st_dev == root.st_dev && st.st_ino == root.st_ino);
}

/* @path, which becomes the rootfs's, by 9P, at @target. */
static void add_9p(struct builder *b, char *path, enum rootfs_mode mode,
		   const char *target)
{
	struct rootfs_part *part = add_part(b, path, "9p", "9pnet_virtio");
	bool writable = mode == ROOTFS_WRITABLE;

	part->share = (struct virtio_9p_options) {
		.path = part->path,
		.tag = part->name,
		.read_only = !writable,
	};
	b->rootfs->devices[part - b->rootfs->parts] = (struct device_request) {
		.type = &virtio_9p_type,
		.config = &part->share,
	};
	describe(b, part, mode, writable ? OPTIONS_RW : OPTIONS_RO, target);
}

/* ---- disks --------------------------------------------------------------- */

/*
 * The image @path, which becomes the rootfs's, with the file system @type at
 * @target.
 */
static struct rootfs_part *add_disk(struct builder *b, char *path,
				    const char *type, enum rootfs_mode mode,
				    const char *target)
{
	struct rootfs_part *part = add_part(b, path, type, "virtio_blk");
	bool snapshot = mode == ROOTFS_THROW_AWAY && !only_read(type);

	part->disk = virtio_blk_defaults;
	part->disk.path = part->path;
	part->disk.serial = part->name;
	part->disk.read_only = mode != ROOTFS_WRITABLE && !snapshot;
	part->disk.snapshot = snapshot;
	b->rootfs->devices[part - b->rootfs->parts] = (struct device_request) {
		.type = &virtio_blk_type,
		.config = &part->disk,
	};
	/* A journal may be to be replayed: the snapshot is for that too. */
	describe(b, part, snapshot ? ROOTFS_WRITABLE : mode, "", target);
	return part;
}

/* The kind of file system in --root's image; NULL after saying what is wrong.
 */
static const char *image_type(struct builder *b, const struct rootfs_root *root)
{
	const char *type = root->type;
	int err = type ? 0 : rootfs_probe(root->path, &type);

	if (err) {
		log_err("rootfs", "--root %s: %s", root->path, strerror(-err));
		return NULL;
	}
	if (!type || strlen(type) >= ROOTFS_TYPE_BYTES || strchr(type, ':')) {
		log_err("rootfs",
			"--root %s: no file system that is known (name it with "
			"\",type=ext4\", for example)",
			root->path);
		return NULL;
	}
	if (!has_module(b, type)) {
		log_err("rootfs", "--root %s: kernel %s does not have %s",
			root->path, b->kernel, type);
		return NULL;
	}
	if (root->writable && only_read(type)) {
		log_err("rootfs",
			"--root %s: %s can only be read (leave out \",rw\")",
			root->path, type);
		return NULL;
	}
	return type;
}

static int root_of_image(struct builder *b, const struct rootfs_root *root)
{
	const char *type = image_type(b, root);
	char *path;

	if (!type)
		return -EINVAL;
	path = strdup(root->path);
	if (!path)
		return no_memory();
	add_disk(b, path, type,
		 root->writable ? ROOTFS_WRITABLE : ROOTFS_THROW_AWAY, "/");
	return 0;
}

static int add_made_image(struct builder *b, const char *path, const char *type,
			  enum rootfs_mode mode, const char *target)
{
	char *image;
	int fd = -1;

	if (b->dry_run) {
		int err = rootfs_image_check(path, type);

		if (err)
			return err;
		image = strdup(path);
		if (!image)
			return no_memory();
	} else {
		fd = rootfs_image(path, type, &image);
		if (fd < 0)
			return fd;
	}
	add_disk(b, image, type, mode, target)->image_fd = fd;
	return 0;
}

/* Where there is no 9P: an image of the folder @path, at @target. */
static int add_image(struct builder *b, const char *path, enum rootfs_mode mode,
		     const char *target)
{
	static const struct {
		const char *type, *package;
	} kinds[] = {
		{ "erofs", "erofs-utils" },
		{ "squashfs", "squashfs-tools" },
	};
	const char *missing = NULL;

	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!has_module(b, kinds[i].type))
			continue;
		if (!rootfs_image_possible(kinds[i].type)) {
			missing = missing ?: kinds[i].package;
			continue;
		}
		return add_made_image(b, path, kinds[i].type, mode, target);
	}
	if (missing)
		log_err("rootfs",
			"kernel %s does not have 9P, and an image of %s cannot "
			"be made (install %s)",
			b->kernel, path, missing);
	else
		log_err("rootfs",
			"kernel %s has neither 9P (CONFIG_NET_9P_VIRTIO, "
			"CONFIG_9P_FS) nor erofs nor squashfs for %s",
			b->kernel, path);
	return -ENOTSUP;
}

/* ---- all of it ----------------------------------------------------------- */

/* The folder @dir, which the option @option names, at @target or its path. */
static int add_folder(struct builder *b, const char *option, const char *dir,
		      enum rootfs_mode mode, const char *target)
{
	int err = 0;
	char *path = find_dir(option, dir, &err);

	if (!path)
		return err;
	if (mode == ROOTFS_READ_ONLY && !strcmp(path, "/")) {
		log_err("rootfs",
			"%s %s: that is where the root is (see --root)", option,
			dir);
		err = -EINVAL;
	} else if (mode == ROOTFS_WRITABLE && is_host_root(path)) {
		log_err("rootfs",
			"%s %s: the host's own root is never writable in a "
			"guest (name a folder below it)",
			option, dir);
		err = -EPERM;
	} else if (mode == ROOTFS_WRITABLE && !has_9p(b)) {
		log_err("rootfs",
			"%s %s: kernel %s does not have 9P "
			"(CONFIG_NET_9P_VIRTIO, CONFIG_9P_FS)",
			option, dir, b->kernel);
		err = -ENOTSUP;
	} else if (has_9p(b)) {
		add_9p(b, path, mode, target ?: path);
		return 0;
	} else {
		err = add_image(b, path, mode, target ?: path);
	}
	free(path);
	return err;
}

static int check_overlay(const struct builder *b)
{
	const struct rootfs *rootfs = b->rootfs;

	for (unsigned int i = 0; i < rootfs->nr_modules; i++)
		if (!strcmp(rootfs->modules[i], "overlay") &&
		    !has_module(b, "overlay")) {
			log_err("rootfs",
				"kernel %s does not have overlayfs "
				"(CONFIG_OVERLAY_FS), which takes what is "
				"written to a root that can only be read",
				b->kernel);
			return -ENOTSUP;
		}
	return 0;
}

/* In a dry run nobody has made it; it comes by 9P, or add_folder() says why not.
 */
static bool is_yet_to_be_made(const struct builder *b,
			      const struct rootfs_root *root)
{
	struct stat st;

	return b->dry_run && root->made && has_9p(b) && stat(root->path, &st) &&
	       errno == ENOENT;
}

static int add_root(struct builder *b, const struct rootfs_options *options)
{
	const struct rootfs_root *root = &options->root;
	struct stat st;

	if (options->initrd)
		return 0;
	if (is_yet_to_be_made(b, root)) {
		char *path = strdup(root->path);

		if (!path)
			return no_memory();
		add_9p(b, path, ROOTFS_WRITABLE, "/");
		return 0;
	}
	if (root->path && !stat(root->path, &st) && !S_ISDIR(st.st_mode))
		return root_of_image(b, root);
	if (root->type) {
		log_err("rootfs", "--root %s: \",type=\" is for images",
			root->path);
		return -EINVAL;
	}
	return add_folder(b, "--root", root->path ?: "/",
			  root->writable ? ROOTFS_WRITABLE : ROOTFS_THROW_AWAY,
			  "/");
}

int rootfs_create(const struct rootfs_options *options, const char *kernel,
		  const struct modules *modules, struct rootfs *rootfs)
{
	struct builder b = {
		.rootfs = rootfs,
		.kernel = kernel,
		.modules = modules,
		.dry_run = options->dry_run,
	};
	int err;

	*rootfs = (struct rootfs) { 0 };
	b.config = open_memstream(&rootfs->config, &rootfs->config_bytes);
	if (!b.config)
		return no_memory();
	err = add_root(&b, options);
	for (unsigned int i = 0; i < options->nr_shares && !err; i++) {
		const struct rootfs_share *share = &options->shares[i];

		err = add_folder(
			&b, share->writable ? "--rw" : "--ro", share->path,
			share->writable ? ROOTFS_WRITABLE : ROOTFS_READ_ONLY,
			NULL);
	}
	if (!err)
		err = check_overlay(&b);
	if (fclose(b.config) && !err)
		err = no_memory();
	if (err)
		rootfs_release(rootfs);
	return err;
}

void rootfs_release(struct rootfs *rootfs)
{
	for (unsigned int i = 0; i < rootfs->nr_parts; i++) {
		free(rootfs->parts[i].path);
		if (rootfs->parts[i].image_fd >= 0)
			close(rootfs->parts[i].image_fd);
	}
	free(rootfs->config);
	*rootfs = (struct rootfs) { 0 };
}
