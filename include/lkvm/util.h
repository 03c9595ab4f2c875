/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Small helpers that every layer uses: arithmetic on sizes, whole reads and
 * writes, parsing of numbers. Nothing here keeps state; all of it may be
 * called from any thread.
 */
#ifndef LKVM_UTIL_H
#define LKVM_UTIL_H

#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/uio.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))

/* The structure whose member @member is at @ptr. */
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr)-offsetof(type, member)))

#define KIB (1ULL << 10)
#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* @align is a power of two. align_up() wraps to 0 when it overflows. */
static inline uint64_t align_down(uint64_t value, uint64_t align)
{
	return value & ~(align - 1);
}

static inline uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

static inline bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

/*
 * Read exactly @len bytes at @offset of @fd, however many calls it takes.
 * Returns 0, -errno, or -ENODATA when the file ends first.
 */
int pread_full(int fd, void *buf, size_t len, off_t offset);

/* Write exactly @len bytes to @fd (blocking). Returns 0 or -errno. */
int write_full(int fd, const void *buf, size_t len);

/*
 * Parse a whole unsigned number (decimal, 0x, 0 octal) in [@min, @max].
 * Returns 0, -EINVAL (not a number), or -ERANGE. @out is set only on success.
 */
int parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *out);

/*
 * Parse a size: digits with an optional suffix B, K, M, G, T or P (powers of
 * 1024, either case); without one the number counts units of @unit bytes.
 * Returns 0, -EINVAL, or -ERANGE when it does not fit 64 bits.
 */
int parse_size(const char *text, uint64_t unit, uint64_t *out);

/*
 * Parse a number of seconds, "10" or "0.25", to nanoseconds. Returns 0, -EINVAL,
 * or -ERANGE when it does not fit 64 bits; digits below a nanosecond are cut.
 */
int parse_seconds(const char *text, uint64_t *out);

/*
 * Write @bytes as a user would type it: "64M", "5G", "1000B" (the largest
 * unit that divides it).
 */
struct size_text {
	char text[24];
};
struct size_text format_size(uint64_t bytes);

/* Total length of @iov. The caller has bounded the sum below SIZE_MAX. */
size_t iov_length(const struct iovec *iov, unsigned int count);

/* What is left of a walk over bytes [@skip, @skip + @len) of a vector. */
struct iov_walk {
	const struct iovec *iov;
	unsigned int count;
	size_t skip, len;
};

/* The next piece, never empty. False after the last, or the vector's end. */
bool iov_next(struct iov_walk *walk, struct iovec *part);

/*
 * Copy between a flat buffer and bytes [@offset, @offset + @len) of @iov.
 * Returns the bytes copied: less than @len when the vector ends first.
 */
size_t iov_to_buf(const struct iovec *iov, unsigned int count, size_t offset,
		  void *buf, size_t len);
size_t iov_from_buf(const struct iovec *iov, unsigned int count, size_t offset,
		    const void *buf, size_t len);

/*
 * Bytes [@offset, @offset + @len) of @from as elements of @to, of which there
 * are @max. Returns the number used, or 0 when these do not suffice, or @from
 * ends first.
 */
unsigned int iov_slice(struct iovec *to, unsigned int max,
		       const struct iovec *from, unsigned int count,
		       size_t offset, size_t len);

/*
 * Where the host gives huge pages to whoever has room for one, the first byte
 * of a larger stack may cost 2 MiB. The deepest user is jansson, of a value
 * that is nested as deep as it reads.
 */
#define THREAD_STACK_BYTES MIB

/*
 * pthread_create() of a thread that takes none of the signals that are sent to
 * the process: they are the main thread's. Its stack is small. Returns 0 or
 * -errno.
 */
int thread_create(pthread_t *thread, void *(*run)(void *opaque), void *opaque);

/* Monotonic time in nanoseconds. */
uint64_t now_ns(void);

/* Let the timerfd @fd (CLOCK_MONOTONIC) run out once, @ns (not 0) from now. */
void timer_arm(int fd, uint64_t ns);

/*
 * Add to a counter that only one thread writes, and any may read: no locked
 * instruction on a data path.
 */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(
		counter,
		atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

/*
 * Attributes for posix_spawn(3) with which a child's signals are as a program
 * expects them: this process ignores some, and blocks those that it waits for.
 * @flags (POSIX_SPAWN_*) are added. posix_spawnattr_destroy() undoes it.
 */
void spawn_attributes(posix_spawnattr_t *attr, int flags);

/*
 * An empty file in @folder that has no name: it is gone when it is closed.
 * Returns its file descriptor, the caller's, or -errno.
 */
int unnamed_file(const char *folder);

/*
 * A descriptor of our own for the open, writable file that has the number
 * @text. Neither it nor that number is inherited by children. Returns it or
 * -errno (-EINVAL: no number; -EBADF: not open; -EACCES: not for writing).
 */
int claim_output_fd(const char *text);

#endif
