/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes a known pattern to ttyS0 by polling: a byte each time that THRE is
 * set, or as many as the test says (up to the FIFO's 16), as drivers do.
 * Byte i is (i + i / 256 + i / 65536) % 256.
 */
#include "guest.h"

#define BUFFER 0x200000

	.globl	_start
_start:
	cli
	cld
	serial_fifos
	movl	$SERIAL_BYTES, %edx
	inl	%dx, %eax
	movl	%eax, %ebp
	movl	$SERIAL_BURST, %edx
	inl	%dx, %eax
	movl	%eax, %ebx

	movl	$BUFFER, %edi
	xorl	%ecx, %ecx
1:	movl	%ecx, %eax
	addb	%ch, %al
	movl	%ecx, %edx
	shrl	$16, %edx
	addb	%dl, %al
	stosb
	incl	%ecx
	cmpl	%ebp, %ecx
	jb	1b

	movl	$BUFFER, %esi
burst:
	movl	$(SERIAL0 + 5), %edx
	inb	%dx, %al
	testb	$0x20, %al		/* THRE */
	jnz	2f
	movl	$SERIAL_WAITS, %edx
	outb	%al, %dx
	jmp	burst
2:	movl	%ebx, %ecx
	movl	$SERIAL0, %edx
	rep outsb
	subl	%ebx, %ebp
	jnz	burst

	serial_end
