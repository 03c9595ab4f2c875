/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a vCPU's CPUID instruction answers: all that KVM supports, on one
 * socket of as many cores as there are vCPUs, with one thread each (Intel SDM
 * volume 2A, CPUID; AMD64 APM volume 3, appendix E; Linux's
 * Documentation/virt/kvm/x86/cpuid.rst for the hypervisor's leaves).
 *
 * Topology is always our own: some KVMs pass the host's through, and a guest
 * that finds two views of it complains or schedules badly.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <asm/kvm_para.h>

#include <lkvm/util.h>
#include <lkvm/x86.h>

#define LEAF_VENDOR 0x0
#define LEAF_FEATURES 0x1
#define LEAF_CACHES 0x4
#define LEAF_TOPOLOGY 0xb
#define LEAF_TOPOLOGY_V2 0x1f
#define LEAF_HV_TIMING 0x40000010
#define LEAF_AMD_FEATURES 0x80000001
#define LEAF_AMD_SIZES 0x80000008
#define LEAF_AMD_CACHES 0x8000001d
#define LEAF_AMD_TOPOLOGY 0x8000001e

/* Leaf 1, ECX and EDX; leaf 0x80000001, ECX. */
#define FEATURE_X2APIC (1U << 21)
#define FEATURE_TSC_DEADLINE (1U << 24)
#define FEATURE_HYPERVISOR (1U << 31)
#define FEATURE_HTT (1U << 28)
#define AMD_FEATURE_CMP_LEGACY (1U << 1)

/* Leaves 0xb and 0x1f: level types, in ECX bits 15..8. */
#define LEVEL_SMT 1
#define LEVEL_CORE 2
#define TOPOLOGY_LEVELS 3 /* SMT, core, and the one that ends the list */

#define BUS_KHZ 1000000 /* KVM's APIC timer counts nanoseconds */

/*
 * Entries to ask for: KVM's own limit has been 80, then 256. Asking again is
 * dear, for KVM then runs CPUID for each leaf again.
 */
#define FIRST_SUPPORTED 256
#define MAX_SUPPORTED 65536

/* What a template may have beyond KVM's own entries. */
#define MAX_ADDED (2 * TOPOLOGY_LEVELS + 2)

static struct kvm_cpuid2 *cpuid_alloc(uint32_t entries)
{
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) + entries * sizeof(cpuid->entries[0]));
	if (cpuid)
		cpuid->nent = entries;
	return cpuid;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid,
					   uint32_t function)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == function)
			return &cpuid->entries[i];
	}
	return NULL;
}

/* AMD, or Hygon, whose CPUs are alike: EBX has the name's first letters. */
static bool is_amd(const struct kvm_cpuid_entry2 *vendor)
{
	return vendor && (!memcmp(&vendor->ebx, "Auth", 4) ||
			  !memcmp(&vendor->ebx, "Hygo", 4));
}

/* Entries that the template writes itself, if it has them at all. */
static bool is_ours(uint32_t function)
{
	return function == LEAF_TOPOLOGY || function == LEAF_TOPOLOGY_V2 ||
	       function == KVM_CPUID_SIGNATURE || function == LEAF_HV_TIMING;
}

/* Bits of an APIC id that tell @cpus cores apart. */
static uint32_t core_bits(unsigned int cpus)
{
	uint32_t bits = 0;

	while (1U << bits < cpus)
		bits++;
	return bits;
}

/*
 * EAX: shift from an APIC id to the next level's; EBX: logical processors at
 * this level.
 */
static void add_topology(struct kvm_cpuid2 *cpuid, uint32_t function,
			 unsigned int cpus)
{
	const struct kvm_cpuid_entry2 levels[TOPOLOGY_LEVELS] = {
		{ .eax = 0, .ebx = 1, .ecx = LEVEL_SMT << 8 },
		{ .eax = core_bits(cpus), .ebx = cpus, .ecx = LEVEL_CORE << 8 },
	};

	for (uint32_t i = 0; i < TOPOLOGY_LEVELS; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];

		*entry = levels[i];
		entry->function = function;
		entry->index = i;
		entry->ecx |= i;
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	}
}

static void add_hypervisor(struct kvm_cpuid2 *cpuid)
{
	static const char name[12] = KVM_SIGNATURE;
	struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];

	entry->function = KVM_CPUID_SIGNATURE;
	entry->eax = LEAF_HV_TIMING; /* the last leaf */
	memcpy(&entry->ebx, name, 4);
	memcpy(&entry->ecx, name + 4, 4);
	memcpy(&entry->edx, name + 8, 4);

	entry = &cpuid->entries[cpuid->nent++];
	entry->function = LEAF_HV_TIMING;
	entry->ebx = BUS_KHZ;
}

static uint32_t with_bit(uint32_t value, uint32_t bit, bool set)
{
	return set ? value | bit : value & ~bit;
}

static void write_features(struct kvm_cpuid_entry2 *entry, unsigned int cpus,
			   bool tsc_deadline)
{
	entry->ecx |= FEATURE_X2APIC | FEATURE_HYPERVISOR;
	/* KVM's set leaves it out: it depends on the local APIC's kind. */
	entry->ecx = with_bit(entry->ecx, FEATURE_TSC_DEADLINE, tsc_deadline);
	entry->edx = with_bit(entry->edx, FEATURE_HTT, cpus > 1);
	entry->ebx = (entry->ebx & 0xffff) | cpus << 16;
}

/*
 * Leaf 4 of Intel, 0x8000001d of AMD, one entry a cache. Bits 4..0 type (0
 * ends the list), 7..5 level, 25..14 who shares it less one; Intel's 31..26
 * cores in the package less one, as far as six bits can say it.
 */
static void write_cache(struct kvm_cpuid_entry2 *entry, unsigned int cpus)
{
	uint32_t level = entry->eax >> 5 & 7;

	if (!(entry->eax & 0x1f))
		return;
	entry->eax &= 0x3fff;
	if (level >= 3)
		entry->eax |= (cpus - 1) << 14;
	if (entry->function == LEAF_CACHES)
		entry->eax |= (MIN(cpus, 64U) - 1) << 26;
}

static void write_amd(struct kvm_cpuid_entry2 *entry, unsigned int cpus)
{
	switch (entry->function) {
	case LEAF_AMD_FEATURES:
		/* HTT then means cores, not threads. */
		entry->ecx =
			with_bit(entry->ecx, AMD_FEATURE_CMP_LEGACY, cpus > 1);
		break;
	case LEAF_AMD_SIZES:
		/* Cores less one; the bits of an APIC id that tell them. */
		entry->ecx = (cpus - 1) | core_bits(cpus) << 12;
		break;
	case LEAF_AMD_CACHES:
		write_cache(entry, cpus);
		break;
	}
}

/*
 * Leaves that are not mentioned (performance counters, MONITOR, the state
 * sizes of leaf 0xd, KVM's own features with its stable clock) stay as KVM
 * gives them: it knows what it can do.
 */
int x86_cpuid_template(const struct kvm_cpuid2 *supported, unsigned int cpus,
		       bool tsc_deadline, struct kvm_cpuid2 **out)
{
	const struct kvm_cpuid_entry2 *vendor = find(supported, LEAF_VENDOR);
	uint32_t last_leaf = vendor ? vendor->eax : 0;
	struct kvm_cpuid2 *cpuid;

	cpuid = cpuid_alloc(supported->nent + MAX_ADDED);
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = 0;
	for (uint32_t i = 0; i < supported->nent; i++) {
		struct kvm_cpuid_entry2 entry = supported->entries[i];

		if (is_ours(entry.function))
			continue;
		if (entry.function == LEAF_FEATURES)
			write_features(&entry, cpus, tsc_deadline);
		else if (entry.function == LEAF_CACHES)
			write_cache(&entry, cpus);
		else if (is_amd(vendor))
			write_amd(&entry, cpus);
		cpuid->entries[cpuid->nent++] = entry;
	}
	if (last_leaf >= LEAF_TOPOLOGY)
		add_topology(cpuid, LEAF_TOPOLOGY, cpus);
	if (last_leaf >= LEAF_TOPOLOGY_V2)
		add_topology(cpuid, LEAF_TOPOLOGY_V2, cpus);
	add_hypervisor(cpuid);
	*out = cpuid;
	return 0;
}

int x86_cpuid_create(int kvm_fd, unsigned int cpus, struct kvm_cpuid2 **out)
{
	struct kvm_cpuid2 *supported = NULL;
	bool tsc_deadline;
	int ret = -E2BIG;

	for (uint32_t n = FIRST_SUPPORTED; ret == -E2BIG && n <= MAX_SUPPORTED;
	     n *= 2) {
		free(supported);
		supported = cpuid_alloc(n);
		if (!supported)
			return -ENOMEM;
		ret = 0;
		if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, supported))
			ret = -errno;
	}
	tsc_deadline = ioctl(kvm_fd, KVM_CHECK_EXTENSION,
			     KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	if (!ret)
		ret = x86_cpuid_template(supported, cpus, tsc_deadline, out);
	free(supported);
	return ret;
}

void x86_cpuid_patch(struct kvm_cpuid2 *cpuid, unsigned int index,
		     uint32_t tsc_khz)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		switch (entry->function) {
		case LEAF_FEATURES:
			entry->ebx = (entry->ebx & 0xffffff) | index << 24;
			break;
		case LEAF_TOPOLOGY:
		case LEAF_TOPOLOGY_V2:
			entry->edx = index; /* x2APIC id, at every level */
			break;
		case LEAF_HV_TIMING:
			entry->eax = tsc_khz;
			break;
		case LEAF_AMD_TOPOLOGY:
			entry->eax = index; /* APIC id */
			entry->ebx = index; /* core, of one thread */
			entry->ecx = 0; /* node 0 of one */
			break;
		}
	}
}

int x86_cpuid_set(int vcpu_fd, const struct kvm_cpuid2 *template,
		  unsigned int index)
{
	struct kvm_cpuid2 *cpuid = cpuid_alloc(template->nent);
	int khz, ret;

	if (!cpuid)
		return -ENOMEM;
	memcpy(cpuid->entries, template->entries,
	       template->nent * sizeof(cpuid->entries[0]));
	/* A KVM that cannot tell leaves the guest to measure: 0. */
	khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ);
	x86_cpuid_patch(cpuid, index, MAX(khz, 0));
	ret = ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid) ? -errno : 0;
	free(cpuid);
	return ret;
}
