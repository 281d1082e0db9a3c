/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin fault does what it was asked for, and computes right when it was not.
 *
 *	fault PLUGIN.so
 *
 * Each case is a process of its own, which runs some calls and exits with 0, or dies of the fault.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fault.h"
#include "harness.h"

enum { M = 3, N = 2, K = 4 };

static const char *path;
static const char *cache;

/* One SGEMM of ones: 0 if it succeeded and every element is K, else its error, or -EBADMSG for a wrong result. */
static int multiply(struct harness *h, double alpha, uint64_t m)
{
	float a[M * K], b[K * N], c[M * N];
	struct vaccel_gemm gemm = {
		.order = VACCEL_ROW_MAJOR,
		.transa = VACCEL_NO_TRANS,
		.transb = VACCEL_NO_TRANS,
		.m = m,
		.n = N,
		.k = K,
		.lda = K,
		.ldb = N,
		.ldc = N,
		.alpha = alpha,
	};
	const struct vaccel_plugin_arg args[] = {
		{ .data = a, .len = sizeof(a), .dir = 1 },
		{ .data = b, .len = sizeof(b), .dir = 1 },
		{ .data = c, .len = sizeof(c), .dir = 2 },
	};
	size_t i;
	int r;

	for (i = 0; i < M * K; i++)
		a[i] = 1;
	for (i = 0; i < K * N; i++)
		b[i] = 1;
	memset(c, 0, sizeof(c));
	r = harness_run(h, VACCEL_OP_SGEMM, &gemm, sizeof(gemm), args, 3);
	for (i = 0; i < m * N && !r; i++)
		if (c[i] != K)
			r = -EBADMSG;
	return r;
}

/* Runs `calls` multiplications in a new process. Its wait status; the last call's error as the exit status. */
static int run_process(const char *rules, double alpha, unsigned int calls)
{
	char key[256];
	char *keys[] = { key, NULL };
	struct harness h;
	int status = 0, r = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid) {
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			abort();
		return status;
	}
	signal(SIGALRM, SIG_DFL);
	snprintf(key, sizeof(key), "rules=%s", rules ? rules : "");
	if (harness_open(&h, path) < 0 || harness_start(&h, cache, 0, rules ? keys : NULL) < 0)
		_exit(200);
	while (calls--)
		r = multiply(&h, alpha, M);
	_exit(-r);
}

static bool exited(int status, int code)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

static bool died(int status, int number)
{
	/* Sanitizers catch some signals and exit instead. */
	return (WIFSIGNALED(status) && WTERMSIG(status) == number) || (WIFEXITED(status) && WEXITSTATUS(status) > 0);
}

static void check_death(void)
{
	static const struct {
		const char *word;
		enum fault_action action;
		int number;
	} ways[] = {
		{ "segv", FAULT_SEGV, SIGSEGV },
		{ "bus", FAULT_BUS, SIGBUS },
		{ "abort", FAULT_ABORT, SIGABRT },
		{ "kill", FAULT_KILL, SIGKILL },
	};
	char rules[64];
	size_t i;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		snprintf(rules, sizeof(rules), "m=3 crash=%s", ways[i].word);
		CHECK(died(run_process(rules, 1, 1), ways[i].number), "rule crash=%s", ways[i].word);
		CHECK(died(run_process(NULL, fault_alpha(ways[i].action, 0, 0), 1), ways[i].number), "alpha for %s",
		      ways[i].word);
	}
	CHECK(exited(run_process("crash=exit", 1, 1), 1), "rule crash=exit");
	CHECK(exited(run_process(NULL, fault_alpha(FAULT_EXIT, 0, 7), 1), 7), "alpha for exit with status 7");
}

/* Counts outlive the process: so many deaths, then one success, then again. */
static void check_times(void)
{
	const double once = fault_alpha(FAULT_KILL, 1, 42), twice = fault_alpha(FAULT_KILL, 2, 43);
	int round;

	for (round = 0; round < 2; round++) {
		CHECK(died(run_process(NULL, once, 1), SIGKILL), "the first call kills, round %d", round);
		CHECK(exited(run_process(NULL, once, 1), 0), "its replay succeeds, round %d", round);
	}
	CHECK(died(run_process(NULL, twice, 1), SIGKILL), "the first of two");
	CHECK(died(run_process(NULL, twice, 1), SIGKILL), "the second of two");
	CHECK(exited(run_process(NULL, twice, 1), 0), "the third succeeds");
	CHECK(died(run_process("times=1 crash=kill", 1, 1), SIGKILL), "a rule with times=1");
	CHECK(exited(run_process("times=1 crash=kill", 1, 1), 0), "and its replay");
}

static void check_file(void)
{
	char file[300], rules[400];
	int fd;

	snprintf(file, sizeof(file), "%s/trigger", cache);
	snprintf(rules, sizeof(rules), "file=%s crash=kill", file);
	CHECK(exited(run_process(rules, 1, 1), 0), "no file, no fault");
	fd = open(file, O_CREAT | O_WRONLY, 0600);
	CHECK(fd >= 0, "cannot create %s", file);
	close(fd);
	CHECK(died(run_process(rules, 1, 1), SIGKILL), "a file, a fault");
	CHECK(access(file, F_OK) < 0, "the file is still there");
	CHECK(exited(run_process(rules, 1, 1), 0), "once");
}

static void check_errors(void)
{
	CHECK(exited(run_process("error=EIO", 1, 1), EIO), "error by name");
	CHECK(exited(run_process("m=3 n=2 k=4 op=sgemm error=5", 1, 1), 5), "error by number, all conditions");
	CHECK(exited(run_process("m=4 error=EIO, op=dgemm error=EIO, k=0 error=EIO", 1, 1), 0), "conditions that fail");
	CHECK(exited(run_process("every=3 error=EIO", 1, 2), 0), "the second call of every third");
	CHECK(exited(run_process("every=3 error=EIO", 1, 3), EIO), "the third call of every third");
	CHECK(exited(run_process("scribble delay=1", 1, 1), 0), "scribbled output is computed over");
	CHECK(exited(run_process(NULL, fault_alpha(FAULT_ERROR, 0, ENOSPC), 1), ENOSPC), "error through alpha");
	CHECK(exited(run_process(NULL, fault_alpha(FAULT_DELAY, 0, 1), 1), 0),
	      "delay through alpha, then a right result");
	CHECK(exited(run_process(NULL, strtod("nan(0x20000000a)", NULL), 1), 0), "delay through alpha as text");
	CHECK(exited(run_process(NULL, fault_alpha((enum fault_action)99, 0, 0), 1), EINVAL), "unknown fault");
	CHECK(exited(run_process(NULL, NAN, 1), EBADMSG), "a NaN that asks for nothing is a NaN");
}

static void check_config(void)
{
	static const char *const wrong[] = {
		"rules=crash=never",	  "rules=m=x error=EIO",     "rules=m=3",     "rules=error=ENOSUCH",
		"rules=what=1 error=EIO", "rules=every=0 error=EIO", "ready=nothing", "alpha=maybe",
	};
	char *ready[] = { (char[]){ "ready=ENODEV" }, NULL }, *open_key[] = { (char[]){ "open=EMFILE" }, NULL };
	char *off[] = { (char[]){ "alpha=off" }, NULL };
	struct harness h;
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char key[128];
		char *keys[] = { key, NULL };

		snprintf(key, sizeof(key), "%s", wrong[i]);
		CHECK(harness_open(&h, path) == 0, "load");
		CHECK(harness_start(&h, cache, 0, keys) == -EINVAL && *h.error, "%s is taken: %s", wrong[i], h.error);
		harness_stop(&h);
	}
	CHECK(harness_open(&h, path) == 0 && harness_start(&h, cache, 0, ready) == -ENODEV, "ready fails as asked");
	harness_stop(&h);
	CHECK(harness_open(&h, path) == 0 && harness_start(&h, cache, 0, open_key) == -EMFILE, "open fails as asked");
	harness_stop(&h);
	CHECK(harness_open(&h, path) == 0 && harness_start(&h, cache, 0, off) == 0, "alpha = off");
	CHECK(multiply(&h, fault_alpha(FAULT_ERROR, 0, EIO), M) == -EBADMSG, "alpha = off: a NaN is a NaN");
	harness_stop(&h);
	CHECK(harness_open(&h, path) == 0 && harness_start(&h, NULL, 0, NULL) == 0, "without a cache folder");
	CHECK(multiply(&h, fault_alpha(FAULT_ERROR, 1, EIO), M) == -ENOENT, "times without a cache folder");
	harness_stop(&h);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	path = argv[1];
	cache = harness_folder();
	if (!cache)
		return 2;
	check_death();
	check_times();
	check_file();
	check_errors();
	check_config();
	return harness_end();
}
