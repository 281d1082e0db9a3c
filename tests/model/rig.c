/* SPDX-License-Identifier: Apache-2.0 */
/* See rig.h. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_S 60

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "rig: %s: %s\n", what, strerror(errno));
	abort();
}

/* ---- The log ---- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[1 << 18];
static size_t log_len;

static void on_log(int priority, const char *text)
{
	int n;

	pthread_mutex_lock(&log_lock);
	n = snprintf(log_text + log_len, sizeof(log_text) - log_len, "%s\n", text);
	if (n > 0 && log_len + (size_t)n < sizeof(log_text))
		log_len += (size_t)n;
	pthread_mutex_unlock(&log_lock);
	fprintf(stderr, "log %d: %s\n", priority, text);
}

bool rig_logged(const char *text)
{
	bool found;

	pthread_mutex_lock(&log_lock);
	found = strstr(log_text, text);
	pthread_mutex_unlock(&log_lock);
	return found;
}

/* ---- Life ---- */

/* Of the rig that is started. */
static struct rig *current;

static int load_or_fail(const struct vaccel_plugin_model *model, void **ret_model,
			const struct vaccel_plugin_report *report)
{
	void (*on_load)(struct rig *) = __atomic_exchange_n(&current->on_load, NULL, __ATOMIC_ACQ_REL);

	if (on_load)
		on_load(current);
	if (!__atomic_load_n(&current->n_failing, __ATOMIC_RELAXED))
		return current->reference.plugin->framework->model_load(model, ret_model, report);
	__atomic_sub_fetch(&current->n_failing, 1, __ATOMIC_RELAXED);
	return vaccel_plugin_error(report, -ENOMEM, "no memory today");
}

static int run_counted(const struct vaccel_plugin_run *run)
{
	__atomic_add_fetch(&current->n_begun, 1, __ATOMIC_RELAXED);
	return current->reference.plugin->framework->model_run(run);
}

static const struct vaccel_plugin_framework *framework(const struct vaccel_plugin_host *host, size_t index,
						       const char **ret_plugin, const char **ret_hardware)
{
	const struct rig *rig = (const struct rig *)((const char *)host - offsetof(struct rig, host));

	*ret_plugin = "reference";
	*ret_hardware = "CPU";
	return index ? NULL : &rig->framework;
}

void rig_make(struct rig *rig)
{
	*rig = (struct rig){ .host = {
				     .size = sizeof(rig->host),
				     .version = VACCEL_BUILD_VERSION,
				     .log = on_log,
				     .framework = framework,
			     } };
	log_len = 0;
	*log_text = '\0';
	strcpy(rig->folder, "/tmp/vaccel-model-XXXXXX");
	must(mkdtemp(rig->folder), rig->folder);
	snprintf(rig->models, sizeof(rig->models), "%s/models", rig->folder);
	must(mkdir(rig->models, 0755) == 0, rig->models);
	rig->host.models_dir = rig->models;
}

int rig_start(struct rig *rig, char *const *keys)
{
	must(harness_open(&rig->reference, getenv("VACCEL_REFERENCE_SO")) == 0, "the plugin reference");
	must(harness_start(&rig->reference, NULL, 0, NULL) == 0, "the plugin reference");
	must(harness_open(&rig->plugin, getenv("VACCEL_MODELS_SO")) == 0, "the plugin models");
	current = rig;
	rig->framework = *rig->reference.plugin->framework;
	rig->framework.model_load = load_or_fail;
	rig->framework.model_run = run_counted;
	return harness_start_in(&rig->plugin, &rig->host, keys);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void rig_stop(struct rig *rig)
{
	harness_stop(&rig->plugin);
	harness_stop(&rig->reference);
	nftw(rig->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- Files ---- */

static void whole_path(struct rig *rig, const char *path, char *ret_path)
{
	must((size_t)snprintf(ret_path, PATH_MAX, "%s/%s", rig->models, path) < PATH_MAX, path);
}

void rig_put(struct rig *rig, const char *path, const void *data, size_t len)
{
	char whole[PATH_MAX];
	FILE *f;

	whole_path(rig, path, whole);
	for (char *slash = strchr(whole + strlen(rig->models) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		must(mkdir(whole, 0755) == 0 || errno == EEXIST, whole);
		*slash = '/';
	}
	f = fopen(whole, "w");
	must(f && fwrite(data, 1, len, f) == len && fclose(f) == 0, whole);
}

void rig_text(struct rig *rig, const char *path, const char *text)
{
	rig_put(rig, path, text, strlen(text));
}

void rig_model(struct rig *rig, const char *path, const char *graph, const char *more)
{
	char file[256], text[1024];

	snprintf(file, sizeof(file), "%s/model.conf", path);
	snprintf(text, sizeof(text), "[model]\nframework = reference\n%s\n[reference]\ngraph = %s\n", more, graph);
	rig_text(rig, file, text);
}

void rig_rename(struct rig *rig, const char *from, const char *to)
{
	char a[PATH_MAX], b[PATH_MAX];

	whole_path(rig, from, a);
	whole_path(rig, to, b);
	must(rename(a, b) == 0, a);
}

void rig_exchange(struct rig *rig, const char *one, const char *other)
{
	char a[PATH_MAX], b[PATH_MAX];

	whole_path(rig, one, a);
	whole_path(rig, other, b);
	must(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0, a);
}

void rig_link(struct rig *rig, const char *target, const char *path)
{
	char whole[PATH_MAX];

	whole_path(rig, path, whole);
	must(symlink(target, whole) == 0, whole);
}

void rig_remove(struct rig *rig, const char *path)
{
	char whole[PATH_MAX];

	whole_path(rig, path, whole);
	must(nftw(whole, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0, whole);
}

/* ---- Waiting ---- */

enum { ROOM = 64 };

static void list(struct rig *rig, struct vaccel_models *ret_models, struct vaccel_model_row rows[ROOM])
{
	const struct vaccel_model_list params = { 0 };
	const struct vaccel_plugin_arg args[] = {
		{ .data = ret_models, .len = sizeof(*ret_models), .dir = 2 },
		{ .data = rows, .len = ROOM * sizeof(*rows), .dir = 2 },
	};
	char error[RIG_ERROR];

	must(rig_run(rig, VACCEL_OP_MODEL_LIST, &params, sizeof(params), args, 2, NULL, error) == 0, error);
}

bool rig_row(struct rig *rig, const char *name, struct vaccel_model_row *ret_row)
{
	struct vaccel_models models;
	struct vaccel_model_row rows[ROOM];

	list(rig, &models, rows);
	for (uint32_t i = 0; i < models.n_rows; i++) {
		if (!strcmp(rows[i].name, name)) {
			*ret_row = rows[i];
			return true;
		}
	}
	return false;
}

uint64_t rig_changes(struct rig *rig)
{
	struct vaccel_models models;
	struct vaccel_model_row rows[ROOM];

	list(rig, &models, rows);
	return models.changes;
}

static bool wait_for(struct rig *rig, const char *name, bool listed, uint32_t flags, const uint8_t * not )
{
	const double until = harness_now() + WAIT_S;
	const uint32_t mask = VACCEL_MODEL_BROKEN | VACCEL_MODEL_OUTDATED;
	struct vaccel_model_row row;

	do {
		if (!rig_row(rig, name, &row) ? !listed
					      : listed && (row.flags & mask) == flags &&
							(!not || memcmp(row.hash, not, sizeof(row.hash))))
			return true;
		usleep(5000);
	} while (harness_now() < until);
	return false;
}

bool rig_wait(struct rig *rig, const char *name, uint32_t flags, const uint8_t * not )
{
	return wait_for(rig, name, true, flags, not );
}

bool rig_wait_gone(struct rig *rig, const char *name)
{
	return wait_for(rig, name, false, 0, NULL);
}

bool rig_wait_logged(const char *text)
{
	const double until = harness_now() + WAIT_S;

	while (!rig_logged(text)) {
		if (harness_now() > until)
			return false;
		usleep(5000);
	}
	return true;
}

/* ---- Operations ---- */

int rig_run(struct rig *rig, uint32_t op, const void *params, size_t params_len, const struct vaccel_plugin_arg *args,
	    size_t n_args, uint64_t *copied, char *error)
{
	const struct vaccel_plugin *p = rig->plugin.plugin;
	const struct vaccel_plugin_call call = {
		.size = sizeof(call),
		.op = op,
		.params = params,
		.params_len = params_len,
		.args = args,
		.n_args = n_args,
		.report = { error, RIG_ERROR },
		.copied = copied,
	};

	*error = '\0';
	for (size_t i = 0; i < p->n_ops; i++)
		if (p->ops[i].op == op)
			return p->ops[i].run(&call);
	return -EOPNOTSUPP;
}

int rig_classify(struct rig *rig, const char *model, const void *picture, size_t len, uint32_t k,
		 struct vaccel_classified *ret_answer, struct vaccel_label *ret_labels, char *error)
{
	struct vaccel_classify params = { .k = k };
	const struct vaccel_plugin_arg args[] = {
		{ .data = (void *)picture, .len = len, .dir = 1 },
		{ .data = ret_answer, .len = sizeof(*ret_answer), .dir = 2 },
		{ .data = ret_labels, .len = k * sizeof(*ret_labels), .dir = 2 },
	};

	snprintf(params.model, sizeof(params.model), "%s", model);
	return rig_run(rig, VACCEL_OP_IMAGE_CLASSIFY, &params, sizeof(params), args, 3, NULL, error);
}

void rig_infer_make(struct rig_infer *infer, const char *model, const struct rig_tensor *inputs, uint32_t n_inputs,
		    const struct rig_tensor *outputs, uint32_t n_outputs)
{
	*infer = (struct rig_infer){ .params = { .n_inputs = n_inputs, .n_outputs = n_outputs } };
	snprintf(infer->params.model, sizeof(infer->params.model), "%s", model);
	for (uint32_t i = 0; i < n_inputs + n_outputs; i++) {
		const struct rig_tensor *tensor = i < n_inputs ? &inputs[i] : &outputs[i - n_inputs];
		struct vaccel_tensor_desc *desc = &infer->descs[i];

		snprintf(desc->name, sizeof(desc->name), "%s", tensor->name);
		infer->args[2 + i] = (struct vaccel_plugin_arg){ .data = tensor->data,
								 .len = tensor->len,
								 .dir = i < n_inputs ? 1 : 2 };
		if (i >= n_inputs)
			continue;
		desc->dtype = tensor->dtype;
		desc->rank = tensor->rank;
		desc->len = tensor->len;
		memcpy(desc->dims, tensor->dims, sizeof(desc->dims));
	}
	infer->args[0] = (struct vaccel_plugin_arg){ .data = infer->descs,
						     .len = (n_inputs + n_outputs) * sizeof(infer->descs[0]),
						     .dir = 1 };
	infer->args[1] = (struct vaccel_plugin_arg){ .data = infer->answers,
						     .len = n_outputs * sizeof(infer->answers[0]),
						     .dir = 2 };
	infer->call = (struct vaccel_plugin_call){ .size = sizeof(infer->call),
						   .op = VACCEL_OP_INFER,
						   .params = &infer->params,
						   .params_len = sizeof(infer->params),
						   .args = infer->args,
						   .n_args = 2 + n_inputs + n_outputs,
						   .report = { infer->error, sizeof(infer->error) },
						   .copied = &infer->copied };
}

int rig_infer(struct rig *rig, const char *model, const struct rig_tensor *inputs, uint32_t n_inputs,
	      struct rig_tensor *outputs, uint32_t n_outputs, uint64_t *copied, char *error)
{
	struct rig_infer infer;
	int r;

	rig_infer_make(&infer, model, inputs, n_inputs, outputs, n_outputs);
	r = rig_run(rig, VACCEL_OP_INFER, &infer.params, sizeof(infer.params), infer.args, infer.call.n_args, copied,
		    error);
	for (uint32_t i = 0; i < n_outputs && r == 0; i++) {
		outputs[i].dtype = infer.answers[i].dtype;
		outputs[i].rank = infer.answers[i].rank;
		outputs[i].len = infer.answers[i].len;
		memcpy(outputs[i].dims, infer.answers[i].dims, sizeof(outputs[i].dims));
	}
	return r;
}

/* ---- PNG, without compression ---- */

static uint32_t crc32_of(const uint8_t *data, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static uint32_t adler32_of(const uint8_t *data, size_t len)
{
	uint32_t a = 1, b = 0;

	for (size_t i = 0; i < len; i++) {
		a = (a + data[i]) % 65521;
		b = (b + a) % 65521;
	}
	return b << 16 | a;
}

static uint8_t *put32(uint8_t *at, uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		*at++ = (uint8_t)(value >> shift);
	return at;
}

/* Length, type, data, checksum. */
static uint8_t *put_chunk(uint8_t *at, const char *type, const uint8_t *data, size_t len)
{
	uint8_t *begin;

	at = put32(at, (uint32_t)len);
	begin = at;
	memcpy(at, type, 4);
	if (len)
		memcpy(at + 4, data, len);
	return put32(at + 4 + len, crc32_of(begin, len + 4));
}

/* zlib's frame around stored blocks, each with five bytes of its own and at most STORED of the data. */
#define STORED 65535

static size_t store(uint8_t *to, const uint8_t *raw, size_t len)
{
	uint8_t *at = to;

	*at++ = 0x78;
	*at++ = 1;
	for (size_t done = 0, n; done < len; done += n) {
		n = len - done < STORED ? len - done : STORED;
		const uint8_t head[] = { done + n == len, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)~n,
					 (uint8_t)(~n >> 8) };

		memcpy(at, head, sizeof(head));
		memcpy(at + sizeof(head), raw + done, n);
		at += sizeof(head) + n;
	}
	return (size_t)(put32(at, adler32_of(raw, len)) - to);
}

void *rig_png(uint32_t width, uint32_t height, uint32_t channels, uint32_t seed, size_t *ret_len)
{
	static const uint8_t magic[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
	const size_t line = (size_t)width * channels + 1, len = line * height, more = 5 * (len / STORED);
	uint8_t *raw = calloc(1, len), *stored = malloc(len + more + 16), *png = malloc(len + more + 128), *at = png;
	uint8_t head[13] = { [8] = 8, [9] = channels == 3 ? 2 : 0 };

	must(raw && stored && png, "PNG");
	for (size_t i = 0; i < len; i++)
		if (i % line)
			raw[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
	put32(put32(head, width), height);
	memcpy(at, magic, sizeof(magic));
	at = put_chunk(at + sizeof(magic), "IHDR", head, sizeof(head));
	at = put_chunk(at, "IDAT", stored, store(stored, raw, len));
	at = put_chunk(at, "IEND", NULL, 0);
	*ret_len = (size_t)(at - png);
	free(raw);
	free(stored);
	return png;
}
