/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vmm/console-text.c: whatever a console says, and however it is cut into
 * pieces, its lines are the same, and hold nothing but text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/console-text.h>
#include <lkvm/util.h>

/* A sum over the lines, in order. */
struct heard {
	struct console_lines lines;
	uint64_t sum;
};

static void on_line(void *opaque, const char *text, bool begins, bool ends)
{
	struct heard *h = opaque;
	size_t len = strlen(text);

	if (len != h->lines.len || len > CONSOLE_LINE)
		abort();
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			abort();
		h->sum = h->sum * 31 + c;
	}
	h->sum = h->sum * 31 + begins * 2U + ends;
}

static void hear(struct heard *h, const uint8_t *data, size_t size, size_t step)
{
	memset(h, 0, sizeof(*h));
	h->lines.line = on_line;
	h->lines.opaque = h;
	for (size_t at = 0; at < size; at += step)
		console_lines_add(&h->lines, (const char *)data + at,
				  MIN(step, size - at));
	console_lines_peek(&h->lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct heard whole, pieces;

	hear(&whole, data, size, size ? size : 1);
	hear(&pieces, data, size, 1);
	if (whole.sum != pieces.sum)
		abort();
	hear(&pieces, data, size, 7);
	if (whole.sum != pieces.sum)
		abort();
	return 0;
}
