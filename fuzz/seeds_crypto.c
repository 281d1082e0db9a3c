/* SPDX-License-Identifier: Apache-2.0 */
/* Seeds of target crypto: sessions of every algorithm, used and ended, as a driver does it. */
#include "seeds.h"

#include <endian.h>
#include <linux/virtio_crypto.h>
#include <vaccel/ops.h>

#include "crypto.h"
#include "op/cipher.h"

#define HEADER sizeof(struct virtio_crypto_op_ctrl_req)

_Static_assert(HEADER == sizeof(struct virtio_crypto_op_data_req), "both have the same");

static void put_pieces(struct out *out, uint16_t offset, uint16_t len, uint16_t stride, uint8_t n)
{
	for (uint8_t i = 0; i < n; i++) {
		const struct fuzz_piece piece = { (uint16_t)(offset + i * stride), len };

		put(out, &piece, sizeof(piece));
	}
}

static void put_create(struct out *out, const struct virtio_crypto_op_ctrl_req *req, uint16_t key_len)
{
	const struct fuzz_crypto plan = { .flags = FUZZ_CRYPTO_CONTROL,
					  .header_len = HEADER,
					  .tail_len = key_len,
					  .room = sizeof(struct virtio_crypto_session_input) };
	const uint8_t key[512] = { 1, 2, 3 };

	put(out, &plan, sizeof(plan));
	put(out, req, sizeof(*req));
	put(out, key, key_len);
}

static void put_cipher_session(struct out *out, uint32_t algorithm, uint32_t direction, uint16_t key_len)
{
	struct virtio_crypto_op_ctrl_req req = { .header.opcode = htole32(VIRTIO_CRYPTO_CIPHER_CREATE_SESSION) };
	struct virtio_crypto_cipher_session_para *para = &req.u.sym_create_session.u.cipher.para;

	req.u.sym_create_session.op_type = htole32(VIRTIO_CRYPTO_SYM_OP_CIPHER);
	para->algo = htole32(algorithm);
	para->keylen = htole32(key_len);
	para->op = htole32(direction);
	put_create(out, &req, key_len);
}

static void put_destroy(struct out *out, uint32_t opcode, uint8_t session)
{
	const struct virtio_crypto_op_ctrl_req req = { .header.opcode = htole32(opcode) };
	const struct fuzz_crypto plan = {
		.flags = FUZZ_CRYPTO_CONTROL | FUZZ_CRYPTO_SESSION, .session = session, .header_len = HEADER, .room = 1
	};

	put(out, &plan, sizeof(plan));
	put(out, &req, sizeof(req));
}

/* Source and destination in n pieces each; in_place: on each other. */
static void put_request(struct out *out, uint8_t flags, const struct virtio_crypto_op_data_req *req, uint16_t iv_len,
			uint8_t n, bool in_place)
{
	const struct fuzz_crypto plan = { .flags = flags | FUZZ_CRYPTO_SESSION,
					  .session = 2,
					  .header_len = HEADER,
					  .n_readable = n,
					  .n_writable = n,
					  .room = 1,
					  .split = n > 1 ? 20 : 0,
					  .tail_len = iv_len };
	const uint8_t iv[16] = { 9 };

	put(out, &plan, sizeof(plan));
	put(out, req, sizeof(*req));
	put(out, iv, iv_len);
	put_pieces(out, 0, 64, 96, n);
	put_pieces(out, in_place ? 0 : 0x1000, 64, 96, n);
}

static void put_cipher(struct out *out, uint8_t flags, uint32_t opcode, uint16_t iv_len, uint8_t n, bool in_place)
{
	struct virtio_crypto_op_data_req req = { .header.opcode = htole32(opcode) };

	req.u.sym_req.op_type = htole32(VIRTIO_CRYPTO_SYM_OP_CIPHER);
	req.u.sym_req.u.cipher.para.iv_len = htole32(iv_len);
	req.u.sym_req.u.cipher.para.src_data_len = htole32(64u * n);
	req.u.sym_req.u.cipher.para.dst_data_len = htole32(64u * n);
	put_request(out, flags, &req, iv_len, n, in_place);
}

static void cipher_seed(const struct cipher_mode *mode)
{
	uint16_t key_len = mode->mode == VACCEL_XTS ? 64 : 32;
	uint16_t iv_len = (uint16_t)mode->iv_max;
	struct out out = { .len = 0 };

	put_cipher_session(&out, mode->virtio, VIRTIO_CRYPTO_OP_ENCRYPT, key_len);
	put_cipher(&out, 0, VIRTIO_CRYPTO_CIPHER_ENCRYPT, iv_len, 1, false);
	put_cipher(&out, 0, VIRTIO_CRYPTO_CIPHER_ENCRYPT, iv_len, 3, false);
	put_cipher(&out, 0, VIRTIO_CRYPTO_CIPHER_ENCRYPT, iv_len, 25, false);
	put_cipher(&out, 0, VIRTIO_CRYPTO_CIPHER_ENCRYPT, iv_len, 1, true);
	put_cipher(&out, FUZZ_CRYPTO_RECOVERED | FUZZ_CRYPTO_BEGUN, VIRTIO_CRYPTO_CIPHER_ENCRYPT, iv_len, 3, true);
	put_cipher(&out, FUZZ_CRYPTO_RECOVERED | FUZZ_CRYPTO_BEGUN, VIRTIO_CRYPTO_CIPHER_ENCRYPT, iv_len, 3, false);
	put_cipher(&out, 0, VIRTIO_CRYPTO_CIPHER_DECRYPT, iv_len, 1, false);
	put_destroy(&out, VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION, 2);
	put_cipher(&out, 0, VIRTIO_CRYPTO_CIPHER_ENCRYPT, iv_len, 1, false);
	put_destroy(&out, VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION, 2);
	save(&out, "crypto", "cipher-%s", mode->name);
}

static void akcipher_seed(uint32_t padding, uint32_t hash)
{
	struct virtio_crypto_op_ctrl_req create = { .header.opcode = htole32(VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION) };
	struct virtio_crypto_akcipher_session_para *para = &create.u.akcipher_create_session.para;
	struct out out = { .len = 0 };

	para->algo = htole32(VIRTIO_CRYPTO_AKCIPHER_RSA);
	para->keytype = htole32(VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE);
	para->keylen = htole32(300);
	para->u.rsa.padding_algo = htole32(padding);
	para->u.rsa.hash_algo = htole32(hash);
	put_create(&out, &create, 300);
	for (uint32_t opcode = VIRTIO_CRYPTO_AKCIPHER_ENCRYPT; opcode <= VIRTIO_CRYPTO_AKCIPHER_VERIFY; opcode++) {
		struct virtio_crypto_op_data_req req = { .header.opcode = htole32(opcode) };

		req.u.akcipher_req.para.src_data_len = htole32(opcode == VIRTIO_CRYPTO_AKCIPHER_VERIFY ? 64 : 128);
		req.u.akcipher_req.para.dst_data_len = htole32(64);
		put_request(&out, 0, &req, 0, 2, false);
	}
	put_destroy(&out, VIRTIO_CRYPTO_AKCIPHER_DESTROY_SESSION, 2);
	save(&out, "crypto", "rsa-%u-%u", padding, hash);
}

void crypto_seeds(void)
{
	const struct cipher_mode *mode;

	for (size_t i = 0; (mode = cipher_mode_at(i)); i++)
		if (mode->virtio)
			cipher_seed(mode);
	akcipher_seed(VIRTIO_CRYPTO_RSA_RAW_PADDING, VIRTIO_CRYPTO_RSA_NO_HASH);
	akcipher_seed(VIRTIO_CRYPTO_RSA_PKCS1_PADDING, VIRTIO_CRYPTO_RSA_SHA256);
}
