/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vaccel classify: what is on pictures, as a model sees it. A picture that cannot be classified fails alone. Several may be
 * under way at once; they are shown in the order in which they were named.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/models.h"

struct classify_options {
	struct cli_common common;
	const char *model;
	uint64_t k, jobs;
	int verbose;
};

static void defaults(void *data)
{
	struct classify_options *options = data;

	options->k = 1;
	options->jobs = 1;
}

static const struct cli_option classify_options[] = {
	CLI_ROW_VALUE(struct classify_options, model, "model", 'm', CLI_TEXT, "MODEL", "name of the model"),
	CLI_ROW_COUNT(struct classify_options, k, "labels", 'k', "K", 1, VACCEL_MAX_LABELS,
		      "labels of the highest probability, for each picture (1)"),
	CLI_ROW_COUNT(struct classify_options, jobs, "jobs", 'J', "N", 1, 256, "pictures under way at once (1)"),
	CLI_ROW_FLAG(struct classify_options, verbose, "verbose", 'v', 1, "print sizes and what the time went into"),
	CLI_ROWS_COMMON(struct classify_options),
};

/* A picture and what comes of it. */
struct outcome {
	const char *path;
	void *image;
	struct vaccel_request *request; /* NULL: not under way */
	int code;			/* 0 or a negative errno */
	char why[256];
	struct vaccel_label *labels;
	struct vaccel_classified about;
	uint64_t start_ns, total_ns;
};

static void failed(struct outcome *outcome, int code, const char *why)
{
	outcome->code = code;
	snprintf(outcome->why, sizeof(outcome->why), "%s", why);
}

static void start(struct vaccel_session *session, const struct classify_options *options, size_t max,
		  struct outcome *outcome)
{
	struct error error = { 0 };
	size_t len = 0;
	int r = cli_read_file(outcome->path, max, &outcome->image, &len, &error);

	if (r < 0) {
		failed(outcome, r, error.text);
		return;
	}
	outcome->start_ns = now_ns();
	r = vaccel_classify_submit(session, options->model, outcome->image, len, (uint32_t)options->k, outcome->labels,
				   &outcome->about, NULL, &outcome->request);
	if (r < 0)
		failed(outcome, r, vaccel_error());
}

static void finish(struct outcome *outcome)
{
	if (outcome->request) {
		int r = vaccel_request_wait(outcome->request, -1);

		outcome->total_ns = now_ns() - outcome->start_ns;
		if (r < 0)
			failed(outcome, r, vaccel_error());
		vaccel_request_free(outcome->request);
	}
	free(outcome->image);
	outcome->request = NULL;
	outcome->image = NULL;
}

static void print_text(const struct outcome *outcome, bool verbose)
{
	const struct vaccel_classified *about = &outcome->about;

	for (uint32_t i = 0; i < about->n_labels; i++)
		printf("%s: %s %.6f\n", outcome->path, outcome->labels[i].name, (double)outcome->labels[i].probability);
	if (!verbose)
		return;
	printf("%s: %" PRIu32 " x %" PRIu32 " pixels; decoded in %.3f ms, prepared in %.3f ms, run in %.3f ms",
	       outcome->path, about->width, about->height, (double)about->decode_ns / 1e6,
	       (double)about->prepare_ns / 1e6, (double)about->run_ns / 1e6);
	if (about->batch > 1)
		printf(" with %" PRIu32 " others", about->batch - 1);
	printf("; %.3f ms in all\n", (double)outcome->total_ns / 1e6);
}

static struct json_object *labels_json(const struct outcome *outcome)
{
	struct json_object *array = json_object_new_array();

	for (uint32_t i = 0; i < outcome->about.n_labels; i++) {
		struct json_object *row = json_object_new_object();

		js_count(row, "index", outcome->labels[i].index);
		js_text(row, "label", outcome->labels[i].name);
		json_object_object_add(row, "probability", real_json((double)outcome->labels[i].probability, 9));
		json_object_array_add(array, row);
	}
	return array;
}

static struct json_object *outcome_json(const struct outcome *outcome)
{
	const struct vaccel_classified *about = &outcome->about;
	struct json_object *object = json_object_new_object(), *error;

	js_text(object, "image", outcome->path);
	if (outcome->code < 0) {
		error = json_object_new_object();
		js_text(error, "code", error_name(outcome->code));
		js_text(error, "message", outcome->why);
		json_object_object_add(object, "error", error);
		return object;
	}
	json_object_object_add(object, "labels", labels_json(outcome));
	js_count(object, "width", about->width);
	js_count(object, "height", about->height);
	js_count(object, "classes", about->n_classes);
	js_count(object, "batch", about->batch);
	js_count(object, "decode_ns", about->decode_ns);
	js_count(object, "prepare_ns", about->prepare_ns);
	js_count(object, "run_ns", about->run_ns);
	js_count(object, "total_ns", outcome->total_ns);
	return object;
}

/* Waits for a picture and shows it; rows: of JSON. */
static int show(struct cli *cli, const struct classify_options *options, struct outcome *outcome,
		struct json_object *rows)
{
	progress("picture %s", outcome->path);
	finish(outcome);
	progress_end();
	if (outcome->code < 0)
		fprintf(stderr, "vaccel classify: picture %s: %s\n", outcome->path, outcome->why);
	if (cli->json)
		json_object_array_add(rows, outcome_json(outcome));
	else if (outcome->code == 0)
		print_text(outcome, options->verbose);
	return outcome->code < 0 ? CLI_FAILED : CLI_OK;
}

static int classify_all(struct cli *cli, struct vaccel_session *session, const struct classify_options *options,
			size_t max, int argc, char **argv)
{
	size_t jobs = MIN(options->jobs, (uint64_t)argc), shown = 0;
	_cleanup_free_ struct outcome *outcomes = calloc(jobs, sizeof(*outcomes));
	_cleanup_free_ struct vaccel_label *labels = calloc(jobs * options->k, sizeof(*labels));
	struct json_object *rows = json_object_new_array(), *object;
	int status = CLI_OK;

	if (!outcomes || !labels) {
		json_object_put(rows);
		return cli_fail(cli, CLI_FAILED, -ENOMEM, "labels: cannot store: out of memory");
	}
	for (size_t i = 0; shown < (size_t)argc; i++) {
		if (i < (size_t)argc) {
			outcomes[i % jobs] =
				(struct outcome){ .path = argv[i], .labels = labels + i % jobs * options->k };
			start(session, options, max, &outcomes[i % jobs]);
		}
		if (i + 1 < jobs)
			continue;
		if (show(cli, options, &outcomes[shown % jobs], rows) != CLI_OK)
			status = CLI_FAILED;
		shown++;
	}
	if (cli->json) {
		object = json_object_new_object();
		js_text(object, "model", options->model);
		json_object_object_add(object, "images", json_object_get(rows));
		cli_print_json(object);
	}
	json_object_put(rows);
	return status;
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct classify_options *options = data;
	_cleanup_model_client_ struct model_client client = { .max = 0 };
	int status;

	if (options->model && !argc)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "operand IMAGE: is missing; see vaccel classify --help");
	status = model_open(cli, options->common.transport, options->model, &client);
	if (status != CLI_OK)
		return status;
	if (!(vaccel_model_about(client.model)->row.flags & VACCEL_MODEL_CLASSIFIES))
		return cli_fail(cli, CLI_FAILED, -EINVAL, "model %s: does not classify pictures; see vaccel infer",
				options->model);
	return classify_all(cli, client.session, options, client.max, argc, argv);
}

const struct cli_command cmd_classify = {
	.name = "classify",
	.summary = "Tells what is on pictures, as a model sees it.",
	.operands = "IMAGE...",
	.options = classify_options,
	.n_options = ARRAY_SIZE(classify_options),
	.max_operands = SIZE_MAX,
	.options_size = sizeof(struct classify_options),
	.defaults = defaults,
	.run = run,
};
