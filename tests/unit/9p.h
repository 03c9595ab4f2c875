/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of virtio/9p-*.c: a server over a temporary folder, and a
 * client that writes messages by hand.
 */
#ifndef TESTS_UNIT_9P_H
#define TESTS_UNIT_9P_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

#define ROOT 0 /* the fid that is attached */
#define MSIZE 65536

struct fixture {
	struct p9_server server;
	struct p9_scratch scratch;
	char path[64]; /* the share, in a folder of the test's own */
	char outside[64]; /* a file beside it */
	uint8_t out[P9_MAX_MSIZE], in[P9_MAX_MSIZE];
	struct p9_cursor t; /* the message being written */
	struct p9_cursor r; /* the answer's body */
	struct p9_message message;
};

/* ---- messages ------------------------------------------------------------ */

/* Begin a message; arguments follow by p9_put_*(&f->t). */
static inline struct p9_cursor *message(struct fixture *f, uint8_t type)
{
	f->t = (struct p9_cursor) { f->out, f->out + sizeof(f->out), 0 };
	p9_put_u32(&f->t, 0);
	p9_put_u8(&f->t, type);
	p9_put_u16(&f->t, 77);
	return &f->t;
}

/* Send @size bytes of f->out, with @room for the answer. 0 or the error. */
static inline int ask_sized(struct fixture *f, uint32_t size, size_t room)
{
	/* Cut into three, for framing is the client's choice. */
	struct iovec out[3] = {
		{ f->out, 3 },
		{ f->out + 3, MIN(size, 9U) - 3 },
		{ f->out + 9, size > 9 ? size - 9 : 0 },
	};
	struct iovec in[3] = {
		{ f->in, 2 },
		{ f->in + 2, 9 },
		{ f->in + 11, room - 11 },
	};
	struct p9_cursor c = { f->out, f->out + 4, 0 };
	uint32_t answer;

	p9_put_u32(&c, size);
	f->message = (struct p9_message) {
		.out = out,
		.out_count = 3,
		.out_len = size,
		.in = in,
		.in_count = 3,
		.in_len = room,
	};
	memset(f->in, 0xee, 64);
	assert_int_equal(p9_message_parse(&f->message), 0);
	p9_serve(&f->server, &f->scratch, &f->message);
	f->r = (struct p9_cursor) { f->in, f->in + f->message.answer, 0 };
	answer = p9_get_u32(&f->r);
	assert_int_equal(answer, f->message.answer);
	if (p9_get_u8(&f->r) != P9_RLERROR) {
		assert_int_equal(f->in[4], f->out[4] + 1);
		assert_int_equal(p9_get_u16(&f->r), 77);
		return 0;
	}
	assert_int_equal(answer, P9_ERROR_BYTES);
	assert_int_equal(p9_get_u16(&f->r), 77);
	return -(int)p9_get_u32(&f->r);
}

static inline int ask(struct fixture *f)
{
	assert_int_equal(f->t.err, 0);
	return ask_sized(f, (uint32_t)(f->t.at - f->out), MSIZE);
}

static inline int version(struct fixture *f, uint32_t msize, const char *text)
{
	struct p9_cursor *t = message(f, P9_TVERSION);

	p9_put_u32(t, msize);
	p9_put_string(t, text);
	return ask(f);
}

static inline int attach(struct fixture *f, uint32_t fid, uint32_t uid)
{
	struct p9_cursor *t = message(f, P9_TATTACH);

	p9_put_u32(t, fid);
	p9_put_u32(t, P9_NO_FID);
	p9_put_string(t, "");
	p9_put_string(t, "");
	p9_put_u32(t, uid);
	return ask(f);
}

/* @path's elements are separated by '/'; NULL: none. */
static inline int walk(struct fixture *f, uint32_t fid, uint32_t new_fid,
		       const char *path)
{
	struct p9_cursor *t = message(f, P9_TWALK);
	char copy[4096] = "", *save = NULL;
	unsigned int count = 0;
	uint8_t *at;

	p9_put_u32(t, fid);
	p9_put_u32(t, new_fid);
	at = t->at;
	p9_put_u16(t, 0);
	if (path)
		snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name;
	     name = strtok_r(NULL, "/", &save)) {
		p9_put_string(t, name);
		count++;
	}
	at[0] = (uint8_t)count;
	return ask(f);
}

static inline int clunk(struct fixture *f, uint32_t fid)
{
	p9_put_u32(message(f, P9_TCLUNK), fid);
	return ask(f);
}

static inline int lopen(struct fixture *f, uint32_t fid, uint32_t flags)
{
	struct p9_cursor *t = message(f, P9_TLOPEN);

	p9_put_u32(t, fid);
	p9_put_u32(t, flags);
	return ask(f);
}

static inline int lcreate(struct fixture *f, uint32_t fid, const char *name,
			  uint32_t flags, uint32_t mode)
{
	struct p9_cursor *t = message(f, P9_TLCREATE);

	p9_put_u32(t, fid);
	p9_put_string(t, name);
	p9_put_u32(t, flags);
	p9_put_u32(t, mode);
	p9_put_u32(t, 42);
	return ask(f);
}

static inline int read_at(struct fixture *f, uint32_t fid, uint64_t offset,
			  uint32_t count)
{
	struct p9_cursor *t = message(f, P9_TREAD);

	p9_put_u32(t, fid);
	p9_put_u64(t, offset);
	p9_put_u32(t, count);
	return ask(f);
}

static inline int write_at(struct fixture *f, uint32_t fid, uint64_t offset,
			   const void *data, uint32_t count)
{
	struct p9_cursor *t = message(f, P9_TWRITE);

	p9_put_u32(t, fid);
	p9_put_u64(t, offset);
	p9_put_u32(t, count);
	memcpy(t->at, data, count);
	t->at += count;
	return ask(f);
}

/* Tmkdir, Tmknod, Tsymlink, Tlink, Tunlinkat begin with a folder and a name. */
static inline struct p9_cursor *named(struct fixture *f, uint8_t type,
				      uint32_t fid, const char *name)
{
	struct p9_cursor *t = message(f, type);

	p9_put_u32(t, fid);
	p9_put_string(t, name);
	return t;
}

/* A fid and the file's attributes. */
struct attributes {
	struct p9_qid qid;
	uint32_t mode, uid, gid;
	uint64_t nlink, size;
};

static inline int getattr(struct fixture *f, uint32_t fid, struct attributes *a)
{
	struct p9_cursor *t = message(f, P9_TGETATTR);
	int err;

	p9_put_u32(t, fid);
	p9_put_u64(t, 0x7ff);
	err = ask(f);
	if (err)
		return err;
	assert_int_equal(p9_get_u64(&f->r), 0x7ff);
	a->qid.type = p9_get_u8(&f->r);
	a->qid.version = p9_get_u32(&f->r);
	a->qid.path = p9_get_u64(&f->r);
	a->mode = p9_get_u32(&f->r);
	a->uid = p9_get_u32(&f->r);
	a->gid = p9_get_u32(&f->r);
	a->nlink = p9_get_u64(&f->r);
	p9_get_u64(&f->r); /* rdev */
	a->size = p9_get_u64(&f->r);
	return 0;
}

static inline int setattr(struct fixture *f, uint32_t fid, uint32_t valid,
			  uint32_t mode, uint32_t uid, uint32_t gid,
			  uint64_t size)
{
	struct p9_cursor *t = message(f, P9_TSETATTR);

	p9_put_u32(t, fid);
	p9_put_u32(t, valid);
	p9_put_u32(t, mode);
	p9_put_u32(t, uid);
	p9_put_u32(t, gid);
	p9_put_u64(t, size);
	for (unsigned int i = 0; i < 4; i++)
		p9_put_u64(t, 1000 + i);
	return ask(f);
}

/* ---- the folder ---------------------------------------------------------- */

static inline int remove_entry(const char *path, const struct stat *st,
			       int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* The path of @name in the share. */
static inline const char *in_share(struct fixture *f, const char *name)
{
	static char path[4200];

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	return path;
}

static inline void make_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	close(fd);
}

static inline void assert_file_is(const char *path, const char *text)
{
	char buf[256] = "";
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_true(read(fd, buf, sizeof(buf) - 1) >= 0);
	close(fd);
	assert_string_equal(buf, text);
}

/* Serve the folder anew, attached as ROOT by user 1000 of the guest. */
static inline void serve(struct fixture *f, bool read_only, bool mapped)
{
	assert_int_equal(p9_server_init(&f->server, f->path, read_only, mapped),
			 0);
	assert_int_equal(version(f, MSIZE, "9P2000.L"), 0);
	assert_int_equal(attach(f, ROOT, 1000), 0);
}

static inline void serve_again(struct fixture *f, bool read_only, bool mapped)
{
	p9_server_release(&f->server);
	memset(&f->server, 0, sizeof(f->server));
	serve(f, read_only, mapped);
}

/* On a file system with user attributes, for security=mapped: not tmpfs. */
static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	umask(0);
	strcpy(f->path, "/var/tmp/lkvm-9p.XXXXXX");
	assert_non_null(mkdtemp(f->path));
	strcpy(f->outside, f->path);
	strcat(f->outside, "/outside");
	make_file(f->outside, "secret");
	strcat(f->path, "/share");
	assert_int_equal(mkdir(f->path, 0755), 0);
	serve(f, false, false);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	p9_server_release(&f->server);
	*strrchr(f->path, '/') = '\0';
	nftw(f->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Linux's values, as the protocol has them. */
#define L_WRONLY 1
#define L_RDWR 2
#define L_EXCL 0200
#define L_TRUNC 01000
#define L_APPEND 02000

#endif
