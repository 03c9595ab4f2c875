/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: the backing file. Its name was written by whoever made the image, so
 * it opens nothing outside of the image's folder unless the user says so.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lkvm/file.h>
#include <lkvm/qcow2.h>

static int refuse(const struct qcow2 *q, const char *name, const char *why)
{
	char shown[QCOW2_MAX_NAME + 1];

	snprintf(shown, sizeof(shown), "%s", name);
	for (char *c = shown; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	log_err("disk", "cannot open backing file %s of %s: %s", shown, q->name,
		why);
	return -EINVAL;
}

/* "nbd:...", "json:...": a word before a colon, unless it is in a folder. */
static bool has_protocol(const char *name)
{
	size_t word = strcspn(name, ":/");

	return name[word] == ':';
}

/* @name, next to the image if it is relative. */
static int locate(const struct qcow2 *q, const char *name, char **out)
{
	const char *slash = strrchr(q->name, '/');
	int folder = slash ? (int)(slash - q->name) + 1 : 0;
	int n;

	if (name[0] == '/')
		folder = 0;
	n = asprintf(out, "%.*s%s", folder, q->name, name);
	return n < 0 ? -ENOMEM : 0;
}

/* Is @path, with all links followed, in the folder of the image? */
static bool is_beside(const struct qcow2 *q, const char *path)
{
	const char *slash = strrchr(q->name, '/');
	char folder[PATH_MAX], real[PATH_MAX], real_folder[PATH_MAX];
	size_t len;

	if (!slash)
		snprintf(folder, sizeof(folder), ".");
	else
		snprintf(folder, sizeof(folder), "%.*s/",
			 (int)(slash - q->name), q->name);
	if (!realpath(folder, real_folder) || !realpath(path, real))
		return false;
	len = strlen(real_folder);
	/* The root folder's name ends with the slash. */
	if (real_folder[len - 1] == '/')
		len--;
	return !strncmp(real, real_folder, len) && real[len] == '/';
}

static bool is_same_file(const struct stat *st, const struct image_file *file)
{
	struct stat other;

	return file && !fstat(file->fd, &other) && st->st_dev == other.st_dev &&
	       st->st_ino == other.st_ino;
}

/* Before locks would say that somebody, we that is, has the file open. */
static int check_chain(const struct qcow2 *q, const char *name,
		       const char *path)
{
	const struct image *image = &q->image;
	unsigned int depth = 0;
	struct stat st;
	char why[128];

	if (stat(path, &st)) {
		snprintf(why, sizeof(why), "%s", strerror(errno));
		return refuse(q, name, why);
	}
	for (; image; image = image->options.overlay) {
		const struct qcow2 *over =
			container_of(image, struct qcow2, image);

		if (is_same_file(&st, over->file))
			return refuse(q, name,
				      "the chain of backing files is "
				      "a loop");
		if (++depth > QCOW2_MAX_CHAIN)
			return refuse(q, name, "too many backing files");
	}
	return 0;
}

static int choose_format(const struct qcow2 *q, const char *name,
			 const char *format, enum image_format *out)
{
	if (!strcmp(format, "raw")) {
		*out = IMAGE_FORMAT_RAW;
	} else if (!strcmp(format, "qcow2")) {
		*out = IMAGE_FORMAT_QCOW2;
	} else if (!format[0]) {
		*out = IMAGE_FORMAT_AUTO;
		log_warn("disk",
			 "%s does not name the format of its backing file, "
			 "which is probed (name it with: qemu-img rebase -u "
			 "-F FORMAT -b BACKING FILE)",
			 q->name);
	} else {
		return refuse(q, name,
			      "its format is not supported (raw and "
			      "qcow2 are)");
	}
	return 0;
}

int qcow2_open_backing(struct qcow2 *q,
		       const struct qcow2_backing_name *backing)
{
	const char *name = backing->name;
	struct image_options options = {
		.cache = q->image.options.cache,
		.engine = q->image.options.engine,
		.read_only = true,
		.no_locking = q->image.options.no_locking,
		.backing_ok = q->image.options.backing_ok,
		.overlay = &q->image,
	};
	char *path;
	int err;

	if (strlen(name) != strcspn(name, "\n") || has_protocol(name))
		return refuse(q, name, "only plain files are supported");
	err = choose_format(q, name, backing->format, &options.format);
	if (!err)
		err = locate(q, name, &path);
	if (err)
		return err;
	err = check_chain(q, name, path);
	if (!err && !options.backing_ok && !is_beside(q, path))
		err = refuse(q, name,
			     "it is outside of the image's folder "
			     "(add \",backing-ok\" if you trust it)");
	options.path = path;
	if (!err)
		err = image_open(&options, &q->backing);
	free(path);
	return err;
}
