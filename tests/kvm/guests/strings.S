/* SPDX-License-Identifier: GPL-2.0 */
/*
 * String I/O in all widths: known bytes go out, what comes in is echoed byte
 * by byte; at last the same backwards. Buffers cross pages, unaligned.
 */
#include "guest.h"

	.macro	strings out, in, width
	movl	$STRING_BUFFER, %esi
	movl	$STRING_ITEMS, %ecx
	movl	$(STRING_OUT + \width), %edx
	\out
	movl	$STRING_BUFFER, %edi
	movl	$STRING_ITEMS, %ecx
	movl	$(STRING_IN + \width), %edx
	\in
	movl	$STRING_BUFFER, %esi
	movl	$(STRING_ITEMS * \width), %ecx
	movl	$(STRING_ECHO + \width), %edx
	rep outsb
	.endm

	.globl	_start
_start:
	cli
	cld
	/* Byte i is i * 37 + 11. */
	movl	$STRING_BUFFER, %edi
	movl	$(STRING_ITEMS * 4), %ecx
	movb	$11, %al
1:	stosb
	addb	$37, %al
	loop	1b

	strings	"rep outsb", "rep insb", 1
	strings	"rep outsw", "rep insw", 2
	strings	"rep outsl", "rep insl", 4

	std
	movl	$(STRING_BUFFER + 4 * STRING_ITEMS - 2), %edi
	movl	$STRING_ITEMS, %ecx
	movl	$(STRING_IN + 8), %edx
	rep insw
	movl	$(STRING_BUFFER + 4 * STRING_ITEMS - 2), %esi
	movl	$STRING_ITEMS, %ecx
	movl	$(STRING_ECHO + 8), %edx
	rep outsw

	/* Nothing at all: no items. */
	cld
	xorl	%ecx, %ecx
	movl	$STRING_OUT, %edx
	rep outsb
	rep insb

	xorl	%eax, %eax
	outb	%al, $DEBUG_EXIT
1:	hlt
	jmp	1b
