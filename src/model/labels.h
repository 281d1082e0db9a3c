/* SPDX-License-Identifier: Apache-2.0 */
/* A model's labels: a file of lines, UTF-8, the first is that of class 0. */
#ifndef VACCEL_MODEL_LABELS_H
#define VACCEL_MODEL_LABELS_H

#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

struct labels {
	char *text; /* as in MODEL_INFO: each label and its NUL */
	size_t len;
	const char **names; /* into text */
	size_t n;
};

/* Takes over text, which malloc() gave and which is len bytes and a NUL, also when it fails. name: of the file. */
int labels_parse(char *text, size_t len, const char *name, struct labels *ret_labels, struct error *error);
void labels_free(struct labels *labels);

/* Bytes of a text up to max that do not end within a character. */
size_t labels_cut(const char *text, size_t max);

#endif
