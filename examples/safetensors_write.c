/* In: names, shapes and data. Out: a safetensors file. */
#include "safetensors_write.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool st_list_add(st_list *list, const st_output *tensor, failure *f) {
    if (list->n == list->capacity) {
        size_t wanted = list->capacity ? 2 * list->capacity : 32;
        st_output *grown = realloc(list->tensors, wanted * sizeof(*grown));
        if (!grown)
            return fail(f, EXIT_OPENCL, "out of memory");
        list->tensors = grown;
        list->capacity = wanted;
    }
    list->tensors[list->n++] = *tensor;
    return true;
}

void st_list_free(st_list *list) {
    free(list->tensors);
    *list = (st_list){0};
}

static size_t elements_of(const st_output *t) {
    size_t elements = 1;
    for (int i = 0; i < t->rank; ++i)
        elements *= (size_t)t->shape[i];
    return elements;
}

/* The header's text, for free(); NULL where memory ran out. Every element has four bytes. */
static char *header_of(const st_list *list, const char *model) {
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "model", model);
    size_t place = 0;
    for (size_t i = 0; header && i < list->n; ++i) {
        const st_output *t = &list->tensors[i];
        const size_t bytes = 4 * elements_of(t);
        json_t *shape = json_array();
        for (int j = 0; j < t->rank; ++j)
            json_array_append_new(shape, json_integer(t->shape[j]));
        json_t *entry =
            json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->kind == ST_F32 ? "F32" : "I32", "shape",
                      shape, "data_offsets", (json_int_t)place, (json_int_t)(place + bytes));
        if (json_object_set_new(header, t->name, entry) != 0) {
            json_decref(header);
            header = NULL;
        }
        place += bytes;
    }
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    return text;
}

/* Little endian, whatever the host is. */
static bool write_number(FILE *stream, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i)
        if (putc((int)(value >> 8 * i & 255), stream) == EOF)
            return false;
    return true;
}

static bool write_tensor(FILE *stream, const st_output *t) {
    const size_t elements = elements_of(t);
    const char *data = t->data;
    for (size_t i = 0; i < elements; ++i) {
        uint32_t bits;
        memcpy(&bits, data + 4 * i, sizeof(bits));
        if (!write_number(stream, bits, 4))
            return false;
    }
    return true;
}

bool st_write(const char *path, const st_list *list, const char *model, failure *f) {
    char *header = header_of(list, model);
    if (!header)
        return fail(f, EXIT_OPENCL, "out of memory");
    FILE *stream = fopen(path, "wb");
    bool ok = stream && write_number(stream, strlen(header), 8) && fputs(header, stream) != EOF;
    for (size_t i = 0; ok && i < list->n; ++i)
        ok = write_tensor(stream, &list->tensors[i]);
    if (stream && fclose(stream) != 0)
        ok = false;
    free(header);
    return ok || fail(f, EXIT_INPUT, "%s can't be written: %s", path, strerror(errno));
}
