/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A server of the 9P2000.L protocol: the files of a share for one guest.
 *
 * Messages are those of Plan 9's intro(5) with Linux's dialect (".L"), as
 * v9fs speaks it. Everything in a message is the guest's and hostile; so are
 * the names in it. The layers, from below:
 *
 *   9p-proto.c  cursors that parse and build messages and know their ends
 *   9p-fs.c     the share: confined look-up, opening and creating of files
 *   9p-attr.c   attributes, real ones or those of security=mapped
 *   9p-fid.c    the guest's handles
 *   9p-lock.c   locks of files
 *   9p-ops*.c   one function an operation
 *   9p-serve.c  one message in, one answer out
 *   9p.c        the virtio device: requests in flight, and their threads
 *
 * But for 9p.c, nothing here knows of virtio. Several messages may be served
 * at once, on different threads; Tversion only alone.
 */
#ifndef LKVM_9P_H
#define LKVM_9P_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* ---- limits -------------------------------------------------------------- */

/* Bytes of a message, header included: what Tversion agrees on. */
#define P9_MAX_MSIZE (1024 * 1024)
#define P9_MIN_MSIZE 4096

/* Handles a guest may have. Nearly each has a file descriptor of ours. */
#define P9_MAX_FIDS 65536

/*
 * File descriptors that guests leave to the rest of the process, as far as that
 * is not more than half of them: a socket device alone may have
 * VSOCK_MAX_CONNECTIONS.
 */
#define P9_RESERVED_FDS 1024

/* Bytes that all attribute values and folder readings of a guest may take. */
#define P9_MAX_BUFFERS (8 * 1024 * 1024)

/* One extended attribute, or the list of them (the kernel's own limit). */
#define P9_MAX_XATTR (64 * 1024)

/* Processes with locks on a file, for each file. */
#define P9_MAX_OWNERS 1024

/* Ranges that such a process may have locked: each is memory of the kernel. */
#define P9_MAX_RANGES 256

/* Elements of a path in one Twalk (walk(5)). */
#define P9_MAX_WALK 16

/* A message's bytes that are no file's data: Twalk's 16 names fit. */
#define P9_MAX_ARGS 8192

/* An answer's: as many entries of a folder fit into one. */
#define P9_MAX_ANSWER (64 * 1024)

#define P9_NO_FID UINT32_MAX
#define P9_NO_TAG UINT16_MAX

/* ---- the protocol -------------------------------------------------------- */

/* Answers have the request's number plus one. */
enum p9_type {
	P9_RLERROR = 7,
	P9_TSTATFS = 8,
	P9_TLOPEN = 12,
	P9_TLCREATE = 14,
	P9_TSYMLINK = 16,
	P9_TMKNOD = 18,
	P9_TRENAME = 20,
	P9_TREADLINK = 22,
	P9_TGETATTR = 24,
	P9_TSETATTR = 26,
	P9_TXATTRWALK = 30,
	P9_TXATTRCREATE = 32,
	P9_TREADDIR = 40,
	P9_TFSYNC = 50,
	P9_TLOCK = 52,
	P9_TGETLOCK = 54,
	P9_TLINK = 70,
	P9_TMKDIR = 72,
	P9_TRENAMEAT = 74,
	P9_TUNLINKAT = 76,
	P9_TVERSION = 100,
	P9_TAUTH = 102,
	P9_TATTACH = 104,
	P9_TFLUSH = 108,
	P9_TWALK = 110,
	P9_TREAD = 116,
	P9_TWRITE = 118,
	P9_TCLUNK = 120,
	P9_TREMOVE = 122,
	P9_TYPES = 128,
};

/* size[4] type[1] tag[2] begin every message. */
#define P9_HEADER 7

/* The header and the error's number: every answer's space has room for it. */
#define P9_ERROR_BYTES (P9_HEADER + 4)

/* What stands before the data in Twrite and in Rread. */
#define P9_WRITE_BYTES (P9_HEADER + 4 + 8 + 4)
#define P9_READ_BYTES (P9_HEADER + 4)

/* A file's identity and version. */
struct p9_qid {
	uint8_t type; /* P9_QID_*, 0: a file */
	uint32_t version;
	uint64_t path;
};

#define P9_QID_DIR 0x80
#define P9_QID_SYMLINK 0x02
#define P9_QID_BYTES 13

/* ---- cursors (9p-proto.c) ------------------------------------------------ */

/*
 * A place in a message. An access that would cross the end sets @err and does
 * nothing (a get returns 0), as do all that follow. So a function gets or
 * puts all its fields and looks once, at the end.
 */
struct p9_cursor {
	uint8_t *at;
	uint8_t *end;
	int err; /* 0 or -errno */
};

uint8_t p9_get_u8(struct p9_cursor *c);
uint16_t p9_get_u16(struct p9_cursor *c);
uint32_t p9_get_u32(struct p9_cursor *c);
uint64_t p9_get_u64(struct p9_cursor *c);

/*
 * A string: copied into @buf of @size bytes and terminated. One that does not
 * fit (-ENAMETOOLONG) or has a NUL in it (-EINVAL) is an error; @buf is then
 * empty.
 */
void p9_get_string(struct p9_cursor *c, char *buf, size_t size);

/* A name in a folder: no '/', not empty, neither "." nor "..", or -EINVAL. */
struct p9_name {
	char text[NAME_MAX + 1];
};
void p9_get_name(struct p9_cursor *c, struct p9_name *name);

/* Returns c->err, or -EPROTO when bytes are left over. */
int p9_get_end(const struct p9_cursor *c);

/* -EMSGSIZE is the error of these. */
void p9_put_u8(struct p9_cursor *c, uint8_t value);
void p9_put_u16(struct p9_cursor *c, uint16_t value);
void p9_put_u32(struct p9_cursor *c, uint32_t value);
void p9_put_u64(struct p9_cursor *c, uint64_t value);
void p9_put_string(struct p9_cursor *c, const char *text);
void p9_put_qid(struct p9_cursor *c, const struct p9_qid *qid);

/* ---- the share (9p-fs.c, 9p-attr.c) -------------------------------------- */

struct p9_share {
	int root; /* O_PATH */
	dev_t dev; /* of root, as is ino */
	ino_t ino;
	int max_fd; /* descriptors from this number on are refused */
	bool read_only;
	bool mapped; /* owners and modes are in user.virtfs.* attributes */
};

/*
 * Open folder @path. Returns 0 or -errno: -ENOTDIR, -ENOENT, -EACCES ...;
 * -EOPNOTSUPP when @mapped and the file system has no user attributes. Raises
 * the process's limit of open files as far as it may.
 */
int p9_share_open(struct p9_share *share, const char *path, bool read_only,
		  bool mapped);
void p9_share_close(struct p9_share *share);

/* What the kernel calls the file of @fd: for calls that take paths only. */
struct p9_fd_path {
	char text[32];
};
struct p9_fd_path p9_fd_path(int fd);

/*
 * The functions below return a new descriptor, the caller's, or -errno;
 * -EMFILE when guests have used up theirs.
 *
 * The entry @name of folder @dir, as O_PATH: a symbolic link is itself.
 */
int p9_fs_lookup(const struct p9_share *share, int dir, const char *name);

/* The same file as @fd once more, as O_PATH. */
int p9_fs_dup(const struct p9_share *share, int fd);

/*
 * Open the file of @fd with O_* @flags: regular files and folders only, else
 * -ENXIO. -EROFS when that would write to a share that is read-only.
 */
int p9_fs_open(const struct p9_share *share, int fd, int flags);

/*
 * Make the regular file @name in @dir, or open it if it is there and @flags
 * have no O_EXCL; *@created tells which.
 */
int p9_fs_create(const struct p9_share *share, int dir, const char *name,
		 int flags, mode_t mode, bool *created);

/*
 * The folder in which the file of @fd stands now, and as what. -ENOENT when
 * it has been deleted, -EBUSY for the root.
 */
int p9_fs_parent(const struct p9_share *share, int fd, struct p9_name *name);

/* Who makes a file, and with which permissions. */
struct p9_creator {
	uint32_t uid, gid;
	mode_t mode; /* 07777 */
};

/* Permission bits with which a file or folder is made on the host. */
mode_t p9_attr_host_mode(const struct p9_share *share, mode_t mode);

/* fstat(), with the attributes that the guest is to see. 0 or -errno. */
int p9_attr_get(const struct p9_share *share, int fd, struct stat *st);

/* Give the new file of @fd what @creator wants. 0 or -errno. */
int p9_attr_created(const struct p9_share *share, int fd,
		    const struct p9_creator *creator);

/* Owner (-1: not this one) and mode. 0 or -errno. */
int p9_attr_chown(const struct p9_share *share, int fd, uint32_t uid,
		  uint32_t gid);
int p9_attr_chmod(const struct p9_share *share, int fd, mode_t mode);

/* May the guest read, list and set extended attribute @name? */
bool p9_attr_visible(const char *name);

/* Identity of a file of @share: files of different devices differ. */
uint64_t p9_qid_path(const struct p9_share *share, dev_t dev, ino_t ino);
struct p9_qid p9_qid(const struct p9_share *share, const struct stat *st);

/* ---- fids (9p-fid.c) ----------------------------------------------------- */

enum p9_fid_kind {
	P9_FID_PATH, /* not opened; fd is O_PATH */
	P9_FID_FILE, /* opened */
	P9_FID_DIR, /* opened */
	P9_FID_XATTR_READ, /* value or list in buffer; fd is -1 */
	P9_FID_XATTR_WRITE, /* value on its way; fd is O_PATH */
};

/* Memory of a fid, counted against P9_MAX_BUFFERS. */
struct p9_buffer {
	uint32_t size, filled;
	uint8_t data[];
};

/*
 * A handle. Once in the table it does not change, but for what its lock
 * guards: a message that changes what a handle means puts another one in its
 * place, and those in flight go on with what they began with.
 */
struct p9_fid {
	uint32_t id;
	unsigned int refs; /* fids->lock */
	struct p9_fid *next; /* fids->lock */
	enum p9_fid_kind kind;
	int fd;
	uint32_t uid; /* the guest's user who attached */
	int flags; /* O_* it was opened with; XATTR_* of an attribute */
	mode_t type; /* S_IFMT of its file */
	bool has_locks; /* or had; owners_lock */
	pthread_mutex_t lock; /* guards all below */
	struct p9_buffer *buffer; /* of entries, or a value */
	uint64_t dir_next; /* offset of the entry at dir_at */
	uint32_t dir_at; /* in buffer */
	struct p9_name xattr;
};

#define P9_FID_BUCKETS 4096

struct p9_fids {
	pthread_mutex_t lock;
	unsigned int count;
	int last_fd; /* of the newest fid */
	unsigned int mark; /* p9_fids_crowded() is true above it; 0: not yet */
	_Atomic uint64_t buffer_bytes;
	struct p9_fid *bucket[P9_FID_BUCKETS];
	pthread_mutex_t owners_lock;
	struct p9_owner *owners; /* owners_lock, as is the next */
	unsigned int nr_owners;
};

void p9_fids_init(struct p9_fids *fids);

/* Drop all fids. No message is being served. */
void p9_fids_clear(struct p9_fids *fids);
void p9_fids_release(struct p9_fids *fids);

/*
 * A fid that is in no table yet, owner of @fd; the caller's reference. NULL
 * (and @fd is closed) when memory is short.
 */
struct p9_fid *p9_fid_create(enum p9_fid_kind kind, int fd, uint32_t uid,
			     mode_t type);

/*
 * Enter @fid as @id, with a reference of the table's. Returns 0, -EINVAL (the
 * number is taken) or -EMFILE (too many).
 */
int p9_fid_insert(struct p9_fids *fids, struct p9_fid *fid, uint32_t id);

/*
 * Is more than half taken of the fids that the server can have, or of the
 * process's descriptors that are for all of its servers, and an eighth of that
 * more than when this was true last? Guests keep them for what they cache.
 */
struct p9_server;
bool p9_fids_crowded(struct p9_server *server);

/* Put @fid in @old's place. Returns 0, or -EBADF when @old left it. */
int p9_fid_replace(struct p9_fids *fids, struct p9_fid *old,
		   struct p9_fid *fid);

/* Fid @id, with a reference; NULL when there is none. */
struct p9_fid *p9_fid_get(struct p9_fids *fids, uint32_t id);

/* The same, and out of the table. */
struct p9_fid *p9_fid_remove(struct p9_fids *fids, uint32_t id);

/* Drop a reference; the last one closes the file. NULL is allowed. */
void p9_fid_put(struct p9_fids *fids, struct p9_fid *fid);

/* A buffer for @fid, which has none. Returns 0, -ENOMEM or -ENOSPC. */
int p9_fid_buffer(struct p9_fids *fids, struct p9_fid *fid, uint32_t size);

/* Drop the locks that go with @fid, whose last reference is gone (9p-lock.c). */
void p9_locks_drop(struct p9_fids *fids, const struct p9_fid *fid);

/* ---- the server (9p-serve.c) --------------------------------------------- */

struct p9_server {
	struct p9_share share;
	struct p9_fids fids;
	uint32_t msize; /* 0 before Tversion */
};

/* Returns as p9_share_open(). */
int p9_server_init(struct p9_server *server, const char *path, bool read_only,
		   bool mapped);
void p9_server_release(struct p9_server *server);

/* Forget the guest: its handles, locks and what was agreed on. */
void p9_server_reset(struct p9_server *server);

/* A message and the room for its answer, in the guest's memory. */
struct p9_message {
	struct iovec *out, *in; /* readable, writable; modified */
	unsigned int out_count, in_count;
	uint64_t out_len, in_len;
	/* by p9_message_parse() */
	uint32_t size;
	uint8_t type;
	uint16_t tag;
	uint16_t old_tag; /* Tflush */
	/* by p9_serve() */
	uint32_t answer; /* bytes */
	uint32_t data_read, data_written;
	int err; /* what the guest was told: 0 or -errno */
};

/*
 * Copy the header, which is not read again. Returns 0, or -EPROTO when it
 * cannot even be answered.
 */
int p9_message_parse(struct p9_message *message);

/* Buffers that a message or an answer may be cut into. */
#define P9_MAX_IOV 256

/* A thread's memory for messages. */
struct p9_scratch {
	struct iovec data[P9_MAX_IOV];
	uint8_t args[P9_MAX_ARGS];
	uint8_t answer[P9_MAX_ANSWER];
};

/* Carry out a message that was parsed, and answer it. */
void p9_serve(struct p9_server *server, struct p9_scratch *scratch,
	      struct p9_message *message);

/* A message being served. */
struct p9_call {
	struct p9_server *server;
	struct p9_cursor in; /* arguments, behind the header */
	struct p9_cursor out; /* the answer's, behind its header */
	struct p9_message *message;
	struct iovec *data; /* P9_MAX_IOV, for the operation's use */
};

/* One operation: reads call->in, writes call->out. Returns 0 or -errno. */
typedef int p9_operation(struct p9_call *call);

p9_operation p9_version, p9_auth, p9_attach, p9_flush, p9_walk, p9_clunk,
	p9_remove;
p9_operation p9_lopen, p9_lcreate, p9_read, p9_write, p9_fsync, p9_lock,
	p9_getlock;
p9_operation p9_readdir, p9_mkdir, p9_mknod, p9_symlink, p9_readlink, p9_link,
	p9_rename, p9_renameat, p9_unlinkat;
p9_operation p9_getattr, p9_setattr, p9_statfs, p9_xattrwalk, p9_xattrcreate;

/* The fid whose number is the next argument; err in @call->in if none. */
struct p9_fid *p9_get_fid(struct p9_call *call);

/* Apply the value of an attribute's fid, which is being clunked. */
int p9_xattr_apply(struct p9_fid *fid);

#endif
