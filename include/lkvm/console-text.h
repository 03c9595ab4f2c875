/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The text in what a console says: lines without carriage returns, terminal
 * escapes and other control characters. The input is a guest's, so the work
 * and the memory for each byte of it are bounded. No locks: one thread's.
 */
#ifndef LKVM_CONSOLE_TEXT_H
#define LKVM_CONSOLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Where in an escape sequence (ECMA-48, 5) the last byte stood. */
enum console_escape {
	ESCAPE_NONE,
	ESCAPE_BEGUN, /* ESC */
	ESCAPE_MIDDLE, /* intermediate bytes of a short one */
	ESCAPE_CSI, /* up to its final byte */
	ESCAPE_STRING, /* up to BEL or ESC \ */
};

/*
 * Is @c text: printable, beyond ASCII, a tab or a newline, and not of an escape
 * sequence? @escape, zeroed at first, is kept from byte to byte. A newline ends
 * a sequence that nobody has ended.
 */
bool console_is_text(enum console_escape *escape, char c);

/* A line that is longer is looked at in pieces, of which each overlaps. */
#define CONSOLE_LINE 2048

struct console_lines {
	/*
	 * @text, which has a NUL behind it, is a line; or, if not @begins, the
	 * later part of one; or, if not @ends, as much as there is of it now.
	 */
	void (*line)(void *opaque, const char *text, bool begins, bool ends);
	void *opaque;
	/* The rest is console-text.c's; zeroed at first. */
	enum console_escape escape;
	bool cut; /* the line's beginning has been dropped */
	bool grown; /* since line() was called with it */
	size_t len;
	char text[CONSOLE_LINE + 1];
};

/* More of the console's output. Calls line() for each line that ends in it. */
void console_lines_add(struct console_lines *lines, const char *data,
		       size_t len);

/* Call line() with the unfinished line, unless that has been done already. */
void console_lines_peek(struct console_lines *lines);

#endif
