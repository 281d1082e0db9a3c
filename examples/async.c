/* SPDX-License-Identifier: Apache-2.0 */
/* Several SGEMMs under way at once; poll(2) says when one is done. An event loop would do the same. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <vaccel/vaccel.h>

#define N    128
#define JOBS 8

static float a[N * N], b[N * N], c[JOBS][N * N];

static int start(struct vaccel_session *session, size_t job)
{
	/* Job j computes (j + 1) * A * B. */
	struct vaccel_gemm gemm = {
		VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 0, N, N, N, N, N, N, (double)job + 1, 0
	};
	struct vaccel_arg args[] = { { a, sizeof(a), VACCEL_IN, 0 },
				     { b, sizeof(b), VACCEL_IN, 0 },
				     { c[job], sizeof(c[job]), VACCEL_OUT, 0 } };
	struct vaccel_call call = { sizeof(call), VACCEL_OP_SGEMM, 0, &gemm, sizeof(gemm), args, 3, c[job] };
	struct vaccel_request *request;

	return vaccel_submit(session, &call, &request);
}

static int finish(struct vaccel_context *context)
{
	struct pollfd p = { .fd = vaccel_context_fd(context), .events = POLLIN };
	struct vaccel_request *request;
	const float *result;
	int r;

	while ((r = vaccel_context_next(context, &request)) == -EAGAIN)
		poll(&p, 1, -1);
	if (r < 0)
		return r;
	r = vaccel_request_wait(request, 0);
	result = vaccel_request_user_data(request);
	vaccel_request_free(request);
	for (int i = 0; r == 0 && i < N * N; i++)
		r = result[i] != result[0] * a[i]; /* B is the identity, and A starts with 1 */
	return r;
}

int main(int argc, char **argv)
{
	struct vaccel_context_options options = { .size = sizeof(options), .transport = argc > 1 ? argv[1] : NULL };
	struct vaccel_context *context = NULL;
	struct vaccel_session *session = NULL;
	int r = vaccel_context_new(&options, &context);

	for (int i = 0; i < N * N; i++) {
		a[i] = (float)(i % 5 + 1);
		b[i] = (float)(i / N == i % N);
	}
	if (r == 0)
		r = vaccel_session_open(context, &session);
	for (size_t job = 0; r == 0 && job < JOBS; job++)
		r = start(session, job);
	for (size_t job = 0; r == 0 && job < JOBS; job++)
		r = finish(context);
	fprintf(r ? stderr : stdout, "%s\n", r < 0 ? vaccel_error() : r ? "a wrong result" : "all products: right");
	vaccel_session_close(session);
	vaccel_context_free(context);
	return r != 0;
}
