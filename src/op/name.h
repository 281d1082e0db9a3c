/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts in parameters and arguments, and names of models. A header alone, so that plugins in this tree can use it.
 */
#ifndef VACCEL_OP_NAME_H
#define VACCEL_OP_NAME_H

#include <stdbool.h>
#include <string.h>
#include <vaccel/ops.h>

/* Whether it ends with a NUL in its size bytes, with nothing but more of them behind. */
static inline bool op_text_ends(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	if (len == size)
		return false;
	for (size_t i = len; i < size; i++)
		if (text[i])
			return false;
	return true;
}

/* Whether it can be a model's name; see <vaccel/ops.h>. The name ends. */
static inline bool op_model_name_valid(const char *name)
{
	static const char bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(name);

	return len > 0 && len < VACCEL_MODEL_NAME && strspn(name, bytes) == len && *name != '.' && *name != '-';
}

#endif
