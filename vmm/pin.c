/* SPDX-License-Identifier: GPL-2.0 */
/* The list of --pin, and what it means: see pin.h. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/log.h>
#include <lkvm/pin.h>
#include <lkvm/util.h>

static int bad_item(const char *item, const char *why)
{
	log_err("options", "--pin: bad item '%s': %s", item, why);
	return -EINVAL;
}

/* "VCPU=CPU", which is modified. */
static int parse_item(char *item, const cpu_set_t *allowed, unsigned int vcpus,
		      int *pins)
{
	char *equals = strchr(item, '=');
	uint64_t vcpu = 0;
	uint64_t cpu = 0;
	int err = -EINVAL;

	if (equals) {
		*equals = '\0';
		err = parse_uint(item, 0, UINT64_MAX, &vcpu) ?:
			      parse_uint(equals + 1, 0, UINT64_MAX, &cpu);
		*equals = '=';
	}
	if (err)
		return bad_item(item, "use VCPU=CPU, two numbers");
	if (vcpu >= vcpus)
		return bad_item(item,
				"the guest has no such vCPU (see --cpus)");
	if (pins[vcpu] >= 0)
		return bad_item(item, "this vCPU has a CPU already");
	if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, allowed))
		return bad_item(item, "the host has no such CPU for us (see "
				      "taskset -cp $$)");
	pins[vcpu] = (int)cpu;
	return 0;
}

int pin_parse(const char *list, unsigned int vcpus, int *pins)
{
	char *copy = strdup(list);
	cpu_set_t allowed;
	int err = 0;

	if (!copy)
		return -ENOMEM;
	CPU_ZERO(&allowed);
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (unsigned int i = 0; i < vcpus; i++)
		pins[i] = -1;
	for (char *item = copy, *next; item && !err; item = next) {
		next = strchr(item, ',');
		if (next)
			*next++ = '\0';
		err = parse_item(item, &allowed, vcpus, pins);
	}
	free(copy);
	return err;
}

int pin_thread(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}
