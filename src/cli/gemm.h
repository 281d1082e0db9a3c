/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One matrix product, for `vaccel sgemm` and `vaccel bench sgemm`: random matrices, the call, and the check of its result
 * against sums computed here.
 *
 * Matrices are a function of the seed alone. C is filled with NaN (with its seeded contents when beta is not 0) before
 * every run, so that a run which writes nothing, or reads C for beta = 0, cannot pass.
 */
#ifndef VACCEL_CLI_GEMM_H
#define VACCEL_CLI_GEMM_H

#include "cli/cli.h"

struct gemm_job {
	/* Set by the caller. Leading dimensions of 0 become the smallest valid ones. */
	struct vaccel_gemm gemm;
	bool is_double;
	bool plain; /* memory of malloc() instead of registered buffers */
	uint64_t seed;

	struct vaccel_session *session;
	struct {
		void *data;
		size_t len;
		struct vaccel_buffer *buffer; /* NULL: plain */
	} a, b, c;
	void *c_before; /* when beta is not 0 */
};

struct gemm_check {
	uint64_t checked;     /* entries of C that were compared */
	uint64_t entries;     /* entries of C */
	uint64_t wrong;	      /* outside the bound */
	double worst;	      /* largest |c - ref| / bound */
	uint64_t row, column; /* of the first wrong one */
	double got, wanted, bound;
};

/* Free with gemm_job_fini(), also after failure. */
int gemm_job_init(struct gemm_job *job, struct vaccel_session *session, struct error *error);
/* Fills C as said above. */
void gemm_job_fill(struct gemm_job *job);
/* Runs the product once; *ret_ns is the time of the call alone. */
int gemm_job_call(struct gemm_job *job, uint64_t *ret_ns, struct error *error);
/* Starts it; see vaccel_submit(). */
int gemm_job_submit(struct gemm_job *job, void *user_data, struct vaccel_request **ret_request, struct error *error);
/* Fills C and runs. */
int gemm_job_run(struct gemm_job *job, uint64_t *ret_ns, struct error *error);
/*
 * Compares the last result. At most about work multiplications: entries are drawn at random (corners always) when all of
 * them would be more. Bound of an entry: 4 (k + 2) eps (sum |alpha| |a| |b| + |beta| |c|), eps of the data type; its
 * reference is summed in double precision. Error only when memory is short or not there.
 */
void gemm_job_check(const struct gemm_job *job, uint64_t work, struct gemm_check *ret_check);
void gemm_job_fini(struct gemm_job *job);

/*
 * One entry of C, for a look at every result that costs next to nothing: the largest of those looked at, so that it
 * tells one alpha from another. For beta = 0, and an m and n that are not.
 */
struct gemm_spot {
	size_t index;
	double sum, size; /* of its products; of their absolute values */
};
void gemm_job_spot(const struct gemm_job *job, struct gemm_spot *ret_spot);
/* Whether it is what alpha makes it. */
bool gemm_job_spot_right(const struct gemm_job *job, const struct gemm_spot *spot);

/* "entry (3, 4) is 1.5, should be 2.5 within 1e-6": for error messages. */
void gemm_check_text(const struct gemm_check *check, char *text, size_t len);

static inline double gemm_flop(const struct vaccel_gemm *gemm)
{
	return 2.0 * (double)gemm->m * (double)gemm->n * (double)gemm->k;
}

#endif
