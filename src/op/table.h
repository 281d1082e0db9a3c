/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The op table: the one place that says which operations exist, and for each its number, name, parameters, arguments,
 * checks, and whether a request may run again after the worker died in it. Library, wire checks, engine, CLI,
 * documentation and fuzz seeds read it; adding an op is adding a row (and the functions that the row names).
 */
#ifndef VACCEL_OP_TABLE_H
#define VACCEL_OP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/ops.h>

#include "util/error.h"

#define OP_MAX_ARGS   16   /* of one request */
#define OP_MAX_PARAMS 1024 /* bytes */
#define OP_MAX_PARSED 2	   /* arguments of one request that are parsed */

struct op_request;

enum op_param_type {
	OP_PARAM_U32,
	OP_PARAM_U64,
	OP_PARAM_F64,
	OP_PARAM_TEXT, /* len bytes, padded with NUL; at least one */
};

/* One member of the op's parameter struct; on the wire at the same offset, little-endian. */
struct op_param {
	const char *name;
	enum op_param_type type;
	uint16_t offset;
	uint16_t len; /* bytes */
};

struct op_arg_desc {
	const char *name;
	uint32_t dirs;	/* set of 1u << VACCEL_{IN,OUT,INOUT} that are allowed */
	uint32_t align; /* bytes: of the address and of the offset in a buffer */
	bool parsed;	/* not only computed on: what reads it must have it to itself, see check_parsed */
	bool secret;	/* whoever copies it overwrites the copy */
};

/* A key as checks see it; its bytes are not there. */
struct op_key {
	uint32_t type; /* enum vaccel_key_type */
	uint32_t bits;
	uint32_t modes;	 /* set of 1 << enum vaccel_cipher_mode; 0: any */
	uint32_t rights; /* set of enum vaccel_key_right */
	bool held;	 /* by the host */
};

struct op_desc {
	uint32_t id;
	const char *name;    /* as users type it: "sgemm" */
	const char *summary; /* one line */
	const struct op_param *params;
	size_t n_params;
	size_t params_len; /* 0: none */
	const struct op_arg_desc *args;
	size_t n_args;
	bool repeats; /* the last argument may come more often than once */
	bool builtin; /* the engine serves it itself, no plugin does */
	/*
	 * Of an operation on a key, whose parameters begin with the key's id (uint64_t): whether the key is of a kind and has
	 * the rights that the request needs. -EINVAL, -EPERM. NULL: there is no key.
	 */
	int (*check_key)(const struct op_desc *op, const struct op_request *request, const struct op_key *key,
			 struct error *error);
	/* Everything about parameters and argument sizes that is not in the rows above. */
	int (*check)(const struct op_desc *op, const struct op_request *request, struct error *error);
	/*
	 * What is in the parsed arguments, where it must hold before a plugin sees them; NULL: plugins find out. Reads them, so
	 * that whoever wants to rely on it calls it with a copy that nobody else can write to.
	 */
	int (*check_parsed)(const struct op_desc *op, const struct op_request *request, struct error *error);
	/* Whether running it twice gives what running it once gives: outputs disjoint from inputs, no state consumed. */
	bool (*replayable)(const struct op_request *request);
	/*
	 * Whether bytes of an argument that is only written may be left as they were (gaps between rows, or nothing to
	 * do): who moves such an argument through other memory moves it both ways.
	 */
	bool (*partial)(const struct op_request *request);
	/* Rough work in operations, to tell small requests from large ones. */
	uint64_t (*cost)(const struct op_request *request);
};

/* Row index of the table; NULL past its end. */
const struct op_desc *op_at(size_t index);
/* NULL: unknown. */
const struct op_desc *op_by_id(uint32_t id);
const struct op_desc *op_by_name(const char *name);

/* The description of a request's argument, which is one of those that the op can have. */
static inline const struct op_arg_desc *op_arg_desc(const struct op_desc *op, size_t index)
{
	return &op->args[index < op->n_args ? index : op->n_args - 1];
}

/* Wire to native and back; dst and src hold op->params_len bytes and may be the same. */
void op_params_decode(const struct op_desc *op, void *dst, const void *src);
void op_params_encode(const struct op_desc *op, void *dst, const void *src);

#endif
