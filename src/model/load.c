/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a folder to a model that runs: description, labels, hash, framework, signature, and whether these fit each
 * other. What is cheap comes first, so that a wrong word in model.conf costs no loading.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/picture.h"
#include "model/signature.h"
#include "util/util.h"

void model_log(const struct vaccel_plugin_host *host, int priority, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (host->log)
		host->log(priority, text);
}

/* ---- The parts ---- */

static int read_description(struct model *model, int dir, struct error *error)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = tree_read_file(dir, DESCRIBE_FILE, MODEL_MAX_DESCRIPTION, &text, &len, error);

	if (r < 0)
		return r;
	if (strlen(text) != len)
		return error_set(error, -EINVAL, DESCRIBE_FILE ": has a NUL in it");
	return describe_parse(text, &model->describe, error);
}

static int read_labels(struct model *model, int dir, struct error *error)
{
	const char *name = model->describe.labels;
	char *text = NULL;
	size_t len;
	int r = *name ? tree_read_file(dir, name, MODEL_MAX_LABELS_FILE, &text, &len, error) : 0;

	return *name && r == 0 ? labels_parse(text, len, name, &model->labels, error) : r;
}

static int find_framework(struct model *model, const struct vaccel_plugin_host *host, struct error *error)
{
	char names[96] = "";
	size_t used = 0;

	for (size_t i = 0; host->framework; i++) {
		const char *plugin = NULL, *hardware = NULL;
		const struct vaccel_plugin_framework *framework = host->framework(host, i, &plugin, &hardware);

		if (!framework)
			break;
		if (!strcmp(framework->name, model->describe.framework)) {
			model->framework = framework;
			return 0;
		}
		if (used < sizeof(names))
			used += (size_t)snprintf(names + used, sizeof(names) - used, " %s", framework->name);
	}
	return error_set(error, -ENOENT, "no plugin serves the framework '%s'; there are:%s", model->describe.framework,
			 *names ? names : " none");
}

/* Whether `file` is there, and does not lead out, before the framework follows it by itself. */
static int check_file(const struct model *model, int dir, struct error *error)
{
	int fd = tree_open(dir, model->describe.file, O_PATH);

	if (fd < 0)
		return error_set(error, fd, "%s: cannot open: %s", model->describe.file,
				 fd == -EXDEV ? "it leads out of the model's folder" : strerror(-fd));
	close(fd);
	return 0;
}

static int run_framework(struct model *model, const char *path, struct error *error)
{
	const struct describe *d = &model->describe;
	char file[PATH_MAX], text[ERROR_TEXT] = "";
	const struct vaccel_plugin_report report = { .text = text, .len = sizeof(text) };
	struct vaccel_plugin_model args = {
		.size = sizeof(args),
		.name = model->name,
		.path = file,
		.signature = d->signature,
		.keys = (const char *const *)d->keys,
		.values = (const char *const *)d->values,
		.n_keys = d->n_keys,
	};
	int n = snprintf(file, sizeof(file), "%s%s%s", path, *d->file ? "/" : "", d->file), r;

	if (n < 0 || (size_t)n >= sizeof(file))
		return error_set(error, -ENAMETOOLONG, "%s: the path is too long", d->file);
	r = model->framework->model_load(&args, &model->handle, &report);
	if (r < 0) {
		model->handle = NULL;
		return error_set(error, r, "%s: %s", model->framework->name, *text ? text : strerror(-r));
	}
	return 0;
}

static int read_signature(struct model *model, struct error *error)
{
	int r = signature_read(model->framework, model->handle, 1, &model->inputs, error);

	if (r == 0)
		r = signature_read(model->framework, model->handle, 2, &model->outputs, error);
	if (r == 0 && !model->outputs.n)
		r = error_set(error, -EINVAL, "the model has no output");
	return r;
}

static int check_whole(struct model *model, struct error *error)
{
	int r = model->describe.image.given ? picture_setup(model, error) : 0;

	if (r == 0 && model->describe.batch.given && !model_can_batch(model))
		r = error_set(error, -EINVAL,
			      "[batch]: the model cannot run requests together, since an input or output has "
			      "a first dimension that is given");
	return r;
}

int model_load(const struct model_source *source, const char *name, int dir, const char *path, const struct tree *tree,
	       struct model **ret_model, struct error *error)
{
	struct model *model = calloc(1, sizeof(*model));
	int r;

	if (!model)
		return error_set(error, -ENOMEM, "no memory");
	snprintf(model->name, sizeof(model->name), "%s", name);
	model->n_refs = 1;
	model->bytes = tree->bytes;
	r = tree_check(tree, error);
	if (r == 0)
		r = read_description(model, dir, error);
	if (r == 0)
		r = read_labels(model, dir, error);
	if (r == 0)
		r = find_framework(model, source->host, error);
	if (r == 0)
		r = check_file(model, dir, error);
	if (r == 0)
		r = tree_hash(dir, tree, source->stop, model->hash, error);
	if (r == 0 && source->known && !memcmp(model->hash, source->known, TREE_HASH))
		r = error_set(error, -EALREADY, "nothing has changed");
	if (r == 0)
		r = run_framework(model, path, error);
	if (r == 0)
		r = read_signature(model, error);
	if (r == 0)
		r = check_whole(model, error);
	if (r < 0)
		model_free(model);
	else
		*ret_model = model;
	return r;
}

void model_free(struct model *model)
{
	if (!model)
		return;
	if (model->handle)
		model->framework->model_unload(model->handle);
	free(model->inputs.rows);
	free(model->outputs.rows);
	labels_free(&model->labels);
	describe_free(&model->describe);
	free(model);
}
