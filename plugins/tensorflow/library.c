/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TensorFlow's library: found, opened, its functions looked up.
 *
 * While it is opened it ends the process when it was built for processors that have more than this one. So on a processor
 * that lacks what builds for x86-64 commonly want, another process tries first.
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tensorflow.h"

#define FRAMEWORK "libtensorflow_framework.so.2"

enum { PROBE_SECONDS = 120 };

struct tf_api tf;

#define TF_NAME(name_) { "TF_" #name_, offsetof(struct tf_api, name_) },
static const struct {
	const char *name;
	size_t at;
} functions[] = { TF_FUNCTIONS(TF_NAME) };

/* The smaller half, in which the log is. It lies beside the other; NULL where it is not a file of its own. */
static void *open_framework(const char *path)
{
	const char *slash = strrchr(path, '/');
	char beside[4096];

	snprintf(beside, sizeof(beside), "%.*s" FRAMEWORK, slash ? (int)(slash + 1 - path) : 0, path);
	return dlopen(beside, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

static bool processor_is_common(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
	return true;
#endif
}

/* Opens it in a process of its own, that says nothing. 0, or how it ended. */
static int probe(const char *path)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		static const int signals[] = { SIGABRT, SIGILL, SIGSEGV, SIGBUS };
		size_t i;

		for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
			signal(signals[i], SIG_DFL);
		alarm(PROBE_SECONDS);
		if (!freopen("/dev/null", "w", stderr))
			_exit(0);
		dlopen(path, RTLD_NOW | RTLD_LOCAL);
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 0;
	return pid > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static int look_up(void *library, const char *path, const struct vaccel_plugin_report *report)
{
	size_t i;

	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		void **at = (void **)((char *)&tf + functions[i].at);

		*at = dlsym(library, functions[i].name);
		if (!*at)
			return vaccel_plugin_error(report, -ENOEXEC, "tensorflow: %s has no %s()", path,
						   functions[i].name);
	}
	return 0;
}

int tf_library_open(const char *path, enum tf_probe when, tf_log log, enum tf_severity least,
		    const struct vaccel_plugin_report *report)
{
	void *library, *framework;
	int number;

	if (!path)
		path = TENSORFLOW_LIBRARY;
	if (when == TF_PROBE_ALWAYS || !processor_is_common()) {
		number = probe(path);
		if (number)
			return vaccel_plugin_error(
				report, -ENOEXEC,
				"tensorflow: %s cannot be used on this processor: opening it ends with '%s'", path,
				strsignal(number));
	}
	tf_log_catch();
	framework = open_framework(path);
	tf_log_begin(framework, log, least);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!library)
		return vaccel_plugin_error(report, -ENOENT, "tensorflow: cannot open TensorFlow's library: %s",
					   dlerror());
	return look_up(library, path, report);
}
