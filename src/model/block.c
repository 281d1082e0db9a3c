/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See block.h. Decoding takes longer than all the rest for large pictures, and requests that run together have one
 * thread of the engine's, where alone they would have had one each. So helpers are started that take pictures in turn;
 * what that costs is little beside a picture that is worth it.
 */
#include "model/block.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

/* Encoded bytes of all pictures from which on helpers pay. */
#define WORTH_HELP   (64 << 10)
#define MOST_HELPERS 15

/* Pictures that several threads take in turn. */
struct filling {
	struct block *block;
	const struct vaccel_plugin_call *const *calls;
	int *results;
	size_t n;
	size_t next; /* atomic */
};

static int decode(const struct block *block, const struct vaccel_plugin_arg *arg, struct image *ret_image,
		  struct error *error)
{
	const struct model_settings *settings = &block->serve->settings;
	const struct image_limits limits = {
		.bytes = settings->max_bytes,
		.side = settings->max_side,
		.pixels = settings->max_pixels,
		.ms = settings->decode_ms,
	};

	return image_decode(arg->data, arg->len, &limits, block->model->rule.channels, ret_image, error);
}

/* Puts the picture of a request into its place in the block, or ends the request. */
static void fill_one(struct filling *f, size_t index)
{
	struct block *block = f->block;
	const struct vaccel_plugin_call *call = f->calls[index];
	struct image image = { 0 };
	struct error error = { 0 };
	uint64_t begin = now_ns(), decoded;
	int r = decode(block, &call->args[0], &image, &error);

	decoded = now_ns();
	if (r == 0)
		r = image_prepare(&image, &block->model->rule, block->data + index * block->item, block->item, &error);
	block->jobs[index] = (struct job){
		.call = call,
		.result = &f->results[index],
		.answer = {
			.width = image.width,
			.height = image.height,
			.decode_ns = decoded - begin,
			.prepare_ns = now_ns() - decoded,
		},
	};
	image_free(&image);
	if (r < 0)
		f->results[index] = serve_failed(call, r, &error);
}

static void *fill(void *arg)
{
	struct filling *f = arg;
	size_t index;

	while ((index = __atomic_fetch_add(&f->next, 1, __ATOMIC_RELAXED)) < f->n)
		fill_one(f, index);
	return NULL;
}

static size_t count_helpers(const struct filling *f)
{
	size_t bytes = 0, threads = f->block->serve->host->threads;
	cpu_set_t cpus;

	for (size_t i = 0; i < f->n; i++)
		bytes += f->calls[i]->args[0].len;
	if (f->n < 2 || bytes < WORTH_HELP)
		return 0;
	if (!threads)
		threads = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (size_t)CPU_COUNT(&cpus) : 1;
	return MIN(MIN(threads, f->n) - 1, MOST_HELPERS);
}

static void fill_all(struct filling *f)
{
	pthread_t helpers[MOST_HELPERS];
	size_t most = count_helpers(f), n = 0;

	while (n < most && pthread_create(&helpers[n], NULL, fill, f) == 0)
		n++;
	fill(f);
	while (n > 0)
		pthread_join(helpers[--n], NULL);
}

/* Moves those that are left together. */
static void close_gaps(struct block *block, const int *results, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const size_t to = block->n_jobs;

		if (results[i] != SERVE_OPEN)
			continue;
		if (to != i) {
			block->jobs[to] = block->jobs[i];
			memcpy(block->data + to * block->item, block->data + i * block->item, block->item);
		}
		block->n_jobs++;
	}
}

int block_fill(struct block *block, const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	struct filling f = { .block = block, .calls = calls, .results = results, .n = n };

	block->item = image_prepared_len(&block->model->rule);
	block->jobs = calloc(n, sizeof(*block->jobs));
	block->data = block->jobs ? aligned_alloc(64, (n * block->item + 63) / 64 * 64) : NULL;
	if (!block->data)
		return -ENOMEM;
	fill_all(&f);
	close_gaps(block, results, n);
	return 0;
}

void block_free(struct block *block)
{
	free(block->data);
	free(block->jobs);
}
