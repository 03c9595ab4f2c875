/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Folders that are a guest's root file system: those of `lkvm setup NAME`,
 * which are $HOME/.lkvm/NAME, and any that `-d DIR` names. What runs in such a
 * guest writes to the folder, so nothing in there is trusted: no link in it is
 * followed.
 */
#ifndef LKVM_ROOT_FOLDER_H
#define LKVM_ROOT_FOLDER_H

#include <stdbool.h>
#include <sys/types.h>

struct run_options;

/* Of a run: what -d DIR|NAME and --sandbox make of it. */
struct root_folder_options {
	char *found; /* its path; owned; NULL: there is none */
	bool named; /* one of setup's: its programs are the host's */
	bool make; /* it need not be there yet */
	char *script; /* of --sandbox; owned; NULL: none */
	char *argv[2]; /* the command then */
	/* As the user says: */
	const char *path;
	bool read_only;
	char *text; /* owned; what path points into */
};

/* The one that sandbox takes when nothing else is said. */
#define ROOT_FOLDER_DEFAULT "default"

/* Where a guest has the script of --sandbox, if its root is a folder. */
#define ROOT_FOLDER_SCRIPT "/virt/sandbox.sh"

/* The tag by which the kernel itself mounts it: kvmtool's. */
#define ROOT_FOLDER_TAG "/dev/root"

/*
 * The path of the folder @name, which need not exist. Returns 0 with *@out, the
 * caller's to free(), -EINVAL (no name of a folder), -ENOENT (no $HOME) or
 * -ENOMEM. Says nothing.
 */
int root_folder_path(const char *name, char **out);

/* Is there a folder at @path? */
bool root_folder_exists(const char *path);

/*
 * Call @found with the name of each of setup's, in their order. Returns 0, also
 * when there are none, or -errno. Says nothing.
 */
int root_folder_each(void (*found)(const char *name, void *opaque),
		     void *opaque);

/*
 * Make the folder @path, or what lacks of it; what is there stays. Its
 * programs will be the host's, by root_folder_complete(). Returns 0, or -errno
 * after one line on stderr.
 */
int root_folder_make(const char *path);

/*
 * Put a copy of the file @from, at its offset, to @path below the folder that
 * is @root, and let it take the place of what is there when it is complete.
 * Returns 0 or -errno. Says nothing.
 */
int root_folder_put(int root, const char *path, mode_t mode, int from);

/*
 * Folders that a root of setup's has from the host, where the host has them
 * and they are no links; NULL-ended.
 */
extern const char *const root_folder_host[];

/*
 * If @value, of --disk, means a folder: take it for the root. Returns 1 if so,
 * 0 if it is an image's, or -errno after one line on stderr.
 */
int root_folder_take(struct root_folder_options *folder, const char *value);

void root_folder_release(struct root_folder_options *folder);

/*
 * What -d DIR|NAME, --sandbox and, with @sandbox, the command of that name
 * make of @options: root, folders of the host, and the command. Makes nothing.
 * Returns 0, or -errno after one line on stderr. Before the rest of
 * run_options_complete().
 */
int root_folder_complete(struct run_options *options, bool sandbox);

/*
 * The run is about to begin: make the folder if it is the default one, and put
 * the script there. Returns 0, or -errno after one line on stderr.
 */
int root_folder_prepare(const struct run_options *options);

#endif
