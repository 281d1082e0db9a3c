/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every plugin owes its loader and its reader.
 *
 *	contract PLUGIN.so MAN-PAGE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "harness.h"

static char *read_page(const char *path)
{
	enum { MAX = 1 << 20 };
	char *text = calloc(1, MAX);
	FILE *f = fopen(path, "r");
	size_t n = text && f ? fread(text, 1, MAX - 1, f) : 0;

	if (f)
		fclose(f);
	if (!n) {
		free(text);
		return NULL;
	}
	return text;
}

static void check_header(const struct vaccel_plugin *p, const char *path)
{
	char file[128];
	const char *base = strrchr(path, '/');

	CHECK(p->size == sizeof(*p) && p->abi == VACCEL_PLUGIN_ABI && p->call_size == sizeof(struct vaccel_plugin_call),
	      "header: size %zu abi %u call_size %u", p->size, p->abi, p->call_size);
	if (!CHECK(p->name && p->version && p->description && p->hardware, "a required field is missing"))
		return;
	snprintf(file, sizeof(file), "vaccel-%s.so", p->name);
	CHECK(!strcmp(base ? base + 1 : path, file), "plugin %s lies in %s", p->name, path);
	CHECK(!strchr(p->description, '\n'), "%s: description has several lines", p->name);
	CHECK(p->threads >= VACCEL_THREADS_ONE && p->threads <= VACCEL_THREADS_ANY, "%s: threads %u", p->name,
	      p->threads);
	CHECK(!(p->needs & ~(uint32_t)(VACCEL_NEED_CACHE | VACCEL_NEED_DEVICE | VACCEL_NEED_SPAWN |
				       VACCEL_NEED_CACHE_ALWAYS | VACCEL_NEED_MODELS | VACCEL_NEED_AF_ALG)),
	      "%s: needs %#x", p->name, p->needs);
}

static void check_ops(const struct vaccel_plugin *p)
{
	size_t i, j;

	CHECK(p->n_ops > 0 || p->framework, "%s: no op and no framework", p->name);
	for (i = 0; i < p->n_ops; i++) {
		CHECK(p->ops[i].run && !p->ops[i].reserved && p->ops[i].op <= UINT8_MAX, "%s: row %zu", p->name, i);
		for (j = 0; j < i; j++)
			CHECK(p->ops[i].op != p->ops[j].op, "%s: op %u twice", p->name, p->ops[i].op);
	}
}

static void check_keys(const struct vaccel_plugin *p, const char *page)
{
	char error[256] = "", item[96];
	struct vaccel_plugin_report report = { .text = error, .len = sizeof(error) };
	size_t i, n_items = 0;
	const char *at;

	for (i = 0; i < p->n_keys; i++) {
		CHECK(p->keys[i].name && p->keys[i].help && *p->keys[i].help, "%s: key %zu is not explained", p->name,
		      i);
		snprintf(item, sizeof(item), "\n.It Ic %s", p->keys[i].name);
		CHECK(strstr(page, item) != NULL, "%s: key %s is not in the man page", p->name, p->keys[i].name);
	}
	/* And none that is no key. */
	for (at = page; (at = strstr(at, "\n.It Ic ")); at++)
		n_items++;
	CHECK(n_items == p->n_keys, "%s: the man page explains %zu keys, the plugin has %zu", p->name, n_items,
	      p->n_keys);
	CHECK(!p->n_keys || p->config, "%s: keys, but no config()", p->name);
	if (p->config) {
		CHECK(p->config("no-such-key", "1", &report) < 0, "%s takes an unknown key", p->name);
		CHECK(strstr(error, "no-such-key") != NULL, "%s: the message does not name the key: %s", p->name,
		      error);
	}
}

int main(int argc, char **argv)
{
	char *page = argc == 3 ? read_page(argv[2]) : NULL;
	struct harness h;

	if (!page || harness_open(&h, argv[1]) < 0)
		return 2;
	check_header(h.plugin, argv[1]);
	check_ops(h.plugin);
	check_keys(h.plugin, page);
	/* Not started: unload() must take that too. */
	harness_stop(&h);
	free(page);
	return harness_end();
}
