/* SPDX-License-Identifier: Apache-2.0 */
/* op-suite: options and the transport under test. See suite.h. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define SKIPPED 77

static const char usage[] = "usage: op-suite [OPTION...]\n"
			    "Runs every operation over a transport and compares with the plugin reference.\n"
			    "  --transport URL  where operations are served (default: as for every program)\n"
			    "  --plugin NAME    which plugin is to serve them; exits with 77 if another one does\n"
			    "  --must           with --plugin: fails instead\n"
			    "  --models         the suite's models are served: the operations on models, too\n"
			    "  --crypto         ciphers are served, and the suite's keys held: those operations, too\n"
			    "  --vectors FILE   with --crypto: vectors (tests/crypto/vector.h); up to four times\n"
			    "  --quick          fewer cases, for slow machines\n"
			    "  --seed N         of the matrices' elements (default 1)\n"
			    "  --json           one JSON object instead of TAP\n"
			    "Exit status: 0 passed, 1 failed, 2 usage, 77 skipped\n";

static int fail(const char *what, int r)
{
	fprintf(stderr, "op-suite: %s: %s (%s)\n", what, vaccel_error(), strerrorname_np(-r));
	return 1;
}

static int open_transport(struct suite *suite, const char *transport)
{
	struct vaccel_context_options options = { .size = sizeof(options), .transport = transport };
	int r = vaccel_context_new(&options, &suite->context);

	if (r < 0)
		return fail("connect", r);
	suite->info.size = sizeof(suite->info);
	r = vaccel_context_info(suite->context, &suite->info);
	if (r < 0)
		return fail("info", r);
	/* It is printed when the context is gone. */
	snprintf(suite->url, sizeof(suite->url), "%s", suite->info.transport);
	r = vaccel_session_open(suite->context, &suite->session);
	return r < 0 ? fail("session", r) : 0;
}

/* 0: the plugin that is wanted serves GEMM. */
static int check_plugin(struct suite *suite, bool must)
{
	for (size_t i = 0; i < suite->info.n_ops; i++) {
		struct vaccel_op_info op = { .size = sizeof(op) };
		int r = vaccel_context_op(suite->context, i, &op);

		if (r < 0)
			return fail("operations", r);
		fprintf(stderr, "# %s: plugin %s on %s\n", op.name, *op.plugin ? op.plugin : "(none)", op.hardware);
		if (!suite->plugin || (op.op != VACCEL_OP_SGEMM && op.op != VACCEL_OP_DGEMM) ||
		    !strcmp(op.plugin, suite->plugin))
			continue;
		printf("1..0 # SKIP %s is not served by plugin %s here\n", op.name, suite->plugin);
		return must ? 1 : SKIPPED;
	}
	return 0;
}

static void close_all(struct suite *suite)
{
	int r = vaccel_session_close(suite->session);

	if (suite->session)
		report(r == 0, vaccel_error(), "the session closes");
	vaccel_context_free(suite->context);
}

static int run(struct suite *suite, const char *transport, bool must)
{
	int r = reference_start() ? open_transport(suite, transport) : 1;

	if (r == 0)
		r = check_plugin(suite, must);
	if (r) {
		vaccel_context_free(suite->context);
		return r;
	}
	fprintf(stderr, "# transport %s, %s, served by %s; seed %llu\n", suite->url, suite->info.device,
		suite->info.host, (unsigned long long)suite->seed);
	run_noop(suite);
	run_plan(suite);
	run_bad(suite);
	if (suite->models)
		run_models(suite);
	if (suite->crypto)
		run_crypto(suite);
	close_all(suite);
	return report_end(suite);
}

int main(int argc, char **argv)
{
	enum { TRANSPORT, PLUGIN, MUST, MODELS, CRYPTO, VECTORS, QUICK, SEED, JSON, HELP };
	static const struct option options[] = {
		{ "transport", required_argument, NULL, TRANSPORT },
		{ "plugin", required_argument, NULL, PLUGIN },
		{ "must", no_argument, NULL, MUST },
		{ "models", no_argument, NULL, MODELS },
		{ "crypto", no_argument, NULL, CRYPTO },
		{ "vectors", required_argument, NULL, VECTORS },
		{ "quick", no_argument, NULL, QUICK },
		{ "seed", required_argument, NULL, SEED },
		{ "json", no_argument, NULL, JSON },
		{ "help", no_argument, NULL, HELP },
		{ 0 },
	};
	struct suite suite = { .seed = 1 };
	const char *transport = NULL;
	bool must = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case TRANSPORT:
			transport = optarg;
			break;
		case PLUGIN:
			suite.plugin = optarg;
			break;
		case MUST:
			must = true;
			break;
		case MODELS:
			suite.models = true;
			break;
		case CRYPTO:
			suite.crypto = true;
			break;
		case VECTORS:
			if (suite.n_vectors < sizeof(suite.vectors) / sizeof(suite.vectors[0]))
				suite.vectors[suite.n_vectors++] = optarg;
			break;
		case QUICK:
			suite.quick = true;
			break;
		case SEED:
			suite.seed = strtoull(optarg, NULL, 0);
			break;
		case JSON:
			report_as_json();
			break;
		case HELP:
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	c = run(&suite, transport, must);
	reference_stop();
	return c;
}
