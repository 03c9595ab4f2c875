/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The command: its environment, its streams and its start.
 */
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "init.h"

#define DEFAULT_PATH \
	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Pointers of arguments or environment, NULL-ended. */
#define MAX_STRINGS 65536

struct start {
	char **argv, **envp;
	struct user user;
	int fds[3]; /* the command's */
	int report; /* a pipe that exec closes; or it says what failed */
};

/* What the child says when it does not become the command. */
struct failure {
	const char *what;
	const char *name;
	int err;
};

/* ---- environment --------------------------------------------------------- */

static char **collect(struct init *init, const char *key, unsigned int *count)
{
	char **strings = sys_alloc(MAX_STRINGS * sizeof(*strings));
	const char *value = NULL;

	if (sys_is_error(strings))
		init_fail(init, "no memory for", key, -ENOMEM, NULL);
	/* Room for five defaults and the end. */
	while (*count < MAX_STRINGS - 6 &&
	       (value = config_find(init, key, value)))
		strings[(*count)++] = (char *)value;
	return strings;
}

/* NAME= of the environment, or NULL; the last one wins. */
static const char *environment(char **envp, const char *name)
{
	const char *value = NULL;

	for (; *envp; envp++)
		if (text_after(*envp, name))
			value = text_after(*envp, name);
	return value;
}

/* @text is the caller's, and stays. */
static void add_default(char **envp, unsigned int *count, struct text *text,
			const char *name, const char *value)
{
	if (!value || environment(envp, name))
		return;
	text_add(text, name);
	text_add(text, value);
	envp[(*count)++] = text->data;
}

/* ---- the child ----------------------------------------------------------- */

static void __attribute__((noreturn))
give_up(const struct start *start, const char *what, const char *name, int err)
{
	const struct failure failure = { what, name, err };

	/* The strings are at the same addresses in the parent. */
	sys_write(start->report, &failure, sizeof(failure));
	sys_exit(127);
}

static void become(const struct start *start)
{
	const struct user *user = &start->user;
	int err = (int)sys(__NR_setgroups, user->nr_groups, user->groups, 0, 0,
			   0);

	/* CONFIG_MULTIUSER=n: everybody is root. */
	if (err == -ENOSYS && !user->uid && !user->gid)
		return;
	if (!err)
		err = (int)sys(__NR_setgid, user->gid, 0, 0, 0, 0);
	if (!err)
		err = (int)sys(__NR_setuid, user->uid, 0, 0, 0, 0);
	if (err)
		give_up(start, "--user: cannot become", user->name, err);
}

static void enter_folder(struct init *init, const struct start *start)
{
	const char *cwd = config_find(init, "cwd=", NULL);
	int err = 0;

	if (cwd)
		err = (int)sys(__NR_chdir, cwd, 0, 0, 0, 0);
	if (err)
		give_up(start, "--cwd: cannot enter", cwd, err);
	if (cwd)
		return;
	cwd = config_find(init, "try-cwd=", NULL);
	if (cwd)
		sys(__NR_chdir, cwd, 0, 0, 0, 0);
}

static int execute(const struct start *start, const char *path)
{
	return (int)sys(__NR_execve, path, start->argv, start->envp, 0, 0);
}

/* As execvp(3) does; returns why it could not. */
static int find_and_execute(const struct start *start)
{
	const char *name = start->argv[0];
	const char *at = environment(start->envp, "PATH=");
	int worst = -ENOENT;

	if (text_find((char *)name, '/'))
		return execute(start, name);
	while (at && *name) {
		struct text path = { 0 };
		const char *end = text_find((char *)at, ':');
		int err;

		text_add(&path, at);
		if (end)
			path.len = (size_t)(end - at);
		path.data[path.len] = '\0';
		text_add(&path, path.len ? "/" : "./");
		text_add(&path, name);
		err = execute(start, path.data);
		if (err != -ENOENT && err != -ENOTDIR)
			worst = err;
		at = end ? end + 1 : NULL;
	}
	return worst;
}

static void __attribute__((noreturn))
child(struct init *init, const struct start *start)
{
	uint64_t none = 0;

	sys(__NR_setsid, 0, 0, 0, 0, 0);
	/* All of them are above 2. */
	for (int i = 0; i < 3; i++)
		sys_dup2(start->fds[i], i);
	if (init->tty)
		sys_ioctl(0, TIOCSCTTY, NULL);
	sys(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, 8, 0);
	enter_folder(init, start);
	become(start);
	give_up(start, "cannot run", start->argv[0], find_and_execute(start));
}

/* ---- streams ------------------------------------------------------------- */

static void keep(struct init *init, int err)
{
	if (err < 0)
		init_fail(init, "no pipes for the command", NULL, err, NULL);
}

static void make_pipes(struct init *init, struct start *start,
		       struct command *command)
{
	int fds[2] = { -1, -1 };

	keep(init, sys_pipe(fds));
	start->fds[0] = fds[0];
	command->in = fds[1];
	keep(init, sys_pipe(fds));
	start->fds[1] = fds[1];
	command->out = fds[0];
	keep(init, sys_pipe(fds));
	start->fds[2] = fds[1];
	command->err = fds[0];
	sys_set_nonblock(command->in);
	sys_set_nonblock(command->out);
	sys_set_nonblock(command->err);
}

static void make_terminal(struct init *init, const struct guest_size *size,
			  struct start *start, struct command *command)
{
	int master = sys_open("/dev/ptmx", O_RDWR | O_NOCTTY, 0);
	const int unlocked = 0;
	int slave;

	if (master < 0)
		init_fail(init, "cannot make a terminal", NULL, master,
			  "CONFIG_UNIX98_PTYS");
	sys_ioctl(master, TIOCSPTLCK, &unlocked);
	slave = sys_ioctl(master, TIOCGPTPEER,
			  (void *)(long)(O_RDWR | O_NOCTTY | O_CLOEXEC));
	if (slave < 0)
		init_fail(init, "cannot open the terminal", NULL, slave,
			  "Linux 4.13 or later");
	sys_set_nonblock(master);
	for (int i = 0; i < 3; i++)
		start->fds[i] = slave;
	command->in = (int)sys(__NR_fcntl, master, F_DUPFD_CLOEXEC, 0, 0, 0);
	command->out = master;
	command->err = -1;
	command_resize(command, size);
}

void command_resize(const struct command *command,
		    const struct guest_size *size)
{
	struct winsize window = { .ws_row = size->rows,
				  .ws_col = size->columns };

	sys_ioctl(command->out, TIOCSWINSZ, &window);
}

/* ---- start --------------------------------------------------------------- */

/* The shells' statuses: 127 for what is not there, 126 for all else. */
static void __attribute__((noreturn))
report_failure(struct init *init, const struct failure *failure)
{
	struct guest_exit end = { .status = failure->err == -ENOENT ? 127 :
								      126 };
	struct text why = { 0 };

	if (!text_is(failure->what, "cannot run"))
		init_fail(init, failure->what, failure->name, failure->err,
			  NULL);
	text_add(&why, failure->what);
	text_add(&why, " '");
	text_add(&why, failure->name);
	text_add(&why, "': ");
	text_add_error(&why, failure->err);
	init_send(init, GUEST_SAY, why.data, why.len);
	init_send(init, GUEST_EXIT, &end, sizeof(end));
	init_end(init);
}

static void fork_and_wait(struct init *init, struct start *start,
			  struct command *command)
{
	struct failure failure;
	int report[2] = { -1, -1 };
	long n;

	keep(init, sys_pipe(report));
	start->report = report[1];
	command->pid = (int)sys(__NR_fork, 0, 0, 0, 0, 0);
	if (command->pid < 0)
		init_fail(init, "cannot start a process", NULL, command->pid,
			  NULL);
	if (!command->pid)
		child(init, start);
	sys_close(report[1]);
	n = sys_read(report[0], &failure, sizeof(failure));
	sys_close(report[0]);
	if (n == sizeof(failure))
		report_failure(init, &failure);
}

void command_start(struct init *init, const struct guest_size *size,
		   struct command *command)
{
	struct start start;
	struct text defaults[5] = { 0 };
	unsigned int nr_args = 0, nr_env = 0;
	unsigned int *n = &nr_env;

	start.argv = collect(init, "arg=", &nr_args);
	start.envp = collect(init, "env=", &nr_env);
	if (!nr_args)
		init_fail(init, "there is no command", NULL, 0, NULL);
	user_find(init, &start.user);
	add_default(start.envp, n, &defaults[0], "PATH=", DEFAULT_PATH);
	add_default(start.envp, n, &defaults[1],
		    "HOME=", start.user.home ? start.user.home : "/");
	add_default(start.envp, n, &defaults[2], "USER=", start.user.name);
	add_default(start.envp, n, &defaults[3], "LOGNAME=", start.user.name);
	add_default(start.envp, n, &defaults[4], "SHELL=", start.user.shell);
	if (init->tty)
		make_terminal(init, size, &start, command);
	else
		make_pipes(init, &start, command);
	fork_and_wait(init, &start, command);
	sys_close(start.fds[0]);
	if (!init->tty) {
		sys_close(start.fds[1]);
		sys_close(start.fds[2]);
	}
}
