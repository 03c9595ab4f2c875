/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Says what the machine looks like, leaves marks everywhere, starts its CPUs
 * in different occupations, and resets the machine.
 */
#include "guest.h"

#define MARK_LOW 0x500
#define MARK_HIGH 0xf00000
#define PCI_SLOT1 0x80000800	/* CONFIG_ADDRESS of 00:01.0 */

	.macro	found
	movl	$RESET_FOUND, %edx
	outl	%eax, %dx
	.endm

	/* Says config register REG, then overwrites it. */
	.macro	config reg, mark
	movl	$(PCI_SLOT1 + \reg), %eax
	movl	$0xcf8, %edx
	outl	%eax, %dx
	movl	$0xcfc, %edx
	inl	%dx, %eax
	found
	movl	$\mark, %eax
	movl	$0xcfc, %edx
	outl	%eax, %dx
	.endm

	.globl	_start
_start:
	cli
	movl	MARK_LOW, %eax
	found
	movl	MARK_HIGH, %eax
	found
	movl	own_mark, %eax
	found
	movl	$0x5aa55aa5, %eax
	movl	%eax, MARK_LOW
	movl	%eax, MARK_HIGH
	movl	%eax, own_mark

	xorl	%eax, %eax
	movl	$(SERIAL0 + 7), %edx
	inb	%dx, %al
	found
	movl	$(SERIAL0 + 7), %edx
	movb	$0xa5, %al
	outb	%al, %dx

	config	0x04, 0x7
	config	0x10, 0xd8000000
	config	0x14, 0
	config	0x18, 0xd9000000
	config	0x1c, 0
	config	0x20, 0xda000000
	config	0x24, 0

	start_aps
ap_main:
	movl	LAPIC + 0x20, %ebx
	shrl	$24, %ebx
	movl	%ebx, %eax
	movl	$RESET_CPU, %edx
	outl	%eax, %dx
	cmpl	$0, %ebx
	je	wait
	cmpl	$1, %ebx
	je	halt
	cmpl	$2, %ebx
	je	spin
	movl	$RESET_SPIN, %edx
1:	inl	%dx, %eax
	jmp	1b
halt:	hlt
	jmp	halt
spin:	jmp	spin

wait:
	movl	$RESET_ACTION, %edx
	inl	%dx, %eax
	cmpl	$RESET_BY_I8042, %eax
	je	i8042
	cmpl	$RESET_BY_POWER, %eax
	je	power
	cmpl	$RESET_NO_MORE, %eax
	jne	wait
	movb	$0, %al
	outb	%al, $DEBUG_EXIT
	jmp	spin
i8042:
	movb	$I8042_RESET, %al
	outb	%al, $I8042_COMMAND
	jmp	spin
power:
	movl	$POWER_RESET, %edx
	movb	$1, %al
	outb	%al, %dx
	jmp	spin

	ap_code
	.balign	4
own_mark:
	.long	0x600d600d
