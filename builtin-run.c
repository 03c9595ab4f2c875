/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm run: options -> struct vm_config -> a VM that runs to its end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <lkvm/commands.h>
#include <lkvm/control-path.h>
#include <lkvm/dry-run.h>
#include <lkvm/guest-protocol.h>
#include <lkvm/log.h>
#include <lkvm/run-guest.h>
#include <lkvm/run-options.h>
#include <lkvm/virtio.h>
#include <lkvm/vm.h>

/* For a kernel that mounts a folder itself. */
#define FOLDER_ROOT                                  \
	" root=" ROOT_FOLDER_TAG " rootfstype=9p "   \
	"rootflags=trans=virtio,version=9p2000.L"

/* kvmtool's places for a kernel; NULL when none of them has one. */
static char *find_kernel(void)
{
	static const char *const in_tree[] = {
		"./bzImage",
		"arch/x86/boot/bzImage",
		"../../arch/x86/boot/bzImage",
	};
	static const char *const installed[] = { "vmlinuz", "bzImage" };
	struct utsname host;
	char *path;

	for (unsigned int i = 0; i < ARRAY_SIZE(in_tree); i++)
		if (!access(in_tree[i], R_OK))
			return strdup(in_tree[i]);
	uname(&host);
	for (unsigned int i = 0; i < ARRAY_SIZE(installed); i++) {
		if (asprintf(&path, "/boot/%s-%s", installed[i], host.release) <
		    0)
			return NULL;
		if (!access(path, R_OK))
			return path;
		free(path);
	}
	return NULL;
}

/*
 * The complete command line: what a boot needs, then the user's words, which
 * win. Owned by the caller; NULL when memory is short.
 */
static char *build_cmdline(const struct run_options *options)
{
	const char *params = options->params ? options->params : "";
	const struct virtio_blk_options *root = NULL;
	const bool command = options->command.argv;
	const char *init = command ? " rdinit=" GUEST_INIT_PATH : "";
	const char *panic = "";
	const char *quiet = "";
	const char *disk = "";
	char *cmdline;

	if (options->nodefaults)
		return asprintf(&cmdline, "%s%s", params, init) < 0 ? NULL :
								      cmdline;
	/* Nobody there to read a dead screen: end, so that CI goes on. */
	if ((!isatty(STDIN_FILENO) || command) &&
	    !run_options_has_param(options, "panic="))
		panic = " panic=-1";
	/* A log that nobody reads only takes time. */
	if (command && !options->klog)
		quiet = " quiet";
	for (unsigned int i = 0; i < options->nr_devices && !root; i++)
		if (options->devices[i].type == &virtio_blk_type)
			root = options->devices[i].config;
	if (options->folder.found && !command &&
	    !run_options_has_param(options, "root="))
		disk = options->folder.read_only ? FOLDER_ROOT " ro" :
						   FOLDER_ROOT " rw";
	else if (root && !command && !run_options_has_param(options, "root="))
		disk = root->read_only ? " root=/dev/vda ro" :
					 " root=/dev/vda rw";
	if (asprintf(&cmdline, "%s%s%s%s%s%s%s",
		     arch_default_cmdline(options->console != CONSOLE_VIRTIO),
		     panic, quiet, disk, init, *params ? " " : "", params) < 0)
		return NULL;
	return cmdline;
}

static const struct virtio_transport *transport_of(int choice)
{
	static const struct virtio_transport *const all[] = {
		&virtio_pci_transport,
		&virtio_mmio_transport,
	};

	return all[choice];
}

/*
 * Where the control socket shall be: where the user says, or by the VM's name;
 * a VM that nobody has named can do without. Returns 0, or -errno after a
 * message.
 */
static int choose_control(const struct run_options *options,
			  struct control_path *path,
			  struct control_path *folder, struct vm_config *config)
{
	const char *name = options->name;
	char own[32];
	int err;

	if (options->control) {
		if (strcmp(options->control, "off") != 0)
			config->control = options->control;
		return 0;
	}
	snprintf(own, sizeof(own), "guest-%d", (int)getpid());
	err = control_path(name ? name : own, path);
	if (!err)
		err = control_folder(folder);
	if (err && name) {
		log_err("run",
			"there is no place for the control socket: %s (set "
			"XDG_RUNTIME_DIR, or choose another with --control)",
			strerror(-err));
		return err;
	}
	if (!err) {
		config->control = path->text;
		config->control_folder = folder->text;
	}
	return 0;
}

static int run_vm(const struct run_options *options, const char *kernel,
		  char *cmdline, const struct run_guest *guest,
		  uint64_t start_ns)
{
	struct control_path path, folder;
	struct vm_config config = {
		.name = options->name,
		.kvm_path = options->kvm_path,
		.events = options->events,
		.events_fd = options->events_fd,
		.kernel = kernel,
		.initrd = options->initrd,
		.cmdline = cmdline,
		.add_devices = !options->nodefaults,
		.fdt = options->fdt,
		.dump_dtb = options->dump_dtb,
		.ram_bytes = options->ram_bytes,
		.memory = options->memory,
		.cpus = (unsigned int)options->cpus,
		.pins = options->pins,
		.on_reset = (enum on_reset)options->on_reset,
		.on_panic = (enum on_panic)options->on_panic,
		.expect = options->expect,
		.fail = options->fail,
		.timeout_ns = options->timeout_ns,
		.grace_ns = options->grace_ns,
		.console = (enum console)options->console,
		.command = options->command.argv ? &options->command : NULL,
		.klog = options->klog,
		.ttys = options->ttys,
		.debug_exit = options->debug_exit,
		.stats = options->stats,
		.boot_timer = options->boot_timer,
		.start_ns = start_ns,
		.virtio_transport = transport_of(options->transport),
		.devices = options->devices,
		.nr_devices = options->nr_devices,
	};
	struct vm *vm;
	int status;

	if (choose_control(options, &path, &folder, &config))
		return STATUS_LKVM_FAILED;
	run_guest_apply(guest, &config);
	if (options->dry_run)
		return dry_run(&config, options->json, stdout) ?
			       STATUS_LKVM_FAILED :
			       STATUS_OK;
	if (vm_create(&config, &vm))
		return STATUS_LKVM_FAILED;
	status = vm_run(vm);
	vm_destroy(vm);
	return status;
}

static int run_with(struct run_options *options, uint64_t start_ns)
{
	char *found = options->kernel ? NULL : find_kernel();
	const char *kernel = options->kernel ? options->kernel : found;
	struct run_guest guest = { .nr_fds = 0 };
	int status = STATUS_LKVM_FAILED;
	char *cmdline = NULL;

	if (kernel)
		run_guest_default(options, kernel);
	if (run_options_complete(options))
		goto out;
	cmdline = build_cmdline(options);
	if (!kernel)
		log_err("run", "no kernel found (name one with --kernel)");
	else if (!cmdline)
		log_err("run", "out of memory");
	else if (!root_folder_prepare(options) &&
		 !run_guest_prepare(&guest, options, kernel))
		status = run_vm(options, kernel, cmdline, &guest, start_ns);
out:
	run_guest_release(&guest);
	free(cmdline);
	free(found);
	return status;
}

static int run_command_line(int argc, char **argv, bool sandbox)
{
	uint64_t start_ns = now_ns();
	int status = STATUS_LKVM_FAILED;
	struct run_options options;
	int rest;

	if (run_options_parse(&options, argc, argv, &rest))
		goto out;
	if (options.help) {
		char *help[] = { "help", sandbox ? "sandbox" : "run", NULL };

		status = command_help(2, help);
		goto out;
	}
	if (rest < argc)
		options.command.argv = argv + rest;
	if (!root_folder_complete(&options, sandbox))
		status = run_with(&options, start_ns);
out:
	run_options_release(&options);
	return status;
}

int command_run(int argc, char **argv)
{
	return run_command_line(argc, argv, false);
}

int command_sandbox(int argc, char **argv)
{
	return run_command_line(argc, argv, true);
}
