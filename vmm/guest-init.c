/* SPDX-License-Identifier: GPL-2.0 */
/* The program of guest/ as bytes: see guest-command.h. */
#include <lkvm/guest-command.h>

__asm__(".pushsection .rodata\n"
	".globl guest_init, guest_init_end\n"
	"guest_init:\n"
	".incbin \"" GUEST_INIT_FILE "\"\n"
	"guest_init_end:\n"
	".popsection\n");
