/* SPDX-License-Identifier: Apache-2.0 */
/* The operations on models: what their files share. */
#ifndef VACCEL_LIB_MODEL_H
#define VACCEL_LIB_MODEL_H

#include <vaccel/vaccel.h>

/* Copies a model's name into a parameter struct's member, zero-filled. -EINVAL with vaccel_error() set: it cannot be one. */
int model_name(char dst[VACCEL_MODEL_NAME], const char *name, const char *op);

#endif
