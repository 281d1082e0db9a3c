/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker around one request, for the targets that take requests from their chains to their answers: a real engine with
 * plugin touch, one connection, one ring and one request, and what ring.c and worker.c would do, done one request at a time.
 */
#ifndef FUZZ_SERVE_H
#define FUZZ_SERVE_H

#include "daemon/worker.h"
#include "engine/internal.h"
#include "util/util.h"

extern struct worker serve_worker;
extern struct wconn serve_conn;
extern struct wring serve_ring;
extern struct request serve_request;

/* Made at the first call. settings: of the configuration, beside those that all have; NULL ends them. */
void serve_start(const struct device *device, const char *const *settings);
/* As the ring's thread would: decodes the chain, runs it, waits for the answer. check() after a request was decoded; may be NULL. */
enum { SERVE_RECOVERED = 1, SERVE_BEGUN = 2 };
void serve_chain(const struct vq_chain *chain, unsigned int flags, void (*check)(const struct vq_chain *chain));
/* Of the last: bytes that were written. */
uint32_t serve_written(void);
/* The connection's things go, and nothing may be left. */
void serve_end(void);

#endif
