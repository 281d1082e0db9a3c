/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the other end wrote into a caller's memory, or into the library's, as an answer about models or keys: little-endian
 * structs that may say anything. These functions turn them into the machine's byte order in place, end and clean their texts, and
 * refuse counts, shapes and lengths that cannot be. They do no I/O, allocate nothing and look at nothing but their
 * arguments; fuzz/model.c attacks them.
 *
 * -EPROTO: the answer is malformed, and error says what of it.
 */
#ifndef VACCEL_LIB_ANSWER_H
#define VACCEL_LIB_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <vaccel/ops.h>

#include "util/error.h"

/* Ends a text and takes control characters out of it. size: of its array, at least 1. */
void answer_text(char *text, size_t size);

/* IMAGE_CLASSIFY that was asked for k labels. Labels behind those that there are become zero. */
int answer_classified(struct vaccel_classified *about, struct vaccel_label *labels, uint32_t k, struct error *error);

/* An output of INFER, which was asked for by this name. Elements of strings are answer_strings()'s to check. */
int answer_output(struct vaccel_tensor_desc *desc, const char *name, struct error *error);
/* The elements of a string output that was written. */
int answer_strings(const struct vaccel_tensor_desc *desc, const void *data, struct error *error);

/* MODEL_LIST that began with row 0 and had room for that many rows. */
int answer_models(struct vaccel_models *models, struct vaccel_model_row *rows, size_t room, struct error *error);

/* MODEL_INFO: the counts are sane, though perhaps larger than the room that there was. */
int answer_about(struct vaccel_model_about *about, struct error *error);
/* A tensor of a signature. */
int answer_signature(struct vaccel_tensor_desc *desc, struct error *error);
/*
 * Cleans len bytes of labels, n texts that end with a NUL each. starts: room for n offsets, which are filled.
 */
int answer_labels(char *labels, size_t len, size_t n, size_t *starts, struct error *error);

/*
 * KEY_IMPORT, KEY_OPEN. wanted: type, modes, rights and held are what was asked for, bits what the key has; 0 in bits or
 * type: the host says.
 */
int answer_key(struct vaccel_key_about *about, const struct vaccel_key_about *wanted, struct error *error);
/* AKCIPHER with room for that many bytes. */
int answer_akcipher(struct vaccel_akcipher_answer *answer, size_t room, struct error *error);

/* More than that of anything is an answer that cannot be. */
#define ANSWER_MAX_MODELS  65536
#define ANSWER_MAX_TENSORS 4096
#define ANSWER_MAX_LABELS  (1u << 20)
#define ANSWER_MAX_TEXT	   (64u << 20) /* bytes of a model's labels */

#endif
