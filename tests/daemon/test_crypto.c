/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-crypto device over rings: every algorithm that it offers, on every data queue, in place and out of place, however
 * the chain is laid out, compared with libcrypto; what the configuration space says; sessions, which outlive the worker.
 */
#include "crypto_rig.h"

#include <endian.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <signal.h>
#include <string.h>

#include "util/util.h"

#define MAX_LEN 70000u
#define SRC	0u
#define DST	(1u << 20)

static const struct {
	uint32_t algorithm;
	uint32_t key_len;
	const char *name; /* libcrypto's */
	uint32_t iv_len;
	uint32_t unit, min;
} ciphers[] = {
	{ VIRTIO_CRYPTO_CIPHER_AES_ECB, 16, "AES-128-ECB", 0, 16, 0 },
	{ VIRTIO_CRYPTO_CIPHER_AES_ECB, 24, "AES-192-ECB", 0, 16, 0 },
	{ VIRTIO_CRYPTO_CIPHER_AES_ECB, 32, "AES-256-ECB", 0, 16, 0 },
	{ VIRTIO_CRYPTO_CIPHER_AES_CBC, 16, "AES-128-CBC", 16, 16, 0 },
	{ VIRTIO_CRYPTO_CIPHER_AES_CBC, 24, "AES-192-CBC", 16, 16, 0 },
	{ VIRTIO_CRYPTO_CIPHER_AES_CBC, 32, "AES-256-CBC", 16, 16, 0 },
	{ VIRTIO_CRYPTO_CIPHER_AES_CTR, 16, "AES-128-CTR", 16, 1, 0 },
	{ VIRTIO_CRYPTO_CIPHER_AES_CTR, 24, "AES-192-CTR", 16, 1, 0 },
	{ VIRTIO_CRYPTO_CIPHER_AES_CTR, 32, "AES-256-CTR", 16, 1, 0 },
	{ VIRTIO_CRYPTO_CIPHER_AES_XTS, 32, "AES-128-XTS", 16, 1, 16 },
	{ VIRTIO_CRYPTO_CIPHER_AES_XTS, 64, "AES-256-XTS", 16, 1, 16 },
};

static uint8_t key[64], iv[16], plain[MAX_LEN], secret[MAX_LEN], seen[MAX_LEN];

static void fill(void)
{
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(i * 29 + 3);
	for (size_t i = 0; i < sizeof(iv); i++)
		iv[i] = (uint8_t)(i * 57 + 1);
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 131 + i / 256);
}

static int setup(void **state)
{
	fill();
	crypto_rig_start("openssl", "");
	*state = crypto_open();
	return 0;
}

static int teardown(void **state)
{
	crypto_close(*state);
	rig_stop();
	return 0;
}

/* What libcrypto makes of plain, into secret. */
static void encrypt(const char *name, uint32_t len)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0, more = 0;

	assert_non_null(cipher);
	assert_int_equal(EVP_EncryptInit_ex2(ctx, cipher, key, iv, NULL), 1);
	EVP_CIPHER_CTX_set_padding(ctx, 0);
	if (len)
		assert_int_equal(EVP_EncryptUpdate(ctx, secret, &n, plain, (int)len), 1);
	if (strcmp(name + 8, "XTS") != 0)
		assert_int_equal(EVP_EncryptFinal_ex(ctx, secret + n, &more), 1);
	assert_int_equal(n + more, len);
	EVP_CIPHER_CTX_free(ctx);
	EVP_CIPHER_free(cipher);
}

struct sessions {
	uint64_t encrypt, decrypt;
};

static struct sessions make(struct crypto_guest *g, size_t cipher)
{
	return (struct sessions){
		crypto_cipher_session(g, ciphers[cipher].algorithm, VIRTIO_CRYPTO_OP_ENCRYPT, key,
				      ciphers[cipher].key_len),
		crypto_cipher_session(g, ciphers[cipher].algorithm, VIRTIO_CRYPTO_OP_DECRYPT, key,
				      ciphers[cipher].key_len),
	};
}

static void end(struct crypto_guest *g, const struct sessions *sessions)
{
	assert_int_equal(crypto_destroy(g, 0, sessions->encrypt), VIRTIO_CRYPTO_OK);
	assert_int_equal(crypto_destroy(g, 0, sessions->decrypt), VIRTIO_CRYPTO_OK);
}

/* There and back, laid out as the plan says. */
static void both_ways(struct crypto_guest *g, unsigned int queue, const struct sessions *sessions,
		      const struct crypto_plan *layout, size_t cipher, uint32_t len)
{
	struct crypto_plan plan = *layout;

	plan.iv = iv;
	plan.iv_len = ciphers[cipher].iv_len;
	plan.src_len = plan.dst_len = len;
	encrypt(ciphers[cipher].name, len);
	plan.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT;
	plan.session = sessions->encrypt;
	crypto_put(g, &plan, plan.src, plain, len);
	assert_int_equal(crypto_run(g, queue, &plan), VIRTIO_CRYPTO_OK);
	crypto_take(g, &plan, plan.dst, seen, len);
	assert_memory_equal(seen, secret, len);
	plan.opcode = VIRTIO_CRYPTO_CIPHER_DECRYPT;
	plan.session = sessions->decrypt;
	crypto_put(g, &plan, plan.src, secret, len);
	assert_int_equal(crypto_run(g, queue, &plan), VIRTIO_CRYPTO_OK);
	crypto_take(g, &plan, plan.dst, seen, len);
	assert_memory_equal(seen, plain, len);
}

static const struct {
	const char *name;
	struct crypto_plan plan;
	uint32_t max; /* bytes: a ring has only so many descriptors */
} layouts[] = {
	{ "as drivers do", { .src = SRC, .dst = DST }, MAX_LEN },
	{ "in place", { .src = SRC, .dst = SRC }, MAX_LEN },
	{ "on odd addresses", { .src = SRC + 3, .dst = DST + 5 }, MAX_LEN },
	{ "through a table", { .src = SRC, .dst = DST, .table = true }, MAX_LEN },
	{ "in adjacent pages", { .src = SRC, .dst = DST, .piece = 4096 }, MAX_LEN },
	{ "in pieces", { .src = SRC, .dst = DST, .piece = 4096, .gap = 64 }, MAX_LEN },
	{ "in pieces that are no blocks", { .src = SRC, .dst = DST, .piece = 7, .gap = 1, .table = true }, 2400 },
	{ "in single bytes", { .src = SRC, .dst = DST, .piece = 1, .gap = 1 }, 64 },
	{ "in pieces, in place", { .src = SRC, .dst = SRC, .piece = 100, .gap = 3 }, 2400 },
	{ "with bytes behind them", { .src = SRC, .dst = DST, .src_more = 100, .dst_more = 200 }, 4096 },
};

static void every_algorithm(void **state)
{
	static const uint32_t lengths[] = { 16, 17, 64, 1000, 4096, 65536, 65536 + 16 };
	struct crypto_guest *g = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
		struct sessions sessions = make(g, i);

		for (size_t j = 0; j < ARRAY_SIZE(layouts); j++)
			for (size_t k = 0; k < ARRAY_SIZE(lengths); k++)
				if (lengths[k] <= layouts[j].max && lengths[k] % ciphers[i].unit == 0)
					both_ways(g, (unsigned int)(k % CRYPTO_DATA_QUEUES), &sessions,
						  &layouts[j].plan, i, lengths[k]);
		end(g, &sessions);
	}
}

/* What lies between destination and status, and behind the source, is nobody's business. */
static void nothing_else_is_written(void **state)
{
	struct crypto_guest *g = *state;
	struct sessions sessions = make(g, 3);
	struct crypto_plan plan = { .src = SRC, .dst = DST, .dst_more = 64 };

	memset(crypto_heap(g, DST), 0x77, 256);
	both_ways(g, 0, &sessions, &plan, 3, 128);
	for (uint32_t i = 128; i < 256; i++)
		assert_int_equal(crypto_heap(g, DST)[i], 0x77);
	end(g, &sessions);
}

static void of_no_bytes(void **state)
{
	struct crypto_guest *g = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
		struct sessions sessions = make(g, i);
		const struct crypto_plan plan = { .opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
						  .session = sessions.encrypt,
						  .iv = iv,
						  .iv_len = ciphers[i].iv_len };

		assert_int_equal(crypto_run(g, 0, &plan), ciphers[i].min ? VIRTIO_CRYPTO_ERR : VIRTIO_CRYPTO_OK);
		end(g, &sessions);
	}
}

/* One of many from the same source, each with a destination of its own. */
static struct crypto_plan cbc_plan(uint64_t id, uint32_t i, uint32_t len)
{
	return (struct crypto_plan){ .opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
				     .session = id,
				     .iv = iv,
				     .iv_len = 16,
				     .src_len = len,
				     .dst_len = len,
				     .src = SRC,
				     .dst = DST + i * len };
}

/* Many at once, on all queues, with results that are all different. */
static void many_in_flight(void **state)
{
	enum { N = 20, LEN = 4096 };
	struct crypto_guest *g = *state;
	struct sessions sessions = make(g, 3);

	encrypt("AES-128-CBC", LEN);
	for (int round = 0; round < 20; round++) {
		struct crypto_job *jobs[N];

		for (uint32_t i = 0; i < N; i++) {
			const struct crypto_plan plan = cbc_plan(sessions.encrypt, i, LEN);

			crypto_put(g, &plan, plan.src, plain, LEN);
			memset(crypto_heap(g, plan.dst), 0, LEN);
			jobs[i] = crypto_plan_send(g, i % CRYPTO_DATA_QUEUES, &plan);
		}
		for (uint32_t i = 0; i < N; i++) {
			assert_int_equal(crypto_finish(g, i % CRYPTO_DATA_QUEUES, jobs[i]), VIRTIO_CRYPTO_OK);
			assert_memory_equal(crypto_heap(g, DST + i * LEN), secret, LEN);
		}
	}
	end(g, &sessions);
}

/* ---- RSA ---- */

#define MODULUS 256u

struct rsa {
	EVP_PKEY *key;
	uint64_t private, public, raw_private, raw_public; /* the first two with PKCS #1 and SHA-256 */
};

static uint64_t rsa_session(struct crypto_guest *g, uint32_t type, bool raw, unsigned char *der, int len)
{
	const struct crypto_make plan = {
		.opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION,
		.algorithm = VIRTIO_CRYPTO_AKCIPHER_RSA,
		.kind = type,
		.padding = raw ? VIRTIO_CRYPTO_RSA_RAW_PADDING : VIRTIO_CRYPTO_RSA_PKCS1_PADDING,
		.hash = raw ? VIRTIO_CRYPTO_RSA_NO_HASH : VIRTIO_CRYPTO_RSA_SHA256,
		.key = der,
		.key_len = (uint32_t)len,
	};
	uint64_t id;

	assert_true(len > 0);
	assert_int_equal(crypto_create(g, &plan, &id), VIRTIO_CRYPTO_OK);
	return id;
}

static struct rsa rsa_open(struct crypto_guest *g)
{
	struct rsa rsa = { .key = EVP_RSA_gen(MODULUS * 8) };
	unsigned char *der = NULL;
	int len = i2d_PrivateKey(rsa.key, &der);

	rsa.private = rsa_session(g, VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE, false, der, len);
	rsa.raw_private = rsa_session(g, VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE, true, der, len);
	OPENSSL_free(der);
	der = NULL;
	len = i2d_PublicKey(rsa.key, &der);
	rsa.public = rsa_session(g, VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC, false, der, len);
	rsa.raw_public = rsa_session(g, VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC, true, der, len);
	OPENSSL_free(der);
	return rsa;
}

static void rsa_close(struct crypto_guest *g, struct rsa *rsa)
{
	const uint64_t ids[] = { rsa->private, rsa->public, rsa->raw_private, rsa->raw_public };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		assert_int_equal(crypto_destroy(g, VIRTIO_CRYPTO_AKCIPHER_DESTROY_SESSION, ids[i]), VIRTIO_CRYPTO_OK);
	EVP_PKEY_free(rsa->key);
}

/* Runs it from seen to seen, laid out as the plan says; returns how many bytes came back. */
static uint32_t rsa_run(struct crypto_guest *g, const struct crypto_plan *layout, uint32_t opcode, uint64_t id,
			uint32_t src_len, uint32_t dst_len)
{
	struct crypto_plan plan = *layout;
	struct crypto_job *job;
	uint32_t written;

	plan.opcode = opcode;
	plan.session = id;
	plan.src_len = src_len;
	plan.dst_len = dst_len;
	crypto_put(g, &plan, plan.src, seen, src_len);
	job = crypto_plan_send(g, 0, &plan);
	crypto_wait(g, 0, job);
	written = job->written;
	assert_int_equal(crypto_finish(g, 0, job), VIRTIO_CRYPTO_OK);
	/* A driver takes the length of the result from the ring. */
	assert_true(written > 0 && written - 1 <= dst_len);
	crypto_take(g, &plan, plan.dst, seen, written - 1);
	return written - 1;
}

static uint32_t rsa_verify(struct crypto_guest *g, const struct crypto_plan *layout, uint64_t id,
			   const uint8_t *signature, const uint8_t *digest)
{
	struct crypto_plan plan = *layout;

	plan.opcode = VIRTIO_CRYPTO_AKCIPHER_VERIFY;
	plan.session = id;
	plan.src_len = MODULUS;
	plan.dst_len = 32;
	plan.verifies = true;
	crypto_put(g, &plan, plan.src, signature, MODULUS);
	crypto_put(g, &plan, plan.dst, digest, 32);
	return crypto_run(g, 0, &plan);
}

static void check_signature(EVP_PKEY *rsa, const uint8_t *signature, const uint8_t *digest)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(rsa, NULL);

	assert_int_equal(EVP_PKEY_verify_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), 1);
	assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()), 1);
	assert_int_equal(EVP_PKEY_verify(ctx, signature, MODULUS, digest, 32), 1);
	EVP_PKEY_CTX_free(ctx);
}

static void rsa(void **state)
{
	static const struct crypto_plan plans[] = {
		{ .src = SRC, .dst = DST },
		{ .src = SRC, .dst = DST, .piece = 100, .gap = 4 },
		{ .src = SRC, .dst = DST, .piece = 33, .gap = 1, .table = true },
	};
	struct crypto_guest *g = *state;
	struct rsa rsa = rsa_open(g);
	uint8_t signature[MODULUS];

	for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
		memcpy(seen, plain, 32);
		assert_int_equal(rsa_run(g, &plans[i], VIRTIO_CRYPTO_AKCIPHER_SIGN, rsa.private, 32, MODULUS), MODULUS);
		memcpy(signature, seen, MODULUS);
		check_signature(rsa.key, signature, plain);
		assert_int_equal(rsa_verify(g, &plans[i], rsa.public, signature, plain), VIRTIO_CRYPTO_OK);
		signature[100] ^= 1;
		assert_int_equal(rsa_verify(g, &plans[i], rsa.public, signature, plain), VIRTIO_CRYPTO_KEY_REJECTED);
		/* What was padded comes back shorter. */
		memcpy(seen, plain, 50);
		assert_int_equal(rsa_run(g, &plans[i], VIRTIO_CRYPTO_AKCIPHER_ENCRYPT, rsa.public, 50, MODULUS),
				 MODULUS);
		assert_int_equal(rsa_run(g, &plans[i], VIRTIO_CRYPTO_AKCIPHER_DECRYPT, rsa.private, MODULUS, MODULUS),
				 50);
		assert_memory_equal(seen, plain, 50);
		/* And what was not, as long as the modulus. */
		memcpy(seen, plain, MODULUS);
		seen[0] = 0;
		assert_int_equal(
			rsa_run(g, &plans[i], VIRTIO_CRYPTO_AKCIPHER_ENCRYPT, rsa.raw_public, MODULUS, MODULUS),
			MODULUS);
		assert_int_equal(
			rsa_run(g, &plans[i], VIRTIO_CRYPTO_AKCIPHER_DECRYPT, rsa.raw_private, MODULUS, MODULUS),
			MODULUS);
		assert_memory_equal(seen + 1, plain + 1, MODULUS - 1);
		rig_wait_gone(rig_kill_worker());
	}
	rsa_close(g, &rsa);
}

/* A public key does nothing that takes the private one, and a result needs room. */
static void rsa_refused(void **state)
{
	struct crypto_guest *g = *state;
	struct rsa rsa = rsa_open(g);
	struct crypto_plan plan = { .src = SRC, .dst = DST, .src_len = MODULUS, .dst_len = MODULUS };

	plan.session = rsa.public;
	plan.opcode = VIRTIO_CRYPTO_AKCIPHER_DECRYPT;
	assert_int_equal(crypto_run(g, 0, &plan), VIRTIO_CRYPTO_ERR);
	plan.opcode = VIRTIO_CRYPTO_AKCIPHER_SIGN;
	plan.src_len = 32;
	assert_int_equal(crypto_run(g, 0, &plan), VIRTIO_CRYPTO_ERR);
	plan.session = rsa.private;
	plan.dst_len = MODULUS - 1;
	assert_int_equal(crypto_run(g, 0, &plan), VIRTIO_CRYPTO_ERR);
	plan.src_len = 31;
	plan.dst_len = MODULUS;
	assert_int_equal(crypto_run(g, 0, &plan), VIRTIO_CRYPTO_ERR);
	plan.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT;
	assert_int_equal(crypto_run(g, 0, &plan), VIRTIO_CRYPTO_ERR);
	plan.opcode = VIRTIO_CRYPTO_AKCIPHER_VERIFY;
	plan.verifies = true;
	plan.src_len = MODULUS;
	plan.dst_len = 32;
	plan.dst_more = -1;
	assert_int_equal(crypto_run(g, 0, &plan), VIRTIO_CRYPTO_BADMSG);
	rsa_close(g, &rsa);
}

static void configuration(void **state)
{
	struct crypto_guest *g = *state;
	struct virtio_crypto_config config;
	struct error error = { 0 };

	assert_int_equal(frontend_get_config(g->frontend, 0, &config, sizeof(config), &error), 0);
	assert_int_equal(le32toh(config.status), VIRTIO_CRYPTO_S_HW_READY);
	assert_int_equal(le32toh(config.max_dataqueues), CRYPTO_DATA_QUEUES);
	assert_int_equal(le32toh(config.crypto_services),
			 1u << VIRTIO_CRYPTO_SERVICE_CIPHER | 1u << VIRTIO_CRYPTO_SERVICE_AKCIPHER);
	assert_int_equal(le32toh(config.akcipher_algo), 1u << VIRTIO_CRYPTO_AKCIPHER_RSA);
	assert_int_equal(le32toh(config.cipher_algo_l), 1u << 2 | 1u << 3 | 1u << 4 | 1u << 13);
	assert_int_equal(config.cipher_algo_h, 0);
	assert_int_equal(config.hash_algo | config.mac_algo_l | config.mac_algo_h | config.aead_algo, 0);
	assert_int_equal(le32toh(config.max_cipher_key_len), 64);
	assert_true(le64toh(config.max_size) >= 1u << 20);
}

/* Where no plugin serves it, nothing is promised, and nothing made. */
static void nothing_is_served(void **state)
{
	const struct crypto_make cbc = { .algorithm = VIRTIO_CRYPTO_CIPHER_AES_CBC,
					 .direction = VIRTIO_CRYPTO_OP_ENCRYPT,
					 .key = key,
					 .key_len = 16 };
	struct virtio_crypto_config config;
	struct error error = { 0 };
	struct crypto_guest *g;

	crypto_rig_start("fault", "");
	g = crypto_open();
	assert_int_equal(frontend_get_config(g->frontend, 0, &config, sizeof(config), &error), 0);
	assert_int_equal(config.status | config.crypto_services | config.cipher_algo_l | config.akcipher_algo, 0);
	assert_int_equal(crypto_create(g, &cbc, NULL), VIRTIO_CRYPTO_NOTSUPP);
	crypto_close(g);
	rig_stop();
}

/* ---- sessions and what happens to the worker ---- */

static void sessions_outlive_the_worker(void **state)
{
	struct crypto_guest *g = *state;
	const struct crypto_plan layout = { .src = SRC, .dst = DST };
	struct sessions sessions[ARRAY_SIZE(ciphers)];

	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++)
		sessions[i] = make(g, i);
	for (int death = 0; death < 3; death++) {
		rig_wait_gone(rig_kill_worker());
		for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++)
			both_ways(g, (unsigned int)(i % CRYPTO_DATA_QUEUES), &sessions[i], &layout, i, 4096);
	}
	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++)
		end(g, &sessions[i]);
	assert_int_equal(crypto_destroy(g, 0, sessions[0].encrypt), VIRTIO_CRYPTO_INVSESS);
}

/* Of a device that was reset its driver knows nothing any more, and the device nothing of its driver's. */
static void reset_ends_sessions(void **state)
{
	struct crypto_guest *g;
	uint64_t ids[4];

	crypto_rig_start("openssl", "[limits]\nkeys = 4\n");
	g = crypto_open();
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
			ids[i] = crypto_cipher_session(g, VIRTIO_CRYPTO_CIPHER_AES_CBC, VIRTIO_CRYPTO_OP_ENCRYPT, key,
						       16);
		crypto_reset(g);
		for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
			assert_int_equal(crypto_destroy(g, 0, ids[i]), VIRTIO_CRYPTO_INVSESS);
		crypto_works(g);
	}
	crypto_close(g);
	rig_stop();
}

/* Requests under way and on their way when the worker is killed are answered, and rightly. */
static void killed_with_requests(void **state)
{
	enum { N = 24, LEN = 65536 };
	struct crypto_guest *g = *state;
	struct sessions sessions = make(g, 3);

	encrypt("AES-128-CBC", LEN);
	for (int round = 0; round < 5; round++) {
		struct crypto_job *jobs[N];

		for (uint32_t i = 0; i < N; i++) {
			struct crypto_plan plan = cbc_plan(sessions.encrypt, i, LEN);

			plan.piece = i % 2 ? 4096 : 0;
			plan.table = true;
			crypto_put(g, &plan, plan.src, plain, LEN);
			memset(crypto_heap(g, plan.dst), 0, LEN);
			jobs[i] = crypto_plan_send(g, i % CRYPTO_DATA_QUEUES, &plan);
			if (i == (uint32_t)round * 5)
				rig_kill_worker();
		}
		for (uint32_t i = 0; i < N; i++) {
			assert_int_equal(crypto_finish(g, i % CRYPTO_DATA_QUEUES, jobs[i]), VIRTIO_CRYPTO_OK);
			assert_memory_equal(crypto_heap(g, DST + i * LEN), secret, LEN);
		}
	}
	end(g, &sessions);
}

/* A request to make one is answered once, with one session, though the worker dies in between. */
static void made_once(void **state)
{
	struct crypto_guest *g;
	uint64_t ids[8];

	crypto_rig_start("openssl", "[limits]\nkeys = 8\n");
	g = crypto_open();
	for (int round = 0; round < 4; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
			if (i == 3)
				rig_kill_worker();
			ids[i] = crypto_cipher_session(g, VIRTIO_CRYPTO_CIPHER_AES_CBC, VIRTIO_CRYPTO_OP_ENCRYPT, key,
						       16);
			for (size_t j = 0; j < i; j++)
				assert_true(ids[i] != ids[j]);
		}
		/* None was made beside. */
		assert_int_equal(crypto_create(g,
					       &(struct crypto_make){ .algorithm = VIRTIO_CRYPTO_CIPHER_AES_CBC,
								      .direction = VIRTIO_CRYPTO_OP_ENCRYPT,
								      .key = key,
								      .key_len = 16 },
					       NULL),
				 VIRTIO_CRYPTO_NOSPC);
		for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
			if (i == 5)
				rig_kill_worker();
			assert_int_equal(crypto_destroy(g, 0, ids[i]), VIRTIO_CRYPTO_OK);
		}
	}
	crypto_close(g);
	rig_stop();
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_algorithm),
		T(nothing_else_is_written),
		T(of_no_bytes),
		T(many_in_flight),
		T(rsa),
		T(rsa_refused),
		T(configuration),
		cmocka_unit_test(nothing_is_served),
		T(sessions_outlive_the_worker),
		T(killed_with_requests),
		cmocka_unit_test(made_once),
		cmocka_unit_test(reset_ends_sessions),
	};

	fill();
	return cmocka_run_group_tests_name("daemon-crypto", tests, NULL, NULL);
}
