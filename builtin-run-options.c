/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What `lkvm run` takes: its option table, and what only the whole command
 * line can tell.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/commands.h>
#include <lkvm/config.h>
#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/net.h>
#include <lkvm/pin.h>
#include <lkvm/run-options.h>
#include <lkvm/virtio.h>

#define DEFAULT_KVM "/dev/kvm"
#define NO_NODE UINT64_MAX
#define SECOND_NS 1000000000ULL
#define YEAR_NS (365 * 86400 * SECOND_NS)

static const char *const loglevels[] = { "error", "warning", "info", "debug",
					 NULL };
static const char *const consoles[] = { "serial", "virtio", NULL };
static const char *const transports[] = { "pci", "mmio", NULL };
static const char *const on_reset_choices[] = { "exit", "reset", "fail", NULL };
static const char *const on_panic_choices[] = { "exit", "pause", "reset",
						NULL };

/* -p may repeat: the kernel sees the strings joined by blanks. */
static int add_params(void *target, const struct option_desc *desc,
		      const char *value)
{
	struct run_options *options = target;
	char *joined;

	(void)desc;
	if (asprintf(&joined, "%s%s%s", options->params ? options->params : "",
		     options->params ? " " : "", value) < 0)
		return -ENOMEM;
	free(options->params);
	options->params = joined;
	return 0;
}

/* --env NAME=VALUE, or NAME, with the value that it has here, if any. */
static int add_env(void *target, const struct option_desc *desc,
		   const char *value)
{
	struct run_options *options = target;
	struct guest_command_options *command = &options->command;
	size_t len = strcspn(value, "=");
	char **grown;
	char *text;

	(void)desc;
	if (!len) {
		log_err("run", "--env: bad value '%s': use NAME=VALUE or NAME",
			value);
		return -EINVAL;
	}
	if (!value[len]) {
		const char *here = getenv(value);

		if (!here)
			return 0;
		if (asprintf(&text, "%s=%s", value, here) < 0)
			return -ENOMEM;
	} else {
		text = strdup(value);
		if (!text)
			return -ENOMEM;
	}
	grown = reallocarray(options->env, command->nr_env + 1, sizeof(*grown));
	if (!grown) {
		free(text);
		return -ENOMEM;
	}
	grown[command->nr_env++] = text;
	options->env = grown;
	command->env = (const char *const *)grown;
	return 0;
}

int run_options_add_device(struct run_options *options,
			   const struct device_type *type, void *config)
{
	struct device_request *grown = reallocarray(options->devices,
						    options->nr_devices + 1,
						    sizeof(*options->devices));

	if (!grown)
		return -ENOMEM;
	options->devices = grown;
	grown[options->nr_devices++] = (struct device_request) {
		.type = type,
		.config = config,
	};
	return 0;
}

/* An option that asks for a device: desc->arg is the type. */
static int add_device(void *target, const struct option_desc *desc,
		      const char *value)
{
	const struct device_type *type = desc->arg;
	size_t len = value ? strlen(value) + 1 : 0;
	/* with a copy of the text behind it, which the config points into */
	char *config = malloc(type->config_size + len);
	char what[32];
	int err = 0;

	if (!config)
		return -ENOMEM;
	memcpy(config, type->defaults, type->config_size);
	snprintf(what, sizeof(what), "--%s", desc->name);
	if (value) {
		memcpy(config + type->config_size, value, len);
		err = options_parse_list(type->options, type->positional, what,
					 config + type->config_size, config);
	}
	if (!err)
		err = run_options_add_device(target, type, config);
	if (err)
		free(config);
	return err;
}

/* -d: an image, or a folder. */
static int add_disk(void *target, const struct option_desc *desc,
		    const char *value)
{
	struct run_options *options = target;
	int ret = root_folder_take(&options->folder, value);

	if (ret)
		return ret < 0 ? ret : 0;
	return add_device(target, desc, value);
}

/* --port: all of them make one device. */
static int add_port(void *target, const struct option_desc *desc,
		    const char *value)
{
	struct run_options *options = target;
	struct virtio_console_options *ports = &options->ports;
	struct virtio_port_options *port = &ports->port[ports->nr_ports];
	char *text;
	int err;

	if (ports->nr_ports == VIRTIO_MAX_PORTS) {
		log_err("run", "--port: there can be no more than %u",
			VIRTIO_MAX_PORTS);
		return -EINVAL;
	}
	text = strdup(value);
	if (!text)
		return -ENOMEM;
	options->port_text[ports->nr_ports++] = text;
	err = options_parse_list(desc->keys, NULL, "--port", text, port);
	if (!err)
		err = virtio_port_check(ports);
	return err;
}

/* --expect and --fail */
static int add_pattern(void *target, const struct option_desc *desc,
		       const char *value)
{
	struct pattern_list *list =
		(struct pattern_list *)((char *)target + desc->offset);
	struct pattern *grown = reallocarray(list->pattern, list->count + 1,
					     sizeof(*list->pattern));
	int err;

	if (!grown)
		return -ENOMEM;
	list->pattern = grown;
	grown += list->count;
	grown->text = value;
	err = *value ? regcomp(&grown->regex, value, REG_EXTENDED | REG_NOSUB) :
		       REG_BADPAT;
	if (err) {
		char why[128];

		regerror(err, &grown->regex, why, sizeof(why));
		log_err("run", "--%s: bad value '%s': %s", desc->name, value,
			why);
		return -EINVAL;
	}
	list->count++;
	return 0;
}

static void release_patterns(struct pattern_list *list)
{
	for (unsigned int i = 0; i < list->count; i++)
		regfree(&list->pattern[i].regex);
	free(list->pattern);
}

/* --root PATH[,KEY=VALUE...] */
static int set_root(void *target, const struct option_desc *desc,
		    const char *value)
{
	struct run_options *options = target;
	char *text = strdup(value);

	if (!text)
		return -ENOMEM;
	free(options->root_text);
	options->root_text = text;
	options->rootfs.root = (struct rootfs_root) { 0 };
	return options_parse_list(desc->keys, rootfs_root_positional, "--root",
				  text, &options->rootfs.root);
}

/* --rw DIR, --ro DIR: desc->arg is not NULL for the former. */
static int add_share(void *target, const struct option_desc *desc,
		     const char *value)
{
	struct rootfs_options *rootfs = &((struct run_options *)target)->rootfs;

	if (rootfs->nr_shares == ROOTFS_MAX_SHARES) {
		log_err("run", "--%s: there can be no more than %u folders",
			desc->name, ROOTFS_MAX_SHARES);
		return -EINVAL;
	}
	rootfs->shares[rootfs->nr_shares++] = (struct rootfs_share) {
		.path = value,
		.writable = desc->arg,
	};
	return 0;
}

static int add_tty(void *target, const struct option_desc *desc,
		   const char *value)
{
	struct run_options *options = target;
	unsigned int index = (unsigned int)value[0] - '0';

	(void)desc;
	if (index >= MACHINE_SERIALS || value[1]) {
		log_err("run", "--tty: bad value '%s': use 0 to %u", value,
			MACHINE_SERIALS - 1);
		return -EINVAL;
	}
	options->ttys |= BIT(index);
	return 0;
}

/*
 * --events FILE|fd:N. A number is claimed at once, before it can be that of a
 * file which lkvm opens.
 */
static int set_events(void *target, const struct option_desc *desc,
		      const char *value)
{
	struct run_options *options = target;
	int fd = -1;

	(void)desc;
	if (!*value) {
		log_err("run", "--events: needs a file, or fd:N");
		return -EINVAL;
	}
	if (!strncmp(value, "fd:", 3)) {
		fd = claim_output_fd(value + 3);
		if (fd < 0) {
			log_err("run", "--events: cannot write to %s: %s",
				value, strerror(-fd));
			return fd;
		}
	}
	if (options->events_fd >= 0)
		close(options->events_fd);
	options->events = value;
	options->events_fd = fd;
	return 0;
}

#define FIELD(name) offsetof(struct run_options, name)

const struct option_desc run_options[] = {
	{ OPTION_STRING, 'k', "kernel", "FILE",
	  "kernel: bzImage or ELF (default: a build tree's, then /boot's)",
	  .offset = FIELD(kernel) },
	{ OPTION_STRING, 'i', "initrd", "FILE", "initial RAM disk",
	  .offset = FIELD(initrd) },
	{ OPTION_CALL, 'p', "params", "STRING",
	  "kernel command line, after the defaults (may repeat)",
	  .call = add_params },
	{ OPTION_CALL, 'd', "disk", "FILE[,KEY=VALUE...]",
	  "disk image or block device (may repeat), keys below; or DIR|NAME[,ro]",
	  .call = add_disk, .keys = virtio_blk_keys, .arg = &virtio_blk_type },
	{ OPTION_CALL, 0, "9p", "DIR[,TAG][,KEY=VALUE...]",
	  "share a folder by 9P2000.L (may repeat); keys below",
	  .call = add_device, .keys = virtio_9p_keys, .arg = &virtio_9p_type },
	{ OPTION_CALL, 0, "root", "PATH[,KEY=VALUE...]",
	  "root of a command: a folder or an image (default: the host's); keys "
	  "below",
	  .call = set_root, .keys = rootfs_root_keys },
	{ OPTION_STRING, 0, "sandbox", "SCRIPT",
	  "run this file of the host's in the guest",
	  .offset = FIELD(sandbox) },
	{ OPTION_CALL, 0, "ro", "DIR",
	  "the command has DIR at the same path, to read (may repeat)",
	  .call = add_share },
	{ OPTION_CALL, 0, "rw", "DIR",
	  "the same, and what it writes there stays (may repeat)",
	  .call = add_share, .arg = "" },
	{ OPTION_STRING, 0, "modules", "DIR",
	  "modules of the kernel (default: beside it, then /lib/modules)",
	  .offset = FIELD(modules) },
	{ OPTION_CALL, 'n', "network", "KEY=VALUE[,...]",
	  "network device (may repeat); keys below", .call = add_device,
	  .keys = virtio_net_keys, .arg = &virtio_net_type },
	{ OPTION_CALL, 0, "rng", "[=KEY=VALUE]",
	  "source of entropy (/dev/hwrng in the guest); keys below",
	  .call = add_device, .keys = virtio_rng_keys, .optional = true,
	  .arg = &virtio_rng_type },
	{ OPTION_ENUM, 0, "console", "serial|virtio",
	  "which device the terminal is: ttyS0 or hvc0 (default: serial)",
	  .offset = FIELD(console), .choices = consoles },
	{ OPTION_CALL, 0, "tty", "N",
	  "serial port N of the guest is a pseudo-terminal (may repeat)",
	  .call = add_tty },
	{ OPTION_CALL, 0, "port", "name=NAME,to=WHERE[,from=PATH]",
	  "a port /dev/virtio-ports/NAME (may repeat); keys below",
	  .call = add_port, .keys = virtio_port_keys },
	{ OPTION_STRING, 0, "klog", "FILE|fd:N",
	  "with a command: write the console, the kernel's log, there",
	  .offset = FIELD(klog) },
	{ OPTION_STRING, 0, "cwd", "DIR",
	  "folder in the guest where the command starts (default: this one)",
	  .offset = FIELD(command.cwd) },
	{ OPTION_CALL, 0, "env", "NAME[=VALUE]",
	  "environment of the command (may repeat)", .call = add_env },
	{ OPTION_STRING, 0, "user", "USER",
	  "whom the command runs as: NAME or UID[:GID] (default: root)",
	  .offset = FIELD(command.user) },
	{ OPTION_FLAG, 0, "console-packed", NULL,
	  "offer packed rings to the guest for hvc0 and the ports",
	  .offset = FIELD(console_packed) },
	{ OPTION_CALL, 0, "balloon", "[=KEY=VALUE...]",
	  "memory balloon; keys below", .call = add_device,
	  .keys = virtio_balloon_keys, .optional = true,
	  .arg = &virtio_balloon_type },
	{ OPTION_CALL, 0, "vsock", "CID[,KEY=VALUE...]",
	  "socket device with this address; keys below", .call = add_device,
	  .keys = virtio_vsock_keys, .arg = &virtio_vsock_type },
	{ OPTION_SIZE, 'm', "mem", "SIZE",
	  "guest RAM in MiB, or with suffix B K M G T P",
	  .offset = FIELD(ram_bytes), .min = ARCH_MIN_RAM, .unit = MIB },
	{ OPTION_UINT, 'c', "cpus", "N", "vCPUs (default: the host's)",
	  .offset = FIELD(cpus), .min = 1, .max = ARCH_MAX_CPUS },
	{ OPTION_STRING, 0, "name", "NAME", "the VM's name",
	  .offset = FIELD(name) },
	{ OPTION_STRING, 0, "control", "PATH|off",
	  "the control socket (default: by the VM's name)",
	  .offset = FIELD(control) },
	{ OPTION_CALL, 0, "events", "FILE|fd:N",
	  "what happens to the VM, as lines of JSON", .call = set_events },
	{ OPTION_STRING, 0, "dev", "FILE",
	  "KVM device (default: " DEFAULT_KVM ")", .offset = FIELD(kvm_path) },
	{ OPTION_FLAG, 0, "nodefaults", NULL,
	  "add nothing to the kernel command line",
	  .offset = FIELD(nodefaults) },
	{ OPTION_STRING, 0, "hugetlbfs", "DIR",
	  "RAM of huge pages, from the hugetlbfs that is mounted at DIR",
	  .offset = FIELD(memory.hugetlbfs) },
	{ OPTION_FLAG, 0, "mem-file", NULL,
	  "RAM in a file without a name that other processes may map",
	  .offset = FIELD(memory.file) },
	{ OPTION_FLAG, 0, "thp", NULL,
	  "transparent huge pages for RAM (default on)", .offset = FIELD(thp) },
	{ OPTION_FLAG, 0, "ksm", NULL,
	  "the host may merge pages of RAM that are alike",
	  .offset = FIELD(memory.ksm) },
	{ OPTION_UINT, 0, "numa-node", "N", "RAM from this node of the host",
	  .offset = FIELD(node), .max = MEMORY_MAX_NODES - 1 },
	{ OPTION_STRING, 0, "pin", "VCPU=CPU[,VCPU=CPU...]",
	  "the host's CPUs that vCPUs run on", .offset = FIELD(pin_list) },
	{ OPTION_ENUM, 0, "virtio-transport", "pci|mmio",
	  "how virtio devices are attached", .offset = FIELD(transport),
	  .choices = transports },
	{ OPTION_FLAG, 0, "fdt", NULL,
	  "describe the machine by a device tree, not by ACPI and MP tables",
	  .offset = FIELD(fdt) },
	{ OPTION_STRING, 0, "dump-dtb", "FILE",
	  "write the machine's device tree to FILE",
	  .offset = FIELD(dump_dtb) },
	{ OPTION_ENUM, 0, "on-reset", "exit|reset|fail",
	  "when the guest resets: exit with 0, boot again, or exit with 252",
	  .offset = FIELD(on_reset), .choices = on_reset_choices },
	{ OPTION_ENUM, 0, "on-panic", "exit|pause|reset",
	  "when the guest's kernel panics: exit with 255, pause, or boot again",
	  .offset = FIELD(on_panic), .choices = on_panic_choices },
	{ OPTION_SECONDS, 0, "timeout", "SECONDS", "end after that, with 124",
	  .offset = FIELD(timeout_ns), .min = SECOND_NS / 1000,
	  .max = YEAR_NS },
	{ OPTION_CALL, 0, "expect", "REGEX",
	  "power off, with 0, when the console says that (may repeat)",
	  .offset = FIELD(expect), .call = add_pattern },
	{ OPTION_CALL, 0, "fail", "REGEX",
	  "power off, with 254, when the console says that (may repeat)",
	  .offset = FIELD(fail), .call = add_pattern },
	{ OPTION_SECONDS, 0, "grace", "SECONDS",
	  "how long a guest may take to power off (default: 10)",
	  .offset = FIELD(grace_ns), .max = YEAR_NS },
	{ OPTION_FLAG, 0, "debug-exit", NULL,
	  "a write of V to port 0xf4 exits with status (V << 1) | 1",
	  .offset = FIELD(debug_exit) },
	{ OPTION_FLAG, 0, "dry-run", NULL,
	  "print the machine that would run, and make nothing",
	  .offset = FIELD(dry_run) },
	{ OPTION_FLAG, 0, "json", NULL, "print it as JSON",
	  .offset = FIELD(json) },
	{ OPTION_FLAG, 0, "stats", NULL,
	  "print counters of exits and devices at the end",
	  .offset = FIELD(stats) },
	{ OPTION_FLAG, 0, "boot-timer", NULL,
	  "print the phases of the boot at the end",
	  .offset = FIELD(boot_timer) },
	{ OPTION_ENUM, 0, "loglevel", "error|warning|info|debug",
	  "how much to say on stderr (default: warning)",
	  .offset = FIELD(loglevel), .choices = loglevels },
	{ OPTION_FLAG, 'h', "help", NULL, "print this help",
	  .offset = FIELD(help) },
	{ .kind = OPTION_END },
};

/* 64 MiB for each CPU and three more, and at most 80% of the host's RAM. */
static uint64_t default_ram(unsigned int cpus)
{
	uint64_t bytes = 64 * MIB * (cpus + 3);
	struct sysinfo info;

	if (!sysinfo(&info)) {
		uint64_t host = (uint64_t)info.totalram * info.mem_unit;

		bytes = MIN(bytes, host / 10 * 8);
	}
	return align_down(bytes, MIB);
}

/* A VM's name becomes a thread's name, and one day a file's. */
static bool good_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";
	size_t len = strlen(name);

	return len <= 64 && strspn(name, allowed) == len && name[0] != '.' &&
	       name[0] != '-';
}

/* The devices that --console and --port ask for. */
static int add_consoles(struct run_options *options)
{
	struct virtio_console_options wanted[] = {
		{ .console = options->console == CONSOLE_VIRTIO },
		options->ports,
	};

	for (unsigned int i = 0; i < options->ports.nr_ports; i++) {
		if (strcmp(options->ports.port[i].to, "stdio") != 0)
			continue;
		if (options->console != CONSOLE_SERIAL ||
		    options->command.argv) {
			log_err("run",
				"port %s: the standard streams are taken",
				options->ports.port[i].name);
			return -EINVAL;
		}
		options->console = CONSOLE_PORT;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(wanted); i++) {
		struct virtio_console_options *copy;
		int err;

		if (!wanted[i].console && !wanted[i].nr_ports)
			continue;
		copy = malloc(sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		*copy = wanted[i];
		copy->packed = options->console_packed;
		err = run_options_add_device(options, &virtio_console_type,
					     copy);
		if (err) {
			free(copy);
			return err;
		}
	}
	return 0;
}

/* What only a command has a use for. */
static int check_command_options(const struct run_options *options)
{
	const struct guest_command_options *command = &options->command;
	const char *option = options->klog    ? "klog" :
			     command->cwd     ? "cwd" :
			     command->nr_env  ? "env" :
			     command->user    ? "user" :
			     options->modules ? "modules" :
						NULL;

	if (!option)
		return 0;
	log_err("run", "--%s: there is no command (add -- COMMAND)", option);
	return -EINVAL;
}

static int complete_command(struct run_options *options)
{
	struct guest_command_options *command = &options->command;
	struct option_desc none = { 0 };

	if (!command->argv)
		return check_command_options(options);
	if (!*command->argv[0]) {
		log_err("run", "the command's name is empty");
		return -EINVAL;
	}
	if (command->cwd && command->cwd[0] != '/') {
		log_err("run", "--cwd: '%s' is no absolute path", command->cwd);
		return -EINVAL;
	}
	options->here = getcwd(NULL, 0);
	command->try_cwd = options->here;
	command->tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	for (unsigned int i = 0; i < command->nr_env; i++)
		if (!strncmp(command->env[i], "TERM=", 5))
			return 0;
	return command->tty ? add_env(options, &none, "TERM") : 0;
}

static int complete_pins(struct run_options *options)
{
	if (!options->pin_list)
		return 0;
	options->pins = calloc(options->cpus, sizeof(*options->pins));
	if (!options->pins)
		return -ENOMEM;
	return pin_parse(options->pin_list, (unsigned int)options->cpus,
			 options->pins);
}

static int take_kernel(struct run_options *options, int nr_args, char **args)
{
	if (nr_args > 1 || (nr_args == 1 && options->kernel)) {
		log_err("run",
			"'%s' is one argument too many: the kernel is %s",
			args[nr_args - 1],
			options->kernel ? options->kernel : args[0]);
		return -EINVAL;
	}
	if (nr_args == 1)
		options->kernel = args[0];
	return 0;
}

/*
 * @to may be "fd:N". A number that is open now is not that of a file which lkvm
 * opens later.
 */
static int check_output(const char *what, const char *to)
{
	int fd = to && !strncmp(to, "fd:", 3) ? claim_output_fd(to + 3) : 0;

	/* What is no number at all is refused where it is opened. */
	if (fd == -EINVAL)
		return 0;
	if (fd < 0)
		log_err("run", "%s: cannot write to %s: %s", what, to,
			strerror(-fd));
	else if (fd)
		close(fd);
	return MIN(fd, 0);
}

static int check_values(const struct run_options *options)
{
	int err = check_output("--klog", options->klog);

	for (unsigned int i = 0; !err && i < options->ports.nr_ports; i++)
		err = check_output("--port", options->ports.port[i].to);
	if (err)
		return err;
	if (options->name && !good_name(options->name)) {
		log_err("run",
			"--name: bad value '%s': use at most 64 letters, "
			"digits, '.', '_' or '-', and begin with a letter, "
			"a digit or '_'",
			options->name);
		return -EINVAL;
	}
	if (options->json && !options->dry_run) {
		log_err("run", "--json goes with --dry-run only");
		return -EINVAL;
	}
	if (options->ram_bytes % 4096) {
		log_err("run", "--mem: %s is not a multiple of 4K",
			format_size(options->ram_bytes).text);
		return -EINVAL;
	}
	return 0;
}

static void fill_defaults(struct run_options *options)
{
	if (!options->cpus)
		options->cpus = (uint64_t)MIN(
			MAX(sysconf(_SC_NPROCESSORS_ONLN), 1), ARCH_MAX_CPUS);
	if (!options->ram_bytes)
		options->ram_bytes = default_ram((unsigned int)options->cpus);
	if (!options->kvm_path)
		options->kvm_path = DEFAULT_KVM;
	options->memory.no_thp = !options->thp;
	options->memory.bound = options->node != NO_NODE;
	if (options->memory.bound)
		options->memory.node = (unsigned int)options->node;
}

/* Who says nothing of networks gets one, if there is passt to make it. */
static int add_default_network(struct run_options *options)
{
	struct net_options *config;
	int err;

	for (unsigned int i = 0; i < options->nr_devices; i++)
		if (options->devices[i].type == &virtio_net_type)
			return 0;
	config = malloc(sizeof(*config));
	if (!config)
		return -ENOMEM;
	memcpy(config, virtio_net_type.defaults, sizeof(*config));
	config->mode = NET_MODE_USER;
	config->implicit = true;
	err = run_options_add_device(options, &virtio_net_type, config);
	if (err)
		free(config);
	return err;
}

bool run_options_has_param(const struct run_options *options, const char *key)
{
	const char *params = options->params;

	for (const char *at = params; at && (at = strstr(at, key)); at++)
		if (at == params || at[-1] == ' ')
			return true;
	return false;
}

int run_options_parse(struct run_options *options, int argc, char **argv,
		      int *rest)
{
	int nr_args;
	int err;

	*options = (struct run_options) {
		.loglevel = LOG_LEVEL_WARNING,
		.thp = true,
		.node = NO_NODE,
		.events_fd = -1,
		.grace_ns = 10 * SECOND_NS,
	};
	err = options_parse(run_options, "run", argc, argv, options, &nr_args,
			    rest);
	if (err || options->help)
		return err;
	log_set_level((enum log_level)options->loglevel);
	return take_kernel(options, nr_args, argv);
}

int run_options_complete(struct run_options *options)
{
	int err = check_values(options);

	if (err)
		return err;
	fill_defaults(options);
	err = complete_pins(options);
	if (!err)
		err = complete_command(options);
	if (!err)
		err = add_consoles(options);
	if (!err)
		err = add_default_network(options);
	if (err == -ENOMEM)
		log_err("run", "out of memory");
	return err;
}

void run_options_release(struct run_options *options)
{
	for (unsigned int i = 0; i < options->nr_devices; i++)
		free((void *)options->devices[i].config);
	free(options->devices);
	for (unsigned int i = 0; i < options->ports.nr_ports; i++)
		free(options->port_text[i]);
	free(options->root_text);
	if (options->events_fd >= 0)
		close(options->events_fd);
	root_folder_release(&options->folder);
	for (unsigned int i = 0; i < options->command.nr_env; i++)
		free(options->env[i]);
	free(options->env);
	free(options->here);
	release_patterns(&options->expect);
	release_patterns(&options->fail);
	free(options->params);
	free(options->pins);
}
