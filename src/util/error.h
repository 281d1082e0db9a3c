/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An error as it travels up: a negative errno and one sentence (object, action, cause) written where it happened.
 * Owned by the caller, usually on its stack; NULL is allowed wherever a struct error * is taken.
 */
#ifndef VACCEL_UTIL_ERROR_H
#define VACCEL_UTIL_ERROR_H

#define ERROR_TEXT 192

struct error {
	int code;
	char text[ERROR_TEXT];
};

/* There is none yet. For what every request runs through: an initializer would write all of the text. */
static inline void error_clear(struct error *error)
{
	error->code = 0;
	error->text[0] = '\0';
}

/* Writes code (negative errno) and text; returns code, so that `return error_set(...)` reads well. */
__attribute__((cold, format(printf, 3, 4))) int error_set(struct error *error, int code, const char *format, ...);

/* Puts "PREFIX: " before the text that is there. Returns nothing: without an error there is no code to return. */
__attribute__((cold, format(printf, 2, 3))) void error_prefix(struct error *error, const char *format, ...);

/* "ENOENT" for 2 or -2; the number as text for unknown ones (static storage per thread). */
const char *error_name(int code);

#endif
