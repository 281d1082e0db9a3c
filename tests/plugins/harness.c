/* SPDX-License-Identifier: Apache-2.0 */
/* See harness.h. */
#include <dlfcn.h>
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "harness.h"

enum { MAX_SHOWN = 20, MAX_FOLDERS = 8 };

static unsigned long n_checks, n_failures;
static char folders[MAX_FOLDERS][256];
static unsigned int n_folders;

bool harness_check(bool ok, const char *file, int line, const char *format, ...)
{
	va_list ap;

	n_checks++;
	if (ok || n_failures++ >= MAX_SHOWN)
		return ok;
	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	return ok;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int harness_end(void)
{
	unsigned int i;

	for (i = 0; i < n_folders; i++)
		nftw(folders[i], remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	printf("%lu checks, %lu failures\n", n_checks, n_failures);
	return n_failures || !n_checks;
}

const char *harness_folder(void)
{
	const char *top = getenv("TMPDIR");

	if (n_folders == MAX_FOLDERS)
		return NULL;
	snprintf(folders[n_folders], sizeof(folders[0]), "%s/vaccel-plugin-XXXXXX", top && *top ? top : "/tmp");
	return mkdtemp(folders[n_folders]) ? folders[n_folders++] : NULL;
}

static const char *count_ending;
static unsigned int count;

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	size_t len = strlen(path), ending = strlen(count_ending);

	count += type == FTW_F && len >= ending && !strcmp(path + len - ending, count_ending);
	return 0;
}

unsigned int harness_count_files(const char *folder, const char *ending)
{
	count = 0;
	count_ending = ending;
	nftw(folder, count_entry, 16, FTW_PHYS);
	return count;
}

double harness_now(void)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void log_line(int priority, const char *text)
{
	fprintf(stderr, "log %d: %s\n", priority, text);
}

int harness_open(struct harness *h, const char *path)
{
	const struct vaccel_plugin *(*entry)(void);

	*h = (struct harness){ 0 };
	h->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!h->library) {
		fprintf(stderr, "%s\n", dlerror());
		return -ENOENT;
	}
	*(void **)&entry = dlsym(h->library, VACCEL_PLUGIN_SYMBOL);
	if (!entry) {
		fprintf(stderr, "%s\n", dlerror());
		return -ENOEXEC;
	}
	h->plugin = entry();
	return 0;
}

static int configure(struct harness *h, char *const *keys)
{
	for (; keys && *keys; keys++) {
		char key[64];
		const char *equals = strchr(*keys, '=');
		int r;

		if (!equals || equals - *keys >= (int)sizeof(key))
			return -EINVAL;
		snprintf(key, sizeof(key), "%.*s", (int)(equals - *keys), *keys);
		r = h->plugin->config ? h->plugin->config(key, equals + 1, &h->report) : -ENOENT;
		if (r < 0)
			return r;
	}
	return 0;
}

int harness_start(struct harness *h, const char *cache_dir, unsigned int threads, char *const *keys)
{
	const struct vaccel_plugin_host host = {
		.size = sizeof(host),
		.version = VACCEL_BUILD_VERSION,
		.cache_dir = cache_dir,
		.threads = threads,
		.log = log_line,
	};

	return harness_start_in(h, &host, keys);
}

int harness_start_in(struct harness *h, const struct vaccel_plugin_host *host, char *const *keys)
{
	const struct vaccel_plugin *p = h->plugin;
	int r = 0;

	h->report = (struct vaccel_plugin_report){ .text = h->error, .len = sizeof(h->error) };
	*h->error = '\0';
	if (p->load)
		r = p->load(host, &h->report);
	if (!r)
		r = configure(h, keys);
	if (!r && p->ready)
		r = p->ready(&h->report);
	if (!r && p->open)
		r = p->open(&h->session, &h->report);
	return r;
}

void harness_stop(struct harness *h)
{
	if (h->plugin && h->plugin->close && h->session)
		h->plugin->close(h->session);
	if (h->plugin && h->plugin->unload)
		h->plugin->unload();
	if (h->library)
		dlclose(h->library);
	*h = (struct harness){ 0 };
}

static const struct vaccel_op_impl *find(const struct harness *h, uint32_t op)
{
	size_t i;

	for (i = 0; i < h->plugin->n_ops; i++)
		if (h->plugin->ops[i].op == op)
			return &h->plugin->ops[i];
	return NULL;
}

bool harness_has(const struct harness *h, uint32_t op)
{
	return find(h, op) != NULL;
}

int harness_run_key(const struct harness *h, uint32_t op, const void *params, size_t params_len,
		    const struct vaccel_plugin_arg *args, size_t n_args, const struct vaccel_plugin_crypto_key *key,
		    struct vaccel_plugin_report report)
{
	const struct vaccel_op_impl *impl = find(h, op);
	const struct vaccel_plugin_call call = {
		.size = sizeof(call),
		.op = op,
		.params = params,
		.params_len = params_len,
		.args = args,
		.n_args = n_args,
		.session = h->session,
		.report = report,
		.key = key,
	};

	return impl ? impl->run(&call) : -EOPNOTSUPP;
}

int harness_run(struct harness *h, uint32_t op, const void *params, size_t params_len,
		const struct vaccel_plugin_arg *args, size_t n_args)
{
	*h->error = '\0';
	return harness_run_key(h, op, params, params_len, args, n_args, NULL, h->report);
}
