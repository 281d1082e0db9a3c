/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's files: two layers of Landlock, see sandbox.h. A layer can only take away.
 *
 * Landlock binds the thread that asks for it and those that it starts later. For the second layer there are threads
 * already, of plugins' libraries and the engine: each gets a signal and restricts itself in the handler. The caller comes
 * last, since a thread may not signal those outside its layer. Threads that block the signal keep the first layer alone,
 * which the log tells; what they may do is bounded by seccomp like everything else.
 *
 * Numbers newer than the headers that this is built with are given here; the kernel says which it knows.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/sandbox.h"
#include "engine/plugin.h"
#include "util/log.h"
#include "util/util.h"

struct ruleset {
	uint64_t fs;
	uint64_t net;	 /* ABI 4 */
	uint64_t scoped; /* ABI 6 */
};

/* Bits by the version that brought them. */
#define FS_1	  ((UINT64_C(1) << 13) - 1)
#define FS_REFER  (UINT64_C(1) << 13) /* 2: renaming into another folder */
#define FS_TRUNC  (UINT64_C(1) << 14) /* 3 */
#define FS_IOCTL  (UINT64_C(1) << 15) /* 5: of devices */
#define NET_TCP	  UINT64_C(3)	      /* 4: binding and connecting */
#define SCOPE_ALL UINT64_C(3)	      /* 6: abstract Unix sockets, signals */

/* What may be done with an object that is no folder. */
#define FS_FILE                                                                                                 \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNC | \
	 FS_IOCTL)

#define FS_READ	  (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_MODELS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                                        \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE |   \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | FS_REFER | FS_TRUNC)
#define FS_DEVICE \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_IOCTL)

/* What programs and libraries consist of, and where they look for the machine's properties. */
static const char *const system_files[] = {
	"/usr",
	"/lib",
	"/lib32",
	"/lib64",
	"/bin",
	"/sbin",
	"/etc/ld.so.cache",
	"/proc",
	"/etc/ld.so.preload",
	"/etc/OpenCL",
	"/sys",
	"/dev/zero",
	"/dev/urandom",
	"/dev/random",
};

/* Device nodes of accelerators, and the folders that hold such. */
static const char *const devices[] = {
	"/dev/dri",	   "/dev/kfd",	       "/dev/accel",	      "/dev/nvidiactl",
	"/dev/nvidia-uvm", "/dev/nvidia-caps", "/dev/nvidia-modeset", "/dev/nvidia-uvm-tools",
	"/dev/xclmgmt",	   "/dev/dxg",	       "/dev/crypto",
};

/* A layer in the making. */
struct layer {
	int fd;
	uint64_t fs; /* what it handles */
};

static int landlock_version(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return version < 0 ? -errno : (int)version;
}

static int layer_new(struct layer *layer, int version)
{
	struct ruleset attr = { .fs = FS_1 };
	size_t size = version >= 6 ? sizeof(attr) : version >= 4 ? offsetof(struct ruleset, scoped) : sizeof(attr.fs);

	attr.fs |= (version >= 2 ? FS_REFER : 0) | (version >= 3 ? FS_TRUNC : 0) | (version >= 5 ? FS_IOCTL : 0);
	attr.net = NET_TCP;
	attr.scoped = SCOPE_ALL;
	layer->fs = attr.fs;
	layer->fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	return layer->fd < 0 ? -errno : 0;
}

/* What is not there cannot be opened either. */
static void layer_allow(const struct layer *layer, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .parent_fd = open(path, O_PATH | O_CLOEXEC) };
	struct stat st;

	if (rule.parent_fd < 0)
		return;
	if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
		access &= FS_FILE;
	rule.allowed_access = access & layer->fs;
	if (rule.allowed_access && syscall(SYS_landlock_add_rule, layer->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		log_warning("sandbox: %s cannot be allowed: %s", path, strerror(errno));
	close(rule.parent_fd);
}

/* A list of paths, or of anything else: only what begins at the root is one. */
static void layer_allow_list(const struct layer *layer, const char *list, const char *separators, uint64_t access)
{
	_cleanup_free_ char *copy = list ? strdup(list) : NULL;
	char *save = NULL;

	for (char *path = copy ? strtok_r(copy, separators, &save) : NULL; path;
	     path = strtok_r(NULL, separators, &save))
		if (*path == '/')
			layer_allow(layer, path, access);
}

static void layer_allow_devices(const struct layer *layer)
{
	char path[32];

	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		layer_allow(layer, devices[i], FS_DEVICE);
	for (int i = 0; i < 32; i++) {
		snprintf(path, sizeof(path), "/dev/nvidia%d", i);
		layer_allow(layer, path, FS_DEVICE);
	}
}

/* ---- the first layer ---- */

/* A file vaccel-NAME.read beside a plugin: folders and files, one a line, that its library lies in or reads. */
static void allow_listed(const struct layer *layer, const char *folder, const char *name)
{
	char path[PATH_MAX], line[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (*line == '/')
			layer_allow(layer, line, FS_READ);
	}
	if (file)
		fclose(file);
}

static void allow_plugin_folder(const char *folder, void *opaque)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	layer_allow(opaque, folder, FS_READ);
	while (dir && (entry = readdir(dir))) {
		const char *dot = strrchr(entry->d_name, '.');

		if (!strncmp(entry->d_name, "vaccel-", 7) && dot && !strcmp(dot, ".read"))
			allow_listed(opaque, folder, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

/* The folder too: TensorFlow's library finds its other half beside it. */
static void allow_library(const struct layer *layer, const char *key, const char *value)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(value, '/');

	if (strcmp(key, "library") || !slash || *value != '/')
		return;
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - value), value);
	layer_allow(layer, folder, FS_READ);
}

/* The objects of plugins, and the files that an administrator names in their keys, such as pre-built kernels. */
static void allow_plugins(const struct layer *layer, const struct config *config)
{
	char base[PATH_MAX];

	plugin_folders(allow_plugin_folder, (void *)layer);
	for (size_t i = 0; i < config->n_plugins; i++) {
		const struct config_plugin *plugin = &config->plugins[i];

		if (plugin->path)
			layer_allow(layer, plugin->path, FS_READ);
		for (size_t j = 0; j < plugin->n_keys; j++) {
			layer_allow_list(layer, plugin->keys[j].value, ":", FS_READ);
			allow_library(layer, plugin->keys[j].name, plugin->keys[j].value);
		}
	}
	if (plugin_cache_base(config, base, sizeof(base)) == 0)
		layer_allow(layer, base, FS_WRITE | FS_READ);
}

/* Files of keys that the host holds: they are read once, and not with the second layer. */
static void allow_keys(const struct layer *layer, const struct config *config)
{
	for (size_t i = 0; i < config->n_keys; i++)
		if (config->keys[i].file)
			layer_allow(layer, config->keys[i].file, LANDLOCK_ACCESS_FS_READ_FILE);
	if (config->n_keys && getenv("CREDENTIALS_DIRECTORY"))
		layer_allow(layer, getenv("CREDENTIALS_DIRECTORY"), LANDLOCK_ACCESS_FS_READ_FILE);
}

void sandbox_files_enter(struct sandbox *s)
{
	const struct config_sandbox *config = &s->config->sandbox;
	struct layer layer;
	int r = landlock_version();

	if (r > 0) {
		s->landlock = r;
		r = layer_new(&layer, r);
	}
	if (r < 0) {
		s->landlock = 0;
		sandbox_note(&s->lacking, "Landlock (%s)", strerror(-r));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(system_files); i++)
		layer_allow(&layer, system_files[i], FS_READ);
	layer_allow(&layer, "/dev/null", FS_READ | FS_WRITE);
	layer_allow_list(&layer, getenv("LD_LIBRARY_PATH"), ":", FS_READ);
	layer_allow_list(&layer, getenv("OCL_ICD_VENDORS"), ":", FS_READ);
	layer_allow_devices(&layer);
	allow_plugins(&layer, s->config);
	allow_keys(&layer, s->config);
	if (s->config->models_dir)
		layer_allow(&layer, s->config->models_dir, FS_MODELS);
	layer_allow_list(&layer, config->read, " \t", FS_READ);
	layer_allow_list(&layer, config->write, " \t", FS_READ | FS_WRITE | FS_DEVICE);
	if (syscall(SYS_landlock_restrict_self, layer.fd, 0) < 0) {
		sandbox_note(&s->lacking, "Landlock (%s)", strerror(errno));
		s->landlock = 0;
	}
	close(layer.fd);
}

/* ---- the second layer, in every thread ---- */

#define MAX_THREADS 4096
#define WAIT_MS	    2000

static struct {
	int layer; /* descriptor of the ruleset */
	pid_t done[MAX_THREADS];
	int n_done;
	int n_failed;
} closing;

static void restrict_thread(int number)
{
	int saved = errno, at;

	if (syscall(SYS_landlock_restrict_self, closing.layer, 0) < 0)
		__atomic_fetch_add(&closing.n_failed, 1, __ATOMIC_RELAXED);
	at = __atomic_fetch_add(&closing.n_done, 1, __ATOMIC_RELAXED);
	if (at < MAX_THREADS)
		__atomic_store_n(&closing.done[at], gettid(), __ATOMIC_RELEASE);
	errno = saved;
}

static bool is_known(const pid_t *tids, int n, pid_t tid)
{
	for (int i = 0; i < n; i++)
		if (tids[i] == tid)
			return true;
	return false;
}

/* Signals the threads that are not in the list yet. Returns how many are in it then. */
static int signal_others(pid_t *tids, int n, int number)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	while (dir && n < MAX_THREADS && (entry = readdir(dir))) {
		pid_t tid = (pid_t)atoi(entry->d_name);

		if (tid <= 0 || tid == gettid() || is_known(tids, n, tid))
			continue;
		if (syscall(SYS_tgkill, getpid(), tid, number) == 0)
			tids[n++] = tid;
	}
	if (dir)
		closedir(dir);
	return n;
}

static bool has_answered(pid_t tid)
{
	for (int i = 0; i < MAX_THREADS; i++)
		if (__atomic_load_n(&closing.done[i], __ATOMIC_ACQUIRE) == tid)
			return true;
	return false;
}

/* Of those that were signalled and have not answered, how many still live. */
static int n_silent(const pid_t *tids, int n)
{
	int silent = 0;

	for (int i = 0; i < n; i++)
		silent += !has_answered(tids[i]) && syscall(SYS_tgkill, getpid(), tids[i], 0) == 0;
	return silent;
}

/* Returns the number of threads that are not bound. */
static int restrict_others(void)
{
	struct sigaction action = { .sa_handler = restrict_thread, .sa_flags = SA_RESTART }, before;
	_cleanup_free_ pid_t *tids = calloc(MAX_THREADS, sizeof(*tids));
	uint64_t until = now_ns() + WAIT_MS * UINT64_C(1000000);
	int number = SIGRTMAX - 1, n = 0, more = 0, left = 0;

	if (!tids)
		return 1;
	sigemptyset(&action.sa_mask);
	sigaction(number, &action, &before);
	/* A thread that is not bound yet may start another: until a look finds no new one. */
	do {
		n = more;
		more = signal_others(tids, n, number);
		while ((left = n_silent(tids, more)) > 0 && now_ns() < until)
			usleep(200);
	} while (more != n);
	/* Late ones must find the handler. */
	if (left == 0)
		sigaction(number, &before, NULL);
	return left + closing.n_failed;
}

static void allow_needs(const struct layer *layer, const struct engine *engine)
{
	struct engine_plugin_needs row;

	for (size_t i = 0; engine_plugin_needs(engine, i, &row); i++) {
		if ((row.needs & VACCEL_NEED_CACHE_ALWAYS) && row.cache_dir)
			layer_allow(layer, row.cache_dir, FS_WRITE);
		if (row.models_dir)
			layer_allow(layer, row.models_dir, FS_MODELS);
		if (row.needs & VACCEL_NEED_DEVICE)
			layer_allow_devices(layer);
	}
}

void sandbox_files_close(struct sandbox *s, const struct engine *engine)
{
	struct layer layer;
	int left;

	if (!s->landlock)
		return;
	if (layer_new(&layer, s->landlock) < 0) {
		sandbox_note(&s->lacking, "a second layer of Landlock (%s)", strerror(errno));
		return;
	}
	allow_needs(&layer, engine);
	layer_allow_list(&layer, s->config->sandbox.write, " \t", FS_WRITE | FS_DEVICE);
	closing.layer = layer.fd;
	left = restrict_others();
	if (syscall(SYS_landlock_restrict_self, layer.fd, 0) < 0)
		left++;
	if (left == 0)
		close(layer.fd);
	else
		sandbox_note(&s->lacking, "the second layer of Landlock in %d threads of plugins", left);
	sandbox_note(&s->in_force, "Landlock %d (files%s%s)", s->landlock, s->landlock >= 4 ? ", TCP" : "",
		     s->landlock >= 6 ? ", signals" : "");
}
