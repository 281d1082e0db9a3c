/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NumPy's file format .npy, versions 1 to 3: one array and its type and shape, as tensors of vaccel_infer() have them.
 *
 * Read: elements by rows, little-endian or of one byte; strings of fixed length (S, U) become VACCEL_STRING, U as UTF-8,
 * each without the NULs at its end. V2 is bfloat16, as NumPy itself does not know that type. Fortran order, big-endian and
 * Python objects are refused.
 */
#ifndef VACCEL_CLI_NPY_H
#define VACCEL_CLI_NPY_H

#include <vaccel/vaccel.h>

#include "util/error.h"

struct npy {
	uint32_t dtype;
	uint32_t rank;
	int64_t dims[VACCEL_MAX_RANK];
	void *data; /* allocated */
	size_t len;
};

/* From the bytes of a file; nothing of them is kept. -EINVAL: it is no such file, or one of those that are refused. */
int npy_decode(const void *bytes, size_t len, struct npy *ret_npy, struct error *error);
/* To the bytes of a file, allocated. */
int npy_encode(const struct vaccel_tensor *tensor, void **ret_bytes, size_t *ret_len, struct error *error);

#endif
