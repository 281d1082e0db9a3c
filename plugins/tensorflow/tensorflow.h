/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin tensorflow, inside: the framework `tensorflow`, on TensorFlow's C API.
 *
 *	plugin.c     what the plugin declares; configuration; start
 *	library.c    TensorFlow's library, found and opened when the plugin starts
 *	log.c        what TensorFlow logs goes to the host's log
 *	status.c     TensorFlow's codes as errnos
 *	model.c      SavedModels
 *	frozen.c     frozen graphs
 *	run.c        inputs, a run, outputs
 *	weights.c    variables in a file that several daemons map; share.c, the tool that makes it
 *	text.c       string tensors
 *	signature.c, keeps.c, proto.c
 *	             what a SavedModel says of itself
 *
 * TensorFlow is not linked but opened by ready(): it takes a third of a second and 28 MiB, which a program that only asks for
 * names and keys shall not pay, and a host without it gets a sentence instead of a loader's message.
 *
 * Ownership: one struct tf_settings, constant from ready() on. Each model owns a session with its graph and variables; what
 * TensorFlow shares between sessions are its threads. The library is never closed again, since its threads do not end.
 *
 * Invariant: when model_run() returns, nothing of TensorFlow refers to the caller's memory. Models that might keep an input
 * (keeps.c) get copies.
 */
#ifndef VACCEL_PLUGIN_TENSORFLOW_H
#define VACCEL_PLUGIN_TENSORFLOW_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tensorflow/c/c_api.h>
#include <vaccel/plugin.h>
#include "proto.h"
#include "signature.h"

/* ---- library.c ---- */

/* Every function of TensorFlow that the plugin calls. */
#define TF_FUNCTIONS(ROW)                \
	ROW(AddInput)                    \
	ROW(CloseSession)                \
	ROW(DataTypeSize)                \
	ROW(DeleteBuffer)                \
	ROW(DeleteDeviceList)            \
	ROW(DeleteGraph)                 \
	ROW(DeleteImportGraphDefOptions) \
	ROW(DeleteSession)               \
	ROW(DeleteSessionOptions)        \
	ROW(DeleteStatus)                \
	ROW(DeleteTensor)                \
	ROW(DeviceListCount)             \
	ROW(DeviceListType)              \
	ROW(Dim)                         \
	ROW(FinishOperation)             \
	ROW(GetAllOpList)                \
	ROW(GetCode)                     \
	ROW(GraphGetTensorNumDims)       \
	ROW(GraphGetTensorShape)         \
	ROW(GraphImportGraphDef)         \
	ROW(GraphNextOperation)          \
	ROW(GraphOperationByName)        \
	ROW(LoadSessionFromSavedModel)   \
	ROW(Message)                     \
	ROW(NewBuffer)                   \
	ROW(NewGraph)                    \
	ROW(NewImportGraphDefOptions)    \
	ROW(NewOperation)                \
	ROW(NewSession)                  \
	ROW(NewSessionOptions)           \
	ROW(NewStatus)                   \
	ROW(NewTensor)                   \
	ROW(NumDims)                     \
	ROW(OperationGetAttrMetadata)    \
	ROW(OperationGetAttrString)      \
	ROW(OperationGetAttrType)        \
	ROW(OperationName)               \
	ROW(OperationNumOutputs)         \
	ROW(OperationOpType)             \
	ROW(OperationOutputNumConsumers) \
	ROW(OperationOutputType)         \
	ROW(SessionListDevices)          \
	ROW(SessionRun)                  \
	ROW(SetAttrType)                 \
	ROW(SetConfig)                   \
	ROW(StringCopy)                  \
	ROW(StringDealloc)               \
	ROW(StringGetDataPointer)        \
	ROW(StringGetSize)               \
	ROW(StringInit)                  \
	ROW(TensorByteSize)              \
	ROW(TensorData)                  \
	ROW(TensorType)                  \
	ROW(Version)

#define TF_MEMBER(name_) __typeof__(&TF_##name_) name_;
/* tf.NewGraph() is TF_NewGraph(). */
extern struct tf_api {
	TF_FUNCTIONS(TF_MEMBER)
} tf;
#undef TF_MEMBER

enum tf_probe { TF_PROBE_AUTO, TF_PROBE_ALWAYS };

/* ---- log.c ---- */

typedef void (*tf_log)(int priority, const char *text);

/* Least severity that is passed on, as TensorFlow counts. */
enum tf_severity { TF_INFO, TF_WARNING, TF_ERROR, TF_FATAL };

/* What is written to standard error from here to tf_log_begin() is kept: what TensorFlow says while its library is opened. */
void tf_log_catch(void);
/* What TensorFlow says from now on goes to log. framework: its library as dlopen() gave it, or NULL. */
void tf_log_begin(void *framework, tf_log log, enum tf_severity least);
void tf_log_end(void);

/* path: NULL: the one that this was built for. Takes its log meanwhile, see log.c. May be called again. */
int tf_library_open(const char *path, enum tf_probe probe, tf_log log, enum tf_severity least,
		    const struct vaccel_plugin_report *report);

/* ---- status.c ---- */

int tf_code_errno(TF_Code code);
/* "WHAT: what TensorFlow says", one line; returns the errno. */
int tf_error(const struct vaccel_plugin_report *report, const TF_Status *status, const char *what, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- model.c, frozen.c ---- */

struct tf_settings {
	unsigned int intra_threads; /* of one operation; 0: as many as CPUs */
	unsigned int inter_threads; /* for operations of a graph that do not depend on each other; 0: as many as CPUs */
};

enum { TF_MAX_SETS = 8 };

/* A choice of outputs: TensorFlow prepares, and keeps, a plan for each. */
struct tf_set {
	uint64_t members[SIGNATURE_MAX_TENSORS / 64];
};

struct tf_model {
	char *name;
	TF_Graph *graph;
	TF_Session *session;
	struct signature signature;
	TF_Output *inputs, *outputs; /* of the graph, as the signature has them */
	bool keeps;		     /* may keep what it is fed */

	pthread_mutex_t lock;
	struct tf_set sets[TF_MAX_SETS]; /* under lock */
	size_t n_sets;
};

/* The settings as a session gets them. To be freed; NULL: no memory. */
TF_SessionOptions *tf_session_options(const struct tf_settings *settings);
int tf_model_new(const struct tf_settings *settings, const struct vaccel_plugin_model *description,
		 struct tf_model **ret_model, const struct vaccel_plugin_report *report);
void tf_model_free(struct tf_model *model);
/* Finds out what the graph does besides computing. folder: of the SavedModel, with its variables; NULL: a frozen graph. */
int tf_model_study(struct tf_model *model, struct proto_bytes graph, const char *folder,
		   const struct vaccel_plugin_report *report);
/* The value of a key of the model's description; NULL: it has none. */
const char *tf_model_key(const struct vaccel_plugin_model *description, const char *key);

/* A session for a file with a GraphDef, and the signature that its description or its form give it. */
int tf_frozen_load(struct tf_model *model, const TF_SessionOptions *options,
		   const struct vaccel_plugin_model *description, const struct vaccel_plugin_report *report);
/* "node:0", or "node" for its first output. -ENOENT. */
int tf_graph_output(TF_Graph *graph, const char *name, TF_Output *ret_output);
/* Whether TensorFlow's element type is one that vAccel has. */
bool tf_is_dtype(uint32_t dtype);

/* ---- run.c ---- */

int tf_model_run(const struct vaccel_plugin_run *run);

/* ---- text.c ---- */

/* A string tensor with copies of its n texts. -EINVAL, -ENOMEM. */
int tf_text_new(const struct vaccel_plugin_tensor *tensor, size_t n, TF_Tensor **ret_tensor);
/* The texts of a string tensor as vAccel lays them out, to be freed. -ENOMEM, -E2BIG. */
int tf_text_read(const TF_Tensor *tensor, size_t n, void **ret_data, size_t *ret_len);

#endif
