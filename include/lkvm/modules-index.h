/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the files of vmm/modules*.c: depmod's files of one folder in memory.
 */
#ifndef LKVM_MODULES_INDEX_H
#define LKVM_MODULES_INDEX_H

#include <sys/types.h>

#include <lkvm/modules.h>

/* The kernel's own limit is 64 - sizeof(unsigned long). */
#define MODULES_MAX_NAME 64

/* A line of modules.dep; all point into it. */
struct module_file {
	const char *name; /* without ".ko" and what follows it */
	size_t name_len;
	const char *path; /* in the folder */
	size_t path_len;
	const char *needs; /* paths, parted by blanks */
	size_t needs_len;
};

struct modules {
	char *folder; /* NULL: none was found; no other list is there then */
	char *dep; /* modules.dep; NULL: none, as the next */
	char *built_in; /* modules.builtin */
	struct module_file *files; /* by name */
	size_t count;
	uid_t kernel_owner;
};

/* The line of the module @name, or NULL. */
const struct module_file *modules_file(const struct modules *modules,
				       const char *name, size_t len);

/*
 * The next one of the modules that @file needs; *@at is file->needs at first.
 * NULL after the last. Those that the list does not have are passed over.
 */
const struct module_file *modules_needed(const struct modules *modules,
					 const struct module_file *file,
					 const char **at);

/*
 * A file of the folder as a string, which is the caller's to free; NULL when it
 * cannot be read.
 */
char *modules_read(const struct modules *modules, const char *name);

/* The line at *@at, which moves behind it; NULL at the text's end. */
const char *modules_next_line(const char **at, size_t *len);

/* The word from *@at on, before @end; its length, 0 after the last. */
size_t modules_next_word(const char **at, const char *end, const char **word);

#endif
