/* SPDX-License-Identifier: Apache-2.0 */
/* See settings.h. Each key is a row of the two tables, which have one order. */
#include "model/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/number.h"
#include "util/util.h"

#define ROWS(X)                                                                                                      \
	X(models, 1, 65536, 256, "models that are looked at, at most (256)")                                         \
	X(files, 1, 1 << 20, 10000, "files of one model, at most (10000)")                                           \
	X(settle_ms, 1, 60000, 300, "milliseconds without a change after which a model's folder is complete (300)")  \
	X(rescan_s, 0, 86400, 0, "seconds between looks at the folder, where nothing tells of changes; 0: none (0)") \
	X(max_bytes, 1, UINT64_C(4) << 30, UINT64_C(64) << 20, "bytes of an encoded picture, at most (64M)")         \
	X(max_pixels, 1, UINT64_C(1) << 32, UINT64_C(50) << 20, "pixels of a picture, at most (50M)")                \
	X(max_side, 1, 65535, 16384, "pixels that a picture is wide or high, at most (16384)")                       \
	X(decode_ms, 0, 3600000, 5000, "milliseconds that decoding a picture may take; 0: any (5000)")

#define KEY(name_, min_, max_, default_, help_) { #name_, help_ },
const struct vaccel_plugin_key model_settings_keys[] = { ROWS(KEY) };

#define RULE(name_, min_, max_, default_, help_)                                                               \
	{ offsetof(struct model_settings, name_), sizeof(((struct model_settings *)0)->name_), (min_), (max_), \
	  (default_) },
static const struct {
	size_t offset, size;
	uint64_t min, max, value;
} rules[] = { ROWS(RULE) };

_Static_assert(ARRAY_SIZE(rules) == MODEL_SETTINGS_KEYS, "as many as the header says");

static void set(struct model_settings *settings, size_t row, uint64_t value)
{
	char *field = (char *)settings + rules[row].offset;

	if (rules[row].size == sizeof(uint32_t))
		*(uint32_t *)field = (uint32_t)value;
	else
		*(uint64_t *)field = value;
}

void model_settings_init(struct model_settings *settings)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		set(settings, i, rules[i].value);
}

int model_settings_set(struct model_settings *settings, const char *key, const char *value,
		       const struct vaccel_plugin_report *report)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		uint64_t number;

		if (strcmp(key, model_settings_keys[i].name))
			continue;
		if (number_parse(value, &number) < 0 || number < rules[i].min || number > rules[i].max)
			return vaccel_plugin_error(report, -EINVAL,
						   "models: %s = '%s' is not a number from %" PRIu64 " to %" PRIu64,
						   key, value, rules[i].min, rules[i].max);
		set(settings, i, number);
		return 0;
	}
	return vaccel_plugin_error(report, -EINVAL, "models: unknown key '%s'", key);
}
