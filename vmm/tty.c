/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Serial ports whose other end is a pseudo-terminal (--tty).
 */
#include <stdio.h>
#include <string.h>

#include <lkvm/log.h>
#include <lkvm/stream.h>
#include <lkvm/util.h>
#include <lkvm/vm-parts.h>

int ttys_create(struct vm *vm)
{
	struct machine *m = &vm->machine;
	int err = 0;

	for (unsigned int i = 0; i < MACHINE_SERIALS && !err; i++) {
		char name[16];

		if (!(vm->config->ttys & BIT(i)))
			continue;
		snprintf(name, sizeof(name), "ttyS%u", i);
		err = stream_open(name, "pty", NULL, &vm->tty[i]);
		if (err)
			return err;
		m->serial[i] = stream_chardev(vm->tty[i]);
		err = stream_start(vm->tty[i], m->loop);
		if (err)
			log_err("vm", "cannot watch %s: %s", name,
				strerror(-err));
	}
	return err;
}

void ttys_destroy(struct vm *vm)
{
	for (unsigned int i = 0; i < MACHINE_SERIALS; i++) {
		if (!vm->tty[i])
			continue;
		stream_stop(vm->tty[i]);
		stream_close(vm->tty[i]);
	}
}
