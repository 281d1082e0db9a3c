/* SPDX-License-Identifier: Apache-2.0 */
/* Files of NumPy's that somebody else made (src/cli/npy.c): what is read is a tensor, and is the same after it was written. */
#include "fuzz.h"

#include "cli/npy.h"
#include "op/tensor.h"

static void write_again(const struct npy *npy)
{
	struct vaccel_tensor tensor = {
		.size = sizeof(tensor), .dtype = npy->dtype, .rank = npy->rank, .data = npy->data, .len = npy->len
	};
	struct error error;
	struct npy again;
	void *bytes;
	size_t len;

	memcpy(tensor.dims, npy->dims, sizeof(tensor.dims));
	CHECK(npy_encode(&tensor, &bytes, &len, &error) == 0);
	CHECK(npy_decode(bytes, len, &again, &error) == 0);
	CHECK(again.dtype == npy->dtype && again.rank == npy->rank);
	CHECK(!memcmp(again.dims, npy->dims, npy->rank * sizeof(npy->dims[0])));
	CHECK(again.len == npy->len && !memcmp(again.data, npy->data, npy->len));
	free(again.data);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error error = { 0 };
	struct npy npy;
	uint64_t count;

	if (npy_decode(data, size, &npy, &error) < 0) {
		CHECK(error.text[0]);
		return 0;
	}
	CHECK(op_tensor_count(npy.rank, npy.dims, &count) == 0);
	if (npy.dtype == VACCEL_STRING)
		CHECK(op_strings_check(npy.data, npy.len, count) == 0);
	else
		CHECK(count * op_dtype_find(npy.dtype)->size == npy.len);
	write_again(&npy);
	free(npy.data);
	return 0;
}
