/* SPDX-License-Identifier: Apache-2.0 */
/* See npy.h. The header is a Python dictionary of three keys, in any order, and is read as just that. */
#include "cli/npy.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "op/tensor.h"
#include "util/util.h"

#define MAGIC	   "\x93NUMPY"
#define MAX_HEADER 65536
#define ALIGN	   64 /* of the elements in the file */

static const struct {
	uint32_t dtype;
	const char *descr; /* without the byte order */
} types[] = {
	{ VACCEL_FLOAT32, "f4" },   { VACCEL_FLOAT64, "f8" },	  { VACCEL_FLOAT16, "f2" },  { VACCEL_INT8, "i1" },
	{ VACCEL_INT16, "i2" },	    { VACCEL_INT32, "i4" },	  { VACCEL_INT64, "i8" },    { VACCEL_UINT8, "u1" },
	{ VACCEL_UINT16, "u2" },    { VACCEL_UINT32, "u4" },	  { VACCEL_UINT64, "u8" },   { VACCEL_BOOL, "b1" },
	{ VACCEL_COMPLEX64, "c8" }, { VACCEL_COMPLEX128, "c16" }, { VACCEL_BFLOAT16, "V2" },
};

/* What the header says. */
struct header {
	char order; /* of bytes: '<', '>', '=', '|' */
	char descr[16];
	bool fortran;
	uint32_t rank;
	int64_t dims[VACCEL_MAX_RANK];
	bool has_descr, has_order, has_shape;
};

/* Text that is read from front to back. */
struct scan {
	const char *at, *end;
};

static int bad(struct error *error, const char *why)
{
	return error_set(error, -EINVAL, "cannot use it: %s", why);
}

static void skip_space(struct scan *scan)
{
	while (scan->at < scan->end && strchr(" \t\n\r", *scan->at) && *scan->at)
		scan->at++;
}

static bool take(struct scan *scan, const char *text)
{
	size_t len = strlen(text);

	skip_space(scan);
	if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, text, len) != 0)
		return false;
	scan->at += len;
	return true;
}

static bool take_string(struct scan *scan, char *dst, size_t size)
{
	char quote;
	size_t n = 0;

	skip_space(scan);
	if (scan->at == scan->end || (*scan->at != '\'' && *scan->at != '"'))
		return false;
	quote = *scan->at++;
	for (; scan->at < scan->end && *scan->at != quote; scan->at++) {
		if (n + 1 == size)
			return false;
		dst[n++] = *scan->at;
	}
	dst[n] = 0;
	return scan->at++ < scan->end;
}

static bool take_count(struct scan *scan, int64_t *ret_value)
{
	int64_t value = 0;
	const char *start;

	skip_space(scan);
	for (start = scan->at; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++)
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *scan->at - '0', &value))
			return false;
	*ret_value = value;
	return scan->at > start;
}

/* "()", "(3,)", "(2, 3)" */
static bool take_shape(struct scan *scan, struct header *header)
{
	if (!take(scan, "("))
		return false;
	while (!take(scan, ")")) {
		if (header->rank == VACCEL_MAX_RANK || !take_count(scan, &header->dims[header->rank]))
			return false;
		header->rank++;
		if (!take(scan, ","))
			return take(scan, ")");
	}
	return true;
}

static bool take_member(struct scan *scan, struct header *header)
{
	char key[16], text[17];

	if (!take_string(scan, key, sizeof(key)) || !take(scan, ":"))
		return false;
	if (!strcmp(key, "descr")) {
		/* Structured types are lists: no string. */
		header->has_descr = take_string(scan, text, sizeof(text)) && strlen(text) > 1;
		if (!header->has_descr)
			return false;
		header->order = text[0];
		snprintf(header->descr, sizeof(header->descr), "%s", text + 1);
		return true;
	}
	if (!strcmp(key, "fortran_order")) {
		header->fortran = take(scan, "True");
		header->has_order = header->fortran || take(scan, "False");
		return header->has_order;
	}
	header->has_shape = !header->has_shape && !strcmp(key, "shape") && take_shape(scan, header);
	return header->has_shape;
}

static int parse_header(struct scan scan, struct header *header, struct error *error)
{
	if (!take(&scan, "{"))
		return bad(error, "its header is no dictionary");
	while (!take(&scan, "}")) {
		if (!take_member(&scan, header))
			return bad(error, "its header has a member that is not understood, or more than 8 dimensions");
		take(&scan, ",");
	}
	if (!header->has_descr || !header->has_order || !header->has_shape)
		return bad(error, "its header lacks type, order or shape");
	if (header->fortran && header->rank > 1)
		return bad(error, "its elements lie by columns (fortran_order); numpy.ascontiguousarray() mends that");
	return 0;
}

/* Finds header and elements in the file. */
static int split(const unsigned char *bytes, size_t len, struct scan *ret_header, size_t *ret_start,
		 struct error *error)
{
	uint32_t header_len = 0, prefix;

	if (len < 10 || memcmp(bytes, MAGIC, 6) != 0)
		return bad(error, "it is no .npy file");
	if (bytes[6] < 1 || bytes[6] > 3)
		return bad(error, "it is of a version of .npy that is not known");
	prefix = bytes[6] == 1 ? 10 : 12;
	for (uint32_t i = 8; i < prefix && i < len; i++)
		header_len |= (uint32_t)bytes[i] << 8 * (i - 8);
	if (header_len > MAX_HEADER || !range_in(prefix, header_len, len))
		return bad(error, "its header is longer than the file, or than any header");
	ret_header->at = (const char *)bytes + prefix;
	ret_header->end = ret_header->at + header_len;
	*ret_start = prefix + header_len;
	return 0;
}

/* ---- Strings ---- */

static size_t put_utf8(char *dst, uint32_t c)
{
	static const unsigned char heads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		dst[i] = (char)(0x80 | (c & 0x3f));
	dst[0] = (char)(heads[n == 1 ? 0 : n] | c);
	return n;
}

/* One element of size bytes; at most size bytes of text. */
static int put_string(char *dst, const unsigned char *src, size_t size, bool wide, uint32_t *ret_len)
{
	size_t n = 0;
	uint32_t c;

	if (!wide) {
		while (size && !src[size - 1])
			size--;
		memcpy(dst, src, size);
		*ret_len = (uint32_t)size;
		return 0;
	}
	while (size) {
		memcpy(&c, src + size - sizeof(c), sizeof(c));
		if (c)
			break;
		size -= sizeof(c);
	}
	for (size_t i = 0; i < size; i += sizeof(c)) {
		memcpy(&c, src + i, sizeof(c));
		c = le32toh(c);
		if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
			return -EILSEQ;
		n += put_utf8(dst + n, c);
	}
	*ret_len = (uint32_t)n;
	return 0;
}

/* Bytes of an element of "S3" or "U3"; 0: it is neither. */
static size_t string_size(const struct header *header)
{
	struct scan scan = { header->descr + 1, header->descr + strlen(header->descr) };
	int64_t n;

	if ((*header->descr != 'S' && *header->descr != 'U') || !take_count(&scan, &n) || scan.at != scan.end ||
	    n > INT32_MAX / 4 || n == 0)
		return 0;
	return *header->descr == 'U' ? (size_t)n * 4 : (size_t)n;
}

static int decode_strings(const struct header *header, const unsigned char *elements, size_t size, uint64_t count,
			  struct npy *ret_npy, struct error *error)
{
	/* No longer than it was, and a length each; count elements of size bytes are in memory. */
	size_t table = count * sizeof(uint32_t), at = table;
	char *data = malloc(table + count * size + 1);
	uint32_t len;

	if (!data)
		return error_set(error, -ENOMEM, "cannot use it: out of memory");
	for (uint64_t i = 0; i < count; i++) {
		if (put_string(data + at, elements + i * size, size, *header->descr == 'U', &len) < 0) {
			free(data);
			return bad(error, "it has a string that is not Unicode");
		}
		at += len;
		len = htole32(len);
		memcpy(data + i * sizeof(len), &len, sizeof(len));
	}
	ret_npy->dtype = VACCEL_STRING;
	ret_npy->data = data;
	ret_npy->len = at;
	return 0;
}

/* ---- Elements ---- */

static uint32_t dtype_of(const struct header *header)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].descr, header->descr))
			return types[i].dtype;
	return VACCEL_DTYPE_ANY;
}

static int decode_elements(const struct header *header, const unsigned char *elements, size_t len, struct npy *ret_npy,
			   struct error *error)
{
	uint32_t dtype = dtype_of(header);
	size_t size = dtype ? op_dtype_find(dtype)->size : string_size(header);
	uint64_t count, bytes;

	if (!size)
		return error_set(error, -EINVAL, "cannot use it: elements of type %c%s have no type here",
				 header->order, header->descr);
	if (header->order == '>' && size > 1 && *header->descr != 'S')
		return bad(error, "its elements are big-endian");
	if (op_tensor_count(header->rank, header->dims, &count) < 0 || mul_u64(count, size, &bytes) || bytes != len)
		return error_set(error, -EINVAL, "cannot use it: %zu bytes of elements are not those of its shape",
				 len);
	if (!dtype)
		return decode_strings(header, elements, size, count, ret_npy, error);
	ret_npy->data = malloc(len + 1);
	if (!ret_npy->data)
		return error_set(error, -ENOMEM, "cannot use it: out of memory");
	memcpy(ret_npy->data, elements, len);
	ret_npy->dtype = dtype;
	ret_npy->len = len;
	return 0;
}

int npy_decode(const void *bytes, size_t len, struct npy *ret_npy, struct error *error)
{
	struct header header = { .rank = 0 };
	struct npy npy = { .data = NULL };
	struct scan scan;
	size_t start = 0;
	int r = split(bytes, len, &scan, &start, error);

	if (r == 0)
		r = parse_header(scan, &header, error);
	if (r == 0)
		r = decode_elements(&header, (const unsigned char *)bytes + start, len - start, &npy, error);
	if (r < 0)
		return r;
	npy.rank = header.rank;
	memcpy(npy.dims, header.dims, sizeof(npy.dims));
	*ret_npy = npy;
	return 0;
}

/* ---- Writing ---- */

/* The longest string; an element of none has no type in NumPy's eyes. */
static int longest_string(const struct vaccel_tensor *tensor, uint64_t count, size_t *ret_longest)
{
	uint32_t len;

	if (op_strings_check(tensor->data, tensor->len, count) < 0)
		return -EINVAL;
	*ret_longest = 1;
	for (uint64_t i = 0; i < count; i++) {
		memcpy(&len, (const char *)tensor->data + i * sizeof(len), sizeof(len));
		*ret_longest = MAX(*ret_longest, le32toh(len));
	}
	return 0;
}

static void put_strings(const struct vaccel_tensor *tensor, uint64_t count, size_t size, char *dst)
{
	const char *at = (const char *)tensor->data + count * sizeof(uint32_t);
	uint32_t len;

	/* Their lengths were checked by longest_string(), in the same private memory. */
	for (uint64_t i = 0; i < count; i++, dst += size) {
		memcpy(&len, (const char *)tensor->data + i * sizeof(len), sizeof(len));
		memcpy(dst, at, le32toh(len));
		at += le32toh(len);
	}
}

/* Returns its length; room is enough for a header of 8 dimensions. */
static size_t put_header(const struct vaccel_tensor *tensor, size_t string, char *dst, size_t room)
{
	char descr[32] = "", shape[200] = "";
	size_t n = 0, len;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].dtype == tensor->dtype)
			snprintf(descr, sizeof(descr), "%c%s", op_dtype_find(tensor->dtype)->size > 1 ? '<' : '|',
				 types[i].descr);
	if (!*descr)
		snprintf(descr, sizeof(descr), "|S%zu", string);
	for (uint32_t i = 0; i < tensor->rank; i++)
		n += (size_t)snprintf(shape + n, sizeof(shape) - n, "%" PRId64 "%s", tensor->dims[i],
				      i + 1 < tensor->rank ? ", "
				      : tensor->rank == 1  ? ","
							   : "");
	memcpy(dst, MAGIC "\1", 8);
	n = 10 + (size_t)snprintf(dst + 10, room - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
				  descr, shape);
	len = (n + 1 + ALIGN - 1) / ALIGN * ALIGN;
	memset(dst + n, ' ', len - n);
	dst[len - 1] = '\n';
	dst[8] = (char)((len - 10) & 0xff);
	dst[9] = (char)((len - 10) >> 8);
	return len;
}

int npy_encode(const struct vaccel_tensor *tensor, void **ret_bytes, size_t *ret_len, struct error *error)
{
	char header[512];
	size_t string = 0, head;
	uint64_t count, bytes;
	char *data;

	if (op_tensor_count(tensor->rank, tensor->dims, &count) < 0)
		return error_set(error, -EINVAL, "its shape cannot be");
	if (tensor->dtype == VACCEL_STRING && longest_string(tensor, count, &string) < 0)
		return error_set(error, -EINVAL, "its strings do not lie as they have to");
	bytes = tensor->len;
	if (string && mul_u64(count, string, &bytes))
		return error_set(error, -ENOMEM, "out of memory");
	head = put_header(tensor, string, header, sizeof(header));
	data = bytes < SIZE_MAX - head ? calloc(1, head + bytes) : NULL;
	if (!data)
		return error_set(error, -ENOMEM, "out of memory");
	memcpy(data, header, head);
	if (string)
		put_strings(tensor, count, string, data + head);
	else if (bytes)
		memcpy(data + head, tensor->data, bytes);
	*ret_bytes = data;
	*ret_len = head + bytes;
	return 0;
}
