/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that code needs inside the worker's sandbox, said where the code is: SANDBOX_CALLS(), once in a file
 * and at its end. The linker collects the lists of all files that are in a program; src/daemon/sandbox_calls.c makes
 * the filter of them. So a file that is not linked allows nothing, and a call that nobody uses any more goes with the
 * code that used it. In programs without a sandbox the lists are a few unused bytes.
 *
 * What libc does of itself (memory, threads, signals, clocks) is in src/daemon/sandbox_libc.c. A call that is made only
 * before the sandbox closes (see sandbox.h) is in no list.
 */
#ifndef VACCEL_UTIL_CALLS_H
#define VACCEL_UTIL_CALLS_H

#include <stdbool.h>
#include <stdint.h>

/* One system call, by name since numbers depend on the architecture; one that the architecture lacks is passed over. */
struct sandbox_call {
	const char *name; /* NULL ends a list */
	/* Allowed only if (argument & mask) == value; a call may have several rows. */
	bool conditional;
	uint8_t argument;
	uint64_t mask, value;
};

#define SANDBOX_IF(name_, argument_, mask_, value_)           \
	{                                                     \
		(name_), true, (argument_), (mask_), (value_) \
	}

/* Lists are found by pointers: those lie in the section without gaps, whatever a compiler thinks of alignment. */
#define SANDBOX_CALLS(...)                                                                 \
	static const struct sandbox_call sandbox_calls[] = { __VA_ARGS__, { .name = 0 } }; \
	static const struct sandbox_call *const sandbox_calls_entry                        \
		__attribute__((used, section("vaccel_calls"))) = sandbox_calls

#endif
