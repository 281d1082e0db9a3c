/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin opencl beyond its results: the kernel cache, registered buffers, the thread model, and errors at the start.
 *
 *	opencl CACHE-DIR PLUGIN.so BINARY
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness.h"

enum { SIZE = 48, ROUNDS = 40, THREADS = 3 };

static const char *cache, *path;

/* C := A * B with A all value and B all 1, inside one block of memory; checks the result. */
static int multiply(struct harness *h, void *session, float *block, uint64_t buffer, float value)
{
	const size_t n = (size_t)SIZE * SIZE, bytes = n * sizeof(float);
	struct harness mine = *h;
	const struct vaccel_gemm gemm = {
		.order = VACCEL_ROW_MAJOR,
		.transa = VACCEL_NO_TRANS,
		.transb = VACCEL_NO_TRANS,
		.m = SIZE,
		.n = SIZE,
		.k = SIZE,
		.lda = SIZE,
		.ldb = SIZE,
		.ldc = SIZE,
		.alpha = 1,
	};
	struct vaccel_plugin_arg args[3];
	size_t i;
	int r;

	for (i = 0; i < 3; i++)
		args[i] = (struct vaccel_plugin_arg){
			.data = block + i * n,
			.len = bytes,
			.dir = i == 2 ? 2 : 1,
			.buffer = buffer,
			.buffer_data = buffer ? block : NULL,
			.buffer_len = buffer ? 3 * bytes : 0,
		};
	for (i = 0; i < n; i++) {
		block[i] = value;
		block[n + i] = 1;
	}
	mine.session = session;
	mine.report = (struct vaccel_plugin_report){ .text = mine.error, .len = sizeof(mine.error) };
	r = harness_run(&mine, VACCEL_OP_SGEMM, &gemm, sizeof(gemm), args, 3);
	for (i = 0; i < n && !r; i++)
		if (block[2 * n + i] != value * SIZE)
			r = -EBADMSG;
	return r;
}

/* What the host writes between operations is seen, and an id may be used again once its buffer is gone. */
static void check_registered(struct harness *h)
{
	const size_t bytes = 3 * (size_t)SIZE * SIZE * sizeof(float);
	float *first = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	float *second = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	int i;

	if (!first || !second)
		abort();
	for (i = 0; i < 5; i++)
		CHECK(!multiply(h, h->session, first, 7, (float)i), "registered buffer, value %d", i);
	h->plugin->buffer_gone(7);
	h->plugin->buffer_gone(7); /* unknown by now */
	memset(first, 0, bytes);
	for (i = 5; i < 10; i++)
		CHECK(!multiply(h, h->session, second, 7, (float)i), "another buffer with the id, value %d", i);
	for (i = 0; i < (int)(bytes / sizeof(float)); i++)
		if (!CHECK(first[i] == 0, "a buffer that went away was written to"))
			break;
	h->plugin->buffer_gone(7);
	free(first);
	free(second);
}

struct worker {
	pthread_t thread;
	struct harness *h;
	unsigned int index;
	int result;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	float *block = aligned_alloc(4096, 28672 * sizeof(float));
	char error[256] = "";
	struct vaccel_plugin_report report = { .text = error, .len = sizeof(error) };
	void *session = NULL;
	int i;

	w->result = block ? w->h->plugin->open(&session, &report) : -ENOMEM;
	for (i = 0; i < ROUNDS && !w->result; i++)
		w->result = multiply(w->h, session, block, i & 1 ? 100 + w->index : 0, (float)(i + (int)w->index));
	w->h->plugin->buffer_gone(100 + w->index);
	if (session)
		w->h->plugin->close(session);
	free(block);
	return NULL;
}

/* Sessions in parallel, as the declared thread model allows. */
static void check_threads(struct harness *h)
{
	struct worker workers[THREADS];
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .h = h, .index = i };
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			abort();
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		CHECK(!workers[i].result, "session %u in parallel: error %d", i, workers[i].result);
	}
}

/* Starts the plugin in a new process; the error as a positive number. An OpenCL library keeps its environment for life. */
static int start_elsewhere(const char *folder, const char *key)
{
	char copy[512];
	char *keys[] = { copy, NULL };
	struct harness h;
	int status = 0, r;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid) {
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			abort();
		return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
	}
	snprintf(copy, sizeof(copy), "%s", key ? key : "");
	r = harness_open(&h, path);
	if (!r)
		r = harness_start(&h, folder, 0, key ? keys : NULL);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", key ? key : "no key", h.error);
	_exit(r < 0 && !*h.error ? 254 : -r);
}

static void check_errors(const char *binary)
{
	char list[600];

	CHECK(start_elsewhere(cache, "device=no such device") == ENODEV, "no such device");
	CHECK(start_elsewhere(cache, "platform=no such platform") == ENODEV, "no such platform");
	CHECK(start_elsewhere(cache, "type=none") == EINVAL, "no such type");
	CHECK(start_elsewhere(cache, "memory=none") == EINVAL, "no such memory");
	CHECK(start_elsewhere(cache, "cache=none") == EINVAL, "no such cache");
	CHECK(start_elsewhere(cache, "binary=/nonexistent") == ENOENT, "no such binary");
	CHECK(start_elsewhere(cache, "binary=/dev/null") == EINVAL, "a binary that is no file");
	snprintf(list, sizeof(list), "binary=%s", path);
	CHECK(start_elsewhere(cache, list) == ENOEXEC, "a file that is no binary");
	snprintf(list, sizeof(list), "binary=%s:%s", binary, binary);
	CHECK(start_elsewhere(cache, list) == 0, "a list of binaries");
	setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
	CHECK(start_elsewhere(cache, NULL) == ENODEV, "no OpenCL at all");
	unsetenv("OCL_ICD_VENDORS");
}

/* The second start finds its kernels: it compiles none. */
static void check_cache(void)
{
	const unsigned int n = harness_count_files(cache, ".so");
	int r = start_elsewhere(cache, NULL);

	CHECK(!r, "second start: error %d", r);
	CHECK(harness_count_files(cache, ".so") == n, "the second start compiled: %u kernels before, %u now", n,
	      harness_count_files(cache, ".so"));
	/* Only PoCL keeps kernels in files that end so. */
	if (!n)
		printf("the device keeps no kernels in %s\n", cache);
}

int main(int argc, char **argv)
{
	struct harness h;
	int r;

	if (argc != 4)
		return 2;
	cache = argv[1];
	path = argv[2];
	r = start_elsewhere(cache, NULL);
	if (r == ENODEV) {
		printf("skipped: there is no OpenCL device\n");
		return SKIPPED;
	}
	CHECK(!r, "first start: error %d", r);
	check_cache();
	check_errors(argv[3]);
	r = harness_open(&h, path);
	if (!r)
		r = harness_start(&h, cache, 0, NULL);
	if (CHECK(!r, "start: error %d: %s", r, h.error)) {
		check_registered(&h);
		check_threads(&h);
	}
	harness_stop(&h);
	return harness_end();
}
