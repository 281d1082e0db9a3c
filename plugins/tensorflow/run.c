/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run: the caller's tensors as TensorFlow's, the run, TensorFlow's tensors to the caller.
 *
 * An input that lies at a multiple of 64 bytes is used where it is. TensorFlow never writes to memory that it was lent, and
 * gives it back when the last reference goes; that may be a moment after the run, when another thread drops what it
 * worked with. So a run counts what is lent, and ends when all is back.
 *
 * TensorFlow keeps what it prepared for each choice of outputs for as long as the session lives. Callers may choose as they like, so
 * only the first few choices are run as such, and all others as a run for all outputs. Inputs are always all of them, in
 * the signature's order.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include "tensorflow.h"

enum { ALIGN = 64, WAIT_MS = 2000 };

/* Counts the inputs that are lent, plus one for the run. It outlives the run if need be. */
struct lent {
	unsigned int n;
};

struct work {
	const struct vaccel_plugin_run *run;
	struct tf_model *model;
	struct lent *lent;
	TF_Tensor *inputs[SIGNATURE_MAX_TENSORS];
	TF_Tensor *results[SIGNATURE_MAX_TENSORS];
	TF_Output fetches[SIGNATURE_MAX_TENSORS];
	size_t place[SIGNATURE_MAX_TENSORS]; /* of an output of the signature among the results */
	size_t n_fetches;
};

static void give_back(void *data, size_t len, void *opaque)
{
	struct lent *lent = opaque;

	if (__atomic_sub_fetch(&lent->n, 1, __ATOMIC_ACQ_REL) == 0)
		free(lent);
}

static void drop_copy(void *data, size_t len, void *opaque)
{
	free(data);
}

/* ---- inputs ---- */

static void print_shape(char *text, size_t size, uint32_t rank, const int64_t *dims)
{
	size_t used = 0;
	uint32_t i;

	if (rank > VACCEL_MAX_RANK) {
		snprintf(text, size, "any");
		return;
	}
	used += (size_t)snprintf(text, size, "[");
	for (i = 0; i < rank && used < size; i++)
		used += dims[i] < 0 ? (size_t)snprintf(text + used, size - used, "%s?", i ? ", " : "")
				    : (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "",
						       (long long)dims[i]);
	if (used < size)
		snprintf(text + used, size - used, "]");
}

static bool fits(const struct signature_tensor *s, const struct vaccel_plugin_tensor *t)
{
	uint32_t i;

	if (s->rank > VACCEL_MAX_RANK)
		return true;
	for (i = 0; i < s->rank && s->rank == t->rank; i++)
		if (s->dims[i] >= 0 && s->dims[i] != t->dims[i])
			return false;
	return s->rank == t->rank;
}

/* Type, shape and length. Callers have checked most of this; whatever they are, TensorFlow is not handed what is not so. */
static int check_input(const struct work *w, const struct signature_tensor *s, const struct vaccel_plugin_tensor *t,
		       size_t *ret_n)
{
	char has[200], takes[200];
	size_t n = 1, size;
	uint32_t i;

	if (t->dtype != s->dtype)
		return vaccel_plugin_error(&w->run->report, -EINVAL, "input '%s' has type %u, the model takes type %u",
					   s->name, t->dtype, s->dtype);
	if (t->rank > VACCEL_MAX_RANK || !fits(s, t)) {
		print_shape(has, sizeof(has), t->rank, t->dims);
		print_shape(takes, sizeof(takes), s->rank, s->dims);
		return vaccel_plugin_error(&w->run->report, -EINVAL, "input '%s' has the shape %s, the model takes %s",
					   s->name, has, takes);
	}
	for (i = 0; i < t->rank; i++)
		if (t->dims[i] < 0 || __builtin_mul_overflow(n, (size_t)t->dims[i], &n))
			return vaccel_plugin_error(&w->run->report, -EINVAL, "input '%s' has no possible shape",
						   s->name);
	if (t->dtype == VACCEL_STRING)
		size = t->len;
	else if (__builtin_mul_overflow(n, tf.DataTypeSize((TF_DataType)t->dtype), &size) || size != t->len)
		return vaccel_plugin_error(&w->run->report, -EINVAL,
					   "input '%s' has %zu bytes, which its shape does not take", s->name, t->len);
	*ret_n = n;
	return 0;
}

static TF_Tensor *lend(struct work *w, const struct vaccel_plugin_tensor *t)
{
	TF_Tensor *tensor;

	__atomic_add_fetch(&w->lent->n, 1, __ATOMIC_RELAXED);
	tensor = tf.NewTensor((TF_DataType)t->dtype, t->dims, (int)t->rank, (void *)(uintptr_t)t->data, t->len,
			      give_back, w->lent);
	if (!tensor)
		__atomic_sub_fetch(&w->lent->n, 1, __ATOMIC_RELAXED);
	return tensor;
}

static TF_Tensor *copy(const struct vaccel_plugin_tensor *t)
{
	/* Never of no bytes. */
	void *data = t->len < SIZE_MAX - ALIGN ? aligned_alloc(ALIGN, t->len / ALIGN * ALIGN + ALIGN) : NULL;
	TF_Tensor *tensor;

	if (!data)
		return NULL;
	if (t->len)
		memcpy(data, t->data, t->len);
	tensor = tf.NewTensor((TF_DataType)t->dtype, t->dims, (int)t->rank, data, t->len, drop_copy, NULL);
	if (!tensor)
		free(data);
	return tensor;
}

static int make_input(struct work *w, size_t index, const struct vaccel_plugin_tensor *t)
{
	const struct signature_tensor *s = &w->model->signature.inputs.tensors[index];
	const bool in_place = t->len && (uintptr_t)t->data % ALIGN == 0 && t->dtype != VACCEL_STRING &&
			      !__atomic_load_n(&w->model->keeps, __ATOMIC_RELAXED);
	size_t n = 0;
	int r = check_input(w, s, t, &n);

	if (r < 0)
		return r;
	if (t->dtype == VACCEL_STRING)
		r = tf_text_new(t, n, &w->inputs[index]);
	else
		w->inputs[index] = in_place ? lend(w, t) : copy(t);
	if (r == -EINVAL)
		return vaccel_plugin_error(&w->run->report, r, "input '%s': its texts do not fill its bytes", s->name);
	if (!w->inputs[index])
		return vaccel_plugin_error(&w->run->report, -ENOMEM, "no memory for input '%s'", s->name);
	if (!in_place && w->run->copied)
		*w->run->copied += t->len;
	return 0;
}

static const struct vaccel_plugin_tensor *find_input(const struct vaccel_plugin_run *run, const char *name)
{
	size_t i;

	for (i = 0; i < run->n_inputs; i++)
		if (!strcmp(run->inputs[i].name, name))
			return &run->inputs[i];
	return NULL;
}

static bool is_input(const struct tf_model *model, const char *name)
{
	size_t i;

	for (i = 0; i < model->signature.inputs.n; i++)
		if (!strcmp(model->signature.inputs.tensors[i].name, name))
			return true;
	return false;
}

static int make_inputs(struct work *w)
{
	const struct signature_list *list = &w->model->signature.inputs;
	const struct vaccel_plugin_tensor *t;
	size_t i;
	int r = 0;

	for (i = 0; i < w->run->n_inputs; i++)
		if (!is_input(w->model, w->run->inputs[i].name))
			return vaccel_plugin_error(&w->run->report, -EINVAL, "the model has no input '%s'",
						   w->run->inputs[i].name);
	for (i = 0; i < list->n && !r; i++) {
		t = find_input(w->run, list->tensors[i].name);
		r = t ? make_input(w, i, t)
		      : vaccel_plugin_error(&w->run->report, -EINVAL, "input '%s' is missing", list->tensors[i].name);
	}
	return r;
}

/* ---- outputs ---- */

static int find_output(const struct work *w, const char *name, size_t *ret_index)
{
	const struct signature_list *list = &w->model->signature.outputs;
	size_t i;

	for (i = 0; i < list->n; i++)
		if (!strcmp(list->tensors[i].name, name)) {
			*ret_index = i;
			return 0;
		}
	return vaccel_plugin_error(&w->run->report, -EINVAL, "the model has no output '%s'", name);
}

/* Whether the choice is one of those that are run as such; the first few are. */
static bool set_is_known(struct tf_model *model, const struct tf_set *set)
{
	bool known = false;
	size_t i;

	pthread_mutex_lock(&model->lock);
	for (i = 0; i < model->n_sets && !known; i++)
		known = !memcmp(&model->sets[i], set, sizeof(*set));
	if (!known && model->n_sets < TF_MAX_SETS) {
		model->sets[model->n_sets++] = *set;
		known = true;
	}
	pthread_mutex_unlock(&model->lock);
	return known;
}

static int choose_outputs(struct work *w)
{
	const size_t n = w->model->signature.outputs.n;
	struct tf_set set = { 0 };
	size_t i, index = 0;
	bool all;
	int r;

	for (i = 0; i < w->run->n_outputs; i++) {
		r = find_output(w, w->run->outputs[i], &index);
		if (r < 0)
			return r;
		set.members[index / 64] |= UINT64_C(1) << index % 64;
	}
	all = !set_is_known(w->model, &set);
	for (i = 0; i < n; i++) {
		if (!all && !(set.members[i / 64] >> i % 64 & 1))
			continue;
		w->place[i] = w->n_fetches;
		w->fetches[w->n_fetches++] = w->model->outputs[i];
	}
	return 0;
}

static int emit(struct work *w, size_t output)
{
	struct vaccel_plugin_tensor t = { .name = w->run->outputs[output] };
	const TF_Tensor *tensor;
	void *texts = NULL;
	size_t index = 0, n = 1;
	uint32_t i;
	int r = find_output(w, t.name, &index);

	if (r < 0)
		return r;
	tensor = w->results[w->place[index]];
	t.dtype = (uint32_t)tf.TensorType(tensor);
	t.rank = (uint32_t)tf.NumDims(tensor);
	if (t.rank > VACCEL_MAX_RANK || !tf_is_dtype(t.dtype))
		return vaccel_plugin_error(&w->run->report, -ENOTSUP, "output '%s' has type %u and %u dimensions",
					   t.name, t.dtype, t.rank);
	for (i = 0; i < t.rank; i++) {
		t.dims[i] = tf.Dim(tensor, (int)i);
		n *= (size_t)t.dims[i];
	}
	t.data = tf.TensorData(tensor);
	t.len = tf.TensorByteSize(tensor);
	if (t.dtype == VACCEL_STRING) {
		r = tf_text_read(tensor, n, &texts, &t.len);
		t.data = texts;
	}
	if (r < 0)
		return vaccel_plugin_error(&w->run->report, r, "no memory for output '%s'", t.name);
	r = w->run->emit(w->run, output, &t);
	free(texts);
	return r;
}

/* ---- the run ---- */

static void drop_tensors(struct work *w)
{
	size_t i;

	for (i = 0; i < w->n_fetches; i++)
		tf.DeleteTensor(w->results[i]);
	for (i = 0; i < w->model->signature.inputs.n; i++)
		tf.DeleteTensor(w->inputs[i]);
}

/* false: TensorFlow keeps an input although keeps.c found that it would not. The model gets copies from now on. */
static bool all_is_back(struct work *w)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int i;

	for (i = 0; i < WAIT_MS && __atomic_load_n(&w->lent->n, __ATOMIC_ACQUIRE) != 1; i++)
		nanosleep(&pause, NULL);
	if (i < WAIT_MS)
		return true;
	__atomic_store_n(&w->model->keeps, true, __ATOMIC_RELAXED);
	return false;
}

static int run_session(struct work *w)
{
	const size_t n_inputs = w->model->signature.inputs.n;
	TF_Status *status = tf.NewStatus();
	int r = 0;

	tf.SessionRun(w->model->session, NULL, w->model->inputs, w->inputs, (int)n_inputs, w->fetches, w->results,
		      (int)w->n_fetches, NULL, 0, NULL, status);
	if (tf.GetCode(status) != TF_OK)
		r = tf_error(&w->run->report, status, "the run failed");
	tf.DeleteStatus(status);
	return r;
}

int tf_model_run(const struct vaccel_plugin_run *run)
{
	struct work *w = calloc(1, sizeof(*w));
	size_t i;
	int r = -ENOMEM;

	if (w)
		w->lent = calloc(1, sizeof(*w->lent));
	if (!w || !w->lent) {
		free(w);
		return vaccel_plugin_error(&run->report, r, "no memory for a run");
	}
	w->run = run;
	w->model = run->model;
	w->lent->n = 1;
	r = make_inputs(w);
	if (!r)
		r = choose_outputs(w);
	if (!r)
		r = run_session(w);
	for (i = 0; i < run->n_outputs && !r; i++)
		r = emit(w, i);
	drop_tensors(w);
	if (!all_is_back(w))
		r = vaccel_plugin_error(&run->report, -EIO, "TensorFlow does not give an input back");
	give_back(NULL, 0, w->lent);
	free(w);
	return r;
}
