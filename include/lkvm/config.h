/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the user asked for: the one product of option parsing, the one input
 * of vm_create(). All pointers are borrowed.
 */
#ifndef LKVM_CONFIG_H
#define LKVM_CONFIG_H

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/arch.h>
#include <lkvm/device.h>
#include <lkvm/memory.h>

/* What happens when the guest resets itself. */
enum on_reset { ON_RESET_EXIT, ON_RESET_RESET, ON_RESET_FAIL };

/* What happens when its kernel panics. */
enum on_panic { ON_PANIC_EXIT, ON_PANIC_PAUSE, ON_PANIC_RESET };

/* Regular expressions, for the console's lines. */
struct pattern {
	const char *text;
	regex_t regex; /* extended, without subexpressions */
};

struct pattern_list {
	struct pattern *pattern;
	unsigned int count;
};

/* What lkvm's own standard streams are connected to. */
enum console { CONSOLE_SERIAL, CONSOLE_VIRTIO, CONSOLE_PORT };

struct guest_command_options;

struct vm_config {
	const char *name;
	const char *kvm_path; /* --dev */
	const char *control; /* where the control socket is; NULL: none */
	const char *control_folder; /* is made for it; NULL: it is there */
	const char *events; /* --events: FILE or fd:N; NULL: none */
	int events_fd; /* for the latter; -1: none */
	const char *kernel;
	const char *initrd; /* the user's; NULL: none */
	/* What lkvm itself adds behind it. */
	struct boot_file own_initrds[BOOT_MAX_INITRDS - 1];
	unsigned int nr_own_initrds;
	const char *cmdline; /* see struct boot_config, as the next two */
	bool add_devices;
	bool fdt;
	const char *dump_dtb; /* file to write the device tree to, or NULL */
	uint64_t ram_bytes;
	struct memory_backing memory;
	unsigned int cpus;
	/* The host's CPU for each of them, -1: any; NULL: any for all. */
	const int *pins;
	enum on_reset on_reset;
	enum on_panic on_panic;
	struct pattern_list expect, fail;
	uint64_t timeout_ns; /* 0: none */
	uint64_t grace_ns; /* for a guest that shall power off; 0: none */
	enum console console;
	/* It has the standard streams, and the console goes to ... */
	const struct guest_command_options *command; /* NULL: none */
	const char *klog; /* ... this file, or fd:N; NULL: nowhere */
	unsigned int ttys; /* bit N: serial port N is a pseudo-terminal */
	bool debug_exit;
	bool stats;
	bool boot_timer;
	uint64_t start_ns; /* now_ns() when the command began */
	const struct virtio_transport *virtio_transport;
	/* The user's devices, in the order given. */
	const struct device_request *devices;
	unsigned int nr_devices;
};

#endif
