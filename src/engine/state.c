/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See state.h. Layout of the memory: struct layout, then session rows, buffer rows, the pool of extents, key rows, and on
 * pages of their own the bytes of keys (state_key.c). Everything else (which extents are free, where to look for a free
 * row) is private to the process and made anew at attach.
 *
 * A row is live when its owner is not 0. Owner is written last when a row is made and first when it goes, so that a crash
 * at any point leaves either the row or none.
 */
#include "engine/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/state_internal.h"
#include "util/util.h"

#define STATE_MAGIC	   0x5641434345535433ull /* "VACCEST3" */
#define EXTENTS_PER_BUFFER 64
/* So that bytes of keys that are not there are pages that are not there. */
#define PAGE 4096

static uint32_t extents_for(const struct config_limits *limits)
{
	return MAX(limits->buffers * EXTENTS_PER_BUFFER, limits->max_extents);
}

static size_t key_rows_offset(const struct config_limits *limits)
{
	return sizeof(struct layout) + (size_t)limits->sessions * sizeof(struct session_row) +
	       (size_t)limits->buffers * sizeof(struct buffer_row) +
	       (size_t)extents_for(limits) * sizeof(struct state_extent);
}

static size_t key_bytes_offset(const struct config_limits *limits)
{
	size_t rows = key_rows_offset(limits) + (size_t)limits->keys * sizeof(struct key_row);

	return (rows + PAGE - 1) / PAGE * PAGE;
}

size_t state_size(const struct config_limits *limits)
{
	return key_bytes_offset(limits) + (size_t)limits->keys * VACCEL_KEY_BYTES;
}

const struct session_row *live_session(const struct state *state, uint64_t id)
{
	uint32_t index = id_index(id);

	if (index >= state->max_sessions || !state->sessions[index].owner ||
	    state->sessions[index].generation != id_generation(id))
		return NULL;
	return &state->sessions[index];
}

/* Whether a row that was found in inherited memory can be followed. Marks its extents. */
static bool buffer_row_ok(struct state *state, const struct buffer_row *row)
{
	const struct session_row *session = live_session(state, row->session);
	uint64_t sum = 0, total;

	if (!session || session->owner != row->owner || !row->generation || !row->len || !row->n_extents ||
	    !range_in(row->first_extent, row->n_extents, state->max_extents))
		return false;
	for (uint32_t i = 0; i < row->n_extents; i++) {
		const struct state_extent *extent = &state->extents[row->first_extent + i];

		if (state->extent_used[row->first_extent + i] || !extent->len || add_u64(sum, extent->len, &sum))
			return false;
	}
	if (sum != row->len || add_u64(state->registered_bytes, sum, &total))
		return false;
	memset(state->extent_used + row->first_extent, 1, row->n_extents);
	return true;
}

static unsigned int adopt_rows(struct state *state)
{
	unsigned int dropped = 0;

	for (uint32_t i = 0; i < state->max_sessions; i++) {
		if (!state->sessions[i].owner)
			continue;
		/* No id of generation 0 is valid, and no connection has a higher number: nobody could ever close it. */
		if (state->sessions[i].generation && state->sessions[i].owner <= state->max_owner) {
			state->n_sessions++;
			(*tag_bucket(state->tagged, state->sessions[i].tag))++;
			continue;
		}
		set_owner(&state->sessions[i].owner, 0);
		dropped++;
	}
	for (uint32_t i = 0; i < state->max_buffers; i++) {
		if (!state->buffers[i].owner)
			continue;
		if (buffer_row_ok(state, &state->buffers[i])) {
			state->n_buffers++;
			state->registered_bytes += state->buffers[i].len;
			continue;
		}
		set_owner(&state->buffers[i].owner, 0);
		dropped++;
	}
	return dropped + state_adopt_keys(state);
}

static bool layout_matches(const struct state *state)
{
	const struct layout *layout = state->layout;

	return layout->magic == STATE_MAGIC && layout->max_sessions == state->max_sessions &&
	       layout->max_buffers == state->max_buffers && layout->max_extents == state->max_extents &&
	       layout->max_keys == state->max_keys;
}

/* Of memory that is new the large part, which nobody has written to, stays untouched. */
static void layout_init(struct state *state, size_t size)
{
	size_t tables = (size_t)((char *)state->key_bytes - (char *)state->layout);

	explicit_bzero(state->layout, state->layout->magic ? size : tables);
	*state->layout = (struct layout){
		.max_sessions = state->max_sessions,
		.max_buffers = state->max_buffers,
		.max_extents = state->max_extents,
		.max_keys = state->max_keys,
	};
	state->layout->magic = STATE_MAGIC;
}

/* For whom keeps no memory himself: keys are in it, so that it is in no core dump. */
static void *private_memory(size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	madvise(map, size, MADV_DONTDUMP);
	return map;
}

static void find_tables(struct state *state, void *memory, const struct config_limits *limits)
{
	state->layout = memory;
	state->max_sessions = limits->sessions;
	state->max_buffers = limits->buffers;
	state->max_keys = limits->keys;
	state->max_registered_bytes = limits->registered_bytes;
	state->max_owner = limits->connections;
	state->sessions = (struct session_row *)(state->layout + 1);
	state->buffers = (struct buffer_row *)(state->sessions + state->max_sessions);
	state->extents = (struct state_extent *)(state->buffers + state->max_buffers);
	state->keys = (struct key_row *)((char *)memory + key_rows_offset(limits));
	state->key_bytes = (uint8_t *)memory + key_bytes_offset(limits);
}

int state_attach(void *memory, size_t size, const struct config_limits *limits, struct state **ret_state,
		 unsigned int *ret_dropped, struct error *error)
{
	struct state *state = calloc(1, sizeof(*state));
	size_t need = state_size(limits);
	unsigned int dropped = 0;

	if (memory && size < need) {
		free(state);
		return error_set(error, -EINVAL, "state memory: %zu bytes, the limits need %zu", size, need);
	}
	if (state) {
		state->max_extents = extents_for(limits);
		state->extent_used = calloc(state->max_extents, 1);
		state->private_memory = memory ? NULL : private_memory(need);
		state->private_size = need;
	}
	if (!state || !state->extent_used || (!memory && !state->private_memory)) {
		state_detach(state);
		return error_set(error, -ENOMEM, "state: no memory for %zu bytes", need);
	}
	find_tables(state, memory ? memory : state->private_memory, limits);
	if (layout_matches(state)) {
		dropped = adopt_rows(state);
	} else {
		dropped = state->layout->magic != 0;
		layout_init(state, memory ? size : need);
	}
	if (ret_dropped)
		*ret_dropped = dropped;
	*ret_state = state;
	return 0;
}

void state_detach(struct state *state)
{
	if (!state)
		return;
	if (state->private_memory) {
		state_wipe_keys(state);
		munmap(state->private_memory, state->private_size);
	}
	free(state->extent_used);
	free(state);
}

/* 0 live and of this owner; -EBADF; -ESTALE. For rows of all kinds. */
HOT int state_check_id(uint32_t row_owner, uint32_t row_generation, uint32_t owner, uint64_t id)
{
	uint32_t generation = id_generation(id);

	if (!generation || generation > row_generation)
		return -EBADF;
	if (generation < row_generation || !row_owner)
		return -ESTALE;
	return row_owner == owner ? 0 : -EBADF;
}

HOT int state_session_check(const struct state *state, uint32_t owner, uint64_t id, struct error *error)
{
	uint32_t index = id_index(id);
	int r = -EBADF;

	if (index < state->max_sessions)
		r = state_check_id(state->sessions[index].owner, state->sessions[index].generation, owner, id);
	if (r == -EBADF)
		return error_set(error, r, "session %#" PRIx64 ": was never opened here", id);
	if (r == -ESTALE)
		return error_set(error, r, "session %#" PRIx64 ": is closed", id);
	return 0;
}

static bool find_session_by_tag(struct state *state, uint32_t owner, uint64_t tag, uint64_t *ret_id)
{
	if (!tag || !*tag_bucket(state->tagged, tag))
		return false;
	for (uint32_t i = 0; i < state->max_sessions; i++) {
		const struct session_row *row = &state->sessions[i];

		if (row->owner == owner && row->tag == tag) {
			*ret_id = make_id(row->generation, i);
			return true;
		}
	}
	return false;
}

int state_session_open(struct state *state, uint32_t owner, uint64_t tag, uint64_t *ret_id, struct error *error)
{
	if (find_session_by_tag(state, owner, tag, ret_id))
		return 0;
	for (uint32_t n = 0; n < state->max_sessions; n++) {
		uint32_t i = (state->next_session + n) % state->max_sessions;
		struct session_row *row = &state->sessions[i];

		if (row->owner || row->generation == UINT32_MAX)
			continue;
		row->generation++;
		row->tag = tag;
		set_owner(&row->owner, owner);
		state->next_session = i + 1;
		state->n_sessions++;
		(*tag_bucket(state->tagged, tag))++;
		*ret_id = make_id(row->generation, i);
		return 0;
	}
	return limit_refuse(&state->layout->limits, LIMIT_SESSIONS, state->max_sessions, error, -EDQUOT,
			    "session: cannot open: all %u are in use", state->max_sessions);
}

static void buffer_drop(struct state *state, struct buffer_row *row)
{
	set_owner(&row->owner, 0);
	memset(state->extent_used + row->first_extent, 0, row->n_extents);
	state->n_buffers--;
	state->registered_bytes -= row->len;
}

int state_session_close(struct state *state, uint32_t owner, uint64_t id, struct error *error)
{
	int r = state_session_check(state, owner, id, error);

	if (r < 0)
		return r;
	for (uint32_t i = 0; state->n_buffers && i < state->max_buffers; i++)
		if (state->buffers[i].owner && state->buffers[i].session == id)
			buffer_drop(state, &state->buffers[i]);
	state_session_drop_keys(state, id);
	set_owner(&state->sessions[id_index(id)].owner, 0);
	state->n_sessions--;
	/* The rows are shared with nobody but the supervisor, which keeps them for the next worker. */
	(*tag_bucket(state->tagged, state->sessions[id_index(id)].tag))--;
	return 0;
}

static bool find_extents(const struct state *state, uint32_t n, uint32_t *ret_first)
{
	uint32_t run = 0;

	for (uint32_t i = 0; i < state->max_extents; i++) {
		run = state->extent_used[i] ? 0 : run + 1;
		if (run == n) {
			*ret_first = i + 1 - n;
			return true;
		}
	}
	return false;
}

static bool find_buffer_by_tag(const struct state *state, uint32_t owner, uint64_t tag, uint64_t *ret_id)
{
	for (uint32_t i = 0; tag && i < state->max_buffers; i++) {
		const struct buffer_row *row = &state->buffers[i];

		if (row->owner == owner && row->tag == tag) {
			*ret_id = make_id(row->generation, i);
			return true;
		}
	}
	return false;
}

static int take_bytes(struct state *state, uint64_t len, struct error *error)
{
	uint64_t sum;

	if (add_u64(state->registered_bytes, len, &sum) || sum > state->max_registered_bytes)
		return limit_refuse(&state->layout->limits, LIMIT_REGISTERED_BYTES, state->max_registered_bytes, error,
				    -EDQUOT,
				    "buffer: cannot register %" PRIu64 " bytes: %" PRIu64 " are registered already",
				    len, state->registered_bytes);
	state->registered_bytes = sum;
	return 0;
}

static int free_buffer_row(struct state *state, uint32_t *ret_index, struct error *error)
{
	for (uint32_t n = 0; n < state->max_buffers; n++) {
		uint32_t i = (state->next_buffer + n) % state->max_buffers;

		if (!state->buffers[i].owner && state->buffers[i].generation != UINT32_MAX) {
			state->next_buffer = i + 1;
			*ret_index = i;
			return 0;
		}
	}
	return limit_refuse(&state->layout->limits, LIMIT_BUFFERS, state->max_buffers, error, -EDQUOT,
			    "buffer: cannot register: all %u are in use", state->max_buffers);
}

int state_buffer_add(struct state *state, uint32_t owner, uint64_t session, uint64_t tag, uint64_t len,
		     const struct state_extent *extents, uint32_t n_extents, uint64_t *ret_id, struct error *error)
{
	struct buffer_row *row;
	uint32_t index = 0, first = 0;
	int r = state_session_check(state, owner, session, error);

	if (r < 0)
		return r;
	if (find_buffer_by_tag(state, owner, tag, ret_id))
		return 0;
	if (n_extents && !find_extents(state, n_extents, &first))
		return limit_refuse(&state->layout->limits, LIMIT_EXTENTS, state->max_extents, error, -EDQUOT,
				    "buffer: cannot register: no room for %u extents", n_extents);
	r = free_buffer_row(state, &index, error);
	if (r == 0)
		r = take_bytes(state, len, error);
	if (r < 0)
		return r;
	row = &state->buffers[index];
	if (n_extents)
		memcpy(state->extents + first, extents, n_extents * sizeof(*extents));
	memset(state->extent_used + first, 1, n_extents);
	row->generation++;
	row->tag = tag;
	row->session = session;
	row->len = len;
	row->first_extent = first;
	row->n_extents = n_extents;
	set_owner(&row->owner, owner);
	state->n_buffers++;
	*ret_id = make_id(row->generation, index);
	return 0;
}

int state_buffer_get(const struct state *state, uint32_t owner, uint64_t id, struct state_buffer *ret_buffer,
		     struct error *error)
{
	uint32_t index = id_index(id);
	const struct buffer_row *row;
	int r = -EBADF;

	if (index < state->max_buffers)
		r = state_check_id(state->buffers[index].owner, state->buffers[index].generation, owner, id);
	if (r == -EBADF)
		return error_set(error, -ENXIO, "buffer %#" PRIx64 ": was never registered here", id);
	if (r == -ESTALE)
		return error_set(error, r, "buffer %#" PRIx64 ": is no longer registered", id);
	row = &state->buffers[index];
	*ret_buffer = (struct state_buffer){
		.id = id,
		.session = row->session,
		.owner = row->owner,
		.len = row->len,
		.extents = state->extents + row->first_extent,
		.n_extents = row->n_extents,
	};
	return 0;
}

int state_buffer_remove(struct state *state, uint32_t owner, uint64_t id, struct error *error)
{
	struct state_buffer buffer;
	int r = state_buffer_get(state, owner, id, &buffer, error);

	if (r == 0)
		buffer_drop(state, &state->buffers[id_index(id)]);
	return r;
}

bool state_buffer_next(const struct state *state, uint32_t owner, uint32_t *cursor, struct state_buffer *ret_buffer)
{
	while (*cursor < state->max_buffers) {
		const struct buffer_row *row = &state->buffers[*cursor];
		uint64_t id = make_id(row->generation, (*cursor)++);

		if (row->owner && (!owner || row->owner == owner))
			return state_buffer_get(state, row->owner, id, ret_buffer, NULL) == 0;
	}
	return false;
}

bool state_session_next(const struct state *state, uint32_t owner, uint32_t *cursor, uint64_t *ret_id)
{
	while (*cursor < state->max_sessions) {
		const struct session_row *row = &state->sessions[*cursor];

		*ret_id = make_id(row->generation, (*cursor)++);
		if (row->owner && (!owner || row->owner == owner))
			return true;
	}
	return false;
}

uint32_t state_session_owner(const struct state *state, uint64_t id)
{
	return state->sessions[id_index(id)].owner;
}

struct limit_counts *state_limits(struct state *state)
{
	return &state->layout->limits;
}

size_t state_limits_offset(void)
{
	return offsetof(struct layout, limits);
}

uint32_t state_n_sessions(const struct state *state)
{
	return state->n_sessions;
}

uint32_t state_n_buffers(const struct state *state)
{
	return state->n_buffers;
}

void state_owner_gone(struct state *state, uint32_t owner)
{
	uint32_t cursor = 0;
	uint64_t id;

	while (state_session_next(state, owner, &cursor, &id))
		state_session_close(state, owner, id, NULL);
}
