/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The numbers of `lkvm top`, from counters to rates to lines of text. See
 * top.h.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/top.h>
#include <lkvm/util.h>

/* Columns of the names of VMs, vCPUs and devices. */
#define NAME_WIDTH 16

/* ---- rates --------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text);

	return len >= strlen(end) && !strcmp(text + len - strlen(end), end);
}

/* A state, or a mean: not what counts up. */
static bool is_gauge(const char *what)
{
	return ends_with(what, "-us") || !strncmp(what, "guest-", 6) ||
	       !strcmp(what, "target-bytes") || !strcmp(what, "actual-bytes");
}

/* "pio serial0" is one device's part of "pio". */
static bool is_part(const char *what)
{
	return strchr(what, ' ') != NULL;
}

static double rate_of(const json_t *before, const char *what, const json_t *now,
		      double seconds)
{
	const json_t *old = json_object_get(before, what);
	json_int_t delta;

	if (!json_is_integer(old) || !json_is_integer(now))
		return 0;
	delta = json_integer_value(now) - json_integer_value(old);
	return delta > 0 ? (double)delta / seconds : 0;
}

/* Add the rates of one vCPU or device to @rates; returns their sum. */
static double add_rates(json_t *rates, const json_t *before, json_t *now,
			double seconds)
{
	double total = 0;
	const char *what;
	json_t *count;

	json_object_foreach(now, what, count) {
		double rate = 0;

		if (!is_part(what) && !is_gauge(what))
			rate = rate_of(before, what, count, seconds);
		if (rate > 0)
			json_object_set_new(rates, what, json_real(rate));
		total += rate;
	}
	return total;
}

json_t *top_rates(const json_t *before, const json_t *now, double seconds)
{
	json_t *vcpus = json_object();
	json_t *devices = json_object();
	double exits = 0;
	const char *who;
	json_t *row;

	json_object_foreach((json_t *)now, who, row) {
		const json_t *old = json_object_get(before, who);
		json_t *rates = json_object();
		double total;

		if (strncmp(who, "vcpu", 4) != 0) {
			json_object_set_new(devices, who, rates);
			add_rates(rates, old, row, seconds);
			continue;
		}
		json_object_set_new(vcpus, who, rates);
		/* Before its parts, as it is shown. */
		json_object_set_new(rates, "exits", json_real(0));
		total = add_rates(rates, old, row, seconds);
		json_object_set_new(rates, "exits", json_real(total));
		exits += total;
	}
	return json_pack("{s:f, s:o, s:o}", "exits", exits, "vcpus", vcpus,
			 "devices", devices);
}

/* ---- text ---------------------------------------------------------------- */

struct number_text {
	char text[16];
};

/* At most four digits, and a unit of powers of @base above the first. */
static struct number_text short_number(double value, double base)
{
	static const char units[] = " KMGTPE";
	struct number_text out;
	unsigned int unit = 0;

	while (value >= 9999.5 && units[unit + 1]) {
		value /= base;
		unit++;
	}
	snprintf(out.text, sizeof(out.text), "%.0f%.*s", value, unit != 0,
		 units + unit);
	return out;
}

/* Where lines go, until there are enough. */
struct screen {
	FILE *out;
	unsigned int rows, cols; /* 0: no end */
	unsigned int row;
};

static void print_line(struct screen *s, const char *line)
{
	size_t len = strlen(line);

	if (s->rows && s->row >= s->rows)
		return;
	s->row++;
	if (s->cols && len > s->cols)
		len = s->cols;
	/* A name is the user's own, but no reason to upset the terminal. */
	for (size_t i = 0; i < len; i++)
		fputc((unsigned char)line[i] < ' ' ? '?' : line[i], s->out);
	fputc('\n', s->out);
}

static struct number_text bytes_of(const json_t *vm, const char *key)
{
	const json_t *value = json_object_get(vm, key);

	if (!json_is_integer(value))
		return (struct number_text) { "-" };
	return short_number((double)json_integer_value(value), 1024);
}

static const char *text_of(const json_t *vm, const char *key)
{
	const char *value = json_string_value(json_object_get(vm, key));

	return value ? value : "-";
}

static void draw_vm(struct screen *s, const json_t *vm)
{
	json_int_t cpus = json_integer_value(json_object_get(vm, "cpus"));
	double exits = json_number_value(json_object_get(vm, "exits"));
	char line[256];

	snprintf(line, sizeof(line),
		 "%-*s %-14s %4" JSON_INTEGER_FORMAT " %8s %8s %8s %9s",
		 NAME_WIDTH, text_of(vm, "name"), text_of(vm, "status"), cpus,
		 bytes_of(vm, "memory").text, bytes_of(vm, "resident").text,
		 bytes_of(vm, "balloon").text, short_number(exits, 1000).text);
	print_line(s, line);
}

/* A vCPU or a device: "  vda  reads 12 read-bytes 48K". */
static void draw_row(struct screen *s, const char *who, json_t *rates)
{
	const char *what;
	char line[512];
	json_t *rate;
	size_t len;

	len = (size_t)snprintf(line, sizeof(line), "  %-*s", NAME_WIDTH - 2,
			       who);
	json_object_foreach(rates, what, rate) {
		double base = ends_with(what, "bytes") ? 1024 : 1000;

		if (len >= sizeof(line))
			break;
		len += (size_t)snprintf(
			line + len, sizeof(line) - len, " %s %s", what,
			short_number(json_number_value(rate), base).text);
	}
	print_line(s, line);
}

void top_draw(const json_t *vms, unsigned int rows, unsigned int cols,
	      FILE *out)
{
	struct screen s = { .out = out, .rows = rows, .cols = cols };
	const char *who;
	json_t *rates;
	char line[256];
	json_t *vm;
	size_t i;

	snprintf(line, sizeof(line), "%-*s %-14s %4s %8s %8s %8s %9s",
		 NAME_WIDTH, "NAME", "STATE", "CPUS", "MEMORY", "RESIDENT",
		 "BALLOON", "EXITS/S");
	print_line(&s, line);
	json_array_foreach(vms, i, vm) {
		draw_vm(&s, vm);
		json_object_foreach(json_object_get(vm, "vcpus"), who, rates) {
			draw_row(&s, who, rates);
		}
		json_object_foreach(json_object_get(vm, "devices"), who,
				    rates) {
			if (json_object_size(rates))
				draw_row(&s, who, rates);
		}
	}
}
