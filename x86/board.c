/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The PC board: what KVM must offer, interrupt controllers and timer, RAM
 * around the hole, and the list of resources from which devices are created
 * and ACPI and MP tables are written.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <lkvm/hw.h>
#include <lkvm/irq.h>
#include <lkvm/log.h>
#include <lkvm/pci.h>
#include <lkvm/virtio.h>
#include <lkvm/x86.h>

const char arch_name[] = "x86_64";

#define NR_IRQCHIPS 3 /* two PICs, one IOAPIC */

/* The ports and GSIs of a PC; all but the debug exit are always there. */
static const struct resource pc_resources[] = {
	{ RESOURCE_POWER, true, 0, 0x600, POWER_REG_BYTES, X86_POWER_GSI },
	{ RESOURCE_RTC, true, 0, 0x70, 2, 8 },
	{ RESOURCE_KEYBOARD, true, 0, 0x60, 5, 1 },
	{ RESOURCE_SERIAL, true, 0, 0x3f8, 8, 4 },
	{ RESOURCE_SERIAL, true, 1, 0x2f8, 8, 3 },
	{ RESOURCE_SERIAL, true, 2, 0x3e8, 8, 4 },
	{ RESOURCE_SERIAL, true, 3, 0x2e8, 8, 3 },
	{ RESOURCE_PVPANIC, true, 0, 0x505, 1, RESOURCE_NO_GSI },
	{ RESOURCE_DEBUG_EXIT, true, 0, 0xf4, 4, RESOURCE_NO_GSI },
	{ RESOURCE_BOOT_TIMER, true, 0, 0xf2, 1, RESOURCE_NO_GSI },
	{ RESOURCE_PCI_CONFIG_PORTS, true, 0, 0xcf8, 8, RESOURCE_NO_GSI },
	{ RESOURCE_PCI_ECAM, false, 0, X86_ECAM_BASE, X86_ECAM_BYTES,
	  RESOURCE_NO_GSI },
	{ RESOURCE_PCI_MMIO, false, 0, X86_PCI_MMIO_BASE, X86_PCI_MMIO_BYTES,
	  RESOURCE_NO_GSI },
	{ RESOURCE_PCI_PORTS, true, 0, X86_PCI_PORTS, X86_PCI_PORTS_COUNT,
	  RESOURCE_NO_GSI },
};

/* The device that a resource is for; NULL: described, not created. */
static const struct device_type *type_of(enum resource_kind kind)
{
	switch (kind) {
	case RESOURCE_SERIAL:
		return &serial_type;
	case RESOURCE_RTC:
		return &rtc_type;
	case RESOURCE_KEYBOARD:
		return &i8042_type;
	case RESOURCE_POWER:
		return &power_type;
	case RESOURCE_PVPANIC:
		return &pvpanic_type;
	case RESOURCE_DEBUG_EXIT:
		return &debug_exit_type;
	case RESOURCE_BOOT_TIMER:
		return &boot_timer_type;
	case RESOURCE_PCI_CONFIG_PORTS:
		return &pci_host_type;
	case RESOURCE_PCI_ECAM:
	case RESOURCE_PCI_MMIO:
	case RESOURCE_PCI_PORTS:
	case RESOURCE_VIRTIO_PLACE:
	case RESOURCE_VIRTIO_MMIO:
		break;
	}
	return NULL;
}

int arch_check_kvm(int kvm_fd)
{
	static const struct {
		int cap;
		const char *name;
	} needed[] = {
		{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
		{ KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
		{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
		{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
		{ KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
		{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
		{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
		{ KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
		{ KVM_CAP_PIT2, "KVM_CAP_PIT2" },
		{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(needed); i++) {
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i].cap) > 0)
			continue;
		log_err("kvm", "this KVM lacks %s (use a newer host kernel)",
			needed[i].name);
		return -ENOTSUP;
	}
	return 0;
}

/*
 * ISA interrupts reach PIC and IOAPIC alike, but for the timer: its IOAPIC
 * pin is 2, as on every PC, for the PIC's pin 2 is its cascade.
 */
static int set_line_routes(struct irq *irq)
{
	struct kvm_irq_routing_entry routes[IRQ_NR_LINES * 2];
	unsigned int count = 0;

	memset(routes, 0, sizeof(routes));
	for (uint32_t gsi = 0; gsi < X86_IOAPIC_PINS; gsi++) {
		if (gsi < 16 && gsi != 2)
			routes[count++] = (struct kvm_irq_routing_entry){
				.gsi = gsi,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = {
					.irqchip = gsi < 8 ?
						KVM_IRQCHIP_PIC_MASTER :
						KVM_IRQCHIP_PIC_SLAVE,
					.pin = gsi % 8,
				},
			};
		if (gsi != 2)
			routes[count++] = (struct kvm_irq_routing_entry){
				.gsi = gsi,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = {
					.irqchip = KVM_IRQCHIP_IOAPIC,
					.pin = gsi == 0 ? 2 : gsi,
				},
			};
	}
	return irq_set_line_routes(irq, routes, count);
}

static int create_pit(int vm_fd)
{
	const struct kvm_pit_config pit = {
		/* KVM answers port 0x61 itself: no exit for the speaker. */
		.flags = KVM_PIT_SPEAKER_DUMMY,
	};

	return ioctl(vm_fd, KVM_CREATE_PIT2, &pit) ? -errno : 0;
}

/* Interrupt controllers, timer and what must be set before any vCPU. */
static int create_kvm_devices(struct machine *machine, int kvm_fd, int vm_fd)
{
	const struct kvm_enable_cap hypercalls = {
		.cap = KVM_CAP_EXIT_HYPERCALL,
		.args = { (uint64_t)ioctl(kvm_fd, KVM_CHECK_EXTENSION,
					  KVM_CAP_EXIT_HYPERCALL) },
	};
	uint64_t identity_map = X86_IDENTITY_MAP;

	if (ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) ||
	    ioctl(vm_fd, KVM_SET_TSS_ADDR, X86_TSS) ||
	    ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0))
		return -errno;
	/* What KVM hands to userspace comes to us and is counted. */
	if ((int)hypercalls.args[0] > 0 &&
	    ioctl(vm_fd, KVM_ENABLE_CAP, &hypercalls))
		return -errno;
	return create_pit(vm_fd) ?: set_line_routes(&machine->irq);
}

/* The most RAM that fits below the CPU's last physical address. */
static uint64_t max_ram(const struct kvm_cpuid2 *cpuid)
{
	unsigned int bits = 36; /* of a CPU that does not say */

	if (!cpuid)
		return UINT64_MAX; /* nobody knows the CPU yet */
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 0x80000008)
			bits = cpuid->entries[i].eax & 0xff;
	return (1ULL << MIN(bits, 52U)) - (X86_HOLE_END - X86_HOLE_START);
}

static int add_ram(struct machine *machine, uint64_t bytes)
{
	struct guest_memory *memory = &machine->memory;
	uint64_t max = max_ram(machine->board->cpuid);
	uint64_t low = MIN(bytes, X86_HOLE_START);
	int err;

	if (bytes > max) {
		log_err("memory",
			"--mem %s is more than this CPU can address (give at "
			"most %s)",
			format_size(bytes).text, format_size(max).text);
		return -E2BIG;
	}
	err = memory_add_ram(memory, 0, low);
	if (!err && bytes > low)
		err = memory_add_ram(memory, X86_HOLE_END, bytes - low);
	if (err)
		log_err("memory",
			"cannot give the guest %s of RAM: %s (%s)",
			format_size(bytes).text, strerror(-err),
			memory_advice(memory));
	return err;
}

/*
 * Places for virtio-mmio devices, a page each, so that a guest can hand one
 * to somebody without its neighbours. They share the lines of PCI, which
 * are level-triggered already.
 */
static int add_virtio_mmio(struct machine *machine)
{
	int err = 0;

	for (unsigned int i = 0; i < VIRTIO_MMIO_SLOTS && !err; i++) {
		const struct resource place = {
			.kind = RESOURCE_VIRTIO_PLACE,
			.index = i,
			.base = X86_VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_BYTES,
			.len = VIRTIO_MMIO_BYTES,
			.gsi = pci_slot_gsi(i),
		};

		err = machine_add_resource(machine, &place);
	}
	return err;
}

static int add_resources(struct machine *machine, bool debug_exit)
{
	struct board *board = machine->board;
	unsigned int nr = ARRAY_SIZE(pc_resources);

	board->requests = calloc(nr, sizeof(*board->requests));
	if (!board->requests)
		return -ENOMEM;
	for (unsigned int i = 0; i < nr; i++) {
		const struct resource *r = &pc_resources[i];
		const struct device_type *type = type_of(r->kind);
		int err;

		if (r->kind == RESOURCE_DEBUG_EXIT && !debug_exit)
			continue;
		err = machine_add_resource(machine, r);
		if (err)
			return err;
		if (type)
			board->requests[board->nr_requests++] =
				(struct device_request) {
					.type = type,
					.config = r,
				};
	}
	return add_virtio_mmio(machine);
}

int arch_board_create(struct machine *machine, int kvm_fd, int vm_fd,
		      const struct arch_config *config)
{
	struct board *board = calloc(1, sizeof(*board));
	int err;

	if (!board)
		return -ENOMEM;
	board->vm_fd = vm_fd;
	board->cpus = config->cpus;
	machine->board = board;

	err = vm_fd < 0 ? 0 : create_kvm_devices(machine, kvm_fd, vm_fd);
	if (!err && kvm_fd >= 0)
		err = x86_cpuid_create(kvm_fd, config->cpus, &board->cpuid);
	if (!err)
		err = add_resources(machine, config->debug_exit);
	if (err)
		log_err("kvm", "cannot set up the machine: %s", strerror(-err));
	else
		err = add_ram(machine, config->ram_bytes);
	if (err)
		arch_board_destroy(machine);
	return err;
}

void arch_board_destroy(struct machine *machine)
{
	struct board *board = machine->board;

	free(board->requests);
	free(board->cpuid);
	free(board);
	machine->board = NULL;
}

/* The PICs' and the IOAPIC's registers after power-on. */
static int reset_irqchips(int vm_fd)
{
	for (uint32_t id = 0; id < NR_IRQCHIPS; id++) {
		struct kvm_irqchip chip = { .chip_id = id };

		if (id == KVM_IRQCHIP_IOAPIC) {
			chip.chip.ioapic.base_address = X86_IOAPIC_BASE;
			for (unsigned int i = 0; i < KVM_IOAPIC_NUM_PINS; i++)
				chip.chip.ioapic.redirtbl[i].fields.mask = 1;
		} else {
			/* Which inputs are level-triggered by wiring: none. */
			chip.chip.pic.elcr_mask =
				id == KVM_IRQCHIP_PIC_MASTER ? 0xf8 : 0xde;
		}
		if (ioctl(vm_fd, KVM_SET_IRQCHIP, &chip))
			return -errno;
	}
	return 0;
}

int arch_board_reset(struct machine *machine)
{
	int vm_fd = machine->board->vm_fd;
	struct kvm_pit_state2 pit = { .flags = 0 };
	int err = reset_irqchips(vm_fd);

	/* Each channel idle: mode 0xff is KVM's "never programmed". */
	for (unsigned int i = 0; i < ARRAY_SIZE(pit.channels); i++) {
		pit.channels[i].mode = 0xff;
		pit.channels[i].gate = i != 2;
		pit.channels[i].count = 0x10000;
	}
	if (!err && ioctl(vm_fd, KVM_SET_PIT2, &pit))
		err = -errno;
	return err;
}

const struct device_request *arch_board_devices(const struct machine *machine,
						unsigned int *count)
{
	*count = machine->board->nr_requests;
	return machine->board->requests;
}
