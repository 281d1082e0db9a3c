/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stages of a request's way: one table of the names by which library, daemon, vaccel stats, the metrics and the
 * documentation call them. In the order in which a request passes them.
 */
#ifndef VACCEL_OP_STAGE_H
#define VACCEL_OP_STAGE_H

#include <stddef.h>

enum op_stage {
	/* In the caller's thread, in libvaccel. */
	STAGE_ENCODE,
	STAGE_SUBMIT,
	STAGE_WAIT,
	STAGE_TAKE,
	/* In the daemon. */
	STAGE_FETCH,
	STAGE_RESOLVE,
	STAGE_QUEUE,
	STAGE_PLUGIN,
	STAGE_ANSWER,
	STAGE_TOTAL,
	STAGE_SIGNAL,
	STAGE_N,
};

#define STAGE_FIRST_OF_DAEMON STAGE_FETCH
#define STAGE_N_OF_DAEMON     (STAGE_N - STAGE_FIRST_OF_DAEMON)

struct op_stage_desc {
	const char *name;
	const char *where; /* "library" or "daemon" */
	const char *what;  /* what happens in it, from when to when */
};

/* NULL past the end. */
const struct op_stage_desc *op_stage_at(size_t stage);

#endif
