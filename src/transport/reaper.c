/* SPDX-License-Identifier: Apache-2.0 */
/* See reaper.h. The lock is never held inside reap(). */
#include "transport/reaper.h"

#include <errno.h>
#include <time.h>

#include "util/util.h"

/* A thread that sleeps; lives on its stack and in the reaper's list, under the reaper's lock. */
struct reaper_sleeper {
	const struct reaper_item *item; /* NULL: waits for any progress */
	pthread_cond_t cond;
	struct reaper_sleeper *next;
};

/* What a wait is for. */
struct goal {
	const struct reaper_item *item; /* NULL: progress after ticket */
	uint64_t ticket;
};

void reaper_init(struct reaper *reaper, int (*reap)(void *opaque, int64_t timeout_ns), void *opaque)
{
	*reaper = (struct reaper){ .reap = reap, .opaque = opaque };
	pthread_mutex_init(&reaper->lock, NULL);
}

void reaper_fini(struct reaper *reaper)
{
	pthread_mutex_destroy(&reaper->lock);
}

HOT bool reaper_is_done(const struct reaper_item *item)
{
	return __atomic_load_n(&item->done, __ATOMIC_ACQUIRE);
}

HOT uint64_t reaper_ticket(const struct reaper *reaper)
{
	return __atomic_load_n(&reaper->delivered, __ATOMIC_ACQUIRE);
}

HOT static bool reached(const struct reaper *reaper, const struct goal *goal)
{
	return goal->item ? reaper_is_done(goal->item) : reaper_ticket(reaper) != goal->ticket;
}

/* Called with the lock. item NULL: only those that wait for progress. */
HOT static void wake(struct reaper *reaper, const struct reaper_item *item)
{
	for (struct reaper_sleeper *s = reaper->sleepers; s; s = s->next)
		if (!s->item || s->item == item)
			pthread_cond_signal(&s->cond);
}

HOT void reaper_done(struct reaper *reaper, struct reaper_item *item)
{
	pthread_mutex_lock(&reaper->lock);
	__atomic_store_n(&reaper->delivered, reaper->delivered + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&item->done, true, __ATOMIC_RELEASE);
	wake(reaper, item);
	pthread_mutex_unlock(&reaper->lock);
}

/* Sleeps until woken or deadline (0: none); called with the lock. */
static void sleep_until(struct reaper *reaper, const struct goal *goal, uint64_t deadline)
{
	struct reaper_sleeper self = { .item = goal->item, .next = reaper->sleepers };
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&self.cond, &attr);
	pthread_condattr_destroy(&attr);
	reaper->sleepers = &self;
	if (deadline) {
		struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000),
				       .tv_nsec = (long)(deadline % 1000000000) };

		pthread_cond_timedwait(&self.cond, &reaper->lock, &at);
	} else {
		pthread_cond_wait(&self.cond, &reaper->lock);
	}
	for (struct reaper_sleeper **at = &reaper->sleepers; *at; at = &(*at)->next) {
		if (*at == &self) {
			*at = self.next;
			break;
		}
	}
	pthread_cond_destroy(&self.cond);
}

/* Is the leader for one reap(); called with the lock, which is dropped meanwhile. */
HOT static void lead(struct reaper *reaper, int64_t timeout_ns)
{
	int r;

	reaper->leader = true;
	pthread_mutex_unlock(&reaper->lock);
	r = reaper->reap(reaper->opaque, timeout_ns);
	pthread_mutex_lock(&reaper->lock);
	reaper->leader = false;
	if (r < 0) {
		/* The connection is lost: what waits for progress must look for itself. */
		__atomic_store_n(&reaper->lost, r, __ATOMIC_RELEASE);
		__atomic_store_n(&reaper->delivered, reaper->delivered + 1, __ATOMIC_RELEASE);
		wake(reaper, NULL);
	}
}

static int64_t time_left(uint64_t deadline)
{
	uint64_t now;

	if (!deadline)
		return -1;
	now = now_ns();
	return now >= deadline ? 0 : (int64_t)(deadline - now);
}

/* Called when a thread stops waiting, with the lock: another may have to lead. */
HOT static void hand_over(struct reaper *reaper)
{
	if (reaper->reap && !reaper->leader && reaper->sleepers)
		pthread_cond_signal(&reaper->sleepers->cond);
}

HOT static int wait_for(struct reaper *reaper, const struct goal *goal, int64_t timeout_ns)
{
	uint64_t deadline = timeout_ns > 0 && (uint64_t)timeout_ns < UINT64_MAX / 4 ? now_ns() + (uint64_t)timeout_ns
										    : 0;
	int64_t left = timeout_ns;
	int r = 0;

	pthread_mutex_lock(&reaper->lock);
	while (!reached(reaper, goal)) {
		if (reaper->reap && !reaper->leader)
			lead(reaper, left);
		else if (left != 0)
			sleep_until(reaper, goal, deadline);
		if (reached(reaper, goal))
			break;
		if (timeout_ns >= 0)
			left = timeout_ns ? time_left(deadline) : 0;
		if (left == 0) {
			r = -ETIME;
			break;
		}
	}
	hand_over(reaper);
	pthread_mutex_unlock(&reaper->lock);
	return r;
}

HOT int reaper_wait(struct reaper *reaper, const struct reaper_item *item, int64_t timeout_ns)
{
	struct goal goal = { .item = item };

	/* A look must not be a lie: what completed last time must be visible, so it reaps once. */
	if (reaper_is_done(item))
		return 0;
	return wait_for(reaper, &goal, timeout_ns);
}

void reaper_wait_progress(struct reaper *reaper, uint64_t ticket)
{
	struct goal goal = { .ticket = ticket };

	wait_for(reaper, &goal, -1);
}

void reaper_progress(struct reaper *reaper)
{
	pthread_mutex_lock(&reaper->lock);
	__atomic_store_n(&reaper->delivered, reaper->delivered + 1, __ATOMIC_RELEASE);
	wake(reaper, NULL);
	pthread_mutex_unlock(&reaper->lock);
}

void reaper_look(struct reaper *reaper)
{
	if (!reaper->reap)
		return;
	pthread_mutex_lock(&reaper->lock);
	if (!reaper->leader) {
		lead(reaper, 0);
		hand_over(reaper);
	}
	pthread_mutex_unlock(&reaper->lock);
}

void reaper_seize(struct reaper *reaper)
{
	const struct goal progress = { 0 };

	pthread_mutex_lock(&reaper->lock);
	/* A leader that leaves a lost connection wakes all that wait for progress. */
	while (reaper->leader)
		sleep_until(reaper, &progress, 0);
	reaper->leader = true;
	pthread_mutex_unlock(&reaper->lock);
}

void reaper_release(struct reaper *reaper, int lost)
{
	pthread_mutex_lock(&reaper->lock);
	reaper->leader = false;
	__atomic_store_n(&reaper->lost, lost, __ATOMIC_RELEASE);
	hand_over(reaper);
	pthread_mutex_unlock(&reaper->lock);
}

int reaper_lost(const struct reaper *reaper)
{
	return __atomic_load_n(&reaper->lost, __ATOMIC_ACQUIRE);
}
