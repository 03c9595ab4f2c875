/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine's creation, in the order that its parts need, and its
 * destruction in reverse.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/console-hub.h>
#include <lkvm/control.h>
#include <lkvm/event.h>
#include <lkvm/guest-command.h>
#include <lkvm/log.h>
#include <lkvm/stream.h>
#include <lkvm/terminal.h>
#include <lkvm/vm-parts.h>
#include <lkvm/vm.h>

static int open_kvm(struct vm *vm)
{
	const char *path = vm->config->kvm_path;
	int version;

	vm->kvm_fd = open(path, O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0) {
		int err = -errno;
		const char *fix = "";

		if (err == -EACCES)
			fix = " (add yourself to group kvm)";
		else if (err == -ENOENT)
			fix = " (load the kvm module, or name another with "
			      "--dev)";
		log_err("kvm", "cannot open %s: %s%s", path, strerror(-err),
			fix);
		return err;
	}
	version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version < 0) {
		log_err("kvm", "%s is not a KVM device (name one with --dev)",
			path);
		return -ENOTTY;
	}
	if (version != KVM_API_VERSION) {
		log_err("kvm", "%s has API version %d, and %d is needed", path,
			version, KVM_API_VERSION);
		return -ENOTSUP;
	}
	return arch_check_kvm(vm->kvm_fd);
}

static int check_cpus(struct vm *vm)
{
	unsigned int cpus = vm->config->cpus;
	int max = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (max > 0 && cpus > (unsigned int)max) {
		log_err("kvm", "%u CPUs asked for, and this KVM has at most %d",
			cpus, max);
		return -E2BIG;
	}
	if (online > 0 && cpus > (unsigned long)online)
		log_warn("kvm", "%u vCPUs share the host's %ld CPUs", cpus,
			 online);
	return 0;
}

/* One of the files to boot; the errors name it. */
static int open_boot_file(const char *path, const char *what, int *out)
{
	struct stat st;
	/* A named pipe must be refused below, not waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		int err = -errno;

		log_err("boot", "Fatal: Unable to open %s %s: %s", what, path,
			strerror(-err));
		return err;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		log_err("boot", "%s %s is not a regular file", what, path);
		close(fd);
		return -EINVAL;
	}
	*out = fd;
	return 0;
}

static void add_initrd(struct boot_config *boot, const char *path, int fd)
{
	boot->initrds[boot->nr_initrds++] = (struct boot_file) {
		.path = path,
		.fd = fd,
	};
}

int vm_open_boot_files(struct vm *vm)
{
	const struct vm_config *config = vm->config;
	int err;

	vm->boot.kernel_path = config->kernel;
	vm->boot.cmdline = config->cmdline;
	vm->boot.add_devices = config->add_devices;
	vm->boot.fdt = config->fdt;
	err = open_boot_file(config->kernel, "kernel", &vm->boot.kernel_fd);
	if (!err && config->initrd)
		err = open_boot_file(config->initrd, "initrd", &vm->initrd_fd);
	if (err)
		return err;
	if (config->initrd)
		add_initrd(&vm->boot, config->initrd, vm->initrd_fd);
	for (unsigned int i = 0; i < config->nr_own_initrds; i++)
		add_initrd(&vm->boot, config->own_initrds[i].path,
			   config->own_initrds[i].fd);
	return 0;
}

static int create_board(struct vm *vm)
{
	struct machine *m = &vm->machine;
	const struct arch_config arch = {
		.cpus = vm->config->cpus,
		.ram_bytes = vm->config->ram_bytes,
		.debug_exit = vm->config->debug_exit,
	};
	int err;

	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0) {
		err = -errno;
		log_err("kvm", "cannot create a VM: %s", strerror(-err));
		return err;
	}
	memory_init(&m->memory, vm->vm_fd);
	err = irq_init(&m->irq, vm->vm_fd);
	if (err) {
		log_err("vm", "cannot set up interrupts: %s", strerror(-err));
		return err;
	}
	err = memory_set_backing(&m->memory, &vm->config->memory,
				 vm->config->ram_bytes);
	if (err)
		return err;
	return arch_board_create(m, vm->kvm_fd, vm->vm_fd, &arch);
}

/* Their threads create the vCPUs while this one goes on. */
static int start_vcpus(struct vm *vm)
{
	unsigned int cpus = vm->config->cpus;
	int err;

	vm->vcpus = calloc(cpus, sizeof(*vm->vcpus));
	err = vm->vcpus ? vcpu_setup_signal() : -ENOMEM;
	for (unsigned int i = 0; i < cpus && !err; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];

		vcpu->vm = vm;
		vcpu->index = i;
		vcpu->fd = -1;
		err = vcpu_start(vcpu);
		if (!err)
			vm->nr_vcpus++;
	}
	if (err)
		log_err("vm", "cannot start vCPU threads: %s", strerror(-err));
	return err;
}

static int wait_for_vcpus(struct vm *vm)
{
	int err;

	pthread_mutex_lock(&vm->lock);
	while (vm->ready < vm->nr_vcpus)
		pthread_cond_wait(&vm->changed, &vm->lock);
	err = vm->vcpu_error;
	pthread_mutex_unlock(&vm->lock);
	if (err)
		log_err("kvm", "cannot create a vCPU: %s", strerror(-err));
	return err;
}

/* As the type itself makes it. */
static int create_device(struct machine *machine,
			 const struct device_request *request,
			 struct device **out)
{
	return request->type->create(machine, request->config, out);
}

struct creation {
	struct vm *vm;
	int (*create)(struct machine *machine,
		      const struct device_request *request,
		      struct device **out);
};

/*
 * Create @request's device and append it to the machine's list. @resource is
 * what a device of the board's is for.
 */
static int append_device(const struct creation *c,
			 const struct device_request *request,
			 const struct resource *resource)
{
	struct machine *machine = &c->vm->machine;
	struct device **end = &machine->devices;
	struct device *device;
	int err;

	err = c->create(machine, request, &device);
	/* A type may be asked for nothing: `-n mode=none`. */
	if (err || !device)
		return err;
	if (resource)
		device->place.resource = resource;
	while (*end)
		end = &(*end)->next;
	*end = device;
	return 0;
}

static int create_board_devices(const struct creation *c,
				const struct device_type *type)
{
	unsigned int count;
	const struct device_request *requests =
		arch_board_devices(&c->vm->machine, &count);
	int err = 0;

	for (unsigned int i = 0; i < count && !err; i++)
		if (requests[i].type == type)
			err = append_device(c, &requests[i],
					    requests[i].config);
	if (err)
		log_err("vm", "cannot create the machine's %s: %s", type->name,
			strerror(-err));
	return err;
}

static int create_user_devices(const struct creation *c,
			       const struct device_type *type)
{
	const struct vm_config *config = c->vm->config;
	int err = 0;

	for (unsigned int i = 0; i < config->nr_devices && !err; i++)
		if (config->devices[i].type == type)
			err = append_device(c, &config->devices[i], NULL);
	return err;
}

/* Those of config->command. */
static int create_command_ports(const struct creation *c)
{
	struct virtio_console_options ports;
	const struct device_request request = {
		.type = &virtio_console_type,
		.config = &ports,
	};

	guest_command_ports(c->vm->command, &ports);
	return append_device(c, &request, NULL);
}

int vm_create_devices(struct vm *vm,
		      int (*create)(struct machine *machine,
				    const struct device_request *request,
				    struct device **out))
{
	const struct creation c = { .vm = vm, .create = create };
	int err = 0;

	for (unsigned int i = 0; device_table[i] && !err; i++)
		err = create_board_devices(&c, device_table[i]) ?:
			      create_user_devices(&c, device_table[i]);
	return err || !vm->config->command ? err : create_command_ports(&c);
}

/* What devices wait for has had the whole creation's time to happen. */
static int complete_devices(struct vm *vm)
{
	struct device **link = &vm->machine.devices;

	while (*link) {
		struct device *device = *link;
		int err = device->type->complete ?
				  device->type->complete(device) :
				  0;

		if (err && err != -ENODEV)
			return err;
		if (!err) {
			link = &device->next;
			continue;
		}
		*link = device->next;
		device->type->destroy(device);
	}
	return 0;
}

static int open_klog(struct vm *vm)
{
	char *to;
	int err;

	if (!vm->config->klog)
		return 0;
	if (asprintf(&to, "%s%s",
		     strncmp(vm->config->klog, "fd:", 3) != 0 ? "file:" : "",
		     vm->config->klog) < 0)
		return -ENOMEM;
	err = stream_open("--klog", to, NULL, &vm->klog);
	free(to);
	return err;
}

static void on_drop_caches(struct machine *machine)
{
	guest_command_drop_caches(
		container_of(machine, struct vm, machine)->command);
}

/* The command has the terminal, and the console a file or nothing. */
static int create_command(struct vm *vm, struct chardev **console)
{
	const struct vm_config *config = vm->config;
	struct guest_command_callbacks callbacks = {
		.ended = vm_command_ended,
		.opaque = vm,
	};
	int err;

	if (!config->command->tty)
		terminal_set_plain(vm->terminal);
	err = guest_command_create(vm->machine.loop, vm->terminal, &callbacks,
				   &vm->command);
	if (!err)
		vm->machine.drop_caches = on_drop_caches;
	if (err || !vm->klog)
		return err;
	err = stream_start(vm->klog, vm->machine.loop);
	if (!err)
		*console = stream_chardev(vm->klog);
	return err;
}

static bool is_dev_null(int fd)
{
	struct stat null, st;

	return !stat("/dev/null", &null) && !fstat(fd, &st) &&
	       S_ISCHR(st.st_mode) && st.st_rdev == null.st_rdev;
}

/* The hub is below whichever device is the console, shown or not. */
static int connect_console(struct vm *vm)
{
	struct chardev *terminal = terminal_chardev(vm->terminal);
	bool shown = vm->config->console != CONSOLE_PORT;
	struct chardev *lower = shown ? terminal : NULL;
	struct chardev *second = shown ? terminal_output(vm->terminal) : NULL;
	struct machine *m = &vm->machine;
	struct chardev *tty = m->serial[0]; /* --tty 0, or NULL */
	int err = 0;

	if (tty && vm->config->console != CONSOLE_VIRTIO)
		lower = tty;
	if (vm->config->command) {
		lower = NULL;
		second = NULL;
		err = create_command(vm, &lower);
	}
	if (!err)
		err = console_hub_create(m->loop, lower, second, &vm->console);
	if (err)
		return err;
	if (vm->command)
		guest_command_watch(vm->command, vm->console);
	vm->console_shown = shown && !vm->command &&
			    !is_dev_null(STDOUT_FILENO);
	m->serial[0] = console_hub_chardev(vm->console);
	if (vm->config->console == CONSOLE_PORT)
		m->console = terminal;
	if (vm->config->console == CONSOLE_VIRTIO) {
		m->console = console_hub_chardev(vm->console);
		/* What is said before its driver is there is shown too. */
		m->serial[0] = tty ?: console_hub_second(vm->console);
	}
	return 0;
}

static void on_quit(void *opaque)
{
	vm_end(opaque, VM_END_QUIT, QUIT_BY_TERMINAL);
}

static void on_prompt(void *opaque, bool on)
{
	prompt_show(opaque, on);
}

static void on_prompt_key(void *opaque, char key)
{
	prompt_key(opaque, key);
}

static int create_host_side(struct vm *vm)
{
	const struct terminal_callbacks callbacks = {
		.quit = on_quit,
		.prompt = on_prompt,
		.prompt_key = on_prompt_key,
		.opaque = vm,
	};
	int err;

	/* Errors of a write, not an end: a closed pipe, `ulimit -f`. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	err = loop_create(&vm->machine.loop);
	if (!err && vm->config->ttys) {
		err = ttys_create(vm);
		if (err)
			return err;
	}
	if (!err)
		err = terminal_create(vm->machine.loop, &callbacks,
				      &vm->terminal);
	if (!err)
		err = connect_console(vm);
	if (err)
		log_err("vm", "cannot set up the console: %s", strerror(-err));
	if (!err)
		err = events_create(vm);
	return err;
}

static void on_machine_request(struct machine *machine,
			       enum machine_event event, unsigned int detail)
{
	static const enum vm_end ends[] = {
		[MACHINE_POWEROFF] = VM_END_POWEROFF,
		[MACHINE_RESET] = VM_END_RESET,
		[MACHINE_PANIC] = VM_END_PANIC,
		[MACHINE_DEBUG_EXIT] = VM_END_DEBUG_EXIT,
	};

	vm_end(container_of(machine, struct vm, machine), ends[event], detail);
}

static void on_boot_mark(struct machine *machine, unsigned int value)
{
	struct vm *vm = container_of(machine, struct vm, machine);

	(void)value;
	/* The first mark is the boot's end; later ones are a guest's own. */
	if (!atomic_load(&vm->phase_ns[PHASE_USERSPACE]))
		vm_phase_mark(vm, PHASE_USERSPACE);
}

struct vm *vm_alloc(const struct vm_config *config)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->config = config;
	vm->kvm_fd = -1;
	vm->vm_fd = -1;
	vm->signals.fd = -1;
	vm->boot.kernel_fd = -1;
	vm->initrd_fd = -1;
	vm->run_state = VM_PAUSED;
	vm->machine.request = on_machine_request;
	vm->machine.boot_mark = on_boot_mark;
	vm->machine.virtio_transport = config->virtio_transport;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	memory_init(&vm->machine.memory, -1);
	bus_init(&vm->machine.pio);
	bus_init(&vm->machine.mmio);
	atomic_store(&vm->phase_ns[PHASE_START], config->start_ns);
	return vm;
}

static int dump_device_tree(struct vm *vm, const char *path)
{
	void *tree;
	size_t size;
	int fd, err = arch_device_tree(&vm->machine, &tree, &size);

	if (err)
		return err;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	err = fd < 0 ? -errno : write_full(fd, tree, size);
	if (err)
		log_err("vm", "cannot write the device tree to %s: %s", path,
			strerror(-err));
	if (fd >= 0)
		close(fd);
	free(tree);
	return err;
}

/* What ps and top show of the process. */
static void set_process_name(const char *name)
{
	char text[16]; /* the kernel's limit */

	snprintf(text, sizeof(text), "lkvm-%s", name);
	pthread_setname_np(pthread_self(), text);
}

/* What a wrong command line could still break comes first. */
static int vm_create_parts(struct vm *vm)
{
	int err;

	if (vm->config->name)
		set_process_name(vm->config->name);
	err = vm_open_boot_files(vm);
	if (!err)
		err = open_kvm(vm);
	if (!err)
		err = check_cpus(vm);
	if (!err)
		err = open_klog(vm);
	if (!err)
		err = create_host_side(vm);
	if (!err)
		err = create_board(vm);
	if (err)
		return err;
	vm_phase_mark(vm, PHASE_BOARD);
	err = start_vcpus(vm);
	if (!err)
		err = vm_create_devices(vm, create_device);
	if (err)
		return err;
	vm_phase_mark(vm, PHASE_DEVICES);
	if (vm->config->dump_dtb) {
		err = dump_device_tree(vm, vm->config->dump_dtb);
		if (err)
			return err;
	}
	err = arch_boot_load(&vm->machine, &vm->boot);
	if (err)
		return err;
	vm_phase_mark(vm, PHASE_LOADED);
	err = wait_for_vcpus(vm);
	if (!err)
		err = complete_devices(vm);
	if (!err)
		err = vm_reset_vcpus(vm);
	/* Files that others see come last, when nothing else can fail. */
	if (!err)
		err = events_open(vm);
	if (!err)
		err = control_create(vm);
	return err;
}

int vm_create(const struct vm_config *config, struct vm **out)
{
	struct vm *vm = vm_alloc(config);
	int err;

	if (!vm) {
		log_err("vm", "out of memory");
		return -ENOMEM;
	}
	err = vm_create_parts(vm);
	if (err) {
		vm_destroy(vm);
		return err;
	}
	*out = vm;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vm_destroy(struct vm *vm)
{
	struct machine *m = &vm->machine;

	control_destroy(vm);
	vm_stop(vm);
	/* The list is in order of creation; take it apart from its end. */
	while (m->devices) {
		struct device **last = &m->devices;
		struct device *device;

		while ((*last)->next)
			last = &(*last)->next;
		device = *last;
		*last = NULL;
		device->type->destroy(device);
	}
	if (m->board)
		arch_board_destroy(m);
	guest_command_destroy(vm->command);
	events_destroy(vm);
	console_hub_destroy(vm->console);
	if (vm->klog) {
		stream_stop(vm->klog);
		stream_close(vm->klog);
	}
	ttys_destroy(vm);
	terminal_destroy(vm->terminal);
	if (m->loop)
		loop_destroy(m->loop);
	close_fd(vm->vm_fd);
	irq_release(&m->irq);
	bus_release(&m->pio);
	bus_release(&m->mmio);
	memory_release(&m->memory);
	close_fd(vm->kvm_fd);
	close_fd(vm->boot.kernel_fd);
	close_fd(vm->initrd_fd);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
	free(vm->end_dump);
	free(vm);
}
