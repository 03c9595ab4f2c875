/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Opening what a host end is made of: see stream.h for the forms. What is left
 * of an lkvm that was killed (a socket, a link) does not stand in the way of
 * the next one; what belongs to somebody else does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <lkvm/stream-open.h>
#include <lkvm/util.h>

/* Says "@who: cannot @what @path: error", and returns -errno. */
static int failed(const struct stream *s, const char *what, const char *path)
{
	int err = errno;

	log_err("stream", "%s: cannot %s %s: %s", s->who, what, path,
		strerror(err));
	return -err;
}

static int open_path(const struct stream *s, const char *path, int flags,
		     int *out)
{
	/* A FIFO is not waited for, and a terminal not made ours. */
	int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);

	if (fd < 0)
		return failed(s, "open", path);
	*out = fd;
	return 0;
}

static int open_file(struct stream *s, const char *path)
{
	return open_path(s, path, O_WRONLY | O_CREAT | O_TRUNC, &s->out_fd);
}

/*
 * Opened for both ways, so that it does not end, nor break, when whoever is at
 * the other end goes and another one comes.
 */
static int open_fifo(struct stream *s, const char *path, const char *suffix,
		     int *out)
{
	struct stat st;
	char *name;
	int err;

	if (asprintf(&name, "%s%s", path, suffix) < 0)
		return -ENOMEM;
	err = open_path(s, name, O_RDWR, out);
	if (!err && (fstat(*out, &st) || !S_ISFIFO(st.st_mode))) {
		log_err("stream", "%s: %s is not a named pipe (see mkfifo(1))",
			s->who, name);
		err = -EINVAL;
	}
	free(name);
	return err;
}

static int open_pipe(struct stream *s, const char *path)
{
	int err = open_fifo(s, path, ".in", &s->in_fd);

	return err ? err : open_fifo(s, path, ".out", &s->out_fd);
}

/* Let the symbolic link @path name @target. */
static int make_link(struct stream *s, const char *path, const char *target)
{
	static const char pts[] = "/dev/pts/";
	char old[64];
	ssize_t len = readlink(path, old, sizeof(old));

	/* One that an earlier lkvm left; nothing else is touched. */
	if (len >= (ssize_t)strlen(pts) && !strncmp(old, pts, strlen(pts)))
		unlink(path);
	if (symlink(target, path))
		return failed(s, "make the link", path);
	s->path = strdup(path);
	return s->path ? 0 : -ENOMEM;
}

/*
 * Bytes pass as they are. The other side is held open: the mode stays, and
 * what was written waits for the next reader.
 */
static int open_pty(struct stream *s, const char *link)
{
	struct termios mode;
	char name[64];
	int err;

	s->in_fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	s->out_fd = s->in_fd;
	if (s->in_fd < 0 || unlockpt(s->in_fd) ||
	    ptsname_r(s->in_fd, name, sizeof(name)))
		return failed(s, "make", "a pseudo-terminal");
	err = open_path(s, name, O_RDWR, &s->slave_fd);
	if (err)
		return err;
	if (tcgetattr(s->slave_fd, &mode))
		return failed(s, "set the mode of", name);
	cfmakeraw(&mode);
	if (tcsetattr(s->slave_fd, TCSANOW, &mode))
		return failed(s, "set the mode of", name);
	if (*link)
		err = make_link(s, link, name);
	if (!err)
		fprintf(stderr, "lkvm: %s is %s\n", s->who, name);
	return err;
}

/* Is @address a socket, with nobody there? */
static bool is_stale(const struct sockaddr_un *address)
{
	struct stat st;
	bool stale;
	int fd;

	/* A connection to any other file is refused as well. */
	if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	stale = connect(fd, (const struct sockaddr *)address,
			sizeof(*address)) &&
		errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int bind_socket(int fd, const struct sockaddr_un *address)
{
	const struct sockaddr *generic = (const struct sockaddr *)address;

	if (!bind(fd, generic, sizeof(*address)))
		return 0;
	if (errno != EADDRINUSE)
		return -1;
	if (!is_stale(address)) {
		errno = EADDRINUSE;
		return -1;
	}
	unlink(address->sun_path);
	return bind(fd, generic, sizeof(*address));
}

static int open_socket(struct stream *s, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		log_err("stream",
			"%s: the socket's name %s is longer than %zu bytes",
			s->who, path, sizeof(address.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	s->listen_source.fd = fd;
	/* Its owner's alone: other users are not trusted. */
	if (fd < 0 || fchmod(fd, 0600) || bind_socket(fd, &address))
		return failed(s, "make the socket", path);
	s->path = strdup(path);
	if (!s->path)
		return -ENOMEM;
	if (listen(fd, 1))
		return failed(s, "listen at", path);
	s->listens = true;
	return 0;
}

static int open_null(struct stream *s, const char *path)
{
	(void)path;
	return open_path(s, "/dev/null", O_WRONLY, &s->out_fd);
}

/*
 * Opened anew where that can be, so that nobody else's writes become
 * non-blocking, nor end up in ours. A socket cannot be; a file would have an
 * offset of its own, and what is stdout's and stderr's would overwrite each
 * other.
 */
static int open_fd(struct stream *s, const char *number)
{
	struct stat st = { 0 };
	char path[32];
	uint64_t fd;

	if (parse_uint(number, 0, INT32_MAX, &fd)) {
		log_err("stream", "%s: bad value 'fd:%s': use a whole number",
			s->who, number);
		return -EINVAL;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", (int)fd);
	if (fstat((int)fd, &st) || !S_ISREG(st.st_mode))
		s->out_fd = open(path,
				 O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (s->out_fd < 0) {
		int flags = fcntl((int)fd, F_GETFL);

		if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY)
			errno = EBADF;
		else
			s->out_fd = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);
	}
	return s->out_fd < 0 ? failed(s, "use", path) : 0;
}

enum argument { ARGUMENT_NONE, ARGUMENT_MAY, ARGUMENT_MUST };

static const struct kind {
	const char *name;
	enum argument argument;
	bool output_only;
	int (*open)(struct stream *s, const char *argument);
} kinds[] = {
	{ "file", ARGUMENT_MUST, true, open_file },
	{ "fd", ARGUMENT_MUST, true, open_fd },
	{ "pipe", ARGUMENT_MUST, false, open_pipe },
	{ "pty", ARGUMENT_MAY, false, open_pty },
	{ "unix", ARGUMENT_MUST, false, open_socket },
	{ "null", ARGUMENT_NONE, true, open_null },
};

/* The kind that @to begins with, and what stands behind its colon. */
static const struct kind *find_kind(const char *to, const char **argument)
{
	size_t len = strcspn(to, ":");

	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *kind = &kinds[i];

		if (strlen(kind->name) != len ||
		    strncmp(to, kind->name, len) != 0)
			continue;
		*argument = to[len] ? to + len + 1 : "";
		if (kind->argument == ARGUMENT_MUST && !**argument)
			return NULL;
		/* Nor is a colon with nothing behind it an argument. */
		if (to[len] && (kind->argument == ARGUMENT_NONE || !**argument))
			return NULL;
		return kind;
	}
	return NULL;
}

static int open_ends(struct stream *s, const char *to, const char *from)
{
	const char *argument;
	const struct kind *kind = find_kind(to, &argument);
	int err;

	if (!kind) {
		log_err("stream",
			"%s: bad value '%s': use file:PATH, fd:N, pipe:PATH, "
			"pty, pty:LINK, unix:PATH, stdio or null",
			s->who, to);
		return -EINVAL;
	}
	if (from && !kind->output_only) {
		log_err("stream",
			"%s: input comes from %s, and cannot come from %s",
			s->who, to, from);
		return -EINVAL;
	}
	err = kind->open(s, argument);
	if (!err && from)
		err = open_path(s, from, O_RDONLY, &s->in_fd);
	s->connected = !s->listens;
	s->chardev.connected = s->connected;
	return err;
}

int stream_open(const char *who, const char *to, const char *from,
		struct stream **out)
{
	struct stream *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	snprintf(s->who, sizeof(s->who), "%s", who);
	s->in_fd = -1;
	s->out_fd = -1;
	s->slave_fd = -1;
	s->listen_source.fd = -1;
	stream_init(s);
	s->wake_source.fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	err = s->wake_source.fd < 0 ? failed(s, "make", "a timer") :
				      open_ends(s, to, from);
	if (err) {
		stream_close(s);
		return err;
	}
	s->in_source.fd = s->in_fd;
	s->out_source.fd = s->out_fd;
	*out = s;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void stream_close(struct stream *s)
{
	if (!s)
		return;
	if (s->path)
		unlink(s->path);
	free(s->path);
	if (s->out_fd != s->in_fd)
		close_fd(s->out_fd);
	close_fd(s->in_fd);
	close_fd(s->slave_fd);
	close_fd(s->listen_source.fd);
	close_fd(s->wake_source.fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
