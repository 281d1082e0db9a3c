/* SPDX-License-Identifier: Apache-2.0 */
/* src/engine/state_key.c: keys that outlive the worker, whether that one was honest or not, and that leave nothing behind. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vaccel/ops.h>

#include "engine/state_internal.h"
#include "util/util.h"

static const struct config_limits limits = {
	.sessions = 4, .buffers = 1, .keys = 3, .connections = 64, .max_extents = 16, .registered_bytes = 1 << 20
};

#define OWNER 7
#define OTHER 8

static const uint8_t secret[32] = "THE SECRET THAT MUST NOT STAY 01";

static struct state *attach_counting(void *memory, unsigned int *ret_dropped)
{
	struct state *state = NULL;

	assert_int_equal(state_attach(memory, memory ? state_size(&limits) : 0, &limits, &state, ret_dropped, NULL), 0);
	return state;
}

static struct state *attach(void *memory)
{
	unsigned int dropped = 99;
	struct state *state = attach_counting(memory, &dropped);

	assert_int_equal(dropped, 0);
	return state;
}

static void *new_memory(void)
{
	void *memory = calloc(1, state_size(&limits));

	assert_non_null(memory);
	return memory;
}

static uint64_t open_session(struct state *state, uint32_t owner)
{
	uint64_t id = 0;

	assert_int_equal(state_session_open(state, owner, 0, &id, NULL), 0);
	return id;
}

static const struct state_key aes = {
	.type = VACCEL_KEY_AES,
	.bits = 256,
	.modes = 1u << VACCEL_CBC,
	.rights = VACCEL_MAY_ENCRYPT,
	.note = 4711,
	.data = secret,
	.len = sizeof(secret),
};

static const struct state_key held = { .type = VACCEL_KEY_AES, .held = true, .data = "backup", .len = 6 };

static uint64_t add(struct state *state, uint32_t owner, uint64_t session, uint64_t tag)
{
	uint64_t id = 0;

	assert_int_equal(state_key_add(state, owner, session, tag, &aes, &id, NULL), 0);
	return id;
}

static int get(const struct state *state, uint32_t owner, uint64_t id, const char *text)
{
	struct state_key key;
	struct error error = { 0 };
	int r = state_key_get(state, owner, id, &key, &error);

	if (r < 0)
		assert_text(error, text);
	return r;
}

static bool has_secret(const void *memory)
{
	return memmem(memory, state_size(&limits), secret, 8);
}

static void keys_live_in_their_session(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t session = open_session(state, OWNER), other = open_session(state, OTHER), a, b, c, id = 42;
	struct state_key key;

	a = add(state, OWNER, session, 0);
	b = add(state, OWNER, session, 0);
	c = add(state, OTHER, other, 0);
	assert_true(a != b && b != c && a != c);
	assert_int_equal(state_key_get(state, OWNER, a, &key, NULL), 0);
	assert_true(key.id == a && key.session == session && key.owner == OWNER && !key.held);
	assert_true(key.type == aes.type && key.bits == 256 && key.modes == aes.modes && key.rights == aes.rights);
	assert_int_equal(key.note, 4711);
	assert_int_equal(key.len, sizeof(secret));
	assert_memory_equal(key.data, secret, sizeof(secret));
	assert_int_equal(get(state, OTHER, a, "never given out"), -ENOENT);
	assert_int_equal(state_key_remove(state, OTHER, a, NULL), -ENOENT);
	assert_int_equal(state_key_add(state, OTHER, session, 0, &aes, &id, NULL), -EBADF);
	assert_int_equal(id, 42);
	assert_int_equal(state_key_remove(state, OWNER, a, NULL), 0);
	assert_int_equal(get(state, OWNER, a, "is gone"), -ESTALE);
	assert_int_equal(state_key_remove(state, OWNER, a, NULL), -ESTALE);
	assert_int_equal(state_session_close(state, OWNER, session, NULL), 0);
	assert_int_equal(get(state, OWNER, b, "is gone"), -ESTALE);
	assert_int_equal(get(state, OTHER, c, NULL), 0);
	assert_int_equal(state_n_keys(state), 1);
	state_owner_gone(state, OTHER);
	assert_int_equal(state_n_keys(state), 0);
	state_detach(state);
}

static void ids_never_given_out(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t id = add(state, OWNER, open_session(state, OWNER), 0);
	const uint64_t never[] = { 0,
				   1,
				   UINT32_MAX,
				   id + 1,
				   id + (UINT64_C(1) << 32),
				   id & UINT32_MAX,
				   UINT64_MAX,
				   (UINT64_C(1) << 32) + limits.keys + 1 };

	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		assert_int_equal(get(state, OWNER, never[i], "never given out"), -ENOENT);
	state_detach(state);
}

static void keys_have_a_limit(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t session = open_session(state, OWNER), first, id = 42;
	struct error error = { 0 };
	struct state_key key = aes;

	first = add(state, OWNER, session, 0);
	add(state, OWNER, session, 0);
	add(state, OWNER, session, 0);
	assert_int_equal(state_key_add(state, OWNER, session, 0, &aes, &id, &error), -EDQUOT);
	assert_text(error, "all 3 are in use (limits.keys = 3)");
	assert_int_equal(limit_hits(state_limits(state), LIMIT_KEYS), 1);
	assert_int_equal(id, 42);
	/* One whose bytes are still needed is one. */
	assert_int_equal(state_key_retire(state, OWNER, first, NULL), 0);
	assert_int_equal(state_key_add(state, OWNER, session, 0, &aes, &id, NULL), -EDQUOT);
	state_key_wipe(state, first);
	assert_true(add(state, OWNER, session, 0) != first);
	key.len = 0;
	assert_int_equal(state_key_add(state, OWNER, session, 0, &key, &id, NULL), -EINVAL);
	key.len = VACCEL_KEY_BYTES + 1;
	assert_int_equal(state_key_add(state, OWNER, session, 0, &key, &id, NULL), -EINVAL);
	state_detach(state);
}

static void tags_are_idempotent(void **unused)
{
	void *memory = new_memory();
	struct state *state = attach(memory);
	uint64_t session = open_session(state, OWNER), other = open_session(state, OTHER),
		 a = add(state, OWNER, session, 11);

	assert_true(add(state, OWNER, session, 11) == a);
	assert_true(add(state, OTHER, other, 11) != a);
	assert_int_equal(state_n_keys(state), 2);
	state_detach(state);
	/* Also for the next worker. */
	state = attach(memory);
	assert_true(add(state, OWNER, session, 11) == a);
	assert_int_equal(state_n_keys(state), 2);
	assert_int_equal(state_key_remove(state, OWNER, a, NULL), 0);
	assert_true(add(state, OWNER, session, 11) != a);
	state_detach(state);
	free(memory);
}

/* ---- Nothing stays ---- */

static void removed_keys_are_overwritten(void **unused)
{
	void *memory = new_memory();
	struct state *state = attach(memory);
	uint64_t session = open_session(state, OWNER), id = add(state, OWNER, session, 0);

	assert_true(has_secret(memory));
	assert_int_equal(state_key_remove(state, OWNER, id, NULL), 0);
	assert_false(has_secret(memory));
	add(state, OWNER, session, 0);
	add(state, OWNER, session, 0);
	assert_int_equal(state_session_close(state, OWNER, session, NULL), 0);
	assert_false(has_secret(memory));
	add(state, OWNER, open_session(state, OWNER), 0);
	state_owner_gone(state, OWNER);
	assert_false(has_secret(memory));
	state_detach(state);
	free(memory);
}

static void retired_keys_keep_their_bytes(void **unused)
{
	void *memory = new_memory();
	struct state *state = attach(memory);
	uint64_t session = open_session(state, OWNER), id = add(state, OWNER, session, 5);
	uint32_t cursor = 0;
	struct state_key key;

	assert_int_equal(state_key_retire(state, OWNER, id, NULL), 0);
	assert_int_equal(get(state, OWNER, id, "is gone"), -ESTALE);
	assert_int_equal(state_key_retire(state, OWNER, id, NULL), -ESTALE);
	assert_false(state_key_next(state, 0, &cursor, &key));
	assert_true(has_secret(memory));
	assert_int_equal(state_n_keys(state), 1);
	/* Not what the tag made: that is gone. */
	assert_true(add(state, OWNER, session, 5) != id);
	/* Only its own bytes. */
	state_key_wipe(state, id + (UINT64_C(1) << 32));
	state_key_wipe(state, 0);
	state_key_wipe(state, UINT64_MAX);
	assert_int_equal(state_n_keys(state), 2);
	state_key_wipe(state, id);
	state_key_wipe(state, id);
	assert_int_equal(state_n_keys(state), 1);
	assert_true(has_secret(memory));
	assert_int_equal(state_session_close(state, OWNER, session, NULL), 0);
	assert_false(has_secret(memory));
	state_detach(state);
	free(memory);
}

/* Bytes without an owner: the worker died when it had begun to write them, or had to keep them for a last request. */
static void the_next_worker_overwrites_what_is_left(void **unused)
{
	void *memory = new_memory();
	struct state *state = attach(memory);
	uint64_t session = open_session(state, OWNER), id = add(state, OWNER, session, 0);

	assert_int_equal(state_key_retire(state, OWNER, id, NULL), 0);
	state_detach(state);
	assert_true(has_secret(memory));
	state = attach(memory);
	assert_false(has_secret(memory));
	assert_int_equal(state_n_keys(state), 0);
	assert_int_equal(get(state, OWNER, id, "is gone"), -ESTALE);
	for (uint32_t i = 0; i < limits.keys; i++)
		add(state, OWNER, session, 0);
	state_detach(state);
	free(memory);
}

static void memory_of_another_shape_keeps_no_keys(void **unused)
{
	void *memory = new_memory();
	struct config_limits fewer = limits;
	struct state *state = attach(memory);
	uint64_t session = open_session(state, OWNER);
	unsigned int dropped = 0;

	for (uint32_t i = 0; i < limits.keys; i++)
		add(state, OWNER, session, 0);
	state_detach(state);
	fewer.keys = 2;
	assert_int_equal(state_attach(memory, state_size(&limits), &fewer, &state, &dropped, NULL), 0);
	assert_true(dropped > 0);
	assert_false(has_secret(memory));
	state_detach(state);
	free(memory);
}

/* Whether the mapping of this address is left out of core dumps. */
static bool is_undumped(const void *address)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	bool inside = false, found = false;
	char line[1024];

	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = (uintptr_t)address >= start && (uintptr_t)address < end;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, " dd");
	}
	fclose(file);
	return found;
}

static void private_memory_is_in_no_core_dump(void **unused)
{
	struct state *state = attach(NULL);
	uint64_t id = add(state, OWNER, open_session(state, OWNER), 0);
	struct state_key key;

	assert_int_equal(state_key_get(state, OWNER, id, &key, NULL), 0);
	assert_true(is_undumped(key.data));
	assert_false(is_undumped(state));
	state_detach(state);
}

/* ---- Inheriting ---- */

static void another_worker_finds_everything(void **unused)
{
	void *memory = new_memory();
	struct state *state = attach(memory);
	uint64_t session = open_session(state, OWNER), id = add(state, OWNER, session, 3), by_name = 0;
	uint32_t cursor = 0;
	struct state_key key;

	assert_int_equal(state_key_add(state, OWNER, session, 4, &held, &by_name, NULL), 0);
	state_detach(state);
	state = attach(memory);
	assert_int_equal(state_n_keys(state), 2);
	assert_int_equal(state_key_get(state, OWNER, id, &key, NULL), 0);
	assert_true(key.session == session && key.bits == 256 && key.rights == VACCEL_MAY_ENCRYPT && key.note == 4711);
	assert_memory_equal(key.data, secret, sizeof(secret));
	assert_int_equal(state_key_get(state, OWNER, by_name, &key, NULL), 0);
	assert_true(key.held && key.len == 6);
	assert_memory_equal(key.data, "backup", 6);
	assert_true(state_key_next(state, OWNER, &cursor, &key) && key.id == id);
	assert_true(state_key_next(state, OWNER, &cursor, &key) && key.id == by_name);
	assert_false(state_key_next(state, OWNER, &cursor, &key));
	cursor = 0;
	assert_false(state_key_next(state, OTHER, &cursor, &key));
	state_detach(state);
	free(memory);
}

/* What an attacker who has the worker may write into a row: it is dropped, and its bytes with it. */
static void rows_that_cannot_be(void **unused)
{
	static const struct {
		size_t offset;
		uint64_t value;
		size_t size;
	} rows[] = {
#define ROW(member_, value_) { offsetof(struct key_row, member_), value_, sizeof(((struct key_row *)NULL)->member_) }
		ROW(owner, OTHER),
		ROW(owner, UINT32_MAX),
		ROW(generation, 0),
		ROW(session, 0),
		ROW(session, UINT64_MAX),
		ROW(type, 0),
		ROW(type, 99),
		ROW(bits, 0),
		ROW(bits, 255),
		ROW(bits, UINT32_MAX),
		ROW(modes, 1u << 31),
		ROW(modes, 1u << VACCEL_XTS | 1u << VACCEL_CBC | 1u),
		ROW(rights, 0),
		ROW(rights, 0x10),
		ROW(held, 1),
		ROW(held, 2),
		ROW(len, 0),
		ROW(len, 31),
		ROW(len, VACCEL_KEY_BYTES + 1),
		ROW(len, UINT32_MAX),
#undef ROW
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		void *memory = new_memory();
		struct state *state = attach(memory);
		uint64_t session = open_session(state, OWNER);
		unsigned int dropped = 0;

		add(state, OWNER, session, 0);
		memcpy((char *)&state->keys[0] + rows[i].offset, &rows[i].value, rows[i].size);
		state_detach(state);
		state = attach_counting(memory, &dropped);
		if (dropped != 1 || state_n_keys(state) || has_secret(memory))
			fail_msg("row %zu: %u dropped, %u keys", i, dropped, state_n_keys(state));
		for (uint32_t n = 0; n < limits.keys; n++)
			add(state, OWNER, session, 0);
		state_detach(state);
		free(memory);
	}
}

static void names_that_cannot_be(void **unused)
{
	static const char *const names[] = { "a/b", "..", "-x", "a\0b", " " };
	static const uint32_t lens[] = { 3, 2, 2, 3, 1 };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		void *memory = new_memory();
		struct state *state = attach(memory);
		uint64_t session = open_session(state, OWNER), id;
		struct state_key key = held;
		unsigned int dropped = 0;

		key.data = names[i];
		key.len = lens[i];
		assert_int_equal(state_key_add(state, OWNER, session, 0, &key, &id, NULL), 0);
		state_detach(state);
		state = attach_counting(memory, &dropped);
		assert_int_equal(dropped, 1);
		state_detach(state);
		free(memory);
	}
}

/* Whatever the rows say, what is left of them can be walked, used and removed. */
static void rows_spoilt_at_random(void **unused)
{
	size_t size = state_size(&limits);
	_cleanup_free_ uint8_t *good = calloc(1, size), *memory = calloc(1, size);
	struct state *state = attach(good);
	uint64_t session = open_session(state, OWNER), seed = 4711;
	size_t first = (size_t)((uint8_t *)state->keys - good),
	       last = (size_t)(state->key_bytes - good) + 2 * VACCEL_KEY_BYTES;
	struct state_key key;
	uint64_t id;

	add(state, OWNER, session, 1);
	assert_int_equal(state_key_add(state, OWNER, session, 4, &held, &id, NULL), 0);
	state_detach(state);
	for (int round = 0; round < 5000; round++) {
		uint32_t cursor = 0, n = 0;
		unsigned int dropped;

		memcpy(memory, good, size);
		for (unsigned int i = (unsigned int)test_random(&seed) % 12; i; i--)
			memory[first + test_random(&seed) %
					       (test_random(&seed) % 4 ? 3 * sizeof(struct key_row) : last - first)] =
				(uint8_t)(test_random(&seed) % (test_random(&seed) % 3 ? 8 : 256));
		state = attach_counting(memory, &dropped);
		while (state_key_next(state, 0, &cursor, &key)) {
			assert_true(key.len && key.len <= VACCEL_KEY_BYTES && key.owner == OWNER);
			assert_true(key.session == session);
			n++;
		}
		assert_int_equal(n, state_n_keys(state));
		state_owner_gone(state, OWNER);
		assert_int_equal(state_n_keys(state), 0);
		for (uint32_t i = 0; i < limits.keys; i++)
			assert_int_equal(state->keys[i].len, 0);
		state_detach(state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_live_in_their_session),
		cmocka_unit_test(ids_never_given_out),
		cmocka_unit_test(keys_have_a_limit),
		cmocka_unit_test(tags_are_idempotent),
		cmocka_unit_test(removed_keys_are_overwritten),
		cmocka_unit_test(retired_keys_keep_their_bytes),
		cmocka_unit_test(the_next_worker_overwrites_what_is_left),
		cmocka_unit_test(memory_of_another_shape_keeps_no_keys),
		cmocka_unit_test(private_memory_is_in_no_core_dump),
		cmocka_unit_test(another_worker_finds_everything),
		cmocka_unit_test(rows_that_cannot_be),
		cmocka_unit_test(names_that_cannot_be),
		cmocka_unit_test(rows_spoilt_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
