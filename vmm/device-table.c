/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every device type, in the order in which instances are created; they are
 * destroyed in reverse. The host bridge comes before what is plugged into it.
 */
#include <stddef.h>

#include <lkvm/hw.h>
#include <lkvm/pci.h>
#include <lkvm/virtio.h>
#include <lkvm/vm.h>

/* clang-format off */
const struct device_type *const device_table[] = {
	&power_type,
	&rtc_type,
	&i8042_type,
	&serial_type,
	&pvpanic_type,
	&debug_exit_type,
	&boot_timer_type,
	&pci_host_type,
	&virtio_blk_type,
	&virtio_console_type,
	&virtio_9p_type,
	&virtio_net_type,
	&virtio_rng_type,
	&virtio_balloon_type,
	&virtio_vsock_type,
	NULL,
};
