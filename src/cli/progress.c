/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the user sees while waiting, and what is tidied up on Ctrl-C.
 *
 * The progress line is drawn by a helper thread, since one operation may take minutes in the main thread. It exists only
 * when standard error is a terminal, wakes twice a second, and draws nothing in the first two seconds. lock protects
 * text, since and shown.
 *
 * Sessions and buffers need no tidying on a signal: they end with the connection, hence with the process. Half-written
 * files do not; their name is in a static array so that the handler needs only unlink(2).
 */
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define QUIET_NS 2000000000u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char text[128];
static uint64_t since;
static volatile sig_atomic_t shown;
static bool started;

static char unfinished[4096];
static volatile sig_atomic_t has_unfinished;

static void (*volatile at_signal)(void);

static void on_signal(int number)
{
	if (has_unfinished)
		unlink(unfinished);
	if (shown && write(STDERR_FILENO, "\n", 1) < 0)
		shown = 0;
	if (at_signal)
		at_signal();
	raise(number); /* the handler is reset on entry: this ends the process once it returns */
}

void cli_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	/* A reader that went away (a pager, gnuplot) is an error of write(2), which is told. */
	signal(SIGPIPE, SIG_IGN);
}

void cli_at_signal(void (*tidy)(void))
{
	at_signal = tidy;
}

void cli_unfinished_file(const char *path)
{
	if (strlen(path) >= sizeof(unfinished))
		return;
	strcpy(unfinished, path);
	has_unfinished = 1;
}

void cli_keep_file(void)
{
	has_unfinished = 0;
}

static void draw(void)
{
	uint64_t now = now_ns();

	if (!*text || now - since < QUIET_NS)
		return;
	fprintf(stderr, "\r\033[K%s, %u s", text, (unsigned int)((now - since) / 1000000000u));
	shown = 1;
}

static void *watch(void *unused)
{
	struct timespec half = { .tv_nsec = 500000000 };

	for (;;) {
		nanosleep(&half, NULL);
		pthread_mutex_lock(&lock);
		draw();
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void start(void)
{
	pthread_t thread;
	sigset_t all, old;

	started = true;
	since = now_ns();
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&thread, NULL, watch, NULL))
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void progress(const char *format, ...)
{
	va_list ap;

	if (!isatty(STDERR_FILENO))
		return;
	if (!started)
		start();
	pthread_mutex_lock(&lock);
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	pthread_mutex_unlock(&lock);
}

void progress_end(void)
{
	pthread_mutex_lock(&lock);
	if (shown)
		fputs("\r\033[K", stderr);
	shown = 0;
	*text = 0;
	pthread_mutex_unlock(&lock);
}
