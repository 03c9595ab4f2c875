/* SPDX-License-Identifier: GPL-2.0 */
/* Strings: see text.h. */
#include <errno.h>

#include "text.h"

void *memcpy(void *to, const void *from, size_t len)
{
	void *at = to;

	__asm__ volatile("rep movsb"
			 : "+D"(at), "+S"(from), "+c"(len)
			 :
			 : "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t len)
{
	char *out = to;
	const char *in = from;

	if (out <= in)
		return memcpy(to, from, len);
	while (len--)
		((volatile char *)out)[len] = in[len];
	return to;
}

void *memset(void *to, int value, size_t len)
{
	void *at = to;

	__asm__ volatile("rep stosb"
			 : "+D"(at), "+c"(len)
			 : "a"(value)
			 : "memory");
	return to;
}

size_t strlen(const char *text)
{
	const volatile char *end = text;

	while (*end)
		end++;
	return (size_t)(end - text);
}

bool text_is(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const char *text_after(const char *text, const char *prefix)
{
	while (*prefix)
		if (*text++ != *prefix++)
			return NULL;
	return text;
}

char *text_find(char *text, char c)
{
	while (*text && *text != c)
		text++;
	return *text ? text : NULL;
}

char *text_cut(char *text, char c)
{
	char *at = text_find(text, c);

	if (!at)
		return text + strlen(text);
	*at = '\0';
	return at + 1;
}

long text_number(const char *text)
{
	long number = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		number = number * 10 + (*text - '0');
		if (number > TEXT_NUMBER_MAX)
			return -1;
	}
	return number;
}

void text_add(struct text *text, const char *more)
{
	while (*more && text->len < sizeof(text->data) - 1)
		text->data[text->len++] = *more++;
	text->data[text->len] = '\0';
}

void text_add_number(struct text *text, unsigned long number)
{
	char digits[24];
	char *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do {
		*--at = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	text_add(text, at);
}

void text_add_error(struct text *text, int err)
{
	static const struct {
		int err;
		const char *name;
	} names[] = {
		{ EPERM, "Operation not permitted" },
		{ ENOENT, "No such file or directory" },
		{ EIO, "Input/output error" },
		{ E2BIG, "Argument list too long" },
		{ ENOEXEC, "Exec format error" },
		{ ENOMEM, "Out of memory" },
		{ EACCES, "Permission denied" },
		{ EBUSY, "Device or resource busy" },
		{ ENODEV, "No such device" },
		{ ENOTDIR, "Not a directory" },
		{ EISDIR, "Is a directory" },
		{ EINVAL, "Invalid argument" },
		{ ENOSPC, "No space left" },
		{ EROFS, "Read-only file system" },
		{ ELOOP, "Too many symbolic links" },
		{ ENOSYS, "Function not implemented" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].err == -err) {
			text_add(text, names[i].name);
			return;
		}
	text_add(text, "error ");
	text_add_number(text, (unsigned long)-err);
}
