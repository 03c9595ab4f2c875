/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unix stream sockets by their names in the file system: listening on one
 * that nobody else uses, connecting without ever waiting.
 */
#ifndef LKVM_UNIX_SOCKET_H
#define LKVM_UNIX_SOCKET_H

#include <sys/types.h>
#include <sys/un.h>

/* The longest name, in bytes. */
#define UNIX_PATH_MAX_BYTES (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

struct unix_listener {
	int fd; /* non-blocking; -1: closed */
	struct sockaddr_un address;
	dev_t dev; /* of the file that was made */
	ino_t ino;
};

/*
 * Make a socket file at @path, for its owner only, and listen. A socket that
 * is there and that nobody listens on is replaced. Returns 0 or -errno:
 * -EADDRINUSE (somebody listens), -EEXIST (the file is no socket),
 * -ENAMETOOLONG.
 */
int unix_listen(const char *path, int backlog, struct unix_listener *out);

/* Stop listening, and remove the file unless it is another one by now. */
void unix_listener_close(struct unix_listener *listener);

/*
 * Connect to the socket at @path. Returns a non-blocking descriptor or
 * -errno; -EAGAIN when as many as the other side allows wait already.
 */
int unix_connect(const char *path);

#endif
