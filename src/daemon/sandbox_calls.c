/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's system calls: a seccomp filter for all threads at once, made of the lists that files of this program
 * have (util/calls.h) and of what plugins declare. See sandbox.h.
 *
 * What is not allowed fails with EPERM: libraries try things that they can do without. The others, for whoever brings
 * a plugin, or trusts it less: report logs each such call once, kill ends the worker.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>
#include <vaccel/plugin.h>

#include "daemon/sandbox.h"
#include "util/calls.h"
#include "util/log.h"
#include "util/util.h"

/* Bounds of the section with the lists. */
extern const struct sandbox_call *const __start_vaccel_calls[];
extern const struct sandbox_call *const __stop_vaccel_calls[];

/* ---- what a plugin's needs imply ---- */

#define FILE_CALLS                                                                                                    \
	{ "open" }, { "openat" }, { "close" }, { "read" }, { "write" }, { "readv" }, { "writev" }, { "pread64" },     \
		{ "pwrite64" }, { "lseek" }, { "stat" }, { "lstat" }, { "fstat" }, { "newfstatat" }, { "fstatat64" }, \
		{ "statx" }, { "access" }, { "faccessat" }, { "faccessat2" }, { "readlink" }, { "readlinkat" },       \
	{                                                                                                             \
		"getdents64"                                                                                          \
	}

/* Flags of descriptors and locks; not who gets signals about them. */
#define FCNTL(command) SANDBOX_IF("fcntl", 1, UINT32_MAX, command)

static const struct sandbox_call folder_calls[] = {
	FILE_CALLS,	 { "mkdir" },	  { "mkdirat" },   { "rmdir" },	    { "unlink" },
	{ "unlinkat" },	 { "rename" },	  { "renameat" },  { "renameat2" }, { "ftruncate" },
	{ "fallocate" }, { "fsync" },	  { "fdatasync" }, { "flock" },	    FCNTL(F_GETFD),
	FCNTL(F_SETFD),	 FCNTL(F_GETFL),  FCNTL(F_SETLK),  FCNTL(F_SETLKW), FCNTL(F_DUPFD_CLOEXEC),
	{ "getcwd" },	 { .name = NULL }
};

static const struct sandbox_call device_calls[] = { FILE_CALLS,	     { "ioctl" },    { "eventfd2" },
						    { "poll" },	     { "ppoll" },    { "dup" },
						    { "uname" },     FCNTL(F_GETFD), FCNTL(F_SETFD),
						    FCNTL(F_GETFL),  FCNTL(F_SETFL), FCNTL(F_DUPFD_CLOEXEC),
						    { .name = NULL } };

/*
 * Reading below a folder, as files or mapped, and waiting for changes there. The kernel has no right for watching: whoever
 * takes the worker over may watch what its user may read, and so learns names of files that change elsewhere.
 */
static const struct sandbox_call models_calls[] = { { "open" },
						    { "openat" },
						    { "openat2" },
						    { "close" },
						    { "read" },
						    { "readv" },
						    { "pread64" },
						    { "lseek" },
						    { "stat" },
						    { "lstat" },
						    { "fstat" },
						    { "newfstatat" },
						    { "fstatat64" },
						    { "statx" },
						    { "access" },
						    { "faccessat" },
						    { "faccessat2" },
						    { "readlink" },
						    { "readlinkat" },
						    { "getdents64" },
						    FCNTL(F_GETFD),
						    FCNTL(F_SETFD),
						    FCNTL(F_GETFL),
						    FCNTL(F_DUPFD_CLOEXEC),
						    SANDBOX_IF("mmap", 3, MAP_ANONYMOUS, 0),
						    SANDBOX_IF("mmap2", 3, MAP_ANONYMOUS, 0),
						    { "inotify_init1" },
						    { "inotify_add_watch" },
						    { "inotify_rm_watch" },
						    { "eventfd2" },
						    { "poll" },
						    { "ppoll" },
						    { .name = NULL } };

/* Sockets of the kernel's crypto API, of no other family. What follows takes any descriptor of a socket that the worker has. */
static const struct sandbox_call af_alg_calls[] = { SANDBOX_IF("socket", 0, UINT32_MAX, AF_ALG),
						    { "bind" },
						    { "accept4" },
						    { "setsockopt" },
						    { "getsockopt" },
						    { "sendmsg" },
						    { "recvmsg" },
						    { "read" },
						    { "close" },
						    { .name = NULL } };

static const struct {
	uint32_t need;
	const struct sandbox_call *calls;
} needs[] = {
	{ VACCEL_NEED_CACHE_ALWAYS, folder_calls },
	{ VACCEL_NEED_DEVICE, device_calls },
	{ VACCEL_NEED_MODELS, models_calls },
	{ VACCEL_NEED_AF_ALG, af_alg_calls },
};

/* ---- the filter ---- */

struct filter {
	scmp_filter_ctx context;
	unsigned int n; /* calls, of which one may be counted twice */
	int result;	/* of the first thing that failed */
};

static void keep_result(struct filter *filter, int r)
{
	if (r < 0 && filter->result == 0)
		filter->result = r;
}

static void allow(struct filter *filter, const struct sandbox_call *call)
{
	const struct scmp_arg_cmp condition = SCMP_CMP64(call->argument, SCMP_CMP_MASKED_EQ, call->mask, call->value);
	int number = seccomp_syscall_resolve_name(call->name), r;

	/* Below 0: another architecture's. */
	if (number < 0)
		return;
	r = seccomp_rule_add_array(filter->context, SCMP_ACT_ALLOW, number, call->conditional, &condition);
	filter->n += r == 0;
	/* Two files may need the same. */
	keep_result(filter, r == -EEXIST ? 0 : r);
}

static void allow_list(struct filter *filter, const struct sandbox_call *calls)
{
	for (; calls->name; calls++)
		allow(filter, calls);
}

/* Signals to itself: raise(), abort(), and what a plugin's threads send each other. */
static void allow_own_signals(struct filter *filter)
{
	static const char *const names[] = { "kill", "tgkill" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		allow(filter, &(struct sandbox_call)SANDBOX_IF(names[i], 0, UINT32_MAX, (uint32_t)getpid()));
}

static void allow_plugins(struct filter *filter, struct sandbox *s, const struct engine *engine)
{
	struct engine_plugin_needs row;

	for (size_t i = 0; engine_plugin_needs(engine, i, &row); i++) {
		unsigned int before = filter->n;

		for (size_t j = 0; j < ARRAY_SIZE(needs); j++)
			if (row.needs & needs[j].need && (needs[j].need != VACCEL_NEED_MODELS || row.models_dir))
				allow_list(filter, needs[j].calls);
		for (size_t j = 0; row.calls && j < row.n_calls; j++)
			allow(filter, &(struct sandbox_call){ .name = row.calls[j] });
		if (filter->n > before)
			sandbox_note(&s->in_force, "%u calls more for plugin %s", filter->n - before, row.name);
	}
	if (s->config->sandbox.write && *s->config->sandbox.write)
		allow_list(filter, folder_calls);
}

/* ---- violation = report ---- */

#define MAX_NUMBER 1024
static char *call_names[MAX_NUMBER];
static uint8_t reported[MAX_NUMBER];

static void on_violation(int number, siginfo_t *info, void *opaque)
{
	ucontext_t *context = opaque;
	int call = info->si_syscall, saved = errno;

	if (call >= 0 && call < MAX_NUMBER && !__atomic_exchange_n(&reported[call], 1, __ATOMIC_RELAXED))
		log_warning("sandbox: system call %s (%d) is not allowed", call_names[call] ? call_names[call] : "",
			    call);
	errno = saved;
#if defined(__x86_64__)
	context->uc_mcontext.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
	context->uc_mcontext.regs[0] = (uint64_t)-EPERM;
#else
	(void)context;
#endif
}

/* Names are looked up now: the handler must not allocate. */
static void prepare_report(void)
{
	struct sigaction action = { .sa_sigaction = on_violation, .sa_flags = SA_SIGINFO | SA_NODEFER };

	for (int i = 0; i < MAX_NUMBER; i++)
		call_names[i] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
	sigaction(SIGSYS, &action, NULL);
}

static uint32_t violation_action(const struct config_sandbox *config)
{
	if (config->violation == SANDBOX_KILL)
		return SCMP_ACT_KILL_PROCESS;
	if (config->violation == SANDBOX_DENY)
		return SCMP_ACT_ERRNO(EPERM);
	prepare_report();
	return SCMP_ACT_TRAP;
}

static void set_attributes(struct filter *filter)
{
	static const struct {
		enum scmp_filter_attr attr;
		uint32_t value;
	} attributes[] = {
		{ SCMP_FLTATR_CTL_TSYNC, 1 },
		{ SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS },
		/* A binary search: a call on a ring's way would come after a hundred others. */
		{ SCMP_FLTATR_CTL_OPTIMIZE, 2 },
		/* Kernels before 5.16 slow down all memory access of filtered threads otherwise, against code that reads
		 * its own process's memory: here nobody runs such. */
		{ SCMP_FLTATR_CTL_SSB, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(attributes); i++)
		keep_result(filter, seccomp_attr_set(filter->context, attributes[i].attr, attributes[i].value));
}

void sandbox_calls_close(struct sandbox *s, const struct engine *engine)
{
	struct filter filter = { .context = seccomp_init(violation_action(&s->config->sandbox)) };
	int clone3 = seccomp_syscall_resolve_name("clone3");

	if (!filter.context) {
		sandbox_note(&s->lacking, "seccomp (no memory)");
		return;
	}
	set_attributes(&filter);
	/* Its flags lie in memory, where a filter cannot see them. libc does with clone() then. */
	if (clone3 >= 0)
		keep_result(&filter, seccomp_rule_add(filter.context, SCMP_ACT_ERRNO(ENOSYS), clone3, 0));
	for (const struct sandbox_call *const *list = __start_vaccel_calls; list < __stop_vaccel_calls; list++)
		allow_list(&filter, *list);
	allow_own_signals(&filter);
	allow_plugins(&filter, s, engine);
	if (filter.result == 0)
		filter.result = seccomp_load(filter.context);
	seccomp_release(filter.context);
	if (filter.result < 0)
		sandbox_note(&s->lacking, "seccomp (%s)", strerror(-filter.result));
	else
		sandbox_note(&s->in_force, "seccomp (%u rules)", filter.n);
}
