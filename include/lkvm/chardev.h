/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Host end of a byte device (a UART, a console port).
 *
 * The device calls write() with what the guest sent, on any thread; it never
 * blocks, and returns the bytes that were taken. When fewer than asked, the
 * device keeps the rest and tries again after its writable() was called.
 * In the other direction the host calls receive() with input; it returns the
 * bytes that the device had room for, and the host keeps the rest until the
 * device calls input_wanted().
 *
 * The host's calls all come from one thread, with no lock of its own held.
 */
#ifndef LKVM_CHARDEV_H
#define LKVM_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chardev;

struct chardev_frontend_ops {
	size_t (*receive)(void *opaque, const void *data, size_t len);
	void (*writable)(void *opaque);
	/*
	 * Somebody has come to the host's end, or has gone: everything that
	 * was to be received from there has been. Optional.
	 */
	void (*connected)(void *opaque, bool connected);
	/* The screen at the host's end has this size (now). Optional. */
	void (*resized)(void *opaque, uint16_t cols, uint16_t rows);
	/*
	 * A break condition on the line, and then the byte @key. Returns 0, or
	 * -EBUSY: the guest has not taken the last one. Optional.
	 */
	int (*send_break)(void *opaque, uint8_t key);
	/* There will be no more input. Optional. */
	void (*ended)(void *opaque);
	/* All that was written has left this process. Optional. */
	void (*written)(void *opaque);
	/* Nobody can read: what was written is discarded. Optional. */
	void (*lost)(void *opaque);
};

struct chardev_ops {
	size_t (*write)(struct chardev *chardev, const void *data, size_t len);
	void (*input_wanted)(struct chardev *chardev);
};

/* Embedded in the host end. The device that takes it sets the last two. */
struct chardev {
	const struct chardev_ops *ops;
	bool connected; /* at the beginning; later, connected() tells */
	const struct chardev_frontend_ops *frontend; /* NULL: nobody yet */
	void *opaque; /* of the frontend */
};

#endif
