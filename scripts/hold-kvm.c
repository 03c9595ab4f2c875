/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Keeps one VM with one idle vCPU alive, in the outer host of kvm-host.
 *
 * KVM patches its own code (static keys) when the first VM comes and when the
 * last one goes, when the first vCPU's APIC is off and when the last one's is.
 * The emulated CPUs of the outer host do not always survive that while they
 * run guests; as long as this VM is there, nothing is patched.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) ||
	    ioctl(vm, KVM_CREATE_VCPU, 0) < 0)
		return 1;
	for (;;)
		pause();
}
