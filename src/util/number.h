/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as administrators write them in configurations. */
#ifndef VACCEL_UTIL_NUMBER_H
#define VACCEL_UTIL_NUMBER_H

#include <stdint.h>

/* "64", "64K", "2G": digits, and a K, M, G or T for powers of 1024. -EINVAL no number; -ERANGE too large. */
int number_parse(const char *text, uint64_t *ret);

#endif
