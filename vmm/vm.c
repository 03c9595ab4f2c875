/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The life of a virtual machine: requests to end it, the vCPU barrier, pause
 * and reset, and the main thread's wait for an end, of which endings.c judges.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/console-hub.h>
#include <lkvm/endings.h>
#include <lkvm/event.h>
#include <lkvm/guest-command.h>
#include <lkvm/log.h>
#include <lkvm/terminal.h>
#include <lkvm/vm-parts.h>
#include <lkvm/vm.h>

/* ---- requests from any thread -------------------------------------------- */

void vm_phase_mark(struct vm *vm, enum boot_phase phase)
{
	atomic_store(&vm->phase_ns[phase], now_ns());
}

bool vm_goes_on_locked(const struct vm *vm)
{
	if (vm->stopping)
		return false;
	return vm->end == VM_END_USER_RESET ||
	       (vm->end == VM_END_RESET &&
		vm->config->on_reset == ON_RESET_RESET) ||
	       (vm->end == VM_END_PANIC &&
		vm->config->on_panic != ON_PANIC_EXIT);
}

/*
 * First request wins; the main thread takes it from its loop. Only a user's
 * comes before one after which the run would go on, and forget it.
 */
static bool vm_end_locked(struct vm *vm, enum vm_end end, unsigned int detail)
{
	bool by_user = end == VM_END_QUIT || end == VM_END_SIGNAL ||
		       end == VM_END_DECIDED || end == VM_END_TIMEOUT;

	if (vm->end != VM_END_NONE && !(by_user && vm_goes_on_locked(vm)))
		return false;
	vm->end = end;
	vm->end_detail = detail;
	vm_phase_mark(vm, PHASE_END);
	loop_stop(vm->machine.loop);
	return true;
}

void vm_end(struct vm *vm, enum vm_end end, unsigned int detail)
{
	pthread_mutex_lock(&vm->lock);
	vm_end_locked(vm, end, detail);
	pthread_mutex_unlock(&vm->lock);
}

void vm_end_dump(struct vm *vm, enum vm_end end, struct vcpu *vcpu)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out) {
		arch_vcpu_dump(&vm->machine, vcpu->fd, vcpu->index, out);
		fclose(out);
	}
	pthread_mutex_lock(&vm->lock);
	if (vm_end_locked(vm, end, vcpu->index)) {
		vm->end_dump = text;
		text = NULL;
	}
	pthread_mutex_unlock(&vm->lock);
	free(text);
}

void vm_press_power_button(struct vm *vm)
{
	if (!vm->command || !guest_command_signal(vm->command, SIGTERM))
		vm->machine.power_button(vm->machine.power_button_opaque);
	vm_event(vm, "POWERDOWN", NULL);
}

void vm_command_ended(void *opaque, int status, const char *why)
{
	if (why)
		log_err("command", "%s", why);
	vm_end(opaque, VM_END_COMMAND, (unsigned int)status);
}

static void on_signal(void *opaque, uint32_t events)
{
	struct signalfd_siginfo info;
	struct vm *vm = opaque;

	(void)events;
	if (read(vm->signals.fd, &info, sizeof(info)) != sizeof(info))
		return;
	/* SIGTERM asks for the end, which the command has a part in. */
	if (vm->command && info.ssi_signo != SIGPWR &&
	    info.ssi_signo != SIGTERM &&
	    guest_command_signal(vm->command, (int)info.ssi_signo))
		return;
	if (info.ssi_signo == SIGPWR)
		vm_press_power_button(vm);
	else
		endings_signal(vm, info.ssi_signo);
}

/* ---- the vCPU barrier --------------------------------------------------- */

static void set_run_state_locked(struct vm *vm, enum vm_run_state state)
{
	vm->run_state = state;
	if (state != VM_RUNNING)
		for (unsigned int i = 0; i < vm->nr_vcpus; i++)
			vcpu_kick(&vm->vcpus[i]);
	pthread_cond_broadcast(&vm->changed);
}

bool vm_is_running(struct vm *vm)
{
	bool running;

	pthread_mutex_lock(&vm->lock);
	running = vm->run_state == VM_RUNNING;
	pthread_mutex_unlock(&vm->lock);
	return running;
}

void vm_pause(struct vm *vm)
{
	if (!vm_is_running(vm))
		return;
	pthread_mutex_lock(&vm->lock);
	set_run_state_locked(vm, VM_PAUSED);
	while (vm->parked < vm->nr_vcpus)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
	for (struct device *d = vm->machine.devices; d; d = d->next)
		if (d->type->quiesce)
			d->type->quiesce(d);
}

void vm_resume(struct vm *vm)
{
	if (vm_is_running(vm))
		return;
	for (struct device *d = vm->machine.devices; d; d = d->next)
		if (d->type->resume)
			d->type->resume(d);
	pthread_mutex_lock(&vm->lock);
	set_run_state_locked(vm, VM_RUNNING);
	pthread_mutex_unlock(&vm->lock);
}

void vm_user_pause(struct vm *vm)
{
	if (!vm_is_running(vm) || vm->stopping)
		return;
	vm_pause(vm);
	vm_event(vm, "STOP", NULL);
}

void vm_user_resume(struct vm *vm)
{
	if (vm_is_running(vm))
		return;
	vm_resume(vm);
	vm_event(vm, "RESUME", NULL);
}

void vm_stop(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	set_run_state_locked(vm, VM_STOPPING);
	pthread_mutex_unlock(&vm->lock);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		vcpu_join(&vm->vcpus[i]);
	free(vm->vcpus);
	vm->vcpus = NULL;
	vm->nr_vcpus = 0;
}

int vm_reset_vcpus(struct vm *vm)
{
	int err;

	pthread_mutex_lock(&vm->lock);
	vm->reset_count++;
	vm->resets_done = 0;
	pthread_cond_broadcast(&vm->changed);
	while (vm->resets_done < vm->nr_vcpus)
		pthread_cond_wait(&vm->changed, &vm->lock);
	err = vm->vcpu_error;
	pthread_mutex_unlock(&vm->lock);
	if (err)
		log_err("vm", "cannot set a vCPU's state: %s", strerror(-err));
	return err;
}

int vm_reset(struct vm *vm)
{
	int err;

	for (struct device *d = vm->machine.devices; d; d = d->next)
		if (d->type->reset)
			d->type->reset(d);
	/*
	 * First the vCPUs, so that KVM forgets where in RAM the old guest had
	 * its clock and steal-time pages; they follow again at the end, for
	 * only then the entry point is known.
	 */
	err = vm_reset_vcpus(vm);
	if (err)
		return err;
	if (vm->command)
		guest_command_reset(vm->command);
	err = memory_clear(&vm->machine.memory);
	if (!err)
		err = arch_board_reset(&vm->machine);
	if (err) {
		log_err("vm", "cannot reset the machine: %s", strerror(-err));
		return err;
	}
	err = arch_boot_load(&vm->machine, &vm->boot);
	if (err)
		return err;
	pthread_mutex_lock(&vm->lock);
	vm->end = VM_END_NONE;
	pthread_mutex_unlock(&vm->lock);
	return vm_reset_vcpus(vm);
}

/* ---- the run ------------------------------------------------------------ */

static int watch_signals(struct vm *vm)
{
	struct sigaction hangup;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGPWR);
	if (vm->command) {
		sigaddset(&set, SIGQUIT);
		sigaddset(&set, SIGUSR1);
		sigaddset(&set, SIGUSR2);
	}
	/* Once blocked, it would come even if nohup had it ignored. */
	if (!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	vm->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (vm->signals.fd < 0)
		return -errno;
	vm->signals.ready = on_signal;
	vm->signals.opaque = vm;
	return loop_add(vm->machine.loop, &vm->signals, EPOLLIN);
}

static void unwatch_signals(struct vm *vm)
{
	if (vm->signals.fd < 0)
		return;
	loop_del(vm->machine.loop, &vm->signals);
	close(vm->signals.fd);
	vm->signals.fd = -1;
}

/* The first line of --events. */
static void tell_start(struct vm *vm)
{
	vm_event_own(vm, "START",
		     json_pack("{s:s*,s:i}", "name", vm->config->name, "pid",
			       (int)getpid()));
}

int vm_run(struct vm *vm)
{
	int status;
	int err;

	/* Not before: whatever vm_create() waits for, a signal ends it. */
	err = watch_signals(vm);
	if (!err)
		err = endings_start(vm);
	if (!err)
		err = terminal_start(vm->terminal);
	if (err) {
		log_err("vm", "cannot watch signals and the console: %s",
			strerror(-err));
		status = STATUS_LKVM_FAILED;
		goto out;
	}
	vm_phase_mark(vm, PHASE_RUN);
	tell_start(vm);
	vm_resume(vm);
	do {
		err = loop_run(vm->machine.loop);
	} while (!err && endings_go_on(vm));

	vm_pause(vm);
	terminal_stop(vm->terminal);
	if (vm->command)
		guest_command_flush(vm->command);
	if (vm->config->boot_timer)
		vm_print_phases(vm, stderr);
	if (vm->config->stats)
		vm_print_stats(vm, stderr);
	if (err)
		log_err("vm", "event loop: %s", strerror(-err));
	status = err ? STATUS_LKVM_FAILED : endings_report(vm);
	vm_event_own(vm, "END", json_pack("{s:i}", "status", status));
	events_deliver(vm);
out:
	endings_stop(vm);
	unwatch_signals(vm);
	return status;
}
