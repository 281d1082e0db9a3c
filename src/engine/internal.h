/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the engine share: engine.c (life, plugins, information), session.c (sessions and buffers),
 * keys.c (keys, and the operations on them), held.c (keys of the configuration),
 * schedule.c (queues, threads), batch.c (what runs together), run.c (running), copy.c (arguments that are parsed).
 *
 * Locks: engine->lock protects every member below that is not constant after engine_new(), and struct state. A plugin's
 * own lock is taken only without engine->lock held. Callbacks (done, started, release, plugin code) run with neither...
 * except plugin callbacks other than ops, which run under the plugin's lock.
 */
#ifndef VACCEL_ENGINE_INTERNAL_H
#define VACCEL_ENGINE_INTERNAL_H

#include <pthread.h>

#include "engine/engine.h"
#include "engine/plugin.h"

/* Requests in a doubly linked list. */
struct request_list {
	struct engine_request *head, *tail;
};

struct engine_session {
	uint64_t id;
	uint32_t owner;
	bool closing;
	bool queued; /* in engine->ready */
	struct engine_session *next_ready;
	struct request_list waiting;
	uint64_t served; /* work that it was given, in the unit of costs; comparable between ready sessions */
	uint32_t n_running;
	uint32_t running_in[CONFIG_MAX_PLUGINS]; /* ops under way, by plugin */
	bool opened[CONFIG_MAX_PLUGINS];	 /* written under the plugin's lock; atomic */
	void *plugin_session[CONFIG_MAX_PLUGINS];
};

struct engine_buffer {
	uint64_t id;
	uint64_t session;
	uint32_t owner;
	uint32_t refs; /* requests that use it */
	uint64_t len;
	struct engine_mapping mapping; /* data NULL: not bound */
};

struct engine_key {
	uint64_t id; /* 0: not filled */
	uint64_t session;
	uint32_t owner;
	uint32_t refs; /* requests that use it */
	bool gone;     /* for all others */
	struct op_key about;
	struct vaccel_plugin_crypto_key plugin; /* what plugins see; constant as long as somebody uses it */
};

#define HELD_KEY_BYTES 64 /* the longest of AES: two for XTS */

/* A key that the host holds. */
struct held_key {
	const struct config_held_key *config;
	uint8_t *data;
	uint32_t len;
};

#define COST_CLASSES 65

/* One way to serve an op. */
struct candidate {
	unsigned int plugin; /* index in engine->plugins.plugins */
	int (*run)(const struct vaccel_plugin_call *call);
	/* How long requests take lately, by the binary logarithm of their cost; 0: not known. Relaxed atomics, no lock. */
	uint64_t took_ns[COST_CLASSES];
};

/* How an op of the table is served; in the order of preference. */
struct route {
	const struct op_desc *op;
	uint32_t parsed; /* set of its arguments */
	struct candidate candidates[CONFIG_MAX_PLUGINS];
	unsigned int n_candidates;
};

/* A done() that is being called; on the stack of the thread that calls it, since the request may be gone by its end. */
struct ending {
	uint32_t owner;
	struct ending *next, *prev;
};

struct engine {
	const struct config *config;
	struct state *state;
	bool own_state;
	char host[96];

	struct plugin_set plugins;
	struct route *routes; /* one per row of the op table */
	size_t n_routes;
	bool uses_keys; /* some plugin does */
	struct engine_failure *failures;
	size_t n_failures;

	struct held_key held[CONFIG_MAX_HELD_KEYS];
	size_t n_held;
	uint8_t *held_bytes;

	uint64_t max_copies; /* bytes of arguments copied at once */
	uint64_t copies;     /* now; atomic */

	pthread_mutex_t lock;
	pthread_cond_t work; /* a session became ready, or a plugin free, or stopping */
	uint64_t watched_ns; /* when a thread will look again for what is due by then; 0: none will */
	pthread_cond_t idle; /* a request ended, or left its queue, or its done() returned */
	bool stopping;
	struct engine_session *ready_head, *ready_tail; /* sessions with requests waiting, in turn */
	uint64_t served;				/* of the session that was last given something, before that */
	struct engine_session **sessions;		/* by row of the state */
	struct engine_buffer *buffers;			/* by row of the state; id 0: none */
	uint32_t n_bound;				/* of them that have an id */
	struct engine_key *keys;			/* by row of the state */
	uint32_t n_gone;				/* of them that are gone, but have not ended */
	struct request_list running;
	uint32_t n_running; /* of the list; read without the lock as a hint */
	struct ending *endings;

	pthread_t *threads;
	unsigned int n_threads;

	pthread_t clock; /* ends requests whose deadline passes while they wait */
	pthread_cond_t clock_wake;
	bool clock_started;
};

/* A look at what may start. */
struct batch_look {
	uint64_t now;
	uint64_t nearest_ns;		       /* when the first of those that wait for others is due; 0: none does */
	const struct engine_request *known[8]; /* that were found to wait */
	uint32_t n_known;
};

/* engine.c */
struct route *engine_route(struct engine *engine, uint32_t op);
/* That name, a plugin or a key, does not serve, which is logged. */
void note_failure(struct engine *engine, const char *name, const struct error *error);

/* The plugin whose turn it is. Every request comes by here several times, so this and the next are no calls. */
static inline struct candidate *candidate_of(struct engine *engine, const struct engine_request *request)
{
	return &engine_route(engine, request->op.op)->candidates[request->candidate];
}

/* How long requests of its size take there. */
static inline uint64_t *took_of(struct candidate *candidate, const struct engine_request *request)
{
	return &candidate->took_ns[request->cost ? 64 - __builtin_clzll(request->cost) : 0];
}

/* session.c; all under engine->lock but release_mapping() */
void release_mapping(struct engine *engine, uint64_t id, const struct engine_mapping *mapping);
int session_get(struct engine *engine, uint32_t owner, uint64_t id, struct engine_session **ret_session,
		struct error *error);
int buffers_pin(struct engine *engine, struct engine_request *request, struct error *error);
void buffers_unpin(struct engine_request *request);

/* keys.c */
/* Under engine->lock: finds the key that the request names, and checks it. The request has it until request_unpin(). */
int key_pin(struct engine *engine, struct engine_request *request, const struct op_desc *op, struct error *error);
/* It is gone, and nobody uses it any more: its bytes go. Not under engine->lock. */
void key_end(struct engine *engine, struct engine_key *key);
/* Under engine->lock: whether the session has keys, or some that have not ended. */
bool session_has_keys(const struct engine *engine, uint32_t owner, uint64_t session);
/* The session's keys go. No request of it runs or waits. Not under engine->lock. */
void release_keys(struct engine *engine, uint32_t owner, uint64_t session);
/* Runs a request of an operation that the engine serves itself; its result. */
int builtin_run(struct engine *engine, struct engine_request *request);

/* Under engine->lock: the request needs its buffers and its key no more. If it was the last to use a key that is gone, it
 * keeps it until finish(), which ends it. */
static inline void request_unpin(struct engine_request *request)
{
	buffers_unpin(request);
	if (request->key && (--request->key->refs || !request->key->gone))
		request->key = NULL;
}

/* held.c */
/* Reads the keys of the configuration; those that cannot be had are noted. */
int held_load(struct engine *engine, struct error *error);
void held_free(struct engine *engine);
/* name: VACCEL_KEY_NAME bytes, or ends before. NULL: there is none. */
const struct held_key *held_find(const struct engine *engine, const char *name);
struct op_key held_about(const struct held_key *held);

/* copy.c */
void copy_init(struct engine *engine);
/* Makes the request's parsed arguments its own, and checks what is in them. The plugin is entered. */
int copy_parsed(struct engine *engine, struct engine_request *request, const struct route *route);
void copies_free(struct engine *engine, struct engine_request *request);

/* batch.c */
/* With what the request may run together: its plugin has a say in that. In the submitting thread, without the lock. */
void batch_ask(struct engine *engine, struct engine_request *request);
/* Under engine->lock: it need not wait for others (any more). */
bool batch_is_due(struct engine *engine, struct batch_look *look, const struct engine_request *request);
/* Under engine->lock: whether the next one of the session may run with first, which is marked running. */
bool batch_may_join(struct engine *engine, const struct engine_request *first, const struct engine_session *session,
		    uint64_t now);

/* run.c */
/* Under engine->lock, by who took it off its queue. */
void mark_running(struct engine *engine, struct engine_request *request, uint64_t now);
/* Run what is marked running, to its end or back into its queue. */
void run_request(struct engine *engine, struct engine_request *request, struct ending *ending);
void run_batch(struct engine *engine, struct engine_request *const *requests, size_t n, struct ending *ending);
/* Calls done(). It is in no list of the engine. */
void finish(struct engine *engine, struct engine_request *request, int result);
/* Under engine->lock, as soon as a request is in no list of the engine; and after its done(). */
void ending_begin(struct engine *engine, struct ending *ending, uint32_t owner);
void ending_end(struct engine *engine, struct ending *ending);
/* Under engine->lock: whether a done() for a request of the owner is being called. */
bool owner_is_ending(const struct engine *engine, uint32_t owner);

/* schedule.c */
int schedule_start(struct engine *engine, struct error *error);
void schedule_stop(struct engine *engine);
/* Under engine->lock, which it gives up meanwhile: completes what waits of the session with -ECANCELED and text. */
void schedule_cancel_waiting(struct engine *engine, struct engine_session *session, const char *text);
/* Under engine->lock: to the head of its session's queue, for the next plugin. */
void schedule_put_back(struct engine *engine, struct engine_request *request);
void list_add(struct request_list *list, struct engine_request *request);
void list_remove(struct request_list *list, struct engine_request *request);

#endif
