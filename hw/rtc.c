/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The real-time clock and CMOS RAM of a PC: Motorola's MC146818 (register and
 * section names are its data sheet's), with the century at 0x32 where ACPI's
 * FADT says it is.
 *
 * Time is the host's UTC clock plus an offset that the guest makes when it
 * sets the clock. The alarm interrupt works; the periodic and the update-ended
 * interrupt do not exist (their enable bits are stored).
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/hw.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>

#define RTC_SECONDS 0x00
#define RTC_SECONDS_ALARM 0x01
#define RTC_MINUTES 0x02
#define RTC_MINUTES_ALARM 0x03
#define RTC_HOURS 0x04
#define RTC_HOURS_ALARM 0x05
#define RTC_WEEKDAY 0x06
#define RTC_DAY 0x07
#define RTC_MONTH 0x08
#define RTC_YEAR 0x09
#define RTC_REG_A 0x0a
#define RTC_REG_B 0x0b
#define RTC_REG_C 0x0c
#define RTC_REG_D 0x0d

#define RTC_A_UIP 0x80
#define RTC_A_RESET 0x26 /* 32768 Hz time base, 1024 Hz periodic rate */
#define RTC_B_SET 0x80
#define RTC_B_AIE 0x20
#define RTC_B_BINARY 0x04
#define RTC_B_24H 0x02
#define RTC_C_IRQF 0x80
#define RTC_C_AF 0x20
#define RTC_D_VRT 0x80

#define RTC_PM 0x80
#define RTC_ALARM_ANY 0xc0 /* "don't care" codes: 0xc0..0xff */
#define RTC_UIP_NS 244000 /* UIP precedes the update by this much */
#define RTC_RAM 128

struct rtc {
	struct device device;
	struct machine *machine;
	struct bus_region region;
	uint32_t gsi;
	struct loop_source timer; /* the alarm's, CLOCK_REALTIME */
	pthread_mutex_t lock; /* guards the rest */
	uint8_t index;
	int64_t offset; /* seconds that the guest is ahead of the host */
	/* By register number. Time is in here only while B.SET halts it. */
	uint8_t ram[RTC_RAM];
};

static const uint8_t rtc_time_regs[] = {
	RTC_SECONDS, RTC_MINUTES, RTC_HOURS, RTC_WEEKDAY,
	RTC_DAY,     RTC_MONTH,	  RTC_YEAR,  RTC_CENTURY,
};

static bool rtc_is_time(uint8_t reg)
{
	return memchr(rtc_time_regs, reg, sizeof(rtc_time_regs));
}

static uint8_t rtc_encode(const struct rtc *rtc, int value)
{
	if (rtc->ram[RTC_REG_B] & RTC_B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 << 4 | value % 10);
}

static int rtc_decode(const struct rtc *rtc, uint8_t value)
{
	if (rtc->ram[RTC_REG_B] & RTC_B_BINARY)
		return value;
	return (value >> 4) * 10 + (value & 0x0f);
}

static uint8_t rtc_encode_hour(const struct rtc *rtc, int hour)
{
	if (rtc->ram[RTC_REG_B] & RTC_B_24H)
		return rtc_encode(rtc, hour);
	return rtc_encode(rtc, (hour + 11) % 12 + 1) |
	       (hour >= 12 ? RTC_PM : 0);
}

static int rtc_decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->ram[RTC_REG_B] & RTC_B_24H)
		return rtc_decode(rtc, value);
	return rtc_decode(rtc, value & ~RTC_PM) % 12 +
	       (value & RTC_PM ? 12 : 0);
}

/* The guest's time now; *@nsec is common to host and guest. */
static time_t rtc_now_locked(const struct rtc *rtc, long *nsec)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*nsec = now.tv_nsec;
	return now.tv_sec + rtc->offset;
}

/* Bring the time registers up to date, unless the guest has halted them. */
static void rtc_latch_time_locked(struct rtc *rtc)
{
	struct tm tm;
	time_t now;
	long nsec;
	int year;

	if (rtc->ram[RTC_REG_B] & RTC_B_SET)
		return;
	now = rtc_now_locked(rtc, &nsec);
	gmtime_r(&now, &tm);
	year = tm.tm_year + 1900;
	rtc->ram[RTC_SECONDS] = rtc_encode(rtc, tm.tm_sec);
	rtc->ram[RTC_MINUTES] = rtc_encode(rtc, tm.tm_min);
	rtc->ram[RTC_HOURS] = rtc_encode_hour(rtc, tm.tm_hour);
	rtc->ram[RTC_WEEKDAY] = rtc_encode(rtc, tm.tm_wday + 1);
	rtc->ram[RTC_DAY] = rtc_encode(rtc, tm.tm_mday);
	rtc->ram[RTC_MONTH] = rtc_encode(rtc, tm.tm_mon + 1);
	rtc->ram[RTC_YEAR] = rtc_encode(rtc, year % 100);
	rtc->ram[RTC_CENTURY] = rtc_encode(rtc, year / 100);
}

/*
 * Time goes on from what the registers say. A guest may have written anything:
 * timegm() carries what is out of range, and all of it fits.
 */
static void rtc_commit_time_locked(struct rtc *rtc)
{
	struct tm tm = {
		.tm_sec = rtc_decode(rtc, rtc->ram[RTC_SECONDS]),
		.tm_min = rtc_decode(rtc, rtc->ram[RTC_MINUTES]),
		.tm_hour = rtc_decode_hour(rtc, rtc->ram[RTC_HOURS]),
		.tm_mday = rtc_decode(rtc, rtc->ram[RTC_DAY]),
		.tm_mon = rtc_decode(rtc, rtc->ram[RTC_MONTH]) - 1,
		.tm_year = rtc_decode(rtc, rtc->ram[RTC_CENTURY]) * 100 +
			   rtc_decode(rtc, rtc->ram[RTC_YEAR]) - 1900,
	};

	rtc->offset = timegm(&tm) - time(NULL);
}

static void rtc_update_irq_locked(struct rtc *rtc)
{
	bool level = (rtc->ram[RTC_REG_B] & RTC_B_AIE) &&
		     (rtc->ram[RTC_REG_C] & RTC_C_AF);

	if (level)
		rtc->ram[RTC_REG_C] |= RTC_C_IRQF;
	if (rtc->gsi != RESOURCE_NO_GSI)
		irq_set_line(&rtc->machine->irq, rtc->gsi, 0, level);
}

static bool rtc_alarm_matches(uint8_t alarm, int wanted, int value)
{
	return alarm >= RTC_ALARM_ANY || wanted == value;
}

/* Find the next second after @now that the alarm names, if it names any. */
static bool rtc_next_alarm_locked(const struct rtc *rtc, time_t now,
				  time_t *out)
{
	const uint8_t *ram = rtc->ram;
	int sec = rtc_decode(rtc, ram[RTC_SECONDS_ALARM]);
	int min = rtc_decode(rtc, ram[RTC_MINUTES_ALARM]);
	int hour = rtc_decode_hour(rtc, ram[RTC_HOURS_ALARM]);
	struct tm tm;

	/* With a second that never comes a guest could make us step through
	 * those of a whole day; minutes and hours are few. */
	if (ram[RTC_SECONDS_ALARM] < RTC_ALARM_ANY && sec > 59)
		return false;
	for (time_t at = now + 1; at <= now + 24 * 3600;) {
		gmtime_r(&at, &tm);
		if (!rtc_alarm_matches(ram[RTC_HOURS_ALARM], hour,
				       tm.tm_hour)) {
			at += 3600 - tm.tm_min * 60 - tm.tm_sec;
		} else if (!rtc_alarm_matches(ram[RTC_MINUTES_ALARM], min,
					      tm.tm_min)) {
			at += 60 - tm.tm_sec;
		} else if (!rtc_alarm_matches(ram[RTC_SECONDS_ALARM], sec,
					      tm.tm_sec)) {
			at++;
		} else {
			*out = at;
			return true;
		}
	}
	return false;
}

static void rtc_arm_locked(struct rtc *rtc)
{
	struct itimerspec timer = { 0 }; /* disarms */
	uint8_t b = rtc->ram[RTC_REG_B];
	time_t at;
	long nsec;

	if ((b & RTC_B_AIE) && !(b & RTC_B_SET) &&
	    rtc_next_alarm_locked(rtc, rtc_now_locked(rtc, &nsec), &at))
		timer.it_value.tv_sec = at - rtc->offset;
	timerfd_settime(rtc->timer.fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

/* The loop's thread. */
static void rtc_alarm(void *opaque, uint32_t events)
{
	struct rtc *rtc = opaque;
	uint64_t count;

	(void)events;
	pthread_mutex_lock(&rtc->lock);
	/* Nothing to read: the guest has just changed its mind. */
	if (read(rtc->timer.fd, &count, sizeof(count)) == sizeof(count)) {
		rtc->ram[RTC_REG_C] |= RTC_C_AF;
		rtc_update_irq_locked(rtc);
		rtc_arm_locked(rtc);
	}
	pthread_mutex_unlock(&rtc->lock);
}

static uint8_t rtc_read_data_locked(struct rtc *rtc)
{
	uint8_t reg = rtc->index;
	uint8_t value;
	long nsec;

	if (rtc_is_time(reg))
		rtc_latch_time_locked(rtc);
	value = rtc->ram[reg];
	if (reg == RTC_REG_A) {
		rtc_now_locked(rtc, &nsec);
		if (!(rtc->ram[RTC_REG_B] & RTC_B_SET) &&
		    nsec >= 1000000000 - RTC_UIP_NS)
			value |= RTC_A_UIP;
	} else if (reg == RTC_REG_C) {
		rtc->ram[RTC_REG_C] = 0;
		rtc_update_irq_locked(rtc);
	}
	return value;
}

static void rtc_write_b_locked(struct rtc *rtc, uint8_t value)
{
	bool was_halted = rtc->ram[RTC_REG_B] & RTC_B_SET;

	rtc_latch_time_locked(rtc);
	rtc->ram[RTC_REG_B] = value;
	if (was_halted && !(value & RTC_B_SET))
		rtc_commit_time_locked(rtc);
	rtc_update_irq_locked(rtc);
}

static void rtc_write_data_locked(struct rtc *rtc, uint8_t value)
{
	uint8_t reg = rtc->index;

	switch (reg) {
	case RTC_REG_A:
		rtc->ram[reg] = value & ~RTC_A_UIP;
		return;
	case RTC_REG_B:
		rtc_write_b_locked(rtc, value);
		break;
	case RTC_REG_C:
	case RTC_REG_D:
		return; /* read-only */
	default:
		if (rtc_is_time(reg))
			rtc_latch_time_locked(rtc);
		rtc->ram[reg] = value;
		if (rtc_is_time(reg) && !(rtc->ram[RTC_REG_B] & RTC_B_SET))
			rtc_commit_time_locked(rtc);
		break;
	}
	/* B, the time or the alarm may have changed. */
	if (reg <= RTC_REG_B || reg == RTC_CENTURY)
		rtc_arm_locked(rtc);
}

/* Port 0 selects, port 1 is the data; wider accesses are split. */
static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned int len)
{
	struct rtc *rtc = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&rtc->lock);
	for (unsigned int i = 0; i < len; i++) {
		/* The index cannot be read on a PC. */
		uint8_t byte = offset + i ? rtc_read_data_locked(rtc) : 0xff;

		value |= (uint64_t)byte << (8 * i);
	}
	pthread_mutex_unlock(&rtc->lock);
	return value;
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value,
		      unsigned int len)
{
	struct rtc *rtc = opaque;

	pthread_mutex_lock(&rtc->lock);
	for (unsigned int i = 0; i < len; i++) {
		uint8_t byte = value >> (8 * i);

		/* Bit 7 masks the NMI, of which there is none. */
		if (offset + i == 0)
			rtc->index = byte & (RTC_RAM - 1);
		else
			rtc_write_data_locked(rtc, byte);
	}
	pthread_mutex_unlock(&rtc->lock);
}

static const struct bus_ops rtc_bus_ops = {
	.read = rtc_read,
	.write = rtc_write,
};

static const struct state_field rtc_fields[] = {
	STATE_FIELD(struct rtc, index, 1, 0),
	STATE_FIELD(struct rtc, offset, 1, 0),
	STATE_ARRAY(struct rtc, ram, 1, 0),
	STATE_END,
};

static const struct state_table rtc_state = {
	.name = "rtc",
	.version = 1,
	.fields = rtc_fields,
};

/* What a firmware leaves: BCD, 24 hours, no interrupt. */
static void rtc_set_defaults_locked(struct rtc *rtc)
{
	rtc->index = 0;
	rtc->ram[RTC_REG_A] = RTC_A_RESET;
	rtc->ram[RTC_REG_B] = RTC_B_24H;
	rtc->ram[RTC_REG_C] = 0;
	rtc->ram[RTC_REG_D] = RTC_D_VRT;
	rtc_update_irq_locked(rtc);
	rtc_arm_locked(rtc);
}

/* The battery keeps the clock and the RAM: their table is for creation. */
static void rtc_reset(struct device *device)
{
	struct rtc *rtc = container_of(device, struct rtc, device);

	pthread_mutex_lock(&rtc->lock);
	rtc_set_defaults_locked(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static void rtc_destroy(struct device *device)
{
	struct rtc *rtc = container_of(device, struct rtc, device);

	loop_del(rtc->machine->loop, &rtc->timer);
	bus_unmap(&rtc->region);
	close(rtc->timer.fd);
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
}

static int rtc_create(struct machine *machine, const void *config,
		      struct device **out)
{
	const struct resource *resource = config;
	struct rtc *rtc;
	int err;

	rtc = calloc(1, sizeof(*rtc));
	if (!rtc)
		return -ENOMEM;
	rtc->device.type = &rtc_type;
	snprintf(rtc->device.name, sizeof(rtc->device.name), "rtc");
	rtc->machine = machine;
	rtc->gsi = resource->gsi;
	rtc->region = (struct bus_region) {
		.name = rtc->device.name,
		.ops = &rtc_bus_ops,
		.opaque = rtc,
	};
	rtc->timer = (struct loop_source) {
		.fd = timerfd_create(CLOCK_REALTIME,
				     TFD_CLOEXEC | TFD_NONBLOCK),
		.ready = rtc_alarm,
		.opaque = rtc,
	};
	if (rtc->timer.fd < 0) {
		err = -errno;
		goto free_rtc;
	}
	pthread_mutex_init(&rtc->lock, NULL);
	state_reset(&rtc_state, rtc);
	rtc_set_defaults_locked(rtc);
	err = loop_add(machine->loop, &rtc->timer, EPOLLIN);
	if (err)
		goto close_timer;
	err = machine_map(machine, resource, &rtc->region);
	if (err)
		goto forget_timer;
	*out = &rtc->device;
	return 0;

forget_timer:
	loop_del(machine->loop, &rtc->timer);
close_timer:
	pthread_mutex_destroy(&rtc->lock);
	close(rtc->timer.fd);
free_rtc:
	free(rtc);
	return err;
}

const struct device_type rtc_type = {
	.name = "rtc",
	.create = rtc_create,
	.destroy = rtc_destroy,
	.reset = rtc_reset,
	.state = &rtc_state,
};
