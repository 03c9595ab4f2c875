/* SPDX-License-Identifier: GPL-2.0 */
/* Small helpers that every layer uses: see util.h. */
#include <limits.h>
#include <fcntl.h>
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/stats.h>
#include <lkvm/util.h>

int pread_full(int fd, void *buf, size_t len, off_t offset)
{
	char *at = buf;

	while (len) {
		ssize_t n = pread(fd, at, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ENODATA;
		at += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

int write_full(int fd, const void *buf, size_t len)
{
	const char *at = buf;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	unsigned long long value;
	char *end;

	/* strtoull would accept leading blanks and a sign. */
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 0);
	if (*end)
		return -EINVAL;
	if (errno || value < min || value > max)
		return -ERANGE;
	*out = value;
	return 0;
}

int parse_size(const char *text, uint64_t unit, uint64_t *out)
{
	static const char suffixes[] = "bkmgtp";
	unsigned long long value;
	const char *suffix;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno)
		return -ERANGE;
	if (*end) {
		suffix = strchr(suffixes, tolower((unsigned char)*end));
		if (!suffix || end[1])
			return -EINVAL;
		unit = 1ULL << (10 * (suffix - suffixes));
	}
	if (__builtin_mul_overflow(value, unit, &value))
		return -ERANGE;
	*out = value;
	return 0;
}

int parse_seconds(const char *text, uint64_t *out)
{
	uint64_t unit = 1000000000;
	unsigned long long whole;
	uint64_t part = 0;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &end, 10);
	if (*end == '.' && isdigit((unsigned char)end[1]))
		for (end++; isdigit((unsigned char)*end); end++) {
			unit /= 10;
			part += unit * (uint64_t)(*end - '0');
		}
	if (*end)
		return -EINVAL;
	if (errno || __builtin_mul_overflow(whole, 1000000000ULL, &whole) ||
	    __builtin_add_overflow(whole, part, &whole))
		return -ERANGE;
	*out = whole;
	return 0;
}

struct size_text format_size(uint64_t bytes)
{
	static const char units[] = "BKMGTP";
	struct size_text out;
	unsigned int unit = 0;

	while (bytes && bytes % 1024 == 0 && units[unit + 1]) {
		bytes /= 1024;
		unit++;
	}
	snprintf(out.text, sizeof(out.text), "%llu%c",
		 (unsigned long long)bytes, units[unit]);
	return out;
}

size_t iov_length(const struct iovec *iov, unsigned int count)
{
	size_t len = 0;

	for (unsigned int i = 0; i < count; i++)
		len += iov[i].iov_len;
	return len;
}

bool iov_next(struct iov_walk *walk, struct iovec *part)
{
	while (walk->count && walk->len) {
		const struct iovec *iov = walk->iov++;
		size_t skip = MIN(walk->skip, iov->iov_len);
		size_t n = MIN(iov->iov_len - skip, walk->len);

		walk->count--;
		walk->skip -= skip;
		if (!n)
			continue;
		part->iov_base = (char *)iov->iov_base + skip;
		part->iov_len = n;
		walk->len -= n;
		return true;
	}
	return false;
}

static size_t iov_copy(const struct iovec *iov, unsigned int count,
		       size_t offset, char *flat, size_t len, bool to_flat)
{
	struct iov_walk walk = { iov, count, offset, len };
	size_t done = 0;
	struct iovec part;

	while (iov_next(&walk, &part)) {
		if (to_flat)
			memcpy(flat + done, part.iov_base, part.iov_len);
		else
			memcpy(part.iov_base, flat + done, part.iov_len);
		done += part.iov_len;
	}
	return done;
}

size_t iov_to_buf(const struct iovec *iov, unsigned int count, size_t offset,
		  void *buf, size_t len)
{
	return iov_copy(iov, count, offset, buf, len, true);
}

size_t iov_from_buf(const struct iovec *iov, unsigned int count, size_t offset,
		    const void *buf, size_t len)
{
	/* iov_copy() only reads from the flat side in this direction. */
	return iov_copy(iov, count, offset, (char *)buf, len, false);
}

unsigned int iov_slice(struct iovec *to, unsigned int max,
		       const struct iovec *from, unsigned int count,
		       size_t offset, size_t len)
{
	unsigned int used = 0;

	for (unsigned int i = 0; i < count && len && used < max; i++) {
		size_t n = from[i].iov_len;

		if (offset >= n) {
			offset -= n;
			continue;
		}
		n = MIN(n - offset, len);
		to[used++] = (struct iovec) {
			.iov_base = (char *)from[i].iov_base + offset,
			.iov_len = n,
		};
		offset = 0;
		len -= n;
	}
	return len ? 0 : used;
}

int thread_create(pthread_t *thread, void *(*run)(void *opaque), void *opaque)
{
	/* What a thread does to itself: handlers restore the terminal. */
	static const int own[] = { SIGABRT, SIGBUS,  SIGFPE, SIGILL,
				   SIGSEGV, SIGTRAP, SIGSYS };
	sigset_t others, before;
	pthread_attr_t attr;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return -err;
	pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	sigfillset(&others);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		sigdelset(&others, own[i]);
	pthread_sigmask(SIG_BLOCK, &others, &before);
	err = pthread_create(thread, &attr, run, opaque);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

void timer_arm(int fd, uint64_t ns)
{
	const struct itimerspec when = {
		.it_value = {
			.tv_sec = (time_t)(ns / 1000000000ULL),
			.tv_nsec = (long)(ns % 1000000000ULL),
		},
	};

	timerfd_settime(fd, 0, &when, NULL);
}

void stats_print(struct stats_sink *sink, const char *who, const char *what,
		 uint64_t count)
{
	fprintf(sink->opaque, "%-10s %-24s %12llu\n", who, what,
		(unsigned long long)count);
}

void spawn_attributes(posix_spawnattr_t *attr, int flags)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(attr);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	posix_spawnattr_setflags(attr, (short)(POSIX_SPAWN_SETSIGMASK |
					       POSIX_SPAWN_SETSIGDEF | flags));
}

int unnamed_file(const char *folder)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/lkvm-XXXXXX", folder);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

int claim_output_fd(const char *text)
{
	uint64_t number;
	int flags, fd;

	if (parse_uint(text, 0, INT32_MAX, &number))
		return -EINVAL;
	flags = fcntl((int)number, F_GETFL);
	if (flags < 0)
		return -errno;
	if ((flags & O_ACCMODE) == O_RDONLY)
		return -EACCES;
	fd = fcntl((int)number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (fd < 0)
		return -errno;
	/* The standard streams are for everybody. */
	if (number > STDERR_FILENO)
		fcntl((int)number, F_SETFD, FD_CLOEXEC);
	return fd;
}
