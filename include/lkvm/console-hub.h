/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The console's hub: it sits between the device that is the console (UART 0,
 * or hvc0) and the host end that shows it (the terminal's, a stream's, or
 * none). Others can watch what the guest says, and type.
 *
 * Output goes down as it did without a hub, back-pressure included; what the
 * host end has taken is also kept in a ring, from which the main thread hands
 * it to the observers, in batches of a few milliseconds. Observers miss no
 * byte: while the ring is full of what they have not seen, the guest waits.
 * So they must not block; who is too slow for the guest drops bytes itself.
 *
 * The host end's loop is the main thread's.
 */
#ifndef LKVM_CONSOLE_HUB_H
#define LKVM_CONSOLE_HUB_H

#include <stdbool.h>
#include <stddef.h>

#include <lkvm/chardev.h>

struct console_hub;
struct loop;

/* How much of what the console said last can be had at any time. */
#define CONSOLE_TAIL 16384

/* Embedded in who watches. Both callbacks come on the main thread. */
struct console_observer {
	/* The console said this, after what came before. */
	void (*output)(void *opaque, const char *data, size_t len);
	/*
	 * There may be room again for input that console_hub_input() did not
	 * take. Optional.
	 */
	void (*input_wanted)(void *opaque);
	void *opaque;
	struct console_observer *next; /* the hub's own */
};

/*
 * @lower is the host end that shows the console and has its input; @second,
 * that of a second writer without input (terminal_output()), may be NULL. With
 * @lower NULL output is shown nowhere. They must outlive the hub. Main thread.
 * Returns 0 or -errno.
 */
int console_hub_create(struct loop *loop, struct chardev *lower,
		       struct chardev *second, struct console_hub **out);

/*
 * The devices have gone, and so have the observers. Main thread. NULL is
 * allowed.
 */
void console_hub_destroy(struct console_hub *hub);

/* The end to plug into the console, and one for a second, output-only device. */
struct chardev *console_hub_chardev(struct console_hub *hub);
struct chardev *console_hub_second(struct console_hub *hub);

/*
 * Begin and end to watch: from now on, up to now. An observer's callback may
 * end it, for any observer. Main thread.
 */
void console_hub_observe(struct console_hub *hub,
			 struct console_observer *observer);
void console_hub_unobserve(struct console_hub *hub,
			   struct console_observer *observer);

/* Let the observers see now what has been said by now. Main thread. */
void console_hub_flush(struct console_hub *hub);

/*
 * Type: returns how many bytes the guest had room for. The observers'
 * input_wanted() tells when to try the rest. Main thread.
 */
size_t console_hub_input(struct console_hub *hub, const void *data, size_t len);

/*
 * Copy the last bytes that the observers have been shown (all that was said, if
 * there are none), at most @len and at most CONSOLE_TAIL, to @out; returns how
 * many they are. An observer that begins with these misses none and sees none
 * twice. Main thread.
 */
size_t console_hub_tail(struct console_hub *hub, char *out, size_t len);

#endif
