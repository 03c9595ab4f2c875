/* SPDX-License-Identifier: GPL-2.0 */
/* Names of control sockets: see control-path.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/control-path.h>

static int fill(struct control_path *out, const char *folder, const char *sub,
		const char *name, const char *suffix)
{
	struct control_path made;
	int len = snprintf(made.text, sizeof(made.text), "%s%s%s%s", folder,
			   sub, name, suffix);

	if (len < 0 || (size_t)len >= sizeof(made.text))
		return -ENAMETOOLONG;
	*out = made;
	return 0;
}

int control_folder(struct control_path *out)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const char *home = getenv("HOME");

	if (runtime && *runtime == '/')
		return fill(out, runtime, "/lkvm", "", "");
	if (home && *home == '/')
		return fill(out, home, "/.lkvm", "", "");
	return -ENOENT;
}

static bool name_is_good(const char *name)
{
	if (!*name || *name == '.')
		return false;
	for (const char *at = name; *at; at++)
		if (*at == '/' || (unsigned char)*at < ' ' || *at == 0x7f)
			return false;
	return true;
}

int control_path(const char *name, struct control_path *out)
{
	struct control_path folder;
	int err;

	if (!name_is_good(name))
		return -EINVAL;
	err = control_folder(&folder);
	if (err)
		return err;
	return fill(out, folder.text, "/", name, CONTROL_SUFFIX);
}

int control_check_folder(const struct control_path *folder)
{
	struct stat st;

	if (lstat(folder->text, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* Whoever can write there can put his own socket in place of ours. */
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return -EPERM;
	return 0;
}

int control_make_folder(const struct control_path *folder)
{
	if (mkdir(folder->text, S_IRWXU) && errno != EEXIST)
		return -errno;
	return control_check_folder(folder);
}
