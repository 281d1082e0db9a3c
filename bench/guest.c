/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sides that measure in a guest: the measuring process starts tools/guest with daemons' devices and bench-inside (inside.c),
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

#include "bench/guest.h"

#define MODULE_MAX 1024

struct guest {
	pid_t pid;
	FILE *said;
	char tmp[256]; /* folder of tools/guest's */
	char share[512];
	unsigned int orders;
	/* What sides do, those that are prepared. */
	struct {
		const struct bench_side *side;
		char words[BENCH_GUEST_WORDS];
	} plans[BENCH_MAX_SIDES];
};

/* What it has said next; an error if that is no line, or a complaint. -EOPNOTSUPP: it has not what it takes. */
static int expect_line(struct guest *guest, char *line, size_t len, struct error *error)
{
	if (!fgets(line, (int)len, guest->said))
		return error_set(error, -EIO, "the guest has ended, see above");
	line[strcspn(line, "\n")] = 0;
	if (line[0] == '-')
		return error_set(error, -EOPNOTSUPP, "%.*s", ERROR_TEXT - 1, line + 2);
	return line[0] == '!' ? error_set(error, -EIO, "in the guest: %.*s", ERROR_TEXT - 16, line + 2) : 0;
}

/* tools/module prints where the driver is, tools/guest what a guest is. */
static int prepare_guest(struct bench_job *job, const char *kind, char *tool, size_t tool_len, char *module,
			 struct error *error)
{
	char kind_option[32], kernel[32], builder[4096];
	char *prepare[] = { tool, kind_option, (char *)"--describe", NULL };
	char *build[] = { builder, kernel, NULL };
	int r = bench_script_find("tools/guest", tool, tool_len, error);

	snprintf(kind_option, sizeof(kind_option), "--kind=%s", kind);
	snprintf(kernel, sizeof(kernel), "--kernel=%s", strcmp(kind, "uml") ? "debian" : "uml");
	if (r == 0)
		r = bench_script_find("tools/module", builder, sizeof(builder), error);
	if (r == 0)
		r = bench_script_run(prepare, job->about, sizeof(job->about), error);
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
	char crypto[160] = "--timeout=0";
	char *argv[] = { tool,
			 kind,
			 (char *)"--timeout=0",
			 crypto,
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
	if (job->crypto_url)
		snprintf(crypto, sizeof(crypto), "--crypto=%s", job->crypto_url + strlen("shm:"));
	r = prepare_guest(job, job->side->guest, tool, sizeof(tool), module, error);
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

void bench_guest_close(struct bench_job *job)
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

int bench_guest_open(struct bench_job *job, struct error *error)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	int r;

	if (!guest)
		return error_set(error, -ENOMEM, "out of memory");
	job->other_state = guest;
	r = start_guest(job, guest, error);
	job->client = guest->pid;
	if (r < 0)
		bench_guest_close(job);
	return r;
}

/* The words of the job's side; without any yet those of a free row, which becomes its own. */
static char *words_of(const struct bench_job *job)
{
	struct guest *guest = job->other_state;
	size_t found = ARRAY_SIZE(guest->plans);

	for (size_t i = 0; i < ARRAY_SIZE(guest->plans); i++) {
		if (guest->plans[i].side == job->side)
			return guest->plans[i].words;
		if (!guest->plans[i].side && found == ARRAY_SIZE(guest->plans))
			found = i;
	}
	/* There are as many rows as sides. */
	guest->plans[found].side = job->side;
	return guest->plans[found].words;
}

static void forget(struct bench_job *job)
{
	struct guest *guest = job->other_state;

	for (size_t i = 0; i < ARRAY_SIZE(guest->plans); i++)
		if (guest->plans[i].side == job->side)
			guest->plans[i].side = NULL;
}

/* Tells it what to do, in one step: a file that is there is whole. */
static int order(const struct bench_job *job, const char *command, uint64_t max, uint64_t ns, struct error *error)
{
	const struct guest *guest = job->other_state;
	char part[600], path[600];
	FILE *file;
	bool failed;

	snprintf(part, sizeof(part), "%s/part", guest->share);
	snprintf(path, sizeof(path), "%s/go.%u", guest->share, guest->orders);
	file = fopen(part, "we");
	if (!file)
		return error_set(error, -errno, "%s: cannot write: %s", part, strerror(errno));
	fprintf(file, "%s %" PRIu64 " %" PRIu64 " %u %s\n", command, max, ns, max > 1 ? job->bench->warm : 0,
		words_of(job));
	failed = ferror(file);
	failed |= fclose(file) != 0;
	return failed || rename(part, path) < 0 ? error_set(error, -EIO, "%s: cannot write", path) : 0;
}

/* Its line about that. */
static int read_answer(struct bench_job *job, uint64_t max, uint64_t *samples, struct bench_turn *ret_turn,
		       struct error *error)
{
	char *line = malloc(BENCH_TURN_SAMPLES * 24), *word, *rest = NULL;
	struct guest *guest = job->other_state;
	uint64_t numbers[8] = { 0 }, n = 0;
	int r = line ? expect_line(guest, line, BENCH_TURN_SAMPLES * 24, error) : -ENOMEM;

	for (word = r == 0 ? strtok_r(line, " ", &rest) : NULL; word; word = strtok_r(NULL, " ", &rest), n++) {
		uint64_t number = strtoull(word, NULL, 10);

		if (n < ARRAY_SIZE(numbers))
			numbers[n] = number;
		else if (n - ARRAY_SIZE(numbers) < max)
			samples[n - ARRAY_SIZE(numbers)] = number;
	}
	free(line);
	if (r == -EOPNOTSUPP)
		guest->orders++;
	if (r < 0)
		return r;
	if (n < ARRAY_SIZE(numbers) || n - ARRAY_SIZE(numbers) > max || numbers[0] != guest->orders)
		return error_set(error, -EBADMSG, "the guest's line about order %u is no such line", guest->orders);
	guest->orders++;
	n -= ARRAY_SIZE(numbers);
	*ret_turn = (struct bench_turn){ .n = n, .n_ops = numbers[2], .n_warm = numbers[3], .elapsed_ns = numbers[4] };
	job->answer = numbers[1];
	job->parts.decode_ns += numbers[5];
	job->parts.prepare_ns += numbers[6];
	job->parts.run_ns += numbers[7];
	job->parts.n += n;
	return 0;
}

static int do_order(struct bench_job *job, const char *command, uint64_t max, uint64_t ns, uint64_t *samples,
		    struct bench_turn *ret_turn, struct error *error)
{
	int r = order(job, command, max, ns, error);

	return r < 0 ? r : read_answer(job, max, samples, ret_turn, error);
}

int bench_guest_turn(struct bench_job *job, uint64_t max, uint64_t turn_ns, uint64_t *samples,
		     struct bench_turn *ret_turn, struct error *error)
{
	return do_order(job, "turn", max, turn_ns, samples, ret_turn, error);
}

int bench_guest_prepare(struct bench_job *job, const char *words, struct error *error)
{
	struct bench_turn none;
	int r;

	snprintf(words_of(job), BENCH_GUEST_WORDS, "%s", words);
	r = do_order(job, "prepare", 0, 0, NULL, &none, error);
	if (r < 0)
		forget(job);
	return r;
}

int bench_guest_once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	struct bench_turn turn;

	return do_order(job, "turn", 1, 0, ret_ns, &turn, error);
}

/* The guest compares all, as far as it can; and what it answers is compared with what the other sides do. */
int bench_guest_check(struct bench_job *job, struct error *error)
{
	struct bench_turn none;
	int r = do_order(job, "check", 0, 0, NULL, &none, error);

	if (r < 0)
		return r;
	return job->answer ? 0 : error_set(error, -EBADMSG, "there is no answer");
}

void bench_guest_finish(struct bench_job *job)
{
	struct bench_turn none;
	struct error error;

	do_order(job, "finish", 0, 0, NULL, &none, &error);
	forget(job);
}
