/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vaccel-tensorflow-share: makes a SavedModel whose weights are shared between daemons out of another, see weights.h. The new folder
 * is complete when it is there: it is made under another name and renamed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "weights.h"

static const char usage[] = "usage: vaccel-tensorflow-share [--library FILE] [--tags TAG,...] SAVED-MODEL FOLDER\n"
			    "\n"
			    "Makes FOLDER, a SavedModel that is SAVED-MODEL with its weights in one file, which\n"
			    "all daemons that serve it map: the machine holds them once.\n"
			    "\n"
			    "  --library FILE   TensorFlow's library\n"
			    "  --tags TAG,...   tags of the graph (serve)\n"
			    "\n"
			    "Exit status: 0 done; 1 failed; 2 usage. More: vaccel-tensorflow-share(1).\n";

static char why[512];
static const struct vaccel_plugin_report report = { .text = why, .len = sizeof(why) };

/* The variables: one of the nodes of each, and its value. */
struct variables {
	TF_Operation **nodes;
	TF_Tensor **values;
	size_t n;
};

/* ---- variables ---- */

/* What the variable is called at run time; nodes with the same are the same variable. */
static void shared_name(TF_Operation *node, char *name, size_t size)
{
	TF_Status *status = tf.NewStatus();
	TF_AttrMetadata data = tf.OperationGetAttrMetadata(node, "shared_name", status);

	memset(name, 0, size);
	if (tf.GetCode(status) == TF_OK && data.total_size > 0 && (size_t)data.total_size < size)
		tf.OperationGetAttrString(node, "shared_name", name, size - 1, status);
	if (!*name)
		snprintf(name, size, "%s", tf.OperationName(node));
	tf.DeleteStatus(status);
}

static bool is_known(const struct variables *v, TF_Operation *node)
{
	char name[WEIGHTS_NAME], other[WEIGHTS_NAME];
	size_t i;

	shared_name(node, name, sizeof(name));
	for (i = 0; i < v->n; i++) {
		shared_name(v->nodes[i], other, sizeof(other));
		if (!strcmp(name, other))
			return true;
	}
	return false;
}

static int find(struct tf_model *model, struct variables *v)
{
	TF_Operation *node, **more;
	size_t position = 0;

	while ((node = tf.GraphNextOperation(model->graph, &position))) {
		if (strcmp(tf.OperationOpType(node), "VarHandleOp") || is_known(v, node))
			continue;
		more = v->n < WEIGHTS_MAX_ROWS ? realloc(v->nodes, (v->n + 1) * sizeof(*more)) : NULL;
		if (!more)
			return vaccel_plugin_error(&report, -ENOMEM, "there are too many variables");
		v->nodes = more;
		v->nodes[v->n++] = node;
	}
	return 0;
}

/* Adds an operation for each variable and runs them. */
static int run(struct tf_model *model, const struct variables *v, const char *type, TF_Tensor **values)
{
	TF_Output *outputs = calloc(v->n + 1, sizeof(*outputs));
	TF_Status *status = tf.NewStatus();
	size_t i;

	for (i = 0; outputs && i < v->n && tf.GetCode(status) == TF_OK; i++)
		outputs[i].oper = weights_operation(model->graph, type, i, v->nodes[i], NULL, status);
	if (outputs && tf.GetCode(status) == TF_OK && v->n)
		tf.SessionRun(model->session, NULL, NULL, NULL, 0, outputs, values, (int)v->n, NULL, 0, NULL, status);
	i = tf.GetCode(status) == TF_OK;
	if (!i)
		tf_error(&report, status, "the variables cannot be read");
	tf.DeleteStatus(status);
	free(outputs);
	return i && outputs ? 0 : -EIO;
}

/* Nodes without a value serve nothing: what is saved with a model may name variables that are not. */
static int read_variables(struct tf_model *model, struct variables *v)
{
	TF_Tensor **set;
	size_t i, n = 0;
	int r = find(model, v);

	if (r < 0)
		return r;
	set = calloc(v->n + 1, sizeof(TF_Tensor *));
	v->values = calloc(v->n + 1, sizeof(TF_Tensor *));
	r = set && v->values ? run(model, v, "VarIsInitializedOp", set) : -ENOMEM;
	for (i = 0; i < v->n && !r; i++) {
		if (*(uint8_t *)tf.TensorData(set[i]))
			v->nodes[n++] = v->nodes[i];
		tf.DeleteTensor(set[i]);
	}
	v->n = n;
	free(set);
	return r ? r : run(model, v, "ReadVariableOp", v->values);
}

/* ---- files ---- */

static int fail(const char *what)
{
	return vaccel_plugin_error(&report, -errno, "%s: %s", what, strerror(errno));
}

/* Keras saves each variable twice; what is the same is in the file once. */
static bool find_same(const struct variables *v, const struct weights_row *rows, size_t i, uint64_t *ret_offset)
{
	size_t j;

	for (j = 0; j < i; j++)
		if (rows[j].len == rows[i].len &&
		    !memcmp(tf.TensorData(v->values[j]), tf.TensorData(v->values[i]), rows[i].len)) {
			*ret_offset = rows[j].offset;
			return true;
		}
	return false;
}

static int make_row(const struct variables *v, size_t i, uint64_t *offset, struct weights_row *rows)
{
	struct weights_row *row = &rows[i];
	const TF_Tensor *value = v->values[i];
	uint32_t j;

	row->dtype = (uint32_t)tf.TensorType(value);
	row->rank = (uint32_t)tf.NumDims(value);
	if (row->rank > VACCEL_MAX_RANK || !tf_is_dtype(row->dtype) || row->dtype == VACCEL_STRING ||
	    strlen(tf.OperationName(v->nodes[i])) >= WEIGHTS_NAME)
		return vaccel_plugin_error(&report, -ENOTSUP, "variable %.200s has type %u and %u dimensions",
					   tf.OperationName(v->nodes[i]), row->dtype, row->rank);
	snprintf(row->node, sizeof(row->node), "%s", tf.OperationName(v->nodes[i]));
	for (j = 0; j < row->rank; j++)
		row->dims[j] = tf.Dim(value, (int)j);
	row->len = tf.TensorByteSize(value);
	if (find_same(v, rows, i, &row->offset))
		return 0;
	row->offset = *offset;
	*offset = (*offset + row->len + WEIGHTS_ALIGN - 1) / WEIGHTS_ALIGN * WEIGHTS_ALIGN;
	return 0;
}

static int put(FILE *f, uint64_t offset, const void *data, size_t len)
{
	return fseeko(f, (off_t)offset, SEEK_SET) || (len && fwrite(data, 1, len, f) != len) ? fail(WEIGHTS_FILE) : 0;
}

static int write_weights(const struct variables *v, const char *folder)
{
	struct weights_row *rows = calloc(v->n + 1, sizeof(*rows));
	struct weights_head head = { .magic = WEIGHTS_MAGIC, .n_rows = (uint32_t)v->n };
	uint64_t offset = sizeof(head) + v->n * sizeof(*rows), data;
	char path[PATH_MAX];
	FILE *f = rows && weights_path(folder, path, sizeof(path)) ? fopen(path, "we") : NULL;
	size_t i;
	int r = f ? 0 : fail(WEIGHTS_FILE);

	offset = (offset + WEIGHTS_ALIGN - 1) / WEIGHTS_ALIGN * WEIGHTS_ALIGN;
	data = offset;
	for (i = 0; i < v->n && !r; i++)
		r = make_row(v, i, &offset, rows);
	head.size = offset;
	if (!r)
		r = put(f, 0, &head, sizeof(head));
	if (!r)
		r = put(f, sizeof(head), rows, v->n * sizeof(*rows));
	for (i = 0; i < v->n && !r; i++)
		r = put(f, rows[i].offset, tf.TensorData(v->values[i]), rows[i].len);
	if (!r && (fflush(f) || ftruncate(fileno(f), (off_t)offset) || fsync(fileno(f))))
		r = fail(WEIGHTS_FILE);
	if (f && fclose(f) && !r)
		r = fail(WEIGHTS_FILE);
	if (!r)
		printf("%zu variables, %.1f MiB\n", v->n, (double)(offset - data) / (1 << 20));
	free(rows);
	return r;
}

static int copy_file(const char *from, const char *to)
{
	char buffer[1 << 16];
	FILE *in = fopen(from, "re"), *out = in ? fopen(to, "we") : NULL;
	size_t n;
	int r = in && out ? 0 : fail(in ? to : from);

	while (!r && (n = fread(buffer, 1, sizeof(buffer), in)))
		if (fwrite(buffer, 1, n, out) != n)
			r = fail(to);
	if (!r && ferror(in))
		r = fail(from);
	if (out && fclose(out) && !r)
		r = fail(to);
	if (in)
		fclose(in);
	return r;
}

/* All but the variables. */
static int copy_folder(const char *from, const char *to, bool top)
{
	char source[PATH_MAX], target[PATH_MAX];
	DIR *dir = opendir(from);
	struct dirent *entry;
	struct stat st;
	int r = dir ? 0 : fail(from);

	while (!r && (entry = readdir(dir))) {
		if (*entry->d_name == '.' ||
		    (top && (!strcmp(entry->d_name, "variables") || !strcmp(entry->d_name, WEIGHTS_FILE))))
			continue;
		snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
		snprintf(target, sizeof(target), "%s/%s", to, entry->d_name);
		if (stat(source, &st) < 0)
			r = fail(source);
		else if (!S_ISDIR(st.st_mode))
			r = copy_file(source, target);
		else
			r = mkdir(target, 0755) < 0 ? fail(target) : copy_folder(source, target, false);
	}
	if (dir)
		closedir(dir);
	return r;
}

/* ---- the whole ---- */

static int load(const char *path, const char *tags, struct tf_model **ret_model)
{
	static const struct tf_settings settings = { 0 };
	const char *const keys[] = { "tags" };
	const struct vaccel_plugin_model description = {
		.size = sizeof(description),
		.name = path,
		.path = path,
		.signature = "",
		.keys = keys,
		.values = &tags,
		.n_keys = 1,
	};

	return tf_model_new(&settings, &description, ret_model, &report);
}

static int make(const char *from, const char *tags, const char *folder)
{
	struct variables v = { 0 };
	struct tf_model *model = NULL;
	size_t i;
	int r = load(from, tags, &model);

	if (!r)
		r = read_variables(model, &v);
	if (!r)
		r = copy_folder(from, folder, true);
	if (!r)
		r = write_weights(&v, folder);
	for (i = 0; i < v.n && v.values; i++)
		tf.DeleteTensor(v.values[i]);
	free(v.nodes);
	free(v.values);
	tf_model_free(model);
	model = NULL;
	/* What was made loads as it will. */
	if (!r)
		r = load(folder, tags, &model);
	tf_model_free(model);
	return r;
}

static void log_line(int priority, const char *text)
{
	fprintf(stderr, "%s\n", text);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "library", required_argument, NULL, 'l' },
		{ "tags", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *library = NULL, *tags = "serve";
	char temporary[PATH_MAX];
	int c, r;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'l')
			library = optarg;
		else if (c == 't')
			tags = optarg;
		else if (c == 'h')
			return fputs(usage, stdout) < 0;
		else
			return fputs(usage, stderr), 2;
	}
	if (argc - optind != 2)
		return fputs(usage, stderr), 2;
	snprintf(temporary, sizeof(temporary), "%s.XXXXXX", argv[optind + 1]);
	setenv("TF_CPP_MIN_LOG_LEVEL", "3", 0);
	r = tf_library_open(library, TF_PROBE_AUTO, log_line, TF_ERROR, &report);
	if (!r && (!mkdtemp(temporary) || chmod(temporary, 0755) < 0))
		r = fail(temporary);
	if (!r)
		r = make(argv[optind], tags, temporary);
	if (!r && rename(temporary, argv[optind + 1]) < 0)
		r = fail(argv[optind + 1]);
	if (r < 0)
		fprintf(stderr, "vaccel-tensorflow-share: %s\n", why);
	return r < 0;
}
