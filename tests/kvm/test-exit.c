/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How runs end, with which status and which last words; kernels' entries;
 * hypercalls; configuration ports; the counters of --stats.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <linux/pci_regs.h>
#include <linux/serial_reg.h>
#include <misc/pvpanic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/hw.h>
#include <lkvm/pci.h>
#include <lkvm/util.h>
#include <lkvm/x86.h>

#define EXIT                                 \
	{                                    \
		AGENT_OUT8, DEBUG_EXIT, 0, 0 \
	}
#define POWER_PORT (POWER_RESET - POWER_REG_RESET)
#define PVPANIC_PORT 0x505

/* The status of a run that ends by one operation; its stderr to *@text. */
static int status_of(struct agent_op op, enum on_reset on_reset, char **text)
{
	struct capture capture;
	struct guest g;
	int status;

	guest_init(&g, "agent64");
	g.config.on_reset = on_reset;
	guest_create(&g);
	capture_begin(&capture, STDERR_FILENO);
	status = agent_run(&g, &op, 1);
	*text = capture_end(&capture);
	guest_destroy(&g);
	return status;
}

static void assert_status(struct agent_op op, enum on_reset on_reset,
			  int status, const char *words)
{
	char *text;

	assert_int_equal(status_of(op, on_reset, &text), status);
	assert_string_equal(text, words);
	free(text);
}

static void a_power_off_ends_with_0(void **state)
{
	const struct agent_op off = {
		.kind = AGENT_OUT8,
		.addr = POWER_PORT + POWER_REG_SLEEP_CONTROL,
		.value = POWER_SLP_TYP_S5 << 2 | 0x20,
	};

	(void)state;
	assert_status(off, ON_RESET_EXIT, STATUS_OK, "");
	assert_status(off, ON_RESET_RESET, STATUS_OK, "");
}

static void a_reset_ends_as_the_user_said(void **state)
{
	const struct agent_op resets[] = {
		{ AGENT_OUT8, POWER_RESET, POWER_RESET_VALUE, 0 },
		{ AGENT_OUT8, I8042_COMMAND, I8042_RESET, 0 },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(resets); i++) {
		assert_status(resets[i], ON_RESET_EXIT, STATUS_OK, "");
		assert_status(resets[i], ON_RESET_FAIL, STATUS_RESET,
			      "lkvm: the guest reset itself\n");
	}
}

static void a_panic_ends_with_255(void **state)
{
	const struct agent_op panic = { AGENT_OUT8, PVPANIC_PORT,
					PVPANIC_PANICKED, 0 };

	(void)state;
	assert_status(panic, ON_RESET_EXIT, STATUS_PANIC,
		      "lkvm: the guest kernel panicked\n");
}

static void a_debug_exit_ends_with_its_value(void **state)
{
	static const uint8_t values[] = { 0, 1, 42, 127, 128, 255 };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
		const struct agent_op op = { AGENT_OUT8, DEBUG_EXIT, values[i],
					     0 };

		assert_status(op, ON_RESET_FAIL, (values[i] << 1 | 1) & 0xff,
			      "");
	}
}

static void without_a_debug_exit_its_port_is_nobodys(void **state)
{
	struct agent_op ops[] = {
		{ AGENT_IN8, DEBUG_EXIT, 0, 0 },
		EXIT,
		{ AGENT_OUT8, PVPANIC_PORT, PVPANIC_PANICKED, 0 },
	};
	struct capture capture;
	struct guest g;
	int status;

	(void)state;
	guest_init(&g, "agent64");
	g.config.debug_exit = false;
	guest_create(&g);
	capture_begin(&capture, STDERR_FILENO);
	status = agent_run(&g, ops, ARRAY_SIZE(ops));
	free(capture_end(&capture));
	assert_int_equal(status, STATUS_PANIC);
	assert_int_equal(ops[0].result, 0xff);
	guest_destroy(&g);
}

static void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in:\n%s", part, text);
}

static void a_triple_fault_shows_registers_and_code(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(status_of((struct agent_op) { AGENT_TRIPLE_FAULT, 0,
						       0x1234567887654321, 0 },
				   ON_RESET_RESET, &text),
			 STATUS_KVM_FAILED);
	assert_contains(text, "lkvm: triple fault on vCPU 0\n");
	if (strstr(text, "rip 000000000000fff0")) {
		/* AMD's SHUTDOWN leaves no registers; KVM then makes INIT's. */
		assert_contains(text, "base 00000000ffff0000");
		assert_contains(text, "code -- -- -- -- <--> -- ");
	} else {
		assert_contains(text, "rip 00000000001001");
		assert_contains(text, "rax 1234567887654321");
		assert_contains(text, "efer 500 ");
		/* UD2, and what the guest has placed behind it. */
		assert_contains(text, " <0f> 0b f1 e2 d3 c4 ");
	}
	free(text);
}

static void code_in_a_device_is_kvms_error(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(
		status_of((struct agent_op) { AGENT_JUMP, TEST_WINDOW, 0, 0 },
			  ON_RESET_RESET, &text),
		STATUS_KVM_FAILED);
	assert_contains(text, "lkvm: KVM c");
	assert_contains(text, "lkvm: KVM cannot run the guest on\n");
	assert_contains(text, "rip 00000000c8000000");
	/* No RAM there that could be shown. */
	assert_contains(text, "code -- -- -- -- <--> -- ");
	free(text);
}

/* ---- entries ------------------------------------------------------------ */

#define CR0_PE 0x00000001
#define CR0_PG 0x80000000

static void check_entry(const char *name, uint32_t cr0, unsigned int reports)
{
	uint32_t cmdline = 0;
	struct guest g;

	guest_init(&g, name);
	g.config.cmdline = "tiny guest";
	guest_create(&g);
	assert_int_equal(vm_run(g.vm), 1);
	assert_int_equal(g.nr_log, reports);
	assert_int_equal(g.log[0].value & (CR0_PE | CR0_PG), cr0);
	assert_int_equal(g.log[1].value, 0x10); /* __BOOT_CS */
	assert_int_equal(g.log[2].value, 0x18); /* __BOOT_DS */
	assert_int_equal(g.log[3].value, X86_BOOT_PARAMS);
	memcpy(&cmdline, "tiny", sizeof(cmdline));
	assert_int_equal(g.log[4].value, cmdline);
	if (reports > 5)
		assert_int_equal(g.log[5].value, 0xffffffff);
	guest_destroy(&g);
}

static void an_elf32_kernel_starts_in_protected_mode(void **state)
{
	(void)state;
	check_entry("entry32", CR0_PE, 5);
}

static void an_elf64_kernel_starts_in_long_mode(void **state)
{
	(void)state;
	check_entry("entry64", CR0_PE | CR0_PG, 6);
}

/* ---- hypercalls --------------------------------------------------------- */

/* Does this machine's KVM offer to hand hypercalls to user space? */
static bool kvm_has_hypercall_exits(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int mask = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_EXIT_HYPERCALL);

	close(kvm);
	return mask > 0 && (mask & 1 << KVM_HC_MAP_GPA_RANGE);
}

/*
 * A KVM whose guests all go through its emulator patches a hypercall's
 * instruction and starts it again, for ever. Ask with one that needs no user
 * space; the wait is not what is tested.
 */
static bool kvm_completes_hypercalls(void)
{
	struct agent_op op = { AGENT_HYPERCALL, KVM_HC_VAPIC_POLL_IRQ, 0, 0 };
	struct timespec until;
	struct guest g;
	bool done;

	guest_init(&g, "agent64");
	guest_create(&g);
	g.ops = &op;
	g.nr_ops = 1;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 3;
	vm_resume(g.vm);
	pthread_mutex_lock(&g.lock);
	/* The agent asks for more when it has done the first. */
	while (g.fetch_at <= 4 &&
	       !pthread_cond_timedwait(&g.changed, &g.lock, &until))
		;
	done = g.fetch_at > 4;
	pthread_mutex_unlock(&g.lock);
	guest_destroy(&g);
	return done;
}

static void a_hypercall_for_user_space_is_refused_and_counted(void **state)
{
	struct agent_op ops[] = {
		{ AGENT_HYPERCALL, KVM_HC_MAP_GPA_RANGE, 0x300000, 0 },
		{ AGENT_HYPERCALL, KVM_HC_MAP_GPA_RANGE, 0x400000, 0 },
		EXIT,
	};
	struct guest g;

	(void)state;
	if (!kvm_has_hypercall_exits() || !kvm_completes_hypercalls())
		skip();
	guest_init(&g, "agent64");
	guest_create(&g);
	assert_int_equal(agent_run(&g, ops, ARRAY_SIZE(ops)), 1);
	assert_int_equal(ops[0].result, (uint64_t)-KVM_ENOSYS);
	assert_int_equal(ops[1].result, (uint64_t)-KVM_ENOSYS);
	assert_int_equal(g.vm->vcpus[0].stats.exits[KVM_EXIT_HYPERCALL], 2);
	guest_destroy(&g);
}

/* ---- configuration space ------------------------------------------------ */

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE 0x80000000

static void configuration_space_is_read_by_ports_and_by_ecam(void **state)
{
	struct agent_op ops[] = {
		{ AGENT_OUT32, CONFIG_ADDRESS, CONFIG_ENABLE, 0 },
		{ AGENT_IN16, CONFIG_DATA + PCI_VENDOR_ID, 0, 0 },
		{ AGENT_IN32, CONFIG_DATA, 0, 0 },
		{ AGENT_READ32, X86_ECAM_BASE, 0, 0 },
		/* Not there: 00:1f.0, 00:00.1, bus 1. */
		{ AGENT_OUT32, CONFIG_ADDRESS, CONFIG_ENABLE | 31 << 11, 0 },
		{ AGENT_IN32, CONFIG_DATA, 0, 0 },
		{ AGENT_IN16, CONFIG_DATA, 0, 0 },
		{ AGENT_READ32, X86_ECAM_BASE + (31 << 15), 0, 0 },
		{ AGENT_OUT32, CONFIG_ADDRESS, CONFIG_ENABLE | 1 << 8, 0 },
		{ AGENT_IN32, CONFIG_DATA, 0, 0 },
		{ AGENT_OUT32, CONFIG_ADDRESS, CONFIG_ENABLE | 1 << 16, 0 },
		{ AGENT_IN32, CONFIG_DATA, 0, 0 },
		/* Not enabled: no configuration space at all. */
		{ AGENT_OUT32, CONFIG_ADDRESS, 0, 0 },
		{ AGENT_IN32, CONFIG_DATA, 0, 0 },
		EXIT,
	};
	struct guest g;

	(void)state;
	guest_init(&g, "agent64");
	guest_create(&g);
	assert_int_equal(agent_run(&g, ops, ARRAY_SIZE(ops)), 1);
	assert_int_not_equal(ops[1].result, 0xffff);
	assert_int_not_equal(ops[1].result, 0);
	assert_int_equal(ops[2].result & 0xffff, ops[1].result);
	assert_int_equal(ops[3].result, ops[2].result);
	assert_int_equal(ops[5].result, 0xffffffff);
	assert_int_equal(ops[6].result, 0xffff);
	assert_int_equal(ops[7].result, 0xffffffff);
	assert_int_equal(ops[9].result, 0xffffffff);
	assert_int_equal(ops[11].result, 0xffffffff);
	assert_int_equal(ops[13].result, 0xffffffff);
	guest_destroy(&g);
}

/* ---- counters ----------------------------------------------------------- */

/* The count that --stats shows for @what of vCPU 0, or 0. */
static unsigned long long stat_of(const char *text, const char *what)
{
	for (const char *line = text; line; line = strchr(line + 1, '\n')) {
		unsigned long long count;
		char name[64];
		int end = 0;

		if (*line == '\n')
			line++;
		if (sscanf(line, "vcpu0 %63[a-z0-9 -]%n", name, &end) != 1)
			continue;
		/* The name ends at the number's padding. */
		if (strncmp(name, what, strlen(what)) != 0 ||
		    sscanf(name + strlen(what), "  %llu", &count) != 1)
			continue;
		return count;
	}
	return 0;
}

static void stats_count_each_access_by_region(void **state)
{
	struct agent_op ops[64];
	struct capture capture;
	unsigned int nr = 0;
	struct guest g;
	char *text;

	(void)state;
	for (unsigned int i = 0; i < 7; i++)
		ops[nr++] = (struct agent_op) { AGENT_IN8, SERIAL0 + UART_SCR,
						0, 0 };
	for (unsigned int i = 0; i < 5; i++)
		ops[nr++] = (struct agent_op) { AGENT_OUT8, 0x2f8 + UART_SCR, 1,
						0 };
	for (unsigned int i = 0; i < 11; i++)
		ops[nr++] = (struct agent_op) { AGENT_OUT32, 0x700, 1, 0 };
	for (unsigned int i = 0; i < 3; i++)
		ops[nr++] =
			(struct agent_op) { AGENT_READ32, TEST_WINDOW, 0, 0 };
	for (unsigned int i = 0; i < 2; i++)
		ops[nr++] =
			(struct agent_op) { AGENT_WRITE64, TEST_PAGE, 0, 0 };
	for (unsigned int i = 0; i < 4; i++)
		ops[nr++] = (struct agent_op) { AGENT_WRITE8,
						TEST_PAGE - 0x1000, 0, 0 };
	ops[nr++] = (struct agent_op)EXIT;

	guest_init(&g, "agent64");
	g.config.stats = true;
	guest_create(&g);
	capture_begin(&capture, STDERR_FILENO);
	assert_int_equal(agent_run(&g, ops, nr), 1);
	text = capture_end(&capture);
	guest_destroy(&g);

	assert_int_equal(stat_of(text, "pio serial0"), 7);
	assert_int_equal(stat_of(text, "pio serial1"), 5);
	assert_int_equal(stat_of(text, "pio unclaimed"), 11);
	assert_int_equal(stat_of(text, "pio debug-exit"), 1);
	assert_int_equal(stat_of(text, "mmio test-window"), 3);
	assert_int_equal(stat_of(text, "mmio test-page"), 2);
	assert_int_equal(stat_of(text, "mmio unclaimed"), 4);
	/* Exits: a string instruction's items share theirs. */
	assert_int_equal(stat_of(text, "mmio"), 9);
	assert_true(stat_of(text, "pio") > 24);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(a_power_off_ends_with_0),
		kvm_test(a_reset_ends_as_the_user_said),
		kvm_test(a_panic_ends_with_255),
		kvm_test(a_debug_exit_ends_with_its_value),
		kvm_test(without_a_debug_exit_its_port_is_nobodys),
		kvm_test(a_triple_fault_shows_registers_and_code),
		kvm_test(code_in_a_device_is_kvms_error),
		kvm_test(an_elf32_kernel_starts_in_protected_mode),
		kvm_test(an_elf64_kernel_starts_in_long_mode),
		{ "a hypercall for user space is refused and counted "
		  "(hardware: a KVM that runs hypercalls)",
		  a_hypercall_for_user_space_is_refused_and_counted,
		  kvm_test_setup, kvm_test_teardown, NULL },
		kvm_test(configuration_space_is_read_by_ports_and_by_ecam),
		kvm_test(stats_count_each_access_by_region),
	};

	return cmocka_run_group_tests_name("exit", tests, NULL, NULL);
}
