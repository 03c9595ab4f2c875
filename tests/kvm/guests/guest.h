/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tiny guests and their tests agree on: the test device's ports and
 * addresses, and the agent's operations. For C and assembly.
 */
#ifndef TESTS_KVM_GUEST_H
#define TESTS_KVM_GUEST_H

/* The test device: 256 ports, and two windows in the hole below 4 GiB that
 * no BAR may take. The first ends in the middle of 8 bytes, the second with
 * its page. */
#define TEST_PORTS 0x900
#define TEST_PORTS_BYTES 0x100
#define TEST_WINDOW 0xc8000000
#define TEST_WINDOW_BYTES 0x2006
#define TEST_PAGE 0xc8010000
#define TEST_PAGE_BYTES 0x1000

/* Ports of the machine. */
#define DEBUG_EXIT 0xf4
#define POWER_RESET 0x602
#define I8042_COMMAND 0x64
#define I8042_RESET 0xfe
#define SERIAL0 0x3f8

/* The agent fetches four words (kind, address, value low and high) from one
 * port, and answers with two on the other. */
#define AGENT_FETCH 0x9f0
#define AGENT_REPLY 0x9f4
#define AGENT_BUFFER 0x200000

#define AGENT_HALT 0
#define AGENT_OUT8 1
#define AGENT_OUT16 2
#define AGENT_OUT32 3
#define AGENT_IN8 4
#define AGENT_IN16 5
#define AGENT_IN32 6
#define AGENT_WRITE8 7
#define AGENT_WRITE16 8
#define AGENT_WRITE32 9
#define AGENT_WRITE64 10
#define AGENT_READ8 11
#define AGENT_READ16 12
#define AGENT_READ32 13
#define AGENT_READ64 14
#define AGENT_HYPERCALL 15 /* number: address; arguments: value, 1, 0 */
#define AGENT_JUMP 16
#define AGENT_TRIPLE_FAULT 17

/* strings.S: items of each string instruction; its first ports. */
#define STRING_ITEMS 1100
#define STRING_OUT (TEST_PORTS + 0x10)
#define STRING_IN (TEST_PORTS + 0x20)
#define STRING_ECHO (TEST_PORTS + 0x30)
#define STRING_BUFFER 0x200ffd

/* irq.S: what it reads first, where it says that it waits, and what woke it. */
#define IRQ_MODE (TEST_PORTS + 0)
#define IRQ_MODE_PIC 0
#define IRQ_MODE_APIC 1
#define IRQ_WAITS (TEST_PORTS + 4)
#define IRQ_VECTOR (TEST_PORTS + 8)
#define IRQ_LINE 5
#define IRQ_PIC_VECTOR 0x25
#define IRQ_IOAPIC_VECTOR 0x31
#define IRQ_MSI_VECTOR 0x41

/* smp.S: each CPU's id by its local APIC, and << 8 by CPUID. */
#define SMP_REPORT (TEST_PORTS + 0)

/* hammer.S: each CPU has a port and a window of its own. */
#define HAMMER_PORT(cpu) (TEST_PORTS + 4 * (cpu))
#define HAMMER_WRITE(cpu) (TEST_WINDOW + 16 * (cpu))
#define HAMMER_READ(cpu) (TEST_WINDOW + 16 * (cpu) + 8)
#define HAMMER_WRONG (TEST_PORTS + 0x80)

/* reset.S: what it found, its CPUs, and what it shall do. */
#define RESET_FOUND (TEST_PORTS + 0)
#define RESET_CPU (TEST_PORTS + 4)
#define RESET_ACTION (TEST_PORTS + 8)
#define RESET_WAIT 0
#define RESET_BY_I8042 1
#define RESET_BY_POWER 2
#define RESET_NO_MORE 3
#define RESET_SPIN (TEST_PORTS + 12)
#define RESET_FOUND_ITEMS 11 /* marks, scratch, command, six BARs */

/* entry*.S: what the boot protocol promises. */
#define ENTRY_REPORT (TEST_PORTS + 0)

/* serial-*.S: how many bytes, how many at once, and that THRE is low. */
#define SERIAL_BYTES (TEST_PORTS + 0)
#define SERIAL_BURST (TEST_PORTS + 4)
#define SERIAL_WAITS (TEST_PORTS + 8)

#ifdef __ASSEMBLER__

#define AP_PAGE 0x8000 /* where a SIPI with vector 8 starts */
#define LAPIC 0xfee00000

/*
 * From 32-bit code: start all other CPUs at ap_main, in flat 32-bit mode,
 * with no stack. Changes EAX, ECX, EDX, ESI, EDI.
 */
	.macro start_aps
	cld
	movl	$ap_start, %esi
	movl	$AP_PAGE, %edi
	movl	$(ap_start_end - ap_start), %ecx
	rep movsb
	movl	$0x1ff, LAPIC + 0xf0	/* enabled by software */
	movl	$0xc4500, LAPIC + 0x300	/* INIT to all but self */
	movl	$(0xc4600 + AP_PAGE / 4096), LAPIC + 0x300
	.endm

	/* What start_aps needs, outside the flow of control. */
	.macro ap_code
	.code16
ap_start:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	ap_gdtr - ap_start + AP_PAGE
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$0x10, $ap_flat
ap_gdtr:
	.word	31
	.long	ap_gdt
ap_start_end:
	.code32
ap_flat:
	movw	$0x18, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	jmp	ap_main
	.balign	8
ap_gdt:
	.quad	0, 0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.endm

#define IDT 0x210000
#define STACK 0x220000

	/* Interrupts with @vector go to @handler, once lidt took idtr. */
	.macro gate vector, handler
	movl	$\handler, %eax
	movw	%ax, IDT + 8 * \vector
	movw	$0x10, IDT + 8 * \vector + 2
	movw	$0x8e00, IDT + 8 * \vector + 4
	shrl	$16, %eax
	movw	%ax, IDT + 8 * \vector + 6
	.endm

	.macro idt_code
	.balign	8
idtr:	.word	8 * 256 - 1
	.long	IDT
	.endm

	.macro out value, port
	movb	$\value, %al
	outb	%al, $\port
	.endm

	/* Both PICs: vectors from 0x20 and 0x28, these inputs masked. */
	.macro pics first_mask, second_mask
	out	0x11, 0x20
	out	0x20, 0x21
	out	0x04, 0x21
	out	0x01, 0x21
	out	\first_mask, 0x21
	out	0x11, 0xa0
	out	0x28, 0xa1
	out	0x02, 0xa1
	out	0x01, 0xa1
	out	\second_mask, 0xa1
	.endm

	/* The FIFOs of ttyS0 are on; DX and AL change. */
	.macro serial_fifos
	movl	$(SERIAL0 + 2), %edx
	movb	$1, %al
	outb	%al, %dx
	.endm

	/* The end, when all has left ttyS0. */
	.macro serial_end
	movl	$(SERIAL0 + 5), %edx
1:	inb	%dx, %al
	testb	$0x40, %al		/* TEMT */
	jz	1b
	xorl	%eax, %eax
	outb	%al, $DEBUG_EXIT
1:	hlt
	jmp	1b
	.endm

#endif
#endif
