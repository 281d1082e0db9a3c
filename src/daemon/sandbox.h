/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's sandbox: what a guest gets that takes the worker over is the worker's own memory and descriptors, and
 * what its plugins declare (enum vaccel_plugin_need), nothing else. The supervisor has none: it starts workers, and reads
 * of guests only vhost-user messages.
 *
 * Two stages, since libraries start threads when they are loaded, read files and run compilers, and Landlock binds only
 * the calling thread and its children:
 *
 *	sandbox_enter()  before anything is loaded: no new privileges, no capabilities, no core files, not to be traced,
 *			 bounded descriptors; Landlock lets it read (and run) what the system and plugins consist of, and
 *			 write to the plugins' cache. All threads that come later inherit this.
 *	plugins are loaded and made ready, the engine starts its threads
 *	sandbox_close()  before the first byte of a guest is read: private memory is bounded, Landlock leaves what plugins
 *			 still need (each thread there is restricts itself, see sandbox_files.c), seccomp allows the calls
 *			 that the program's files list (util/calls.h), in all threads.
 *
 * What the kernel or the caller's rights do not allow is reported in the log line that says what is in force; with
 * sandbox.mode = required it is an error.
 *
 * Files: sandbox.c stages, limits and the log line; sandbox_files.c Landlock; sandbox_calls.c seccomp; sandbox_libc.c what
 * libc and the compiler's run-time checks call.
 */
#ifndef VACCEL_DAEMON_SANDBOX_H
#define VACCEL_DAEMON_SANDBOX_H

#include <stdint.h>

#include "engine/config.h"
#include "engine/engine.h"
#include "util/error.h"

/* Sentences in the making: parts with commas between them, cut where the room ends. */
struct sandbox_text {
	char text[360];
};

struct sandbox {
	const struct config *config;
	int landlock; /* ABI version; 0: none */
	struct sandbox_text in_force;
	struct sandbox_text lacking;
};

/*
 * What a process that has keys, or may get them, gives up whatever sandbox.mode is: core files, and being looked at by others
 * of its user. programs: those that it starts leave no core files, either. -errno, when the kernel does not let it.
 */
int sandbox_hide(bool programs);

/* max_fds: descriptors that the worker can need. Does nothing when the configuration says off. */
int sandbox_enter(struct sandbox *ret_sandbox, const struct config *config, uint64_t max_fds, struct error *error);
/* Logs what is in force at this priority; what is not, always as a warning. */
int sandbox_close(struct sandbox *sandbox, const struct engine *engine, int priority, struct error *error);

/* ---- the stages' parts; what they do or cannot do is noted in the texts ---- */
__attribute__((format(printf, 2, 3))) void sandbox_note(struct sandbox_text *text, const char *format, ...);

void sandbox_files_enter(struct sandbox *sandbox);
void sandbox_files_close(struct sandbox *sandbox, const struct engine *engine);
void sandbox_calls_close(struct sandbox *sandbox, const struct engine *engine);

#endif
