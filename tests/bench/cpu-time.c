/* SPDX-License-Identifier: GPL-2.0 */
/*
 * CPU time (user and system, of all threads) from exec to the end of the
 * process, of several commands in turn: medians.
 *
 *   cpu-time ROUNDS COMMAND... [--- COMMAND...]...
 *
 * Prints one line a command: microseconds and the ratio to the last command.
 * The exit statuses of the commands are theirs; only a signal is an error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_COMMANDS 8
#define MAX_ROUNDS 1000

static long run_once(char **argv)
{
	struct rusage usage;
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (!freopen("/dev/null", "r", stdin) ||
		    !freopen("/dev/null", "w", stdout))
			_exit(127);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0 ||
	    !WIFEXITED(status) || WEXITSTATUS(status) == 127) {
		fprintf(stderr, "cpu-time: cannot run %s\n", argv[0]);
		exit(1);
	}
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000L +
	       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static int by_value(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static long times[MAX_COMMANDS][MAX_ROUNDS];
	char **command[MAX_COMMANDS];
	int rounds = argc > 2 ? atoi(argv[1]) : 0;
	int count = 0;
	double last;

	if (rounds < 1 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: cpu-time ROUNDS COMMAND [--- ...]\n");
		return 2;
	}
	command[count++] = argv + 2;
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "---"))
			continue;
		argv[i] = NULL;
		if (count < MAX_COMMANDS)
			command[count++] = argv + i + 1;
	}
	/* The first round warms the caches. */
	for (int round = -1; round < rounds; round++)
		for (int i = 0; i < count; i++) {
			long us = run_once(command[i]);

			if (round >= 0)
				times[i][round] = us;
		}
	for (int i = 0; i < count; i++)
		qsort(times[i], (size_t)rounds, sizeof(long), by_value);
	last = (double)times[count - 1][rounds / 2];
	for (int i = 0; i < count; i++)
		printf("%-40s %8ld us CPU %8.2f\n", command[i][0],
		       times[i][rounds / 2],
		       (double)times[i][rounds / 2] / last);
	return 0;
}
