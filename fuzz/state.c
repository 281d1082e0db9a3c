/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tenant's state as a worker that was taken over may leave it: state_attach() over any bytes, then everything that can
 * be asked of what it let through, then the same by the next worker.
 */
#include "fuzz.h"

#include "tenant.h"

static void check_keys(const struct state *state)
{
	struct state_key key;
	uint32_t cursor = 0, n = 0;

	for (; state_key_next(state, 0, &cursor, &key); n++) {
		CHECK(key.owner && key.id && key.len && key.len <= VACCEL_KEY_BYTES && key.data);
		CHECK(state_session_check(state, key.owner, key.session, NULL) == 0);
	}
	CHECK(n <= state_n_keys(state) && state_n_keys(state) <= tenant_limits.keys);
}

/* Every row that is live is whole, and the counts are right. */
static void check(const struct state *state)
{
	struct state_buffer row;
	uint32_t cursor = 0, n = 0, n_sessions = 0;

	while (state_buffer_next(state, 0, &cursor, &row)) {
		uint64_t sum = 0;

		n++;
		CHECK(row.owner && row.id && row.len);
		CHECK(state_session_check(state, row.owner, row.session, NULL) == 0);
		for (uint32_t i = 0; i < row.n_extents; i++)
			CHECK(row.extents[i].len && !add_u64(sum, row.extents[i].len, &sum));
		CHECK(!row.n_extents || sum == row.len);
	}
	CHECK(n == state_n_buffers(state));
	check_keys(state);
	for (uint32_t owner = 1; owner <= tenant_limits.connections; owner++) {
		uint64_t id;

		cursor = 0;
		while (state_session_next(state, owner, &cursor, &id)) {
			CHECK(state_session_check(state, owner, id, NULL) == 0);
			n_sessions++;
		}
	}
	CHECK(n_sessions == state_n_sessions(state));
}

static uint64_t some_id(struct input *in)
{
	return (uint64_t)input_u8(in) << 32 | (input_u8(in) % 10);
}

static void change(struct state *state, struct input *in)
{
	uint32_t owner = 1 + input_u8(in) % tenant_limits.connections;
	struct state_extent extents[4];
	struct state_buffer row;
	struct state_key key = { .data = "a name of a key that is not short", .rights = 1 };
	uint64_t id, len = 0;
	uint32_t n;

	switch (input_u8(in) % 10) {
	case 0:
		state_session_open(state, owner, input_u8(in), &id, NULL);
		break;
	case 1:
		state_session_close(state, owner, some_id(in), NULL);
		break;
	case 2:
		n = 1 + input_u8(in) % ARRAY_SIZE(extents);
		for (uint32_t i = 0; i < n; i++) {
			extents[i] = (struct state_extent){ input_u16(in), 1 + input_u8(in) };
			len += extents[i].len;
		}
		state_buffer_add(state, owner, some_id(in), input_u8(in), len, extents, n, &id, NULL);
		break;
	case 3:
		state_buffer_remove(state, owner, some_id(in), NULL);
		break;
	case 4:
		if (state_buffer_get(state, owner, some_id(in), &row, NULL) == 0)
			CHECK(row.owner == owner);
		break;
	case 5:
		state_owner_gone(state, owner);
		break;
	case 6:
		key.held = input_u8(in) % 2;
		key.type = VACCEL_KEY_AES;
		key.len = key.held ? 1 : 16;
		key.bits = key.len * 8;
		state_key_add(state, owner, some_id(in), input_u8(in), &key, &id, NULL);
		break;
	case 7:
		state_key_remove(state, owner, some_id(in), NULL);
		break;
	case 8:
		id = some_id(in);
		if (state_key_get(state, owner, id, &key, NULL) == 0)
			CHECK(key.owner == owner && key.id == id);
		break;
	case 9:
		id = some_id(in);
		if (state_key_retire(state, owner, id, NULL) == 0 && input_u8(in) % 2)
			state_key_wipe(state, id);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t need = state_size(&tenant_limits);
	void *memory = calloc(1, need);
	struct input in = { data, size };
	struct state *state = NULL;
	unsigned int dropped = 0;

	CHECK(memory);
	for (size_t i = 0; i < TENANT_PARTS; i++) {
		size_t len;
		uint8_t *part = tenant_part(memory, i, &len);

		input_bytes(&in, part, len);
	}
	CHECK(state_attach(memory, need, &tenant_limits, &state, &dropped, NULL) == 0);
	check(state);
	while (in.left) {
		change(state, &in);
		check(state);
	}
	state_detach(state);
	/* What was let through once is whole, and what changed it kept it so. */
	CHECK(state_attach(memory, need, &tenant_limits, &state, &dropped, NULL) == 0);
	CHECK(dropped == 0);
	state_detach(state);
	free(memory);
	return 0;
}
