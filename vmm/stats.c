/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What --stats and --boot-timer print: the vCPUs' exits by reason and by
 * device, the devices' own counters, the phases of a boot.
 */
#include <linux/kvm.h>
#include <stdio.h>

#include <lkvm/vm.h>

static const char *const exit_names[VCPU_EXIT_REASONS] = {
	[KVM_EXIT_UNKNOWN] = "unknown",
	[KVM_EXIT_EXCEPTION] = "exception",
	[KVM_EXIT_IO] = "pio",
	[KVM_EXIT_HYPERCALL] = "hypercall",
	[KVM_EXIT_DEBUG] = "debug",
	[KVM_EXIT_HLT] = "hlt",
	[KVM_EXIT_MMIO] = "mmio",
	[KVM_EXIT_IRQ_WINDOW_OPEN] = "irq-window",
	[KVM_EXIT_SHUTDOWN] = "shutdown",
	[KVM_EXIT_FAIL_ENTRY] = "fail-entry",
	[KVM_EXIT_INTR] = "intr",
	[KVM_EXIT_SET_TPR] = "set-tpr",
	[KVM_EXIT_TPR_ACCESS] = "tpr-access",
	[KVM_EXIT_NMI] = "nmi",
	[KVM_EXIT_INTERNAL_ERROR] = "internal-error",
	[KVM_EXIT_SYSTEM_EVENT] = "system-event",
	[KVM_EXIT_IOAPIC_EOI] = "ioapic-eoi",
	[KVM_EXIT_X86_BUS_LOCK] = "bus-lock",
	[VCPU_EXIT_REASONS - 1] = "other",
};

static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void print_vcpu_exits(const struct vcpu *vcpu, const char *who,
			     struct stats_sink *sink)
{
	for (unsigned int i = 0; i < VCPU_EXIT_REASONS; i++) {
		uint64_t count = load(&vcpu->stats.exits[i]);
		char number[16];

		snprintf(number, sizeof(number), "exit-%u", i);
		if (count)
			stats_count(sink, who,
				    exit_names[i] ? exit_names[i] : number,
				    count);
	}
	if (load(&vcpu->stats.interrupted))
		stats_count(sink, who, "interrupted",
			    load(&vcpu->stats.interrupted));
}

/* Accesses by region, where there were any; the last row is nobody's. */
static void print_accesses(const struct bus *bus, const char *kind,
			   const uint64_t *counters, const char *who,
			   struct stats_sink *sink)
{
	for (unsigned int i = 0; i <= BUS_MAX_REGIONS; i++) {
		uint64_t count = load(&counters[i]);
		char what[40];

		if (!count)
			continue;
		snprintf(what, sizeof(what), "%s %s", kind,
			 i < BUS_MAX_REGIONS ? bus->region[i]->name :
					       "unclaimed");
		stats_count(sink, who, what, count);
	}
}

void vm_stats(struct vm *vm, struct stats_sink *sink)
{
	const struct machine *m = &vm->machine;

	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		const struct vcpu *vcpu = &vm->vcpus[i];
		char who[16];

		snprintf(who, sizeof(who), "vcpu%u", vcpu->index);
		print_vcpu_exits(vcpu, who, sink);
		print_accesses(&m->pio, "pio", vcpu->stats.pio, who, sink);
		print_accesses(&m->mmio, "mmio", vcpu->stats.mmio, who, sink);
	}
	for (struct device *d = m->devices; d; d = d->next)
		if (d->type->stats)
			d->type->stats(d, sink);
}

void vm_print_stats(struct vm *vm, FILE *out)
{
	struct stats_sink sink = { .row = stats_print, .opaque = out };

	fprintf(out, "%-10s %-24s %12s\n", "who", "what", "count");
	vm_stats(vm, &sink);
}

void vm_print_phases(struct vm *vm, FILE *out)
{
	static const char *const names[PHASE_COUNT] = {
		[PHASE_BOARD] = "board created",
		[PHASE_DEVICES] = "devices created",
		[PHASE_LOADED] = "kernel loaded",
		[PHASE_RUN] = "vCPUs run",
		[PHASE_USERSPACE] = "guest userspace",
		[PHASE_END] = "guest ended",
	};
	uint64_t start = atomic_load(&vm->phase_ns[PHASE_START]);
	uint64_t before = start;

	fprintf(out, "%-18s %12s %12s\n", "boot phase", "ms since start",
		"ms in phase");
	for (unsigned int i = PHASE_START + 1; i < PHASE_COUNT; i++) {
		uint64_t at = atomic_load(&vm->phase_ns[i]);

		if (!at)
			continue;
		fprintf(out, "%-18s %12.3f %12.3f\n", names[i],
			(double)(at - start) / 1e6,
			(double)(at - before) / 1e6);
		before = at;
	}
}
