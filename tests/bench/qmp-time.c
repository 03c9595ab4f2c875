/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The time from a QMP command to its reply, of several servers in turn:
 *
 *	qmp-time ROUNDS SOCKET...
 *
 * Prints the median of each in microseconds, and how it compares with the last.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_SERVERS 4

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Send @text, if any, and read up to the end of a line. */
static void converse(int fd, const char *text)
{
	char buf[65536];
	ssize_t got;

	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die("write");
	do {
		got = read(fd, buf, sizeof(buf));
		if (got <= 0)
			die("read");
	} while (buf[got - 1] != '\n');
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die(path);
	converse(fd, "");
	converse(fd, "{\"execute\": \"qmp_capabilities\"}\n");
	return fd;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	size_t rounds = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
	int servers = argc - 2;
	int fd[MAX_SERVERS];
	uint64_t *ns[MAX_SERVERS];
	double last;

	if (!rounds || servers < 1 || servers > MAX_SERVERS)
		return 2;
	for (int i = 0; i < servers; i++) {
		fd[i] = connect_to(argv[i + 2]);
		ns[i] = calloc(rounds, sizeof(*ns[i]));
		if (!ns[i])
			die("calloc");
	}
	for (size_t round = 0; round < rounds; round++)
		for (int i = 0; i < servers; i++) {
			uint64_t start = now();

			converse(fd[i], "{\"execute\": \"query-status\"}\n");
			ns[i][round] = now() - start;
		}
	for (int i = 0; i < servers; i++)
		qsort(ns[i], rounds, sizeof(*ns[i]), compare);
	last = (double)ns[servers - 1][rounds / 2];
	for (int i = 0; i < servers; i++) {
		double median = (double)ns[i][rounds / 2];
		const char *name = strrchr(argv[i + 2], '/');

		printf("%-8s median %7.1f us  p99 %7.1f us  x %.2f\n",
		       name ? name + 1 : argv[i + 2], median / 1e3,
		       (double)ns[i][rounds * 99 / 100] / 1e3, median / last);
	}
	return 0;
}
