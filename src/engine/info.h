/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to QUERY INFO: what an engine serves, in wire format. For the daemon and the local transport alike. */
#ifndef VACCEL_ENGINE_INFO_H
#define VACCEL_ENGINE_INFO_H

#include <stddef.h>

#include "engine/engine.h"

/* Writes at most len bytes of struct virtio_accel_info and its rows; returns the bytes that there are. */
size_t engine_info_encode(const struct engine *engine, void *data, size_t len);

/* Sets bit N of the 256 (little-endian words, as in struct virtio_accel_config) for each op N that is served. */
void engine_info_ops(const struct engine *engine, uint32_t ops_le[8]);

#endif
