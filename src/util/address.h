/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of sockets as text: "unix:PATH", "127.0.0.1:9100", "[::1]:9100". Numbers only: nothing is looked up. */
#ifndef VACCEL_UTIL_ADDRESS_H
#define VACCEL_UTIL_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESS_UNIX "unix:"

union address {
	struct sockaddr any;
	struct sockaddr_un un;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* -EINVAL: it is none, or its path is too long or its port 0. */
int address_parse(const char *text, union address *ret_address, socklen_t *ret_len);
/* Whether only this machine can reach it. */
bool address_is_loopback(const union address *address);

#endif
