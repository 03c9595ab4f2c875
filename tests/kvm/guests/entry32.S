/* SPDX-License-Identifier: GPL-2.0 */
/* Says how it was entered: Documentation/x86/boot.rst, "32-bit boot". */
#include "guest.h"

	.globl	_start
_start:
	movl	%esi, %ebx
	movl	$ENTRY_REPORT, %edx
	movl	%cr0, %eax
	outl	%eax, %dx
	xorl	%eax, %eax
	movw	%cs, %ax
	outl	%eax, %dx
	movw	%ds, %ax
	outl	%eax, %dx
	movl	%ebx, %eax
	outl	%eax, %dx
	movl	0x228(%ebx), %eax	/* cmd_line_ptr */
	movl	(%eax), %eax
	outl	%eax, %dx
	xorl	%eax, %eax
	outb	%al, $DEBUG_EXIT
1:	hlt
	jmp	1b
