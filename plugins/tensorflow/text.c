/* SPDX-License-Identifier: Apache-2.0 */
/* String tensors: a TF_TString for each element, against lengths and bytes in a row (struct vaccel_tensor_desc). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tensorflow.h"

static void drop_texts(void *data, size_t len, void *opaque)
{
	TF_TString *texts = data;
	size_t i;

	for (i = 0; i < len / sizeof(*texts); i++)
		tf.StringDealloc(&texts[i]);
	free(data);
}

/* Lengths and bytes were checked; they are private memory. They are checked here again, for it costs nothing. */
static bool fill(TF_TString *texts, size_t n, const uint8_t *data, size_t len)
{
	size_t at = n * sizeof(uint32_t), i;
	uint32_t length;

	for (i = 0; i < n; i++) {
		memcpy(&length, data + i * sizeof(length), sizeof(length));
		if (length > len - at)
			return false;
		tf.StringCopy(&texts[i], (const char *)data + at, length);
		at += length;
	}
	return at == len;
}

int tf_text_new(const struct vaccel_plugin_tensor *tensor, size_t n, TF_Tensor **ret_tensor)
{
	TF_TString *texts;
	size_t i;

	if (n > tensor->len / sizeof(uint32_t))
		return -EINVAL;
	texts = aligned_alloc(64, (n * sizeof(*texts) + 64) / 64 * 64);
	if (!texts)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		tf.StringInit(&texts[i]);
	if (!fill(texts, n, tensor->data, tensor->len)) {
		drop_texts(texts, n * sizeof(*texts), NULL);
		return -EINVAL;
	}
	*ret_tensor =
		tf.NewTensor(TF_STRING, tensor->dims, (int)tensor->rank, texts, n * sizeof(*texts), drop_texts, NULL);
	return *ret_tensor ? 0 : -ENOMEM;
}

int tf_text_read(const TF_Tensor *tensor, size_t n, void **ret_data, size_t *ret_len)
{
	const TF_TString *texts = tf.TensorData(tensor);
	size_t len = n * sizeof(uint32_t), at = len, i;
	uint8_t *data;

	for (i = 0; i < n; i++) {
		const size_t more = tf.StringGetSize(&texts[i]);

		if (more > UINT32_MAX || len > SIZE_MAX - more)
			return -E2BIG;
		len += more;
	}
	data = malloc(len ? len : 1);
	if (!data)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		const uint32_t length = (uint32_t)tf.StringGetSize(&texts[i]);

		memcpy(data + i * sizeof(length), &length, sizeof(length));
		if (length)
			memcpy(data + at, tf.StringGetDataPointer(&texts[i]), length);
		at += length;
	}
	*ret_data = data;
	*ret_len = len;
	return 0;
}
