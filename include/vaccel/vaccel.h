/* SPDX-License-Identifier: Apache-2.0 */
/**
 * <vaccel/vaccel.h>: run operations on the host's accelerators.
 *
 * A context is a connection to where operations are served; a session is an open context of work there, which owns
 * registered buffers; a request is one operation under way. Synchronous calls are submit and wait in one.
 *
 * Errors: functions return 0 (or a count) or a negative errno. vaccel_error() then gives a sentence that names object,
 * action and cause. On failure ret_ parameters are untouched; memory that an operation was to write is undefined. What
 * the errnos mean everywhere:
 *   -EINVAL a parameter is not valid         -ERANGE     an argument is smaller than the operation needs
 *   -EOPNOTSUPP operation unknown or unserved -E2BIG      larger than a limit of the transport
 *   -EBADF  session unknown                  -ESTALE     session, buffer or key no longer there (daemon restarted)
 *   -ENXIO  buffer unknown                   -EDQUOT     too many sessions, buffers or requests
 *   -ETIMEDOUT deadline passed or ran too long -ECANCELED  cancelled
 *   -EOWNERDEAD the host's worker died in it and it cannot be run again: outputs are undefined, the session lives on
 *   -EIO    the host's plugin, model or hardware failed
 *   -EPROTO the answer cannot be one           -EBADMSG    a picture or padding is damaged
 *   -EPERM  the key, or who serves, does not allow it -EKEYREJECTED a tag or signature does not fit what it is of
 *   -ENODEV, -ENOENT, -ECONNREFUSED, -EACCES  nothing to connect to, or no permission
 *   -ECONNRESET the daemon went away: open a new context
 *
 * Threads: all functions may be called from any thread; one context, session or buffer may be used by many threads at
 * once, but must not be freed while in use. After fork(), the parent's objects fail with -ECHILD in the child, which
 * must open a context of its own; over "local:", if the parent used that, it can do so only after execve().
 */
#ifndef VACCEL_VACCEL_H
#define VACCEL_VACCEL_H

#include <stddef.h>
#include <stdint.h>
#include <vaccel/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Version of this header; vaccel_version() is that of the library. Since 0.1. */
#define VACCEL_VERSION_MAJOR 0
#define VACCEL_VERSION_MINOR 1
#define VACCEL_VERSION_PATCH 0

struct vaccel_context;
struct vaccel_session;
struct vaccel_buffer;
struct vaccel_request;
struct vaccel_catalog;
struct vaccel_model;
struct vaccel_key;
struct vaccel_stream;

/** "MAJOR.MINOR.PATCH" of the library. The string is static. Since 0.1. */
const char *vaccel_version(void);

/**
 * A sentence about the last failure in the calling thread: valid until its next vaccel call, "" if there was none.
 * Since 0.1.
 */
const char *vaccel_error(void);

/* ---- Context ---- */

/**
 * transport: where operations are served, as a URL:
 *   "local:" or "local:CONFIG-FILE"   in this process
 *   "virtio:/dev/vaccel0"             the guest driver's device
 *   "shm:/run/vaccel/x.sock"          a daemon on this machine, through shared memory
 * NULL: $VACCEL_TRANSPORT; if that is unset, the first /dev/vaccelN, then /run/vaccel/vaccel.sock, then "local:".
 */
struct vaccel_context_options {
	size_t size; /* sizeof(struct vaccel_context_options) */
	const char *transport;
	uint32_t trace;	   /* 1: times are taken for vaccel_context_stage() */
	uint32_t reserved; /* 0 */
};

/** Connects. options may be NULL. Free with vaccel_context_free(). Since 0.1. */
int vaccel_context_new(const struct vaccel_context_options *options, struct vaccel_context **ret_context);

/** Disconnects: waits for requests in flight, then closes what is still open. NULL is allowed. Since 0.1. */
void vaccel_context_free(struct vaccel_context *context);

/** What is at the other end. Strings live as long as the context. */
struct vaccel_info {
	size_t size;	       /* in: sizeof(struct vaccel_info) */
	const char *transport; /* the URL in use */
	const char *device;    /* the transport's words for its device */
	const char *version;   /* of the daemon, or of the library for "local:" */
	const char *host;      /* the machine that serves */
	size_t n_ops;	       /* rows that vaccel_context_op() has */
	uint64_t max_request_bytes;
	uint64_t max_buffer_bytes;
	uint32_t max_sessions;
	uint32_t max_buffers;
	uint32_t n_queues;
	uint64_t bytes_copied; /* argument bytes that this process has copied for this context so far */
};

/** Asks the other end. Since 0.1. */
int vaccel_context_info(struct vaccel_context *context, struct vaccel_info *ret_info);

/** An operation and what serves it. Strings live as long as the context. */
struct vaccel_op_info {
	size_t size; /* in: sizeof(struct vaccel_op_info) */
	uint32_t op; /* enum vaccel_op, or a number that a newer daemon knows */
	const char *name;
	const char *plugin;   /* "" when nothing serves it */
	const char *hardware; /* as the plugin names it */
};

/** Row index of n_ops, of the last vaccel_context_info(). -ENOENT past the end. Since 0.1. */
int vaccel_context_op(struct vaccel_context *context, size_t index, struct vaccel_op_info *ret_info);

/**
 * Asks the other end a question of <vaccel/uapi/virtio_accel.h>, enum virtio_accel_query: fills at most len bytes of
 * data with the answer, which is little-endian and as that header has it, and *ret_len with the length of all of it.
 * What comes has not been checked. -EOPNOTSUPP the other end does not know the question. Since 0.1.
 */
int vaccel_context_query(struct vaccel_context *context, uint32_t what, void *data, size_t len, size_t *ret_len);

/**
 * How long this context's operations have spent in a stage of their way inside the library, since it was made. All zero but
 * the name if its options did not ask for times. The name is static.
 */
struct vaccel_stage_info {
	size_t size; /* in: sizeof(struct vaccel_stage_info) */
	const char *name;
	uint64_t count; /* operations */
	uint64_t sum_ns;
	uint64_t median_ns; /* within a quarter, as is the next */
	uint64_t p99_ns;    /* that 99 in 100 do not exceed */
};

/** Row index, in the order in which operations pass the stages. -ENOENT past the end. Since 0.1. */
int vaccel_context_stage(struct vaccel_context *context, size_t index, struct vaccel_stage_info *ret_info);

/* ---- Session ---- */

/** Opens a session. Close with vaccel_session_close(). Since 0.1. */
int vaccel_session_open(struct vaccel_context *context, struct vaccel_session **ret_session);

/**
 * Closes a session: waits for its requests in flight and frees the buffers that are still there. NULL is allowed.
 * Need not wait until the other end has closed it. Returns 0, or what went wrong there if that is known by then; the
 * session is gone either way. Since 0.1.
 */
int vaccel_session_close(struct vaccel_session *session);

/* ---- Buffers ---- */

/**
 * Allocates zeroed memory that the other end has mapped: an argument that lies inside it travels without a copy.
 * len: bytes, not 0. Free with vaccel_buffer_free(), or with the session. Since 0.1.
 */
int vaccel_buffer_alloc(struct vaccel_session *session, size_t len, struct vaccel_buffer **ret_buffer);

/** The memory: 4096-byte aligned. Since 0.1. */
void *vaccel_buffer_data(const struct vaccel_buffer *buffer);

/** Its size in bytes, as asked for. Since 0.1. */
size_t vaccel_buffer_size(const struct vaccel_buffer *buffer);

/** Frees. -EBUSY while a request uses it (nothing is freed then). NULL is allowed. Since 0.1. */
int vaccel_buffer_free(struct vaccel_buffer *buffer);

/* ---- Calls ---- */

enum vaccel_dir {
	VACCEL_IN = 1,	  /* the operation reads it */
	VACCEL_OUT = 2,	  /* the operation writes it */
	VACCEL_INOUT = 3, /* both */
};

/** Memory of the caller: any, or inside a registered buffer of the same session (found by its address). */
struct vaccel_arg {
	void *data; /* may be NULL when len is 0; an IN argument is only read */
	size_t len; /* bytes */
	uint32_t dir;
	uint32_t reserved; /* 0 */
};

/** One operation, whatever it is. params and args are read during the call; what args point to, until completion. */
struct vaccel_call {
	size_t size; /* sizeof(struct vaccel_call) */
	uint32_t op;
	uint32_t deadline_ms; /* from arrival until it must have started; what runs goes on. 0: none of its own */
	const void *params;   /* the op's struct of <vaccel/ops.h>; NULL when it has none */
	size_t params_len;
	const struct vaccel_arg *args;
	size_t n_args;
	void *user_data; /* for vaccel_request_user_data() */
};

/** Runs and waits. Since 0.1. */
int vaccel_run(struct vaccel_session *session, const struct vaccel_call *call);

/** Starts. Free the request with vaccel_request_free(). Since 0.1. */
int vaccel_submit(struct vaccel_session *session, const struct vaccel_call *call, struct vaccel_request **ret_request);

/**
 * Waits for one request: 0 or the operation's error. -ETIME: still running after timeout_ns (negative: no limit;
 * 0: only looks). Since 0.1.
 */
int vaccel_request_wait(struct vaccel_request *request, int64_t timeout_ns);

/** Asks for cancellation; the request completes all the same. -EBUSY: it is too late. Since 0.1. */
int vaccel_request_cancel(struct vaccel_request *request);

/** user_data of its call. Since 0.1. */
void *vaccel_request_user_data(const struct vaccel_request *request);

/** Frees; waits first if it is still running. NULL is allowed. Since 0.1. */
void vaccel_request_free(struct vaccel_request *request);

/**
 * A descriptor for poll(2): readable while vaccel_context_next() has a request to give, and when the connection is
 * lost, until that has said so. Owned by the context; do not read or close it. Since 0.1.
 */
int vaccel_context_fd(struct vaccel_context *context);

/**
 * Takes a completed request that nobody took yet, oldest first; vaccel_request_wait() then tells its result at once.
 * A request that was waited for with success is not given again. -EAGAIN: none. -ENODEV, -ECONNRESET: none, and there
 * will be none, because the connection is lost. Since 0.1.
 */
int vaccel_context_next(struct vaccel_context *context, struct vaccel_request **ret_request);

/* ---- The operations, synchronously ---- */

/** VACCEL_OP_NOOP. Since 0.1. */
int vaccel_noop(struct vaccel_session *session);

/**
 * C := alpha * op(A) * op(B) + beta * C in single precision; arguments as for cblas_sgemm(), shapes as for
 * struct vaccel_gemm. -EINVAL for what BLAS would reject. Since 0.1.
 */
int vaccel_sgemm(struct vaccel_session *session, enum vaccel_order order, enum vaccel_transpose transa,
		 enum vaccel_transpose transb, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
		 const float *b, size_t ldb, float beta, float *c, size_t ldc);

/** The same in double precision. Since 0.1. */
int vaccel_dgemm(struct vaccel_session *session, enum vaccel_order order, enum vaccel_transpose transa,
		 enum vaccel_transpose transb, size_t m, size_t n, size_t k, double alpha, const double *a, size_t lda,
		 const double *b, size_t ldb, double beta, double *c, size_t ldc);

/* ---- Models ---- */

/** Bytes of an element; 0 for VACCEL_STRING and for what is no type. Since 0.1. */
size_t vaccel_dtype_size(uint32_t dtype);

/** "float32"; NULL for what is no type. The string is static. Since 0.1. */
const char *vaccel_dtype_name(uint32_t dtype);

/**
 * Which models there are, as the other end told when it was asked. Safe to print: texts end, and have no control
 * characters. Free with vaccel_catalog_free(). Since 0.1.
 */
int vaccel_catalog_new(struct vaccel_session *session, struct vaccel_catalog **ret_catalog);

/** Row index, by name; NULL past the end. Valid as long as the catalog. Since 0.1. */
const struct vaccel_model_row *vaccel_catalog_row(const struct vaccel_catalog *catalog, size_t index);

/** How often the set of models had changed by then: a number to compare with an older one. Since 0.1. */
uint64_t vaccel_catalog_changes(const struct vaccel_catalog *catalog);

/** NULL is allowed. Since 0.1. */
void vaccel_catalog_free(struct vaccel_catalog *catalog);

/**
 * What one model takes and gives, as the other end told when it was asked; nothing of it is kept there. Texts are as safe
 * as those of a catalog. Free with vaccel_model_free(). -ENOENT: there is no such model. Since 0.1.
 */
int vaccel_model_new(struct vaccel_session *session, const char *name, struct vaccel_model **ret_model);

/** Valid as long as the model, as all that these functions return. Since 0.1. */
const struct vaccel_model_about *vaccel_model_about(const struct vaccel_model *model);

/** Input (dir VACCEL_IN) or output (VACCEL_OUT) index of its signature; NULL past the end. Since 0.1. */
const struct vaccel_tensor_desc *vaccel_model_tensor(const struct vaccel_model *model, uint32_t dir, size_t index);

/** Label of class index; NULL past the end. Since 0.1. */
const char *vaccel_model_label(const struct vaccel_model *model, size_t index);

/** NULL is allowed. Since 0.1. */
void vaccel_model_free(struct vaccel_model *model);

/**
 * Classifies a picture (JPEG, PNG): fills ret_labels with the k labels of the highest probability, highest first. Returns
 * how many there are: fewer than k if the model has fewer classes; the rows behind them are zeroed.
 * ret_about: may be NULL. -ENOENT: there is no such model. Since 0.1.
 */
int vaccel_classify(struct vaccel_session *session, const char *model, const void *image, size_t len, uint32_t k,
		    struct vaccel_label *ret_labels, struct vaccel_classified *ret_about);

/** A tensor that goes to a model or comes from it. In an array all have the same size. */
struct vaccel_tensor {
	size_t size;	  /* sizeof(struct vaccel_tensor) */
	const char *name; /* as the model's signature has it, see vaccel_model_tensor() */
	uint32_t dtype;	  /* enum vaccel_dtype; of an output it is filled, as are rank, dims and len */
	uint32_t rank;
	int64_t dims[VACCEL_MAX_RANK];
	/* Elements in row-major order, those of a VACCEL_STRING as struct vaccel_tensor_desc has them. Of an input only read;
	 * in a registered buffer and at a multiple of 64 bytes they travel without a copy. */
	void *data;
	size_t len;  /* bytes of elements */
	size_t room; /* bytes at data that an output may fill; of an input: not looked at */
};

/**
 * Element index of a VACCEL_STRING tensor, counted in row-major order: *ret_text points into its data, and is not ended by
 * a NUL. -ENOENT past the end; -EINVAL: not of that type, or its elements do not lie as they have to. Since 0.1.
 */
int vaccel_tensor_string(const struct vaccel_tensor *tensor, size_t index, const char **ret_text, size_t *ret_len);

/**
 * Runs a model: named tensors in, named tensors out. -ENOENT: there is no such model. -ERANGE with a len above room in an
 * output: it did not fit. All outputs are described then, those that fit are filled too, and a call with as much room as
 * len says can succeed. On any other failure their descriptions are untouched. Since 0.1.
 */
int vaccel_infer(struct vaccel_session *session, const char *model, const struct vaccel_tensor *inputs, size_t n_inputs,
		 struct vaccel_tensor *outputs, size_t n_outputs);

/** May be NULL where one is taken. Members are those of struct vaccel_call. */
struct vaccel_submit_options {
	size_t size; /* sizeof(struct vaccel_submit_options) */
	void *user_data;
	uint32_t deadline_ms;
	uint32_t reserved; /* 0 */
};

/**
 * Starts what vaccel_classify() does. The request is one like those of vaccel_submit(); its result is 0 or an error.
 * image, ret_labels and ret_about are in use until it has completed, model and options only during the call. Since 0.1.
 */
int vaccel_classify_submit(struct vaccel_session *session, const char *model, const void *image, size_t len, uint32_t k,
			   struct vaccel_label *ret_labels, struct vaccel_classified *ret_about,
			   const struct vaccel_submit_options *options, struct vaccel_request **ret_request);

/**
 * Starts what vaccel_infer() does; its result is the request's. The outputs and what all tensors point to but names are in
 * use until it has completed; model, options, inputs and names only during the call. Since 0.1.
 */
int vaccel_infer_submit(struct vaccel_session *session, const char *model, const struct vaccel_tensor *inputs,
			size_t n_inputs, struct vaccel_tensor *outputs, size_t n_outputs,
			const struct vaccel_submit_options *options, struct vaccel_request **ret_request);

/* ---- Keys and ciphers ---- */

/**
 * Gives the other end a key, as an object of the session: its bytes cannot be read back from there, and the library keeps
 * none of them. They go from the host's memory with vaccel_key_free(), or with the session.
 * type: enum vaccel_key_type, which says what data is; modes: set of 1 << enum vaccel_cipher_mode, 0: any; rights: set of
 * enum vaccel_key_right. data is read during the call: the caller may overwrite it then, and should.
 * -EINVAL it is no key of that type, or has a length that its modes do not take; -EDQUOT too many keys. Since 0.1.
 */
int vaccel_key_import(struct vaccel_session *session, enum vaccel_key_type type, uint32_t modes, uint32_t rights,
		      const void *data, size_t len, struct vaccel_key **ret_key);

/**
 * A key that the host holds and never gives away, by the name that its administrator gave it, to be used as
 * vaccel_key_about() says. Free with vaccel_key_free(), or with the session: the host still has it then.
 * -ENOENT: there is none of that name for us. Since 0.1.
 */
int vaccel_key_open(struct vaccel_session *session, const char *name, struct vaccel_key **ret_key);

/** What it is, in the machine's byte order; asks nobody. Valid as long as the key; NULL for NULL. Since 0.1. */
const struct vaccel_key_about *vaccel_key_about(const struct vaccel_key *key);

/**
 * Takes the key from the session: requests in flight end as they would have, new ones, and streams, fail with -ESTALE.
 * The handle is gone, whatever is returned. NULL is allowed. Since 0.1.
 *
 * A key, unlike sessions and buffers, does not outlive a daemon that restarted: nobody but its owner has its bytes. All that
 * is asked of it then fails with -ESTALE, until it is freed and imported or opened again.
 */
int vaccel_key_free(struct vaccel_key *key);

/**
 * A message that is encrypted or decrypted in one piece. Lengths are in bytes; what each mode takes is said at struct
 * vaccel_cipher. Pointers may be NULL where lengths are 0. Memory inside registered buffers travels without a copy.
 */
struct vaccel_message {
	size_t size;	    /* sizeof(struct vaccel_message) */
	uint32_t mode;	    /* enum vaccel_cipher_mode */
	uint32_t direction; /* enum vaccel_direction */
	const void *iv;	    /* ECB: none */
	size_t iv_len;
	const void *aad; /* additional data, GCM only */
	size_t aad_len;
	const void *source;
	void *destination; /* len bytes, too: the source itself, or no byte of it */
	size_t len;
	void *tag; /* GCM only: written when it encrypts, read when it decrypts */
	size_t tag_len;
	uint32_t skip;	   /* CTR only: bytes of the first block's key stream that are used up, 0 to 15 */
	uint32_t reserved; /* 0 */
};

/**
 * VACCEL_OP_CIPHER: runs and waits. Any number of threads may use one key. -EPERM: the key may not be used for that.
 * -EKEYREJECTED: the tag does not fit, and what is in destination must not be used. Since 0.1.
 */
int vaccel_cipher(struct vaccel_key *key, const struct vaccel_message *message);

/**
 * Starts it; its result is the request's. What source, destination and tag point to is in use until it has completed, as are
 * IV and additional data; message and options are only during the call. Since 0.1.
 */
int vaccel_cipher_submit(struct vaccel_key *key, const struct vaccel_message *message,
			 const struct vaccel_submit_options *options, struct vaccel_request **ret_request);

/**
 * VACCEL_OP_AKCIPHER, RSA: operation, padding and hash as struct vaccel_akcipher has them, source and destination as they are
 * said there. VERIFY only reads destination, the digest. Returns how many bytes of destination were written, 0 for VERIFY.
 * -EKEYREJECTED: the signature does not fit the digest. -EPERM: the key may not be used for that. Since 0.1.
 */
int vaccel_akcipher(struct vaccel_key *key, enum vaccel_akcipher_operation operation, enum vaccel_rsa_padding padding,
		    enum vaccel_rsa_hash hash, const void *source, size_t source_len, void *destination,
		    size_t destination_len);

/**
 * A message that comes in pieces. What goes on from one to the next is kept here: the IV of CBC, the counter of CTR, and the
 * bytes of a block that is not whole yet; of GCM the host keeps it, see struct vaccel_cipher.
 */
struct vaccel_stream_options {
	size_t size;	    /* sizeof(struct vaccel_stream_options) */
	uint32_t mode;	    /* enum vaccel_cipher_mode */
	uint32_t direction; /* enum vaccel_direction */
	const void *iv;	    /* read during the call. ECB: none */
	size_t iv_len;
	uint32_t padding;  /* 1: PKCS #7, added or checked and removed; ECB and CBC only */
	uint32_t reserved; /* 0 */
};

/**
 * Begins a message; asks nobody. The stream is its maker's: one thread at a time may use it. It may outlive its key and its
 * session, though not to any use (-ESTALE). After a failure of the other end it fails with the same error for ever; what
 * fails here before anything was sent leaves it as it was: -EINVAL and -ERANGE with which one of its functions refuses
 * arguments, -E2BIG of a unit of XTS or of additional data larger than a request may be, -ENOMEM. Free with
 * vaccel_stream_free(). Since 0.1.
 */
int vaccel_stream_new(struct vaccel_key *key, const struct vaccel_stream_options *options,
		      struct vaccel_stream **ret_stream);

/**
 * Additional data of GCM: any number of times, before the first byte of source. -EOWNERDEAD, as of the functions below:
 * the host's worker died with the message, which has to begin again. Since 0.1.
 */
int vaccel_stream_aad(struct vaccel_stream *stream, const void *data, size_t len);

/**
 * The message's next len bytes, any number. *ret_len: bytes of destination that were written. ECB and CBC write whole
 * blocks, of bytes that came earlier, too: at most len + 15 bytes, and with padding the last block that came is kept back
 * when decrypting. CTR and GCM write len bytes. So does XTS, of which each call is one data unit (16 bytes to 2^24), the
 * unit's number, its IV, being one more than the last one's, as little-endian numbers of 16 bytes. What is decrypted by GCM
 * must not be used before vaccel_stream_final() has said that the tag fits.
 * source and destination may lie on each other in any way; memory in registered buffers travels without a copy unless they
 * do so otherwise than exactly. Larger messages than one request can have are cut up, except for XTS.
 * -ERANGE: destination has no room for what would be written, and nothing happened. Since 0.1.
 */
int vaccel_stream_update(struct vaccel_stream *stream, const void *source, size_t len, void *destination, size_t room,
			 size_t *ret_len);

/**
 * Ends the message. *ret_len: bytes of destination that were written: a block of padding when it is added, at most 15 bytes
 * when it is removed, otherwise 0 (destination may be NULL if room is 0). tag: GCM only, written when it encrypts, read
 * when it decrypts; otherwise tag_len is 0. ret_len may be NULL if there is no padding. Nothing but
 * vaccel_stream_free() may follow.
 * -EINVAL without padding: the message was no whole number of blocks. -EBADMSG: its padding is none.
 * -EKEYREJECTED: the tag does not fit. Since 0.1.
 */
int vaccel_stream_final(struct vaccel_stream *stream, void *destination, size_t room, void *tag, size_t tag_len,
			size_t *ret_len);

/**
 * Another stream that goes on from where this one is. -EOPNOTSUPP: of GCM when the host has something of the message.
 * Since 0.1.
 */
int vaccel_stream_dup(const struct vaccel_stream *stream, struct vaccel_stream **ret_stream);

/** NULL is allowed. What the stream held is overwritten. Since 0.1. */
void vaccel_stream_free(struct vaccel_stream *stream);

#ifdef __cplusplus
}
#endif
#endif /* VACCEL_VACCEL_H */
