/* SPDX-License-Identifier: GPL-2.0 */
/* The host's interface behind a tap: see tap.h; netdevice(7). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/tap.h>
#include <lkvm/util.h>

#define DEFAULT_BITS 24

int tap_parse_address(const char *text, struct tap_address *out)
{
	const char *slash = strchr(text, '/');
	uint64_t bits = DEFAULT_BITS;
	char address[INET_ADDRSTRLEN];
	struct in_addr parsed;
	int len = slash ? (int)(slash - text) : (int)strlen(text);

	if (len >= (int)sizeof(address))
		return -EINVAL;
	snprintf(address, sizeof(address), "%.*s", len, text);
	if (inet_pton(AF_INET, address, &parsed) != 1 || !parsed.s_addr ||
	    (slash && parse_uint(slash + 1, 1, 32, &bits)))
		return -EINVAL;
	out->address = parsed;
	out->mask.s_addr = htonl(UINT32_MAX << (32 - bits));
	return 0;
}

static struct ifreq request(const char *name)
{
	struct ifreq req = { 0 };

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	return req;
}

static int set_address(int fd, struct ifreq *req, unsigned long what,
		       struct in_addr address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = address };

	memcpy(&req->ifr_addr, &in, sizeof(in));
	return ioctl(fd, what, req);
}

static int raise_flags(int fd, struct ifreq *req)
{
	if (ioctl(fd, SIOCGIFFLAGS, req))
		return -1;
	req->ifr_flags |= IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, req);
}

int tap_set_up(const char *name, unsigned int mtu,
	       const struct tap_address *address, bool up)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = request(name);
	const char *what = NULL;
	int err;

	if (fd < 0) {
		what = "ask for";
		goto out;
	}
	req.ifr_mtu = (int)mtu;
	if (mtu && ioctl(fd, SIOCSIFMTU, &req))
		what = "set the MTU of";
	else if (address &&
		 (set_address(fd, &req, SIOCSIFADDR, address->address) ||
		  set_address(fd, &req, SIOCSIFNETMASK, address->mask)))
		what = "set the address of";
	else if (up && raise_flags(fd, &req))
		what = "bring up";
out:
	err = what ? -errno : 0;
	if (what)
		log_err("net", "cannot %s interface %s: %s", what, name,
			strerror(errno));
	if (fd >= 0)
		close(fd);
	return err;
}

int tap_ask(const char *name, unsigned int *mtu, bool *up)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = request(name);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCGIFFLAGS, &req))
		err = -errno;
	else if (up)
		*up = req.ifr_flags & IFF_UP;
	if (!err && ioctl(fd, SIOCGIFMTU, &req))
		err = -errno;
	else if (!err && mtu)
		*mtu = (unsigned int)req.ifr_mtu;
	close(fd);
	return err;
}

int tap_count(const char *name, struct net_counts *in, struct net_counts *out)
{
	/* proc(5); in the network that this process is in. */
	FILE *file = fopen("/proc/self/net/dev", "re");
	size_t len = strlen(name);
	struct net_counts from, to;
	char line[512];
	int err = -ENODEV;

	if (!file)
		return -errno;
	while (err && fgets(line, sizeof(line), file)) {
		const char *at = line + strspn(line, " ");

		if (strncmp(at, name, len) != 0 || at[len] != ':')
			continue;
		if (sscanf(at + len + 1,
			   "%" SCNu64 " %" SCNu64 " %*u %" SCNu64
			   " %*u %*u %*u %*u %" SCNu64 " %" SCNu64
			   " %*u %" SCNu64,
			   &from.bytes, &from.frames, &from.drops, &to.bytes,
			   &to.frames, &to.drops) != 6)
			break;
		*in = from;
		*out = to;
		err = 0;
	}
	fclose(file);
	return err;
}

/* ---- scripts ------------------------------------------------------------- */

static int spawn(const char *script, const char *name, pid_t *pid)
{
	char *const argv[] = { (char *)script, (char *)name, NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int err;

	spawn_attributes(&attr, 0);
	posix_spawn_file_actions_init(&files);
	err = posix_spawn_file_actions_addopen(&files, STDIN_FILENO,
					       "/dev/null", O_RDONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&files, STDERR_FILENO,
						       STDOUT_FILENO);
	if (!err)
		err = posix_spawn_file_actions_addclosefrom_np(
			&files, STDERR_FILENO + 1);
	if (!err)
		err = posix_spawn(pid, script, &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return -err;
}

int tap_run_script(const char *script, const char *name)
{
	int status = 0;
	pid_t pid = -1;
	int err = spawn(script, name, &pid);

	if (err) {
		log_err("net", "cannot run script %s: %s", script,
			strerror(-err));
		return err;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFSIGNALED(status)) {
		log_err("net", "script %s was killed by signal %d", script,
			WTERMSIG(status));
		return -EIO;
	}
	if (WEXITSTATUS(status)) {
		log_err("net", "script %s failed with status %d", script,
			WEXITSTATUS(status));
		return -EIO;
	}
	return 0;
}
