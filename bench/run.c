/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a bench: chooses its sides, has them take turns, and puts together what came out. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

#define MIN_SAMPLES 5
#define SLOW	    4 /* times the time that a side should have: then two samples are enough */
#define PAUSE_MS    1 /* between turns, in which those who look for work give up */

struct side {
	struct bench_side def;
	char local[128]; /* BENCH_LOCAL: its URL */
	const char *url;
	char label[32];
	const char *crypto_url; /* NULL: none */
	struct bench_runner *runners[BENCH_MAX_PROCESSES];
	unsigned int n_runners;
	bool borrowed; /* its runner is that of another side */
	bool left_out; /* what it needs is not here */
	pid_t other;   /* 0: not known */
	struct json_object *described;
	uint64_t *samples;
	/* Of the size that is measured: */
	size_t n_samples;
	uint64_t n_ops, n_warm, elapsed_ns, cpu_ns, other_ns, copied_bytes, answer;
	struct bench_parts parts;
};

struct run {
	struct cli *cli;
	const struct bench *bench;
	const struct bench_options *options;
	const char *given; /* the transport that the user named; NULL: none */
	struct bench_daemons daemons;
	struct side sides[BENCH_MAX_SIDES];
	size_t n_sides;
	/* One of NULL where the bench has none. */
	char names[256];
	const char *variants[BENCH_MAX_VARIANTS];
	size_t n_variants;
	struct bench_row *rows;
	size_t n_rows;
	struct json_object *result;
};

static int tell(struct run *run, const struct error *error)
{
	return cli_fail(run->cli, CLI_FAILED, error->code, "%s: %s", run->bench->name, error->text);
}

static int tell_failure(struct run *run, const struct side *side, uint64_t size, const struct bench_failure *failure)
{
	const struct bench *bench = run->bench;

	/* The library's sentence about connecting begins with the transport in use. */
	if (failure->status == CLI_NO_CONNECTION)
		return cli_fail(run->cli, CLI_NO_CONNECTION, failure->error.code, "%s", failure->error.text);
	if (!size)
		return cli_fail(run->cli, failure->status, failure->error.code, "%s over %s: %s: %s", bench->name,
				side->def.name, failure->action, failure->error.text);
	return cli_fail(run->cli, failure->status, failure->error.code, "%s, %s %llu over %s: %s: %s", bench->name,
			bench->key ? bench->key : "size", (unsigned long long)size, side->def.name, failure->action,
			failure->error.text);
}

/* ---- the sides ---- */

/* A transport that the user named, beside another. */
static void choose_given(struct run *run)
{
	const char *against = run->options->against ? run->options->against : "local:";
	struct bench_side side = { .name = "subject", .task = run->bench->task, .end = BENCH_URL, .url = run->given };

	run->sides[run->n_sides++].def = side;
	/* By default the baseline is this process itself; beside itself it would say nothing. */
	if (!strcmp(against, "none") || (!run->options->against && !strncmp(run->given, "local:", 6)))
		return;
	side.name = "baseline";
	side.url = against;
	run->sides[run->n_sides++].def = side;
	run->sides[0].def.base = "baseline";
}

/* Whether a name is among those with commas, or spaces, between them. */
static bool in_list(const char *list, const char *name)
{
	size_t len = strlen(name);

	while (list && *list) {
		if (strcspn(list, ", ") == len && !strncmp(list, name, len))
			return true;
		list += strcspn(list, ", ");
		list += strspn(list, ", ");
	}
	return false;
}

static void choose_sides(struct run *run)
{
	const struct bench *bench = run->bench;

	if (run->given && bench->task) {
		choose_given(run);
		return;
	}
	for (size_t i = 0; i < bench->n_sides; i++) {
		struct bench_side *def = &run->sides[run->n_sides].def;

		if (run->given && (bench->sides[i].extra || bench->sides[i].end == BENCH_GUEST))
			continue;
		if (bench->sides[i].end == BENCH_GUEST && !in_list(run->options->guests, bench->sides[i].guest))
			continue;
		*def = bench->sides[i];
		if (run->given && def->end == BENCH_DAEMON) {
			def->end = BENCH_URL;
			def->url = run->given;
			def->waiting = BENCH_WAIT_DEFAULT;
			def->place = BENCH_ANY_CPU;
		}
		run->n_sides++;
	}
}

static struct side *find_side(struct run *run, const char *name)
{
	for (size_t i = 0; i < run->n_sides; i++)
		if (!strcmp(run->sides[i].def.name, name))
			return &run->sides[i];
	return NULL;
}

/* Starts what the side needs; *ret_daemon: its daemon or NULL. */
static int provide(struct run *run, struct side *side, struct bench_daemon **ret_daemon)
{
	struct error error = { 0 };
	int r = 0;

	*ret_daemon = NULL;
	if (side->def.end == BENCH_URL)
		side->url = side->def.url;
	if (side->def.end == BENCH_DAEMON || side->def.end == BENCH_GUEST) {
		r = bench_daemons_get(&run->daemons, run->bench, &side->def, ret_daemon, &error);
		if (r == 0)
			side->url = (*ret_daemon)->url;
	}
	if (side->def.end == BENCH_LOCAL) {
		r = bench_daemons_local(&run->daemons, run->bench, side->local, sizeof(side->local), &error);
		side->url = side->local;
	}
	if (r == 0 && side->def.with && side->def.crypto)
		find_side(run, side->def.with)->crypto_url = side->url;
	return r < 0 ? tell(run, &error) : CLI_OK;
}

static int fork_runners(struct run *run, struct side *side)
{
	struct error error = { 0 };

	side->samples = calloc(BENCH_MAX_SAMPLES, sizeof(*side->samples));
	if (!side->samples) {
		error_set(&error, -ENOMEM, "samples: cannot store: out of memory");
		return tell(run, &error);
	}
	if (side->def.with) {
		side->runners[side->n_runners++] = find_side(run, side->def.with)->runners[0];
		side->borrowed = true;
		return CLI_OK;
	}
	while (side->n_runners < MAX(side->def.processes, 1)) {
		int r = bench_runner_new(run->bench, &side->def, run->options, side->url, side->crypto_url,
					 &side->runners[side->n_runners]);

		if (r < 0) {
			error_set(&error, r, "measuring process: cannot start: %s", strerror(-r));
			return tell(run, &error);
		}
		side->n_runners++;
	}
	return CLI_OK;
}

/* What the user named is called by its scheme. */
static void name_given(struct run *run, struct side *side)
{
	const char *transport = json_object_get_string(json_object_object_get(side->described, "transport"));

	snprintf(side->label, sizeof(side->label), "%.*s", transport ? (int)strcspn(transport, ":") : 0,
		 transport ? transport : "");
	if (side != run->sides && !strcmp(side->label, run->sides[0].def.name))
		strcpy(side->label, "baseline");
	side->def.name = side->label;
	if (side != run->sides)
		run->sides[0].def.base = side->def.name;
}

static int open_side(struct run *run, struct side *side, const struct bench_daemon *daemon)
{
	struct bench_failure failure;

	for (unsigned int i = 0; i < side->n_runners && !side->borrowed; i++) {
		struct json_object *described = NULL;

		if (bench_runner_open(side->runners[i], &described, &side->other, &failure) < 0)
			return tell_failure(run, side, 0, &failure);
		json_object_put(side->described);
		side->described = described;
	}
	if (side->borrowed)
		side->described = json_object_get(find_side(run, side->def.with)->described);
	if (daemon)
		side->other = bench_daemon_worker(daemon);
	if (run->given && run->bench->task)
		name_given(run, side);
	return CLI_OK;
}

static int open_sides(struct run *run)
{
	struct bench_daemon *daemons[BENCH_MAX_SIDES];
	int status = CLI_OK;

	for (size_t i = 0; i < run->n_sides && status == CLI_OK; i++)
		status = provide(run, &run->sides[i], &daemons[i]);
	for (size_t i = 0; i < run->n_sides && status == CLI_OK; i++)
		status = fork_runners(run, &run->sides[i]);
	for (size_t i = 0; i < run->n_sides && status == CLI_OK; i++)
		status = open_side(run, &run->sides[i], daemons[i]);
	return status;
}

/* ---- turns ---- */

static uint64_t most_samples(const struct bench_options *options)
{
	return options->repeat ? options->repeat : BENCH_MAX_SAMPLES;
}

static bool enough(const struct run *run, const struct side *side)
{
	double seconds = run->options->seconds > 0 ? run->options->seconds : run->bench->seconds;

	double elapsed = (double)side->elapsed_ns / 1e9;

	if (side->n_samples >= most_samples(run->options))
		return true;
	if (run->options->repeat || elapsed < seconds)
		return false;
	return side->n_samples >= MIN_SAMPLES || (side->n_samples >= 2 && elapsed >= SLOW * seconds);
}

static void add_turn(struct run *run, struct side *side, const struct bench_turn *turn)
{
	for (uint64_t i = 0; i < turn->n && side->n_samples < most_samples(run->options); i++)
		side->samples[side->n_samples++] = turn->ns[i];
	side->n_ops += turn->n_ops;
	side->n_warm += turn->n_warm;
	side->cpu_ns += turn->cpu_ns;
	side->copied_bytes += turn->copied_bytes;
	side->parts.decode_ns += turn->parts.decode_ns;
	side->parts.prepare_ns += turn->parts.prepare_ns;
	side->parts.run_ns += turn->parts.run_ns;
	side->parts.n += turn->parts.n;
}

static int take_turn(struct run *run, struct side *side, uint64_t size)
{
	uint64_t left = most_samples(run->options) - side->n_samples, other = bench_cpu_ns(side->other);
	uint64_t each = MIN((left + side->n_runners - 1) / side->n_runners, run->bench->turn_samples);
	uint64_t start = now_ns();
	struct bench_turn turn;
	struct bench_failure failure;

	for (unsigned int i = 0; i < side->n_runners; i++)
		bench_runner_begin(side->runners[i], &side->def, each, run->bench->turn_ns);
	for (unsigned int i = 0; i < side->n_runners; i++) {
		if (bench_runner_end(side->runners[i], &turn, &failure) < 0)
			return tell_failure(run, side, size, &failure);
		add_turn(run, side, &turn);
	}
	side->elapsed_ns += side->n_runners > 1 ? now_ns() - start : turn.elapsed_ns;
	poll(NULL, 0, PAUSE_MS);
	/* Now that it sleeps: the kernel is late to tell of a process that runs. */
	side->other_ns += bench_cpu_ns(side->other) - other;
	return CLI_OK;
}

static bool fits(const struct side *side, uint64_t size)
{
	if (side->left_out)
		return false;
	return !side->def.max_size || size <= side->def.max_size;
}

/* Each in turn until all have enough. */
static int take_turns(struct run *run, uint64_t size)
{
	int status = CLI_OK;
	bool again = true;

	for (unsigned int round = 1; again && status == CLI_OK; round++) {
		again = false;
		progress("%s %s %llu: round %u", run->bench->name, run->bench->key ? run->bench->key : "",
			 (unsigned long long)size, round);
		for (size_t i = 0; i < run->n_sides && status == CLI_OK; i++) {
			if (!fits(&run->sides[i], size) || enough(run, &run->sides[i]))
				continue;
			again = true;
			status = take_turn(run, &run->sides[i], size);
		}
	}
	return status;
}

/* ---- sizes ---- */

/* One process. A side whose needs are not met here is no failure. */
static int prepare_runner(struct run *run, struct side *side, unsigned int index, const char *variant, uint64_t size)
{
	struct bench_failure failure;

	if (bench_runner_prepare(side->runners[index], &side->def, variant, size, &side->answer, &failure) == 0)
		return CLI_OK;
	if (failure.error.code != -EOPNOTSUPP)
		return tell_failure(run, side, size, &failure);
	side->left_out = true;
	bench_result_left_out(run->result, &side->def, failure.error.text);
	return CLI_OK;
}

/* All processes of the sides that have this size. Those that tell an answer must tell the same. */
static int prepare_size(struct run *run, const char *variant, uint64_t size)
{
	struct side *first = NULL;
	int status;

	for (size_t i = 0; i < run->n_sides; i++) {
		struct side *side = &run->sides[i];

		for (unsigned int j = 0; fits(side, size) && j < side->n_runners; j++) {
			status = prepare_runner(run, side, j, variant, size);
			if (status != CLI_OK)
				return status;
			if (side->left_out)
				break;
			if (first && side->answer && side->answer != first->answer)
				return cli_fail(run->cli, CLI_FAILED, -EBADMSG,
						"%s, %s, %llu: %s answers %llu, and %s %llu", run->bench->name, variant,
						(unsigned long long)size, first->def.name,
						(unsigned long long)first->answer - 1, side->def.name,
						(unsigned long long)side->answer - 1);
			if (!first && side->answer)
				first = side;
		}
	}
	return CLI_OK;
}

static int finish_size(struct run *run, uint64_t size)
{
	struct bench_failure failure;

	for (size_t i = 0; i < run->n_sides; i++)
		for (unsigned int j = 0; fits(&run->sides[i], size) && j < run->sides[i].n_runners; j++)
			if (bench_runner_finish(run->sides[i].runners[j], &run->sides[i].def, &failure) < 0)
				return tell_failure(run, &run->sides[i], size, &failure);
	return CLI_OK;
}

static struct json_object *raw_samples(const struct side *side)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < side->n_samples; i++)
		json_object_array_add(array, json_object_new_uint64(side->samples[i]));
	return array;
}

static void add_row(struct run *run, struct side *side, const char *variant, uint64_t size)
{
	/* Before they are sorted: the order tells of drift. */
	struct json_object *raw = run->options->raw ? raw_samples(side) : NULL;
	struct bench_row *row = &run->rows[run->n_rows++];
	double n = (double)MAX(side->n_ops, 1);

	*row = (struct bench_row){
		.variant = variant,
		.size = size,
		.side = &side->def,
		.rate = n / (double)MAX(side->elapsed_ns, 1) * 1e9,
		.client_ns = (double)side->cpu_ns / n,
		.other_ns = side->other ? (double)side->other_ns / (n + (double)side->n_warm) : -1,
		.n_ops = side->n_ops,
		.copied_bytes = side->copied_bytes,
		.parts = side->parts,
	};
	stats_of(side->samples, side->n_samples, &row->stats);
	bench_result_row(run->result, run->bench, row, raw);
}

static void reset(struct side *side)
{
	side->n_samples = 0;
	side->parts = (struct bench_parts){ 0 };
	side->n_ops = side->n_warm = side->elapsed_ns = side->cpu_ns = side->other_ns = side->copied_bytes = 0;
}

static int measure_size(struct run *run, const char *variant, uint64_t size)
{
	int status;

	for (size_t i = 0; i < run->n_sides; i++)
		reset(&run->sides[i]);
	progress("%s %s%s%s %llu: first run", run->bench->name, variant ? variant : "", variant ? ", " : "",
		 run->bench->key ? run->bench->key : "", (unsigned long long)size);
	status = prepare_size(run, variant, size);
	if (status == CLI_OK)
		status = take_turns(run, size);
	if (status == CLI_OK)
		status = finish_size(run, size);
	for (size_t i = 0; i < run->n_sides && status == CLI_OK; i++)
		if (fits(&run->sides[i], size))
			add_row(run, &run->sides[i], variant, size);
	return status;
}

/* Of sides with a library between them and the other end. */
static int profile(struct run *run)
{
	struct bench_failure failure;

	for (size_t i = 0; i < run->n_sides; i++) {
		struct side *side = &run->sides[i];
		const struct bench_stage *stages;
		size_t n;

		if (side->def.end == BENCH_RAW || side->def.end == BENCH_GUEST || side->def.end == BENCH_NONE)
			continue;
		if (bench_runner_profile(side->runners[0], &stages, &n, &failure) < 0)
			return tell_failure(run, side, 0, &failure);
		bench_profile_add(run->result, &side->def, stages, n);
	}
	return CLI_OK;
}

static int measure_all(struct run *run)
{
	const uint64_t *sizes = run->options->sizes.n ? run->options->sizes.size : run->bench->sizes;
	size_t n_sizes = run->options->sizes.n;
	int status = CLI_OK;

	while (!run->options->sizes.n && sizes[n_sizes])
		n_sizes++;
	run->rows = calloc(n_sizes * run->n_variants * run->n_sides, sizeof(*run->rows));
	if (!run->rows)
		return cli_fail(run->cli, CLI_FAILED, -ENOMEM, "%s: cannot measure: out of memory", run->bench->name);

	run->result = bench_result(run->bench, run->options);
	for (size_t i = 0; i < run->n_sides; i++)
		bench_result_side(run->result, run->bench, &run->sides[i].def, run->sides[i].described);
	for (size_t v = 0; v < run->n_variants; v++)
		for (size_t i = 0; status == CLI_OK && i < n_sizes; i++)
			status = measure_size(run, run->variants[v], sizes[i]);
	if (status == CLI_OK && run->options->profile)
		status = profile(run);
	if (status == CLI_OK)
		bench_result_ratios(run->result, run->bench, run->rows, run->n_rows);
	return status;
}

/* ---- all of it ---- */

static void run_fini(struct run *run)
{
	for (size_t i = 0; i < run->n_sides; i++) {
		for (unsigned int j = 0; j < run->sides[i].n_runners && !run->sides[i].borrowed; j++)
			bench_runner_free(run->sides[i].runners[j]);
		json_object_put(run->sides[i].described);
		free(run->sides[i].samples);
	}
	bench_daemons_fini(&run->daemons);
	json_object_put(run->result);
	free(run->rows);
	free(run);
}

static int check_options(struct run *run)
{
	if (run->options->against && !run->given)
		return cli_fail(run->cli, CLI_USAGE, -EINVAL, "option --against: needs --transport too");
	if (run->options->sizes.n && !run->bench->key)
		return cli_fail(run->cli, CLI_USAGE, -EINVAL, "option --sizes: bench %s has none", run->bench->name);
	return CLI_OK;
}

/* Of the bench's variants those that the options name. */
static int choose_variants(struct run *run)
{
	const struct bench *bench = run->bench;
	const char *list = run->options->models ? run->options->models : bench->chosen;
	char *rest = NULL;

	run->n_variants = 1;
	if (!bench->variants)
		return run->options->models ? cli_fail(run->cli, CLI_USAGE, -EINVAL,
						       "option --models: bench %s has none", bench->name)
					    : CLI_OK;
	snprintf(run->names, sizeof(run->names), "%s", list);
	run->n_variants = 0;
	for (char *name = strtok_r(run->names, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		if (!in_list(bench->variants, name) || run->n_variants == BENCH_MAX_VARIANTS)
			return cli_fail(run->cli, CLI_USAGE, -EINVAL, "option --models: \"%s\" is none of: %s", name,
					bench->variants);
		run->variants[run->n_variants++] = name;
	}
	if (!run->n_variants)
		return cli_fail(run->cli, CLI_USAGE, -EINVAL, "option --models: names none");
	return CLI_OK;
}

static int set_up(struct run *run)
{
	const char *list = run->options->models ? run->options->models : run->bench->chosen;
	struct error error = { 0 };

	if (!run->bench->setup || run->bench->setup(run->bench, run->options, list, &error) == 0)
		return CLI_OK;
	return tell(run, &error);
}

int bench_run(struct cli *cli, const struct bench *bench, const struct bench_options *options,
	      struct json_object **ret_result)
{
	struct run *run = calloc(1, sizeof(*run));
	struct error error = { 0 };
	int status;

	if (!run)
		return cli_fail(cli, CLI_FAILED, -ENOMEM, "%s: cannot measure: out of memory", bench->name);
	*run = (struct run){ .cli = cli, .bench = bench, .options = options, .daemons.fd = -1 };
	run->given = options->common.transport ? options->common.transport : getenv("VACCEL_TRANSPORT");
	if (run->given && !*run->given)
		run->given = NULL;
	status = check_options(run);
	if (status == CLI_OK)
		status = choose_variants(run);
	choose_sides(run);
	if (status == CLI_OK)
		status = set_up(run);
	if (status == CLI_OK && !run->given && bench_daemons_init(&run->daemons, options, &error) < 0)
		status = tell(run, &error);
	if (status == CLI_OK)
		status = open_sides(run);
	if (status == CLI_OK)
		status = measure_all(run);
	if (status == CLI_OK)
		*ret_result = json_object_get(run->result);
	run_fini(run);
	progress_end();
	return status;
}
