/* SPDX-License-Identifier: GPL-2.0 */
/* The program of guest/ as bytes: see guest-command.h. */
#include <lkvm/guest-command.h>

__asm__(".pushsection .rodata\n"
	".globl guest_init, guest_init_size\n"
	".balign 8\n"
	"guest_init_size: .quad 1f - guest_init\n"
	"guest_init:\n"
	".incbin \"" GUEST_INIT_FILE "\"\n"
	"1:\n"
	".popsection\n");
