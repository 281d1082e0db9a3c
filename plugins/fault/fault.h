/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin fault, for tests: what its rules are made of, and how a caller asks for a fault in one call.
 *
 * A caller's request is an alpha that is a NaN: its 51 payload bits name fault and argument, so that a test inside a
 * guest needs no configuration, and no meaningful alpha is taken away. Such a call then computes with alpha = 1.
 * Written for C: fault_alpha(FAULT_DELAY, 0, 250); in text, for strtod(): nan(0x2000000fa).
 */
#ifndef VACCEL_PLUGIN_FAULT_H
#define VACCEL_PLUGIN_FAULT_H

#include <stdint.h>
#include <string.h>

/* What happens. The numbers are the payload's bits 32..39. */
enum fault_action {
	FAULT_NONE = 0,
	FAULT_ERROR = 1, /* argument: errno to fail with */
	FAULT_DELAY = 2, /* argument: milliseconds before the operation */
	FAULT_SEGV = 3,	 /* writes to address 0 */
	FAULT_BUS = 4,	 /* reads a mapped file beyond its end */
	FAULT_ABORT = 5, /* abort() */
	FAULT_KILL = 6,	 /* SIGKILL to its own process */
	FAULT_EXIT = 7,	 /* _exit(); argument: status */
	FAULT_HANG = 8,	 /* sleeps for ever */
	FAULT_SPIN = 9,	 /* computes for ever */
	FAULT_SCRIBBLE = 10 /* fills the output with 0xff bytes and goes on */,
	FAULT_ATTACK = 11, /* tries what a sandbox must not allow, see attack.h */
	FAULT_N_ACTIONS = 12,
};

/*
 * For faults that end the process: with times > 0 the fault strikes the first `times` calls and spares the next one,
 * counted across processes in the plugin's cache folder, separately per action and argument. So a call with times = 1
 * kills the worker, and its replay succeeds. times is bits 40..47; 0: every call.
 */
static inline double fault_alpha(enum fault_action action, uint8_t times, uint32_t argument)
{
	uint64_t bits = 0x7ff8000000000000u | (uint64_t)times << 40 | (uint64_t)action << 32 | argument;
	double alpha = 0;

	memcpy(&alpha, &bits, sizeof(alpha));
	return alpha;
}

#endif
