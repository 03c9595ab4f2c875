/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The keyboard controller of a PC/AT (Intel 8042, as in IBM's Technical
 * Reference) with neither keyboard nor mouse behind it.
 *
 * It exists for its reset line, which `reboot=k` and much old software pull,
 * and for quick answers to a driver's probe: what is sent to the keyboard
 * fails at once with the controller's own time-out report.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <lkvm/hw.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

#define I8042_STATUS_OFFSET 4 /* port 0x64 */

#define I8042_STATUS_OBF 0x01 /* output buffer full */
#define I8042_STATUS_SYSTEM 0x04 /* self test passed */
#define I8042_STATUS_COMMAND 0x08 /* last write was to the command port */
#define I8042_STATUS_UNLOCKED 0x10
#define I8042_STATUS_TIMEOUT 0x40

#define I8042_MODE_KBD_IRQ 0x01
#define I8042_MODE_SYSTEM 0x04
#define I8042_MODE_KBD_OFF 0x10
#define I8042_MODE_AUX_OFF 0x20

#define I8042_READ_MODE 0x20
#define I8042_WRITE_MODE 0x60
#define I8042_AUX_TEST 0xa9
#define I8042_SELF_TEST 0xaa
#define I8042_KBD_TEST 0xab
#define I8042_KBD_DISABLE 0xad
#define I8042_KBD_ENABLE 0xae
#define I8042_READ_INPUT 0xc0
#define I8042_READ_OUTPUT 0xd0
#define I8042_WRITE_OUTPUT 0xd1
#define I8042_KBD_LOOP 0xd2
#define I8042_AUX_LOOP 0xd3
#define I8042_PULSE 0xf0 /* low nibble: output lines that stay high */

#define I8042_OUTPUT_RESET 0x01 /* active low */
#define I8042_OUTPUT_A20 0x02
#define I8042_SELF_TEST_OK 0x55
#define I8042_TEST_OK 0x00
#define I8042_TEST_CLOCK_LOW 0x01 /* nothing is plugged in */
#define I8042_INPUT_UNLOCKED 0x80
#define I8042_KBD_SILENT 0xfe /* with STATUS_TIMEOUT: nobody answered */

struct i8042 {
	struct device device;
	struct machine *machine;
	struct bus_region data;
	struct bus_region control;
	uint32_t gsi;
	pthread_mutex_t lock; /* guards the rest */
	uint8_t status; /* OBF, COMMAND and TIMEOUT */
	uint8_t out;
	uint8_t mode; /* "command byte" */
	uint8_t output_port;
	uint8_t command; /* waits for its parameter, or 0 */
};

static void i8042_update_irq_locked(struct i8042 *i8042)
{
	if (i8042->gsi != RESOURCE_NO_GSI)
		irq_set_line(&i8042->machine->irq, i8042->gsi, 0,
			     (i8042->status & I8042_STATUS_OBF) &&
				     (i8042->mode & I8042_MODE_KBD_IRQ));
}

static void i8042_answer_locked(struct i8042 *i8042, uint8_t value)
{
	i8042->out = value;
	i8042->status &= ~I8042_STATUS_TIMEOUT;
	i8042->status |= I8042_STATUS_OBF;
}

static void i8042_set_output_locked(struct i8042 *i8042, uint8_t value)
{
	/* A20 is stored alone: KVM's memory has no such gate. */
	i8042->output_port = value;
	if (!(value & I8042_OUTPUT_RESET))
		i8042->machine->request(i8042->machine, MACHINE_RESET, 0);
}

static void i8042_command_locked(struct i8042 *i8042, uint8_t command)
{
	i8042->status |= I8042_STATUS_COMMAND;
	i8042->command = 0;
	switch (command) {
	case I8042_READ_MODE:
		i8042_answer_locked(i8042, i8042->mode);
		break;
	case I8042_WRITE_MODE:
	case I8042_WRITE_OUTPUT:
	case I8042_KBD_LOOP:
	case I8042_AUX_LOOP:
		i8042->command = command;
		break;
	case I8042_SELF_TEST:
		i8042_answer_locked(i8042, I8042_SELF_TEST_OK);
		break;
	case I8042_KBD_TEST:
		i8042_answer_locked(i8042, I8042_TEST_OK);
		break;
	case I8042_AUX_TEST:
		i8042_answer_locked(i8042, I8042_TEST_CLOCK_LOW);
		break;
	case I8042_KBD_DISABLE:
		i8042->mode |= I8042_MODE_KBD_OFF;
		break;
	case I8042_KBD_ENABLE:
		i8042->mode &= ~I8042_MODE_KBD_OFF;
		break;
	case I8042_READ_INPUT:
		i8042_answer_locked(i8042, I8042_INPUT_UNLOCKED);
		break;
	case I8042_READ_OUTPUT:
		i8042_answer_locked(i8042, i8042->output_port);
		break;
	default:
		if ((command & I8042_PULSE) == I8042_PULSE &&
		    !(command & I8042_OUTPUT_RESET))
			i8042->machine->request(i8042->machine, MACHINE_RESET,
						0);
		break;
	}
}

static void i8042_data_locked(struct i8042 *i8042, uint8_t value)
{
	uint8_t command = i8042->command;

	i8042->status &= ~I8042_STATUS_COMMAND;
	i8042->command = 0;
	switch (command) {
	case I8042_WRITE_MODE:
		i8042->mode = value;
		break;
	case I8042_WRITE_OUTPUT:
		i8042_set_output_locked(i8042, value);
		break;
	case I8042_KBD_LOOP:
	case I8042_AUX_LOOP:
		/* Not marked as the mouse's: there is no port for one. */
		i8042_answer_locked(i8042, value);
		break;
	default: /* to the keyboard */
		i8042_answer_locked(i8042, I8042_KBD_SILENT);
		i8042->status |= I8042_STATUS_TIMEOUT;
		break;
	}
}

static uint64_t i8042_read_data(void *opaque, uint64_t offset, unsigned int len)
{
	struct i8042 *i8042 = opaque;
	uint8_t value;

	(void)offset;
	(void)len;
	pthread_mutex_lock(&i8042->lock);
	value = i8042->out;
	i8042->status &= ~(I8042_STATUS_OBF | I8042_STATUS_TIMEOUT);
	i8042_update_irq_locked(i8042);
	pthread_mutex_unlock(&i8042->lock);
	return value;
}

static void i8042_write_data(void *opaque, uint64_t offset, uint64_t value,
			     unsigned int len)
{
	struct i8042 *i8042 = opaque;

	(void)offset;
	(void)len;
	pthread_mutex_lock(&i8042->lock);
	i8042_data_locked(i8042, value);
	i8042_update_irq_locked(i8042);
	pthread_mutex_unlock(&i8042->lock);
}

/* The input buffer is never full: every write has been dealt with. */
static uint64_t i8042_read_status(void *opaque, uint64_t offset,
				  unsigned int len)
{
	struct i8042 *i8042 = opaque;
	uint8_t value;

	(void)offset;
	(void)len;
	pthread_mutex_lock(&i8042->lock);
	value = i8042->status | I8042_STATUS_UNLOCKED;
	if (i8042->mode & I8042_MODE_SYSTEM)
		value |= I8042_STATUS_SYSTEM;
	pthread_mutex_unlock(&i8042->lock);
	return value;
}

static void i8042_write_command(void *opaque, uint64_t offset, uint64_t value,
				unsigned int len)
{
	struct i8042 *i8042 = opaque;

	(void)offset;
	(void)len;
	pthread_mutex_lock(&i8042->lock);
	i8042_command_locked(i8042, value);
	i8042_update_irq_locked(i8042);
	pthread_mutex_unlock(&i8042->lock);
}

static const struct bus_ops i8042_data_ops = {
	.read = i8042_read_data,
	.write = i8042_write_data,
};

static const struct bus_ops i8042_control_ops = {
	.read = i8042_read_status,
	.write = i8042_write_command,
};

static const struct state_field i8042_fields[] = {
	STATE_FIELD(struct i8042, status, 1, 0),
	STATE_FIELD(struct i8042, out, 1, 0),
	STATE_FIELD(struct i8042, mode, 1,
		    I8042_MODE_SYSTEM | I8042_MODE_AUX_OFF),
	STATE_FIELD(struct i8042, output_port, 1,
		    I8042_OUTPUT_RESET | I8042_OUTPUT_A20),
	STATE_FIELD(struct i8042, command, 1, 0),
	STATE_END,
};

static const struct state_table i8042_state = {
	.name = "i8042",
	.version = 1,
	.fields = i8042_fields,
};

static void i8042_reset(struct device *device)
{
	struct i8042 *i8042 = container_of(device, struct i8042, device);

	pthread_mutex_lock(&i8042->lock);
	state_reset(&i8042_state, i8042);
	i8042_update_irq_locked(i8042);
	pthread_mutex_unlock(&i8042->lock);
}

static void i8042_destroy(struct device *device)
{
	struct i8042 *i8042 = container_of(device, struct i8042, device);

	bus_unmap(&i8042->control);
	bus_unmap(&i8042->data);
	pthread_mutex_destroy(&i8042->lock);
	free(i8042);
}

static int i8042_create(struct machine *machine, const void *config,
			struct device **out)
{
	const struct resource *resource = config;
	struct resource port = *resource;
	struct i8042 *i8042;
	int err;

	i8042 = calloc(1, sizeof(*i8042));
	if (!i8042)
		return -ENOMEM;
	i8042->device.type = &i8042_type;
	snprintf(i8042->device.name, sizeof(i8042->device.name), "i8042");
	i8042->machine = machine;
	i8042->gsi = resource->gsi;
	i8042->data = (struct bus_region) {
		.name = i8042->device.name,
		.ops = &i8042_data_ops,
		.opaque = i8042,
	};
	i8042->control = i8042->data;
	i8042->control.ops = &i8042_control_ops;
	pthread_mutex_init(&i8042->lock, NULL);
	state_reset(&i8042_state, i8042);
	/* Two ports: what lies between them is not the controller's. */
	port.len = 1;
	err = machine_map(machine, &port, &i8042->data);
	if (err)
		goto free_i8042;
	port.base += I8042_STATUS_OFFSET;
	err = machine_map(machine, &port, &i8042->control);
	if (err)
		goto unmap_data;
	*out = &i8042->device;
	return 0;

unmap_data:
	bus_unmap(&i8042->data);
free_i8042:
	pthread_mutex_destroy(&i8042->lock);
	free(i8042);
	return err;
}

const struct device_type i8042_type = {
	.name = "i8042",
	.create = i8042_create,
	.destroy = i8042_destroy,
	.reset = i8042_reset,
	.state = &i8042_state,
};
