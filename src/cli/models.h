/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands on models share: asking for a model, and how models and tensors are written. */
#ifndef VACCEL_CLI_MODELS_H
#define VACCEL_CLI_MODELS_H

#include "cli/cli.h"

/* A connection, and a model that was asked for over it and can be used. */
struct model_client {
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_model *model;
	size_t max; /* bytes that the arguments of a request may have */
};

/* CLI_OK, or the status to return (told). To be closed either way. */
int model_open(struct cli *cli, const char *url, const char *name, struct model_client *ret_client);
void model_close(struct model_client *client);
#define _cleanup_model_client_ __attribute__((cleanup(model_close)))

static inline void model_free(struct vaccel_model **model)
{
	vaccel_model_free(*model);
}
#define _cleanup_model_ __attribute__((cleanup(model_free)))

#define TENSOR_TEXT 256
/* "float32[?, 28, 28, 1]" */
void tensor_text(uint32_t dtype, uint32_t rank, const int64_t *dims, char text[TENSOR_TEXT]);
/* Type and shape; null where the signature says that anything is possible. */
void tensor_json(struct json_object *object, uint32_t dtype, uint32_t rank, const int64_t *dims);

/* ---- values.c ---- */

#define VALUE_TEXT 128
/* Element index of a tensor. data as vaccel_infer() fills it, checked. */
void value_text(const struct vaccel_tensor *tensor, size_t index, char text[VALUE_TEXT]);
/* Complex numbers are pairs; what is no number is null. */
struct json_object *value_json(const struct vaccel_tensor *tensor, size_t index);
/* With so many digits; null when it is not finite. */
struct json_object *real_json(double value, int digits);
/* Elements that there are. */
size_t value_count(const struct vaccel_tensor *tensor);

#endif
