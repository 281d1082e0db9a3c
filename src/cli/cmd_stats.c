/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vaccel stats: what a daemon counted, of this connection over its transport, or of all over the daemon's metrics. JSON
 * is made first, and the table from it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/counts.h"
#include "op/wire.h"

struct stats_options {
	struct cli_common common;
	const char *metrics;
	uint64_t watch;
};

static const struct cli_option stats_options[] = {
	CLI_ROW_VALUE(struct stats_options, metrics, "metrics", 'm', CLI_TEXT, "ADDRESS",
		      "ask a daemon for all its guests: unix:PATH or ADDRESS:PORT"),
	CLI_ROW_COUNT(struct stats_options, watch, "watch", 'w', "SECONDS", 1, 86400, "again and again, so often"),
	CLI_ROWS_COMMON(struct stats_options),
};

/* ---- JSON ---- */

static struct json_object *stage_object(const struct hist *hist)
{
	struct json_object *object = json_object_new_object();
	static const struct {
		const char *key;
		double part;
	} quantiles[] = { { "p50_ns", 0.5 }, { "p90_ns", 0.9 }, { "p99_ns", 0.99 }, { "p999_ns", 0.999 } };

	js_count(object, "count", hist->count);
	js_number(object, "mean_ns", hist->count ? (double)hist->sum_ns / (double)hist->count : 0);
	for (size_t i = 0; i < ARRAY_SIZE(quantiles); i++)
		js_number(object, quantiles[i].key, hist_quantile(hist, quantiles[i].part));
	return object;
}

static struct json_object *kind_object(const struct counts_kind *kind)
{
	struct json_object *object = json_object_new_object();
	struct json_object *errors = json_object_new_object(), *stages = json_object_new_object();
	char number[16];

	js_text(object, "op", kind->name);
	js_count(object, "requests", kind->requests);
	for (uint32_t i = 1; i < COUNTS_STATUSES; i++) {
		const char *name = wire_status_name(i);

		snprintf(number, sizeof(number), "%u", i);
		if (kind->errors[i])
			js_count(errors, name ? name : number, kind->errors[i]);
	}
	json_object_object_add(object, "errors", errors);
	for (size_t i = 0; i < kind->n_stages; i++)
		json_object_object_add(stages, kind->stages[i].name, stage_object(&kind->stages[i].hist));
	json_object_object_add(object, "stages", stages);
	return object;
}

static void add_counts(struct json_object *object, const struct counts *counts)
{
	struct json_object *ops = json_object_new_array();

	js_count(object, "bytes_copied", counts->bytes_copied);
	js_count(object, "in_flight", counts->in_flight);
	js_count(object, "queued", counts->queued);
	for (size_t i = 0; i < counts->n_kinds; i++)
		json_object_array_add(ops, kind_object(&counts->kinds[i]));
	json_object_object_add(object, "ops", ops);
}

/* ---- tables ---- */

static double number_of(struct json_object *object, const char *key)
{
	return json_object_get_double(json_object_object_get(object, key));
}

static void time_cell(struct table *table, double ns)
{
	if (ns < 1e4)
		table_cell(table, "%.0f ns", ns);
	else if (ns < 1e7)
		table_cell(table, "%.1f us", ns / 1e3);
	else
		table_cell(table, "%.1f ms", ns / 1e6);
}

static void print_requests(struct json_object *ops)
{
	static const char *const titles[] = { "op", "requests", "errors" };
	struct table *table = table_new(ARRAY_SIZE(titles), titles);

	for (size_t i = 0; i < json_object_array_length(ops); i++) {
		struct json_object *row = json_object_array_get_idx(ops, i);
		struct json_object *errors = json_object_object_get(row, "errors");
		char text[256] = "-";
		size_t at = 0;

		json_object_object_foreach(errors, cause, n)
		{
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s %s", at ? ", " : "",
					       json_object_get_string(n), cause);
			at = MIN(at, sizeof(text) - 1);
		}
		table_cell(table, "%s", json_object_get_string(json_object_object_get(row, "op")));
		table_cell(table, "%s", json_object_get_string(json_object_object_get(row, "requests")));
		table_cell(table, "%s", text);
	}
	table_print(table);
	table_free(&table);
}

static void print_stages(struct json_object *ops)
{
	static const char *const titles[] = { "op", "stage", "timed", "mean", "p50", "p90", "p99", "p99.9" };
	static const char *const keys[] = { "mean_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns" };
	struct table *table = table_new(ARRAY_SIZE(titles), titles);
	size_t n = 0;

	for (size_t i = 0; i < json_object_array_length(ops); i++) {
		struct json_object *row = json_object_array_get_idx(ops, i);

		json_object_object_foreach(json_object_object_get(row, "stages"), stage, times)
		{
			table_cell(table, "%s", json_object_get_string(json_object_object_get(row, "op")));
			table_cell(table, "%s", stage);
			table_cell(table, "%s", json_object_get_string(json_object_object_get(times, "count")));
			for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
				time_cell(table, number_of(times, keys[k]));
			n++;
		}
	}
	if (n) {
		puts("");
		table_print(table);
	}
	table_free(&table);
}

static void print_counts(struct json_object *counts)
{
	struct json_object *ops = json_object_object_get(counts, "ops");

	printf("in flight  %.0f, of them %.0f queued\ncopied     %.0f bytes\n\n", number_of(counts, "in_flight"),
	       number_of(counts, "queued"), number_of(counts, "bytes_copied"));
	print_requests(ops);
	print_stages(ops);
}

/* "cause 3, other 1" of what is not 0; "-". */
static void print_hits(const char *title, struct json_object *object)
{
	const char *separator = "";

	printf("%-10s ", title);
	if (object) {
		json_object_object_foreach(object, key, n)
		{
			if (!json_object_get_uint64(n))
				continue;
			printf("%s%s %s", separator, key, json_object_get_string(n));
			separator = ", ";
		}
	}
	puts(*separator ? "" : "-");
}

static void print_daemon(struct json_object *object)
{
	struct json_object *guests = json_object_object_get(object, "guests");

	printf("%-10s vacceld %s, %s\n", "daemon", json_object_get_string(json_object_object_get(object, "version")),
	       json_object_get_string(json_object_object_get(object, "metrics")));
	printf("%-10s %s, %.0f started\n", "worker", number_of(object, "worker_up") > 0 ? "serves" : "is down",
	       number_of(object, "worker_starts"));
	print_hits("deaths", json_object_object_get(object, "worker_deaths"));
	print_hits("limits hit", json_object_object_get(object, "limit_hits"));
	for (size_t i = 0; i < json_object_array_length(guests); i++) {
		struct json_object *guest = json_object_array_get_idx(guests, i);

		printf("\nguest      %s\n", json_object_get_string(json_object_object_get(guest, "guest")));
		print_counts(guest);
	}
}

static void print_own(struct json_object *object)
{
	printf("%-10s %s\n%-10s %.0f started\n", "transport",
	       json_object_get_string(json_object_object_get(object, "transport")), "worker",
	       number_of(object, "worker_starts"));
	print_counts(object);
	if (number_of(object, "sampling") > 1)
		printf("\nTimes are those of a sample: about one request in %.0f.\n", number_of(object, "sampling"));
}

/* ---- asking ---- */

static int ask_daemon(struct cli *cli, const char *address, struct json_object **ret_object)
{
	struct json_object *guests = json_object_new_array();
	struct counts_daemon daemon;
	struct error error = { 0 };
	int r = counts_scrape(address, &daemon, &error);

	if (r < 0) {
		bool absent = r == -ENOENT || r == -ECONNREFUSED || r == -EACCES;

		json_object_put(guests);
		return cli_fail(cli,
				absent	       ? CLI_NO_CONNECTION
				: r == -EINVAL ? CLI_USAGE
					       : CLI_FAILED,
				r, "%s", error.text);
	}
	for (size_t i = 0; i < daemon.n_guests; i++) {
		struct json_object *guest = json_object_new_object();

		js_text(guest, "guest", daemon.guests[i].guest);
		add_counts(guest, &daemon.guests[i]);
		json_object_array_add(guests, guest);
	}
	*ret_object = json_object_get(daemon.facts);
	js_text(*ret_object, "metrics", address);
	json_object_object_add(*ret_object, "guests", guests);
	counts_daemon_free(&daemon);
	return CLI_OK;
}

static int ask_transport(struct cli *cli, struct vaccel_context *context, struct json_object **ret_object)
{
	struct vaccel_info info = { .size = sizeof(info) };
	struct counts counts;
	struct error error = { 0 };
	int r = counts_ask(context, &counts, &error);

	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "%s", error.text);
	r = vaccel_context_info(context, &info);
	if (r < 0) {
		counts_free(&counts);
		return cli_fail(cli, CLI_FAILED, r, "transport: cannot ask what it is: %s", vaccel_error());
	}
	*ret_object = json_object_new_object();
	js_text(*ret_object, "transport", info.transport);
	js_count(*ret_object, "worker_starts", counts.worker_starts);
	js_count(*ret_object, "sampling", counts.sampling);
	add_counts(*ret_object, &counts);
	counts_free(&counts);
	return CLI_OK;
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct stats_options *options = data;
	_cleanup_context_ struct vaccel_context *context = NULL;
	int status = CLI_OK;

	if (options->metrics && options->common.transport)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "options --metrics and --transport: exclude each other");
	if (!options->metrics)
		status = cli_connect(cli, options->common.transport, &context, NULL);
	while (status == CLI_OK) {
		_cleanup_json_ struct json_object *object = NULL;

		status = options->metrics ? ask_daemon(cli, options->metrics, &object)
					  : ask_transport(cli, context, &object);
		if (status != CLI_OK)
			break;
		if (cli->json)
			cli_print_json(json_object_get(object));
		else if (options->metrics)
			print_daemon(object);
		else
			print_own(object);
		if (!options->watch || fflush(stdout))
			break;
		sleep((unsigned int)options->watch);
		if (!cli->json)
			puts("");
	}
	return status;
}

const struct cli_command cmd_stats = {
	.name = "stats",
	.summary = "Tells what a daemon counted: requests, errors, times by stage.",
	.operands = "",
	.options = stats_options,
	.n_options = ARRAY_SIZE(stats_options),
	.options_size = sizeof(struct stats_options),
	.run = run,
};
