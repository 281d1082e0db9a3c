/* SPDX-License-Identifier: Apache-2.0 */
/* See spin.h. */
#include "util/spin.h"

#include <sched.h>
#include <sys/resource.h>

#include "util/util.h"

#define AUTO_US	     50
#define FIRST_LOOKS  128  /* before anything is paid for looking: one to two microseconds */
#define LOOKS	     8	  /* between two readings of the clock */
#define PAUSES	     8	  /* before each of those: who is waited for may share the core */
#define FIRST_NS     2000 /* the window where there was none */
#define ABSTAIN	     256
#define SHORT_SLEEPS 2 /* a sleep of up to so many max_ns is short: waking up is part of it */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Asked once: a worker's sandbox has no /sys to look it up in, and then it would be those that the thread may run on. */
static unsigned int machine_cpus(void)
{
	static unsigned int known;
	unsigned int n = __atomic_load_n(&known, __ATOMIC_RELAXED);

	if (!n) {
		n = (unsigned int)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
		__atomic_store_n(&known, n, __ATOMIC_RELAXED);
	}
	return n;
}

unsigned int spin_cpus(uint32_t us)
{
	cpu_set_t cpus;

	if (us != SPIN_AUTO)
		return machine_cpus();
	return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned int)CPU_COUNT(&cpus) : 1;
}

static long switches(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

void spin_init(struct spin *spin, uint32_t us)
{
	uint64_t max_ns = spin_cpus(us) < 2 ? 0 : UINT64_C(1000) * (us == SPIN_AUTO ? AUTO_US : us);

	*spin = (struct spin){ .max_ns = max_ns, .window_ns = max_ns };
}

HOT static bool look_often(int looks, int pauses, bool (*ready)(void *opaque), void *opaque)
{
	for (int i = 0; i < looks; i++) {
		if (ready(opaque))
			return true;
		for (int j = 0; j < pauses; j++)
			relax();
	}
	return false;
}

/* Until the window is over. Preempted meanwhile: somebody wants the processor, maybe the one who is waited for. */
static bool look_on(struct spin *spin, uint64_t window, bool (*ready)(void *opaque), void *opaque)
{
	long before = switches();

	do {
		if (look_often(LOOKS, PAUSES, ready, opaque))
			return true;
	} while (now_ns() - spin->began_ns < window);
	if (switches() != before)
		spin->abstain = ABSTAIN;
	return false;
}

HOT bool spin_look(struct spin *spin, uint64_t limit_ns, bool (*ready)(void *opaque), void *opaque)
{
	uint64_t window = MIN(spin->window_ns, limit_ns);

	spin->began_ns = 0;
	if (!spin->max_ns)
		return ready(opaque);
	if (spin->abstain) {
		spin->abstain--;
		return ready(opaque);
	}
	if (window && look_often(FIRST_LOOKS, 1, ready, opaque))
		return true;
	spin->began_ns = now_ns();
	return window ? look_on(spin, window, ready, opaque) : ready(opaque);
}

HOT void spin_slept(struct spin *spin)
{
	uint64_t slept;

	if (!spin->began_ns)
		return;
	slept = now_ns() - spin->began_ns;
	spin->began_ns = 0;
	if (slept <= SHORT_SLEEPS * spin->max_ns)
		spin->window_ns = MIN(MAX(2 * spin->window_ns, FIRST_NS), spin->max_ns);
	else if (spin->window_ns > FIRST_NS)
		spin->window_ns /= 2;
	else
		spin->window_ns = 0;
}
