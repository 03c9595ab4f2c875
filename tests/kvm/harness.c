/* SPDX-License-Identifier: GPL-2.0 */
/* Tiny guests and the test device that watches them: see harness.h. */
#include "harness.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

uint64_t pattern(uint64_t addr, unsigned int len)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < len; i++)
		value |= (uint64_t)(uint8_t)((addr + i) * 37 + 11) << (8 * i);
	return value;
}

/* ---- the agent's port --------------------------------------------------- */

static bool next_op(struct guest *guest)
{
	if (guest->next_op)
		return guest->next_op(guest, &guest->op);
	if (guest->ops_done == guest->nr_ops)
		return false;
	guest->op = guest->ops[guest->ops_done++];
	return true;
}

static uint32_t agent_fetch_locked(struct guest *guest)
{
	unsigned int at = guest->fetch_at++ % 4;

	if (at == 0) {
		guest->reply_at = 0;
		if (!next_op(guest))
			guest->op.kind = AGENT_HALT;
		return guest->op.kind;
	}
	if (at == 1)
		return guest->op.addr;
	return (uint32_t)(guest->op.value >> (at == 2 ? 0 : 32));
}

static void agent_reply_locked(struct guest *guest, uint64_t value)
{
	if (guest->reply_at++ == 0)
		guest->op.result = value;
	else
		guest->op.result |= value << 32;
	if (guest->ops_done)
		guest->ops[guest->ops_done - 1].result = guest->op.result;
}

/* ---- the test device ---------------------------------------------------- */

static void log_access_locked(struct guest *guest, bool write, uint64_t addr,
			      unsigned int len, uint64_t value)
{
	if (guest->nr_log < GUEST_LOG_MAX)
		guest->log[guest->nr_log] = (struct access) {
			.write = write,
			.addr = addr,
			.len = len,
			.value = value,
		};
	guest->nr_log++;
}

static uint64_t device_read(struct guest *guest, uint64_t addr,
			    unsigned int len)
{
	uint64_t value;

	/* The bus promises widths of 1, 2, 4 and 8. */
	if (!is_power_of_two(len))
		return 0;
	pthread_mutex_lock(&guest->lock);
	if (addr == AGENT_FETCH) {
		value = agent_fetch_locked(guest);
	} else if (guest->read) {
		value = guest->read(guest, addr, len);
	} else {
		value = pattern(addr, len);
		log_access_locked(guest, false, addr, len, value);
	}
	pthread_cond_broadcast(&guest->changed);
	pthread_mutex_unlock(&guest->lock);
	return value;
}

static void device_write(struct guest *guest, uint64_t addr, uint64_t value,
			 unsigned int len)
{
	if (!is_power_of_two(len))
		return;
	pthread_mutex_lock(&guest->lock);
	if (addr == AGENT_REPLY)
		agent_reply_locked(guest, value);
	else if (guest->write)
		guest->write(guest, addr, value, len);
	else
		log_access_locked(guest, true, addr, len, value);
	pthread_cond_broadcast(&guest->changed);
	pthread_mutex_unlock(&guest->lock);
}

static uint64_t region_read(void *opaque, uint64_t offset, unsigned int len)
{
	struct test_region *region = opaque;

	return device_read(region->guest, region->bus_region.base + offset,
			   len);
}

static void region_write(void *opaque, uint64_t offset, uint64_t value,
			 unsigned int len)
{
	struct test_region *region = opaque;

	device_write(region->guest, region->bus_region.base + offset, value,
		     len);
}

static const struct bus_ops region_ops = {
	.read = region_read,
	.write = region_write,
};

static void plug(struct guest *guest, struct bus *bus,
		 struct test_region *region, const char *name, uint64_t base,
		 uint64_t len)
{
	region->guest = guest;
	region->bus_region = (struct bus_region) {
		.name = name,
		.ops = &region_ops,
		.opaque = region,
		.base = base,
		.len = len,
	};
	assert_int_equal(bus_map(bus, &region->bus_region), 0);
}

/* ---- guests ------------------------------------------------------------- */

void guest_init(struct guest *guest, const char *name)
{
	const char *tests = getenv("LKVM_TESTS");

	memset(guest, 0, sizeof(*guest));
	snprintf(guest->kernel, sizeof(guest->kernel), "%s/kvm/guests/%s.elf",
		 tests ? tests : "build/tests", name);
	guest->config = (struct vm_config) {
		.kvm_path = "/dev/kvm",
		.kernel = guest->kernel,
		.cmdline = "test",
		.ram_bytes = 16 * MIB,
		.cpus = 1,
		.debug_exit = true,
		.start_ns = now_ns(),
		.virtio_transport = &virtio_pci_transport,
	};
}

void guest_create(struct guest *guest)
{
	struct machine *m;

	assert_int_equal(vm_create(&guest->config, &guest->vm), 0);
	guest->log = calloc(GUEST_LOG_MAX, sizeof(*guest->log));
	assert_non_null(guest->log);
	pthread_mutex_init(&guest->lock, NULL);
	pthread_cond_init(&guest->changed, NULL);
	m = &guest->vm->machine;
	plug(guest, &m->pio, &guest->ports, "test-ports", TEST_PORTS,
	     TEST_PORTS_BYTES);
	plug(guest, &m->mmio, &guest->window, "test-window", TEST_WINDOW,
	     TEST_WINDOW_BYTES);
	plug(guest, &m->mmio, &guest->page, "test-page", TEST_PAGE,
	     TEST_PAGE_BYTES);
}

void guest_destroy(struct guest *guest)
{
	vm_destroy(guest->vm);
	pthread_cond_destroy(&guest->changed);
	pthread_mutex_destroy(&guest->lock);
	free(guest->log);
}

int guest_run_once(struct guest *guest)
{
	int status;

	guest_create(guest);
	status = vm_run(guest->vm);
	guest_destroy(guest);
	return status;
}

int agent_run(struct guest *guest, struct agent_op *ops, unsigned int count)
{
	guest->ops = ops;
	guest->nr_ops = count;
	guest->ops_done = 0;
	return vm_run(guest->vm);
}

void guest_wait_until(struct guest *guest, bool (*done)(struct guest *guest))
{
	pthread_mutex_lock(&guest->lock);
	while (!done(guest))
		pthread_cond_wait(&guest->changed, &guest->lock);
	pthread_mutex_unlock(&guest->lock);
}

void assert_access(const struct guest *guest, unsigned int i, bool write,
		   uint64_t addr, unsigned int len, uint64_t value)
{
	const struct access *access = &guest->log[i];

	assert_true(i < MIN(guest->nr_log, GUEST_LOG_MAX));
	assert_int_equal(access->write, write);
	assert_int_equal(access->addr, addr);
	assert_int_equal(access->len, len);
	assert_int_equal(access->value, value);
}

/* ---- the process -------------------------------------------------------- */

void capture_begin(struct capture *capture, int fd)
{
	fflush(NULL);
	capture->fd = fd;
	capture->file = memfd_create("capture", MFD_CLOEXEC);
	assert_true(capture->file >= 0);
	capture->saved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	assert_true(capture->saved >= 0);
	assert_int_equal(dup2(capture->file, fd), fd);
}

char *capture_end(struct capture *capture)
{
	off_t size;
	char *text;

	fflush(NULL);
	dup2(capture->saved, capture->fd);
	close(capture->saved);
	size = lseek(capture->file, 0, SEEK_END);
	text = calloc(1, (size_t)size + 1);
	assert_non_null(text);
	assert_int_equal(pread_full(capture->file, text, (size_t)size, 0), 0);
	close(capture->file);
	return text;
}

int kvm_test_setup(void **state)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	/* The console is not the developer's terminal. */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		return -1;
	close(null);
	/* More vCPUs than CPUs is what many tests are for: no warning. */
	log_set_level(LOG_LEVEL_ERROR);
	alarm(TEST_TIME_LIMIT);
	return 0;
}

int kvm_test_teardown(void **state)
{
	(void)state;
	alarm(0);
	return 0;
}
