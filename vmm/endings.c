/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a run ends: see endings.h. The table of statuses is in lkvm(1).
 *
 * What the console said is judged in its own order, also when the judge is late:
 * each end waits until all has been read that was said before it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/console-hub.h>
#include <lkvm/console-text.h>
#include <lkvm/endings.h>
#include <lkvm/event.h>
#include <lkvm/guest-command.h>
#include <lkvm/log.h>
#include <lkvm/vm-parts.h>
#include <lkvm/vm.h>

/* How much of a hidden console is shown after a bad end. */
#define TAIL_LINES 24

/* Of --expect and --fail; the first one stands. */
enum verdict { VERDICT_NONE, VERDICT_PASSED, VERDICT_FAILED };

struct endings {
	struct vm *vm;
	struct console_observer observer;
	struct console_lines lines;
	struct loop_source timeout; /* timerfds; -1: none */
	struct loop_source grace;
	enum verdict verdict;
	bool *seen; /* which of --expect's patterns; owned */
	unsigned int unseen; /* how many were not */
	unsigned int signo; /* the first that asked for the end; 0: none */
	bool settling; /* the loop has ended; this is about what went before */
	bool panicking; /* the console has begun to tell of a panic */
	bool panicked; /* and it was one; or --on-panic=pause holds it */
};

/* ---- asking the guest to stop ---------------------------------------------- */

static void force(struct vm *vm)
{
	struct endings *e = vm->endings;

	if (e->signo)
		vm_end(vm, VM_END_SIGNAL, e->signo);
	else
		vm_end(vm, VM_END_DECIDED, 0);
}

static void on_grace_over(void *opaque, uint32_t events)
{
	struct endings *e = opaque;

	(void)events;
	loop_del(e->vm->machine.loop, &e->grace);
	log_warn("vm", "the guest does not power off: it is forced to");
	force(e->vm);
}

/* From now on nothing boots again, and nothing pauses. */
static void set_stopping(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->stopping = true;
	pthread_mutex_unlock(&vm->lock);
}

/* Of a command's guest nobody but the command would, while it runs. */
static bool nobody_listens(const struct vm *vm)
{
	return vm->command &&
	       guest_command_state(vm->command) != COMMAND_RUNNING;
}

static void ask_to_stop(struct endings *e)
{
	struct vm *vm = e->vm;
	uint64_t grace_ns = vm->config->grace_ns;

	set_stopping(vm);
	if (e->settling)
		return;
	if (!grace_ns || e->panicked || nobody_listens(vm)) {
		force(vm);
		return;
	}
	/* A paused guest would not hear it. */
	vm_user_resume(vm);
	vm_press_power_button(vm);
	timer_arm(e->grace.fd, grace_ns);
}

void endings_signal(struct vm *vm, unsigned int signo)
{
	struct endings *e = vm->endings;
	bool again, too_late;

	/* What was said before comes first. */
	console_hub_flush(vm->console);
	again = vm->stopping;
	pthread_mutex_lock(&vm->lock);
	too_late = vm->end != VM_END_NONE && !vm_goes_on_locked(vm);
	pthread_mutex_unlock(&vm->lock);
	if (too_late)
		return;
	if (!e->signo)
		e->signo = signo;
	if (again)
		force(vm);
	else
		ask_to_stop(e);
}

static void on_timeout(void *opaque, uint32_t events)
{
	struct endings *e = opaque;

	(void)events;
	loop_del(e->vm->machine.loop, &e->timeout);
	if (e->vm->stopping)
		force(e->vm);
	else
		vm_end(e->vm, VM_END_TIMEOUT, 0);
}

/* ---- what the console says ------------------------------------------------- */

static bool matches(const regex_t *regex, const char *text, bool begins,
		    bool ends)
{
	/* Where the line is cut is not where it begins or ends. */
	int flags = (begins ? 0 : REG_NOTBOL) | (ends ? 0 : REG_NOTEOL);

	return !regexec(regex, text, 0, NULL, flags);
}

static void decide(struct endings *e, enum verdict verdict)
{
	e->verdict = verdict;
	ask_to_stop(e);
}

/* In one line --fail comes first. */
static void look_for_patterns(struct endings *e, const char *text, bool begins,
			      bool ends)
{
	const struct pattern_list *expect = &e->vm->config->expect;
	const struct pattern_list *fail = &e->vm->config->fail;

	/* What was decided first stands. */
	if (e->verdict != VERDICT_NONE || e->signo)
		return;
	for (unsigned int i = 0; i < fail->count; i++)
		if (matches(&fail->pattern[i].regex, text, begins, ends)) {
			log_err("vm", "the console said what --fail names: %s",
				fail->pattern[i].text);
			decide(e, VERDICT_FAILED);
			return;
		}
	for (unsigned int i = 0; i < expect->count; i++)
		if (!e->seen[i] &&
		    matches(&expect->pattern[i].regex, text, begins, ends)) {
			e->seen[i] = true;
			e->unseen--;
		}
	if (expect->count && !e->unseen)
		decide(e, VERDICT_PASSED);
}

/* Is @message what this line is, but for the time and caller before it? */
static bool is_kernel_message(const char *text, const char *message)
{
	while (text[0] == '[') {
		text += strcspn(text, "]");
		text += strspn(text, "] ");
	}
	return !strncmp(text, message, strlen(message));
}

/*
 * The kernel's words: at the beginning of a panic, and at its end, unless it
 * boots again; that is announced (kernel/panic.c of Linux) or just happens.
 */
static void look_for_panic(struct endings *e, const char *text)
{
	if (!e->panicking)
		e->panicking =
			is_kernel_message(text, "Kernel panic - not syncing");
	else if (strstr(text, "---[ end Kernel panic") ||
		 strstr(text, "Rebooting in "))
		vm_end(e->vm, VM_END_PANIC, 0);
}

static void on_line(void *opaque, const char *text, bool begins, bool ends)
{
	struct endings *e = opaque;

	look_for_patterns(e, text, begins, ends);
	if (ends)
		look_for_panic(e, text);
}

static void on_output(void *opaque, const char *data, size_t len)
{
	struct endings *e = opaque;

	console_lines_add(&e->lines, data, len);
	/* A prompt has no newline. */
	console_lines_peek(&e->lines);
}

bool endings_panicked(const struct vm *vm)
{
	return vm->endings && vm->endings->panicked;
}

/* ---- life ------------------------------------------------------------------ */

static int make_timer(struct endings *e, struct loop_source *source,
		      void (*ready)(void *opaque, uint32_t events))
{
	*source = (struct loop_source) {
		.fd = timerfd_create(CLOCK_MONOTONIC,
				     TFD_NONBLOCK | TFD_CLOEXEC),
		.ready = ready,
		.opaque = e,
	};
	if (source->fd < 0)
		return -errno;
	return loop_add(e->vm->machine.loop, source, EPOLLIN);
}

int endings_start(struct vm *vm)
{
	struct endings *e = calloc(1, sizeof(*e));
	int err = 0;

	if (!e)
		return -ENOMEM;
	vm->endings = e;
	e->vm = vm;
	e->timeout.fd = -1;
	e->grace.fd = -1;
	e->lines.line = on_line;
	e->lines.opaque = e;
	e->unseen = vm->config->expect.count;
	e->seen = calloc(e->unseen + 1, sizeof(*e->seen));
	if (!e->seen)
		return -ENOMEM;
	err = make_timer(e, &e->grace, on_grace_over);
	if (!err && vm->config->timeout_ns)
		err = make_timer(e, &e->timeout, on_timeout);
	if (err)
		return err;
	if (vm->config->timeout_ns)
		timer_arm(e->timeout.fd, vm->config->timeout_ns);
	e->observer.output = on_output;
	e->observer.opaque = e;
	console_hub_observe(vm->console, &e->observer);
	return 0;
}

static void end_timer(struct endings *e, struct loop_source *source)
{
	if (source->fd < 0)
		return;
	loop_del(e->vm->machine.loop, source);
	close(source->fd);
}

void endings_stop(struct vm *vm)
{
	struct endings *e = vm->endings;

	if (!e)
		return;
	console_hub_unobserve(vm->console, &e->observer);
	end_timer(e, &e->timeout);
	end_timer(e, &e->grace);
	free(e->seen);
	free(e);
	vm->endings = NULL;
}

/* ---- going on -------------------------------------------------------------- */

static bool boot_again(struct vm *vm, bool resume)
{
	struct endings *e = vm->endings;

	if (vm->end == VM_END_PANIC)
		log_warn("vm", "the guest kernel panicked: booting again");
	else
		log_info("vm", "reset: booting again");
	if (vm_reset(vm)) {
		vm->end = VM_END_FAILED;
		return false;
	}
	e->panicking = false;
	e->panicked = false;
	if (resume)
		vm_resume(vm);
	return true;
}

static bool stay_paused(struct vm *vm)
{
	log_err("vm", "the guest kernel panicked: it is paused");
	vm->endings->panicked = true;
	pthread_mutex_lock(&vm->lock);
	vm->end = VM_END_NONE;
	pthread_mutex_unlock(&vm->lock);
	return true;
}

/* Tell control clients and --events why the loop ended. */
static void tell(struct vm *vm, bool goes_on, bool pause)
{
	static const struct {
		const char *reason;
		bool guest;
	} ends[] = {
		[VM_END_NONE] = { "host-error", false },
		[VM_END_POWEROFF] = { "guest-shutdown", true },
		[VM_END_RESET] = { "guest-reset", true },
		[VM_END_USER_RESET] = { "host-qmp-system-reset", false },
		[VM_END_PANIC] = { "guest-panic", true },
		[VM_END_DEBUG_EXIT] = { "guest-shutdown", true },
		[VM_END_COMMAND] = { "guest-shutdown", true },
		[VM_END_QUIT] = { "host-ui", false },
		[VM_END_SIGNAL] = { "host-signal", false },
		[VM_END_DECIDED] = { "host-verdict", false },
		[VM_END_TIMEOUT] = { "host-timeout", false },
		[VM_END_TRIPLE_FAULT] = { "guest-reset", true },
		[VM_END_KVM_ERROR] = { "host-error", false },
		[VM_END_FAILED] = { "host-error", false },
	};
	const char *reason = ends[vm->end].reason;

	if (vm->end == VM_END_QUIT && vm->end_detail == QUIT_BY_CONTROL)
		reason = "host-qmp-quit";
	if (vm->end == VM_END_PANIC)
		vm_event(vm, "GUEST_PANICKED",
			 json_pack("{s:s}", "action",
				   pause   ? "pause" :
				   goes_on ? "run" :
					     "poweroff"));
	if (pause)
		vm_event(vm, "STOP", NULL);
	else
		vm_event(vm, goes_on ? "RESET" : "SHUTDOWN",
			 json_pack("{s:b,s:s}", "guest", ends[vm->end].guest,
				   "reason", reason));
}

bool endings_go_on(struct vm *vm)
{
	struct endings *e = vm->endings;
	bool was_running = vm_is_running(vm);
	bool goes_on, pause;

	vm_pause(vm);
	e->settling = true;
	console_hub_flush(vm->console);
	e->settling = false;
	pthread_mutex_lock(&vm->lock);
	if ((vm->end == VM_END_RESET || vm->end == VM_END_TRIPLE_FAULT) &&
	    e->panicking)
		vm->end = VM_END_PANIC;
	goes_on = vm_goes_on_locked(vm);
	pause = goes_on && vm->end == VM_END_PANIC &&
		vm->config->on_panic == ON_PANIC_PAUSE;
	pthread_mutex_unlock(&vm->lock);
	tell(vm, goes_on, pause);
	if (!goes_on)
		return false;
	if (pause)
		return stay_paused(vm);
	/* A user's pause outlasts it; that of a panic does not. */
	return boot_again(vm, was_running || e->panicked);
}

/* ---- the end --------------------------------------------------------------- */

static void print_tail(struct vm *vm)
{
	char tail[CONSOLE_TAIL];
	size_t len = console_hub_tail(vm->console, tail, sizeof(tail));
	enum console_escape escape = ESCAPE_NONE;
	unsigned int lines = 0;
	size_t at = 0, kept = 0;

	/* In place, for what is kept is never longer. */
	for (size_t i = 0; i < len; i++)
		if (console_is_text(&escape, tail[i]))
			tail[kept++] = tail[i];
	while (kept && tail[kept - 1] == '\n')
		kept--;
	if (!kept)
		return;
	for (at = kept; at && lines < TAIL_LINES; at--)
		lines += tail[at - 1] == '\n';
	at += lines == TAIL_LINES;
	log_err("vm", "the console said last:");
	fprintf(stderr, "%.*s\n", (int)(kept - at), tail + at);
}

/*
 * The guest has ended, and the command has not told how it did: say so. True if
 * the command has run; then the guest's end is judged as without one, for it may
 * have been the command's work.
 */
static bool judge_under_command(struct vm *vm)
{
	const char *how = vm->end == VM_END_RESET ? "reset itself" :
						    "powered off";

	switch (guest_command_state(vm->command)) {
	case COMMAND_BOOTING:
	case COMMAND_HELLO:
		log_err("vm", "the guest %s before the command ran", how);
		print_tail(vm);
		return false;
	default:
		break;
	}
	log_warn("vm",
		 "the guest %s before the command ended, whose status is not "
		 "known",
		 how);
	return true;
}

/* Then it is no news what the guest does after that. */
static bool command_is_over(const struct vm *vm)
{
	return vm->command &&
	       guest_command_state(vm->command) == COMMAND_OVER &&
	       (vm->end == VM_END_COMMAND || vm->end == VM_END_POWEROFF ||
		vm->end == VM_END_RESET || vm->end == VM_END_PANIC ||
		vm->end == VM_END_QUIT);
}

/* What the way in which it ended means by itself. */
static int status_of_end(struct vm *vm)
{
	unsigned int detail = vm->end_detail;

	if (command_is_over(vm))
		return guest_command_status(vm->command);
	if (vm->command &&
	    (vm->end == VM_END_POWEROFF || vm->end == VM_END_RESET) &&
	    !judge_under_command(vm))
		return STATUS_LKVM_FAILED;
	switch (vm->end) {
	case VM_END_NONE:
	case VM_END_POWEROFF:
	case VM_END_USER_RESET:
	case VM_END_DECIDED:
	case VM_END_COMMAND: /* is over, see above */
		break;
	case VM_END_QUIT:
		/* A signal that came before has asked for the same. */
		if (!vm->command || vm->endings->signo)
			break;
		log_err("vm", "the command was killed with its guest");
		return STATUS_SIGNALLED + SIGKILL;
	case VM_END_RESET:
		if (vm->config->on_reset != ON_RESET_FAIL)
			break;
		log_err("vm", "the guest reset itself");
		return STATUS_RESET;
	case VM_END_PANIC:
		log_err("vm", "the guest kernel panicked");
		return STATUS_PANIC;
	case VM_END_DEBUG_EXIT:
		return (int)((detail << 1 | 1) & 0xff);
	case VM_END_SIGNAL:
		return STATUS_SIGNALLED + (int)detail;
	case VM_END_TIMEOUT:
		log_err("vm", "the time of --timeout is over");
		return STATUS_TIMEOUT;
	case VM_END_FAILED:
		return STATUS_LKVM_FAILED;
	case VM_END_TRIPLE_FAULT:
		log_err("vm", "triple fault on vCPU %u", detail);
		break;
	case VM_END_KVM_ERROR:
		log_err("vm", "KVM cannot run the guest on");
		break;
	}
	if (vm->end != VM_END_TRIPLE_FAULT && vm->end != VM_END_KVM_ERROR)
		return STATUS_OK;
	if (vm->end_dump)
		fputs(vm->end_dump, stderr);
	return STATUS_KVM_FAILED;
}

/* What was asked for, and did not come. */
static int status_without_verdict(struct endings *e, int status)
{
	const struct pattern_list *expect = &e->vm->config->expect;

	if (e->panicked)
		return STATUS_PANIC;
	if (status != STATUS_OK)
		return status;
	/* A command says itself what a signal has done to it. */
	if (e->signo && e->vm->end != VM_END_COMMAND) {
		log_info("vm", "ended by signal %u", e->signo);
		return STATUS_SIGNALLED + (int)e->signo;
	}
	for (unsigned int i = 0; i < expect->count && e->unseen; i++)
		if (!e->seen[i])
			log_err("vm", "the console has not said: %s",
				expect->pattern[i].text);
	return e->unseen ? STATUS_VERDICT : STATUS_OK;
}

int endings_report(struct vm *vm)
{
	struct endings *e = vm->endings;
	int status;

	e->settling = true;
	console_hub_flush(vm->console);
	status = status_of_end(vm);
	/* Of these two nobody else can be the judge. */
	if (vm->end == VM_END_FAILED || vm->end == VM_END_DEBUG_EXIT)
		return status;
	if (e->verdict == VERDICT_NONE)
		status = status_without_verdict(e, status);
	else
		status = e->verdict == VERDICT_PASSED ? STATUS_OK :
							STATUS_VERDICT;
	if (!vm->console_shown && vm->end != VM_END_COMMAND &&
	    (status == STATUS_TIMEOUT || status >= STATUS_KVM_FAILED))
		print_tail(vm);
	return status;
}
