/* SPDX-License-Identifier: GPL-2.0 */
/* Unix stream sockets, as unix(7) has them. See unix-socket.h. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/unix-socket.h>

static int set_address(struct sockaddr_un *address, const char *path)
{
	size_t len = strlen(path);

	if (len > UNIX_PATH_MAX_BYTES)
		return -ENAMETOOLONG;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, len);
	return 0;
}

static int create_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

static int connect_to(const struct sockaddr_un *address)
{
	int fd = create_socket();
	int err;

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int unix_connect(const char *path)
{
	struct sockaddr_un address;
	int err = set_address(&address, path);

	return err ? err : connect_to(&address);
}

/* Remove a socket file whose owner has died. Returns 0 or -errno. */
static int remove_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = connect_to(address);
	if (fd >= 0)
		close(fd);
	/* Whatever other error there is, somebody holds the other end. */
	if (fd != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(address->sun_path) ? -errno : 0;
}

static int bind_to(int fd, const struct sockaddr_un *address)
{
	int err;

	/* Before bind(), this is the mode that the file is made with. */
	if (fchmod(fd, S_IRUSR | S_IWUSR))
		return -errno;
	if (!bind(fd, (const struct sockaddr *)address, sizeof(*address)))
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	err = remove_stale(address);
	if (err)
		return err;
	return bind(fd, (const struct sockaddr *)address, sizeof(*address)) ?
		       -errno :
		       0;
}

/*
 * Between bind() and listen() a socket looks as if its owner had died. So these
 * who look and make one take turns, where the folder is this user's alone (in
 * another, anybody could keep the lock). Returns a descriptor that holds the
 * turn, or -1.
 */
static int take_turn(const char *path)
{
	char copy[UNIX_PATH_MAX_BYTES + 1];
	struct stat st;
	int fd;

	memcpy(copy, path, strlen(path) + 1);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) || st.st_uid != geteuid() ||
	    st.st_mode & (S_IWGRP | S_IWOTH) || flock(fd, LOCK_EX)) {
		close(fd);
		return -1;
	}
	return fd;
}

int unix_listen(const char *path, int backlog, struct unix_listener *out)
{
	struct unix_listener listener;
	struct stat st;
	int err = set_address(&listener.address, path);
	int turn;

	if (err)
		return err;
	listener.fd = create_socket();
	if (listener.fd < 0)
		return listener.fd;
	turn = take_turn(path);
	err = bind_to(listener.fd, &listener.address);
	if (err)
		goto close_fd;
	if (lstat(path, &st) || listen(listener.fd, backlog)) {
		err = -errno;
		unlink(path);
		goto close_fd;
	}
	listener.dev = st.st_dev;
	listener.ino = st.st_ino;
	*out = listener;
	goto end_turn;

close_fd:
	close(listener.fd);
end_turn:
	if (turn >= 0)
		close(turn);
	return err;
}

void unix_listener_close(struct unix_listener *listener)
{
	const char *path = listener->address.sun_path;
	struct stat st;

	if (listener->fd < 0)
		return;
	if (!lstat(path, &st) && st.st_dev == listener->dev &&
	    st.st_ino == listener->ino)
		unlink(path);
	close(listener->fd);
	listener->fd = -1;
}
