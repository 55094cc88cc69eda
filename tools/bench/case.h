/* One problem of the benchmark, with its data on a device. */
#ifndef BENCH_CASE_H
#define BENCH_CASE_H

#include "device.h"

#include <jansson.h>
#include <stdbool.h>

struct bench_case {
    bool is_layer, is_causal;
    mha_dtype dtype;
    int64_t batch, q_heads, kv_heads, seqlen_q, seqlen_kv, head_dim; /* a layer's heads are equal */
    /* Buffers; NULL: the case has none. Of an attention q, k, v and o as [batch][heads][tokens]
     * [head_dim], bias [q_heads][seqlen_q][seqlen_kv], mask the same in bytes, kv_lengths [batch],
     * scores [batch][q_heads][seqlen_q][seqlen_kv]; of a layer x and o as [batch][tokens][embed],
     * and weights as Linear has them. */
    cl_mem q, k, v, o, bias, mask, kv_lengths, scores;
    cl_mem x, qkv_weight, qkv_bias, output_weight, output_bias;
    size_t o_bytes;
    double kv_bytes; /* of k and v together */
};

/* From the JSON of bench.py; inputs are files of its folder, as little-endian numbers. False with a
 * message on standard error. */
bool case_open(struct bench_case *c, const struct bench *device, const json_t *json);
void case_close(struct bench_case *c);

#endif
