/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that pokes at everything: all ports, configuration space, BARs,
 * with values of all kinds; and at a disk with rings of all kinds. The process
 * survives, resets it when it asks for that, and ends when told. The sequence
 * is the same in every run.
 */
#include "harness.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <unistd.h>

#include <lkvm/util.h>
#include <lkvm/virtio.h>
#include <lkvm/x86.h>

#define ROUNDS 20000
#define DISK_BYTES (64 * KIB)

/* A disk whose driver lays these at random. */
#define SET_UPS 150
#define QUEUE_SIZE 16
#define DESC_TABLE 0x300000
#define AVAIL_RING 0x301000
#define USED_RING 0x302000
#define BUFFERS 0x310000

struct fuzz {
	bool mmio; /* the disk is one of virtio-mmio */
	bool packed; /* and has a packed ring */
	uint64_t random;
	unsigned int left; /* operations, or set-ups of the disk */
	struct agent_op script[200]; /* of one set-up */
	unsigned int nr_script, script_at;
	unsigned int requests_done; /* reads of the ring that said so */
};

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift
 * generators, scrambled". */
static uint64_t draw(struct fuzz *fuzz)
{
	fuzz->random ^= fuzz->random >> 12;
	fuzz->random ^= fuzz->random << 25;
	fuzz->random ^= fuzz->random >> 27;
	return fuzz->random * 2685821657736338717ULL;
}

/* Values at which bounds break are as likely as all others. */
static uint64_t draw_value(struct fuzz *fuzz)
{
	static const uint64_t special[] = {
		0,	    1,		0x7f,	    0x80,
		0xff,	    0x7fff,	0xffff,	    0x7fffffff,
		0xffffffff, UINT64_MAX, 0x100000,   0xfffff000,
		0xc0000000, 0xd0000000, 0xe0000000, INT64_MAX,
	};
	uint64_t value = draw(fuzz);

	if (value & 1)
		return special[(value >> 32) % ARRAY_SIZE(special)];
	/* Small ones: indices, sizes, bits. */
	return value & 2 ? value >> 8 : 1ULL << (value >> 8) % 64;
}

/* A write there would end the test before its time. */
static bool ends_the_run(uint32_t port)
{
	/* Debug exit, sleep and reset control, pvpanic, our own device. */
	return (port >= DEBUG_EXIT - 3 && port < DEBUG_EXIT + 4) ||
	       (port >= POWER_RESET - 5 && port < POWER_RESET) ||
	       (port >= 0x502 && port <= 0x505) ||
	       (port >= TEST_PORTS - 3 && port < TEST_PORTS + TEST_PORTS_BYTES);
}

static void draw_port_op(struct fuzz *fuzz, struct agent_op *op)
{
	static const uint16_t known[] = {
		0x20, 0x40,  0x60,  0x64,  0x70,  0x71,	 0x92,	0xa0,
		0xf2, 0x2e8, 0x2f8, 0x3e8, 0x3f8, 0x4d0, 0xcf8, 0xcfc,
	};
	uint64_t where = draw(fuzz);

	do {
		op->addr = (uint32_t)(where >> 16) & 0xffff;
		if (where & 1)
			op->addr = known[op->addr % ARRAY_SIZE(known)] +
				   (op->addr >> 8) % 8;
		where = draw(fuzz);
	} while (ends_the_run(op->addr));
	op->kind = AGENT_OUT8 + (uint32_t)(draw(fuzz) % 6);
}

static void draw_memory_op(struct fuzz *fuzz, struct agent_op *op)
{
	uint64_t where = draw(fuzz);
	uint32_t offset = (uint32_t)(where >> 16);

	switch (where % 8) {
	case 0: /* all of configuration space */
		op->addr = X86_ECAM_BASE + offset % X86_ECAM_BYTES;
		break;
	case 1: /* host bridge and disk */
	case 2:
		op->addr = X86_ECAM_BASE + offset % 0x10000;
		break;
	case 3: /* anywhere in the window */
		op->addr = X86_PCI_MMIO_BASE + offset % X86_PCI_MMIO_BYTES;
		break;
	default: /* where the disk is, or its BARs are at first */
		op->addr = fuzz->mmio ? X86_VIRTIO_MMIO_BASE + offset % 0x200 :
					X86_PCI_MMIO_BASE + offset % 0x8000;
		break;
	}
	op->kind = AGENT_WRITE8 + (uint32_t)(draw(fuzz) % 8);
}

static bool fuzz_next(struct guest *g, struct agent_op *op)
{
	struct fuzz *fuzz = g->opaque;

	if (!fuzz->left) {
		*op = (struct agent_op) { AGENT_OUT8, DEBUG_EXIT, 21, 0 };
		return true;
	}
	fuzz->left--;
	op->value = draw_value(fuzz);
	if (draw(fuzz) & 1)
		draw_port_op(fuzz, op);
	else
		draw_memory_op(fuzz, op);
	return true;
}

/* ---- a driver of the disk that means harm ------------------------------- */

static void add_op(struct fuzz *fuzz, uint32_t kind, uint32_t addr,
		   uint64_t value)
{
	/* The rest of too long a script is not done. */
	if (fuzz->nr_script == ARRAY_SIZE(fuzz->script))
		return;
	fuzz->script[fuzz->nr_script++] = (struct agent_op) {
		.kind = kind,
		.addr = addr,
		.value = value,
	};
}

static void add_common(struct fuzz *fuzz, uint32_t kind, uint32_t reg,
		       uint64_t value)
{
	add_op(fuzz, kind, X86_PCI_MMIO_BASE + reg, value);
}

static void add_register(struct fuzz *fuzz, uint32_t reg, uint64_t value)
{
	add_op(fuzz, AGENT_WRITE32, X86_VIRTIO_MMIO_BASE + reg, value);
}

#define NEGOTIATING (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define NEGOTIATED (NEGOTIATING | VIRTIO_CONFIG_S_FEATURES_OK)
#define RUNNING (NEGOTIATED | VIRTIO_CONFIG_S_DRIVER_OK)

/* As a driver does it, virtio 1.2, 3.1.1: all of this is right. */
static void script_start_pci(struct fuzz *fuzz, uint64_t low, uint64_t high)
{
	static const struct {
		uint32_t reg, value;
	} addresses[] = {
		{ VIRTIO_PCI_COMMON_Q_DESCLO, DESC_TABLE },
		{ VIRTIO_PCI_COMMON_Q_AVAILLO, AVAIL_RING },
		{ VIRTIO_PCI_COMMON_Q_USEDLO, USED_RING },
	};

	add_op(fuzz, AGENT_WRITE32, X86_ECAM_BASE + (1 << 15) + 4, 6);
	add_op(fuzz, AGENT_WRITE64, X86_ECAM_BASE + (1 << 15) + 0x10,
	       X86_PCI_MMIO_BASE);
	add_common(fuzz, AGENT_WRITE8, VIRTIO_PCI_COMMON_STATUS, 0);
	add_common(fuzz, AGENT_WRITE8, VIRTIO_PCI_COMMON_STATUS, NEGOTIATING);
	add_common(fuzz, AGENT_WRITE32, VIRTIO_PCI_COMMON_GFSELECT, 1);
	add_common(fuzz, AGENT_WRITE32, VIRTIO_PCI_COMMON_GF, high);
	add_common(fuzz, AGENT_WRITE32, VIRTIO_PCI_COMMON_GFSELECT, 0);
	add_common(fuzz, AGENT_WRITE32, VIRTIO_PCI_COMMON_GF, low);
	add_common(fuzz, AGENT_WRITE8, VIRTIO_PCI_COMMON_STATUS, NEGOTIATED);
	add_common(fuzz, AGENT_WRITE16, VIRTIO_PCI_COMMON_Q_SELECT, 0);
	add_common(fuzz, AGENT_WRITE16, VIRTIO_PCI_COMMON_Q_SIZE, QUEUE_SIZE);
	for (unsigned int i = 0; i < ARRAY_SIZE(addresses); i++) {
		add_common(fuzz, AGENT_WRITE32, addresses[i].reg,
			   addresses[i].value);
		add_common(fuzz, AGENT_WRITE32, addresses[i].reg + 4, 0);
	}
	add_common(fuzz, AGENT_WRITE16, VIRTIO_PCI_COMMON_Q_ENABLE, 1);
	add_common(fuzz, AGENT_WRITE8, VIRTIO_PCI_COMMON_STATUS, RUNNING);
}

static void script_start_mmio(struct fuzz *fuzz, uint64_t low, uint64_t high)
{
	add_register(fuzz, VIRTIO_MMIO_STATUS, 0);
	add_register(fuzz, VIRTIO_MMIO_STATUS, NEGOTIATING);
	add_register(fuzz, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	add_register(fuzz, VIRTIO_MMIO_DRIVER_FEATURES, high);
	add_register(fuzz, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	add_register(fuzz, VIRTIO_MMIO_DRIVER_FEATURES, low);
	add_register(fuzz, VIRTIO_MMIO_STATUS, NEGOTIATED);
	add_register(fuzz, VIRTIO_MMIO_QUEUE_SEL, 0);
	add_register(fuzz, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
	add_register(fuzz, VIRTIO_MMIO_QUEUE_DESC_LOW, DESC_TABLE);
	add_register(fuzz, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0);
	add_register(fuzz, VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL_RING);
	add_register(fuzz, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
	add_register(fuzz, VIRTIO_MMIO_QUEUE_USED_LOW, USED_RING);
	add_register(fuzz, VIRTIO_MMIO_QUEUE_USED_HIGH, 0);
	add_register(fuzz, VIRTIO_MMIO_QUEUE_READY, 1);
	add_register(fuzz, VIRTIO_MMIO_STATUS, RUNNING);
}

static void script_start(struct fuzz *fuzz)
{
	uint64_t low = draw(fuzz) & 1ULL << VIRTIO_RING_F_INDIRECT_DESC;
	uint64_t high = 1ULL << (VIRTIO_F_VERSION_1 - 32);

	if (fuzz->packed)
		high |= 1ULL << (VIRTIO_F_RING_PACKED - 32);
	add_op(fuzz, AGENT_WRITE64, AVAIL_RING, 0);
	add_op(fuzz, AGENT_WRITE64, USED_RING, 0);
	if (fuzz->mmio)
		script_start_mmio(fuzz, low, high);
	else
		script_start_pci(fuzz, low, high);
}

/* Mostly what a device may expect, and then anything. */
static uint64_t draw_mostly(struct fuzz *fuzz, uint64_t usual)
{
	return draw(fuzz) % 8 ? usual : draw_value(fuzz);
}

/* Descriptor @i; chains of header, data and status are the most likely. */
static void script_descriptor(struct fuzz *fuzz, unsigned int i)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_FLUSH,
					  VIRTIO_BLK_T_GET_ID };
	static const uint32_t lengths[] = { 16, 512, 1 };
	static const uint16_t flags[] = {
		VRING_DESC_F_NEXT,
		VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
		VRING_DESC_F_WRITE,
	};
	uint32_t desc = DESC_TABLE + i * (uint32_t)sizeof(struct vring_desc);
	uint32_t buffer = BUFFERS + i * 0x1000;
	uint64_t len = draw_mostly(fuzz, lengths[i % 3]);
	uint64_t flag = draw_mostly(fuzz, flags[i % 3]);
	uint64_t next = draw_mostly(fuzz, i + 1);
	uint64_t id = draw_mostly(fuzz, i / 3);
	uint64_t addr = draw_mostly(fuzz, buffer);

	if (fuzz->packed) /* flags lie behind, and say that it is there */
		next = flag | 1ULL << VRING_PACKED_DESC_F_AVAIL;
	/* What the device writes must hit neither agent nor rings. */
	if (addr < BUFFERS)
		addr += BUFFERS;
	add_op(fuzz, AGENT_WRITE64, desc, addr);
	add_op(fuzz, AGENT_WRITE64, desc + 8,
	       (len & UINT32_MAX) |
		       ((fuzz->packed ? id : flag) & UINT16_MAX) << 32 |
		       (next & UINT16_MAX) << 48);
	add_op(fuzz, AGENT_WRITE32, buffer,
	       draw_mostly(fuzz, types[draw(fuzz) % ARRAY_SIZE(types)]));
	add_op(fuzz, AGENT_WRITE64, buffer + 8,
	       draw_mostly(fuzz, draw(fuzz) % 128));
}

static void script_notify(struct fuzz *fuzz)
{
	/* Moving what is in use must not be possible. */
	if (fuzz->mmio) {
		add_register(fuzz, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		add_register(fuzz, VIRTIO_MMIO_QUEUE_DESC_LOW,
			     draw_value(fuzz));
		add_register(fuzz, VIRTIO_MMIO_QUEUE_NUM, draw_value(fuzz));
		add_register(fuzz, VIRTIO_MMIO_QUEUE_NOTIFY, draw_value(fuzz));
		return;
	}
	add_op(fuzz, AGENT_WRITE16, X86_PCI_MMIO_BASE + 0x3000, 0);
	add_common(fuzz, AGENT_WRITE32, VIRTIO_PCI_COMMON_Q_DESCLO,
		   draw_value(fuzz));
	add_common(fuzz, AGENT_WRITE16, VIRTIO_PCI_COMMON_Q_SIZE,
		   draw_value(fuzz));
}

static void script_set_up(struct fuzz *fuzz)
{
	fuzz->nr_script = 0;
	fuzz->script_at = 0;
	/* A packed ring is clean when the device first looks at it. */
	for (unsigned int i = 0; fuzz->packed && i < QUEUE_SIZE; i++)
		add_op(fuzz, AGENT_WRITE64, DESC_TABLE + 16 * i + 8, 0);
	script_start(fuzz);
	for (unsigned int i = 0; i < QUEUE_SIZE; i++)
		script_descriptor(fuzz, i);
	for (unsigned int i = 0; !fuzz->packed && i < 8; i++)
		add_op(fuzz, AGENT_WRITE16, AVAIL_RING + 4 + i * 2,
		       draw_mostly(fuzz, i * 3 % QUEUE_SIZE));
	if (!fuzz->packed)
		add_op(fuzz, AGENT_WRITE16, AVAIL_RING + 2,
		       draw_mostly(fuzz, 1 + draw(fuzz) % 5));
	script_notify(fuzz);
	/* The used index, or the flags of what is used first. */
	for (unsigned int i = 0; i < 5; i++)
		add_op(fuzz, AGENT_READ16,
		       fuzz->packed ? DESC_TABLE + 14 : USED_RING + 2, 0);
}

static bool disk_next(struct guest *g, struct agent_op *op)
{
	struct fuzz *fuzz = g->opaque;

	if (op->kind == AGENT_READ16 &&
	    op->result & (fuzz->packed ? 1U << VRING_PACKED_DESC_F_USED :
					 UINT16_MAX))
		fuzz->requests_done++;
	if (fuzz->script_at == fuzz->nr_script) {
		if (!fuzz->left--) {
			fuzz->left = 0;
			*op = (struct agent_op) { AGENT_OUT8, DEBUG_EXIT, 21,
						  0 };
			return true;
		}
		script_set_up(fuzz);
	}
	*op = fuzz->script[fuzz->script_at++];
	return true;
}

/* ---- runs --------------------------------------------------------------- */

static void run_fuzz(struct fuzz *fuzz,
		     bool (*next)(struct guest *g, struct agent_op *op))
{
	char disk[] = "/tmp/lkvm-test-XXXXXX";
	struct virtio_blk_options blk = virtio_blk_defaults;
	const struct device_request device = { &virtio_blk_type, &blk };
	struct capture out, err;
	int fd = mkstemp(disk);
	struct guest g;
	int status;

	assert_true(fd >= 0);
	blk.path = disk;
	blk.packed = fuzz->packed;
	assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
	close(fd);
	guest_init(&g, "agent64");
	g.config.on_reset = ON_RESET_RESET;
	if (fuzz->mmio)
		g.config.virtio_transport = &virtio_mmio_transport;
	g.config.devices = &device;
	g.config.nr_devices = 1;
	g.next_op = next;
	g.opaque = fuzz;
	/* What the guest sends to ttyS0 is not TAP; the console looks at stdout
	 * when it is created. */
	capture_begin(&out, STDOUT_FILENO);
	capture_begin(&err, STDERR_FILENO);
	guest_create(&g);
	unlink(disk);
	status = vm_run(g.vm);
	free(capture_end(&err));
	free(capture_end(&out));
	guest_destroy(&g);
	assert_int_equal(status, 21 << 1 | 1);
	assert_int_equal(fuzz->left, 0);
}

static void random_accesses_everywhere_are_survived(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct fuzz fuzz = {
			.mmio = seed % 2,
			.random = seed * 0x9e3779b97f4a7c15,
			.left = ROUNDS,
		};

		run_fuzz(&fuzz, fuzz_next);
	}
}

static void survive_rings(bool mmio, bool packed)
{
	struct fuzz fuzz = {
		.mmio = mmio,
		.packed = packed,
		.random = 0x9e3779b97f4a7c15,
		.left = SET_UPS,
	};

	run_fuzz(&fuzz, disk_next);
	/* Otherwise nothing was tried. */
	assert_true(fuzz.requests_done > SET_UPS / 10);
}

static void random_rings_of_a_disk_are_survived(void **state)
{
	(void)state;
	survive_rings(false, false);
}

static void random_packed_rings_of_a_disk_are_survived(void **state)
{
	(void)state;
	survive_rings(false, true);
}

static void random_rings_of_an_mmio_disk_are_survived(void **state)
{
	(void)state;
	survive_rings(true, false);
	survive_rings(true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(random_accesses_everywhere_are_survived),
		kvm_test(random_rings_of_a_disk_are_survived),
		kvm_test(random_packed_rings_of_a_disk_are_survived),
		kvm_test(random_rings_of_an_mmio_disk_are_survived),
	};

	return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
