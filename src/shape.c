/* In: a problem, or what a tuning file says of one. Out: how alike two problems are. */
#include "shape.h"

#include <math.h>
#include <stdio.h>

/* Queries, and outputs of a projection, that keep one compute unit busy. */
#define UNIT_QUERIES 64.0
#define UNIT_OUTPUTS 4096.0

/* A value on this side of a factor of two still fits the same tiles. */
#define AXIS_LIMIT 1.0

struct shape mha_shape_of(const struct problem *p) {
    struct shape shape = {.operation = p->operation, .dtype = p->dtype};
    if (p->operation == OPERATION_LINEAR) {
        shape.weight_dtype = p->weight_dtype;
        shape.rows = p->rows;
        shape.in_features = p->in_features;
        shape.out_features = p->out_features;
        return shape;
    }
    shape.is_causal = p->flags & MHA_CAUSAL;
    shape.gives_scores = p->flags & MHA_SCORES;
    shape.batch = p->batch;
    shape.q_heads = p->q_heads;
    shape.kv_heads = p->kv_heads;
    shape.head_dim_qk = p->head_dim_qk;
    shape.head_dim_v = p->head_dim_v;
    shape.seqlen_q = p->seqlen_q;
    shape.seqlen_kv = p->seqlen_kv;
    return shape;
}

mha_status mha_shape_problem(const struct shape *s, struct problem *problem, mha_error *error) {
    if (s->operation == OPERATION_LINEAR) {
        mha_linear_desc desc = MHA_LINEAR_DESC_INIT;
        desc.flags = MHA_LINEAR_BIAS | MHA_LINEAR_PACKED;
        desc.dtype = s->dtype;
        desc.weight_dtype = s->weight_dtype;
        desc.in_features = s->in_features;
        desc.out_features = s->out_features;
        desc.max_rows = s->rows;
        return mha_linear_problem_init(problem, &desc, error);
    }
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    desc.flags = (s->is_causal ? MHA_CAUSAL : 0) | (s->gives_scores ? MHA_SCORES : 0);
    desc.dtype = s->dtype;
    desc.q_heads = s->q_heads;
    desc.kv_heads = s->kv_heads;
    desc.head_dim_qk = s->head_dim_qk;
    desc.head_dim_v = s->head_dim_v;
    desc.max_batch = s->batch;
    desc.max_seqlen_q = s->seqlen_q;
    desc.max_seqlen_kv = s->seqlen_kv;
    /* Few queries after many keys are a decoder's. */
    desc.alignment = s->is_causal ? MHA_BOTTOM_RIGHT : MHA_TOP_LEFT;
    return mha_attention_problem_init(problem, &desc, error);
}

struct shape_work mha_shape_work(const struct shape *s, bool has_bias) {
    const double bytes = (double)mha_dtype_bytes(s->dtype);
    if (s->operation == OPERATION_LINEAR) {
        const double rows = s->rows, in = s->in_features, out = s->out_features;
        return (struct shape_work){2 * rows * in * out,
                                   rows * (in + out) * bytes +
                                       (in + (has_bias ? 1 : 0)) * out *
                                           (double)mha_dtype_bytes(s->weight_dtype)};
    }
    const double q_rows = (double)s->batch * s->q_heads * s->seqlen_q;
    const double kv_rows = (double)s->batch * s->kv_heads * s->seqlen_kv;
    const double dims = (double)s->head_dim_qk + s->head_dim_v;
    return (struct shape_work){2 * q_rows * s->seqlen_kv * dims, (q_rows + kv_rows) * dims * bytes};
}

static double log2_of(double x) {
    return log2(x < 1 ? 1 : x);
}

struct shape_position mha_shape_position(const struct shape *s, cl_uint compute_units) {
    const double units = compute_units ? compute_units : 1;
    if (s->operation == OPERATION_LINEAR)
        return (struct shape_position){
            {log2_of(s->rows), log2_of(s->in_features), log2_of(s->out_features),
             log2((1 + (double)s->rows * s->out_features / UNIT_OUTPUTS) / units)}};
    const double blocks = ceil(s->seqlen_q / UNIT_QUERIES);
    /* Heads that share k and v are a matter of their own where few queries read it. */
    return (struct shape_position){{log2_of(s->seqlen_q), log2_of(s->seqlen_kv),
                                    log2((1 + (double)s->batch * s->q_heads * blocks) / units),
                                    log2_of(s->q_heads / s->kv_heads)}};
}

bool mha_shape_is_kin(const struct shape *a, const struct shape *b) {
    return a->operation == b->operation && a->dtype == b->dtype &&
           a->weight_dtype == b->weight_dtype && a->is_causal == b->is_causal &&
           a->gives_scores == b->gives_scores && a->head_dim_qk == b->head_dim_qk &&
           a->head_dim_v == b->head_dim_v;
}

double mha_shape_distance(const struct shape_position *a, const struct shape_position *b) {
    double sum = 0;
    for (int i = 0; i < SHAPE_AXES; ++i) {
        const double difference = fabs(a->log2[i] - b->log2[i]);
        if (difference > AXIS_LIMIT)
            return INFINITY;
        sum += difference * difference;
    }
    return sqrt(sum);
}

void mha_shape_class(const struct shape *s, cl_uint compute_units, char text[SHAPE_CLASS_BYTES]) {
    static const char *const dtypes[] = {"f32", "f16", "bf16", "f64"};
    const struct shape_position position = mha_shape_position(s, compute_units);
    long half_octaves[SHAPE_AXES];
    for (int i = 0; i < SHAPE_AXES; ++i)
        half_octaves[i] = lround(2 * position.log2[i]);
    if (s->operation == OPERATION_LINEAR)
        snprintf(text, SHAPE_CLASS_BYTES, "linear %s %s rows%ld in%ld out%ld p%ld",
                 dtypes[s->dtype], dtypes[s->weight_dtype], half_octaves[0], half_octaves[1],
                 half_octaves[2], half_octaves[3]);
    else
        snprintf(text, SHAPE_CLASS_BYTES, "attention %s D%dx%d%s%s q%ld kv%ld p%ld g%ld",
                 dtypes[s->dtype], (int)s->head_dim_qk, (int)s->head_dim_v,
                 s->is_causal ? " causal" : "", s->gives_scores ? " scores" : "", half_octaves[0],
                 half_octaves[1], half_octaves[2], half_octaves[3]);
}
