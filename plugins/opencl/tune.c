/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CLBlast's parameters for CPUs. Its table of tuned devices holds next to no CPUs, and what it takes for an unknown one
 * is far off, so these are set instead. They were found by measuring with PoCL on a CPU with AVX-512: in Xgemm,
 * work-items of 8 columns by as many rows as fill one or two vector registers, without copies to local memory, which a CPU
 * does not have. That is no slower than XgemmDirect even for the smallest matrices, so XgemmDirect is never chosen
 * (matrices count as large from 0 on), and its parameters are those that compile fastest, for it is compiled nevertheless.
 */
#include <clblast_c.h>
#include "opencl.h"

struct parameters {
	const char *kernel;
	CLBlastPrecision precision;
	size_t n;
	const char *const *names;
	const size_t *values;
};

static const char *const border_names[] = { "XGEMM_MIN_INDIRECT_SIZE" };
static const size_t border[] = { 0 };

static const char *const direct_names[] = {
	"KWID", "MDIMAD", "MDIMCD", "NDIMBD", "NDIMCD", "PADA", "PADB", "VWMD", "VWND", "WGD",
};
static const size_t direct[] = { 1, 8, 8, 8, 8, 0, 0, 1, 1, 8 };

static const char *const transpose_names[] = { "PADTRA_PAD", "PADTRA_TILE", "PADTRA_WPT" };
static const size_t transpose[] = { 0, 8, 1 };

static const char *const xgemm_names[] = {
	"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB",
	"NDIMC", "NWG",	 "SA",	"SB",  "STRM",	"STRN",	 "VWM", "VWN",
};
static const size_t xgemm_single[] = { 0, 1, 32, 2, 8, 8, 128, 8, 8, 64, 0, 0, 0, 0, 8, 8 };
static const size_t xgemm_double[] = { 0, 1, 32, 2, 8, 8, 64, 8, 8, 64, 0, 0, 0, 0, 8, 8 };

#define ROW(kernel_, precision_, names_, values_)                                                                    \
	{                                                                                                            \
		(kernel_), CLBlastPrecision##precision_, sizeof(values_) / sizeof((values_)[0]), (names_), (values_) \
	}

static const struct parameters table[] = {
	ROW("GemmRoutine", Single, border_names, border),	 ROW("XgemmDirect", Single, direct_names, direct),
	ROW("Padtranspose", Single, transpose_names, transpose), ROW("Xgemm", Single, xgemm_names, xgemm_single),
	ROW("GemmRoutine", Double, border_names, border),	 ROW("XgemmDirect", Double, direct_names, direct),
	ROW("Padtranspose", Double, transpose_names, transpose), ROW("Xgemm", Double, xgemm_names, xgemm_double),
};

int ocl_tune(const struct ocl_device *device, struct vaccel_plugin_report *report)
{
	CLBlastStatusCode status;
	size_t i;

	if (!(device->type & CL_DEVICE_TYPE_CPU))
		return 0;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct parameters *p = &table[i];

		if (p->precision == CLBlastPrecisionDouble && !device->fp64)
			continue;
		status = CLBlastOverrideParameters(device->id, p->kernel, p->precision, p->n, (const char **)p->names,
						   p->values);
		if (status != CLBlastSuccess)
			return ocl_error(report, (cl_int)status, "CLBlast takes no parameters for %s", p->kernel);
	}
	return 0;
}
