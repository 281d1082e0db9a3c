/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin opencl: what it declares, its configuration, its start. See opencl.h for the parts and their rules.
 *
 * Drivers keep compiled kernels in folders that environment variables name, and read these when they start, so ready()
 * sets them before its first OpenCL call. A process that has used OpenCL before keeps the folders that it had then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include "opencl.h"

static struct {
	/* From load() and config(). */
	char *cache_dir, *platform, *device, *binary;
	unsigned int threads;
	cl_device_type type;
	bool cache;
	enum { MEMORY_AUTO, MEMORY_MAP, MEMORY_COPY } memory;
	void (*log)(int priority, const char *text);

	/* From ready(). */
	struct ocl ocl;
	char hardware[320];
} state;

/* ---- Sessions ---- */

int ocl_session_new(struct ocl *ocl, struct ocl_session **ret_session, struct vaccel_plugin_report *report)
{
	struct ocl_session *session = calloc(1, sizeof(*session));
	cl_int status = CL_SUCCESS;

	if (!session)
		return vaccel_plugin_error(report, -ENOMEM, "opencl: no memory for a session");
	session->ocl = ocl;
	session->queue = clCreateCommandQueue(ocl->context, ocl->device.id, 0, &status);
	if (!session->queue || status != CL_SUCCESS) {
		free(session);
		return ocl_error(report, status, "no command queue on %s", ocl->device.name);
	}
	*ret_session = session;
	return 0;
}

void ocl_session_free(struct ocl_session *session)
{
	size_t i;

	if (!session)
		return;
	for (i = 0; i < OCL_N_PRECISIONS; i++)
		if (session->kernels[i])
			clReleaseKernel(session->kernels[i]);
	for (i = 0; i < sizeof(session->staging) / sizeof(session->staging[0]); i++)
		if (session->staging[i].mem)
			clReleaseMemObject(session->staging[i].mem);
	clReleaseCommandQueue(session->queue);
	free(session);
}

static int open_session(void **ret_session, struct vaccel_plugin_report *report)
{
	struct ocl_session *session = NULL;
	int r = ocl_session_new(&state.ocl, &session, report);

	if (!r)
		*ret_session = session;
	return r;
}

static void close_session(void *session)
{
	ocl_session_free(session);
}

/* ---- Configuration ---- */

static int replace(char **string, const char *value, struct vaccel_plugin_report *report)
{
	char *copy = *value ? strdup(value) : NULL;

	if (*value && !copy)
		return vaccel_plugin_error(report, -ENOMEM, "opencl: no memory");
	free(*string);
	*string = copy;
	return 0;
}

/* The index of value among the words; -EINVAL with a report otherwise. */
static int choose(const char *key, const char *value, const char *const *words, struct vaccel_plugin_report *report)
{
	int i;

	for (i = 0; words[i]; i++)
		if (!strcmp(words[i], value))
			return i;
	return vaccel_plugin_error(report, -EINVAL, "opencl: %s = '%s' is none of its values", key, value);
}

static int config(const char *key, const char *value, struct vaccel_plugin_report *report)
{
	static const char *const switches[] = { "off", "on", NULL }, *const memories[] = { "auto", "map", "copy",
											   NULL };
	int r;

	if (!strcmp(key, "platform"))
		return replace(&state.platform, value, report);
	if (!strcmp(key, "device"))
		return replace(&state.device, value, report);
	if (!strcmp(key, "binary"))
		return replace(&state.binary, value, report);
	if (!strcmp(key, "type")) {
		if (ocl_type_parse(value, &state.type) < 0)
			return vaccel_plugin_error(report, -EINVAL, "opencl: type = '%s' is none of its values", value);
		return 0;
	}
	if (!strcmp(key, "cache")) {
		r = choose(key, value, switches, report);
		state.cache = r > 0;
		return r < 0 ? r : 0;
	}
	if (!strcmp(key, "memory")) {
		r = choose(key, value, memories, report);
		if (r >= 0)
			state.memory = r;
		return r < 0 ? r : 0;
	}
	return vaccel_plugin_error(report, -EINVAL, "opencl: unknown key '%s'", key);
}

/* ---- Start and end ---- */

static int load(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report)
{
	state.type = CL_DEVICE_TYPE_ALL;
	state.cache = true;
	state.threads = host->threads;
	state.log = host->log;
	return host->cache_dir ? replace(&state.cache_dir, host->cache_dir, report) : 0;
}

/* Tells drivers where to keep compiled kernels, and PoCL how many threads it may use. */
static int set_environment(struct vaccel_plugin_report *report)
{
	static const char *const folders[] = {
		"POCL_CACHE_DIR",			 /* PoCL */
		"CUDA_CACHE_PATH",			 /* NVIDIA */
		"NEO_CACHE_DIR",	 "cl_cache_dir", /* Intel, new and old */
		"MESA_SHADER_CACHE_DIR", "AMD_COMGR_CACHE_DIR",
	};
	static const struct {
		const char *name, *off, *on;
	} switches[] = {
		{ "POCL_KERNEL_CACHE", "0", "1" },    { "CUDA_CACHE_DISABLE", "1", "0" },
		{ "NEO_CACHE_PERSISTENT", "0", "1" }, { "MESA_SHADER_CACHE_DISABLE", "true", "false" },
		{ "AMD_COMGR_CACHE", "0", "1" },
	};
	char threads[16];
	size_t i;
	int r = 0;

	for (i = 0; state.cache_dir && i < sizeof(folders) / sizeof(folders[0]); i++)
		r |= setenv(folders[i], state.cache_dir, 1);
	for (i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
		r |= setenv(switches[i].name, state.cache ? switches[i].on : switches[i].off, 1);
	if (state.threads) {
		snprintf(threads, sizeof(threads), "%u", state.threads);
		r |= setenv("POCL_MAX_PTHREAD_COUNT", threads, 1);
		r |= setenv("POCL_CPU_MAX_CU_COUNT", threads, 1);
	}
	return r ? vaccel_plugin_error(report, -ENOMEM, "opencl: no memory for the environment") : 0;
}

static void say(const char *what, double seconds)
{
	char text[512];

	if (!state.log)
		return;
	snprintf(text, sizeof(text), "opencl: %s: %s in %.2f s", state.hardware, what, seconds);
	state.log(LOG_INFO, text);
}

static double now(void)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Short, for it travels to guests in a field of 64 bytes; PoCL's own name for itself would fill half of that. */
static void describe(const struct ocl *ocl)
{
	const char *platform = ocl->device.platform_name;

	if (!strcmp(platform, "Portable Computing Language"))
		platform = "PoCL";
	snprintf(state.hardware, sizeof(state.hardware), "%s (%s, %s%s)", ocl->device.name, platform,
		 ocl->prebuilt_only ? "pre-built" : "CLBlast", ocl->in_place ? "" : ", copying");
}

static int start(struct ocl *ocl, struct vaccel_plugin_report *report)
{
	const struct ocl_choice choice = { .platform = state.platform, .device = state.device, .type = state.type };
	cl_int status = CL_SUCCESS;
	int r;

	r = ocl_device_choose(&choice, &ocl->device, report);
	if (r < 0)
		return r;
	if (state.memory == MEMORY_MAP && !ocl->device.unified)
		return vaccel_plugin_error(report, -EINVAL,
					   "opencl: memory = map, but %s does not share the host's memory",
					   ocl->device.name);
	ocl->in_place = ocl->device.unified && state.memory != MEMORY_COPY;
	ocl->context = clCreateContext(NULL, 1, &ocl->device.id, NULL, NULL, &status);
	if (!ocl->context || status != CL_SUCCESS)
		return ocl_error(report, status, "no context on %s", ocl->device.name);
	ocl->prebuilt_only = state.binary != NULL;
	r = state.binary ? ocl_prebuilt_load(ocl->context, &ocl->device, state.binary, ocl->prebuilt, report) : 0;
	if (r < 0)
		return r;
	describe(ocl);
	r = ocl->prebuilt_only ? 0 : ocl_tune(&ocl->device, report);
	return r < 0 ? r : ocl_warm_up(ocl, report);
}

static void stop(struct ocl *ocl)
{
	ocl_registered_drop(ocl, 0);
	ocl_prebuilt_fini(ocl->prebuilt);
	if (ocl->context)
		clReleaseContext(ocl->context);
	ocl->context = NULL;
}

static int ready(struct vaccel_plugin_report *report)
{
	const double begin = now();
	int r;

	pthread_mutex_init(&state.ocl.lock, NULL);
	r = set_environment(report);
	if (!r)
		r = start(&state.ocl, report);
	if (r < 0)
		stop(&state.ocl);
	else
		say("kernels ready", now() - begin);
	return r;
}

static void unload(void)
{
	stop(&state.ocl);
	free(state.cache_dir);
	free(state.platform);
	free(state.device);
	free(state.binary);
	memset(&state, 0, sizeof(state));
}

static const char *hardware(void)
{
	return state.hardware;
}

static void buffer_gone(uint64_t buffer)
{
	if (buffer)
		ocl_registered_drop(&state.ocl, buffer);
}

static const struct vaccel_plugin_key keys[] = {
	{ "platform", "OpenCL platform: part of its name, or its index; default: any" },
	{ "device",
	  "device: part of its name, or its index among those of that platform and type; default: the first" },
	{ "type", "kind of device: gpu, accelerator, cpu or any (in this order of preference); default: any" },
	{ "binary", "files with pre-built programs, parted by colons, whose kernels replace CLBlast; default: none" },
	{ "memory",
	  "auto, map (use the caller's memory in place) or copy; default: auto (in place where it is shared)" },
	{ "cache", "on: keep compiled kernels in the plugin's cache folder; off: compile at each start; default: on" },
};

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(SGEMM, ocl_sgemm),
	VACCEL_IMPL(DGEMM, ocl_dgemm),
};

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "opencl",
	.version = VACCEL_BUILD_VERSION,
	.description = "SGEMM and DGEMM on an OpenCL device with CLBlast or pre-built kernels",
	.threads = VACCEL_THREADS_PER_SESSION,
	.needs = VACCEL_NEED_CACHE | VACCEL_NEED_DEVICE | VACCEL_NEED_SPAWN,
	.keys = keys,
	.n_keys = sizeof(keys) / sizeof(keys[0]),
	.ops = ops,
	.n_ops = sizeof(ops) / sizeof(ops[0]),
	.load = load,
	.config = config,
	.ready = ready,
	.open = open_session,
	.close = close_session,
	.unload = unload,
	.hardware = hardware,
	.buffer_gone = buffer_gone,
};
VACCEL_PLUGIN(plugin);
