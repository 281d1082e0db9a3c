/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Draws a bench's result with gnuplot: a program of its own, that gets its script through a pipe. Lines over the sizes
 * where there are several, bars otherwise.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "bench/bench.h"

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

static double number_at(struct json_object *row, const char *key)
{
	return json_object_get_double(json_object_object_get(row, key));
}

/* A line: rows of a side, and of a variant where the bench has those. */
struct series {
	const char *variant;
	const char *side;
	size_t n; /* rows */
	bool compared;
};

/* Lines that share axes: those of a variant and a group of sides, where the result has panels; else all. */
struct panel {
	const char *variant, *group;
};

struct all_series {
	size_t n;
	struct series series[BENCH_MAX_SIDES * BENCH_MAX_VARIANTS];
};

static bool belongs(struct json_object *result, struct json_object *row, const struct series *series)
{
	return !strcmp(text_at(row, NULL, "side"), series->side) &&
	       !strcmp(text_at(row, NULL, text_at(result, NULL, "variant_key")), series->variant);
}

static void add_to_series(struct all_series *all, struct json_object *result, struct json_object *row)
{
	struct series *series = all->series;

	while (series < all->series + all->n && !belongs(result, row, series))
		series++;
	if (series == all->series + ARRAY_SIZE(all->series))
		return;
	if (series == all->series + all->n) {
		all->n++;
		*series = (struct series){ .variant = text_at(row, NULL, text_at(result, NULL, "variant_key")),
					   .side = text_at(row, NULL, "side") };
	}
	series->n++;
	series->compared |= json_object_object_get(row, "over_base") != NULL;
}

/* Those that are lines; a side with one size among others with several is none. */
static void find_series(struct all_series *all, struct json_object *result)
{
	struct json_object *rows = json_object_object_get(result, "rows");
	size_t n = 0;

	all->n = 0;
	for (size_t i = 0; i < json_object_array_length(rows); i++)
		add_to_series(all, result, json_object_array_get_idx(rows, i));
	for (size_t i = 0; i < all->n; i++)
		if (all->series[i].n > 1)
			all->series[n++] = all->series[i];
	all->n = n;
}

/* Its rows over their sizes: value, and how much more than the base they took. */
static void put_line_data(FILE *script, struct json_object *result, size_t index, const struct series *series)
{
	struct json_object *rows = json_object_object_get(result, "rows");

	fprintf(script, "$side%zu << END\n", index);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		if (belongs(result, row, series))
			fprintf(script, "%.17g %.17g %.17g\n", number_at(row, text_at(result, NULL, "key")),
				number_at(row, text_at(result, NULL, "value")),
				(number_at(row, "over_base") - 1) * 100);
	}
	fputs("END\n", script);
}

static void put_plot_of_side(FILE *script, size_t index, const struct series *series)
{
	char title[160];

	snprintf(title, sizeof(title), "%.60s%s%.60s", series->variant, *series->variant ? ", " : "", series->side);
	fprintf(script, "%s$side%zu using 1:2 with linespoints lw 2 lc %zu title ", index ? ", " : "plot ", index,
		index + 1);
	put_string(script, title);
	if (series->compared) {
		fprintf(script, ", $side%zu using 1:3 axes x1y2 with linespoints dt 2 lc %zu title ", index, index + 1);
		strcat(title, ": overhead %");
		put_string(script, title);
	}
}

/* The value over the sizes, one line for each side; overheads belong to the axis on the right. */
static void put_lines(FILE *script, struct json_object *result)
{
	struct all_series all;
	bool any = false;

	find_series(&all, result);
	for (size_t i = 0; i < all.n; i++) {
		any |= all.series[i].compared;
		put_line_data(script, result, i, &all.series[i]);
	}
	fputs("set logscale x 2\nset format x '%.0f'\nset yrange [0:*]\nset xlabel ", script);
	put_string(script, text_at(result, NULL, "key"));
	fputs("\nset ylabel ", script);
	put_string(script, text_at(result, NULL, "value_title"));
	putc('\n', script);
	if (any)
		fputs("set y2label 'overhead %'\nset y2range [*<0:1<*]\nset y2tics\nset ytics nomirror\n", script);
	for (size_t i = 0; i < all.n; i++)
		put_plot_of_side(script, i, &all.series[i]);
	putc('\n', script);
}

/* ---- panels ---- */

#define MAX_PANELS   16
#define PANEL_HEIGHT 360
#define PANEL_WIDTH  600

/* The group of a side of that name. */
static const char *group_of(struct json_object *result, const char *side)
{
	struct json_object *sides = json_object_object_get(result, "sides");

	for (size_t i = 0; i < json_object_array_length(sides); i++) {
		struct json_object *object = json_object_array_get_idx(sides, i);

		if (!strcmp(text_at(object, NULL, "name"), side))
			return text_at(object, NULL, "group");
	}
	return "";
}

static bool on_panel(struct json_object *result, const struct series *series, const struct panel *panel)
{
	return !strcmp(series->variant, panel->variant) && !strcmp(group_of(result, series->side), panel->group);
}

/* In the order in which groups begin; of each all variants. */
static size_t find_panels(struct json_object *result, const struct all_series *all, struct panel *panels)
{
	size_t n = 0;

	for (size_t i = 0; i < all->n; i++) {
		const char *group = group_of(result, all->series[i].side);
		bool begins = true;

		for (size_t j = 0; j < i; j++)
			begins = begins && strcmp(group_of(result, all->series[j].side), group) != 0;
		for (size_t j = 0; begins && j < all->n && n < MAX_PANELS; j++) {
			struct panel panel = { .variant = all->series[j].variant, .group = group };
			bool there = !on_panel(result, &all->series[j], &panel);

			for (size_t k = 0; k < n; k++)
				there = there ||
					(!strcmp(panels[k].variant, panel.variant) && !strcmp(panels[k].group, group));
			if (!there)
				panels[n++] = panel;
		}
	}
	return n;
}

static size_t count_variants(const struct panel *panels, size_t n)
{
	size_t variants = 0;

	while (variants < n && !strcmp(panels[variants].group, panels[0].group))
		variants++;
	return MAX(variants, 1);
}

static void put_panel(FILE *script, struct json_object *result, const struct all_series *all, const struct panel *panel)
{
	const char *separator = "plot ";
	char title[160];

	snprintf(title, sizeof(title), "%.60s, %.90s", panel->variant, panel->group);
	fputs("set title ", script);
	put_string(script, title);
	putc('\n', script);
	for (size_t i = 0; i < all->n; i++) {
		if (!on_panel(result, &all->series[i], panel))
			continue;
		fprintf(script, "%s$side%zu using 1:2 with linespoints lw 2 title ", separator, i);
		put_string(script, all->series[i].side);
		separator = ", ";
	}
	putc('\n', script);
}

/* A column for each variant, a row for each group of sides; both axes logarithmic. */
static void put_panels(FILE *script, struct json_object *result)
{
	struct panel panels[MAX_PANELS];
	struct all_series all;
	size_t n, columns;

	find_series(&all, result);
	n = find_panels(result, &all, panels);
	columns = count_variants(panels, n);
	for (size_t i = 0; i < all.n; i++)
		put_line_data(script, result, i, &all.series[i]);
	fprintf(script,
		"set multiplot layout %zu,%zu\nset logscale x 2\nset logscale y\nset format x '%%.0f'\n"
		"set xtics rotate by -30 font ',9'\nset key bottom right font ',9'\nset xlabel ",
		MAX((n + columns - 1) / columns, 1), columns);
	put_string(script, text_at(result, NULL, "key"));
	fputs("\nset ylabel ", script);
	put_string(script, text_at(result, NULL, "value_title"));
	putc('\n', script);
	for (size_t i = 0; i < n; i++)
		put_panel(script, result, &all, &panels[i]);
	fputs("unset multiplot\n", script);
}

/* As large as the panels need. */
static void panels_size(struct json_object *result, unsigned int *ret_width, unsigned int *ret_height)
{
	struct panel panels[MAX_PANELS];
	struct all_series all;
	size_t n, columns;

	find_series(&all, result);
	n = find_panels(result, &all, panels);
	columns = count_variants(panels, n);
	*ret_width = (unsigned int)columns * PANEL_WIDTH;
	*ret_height = (unsigned int)MAX((n + columns - 1) / columns, 1) * PANEL_HEIGHT;
}

/* Median and 99th percentile of each row, side by side. */
static void put_bars(FILE *script, struct json_object *result)
{
	struct json_object *rows = json_object_object_get(result, "rows");

	fputs("$rows << END\n", script);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		char name[160] = "", *c;

		snprintf(name, sizeof(name), "%s", text_at(row, NULL, "side"));
		for (c = name; *c; c++)
			if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
				*c = ' ';
		fprintf(script, "\"%s\" %.17g %.17g\n", name, number_at(row, "median_ns") / 1e3,
			number_at(row, "p99_ns") / 1e3);
	}
	fputs("END\nset style data histogram\nset style fill solid 0.7\nset logscale y\nset ylabel 'us'\n"
	      "set xtics rotate by -20\nset rmargin 8\n"
	      "plot $rows using 2:xtic(1) title 'median', $rows using 3 title '99th percentile'\n",
	      script);
}

static bool several_sizes(struct json_object *result)
{
	struct json_object *rows = json_object_object_get(result, "rows");
	const char *key = text_at(result, NULL, "key");
	double first = 0;

	for (size_t i = 0; *key && i < json_object_array_length(rows); i++) {
		double size = number_at(json_object_array_get_idx(rows, i), key);

		if (i && (size < first || size > first))
			return true;
		first = size;
	}
	return false;
}

static void put_script(FILE *script, struct json_object *result, const char *file, bool svg)
{
	bool panels = json_object_get_boolean(json_object_object_get(result, "panels")) && several_sizes(result);
	unsigned int width = 900, height = 600;
	char title[512];

	if (panels)
		panels_size(result, &width, &height);
	/* A result may bring its own title; the demo's does. */
	if (*text_at(result, NULL, "title"))
		snprintf(title, sizeof(title), "%s", text_at(result, NULL, "title"));
	else
		snprintf(title, sizeof(title), "%s: %s", text_at(result, NULL, "bench"),
			 text_at(result, "where", "cpu"));
	fprintf(script, "set terminal %s size %u,%u noenhanced\nset output ", svg ? "svg" : "png", width, height);
	put_string(script, file);
	fputs("\nset title ", script);
	put_string(script, title);
	fputs("\nset grid\nset key below\n", script);
	if (panels)
		put_panels(script, result);
	else if (several_sizes(result))
		put_lines(script, result);
	else
		put_bars(script, result);
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

/* gnuplot does not notice that it could not write: a file that is whole has its format's end. */
static bool is_whole(const char *file, bool svg)
{
	const char *mark = svg ? "</svg>" : "IEND";
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
	char end[16];
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	ssize_t n = size < (off_t)sizeof(end) ? -1 : pread(fd, end, sizeof(end), size - (off_t)sizeof(end));

	return n > 0 && memmem(end, (size_t)n, mark, strlen(mark));
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
	if (!r && is_whole(file, svg))
		return CLI_OK;
	unlink(file);
	if (!r)
		return cli_fail(cli, CLI_FAILED, -EIO, "plot %s: cannot write: gnuplot left it incomplete: no space?",
				file);
	if (r == -ENOENT)
		return cli_fail(cli, CLI_FAILED, r,
				"plot %s: cannot draw: gnuplot is not installed (Debian package gnuplot-nox)", file);
	last_line(said, cause, sizeof(cause));
	return cli_fail(cli, CLI_FAILED, r, "plot %s: cannot draw: gnuplot failed: %s", file, cause);
}
