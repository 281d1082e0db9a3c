/* SPDX-License-Identifier: Apache-2.0 */
/* See cipher.h. What a request demands of its key is checked apart: the key is found later, by the engine. */
#include "op/cipher.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util/util.h"

enum { IV, AAD, SOURCE, DESTINATION, TAG };    /* arguments of CIPHER */
enum { AK_SOURCE, AK_DESTINATION, AK_ANSWER }; /* and of AKCIPHER */
#define KEY_BYTES(a, b, c) (1u << (a) / 8 | 1u << (b) / 8 | 1u << (c) / 8)

/* A byte of AES takes about as long as so many floating point operations; RSA as a public key of 4096 bits does, or a private. */
#define BYTE_COST    16
#define PUBLIC_COST  (UINT64_C(1) << 20)
#define PRIVATE_COST (UINT64_C(1) << 26)

static const struct cipher_mode modes[] = {
	{ VACCEL_ECB, "ecb", 2, 0, 0, CIPHER_BLOCK, 0, UINT64_MAX, KEY_BYTES(16, 24, 32), false },
	{ VACCEL_CBC, "cbc", 3, 16, 16, CIPHER_BLOCK, 0, UINT64_MAX, KEY_BYTES(16, 24, 32), false },
	{ VACCEL_CTR, "ctr", 4, 16, 16, 1, 0, UINT64_MAX, KEY_BYTES(16, 24, 32), true },
	{ VACCEL_XTS, "xts", 13, 16, 16, 1, 16, UINT64_C(1) << 24, KEY_BYTES(32, 64, 64), false },
	{ VACCEL_GCM, "gcm", 0, 1, 128, 1, 0, (UINT64_C(1) << 36) - 32, KEY_BYTES(16, 24, 32), true },
};

const struct cipher_mode *cipher_mode_at(size_t index)
{
	return index < ARRAY_SIZE(modes) ? &modes[index] : NULL;
}

const struct cipher_mode *cipher_mode(uint32_t mode)
{
	return mode >= VACCEL_ECB && mode <= VACCEL_GCM ? &modes[mode - VACCEL_ECB] : NULL;
}

const struct cipher_mode *cipher_mode_by_virtio(uint32_t virtio)
{
	for (size_t i = 0; virtio && i < ARRAY_SIZE(modes); i++)
		if (modes[i].virtio == virtio)
			return &modes[i];
	return NULL;
}

const struct cipher_mode *cipher_mode_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(modes[i].name, name))
			return &modes[i];
	return NULL;
}

bool cipher_by_name(const char *name, const struct cipher_mode **ret_mode, uint32_t *ret_key_bytes)
{
	static const char prefix[] = "aes-";
	const struct cipher_mode *mode = NULL;
	char *end = NULL;
	unsigned long bits = 0;

	if (!strncasecmp(name, prefix, strlen(prefix)) && isdigit((unsigned char)name[strlen(prefix)]))
		bits = strtoul(name + strlen(prefix), &end, 10);
	for (size_t i = 0; end && *end == '-' && i < ARRAY_SIZE(modes); i++)
		if (!strcasecmp(modes[i].name, end + 1))
			mode = &modes[i];
	/* XTS takes two keys of the size that its name tells. */
	if (!mode || bits > 256 || bits % 64 ||
	    !cipher_mode_takes_key(mode, bits / 8 * (mode->mode == VACCEL_XTS ? 2 : 1)))
		return false;
	*ret_mode = mode;
	*ret_key_bytes = (uint32_t)bits / 8 * (mode->mode == VACCEL_XTS ? 2 : 1);
	return true;
}

bool cipher_mode_takes_key(const struct cipher_mode *mode, uint64_t bytes)
{
	return bytes % 8 == 0 && bytes / 8 < 32 && mode->key_bytes & 1u << bytes / 8;
}

static const struct vaccel_cipher *cipher_of(const struct op_request *request)
{
	return (const struct vaccel_cipher *)request->params;
}

static int check_params(const struct op_desc *op, const struct vaccel_cipher *cipher, struct error *error)
{
	const uint32_t both = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END;

	if (!cipher_mode(cipher->mode))
		return error_set(error, -EINVAL, "%s: mode %u is not known", op->name, cipher->mode);
	if (cipher->direction != VACCEL_ENCRYPT && cipher->direction != VACCEL_DECRYPT)
		return error_set(error, -EINVAL, "%s: direction is %u, neither 1 (encrypt) nor 2 (decrypt)", op->name,
				 cipher->direction);
	if (cipher->flags & ~both)
		return error_set(error, -EINVAL, "%s: flags %#x are not known", op->name, cipher->flags & ~both);
	if (cipher->mode != VACCEL_GCM && cipher->flags != both)
		return error_set(error, -EINVAL, "%s: only a message of GCM may come in several requests", op->name);
	if ((cipher->flags != both) != (cipher->stream != 0))
		return error_set(error, -EINVAL, "%s: a message in several requests has a number, any other has none",
				 op->name);
	if (cipher->skip && (cipher->mode != VACCEL_CTR || cipher->skip >= CIPHER_BLOCK))
		return error_set(error, -EINVAL, "%s: cannot skip %u bytes: CTR alone does, 15 at most", op->name,
				 cipher->skip);
	return 0;
}

static int check_iv(const struct op_desc *op, const struct op_request *request, const struct cipher_mode *mode,
		    struct error *error)
{
	bool begins = cipher_of(request)->flags & VACCEL_CIPHER_BEGIN;
	uint64_t len = request->args[IV].len;
	uint64_t min = begins ? mode->iv_min : 0, max = begins ? mode->iv_max : 0;

	if (len < min || len > max)
		return error_set(error, -EINVAL, "%s: IV of %" PRIu64 " bytes, %s takes %" PRIu64 " to %" PRIu64,
				 op->name, len, mode->name, min, max);
	return 0;
}

static int check_lengths(const struct op_desc *op, const struct op_request *request, const struct cipher_mode *mode,
			 struct error *error)
{
	uint64_t len = request->args[SOURCE].len;

	if (request->args[DESTINATION].len != len)
		return error_set(error, -ERANGE, "%s: source of %" PRIu64 " bytes, destination of %" PRIu64, op->name,
				 len, request->args[DESTINATION].len);
	if (len % mode->unit)
		return error_set(error, -EINVAL, "%s: %" PRIu64 " bytes are not a multiple of the block of %u",
				 op->name, len, mode->unit);
	if (len < mode->min || len > mode->max)
		return error_set(error, -EINVAL, "%s: %" PRIu64 " bytes, %s takes %" PRIu64 " to %" PRIu64, op->name,
				 len, mode->name, mode->min, mode->max);
	if (request->args[AAD].len && mode->mode != VACCEL_GCM)
		return error_set(error, -EINVAL, "%s: %s has no additional data", op->name, mode->name);
	return 0;
}

static int check_tag(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_cipher *cipher = cipher_of(request);
	const struct op_arg *tag = &request->args[TAG];
	uint32_t dir = cipher->direction == VACCEL_ENCRYPT ? 2 : 1;

	if (cipher->mode != VACCEL_GCM || !(cipher->flags & VACCEL_CIPHER_END))
		return tag->len ? error_set(error, -EINVAL, "%s: a tag belongs to the end of a message of GCM only",
					    op->name)
				: 0;
	if (tag->len != 4 && tag->len != 8 && (tag->len < 12 || tag->len > CIPHER_MAX_TAG))
		return error_set(error, -EINVAL, "%s: tag of %" PRIu64 " bytes, 4, 8 and 12 to 16 are possible",
				 op->name, tag->len);
	if (tag->dir != dir)
		return error_set(error, -EINVAL, "%s: the tag is %s, but its argument has direction %u", op->name,
				 dir == 2 ? "made" : "checked", tag->dir);
	return 0;
}

HOT int cipher_check(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	int r = check_params(op, cipher_of(request), error);
	const struct cipher_mode *mode;

	if (r < 0)
		return r;
	mode = cipher_mode(cipher_of(request)->mode);
	r = check_iv(op, request, mode, error);
	if (r == 0)
		r = check_lengths(op, request, mode, error);
	return r < 0 ? r : check_tag(op, request, error);
}

HOT int cipher_check_key(const struct op_desc *op, const struct op_request *request, const struct op_key *key,
			 struct error *error)
{
	const struct vaccel_cipher *cipher = cipher_of(request);
	const struct cipher_mode *mode = cipher_mode(cipher->mode);
	uint32_t right = cipher->direction == VACCEL_ENCRYPT ? VACCEL_MAY_ENCRYPT : VACCEL_MAY_DECRYPT;

	if (key->type != VACCEL_KEY_AES)
		return error_set(error, -EINVAL, "%s: the key is not one of AES", op->name);
	if (key->modes && !(key->modes & 1u << cipher->mode))
		return error_set(error, -EPERM, "%s: the key is not for mode %s", op->name, mode->name);
	if (!(key->rights & right))
		return error_set(error, -EPERM, "%s: the key may not %s", op->name,
				 cipher->direction == VACCEL_ENCRYPT ? "encrypt" : "decrypt");
	if (!cipher_mode_takes_key(mode, key->bits / 8))
		return error_set(error, -EINVAL, "%s: %s takes no key of %u bits", op->name, mode->name, key->bits);
	return 0;
}

bool cipher_replayable(const struct op_request *request)
{
	return cipher_of(request)->stream == 0 && !op_args_overlap(request);
}

static uint64_t byte_cost(uint64_t len)
{
	uint64_t cost;

	return mul_u64(len, BYTE_COST, &cost) ? UINT64_MAX : cost;
}

HOT uint64_t cipher_cost(const struct op_request *request)
{
	uint64_t len;

	return add_u64(request->args[SOURCE].len, request->args[AAD].len, &len) ? UINT64_MAX : byte_cost(len);
}

/* ---- RSA ---- */

static const struct vaccel_akcipher *akcipher_of(const struct op_request *request)
{
	return (const struct vaccel_akcipher *)request->params;
}

/* By enum vaccel_akcipher_operation. */
static const struct {
	const char *name;
	uint32_t right;
	uint32_t dir; /* of the destination */
	bool private; /* takes a private key */
} operations[] = {
	[VACCEL_AK_ENCRYPT] = { "encrypt", VACCEL_MAY_ENCRYPT, 2, false },
	[VACCEL_AK_DECRYPT] = { "decrypt", VACCEL_MAY_DECRYPT, 2, true },
	[VACCEL_AK_SIGN] = { "sign", VACCEL_MAY_SIGN, 2, true },
	[VACCEL_AK_VERIFY] = { "verify", VACCEL_MAY_VERIFY, 1, false },
};

static bool hash_known(uint32_t hash)
{
	return hash == VACCEL_RSA_NO_HASH || (hash >= VACCEL_RSA_MD5 && hash <= VACCEL_RSA_SHA224);
}

int akcipher_check(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_akcipher *params = akcipher_of(request);

	if (params->operation < VACCEL_AK_ENCRYPT || params->operation > VACCEL_AK_VERIFY)
		return error_set(error, -EINVAL, "%s: operation %u is not known", op->name, params->operation);
	if (params->padding > VACCEL_RSA_PKCS1 || !hash_known(params->hash) || params->reserved)
		return error_set(error, -EINVAL, "%s: padding %u, hash %u or reserved %u is not possible", op->name,
				 params->padding, params->hash, params->reserved);
	if (request->args[AK_DESTINATION].dir != operations[params->operation].dir)
		return error_set(error, -EINVAL, "%s: to %s, the destination cannot have direction %u", op->name,
				 operations[params->operation].name, request->args[AK_DESTINATION].dir);
	if (!request->args[AK_SOURCE].len || request->args[AK_SOURCE].len > VACCEL_KEY_BYTES ||
	    request->args[AK_DESTINATION].len > VACCEL_KEY_BYTES)
		return error_set(error, -ERANGE, "%s: source of %" PRIu64 " bytes, destination of %" PRIu64, op->name,
				 request->args[AK_SOURCE].len, request->args[AK_DESTINATION].len);
	if (request->args[AK_ANSWER].len < sizeof(struct vaccel_akcipher_answer))
		return error_set(error, -ERANGE, "%s: argument answer needs %zu bytes, it has %" PRIu64, op->name,
				 sizeof(struct vaccel_akcipher_answer), request->args[AK_ANSWER].len);
	return 0;
}

int akcipher_check_key(const struct op_desc *op, const struct op_request *request, const struct op_key *key,
		       struct error *error)
{
	uint32_t operation = akcipher_of(request)->operation;

	if (key->type != VACCEL_KEY_RSA_PRIVATE &&
	    (key->type != VACCEL_KEY_RSA_PUBLIC || operations[operation].private))
		return error_set(error, -EINVAL, "%s: to %s takes %s key of RSA", op->name, operations[operation].name,
				 operations[operation].private ? "a private" : "a");
	if (!(key->rights & operations[operation].right))
		return error_set(error, -EPERM, "%s: the key may not %s", op->name, operations[operation].name);
	return 0;
}

bool akcipher_replayable(const struct op_request *request)
{
	return !op_args_overlap(request);
}

uint64_t akcipher_cost(const struct op_request *request)
{
	return operations[akcipher_of(request)->operation].private ? PRIVATE_COST : PUBLIC_COST;
}
