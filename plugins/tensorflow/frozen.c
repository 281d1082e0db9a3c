/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frozen graphs: one file with a GraphDef, in which variables have become constants. It has no signature. The description's
 * keys `inputs` and `outputs` give one; without them placeholders are inputs, and the tensor that nothing in the graph uses is
 * the output, if there is one such.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tensorflow.h"

static void drop_data(void *data, size_t len)
{
	free(data);
}

static int read_all(int fd, char *data, size_t len)
{
	size_t at = 0;
	ssize_t n;

	while (at < len) {
		n = read(fd, data + at, len - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	return 0;
}

/* Protocol buffers are no longer than 2 GiB. */
static int read_file(const char *path, TF_Buffer *buffer, const struct vaccel_plugin_report *report)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
	struct stat st = { 0 };
	char *data = NULL;

	if (fd < 0 || fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	else if (st.st_size <= 0 || st.st_size > INT_MAX)
		r = -EFBIG;
	else
		data = malloc((size_t)st.st_size);
	if (!r)
		r = data ? read_all(fd, data, (size_t)st.st_size) : -ENOMEM;
	if (fd >= 0)
		close(fd);
	if (r < 0) {
		free(data);
		return vaccel_plugin_error(report, r, "its file cannot be read: %s",
					   r == -EINVAL	 ? "it is no file"
					   : r == -EFBIG ? "it is empty, or larger than 2 GiB"
							 : strerror(-r));
	}
	*buffer = (TF_Buffer){ .data = data, .length = (size_t)st.st_size, .data_deallocator = drop_data };
	return 0;
}

static int import(struct tf_model *model, const TF_Buffer *buffer, const struct vaccel_plugin_report *report)
{
	TF_ImportGraphDefOptions *options = tf.NewImportGraphDefOptions();
	TF_Status *status = tf.NewStatus();
	int r = 0;

	tf.GraphImportGraphDef(model->graph, buffer, options, status);
	if (tf.GetCode(status) != TF_OK)
		r = tf_error(report, status, "TensorFlow does not take the file as a frozen graph");
	tf.DeleteStatus(status);
	tf.DeleteImportGraphDefOptions(options);
	return r;
}

/* Type and shape of the tensor, as far as the graph says. */
static int describe(struct tf_model *model, TF_Output output, struct signature_tensor *t,
		    const struct vaccel_plugin_report *report)
{
	TF_Status *status = tf.NewStatus();
	int rank = tf.GraphGetTensorNumDims(model->graph, output, status);
	int r = 0;

	t->dtype = (uint32_t)tf.OperationOutputType(output);
	if (tf.GetCode(status) == TF_OK && rank > VACCEL_MAX_RANK)
		r = vaccel_plugin_error(report, -ENOTSUP, "tensor '%s' has more than %d dimensions", t->name,
					VACCEL_MAX_RANK);
	else if (tf.GetCode(status) == TF_OK && rank >= 0) {
		tf.GraphGetTensorShape(model->graph, output, t->dims, rank, status);
		t->rank = tf.GetCode(status) == TF_OK ? (uint32_t)rank : UINT32_MAX;
	}
	tf.DeleteStatus(status);
	return r;
}

static int add(struct tf_model *model, struct signature_list *list, const char *name, size_t len, const char *graph,
	       const struct vaccel_plugin_report *report)
{
	struct signature_tensor *t = NULL;
	TF_Output output;
	int r;

	if (tf_graph_output(model->graph, graph, &output) < 0)
		return vaccel_plugin_error(report, -ENOENT, "there is no '%s' in the graph", graph);
	r = signature_add(list, (struct proto_bytes){ (const uint8_t *)name, len }, strdup(graph), &t, report);
	return r ? r : describe(model, output, t, report);
}

/* "name=node:0, node2:1": a name in front of '=', or the node's own. */
static int add_listed(struct tf_model *model, struct signature_list *list, const char *value,
		      const struct vaccel_plugin_report *report)
{
	char *text = strdup(value), *save = NULL, *word;
	int r = text ? 0 : vaccel_plugin_error(report, -ENOMEM, "no memory for a signature");

	for (word = text ? strtok_r(text, ", \t", &save) : NULL; word && !r; word = strtok_r(NULL, ", \t", &save)) {
		const char *equals = strchr(word, '=');

		r = equals ? add(model, list, word, (size_t)(equals - word), equals + 1, report)
			   : add(model, list, word, strcspn(word, ":"), word, report);
	}
	if (!r && !list->n)
		r = vaccel_plugin_error(report, -EINVAL, "the list '%s' names no tensor", value);
	free(text);
	return r;
}

static bool is_placeholder(TF_Operation *operation)
{
	const char *type = tf.OperationOpType(operation);

	return !strcmp(type, "Placeholder") || !strcmp(type, "PlaceholderV2");
}

static int add_placeholders(struct tf_model *model, const struct vaccel_plugin_report *report)
{
	TF_Operation *operation;
	size_t position = 0;
	int r = 0;

	while (!r && (operation = tf.GraphNextOperation(model->graph, &position)))
		if (is_placeholder(operation))
			r = add(model, &model->signature.inputs, tf.OperationName(operation),
				strlen(tf.OperationName(operation)), tf.OperationName(operation), report);
	return r;
}

static bool is_unused(TF_Operation *operation)
{
	int i;

	for (i = 0; i < tf.OperationNumOutputs(operation); i++)
		if (tf.OperationOutputNumConsumers((TF_Output){ operation, i }))
			return false;
	return i > 0 && !is_placeholder(operation);
}

/* The one operation that nothing uses. Counts them; text names some. */
static TF_Operation *find_unused(struct tf_model *model, size_t *ret_n, char *text, size_t size)
{
	TF_Operation *operation, *found = NULL;
	size_t position = 0, used = 0;

	*ret_n = 0;
	while ((operation = tf.GraphNextOperation(model->graph, &position))) {
		if (!is_unused(operation))
			continue;
		found = operation;
		if (used < size && ++*ret_n <= 8)
			used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
						 tf.OperationName(operation));
	}
	return found;
}

static int add_unused(struct tf_model *model, const struct vaccel_plugin_report *report)
{
	char names[400] = "";
	size_t n = 0;
	TF_Operation *operation = find_unused(model, &n, names, sizeof(names));

	if (n != 1 || tf.OperationNumOutputs(operation) != 1)
		return vaccel_plugin_error(
			report, -EINVAL,
			"which tensors are its outputs is not plain: name them with the key 'outputs' in "
			"[tensorflow]; %s%s",
			n ? "nothing uses these: " : "each is used by another", names);
	return add(model, &model->signature.outputs, tf.OperationName(operation), strlen(tf.OperationName(operation)),
		   tf.OperationName(operation), report);
}

static int find_signature(struct tf_model *model, const struct vaccel_plugin_model *description,
			  const struct vaccel_plugin_report *report)
{
	const char *inputs = tf_model_key(description, "inputs"), *outputs = tf_model_key(description, "outputs");
	int r;

	r = inputs ? add_listed(model, &model->signature.inputs, inputs, report) : add_placeholders(model, report);
	if (!r)
		r = outputs ? add_listed(model, &model->signature.outputs, outputs, report) : add_unused(model, report);
	if (!r)
		signature_sort(&model->signature);
	return r;
}

static int start(struct tf_model *model, const TF_SessionOptions *options, const struct vaccel_plugin_report *report)
{
	TF_Status *status = tf.NewStatus();
	int r = 0;

	model->session = tf.NewSession(model->graph, options, status);
	if (tf.GetCode(status) != TF_OK)
		r = tf_error(report, status, "TensorFlow does not begin a session");
	tf.DeleteStatus(status);
	return r;
}

int tf_frozen_load(struct tf_model *model, const TF_SessionOptions *options,
		   const struct vaccel_plugin_model *description, const struct vaccel_plugin_report *report)
{
	TF_Buffer *buffer;
	int r;

	if (*description->signature)
		return vaccel_plugin_error(report, -EINVAL, "a frozen graph has no signature '%s'",
					   description->signature);
	buffer = tf.NewBuffer();
	r = read_file(description->path, buffer, report);
	if (!r)
		r = import(model, buffer, report);
	if (!r)
		r = find_signature(model, description, report);
	if (!r)
		r = start(model, options, report);
	if (!r)
		r = tf_model_study(model, (struct proto_bytes){ buffer->data, buffer->length }, NULL, report);
	tf.DeleteBuffer(buffer);
	return r;
}
