/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commands of the control socket for the VM as a whole, and for its vCPUs:
 * docs/control.md.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/control-parts.h>
#include <lkvm/describe.h>
#include <lkvm/endings.h>
#include <lkvm/event.h>
#include <lkvm/util.h>
#include <lkvm/vm.h>

/* ---- questions ----------------------------------------------------------- */

json_t *control_version(void)
{
	int major = 0, minor = 0, micro = 0;

	sscanf(LKVM_VERSION, "%d.%d.%d", &major, &minor, &micro);
	return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "major", major,
			 "minor", minor, "micro", micro, "package",
			 "lkvm " LKVM_VERSION);
}

static void query_version(struct control_call *call)
{
	call->result = control_version();
}

static void query_commands(struct control_call *call)
{
	call->result = json_array();
	for (unsigned int i = 0; control_commands[i]; i++)
		for (const struct control_command *c = control_commands[i];
		     c->name; c++)
			json_array_append_new(call->result,
					      json_pack("{s:s}", "name",
							c->name));
}

static void query_status(struct control_call *call)
{
	struct vm *vm = call->vm;
	bool running;

	pthread_mutex_lock(&vm->lock);
	running = vm->run_state == VM_RUNNING;
	pthread_mutex_unlock(&vm->lock);
	call->result = json_pack("{s:s,s:b}", "status",
				 running	      ? "running" :
				 endings_panicked(vm) ? "guest-panicked" :
							"paused",
				 "running", running);
}

static void query_name(struct control_call *call)
{
	call->result = json_object();
	if (call->vm->config->name)
		json_object_set_new(call->result, "name",
				    json_string(call->vm->config->name));
}

static void query_kvm(struct control_call *call)
{
	call->result = json_pack("{s:b,s:b}", "enabled", 1, "present", 1);
}

static void query_cpus(struct control_call *call)
{
	struct vm *vm = call->vm;

	call->result = json_array();
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/machine/vcpu%u", i);
		json_array_append_new(call->result,
				      json_pack("{s:i,s:s,s:i,s:s}",
						"cpu-index", (int)i, "qom-path",
						path, "thread-id",
						(int)vm->vcpus[i].thread_id,
						"target", arch_name));
	}
}

/* What of this process is in the host's memory, in bytes; 0: not known. */
static uint64_t resident_bytes(void)
{
	unsigned long long total, resident;
	FILE *statm = fopen("/proc/self/statm", "re");

	if (!statm)
		return 0;
	if (fscanf(statm, "%llu %llu", &total, &resident) != 2)
		resident = 0;
	fclose(statm);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void query_info(struct control_call *call)
{
	const struct vm *vm = call->vm;
	const struct vm_config *config = vm->config;
	uint64_t start = atomic_load(&vm->phase_ns[PHASE_START]);

	call->result = json_pack(
		"{s:s*,s:i,s:o,s:o,s:i,s:o,s:o*,s:s}", "name", config->name,
		"pid", (int)getpid(), "memory",
		control_number(config->ram_bytes), "resident",
		control_number(resident_bytes()), "cpus", (int)config->cpus,
		"uptime-ns", control_number(now_ns() - start), "kernel",
		config->kernel ? describe_text(config->kernel) : NULL,
		"version", LKVM_VERSION);
}

/* ---- the VM's life ------------------------------------------------------- */

static void stop(struct control_call *call)
{
	vm_user_pause(call->vm);
}

static void cont(struct control_call *call)
{
	vm_user_resume(call->vm);
}

static void quit(struct control_call *call)
{
	vm_end(call->vm, VM_END_QUIT, QUIT_BY_CONTROL);
}

static void system_reset(struct control_call *call)
{
	vm_end(call->vm, VM_END_USER_RESET, 0);
}

static void system_powerdown(struct control_call *call)
{
	vm_press_power_button(call->vm);
}

/* ---- vCPUs --------------------------------------------------------------- */

static const struct control_arg cpu_args[] = {
	{ "cpu-index", CONTROL_INTEGER, CONTROL_REQUIRED },
	{ NULL, 0, 0 },
};

/* The vCPU that the call names; NULL after control_fail(). */
static struct vcpu *find_vcpu(struct control_call *call)
{
	uint64_t index = control_integer(call, "cpu-index", 0);

	if (index < call->vm->nr_vcpus)
		return &call->vm->vcpus[index];
	control_fail(call, CONTROL_GENERIC, "there are only %u CPUs",
		     call->vm->nr_vcpus);
	return NULL;
}

/* Both to the vCPU that is named, and to the first where none is. */
static void inject_nmi(struct control_call *call)
{
	struct vcpu *vcpu = find_vcpu(call);
	int err = vcpu ? vcpu_inject_nmi(vcpu) : 0;

	if (err)
		control_fail(call, CONTROL_GENERIC, "KVM: %s", strerror(-err));
}

static void dump_on_thread(struct vcpu *vcpu, void *opaque)
{
	arch_vcpu_dump(&vcpu->vm->machine, vcpu->fd, vcpu->index, opaque);
}

static void show_registers(struct control_call *call)
{
	struct vcpu *vcpu = find_vcpu(call);
	char *text = NULL;
	size_t len;
	FILE *out;

	if (!vcpu)
		return;
	out = open_memstream(&text, &len);
	if (!out) {
		control_fail(call, CONTROL_GENERIC, "out of memory");
		return;
	}
	vcpu_call(vcpu, dump_on_thread, out);
	fclose(out);
	call->result = json_pack("{s:s}", "text", text);
	free(text);
}

const struct control_command control_vm_commands[] = {
	{ "query-version", NULL, query_version },
	{ "query-commands", NULL, query_commands },
	{ "query-status", NULL, query_status },
	{ "query-name", NULL, query_name },
	{ "query-kvm", NULL, query_kvm },
	{ "query-cpus-fast", NULL, query_cpus },
	{ "stop", NULL, stop },
	{ "cont", NULL, cont },
	{ "quit", NULL, quit },
	{ "system_reset", NULL, system_reset },
	{ "system_powerdown", NULL, system_powerdown },
	{ "inject-nmi", NULL, inject_nmi },
	{ "x-lkvm-info", NULL, query_info },
	{ "x-lkvm-nmi", cpu_args, inject_nmi },
	{ "x-lkvm-registers", cpu_args, show_registers },
	{ NULL, NULL, NULL },
};
