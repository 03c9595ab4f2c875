/* SPDX-License-Identifier: GPL-2.0 */
/* Does nothing, for ever. */
	.code32
	.globl _start
_start:
	hlt
	jmp	_start
