/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The first process: the order of things, and how it ends. See init.h.
 */
#include <linux/reboot.h>
#include <signal.h>
#include <sys/stat.h>

#include "init.h"

/* ---- configuration ------------------------------------------------------- */

const char *config_find(const struct init *init, const char *key,
			const char *after)
{
	const char *end = init->config + init->config_len;
	const char *at = after ? after + strlen(after) + 1 : init->config;

	for (; at < end; at += strlen(at) + 1) {
		const char *value = text_after(at, key);

		if (value)
			return value;
	}
	return NULL;
}

static void read_config(struct init *init)
{
	int fd = sys_open(GUEST_CONFIG_PATH, O_RDONLY, 0);
	char *data = sys_alloc(GUEST_CONFIG_MAX + 1);
	long len = 0, n;

	if (fd < 0 || sys_is_error(data))
		init_fail(init, "cannot read", GUEST_CONFIG_PATH, fd, NULL);
	do {
		n = sys_read(fd, data + len, GUEST_CONFIG_MAX - (size_t)len);
		len += n;
	} while (n > 0);
	sys_close(fd);
	init->config = data;
	/* With the NUL that memory has behind it. */
	init->config_len = (size_t)len + 1;
	init->tty = config_find(init, "tty=", NULL) != NULL;
	init->mmio = config_find(init, "mmio=", NULL) != NULL;
}

/* ---- the host ------------------------------------------------------------ */

/* The port may have no room at the moment. */
static void write_all(int fd, const void *data, size_t len)
{
	struct pollfd room = { .fd = fd, .events = POLLOUT };

	while (len) {
		long n = sys_write(fd, data, len);

		if (n > 0) {
			data = (const char *)data + n;
			len -= (size_t)n;
		} else if (n == -EAGAIN) {
			sys(__NR_poll, &room, 1, -1, 0, 0);
		} else if (n != -EINTR) {
			return;
		}
	}
}

void init_send(struct init *init, enum guest_message_type type,
	       const void *data, size_t len)
{
	struct {
		struct guest_header header;
		char data[GUEST_MESSAGE_MAX];
	} message = { .header = { .type = type } };

	if (len > sizeof(message.data))
		len = sizeof(message.data);
	message.header.len = (uint32_t)len;
	memcpy(message.data, data, len);
	write_all(init->ports[PORT_CONTROL], &message,
		  sizeof(message.header) + len);
}

/* To the kernel's log, and the consoles that it has. */
static void say_on_console(const char *why)
{
	struct text line = { 0 };
	int fd = sys_open("/dev/kmsg", O_WRONLY, 0);

	/* <0>: whatever the log level is. */
	if (fd >= 0)
		text_add(&line, "<0>");
	text_add(&line, GUEST_CONSOLE_PREFIX);
	text_add(&line, why);
	text_add(&line, "\n");
	sys_write(fd >= 0 ? fd : 2, line.data, line.len);
}

void init_end(struct init *init)
{
	mounts_finish(init);
	/* Bytes may still be on their way: lkvm ends the machine. */
	while (init->host_listens)
		sys(__NR_pause, 0, 0, 0, 0, 0);
	sys(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
	    LINUX_REBOOT_CMD_POWER_OFF, 0, 0);
	sys_exit(1);
}

void init_fail(struct init *init, const char *what, const char *name, int err,
	       const char *hint)
{
	struct text why = { 0 };

	text_add(&why, what);
	if (name) {
		text_add(&why, " ");
		text_add(&why, name);
	}
	if (err) {
		text_add(&why, ": ");
		text_add_error(&why, err);
	}
	if (hint) {
		text_add(&why, " (");
		text_add(&why, hint);
		text_add(&why, ")");
	}
	if (init->host_listens)
		init_send(init, GUEST_FAILED, why.data, why.len);
	else
		say_on_console(why.data);
	init_end(init);
}

/* ---- modules ------------------------------------------------------------- */

static void load_module(struct init *init, const char *record)
{
	const char *parameters = record;
	struct text path = { 0 };
	int fd, err;

	text_add(&path, GUEST_MODULES "/");
	text_add(&path, record);
	parameters = text_cut(path.data, ' ');
	fd = sys_open(path.data, O_RDONLY, 0);
	err = fd < 0 ? fd :
		       (int)sys(__NR_finit_module, fd, parameters, 0, 0, 0);
	if (err == -ENOSYS)
		init_fail(init, "this kernel loads no modules", NULL, 0,
			  "CONFIG_MODULES");
	/* One for hardware that is not there says so; others are missed later. */
	if (err && err != -EEXIST && err != -ENODEV)
		init_fail(init, "cannot load the module", path.data, err,
			  err == -ENOEXEC ? "is it this kernel's?" : NULL);
	sys_close(fd);
}

static void load_modules(struct init *init)
{
	const char *record = NULL;

	while ((record = config_find(init, "module=", record)))
		load_module(init, record);
}

/* ---- the order of things ------------------------------------------------- */

/* What init waits for comes by a descriptor. */
static void take_signals(struct init *init)
{
	uint64_t children = 1UL << (SIGCHLD - 1);

	sys(__NR_rt_sigprocmask, SIG_BLOCK, &children, 0, 8, 0);
	init->signals = (int)sys(__NR_signalfd4, -1, &children, 8,
				 O_CLOEXEC | O_NONBLOCK, 0);
	if (init->signals < 0)
		init_fail(init, "cannot wait for processes", NULL,
			  init->signals, "CONFIG_SIGNALFD");
}

/* The kernel opens no console that it does not have. */
static void fill_standard_fds(void)
{
	int fd;

	do {
		fd = sys_open("/dev/null", O_RDWR, 0);
	} while (fd >= 0 && fd <= 2);
	sys_close(fd);
}

static void say_hello(struct init *init)
{
	const struct guest_hello hello = { .version = GUEST_PROTOCOL_VERSION };

	init->host_listens = true;
	init_send(init, GUEST_HELLO, &hello, sizeof(hello));
	for (int i = 0; i < PORT_COUNT; i++)
		sys_set_nonblock(init->ports[i]);
}

void __attribute__((noreturn)) init_main(void);

void init_main(void)
{
	struct init init = { .uevents = -1, .ports = { -1, -1, -1 } };
	struct command command;
	struct guest_size size;

	sys(__NR_umask, 022, 0, 0, 0, 0);
	read_config(&init);
	mount_kernel(&init);
	fill_standard_fds();
	take_signals(&init);
	uevents_open(&init);
	load_modules(&init);
	ports_open(&init);
	say_hello(&init);
	mount_root(&init);
	devices_without_driver(&init);
	net_up(&init);
	receive_start(&init, &size);
	command_start(&init, &size, &command);
	init_send(&init, GUEST_STARTED, "", 0);
	relay(&init, &command);
	init_end(&init);
}

__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	and $-16, %rsp\n"
	"	call init_main\n");
