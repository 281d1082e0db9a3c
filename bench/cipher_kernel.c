/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways "kernel" and "virtio-crypto" of bench crypto: sockets of AF_ALG, bound to a driver by its name, since the kernel
 * would otherwise choose. Software is what it would choose if there was no virtio-crypto. A message is copied into the socket in
 * pieces that it has room for, and read from there.
 */
#include <errno.h>
#include <linux/if_alg.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/cipher.h"
#include "util/util.h"

#define PIECE (64u << 10) /* less than a socket's buffer has room for by default */

struct sockets {
	int driver, run;
};

static int fail(struct error *error, const char *action)
{
	return error_set(error, -errno, "AF_ALG: cannot %s: %s", action, strerror(errno));
}

/* The socket, or -EOPNOTSUPP. */
static int bind_driver(const char *driver, struct error *error)
{
	struct sockaddr_alg addr = { .salg_family = AF_ALG, .salg_type = "skcipher" };
	_cleanup_close_ int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return error_set(error, -EOPNOTSUPP, "AF_ALG: the kernel has none: %s", strerror(errno));
	strncpy((char *)addr.salg_name, driver, sizeof(addr.salg_name) - 1);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return error_set(error, -EOPNOTSUPP, "AF_ALG: no driver %s: %s", driver, strerror(errno));
	r = fd;
	fd = -1;
	return r;
}

static int open_driver(struct bench_cipher *cipher, const char *driver, struct error *error)
{
	struct sockets *sockets = calloc(1, sizeof(*sockets));

	if (!sockets)
		return error_set(error, -ENOMEM, "out of memory");
	*sockets = (struct sockets){ .driver = bind_driver(driver, error), .run = -1 };
	cipher->state = sockets;
	if (sockets->driver < 0)
		return sockets->driver;
	if (setsockopt(sockets->driver, SOL_ALG, ALG_SET_KEY, cipher->key, sizeof(cipher->key)) < 0)
		return fail(error, "set a key");
	sockets->run = accept4(sockets->driver, NULL, NULL, SOCK_CLOEXEC);
	return sockets->run < 0 ? fail(error, "begin") : 0;
}

static void close_driver(struct bench_cipher *cipher)
{
	struct sockets *sockets = cipher->state;

	if (!sockets)
		return;
	close_fd(&sockets->run);
	close_fd(&sockets->driver);
	free(sockets);
}

/* By priority, as the kernel has them on x86 and elsewhere. */
static int kernel_open(struct bench_cipher *cipher, struct error *error)
{
	static const char *const drivers[] = { "cbc-aes-aesni", "cbc-aes-ce", "cbc(aes-generic)" };
	int r = -EOPNOTSUPP;

	for (size_t i = 0; r == -EOPNOTSUPP && i < ARRAY_SIZE(drivers); i++) {
		close_driver(cipher);
		cipher->state = NULL;
		r = open_driver(cipher, drivers[i], error);
	}
	return r;
}

static int virtio_open(struct bench_cipher *cipher, struct error *error)
{
	return open_driver(cipher, "virtio_crypto_aes_cbc", error);
}

static void *add_control(struct msghdr *message, struct cmsghdr **at, int type, size_t len)
{
	*at = *at ? CMSG_NXTHDR(message, *at) : CMSG_FIRSTHDR(message);
	**at = (struct cmsghdr){ .cmsg_level = SOL_ALG, .cmsg_type = type, .cmsg_len = CMSG_LEN(len) };
	return CMSG_DATA(*at);
}

/* The first piece tells what to do. */
static ssize_t send_piece(const struct bench_cipher *cipher, const struct bench_cipher_slot *slot, uint64_t offset,
			  size_t len)
{
	union {
		char data[CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(uint32_t) + 16)];
		struct cmsghdr align;
	} control = { 0 };
	const struct sockets *sockets = cipher->state;
	struct iovec piece = { .iov_base = slot->source + offset, .iov_len = len };
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
	uint32_t op = cipher->plan.direction == VACCEL_ENCRYPT ? ALG_OP_ENCRYPT : ALG_OP_DECRYPT, iv_len = 16;
	struct cmsghdr *at = NULL;
	unsigned char *iv;

	if (offset == 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		memcpy(add_control(&message, &at, ALG_SET_OP, sizeof(op)), &op, sizeof(op));
		iv = add_control(&message, &at, ALG_SET_IV, sizeof(iv_len) + 16);
		memcpy(iv, &iv_len, sizeof(iv_len));
		memcpy(iv + sizeof(iv_len), slot->iv, 16);
	}
	return sendmsg(sockets->run, &message, offset + len < cipher->plan.size ? MSG_MORE : 0);
}

static int run(struct bench_cipher *cipher, struct bench_cipher_slot *slot, struct error *error)
{
	const struct sockets *sockets = cipher->state;

	for (uint64_t offset = 0; offset < cipher->plan.size;) {
		size_t len = MIN(cipher->plan.size - offset, PIECE), done = 0;
		ssize_t n = send_piece(cipher, slot, offset, len);

		if (n != (ssize_t)len)
			return n < 0 ? fail(error, "send") : error_set(error, -EIO, "AF_ALG: took only %zd bytes", n);
		while (done < len) {
			n = read(sockets->run, slot->destination + offset + done, len - done);
			if (n <= 0)
				return n < 0 ? fail(error, "read") : error_set(error, -EIO, "AF_ALG: gave nothing");
			done += (size_t)n;
		}
		offset += len;
	}
	return 0;
}

const struct bench_cipher_way bench_cipher_kernel = {
	.name = "kernel",
	.open = kernel_open,
	.start = run,
	.close = close_driver,
};

const struct bench_cipher_way bench_cipher_virtio = {
	.name = "virtio-crypto",
	.open = virtio_open,
	.start = run,
	.close = close_driver,
};
