/* SPDX-License-Identifier: GPL-2.0 */
/* Starts all CPUs; each says who it is, and waits. */
#include "guest.h"

	.globl	_start
_start:
	cli
	start_aps
ap_main:
	movl	$1, %eax
	cpuid
	shrl	$24, %ebx
	movl	LAPIC + 0x20, %eax
	shrl	$24, %eax
	movb	%bl, %ah
	movl	$SMP_REPORT, %edx
	outl	%eax, %dx
1:	hlt
	jmp	1b

	ap_code
