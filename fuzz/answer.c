/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program over shm: reads of a daemon that may be anything. The first byte says what the rest is: a response, a used
 * ring, or what a back-end says to a front-end that connects (bytes on the socket, without their requests).
 */
#include "fuzz.h"

#include <endian.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "op/wire.h"
#include "util/util.h"
#include "vhost/frontend.h"

static void response(struct input *in)
{
	struct wire_response r;
	uint8_t *copy = malloc(in->left ? in->left : 1);
	size_t len = in->left;

	CHECK(copy);
	input_bytes(in, copy, len);
	if (wire_decode_response(copy, len, &r) == 0) {
		uint32_t sum = 0;

		for (uint32_t i = 0; i < r.detail_len; i++)
			sum += (uint8_t)r.detail[i];
		CHECK(sum <= r.detail_len * 255u);
		CHECK(wire_errno(r.status) <= 0);
	}
	free(copy);
}

/* The device writes anything anywhere between the driver's steps. */
static void ring(struct input *in)
{
	static _Alignas(64) uint8_t memory[1024];
	bool event_idx = input_u8(in) & 1;
	struct dring_table table = { .addr = 4096 };
	struct vring_desc indirect[4];
	uint32_t n_out = 0, len;
	uint8_t tokens[16];
	struct error error;
	struct dring r;
	void *token;
	int popped;

	memset(memory, 0, sizeof(memory));
	CHECK(dring_bytes(16) <= sizeof(memory) && dring_init(&r, memory, 16, event_idx) == 0);
	table.desc = indirect;
	while (in->left) {
		const struct dring_buf bufs[] = { { 0x1000, 64, false }, { 0x2000, 64, true }, { 0x3000, 8, true } };
		uint8_t what = input_u8(in);

		switch (what % 5) {
		case 0:
			if (dring_add(&r, bufs, 1 + what / 5 % 3, what & 0x80 ? &table : NULL, &tokens[n_out % 16]) ==
			    0)
				n_out++;
			break;
		case 1:
			dring_publish(&r);
			break;
		case 2:
			popped = dring_pop(&r, &token, &len, &error);
			if (popped > 0) {
				CHECK((uint8_t *)token >= tokens && (uint8_t *)token < tokens + 16 && n_out > 0);
				n_out--;
			}
			break;
		case 3:
			dring_arm(&r);
			break;
		case 4:
			memory[input_u16(in) % sizeof(memory)] = input_u8(in);
			break;
		}
		CHECK(n_out <= 16);
	}
	while (dring_detach(&r))
		n_out--;
	CHECK(n_out == 0);
	dring_fini(&r);
}

/* Every question that a front-end asks, as long as the answers last. */
static void converse(struct frontend *f)
{
	struct frontend_region *region = NULL;
	struct vhost_inflight inflight;
	uint8_t config[64], status;
	uint32_t request;
	uint16_t base;
	struct dring r;
	int fd = -1, event = eventfd(0, EFD_CLOEXEC);

	frontend_get_config(f, 0, config, sizeof(config), NULL);
	if (frontend_region_new(f, 8192, &region, NULL) == 0) {
		CHECK(dring_init(&r, region->data, 16, frontend_has_feature(f, VHOST_F_EVENT_IDX)) == 0);
		frontend_queue_start(f, 0, &r, region, event, event, NULL);
		dring_fini(&r);
	}
	frontend_get_status(f, &status, NULL);
	if (frontend_get_inflight(f, 1, 16, &inflight, &fd, NULL) == 0)
		close(fd);
	while (frontend_backend_request(f, &request, NULL) > 0)
		;
	frontend_get_vring_base(f, 0, &base, NULL);
	frontend_region_free(f, region, NULL);
	frontend_reset_device(f, NULL);
	close(event);
}

static void back_end(struct input *in)
{
	const struct frontend_options options = { .features = FRONTEND_RING_FEATURES | 7,
						  .protocol_features = FRONTEND_PROTOCOL_FEATURES,
						  .timeout_ms = 1000 };
	struct frontend *f = NULL;
	struct error error = { 0 };
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	while (in->left) {
		ssize_t n = send(pair[1], in->at, in->left, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			break;
		in->at += n;
		in->left -= (size_t)n;
	}
	shutdown(pair[1], SHUT_WR);
	if (frontend_attach(pair[0], &options, &f, &error) == 0)
		converse(f);
	else
		CHECK(error.text[0]);
	frontend_free(f);
	close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	switch (input_u8(&in) % 3) {
	case 0:
		response(&in);
		break;
	case 1:
		ring(&in);
		break;
	case 2:
		back_end(&in);
		break;
	}
	return 0;
}
