/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin openblas: SGEMM and DGEMM on the CPU with OpenBLAS.
 *
 * Threads: OpenBLAS built for POSIX threads or OpenMP may be called from any thread. Operations that run with one
 * thread run beside each other; those with several take turns inside OpenBLAS. The sequential build makes no such
 * promise, and which build is there is the administrator's choice at run time, so with that one `serial` is held.
 *
 * The cases that read neither A nor B are not handed on: OpenBLAS's kernels decide by themselves whether they look at
 * NaN there, and the operation's definition does not leave that open.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cblas.h>
#include <vaccel/plugin.h>
#include "gemm.h"

enum { MAX_THREADS = 1024 };

static struct {
	int threads; /* wanted; 0: OpenBLAS's own choice */
	bool exclusive;
	char hardware[96];
} state;

static pthread_mutex_t serial = PTHREAD_MUTEX_INITIALIZER;

/* The largest number that OpenBLAS takes for a dimension. */
static const uint64_t max_dim = sizeof(blasint) == 4 ? INT32_MAX : INT64_MAX;

/* What one operation hands to OpenBLAS. */
struct dims {
	blasint m, n, k, lda, ldb, ldc;
};

static int narrow(const struct vaccel_plugin_call *call, const char *name, uint64_t value, blasint *ret)
{
	if (value > max_dim)
		return vaccel_plugin_error(&call->report, -E2BIG, "GEMM: %s = %llu is more than OpenBLAS takes (%llu)",
					   name, (unsigned long long)value, (unsigned long long)max_dim);
	*ret = (blasint)value;
	return 0;
}

static int dims_init(const struct vaccel_plugin_call *call, const struct vaccel_gemm *g, struct dims *ret)
{
	int r;

	(void)((r = narrow(call, "m", g->m, &ret->m)) || (r = narrow(call, "n", g->n, &ret->n)) ||
	       (r = narrow(call, "k", g->k, &ret->k)) || (r = narrow(call, "lda", g->lda, &ret->lda)) ||
	       (r = narrow(call, "ldb", g->ldb, &ret->ldb)) || (r = narrow(call, "ldc", g->ldc, &ret->ldc)));
	return r;
}

static void enter(void)
{
	if (state.exclusive)
		pthread_mutex_lock(&serial);
}

static void leave(void)
{
	if (state.exclusive)
		pthread_mutex_unlock(&serial);
}

static int sgemm(const struct vaccel_plugin_call *call)
{
	const struct vaccel_gemm *g = call->params;
	const struct vaccel_plugin_arg *arg = call->args;
	struct dims d = { 0 };
	int r;

	if (gemm_is_scaling(g, (float)g->alpha)) {
		gemm_float(g, arg[0].data, arg[1].data, arg[2].data);
		return 0;
	}
	r = dims_init(call, g, &d);
	if (r < 0)
		return r;
	enter();
	cblas_sgemm((CBLAS_ORDER)g->order, (CBLAS_TRANSPOSE)g->transa, (CBLAS_TRANSPOSE)g->transb, d.m, d.n, d.k,
		    (float)g->alpha, arg[0].data, d.lda, arg[1].data, d.ldb, (float)g->beta, arg[2].data, d.ldc);
	leave();
	return 0;
}

static int dgemm(const struct vaccel_plugin_call *call)
{
	const struct vaccel_gemm *g = call->params;
	const struct vaccel_plugin_arg *arg = call->args;
	struct dims d = { 0 };
	int r;

	if (gemm_is_scaling(g, g->alpha)) {
		gemm_double(g, arg[0].data, arg[1].data, arg[2].data);
		return 0;
	}
	r = dims_init(call, g, &d);
	if (r < 0)
		return r;
	enter();
	cblas_dgemm((CBLAS_ORDER)g->order, (CBLAS_TRANSPOSE)g->transa, (CBLAS_TRANSPOSE)g->transb, d.m, d.n, d.k,
		    g->alpha, arg[0].data, d.lda, arg[1].data, d.ldb, g->beta, arg[2].data, d.ldc);
	leave();
	return 0;
}

static int load(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report)
{
	state.threads = host->threads > MAX_THREADS ? MAX_THREADS : (int)host->threads;
	return 0;
}

static int config(const char *key, const char *value, struct vaccel_plugin_report *report)
{
	char *end = NULL;
	long n;

	if (strcmp(key, "threads"))
		return vaccel_plugin_error(report, -EINVAL, "openblas: unknown key '%s'", key);
	errno = 0;
	n = strtol(value, &end, 10);
	if (errno || end == value || *end || n < 0 || n > MAX_THREADS)
		return vaccel_plugin_error(report, -EINVAL, "openblas: threads = '%s' is not a number from 0 to %d",
					   value, MAX_THREADS);
	state.threads = (int)n;
	return 0;
}

static int ready(struct vaccel_plugin_report *report)
{
	int n;

	if (state.threads)
		openblas_set_num_threads(state.threads);
	state.exclusive = openblas_get_parallel() == OPENBLAS_SEQUENTIAL;
	n = openblas_get_num_threads();
	snprintf(state.hardware, sizeof(state.hardware), "CPU (%s, %d thread%s)", openblas_get_corename(), n,
		 n == 1 ? "" : "s");
	return 0;
}

static const char *hardware(void)
{
	return state.hardware;
}

static const struct vaccel_plugin_key keys[] = {
	{ "threads", "CPU threads for one operation: 0 (OpenBLAS decides) to 1024; default: the daemon's setting" },
};

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(SGEMM, sgemm),
	VACCEL_IMPL(DGEMM, dgemm),
};

/* It asks for its work memory to lie near the processor that uses it; without, it works all the same. */
static const char *const calls[] = { "mbind", "get_mempolicy" };

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "openblas",
	.version = VACCEL_BUILD_VERSION,
	.description = "SGEMM and DGEMM on the CPU with OpenBLAS",
	.threads = VACCEL_THREADS_ANY,
	.keys = keys,
	.n_keys = sizeof(keys) / sizeof(keys[0]),
	.ops = ops,
	.n_ops = sizeof(ops) / sizeof(ops[0]),
	.load = load,
	.config = config,
	.ready = ready,
	.hardware = hardware,
	.calls = calls,
	.n_calls = sizeof(calls) / sizeof(calls[0]),
};
VACCEL_PLUGIN(plugin);
