/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An input of target request: a row of struct fuzz_request. A raw one is followed by raw_len bytes, which are the message
 * as it is; any other by n_args times struct fuzz_arg with its extents, and by its parameters, from which the target makes
 * a message whose counts are right.
 */
#ifndef FUZZ_REQUEST_H
#define FUZZ_REQUEST_H

#include <stdint.h>

enum {
	FUZZ_REQUEST_RAW = 1,
	FUZZ_REQUEST_RECOVERED = 2, /* a worker before took it */
	FUZZ_REQUEST_BEGUN = 4,	    /* and a plugin began it */
	FUZZ_REQUEST_WRITE =
		8, /* is none: raw_len bytes that follow are put into the guest's memory, from offset op on */
	/* Its parameters begin with the id of a key: the first byte says which, as object below, of those that there are. */
	FUZZ_REQUEST_KEY = 16,
};

struct fuzz_request {
	uint8_t flags;
	uint8_t type;
	uint8_t session; /* 0: none, 1: one that never was, then those that were opened */
	uint8_t object;	 /* the same of buffers */
	uint32_t op;
	uint16_t deadline_ms;
	uint16_t params_len;
	uint8_t n_args;
	uint8_t room; /* for the answer, in pieces of 8 bytes */
	uint16_t raw_len;
};

struct fuzz_arg {
	uint8_t kind;
	uint8_t dir;
	uint8_t n_extents;
	uint8_t buffer; /* as object above */
	uint32_t offset;
	uint64_t len; /* 0: that of the extents */
};

struct fuzz_extent {
	uint32_t addr;
	uint32_t len;
};

#endif
