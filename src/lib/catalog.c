/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which models there are, and what one of them takes and gives. Both are asked for with room for what is usual, and again
 * with as much as the answer says that there is: models come and go meanwhile, so that may take more than one turn.
 */
#include <errno.h>
#include <string.h>

#include "lib/answer.h"
#include "lib/internal.h"
#include "lib/model.h"
#include "util/util.h"

#define USUAL_MODELS  64
#define USUAL_TENSORS 32
#define USUAL_TEXT    32768 /* bytes of labels: a thousand of them */
#define MAX_TURNS     8

struct vaccel_catalog {
	struct vaccel_models head;
	struct vaccel_model_row rows[];
};

struct vaccel_model {
	struct vaccel_model_about about;
	size_t room_tensors, room_text;
	struct vaccel_tensor_desc *tensors;
	char *text;
	size_t *starts; /* of labels in text */
};

/* ---- MODEL_LIST ---- */

static int ask_list(struct vaccel_session *session, size_t room, struct vaccel_catalog **ret_catalog)
{
	struct vaccel_catalog *catalog = calloc(1, sizeof(*catalog) + room * sizeof(catalog->rows[0]));
	const struct vaccel_model_list params = { .first = 0 };
	struct vaccel_arg args[2];
	const struct vaccel_call call = {
		.size = sizeof(call),
		.op = VACCEL_OP_MODEL_LIST,
		.params = &params,
		.params_len = sizeof(params),
		.args = args,
		.n_args = ARRAY_SIZE(args),
	};
	struct error error;
	int r;

	if (!catalog)
		return lib_failf(-ENOMEM, "models: out of memory");
	args[0] = out_arg(&catalog->head, sizeof(catalog->head));
	args[1] = out_arg(catalog->rows, room * sizeof(catalog->rows[0]));
	r = vaccel_run(session, &call);
	if (r == 0 && answer_models(&catalog->head, catalog->rows, room, &error) < 0)
		r = lib_fail(&error);
	if (r < 0) {
		free(catalog);
		return r;
	}
	*ret_catalog = catalog;
	return 0;
}

PUBLIC int vaccel_catalog_new(struct vaccel_session *session, struct vaccel_catalog **ret_catalog)
{
	size_t room = USUAL_MODELS;

	if (!ret_catalog)
		return lib_failf(-EINVAL, "models: nowhere to return them");
	for (int turn = 0; turn < MAX_TURNS; turn++) {
		struct vaccel_catalog *catalog;
		int r = ask_list(session, room, &catalog);

		if (r < 0)
			return r;
		if (catalog->head.n_models <= room) {
			*ret_catalog = catalog;
			return 0;
		}
		room = catalog->head.n_models + USUAL_MODELS;
		free(catalog);
	}
	return lib_failf(-EAGAIN, "models: there were more of them each time that they were asked for");
}

PUBLIC const struct vaccel_model_row *vaccel_catalog_row(const struct vaccel_catalog *catalog, size_t index)
{
	return catalog && index < catalog->head.n_rows ? &catalog->rows[index] : NULL;
}

PUBLIC uint64_t vaccel_catalog_changes(const struct vaccel_catalog *catalog)
{
	return catalog ? catalog->head.changes : 0;
}

PUBLIC void vaccel_catalog_free(struct vaccel_catalog *catalog)
{
	free(catalog);
}

/* ---- MODEL_INFO ---- */

static int make_room(struct vaccel_model *model, size_t tensors, size_t text)
{
	free(model->tensors);
	free(model->text);
	model->tensors = calloc(tensors, sizeof(model->tensors[0]));
	model->text = calloc(text, 1);
	model->room_tensors = tensors;
	model->room_text = text;
	return model->tensors && model->text ? 0 : lib_failf(-ENOMEM, "model: out of memory");
}

static int ask_info(struct vaccel_session *session, const struct vaccel_model_query *query, struct vaccel_model *model)
{
	struct vaccel_arg args[] = {
		out_arg(&model->about, sizeof(model->about)),
		out_arg(model->tensors, model->room_tensors * sizeof(model->tensors[0])),
		out_arg(model->text, model->room_text),
	};
	const struct vaccel_call call = {
		.size = sizeof(call),
		.op = VACCEL_OP_MODEL_INFO,
		.params = query,
		.params_len = sizeof(*query),
		.args = args,
		.n_args = ARRAY_SIZE(args),
	};
	struct error error;
	int r = vaccel_run(session, &call);

	if (r < 0)
		return r;
	return answer_about(&model->about, &error) < 0 ? lib_fail(&error) : 0;
}

/* All of the answer is there. */
static int check_info(struct vaccel_model *model)
{
	const struct vaccel_model_about *about = &model->about;
	size_t n = (size_t)about->n_inputs + about->n_outputs;
	struct error error;

	if (about->n_tensors != n)
		return lib_failf(-EPROTO, "model %s: the answer describes %u tensors of %zu: malformed",
				 about->row.name, about->n_tensors, n);
	for (size_t i = 0; i < n; i++)
		if (answer_signature(&model->tensors[i], &error) < 0)
			return lib_fail(&error);
	model->starts = calloc(about->row.n_labels + 1u, sizeof(model->starts[0]));
	if (!model->starts)
		return lib_failf(-ENOMEM, "model: out of memory");
	if (answer_labels(model->text, about->labels_len, about->row.n_labels, model->starts, &error) < 0)
		return lib_fail(&error);
	return 0;
}

static int fill_model(struct vaccel_session *session, const struct vaccel_model_query *query,
		      struct vaccel_model *model)
{
	size_t tensors = USUAL_TENSORS, text = USUAL_TEXT;

	for (int turn = 0; turn < MAX_TURNS; turn++) {
		const struct vaccel_model_about *about = &model->about;
		int r = make_room(model, tensors, text);

		if (r == 0)
			r = ask_info(session, query, model);
		if (r < 0)
			return r;
		if (about->n_inputs + about->n_outputs <= tensors && about->labels_len <= text)
			return check_info(model);
		tensors = MAX(tensors, about->n_inputs + about->n_outputs);
		text = MAX(text, about->labels_len);
	}
	return lib_failf(-EAGAIN, "model %s: it was larger each time that it was asked for", query->model);
}

PUBLIC int vaccel_model_new(struct vaccel_session *session, const char *name, struct vaccel_model **ret_model)
{
	struct vaccel_model_query query;
	struct vaccel_model *model;
	int r;

	if (!ret_model)
		return lib_failf(-EINVAL, "model: nowhere to return it");
	r = model_name(query.model, name, "model_info");
	if (r < 0)
		return r;
	model = calloc(1, sizeof(*model));
	if (!model)
		return lib_failf(-ENOMEM, "model: out of memory");
	r = fill_model(session, &query, model);
	if (r < 0) {
		vaccel_model_free(model);
		return r;
	}
	*ret_model = model;
	return 0;
}

PUBLIC const struct vaccel_model_about *vaccel_model_about(const struct vaccel_model *model)
{
	return model ? &model->about : NULL;
}

PUBLIC const struct vaccel_tensor_desc *vaccel_model_tensor(const struct vaccel_model *model, uint32_t dir,
							    size_t index)
{
	if (model && dir == VACCEL_IN && index < model->about.n_inputs)
		return &model->tensors[index];
	if (model && dir == VACCEL_OUT && index < model->about.n_outputs)
		return &model->tensors[model->about.n_inputs + index];
	return NULL;
}

PUBLIC const char *vaccel_model_label(const struct vaccel_model *model, size_t index)
{
	return model && index < model->about.row.n_labels ? model->text + model->starts[index] : NULL;
}

PUBLIC void vaccel_model_free(struct vaccel_model *model)
{
	if (!model)
		return;
	free(model->tensors);
	free(model->text);
	free(model->starts);
	free(model);
}
