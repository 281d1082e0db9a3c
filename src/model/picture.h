/* SPDX-License-Identifier: Apache-2.0 */
/* See picture.c. */
#ifndef VACCEL_MODEL_PICTURE_H
#define VACCEL_MODEL_PICTURE_H

#include "model/model.h"

/* Completes model->rule, input and output; the signature and the labels are known. Errors are about [image]. */
int picture_setup(struct model *model, struct error *error);

#endif
