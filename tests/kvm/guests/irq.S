/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Waits in HLT, says which interrupt woke it, and waits again. Handlers drop
 * their frame and start over instead of returning: not every KVM emulates
 * IRET in protected mode.
 */
#include "guest.h"

	.macro	handler vector, eoi
	movb	$\vector, %al
	movl	$IRQ_VECTOR, %edx
	outb	%al, %dx
	jmp	\eoi
	.endm

	.globl	_start
_start:
	cli
	gate	IRQ_PIC_VECTOR, on_pic
	gate	IRQ_IOAPIC_VECTOR, on_ioapic
	gate	IRQ_MSI_VECTOR, on_msi
	lidt	idtr

	pics	0xff, 0xff

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

on_pic:
	handler	IRQ_PIC_VECTOR, eoi_pic
on_ioapic:
	handler	IRQ_IOAPIC_VECTOR, eoi_apic
on_msi:
	handler	IRQ_MSI_VECTOR, eoi_apic
eoi_pic:
	out	0x20, 0x20
	jmp	wait
eoi_apic:
	movl	$0, LAPIC + 0xb0
	jmp	wait

	idt_code
