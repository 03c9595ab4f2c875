/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests of the control socket: a VM without vCPUs, whose only devices are
 * those that a test adds, and whose console's guest is the test.
 */
#ifndef TESTS_UNIT_CONTROL_H
#define TESTS_UNIT_CONTROL_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/console-hub.h>
#include <lkvm/control-parts.h>
#include <lkvm/event.h>
#include <lkvm/virtio.h>
#include <lkvm/vm.h>

struct control_fixture {
	struct vm_config config;
	struct vm vm;
	unsigned int pressed;
	unsigned int quiesced;
	struct device device; /* of a type that is nothing in particular */
	bool negotiated;
};

static inline void press(void *opaque)
{
	((struct control_fixture *)opaque)->pressed++;
}

static inline void quiesce(struct device *device)
{
	container_of(device, struct control_fixture, device)->quiesced++;
}

static inline void resume(struct device *device)
{
	container_of(device, struct control_fixture, device)->quiesced--;
}

static inline void give_stats(struct device *device, struct stats_sink *sink)
{
	stats_count(sink, device->name, "things", 7);
	stats_count(sink, device->name, "most", UINT64_MAX);
}

static const struct device_type some_type = {
	.name = "some",
	.quiesce = quiesce,
	.resume = resume,
	.stats = give_stats,
};

/* Running, and with events and a console; without a socket. */
static inline void fixture_init(struct control_fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->config.name = "test";
	f->config.kernel = "kernel";
	f->config.events_fd = -1;
	f->vm.config = &f->config;
	f->vm.run_state = VM_RUNNING;
	f->device.type = &some_type;
	strcpy(f->device.name, "some0");
	f->vm.machine.devices = &f->device;
	f->vm.machine.power_button = press;
	f->vm.machine.power_button_opaque = f;
	f->negotiated = true;
	memory_init(&f->vm.machine.memory, -1);
	pthread_mutex_init(&f->vm.lock, NULL);
	pthread_cond_init(&f->vm.changed, NULL);
	assert_int_equal(loop_create(&f->vm.machine.loop), 0);
	assert_int_equal(console_hub_create(f->vm.machine.loop, NULL, NULL,
					    &f->vm.console),
			 0);
	assert_int_equal(events_create(&f->vm), 0);
}

static inline void fixture_release(struct control_fixture *f)
{
	events_destroy(&f->vm);
	console_hub_destroy(f->vm.console);
	loop_destroy(f->vm.machine.loop);
	memory_release(&f->vm.machine.memory);
	pthread_cond_destroy(&f->vm.changed);
	pthread_mutex_destroy(&f->vm.lock);
}

#endif
