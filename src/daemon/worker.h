/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker: maps guest memory, walks rings, runs the engine. Everything that it must not lose lies in memory of the
 * supervisor (state, ledgers, journals), so it may be killed at any instruction.
 *
 * Threads: the control thread (worker.c) obeys the supervisor; each running ring has a thread (ring.c) that takes
 * requests and runs short ones itself; the relief (relief.c) gives a ring to a new thread when such an op holds its own
 * up; the engine has its own; one watchdog ends the worker when an op takes too long; a connection has a helper thread,
 * made when first needed, for what may have to wait (closing busy sessions, going away).
 *
 * Ownership: the worker owns connections, a connection its memory and rings, a ring its request objects, one per
 * descriptor head. A request is the ring's thread's until it is submitted, the engine's until done(), then it is answered,
 * and its head belongs to the guest again.
 *
 * Locks, outermost first: worker.lock, under which watchdog and relief look at rings; connection.memory_lock, held for
 * reading while guest addresses are translated, for writing while regions are added (they go only when nothing runs);
 * ring.lock. None is held while an op runs.
 *
 * Files: worker.c, wconn.c (connection, memory, registered buffers), ring.c, relief.c, recover.c, common.c (what requests of
 * all devices have in common), trace.c (what is counted and timed); device.h, and accel.h, crypto.h for a device's own.
 */
#ifndef VACCEL_DAEMON_WORKER_H
#define VACCEL_DAEMON_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/accel.h"
#include "daemon/crypto.h"
#include "daemon/device.h"
#include "daemon/link.h"
#include "daemon/options.h"
#include "engine/engine.h"
#include "engine/stats.h"
#include "op/wire.h"
#include "util/spin.h"
#include "vhost/memory.h"
#include "vhost/server.h"
#include "vhost/vring.h"

/* The thread that relieves those of rings: relief.c. */
struct relief {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool seen;   /* an operation ran in a ring's thread */
	atomic_bool asleep; /* wake is waited for */
};

struct worker {
	const struct options *options;
	const struct device *device;
	struct config *config;
	struct state *state;
	struct engine *engine;
	struct stats stats;
	int link;
	struct wire_limits limits;
	size_t max_message;
	struct limit_counts *limit_counts; /* in the state */
	pthread_mutex_t lock;
	struct wconn **conns; /* config->limits.connections of them; lock for changing and for other threads */
	uint32_t n_conns;
	atomic_uint alias_budget;
	atomic_uint in_flight;		   /* requests taken and not answered */
	atomic_uint_fast64_t bytes_copied; /* argument bytes copied, ever */
	atomic_uint_fast64_t n_requests;   /* answered, ever */
	unsigned int n_cpus;		   /* spin_cpus() */
	struct relief relief;
	atomic_bool hidden;	     /* nobody else can look at it: worker_hide() */
	atomic_uint n_looking;	     /* threads of rings that spin */
	pthread_mutex_t replay_lock; /* held while a request under suspicion runs again */
};

/* Answers that the guest was not yet told of do not wait for so long a copy. */
#define MUCH_TO_COPY (1u << 18)

/* A private copy of an argument. */
struct bounce {
	uint32_t arg;
	uint64_t len;
	void *data;
	bool secret; /* overwritten before it is freed */
};

struct request {
	struct engine_request engine;
	struct wring *ring;
	struct request *next; /* in the helper's queue */
	uint16_t head;
	bool recovered;	    /* a worker before had taken it */
	bool begun;	    /* and a plugin had begun it */
	bool deferred;	    /* the connection's helper has it, which may wait */
	bool awaited;	    /* the ring's thread waits for its end */
	bool submitted;	    /* to the engine: engine.arrived_ns is its own */
	bool waiting;	    /* in the engine's queue, and counted there */
	uint32_t kind;	    /* for the statistics */
	uint64_t popped_ns; /* 0: no times are taken of it */
	uint64_t decoded_ns;
	uint64_t counter;
	uint64_t id; /* by which its guest knows it */
	struct bounce bounces[OP_MAX_ARGS];
	uint32_t n_bounces;
	union {
		struct accel_request accel;
		struct crypto_request crypto;
	};
};

struct wring {
	struct wconn *conn;
	uint32_t index;
	struct link_ring setup;
	struct vq vq;
	struct stats_conn *stats; /* the connection's */
	struct stats_ring *counts;
	struct stats_ticks ticks; /* ring's thread */
	uint64_t popped_ns;	  /* ring's thread: when it began to take the next request, if that is timed */
	uint32_t signal_kind;	  /* relaxed; of an answer whose signal is to be timed, less 1; 0: none */
	struct ledger *ledger;
	void *journal_map; /* the front-end's; NULL: the ledger's */
	size_t journal_len;
	unsigned int journal_guard;
	struct inflight_region *journal;
	struct inflight_entry *recovered; /* what vq_init() found */
	int n_recovered;
	struct request **requests; /* per head, made when first used */
	int kick;
	bool kick_is_stream; /* a socket or pipe: what comes is read; an eventfd only tells that something changed */
	int stop_event;
	int epoll;	  /* stop_event and kick */
	struct spin spin; /* ring's thread */
	atomic_bool stopping;
	bool kicked_out;   /* ring's thread: broken, waits to be stopped */
	bool must_signal;  /* ring's thread: answers that the guest has not been told of */
	uint32_t stop_seq; /* set before stopping */
	pthread_t thread;  /* the one that serves it now; worker.lock once it runs */
	uint64_t stint;	   /* its number, from 1 */
	/* The stint that is inside an operation, 0: none; whoever sets it back owns what follows. Atomic. */
	uint64_t inside;
	uint64_t inside_ns; /* since when; atomic */
	bool recovering;    /* ring's thread: nothing runs in it */

	pthread_mutex_t lock;
	pthread_cond_t idle;	    /* lock; an awaited request ended, or active fell to 0 */
	uint32_t active;	    /* lock; requests taken and not wholly answered */
	bool awaiting;		    /* lock; an awaited request has not ended */
	int call;		    /* its number stays, see ring_set_call(); changed by the control thread, atomic */
	bool call_is_socket;	    /* atomic */
	int no_call;		    /* control thread: the number, while there is nobody to tell (call is -1) */
	int err;		    /* lock */
	uint64_t last_complaint_ns; /* ring's thread */
};

struct wconn {
	struct worker *worker;
	uint32_t id;
	struct vhost_memory memory;
	pthread_rwlock_t memory_lock;
	bool committed; /* control thread: memory is whole, what is added now comes on top */
	struct wring *rings[VHOST_MAX_QUEUES];
	atomic_uint n_requests;
	atomic_uint_fast64_t home; /* the device's own session of the engine, crypto_session.c; 0: not opened */
	pthread_mutex_t helper_lock;
	pthread_cond_t helper_work;
	struct request *helper_head, **helper_tail; /* helper_lock */
	bool helper_started;			    /* helper_lock */
	bool going;				    /* helper_lock; last thing that the helper does */
	uint32_t gone_seq;
};

int worker_run(const struct options *options);
/* Tells the supervisor. */
void worker_ack(struct worker *worker, uint32_t conn, uint32_t seq, int result, uint64_t value, const char *text);

/* Before it gets a key; once is enough. */
void worker_hide(struct worker *worker);

/* ---- wconn.c ---- */
struct wconn *wconn_get(struct worker *worker, uint32_t id);
/* Takes fd on success. After the first commit also maps the buffers that waited for it. */
int wconn_memory_add(struct wconn *conn, const struct vhost_region *region, int fd, struct error *error);
/* No ring runs. */
void wconn_memory_clear(struct wconn *conn);
/* Maps the buffers that the state knows and that are not mapped. */
void wconn_memory_commit(struct wconn *conn);
/* Extents as a mapping for the engine; its release() gives it back. */
int wconn_map_buffer(struct wconn *conn, const struct state_extent *extents, uint32_t n,
		     struct engine_mapping *ret_mapping, struct error *error);
/* Has the helper thread end the connection and acknowledge seq. */
void wconn_go(struct wconn *conn, uint32_t seq);
/* Puts a ring (or none) in the place of another, which it returns: the watchdog looks at rings. */
struct wring *wconn_swap_ring(struct wconn *conn, uint32_t index, struct wring *ring);
/* Gives a request to the helper thread; on failure the caller may as well wait itself. */
int wconn_defer(struct wconn *conn, struct request *request);

/* ---- ring.c ---- */
/* Takes the descriptors of msg. On failure the ring is there but broken: it does nothing, and can be stopped. */
void ring_start(struct wconn *conn, struct link_msg *msg);
void ring_set_call(struct wring *ring, int call, int err);
/* Asks its thread to drain and acknowledge seq. */
void ring_stop(struct wring *ring, uint32_t seq);
/* Waits for the thread and frees everything. Stop it first. */
void ring_free(struct wring *ring);
/* The request object of a head; NULL: no memory. */
struct request *ring_request(struct wring *ring, uint16_t head);
/* Answered: the head goes back to the guest. request is the guest's again when this returns. */
void ring_complete(struct wring *ring, struct request *request, uint32_t written);
/* The ring's thread: tells the guest of answers, if it wants to know; waits for the awaited request. */
void ring_tell(struct wring *ring);
void ring_wait_awaited(struct wring *ring);
/* How long the ring's thread may be busy with an operation now. */
uint64_t ring_spare_ns(const struct wring *ring);

/* Around an operation, whichever thread runs it. */
void ring_enter(struct wring *ring, uint64_t now);
void ring_leave(struct wring *ring);
/* Under worker.lock: gives the ring to another thread if its own has been inside an operation for longer than after_ns. */
void ring_relieve(struct wring *ring, uint64_t now, uint64_t after_ns);

/* ---- relief.c ---- */
int relief_start(struct worker *worker, struct error *error);
void relief_wake(struct relief *relief);

/* ---- recover.c ---- */
/* Deals with what vq_init() found in flight. */
void ring_recover(struct wring *ring);
/* Guest memory that an argument takes up. */
struct recover_piece {
	uint64_t start, end;
	uint32_t arg;
};

struct recover_pieces {
	struct recover_piece *rows; /* freed by who had them added */
	size_t n;
};

int recover_add_piece(struct recover_pieces *pieces, uint32_t arg, uint64_t start, uint64_t len);
/*
 * Whether running an op a second time, which a worker died in, is the same as running it once. Its arguments are resolved and
 * lie in pieces; NULL: nobody knows.
 */
bool recover_may_run_again(const struct request *request, const struct recover_pieces *pieces);

/* ---- common.c ---- */
void request_begin(struct wring *ring, uint16_t head, struct request *request);
struct ledger_entry *request_entry(struct request *request);
/* The tag of what the request makes, by which it is found again if a worker died meanwhile. */
uint64_t request_tag(const struct request *request);
/* Private memory for an argument, counted against limits.gathered_bytes, until the request ends. -EDQUOT, -ENOMEM. */
int request_bounce(struct request *request, uint32_t index, uint64_t len, void **ret_data, struct error *error);
void request_count_copied(struct request *request, uint64_t len);
/* To the engine; engine.op is filled in. done() begins with request_ended(). */
void request_submit(struct request *request, void (*done)(struct engine_request *engine));
void request_ended(struct request *request);
/* Its answer has been written, so many bytes: counts it, lets go of all, and gives the chain back. */
void request_finish(struct request *request, int result, uint32_t written, const struct error *error);

/* ---- trace.c ---- */
/* The ring counts from now on, in the connection's part. */
void trace_ring(struct wring *ring);
/* It has its result, which its client cannot see yet. Any thread. */
void trace_answered(struct request *request, uint32_t status);
/* It is in a queue of the engine; it is in none (any more). */
void trace_queued(struct engine_request *engine);
void trace_unqueued(struct request *request);
/* Around a signal: what trace_signal_begin() returned goes to trace_signal_end(). */
uint64_t trace_signal_begin(struct wring *ring, uint32_t *ret_kind);
void trace_signal_end(struct wring *ring, uint32_t kind, uint64_t begin);

#endif
