/* SPDX-License-Identifier: Apache-2.0 */
/* See crypto.h: mistakes in calls, and in what is asked of streams. */
#include "crypto.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A call to make a mistake in: a good one of each operation. */
struct bad {
	struct vaccel_call call;
	struct vaccel_arg args[6];
	struct vaccel_cipher cipher;
	struct vaccel_key_import import;
	struct vaccel_key_open open;
	struct vaccel_akcipher rsa;
	struct vaccel_key_about about;
	struct vaccel_akcipher_answer answer;
	unsigned char iv[136], aad[8], source[80], destination[80], tag[20], large[VACCEL_KEY_BYTES + 1];
};

static struct vaccel_arg arg(void *data, size_t len, uint32_t dir)
{
	return (struct vaccel_arg){ .data = data, .len = len, .dir = dir };
}

static void use(struct bad *x, uint32_t op, const void *params, size_t params_len, size_t n_args)
{
	x->call = (struct vaccel_call){ .size = sizeof(x->call),
					.op = op,
					.params = params,
					.params_len = params_len,
					.args = x->args,
					.n_args = n_args };
}

static void init_cipher(struct bad *x, uint64_t key)
{
	x->cipher = (struct vaccel_cipher){ .key = key,
					    .mode = VACCEL_CBC,
					    .direction = VACCEL_ENCRYPT,
					    .flags = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END };
	x->args[0] = arg(x->iv, 16, VACCEL_IN);
	x->args[1] = arg(x->aad, 0, VACCEL_IN);
	x->args[2] = arg(x->source, 64, VACCEL_IN);
	x->args[3] = arg(x->destination, 64, VACCEL_OUT);
	x->args[4] = arg(x->tag, 0, VACCEL_OUT);
	use(x, VACCEL_OP_CIPHER, &x->cipher, sizeof(x->cipher), 5);
}

static void gcm(struct bad *x)
{
	x->cipher.mode = VACCEL_GCM;
	x->args[0].len = 12;
	x->args[1].len = 8;
	x->args[4].len = 16;
}

static void init_import(struct bad *x)
{
	x->import = (struct vaccel_key_import){ .type = VACCEL_KEY_AES, .rights = CRYPTO_BOTH };
	x->args[0] = arg(x->large, 16, VACCEL_IN);
	x->args[1] = arg(&x->about, sizeof(x->about), VACCEL_OUT);
	use(x, VACCEL_OP_KEY_IMPORT, &x->import, sizeof(x->import), 2);
}

static void init_open(struct bad *x)
{
	strcpy(x->open.name, "suite-both");
	x->args[0] = arg(&x->about, sizeof(x->about), VACCEL_OUT);
	use(x, VACCEL_OP_KEY_OPEN, &x->open, sizeof(x->open), 1);
}

static void init_rsa(struct bad *x, uint64_t key)
{
	x->rsa = (struct vaccel_akcipher){ .key = key, .operation = VACCEL_AK_ENCRYPT, .padding = VACCEL_RSA_PKCS1 };
	x->args[0] = arg(x->large, 20, VACCEL_IN);
	x->args[1] = arg(x->large, 128, VACCEL_OUT);
	x->args[2] = arg(&x->answer, sizeof(x->answer), VACCEL_OUT);
	use(x, VACCEL_OP_AKCIPHER, &x->rsa, sizeof(x->rsa), 3);
}

#define MISTAKE(name_, ...)              \
	static void name_(struct bad *x) \
	{                                \
		__VA_ARGS__;             \
	}

MISTAKE(no_mode, x->cipher.mode = 0)
MISTAKE(unknown_mode, x->cipher.mode = 6)
MISTAKE(no_direction, x->cipher.direction = 0)
MISTAKE(unknown_direction, x->cipher.direction = 3)
MISTAKE(unknown_flag, x->cipher.flags = 7)
MISTAKE(cbc_piece, x->cipher.flags = VACCEL_CIPHER_BEGIN; x->cipher.stream = 1)
MISTAKE(numbered_whole, gcm(x); x->cipher.stream = 1)
MISTAKE(piece_without_number, gcm(x); x->cipher.flags = VACCEL_CIPHER_BEGIN; x->args[4].len = 0)
MISTAKE(skip_block, x->cipher.mode = VACCEL_CTR; x->cipher.skip = 16)
MISTAKE(skip_cbc, x->cipher.skip = 1)
MISTAKE(short_iv, x->args[0].len = 15)
MISTAKE(long_iv, x->args[0].len = 17)
MISTAKE(no_iv, x->args[0].len = 0)
MISTAKE(ecb_iv, x->cipher.mode = VACCEL_ECB)
MISTAKE(gcm_no_iv, gcm(x); x->args[0].len = 0)
MISTAKE(gcm_long_iv, gcm(x); x->args[0].len = 129)
MISTAKE(iv_goes_on, gcm(x); x->cipher.flags = VACCEL_CIPHER_END; x->cipher.stream = 1)
MISTAKE(short_destination, x->args[3].len = 48)
MISTAKE(long_destination, x->args[3].len = 80)
MISTAKE(no_block, x->args[2].len = x->args[3].len = 63)
MISTAKE(short_unit, x->cipher.mode = VACCEL_XTS; x->args[2].len = x->args[3].len = 15)
MISTAKE(cbc_aad, x->args[1].len = 8)
MISTAKE(cbc_tag, x->args[4].len = 16)
MISTAKE(early_tag, gcm(x); x->cipher.flags = VACCEL_CIPHER_BEGIN; x->cipher.stream = 1)
MISTAKE(no_tag, gcm(x); x->args[4].len = 0)
MISTAKE(tag_3, gcm(x); x->args[4].len = 3)
MISTAKE(tag_11, gcm(x); x->args[4].len = 11)
MISTAKE(tag_17, gcm(x); x->args[4].len = 17)
MISTAKE(tag_in, gcm(x); x->args[4].dir = VACCEL_IN)
MISTAKE(tag_out, gcm(x); x->cipher.direction = VACCEL_DECRYPT)
MISTAKE(four_args, x->call.n_args = 4)
MISTAKE(source_out, x->args[2].dir = VACCEL_OUT)
MISTAKE(destination_both, x->args[3].dir = VACCEL_INOUT)
MISTAKE(short_params, x->call.params_len -= 8)
MISTAKE(unknown_stream, gcm(x); x->args[0].len = 0; x->args[1].len = 0; x->cipher.flags = VACCEL_CIPHER_END;
	x->cipher.stream = 4711)

MISTAKE(no_type, x->import.type = 0)
MISTAKE(unknown_type, x->import.type = 4)
MISTAKE(mode_0, x->import.modes = 1)
MISTAKE(mode_6, x->import.modes = 1u << 6)
MISTAKE(rsa_modes, x->import.type = VACCEL_KEY_RSA_PUBLIC; x->import.modes = 1u << VACCEL_CBC)
MISTAKE(no_bytes, x->args[0].len = 0)
MISTAKE(too_many_bytes, x->args[0].len = VACCEL_KEY_BYTES + 1)
MISTAKE(bytes_15, x->args[0].len = 15)
MISTAKE(bytes_33, x->args[0].len = 33)
MISTAKE(bytes_64_cbc, x->args[0].len = 64; x->import.modes = 1u << VACCEL_CBC)
MISTAKE(no_rights, x->import.rights = 0)
MISTAKE(unknown_rights, x->import.rights = 0x10)
MISTAKE(import_reserved, x->import.reserved = 1)
MISTAKE(import_answer, x->args[1].len--)
MISTAKE(not_rsa, x->import.type = VACCEL_KEY_RSA_PRIVATE; x->args[0].len = 600)
MISTAKE(not_rsa_public, x->import.type = VACCEL_KEY_RSA_PUBLIC)

MISTAKE(no_name, x->open.name[0] = 0)
MISTAKE(dot_name, strcpy(x->open.name, ".hidden"))
MISTAKE(path_name, strcpy(x->open.name, "../key"))
MISTAKE(endless_name, memset(x->open.name, 'x', sizeof(x->open.name)))
MISTAKE(trailing_name, x->open.name[VACCEL_KEY_NAME - 1] = 'x')
MISTAKE(open_answer, x->args[0].len--)

MISTAKE(no_operation, x->rsa.operation = 0)
MISTAKE(unknown_operation, x->rsa.operation = 5)
MISTAKE(unknown_padding, x->rsa.padding = 2)
MISTAKE(unknown_hash, x->rsa.hash = 1)
MISTAKE(unknown_hash_10, x->rsa.hash = 10)
MISTAKE(rsa_reserved, x->rsa.reserved = 1)
MISTAKE(verify_out, x->rsa.operation = VACCEL_AK_VERIFY)
MISTAKE(sign_in, x->rsa.operation = VACCEL_AK_SIGN; x->args[1].dir = VACCEL_IN)
MISTAKE(no_source, x->args[0].len = 0)
MISTAKE(large_source, x->args[0].len = VACCEL_KEY_BYTES + 1)
MISTAKE(large_destination, x->args[1].len = VACCEL_KEY_BYTES + 1)
MISTAKE(rsa_answer, x->args[2].len--)
MISTAKE(small_destination, x->args[1].len = 127)
MISTAKE(padded_too_long, x->args[0].len = 118)

static const struct mistake {
	const char *name;
	void (*spoil)(struct bad *x);
	int code;
	const char *words;
} mistakes[] = {
	{ "no mode", no_mode, -EINVAL, "mode 0" },
	{ "unknown mode", unknown_mode, -EINVAL, "mode 6" },
	{ "no direction", no_direction, -EINVAL, "direction is 0" },
	{ "unknown direction", unknown_direction, -EINVAL, "direction is 3" },
	{ "unknown flag", unknown_flag, -EINVAL, "flags 0x4" },
	{ "CBC in pieces", cbc_piece, -EINVAL, "only a message of GCM" },
	{ "one piece with a number", numbered_whole, -EINVAL, "has a number" },
	{ "a piece without one", piece_without_number, -EINVAL, "has a number" },
	{ "a block skipped", skip_block, -EINVAL, "skip 16 bytes" },
	{ "skipping with CBC", skip_cbc, -EINVAL, "skip 1 bytes" },
	{ "short IV", short_iv, -EINVAL, "IV of 15 bytes" },
	{ "long IV", long_iv, -EINVAL, "IV of 17 bytes" },
	{ "no IV", no_iv, -EINVAL, "IV of 0 bytes" },
	{ "IV with ECB", ecb_iv, -EINVAL, "ecb takes 0" },
	{ "no IV with GCM", gcm_no_iv, -EINVAL, "gcm takes 1 to 128" },
	{ "endless IV", gcm_long_iv, -EINVAL, "IV of 129 bytes" },
	{ "IV where a message goes on", iv_goes_on, -EINVAL, "IV of 12 bytes, gcm takes 0" },
	{ "short destination", short_destination, -ERANGE, "destination of 48" },
	{ "long destination", long_destination, -ERANGE, "destination of 80" },
	{ "no whole block", no_block, -EINVAL, "63 bytes are not a multiple" },
	{ "short data unit", short_unit, -EINVAL, "15 bytes, xts takes 16" },
	{ "additional data with CBC", cbc_aad, -EINVAL, "no additional data" },
	{ "tag with CBC", cbc_tag, -EINVAL, "a tag belongs" },
	{ "tag before the end", early_tag, -EINVAL, "a tag belongs" },
	{ "no tag", no_tag, -EINVAL, "tag of 0 bytes" },
	{ "tag of 3 bytes", tag_3, -EINVAL, "tag of 3 bytes" },
	{ "tag of 11 bytes", tag_11, -EINVAL, "tag of 11 bytes" },
	{ "tag of 17 bytes", tag_17, -EINVAL, "tag of 17 bytes" },
	{ "tag to be read", tag_in, -EINVAL, "the tag is made" },
	{ "tag to be written", tag_out, -EINVAL, "the tag is checked" },
	{ "an argument too few", four_args, -EINVAL, "4 arguments, not 5" },
	{ "source as an output", source_out, -EINVAL, "argument source has direction 2" },
	{ "destination both ways", destination_both, -EINVAL, "argument destination has direction 3" },
	{ "parameters too short", short_params, -EINVAL, "24 bytes of parameters, not 32" },
	{ "end of what never began", unknown_stream, -EOWNERDEAD, "message" },
};

static const struct mistake import_mistakes[] = {
	{ "no type", no_type, -EINVAL, "type 0" },
	{ "unknown type", unknown_type, -EINVAL, "type 4" },
	{ "mode 0", mode_0, -EINVAL, "modes 0x1" },
	{ "mode 6", mode_6, -EINVAL, "modes 0x40" },
	{ "RSA with modes", rsa_modes, -EINVAL, "has no modes" },
	{ "no bytes", no_bytes, -EINVAL, "0 bytes, not 1 to" },
	{ "too many bytes", too_many_bytes, -EINVAL, "4097 bytes, not 1 to" },
	{ "15 bytes", bytes_15, -EINVAL, "no key of 15 bytes" },
	{ "33 bytes", bytes_33, -EINVAL, "no key of 33 bytes" },
	{ "64 bytes for CBC", bytes_64_cbc, -EINVAL, "no key of 64 bytes" },
	{ "no rights", no_rights, -EINVAL, "rights are 0" },
	{ "unknown rights", unknown_rights, -EINVAL, "rights are 0x10" },
	{ "reserved set", import_reserved, -EINVAL, "reserved is 1" },
	{ "no room for the answer", import_answer, -ERANGE, "argument answer" },
	{ "no private key of RSA", not_rsa, -EINVAL, "key" },
	{ "no public key of RSA", not_rsa_public, -EINVAL, "key" },
};

static const struct mistake open_mistakes[] = {
	{ "no name", no_name, -EINVAL, "key's name" },
	{ "hidden name", dot_name, -EINVAL, "key's name" },
	{ "a path", path_name, -EINVAL, "key's name" },
	{ "endless name", endless_name, -EINVAL, "key's name" },
	{ "something behind the name", trailing_name, -EINVAL, "key's name" },
	{ "no room for the answer", open_answer, -ERANGE, "argument answer" },
};

static const struct mistake rsa_mistakes[] = {
	{ "no operation", no_operation, -EINVAL, "operation 0" },
	{ "unknown operation", unknown_operation, -EINVAL, "operation 5" },
	{ "unknown padding", unknown_padding, -EINVAL, "padding 2" },
	{ "unknown hash", unknown_hash, -EINVAL, "hash 1" },
	{ "hash behind the last", unknown_hash_10, -EINVAL, "hash 10" },
	{ "reserved set", rsa_reserved, -EINVAL, "reserved 1" },
	{ "digest to be written", verify_out, -EINVAL, "to verify" },
	{ "signature to be read", sign_in, -EINVAL, "to sign" },
	{ "no source", no_source, -ERANGE, "source of 0" },
	{ "source too large", large_source, -ERANGE, "source of 4097" },
	{ "destination too large", large_destination, -ERANGE, "destination of 4097" },
	{ "no room for the answer", rsa_answer, -ERANGE, "argument answer" },
	{ "no room for the result", small_destination, -ERANGE, "destination" },
	{ "more than padding leaves", padded_too_long, -EINVAL, "too large" },
};

/* ---- Running them ---- */

static bool next_works(struct way *way, uint64_t key, char *detail, size_t len)
{
	struct bad x = { 0 };
	int r;

	init_cipher(&x, key);
	r = way_call(way, way->suite->session, &x.call);
	return r == 0 || wrong(detail, len, "the next request fails: %s (%s)", vaccel_error(), strerrorname_np(-r));
}

enum kind { CIPHER, IMPORT, OPEN, RSA };

static bool run_rows(struct way *way, enum kind kind, const struct mistake *rows, size_t n, char *detail, size_t len)
{
	struct vaccel_key *key, *rsa;
	bool ok = true;
	int r = crypto_import(way, 0, CRYPTO_BOTH, 32, &key);

	if (r == 0)
		r = vaccel_key_import(way->suite->session, VACCEL_KEY_RSA_PRIVATE, 0, VACCEL_MAY_ALL, rsa_private,
				      rsa_private_len, &rsa);
	if (r < 0)
		return model_failed(r, detail, len);
	for (size_t i = 0; ok && i < n; i++) {
		struct bad x = { 0 };
		char why[300];

		if (kind == CIPHER)
			init_cipher(&x, vaccel_key_about(key)->id);
		else if (kind == IMPORT)
			init_import(&x);
		else if (kind == OPEN)
			init_open(&x);
		else
			init_rsa(&x, vaccel_key_about(rsa)->id);
		rows[i].spoil(&x);
		r = way_call(way, way->suite->session, &x.call);
		ok = model_is_error(r, rows[i].code, rows[i].words, why, sizeof(why)) &&
		     (!x.about.id || wrong(why, sizeof(why), "there is an answer all the same")) &&
		     next_works(way, vaccel_key_about(key)->id, why, sizeof(why));
		if (!ok)
			wrong(detail, len, "%s: %s", rows[i].name, why);
	}
	vaccel_key_free(key);
	vaccel_key_free(rsa);
	return ok;
}

static bool bad_ciphers(struct way *way, char *detail, size_t len)
{
	return run_rows(way, CIPHER, mistakes, COUNT(mistakes), detail, len);
}

static bool bad_imports(struct way *way, char *detail, size_t len)
{
	return run_rows(way, IMPORT, import_mistakes, COUNT(import_mistakes), detail, len);
}

static bool bad_opens(struct way *way, char *detail, size_t len)
{
	return run_rows(way, OPEN, open_mistakes, COUNT(open_mistakes), detail, len);
}

static bool bad_rsa(struct way *way, char *detail, size_t len)
{
	return run_rows(way, RSA, rsa_mistakes, COUNT(rsa_mistakes), detail, len);
}

/* A tag that does not fit, at the end of one piece and of several; and what may follow on that. */
static bool bad_tag(struct way *way, char *detail, size_t len)
{
	const struct crypto_mode *mode = &crypto_modes[4];
	struct vaccel_stream_options options = {
		.size = sizeof(options), .mode = VACCEL_GCM, .direction = VACCEL_DECRYPT, .iv = crypto_iv, .iv_len = 12
	};
	unsigned char *source = way_take(way, 100), *secret = way_take(way, 100), *back = way_take(way, 100), tag[16];
	struct vaccel_message message = crypto_message(mode, VACCEL_ENCRYPT, source, secret, 100, tag);
	struct vaccel_stream *stream = NULL;
	struct vaccel_key *key;
	size_t n;
	bool ok;
	int r = crypto_import(way, 0, CRYPTO_BOTH, mode->key_len, &key);

	if (r == 0)
		r = way_cipher(way, key, &message);
	if (r < 0)
		return model_failed(r, detail, len);
	tag[15] ^= 0x80;
	message = crypto_message(mode, VACCEL_DECRYPT, secret, back, 100, tag);
	ok = model_is_error(way_cipher(way, key, &message), -EKEYREJECTED, "tag", detail, len);
	r = vaccel_stream_new(key, &options, &stream);
	if (r == 0)
		r = vaccel_stream_update(stream, secret, 60, back, 60, &n);
	if (r == 0)
		r = vaccel_stream_update(stream, secret + 60, 40, back + 60, 40, &n);
	ok = ok && (r == 0 || model_failed(r, detail, len)) &&
	     model_is_error(vaccel_stream_final(stream, NULL, 0, tag, 16, NULL), -EKEYREJECTED, "tag", detail, len) &&
	     model_is_error(vaccel_stream_final(stream, NULL, 0, tag, 16, NULL), -EKEYREJECTED, "before", detail, len);
	vaccel_stream_free(stream);
	tag[15] ^= 0x80;
	r = way_cipher(way, key, &message);
	vaccel_key_free(key);
	if (ok && r < 0)
		return model_failed(r, detail, len);
	return ok;
}

const struct crypto_test crypto_bad_tests[] = {
	{ "cipher, mistakes", bad_ciphers },	{ "key_import, mistakes", bad_imports },
	{ "key_open, mistakes", bad_opens },	{ "akcipher, mistakes", bad_rsa },
	{ "a tag that does not fit", bad_tag }, { 0 },
};
