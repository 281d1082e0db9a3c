/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times of a request's stages on this side of the way (op/stage.h), for contexts that ask for them: transports leave
 * marks in the request, and trace_done() adds up what lies between them. Without trace a mark costs one test of a flag.
 */
#ifndef VACCEL_TRANSPORT_TRACE_H
#define VACCEL_TRANSPORT_TRACE_H

#include "transport/transport.h"
#include "util/util.h"

/* Marks the time now. A request may be marked by a thread while another completes it. */
static inline void trace_mark(const struct transport *transport, uint64_t *at)
{
	if (__builtin_expect(transport->trace, 0))
		__atomic_store_n(at, now_ns(), __ATOMIC_RELAXED);
}

/* A call begins. */
static inline void trace_begin(const struct transport *transport, struct transport_request *request)
{
	if (__builtin_expect(transport->trace, 0))
		request->times = (struct transport_times){ .began = now_ns() };
}

/* The request's result is there for its caller. */
static inline void trace_done(struct transport *transport, struct transport_request *request)
{
	if (__builtin_expect(transport->trace, 0))
		trace_add(transport, request);
}

#endif
