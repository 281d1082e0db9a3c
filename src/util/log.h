/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines of the daemon and of plugins: one line to standard error, "<PRIORITY>" prefixed under systemd. Text for
 * people, or one JSON object (RFC 8259) a line for programs: time (UTC, RFC 3339), level, program, pid, connection if
 * it is about one, message.
 *
 * Only programs log. The library sets no sink, so that nothing in it prints: without log_open() lines are dropped.
 */
#ifndef VACCEL_UTIL_LOG_H
#define VACCEL_UTIL_LOG_H

#include <syslog.h>

/* Starts logging to standard error: lines up to and including priority level (LOG_ERR .. LOG_DEBUG). */
void log_open(const char *name, int level);

/* Lines are JSON objects from now on. Before threads start. */
void log_use_json(void);

/*
 * A format that begins with "connection %u: " is about that connection, which is how JSON knows: what a guest wrote
 * cannot claim to be another's.
 */
#define LOG_CONNECTION "connection %u: "

/* Thread-safe; one write(2) per line. Control characters in text are replaced: guests choose some of it. */
__attribute__((cold, format(printf, 2, 3))) void log_line(int priority, const char *format, ...);

#define log_error(...)	 log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_DEBUG, __VA_ARGS__)

#endif
