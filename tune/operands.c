/* In: a problem, sizes. Out: its tensors on the device, and calls with them. */
#include "operands.h"

#include <math.h>

/* Scores then have a standard deviation of 2: as uneven as a softmax usually is. */
#define QUERY_RANGE 2.45

static enum number number_of(mha_dtype dtype) {
    return (enum number)dtype;
}

static bool is_linear(const struct problem *p) {
    return p->operation == OPERATION_LINEAR;
}

struct sizes sizes_of(const struct problem *p) {
    return (struct sizes){p->batch, p->seqlen_q, p->seqlen_kv, p->rows};
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool init_linear(struct values *v, const struct problem *p) {
    const enum number weight_type = number_of(p->weight_dtype);
    /* Results have a standard deviation near 1. */
    const double range = 3 / sqrt(p->in_features);
    v->limits[OUTPUT_Y] = 64;
    return pattern_init(&v->patterns[INPUT_X], number_of(p->dtype), -1, 1, 1) &&
           pattern_init(&v->patterns[INPUT_WEIGHT], weight_type, -range, range, 2) &&
           pattern_init(&v->patterns[INPUT_BIAS], weight_type, -1, 1, 3);
}

static bool init_attention(struct values *v, const struct problem *p, double logits) {
    const enum number type = number_of(p->dtype);
    const double query = QUERY_RANGE * logits;
    /* A mean of values, with a little room for rounding. */
    v->limits[OUTPUT_O] = 1.02 * VALUE_RANGE;
    v->limits[OUTPUT_LSE] = INFINITY;
    v->limits[OUTPUT_SCORES] = 1.02;
    /* Lengths beyond the keys and below zero are to be clamped. */
    return pattern_init(&v->patterns[INPUT_Q], type, -query, query, 1) &&
           pattern_init(&v->patterns[INPUT_K], type, -QUERY_RANGE, QUERY_RANGE, 2) &&
           pattern_init(&v->patterns[INPUT_V], type, -VALUE_RANGE, VALUE_RANGE, 3) &&
           (!(p->flags & MHA_KV_LENGTHS) ||
            pattern_init(&v->patterns[INPUT_LENGTHS], NUMBER_I32, -2, 1.2 * p->seqlen_kv, 4));
}

bool values_init(struct values *v, const struct problem *p, double logits) {
    *v = (struct values){.limits = {0}};
    return is_linear(p) ? init_linear(v, p) : init_attention(v, p, logits);
}

void values_release(struct values *v) {
    for (int i = 0; i < INPUT_COUNT; ++i)
        pattern_release(&v->patterns[i]);
}

/* ---- Tensors --------------------------------------------------------------------------------- */

static void layout_linear(struct operands *o, const struct problem *p, int64_t padding) {
    const enum number type = number_of(p->dtype), weight_type = number_of(p->weight_dtype);
    const int64_t rows = o->sizes.rows, in = p->in_features, out = p->out_features;
    o->inputs[INPUT_X] = tensor_layout(type, 1, 1, rows, in, padding);
    o->inputs[INPUT_WEIGHT] = tensor_layout(weight_type, 1, 1, out, in, 0);
    if (p->flags & MHA_LINEAR_BIAS)
        o->inputs[INPUT_BIAS] = tensor_layout(weight_type, 1, 1, 1, out, 0);
    o->outputs[OUTPUT_Y] = tensor_layout(type, 1, 1, rows, out, padding);
}

static void layout_attention(struct operands *o, const struct problem *p, int64_t padding) {
    const enum number type = number_of(p->dtype);
    const struct sizes *s = &o->sizes;
    const int64_t rows = s->batch * p->q_heads * s->seqlen_q;
    o->inputs[INPUT_Q] =
        tensor_layout(type, s->batch, p->q_heads, s->seqlen_q, p->head_dim_qk, padding);
    /* As a projection gives them; of more keys than queries, as a decoder's cache mostly lies. */
    struct tensor (*const layout)(enum number, int64_t, int64_t, int64_t, int64_t, int64_t) =
        s->seqlen_q < s->seqlen_kv ? tensor_cache_layout : tensor_layout;
    o->inputs[INPUT_K] = layout(type, s->batch, p->kv_heads, s->seqlen_kv, p->head_dim_qk, padding);
    o->inputs[INPUT_V] = layout(type, s->batch, p->kv_heads, s->seqlen_kv, p->head_dim_v, padding);
    o->outputs[OUTPUT_O] =
        tensor_layout(type, s->batch, p->q_heads, s->seqlen_q, p->head_dim_v, padding);
    if (p->flags & MHA_KV_LENGTHS)
        o->inputs[INPUT_LENGTHS] = tensor_layout(NUMBER_I32, 1, 1, 1, s->batch, 0);
    if (p->flags & MHA_LSE)
        o->outputs[OUTPUT_LSE] = tensor_layout(NUMBER_F32, 1, 1, rows, 1, 0);
    if (p->flags & MHA_SCORES)
        o->outputs[OUTPUT_SCORES] = tensor_layout(p->dtype == MHA_F64 ? NUMBER_F64 : NUMBER_F32, 1,
                                                  1, rows, s->seqlen_kv, 0);
}

struct operands operands_layout(const struct problem *p, const struct sizes *sizes,
                                int64_t padding) {
    struct operands o = {.sizes = *sizes};
    (is_linear(p) ? layout_linear : layout_attention)(&o, p, padding);
    return o;
}

struct tensor memory_layout(size_t bytes) {
    /* Elements of four bytes: margins are aligned as a device's own allocations nearly are. */
    return tensor_layout(NUMBER_I32, 1, 1, 1, (int64_t)((bytes + 3) / 4), 0);
}

double operands_bytes(const struct operands *o) {
    double bytes = 0;
    for (int i = 0; i < INPUT_COUNT; ++i)
        bytes += (double)o->inputs[i].elements * (double)number_bytes(o->inputs[i].type);
    for (int i = 0; i < OUTPUT_COUNT; ++i)
        bytes += (double)o->outputs[i].elements * (double)number_bytes(o->outputs[i].type);
    return bytes;
}

bool operands_upload(struct operands *o, const struct target *target, const struct values *values,
                     char *why, size_t why_bytes) {
    for (int i = 0; i < INPUT_COUNT; ++i)
        if (o->inputs[i].elements &&
            !tensor_upload(&o->inputs[i], target, &values->patterns[i], why, why_bytes))
            return false;
    for (int i = 0; i < OUTPUT_COUNT; ++i)
        if (o->outputs[i].elements && !tensor_upload(&o->outputs[i], target, NULL, why, why_bytes))
            return false;
    return true;
}

bool operands_copy(struct operands *o, const struct target *target, const struct operands *from,
                   bool has_weights, char *why, size_t why_bytes) {
    for (int i = 0; i < INPUT_COUNT; ++i)
        if (from->inputs[i].buffer && (i == INPUT_X || has_weights) &&
            !tensor_copy(&o->inputs[i], target, &from->inputs[i], why, why_bytes))
            return false;
    for (int i = 0; i < OUTPUT_COUNT; ++i)
        if (from->outputs[i].buffer &&
            !tensor_copy(&o->outputs[i], target, &from->outputs[i], why, why_bytes))
            return false;
    return true;
}

void operands_release(struct operands *o) {
    for (int i = 0; i < INPUT_COUNT; ++i)
        tensor_release(&o->inputs[i]);
    for (int i = 0; i < OUTPUT_COUNT; ++i)
        tensor_release(&o->outputs[i]);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

mha_status operands_pack(const struct operands *o, mha_plan *plan, cl_command_queue queue,
                         const struct tensor *packed, mha_error *error) {
    const mha_memory weight = tensor_memory(&o->inputs[INPUT_WEIGHT]);
    const mha_memory bias = tensor_memory(&o->inputs[INPUT_BIAS]);
    const mha_memory to = tensor_memory(packed);
    return mha_enqueue_linear_pack(plan, queue, &weight,
                                   plan->problem.flags & MHA_LINEAR_BIAS ? &bias : NULL, &to, 0,
                                   NULL, NULL, error);
}

static mha_status call_linear(const struct operands *o, mha_plan *plan, cl_command_queue queue,
                              const struct tensor *packed, const struct tensor *workspace,
                              mha_error *error) {
    mha_linear_args args = MHA_LINEAR_ARGS_INIT;
    const struct tensor *x = &o->inputs[INPUT_X], *y = &o->outputs[OUTPUT_Y];
    const bool is_packed = plan->problem.flags & MHA_LINEAR_PACKED;
    args.rows = o->sizes.rows;
    args.x = (mha_matrix){tensor_memory(x), x->stride_token};
    args.y = (mha_matrix){tensor_memory(y), y->stride_token};
    args.weight = tensor_memory(is_packed ? packed : &o->inputs[INPUT_WEIGHT]);
    if (!is_packed && plan->problem.flags & MHA_LINEAR_BIAS)
        args.bias = tensor_memory(&o->inputs[INPUT_BIAS]);
    args.workspace = tensor_memory(workspace);
    return mha_enqueue_linear(plan, queue, &args, 0, NULL, NULL, error);
}

static mha_status call_attention(const struct operands *o, mha_plan *plan, cl_command_queue queue,
                                 const struct tensor *workspace, mha_error *error) {
    mha_attention_args args = MHA_ATTENTION_ARGS_INIT;
    args.batch = o->sizes.batch;
    args.seqlen_q = o->sizes.seqlen_q;
    args.seqlen_kv = o->sizes.seqlen_kv;
    args.q = tensor_argument(&o->inputs[INPUT_Q]);
    args.k = tensor_argument(&o->inputs[INPUT_K]);
    args.v = tensor_argument(&o->inputs[INPUT_V]);
    args.o = tensor_argument(&o->outputs[OUTPUT_O]);
    args.kv_lengths = tensor_memory(&o->inputs[INPUT_LENGTHS]);
    args.lse = tensor_memory(&o->outputs[OUTPUT_LSE]);
    args.scores = tensor_memory(&o->outputs[OUTPUT_SCORES]);
    args.workspace = tensor_memory(workspace);
    return mha_enqueue_attention(plan, queue, &args, 0, NULL, NULL, error);
}

mha_status operands_call(const struct operands *o, mha_plan *plan, cl_command_queue queue,
                         const struct tensor *packed, const struct tensor *workspace,
                         mha_error *error) {
    if (is_linear(&plan->problem))
        return call_linear(o, plan, queue, packed, workspace, error);
    return call_attention(o, plan, queue, workspace, error);
}
