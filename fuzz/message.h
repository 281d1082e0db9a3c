/* SPDX-License-Identifier: Apache-2.0 */
/* An input of target message: a row of these, each followed by len bytes of payload. */
#ifndef FUZZ_MESSAGE_H
#define FUZZ_MESSAGE_H

#include <stdint.h>

enum fuzz_fd {
	FUZZ_FD_MEMORY, /* 64 KiB */
	FUZZ_FD_EVENT,
	FUZZ_FD_JOURNAL, /* the one that was answered last, or a small memory file */
	FUZZ_FD_SOCKET,
	FUZZ_FD_PIPE,
	FUZZ_FD_NULL, /* /dev/null */
	FUZZ_FD_KINDS,
};

struct fuzz_message {
	uint16_t request;
	uint8_t flags;
	uint8_t n_fds;
	uint16_t size; /* as the header says */
	uint16_t len;  /* bytes that come */
	uint8_t fds[8];
};

#endif
