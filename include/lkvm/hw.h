/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The platform devices of hw/. Each is created from one struct resource: the
 * config that its create() takes.
 */
#ifndef LKVM_HW_H
#define LKVM_HW_H

#include <lkvm/device.h>

extern const struct device_type serial_type; /* 16550A */
extern const struct device_type rtc_type; /* MC146818 */
extern const struct device_type i8042_type;
extern const struct device_type power_type;
extern const struct device_type pvpanic_type;
extern const struct device_type debug_exit_type;
extern const struct device_type boot_timer_type;

/*
 * Registers of the power device, from its resource's base. A kernel without
 * an ACPI driver for them never finds them; ACPI's FADT and DSDT name them.
 */
#define POWER_REG_SLEEP_CONTROL 0 /* ACPI 6.4, 4.8.3.7; byte */
#define POWER_REG_SLEEP_STATUS 1 /* byte */
#define POWER_REG_RESET 2 /* POWER_RESET_VALUE resets; byte */
#define POWER_REG_EVENT 3 /* read: pending events, and clears them; byte */
#define POWER_REG_BYTES 4

#define POWER_RESET_VALUE 1
#define POWER_SLP_TYP_S5 5
#define POWER_EVENT_BUTTON 0x01

/* Where the clock keeps the century, in BCD; ACPI's FADT names the place. */
#define RTC_CENTURY 0x32

#endif
