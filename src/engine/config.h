/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file: limits, threads, models, the sandbox, keys, plugins and the order in which they are asked for an op. Format: vaccel.conf(5).
 * Read once at start (by libinih); afterwards constant, so that threads may share it.
 */
#ifndef VACCEL_ENGINE_CONFIG_H
#define VACCEL_ENGINE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define CONFIG_MAX_PLUGINS     16
#define CONFIG_MAX_KEYS	       32 /* per plugin */
#define CONFIG_MAX_OPS	       256
#define CONFIG_MAX_HELD_KEYS   64
#define CONFIG_MAX_CONNECTIONS 1024 /* that limits.connections can allow */

struct config_limits {
	uint32_t sessions;	 /* open at once, of all connections */
	uint32_t buffers;	 /* registered at once */
	uint32_t keys;		 /* of all sessions */
	uint32_t requests;	 /* in flight, of one connection */
	uint32_t total_requests; /* of all connections */
	uint32_t connections;
	uint64_t buffer_bytes;	   /* of one buffer */
	uint64_t registered_bytes; /* of all buffers */
	uint64_t gathered_bytes;   /* of requests under way */
	uint64_t request_bytes;	   /* of all arguments of one request */
	uint32_t max_extents;	   /* of one request */
	uint32_t op_time_ms;	   /* longest time of one op; 0: no limit */
};

/* Of the worker; the transport local: runs in its caller's process and has none. */
enum config_sandbox_mode { SANDBOX_OFF, SANDBOX_ON, SANDBOX_REQUIRED };
enum config_sandbox_violation { SANDBOX_DENY, SANDBOX_REPORT, SANDBOX_KILL };

struct config_sandbox {
	uint32_t mode;	    /* enum config_sandbox_mode */
	uint32_t violation; /* enum config_sandbox_violation: what happens at a system call that is not allowed */
	uint64_t memory;    /* private, of the worker; 0: three quarters of the machine's */
	char *read;	    /* folders and files that plugins may read while they start, with blanks between them */
	char *write;	    /* that the worker may use at any time */
};

struct config_key {
	char *name;
	char *value;
};

struct config_plugin {
	char *name;
	char *path; /* NULL: search for vaccel-NAME.so */
	struct config_key keys[CONFIG_MAX_KEYS];
	size_t n_keys;
};

/* A key that the host holds: a section "key NAME". */
struct config_held_key {
	char *name;
	char *file;	  /* absolute; or NULL: */
	char *credential; /* name of one that the service manager gave the daemon ($CREDENTIALS_DIRECTORY) */
	bool hex;	  /* the file has hexadecimal digits; otherwise the key's bytes as they are */
	uint32_t bits;	  /* of the key; 0: its cipher was not named yet */
	uint32_t mode;	  /* enum vaccel_cipher_mode that it is for */
	uint32_t rights;  /* of VACCEL_MAY_ENCRYPT and _DECRYPT */
};

/* Which plugins to try for an op, in this order. */
struct config_order {
	char *op; /* name of the table, or "default" */
	char *plugins[CONFIG_MAX_PLUGINS];
	size_t n_plugins;
};

struct config {
	char *path;	     /* of the file; NULL: built-in defaults */
	uint32_t threads;    /* that run ops; 0: one per CPU */
	uint32_t op_threads; /* CPU threads inside one op; 0: the plugin's own choice */
	uint32_t queues;     /* request queues offered */
	uint32_t spin_us;    /* how long a queue's thread looks for requests before it sleeps; 0: not; or SPIN_AUTO */
	char *cache_dir;     /* NULL: ${XDG_CACHE_HOME:-~/.cache}/vaccel/plugins, or none */
	char *models_dir;    /* folder of models; NULL or "": there are none */
	struct config_limits limits;
	char *metrics_listen; /* where metrics are served; NULL or "": nowhere */
	bool metrics_trace;   /* times of all requests are taken, not of a sample */
	struct config_sandbox sandbox;
	struct config_plugin plugins[CONFIG_MAX_PLUGINS];
	size_t n_plugins;
	struct config_held_key keys[CONFIG_MAX_HELD_KEYS];
	size_t n_keys;
	struct config_order orders[CONFIG_MAX_OPS];
	size_t n_orders;
	bool own_order; /* "default" is not the built-in one */
};

/*
 * path: NULL reads the installed default file if there is one. "" means the built-in defaults whatever exists.
 * Errors name file, line, section and key. Unknown sections and keys are errors: a misspelt limit must not be silent.
 */
int config_load(const char *path, struct config **ret_config, struct error *error);
void config_free(struct config *config);

/* Overrides one key as "SECTION.KEY=VALUE" (the daemon's --set). */
int config_set(struct config *config, const char *assignment, struct error *error);

/* What sections say as a whole, where their keys alone do not tell: whoever calls config_set() calls it afterwards. */
int config_check(const struct config *config, struct error *error);

/* The keys of the fixed sections, for documentation and its tests. */
struct config_key_info {
	const char *section;
	const char *key;
	bool text; /* any text, or on and off; otherwise a number from min to max */
	uint64_t min, max;
};

/* Row index; false past the end. */
bool config_key_at(size_t index, struct config_key_info *ret_info);

/* The order for an op: its own row, else "default", which always exists. */
const struct config_order *config_order(const struct config *config, const char *op);

/* The plugin's section; NULL when it has none. */
const struct config_plugin *config_plugin(const struct config *config, const char *name);

#endif
