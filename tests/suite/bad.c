/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mistakes: each is answered with its error and a sentence that names object, action and cause, whether the call waits or
 * not, nothing of the caller's memory is written, and the next request works.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "suite.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A good request, 4 x 3 times 3 x 5, for a mistake to be made in. */
struct attempt {
	struct vaccel_gemm p;
	float a[12], b[15], c[20];
	struct vaccel_arg args[4];
	struct vaccel_call call;
};

static void init(struct attempt *x)
{
	memset(x, 0, sizeof(*x));
	x->p = (struct vaccel_gemm){ .order = VACCEL_ROW_MAJOR,
				     .transa = VACCEL_NO_TRANS,
				     .transb = VACCEL_NO_TRANS,
				     .m = 4,
				     .n = 5,
				     .k = 3,
				     .lda = 3,
				     .ldb = 5,
				     .ldc = 5,
				     .alpha = 1 };
	for (size_t i = 0; i < COUNT(x->a); i++)
		x->a[i] = (float)i;
	for (size_t i = 0; i < COUNT(x->b); i++)
		x->b[i] = i % 6 ? 0 : 1; /* a unit matrix and two columns of zeros */
	for (size_t i = 0; i < COUNT(x->c); i++)
		x->c[i] = -7;
	x->args[0] = (struct vaccel_arg){ x->a, sizeof(x->a), VACCEL_IN, 0 };
	x->args[1] = (struct vaccel_arg){ x->b, sizeof(x->b), VACCEL_IN, 0 };
	x->args[2] = (struct vaccel_arg){ x->c, sizeof(x->c), VACCEL_OUT, 0 };
	x->call = (struct vaccel_call){ .size = sizeof(x->call),
					.op = VACCEL_OP_SGEMM,
					.params = &x->p,
					.params_len = sizeof(x->p),
					.args = x->args,
					.n_args = 3 };
}

static bool next_works(struct suite *suite, char *detail, size_t len)
{
	struct attempt x;
	int r;

	init(&x);
	r = vaccel_run(suite->session, &x.call);
	if (r < 0) {
		snprintf(detail, len, "the next request fails: %s (%s)", vaccel_error(), strerrorname_np(-r));
		return false;
	}
	for (size_t i = 0; i < 4; i++) {
		for (size_t j = 0; j < 5; j++) {
			if (x.c[i * 5 + j] == (j < 3 ? x.a[i * 3 + j] : 0))
				continue;
			snprintf(detail, len, "the next request has a wrong result");
			return false;
		}
	}
	return true;
}

static const char *name_of(int r)
{
	return r ? strerrorname_np(-r) : "success";
}

static bool is_answer(int r, int code, const char *words, char *detail, size_t len)
{
	const char *text = vaccel_error();

	if (r != code)
		snprintf(detail, len, "%s, not %s: %s", name_of(r), name_of(code), text);
	else if (!strstr(text, words))
		snprintf(detail, len, "'%s' does not say '%s'", text, words);
	else
		return true;
	return false;
}

static void order(struct attempt *x)
{
	x->p.order = 100;
}

static void transa(struct attempt *x)
{
	x->p.transa = 114;
}

static void transb(struct attempt *x)
{
	x->p.transb = 0;
}

static void reserved(struct attempt *x)
{
	x->p.reserved = 1;
}

static void lda(struct attempt *x)
{
	x->p.lda = 2;
}

static void ldb(struct attempt *x)
{
	x->p.ldb = 4;
}

static void ldc(struct attempt *x)
{
	x->p.ldc = 0;
}

static void larger_m(struct attempt *x)
{
	x->p.m = 5;
}

static void enormous(struct attempt *x)
{
	x->p.m = UINT64_MAX / 2;
}

static void short_a(struct attempt *x)
{
	x->args[0].len--;
}

static void short_b(struct attempt *x)
{
	x->args[1].len = 0;
}

static void short_c(struct attempt *x)
{
	x->args[2].len -= 4;
}

static void misaligned(struct attempt *x)
{
	x->args[0].data = (char *)x->a + 2;
	x->args[0].len -= 4;
	x->p.m = 3;
}

static void no_address(struct attempt *x)
{
	x->args[1].data = NULL;
}

static void direction(struct attempt *x)
{
	x->args[0].dir = VACCEL_OUT;
}

static void no_direction(struct attempt *x)
{
	x->args[2].dir = 0;
}

static void beta_out(struct attempt *x)
{
	x->p.beta = 1;
}

static void arg_reserved(struct attempt *x)
{
	x->args[1].reserved = 1;
}

static void two_args(struct attempt *x)
{
	x->call.n_args = 2;
}

static void four_args(struct attempt *x)
{
	x->args[3] = x->args[0];
	x->call.n_args = 4;
}

static void short_params(struct attempt *x)
{
	x->call.params_len -= 8;
}

static void no_params(struct attempt *x)
{
	x->call.params = NULL;
}

static void unknown_op(struct attempt *x)
{
	x->call.op = 200;
}

static void huge_op(struct attempt *x)
{
	x->call.op = UINT32_MAX;
}

static void noop_with_args(struct attempt *x)
{
	x->call.op = VACCEL_OP_NOOP;
	x->call.params_len = 0;
}

static void small_call(struct attempt *x)
{
	x->call.size = 4;
}

static const struct {
	const char *name;
	void (*spoil)(struct attempt *x);
	int code;
	const char *words;
} mistakes[] = {
	{ "unknown order", order, -EINVAL, "order is 100" },
	{ "unknown transpose of A", transa, -EINVAL, "transa is 114" },
	{ "unknown transpose of B", transb, -EINVAL, "transb is 0" },
	{ "reserved parameter set", reserved, -EINVAL, "reserved" },
	{ "lda too small", lda, -EINVAL, "lda is 2" },
	{ "ldb too small", ldb, -EINVAL, "ldb is 4" },
	{ "ldc is 0", ldc, -EINVAL, "ldc is 0" },
	{ "more rows than A has", larger_m, -ERANGE, "matrix A needs" },
	{ "more rows than any memory has", enormous, -E2BIG, "matrix A is larger than any memory" },
	{ "A a byte too small", short_a, -ERANGE, "matrix A needs" },
	{ "B empty", short_b, -ERANGE, "matrix B needs" },
	{ "C an element too small", short_c, -ERANGE, "matrix C needs" },
	{ "A misaligned", misaligned, -EINVAL, "argument A" },
	{ "B without address", no_address, -EINVAL, "argument 1 has" },
	{ "A as an output", direction, -EINVAL, "argument A has direction 2" },
	{ "C without direction", no_direction, -EINVAL, "argument 2 has direction 0" },
	{ "C only written with beta", beta_out, -EINVAL, "beta is not 0" },
	{ "reserved member of an argument set", arg_reserved, -EINVAL, "argument 1: reserved" },
	{ "an argument too few", two_args, -EINVAL, "2 arguments, not 3" },
	{ "an argument too many", four_args, -EINVAL, "4 arguments, not 3" },
	{ "parameters too short", short_params, -EINVAL, "72 bytes of parameters, not 80" },
	{ "parameters missing", no_params, -EINVAL, "params is NULL" },
	{ "unknown operation", unknown_op, -EOPNOTSUPP, "operation 200 is not known" },
	{ "operation of all bits", huge_op, -EOPNOTSUPP, "is not known" },
	{ "arguments for noop", noop_with_args, -EINVAL, "noop" },
	{ "a call of no size", small_call, -EINVAL, "vaccel_call" },
};

static void run_mistake(struct suite *suite, size_t index)
{
	struct vaccel_request *request = NULL;
	struct attempt x, before;
	char detail[384];
	bool ok;
	int r;

	init(&x);
	mistakes[index].spoil(&x);
	before = x;
	r = vaccel_run(suite->session, &x.call);
	ok = is_answer(r, mistakes[index].code, mistakes[index].words, detail, sizeof(detail));
	if (ok) {
		r = vaccel_submit(suite->session, &x.call, &request);
		if (r == 0)
			r = vaccel_request_wait(request, -1);
		ok = is_answer(r, mistakes[index].code, mistakes[index].words, detail, sizeof(detail));
		vaccel_request_free(request);
	}
	if (ok && memcmp(&before, &x, sizeof(x))) {
		snprintf(detail, sizeof(detail), "the caller's memory was written");
		ok = false;
	}
	ok = ok && next_works(suite, detail, sizeof(detail));
	report(ok, detail, "mistake: %s", mistakes[index].name);
}

/* Nothing is behind these addresses but a promise: the size is refused before anybody looks. */
static void run_oversized(struct suite *suite)
{
	size_t len = suite->info.max_request_bytes + 4096;
	char detail[384];
	struct attempt x;
	bool ok;
	void *data;

	data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (data == MAP_FAILED) {
		report_skip("mistake: oversized request", "so many addresses cannot be had");
		return;
	}
	init(&x);
	x.args[0].data = data;
	x.args[0].len = len;
	ok = is_answer(vaccel_run(suite->session, &x.call), -E2BIG, "larger than the", detail, sizeof(detail)) &&
	     next_works(suite, detail, sizeof(detail));
	report(ok, detail, "mistake: oversized request");
	munmap(data, len);
}

static void run_buffers(struct suite *suite)
{
	struct vaccel_buffer *buffer = NULL;
	char detail[384];
	bool ok;

	ok = is_answer(vaccel_buffer_alloc(suite->session, suite->info.max_buffer_bytes + 1, &buffer), -E2BIG, "buffer",
		       detail, sizeof(detail)) &&
	     !buffer && next_works(suite, detail, sizeof(detail));
	report(ok, detail, "mistake: oversized buffer");
	ok = is_answer(vaccel_buffer_alloc(suite->session, 0, &buffer), -EINVAL, "buffer", detail, sizeof(detail)) &&
	     next_works(suite, detail, sizeof(detail));
	report(ok, detail, "mistake: empty buffer");
}

/* More sessions than there may be; when they are closed there is room again. */
static void run_sessions(struct suite *suite)
{
	static struct vaccel_session *sessions[512];
	char detail[384] = "";
	size_t n = 0;
	int r = 0;
	bool ok;

	if (suite->info.max_sessions >= COUNT(sessions)) {
		report_skip("mistake: too many sessions", "the limit here is too high to be reached");
		return;
	}
	while (r == 0 && n < COUNT(sessions)) {
		r = vaccel_session_open(suite->context, &sessions[n]);
		n += r == 0;
	}
	ok = is_answer(r, -EDQUOT, "session", detail, sizeof(detail)) && next_works(suite, detail, sizeof(detail));
	while (n) {
		r = vaccel_session_close(sessions[--n]);
		if (ok && r < 0) {
			snprintf(detail, sizeof(detail), "closing: %s", vaccel_error());
			ok = false;
		}
	}
	if (ok) {
		r = vaccel_session_open(suite->context, &sessions[0]);
		if (r < 0)
			snprintf(detail, sizeof(detail), "afterwards: %s", vaccel_error());
		else
			vaccel_session_close(sessions[0]);
		ok = r == 0;
	}
	report(ok, detail, "mistake: too many sessions");
}

/* An argument in another session's buffer is plain memory there: it works, and leaves that buffer alone. */
static void run_foreign_buffer(struct suite *suite)
{
	struct vaccel_session *other = NULL;
	struct vaccel_buffer *buffer = NULL;
	char detail[384] = "";
	struct attempt x;
	float *a = NULL;
	int r = vaccel_session_open(suite->context, &other);

	if (r == 0)
		r = vaccel_buffer_alloc(other, 4096, &buffer);
	if (r == 0) {
		init(&x);
		a = vaccel_buffer_data(buffer);
		memcpy(a, x.a, sizeof(x.a));
		x.args[0].data = a;
		r = vaccel_run(suite->session, &x.call);
	}
	if (r < 0)
		snprintf(detail, sizeof(detail), "%s (%s)", vaccel_error(), strerrorname_np(-r));
	else if (x.c[6] != x.a[4] || memcmp(a, x.a, sizeof(x.a)))
		snprintf(detail, sizeof(detail), "wrong result");
	report(r == 0 && !*detail, detail, "a buffer of another session is plain memory");
	vaccel_session_close(other);
}

static void run_addresses(struct suite *suite)
{
	static const struct {
		const char *url;
		int code;
		const char *words;
	} urls[] = {
		{ "nonsense", -EINVAL, "transport" },
		{ "pigeon:/x", -EINVAL, "transport" },
		{ "shm:/nonexistent/vaccel.sock", -ENOENT, "/nonexistent/vaccel.sock" },
		{ "virtio:/nonexistent/vaccel0", -ENOENT, "/nonexistent/vaccel0" },
		{ "virtio:/dev/null", -ENODEV, "/dev/null" },
		{ "local:/nonexistent/vaccel.conf", -ENOENT, "/nonexistent/vaccel.conf" },
	};

	for (size_t i = 0; i < COUNT(urls); i++) {
		struct vaccel_context_options options = { .size = sizeof(options), .transport = urls[i].url };
		struct vaccel_context *context = NULL;
		char detail[384];
		int r = vaccel_context_new(&options, &context), code = urls[i].code;
		bool ok;

		/* One process has one local engine, and its configuration is another. */
		if (!strncmp(urls[i].url, "local:", 6) && !strncmp(suite->url, "local:", 6))
			code = -EBUSY;
		ok = is_answer(r, code, urls[i].words, detail, sizeof(detail)) && !context &&
		     next_works(suite, detail, sizeof(detail));

		report(ok, detail, "mistake: transport %s", urls[i].url);
		vaccel_context_free(context);
	}
}

void run_bad(struct suite *suite)
{
	for (size_t i = 0; i < COUNT(mistakes); i++)
		run_mistake(suite, i);
	run_oversized(suite);
	run_buffers(suite);
	run_sessions(suite);
	run_foreign_buffer(suite);
	run_addresses(suite);
}
