/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Extended attributes, owners and locks of the 9P server (virtio/9p-attr.c,
 * 9p-ops-attr.c, 9p-lock.c), by messages made by hand.
 */
#include "9p.h"

#include <sys/file.h>
#include <sys/xattr.h>

/* ---- attributes ---------------------------------------------------------- */

static int set_xattr(struct fixture *f, uint32_t fid, const char *name,
		     const char *value, uint32_t flags)
{
	struct p9_cursor *t = named(f, P9_TXATTRCREATE, fid, name);
	int err;

	p9_put_u64(t, strlen(value));
	p9_put_u32(t, flags);
	err = ask(f);
	if (!err && value[0])
		err = write_at(f, fid, 0, value, (uint32_t)strlen(value));
	return err ? err : clunk(f, fid);
}

/* Into @value; the size or an error. */
static int get_xattr(struct fixture *f, uint32_t fid, const char *name,
		     char *value, uint32_t size)
{
	struct p9_cursor *t = message(f, P9_TXATTRWALK);
	uint64_t len;
	int err;

	p9_put_u32(t, fid);
	p9_put_u32(t, 99);
	p9_put_string(t, name);
	err = ask(f);
	if (err)
		return err;
	len = p9_get_u64(&f->r);
	assert_in_range(len, 0, size);
	assert_int_equal(read_at(f, 99, 0, size), 0);
	assert_int_equal(p9_get_u32(&f->r), len);
	memcpy(value, f->r.at, len);
	assert_int_equal(clunk(f, 99), 0);
	return (int)len;
}

static void extended_attributes_come_and_go(void **state)
{
	struct fixture *f = *state;
	char value[256];

	make_file(in_share(f, "file"), "text");
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(set_xattr(f, 1, "user.colour", "green", 0), 0);
	assert_int_equal(getxattr(in_share(f, "file"), "user.colour", value,
				  sizeof(value)),
			 5);
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(get_xattr(f, 1, "user.colour", value, 256), 5);
	assert_memory_equal(value, "green", 5);
	assert_int_equal(get_xattr(f, 1, "", value, 256), 12);
	assert_memory_equal(value, "user.colour", 12);
	assert_int_equal(get_xattr(f, 1, "user.other", value, 256), -ENODATA);
	assert_int_equal(set_xattr(f, 1, "user.colour", "", XATTR_REPLACE), 0);
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(get_xattr(f, 1, "user.colour", value, 256), -ENODATA);
	assert_int_equal(get_xattr(f, 1, "", value, 256), 0);
}

static void attributes_of_the_host_are_out_of_reach(void **state)
{
	static const char *const names[] = {
		"security.capability", "security.selinux",
		"trusted.x",	       "system.posix_acl_access",
		"user.virtfs.uid",     "user.virtfs.mode",
	};
	struct fixture *f = *state;
	char value[256];

	make_file(in_share(f, "file"), "text");
	assert_int_equal(setxattr(in_share(f, "file"), "user.virtfs.uid",
				  "abcd", 4, 0),
			 0);
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(set_xattr(f, 1, names[i], "x", 0),
				 -EOPNOTSUPP);
		assert_int_equal(get_xattr(f, 1, names[i], value, 256),
				 -EOPNOTSUPP);
	}
	assert_int_equal(get_xattr(f, 1, "", value, 256), 0);
}

static void attributes_have_limits(void **state)
{
	struct fixture *f = *state;
	struct p9_cursor *t;
	unsigned int made = 0;
	int err = 0;

	make_file(in_share(f, "file"), "text");
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	t = named(f, P9_TXATTRCREATE, 1, "user.x");
	p9_put_u64(t, P9_MAX_XATTR + 1);
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), -E2BIG);
	t = named(f, P9_TXATTRCREATE, 1, "user.x");
	p9_put_u64(t, 4);
	p9_put_u32(t, 0);
	assert_int_equal(ask(f), 0);
	assert_int_equal(write_at(f, 1, 0, "12345", 5), -ENOSPC);
	assert_int_equal(write_at(f, 1, 5, "", 0), -ENOSPC);
	assert_int_equal(write_at(f, 1, UINT64_MAX, "1", 1), -ENOSPC);
	/* A value that never came whole is none. */
	assert_int_equal(write_at(f, 1, 0, "123", 3), 0);
	assert_int_equal(clunk(f, 1), -EINVAL);
	while (!err) {
		assert_int_equal(walk(f, ROOT, 100 + made, "file"), 0);
		t = named(f, P9_TXATTRCREATE, 100 + made, "user.x");
		p9_put_u64(t, P9_MAX_XATTR);
		p9_put_u32(t, 0);
		err = ask(f);
		made++;
	}
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(made - 1, P9_MAX_BUFFERS / P9_MAX_XATTR);
}

static void mapped_owners_are_kept_in_attributes(void **state)
{
	struct fixture *f = *state;
	struct attributes a;
	char value[256];
	struct stat st;

	serve_again(f, false, true);
	assert_int_equal(walk(f, ROOT, 1, NULL), 0);
	assert_int_equal(lcreate(f, 1, "file", L_RDWR, 04755), 0);
	assert_int_equal(getattr(f, 1, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 04755);
	assert_int_equal(a.uid, 1000);
	assert_int_equal(a.gid, 42);
	/* On the host it is nothing of that. */
	assert_int_equal(stat(in_share(f, "file"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(setattr(f, 1, 7, 0444, 5, 6, 0), 0);
	assert_int_equal(getattr(f, 1, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0444);
	assert_int_equal(a.uid, 5);
	assert_int_equal(a.gid, 6);
	assert_int_equal(stat(in_share(f, "file"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_uid, geteuid());
	/* And the guest does not see how. */
	assert_int_equal(get_xattr(f, 1, "", value, 256), 0);
	assert_true(listxattr(in_share(f, "file"), value, 256) > 30);
	/* A link has no such attributes, and keeps its owner. */
	assert_int_equal(symlink("x", in_share(f, "link")), 0);
	assert_int_equal(walk(f, ROOT, 2, "link"), 0);
	assert_int_equal(setattr(f, 2, 6, 0, 5, 6, 0), 0);
	assert_int_equal(getattr(f, 2, &a), 0);
	assert_int_equal(a.uid, geteuid());
}

/* ---- locks --------------------------------------------------------------- */

static int lock_as(struct fixture *f, uint32_t fid, uint8_t type,
		   uint64_t start, uint64_t len, uint32_t process)
{
	struct p9_cursor *t = message(f, P9_TLOCK);
	int err;

	p9_put_u32(t, fid);
	p9_put_u8(t, type);
	p9_put_u32(t, 1);
	p9_put_u64(t, start);
	p9_put_u64(t, len);
	p9_put_u32(t, process);
	p9_put_string(t, "guest");
	err = ask(f);
	return err ? err : p9_get_u8(&f->r);
}

static int host_lock(int fd, short type, off_t start, off_t len)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = len,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

static void locks_are_the_hosts(void **state)
{
	struct fixture *f = *state;
	int fd;

	make_file(in_share(f, "file"), "0123456789");
	fd = open(in_share(f, "file"), O_RDWR);
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(lock_as(f, 1, 1, 0, 5, 7), -EBADF);
	assert_int_equal(lopen(f, 1, 0), 0);
	/* A write lock on what is open for reading: flock(1) does so. */
	assert_int_equal(lock_as(f, 1, 1, 0, 5, 7), 0);
	assert_int_equal(host_lock(fd, F_WRLCK, 4, 1), -EAGAIN);
	assert_int_equal(host_lock(fd, F_WRLCK, 5, 5), 0);
	assert_int_equal(lock_as(f, 1, 0, 0, 10, 7), 1);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(host_lock(fd, F_UNLCK, 0, 0), 0);
	/* All of the file: then a lock of the other kind too. */
	assert_int_equal(lock_as(f, 1, 1, 0, 0, 7), 0);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(lock_as(f, 1, 2, 0, 0, 7), 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(lock_as(f, 1, 0, 0, 0, 7), 1);
	assert_int_equal(host_lock(fd, F_WRLCK, 0, 0), 0);
	assert_int_equal(lock_as(f, 1, 5, 0, 1, 7), -EINVAL);
	close(fd);
}

/* Who cannot change a file cannot keep the host's programs from it. */
static void locks_of_a_read_only_share_are_not_the_hosts(void **state)
{
	struct fixture *f = *state;
	int fd;

	make_file(in_share(f, "f"), "0123456789");
	assert_int_equal(walk(f, ROOT, 1, "f"), 0);
	assert_int_equal(lopen(f, 1, O_RDONLY), 0);
	f->server.share.read_only = true;
	for (uint8_t type = 0; type < 2; type++)
		assert_int_equal(lock_as(f, 1, type, 0, 0, 7), 0);
	fd = open(in_share(f, "f"), O_RDWR | O_CLOEXEC);
	assert_int_equal(host_lock(fd, F_WRLCK, 0, 0), 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(lock_as(f, 1, 2, 0, 0, 7), 0);
	close(fd);
}

static void locks_belong_to_processes(void **state)
{
	struct fixture *f = *state;
	int fd;

	make_file(in_share(f, "file"), "0123456789");
	fd = open(in_share(f, "file"), O_RDWR);
	for (uint32_t fid = 1; fid <= 3; fid++) {
		assert_int_equal(walk(f, ROOT, fid, "file"), 0);
		assert_int_equal(lopen(f, fid, L_RDWR), 0);
	}
	/* One process, through two handles: no conflict, one unlock. */
	assert_int_equal(lock_as(f, 1, 0, 0, 5, 7), 0);
	assert_int_equal(lock_as(f, 2, 1, 0, 5, 7), 0);
	assert_int_equal(lock_as(f, 3, 0, 0, 5, 8), 1);
	assert_int_equal(lock_as(f, 2, 2, 0, 5, 7), 0);
	assert_int_equal(host_lock(fd, F_WRLCK, 0, 5), 0);
	assert_int_equal(host_lock(fd, F_UNLCK, 0, 5), 0);
	/* v9fs unlocks for a child that ends; its parent's lock stays. */
	assert_int_equal(lock_as(f, 3, 1, 0, 0, 8), 0);
	assert_int_equal(lock_as(f, 3, 2, 0, 0, 9), 0);
	assert_int_equal(host_lock(fd, F_RDLCK, 0, 1), -EAGAIN);
	assert_int_equal(lock_as(f, 3, 2, 0, 0, 8), 0);
	assert_int_equal(host_lock(fd, F_RDLCK, 0, 1), 0);
	assert_int_equal(host_lock(fd, F_UNLCK, 0, 0), 0);
	/* The end of a handle is the end of its locks. */
	assert_int_equal(lock_as(f, 3, 1, 0, 0, 8), 0);
	assert_int_equal(clunk(f, 3), 0);
	assert_int_equal(host_lock(fd, F_WRLCK, 0, 0), 0);
	close(fd);
}

static void owners_of_locks_have_a_limit(void **state)
{
	struct fixture *f = *state;
	unsigned int before = f->server.fids.nr_owners;

	make_file(in_share(f, "file"), "text");
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(lopen(f, 1, L_RDWR), 0);
	for (uint32_t i = 0; i < P9_MAX_OWNERS; i++)
		assert_int_equal(lock_as(f, 1, 1, i, 1, i), 0);
	assert_int_equal(lock_as(f, 1, 1, P9_MAX_OWNERS, 1, P9_MAX_OWNERS),
			 -ENOLCK);
	assert_int_equal(lock_as(f, 1, 0, 0, 1, 0), 0);
	assert_int_equal(clunk(f, 1), 0);
	assert_int_equal(f->server.fids.nr_owners, before);
}

static void locked_ranges_have_a_limit(void **state)
{
	struct fixture *f = *state;
	uint32_t i = 0;

	make_file(in_share(f, "file"), "text");
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(lopen(f, 1, L_RDWR), 0);
	/* Those that are gone do not count. */
	for (; i < P9_MAX_RANGES; i++) {
		assert_int_equal(lock_as(f, 1, 1, 2 * i, 1, 7), 0);
		assert_int_equal(lock_as(f, 1, 2, 2 * i, 1, 7), 0);
	}
	for (i = 0; i < P9_MAX_RANGES - 1; i++)
		assert_int_equal(lock_as(f, 1, 1, 2 * i, 1, 7), 0);
	assert_int_equal(lock_as(f, 1, 1, 2 * i, 1, 7), -ENOLCK);
	assert_int_equal(lock_as(f, 1, 1, 2 * i, 1, 8), 0);
	/* The way back is free. */
	assert_int_equal(lock_as(f, 1, 2, 0, 1, 7), 0);
	assert_int_equal(lock_as(f, 1, 1, 0, 1, 7), 0);
	assert_int_equal(lock_as(f, 1, 2, 0, 0, 7), 0);
	/* An unlocked range makes two of one. */
	assert_int_equal(lock_as(f, 1, 1, 1000, 100000, 7), 0);
	for (i = 0; i < 2 * P9_MAX_RANGES - 2; i++)
		assert_int_equal(lock_as(f, 1, 2, 1001 + 2 * i, 1, 7), 0);
	assert_int_equal(lock_as(f, 1, 2, 1001 + 2 * i, 1, 7), -ENOLCK);
}

static void a_lock_that_is_in_the_way_is_told(void **state)
{
	struct fixture *f = *state;
	struct p9_cursor *t;
	int fd;

	make_file(in_share(f, "file"), "0123456789");
	fd = open(in_share(f, "file"), O_RDWR);
	assert_int_equal(walk(f, ROOT, 1, "file"), 0);
	assert_int_equal(lopen(f, 1, L_RDWR), 0);
	assert_int_equal(host_lock(fd, F_WRLCK, 2, 3), 0);
	for (unsigned int i = 0; i < 2; i++) {
		t = message(f, P9_TGETLOCK);
		p9_put_u32(t, 1);
		p9_put_u8(t, 0);
		p9_put_u64(t, 0);
		p9_put_u64(t, 0);
		p9_put_u32(t, 7);
		p9_put_string(t, "guest");
		assert_int_equal(ask(f), 0);
		assert_int_equal(p9_get_u8(&f->r), i ? 2 : 1);
		if (!i) {
			assert_int_equal(p9_get_u64(&f->r), 2);
			assert_int_equal(p9_get_u64(&f->r), 3);
		}
		assert_int_equal(host_lock(fd, F_UNLCK, 0, 0), 0);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(extended_attributes_come_and_go),
		TEST(attributes_of_the_host_are_out_of_reach),
		TEST(attributes_have_limits),
		TEST(mapped_owners_are_kept_in_attributes),
		TEST(locks_are_the_hosts),
		TEST(locks_of_a_read_only_share_are_not_the_hosts),
		TEST(locks_belong_to_processes),
		TEST(owners_of_locks_have_a_limit),
		TEST(locked_ranges_have_a_limit),
		TEST(a_lock_that_is_in_the_way_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
