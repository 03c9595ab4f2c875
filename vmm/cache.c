/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The cache of generated files: see cache.h. Where folders lie is what the XDG
 * Base Directory Specification says.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/cache.h>
#include <lkvm/util.h>

/* Names of files under way begin with it. */
#define UNDER_WAY ".new-"

/* What the folder's path leaves for the names in it. */
#define NAME_ROOM 128

/* After which a file under way is nobody's. */
#define STALE_SECONDS 3600

/* FNV-1a, 64 bits: inputs are the user's own, who needs no collision. */
void cache_key_add(struct cache_key *key, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		key->hash = (key->hash ^ bytes[i]) * 0x100000001b3;
}

void cache_key_add_text(struct cache_key *key, const char *text)
{
	cache_key_add(key, text, strlen(text) + 1);
}

void cache_key_init(struct cache_key *key)
{
	key->hash = 0xcbf29ce484222325;
	cache_key_add_text(key, LKVM_VERSION);
}

void cache_key_add_stat(struct cache_key *key, const struct stat *st)
{
	char text[256];

	/* Nobody can set ctime; it also changes with attributes. */
	snprintf(text, sizeof(text),
		 "%jx %jx %x %u %u %jd %jx %jd.%09ld %jd.%09ld",
		 (uintmax_t)st->st_dev, (uintmax_t)st->st_ino, st->st_mode,
		 st->st_uid, st->st_gid, (intmax_t)st->st_size,
		 (uintmax_t)st->st_rdev, (intmax_t)st->st_mtim.tv_sec,
		 st->st_mtim.tv_nsec, (intmax_t)st->st_ctim.tv_sec,
		 st->st_ctim.tv_nsec);
	cache_key_add_text(key, text);
}

/*
 * The cache's folder; made when @make. False: there is none that is this
 * user's own (with sudo, $HOME may be another's).
 */
static bool find_folder(char path[PATH_MAX], bool make)
{
	const char *base = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	struct stat st;
	int len;

	/* Relative paths are invalid, the specification says. */
	if (base && base[0] == '/')
		len = snprintf(path, PATH_MAX, "%s", base);
	else if (home && home[0] == '/')
		len = snprintf(path, PATH_MAX, "%s/.cache", home);
	else
		return false;
	if (len >= PATH_MAX - NAME_ROOM)
		return false;
	if (make)
		mkdir(path, 0700);
	snprintf(path + len, PATH_MAX - (size_t)len, "/lkvm");
	if (make)
		mkdir(path, 0700);
	return !lstat(path, &st) && S_ISDIR(st.st_mode) &&
	       st.st_uid == geteuid();
}

void cache_stat(struct stat *st)
{
	char path[PATH_MAX];

	if (!find_folder(path, false) || stat(path, st))
		*st = (struct stat) { 0 };
}

static bool name_file(const char *kind, const struct cache_key *key,
		      char path[PATH_MAX], bool make)
{
	size_t len;

	if (!find_folder(path, make))
		return false;
	len = strlen(path);
	snprintf(path + len, PATH_MAX - len, "/%s-%016llx", kind,
		 (unsigned long long)key->hash);
	return true;
}

int cache_open(const char *kind, const struct cache_key *key)
{
	char name[PATH_MAX];
	struct stat st;
	int fd;

	if (!name_file(kind, key, name, false))
		return -ENOENT;
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -ENOENT;
	/* What another user has put there is no work of ours. */
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
		close(fd);
		return -ENOENT;
	}
	/* The time of its last use: see make_room(). */
	futimens(fd, NULL);
	return fd;
}

/* Without a name: when this process is killed, the file goes. */
static void is_unnamed(struct cache_file *file, int fd)
{
	file->fd = fd;
	file->named = false;
	snprintf(file->path, sizeof(file->path), "/proc/%d/fd/%d", getpid(),
		 fd);
}

static bool begin_in_folder(struct cache_file *file)
{
	int len = (int)(strrchr(file->target, '/') - file->target);
	int fd;

	snprintf(file->path, sizeof(file->path), "%.*s", len, file->target);
	fd = open(file->path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0) {
		is_unnamed(file, fd);
		return true;
	}
	/* Not all file systems can do that. */
	snprintf(file->path, sizeof(file->path), "%.*s/" UNDER_WAY "XXXXXX",
		 len, file->target);
	file->fd = mkostemp(file->path, O_CLOEXEC);
	file->named = true;
	return file->fd >= 0;
}

int cache_begin(const char *kind, const struct cache_key *key,
		struct cache_file *file)
{
	const char *tmp = getenv("TMPDIR");
	int fd;

	if (name_file(kind, key, file->target, true) && begin_in_folder(file))
		return 0;
	file->target[0] = '\0';
	fd = unnamed_file(tmp ? tmp : "/tmp");
	if (fd < 0)
		return fd;
	is_unnamed(file, fd);
	return 0;
}

/* One file of the cache's folder. */
struct found {
	char name[NAME_MAX + 1];
	time_t used;
	uint64_t bytes;
};

static int newest_first(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return (x->used < y->used) - (x->used > y->used);
}

static unsigned int list_files(DIR *dir, struct found *found, unsigned int max)
{
	time_t now = time(NULL);
	unsigned int count = 0;
	struct dirent *entry;
	struct stat st;

	while (count < max && (entry = readdir(dir))) {
		if (fstatat(dirfd(dir), entry->d_name, &st,
			    AT_SYMLINK_NOFOLLOW) ||
		    !S_ISREG(st.st_mode))
			continue;
		if (!strncmp(entry->d_name, UNDER_WAY, strlen(UNDER_WAY))) {
			if (now - st.st_mtime > STALE_SECONDS)
				unlinkat(dirfd(dir), entry->d_name, 0);
			continue;
		}
		found[count].used = st.st_mtime;
		found[count].bytes = (uint64_t)st.st_blocks * 512;
		snprintf(found[count].name, sizeof(found[count].name), "%s",
			 entry->d_name);
		count++;
	}
	return count;
}

/* So that one more file, of @bytes, keeps the limits. */
static void make_room(uint64_t bytes)
{
	enum { MAX_FOUND = 4 * CACHE_MAX_FILES };
	struct found *found = calloc(MAX_FOUND, sizeof(*found));
	char folder[PATH_MAX];
	unsigned int count;
	DIR *dir = NULL;

	if (found && find_folder(folder, false))
		dir = opendir(folder);
	if (!dir)
		goto out;
	count = list_files(dir, found, MAX_FOUND);
	qsort(found, count, sizeof(*found), newest_first);
	for (unsigned int i = 0; i < count; i++) {
		bytes += found[i].bytes;
		if (i + 1 >= CACHE_MAX_FILES || bytes > CACHE_MAX_BYTES)
			unlinkat(dirfd(dir), found[i].name, 0);
	}
	closedir(dir);
out:
	free(found);
}

/* Its name, in place of what has it: nobody's work, or the same. */
static bool name_it(const struct cache_file *file)
{
	if (file->named)
		return !rename(file->path, file->target);
	for (int i = 0; i < 2; i++) {
		if (!linkat(AT_FDCWD, file->path, AT_FDCWD, file->target,
			    AT_SYMLINK_FOLLOW))
			return true;
		if (errno != EEXIST || unlink(file->target))
			break;
	}
	return false;
}

int cache_done(struct cache_file *file)
{
	struct stat st;

	/* After a power cut there shall be a whole file, or none. */
	if (file->target[0] && !fstat(file->fd, &st) && !fdatasync(file->fd)) {
		make_room((uint64_t)st.st_blocks * 512);
		if (name_it(file))
			return file->fd;
	}
	if (file->named)
		unlink(file->path);
	return file->fd;
}

void cache_abandon(struct cache_file *file)
{
	if (file->named)
		unlink(file->path);
	close(file->fd);
}
