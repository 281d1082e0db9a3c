/* SPDX-License-Identifier: Apache-2.0 */
/* Models: a SavedModel's session and signature. What a frozen graph has instead is in frozen.c. */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "weights.h"

enum {
	CONFIG_INTRA_THREADS = 2,
	CONFIG_INTER_THREADS = 5,
	META_GRAPH_GRAPH = 2,
	MAX_TAGS = 8,
};

static const char *const known_keys[] = { "inputs", "outputs", "tags" };

const char *tf_model_key(const struct vaccel_plugin_model *description, const char *key)
{
	size_t i;

	for (i = 0; i < description->n_keys; i++)
		if (!strcmp(description->keys[i], key))
			return description->values[i];
	return NULL;
}

static int check_keys(const struct vaccel_plugin_model *description, const struct vaccel_plugin_report *report)
{
	size_t i, j;

	for (i = 0; i < description->n_keys; i++) {
		for (j = 0; j < sizeof(known_keys) / sizeof(known_keys[0]); j++)
			if (!strcmp(description->keys[i], known_keys[j]))
				break;
		if (j == sizeof(known_keys) / sizeof(known_keys[0]))
			return vaccel_plugin_error(report, -EINVAL, "unknown key '%s' in [tensorflow]",
						   description->keys[i]);
	}
	return 0;
}

/* A ConfigProto. */
TF_SessionOptions *tf_session_options(const struct tf_settings *settings)
{
	TF_SessionOptions *options = tf.NewSessionOptions();
	TF_Status *status = tf.NewStatus();
	uint8_t bytes[64];
	struct proto_writer w = { .data = bytes, .size = sizeof(bytes) };

	if (settings->intra_threads)
		proto_put_varint(&w, CONFIG_INTRA_THREADS, settings->intra_threads);
	if (settings->inter_threads)
		proto_put_varint(&w, CONFIG_INTER_THREADS, settings->inter_threads);
	tf.SetConfig(options, bytes, w.len, status);
	if (tf.GetCode(status) != TF_OK) {
		tf.DeleteSessionOptions(options);
		options = NULL;
	}
	tf.DeleteStatus(status);
	return options;
}

bool tf_is_dtype(uint32_t dtype)
{
	static const uint8_t types[] = {
		VACCEL_FLOAT32, VACCEL_FLOAT64, VACCEL_INT32,  VACCEL_UINT8,	  VACCEL_INT16,	 VACCEL_INT8,
		VACCEL_STRING,	VACCEL_INT64,	VACCEL_BOOL,   VACCEL_BFLOAT16,	  VACCEL_UINT16, VACCEL_COMPLEX64,
		VACCEL_FLOAT16, VACCEL_UINT32,	VACCEL_UINT64, VACCEL_COMPLEX128,
	};

	return memchr(types, (int)(dtype & 0xff), sizeof(types)) && dtype < 0x100;
}

int tf_graph_output(TF_Graph *graph, const char *name, TF_Output *ret_output)
{
	const char *colon = strrchr(name, ':');
	char *node = strndup(name, colon ? (size_t)(colon - name) : strlen(name)), *end = NULL;
	TF_Operation *operation = node ? tf.GraphOperationByName(graph, node) : NULL;
	unsigned long index = colon ? strtoul(colon + 1, &end, 10) : 0;

	free(node);
	if (!operation || (colon && (end == colon + 1 || *end)) ||
	    index >= (unsigned long)tf.OperationNumOutputs(operation))
		return -ENOENT;
	*ret_output = (TF_Output){ .oper = operation, .index = (int)index };
	return 0;
}

/* Finds the tensors of the list in the graph, and checks that they are what it says. */
static int bind(struct tf_model *model, const struct signature_list *list, TF_Output **ret_outputs,
		const struct vaccel_plugin_report *report)
{
	TF_Output *outputs = calloc(list->n ? list->n : 1, sizeof(*outputs));
	size_t i;

	*ret_outputs = outputs;
	if (!outputs)
		return vaccel_plugin_error(report, -ENOMEM, "no memory for its signature");
	for (i = 0; i < list->n; i++) {
		const struct signature_tensor *t = &list->tensors[i];

		if (tf_graph_output(model->graph, t->graph, &outputs[i]) < 0)
			return vaccel_plugin_error(report, -EINVAL, "tensor '%s': there is no '%s' in the graph",
						   t->name, t->graph);
		if ((uint32_t)tf.OperationOutputType(outputs[i]) != t->dtype)
			return vaccel_plugin_error(
				report, -EINVAL, "tensor '%s' has type %u, and '%s' in the graph type %u", t->name,
				t->dtype, t->graph, (unsigned int)tf.OperationOutputType(outputs[i]));
		if (!tf_is_dtype(t->dtype))
			return vaccel_plugin_error(report, -ENOTSUP,
						   "tensor '%s' has TensorFlow's type %u, which vAccel lacks", t->name,
						   t->dtype);
	}
	return 0;
}

/* tags = serve: separated by commas or blanks. Changes text. */
static int split_tags(char *text, const char *tags[MAX_TAGS])
{
	char *save = NULL, *tag;
	int n = 0;

	for (tag = strtok_r(text, ", \t", &save); tag && n < MAX_TAGS; tag = strtok_r(NULL, ", \t", &save))
		tags[n++] = tag;
	return n;
}

int tf_model_study(struct tf_model *model, struct proto_bytes graph, const char *folder,
		   const struct vaccel_plugin_report *report)
{
	struct graph_traits traits = { 0 };
	TF_Buffer *ops = tf.GetAllOpList();
	char index[PATH_MAX];
	int r;

	r = graph_study(graph, (struct proto_bytes){ ops->data, ops->length }, &model->signature, &traits);
	tf.DeleteBuffer(ops);
	model->keeps = traits.keeps;
	if (r < 0)
		return vaccel_plugin_error(report, r, "its graph is malformed");
	/* Without them TensorFlow loads the model all the same, and each run fails. */
	if (folder && traits.has_variables &&
	    !(weights_path(folder, index, sizeof(index)) && access(index, R_OK) == 0)) {
		snprintf(index, sizeof(index), "%s/variables/variables.index", folder);
		if (access(index, R_OK) < 0)
			return vaccel_plugin_error(report, -errno, "its variables/variables.index cannot be read: %s",
						   strerror(errno));
	}
	return 0;
}

static int read_meta_graph(struct tf_model *model, const TF_Buffer *buffer,
			   const struct vaccel_plugin_model *description, const struct vaccel_plugin_report *report)
{
	const struct proto_bytes meta = { .data = buffer->data, .len = buffer->length };
	struct proto_field graph = { 0 };
	int r = signature_read(meta, description->signature, &model->signature, report);

	if (r < 0)
		return r;
	proto_find(meta, META_GRAPH_GRAPH, PROTO_BYTES, &graph);
	return tf_model_study(model, graph.bytes, description->path, report);
}

static int load_saved(struct tf_model *model, const TF_SessionOptions *options,
		      const struct vaccel_plugin_model *description, const struct vaccel_plugin_report *report)
{
	const char *tags[MAX_TAGS] = { NULL }, *wanted = tf_model_key(description, "tags");
	char *text = strdup(wanted ? wanted : "serve");
	TF_Buffer *meta = tf.NewBuffer();
	TF_Status *status = tf.NewStatus();
	char path[PATH_MAX];
	int r = text ? 0 : -ENOMEM;

	if (!r) {
		model->session = tf.LoadSessionFromSavedModel(options, NULL, description->path, tags,
							      split_tags(text, tags), model->graph, meta, status);
		if (tf.GetCode(status) != TF_OK)
			r = tf_error(report, status, "TensorFlow does not load the SavedModel");
	}
	if (!r)
		r = read_meta_graph(model, meta, description, report);
	if (!r && weights_path(description->path, path, sizeof(path)) && access(path, F_OK) == 0)
		r = weights_share(model, path, report);
	tf.DeleteStatus(status);
	tf.DeleteBuffer(meta);
	free(text);
	return r;
}

static int load(struct tf_model *model, const struct tf_settings *settings,
		const struct vaccel_plugin_model *description, const struct vaccel_plugin_report *report)
{
	TF_SessionOptions *options;
	struct stat st;
	int r = check_keys(description, report);

	if (r < 0)
		return r;
	if (stat(description->path, &st) < 0)
		return vaccel_plugin_error(report, -errno, "its file cannot be found: %s", strerror(errno));
	options = tf_session_options(settings);
	if (!options)
		return vaccel_plugin_error(report, -ENOMEM, "TensorFlow does not take the numbers of threads");
	r = S_ISDIR(st.st_mode) ? load_saved(model, options, description, report)
				: tf_frozen_load(model, options, description, report);
	tf.DeleteSessionOptions(options);
	if (!r)
		r = bind(model, &model->signature.inputs, &model->inputs, report);
	return r ? r : bind(model, &model->signature.outputs, &model->outputs, report);
}

int tf_model_new(const struct tf_settings *settings, const struct vaccel_plugin_model *description,
		 struct tf_model **ret_model, const struct vaccel_plugin_report *report)
{
	struct tf_model *model = calloc(1, sizeof(*model));
	int r = -ENOMEM;

	if (model) {
		pthread_mutex_init(&model->lock, NULL);
		model->name = strdup(description->name);
		model->graph = tf.NewGraph();
	}
	if (model && model->name && model->graph)
		r = load(model, settings, description, report);
	else
		vaccel_plugin_error(report, r, "no memory for a model");
	if (r < 0)
		tf_model_free(model);
	else
		*ret_model = model;
	/* Reading a graph leaves tens of MiB behind that nobody will want again. */
	malloc_trim(0);
	return r;
}

void tf_model_free(struct tf_model *model)
{
	TF_Status *status;

	if (!model)
		return;
	status = tf.NewStatus();
	if (model->session) {
		tf.CloseSession(model->session, status);
		tf.DeleteSession(model->session, status);
	}
	tf.DeleteStatus(status);
	if (model->graph)
		tf.DeleteGraph(model->graph);
	signature_fini(&model->signature);
	pthread_mutex_destroy(&model->lock);
	free(model->inputs);
	free(model->outputs);
	free(model->name);
	free(model);
}
