/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SGEMM and DGEMM, by CLBlast or by a pre-built kernel. The cases that read neither A nor B are done on the host: there
 * is nothing to accelerate, and CLBlast refuses a dimension of 0.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <clblast_c.h>
#include "gemm.h"
#include "opencl.h"

/*
 * Operations are cut into parts of at most this many rows, columns and terms of the sums. Two reasons: CLBlast counts the
 * elements of its temporary buffer, where padded parts of A, B and C lie behind each other, in 32 bits; and PoCL compiles
 * another variant of a kernel for a grid wider than 65535, when the worker may no longer start a linker.
 */
enum { PART = 16384 };

struct job {
	const struct vaccel_plugin_call *call;
	const struct vaccel_gemm *gemm;
	struct ocl_session *session;
	enum ocl_precision precision;
	struct ocl_matrix a, b, c;
};

/* rows x cols elements, which transposition and order store as lines. */
static struct ocl_matrix matrix(const struct job *job, unsigned int arg, uint64_t rows, uint64_t cols, bool transposed,
				uint64_t ld)
{
	const bool by_rows = (job->gemm->order == VACCEL_ROW_MAJOR) != transposed;

	return (struct ocl_matrix){
		.arg = &job->call->args[arg],
		.by_rows = by_rows,
		.lines = by_rows ? rows : cols,
		.width = by_rows ? cols : rows,
		.ld = ld,
		.element = job->precision == OCL_DOUBLE ? sizeof(double) : sizeof(float),
	};
}

static void job_init(struct job *job, const struct vaccel_plugin_call *call, enum ocl_precision precision)
{
	const struct vaccel_gemm *g = call->params;

	*job = (struct job){ .call = call, .gemm = g, .session = call->session, .precision = precision };
	job->a = matrix(job, 0, g->m, g->k, g->transa != VACCEL_NO_TRANS, g->lda);
	job->b = matrix(job, 1, g->k, g->n, g->transb != VACCEL_NO_TRANS, g->ldb);
	job->c = matrix(job, 2, g->m, g->n, false, g->ldc);
	job->a.read = job->b.read = true;
	job->c.read = (precision == OCL_DOUBLE ? g->beta : (float)g->beta) != 0;
	job->c.written = true;
}

/* True if a matrix has more elements than CLBlast, which counts them in 32 bits, can address. */
static bool too_large(const struct job *job)
{
	const struct ocl_matrix *const all[] = { &job->a, &job->b, &job->c };
	size_t i;

	for (i = 0; i < 3; i++)
		/* The product cannot overflow once its factors are below 2^31. */
		if (all[i]->lines > INT_MAX || all[i]->ld > INT_MAX || (uint64_t)all[i]->lines * all[i]->ld > INT_MAX)
			return true;
	return false;
}

static int run_clblast(struct job *job)
{
	const struct vaccel_gemm *g = job->gemm;
	const CLBlastLayout layout = (CLBlastLayout)g->order;
	const CLBlastTranspose ta = (CLBlastTranspose)g->transa, tb = (CLBlastTranspose)g->transb;
	CLBlastStatusCode status;

	if (job->precision == OCL_DOUBLE)
		status = CLBlastDgemm(layout, ta, tb, g->m, g->n, g->k, g->alpha, job->a.mem, job->a.offset, g->lda,
				      job->b.mem, job->b.offset, g->ldb, g->beta, job->c.mem, job->c.offset, g->ldc,
				      &job->session->queue, NULL);
	else
		status = CLBlastSgemm(layout, ta, tb, g->m, g->n, g->k, (float)g->alpha, job->a.mem, job->a.offset,
				      g->lda, job->b.mem, job->b.offset, g->ldb, (float)g->beta, job->c.mem,
				      job->c.offset, g->ldc, &job->session->queue, NULL);
	return status == CLBlastSuccess ? 0 : ocl_error(&job->call->report, (cl_int)status, "CLBlast refuses GEMM");
}

/* The kernel object of this session: setting arguments is not safe for several threads. */
static int session_kernel(struct job *job, cl_kernel *ret)
{
	const struct ocl_prebuilt *prebuilt = &job->session->ocl->prebuilt[job->precision];
	cl_kernel *kernel = &job->session->kernels[job->precision];
	cl_int status = CL_SUCCESS;

	if (!prebuilt->program)
		return vaccel_plugin_error(&job->call->report, -EOPNOTSUPP,
					   "opencl: the configured binary has no kernel %s",
					   ocl_kernel_name(job->precision));
	if (!*kernel) {
		*kernel = clCreateKernel(prebuilt->program, ocl_kernel_name(job->precision), &status);
		if (!*kernel || status != CL_SUCCESS) {
			*kernel = NULL;
			return ocl_error(&job->call->report, status, "cannot create kernel %s",
					 ocl_kernel_name(job->precision));
		}
	}
	*ret = *kernel;
	return 0;
}

static cl_int set_arguments(struct job *job, cl_kernel kernel, const struct gemm_view *view)
{
	const struct ocl_matrix *x = view->swapped ? &job->b : &job->a, *y = view->swapped ? &job->a : &job->b;
	const bool wide = job->precision == OCL_DOUBLE;
	const float alpha = (float)job->gemm->alpha, beta = (float)job->gemm->beta;
	const size_t scalar = wide ? sizeof(cl_double) : sizeof(cl_float);
	const cl_ulong numbers[] = {
		view->m,   view->n,	view->k,     x->offset,	    view->x_row, view->x_col,
		y->offset, view->y_row, view->y_col, job->c.offset, view->ldc,
	};
	const struct {
		size_t size;
		const void *value;
	} args[] = {
		{ sizeof(cl_ulong), &numbers[0] },
		{ sizeof(cl_ulong), &numbers[1] },
		{ sizeof(cl_ulong), &numbers[2] },
		{ scalar, wide ? (const void *)&job->gemm->alpha : &alpha },
		{ sizeof(cl_mem), &x->mem },
		{ sizeof(cl_ulong), &numbers[3] },
		{ sizeof(cl_ulong), &numbers[4] },
		{ sizeof(cl_ulong), &numbers[5] },
		{ sizeof(cl_mem), &y->mem },
		{ sizeof(cl_ulong), &numbers[6] },
		{ sizeof(cl_ulong), &numbers[7] },
		{ sizeof(cl_ulong), &numbers[8] },
		{ scalar, wide ? (const void *)&job->gemm->beta : &beta },
		{ sizeof(cl_mem), &job->c.mem },
		{ sizeof(cl_ulong), &numbers[9] },
		{ sizeof(cl_ulong), &numbers[10] },
	};
	cl_int status = CL_SUCCESS;
	cl_uint i;

	for (i = 0; i < sizeof(args) / sizeof(args[0]) && status == CL_SUCCESS; i++)
		status = clSetKernelArg(kernel, i, args[i].size, args[i].value);
	return status;
}

static size_t round_up(size_t value, size_t multiple)
{
	return (value + multiple - 1) / multiple * multiple;
}

static int run_prebuilt(struct job *job)
{
	const size_t *group = job->session->ocl->prebuilt[job->precision].group;
	const bool single = group[0] == 1 && group[1] == 1 && group[2] == 1;
	struct gemm_view view = { 0 };
	cl_kernel kernel = NULL;
	size_t global[2];
	cl_int status;
	int r;

	r = session_kernel(job, &kernel);
	if (r < 0)
		return r;
	gemm_view_init(&view, job->gemm);
	status = set_arguments(job, kernel, &view);
	if (status != CL_SUCCESS)
		return ocl_error(&job->call->report, status, "kernel %s does not take the arguments that it should",
				 ocl_kernel_name(job->precision));
	/* A kernel made for one work-item does the whole matrix by itself: the way of FPGAs. */
	global[0] = single ? 1 : round_up(view.n, group[0] ? group[0] : 1);
	global[1] = single ? 1 : round_up(view.m, group[1] ? group[1] : 1);
	status = clEnqueueNDRangeKernel(job->session->queue, kernel, 2, NULL, global, group[0] ? group : NULL, 0, NULL,
					NULL);
	return status == CL_SUCCESS
		       ? 0
		       : ocl_error(&job->call->report, status, "cannot run kernel %s", ocl_kernel_name(job->precision));
}

/* Element (row, col) of the matrix, counted from the start of its memory. */
static size_t position(const struct ocl_matrix *matrix, size_t row, size_t col)
{
	return matrix->offset + (matrix->by_rows ? row * matrix->ld + col : col * matrix->ld + row);
}

static int run_part(const struct job *job, size_t i, size_t j, size_t p)
{
	struct vaccel_gemm gemm = *job->gemm;
	struct job part = *job;

	gemm.m = gemm.m - i < PART ? gemm.m - i : PART;
	gemm.n = gemm.n - j < PART ? gemm.n - j : PART;
	gemm.k = gemm.k - p < PART ? gemm.k - p : PART;
	if (p) /* adds to what the parts of the sums before it left */
		gemm.beta = 1;
	part.gemm = &gemm;
	part.a.offset = position(&job->a, i, p);
	part.b.offset = position(&job->b, p, j);
	part.c.offset = position(&job->c, i, j);
	return job->session->ocl->prebuilt_only ? run_prebuilt(&part) : run_clblast(&part);
}

static int run_parts(const struct job *job)
{
	const struct vaccel_gemm *g = job->gemm;
	size_t i, j, p;
	int r = 0;

	for (i = 0; i < g->m && !r; i += PART)
		for (j = 0; j < g->n && !r; j += PART)
			for (p = 0; p < g->k && !r; p += PART)
				r = run_part(job, i, j, p);
	return r;
}

static int run_job(struct job *job)
{
	const struct vaccel_plugin_report *report = &job->call->report;
	struct ocl_session *session = job->session;
	cl_int status;
	int r;

	r = ocl_matrix_bind(session, 0, &job->a, report);
	if (!r)
		r = ocl_matrix_bind(session, 1, &job->b, report);
	if (!r)
		r = ocl_matrix_bind(session, 2, &job->c, report);
	if (!r)
		r = run_parts(job);
	if (!r)
		r = ocl_matrix_fetch(session, &job->c, report);
	/* After a failure too: nothing may touch the call's memory when the call is over. */
	status = clFinish(session->queue);
	if (!r && status != CL_SUCCESS)
		r = ocl_error(report, status, "GEMM failed on the device");
	ocl_matrix_unbind(&job->a);
	ocl_matrix_unbind(&job->b);
	ocl_matrix_unbind(&job->c);
	return r;
}

static int run(const struct vaccel_plugin_call *call, enum ocl_precision precision)
{
	const struct ocl_session *session = call->session;
	struct job job;

	if (precision == OCL_DOUBLE && !session->ocl->device.fp64)
		return vaccel_plugin_error(&call->report, -EOPNOTSUPP, "opencl: %s has no double precision",
					   session->ocl->device.name);
	job_init(&job, call, precision);
	if (!session->ocl->prebuilt_only && too_large(&job))
		return vaccel_plugin_error(
			&call->report, -E2BIG,
			"opencl: GEMM of %llu x %llu x %llu has more elements than CLBlast can count",
			(unsigned long long)job.gemm->m, (unsigned long long)job.gemm->n,
			(unsigned long long)job.gemm->k);
	return run_job(&job);
}

int ocl_sgemm(const struct vaccel_plugin_call *call)
{
	const struct vaccel_gemm *g = call->params;

	if (!gemm_is_scaling(g, (float)g->alpha))
		return run(call, OCL_SINGLE);
	gemm_float(g, NULL, NULL, call->args[2].data);
	return 0;
}

int ocl_dgemm(const struct vaccel_plugin_call *call)
{
	const struct vaccel_gemm *g = call->params;

	if (!gemm_is_scaling(g, g->alpha))
		return run(call, OCL_DOUBLE);
	gemm_double(g, NULL, NULL, call->args[2].data);
	return 0;
}
