/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw baselines: what two processes on this machine need to tell each other that something is there, with nothing else
 * in the way. Each has a partner process that answers; it ends with the measuring one.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "bench/bench.h"

/* Looks before the CPU is offered to others: on one CPU, the partner gets nowhere otherwise. */
#define LOOKS 100000

struct raw {
	int ask, answer; /* eventfds */
	/* Each on a line of its own, and its neighbour's too. */
	_Alignas(128) uint64_t asked;
	_Alignas(128) uint64_t answered;
};

#define STOP UINT64_MAX /* asked: the partner goes back to sleep */

static int fail(struct error *error, int code)
{
	return error_set(error, -code, "partner process: cannot start: %s", strerror(code));
}

/* Starts a process that runs partner(); the two share *ret_raw. */
static int start(struct bench_job *job, void (*partner)(struct raw *raw), struct error *error)
{
	struct raw *raw =
		mmap(NULL, sizeof(*raw), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	pid_t parent = getpid();

	if (raw == MAP_FAILED)
		return fail(error, errno);
	raw->ask = eventfd(0, EFD_CLOEXEC);
	raw->answer = eventfd(0, EFD_CLOEXEC);
	if (raw->ask < 0 || raw->answer < 0)
		return fail(error, errno);
	job->other = fork();
	if (job->other < 0)
		return fail(error, errno);
	if (job->other == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bench_place(job->side->place, true);
		while (getppid() == parent)
			partner(raw);
		_exit(EXIT_SUCCESS);
	}
	job->state = raw;
	return 0;
}

/* ---- eventfd ---- */

static void eventfd_partner(struct raw *raw)
{
	eventfd_t count;

	if (eventfd_read(raw->ask, &count) == 0)
		eventfd_write(raw->answer, 1);
}

static int eventfd_open(struct bench_job *job, struct error *error)
{
	return start(job, eventfd_partner, error);
}

static int eventfd_once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	struct raw *raw = job->state;
	uint64_t start_ns = now_ns();
	eventfd_t count;

	if (eventfd_write(raw->ask, 1) < 0 || eventfd_read(raw->answer, &count) < 0)
		return error_set(error, -errno, "eventfd: %s", strerror(errno));
	*ret_ns = now_ns() - start_ns;
	return 0;
}

const struct bench_task bench_raw_eventfd = {
	.open = eventfd_open,
	.once = eventfd_once,
};

/* ---- spin ---- */

/* Returns what is there instead of old. */
static uint64_t wait_change(const uint64_t *word, uint64_t old)
{
	uint64_t value;

	for (unsigned int looks = 0; (value = __atomic_load_n(word, __ATOMIC_ACQUIRE)) == old; looks++) {
		if (looks >= LOOKS)
			sched_yield();
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
	}
	return value;
}

/* Answers during a turn, sleeps between turns. */
static void spin_partner(struct raw *raw)
{
	uint64_t asked = 0;
	eventfd_t count;

	if (eventfd_read(raw->ask, &count) < 0)
		return;
	while (asked != STOP) {
		asked = wait_change(&raw->asked, asked);
		__atomic_store_n(&raw->answered, asked, __ATOMIC_RELEASE);
	}
}

static int spin_open(struct bench_job *job, struct error *error)
{
	return start(job, spin_partner, error);
}

static int spin_begin(struct bench_job *job, struct error *error)
{
	struct raw *raw = job->state;

	raw->answered = raw->asked = 0;
	return eventfd_write(raw->ask, 1) < 0 ? error_set(error, -errno, "eventfd: %s", strerror(errno)) : 0;
}

static int spin_once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	struct raw *raw = job->state;
	uint64_t last = raw->asked, start_ns = now_ns();

	__atomic_store_n(&raw->asked, last + 1, __ATOMIC_RELEASE);
	if (wait_change(&raw->answered, last) != last + 1)
		return error_set(error, -EBADMSG, "the partner process answered something else");
	*ret_ns = now_ns() - start_ns;
	return 0;
}

static int spin_end(struct bench_job *job, uint64_t *ret_ops, struct error *error)
{
	struct raw *raw = job->state;
	uint64_t last = raw->asked;

	__atomic_store_n(&raw->asked, STOP, __ATOMIC_RELEASE);
	wait_change(&raw->answered, last);
	return 0;
}

const struct bench_task bench_raw_spin = {
	.open = spin_open,
	.begin = spin_begin,
	.end = spin_end,
	.once = spin_once,
};
