/* SPDX-License-Identifier: Apache-2.0 */
/* See tiny.h. */
#include "tiny.h"

#include <endian.h>

struct tiny tiny;
static char path[] = "/tmp/vaccel-models.XXXXXX/sock";
char tiny_url[64];

static void put_label(struct vaccel_label *label, uint32_t index, float probability, const char *name)
{
	*label = (struct vaccel_label){ .index = htole32(index), .probability = probability };
	snprintf(label->name, sizeof(label->name), "%s", name);
}

static void serve_classify(const struct vaccel_classify *params, void *const args[])
{
	struct vaccel_classified about = { .n_labels = htole32(params->k < 2 ? params->k : 2),
					   .n_classes = htole32(2),
					   .width = htole32(28),
					   .height = htole32(14),
					   .decode_ns = htole64(11),
					   .prepare_ns = htole64(22),
					   .run_ns = htole64(33),
					   .batch = htole32(1),
					   .reserved = htole32(99) };
	struct vaccel_label *labels = args[2];

	memset(labels, 0xee, params->k * sizeof(*labels));
	put_label(&labels[0], 1, 0.75f, "one");
	if (params->k > 1)
		put_label(&labels[1], 0, 0.25f, "zero\033[2J");
	if (tiny.classified)
		tiny.classified(&about, labels);
	memcpy(args[1], &about, sizeof(about));
}

static void put_desc(struct vaccel_tensor_desc *desc, const char *name, uint32_t dtype, uint32_t rank, int64_t dim,
		     uint64_t len)
{
	memset(desc, 0, sizeof(*desc));
	snprintf(desc->name, sizeof(desc->name), "%s", name);
	desc->dtype = htole32(dtype);
	desc->rank = htole32(rank);
	desc->dims[0] = (int64_t)htole64((uint64_t)dim);
	desc->len = htole64(len);
}

/* Inputs: x. Outputs: sum, words. */
static void serve_infer(void *const args[], const uint64_t lens[])
{
	const struct vaccel_tensor_desc *asked = args[0];
	struct vaccel_tensor_desc answers[2];
	uint64_t rows = le64toh((uint64_t)asked[0].dims[0]);
	const float *x = args[2];
	float *sum = args[3];

	put_desc(&answers[0], "sum", VACCEL_FLOAT32, 1, (int64_t)rows, rows * sizeof(float));
	put_desc(&answers[1], "words", VACCEL_STRING, 1, 2, 14);
	for (uint64_t i = 0; sum && lens[3] >= rows * sizeof(float) && i < rows; i++)
		sum[i] = x[2 * i] + x[2 * i + 1];
	if (args[4] && lens[4] >= 14)
		memcpy(args[4], tiny.words, 14);
	if (tiny.output)
		tiny.output(&answers[0], &answers[1]);
	memcpy(args[1], answers, sizeof(answers));
}

static void put_row(struct vaccel_model_row *row, const char *name, uint32_t number)
{
	*row = (struct vaccel_model_row){ .flags = htole32(VACCEL_MODEL_CLASSIFIES),
					  .n_labels = htole32(2),
					  .bytes = htole64(1000 + number) };
	snprintf(row->name, sizeof(row->name), "%s-%u", name, number);
	snprintf(row->framework, sizeof(row->framework), "none\n");
	memset(row->hash, (int)number, sizeof(row->hash));
}

static void serve_list(void *const args[], const uint64_t lens[])
{
	struct vaccel_model_row *rows = args[1];
	struct vaccel_models head = { .n_models = htole32(tiny.n_models), .changes = htole64(77) };
	uint32_t room = (uint32_t)(lens[1] / sizeof(*rows)), n = tiny.n_models < room ? tiny.n_models : room;

	for (uint32_t i = 0; i < n; i++)
		put_row(&rows[i], "model", i);
	head.n_rows = htole32(n);
	if (tiny.models)
		tiny.models(&head, rows);
	memcpy(args[0], &head, sizeof(head));
	tiny.n_models += tiny.growing ? 1000 : 0;
}

static void serve_info(void *const args[], const uint64_t lens[])
{
	struct vaccel_model_about about = { .n_inputs = htole32(1),
					    .n_outputs = htole32(2),
					    .n_tensors = htole32(3),
					    .width = htole32(28),
					    .height = htole32(14),
					    .channels = htole32(3),
					    .labels_len = htole64(9) };
	struct vaccel_tensor_desc *tensors = args[1];

	put_row(&about.row, "tiny", 7);
	snprintf(about.signature, sizeof(about.signature), "serving");
	snprintf(about.description, sizeof(about.description), "adds\tup");
	put_desc(&tensors[0], "x", VACCEL_FLOAT32, 2, -1, 0);
	tensors[0].dims[1] = (int64_t)htole64(2);
	put_desc(&tensors[1], "sum", VACCEL_FLOAT32, UINT32_MAX, 5, 0);
	put_desc(&tensors[2], "words", VACCEL_STRING, 1, 2, 0);
	memcpy(args[2], "zero\0o\ne\0", 9);
	if (tiny.about)
		tiny.about(&about, tensors, args[2]);
	memcpy(args[0], &about, sizeof(about));
	assert_true(lens[1] >= 3 * sizeof(*tensors));
}

static void serve(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	void *args[OP_MAX_ARGS];
	uint64_t lens[OP_MAX_ARGS];
	const char *name = request->params;

	if (request->type != VIRTIO_ACCEL_T_OP)
		return;
	tiny.deadline_ms = request->deadline_ms;
	for (uint32_t i = 0; i < request->n_args; i++)
		args[i] = backend_arg(b, request, i, &lens[i]);
	if (request->op == VACCEL_OP_MODEL_LIST) {
		serve_list(args, lens);
	} else if (strcmp(name, "tiny") != 0) {
		response->status = VIRTIO_ACCEL_S_NOENT;
		response->detail = "there is no such model";
		response->detail_len = (uint32_t)strlen(response->detail);
	} else if (request->op == VACCEL_OP_IMAGE_CLASSIFY) {
		serve_classify(request->params, args);
	} else if (request->op == VACCEL_OP_INFER) {
		serve_infer(args, lens);
	} else {
		serve_info(args, lens);
	}
}

int tiny_make_folder(void **state)
{
	char *slash = strrchr(path, '/');

	*slash = 0;
	if (!mkdtemp(path))
		return -1;
	*slash = '/';
	snprintf(tiny_url, sizeof(tiny_url), "shm:%s", path);
	return 0;
}

int tiny_remove_folder(void **state)
{
	*strrchr(path, '/') = 0;
	return rmdir(path);
}

void tiny_start(void)
{
	memset(&tiny, 0, sizeof(tiny));
	tiny.words = TINY_WORDS;
	tiny.n_models = TINY_MODELS;
	backend_init(&tiny.backend, path);
	tiny.backend.answer = serve;
	backend_start(&tiny.backend);
}

void tiny_stop(void)
{
	backend_stop(&tiny.backend);
}

uint32_t tiny_ops_seen(void)
{
	uint32_t n;

	pthread_mutex_lock(&tiny.backend.lock);
	n = tiny.backend.n_ops;
	pthread_mutex_unlock(&tiny.backend.lock);
	return n;
}
