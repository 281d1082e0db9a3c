/* SPDX-License-Identifier: Apache-2.0 */
/* vaccel models: which models there are, or all about one of them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/models.h"

struct models_options {
	struct cli_common common;
	int names;
};

static const struct cli_option models_options[] = {
	CLI_ROW_FLAG(struct models_options, names, "names", 0, 1, "print names alone, one a line"),
	CLI_ROWS_COMMON(struct models_options),
};

static void hash_text(const struct vaccel_model_row *row, char text[65])
{
	for (size_t i = 0; i < sizeof(row->hash); i++)
		snprintf(text + 2 * i, 3, "%02x", row->hash[i]);
}

/* ---- JSON ---- */

static struct json_object *tensors_json(const struct vaccel_model *model, uint32_t dir)
{
	struct json_object *array = json_object_new_array();
	const struct vaccel_tensor_desc *desc;

	for (size_t i = 0; (desc = vaccel_model_tensor(model, dir, i)); i++) {
		struct json_object *row = json_object_new_object();

		js_text(row, "name", desc->name);
		tensor_json(row, desc->dtype, desc->rank, desc->dims);
		json_object_array_add(array, row);
	}
	return array;
}

/* model may be NULL: it did not say more. */
static struct json_object *row_json(const struct vaccel_model_row *row, const struct vaccel_model *model)
{
	struct json_object *object = json_object_new_object();
	char hash[65];

	hash_text(row, hash);
	js_text(object, "name", row->name);
	js_text(object, "framework", row->framework);
	js_bool(object, "broken", row->flags & VACCEL_MODEL_BROKEN);
	js_bool(object, "outdated", row->flags & VACCEL_MODEL_OUTDATED);
	js_bool(object, "classifies", row->flags & VACCEL_MODEL_CLASSIFIES);
	json_object_object_add(object, "inputs", model ? tensors_json(model, VACCEL_IN) : NULL);
	json_object_object_add(object, "outputs", model ? tensors_json(model, VACCEL_OUT) : NULL);
	js_count(object, "n_labels", row->n_labels);
	js_count(object, "bytes", row->bytes);
	js_text(object, "sha256", hash);
	return object;
}

static void print_one_json(const struct vaccel_model *model)
{
	const struct vaccel_model_about *about = vaccel_model_about(model);
	struct json_object *object = row_json(&about->row, model);
	struct json_object *picture = NULL, *labels = json_object_new_array();
	const char *label;

	js_text(object, "signature", *about->signature ? about->signature : NULL);
	js_text(object, "description", *about->description ? about->description : NULL);
	if (about->row.flags & VACCEL_MODEL_CLASSIFIES) {
		picture = json_object_new_object();
		js_count(picture, "width", about->width);
		js_count(picture, "height", about->height);
		js_count(picture, "channels", about->channels);
	}
	json_object_object_add(object, "picture", picture);
	for (size_t i = 0; (label = vaccel_model_label(model, i)); i++)
		json_object_array_add(labels, js_string(label, strlen(label)));
	json_object_object_add(object, "labels", labels);
	cli_print_json(object);
}

/* ---- Text ---- */

static size_t put_tensors(const struct vaccel_model *model, uint32_t dir, char *text, size_t room)
{
	const struct vaccel_tensor_desc *desc;
	size_t n = 0;

	*text = 0;
	for (size_t i = 0; (desc = vaccel_model_tensor(model, dir, i)) && n < room; i++) {
		char shape[TENSOR_TEXT];

		tensor_text(desc->dtype, desc->rank, desc->dims, shape);
		n += (size_t)snprintf(text + n, room - n, "%s%s %s", i ? "; " : "", desc->name, shape);
	}
	return MIN(n, room - 1);
}

static void put_signature(const struct vaccel_model *model, char *text, size_t room)
{
	size_t n = put_tensors(model, VACCEL_IN, text, room);

	n += (size_t)snprintf(text + n, room - n, " -> ");
	if (n < room)
		put_tensors(model, VACCEL_OUT, text + n, room - n);
}

static void print_row(struct table *table, const struct vaccel_model_row *row, const struct vaccel_model *model)
{
	char hash[65], signature[512];

	hash_text(row, hash);
	if (row->flags & VACCEL_MODEL_BROKEN)
		snprintf(signature, sizeof(signature), "broken: see the host's log");
	else if (model)
		put_signature(model, signature, sizeof(signature));
	else
		snprintf(signature, sizeof(signature), "-");
	table_cell(table, "%s%s", row->name, row->flags & VACCEL_MODEL_OUTDATED ? " (outdated)" : "");
	table_cell(table, "%s", *row->framework ? row->framework : "-");
	table_cell(table, "%" PRIu32, row->n_labels);
	table_cell(table, "%" PRIu64, row->bytes);
	table_cell(table, "%.12s", hash);
	table_cell(table, "%s", signature);
}

static void print_tensors(const struct vaccel_model *model, uint32_t dir)
{
	const struct vaccel_tensor_desc *desc;

	for (size_t i = 0; (desc = vaccel_model_tensor(model, dir, i)); i++) {
		char shape[TENSOR_TEXT];

		tensor_text(desc->dtype, desc->rank, desc->dims, shape);
		printf("%-12s %s %s\n", dir == VACCEL_IN ? "input" : "output", desc->name, shape);
	}
}

static void print_one(const struct vaccel_model *model)
{
	const struct vaccel_model_about *about = vaccel_model_about(model);
	const char *label;
	char hash[65];

	hash_text(&about->row, hash);
	printf("%-12s %s\n", "name", about->row.name);
	printf("%-12s %s\n", "description", *about->description ? about->description : "-");
	printf("%-12s %s\n", "framework", about->row.framework);
	printf("%-12s %s\n", "signature", *about->signature ? about->signature : "-");
	if (about->row.flags & VACCEL_MODEL_BROKEN)
		printf("%-12s %s\n", "state", "broken: the host's log says why");
	if (about->row.flags & VACCEL_MODEL_OUTDATED)
		printf("%-12s %s\n", "state", "outdated: what is installed is broken, this is the version before it");
	if (about->row.flags & VACCEL_MODEL_CLASSIFIES)
		printf("%-12s %" PRIu32 " x %" PRIu32 " pixels, %" PRIu32 " channel%s\n", "pictures", about->width,
		       about->height, about->channels, about->channels == 1 ? "" : "s");
	print_tensors(model, VACCEL_IN);
	print_tensors(model, VACCEL_OUT);
	printf("%-12s %" PRIu64 " bytes\n", "files", about->row.bytes);
	printf("%-12s %s\n", "sha256", hash);
	for (size_t i = 0; (label = vaccel_model_label(model, i)); i++)
		printf("%-12s %zu %s\n", "label", i, label);
}

/* ---- The list ---- */

/* What each model takes is asked for one by one. One that is gone meanwhile has not said. */
static void show_row(struct vaccel_session *session, const struct vaccel_model_row *row, struct table *table,
		     struct json_object *array)
{
	_cleanup_model_ struct vaccel_model *model = NULL;

	if (!(row->flags & VACCEL_MODEL_BROKEN) && vaccel_model_new(session, row->name, &model) < 0)
		model = NULL;
	if (array)
		json_object_array_add(array, row_json(row, model));
	else
		print_row(table, row, model);
}

static void show_all(struct cli *cli, struct vaccel_session *session, const struct vaccel_catalog *catalog)
{
	static const char *const titles[] = { "model", "framework", "labels", "bytes", "sha256", "inputs -> outputs" };
	struct table *table = cli->json ? NULL : table_new(ARRAY_SIZE(titles), titles);
	struct json_object *array = cli->json ? json_object_new_array() : NULL;
	const struct vaccel_model_row *row;

	for (size_t i = 0; (row = vaccel_catalog_row(catalog, i)); i++)
		show_row(session, row, table, array);
	if (cli->json) {
		struct json_object *object = json_object_new_object();

		js_count(object, "changes", vaccel_catalog_changes(catalog));
		json_object_object_add(object, "models", array);
		cli_print_json(object);
		return;
	}
	if (vaccel_catalog_row(catalog, 0))
		table_print(table);
	else
		puts("there are no models");
	table_free(&table);
}

static void show_names(struct cli *cli, const struct vaccel_catalog *catalog)
{
	struct json_object *array = cli->json ? json_object_new_array() : NULL, *object;
	const struct vaccel_model_row *row;

	for (size_t i = 0; (row = vaccel_catalog_row(catalog, i)); i++) {
		if (array)
			json_object_array_add(array, js_string(row->name, strlen(row->name)));
		else
			puts(row->name);
	}
	if (!array)
		return;
	object = json_object_new_object();
	json_object_object_add(object, "names", array);
	cli_print_json(object);
}

static int list(struct cli *cli, struct vaccel_session *session, bool names)
{
	struct vaccel_catalog *catalog;
	int r = vaccel_catalog_new(session, &catalog);

	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "models: cannot be listed: %s", vaccel_error());
	if (names)
		show_names(cli, catalog);
	else
		show_all(cli, session, catalog);
	vaccel_catalog_free(catalog);
	return CLI_OK;
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct models_options *options = data;
	_cleanup_context_ struct vaccel_context *context = NULL;
	_cleanup_session_ struct vaccel_session *session = NULL;
	_cleanup_model_ struct vaccel_model *model = NULL;
	int status, r;

	if (argc && options->names)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option --names: is for all models, not for one");
	status = cli_connect(cli, options->common.transport, &context, &session);
	if (status != CLI_OK)
		return status;
	if (!argc)
		return list(cli, session, options->names);
	r = vaccel_model_new(session, argv[0], &model);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "model %s: cannot be asked for: %s", argv[0], vaccel_error());
	if (cli->json)
		print_one_json(model);
	else
		print_one(model);
	return CLI_OK;
}

const struct cli_command cmd_models = {
	.name = "models",
	.summary = "Tells which models there are, what they take and what they give.",
	.operands = "[MODEL]",
	.options = models_options,
	.n_options = ARRAY_SIZE(models_options),
	.max_operands = 1,
	.options_size = sizeof(struct models_options),
	.run = run,
};
