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

static void add(struct transport *transport, enum op_stage stage, uint64_t from, uint64_t to)
{
	hist_add(&transport->times[stage], to > from ? to - from : 0);
}

void trace_add(struct transport *transport, const struct transport_request *request)
{
	const struct transport_times *times = &request->times;
	uint64_t now = now_ns();
	uint64_t encoded = __atomic_load_n(&times->encoded, __ATOMIC_RELAXED);
	uint64_t submitted = __atomic_load_n(&times->submitted, __ATOMIC_RELAXED);
	uint64_t answered = __atomic_load_n(&times->answered, __ATOMIC_RELAXED);

	/* What a transport does not tell apart is waiting. */
	encoded = encoded ? encoded : times->began;
	submitted = submitted ? submitted : encoded;
	answered = answered ? answered : now;
	add(transport, STAGE_ENCODE, times->began, encoded);
	add(transport, STAGE_SUBMIT, encoded, submitted);
	add(transport, STAGE_WAIT, submitted, answered);
	add(transport, STAGE_TAKE, answered, now);
}
