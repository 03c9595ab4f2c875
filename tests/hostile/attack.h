/* SPDX-License-Identifier: GPL-2.0 */
/* What the two halves of the attacker share: see attack.c. */
#ifndef TESTS_HOSTILE_ATTACK_H
#define TESTS_HOSTILE_ATTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096
#define QUEUE_SIZE 16

struct virtio_pci_common_cfg;

struct bar {
	volatile uint8_t *base;
	size_t len;
};

struct rings {
	bool packed;
	volatile uint8_t *mmio; /* registers; NULL: on PCI, with the next two */
	volatile struct virtio_pci_common_cfg *common;
	volatile uint16_t *notify;
	uint16_t notify_port; /* the same by ports; 0: there are none */
	uint32_t notify_multiplier;
	unsigned int queue;
	bool sound; /* the rings lie where they should */
	uint8_t *pages[4]; /* descriptors, avail ring, used ring, buffer */
	uint64_t physical[4];
	unsigned int broken; /* DEVICE_NEEDS_RESET was seen so often */
	unsigned int answered; /* the used index moved so often */
};

/* The next number by chance; one that bounds break at; a buffer's length. */
uint32_t draw(void);
uint32_t draw_value(void);
uint32_t draw_length(void);

/* Pages for a queue of the device on PCI that has these files. */
void rings_init_pci(struct rings *rings, int config, struct bar bar);

/*
 * Negotiation (3.1.1) up to the queues, which returns the status then; and one
 * queue, with an error now and then if it is not to be sound.
 */
uint8_t negotiate_pci(struct rings *rings);
void set_up_pci(struct rings *rings);

/* Of a queue on PCI, @offset bytes from queue 0's: by memory or by ports. */
void notify_pci(struct rings *rings, uint32_t offset, uint16_t value);

uint8_t device_status(struct rings *rings);

/* attack-vsock.c */
void attack_vsock(int config, struct bar bar, unsigned int count);
void greet(unsigned int port);

#endif
