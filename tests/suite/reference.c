/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin reference over "local:", in a process of its own: one process has one local engine, and that may be the one
 * under test. Cases go there through shared memory and a pair of pipes, one at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define MATRIX_BYTES (4u << 20)

struct exchange {
	struct gemm_case c;
	bool present[3];
	int result;
	char error[200];
	unsigned char matrix[3][MATRIX_BYTES] __attribute__((aligned(64)));
};

static struct exchange *shared;
static int to_child = -1, from_child = -1;
static pid_t child;

static int serve_one(struct vaccel_session *session)
{
	void *data[3];

	for (int i = 0; i < 3; i++)
		data[i] = shared->present[i] ? shared->matrix[i] : NULL;
	return gemm_call(session, &shared->c, data[0], data[1], data[2]);
}

static struct vaccel_session *open_session(void)
{
	static const char text[] = "[order]\ndefault = reference\n";
	char path[] = "/tmp/vaccel-op-suite-XXXXXX", url[64];
	struct vaccel_context_options options = { .size = sizeof(options), .transport = url };
	struct vaccel_context *context = NULL;
	struct vaccel_session *session = NULL;
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
		perror("op-suite: configuration of the reference");
		return NULL;
	}
	close(fd);
	snprintf(url, sizeof(url), "local:%s", path);
	if (vaccel_context_new(&options, &context) < 0 || vaccel_session_open(context, &session) < 0)
		fprintf(stderr, "op-suite: reference: %s\n", vaccel_error());
	unlink(path);
	return session;
}

/* Ends when the other process does. */
static void serve(int in, int out)
{
	struct vaccel_session *session = open_session();
	char byte;

	while (session && read(in, &byte, 1) == 1) {
		shared->result = serve_one(session);
		snprintf(shared->error, sizeof(shared->error), "%s", vaccel_error());
		if (write(out, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

bool reference_start(void)
{
	int there[2], back[2];

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pipe(there) < 0 || pipe(back) < 0) {
		perror("op-suite: reference");
		return false;
	}
	fflush(NULL);
	child = fork();
	if (child < 0) {
		perror("op-suite: reference");
		return false;
	}
	if (child == 0) {
		close(there[1]);
		close(back[0]);
		serve(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	to_child = there[1];
	from_child = back[0];
	return true;
}

bool reference_run(struct prepared *p, char *detail, size_t len)
{
	char byte = 0;

	shared->c = p->c;
	for (int i = 0; i < 3; i++) {
		if (p->matrix[i].bytes > MATRIX_BYTES) {
			snprintf(detail, len, "reference: the case is too large");
			return false;
		}
		shared->present[i] = !(p->c.special == SPECIAL_ABSENT && (i < 2 || !p->matrix[i].bytes));
		memcpy(shared->matrix[i], p->matrix[i].area + GUARD_BYTES, p->matrix[i].bytes);
	}
	if (write(to_child, &byte, 1) != 1 || read(from_child, &byte, 1) != 1) {
		snprintf(detail, len, "reference: its process is gone");
		return false;
	}
	memcpy(p->reference, p->matrix[2].area, p->matrix[2].bytes + 2 * GUARD_BYTES);
	memcpy(p->reference + GUARD_BYTES, shared->matrix[2], p->matrix[2].bytes);
	if (shared->result < 0)
		snprintf(detail, len, "reference: %s (%s)", shared->error, strerrorname_np(-shared->result));
	return shared->result == 0;
}

void reference_stop(void)
{
	if (to_child >= 0)
		close(to_child);
	if (child > 0)
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
}
