/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program makes of answers about models and keys (src/lib/answer.c), from a daemon that may be anything. The first byte says
 * which operation the rest answers, the second how much room there was.
 */
#include "fuzz.h"

#include "lib/answer.h"
#include "op/name.h"
#include "op/tensor.h"
#include "util/util.h"

/* Memory of just that size, so that a byte beyond it is seen. */
static void *fill(struct input *in, size_t len)
{
	void *data = malloc(len ? len : 1);

	CHECK(data);
	input_bytes(in, data, len);
	return data;
}

static void check_text(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	CHECK(len < size);
	for (size_t i = 0; i < len; i++)
		CHECK((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
}

static void classified(struct input *in, uint32_t k)
{
	struct vaccel_classified *about = fill(in, sizeof(*about));
	struct vaccel_label *labels = fill(in, k * sizeof(*labels));
	struct error error;

	if (answer_classified(about, labels, k, &error) == 0) {
		CHECK(about->n_labels <= k);
		for (uint32_t i = 0; i < k; i++)
			check_text(labels[i].name, sizeof(labels[i].name));
	}
	free(labels);
	free(about);
}

static void output(struct input *in, size_t room)
{
	struct vaccel_tensor_desc *desc = fill(in, sizeof(*desc));
	char *data = fill(in, room);
	struct error error;
	uint64_t count;

	if (answer_output(desc, "y", &error) == 0) {
		CHECK(op_tensor_count(desc->rank, desc->dims, &count) == 0);
		if (desc->dtype != VACCEL_STRING)
			CHECK(count * op_dtype_find(desc->dtype)->size == desc->len);
		if (desc->len <= room && answer_strings(desc, data, &error) == 0 && desc->dtype == VACCEL_STRING)
			CHECK(op_strings_check(data, desc->len, count) == 0);
	}
	free(data);
	free(desc);
}

static void models(struct input *in, size_t room)
{
	struct vaccel_models *head = fill(in, sizeof(*head));
	struct vaccel_model_row *rows = fill(in, room * sizeof(*rows));
	struct error error;

	if (answer_models(head, rows, room, &error) == 0) {
		CHECK(head->n_rows <= room && head->n_rows <= head->n_models);
		for (uint32_t i = 0; i < head->n_rows; i++) {
			CHECK(op_model_name_valid(rows[i].name));
			check_text(rows[i].name, sizeof(rows[i].name));
			check_text(rows[i].framework, sizeof(rows[i].framework));
		}
	}
	free(rows);
	free(head);
}

static void about(struct input *in, size_t room)
{
	struct vaccel_model_about *about = fill(in, sizeof(*about));
	struct vaccel_tensor_desc *desc = fill(in, sizeof(*desc));
	char *labels = fill(in, room);
	struct error error;

	if (answer_signature(desc, &error) == 0) {
		check_text(desc->name, sizeof(desc->name));
		CHECK(desc->rank == UINT32_MAX || desc->rank <= VACCEL_MAX_RANK);
	}
	if (answer_about(about, &error) == 0 && about->labels_len <= room) {
		size_t *starts = calloc(about->row.n_labels + 1u, sizeof(*starts));

		check_text(about->description, sizeof(about->description));
		CHECK(starts);
		if (answer_labels(labels, about->labels_len, about->row.n_labels, starts, &error) == 0)
			for (uint32_t i = 0; i < about->row.n_labels; i++)
				check_text(labels + starts[i], about->labels_len - starts[i]);
		free(starts);
	}
	free(labels);
	free(desc);
	free(about);
}

/* wanted: what was asked for is anything, too. */
static void key(struct input *in, uint32_t room)
{
	struct vaccel_key_about *about = fill(in, sizeof(*about)), *wanted = fill(in, sizeof(*wanted));
	struct vaccel_akcipher_answer *answer = fill(in, sizeof(*answer));
	struct error error;

	if (answer_key(about, wanted, &error) == 0) {
		CHECK(about->id && about->rights && !about->reserved && about->held == wanted->held);
		CHECK(about->type >= VACCEL_KEY_AES && about->type <= VACCEL_KEY_RSA_PRIVATE);
		CHECK(about->bits && about->bits <= VACCEL_KEY_BYTES * 8);
		CHECK(!wanted->type || (about->type == wanted->type && about->rights == wanted->rights));
	}
	if (answer_akcipher(answer, room, &error) == 0)
		CHECK(answer->len <= room);
	free(answer);
	free(wanted);
	free(about);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t what = input_u8(&in), room = input_u8(&in);

	switch (what % 5) {
	case 0:
		classified(&in, room % 8);
		break;
	case 1:
		output(&in, room);
		break;
	case 2:
		models(&in, room % 8);
		break;
	case 3:
		about(&in, room);
		break;
	case 4:
		key(&in, room);
		break;
	}
	return 0;
}
