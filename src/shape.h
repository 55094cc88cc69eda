/* What a tuning result is for: a problem reduced to what its speed depends on. */
#ifndef MHA_SHAPE_H
#define MHA_SHAPE_H

#include "desc.h"
#include "device.h"

struct shape {
    enum operation operation; /* attention or linear */
    mha_dtype dtype;
    /* Attention */
    bool is_causal, gives_scores;
    int32_t batch, q_heads, kv_heads, head_dim_qk, head_dim_v, seqlen_q, seqlen_kv;
    /* Linear projection */
    mha_dtype weight_dtype;
    int32_t rows, in_features, out_features;
};

/* Work per compute unit counts as much as lengths do: how far apart two shapes are, per axis. */
#define SHAPE_AXES 4
struct shape_position {
    double log2[SHAPE_AXES]; /* unused ones are 0 */
};

struct shape mha_shape_of(const struct problem *problem);

/* The plainest problem of that shape: contiguous tensors, packed weights with bias, no feature
 * beyond the shape's. Fails as the descriptors' checks do. */
mha_status mha_shape_problem(const struct shape *shape, struct problem *problem, mha_error *error);

struct shape_position mha_shape_position(const struct shape *shape, cl_uint compute_units);

/* One call's multiply-adds, two operations each, and its inputs, weights and outputs, read or
 * written once; masks are not taken off. has_bias: of a linear projection. */
struct shape_work {
    double flops, bytes;
};
struct shape_work mha_shape_work(const struct shape *shape, bool has_bias);

/* Whether results of one may serve the other at all: operation, types, head sizes, causal and
 * scores are the same. */
bool mha_shape_is_kin(const struct shape *a, const struct shape *b);

/* Root of the summed squares of the differences; INFINITY where one axis differs by more than a
 * factor of two. */
double mha_shape_distance(const struct shape_position *a, const struct shape_position *b);

/* "attention f32 D64x64 q15 kv15 p9 g0": entries of one class replace each other in a file. Lengths
 * and parallelism are counted in half octaves. */
#define SHAPE_CLASS_BYTES 96
void mha_shape_class(const struct shape *shape, cl_uint compute_units,
                     char text[SHAPE_CLASS_BYTES]);

#endif
