/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the samples of a bench and makes the result object. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"

#define MIN_SAMPLES 5

static void side_fini(struct bench_side *side)
{
	vaccel_session_close(side->session);
	vaccel_context_free(side->context);
	json_object_put(side->where);
	free(side->samples);
}

static int side_init(struct cli *cli, const char *role, const char *url, struct bench_side *side)
{
	const char *transport;
	char label[32];
	int status, r;

	side->role = role;
	status = cli_connect(cli, url, &side->context, &side->session);
	if (status != CLI_OK)
		return status;
	r = cli_describe(side->context, &side->where);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "%s: cannot ask what it is: %s", role, vaccel_error());
	side->samples = calloc(BENCH_MAX_SAMPLES, sizeof(*side->samples));
	if (!side->samples)
		return cli_fail(cli, CLI_FAILED, -ENOMEM, "samples: cannot store: out of memory");
	transport = json_object_get_string(json_object_object_get(side->where, "transport"));
	snprintf(label, sizeof(label), "%.*s", (int)strcspn(transport, ":"), transport);
	js_text(side->where, "label", label);
	return CLI_OK;
}

static const char *label_of(const struct bench_side *side)
{
	return json_object_get_string(json_object_object_get(side->where, "label"));
}

static int fail_side(struct cli *cli, const struct bench *bench, const struct bench_side *side, uint64_t size,
		     const char *action, const struct error *error)
{
	return cli_fail(cli, CLI_FAILED, error->code, "%s, %s %llu over %s: %s: %s", bench->name, bench->key,
			(unsigned long long)size, label_of(side), action, error->text);
}

static int check_side(struct cli *cli, const struct bench *bench, struct bench_side *side, uint64_t size)
{
	struct error error = { 0 };
	uint64_t checked;

	if (bench->check && bench->check(side, &checked, &error) < 0)
		return fail_side(cli, bench, side, size, "does not verify", &error);
	return CLI_OK;
}

/* One sample of each side, in turn. */
static int take_samples(struct cli *cli, const struct bench *bench, struct bench_side *sides, size_t n_sides,
			uint64_t size, bool keep)
{
	for (size_t i = 0; i < n_sides; i++) {
		struct error error = { 0 };
		uint64_t ns;

		if (bench->once(&sides[i], &ns, &error) < 0)
			return fail_side(cli, bench, &sides[i], size, "failed", &error);
		if (keep)
			sides[i].samples[sides[i].n_samples++] = ns;
	}
	return CLI_OK;
}

static bool enough(const struct bench_options *options, size_t n, uint64_t start)
{
	if (n >= BENCH_MAX_SAMPLES)
		return true;
	if (options->repeat)
		return n >= options->repeat;
	return n >= MIN_SAMPLES && (double)(now_ns() - start) / 1e9 >= options->seconds;
}

static int measure_prepared(struct cli *cli, const struct bench *bench, const struct bench_options *options,
			    struct bench_side *sides, size_t n_sides, uint64_t size)
{
	uint64_t start;
	int status;

	for (size_t i = 0; i < n_sides; i++)
		sides[i].n_samples = 0;
	progress("%s %llu: first run", bench->key, (unsigned long long)size);
	status = take_samples(cli, bench, sides, n_sides, size, false);
	for (size_t i = 0; i < n_sides && status == CLI_OK; i++)
		status = check_side(cli, bench, &sides[i], size);
	start = now_ns();
	for (size_t n = 0; status == CLI_OK && !enough(options, n, start); n++) {
		if (n % 64 == 0)
			progress("%s %llu: sample %zu", bench->key, (unsigned long long)size, n + 1);
		status = take_samples(cli, bench, sides, n_sides, size, true);
	}
	for (size_t i = 0; i < n_sides && status == CLI_OK; i++)
		status = check_side(cli, bench, &sides[i], size);
	return status;
}

static struct json_object *raw_samples(const struct bench_side *side)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < side->n_samples; i++)
		json_object_array_add(array, json_object_new_uint64(side->samples[i]));
	return array;
}

static struct json_object *side_result(const struct bench *bench, const struct bench_options *options,
				       struct bench_side *side, uint64_t size, uint64_t *ret_median)
{
	struct json_object *object = json_object_new_object();
	struct stats stats;

	/* Before they are sorted: the order tells of drift. */
	if (options->raw)
		json_object_object_add(object, "samples_ns", raw_samples(side));
	stats_of(side->samples, side->n_samples, &stats);
	js_number(object, bench->value, bench->value_of(size, (double)stats.median));
	js_count(object, "samples", stats.n);
	js_count(object, "min_ns", stats.min);
	js_count(object, "median_ns", stats.median);
	js_count(object, "p99_ns", stats.p99);
	js_count(object, "max_ns", stats.max);
	js_number(object, "spread_percent", stats.spread * 100);
	*ret_median = stats.median;
	return object;
}

static void add_row(const struct bench *bench, const struct bench_options *options, struct bench_side *sides,
		    size_t n_sides, uint64_t size, struct json_object *result)
{
	struct json_object *ratios = json_object_object_get(result, "ratios");
	struct json_object *row = json_object_new_object();
	uint64_t median[2];
	char name[96];

	js_count(row, bench->key, size);
	for (size_t i = 0; i < n_sides; i++)
		json_object_object_add(row, sides[i].role, side_result(bench, options, &sides[i], size, &median[i]));
	if (n_sides == 2) {
		double ratio = (double)median[0] / (double)median[1];

		js_number(row, "overhead_percent", (ratio - 1) * 100);
		snprintf(name, sizeof(name), "%s_over_%s_%llu", label_of(&sides[0]), label_of(&sides[1]),
			 (unsigned long long)size);
		js_number(ratios, name, ratio);
	}
	js_bool(row, "verified", bench->check != NULL);
	json_object_array_add(json_object_object_get(result, "rows"), row);
}

static int measure_size(struct cli *cli, const struct bench *bench, const struct bench_options *options,
			struct bench_side *sides, size_t n_sides, uint64_t size)
{
	size_t prepared = 0;
	int status = CLI_OK;

	while (prepared < n_sides && status == CLI_OK) {
		struct error error = { 0 };

		if (bench->prepare(&sides[prepared], size, options, &error) < 0)
			status = fail_side(cli, bench, &sides[prepared], size, "cannot prepare", &error);
		else
			prepared++;
	}
	if (status == CLI_OK)
		status = measure_prepared(cli, bench, options, sides, n_sides, size);
	while (prepared)
		bench->finish(&sides[--prepared]);
	return status;
}

static struct json_object *new_result(const struct bench *bench, const struct bench_options *options,
				      struct bench_side *sides, size_t n_sides)
{
	struct json_object *result = json_object_new_object();

	js_text(result, "bench", bench->name);
	js_text(result, "key", bench->key);
	js_text(result, "value", bench->value);
	js_text(result, "value_title", bench->value_title);
	js_text(result, "memory", options->plain ? "plain" : "registered");
	json_object_object_add(result, "where", bench_where());
	for (size_t i = 0; i < n_sides; i++)
		json_object_object_add(result, sides[i].role, json_object_get(sides[i].where));
	json_object_object_add(result, "rows", json_object_new_array());
	json_object_object_add(result, "ratios", json_object_new_object());
	return result;
}

static int measure_all(struct cli *cli, const struct bench *bench, const struct bench_options *options,
		       struct bench_side *sides, size_t n_sides, struct json_object **ret_result)
{
	const uint64_t *sizes = options->sizes.n ? options->sizes.size : bench->sizes;
	struct json_object *result = new_result(bench, options, sides, n_sides);

	for (size_t i = 0; options->sizes.n ? i < options->sizes.n : sizes[i] != 0; i++) {
		int status = measure_size(cli, bench, options, sides, n_sides, sizes[i]);

		if (status != CLI_OK) {
			json_object_put(result);
			return status;
		}
		add_row(bench, options, sides, n_sides, sizes[i], result);
	}
	*ret_result = result;
	return CLI_OK;
}

int bench_run(struct cli *cli, const struct bench *bench, const struct bench_options *options,
	      struct json_object **ret_result)
{
	struct bench_side sides[2] = { 0 };
	const char *against = options->against ? options->against : "local:";
	size_t n_sides = 1;
	int status;

	status = side_init(cli, "subject", options->common.transport, &sides[0]);
	/* By default the baseline is this process itself; beside itself it would say nothing. */
	if (status == CLI_OK && strcmp(against, "none") && (options->against || strcmp(label_of(&sides[0]), "local"))) {
		status = side_init(cli, "baseline", against, &sides[1]);
		if (status == CLI_OK && !strcmp(label_of(&sides[0]), label_of(&sides[1])))
			js_text(sides[1].where, "label", "baseline");
		n_sides = 2;
	}
	if (status == CLI_OK)
		status = measure_all(cli, bench, options, sides, n_sides, ret_result);
	for (size_t i = 0; i < ARRAY_SIZE(sides); i++)
		side_fini(&sides[i]);
	progress_end();
	return status;
}
