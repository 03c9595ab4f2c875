/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm sandbox [OPTIONS] -- COMMAND, and what a run makes of -d DIR|NAME and
 * --sandbox SCRIPT: a command in a guest whose root is a folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/root-folder.h>
#include <lkvm/run-options.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

/*
 * What is a folder of its own on the host is shared; links are as there. They
 * come before the user's, which may lie in them.
 */
static void add_host(struct rootfs_options *rootfs)
{
	struct rootfs_share shares[ARRAY_SIZE(rootfs->shares)];
	unsigned int n = 0;
	struct stat st;

	for (unsigned int i = 0; root_folder_host[i]; i++) {
		if (lstat(root_folder_host[i], &st) || !S_ISDIR(st.st_mode))
			continue;
		shares[n++] = (struct rootfs_share) {
			.path = root_folder_host[i],
		};
	}
	memcpy(&shares[n], rootfs->shares, rootfs->nr_shares * sizeof(*shares));
	n += rootfs->nr_shares;
	memcpy(rootfs->shares, shares, n * sizeof(*shares));
	rootfs->nr_shares = n;
}

/* By whatever name. */
static bool is_host_root(const char *path)
{
	struct stat st, root;

	return stat(path, &st) || stat("/", &root) ||
	       (st.st_dev == root.st_dev && st.st_ino == root.st_ino);
}

/* The kernel mounts the folder itself, and runs what it finds there. */
static int add_boot_share(struct run_options *options)
{
	struct virtio_9p_options *config;
	int err;

	if (!options->folder.read_only && is_host_root(options->folder.found)) {
		log_err("run",
			"--disk %s: the host's own root is never writable in a "
			"guest (add \",ro\")",
			options->folder.path);
		return -EPERM;
	}
	config = malloc(sizeof(*config));
	if (!config)
		return -ENOMEM;
	memcpy(config, virtio_9p_type.defaults, sizeof(*config));
	config->path = options->folder.found;
	config->tag = ROOT_FOLDER_TAG;
	config->read_only = options->folder.read_only;
	err = run_options_add_device(options, &virtio_9p_type, config);
	if (err)
		free(config);
	return err;
}

/* --sandbox: the script is in the root folder, or where it is on the host. */
static int complete_script(struct run_options *options)
{
	struct root_folder_options *folder = &options->folder;
	struct stat st;

	if (options->command.argv) {
		log_err("run", "--sandbox: there is a command already ('%s')",
			options->command.argv[0]);
		return -EINVAL;
	}
	folder->script = realpath(options->sandbox, NULL);
	if (!folder->script || stat(folder->script, &st)) {
		int err = -errno;

		log_err("run", "--sandbox: cannot open %s: %s",
			options->sandbox, strerror(-err));
		return err;
	}
	if (!S_ISREG(st.st_mode)) {
		log_err("run", "--sandbox: %s is not a regular file",
			options->sandbox);
		return -EINVAL;
	}
	folder->argv[0] = folder->found && !folder->read_only ?
				  (char *)ROOT_FOLDER_SCRIPT :
				  folder->script;
	options->command.argv = folder->argv;
	return 0;
}

static bool lies_in(const char *path, const char *dir)
{
	char *real = realpath(dir, NULL);
	size_t len = real ? strlen(real) : 0;
	bool does = real && !strncmp(path, real, len) && path[len] == '/';

	free(real);
	return does;
}

/* Where nothing is copied; what is in an image is not known here. */
static int check_script(const struct run_options *options)
{
	const struct rootfs_options *rootfs = &options->rootfs;
	const char *script = options->folder.script;
	char *there;
	bool found;

	if (options->folder.argv[0] != script || !rootfs->root.path ||
	    !root_folder_exists(rootfs->root.path))
		return 0;
	if (asprintf(&there, "%s%s", rootfs->root.path, script) < 0)
		return -ENOMEM;
	found = !access(there, F_OK);
	free(there);
	for (unsigned int i = 0; i < rootfs->nr_shares && !found; i++)
		found = lies_in(script, rootfs->shares[i].path);
	if (found)
		return 0;
	log_err("run",
		"--sandbox: %s is not in the guest, whose root is %s (add its "
		"folder with --ro)",
		script, rootfs->root.path);
	return -ENOENT;
}

static int take_default(struct run_options *options)
{
	struct root_folder_options *folder = &options->folder;
	int err = root_folder_path(ROOT_FOLDER_DEFAULT, &folder->found);

	if (err) {
		log_err("run", "sandbox: $HOME is not set to a folder (name "
			       "one with --disk DIR)");
		return err;
	}
	folder->named = true;
	folder->make = true;
	return 0;
}

int root_folder_complete(struct run_options *options, bool sandbox)
{
	struct root_folder_options *folder = &options->folder;
	int err = 0;

	if (folder->found && options->rootfs.root.path) {
		log_err("run", "--disk %s and --root %s: there is one root",
			folder->found, options->rootfs.root.path);
		return -EINVAL;
	}
	if (sandbox && !options->command.argv && !options->sandbox) {
		log_err("run", "sandbox: there is no command (add -- COMMAND, "
			       "or --sandbox SCRIPT)");
		return -EINVAL;
	}
	/* As kvmtool's users expect it, who look for crashes there. */
	if (sandbox && !options->klog)
		options->klog = "fd:2";
	if (sandbox && !folder->found && !options->rootfs.root.path)
		err = take_default(options);
	if (!err && options->sandbox)
		err = complete_script(options);
	if (err)
		return err;
	if (folder->found && !options->command.argv && !folder->named)
		return add_boot_share(options);
	if (folder->found) {
		/* What has a root and no command gets a shell. */
		options->rootfs.root.path = folder->found;
		options->rootfs.root.writable = !folder->read_only;
		options->rootfs.root.made = folder->make;
		if (folder->named)
			add_host(&options->rootfs);
	}
	return folder->script ? check_script(options) : 0;
}

/* The guest may run already, and look at the old one. */
static int put_script(const struct root_folder_options *folder)
{
	int from = open(folder->script, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int root = open(folder->found, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int err = from < 0 || root < 0 ? -errno : 0;

	if (!err && mkdirat(root, "virt", 0755) && errno != EEXIST)
		err = -errno;
	if (!err)
		err = root_folder_put(root, &ROOT_FOLDER_SCRIPT[1], 0755, from);
	if (err)
		log_err("run", "cannot put %s into %s: %s", folder->script,
			folder->found, strerror(-err));
	if (from >= 0)
		close(from);
	if (root >= 0)
		close(root);
	return err;
}

int root_folder_prepare(const struct run_options *options)
{
	const struct root_folder_options *folder = &options->folder;
	int err = 0;

	if (options->dry_run)
		return 0;
	if (folder->make)
		err = root_folder_make(folder->found);
	if (!err && folder->script && folder->argv[0] != folder->script)
		err = put_script(folder);
	return err;
}
