/* SPDX-License-Identifier: Apache-2.0 */
/* Plugin tensorflow: declaration, configuration, start. See tensorflow.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <syslog.h>
#include "tensorflow.h"

enum { MAX_THREADS = 1024 };

static struct {
	struct tf_settings settings;
	tf_log log;
	char *library; /* NULL: the one that this was built for */
	enum tf_probe probe;
	enum tf_severity least;
	char hardware[96];
} state = { .least = TF_WARNING };

static int load(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report)
{
	state.log = host->log;
	state.settings.intra_threads = host->threads > MAX_THREADS ? MAX_THREADS : host->threads;
	state.settings.inter_threads = state.settings.intra_threads;
	return 0;
}

static int set_threads(unsigned int *ret, const char *key, const char *value, struct vaccel_plugin_report *report)
{
	char *end = NULL;
	long n;

	errno = 0;
	n = strtol(value, &end, 10);
	if (errno || end == value || *end || n < 0 || n > MAX_THREADS)
		return vaccel_plugin_error(report, -EINVAL, "tensorflow: %s = '%s' is not a number from 0 to %d", key,
					   value, MAX_THREADS);
	*ret = (unsigned int)n;
	return 0;
}

/* Index of value in the list, which NULL ends. */
static int set_choice(int *ret, const char *const *choices, const char *key, const char *value,
		      struct vaccel_plugin_report *report)
{
	int i;

	for (i = 0; choices[i]; i++)
		if (!strcmp(choices[i], value)) {
			*ret = i;
			return 0;
		}
	return vaccel_plugin_error(report, -EINVAL, "tensorflow: %s = '%s' is not known", key, value);
}

static int set_library(const char *value, struct vaccel_plugin_report *report)
{
	if (*value != '/')
		return vaccel_plugin_error(report, -EINVAL, "tensorflow: library = '%s' is no absolute path", value);
	free(state.library);
	state.library = strdup(value);
	return state.library ? 0 : vaccel_plugin_error(report, -ENOMEM, "tensorflow: no memory for the key library");
}

static int config(const char *key, const char *value, struct vaccel_plugin_report *report)
{
	static const char *const severities[] = { "info", "warning", "error", "fatal", NULL };
	static const char *const probes[] = { "auto", "always", NULL };
	int choice = 0, r;

	if (!strcmp(key, "intra_op_threads"))
		return set_threads(&state.settings.intra_threads, key, value, report);
	if (!strcmp(key, "inter_op_threads"))
		return set_threads(&state.settings.inter_threads, key, value, report);
	if (!strcmp(key, "library"))
		return set_library(value, report);
	if (!strcmp(key, "log")) {
		r = set_choice(&choice, severities, key, value, report);
		state.least = r ? state.least : (enum tf_severity)choice;
		return r;
	}
	if (!strcmp(key, "probe")) {
		r = set_choice(&choice, probes, key, value, report);
		state.probe = r ? state.probe : (enum tf_probe)choice;
		return r;
	}
	return vaccel_plugin_error(report, -EINVAL, "tensorflow: unknown key '%s'", key);
}

/* "TensorFlow 2.21.0 (CPU)", "TensorFlow 2.21.0 (2 GPU, CPU)": devices of a session that was made to be asked. */
static void describe(const TF_DeviceList *list)
{
	const int n = tf.DeviceListCount(list);
	TF_Status *status = tf.NewStatus();
	size_t used = (size_t)snprintf(state.hardware, sizeof(state.hardware), "TensorFlow %s (", tf.Version());
	const char *type, *seen;
	int i, j, same;

	for (i = n - 1; i >= 0 && used < sizeof(state.hardware); i--) {
		type = tf.DeviceListType(list, i, status);
		for (j = same = 0; type && j < n; j++) {
			seen = tf.DeviceListType(list, j, status);
			same += seen && !strcmp(seen, type);
			if (j > i && seen && !strcmp(seen, type))
				same = -n; /* told already */
		}
		if (same == 1)
			used += (size_t)snprintf(state.hardware + used, sizeof(state.hardware) - used, "%s%s",
						 i < n - 1 ? ", " : "", type);
		else if (same > 1)
			used += (size_t)snprintf(state.hardware + used, sizeof(state.hardware) - used, "%s%d %s",
						 i < n - 1 ? ", " : "", same, type);
	}
	if (used < sizeof(state.hardware))
		snprintf(state.hardware + used, sizeof(state.hardware) - used, ")");
	tf.DeleteStatus(status);
}

/* A first session: it starts TensorFlow's threads, in the numbers that are set, and knows the devices. */
static int find_devices(struct vaccel_plugin_report *report)
{
	TF_SessionOptions *options = tf_session_options(&state.settings);
	TF_Status *status = tf.NewStatus();
	TF_Graph *graph = tf.NewGraph();
	TF_DeviceList *list = NULL;
	TF_Session *session;
	int r = 0;

	session = options ? tf.NewSession(graph, options, status) : NULL;
	if (session)
		list = tf.SessionListDevices(session, status);
	if (list)
		describe(list);
	else
		r = options ? tf_error(report, status, "tensorflow: TensorFlow does not begin a session")
			    : vaccel_plugin_error(report, -EINVAL,
						  "tensorflow: TensorFlow does not take the numbers of threads");
	if (list)
		tf.DeleteDeviceList(list);
	if (session) {
		tf.CloseSession(session, status);
		tf.DeleteSession(session, status);
	}
	tf.DeleteGraph(graph);
	tf.DeleteStatus(status);
	if (options)
		tf.DeleteSessionOptions(options);
	return r;
}

/* TensorFlow makes code while models run, and where that is forbidden it crashes instead of saying so. */
static int check_may_make_code(const struct vaccel_plugin_report *report)
{
	const size_t page = 4096;
	void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r = memory == MAP_FAILED || mprotect(memory, page, PROT_READ | PROT_EXEC) < 0 ? -errno : 0;

	if (memory != MAP_FAILED)
		munmap(memory, page);
	return r ? vaccel_plugin_error(
			   report, r,
			   "tensorflow: makes code while models run, which this process may not: %s (a unit "
			   "needs MemoryDenyWriteExecute=no)",
			   strerror(-r))
		 : 0;
}

static int ready(struct vaccel_plugin_report *report)
{
	int r = check_may_make_code(report);

	if (r)
		return r;
	/* Before the log is taken, and where it cannot be. An administrator's own setting stays. */
	if (setenv("TF_CPP_MIN_LOG_LEVEL", "3", 0) < 0)
		return vaccel_plugin_error(report, -ENOMEM, "tensorflow: no memory for the environment");
	r = tf_library_open(state.library, state.probe, state.log, state.least, report);
	return r ? r : find_devices(report);
}

static void unload(void)
{
	tf_log_end();
	free(state.library);
	memset(&state, 0, sizeof(state));
	state.least = TF_WARNING;
}

static const char *hardware(void)
{
	return state.hardware;
}

/* ---- the framework ---- */

static int model_load(const struct vaccel_plugin_model *model, void **ret_model,
		      const struct vaccel_plugin_report *report)
{
	struct tf_model *loaded = NULL;
	int r = tf_model_new(&state.settings, model, &loaded, report);

	if (!r)
		*ret_model = loaded;
	return r;
}

static void model_unload(void *model)
{
	tf_model_free(model);
}

static int model_tensor(void *model, uint32_t dir, size_t index, struct vaccel_plugin_tensor *ret_tensor)
{
	const struct tf_model *m = model;
	const struct signature_list *list = dir == 1 ? &m->signature.inputs : &m->signature.outputs;

	if (index >= list->n)
		return -ENOENT;
	*ret_tensor = (struct vaccel_plugin_tensor){
		.name = list->tensors[index].name,
		.dtype = list->tensors[index].dtype,
		.rank = list->tensors[index].rank,
	};
	memcpy(ret_tensor->dims, list->tensors[index].dims, sizeof(ret_tensor->dims));
	return 0;
}

static const struct vaccel_plugin_framework framework = {
	.size = sizeof(framework),
	.name = "tensorflow",
	.model_load = model_load,
	.model_unload = model_unload,
	.model_tensor = model_tensor,
	.model_run = tf_model_run,
};

static const struct vaccel_plugin_key keys[] = {
	{ "intra_op_threads",
	  "threads that share one operation: 0 (as many as CPUs) to 1024; default: the daemon's setting" },
	{ "inter_op_threads",
	  "threads for operations that do not depend on each other: 0 (as many as CPUs) to 1024; default: likewise" },
	{ "library", "TensorFlow's library, an absolute path; default: the one that the plugin was built for" },
	{ "log",
	  "least severe message of TensorFlow's that is logged: info, warning, error or fatal; default: warning" },
	{ "probe", "always: open the library in a process of its own first, which may end; auto: on processors that "
		   "lack something; "
		   "default: auto" },
};

/* Its locks ask for the priority of their thread, oneDNN what system this is. */
static const char *const calls[] = {
	"sched_getparam",
	"sched_getscheduler",
	"uname",
};

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "tensorflow",
	.version = VACCEL_BUILD_VERSION,
	.description = "runs models with TensorFlow",
	.threads = VACCEL_THREADS_ANY,
	.needs = VACCEL_NEED_MODELS,
	.keys = keys,
	.n_keys = sizeof(keys) / sizeof(keys[0]),
	.load = load,
	.config = config,
	.ready = ready,
	.unload = unload,
	.hardware = hardware,
	.calls = calls,
	.n_calls = sizeof(calls) / sizeof(calls[0]),
	.framework = &framework,
};
VACCEL_PLUGIN(plugin);
