/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel modules for a guest: where those of a kernel's version are, which of
 * them a VM needs, what these need in turn (modules.dep(5), modules.softdep,
 * modules.builtin), and an archive of them for the guest's initrd.
 *
 * The files are other people's: lines that make no sense are passed over,
 * modules that need each other are loaded in some order.
 */
#ifndef LKVM_MODULES_H
#define LKVM_MODULES_H

#include <stdbool.h>
#include <stddef.h>

/* Modules of one archive, and bytes of all of them unpacked. */
#define MODULES_MAX 256
#define MODULES_MAX_BYTES (256 * 1024 * 1024)

struct modules;

enum module_state {
	MODULE_BUILT_IN,
	MODULE_FILE,
	MODULE_MISSING, /* the kernel's list has no such module */
	MODULE_UNKNOWN, /* there is no list: it may be built in */
};

/*
 * The modules of the kernel in the file @kernel, whose version is @version
 * (arch_kernel_version()). They are looked for in @dir (--modules), which is
 * a folder of modules or holds one called @version; or when @dir is NULL in
 *   lib/modules/VERSION beside the kernel, and one folder above it,
 *   the build tree that the kernel lies in (modules_install has been run with
 *   INSTALL_MOD_PATH= the tree's top; without that only what is built in is
 *   known),
 *   /lib/modules/VERSION.
 * None of them is no error: then all are MODULE_UNKNOWN. Returns 0 with *@out,
 * which modules_close() frees, or -errno after one line on stderr.
 */
int modules_open(const char *kernel, const char *version, const char *dir,
		 struct modules **out);
void modules_close(struct modules *modules);

/* The folder that was found, or NULL. */
const char *modules_folder(const struct modules *modules);

/* "-" and "_" are one in module names. */
enum module_state modules_find(const struct modules *modules, const char *name);

/* What to load: names of files below INITRD_MODULES, in the order of loading.
 */
struct module_list {
	char **names; /* "virtio_ring.ko" */
	unsigned int count;
};

void module_list_release(struct module_list *list);

/*
 * An archive with @names, as far as they are MODULE_FILE, and what they need.
 * It comes from a cache where it can. Sets @list, and *@fd to the archive,
 * or to -1 when it would be empty; both are the caller's. Returns 0, or -errno
 * after one line on stderr.
 */
int modules_pack(const struct modules *modules, const char *const *names,
		 unsigned int count, struct module_list *list, int *fd);

#endif
