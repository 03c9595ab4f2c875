/* SPDX-License-Identifier: GPL-2.0 */
/* Whom the command runs as: passwd(5) and group(5) of the root. */
#include "init.h"

/* More of these files is not looked at. */
#define FILE_MAX (1U << 20)

/* A file as text, or NULL. It stays in memory. */
static char *read_text(const char *path)
{
	int fd = sys_open(path, O_RDONLY, 0);
	char *data;
	size_t len = 0;
	long n;

	if (fd < 0)
		return NULL;
	data = sys_alloc(FILE_MAX + 1);
	if (!sys_is_error(data))
		while ((n = sys_read(fd, data + len, FILE_MAX - len)) > 0)
			len += (size_t)n;
	sys_close(fd);
	return sys_is_error(data) ? NULL : data;
}

/* Split a line into @count fields at colons; returns the next line. */
static char *split_line(char *line, char **fields, unsigned int count)
{
	char *next = text_cut(line, '\n');

	for (unsigned int i = 0; i < count; i++) {
		fields[i] = line;
		line = text_cut(line, ':');
	}
	return next;
}

/* The line of /etc/passwd for @name, or for @uid if that is not below 0. */
static bool find_line(struct user *user, const char *name, long uid)
{
	char *line = read_text("/etc/passwd");
	char *fields[7] = { 0 };

	while (line && *line) {
		line = split_line(line, fields, 7);
		if (uid < 0 ? !text_is(fields[0], name) :
			      text_number(fields[2]) != uid)
			continue;
		if (text_number(fields[2]) < 0 || text_number(fields[3]) < 0)
			continue;
		user->name = fields[0];
		user->uid = (unsigned int)text_number(fields[2]);
		user->gid = (unsigned int)text_number(fields[3]);
		user->home = fields[5];
		user->shell = fields[6];
		return true;
	}
	return false;
}

/* Is @name among the comma-separated @members? */
static bool is_member(char *members, const char *name)
{
	while (*members) {
		char *next = text_cut(members, ',');

		if (text_is(members, name))
			return true;
		members = next;
	}
	return false;
}

static void find_groups(struct user *user)
{
	char *line = read_text("/etc/group");
	char *fields[4] = { 0 };

	while (line && *line && user->nr_groups < USER_MAX_GROUPS) {
		line = split_line(line, fields, 4);
		if (text_number(fields[2]) >= 0 &&
		    is_member(fields[3], user->name))
			user->groups[user->nr_groups++] =
				(unsigned int)text_number(fields[2]);
	}
}

void user_find(struct init *init, struct user *user)
{
	const char *record = config_find(init, "user=", NULL);
	struct text text = { 0 };
	const char *group;
	long uid;

	*user = (struct user) { 0 };
	if (!record) {
		if (!find_line(user, NULL, 0))
			user->name = "root";
		return;
	}
	text_add(&text, record);
	group = text_cut(text.data, ':');
	uid = text_number(text.data);
	if (!find_line(user, text.data, uid)) {
		if (uid < 0)
			init_fail(init, "--user: there is no user", record, 0,
				  "in /etc/passwd of the guest's root");
		user->uid = (unsigned int)uid;
		user->gid = (unsigned int)uid;
	}
	if (*group) {
		if (text_number(group) < 0)
			init_fail(init, "--user: bad group in", record, 0,
				  "use UID:GID, numbers");
		user->gid = (unsigned int)text_number(group);
	}
	if (user->name)
		find_groups(user);
}
