/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Parsing and building of 9P messages (intro(5)): little-endian integers, and
 * strings that begin with their length. See 9p.h.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include <lkvm/9p.h>

/* The next @len bytes, or NULL and the cursor has @err. */
static void *advance(struct p9_cursor *c, size_t len, int err)
{
	uint8_t *at = c->at;

	if (c->err)
		return NULL;
	if (len > (size_t)(c->end - at)) {
		c->err = err;
		return NULL;
	}
	c->at += len;
	return at;
}

static void get(struct p9_cursor *c, void *value, size_t len)
{
	const void *at = advance(c, len, -EPROTO);

	if (at)
		memcpy(value, at, len);
	else
		memset(value, 0, len);
}

uint8_t p9_get_u8(struct p9_cursor *c)
{
	uint8_t value;

	get(c, &value, sizeof(value));
	return value;
}

uint16_t p9_get_u16(struct p9_cursor *c)
{
	uint16_t value;

	get(c, &value, sizeof(value));
	return le16toh(value);
}

uint32_t p9_get_u32(struct p9_cursor *c)
{
	uint32_t value;

	get(c, &value, sizeof(value));
	return le32toh(value);
}

uint64_t p9_get_u64(struct p9_cursor *c)
{
	uint64_t value;

	get(c, &value, sizeof(value));
	return le64toh(value);
}

void p9_get_string(struct p9_cursor *c, char *buf, size_t size)
{
	size_t len = p9_get_u16(c);
	const char *text = advance(c, len, -EPROTO);

	buf[0] = '\0';
	if (!text)
		return;
	if (len >= size) {
		c->err = -ENAMETOOLONG;
	} else if (memchr(text, '\0', len)) {
		c->err = -EINVAL;
	} else {
		memcpy(buf, text, len);
		buf[len] = '\0';
	}
}

void p9_get_name(struct p9_cursor *c, struct p9_name *name)
{
	p9_get_string(c, name->text, sizeof(name->text));
	if (c->err)
		return;
	if (!name->text[0] || strchr(name->text, '/') ||
	    !strcmp(name->text, ".") || !strcmp(name->text, ".."))
		c->err = -EINVAL;
}

int p9_get_end(const struct p9_cursor *c)
{
	if (c->err)
		return c->err;
	return c->at == c->end ? 0 : -EPROTO;
}

static void put(struct p9_cursor *c, const void *value, size_t len)
{
	void *at = advance(c, len, -EMSGSIZE);

	if (at)
		memcpy(at, value, len);
}

void p9_put_u8(struct p9_cursor *c, uint8_t value)
{
	put(c, &value, sizeof(value));
}

void p9_put_u16(struct p9_cursor *c, uint16_t value)
{
	value = htole16(value);
	put(c, &value, sizeof(value));
}

void p9_put_u32(struct p9_cursor *c, uint32_t value)
{
	value = htole32(value);
	put(c, &value, sizeof(value));
}

void p9_put_u64(struct p9_cursor *c, uint64_t value)
{
	value = htole64(value);
	put(c, &value, sizeof(value));
}

void p9_put_string(struct p9_cursor *c, const char *text)
{
	size_t len = strlen(text);

	if (len > UINT16_MAX) {
		c->err = c->err ? c->err : -EMSGSIZE;
		return;
	}
	p9_put_u16(c, (uint16_t)len);
	put(c, text, len);
}

void p9_put_qid(struct p9_cursor *c, const struct p9_qid *qid)
{
	p9_put_u8(c, qid->type);
	p9_put_u32(c, qid->version);
	p9_put_u64(c, qid->path);
}
