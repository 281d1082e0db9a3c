/* SPDX-License-Identifier: Apache-2.0 */
/* See info.h. */
#include "engine/info.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "uapi/virtio_accel.h"
#include "util/util.h"

/* Copies what of [at, at + size) still fits into len bytes. */
static void put(void *data, size_t len, size_t at, const void *from, size_t size)
{
	if (at < len)
		memcpy((char *)data + at, from, MIN(size, len - at));
}

size_t engine_info_encode(const struct engine *engine, void *data, size_t len)
{
	struct virtio_accel_info info = { 0 };
	struct engine_op_info row;
	size_t at = sizeof(info);
	uint32_t n = 0;

	for (; engine_op_info(engine, n, &row); n++) {
		struct virtio_accel_op_info out = { .op = htole32(row.op) };

		snprintf(out.name, sizeof(out.name), "%s", row.name);
		snprintf(out.plugin, sizeof(out.plugin), "%s", row.plugin);
		snprintf(out.hardware, sizeof(out.hardware), "%s", row.hardware);
		put(data, len, at, &out, sizeof(out));
		at += sizeof(out);
	}
	info.n_ops = htole32(n);
	snprintf(info.version, sizeof(info.version), "%s", VACCEL_BUILD_VERSION);
	snprintf(info.host, sizeof(info.host), "%s", engine_host(engine));
	put(data, len, 0, &info, sizeof(info));
	return at;
}

void engine_info_ops(const struct engine *engine, uint32_t ops_le[8])
{
	struct engine_op_info row;

	memset(ops_le, 0, 8 * sizeof(*ops_le));
	for (size_t i = 0; engine_op_info(engine, i, &row); i++)
		if (*row.plugin && row.op < 256)
			ops_le[row.op / 32] |= htole32(1u << row.op % 32);
}
