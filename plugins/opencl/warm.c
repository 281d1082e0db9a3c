/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels ahead of time. OpenCL drivers compile when a program is built, which CLBlast does at the first call in each
 * precision, and PoCL links a kernel, by starting a linker, when it is first enqueued. Neither may happen in a worker
 * that has closed its sandbox, so operations are run here that make use of every kernel: CLBlast has one for small
 * matrices per pair of transposes, and one for large ones with helpers that pad, copy and transpose. With a filled
 * kernel cache this takes little time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "opencl.h"

/* LARGE is a multiple of every tile; with ODD, matrices need padding. CPUs use the kernel for large matrices alone. */
enum { SMALL = 32, LARGE = 256, ODD = LARGE + 1 };

struct shape {
	uint64_t order;
	bool ta, tb;
	uint64_t size;
};

static int warm_shape(struct ocl_session *session, enum ocl_precision precision, const struct shape *shape, void *data,
		      struct vaccel_plugin_report *report)
{
	const uint64_t size = shape->size;
	const size_t bytes = size * size * (precision == OCL_DOUBLE ? sizeof(double) : sizeof(float));
	const struct vaccel_gemm gemm = {
		.order = (uint32_t)shape->order,
		.transa = shape->ta ? VACCEL_TRANS : VACCEL_NO_TRANS,
		.transb = shape->tb ? VACCEL_TRANS : VACCEL_NO_TRANS,
		.m = size,
		.n = size,
		.k = size,
		.lda = size,
		.ldb = size,
		.ldc = size,
		.alpha = 1,
		.beta = 1,
	};
	const struct vaccel_plugin_arg args[] = {
		{ .data = data, .len = bytes, .dir = 1 },
		{ .data = data, .len = bytes, .dir = 1 },
		{ .data = (char *)data + bytes, .len = bytes, .dir = 3 },
	};
	const struct vaccel_plugin_call call = {
		.size = sizeof(call),
		.op = precision == OCL_DOUBLE ? VACCEL_OP_DGEMM : VACCEL_OP_SGEMM,
		.params = &gemm,
		.params_len = sizeof(gemm),
		.args = args,
		.n_args = 3,
		.session = session,
		.report = *report,
	};

	return precision == OCL_DOUBLE ? ocl_dgemm(&call) : ocl_sgemm(&call);
}

static int warm_precision(struct ocl_session *session, enum ocl_precision precision, void *data,
			  struct vaccel_plugin_report *report)
{
	static const uint64_t sizes[] = { SMALL, LARGE, ODD };
	struct shape shape;
	unsigned int i, bits;
	int r = 0;

	/* A pre-built kernel is one kernel. */
	if (session->ocl->prebuilt_only) {
		shape = (struct shape){ .order = VACCEL_ROW_MAJOR, .size = SMALL };
		return session->ocl->prebuilt[precision].program ? warm_shape(session, precision, &shape, data, report)
								 : 0;
	}
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (bits = 0; bits < 8 && !r; bits++) {
			shape = (struct shape){
				.order = bits & 4 ? VACCEL_COL_MAJOR : VACCEL_ROW_MAJOR,
				.ta = bits & 1,
				.tb = bits & 2,
				.size = sizes[i],
			};
			r = warm_shape(session, precision, &shape, data, report);
		}
	return r;
}

int ocl_warm_up(struct ocl *ocl, struct vaccel_plugin_report *report)
{
	struct ocl_session *session = NULL;
	/* Two matrices of the largest size: A and B may be the same. Aligned, as CLBlast copies what has an offset. */
	const size_t bytes = 2 * (size_t)ODD * ODD * sizeof(double);
	void *data = NULL;
	int r, p;

	if (posix_memalign(&data, (size_t)sysconf(_SC_PAGESIZE), bytes))
		return vaccel_plugin_error(report, -ENOMEM, "opencl: no memory to compile kernels ahead");
	memset(data, 0, bytes);
	r = ocl_session_new(ocl, &session, report);
	for (p = 0; p < OCL_N_PRECISIONS && !r; p++)
		if (p != OCL_DOUBLE || ocl->device.fp64)
			r = warm_precision(session, (enum ocl_precision)p, data, report);
	ocl_session_free(session);
	free(data);
	return r;
}
