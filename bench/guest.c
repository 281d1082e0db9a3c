/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sides that measure in a guest: the measuring process starts tools/guest with a daemon's device and bench-inside (inside.c),
 * and has that take turns. The samples are the guest's own, by its clock; what passes between here and there is not in
 * them. The guest ends with the measuring process, which PR_SET_PDEATHSIG sees to.
 */
#include <errno.h>
#include <inttypes.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bench/bench.h"
#include "bench/guest.h"

#define MODULE_MAX 1024

struct guest {
	pid_t pid;
	FILE *said;
	char tmp[256]; /* folder of tools/guest's */
	char share[512];
	unsigned int turns;
	char model[VACCEL_MODEL_NAME];
	char file[512];
};

/* What it has said next; an error if that is no line, or a complaint. */
static int expect_line(struct guest *guest, char *line, size_t len, struct error *error)
{
	if (!fgets(line, (int)len, guest->said))
		return error_set(error, -EIO, "the guest has ended, see above");
	line[strcspn(line, "\n")] = 0;
	return line[0] == '!' ? error_set(error, -EIO, "in the guest: %.*s", ERROR_TEXT - 16, line + 2) : 0;
}

/* tools/module prints where the driver is. */
static int prepare_guest(const char *kind, char *tool, size_t tool_len, char *module, struct error *error)
{
	char kind_option[32], kernel[32], builder[4096], line[256];
	char *prepare[] = { tool, kind_option, (char *)"--describe", NULL };
	char *build[] = { builder, kernel, NULL };
	int r = bench_script_find("tools/guest", tool, tool_len, error);

	snprintf(kind_option, sizeof(kind_option), "--kind=%s", kind);
	snprintf(kernel, sizeof(kernel), "--kernel=%s", strcmp(kind, "uml") ? "debian" : "uml");
	if (r == 0)
		r = bench_script_find("tools/module", builder, sizeof(builder), error);
	if (r == 0)
		r = bench_script_run(prepare, line, sizeof(line), error);
	return r < 0 ? r : bench_script_run(build, module, MODULE_MAX, error);
}

/* The program that runs in the guest is in the build folder beside this one's. */
static int find_inside(char *path, size_t len, struct error *error)
{
	ssize_t n = readlink("/proc/self/exe", path, len - 64);
	char *slash;

	path[MAX(n, 0)] = 0;
	slash = strrchr(path, '/');
	if (slash)
		strcpy(slash, "/../../bench/bench-inside");
	return slash && access(path, X_OK) == 0 ? 0
						: error_set(error, -ENOENT, "bench-inside: not found in this build");
}

static int find_share(struct guest *guest, struct error *error)
{
	char pattern[512];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/vaccel-guest.*/share/out", guest->tmp);
	if (glob(pattern, 0, NULL, &found) != 0)
		return error_set(error, -ENOENT, "guest: its folder is not there");
	snprintf(guest->share, sizeof(guest->share), "%s", found.gl_pathv[0]);
	globfree(&found);
	return 0;
}

static int start_guest(struct bench_job *job, struct guest *guest, struct error *error)
{
	char tool[4096], inside[4096], kind[32], module[MODULE_MAX], line[256];
	const char *socket = job->url + strlen("shm:");
	char *argv[] = { tool,
			 kind,
			 (char *)"--timeout=0",
			 (char *)"--device",
			 (char *)socket,
			 (char *)"--module",
			 module,
			 (char *)"--",
			 inside,
			 (char *)"virtio:/dev/vaccel0",
			 (char *)"/run/vaccel-guest/out",
			 NULL };
	int fd, r;

	snprintf(kind, sizeof(kind), "--kind=%s", job->side->guest);
	r = prepare_guest(job->side->guest, tool, sizeof(tool), module, error);
	if (r == 0)
		r = find_inside(inside, sizeof(inside), error);
	if (r < 0)
		return r;
	/* The daemons' folder goes when the bench has ended, and so does this. */
	snprintf(guest->tmp, sizeof(guest->tmp), "%.*s/guest.XXXXXX", (int)(strrchr(socket, '/') - socket), socket);
	if (!mkdtemp(guest->tmp))
		return error_set(error, -errno, "folder %s: cannot make: %s", guest->tmp, strerror(errno));
	setenv("TMPDIR", guest->tmp, 1);
	guest->pid = bench_script_start(argv, &fd, error);
	if (guest->pid < 0)
		return (int)guest->pid;
	guest->said = fdopen(fd, "r");
	if (!guest->said)
		return error_set(error, -ENOMEM, "out of memory");
	r = expect_line(guest, line, sizeof(line), error);
	return r < 0 ? r : find_share(guest, error);
}

static void close_guest(struct bench_job *job)
{
	struct guest *guest = job->other_state;

	if (!guest)
		return;
	if (guest->pid > 0) {
		kill(guest->pid, SIGTERM);
		while (waitpid(guest->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (guest->said)
		fclose(guest->said);
	free(guest);
	job->other_state = NULL;
}

static int open_guest(struct bench_job *job, struct error *error)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	int r;

	if (!guest)
		return error_set(error, -ENOMEM, "out of memory");
	job->other_state = guest;
	r = start_guest(job, guest, error);
	job->client = guest->pid;
	if (r < 0)
		close_guest(job);
	return r;
}

/* Tells it to take a turn, in one step: a file that is there is whole. */
static int order(struct guest *guest, uint64_t max, uint64_t ns, unsigned int warm, struct error *error)
{
	char part[600], path[600];
	FILE *file;
	bool failed;

	snprintf(part, sizeof(part), "%s/part", guest->share);
	snprintf(path, sizeof(path), "%s/go.%u", guest->share, guest->turns);
	file = fopen(part, "we");
	if (!file)
		return error_set(error, -errno, "%s: cannot write: %s", part, strerror(errno));
	fprintf(file, "%s %" PRIu64 " %" PRIu64 " %u %s\n", guest->model, max, ns, warm, guest->file);
	failed = ferror(file);
	failed |= fclose(file) != 0;
	return failed || rename(part, path) < 0 ? error_set(error, -EIO, "%s: cannot write", path) : 0;
}

/* Its line about that turn. */
static int read_turn(struct bench_job *job, struct guest *guest, uint64_t max, uint64_t *samples, uint64_t *ret_n,
		     struct error *error)
{
	char *line = malloc(BENCH_TURN_SAMPLES * 24), *word, *rest = NULL;
	uint64_t numbers[5] = { 0 }, n = 0;
	int r = line ? expect_line(guest, line, BENCH_TURN_SAMPLES * 24, error) : -ENOMEM;

	for (word = r == 0 ? strtok_r(line, " ", &rest) : NULL; word; word = strtok_r(NULL, " ", &rest), n++) {
		uint64_t number = strtoull(word, NULL, 10);

		if (n < ARRAY_SIZE(numbers))
			numbers[n] = number;
		else if (n - ARRAY_SIZE(numbers) < max)
			samples[n - ARRAY_SIZE(numbers)] = number;
	}
	free(line);
	if (r < 0)
		return r;
	if (n <= ARRAY_SIZE(numbers) || n - ARRAY_SIZE(numbers) > max || numbers[0] != guest->turns)
		return error_set(error, -EBADMSG, "the guest's line about turn %u is no such line", guest->turns);
	guest->turns++;
	*ret_n = n - ARRAY_SIZE(numbers);
	job->answer = numbers[1] + 1;
	job->parts.decode_ns += numbers[2];
	job->parts.prepare_ns += numbers[3];
	job->parts.run_ns += numbers[4];
	job->parts.n += *ret_n;
	return 0;
}

static int turn(struct bench_job *job, uint64_t max, uint64_t turn_ns, uint64_t *samples, struct bench_turn *ret_turn,
		struct error *error)
{
	struct guest *guest = job->other_state;
	uint64_t n = 0;
	int r = order(guest, max, turn_ns, job->bench->warm, error);

	if (r == 0)
		r = read_turn(job, guest, max, samples, &n, error);
	*ret_turn = (struct bench_turn){ .n = n, .n_ops = n, .n_warm = job->bench->warm };
	for (uint64_t i = 0; i < n; i++)
		ret_turn->elapsed_ns += samples[i];
	return r;
}

static int prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	struct guest *guest = job->other_state;

	snprintf(guest->model, sizeof(guest->model), "%s", job->variant);
	return bench_picture_file(size, guest->file, sizeof(guest->file), error);
}

static int once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	uint64_t n;
	int r = order(job->other_state, 1, 0, 0, error);

	return r < 0 ? r : read_turn(job, job->other_state, 1, ret_ns, &n, error);
}

/* Each answer was compared with the first in the guest, and the first is with those of the other sides. */
static int check(struct bench_job *job, struct error *error)
{
	return job->answer ? 0 : error_set(error, -EBADMSG, "there is no answer");
}

const struct bench_task bench_guest = {
	.open = open_guest,
	.prepare = prepare,
	.turn = turn,
	.once = once,
	.check = check,
	.close = close_guest,
};
