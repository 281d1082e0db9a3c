/* SPDX-License-Identifier: Apache-2.0 */
/*
 * src/engine/keys.c and held.c: who may use which key for what, how long it lasts, and that nothing of it stays. The plugin
 * "encrypts" by adding the key to the source.
 */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "util/util.h"

#define OWNER 1
#define OTHER 2
#define ANY   VACCEL_MAY_ALL

static const uint8_t secret[32] = "\1the secret of this one test \2\3\4";

/* One after the other where a test needs to know what runs. */
static const char *const settings[] = { "order.default=probe-keys", "engine.threads=2", "limits.sessions=8",
					"limits.buffers=8",	    "limits.keys=8",	NULL };

/* ---- what plugins are told ---- */

static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;
static struct vaccel_plugin_crypto_key seen;
static uint8_t seen_bytes[sizeof(secret)];
static atomic_int n_gone;
static atomic_ullong last_gone;
static const uint8_t *memory_at_gone; /* not NULL: whether the secret is there is looked up when a key goes */
static atomic_int bytes_at_gone;

static void gone(uint64_t key)
{
	last_gone = key;
	if (memory_at_gone)
		bytes_at_gone = memmem(memory_at_gone, VACCEL_KEY_BYTES, secret, 8) != NULL;
	atomic_fetch_add(&n_gone, 1);
}

static int encrypt(const struct vaccel_plugin_call *call)
{
	const uint8_t *source = call->args[2].data, *key = call->key->data;
	uint8_t *destination = call->args[3].data;

	pthread_mutex_lock(&seen_lock);
	seen = *call->key;
	memcpy(seen_bytes, key, MIN(call->key->len, sizeof(seen_bytes)));
	pthread_mutex_unlock(&seen_lock);
	for (size_t i = 0; i < call->args[2].len; i++)
		destination[i] = (uint8_t)(source[i] + key[i % call->key->len]);
	return 0;
}

static int encrypt_at_gate(const struct vaccel_plugin_call *call)
{
	int r = gate_run(call);

	return r < 0 ? r : encrypt(call);
}

static struct probe *start_with(struct harness *h, struct state *state, const char *const *with, const char *plugin)
{
	struct probe *probe;

	harness_start(h, state, with);
	probe = harness_probe(plugin);
	probe->run = encrypt;
	probe->key_gone = gone;
	n_gone = 0;
	last_gone = 0;
	memory_at_gone = NULL;
	memset(&seen, 0, sizeof(seen));
	return probe;
}

static struct probe *start(struct harness *h, struct state *state)
{
	return start_with(h, state, settings, "probe-keys");
}

/* ---- requests ---- */

struct cipher_request {
	struct test_request request;
	uint8_t iv[16], source[64], destination[64];
};

static void init_cipher(struct harness *h, struct cipher_request *cipher, uint32_t owner, uint64_t session,
			uint64_t key)
{
	const struct vaccel_cipher params = {
		.key = key,
		.mode = VACCEL_CBC,
		.direction = VACCEL_ENCRYPT,
		.flags = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END,
	};
	struct op_request *op = &cipher->request.engine.op;

	memset(cipher, 0, sizeof(*cipher));
	request_init(h, &cipher->request, VACCEL_OP_NOOP, owner, session);
	op->op = VACCEL_OP_CIPHER;
	op->n_args = 5;
	op->params_len = sizeof(params);
	memcpy(op->params, &params, sizeof(params));
	op->args[0] = (struct op_arg){ cipher->iv, 16, 1 };
	op->args[1] = (struct op_arg){ .dir = 1 };
	op->args[2] = (struct op_arg){ cipher->source, 64, 1 };
	op->args[3] = (struct op_arg){ cipher->destination, 64, 2 };
	op->args[4] = (struct op_arg){ .dir = 1 };
}

static struct vaccel_cipher *params_of(struct cipher_request *cipher)
{
	return (struct vaccel_cipher *)cipher->request.engine.op.params;
}

static bool is_encrypted(const struct cipher_request *cipher)
{
	for (size_t i = 0; i < 64; i++)
		if (cipher->destination[i] != (uint8_t)(cipher->source[i] + secret[i % 32]))
			return false;
	return true;
}

static int finish_cipher(struct cipher_request *cipher, const char *text)
{
	int r = request_wait(&cipher->request);

	if (r < 0)
		assert_text(cipher->request.engine.error, text);
	else
		assert_true(is_encrypted(cipher));
	return r;
}

static int run_cipher(struct harness *h, uint32_t owner, uint64_t session, uint64_t key, const char *text)
{
	struct cipher_request cipher;

	init_cipher(h, &cipher, owner, session, key);
	request_submit(h, &cipher.request);
	return finish_cipher(&cipher, text);
}

static const struct state_key aes = {
	.type = VACCEL_KEY_AES, .rights = ANY, .note = 7, .data = secret, .len = sizeof(secret)
};

static uint64_t import(struct harness *h, uint32_t owner, uint64_t session, const struct state_key *key)
{
	struct error error = { 0 };
	uint64_t id = 0;

	if (engine_key_import(h->engine, owner, session, 0, key, &id, &error) < 0)
		fail_msg("%s", error.text);
	return id;
}

static int free_key(struct harness *h, uint32_t owner, uint64_t session, uint64_t id, const char *text)
{
	struct error error = { 0 };
	int r = engine_key_free(h->engine, owner, session, id, &error);

	if (r < 0)
		assert_text(error, text);
	return r;
}

/* Requests of the operations that the engine serves itself. */
static int run_op(struct harness *h, uint32_t op, uint64_t session, const void *params, uint32_t len,
		  const struct op_arg *args, uint32_t n_args, uint64_t tag, bool again, const char *text)
{
	struct test_request request;
	int r;

	request_init(h, &request, VACCEL_OP_NOOP, OWNER, session);
	request.engine.op.op = op;
	request.engine.op.params_len = len;
	memcpy(request.engine.op.params, params, len);
	request.engine.op.n_args = n_args;
	for (uint32_t i = 0; i < n_args; i++)
		request.engine.op.args[i] = args[i];
	request.engine.tag = tag;
	request.engine.again = again;
	request_submit(h, &request);
	/* Not later, and not in another thread. */
	assert_int_equal(request.n_done, 1);
	assert_true(pthread_equal(request.done_in, pthread_self()));
	r = request_wait(&request);
	if (r < 0)
		assert_text(request.engine.error, text);
	return r;
}

static int op_import(struct harness *h, uint64_t session, const struct op_arg *key, uint64_t tag,
		     struct vaccel_key_about *ret_about, const char *text)
{
	const struct vaccel_key_import params = { .type = VACCEL_KEY_AES,
						  .modes = 1u << VACCEL_CBC,
						  .rights = VACCEL_MAY_ENCRYPT };
	const struct op_arg args[] = { *key, { ret_about, sizeof(*ret_about), 2 } };

	return run_op(h, VACCEL_OP_KEY_IMPORT, session, &params, sizeof(params), args, 2, tag, tag != 0, text);
}

static int op_open(struct harness *h, uint64_t session, const char *name, struct vaccel_key_about *ret_about,
		   const char *text)
{
	const struct op_arg answer = { ret_about, sizeof(*ret_about), 2 };
	struct vaccel_key_open params = { "" };

	strncpy(params.name, name, sizeof(params.name) - 1);
	return run_op(h, VACCEL_OP_KEY_OPEN, session, &params, sizeof(params), &answer, 1, 0, false, text);
}

static int op_free(struct harness *h, uint64_t session, uint64_t id, bool again, const char *text)
{
	const struct vaccel_key_free params = { id };

	return run_op(h, VACCEL_OP_KEY_FREE, session, &params, sizeof(params), NULL, 0, 1, again, text);
}

/* ---- Import, use, free ---- */

static void keys_are_imported_used_and_freed(void **unused)
{
	const struct op_arg key = { (void *)secret, sizeof(secret), 1 };
	struct vaccel_key_about about;
	struct harness h;
	uint64_t session;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	memset(&about, 0xff, sizeof(about));
	assert_int_equal(op_import(&h, session, &key, 0, &about, NULL), 0);
	assert_int_equal(about.type, VACCEL_KEY_AES);
	assert_int_equal(about.bits, 256);
	assert_int_equal(about.modes, 1u << VACCEL_CBC);
	assert_int_equal(about.rights, VACCEL_MAY_ENCRYPT);
	assert_int_equal(about.held, 0);
	assert_int_equal(about.reserved, 0);
	assert_int_equal(run_cipher(&h, OWNER, session, about.id, NULL), 0);
	assert_true(seen.id == about.id && seen.type == VACCEL_KEY_AES && seen.modes == 1u << VACCEL_CBC);
	assert_true(seen.rights == VACCEL_MAY_ENCRYPT && !seen.held && seen.len == sizeof(secret));
	assert_memory_equal(seen_bytes, secret, sizeof(secret));
	assert_int_equal(op_free(&h, session, about.id, false, NULL), 0);
	assert_int_equal(n_gone, 1);
	assert_true(last_gone == about.id);
	assert_int_equal(run_cipher(&h, OWNER, session, about.id, "is gone"), -ESTALE);
	assert_int_equal(op_free(&h, session, about.id, false, "key_free: key"), -ESTALE);
	/* A worker died after it had removed it. */
	assert_int_equal(op_free(&h, session, about.id, true, NULL), 0);
	assert_int_equal(op_free(&h, session, 0, true, "never given out"), -ENOENT);
	harness_stop(&h);
}

/* The plugin sees no key where an operation has none. */
static const struct vaccel_plugin_crypto_key *key_of_noop = (void *)1;

static int look_at_noop(const struct vaccel_plugin_call *call)
{
	key_of_noop = call->key;
	return 0;
}

static void other_operations_have_no_key(void **unused)
{
	struct test_request request;
	struct harness h;

	start(&h, NULL)->run = look_at_noop;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, harness_session(&h, OWNER)), 0);
	assert_null(key_of_noop);
	harness_stop(&h);
}

static void release(void *data, uint64_t len, void *opaque)
{
}

static void keys_come_from_registered_buffers(void **unused)
{
	static _Alignas(64) uint8_t block[4096];
	const struct engine_mapping mapping = { block, sizeof(block), release, NULL };
	struct op_arg key = { .len = sizeof(secret), .dir = 1, .offset = 100 };
	struct vaccel_key_about about;
	struct harness h;
	uint64_t session;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	memcpy(block + 100, secret, sizeof(secret));
	assert_int_equal(engine_buffer_add(h.engine, OWNER, session, 0, &mapping, NULL, 0, &key.buffer, NULL), 0);
	assert_int_equal(op_import(&h, session, &key, 0, &about, NULL), 0);
	/* A copy: what the buffer says afterwards is of no account. */
	memset(block, 0, sizeof(block));
	assert_int_equal(run_cipher(&h, OWNER, session, about.id, NULL), 0);
	key.offset = 4090;
	assert_int_equal(op_import(&h, session, &key, 0, &about, "leave buffer"), -ERANGE);
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, key.buffer, NULL), 0);
	key.offset = 0;
	assert_int_equal(op_import(&h, session, &key, 0, &about, "no longer registered"), -ESTALE);
	harness_stop(&h);
}

static void imports_are_checked(void **unused)
{
	static const struct {
		uint32_t type, modes, rights, len;
		const char *text;
	} rows[] = {
		{ 0, 0, ANY, 32, "type 0 is not known" },
		{ 4, 0, ANY, 32, "type 4 is not known" },
		{ VACCEL_KEY_AES, 1u << 0, ANY, 32, "are not known" },
		{ VACCEL_KEY_AES, 1u << 6, ANY, 32, "are not known" },
		{ VACCEL_KEY_AES, 0, 0, 32, "rights are" },
		{ VACCEL_KEY_AES, 0, 0x10, 32, "rights are" },
		{ VACCEL_KEY_AES, 0, ANY, 0, "not 1 to 4096" },
		{ VACCEL_KEY_AES, 0, ANY, 31, "no key of 31 bytes" },
		{ VACCEL_KEY_AES, 1u << VACCEL_XTS, ANY, 16, "no key of 16 bytes" },
		{ VACCEL_KEY_AES, 1u << VACCEL_CBC, ANY, 64, "no key of 64 bytes" },
		{ VACCEL_KEY_AES, 0, ANY, 4097, "not 1 to 4096" },
		{ VACCEL_KEY_RSA_PUBLIC, 1u << VACCEL_CBC, ANY, 32, "has no modes" },
	};
	static uint8_t bytes[VACCEL_KEY_BYTES + 1];
	struct harness h;
	uint64_t session;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct state_key key = { .type = rows[i].type,
					       .modes = rows[i].modes,
					       .rights = rows[i].rights,
					       .data = bytes,
					       .len = rows[i].len };
		struct error error = { 0 };
		uint64_t id = 42;

		assert_int_equal(engine_key_import(h.engine, OWNER, session, 0, &key, &id, &error), -EINVAL);
		assert_text(error, rows[i].text);
		assert_int_equal(id, 42);
	}
	harness_stop(&h);
}

/* ---- Who may use which key for what ---- */

static void keys_belong_to_their_session(void **unused)
{
	struct state_key about;
	struct harness h;
	uint64_t mine, sibling, others, id;

	start(&h, NULL);
	mine = harness_session(&h, OWNER);
	sibling = harness_session(&h, OWNER);
	others = harness_session(&h, OTHER);
	id = import(&h, OWNER, mine, &aes);
	assert_int_equal(run_cipher(&h, OTHER, others, id, "never given out"), -ENOENT);
	assert_int_equal(free_key(&h, OTHER, others, id, "never given out"), -ENOENT);
	assert_int_equal(engine_key_about(h.engine, OTHER, others, id, &about, NULL), -ENOENT);
	assert_int_equal(run_cipher(&h, OWNER, sibling, id, "belongs to another session"), -ENOENT);
	assert_int_equal(free_key(&h, OWNER, sibling, id, "belongs to another session"), -ENOENT);
	assert_int_equal(engine_key_about(h.engine, OWNER, sibling, id, &about, NULL), -ENOENT);
	/* The same when it has been used, and its object is there. */
	assert_int_equal(run_cipher(&h, OWNER, mine, id, NULL), 0);
	assert_int_equal(run_cipher(&h, OTHER, others, id, "never given out"), -ENOENT);
	assert_int_equal(run_cipher(&h, OWNER, sibling, id, "belongs to another session"), -ENOENT);
	assert_int_equal(engine_key_about(h.engine, OWNER, sibling, id, &about, NULL), -ENOENT);
	assert_int_equal(n_gone, 0);
	assert_int_equal(engine_key_about(h.engine, OWNER, mine, id, &about, NULL), 0);
	assert_true(about.id == id && about.note == 7 && about.bits == 256 && !about.data && !about.held);
	harness_stop(&h);
}

static void ids_that_name_nothing(void **unused)
{
	struct harness h;
	uint64_t session, id;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	id = import(&h, OWNER, session, &aes);
	const uint64_t never[] = { 0,	      1, UINT32_MAX, id + 1, id + 8, id + (UINT64_C(1) << 32), id & UINT32_MAX,
				   UINT64_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
		assert_int_equal(run_cipher(&h, OWNER, session, never[i], "never given out"), -ENOENT);
		assert_int_equal(free_key(&h, OWNER, session, never[i], "never given out"), -ENOENT);
	}
	harness_stop(&h);
}

static void keys_are_for_what_they_are_for(void **unused)
{
	static const struct {
		uint32_t type, modes, rights, len;
		uint32_t mode, direction;
		int result;
		const char *text;
	} rows[] = {
		{ VACCEL_KEY_AES, 0, ANY, 32, VACCEL_CBC, VACCEL_DECRYPT, 0, NULL },
		{ VACCEL_KEY_AES, 1u << VACCEL_CBC | 1u << VACCEL_ECB, ANY, 32, VACCEL_CBC, VACCEL_ENCRYPT, 0, NULL },
		{ VACCEL_KEY_AES, 1u << VACCEL_ECB, ANY, 32, VACCEL_CBC, VACCEL_ENCRYPT, -EPERM, "not for mode cbc" },
		{ VACCEL_KEY_AES, 0, VACCEL_MAY_DECRYPT, 32, VACCEL_CBC, VACCEL_ENCRYPT, -EPERM, "may not encrypt" },
		{ VACCEL_KEY_AES, 0, VACCEL_MAY_ENCRYPT, 32, VACCEL_CBC, VACCEL_DECRYPT, -EPERM, "may not decrypt" },
		{ VACCEL_KEY_AES, 0, ANY, 24, VACCEL_XTS, VACCEL_ENCRYPT, -EINVAL, "no key of 192 bits" },
		{ VACCEL_KEY_AES, 0, ANY, 64, VACCEL_CBC, VACCEL_ENCRYPT, -EINVAL, "no key of 512 bits" },
		{ VACCEL_KEY_RSA_PRIVATE, 0, ANY, 32, VACCEL_CBC, VACCEL_ENCRYPT, -EINVAL, "not one of AES" },
	};
	uint8_t bytes[64];
	struct harness h;
	uint64_t session;

	memcpy(bytes, secret, 32);
	memcpy(bytes + 32, secret, 32);
	start(&h, NULL);
	session = harness_session(&h, OWNER);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct state_key key = { .type = rows[i].type,
					       .modes = rows[i].modes,
					       .rights = rows[i].rights,
					       .data = bytes,
					       .len = rows[i].len };
		uint64_t id = import(&h, OWNER, session, &key);
		struct cipher_request cipher;

		init_cipher(&h, &cipher, OWNER, session, id);
		params_of(&cipher)->mode = rows[i].mode;
		params_of(&cipher)->direction = rows[i].direction;
		request_submit(&h, &cipher.request);
		assert_int_equal(finish_cipher(&cipher, rows[i].text), rows[i].result);
		assert_int_equal(free_key(&h, OWNER, session, id, NULL), 0);
	}
	harness_stop(&h);
}

static void keys_have_a_limit(void **unused)
{
	struct error error = { 0 };
	struct harness h;
	uint64_t session, id = 0, more = 42;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	for (int i = 0; i < 8; i++)
		id = import(&h, OWNER, session, &aes);
	assert_int_equal(engine_key_import(h.engine, OWNER, session, 0, &aes, &more, &error), -EDQUOT);
	assert_text(error, "limits.keys = 8");
	assert_int_equal(more, 42);
	assert_int_equal(free_key(&h, OWNER, session, id, NULL), 0);
	import(&h, OWNER, session, &aes);
	harness_stop(&h);
}

/* ---- The end of a key ---- */

struct shared {
	struct config_limits limits;
	void *memory;
	struct state *state;
};

/* The limits that the settings make: an engine and its state agree on them. */
static void share(struct shared *shared)
{
	struct harness h;

	harness_start(&h, NULL, settings);
	shared->limits = h.config->limits;
	harness_stop(&h);
	shared->memory = calloc(1, state_size(&shared->limits));
	assert_non_null(shared->memory);
	assert_int_equal(
		state_attach(shared->memory, state_size(&shared->limits), &shared->limits, &shared->state, NULL, NULL),
		0);
}

/* The worker is gone, the next one attaches. */
static void attach_again(struct shared *shared)
{
	unsigned int dropped = 99;

	state_detach(shared->state);
	assert_int_equal(state_attach(shared->memory, state_size(&shared->limits), &shared->limits, &shared->state,
				      &dropped, NULL),
			 0);
	assert_int_equal(dropped, 0);
}

static void give_up(struct shared *shared)
{
	state_detach(shared->state);
	free(shared->memory);
}

static bool has_secret(const struct shared *shared)
{
	return memmem(shared->memory, state_size(&shared->limits), secret, 8);
}

/* Where the bytes of the first key are. */
static const uint8_t *first_bytes(const struct shared *shared)
{
	return (const uint8_t *)shared->memory + state_size(&shared->limits) -
	       shared->limits.keys * (size_t)VACCEL_KEY_BYTES;
}

static void a_key_lasts_until_its_last_request(void **unused)
{
	struct cipher_request running;
	struct shared shared;
	struct probe *probe;
	struct harness h;
	struct gate gate;
	uint64_t session, id;

	share(&shared);
	probe = start(&h, shared.state);
	probe->run = encrypt_at_gate;
	memory_at_gone = first_bytes(&shared);
	gate_init(&gate);
	session = harness_session(&h, OWNER);
	id = import(&h, OWNER, session, &aes);
	init_cipher(&h, &running, OWNER, session, id);
	request_submit(&h, &running.request);
	await(&gate.entered);
	/* Gone at once for everybody else, but its bytes are where they were. */
	assert_int_equal(free_key(&h, OWNER, session, id, NULL), 0);
	assert_int_equal(free_key(&h, OWNER, session, id, "is gone"), -ESTALE);
	assert_int_equal(run_cipher(&h, OWNER, session, id, "is gone"), -ESTALE);
	assert_int_equal(n_gone, 0);
	assert_true(has_secret(&shared));
	sem_post(&gate.leave);
	assert_int_equal(finish_cipher(&running, NULL), 0);
	/* Before its done(): plugins were told first, then it was overwritten. */
	assert_int_equal(n_gone, 1);
	assert_true(bytes_at_gone);
	assert_true(last_gone == id);
	assert_false(has_secret(&shared));
	harness_stop(&h);
	give_up(&shared);
}

/* It counts from when it was submitted: what waits is no worse off than what runs. */
static void requests_that_wait_have_their_key(void **unused)
{
	static const char *const one[] = { "order.default=probe-keys-one", "limits.keys=8", NULL };
	struct cipher_request running, waiting, cancelled;
	struct probe *probe;
	struct harness h;
	struct gate gate;
	uint64_t session, id;

	probe = start_with(&h, NULL, one, "probe-keys-one");
	probe->run = encrypt_at_gate;
	gate_init(&gate);
	session = harness_session(&h, OWNER);
	id = import(&h, OWNER, session, &aes);
	init_cipher(&h, &running, OWNER, session, id);
	init_cipher(&h, &waiting, OWNER, session, id);
	init_cipher(&h, &cancelled, OWNER, session, id);
	request_submit(&h, &running.request);
	await(&gate.entered);
	request_submit(&h, &waiting.request);
	request_submit(&h, &cancelled.request);
	assert_int_equal(free_key(&h, OWNER, session, id, NULL), 0);
	assert_int_equal(engine_cancel(h.engine, OWNER, cancelled.request.engine.id, NULL), 0);
	assert_int_equal(finish_cipher(&cancelled, "was cancelled"), -ECANCELED);
	sem_post(&gate.leave);
	assert_int_equal(finish_cipher(&running, NULL), 0);
	assert_int_equal(n_gone, 0);
	await(&gate.entered);
	sem_post(&gate.leave);
	assert_int_equal(finish_cipher(&waiting, NULL), 0);
	assert_int_equal(n_gone, 1);
	assert_int_equal(probe->violations, 0);
	harness_stop(&h);
}

/* The last one may be one that never runs. */
static void a_cancelled_request_may_be_the_last(void **unused)
{
	static const char *const one[] = { "order.default=probe-keys-one", "limits.keys=8", NULL };
	struct cipher_request running, waiting;
	struct harness h;
	struct gate gate;
	uint64_t session, id, other;

	start_with(&h, NULL, one, "probe-keys-one")->run = encrypt_at_gate;
	gate_init(&gate);
	session = harness_session(&h, OWNER);
	id = import(&h, OWNER, session, &aes);
	other = import(&h, OWNER, session, &aes);
	init_cipher(&h, &running, OWNER, session, id);
	init_cipher(&h, &waiting, OWNER, session, other);
	request_submit(&h, &running.request);
	await(&gate.entered);
	request_submit(&h, &waiting.request);
	assert_int_equal(free_key(&h, OWNER, session, other, NULL), 0);
	assert_int_equal(n_gone, 0);
	assert_int_equal(engine_cancel(h.engine, OWNER, waiting.request.engine.id, NULL), 0);
	assert_int_equal(n_gone, 1);
	assert_true(last_gone == other);
	assert_int_equal(finish_cipher(&waiting, "was cancelled"), -ECANCELED);
	sem_post(&gate.leave);
	assert_int_equal(finish_cipher(&running, NULL), 0);
	harness_stop(&h);
}

static void sessions_take_their_keys_along(void **unused)
{
	struct error error = { 0 };
	struct shared shared;
	struct harness h;
	uint64_t session, other, used, kept, id;

	share(&shared);
	start(&h, shared.state);
	session = harness_session(&h, OWNER);
	other = harness_session(&h, OWNER);
	used = import(&h, OWNER, session, &aes);
	import(&h, OWNER, session, &aes);
	assert_int_equal(run_cipher(&h, OWNER, session, used, NULL), 0);
	/* Plugins have to be told: that is not for who may not wait. */
	assert_int_equal(engine_session_close_idle(h.engine, OWNER, session, &error), -EAGAIN);
	assert_int_equal(engine_session_close(h.engine, OWNER, session, NULL), 0);
	assert_int_equal(n_gone, 2);
	assert_false(has_secret(&shared));
	kept = import(&h, OTHER, harness_session(&h, OTHER), &aes);
	import(&h, OWNER, other, &aes);
	import(&h, OWNER, other, &aes);
	engine_owner_gone(h.engine, OWNER);
	assert_int_equal(n_gone, 4);
	assert_int_equal(state_n_keys(shared.state), 1);
	engine_owner_gone(h.engine, OTHER);
	assert_int_equal(n_gone, 5);
	assert_true(last_gone == kept);
	assert_false(has_secret(&shared));
	assert_int_equal(engine_key_import(h.engine, OWNER, session, 0, &aes, &id, &error), -ESTALE);
	harness_stop(&h);
	give_up(&shared);
}

struct closing {
	struct harness *h;
	uint64_t session;
	pthread_t thread;
};

static void *close_session(void *arg)
{
	struct closing *closing = arg;

	assert_int_equal(engine_session_close(closing->h->engine, OWNER, closing->session, NULL), 0);
	return NULL;
}

/* The session that goes waits for the request, whose end is the key's. */
static void closing_waits_for_keys_in_use(void **unused)
{
	struct cipher_request running;
	struct closing closing;
	struct shared shared;
	struct harness h;
	struct gate gate;
	uint64_t id;

	share(&shared);
	start(&h, shared.state)->run = encrypt_at_gate;
	gate_init(&gate);
	closing.h = &h;
	closing.session = harness_session(&h, OWNER);
	id = import(&h, OWNER, closing.session, &aes);
	init_cipher(&h, &running, OWNER, closing.session, id);
	request_submit(&h, &running.request);
	await(&gate.entered);
	assert_int_equal(free_key(&h, OWNER, closing.session, id, NULL), 0);
	assert_int_equal(pthread_create(&closing.thread, NULL, close_session, &closing), 0);
	sem_post(&gate.leave);
	assert_int_equal(finish_cipher(&running, NULL), 0);
	pthread_join(closing.thread, NULL);
	assert_int_equal(n_gone, 1);
	assert_false(has_secret(&shared));
	assert_int_equal(state_n_keys(shared.state), 0);
	harness_stop(&h);
	give_up(&shared);
}

/* ---- The worker after this one ---- */

static void the_next_worker_has_the_keys(void **unused)
{
	const struct op_arg key = { (void *)secret, sizeof(secret), 1 };
	struct vaccel_key_about first, again;
	struct shared shared;
	struct harness h;
	uint64_t session, freed;

	share(&shared);
	start(&h, shared.state);
	session = harness_session(&h, OWNER);
	assert_int_equal(op_import(&h, session, &key, 77, &first, NULL), 0);
	freed = import(&h, OWNER, session, &aes);
	assert_int_equal(free_key(&h, OWNER, session, freed, NULL), 0);
	harness_stop(&h);
	attach_again(&shared);
	start(&h, shared.state);
	/* The request that made it runs again: it is the same key. */
	assert_int_equal(op_import(&h, session, &key, 77, &again, NULL), 0);
	assert_true(again.id == first.id && again.bits == 256);
	assert_int_equal(state_n_keys(shared.state), 1);
	assert_int_equal(run_cipher(&h, OWNER, session, first.id, NULL), 0);
	assert_int_equal(run_cipher(&h, OWNER, session, freed, "is gone"), -ESTALE);
	assert_int_equal(op_free(&h, session, freed, true, NULL), 0);
	assert_int_equal(engine_session_close(h.engine, OWNER, session, NULL), 0);
	assert_false(has_secret(&shared));
	harness_stop(&h);
	give_up(&shared);
}

/* A worker dies in a request whose key was freed meanwhile: it cannot run again, and says why. */
static void what_cannot_run_again_is_interrupted(void **unused)
{
	struct cipher_request cipher;
	struct shared shared;
	struct harness h;
	uint64_t session, id;

	share(&shared);
	start(&h, shared.state);
	session = harness_session(&h, OWNER);
	id = import(&h, OWNER, session, &aes);
	assert_int_equal(state_key_retire(shared.state, OWNER, id, NULL), 0);
	harness_stop(&h);
	assert_true(has_secret(&shared));
	attach_again(&shared);
	assert_false(has_secret(&shared));
	start(&h, shared.state);
	init_cipher(&h, &cipher, OWNER, session, id);
	cipher.request.engine.again = true;
	request_submit(&h, &cipher.request);
	assert_int_equal(finish_cipher(&cipher, "cipher: interrupted, and key"), -EOWNERDEAD);
	harness_stop(&h);
	give_up(&shared);
}

/* ---- RSA: the plugin looks at the key ---- */

static struct harness *checking;
static int check_result;
static struct vaccel_plugin_crypto_key checked;

static int check_key(const struct vaccel_plugin_crypto_key *key, uint32_t *ret_bits,
		     const struct vaccel_plugin_report *report)
{
	uint64_t session;

	checked = *key;
	/* Under no lock of the engine's. */
	assert_int_equal(engine_session_open(checking->engine, OWNER, 0, &session, NULL), 0);
	assert_int_equal(engine_session_close(checking->engine, OWNER, session, NULL), 0);
	*ret_bits = 2048;
	return check_result < 0 ? vaccel_plugin_error(report, check_result, "no DER") : 0;
}

static void plugins_look_at_keys_of_rsa(void **unused)
{
	struct state_key rsa = { .type = VACCEL_KEY_RSA_PUBLIC, .rights = ANY, .data = secret, .len = 32 }, about;
	struct error error = { 0 };
	struct harness h;
	uint64_t session, id = 42;

	start(&h, NULL)->key_check = check_key;
	checking = &h;
	session = harness_session(&h, OWNER);
	check_result = -EINVAL;
	assert_int_equal(engine_key_import(h.engine, OWNER, session, 0, &rsa, &id, &error), -EINVAL);
	assert_text(error, "plugin probe-keys: no DER");
	assert_int_equal(id, 42);
	check_result = 0;
	id = import(&h, OWNER, session, &rsa);
	assert_true(checked.type == VACCEL_KEY_RSA_PUBLIC && checked.len == 32 && checked.data == secret);
	assert_int_equal(engine_key_about(h.engine, OWNER, session, id, &about, NULL), 0);
	assert_int_equal(about.bits, 2048);
	/* Nobody asks about those of AES. */
	check_result = -EINVAL;
	import(&h, OWNER, session, &aes);
	harness_stop(&h);
}

static uint8_t guests_key[sizeof(secret)];

/* As a guest would, between the check and the use. */
static int check_and_change(const struct vaccel_plugin_crypto_key *key, uint32_t *ret_bits,
			    const struct vaccel_plugin_report *report)
{
	assert_memory_equal(key->data, secret, sizeof(secret));
	memset(guests_key, 0xff, sizeof(guests_key));
	return 0;
}

static int look_at_key(const struct vaccel_plugin_call *call)
{
	memcpy(seen_bytes, call->key->data, MIN(call->key->len, sizeof(seen_bytes)));
	return 0;
}

static void what_was_checked_is_what_is_used(void **unused)
{
	const struct vaccel_key_import params = { .type = VACCEL_KEY_RSA_PRIVATE, .rights = ANY };
	struct vaccel_key_about about;
	struct vaccel_akcipher_answer answer;
	const struct op_arg import_args[] = { { guests_key, sizeof(guests_key), 1 }, { &about, sizeof(about), 2 } };
	const struct op_arg args[] = { { guests_key, 1, 1 }, { seen_bytes, 1, 2 }, { &answer, sizeof(answer), 2 } };
	struct vaccel_akcipher sign = { .operation = VACCEL_AK_SIGN };
	struct test_request request;
	struct probe *probe;
	struct harness h;
	uint64_t session;

	probe = start(&h, NULL);
	probe->key_check = check_and_change;
	probe->run = look_at_key;
	session = harness_session(&h, OWNER);
	memcpy(guests_key, secret, sizeof(secret));
	assert_int_equal(
		run_op(&h, VACCEL_OP_KEY_IMPORT, session, &params, sizeof(params), import_args, 2, 0, false, NULL), 0);
	sign.key = about.id;
	request_init(&h, &request, VACCEL_OP_NOOP, OWNER, session);
	request.engine.op.op = VACCEL_OP_AKCIPHER;
	request.engine.op.params_len = sizeof(sign);
	memcpy(request.engine.op.params, &sign, sizeof(sign));
	request.engine.op.n_args = 3;
	memcpy(request.engine.op.args, args, sizeof(args));
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), 0);
	assert_memory_equal(seen_bytes, secret, sizeof(secret));
	harness_stop(&h);
}

/* ---- What is served ---- */

static const char *plugin_of(const struct harness *h, uint32_t op)
{
	struct engine_op_info info = { 0 };

	for (size_t i = 0; engine_op_info(h->engine, i, &info); i++)
		if (info.op == op)
			break;
	return info.plugin;
}

static void keys_need_somebody_who_uses_them(void **unused)
{
	static const char *const none[] = { "order.default=reference", NULL };
	static const char *const no_rsa[] = { "order.default=probe-keys", "order.akcipher=", NULL };
	const struct op_arg key = { (void *)secret, sizeof(secret), 1 };
	struct state_key rsa = { .type = VACCEL_KEY_RSA_PUBLIC, .rights = ANY, .data = secret, .len = 32 };
	struct vaccel_key_about about;
	struct error error = { 0 };
	struct harness h;
	uint64_t session, id;

	harness_start(&h, NULL, none);
	session = harness_session(&h, OWNER);
	assert_string_equal(plugin_of(&h, VACCEL_OP_KEY_IMPORT), "");
	assert_int_equal(op_import(&h, session, &key, 0, &about, "no plugin here serves it"), -EOPNOTSUPP);
	assert_int_equal(engine_key_import(h.engine, OWNER, session, 0, &aes, &id, &error), -EOPNOTSUPP);
	assert_text(error, "no plugin here serves cipher");
	harness_stop(&h);
	start_with(&h, NULL, no_rsa, "probe-keys");
	session = harness_session(&h, OWNER);
	assert_string_equal(plugin_of(&h, VACCEL_OP_CIPHER), "probe-keys");
	assert_string_equal(plugin_of(&h, VACCEL_OP_AKCIPHER), "");
	assert_string_equal(plugin_of(&h, VACCEL_OP_KEY_IMPORT), "engine");
	assert_string_equal(plugin_of(&h, VACCEL_OP_KEY_OPEN), "engine");
	assert_string_equal(plugin_of(&h, VACCEL_OP_KEY_FREE), "engine");
	assert_int_equal(engine_key_import(h.engine, OWNER, session, 0, &rsa, &id, &error), -EOPNOTSUPP);
	assert_text(error, "no plugin here serves akcipher");
	harness_stop(&h);
}

/* ---- Keys that the host holds ---- */

static char folder[] = P_tmpdir "/vaccel-test-keys-XXXXXX";

static int make_folder(void **unused)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **unused)
{
	return rmdir(folder);
}

static void write_key(const char *name, const void *data, size_t len, mode_t mode)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void remove_key(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(unlink(path), 0);
}

/* An engine whose only key is called backup; where: "file" or "credential". */
static void start_held(struct harness *h, struct state *state, const char *where, const char *file, const char *format,
		       const char *cipher, const char *allow)
{
	char set[5][320];
	const char *all[16] = { set[0], set[1], set[2], set[3] };

	snprintf(set[0], sizeof(set[0]), "key backup.%s=%s%s%s", where, strcmp(where, "file") ? "" : folder,
		 strcmp(where, "file") ? "" : "/", file);
	snprintf(set[1], sizeof(set[1]), "key backup.format=%s", format);
	snprintf(set[2], sizeof(set[2]), "key backup.cipher=%s", cipher);
	snprintf(set[3], sizeof(set[3]), "key backup.allow=%s", allow);
	for (size_t i = 0; settings[i]; i++)
		all[4 + i] = settings[i];
	start_with(h, state, all, "probe-keys");
}

static void check_failure(const struct harness *h, const char *text)
{
	struct error error = { 0 };

	assert_int_equal(engine_n_failures(h->engine), 1);
	assert_string_equal(engine_failure_at(h->engine, 0)->plugin, "key backup");
	snprintf(error.text, sizeof(error.text), "%s", engine_failure_at(h->engine, 0)->text);
	assert_text(error, text);
}

static void held_keys_are_opened_by_name(void **unused)
{
	struct vaccel_key_about about;
	struct shared shared;
	struct harness h;
	uint64_t session;

	share(&shared);
	write_key("k", secret, sizeof(secret), 0600);
	start_held(&h, shared.state, "file", "k", "raw", "aes-256-cbc", "encrypt");
	assert_int_equal(engine_n_failures(h.engine), 0);
	assert_string_equal(engine_held_key(h.engine, 0), "backup");
	assert_null(engine_held_key(h.engine, 1));
	session = harness_session(&h, OWNER);
	assert_int_equal(op_open(&h, session, "backup", &about, NULL), 0);
	assert_true(about.type == VACCEL_KEY_AES && about.bits == 256 && about.held == 1);
	assert_true(about.modes == 1u << VACCEL_CBC && about.rights == VACCEL_MAY_ENCRYPT);
	assert_int_equal(run_cipher(&h, OWNER, session, about.id, NULL), 0);
	assert_true(seen.held == 1 && seen.len == sizeof(secret) && seen.rights == VACCEL_MAY_ENCRYPT);
	assert_int_equal(op_open(&h, session, "backup2", &about, "holds no key backup2"), -ENOENT);
	assert_int_equal(op_open(&h, session, "backu", &about, "holds no key backu"), -ENOENT);
	/* Its bytes are the host's: they are not in the tenant's state. */
	assert_false(has_secret(&shared));
	assert_int_equal(engine_session_close(h.engine, OWNER, session, NULL), 0);
	assert_int_equal(n_gone, 1);
	/* The host has it still. */
	session = harness_session(&h, OWNER);
	assert_int_equal(op_open(&h, session, "backup", &about, NULL), 0);
	assert_int_equal(run_cipher(&h, OWNER, session, about.id, NULL), 0);
	harness_stop(&h);
	remove_key("k");
	give_up(&shared);
}

/* What the configuration says when a worker starts counts, also for keys that are open. */
static void the_next_worker_reads_held_keys_anew(void **unused)
{
	struct vaccel_key_about about;
	struct state_key now;
	struct cipher_request cipher;
	struct shared shared;
	struct harness h;
	uint64_t session;

	share(&shared);
	write_key("k", secret, sizeof(secret), 0400);
	start_held(&h, shared.state, "file", "k", "raw", "aes-256-cbc", "encrypt");
	session = harness_session(&h, OWNER);
	assert_int_equal(op_open(&h, session, "backup", &about, NULL), 0);
	harness_stop(&h);
	attach_again(&shared);
	start_held(&h, shared.state, "file", "k", "raw", "aes-256-cbc", "decrypt");
	assert_int_equal(run_cipher(&h, OWNER, session, about.id, "may not encrypt"), -EPERM);
	init_cipher(&h, &cipher, OWNER, session, about.id);
	params_of(&cipher)->direction = VACCEL_DECRYPT;
	request_submit(&h, &cipher.request);
	assert_int_equal(finish_cipher(&cipher, NULL), 0);
	assert_int_equal(engine_key_about(h.engine, OWNER, session, about.id, &now, NULL), 0);
	assert_true(now.held && now.rights == VACCEL_MAY_DECRYPT && now.bits == 256);
	harness_stop(&h);
	attach_again(&shared);
	start(&h, shared.state);
	assert_int_equal(run_cipher(&h, OWNER, session, about.id, "holds no key backup any more"), -ENOENT);
	assert_int_equal(free_key(&h, OWNER, session, about.id, NULL), 0);
	harness_stop(&h);
	remove_key("k");
	give_up(&shared);
}

static void files_of_keys_are_checked(void **unused)
{
	static const struct {
		const char *data;
		size_t len;
		mode_t mode;
		const char *format, *cipher, *text; /* NULL: good */
	} rows[] = {
		{ "0123456789abcdef", 16, 0600, "raw", "aes-128-cbc", NULL },
		{ "0123456789abcdef", 16, 0400, "raw", "aes-128-cbc", NULL },
		{ "0123456789abcdef", 16, 0700, "raw", "aes-128-cbc", NULL },
		{ "0123456789abcdef", 16, 0640, "raw", "aes-128-cbc", "has mode 0640: its owner alone" },
		{ "0123456789abcdef", 16, 0620, "raw", "aes-128-cbc", "has mode 0620" },
		{ "0123456789abcdef", 16, 0604, "raw", "aes-128-cbc", "has mode 0604" },
		{ "0123456789abcdef", 16, 0602, "raw", "aes-128-cbc", "has mode 0602" },
		{ "0123456789abcdef\n", 17, 0600, "raw", "aes-128-cbc", "has 17 bytes, its cipher takes 16" },
		{ "0123456789abcde", 15, 0600, "raw", "aes-128-cbc", "has 15 bytes, its cipher takes 16" },
		{ "", 0, 0600, "raw", "aes-128-cbc", "has 0 bytes, its cipher takes 16" },
		{ "0123456789abcdef", 16, 0600, "raw", "aes-128-xts", "has 16 bytes, its cipher takes 32" },
		{ "000102030405060708090a0b0c0d0E0F\n", 33, 0600, "hex", "aes-128-cbc", NULL },
		{ "00010203 04050607\n08090a0b 0c0d0e0f", 35, 0600, "hex", "aes-128-cbc", NULL },
		{ "000102030405060708090a0b0c0d0e0f0", 33, 0600, "hex", "aes-128-cbc", "pairs of hexadecimal digits" },
		{ "0 00102030405060708090a0b0c0d0e0f", 33, 0600, "hex", "aes-128-cbc", "pairs of hexadecimal digits" },
		{ "000102030405060708090a0b0c0d0e0g", 32, 0600, "hex", "aes-128-cbc", "pairs of hexadecimal digits" },
		{ "000102030405060708090a0b0c0d0e", 30, 0600, "hex", "aes-128-cbc", "has 15 bytes" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vaccel_key_about about;
		struct harness h;
		int r;

		write_key("k", rows[i].data, rows[i].len, rows[i].mode);
		start_held(&h, NULL, "file", "k", rows[i].format, rows[i].cipher, "encrypt");
		r = op_open(&h, harness_session(&h, OWNER), "backup", &about, "holds no key backup");
		if (rows[i].text)
			check_failure(&h, rows[i].text);
		assert_int_equal(r, rows[i].text ? -ENOENT : 0);
		/* Never what it has. */
		if (rows[i].text && rows[i].len)
			assert_null(strstr(engine_failure_at(h.engine, 0)->text, "0123456789"));
		harness_stop(&h);
		remove_key("k");
	}
}

static void files_that_are_none(void **unused)
{
	static char large[4096];
	struct harness h;
	char path[256];

	start_held(&h, NULL, "file", "missing", "raw", "aes-128-cbc", "encrypt");
	check_failure(&h, "missing: No such file");
	harness_stop(&h);
	snprintf(path, sizeof(path), "%s/fifo", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	start_held(&h, NULL, "file", "fifo", "raw", "aes-128-cbc", "encrypt");
	check_failure(&h, "is not a regular file");
	harness_stop(&h);
	remove_key("fifo");
	start_held(&h, NULL, "file", "", "raw", "aes-128-cbc", "encrypt");
	check_failure(&h, "is not a regular file");
	harness_stop(&h);
	write_key("k", large, sizeof(large), 0600);
	start_held(&h, NULL, "file", "k", "raw", "aes-128-cbc", "encrypt");
	check_failure(&h, "has 512 bytes or more");
	harness_stop(&h);
	if (geteuid() == 0) {
		snprintf(path, sizeof(path), "%s/k", folder);
		assert_int_equal(chown(path, 4711, 4711), 0);
		start_held(&h, NULL, "file", "k", "raw", "aes-128-cbc", "encrypt");
		check_failure(&h, "belongs to user 4711, not to root or the daemon's user 0");
		harness_stop(&h);
	}
	remove_key("k");
}

static void credentials_are_the_service_managers(void **unused)
{
	struct vaccel_key_about about;
	struct harness h;

	unsetenv("CREDENTIALS_DIRECTORY");
	start_held(&h, NULL, "credential", "c", "raw", "aes-256-cbc", "encrypt");
	check_failure(&h, "$CREDENTIALS_DIRECTORY is not set");
	harness_stop(&h);
	setenv("CREDENTIALS_DIRECTORY", folder, 1);
	start_held(&h, NULL, "credential", "c", "raw", "aes-256-cbc", "encrypt");
	check_failure(&h, "/c: No such file");
	harness_stop(&h);
	/* An access list for the daemon's user shows as a right of the group. */
	write_key("c", secret, sizeof(secret), 0440);
	start_held(&h, NULL, "credential", "c", "raw", "aes-256-cbc", "encrypt");
	assert_int_equal(op_open(&h, harness_session(&h, OWNER), "backup", &about, NULL), 0);
	harness_stop(&h);
	write_key("c", secret, sizeof(secret), 0444);
	start_held(&h, NULL, "credential", "c", "raw", "aes-256-cbc", "encrypt");
	check_failure(&h, "has mode 0444");
	harness_stop(&h);
	unsetenv("CREDENTIALS_DIRECTORY");
	remove_key("c");
}

/* ---- All at once ---- */

#define STORM_THREADS 3
#define STORM_ROUNDS  300

struct storm_thread {
	struct harness *h;
	uint64_t shared, own, seed;
	_Atomic uint64_t *keys; /* that several threads use and free */
	pthread_t thread;
};

static bool may_end(int result)
{
	return result == 0 || result == -ESTALE || result == -ENOENT || result == -ECANCELED;
}

static void *storm_main(void *arg)
{
	struct storm_thread *self = arg;

	for (int i = 0; i < STORM_ROUNDS; i++) {
		uint64_t random = test_random(&self->seed), own = import(self->h, OWNER, self->own, &aes), id, other;
		struct cipher_request a, b;

		/* One of its own, freed while it is in use; one that others free and replace. */
		other = self->keys[random % 2];
		init_cipher(self->h, &a, OWNER, self->own, own);
		init_cipher(self->h, &b, OWNER, self->shared, other);
		engine_submit(self->h->engine, &a.request.engine, random & 4 ? UINT64_MAX : 0);
		engine_submit(self->h->engine, &b.request.engine, random & 8 ? UINT64_MAX : 0);
		assert_int_equal(engine_key_free(self->h->engine, OWNER, self->own, own, NULL), 0);
		if (random & 16 && engine_key_free(self->h->engine, OWNER, self->shared, other, NULL) == 0) {
			id = import(self->h, OWNER, self->shared, &aes);
			atomic_store(&self->keys[random % 2], id);
		}
		if (random & 32)
			engine_cancel(self->h->engine, OWNER, a.request.engine.id, NULL);
		await(&a.request.done);
		await(&b.request.done);
		assert_true(a.request.engine.result == 0 ? is_encrypted(&a) : a.request.engine.result == -ECANCELED);
		assert_true(may_end(b.request.engine.result));
		assert_true(b.request.engine.result || is_encrypted(&b));
	}
	return NULL;
}

static void many_at_once(void **unused)
{
	_Atomic uint64_t keys[2];
	struct storm_thread threads[STORM_THREADS];
	struct shared shared;
	struct harness h;
	uint64_t session;

	share(&shared);
	start(&h, shared.state);
	session = harness_session(&h, OWNER);
	keys[0] = import(&h, OWNER, session, &aes);
	keys[1] = import(&h, OWNER, session, &aes);
	for (unsigned int i = 0; i < STORM_THREADS; i++) {
		threads[i] = (struct storm_thread){ &h, session, harness_session(&h, OWNER), i + 1, keys, 0 };
		assert_int_equal(pthread_create(&threads[i].thread, NULL, storm_main, &threads[i]), 0);
	}
	for (unsigned int i = 0; i < STORM_THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	assert_int_equal(state_n_keys(shared.state), 2);
	engine_owner_gone(h.engine, OWNER);
	assert_int_equal(state_n_keys(shared.state), 0);
	assert_false(has_secret(&shared));
	harness_stop(&h);
	give_up(&shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_imported_used_and_freed),
		cmocka_unit_test(other_operations_have_no_key),
		cmocka_unit_test(keys_come_from_registered_buffers),
		cmocka_unit_test(imports_are_checked),
		cmocka_unit_test(keys_belong_to_their_session),
		cmocka_unit_test(ids_that_name_nothing),
		cmocka_unit_test(keys_are_for_what_they_are_for),
		cmocka_unit_test(keys_have_a_limit),
		cmocka_unit_test(a_key_lasts_until_its_last_request),
		cmocka_unit_test(requests_that_wait_have_their_key),
		cmocka_unit_test(a_cancelled_request_may_be_the_last),
		cmocka_unit_test(sessions_take_their_keys_along),
		cmocka_unit_test(closing_waits_for_keys_in_use),
		cmocka_unit_test(the_next_worker_has_the_keys),
		cmocka_unit_test(what_cannot_run_again_is_interrupted),
		cmocka_unit_test(plugins_look_at_keys_of_rsa),
		cmocka_unit_test(what_was_checked_is_what_is_used),
		cmocka_unit_test(keys_need_somebody_who_uses_them),
		cmocka_unit_test(held_keys_are_opened_by_name),
		cmocka_unit_test(the_next_worker_reads_held_keys_anew),
		cmocka_unit_test(files_of_keys_are_checked),
		cmocka_unit_test(files_that_are_none),
		cmocka_unit_test(credentials_are_the_service_managers),
		cmocka_unit_test(many_at_once),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
