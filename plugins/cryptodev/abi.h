/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few facts of /dev/crypto that are needed here: its numbers and structs as cryptodev-linux 1.9 to 1.14 has them, whose module
 * and header few distributions carry. Versions with compression lay structs out otherwise; what is asked of such a device
 * fails.
 */
#ifndef PLUGINS_CRYPTODEV_ABI_H
#define PLUGINS_CRYPTODEV_ABI_H

#include <stdint.h>
#include <sys/ioctl.h>

#define CRYPTODEV_PATH "/dev/crypto"

enum cryptodev_cipher {
	CRYPTODEV_AES_CBC = 11,
	CRYPTODEV_AES_CTR = 21,
	CRYPTODEV_AES_XTS = 22,
	CRYPTODEV_AES_ECB = 23,
};

enum cryptodev_operation {
	CRYPTODEV_ENCRYPT = 0,
	CRYPTODEV_DECRYPT = 1,
};

/* A cipher with its key. Addresses are the caller's. */
struct cryptodev_session {
	uint32_t cipher; /* enum cryptodev_cipher */
	uint32_t mac;
	uint32_t key_len;
	const void *key;
	uint32_t mac_key_len;
	const void *mac_key;
	uint32_t id; /* out */
};

struct cryptodev_crypt {
	uint32_t session;
	uint16_t operation; /* enum cryptodev_operation */
	uint16_t flags;
	uint32_t len;
	const void *source;
	void *destination;
	void *mac;
	const void *iv;
};

/* Names of what a session runs on. */
struct cryptodev_info {
	uint32_t session;
	struct {
		char name[64];
		char driver[64];
	} cipher, mac;
	uint16_t alignment;
	uint32_t flags;
};

#define CRYPTODEV_OPEN	_IOWR('c', 102, struct cryptodev_session)
#define CRYPTODEV_CLOSE _IOW('c', 103, uint32_t)
#define CRYPTODEV_CRYPT _IOWR('c', 104, struct cryptodev_crypt)
#define CRYPTODEV_INFO	_IOWR('c', 107, struct cryptodev_info)

#endif
