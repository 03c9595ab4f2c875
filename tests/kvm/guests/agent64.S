/* SPDX-License-Identifier: GPL-2.0 */
/* Does one operation after the other, as the test says through AGENT_FETCH. */
#include "guest.h"

	.code64
	.globl	_start
_start:
	cli
	cld
next:
	movl	$AGENT_BUFFER, %edi
	movl	$4, %ecx
	movl	$AGENT_FETCH, %edx
	rep insl
	movl	AGENT_BUFFER, %ecx
	movl	AGENT_BUFFER + 4, %ebx
	movl	%ebx, %edx
	movq	AGENT_BUFFER + 8, %rax

	.macro	on kind, label
	cmpl	$\kind, %ecx
	je	\label
	.endm
	on	AGENT_OUT8, out8
	on	AGENT_OUT16, out16
	on	AGENT_OUT32, out32
	on	AGENT_IN8, in8
	on	AGENT_IN16, in16
	on	AGENT_IN32, in32
	on	AGENT_WRITE8, write8
	on	AGENT_WRITE16, write16
	on	AGENT_WRITE32, write32
	on	AGENT_WRITE64, write64
	on	AGENT_READ8, read8
	on	AGENT_READ16, read16
	on	AGENT_READ32, read32
	on	AGENT_READ64, read64
	on	AGENT_HYPERCALL, hypercall
	on	AGENT_JUMP, jump
	on	AGENT_TRIPLE_FAULT, triple_fault
halt:
	hlt
	jmp	halt

out8:	outb	%al, %dx
	jmp	next
out16:	outw	%ax, %dx
	jmp	next
out32:	outl	%eax, %dx
	jmp	next
in8:	xorl	%eax, %eax
	inb	%dx, %al
	jmp	reply
in16:	xorl	%eax, %eax
	inw	%dx, %ax
	jmp	reply
in32:	inl	%dx, %eax
	jmp	reply
write8:	movb	%al, (%rbx)
	jmp	next
write16:
	movw	%ax, (%rbx)
	jmp	next
write32:
	movl	%eax, (%rbx)
	jmp	next
write64:
	movq	%rax, (%rbx)
	jmp	next
read8:	xorl	%eax, %eax
	movb	(%rbx), %al
	jmp	reply
read16:	xorl	%eax, %eax
	movw	(%rbx), %ax
	jmp	reply
read32:	movl	(%rbx), %eax
	jmp	reply
read64:	movq	(%rbx), %rax

reply:
	movq	%rax, AGENT_BUFFER
	movl	$AGENT_BUFFER, %esi
	movl	$2, %ecx
	movl	$AGENT_REPLY, %edx
	rep outsl
	jmp	next

	/* Intel's and AMD's processors have an instruction each. */
hypercall:
	movl	%ebx, %ebp
	movq	%rax, %r8
	xorl	%eax, %eax
	cpuid
	movl	%ebx, %edi
	movl	%ebp, %eax
	movq	%r8, %rbx
	movl	$1, %ecx
	xorl	%edx, %edx
	cmpl	$0x756e6547, %edi	/* "Genu" */
	je	1f
	vmmcall
	jmp	reply
1:	vmcall
	jmp	reply

jump:	jmp	*%rbx

	/* No handler for the exception, nor for that of the first. */
triple_fault:
	lidt	no_idt
	.globl	fault_here
fault_here:
	ud2
	.byte	0xf1, 0xe2, 0xd3, 0xc4

	.balign	8
no_idt:	.word	0
	.quad	0
