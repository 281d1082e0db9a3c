/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: runs a decoded request, wherever it came from. It owns the plugins, the sessions, the registered buffers'
 * mappings, the queue of requests and the threads that run them. Used by the daemon's worker (many owners, state in
 * shared memory) and by the `local` transport (one owner, private state).
 *
 * Owners are connections: small numbers, not 0, chosen by the caller. An owner sees only its own sessions and buffers.
 *
 * Threads: every function may be called from any thread. A request belongs to the engine from engine_submit() until
 * done() is called: exactly once, from a thread of the engine, or from inside engine_submit() itself when the request
 * is refused or small (see engine_submit()). done() must not call engine_owner_gone() or engine_free().
 *
 * Scheduling: sessions with requests waiting share the work that the engine does, whatever the sizes of their requests;
 * within a session first come, first run, as many at once as plugin and threads allow. Requests that a plugin runs
 * together (plugin.h: batch) may wait for each other, and are handed to it as one operation.
 */
#ifndef VACCEL_ENGINE_ENGINE_H
#define VACCEL_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/config.h"
#include "engine/state.h"
#include "op/request.h"
#include "util/error.h"

struct engine;

/* Requests that run together, at most. */
#define ENGINE_MAX_BATCH 256

struct engine_request {
	/* Set by the caller. data of an argument in a registered buffer is filled in by the engine. */
	struct op_request op;
	uint32_t owner;
	uint64_t id;	     /* for engine_cancel(); unique in the owner */
	uint64_t arrived_ns; /* now_ns() on arrival; deadlines count from here. 0: now */
	/*
	 * May be NULL. For each plugin that tries it, in the thread that is in the plugin: it is entered (and may have to open
	 * its session first), the op is about to run, it is left.
	 */
	void (*entered)(struct engine_request *request);
	void (*started)(struct engine_request *request);
	void (*left)(struct engine_request *request);
	void (*done)(struct engine_request *request);
	/* May be NULL. It was put into its session's queue, for this plugin or the next. Under the engine's lock. */
	void (*queued)(struct engine_request *request);
	/* Set of arguments that nobody but the caller can write to: of others, the engine copies those that are parsed. */
	uint32_t own_args;
	bool alone; /* it must not run together with others */
	/* Of operations that make or remove something: by the tag, not 0, what an interrupted run of the same request made is
	 * found again; with again, what is gone already was removed by that run. */
	uint64_t tag;
	bool again;

	/* Set by the engine before done(). */
	int result; /* 0 or a negative errno, error.text says why */
	struct error error;
	const char *plugin; /* that ran it; NULL: none did */
	uint64_t start_ns;  /* around the plugin's run; 0: it did not run */
	uint64_t end_ns;
	uint64_t copied; /* bytes of arguments that engine and plugins copied */

	/* The engine's own. */
	struct engine_request *next, *prev;
	struct engine_session *from;
	struct engine_buffer *pinned[OP_MAX_ARGS];
	struct engine_key *key; /* that it uses */
	struct engine_copy {
		void *data;
		uint64_t len;
		bool secret;
	} copies[OP_MAX_PARSED];
	uint32_t n_copies;
	uint32_t copied_args;	/* set of those that lie in copies */
	unsigned int candidate; /* which of the op's plugins is to try it */
	uint64_t deadline_ns;	/* 0: none */
	uint64_t batch_key;	/* 0: runs alone */
	uint64_t batch_due_ns;	/* until then it may wait for others */
	uint32_t batch_max;
	uint64_t cost;
};

/* Loads the plugins. state NULL: private. What did not load is no error: engine_n_failures() tells. */
int engine_new(const struct config *config, struct state *state, struct engine **ret_engine, struct error *error);
/* Waits for what runs, cancels what waits, unloads. */
void engine_free(struct engine *engine);

int engine_session_open(struct engine *engine, uint32_t owner, uint64_t tag, uint64_t *ret_id, struct error *error);
/* Closes it if that takes no time. -EAGAIN: something runs in it, or plugins and buffers have something to let go. */
int engine_session_close_idle(struct engine *engine, uint32_t owner, uint64_t id, struct error *error);
/* Requests of it that wait are cancelled; returns when those that run have ended. */
int engine_session_close(struct engine *engine, uint32_t owner, uint64_t id, struct error *error);

/*
 * Registers memory that the caller has mapped. release(data, len, opaque) is called when it is unregistered and
 * nothing uses it any more (never under a lock of the engine). extents are kept in the state for the next worker.
 * A tag that has a bound buffer already gives that buffer's id again, and the new mapping is released at once.
 */
struct engine_mapping {
	void *data;
	uint64_t len;
	void (*release)(void *data, uint64_t len, void *opaque);
	void *opaque;
};

int engine_buffer_add(struct engine *engine, uint32_t owner, uint64_t session, uint64_t tag,
		      const struct engine_mapping *mapping, const struct state_extent *extents, uint32_t n_extents,
		      uint64_t *ret_id, struct error *error);
/*
 * Walks the owner's buffers that have no mapping: *cursor starts at 0. 1: a row and a copy of its extents, which the
 * caller frees; 0: no more; -ENOMEM.
 */
int engine_buffer_unbound(struct engine *engine, uint32_t owner, uint32_t *cursor, struct state_buffer *ret_row,
			  struct state_extent **ret_extents, struct error *error);
/*
 * Gives a buffer that has no mapping one: in a new worker, or when memory is back. -ENXIO not registered (any more),
 * -ESTALE its session is being closed, -EINVAL bound, or of another size.
 */
int engine_buffer_bind(struct engine *engine, uint64_t id, const struct engine_mapping *mapping, struct error *error);
/* The owner's memory changed: buffers lose their mapping until bound again. Waits for requests that use them. */
void engine_owner_unbind(struct engine *engine, uint32_t owner);
/* -EBUSY while a request uses it, -ENXIO also if it is another session's. */
int engine_buffer_remove(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id, struct error *error);
/* The mapping of a buffer, e.g. to read arguments of QUERY; -ENXIO, -ESTALE, -ERANGE. */
int engine_buffer_range(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id, uint64_t offset,
			uint64_t len, void **ret_data, struct error *error);

/* A copy of a registered buffer's extents, the caller's to free. Their number, -ENXIO, -ESTALE or -ENOMEM. */
int engine_buffer_extents(struct engine *engine, uint32_t owner, uint64_t id, struct state_extent **ret_extents);

/*
 * Keys: what KEY_IMPORT, KEY_OPEN and KEY_FREE do, for who has no request for it. The key belongs to the session and goes with
 * it. key: type, modes, rights, note, data and len are looked at, and checked: -EINVAL. Nobody else may write to data. -EDQUOT
 * limits.keys; -EOPNOTSUPP nothing here uses such keys.
 */
int engine_key_import(struct engine *engine, uint32_t owner, uint64_t session, uint64_t tag,
		      const struct state_key *key, uint64_t *ret_id, struct error *error);
/* -ENOENT: the configuration has no such key. */
int engine_key_open(struct engine *engine, uint32_t owner, uint64_t session, uint64_t tag, const char *name,
		    uint64_t *ret_id, struct error *error);
/* For all but requests that use it, which end as they would have, it is gone at once; its bytes are when those have ended. */
int engine_key_free(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id, struct error *error);
/* What it is; data is NULL. -ENOENT, -ESTALE, also for another session's. */
int engine_key_about(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id, struct state_key *ret_key,
		     struct error *error);

/*
 * Checks and queues. A request that will take no longer than spare_ns, as far as requests of its size tell, runs at once
 * in the calling thread when nothing else of its session waits or runs: a wake-up would delay it, and cost more than
 * the work if that is small. Such a request has ended when this returns, and engine_owner_gone() does not wait for it.
 * 0: never. What takes longer than ENGINE_SHORT_NS does so only while the engine is idle.
 */
#define ENGINE_SHORT_NS UINT64_C(100000)
void engine_submit(struct engine *engine, struct engine_request *request, uint64_t spare_ns);

/*
 * Copies of arguments, whoever makes them, count against limits.gathered_bytes: takes len bytes of it for argument index, or
 * refuses with -EDQUOT; gives them back.
 */
int engine_copy_take(struct engine *engine, unsigned int index, uint64_t len, struct error *error);
void engine_copy_give(struct engine *engine, uint64_t len);

/* 0: it will complete with -ECANCELED. -EBUSY: it runs. -ENOENT: not here (any more). */
int engine_cancel(struct engine *engine, uint32_t owner, uint64_t id, struct error *error);

/* Cancels what waits, waits for what runs and for every done(), frees sessions and buffers of the owner. */
void engine_owner_gone(struct engine *engine, uint32_t owner);
/* Operations that run now. A hint: no lock is taken. */
uint32_t engine_n_running(const struct engine *engine);

/* The oldest start_ns among the running requests and that request's owner and id; 0 when nothing runs. */
uint64_t engine_oldest(struct engine *engine, uint32_t *ret_owner, uint64_t *ret_id);

/* What serves an op: plugin and hardware, "" for none. Strings live as long as the engine. */
struct engine_op_info {
	uint32_t op;
	const char *name;
	const char *plugin;
	const char *hardware;
};

/* Row index; false past the end. One row per row of the op table. */
bool engine_op_info(const struct engine *engine, size_t index, struct engine_op_info *ret_info);

/* Plugins that were configured or found but do not serve, and why. The same of keys, which are called "key NAME". */
struct engine_failure {
	const char *plugin;
	const char *text;
};
size_t engine_n_failures(const struct engine *engine);
const struct engine_failure *engine_failure_at(const struct engine *engine, size_t index);

/* Names of the keys that the host holds and that can be used. Row index; NULL past the end. */
const char *engine_held_key(const struct engine *engine, size_t index);

/* What the sandbox has to leave open for a plugin that serves. Pointers live as long as the engine. */
struct engine_plugin_needs {
	const char *name;
	uint32_t needs;		  /* set of enum vaccel_plugin_need */
	const char *cache_dir;	  /* NULL: it has none */
	const char *models_dir;	  /* the same */
	const char *const *calls; /* that its ops make */
	size_t n_calls;
};

/* Plugin index; false past the end. */
bool engine_plugin_needs(const struct engine *engine, size_t index, struct engine_plugin_needs *ret_needs);

/* A line about this machine's processor, for struct virtio_accel_info. */
const char *engine_host(const struct engine *engine);

#endif
