/* SPDX-License-Identifier: Apache-2.0 */
/* What is on a picture? The host decodes it and runs the model. Usage: classify MODEL IMAGE [TRANSPORT] */
#include <stdio.h>
#include <stdlib.h>
#include <vaccel/vaccel.h>

#define K 3

static void *read_file(const char *path, size_t *ret_len)
{
	FILE *file = fopen(path, "rb");
	void *data = NULL;
	long len = -1;

	if (file && fseek(file, 0, SEEK_END) == 0)
		len = ftell(file);
	if (len > 0 && fseek(file, 0, SEEK_SET) == 0)
		data = malloc((size_t)len);
	if (data)
		*ret_len = fread(data, 1, (size_t)len, file);
	if (file)
		fclose(file);
	return data;
}

static int classify(struct vaccel_session *session, const char *model, const void *image, size_t len)
{
	struct vaccel_classified about;
	struct vaccel_label labels[K];
	int n = vaccel_classify(session, model, image, len, K, labels, &about);

	for (int i = 0; i < n; i++)
		printf("%-12s %.4f\n", labels[i].name, (double)labels[i].probability);
	if (n >= 0)
		printf("%u x %u pixels, %.3f ms in the model\n", about.width, about.height, (double)about.run_ns / 1e6);
	return n;
}

int main(int argc, char **argv)
{
	struct vaccel_context_options options = { .size = sizeof(options), .transport = argc > 3 ? argv[3] : NULL };
	struct vaccel_context *context = NULL;
	struct vaccel_session *session = NULL;
	size_t len = 0;
	void *image = argc > 2 ? read_file(argv[2], &len) : NULL;
	int r;

	if (!image) {
		fprintf(stderr, "usage: %s MODEL IMAGE [TRANSPORT]; the picture cannot be read\n", argv[0]);
		return 2;
	}
	r = vaccel_context_new(&options, &context);
	if (r == 0)
		r = vaccel_session_open(context, &session);
	if (r == 0)
		r = classify(session, argv[1], image, len);
	if (r < 0)
		fprintf(stderr, "%s\n", vaccel_error());
	vaccel_session_close(session);
	vaccel_context_free(context);
	free(image);
	return r < 0;
}
