/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a kernel's modules are, and which of them need which: the text files
 * that depmod(8) writes and modprobe(8) reads. modules-pack.c makes an archive
 * of what is found here.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/modules-index.h>
#include <lkvm/util.h>

/* One of depmod's files; a whole distribution's have less than 2 MiB. */
#define MAX_TEXT (64 * MIB)

/* ---- names --------------------------------------------------------------- */

static char fold(char c)
{
	return c == '-' ? '_' : c;
}

/* As strcmp(), of two names that may end before their strings do. */
static int compare_names(const char *a, size_t a_len, const char *b,
			 size_t b_len)
{
	for (size_t i = 0; i < MIN(a_len, b_len); i++)
		if (fold(a[i]) != fold(b[i]))
			return fold(a[i]) - fold(b[i]);
	return (a_len > b_len) - (a_len < b_len);
}

static int compare_files(const void *a, const void *b)
{
	const struct module_file *x = a, *y = b;

	return compare_names(x->name, x->name_len, y->name, y->name_len);
}

/*
 * The module that the path @text of @len bytes is of. False: of none.
 */
static bool name_of_path(const char *text, size_t len, const char **name,
			 size_t *name_len)
{
	const char *slash = memrchr(text, '/', len);
	const char *start = slash ? slash + 1 : text;
	const char *end = memmem(start, (size_t)(text + len - start), ".ko", 3);

	if (!end || end == start || end - start > MODULES_MAX_NAME)
		return false;
	*name = start;
	*name_len = (size_t)(end - start);
	return true;
}

const struct module_file *modules_file(const struct modules *modules,
				       const char *name, size_t len)
{
	const struct module_file key = { .name = name, .name_len = len };

	if (!modules->count)
		return NULL;
	return bsearch(&key, modules->files, modules->count, sizeof(key),
		       compare_files);
}

/* ---- reading ------------------------------------------------------------- */

/* A file of the folder as a string, or NULL: there is none that is useful. */
char *modules_read(const struct modules *modules, const char *name)
{
	char path[PATH_MAX], *text = NULL;
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", modules->folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size <= MAX_TEXT)
		text = malloc((size_t)st.st_size + 1);
	if (text && pread_full(fd, text, (size_t)st.st_size, 0)) {
		free(text);
		text = NULL;
	}
	if (text)
		text[st.st_size] = '\0';
	close(fd);
	return text;
}

const char *modules_next_line(const char **at, size_t *len)
{
	const char *line = *at;

	if (!*line)
		return NULL;
	*len = strcspn(line, "\n");
	*at = line + *len + (line[*len] == '\n');
	return line;
}

/* "kernel/fs/a.ko: kernel/lib/b.ko kernel/lib/c.ko" (modules.dep(5)) */
static int index_files(struct modules *modules)
{
	const char *at = modules->dep, *line;
	size_t len, lines = 0;

	while (modules_next_line(&at, &len))
		lines++;
	modules->files = calloc(lines + 1, sizeof(*modules->files));
	if (!modules->files)
		return -ENOMEM;
	at = modules->dep;
	while ((line = modules_next_line(&at, &len))) {
		const char *colon = memchr(line, ':', len);
		struct module_file *file = &modules->files[modules->count];

		if (!colon || !name_of_path(line, (size_t)(colon - line),
					    &file->name, &file->name_len))
			continue;
		file->path = line;
		file->path_len = (size_t)(colon - line);
		file->needs = colon + 1;
		file->needs_len = (size_t)(line + len - file->needs);
		modules->count++;
	}
	qsort(modules->files, modules->count, sizeof(*modules->files),
	      compare_files);
	return 0;
}

size_t modules_next_word(const char **at, const char *end, const char **word)
{
	const char *p = *at;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	*word = p;
	while (p < end && *p != ' ' && *p != '\t')
		p++;
	*at = p;
	return (size_t)(p - *word);
}

const struct module_file *modules_needed(const struct modules *modules,
					 const struct module_file *file,
					 const char **at)
{
	const struct module_file *needed;
	const char *word, *name;
	size_t len, name_len;

	while ((len = modules_next_word(at, file->needs + file->needs_len,
					&word)))
		if (name_of_path(word, len, &name, &name_len) &&
		    (needed = modules_file(modules, name, name_len)))
			return needed;
	return NULL;
}

/* ---- states -------------------------------------------------------------- */

static bool is_built_in(const struct modules *modules, const char *name)
{
	const char *at = modules->built_in, *line, *found;
	size_t len, found_len;

	while (at && (line = modules_next_line(&at, &len)))
		if (name_of_path(line, len, &found, &found_len) &&
		    !compare_names(found, found_len, name, strlen(name)))
			return true;
	return false;
}

enum module_state modules_find(const struct modules *modules, const char *name)
{
	if (!modules->folder)
		return MODULE_UNKNOWN;
	if (modules_file(modules, name, strlen(name)))
		return MODULE_FILE;
	return is_built_in(modules, name) ? MODULE_BUILT_IN : MODULE_MISSING;
}

const char *modules_folder(const struct modules *modules)
{
	return modules->folder;
}

/* ---- where they are ------------------------------------------------------ */

static bool has_file(const char *folder, const char *name)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/%s", folder, name) < PATH_MAX &&
	       !access(path, R_OK);
}

/* Take the folder "@base@rest" if it has @file. */
static bool try_folder(struct modules *modules, const char *file,
		       const char *base, const char *rest)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s%s", base, rest) >= PATH_MAX ||
	    !has_file(path, file))
		return false;
	modules->folder = realpath(path, NULL);
	return modules->folder;
}

/* --modules DIR */
static int use_folder(struct modules *modules, const char *kernel,
		      const char *version, const char *dir)
{
	char below[PATH_MAX], tree[PATH_MAX];

	snprintf(below, sizeof(below), "/%s", version);
	snprintf(tree, sizeof(tree), "/lib/modules/%s", version);
	if (try_folder(modules, "modules.dep", dir, below) ||
	    try_folder(modules, "modules.dep", dir, tree) ||
	    try_folder(modules, "modules.dep", dir, ""))
		return 0;
	log_err("modules",
		"--modules %s: no modules of kernel %s there: neither %s%s nor "
		"the folder itself has a modules.dep (see depmod)",
		dir, kernel, dir, below);
	return -ENOENT;
}

/*
 * A folder that nobody named: modules come from whom the kernel is from, or
 * from who could change either.
 */
static bool find_folder(struct modules *modules, const char *file,
			const char *base, const char *rest)
{
	struct stat st;

	if (!try_folder(modules, file, base, rest))
		return false;
	if (!stat(modules->folder, &st) &&
	    (st.st_uid == 0 || st.st_uid == geteuid() ||
	     st.st_uid == modules->kernel_owner))
		return true;
	free(modules->folder);
	modules->folder = NULL;
	return false;
}

/* See modules.h for the places. Finding none is no error. */
static void search(struct modules *modules, const char *kernel,
		   const char *version)
{
	char rest[PATH_MAX], base[PATH_MAX];
	char *path = realpath(kernel, NULL);
	bool found = false;

	snprintf(rest, sizeof(rest), "/lib/modules/%s", version);
	if (!path)
		return;
	snprintf(base, sizeof(base), "%s", dirname(path));
	free(path);
	/* A build tree's kernel lies at most three folders below its top. */
	for (unsigned int up = 0; up < 4 && !found; up++) {
		bool tree = has_file(base, "modules.builtin");
		size_t len = strlen(base);

		if (up < 2 || tree)
			found = find_folder(modules, "modules.dep", base, rest);
		if (tree && !found)
			found = find_folder(modules, "modules.builtin", base,
					    "");
		if (snprintf(base + len, sizeof(base) - len, "/..") >=
		    (int)(sizeof(base) - len))
			break;
	}
	if (!found)
		find_folder(modules, "modules.dep", "", rest);
}

/*
 * A build tree lists its modules without what they need; "make modules_install"
 * knows that.
 */
static void warn_of_tree(const struct modules *modules)
{
	char *order = modules_read(modules, "modules.order");

	if (order && *order)
		log_warn("modules",
			 "the modules built in %s are not used (run \"make "
			 "modules_install INSTALL_MOD_PATH=.\" there)",
			 modules->folder);
	free(order);
}

static int read_index(struct modules *modules)
{
	if (!modules->folder)
		return 0;
	modules->built_in = modules_read(modules, "modules.builtin");
	modules->dep = modules_read(modules, "modules.dep");
	if (modules->dep)
		return index_files(modules);
	warn_of_tree(modules);
	return 0;
}

int modules_open(const char *kernel, const char *version, const char *dir,
		 struct modules **out)
{
	struct modules *modules = calloc(1, sizeof(*modules));
	struct stat st;
	int err = 0;

	if (!modules) {
		log_err("modules", "out of memory");
		return -ENOMEM;
	}
	modules->kernel_owner = stat(kernel, &st) ? 0 : st.st_uid;
	if (dir)
		err = use_folder(modules, kernel, version, dir);
	else
		search(modules, kernel, version);
	if (!err) {
		err = read_index(modules);
		if (err)
			log_err("modules", "out of memory");
	}
	if (err) {
		modules_close(modules);
		return err;
	}
	log_debug("modules", "modules of %s: %s", version,
		  modules->folder ?: "none found");
	*out = modules;
	return 0;
}

void modules_close(struct modules *modules)
{
	if (!modules)
		return;
	free(modules->files);
	free(modules->dep);
	free(modules->built_in);
	free(modules->folder);
	free(modules);
}
