/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Read-only images of folders, for kernels that have no 9P: made by mkfs.erofs
 * or mksquashfs, and kept in the cache as long as no file of the folder
 * changes. And what file system is in an image that somebody else made.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/cache.h>
#include <lkvm/log.h>
#include <lkvm/rootfs.h>
#include <lkvm/util.h>

/* ---- what is in an image ------------------------------------------------- */

int rootfs_probe(const char *path, const char **type)
{
	static const struct {
		const char *type;
		off_t at;
		const char *magic;
		size_t len;
	} known[] = {
		{ "squashfs", 0, "hsqs", 4 },
		{ "xfs", 0, "XFSB", 4 },
		{ "erofs", 1024, "\xe2\xe1\xf5\xe0", 4 },
		{ "f2fs", 1024, "\x10\x20\xf5\xf2", 4 },
		{ "ext4", 1080, "\x53\xef", 2 }, /* also ext2 and ext3 */
		{ "iso9660", 32769, "CD001", 5 },
		{ "btrfs", 65600, "_BHRfS_M", 8 },
	};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char bytes[8];

	if (fd < 0)
		return -errno;
	*type = NULL;
	for (unsigned int i = 0; i < ARRAY_SIZE(known) && !*type; i++)
		if (!pread_full(fd, bytes, known[i].len, known[i].at) &&
		    !memcmp(bytes, known[i].magic, known[i].len))
			*type = known[i].type;
	close(fd);
	return 0;
}

/* ---- what comes into an image -------------------------------------------- */

struct tree {
	const char *dir;
	struct stat root;
	struct stat cache; /* where the image comes to, if it is known */
	struct cache_key key;
	uint64_t bytes;
	unsigned int nr_folders, nr_unreadable;
	/* Relative to dir; owned. */
	char *left_out[ROOTFS_MAX_LEFT_OUT];
	unsigned int nr_left_out;
};

static int leave_out(struct tree *tree, const char *path)
{
	const char *relative = path + strlen(tree->dir);

	if (tree->nr_left_out == ROOTFS_MAX_LEFT_OUT) {
		log_err("rootfs",
			"cannot make an image of %s: it has more than %u "
			"folders and files that cannot be read",
			tree->dir, ROOTFS_MAX_LEFT_OUT);
		return -E2BIG;
	}
	while (*relative == '/')
		relative++;
	tree->left_out[tree->nr_left_out] = strdup(relative);
	if (!tree->left_out[tree->nr_left_out])
		return -ENOMEM;
	tree->nr_left_out++;
	cache_key_add_text(&tree->key, relative);
	return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/*
 * Other file systems, such as /proc; images of ours, which change the cache's
 * folder; and of the host's root what is nobody's for long.
 */
static bool is_left_out(const struct tree *tree, const FTSENT *entry)
{
	static const char *const of_host[] = { "/dev", "/proc", "/run",
					       "/sys", "/tmp",	"/var/tmp" };

	if (entry->fts_statp->st_dev != tree->root.st_dev ||
	    same_file(entry->fts_statp, &tree->cache))
		return true;
	for (unsigned int i = 0; i < ARRAY_SIZE(of_host); i++)
		if (!strcmp(tree->dir, "/") &&
		    !strcmp(entry->fts_path, of_host[i]))
			return true;
	return false;
}

static int add_entry(struct tree *tree, FTS *fts, FTSENT *entry)
{
	const struct stat *st = entry->fts_statp;

	switch (entry->fts_info) {
	case FTS_DP:
		return 0;
	case FTS_D:
		if (is_left_out(tree, entry)) {
			tree->nr_folders++;
			fts_set(fts, entry, FTS_SKIP);
			return leave_out(tree, entry->fts_path);
		}
		break;
	case FTS_F:
		if (access(entry->fts_accpath, R_OK)) {
			tree->nr_unreadable++;
			return leave_out(tree, entry->fts_path);
		}
		tree->bytes += (uint64_t)st->st_size;
		break;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		tree->nr_unreadable++;
		return leave_out(tree, entry->fts_path);
	default:
		break;
	}
	cache_key_add_text(&tree->key, entry->fts_path);
	cache_key_add_stat(&tree->key, st);
	return 0;
}

static int too_large(const struct tree *tree)
{
	log_err("rootfs",
		"cannot make an image of %s: it has more than %s (name a "
		"smaller folder with --root, or take a kernel that has 9P: "
		"CONFIG_NET_9P_VIRTIO, CONFIG_9P_FS)",
		tree->dir, format_size(ROOTFS_IMAGE_MAX).text);
	return -EFBIG;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int look_at(struct tree *tree)
{
	char *const dirs[] = { (char *)tree->dir, NULL };
	FTS *fts = NULL;
	FTSENT *entry;
	int err = 0;

	cache_stat(&tree->cache);
	if (!stat(tree->dir, &tree->root))
		fts = fts_open(dirs, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV,
			       by_name);
	if (!fts) {
		err = -errno;
		log_err("rootfs", "cannot read %s: %s", tree->dir,
			strerror(-err));
		return err;
	}
	while (!err && (entry = fts_read(fts))) {
		err = add_entry(tree, fts, entry);
		if (!err && tree->bytes > ROOTFS_IMAGE_MAX)
			err = too_large(tree);
	}
	fts_close(fts);
	return err;
}

static void tree_release(struct tree *tree)
{
	for (unsigned int i = 0; i < tree->nr_left_out; i++)
		free(tree->left_out[i]);
	free(tree);
}

/* ---- making it ----------------------------------------------------------- */

/* Is the tool of @type installed, and where? Also in sbin. */
static bool find_tool(const char *type, char path[PATH_MAX])
{
	static const char *const folders[] = {
		"/usr/bin", "/usr/sbin",      "/bin",
		"/sbin",    "/usr/local/bin", "/usr/local/sbin"
	};
	const char *name = strcmp(type, "erofs") ? "mksquashfs" : "mkfs.erofs";

	for (unsigned int i = 0; i < ARRAY_SIZE(folders); i++) {
		snprintf(path, PATH_MAX, "%s/%s", folders[i], name);
		if (!access(path, X_OK))
			return true;
	}
	return false;
}

bool rootfs_image_possible(const char *type)
{
	char path[PATH_MAX];

	return find_tool(type, path);
}

/* What it says in the end, from @fd, in one line. */
static void tool_failed(const char *tool, const char *dir, int fd)
{
	char text[1024] = "";
	off_t end = lseek(fd, 0, SEEK_END);
	size_t len = (size_t)MIN(end, (off_t)sizeof(text) - 1);
	char *line;

	if (end < 0 || pread_full(fd, text, len, end - (off_t)len))
		len = 0;
	text[len] = '\0';
	while (len && strchr("\n ", text[len - 1]))
		text[--len] = '\0';
	line = strrchr(text, '\n');
	log_err("rootfs", "%s cannot make an image of %s: %s", tool, dir,
		line ? line + 1 : text);
}

/* posix_spawn(3) cannot let a child end with its parent. */
static void become_tool(char *const *argv, int words, pid_t parent)
{
	int nothing = open("/dev/null", O_RDONLY);
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	/* This process ignores some, and blocks others: see util.h. */
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 &&
	    dup2(words, STDOUT_FILENO) >= 0 && dup2(words, STDERR_FILENO) >= 0)
		execv(argv[0], argv);
	dprintf(words, "%s\n", strerror(errno));
	_exit(EXIT_FAILURE);
}

static int run_tool(char *const *argv, const char *dir)
{
	int words = memfd_create("words", MFD_CLOEXEC);
	pid_t pid, parent = getpid();
	int err = 0, status;

	if (words < 0) {
		err = errno;
		log_err("rootfs", "cannot run %s: %s", argv[0], strerror(err));
		return -err;
	}
	pid = fork();
	if (!pid)
		become_tool(argv, words, parent);
	if (pid < 0) {
		err = errno;
		log_err("rootfs", "cannot run %s: %s", argv[0], strerror(err));
	} else if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) ||
		   WEXITSTATUS(status)) {
		tool_failed(argv[0], dir, words);
		err = EIO;
	}
	close(words);
	return -err;
}

/*
 * Nothing is compressed: the image is made once and read many times, from the
 * page cache.
 */
static int make_image(const struct tree *tree, const char *type,
		      const char *target)
{
	char tool[PATH_MAX];
	char *argv[16 + ROOTFS_MAX_LEFT_OUT] = { tool };
	char *options[ROOTFS_MAX_LEFT_OUT] = { NULL };
	unsigned int n = 1, i;
	int err = find_tool(type, tool) ? 0 : -ENOENT;

	if (!strcmp(type, "erofs")) {
		for (i = 0; i < tree->nr_left_out && !err; i++) {
			if (asprintf(&options[i], "--exclude-path=%s",
				     tree->left_out[i]) < 0) {
				options[i] = NULL;
				err = -ENOMEM;
			}
			argv[n++] = options[i];
		}
		argv[n++] = (char *)target;
		argv[n++] = (char *)tree->dir;
	} else {
		argv[n++] = (char *)tree->dir;
		argv[n++] = (char *)target;
		argv[n++] = (char *)"-noappend";
		argv[n++] = (char *)"-no-progress";
		argv[n++] = (char *)"-noI";
		argv[n++] = (char *)"-noD";
		argv[n++] = (char *)"-noF";
		argv[n++] = (char *)"-noX";
		if (tree->nr_left_out)
			argv[n++] = (char *)"-e";
		for (i = 0; i < tree->nr_left_out; i++)
			argv[n++] = tree->left_out[i];
	}
	if (!err)
		err = run_tool(argv, tree->dir);
	for (i = 0; i < ARRAY_SIZE(options); i++)
		free(options[i]);
	return err;
}

static void announce(const struct tree *tree, const char *type)
{
	char left_out[128] = "";

	if (tree->nr_left_out)
		snprintf(left_out, sizeof(left_out),
			 ", without %u other file systems and temporary "
			 "folders, and %u parts that cannot be read",
			 tree->nr_folders, tree->nr_unreadable);
	log_warn("rootfs",
		 "the kernel has no 9P: making an %s image of %s (%llu MiB%s)",
		 type, tree->dir, (unsigned long long)(tree->bytes / MIB),
		 left_out);
}

static int new_image(const struct tree *tree, const char *type)
{
	struct cache_file file;
	int err = cache_begin("root", &tree->key, &file);

	if (err) {
		log_err("rootfs", "no place for an image of %s: %s", tree->dir,
			strerror(-err));
		return err;
	}
	announce(tree, type);
	err = make_image(tree, type, file.path);
	if (err) {
		cache_abandon(&file);
		return err;
	}
	return cache_done(&file);
}

int rootfs_image(const char *dir, const char *type, char **path)
{
	struct tree *tree = calloc(1, sizeof(*tree));
	int fd = -ENOMEM;

	if (tree) {
		tree->dir = dir;
		cache_key_init(&tree->key);
		cache_key_add_text(&tree->key, type);
		fd = look_at(tree);
	}
	if (!fd) {
		fd = cache_open("root", &tree->key);
		if (fd < 0)
			fd = new_image(tree, type);
	}
	/* The cache may drop its name before it is opened by that. */
	if (fd >= 0 && asprintf(path, "/proc/self/fd/%d", fd) < 0) {
		close(fd);
		fd = -ENOMEM;
	}
	if (fd == -ENOMEM)
		log_err("rootfs", "out of memory");
	if (tree)
		tree_release(tree);
	return fd;
}
