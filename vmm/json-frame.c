/* SPDX-License-Identifier: GPL-2.0 */
/* The ends of JSON values: see json-frame.h. RFC 8259 has the grammar. */
#include <lkvm/json-frame.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool in_value(const struct json_frame *frame)
{
	return frame->depth || frame->junk;
}

/* In a string: what a quote or a backslash means hangs on the byte before. */
static void feed_string(struct json_frame *frame, char c)
{
	if (frame->escaped)
		frame->escaped = false;
	else if (c == '\\')
		frame->escaped = true;
	else if (c == '"')
		frame->string = false;
}

/* Between strings. */
static void feed_plain(struct json_frame *frame, char c)
{
	if (c == '{' || c == '[')
		frame->depth++;
	else if (c == '}' || c == ']')
		frame->depth--;
	else if (c == '"')
		frame->string = true;
}

enum json_frame_state json_frame_feed(struct json_frame *frame,
				      const char *data, size_t len,
				      size_t *used)
{
	for (size_t i = 0; i < len; i++) {
		char c = data[i];

		*used = i + 1;
		if (!in_value(frame)) {
			if (is_blank(c))
				continue;
			frame->junk = c != '{' && c != '[';
		}
		if (frame->junk)
			frame->junk = c != '\n';
		else if (frame->string)
			feed_string(frame, c);
		else
			feed_plain(frame, c);
		if (frame->depth > JSON_FRAME_MAX_DEPTH)
			return JSON_FRAME_DEEP;
		if (!in_value(frame))
			return JSON_FRAME_WHOLE;
	}
	*used = len;
	return in_value(frame) ? JSON_FRAME_PART : JSON_FRAME_NONE;
}
