/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel as a program without a library sees it: system calls of x86-64,
 * each of which returns its result or -errno.
 */
#ifndef GUEST_SYS_H
#define GUEST_SYS_H

#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

static inline long sys6(long number, long a, long b, long c, long d, long e,
			long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10),
			   "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define sys(number, a, b, c, d, e) \
	sys6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static inline int sys_open(const char *path, int flags, int mode)
{
	return (int)sys(__NR_open, path, flags | O_CLOEXEC, mode, 0, 0);
}

static inline long sys_read(int fd, void *data, size_t len)
{
	return sys(__NR_read, fd, data, len, 0, 0);
}

static inline long sys_write(int fd, const void *data, size_t len)
{
	return sys(__NR_write, fd, data, len, 0, 0);
}

static inline int sys_close(int fd)
{
	return (int)sys(__NR_close, fd, 0, 0, 0, 0);
}

static inline int sys_ioctl(int fd, unsigned long request, const void *arg)
{
	return (int)sys(__NR_ioctl, fd, request, arg, 0, 0);
}

static inline int sys_dup2(int from, int to)
{
	return (int)sys(__NR_dup2, from, to, 0, 0, 0);
}

static inline int sys_pipe(int fds[2])
{
	return (int)sys(__NR_pipe2, fds, O_CLOEXEC, 0, 0, 0);
}

static inline int sys_set_nonblock(int fd)
{
	return (int)sys(__NR_fcntl, fd, F_SETFL, O_NONBLOCK, 0, 0);
}

static inline int sys_mkdir(const char *path, int mode)
{
	return (int)sys(__NR_mkdir, path, mode, 0, 0, 0);
}

static inline int sys_access(const char *path)
{
	return (int)sys(__NR_access, path, 0, 0, 0, 0);
}

static inline int sys_mount(const char *source, const char *target,
			    const char *type, unsigned long flags,
			    const char *options)
{
	return (int)sys(__NR_mount, source, target, type, flags, options);
}

static inline int sys_socket(int family, int type, int protocol)
{
	return (int)sys(__NR_socket, family, type, protocol, 0, 0);
}

static inline int sys_kill(int pid, int signo)
{
	return (int)sys(__NR_kill, pid, signo, 0, 0, 0);
}

static inline void *sys_alloc(size_t len)
{
	/* PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS */
	return (void *)sys6(__NR_mmap, 0, (long)len, 3, 0x22, -1, 0);
}

/* Did sys_alloc() fail? */
static inline int sys_is_error(const void *memory)
{
	return (unsigned long)memory > -4096UL;
}

static inline void __attribute__((noreturn)) sys_exit(int status)
{
	for (;;)
		sys(__NR_exit_group, status, 0, 0, 0, 0);
}

#endif
