/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several runs of a model under way at once, on memory that the host has mapped: inputs reach the framework without a copy.
 * The model has inputs a and b and an output sum, all of [?, N] floats. Usage: infer MODEL [TRANSPORT]
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <vaccel/vaccel.h>

#define JOBS 4

/* Rows of a, b and sum, one behind the other: each begins at a multiple of 64 bytes. */
struct job {
	float *a, *b, *sum;
	struct vaccel_tensor inputs[2], output;
};

static struct vaccel_tensor tensor(const char *name, float *data, size_t n)
{
	struct vaccel_tensor t = { .size = sizeof(t), .name = name, .data = data, .room = n * sizeof(float) };

	/* Of an output only name, data and room count. */
	t.dtype = VACCEL_FLOAT32;
	t.rank = 2;
	t.dims[0] = 1;
	t.dims[1] = (int64_t)n;
	t.len = n * sizeof(float);
	return t;
}

static int start(struct vaccel_session *session, const char *model, struct job *job, float *memory, size_t n,
		 size_t stride)
{
	struct vaccel_submit_options options = { .size = sizeof(options), .user_data = job };
	struct vaccel_request *request;

	job->a = memory;
	job->b = memory + stride;
	job->sum = memory + 2 * stride;
	for (size_t i = 0; i < n; i++) {
		job->a[i] = (float)i;
		job->b[i] = 1;
	}
	job->inputs[0] = tensor("a", job->a, n);
	job->inputs[1] = tensor("b", job->b, n);
	job->output = tensor("sum", job->sum, n);
	/* The output's struct, too, is in use until the request has completed. */
	return vaccel_infer_submit(session, model, job->inputs, 2, &job->output, 1, &options, &request);
}

static int finish(struct vaccel_context *context, size_t n)
{
	struct pollfd p = { .fd = vaccel_context_fd(context), .events = POLLIN };
	struct vaccel_request *request;
	const struct job *job;
	int r;

	while ((r = vaccel_context_next(context, &request)) == -EAGAIN)
		poll(&p, 1, -1);
	if (r < 0)
		return r;
	r = vaccel_request_wait(request, 0);
	job = vaccel_request_user_data(request);
	vaccel_request_free(request);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = job->sum[i] != (float)i + 1;
	return r;
}

/* How long the rows are is the model's to say. */
static int ask_length(struct vaccel_session *session, const char *model, size_t *ret_n)
{
	const struct vaccel_tensor_desc *a;
	struct vaccel_model *about;
	int r = vaccel_model_new(session, model, &about);

	if (r < 0)
		return r;
	a = vaccel_model_tensor(about, VACCEL_IN, 0);
	*ret_n = a && a->rank == 2 && a->dims[1] > 0 ? (size_t)a->dims[1] : 0;
	vaccel_model_free(about);
	return *ret_n ? 0 : 1;
}

static int run(struct vaccel_context *context, struct vaccel_session *session, const char *model)
{
	static struct job jobs[JOBS];
	struct vaccel_buffer *buffer;
	size_t n = 0, stride;
	int r = ask_length(session, model, &n);

	if (r != 0)
		return r;
	stride = (n + 15) / 16 * 16;
	r = vaccel_buffer_alloc(session, JOBS * 3 * stride * sizeof(float), &buffer);
	for (size_t i = 0; r == 0 && i < JOBS; i++)
		r = start(session, model, &jobs[i], (float *)vaccel_buffer_data(buffer) + i * 3 * stride, n, stride);
	for (size_t i = 0; r == 0 && i < JOBS; i++)
		r = finish(context, n);
	return r;
}

int main(int argc, char **argv)
{
	struct vaccel_context_options options = { .size = sizeof(options), .transport = argc > 2 ? argv[2] : NULL };
	struct vaccel_context *context = NULL;
	struct vaccel_session *session = NULL;
	int r = argc > 1 ? vaccel_context_new(&options, &context) : 1;

	if (r == 0)
		r = vaccel_session_open(context, &session);
	if (r == 0)
		r = run(context, session, argv[1]);
	fprintf(r ? stderr : stdout, "%s\n", r < 0 ? vaccel_error() : r ? "not what was expected" : "all sums: right");
	/* Closing the session waits for what is under way. */
	vaccel_session_close(session);
	vaccel_context_free(context);
	return r != 0;
}
