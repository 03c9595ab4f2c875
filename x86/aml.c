/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ACPI Machine Language as bytes: the grammar of ACPI 6.4, 20.2, and the
 * resource descriptors of 6.4.
 */
#include <lkvm/aml.h>

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

/* Opcodes (20.3) and descriptor tags (6.4.2, 6.4.3) of this file alone. */
#define OP_ZERO 0x00
#define OP_ONE 0x01
#define OP_NAME 0x08
#define OP_BYTE 0x0a
#define OP_WORD 0x0b
#define OP_DWORD 0x0c
#define OP_STRING 0x0d
#define OP_QWORD 0x0e
#define OP_SCOPE 0x10
#define OP_BUFFER 0x11
#define OP_PACKAGE 0x12
#define OP_METHOD 0x14
#define OP_DUAL_NAME 0x2e
#define OP_MULTI_NAME 0x2f
#define OP_EXTENDED 0x5b
#define OP_IF 0xa0
#define EXT_OP_REGION 0x80
#define EXT_FIELD 0x81
#define EXT_DEVICE 0x82

#define TAG_IRQ_FLAGS 0x23
#define TAG_IO 0x47
#define TAG_END 0x79
#define TAG_MEMORY32_FIXED 0x86
#define TAG_DWORD_SPACE 0x87
#define TAG_WORD_SPACE 0x88
#define TAG_INTERRUPT 0x89

#define SPACE_MEMORY 0
#define SPACE_IO 1
#define SPACE_BUS 2
#define SPACE_MIN_MAX_FIXED 0x0c
#define SPACE_PRODUCER 0x00
#define SPACE_READ_WRITE 0x01
#define SPACE_ENTIRE_RANGE 0x03 /* ISA and non-ISA ports */

#define METHOD_SERIALIZED 0x08
#define FIELD_BYTE_ACCESS 0x01 /* no lock, other bits preserved */
#define NAME_LENGTH 4

static void fail(struct aml *aml, int error)
{
	if (!aml->error)
		aml->error = error;
}

static void put(struct aml *aml, const void *data, size_t len)
{
	if (!aml->error && len > aml->size - aml->len)
		fail(aml, -ENOSPC);
	if (aml->error)
		return;
	memcpy(aml->data + aml->len, data, len);
	aml->len += len;
}

static void put8(struct aml *aml, uint8_t value)
{
	put(aml, &value, sizeof(value));
}

static void put16(struct aml *aml, uint16_t value)
{
	uint16_t le = htole16(value);

	put(aml, &le, sizeof(le));
}

static void put32(struct aml *aml, uint32_t value)
{
	uint32_t le = htole32(value);

	put(aml, &le, sizeof(le));
}

static void put64(struct aml *aml, uint64_t value)
{
	uint64_t le = htole64(value);

	put(aml, &le, sizeof(le));
}

/*
 * 20.2.4: six bits in one byte, or four bits and one to three whole bytes
 * after them. Returns the bytes used, 0 when @value has no encoding.
 */
static unsigned int encode_length(uint64_t value, uint8_t out[4])
{
	unsigned int follow;

	if (value < 0x40) {
		out[0] = value;
		return 1;
	}
	for (follow = 1; follow <= 3; follow++) {
		if (value >> (4 + 8 * follow))
			continue;
		out[0] = follow << 6 | (value & 0xf);
		for (unsigned int i = 0; i < follow; i++)
			out[1 + i] = value >> (4 + 8 * i);
		return 1 + follow;
	}
	return 0;
}

/* From here to the matching aml_end() counts one PkgLength. */
static void begin(struct aml *aml)
{
	if (aml->depth == AML_MAX_DEPTH)
		fail(aml, -ENOSPC);
	if (!aml->error)
		aml->open[aml->depth++] = aml->len;
}

/* A PkgLength counts itself: the shortest form that can is the right one. */
void aml_end(struct aml *aml)
{
	size_t start, body;
	uint8_t length[4];
	unsigned int n, guess;

	if (!aml->depth)
		fail(aml, -EINVAL);
	if (aml->error)
		return;
	start = aml->open[--aml->depth];
	body = aml->len - start;
	for (guess = 1; guess <= 4; guess++) {
		n = encode_length(body + guess, length);
		if (n <= guess)
			break;
	}
	if (!n || guess > 4 || n > aml->size - aml->len) {
		fail(aml, -ENOSPC);
		return;
	}
	memmove(aml->data + start + n, aml->data + start, body);
	memcpy(aml->data + start, length, n);
	aml->len += n;
}

void aml_init(struct aml *aml, void *data, size_t size)
{
	*aml = (struct aml) { .data = data, .size = size };
}

int aml_finish(const struct aml *aml, size_t *len)
{
	if (aml->error)
		return aml->error;
	if (aml->depth)
		return -EINVAL;
	*len = aml->len;
	return 0;
}

void aml_op(struct aml *aml, enum aml_opcode op)
{
	put8(aml, op);
}

/* 20.2.2: one NameSeg from @text, filled up; returns the characters read. */
static size_t put_name_segment(struct aml *aml, const char *text)
{
	char segment[NAME_LENGTH] = { '_', '_', '_', '_' };
	size_t len = strcspn(text, ".");

	if (len < 1 || len > NAME_LENGTH || isdigit((unsigned char)text[0])) {
		fail(aml, -EINVAL);
		return len;
	}
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c != '_' && !(c >= 'A' && c <= 'Z') &&
		    !(c >= '0' && c <= '9'))
			fail(aml, -EINVAL);
		segment[i] = c;
	}
	put(aml, segment, sizeof(segment));
	return len;
}

void aml_path(struct aml *aml, const char *path)
{
	uint8_t segments = 1;

	if (*path == '\\')
		put8(aml, *path++);
	for (const char *p = path; (p = strchr(p, '.')); p++)
		segments++;
	if (segments == 2) {
		put8(aml, OP_DUAL_NAME);
	} else if (segments > 2) {
		put8(aml, OP_MULTI_NAME);
		put8(aml, segments);
	}
	for (uint8_t i = 0; i < segments; i++)
		path += put_name_segment(aml, path) + 1;
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		put8(aml, value ? OP_ONE : OP_ZERO);
	} else if (value <= UINT8_MAX) {
		put8(aml, OP_BYTE);
		put8(aml, value);
	} else if (value <= UINT16_MAX) {
		put8(aml, OP_WORD);
		put16(aml, value);
	} else if (value <= UINT32_MAX) {
		put8(aml, OP_DWORD);
		put32(aml, value);
	} else {
		put8(aml, OP_QWORD);
		put64(aml, value);
	}
}

void aml_string(struct aml *aml, const char *text)
{
	put8(aml, OP_STRING);
	put(aml, text, strlen(text) + 1);
}

static bool hex_digit(char c, unsigned int *value)
{
	if (c >= '0' && c <= '9')
		*value = c - '0';
	else if (c >= 'A' && c <= 'F')
		*value = c - 'A' + 10;
	else
		return false;
	return true;
}

/*
 * 19.6.35: three letters of five bits each and four hexadecimal digits, in a
 * dword whose bytes stand in the order of the text.
 */
void aml_eisa_id(struct aml *aml, const char *id)
{
	uint32_t packed = 0;
	unsigned int digit;

	if (strlen(id) != 7) {
		fail(aml, -EINVAL);
		return;
	}
	for (unsigned int i = 0; i < 3; i++) {
		if (id[i] < 'A' || id[i] > 'Z')
			fail(aml, -EINVAL);
		packed = packed << 5 | ((id[i] - '@') & 0x1f);
	}
	for (unsigned int i = 3; i < 7; i++) {
		if (!hex_digit(id[i], &digit)) {
			fail(aml, -EINVAL);
			return;
		}
		packed = packed << 4 | digit;
	}
	put8(aml, OP_DWORD);
	put32(aml, __builtin_bswap32(packed));
}

void aml_buffer(struct aml *aml, const void *data, uint8_t len)
{
	put8(aml, OP_BUFFER);
	begin(aml);
	aml_integer(aml, len);
	put(aml, data, len);
	aml_end(aml);
}

void aml_name(struct aml *aml, const char *path)
{
	put8(aml, OP_NAME);
	aml_path(aml, path);
}

void aml_name_integer(struct aml *aml, const char *path, uint64_t value)
{
	aml_name(aml, path);
	aml_integer(aml, value);
}

void aml_op_region(struct aml *aml, const char *path, enum aml_space space,
		   uint64_t base, uint64_t len)
{
	put8(aml, OP_EXTENDED);
	put8(aml, EXT_OP_REGION);
	aml_path(aml, path);
	put8(aml, space);
	aml_integer(aml, base);
	aml_integer(aml, len);
}

void aml_scope(struct aml *aml, const char *path)
{
	put8(aml, OP_SCOPE);
	begin(aml);
	aml_path(aml, path);
}

void aml_device(struct aml *aml, const char *path)
{
	put8(aml, OP_EXTENDED);
	put8(aml, EXT_DEVICE);
	begin(aml);
	aml_path(aml, path);
}

/* Serialized, as 19.6.85 wants of one that creates names when it runs. */
void aml_method(struct aml *aml, const char *path, unsigned int args)
{
	put8(aml, OP_METHOD);
	begin(aml);
	aml_path(aml, path);
	if (args > 7)
		fail(aml, -EINVAL);
	put8(aml, METHOD_SERIALIZED | args);
}

void aml_package(struct aml *aml, uint8_t elements)
{
	put8(aml, OP_PACKAGE);
	begin(aml);
	put8(aml, elements);
}

void aml_if(struct aml *aml)
{
	put8(aml, OP_IF);
	begin(aml);
}

void aml_field(struct aml *aml, const char *region)
{
	put8(aml, OP_EXTENDED);
	put8(aml, EXT_FIELD);
	begin(aml);
	aml_path(aml, region);
	put8(aml, FIELD_BYTE_ACCESS);
}

/* 20.2.5.2: the width in bits, written as a PkgLength is. */
void aml_field_unit(struct aml *aml, const char *name, uint32_t bits)
{
	uint8_t length[4];
	unsigned int n = encode_length(bits, length);

	put_name_segment(aml, name);
	if (!n)
		fail(aml, -EINVAL);
	put(aml, length, n);
}

/* The buffer's size is not known before its end: a word takes it then. */
void aml_resources(struct aml *aml)
{
	put8(aml, OP_BUFFER);
	begin(aml);
	put8(aml, OP_WORD);
	put16(aml, 0);
}

void aml_resources_end(struct aml *aml)
{
	size_t start, len;
	uint16_t le;

	put8(aml, TAG_END);
	put8(aml, 0); /* 6.4.2.9: no checksum */
	if (!aml->depth)
		fail(aml, -EINVAL);
	if (aml->error)
		return;
	start = aml->open[aml->depth - 1] + 1;
	len = aml->len - start - sizeof(le);
	if (len > UINT16_MAX) {
		fail(aml, -ENOSPC);
		return;
	}
	le = htole16(len);
	memcpy(aml->data + start, &le, sizeof(le));
	aml_end(aml);
}

/* 6.4.2.5, with all 16 address bits decoded. */
void aml_io(struct aml *aml, uint64_t base, uint64_t len)
{
	if (base > UINT16_MAX || len > UINT8_MAX)
		fail(aml, -EINVAL);
	put8(aml, TAG_IO);
	put8(aml, 1);
	put16(aml, base);
	put16(aml, base);
	put8(aml, 1);
	put8(aml, len);
}

/* 6.4.2.1: bit 0 edge, bit 3 active low, bit 4 shared. */
void aml_isa_irq(struct aml *aml, uint32_t irq, enum aml_irq how)
{
	if (irq > 15) {
		fail(aml, -EINVAL);
		return;
	}
	put8(aml, TAG_IRQ_FLAGS);
	put16(aml, 1U << irq);
	put8(aml, how == AML_IRQ_EDGE_SHARED ? 0x11 : 0);
}

/* 6.4.3.6: bit 0 consumer, bit 1 edge, bit 2 active low, bit 3 shared. */
void aml_interrupt(struct aml *aml, uint32_t gsi, enum aml_irq how)
{
	static const uint8_t flags[] = {
		[AML_IRQ_EDGE_SHARED] = 0x0b,
		[AML_IRQ_LEVEL] = 0x01,
		[AML_IRQ_LEVEL_LOW_SHARED] = 0x0d,
	};

	put8(aml, TAG_INTERRUPT);
	put16(aml, 2 + sizeof(gsi));
	put8(aml, flags[how]);
	put8(aml, 1);
	put32(aml, gsi);
}

static bool fits_32bit(uint64_t base, uint64_t len)
{
	return base <= UINT32_MAX && len && len - 1 <= UINT32_MAX - base;
}

/* 6.4.3.4 */
void aml_memory32(struct aml *aml, uint64_t base, uint64_t len)
{
	if (!fits_32bit(base, len))
		fail(aml, -EINVAL);
	put8(aml, TAG_MEMORY32_FIXED);
	put16(aml, 1 + 2 * sizeof(uint32_t));
	put8(aml, SPACE_READ_WRITE);
	put32(aml, base);
	put32(aml, len);
}

/* 6.4.3.5.2: addresses that a host bridge hands on to its devices. */
void aml_pci_window(struct aml *aml, uint64_t base, uint64_t len)
{
	if (!fits_32bit(base, len))
		fail(aml, -EINVAL);
	put8(aml, TAG_DWORD_SPACE);
	put16(aml, 3 + 5 * sizeof(uint32_t));
	put8(aml, SPACE_MEMORY);
	put8(aml, SPACE_PRODUCER | SPACE_MIN_MAX_FIXED);
	put8(aml, SPACE_READ_WRITE);
	put32(aml, 0);
	put32(aml, base);
	put32(aml, base + len - 1);
	put32(aml, 0);
	put32(aml, len);
}

/* 6.4.3.5.3 */
static void put_word_space(struct aml *aml, uint8_t type, uint8_t type_flags,
			   uint16_t first, uint16_t last)
{
	put8(aml, TAG_WORD_SPACE);
	put16(aml, 3 + 5 * sizeof(uint16_t));
	put8(aml, type);
	put8(aml, SPACE_PRODUCER | SPACE_MIN_MAX_FIXED);
	put8(aml, type_flags);
	put16(aml, 0);
	put16(aml, first);
	put16(aml, last);
	put16(aml, 0);
	put16(aml, last - first + 1);
}

void aml_pci_ports(struct aml *aml, uint64_t base, uint64_t len)
{
	if (!len || len > UINT16_MAX || base > UINT16_MAX + 1ULL - len)
		fail(aml, -EINVAL);
	put_word_space(aml, SPACE_IO, SPACE_ENTIRE_RANGE, (uint16_t)base,
		       (uint16_t)(base + len - 1));
}

void aml_bus_numbers(struct aml *aml, uint16_t first, uint16_t last)
{
	put_word_space(aml, SPACE_BUS, 0, first, last);
}
