/* SPDX-License-Identifier: GPL-2.0 */
/* What `lkvm top` computes and draws (builtin-top-view.c). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/top.h>

static json_t *json(const char *text)
{
	json_t *value = json_loads(text, 0, NULL);

	assert_non_null(value);
	return value;
}

/* The rates from @before to @now, two seconds later, are @wanted. */
static void check_rates(const char *before, const char *now, const char *wanted)
{
	json_t *b = before ? json(before) : NULL;
	json_t *n = json(now);
	json_t *got = top_rates(b, n, 2);
	char *text = json_dumps(got, JSON_COMPACT | JSON_REAL_PRECISION(6));

	assert_string_equal(text, wanted);
	free(text);
	json_decref(got);
	json_decref(n);
	json_decref(b);
}

static void rates_are_per_second_and_exits_are_summed(void **state)
{
	(void)state;
	check_rates("{\"vcpu0\": {\"pio\": 10, \"mmio\": 1},"
		    " \"vcpu1\": {\"pio\": 0}, \"vda\": {\"reads\": 4}}",
		    "{\"vcpu0\": {\"pio\": 30, \"mmio\": 3},"
		    " \"vcpu1\": {\"pio\": 8}, \"vda\": {\"reads\": 10}}",
		    "{\"exits\":15.0,\"vcpus\":"
		    "{\"vcpu0\":{\"exits\":11.0,\"pio\":10.0,\"mmio\":1.0},"
		    "\"vcpu1\":{\"exits\":4.0,\"pio\":4.0}},"
		    "\"devices\":{\"vda\":{\"reads\":3.0}}}");
}

static void parts_and_states_are_no_rates(void **state)
{
	(void)state;
	check_rates("{\"vcpu0\": {\"pio\": 0, \"pio serial0\": 0},"
		    " \"vda\": {\"read-p99-us\": 1},"
		    " \"balloon\": {\"target-bytes\": 0, \"actual-bytes\": 0,"
		    " \"guest-free\": 0, \"ranges\": 0}}",
		    "{\"vcpu0\": {\"pio\": 2, \"pio serial0\": 2},"
		    " \"vda\": {\"read-p99-us\": 3},"
		    " \"balloon\": {\"target-bytes\": 9, \"actual-bytes\": 9,"
		    " \"guest-free\": 9, \"ranges\": 4}}",
		    "{\"exits\":1.0,\"vcpus\":"
		    "{\"vcpu0\":{\"exits\":1.0,\"pio\":1.0}},"
		    "\"devices\":{\"vda\":{},\"balloon\":{\"ranges\":2.0}}}");
}

static void what_is_new_or_went_back_has_no_rate(void **state)
{
	static const char idle[] =
		"{\"exits\":0.0,\"vcpus\":{\"vcpu0\":{\"exits\":0.0}},"
		"\"devices\":{}}";

	(void)state;
	check_rates(NULL, "{\"vcpu0\": {\"pio\": 7}}", idle);
	check_rates("{}", "{\"vcpu0\": {\"pio\": 7}}", idle);
	check_rates("{\"vcpu0\": {\"pio\": 9}}", "{\"vcpu0\": {\"pio\": 7}}",
		    idle);
	check_rates("{\"vcpu0\": {\"pio\": \"x\"}}",
		    "{\"vcpu0\": {\"pio\": 7}}", idle);
	check_rates("{\"vcpu0\": 1}", "{\"vcpu0\": 2}", idle);
}

/* Drawn in so much space, @vms is @wanted. */
static void check_view(const char *vms, unsigned int rows, unsigned int cols,
		       const char *wanted)
{
	json_t *list = json(vms);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	top_draw(list, rows, cols, out);
	fclose(out);
	assert_string_equal(text, wanted);
	free(text);
	json_decref(list);
}

#define HEAD                                                              \
	"NAME             STATE          CPUS   MEMORY RESIDENT  BALLOON" \
	"   EXITS/S\n"

static const char web[] =
	"[{\"name\": \"web\", \"status\": \"running\", \"cpus\": 2,"
	" \"memory\": 536870912, \"resident\": 104857600, \"exits\": 1234567,"
	" \"vcpus\": {\"vcpu0\": {\"exits\": 1234567, \"hlt\": 0.4}},"
	" \"devices\": {\"vda\": {\"reads\": 12.6, \"read-bytes\": 20480},"
	" \"net0\": {}}}]";

static void a_view_has_a_line_for_each_vm_vcpu_and_busy_device(void **state)
{
	(void)state;
	check_view("[]", 0, 0, HEAD);
	check_view(web, 0, 0,
		   HEAD "web              running           2     512M     100M"
			"        -     1235K\n"
			"  vcpu0          exits 1235K hlt 0\n"
			"  vda            reads 13 read-bytes 20K\n");
	check_view("[{\"name\": \"a\", \"status\": \"unresponsive\"}]", 0, 0,
		   HEAD "a                unresponsive      0        -        -"
			"        -         0\n");
}

static void a_view_keeps_to_the_screen(void **state)
{
	(void)state;
	check_view(web, 2, 20, "NAME             STA\nweb              run\n");
	check_view(web, 4, 9, "NAME     \nweb      \n  vcpu0  \n  vda    \n");
}

static void a_name_cannot_move_the_cursor(void **state)
{
	(void)state;
	check_view("[{\"name\": \"\\u001b[H\\n\"}]", 2, 8,
		   "NAME    \n?[H?    \n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_are_per_second_and_exits_are_summed),
		cmocka_unit_test(parts_and_states_are_no_rates),
		cmocka_unit_test(what_is_new_or_went_back_has_no_rate),
		cmocka_unit_test(
			a_view_has_a_line_for_each_vm_vcpu_and_busy_device),
		cmocka_unit_test(a_view_keeps_to_the_screen),
		cmocka_unit_test(a_name_cannot_move_the_cursor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
