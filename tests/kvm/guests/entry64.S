/* SPDX-License-Identifier: GPL-2.0 */
/* Says how it was entered: Documentation/x86/boot.rst, "64-bit boot". */
#include "guest.h"

	.code64
	.globl	_start
_start:
	movl	$ENTRY_REPORT, %edx
	movq	%cr0, %rax
	outl	%eax, %dx
	xorl	%eax, %eax
	movw	%cs, %ax
	outl	%eax, %dx
	movw	%ds, %ax
	outl	%eax, %dx
	movl	%esi, %eax
	outl	%eax, %dx
	movl	0x228(%rsi), %ebx	/* cmd_line_ptr */
	movl	(%rbx), %eax
	outl	%eax, %dx
	/* Only 64-bit code sees the upper half. */
	movq	$-1, %rax
	shrq	$32, %rax
	outl	%eax, %dx
	xorl	%eax, %eax
	outb	%al, $DEBUG_EXIT
1:	hlt
	jmp	1b
