/* SPDX-License-Identifier: Apache-2.0 */
/* See answer.h. */
#include "lib/answer.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "op/cipher.h"
#include "op/name.h"
#include "op/tensor.h"
#include "util/util.h"

void answer_text(char *text, size_t size)
{
	text[size - 1] = 0;
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static float float_from_le(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	bits = le32toh(bits);
	memcpy(&value, &bits, sizeof(bits));
	return value;
}

/* The caller's memory may begin anywhere: a label is copied out, mended, and copied back. */
static void mend_label(struct vaccel_label *at)
{
	struct vaccel_label label;

	memcpy(&label, at, sizeof(label));
	label.index = le32toh(label.index);
	label.probability = float_from_le(label.probability);
	answer_text(label.name, sizeof(label.name));
	memcpy(at, &label, sizeof(label));
}

int answer_classified(struct vaccel_classified *about, struct vaccel_label *labels, uint32_t k, struct error *error)
{
	about->n_labels = le32toh(about->n_labels);
	about->n_classes = le32toh(about->n_classes);
	about->width = le32toh(about->width);
	about->height = le32toh(about->height);
	about->decode_ns = le64toh(about->decode_ns);
	about->prepare_ns = le64toh(about->prepare_ns);
	about->run_ns = le64toh(about->run_ns);
	about->batch = le32toh(about->batch);
	about->reserved = 0;
	if (about->n_labels > k)
		return error_set(error, -EPROTO,
				 "image_classify: the answer has %" PRIu32 " labels, %" PRIu32 " were asked for",
				 about->n_labels, k);
	for (uint32_t i = 0; i < about->n_labels; i++)
		mend_label(&labels[i]);
	memset(labels + about->n_labels, 0, (k - about->n_labels) * sizeof(*labels));
	return 0;
}

static void desc_from_le(struct vaccel_tensor_desc *desc)
{
	answer_text(desc->name, sizeof(desc->name));
	desc->dtype = le32toh(desc->dtype);
	desc->rank = le32toh(desc->rank);
	for (size_t i = 0; i < VACCEL_MAX_RANK; i++)
		desc->dims[i] = (int64_t)le64toh((uint64_t)desc->dims[i]);
	desc->len = le64toh(desc->len);
}

static void clear_behind_rank(struct vaccel_tensor_desc *desc)
{
	for (size_t i = desc->rank; i < VACCEL_MAX_RANK; i++)
		desc->dims[i] = 0;
}

int answer_output(struct vaccel_tensor_desc *desc, const char *name, struct error *error)
{
	const struct op_dtype *type;
	uint64_t count, len;
	/* As it came: a name may have characters that no terminal should see. */
	bool same = memchr(desc->name, 0, sizeof(desc->name)) && !strcmp(desc->name, name);

	desc_from_le(desc);
	if (!same)
		return error_set(error, -EPROTO, "infer: the answer is about output %.40s, not %.40s", desc->name,
				 name);
	type = op_dtype_find(desc->dtype);
	if (!type)
		return error_set(error, -EPROTO, "infer: output %.80s came with type %" PRIu32 ", which is none", name,
				 desc->dtype);
	if (op_tensor_count(desc->rank, desc->dims, &count) < 0)
		return error_set(error, -EPROTO, "infer: output %.80s came with a shape that cannot be", name);
	/* Strings begin with a length of each. What op_tensor_count() lets through cannot overflow. */
	len = count * (type->size ? type->size : sizeof(uint32_t));
	if (desc->len > PTRDIFF_MAX || (type->size ? desc->len != len : desc->len < len))
		return error_set(error, -EPROTO,
				 "infer: output %.80s came with %" PRIu64 " bytes, which its shape does not have", name,
				 desc->len);
	clear_behind_rank(desc);
	return 0;
}

int answer_strings(const struct vaccel_tensor_desc *desc, const void *data, struct error *error)
{
	uint64_t count;

	if (desc->dtype != VACCEL_STRING)
		return 0;
	if (op_tensor_count(desc->rank, desc->dims, &count) < 0 || op_strings_check(data, desc->len, count) < 0)
		return error_set(error, -EPROTO, "infer: the strings of output %.80s do not lie as they have to",
				 desc->name);
	return 0;
}

static int mend_row(struct vaccel_model_row *row, struct error *error)
{
	answer_text(row->name, sizeof(row->name));
	answer_text(row->framework, sizeof(row->framework));
	row->flags = le32toh(row->flags);
	row->n_labels = le32toh(row->n_labels);
	row->bytes = le64toh(row->bytes);
	/* Nothing else may be one, and scripts paste it. */
	if (!op_model_name_valid(row->name))
		return error_set(error, -EPROTO, "models: the answer has one that is called \"%s\"", row->name);
	return 0;
}

int answer_models(struct vaccel_models *models, struct vaccel_model_row *rows, size_t room, struct error *error)
{
	models->n_models = le32toh(models->n_models);
	models->n_rows = le32toh(models->n_rows);
	models->changes = le64toh(models->changes);
	if (models->n_models > ANSWER_MAX_MODELS || models->n_rows != MIN(models->n_models, room))
		return error_set(error, -EPROTO,
				 "models: the answer has %" PRIu32 " rows of %" PRIu32 " in room for %zu: malformed",
				 models->n_rows, models->n_models, room);
	for (uint32_t i = 0; i < models->n_rows; i++) {
		int r = mend_row(&rows[i], error);

		if (r < 0)
			return r;
	}
	return 0;
}

int answer_about(struct vaccel_model_about *about, struct error *error)
{
	int r = mend_row(&about->row, error);

	answer_text(about->signature, sizeof(about->signature));
	answer_text(about->description, sizeof(about->description));
	about->n_inputs = le32toh(about->n_inputs);
	about->n_outputs = le32toh(about->n_outputs);
	about->n_tensors = le32toh(about->n_tensors);
	about->width = le32toh(about->width);
	about->height = le32toh(about->height);
	about->channels = le32toh(about->channels);
	about->labels_len = le64toh(about->labels_len);
	if (r < 0)
		return r;
	if (about->n_inputs > ANSWER_MAX_TENSORS || about->n_outputs > ANSWER_MAX_TENSORS)
		return error_set(error, -EPROTO,
				 "model %s: the answer has %" PRIu32 " inputs and %" PRIu32 " outputs: malformed",
				 about->row.name, about->n_inputs, about->n_outputs);
	if (about->row.n_labels > ANSWER_MAX_LABELS || about->labels_len > ANSWER_MAX_TEXT)
		return error_set(error, -EPROTO,
				 "model %s: the answer has %" PRIu32 " labels of %" PRIu64 " bytes: malformed",
				 about->row.name, about->row.n_labels, about->labels_len);
	return 0;
}

int answer_signature(struct vaccel_tensor_desc *desc, struct error *error)
{
	desc_from_le(desc);
	desc->len = 0;
	/* Of any rank: there are no dimensions to look at. */
	if (desc->rank == UINT32_MAX) {
		memset(desc->dims, 0, sizeof(desc->dims));
		return 0;
	}
	if (desc->rank > VACCEL_MAX_RANK)
		return error_set(error, -EPROTO, "model: tensor %.80s came with rank %" PRIu32, desc->name, desc->rank);
	for (uint32_t i = 0; i < desc->rank; i++)
		if (desc->dims[i] < -1)
			return error_set(error, -EPROTO, "model: tensor %.80s came with dimension %" PRIi64, desc->name,
					 desc->dims[i]);
	clear_behind_rank(desc);
	return 0;
}

int answer_labels(char *labels, size_t len, size_t n, size_t *starts, struct error *error)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		const char *end = at < len ? memchr(labels + at, 0, len - at) : NULL;

		if (!end)
			return error_set(error, -EPROTO, "model: the answer ends in label %zu of %zu", i, n);
		starts[i] = at;
		answer_text(labels + at, (size_t)(end - (labels + at)) + 1);
		at = (size_t)(end - labels) + 1;
	}
	return 0;
}

/* Bits that a key may be said to have. RSA: of moduli that anybody has, and whose bytes fit a request. */
static bool bits_possible(const struct vaccel_key_about *about)
{
	const struct cipher_mode *mode;

	if (about->type != VACCEL_KEY_AES)
		return about->bits && about->bits <= VACCEL_KEY_BYTES * 8;
	for (size_t i = 0; (mode = cipher_mode_at(i)); i++)
		if (about->bits % 8 == 0 && cipher_mode_takes_key(mode, about->bits / 8))
			return true;
	return false;
}

int answer_key(struct vaccel_key_about *about, const struct vaccel_key_about *wanted, struct error *error)
{
	about->id = le64toh(about->id);
	about->type = le32toh(about->type);
	about->bits = le32toh(about->bits);
	about->modes = le32toh(about->modes);
	about->rights = le32toh(about->rights);
	about->held = le32toh(about->held);
	about->reserved = 0;
	if (!about->id)
		return error_set(error, -EPROTO, "key: the answer has number 0");
	if (about->type < VACCEL_KEY_AES || about->type > VACCEL_KEY_RSA_PRIVATE || !bits_possible(about))
		return error_set(error, -EPROTO, "key: the answer has type %" PRIu32 " and %" PRIu32 " bits: malformed",
				 about->type, about->bits);
	if (!about->rights || about->rights & ~(uint32_t)VACCEL_MAY_ALL || about->held != wanted->held)
		return error_set(error, -EPROTO,
				 "key: the answer has rights %#" PRIx32 " and says %" PRIu32 " for held: malformed",
				 about->rights, about->held);
	if (wanted->type && (about->type != wanted->type || about->modes != wanted->modes ||
			     about->rights != wanted->rights || (wanted->bits && about->bits != wanted->bits)))
		return error_set(error, -EPROTO, "key: the answer is about another one than was given");
	return 0;
}

int answer_akcipher(struct vaccel_akcipher_answer *answer, size_t room, struct error *error)
{
	answer->len = le32toh(answer->len);
	answer->reserved = 0;
	return answer->len > room ? error_set(error, -EPROTO,
					      "akcipher: the answer has %" PRIu32 " bytes in room for %zu: malformed",
					      answer->len, room)
				  : 0;
}
