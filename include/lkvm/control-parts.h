/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the files of vmm/control*.c: a command's description, a call of one,
 * and what commands may do to the client that gave it.
 *
 * All of it is the main thread's.
 */
#ifndef LKVM_CONTROL_PARTS_H
#define LKVM_CONTROL_PARTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/control.h>

struct control_client;
struct device;
struct vm;

/* ---- commands ------------------------------------------------------------ */

/* Error classes that QMP's clients know. */
#define CONTROL_GENERIC "GenericError"
#define CONTROL_NO_COMMAND "CommandNotFound"
#define CONTROL_NO_DEVICE "DeviceNotFound"
#define CONTROL_NOT_ACTIVE "DeviceNotActive"

#define CONTROL_ERROR_BYTES 256

/* What an argument may be. Integers are from 0 to INT64_MAX. */
enum control_type {
	CONTROL_STRING,
	CONTROL_INTEGER,
	CONTROL_BOOLEAN,
	CONTROL_ARRAY,
};

enum control_need { CONTROL_REQUIRED, CONTROL_OPTIONAL };

struct control_arg {
	const char *name; /* NULL: ends the list */
	enum control_type type;
	enum control_need need;
};

/* One command that a client gave. */
struct control_call {
	struct vm *vm;
	struct control_client *client; /* NULL: nobody's connection (tests) */
	json_t *args; /* an object that has been checked, or NULL: empty */
	json_t *result; /* a reference; NULL: an empty object */
	const char *error_class; /* NULL: it worked */
	char error[CONTROL_ERROR_BYTES];
};

struct control_command {
	const char *name;
	const struct control_arg *args; /* NULL: none */
	/* Sets call->result, or calls control_fail() and changes nothing. */
	void (*run)(struct control_call *call);
};

/* The commands by subject, each ended by a NULL name. */
extern const struct control_command control_vm_commands[];
extern const struct control_command control_device_commands[];
extern const struct control_command control_block_commands[];
extern const struct control_command control_console_commands[];

/* NULL-ended: all of these. */
extern const struct control_command *const control_commands[];

/* The call fails, for this reason. The first one counts. */
void control_fail(struct control_call *call, const char *class, const char *fmt,
		  ...) __attribute__((format(printf, 3, 4)));

/* An argument of the call; @absent, or NULL, where it was left out. */
const char *control_string(const struct control_call *call, const char *name);
uint64_t control_integer(const struct control_call *call, const char *name,
			 uint64_t absent);
bool control_boolean(const struct control_call *call, const char *name);

/* The VM's device called @name; NULL after control_fail(). */
struct device *control_find_device(struct control_call *call, const char *name);

/*
 * Run the command @message, whole bytes of one JSON value. @negotiated: the
 * client has said qmp_capabilities, or says it now. Returns the reply, a
 * reference that the caller drops; NULL when memory is short.
 */
json_t *control_execute(struct vm *vm, struct control_client *client,
			bool *negotiated, const char *message, size_t len);

/* A reply to what cannot be made out. */
json_t *control_error_reply(const char *class, const char *text);

/* The reply to query-version. */
json_t *control_version(void);

/* What the server says first. */
json_t *control_greeting(void);

/* A number in JSON, which has no more than 63 bits of them. */
json_t *control_number(uint64_t value);

/* ---- clients ------------------------------------------------------------- */

/* What those hear that are not let in. */
#define CONTROL_TOO_MANY "too many clients are connected (32 at most)"
_Static_assert(CONTROL_MAX_CLIENTS == 32, "as CONTROL_TOO_MANY says");

/* There are too many clients: this one gets no further than its greeting. */
bool control_client_is_refused(const struct control_client *client);

/*
 * Make the connection a console, from the end of the reply on. Returns 0 or
 * -ENOMEM. *@backlog: bytes that follow the reply at once.
 */
int control_client_console(struct control_client *client, size_t *backlog);

#endif
