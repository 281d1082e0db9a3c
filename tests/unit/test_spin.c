/* SPDX-License-Identifier: Apache-2.0 */
/* src/util/spin: when it looks, for how long it means to, and that it ends. No test depends on how long anything takes. */
#include "test.h"

#include <sched.h>
#include <string.h>

#include "util/spin.h"
#include "util/util.h"

#define SHORT UINT64_C(1)	      /* ns; any sleep was longer */
#define LONG  UINT64_C(3600000000000) /* ns; no sleep was */

struct looker {
	unsigned int looks;
	unsigned int ready_after;
};

static bool ready(void *opaque)
{
	struct looker *looker = opaque;

	return ++looker->looks > looker->ready_after;
}

static struct spin spin_of(uint32_t us)
{
	struct spin spin;

	spin_init(&spin, us);
	return spin;
}

static void skip_on_one_cpu(void)
{
	if (spin_cpus(0) < 2) {
		print_message("skipped: this machine has one CPU, where nothing spins\n");
		skip();
	}
}

static void off_looks_once(void **state)
{
	struct spin spin = spin_of(0);
	struct looker never = { .ready_after = UINT32_MAX }, now = { 0 };

	assert_false(spin_look(&spin, UINT64_MAX, ready, &never));
	assert_int_equal(never.looks, 1);
	assert_true(spin_look(&spin, UINT64_MAX, ready, &now));
	spin_slept(&spin);
	assert_int_equal(spin.window_ns, 0);
}

/* A thread with one CPU needs it for whom it waits for, unless somebody said how long to look. */
static void one_cpu_is_off(void **state)
{
	cpu_set_t all, one;

	skip_on_one_cpu();
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(spin_of(SPIN_AUTO).max_ns, 0);
	assert_int_equal(spin_of(7).max_ns, 7000);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

static void looks_until_ready(void **state)
{
	struct spin spin = spin_of(SPIN_MAX_US);
	struct looker soon = { .ready_after = 1000 };

	skip_on_one_cpu();
	assert_true(spin_look(&spin, UINT64_MAX, ready, &soon));
	assert_int_equal(soon.looks, 1001);
}

static void ends(void **state)
{
	struct spin spin = spin_of(1);
	struct looker never = { .ready_after = UINT32_MAX };

	skip_on_one_cpu();
	assert_false(spin_look(&spin, UINT64_MAX, ready, &never));
	assert_true(never.looks > 1);
	/* The caller's limit is shorter than the window. */
	spin = spin_of(SPIN_MAX_US);
	assert_false(spin_look(&spin, SHORT, ready, &never));
}

/* Long sleeps narrow the window to nothing, short ones open it again, up to its bound. */
static void window_follows_sleeps(void **state)
{
	struct spin spin = spin_of(50);

	skip_on_one_cpu();
	for (int i = 0; i < 20; i++) {
		uint64_t before = spin.window_ns;

		spin.began_ns = now_ns() - LONG;
		spin_slept(&spin);
		assert_true(spin.window_ns < before || before == 0);
	}
	assert_int_equal(spin.window_ns, 0);
	spin.max_ns = LONG;
	for (int i = 0; i < 3; i++) {
		uint64_t before = spin.window_ns;

		spin.began_ns = now_ns() - SHORT;
		spin_slept(&spin);
		assert_true(spin.window_ns > before);
	}
	spin.window_ns = LONG / 2 + 1;
	spin.began_ns = now_ns() - SHORT;
	spin_slept(&spin);
	assert_true(spin.window_ns == LONG);
	/* A wait that did not end in a sleep says nothing. */
	spin_slept(&spin);
	assert_true(spin.window_ns == LONG);
}

/* Who was preempted while it looked lets others run for a while, then looks again. */
static void abstains(void **state)
{
	struct spin spin = spin_of(SPIN_MAX_US);
	struct looker looker = { .ready_after = 10 };

	skip_on_one_cpu();
	spin.abstain = 2;
	assert_false(spin_look(&spin, UINT64_MAX, ready, &looker));
	assert_false(spin_look(&spin, UINT64_MAX, ready, &looker));
	assert_int_equal(looker.looks, 2);
	assert_true(spin_look(&spin, UINT64_MAX, ready, &looker));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(off_looks_once),	 cmocka_unit_test(one_cpu_is_off),
		cmocka_unit_test(looks_until_ready),	 cmocka_unit_test(ends),
		cmocka_unit_test(window_follows_sleeps), cmocka_unit_test(abstains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
