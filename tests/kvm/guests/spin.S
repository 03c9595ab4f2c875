/* SPDX-License-Identifier: GPL-2.0 */
/* All CPUs say that they run, and then never leave the guest by themselves. */
#include "guest.h"

	.globl	_start
_start:
	cli
	start_aps
ap_main:
	movl	$SMP_REPORT, %edx
	outl	%eax, %dx
1:	jmp	1b

	ap_code
