/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys in the state (state.h). A row says in len how many bytes may lie in its place, from before the first is written
 * until after the last is overwritten: what a worker that died in between has left, without an owner, is found by that
 * and overwritten when the next one attaches. A row that has neither owner nor bytes is free.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "engine/state_internal.h"
#include "op/key.h"
#include "op/name.h"
#include "util/util.h"

static uint8_t *bytes_of(const struct state *state, uint32_t index)
{
	return state->key_bytes + (size_t)index * VACCEL_KEY_BYTES;
}

/* Nothing but death comes between the instructions of a process: their order is all that matters. */
static void keep_order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void wipe_row(struct state *state, uint32_t index, uint32_t len)
{
	explicit_bzero(bytes_of(state, index), len);
	keep_order();
	state->keys[index].len = 0;
}

static bool held_name_ok(const uint8_t *bytes, uint32_t len)
{
	char name[VACCEL_KEY_NAME] = "";

	if (len >= sizeof(name))
		return false;
	memcpy(name, bytes, len);
	return strlen(name) == len && op_model_name_valid(name);
}

/* Whether a row that was found in inherited memory can be followed. */
static bool key_row_ok(const struct state *state, uint32_t index)
{
	const struct key_row *row = &state->keys[index];
	const struct session_row *session = live_session(state, row->session);

	if (!session || session->owner != row->owner || !row->generation || row->len > VACCEL_KEY_BYTES)
		return false;
	if (row->held)
		return row->held == 1 && held_name_ok(bytes_of(state, index), row->len);
	if (!row->rights || row->rights & ~(uint32_t)VACCEL_MAY_ALL)
		return false;
	if (row->type == VACCEL_KEY_AES && row->bits != row->len * 8)
		return false;
	return key_check_kind(row->type, row->modes, row->len, NULL) == 0;
}

unsigned int state_adopt_keys(struct state *state)
{
	unsigned int dropped = 0;

	for (uint32_t i = 0; i < state->max_keys; i++) {
		struct key_row *row = &state->keys[i];

		if (row->owner && key_row_ok(state, i)) {
			state->n_keys++;
			(*tag_bucket(state->keys_tagged, row->tag))++;
			continue;
		}
		dropped += row->owner != 0;
		if (!row->owner && !row->len)
			continue;
		set_owner(&row->owner, 0);
		wipe_row(state, i, VACCEL_KEY_BYTES);
	}
	return dropped;
}

void state_wipe_keys(struct state *state)
{
	for (uint32_t i = 0; state->keys && i < state->max_keys; i++)
		if (state->keys[i].len)
			wipe_row(state, i, VACCEL_KEY_BYTES);
}

static bool find_key_by_tag(struct state *state, uint32_t owner, uint64_t tag, uint64_t *ret_id)
{
	if (!tag || !*tag_bucket(state->keys_tagged, tag))
		return false;
	for (uint32_t i = 0; i < state->max_keys; i++) {
		const struct key_row *row = &state->keys[i];

		if (row->owner == owner && row->tag == tag) {
			*ret_id = make_id(row->generation, i);
			return true;
		}
	}
	return false;
}

static int free_key_row(struct state *state, uint32_t *ret_index, struct error *error)
{
	for (uint32_t n = 0; n < state->max_keys; n++) {
		uint32_t i = (state->next_key + n) % state->max_keys;

		if (!state->keys[i].owner && !state->keys[i].len && state->keys[i].generation != UINT32_MAX) {
			state->next_key = i + 1;
			*ret_index = i;
			return 0;
		}
	}
	return limit_refuse(&state->layout->limits, LIMIT_KEYS, state->max_keys, error, -EDQUOT,
			    "key: cannot take another: all %u are in use", state->max_keys);
}

int state_key_add(struct state *state, uint32_t owner, uint64_t session, uint64_t tag, const struct state_key *key,
		  uint64_t *ret_id, struct error *error)
{
	struct key_row *row;
	uint32_t index = 0;
	int r = state_session_check(state, owner, session, error);

	if (r < 0)
		return r;
	if (find_key_by_tag(state, owner, tag, ret_id))
		return 0;
	if (!key->len || key->len > VACCEL_KEY_BYTES)
		return error_set(error, -EINVAL, "key: %u bytes, not 1 to %d", key->len, VACCEL_KEY_BYTES);
	r = free_key_row(state, &index, error);
	if (r < 0)
		return r;
	row = &state->keys[index];
	row->len = key->len;
	keep_order();
	memcpy(bytes_of(state, index), key->data, key->len);
	row->generation++;
	row->tag = tag;
	row->session = session;
	row->type = key->type;
	row->bits = key->bits;
	row->modes = key->modes;
	row->rights = key->rights;
	row->note = key->note;
	row->held = key->held;
	set_owner(&row->owner, owner);
	state->n_keys++;
	(*tag_bucket(state->keys_tagged, tag))++;
	*ret_id = make_id(row->generation, index);
	return 0;
}

int state_key_get(const struct state *state, uint32_t owner, uint64_t id, struct state_key *ret_key,
		  struct error *error)
{
	uint32_t index = id_index(id);
	const struct key_row *row;
	int r = -EBADF;

	if (index < state->max_keys)
		r = state_check_id(state->keys[index].owner, state->keys[index].generation, owner, id);
	if (r == -EBADF)
		return error_set(error, -ENOENT, "key %#" PRIx64 ": was never given out here", id);
	if (r == -ESTALE)
		return error_set(error, r, "key %#" PRIx64 ": is gone", id);
	row = &state->keys[index];
	*ret_key = (struct state_key){
		.id = id,
		.session = row->session,
		.owner = row->owner,
		.type = row->type,
		.bits = row->bits,
		.modes = row->modes,
		.rights = row->rights,
		.note = row->note,
		.held = row->held,
		.data = bytes_of(state, index),
		.len = row->len,
	};
	return 0;
}

int state_key_retire(struct state *state, uint32_t owner, uint64_t id, struct error *error)
{
	struct state_key key;
	int r = state_key_get(state, owner, id, &key, error);

	if (r < 0)
		return r;
	set_owner(&state->keys[id_index(id)].owner, 0);
	(*tag_bucket(state->keys_tagged, state->keys[id_index(id)].tag))--;
	return 0;
}

void state_key_wipe(struct state *state, uint64_t id)
{
	struct key_row *row = &state->keys[id_index(id)];

	if (id_index(id) >= state->max_keys || row->owner || !row->len || row->generation != id_generation(id))
		return;
	wipe_row(state, id_index(id), row->len);
	state->n_keys--;
}

int state_key_remove(struct state *state, uint32_t owner, uint64_t id, struct error *error)
{
	int r = state_key_retire(state, owner, id, error);

	if (r == 0)
		state_key_wipe(state, id);
	return r;
}

bool state_key_next(const struct state *state, uint32_t owner, uint32_t *cursor, struct state_key *ret_key)
{
	while (state->n_keys && *cursor < state->max_keys) {
		const struct key_row *row = &state->keys[*cursor];
		uint64_t id = make_id(row->generation, (*cursor)++);

		if (row->owner && (!owner || row->owner == owner))
			return state_key_get(state, row->owner, id, ret_key, NULL) == 0;
	}
	return false;
}

void state_session_drop_keys(struct state *state, uint64_t session)
{
	for (uint32_t i = 0; state->n_keys && i < state->max_keys; i++) {
		const struct key_row *row = &state->keys[i];

		if (row->owner && row->session == session)
			state_key_remove(state, row->owner, make_id(row->generation, i), NULL);
	}
}

uint32_t state_n_keys(const struct state *state)
{
	return state->n_keys;
}
