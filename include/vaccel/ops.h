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

#ifdef __cplusplus
}
#endif
#endif /* VACCEL_OPS_H */
