/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking for a while before going to sleep. A sleep costs a wake-up, which is many times what most waits here are long;
 * looking costs a processor. So the window is bounded, and follows what waits turn out to be (as halt polling does in
 * KVM): a sleep that was short widens it, one that was long narrows it, down to nothing.
 *
 * It never begins where the one waited for may need this thread's processor: with one CPU it is off (whoever says how long
 * to look may pin this thread to one and the other to another), and a thread that was preempted while it looked does
 * without for a number of waits.
 *
 * A struct spin belongs to the one thread at a time that waits with it.
 */
#ifndef VACCEL_UTIL_SPIN_H
#define VACCEL_UTIL_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_MAX_US 1000000
/* Nobody said how long: about what two wake-ups across CPUs cost, if this thread has more than one CPU to run on. */
#define SPIN_AUTO UINT32_MAX

struct spin {
	uint64_t max_ns;      /* 0: off */
	uint64_t window_ns;   /* how long the next wait looks */
	uint64_t began_ns;    /* of the wait that ended in a sleep; 0: it did not */
	unsigned int abstain; /* waits to come that do not look */
};

/* CPUs that count for this: those that the calling thread may run on, or those of the machine if somebody said how long. */
unsigned int spin_cpus(uint32_t us);

/* us: how long to look at most; 0: not; or SPIN_AUTO. */
void spin_init(struct spin *spin, uint32_t us);

/* Looks until ready() or for the window, and at most limit_ns; returns what ready() said last. */
bool spin_look(struct spin *spin, uint64_t limit_ns, bool (*ready)(void *opaque), void *opaque);

/* After the sleep that followed a spin_look() in vain. */
void spin_slept(struct spin *spin);

#endif
