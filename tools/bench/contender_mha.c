/* libmha-cl as an application has it: what selection chooses by default. */
#include "contender.h"

#include <stdio.h>
#include <stdlib.h>

struct state {
    mha_plan *plan;
    mha_plan_info info;
    cl_mem packed, workspace;
    mha_attention_args attention;
    mha_layer_args layer;
};

static mha_attention_desc make_desc(const struct bench_case *c) {
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    desc.flags = (c->is_causal ? MHA_CAUSAL : 0) | (c->bias ? MHA_BIAS : 0) |
                 (c->mask ? MHA_MASK : 0) | (c->kv_lengths ? MHA_KV_LENGTHS : 0) |
                 (c->scores ? MHA_SCORES : 0);
    desc.dtype = c->dtype;
    desc.q_heads = c->q_heads;
    desc.kv_heads = c->kv_heads;
    desc.head_dim_qk = desc.head_dim_v = c->head_dim;
    desc.max_batch = c->batch;
    desc.max_seqlen_q = c->seqlen_q;
    desc.max_seqlen_kv = c->seqlen_kv;
    return desc;
}

mha_status bench_make_plan(const struct bench *device, const struct bench_case *c, mha_plan **plan,
                           mha_error *error) {
    const mha_attention_desc attention = make_desc(c);
    mha_layer_desc layer = MHA_LAYER_DESC_INIT;
    if (!c->is_layer)
        return mha_plan_create(device->engine, &attention, plan, error);
    layer.flags = MHA_LAYER_FUSED_QKV | MHA_LAYER_QKV_BIAS | MHA_LAYER_OUTPUT |
                  MHA_LAYER_OUTPUT_BIAS | MHA_LAYER_PACKED;
    layer.attention = &attention;
    layer.embed_q = layer.embed_out = c->q_heads * c->head_dim;
    return mha_layer_plan_create(device->engine, &layer, plan, error);
}

static void pack(const struct state *s, const struct bench *device, const struct bench_case *c) {
    const mha_memory packed = mha_buffer(s->packed, 0);
    const mha_layer_weights weights = {
        .struct_size = sizeof(weights),
        .qkv = mha_buffer(c->qkv_weight, 0),
        .qkv_bias = mha_buffer(c->qkv_bias, 0),
        .output = mha_buffer(c->output_weight, 0),
        .output_bias = mha_buffer(c->output_bias, 0),
    };
    mha_error error;
    bench_check(
        mha_enqueue_layer_pack(s->plan, device->queue, &weights, &packed, 0, NULL, NULL, &error),
        &error);
}

static void set_args(struct state *s, const struct bench_case *c) {
    const int64_t heads = c->q_heads, rows = c->seqlen_q, keys = c->seqlen_kv;
    const int64_t embed = heads * c->head_dim;
    s->attention = (mha_attention_args)MHA_ATTENTION_ARGS_INIT;
    s->attention.batch = c->batch;
    s->attention.seqlen_q = rows;
    s->attention.seqlen_kv = keys;
    if (c->is_layer) {
        s->layer = (mha_layer_args)MHA_LAYER_ARGS_INIT;
        s->layer.attention = &s->attention;
        s->layer.query = mha_tensor_bnhd(c->x, 0, 1, rows, embed);
        s->layer.y = mha_tensor_bnhd(c->o, 0, 1, rows, embed);
        s->layer.packed = mha_buffer(s->packed, 0);
        s->layer.workspace = mha_buffer(s->workspace, 0);
        return;
    }
    s->attention.q = mha_tensor_bhnd(c->q, 0, heads, rows, c->head_dim);
    s->attention.k = mha_tensor_bhnd(c->k, 0, c->kv_heads, keys, c->head_dim);
    s->attention.v = mha_tensor_bhnd(c->v, 0, c->kv_heads, keys, c->head_dim);
    s->attention.o = mha_tensor_bhnd(c->o, 0, heads, rows, c->head_dim);
    /* The same for every batch entry. */
    if (c->bias)
        s->attention.bias = (mha_score_tensor){mha_buffer(c->bias, 0), 0, rows * keys, keys, 1};
    if (c->mask)
        s->attention.mask = (mha_score_tensor){mha_buffer(c->mask, 0), 0, rows * keys, keys, 1};
    if (c->kv_lengths)
        s->attention.kv_lengths = mha_buffer(c->kv_lengths, 0);
    if (c->scores)
        s->attention.scores = mha_buffer(c->scores, 0);
    s->attention.workspace = mha_buffer(s->workspace, 0);
}

static void close_state(void *state) {
    struct state *s = state;
    mha_plan_destroy(&s->plan);
    if (s->packed)
        clReleaseMemObject(s->packed);
    if (s->workspace)
        clReleaseMemObject(s->workspace);
    free(s);
}

void *bench_open_plan(const struct bench *device, const struct bench_case *c, mha_plan *plan,
                      char *why, size_t why_bytes) {
    struct state *s = calloc(1, sizeof(*s));
    mha_error error;
    if (!s) {
        snprintf(why, why_bytes, "no memory");
        mha_plan_destroy(&plan);
        return NULL;
    }
    s->plan = plan;
    s->info = (mha_plan_info)MHA_PLAN_INFO_INIT;
    bench_check(mha_plan_get_info(s->plan, &s->info, &error), &error);
    s->packed = bench_buffer(device, s->info.packed_bytes);
    s->workspace = bench_buffer(device, s->info.workspace_bytes);
    set_args(s, c);
    if (c->is_layer)
        pack(s, device, c);
    return s;
}

static void *open_state(const struct bench *device, const struct bench_case *c, char *why,
                        size_t why_bytes) {
    mha_plan *plan;
    mha_error error;
    if (!bench_make_plan(device, c, &plan, &error))
        return bench_open_plan(device, c, plan, why, why_bytes);
    snprintf(why, why_bytes, "%s", error.message);
    return NULL;
}

static void call(void *state, const struct bench *device, const struct bench_case *c) {
    const struct state *s = state;
    mha_error error;
    bench_check(
        c->is_layer
            ? mha_enqueue_layer(s->plan, device->queue, &s->layer, 0, NULL, NULL, &error)
            : mha_enqueue_attention(s->plan, device->queue, &s->attention, 0, NULL, NULL, &error),
        &error);
}

static void describe(const void *state, json_t *json) {
    const struct state *s = state;
    json_object_set_new(json, "variant", json_string(s->info.variant));
    json_object_set_new(json, "parameters", json_string(s->info.parameters));
    json_object_set_new(json, "source", json_string(s->info.source));
}

const struct contender contender_mha = {
    .name = "libmha-cl",
    .open = open_state,
    .call = call,
    .describe = describe,
    .close = close_state,
};
