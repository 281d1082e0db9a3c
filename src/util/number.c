/* SPDX-License-Identifier: Apache-2.0 */
/* See number.h. */
#include "util/number.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

int number_parse(const char *text, uint64_t *ret)
{
	static const char suffixes[] = "KMGT";
	unsigned long long value;
	const char *suffix;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	*ret = value;
	if (!*end)
		return 0;
	suffix = strchr(suffixes, toupper((unsigned char)*end));
	if (!suffix || end[1])
		return -EINVAL;
	for (long i = 0; i <= suffix - suffixes; i++)
		if (mul_u64(*ret, 1024, ret))
			return -ERANGE;
	return 0;
}
