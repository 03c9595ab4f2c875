/* SPDX-License-Identifier: GPL-2.0 */
/* What vmm/terminal.c promises on pipes, files and closed ends. See terminal.h. */
#include "terminal.h"

#include <sys/socket.h>

/* stdin and stdout are pipes, whose other ends are the user's. */
struct user {
	int in, out;
};

static struct user vm_start_on_pipes(struct vm *vm, size_t room)
{
	int in[2], out[2];

	CHECK(!pipe(in) && !pipe(out));
	become(in[0], out[1]);
	close(in[0]);
	close(out[1]);
	vm_start(vm, room);
	return (struct user) { in[1], out[0] };
}

/* ---- input -------------------------------------------------------------- */

IN_CHILD(piped_input_arrives_and_its_end_is_no_end)
{
	struct vm vm;
	struct user user = vm_start_on_pipes(&vm, 100);

	put(user.in, "hello\n");
	vm_expect(&vm, "hello\n");
	put(user.in, "\001x!");
	vm_expect(&vm, "hello\n\001x!");
	CHECK(!vm.quit);
	close(user.in);
	CHECK(vm_write(&vm, "still here") == 10);
	expect(user.out, "still here");
	vm_end(&vm);
}

IN_CHILD(input_that_the_guest_did_not_take_is_kept)
{
	struct vm vm;
	struct user user = vm_start_on_pipes(&vm, 3);

	put(user.in, "abcdef");
	close(user.in);
	vm_expect(&vm, "abc");
	vm_make_room(&vm, 1);
	vm_expect(&vm, "abcd");
	vm_make_room(&vm, 10);
	vm_expect(&vm, "abcdef");
	vm_end(&vm);
}

IN_CHILD(a_guest_that_does_not_read_makes_the_writer_wait)
{
	struct vm vm;
	char data[1024];
	size_t sent = 0;
	ssize_t n;
	int in[2];

	memset(data, 'x', sizeof(data));
	CHECK(!pipe2(in, O_NONBLOCK));
	CHECK(fcntl(in[1], F_SETPIPE_SZ, 4096) == 4096);
	become(in[0], open("/dev/null", O_WRONLY));
	vm_start(&vm, 0);
	/* What a pipe holds, and one read of the terminal's. */
	for (int i = 0; i < 100; i++) {
		n = write(in[1], data, sizeof(data));
		if (n > 0)
			sent += (size_t)n;
		usleep(1000);
	}
	CHECK(sent >= 4096 && sent <= 8192);
	close(in[1]);
	vm_make_room(&vm, sizeof(vm.input));
	pthread_mutex_lock(&vm.lock);
	while (vm.input_len < sent)
		pthread_cond_wait(&vm.changed, &vm.lock);
	pthread_mutex_unlock(&vm.lock);
	vm_end(&vm);
}

IN_CHILD(a_regular_file_is_read_as_the_guest_wants_input)
{
	struct vm vm;
	int in = temporary_file();
	char text[2001];

	memset(text, 'f', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	put(in, text);
	CHECK(lseek(in, 0, SEEK_SET) == 0);
	become(in, open("/dev/null", O_WRONLY));
	vm_start(&vm, 1000);
	usleep(10000);
	vm_make_room(&vm, 1001);
	vm_expect(&vm, text);
	vm_end(&vm);
}

IN_CHILD(the_end_of_input_is_told_when_all_has_been_taken)
{
	struct vm vm;
	struct user user = vm_start_on_pipes(&vm, 3);

	put(user.in, "abcdef");
	close(user.in);
	vm_expect(&vm, "abc");
	usleep(20000);
	CHECK(!vm.ended);
	vm_make_room(&vm, 10);
	vm_expect(&vm, "abcdef");
	while (!vm.ended)
		usleep(1000);
	vm_make_room(&vm, 10);
	usleep(20000);
	CHECK(vm.ended == 1);
	vm_end(&vm);
}

IN_CHILD(what_becomes_of_output_is_told)
{
	struct vm vm;
	struct user user = vm_start_on_pipes(&vm, 0);

	CHECK(terminal_is_written(vm.terminal));
	CHECK(vm_write(&vm, "read") == 4);
	while (!vm.written)
		usleep(1000);
	CHECK(terminal_is_written(vm.terminal));
	CHECK(!vm.lost);
	close(user.out);
	CHECK(vm_write(&vm, "lost") == 4);
	while (!vm.lost || vm.written < 2)
		usleep(1000);
	CHECK(terminal_is_written(vm.terminal));
	vm_end(&vm);
}

IN_CHILD(dev_null_as_stdin_is_no_reason_to_end)
{
	struct vm vm;
	int out[2];

	CHECK(!pipe(out));
	become(open("/dev/null", O_RDONLY), out[1]);
	vm_start(&vm, 100);
	CHECK(vm_write(&vm, "running") == 7);
	expect(out[0], "running");
	CHECK(vm.input_len == 0 && !vm.quit);
	vm_end(&vm);
}

/* ---- output ------------------------------------------------------------- */

IN_CHILD(bytes_written_one_by_one_leave_in_one_write)
{
	const struct terminal_callbacks callbacks = { 0 };
	struct terminal *terminal;
	struct chardev *chardev;
	struct loop *loop;
	char data[4096];
	int out[2];

	/* Each write(2) to it is a packet that the reader can count. */
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, out));
	become(open("/dev/null", O_RDONLY), out[1]);
	CHECK(!loop_create(&loop));
	CHECK(!terminal_create(loop, &callbacks, &terminal));
	chardev = terminal_chardev(terminal);
	for (int i = 0; i < 1000; i++)
		CHECK(chardev->ops->write(chardev, "b", 1) == 1);
	terminal_stop(terminal);
	CHECK(recv(out[0], data, sizeof(data), MSG_DONTWAIT) == 1000);
	terminal_destroy(terminal);
	loop_destroy(loop);
}

/*
 * Write as much as is taken, behind @total bytes that went before; they count
 * 0 to 250, over and over. Returns the new total.
 */
static size_t fill(struct vm *vm, size_t total)
{
	size_t taken;

	do {
		char data[251];

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (char)((total + i) % 251);
		taken = vm->chardev->ops->write(vm->chardev, data,
						sizeof(data));
		total += taken;
		usleep(50);
	} while (taken == 251 && total < 1000000);
	CHECK(total < 1000000);
	return total;
}

static void drain(int fd, size_t len)
{
	uint8_t data[4096];

	for (size_t at = 0; at < len;) {
		ssize_t n = read(fd, data, MIN(len - at, sizeof(data)));

		CHECK(n > 0);
		for (ssize_t i = 0; i < n; i++)
			CHECK(data[i] == (at + (size_t)i) % 251);
		at += (size_t)n;
	}
}

static void check_reader_that_does_not_read(int reader, int writer)
{
	size_t total = 0, before;
	struct vm vm;
	int in[2];

	CHECK(!pipe(in));
	become(in[0], writer);
	vm_start(&vm, 100);
	/* A loop's thread that is late has made room again meanwhile. */
	do {
		pthread_mutex_lock(&vm.lock);
		vm.writable = 0;
		pthread_mutex_unlock(&vm.lock);
		before = total;
		total = fill(&vm, total);
		usleep(20000);
	} while (total > before);
	/* Neither the guest nor the main loop is held up by that. */
	put(in[1], "alive");
	vm_expect(&vm, "alive");
	CHECK(!(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK));
	pthread_mutex_lock(&vm.lock);
	CHECK(!vm.writable);
	pthread_mutex_unlock(&vm.lock);
	drain(reader, total);
	pthread_mutex_lock(&vm.lock);
	while (!vm.writable)
		pthread_cond_wait(&vm.changed, &vm.lock);
	pthread_mutex_unlock(&vm.lock);
	CHECK(vm_write(&vm, "more") == 4);
	expect(reader, "more");
	vm_end(&vm);
}

static void body_unread_pipe(void)
{
	int out[2];

	CHECK(!pipe(out));
	check_reader_that_does_not_read(out[0], out[1]);
}

static void body_unread_socket(void)
{
	int out[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, out));
	check_reader_that_does_not_read(out[0], out[1]);
}

static void body_unread_tty(void)
{
	struct termios mode;
	int master, slave;

	make_pty(&master, &slave);
	CHECK(!tcgetattr(slave, &mode));
	cfmakeraw(&mode);
	CHECK(!tcsetattr(slave, TCSANOW, &mode));
	check_reader_that_does_not_read(master, slave);
}

/* Where stdout cannot be opened anew, poll(2) is asked before each write. */
static void body_unread_without_proc(void)
{
	int out[2];

	CHECK(!pipe(out) && !chdir("/sys") && !chroot("/sys"));
	check_reader_that_does_not_read(out[0], out[1]);
	_exit(0); /* leak checkers need /proc */
}

static void a_reader_that_does_not_read_stops_only_output(void **state)
{
	(void)state;
	in_child(body_unread_pipe);
	in_child(body_unread_socket);
	in_child(body_unread_tty);
	if (geteuid() == 0)
		in_child(body_unread_without_proc);
}

IN_CHILD(output_after_its_reader_has_gone_is_discarded)
{
	struct vm vm;
	struct user user = vm_start_on_pipes(&vm, 100);

	close(user.out);
	for (size_t total = 0; total < 1000000; total += 1000) {
		char data[1000] = { 0 };

		while (!vm.chardev->ops->write(vm.chardev, data, sizeof(data)))
			usleep(1000);
	}
	put(user.in, "alive");
	vm_expect(&vm, "alive");
	vm_end(&vm);
}

IN_CHILD(a_reader_that_does_not_read_cannot_prevent_the_end)
{
	struct vm vm;

	vm_start_on_pipes(&vm, 0);
	fill(&vm, 0);
	vm_end(&vm);
}

IN_CHILD(a_file_gets_output_behind_what_it_holds)
{
	char data[100];
	struct vm vm;
	int out = temporary_file();

	put(out, "before ");
	become(open("/dev/null", O_RDONLY), out);
	vm_start(&vm, 0);
	CHECK(vm_write(&vm, "during ") == 7);
	vm_end(&vm);
	put(out, "after");
	CHECK(pread(out, data, sizeof(data), 0) == 19);
	CHECK(!memcmp(data, "before during after", 19));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(piped_input_arrives_and_its_end_is_no_end),
		cmocka_unit_test(input_that_the_guest_did_not_take_is_kept),
		cmocka_unit_test(
			a_guest_that_does_not_read_makes_the_writer_wait),
		cmocka_unit_test(
			a_regular_file_is_read_as_the_guest_wants_input),
		cmocka_unit_test(
			the_end_of_input_is_told_when_all_has_been_taken),
		cmocka_unit_test(what_becomes_of_output_is_told),
		cmocka_unit_test(dev_null_as_stdin_is_no_reason_to_end),
		cmocka_unit_test(bytes_written_one_by_one_leave_in_one_write),
		cmocka_unit_test(a_reader_that_does_not_read_stops_only_output),
		cmocka_unit_test(output_after_its_reader_has_gone_is_discarded),
		cmocka_unit_test(
			a_reader_that_does_not_read_cannot_prevent_the_end),
		cmocka_unit_test(a_file_gets_output_behind_what_it_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
