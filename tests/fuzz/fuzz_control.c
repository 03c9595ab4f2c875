/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libFuzzer target: the input's first byte says into pieces of which size the
 * rest is cut; that is what a client sends to the control socket. Values must
 * end in the same places however it is cut; each value gets one reply, of the
 * right form; and the VM (which has neither vCPUs nor disks) is then in one of
 * the states that commands can bring it to.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/console-hub.h>
#include <lkvm/control-parts.h>
#include <lkvm/event.h>
#include <lkvm/json-frame.h>
#include <lkvm/log.h>
#include <lkvm/vm.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool true_or_dead)
{
	if (!true_or_dead)
		abort();
}

static void press(void *opaque)
{
	(void)opaque;
}

static void start(struct vm *vm, const struct vm_config *config,
		  struct device *device)
{
	vm->config = config;
	vm->run_state = VM_RUNNING;
	vm->machine.devices = device;
	vm->machine.power_button = press;
	memory_init(&vm->machine.memory, -1);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	must(!loop_create(&vm->machine.loop));
	must(!console_hub_create(vm->machine.loop, NULL, NULL, &vm->console));
	must(!events_create(vm));
}

static void stop(struct vm *vm)
{
	events_destroy(vm);
	console_hub_destroy(vm->console);
	loop_destroy(vm->machine.loop);
	memory_release(&vm->machine.memory);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
}

static void execute(struct vm *vm, bool *negotiated, const uint8_t *data,
		    size_t len)
{
	/* Of its own size, so that a byte too much is noticed. */
	char *message = malloc(len);
	json_t *reply, *error;
	char *text;

	memcpy(message, data, len);
	reply = control_execute(vm, NULL, negotiated, message, len);
	must(json_is_object(reply));
	error = json_object_get(reply, "error");
	must(!error != !json_object_get(reply, "return"));
	must(!error || (json_is_string(json_object_get(error, "class")) &&
			json_is_string(json_object_get(error, "desc"))));
	text = json_dumps(reply, JSON_COMPACT);
	must(text);
	free(text);
	json_decref(reply);
	free(message);
	events_deliver(vm);
}

/* The end of the value that begins at @from, when pieces are @step bytes. */
static size_t next_end(const uint8_t *data, size_t size, size_t from,
		       size_t step, enum json_frame_state *state)
{
	struct json_frame frame = { 0 };
	size_t at = from;

	*state = JSON_FRAME_NONE;
	while (at < size) {
		size_t len = MIN(step, size - at);
		size_t used = 0;

		*state = json_frame_feed(&frame, (const char *)data + at, len,
					 &used);
		must(used && used <= len);
		at += used;
		must(frame.depth <= JSON_FRAME_MAX_DEPTH + 1);
		if (*state == JSON_FRAME_WHOLE || *state == JSON_FRAME_DEEP)
			return at;
		must(used == len);
	}
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct vm_config config = { .name = "fuzz", .kernel = "kernel" };
	static const struct device_type type = { .name = "some" };
	struct device device = { .type = &type, .name = "some0" };
	enum json_frame_state state = JSON_FRAME_WHOLE;
	struct vm *vm = calloc(1, sizeof(*vm));
	bool negotiated = true;
	size_t step, from = 0;

	if (!vm || !size)
		goto out;
	log_set_level(LOG_LEVEL_ERROR);
	step = *data + 1;
	data++;
	size--;
	start(vm, &config, &device);
	while (state == JSON_FRAME_WHOLE && from < size) {
		enum json_frame_state whole;
		size_t end = next_end(data, size, from, step, &state);

		must(next_end(data, size, from, size, &whole) == end);
		must(whole == state);
		if (state == JSON_FRAME_WHOLE)
			execute(vm, &negotiated, data + from, end - from);
		from = end;
	}
	must(vm->run_state == VM_RUNNING || vm->run_state == VM_PAUSED);
	must(vm->end == VM_END_NONE || vm->end == VM_END_QUIT ||
	     vm->end == VM_END_USER_RESET);
	stop(vm);
out:
	free(vm);
	return 0;
}
