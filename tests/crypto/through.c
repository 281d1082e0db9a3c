/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vectors of AES through libvaccel, by several threads at once, each with a session and keys of its own:
 *
 *	through [-p] [-s N] [-t THREADS] -v VECTORS URL
 *
 * out of place in plain memory, and in place in a registered buffer. -p: what the other end serves not at all is left out.
 * -s: every N-th vector only.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vaccel/vaccel.h>
#include "vector.h"

enum { MAX_THREADS = 16, MAX_SHOWN = 20, ROOM = 1 << 16 };

static struct vaccel_context *context;
static const char *path;
static bool partial;
static unsigned int n_threads = 4, step = 1;

/* A thread takes every n_threads-th of them. */
struct worker {
	unsigned int index;
	unsigned long done, left_out, failures;
	struct vaccel_session *session;
	struct vaccel_buffer *buffer;
};

static void failed(struct worker *w, const struct vector *v, const char *what, const char *why)
{
	if (w->failures++ < MAX_SHOWN)
		fprintf(stderr, "%s: %s: %s\n", v->origin, what, why);
}

static void run_one(struct worker *w, const struct vector *v, struct vaccel_key *key, bool in_place)
{
	uint8_t *memory = vaccel_buffer_data(w->buffer), tag[16] = { 0 };
	struct vaccel_message message = {
		.size = sizeof(message),
		.mode = v->mode,
		.direction = v->direction,
		.iv = v->iv.data,
		.iv_len = v->iv.len,
		.aad = v->aad.data,
		.aad_len = v->aad.len,
		.source = in_place ? memory : v->source.data,
		.destination = memory,
		.len = v->source.len,
		.tag = tag,
		.tag_len = v->tag.len,
	};
	int r;

	memset(memory, 0xa5, v->source.len);
	if (in_place)
		memcpy(memory, v->source.data, v->source.len);
	if (v->direction == VACCEL_DECRYPT)
		memcpy(tag, v->tag.data, v->tag.len);
	r = vaccel_cipher(key, &message);
	w->done++;
	if (r == -EOPNOTSUPP && partial)
		w->left_out++;
	else if (v->rejected && r != -EKEYREJECTED)
		failed(w, v, "a wrong tag", r < 0 ? vaccel_error() : "was taken");
	else if (!v->rejected && r < 0)
		failed(w, v, "fails", vaccel_error());
	else if (!v->rejected && memcmp(memory, v->result.data, v->result.len))
		failed(w, v, in_place ? "in place" : "out of place", "another result");
	else if (!v->rejected && memcmp(tag, v->tag.data, v->tag.len))
		failed(w, v, in_place ? "in place" : "out of place", "another tag");
}

static void run_vector(struct worker *w, const struct vector *v)
{
	struct vaccel_key *key = NULL;

	if (v->source.len > ROOM || vaccel_key_import(w->session, VACCEL_KEY_AES, 1u << v->mode, VACCEL_MAY_ALL,
						      v->key.data, v->key.len, &key) < 0) {
		failed(w, v, "key", vaccel_error());
		return;
	}
	run_one(w, v, key, false);
	run_one(w, v, key, true);
	if (vaccel_key_free(key) < 0)
		failed(w, v, "key", vaccel_error());
}

static void *worker_main(void *opaque)
{
	struct worker *w = opaque;
	struct vector_file file;
	struct vector v;
	unsigned long line = 0;
	int r = vector_open(&file, path);

	if (r < 0 || vaccel_session_open(context, &w->session) < 0 ||
	    vaccel_buffer_alloc(w->session, ROOM, &w->buffer) < 0) {
		fprintf(stderr, "%s: %s, %s\n", path, r < 0 ? strerror(-r) : "open", vaccel_error());
		w->failures++;
		return NULL;
	}
	while ((r = vector_next(&file, &v)) > 0)
		if (line++ % step == 0 && (line - 1) / step % n_threads == w->index)
			run_vector(w, &v);
	w->failures += r < 0;
	vector_close(&file);
	vaccel_session_close(w->session);
	return NULL;
}

static int report(const struct worker *workers)
{
	unsigned long done = 0, left_out = 0, failures = 0;

	for (unsigned int i = 0; i < n_threads; i++) {
		done += workers[i].done;
		left_out += workers[i].left_out;
		failures += workers[i].failures;
	}
	printf("%s: %lu requests, %lu left out, %lu failures\n", path, done, left_out, failures);
	return failures || done == left_out;
}

int main(int argc, char **argv)
{
	struct vaccel_context_options options = { .size = sizeof(options) };
	struct worker workers[MAX_THREADS] = { 0 };
	pthread_t threads[MAX_THREADS];
	int option, r;

	while ((option = getopt(argc, argv, "ps:t:v:")) != -1)
		if (option == 'p')
			partial = true;
		else if (option == 's')
			step = (unsigned int)atoi(optarg);
		else if (option == 't')
			n_threads = (unsigned int)atoi(optarg);
		else
			path = option == 'v' ? optarg : NULL;
	if (optind + 1 != argc || !path || !step || !n_threads || n_threads > MAX_THREADS)
		return 2;
	options.transport = argv[optind];
	if (vaccel_context_new(&options, &context) < 0) {
		fprintf(stderr, "%s\n", vaccel_error());
		return 1;
	}
	for (unsigned int i = 0; i < n_threads; i++) {
		workers[i].index = i;
		if (pthread_create(&threads[i], NULL, worker_main, &workers[i]))
			abort();
	}
	for (unsigned int i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	r = report(workers);
	vaccel_context_free(context);
	return r;
}
