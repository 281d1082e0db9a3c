/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accel device, docs/virtio-accel.md: accel.c says what front-ends are told, accel_request.c takes requests from their
 * descriptor chains and answers them, accel_control.c does what is no operation.
 */
#ifndef VACCEL_DAEMON_ACCEL_H
#define VACCEL_DAEMON_ACCEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/config.h"
#include "op/wire.h"
#include "uapi/virtio_accel.h"
#include "util/error.h"
#include "vhost/vring.h"

struct request;

/* Room for the text of a response, and the pieces that response and text may be scattered over. */
#define RESPONSE_MAX	(sizeof(struct virtio_accel_resp) + ERROR_TEXT)
#define RESPONSE_PIECES 40
#define MESSAGE_INLINE	1024

/* Its part of a struct request. */
struct accel_request {
	struct iovec response[RESPONSE_PIECES];
	size_t n_response;
	const uint8_t *message;
	uint8_t inline_message[MESSAGE_INLINE];
	struct wire_request wire;
};

/* ---- accel.c ---- */
void accel_wire_limits(const struct config *config, struct wire_limits *ret_limits);
/* Longest device-readable part of a request. */
size_t accel_max_message(const struct config *config);

/* ---- accel_request.c: device.h says what these do ---- */
int accel_decode(struct request *request, const struct vq_chain *chain, struct error *error);
void accel_run(struct request *request);
void accel_answer(struct request *request, int result, uint64_t value, const struct error *error);
/* Copies between private memory and an argument's extents. Guest memory must not change meanwhile (memory_lock). */
int accel_copy(struct request *request, const struct wire_arg *arg, void *data, uint64_t len, bool to_guest,
	       struct error *error);

/* ---- accel_control.c ---- */
void accel_control(struct request *request);
/* The part that waits, in the helper thread. */
void accel_control_deferred(struct request *request);

#endif
