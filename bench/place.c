/* SPDX-License-Identifier: Apache-2.0 */
/* Binds processes to CPUs, and reads how much CPU time one has used. */
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "bench/bench.h"

const char *bench_place_name(enum bench_place place)
{
	static const char *const names[] = {
		[BENCH_ANY_CPU] = "any CPU", [BENCH_ONE_CPU] = "one CPU", [BENCH_TWO_CPUS] = "two CPUs"
	};

	return names[place];
}

/* The n-th CPU that this process may use, or the last one. */
static int nth_cpu(const cpu_set_t *cpus, int n)
{
	int found = -1;

	for (int cpu = 0; cpu < CPU_SETSIZE && n >= 0; cpu++) {
		if (CPU_ISSET(cpu, cpus)) {
			found = cpu;
			n--;
		}
	}
	return found;
}

/* What was allowed before the first binding: a measuring process starts the other end when it is bound itself. */
static cpu_set_t allowed;
static bool known;

void bench_place(enum bench_place place, bool other)
{
	cpu_set_t one;
	int cpu;

	known = known || sched_getaffinity(0, sizeof(allowed), &allowed) == 0;
	if (place == BENCH_ANY_CPU || !known)
		return;
	cpu = nth_cpu(&allowed, place == BENCH_TWO_CPUS && other ? 1 : 0);
	if (cpu < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	/* Where it is not allowed, the sides are still alike. */
	sched_setaffinity(0, sizeof(one), &one);
}

uint64_t bench_cpu_ns(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (pid <= 0 || clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t bench_tree_cpu_ns(pid_t pid)
{
	uint64_t ns = bench_cpu_ns(pid);
	char path[64];
	FILE *file;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	file = fopen(path, "re");
	while (file && fscanf(file, "%d", &child) == 1)
		ns += bench_tree_cpu_ns(child);
	if (file)
		fclose(file);
	return ns;
}
