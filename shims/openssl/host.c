/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See host.h.
 *
 * What belongs to a process is one struct here. A child finds its parent's, sees by the number of the process that it is not
 * its own, and puts another in its place; no lock of the parent's, which may be held for ever, is ever taken. The parent's
 * stays where it was, in a list.
 */
#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

#define RETRY_SECONDS  1	  /* between attempts to connect that fail */
#define CHUNK_BYTES    (1u << 20) /* of a request, at most: the rest could not be done here if it failed */
#define BESIDE_BYTES   4096u	  /* of a request that are not source or destination, and then some */
#define DEFAULT_SOCKET "/run/vaccel/vaccel.sock"

struct connection {
	atomic_uint refs; /* the process's and its keys' */
	atomic_bool lost;
	struct vaccel_context *context;
	struct vaccel_session *session;
	size_t chunk;
};

struct process {
	pid_t pid;
	struct process *older; /* a parent's */
	pthread_mutex_t lock;
	struct connection *connection; /* under lock; may be NULL */
	time_t retry_at;	       /* under lock */
};

struct host {
	char *transport;
	_Atomic(struct process *) process;
};

struct host_key {
	atomic_uint refs;
	pid_t pid;
	struct connection *connection;
	struct vaccel_key *key;
};

/* ---- Errors ---- */

/* Of what failed here; NULL: in the library, which has a sentence of its own. */
static _Thread_local const char *error_text;

static int own_error(int error, const char *text)
{
	error_text = text;
	return error;
}

static int no_memory(void)
{
	return own_error(-ENOMEM, "no memory for a connection or a key");
}

const char *host_error(void)
{
	return error_text ? error_text : vaccel_error();
}

/* ---- Connections ---- */

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void connection_unref(struct connection *connection)
{
	if (!connection || atomic_fetch_sub(&connection->refs, 1) != 1)
		return;
	vaccel_session_close(connection->session);
	vaccel_context_free(connection->context);
	free(connection);
}

/* The library would end at "local:", plugins and all in whatever program this is, where there is nothing else. */
static bool something_there(void)
{
	const char *url = secure_getenv("VACCEL_TRANSPORT");
	glob_t found = { 0 };
	bool there;

	if ((url && *url) || access(DEFAULT_SOCKET, F_OK) == 0)
		return true;
	there = glob("/dev/vaccel[0-9]*", GLOB_NOSORT, NULL, &found) == 0;
	globfree(&found);
	return there;
}

static int connect_to(const struct host *host, struct connection *connection)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = host->transport };
	struct vaccel_info info = { .size = sizeof(info) };
	uint64_t most;
	int r;

	if (!host->transport && !something_there())
		return own_error(-ENODEV,
				 "there is neither a device nor a daemon of this machine, and no transport is named");
	r = vaccel_context_new(&options, &connection->context);
	if (r == 0)
		r = vaccel_session_open(connection->context, &connection->session);
	if (r == 0)
		r = vaccel_context_info(connection->context, &info);
	if (r < 0)
		return r;
	/* Source and destination both count. */
	most = info.max_request_bytes > BESIDE_BYTES ? (info.max_request_bytes - BESIDE_BYTES) / 2 : 0;
	connection->chunk = (most < CHUNK_BYTES ? (size_t)most : CHUNK_BYTES) & ~(size_t)4095;
	return connection->chunk ? 0 : own_error(-E2BIG, "the other end takes no request that is large enough");
}

static int connection_new(const struct host *host, struct connection **ret_connection)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int r;

	if (!connection)
		return no_memory();
	connection->refs = 1;
	r = connect_to(host, connection);
	if (r < 0) {
		connection_unref(connection);
		return r;
	}
	*ret_connection = connection;
	return 0;
}

/* ---- Processes ---- */

static struct process *process_new(struct process *older)
{
	struct process *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	process->pid = getpid();
	process->older = older;
	pthread_mutex_init(&process->lock, NULL);
	return process;
}

static void process_free(struct process *process)
{
	if (process->pid == getpid()) {
		connection_unref(process->connection);
		pthread_mutex_destroy(&process->lock);
	}
	free(process);
}

static struct process *process_of(struct host *host)
{
	struct process *found = atomic_load(&host->process), *made;

	if (found && found->pid == getpid())
		return found;
	made = process_new(found);
	if (!made || atomic_compare_exchange_strong(&host->process, &found, made))
		return made;
	process_free(made);
	return found;
}

/* Under lock: connects, but not at once after an attempt that failed. */
static int process_connect(struct process *process, const struct host *host)
{
	int r;

	if (seconds() < process->retry_at)
		return own_error(-ENODEV, "connecting has just failed, and is tried again in a second");
	r = connection_new(host, &process->connection);
	if (r < 0)
		process->retry_at = seconds() + RETRY_SECONDS;
	return r;
}

/* A reference to a connection that is not known to be lost. */
static int connection_get(struct host *host, struct connection **ret_connection)
{
	struct process *process = process_of(host);
	int r = 0;

	if (!process)
		return no_memory();
	pthread_mutex_lock(&process->lock);
	if (process->connection && process->connection->lost) {
		connection_unref(process->connection);
		process->connection = NULL;
	}
	if (!process->connection)
		r = process_connect(process, host);
	if (r == 0) {
		atomic_fetch_add(&process->connection->refs, 1);
		*ret_connection = process->connection;
	}
	pthread_mutex_unlock(&process->lock);
	return r;
}

struct host *host_new(const char *transport)
{
	struct host *host = calloc(1, sizeof(*host));

	if (host && transport && *transport) {
		host->transport = strdup(transport);
		if (!host->transport) {
			free(host);
			return NULL;
		}
	}
	return host;
}

void host_free(struct host *host)
{
	struct process *process, *older;

	if (!host)
		return;
	for (process = host->process; process; process = older) {
		older = process->older;
		process_free(process);
	}
	free(host->transport);
	free(host);
}

/* ---- Keys ---- */

/* A key that is none yet, on a connection. */
static int key_new(struct host *host, struct host_key **ret_key)
{
	struct host_key *key = calloc(1, sizeof(*key));
	int r;

	error_text = NULL;
	if (!key)
		return no_memory();
	r = connection_get(host, &key->connection);
	if (r < 0) {
		free(key);
		return r;
	}
	key->refs = 1;
	key->pid = getpid();
	*ret_key = key;
	return 0;
}

static int key_made(struct host_key *key, int result, struct host_key **ret_key)
{
	if (result < 0) {
		host_key_failed(key, result);
		host_key_unref(key);
		return result;
	}
	*ret_key = key;
	return 0;
}

int host_key_import(struct host *host, uint32_t mode, const void *data, size_t len, struct host_key **ret_key)
{
	struct host_key *key = NULL;
	int r;

	r = key_new(host, &key);
	if (r < 0)
		return r;
	r = vaccel_key_import(key->connection->session, VACCEL_KEY_AES, 1u << mode,
			      VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT, data, len, &key->key);
	return key_made(key, r, ret_key);
}

int host_key_open(struct host *host, const char *name, struct host_key **ret_key)
{
	struct host_key *key = NULL;
	int r;

	r = key_new(host, &key);
	if (r < 0)
		return r;
	r = vaccel_key_open(key->connection->session, name, &key->key);
	return key_made(key, r, ret_key);
}

struct host_key *host_key_ref(struct host_key *key)
{
	if (key)
		atomic_fetch_add(&key->refs, 1);
	return key;
}

void host_key_unref(struct host_key *key)
{
	if (!key || atomic_fetch_sub(&key->refs, 1) != 1)
		return;
	if (key->pid == getpid()) {
		vaccel_key_free(key->key);
		connection_unref(key->connection);
	}
	free(key);
}

struct vaccel_key *host_key_handle(struct host_key *key)
{
	return key && key->pid == getpid() && !key->connection->lost ? key->key : NULL;
}

const struct vaccel_key_about *host_key_about(const struct host_key *key)
{
	return vaccel_key_about(key->key);
}

size_t host_key_chunk(const struct host_key *key)
{
	return key->connection->chunk;
}

void host_key_failed(struct host_key *key, int error)
{
	switch (error) {
	case -ESTALE:	  /* the daemon restarted: the session lives, no key does */
	case -ECONNRESET: /* it went away */
	case -ENODEV:
	case -EBADF:
	case -EPROTO: /* what it says makes no sense */
		atomic_store(&key->connection->lost, true);
	}
}
