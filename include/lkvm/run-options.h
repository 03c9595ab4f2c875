/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The options of `lkvm run`, for the commands that run a VM.
 */
#ifndef LKVM_RUN_OPTIONS_H
#define LKVM_RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/config.h>
#include <lkvm/device.h>
#include <lkvm/guest-command.h>
#include <lkvm/memory.h>
#include <lkvm/root-folder.h>
#include <lkvm/rootfs.h>
#include <lkvm/virtio.h>

struct run_options {
	const char *kernel;
	const char *initrd;
	const char *name;
	const char *kvm_path;
	const char *control; /* a path, "off", or NULL: by the name */
	const char *events;
	int events_fd; /* owned; -1: events is a file's name, or NULL */
	char *params; /* all -p, joined by blanks; owned */
	uint64_t ram_bytes; /* 0: default */
	uint64_t cpus; /* 0: default */
	int loglevel;
	int transport;
	int on_reset;
	int on_panic;
	struct pattern_list expect, fail; /* owned */
	uint64_t timeout_ns;
	uint64_t grace_ns;
	int console;
	struct virtio_console_options ports;
	bool console_packed;
	unsigned int ttys; /* as in struct vm_config */
	char *port_text[VIRTIO_MAX_PORTS]; /* owned; what ports points into */
	bool nodefaults;
	bool fdt;
	const char *dump_dtb;
	bool debug_exit;
	bool dry_run;
	bool json;
	bool stats;
	bool boot_timer;
	bool help;
	const char *modules; /* NULL: where the kernel's are */
	struct rootfs_options rootfs;
	char *root_text; /* owned; what rootfs points into */
	const char *sandbox; /* a script to run, or NULL */
	struct root_folder_options folder;
	struct memory_backing memory;
	bool thp;
	uint64_t node; /* NO_NODE: none */
	const char *pin_list;
	int *pins; /* owned; NULL: none */
	/* argv is the caller's to set before run_options_complete(). */
	struct guest_command_options command;
	char **env; /* owned; what command.env points to */
	char *shell[2]; /* command.argv, where the user names none */
	char *here; /* owned; command.try_cwd */
	const char *klog;
	struct device_request *devices; /* owned with their configs */
	unsigned int nr_devices;
};

/*
 * Parse @argv[1..] by the table run_options (commands.h) and set the log
 * level. *@rest is as *dashdash of options_parse(). Returns 0, or -EINVAL after
 * one line on stderr; run_options_release() follows in each case. Strings
 * point into @argv.
 */
int run_options_parse(struct run_options *options, int argc, char **argv,
		      int *rest);

/*
 * Check what only the whole command line can tell, and fill in defaults, the
 * devices that consoles and the default network need among them. Returns 0, or
 * -errno after one line on stderr.
 */
int run_options_complete(struct run_options *options);

/*
 * Ask for a device of @type. @config, of malloc(), is @options' then. Returns 0
 * or -ENOMEM.
 */
int run_options_add_device(struct run_options *options,
			   const struct device_type *type, void *config);

/* Does the user's command line set @key ("root=")? */
bool run_options_has_param(const struct run_options *options, const char *key);

void run_options_release(struct run_options *options);

#endif
