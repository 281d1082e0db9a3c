// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Looking for an answer before sleeping. An interrupt and a wake-up cost tens of microseconds in
 * a guest, many requests take less; looking costs the processor. So it is bounded (module
 * parameter poll_us), follows how long waits turn out to be, and ends as soon as anybody else
 * wants the processor.
 *
 * One caller at a time looks at a queue. Meanwhile interrupts are not asked for, and it takes the
 * answers of all; before it leaves it asks for them again and looks once more, so that none is
 * missed. A look takes the queue's lock, under which the virtqueue may also be found gone.
 */
#include <linux/bitops.h>
#include <linux/completion.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>

#include "internal.h"

#define ACCEL_POLL_MAX_US	1000000U
#define ACCEL_POLL_FIRST_NS	2000ULL /* the window where there was none */
#define ACCEL_POLL_LOOKS	16	/* between two readings of the clock */
#define ACCEL_POLL_PAUSES	16	/* after each: who is waited for may share the core */

static u64 accel_poll_max(void)
{
	return min(READ_ONCE(accel_poll_us), ACCEL_POLL_MAX_US) * 1000ULL;
}

static bool accel_poll_may_go_on(const struct accel_request *req, u64 end)
{
	return !need_resched() && !fatal_signal_pending(current) &&
	       accel_device_running(req->file->dev) && ktime_get_ns() < end;
}

static bool accel_poll_look(struct accel_request *req)
{
	unsigned int i, j;

	for (i = 0; i < ACCEL_POLL_LOOKS; i++) {
		accel_queue_take(req->queue, false);
		if (completion_done(&req->done))
			return true;
		for (j = 0; j < ACCEL_POLL_PAUSES; j++)
			cpu_relax();
	}
	return false;
}

/**
 * accel_request_poll() - Look for the answer of a submitted request for a while.
 * @req: a request that is not asynchronous
 * @ret_start: when that began, for accel_queue_slept(); 0 if looking is off
 *
 * Context: Process context.
 * Return: whether @req->answer is valid.
 */
bool accel_request_poll(struct accel_request *req, u64 *ret_start)
{
	struct accel_queue *queue = req->queue;
	u64 max = accel_poll_max();
	u64 window = min(READ_ONCE(queue->poll_ns), max);

	*ret_start = max ? ktime_get_ns() : 0;
	if (!window || test_and_set_bit_lock(0, &queue->polled))
		return completion_done(&req->done);
	while (!accel_poll_look(req))
		if (!accel_poll_may_go_on(req, *ret_start + window))
			break;
	clear_bit_unlock(0, &queue->polled);
	accel_queue_take(queue, true);
	return completion_done(&req->done);
}

/**
 * accel_queue_slept() - Learn from a wait that ended in a sleep.
 * @queue: the queue
 * @start: when the wait began; 0 if looking is off
 *
 * A short one widens the window of the next, a long one narrows it.
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_queue_slept(struct accel_queue *queue, u64 start)
{
	u64 window = READ_ONCE(queue->poll_ns);
	u64 max = accel_poll_max();

	if (!start)
		return;
	if (ktime_get_ns() - start <= 2 * max)
		window = min(max(2 * window, ACCEL_POLL_FIRST_NS), max);
	else
		window = window > ACCEL_POLL_FIRST_NS ? window / 2 : 0;
	WRITE_ONCE(queue->poll_ns, window);
}
