/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CLBlast's parameters for CPUs. Its table of tuned devices holds next to no CPUs, and what it takes for an unknown
 * one is far off, so these are set instead. They were found by measuring with PoCL on a CPU with AVX-512: work-items of
 * 8 columns by as many rows as fill two vector registers, no copies to local memory, which a CPU does not have; and for
 * small matrices a kernel that is compiled in a fraction of the time.
 */
#include <clblast_c.h>
#include "opencl.h"

enum { MAX_PARAMETERS = 16 };

struct parameters {
	const char *kernel;
	CLBlastPrecision precision;
	size_t n;
	const char *names[MAX_PARAMETERS];
	size_t values[MAX_PARAMETERS];
};

#define LARGE_NAMES                                                                                                  \
	{                                                                                                            \
		"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB", "NDIMC", "NWG", "SA", "SB", "STRM", \
			"STRN", "VWM", "VWN"                                                                         \
	}
#define SMALL_NAMES                                                                                   \
	{                                                                                             \
		"KWID", "MDIMAD", "MDIMCD", "NDIMBD", "NDIMCD", "PADA", "PADB", "VWMD", "VWND", "WGD" \
	}
#define SMALL_VALUES                          \
	{                                     \
		2, 8, 8, 8, 8, 0, 0, 2, 1, 16 \
	}
#define BORDER_NAMES                      \
	{                                 \
		"XGEMM_MIN_INDIRECT_SIZE" \
	}
#define BORDER_VALUES         \
	{                     \
		OCL_CPU_LARGE \
	}

static const struct parameters table[] = {
	{ "GemmRoutine", CLBlastPrecisionSingle, 1, BORDER_NAMES, BORDER_VALUES },
	{ "XgemmDirect", CLBlastPrecisionSingle, 10, SMALL_NAMES, SMALL_VALUES },
	{ "Padtranspose", CLBlastPrecisionSingle, 3, { "PADTRA_PAD", "PADTRA_TILE", "PADTRA_WPT" }, { 0, 8, 1 } },
	{ "Xgemm", CLBlastPrecisionSingle, 16, LARGE_NAMES, { 0, 1, 32, 2, 8, 8, 128, 8, 8, 64, 0, 0, 0, 0, 8, 8 } },
	{ "GemmRoutine", CLBlastPrecisionDouble, 1, BORDER_NAMES, BORDER_VALUES },
	{ "XgemmDirect", CLBlastPrecisionDouble, 10, SMALL_NAMES, SMALL_VALUES },
	{ "Padtranspose", CLBlastPrecisionDouble, 3, { "PADTRA_PAD", "PADTRA_TILE", "PADTRA_WPT" }, { 0, 8, 1 } },
	{ "Xgemm", CLBlastPrecisionDouble, 16, LARGE_NAMES, { 0, 1, 32, 2, 8, 8, 64, 8, 8, 64, 0, 0, 0, 0, 8, 8 } },
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
