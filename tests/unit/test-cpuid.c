/* SPDX-License-Identifier: GPL-2.0 */
/* CPUID from a made-up KVM: what the template keeps, and what it makes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/x86.h>

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX

/* A host of 12 cores with 2 threads each, whose KVM hides none of that. */
static const struct kvm_cpuid_entry2 intel[] = {
	{ .function = 0,
	  .eax = 0x1f,
	  .ebx = 0x756e6547,
	  .ecx = 0x6c65746e,
	  .edx = 0x49656e69 },
	{ .function = 1,
	  .eax = 0x50654,
	  .ebx = 0x0b180800,
	  .ecx = 0x76da3203,
	  .edx = 0x1f8bfbff },
	{ .function = 4,
	  .flags = INDEXED,
	  .index = 0,
	  .eax = 0x3c004121,
	  .ebx = 0x1c0003f,
	  .ecx = 0x3f },
	{ .function = 4,
	  .flags = INDEXED,
	  .index = 1,
	  .eax = 0x3c07c163,
	  .ebx = 0x280003f,
	  .ecx = 0x6fff },
	{ .function = 4, .flags = INDEXED, .index = 2, .eax = 0 },
	{ .function = 0xb,
	  .flags = INDEXED,
	  .index = 0,
	  .eax = 1,
	  .ebx = 2,
	  .ecx = 0x100,
	  .edx = 0x0b },
	{ .function = 0xb,
	  .flags = INDEXED,
	  .index = 1,
	  .eax = 5,
	  .ebx = 24,
	  .ecx = 0x201,
	  .edx = 0x0b },
	{ .function = 0xd, .flags = INDEXED, .index = 1, .eax = 0xf },
	{ .function = 0x15, .eax = 2, .ebx = 0xa8, .ecx = 25000000 },
	{ .function = 0x40000000,
	  .eax = 0x40000001,
	  .ebx = 0x4b4d564b,
	  .ecx = 0x564b4d56,
	  .edx = 0x4d },
	{ .function = 0x40000001, .eax = 0x01007afb },
	{ .function = 0x80000001, .ecx = 0x121, .edx = 0x2c100800 },
	{ .function = 0x80000008, .eax = 0x302e },
};

static const struct kvm_cpuid_entry2 amd[] = {
	{ .function = 0,
	  .eax = 0xd,
	  .ebx = 0x68747541,
	  .ecx = 0x444d4163,
	  .edx = 0x69746e65 },
	{ .function = 1, .eax = 0x800f12, .ebx = 0x00080800, .edx = 0x178bfbff },
	{ .function = 4, .flags = INDEXED },
	{ .function = 0x80000001, .ecx = 0x00400003 },
	{ .function = 0x80000008, .eax = 0x3030, .ecx = 0x00007007 },
	{ .function = 0x8000001d,
	  .flags = INDEXED,
	  .index = 0,
	  .eax = 0x00004121 },
	{ .function = 0x8000001d,
	  .flags = INDEXED,
	  .index = 1,
	  .eax = 0x0001c163 },
	{ .function = 0x8000001e, .eax = 7, .ebx = 0x103, .ecx = 0x301 },
};

static struct kvm_cpuid2 *make(const struct kvm_cpuid_entry2 *entries,
			       unsigned int count, unsigned int cpus,
			       bool tsc_deadline)
{
	struct kvm_cpuid2 *supported, *template = NULL;

	supported = calloc(1, sizeof(*supported) + count * sizeof(*entries));
	assert_non_null(supported);
	supported->nent = count;
	memcpy(supported->entries, entries, count * sizeof(*entries));
	assert_int_equal(x86_cpuid_template(supported, cpus, tsc_deadline,
					    &template),
			 0);
	free(supported);
	return template;
}

#define MAKE(entries, cpus) make(entries, ARRAY_SIZE(entries), cpus, true)

/* The one entry of @function and @index, or NULL. */
static const struct kvm_cpuid_entry2 *lookup(const struct kvm_cpuid2 *cpuid,
					     uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *found = NULL;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == function && entry->index == index) {
			assert_null(found);
			found = entry;
		}
	}
	return found;
}

static void leaves_without_topology_stay_as_kvm_gives_them(void **state)
{
	static const uint32_t kept[][2] = {
		{ 0, 0 },	   { 0xd, 1 },	      { 0x15, 0 },
		{ 0x40000001, 0 }, { 0x80000001, 0 }, { 0x80000008, 0 }
	};
	struct kvm_cpuid2 *cpuid = MAKE(intel, 4);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		const struct kvm_cpuid_entry2 *entry =
			lookup(cpuid, kept[i][0], kept[i][1]);
		size_t at = 0;

		while (intel[at].function != kept[i][0])
			at++;
		assert_non_null(entry);
		assert_memory_equal(entry, &intel[at], sizeof(*entry));
	}
	free(cpuid);
}

static void features_tell_a_guest_with_apic_timer(void **state)
{
	struct kvm_cpuid2 *cpuid = MAKE(intel, 1);
	const struct kvm_cpuid_entry2 *entry = lookup(cpuid, 1, 0);

	(void)state;
	assert_true(entry->ecx & 1U << 31); /* hypervisor */
	assert_true(entry->ecx & 1U << 21); /* x2APIC */
	assert_true(entry->ecx & 1U << 24); /* TSC deadline */
	assert_int_equal(entry->eax, 0x50654);
	free(cpuid);

	cpuid = make(intel, ARRAY_SIZE(intel), 1, false);
	assert_false(lookup(cpuid, 1, 0)->ecx & 1U << 24);
	free(cpuid);
}

static void htt_is_set_for_more_than_one_cpu(void **state)
{
	struct kvm_cpuid2 *one = MAKE(intel, 1), *two = MAKE(intel, 2);

	(void)state;
	assert_false(lookup(one, 1, 0)->edx & 1U << 28);
	assert_true(lookup(two, 1, 0)->edx & 1U << 28);
	free(one);
	free(two);
}

static void apic_ids_are_the_index(void **state)
{
	struct kvm_cpuid2 *cpuid = MAKE(intel, 255);
	const struct kvm_cpuid_entry2 *entry = lookup(cpuid, 1, 0);

	(void)state;
	x86_cpuid_patch(cpuid, 254, 0);
	assert_int_equal(entry->ebx, 0xfeff0800); /* of 255, CLFLUSH of 64 */
	x86_cpuid_patch(cpuid, 3, 0);
	assert_int_equal(entry->ebx, 0x03ff0800);
	free(cpuid);
	cpuid = MAKE(intel, 6);
	x86_cpuid_patch(cpuid, 5, 0);
	assert_int_equal(lookup(cpuid, 1, 0)->ebx, 0x05060800);
	free(cpuid);
}

static void check_level(const struct kvm_cpuid2 *cpuid, uint32_t function,
			const uint32_t expected[3][3])
{
	for (uint32_t i = 0; i < 3; i++) {
		const struct kvm_cpuid_entry2 *entry =
			lookup(cpuid, function, i);

		assert_non_null(entry);
		assert_int_equal(entry->flags, INDEXED);
		assert_int_equal(entry->eax, expected[i][0]);
		assert_int_equal(entry->ebx, expected[i][1]);
		assert_int_equal(entry->ecx, expected[i][2]);
		assert_int_equal(entry->edx, 5);
	}
	assert_null(lookup(cpuid, function, 3));
}

static void topology_is_one_socket_of_cores(void **state)
{
	static const uint32_t six[3][3] = { { 0, 1, 0x100 },
					    { 3, 6, 0x201 },
					    { 0, 0, 2 } };
	static const uint32_t eight[3][3] = { { 0, 1, 0x100 },
					      { 3, 8, 0x201 },
					      { 0, 0, 2 } };
	struct kvm_cpuid2 *cpuid = MAKE(intel, 6);

	(void)state;
	x86_cpuid_patch(cpuid, 5, 0);
	check_level(cpuid, 0xb, six);
	check_level(cpuid, 0x1f, six);
	free(cpuid);
	cpuid = MAKE(intel, 8);
	x86_cpuid_patch(cpuid, 5, 0);
	check_level(cpuid, 0xb, eight);
	free(cpuid);
}

static void leaves_above_the_last_one_are_not_added(void **state)
{
	struct kvm_cpuid2 *cpuid = MAKE(amd, 2);

	(void)state;
	assert_non_null(lookup(cpuid, 0xb, 0)); /* the last is 0xd */
	assert_null(lookup(cpuid, 0x1f, 0));
	free(cpuid);
}

static void only_the_last_cache_is_shared(void **state)
{
	struct kvm_cpuid2 *cpuid = MAKE(intel, 4);

	(void)state;
	assert_int_equal(lookup(cpuid, 4, 0)->eax, 3U << 26 | 0x121);
	assert_int_equal(lookup(cpuid, 4, 1)->eax, 3U << 26 | 3 << 14 | 0x163);
	assert_int_equal(lookup(cpuid, 4, 1)->ecx, 0x6fff);
	assert_int_equal(lookup(cpuid, 4, 2)->eax, 0);
	free(cpuid);
	/* the count of cores has six bits */
	cpuid = MAKE(intel, 200);
	assert_int_equal(lookup(cpuid, 4, 1)->eax,
			 63U << 26 | 199 << 14 | 0x163);
	free(cpuid);
}

static void amd_counts_cores_in_its_own_leaves(void **state)
{
	struct kvm_cpuid2 *cpuid = MAKE(amd, 6);

	(void)state;
	x86_cpuid_patch(cpuid, 5, 0);
	assert_int_equal(lookup(cpuid, 0x80000001, 0)->ecx, 0x00400003);
	assert_int_equal(lookup(cpuid, 0x80000008, 0)->ecx, 0x3005);
	assert_int_equal(lookup(cpuid, 0x80000008, 0)->eax, 0x3030);
	assert_int_equal(lookup(cpuid, 0x8000001d, 0)->eax, 0x121);
	assert_int_equal(lookup(cpuid, 0x8000001d, 1)->eax, 5 << 14 | 0x163);
	assert_int_equal(lookup(cpuid, 0x8000001e, 0)->eax, 5);
	assert_int_equal(lookup(cpuid, 0x8000001e, 0)->ebx, 5);
	assert_int_equal(lookup(cpuid, 0x8000001e, 0)->ecx, 0);
	assert_int_equal(lookup(cpuid, 4, 0)->eax, 0);
	free(cpuid);
	cpuid = MAKE(amd, 1);
	assert_int_equal(lookup(cpuid, 0x80000001, 0)->ecx, 0x00400001);
	assert_int_equal(lookup(cpuid, 0x80000008, 0)->ecx, 0);
	free(cpuid);
}

static void hypervisor_leaves_reach_to_the_frequencies(void **state)
{
	struct kvm_cpuid2 *cpuid = MAKE(intel, 1);
	const struct kvm_cpuid_entry2 *entry = lookup(cpuid, 0x40000000, 0);

	(void)state;
	assert_int_equal(entry->eax, 0x40000010);
	assert_memory_equal(&entry->ebx, "KVMKVMKVM\0\0\0", 12);
	x86_cpuid_patch(cpuid, 0, 2500000);
	entry = lookup(cpuid, 0x40000010, 0);
	assert_int_equal(entry->eax, 2500000);
	assert_int_equal(entry->ebx, 1000000);
	free(cpuid);
}

static void an_empty_set_is_no_disaster(void **state)
{
	struct kvm_cpuid2 *cpuid = make(intel, 0, 2, true);

	(void)state;
	x86_cpuid_patch(cpuid, 1, 1);
	assert_int_equal(cpuid->nent, 2); /* the hypervisor's */
	free(cpuid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			leaves_without_topology_stay_as_kvm_gives_them),
		cmocka_unit_test(features_tell_a_guest_with_apic_timer),
		cmocka_unit_test(htt_is_set_for_more_than_one_cpu),
		cmocka_unit_test(apic_ids_are_the_index),
		cmocka_unit_test(topology_is_one_socket_of_cores),
		cmocka_unit_test(leaves_above_the_last_one_are_not_added),
		cmocka_unit_test(only_the_last_cache_is_shared),
		cmocka_unit_test(amd_counts_cores_in_its_own_leaves),
		cmocka_unit_test(hypervisor_leaves_reach_to_the_frequencies),
		cmocka_unit_test(an_empty_set_is_no_disaster),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
