/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/gemm.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* splitmix64: a full-period generator whose state is a counter. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void fill_random(void *data, size_t n, bool is_double, uint64_t seed)
{
	float *f = data;
	double *d = data;

	for (size_t i = 0; i < n; i++) {
		double value = (double)(next_random(&seed) >> 40) / (1u << 23) - 1; /* 24 bits: exact as float */

		if (is_double)
			d[i] = value;
		else
			f[i] = (float)value;
	}
}

static double element(const void *data, size_t index, bool is_double)
{
	return is_double ? ((const double *)data)[index] : (double)((const float *)data)[index];
}

/* Bytes of a matrix of rows x columns as stored with leading dimension *ld. */
static int matrix_len(const struct gemm_job *job, const char *name, uint64_t rows, uint64_t columns, bool transposed,
		      uint64_t *ld, size_t *ret_len, struct error *error)
{
	bool row_major = job->gemm.order == VACCEL_ROW_MAJOR;
	uint64_t lines = row_major != transposed ? rows : columns; /* rows or columns, ld elements apart */
	uint64_t least = row_major != transposed ? columns : rows;
	uint64_t len;

	if (!*ld)
		*ld = MAX(least, 1);
	if (mul_u64(lines, *ld, &len) || mul_u64(len, job->is_double ? 8 : 4, &len) || len > SIZE_MAX / 2)
		return error_set(error, -EOVERFLOW,
				 "matrix %s: cannot allocate: %llu x %llu elements do not fit memory", name,
				 (unsigned long long)lines, (unsigned long long)*ld);
	*ret_len = (size_t)len;
	return 0;
}

static int allocate(struct gemm_job *job, const char *name, size_t len, void **ret_data,
		    struct vaccel_buffer **ret_buffer, struct error *error)
{
	int r;

	if (!len)
		return 0;
	if (job->plain) {
		*ret_data = aligned_alloc(64, (len + 63) / 64 * 64);
		return *ret_data ? 0
				 : error_set(error, -ENOMEM, "matrix %s: cannot allocate %zu bytes: out of memory",
					     name, len);
	}
	r = vaccel_buffer_alloc(job->session, len, ret_buffer);
	if (r < 0)
		return error_set(error, r, "matrix %s: cannot register %zu bytes: %s", name, len, vaccel_error());
	*ret_data = vaccel_buffer_data(*ret_buffer);
	return 0;
}

int gemm_job_init(struct gemm_job *job, struct vaccel_session *session, struct error *error)
{
	struct vaccel_gemm *gemm = &job->gemm;
	size_t element_size = job->is_double ? 8 : 4;
	int r;

	job->session = session;
	r = matrix_len(job, "A", gemm->m, gemm->k, gemm->transa != VACCEL_NO_TRANS, &gemm->lda, &job->a.len, error);
	if (!r)
		r = matrix_len(job, "B", gemm->k, gemm->n, gemm->transb != VACCEL_NO_TRANS, &gemm->ldb, &job->b.len,
			       error);
	if (!r)
		r = matrix_len(job, "C", gemm->m, gemm->n, false, &gemm->ldc, &job->c.len, error);
	if (!r)
		r = allocate(job, "A", job->a.len, &job->a.data, &job->a.buffer, error);
	if (!r)
		r = allocate(job, "B", job->b.len, &job->b.data, &job->b.buffer, error);
	if (!r)
		r = allocate(job, "C", job->c.len, &job->c.data, &job->c.buffer, error);
	if (r)
		return r;
	fill_random(job->a.data, job->a.len / element_size, job->is_double, job->seed);
	fill_random(job->b.data, job->b.len / element_size, job->is_double, job->seed + 1);
	if (gemm->beta != 0 && job->c.len) {
		job->c_before = malloc(job->c.len);
		if (!job->c_before)
			return error_set(error, -ENOMEM, "matrix C: cannot keep a copy of %zu bytes: out of memory",
					 job->c.len);
		fill_random(job->c_before, job->c.len / element_size, job->is_double, job->seed + 2);
	}
	return 0;
}

void gemm_job_fill(struct gemm_job *job)
{
	if (job->c_before)
		memcpy(job->c.data, job->c_before, job->c.len);
	else if (job->c.len)
		memset(job->c.data, 0xff, job->c.len); /* NaN in both types */
}

#define N_ARGS 3

static void describe(struct gemm_job *job, struct vaccel_arg *args, struct vaccel_call *call)
{
	args[0] = (struct vaccel_arg){ .data = job->a.data, .len = job->a.len, .dir = VACCEL_IN };
	args[1] = (struct vaccel_arg){ .data = job->b.data, .len = job->b.len, .dir = VACCEL_IN };
	args[2] = (struct vaccel_arg){ .data = job->c.data,
				       .len = job->c.len,
				       .dir = job->gemm.beta != 0 ? VACCEL_INOUT : VACCEL_OUT };
	*call = (struct vaccel_call){
		.size = sizeof(*call),
		.op = job->is_double ? VACCEL_OP_DGEMM : VACCEL_OP_SGEMM,
		.params = &job->gemm,
		.params_len = sizeof(job->gemm),
		.args = args,
		.n_args = N_ARGS,
	};
}

int gemm_job_call(struct gemm_job *job, uint64_t *ret_ns, struct error *error)
{
	struct vaccel_arg args[N_ARGS];
	struct vaccel_call call;
	uint64_t start;
	int r;

	describe(job, args, &call);
	start = now_ns();
	r = vaccel_run(job->session, &call);
	*ret_ns = now_ns() - start;
	return r < 0 ? error_set(error, r, "%s", vaccel_error()) : 0;
}

int gemm_job_submit(struct gemm_job *job, void *user_data, struct vaccel_request **ret_request, struct error *error)
{
	struct vaccel_arg args[N_ARGS];
	struct vaccel_call call;
	int r;

	describe(job, args, &call);
	call.user_data = user_data;
	r = vaccel_submit(job->session, &call, ret_request);
	return r < 0 ? error_set(error, r, "%s", vaccel_error()) : 0;
}

int gemm_job_run(struct gemm_job *job, uint64_t *ret_ns, struct error *error)
{
	gemm_job_fill(job);
	return gemm_job_call(job, ret_ns, error);
}

/* Index of element (row, column) of a matrix, of op(X) when it is stored transposed. */
static size_t at(const struct gemm_job *job, uint64_t row, uint64_t column, uint64_t ld, uint32_t trans)
{
	bool row_major = job->gemm.order == VACCEL_ROW_MAJOR;

	return row_major == (trans == VACCEL_NO_TRANS) ? row * ld + column : column * ld + row;
}

/* The products of an entry of C: their sum, and the sum of their absolute values. */
static void sum_entry(const struct gemm_job *job, uint64_t row, uint64_t column, struct gemm_spot *ret)
{
	const struct vaccel_gemm *gemm = &job->gemm;

	*ret = (struct gemm_spot){ .index = at(job, row, column, gemm->ldc, VACCEL_NO_TRANS) };
	for (uint64_t p = 0; p < gemm->k && gemm->alpha != 0; p++) {
		double product = element(job->a.data, at(job, row, p, gemm->lda, gemm->transa), job->is_double) *
				 element(job->b.data, at(job, p, column, gemm->ldb, gemm->transb), job->is_double);

		ret->sum += product;
		ret->size += fabs(product);
	}
}

/* How far an entry may be off whose addends are size in all. */
static double bound_of(const struct gemm_job *job, double size)
{
	return 4 * ((double)job->gemm.k + 2) * (job->is_double ? DBL_EPSILON : (double)FLT_EPSILON) * size;
}

static void check_entry(const struct gemm_job *job, uint64_t row, uint64_t column, struct gemm_check *check)
{
	const struct vaccel_gemm *gemm = &job->gemm;
	double size, got, wanted, bound, off;
	struct gemm_spot entry;

	sum_entry(job, row, column, &entry);
	got = element(job->c.data, entry.index, job->is_double);
	wanted = gemm->alpha * entry.sum;
	size = entry.size * fabs(gemm->alpha);
	if (job->c_before) {
		double before = gemm->beta * element(job->c_before, entry.index, job->is_double);

		wanted += before;
		size += fabs(before);
	}
	bound = bound_of(job, size);
	off = fabs(got - wanted);
	check->checked++;
	if (off > 0)
		check->worst = fmax(check->worst, bound > 0 ? off / bound : INFINITY);
	/* Written so that NaN is wrong. */
	if (!(off <= bound) && !check->wrong++) {
		check->row = row;
		check->column = column;
		check->got = got;
		check->wanted = wanted;
		check->bound = bound;
	}
}

void gemm_job_check(const struct gemm_job *job, uint64_t work, struct gemm_check *ret_check)
{
	uint64_t m = job->gemm.m, n = job->gemm.n;
	uint64_t per_entry = MAX(job->gemm.k, 1), random = job->seed + 3;
	struct gemm_check check = { .entries = m * n };

	if (check.entries && check.entries > work / per_entry) {
		uint64_t draws = MAX(work / per_entry, 64);

		check_entry(job, 0, 0, &check);
		check_entry(job, 0, n - 1, &check);
		check_entry(job, m - 1, 0, &check);
		check_entry(job, m - 1, n - 1, &check);
		while (check.checked < draws)
			check_entry(job, next_random(&random) % m, next_random(&random) % n, &check);
	} else {
		for (uint64_t row = 0; row < m; row++)
			for (uint64_t column = 0; column < n; column++)
				check_entry(job, row, column, &check);
	}
	*ret_check = check;
}

void gemm_job_spot(const struct gemm_job *job, struct gemm_spot *ret_spot)
{
	uint64_t random = job->seed + 4;

	for (int i = 0; i < 16; i++) {
		uint64_t row = next_random(&random) % job->gemm.m;
		struct gemm_spot spot;

		sum_entry(job, row, next_random(&random) % job->gemm.n, &spot);
		if (i == 0 || fabs(spot.sum) > fabs(ret_spot->sum))
			*ret_spot = spot;
	}
}

bool gemm_job_spot_right(const struct gemm_job *job, const struct gemm_spot *spot)
{
	double off = fabs(element(job->c.data, spot->index, job->is_double) - job->gemm.alpha * spot->sum);

	return off <= bound_of(job, spot->size * fabs(job->gemm.alpha));
}

void gemm_check_text(const struct gemm_check *check, char *text, size_t len)
{
	snprintf(text, len,
		 "%llu of %llu entries looked at are wrong: entry (%llu, %llu) is %.9g, should be %.9g within %.3g",
		 (unsigned long long)check->wrong, (unsigned long long)check->checked, (unsigned long long)check->row,
		 (unsigned long long)check->column, check->got, check->wanted, check->bound);
}

static void release(void **data, struct vaccel_buffer **buffer)
{
	if (*buffer)
		vaccel_buffer_free(*buffer);
	else
		free(*data);
	*buffer = NULL;
	*data = NULL;
}

void gemm_job_fini(struct gemm_job *job)
{
	release(&job->a.data, &job->a.buffer);
	release(&job->b.data, &job->b.buffer);
	release(&job->c.data, &job->c.buffer);
	free(job->c_before);
	job->c_before = NULL;
}
