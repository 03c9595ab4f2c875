/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Each CPU counts, and says so by a port and by memory; what it reads at both
 * must count as well. The first wrong value is reported.
 */
#include "guest.h"

	.globl	_start
_start:
	cli
	start_aps
ap_main:
	movl	LAPIC + 0x20, %ebx
	shrl	$24, %ebx
	leal	HAMMER_PORT(0)(, %ebx, 4), %edx
	shll	$4, %ebx
	xorl	%ecx, %ecx
count:
	movl	%ecx, %eax
	outl	%eax, %dx
	inl	%dx, %eax
	cmpl	%ecx, %eax
	jne	wrong
	movl	%ecx, HAMMER_WRITE(0)(%ebx)
	movl	HAMMER_READ(0)(%ebx), %eax
	cmpl	%ecx, %eax
	jne	wrong
	incl	%ecx
	jmp	count

wrong:
	movl	$HAMMER_WRONG, %edx
	outl	%eax, %dx
1:	hlt
	jmp	1b

	ap_code
