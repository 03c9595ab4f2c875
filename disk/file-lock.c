/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Locks on image files that QEMU understands, and holds itself: open file
 * description locks (fcntl(2)) on single bytes, one for each thing that a
 * process does to the file (byte 100 + n) or does not want others to do (byte
 * 200 + n). All are read locks, which get along with each other; who conflicts
 * is found by asking whether a write lock on the opposite byte could be had.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/file.h>
#include <lkvm/util.h>

/*
 * The kernel keeps an open file for some milliseconds after the sudden death of
 * a process that used io_uring on it, and its locks with it.
 */
#define LOCK_RETRIES 20
#define LOCK_RETRY_NS 10000000L

#define DOES_BYTE 100
#define DENIES_BYTE 200

enum permission {
	PERM_READ, /* counts on consistent content */
	PERM_WRITE,
	PERM_WRITE_UNCHANGED,
	PERM_RESIZE,
	PERM_COUNT,
};

static short try_lock(int fd, int op, short type, int byte)
{
	struct flock flock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	if (fcntl(fd, op, &flock))
		return (short)-errno;
	return op == F_OFD_GETLK ? flock.l_type : 0;
}

/* Take a lock on each of @mask's bytes. */
static int take(int fd, unsigned int mask, int first_byte)
{
	int err = 0;

	for (int n = 0; n < PERM_COUNT && !err; n++)
		if (mask & BIT(n))
			err = try_lock(fd, F_OFD_SETLK, F_RDLCK,
				       first_byte + n);
	return err;
}

/* Does anybody else have a lock on one of @mask's bytes? */
static int check(int fd, unsigned int mask, int first_byte)
{
	for (int n = 0; n < PERM_COUNT; n++) {
		short type;

		if (!(mask & BIT(n)))
			continue;
		type = try_lock(fd, F_OFD_GETLK, F_WRLCK, first_byte + n);
		if (type < 0)
			return type;
		if (type != F_UNLCK)
			return -EBUSY;
	}
	return 0;
}

/* ---- who ----------------------------------------------------------------- */

/* Does fdinfo say that this descriptor of @pid has OFD locks? */
static bool has_locks(const char *pid, const char *fd)
{
	char path[96];
	char line[256];
	bool found = false;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, fd);
	in = fopen(path, "re");
	if (!in)
		return false;
	while (!found && fgets(line, sizeof(line), in))
		found = !strncmp(line, "lock:", 5) && strstr(line, "OFDLCK");
	fclose(in);
	return found;
}

/* Does @pid hold locks on the file of @want, by another descriptor than @fd? */
static bool process_holds(const char *pid, int fd, const struct stat *want)
{
	bool self = strtol(pid, NULL, 10) == getpid();
	char path[64];
	bool found = false;
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		struct stat st;

		if (self && strtol(entry->d_name, NULL, 10) == fd)
			continue;
		found = !fstatat(dirfd(dir), entry->d_name, &st, 0) &&
			st.st_dev == want->st_dev &&
			st.st_ino == want->st_ino &&
			has_locks(pid, entry->d_name);
	}
	closedir(dir);
	return found;
}

static void name_process(const char *pid, char who[IMAGE_LOCK_WHO])
{
	char path[64];
	char comm[20] = "";
	FILE *in;

	if (strtol(pid, NULL, 10) == getpid()) {
		snprintf(who, IMAGE_LOCK_WHO, "another disk of this VM");
		return;
	}
	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	in = fopen(path, "re");
	if (in) {
		if (fgets(comm, sizeof(comm), in))
			comm[strcspn(comm, "\n")] = '\0';
		fclose(in);
	}
	snprintf(who, IMAGE_LOCK_WHO, "process %.20s (%s)", pid, comm);
}

/* The lock itself names nobody: look through everybody's descriptors. */
static void find_holder(int fd, char who[IMAGE_LOCK_WHO])
{
	struct dirent *entry;
	bool found = false;
	struct stat st;
	DIR *proc;

	snprintf(who, IMAGE_LOCK_WHO, "another process");
	if (fstat(fd, &st))
		return;
	proc = opendir("/proc");
	if (!proc)
		return;
	while (!found && (entry = readdir(proc))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		found = process_holds(entry->d_name, fd, &st);
		if (found)
			name_process(entry->d_name, who);
	}
	closedir(proc);
}

void image_file_unlock(int fd)
{
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	fcntl(fd, F_OFD_SETLK, &all);
}

/* One attempt; after -EBUSY nothing is held. */
static int attempt(int fd, unsigned int does, unsigned int denies)
{
	int err;

	/* First take, then look: of two at once, at least one sees the other. */
	err = take(fd, does, DOES_BYTE);
	if (!err)
		err = take(fd, denies, DENIES_BYTE);
	if (!err)
		err = check(fd, does, DENIES_BYTE);
	if (!err)
		err = check(fd, denies, DOES_BYTE);
	/* A write lock there is nothing that QEMU or we take. */
	if (err == -EAGAIN || err == -EACCES)
		err = -EBUSY;
	if (err == -EBUSY)
		image_file_unlock(fd);
	return err;
}

int image_file_lock(int fd, bool writable, char who[IMAGE_LOCK_WHO])
{
	const struct timespec pause = { .tv_nsec = LOCK_RETRY_NS };
	unsigned int does = BIT(PERM_READ);
	unsigned int denies = BIT(PERM_WRITE) | BIT(PERM_RESIZE);
	int err;

	if (writable)
		does |= BIT(PERM_WRITE) | BIT(PERM_RESIZE);
	err = attempt(fd, does, denies);
	for (int i = 0; i < LOCK_RETRIES && err == -EBUSY; i++) {
		nanosleep(&pause, NULL);
		err = attempt(fd, does, denies);
	}
	if (err == -EBUSY)
		find_holder(fd, who);
	return err;
}
