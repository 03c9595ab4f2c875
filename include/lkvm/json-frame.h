/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where one JSON value ends and the next begins, in a stream of bytes that may
 * be cut anywhere: so that a parser is given whole values alone, and nothing
 * that is longer or deeper than it is to see. All the state is here.
 */
#ifndef LKVM_JSON_FRAME_H
#define LKVM_JSON_FRAME_H

#include <stdbool.h>
#include <stddef.h>

/* Brackets within brackets. */
#define JSON_FRAME_MAX_DEPTH 32

/* Zeroed: between two values. */
struct json_frame {
	unsigned int depth;
	bool junk; /* no bracket began it: it goes up to the line's end */
	bool string, escaped; /* in brackets: in a string, after its \ */
};

enum json_frame_state {
	JSON_FRAME_NONE, /* only blanks came, between two values */
	JSON_FRAME_PART, /* the value goes on */
	JSON_FRAME_WHOLE, /* it ends with the last byte that was looked at */
	JSON_FRAME_DEEP, /* it is too deep, and the stream is lost */
};

/*
 * Look at @data, of @len bytes, up to where the value ends or all are looked
 * at: *@used of them. Brackets are counted, not matched; that is the parser's.
 */
enum json_frame_state json_frame_feed(struct json_frame *frame,
				      const char *data, size_t len,
				      size_t *used);

#endif
