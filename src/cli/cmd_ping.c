/* SPDX-License-Identifier: Apache-2.0 */
/* vaccel ping: how long a request that does nothing takes to go there and back. */
#include <errno.h>
#include <stdio.h>

#include "cli/cli.h"

struct ping_options {
	struct cli_common common;
	uint64_t count;
};

static void defaults(void *data)
{
	struct ping_options *options = data;

	options->count = 100;
}

static const struct cli_option ping_options[] = {
	CLI_ROW_COUNT(struct ping_options, count, "count", 'c', "N", 1, 10000000, "requests to send (100)"),
	CLI_ROWS_COMMON(struct ping_options),
};

static void report(struct cli *cli, const char *transport, const struct stats *stats)
{
	struct json_object *object;

	if (!cli->json) {
		printf("%zu request%s over %s\nmin %.1f us, median %.1f us, p99 %.1f us, max %.1f us\n", stats->n,
		       stats->n == 1 ? "" : "s", transport, (double)stats->min / 1e3, (double)stats->median / 1e3,
		       (double)stats->p99 / 1e3, (double)stats->max / 1e3);
		return;
	}
	object = json_object_new_object();
	js_text(object, "transport", transport);
	js_count(object, "count", stats->n);
	js_count(object, "min_ns", stats->min);
	js_count(object, "median_ns", stats->median);
	js_count(object, "p99_ns", stats->p99);
	js_count(object, "max_ns", stats->max);
	cli_print_json(object);
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct ping_options *options = data;
	_cleanup_context_ struct vaccel_context *context = NULL;
	_cleanup_session_ struct vaccel_session *session = NULL;
	_cleanup_free_ uint64_t *samples = calloc(options->count, sizeof(*samples));
	struct vaccel_info info = { .size = sizeof(info) };
	struct stats stats;
	int status, r;

	if (!samples)
		return cli_fail(cli, CLI_FAILED, -ENOMEM, "samples: cannot store: out of memory");
	status = cli_connect(cli, options->common.transport, &context, &session);
	if (status != CLI_OK)
		return status;
	r = vaccel_context_info(context, &info);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "transport: cannot ask what it is: %s", vaccel_error());
	for (uint64_t i = 0; i < options->count; i++) {
		uint64_t start = now_ns();

		r = vaccel_noop(session);
		if (r < 0)
			return cli_fail(cli, CLI_FAILED, r, "request %llu over %s: failed: %s",
					(unsigned long long)(i + 1), info.transport, vaccel_error());
		samples[i] = now_ns() - start;
		if (i % 1024 == 0)
			progress("%s: %llu of %llu requests", info.transport, (unsigned long long)i,
				 (unsigned long long)options->count);
	}
	progress_end();
	stats_of(samples, options->count, &stats);
	report(cli, info.transport, &stats);
	return CLI_OK;
}

const struct cli_command cmd_ping = {
	.name = "ping",
	.summary = "Sends requests that do nothing and tells how long they take.",
	.operands = "",
	.options = ping_options,
	.n_options = ARRAY_SIZE(ping_options),
	.options_size = sizeof(struct ping_options),
	.defaults = defaults,
	.run = run,
};
