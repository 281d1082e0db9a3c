/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel's cbc(aes) does, beside OpenSSL's: run in guests, where a driver of a device serves it.
 *
 * usage: kernel-cipher DRIVER vectors FILE...
 *        kernel-cipher DRIVER files IN OUT KEY IV PROCESSES
 *        kernel-cipher DRIVER storm SECONDS PROCESSES
 *
 * vectors: the lines of mode cbc of these files (vector.h). files: the folder IN has files NAME.plain and, made by
 * `openssl enc -aes-N-cbc -K KEY -iv IV`, NAME.enc; each is encrypted and compared, written to OUT/NAME.enc, and decrypted
 * from IN/NAME.enc and compared. storm: messages of random size, place, way and key, each encrypted, compared with what
 * OpenSSL makes of it, and decrypted again. Prints what was done; exit status 0: all of it was right; 1: standard error says
 * what was not; 2 usage.
 */
#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vaccel/ops.h>
#include "afalg.h"
#include "vector.h"

enum {
	PAGE = 4096,
	LARGEST = 1 << 18, /* bytes */
	MAX_PROCESSES = 64,
	STUCK_SECONDS = 240
};

static const char *driver;

__attribute__((format(printf, 1, 2))) static int wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return 1;
}

/* ---- Vectors ---- */

static int run_once(const struct vector_bytes *key, const struct afalg_message *message)
{
	int key_fd = afalg_key(driver, key->data, key->len), fd, r;

	if (key_fd < 0)
		return key_fd;
	fd = afalg_open(key_fd);
	r = fd < 0 ? fd : afalg_run(fd, message);
	if (fd >= 0)
		close(fd);
	close(key_fd);
	return r;
}

static int check_vector(const struct vector_file *file, const struct vector *vector)
{
	uint8_t *result = calloc(1, vector->source.len);
	int r = -ENOMEM;

	for (unsigned int way = AFALG_COPY; result && way <= AFALG_SPLICE; way++) {
		r = run_once(&vector->key, &(struct afalg_message){ .source = vector->source.data,
								    .destination = result,
								    .len = vector->source.len,
								    .piece = AFALG_PIECE,
								    .iv = vector->iv.data,
								    .way = way,
								    .encrypt = vector->direction == VACCEL_ENCRYPT });
		if (!r && memcmp(result, vector->result.data, vector->result.len))
			r = -EBADMSG;
		if (r)
			break;
	}
	free(result);
	return r ? wrong("%s:%lu: %s: %s", file->path, file->number, vector->origin, strerror(-r)) : 0;
}

static int vectors(int argc, char **argv)
{
	unsigned int n = 0;
	int failed = 0, r;

	for (int i = 0; i < argc; i++) {
		struct vector_file file;
		struct vector vector;

		r = vector_open(&file, argv[i]);
		if (r)
			return wrong("cannot open %s: %s", argv[i], strerror(-r));
		while ((r = vector_next(&file, &vector)) > 0)
			if (vector.mode == VACCEL_CBC) {
				failed |= check_vector(&file, &vector);
				n++;
			}
		vector_close(&file);
		failed |= r < 0;
	}
	printf("%u vectors\n", n);
	return failed || !n ? wrong("vectors failed, or there were none") : 0;
}

/* ---- Files ---- */

struct contents {
	uint8_t *data;
	size_t len;
};

/* Reads a file to so many bytes behind the beginning of a page, with room for padding. */
static struct contents read_file(const char *folder, const char *name, const char *suffix, size_t offset)
{
	struct contents contents = { 0 };
	char path[4096];
	FILE *file;
	long len;

	snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffix);
	file = fopen(path, "re");
	if (!file || fseek(file, 0, SEEK_END) || (len = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
		exit(wrong("cannot read %s: %s", path, strerror(errno)));
	contents.len = (size_t)len;
	contents.data = aligned_alloc(PAGE, roundup(contents.len + offset + AFALG_BLOCK, (size_t)PAGE));
	if (!contents.data)
		exit(wrong("out of memory"));
	contents.data += offset;
	if (fread(contents.data, 1, contents.len, file) != contents.len)
		exit(wrong("cannot read %s: it changes", path));
	fclose(file);
	return contents;
}

static void write_file(const char *folder, const char *name, const struct contents *contents)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.enc", folder, name);
	file = fopen(path, "we");
	if (!file || fwrite(contents->data, 1, contents->len, file) != contents->len || fclose(file))
		exit(wrong("cannot write %s", path));
}

/* As PKCS #7 has it. */
static void pad(struct contents *contents)
{
	size_t n = AFALG_BLOCK - contents->len % AFALG_BLOCK;

	memset(contents->data + contents->len, (int)n, n);
	contents->len += n;
}

static bool unpad(struct contents *contents)
{
	size_t n = contents->len ? contents->data[contents->len - 1] : 0;

	if (!n || n > AFALG_BLOCK || n > contents->len)
		return false;
	contents->len -= n;
	return true;
}

struct plan {
	const char *in, *out;
	struct vector_bytes key;
	uint8_t iv[AFALG_BLOCK];
};

static bool same(const struct contents *a, const struct contents *b)
{
	return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

/* Where it lies, how it gets there and in what pieces is another in each turn. */
static int one_file(const struct plan *plan, const char *name, unsigned int turn)
{
	size_t offset = turn * 509 % PAGE;
	struct contents plain = read_file(plan->in, name, ".plain", offset),
			enc = read_file(plan->in, name, ".enc", offset);
	struct contents result = read_file(plan->in, name, ".plain", (offset + 1021) % PAGE), padded = plain;
	struct afalg_message message = { .piece = turn % 3 ? AFALG_PIECE : 4096 + AFALG_BLOCK,
					 .iv = plan->iv,
					 .way = turn % 2 ? AFALG_SPLICE : AFALG_COPY,
					 .encrypt = true };
	int r;

	pad(&padded);
	message.source = padded.data;
	message.destination = result.data;
	result.len = message.len = padded.len;
	r = run_once(&plan->key, &message);
	if (r || !same(&result, &enc))
		return wrong("%s of %zu bytes: encrypting it: %s", name, plain.len, r ? strerror(-r) : "wrong bytes");
	write_file(plan->out, name, &result);
	message.source = message.destination = enc.data;
	message.encrypt = false;
	r = run_once(&plan->key, &message);
	if (r || !unpad(&enc) || !same(&enc, &plain))
		return wrong("%s of %zu bytes: decrypting it: %s", name, plain.len, r ? strerror(-r) : "wrong bytes");
	return 0;
}

static int own_files(const struct plan *plan, unsigned int process, unsigned int processes)
{
	struct dirent **entries;
	int n = scandir(plan->in, &entries, NULL, alphasort), failed = 0;
	unsigned int turn = 0;

	for (int i = 0; i < n; i++) {
		char *end = strstr(entries[i]->d_name, ".plain");

		if (!end || turn++ % processes != process)
			continue;
		*end = '\0';
		failed |= one_file(plan, entries[i]->d_name, turn);
	}
	return failed || !turn ? wrong("process %u: files failed, or there were none", process) : 0;
}

static size_t hex(const char *text, uint8_t *ret, size_t room)
{
	size_t n = 0;

	for (; n < room && sscanf(text + 2 * n, "%2hhx", &ret[n]) == 1; n++)
		;
	return n;
}

/* Runs a function in processes; returns their statuses, put together. */
static int spread(unsigned int processes, int (*work)(void *opaque, unsigned int process), void *opaque)
{
	pid_t pids[MAX_PROCESSES];
	int failed = 0, status;

	fflush(NULL);
	for (unsigned int i = 0; i < processes; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			exit(wrong("cannot fork: %s", strerror(errno)));
		if (!pids[i])
			_exit(work(opaque, i));
	}
	for (unsigned int i = 0; i < processes; i++)
		if (waitpid(pids[i], &status, 0) != pids[i] || status) {
			wrong("process %u ended with status %#x", i, (unsigned int)status);
			failed = 1;
		}
	return failed;
}

struct files_work {
	struct plan plan;
	unsigned int processes;
};

static int files_process(void *opaque, unsigned int process)
{
	struct files_work *work = opaque;

	return own_files(&work->plan, process, work->processes);
}

static int files(int argc, char **argv)
{
	uint8_t key[32];
	struct files_work work = { .plan = { .key.data = key } };

	if (argc != 5)
		return 2;
	work.plan.in = argv[0];
	work.plan.out = argv[1];
	work.plan.key.len = hex(argv[2], key, sizeof(key));
	hex(argv[3], work.plan.iv, sizeof(work.plan.iv));
	work.processes = (unsigned int)atoi(argv[4]);
	if (!work.processes || work.processes > MAX_PROCESSES)
		return 2;
	if (spread(work.processes, files_process, &work))
		return 1;
	puts("files are right");
	return 0;
}

/* ---- Storm ---- */

struct storm {
	unsigned int seconds;
	struct storm_count {
		_Atomic(uint64_t) messages, bytes;
	} * counts; /* of each process; shared */
};

/* One of a process's. Buffers begin at a page. */
struct rider {
	unsigned int seed;
	uint8_t key[32], iv[AFALG_BLOCK];
	size_t key_len;
	int key_fd, fd;
	EVP_CIPHER_CTX *openssl;
	uint8_t *source, *result, *expected;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static unsigned int choose(struct rider *rider, unsigned int below)
{
	return (unsigned int)rand_r(&rider->seed) % below;
}

static void scramble(struct rider *rider, uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)choose(rider, 256);
}

/* Another key, so another pair of sessions of the device's. */
static int new_key(struct rider *rider)
{
	if (rider->fd >= 0)
		close(rider->fd);
	if (rider->key_fd >= 0)
		close(rider->key_fd);
	rider->fd = -1;
	rider->key_len = 16 + 8 * choose(rider, 3);
	scramble(rider, rider->key, rider->key_len);
	rider->key_fd = afalg_key(driver, rider->key, rider->key_len);
	if (rider->key_fd < 0)
		return rider->key_fd;
	rider->fd = afalg_open(rider->key_fd);
	return rider->fd < 0 ? rider->fd : 0;
}

static bool expect(struct rider *rider, const uint8_t *source, size_t len)
{
	const EVP_CIPHER *cipher = rider->key_len == 16	  ? EVP_aes_128_cbc()
				   : rider->key_len == 24 ? EVP_aes_192_cbc()
							  : EVP_aes_256_cbc();
	int n;

	return EVP_EncryptInit_ex2(rider->openssl, cipher, rider->key, rider->iv, NULL) &&
	       EVP_CIPHER_CTX_set_padding(rider->openssl, 0) &&
	       EVP_EncryptUpdate(rider->openssl, rider->expected, &n, source, (int)len) && (size_t)n == len;
}

/* Never in place: what a worker has begun to overwrite when it dies cannot be done again, and that is an error. */
static int one_message(struct rider *rider, size_t *ret_len)
{
	size_t len = AFALG_BLOCK * (1 + choose(rider, 1u << choose(rider, 15)));
	uint8_t *source = rider->source + choose(rider, PAGE), *result = rider->result + choose(rider, PAGE);
	struct afalg_message message = { .source = source,
					 .destination = result,
					 .len = len,
					 .piece = AFALG_PIECE,
					 .iv = rider->iv,
					 .way = choose(rider, 2) ? AFALG_SPLICE : AFALG_COPY,
					 .encrypt = true };
	int r;

	scramble(rider, source, MIN(len, 64));
	scramble(rider, rider->iv, sizeof(rider->iv));
	if (!expect(rider, source, len))
		return wrong("OpenSSL failed");
	r = afalg_run(rider->fd, &message);
	if (r || memcmp(result, rider->expected, len))
		return wrong("encrypting %zu bytes: %s", len, r ? strerror(-r) : "wrong bytes");
	message = (struct afalg_message){ .source = rider->expected,
					  .destination = result,
					  .len = len,
					  .piece = AFALG_PIECE,
					  .iv = rider->iv,
					  .way = message.way };
	r = afalg_run(rider->fd, &message);
	if (r || memcmp(result, source, len))
		return wrong("decrypting %zu bytes: %s", len, r ? strerror(-r) : "wrong bytes");
	*ret_len = 2 * len;
	return 0;
}

static int storm_process(void *opaque, unsigned int process)
{
	struct storm *storm = opaque;
	struct rider rider = { .seed = process + 1, .key_fd = -1, .fd = -1, .openssl = EVP_CIPHER_CTX_new() };
	double end = now() + storm->seconds;
	size_t room = LARGEST + 2 * PAGE, len = 0;
	int r;

	rider.source = aligned_alloc(PAGE, room);
	rider.result = aligned_alloc(PAGE, room);
	rider.expected = aligned_alloc(PAGE, room);
	if (!rider.source || !rider.result || !rider.expected || !rider.openssl)
		return wrong("out of memory");
	scramble(&rider, rider.source, room);
	do {
		if (storm->counts[process].messages % 16 == 0) {
			r = new_key(&rider);
			if (r)
				return wrong("process %u: cannot set a key: %s", process, strerror(-r));
		}
		if (one_message(&rider, &len))
			return wrong("process %u failed after %lu messages", process,
				     (unsigned long)storm->counts[process].messages);
		storm->counts[process].messages++;
		storm->counts[process].bytes += len;
	} while (now() < end);
	return 0;
}

/* A process that hangs in the kernel cannot be ended, but it can be named. */
static void stuck(int signal)
{
	static const char text[] = "processes hang\n";

	(void)signal;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

static int storm(int argc, char **argv)
{
	struct storm storm = { .seconds = argc == 2 ? (unsigned int)atoi(argv[0]) : 0 };
	unsigned int processes = argc == 2 ? (unsigned int)atoi(argv[1]) : 0;
	uint64_t messages = 0, bytes = 0;

	if (!storm.seconds || !processes || processes > MAX_PROCESSES)
		return 2;
	storm.counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (storm.counts == MAP_FAILED)
		return wrong("out of memory");
	signal(SIGALRM, stuck);
	alarm(storm.seconds + STUCK_SECONDS);
	if (spread(processes, storm_process, &storm))
		return 1;
	for (unsigned int i = 0; i < processes; i++) {
		messages += storm.counts[i].messages;
		bytes += storm.counts[i].bytes;
	}
	printf("%u processes, %u s: %lu messages, %lu bytes, all right\n", processes, storm.seconds,
	       (unsigned long)messages, (unsigned long)bytes);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = { { "vectors", vectors }, { "files", files }, { "storm", storm } };
	int status = 2;

	if (argc > 2)
		driver = argv[1];
	for (size_t i = 0; driver && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[2], commands[i].name))
			status = commands[i].run(argc - 3, argv + 3);
	if (status == 2)
		wrong("usage: kernel-cipher DRIVER vectors FILE... | files IN OUT KEY IV PROCESSES | storm SECONDS "
		      "PROCESSES");
	return status;
}
