/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the target `state` and its seeds agree on: the limits, and which parts of the state's memory an input begins with, in
 * which order. What lies between them, most of the pool of extents and of the places for keys, is zero.
 */
#ifndef FUZZ_TENANT_H
#define FUZZ_TENANT_H

#include "engine/state_internal.h"
#include "util/util.h"

static const struct config_limits tenant_limits = {
	.sessions = 8,
	.buffers = 8,
	.keys = 4,
	.requests = 8,
	.connections = 4,
	.buffer_bytes = 1 << 20,
	.request_bytes = 1 << 20,
	.registered_bytes = 1 << 20,
	.max_extents = 64,
};

#define TENANT_PARTS (2 + 4)

/* Part index of the memory. */
static inline uint8_t *tenant_part(uint8_t *memory, size_t index, size_t *ret_len)
{
	const struct config_limits *l = &tenant_limits;
	size_t extents = sizeof(struct layout) + l->sessions * sizeof(struct session_row) +
			 l->buffers * sizeof(struct buffer_row);

	if (index == 0) {
		*ret_len = extents + 16 * sizeof(struct state_extent);
		return memory;
	}
	if (index == 1) {
		*ret_len = l->keys * sizeof(struct key_row);
		return memory + extents + MAX(l->buffers * 64, l->max_extents) * sizeof(struct state_extent);
	}
	*ret_len = 16;
	return memory + state_size(l) - (l->keys + 2 - index) * VACCEL_KEY_BYTES;
}

#endif
