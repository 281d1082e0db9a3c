/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tenant's state: sessions, registered buffers and keys, as plain tables in one piece of shared memory
 * that outlives the worker that uses it. The supervisor creates it (a memfd) and never reads it; a worker maps it.
 *
 * The worker before may have been taken over, so nothing in it is believed: state_attach() checks every field it will
 * follow and drops rows that are wrong. Ids are (generation << 32 | index + 1): an id whose row has moved on is stale,
 * never somebody else's.
 *
 * Exactly once: opening a session or registering a buffer writes the row with the tag of the request that asked (see
 * journal tags in src/daemon) and publishes it last; a request that is run again after a crash finds its row by tag.
 *
 * One writer process at a time; inside it the engine's lock protects all tables.
 */
#ifndef VACCEL_ENGINE_STATE_H
#define VACCEL_ENGINE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/config.h"
#include "op/limit.h"
#include "util/error.h"

struct state;

struct state_extent {
	uint64_t addr; /* as the owner's device sees it */
	uint64_t len;
};

struct state_buffer {
	uint64_t id;
	uint64_t session;
	uint32_t owner;
	uint64_t len;
	const struct state_extent *extents;
	uint32_t n_extents;
};

/* A key. Its bytes lie in the state's memory, until it is removed; of one that the host holds they are its name. */
struct state_key {
	uint64_t id;
	uint64_t session;
	uint32_t owner;
	uint32_t type;	 /* enum vaccel_key_type */
	uint32_t bits;	 /* 0: held */
	uint32_t modes;	 /* set of 1 << enum vaccel_cipher_mode; 0: any */
	uint32_t rights; /* set of enum vaccel_key_right; of one that is held, what the configuration says now counts */
	uint32_t note;	 /* whatever who made it wants to find again */
	bool held;
	const void *data;
	uint32_t len;
};

/* Bytes that the tables for these limits take. */
size_t state_size(const struct config_limits *limits);

/*
 * memory: state_size() bytes, zeroed when new, kept by the caller until state_detach(). NULL: private memory.
 * An existing state is checked; *ret_dropped counts the rows that were thrown away as damaged.
 */
int state_attach(void *memory, size_t size, const struct config_limits *limits, struct state **ret_state,
		 unsigned int *ret_dropped, struct error *error);
void state_detach(struct state *state);

/* owner: a connection. tag: of the request, 0 for none. An existing row of the same owner and tag is returned again. */
int state_session_open(struct state *state, uint32_t owner, uint64_t tag, uint64_t *ret_id, struct error *error);
/* Also forgets its buffers and keys. */
int state_session_close(struct state *state, uint32_t owner, uint64_t id, struct error *error);
/* 0, -EBADF never given out, -ESTALE closed. An id of another owner was never given out. */
int state_session_check(const struct state *state, uint32_t owner, uint64_t id, struct error *error);

/* Without extents a buffer lasts only as long as the process: the next one drops it. */
int state_buffer_add(struct state *state, uint32_t owner, uint64_t session, uint64_t tag, uint64_t len,
		     const struct state_extent *extents, uint32_t n_extents, uint64_t *ret_id, struct error *error);
int state_buffer_remove(struct state *state, uint32_t owner, uint64_t id, struct error *error);
/* 0, -ENXIO never given out, -ESTALE gone. */
int state_buffer_get(const struct state *state, uint32_t owner, uint64_t id, struct state_buffer *ret_buffer,
		     struct error *error);

/* Copies key->data. id, session and owner of key are not looked at. The same tag of the same owner gives the same key again. */
int state_key_add(struct state *state, uint32_t owner, uint64_t session, uint64_t tag, const struct state_key *key,
		  uint64_t *ret_id, struct error *error);
/* 0, -ENOENT never given out here, -ESTALE gone. */
int state_key_get(const struct state *state, uint32_t owner, uint64_t id, struct state_key *ret_key,
		  struct error *error);
/* Its id is stale from now on, its bytes stay where they are until state_key_wipe() or the next worker overwrites them. */
int state_key_retire(struct state *state, uint32_t owner, uint64_t id, struct error *error);
void state_key_wipe(struct state *state, uint64_t id);
/* Both at once. */
int state_key_remove(struct state *state, uint32_t owner, uint64_t id, struct error *error);
/* Walks the keys of an owner (0: of all): *cursor starts at 0; false at the end. */
bool state_key_next(const struct state *state, uint32_t owner, uint32_t *cursor, struct state_key *ret_key);

/* Walks the buffers (owner 0: of all): *cursor starts at 0; false at the end. */
bool state_buffer_next(const struct state *state, uint32_t owner, uint32_t *cursor, struct state_buffer *ret_buffer);
/* Walks the session ids of an owner. */
bool state_session_next(const struct state *state, uint32_t owner, uint32_t *cursor, uint64_t *ret_id);
/* Of a session that there is. Not 0, and not more than limits.connections. */
uint32_t state_session_owner(const struct state *state, uint64_t id);

/* How often each limit refused something, in the state's memory. */
struct limit_counts *state_limits(struct state *state);
/* Where they lie in that memory, for who maps it without attaching. */
size_t state_limits_offset(void);

uint32_t state_n_sessions(const struct state *state);
uint32_t state_n_buffers(const struct state *state);
/* Retired ones with them, as long as they have bytes. */
uint32_t state_n_keys(const struct state *state);

/* Everything of one owner goes. */
void state_owner_gone(struct state *state, uint32_t owner);

#endif
