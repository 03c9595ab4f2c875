/* SPDX-License-Identifier: GPL-2.0 */
/*
 * net/tap-setup.c, as far as it needs no interface: addresses, scripts, and
 * what the host counts.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/net.h>
#include <lkvm/tap.h>
#include <lkvm/util.h>

static void addresses_are_parsed_with_their_bits(void **state)
{
	struct tap_address a;

	(void)state;
	assert_int_equal(tap_parse_address("10.1.2.3", &a), 0);
	assert_int_equal(ntohl(a.address.s_addr), 0x0a010203);
	assert_int_equal(ntohl(a.mask.s_addr), 0xffffff00);
	assert_int_equal(tap_parse_address("10.1.2.3/8", &a), 0);
	assert_int_equal(ntohl(a.mask.s_addr), 0xff000000);
	assert_int_equal(tap_parse_address("255.255.255.254/32", &a), 0);
	assert_int_equal(ntohl(a.mask.s_addr), 0xffffffff);
	assert_int_equal(tap_parse_address("1.2.3.4/1", &a), 0);
	assert_int_equal(ntohl(a.mask.s_addr), 0x80000000);
}

static void bad_addresses_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"/",
		"/24",
		"1.2.3",
		"1.2.3.4.5",
		"1.2.3.256",
		"1.2.3.4/",
		"1.2.3.4/0",
		"1.2.3.4/33",
		"1.2.3.4/-1",
		"1.2.3.4/8x",
		"1.2.3.4//8",
		" 1.2.3.4",
		"::1",
		"0.0.0.0",
		"host",
		"1111111111111111111111111111111111111111111111111111/8",
	};
	struct tap_address a = { .mask.s_addr = 7 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(tap_parse_address(bad[i], &a), -EINVAL);
	assert_int_equal(a.mask.s_addr, 7);
}

/* ---- scripts, in a folder of their own ----------------------------------- */

static int enter_folder(void **state)
{
	char *path = strdup("/tmp/lkvm-tap-XXXXXX");

	assert_non_null(path);
	assert_non_null(mkdtemp(path));
	assert_int_equal(chdir(path), 0);
	log_set_level(LOG_LEVEL_ERROR);
	*state = path;
	return 0;
}

static int leave_folder(void **state)
{
	static const char *const files[] = { "script", "told" };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlink(files[i]);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(*state), 0);
	free(*state);
	return 0;
}

static void write_script(const char *body)
{
	FILE *file = fopen("script", "we");

	assert_non_null(file);
	fprintf(file, "#!/bin/sh\n%s\n", body);
	assert_int_equal(fchmod(fileno(file), 0755), 0);
	fclose(file);
}

static void a_script_gets_the_name_and_three_descriptors(void **state)
{
	char told[256] = "";
	/* One that would be inherited. */
	int fd = dup(STDERR_FILENO);
	FILE *file;

	(void)state;
	assert_true(fd > STDERR_FILENO);
	write_script("{ echo \"$# $1\"; readlink /proc/$$/fd/0\n"
		     "ls /proc/self/fd | wc -l; } >told");
	assert_int_equal(tap_run_script("./script", "tap7"), 0);
	close(fd);
	file = fopen("told", "re");
	assert_non_null(file);
	assert_true(fread(told, 1, sizeof(told) - 1, file) > 0);
	fclose(file);
	/* ls has its three, and the folder that it reads. */
	assert_string_equal(told, "1 tap7\n/dev/null\n4\n");
}

static void what_a_script_ends_with_is_told(void **state)
{
	(void)state;
	assert_int_equal(tap_run_script("./script", "tap7"), -ENOENT);
	write_script("exit 3");
	assert_int_equal(tap_run_script("./script", "tap7"), -EIO);
	write_script("kill -9 $$");
	assert_int_equal(tap_run_script("./script", "tap7"), -EIO);
	assert_int_equal(chmod("script", 0644), 0);
	assert_int_equal(tap_run_script("./script", "tap7"), -EACCES);
}

static void interfaces_are_found_by_their_whole_name(void **state)
{
	struct net_counts in = { .frames = 77 }, out;
	unsigned int mtu = 0;

	(void)state;
	assert_int_equal(tap_count("l", &in, &out), -ENODEV);
	assert_int_equal(tap_count("", &in, &out), -ENODEV);
	assert_int_equal(in.frames, 77);
	assert_int_equal(tap_count("lo", &in, &out), 0);
	assert_int_equal(in.bytes, out.bytes);
	assert_int_equal(tap_ask("lo", &mtu, NULL), 0);
	assert_true(mtu >= 1280);
	assert_true(tap_ask("nosuch0", &mtu, NULL) < 0);
}

static void on_link(void *opaque, bool up)
{
	unsigned int *downs = opaque;

	assert_false(up);
	++*downs;
}

static void on_tick(void *opaque, uint32_t events)
{
	(void)events;
	loop_stop(opaque);
}

/* As a driver that resets its device and starts it again. */
static void attach_once(struct net_backend *backend, struct loop *loop)
{
	struct loop_source tick = {
		.fd = eventfd(1, EFD_CLOEXEC),
		.ready = on_tick,
		.opaque = loop,
	};

	assert_int_equal(backend->ops->attach(backend, 0, loop), 0);
	assert_int_equal(loop_add(loop, &tick, EPOLLIN), 0);
	assert_int_equal(loop_run(loop), 0);
	backend->ops->detach(backend, 0);
	loop_del(loop, &tick);
	close(tick.fd);
}

/* Removing it takes a privilege, and ip(8). */
static void an_interface_that_has_gone_is_told_once(void **state)
{
	static const struct net_frontend_ops frontend = { .link = on_link };
	struct ifreq req = {
		.ifr_name = "lkvmgone%d",
		.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
	};
	struct net_options options = { .mode = NET_MODE_TAP, .pairs = 1 };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct net_backend *backend;
	unsigned int downs = 0;
	struct loop *loop;
	char command[64];

	(void)state;
	if (fd < 0 || ioctl(fd, TUNSETIFF, &req))
		skip();
	options.fd = (uint64_t)fd;
	assert_int_equal(net_tap_create(&options, "net0", &backend), 0);
	backend->frontend = &frontend;
	backend->opaque = &downs;
	assert_int_equal(loop_create(&loop), 0);
	attach_once(backend, loop);
	assert_int_equal(downs, 0);
	snprintf(command, sizeof(command), "ip link delete %s", req.ifr_name);
	if (!system(command)) {
		attach_once(backend, loop);
		attach_once(backend, loop);
		assert_int_equal(downs, 1);
	}
	backend->ops->destroy(backend);
	loop_destroy(loop);
}

#define SCRIPT_TEST(name) \
	cmocka_unit_test_setup_teardown(name, enter_folder, leave_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_parsed_with_their_bits),
		cmocka_unit_test(bad_addresses_are_refused),
		SCRIPT_TEST(a_script_gets_the_name_and_three_descriptors),
		SCRIPT_TEST(what_a_script_ends_with_is_told),
		cmocka_unit_test(interfaces_are_found_by_their_whole_name),
		cmocka_unit_test(an_interface_that_has_gone_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
