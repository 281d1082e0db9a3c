/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for completions with many threads and one source of them. Threads that wait follow a leader: the one among
 * them that is inside the transport's reap(). What it finds it marks done here, which wakes exactly the threads that
 * wait for that; when it leaves, one of the sleepers takes over. Transports that complete from threads of their own
 * have no reap(): then all waiters sleep.
 *
 * Invariants: at most one thread is in reap(). While anybody sleeps here, either there is a leader or somebody was just
 * woken to become it.
 */
#ifndef VACCEL_TRANSPORT_REAPER_H
#define VACCEL_TRANSPORT_REAPER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct reaper_sleeper;

struct reaper {
	pthread_mutex_t lock;
	bool leader;
	uint64_t delivered; /* items so far; read without the lock by reaper_ticket() */
	struct reaper_sleeper *sleepers;
	int lost; /* the error that reap() returned last; 0: none. Atomic */
	/* As transport_ops.reap(); NULL: none. */
	int (*reap)(void *opaque, int64_t timeout_ns);
	void *opaque;
};

/* Something to wait for, embedded in what it stands for. */
struct reaper_item {
	bool done;
};

void reaper_init(struct reaper *reaper, int (*reap)(void *opaque, int64_t timeout_ns), void *opaque);
void reaper_fini(struct reaper *reaper);

bool reaper_is_done(const struct reaper_item *item);

/* Marks it done and wakes who waits for it: the item may be gone when this returns. */
void reaper_done(struct reaper *reaper, struct reaper_item *item);

/* 0, or -ETIME after timeout_ns (negative: no limit; 0: looks once). */
int reaper_wait(struct reaper *reaper, const struct reaper_item *item, int64_t timeout_ns);

/* Waits until something was delivered after the ticket was taken. */
uint64_t reaper_ticket(const struct reaper *reaper);
void reaper_wait_progress(struct reaper *reaper, uint64_t ticket);
/* Counts as a delivery, without an item: something was freed that others may wait for. */
void reaper_progress(struct reaper *reaper);

/* Delivers what is there without waiting, unless a leader is at it. */
void reaper_look(struct reaper *reaper);

/* 0, or the error with which the connection was found lost: then nothing will complete before there is another. */
int reaper_lost(const struct reaper *reaper);

/*
 * Keeps everybody out of reap(): waits for a leader to leave, and is the leader until the release, which sets what
 * reaper_lost() says. Only once reap() is sure to return soon. For a transport that connects again.
 */
void reaper_seize(struct reaper *reaper);
void reaper_release(struct reaper *reaper, int lost);

#endif
