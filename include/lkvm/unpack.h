/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Decompression of whole files in memory.
 */
#ifndef LKVM_UNPACK_H
#define LKVM_UNPACK_H

#include <stddef.h>

/*
 * Unpack @len bytes at @in by what the end of the file's name says: ".gz",
 * ".xz", ".zst"; a copy for any other. The result has @max bytes at most.
 * Returns 0 with *@out, which is the caller's to free(), and *@out_len; -EFBIG,
 * -EBADMSG (broken) or -ENOMEM. Any thread.
 */
int unpack(const char *name, const void *in, size_t len, size_t max, void **out,
	   size_t *out_len);

#endif
