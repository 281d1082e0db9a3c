/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of the plugin's section in the configuration, [plugin models], and what is bounded whatever they say. Set
 * before ready(), only read afterwards.
 */
#ifndef VACCEL_MODEL_SETTINGS_H
#define VACCEL_MODEL_SETTINGS_H

#include <stdint.h>
#include <vaccel/plugin.h>

struct model_settings {
	uint32_t models;     /* folders that are looked at */
	uint32_t files;	     /* of one model */
	uint32_t settle_ms;  /* a folder that has not changed for so long is complete */
	uint32_t rescan_s;   /* looks at the folder without being told; 0: never */
	uint64_t max_bytes;  /* of an encoded picture */
	uint64_t max_pixels; /* of a decoded one */
	uint32_t max_side;   /* its width and height */
	uint32_t decode_ms;  /* time to decode one; 0: any */
};

/* Not to be configured: what no sane model reaches. */
#define MODEL_MAX_DEPTH	      16	 /* folders in folders of a model */
#define MODEL_MAX_DESCRIPTION (64 << 10) /* bytes of model.conf */
#define MODEL_MAX_LABELS_FILE (16 << 20) /* bytes of the file with the labels */
#define MODEL_MAX_LABELS      (1 << 20)
#define MODEL_MAX_SIGNATURE   64	  /* inputs or outputs */
#define MODEL_MAX_INPUT_BYTES (256 << 20) /* of one prepared picture */
#define MODEL_MAX_BATCH	      256

#define MODEL_SETTINGS_KEYS 8
extern const struct vaccel_plugin_key model_settings_keys[MODEL_SETTINGS_KEYS];

void model_settings_init(struct model_settings *settings);
/* One key = value. -EINVAL: no such key, or no such value; the report names both. */
int model_settings_set(struct model_settings *settings, const char *key, const char *value,
		       const struct vaccel_plugin_report *report);

#endif
