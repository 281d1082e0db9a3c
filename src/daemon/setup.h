/* SPDX-License-Identifier: Apache-2.0 */
/* What supervisor and worker derive alike from options and configuration. */
#ifndef VACCEL_DAEMON_SETUP_H
#define VACCEL_DAEMON_SETUP_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/device.h"
#include "daemon/options.h"
#include "engine/config.h"

/* Configuration with the --set options applied. */
int setup_config(const struct options *options, struct config **ret_config, struct error *error);
/* Copy of the file that was read, so that every worker reads the same; *ret_fd -1 if there was none. */
int setup_config_copy(const struct config *config, int *ret_fd, struct error *error);

/* Memory of a fixed size that outlives workers: a sealed memfd. */
int setup_memory(const char *name, size_t size, int *ret_fd, struct error *error);

/* Descriptors that supervisor and worker may have open each, when connections have so many memory regions each. */
uint64_t setup_max_fds(const struct device *device, const struct config *config, uint64_t regions);

/* Of the device and of all devices. */
uint64_t setup_features(const struct device *device);

#endif
