/* SPDX-License-Identifier: GPL-2.0 */
/* Sends back what it receives on ttyS0, by polling, as often as it is told. */
#include "guest.h"

	.globl	_start
_start:
	cli
	serial_fifos
	movl	$SERIAL_BYTES, %edx
	inl	%dx, %eax
	movl	%eax, %ebp
next:
	movl	$(SERIAL0 + 5), %edx
1:	inb	%dx, %al
	andb	$0x21, %al		/* DR and THRE */
	cmpb	$0x21, %al
	jne	1b
	movl	$SERIAL0, %edx
	inb	%dx, %al
	outb	%al, %dx
	decl	%ebp
	jnz	next

	serial_end
