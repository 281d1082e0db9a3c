/* SPDX-License-Identifier: Apache-2.0 */
/*
 * differential [ROUNDS [SEED]]: the provider beside the default provider. Random calls are made on two contexts of the same
 * algorithm, one of each: what they return and write, how much, every parameter, and the errors that they raise have to be
 * the same. VACCEL_OPENSSL_THRESHOLD should be small, so that most sequences are computed by both halves of the provider.
 *
 * What is made at random by the provider itself, IVs of GCM, is left out.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#define ROOM	   (48u << 10)
#define SEPARATE   (ROOM / 2)
#define LONGEST	   (16u << 10)
#define MAX_STEPS  40
#define MAX_ERRORS 8
#define TRACE	   (64u << 10)

/* One of the two. */
struct side {
	EVP_CIPHER_CTX *context;
	EVP_CIPHER *cipher;
	unsigned char memory[ROOM];
	int returned;
	int written;
	unsigned char answer[256];
	size_t answer_len;
	unsigned long errors[MAX_ERRORS];
	int n_errors;
};

static struct side sides[2]; /* the default provider's, ours */
static uint64_t state;
static char trace[TRACE];
static size_t trace_len;
static const char *algorithm;
static int mode;
static bool encrypting;
static bool iv_given;
static bool recorded;

static uint32_t random_number(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((state >> 33) % below);
}

static void random_bytes(unsigned char *out, size_t len)
{
	while (len--)
		*out++ = (unsigned char)random_number(256);
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (trace_len < sizeof(trace))
		trace_len += (size_t)vsnprintf(trace + trace_len, sizeof(trace) - trace_len, format, ap);
	va_end(ap);
}

/* ---- Comparing ---- */

static void errors_take(struct side *side)
{
	unsigned long error;

	side->n_errors = 0;
	while ((error = ERR_get_error()))
		if (side->n_errors < MAX_ERRORS)
			side->errors[side->n_errors++] = error;
}

/* The first is the cause. What else is raised on the way out depends on how many layers there are. */
static unsigned long cause(const struct side *side)
{
	return side->n_errors ? side->errors[0] : 0;
}

static void fail(const char *what)
{
	printf("%s: %s\n%s", algorithm, what, trace);
	for (int i = 0; i < 2; i++) {
		const char *reason = ERR_reason_error_string(cause(&sides[i]));

		printf("%s returned %d wrote %d (%s)\n", i ? "ours: " : "theirs:", sides[i].returned, sides[i].written,
		       reason ? reason : "no error");
	}
	for (size_t i = 0; i < ROOM; i++)
		if (sides[0].memory[i] != sides[1].memory[i]) {
			printf("the first byte that differs is at %zu\n", i);
			break;
		}
	exit(1);
}

static void compare(void)
{
	note(" -> %d, %d\n", sides[0].returned, sides[0].written);
	if (sides[0].returned != sides[1].returned)
		fail("another return value");
	if (sides[0].returned > 0 && sides[0].written != sides[1].written)
		fail("another length");
	if (cause(&sides[0]) != cause(&sides[1]))
		fail("another error");
	if (sides[0].returned > 0 && memcmp(sides[0].memory, sides[1].memory, ROOM) != 0)
		fail("other bytes");
	/* What a call that failed has left in its destination may differ. */
	if (sides[0].returned <= 0)
		memcpy(sides[1].memory, sides[0].memory, ROOM);
	if (sides[0].answer_len != sides[1].answer_len ||
	    memcmp(sides[0].answer, sides[1].answer, sides[0].answer_len) != 0)
		fail("another parameter");
}

/* Runs the statement for both. */
#define BOTH(...)                                                  \
	do {                                                       \
		for (struct side *s = sides; s < sides + 2; s++) { \
			s->returned = s->written = 0;              \
			s->answer_len = 0;                         \
			__VA_ARGS__;                               \
			errors_take(s);                            \
		}                                                  \
		compare();                                         \
	} while (0)

/* ---- Steps ---- */

/* Most are small, some are around the threshold and the block, few are large. */
static size_t random_length(void)
{
	switch (random_number(6)) {
	case 0:
		return random_number(20);
	case 1:
		return 16 * random_number(12);
	case 2:
		return 16 * random_number(60) + random_number(3);
	case 3:
		return random_number(400);
	case 4:
		return random_number(LONGEST);
	default:
		return 16 * random_number(LONGEST / 16);
	}
}

static void begin(void)
{
	unsigned char key[64], iv[128];
	bool with_key = random_number(4) != 0, with_iv = random_number(4) != 0, named = random_number(3) != 0;
	int direction = random_number(8) ? (int)random_number(2) : -1;

	/* The default provider does not survive XTS without a key of that direction. */
	with_key |= mode == EVP_CIPH_XTS_MODE;
	random_bytes(key, sizeof(key));
	random_bytes(iv, sizeof(iv));
	/* The counter wraps around. */
	if (random_number(4) == 0)
		memset(iv + 3, 0xff, 13);
	note("init direction %d%s%s%s", direction, with_key ? " key" : "", with_iv ? " iv" : "",
	     named ? " cipher" : "");
	BOTH(s->returned = EVP_CipherInit_ex2(s->context, named ? s->cipher : NULL, with_key ? key : NULL,
					      with_iv ? iv : NULL, direction, NULL));
	encrypting = EVP_CIPHER_CTX_is_encrypting(sides[0].context);
	/* With the cipher named all begins anew. */
	recorded &= !named;
	iv_given = with_iv || (iv_given && !named);
}

/*
 * Where source and destination lie: apart, on each other, or over each other. OpenSSL does not refuse the last: what comes
 * out is what its order of work makes of it. The host's stream of GCM makes what it should be.
 */
static void places(size_t len, size_t *in, size_t *out)
{
	*in = random_number(64);
	switch (random_number(mode == EVP_CIPH_GCM_MODE ? 2 : 8)) {
	case 0:
		*out = *in;
		break;
	case 1:
		*out = mode == EVP_CIPH_GCM_MODE ? SEPARATE + random_number(64) : *in;
		break;
	case 2:
		*out = *in + random_number((uint32_t)len + 20);
		break;
	case 3:
		*out = random_number(200);
		break;
	default:
		*out = SEPARATE + random_number(64);
	}
}

static void update(void)
{
	size_t len = random_length(), in, out;

	places(len, &in, &out);
	random_bytes(sides[0].memory + in, len);
	memcpy(sides[1].memory + in, sides[0].memory + in, len);
	note("update %zu bytes from %zu to %zu", len, in, out);
	BOTH(s->returned = EVP_CipherUpdate(s->context, s->memory + out, &s->written, s->memory + in, (int)len));
}

static void additional(void)
{
	size_t len = random_number(3) ? random_number(100) : random_number(4000);

	random_bytes(sides[0].memory, len);
	memcpy(sides[1].memory, sides[0].memory, len);
	note("additional data %zu bytes", len);
	BOTH(s->returned = EVP_CipherUpdate(s->context, NULL, &s->written, s->memory, (int)len));
}

static void once(void)
{
	size_t len = random_length(), in, out;

	if (mode == EVP_CIPH_CBC_MODE || mode == EVP_CIPH_ECB_MODE)
		len = (len + 15) / 16 * 16;
	places(len, &in, &out);
	random_bytes(sides[0].memory + in, len);
	memcpy(sides[1].memory + in, sides[0].memory + in, len);
	note("cipher %zu bytes from %zu to %zu", len, in, out);
	BOTH(s->returned = EVP_Cipher(s->context, s->memory + out, s->memory + in, (unsigned int)len));
}

static void end(void)
{
	note("final");
	BOTH(s->returned = EVP_CipherFinal_ex(s->context, s->memory, &s->written));
	/* The default provider would go on with a message whose tag did not fit; the host has forgotten it. */
	iv_given &= sides[0].returned > 0;
}

static void padding(void)
{
	int on = (int)random_number(2);

	note("padding %d", on);
	BOTH(s->returned = EVP_CIPHER_CTX_set_padding(s->context, on));
}

/* The copy goes on; now and then it is made in a context that was in use. */
static void duplicate(void)
{
	bool used = random_number(2);

	note("duplicate");
	BOTH(EVP_CIPHER_CTX *copy = EVP_CIPHER_CTX_new(), *old = s->context;
	     if (used) EVP_CipherInit_ex2(copy, s->cipher, NULL, NULL, 1, NULL);
	     s->returned = EVP_CIPHER_CTX_copy(copy, old); if (s->returned > 0) s->context = copy;
	     EVP_CIPHER_CTX_free(s->returned > 0 ? old : copy));
}

static void get(void)
{
	static const char *const names[] = {
		OSSL_CIPHER_PARAM_IV,	       OSSL_CIPHER_PARAM_UPDATED_IV, OSSL_CIPHER_PARAM_NUM,
		OSSL_CIPHER_PARAM_KEYLEN,      OSSL_CIPHER_PARAM_IVLEN,	     OSSL_CIPHER_PARAM_PADDING,
		OSSL_CIPHER_PARAM_AEAD_TAGLEN, OSSL_CIPHER_PARAM_AEAD_TAG,   OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD,
	};
	uint32_t i = random_number(sizeof(names) / sizeof(names[0]));
	bool text = i < 2 || i == 7;
	size_t room = i == 7 ? random_number(18) : random_number(10) ? 16 : random_number(130);

	/* An IV of the provider's own making; a tag that is in part the header of a record. */
	if ((i < 2 && mode == EVP_CIPH_GCM_MODE && !iv_given) || (i == 7 && recorded))
		return;
	note("get %s (%zu)", names[i], room);
	BOTH(uint64_t number = 0;
	     OSSL_PARAM params[] = { text ? OSSL_PARAM_construct_octet_string(names[i], s->answer, room)
					  : OSSL_PARAM_construct_uint64(names[i], &number),
				     OSSL_PARAM_END };
	     s->returned = EVP_CIPHER_CTX_get_params(s->context, params);
	     if (!text) memcpy(s->answer, &number, sizeof(number));
	     s->answer_len = s->returned > 0 ? text ? params[0].return_size : sizeof(number) : 0;
	     if (s->answer_len > sizeof(s->answer)) s->answer_len = 0);
}

static void set_iv_length(void)
{
	static const size_t lengths[] = { 12, 12, 8, 1, 16, 17, 128, 129, 0 };
	size_t len = lengths[random_number(sizeof(lengths) / sizeof(lengths[0]))];

	note("IV of %zu bytes", len);
	BOTH(s->returned = EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_AEAD_SET_IVLEN, (int)len, NULL));
}

static void set_number(void)
{
	unsigned int number = random_number(16);

	note("num %u", number);
	BOTH(OSSL_PARAM params[] = { OSSL_PARAM_construct_uint(OSSL_CIPHER_PARAM_NUM, &number), OSSL_PARAM_END };
	     s->returned = EVP_CIPHER_CTX_set_params(s->context, params));
}

static void set_tag(void)
{
	unsigned char tag[16];
	int len = random_number(3) ? 16 : 1 + (int)random_number(16);

	/* The default provider refuses one when it encrypts, but not before it has overwritten its own with it. */
	if (encrypting)
		return;
	random_bytes(tag, sizeof(tag));
	note("tag of %d bytes", len);
	BOTH(s->returned = EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_AEAD_SET_TAG, len, tag));
}

/* A record of TLS 1.2, as libssl has it made: announced, then in place, with an explicit IV before and a tag behind. */
static void tls_record(void)
{
	unsigned char header[13], iv[128];
	size_t len = random_number(2000);
	int total = (int)len + 8 + 16, announced = encrypting ? (int)len + 8 : total;

	random_bytes(header, sizeof(header));
	random_bytes(iv, sizeof(iv));
	header[11] = (unsigned char)(announced >> 8);
	header[12] = (unsigned char)announced;
	random_bytes(sides[0].memory, (size_t)total);
	memcpy(sides[1].memory, sides[0].memory, (size_t)total);
	recorded = true;
	note("record of %zu bytes", len);
	BOTH(s->returned = EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_AEAD_SET_IV_FIXED, -1, iv));
	note("  its header");
	BOTH(s->returned = EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_AEAD_TLS1_AAD, sizeof(header), header));
	note("  its bytes");
	BOTH(s->returned = EVP_Cipher(s->context, s->memory, s->memory, (unsigned int)total));
}

/* A whole message of GCM, decrypted again by the other of the two, with the tag set before or behind. */
static void there_and_back(void)
{
	size_t aad = random_number(50), len = 1 + random_length(), cut = random_number((uint32_t)len);
	unsigned char key[32], iv[12], tag[16];
	bool early = random_number(2), wrong = random_number(4) == 0;
	int n, m = 0;

	random_bytes(key, sizeof(key));
	random_bytes(iv, sizeof(iv));
	random_bytes(sides[0].memory, len);
	memcpy(sides[1].memory, sides[0].memory, len);
	note("message of %zu bytes, %zu additional, cut at %zu", len, aad, cut);
	BOTH(unsigned char *to = s->memory + SEPARATE;
	     s->returned = EVP_EncryptInit_ex2(s->context, s->cipher, key, iv, NULL) &&
			   EVP_EncryptUpdate(s->context, NULL, &n, iv, (int)(aad % 12)) &&
			   EVP_EncryptUpdate(s->context, to, &n, s->memory, (int)cut) &&
			   EVP_EncryptUpdate(s->context, to + cut, &m, s->memory + cut, (int)(len - cut)) &&
			   EVP_EncryptFinal_ex(s->context, to, &s->written) &&
			   EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_AEAD_GET_TAG, 16, s->answer);
	     s->answer_len = 16);
	if (sides[0].returned != 1)
		fail("a message that does not work");
	memcpy(tag, sides[0].answer, sizeof(tag));
	tag[3] ^= wrong;
	note("  and back, %s tag", wrong ? "wrong" : "right");
	BOTH(unsigned char *coded = s->memory + SEPARATE;
	     s->returned = EVP_DecryptInit_ex2(s->context, NULL, key, iv, NULL) &&
			   (!early || EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_AEAD_SET_TAG, 16, tag)) &&
			   EVP_DecryptUpdate(s->context, NULL, &n, iv, (int)(aad % 12)) &&
			   EVP_DecryptUpdate(s->context, coded, &n, coded, (int)len) &&
			   (early || EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_AEAD_SET_TAG, 16, tag)) &&
			   EVP_DecryptFinal_ex(s->context, s->memory, &s->written));
	if (sides[0].returned != !wrong)
		fail("a tag that was taken otherwise");
	encrypting = recorded = false;
	iv_given = !wrong;
}

/* ---- Sequences ---- */

struct step {
	void (*run)(void);
	unsigned int weight;
	bool gcm, others;
};

static const struct step steps[] = {
	{ begin, 6, true, true },	{ update, 20, true, true },	{ additional, 6, true, false },
	{ once, 4, true, true },	{ end, 5, true, true },		{ padding, 3, false, true },
	{ duplicate, 4, true, true },	{ get, 6, true, true },		{ set_iv_length, 2, true, false },
	{ set_tag, 3, true, false },	{ tls_record, 1, true, false }, { there_and_back, 3, true, false },
	{ set_number, 1, false, true },
};

static void random_step(void)
{
	const struct step *step;

	do {
		step = &steps[random_number(sizeof(steps) / sizeof(steps[0]))];
	} while (random_number(20) >= step->weight || !(mode == EVP_CIPH_GCM_MODE ? step->gcm : step->others));
	/* Without an IV the provider makes one of its own. */
	if (mode == EVP_CIPH_GCM_MODE && !iv_given && step->run != begin)
		return;
	step->run();
}

static void sequence(OSSL_LIB_CTX *theirs, OSSL_LIB_CTX *ours)
{
	static const char *const names[] = { "AES-128-ECB", "AES-192-ECB", "AES-256-ECB", "AES-128-CBC", "AES-192-CBC",
					     "AES-256-CBC", "AES-128-CTR", "AES-192-CTR", "AES-256-CTR", "AES-128-XTS",
					     "AES-256-XTS", "AES-128-GCM", "AES-192-GCM", "AES-256-GCM" };
	unsigned int n = 1 + random_number(MAX_STEPS);

	algorithm = names[random_number(sizeof(names) / sizeof(names[0]))];
	iv_given = recorded = false;
	for (int i = 0; i < 2; i++) {
		memset(sides[i].memory, 0, ROOM);
		sides[i].cipher =
			EVP_CIPHER_fetch(i ? ours : theirs, algorithm, i ? "provider=vaccel" : "provider=default");
		sides[i].context = EVP_CIPHER_CTX_new();
		if (!sides[i].cipher)
			fail("cannot be fetched");
	}
	mode = EVP_CIPHER_get_mode(sides[0].cipher);
	note("init, named\n");
	BOTH(s->returned = EVP_CipherInit_ex2(s->context, s->cipher, NULL, NULL, 1, NULL));
	encrypting = true;
	while (n--)
		random_step();
	for (int i = 0; i < 2; i++) {
		EVP_CIPHER_CTX_free(sides[i].context);
		EVP_CIPHER_free(sides[i].cipher);
	}
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 2000,
		      seed = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
	OSSL_LIB_CTX *theirs = OSSL_LIB_CTX_new(), *ours = OSSL_LIB_CTX_new();
	OSSL_PROVIDER *base = OSSL_PROVIDER_load(theirs, "default"), *provider = OSSL_PROVIDER_load(ours, "vaccel");

	if (!base || !provider) {
		ERR_print_errors_fp(stderr);
		return 1;
	}
	for (unsigned long i = 0; i < rounds; i++) {
		state = seed * 1000003 + i;
		random_number(2);
		trace_len = 0;
		note("seed %lu, round %lu\n", seed, i);
		sequence(theirs, ours);
	}
	printf("%lu sequences are the same\n", rounds);
	OSSL_PROVIDER_unload(provider);
	OSSL_PROVIDER_unload(base);
	OSSL_LIB_CTX_free(ours);
	OSSL_LIB_CTX_free(theirs);
	return 0;
}
