/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which of the host's CPUs each vCPU's thread runs on.
 */
#ifndef LKVM_PIN_H
#define LKVM_PIN_H

/*
 * Parse @list, "VCPU=CPU,...", into @pins, one element for each of @vcpus:
 * the host's CPU, or -1 where the list says nothing. CPUs are those that this
 * process may use. Returns 0, or -EINVAL after a message.
 */
int pin_parse(const char *list, unsigned int vcpus, int *pins);

/* Bind the calling thread to @cpu (-1: to none). Returns 0 or -errno. */
int pin_thread(int cpu);

#endif
