/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A writer of ACPI Machine Language (ACPI 6.4, chapter 20), as much of it as
 * x86/acpi.c needs.
 *
 * Terms are written in the order of the grammar: after aml_name() comes its
 * value, after aml_op(AML_STORE) come its operands. Whatever has a length of
 * its own (scope, device, method, package, ...) is open until aml_end().
 *
 * The first write past the buffer's end, or a name that is none, makes the
 * writer fail for good: later calls do nothing and aml_finish() says so.
 * Plain memory: one thread at a time.
 */
#ifndef LKVM_AML_H
#define LKVM_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_MAX_DEPTH 8

struct aml {
	uint8_t *data; /* not owned */
	size_t size;
	size_t len;
	int error; /* 0 or the first -errno; sticky */
	unsigned int depth;
	size_t open[AML_MAX_DEPTH]; /* where a PkgLength is missing */
};

/* Opcodes that need nothing but their operands after them. */
enum aml_opcode {
	AML_NULL_TARGET = 0x00, /* the result is not stored */
	AML_ARG0 = 0x68,
	AML_ARG3 = 0x6b,
	AML_AND = 0x7b, /* two operands, target */
	AML_OR = 0x7d, /* two operands, target */
	AML_NOTIFY = 0x86, /* object, value */
	AML_CREATE_DWORD_FIELD = 0x8a, /* buffer, byte offset, name */
	AML_EQUAL = 0x93, /* two operands */
	AML_RETURN = 0xa4, /* value */
};

enum aml_space { AML_SYSTEM_MEMORY = 0, AML_SYSTEM_IO = 1 };

/* How an interrupt is signalled (6.4.2.1, 6.4.3.6). */
enum aml_irq {
	AML_IRQ_EDGE_SHARED,
	AML_IRQ_LEVEL,
	AML_IRQ_LEVEL_LOW_SHARED, /* as PCI's */
};

/* Write into @size bytes at @data, which outlive the writer. */
void aml_init(struct aml *aml, void *data, size_t size);

/*
 * All is written: sets *@len. Returns 0, -ENOSPC (buffer, nesting), -EINVAL
 * (a malformed name, a value out of its field's range, something left open).
 */
int aml_finish(const struct aml *aml, size_t *len);

/* Close what was opened last, and give it its PkgLength. */
void aml_end(struct aml *aml);

/*
 * Data. A path is "NAME", "\\NAME" or several names with dots between;
 * names shorter than four characters are filled up with '_'.
 */
void aml_path(struct aml *aml, const char *path);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0A08" */
void aml_buffer(struct aml *aml, const void *data, uint8_t len);
void aml_op(struct aml *aml, enum aml_opcode op);

/* Named objects. The value of an aml_name() follows it. */
void aml_name(struct aml *aml, const char *path);
void aml_name_integer(struct aml *aml, const char *path, uint64_t value);
void aml_op_region(struct aml *aml, const char *path, enum aml_space space,
		   uint64_t base, uint64_t len);

/* Open until aml_end(). */
void aml_scope(struct aml *aml, const char *path);
void aml_device(struct aml *aml, const char *path);
void aml_method(struct aml *aml, const char *path, unsigned int args);
void aml_package(struct aml *aml, uint8_t elements);
void aml_if(struct aml *aml); /* the condition follows */
void aml_field(struct aml *aml, const char *region);

/* Inside aml_field(): the next @bits of the region. */
void aml_field_unit(struct aml *aml, const char *name, uint32_t bits);

/* A resource template (6.4), open until aml_resources_end(). */
void aml_resources(struct aml *aml);
void aml_resources_end(struct aml *aml);

/*
 * Descriptors inside it. What does not fit a descriptor's fields makes the
 * writer fail: ports above 16 bits (aml_io()), @irq above 15, memory above
 * 4 GiB.
 */
void aml_io(struct aml *aml, uint64_t base, uint64_t len);
void aml_isa_irq(struct aml *aml, uint32_t irq, enum aml_irq how);
void aml_interrupt(struct aml *aml, uint32_t gsi, enum aml_irq how);
void aml_memory32(struct aml *aml, uint64_t base, uint64_t len);
void aml_pci_window(struct aml *aml, uint64_t base, uint64_t len);
void aml_pci_ports(struct aml *aml, uint64_t base, uint64_t len);
void aml_bus_numbers(struct aml *aml, uint16_t first, uint16_t last);

#endif
