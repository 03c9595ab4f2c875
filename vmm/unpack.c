/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Compressed files in memory, one function a format: RFC 1952 (gzip) by zlib,
 * RFC 8878 (Zstandard) by libzstd, .xz by liblzma.
 */
#include <errno.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <lkvm/unpack.h>
#include <lkvm/util.h>

/* A dictionary's size is the file's word: no more memory than this for it. */
#define XZ_MEMORY (128 * MIB)

/*
 * Each: 0 with *@out_len, -ENOSPC when @size bytes are not enough, -EBADMSG or
 * -ENOMEM.
 */
typedef int (*decode_fn)(const void *in, size_t len, void *out, size_t size,
			 size_t *out_len);

static int copy(const void *in, size_t len, void *out, size_t size,
		size_t *out_len)
{
	if (len > size)
		return -ENOSPC;
	memcpy(out, in, len);
	*out_len = len;
	return 0;
}

static int decode_gzip(const void *in, size_t len, void *out, size_t size,
		       size_t *out_len)
{
	z_stream stream = {
		.next_in = (Bytef *)in,
		.avail_in = (uInt)len,
		.next_out = out,
		.avail_out = (uInt)size,
	};
	int ret;

	/* 16: with gzip's header and trailer */
	if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
		return -ENOMEM;
	ret = inflate(&stream, Z_FINISH);
	*out_len = stream.total_out;
	inflateEnd(&stream);
	if (ret == Z_STREAM_END)
		return 0;
	if (ret == Z_MEM_ERROR)
		return -ENOMEM;
	return ret == Z_BUF_ERROR && !stream.avail_out ? -ENOSPC : -EBADMSG;
}

static int decode_xz(const void *in, size_t len, void *out, size_t size,
		     size_t *out_len)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	lzma_ret ret = lzma_stream_decoder(&stream, XZ_MEMORY, 0);
	bool full;

	stream.next_in = in;
	stream.avail_in = len;
	stream.next_out = out;
	stream.avail_out = size;
	if (ret == LZMA_OK)
		ret = lzma_code(&stream, LZMA_FINISH);
	*out_len = size - stream.avail_out;
	full = !stream.avail_out;
	lzma_end(&stream);
	if (ret == LZMA_STREAM_END)
		return 0;
	if (ret == LZMA_MEM_ERROR)
		return -ENOMEM;
	return ret == LZMA_OK && full ? -ENOSPC : -EBADMSG;
}

static int decode_zstd(const void *in, size_t len, void *out, size_t size,
		       size_t *out_len)
{
	size_t ret = ZSTD_decompress(out, size, in, len);

	if (!ZSTD_isError(ret)) {
		*out_len = ret;
		return 0;
	}
	switch (ZSTD_getErrorCode(ret)) {
	case ZSTD_error_dstSize_tooSmall:
		return -ENOSPC;
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	default:
		return -EBADMSG;
	}
}

static decode_fn decoder_of(const char *name)
{
	static const struct {
		const char *end;
		decode_fn decode;
	} known[] = {
		{ ".gz", decode_gzip },
		{ ".xz", decode_xz },
		{ ".zst", decode_zstd },
	};
	const char *dot = strrchr(name, '.');

	for (unsigned int i = 0; dot && i < ARRAY_SIZE(known); i++)
		if (!strcmp(dot, known[i].end))
			return known[i].decode;
	return copy;
}

int unpack(const char *name, const void *in, size_t len, size_t max, void **out,
	   size_t *out_len)
{
	decode_fn decode = decoder_of(name);
	/* Files say their size in different ways, or not at all: try. */
	size_t size = MIN(MAX(decode == copy ? len : 4 * len, 1), max);
	void *buf;
	int err;

	for (;;) {
		buf = malloc(size);
		if (!buf)
			return -ENOMEM;
		err = decode(in, len, buf, size, out_len);
		if (!err)
			break;
		free(buf);
		if (err != -ENOSPC)
			return err;
		if (size >= max)
			return -EFBIG;
		size = MIN(2 * size, max);
	}
	*out = buf;
	return 0;
}
