/* SPDX-License-Identifier: Apache-2.0 */
/* See crypto_wire.h. */
#include "daemon/crypto_wire.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <vaccel/ops.h>

#include "op/cipher.h"
#include "util/util.h"

size_t crypto_max_control(void)
{
	return CRYPTO_CONTROL_HEADER + VACCEL_KEY_BYTES;
}

/* ---- the control queue ---- */

static void read_cipher(const struct virtio_crypto_op_ctrl_req *req, struct crypto_session *ret)
{
	const struct virtio_crypto_sym_create_session_req *sym = &req->u.sym_create_session;

	ret->kind = le32toh(sym->op_type);
	ret->algorithm = le32toh(sym->u.cipher.para.algo);
	ret->key_len = le32toh(sym->u.cipher.para.keylen);
	ret->direction = le32toh(sym->u.cipher.para.op);
}

static void read_akcipher(const struct virtio_crypto_op_ctrl_req *req, struct crypto_session *ret)
{
	const struct virtio_crypto_akcipher_session_para *para = &req->u.akcipher_create_session.para;

	ret->kind = le32toh(para->keytype);
	ret->algorithm = le32toh(para->algo);
	ret->key_len = le32toh(para->keylen);
	ret->padding = le32toh(para->u.rsa.padding_algo);
	ret->hash = le32toh(para->u.rsa.hash_algo);
}

static const struct {
	uint32_t opcode;
	enum crypto_kind kind;
	void (*read)(const struct virtio_crypto_op_ctrl_req *req, struct crypto_session *ret); /* CREATE */
} controls[] = {
	{ VIRTIO_CRYPTO_CIPHER_CREATE_SESSION, CRYPTO_CREATE, read_cipher },
	{ VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION, CRYPTO_DESTROY, NULL },
	{ VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION, CRYPTO_CREATE, read_akcipher },
	{ VIRTIO_CRYPTO_AKCIPHER_DESTROY_SESSION, CRYPTO_DESTROY, NULL },
};

static int read_session(const void *message, size_t len, const struct virtio_crypto_op_ctrl_req *req, size_t row,
			struct crypto_session *ret, struct error *error)
{
	ret->opcode = controls[row].opcode;
	controls[row].read(req, ret);
	/* Of chained algorithms the length lies elsewhere, and whoever makes the session refuses them. */
	if (ret->opcode == VIRTIO_CRYPTO_CIPHER_CREATE_SESSION && ret->kind != VIRTIO_CRYPTO_SYM_OP_CIPHER)
		ret->key_len = 0;
	if (ret->key_len > len - CRYPTO_CONTROL_HEADER)
		return error_set(error, -EBADMSG, "session: key of %u bytes, of which %zu are there", ret->key_len,
				 len - CRYPTO_CONTROL_HEADER);
	ret->key = (const char *)message + CRYPTO_CONTROL_HEADER;
	return 0;
}

int crypto_wire_control(const void *message, size_t len, struct crypto_wire *ret, struct error *error)
{
	struct virtio_crypto_op_ctrl_req req;
	uint32_t opcode;

	*ret = (struct crypto_wire){ .kind = CRYPTO_CREATE };
	if (len < sizeof(req))
		return error_set(error, -EBADMSG, "request: %zu bytes, its header has %zu", len, sizeof(req));
	memcpy(&req, message, sizeof(req));
	opcode = le32toh(req.header.opcode);
	for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
		if (controls[i].opcode != opcode)
			continue;
		ret->kind = controls[i].kind;
		if (ret->kind == CRYPTO_CREATE)
			return read_session(message, len, &req, i, &ret->create, error);
		ret->session = le64toh(req.u.destroy_session.session_id);
		return 0;
	}
	return error_set(error, -EOPNOTSUPP, "request: opcode %#x of the control queue is not known", opcode);
}

/* ---- data queues ---- */

static const struct {
	uint32_t opcode;
	enum crypto_kind kind;
	uint32_t operation;
	bool verifies;
} operations[] = {
	{ VIRTIO_CRYPTO_CIPHER_ENCRYPT, CRYPTO_CIPHER, VACCEL_ENCRYPT, false },
	{ VIRTIO_CRYPTO_CIPHER_DECRYPT, CRYPTO_CIPHER, VACCEL_DECRYPT, false },
	{ VIRTIO_CRYPTO_AKCIPHER_ENCRYPT, CRYPTO_AKCIPHER, VACCEL_AK_ENCRYPT, false },
	{ VIRTIO_CRYPTO_AKCIPHER_DECRYPT, CRYPTO_AKCIPHER, VACCEL_AK_DECRYPT, false },
	{ VIRTIO_CRYPTO_AKCIPHER_SIGN, CRYPTO_AKCIPHER, VACCEL_AK_SIGN, false },
	{ VIRTIO_CRYPTO_AKCIPHER_VERIFY, CRYPTO_AKCIPHER, VACCEL_AK_VERIFY, true },
};

HOT static int read_lengths(const struct virtio_crypto_op_data_req *req, struct crypto_wire *ret, struct error *error)
{
	const struct virtio_crypto_cipher_para *cipher = &req->u.sym_req.u.cipher.para;
	const struct virtio_crypto_akcipher_para *akcipher = &req->u.akcipher_req.para;

	if (ret->kind == CRYPTO_AKCIPHER) {
		ret->src_len = le32toh(akcipher->src_data_len);
		ret->dst_len = le32toh(akcipher->dst_data_len);
		return 0;
	}
	if (le32toh(req->u.sym_req.op_type) != VIRTIO_CRYPTO_SYM_OP_CIPHER)
		return error_set(error, -EOPNOTSUPP, "request: only plain ciphers are known, not kind %u",
				 le32toh(req->u.sym_req.op_type));
	ret->iv_len = le32toh(cipher->iv_len);
	ret->src_len = le32toh(cipher->src_data_len);
	ret->dst_len = le32toh(cipher->dst_data_len);
	return 0;
}

/* Behind the header, which is there. The last writable byte is the status. */
HOT static int check_lengths(const struct crypto_wire *wire, uint64_t readable, uint64_t writable, struct error *error)
{
	uint64_t in = (uint64_t)wire->iv_len + wire->src_len + (wire->verifies ? wire->dst_len : 0);
	uint64_t out = (wire->verifies ? 0 : (uint64_t)wire->dst_len) + 1;

	if (in > readable - CRYPTO_DATA_HEADER)
		return error_set(error, -EBADMSG, "request: it says to have %" PRIu64 " bytes to read, it has %" PRIu64,
				 in, readable - CRYPTO_DATA_HEADER);
	if (out > writable)
		return error_set(error, -EBADMSG,
				 "request: it says to have %" PRIu64 " bytes to write, it has %" PRIu64, out, writable);
	if (wire->iv_len > CRYPTO_MAX_IV)
		return error_set(error, -EINVAL, "request: IV of %u bytes, no cipher has more than %d", wire->iv_len,
				 CRYPTO_MAX_IV);
	return 0;
}

HOT int crypto_wire_data(const void *header, uint64_t readable, uint64_t writable, struct crypto_wire *ret,
			 struct error *error)
{
	struct virtio_crypto_op_data_req req;
	uint32_t opcode;
	int r;

	*ret = (struct crypto_wire){ .kind = 0 };
	if (readable < sizeof(req))
		return error_set(error, -EBADMSG, "request: %" PRIu64 " bytes, its header has %zu", readable,
				 sizeof(req));
	memcpy(&req, header, sizeof(req));
	ret->session = le64toh(req.header.session_id);
	opcode = le32toh(req.header.opcode);
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		if (operations[i].opcode != opcode)
			continue;
		ret->kind = operations[i].kind;
		ret->operation = operations[i].operation;
		ret->verifies = operations[i].verifies;
		r = read_lengths(&req, ret, error);
		return r < 0 ? r : check_lengths(ret, readable, writable, error);
	}
	return error_set(error, -EOPNOTSUPP, "request: opcode %#x of a data queue is not known", opcode);
}

/* ---- sessions are keys ---- */

static int cipher_key(const struct crypto_session *session, struct state_key *ret, struct error *error)
{
	const struct cipher_mode *mode = cipher_mode_by_virtio(session->algorithm);

	if (session->kind != VIRTIO_CRYPTO_SYM_OP_CIPHER || !mode)
		return error_set(error, -EOPNOTSUPP, "session: cipher %u of kind %u is not known", session->algorithm,
				 session->kind);
	if (session->direction != VIRTIO_CRYPTO_OP_ENCRYPT && session->direction != VIRTIO_CRYPTO_OP_DECRYPT)
		return error_set(error, -EINVAL, "session: direction is %u, neither 1 (encrypt) nor 2 (decrypt)",
				 session->direction);
	ret->type = VACCEL_KEY_AES;
	ret->modes = 1u << mode->mode;
	ret->rights = session->direction == VIRTIO_CRYPTO_OP_ENCRYPT ? VACCEL_MAY_ENCRYPT : VACCEL_MAY_DECRYPT;
	return 0;
}

static const struct {
	uint32_t type;
	uint32_t key;
	uint32_t rights;
} key_types[] = {
	{ VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC, VACCEL_KEY_RSA_PUBLIC, VACCEL_MAY_ENCRYPT | VACCEL_MAY_VERIFY },
	{ VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE, VACCEL_KEY_RSA_PRIVATE, VACCEL_MAY_ALL },
};

/* Those of MD2, MD3 and MD4 are not. */
static bool hash_known(uint32_t hash)
{
	return hash == VACCEL_RSA_NO_HASH || (hash >= VACCEL_RSA_MD5 && hash <= VACCEL_RSA_SHA224);
}

static int akcipher_key(const struct crypto_session *session, struct state_key *ret, struct error *error)
{
	if (session->algorithm != VIRTIO_CRYPTO_AKCIPHER_RSA || session->padding > VIRTIO_CRYPTO_RSA_PKCS1_PADDING ||
	    !hash_known(session->hash))
		return error_set(error, -EOPNOTSUPP, "session: algorithm %u with padding %u and hash %u is not known",
				 session->algorithm, session->padding, session->hash);
	for (size_t i = 0; i < ARRAY_SIZE(key_types); i++) {
		if (key_types[i].type != session->kind)
			continue;
		ret->type = key_types[i].key;
		ret->rights = key_types[i].rights;
		ret->note = session->padding << 8 | session->hash;
		return 0;
	}
	return error_set(error, -EINVAL, "session: type of key is %u, neither 1 (public) nor 2 (private)",
			 session->kind);
}

int crypto_session_key(const struct crypto_session *session, struct state_key *ret_key, struct error *error)
{
	struct state_key key = { .data = session->key, .len = session->key_len };
	int r;

	if (session->opcode == VIRTIO_CRYPTO_CIPHER_CREATE_SESSION)
		r = cipher_key(session, &key, error);
	else if (session->opcode == VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION)
		r = akcipher_key(session, &key, error);
	else
		r = error_set(error, -EOPNOTSUPP, "session: opcode %#x makes none that is known", session->opcode);
	if (r == 0)
		*ret_key = key;
	return r;
}

uint32_t crypto_key_padding(const struct state_key *key)
{
	return key->note >> 8;
}

uint32_t crypto_key_hash(const struct state_key *key)
{
	return key->note & 0xff;
}

/* ---- statuses ---- */

static const struct {
	int error;
	uint8_t status;
} statuses[] = {
	{ 0, VIRTIO_CRYPTO_OK },
	{ EBADMSG, VIRTIO_CRYPTO_BADMSG },
	{ EOPNOTSUPP, VIRTIO_CRYPTO_NOTSUPP },
	{ ENOENT, VIRTIO_CRYPTO_INVSESS },
	{ ESTALE, VIRTIO_CRYPTO_INVSESS },
	{ EKEYREJECTED, VIRTIO_CRYPTO_KEY_REJECTED },
};

uint8_t crypto_status(int result, bool creating)
{
	if (creating && (result == -EDQUOT || result == -ENOSPC))
		return VIRTIO_CRYPTO_NOSPC;
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].error == -result)
			return statuses[i].status;
	return VIRTIO_CRYPTO_ERR;
}
