/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtual machines come and go in one process, each with a control socket and
 * a client, and nothing of them stays: no file descriptor, no thread, no
 * mapping, no file.
 */
#include "harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define CYCLES 200

/* builtin-help.c wants one. */
const struct command commands[] = { { .name = NULL } };

static char folder[] = "/tmp/lkvm-cycles-XXXXXX";
static char path[sizeof(folder) + 16];

static unsigned int count_entries(const char *name)
{
	DIR *dir = opendir(name);
	unsigned int count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static unsigned int count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned int count = 0;
	int c;

	assert_non_null(maps);
	while ((c = fgetc(maps)) != EOF)
		count += c == '\n';
	fclose(maps);
	return count;
}

/* Let the VM run for a moment, pause it, and end it. */
static void *talk(void *opaque)
{
	struct client c = {
		.name = path,
		.limit_ns = CLIENT_LIMIT_NS,
		.fd = -1,
		.pidfd = -1,
	};
	int *err = opaque;

	*err = client_connect(&c);
	if (!*err)
		*err = client_execute(&c, "stop", NULL, NULL);
	if (!*err)
		*err = client_execute(&c, "x-lkvm-stats", NULL, NULL);
	if (!*err)
		*err = client_execute(&c, "quit", NULL, NULL);
	client_disconnect(&c);
	if (c.pidfd >= 0)
		close(c.pidfd);
	return NULL;
}

static void run_cycle(struct device_request *devices, unsigned int count)
{
	pthread_t thread;
	struct guest g;
	int err;

	guest_init(&g, "idle");
	g.config.control = path;
	g.config.devices = devices;
	g.config.nr_devices = count;
	guest_create(&g);
	assert_int_equal(pthread_create(&thread, NULL, talk, &err), 0);
	assert_int_equal(vm_run(g.vm), 0);
	pthread_join(thread, NULL);
	assert_int_equal(err, 0);
	guest_destroy(&g);
}

static void two_hundred_machines_leave_nothing_in_the_process(void **state)
{
	struct device_request devices[] = {
		{ &virtio_rng_type, (void *)virtio_rng_type.defaults },
		{ &virtio_balloon_type, (void *)virtio_balloon_type.defaults },
	};
	unsigned int fds = 0, tasks = 0, mappings = 0;
	struct capture console;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/vm.sock", folder);
	capture_begin(&console, STDOUT_FILENO);
	for (unsigned int i = 0; i < CYCLES; i++) {
		run_cycle(devices, ARRAY_SIZE(devices));
		/* The first ones warm up caches: of stacks, of the heap. */
		if (i == CYCLES / 10) {
			fds = count_entries("/proc/self/fd");
			tasks = count_entries("/proc/self/task");
			mappings = count_mappings();
		}
	}
	free(capture_end(&console));
	/* The capture's own two have gone. */
	assert_int_equal(count_entries("/proc/self/fd"), fds - 2);
	assert_int_equal(count_entries("/proc/self/task"), tasks);
	/* The heap may grow a little; one that each leaves is more. */
	assert_in_range(count_mappings(), 0, mappings + CYCLES / 4);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(two_hundred_machines_leave_nothing_in_the_process),
	};

	return cmocka_run_group_tests_name("cycles", tests, NULL, NULL);
}
