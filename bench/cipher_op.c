/* SPDX-License-Identifier: Apache-2.0 */
/* The way "op" of bench crypto: the operation CIPHER of a session. One request at a time is the synchronous call. */
#include <errno.h>

#include "bench/cipher.h"
#include "util/util.h"

static int fail(struct error *error, int code)
{
	return error_set(error, code, "%s", vaccel_error());
}

static int op_open(struct bench_cipher *cipher, struct error *error)
{
	uint32_t right = cipher->plan.direction == VACCEL_ENCRYPT ? VACCEL_MAY_ENCRYPT : VACCEL_MAY_DECRYPT;
	struct vaccel_key *key;
	int r = vaccel_key_import(cipher->session, VACCEL_KEY_AES, 1u << VACCEL_CBC, right, cipher->key,
				  sizeof(cipher->key), &key);

	if (r < 0)
		return fail(error, r);
	cipher->state = key;
	return 0;
}

static int op_start(struct bench_cipher *cipher, struct bench_cipher_slot *slot, struct error *error)
{
	const struct bench_cipher_plan *plan = &cipher->plan;
	struct vaccel_message message = {
		.size = sizeof(message),
		.mode = VACCEL_CBC,
		.direction = plan->direction,
		.iv = slot->iv,
		.iv_len = 16,
		.source = slot->source,
		.destination = slot->destination,
		.len = plan->size,
	};
	struct vaccel_submit_options options = { .size = sizeof(options) };
	int r = plan->in_flight == 1 ? vaccel_cipher(cipher->state, &message)
				     : vaccel_cipher_submit(cipher->state, &message, &options, &slot->request);

	return r < 0 ? fail(error, r) : 0;
}

static int op_take(struct bench_cipher *cipher, struct bench_cipher_slot *slot, struct error *error)
{
	int r = slot->request ? vaccel_request_wait(slot->request, -1) : 0;

	if (r < 0)
		fail(error, r);
	vaccel_request_free(slot->request);
	slot->request = NULL;
	return r;
}

static void op_close(struct bench_cipher *cipher)
{
	for (unsigned int i = 0; i < cipher->plan.slots; i++)
		vaccel_request_free(cipher->slots[i].request);
	vaccel_key_free(cipher->state);
}

const struct bench_cipher_way bench_cipher_op = {
	.name = "op",
	.open = op_open,
	.start = op_start,
	.take = op_take,
	.close = op_close,
};
