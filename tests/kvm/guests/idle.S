/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest for tests of what is done to whole VMs: it sleeps. What comes on
 * ttyS0 is sent back, and at the power button it says "off" and powers off.
 * (As in irq.S, no handler returns.) Other CPUs sleep for good.
 */
#include "guest.h"

#define SERIAL_VECTOR 0x24	/* IRQ 4, of the first PIC */
#define POWER_VECTOR 0x29	/* IRQ 9, of the second */
#define POWER 0x600
#define POWER_EVENT (POWER + 3)
#define SLEEP_S5 0x34

	.globl	_start
_start:
	cli
	gate	SERIAL_VECTOR, serial
	gate	POWER_VECTOR, power
	lidt	idtr

	/* Open are inputs 4 and 9, and 2 that joins the two. */
	pics	0xeb, 0xfd

	/* Interrupt on input; it is ready to say so. */
	serial_fifos
	movl	$(SERIAL0 + 1), %edx
	outb	%al, %dx
	start_aps
	movl	$greeting, %esi
	movl	$(greeting_end - greeting), %ecx
	movl	$SERIAL0, %edx
	rep outsb
wait:
	movl	$STACK, %esp
	sti
1:	hlt
	jmp	1b

serial:
	movl	$(SERIAL0 + 5), %edx
	inb	%dx, %al
	testb	$1, %al			/* DR */
	jz	2f
	movl	$SERIAL0, %edx
	inb	%dx, %al
	outb	%al, %dx
	jmp	serial
2:	out	0x20, 0x20
	jmp	wait

power:
	movl	$POWER_EVENT, %edx
	inb	%dx, %al
	testb	%al, %al
	jz	3f
	movl	$farewell, %esi
	movl	$(farewell_end - farewell), %ecx
	movl	$SERIAL0, %edx
	rep outsb
	movl	$POWER, %edx
	movb	$SLEEP_S5, %al
	outb	%al, %dx
3:	out	0x20, 0xa0
	out	0x20, 0x20
	jmp	wait

	ap_code
ap_main:
	outb	%al, $0x80		/* an exit, so that it can be counted */
1:	cli
	hlt
	jmp	1b

greeting:
	.ascii	"idle\r\n"
greeting_end:
farewell:
	.ascii	"off\r\n"
farewell_end:
	idt_code
