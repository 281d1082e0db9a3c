/* SPDX-License-Identifier: Apache-2.0 */
/* vaccel infer: runs a model on arrays in .npy files; what it gives is printed, or written to files of that kind. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/models.h"
#include "cli/npy.h"

#define FILE_OVERHEAD (1u << 20) /* of a file over its elements: the header */
#define WIDEST	      4		 /* bytes of a file for one of a string that is sent */
#define USUAL_ROOM    4096	 /* bytes for an output whose shape is not known before */
#define MAX_TURNS     4

struct infer_options {
	struct cli_common common;
	const char *model;
	struct cli_list inputs, only;
	const char *output;
	uint64_t values;
};

static void defaults(void *data)
{
	struct infer_options *options = data;

	options->values = 8;
}

static const struct cli_option infer_options[] = {
	CLI_ROW_VALUE(struct infer_options, model, "model", 'm', CLI_TEXT, "MODEL", "name of the model"),
	CLI_ROW_VALUE(struct infer_options, inputs, "input", 'i', CLI_LIST, "[NAME=]FILE",
		      "an input and the .npy file of its elements; may be repeated"),
	CLI_ROW_VALUE(struct infer_options, only, "only", 0, CLI_LIST, "NAME",
		      "an output to ask for; may be repeated (all)"),
	CLI_ROW_VALUE(struct infer_options, output, "output", 'o', CLI_FILE, "FOLDER",
		      "write each output to FOLDER/NAME.npy"),
	CLI_ROW_COUNT(struct infer_options, values, "values", 0, "N", 0, 0, "first elements to print, 0: all (8)"),
	CLI_ROWS_COMMON(struct infer_options),
};

struct job {
	struct cli *cli;
	const struct infer_options *options;
	const struct vaccel_model *model;
	size_t max; /* bytes of a request */
	struct vaccel_tensor inputs[VACCEL_MAX_TENSORS], outputs[VACCEL_MAX_TENSORS];
	size_t n_inputs, n_outputs;
	char names[VACCEL_MAX_TENSORS][VACCEL_TENSOR_NAME]; /* of inputs */
	uint64_t total_ns;
};

static void job_fini(struct job *job)
{
	for (size_t i = 0; i < job->n_inputs; i++)
		free(job->inputs[i].data);
	for (size_t i = 0; i < job->n_outputs; i++)
		free(job->outputs[i].data);
}

static const struct vaccel_tensor_desc *find_tensor(const struct job *job, uint32_t dir, const char *name)
{
	const struct vaccel_tensor_desc *desc;

	for (size_t i = 0; (desc = vaccel_model_tensor(job->model, dir, i)); i++)
		if (!strcmp(desc->name, name))
			return desc;
	return NULL;
}

/* "a, b" */
static const char *names_of(const struct job *job, uint32_t dir, char *text, size_t room)
{
	const struct vaccel_tensor_desc *desc;
	size_t n = 0;

	*text = 0;
	for (size_t i = 0; (desc = vaccel_model_tensor(job->model, dir, i)) && n < room; i++)
		n += (size_t)snprintf(text + n, room - n, "%s%s", i ? ", " : "", desc->name);
	return text;
}

static int no_such(const struct job *job, uint32_t dir, const char *option, const char *name)
{
	char text[256];

	return cli_fail(job->cli, CLI_FAILED, -ENOENT, "option --%s: model %s has no %s \"%s\"; it has: %s", option,
			job->options->model, dir == VACCEL_IN ? "input" : "output", name,
			names_of(job, dir, text, sizeof(text)));
}

/* Splits [NAME=]FILE. What begins with a dot or a slash is a file whatever is in it. */
static int name_input(struct job *job, const char *item, char name[VACCEL_TENSOR_NAME], const char **ret_path)
{
	const char *equals = strchr("./", *item) ? NULL : strchr(item, '=');
	char text[256];

	if (equals) {
		if (equals - item >= VACCEL_TENSOR_NAME)
			return cli_fail(job->cli, CLI_USAGE, -EINVAL, "option --input: \"%s\": the name is too long",
					item);
		snprintf(name, VACCEL_TENSOR_NAME, "%.*s", (int)(equals - item), item);
		*ret_path = equals + 1;
		return find_tensor(job, VACCEL_IN, name) ? CLI_OK : no_such(job, VACCEL_IN, "input", name);
	}
	if (vaccel_model_about(job->model)->n_inputs != 1)
		return cli_fail(job->cli, CLI_USAGE, -EINVAL,
				"option --input: \"%s\" names no input, and model %s has not just one: %s", item,
				job->options->model, names_of(job, VACCEL_IN, text, sizeof(text)));
	snprintf(name, VACCEL_TENSOR_NAME, "%s", vaccel_model_tensor(job->model, VACCEL_IN, 0)->name);
	*ret_path = item;
	return CLI_OK;
}

static int read_input(struct job *job, const char *item)
{
	struct vaccel_tensor *tensor = &job->inputs[job->n_inputs];
	char *name = job->names[job->n_inputs];
	struct error error = { 0 };
	const char *path = NULL;
	struct npy npy;
	void *bytes;
	size_t len;
	int r, status = name_input(job, item, name, &path);

	if (status != CLI_OK)
		return status;
	for (size_t i = 0; i < job->n_inputs; i++)
		if (!strcmp(job->names[i], name))
			return cli_fail(job->cli, CLI_USAGE, -EINVAL, "option --input: input \"%s\" is given twice",
					name);
	r = cli_read_file(path, job->max * WIDEST + FILE_OVERHEAD, &bytes, &len, &error);
	if (r == 0) {
		r = npy_decode(bytes, len, &npy, &error);
		free(bytes);
	}
	if (r < 0)
		return cli_fail(job->cli, CLI_FAILED, r, "file %s: %s", path, error.text);
	*tensor = (struct vaccel_tensor){
		.size = sizeof(*tensor),
		.name = name,
		.dtype = npy.dtype,
		.rank = npy.rank,
		.data = npy.data,
		.len = npy.len,
	};
	memcpy(tensor->dims, npy.dims, sizeof(tensor->dims));
	job->n_inputs++;
	return CLI_OK;
}

static int read_inputs(struct job *job)
{
	const struct cli_list *list = &job->options->inputs;
	int status = CLI_OK;

	if (list->n > VACCEL_MAX_TENSORS - 1)
		return cli_fail(job->cli, CLI_USAGE, -E2BIG,
				"option --input: %zu inputs are more than the %d that are possible", list->n,
				VACCEL_MAX_TENSORS - 1);
	for (size_t i = 0; status == CLI_OK && i < list->n; i++)
		status = read_input(job, list->item[i]);
	return status;
}

/* How much an output will need, as far as its signature tells: an unknown first dimension is that of the first input. */
static size_t usual_room(const struct job *job, const struct vaccel_tensor_desc *desc)
{
	uint64_t len = vaccel_dtype_size(desc->dtype);

	if (!len || desc->rank > VACCEL_MAX_RANK)
		return USUAL_ROOM;
	for (uint32_t i = 0; i < desc->rank; i++) {
		int64_t dim = desc->dims[i];

		if (dim < 0)
			dim = i == 0 && job->n_inputs && job->inputs[0].rank ? job->inputs[0].dims[0] : 1;
		if (mul_u64(len, (uint64_t)dim, &len) || len > job->max)
			return USUAL_ROOM;
	}
	return MAX(len, USUAL_ROOM);
}

static int make_room(struct job *job, struct vaccel_tensor *tensor, size_t room)
{
	free(tensor->data);
	tensor->room = 0;
	tensor->data = malloc(room);
	if (!tensor->data)
		return cli_fail(job->cli, CLI_FAILED, -ENOMEM, "output \"%s\": cannot store %zu bytes: out of memory",
				tensor->name, room);
	tensor->room = room;
	return CLI_OK;
}

static int add_output(struct job *job, const struct vaccel_tensor_desc *desc)
{
	struct vaccel_tensor *tensor = &job->outputs[job->n_outputs];

	if (job->n_inputs + job->n_outputs == VACCEL_MAX_TENSORS)
		return cli_fail(job->cli, CLI_FAILED, -E2BIG,
				"outputs: inputs and outputs are more than %d; ask for some with --only",
				VACCEL_MAX_TENSORS);
	*tensor = (struct vaccel_tensor){ .size = sizeof(*tensor), .name = desc->name };
	job->n_outputs++;
	return make_room(job, tensor, usual_room(job, desc));
}

static int add_outputs(struct job *job)
{
	const struct cli_list *only = &job->options->only;
	const struct vaccel_tensor_desc *desc;
	int status = CLI_OK;

	for (size_t i = 0; status == CLI_OK && i < only->n; i++) {
		desc = find_tensor(job, VACCEL_OUT, only->item[i]);
		status = desc ? add_output(job, desc) : no_such(job, VACCEL_OUT, "only", only->item[i]);
	}
	for (size_t i = 0; status == CLI_OK && !only->n && (desc = vaccel_model_tensor(job->model, VACCEL_OUT, i)); i++)
		status = add_output(job, desc);
	return status;
}

/* Makes room for outputs that did not fit; *ret_grown: there were some. */
static int grow(struct job *job, bool *ret_grown)
{
	int status = CLI_OK;

	*ret_grown = false;
	for (size_t i = 0; status == CLI_OK && i < job->n_outputs; i++) {
		struct vaccel_tensor *tensor = &job->outputs[i];

		if (tensor->len <= tensor->room)
			continue;
		*ret_grown = true;
		if (tensor->len > job->max)
			return cli_fail(
				job->cli, CLI_FAILED, -E2BIG,
				"output \"%s\": needs %zu bytes, a request may have %zu; ask for others with --only",
				tensor->name, tensor->len, job->max);
		status = make_room(job, tensor, tensor->len);
	}
	return status;
}

static int infer(struct job *job, struct vaccel_session *session)
{
	int r = 0, status = CLI_OK;
	bool grown = true;

	for (int turn = 0; turn < MAX_TURNS && grown; turn++) {
		uint64_t start = now_ns();

		progress("running model %s", job->options->model);
		r = vaccel_infer(session, job->options->model, job->inputs, job->n_inputs, job->outputs,
				 job->n_outputs);
		job->total_ns = now_ns() - start;
		if (r != -ERANGE)
			break;
		status = grow(job, &grown);
		if (status != CLI_OK)
			return status;
	}
	progress_end();
	return r < 0 ? cli_fail(job->cli, CLI_FAILED, r, "model %s: cannot be run: %s", job->options->model,
				vaccel_error())
		     : CLI_OK;
}

/* ---- What came ---- */

/* What means something in a path is an underscore. */
static void plain_name(const char *name, char text[VACCEL_TENSOR_NAME])
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";

	snprintf(text, VACCEL_TENSOR_NAME, "%s", name);
	for (char *at = text; *at; at++)
		if (!strchr(plain, *at) || (at == text && *at == '.'))
			*at = '_';
}

/* A file's name of an output's; its number is added when an earlier one looks the same. */
static void file_name(const struct job *job, size_t index, char *text, size_t room)
{
	char name[VACCEL_TENSOR_NAME], other[VACCEL_TENSOR_NAME];
	bool taken = false;

	plain_name(job->outputs[index].name, name);
	for (size_t i = 0; i < index; i++) {
		plain_name(job->outputs[i].name, other);
		taken |= !strcmp(name, other);
	}
	if (taken)
		snprintf(text, room, "%s-%zu.npy", name, index);
	else
		snprintf(text, room, "%s.npy", name);
}

static int write_output(const struct job *job, size_t index, char *path, size_t room)
{
	char name[VACCEL_TENSOR_NAME + 32];
	struct error error = { 0 };
	void *bytes;
	size_t len;
	int r;

	file_name(job, index, name, sizeof(name));
	if ((size_t)snprintf(path, room, "%s/%s", job->options->output, name) >= room)
		return cli_fail(job->cli, CLI_FAILED, -ENAMETOOLONG, "folder %s: its name is too long",
				job->options->output);
	r = npy_encode(&job->outputs[index], &bytes, &len, &error);
	if (r == 0) {
		r = cli_write_file(path, bytes, len, &error);
		free(bytes);
	}
	return r < 0 ? cli_fail(job->cli, CLI_FAILED, r, "file %s: %s", path, error.text) : CLI_OK;
}

static void print_output(const struct job *job, const struct vaccel_tensor *tensor, const char *path)
{
	size_t count = value_count(tensor), n = job->options->values ? MIN(count, job->options->values) : count;
	char text[TENSOR_TEXT];

	tensor_text(tensor->dtype, tensor->rank, tensor->dims, text);
	printf("%s %s", tensor->name, text);
	if (path) {
		printf(" in %s\n", path);
		return;
	}
	putchar(':');
	for (size_t i = 0; i < n; i++) {
		char value[VALUE_TEXT];

		value_text(tensor, i, value);
		printf(" %s", value);
	}
	if (n < count)
		printf(" ... (%zu elements)", count);
	putchar('\n');
}

static struct json_object *output_json(const struct job *job, const struct vaccel_tensor *tensor, const char *path)
{
	size_t count = value_count(tensor), n = job->options->values ? MIN(count, job->options->values) : count;
	struct json_object *object = json_object_new_object(), *values = json_object_new_array();

	js_text(object, "name", tensor->name);
	tensor_json(object, tensor->dtype, tensor->rank, tensor->dims);
	js_count(object, "bytes", tensor->len);
	js_text(object, "file", path);
	for (size_t i = 0; i < n; i++)
		json_object_array_add(values, value_json(tensor, i));
	json_object_object_add(object, "values", values);
	return object;
}

static int show(const struct job *job)
{
	struct json_object *array = json_object_new_array(), *object = json_object_new_object();
	int status = CLI_OK;

	js_text(object, "model", job->options->model);
	json_object_object_add(object, "outputs", array);
	js_count(object, "total_ns", job->total_ns);
	for (size_t i = 0; status == CLI_OK && i < job->n_outputs; i++) {
		const char *path = NULL;
		char text[4096];

		if (job->options->output) {
			status = write_output(job, i, text, sizeof(text));
			path = text;
		}
		if (status != CLI_OK)
			break;
		if (job->cli->json)
			json_object_array_add(array, output_json(job, &job->outputs[i], path));
		else
			print_output(job, &job->outputs[i], path);
	}
	if (job->cli->json && status == CLI_OK)
		cli_print_json(json_object_get(object));
	json_object_put(object);
	return status;
}

static int run_job(struct job *job, struct vaccel_session *session)
{
	const char *folder = job->options->output;
	int status = read_inputs(job);

	if (status == CLI_OK)
		status = add_outputs(job);
	if (status == CLI_OK && folder && mkdir(folder, 0777) < 0 && errno != EEXIST)
		status = cli_fail(job->cli, CLI_FAILED, -errno, "folder %s: cannot make it: %s", folder,
				  strerror(errno));
	if (status == CLI_OK)
		status = infer(job, session);
	return status == CLI_OK ? show(job) : status;
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct infer_options *options = data;
	_cleanup_model_client_ struct model_client client = { .max = 0 };
	struct job job = { .cli = cli, .options = options };
	int status = model_open(cli, options->common.transport, options->model, &client);

	if (status != CLI_OK)
		return status;
	job.model = client.model;
	job.max = client.max;
	status = run_job(&job, client.session);
	job_fini(&job);
	return status;
}

const struct cli_command cmd_infer = {
	.name = "infer",
	.summary = "Runs a model on arrays in .npy files.",
	.operands = "",
	.options = infer_options,
	.n_options = ARRAY_SIZE(infer_options),
	.options_size = sizeof(struct infer_options),
	.defaults = defaults,
	.run = run,
};
