/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Messages for the person at the terminal, on stderr, one write(2) a line.
 *
 * The level is a property of the process like stderr itself, so it is the one
 * setting that does not hang off struct vm. All functions may be called from
 * any thread.
 */
#ifndef LKVM_LOG_H
#define LKVM_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/util.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* Lines above @level are dropped. The default is LOG_LEVEL_WARNING. */
void log_set_level(enum log_level level);

/*
 * One line; @fmt has no newline. Errors read "lkvm: ...", warnings
 * "lkvm: warning: ..."; @subsystem is shown at debug level only.
 * errno is preserved.
 */
void log_err(const char *subsystem, const char *fmt, ...) PRINTF_LIKE(2, 3);
void log_warn(const char *subsystem, const char *fmt, ...) PRINTF_LIKE(2, 3);
void log_info(const char *subsystem, const char *fmt, ...) PRINTF_LIKE(2, 3);
void log_debug(const char *subsystem, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * A budget for lines that a guest can cause: RATELIMIT_BURST of them, then
 * one each RATELIMIT_INTERVAL_NS, with a count of those that were dropped.
 * Lives in the device it speaks of; zero-initialised is ready for use.
 */
#define RATELIMIT_BURST 5
#define RATELIMIT_INTERVAL_NS 5000000000ULL

struct ratelimit {
	_Atomic uint64_t last_ns;
	_Atomic uint32_t tokens_used;
	_Atomic uint32_t dropped;
};

/* May a line be printed now? Counts the refusal when not. */
bool ratelimit_ok(struct ratelimit *limit);

/* As log_warn(), within @limit's budget. */
void log_warn_limited(struct ratelimit *limit, const char *subsystem,
		      const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
