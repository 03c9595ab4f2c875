/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One 9P message in, one answer out. See 9p.h.
 *
 * A message's bytes lie in memory that the guest may change at any time: the
 * header is copied once, then the arguments once. Only a file's data is left
 * where it is, for the kernel to read and write in place.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

static const struct {
	p9_operation *serve;
	bool writes; /* needs a share that is not read-only */
} operations[P9_TYPES] = {
	[P9_TSTATFS] = { p9_statfs, false },
	[P9_TLOPEN] = { p9_lopen, false },
	[P9_TLCREATE] = { p9_lcreate, true },
	[P9_TSYMLINK] = { p9_symlink, true },
	[P9_TMKNOD] = { p9_mknod, true },
	[P9_TRENAME] = { p9_rename, true },
	[P9_TREADLINK] = { p9_readlink, false },
	[P9_TGETATTR] = { p9_getattr, false },
	[P9_TSETATTR] = { p9_setattr, true },
	[P9_TXATTRWALK] = { p9_xattrwalk, false },
	[P9_TXATTRCREATE] = { p9_xattrcreate, true },
	[P9_TREADDIR] = { p9_readdir, false },
	[P9_TFSYNC] = { p9_fsync, false },
	[P9_TLOCK] = { p9_lock, false },
	[P9_TGETLOCK] = { p9_getlock, false },
	[P9_TLINK] = { p9_link, true },
	[P9_TMKDIR] = { p9_mkdir, true },
	[P9_TRENAMEAT] = { p9_renameat, true },
	[P9_TUNLINKAT] = { p9_unlinkat, true },
	[P9_TVERSION] = { p9_version, false },
	[P9_TAUTH] = { p9_auth, false },
	[P9_TATTACH] = { p9_attach, false },
	[P9_TFLUSH] = { p9_flush, false },
	[P9_TWALK] = { p9_walk, false },
	[P9_TREAD] = { p9_read, false },
	[P9_TWRITE] = { p9_write, true },
	[P9_TCLUNK] = { p9_clunk, false },
	/* The handle goes in any case: it looks by itself. */
	[P9_TREMOVE] = { p9_remove, false },
};

/* ---- messages ------------------------------------------------------------ */

int p9_message_parse(struct p9_message *message)
{
	/* size[4] type[1] tag[2], and oldtag[2] of a Tflush */
	uint8_t header[P9_HEADER + 2] = { 0 };
	size_t got = iov_to_buf(message->out, message->out_count, 0, header,
				sizeof(header));
	struct p9_cursor c = { header, header + sizeof(header), 0 };

	if (got < P9_HEADER || message->in_len < P9_ERROR_BYTES ||
	    message->out_count > P9_MAX_IOV || message->in_count > P9_MAX_IOV)
		return -EPROTO;
	message->size = p9_get_u32(&c);
	message->type = p9_get_u8(&c);
	message->tag = p9_get_u16(&c);
	message->old_tag = p9_get_u16(&c);
	if (message->size < P9_HEADER || message->size > message->out_len)
		return -EPROTO;
	return 0;
}

struct p9_fid *p9_get_fid(struct p9_call *call)
{
	uint32_t id = p9_get_u32(&call->in);
	struct p9_fid *fid;

	if (call->in.err)
		return NULL;
	fid = p9_fid_get(&call->server->fids, id);
	if (!fid)
		call->in.err = -EBADF;
	return fid;
}

/* How much of @message is arguments; the rest of a Twrite is data. */
static uint32_t args_of(const struct p9_message *message)
{
	if (message->type == P9_TWRITE)
		return MIN(message->size, P9_WRITE_BYTES);
	return message->size;
}

static int dispatch(struct p9_call *call)
{
	const struct p9_server *server = call->server;
	uint8_t type = call->message->type;

	if (type >= P9_TYPES || !operations[type].serve)
		return -EOPNOTSUPP;
	if (!server->msize && type != P9_TVERSION)
		return -EPROTO;
	if (call->message->size >
	    (server->msize ? server->msize : P9_MAX_MSIZE))
		return -EMSGSIZE;
	if (operations[type].writes && server->share.read_only)
		return -EROFS;
	return operations[type].serve(call);
}

/* Build the answer in @answer, but for data that Tread has put in place. */
static uint32_t finish(struct p9_call *call, uint8_t *answer, int err)
{
	struct p9_message *message = call->message;
	struct p9_cursor c = { answer, answer + P9_ERROR_BYTES, 0 };
	uint32_t len;

	if (!err)
		err = call->out.err;
	message->err = err;
	if (err) {
		message->data_read = 0;
		len = P9_ERROR_BYTES;
	} else {
		len = (uint32_t)(call->out.at - answer);
	}
	p9_put_u32(&c, len + message->data_read);
	p9_put_u8(&c, err ? P9_RLERROR : (uint8_t)(message->type + 1));
	p9_put_u16(&c, message->tag);
	if (err)
		p9_put_u32(&c, (uint32_t)-err);
	return len;
}

void p9_serve(struct p9_server *server, struct p9_scratch *scratch,
	      struct p9_message *message)
{
	uint32_t args = args_of(message);
	uint64_t room = MIN(message->in_len, sizeof(scratch->answer));
	struct p9_call call = {
		.server = server,
		.message = message,
		.data = scratch->data,
		.in = { scratch->args + P9_HEADER, scratch->args + args, 0 },
		.out = { scratch->answer + P9_HEADER, scratch->answer + room,
			 0 },
	};
	uint32_t len;
	int err;

	message->data_read = 0;
	message->data_written = 0;
	if (args > sizeof(scratch->args)) {
		err = -EMSGSIZE;
	} else {
		/* The size that counts is the one that was checked. */
		iov_to_buf(message->out, message->out_count, 0, scratch->args,
			   args);
		err = dispatch(&call);
	}
	len = finish(&call, scratch->answer, err);
	iov_from_buf(message->in, message->in_count, 0, scratch->answer, len);
	message->answer = len + message->data_read;
}

/* ---- life ---------------------------------------------------------------- */

int p9_server_init(struct p9_server *server, const char *path, bool read_only,
		   bool mapped)
{
	int err = p9_share_open(&server->share, path, read_only, mapped);

	if (err)
		return err;
	p9_fids_init(&server->fids);
	return 0;
}

void p9_server_reset(struct p9_server *server)
{
	p9_fids_clear(&server->fids);
	server->msize = 0;
}

void p9_server_release(struct p9_server *server)
{
	p9_fids_release(&server->fids);
	p9_share_close(&server->share);
}
