/* What OpenCL users do today: CLBlast's batched products around a softmax kernel. */
#include "contender.h"

#include <clblast_c.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char softmax_source[] =
    "kernel void softmax(global float *s, int keys) {\n"
    "    global float *row = s + get_global_id(0) * (long)keys;\n"
    "    float most = -INFINITY, sum = 0;\n"
    "    for (int j = 0; j < keys; ++j) most = fmax(most, row[j]);\n"
    "    for (int j = 0; j < keys; ++j) sum += row[j] = exp(row[j] - most);\n"
    "    for (int j = 0; j < keys; ++j) row[j] /= sum;\n"
    "}\n";

struct state {
    cl_mem scores;
    cl_kernel softmax;
};

static void close_state(void *state) {
    struct state *s = state;
    if (s->scores)
        clReleaseMemObject(s->scores);
    if (s->softmax)
        clReleaseKernel(s->softmax);
    free(s);
}

static void *open_state(const struct bench *device, const struct bench_case *c, char *why,
                        size_t why_bytes) {
    if (c->is_layer || c->dtype != MHA_F32 || c->q_heads != c->kv_heads || c->is_causal ||
        c->bias || c->mask || c->kv_lengths || c->scores) {
        snprintf(why, why_bytes, "plain attention in fp32 only");
        return NULL;
    }
    struct state *s = calloc(1, sizeof(*s));
    snprintf(why, why_bytes, "no memory");
    if (!s)
        return NULL;
    s->scores = bench_buffer(device, (size_t)(c->batch * c->q_heads * c->seqlen_q * c->seqlen_kv) *
                                         sizeof(float));
    s->softmax = bench_kernel(device, softmax_source, "softmax", "-cl-std=CL1.2");
    return s;
}

static void check(CLBlastStatusCode code) {
    bench_check_cl((cl_int)code, "CLBlastSgemmStridedBatched");
}

static void call(void *state, const struct bench *device, const struct bench_case *c) {
    const struct state *s = state;
    cl_command_queue queue = device->queue;
    const size_t n = (size_t)c->seqlen_q, keys = (size_t)c->seqlen_kv, d = (size_t)c->head_dim;
    const size_t pairs = (size_t)(c->batch * c->q_heads), rows = pairs * n;
    const cl_int key_count = (cl_int)keys;
    check(CLBlastSgemmStridedBatched(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeYes,
                                     n, keys, d, (float)(1 / sqrt((double)d)), c->q, 0, d, n * d,
                                     c->k, 0, d, keys * d, 0, s->scores, 0, keys, n * keys, pairs,
                                     &queue, NULL));
    bench_check_cl(clSetKernelArg(s->softmax, 0, sizeof(cl_mem), &s->scores), "clSetKernelArg");
    bench_check_cl(clSetKernelArg(s->softmax, 1, sizeof(key_count), &key_count), "clSetKernelArg");
    bench_check_cl(clEnqueueNDRangeKernel(queue, s->softmax, 1, NULL, &rows, NULL, 0, NULL, NULL),
                   "clEnqueueNDRangeKernel");
    check(CLBlastSgemmStridedBatched(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo,
                                     n, d, keys, 1, s->scores, 0, keys, n * keys, c->v, 0, d,
                                     keys * d, 0, c->o, 0, d, n * d, pairs, &queue, NULL));
}

const struct contender contender_clblast = {
    .name = "CLBlast + softmax",
    .open = open_state,
    .call = call,
    .close = close_state,
};
