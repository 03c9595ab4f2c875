/* SPDX-License-Identifier: GPL-2.0 */
/* Strings, without a library. */
#ifndef GUEST_TEXT_H
#define GUEST_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The compiler calls the first three by itself. */
void *memcpy(void *to, const void *from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int value, size_t len);
size_t strlen(const char *text);

bool text_is(const char *a, const char *b);

/* What follows @prefix at the beginning of @text, or NULL. */
const char *text_after(const char *text, const char *prefix);

/* The first @c of @text, or NULL. */
char *text_find(char *text, char c);

/*
 * End the first field of @text at @c, in place; returns what follows, or an
 * empty string.
 */
char *text_cut(char *text, char c);

/* The highest user and group: one more is (uid_t)-1, which is nobody. */
#define TEXT_NUMBER_MAX 0xfffffffeL

/*
 * Decimal digits at @text, all of it; returns -1 if that is something else, or
 * more than TEXT_NUMBER_MAX.
 */
long text_number(const char *text);

/* A buffer that text is appended to. What does not fit is lost. */
struct text {
	size_t len;
	char data[1024]; /* ended by a NUL */
};

void text_add(struct text *text, const char *more);
void text_add_number(struct text *text, unsigned long number);

/* What the error -@err is called. */
void text_add_error(struct text *text, int err);

#endif
