/* SPDX-License-Identifier: Apache-2.0 */
/* src/engine/state.c: what a worker finds of the one before it, whether that one was honest or not. */
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/state_internal.h"
#include "util/util.h"

/* Small, so that tests reach the ends. The pool has 4 * 64 extents. */
static const struct config_limits limits = {
	.sessions = 3, .buffers = 4, .connections = 64, .max_extents = 16, .registered_bytes = 1 << 20
};

#define POOL 256
/* Before the rows: the sizes, and the counts of limits. */
#define HEADER sizeof(struct layout)
#define OWNER  7
#define OTHER  8

static const struct state_extent one[] = { { 0x1000, 4096 } };

static struct state *attach(void *memory)
{
	struct state *state = NULL;
	unsigned int dropped = 99;

	assert_int_equal(state_attach(memory, memory ? state_size(&limits) : 0, &limits, &state, &dropped, NULL), 0);
	assert_int_equal(dropped, 0);
	return state;
}

static uint64_t open_session(struct state *state, uint32_t owner, uint64_t tag)
{
	uint64_t id = 0;

	assert_int_equal(state_session_open(state, owner, tag, &id, NULL), 0);
	assert_int_equal(state_session_check(state, owner, id, NULL), 0);
	return id;
}

static uint64_t add_buffer(struct state *state, uint64_t session, uint64_t tag)
{
	uint64_t id = 0;

	assert_int_equal(state_buffer_add(state, OWNER, session, tag, 4096, one, 1, &id, NULL), 0);
	return id;
}

static int check(struct state *state, uint32_t owner, uint64_t id, const char *text)
{
	struct error error = { 0 };
	int r = state_session_check(state, owner, id, &error);

	if (r < 0)
		assert_text(error, text);
	return r;
}

static int get(struct state *state, uint32_t owner, uint64_t id, const char *text)
{
	struct state_buffer buffer;
	struct error error = { 0 };
	int r = state_buffer_get(state, owner, id, &buffer, &error);

	if (r < 0)
		assert_text(error, text);
	return r;
}

/* ---- Sessions ---- */

static void sessions_open_and_close(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t a = open_session(state, OWNER, 0), b = open_session(state, OWNER, 0);

	assert_true(a != b && a && b);
	assert_int_equal(state_n_sessions(state), 2);
	assert_int_equal(state_session_close(state, OWNER, a, NULL), 0);
	assert_int_equal(check(state, OWNER, a, "is closed"), -ESTALE);
	assert_int_equal(state_session_close(state, OWNER, a, NULL), -ESTALE);
	assert_int_equal(check(state, OWNER, b, NULL), 0);
	assert_int_equal(state_n_sessions(state), 1);
	state_detach(state);
	state_detach(NULL);
}

static void ids_never_given_out(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t id = open_session(state, OWNER, 0);
	const uint64_t never[] = { 0,
				   1,
				   UINT32_MAX,
				   id + 1,
				   id + ((uint64_t)1 << 32),
				   id & UINT32_MAX,
				   UINT64_MAX,
				   (uint64_t)1 << 32,
				   ((uint64_t)1 << 32) + limits.sessions + 1 };

	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		assert_int_equal(check(state, OWNER, never[i], "never opened"), -EBADF);
	assert_int_equal(check(state, OTHER, id, "never opened"), -EBADF);
	assert_int_equal(state_session_close(state, OTHER, id, NULL), -EBADF);
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		assert_int_equal(get(state, OWNER, never[i], "never registered"), -ENXIO);
	state_detach(state);
}

/* A row that is used again gives another id: the old one stays stale for ever. */
static void stale_ids_stay_stale(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t old[16];

	for (size_t i = 0; i < ARRAY_SIZE(old); i++) {
		old[i] = open_session(state, OWNER, 0);
		for (size_t j = 0; j < i; j++)
			assert_int_equal(check(state, OWNER, old[j], "is closed"), -ESTALE);
		assert_int_equal(state_session_close(state, OWNER, old[i], NULL), 0);
	}
	state_detach(state);
}

static void sessions_have_a_limit(void **unused)
{
	struct state *state = attach(NULL);
	struct error error = { 0 };
	uint64_t ids[3], id = 42;

	for (size_t i = 0; i < 3; i++)
		ids[i] = open_session(state, OWNER, 0);
	assert_int_equal(state_session_open(state, OTHER, 0, &id, &error), -EDQUOT);
	assert_text(error, "all 3 are in use (limits.sessions = 3)");
	assert_int_equal(limit_hits(state_limits(state), LIMIT_SESSIONS), 1);
	assert_int_equal(id, 42);
	assert_int_equal(state_session_close(state, OWNER, ids[1], NULL), 0);
	open_session(state, OTHER, 0);
	state_detach(state);
}

static void tags_are_idempotent(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t a = open_session(state, OWNER, 11), b;

	assert_true(open_session(state, OWNER, 11) == a);
	assert_true(open_session(state, OTHER, 11) != a);
	b = open_session(state, OWNER, 0);
	assert_true(b != a);
	assert_int_equal(state_n_sessions(state), 3);
	assert_true(add_buffer(state, a, 5) == add_buffer(state, a, 5));
	assert_true(add_buffer(state, a, 0) != add_buffer(state, a, 0));
	assert_int_equal(state_n_buffers(state), 3);
	state_detach(state);
}

/* ---- Buffers ---- */

static void buffers_live_in_their_session(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t session = open_session(state, OWNER, 0), other = open_session(state, OTHER, 0);
	uint64_t a = add_buffer(state, session, 0), b = add_buffer(state, session, 0), id;
	struct state_buffer buffer;

	assert_int_equal(state_buffer_get(state, OWNER, a, &buffer, NULL), 0);
	assert_true(buffer.id == a && buffer.session == session && buffer.owner == OWNER && buffer.len == 4096);
	assert_int_equal(buffer.n_extents, 1);
	assert_true(buffer.extents[0].addr == 0x1000);
	assert_int_equal(get(state, OTHER, a, "never registered"), -ENXIO);
	assert_int_equal(state_buffer_add(state, OTHER, session, 0, 4096, one, 1, &id, NULL), -EBADF);
	assert_int_equal(state_buffer_add(state, OTHER, other, 0, 4096, one, 1, &id, NULL), 0);
	assert_int_equal(state_buffer_remove(state, OWNER, a, NULL), 0);
	assert_int_equal(get(state, OWNER, a, "no longer registered"), -ESTALE);
	assert_int_equal(state_buffer_remove(state, OWNER, a, NULL), -ESTALE);
	assert_int_equal(state_session_close(state, OWNER, session, NULL), 0);
	assert_int_equal(get(state, OWNER, b, "no longer registered"), -ESTALE);
	assert_int_equal(get(state, OTHER, id, NULL), 0);
	assert_int_equal(state_n_buffers(state), 1);
	state_detach(state);
}

static void buffers_have_a_limit(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t session = open_session(state, OWNER, 0), first = 0, id = 42;
	struct error error = { 0 };

	for (size_t i = 0; i < limits.buffers; i++)
		first = add_buffer(state, session, 0);
	assert_int_equal(state_buffer_add(state, OWNER, session, 0, 4096, one, 1, &id, &error), -EDQUOT);
	assert_text(error, "all 4 are in use (limits.buffers = 4)");
	assert_int_equal(limit_hits(state_limits(state), LIMIT_BUFFERS), 1);
	assert_int_equal(id, 42);
	assert_int_equal(state_buffer_remove(state, OWNER, first, NULL), 0);
	assert_true(add_buffer(state, session, 0) != first);
	state_detach(state);
}

/* Registered bytes have a limit of their own; what is refused is counted, also for the next worker. */
static void registered_bytes_have_a_limit(void **unused)
{
	void *memory = calloc(1, state_size(&limits));
	struct state *state = attach(memory);
	const struct state_extent half = { 0x1000, limits.registered_bytes / 2 }, most = { 0, UINT64_MAX };
	uint64_t session = open_session(state, OWNER, 0), first = 0, id = 42;
	struct error error = { 0 };

	assert_int_equal(state_buffer_add(state, OWNER, session, 0, half.len, &half, 1, &first, NULL), 0);
	assert_int_equal(state_buffer_add(state, OWNER, session, 0, half.len, &half, 1, &id, NULL), 0);
	id = 42;
	assert_int_equal(state_buffer_add(state, OWNER, session, 0, 4096, one, 1, &id, &error), -EDQUOT);
	assert_text(error, "1048576 are registered already (limits.registered_bytes = 1048576)");
	assert_int_equal(state_buffer_add(state, OWNER, session, 0, most.len, &most, 1, &id, &error), -EDQUOT);
	assert_int_equal(id, 42);
	assert_int_equal(limit_hits(state_limits(state), LIMIT_REGISTERED_BYTES), 2);
	assert_int_equal(state_buffer_remove(state, OWNER, first, NULL), 0);
	state_detach(state);
	state = attach(memory);
	assert_ptr_equal(state_limits(state), (char *)memory + state_limits_offset());
	assert_int_equal(limit_hits(state_limits(state), LIMIT_REGISTERED_BYTES), 2);
	assert_int_equal(state_buffer_add(state, OWNER, session, 0, half.len, &half, 1, &id, NULL), 0);
	assert_int_equal(state_buffer_add(state, OWNER, session, 0, 4096, one, 1, &id, NULL), -EDQUOT);
	state_detach(state);
	free(memory);
}

static int add_many(struct state *state, uint64_t session, uint32_t n, uint64_t *ret_id)
{
	struct state_extent extents[POOL + 1];

	for (uint32_t i = 0; i < ARRAY_SIZE(extents); i++)
		extents[i] = (struct state_extent){ 0x100000 + 4096 * (uint64_t)i, 4096 };
	return state_buffer_add(state, OWNER, session, 0, 4096 * (uint64_t)n, extents, n, ret_id, NULL);
}

static void pool_of_extents_runs_out(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t session = open_session(state, OWNER, 0), a, b, c, d;
	struct state_buffer buffer;

	assert_int_equal(add_many(state, session, POOL + 1, &a), -EDQUOT);
	assert_int_equal(add_many(state, session, POOL, &a), 0);
	assert_int_equal(add_many(state, session, 1, &b), -EDQUOT);
	assert_int_equal(state_buffer_remove(state, OWNER, a, NULL), 0);
	assert_int_equal(add_many(state, session, 100, &a), 0);
	assert_int_equal(add_many(state, session, 50, &b), 0);
	assert_int_equal(add_many(state, session, 100, &c), 0);
	/* A hole of 50 between two others is used for 50 and for no more. */
	assert_int_equal(state_buffer_remove(state, OWNER, b, NULL), 0);
	assert_int_equal(add_many(state, session, 51, &d), -EDQUOT);
	assert_int_equal(add_many(state, session, 50, &d), 0);
	assert_int_equal(state_buffer_get(state, OWNER, c, &buffer, NULL), 0);
	for (uint32_t i = 0; i < 100; i++)
		assert_true(buffer.extents[i].addr == 0x100000 + 4096 * (uint64_t)i);
	assert_int_equal(state_session_close(state, OWNER, session, NULL), 0);
	session = open_session(state, OWNER, 0);
	assert_int_equal(add_many(state, session, POOL, &a), 0);
	state_detach(state);
}

static void walks_see_what_is_there(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t a = open_session(state, OWNER, 0), b = open_session(state, OTHER, 0), id;
	uint64_t buffer_a = add_buffer(state, a, 0);
	struct state_buffer buffer;
	uint32_t cursor = 0;

	assert_true(state_session_next(state, 0, &cursor, &id) && id == a);
	assert_true(state_session_next(state, 0, &cursor, &id) && id == b);
	assert_false(state_session_next(state, 0, &cursor, &id));
	cursor = 0;
	assert_true(state_session_next(state, OTHER, &cursor, &id) && id == b);
	assert_false(state_session_next(state, OTHER, &cursor, &id));
	cursor = 0;
	assert_true(state_buffer_next(state, OWNER, &cursor, &buffer) && buffer.id == buffer_a);
	assert_false(state_buffer_next(state, OWNER, &cursor, &buffer));
	cursor = 0;
	assert_false(state_buffer_next(state, OTHER, &cursor, &buffer));
	state_owner_gone(state, OWNER);
	assert_int_equal(state_n_sessions(state), 1);
	assert_int_equal(state_n_buffers(state), 0);
	assert_int_equal(check(state, OTHER, b, NULL), 0);
	state_detach(state);
}

/* ---- Inheriting ---- */

static void another_worker_finds_everything(void **unused)
{
	_cleanup_free_ void *memory = calloc(1, state_size(&limits));
	struct state *state = attach(memory);
	uint64_t session = open_session(state, OWNER, 3), closed = open_session(state, OWNER, 0), many, gone;
	struct state_buffer buffer;

	assert_int_equal(add_many(state, session, 200, &many), 0);
	gone = add_buffer(state, session, 0);
	assert_int_equal(state_buffer_remove(state, OWNER, gone, NULL), 0);
	assert_int_equal(state_session_close(state, OWNER, closed, NULL), 0);
	state_detach(state);

	state = attach(memory);
	assert_int_equal(state_n_sessions(state), 1);
	assert_int_equal(state_n_buffers(state), 1);
	assert_int_equal(check(state, OWNER, session, NULL), 0);
	assert_int_equal(check(state, OWNER, closed, "is closed"), -ESTALE);
	assert_int_equal(get(state, OWNER, gone, "no longer registered"), -ESTALE);
	assert_true(open_session(state, OWNER, 3) == session);
	assert_int_equal(state_buffer_get(state, OWNER, many, &buffer, NULL), 0);
	assert_int_equal(buffer.n_extents, 200);
	assert_true(buffer.extents[199].addr == 0x100000 + 4096 * 199);
	/* Its extents are taken in the new pool too. */
	assert_int_equal(add_many(state, session, POOL - 199, &gone), -EDQUOT);
	assert_int_equal(add_many(state, session, POOL - 200, &gone), 0);
	state_detach(state);
}

static void memory_of_another_shape(void **unused)
{
	_cleanup_free_ void *memory = calloc(1, state_size(&limits));
	struct config_limits fewer = limits;
	struct state *state = attach(memory);
	struct error error = { 0 };
	unsigned int dropped = 0;

	open_session(state, OWNER, 0);
	state_detach(state);
	assert_int_equal(state_attach(memory, state_size(&limits) - 1, &limits, &state, NULL, &error), -EINVAL);
	assert_text(error, "the limits need");
	fewer.sessions = 2;
	assert_int_equal(state_attach(memory, state_size(&fewer), &fewer, &state, &dropped, NULL), 0);
	assert_true(dropped > 0);
	assert_int_equal(state_n_sessions(state), 0);
	state_detach(state);
}

/* A buffer that no device can address is not for the next process. */
static void buffers_without_extents_are_dropped(void **unused)
{
	_cleanup_free_ void *memory = calloc(1, state_size(&limits));
	struct state *state = attach(memory);
	uint64_t session = open_session(state, OWNER, 0), id;
	unsigned int dropped = 0;

	assert_int_equal(state_buffer_add(state, OWNER, session, 0, 100, NULL, 0, &id, NULL), 0);
	assert_int_equal(get(state, OWNER, id, NULL), 0);
	state_detach(state);
	assert_int_equal(state_attach(memory, state_size(&limits), &limits, &state, &dropped, NULL), 0);
	assert_int_equal(dropped, 1);
	assert_int_equal(get(state, OWNER, id, "no longer registered"), -ESTALE);
	state_detach(state);
}

/* Everything that a worker does with what it found. Nothing here may crash, hang, or break a bound. */
static void use_everything(struct state *state)
{
	uint32_t cursor = 0, n = 0, owners[8] = { 0 }, n_owners = 0;
	struct state_buffer buffer;
	uint64_t id, sum;

	while (state_session_next(state, 0, &cursor, &id)) {
		assert_true((uint32_t)id - 1 < limits.sessions && id >> 32);
		n++;
	}
	assert_int_equal(n, state_n_sessions(state));
	for (cursor = 0, n = 0; state_buffer_next(state, 0, &cursor, &buffer); n++) {
		assert_int_equal(state_session_check(state, buffer.owner, buffer.session, NULL), 0);
		assert_true(buffer.n_extents && buffer.n_extents <= POOL);
		sum = 0;
		for (uint32_t i = 0; i < buffer.n_extents; i++) {
			assert_true(buffer.extents[i].len);
			assert_false(add_u64(sum, buffer.extents[i].len, &sum));
		}
		assert_true(sum == buffer.len);
		if (n_owners < ARRAY_SIZE(owners))
			owners[n_owners++] = buffer.owner;
	}
	assert_int_equal(n, state_n_buffers(state));
	if (state_session_open(state, OWNER, 0, &id, NULL) == 0)
		state_buffer_add(state, OWNER, id, 0, 4096, one, 1, &id, NULL);
	for (uint32_t i = 0; i < n_owners; i++)
		state_owner_gone(state, owners[i]);
	/* At most the one that was added above, if its owner was not among those. */
	assert_true(state_n_buffers(state) <= 1);
}

static void fill(void *memory)
{
	struct state *state = attach(memory);
	uint64_t session = open_session(state, OWNER, 1), other = open_session(state, OTHER, 2), id;

	assert_int_equal(add_many(state, session, 10, &id), 0);
	add_buffer(state, session, 9);
	assert_int_equal(state_buffer_add(state, OTHER, other, 0, 4096, one, 1, &id, NULL), 0);
	state_detach(state);
}

static void attach_and_use(void *memory)
{
	struct state *state;
	unsigned int dropped;

	assert_int_equal(state_attach(memory, state_size(&limits), &limits, &state, &dropped, NULL), 0);
	use_everything(state);
	state_detach(state);
	/* What it left is clean. */
	assert_int_equal(state_attach(memory, state_size(&limits), &limits, &state, &dropped, NULL), 0);
	assert_int_equal(dropped, 0);
	state_detach(state);
}

/* Rows and header without the pool: where the fields are. */
static size_t rows_size(void)
{
	return sizeof(struct layout) + limits.sessions * sizeof(struct session_row) +
	       limits.buffers * sizeof(struct buffer_row);
}

static void every_word_spoilt(void **unused)
{
	static const uint32_t values[] = { 0, 1, 2, 255, 256, 257, 0x7fffffff, 0x80000000, UINT32_MAX - 1, UINT32_MAX };
	size_t size = state_size(&limits), words = (rows_size() + 20 * sizeof(struct state_extent)) / 4;
	_cleanup_free_ uint32_t *good = calloc(1, size), *memory = calloc(1, size);

	fill(good);
	for (size_t word = 0; word < words; word++) {
		for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
			memcpy(memory, good, size);
			memory[word] = values[i];
			attach_and_use(memory);
		}
	}
}

static void rows_spoilt_at_random(void **unused)
{
	size_t size = state_size(&limits);
	_cleanup_free_ uint8_t *good = calloc(1, size), *memory = calloc(1, size);
	uint64_t seed = 4711;

	fill(good);
	for (int round = 0; round < 20000; round++) {
		memcpy(memory, good, size);
		for (unsigned int n = (unsigned int)test_random(&seed) % 12; n; n--) {
			size_t at = HEADER + test_random(&seed) % (rows_size() - HEADER);

			memory[at] = test_random(&seed) % 3 ? (uint8_t)(test_random(&seed) % 8)
							    : (uint8_t)test_random(&seed);
		}
		attach_and_use(memory);
	}
}

/* A worker that was taken over cannot fill the table with sessions that no connection will ever close. */
static void owners_that_cannot_be(void **unused)
{
	size_t size = state_size(&limits);
	_cleanup_free_ void *memory = calloc(1, size);
	struct state *state;
	unsigned int dropped = 0;
	uint64_t id = 0;

	assert_int_equal(state_attach(memory, size, &limits, &state, &dropped, NULL), 0);
	for (uint32_t i = 0; i < limits.sessions; i++)
		assert_int_equal(state_session_open(state, limits.connections + i, 0, &id, NULL), 0);
	state_detach(state);
	assert_int_equal(state_attach(memory, size, &limits, &state, &dropped, NULL), 0);
	assert_int_equal(dropped, limits.sessions - 1);
	assert_int_equal(state_n_sessions(state), 1);
	assert_int_equal(state_session_open(state, 1, 0, &id, NULL), 0);
	state_detach(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sessions_open_and_close),
		cmocka_unit_test(ids_never_given_out),
		cmocka_unit_test(stale_ids_stay_stale),
		cmocka_unit_test(sessions_have_a_limit),
		cmocka_unit_test(tags_are_idempotent),
		cmocka_unit_test(buffers_live_in_their_session),
		cmocka_unit_test(buffers_have_a_limit),
		cmocka_unit_test(pool_of_extents_runs_out),
		cmocka_unit_test(walks_see_what_is_there),
		cmocka_unit_test(another_worker_finds_everything),
		cmocka_unit_test(memory_of_another_shape),
		cmocka_unit_test(buffers_without_extents_are_dropped),
		cmocka_unit_test(every_word_spoilt),
		cmocka_unit_test(rows_spoilt_at_random),
		cmocka_unit_test(registered_bytes_have_a_limit),
		cmocka_unit_test(owners_that_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
