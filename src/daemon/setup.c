/* SPDX-License-Identifier: Apache-2.0 */
/* See setup.h. */
#include "daemon/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "util/util.h"
#include "vhost/proto.h"
#include "vhost/server.h"

static int setup_models(struct config *config, const char *dir, struct error *error)
{
	_cleanup_free_ char *setting = NULL;

	if (asprintf(&setting, "models.dir=%s", dir) < 0)
		return error_set(error, -ENOMEM, "--models %s: no memory", dir);
	return config_set(config, setting, error);
}

int setup_config(const struct options *options, struct config **ret_config, struct error *error)
{
	struct config *config = NULL;
	int r = config_load(options->config, &config, error);

	for (size_t i = 0; r == 0 && i < options->n_sets; i++) {
		r = config_set(config, options->sets[i], error);
		if (r < 0)
			error_prefix(error, "--set %s", options->sets[i]);
	}
	if (r == 0 && options->models)
		r = setup_models(config, options->models, error);
	if (r == 0)
		r = config_check(config, error);
	if (r < 0) {
		config_free(config);
		return r;
	}
	*ret_config = config;
	return 0;
}

int setup_config_copy(const struct config *config, int *ret_fd, struct error *error)
{
	_cleanup_close_ int from = -1;
	_cleanup_close_ int to = -1;
	char buffer[4096];
	ssize_t n = 0;

	*ret_fd = -1;
	if (!config->path || !*config->path)
		return 0;
	from = open(config->path, O_RDONLY | O_CLOEXEC);
	to = memfd_create("vaccel-config", MFD_CLOEXEC);
	if (from < 0 || to < 0)
		return error_set(error, -errno, "configuration %s: %s", config->path, strerror(errno));
	while ((n = read(from, buffer, sizeof(buffer))) > 0)
		if (write(to, buffer, (size_t)n) != n)
			break;
	if (n != 0)
		return error_set(error, -EIO, "configuration %s: cannot copy it", config->path);
	*ret_fd = to;
	to = -1;
	return 0;
}

int setup_memory(const char *name, size_t size, int *ret_fd, struct error *error)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	*ret_fd = fd;
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return error_set(error, -errno, "%s: cannot create %zu bytes: %s", name, size, strerror(errno));
	return 0;
}

/* Descriptors that belong to no connection: our own, and what plugins open in the worker. */
#define OTHER_FDS 128

uint64_t setup_max_fds(const struct device *device, const struct config *config, uint64_t regions)
{
	/* What wakes and is woken, and errors; the ledger, or in the worker what the ring's thread waits on. */
	const uint64_t per_ring = 5;
	/* Socket, channel back, journal, page and box; a message that is not complete; a reply. */
	const uint64_t others = 6 + VHOST_MAX_FDS + 1;
	uint64_t queues = device->n_queues(config);

	return OTHER_FDS + config->limits.connections * (others + per_ring * queues + regions);
}

uint64_t setup_features(const struct device *device)
{
	return VHOST_BIT(VHOST_F_VERSION_1) | VHOST_BIT(VHOST_F_INDIRECT_DESC) | VHOST_BIT(VHOST_F_EVENT_IDX) |
	       VHOST_BIT(VHOST_F_PROTOCOL_FEATURES) | device->features;
}
