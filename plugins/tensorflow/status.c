/* SPDX-License-Identifier: Apache-2.0 */
/* TensorFlow's codes: the one table that gives each its errno. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "tensorflow.h"

/*
 * What inputs can be to blame for is EINVAL and ERANGE, and nothing else is. A worker that is interrupted is another matter
 * than a run that TensorFlow aborts: not EINTR.
 */
static const struct {
	TF_Code code;
	int error;
} table[] = {
	{ TF_OK, 0 },
	{ TF_CANCELLED, ECANCELED },
	{ TF_UNKNOWN, EIO },
	{ TF_INVALID_ARGUMENT, EINVAL },
	{ TF_DEADLINE_EXCEEDED, ETIMEDOUT },
	{ TF_NOT_FOUND, ENOENT },
	{ TF_ALREADY_EXISTS, EEXIST },
	{ TF_PERMISSION_DENIED, EACCES },
	{ TF_UNAUTHENTICATED, EACCES },
	{ TF_RESOURCE_EXHAUSTED, ENOMEM },
	{ TF_FAILED_PRECONDITION, EIO },
	{ TF_ABORTED, EIO },
	{ TF_OUT_OF_RANGE, ERANGE },
	{ TF_UNIMPLEMENTED, EOPNOTSUPP },
	{ TF_INTERNAL, EIO },
	{ TF_UNAVAILABLE, EIO },
	{ TF_DATA_LOSS, EBADMSG },
};

int tf_code_errno(TF_Code code)
{
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].code == code)
			return -table[i].error;
	return -EIO;
}

int tf_error(const struct vaccel_plugin_report *report, const TF_Status *status, const char *what, ...)
{
	const char *message = tf.Message(status);
	char text[256];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	/* Behind the first line comes a trace of the graph. */
	return vaccel_plugin_error(report, tf_code_errno(tf.GetCode(status)), "%s: %.*s", text,
				   (int)strcspn(message, "\n"), message);
}
