/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libFuzzer target: the input is a driver. Its first bytes choose layout,
 * features and size of a ring; the others are what driver and device do with
 * it by turns. What the device gets must keep every promise of virtio.h.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/log.h>
#include <lkvm/memory.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define RAM (64 * KIB)
#define MAX_SIZE 64
#define DESC 0x1000
#define DRIVER 0x2000
#define DEVICE 0x3000
#define TABLES 0x4000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise that is broken is a crash, which is what libFuzzer looks for. */
#define PROMISE(cond)            \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

struct input {
	const uint8_t *at, *end;
};

struct run {
	struct guest_memory memory;
	struct virtio_device vdev;
	struct virtq vq;
	struct virtq_chain chain;
	uint8_t *ram;
	uint16_t in_flight[MAX_SIZE]; /* in the order of their pops */
	unsigned int count;
	unsigned int pops; /* that no push followed: may be undone */
};

static unsigned int byte(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static unsigned int word(struct input *in)
{
	unsigned int low = byte(in);

	return low | byte(in) << 8;
}

/* ---- the driver ---------------------------------------------------------- */

/* Any bytes into one of the areas. */
static void scribble(struct run *run, struct input *in)
{
	static const uint16_t areas[] = { DESC, DRIVER, DEVICE, TABLES };
	unsigned int at = areas[byte(in) % 4] + word(in) % 0x1000;
	unsigned int len = byte(in) % 32;

	while (len-- && at < RAM)
		run->ram[at++] = (uint8_t)byte(in);
}

/* A descriptor that could be good, in the ring or in a table. */
static void describe(struct run *run, struct input *in)
{
	unsigned int kind = byte(in);
	unsigned int at = (kind & 1 ? TABLES : DESC) + byte(in) % MAX_SIZE * 16;
	uint64_t addr = word(in) << (kind >> 6);
	uint32_t len = word(in);
	uint16_t flags = (uint16_t)(byte(in) % 8);
	uint16_t other = (uint16_t)(byte(in) % (MAX_SIZE + 2));

	if (flags & VRING_DESC_F_INDIRECT && kind & 2) {
		addr = TABLES + addr % 0x800 / 16 * 16;
		len = len % 16 * 16;
	}
	if (run->vq.packed)
		flags |= kind & 4 ? 1U << VRING_PACKED_DESC_F_AVAIL :
				    1U << VRING_PACKED_DESC_F_USED;
	memcpy(run->ram + at, &addr, sizeof(addr));
	memcpy(run->ram + at + 8, &len, sizeof(len));
	memcpy(run->ram + at + 12, run->vq.packed ? &other : &flags, 2);
	memcpy(run->ram + at + 14, run->vq.packed ? &flags : &other, 2);
}

/* Split: heads become available. */
static void offer(struct run *run, struct input *in)
{
	struct vring_avail *avail = (struct vring_avail *)(run->ram + DRIVER);

	avail->ring[avail->idx % run->vq.size] =
		(uint16_t)(byte(in) % (MAX_SIZE + 1));
	avail->idx += 1 + (byte(in) == 0xff);
}

/* ---- the device ---------------------------------------------------------- */

static bool has(const struct run *run, uint16_t head)
{
	for (unsigned int i = 0; i < run->count; i++)
		if (run->in_flight[i] == head)
			return true;
	return false;
}

static void check_chain(const struct run *run)
{
	const struct virtq_chain *chain = &run->chain;
	unsigned int all = chain->out_count + chain->in_count;
	uint64_t out_len = 0, in_len = 0;

	PROMISE(chain->head < run->vq.size && !has(run, chain->head));
	PROMISE(run->count < run->vq.size);
	PROMISE(all <= VIRTQ_MAX_CHAIN && all <= run->vq.size);
	for (unsigned int i = 0; i < all; i++) {
		const uint8_t *base = chain->iov[i].iov_base;
		size_t len = chain->iov[i].iov_len;

		PROMISE(len && base >= run->ram && len <= RAM &&
			(size_t)(base - run->ram) <= RAM - len);
		if (i < chain->out_count)
			out_len += len;
		else
			in_len += len;
	}
	PROMISE(out_len == chain->out_len && in_len == chain->in_len);
	PROMISE(out_len + in_len <= UINT32_MAX);
}

static void pop(struct run *run)
{
	bool was_broken = run->vq.broken;
	int got = virtq_pop(&run->vq, &run->chain);

	PROMISE(got == 1 || got == 0 || got == -EPROTO);
	PROMISE(!was_broken || got == 0);
	PROMISE(got != -EPROTO || run->vq.broken);
	if (got <= 0)
		return;
	check_chain(run);
	run->in_flight[run->count++] = run->chain.head;
	run->pops++;
}

static void finish(struct run *run, struct input *in, bool show)
{
	unsigned int i;
	uint16_t head;

	if (!run->count)
		return;
	i = byte(in) % run->count;
	head = run->in_flight[i];
	memmove(run->in_flight + i, run->in_flight + i + 1,
		(--run->count - i) * sizeof(head));
	/* One that was popped later must not be undone any more (unpop). */
	run->pops = MIN(run->pops, run->count - i);
	virtq_fill(&run->vq, head, word(in));
	if (show)
		virtq_show(&run->vq);
}

static void undo(struct run *run)
{
	if (!run->pops || run->vq.broken)
		return;
	run->pops--;
	virtq_unpop(&run->vq, run->in_flight[--run->count]);
}

static void step(struct run *run, struct input *in)
{
	switch (byte(in) % 12) {
	case 0:
		scribble(run, in);
		break;
	case 1:
	case 2:
	case 3:
		describe(run, in);
		break;
	case 4:
	case 5:
		if (!run->vq.packed)
			offer(run, in);
		pop(run);
		break;
	case 6:
		pop(run);
		break;
	case 7:
		finish(run, in, true);
		break;
	case 8:
		finish(run, in, false);
		break;
	case 9:
		virtq_show(&run->vq);
		(void)virtq_should_signal(&run->vq);
		break;
	case 10:
		virtq_disable_notify(&run->vq);
		(void)virtq_enable_notify(&run->vq);
		break;
	default:
		undo(run);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct run run = { .vq.max_size = MAX_SIZE };
	unsigned int kind = byte(&in);
	uint64_t features = 0;

	log_set_level(LOG_LEVEL_ERROR);
	if (kind & 1)
		features |= BIT_ULL(VIRTIO_F_RING_PACKED);
	if (kind & 2)
		features |= BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	if (kind & 4)
		features |= BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	memory_init(&run.memory, -1);
	if (memory_add_ram(&run.memory, 0, RAM))
		return 0;
	run.ram = guest_map(&run.memory, 0, RAM);
	run.vq.device = &run.vdev;
	run.vq.memory = &run.memory;
	virtq_reset(&run.vq);
	run.vq.size = (uint16_t)(byte(&in) % (MAX_SIZE + 2));
	run.vq.desc_addr = kind & 8 ? word(&in) : DESC;
	run.vq.driver_addr = kind & 16 ? word(&in) : DRIVER;
	run.vq.device_addr = kind & 32 ? word(&in) : DEVICE;
	if (!virtq_start(&run.vq, features))
		while (in.at < in.end)
			step(&run, &in);
	virtq_reset(&run.vq);
	memory_release(&run.memory);
	return 0;
}
