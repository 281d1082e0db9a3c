/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes that measure. Each is a child that waits for commands: a byte on a socket says that one is in the memory
 * that both share, a byte back that its answer is there. Samples stay in that memory until the next command. The child
 * ends when the socket does, and at once when its parent does.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "bench/bench.h"
#include "cli/counts.h"

#define SHORT_OP_NS  2000000u /* operations that take longer are not repeated for the sake of a warm start */
#define DESCRIBE_MAX 16384
#define CHILD_FD     3

enum command { OPEN, PREPARE, TURN, FINISH, PROFILE };

/* What parent and child share. The parent writes the command's members, the child all others. */
struct area {
	enum command command;
	uint64_t size;
	const struct bench_side *side; /* that it acts as; the child has it and the variant at the same addresses */
	const char *variant;
	uint64_t max, turn_ns;

	int status;
	struct error error;
	char action[32];
	char described[DESCRIBE_MAX];
	pid_t other;
	uint64_t n, n_ops, n_warm, elapsed_ns, cpu_ns, copied_bytes, answer;
	struct bench_parts parts;
	struct bench_stage stages[BENCH_MAX_STAGES];
	size_t n_stages;
	uint64_t samples[BENCH_TURN_SAMPLES];
};

struct bench_runner {
	struct area *area;
	int fd;
	pid_t pid;
};

/* ---- in the child ---- */

static int fail(struct area *area, int status, const char *action, const struct error *error)
{
	area->status = status;
	area->error = *error;
	snprintf(area->action, sizeof(area->action), "%s", action);
	return -1;
}

static int fail_lib(struct area *area, int status, int code, const char *action)
{
	struct error error = { 0 };

	error_set(&error, code, "%s", vaccel_error());
	return fail(area, status, action, &error);
}

static void describe(struct area *area, struct bench_job *job)
{
	struct json_object *object = NULL;

	area->described[0] = 0;
	if (cli_describe(job->context, &object) == 0)
		snprintf(area->described, sizeof(area->described), "%s", json_object_to_json_string(object));
	json_object_put(object);
}

static int open_job(struct area *area, struct bench_job *job)
{
	struct vaccel_context_options options = { .size = sizeof(options) };
	const struct bench_side *side = job->side;
	struct error error = { 0 };
	char spin[32];
	int r;

	bench_place(side->place, side->end == BENCH_LOCAL || side->end == BENCH_NONE);
	if (side->end == BENCH_RAW || side->end == BENCH_GUEST || side->end == BENCH_NONE) {
		r = side->task->open ? side->task->open(job, &error) : 0;
		snprintf(area->described, sizeof(area->described), "%s", job->about);
		area->other = job->other;
		return r < 0 ? fail(area, CLI_FAILED, "cannot start", &error) : 0;
	}
	snprintf(spin, sizeof(spin), "%u", side->waiting == BENCH_PARKED ? 0 : job->bench->poll_us);
	if (side->waiting != BENCH_WAIT_DEFAULT)
		setenv("VACCEL_SPIN_US", spin, 1);
	options.transport = job->url;
	options.trace = (uint32_t)job->options->profile;
	r = vaccel_context_new(&options, &job->context);
	if (r < 0)
		return fail_lib(area, CLI_NO_CONNECTION, r, "");
	r = vaccel_session_open(job->context, &job->session);
	if (r < 0)
		return fail_lib(area, CLI_FAILED, r, "session: cannot open");
	describe(area, job);
	return 0;
}

static int check(struct area *area, struct bench_job *job)
{
	const struct bench_task *task = job->side->task;
	struct error error = { 0 };

	if (task->check && task->check(job, &error) < 0)
		return fail(area, CLI_FAILED, "does not verify", &error);
	return 0;
}

/* Around operations: what the task wants done before and after several of them. */
static int begin(struct area *area, struct bench_job *job)
{
	struct error error = { 0 };

	if (job->side->task->begin && job->side->task->begin(job, &error) < 0)
		return fail(area, CLI_FAILED, "failed", &error);
	return 0;
}

static int end(struct area *area, struct bench_job *job)
{
	struct error error = { 0 };
	uint64_t n = 0;

	if (job->side->task->end && job->side->task->end(job, &n, &error) < 0)
		return fail(area, CLI_FAILED, "failed", &error);
	area->n_ops += n;
	return 0;
}

static int once(struct area *area, struct bench_job *job, uint64_t *ret_ns)
{
	struct error error = { 0 };

	if (job->side->task->once(job, ret_ns, &error) < 0)
		return fail(area, CLI_FAILED, "failed", &error);
	area->n_ops++;
	return 0;
}

static void finish_job(struct bench_job *job)
{
	if (job->side->task->finish)
		job->side->task->finish(job);
}

static int prepare_job(struct area *area, struct bench_job *job)
{
	const struct bench_task *task = job->side->task;
	struct error error = { 0 };
	uint64_t ns;
	int r;

	job->variant = area->variant;
	job->answer = 0;
	if (task->prepare && task->prepare(job, area->size, &error) < 0)
		return fail(area, CLI_FAILED, "cannot prepare", &error);
	r = begin(area, job);
	if (r == 0)
		r = once(area, job, &ns);
	if (r == 0)
		r = end(area, job);
	if (r == 0)
		r = check(area, job);
	area->answer = job->answer;
	if (r < 0)
		finish_job(job);
	return r;
}

/* Brings back to the caches what the others' turns took. */
static int warm_up(struct area *area, struct bench_job *job)
{
	uint64_t ns = 0;

	for (unsigned int i = 0; i < job->bench->warm && ns < SHORT_OP_NS && !job->side->task->turn; i++)
		if (once(area, job, &ns) < 0)
			return -1;
	return 0;
}

/* A turn of a task that takes it as a whole. */
static int take_turn(struct area *area, struct bench_job *job, struct bench_turn *ret_turn)
{
	struct error error = { 0 };

	if (job->side->task->turn(job, area->max, area->turn_ns, area->samples, ret_turn, &error) < 0)
		return fail(area, CLI_FAILED, "failed", &error);
	area->n = ret_turn->n;
	area->n_ops = ret_turn->n_ops;
	area->n_warm = ret_turn->n_warm;
	return 0;
}

static int take_samples(struct area *area, struct bench_job *job)
{
	uint64_t until = now_ns() + area->turn_ns;

	do {
		if (once(area, job, &area->samples[area->n]) < 0)
			return -1;
		area->n++;
	} while (area->n < area->max && now_ns() < until);
	return 0;
}

/* Argument bytes that this process and its daemon have copied so far for this connection. */
static int copied_bytes(struct area *area, struct bench_job *job, uint64_t *ret)
{
	struct vaccel_info info = { .size = sizeof(info) };
	struct error error = { 0 };
	struct counts counts;
	int r;

	*ret = 0;
	if (!job->bench->counts_copies || !job->context)
		return 0;
	r = vaccel_context_info(job->context, &info);
	if (r < 0)
		return fail_lib(area, CLI_FAILED, r, "cannot ask what was copied");
	if (counts_ask(job->context, &counts, &error) < 0)
		return fail(area, CLI_FAILED, "cannot ask what was copied", &error);
	*ret = info.bytes_copied + counts.bytes_copied;
	counts_free(&counts);
	return 0;
}

/* What the client's side has used: this process, and who works for it. */
static uint64_t client_cpu_ns(const struct bench_job *job)
{
	return bench_cpu_ns(getpid()) + (job->client > 0 ? bench_tree_cpu_ns(job->client) : 0);
}

static int turn(struct area *area, struct bench_job *job)
{
	struct bench_turn whole = { 0 };
	uint64_t before, after, cpu, start;
	int r = begin(area, job);

	area->n_ops = 0;
	if (r == 0)
		r = warm_up(area, job);
	area->n_warm = area->n_ops;
	area->n = area->n_ops = 0;
	if (r == 0)
		r = copied_bytes(area, job, &before);
	job->parts = (struct bench_parts){ 0 };
	cpu = client_cpu_ns(job);
	start = now_ns();
	if (r == 0)
		r = job->side->task->turn ? take_turn(area, job, &whole) : take_samples(area, job);
	if (r == 0)
		r = end(area, job);
	area->elapsed_ns = now_ns() - start;
	area->cpu_ns = client_cpu_ns(job) - cpu;
	area->parts = job->parts;
	if (r == 0 && whole.n) {
		/* What warmed it up is in there, and the time to order it is not the operations'. */
		area->elapsed_ns = whole.elapsed_ns;
		area->cpu_ns = area->cpu_ns * whole.n_ops / (whole.n_ops + whole.n_warm);
	}
	if (r == 0)
		r = copied_bytes(area, job, &after);
	if (r == 0)
		area->copied_bytes = after - before;
	return r;
}

static int profile(struct area *area, struct bench_job *job)
{
	struct error error = { 0 };

	area->n_stages = 0;
	if (bench_profile_collect(job, area->stages, &area->n_stages, &error) < 0)
		return fail(area, CLI_FAILED, "cannot profile", &error);
	return 0;
}

static int obey(struct area *area, struct bench_job *job)
{
	int r;

	if (area->command != OPEN && area->command != PROFILE)
		job->side = area->side;
	switch (area->command) {
	case OPEN:
		return open_job(area, job);
	case PREPARE:
		return prepare_job(area, job);
	case TURN:
		return turn(area, job);
	case PROFILE:
		return profile(area, job);
	case FINISH:
		r = check(area, job);
		finish_job(job);
		return r;
	}
	return -1;
}

static void child(struct area *area, int fd, struct bench_job *job, pid_t parent)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || dup2(fd, CHILD_FD) < 0)
		_exit(EXIT_FAILURE);
	/* The parent's sockets to others, above all: they are to end when the parent closes them. */
	close_range(CHILD_FD + 1, ~0u, 0);
	fd = CHILD_FD;
	/* The terminal's are for the parent. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	while (read(fd, &byte, 1) == 1) {
		area->status = CLI_OK;
		if (obey(area, job) < 0 && area->status == CLI_OK)
			area->status = CLI_FAILED;
		if (write(fd, &byte, 1) != 1)
			break;
	}
	vaccel_session_close(job->session);
	vaccel_context_free(job->context);
	if (job->side->task->close)
		job->side->task->close(job);
	_exit(EXIT_SUCCESS);
}

/* ---- in the parent ---- */

int bench_runner_new(const struct bench *bench, const struct bench_side *side, const struct bench_options *options,
		     const char *url, const char *crypto_url, struct bench_runner **ret_runner)
{
	struct bench_job job = {
		.bench = bench, .side = side, .options = options, .url = url, .crypto_url = crypto_url
	};
	struct bench_runner *runner = calloc(1, sizeof(*runner));
	pid_t parent = getpid();
	int pair[2];

	if (!runner)
		return -ENOMEM;
	runner->fd = -1;
	runner->area = mmap(NULL, sizeof(*runner->area), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (runner->area == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		bench_runner_free(runner);
		return -ENOMEM;
	}
	runner->pid = fork();
	if (runner->pid == 0)
		child(runner->area, pair[1], &job, parent);
	close(pair[1]);
	runner->fd = pair[0];
	if (runner->pid < 0) {
		bench_runner_free(runner);
		return -EAGAIN;
	}
	*ret_runner = runner;
	return 0;
}

void bench_runner_free(struct bench_runner *runner)
{
	if (!runner)
		return;
	close_fd(&runner->fd);
	while (runner->pid > 0 && waitpid(runner->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (runner->area != MAP_FAILED)
		munmap(runner->area, sizeof(*runner->area));
	free(runner);
}

static int send_command(struct bench_runner *runner, enum command command)
{
	char byte = 0;

	runner->area->command = command;
	return send(runner->fd, &byte, 1, MSG_NOSIGNAL) == 1 ? 0 : -EPIPE;
}

static int wait_answer(struct bench_runner *runner, struct bench_failure *failure)
{
	struct area *area = runner->area;
	char byte;
	ssize_t n;

	do {
		n = read(runner->fd, &byte, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1 && area->status == CLI_OK)
		return 0;
	*failure = (struct bench_failure){ .status = CLI_FAILED, .action = "failed" };
	if (n != 1)
		return error_set(&failure->error, -ECHILD, "the measuring process has ended");
	failure->status = area->status;
	failure->action = area->action;
	failure->error = area->error;
	return failure->error.code < 0 ? failure->error.code : -EIO;
}

static int do_command(struct bench_runner *runner, enum command command, struct bench_failure *failure)
{
	send_command(runner, command);
	return wait_answer(runner, failure);
}

int bench_runner_open(struct bench_runner *runner, struct json_object **ret_described, pid_t *ret_other,
		      struct bench_failure *failure)
{
	int r = do_command(runner, OPEN, failure);

	if (r < 0)
		return r;
	*ret_described = json_tokener_parse(runner->area->described);
	*ret_other = runner->area->other;
	return 0;
}

int bench_runner_prepare(struct bench_runner *runner, const struct bench_side *side, const char *variant, uint64_t size,
			 uint64_t *ret_answer, struct bench_failure *failure)
{
	int r;

	runner->area->size = size;
	runner->area->side = side;
	runner->area->variant = variant;
	r = do_command(runner, PREPARE, failure);
	*ret_answer = runner->area->answer;
	return r;
}

int bench_runner_begin(struct bench_runner *runner, const struct bench_side *side, uint64_t max, uint64_t turn_ns)
{
	runner->area->side = side;
	runner->area->max = MIN(max, BENCH_TURN_SAMPLES);
	runner->area->turn_ns = turn_ns;
	return send_command(runner, TURN);
}

int bench_runner_end(struct bench_runner *runner, struct bench_turn *ret_turn, struct bench_failure *failure)
{
	const struct area *area = runner->area;
	int r = wait_answer(runner, failure);

	if (r < 0)
		return r;
	*ret_turn = (struct bench_turn){
		.n = area->n,
		.ns = area->samples,
		.n_ops = area->n_ops,
		.n_warm = area->n_warm,
		.elapsed_ns = area->elapsed_ns,
		.cpu_ns = area->cpu_ns,
		.copied_bytes = area->copied_bytes,
		.parts = area->parts,
	};
	return 0;
}

int bench_runner_profile(struct bench_runner *runner, const struct bench_stage **ret_stages, size_t *ret_n,
			 struct bench_failure *failure)
{
	int r = do_command(runner, PROFILE, failure);

	if (r == 0) {
		*ret_stages = runner->area->stages;
		*ret_n = runner->area->n_stages;
	}
	return r;
}

int bench_runner_finish(struct bench_runner *runner, const struct bench_side *side, struct bench_failure *failure)
{
	runner->area->side = side;
	return do_command(runner, FINISH, failure);
}
