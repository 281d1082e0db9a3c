/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request as every layer but the wire sees it: operation, native parameters, arguments as memory of this process.
 * Owned by whoever embeds it; nothing in it is allocated.
 */
#ifndef VACCEL_OP_REQUEST_H
#define VACCEL_OP_REQUEST_H

#include <stdint.h>

#include "op/table.h"

struct op_arg {
	void *data; /* NULL only when len is 0, or for a buffer range before it is resolved */
	uint64_t len;
	uint32_t dir;	 /* enum vaccel_dir */
	uint64_t buffer; /* not 0: id of the registered buffer that data lies in */
	uint64_t offset; /* in that buffer */
};

struct op_request {
	uint32_t op;
	uint32_t deadline_ms; /* 0: none */
	uint64_t session;
	uint32_t n_args;
	uint32_t params_len;
	struct op_arg args[OP_MAX_ARGS];
	_Alignas(16) uint8_t params[OP_MAX_PARAMS]; /* native byte order */
};

/*
 * Checks a request against its row of the table: op known, parameter size, argument count, directions, then op->check.
 * Looks at addresses and lengths only, never through args[].data.
 * -EOPNOTSUPP unknown op; -EINVAL, also for a misaligned argument; -ERANGE argument too small; -E2BIG sizes overflow.
 */
int op_check(const struct op_request *request, struct error *error);

/*
 * Checks what is in the parsed arguments of a request that passed op_check() and whose arguments all have addresses. What it
 * accepts stays right only where nobody else can write to them.
 */
int op_check_parsed(const struct op_request *request, struct error *error);

/* Whether any argument that is written shares memory with another one. */
bool op_args_overlap(const struct op_request *request);

#endif
