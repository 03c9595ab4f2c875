/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm setup NAME: a folder that is a guest's root file system. Its files and
 * folders are its own; programs and libraries come from the host, read-only,
 * when it is used (builtin-sandbox.c). And which folder -d DIR|NAME means.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <lkvm/commands.h>
#include <lkvm/log.h>
#include <lkvm/options.h>
#include <lkvm/root-folder.h>
#include <lkvm/rootfs.h>
#include <lkvm/util.h>
#include <lkvm/vm.h>

int root_folder_path(const char *name, char **out)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";
	const char *home = getenv("HOME");
	size_t len = strlen(name);

	if (!len || len > 64 || strspn(name, allowed) != len ||
	    name[0] == '.' || name[0] == '-')
		return -EINVAL;
	if (!home || home[0] != '/')
		return -ENOENT;
	return asprintf(out, "%s/.lkvm/%s", home, name) < 0 ? -ENOMEM : 0;
}

bool root_folder_exists(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* For scandir(3): what may be one of setup's. */
static int is_name(const struct dirent *entry)
{
	char *path;
	int is = 0;

	if (!root_folder_path(entry->d_name, &path)) {
		is = root_folder_exists(path);
		free(path);
	}
	return is;
}

int root_folder_each(void (*found)(const char *name, void *opaque),
		     void *opaque)
{
	const char *home = getenv("HOME");
	struct dirent **names;
	char *path;
	int n, err = 0;

	if (!home)
		return -ENOENT;
	if (asprintf(&path, "%s/.lkvm", home) < 0)
		return -ENOMEM;
	n = scandir(path, &names, is_name, alphasort);
	if (n < 0)
		err = errno == ENOENT ? 0 : -errno;
	free(path);
	for (int i = 0; i < n; i++) {
		found(names[i]->d_name, opaque);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return err;
}

/* ---- the one that -d means ----------------------------------------------- */

static const struct option_desc folder_keys[] = {
	{ OPTION_STRING, 0, "dir", "DIR", "the folder",
	  .offset = offsetof(struct root_folder_options, path) },
	{ OPTION_FLAG, 0, "ro", NULL, "what the guest writes vanishes",
	  .offset = offsetof(struct root_folder_options, read_only) },
	{ .kind = OPTION_END },
};

static const char *const folder_positional[] = { "dir", NULL };

/* Does the first item of a disk's options mean a folder? Then it is *@out. */
static int find_folder(const char *value, char **out, bool *named)
{
	char *item = strdup(value);
	char *path = NULL;
	int err;

	*out = NULL;
	if (!item)
		return -ENOMEM;
	options_cut(item);
	if (root_folder_exists(item)) {
		*out = item;
		*named = false;
		return 0;
	}
	/* As kvmtool: before a file of this name. */
	err = root_folder_path(item, &path);
	free(item);
	if (!err && root_folder_exists(path)) {
		*out = path;
		*named = true;
		return 0;
	}
	free(path);
	return err == -ENOMEM ? err : 0;
}

int root_folder_take(struct root_folder_options *folder, const char *value)
{
	bool named;
	char *path;
	int err = find_folder(value, &path, &named);

	if (err || !path)
		return err;
	if (folder->found) {
		log_err("run", "--disk %s: the root is %s already", value,
			folder->found);
		free(path);
		return -EINVAL;
	}
	folder->found = path;
	folder->named = named;
	folder->text = strdup(value);
	if (!folder->text)
		return -ENOMEM;
	err = options_parse_list(folder_keys, folder_positional, "--disk",
				 folder->text, folder);
	return err ?: 1;
}

void root_folder_release(struct root_folder_options *folder)
{
	free(folder->found);
	free(folder->text);
	free(folder->script);
}

/* ---- below a folder in which others write -------------------------------- */

/* The folder that @path lies in, which is below @root; *@name is the rest. */
static int open_parent(int root, const char *path, const char **name)
{
	const struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	const char *slash = strrchr(path, '/');
	char *parent = slash ? strndup(path, (size_t)(slash - path)) :
			       strdup(".");
	int fd;

	if (!parent)
		return -ENOMEM;
	fd = (int)syscall(SYS_openat2, root, parent, &how, sizeof(how));
	if (fd < 0)
		fd = -errno;
	free(parent);
	*name = slash ? slash + 1 : path;
	return fd;
}

/* Whatever the umask is: /tmp is everybody's. */
static int set_mode(int parent, const char *name, mode_t mode)
{
	/* A guest may have put a link to a folder of the host's there. */
	int fd = openat(parent, name,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int err = fd < 0 || fchmod(fd, mode) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

static int make_folder(int root, const char *path, mode_t mode)
{
	const char *name;
	int parent = open_parent(root, path, &name);
	int err = 0;

	if (parent < 0)
		return parent;
	if (!mkdirat(parent, name, 0700))
		err = set_mode(parent, name, mode);
	else if (errno != EEXIST)
		err = -errno;
	close(parent);
	return err;
}

static int copy(int from, int to)
{
	char buffer[16384];
	ssize_t n;
	int err = 0;

	while (!err && (n = read(from, buffer, sizeof(buffer))) != 0)
		err = n < 0 ? -errno : write_full(to, buffer, (size_t)n);
	return err;
}

/*
 * A new file in @parent, with @text or, if that is NULL, what is in @from; it
 * takes the place of @name when it is complete.
 */
static int replace(int parent, const char *name, mode_t mode, int from,
		   const char *text)
{
	unsigned long long random;
	int fd, err;
	char *temp;

	/* Others may do the same now, and a guest must not be there first. */
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	if (asprintf(&temp, ".%s.%016llx", name, random) < 0)
		return -ENOMEM;
	fd = openat(parent, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		    0600);
	if (fd < 0) {
		err = -errno;
		goto out;
	}
	err = text ? write_full(fd, text, strlen(text)) : copy(from, fd);
	if (!err && (fchmod(fd, mode) || renameat(parent, temp, parent, name)))
		err = -errno;
	if (err)
		unlinkat(parent, temp, 0);
	close(fd);
out:
	free(temp);
	return err;
}

int root_folder_put(int root, const char *path, mode_t mode, int from)
{
	const char *name;
	int parent = open_parent(root, path, &name);
	int err;

	if (parent < 0)
		return parent;
	err = replace(parent, name, mode, from, NULL);
	close(parent);
	return err;
}

/* A small file, unless there is one. */
static int make_file(int root, const char *path, const char *text)
{
	const char *name;
	int parent = open_parent(root, path, &name);
	struct stat st;
	int err = 0;

	if (parent < 0)
		return parent;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW))
		err = errno == ENOENT ? replace(parent, name, 0644, -1, text) :
					-errno;
	close(parent);
	return err;
}

/* ---- what is in it ------------------------------------------------------- */

const char *const root_folder_host[] = {
	"/usr",	  "/bin",   "/sbin",   "/lib",
	"/lib32", "/lib64", "/libx32", "/etc/alternatives",
	NULL,
};
_Static_assert(ARRAY_SIZE(root_folder_host) == ROOTFS_MAX_HOST + 1,
	       "there is room for each of them");

/* One of the host's: a link as there, or a place for the folder. */
static int make_host(int root, const char *path)
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	const char *name;
	int parent, err = 0;

	if (len < 0)
		return root_folder_exists(path) ?
			       make_folder(root, path + 1, 0755) :
			       0;
	target[len] = '\0';
	parent = open_parent(root, path + 1, &name);
	if (parent < 0)
		return parent;
	if (symlinkat(target, parent, name) && errno != EEXIST)
		err = -errno;
	close(parent);
	return err;
}

static int fill(int root)
{
	static const struct {
		const char *path;
		mode_t mode;
	} folders[] = {
		{ "dev", 0755 },      { "etc", 0755 },	   { "home", 0755 },
		{ "mnt", 0755 },      { "proc", 0555 },	   { "root", 0700 },
		{ "run", 0755 },      { "sys", 0555 },	   { "tmp", 01777 },
		{ "var", 0755 },      { "var/lib", 0755 }, { "var/log", 0755 },
		{ "var/tmp", 01777 }, { "virt", 0755 },
	};
	static const struct {
		const char *path, *text;
	} files[] = {
		{ "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n" },
		{ "etc/group", "root:x:0:\n" },
		{ "etc/hosts", "127.0.0.1 localhost\n::1 localhost\n" },
		{ "etc/resolv.conf", "" },
	};
	int err = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(folders) && !err; i++)
		err = make_folder(root, folders[i].path, folders[i].mode);
	for (unsigned int i = 0; root_folder_host[i] && !err; i++)
		err = make_host(root, root_folder_host[i]);
	for (unsigned int i = 0; i < ARRAY_SIZE(files) && !err; i++)
		err = make_file(root, files[i].path, files[i].text);
	return err;
}

static int make_path(const char *path)
{
	char *parent = strdup(path);
	int err = parent ? 0 : -ENOMEM;

	if (!err) {
		*strrchr(parent, '/') = '\0';
		if (mkdir(parent, 0700) && errno != EEXIST)
			err = -errno;
	}
	free(parent);
	if (!err && mkdir(path, 0755) && errno != EEXIST)
		err = -errno;
	return err;
}

int root_folder_make(const char *path)
{
	int err = make_path(path);
	int root = -1;

	if (!err) {
		root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		err = root < 0 ? -errno : fill(root);
	}
	if (err)
		log_err("setup", "cannot set up %s: %s", path, strerror(-err));
	if (root >= 0)
		close(root);
	return err;
}

/* ---- the command --------------------------------------------------------- */

int command_setup(int argc, char **argv)
{
	char *path = NULL;
	int err;

	if (argc != 2) {
		log_err("setup",
			argc < 2 ? "setup needs a name" :
				   "setup takes one name, got '%s' too",
			argv[argc - 1]);
		return STATUS_LKVM_FAILED;
	}
	err = root_folder_path(argv[1], &path);
	if (err == -EINVAL)
		log_err("setup",
			"setup: bad name '%s': use at most 64 letters, digits, "
			"'.', '_' or '-', and begin with a letter, a digit or "
			"'_'",
			argv[1]);
	else if (err == -ENOENT)
		log_err("setup", "setup: $HOME is not set to a folder");
	else if (err)
		log_err("setup", "out of memory");
	else
		err = root_folder_make(path);
	if (!err)
		printf("%s\n", path);
	free(path);
	return err ? STATUS_LKVM_FAILED : STATUS_OK;
}
