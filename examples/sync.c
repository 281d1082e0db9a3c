/* SPDX-License-Identifier: Apache-2.0 */
/* One SGEMM, synchronously, on memory that the accelerator's host has mapped: nothing is copied on the way. */
#include <stdio.h>
#include <vaccel/vaccel.h>

#define N 256

static int multiply(struct vaccel_session *session)
{
	struct vaccel_buffer *buffer;
	float *a, *b, *c;
	int r;

	if (vaccel_buffer_alloc(session, 3 * N * N * sizeof(float), &buffer) < 0)
		return -1;
	a = vaccel_buffer_data(buffer);
	b = a + N * N;
	c = b + N * N;
	for (int i = 0; i < N * N; i++) {
		a[i] = (float)(i % 7);
		b[i] = (float)(i / N == i % N) * 2; /* twice the identity */
	}
	r = vaccel_sgemm(session, VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, N, N, N, 1, a, N, b, N, 0, c, N);
	if (r < 0)
		return r;
	for (int i = 0; i < N * N; i++) {
		if (c[i] != 2 * a[i]) {
			fprintf(stderr, "element %d is %g, not %g\n", i, c[i], 2 * a[i]);
			return 1;
		}
	}
	return vaccel_buffer_free(buffer);
}

int main(int argc, char **argv)
{
	struct vaccel_context_options options = { .size = sizeof(options), .transport = argc > 1 ? argv[1] : NULL };
	struct vaccel_context *context = NULL;
	struct vaccel_session *session = NULL;
	int r = vaccel_context_new(&options, &context);

	if (r == 0)
		r = vaccel_session_open(context, &session);
	if (r == 0)
		r = multiply(session);
	if (r < 0)
		fprintf(stderr, "%s\n", vaccel_error());
	vaccel_session_close(session);
	vaccel_context_free(context);
	if (r == 0)
		printf("%d x %d: right\n", N, N);
	return r != 0;
}
