/* In: a test case. Out: seeded inputs and weights in buffers with canaries around every tensor. */
#include "layer_case.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_flag(const struct layer_data *data, uint64_t flag) {
    return data->test.flags & flag;
}

/* ---- The attention's part ------------------------------------------------------------------- */

/* The layer projects all the tokens that it is told of, also those behind the last sequence, where
 * the attention gives nothing: here there are none such. */
static void trim_ragged(struct case_data *a, bool is_fused) {
    const int64_t batch = a->test.batch;
    for (int64_t b = 0; b <= batch && is_fused && a->cu_seqlens_kv.buffer; ++b)
        view_put(&a->cu_seqlens_kv, 0, 0, 0, b, view_get(&a->cu_seqlens_q, 0, 0, 0, b));
    if (a->cu_seqlens_q.buffer)
        a->in.total_q = (int64_t)view_get(&a->cu_seqlens_q, 0, 0, 0, batch);
    if (a->cu_seqlens_kv.buffer)
        a->in.total_kv = (int64_t)view_get(&a->cu_seqlens_kv, 0, 0, 0, batch);
    if (a->cu_seqlens_kv.buffer)
        a->k.extent[2] = a->v.extent[2] = a->in.total_kv;
    const int64_t rows = reference_rows(&a->in);
    a->lse.extent[3] = a->lse.buffer ? rows : 0;
    a->scores.extent[2] = a->scores.buffer ? rows : 0;
}

/* Nobody has written to a cache beyond the past. */
static void empty_cache(struct case_data *a, int64_t past) {
    const struct test_view *views[] = {&a->k, &a->v};
    for (int n = 0; n < 2; ++n)
        for (int64_t b = 0; b < views[n]->extent[0]; ++b)
            for (int64_t h = 0; h < views[n]->extent[1]; ++h)
                for (int64_t t = past; t < views[n]->extent[2]; ++t)
                    for (int64_t d = 0; d < views[n]->extent[3]; ++d)
                        view_put(views[n], b, h, t, d, NAN);
}

/* ---- The layer's part ----------------------------------------------------------------------- */

static struct test_view add_tokens(struct layer_data *data, const char *name, bool is_query,
                                   int64_t tokens, int64_t width) {
    const int64_t padding = data->test.is_padded ? 3 : 0;
    const int64_t batch = reference_layer_batch(&data->in, is_query), row = width + padding;
    const bool is_ragged = data->in.attention.flags & (is_query ? MHA_RAGGED_Q : MHA_RAGGED_KV);
    const int64_t stride_batch = is_ragged ? 0 : tokens * row + padding;
    return guarded_add(&data->guarded, name, (enum number)data->test.attention.dtype,
                       (int64_t[]){batch, 1, tokens, width}, (int64_t[]){stride_batch, 0, row, 1},
                       padding);
}

static void add_inputs(struct layer_data *data) {
    const struct layer_case *t = &data->test;
    const int64_t queries = reference_layer_tokens(&data->in, true);
    const int64_t keys = reference_layer_tokens(&data->in, false) - t->past;
    struct random random = {t->attention.seed + 77};
    data->query = add_tokens(data, "query", true, queries, t->embed_q);
    data->key = data->value = data->query;
    if (!has_flag(data, MHA_LAYER_FUSED_QKV)) {
        data->key = add_tokens(data, "key", false, keys, t->embed_k);
        data->value = add_tokens(data, "value", false, keys, t->embed_v);
        view_fill(&data->key, 1, &random);
        view_fill(&data->value, 1, &random);
    }
    view_fill(&data->query, 1, &random);
    const int64_t width = has_flag(data, MHA_LAYER_OUTPUT)
                              ? t->embed_out
                              : t->attention.q_heads * t->attention.head_dim_v;
    data->y = add_tokens(data, "y", true, queries, width);
    data->in.query = data->query.tensor;
    data->in.key = data->key.tensor;
    data->in.value = data->value.tensor;
}

/* Weights of one projection. Inputs have a variance of 1/3: the range gives outputs of `variance`.
 */
static void add_weights(struct layer_data *data, int which, const char *name, bool has_bias,
                        int64_t rows, int64_t columns, double variance, struct random *random) {
    const enum number type = (enum number)data->test.weight_dtype;
    const int64_t shift = data->test.is_padded ? 5 : 0;
    data->weights[which] =
        guarded_add(&data->guarded, name, type, (int64_t[]){1, 1, rows, columns}, NULL, shift);
    view_fill(&data->weights[which], sqrt(9 * variance / (double)columns), random);
    if (!has_bias)
        return;
    data->biases[which] = guarded_add_vector(&data->guarded, name, type, rows, shift);
    view_fill(&data->biases[which], 0.5, random);
}

/* Rows `first` and up of what `which` has. */
static struct reference_projection get_projection(const struct layer_data *data, int which,
                                                  int64_t first, int64_t rows) {
    const struct test_view *weight = &data->weights[which], *bias = &data->biases[which];
    const int64_t columns = weight->extent[3];
    return (struct reference_projection){
        .weight = weight->buffer ? weight->tensor.data + first * columns : NULL,
        .bias = bias->buffer ? bias->tensor.data + first : NULL,
        .in_features = columns,
        .out_features = rows,
    };
}

static void add_all_weights(struct layer_data *data) {
    const struct layer_case *t = &data->test;
    const struct test_case *a = &t->attention;
    const int64_t q = a->q_heads * a->head_dim_qk, k = a->kv_heads * a->head_dim_qk;
    const int64_t v = a->kv_heads * a->head_dim_v, merged = a->q_heads * a->head_dim_v;
    const bool has_bias = has_flag(data, MHA_LAYER_QKV_BIAS);
    struct random random = {a->seed + 78};
    if (has_flag(data, MHA_LAYER_FUSED_QKV)) {
        add_weights(data, WEIGHTS_QKV, "weights.qkv", has_bias, q + k + v, t->embed_q, 1.5,
                    &random);
        data->in.q = get_projection(data, WEIGHTS_QKV, 0, q);
        data->in.k = get_projection(data, WEIGHTS_QKV, q, k);
        data->in.v = get_projection(data, WEIGHTS_QKV, q + k, v);
    } else {
        add_weights(data, WEIGHTS_Q, "weights.q", has_bias, q, t->embed_q, 2, &random);
        add_weights(data, WEIGHTS_K, "weights.k", has_bias, k, t->embed_k, 2, &random);
        add_weights(data, WEIGHTS_V, "weights.v", has_bias, v, t->embed_v, 1, &random);
        data->in.q = get_projection(data, WEIGHTS_Q, 0, q);
        data->in.k = get_projection(data, WEIGHTS_K, 0, k);
        data->in.v = get_projection(data, WEIGHTS_V, 0, v);
    }
    if (has_flag(data, MHA_LAYER_OUTPUT)) {
        add_weights(data, WEIGHTS_OUTPUT, "weights.output", has_flag(data, MHA_LAYER_OUTPUT_BIAS),
                    t->embed_out, merged, 1, &random);
        data->in.output = get_projection(data, WEIGHTS_OUTPUT, 0, t->embed_out);
    }
}

void layer_init(struct layer_data *data, const struct layer_case *test) {
    memset(data, 0, sizeof(*data));
    data->test = *test;
    const bool is_fused = has_flag(data, MHA_LAYER_FUSED_QKV);
    case_init(&data->attention, &test->attention);
    trim_ragged(&data->attention, is_fused);
    if (has_flag(data, MHA_LAYER_KV_CACHE))
        empty_cache(&data->attention, test->past);
    data->in.attention = data->attention.in;
    data->in.seqlen_past = test->past;
    add_inputs(data);
    add_all_weights(data);
    data->desc = (mha_layer_desc){
        .struct_size = sizeof(data->desc),
        .flags = test->flags,
        .attention = &data->attention.desc,
        .weight_dtype = test->weight_dtype,
        .embed_q = test->embed_q,
        .embed_k = is_fused ? 0 : test->embed_k,
        .embed_v = is_fused ? 0 : test->embed_v,
        .embed_out = has_flag(data, MHA_LAYER_OUTPUT) ? test->embed_out : 0,
        .projection_variant = test->projection_variant,
    };
}

/* ---- Device buffers ------------------------------------------------------------------------- */

static bool pack(struct layer_data *data, const struct test_device *device, mha_plan *plan,
                 char failure[FAILURE_BYTES]) {
    const mha_memory packed = view_memory(&data->packed);
    const struct taken taken = {&data->packed, NULL};
    struct guarded *g = &data->guarded;
    struct test_buffer *buffer = data->packed.buffer;
    mha_error e;
    const mha_status status = mha_enqueue_layer_pack(plan, device->queue, &data->call_weights,
                                                     &packed, 0, NULL, NULL, &e);
    if (status) {
        snprintf(failure, FAILURE_BYTES, "mha_enqueue_layer_pack: %s: %.300s",
                 mha_status_name(status), e.message);
        return false;
    }
    if (!buffers_take(device, g->buffers, g->count, g->names, &taken, 1, failure))
        return false;
    /* The calls that follow may only read it. */
    device_check(clEnqueueReadBuffer(device->queue, buffer->mem, CL_TRUE, 0, buffer->bytes,
                                     buffer->image, 0, NULL, NULL),
                 "clEnqueueReadBuffer");
    return true;
}

/* Bytes at an odd multiple of the largest element. */
static struct test_view add_bytes(struct layer_data *data, const char *name, size_t bytes) {
    return guarded_add_vector(&data->guarded, name, NUMBER_U8, (int64_t)bytes, 8);
}

static void set_args(struct layer_data *data) {
    const bool has_cache = has_flag(data, MHA_LAYER_KV_CACHE);
    const bool is_fused = has_flag(data, MHA_LAYER_FUSED_QKV);
    const bool is_packed = has_flag(data, MHA_LAYER_PACKED);
    const struct test_view *w = data->weights, *b = data->biases;
    mha_attention_args *a = &data->attention_args;
    const mha_tensor none = {.stride_batch = 0};
    a->q = a->o = none;
    if (!has_cache)
        a->k = a->v = none;
    data->call_weights = (mha_layer_weights){
        .struct_size = sizeof(data->call_weights),
        .qkv = view_memory(&w[WEIGHTS_QKV]),
        .q = view_memory(&w[WEIGHTS_Q]),
        .k = view_memory(&w[WEIGHTS_K]),
        .v = view_memory(&w[WEIGHTS_V]),
        .qkv_bias = view_memory(&b[WEIGHTS_QKV]),
        .q_bias = view_memory(&b[WEIGHTS_Q]),
        .k_bias = view_memory(&b[WEIGHTS_K]),
        .v_bias = view_memory(&b[WEIGHTS_V]),
        .output = view_memory(&w[WEIGHTS_OUTPUT]),
        .output_bias = view_memory(&b[WEIGHTS_OUTPUT]),
    };
    data->args = (mha_layer_args){
        .struct_size = sizeof(data->args),
        .attention = a,
        .seqlen_past = data->test.past,
        .query = view_tensor(&data->query),
        .key = is_fused ? none : view_tensor(&data->key),
        .value = is_fused ? none : view_tensor(&data->value),
        .y = view_tensor(&data->y),
        .workspace = view_memory(&data->workspace),
    };
    if (is_packed)
        data->args.packed = view_memory(&data->packed);
    else
        data->args.weights = &data->call_weights;
}

bool layer_upload(struct layer_data *data, const struct test_device *device, mha_plan *plan,
                  char failure[FAILURE_BYTES]) {
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_plan_get_info(plan, &info, NULL);
    data->packed = add_bytes(data, "packed", info.packed_bytes);
    data->workspace = add_bytes(data, "workspace", info.workspace_bytes);
    case_upload(&data->attention, device, 0, &data->attention_args);
    guarded_upload(&data->guarded, device);
    set_args(data);
    return !has_flag(data, MHA_LAYER_PACKED) || pack(data, device, plan, failure);
}

void layer_release(struct layer_data *data) {
    case_release_buffers(&data->attention);
    case_release(&data->attention);
    guarded_release(&data->guarded);
}
