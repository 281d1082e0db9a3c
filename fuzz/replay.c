/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay FILE|FOLDER...: runs a fuzz target once for each file, as libFuzzer would, in builds without it. Says which file
 * is running only when it crashes. Exits with 77 when there is no file at all.
 */
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static char current[4096];
static unsigned int n_run;

/* Only what is safe in a signal handler. */
static void say_where(int number)
{
	static const char text[] = "crashed while it ran ";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0 || write(STDERR_FILENO, current, strlen(current)) < 0 ||
	    write(STDERR_FILENO, "\n", 1) < 0)
		_exit(1);
	signal(number, SIG_DFL);
	raise(number);
}

static int run_file(const char *path)
{
	FILE *file = fopen(path, "re");
	uint8_t *bytes = malloc(1u << 20), *exact;
	size_t n;

	if (!file || !bytes) {
		fprintf(stderr, "%s: cannot read it\n", path);
		free(bytes);
		if (file)
			fclose(file);
		return 1;
	}
	n = fread(bytes, 1, 1u << 20, file);
	fclose(file);
	/* As long as it is, so that a sanitizer sees who reads past its end. */
	exact = malloc(n ? n : 1);
	if (exact && n)
		memcpy(exact, bytes, n);
	free(bytes);
	snprintf(current, sizeof(current), "%s", path);
	if (exact)
		LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	n_run++;
	return 0;
}

static int run_path(const char *path)
{
	struct dirent *entry;
	struct stat st;
	DIR *dir;
	int r = 0;

	if (stat(path, &st) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		return run_file(path);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		char name[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		r |= run_path(name);
	}
	if (dir)
		closedir(dir);
	return r;
}

int main(int argc, char **argv)
{
	int r = 0;

	signal(SIGABRT, say_where);
	signal(SIGSEGV, say_where);
	signal(SIGBUS, say_where);
	for (int i = 1; i < argc; i++)
		r |= run_path(argv[i]);
	if (!n_run) {
		fprintf(stderr, "skipped: there is no input\n");
		return 77;
	}
	printf("%u inputs\n", n_run);
	return r;
}
