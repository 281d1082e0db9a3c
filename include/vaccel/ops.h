/* SPDX-License-Identifier: Apache-2.0 */
/**
 * <vaccel/ops.h>: the operations and their parameters, shared by callers and plugins.
 *
 * The numbers are for ever. Parameter structs have the layout of the wire (docs/virtio-accel.md) in the machine's own
 * byte order; reserved members are zero.
 */
#ifndef VACCEL_OPS_H
#define VACCEL_OPS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vaccel_op {
	VACCEL_OP_NOOP = 0,	      /* does nothing: no parameters, no arguments */
	VACCEL_OP_SGEMM = 1,	      /* struct vaccel_gemm; float A, B, C */
	VACCEL_OP_DGEMM = 2,	      /* struct vaccel_gemm; double A, B, C */
	VACCEL_OP_IMAGE_CLASSIFY = 3, /* struct vaccel_classify; image, answer, labels */
	VACCEL_OP_INFER = 4,	      /* struct vaccel_infer; descriptions, answers, tensors */
	VACCEL_OP_MODEL_LIST = 5,     /* struct vaccel_model_list; answer, rows */
	VACCEL_OP_MODEL_INFO = 6,     /* struct vaccel_model_query; answer, tensors, labels */
	VACCEL_OP_CIPHER = 7,	      /* struct vaccel_cipher; iv, aad, source, destination, tag */
	VACCEL_OP_AKCIPHER = 8,	      /* struct vaccel_akcipher; source, destination, answer */
	VACCEL_OP_KEY_IMPORT = 9,     /* struct vaccel_key_import; key, answer */
	VACCEL_OP_KEY_OPEN = 10,      /* struct vaccel_key_open; answer */
	VACCEL_OP_KEY_FREE = 11,      /* struct vaccel_key_free: no arguments */
};

/** Values of CBLAS: what a program passes to cblas_sgemm() is valid here. */
enum vaccel_order {
	VACCEL_ROW_MAJOR = 101,
	VACCEL_COL_MAJOR = 102,
};

enum vaccel_transpose {
	VACCEL_NO_TRANS = 111,
	VACCEL_TRANS = 112,
	VACCEL_CONJ_TRANS = 113, /* the same as TRANS for real matrices */
};

/**
 * SGEMM, DGEMM: C := alpha * op(A) * op(B) + beta * C, as BLAS defines it.
 *
 * op(A) is m x k, op(B) k x n, C m x n elements. Arguments of the call: 0: A (in), 1: B (in), 2: C (out; in and out
 * when beta is not 0: C is read only then, so NaN in C does not spread through beta = 0). Leading dimensions count
 * elements and are at least 1 and at least the length of a row (row-major) or column (column-major) as stored.
 * With alpha = 0 or k = 0, A and B are not read. With m = 0 or n = 0 nothing happens.
 */
struct vaccel_gemm {
	uint32_t order;	 /* enum vaccel_order */
	uint32_t transa; /* enum vaccel_transpose */
	uint32_t transb;
	uint32_t reserved;
	uint64_t m;
	uint64_t n;
	uint64_t k;
	uint64_t lda;
	uint64_t ldb;
	uint64_t ldc;
	double alpha;
	double beta;
};

/*
 * ---- Models ----
 *
 * Models are installed by the host's administrator and have names: 1 to 63 of A-Z a-z 0-9 . _ - and not '.' or '-' first.
 * Structs that arguments hold are little-endian, as tensors are, and need no alignment. Texts in them end with a NUL and
 * are padded with more. What an answer has no room for is left out, and its counts say how much there is.
 */
#define VACCEL_MODEL_NAME  64
#define VACCEL_TENSOR_NAME 128
#define VACCEL_LABEL_NAME  120
#define VACCEL_MAX_RANK	   8
/** Inputs and outputs of one INFER together. */
#define VACCEL_MAX_TENSORS 14
#define VACCEL_MAX_LABELS  1024 /* of one IMAGE_CLASSIFY */

/** Element types. The numbers are those of TensorFlow's DataType. */
enum vaccel_dtype {
	VACCEL_DTYPE_ANY = 0, /* of an output: whatever the model gives */
	VACCEL_FLOAT32 = 1,
	VACCEL_FLOAT64 = 2,
	VACCEL_INT32 = 3,
	VACCEL_UINT8 = 4,
	VACCEL_INT16 = 5,
	VACCEL_INT8 = 6,
	VACCEL_STRING = 7, /* see struct vaccel_tensor_desc */
	VACCEL_COMPLEX64 = 8,
	VACCEL_INT64 = 9,
	VACCEL_BOOL = 10, /* a byte, 0 or 1 */
	VACCEL_BFLOAT16 = 14,
	VACCEL_UINT16 = 17,
	VACCEL_COMPLEX128 = 18,
	VACCEL_FLOAT16 = 19,
	VACCEL_UINT32 = 22,
	VACCEL_UINT64 = 23,
};

/**
 * IMAGE_CLASSIFY: decodes a picture (JPEG, PNG), prepares it as the model's description says, runs the model and gives the
 * k labels of the highest probability, highest first; of equal ones the lower index first.
 *
 * Arguments: 0: the encoded picture (in), 1: struct vaccel_classified (out), 2: struct vaccel_label, at least k (out).
 */
struct vaccel_classify {
	char model[VACCEL_MODEL_NAME];
	uint32_t k; /* 1 to VACCEL_MAX_LABELS */
	uint32_t reserved;
};

struct vaccel_classified {
	uint32_t n_labels;  /* rows that were filled: k, or fewer when the model has no more classes */
	uint32_t n_classes; /* that the model tells apart */
	uint32_t width;	    /* of the picture, in pixels, turned as its orientation says */
	uint32_t height;
	uint64_t decode_ns;  /* time that the host took to decode the picture, */
	uint64_t prepare_ns; /* to scale and normalise it, */
	uint64_t run_ns;     /* to run the model, with whatever ran in the same batch */
	uint32_t batch;	     /* requests that ran together, 1: alone */
	uint32_t reserved;
};

struct vaccel_label {
	uint32_t index; /* of the class */
	float probability;
	char name[VACCEL_LABEL_NAME]; /* of the model's labels; the index in digits when it has none */
};

/**
 * INFER: named tensors in, named tensors out.
 *
 * Arguments: 0: struct vaccel_tensor_desc of each input, then of each output (in), 1: struct vaccel_tensor_desc of each
 * output as the model gave it (out), 2...: each input's elements (in), then room for each output's elements (out). Elements
 * are in row-major order. An input of a floating type in a registered buffer reaches the framework without a copy if it
 * starts at a multiple of 64 bytes.
 *
 * An output that needs more room than its argument has is not given: its description says what it needs, and the
 * request is successful (vaccel_infer() is not). Bytes of such an argument, and behind a shorter output, are undefined.
 */
struct vaccel_infer {
	char model[VACCEL_MODEL_NAME];
	uint32_t n_inputs;
	uint32_t n_outputs; /* at least 1 */
};

/**
 * A tensor. In a request: name, dtype, rank and dims of an input, and len its bytes; of an output the name, the rest is 0.
 * In an answer dims are what they are; in a model's signature -1 is any. rank UINT32_MAX in a signature: any.
 * The elements of a STRING tensor: a uint32_t length of each, then the bytes of each, without gaps; len is all of that.
 */
struct vaccel_tensor_desc {
	char name[VACCEL_TENSOR_NAME];
	uint32_t dtype; /* enum vaccel_dtype */
	uint32_t rank;
	int64_t dims[VACCEL_MAX_RANK]; /* behind rank: 0 */
	uint64_t len;		       /* bytes of elements; 0 in a signature */
};

/**
 * MODEL_LIST: the models that there are, by name. Arguments: 0: struct vaccel_models (out), 1: struct vaccel_model_row (out).
 */
struct vaccel_model_list {
	uint32_t first; /* row to begin with */
	uint32_t reserved;
};

struct vaccel_models {
	uint32_t n_models; /* that there are */
	uint32_t n_rows;   /* that follow in argument 1 */
	uint64_t changes;  /* how often a model came, went or was replaced since the daemon's worker began */
};

enum vaccel_model_flags {
	VACCEL_MODEL_BROKEN = 1 << 0,	  /* installed but not usable; the host's log says why */
	VACCEL_MODEL_CLASSIFIES = 1 << 1, /* can be asked for IMAGE_CLASSIFY */
	VACCEL_MODEL_OUTDATED = 1 << 2,	  /* what is installed is broken; this, the version before it, serves */
};

struct vaccel_model_row {
	char name[VACCEL_MODEL_NAME];
	char framework[32];
	uint32_t flags; /* set of enum vaccel_model_flags */
	uint32_t n_labels;
	uint64_t bytes;	  /* of its files */
	uint8_t hash[32]; /* SHA-256 over its files, see docs/models.md */
};

/**
 * MODEL_INFO: what a model takes and gives. Arguments: 0: struct vaccel_model_about (out), 1: struct vaccel_tensor_desc of the
 * inputs, then of the outputs (out), 2: labels, each ending with a NUL (out).
 */
struct vaccel_model_query {
	char model[VACCEL_MODEL_NAME];
};

struct vaccel_model_about {
	struct vaccel_model_row row;
	char signature[VACCEL_TENSOR_NAME]; /* "" when the format has none */
	char description[256];		    /* a sentence of the administrator's */
	uint32_t n_inputs;
	uint32_t n_outputs;
	uint32_t n_tensors; /* rows filled in argument 1 */
	uint32_t width;	    /* of pictures as the model sees them; 0 when it does not classify */
	uint32_t height;
	uint32_t channels;
	uint64_t labels_len; /* bytes of all labels */
};

/*
 * ---- Keys and ciphers ----
 *
 * A key is an object of a session: imported by its owner, or opened by the name that the host's administrator gave to one
 * that never leaves the host. Either way it has an id there and cannot be read back; it goes, and its bytes are
 * overwritten, with KEY_FREE or with the session, but not before the requests that use it have ended.
 */
#define VACCEL_KEY_NAME	 64   /* with the NUL that ends it; of the characters of a model's name */
#define VACCEL_KEY_BYTES 4096 /* of a key to import, at most */

enum vaccel_key_type {
	VACCEL_KEY_AES = 1,	    /* 16, 24 or 32 bytes; for XTS two of 16 or 32, one after the other */
	VACCEL_KEY_RSA_PUBLIC = 2,  /* DER of PKCS #1's RSAPublicKey */
	VACCEL_KEY_RSA_PRIVATE = 3, /* DER of PKCS #1's RSAPrivateKey */
};

/** What a key may be used for, a set. */
enum vaccel_key_right {
	VACCEL_MAY_ENCRYPT = 1 << 0,
	VACCEL_MAY_DECRYPT = 1 << 1,
	VACCEL_MAY_SIGN = 1 << 2,
	VACCEL_MAY_VERIFY = 1 << 3,
	VACCEL_MAY_ALL = 0xf,
};

/** Modes of operation of AES: NIST SP 800-38A, 38D (GCM), 38E (XTS). */
enum vaccel_cipher_mode {
	VACCEL_ECB = 1,
	VACCEL_CBC = 2, /* no padding: whoever wants that adds and removes it */
	VACCEL_CTR = 3, /* the whole block counts, big-endian */
	VACCEL_XTS = 4, /* one data unit a request, at least 16 bytes and at most 2^24 */
	VACCEL_GCM = 5,
};

enum vaccel_direction {
	VACCEL_ENCRYPT = 1,
	VACCEL_DECRYPT = 2,
};

/** A message that is one request has both. Only GCM knows others; what other modes chain is in their IV. */
enum vaccel_cipher_flags {
	VACCEL_CIPHER_BEGIN = 1 << 0, /* first of its message: brings the IV */
	VACCEL_CIPHER_END = 1 << 1,   /* last: makes or checks the tag */
};

/**
 * CIPHER: AES in one of its modes.
 *
 * Arguments: 0: IV (in): 16 bytes for CBC, CTR and XTS, 1 to 128 for GCM, none for ECB and where a message goes on.
 * 1: additional data (in), GCM only, in requests that come before the message's first byte of source. 2: source (in).
 * 3: destination (out), as long as the source, which it may lie on exactly; a whole number of blocks for ECB and CBC.
 * 4: tag, GCM's last request only: out when it encrypts, in when it decrypts, 4 to 16 bytes, of which 4, 8 and 12 to 16
 * are possible. A tag that does not fit fails with -EKEYREJECTED, and the destination is to be thrown away.
 *
 * A message of GCM may come in several requests of a session, one after the other. What the host holds of it is lost with
 * its worker: the next request then fails with -EOWNERDEAD, and the message has to begin again.
 */
struct vaccel_cipher {
	uint64_t key;
	uint32_t mode;	    /* enum vaccel_cipher_mode */
	uint32_t direction; /* enum vaccel_direction */
	uint32_t flags;	    /* set of enum vaccel_cipher_flags */
	uint32_t skip;	    /* CTR: bytes of the first block's key stream that are used up, 0 to 15 */
	uint64_t stream; /* of a message in several requests: its number, not 0 and the caller's choice; otherwise 0 */
};

/** Numbers of virtio-crypto, as in linux/virtio_crypto.h. */
enum vaccel_rsa_padding {
	VACCEL_RSA_RAW = 0,   /* numbers: the source at most as long as the modulus, the destination as long */
	VACCEL_RSA_PKCS1 = 1, /* version 1.5 */
};

/** Whose digest is signed with PKCS1; numbers of virtio-crypto. */
enum vaccel_rsa_hash {
	VACCEL_RSA_NO_HASH = 0, /* the source is signed as it is */
	VACCEL_RSA_MD5 = 4,
	VACCEL_RSA_SHA1 = 5,
	VACCEL_RSA_SHA256 = 6,
	VACCEL_RSA_SHA384 = 7,
	VACCEL_RSA_SHA512 = 8,
	VACCEL_RSA_SHA224 = 9,
};

enum vaccel_akcipher_operation {
	VACCEL_AK_ENCRYPT = 1,
	VACCEL_AK_DECRYPT = 2,
	VACCEL_AK_SIGN = 3, /* source: a digest */
	VACCEL_AK_VERIFY =
		4, /* source: a signature; destination (in): the digest. -EKEYREJECTED when they do not fit */
};

/**
 * AKCIPHER: RSA. Arguments: 0: source (in), 1: destination (out; VERIFY: in), as long as the modulus or, of what PKCS1
 * decrypts, at least as long as that is, 2: struct vaccel_akcipher_answer (out).
 */
struct vaccel_akcipher {
	uint64_t key;
	uint32_t operation; /* enum vaccel_akcipher_operation */
	uint32_t padding;   /* enum vaccel_rsa_padding */
	uint32_t hash;	    /* enum vaccel_rsa_hash */
	uint32_t reserved;
};

struct vaccel_akcipher_answer {
	uint32_t len; /* bytes of the destination that were written; those behind are undefined */
	uint32_t reserved;
};

/** KEY_IMPORT. Arguments: 0: the key's bytes (in), 1: struct vaccel_key_about (out). */
struct vaccel_key_import {
	uint32_t type;	 /* enum vaccel_key_type */
	uint32_t modes;	 /* set of 1 << enum vaccel_cipher_mode that it may be used in; 0: any */
	uint32_t rights; /* set of enum vaccel_key_right, not 0 */
	uint32_t reserved;
};

/** KEY_OPEN: a key that the host holds. Argument 0: struct vaccel_key_about (out). -ENOENT: it has no such key for us. */
struct vaccel_key_open {
	char name[VACCEL_KEY_NAME];
};

struct vaccel_key_free {
	uint64_t key;
};

/** An answer, little-endian as all structs in arguments. */
struct vaccel_key_about {
	uint64_t id;
	uint32_t type;
	uint32_t bits;	/* AES: of the key as it was given, so 256 or 512 for XTS; RSA: of the modulus */
	uint32_t modes; /* 0: any */
	uint32_t rights;
	uint32_t held; /* 1: by the host */
	uint32_t reserved;
};

#ifdef __cplusplus
}
#endif
#endif /* VACCEL_OPS_H */
