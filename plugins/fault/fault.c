/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin fault, for tests: every operation, computed right by the reference code, after the faults that were asked for.
 * They are asked for by rules in the configuration (rule.h) or by the caller through alpha (fault.h).
 *
 * State: the rules are constant after ready() but for their atomic counters. Counts that must outlive the process lie
 * in the cache folder, one small file per count: a worker that dies leaves the count of its deaths to the next one.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "attack.h"
#include "gemm.h"
#include "rule.h"

static struct {
	struct fault_rules rules;
	char *folder; /* for counts; NULL: none */
	int ready_error;
	int open_error;
	bool obey;	       /* look at alpha */
	volatile char *beyond; /* the end of a file */
} state;

static pthread_mutex_t count_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- What happens ---- */

static void sleep_ms(uint32_t ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* The SIGBUS that a guest's memory file cut short would cause. */
static void bus_error(void)
{
	if (state.beyond != MAP_FAILED)
		(void)*state.beyond;
	raise(SIGBUS);
}

/* A page beyond the end of a file that leaves nothing behind. Made early: a sandbox has no such calls later. */
static volatile char *map_beyond(void)
{
	int fd = memfd_create("vaccel-fault", MFD_CLOEXEC);
	volatile char *page = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	return page;
}

static void segmentation_fault(void)
{
	/* Through a volatile pointer, or the compiler may take the undefined write out. */
	int *volatile nowhere = NULL;

	*nowhere = 1;
	raise(SIGSEGV);
}

static void hang(void)
{
	for (;;)
		pause();
}

static void spin(void)
{
	static volatile unsigned long turns;

	for (;;)
		turns = turns + 1;
}

/* Overwrites the rows of C, not what lies between them. */
static void scribble(const struct vaccel_plugin_call *call)
{
	const struct vaccel_gemm *g = call->params;
	const size_t size = call->op == VACCEL_OP_DGEMM ? sizeof(double) : sizeof(float);
	uint64_t i, lines, len;

	if (call->op == VACCEL_OP_NOOP)
		return;
	lines = g->order == VACCEL_ROW_MAJOR ? g->m : g->n;
	len = g->order == VACCEL_ROW_MAJOR ? g->n : g->m;
	for (i = 0; len && i < lines; i++)
		memset((char *)call->args[2].data + i * g->ldc * size, 0xff, len * size);
}

static int attack(const struct vaccel_plugin_call *call)
{
	int r = state.folder ? fault_attack(state.folder) : -ENOENT;

	return r < 0 ? vaccel_plugin_error(&call->report, r, "fault: no report of the attack: %s", strerror(-r)) : 0;
}

/* Returns the error to fail with, 0 to go on, or not at all. */
static int strike(const struct vaccel_plugin_call *call, struct fault_step step)
{
	switch (step.action) {
	case FAULT_ERROR:
		return vaccel_plugin_error(&call->report, -(int)(step.argument & 0xfff), "fault: error %u as asked for",
					   step.argument & 0xfff);
	case FAULT_DELAY:
		sleep_ms(step.argument);
		return 0;
	case FAULT_SEGV:
		segmentation_fault();
		return 0;
	case FAULT_BUS:
		bus_error();
		return 0;
	case FAULT_ABORT:
		abort();
	case FAULT_KILL:
		kill(getpid(), SIGKILL);
		hang();
		return 0;
	case FAULT_EXIT:
		_exit((int)(step.argument & 0xff));
	case FAULT_HANG:
		hang();
		return 0;
	case FAULT_SPIN:
		spin();
		return 0;
	case FAULT_SCRIBBLE:
		scribble(call);
		return 0;
	case FAULT_ATTACK:
		return attack(call);
	case FAULT_NONE:
	case FAULT_N_ACTIONS:
		break;
	}
	return vaccel_plugin_error(&call->report, -EINVAL, "fault: unknown fault %u asked for",
				   (unsigned int)step.action);
}

/* ---- When it happens ---- */

/*
 * Counts one call in the file `name`: true for the first `times` calls, false for the one after them, which starts
 * the count again. The count is on disk before the answer: the caller may be about to die.
 */
static int count_strike(const char *name, unsigned int times, bool *ret_strikes, const struct vaccel_plugin_call *call)
{
	char path[4096];
	unsigned char count = 0;
	ssize_t n;
	int fd;

	if (!state.folder)
		return vaccel_plugin_error(&call->report, -ENOENT,
					   "fault: 'times' needs a cache folder and there is none");
	if (snprintf(path, sizeof(path), "%s/%s", state.folder, name) >= (int)sizeof(path))
		return vaccel_plugin_error(&call->report, -ENAMETOOLONG, "fault: the cache folder's name is too long");
	pthread_mutex_lock(&count_lock);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	n = fd < 0 ? -1 : pread(fd, &count, 1, 0);
	if (n == 0)
		count = 0;
	*ret_strikes = count < times;
	count = *ret_strikes ? count + 1 : 0;
	if (n >= 0)
		n = pwrite(fd, &count, 1, 0);
	if (fd >= 0)
		close(fd);
	pthread_mutex_unlock(&count_lock);
	if (n < 0)
		return vaccel_plugin_error(&call->report, -EIO, "fault: cannot count in %s", path);
	return 0;
}

static int run_rule(struct fault_rule *rule, const struct vaccel_plugin_call *call)
{
	bool strikes = true;
	char name[32];
	unsigned int i;
	int r;

	if (rule->every > 1 && (atomic_fetch_add(&rule->seen, 1) + 1) % rule->every)
		return 0;
	if (rule->file && unlink(rule->file) < 0)
		return 0;
	if (rule->times) {
		snprintf(name, sizeof(name), "rule-%td", rule - state.rules.rules);
		r = count_strike(name, rule->times, &strikes, call);
		if (r < 0)
			return r;
	}
	for (i = 0; strikes && i < rule->n_steps; i++) {
		r = strike(call, rule->steps[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int run_rules(const struct vaccel_plugin_call *call, const struct vaccel_gemm *gemm)
{
	unsigned int i;
	int r;

	for (i = 0; i < state.rules.n_rules; i++) {
		if (!fault_rule_matches(&state.rules.rules[i], call->op, gemm))
			continue;
		r = run_rule(&state.rules.rules[i], call);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Faults that the caller asked for through alpha; *gemm is a copy, to be computed with alpha = 1 then. */
static int run_alpha(const struct vaccel_plugin_call *call, struct vaccel_gemm *gemm)
{
	struct fault_step step;
	bool strikes = true;
	uint64_t bits = 0;
	uint8_t times;
	char name[64];
	int r;

	memcpy(&bits, &gemm->alpha, sizeof(bits));
	step = (struct fault_step){ .action = bits >> 32 & 0xff, .argument = (uint32_t)bits };
	times = bits >> 40 & 0xff;
	/* A NaN of arithmetic carries no payload, and is a NaN like any other. */
	if (!state.obey || gemm->alpha == gemm->alpha || !step.action)
		return 0;
	gemm->alpha = 1;
	if (times) {
		snprintf(name, sizeof(name), "alpha-%u-%u", (unsigned int)step.action, step.argument);
		r = count_strike(name, times, &strikes, call);
		if (r < 0)
			return r;
	}
	return strikes ? strike(call, step) : 0;
}

/* ---- Operations ---- */

static int noop(const struct vaccel_plugin_call *call)
{
	return run_rules(call, NULL);
}

static int faulty_gemm(const struct vaccel_plugin_call *call, struct vaccel_gemm *gemm)
{
	int r;

	*gemm = *(const struct vaccel_gemm *)call->params;
	r = run_rules(call, gemm);
	return r < 0 ? r : run_alpha(call, gemm);
}

static int sgemm(const struct vaccel_plugin_call *call)
{
	struct vaccel_gemm gemm = { 0 };
	int r = faulty_gemm(call, &gemm);

	if (!r)
		gemm_float(&gemm, call->args[0].data, call->args[1].data, call->args[2].data);
	return r;
}

static int dgemm(const struct vaccel_plugin_call *call)
{
	struct vaccel_gemm gemm = { 0 };
	int r = faulty_gemm(call, &gemm);

	if (!r)
		gemm_double(&gemm, call->args[0].data, call->args[1].data, call->args[2].data);
	return r;
}

/* ---- Life ---- */

static int load(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report)
{
	state.obey = true;
	state.beyond = map_beyond();
	state.folder = host->cache_dir ? strdup(host->cache_dir) : NULL;
	if (host->cache_dir && !state.folder)
		return vaccel_plugin_error(report, -ENOMEM, "fault: no memory");
	return 0;
}

static int config_error(const char *key, const char *value, int *ret, struct vaccel_plugin_report *report)
{
	*ret = fault_errno(value);
	if (!*ret)
		return vaccel_plugin_error(report, -EINVAL, "fault: %s = '%s' is not an error's name or number", key,
					   value);
	return 0;
}

static int config(const char *key, const char *value, struct vaccel_plugin_report *report)
{
	if (!strcmp(key, "rules"))
		return fault_rules_parse(&state.rules, value, report);
	if (!strcmp(key, "ready"))
		return config_error(key, value, &state.ready_error, report);
	if (!strcmp(key, "open"))
		return config_error(key, value, &state.open_error, report);
	if (strcmp(key, "alpha"))
		return vaccel_plugin_error(report, -EINVAL, "fault: unknown key '%s'", key);
	if (strcmp(value, "on") && strcmp(value, "off"))
		return vaccel_plugin_error(report, -EINVAL, "fault: alpha = '%s' is neither 'on' nor 'off'", value);
	state.obey = !strcmp(value, "on");
	return 0;
}

static int ready(struct vaccel_plugin_report *report)
{
	return state.ready_error
		       ? vaccel_plugin_error(report, -state.ready_error, "fault: not ready, as the configuration says")
		       : 0;
}

static int open_session(void **ret_session, struct vaccel_plugin_report *report)
{
	if (state.open_error)
		return vaccel_plugin_error(report, -state.open_error, "fault: no session, as the configuration says");
	*ret_session = NULL;
	return 0;
}

static void unload(void)
{
	fault_rules_fini(&state.rules);
	if (state.beyond != MAP_FAILED)
		munmap((void *)state.beyond, 1);
	free(state.folder);
	state.folder = NULL;
}

static const char *hardware(void)
{
	return "CPU (faults on demand)";
}

static const struct vaccel_plugin_key keys[] = {
	{ "rules", "when what happens: RULE, RULE...; see vaccel-fault(7); default: none" },
	{ "alpha", "on: a caller may ask for a fault through alpha; off: it may not; default: on" },
	{ "ready", "error (name or number) that starting the plugin fails with; default: none" },
	{ "open", "error (name or number) that opening a session fails with; default: none" },
};

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(NOOP, noop),
	VACCEL_IMPL(SGEMM, sgemm),
	VACCEL_IMPL(DGEMM, dgemm),
};

/* The test of the sandbox has one with more needs. */
#ifndef FAULT_NAME
#define FAULT_NAME  "fault"
#define FAULT_NEEDS VACCEL_NEED_CACHE_ALWAYS
#endif

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = FAULT_NAME,
	.version = VACCEL_BUILD_VERSION,
	.description = "for tests: errors, delays and crashes on demand",
	.threads = VACCEL_THREADS_ANY,
	.needs = FAULT_NEEDS,
	.keys = keys,
	.n_keys = sizeof(keys) / sizeof(keys[0]),
	.ops = ops,
	.n_ops = sizeof(ops) / sizeof(ops[0]),
	.load = load,
	.config = config,
	.ready = ready,
	.open = open_session,
	.unload = unload,
	.hardware = hardware,
};
VACCEL_PLUGIN(plugin);
