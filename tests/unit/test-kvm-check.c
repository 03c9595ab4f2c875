/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KVMs that lkvm cannot use: of another API version, without a capability,
 * with too few vCPUs (KVM's Documentation/virt/kvm/api.rst, 4.1 and 4.4).
 *
 * No host has such a KVM, so this program's own ioctl(), which the linker
 * prefers to the C library's, answers for one. The device is /dev/null.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <lkvm/virtio.h>
#include <lkvm/vm.h>

#define NO_CAP (-1)

/* What the KVM answers; the test program has one thread. */
static struct {
	int version;
	int missing_cap;
	int max_vcpus;
	unsigned int other_ioctls; /* it was taken for usable */
} kvm;

/* glibc declares the request as unsigned long. */
int ioctl(int fd, unsigned long request, ...)
{
	unsigned long arg;
	va_list args;

	va_start(args, request);
	arg = va_arg(args, unsigned long);
	va_end(args);
	switch (request) {
	case KVM_GET_API_VERSION:
		return kvm.version;
	case KVM_CHECK_EXTENSION:
		if ((int)arg == kvm.missing_cap)
			return 0;
		return arg == KVM_CAP_MAX_VCPUS ? kvm.max_vcpus : 1;
	case KVM_CREATE_VM:
		kvm.other_ioctls++;
		errno = EBUSY;
		return -1;
	default:
		return (int)syscall(SYS_ioctl, fd, request, arg);
	}
}

/* Try to make a VM; what lkvm says goes to @said. */
static int try_vm(unsigned int cpus, char *said, size_t size)
{
	const struct vm_config config = {
		.kvm_path = "/dev/null",
		.kernel = "/proc/self/exe",
		.cmdline = "",
		.ram_bytes = 16 * MIB,
		.cpus = cpus,
		.virtio_transport = &virtio_pci_transport,
	};
	int messages = memfd_create("messages", MFD_CLOEXEC);
	int saved = dup(STDERR_FILENO);
	struct vm *vm = NULL;
	ssize_t len;
	int err;

	assert_true(messages >= 0 && saved >= 0);
	kvm.other_ioctls = 0;
	dup2(messages, STDERR_FILENO);
	err = vm_create(&config, &vm);
	dup2(saved, STDERR_FILENO);
	len = pread(messages, said, size - 1, 0);
	assert_true(len >= 0);
	said[len] = '\0';
	close(saved);
	close(messages);
	assert_null(vm);
	return err;
}

static int setup(void **state)
{
	(void)state;
	kvm.version = KVM_API_VERSION;
	kvm.missing_cap = NO_CAP;
	kvm.max_vcpus = 255;
	return 0;
}

static void refuses_another_api_version_and_names_both(void **state)
{
	char said[256];

	(void)state;
	kvm.version = 11;
	assert_int_equal(try_vm(1, said, sizeof(said)), -ENOTSUP);
	assert_string_equal(said, "lkvm: /dev/null has API version 11, "
				  "and 12 is needed\n");
	kvm.version = 13;
	assert_int_equal(try_vm(1, said, sizeof(said)), -ENOTSUP);
	assert_string_equal(said, "lkvm: /dev/null has API version 13, "
				  "and 12 is needed\n");
	assert_int_equal(kvm.other_ioctls, 0);
}

static void refuses_a_kvm_without_a_capability_and_names_it(void **state)
{
	char said[256];

	(void)state;
	kvm.missing_cap = KVM_CAP_IRQFD;
	assert_int_equal(try_vm(1, said, sizeof(said)), -ENOTSUP);
	assert_string_equal(said, "lkvm: this KVM lacks KVM_CAP_IRQFD "
				  "(use a newer host kernel)\n");
	assert_int_equal(kvm.other_ioctls, 0);
}

static void refuses_more_vcpus_than_the_kvm_has(void **state)
{
	char said[256];

	(void)state;
	kvm.max_vcpus = 8;
	assert_int_equal(try_vm(9, said, sizeof(said)), -E2BIG);
	assert_string_equal(said, "lkvm: 9 CPUs asked for, and this KVM has "
				  "at most 8\n");
	assert_int_equal(kvm.other_ioctls, 0);
}

static void says_why_no_vm_can_be_made(void **state)
{
	char said[256];

	(void)state;
	assert_int_equal(try_vm(1, said, sizeof(said)), -EBUSY);
	assert_string_equal(said, "lkvm: cannot create a VM: Device or "
				  "resource busy\n");
	assert_int_equal(kvm.other_ioctls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			refuses_another_api_version_and_names_both, setup),
		cmocka_unit_test_setup(
			refuses_a_kvm_without_a_capability_and_names_it, setup),
		cmocka_unit_test_setup(refuses_more_vcpus_than_the_kvm_has,
				       setup),
		cmocka_unit_test_setup(says_why_no_vm_can_be_made, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
