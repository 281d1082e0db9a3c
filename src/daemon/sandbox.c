/* SPDX-License-Identifier: Apache-2.0 */
/* See sandbox.h: the stages in order, limits, capabilities, and the line that says what is in force. */
#include "daemon/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

void sandbox_note(struct sandbox_text *text, const char *format, ...)
{
	size_t used = strlen(text->text);
	va_list ap;

	if (used)
		used += (size_t)snprintf(text->text + used, sizeof(text->text) - used, ", ");
	if (used >= sizeof(text->text))
		return;
	va_start(ap, format);
	vsnprintf(text->text + used, sizeof(text->text) - used, format, ap);
	va_end(ap);
}

/* unit: of the numbers in the log. */
static void set_limit(struct sandbox *s, int resource, uint64_t value, uint64_t unit, const char *what)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) == 0) {
		/* Never more than whoever started the daemon allows. */
		limit.rlim_max = MIN(limit.rlim_max, value);
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(resource, &limit) == 0) {
			sandbox_note(&s->in_force, "%" PRIu64 " %s", (uint64_t)limit.rlim_max / unit, what);
			return;
		}
	}
	sandbox_note(&s->lacking, "a limit of %s (%s)", what, strerror(errno));
}

/*
 * Private writable memory, as RLIMIT_DATA has counted it since Linux 4.7. RLIMIT_AS would count the guests' memory, and
 * the ranges that drivers of accelerators reserve without using them.
 */
static void limit_memory(struct sandbox *s)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t bytes = s->config->sandbox.memory ? s->config->sandbox.memory : machine / 4 * 3;

#ifdef VACCEL_SANITIZED
	/* Shadow memory is private and writable, and larger than any machine. */
	sandbox_note(&s->lacking, "a limit of memory (this build has sanitizers)");
	(void)bytes;
#else
	set_limit(s, RLIMIT_DATA, bytes, 1 << 20, "MiB of private memory");
#endif
}

/* The inheritable and bounding sets too: no program that it might start shall have any. */
static void drop_capabilities(struct sandbox *s)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
	bool bounding = true;

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		bounding &= prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 0 || prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none) < 0)
		sandbox_note(&s->lacking, "dropping capabilities (%s)", strerror(errno));
	else
		/* Without the right to change it the bounding set means nothing: no new privileges. */
		sandbox_note(&s->in_force, "no capabilities%s", bounding ? "" : " (bounding set kept)");
}

/* Not even a terminal is left to type into. Standard error is where log lines go. */
static void close_standard_files(void)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0)
		dup2(null, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
}

static int check(const struct sandbox *s, struct error *error)
{
	if (s->config->sandbox.mode != SANDBOX_REQUIRED || !s->lacking.text[0])
		return 0;
	return error_set(error, -EPERM, "sandbox: is required, but these are not to be had: %s", s->lacking.text);
}

int sandbox_hide(bool programs)
{
	const struct rlimit none = { 0, 0 };

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || (programs && setrlimit(RLIMIT_CORE, &none) < 0))
		return -errno;
	return 0;
}

int sandbox_enter(struct sandbox *s, const struct config *config, uint64_t max_fds, struct error *error)
{
	*s = (struct sandbox){ .config = config };
	if (config->sandbox.mode == SANDBOX_OFF)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		sandbox_note(&s->lacking, "no new privileges (%s)", strerror(errno));
	else
		sandbox_note(&s->in_force, "no new privileges");
	drop_capabilities(s);
	/* Others of the same user cannot trace it, read its memory or take its descriptors. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		sandbox_note(&s->lacking, "protection from tracing (%s)", strerror(errno));
	else
		sandbox_note(&s->in_force, "not traceable");
	close_standard_files();
	set_limit(s, RLIMIT_CORE, 0, 1, "bytes of core file");
	set_limit(s, RLIMIT_NOFILE, max_fds, 1, "descriptors");
	sandbox_files_enter(s);
	return check(s, error);
}

int sandbox_close(struct sandbox *s, const struct engine *engine, int priority, struct error *error)
{
	int r;

	if (s->config->sandbox.mode == SANDBOX_OFF) {
		log_warning("sandbox: off");
		return 0;
	}
	limit_memory(s);
	sandbox_files_close(s, engine);
	sandbox_calls_close(s, engine);
	r = check(s, error);
	if (r < 0)
		return r;
	log_line(priority, "sandbox: %s", s->in_force.text);
	if (s->lacking.text[0])
		log_warning("sandbox: not in force: %s", s->lacking.text);
	return 0;
}
