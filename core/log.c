/* SPDX-License-Identifier: GPL-2.0 */
/* Messages on stderr: see log.h. */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <lkvm/log.h>

/* Until a reader of stderr that does not read is taken for none. */
#define STUCK_MS 500

/* A property of the process, as stderr is: the one exception to rule 4. */
static _Atomic int log_level_now = LOG_LEVEL_WARNING;

void log_set_level(enum log_level level)
{
	atomic_store(&log_level_now, (int)level);
}

/* Nobody reads stderr; set while lines are lost. As log_level_now. */
static _Atomic bool log_stuck;

static bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load(&log_level_now);
}

/*
 * Who logs has other things to do, and a full pipe, or a terminal that was
 * stopped, may never have room: the first line waits for it for a while, later
 * ones do not.
 */
static bool log_has_room(void)
{
	struct pollfd room = { .fd = STDERR_FILENO, .events = POLLOUT };
	int timeout = atomic_load(&log_stuck) ? 0 : STUCK_MS;
	int ready;

	do {
		ready = poll(&room, 1, timeout);
	} while (ready < 0 && errno == EINTR);
	atomic_store(&log_stuck, !ready);
	return ready;
}

static void PRINTF_LIKE(4, 0)
	log_line(enum log_level level, const char *subsystem,
		 unsigned int dropped, const char *fmt, va_list args)
{
	const char *tag = level == LOG_LEVEL_WARNING ? "warning: " : "";
	int saved_errno = errno;
	char line[1024];
	size_t len;

	if (!log_enabled(level))
		return;
	if (level == LOG_LEVEL_DEBUG)
		len = (size_t)snprintf(line, sizeof(line),
				       "lkvm: debug: %s: ", subsystem);
	else
		len = (size_t)snprintf(line, sizeof(line), "lkvm: %s", tag);
	vsnprintf(line + len, sizeof(line) - len - 2, fmt, args);
	/* One line, whatever a file's name holds: no newline, no escapes. */
	for (; len < sizeof(line) - 3 && line[len]; len++)
		if (iscntrl((unsigned char)line[len]))
			line[len] = '?';
	if (dropped && len < sizeof(line) - 40)
		len += (size_t)snprintf(line + len, sizeof(line) - len,
					" (%u more like this dropped)",
					dropped);
	/* A raw terminal does not return the carriage by itself. */
	if (isatty(STDERR_FILENO))
		line[len++] = '\r';
	line[len++] = '\n';
	/* One write a line: threads do not mix their words. */
	if (log_has_room())
		(void)!write(STDERR_FILENO, line, len);
	errno = saved_errno;
}

#define LOG_FUNCTION(function, level)                              \
	void function(const char *subsystem, const char *fmt, ...) \
	{                                                          \
		va_list args;                                      \
                                                                   \
		va_start(args, fmt);                               \
		log_line(level, subsystem, 0, fmt, args);          \
		va_end(args);                                      \
	}

LOG_FUNCTION(log_err, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

bool ratelimit_ok(struct ratelimit *limit)
{
	uint64_t now = now_ns();
	uint64_t last = atomic_load(&limit->last_ns);

	if (now - last >= RATELIMIT_INTERVAL_NS &&
	    atomic_compare_exchange_strong(&limit->last_ns, &last, now)) {
		/* A first burst, then one line for each interval. */
		if (!last)
			atomic_store(&limit->tokens_used, 1);
		return true;
	}
	if (atomic_fetch_add(&limit->tokens_used, 1) < RATELIMIT_BURST)
		return true;
	atomic_store(&limit->tokens_used, RATELIMIT_BURST);
	atomic_fetch_add(&limit->dropped, 1);
	return false;
}

void log_warn_limited(struct ratelimit *limit, const char *subsystem,
		      const char *fmt, ...)
{
	va_list args;

	if (!ratelimit_ok(limit))
		return;
	va_start(args, fmt);
	log_line(LOG_LEVEL_WARNING, subsystem,
		 atomic_exchange(&limit->dropped, 0), fmt, args);
	va_end(args);
}
