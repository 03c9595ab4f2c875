/*
 * Port input and output for test guests: Debian's cloud kernels have no
 * /dev/port. Built by guest-images as a 32-bit static program without a C
 * library, so that the same file runs in 32-bit and 64-bit guests.
 *
 *   inb PORT          prints what a byte read from PORT gives, in hex
 *   outb PORT VALUE   writes the byte VALUE to PORT
 *
 * inw, inl, outw and outl likewise for 16 and 32 bits; what it does is the
 * name that it is called by. Numbers are decimal, or hexadecimal with 0x.
 */

#define SYS_exit 1
#define SYS_write 4
#define SYS_iopl 110

static int syscall3(int nr, int a, const void *b, int c)
{
	int ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(nr), "b"(a), "c"(b), "d"(c)
			 : "memory");
	return ret;
}

static void __attribute__((noreturn)) quit(int status, const char *why)
{
	int len = 0;

	while (why && why[len])
		len++;
	if (len)
		syscall3(SYS_write, 2, why, len);
	for (;;)
		syscall3(SYS_exit, status, 0, 0);
}

static unsigned int number(const char *s)
{
	unsigned int base = 10, value = 0, digit;

	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		base = 16;
		s += 2;
	}
	if (!*s)
		quit(2, "ioport: not a number\n");
	for (; *s; s++) {
		digit = *s >= 'a' ? *s - 'a' + 10u :
			*s >= 'A' ? *s - 'A' + 10u :
				    *s - '0' + 0u;
		if (digit >= base)
			quit(2, "ioport: not a number\n");
		value = value * base + digit;
	}
	return value;
}

static void __attribute__((noreturn)) input(unsigned short port, char size)
{
	int digits = size == 'b' ? 2 : size == 'w' ? 4 : 8;
	unsigned int value = 0;
	char text[11] = "0x";
	int i;

	if (size == 'b')
		__asm__ volatile("inb %w1, %b0" : "+a"(value) : "d"(port));
	else if (size == 'w')
		__asm__ volatile("inw %w1, %w0" : "+a"(value) : "d"(port));
	else
		__asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(port));
	for (i = 0; i < digits; i++)
		text[2 + i] =
			"0123456789abcdef"[value >> 4 * (digits - 1 - i) & 15];
	text[2 + digits] = '\n';
	syscall3(SYS_write, 1, text, 3 + digits);
	quit(0, 0);
}

static void __attribute__((noreturn, used)) run(int argc, char **argv)
{
	const char *name = argc ? argv[0] : "", *p;
	unsigned int port, value;
	char size;

	for (p = name; *p; p++)
		if (*p == '/')
			name = p + 1;
	if (!((name[0] == 'i' && argc == 2) || (name[0] == 'o' && argc == 3)))
		quit(2, "usage: inb|inw|inl PORT, outb|outw|outl PORT VALUE\n");
	while (name[1])
		name++;
	size = *name;
	port = number(argv[1]);
	if (syscall3(SYS_iopl, 3, 0, 0) < 0)
		quit(1, "ioport: not permitted\n");
	if (argc == 2)
		input(port, size);
	value = number(argv[2]);
	if (size == 'b')
		__asm__ volatile("outb %b0, %w1" : : "a"(value), "d"(port));
	else if (size == 'w')
		__asm__ volatile("outw %w0, %w1" : : "a"(value), "d"(port));
	else
		__asm__ volatile("outl %0, %w1" : : "a"(value), "d"(port));
	quit(0, 0);
}

/* The kernel leaves argc and argv on the stack. */
__asm__(".globl _start\n"
	"_start:\n"
	"	movl (%esp), %eax\n"
	"	leal 4(%esp), %edx\n"
	"	andl $-16, %esp\n"
	"	subl $8, %esp\n"
	"	pushl %edx\n"
	"	pushl %eax\n"
	"	call run\n");
