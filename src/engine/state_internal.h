/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the state share: state.c (sessions, buffers, attaching), state_key.c (keys). See state.h. */
#ifndef VACCEL_ENGINE_STATE_INTERNAL_H
#define VACCEL_ENGINE_STATE_INTERNAL_H

#include <vaccel/ops.h>

#include "engine/state.h"

struct layout {
	uint64_t magic;
	uint32_t max_sessions;
	uint32_t max_buffers;
	uint32_t max_extents;
	uint32_t max_keys;
	struct limit_counts limits;
};

struct session_row {
	uint32_t owner;
	uint32_t generation;
	uint64_t tag;
};

struct buffer_row {
	uint32_t owner;
	uint32_t generation;
	uint64_t tag;
	uint64_t session;
	uint64_t len;
	uint32_t first_extent;
	uint32_t n_extents;
};

/* len is not 0 as long as there may be bytes, also without an owner: see state_key.c. */
struct key_row {
	uint32_t owner;
	uint32_t generation;
	uint64_t tag;
	uint64_t session;
	uint32_t type, bits, modes, rights;
	uint32_t note;
	uint32_t held;
	uint32_t len;
	uint32_t reserved;
};

#define TAG_BUCKETS 256 /* an 8 bit hash */

struct state {
	void *private_memory; /* NULL when the caller's is used */
	size_t private_size;
	struct layout *layout;
	struct session_row *sessions;
	struct buffer_row *buffers;
	struct state_extent *extents;
	struct key_row *keys;
	uint8_t *key_bytes; /* VACCEL_KEY_BYTES per row */
	uint8_t *extent_used;
	uint32_t max_sessions, max_buffers, max_extents, max_keys;
	uint32_t max_owner;
	uint32_t next_session, next_buffer, next_key; /* where to look first */
	uint32_t n_sessions, n_buffers;
	uint32_t n_keys; /* rows that are not free: they have an owner, or bytes */
	uint64_t registered_bytes, max_registered_bytes;
	/* Live sessions by what their tag hashes to: most tags are new, and then no row is read. The same for keys. */
	uint32_t tagged[TAG_BUCKETS];
	uint32_t keys_tagged[TAG_BUCKETS];
};

static inline uint64_t make_id(uint32_t generation, uint32_t index)
{
	return (uint64_t)generation << 32 | (index + 1);
}

static inline uint32_t id_index(uint64_t id)
{
	return (uint32_t)id - 1;
}

static inline uint32_t id_generation(uint64_t id)
{
	return (uint32_t)(id >> 32);
}

static inline uint32_t *tag_bucket(uint32_t *buckets, uint64_t tag)
{
	return &buckets[(tag * UINT64_C(0x9e3779b97f4a7c15)) >> 56];
}

static inline void set_owner(uint32_t *field, uint32_t owner)
{
	__atomic_store_n(field, owner, __ATOMIC_RELEASE);
}

/* state.c; the first: NULL if it is closed, or never was */
const struct session_row *live_session(const struct state *state, uint64_t id);
int state_check_id(uint32_t row_owner, uint32_t row_generation, uint32_t owner, uint64_t id);

/* state_key.c */
/* Judges the rows of a worker before; how many were dropped. */
unsigned int state_adopt_keys(struct state *state);
void state_session_drop_keys(struct state *state, uint64_t session);
/* The memory goes. */
void state_wipe_keys(struct state *state);

#endif
