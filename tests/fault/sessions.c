/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: fault-sessions SOCKET
 *
 * A front-end of the crypto device that does what lines on its standard input say, one after the other, and answers each with
 * a line:
 *   create HEX     makes a session with this key of AES, by message    "id N", -1: there is none
 *   run N          encrypts a block of zeroes with session N           "status S HEX"
 *   end N          ends session N and asks whether it was there        "ended R"
 * or "failed R TEXT" when nothing was answered. Its end is that of its input.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crypt.h"
#include "util/util.h"

#define BLOCK 16

static void create(struct crypt *crypt, const char *hex)
{
	struct error error = { 0 };
	struct session_plan plan;
	uint8_t key[32];
	int64_t id = -1;
	uint32_t len = 0;
	int r;

	while (len < sizeof(key) && sscanf(hex + 2 * len, "%2hhx", &key[len]) == 1)
		len++;
	plan = crypt_cbc(len % 32 ? SESSION_OLD : SESSION_NEW, key, len, VIRTIO_CRYPTO_OP_ENCRYPT);
	r = crypt_create(crypt, &plan, &id, &error);
	if (r < 0)
		printf("failed %d %s\n", r, error.text);
	else
		printf("id %" PRId64 "\n", id);
}

static void run(struct crypt *crypt, uint64_t id)
{
	const uint8_t *result = crypt_heap(crypt, 4096);
	int r;

	memset(crypt_heap(crypt, 0), 0, BLOCK);
	memset(crypt_heap(crypt, 4096), 0, BLOCK);
	r = crypt_run(crypt, 0, id, VIRTIO_CRYPTO_CIPHER_ENCRYPT, 0, 4096, BLOCK);
	printf("status %d ", r);
	for (int i = 0; i < BLOCK; i++)
		printf("%02x", result[i]);
	putchar('\n');
}

int main(int argc, char **argv)
{
	struct error error = { 0 };
	struct crypt *crypt = NULL;
	char line[256];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 2 || crypt_open(argv[1], false, &crypt, &error) < 0) {
		fprintf(stderr, "fault-sessions: %s\n", argc == 2 ? error.text : "SOCKET?");
		return 1;
	}
	puts("open");
	while (fgets(line, sizeof(line), stdin)) {
		char word[16] = "", what[128] = "";

		sscanf(line, "%15s %127s", word, what);
		if (!strcmp(word, "create"))
			create(crypt, what);
		else if (!strcmp(word, "run"))
			run(crypt, strtoull(what, NULL, 10));
		else
			printf("ended %d\n", crypt_end(crypt, strtoull(what, NULL, 10), true, &error));
	}
	crypt_close(crypt);
	return 0;
}
