/* SPDX-License-Identifier: Apache-2.0 */
/* vaccel cipher: a file in, encrypted or decrypted by the host, a file out. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cli/cipher.h"

#define MAX_AAD	     65536
#define MAX_KEY_FILE 256 /* bytes: of the longest key as digits, and more */
#define COPY	     65536
#define READ_MORE    (1u << 20)

struct cipher_options {
	struct cli_common common;
	int cipher;
	int decrypt, no_padding;
	const char *key, *key_file, *host_key;
	const char *iv, *aad, *tag, *output;
	uint64_t unit;
};

static const char *const ciphers[] = {
	"aes-128-ecb", "aes-192-ecb", "aes-256-ecb", "aes-128-cbc", "aes-192-cbc",
	"aes-256-cbc", "aes-128-ctr", "aes-192-ctr", "aes-256-ctr", "aes-128-xts",
	"aes-256-xts", "aes-128-gcm", "aes-192-gcm", "aes-256-gcm", NULL,
};

static void defaults(void *data)
{
	struct cipher_options *options = data;

	options->cipher = -1;
	options->unit = 512;
	options->output = "-";
}

#define TEXT(member_, name_, letter_, type_, value_, help_) \
	CLI_ROW_VALUE(struct cipher_options, member_, name_, letter_, type_, value_, help_)

static const struct cli_option cipher_options[] = {
	CLI_ROW_CHOICE(struct cipher_options, cipher, "cipher", 'c', "CIPHER", ciphers,
		       "aes-128-cbc, aes-256-gcm, ..."),
	CLI_ROW_FLAG(struct cipher_options, decrypt, "encrypt", 'e', 0, "encrypt (default)"),
	CLI_ROW_FLAG(struct cipher_options, decrypt, "decrypt", 'd', 1, "decrypt"),
	TEXT(key_file, "key-file", 'k', CLI_FILE, "FILE", "the key: its bytes, or hexadecimal digits"),
	TEXT(key, "key", 'K', CLI_TEXT, "HEX", "the key as digits, which other users may see"),
	TEXT(host_key, "host-key", 0, CLI_TEXT, "NAME", "a key that the host holds"),
	TEXT(iv, "iv", 0, CLI_TEXT, "HEX", "initialisation vector"),
	TEXT(aad, "aad", 0, CLI_TEXT, "HEX", "additional data of GCM"),
	TEXT(tag, "tag", 0, CLI_FILE, "FILE", "GCM: the tag is in FILE, as digits, not behind the data"),
	CLI_ROW_COUNT(struct cipher_options, unit, "unit", 0, "BYTES", 16, 1u << 24, "XTS: bytes of a data unit (512)"),
	CLI_ROW_FLAG(struct cipher_options, no_padding, "no-padding", 0, 1, "ECB, CBC: whole blocks, nothing is added"),
	TEXT(output, "output", 'o', CLI_FILE, "FILE", "where the result goes (standard output)"),
	CLI_ROWS_COMMON(struct cipher_options),
};

/* ---- Files ---- */

int cipher_read(struct cipher_job *job, void *data, size_t len, size_t *ret_len, struct error *error)
{
	size_t at = 0;

	while (at < len) {
		ssize_t n = read(job->in, (char *)data + at, len - at);

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return error_set(error, -errno, "input %s: cannot read: %s", job->input, strerror(errno));
		at += n > 0 ? (size_t)n : 0;
	}
	job->bytes_in += at;
	progress("%s: %llu MiB", job->input, (unsigned long long)(job->bytes_in >> 20));
	*ret_len = at;
	return 0;
}

int cipher_read_all(struct cipher_job *job, size_t max, uint8_t **ret_data, size_t *ret_len, struct error *error)
{
	_cleanup_free_ uint8_t *data = NULL;
	size_t len = 0, room = 0, n;

	do {
		uint8_t *grown = reallocarray(data, room + READ_MORE, 1);
		int r;

		if (!grown)
			return error_set(error, -ENOMEM, "input %s: cannot store: out of memory", job->input);
		data = grown;
		room += READ_MORE;
		r = cipher_read(job, data + len, READ_MORE, &n, error);
		if (r < 0)
			return r;
		len += n;
		if (len > max)
			return error_set(
				error, -EFBIG,
				"input %s: has more than the %zu bytes that a key for decryption alone takes at once",
				job->input, max);
	} while (n == READ_MORE);
	*ret_data = data;
	*ret_len = len;
	data = NULL;
	return 0;
}

int cipher_write(struct cipher_job *job, const void *data, size_t len, struct error *error)
{
	const char *at = data;

	job->bytes_out += len;
	while (len) {
		ssize_t n = write(job->out, at, len);

		if (n < 0 && errno != EINTR)
			return error_set(error, -errno, "output: cannot write: %s", strerror(errno));
		at += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int cipher_from_hex(const char *text, uint8_t *data, size_t room)
{
	size_t n = 0;

	for (; text[0] && text[1] && n < room; text += 2, n++) {
		char pair[3] = { text[0], text[1], 0 }, *end;

		data[n] = (uint8_t)strtoul(pair, &end, 16);
		/* It takes signs and spaces, too. */
		if (*end || strspn(pair, "0123456789abcdefABCDEF") != 2)
			return -EINVAL;
		explicit_bzero(pair, sizeof(pair));
	}
	return *text ? -EINVAL : (int)n;
}

void cipher_to_hex(const uint8_t *data, size_t len, char *text)
{
	*text = 0;
	for (size_t i = 0; i < len; i++)
		sprintf(text + 2 * i, "%02x", data[i]);
}

static bool is_standard(const char *path)
{
	return path && !strcmp(path, "-");
}

static int open_input(struct cli *cli, struct cipher_job *job)
{
	job->in = is_standard(job->input) ? STDIN_FILENO : open(job->input, O_RDONLY | O_CLOEXEC);
	return job->in < 0 ? cli_fail(cli, CLI_FAILED, -errno, "input %s: cannot open: %s", job->input, strerror(errno))
			   : CLI_OK;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && S_ISREG(x.st_mode) && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

static bool is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static bool names_file(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Not emptied before it is known not to be the input. Links stay, also when they lead to standard output. */
static int open_output(struct cli *cli, struct cipher_job *job)
{
	const char *path = job->output;
	bool standard = is_standard(path);

	job->out = standard ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (job->out < 0)
		return cli_fail(cli, CLI_FAILED, -errno, "output %s: cannot create: %s", path, strerror(errno));
	if (same_file(job->in, job->out))
		return cli_fail(cli, CLI_USAGE, -EINVAL, "output %s: is the input", path);
	if (standard)
		return CLI_OK;
	job->removable = names_file(path);
	if (job->removable)
		cli_unfinished_file(path);
	return is_file(job->out) && ftruncate(job->out, 0) < 0
		       ? cli_fail(cli, CLI_FAILED, -errno, "output %s: cannot empty it: %s", path, strerror(errno))
		       : CLI_OK;
}

/* ---- Options ---- */

static int parse_hex(struct cli *cli, const char *option, const char *text, uint8_t *data, size_t room, size_t *ret_len)
{
	int n = text ? cipher_from_hex(text, data, room) : 0;

	if (n < 0)
		return cli_fail(cli, CLI_USAGE, -EINVAL,
				"option --%s: is not valid: it must be pairs of hexadecimal digits, %zu at most",
				option, room);
	*ret_len = (size_t)n;
	return CLI_OK;
}

static int check_iv(struct cli *cli, const struct cipher_options *options, const struct cipher_job *job)
{
	const struct cipher_mode *mode = job->mode;

	if (job->iv_len >= mode->iv_min && job->iv_len <= mode->iv_max)
		return CLI_OK;
	if (mode->iv_min == mode->iv_max)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option --iv: has %zu bytes, %s takes %u", job->iv_len,
				ciphers[options->cipher], mode->iv_max);
	return cli_fail(cli, CLI_USAGE, -EINVAL, "option --iv: has %zu bytes, %s takes %u to %u", job->iv_len,
			ciphers[options->cipher], mode->iv_min, mode->iv_max);
}

/* Standard input can be one thing only. */
static int check_input(struct cli *cli, const struct cipher_options *options, const struct cipher_job *job)
{
	bool input = is_standard(job->input), key = is_standard(options->key_file);
	bool tag = is_standard(options->tag) && options->decrypt;

	if (input + key + tag < 2)
		return CLI_OK;
	return cli_fail(cli, CLI_USAGE, -EINVAL, "standard input: it cannot be both the %s and the %s",
			key ? "key" : "tag", input ? "input" : "tag");
}

static int check_options(struct cli *cli, const struct cipher_options *options, struct cipher_job *job)
{
	bool gcm = job->mode->mode == VACCEL_GCM;

	if (!options->key + !options->key_file + !options->host_key != 2)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "key: one of --key-file, --key and --host-key must name it");
	if (!gcm && (options->aad || options->tag))
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option --%s: %s has none", options->aad ? "aad" : "tag",
				ciphers[options->cipher]);
	if (options->no_padding && job->mode->unit == 1)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option --no-padding: %s has no padding",
				ciphers[options->cipher]);
	if (cli->json && is_standard(options->output))
		return cli_fail(cli, CLI_USAGE, -EINVAL,
				"option --json: needs --output, since the result would be between its lines");
	return check_input(cli, options, job);
}

static int job_from(struct cli *cli, const struct cipher_options *options, struct cipher_job *job)
{
	int status;

	if (options->cipher < 0)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option --cipher: is missing; see vaccel cipher --help");
	if (!cipher_by_name(ciphers[options->cipher], &job->mode, &job->key_bytes))
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option --cipher: %s is not known", ciphers[options->cipher]);
	job->direction = options->decrypt ? VACCEL_DECRYPT : VACCEL_ENCRYPT;
	job->padding = job->mode->unit > 1 && !options->no_padding;
	job->unit = options->unit;
	status = check_options(cli, options, job);
	if (status == CLI_OK)
		status = parse_hex(cli, "iv", options->iv, job->iv, sizeof(job->iv), &job->iv_len);
	if (status == CLI_OK)
		status = check_iv(cli, options, job);
	if (status != CLI_OK || !options->aad)
		return status;
	job->aad = malloc(MAX_AAD);
	if (!job->aad)
		return cli_fail(cli, CLI_FAILED, -ENOMEM, "additional data: cannot store: out of memory");
	return parse_hex(cli, "aad", options->aad, job->aad, MAX_AAD, &job->aad_len);
}

/* ---- The key ---- */

/* Bytes as they are, or their digits and perhaps the end of a line. */
static int read_key_file(struct cli *cli, const char *path, size_t wanted, uint8_t *key)
{
	struct error error = { 0 };
	size_t len = 0;
	void *data = NULL;
	char digits[MAX_KEY_FILE + 1];
	int r = cli_read_file(path, MAX_KEY_FILE, &data, &len, &error), n = -EINVAL;

	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "key file %s: %s", path, error.text);
	memcpy(digits, data, len);
	digits[len] = 0;
	if (len == wanted) {
		memcpy(key, data, len);
		n = (int)len;
	} else if (len == 2 * wanted || (len == 2 * wanted + 1 && digits[len - 1] == '\n')) {
		digits[2 * wanted] = 0;
		n = cipher_from_hex(digits, key, wanted);
	}
	explicit_bzero(digits, sizeof(digits));
	explicit_bzero(data, len);
	free(data);
	return n == (int)wanted ? CLI_OK
				: cli_fail(cli, CLI_FAILED, -EINVAL,
					   "key file %s: has neither the %zu bytes of a key nor their %zu digits", path,
					   wanted, 2 * wanted);
}

static int take_key(struct cli *cli, const struct cipher_options *options, size_t wanted, uint8_t *key)
{
	int n;

	if (options->key_file)
		return read_key_file(cli, options->key_file, wanted, key);
	n = cipher_from_hex(options->key, key, wanted);
	/* Whoever looks at the arguments of this process from now on does not see it. */
	explicit_bzero((char *)(uintptr_t)options->key, strlen(options->key));
	return n == (int)wanted ? CLI_OK
				: cli_fail(cli, CLI_USAGE, -EINVAL, "option --key: is not valid: %s takes %zu digits",
					   ciphers[options->cipher], 2 * wanted);
}

static int get_key(struct cli *cli, const struct cipher_options *options, struct cipher_job *job)
{
	uint32_t right = job->direction == VACCEL_ENCRYPT ? VACCEL_MAY_ENCRYPT : VACCEL_MAY_DECRYPT;
	size_t wanted = job->key_bytes;
	uint8_t key[64];
	int status, r;

	if (options->host_key) {
		r = vaccel_key_open(job->session, options->host_key, &job->key);
		if (r < 0)
			return cli_fail(cli, CLI_FAILED, r, "host key %s: cannot open: %s", options->host_key,
					vaccel_error());
		if (vaccel_key_about(job->key)->bits != wanted * 8)
			return cli_fail(cli, CLI_FAILED, -EINVAL, "host key %s: has %u bits, %s takes %zu",
					options->host_key, vaccel_key_about(job->key)->bits, ciphers[options->cipher],
					wanted * 8);
		return CLI_OK;
	}
	status = take_key(cli, options, wanted, key);
	if (status == CLI_OK) {
		r = vaccel_key_import(job->session, VACCEL_KEY_AES, 1u << job->mode->mode, right, key, wanted,
				      &job->key);
		if (r < 0)
			status = cli_fail(cli, CLI_FAILED, r, "key: cannot import: %s", vaccel_error());
	}
	explicit_bzero(key, sizeof(key));
	return status;
}

/* ---- The tag ---- */

static int read_tag(struct cli *cli, const struct cipher_options *options, struct cipher_job *job)
{
	char text[2 * CIPHER_MAX_TAG + 2] = "";
	struct error error = { 0 };
	size_t len = 0;
	void *data = NULL;
	int r;

	if (!options->tag)
		return CLI_OK;
	job->tag_len = CIPHER_MAX_TAG;
	if (job->direction == VACCEL_ENCRYPT)
		return CLI_OK;
	r = cli_read_file(options->tag, sizeof(text) - 1, &data, &len, &error);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "tag %s: %s", options->tag, error.text);
	memcpy(text, data, len);
	free(data);
	text[strcspn(text, "\n")] = 0;
	r = cipher_from_hex(text, job->tag, sizeof(job->tag));
	if (r <= 0)
		return cli_fail(cli, CLI_FAILED, -EINVAL, "tag %s: is not pairs of hexadecimal digits, 16 at most",
				options->tag);
	job->tag_len = (size_t)r;
	return CLI_OK;
}

static int write_tag(struct cli *cli, const struct cipher_options *options, const struct cipher_job *job)
{
	char text[2 * CIPHER_MAX_TAG + 2];
	struct error error = { 0 };
	int r;

	if (!options->tag || job->direction == VACCEL_DECRYPT)
		return CLI_OK;
	cipher_to_hex(job->tag, sizeof(job->tag), text);
	strcat(text, "\n");
	r = cli_write_file(options->tag, text, strlen(text), &error);
	return r < 0 ? cli_fail(cli, CLI_FAILED, r, "tag %s: %s", options->tag, error.text) : CLI_OK;
}

/* ---- The way through ---- */

/* A file without a name, where there is room for what path is to get. */
static int open_beside(const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *name = NULL;
	int fd;

	if (asprintf(&name, "%.*s.vaccel-cipher.XXXXXX", (int)(slash ? slash + 1 - path : 0), path) < 0) {
		name = NULL;
		return -1;
	}
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

/*
 * What is not known to be right yet waits where nobody finds it, whatever becomes of this process. Memory is for what is no
 * file, or may not have another one beside it; standard output may be anything.
 */
static int open_held(const struct cipher_job *job)
{
	int fd = !is_standard(job->output) && is_file(job->out) ? open_beside(job->output) : -1;

	return fd < 0 ? memfd_create("vaccel-cipher", MFD_CLOEXEC) : fd;
}

/* What was held back goes to where the result is to be. */
static int release(struct cipher_job *job, int held, struct error *error)
{
	uint64_t n_out = job->bytes_out;
	_cleanup_free_ char *data = malloc(COPY);
	ssize_t n = data ? lseek(held, 0, SEEK_SET) : -1;
	int r = 0;

	while (r == 0 && n >= 0 && (n = read(held, data, COPY)) > 0)
		r = cipher_write(job, data, (size_t)n, error);
	job->bytes_out = n_out;
	return n < 0 ? error_set(error, -errno, "output: cannot hold it back: %s", strerror(errno)) : r;
}

static int run_gcm(struct cipher_job *job, struct error *error)
{
	_cleanup_close_ int held = -1;
	int out = job->out, r;

	if (job->direction == VACCEL_ENCRYPT)
		return cipher_gcm(job, error);
	held = open_held(job);
	if (held < 0)
		return error_set(error, -errno, "output: cannot hold it back: %s", strerror(errno));
	job->out = held;
	r = cipher_gcm(job, error);
	job->out = out;
	return r < 0 ? r : release(job, held, error);
}

static void print_json(const struct cipher_options *options, const struct cipher_job *job, const char *transport,
		       uint64_t total_ns)
{
	struct json_object *object = json_object_new_object();
	char tag[2 * CIPHER_MAX_TAG + 1];

	js_text(object, "cipher", ciphers[options->cipher]);
	js_text(object, "direction", options->decrypt ? "decrypt" : "encrypt");
	js_text(object, "transport", transport);
	js_text(object, "key", options->host_key ? "held" : "imported");
	js_count(object, "bytes_in", job->bytes_in);
	js_count(object, "bytes_out", job->bytes_out);
	js_count(object, "requests", job->n_requests);
	js_count(object, "total_ns", total_ns);
	cipher_to_hex(job->tag, sizeof(job->tag), tag);
	js_text(object, "tag", job->mode->mode == VACCEL_GCM && !options->decrypt ? tag : NULL);
	cli_print_json(object);
}

/* Some file systems tell of what could not be written with the last close only. */
static int close_output(struct cipher_job *job, struct error *error)
{
	int fd = job->out;

	job->out = -1;
	return fd != STDOUT_FILENO && close(fd) < 0
		       ? error_set(error, -errno, "output: cannot write: %s", strerror(errno))
		       : 0;
}

static int transform(struct cli *cli, const struct cipher_options *options, struct cipher_job *job,
		     const char *transport)
{
	uint64_t start_ns = now_ns();
	struct error error = { 0 };
	int r = job->mode->mode == VACCEL_GCM ? run_gcm(job, &error) : cipher_pipe(job, &error);
	int status;

	progress_end();
	if (r == 0)
		r = close_output(job, &error);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "%s", error.text);
	status = write_tag(cli, options, job);
	if (status == CLI_OK && cli->json)
		print_json(options, job, transport, now_ns() - start_ns);
	return status;
}

static int run_job(struct cli *cli, const struct cipher_options *options, struct cipher_job *job,
		   struct vaccel_context *context)
{
	struct vaccel_info info = { .size = sizeof(info) };
	int r = vaccel_context_info(context, &info), status;

	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "transport: cannot ask what it is: %s", vaccel_error());
	job->max_request = info.max_request_bytes;
	status = read_tag(cli, options, job);
	if (status == CLI_OK)
		status = get_key(cli, options, job);
	if (status == CLI_OK)
		status = open_output(cli, job);
	if (status != CLI_OK)
		return status;
	status = transform(cli, options, job, info.transport);
	if (status != CLI_OK && job->removable)
		unlink(job->output);
	cli_keep_file();
	return status;
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct cipher_options *options = data;
	_cleanup_context_ struct vaccel_context *context = NULL;
	struct cipher_job job = { .input = argc ? argv[0] : "-", .output = options->output, .in = -1, .out = -1 };
	int status = job_from(cli, options, &job);

	if (status == CLI_OK)
		status = open_input(cli, &job);
	if (status == CLI_OK)
		status = cli_connect(cli, options->common.transport, &context, &job.session);
	if (status == CLI_OK)
		status = run_job(cli, options, &job, context);
	if (job.in > STDERR_FILENO)
		close(job.in);
	if (job.out > STDERR_FILENO)
		close(job.out);
	free(job.aad);
	return status;
}

const struct cli_command cmd_cipher = {
	.name = "cipher",
	.summary = "Encrypts or decrypts a file with AES.",
	.operands = "[FILE]",
	.options = cipher_options,
	.n_options = ARRAY_SIZE(cipher_options),
	.max_operands = 1,
	.options_size = sizeof(struct cipher_options),
	.defaults = defaults,
	.run = run,
};
