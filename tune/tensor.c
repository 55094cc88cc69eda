/* In: shapes and seeds. Out: buffers with canaries around every row, and what a call left of them.
 */
#include "tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest prime of 16 bits. */
#define PERIOD 65521

/* ---- Values ---------------------------------------------------------------------------------- */

bool pattern_init(struct pattern *p, enum number type, double low, double high, uint64_t seed) {
    struct random random = {seed};
    *p = (struct pattern){.type = type};
    p->values = malloc(PERIOD * sizeof(*p->values));
    p->storage = malloc(PERIOD * number_bytes(type));
    for (int64_t n = 0; p->values && p->storage && n < PERIOD; ++n)
        p->values[n] = number_put(type, p->storage, n, random_uniform(&random, low, high));
    return p->values && p->storage;
}

void pattern_release(struct pattern *p) {
    free(p->values);
    free(p->storage);
    *p = (struct pattern){.values = NULL};
}

static void repeat(const void *period, size_t element, int64_t first, int64_t count, void *to) {
    int64_t at = first % PERIOD;
    for (int64_t done = 0; done < count;) {
        const int64_t part = count - done < PERIOD - at ? count - done : PERIOD - at;
        memcpy((char *)to + (size_t)done * element, (const char *)period + (size_t)at * element,
               (size_t)part * element);
        done += part;
        at = 0;
    }
}

void pattern_store(const struct pattern *p, int64_t first, int64_t count, void *storage) {
    repeat(p->storage, number_bytes(p->type), first, count, storage);
}

void pattern_values(const struct pattern *p, int64_t first, int64_t count, double *values) {
    repeat(p->values, sizeof(*values), first, count, values);
}

/* ---- Layout ---------------------------------------------------------------------------------- */

struct tensor tensor_layout(enum number type, int64_t batch, int64_t heads, int64_t tokens,
                            int64_t width, int64_t padding) {
    struct tensor t = {
        .type = type, .batch = batch, .heads = heads, .tokens = tokens, .width = width};
    t.stride_head = width + padding;
    t.stride_token = heads * t.stride_head + padding;
    t.stride_batch = tokens * t.stride_token + padding;
    t.elements = (size_t)(2 * MARGIN_ELEMENTS + batch * t.stride_batch);
    return t;
}

struct tensor tensor_cache_layout(enum number type, int64_t batch, int64_t heads, int64_t tokens,
                                  int64_t width, int64_t padding) {
    /* Heads and tokens change places. */
    struct tensor t = tensor_layout(type, batch, tokens, heads, width, padding);
    const int64_t stride_token = t.stride_head;
    t.heads = heads;
    t.tokens = tokens;
    t.stride_head = t.stride_token;
    t.stride_token = stride_token;
    return t;
}

static int64_t element_of(const struct tensor *t, int64_t b, int64_t h, int64_t i) {
    return MARGIN_ELEMENTS + b * t->stride_batch + h * t->stride_head + i * t->stride_token;
}

int64_t tensor_row(const struct tensor *t, int64_t row) {
    return element_of(t, row / (t->heads * t->tokens), row / t->tokens % t->heads, row % t->tokens);
}

mha_memory tensor_memory(const struct tensor *t) {
    if (!t->buffer)
        return (mha_memory){.offset_bytes = 0};
    return mha_buffer(t->buffer, MARGIN_ELEMENTS * number_bytes(t->type));
}

mha_tensor tensor_argument(const struct tensor *t) {
    return (mha_tensor){tensor_memory(t), t->stride_batch, t->stride_head, t->stride_token};
}

/* ---- On the device --------------------------------------------------------------------------- */

static size_t bytes_of(const struct tensor *t) {
    return t->elements * number_bytes(t->type);
}

static bool fail(char *why, size_t why_bytes, const char *call, cl_int code) {
    snprintf(why, why_bytes, "%s: OpenCL error %d", call, (int)code);
    return false;
}

/* Canaries only; NULL when memory runs out. */
static unsigned char *make_image(const struct tensor *t) {
    const size_t bytes = bytes_of(t);
    const uint16_t canary = CANARY_BITS;
    unsigned char *image = malloc(bytes);
    for (size_t n = 0; image && n < bytes; n += sizeof(canary))
        memcpy(image + n, &canary, sizeof(canary));
    return image;
}

bool tensor_upload(struct tensor *t, const struct target *target, const struct pattern *pattern,
                   char *why, size_t why_bytes) {
    const int64_t rows = t->batch * t->heads * t->tokens;
    unsigned char *image = make_image(t);
    cl_int code = CL_SUCCESS;
    if (!image) {
        snprintf(why, why_bytes, "no memory for a tensor (%zu bytes)", bytes_of(t));
        return false;
    }
    for (int64_t row = 0; pattern && row < rows; ++row)
        pattern_store(pattern, row * t->width, t->width,
                      image + (size_t)tensor_row(t, row) * number_bytes(t->type));
    t->buffer = target_buffer(target, bytes_of(t), why, why_bytes);
    if (t->buffer)
        code = clEnqueueWriteBuffer(target->queue, t->buffer, CL_TRUE, 0, bytes_of(t), image, 0,
                                    NULL, NULL);
    free(image);
    if (code)
        return fail(why, why_bytes, "clEnqueueWriteBuffer", code);
    return t->buffer;
}

bool tensor_copy(struct tensor *t, const struct target *target, const struct tensor *from,
                 char *why, size_t why_bytes) {
    t->buffer = target_buffer(target, bytes_of(t), why, why_bytes);
    if (!t->buffer)
        return false;
    const cl_int code = clEnqueueCopyBuffer(target->queue, from->buffer, t->buffer, 0, 0,
                                            bytes_of(t), 0, NULL, NULL);
    return !code || fail(why, why_bytes, "clEnqueueCopyBuffer", code);
}

bool tensor_clear(const struct tensor *t, const struct target *target, char *why,
                  size_t why_bytes) {
    const cl_ushort canary = CANARY_BITS;
    const cl_int code = clEnqueueFillBuffer(target->queue, t->buffer, &canary, sizeof(canary), 0,
                                            bytes_of(t), 0, NULL, NULL);
    return !code || fail(why, why_bytes, "clEnqueueFillBuffer", code);
}

bool tensor_download(const struct tensor *t, const struct target *target, unsigned char **bytes,
                     char *why, size_t why_bytes) {
    *bytes = malloc(bytes_of(t));
    if (!*bytes) {
        snprintf(why, why_bytes, "no memory for a result (%zu bytes)", bytes_of(t));
        return false;
    }
    const cl_int code = clEnqueueReadBuffer(target->queue, t->buffer, CL_TRUE, 0, bytes_of(t),
                                            *bytes, 0, NULL, NULL);
    if (!code)
        return true;
    free(*bytes);
    *bytes = NULL;
    return fail(why, why_bytes, "clEnqueueReadBuffer", code);
}

void tensor_release(struct tensor *t) {
    if (t->buffer)
        clReleaseMemObject(t->buffer);
    t->buffer = NULL;
}

/* ---- What a call left ------------------------------------------------------------------------ */

/* Without the sign, floating-point numbers are in the order of their bits, and NaNs above all. */
static uint64_t magnitude_bits(size_t bytes, const unsigned char *element) {
    uint64_t word64;
    uint32_t word32;
    uint16_t word16;
    if (bytes == sizeof(word16)) {
        memcpy(&word16, element, sizeof(word16));
        return word16 & 0x7fff;
    }
    if (bytes == sizeof(word32)) {
        memcpy(&word32, element, sizeof(word32));
        return word32 & 0x7fffffff;
    }
    memcpy(&word64, element, sizeof(word64));
    return word64 & 0x7fffffffffffffff;
}

static bool are_canaries(const unsigned char *bytes, size_t count) {
    const uint16_t canary = CANARY_BITS;
    if (count == 0)
        return true;
    /* The first two are right, and each byte is the one two before it. */
    return !memcmp(bytes, &canary, sizeof(canary)) &&
           !memcmp(bytes, bytes + sizeof(canary), count - sizeof(canary));
}

bool tensor_is_intact(const struct tensor *t, const unsigned char *bytes, double limit,
                      const char *name, char *why, size_t why_bytes) {
    const size_t element = number_bytes(t->type);
    unsigned char storage[sizeof(double)], canaries[sizeof(double)];
    number_put(t->type, storage, 0, limit);
    for (size_t n = 0; n < sizeof(canaries); n += 2)
        memcpy(canaries + n, &(uint16_t){CANARY_BITS}, 2);
    const uint64_t most = isinf(limit) ? UINT64_MAX : magnitude_bits(element, storage);
    const uint64_t unwritten = magnitude_bits(element, canaries);
    size_t end = 0; /* of the row before */
    for (int64_t n = 0; n < t->batch * t->tokens * t->heads; ++n) {
        const int64_t at =
            element_of(t, n / (t->tokens * t->heads), n % t->heads, n / t->heads % t->tokens);
        const size_t begin = (size_t)at * element;
        if (!are_canaries(bytes + end, begin - end)) {
            snprintf(why, why_bytes, "%s: it wrote before element %lld, where there is none", name,
                     (long long)(at - MARGIN_ELEMENTS));
            return false;
        }
        end = begin + (size_t)t->width * element;
        for (size_t e = begin; e < end; e += element) {
            const uint64_t bits = magnitude_bits(element, bytes + e);
            if (bits <= most && bits != unwritten)
                continue;
            snprintf(why, why_bytes, "%s: element %zu is %g%s", name, e / element - MARGIN_ELEMENTS,
                     number_get(t->type, bytes + e, 0),
                     bits == unwritten ? ", it was not written" : "");
            return false;
        }
    }
    if (are_canaries(bytes + end, t->elements * element - end))
        return true;
    snprintf(why, why_bytes, "%s: it wrote beyond the last element", name);
    return false;
}

bool tensor_has_margins(const struct tensor *t, const struct target *target, const char *name,
                        char *why, size_t why_bytes) {
    unsigned char margins[2][MARGIN_ELEMENTS * sizeof(double)];
    const size_t bytes = MARGIN_ELEMENTS * number_bytes(t->type);
    const size_t offsets[2] = {0, bytes_of(t) - bytes};
    for (int i = 0; i < 2; ++i) {
        const cl_int code = clEnqueueReadBuffer(target->queue, t->buffer, CL_TRUE, offsets[i],
                                                bytes, margins[i], 0, NULL, NULL);
        if (code)
            return fail(why, why_bytes, "clEnqueueReadBuffer", code);
        if (!are_canaries(margins[i], bytes)) {
            snprintf(why, why_bytes, "%s: it wrote %s it", name, i ? "beyond" : "before");
            return false;
        }
    }
    return true;
}
