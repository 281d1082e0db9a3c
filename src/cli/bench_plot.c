/* SPDX-License-Identifier: Apache-2.0 */
/* Draws a bench's result with gnuplot: a program of its own, that gets its script through a pipe. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "cli/bench.h"

extern char **environ;

/* A string of gnuplot: single quotes are doubled, line ends and braces of its markup become spaces. */
static void put_string(FILE *script, const char *text)
{
	putc('\'', script);
	for (; *text; text++) {
		if (*text == '\'')
			putc('\'', script);
		putc((unsigned char)*text < ' ' ? ' ' : *text, script);
	}
	putc('\'', script);
}

static const char *text_at(struct json_object *result, const char *object, const char *key)
{
	struct json_object *at = object ? json_object_object_get(result, object) : result;
	const char *text = at ? json_object_get_string(json_object_object_get(at, key)) : NULL;

	return text ? text : "";
}

static void put_data(FILE *script, struct json_object *result, bool baseline)
{
	struct json_object *rows = json_object_object_get(result, "rows");
	const char *value = text_at(result, NULL, "value");

	fputs("$rows << END\n", script);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		fprintf(script, "%s %.17g",
			json_object_get_string(json_object_object_get(row, text_at(result, NULL, "key"))),
			json_object_get_double(json_object_object_get(json_object_object_get(row, "subject"), value)));
		if (baseline)
			fprintf(script, " %.17g %.17g",
				json_object_get_double(
					json_object_object_get(json_object_object_get(row, "baseline"), value)),
				json_object_get_double(json_object_object_get(row, "overhead_percent")));
		putc('\n', script);
	}
	fputs("END\n", script);
}

static void put_script(FILE *script, struct json_object *result, const char *file, bool svg)
{
	bool baseline = json_object_object_get(result, "baseline");
	char title[512];

	/* A result may bring its own title; the demo's does. */
	if (*text_at(result, NULL, "title"))
		snprintf(title, sizeof(title), "%s", text_at(result, NULL, "title"));
	else
		snprintf(title, sizeof(title), "%s: %s", text_at(result, NULL, "bench"),
			 text_at(result, "where", "cpu"));
	fprintf(script, "set terminal %s size 900,600 noenhanced\nset output ", svg ? "svg" : "png");
	put_string(script, file);
	fputs("\nset title ", script);
	put_string(script, title);
	fputs("\nset xlabel ", script);
	put_string(script, text_at(result, NULL, "key"));
	fputs("\nset ylabel ", script);
	put_string(script, text_at(result, NULL, "value_title"));
	fputs("\nset logscale x 2\nset yrange [0:*]\nset grid\nset key below\n", script);
	if (baseline)
		fputs("set y2label 'overhead %'\nset y2range [*<0:1<*]\nset y2tics\nset ytics nomirror\n", script);
	put_data(script, result, baseline);
	fputs("plot ", script);
	if (baseline) {
		fputs("$rows using 1:3 with linespoints lw 2 title ", script);
		put_string(script, text_at(result, "baseline", "label"));
		fputs(", ", script);
	}
	fputs("$rows using 1:2 with linespoints lw 2 title ", script);
	put_string(script, text_at(result, "subject", "label"));
	if (baseline)
		fputs(", $rows using 1:4 axes x1y2 with linespoints dt 2 title 'overhead %'", script);
	putc('\n', script);
}

/* Starts gnuplot with its standard input on a pipe and what it prints in the file said. */
static int start_gnuplot(int said, pid_t *ret_pid, int *ret_fd)
{
	static char name[] = "gnuplot";
	char *argv[] = { name, NULL };
	posix_spawn_file_actions_t actions;
	int fd[2], r;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	r = posix_spawn_file_actions_init(&actions);
	if (!r) {
		r = posix_spawn_file_actions_adddup2(&actions, fd[0], STDIN_FILENO);
		if (!r)
			r = posix_spawn_file_actions_adddup2(&actions, said, STDOUT_FILENO);
		if (!r)
			r = posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
		if (!r)
			r = posix_spawnp(ret_pid, name, &actions, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(fd[0]);
	if (r) {
		close(fd[1]);
		return -r;
	}
	*ret_fd = fd[1];
	return 0;
}

static int finish_gnuplot(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
}

static int draw(struct json_object *result, const char *file, bool svg, int said)
{
	FILE *script;
	pid_t pid;
	int fd = -1, r;
	bool failed;

	r = start_gnuplot(said, &pid, &fd);
	if (r < 0)
		return r;
	script = fdopen(fd, "w");
	if (!script) {
		r = -errno;
		close(fd);
		finish_gnuplot(pid);
		return r;
	}
	put_script(script, result, file, svg);
	failed = ferror(script);
	failed |= fclose(script) != 0;
	r = finish_gnuplot(pid);
	return r < 0 ? r : failed ? -EPIPE : 0;
}

/* The last line of what gnuplot printed: its warnings come first. */
static void last_line(int said, char *text, size_t len)
{
	char all[4096];
	ssize_t n = pread(said, all, sizeof(all) - 1, 0);
	char *line;

	all[n > 0 ? n : 0] = 0;
	while (n > 0 && (all[n - 1] == '\n' || all[n - 1] == ' '))
		all[--n] = 0;
	line = strrchr(all, '\n');
	line = line ? line + 1 : all;
	snprintf(text, len, "%.*s", (int)len - 1, *line ? line : "it does not say why");
}

int bench_plot(struct cli *cli, struct json_object *result, const char *file)
{
	const char *dot = strrchr(file, '.');
	bool svg = dot && !strcmp(dot, ".svg");
	_cleanup_close_ int said = -1;
	char cause[128];
	int fd, r;

	if (!svg && (!dot || strcmp(dot, ".png")))
		return cli_fail(cli, CLI_USAGE, -EINVAL, "plot %s: cannot draw: its name must end in .png or .svg",
				file);
	/* gnuplot's own message for a file that cannot be written names neither file nor cause. */
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return cli_fail(cli, CLI_FAILED, -errno, "plot %s: cannot write: %s", file, strerror(errno));
	close(fd);
	said = memfd_create("gnuplot", MFD_CLOEXEC);
	if (said < 0)
		return cli_fail(cli, CLI_FAILED, -errno, "plot %s: cannot draw: memfd: %s", file, strerror(errno));
	cli_unfinished_file(file);
	r = draw(result, file, svg, said);
	cli_keep_file();
	if (!r)
		return CLI_OK;
	unlink(file);
	if (r == -ENOENT)
		return cli_fail(cli, CLI_FAILED, r,
				"plot %s: cannot draw: gnuplot is not installed (Debian package gnuplot-nox)", file);
	last_line(said, cause, sizeof(cause));
	return cli_fail(cli, CLI_FAILED, r, "plot %s: cannot draw: gnuplot failed: %s", file, cause);
}
