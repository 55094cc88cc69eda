/* The limit of decoding: a kernel that reads k and v, and does nothing else. */
#include "contender.h"

#include <stdio.h>
#include <stdlib.h>

/* A part each, in sixteen streams of whole cache lines; the sum keeps the reads. */
static const char read_source[] =
    "kernel void read(global const uint16 *k, global const uint16 *v, global uint *out, int each) "
    "{\n"
    "    global const uint16 *a = k + get_global_id(0) * (long)each;\n"
    "    global const uint16 *b = v + get_global_id(0) * (long)each;\n"
    "    uint16 s = 0, t = 0;\n"
    "    for (int i = 0; i < each; ++i) s ^= a[i];\n"
    "    for (int i = 0; i < each; ++i) t ^= b[i];\n"
    "    uint lanes[16], all = 0;\n"
    "    vstore16(s ^ t, 0, lanes);\n"
    "    for (int i = 0; i < 16; ++i) all ^= lanes[i];\n"
    "    out[get_global_id(0)] = all;\n"
    "}\n";

#define VECTOR_BYTES 64

struct state {
    cl_kernel read;
    cl_mem out;
    size_t items;
    double bytes;
};

static void close_state(void *state) {
    struct state *s = state;
    if (s->read)
        clReleaseKernel(s->read);
    if (s->out)
        clReleaseMemObject(s->out);
    free(s);
}

static void *open_state(const struct bench *device, const struct bench_case *c, char *why,
                        size_t why_bytes) {
    cl_int code;
    if (c->is_layer || c->seqlen_q > 1) {
        snprintf(why, why_bytes, "for decoding only");
        return NULL;
    }
    struct state *s = calloc(1, sizeof(*s));
    snprintf(why, why_bytes, "no memory");
    if (!s)
        return NULL;
    s->read = bench_kernel(device, read_source, "read", "-cl-std=CL1.2");
    /* A head of k and v each, as decoding has it: the bytes divide by them. */
    s->items = (size_t)(c->batch * c->kv_heads);
    s->out = bench_buffer(device, s->items * sizeof(cl_uint));
    const cl_int each = (cl_int)(c->kv_bytes / 2 / VECTOR_BYTES / (double)s->items);
    s->bytes = 2.0 * each * VECTOR_BYTES * (double)s->items;
    if ((code = clSetKernelArg(s->read, 0, sizeof(cl_mem), &c->k)) ||
        (code = clSetKernelArg(s->read, 1, sizeof(cl_mem), &c->v)) ||
        (code = clSetKernelArg(s->read, 2, sizeof(cl_mem), &s->out)) ||
        (code = clSetKernelArg(s->read, 3, sizeof(each), &each)))
        bench_check_cl(code, "clSetKernelArg");
    return s;
}

static void call(void *state, const struct bench *device, const struct bench_case *c) {
    const struct state *s = state;
    const size_t local = 1;
    (void)c;
    bench_check_cl(
        clEnqueueNDRangeKernel(device->queue, s->read, 1, NULL, &s->items, &local, 0, NULL, NULL),
        "clEnqueueNDRangeKernel");
}

static void describe(const void *state, json_t *json) {
    const struct state *s = state;
    json_object_set_new(json, "bytes", json_real(s->bytes));
}

const struct contender contender_read = {
    .name = "read k and v",
    .open = open_state,
    .call = call,
    .describe = describe,
    .close = close_state,
};
