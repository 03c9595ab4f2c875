/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The modules that a guest needs, in the order of loading, in an archive for
 * its initrd.
 *
 * What a module needs is in modules.dep; what it wants besides, before or after
 * it, in modules.softdep, by names or by what modules.alias translates into
 * names. Modules that need each other are loaded in the order in which they
 * are found.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/cache.h>
#include <lkvm/initrd.h>
#include <lkvm/log.h>
#include <lkvm/modules-index.h>
#include <lkvm/unpack.h>
#include <lkvm/util.h>

#define MAX_SOFT 16
#define MAX_MODULE_BYTES (64 * MIB)

/* ---- what to load -------------------------------------------------------- */

/* A module whose needs are being looked at. */
struct frame {
	const struct module_file *file;
	const char *at; /* in file->needs */
	const struct module_file *soft[MAX_SOFT];
	unsigned int nr_soft;
};

struct closure {
	const struct modules *modules;
	char *softdep, *alias;
	bool *seen; /* for each of modules->files */
	struct frame *stack;
	unsigned int depth;
	const struct module_file *order[MODULES_MAX];
	unsigned int count;
	const struct module_file *later[MODULES_MAX]; /* wanted after it */
	unsigned int nr_later;
};

static bool same_name(const char *a, size_t a_len, const char *b, size_t b_len)
{
	if (a_len != b_len)
		return false;
	for (size_t i = 0; i < a_len; i++)
		if (a[i] != b[i] && !(strchr("-_", a[i]) && strchr("-_", b[i])))
			return false;
	return true;
}

/* All modules that the word @name may stand for. */
static unsigned int resolve(struct closure *c, const char *name, size_t len,
			    const struct module_file **out, unsigned int max)
{
	const struct module_file *file = modules_file(c->modules, name, len);
	const char *at, *line, *word;
	unsigned int count = 0;
	size_t line_len;

	if (file && max) {
		*out = file;
		return 1;
	}
	if (!c->alias)
		c->alias = modules_read(c->modules, "modules.alias") ?:
								       strdup("");
	at = c->alias;
	while (at && count < max &&
	       (line = modules_next_line(&at, &line_len))) {
		const char *p = line, *end = line + line_len;
		size_t word_len = modules_next_word(&p, end, &word);

		if (!same_name(word, word_len, "alias", 5))
			continue;
		word_len = modules_next_word(&p, end, &word);
		if (!same_name(word, word_len, name, len))
			continue;
		word_len = modules_next_word(&p, end, &word);
		out[count] = modules_file(c->modules, word, word_len);
		count += out[count] != NULL;
	}
	return count;
}

/* "softdep NAME pre: a b post: c" (modprobe.d(5)), for @file. */
static unsigned int soft_needs(struct closure *c,
			       const struct module_file *file, const char *when,
			       const struct module_file **out, unsigned int max)
{
	const char *at = c->softdep, *line, *word;
	unsigned int count = 0;
	size_t line_len;

	while (at && (line = modules_next_line(&at, &line_len))) {
		const char *p = line, *end = line + line_len;
		size_t len = modules_next_word(&p, end, &word);
		bool on = false;

		if (!same_name(word, len, "softdep", 7))
			continue;
		len = modules_next_word(&p, end, &word);
		if (!same_name(word, len, file->name, file->name_len))
			continue;
		while ((len = modules_next_word(&p, end, &word))) {
			if (word[len - 1] == ':')
				on = same_name(word, len, when, strlen(when));
			else if (on)
				count += resolve(c, word, len, out + count,
						 max - count);
		}
	}
	return count;
}

static int push(struct closure *c, const struct module_file *file)
{
	bool *seen = &c->seen[file - c->modules->files];
	struct frame *frame;

	if (*seen)
		return 0;
	if (c->depth + c->count >= MODULES_MAX)
		return -E2BIG;
	*seen = true;
	frame = &c->stack[c->depth++];
	frame->file = file;
	frame->at = file->needs;
	frame->nr_soft = soft_needs(c, file, "pre:", frame->soft, MAX_SOFT);
	return 0;
}

/* @file after all that it needs: a walk in depth. */
static int add_with_needs(struct closure *c, const struct module_file *file)
{
	int err = push(c, file);

	while (!err && c->depth) {
		struct frame *top = &c->stack[c->depth - 1];
		const struct module_file *next;

		if (top->nr_soft)
			next = top->soft[--top->nr_soft];
		else
			next = modules_needed(c->modules, top->file, &top->at);
		if (next) {
			err = push(c, next);
			continue;
		}
		c->order[c->count++] = top->file;
		c->depth--;
		c->nr_later += soft_needs(c, top->file,
					  "post:", c->later + c->nr_later,
					  MODULES_MAX - c->nr_later);
	}
	return err;
}

static int find_closure(struct closure *c, const struct modules *modules,
			const char *const *names, unsigned int count)
{
	int err = 0;

	c->modules = modules;
	c->seen = calloc(modules->count + 1, sizeof(*c->seen));
	c->stack = calloc(MODULES_MAX, sizeof(*c->stack));
	if (!c->seen || !c->stack)
		return -ENOMEM;
	c->softdep = modules_read(modules, "modules.softdep");
	for (unsigned int i = 0; i < count && !err; i++) {
		const struct module_file *file =
			modules_file(modules, names[i], strlen(names[i]));

		if (file)
			err = add_with_needs(c, file);
	}
	for (unsigned int i = 0; i < c->nr_later && !err; i++)
		err = add_with_needs(c, c->later[i]);
	return err;
}

static void release_closure(struct closure *c)
{
	free(c->seen);
	free(c->stack);
	free(c->softdep);
	free(c->alias);
	free(c);
}

/* ---- the archive --------------------------------------------------------- */

static int list_names(const struct closure *c, struct module_list *list)
{
	struct module_list new = { 0 };

	new.names = calloc(c->count + 1, sizeof(*new.names));
	if (!new.names)
		return -ENOMEM;
	for (; new.count < c->count; new.count++) {
		const struct module_file *file = c->order[new.count];

		if (asprintf(&new.names[new.count], "%.*s.ko",
			     (int)file->name_len, file->name) < 0) {
			module_list_release(&new);
			return -ENOMEM;
		}
	}
	*list = new;
	return 0;
}

void module_list_release(struct module_list *list)
{
	for (unsigned int i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
	*list = (struct module_list) { 0 };
}

static int broken(const char *path, int err)
{
	const char *why = strerror(-err);

	if (err == -EFBIG)
		why = "it is too large";
	else if (err == -EBADMSG)
		why = "its compressed data is broken";
	log_err("modules", "cannot use module %s: %s", path, why);
	return err;
}

static void module_path(const struct closure *c, unsigned int index,
			char path[PATH_MAX])
{
	const struct module_file *file = c->order[index];

	/* An absolute path stands for itself (depmod's, of files elsewhere). */
	if (file->path[0] == '/')
		snprintf(path, PATH_MAX, "%.*s", (int)file->path_len,
			 file->path);
	else
		snprintf(path, PATH_MAX, "%s/%.*s", c->modules->folder,
			 (int)file->path_len, file->path);
}

static int make_key(const struct closure *c, struct cache_key *key)
{
	char path[PATH_MAX];
	struct stat st;

	cache_key_init(key);
	for (unsigned int i = 0; i < c->count; i++) {
		module_path(c, i, path);
		if (stat(path, &st))
			return broken(path, -errno);
		cache_key_add_text(key, path);
		cache_key_add_stat(key, &st);
	}
	return 0;
}

/* The module's file, unpacked. */
static int read_module(const char *path, void **data, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	void *raw;
	int err;

	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : 0;
	if (!err && !S_ISREG(st.st_mode))
		err = -EINVAL;
	if (!err && (uint64_t)st.st_size > MAX_MODULE_BYTES)
		err = -EFBIG;
	raw = err ? NULL : malloc((size_t)st.st_size + 1);
	if (!err && !raw)
		err = -ENOMEM;
	if (!err)
		err = pread_full(fd, raw, (size_t)st.st_size, 0);
	close(fd);
	if (!err)
		err = unpack(path, raw, (size_t)st.st_size, MAX_MODULE_BYTES,
			     data, len);
	free(raw);
	return err;
}

static int add_module(const struct closure *c, unsigned int index,
		      const char *name, struct initrd *archive)
{
	char path[PATH_MAX], target[PATH_MAX];
	void *data = NULL;
	size_t len = 0;
	int err;

	module_path(c, index, path);
	err = read_module(path, &data, &len);
	if (!err && archive->size + len > MODULES_MAX_BYTES) {
		free(data);
		err = -EFBIG;
	}
	if (err)
		return broken(path, err);
	snprintf(target, sizeof(target), "%s/%s", INITRD_MODULES, name);
	initrd_add_file(archive, target, 0644, data, len);
	free(data);
	return 0;
}

/* Its file descriptor, or -errno after saying why. */
static int make_archive(const struct closure *c, const struct module_list *list)
{
	struct initrd archive;
	int err = 0, fd;

	initrd_init(&archive);
	initrd_add_folder(&archive, INITRD_FOLDER);
	initrd_add_folder(&archive, INITRD_MODULES);
	for (unsigned int i = 0; i < c->count && !err; i++)
		err = add_module(c, i, list->names[i], &archive);
	fd = initrd_finish(&archive);
	if (err && fd >= 0)
		close(fd);
	if (!err && fd < 0)
		log_err("modules", "cannot write an archive of modules: %s",
			strerror(-fd));
	return err ?: fd;
}

/* For the next time; a cache that cannot be written is no error. */
static void keep(const struct cache_key *key, int fd)
{
	struct cache_file file;
	struct stat st;
	off_t at = 0;

	if (fstat(fd, &st) || cache_begin("modules", key, &file))
		return;
	while (at < st.st_size)
		if (sendfile(file.fd, fd, &at, (size_t)(st.st_size - at)) <= 0)
			break;
	if (at == st.st_size)
		close(cache_done(&file));
	else
		cache_abandon(&file);
}

static int pack_closure(const struct closure *c, struct module_list *list,
			int *fd)
{
	struct cache_key key;
	int err, archive;

	if (!c->count) {
		*list = (struct module_list) { 0 };
		*fd = -1;
		return 0;
	}
	err = make_key(c, &key);
	if (err)
		return err;
	err = list_names(c, list);
	if (err) {
		log_err("modules", "out of memory");
		return err;
	}
	archive = cache_open("modules", &key);
	if (archive < 0) {
		archive = make_archive(c, list);
		if (archive < 0) {
			module_list_release(list);
			return archive;
		}
		keep(&key, archive);
	}
	*fd = archive;
	return 0;
}

int modules_pack(const struct modules *modules, const char *const *names,
		 unsigned int count, struct module_list *list, int *fd)
{
	struct closure *c = calloc(1, sizeof(*c));
	int err;

	if (!c) {
		log_err("modules", "out of memory");
		return -ENOMEM;
	}
	err = find_closure(c, modules, names, count);
	if (err == -E2BIG)
		log_err("modules", "more than %u modules are needed, by %s",
			MODULES_MAX, modules->folder);
	else if (err)
		log_err("modules", "out of memory");
	else
		err = pack_closure(c, list, fd);
	release_closure(c);
	return err;
}
