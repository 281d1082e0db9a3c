/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private copies of arguments. What is parsed rather than computed on must not change between its check and its use: unless
 * it is private already, the engine copies it before a plugin sees it, and has the op table check the copy. Copies are
 * made by the thread that runs the request, just before, so that what waits takes no memory; they are freed when it ends.
 *
 * All copies of a tenant's arguments, those that the daemon gathers included, count against one limit.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"
#include "util/util.h"

#define COPY_ALIGN 64

void copy_init(struct engine *engine)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	/* Copies must not take all of the machine's memory. */
	engine->max_copies = MIN(engine->config->limits.gathered_bytes, machine / 2);
}

int engine_copy_take(struct engine *engine, unsigned int index, uint64_t len, struct error *error)
{
	if (len <= engine->max_copies) {
		if (__atomic_fetch_add(&engine->copies, len, __ATOMIC_RELAXED) <= engine->max_copies - len)
			return 0;
		__atomic_fetch_sub(&engine->copies, len, __ATOMIC_RELAXED);
	}
	return limit_refuse(state_limits(engine->state), LIMIT_GATHERED_BYTES, engine->max_copies, error, -EDQUOT,
			    "argument %u: %" PRIu64 " bytes to copy are too many at a time", index, len);
}

void engine_copy_give(struct engine *engine, uint64_t len)
{
	__atomic_fetch_sub(&engine->copies, len, __ATOMIC_RELAXED);
}

static int copy_arg(struct engine *engine, struct engine_request *request, uint32_t index)
{
	struct op_arg *arg = &request->op.args[index];
	struct engine_copy *copy = &request->copies[request->n_copies];
	uint64_t size;
	int r = engine_copy_take(engine, index, arg->len, &request->error);

	if (r < 0)
		return r;
	/* Its size is bounded by now, but for one that the limit lets pass at its very end. */
	if (add_u64(arg->len, COPY_ALIGN - 1, &size) ||
	    !(copy->data = aligned_alloc(COPY_ALIGN, size / COPY_ALIGN * COPY_ALIGN))) {
		engine_copy_give(engine, arg->len);
		return error_set(&request->error, -ENOMEM, "argument %u: no memory to copy %" PRIu64 " bytes", index,
				 arg->len);
	}
	memcpy(copy->data, arg->data, arg->len);
	copy->len = arg->len;
	copy->secret = op_arg_desc(op_by_id(request->op.op), index)->secret;
	request->n_copies++;
	request->copied += arg->len;
	request->copied_args |= 1u << index;
	arg->data = copy->data;
	return 0;
}

HOT int copy_parsed(struct engine *engine, struct engine_request *request, const struct route *route)
{
	uint32_t set = route->parsed & ~request->own_args & ~request->copied_args;
	int r = 0;

	for (uint32_t i = 0; r == 0 && set; i++, set >>= 1)
		if (set & 1 && request->op.args[i].len)
			r = copy_arg(engine, request, i);
	return r == 0 && route->op->check_parsed ? op_check_parsed(&request->op, &request->error) : r;
}

HOT void copies_free(struct engine *engine, struct engine_request *request)
{
	for (; request->n_copies > 0; request->n_copies--) {
		struct engine_copy *copy = &request->copies[request->n_copies - 1];

		if (copy->secret)
			explicit_bzero(copy->data, copy->len);
		engine_copy_give(engine, copy->len);
		free(copy->data);
	}
}
