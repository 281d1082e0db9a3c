/* SPDX-License-Identifier: Apache-2.0 */
/* See keys.h. */
#include "keys.h"

#include <endian.h>
#include <string.h>

#include "util/util.h"

/* In the heap. */
#define AT_KEY	  0
#define AT_ANSWER 16384
#define AT_IV	  20480
#define AT_SOURCE 24576
#define AT_RESULT 28672
#define BYTES	  1024u

static struct wire_arg piece(uint8_t dir, uint32_t first, uint32_t n, uint64_t len)
{
	return (struct wire_arg){
		.kind = VIRTIO_ACCEL_ARG_EXTENTS, .dir = dir, .first_extent = first, .n_extents = n, .len = len
	};
}

static void run(struct guest *g, unsigned int queue, struct wire_request *request, uint64_t session, uint32_t op,
		void *params, size_t len, uint32_t status)
{
	request->type = VIRTIO_ACCEL_T_OP;
	request->session = session;
	request->op = op;
	request->params = params;
	request->params_len = (uint32_t)len;
	op_params_encode(op_by_id(op), params, params);
	guest_call(g, queue, request, status);
}

static uint64_t answered_id(struct guest *g)
{
	const struct vaccel_key_about *about = guest_heap(g, AT_ANSWER);

	return le64toh(about->id);
}

uint64_t guest_import_as(struct guest *g, uint64_t session, uint32_t type, uint32_t rights, const void *key, size_t len,
			 unsigned int pieces)
{
	struct vaccel_key_import import = { .type = type, .rights = rights };
	struct wire_extent extents[9];
	struct wire_request request = {
		.n_args = 2,
		.n_extents = pieces + 1,
		.extents = extents,
		.args = { piece(VIRTIO_ACCEL_DIR_IN, 0, pieces, len),
			  piece(VIRTIO_ACCEL_DIR_OUT, pieces, 1, sizeof(struct vaccel_key_about)) },
	};

	assert_true(pieces < ARRAY_SIZE(extents) && len % pieces == 0);
	for (unsigned int i = 0; i < pieces; i++) {
		memcpy(guest_heap(g, AT_KEY + i * 2048), (const char *)key + i * (len / pieces), len / pieces);
		extents[i] = (struct wire_extent){ guest_heap_addr(g, AT_KEY + i * 2048), len / pieces };
	}
	extents[pieces] = (struct wire_extent){ guest_heap_addr(g, AT_ANSWER), sizeof(struct vaccel_key_about) };
	run(g, 0, &request, session, VACCEL_OP_KEY_IMPORT, &import, sizeof(import), VIRTIO_ACCEL_S_OK);
	memset(guest_heap(g, AT_KEY), 0, AT_ANSWER);
	return answered_id(g);
}

uint64_t guest_import(struct guest *g, uint64_t session, const void *key, size_t len, unsigned int pieces)
{
	return guest_import_as(g, session, VACCEL_KEY_AES, VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT, key, len, pieces);
}

void guest_sign(struct guest *g, uint64_t session, uint64_t key, uint32_t len)
{
	struct vaccel_akcipher params = { .key = key, .operation = VACCEL_AK_SIGN, .padding = VACCEL_RSA_RAW };
	const struct wire_extent extents[] = { { guest_heap_addr(g, AT_SOURCE), len },
					       { guest_heap_addr(g, AT_RESULT), len },
					       { guest_heap_addr(g, AT_ANSWER),
						 sizeof(struct vaccel_akcipher_answer) } };
	struct wire_request request = {
		.n_args = 3,
		.n_extents = 3,
		.extents = extents,
		.args = { piece(VIRTIO_ACCEL_DIR_IN, 0, 1, len), piece(VIRTIO_ACCEL_DIR_OUT, 1, 1, len),
			  piece(VIRTIO_ACCEL_DIR_OUT, 2, 1, sizeof(struct vaccel_akcipher_answer)) },
	};

	memset(guest_heap(g, AT_SOURCE), 0x11, len);
	*(uint8_t *)guest_heap(g, AT_SOURCE) = 0;
	run(g, 0, &request, session, VACCEL_OP_AKCIPHER, &params, sizeof(params), VIRTIO_ACCEL_S_OK);
}

uint64_t guest_key_open(struct guest *g, uint64_t session, const char *name)
{
	struct vaccel_key_open open = { .name = "" };
	const struct wire_extent extent = { guest_heap_addr(g, AT_ANSWER), sizeof(struct vaccel_key_about) };
	struct wire_request request = {
		.n_args = 1,
		.n_extents = 1,
		.extents = &extent,
		.args = { piece(VIRTIO_ACCEL_DIR_OUT, 0, 1, sizeof(struct vaccel_key_about)) },
	};

	strncpy(open.name, name, sizeof(open.name) - 1);
	run(g, 0, &request, session, VACCEL_OP_KEY_OPEN, &open, sizeof(open), VIRTIO_ACCEL_S_OK);
	return answered_id(g);
}

void guest_key_free(struct guest *g, uint64_t session, uint64_t key)
{
	struct vaccel_key_free params = { .key = key };
	struct wire_request request = { .n_args = 0 };

	run(g, 0, &request, session, VACCEL_OP_KEY_FREE, &params, sizeof(params), VIRTIO_ACCEL_S_OK);
}

static void cipher(struct guest *g, unsigned int queue, uint64_t session, uint64_t key, uint32_t direction,
		   uint64_t from, uint64_t to, uint32_t status)
{
	struct vaccel_cipher params = {
		.key = key, .mode = VACCEL_CBC, .direction = direction, .flags = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END
	};
	const struct wire_extent extents[] = { { guest_heap_addr(g, AT_IV), 16 },
					       { guest_heap_addr(g, from), BYTES },
					       { guest_heap_addr(g, to), BYTES } };
	struct wire_request request = {
		.n_args = 5,
		.n_extents = 3,
		.extents = extents,
		.args = { piece(VIRTIO_ACCEL_DIR_IN, 0, 1, 16), piece(VIRTIO_ACCEL_DIR_IN, 1, 0, 0),
			  piece(VIRTIO_ACCEL_DIR_IN, 1, 1, BYTES), piece(VIRTIO_ACCEL_DIR_OUT, 2, 1, BYTES),
			  piece(VIRTIO_ACCEL_DIR_IN, 3, 0, 0) },
	};

	run(g, queue, &request, session, VACCEL_OP_CIPHER, &params, sizeof(params), status);
}

void guest_crypt(struct guest *g, unsigned int queue, uint64_t session, uint64_t key, uint32_t status)
{
	uint8_t *source = guest_heap(g, AT_SOURCE), before[BYTES];

	for (size_t i = 0; i < BYTES; i++)
		before[i] = source[i] = (uint8_t)(i * 31 + i / 256);
	memset(guest_heap(g, AT_IV), 7, 16);
	cipher(g, queue, session, key, VACCEL_ENCRYPT, AT_SOURCE, AT_RESULT, status);
	if (status == VIRTIO_ACCEL_S_OK)
		assert_memory_not_equal(guest_heap(g, AT_RESULT), before, BYTES);
	memset(source, 0, BYTES);
	cipher(g, queue, session, key, VACCEL_DECRYPT, AT_RESULT, AT_SOURCE, status);
	if (status == VIRTIO_ACCEL_S_OK)
		assert_memory_equal(source, before, BYTES);
}
