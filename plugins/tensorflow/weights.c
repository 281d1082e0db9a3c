/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See weights.h. TensorFlow takes a tensor that it is fed as a variable's value by reference, and never writes to memory that it was
 * lent: what would change such a variable makes a copy first. The mapping is dropped with the last variable.
 */
#include "weights.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct mapping {
	unsigned int n; /* tensors that lie in it, plus one while they are made */
	void *data;
	size_t len;
};

/* What assigns the rows to the variables. */
struct assignment {
	const struct weights_row *rows;
	size_t n;
	TF_Output *places;
	TF_Tensor **values;
	const TF_Operation **operations;
};

bool weights_path(const char *folder, char *path, size_t size)
{
	return (size_t)snprintf(path, size, "%s/" WEIGHTS_FILE, folder) < size;
}

static void drop(void *data, size_t len, void *opaque)
{
	struct mapping *mapping = opaque;

	if (__atomic_sub_fetch(&mapping->n, 1, __ATOMIC_ACQ_REL))
		return;
	munmap(mapping->data, mapping->len);
	free(mapping);
}

static struct mapping *map(const char *path, const struct vaccel_plugin_report *report)
{
	struct mapping *mapping = calloc(1, sizeof(*mapping));
	int fd = open(path, O_RDONLY | O_CLOEXEC), saved;
	struct stat st = { 0 };
	void *data = MAP_FAILED;

	/* No mapping has no bytes. */
	if (mapping && fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
		data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	saved = fd >= 0 && !st.st_size ? EINVAL : errno;
	if (fd >= 0)
		close(fd);
	if (data == MAP_FAILED) {
		vaccel_plugin_error(report, -saved, WEIGHTS_FILE " cannot be mapped: %s", strerror(saved));
		free(mapping);
		errno = saved;
		return NULL;
	}
	*mapping = (struct mapping){ .n = 1, .data = data, .len = (size_t)st.st_size };
	return mapping;
}

static bool row_is_good(const struct weights_row *row, size_t len)
{
	size_t size;
	uint32_t i;

	if (!memchr(row->node, 0, sizeof(row->node)) || row->rank > VACCEL_MAX_RANK || !tf_is_dtype(row->dtype) ||
	    row->dtype == VACCEL_STRING)
		return false;
	size = tf.DataTypeSize((TF_DataType)row->dtype);
	for (i = 0; i < row->rank; i++)
		if (row->dims[i] < 0 || __builtin_mul_overflow(size, (size_t)row->dims[i], &size))
			return false;
	return size == row->len && row->offset % WEIGHTS_ALIGN == 0 && row->offset <= len &&
	       row->len <= len - row->offset;
}

int weights_check(const void *data, size_t len, const struct vaccel_plugin_report *report)
{
	const struct weights_head *head = data;
	const struct weights_row *rows = (const void *)(head + 1);
	size_t i;

	if (len < sizeof(*head) || memcmp(head->magic, WEIGHTS_MAGIC, sizeof(head->magic)) || head->size != len ||
	    head->n_rows > WEIGHTS_MAX_ROWS || head->n_rows > (len - sizeof(*head)) / sizeof(*rows))
		return vaccel_plugin_error(report, -EINVAL,
					   WEIGHTS_FILE " is not whole, or none of vaccel-tensorflow-share's");
	for (i = 0; i < head->n_rows; i++)
		if (!row_is_good(&rows[i], len))
			return vaccel_plugin_error(report, -EINVAL, WEIGHTS_FILE ": row %zu is malformed", i);
	return 0;
}

TF_Operation *weights_operation(TF_Graph *graph, const char *type, size_t index, TF_Operation *node,
				const TF_Output *value, TF_Status *status)
{
	TF_OperationDescription *description;
	TF_DataType dtype = TF_FLOAT;
	char name[64];

	tf.OperationGetAttrType(node, "dtype", &dtype, status);
	if (tf.GetCode(status) != TF_OK)
		return NULL;
	snprintf(name, sizeof(name), "vaccel/%s_%zu", type, index);
	description = tf.NewOperation(graph, type, name);
	if (strcmp(type, "Placeholder"))
		tf.AddInput(description, (TF_Output){ node, 0 });
	if (value)
		tf.AddInput(description, *value);
	if (strcmp(type, "VarIsInitializedOp"))
		tf.SetAttrType(description, "dtype", dtype);
	return tf.FinishOperation(description, status);
}

static int find_variable(struct tf_model *model, const struct weights_row *row, TF_Operation **ret_node,
			 const struct vaccel_plugin_report *report)
{
	TF_Operation *node = tf.GraphOperationByName(model->graph, row->node);
	TF_Status *status = tf.NewStatus();
	TF_DataType dtype = TF_FLOAT;
	bool good = node && !strcmp(tf.OperationOpType(node), "VarHandleOp");

	if (good)
		tf.OperationGetAttrType(node, "dtype", &dtype, status);
	good = good && tf.GetCode(status) == TF_OK && (uint32_t)dtype == row->dtype;
	tf.DeleteStatus(status);
	*ret_node = node;
	return good ? 0
		    : vaccel_plugin_error(report, -EINVAL,
					  WEIGHTS_FILE ": the graph has no variable '%.200s' of that type", row->node);
}

static int add_row(struct tf_model *model, struct assignment *a, size_t i, struct mapping *mapping, TF_Status *status,
		   const struct vaccel_plugin_report *report)
{
	const struct weights_row *row = &a->rows[i];
	TF_Operation *node = NULL, *place;
	int r = find_variable(model, row, &node, report);

	if (r < 0)
		return r;
	place = weights_operation(model->graph, "Placeholder", i, node, NULL, status);
	a->places[i] = (TF_Output){ place, 0 };
	a->operations[i] = place ? weights_operation(model->graph, "AssignVariableOp", i, node, &a->places[i], status)
				 : NULL;
	if (!a->operations[i])
		return tf_error(report, status, WEIGHTS_FILE ": the graph cannot be added to");
	__atomic_add_fetch(&mapping->n, 1, __ATOMIC_RELAXED);
	a->values[i] = tf.NewTensor((TF_DataType)row->dtype, row->dims, (int)row->rank,
				    (char *)mapping->data + row->offset, row->len, drop, mapping);
	if (a->values[i])
		return 0;
	__atomic_sub_fetch(&mapping->n, 1, __ATOMIC_RELAXED);
	return vaccel_plugin_error(report, -ENOMEM, "no memory for its variables");
}

static int assign(struct tf_model *model, struct assignment *a, struct mapping *mapping,
		  const struct vaccel_plugin_report *report)
{
	TF_Status *status = tf.NewStatus();
	size_t i;
	int r = 0;

	for (i = 0; i < a->n && !r; i++)
		r = add_row(model, a, i, mapping, status, report);
	if (!r) {
		tf.SessionRun(model->session, NULL, a->places, a->values, (int)a->n, NULL, NULL, 0, a->operations,
			      (int)a->n, NULL, status);
		if (tf.GetCode(status) != TF_OK)
			r = tf_error(report, status, WEIGHTS_FILE ": the variables do not take their values");
	}
	for (i = 0; i < a->n; i++)
		tf.DeleteTensor(a->values[i]);
	tf.DeleteStatus(status);
	return r;
}

int weights_share(struct tf_model *model, const char *path, const struct vaccel_plugin_report *report)
{
	struct mapping *mapping = map(path, report);
	struct assignment a = { 0 };
	const struct weights_head *head;
	int r;

	if (!mapping)
		return errno ? -errno : -ENOMEM;
	r = weights_check(mapping->data, mapping->len, report);
	if (!r) {
		head = mapping->data;
		a.rows = (const void *)(head + 1);
		a.n = head->n_rows;
		a.places = calloc(a.n + 1, sizeof(*a.places));
		a.values = calloc(a.n + 1, sizeof(*a.values));
		a.operations = calloc(a.n + 1, sizeof(*a.operations));
		r = a.places && a.values && a.operations
			    ? assign(model, &a, mapping, report)
			    : vaccel_plugin_error(report, -ENOMEM, "no memory for its variables");
	}
	free(a.places);
	free(a.values);
	free(a.operations);
	drop(NULL, 0, mapping);
	return r;
}
