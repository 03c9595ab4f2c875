/* SPDX-License-Identifier: GPL-2.0 */
/* The text in what a console says: see console-text.h. */
#include <string.h>

#include <lkvm/console-text.h>

#define BEL 0x07
#define ESC 0x1b
#define DEL 0x7f

static bool is_control(unsigned char c)
{
	return c < ' ' || c == DEL;
}

static enum console_escape after_escape(unsigned char c)
{
	if (c == '[')
		return ESCAPE_CSI;
	/* OSC, DCS, SOS, PM and APC: a string follows. */
	if (c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_')
		return ESCAPE_STRING;
	return c >= ' ' && c <= '/' ? ESCAPE_MIDDLE : ESCAPE_NONE;
}

static enum console_escape in_escape(enum console_escape escape,
				     unsigned char c)
{
	switch (escape) {
	case ESCAPE_BEGUN:
		return after_escape(c);
	case ESCAPE_MIDDLE:
		return c >= ' ' && c <= '/' ? ESCAPE_MIDDLE : ESCAPE_NONE;
	case ESCAPE_CSI:
		return c >= '@' && c <= '~' ? ESCAPE_NONE : ESCAPE_CSI;
	case ESCAPE_STRING:
		return c == BEL ? ESCAPE_NONE : ESCAPE_STRING;
	case ESCAPE_NONE:
		break;
	}
	return ESCAPE_NONE;
}

bool console_is_text(enum console_escape *escape, char c)
{
	unsigned char byte = (unsigned char)c;

	if (c == '\n') {
		*escape = ESCAPE_NONE;
		return true;
	}
	/* Also within a string, whose end is an escape sequence itself. */
	if (byte == ESC) {
		*escape = ESCAPE_BEGUN;
		return false;
	}
	if (*escape == ESCAPE_NONE)
		return c == '\t' || !is_control(byte);
	*escape = in_escape(*escape, byte);
	return false;
}

static void tell(struct console_lines *lines, bool ends)
{
	lines->text[lines->len] = '\0';
	lines->grown = false;
	lines->line(lines->opaque, lines->text, !lines->cut, ends);
}

/* What spans the border of two pieces is in the next one as a whole. */
static void drop_first_half(struct console_lines *lines)
{
	lines->len -= CONSOLE_LINE / 2;
	memmove(lines->text, lines->text + CONSOLE_LINE / 2, lines->len);
	lines->cut = true;
}

void console_lines_add(struct console_lines *lines, const char *data,
		       size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!console_is_text(&lines->escape, data[i]))
			continue;
		if (data[i] == '\n') {
			tell(lines, true);
			lines->len = 0;
			lines->cut = false;
			continue;
		}
		lines->text[lines->len++] = data[i];
		lines->grown = true;
		if (lines->len < CONSOLE_LINE)
			continue;
		tell(lines, false);
		drop_first_half(lines);
	}
}

void console_lines_peek(struct console_lines *lines)
{
	if (lines->grown)
		tell(lines, false);
}
