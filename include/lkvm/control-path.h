/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the control sockets of the user's VMs lie: NAME.sock in
 * $XDG_RUNTIME_DIR/lkvm, or in $HOME/.lkvm where that is not set. A VM without
 * a name is guest-PID.
 */
#ifndef LKVM_CONTROL_PATH_H
#define LKVM_CONTROL_PATH_H

#include <stdbool.h>

#include <lkvm/unix-socket.h>

#define CONTROL_SUFFIX ".sock"

/* A path of the longest that a socket can have, with its end. */
struct control_path {
	char text[UNIX_PATH_MAX_BYTES + 1];
};

/*
 * The folder, whether it exists or not. Returns 0, -ENOENT (neither variable
 * is an absolute path) or -ENAMETOOLONG.
 */
int control_folder(struct control_path *out);

/*
 * The socket of the VM called @name. Returns as control_folder(), or -EINVAL:
 * no VM can have that name (it is empty, begins with a dot, or has a slash or
 * a control character).
 */
int control_path(const char *name, struct control_path *out);

/*
 * The folder must be the user's own, and nobody else's to write to: who could
 * put a socket there would stand in for a VM. Returns 0 or -errno (-EPERM: it
 * is not, -ENOENT: there is none).
 */
int control_check_folder(const struct control_path *folder);

/* Make the folder, for its owner only, or check the one that is there. */
int control_make_folder(const struct control_path *folder);

#endif
