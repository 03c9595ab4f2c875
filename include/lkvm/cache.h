/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Files that take time to make and can be made again: $XDG_CACHE_HOME/lkvm, or
 * ~/.cache/lkvm. A file is named after what it is made from and never changes;
 * it appears whole or not at all. The least recently used ones go when there
 * are too many. Losing them, or having no place for them, costs only time.
 */
#ifndef LKVM_CACHE_H
#define LKVM_CACHE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_MAX_FILES 32
#define CACHE_MAX_BYTES (8ULL * 1024 * 1024 * 1024)

/* What a file is made from: all that the result depends on is added. */
struct cache_key {
	uint64_t hash;
};

/* A new key has the version of lkvm in it. */
void cache_key_init(struct cache_key *key);
void cache_key_add(struct cache_key *key, const void *data, size_t len);
void cache_key_add_text(struct cache_key *key, const char *text);
struct stat;
/* Which file it is, and which state it is in. */
void cache_key_add_stat(struct cache_key *key, const struct stat *st);

/*
 * A file of the cache, open for reading. Returns -ENOENT when there is none.
 * @kind is a part of its name ("modules").
 */
int cache_open(const char *kind, const struct cache_key *key);

/* Which folder it is; zeroes: there is none. */
void cache_stat(struct stat *st);

/* A file under way; without a cache, in the folder of temporary files. */
struct cache_file {
	int fd; /* for reading and writing */
	char path[PATH_MAX]; /* opens it, for others too, until it is done */
	bool named; /* path is its name; else it has none yet */
	char target[PATH_MAX]; /* "": it will have no name */
};

/* Returns 0 or -errno: there is no place at all. */
int cache_begin(const char *kind, const struct cache_key *key,
		struct cache_file *file);

/* It is complete. Returns file->fd, which is the caller's. Makes room first. */
int cache_done(struct cache_file *file);

/* It is not wanted. */
void cache_abandon(struct cache_file *file);

#endif
