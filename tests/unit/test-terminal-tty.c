/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What vmm/terminal.c promises on terminals: raw mode, the keys behind Ctrl-a,
 * signals and job control. See terminal.h.
 */
#include "terminal.h"

#include <sys/ioctl.h>
#include <sys/prctl.h>

IN_CHILD(a_terminal_is_raw_and_afterwards_as_before)
{
	struct termios before;
	struct vm vm;
	int master, slave;

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	become(slave, slave);
	vm_start(&vm, 100);
	CHECK(is_raw(slave));
	put(master, "\003\r\021\177");
	vm_expect(&vm, "\003\r\021\177");
	CHECK(vm_write(&vm, "# ") == 2);
	expect(master, "# ");
	vm_end(&vm);
	CHECK(mode_is(slave, &before));
}

IN_CHILD(one_end_alone_may_be_a_terminal)
{
	struct termios before;
	struct vm vm;
	int master, slave, in[2], out[2];

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	CHECK(!pipe(in) && !pipe(out));

	become(in[0], slave);
	vm_start(&vm, 100);
	CHECK(mode_is(slave, &before));
	CHECK(vm_write(&vm, "to the screen") == 13);
	expect(master, "to the screen");
	vm_end(&vm);

	become(slave, out[1]);
	vm_start(&vm, 100);
	CHECK(is_raw(slave));
	put(master, "k");
	vm_expect(&vm, "k");
	CHECK(vm_write(&vm, "to the pipe") == 11);
	expect(out[0], "to the pipe");
	vm_end(&vm);
	CHECK(mode_is(slave, &before));
}

IN_CHILD(a_plain_terminal_keeps_its_mode_and_its_keys)
{
	struct termios before;
	int master, slave;
	struct vm vm;

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	become(slave, slave);
	vm_create_terminal(&vm, 100);
	terminal_set_plain(vm.terminal);
	vm_run_loop(&vm);
	CHECK(mode_is(slave, &before));
	put(master, "\001x one line\r");
	vm_expect(&vm, "\001x one line\n");
	CHECK(!vm.quit);
	put(master, "\004");
	while (!vm.ended)
		usleep(1000);
	vm_end(&vm);
	CHECK(mode_is(slave, &before));
}

IN_CHILD(ctrl_a_commands_work_even_when_the_guest_hangs)
{
	char help[1000];
	size_t len = 0;
	struct vm vm;
	int master, slave;

	make_pty(&master, &slave);
	become(slave, slave);
	vm_start(&vm, 6);
	put(master, "\001");
	usleep(1000);
	put(master, "a1\001\001\001z2");
	/* Ctrl-a a; Ctrl-a twice, both; Ctrl-a z, both. */
	vm_expect(&vm, "\0011\001\001\001z");
	put(master, "\001h");
	do {
		ssize_t n = read(master, help + len, sizeof(help) - 1 - len);

		CHECK(n > 0);
		len += (size_t)n;
		help[len] = '\0';
	} while (!strstr(help, "sent to the guest"));
	CHECK(strstr(help, "quit lkvm"));
	/* The guest takes nothing any more, and has much to take. */
	for (int i = 0; i < 1000; i++)
		put(master, "typed");
	put(master, "\001x");
	while (!vm.quit)
		usleep(1000);
	vm_end(&vm);
}

IN_CHILD(ctrl_a_c_switches_between_guest_and_prompt)
{
	char shown[100] = "";
	size_t len = 0;
	struct vm vm;
	int master, slave;

	make_pty(&master, &slave);
	become(slave, slave);
	vm_start(&vm, 100);
	/* Ctrl-a a is the guest's also from there. */
	put(master, "to guest\001cto\003me\001a\001c, again");
	vm_expect(&vm, "to guest\001, again");
	while (!strchr(shown, '>')) {
		ssize_t n = read(master, shown + len, sizeof(shown) - 1 - len);

		CHECK(n > 0);
		len += (size_t)n;
		shown[len] = '\0';
	}
	CHECK(strstr(shown, "\r\n<to\003me>"));
	vm_end(&vm);
}

/*
 * Fork a process that holds a terminal on @slave and waits. With @session the
 * terminal is its controlling one.
 */
static pid_t hold_terminal(int master, int slave, bool session)
{
	struct vm vm;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid)
		return pid;
	/* A check of the parent's that fails ends the parent. */
	CHECK(!prctl(PR_SET_PDEATHSIG, SIGKILL));
	if (session)
		CHECK(setsid() > 0 && !ioctl(slave, TIOCSCTTY, 0));
	close(master);
	become(slave, slave);
	vm_start(&vm, 100);
	for (;;)
		pause();
}

static void wait_for_raw(int tty, bool raw)
{
	while (is_raw(tty) != raw)
		usleep(1000);
}

IN_CHILD(a_fatal_signal_restores_the_terminal_and_still_kills)
{
	static const int signals[] = { SIGSEGV, SIGBUS,	 SIGILL, SIGFPE,
				       SIGABRT, SIGTERM, SIGHUP, SIGINT,
				       SIGQUIT, SIGUSR1 };
	struct termios before;
	int master, slave, status;

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		pid_t pid = hold_terminal(master, slave, i % 2);

		wait_for_raw(slave, true);
		/* After raw mode is set the handlers are long there. */
		CHECK(!kill(pid, signals[i]));
		CHECK(waitpid(pid, &status, 0) == pid);
		/* A sanitizer's handler, if there is one, exits instead. */
		CHECK(WIFSIGNALED(status) || WEXITSTATUS(status));
		CHECK(mode_is(slave, &before));
	}
}

IN_CHILD(a_stop_restores_the_terminal_and_going_on_makes_it_raw)
{
	struct termios before;
	int master, slave, status;
	pid_t pid;

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	pid = hold_terminal(master, slave, true);
	wait_for_raw(slave, true);
	CHECK(!kill(pid, SIGTSTP));
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	CHECK(mode_is(slave, &before));
	CHECK(!kill(pid, SIGCONT));
	wait_for_raw(slave, true);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

IN_CHILD(in_the_background_the_terminal_is_left_alone)
{
	struct termios before;
	struct vm vm;
	int master, slave, started[2], status;
	char data[20];
	pid_t pid;

	/* A shell of sorts, and its terminal. */
	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &before));
	CHECK(setsid() > 0 && !ioctl(slave, TIOCSCTTY, 0));
	CHECK(!pipe(started));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK(!prctl(PR_SET_PDEATHSIG, SIGKILL));
		setpgid(0, 0);
		become(slave, slave);
		vm_start(&vm, 100);
		put(started[1], "s");
		vm_expect(&vm, "k\n");
		vm_end(&vm);
		_exit(0);
	}
	CHECK(read(started[0], data, 1) == 1);
	CHECK(mode_is(slave, &before));
	put(master, "shell's\n");
	usleep(10000);
	CHECK(read(slave, data, sizeof(data)) == 8);
	CHECK(mode_is(slave, &before));
	/* The shell's fg. */
	CHECK(!tcsetpgrp(slave, pid));
	put(master, "k\n");
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK(mode_is(slave, &before));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_terminal_keeps_its_mode_and_its_keys),
		cmocka_unit_test(a_terminal_is_raw_and_afterwards_as_before),
		cmocka_unit_test(one_end_alone_may_be_a_terminal),
		cmocka_unit_test(
			ctrl_a_commands_work_even_when_the_guest_hangs),
		cmocka_unit_test(ctrl_a_c_switches_between_guest_and_prompt),
		cmocka_unit_test(
			a_fatal_signal_restores_the_terminal_and_still_kills),
		cmocka_unit_test(
			a_stop_restores_the_terminal_and_going_on_makes_it_raw),
		cmocka_unit_test(in_the_background_the_terminal_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
