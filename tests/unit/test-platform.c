/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The small platform devices: clock, keyboard controller, power registers,
 * and the ports that report a panic, an exit and a moment of boot.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <misc/pvpanic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/hw.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

#define NO_REQUEST (-1)

struct fixture {
	struct machine machine;
	struct device *device;
	int request; /* the last one */
	unsigned int detail;
	unsigned int requests;
	unsigned int mark;
};

static const struct resource rtc_resource = {
	RESOURCE_RTC, true, 0, 0x70, 2, 8,
};
static const struct resource keyboard_resource = {
	RESOURCE_KEYBOARD, true, 0, 0x60, 5, 1,
};
static const struct resource power_resource = {
	RESOURCE_POWER, true, 0, 0x600, POWER_REG_BYTES, 9,
};
static const struct resource pvpanic_resource = {
	RESOURCE_PVPANIC, true, 0, 0x505, 1, RESOURCE_NO_GSI,
};
static const struct resource debug_exit_resource = {
	RESOURCE_DEBUG_EXIT, true, 0, 0xf4, 4, RESOURCE_NO_GSI,
};
static const struct resource boot_timer_resource = {
	RESOURCE_BOOT_TIMER, true, 0, 0xf2, 1, RESOURCE_NO_GSI,
};

static void note_request(struct machine *machine, enum machine_event event,
			 unsigned int detail)
{
	struct fixture *f = container_of(machine, struct fixture, machine);

	f->request = event;
	f->detail = detail;
	f->requests++;
}

static void note_mark(struct machine *machine, unsigned int value)
{
	container_of(machine, struct fixture, machine)->mark = value;
}

static int setup(void **state, const struct device_type *type,
		 const struct resource *resource)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	bus_init(&f->machine.pio);
	if (irq_init(&f->machine.irq, -1) || loop_create(&f->machine.loop))
		return -1;
	f->machine.request = note_request;
	f->machine.boot_mark = note_mark;
	f->request = NO_REQUEST;
	*state = f;
	return type->create(&f->machine, resource, &f->device);
}

static int setup_rtc(void **state)
{
	return setup(state, &rtc_type, &rtc_resource);
}

static int setup_keyboard(void **state)
{
	return setup(state, &i8042_type, &keyboard_resource);
}

static int setup_power(void **state)
{
	return setup(state, &power_type, &power_resource);
}

static int setup_pvpanic(void **state)
{
	return setup(state, &pvpanic_type, &pvpanic_resource);
}

static int setup_debug_exit(void **state)
{
	return setup(state, &debug_exit_type, &debug_exit_resource);
}

static int setup_boot_timer(void **state)
{
	return setup(state, &boot_timer_type, &boot_timer_resource);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->device->type->destroy(f->device);
	loop_destroy(f->machine.loop);
	irq_release(&f->machine.irq);
	bus_release(&f->machine.pio);
	free(f);
	return 0;
}

static uint64_t in(struct fixture *f, uint16_t port, unsigned int len)
{
	uint64_t value = 0;

	bus_read(&f->machine.pio, NULL, port, len, &value);
	return value;
}

static uint8_t inb(struct fixture *f, uint16_t port)
{
	return (uint8_t)in(f, port, 1);
}

static void outb(struct fixture *f, uint16_t port, uint8_t value)
{
	bus_write(&f->machine.pio, NULL, port, 1, value);
}

static bool line(struct fixture *f, unsigned int gsi)
{
	return f->machine.irq.line_sources[gsi];
}

/* ---- clock -------------------------------------------------------------- */

enum {
	SECONDS = 0,
	SECONDS_ALARM = 1,
	MINUTES = 2,
	MINUTES_ALARM = 3,
	HOURS = 4,
	HOURS_ALARM = 5,
	WEEKDAY = 6,
	DAY = 7,
	MONTH = 8,
	YEAR = 9,
	REG_A = 10,
	REG_B = 11,
	REG_C = 12,
	REG_D = 13,
	CENTURY = 0x32,
	UIP = 0x80,
	SET = 0x80,
	AIE = 0x20,
	BINARY = 0x04,
	HOURS_24 = 0x02,
	AF = 0x20,
	IRQF = 0x80,
};

static uint8_t cmos(struct fixture *f, uint8_t reg)
{
	outb(f, 0x70, reg);
	return inb(f, 0x71);
}

static void set_cmos(struct fixture *f, uint8_t reg, uint8_t value)
{
	outb(f, 0x70, reg);
	outb(f, 0x71, value);
}

static void set_clock(struct fixture *f, uint8_t b, const uint8_t time[7])
{
	static const uint8_t reg[7] = { CENTURY, YEAR,	  MONTH,  DAY,
					HOURS,	 MINUTES, SECONDS };

	set_cmos(f, REG_B, b | SET);
	for (int i = 0; i < 7; i++)
		set_cmos(f, reg[i], time[i]);
	set_cmos(f, REG_B, b);
}

static time_t read_clock(struct fixture *f)
{
	struct tm tm;

	set_cmos(f, REG_B, BINARY | HOURS_24);
	/* Halted, so that no second passes between two registers. */
	set_cmos(f, REG_B, BINARY | HOURS_24 | SET);
	tm = (struct tm) {
		.tm_year = cmos(f, CENTURY) * 100 + cmos(f, YEAR) - 1900,
		.tm_mon = cmos(f, MONTH) - 1,
		.tm_mday = cmos(f, DAY),
		.tm_hour = cmos(f, HOURS),
		.tm_min = cmos(f, MINUTES),
		.tm_sec = cmos(f, SECONDS),
	};
	return timegm(&tm);
}

static void clock_starts_as_the_hosts_utc(void **state)
{
	time_t before = time(NULL);
	time_t now = read_clock(*state);

	assert_in_range(now, before, time(NULL));
}

/* mc146818_does_rtc_work() and rtc_cmos's probe. */
static void clock_passes_linuxs_probe(void **state)
{
	struct fixture *f = *state;
	unsigned int tries = 0;

	while (cmos(f, REG_A) & UIP)
		assert_true(tries++ < 1000000);
	assert_int_equal(cmos(f, REG_A) & 0x7f, 0x26);
	assert_int_equal(cmos(f, REG_D), 0x80);
	assert_int_equal(cmos(f, REG_B), HOURS_24);
	assert_int_equal(cmos(f, REG_C), 0);
}

static void clock_keeps_what_the_guest_set(void **state)
{
	static const uint8_t binary[7] = { 20, 38, 1, 19, 3, 14, 7 };
	static const uint8_t bcd[7] = {
		0x20, 0x38, 0x01, 0x19, 0x03, 0x14, 0x07
	};
	static const uint8_t evening[7] = { 0x20, 0x38, 0x01, 0x19,
					    0x83, 0x14, 0x07 };
	const time_t wanted = 0x7fffffff;
	struct fixture *f = *state;

	set_clock(f, BINARY | HOURS_24, binary);
	assert_in_range(read_clock(f), wanted, wanted + 60);
	set_clock(f, HOURS_24, bcd);
	assert_in_range(read_clock(f), wanted, wanted + 60);
	set_clock(f, 0, bcd);
	assert_in_range(read_clock(f), wanted, wanted + 60);
	set_clock(f, 0, evening);
	assert_in_range(read_clock(f), wanted + 43200, wanted + 43260);
}

static void clock_shows_each_representation(void **state)
{
	static const uint8_t evening[7] = { 20, 24, 12, 31, 13, 45, 10 };
	static const uint8_t midnight[7] = { 20, 24, 12, 31, 0, 45, 10 };
	struct fixture *f = *state;

	set_clock(f, BINARY | HOURS_24, evening);
	assert_int_equal(cmos(f, HOURS), 13);
	assert_int_equal(cmos(f, WEEKDAY), 3);
	set_cmos(f, REG_B, HOURS_24);
	assert_int_equal(cmos(f, HOURS), 0x13);
	assert_int_equal(cmos(f, MINUTES), 0x45);
	assert_int_equal(cmos(f, MONTH), 0x12);
	set_cmos(f, REG_B, 0);
	assert_int_equal(cmos(f, HOURS), 0x81);
	set_cmos(f, REG_B, BINARY);
	assert_int_equal(cmos(f, HOURS), 0x81);
	set_clock(f, BINARY | HOURS_24, midnight);
	set_cmos(f, REG_B, BINARY);
	assert_int_equal(cmos(f, HOURS), 12);
}

static void clock_survives_nonsense(void **state)
{
	struct fixture *f = *state;
	uint8_t nonsense[7];

	for (unsigned int b = 0; b < 8; b += 2)
		for (unsigned int value = 0; value < 256; value += 5) {
			memset(nonsense, (int)value, sizeof(nonsense));
			set_clock(f, b, nonsense);
			for (unsigned int reg = 0; reg < 256; reg++) {
				set_cmos(f, (uint8_t)reg, (uint8_t)value);
				cmos(f, (uint8_t)reg);
			}
			set_cmos(f, REG_B, AIE | b);
		}
	assert_int_equal(cmos(f, REG_D), 0x80);
}

static void stop_at_alarm(void *opaque, uint32_t events)
{
	(void)events;
	loop_stop(opaque);
}

static void alarm_raises_irq_8_until_c_is_read(void **state)
{
	struct fixture *f = *state;
	struct loop_source stop = {
		.ready = stop_at_alarm,
		.opaque = f->machine.loop,
	};
	static const uint8_t noon[7] = { 20, 24, 12, 31, 11, 59, 59 };
	uint8_t b = BINARY | HOURS_24 | AIE;
	int fds[2];

	set_cmos(f, HOURS_ALARM, 12);
	set_cmos(f, MINUTES_ALARM, 0);
	set_cmos(f, SECONDS_ALARM, 0xff);
	set_clock(f, b, noon);
	assert_false(line(f, 8));
	/* Let the loop turn until the alarm, a second away, has come. */
	assert_int_equal(pipe(fds), 0);
	stop.fd = fds[1];
	while (!line(f, 8)) {
		assert_int_equal(loop_add(f->machine.loop, &stop, EPOLLOUT), 0);
		assert_int_equal(loop_run(f->machine.loop), 0);
		loop_del(f->machine.loop, &stop);
		usleep(10000);
	}
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(cmos(f, REG_C), IRQF | AF);
	assert_false(line(f, 8));
	assert_int_equal(cmos(f, REG_C), 0);
}

static void cmos_ram_is_stored_and_the_index_masked(void **state)
{
	struct fixture *f = *state;

	set_cmos(f, 0x40, 0xaa);
	set_cmos(f, 0x80 | 0x7f, 0x55);
	assert_int_equal(cmos(f, 0x40), 0xaa);
	assert_int_equal(cmos(f, 0x7f), 0x55);
	assert_int_equal(in(f, 0x70, 2) >> 8, 0x55);
}

static void reset_keeps_clock_and_ram_but_no_alarm(void **state)
{
	static const uint8_t set[7] = { 20, 38, 1, 19, 3, 14, 7 };
	struct fixture *f = *state;

	set_clock(f, BINARY | HOURS_24, set);
	set_cmos(f, 0x40, 0xaa);
	set_cmos(f, REG_B, BINARY | HOURS_24 | AIE | SET);
	rtc_type.reset(f->device);
	assert_int_equal(cmos(f, REG_B), HOURS_24);
	assert_int_equal(cmos(f, 0x40), 0xaa);
	assert_in_range(read_clock(f), 0x7fffffff, 0x7fffffffL + 60);
}

/* ---- keyboard controller ------------------------------------------------ */

static void keyboard_reset_line_resets(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x64, 0xfe);
	assert_int_equal(f->request, MACHINE_RESET);
	assert_int_equal(f->requests, 1);
	outb(f, 0x64, 0xff);
	assert_int_equal(f->requests, 1);
	outb(f, 0x64, 0xd1);
	outb(f, 0x60, 0x03);
	assert_int_equal(f->requests, 1);
	outb(f, 0x64, 0xd0);
	assert_int_equal(inb(f, 0x60), 0x03);
	outb(f, 0x64, 0xd1);
	outb(f, 0x60, 0x02);
	assert_int_equal(f->requests, 2);
}

static void keyboard_controller_answers_a_probe(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(inb(f, 0x64), 0x14);
	outb(f, 0x64, 0xaa);
	assert_int_equal(inb(f, 0x64) & 0x43, 0x01);
	assert_int_equal(inb(f, 0x60), 0x55);
	assert_int_equal(inb(f, 0x64) & 0x43, 0);
	outb(f, 0x64, 0xab);
	assert_int_equal(inb(f, 0x60), 0);
	outb(f, 0x64, 0x60);
	outb(f, 0x60, 0x65);
	outb(f, 0x64, 0x20);
	assert_int_equal(inb(f, 0x60), 0x65);
}

/* Linux's i8042_check_aux(): neither echo nor test may look like a mouse. */
static void there_is_no_mouse_port(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x64, 0xd3);
	outb(f, 0x60, 0x5a);
	assert_int_equal(inb(f, 0x64) & 0x21, 0x01);
	inb(f, 0x60);
	outb(f, 0x64, 0xa9);
	assert_int_equal(inb(f, 0x60), 1);
}

static void a_command_to_the_keyboard_times_out_at_once(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x60, 0xf2);
	assert_false(line(f, 1));
	assert_int_equal(inb(f, 0x64) & 0x41, 0x41);
	inb(f, 0x60);
	outb(f, 0x64, 0x60);
	outb(f, 0x60, 0x05);
	outb(f, 0x60, 0xf2);
	assert_true(line(f, 1));
	assert_int_equal(inb(f, 0x60), 0xfe);
	assert_false(line(f, 1));
	assert_int_equal(inb(f, 0x64) & 0x43, 0);
}

static void keyboard_reset_forgets_a_pending_command(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x64, 0xd1);
	i8042_type.reset(f->device);
	outb(f, 0x60, 0x00);
	assert_int_equal(f->requests, 0);
}

/* ---- power -------------------------------------------------------------- */

static void s5_with_slp_en_powers_off(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x600, POWER_SLP_TYP_S5 << 2);
	assert_int_equal(f->requests, 0);
	outb(f, 0x600, 3 << 2 | 0x20);
	assert_int_equal(f->requests, 0);
	outb(f, 0x600, POWER_SLP_TYP_S5 << 2 | 0x20);
	assert_int_equal(f->request, MACHINE_POWEROFF);
	assert_int_equal(inb(f, 0x600), POWER_SLP_TYP_S5 << 2);
	outb(f, 0x601, 0x80);
	assert_int_equal(inb(f, 0x601), 0);
}

static void the_reset_register_resets_on_its_value_alone(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x602, 0);
	assert_int_equal(f->requests, 0);
	outb(f, 0x602, POWER_RESET_VALUE);
	assert_int_equal(f->request, MACHINE_RESET);
}

static void the_power_button_holds_its_line_until_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(inb(f, 0x603), 0);
	f->machine.power_button(f->machine.power_button_opaque);
	assert_true(line(f, 9));
	assert_int_equal(inb(f, 0x603), POWER_EVENT_BUTTON);
	assert_false(line(f, 9));
	assert_int_equal(inb(f, 0x603), 0);
	f->machine.power_button(f->machine.power_button_opaque);
	power_type.reset(f->device);
	assert_false(line(f, 9));
}

/* ---- ports that report -------------------------------------------------- */

static void pvpanic_tells_a_panic_from_a_crash_kernel(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(inb(f, 0x505),
			 PVPANIC_PANICKED | PVPANIC_CRASH_LOADED);
	outb(f, 0x505, PVPANIC_CRASH_LOADED);
	outb(f, 0x505, 0xfc);
	assert_int_equal(f->requests, 0);
	outb(f, 0x505, PVPANIC_PANICKED);
	assert_int_equal(f->request, MACHINE_PANIC);
}

static void debug_exit_takes_the_byte_of_any_width(void **state)
{
	struct fixture *f = *state;

	outb(f, 0xf4, 0x11);
	assert_int_equal(f->request, MACHINE_DEBUG_EXIT);
	assert_int_equal(f->detail, 0x11);
	bus_write(&f->machine.pio, NULL, 0xf4, 2, 0xaa22);
	assert_int_equal(f->detail, 0x22);
	bus_write(&f->machine.pio, NULL, 0xf4, 4, 0xaabbcc33);
	assert_int_equal(f->detail, 0x33);
	assert_int_equal(f->requests, 3);
}

static void boot_timer_marks_the_moment(void **state)
{
	struct fixture *f = *state;

	outb(f, 0xf2, 0x7b);
	assert_int_equal(f->mark, 0x7b);
}

static void a_taken_port_fails_creation_and_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct device *device = NULL;

	assert_true(boot_timer_type.create(&f->machine, &boot_timer_resource,
					   &device) < 0);
	assert_null(device);
	assert_null(f->machine.power_button);
}

#define RTC(f) cmocka_unit_test_setup_teardown(f, setup_rtc, teardown)
#define KEYBOARD(f) cmocka_unit_test_setup_teardown(f, setup_keyboard, teardown)
#define POWER(f) cmocka_unit_test_setup_teardown(f, setup_power, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RTC(clock_starts_as_the_hosts_utc),
		RTC(clock_passes_linuxs_probe),
		RTC(clock_keeps_what_the_guest_set),
		RTC(clock_shows_each_representation),
		RTC(clock_survives_nonsense),
		RTC(alarm_raises_irq_8_until_c_is_read),
		RTC(cmos_ram_is_stored_and_the_index_masked),
		RTC(reset_keeps_clock_and_ram_but_no_alarm),
		KEYBOARD(keyboard_reset_line_resets),
		KEYBOARD(keyboard_controller_answers_a_probe),
		KEYBOARD(there_is_no_mouse_port),
		KEYBOARD(a_command_to_the_keyboard_times_out_at_once),
		KEYBOARD(keyboard_reset_forgets_a_pending_command),
		POWER(s5_with_slp_en_powers_off),
		POWER(the_reset_register_resets_on_its_value_alone),
		POWER(the_power_button_holds_its_line_until_read),
		cmocka_unit_test_setup_teardown(
			pvpanic_tells_a_panic_from_a_crash_kernel,
			setup_pvpanic, teardown),
		cmocka_unit_test_setup_teardown(
			debug_exit_takes_the_byte_of_any_width,
			setup_debug_exit, teardown),
		cmocka_unit_test_setup_teardown(boot_timer_marks_the_moment,
						setup_boot_timer, teardown),
		cmocka_unit_test_setup_teardown(
			a_taken_port_fails_creation_and_leaves_nothing,
			setup_boot_timer, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
