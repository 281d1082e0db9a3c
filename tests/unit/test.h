/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test begins with: cmocka and its prerequisites, and a generator of the same numbers each time. */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* xorshift64*: state must not be 0. */
static inline uint64_t test_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1du;
}

/* The sentence of a failure is there and names what it should. */
#define assert_text(error_, part_)                                                    \
	do {                                                                          \
		if (!strstr((error_).text, part_))                                    \
			fail_msg("'%s' does not contain '%s'", (error_).text, part_); \
	} while (0)

#endif
