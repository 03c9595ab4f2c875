/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lkvm and its init inside the guest (guest/) say to each other. Included
 * by both, so it knows no library.
 *
 * In the initrd, put there before the guest runs:
 *
 *	/lkvm/init	the program, which the kernel runs (rdinit=)
 *	/lkvm/config	records "key=value", each ended by a NUL, of at most
 *			GUEST_CONFIG_MAX bytes in total:
 *
 *	module=FILE[ PARAMETERS]	of GUEST_MODULES, to load; in this order
 *	mount=MODE:TYPE:SOURCE:OPTIONS:PATH	a file system. At / it is the
 *			first and the root to run in, which is the initrd
 *			otherwise. MODE is ro or rw, or for the root also
 *			tmp: what is written is kept in RAM. SOURCE is the
 *			tag of TYPE 9p, the serial number of the disk of
 *			others
 *	net=ADDRESS/BITS:GATEWAY:MTU	the first Ethernet device's
 *	dns=ADDRESS	a name server, for /etc/resolv.conf
 *	arg=TEXT	the command's next argument; the first is its name
 *	env=NAME=VALUE	in the command's environment
 *	cwd=PATH	where it starts; it is an error if that is not there
 *	try-cwd=PATH	the same, or else in /
 *	user=NAME	whom it runs as; or user=UID[:GID]; default root
 *	mmio=1		devices are on virtio-mmio, and not on PCI
 *	tty=1		it gets a pseudo-terminal, and stderr is stdout
 *
 * Then, over ports of a virtio console device:
 *
 *	GUEST_PORT_CONTROL	messages, both ways
 *	GUEST_PORT_STDIO	stdin's and stdout's bytes
 *	GUEST_PORT_STDERR	stderr's bytes
 *
 * The first byte that the guest writes to GUEST_PORT_STDIO is a NUL of init's:
 * Linux lets nobody write before it knows that the host's end is open, and
 * reports an end of file to who reads before that.
 *
 * A message is a header and @len bytes after it; integers are little-endian.
 */
#ifndef LKVM_GUEST_PROTOCOL_H
#define LKVM_GUEST_PROTOCOL_H

#include <stdint.h>

#define GUEST_INIT_PATH "/lkvm/init"
#define GUEST_CONFIG_PATH "/lkvm/config"
#define GUEST_MODULES "/lkvm/modules"
#define GUEST_CONFIG_MAX (1U << 20)

#define GUEST_PORT_CONTROL "lkvm.control"
#define GUEST_PORT_STDIO "lkvm.stdio"
#define GUEST_PORT_STDERR "lkvm.stderr"

/* How a line of init's on the console begins, when it has no control port. */
#define GUEST_CONSOLE_PREFIX "lkvm-init: "

enum guest_message_type {
	/* From the guest: */
	GUEST_HELLO, /* init runs, nothing of the command yet; struct guest_hello */
	GUEST_FAILED, /* the command cannot be run; text: why. The last one */
	GUEST_SAY, /* text for the user */
	GUEST_STARTED, /* the command runs; nothing */
	GUEST_EXIT, /* it ended; struct guest_exit. The last one */
	/* From the host, after GUEST_HELLO: */
	GUEST_START, /* struct guest_size, zeroes if there is no terminal */
	GUEST_SIZE, /* the terminal's, from now on; struct guest_size */
	GUEST_SIGNAL, /* for the command; struct guest_signal */
	GUEST_STDIN_END, /* struct guest_stdin_end */
	GUEST_CLOSED, /* struct guest_closed */
	GUEST_DROP_CACHES, /* the kernel's, of files' names; nothing */
};

#define GUEST_PROTOCOL_VERSION 1

/* The longest message, without its header. */
#define GUEST_MESSAGE_MAX 1024

struct guest_header {
	uint32_t type;
	uint32_t len;
};

struct guest_hello {
	uint32_t version;
};

struct guest_exit {
	uint32_t status; /* 0 to 255; 128 + N: by signal N */
	uint32_t unused;
	/* How much was written to the ports, without the first NUL. */
	uint64_t stdout_bytes;
	uint64_t stderr_bytes;
};

struct guest_size {
	uint16_t columns;
	uint16_t rows;
};

struct guest_signal {
	uint32_t signo; /* Linux's number on this architecture */
};

/* stdin ends with this many bytes on the port since GUEST_START. */
struct guest_stdin_end {
	uint64_t bytes;
};

/* Nobody reads this any more. */
struct guest_closed {
	uint32_t fd; /* 1: stdout, 2: stderr */
};

_Static_assert(sizeof(struct guest_header) == 8, "wire");
_Static_assert(sizeof(struct guest_hello) == 4, "wire");
_Static_assert(sizeof(struct guest_exit) == 24, "wire");
_Static_assert(sizeof(struct guest_size) == 4, "wire");
_Static_assert(sizeof(struct guest_signal) == 4, "wire");
_Static_assert(sizeof(struct guest_stdin_end) == 8, "wire");
_Static_assert(sizeof(struct guest_closed) == 4, "wire");

#endif
