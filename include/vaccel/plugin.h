/* SPDX-License-Identifier: Apache-2.0 */
/**
 * <vaccel/plugin.h>: what a plugin, a shared object that implements operations, declares. Plugins see no other vAccel
 * header but <vaccel/ops.h>.
 *
 * Life of a plugin: load() -> config() per key of its section in the configuration -> ready() -> [open() per session
 * that uses it -> its ops, many times -> close()] -> unload(). All but the ops are called from one thread at a time, where
 * nothing else is said.
 * Any callback may be NULL except that there is at least one op, or a framework.
 *
 * A plugin with a framework runs models for the plugin `models`, which serves the operations on models: see struct
 * vaccel_plugin_framework.
 *
 * The one exported symbol is what VACCEL_PLUGIN() defines. Callbacks return 0 or a negative errno and explain a failure
 * with vaccel_plugin_error(). A plugin never writes to standard output and never exits.
 */
#ifndef VACCEL_PLUGIN_H
#define VACCEL_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <vaccel/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VACCEL_PLUGIN_ABI 1

/** How many ops may run at once. The loader enforces it. */
enum vaccel_plugin_threads {
	VACCEL_THREADS_ONE = 1,		/* one op at a time in the whole plugin */
	VACCEL_THREADS_PER_SESSION = 2, /* one op at a time per session, sessions in parallel */
	VACCEL_THREADS_ANY = 3,		/* no restriction */
};

/** Where a callback puts the sentence about its failure. Written with vaccel_plugin_error(). */
struct vaccel_plugin_report {
	char *text;
	size_t len;
};

/** Memory of a request, plain and contiguous. IN memory is only read. Valid until the op returns. */
struct vaccel_plugin_arg {
	void *data;
	size_t len;
	uint32_t dir; /* 1 in, 2 out, 3 both */
	uint32_t reserved;
	uint64_t buffer;   /* not 0: names the registered buffer that data lies in, until buffer_gone() */
	void *buffer_data; /* that buffer's first byte */
	size_t buffer_len;
};

/** A key that an operation uses. Checked: of a type, mode and use that the operation may have, and of a length that fits. */
struct vaccel_plugin_crypto_key {
	uint64_t id;	  /* names the key, until key_gone() */
	const void *data; /* what is made of it must be overwritten by key_gone() at the latest */
	size_t len;
	uint32_t type;	 /* enum vaccel_key_type */
	uint32_t modes;	 /* set of 1 << enum vaccel_cipher_mode; 0: any */
	uint32_t rights; /* set of enum vaccel_key_right */
	uint32_t held;	 /* 1: by the host; who asks does not know it, and shall not learn more than rights says */
};

/** One operation to run. params: the op's struct of <vaccel/ops.h>, checked: sizes fit, enumerations are known. */
struct vaccel_plugin_call {
	size_t size;
	uint32_t op;
	uint32_t reserved;
	const void *params;
	size_t params_len;
	const struct vaccel_plugin_arg *args;
	size_t n_args;
	void *session; /* what open() returned */
	struct vaccel_plugin_report report;
	uint64_t *copied; /* may be NULL; a plugin adds the bytes of arguments that it had to copy */
	const struct vaccel_plugin_crypto_key *key; /* of an op on one, else NULL; valid until the op returns */
};

/** Implementation of one op. */
struct vaccel_op_impl {
	uint32_t op;
	uint32_t reserved;
	int (*run)(const struct vaccel_plugin_call *call);
};

#define VACCEL_IMPL(op_, run_)                       \
	{                                            \
		.op = VACCEL_OP_##op_, .run = (run_) \
	}

/**
 * Requests that may run together. How long a request may wait for others is the plugin's to say, which of those that
 * wait are taken is the engine's.
 */
struct vaccel_plugin_batch {
	uint64_t key;	   /* requests of one op and key may run together; 0: this one runs alone */
	uint32_t max;	   /* requests at once, at least 2 */
	uint32_t delay_us; /* that the first one waits for others; never longer than half the time to its deadline */
};

/* ---- Frameworks ---- */

/** A tensor. name and data are the giver's and last until the callback that they were given to returns. */
struct vaccel_plugin_tensor {
	const char *name;	       /* as the model's signature has it */
	uint32_t dtype;		       /* enum vaccel_dtype */
	uint32_t rank;		       /* of a signature: UINT32_MAX is any */
	int64_t dims[VACCEL_MAX_RANK]; /* of a signature: -1 is any */
	const void *data;
	size_t len; /* bytes; STRING as struct vaccel_tensor_desc has it */
};

/** A model to load. Strings last until model_load() returns. */
struct vaccel_plugin_model {
	size_t size;
	const char *name;      /* for messages */
	const char *path;      /* of the model's file or folder, absolute */
	const char *signature; /* "": the framework's default */
	/* Of the section of its description that has the framework's name, in order. */
	const char *const *keys;
	const char *const *values;
	size_t n_keys;
};

/** One run of a model. */
struct vaccel_plugin_run {
	size_t size;
	void *model; /* what model_load() gave */
	const struct vaccel_plugin_tensor
		*inputs; /* types and ranks are those of the signature; elements may change meanwhile */
	size_t n_inputs;
	const char *const *outputs; /* names */
	size_t n_outputs;
	/* To be called once for each output, in any order, with what the model gave. Copies what it needs. 0, or an error that
	 * the run shall end with. */
	int (*emit)(const struct vaccel_plugin_run *run, size_t output, const struct vaccel_plugin_tensor *tensor);
	void *opaque;
	uint64_t *copied; /* the framework adds the bytes of inputs that it had to copy */
	struct vaccel_plugin_report report;
};

/**
 * What runs models. model_load() and model_unload() are called by one thread at a time, also while models run, never while
 * the same model does; model_run() by any number of threads at once, also for one model.
 */
struct vaccel_plugin_framework {
	size_t size;
	const char *name; /* as in descriptions of models: "tensorflow" */
	int (*model_load)(const struct vaccel_plugin_model *model, void **ret_model,
			  const struct vaccel_plugin_report *report);
	void (*model_unload)(void *model);
	/* Row index of the signature's inputs (dir 1) or outputs (dir 2): name, dtype, rank, dims. -ENOENT past the end. */
	int (*model_tensor)(void *model, uint32_t dir, size_t index, struct vaccel_plugin_tensor *ret_tensor);
	/* -EINVAL, -ERANGE: the inputs' fault; anything else: the model's. */
	int (*model_run)(const struct vaccel_plugin_run *run);
};

/** A key of the plugin's section in the configuration, for `vaccel plugin NAME` and for error messages. */
struct vaccel_plugin_key {
	const char *name;
	const char *help; /* what it is, its values and default */
};

/** What a worker's sandbox must leave open for the plugin, beyond computing. */
enum vaccel_plugin_need {
	/* A folder of its own to write to until ready() has returned, see struct vaccel_plugin_host. What is in it may be
	 * code that the next worker loads, so that the process that reads guests' requests shall not write there. */
	VACCEL_NEED_CACHE = 1 << 0,
	VACCEL_NEED_DEVICE = 1 << 1,	   /* device nodes of accelerators */
	VACCEL_NEED_SPAWN = 1 << 2,	   /* starts programs (a compiler's linker) until ready() has returned */
	VACCEL_NEED_CACHE_ALWAYS = 1 << 3, /* uses that folder while operations run, too */
	/* Reads the folder of models, at any time. A plugin that serves models and those with frameworks need it. */
	VACCEL_NEED_MODELS = 1 << 4,
	VACCEL_NEED_AF_ALG = 1 << 5, /* opens sockets of AF_ALG, the kernel's crypto API, at any time */
};

/** What the host tells the plugin. */
struct vaccel_plugin_host {
	size_t size;
	const char *version;   /* of the engine */
	const char *cache_dir; /* folder that the plugin may write to; NULL: none */
	unsigned int threads;  /* CPU threads that one op should use; 0: the library's own choice */
	void (*log)(int priority, const char *text); /* priorities of <syslog.h>; text without newline */
	const char *models_dir; /* absolute; NULL: there are none, or the plugin does not need it */
	/* The frameworks of the plugins that serve, for a plugin that needs VACCEL_NEED_MODELS and has no framework: it is started
	 * after those that have one, and ends before them. Row index; NULL past the end. hardware: of the plugin. */
	const struct vaccel_plugin_framework *(*framework)(const struct vaccel_plugin_host *host, size_t index,
							   const char **ret_plugin, const char **ret_hardware);
};

struct vaccel_plugin {
	/* The first three come from VACCEL_PLUGIN_HEADER. */
	size_t size;
	uint32_t abi;
	uint32_t call_size;

	const char *name; /* lower case, as in the configuration and the file name vaccel-NAME.so */
	const char *version;
	const char *description; /* one line */
	uint32_t threads;	 /* enum vaccel_plugin_threads */
	uint32_t needs;		 /* set of enum vaccel_plugin_need */
	const struct vaccel_plugin_key *keys;
	size_t n_keys;
	const struct vaccel_op_impl *ops;
	size_t n_ops;

	int (*load)(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report);
	int (*config)(const char *key, const char *value, struct vaccel_plugin_report *report);
	int (*ready)(struct vaccel_plugin_report *report);
	int (*open)(void **ret_session, struct vaccel_plugin_report *report);
	void (*close)(void *session);
	void (*unload)(void);

	/* The hardware that serves, for people; valid until unload(). Called after ready(). Required. */
	const char *(*hardware)(void);
	/* The registered buffer goes away: forget what is cached about it. No op uses it any more. */
	void (*buffer_gone)(uint64_t buffer);

	/* Names of the system calls that its ops make besides those for memory, threads, signals to itself and clocks, and
	 * those that its needs imply. A call that is not allowed fails with EPERM. */
	const char *const *calls;
	size_t n_calls;

	const struct vaccel_plugin_framework *framework; /* NULL: none */

	/* With what the request may run together. Sees params, directions and lengths of arguments only: there are no data and no
	 * session. Called by the thread that submits, any number of them at once. NULL: with nothing, as key 0. */
	void (*batch)(const struct vaccel_plugin_call *call, struct vaccel_plugin_batch *ret_batch);
	/* Runs n requests of one key; results[i] is what the op would have returned for calls[i]. */
	void (*run_batch)(const struct vaccel_plugin_call *const *calls, int *results, size_t n);

	/* Whether the key is one, when it is imported: -EINVAL if not. *ret_bits: see struct vaccel_key_about. AES keys are not
	 * asked about. Called by any number of threads at once. NULL: operations find out. */
	int (*key_check)(const struct vaccel_plugin_crypto_key *key, uint32_t *ret_bits,
			 const struct vaccel_plugin_report *report);
	/* The key goes away: overwrite what was made of it. No op uses it any more. Under no lock of the plugin's. */
	void (*key_gone)(uint64_t key);
};

#define VACCEL_PLUGIN_HEADER \
	.size = sizeof(struct vaccel_plugin), .abi = VACCEL_PLUGIN_ABI, .call_size = sizeof(struct vaccel_plugin_call)

/** The symbol that the loader looks for. */
#define VACCEL_PLUGIN_SYMBOL "vaccel_plugin_entry"

#define VACCEL_PLUGIN(plugin_)                                                                        \
	__attribute__((visibility("default"))) const struct vaccel_plugin *vaccel_plugin_entry(void); \
	const struct vaccel_plugin *vaccel_plugin_entry(void)                                         \
	{                                                                                             \
		return &(plugin_);                                                                    \
	}

#ifdef __cplusplus
}
#endif

#include <stdarg.h>
#include <stdio.h>

/** Says why a callback fails and returns error, so that `return vaccel_plugin_error(...)` reads well. */
__attribute__((format(printf, 3, 4))) static inline int vaccel_plugin_error(const struct vaccel_plugin_report *report,
									    int error, const char *format, ...)
{
	va_list ap;

	if (report && report->text && report->len) {
		va_start(ap, format);
		vsnprintf(report->text, report->len, format, ap);
		va_end(ap);
	}
	return error;
}

#endif /* VACCEL_PLUGIN_H */
