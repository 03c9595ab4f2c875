/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which Linux is in a kernel's file: by the setup header of a bzImage
 * (Documentation/x86/boot.rst, kernel_version), or by the banner that an ELF
 * kernel prints when it boots.
 */
#include <asm/bootparam.h>
#include <ctype.h>
#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lkvm/arch.h>
#include <lkvm/util.h>

#define HDRS_MAGIC 0x53726448
#define HEADER_MAGIC offsetof(struct boot_params, hdr.header)
#define KERNEL_VERSION offsetof(struct boot_params, hdr.kernel_version)
#define VERSION_BASE 0x200 /* what the header's offset counts from */
#define BANNER "Linux version "
#define CHUNK (256 * KIB)
#define OVERLAP 128 /* the banner and a release */

/* The first word of @text, of which @len bytes are there. */
static int take_word(const char *text, size_t len, char *version, size_t size)
{
	size_t n = 0;

	while (n < len && isgraph((unsigned char)text[n]) && text[n] != '/')
		n++;
	/* Each release begins with its number. */
	if (!n || !isdigit((unsigned char)text[0]))
		return -ENOEXEC;
	snprintf(version, size, "%.*s", (int)n, text);
	return 0;
}

static int bzimage_version(int fd, char *version, size_t size)
{
	char text[64] = { 0 };
	uint16_t offset;
	int err = pread_full(fd, &offset, sizeof(offset), KERNEL_VERSION);

	if (err)
		return err;
	if (!offset)
		return -ENOEXEC;
	/* A word that the file ends in is no word of a kernel. */
	err = pread_full(fd, text, sizeof(text),
			 VERSION_BASE + le16toh(offset));
	return err ?: take_word(text, sizeof(text), version, size);
}

/* The banner in @buf, one that begins before @limit, as others may be cut. */
static int find_banner(const char *buf, size_t len, size_t limit, char *version,
		       size_t size)
{
	const char *end = buf + len, *at = buf;
	int err = -ENOEXEC;

	while (err &&
	       (at = memmem(at, (size_t)(end - at), BANNER, strlen(BANNER)))) {
		if ((size_t)(at - buf) >= limit)
			break;
		at += strlen(BANNER);
		err = take_word(at, (size_t)(end - at), version, size);
	}
	return err;
}

static int elf_version(int fd, uint64_t bytes, char *version, size_t size)
{
	char *buf = malloc(CHUNK + OVERLAP);
	int err = buf ? -ENOEXEC : -ENOMEM;

	for (uint64_t at = 0; err == -ENOEXEC && at < bytes; at += CHUNK) {
		size_t len = MIN(CHUNK + OVERLAP, bytes - at);

		err = pread_full(fd, buf, len, (off_t)at) ?:
			      find_banner(buf, len, CHUNK, version, size);
	}
	free(buf);
	return err;
}

int arch_kernel_version(int fd, char *version, size_t size)
{
	unsigned char ident[SELFMAG];
	uint32_t magic = 0;
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return -errno;
	err = pread_full(fd, ident, sizeof(ident), 0);
	if (!err && !memcmp(ident, ELFMAG, SELFMAG))
		return elf_version(fd, (uint64_t)st.st_size, version, size);
	err = pread_full(fd, &magic, sizeof(magic), HEADER_MAGIC);
	if (!err && le32toh(magic) == HDRS_MAGIC)
		err = bzimage_version(fd, version, size);
	else if (!err)
		err = -ENOEXEC;
	return err == -ENODATA ? -ENOEXEC : err;
}
