/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm top: what the user's VMs do, again and again. Each view is the
 * difference of two samples that were taken over the control sockets.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/client.h>
#include <lkvm/commands.h>
#include <lkvm/describe.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/terminal.h>
#include <lkvm/top.h>
#include <lkvm/vm.h>

#define SECOND_NS 1000000000ULL
#define CTRL_C 0x03

struct top_options {
	struct client_choice choice;
	uint64_t interval; /* seconds */
	bool once;
	bool json;
};

#define FIELD(name) offsetof(struct top_options, name)

const struct option_desc top_options[] = {
	CLIENT_OPTIONS(top_options),
	{ OPTION_UINT, 'i', "interval", "SECONDS",
	  "from one view to the next (default: 2)", .offset = FIELD(interval),
	  .min = 1, .max = 3600 },
	{ OPTION_FLAG, 0, "once", NULL, "print one view, of one interval",
	  .offset = FIELD(once) },
	{ OPTION_FLAG, 0, "json", NULL, "with --once: as a JSON array",
	  .offset = FIELD(json) },
	{ .kind = OPTION_END },
};

/* All of it is the main thread's. */
struct top {
	const struct top_options *options;
	struct client_set set;
	json_t *before; /* the last sample; owned */
	json_t *view; /* that is shown; owned */
	struct loop *loop;
	struct terminal *terminal;
	struct loop_source timer;
	unsigned int rows, cols; /* of the terminal */
};

/* ---- samples ------------------------------------------------------------- */

/* x-lkvm-info, with "status", "balloon" (if there is one), "stats", "at". */
static int sample_one(struct client *c, void *opaque)
{
	json_t *status = NULL;
	json_t *balloon = NULL;
	json_t *stats = NULL;
	int err;

	(void)opaque;
	err = client_execute(c, "x-lkvm-info", NULL, &c->result);
	if (!err)
		err = client_execute(c, "query-status", NULL, &status);
	if (!err)
		err = client_execute(c, "x-lkvm-stats", NULL, &stats);
	if (!err) {
		json_object_set_new(c->result, "at",
				    json_integer((json_int_t)now_ns()));
		json_object_set_new(c->result, "name", describe_text(c->name));
		json_object_set(c->result, "status",
				json_object_get(status, "status"));
		json_object_set(c->result, "stats", stats);
		/* Without a balloon it refuses. */
		if (!client_execute(c, "x-lkvm-balloon-stats", NULL, &balloon))
			json_object_set(c->result, "balloon",
					json_object_get(balloon, "actual"));
	}
	json_decref(status);
	json_decref(stats);
	json_decref(balloon);
	return err;
}

/*
 * An array with an object for each VM: what sample_one() left, or just the
 * name and how it fares. The samples leave the set.
 */
static json_t *take_samples(struct client_set *set, bool all)
{
	json_t *list = json_array();

	for (size_t i = 0; i < set->count; i++) {
		struct client *c = &set->clients[i];
		const char *state = client_is_gone(c) ? "gone" : "unresponsive";

		if (!c->err) {
			json_array_append_new(list, c->result);
		} else {
			json_decref(c->result);
			if (!all || !client_is_gone(c))
				json_array_append_new(
					list, json_pack("{s:o, s:s}", "name",
							describe_text(c->name),
							"status", state));
		}
		c->result = NULL;
	}
	return list;
}

static json_t *sample(struct top *top)
{
	bool all = top->options->choice.all;

	if (all) {
		client_set_release(&top->set);
		if (client_set_all(&top->set))
			return json_array();
	}
	client_set_glance(&top->set);
	client_set_run(&top->set, sample_one, NULL);
	return take_samples(&top->set, all);
}

static const json_t *find_same(const json_t *list, const json_t *vm)
{
	json_t *other;
	size_t i;

	json_array_foreach(list, i, other)
		if (json_equal(json_object_get(other, "name"),
			       json_object_get(vm, "name")) &&
		    json_equal(json_object_get(other, "pid"),
			       json_object_get(vm, "pid")))
			return other;
	return NULL;
}

/* Make @vm, a sample, a line of the view: rates since the sample @before. */
static void add_rates(json_t *vm, const json_t *before)
{
	json_int_t ns = json_integer_value(json_object_get(vm, "at")) -
			json_integer_value(json_object_get(before, "at"));
	const json_t *stats = json_object_get(vm, "stats");
	json_t *rates;

	if (!stats)
		return;
	rates = top_rates(json_object_get(before, "stats"), stats,
			  ns > 0 ? (double)ns / 1e9 : 1);
	json_object_update(vm, rates);
	json_decref(rates);
	json_object_del(vm, "stats");
	json_object_del(vm, "at");
}

/* Sample, and make the view of what has happened since the last sample. */
static void refresh(struct top *top)
{
	json_t *now = sample(top);
	json_t *view = json_array();
	json_t *vm;
	size_t i;

	json_array_foreach(now, i, vm) {
		json_t *line = json_copy(vm);

		add_rates(line, find_same(top->before, vm));
		json_array_append_new(view, line);
	}
	json_decref(top->before);
	json_decref(top->view);
	top->before = now;
	top->view = view;
}

/* ---- the screen ---------------------------------------------------------- */

/* From the upper left corner, over what was there. */
static void draw(struct top *top)
{
	unsigned int rows = top->rows ? top->rows : 24;
	char *text = NULL;
	char *line, *end;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	fprintf(out, "lkvm top: %zu VMs, each %u s; q quits\n",
		json_array_size(top->view),
		(unsigned int)top->options->interval);
	/* The first line is ours, the last one is the cursor's. */
	top_draw(top->view, rows > 3 ? rows - 2 : 1,
		 top->cols ? top->cols - 1 : 79, out);
	fclose(out);
	terminal_print(top->terminal, "\033[H", 3);
	for (line = text; (end = strchr(line, '\n')); line = end + 1) {
		terminal_print(top->terminal, line, (size_t)(end - line));
		terminal_print(top->terminal, "\033[K\n", 4);
	}
	terminal_print(top->terminal, "\033[J", 3);
	free(text);
}

static void on_timer(void *opaque, uint32_t events)
{
	struct top *top = opaque;
	uint64_t expirations;

	(void)events;
	(void)!read(top->timer.fd, &expirations, sizeof(expirations));
	refresh(top);
	draw(top);
	timer_arm(top->timer.fd, top->options->interval * SECOND_NS);
}

static size_t on_keys(void *opaque, const void *data, size_t len)
{
	struct top *top = opaque;

	if (memchr(data, 'q', len) || memchr(data, CTRL_C, len))
		loop_stop(top->loop);
	return len;
}

static void on_resize(void *opaque, uint16_t cols, uint16_t rows)
{
	struct top *top = opaque;

	top->cols = cols;
	top->rows = rows;
	/* All anew: lines may have moved. */
	terminal_print(top->terminal, "\033[H\033[J", 6);
	draw(top);
}

static void on_writable(void *opaque)
{
	(void)opaque;
}

static const struct chardev_frontend_ops frontend = {
	.receive = on_keys,
	.writable = on_writable,
	.resized = on_resize,
};

/* Returns 0 or -errno, after the terminal is as it was before. */
static int watch(struct top *top)
{
	const struct terminal_callbacks callbacks = { 0 };
	struct chardev *screen;
	int err;

	err = loop_create(&top->loop);
	if (err)
		return err;
	err = terminal_create(top->loop, &callbacks, &top->terminal);
	if (err)
		goto destroy_loop;
	top->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	err = top->timer.fd < 0 ? -errno : 0;
	if (err)
		goto destroy_terminal;
	top->timer.ready = on_timer;
	top->timer.opaque = top;
	screen = terminal_chardev(top->terminal);
	screen->frontend = &frontend;
	screen->opaque = top;
	err = loop_add(top->loop, &top->timer, EPOLLIN);
	if (!err)
		err = terminal_start(top->terminal);
	/* A first look soon, whatever the interval. */
	timer_arm(top->timer.fd, SECOND_NS);
	if (!err)
		err = loop_run(top->loop);
	loop_del(top->loop, &top->timer);
	close(top->timer.fd);
destroy_terminal:
	terminal_destroy(top->terminal);
destroy_loop:
	loop_destroy(top->loop);
	return err;
}

/* ---- the command --------------------------------------------------------- */

static int run_top(struct top *top)
{
	bool all = top->options->choice.all;
	int err;

	refresh(top);
	if (!all && client_set_report(&top->set, false))
		return STATUS_LKVM_FAILED;
	if (top->options->once) {
		sleep((unsigned int)top->options->interval);
		refresh(top);
		if (top->options->json)
			client_print_json(top->view);
		else
			top_draw(top->view, 0, 0, stdout);
		return STATUS_OK;
	}
	err = watch(top);
	if (!err)
		return STATUS_OK;
	log_err("top", "cannot watch the terminal: %s", strerror(-err));
	return STATUS_LKVM_FAILED;
}

static bool check(const struct top_options *options)
{
	if (options->json && !options->once)
		log_err("top", "--json needs --once");
	else if (!options->once &&
		 (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)))
		log_err("top", "top needs a terminal (--once does not)");
	else
		return true;
	return false;
}

int command_top(int argc, char **argv)
{
	struct top_options options = {
		.choice.all_by_default = true,
		.interval = 2,
	};
	struct top top = { .options = &options };
	int status;

	if (!client_begin(top_options, argc, argv, &options, &options.choice,
			  &top.set, &status))
		return status;
	status = check(&options) ? run_top(&top) : STATUS_LKVM_FAILED;
	json_decref(top.before);
	json_decref(top.view);
	client_set_release(&top.set);
	return status;
}
