/* SPDX-License-Identifier: Apache-2.0 */
/* See fixture.h. */
#include "fixture.h"

#define UNTOUCHED 1234.5f

struct daemon fixture_daemon;
char fixture_url[160];
bool fixture_remote, fixture_own;
static const char *fixture_given; /* URL of a daemon that somebody else started */

int fixture_start(void **state)
{
	if (fixture_given) {
		strcpy(fixture_url, fixture_given);
	} else if (fixture_remote) {
		int r = daemon_start(&fixture_daemon);

		if (r < 0) {
			fprintf(stderr, "cannot start the daemon: %s\n", strerror(-r));
			return -1;
		}
		strcpy(fixture_url, fixture_daemon.url);
	} else {
		snprintf(fixture_url, sizeof(fixture_url), "local:%s", fixture_daemon.config);
	}
	return 0;
}

int fixture_stop(void **state)
{
	daemon_kill(&fixture_daemon, 15);
	return 0;
}

struct vaccel_context *fixture_context(void)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = fixture_url };
	struct vaccel_context *context = NULL;

	assert_ok(vaccel_context_new(&options, &context));
	return context;
}

int fixture_open(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->context = fixture_context();
	assert_ok(vaccel_session_open(fixture->context, &fixture->session));
	*state = fixture;
	return 0;
}

int fixture_close(void **state)
{
	struct fixture *fixture = *state;

	vaccel_context_free(fixture->context);
	free(fixture);
	return 0;
}

int fixture_main(int argc, char **argv, int (*run)(void))
{
	const char *daemon = getenv("VACCELD");
	int r;

	if (argc == 2 && !strcmp(argv[1], "config")) {
		fputs(FIXTURE_CONFIG, stdout);
		return 0;
	}
	if (argc == 2 && strchr(argv[1], ':') && strlen(argv[1]) < sizeof(fixture_url))
		fixture_given = argv[1];
	if (argc != 2 || (!fixture_given && strcmp(argv[1], "local") && strcmp(argv[1], "shm"))) {
		fprintf(stderr, "usage: %s local|shm|URL|config\n", argv[0]);
		return 2;
	}
	fixture_remote = strncmp(argv[1], "local", 5);
	fixture_own = fixture_remote && !fixture_given;
	if (fixture_own && (!daemon || access(daemon, X_OK) < 0)) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	r = daemon_prepare(&fixture_daemon, FIXTURE_CONFIG);
	if (r < 0) {
		fprintf(stderr, "cannot make a private folder: %s\n", strerror(-r));
		return 1;
	}
	unsetenv("VACCEL_TRANSPORT");
	/* Where the plugin may write. */
	setenv("XDG_CACHE_HOME", fixture_daemon.folder, 1);
	r = run();
	daemon_stop(&fixture_daemon);
	return r ? 1 : 0;
}

void product_init(struct product *product, size_t n, unsigned int seed, double alpha, float *memory)
{
	memset(product, 0, sizeof(*product));
	product->n = n;
	product->a = memory ? memory : malloc(3 * n * n * sizeof(float));
	product->b = product->a + n * n;
	product->c = product->b + n * n;
	for (size_t i = 0; i < n * n; i++) {
		/* Small whole numbers: every order of summation gives the same. */
		product->a[i] = (float)((i * 7 + seed) % 11) - 5;
		product->b[i] = (float)((i * 5 + seed * 3) % 13) - 6;
		product->c[i] = UNTOUCHED;
	}
	product->gemm = (struct vaccel_gemm){ .order = VACCEL_ROW_MAJOR,
					      .transa = VACCEL_NO_TRANS,
					      .transb = VACCEL_NO_TRANS,
					      .m = n,
					      .n = n,
					      .k = n,
					      .lda = n,
					      .ldb = n,
					      .ldc = n,
					      .alpha = alpha };
	product->args[0] = (struct vaccel_arg){ product->a, n * n * sizeof(float), VACCEL_IN, 0 };
	product->args[1] = (struct vaccel_arg){ product->b, n * n * sizeof(float), VACCEL_IN, 0 };
	product->args[2] = (struct vaccel_arg){ product->c, n * n * sizeof(float), VACCEL_OUT, 0 };
	product->call = (struct vaccel_call){ .size = sizeof(product->call),
					      .op = VACCEL_OP_SGEMM,
					      .params = &product->gemm,
					      .params_len = sizeof(product->gemm),
					      .args = product->args,
					      .n_args = 3,
					      .user_data = product };
}

void product_fini(struct product *product)
{
	free(product->a);
}

void product_check(const struct product *product)
{
	const size_t n = product->n;

	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < n; j++) {
			float sum = 0;

			for (size_t k = 0; k < n; k++)
				sum += product->a[i * n + k] * product->b[k * n + j];
			if (product->c[i * n + j] != sum)
				fail_msg("element %zu, %zu is %g, not %g", i, j, product->c[i * n + j], sum);
		}
	}
}

void product_untouched(const struct product *product)
{
	for (size_t i = 0; i < product->n * product->n; i++)
		if (product->c[i] != UNTOUCHED)
			fail_msg("element %zu was written", i);
}
