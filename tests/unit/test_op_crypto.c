/* SPDX-License-Identifier: Apache-2.0 */
/* src/op/cipher.c, block.h, key.c: what the checks of ciphers and of operations on keys accept and reject. */
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "op/block.h"
#include "op/cipher.h"
#include "op/key.h"
#include "op/request.h"
#include "util/util.h"

#define BOTH (VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END)

static uint8_t memory[1 << 16] __attribute__((aligned(64)));

enum { IV, AAD, SOURCE, DESTINATION, TAG };

/* ---- CIPHER ---- */

/* One of 64 bytes that is right in its mode. */
static struct op_request cipher_request(uint32_t mode, uint32_t direction)
{
	const struct vaccel_cipher params = { .key = 1, .mode = mode, .direction = direction, .flags = BOTH };
	struct op_request request = {
		.op = VACCEL_OP_CIPHER,
		.n_args = 5,
		.params_len = sizeof(params),
		.args = { { memory,
			    mode == VACCEL_ECB	 ? 0
			    : mode == VACCEL_GCM ? 12
						 : 16,
			    1 },
			  { .dir = 1 },
			  { memory + 1024, 64, 1 },
			  { memory + 2048, 64, 2 },
			  { .dir = 1 } },
	};

	if (mode == VACCEL_GCM)
		request.args[TAG] = (struct op_arg){ memory + 512, 16, direction == VACCEL_ENCRYPT ? 2 : 1 };
	memcpy(request.params, &params, sizeof(params));
	return request;
}

static struct vaccel_cipher *cipher_of(struct op_request *request)
{
	return (struct vaccel_cipher *)request->params;
}

static void accept(const struct op_request *request)
{
	struct error error = { 0 };

	if (op_check(request, &error) < 0)
		fail_msg("%s", error.text);
}

static void refuse(const struct op_request *request, int code, const char *text)
{
	struct error error = { 0 };

	assert_int_equal(op_check(request, &error), code);
	assert_text(error, text);
}

static void every_mode_and_direction(void **unused)
{
	const struct cipher_mode *mode;

	for (size_t i = 0; (mode = cipher_mode_at(i)); i++) {
		struct op_request encrypt = cipher_request(mode->mode, VACCEL_ENCRYPT);
		struct op_request decrypt = cipher_request(mode->mode, VACCEL_DECRYPT);

		accept(&encrypt);
		accept(&decrypt);
		assert_ptr_equal(cipher_mode(mode->mode), mode);
		assert_ptr_equal(cipher_mode_by_name(mode->name), mode);
		assert_ptr_equal(cipher_mode_by_virtio(mode->virtio), mode->virtio ? mode : NULL);
	}
	assert_null(cipher_mode(0));
	assert_null(cipher_mode(6));
	assert_null(cipher_mode_by_name("ofb"));
	assert_null(cipher_mode_by_virtio(0));
	assert_null(cipher_mode_by_virtio(12));
}

static void parameters_are_checked(void **unused)
{
	static const struct {
		struct vaccel_cipher params;
		const char *text;
	} rows[] = {
		{ { 1, 0, VACCEL_ENCRYPT, BOTH, 0, 0 }, "mode 0 is not known" },
		{ { 1, 6, VACCEL_ENCRYPT, BOTH, 0, 0 }, "mode 6 is not known" },
		{ { 1, UINT32_MAX, VACCEL_ENCRYPT, BOTH, 0, 0 }, "is not known" },
		{ { 1, VACCEL_CBC, 0, BOTH, 0, 0 }, "direction is 0" },
		{ { 1, VACCEL_CBC, 3, BOTH, 0, 0 }, "direction is 3" },
		{ { 1, VACCEL_CBC, VACCEL_ENCRYPT, BOTH | 4, 0, 0 }, "flags 0x4 are not known" },
		{ { 1, VACCEL_CBC, VACCEL_ENCRYPT, VACCEL_CIPHER_BEGIN, 0, 7 }, "only a message of GCM" },
		{ { 1, VACCEL_CBC, VACCEL_ENCRYPT, BOTH, 0, 7 }, "has a number, any other has none" },
		{ { 1, VACCEL_CBC, VACCEL_ENCRYPT, BOTH, 1, 0 }, "cannot skip 1 bytes" },
		{ { 1, VACCEL_CTR, VACCEL_ENCRYPT, BOTH, 16, 0 }, "cannot skip 16 bytes" },
	};
	struct op_request request = cipher_request(VACCEL_CBC, VACCEL_ENCRYPT);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		*cipher_of(&request) = rows[i].params;
		refuse(&request, -EINVAL, rows[i].text);
	}
	request = cipher_request(VACCEL_CTR, VACCEL_DECRYPT);
	cipher_of(&request)->skip = 15;
	accept(&request);
}

static void lengths_are_checked(void **unused)
{
	static const struct {
		uint32_t mode;
		uint64_t source, destination;
		int code; /* 0: it is right */
		const char *text;
	} rows[] = {
		{ VACCEL_CBC, 0, 0, 0, NULL },
		{ VACCEL_CBC, 1u << 20, 1u << 20, 0, NULL },
		{ VACCEL_CBC, 64, 48, -ERANGE, "source of 64 bytes, destination of 48" },
		{ VACCEL_CBC, 48, 64, -ERANGE, "source of 48 bytes, destination of 64" },
		{ VACCEL_CBC, 63, 63, -EINVAL, "63 bytes are not a multiple of the block of 16" },
		{ VACCEL_ECB, 17, 17, -EINVAL, "17 bytes are not a multiple of the block of 16" },
		{ VACCEL_CTR, 17, 17, 0, NULL },
		{ VACCEL_XTS, 17, 17, 0, NULL },
		{ VACCEL_XTS, 15, 15, -EINVAL, "15 bytes, xts takes 16 to 16777216" },
		{ VACCEL_XTS, 0, 0, -EINVAL, "0 bytes, xts takes 16" },
		{ VACCEL_XTS, (1u << 24) + 1, (1u << 24) + 1, -EINVAL, "xts takes 16 to 16777216" },
		{ VACCEL_GCM, 0, 0, 0, NULL },
		{ VACCEL_GCM, UINT64_C(1) << 36, UINT64_C(1) << 36, -EINVAL, "gcm takes 0 to 68719476704" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct op_request request = cipher_request(rows[i].mode, VACCEL_ENCRYPT);

		request.args[SOURCE].len = rows[i].source;
		request.args[DESTINATION].len = rows[i].destination;
		if (rows[i].code)
			refuse(&request, rows[i].code, rows[i].text);
		else
			accept(&request);
	}
}

static void ivs_are_checked(void **unused)
{
	static const struct {
		uint32_t mode;
		uint64_t min, max;
	} rows[] = { { VACCEL_ECB, 0, 0 },
		     { VACCEL_CBC, 16, 16 },
		     { VACCEL_CTR, 16, 16 },
		     { VACCEL_XTS, 16, 16 },
		     { VACCEL_GCM, 1, 128 } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct op_request request = cipher_request(rows[i].mode, VACCEL_ENCRYPT);

		request.args[IV].data = memory;
		request.args[IV].len = rows[i].min;
		accept(&request);
		request.args[IV].len = rows[i].max;
		accept(&request);
		request.args[IV].len = rows[i].max + 1;
		refuse(&request, -EINVAL, "IV of ");
		request.args[IV].len = rows[i].min - 1;
		if (rows[i].min)
			refuse(&request, -EINVAL, "IV of ");
	}
}

static void only_gcm_has_additional_data_and_a_tag(void **unused)
{
	static const uint64_t good[] = { 4, 8, 12, 13, 14, 15, 16 }, bad[] = { 0, 1, 5, 7, 9, 11, 17, 4096 };
	struct op_request request = cipher_request(VACCEL_GCM, VACCEL_ENCRYPT);

	request.args[AAD] = (struct op_arg){ memory + 4096, 100, 1 };
	accept(&request);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		request.args[TAG].len = good[i];
		accept(&request);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		request.args[TAG].len = bad[i];
		refuse(&request, -EINVAL, "4, 8 and 12 to 16 are possible");
	}
	/* Made when it encrypts, checked when it decrypts. */
	request.args[TAG].len = 16;
	request.args[TAG].dir = 1;
	refuse(&request, -EINVAL, "the tag is made");
	request = cipher_request(VACCEL_GCM, VACCEL_DECRYPT);
	request.args[TAG].dir = 2;
	refuse(&request, -EINVAL, "the tag is checked");
	request = cipher_request(VACCEL_CBC, VACCEL_ENCRYPT);
	request.args[AAD] = (struct op_arg){ memory + 4096, 1, 1 };
	refuse(&request, -EINVAL, "cbc has no additional data");
	request = cipher_request(VACCEL_CBC, VACCEL_ENCRYPT);
	request.args[TAG] = (struct op_arg){ memory + 512, 16, 2 };
	refuse(&request, -EINVAL, "a tag belongs to the end");
}

static void messages_in_several_requests(void **unused)
{
	struct op_request request = cipher_request(VACCEL_GCM, VACCEL_ENCRYPT);
	struct op_arg tag = request.args[TAG];

	cipher_of(&request)->flags = VACCEL_CIPHER_BEGIN;
	refuse(&request, -EINVAL, "has a number");
	cipher_of(&request)->stream = 9;
	refuse(&request, -EINVAL, "a tag belongs to the end");
	request.args[TAG] = (struct op_arg){ .dir = 1 };
	accept(&request);
	/* In the middle there is neither IV nor tag. */
	cipher_of(&request)->flags = 0;
	refuse(&request, -EINVAL, "IV of 12 bytes, gcm takes 0 to 0");
	request.args[IV].len = 0;
	accept(&request);
	cipher_of(&request)->flags = VACCEL_CIPHER_END;
	refuse(&request, -EINVAL, "4, 8 and 12 to 16 are possible");
	request.args[TAG] = tag;
	accept(&request);
	assert_false(op_by_id(VACCEL_OP_CIPHER)->replayable(&request));
}

static void what_lies_over_its_source_runs_once(void **unused)
{
	const struct op_desc *op = op_by_id(VACCEL_OP_CIPHER);
	struct op_request request = cipher_request(VACCEL_CBC, VACCEL_ENCRYPT);

	assert_true(op->replayable(&request));
	request.args[DESTINATION].data = request.args[SOURCE].data;
	accept(&request);
	assert_false(op->replayable(&request));
	request.args[DESTINATION].data = memory + 2048;
	request.args[SOURCE].len = UINT64_MAX;
	assert_true(op->cost(&request) == UINT64_MAX);
}

/* ---- AKCIPHER ---- */

static struct op_request akcipher_request(uint32_t operation)
{
	const struct vaccel_akcipher params = { .key = 1, .operation = operation, .padding = VACCEL_RSA_PKCS1 };
	struct op_request request = {
		.op = VACCEL_OP_AKCIPHER,
		.n_args = 3,
		.params_len = sizeof(params),
		.args = { { memory, 32, 1 },
			  { memory + 1024, 256, operation == VACCEL_AK_VERIFY ? 1 : 2 },
			  { memory + 2048, sizeof(struct vaccel_akcipher_answer), 2 } },
	};

	memcpy(request.params, &params, sizeof(params));
	return request;
}

static void requests_of_rsa_are_checked(void **unused)
{
	struct op_request request;

	for (uint32_t operation = VACCEL_AK_ENCRYPT; operation <= VACCEL_AK_VERIFY; operation++) {
		request = akcipher_request(operation);
		accept(&request);
		request.args[1].dir ^= 3;
		refuse(&request, -EINVAL, "the destination cannot have direction");
	}
	for (uint32_t i = 0; i < 4; i++) {
		struct vaccel_akcipher *params = (struct vaccel_akcipher *)request.params;

		request = akcipher_request(VACCEL_AK_SIGN);
		*(uint32_t *)(i == 0   ? &params->operation
			      : i == 1 ? &params->padding
			      : i == 2 ? &params->hash
				       : &params->reserved) = i == 2   ? 3
							      : i == 3 ? 1
								       : 5;
		refuse(&request, -EINVAL, i == 0 ? "operation 5 is not known" : "is not possible");
	}
	request = akcipher_request(VACCEL_AK_SIGN);
	request.args[0].len = 0;
	refuse(&request, -ERANGE, "source of 0 bytes");
	request.args[0].len = VACCEL_KEY_BYTES + 1;
	refuse(&request, -ERANGE, "source of 4097 bytes");
	request = akcipher_request(VACCEL_AK_SIGN);
	request.args[1].len = VACCEL_KEY_BYTES + 1;
	refuse(&request, -ERANGE, "destination of 4097");
	request = akcipher_request(VACCEL_AK_SIGN);
	request.args[2].len--;
	refuse(&request, -ERANGE, "argument answer needs 8 bytes, it has 7");
}

static void keys_of_rsa_are_for_what_they_are_for(void **unused)
{
	static const struct {
		uint32_t operation, type, rights;
		int code;
		const char *text;
	} rows[] = {
		{ VACCEL_AK_ENCRYPT, VACCEL_KEY_RSA_PUBLIC, VACCEL_MAY_ENCRYPT, 0, NULL },
		{ VACCEL_AK_VERIFY, VACCEL_KEY_RSA_PUBLIC, VACCEL_MAY_VERIFY, 0, NULL },
		{ VACCEL_AK_DECRYPT, VACCEL_KEY_RSA_PRIVATE, VACCEL_MAY_DECRYPT, 0, NULL },
		{ VACCEL_AK_SIGN, VACCEL_KEY_RSA_PRIVATE, VACCEL_MAY_SIGN, 0, NULL },
		{ VACCEL_AK_VERIFY, VACCEL_KEY_RSA_PRIVATE, VACCEL_MAY_ALL, 0, NULL },
		{ VACCEL_AK_DECRYPT, VACCEL_KEY_RSA_PUBLIC, VACCEL_MAY_ALL, -EINVAL, "takes a private key" },
		{ VACCEL_AK_SIGN, VACCEL_KEY_RSA_PUBLIC, VACCEL_MAY_ALL, -EINVAL, "takes a private key" },
		{ VACCEL_AK_ENCRYPT, VACCEL_KEY_AES, VACCEL_MAY_ALL, -EINVAL, "takes a key of RSA" },
		{ VACCEL_AK_ENCRYPT, VACCEL_KEY_RSA_PUBLIC, VACCEL_MAY_VERIFY, -EPERM, "may not encrypt" },
		{ VACCEL_AK_DECRYPT, VACCEL_KEY_RSA_PRIVATE, VACCEL_MAY_SIGN, -EPERM, "may not decrypt" },
		{ VACCEL_AK_SIGN, VACCEL_KEY_RSA_PRIVATE, VACCEL_MAY_DECRYPT, -EPERM, "may not sign" },
		{ VACCEL_AK_VERIFY, VACCEL_KEY_RSA_PUBLIC, VACCEL_MAY_ENCRYPT, -EPERM, "may not verify" },
	};
	const struct op_desc *op = op_by_id(VACCEL_OP_AKCIPHER);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct op_request request = akcipher_request(rows[i].operation);
		const struct op_key key = { rows[i].type, 2048, 0, rows[i].rights, false };
		struct error error = { 0 };

		assert_int_equal(op->check_key(op, &request, &key, &error), rows[i].code);
		if (rows[i].code)
			assert_text(error, rows[i].text);
	}
}

/* ---- Keys ---- */

static void kinds_of_keys(void **unused)
{
	static const struct {
		uint32_t type, modes;
		uint64_t len;
		bool good;
	} rows[] = {
		{ VACCEL_KEY_AES, 0, 16, true },
		{ VACCEL_KEY_AES, 0, 24, true },
		{ VACCEL_KEY_AES, 0, 32, true },
		{ VACCEL_KEY_AES, 0, 64, true },
		{ VACCEL_KEY_AES, 0, 8, false },
		{ VACCEL_KEY_AES, 0, 40, false },
		{ VACCEL_KEY_AES, 0, 48, false },
		{ VACCEL_KEY_AES, 0, 17, false },
		{ VACCEL_KEY_AES, 0, 0, false },
		{ VACCEL_KEY_AES, 0, 256 + 16, false },
		{ VACCEL_KEY_AES, 0, UINT64_MAX, false },
		{ VACCEL_KEY_AES, 1u << VACCEL_XTS, 32, true },
		{ VACCEL_KEY_AES, 1u << VACCEL_XTS, 64, true },
		{ VACCEL_KEY_AES, 1u << VACCEL_XTS, 24, false },
		{ VACCEL_KEY_AES, 1u << VACCEL_XTS | 1u << VACCEL_CBC, 32, true },
		{ VACCEL_KEY_AES, 1u << VACCEL_XTS | 1u << VACCEL_CBC, 64, false },
		{ VACCEL_KEY_AES, 1u << 0, 16, false },
		{ VACCEL_KEY_AES, 1u << 6, 16, false },
		{ VACCEL_KEY_AES, 1u << 31, 16, false },
		{ VACCEL_KEY_RSA_PUBLIC, 0, 1, true },
		{ VACCEL_KEY_RSA_PRIVATE, 0, VACCEL_KEY_BYTES, true },
		{ VACCEL_KEY_RSA_PRIVATE, 0, VACCEL_KEY_BYTES + 1, false },
		{ VACCEL_KEY_RSA_PUBLIC, 1u << VACCEL_CBC, 100, false },
		{ 0, 0, 16, false },
		{ 4, 0, 16, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if ((key_check_kind(rows[i].type, rows[i].modes, rows[i].len, NULL) == 0) != rows[i].good)
			fail_msg("row %zu: is taken for %s", i, rows[i].good ? "bad" : "good");
}

static struct op_request import_request(uint32_t rights, uint32_t reserved, uint64_t answer_len)
{
	const struct vaccel_key_import params = { VACCEL_KEY_AES, 0, rights, reserved };
	struct op_request request = {
		.op = VACCEL_OP_KEY_IMPORT,
		.n_args = 2,
		.params_len = sizeof(params),
		.args = { { memory, 16, 1 }, { memory + 1024, answer_len, 2 } },
	};

	memcpy(request.params, &params, sizeof(params));
	return request;
}

static void imports_are_checked(void **unused)
{
	const uint64_t len = sizeof(struct vaccel_key_about);
	struct op_request request = import_request(VACCEL_MAY_ALL, 0, len);

	accept(&request);
	request = import_request(0, 0, len);
	refuse(&request, -EINVAL, "rights are 0");
	request = import_request(0x10, 0, len);
	refuse(&request, -EINVAL, "rights are 0x10");
	request = import_request(1, 1, len);
	refuse(&request, -EINVAL, "reserved is 1");
	request = import_request(1, 0, len - 1);
	refuse(&request, -ERANGE, "argument answer needs 32 bytes, it has 31");
	request = import_request(1, 0, len);
	request.args[0].len = 15;
	refuse(&request, -EINVAL, "key_import: key: its modes take no key of 15 bytes");
}

static void names_are_checked(void **unused)
{
	static const char *const bad[] = { "", ".x", "-x", "../x", "a b", "a/b", "\xc3\xa4" };
	struct op_request request = {
		.op = VACCEL_OP_KEY_OPEN,
		.n_args = 1,
		.params_len = sizeof(struct vaccel_key_open),
		.args = { { memory, sizeof(struct vaccel_key_about), 2 } },
	};

	strcpy((char *)request.params, "backup-2.old_1");
	accept(&request);
	request.args[0].len--;
	refuse(&request, -ERANGE, "argument answer needs 32 bytes");
	request.args[0].len++;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(request.params, 0, VACCEL_KEY_NAME);
		strcpy((char *)request.params, bad[i]);
		refuse(&request, -EINVAL, "a key's name is of");
	}
	memset(request.params, 'x', VACCEL_KEY_NAME);
	refuse(&request, -EINVAL, "a key's name is of");
	memset(request.params, 0, VACCEL_KEY_NAME);
	request.params[0] = request.params[5] = 'x';
	refuse(&request, -EINVAL, "a key's name is of");
}

static void ciphers_by_name(void **unused)
{
	static const struct {
		const char *name;
		uint32_t mode, bytes; /* 0: there is none */
	} rows[] = {
		{ "aes-128-cbc", VACCEL_CBC, 16 },
		{ "AES-192-CTR", VACCEL_CTR, 24 },
		{ "aes-256-Gcm", VACCEL_GCM, 32 },
		{ "aes-128-xts", VACCEL_XTS, 32 },
		{ "aes-256-xts", VACCEL_XTS, 64 },
		{ "aes-256-ecb", VACCEL_ECB, 32 },
		{ "aes-192-xts", 0, 0 },
		{ "aes-512-cbc", 0, 0 },
		{ "aes-0-cbc", 0, 0 },
		{ "aes-128", 0, 0 },
		{ "aes-128-", 0, 0 },
		{ "aes-128-cbcx", 0, 0 },
		{ "aes- 128-cbc", 0, 0 },
		{ "aes-+128-cbc", 0, 0 },
		{ "aes--128-cbc", 0, 0 },
		{ "aes-4294967424-cbc", 0, 0 },
		{ "aes-18446744073709551744-cbc", 0, 0 },
		{ "", 0, 0 },
		{ "des-128-cbc", 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct cipher_mode *mode = NULL;
		uint32_t bytes = 0;

		assert_int_equal(cipher_by_name(rows[i].name, &mode, &bytes), rows[i].mode != 0);
		assert_int_equal(mode ? mode->mode : 0, rows[i].mode);
		assert_int_equal(bytes, rows[i].bytes);
	}
}

/* ---- Blocks ---- */

static void counters_carry(void **state)
{
	static const struct {
		uint8_t before[16];
		uint64_t blocks;
		uint8_t after[16];
	} rows[] = {
		{ { 0 }, 0, { 0 } },
		{ { 0 }, UINT64_MAX, { [8] = 255, 255, 255, 255, 255, 255, 255, 255 } },
		{ { [15] = 1 }, UINT64_MAX, { [7] = 1 } },
		{ { [8] = 255, 255, 255, 255, 255, 255, 255, 255 }, 0x100000001, { [7] = 1, [11] = 1 } },
		{ { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 254 }, 3, { [15] = 1 } },
	};
	uint8_t number[16] = { 0x12, 0x34 };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t counter[16];

		memcpy(counter, rows[i].before, 16);
		block_count(counter, rows[i].blocks);
		assert_memory_equal(counter, rows[i].after, 16);
	}
	for (uint32_t i = 0x3413; i < 0x13400; i++) {
		block_next_unit(number);
		assert_int_equal(number[0] | number[1] << 8 | number[2] << 16, i);
	}
	memset(number, 255, sizeof(number));
	block_next_unit(number);
	assert_memory_equal(number, rows[0].before, 16);
}

static void padding_is_found_or_not(void **state)
{
	uint8_t block[16];

	for (uint32_t len = 0; len < 16; len++) {
		memset(block, 'x', sizeof(block));
		block_pad(block, len);
		assert_int_equal(block_padding(block), 16 - len);
		assert_true(!len || block[len - 1] == 'x');
		/* Each of its bytes counts, and none before them. */
		for (uint32_t at = 0; at < 15; at++) {
			block[at] ^= 0x20;
			assert_int_equal(block_padding(block), at < len ? 16 - len : 0);
			block[at] ^= 0x20;
		}
	}
	for (uint32_t end = 0; end < 256; end++) {
		memset(block, (int)end, sizeof(block));
		assert_int_equal(block_padding(block), end <= 16 ? end : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_mode_and_direction),
		cmocka_unit_test(parameters_are_checked),
		cmocka_unit_test(lengths_are_checked),
		cmocka_unit_test(ivs_are_checked),
		cmocka_unit_test(only_gcm_has_additional_data_and_a_tag),
		cmocka_unit_test(messages_in_several_requests),
		cmocka_unit_test(what_lies_over_its_source_runs_once),
		cmocka_unit_test(requests_of_rsa_are_checked),
		cmocka_unit_test(keys_of_rsa_are_for_what_they_are_for),
		cmocka_unit_test(kinds_of_keys),
		cmocka_unit_test(imports_are_checked),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(ciphers_by_name),
		cmocka_unit_test(counters_carry),
		cmocka_unit_test(padding_is_found_or_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
