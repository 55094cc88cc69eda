/* In: a safetensors file. Out: its tensors and metadata, every size and offset checked. */
#include "safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER_BYTES 100000000u /* the limit of the reference implementation */
#define MAX_FILE_BYTES (4ull << 30)

struct st_file {
    unsigned char *bytes;
    size_t n_bytes;
    json_t *header;
    st_tensor *tensors; /* in the order of their data */
    size_t n_tensors;
};

static const struct {
    const char *name;
    unsigned bytes;
} dtypes[] = {
    {.name = "BOOL", .bytes = 1},    {.name = "U8", .bytes = 1},      {.name = "I8", .bytes = 1},
    {.name = "F8_E4M3", .bytes = 1}, {.name = "F8_E5M2", .bytes = 1}, {.name = "I16", .bytes = 2},
    {.name = "U16", .bytes = 2},     {.name = "F16", .bytes = 2},     {.name = "BF16", .bytes = 2},
    {.name = "I32", .bytes = 4},     {.name = "U32", .bytes = 4},     {.name = "F32", .bytes = 4},
    {.name = "F64", .bytes = 8},     {.name = "I64", .bytes = 8},     {.name = "U64", .bytes = 8},
};

/* Reads in growing pieces: works alike for files, pipes and things that only look like files. */
static bool read_all(st_file *file, const char *path, failure *f) {
    size_t capacity = 0;
    FILE *stream = fopen(path, "rb");
    bool ok = false;
    if (!stream)
        return fail(f, EXIT_INPUT, "%s: %s", path, strerror(errno));
    for (;;) {
        if (file->n_bytes == capacity) {
            size_t wanted = capacity ? capacity * 2 : 1u << 20;
            bool fits = wanted > capacity && wanted <= MAX_FILE_BYTES;
            unsigned char *grown = fits ? realloc(file->bytes, wanted) : NULL;
            if (!grown) {
                fail(f, EXIT_OPENCL, "%s: too large for memory (read %zu bytes so far)", path,
                     file->n_bytes);
                goto done;
            }
            file->bytes = grown;
            capacity = wanted;
        }
        size_t got = fread(file->bytes + file->n_bytes, 1, capacity - file->n_bytes, stream);
        file->n_bytes += got;
        if (got == 0)
            break;
    }
    if (ferror(stream))
        fail(f, EXIT_INPUT, "%s: can't be read: %s", path, strerror(errno));
    else
        ok = true;
done:
    fclose(stream);
    return ok;
}

static unsigned dtype_bytes(const char *name) {
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); ++i)
        if (strcmp(dtypes[i].name, name) == 0)
            return dtypes[i].bytes;
    return 0;
}

/* The unsigned integer at `index` of a JSON array; false if it is no such thing. */
static bool array_size(const json_t *array, size_t index, uint64_t *value) {
    const json_t *item = json_array_get(array, index);
    if (!json_is_integer(item) || json_integer_value(item) < 0)
        return false;
    *value = (uint64_t)json_integer_value(item);
    return true;
}

static bool parse_tensor(const char *path, const char *name, const json_t *entry,
                         const unsigned char *data, size_t data_bytes, st_tensor *t, failure *f) {
    const json_t *dtype = json_object_get(entry, "dtype");
    const json_t *shape = json_object_get(entry, "shape");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t begin, end;
    if (!json_is_string(dtype) || !json_is_array(shape) || json_array_size(offsets) != 2)
        return fail(f, EXIT_INPUT, "%s: tensor '%.60s' lacks dtype, shape or two data_offsets",
                    path, name);
    unsigned element_bytes = dtype_bytes(json_string_value(dtype));
    if (!element_bytes)
        return fail(f, EXIT_INPUT, "%s: tensor '%.60s' has the unknown dtype '%.20s'", path, name,
                    json_string_value(dtype));
    if (json_array_size(shape) > ST_MAX_RANK)
        return fail(f, EXIT_INPUT, "%s: tensor '%.60s' has %zu dimensions, more than %d", path,
                    name, json_array_size(shape), ST_MAX_RANK);
    if (!array_size(offsets, 0, &begin) || !array_size(offsets, 1, &end) || begin > end ||
        end > data_bytes)
        return fail(f, EXIT_INPUT, "%s: tensor '%.60s' reaches beyond the file's %zu bytes of data",
                    path, name, data_bytes);
    *t = (st_tensor){.name = name,
                     .dtype = json_string_value(dtype),
                     .rank = (int)json_array_size(shape),
                     .elements = 1,
                     .data = data + begin,
                     .bytes = (size_t)(end - begin)};
    /* Every factor is bounded by 2^63, so one division guards each product. */
    bool empty = false;
    for (int i = 0; i < t->rank; ++i) {
        uint64_t extent;
        if (!array_size(shape, (size_t)i, &extent))
            return fail(f, EXIT_INPUT, "%s: tensor '%.60s': dimension %d is not a size", path, name,
                        i);
        t->shape[i] = (int64_t)extent;
        empty = empty || extent == 0;
        if (!empty && extent > (uint64_t)(INT64_MAX / 8) / (uint64_t)t->elements)
            return fail(f, EXIT_INPUT, "%s: tensor '%.60s' has a shape that overflows", path, name);
        t->elements = empty ? 0 : t->elements * (int64_t)extent;
    }
    if ((uint64_t)t->elements * element_bytes != end - begin)
        return fail(f, EXIT_INPUT,
                    "%s: tensor '%.60s' needs %llu bytes, its data_offsets give it %llu", path,
                    name, (unsigned long long)t->elements * element_bytes,
                    (unsigned long long)(end - begin));
    return true;
}

static int by_place(const void *a, const void *b) {
    const st_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The format demands that tensors cover the data without holes or overlaps. */
static bool check_cover(const st_file *file, const char *path, const unsigned char *data,
                        size_t data_bytes, failure *f) {
    const unsigned char *place = data;
    for (size_t i = 0; i < file->n_tensors; ++i) {
        if (file->tensors[i].data != place)
            return fail(f, EXIT_INPUT, "%s: tensor '%.60s' leaves a hole or overlaps another", path,
                        file->tensors[i].name);
        place += file->tensors[i].bytes;
    }
    if (place != data + data_bytes)
        return fail(f, EXIT_INPUT, "%s: %zu bytes of data belong to no tensor", path,
                    (size_t)(data + data_bytes - place));
    return true;
}

static bool parse_metadata(const char *path, json_t *metadata, failure *f) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return fail(f, EXIT_INPUT, "%s: __metadata__ is not an object", path);
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return fail(f, EXIT_INPUT, "%s: metadata '%.60s' is not a string", path, key);
    }
    return true;
}

static bool parse(st_file *file, const char *path, failure *f) {
    uint64_t header_bytes = 0;
    if (file->n_bytes < 8)
        return fail(f, EXIT_INPUT, "%s: %zu bytes are too few for a safetensors file", path,
                    file->n_bytes);
    for (int i = 7; i >= 0; --i)
        header_bytes = header_bytes << 8 | file->bytes[i];
    if (header_bytes > MAX_HEADER_BYTES || header_bytes > file->n_bytes - 8)
        return fail(f, EXIT_INPUT,
                    "%s: not a safetensors file, or cut short: the header should have %llu bytes, "
                    "%zu follow",
                    path, (unsigned long long)header_bytes, file->n_bytes - 8);
    json_error_t where;
    const unsigned char *data = file->bytes + 8 + header_bytes;
    size_t data_bytes = file->n_bytes - 8 - (size_t)header_bytes;
    file->header = json_loadb((const char *)file->bytes + 8, (size_t)header_bytes,
                              JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(file->header))
        return fail(f, EXIT_INPUT, "%s: the header is not a JSON object: %s", path,
                    file->header ? "it is another value" : where.text);
    file->tensors = calloc(json_object_size(file->header) + 1, sizeof(*file->tensors));
    if (!file->tensors)
        return fail(f, EXIT_OPENCL, "out of memory");
    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            if (!parse_metadata(path, entry, f))
                return false;
        } else {
            if (!parse_tensor(path, name, entry, data, data_bytes, &file->tensors[file->n_tensors],
                              f))
                return false;
            ++file->n_tensors;
        }
    }
    qsort(file->tensors, file->n_tensors, sizeof(*file->tensors), by_place);
    return check_cover(file, path, data, data_bytes, f);
}

st_file *st_open(const char *path, failure *f) {
    st_file *file = calloc(1, sizeof(*file));
    if (!file) {
        fail(f, EXIT_OPENCL, "out of memory");
        return NULL;
    }
    if (read_all(file, path, f) && parse(file, path, f))
        return file;
    st_close(file);
    return NULL;
}

void st_close(st_file *file) {
    if (!file)
        return;
    json_decref(file->header);
    free(file->tensors);
    free(file->bytes);
    free(file);
}

const st_tensor *st_find(const st_file *file, const char *name) {
    for (size_t i = 0; i < file->n_tensors; ++i)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

const char *st_metadata(const st_file *file, const char *key) {
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

float *st_read_f32(const st_tensor *tensor, failure *f) {
    if (strcmp(tensor->dtype, "F32") != 0 || tensor->elements == 0) {
        fail(f, EXIT_INPUT, "tensor '%.60s' is not F32 or is empty (its dtype is %s)", tensor->name,
             tensor->dtype);
        return NULL;
    }
    float *values = malloc(tensor->bytes);
    if (!values) {
        fail(f, EXIT_OPENCL, "out of memory: %zu bytes for tensor '%.60s'", tensor->bytes,
             tensor->name);
        return NULL;
    }
    for (int64_t i = 0; i < tensor->elements; ++i) {
        const unsigned char *b = tensor->data + 4 * i; /* little endian, whatever the host is */
        uint32_t bits =
            (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(&values[i], &bits, sizeof(bits));
    }
    return values;
}
