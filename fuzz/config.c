/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: a file as config_load() reads it, or lines as config_set() takes them (--set). The first byte says
 * which. Whatever the file says, what was accepted keeps its bounds, and what was not is explained.
 */
#include "fuzz.h"

#include <ctype.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "engine/config.h"
#include "op/table.h"
#include "util/util.h"

static void check_plugin(const struct config_plugin *plugin)
{
	CHECK(plugin->name && *plugin->name && strlen(plugin->name) < 32 && !strchr(plugin->name, '/'));
	CHECK(plugin->n_keys <= CONFIG_MAX_KEYS);
	for (size_t i = 0; i < plugin->n_keys; i++)
		CHECK(plugin->keys[i].name && plugin->keys[i].value);
}

static void check_key(const struct config_held_key *key)
{
	CHECK(key->name && *key->name && strlen(key->name) < VACCEL_KEY_NAME && !strchr(key->name, '/'));
	CHECK(!key->file || !*key->file || *key->file == '/');
	CHECK(!key->credential || !strchr(key->credential, '/'));
	CHECK(key->bits <= 512 && key->bits % 64 == 0 && (key->bits != 0) == (key->mode != 0));
	CHECK(!(key->rights & ~(uint32_t)(VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT)));
}

static void check(const struct config *config)
{
	const struct config_limits *limits = &config->limits;
	struct config_limits copy = *limits;

	CHECK(limits->sessions >= 1 && limits->buffers >= 1 && limits->requests >= 1 && limits->requests <= 1u << 16);
	CHECK(limits->connections >= 1 && limits->connections <= 1024 && config->queues >= 1 && config->queues <= 64);
	CHECK(config->n_plugins <= CONFIG_MAX_PLUGINS && config->n_orders <= CONFIG_MAX_OPS);
	for (size_t i = 0; i < config->n_plugins; i++)
		check_plugin(&config->plugins[i]);
	CHECK(config->n_keys <= CONFIG_MAX_HELD_KEYS);
	for (size_t i = 0; i < config->n_keys; i++)
		check_key(&config->keys[i]);
	for (size_t i = 0; i < config->n_orders; i++) {
		const struct config_order *order = &config->orders[i];

		CHECK(order->op && (op_by_name(order->op) || !strcmp(order->op, "default")));
		CHECK(order->n_plugins <= CONFIG_MAX_PLUGINS);
		for (size_t j = 0; j < order->n_plugins; j++)
			CHECK(config_plugin(config, order->plugins[j]));
	}
	for (size_t i = 0; op_at(i); i++)
		CHECK(config_order(config, op_at(i)->name));
	CHECK(copy.buffer_bytes >= 4096);
}

static void load(const uint8_t *bytes, size_t len)
{
	static int file = -1;
	struct config *config = NULL;
	struct error error = { 0 };
	char path[64];
	int r;

	if (file < 0)
		file = memfd_create("fuzz", MFD_CLOEXEC);
	CHECK(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, bytes, len, 0) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	r = config_load(path, &config, &error);
	CHECK(r == 0 || (r < 0 && error.text[0]));
	if (r == 0)
		check(config);
	CHECK(r < 0 || config_check(config, NULL) == 0);
	config_free(config);
}

static void set_lines(const uint8_t *bytes, size_t len)
{
	char *text = strndup((const char *)bytes, len), *save = NULL;
	struct config *config = NULL;
	struct error error = { 0 };

	CHECK(text && config_load("", &config, &error) == 0);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		error.text[0] = '\0';
		CHECK(config_set(config, line, &error) == 0 || error.text[0]);
		check(config);
	}
	config_free(config);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A text begins with something printable: seeds can be read. */
	if (size && data[0] == '+')
		set_lines(data + 1, size - 1);
	else if (size)
		load(data, size);
	return 0;
}
