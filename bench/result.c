/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON object of a bench. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

struct json_object *bench_result(const struct bench *bench, const struct bench_options *options)
{
	struct json_object *result = json_object_new_object();

	js_text(result, "bench", bench->name);
	js_text(result, "op", bench->op);
	js_text(result, "key", bench->key);
	if (bench->variant_key)
		js_text(result, "variant_key", bench->variant_key);
	js_text(result, "value", bench->value);
	js_text(result, "value_title", bench->value_title);
	js_text(result, "memory", options->plain ? "plain" : "registered");
	if (bench->panels)
		js_bool(result, "panels", true);
	json_object_object_add(result, "where", bench_where());
	json_object_object_add(result, "sides", json_object_new_array());
	json_object_object_add(result, "rows", json_object_new_array());
	json_object_object_add(result, "ratios", json_object_new_object());
	return result;
}

void bench_result_side(struct json_object *result, const struct bench *bench, const struct bench_side *side,
		       struct json_object *described)
{
	static const char *const waiting[] = {
		[BENCH_WAIT_DEFAULT] = "default", [BENCH_PARKED] = "parked", [BENCH_POLLED] = "polled"
	};
	struct json_object *object = json_object_new_object();

	js_text(object, "name", side->name);
	js_text(object, "base", side->base);
	if (side->group)
		js_text(object, "group", side->group);
	js_text(object, "placement", bench_place_name(side->place));
	js_text(object, "waiting", waiting[side->waiting]);
	js_count(object, "processes", MAX(side->processes, 1));
	if (described) {
		json_object_object_foreach(described, key, value)
			json_object_object_add(object, key, json_object_get(value));
	}
	json_object_array_add(json_object_object_get(result, "sides"), object);
}

void bench_result_left_out(struct json_object *result, const struct bench_side *side, const char *why)
{
	struct json_object *sides = json_object_object_get(result, "sides");

	for (size_t i = 0; i < json_object_array_length(sides); i++) {
		struct json_object *object = json_object_array_get_idx(sides, i);

		if (!strcmp(json_object_get_string(json_object_object_get(object, "name")), side->name))
			js_text(object, "left_out", why);
	}
}

/* CPU time, where sizes are bytes. */
static void put_per_byte(struct json_object *object, const struct bench_row *row)
{
	double size = (double)row->size;

	js_number(object, "client_cpu_ns_per_byte", row->client_ns / size);
	js_number(object, "other_cpu_ns_per_byte", row->other_ns < 0 ? NAN : row->other_ns / size);
}

/* Means of what the other end told. */
static void put_parts(struct json_object *object, const struct bench_parts *parts)
{
	double n = parts->n ? (double)parts->n : NAN;

	js_number(object, "decode_ns", (double)parts->decode_ns / n);
	js_number(object, "prepare_ns", (double)parts->prepare_ns / n);
	js_number(object, "run_ns", (double)parts->run_ns / n);
}

void bench_result_row(struct json_object *result, const struct bench *bench, const struct bench_row *row,
		      struct json_object *raw)
{
	struct json_object *object = json_object_new_object();
	const struct stats *stats = &row->stats;

	if (bench->variant_key)
		js_text(object, bench->variant_key, row->variant);
	if (bench->key)
		js_count(object, bench->key, row->size);
	js_text(object, "side", row->side->name);
	js_text(object, "placement", bench_place_name(row->side->place));
	js_number(object, bench->value, bench->value_of(row));
	js_count(object, "samples", stats->n);
	js_count(object, "min_ns", stats->min);
	js_count(object, "median_ns", stats->median);
	js_count(object, "p99_ns", stats->p99);
	js_count(object, "max_ns", stats->max);
	js_number(object, "spread_percent", stats->spread * 100);
	js_number(object, "ops_per_second", row->rate);
	js_number(object, "client_cpu_ns", row->client_ns);
	js_number(object, "other_cpu_ns", row->other_ns < 0 ? NAN : row->other_ns);
	if (bench->per_byte)
		put_per_byte(object, row);
	if (bench->counts_copies)
		js_count(object, "copied_bytes", row->copied_bytes);
	if (bench->models)
		put_parts(object, &row->parts);
	js_bool(object, "verified", row->side->task->check != NULL);
	if (raw)
		json_object_object_add(object, "samples_ns", raw);
	json_object_array_add(json_object_object_get(result, "rows"), object);
}

/* The row of another side for the same; NULL: there is none. */
static const struct bench_row *find_row(const struct bench_row *rows, size_t n, const char *side,
					const struct bench_row *of)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].size == of->size && rows[i].variant == of->variant && !strcmp(rows[i].side->name, side))
			return &rows[i];
	return NULL;
}

static double stat_of(const struct bench_row *row, enum bench_stat stat)
{
	switch (stat) {
	case BENCH_MEDIAN:
		return (double)row->stats.median;
	case BENCH_P99:
		return (double)row->stats.p99;
	case BENCH_RATE:
		return row->rate;
	case BENCH_SPEED:
		return 1 / (double)row->stats.median;
	}
	return NAN;
}

/* Sets a ratio, or raises it. */
static void raise_ratio(struct json_object *ratios, const char *name, double ratio)
{
	struct json_object *there = json_object_object_get(ratios, name);

	if (!there || json_object_get_double(there) < ratio)
		js_number(ratios, name, ratio);
}

static void add_ratio(struct json_object *ratios, const struct bench *bench, const struct bench_row *row, double ratio)
{
	const struct bench_side *side = row->side;
	char name[160], size[24] = "", variant[64] = "";

	if (side->ratio_per_size || !side->ratio)
		snprintf(size, sizeof(size), "_%llu", (unsigned long long)row->size);
	if (row->variant)
		snprintf(variant, sizeof(variant), "_%s", row->variant);
	if (bench->size_first) {
		snprintf(name, sizeof(name), "%s%s%s", side->ratio, size, variant);
		raise_ratio(ratios, name, ratio);
		return;
	}
	if (row->variant && side->ratio) {
		snprintf(name, sizeof(name), "%s%s%s", side->ratio, variant, size);
		raise_ratio(ratios, name, ratio);
		if (!side->ratio_per_size)
			return;
	}
	if (side->ratio && side->suffix) {
		snprintf(name, sizeof(name), "%s%s%s", side->ratio, side->suffix, size);
		raise_ratio(ratios, name, ratio);
	}
	if (side->ratio)
		snprintf(name, sizeof(name), "%s%s", side->ratio, size);
	else
		snprintf(name, sizeof(name), "%s_over_%s%s", side->name, side->base, size);
	raise_ratio(ratios, name, ratio);
}

void bench_result_ratios(struct json_object *result, const struct bench *bench, const struct bench_row *rows, size_t n)
{
	struct json_object *ratios = json_object_object_get(result, "ratios");
	struct json_object *objects = json_object_object_get(result, "rows");

	for (size_t i = 0; i < n; i++) {
		const struct bench_side *side = rows[i].side;
		const struct bench_row *base = side->base ? find_row(rows, n, side->base, &rows[i]) : NULL;
		double ratio;

		if (!base)
			continue;
		ratio = stat_of(&rows[i], side->stat) / stat_of(base, side->stat);
		js_number(json_object_array_get_idx(objects, i), "over_base", ratio);
		add_ratio(ratios, bench, &rows[i], ratio);
	}
	if (bench->ratios)
		bench->ratios(rows, n, ratios);
	if (bench->conclude) {
		struct json_object *sentences = json_object_new_array();

		bench->conclude(rows, n, sentences);
		json_object_object_add(result, "conclusions", sentences);
	}
}
