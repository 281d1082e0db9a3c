/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the configuration share: config.c, config_key.c (sections "key NAME"). */
#ifndef VACCEL_ENGINE_CONFIG_INTERNAL_H
#define VACCEL_ENGINE_CONFIG_INTERNAL_H

#include "engine/config.h"

/* A copy of value in the place of what was there. 0 or -ENOMEM. */
int config_set_string(char **field, const char *value);

int config_set_held_key(struct config *config, const char *name, const char *key, const char *value,
			struct error *error);
/* Whether what its section says is whole, and fits together. */
int config_check_held_key(const struct config_held_key *key, struct error *error);
void config_clear_held_key(struct config_held_key *key);

#endif
