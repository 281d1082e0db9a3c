/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures that lie side by side in one block of memory, as the model wants them. See block.c. */
#ifndef VACCEL_MODEL_BLOCK_H
#define VACCEL_MODEL_BLOCK_H

#include "model/serve.h"

/* A request whose picture lies in the block. */
struct job {
	const struct vaccel_plugin_call *call;
	int *result;
	struct vaccel_classified answer; /* of the picture, times; the rest is for who runs the model */
};

struct block {
	const struct serve *serve;
	const struct model *model;
	struct job *jobs;
	size_t n_jobs; /* pictures in data */
	size_t item;   /* bytes of one */
	uint8_t *data; /* begins at a multiple of 64 bytes */
};

/*
 * Decodes and prepares the pictures of n requests. Those that cannot be end with their error; the others are the
 * block's jobs, in the order of the calls, and their results stay as they are: SERVE_OPEN. Ends with block_free(), also
 * after a failure. -ENOMEM: there is no memory for the block.
 */
int block_fill(struct block *block, const struct vaccel_plugin_call *const *calls, int *results, size_t n);
void block_free(struct block *block);

#endif
