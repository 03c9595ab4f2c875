/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The power registers of a hardware-reduced ACPI machine: sleep control and
 * status (ACPI 6.4, 4.8.3.7), the reset register (4.8.3.6), and the events
 * that a generic event device (5.6.9) reports. hw.h has their layout.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <lkvm/hw.h>
#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

#define POWER_SLP_TYP(control) ((control) >> 2 & 7)
#define POWER_SLP_EN 0x20

struct power {
	struct device device;
	struct machine *machine;
	struct bus_region region;
	uint32_t gsi;
	struct ratelimit limit;
	pthread_mutex_t lock; /* guards the rest */
	uint8_t sleep_control;
	uint8_t events; /* pending */
};

/* Level-triggered: high until the guest has read the events. */
static void power_update_irq_locked(struct power *power)
{
	if (power->gsi != RESOURCE_NO_GSI)
		irq_set_line(&power->machine->irq, power->gsi, 0,
			     power->events);
}

static uint8_t power_read_locked(struct power *power, uint64_t reg)
{
	uint8_t value = 0;

	switch (reg) {
	case POWER_REG_SLEEP_CONTROL:
		return power->sleep_control;
	case POWER_REG_EVENT:
		value = power->events;
		power->events = 0;
		power_update_irq_locked(power);
		return value;
	default: /* WAK_STS never: S5 is not left that way */
		return 0;
	}
}

static void power_write_locked(struct power *power, uint64_t reg, uint8_t value)
{
	struct machine *machine = power->machine;

	switch (reg) {
	case POWER_REG_SLEEP_CONTROL:
		/* SLP_EN is write-only and reads as zero. */
		power->sleep_control = value & ~POWER_SLP_EN;
		if (!(value & POWER_SLP_EN))
			break;
		if (POWER_SLP_TYP(value) == POWER_SLP_TYP_S5)
			machine->request(machine, MACHINE_POWEROFF, 0);
		else
			log_warn_limited(&power->limit, "power",
					 "no sleep state has type %d",
					 POWER_SLP_TYP(value));
		break;
	case POWER_REG_RESET:
		if (value == POWER_RESET_VALUE)
			machine->request(machine, MACHINE_RESET, 0);
		break;
	}
}

static uint64_t power_read(void *opaque, uint64_t offset, unsigned int len)
{
	struct power *power = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&power->lock);
	for (unsigned int i = 0; i < len; i++)
		value |= (uint64_t)power_read_locked(power, offset + i)
			 << (8 * i);
	pthread_mutex_unlock(&power->lock);
	return value;
}

static void power_write(void *opaque, uint64_t offset, uint64_t value,
			unsigned int len)
{
	struct power *power = opaque;

	pthread_mutex_lock(&power->lock);
	for (unsigned int i = 0; i < len; i++)
		power_write_locked(power, offset + i, value >> (8 * i));
	pthread_mutex_unlock(&power->lock);
}

static const struct bus_ops power_bus_ops = {
	.read = power_read,
	.write = power_write,
};

static void power_press_button(void *opaque)
{
	struct power *power = opaque;

	pthread_mutex_lock(&power->lock);
	power->events |= POWER_EVENT_BUTTON;
	power_update_irq_locked(power);
	pthread_mutex_unlock(&power->lock);
}

static const struct state_field power_fields[] = {
	STATE_FIELD(struct power, sleep_control, 1, 0),
	STATE_FIELD(struct power, events, 1, 0),
	STATE_END,
};

static const struct state_table power_state = {
	.name = "power",
	.version = 1,
	.fields = power_fields,
};

static void power_reset(struct device *device)
{
	struct power *power = container_of(device, struct power, device);

	pthread_mutex_lock(&power->lock);
	state_reset(&power_state, power);
	power_update_irq_locked(power);
	pthread_mutex_unlock(&power->lock);
}

static void power_destroy(struct device *device)
{
	struct power *power = container_of(device, struct power, device);

	power->machine->power_button = NULL;
	bus_unmap(&power->region);
	pthread_mutex_destroy(&power->lock);
	free(power);
}

static int power_create(struct machine *machine, const void *config,
			struct device **out)
{
	const struct resource *resource = config;
	struct power *power;
	int err;

	power = calloc(1, sizeof(*power));
	if (!power)
		return -ENOMEM;
	power->device.type = &power_type;
	snprintf(power->device.name, sizeof(power->device.name), "power");
	power->machine = machine;
	power->gsi = resource->gsi;
	power->region = (struct bus_region) {
		.name = power->device.name,
		.ops = &power_bus_ops,
		.opaque = power,
	};
	pthread_mutex_init(&power->lock, NULL);
	state_reset(&power_state, power);
	err = machine_map(machine, resource, &power->region);
	if (err) {
		pthread_mutex_destroy(&power->lock);
		free(power);
		return err;
	}
	machine->power_button = power_press_button;
	machine->power_button_opaque = power;
	*out = &power->device;
	return 0;
}

const struct device_type power_type = {
	.name = "power",
	.create = power_create,
	.destroy = power_destroy,
	.reset = power_reset,
	.state = &power_state,
};
