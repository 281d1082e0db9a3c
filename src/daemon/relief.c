/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Relief for a ring's thread that an operation holds up. Short operations run in the thread of their ring, as far as
 * earlier ones of their size tell how long they take; one that takes longer after all must delay nobody else's. A thread
 * of its own looks at the rings every RELIEF_STEP_MS while operations run in this way, and sleeps when none did for a
 * while; ring_relieve() then gives the ring to a new thread, and the old one ends with its operation.
 *
 * Under worker.lock, like the watchdog: a ring that is being freed was taken out of its connection first.
 */
#include <errno.h>
#include <poll.h>

#include "daemon/worker.h"
#include "util/calls.h"
#include "util/util.h"

#define RELIEF_STEP_MS	5
#define RELIEF_AFTER_NS UINT64_C(10000000)
#define QUIET_STEPS	200 /* then it sleeps until something runs */

void relief_wake(struct relief *relief)
{
	atomic_store(&relief->seen, true);
	if (!atomic_load(&relief->asleep))
		return;
	pthread_mutex_lock(&relief->lock);
	pthread_cond_signal(&relief->wake);
	pthread_mutex_unlock(&relief->lock);
}

static void sleep_until_seen(struct relief *relief)
{
	pthread_mutex_lock(&relief->lock);
	atomic_store(&relief->asleep, true);
	while (!atomic_load(&relief->seen))
		pthread_cond_wait(&relief->wake, &relief->lock);
	atomic_store(&relief->asleep, false);
	pthread_mutex_unlock(&relief->lock);
}

static void look_at_rings(struct worker *worker)
{
	uint64_t now = now_ns();

	pthread_mutex_lock(&worker->lock);
	for (uint32_t i = 0; i < worker->n_conns; i++)
		for (uint32_t j = 0; worker->conns[i] && j < VHOST_MAX_QUEUES; j++)
			if (worker->conns[i]->rings[j])
				ring_relieve(worker->conns[i]->rings[j], now, RELIEF_AFTER_NS);
	pthread_mutex_unlock(&worker->lock);
}

static void *relief_main(void *opaque)
{
	struct worker *worker = opaque;
	struct relief *relief = &worker->relief;
	unsigned int quiet = 0;

	for (;;) {
		quiet = atomic_exchange(&relief->seen, false) ? 0 : quiet + 1;
		if (quiet > QUIET_STEPS)
			sleep_until_seen(relief);
		poll(NULL, 0, RELIEF_STEP_MS);
		look_at_rings(worker);
	}
	return NULL;
}

int relief_start(struct worker *worker, struct error *error)
{
	struct relief *relief = &worker->relief;
	pthread_t thread;

	pthread_mutex_init(&relief->lock, NULL);
	pthread_cond_init(&relief->wake, NULL);
	if (pthread_create(&thread, NULL, relief_main, worker))
		return error_set(error, -EAGAIN, "relief: cannot start its thread");
	pthread_detach(thread);
	return 0;
}

SANDBOX_CALLS({ "poll" }, { "ppoll" }, { "ppoll_time64" });
