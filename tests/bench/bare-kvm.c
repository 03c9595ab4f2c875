/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The least that a monitor can do: the KVM ioctls that lkvm makes for one vCPU
 * and as much RAM, one KVM_RUN of a guest that writes to port 0xf4, exit. What
 * lkvm spends above this is its own.
 *
 *   bare-kvm MEBIBYTES
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define CODE 0x100000

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	perror(what);
	exit(1);
}

#define CHECK(fd, request, arg) check(ioctl(fd, request, arg), #request)

static void make_vm(int vm, size_t bytes)
{
	/* mov $3, %al; mov $0xf4, %dx; out %al, %dx */
	static const uint8_t code[] = {
		0xb0, 0x03, 0x66, 0xba, 0xf4, 0x00, 0xee
	};
	struct kvm_userspace_memory_region slot = { .memory_size = bytes };
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_irq_routing no_routes = { .nr = 0 };
	uint64_t identity_map = 0xfeffc000;
	uint8_t *ram;

	CHECK(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	CHECK(vm, KVM_SET_TSS_ADDR, 0xfeffd000UL);
	CHECK(vm, KVM_CREATE_IRQCHIP, 0);
	CHECK(vm, KVM_CREATE_PIT2, &pit);
	CHECK(vm, KVM_SET_GSI_ROUTING, &no_routes);
	ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram == MAP_FAILED)
		check(-1, "mmap");
	memcpy(ram + CODE, code, sizeof(code));
	slot.userspace_addr = (uintptr_t)ram;
	CHECK(vm, KVM_SET_USER_MEMORY_REGION, &slot);
}

static int make_vcpu(int kvm, int vm)
{
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entry[256];
	} *cpuid = calloc(1, sizeof(*cpuid));
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);

	check(vcpu, "KVM_CREATE_VCPU");
	cpuid->header.nent = 256;
	CHECK(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
	CHECK(vcpu, KVM_SET_CPUID2, cpuid);
	CHECK(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = 0;
	sregs.cs.limit = 0xffffffff;
	sregs.cs.g = sregs.cs.db = 1;
	sregs.cs.selector = 0x10;
	sregs.ds = sregs.es = sregs.ss = sregs.cs;
	sregs.ds.type = sregs.es.type = sregs.ss.type = 3;
	sregs.cs.type = 11;
	sregs.cr0 |= 1;
	CHECK(vcpu, KVM_SET_SREGS, &sregs);
	CHECK(vcpu, KVM_SET_REGS, &regs);
	free(cpuid);
	return vcpu;
}

int main(int argc, char **argv)
{
	size_t bytes = argc > 1 ? strtoul(argv[1], NULL, 0) << 20 : 128UL << 20;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct kvm_run *run;
	int vm, vcpu, size;

	check(kvm, "/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	check(vm, "KVM_CREATE_VM");
	make_vm(vm, bytes);
	vcpu = make_vcpu(kvm, vm);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	check(size, "KVM_GET_VCPU_MMAP_SIZE");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu,
		   0);
	if (run == MAP_FAILED)
		check(-1, "mmap");
	CHECK(vcpu, KVM_RUN, 0);
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0xf4) {
		fprintf(stderr, "bare-kvm: exit %u\n", run->exit_reason);
		return 1;
	}
	return 0;
}
