/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of a crypto device from their chain to their answer: the daemon's crypto_*.c with the engine, over guest memory
 * between fences, with a plugin that touches every byte it is given. Each is answered once, with a status that there is, where
 * it belongs; nothing that was decoded can still be changed by the guest; and whoever is gone leaves nothing behind.
 */
#include "crypto.h"
#include "fuzz.h"
#include "ground.h"
#include "serve.h"

#include <endian.h>

#define MAX_IDS	  8
#define MAX_TAIL  5000
#define MAX_PIECE 40

static uint64_t ids[MAX_IDS];
static unsigned int n_ids;

static uint64_t pick(uint8_t which)
{
	which %= n_ids + 2;
	return which == 0 ? 0 : which == 1 ? 0x700000001 : ids[which - 2];
}

/* In both headers. */
#define CONTROL_SESSION offsetof(struct virtio_crypto_op_ctrl_req, u)
#define DATA_SESSION	offsetof(struct virtio_crypto_op_data_req, header.session_id)

static size_t build(struct input *in, const struct fuzz_crypto *plan, uint8_t *message)
{
	size_t header = plan->header_len % (CRYPTO_CONTROL_HEADER + 8);
	size_t tail = plan->tail_len % MAX_TAIL;
	size_t at = plan->flags & FUZZ_CRYPTO_CONTROL ? CONTROL_SESSION : DATA_SESSION;
	uint64_t session = htole64(pick(plan->session));

	input_bytes(in, message, header);
	if (plan->flags & FUZZ_CRYPTO_SESSION && at + sizeof(session) <= header)
		memcpy(message + at, &session, sizeof(session));
	input_bytes(in, message + header, tail);
	return header + tail;
}

static size_t read_pieces(struct input *in, uint8_t n, struct iovec *iov, uint64_t *ret_len)
{
	size_t total = 0;

	for (uint8_t i = 0; i < n % MAX_PIECE; i++) {
		struct fuzz_piece piece;
		uint64_t len;
		void *data;

		input_bytes(in, &piece, sizeof(piece));
		data = vhost_memory_at(&serve_conn.memory, GROUND_A + piece.offset % (GROUND_LEN - 1), piece.len, &len);
		if (!data || !piece.len)
			continue;
		iov[total++] = (struct iovec){ data, len };
		*ret_len += len;
	}
	return total;
}

static bool inside(const void *at, uint64_t len, const struct iovec *iov, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at >= iov[i].iov_base && (const char *)at + len <= (const char *)iov[i].iov_base + iov[i].iov_len)
			return true;
	return false;
}

/* Each byte of it, as pieces may have been put together. */
static void check_pieces(const struct crypto_pieces *pieces, uint64_t len, const struct iovec *iov, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < pieces->n; i++) {
		const char *base = pieces->rows[i].iov_base;

		sum += pieces->rows[i].iov_len;
		for (size_t j = 0; j < pieces->rows[i].iov_len; j++)
			CHECK(inside(base + j, 1, iov, n));
	}
	CHECK(sum == len);
}

static void check_decoded(const struct vq_chain *chain)
{
	const struct crypto_request *crypto = &serve_request.crypto;
	const struct crypto_wire *wire = &crypto->wire;

	if (crypto->control) {
		CHECK(crypto->message && !inside(crypto->message, 1, chain->readable, chain->n_readable));
		if (wire->kind == CRYPTO_CREATE)
			CHECK((const char *)wire->create.key + wire->create.key_len <=
			      (const char *)crypto->message + crypto->message_len);
		return;
	}
	CHECK(wire->iv_len <= sizeof(crypto->iv));
	CHECK(inside(crypto->status, 1, chain->writable, chain->n_writable));
	check_pieces(&crypto->source, wire->src_len, chain->readable, chain->n_readable);
	if (wire->verifies)
		check_pieces(&crypto->destination, wire->dst_len, chain->readable, chain->n_readable);
	else
		check_pieces(&crypto->destination, wire->dst_len, chain->writable, chain->n_writable);
}

static void check_control(const uint8_t *answer, size_t room, uint32_t opcode)
{
	struct virtio_crypto_session_input input;
	uint32_t written = serve_written();
	uint8_t service = (uint8_t)(opcode >> 8);

	if (opcode == VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION || opcode == VIRTIO_CRYPTO_AKCIPHER_DESTROY_SESSION) {
		CHECK(written == 1);
		return;
	}
	CHECK(written == 0 || written == sizeof(input));
	/* In front of it there may be pieces of the guest's. */
	if (!written || room < sizeof(input))
		return;
	memcpy(&input, answer, sizeof(input));
	CHECK(le32toh(input.status) <= VIRTIO_CRYPTO_KEY_REJECTED);
	CHECK(!input.session_id == (input.status != VIRTIO_CRYPTO_OK));
	CHECK(input.status || service == VIRTIO_CRYPTO_SERVICE_CIPHER || service == VIRTIO_CRYPTO_SERVICE_AKCIPHER);
	if (!input.status && n_ids < MAX_IDS)
		ids[n_ids++] = le64toh(input.session_id);
}

/* Before it is served, which may write to pieces that are read, too. 0: the header is not whole. */
static uint32_t read_opcode(const struct vq_chain *chain)
{
	uint32_t opcode = 0;
	size_t have = 0;

	if (chain->readable_len < CRYPTO_CONTROL_HEADER)
		return 0;
	for (size_t i = 0; i < chain->n_readable && have < sizeof(opcode); i++) {
		size_t n = MIN(chain->readable[i].iov_len, sizeof(opcode) - have);

		memcpy((uint8_t *)&opcode + have, chain->readable[i].iov_base, n);
		have += n;
	}
	return le32toh(opcode);
}

static void check_answer(const struct fuzz_crypto *plan, const struct vq_chain *chain, uint32_t opcode,
			 const uint8_t *answer, size_t room)
{
	uint32_t written = serve_written();

	CHECK(written <= chain->writable_len &&
	      (written || chain->writable_len == 0 || plan->flags & FUZZ_CRYPTO_CONTROL));
	CHECK(!serve_request.crypto.message && !serve_request.crypto.more);
	if (plan->flags & FUZZ_CRYPTO_CONTROL && chain->n_writable == (room != 0) && chain->writable_len)
		check_control(answer, room, opcode);
	else if (!(plan->flags & FUZZ_CRYPTO_CONTROL) && room)
		CHECK(answer[room - 1] <= VIRTIO_CRYPTO_KEY_REJECTED);
}

static void next(struct input *in)
{
	uint8_t whole[CRYPTO_CONTROL_HEADER + 8 + MAX_TAIL];
	struct iovec readable[MAX_PIECE + 2], writable[MAX_PIECE + 1];
	struct vq_chain chain = { .readable = readable, .writable = writable };
	struct fuzz_crypto plan;
	uint8_t *message, *answer;
	size_t len, split;
	uint32_t opcode;

	input_bytes(in, &plan, sizeof(plan));
	len = build(in, &plan, whole);
	split = plan.split && len ? plan.split % len : len;
	/* As long as they are, for the sanitizer. */
	message = malloc(len + 1);
	answer = malloc(plan.room + 1u);
	CHECK(message && answer);
	memcpy(message, whole, len);
	memset(answer, 0xee, plan.room + 1u);
	chain.readable_len = len;
	readable[0] = (struct iovec){ message, split };
	readable[1] = (struct iovec){ message + split, len - split };
	chain.n_readable = 2 + read_pieces(in, plan.n_readable, readable + 2, &chain.readable_len);
	chain.n_writable = read_pieces(in, plan.n_writable, writable, &chain.writable_len);
	if (plan.room)
		writable[chain.n_writable++] = (struct iovec){ answer, plan.room };
	chain.writable_len += plan.room;
	opcode = read_opcode(&chain);
	serve_ring.index = plan.flags & FUZZ_CRYPTO_CONTROL ? device_crypto.n_queues(serve_worker.config) - 1u : 0;
	serve_chain(&chain,
		    (plan.flags & FUZZ_CRYPTO_RECOVERED ? SERVE_RECOVERED : 0) |
			    (plan.flags & FUZZ_CRYPTO_BEGUN ? SERVE_BEGUN : 0),
		    check_decoded);
	check_answer(&plan, &chain, opcode, answer, plan.room);
	free(message);
	free(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const settings[] = { "engine.queues=2", "limits.keys=4", NULL };
	struct input in = { data, size };

	serve_start(&device_crypto, settings);
	serve_conn.memory = *ground(&in, 0);
	n_ids = 0;
	for (int i = 0; in.left && i < 32; i++)
		next(&in);
	serve_end();
	return 0;
}
