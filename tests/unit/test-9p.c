/* SPDX-License-Identifier: GPL-2.0 */
/* The 9P server's operations (virtio/9p-*.c), by messages made by hand. */
#include "9p.h"

#include <dirent.h>
#include <sys/sysmacros.h>

/* ---- session ------------------------------------------------------------- */

static void a_version_is_agreed_on(void **state)
{
	struct fixture *f = *state;
	char text[32];

	assert_int_equal(version(f, 2 * P9_MAX_MSIZE, "9P2000.L"), 0);
	assert_int_equal(p9_get_u32(&f->r), P9_MAX_MSIZE);
	p9_get_string(&f->r, text, sizeof(text));
	assert_int_equal(p9_get_end(&f->r), 0);
	assert_string_equal(text, "9P2000.L");
	assert_int_equal(version(f, 8192, "9P2000.L"), 0);
	assert_int_equal(p9_get_u32(&f->r), 8192);
	assert_int_equal(version(f, P9_MIN_MSIZE - 1, "9P2000.L"), -EMSGSIZE);
}

static void other_versions_are_unknown(void **state)
{
	struct fixture *f = *state;
	char text[32];

	assert_int_equal(version(f, MSIZE, "9P2000.u"), 0);
	p9_get_u32(&f->r);
	p9_get_string(&f->r, text, sizeof(text));
	assert_string_equal(text, "unknown");
	/* And nothing works without an agreement. */
	assert_int_equal(attach(f, ROOT, 0), -EPROTO);
}

static void a_new_version_drops_all_fids(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_int_equal(version(f, MSIZE, "9P2000.L"), 0);
	assert_int_equal(clunk(f, 1), -EBADF);
	assert_int_equal(clunk(f, ROOT), -EBADF);
}

static void authentication_is_refused(void **state)
{
	struct fixture *f = *state;
	struct p9_cursor *t = message(f, P9_TAUTH);

	p9_put_u32(t, 9);
	p9_put_string(t, "me");
	p9_put_string(t, "");
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), -EOPNOTSUPP);
}

static void fids_are_unique_and_counted(void **state)
{
	struct fixture *f = *state;
	unsigned int made = 0, crowds = 0, last = 0;
	int err;

	assert_int_equal(attach(f, ROOT, 0), -EINVAL);
	assert_int_equal(walk(f, ROOT, P9_NO_FID, NULL), -EINVAL);
	assert_false(p9_fids_crowded(&f->server));
	while (!(err = walk(f, ROOT, 100 + made, NULL))) {
		made++;
		if (!p9_fids_crowded(&f->server))
			continue;
		/* Above half, and then each eighth. */
		assert_true(!crowds || made > last + last / 8);
		last = made;
		crowds++;
	}
	assert_in_range(crowds, 3, 4);
	assert_int_equal(err, -EMFILE);
	assert_in_range(made, 200, P9_MAX_FIDS);
	/* Some descriptors are left for others. */
	err = open("/dev/null", O_RDONLY);
	assert_true(err >= 0);
	close(err);
	assert_int_equal(clunk(f, 100), 0);
	assert_int_equal(walk(f, ROOT, 100, NULL), 0);
}

/* ---- walking ------------------------------------------------------------- */

static void walks_give_a_qid_for_each_name(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	mkdir(in_share(f, "a"), 0755);
	make_file(in_share(f, "a/b"), "text");
	assert_int_equal(walk(f, ROOT, 1, "a/b"), 0);
	assert_int_equal(p9_get_u16(&f->r), 2);
	assert_int_equal(p9_get_u8(&f->r), P9_QID_DIR);
	p9_get_u32(&f->r);
	p9_get_u64(&f->r);
	assert_int_equal(p9_get_u8(&f->r), 0);
	p9_get_u32(&f->r);
	assert_int_equal(stat(in_share(f, "a/b"), &st), 0);
	assert_int_equal(p9_get_u64(&f->r), st.st_ino);
	assert_int_equal(p9_get_end(&f->r), 0);
}

static void a_walk_that_ends_early_makes_no_fid(void **state)
{
	struct fixture *f = *state;

	mkdir(in_share(f, "a"), 0755);
	assert_int_equal(walk(f, ROOT, 1, "a/nothing/more"), 0);
	assert_int_equal(p9_get_u16(&f->r), 1);
	assert_int_equal(f->r.end - f->r.at, P9_QID_BYTES);
	assert_int_equal(clunk(f, 1), -EBADF);
	assert_int_equal(walk(f, ROOT, 1, "nothing"), -ENOENT);
}

static void a_walk_may_replace_its_own_fid(void **state)
{
	struct fixture *f = *state;
	struct attributes a;

	mkdir(in_share(f, "a"), 0755);
	make_file(in_share(f, "a/b"), "text");
	assert_int_equal(walk(f, ROOT, 1, "a"), 0);
	assert_int_equal(walk(f, 1, 1, "b"), 0);
	assert_int_equal(getattr(f, 1, &a), 0);
	assert_int_equal(a.size, 4);
	assert_int_equal(walk(f, 1, 2, "c"), -ENOTDIR);
}

static void no_name_leads_out(void **state)
{
	static const char *const bad[] = { "..",      ".",    "",
					   "a/../..", "/etc", "a/b" };
	struct fixture *f = *state;

	mkdir(in_share(f, "a"), 0755);
	mkdir(in_share(f, "a/b"), 0755);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct p9_cursor *t = message(f, P9_TWALK);

		p9_put_u32(t, ROOT);
		p9_put_u32(t, 1);
		p9_put_u16(t, 1);
		p9_put_string(t, bad[i]);
		assert_int_equal(ask(f), -EINVAL);
		assert_int_equal(lcreate(f, ROOT, bad[i], L_RDWR, 0644),
				 -EINVAL);
		t = named(f, P9_TMKDIR, ROOT, bad[i]);
		p9_put_u32(t, 0755);
		p9_put_u32(t, 0);
		assert_int_equal(ask(f), -EINVAL);
		t = named(f, P9_TUNLINKAT, ROOT, bad[i]);
		p9_put_u32(t, 0x200);
		assert_int_equal(ask(f), -EINVAL);
		t = named(f, P9_TSYMLINK, ROOT, bad[i]);
		p9_put_string(t, "x");
		p9_put_u32(t, 0);
		assert_int_equal(ask(f), -EINVAL);
		t = named(f, P9_TRENAMEAT, ROOT, "a");
		p9_put_u32(t, ROOT);
		p9_put_string(t, bad[i]);
		assert_int_equal(ask(f), -EINVAL);
	}
}

static void symbolic_links_are_not_followed(void **state)
{
	struct fixture *f = *state;
	struct attributes a;
	char target[64];

	assert_int_equal(symlink("../outside", in_share(f, "out")), 0);
	assert_int_equal(symlink("..", in_share(f, "up")), 0);
	assert_int_equal(symlink("/", in_share(f, "root")), 0);
	assert_int_equal(walk(f, ROOT, 1, "out"), 0);
	assert_int_equal(getattr(f, 1, &a), 0);
	assert_true(S_ISLNK(a.mode));
	assert_int_equal(a.qid.type, P9_QID_SYMLINK);
	assert_int_equal(lopen(f, 1, 0), -ELOOP);
	assert_int_equal(lopen(f, 1, L_WRONLY | L_TRUNC), -ELOOP);
	assert_int_equal(setattr(f, 1, 8, 0, 0, 0, 0), -EINVAL);
	/* Nor on the way, nor when a file is made. */
	assert_int_equal(walk(f, ROOT, 2, "up/outside"), 0);
	assert_int_equal(p9_get_u16(&f->r), 1);
	assert_int_equal(walk(f, ROOT, 2, "root/etc"), 0);
	assert_int_equal(p9_get_u16(&f->r), 1);
	assert_int_equal(clunk(f, 2), -EBADF);
	assert_int_equal(walk(f, ROOT, 2, NULL), 0);
	assert_int_equal(lcreate(f, 2, "out", L_RDWR | L_TRUNC, 0644), -ELOOP);
	assert_file_is(f->outside, "secret");
	p9_put_u32(message(f, P9_TREADLINK), 1);
	assert_int_equal(ask(f), 0);
	p9_get_string(&f->r, target, sizeof(target));
	assert_string_equal(target, "../outside");
}

static void a_link_in_place_of_a_folder_is_not_followed(void **state)
{
	struct fixture *f = *state;

	mkdir(in_share(f, "dir"), 0755);
	make_file(in_share(f, "dir/file"), "inside");
	assert_int_equal(walk(f, ROOT, 1, "dir"), 0);
	assert_int_equal(unlink(in_share(f, "dir/file")), 0);
	assert_int_equal(rmdir(in_share(f, "dir")), 0);
	assert_int_equal(symlink("..", in_share(f, "dir")), 0);
	/* The fid is the folder that it was, not the name. */
	assert_int_equal(walk(f, 1, 2, "outside"), -ENOENT);
	assert_int_equal(lcreate(f, 1, "outside", L_RDWR, 0644), -ENOENT);
}

/* ---- files --------------------------------------------------------------- */

static void files_are_made_written_and_read(void **state)
{
	struct fixture *f = *state;
	struct attributes a;

	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_int_equal(lcreate(f, 1, "new", L_RDWR, 0641), 0);
	assert_int_equal(write_at(f, 1, 0, "hello", 5), 0);
	assert_int_equal(p9_get_u32(&f->r), 5);
	assert_int_equal(write_at(f, 1, 3, "p!", 2), 0);
	assert_file_is(in_share(f, "new"), "help!");
	assert_int_equal(read_at(f, 1, 1, 100), 0);
	assert_int_equal(p9_get_u32(&f->r), 4);
	assert_memory_equal(f->r.at, "elp!", 4);
	assert_int_equal(read_at(f, 1, 5, 100), 0);
	assert_int_equal(p9_get_u32(&f->r), 0);
	assert_int_equal(getattr(f, 1, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0641);
	assert_int_equal(a.size, 5);
	/* One that is opened cannot be opened again. */
	assert_int_equal(lopen(f, 1, 0), -EBADF);
	assert_int_equal(lcreate(f, 1, "x", L_RDWR, 0644), -EBADF);
}

static void flags_of_an_open_count(void **state)
{
	struct fixture *f = *state;

	make_file(in_share(f, "file"), "text");
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(lopen(f, 1, 0), 0);
	assert_int_equal(write_at(f, 1, 0, "x", 1), -EBADF);
	assert_int_equal(walk(f, ROOT, 2, "file"), 0);
	assert_int_equal(lopen(f, 2, L_WRONLY | L_APPEND), 0);
	assert_int_equal(read_at(f, 2, 0, 1), -EBADF);
	assert_int_equal(write_at(f, 2, 0, "ure", 3), 0);
	assert_file_is(in_share(f, "file"), "texture");
	assert_int_equal(walk(f, ROOT, 3, NULL), 0);
	assert_int_equal(lcreate(f, 3, "file", L_RDWR | L_EXCL, 0644), -EEXIST);
	assert_int_equal(lcreate(f, 3, "file", L_RDWR | L_TRUNC, 0644), 0);
	assert_file_is(in_share(f, "file"), "");
}

static void an_answer_is_cut_to_its_room(void **state)
{
	struct fixture *f = *state;
	struct p9_cursor *t;

	make_file(in_share(f, "file"), "0123456789");
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(lopen(f, 1, 0), 0);
	t = message(f, P9_TREAD);
	p9_put_u32(t, 1);
	p9_put_u64(t, 0);
	p9_put_u32(t, 10);
	assert_int_equal(ask_sized(f, 23, P9_READ_BYTES + 4), 0);
	assert_int_equal(p9_get_u32(&f->r), 4);
	assert_memory_equal(f->in + P9_READ_BYTES, "0123\xee", 5);
	/* One that does not fit at all is an error. */
	t = message(f, P9_TGETATTR);
	p9_put_u32(t, 1);
	p9_put_u64(t, 0x7ff);
	assert_int_equal(ask_sized(f, 19, 100), -EMSGSIZE);
}

static void special_files_are_not_opened(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkfifo(in_share(f, "fifo"), 0644), 0);
	assert_int_equal(mknod(in_share(f, "socket"), S_IFSOCK | 0644, 0), 0);
	assert_int_equal(walk(f, ROOT, 1, "fifo"), 0);
	assert_int_equal(lopen(f, 1, 0), -ENXIO);
	assert_int_equal(lopen(f, 1, L_RDWR), -ENXIO);
	assert_int_equal(walk(f, ROOT, 2, "socket"), 0);
	assert_int_equal(lopen(f, 2, 0), -ENXIO);
	assert_int_equal(walk(f, ROOT, 3, NULL), 0);
	assert_int_equal(lcreate(f, 3, "fifo", L_WRONLY, 0644), -ENXIO);
	if (!mknod(in_share(f, "null"), S_IFCHR | 0666, makedev(1, 3))) {
		assert_int_equal(walk(f, ROOT, 4, "null"), 0);
		assert_int_equal(lopen(f, 4, L_RDWR), -ENXIO);
	}
}

static int mknod_as(struct fixture *f, const char *name, uint32_t mode)
{
	struct p9_cursor *t = named(f, P9_TMKNOD, ROOT, name);

	p9_put_u32(t, mode);
	p9_put_u32(t, 1);
	p9_put_u32(t, 3);
	p9_put_u32(t, 0);
	return ask(f);
}

static void devices_are_not_made(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(mknod_as(f, "c", S_IFCHR | 0666), -EPERM);
	assert_int_equal(mknod_as(f, "b", S_IFBLK | 0666), -EPERM);
	assert_int_equal(mknod_as(f, "d", S_IFDIR | 0777), -EPERM);
	assert_int_equal(mknod_as(f, "l", S_IFLNK | 0777), -EPERM);
	assert_int_equal(lstat(in_share(f, "c"), &st), -1);
	assert_int_equal(mknod_as(f, "fifo", S_IFIFO | 0640), 0);
	assert_int_equal(lstat(in_share(f, "fifo"), &st), 0);
	assert_int_equal(st.st_mode, S_IFIFO | 0640);
	assert_int_equal(mknod_as(f, "socket", S_IFSOCK | 0640), 0);
	assert_int_equal(mknod_as(f, "file", S_IFREG | 0640), 0);
}

static void set_user_id_bits_stay_off_the_host(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_int_equal(lcreate(f, 1, "file", L_RDWR, 06755), 0);
	assert_int_equal(stat(in_share(f, "file"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0755);
	assert_int_equal(setattr(f, 1, 1, 04711, 0, 0, 0), 0);
	assert_int_equal(stat(in_share(f, "file"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0711);
	assert_int_equal(mknod_as(f, "node", S_IFREG | 06755), 0);
	assert_int_equal(stat(in_share(f, "node"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0755);
}

static void a_deleted_file_lives_as_long_as_its_fid(void **state)
{
	struct fixture *f = *state;
	struct attributes a;

	make_file(in_share(f, "file"), "text");
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(unlink(in_share(f, "file")), 0);
	assert_int_equal(getattr(f, 1, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(lopen(f, 1, L_RDWR), 0);
	assert_int_equal(read_at(f, 1, 0, 4), 0);
	assert_memory_equal(f->in + P9_READ_BYTES, "text", 4);
	assert_int_equal(setattr(f, 1, 8, 0, 0, 0, 2), 0);
	assert_int_equal(getattr(f, 1, &a), 0);
	assert_int_equal(a.size, 2);
}

static void attributes_are_set(void **state)
{
	struct fixture *f = *state;
	struct attributes before, after;
	struct stat st;

	make_file(in_share(f, "file"), "text");
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(getattr(f, 1, &before), 0);
	assert_int_equal(setattr(f, 1, 1 | 8 | 0x1b0, 0600, 0, 0, 6), 0);
	assert_int_equal(stat(in_share(f, "file"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, 6);
	assert_int_equal(st.st_atim.tv_sec, 1000);
	assert_int_equal(st.st_atim.tv_nsec, 1001);
	assert_int_equal(st.st_mtim.tv_sec, 1002);
	/* A file that changed has another version, and is the same. */
	assert_int_equal(getattr(f, 1, &after), 0);
	assert_int_not_equal(after.qid.version, before.qid.version);
	assert_int_equal(after.qid.path, before.qid.path);
}

/* ---- folders ------------------------------------------------------------- */

static int readdir_at(struct fixture *f, uint32_t fid, uint64_t offset,
		      uint32_t count)
{
	struct p9_cursor *t = message(f, P9_TREADDIR);

	p9_put_u32(t, fid);
	p9_put_u64(t, offset);
	p9_put_u32(t, count);
	return ask(f);
}

/* Read on from *@offset; marks what is seen. Returns the entries. */
static unsigned int read_entries(struct fixture *f, uint64_t *offset,
				 uint32_t count, unsigned char *seen)
{
	unsigned int entries = 0;
	char name[256];

	assert_int_equal(readdir_at(f, 1, *offset, count), 0);
	assert_true(p9_get_u32(&f->r) <= count);
	while (f->r.at < f->r.end) {
		p9_get_u8(&f->r);
		p9_get_u32(&f->r);
		p9_get_u64(&f->r);
		*offset = p9_get_u64(&f->r);
		p9_get_u8(&f->r);
		p9_get_string(&f->r, name, sizeof(name));
		assert_int_equal(f->r.err, 0);
		if (name[0] == 'f')
			seen[atoi(name + 1)]++;
		entries++;
	}
	return entries;
}

static void a_folder_is_read_in_parts(void **state)
{
	struct fixture *f = *state;
	unsigned char seen[1000] = { 0 };
	uint64_t offset = 0, middle = 0;
	unsigned int total = 0, rest = 0, n;
	char name[16];

	for (unsigned int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		make_file(in_share(f, name), "");
	}
	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_int_equal(readdir_at(f, 1, 0, 1000), -EBADF);
	assert_int_equal(lopen(f, 1, 0), 0);
	while ((n = read_entries(f, &offset, 500, seen))) {
		total += n;
		if (!middle && total > 400)
			middle = offset;
		else if (middle)
			rest += n;
	}
	assert_int_equal(total, 1002);
	for (unsigned int i = 0; i < 1000; i++)
		assert_int_equal(seen[i], 1);
	/* An offset stays good: from the middle come the same again. */
	total = 0;
	while ((n = read_entries(f, &middle, 5000, seen)))
		total += n;
	assert_int_equal(total, rest);
	/* Not even one fits. */
	assert_int_equal(readdir_at(f, 1, 0, 20), -EINVAL);
}

static void an_answer_is_within_the_agreed_size(void **state)
{
	struct fixture *f = *state;
	char name[240];

	for (unsigned int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "%0200u", i);
		make_file(in_share(f, name), "");
	}
	assert_int_equal(version(f, P9_MIN_MSIZE, "9P2000.L"), 0);
	assert_int_equal(attach(f, ROOT, 0), 0);
	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_int_equal(lopen(f, 1, 0), 0);
	assert_int_equal(readdir_at(f, 1, 0, 60000), 0);
	assert_in_range(f->message.answer, P9_MIN_MSIZE / 2, P9_MIN_MSIZE);
}

static void reading_and_deleting_reaches_all(void **state)
{
	struct fixture *f = *state;
	unsigned char seen[300] = { 0 };
	unsigned int gone = 0;
	uint64_t offset = 0;
	char name[16];

	for (unsigned int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		make_file(in_share(f, name), "");
	}
	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_int_equal(lopen(f, 1, 0), 0);
	while (read_entries(f, &offset, 400, seen))
		for (unsigned int i = 0; i < 300; i++) {
			snprintf(name, sizeof(name), "f%u", i);
			if (seen[i] && !unlink(in_share(f, name)))
				gone++;
		}
	assert_int_equal(gone, 300);
}

static void above_the_root_nothing_is_told(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	bool seen = false;
	char name[256];

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_int_equal(lopen(f, 1, 0), 0);
	assert_int_equal(readdir_at(f, 1, 0, 4096), 0);
	p9_get_u32(&f->r);
	while (f->r.at < f->r.end) {
		uint64_t path;

		p9_get_u8(&f->r);
		p9_get_u32(&f->r);
		path = p9_get_u64(&f->r);
		p9_get_u64(&f->r);
		assert_int_equal(p9_get_u8(&f->r), DT_DIR);
		p9_get_string(&f->r, name, sizeof(name));
		if (!strcmp(name, "..")) {
			seen = true;
			assert_int_equal(path, st.st_ino);
		}
	}
	assert_true(seen);
}

static void names_are_made_and_go(void **state)
{
	struct fixture *f = *state;
	struct p9_cursor *t;
	struct stat st;

	t = named(f, P9_TMKDIR, ROOT, "dir");
	p9_put_u32(t, 0750);
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), 0);
	assert_int_equal(p9_get_u8(&f->r), P9_QID_DIR);
	assert_int_equal(stat(in_share(f, "dir"), &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0750);
	t = named(f, P9_TSYMLINK, ROOT, "link");
	p9_put_string(t, "/etc/passwd");
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), 0);
	assert_int_equal(p9_get_u8(&f->r), P9_QID_SYMLINK);
	/* A hard link to the link, and not to what it names. */
	assert_int_equal(walk(f, ROOT, 1, "link"), 0);
	t = message(f, P9_TLINK);
	p9_put_u32(t, ROOT);
	p9_put_u32(t, 1);
	p9_put_string(t, "again");
	assert_int_equal(ask(f), 0);
	assert_int_equal(lstat(in_share(f, "again"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(st.st_nlink, 2);
	t = named(f, P9_TUNLINKAT, ROOT, "dir");
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), -EISDIR);
	t = named(f, P9_TUNLINKAT, ROOT, "dir");
	p9_put_u32(t, 0x200);
	assert_int_equal(ask(f), 0);
	assert_int_equal(stat(in_share(f, "dir"), &st), -1);
	p9_put_u32(message(f, P9_TREMOVE), 1);
	assert_int_equal(ask(f), 0);
	assert_int_equal(lstat(in_share(f, "link"), &st), -1);
	assert_int_equal(clunk(f, 1), -EBADF);
}

static void renames_keep_fids(void **state)
{
	struct fixture *f = *state;
	struct p9_cursor *t;
	char to[128];

	mkdir(in_share(f, "a"), 0755);
	mkdir(in_share(f, "b"), 0755);
	make_file(in_share(f, "a/x"), "text");
	assert_int_equal(walk(f, ROOT, 1, "a"), 0);
	assert_int_equal(walk(f, ROOT, 2, "b"), 0);
	assert_int_equal(walk(f, 1, 3, "x"), 0);
	t = named(f, P9_TRENAMEAT, 1, "x");
	p9_put_u32(t, 2);
	p9_put_string(t, "y");
	assert_int_equal(ask(f), 0);
	assert_file_is(in_share(f, "b/y"), "text");
	/* By the host too; and the older message finds where it is now. */
	strcpy(to, in_share(f, "c"));
	assert_int_equal(rename(in_share(f, "b"), to), 0);
	t = message(f, P9_TRENAME);
	p9_put_u32(t, 3);
	p9_put_u32(t, 1);
	p9_put_string(t, "z");
	assert_int_equal(ask(f), 0);
	assert_file_is(in_share(f, "a/z"), "text");
	assert_int_equal(lopen(f, 3, 0), 0);
	assert_int_equal(read_at(f, 3, 0, 4), 0);
	p9_put_u32(message(f, P9_TREMOVE), 3);
	assert_int_equal(ask(f), 0);
	assert_int_equal(access(in_share(f, "a/z"), F_OK), -1);
	/* The root has no name. */
	assert_int_equal(walk(f, ROOT, 4, NULL), 0);
	p9_put_u32(message(f, P9_TREMOVE), 4);
	assert_int_equal(ask(f), -EBUSY);
}

/* ---- read-only ----------------------------------------------------------- */

static void read_only_is_read_only(void **state)
{
	struct fixture *f = *state;
	struct p9_cursor *t;

	make_file(in_share(f, "file"), "text");
	serve_again(f, true, false);
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(lopen(f, 1, L_RDWR), -EROFS);
	assert_int_equal(lopen(f, 1, L_WRONLY), -EROFS);
	assert_int_equal(lopen(f, 1, L_TRUNC), -EROFS);
	assert_int_equal(setattr(f, 1, 1, 0, 0, 0, 0), -EROFS);
	assert_int_equal(setattr(f, 1, 8, 0, 0, 0, 0), -EROFS);
	assert_int_equal(walk(f, ROOT, 2, NULL), 0);
	assert_int_equal(lcreate(f, 2, "new", 0, 0644), -EROFS);
	assert_int_equal(mknod_as(f, "fifo", S_IFIFO | 0644), -EROFS);
	t = named(f, P9_TMKDIR, ROOT, "dir");
	p9_put_u32(t, 0755);
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), -EROFS);
	t = named(f, P9_TSYMLINK, ROOT, "link");
	p9_put_string(t, "x");
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), -EROFS);
	t = message(f, P9_TLINK);
	p9_put_u32(t, ROOT);
	p9_put_u32(t, 1);
	p9_put_string(t, "again");
	assert_int_equal(ask(f), -EROFS);
	t = named(f, P9_TRENAMEAT, ROOT, "file");
	p9_put_u32(t, ROOT);
	p9_put_string(t, "other");
	assert_int_equal(ask(f), -EROFS);
	t = message(f, P9_TRENAME);
	p9_put_u32(t, 1);
	p9_put_u32(t, ROOT);
	p9_put_string(t, "other");
	assert_int_equal(ask(f), -EROFS);
	t = named(f, P9_TUNLINKAT, ROOT, "file");
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), -EROFS);
	t = named(f, P9_TXATTRCREATE, 1, "user.x");
	p9_put_u64(t, 1);
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), -EROFS);
	assert_int_equal(lopen(f, 1, 0), 0);
	assert_int_equal(write_at(f, 1, 0, "x", 1), -EROFS);
	assert_int_equal(read_at(f, 1, 0, 10), 0);
	p9_put_u32(message(f, P9_TREMOVE), 1);
	assert_int_equal(ask(f), -EROFS);
	assert_int_equal(clunk(f, 1), -EBADF);
	assert_file_is(in_share(f, "file"), "text");
}

/* ---- statfs, fsync, devices ---------------------------------------------- */

static void the_file_system_is_told(void **state)
{
	struct fixture *f = *state;

	p9_put_u32(message(f, P9_TSTATFS), ROOT);
	assert_int_equal(ask(f), 0);
	assert_int_equal(f->r.end - f->r.at, 4 + 4 + 6 * 8 + 4);
	make_file(in_share(f, "file"), "");
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct p9_cursor *t = message(f, P9_TFSYNC);

		p9_put_u32(t, 1);
		p9_put_u32(t, i);
		assert_int_equal(ask(f), i ? 0 : -EBADF);
		if (!i)
			assert_int_equal(lopen(f, 1, L_RDWR), 0);
	}
}

static void files_of_two_devices_differ(void **state)
{
	struct fixture *f = *state;
	const struct p9_share *share = &f->server.share;

	assert_int_equal(p9_qid_path(share, share->dev, 17), 17);
	assert_int_not_equal(p9_qid_path(share, share->dev + 1, 17), 17);
	assert_int_not_equal(p9_qid_path(share, share->dev + 1, 17),
			     p9_qid_path(share, share->dev + 2, 17));
	assert_int_not_equal(p9_qid_path(share, share->dev + 1, 17),
			     p9_qid_path(share, share->dev + 1, 18));
}

static void a_folder_that_goes_is_an_error(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rmdir(f->path), 0);
	assert_int_equal(walk(f, ROOT, 1, "file"), -ENOENT);
	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_int_equal(lcreate(f, 1, "new", L_RDWR, 0644), -ENOENT);
}

static void what_cannot_be_shared_is_refused(void **state)
{
	struct fixture *f = *state;
	struct p9_server server = { 0 };

	assert_int_equal(p9_server_init(&server, f->outside, false, false),
			 -ENOTDIR);
	assert_int_equal(p9_server_init(&server, "/nonexistent", false, false),
			 -ENOENT);
	assert_int_equal(p9_server_init(&server, "/proc/self", false, true),
			 -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_version_is_agreed_on),
		TEST(other_versions_are_unknown),
		TEST(a_new_version_drops_all_fids),
		TEST(authentication_is_refused),
		TEST(fids_are_unique_and_counted),
		TEST(walks_give_a_qid_for_each_name),
		TEST(a_walk_that_ends_early_makes_no_fid),
		TEST(a_walk_may_replace_its_own_fid),
		TEST(no_name_leads_out),
		TEST(symbolic_links_are_not_followed),
		TEST(a_link_in_place_of_a_folder_is_not_followed),
		TEST(files_are_made_written_and_read),
		TEST(flags_of_an_open_count),
		TEST(an_answer_is_cut_to_its_room),
		TEST(special_files_are_not_opened),
		TEST(devices_are_not_made),
		TEST(set_user_id_bits_stay_off_the_host),
		TEST(a_deleted_file_lives_as_long_as_its_fid),
		TEST(attributes_are_set),
		TEST(a_folder_is_read_in_parts),
		TEST(an_answer_is_within_the_agreed_size),
		TEST(reading_and_deleting_reaches_all),
		TEST(above_the_root_nothing_is_told),
		TEST(names_are_made_and_go),
		TEST(renames_keep_fids),
		TEST(read_only_is_read_only),
		TEST(the_file_system_is_told),
		TEST(files_of_two_devices_differ),
		TEST(a_folder_that_goes_is_an_error),
		TEST(what_cannot_be_shared_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
