/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packets of a socket device (virtio 1.2, 5.10) by a driver that means harm;
 * and a client that does not.
 */
#include <endian.h>
#include <err.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "attack.h"

#define VSOCK_HEADER ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define VSOCK_ROOM (PAGE / QUEUE_SIZE) /* of a page, for each packet */

/* Values that are right more often than not: the others end a conversation. */
static void draw_packet(struct virtio_vsock_hdr *packet)
{
	static const uint32_t ports[] = { 6000, 6000, 6001, 0, 0xffffffff };

	*packet = (struct virtio_vsock_hdr) {
		.src_cid = htole64(draw() % 32 ? 3 : draw_value()),
		.dst_cid =
			htole64(draw() % 32 ? VMADDR_CID_HOST : draw_value()),
		.src_port = htole32(1 + draw() % 8),
		.dst_port = htole32(ports[draw() % 5]),
		.len = htole32(draw() % 512 ?
				       draw() % (VSOCK_ROOM - VSOCK_HEADER) :
				       draw_value()),
		.type = htole16(draw() % 32 ? VIRTIO_VSOCK_TYPE_STREAM :
					      draw_value()),
		.op = htole16(draw() % 32 ? 1 + draw() % 7 : draw_value()),
		.flags = htole32(draw() % 4 ? 0 : draw_value()),
		.buf_alloc = htole32(draw() % 4 ? 4096 : draw_value()),
		.fwd_cnt = htole32(draw() % 4 ? 0 : draw_value()),
	};
}

/* One packet of a queue's: a header, and the bytes that it speaks of, or not. */
static void fill_packet(struct rings *tx, unsigned int i)
{
	struct vring_desc *desc = (void *)tx->pages[0];
	struct virtio_vsock_hdr *packet =
		(void *)(tx->pages[3] + i * VSOCK_ROOM);
	uint32_t len;

	draw_packet(packet);
	len = le32toh(packet->len);
	if (len > VSOCK_ROOM - VSOCK_HEADER)
		len = VSOCK_ROOM - VSOCK_HEADER;
	desc[i].addr = htole64(tx->physical[3] + i * VSOCK_ROOM);
	desc[i].len = htole32(VSOCK_HEADER + len);
	desc[i].flags = 0;
	/* Now and then a chain that is no packet at all. */
	if (draw() % 512 == 0)
		desc[i].len = htole32(draw_length());
	if (draw() % 512 == 0)
		desc[i].flags = htole16(draw() % 8);
}

/* Make what the device has given back available again; returns how much. */
static unsigned int offer(struct rings *rings)
{
	struct vring_avail *avail = (void *)rings->pages[1];
	volatile struct vring_used *used = (void *)rings->pages[2];
	uint16_t idx = le16toh(avail->idx);
	uint16_t count = le16toh(used->idx) + QUEUE_SIZE - idx;

	for (unsigned int i = 0; i < count; i++)
		avail->ring[(idx + i) % QUEUE_SIZE] =
			htole16((idx + i) % QUEUE_SIZE);
	__atomic_store_n(&avail->idx, htole16(idx + count), __ATOMIC_SEQ_CST);
	return count;
}

static void notify_queue(struct rings *rings)
{
	volatile struct virtio_pci_common_cfg *common = rings->common;
	uint32_t at;

	common->queue_select = htole16(rings->queue);
	at = le16toh(common->queue_notify_off) * rings->notify_multiplier;
	notify_pci(rings, at, (uint16_t)rings->queue);
}

/*
 * Until all packets are taken. What the host says goes unread, but for the room
 * that it takes. Returns false when the device needs a reset.
 */
static bool exchange(struct rings *rx, struct rings *tx)
{
	volatile struct vring_avail *avail = (void *)tx->pages[1];
	volatile struct vring_used *used = (void *)tx->pages[2];

	for (unsigned int i = 0; i < 20000; i++) {
		if (device_status(tx) & VIRTIO_CONFIG_S_NEEDS_RESET)
			return false;
		if (used->idx == avail->idx)
			return true;
		usleep(100);
		tx->answered += offer(rx);
		notify_queue(rx);
	}
	errx(1, "the device takes no packets");
}

static void start_vsock(struct rings *rx, struct rings *tx)
{
	struct vring_desc *desc = (void *)rx->pages[0];
	uint8_t status = negotiate_pci(tx);

	/* The last round's device has let go of them. */
	for (unsigned int i = 0; i < 4; i++) {
		memset(rx->pages[i], 0, PAGE);
		memset(tx->pages[i], 0, PAGE);
	}
	for (unsigned int i = 0; i < QUEUE_SIZE; i++)
		desc[i] = (struct vring_desc) {
			.addr = htole64(rx->physical[3] + i * VSOCK_ROOM),
			.len = htole32(VSOCK_ROOM),
			.flags = htole16(VRING_DESC_F_WRITE),
		};
	set_up_pci(rx);
	set_up_pci(tx);
	tx->common->device_status = status | VIRTIO_CONFIG_S_DRIVER_OK;
	offer(rx);
}

void attack_vsock(int config, struct bar bar, unsigned int count)
{
	struct rings rx, tx;

	rings_init_pci(&rx, config, bar);
	rings_init_pci(&tx, config, bar);
	tx.queue = 1;
	rx.sound = true;
	tx.sound = true;
	start_vsock(&rx, &tx);
	for (unsigned int i = 0; i < count; i += QUEUE_SIZE) {
		for (unsigned int j = 0; j < QUEUE_SIZE; j++)
			fill_packet(&tx, j);
		offer(&tx);
		notify_queue(&tx);
		if (!exchange(&rx, &tx)) {
			tx.broken++;
			start_vsock(&rx, &tx);
		}
	}
	tx.common->device_status = 0;
	printf("broken=%u\nanswered=%u\n", tx.broken, tx.answered);
}

void greet(unsigned int port)
{
	const struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_HOST,
		.svm_port = port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 ||
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) ||
	    write(fd, "hello", 5) != 5)
		err(1, "greet port %u", port);
	close(fd);
}
