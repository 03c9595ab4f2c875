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

static void append(struct console_lines *lines, const char *data, size_t len)
{
	memcpy(lines->text + lines->len, data, len);
	lines->len += len;
	lines->grown = true;
	if (lines->len < CONSOLE_LINE)
		return;
	tell(lines, false);
	drop_first_half(lines);
}

static void special_byte(struct console_lines *lines, char c)
{
	if (!console_is_text(&lines->escape, c))
		return;
	if (c != '\n') {
		append(lines, &c, 1);
		return;
	}
	tell(lines, true);
	lines->len = 0;
	lines->cut = false;
}

/* Most of what consoles say is in long runs of plain bytes. */
void console_lines_add(struct console_lines *lines, const char *data,
		       size_t len)
{
	size_t at = 0;

	while (at < len) {
		size_t room = CONSOLE_LINE - lines->len;
		size_t run = 0;

		while (lines->escape == ESCAPE_NONE && run < room &&
		       at + run < len &&
		       !is_control((unsigned char)data[at + run]))
			run++;
		if (run)
			append(lines, data + at, run);
		else
			special_byte(lines, data[at++]);
		at += run;
	}
}

void console_lines_peek(struct console_lines *lines)
{
	if (lines->grown)
		tell(lines, false);
}
