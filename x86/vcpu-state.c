/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vCPU's registers: as after power-on (Intel SDM volume 3, table 10-1, and
 * clause 11.4.7 for the local APIC), as a kernel's entry wants them, and as
 * text for a person.
 *
 * Power-on is complete each time: what a guest left in a register that makes
 * KVM write into RAM (kvm-clock, steal time, ...) would damage the next one.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <asm/debugreg.h>
#include <asm/kvm_para.h>
#include <asm/processor-flags.h>
#include <linux/kvm.h>

#include <lkvm/x86.h>

/* MSR numbers; the kernel does not export its list to user space. */
enum {
	MSR_TSC = 0x10,
	MSR_APICBASE_BSP = 1 << 8,
	MSR_APICBASE_ENABLE = 1 << 11,
	MSR_SMI_COUNT = 0x34,
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_TSC_ADJUST = 0x3b,
	MSR_SPEC_CTRL = 0x48,
	MSR_PMC0 = 0xc1,
	MSR_UMWAIT_CONTROL = 0xe1,
	MSR_TSX_CTRL = 0x122,
	MSR_MISC_FEATURES_ENABLES = 0x140,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_MCG_STATUS = 0x17a,
	MSR_PERFEVTSEL0 = 0x186,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_XFD = 0x1c4,
	MSR_XFD_ERR = 0x1c5,
	MSR_DEBUGCTL = 0x1d9,
	MSR_POWER_CTL = 0x1fc,
	MSR_MTRR_PHYS_BASE0 = 0x200,
	MSR_MTRR_FIX64K = 0x250,
	MSR_MTRR_FIX16K_80000 = 0x258,
	MSR_MTRR_FIX16K_A0000 = 0x259,
	MSR_MTRR_FIX4K_C0000 = 0x268,
	MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MSR_FIXED_CTR0 = 0x309,
	MSR_FIXED_CTR_CTRL = 0x38d,
	MSR_PERF_GLOBAL_CTRL = 0x38f,
	MSR_PEBS_ENABLE = 0x3f1,
	MSR_DS_AREA = 0x600,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_BNDCFGS = 0xd90,
	MSR_XSS = 0xda0,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
};

#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SYSCALL_MASK 0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103
#define MSR_AMD_TSC_RATIO 0xc0000104
#define MSR_K7_EVNTSEL0 0xc0010000
#define MSR_K7_PERFCTR0 0xc0010004
#define MSR_K7_HWCR 0xc0010015
#define MSR_VM_HSAVE_PA 0xc0010117
#define MSR_VIRT_SPEC_CTRL 0xc001011f
#define MSR_F15H_PERF_CTL0 0xc0010200 /* and counters, in turn */
#define MSR_AMD_PERF_GLOBAL_CTL 0xc0000301

#define MISC_ENABLE_FAST_STRING 0x1ULL
#define MISC_ENABLE_NO_BTS_PEBS 0x1800ULL /* "unavailable" bits */
#define MTRR_ENABLE_WRITE_BACK 0x806ULL
#define PAT_POWER_ON 0x0007040600070406ULL
#define TSC_RATIO_ONE (1ULL << 32)

struct msr_range {
	uint32_t first, count;
	uint64_t value;
};

/*
 * What firmware would have set up, always written. Without MTRRs that are on
 * and say write-back, Linux does not use the PAT; without fast strings on an
 * Intel host, it copies slowly.
 */
static const struct msr_range firmware_msrs[] = {
	{ MSR_MISC_ENABLE, 1,
	  MISC_ENABLE_FAST_STRING | MISC_ENABLE_NO_BTS_PEBS },
	{ MSR_MTRR_DEF_TYPE, 1, MTRR_ENABLE_WRITE_BACK },
};

/*
 * What a guest may have changed and must not survive. A new vCPU has these
 * values. KVM refuses those that this host or the guest's CPUID lacks.
 */
static const struct msr_range reset_msrs[] = {
	/* Addresses in RAM that KVM writes to: first of all. */
	{ MSR_KVM_SYSTEM_TIME, 1, 0 },
	{ MSR_KVM_SYSTEM_TIME_NEW, 1, 0 },
	{ MSR_KVM_STEAL_TIME, 1, 0 },
	{ MSR_KVM_ASYNC_PF_EN, 1, 0 },
	{ MSR_KVM_ASYNC_PF_INT, 1, 0 },
	{ MSR_KVM_PV_EOI_EN, 1, 0 },
	{ MSR_KVM_WALL_CLOCK, 1, 0 },
	{ MSR_KVM_WALL_CLOCK_NEW, 1, 0 },
	{ MSR_KVM_POLL_CONTROL, 1, 1 },
	/* 0 on all vCPUs: KVM makes them run in step again. */
	{ MSR_TSC, 1, 0 },
	{ MSR_TSC_ADJUST, 1, 0 },
	{ MSR_TSC_DEADLINE, 1, 0 },
	{ MSR_TSC_AUX, 1, 0 },
	{ MSR_AMD_TSC_RATIO, 1, TSC_RATIO_ONE },
	{ MSR_SYSENTER_CS, 1, 0 },
	{ MSR_SYSENTER_ESP, 1, 0 },
	{ MSR_SYSENTER_EIP, 1, 0 },
	{ MSR_STAR, 1, 0 },
	{ MSR_LSTAR, 1, 0 },
	{ MSR_CSTAR, 1, 0 },
	{ MSR_SYSCALL_MASK, 1, 0 },
	{ MSR_KERNEL_GS_BASE, 1, 0 },
	{ MSR_PAT, 1, PAT_POWER_ON },
	{ MSR_MTRR_PHYS_BASE0, 16, 0 },
	{ MSR_MTRR_FIX64K, 1, 0 },
	{ MSR_MTRR_FIX16K_80000, 1, 0 },
	{ MSR_MTRR_FIX16K_A0000, 1, 0 },
	{ MSR_MTRR_FIX4K_C0000, 8, 0 },
	{ MSR_SPEC_CTRL, 1, 0 },
	{ MSR_VIRT_SPEC_CTRL, 1, 0 },
	{ MSR_TSX_CTRL, 1, 0 },
	{ MSR_UMWAIT_CONTROL, 1, 0 },
	{ MSR_MISC_FEATURES_ENABLES, 1, 0 },
	{ MSR_FEATURE_CONTROL, 1, 0 },
	{ MSR_MCG_STATUS, 1, 0 },
	{ MSR_SMI_COUNT, 1, 0 },
	{ MSR_XFD, 1, 0 },
	{ MSR_XFD_ERR, 1, 0 },
	{ MSR_XSS, 1, 0 },
	{ MSR_BNDCFGS, 1, 0 },
	{ MSR_DEBUGCTL, 1, 0 },
	{ MSR_POWER_CTL, 1, 0 },
	{ MSR_DS_AREA, 1, 0 },
	{ MSR_PEBS_ENABLE, 1, 0 },
	{ MSR_PERF_GLOBAL_CTRL, 1, 0 },
	{ MSR_FIXED_CTR_CTRL, 1, 0 },
	{ MSR_FIXED_CTR0, 3, 0 },
	{ MSR_PERFEVTSEL0, 8, 0 },
	{ MSR_PMC0, 8, 0 },
	{ MSR_AMD_PERF_GLOBAL_CTL, 1, 0 },
	{ MSR_K7_EVNTSEL0, 4, 0 },
	{ MSR_K7_PERFCTR0, 4, 0 },
	{ MSR_F15H_PERF_CTL0, 12, 0 },
	{ MSR_K7_HWCR, 1, 0 },
	{ MSR_VM_HSAVE_PA, 1, 0 },
};

#define MAX_MSRS 128

/*
 * KVM_SET_MSRS stops at the first that it refuses and says how many it took:
 * go on behind that one. Only a failure of the call itself is an error.
 */
static int set_msrs(int vcpu_fd, const struct msr_range *ranges,
		    unsigned int nr_ranges)
{
	struct kvm_msrs *list;
	unsigned int i, j;
	int taken, ret = 0;

	list = calloc(1, sizeof(*list) + MAX_MSRS * sizeof(list->entries[0]));
	if (!list)
		return -ENOMEM;
	for (i = 0; i < nr_ranges; i++)
		for (j = 0; j < ranges[i].count && list->nmsrs < MAX_MSRS; j++)
			list->entries[list->nmsrs++] = (struct kvm_msr_entry) {
				.index = ranges[i].first + j,
				.data = ranges[i].value,
			};
	while (list->nmsrs) {
		taken = ioctl(vcpu_fd, KVM_SET_MSRS, list);
		if (taken < 0) {
			ret = -errno;
			break;
		}
		if ((unsigned int)taken == list->nmsrs)
			break;
		list->nmsrs -= (unsigned int)taken + 1;
		memmove(list->entries, list->entries + taken + 1,
			list->nmsrs * sizeof(list->entries[0]));
	}
	free(list);
	return ret;
}

static void set_lapic_register(struct kvm_lapic_state *lapic,
			       unsigned int offset, uint32_t value)
{
	value = htole32(value);
	memcpy(lapic->regs + offset, &value, sizeof(value));
}

/* Registers' offsets: Intel SDM volume 3, table 11-1. */
enum {
	LAPIC_ID = 0x20,
	LAPIC_VERSION = 0x30,
	LAPIC_DFR = 0xe0,
	LAPIC_SVR = 0xf0,
	LAPIC_LVT_CMCI = 0x2f0,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_LVT_LINT1 = 0x360,
	LAPIC_LVT_ERROR = 0x370,
	LVT_NMI = 0x400,
	LVT_EXTINT = 0x700,
	LVT_MASKED = 0x10000,
};

static int reset_lapic(int vcpu_fd, unsigned int index)
{
	struct kvm_lapic_state lapic;
	uint32_t version;
	unsigned int lvt;

	if (ioctl(vcpu_fd, KVM_GET_LAPIC, &lapic))
		return -errno;
	memcpy(&version, lapic.regs + LAPIC_VERSION, sizeof(version));

	memset(&lapic, 0, sizeof(lapic));
	memcpy(lapic.regs + LAPIC_VERSION, &version, sizeof(version));
	set_lapic_register(&lapic, LAPIC_ID, index << 24);
	set_lapic_register(&lapic, LAPIC_DFR, UINT32_MAX);
	set_lapic_register(&lapic, LAPIC_SVR, 0xff);
	set_lapic_register(&lapic, LAPIC_LVT_CMCI, LVT_MASKED);
	for (lvt = LAPIC_LVT_TIMER; lvt <= LAPIC_LVT_ERROR; lvt += 0x10)
		set_lapic_register(&lapic, lvt, LVT_MASKED);
	/* Firmware's work: the PIC reaches the first CPU without the IOAPIC
	 * ("virtual wire"), and each CPU's second pin is NMI. */
	if (index == 0)
		set_lapic_register(&lapic, LAPIC_LVT_LINT0, LVT_EXTINT);
	set_lapic_register(&lapic, LAPIC_LVT_LINT1, LVT_NMI);
	return ioctl(vcpu_fd, KVM_SET_LAPIC, &lapic) ? -errno : 0;
}

/* The guest may have been running a guest of its own. */
static int leave_nested(int vm_fd, int vcpu_fd)
{
	const struct kvm_nested_state vmx = {
		.format = KVM_STATE_NESTED_FORMAT_VMX,
		.size = sizeof(vmx),
		.hdr.vmx = { .vmxon_pa = UINT64_MAX, .vmcs12_pa = UINT64_MAX },
	};
	const struct kvm_nested_state svm = {
		.flags = KVM_STATE_NESTED_GIF_SET,
		.format = KVM_STATE_NESTED_FORMAT_SVM,
		.size = sizeof(svm),
	};

	if (ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE) <= 0)
		return 0;
	if (ioctl(vcpu_fd, KVM_SET_NESTED_STATE, &vmx) &&
	    ioctl(vcpu_fd, KVM_SET_NESTED_STATE, &svm))
		return -errno;
	return 0;
}

/* No exception, interrupt, NMI, SMI or INIT is on its way. */
static int reset_events(int vcpu_fd)
{
	struct kvm_vcpu_events events;
	uint32_t flags;

	if (ioctl(vcpu_fd, KVM_GET_VCPU_EVENTS, &events))
		return -errno;
	/* The parts that this KVM knows, SIPI's vector besides. */
	flags = events.flags | KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	memset(&events, 0, sizeof(events));
	events.flags = flags;
	return ioctl(vcpu_fd, KVM_SET_VCPU_EVENTS, &events) ? -errno : 0;
}

static int reset_fpu(int vm_fd, int vcpu_fd)
{
	const struct kvm_xcrs xcrs = {
		.nr_xcrs = 1,
		.xcrs = { { .xcr = 0, .value = 1 /* x87 */ } },
	};
	int bytes = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	struct kvm_xsave *xsave;
	int ret = 0;

	bytes = MAX(bytes, (int)sizeof(*xsave));
	xsave = calloc(1, (size_t)bytes);
	if (!xsave)
		return -ENOMEM;
	/* XSTATE_BV 0: all components in their initial state. */
	xsave->region[0] = htole32(0x37f); /* FCW */
	xsave->region[6] = htole32(0x1f80); /* MXCSR */
	if (ioctl(vcpu_fd, KVM_SET_XSAVE, xsave))
		ret = -errno;
	free(xsave);
	/* A host without XSAVE has no XCR0 to set. */
	if (!ret && ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) > 0 &&
	    ioctl(vcpu_fd, KVM_SET_XCRS, &xcrs))
		ret = -errno;
	return ret;
}

static int reset_debug_registers(int vcpu_fd)
{
	const struct kvm_debugregs debug = {
		.dr6 = DR6_RESERVED,
		.dr7 = 0x400,
	};

	return ioctl(vcpu_fd, KVM_SET_DEBUGREGS, &debug) ? -errno : 0;
}

static int reset_mp_state(int vcpu_fd, unsigned int index)
{
	const struct kvm_mp_state state = {
		.mp_state = index ? KVM_MP_STATE_UNINITIALIZED :
				    KVM_MP_STATE_RUNNABLE,
	};

	return ioctl(vcpu_fd, KVM_SET_MP_STATE, &state) ? -errno : 0;
}

static struct kvm_segment data_segment(uint16_t selector, uint32_t limit,
				       bool big)
{
	return (struct kvm_segment) {
		.limit = limit,
		.selector = selector,
		.type = 3, /* read/write, accessed */
		.present = 1,
		.s = 1,
		.db = big,
		.g = big,
	};
}

static void set_all_data(struct kvm_sregs *sregs, struct kvm_segment segment)
{
	sregs->ds = segment;
	sregs->es = segment;
	sregs->fs = segment;
	sregs->gs = segment;
	sregs->ss = segment;
}

/* Real mode at the reset vector (Intel SDM volume 3, table 10-1). */
static void power_on_state(struct kvm_sregs *sregs, struct kvm_regs *regs,
			   unsigned int index)
{
	*sregs = (struct kvm_sregs) {
		.cr0 = X86_CR0_ET | X86_CR0_NW | X86_CR0_CD,
		.apic_base = X86_LAPIC_BASE | MSR_APICBASE_ENABLE |
			     (index ? 0 : MSR_APICBASE_BSP),
		.gdt = { .limit = 0xffff },
		.idt = { .limit = 0xffff },
		.ldt = { .limit = 0xffff, .type = 2, .present = 1 },
		.tr = { .limit = 0xffff, .type = 11, .present = 1 },
	};
	set_all_data(sregs, data_segment(0, 0xffff, false));
	sregs->cs = data_segment(0xf000, 0xffff, false);
	sregs->cs.type = 11; /* execute/read, accessed */
	sregs->cs.base = 0xffff0000;
	*regs = (struct kvm_regs) {
		.rip = 0xfff0,
		.rflags = X86_EFLAGS_FIXED,
		.rdx = 0x600, /* a CPU of family 6 */
	};
}

/* Flat segments, by the GDT that the loader wrote for a Linux entry. */
static void flat_segments(struct kvm_sregs *sregs, bool long_mode)
{
	set_all_data(sregs, data_segment(0x18, UINT32_MAX, true));
	sregs->cs = data_segment(0x10, UINT32_MAX, true);
	sregs->cs.type = 11;
	sregs->cs.l = long_mode;
	sregs->cs.db = !long_mode;
	sregs->gdt.base = X86_GDT;
	sregs->gdt.limit = 4 * 8 - 1;
	sregs->idt.limit = 0;
	sregs->cr0 = X86_CR0_PE | X86_CR0_ET;
}

static void entry_state(const struct x86_entry *entry, struct kvm_sregs *sregs,
			struct kvm_regs *regs)
{
	regs->rip = entry->ip;
	switch (entry->mode) {
	case X86_ENTRY_LONG:
		flat_segments(sregs, true);
		sregs->cr0 |= X86_CR0_PG;
		sregs->cr3 = X86_PAGE_TABLES;
		sregs->cr4 = X86_CR4_PAE;
		sregs->efer = EFER_LME | EFER_LMA;
		regs->rsi = entry->info;
		break;
	case X86_ENTRY_PROTECTED:
		flat_segments(sregs, false);
		regs->rsi = entry->info;
		break;
	case X86_ENTRY_PVH:
		flat_segments(sregs, false);
		/* pvh.pandoc: the task register's limit is 0x67. */
		sregs->tr.limit = 0x67;
		regs->rbx = entry->info;
		break;
	case X86_ENTRY_REAL:
		sregs->cs.base = entry->info;
		sregs->cs.selector = (uint16_t)(entry->info >> 4);
		break;
	}
}

static int set_registers(const struct board *board, int vcpu_fd,
			 unsigned int index)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	power_on_state(&sregs, &regs, index);
	if (index == 0)
		entry_state(&board->entry, &sregs, &regs);
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) ||
	    ioctl(vcpu_fd, KVM_SET_REGS, &regs))
		return -errno;
	return 0;
}

int arch_vcpu_init(struct machine *machine, int vcpu_fd, unsigned int index)
{
	struct board *board = machine->board;
	int ret;

	ret = x86_cpuid_set(vcpu_fd, board->cpuid, index);
	if (ret)
		return ret;
	board->vcpu_fresh[index] = true;
	return 0;
}

/* What a new vCPU has already, and one that has run may not have. */
static int reset_used_vcpu(const struct board *board, int vcpu_fd,
			   unsigned int index)
{
	int ret;

	ret = leave_nested(board->vm_fd, vcpu_fd);
	if (!ret)
		ret = set_msrs(vcpu_fd, reset_msrs, ARRAY_SIZE(reset_msrs));
	if (!ret)
		ret = reset_events(vcpu_fd);
	if (!ret)
		ret = set_registers(board, vcpu_fd, index);
	if (!ret)
		ret = reset_fpu(board->vm_fd, vcpu_fd);
	if (!ret)
		ret = reset_debug_registers(vcpu_fd);
	if (!ret)
		ret = reset_mp_state(vcpu_fd, index);
	return ret;
}

int arch_vcpu_reset(struct machine *machine, int vcpu_fd, unsigned int index)
{
	struct board *board = machine->board;
	int ret = 0;

	if (!board->vcpu_fresh[index])
		ret = reset_used_vcpu(board, vcpu_fd, index);
	else if (index == 0)
		ret = set_registers(board, vcpu_fd, index);
	board->vcpu_fresh[index] = false;
	if (!ret)
		ret = set_msrs(vcpu_fd, firmware_msrs,
			       ARRAY_SIZE(firmware_msrs));
	/* After the APIC base, which says whether its mode is x2APIC. */
	if (!ret)
		ret = reset_lapic(vcpu_fd, index);
	return ret;
}

static void dump_segment(FILE *out, const char *name,
			 const struct kvm_segment *s)
{
	fprintf(out,
		"%-3s %04x base %016llx limit %08x type %x dpl %u%s%s%s%s\n",
		name, s->selector, (unsigned long long)s->base, s->limit,
		s->type, s->dpl, s->present ? " present" : "",
		s->db ? " 32-bit" : "", s->l ? " 64-bit" : "",
		s->unusable ? " unusable" : "");
}

/* One byte of code at a linear address, by the guest's own page tables. */
static bool read_code(struct machine *machine, int vcpu_fd, uint64_t linear,
		      uint8_t *byte)
{
	struct kvm_translation where = { .linear_address = linear };

	return !ioctl(vcpu_fd, KVM_TRANSLATE, &where) && where.valid &&
	       !guest_read(&machine->memory, where.physical_address, byte, 1);
}

enum { CODE_BEFORE = 4, CODE_BYTES = 20 };

static void dump_code(struct machine *machine, int vcpu_fd,
		      const struct kvm_sregs *sregs, uint64_t rip, FILE *out)
{
	/* Only 64-bit code has linear addresses beyond 32 bits. */
	uint64_t mask = sregs->cs.l ? UINT64_MAX : UINT32_MAX;
	uint64_t at = rip + (sregs->cs.l ? 0 : sregs->cs.base) - CODE_BEFORE;
	uint8_t byte;
	int i;

	fprintf(out, "code");
	for (i = 0; i < CODE_BYTES; i++) {
		char text[3] = "--";

		if (read_code(machine, vcpu_fd, (at + i) & mask, &byte))
			snprintf(text, sizeof(text), "%02x", byte);
		fprintf(out, i == CODE_BEFORE ? " <%s>" : " %s", text);
	}
	fprintf(out, "\n");
}

void arch_vcpu_dump(struct machine *machine, int vcpu_fd, unsigned int index,
		    FILE *out)
{
	struct kvm_sregs s;
	struct kvm_regs r;

	if (ioctl(vcpu_fd, KVM_GET_REGS, &r) ||
	    ioctl(vcpu_fd, KVM_GET_SREGS, &s)) {
		fprintf(out, "vCPU %u: no registers: %s\n", index,
			strerror(errno));
		return;
	}
	fprintf(out, "vCPU %u\n", index);
	fprintf(out, "rip %016llx rflags %08llx\n", r.rip, r.rflags);
	fprintf(out, "rax %016llx rbx %016llx rcx %016llx rdx %016llx\n", r.rax,
		r.rbx, r.rcx, r.rdx);
	fprintf(out, "rsi %016llx rdi %016llx rsp %016llx rbp %016llx\n", r.rsi,
		r.rdi, r.rsp, r.rbp);
	fprintf(out, "r8  %016llx r9  %016llx r10 %016llx r11 %016llx\n", r.r8,
		r.r9, r.r10, r.r11);
	fprintf(out, "r12 %016llx r13 %016llx r14 %016llx r15 %016llx\n", r.r12,
		r.r13, r.r14, r.r15);
	fprintf(out, "cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx cr8 %llx\n",
		s.cr0, s.cr2, s.cr3, s.cr4, s.cr8);
	fprintf(out, "efer %llx apic_base %llx\n", s.efer, s.apic_base);
	dump_segment(out, "cs", &s.cs);
	dump_segment(out, "ds", &s.ds);
	dump_segment(out, "es", &s.es);
	dump_segment(out, "fs", &s.fs);
	dump_segment(out, "gs", &s.gs);
	dump_segment(out, "ss", &s.ss);
	dump_segment(out, "tr", &s.tr);
	dump_segment(out, "ldt", &s.ldt);
	fprintf(out, "gdt %016llx limit %04x, idt %016llx limit %04x\n",
		s.gdt.base, s.gdt.limit, s.idt.base, s.idt.limit);
	dump_code(machine, vcpu_fd, &s, r.rip, out);
}
