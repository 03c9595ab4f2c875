/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Waits in HLT, says which interrupt woke it, and waits again. Handlers drop
 * their frame and start over instead of returning: not every KVM emulates
 * IRET in protected mode.
 */
#include "guest.h"

#define IDT 0x210000
#define STACK 0x220000

	.macro	gate vector
	movl	$handler_\vector, %eax
	movw	%ax, IDT + 8 * \vector
	movw	$0x10, IDT + 8 * \vector + 2
	movw	$0x8e00, IDT + 8 * \vector + 4
	shrl	$16, %eax
	movw	%ax, IDT + 8 * \vector + 6
	.endm

	.macro	handler vector, eoi
handler_\vector:
	movb	$\vector, %al
	movl	$IRQ_VECTOR, %edx
	outb	%al, %dx
	jmp	\eoi
	.endm

	.macro	out value, port
	movb	$\value, %al
	outb	%al, $\port
	.endm

	.globl	_start
_start:
	cli
	gate	IRQ_PIC_VECTOR
	gate	IRQ_IOAPIC_VECTOR
	gate	IRQ_MSI_VECTOR
	lidt	idtr

	/* Both PICs: vectors from 0x20 and 0x28, all inputs masked. */
	out	0x11, 0x20
	out	0x20, 0x21
	out	0x04, 0x21
	out	0x01, 0x21
	out	0xff, 0x21
	out	0x11, 0xa0
	out	0x28, 0xa1
	out	0x02, 0xa1
	out	0x01, 0xa1
	out	0xff, 0xa1

	movl	$IRQ_MODE, %edx
	inb	%dx, %al
	cmpb	$IRQ_MODE_APIC, %al
	je	apic
	out	(0xff ^ (1 << IRQ_LINE)), 0x21
	jmp	wait
apic:
	movl	$0x1ff, LAPIC + 0xf0
	movl	$0x10000, LAPIC + 0x350		/* no PIC */
	movl	$(0x10 + 2 * IRQ_LINE + 1), 0xfec00000
	movl	$0, 0xfec00010			/* to CPU 0 */
	movl	$(0x10 + 2 * IRQ_LINE), 0xfec00000
	movl	$IRQ_IOAPIC_VECTOR, 0xfec00010	/* edge, high */
wait:
	movl	$STACK, %esp
	movl	$IRQ_WAITS, %edx
	outb	%al, %dx
	sti
1:	hlt
	jmp	1b

	handler	IRQ_PIC_VECTOR, eoi_pic
	handler	IRQ_IOAPIC_VECTOR, eoi_apic
	handler	IRQ_MSI_VECTOR, eoi_apic
eoi_pic:
	out	0x20, 0x20
	jmp	wait
eoi_apic:
	movl	$0, LAPIC + 0xb0
	jmp	wait

	.balign	8
idtr:	.word	8 * 256 - 1
	.long	IDT
