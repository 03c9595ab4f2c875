/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What `lkvm run` adds to a machine so that a command can run in it: its root,
 * kernel modules, the init of guest/, and the records that this reads.
 */
#ifndef LKVM_RUN_GUEST_H
#define LKVM_RUN_GUEST_H

#include <lkvm/config.h>
#include <lkvm/modules.h>
#include <lkvm/rootfs.h>
#include <lkvm/run-options.h>

struct run_guest {
	struct modules *modules;
	struct module_list list;
	struct rootfs rootfs;
	struct device_request *devices; /* options' and rootfs's; owned */
	unsigned int nr_devices;
	/* Archives for the guest's initrd: modules, init. */
	int fds[2];
	unsigned int nr_fds;
};

/*
 * Let @options run a shell in the guest if they name no command, and nothing
 * else that could run: see lkvm-run(1). @kernel is the kernel's path.
 */
void run_guest_default(struct run_options *options, const char *kernel);

/*
 * Make what the command of @options, if any, needs on the kernel in the file
 * @kernel. Returns 0, or -errno after one line on stderr. run_guest_release()
 * follows in each case.
 */
int run_guest_prepare(struct run_guest *guest,
		      const struct run_options *options, const char *kernel);

/* Let @config have it; the devices too, in place of those of the options. */
void run_guest_apply(const struct run_guest *guest, struct vm_config *config);

void run_guest_release(struct run_guest *guest);

#endif
