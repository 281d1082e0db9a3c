/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TensorFlow's log. Its C API has no way to it (TF_RegisterLogListener() is for what tf.print() prints), and what is not taken
 * is written to standard error. TensorFlow logs with Abseil, whose functions its library exports under names that hold the
 * release they are of. For the releases in the table the layout of the two objects that cross the border is known:
 *
 *	class LogSink: the table of its virtual functions and nothing else
 *	class LogEntry: see struct entry
 *
 * With any other the environment variable TF_CPP_MIN_LOG_LEVEL, set before TensorFlow is opened, keeps all but fatal messages
 * back. Nothing is lost that matters: failures are reported by the functions that fail.
 *
 * While the half of the library is opened in which the log is, it cannot be taken yet, and TensorFlow says something even so.
 * For that tenth of a second standard error is a file in memory, whose lines go to the log, or where they would have gone
 * if they are somebody else's.
 *
 * Failing runs are logged by TensorFlow too, so guests could fill the host's log: lines are limited in number.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "tensorflow.h"

enum { LINES = 20, SECONDS = 10, MAX_TEXT = 1000 };

static struct {
	tf_log log;
	pthread_mutex_t lock;
	time_t since;	/* under lock, these too: the period, */
	unsigned int n; /* lines in it */
	void (*remove)(void *sink);
} state = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* absl::LogEntry as its private members have it, with std::string_view of libstdc++. */
struct entry {
	struct {
		size_t len;
		const char *data;
	} path, file;
	int line;
	bool has_prefix;
	int severity;
	int verbosity;
	uint32_t time[3];
	int tid;
	const char *text; /* prefix, message, newline, NUL */
	size_t text_len;  /* of all that */
	size_t prefix_len;
};

_Static_assert(offsetof(struct entry, severity) == 40 && offsetof(struct entry, text) == 64 &&
		       offsetof(struct entry, prefix_len) == 80,
	       "layout of LogEntry");

static bool has_room(void)
{
	struct timespec now = { 0 };
	unsigned int left_out = 0;
	bool room;
	char text[80];

	clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&state.lock);
	if (now.tv_sec - state.since >= SECONDS) {
		left_out = state.n > LINES ? state.n - LINES : 0;
		state.since = now.tv_sec;
		state.n = 0;
	}
	room = state.n++ < LINES;
	pthread_mutex_unlock(&state.lock);
	if (left_out) {
		snprintf(text, sizeof(text), "tensorflow: %u more lines of TensorFlow's were left out", left_out);
		state.log(LOG_NOTICE, text);
	}
	return room;
}

static void sink_send(void *self, const struct entry *e)
{
	static const int priorities[] = { LOG_INFO, LOG_WARNING, LOG_ERR, LOG_CRIT };
	const int severity = e->severity < TF_INFO ? TF_INFO : e->severity > TF_FATAL ? TF_FATAL : e->severity;
	const size_t skip = e->prefix_len + 2;
	char text[MAX_TEXT];

	if (!state.log || e->text_len < skip || (severity < TF_FATAL && !has_room()))
		return;
	/* A line is a line. */
	snprintf(text, sizeof(text), "tensorflow: %.*s", (int)strcspn(e->text + e->prefix_len, "\n"),
		 e->text + e->prefix_len);
	state.log(priorities[severity], text);
}

static void sink_nothing(void *self)
{
}

/* Offset to the whole object, type; destructors (nobody calls them); Send(), Flush(), KeyFunction(). */
static void *const sink_functions[] = {
	NULL, NULL, sink_nothing, sink_nothing, sink_send, sink_nothing, sink_nothing,
};

static struct {
	void *const *functions;
} sink = { sink_functions + 2 };

#define ABSL(release_, rest_) "_ZN4absl" #release_ rest_

struct release {
	const char *add, *remove, *initialized, *threshold, *least;
};

#define RELEASE(name_)                                                                 \
	{                                                                              \
		ABSL(name_, "12log_internal10AddLogSinkEPNS0_7LogSinkE"),              \
			ABSL(name_, "12log_internal13RemoveLogSinkEPNS0_7LogSinkE"),   \
			ABSL(name_, "12log_internal14SetInitializedEv"),               \
			ABSL(name_, "18SetStderrThresholdENS0_18LogSeverityAtLeastE"), \
			ABSL(name_, "14SetMinLogLevelENS0_18LogSeverityAtLeastE"),     \
	}

static const struct release releases[] = {
	RELEASE(12lts_20250814), /* TensorFlow 2.21 */
};

/* Standard error and what is in its place for a moment. */
static struct {
	int error, memory;
} caught;

static bool take(void *framework, const struct release *r, enum tf_severity least)
{
	void (*add)(void *sink), (*initialized)(void), (*threshold)(int), (*set_least)(int);

	*(void **)&add = dlsym(framework, r->add);
	*(void **)&state.remove = dlsym(framework, r->remove);
	*(void **)&initialized = dlsym(framework, r->initialized);
	*(void **)&threshold = dlsym(framework, r->threshold);
	*(void **)&set_least = dlsym(framework, r->least);
	if (!add || !state.remove || !initialized || !threshold || !set_least) {
		state.remove = NULL;
		return false;
	}
	add(&sink);
	/* Before it is told that it is set up it writes to standard error whatever the threshold; none reaches this one. */
	threshold(TF_FATAL + 1);
	initialized();
	set_least((int)least);
	return true;
}

void tf_log_catch(void)
{
	caught.memory = memfd_create("vaccel-tensorflow", MFD_CLOEXEC);
	caught.error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	fflush(stderr);
	if (caught.memory >= 0 && caught.error >= 0)
		dup2(caught.memory, STDERR_FILENO);
}

/* Abseil's lines: severity, date, time, thread, file, "] ", text. */
static bool pass_on(const char *line, enum tf_severity least)
{
	static const char severities[] = "IWEF";
	const char *severity = strchr(severities, *line), *text = strstr(line, "] ");
	struct entry e = { .text = text, .prefix_len = 2 };

	if (!strncmp(line, "WARNING: All log messages before absl", 37))
		return true;
	if (!*line || !severity || !text || line[1] < '0' || line[1] > '9')
		return false;
	e.severity = (int)(severity - severities);
	e.text_len = strlen(text) + 2;
	if (e.severity >= (int)least)
		sink_send(NULL, &e);
	return true;
}

static void release_caught(enum tf_severity least)
{
	char line[MAX_TEXT];
	FILE *f;

	fflush(stderr);
	if (caught.memory >= 0 && caught.error >= 0)
		dup2(caught.error, STDERR_FILENO);
	if (caught.error >= 0)
		close(caught.error);
	f = caught.memory >= 0 ? fdopen(caught.memory, "r") : NULL;
	if (!f)
		return;
	rewind(f);
	while (fgets(line, sizeof(line), f))
		if (!pass_on(line, least))
			fputs(line, stderr);
	fclose(f);
}

void tf_log_begin(void *framework, tf_log log, enum tf_severity least)
{
	size_t i;

	state.log = log;
	release_caught(least);
	for (i = 0; framework && log && !state.remove && i < sizeof(releases) / sizeof(releases[0]); i++)
		take(framework, &releases[i], least);
	if (log && !state.remove)
		log(LOG_DEBUG,
		    "tensorflow: the log of this version of TensorFlow is not known; only fatal messages are shown");
}

void tf_log_end(void)
{
	if (state.remove)
		state.remove(&sink);
	state.remove = NULL;
	state.log = NULL;
}
