/* SPDX-License-Identifier: Apache-2.0 */
/**
 * <vaccel/basic.h>: the four calls of the first vAccel report, spelled as they were there.
 *
 * For programs that need one operation and no options. The transport is $VACCEL_TRANSPORT or what is there (see
 * <vaccel/vaccel.h>). Functions return 0 or a negative errno (create_vaccel_session(): NULL with errno set);
 * vaccel_error() of <vaccel/vaccel.h> explains.
 */
#ifndef VACCEL_BASIC_H
#define VACCEL_BASIC_H

#include <stddef.h>
#include <stdint.h>
#include <vaccel/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint8_t vaccel_op_t;
typedef struct vaccel_basic_session vaccel_session_t;

/** Size of the array that vaccel_get_operations() fills. */
#define VACCEL_OPERATIONS_MAX 256

/** Input of VACCEL_OP_SGEMM; its output is struct vaccel_sgemm_output. Matrices as for struct vaccel_gemm. */
struct vaccel_sgemm_input {
	size_t size; /* sizeof(struct vaccel_sgemm_input) */
	struct vaccel_gemm gemm;
	const float *a;
	const float *b;
};

struct vaccel_sgemm_output {
	size_t size; /* sizeof(struct vaccel_sgemm_output) */
	float *c;
};

/** Input and output of VACCEL_OP_DGEMM. */
struct vaccel_dgemm_input {
	size_t size;
	struct vaccel_gemm gemm;
	const double *a;
	const double *b;
};

struct vaccel_dgemm_output {
	size_t size;
	double *c;
};

/**
 * Input and output of VACCEL_OP_IMAGE_CLASSIFY, see vaccel_classify() of <vaccel/vaccel.h>: the k labels of the highest
 * probability.
 */
struct vaccel_classify_input {
	size_t size; /* sizeof(struct vaccel_classify_input) */
	const char *model;
	const void *image; /* JPEG, PNG */
	size_t len;	   /* its bytes */
	uint32_t k;
};

struct vaccel_classify_output {
	size_t size;		     /* sizeof(struct vaccel_classify_output) */
	struct vaccel_label *labels; /* room for k */
	/* Filled: about.n_labels says how many labels were. */
	struct vaccel_classified about;
};

struct vaccel_tensor; /* of <vaccel/vaccel.h>, as vaccel_infer() takes it */

/** Input and output of VACCEL_OP_INFER. */
struct vaccel_infer_input {
	size_t size; /* sizeof(struct vaccel_infer_input) */
	const char *model;
	const struct vaccel_tensor *tensors;
	size_t n_tensors;
};

struct vaccel_infer_output {
	size_t size; /* sizeof(struct vaccel_infer_output) */
	struct vaccel_tensor *tensors;
	size_t n_tensors;
};

/** Output of VACCEL_OP_MODEL_LIST, which has no input. */
struct vaccel_model_list_output {
	size_t size; /* sizeof(struct vaccel_model_list_output) */
	struct vaccel_model_row *rows;
	size_t room; /* rows that there is room for; may be 0 */
	/* Filled: models that there are. Those beyond the room are left out. */
	size_t n_models;
};

/** Input and output of VACCEL_OP_MODEL_INFO. */
struct vaccel_model_info_input {
	size_t size; /* sizeof(struct vaccel_model_info_input) */
	const char *model;
};

struct vaccel_model_info_output {
	size_t size; /* sizeof(struct vaccel_model_info_output) */
	struct vaccel_tensor_desc *tensors;
	size_t room; /* tensors that there is room for, inputs first; may be 0 */
	/* Filled. */
	struct vaccel_model_about about;
};

struct vaccel_message; /* of <vaccel/vaccel.h>, as vaccel_cipher() takes it */

/** Input of VACCEL_OP_CIPHER, which has no output: the message says where that goes. The key is used once. */
struct vaccel_cipher_input {
	size_t size;	      /* sizeof(struct vaccel_cipher_input) */
	const char *host_key; /* name of a key that the host holds; or NULL: */
	const void *key;      /* one of AES, key_len bytes */
	size_t key_len;
	const struct vaccel_message *message;
};

/**
 * Sets available_operations[op] to 1 for each operation that can be served and to 0 for the others.
 * available_operations: room for VACCEL_OPERATIONS_MAX bytes. Since 0.1.
 */
int vaccel_get_operations(uint8_t *available_operations);

/** Opens a session. Destroy with destroy_vaccel_session(). Since 0.1. */
vaccel_session_t *create_vaccel_session(void);

/**
 * Runs one operation and waits. input and output: the operation's structs above (both NULL for VACCEL_OP_NOOP), which
 * begin with their size. Since 0.1.
 */
int do_operation(vaccel_session_t *handle, vaccel_op_t operation, void *input, void *output);

/** Closes. NULL is allowed. Since 0.1. */
int destroy_vaccel_session(vaccel_session_t *handle);

/** The same under the name that the report printed. Since 0.1. */
int destory_vaccel_session(vaccel_session_t *handle);

#ifdef __cplusplus
}
#endif
#endif /* VACCEL_BASIC_H */
