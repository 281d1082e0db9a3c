/* SPDX-License-Identifier: Apache-2.0 */
/* See signature.c. */
#ifndef VACCEL_MODEL_SIGNATURE_H
#define VACCEL_MODEL_SIGNATURE_H

#include "model/model.h"

/* dir: 1 inputs, 2 outputs. The rows are the caller's to free. -EINVAL, -E2BIG: what no request could name or hold. */
int signature_read(const struct vaccel_plugin_framework *framework, void *handle, uint32_t dir,
		   struct model_tensors *ret_tensors, struct error *error);
/* "a, b, c", for sentences. */
void signature_names(const struct model_tensors *tensors, char *ret_text, size_t len);

#endif
