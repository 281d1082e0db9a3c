/* SPDX-License-Identifier: Apache-2.0 */
/* The table of transports: a new one is a row here. */
#include "transport/transport.h"

#include <string.h>

#include "util/util.h"

static const struct transport_ops *const transport_table[] = {
	&transport_local,
	&transport_virtio,
	&transport_shm,
};

const struct transport_ops *transport_at(size_t index)
{
	return index < ARRAY_SIZE(transport_table) ? transport_table[index] : NULL;
}

const struct transport_ops *transport_find(const char *url, const char **ret_rest)
{
	for (size_t i = 0; i < ARRAY_SIZE(transport_table); i++) {
		size_t len = strlen(transport_table[i]->scheme);

		if (strncmp(url, transport_table[i]->scheme, len) || url[len] != ':')
			continue;
		*ret_rest = url + len + 1;
		return transport_table[i];
	}
	return NULL;
}

static int reap(void *opaque, int64_t timeout_ns)
{
	struct transport *transport = opaque;

	return transport->ops->reap(transport, timeout_ns);
}

void transport_init(struct transport *transport, const struct transport_ops *ops)
{
	transport->ops = ops;
	reaper_init(&transport->reaper, ops->reap ? reap : NULL, transport);
}

void transport_fini(struct transport *transport)
{
	reaper_fini(&transport->reaper);
}
