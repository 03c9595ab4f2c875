/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vCPU threads: KVM_RUN, the dispatch of exits, and the barrier at which a VM
 * is paused, reset and stopped. See Documentation/virt/kvm/api.rst, KVM_RUN.
 *
 * The barrier: the main thread sets vm->run_state under vm->lock, then kicks:
 * immediate_exit makes a KVM_RUN that is about to start return at once, a
 * signal ends one that has started. A vCPU parks only when KVM_RUN returned
 * -EINTR, for then KVM has completed the I/O of the exit before.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/log.h>
#include <lkvm/pin.h>
#include <lkvm/vm.h>

#define KICK_SIGNAL SIGRTMIN

static void on_kick(int signal)
{
	/* Its arrival alone makes KVM_RUN return. */
	(void)signal;
}

int vcpu_setup_signal(void)
{
	struct sigaction action = { .sa_handler = on_kick };

	/* No SA_RESTART: ioctl must fail with EINTR. */
	sigemptyset(&action.sa_mask);
	return sigaction(KICK_SIGNAL, &action, NULL) ? -errno : 0;
}

void vcpu_kick(struct vcpu *vcpu)
{
	/* One still under creation reads the run state before it runs. */
	if (!vcpu->run)
		return;
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vcpu->thread, KICK_SIGNAL);
}

static void count_access(uint64_t *counters, const struct bus_region *region)
{
	uint64_t *counter = &counters[region ? region->id : BUS_MAX_REGIONS];

	/* One writer; atomic only so that readers see whole numbers. */
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* KVM_EXIT_IO: @count items of @size bytes, as of a string instruction. */
static void handle_pio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct bus *bus = &vcpu->vm->machine.pio;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned int size = run->io.size;

	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		struct bus_region *region;
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, size);
			region = bus_write(bus, &vcpu->pio_cache, run->io.port,
					   size, value);
		} else {
			region = bus_read(bus, &vcpu->pio_cache, run->io.port,
					  size, &value);
			memcpy(data, &value, size);
		}
		count_access(vcpu->stats.pio, region);
	}
}

/*
 * KVM_EXIT_MMIO: up to 8 bytes. KVM splits an access at a page's end, which
 * can leave an odd length: such a piece is done byte by byte.
 */
static void handle_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct bus *bus = &vcpu->vm->machine.mmio;
	unsigned int len = run->mmio.len;
	unsigned int step = len == 1 || len == 2 || len == 4 || len == 8 ? len :
									   1;

	for (unsigned int i = 0; i < len; i += step) {
		uint64_t addr = run->mmio.phys_addr + i;
		struct bus_region *region;
		uint64_t value = 0;

		if (run->mmio.is_write) {
			memcpy(&value, run->mmio.data + i, step);
			region = bus_write(bus, &vcpu->mmio_cache, addr, step,
					   value);
		} else {
			region = bus_read(bus, &vcpu->mmio_cache, addr, step,
					  &value);
			memcpy(run->mmio.data + i, &value, step);
		}
		count_access(vcpu->stats.mmio, region);
	}
}

static void handle_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vm_end(vcpu->vm, VM_END_POWEROFF, 0);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		vm_end(vcpu->vm, VM_END_RESET, 0);
		break;
	case KVM_SYSTEM_EVENT_CRASH:
		vm_end(vcpu->vm, VM_END_PANIC, 0);
		break;
	default:
		break;
	}
}

/* What KVM could not emulate, in its own words where it has some. */
static void log_internal_error(const struct kvm_run *run)
{
	unsigned int count = 0;
	char bytes[64] = "";
	size_t len = 0;

	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		log_err("vcpu", "KVM internal error, suberror %u",
			run->internal.suberror);
		return;
	}
	if (run->emulation_failure.ndata >= 3 &&
	    run->emulation_failure.flags &
		    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)
		count = MIN(run->emulation_failure.insn_size,
			    sizeof(run->emulation_failure.insn_bytes));
	for (unsigned int i = 0; i < count; i++)
		len += (size_t)snprintf(bytes + len, sizeof(bytes) - len,
					" %02x",
					run->emulation_failure.insn_bytes[i]);
	log_err("vcpu", "KVM could not emulate an instruction%s%s",
		len ? ", bytes" : "", bytes);
}

/*
 * Act on one exit. Returns true to go on, false when this vCPU cannot.
 */
static bool handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint32_t reason = MIN(run->exit_reason, VCPU_EXIT_REASONS - 1U);
	uint64_t *counter = &vcpu->stats.exits[reason];

	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_pio(vcpu);
		return true;
	case KVM_EXIT_MMIO:
		handle_mmio(vcpu);
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_HLT: /* the in-kernel APIC waits at the next KVM_RUN */
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_HYPERCALL:
		/* None is offered in CPUID; a guest that asks is told so. */
		run->hypercall.ret = (uint64_t)-KVM_ENOSYS;
		return true;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu);
		return true;
	case KVM_EXIT_SHUTDOWN:
		vm_end_dump(vcpu->vm, VM_END_TRIPLE_FAULT, vcpu);
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		log_internal_error(run);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		log_err("vcpu", "KVM could not enter the guest, reason 0x%llx",
			run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		log_err("vcpu", "unexpected KVM exit %u", run->exit_reason);
		break;
	}
	vm_end_dump(vcpu->vm, VM_END_KVM_ERROR, vcpu);
	return false;
}

/* Run until kicked. Returns false when this vCPU cannot run any further. */
static bool vcpu_run(struct vcpu *vcpu)
{
	for (;;) {
		if (!ioctl(vcpu->fd, KVM_RUN, 0)) {
			if (!handle_exit(vcpu))
				return false;
			continue;
		}
		/* EAGAIN: an application processor was woken by its SIPI. */
		if (errno == EAGAIN)
			continue;
		if (errno == EINTR) {
			vcpu->stats.interrupted++;
			return true;
		}
		log_err("vcpu", "KVM_RUN of vCPU %u: %s", vcpu->index,
			strerror(errno));
		vm_end_dump(vcpu->vm, VM_END_KVM_ERROR, vcpu);
		return false;
	}
}

/* Create the vCPU, on its own thread. */
static int vcpu_make(struct vcpu *vcpu, struct kvm_run **out)
{
	struct vm *vm = vcpu->vm;
	struct kvm_run *run;
	int size;
	int err;

	/* First: what KVM allocates for it then lies on that CPU's node. */
	err = vm->config->pins ? pin_thread(vm->config->pins[vcpu->index]) : 0;
	if (err)
		return err;
	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, vcpu->index);
	if (vcpu->fd < 0)
		return -errno;
	size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < 0)
		return -errno;
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED,
		   vcpu->fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	*out = run;
	return arch_vcpu_init(&vm->machine, vcpu->fd, vcpu->index);
}

/* A parked vCPU follows a machine reset. vm->lock held, dropped within. */
static void follow_reset_locked(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	unsigned int count = vm->reset_count;
	int err;

	pthread_mutex_unlock(&vm->lock);
	err = arch_vcpu_reset(&vm->machine, vcpu->fd, vcpu->index);
	pthread_mutex_lock(&vm->lock);
	if (err && !vm->vcpu_error)
		vm->vcpu_error = err;
	vcpu->reset_seen = count;
	vcpu->dead = err != 0;
	vm->resets_done++;
	pthread_cond_broadcast(&vm->changed);
}

/* What the main thread wants of this one. vm->lock held, dropped within. */
static void answer_call_locked(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	pthread_mutex_unlock(&vm->lock);
	vcpu->call(vcpu, vcpu->call_opaque);
	pthread_mutex_lock(&vm->lock);
	vcpu->call = NULL;
	pthread_cond_broadcast(&vm->changed);
}

void vcpu_call(struct vcpu *vcpu, void (*call)(struct vcpu *vcpu, void *opaque),
	       void *opaque)
{
	struct vm *vm = vcpu->vm;

	pthread_mutex_lock(&vm->lock);
	vcpu->call_opaque = opaque;
	vcpu->call = call;
	vcpu_kick(vcpu);
	pthread_cond_broadcast(&vm->changed);
	while (vcpu->call)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
}

static void nmi_on_thread(struct vcpu *vcpu, void *opaque)
{
	*(int *)opaque = ioctl(vcpu->fd, KVM_NMI) ? -errno : 0;
}

int vcpu_inject_nmi(struct vcpu *vcpu)
{
	int err;

	vcpu_call(vcpu, nmi_on_thread, &err);
	return err;
}

/* Must it wait, or do something else than run? vm->lock held. */
static bool is_held_locked(const struct vcpu *vcpu)
{
	const struct vm *vm = vcpu->vm;

	return vcpu->call || vm->run_state == VM_PAUSED ||
	       (vm->run_state == VM_RUNNING && vcpu->dead);
}

/* Wait until the VM runs. Returns false when it stops instead. */
static bool vcpu_barrier(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	bool run;

	pthread_mutex_lock(&vm->lock);
	vm->parked++;
	pthread_cond_broadcast(&vm->changed);
	while (is_held_locked(vcpu)) {
		if (vcpu->call)
			answer_call_locked(vcpu);
		else if (vcpu->reset_seen != vm->reset_count)
			follow_reset_locked(vcpu);
		else
			pthread_cond_wait(&vm->changed, &vm->lock);
	}
	vm->parked--;
	run = vm->run_state == VM_RUNNING;
	/* Under the lock: a kick after this finds it 0 and sets it. */
	if (run)
		__atomic_store_n(&vcpu->run->immediate_exit, 0,
				 __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&vm->lock);
	return run;
}

static void *vcpu_main(void *opaque)
{
	struct vcpu *vcpu = opaque;
	struct vm *vm = vcpu->vm;
	struct kvm_run *run = NULL;
	sigset_t kick;
	char name[16];
	int err;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	err = vcpu_make(vcpu, &run);

	pthread_mutex_lock(&vm->lock);
	vcpu->run = run;
	vcpu->thread_id = gettid();
	vm->ready++;
	if (err && !vm->vcpu_error)
		vm->vcpu_error = err;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	if (err || !run)
		return NULL;

	while (vcpu_barrier(vcpu)) {
		if (vcpu_run(vcpu))
			continue;
		pthread_mutex_lock(&vm->lock);
		vcpu->dead = true;
		pthread_mutex_unlock(&vm->lock);
	}
	return NULL;
}

int vcpu_start(struct vcpu *vcpu)
{
	int err = thread_create(&vcpu->thread, vcpu_main, vcpu);

	vcpu->started = !err;
	return err;
}

void vcpu_join(struct vcpu *vcpu)
{
	if (vcpu->started)
		pthread_join(vcpu->thread, NULL);
	if (vcpu->run)
		munmap(vcpu->run, (size_t)ioctl(vcpu->vm->kvm_fd,
						KVM_GET_VCPU_MMAP_SIZE, 0));
	if (vcpu->fd >= 0)
		close(vcpu->fd);
}
