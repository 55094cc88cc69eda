/* In: tokens in PLACE_X, trained weights. Out: the tokens after all layers. The queue is in order,
 * so the calls of a layer need no events between them. */
#include "encoder.h"

#include "calls.h"

#include <stdio.h>
#include <stdlib.h>

typedef enum operation { NORM, ATTEND, SUM, FC1, ACTIVATE, FC2 } operation;

#define LAYER_STEPS 8

typedef struct layer_step {
    operation what;
    encoder_place from, to;
    int which; /* of the two norms or scales */
} layer_step;

/* A layer of either kind. */
static const layer_step pre_norm_steps[LAYER_STEPS] = {
    {.what = NORM, .from = PLACE_X, .to = PLACE_H, .which = 0},
    {.what = ATTEND, .from = PLACE_H, .to = PLACE_Y},
    {.what = SUM, .from = PLACE_Y, .to = PLACE_X, .which = 0},
    {.what = NORM, .from = PLACE_X, .to = PLACE_H, .which = 1},
    {.what = FC1, .from = PLACE_H, .to = PLACE_INNER},
    {.what = ACTIVATE, .from = PLACE_INNER, .to = PLACE_INNER},
    {.what = FC2, .from = PLACE_INNER, .to = PLACE_Y},
    {.what = SUM, .from = PLACE_Y, .to = PLACE_X, .which = 1},
};
static const layer_step post_norm_steps[LAYER_STEPS] = {
    {.what = ATTEND, .from = PLACE_X, .to = PLACE_Y},
    {.what = SUM, .from = PLACE_Y, .to = PLACE_X, .which = 0},
    {.what = NORM, .from = PLACE_X, .to = PLACE_X, .which = 0},
    {.what = FC1, .from = PLACE_X, .to = PLACE_INNER},
    {.what = ACTIVATE, .from = PLACE_INNER, .to = PLACE_INNER},
    {.what = FC2, .from = PLACE_INNER, .to = PLACE_Y},
    {.what = SUM, .from = PLACE_Y, .to = PLACE_X, .which = 1},
    {.what = NORM, .from = PLACE_X, .to = PLACE_X, .which = 1},
};

/* ---- Plans and buffers ------------------------------------------------------------------------
 */

static bool make_layer_plan(encoder *e, int which, failure *f) {
    const encoder_shape *s = &e->shape;
    mha_attention_desc attention = MHA_ATTENTION_DESC_INIT;
    mha_layer_desc desc = MHA_LAYER_DESC_INIT;
    mha_error error;
    attention.flags =
        (s->ragged ? MHA_RAGGED_Q | MHA_RAGGED_KV : 0) | (which == PLAN_WEIGHTS ? MHA_SCORES : 0);
    attention.dtype = e->ops->dtype;
    attention.q_heads = attention.kv_heads = s->heads;
    attention.head_dim_qk = attention.head_dim_v = s->width / s->heads;
    attention.max_batch = s->max_batch;
    attention.max_seqlen_q = attention.max_seqlen_kv = s->max_tokens;
    attention.scores_stage = MHA_STAGE_WEIGHTS;
    desc.flags = MHA_LAYER_FUSED_QKV | MHA_LAYER_QKV_BIAS | MHA_LAYER_OUTPUT |
                 MHA_LAYER_OUTPUT_BIAS | MHA_LAYER_PACKED;
    desc.attention = &attention;
    desc.weight_dtype = e->ops->dtype;
    desc.embed_q = desc.embed_out = s->width;
    e->infos[which].struct_size = sizeof(e->infos[which]);
    if (mha_layer_plan_create(e->engine, &desc, &e->plans[which], &error) == MHA_SUCCESS &&
        mha_plan_get_info(e->plans[which], &e->infos[which], &error) == MHA_SUCCESS)
        return true;
    return fail_mha(f, e->engine, &error);
}

static int plan_of(const encoder_shape *s, int layer) {
    return s->keep_weights[layer] ? PLAN_WEIGHTS : PLAN_FAST;
}

static bool make_plans(encoder *e, failure *f) {
    const encoder_shape *s = &e->shape;
    const int64_t max_rows = s->max_batch * s->max_tokens;
    for (int i = 0; i < s->layers; ++i)
        if (!e->plans[plan_of(s, i)] && !make_layer_plan(e, plan_of(s, i), f))
            return false;
    return linear_open(e->engine, e->ops->dtype, s->width, s->inner, max_rows, &e->fc1, f) &&
           linear_open(e->engine, e->ops->dtype, s->inner, s->width, max_rows, &e->fc2, f);
}

static bool make_buffers(encoder *e, failure *f) {
    const encoder_shape *s = &e->shape;
    const size_t rows = (size_t)(s->max_batch * s->max_tokens);
    const size_t needs[] = {e->infos[PLAN_FAST].workspace_bytes,
                            e->infos[PLAN_WEIGHTS].workspace_bytes, e->fc1.info.workspace_bytes,
                            e->fc2.info.workspace_bytes};
    size_t workspace = 0;
    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); ++i)
        workspace = needs[i] > workspace ? needs[i] : workspace;
    for (int i = 0; i < N_PLACES; ++i) {
        size_t width = (size_t)(i == PLACE_INNER ? s->inner : s->width);
        if (!make_buffer(e->ops->d->context, rows * width * e->ops->element, NULL, &e->places[i],
                         f))
            return false;
    }
    return !workspace || make_buffer(e->ops->d->context, workspace, NULL, &e->workspace, f);
}

bool encoder_open(mha_engine *engine, const model_ops *ops, const encoder_shape *shape, encoder *e,
                  failure *f) {
    *e = (encoder){.shape = *shape, .engine = engine, .ops = ops};
    if (make_plans(e, f) && make_buffers(e, f))
        return true;
    encoder_close(e);
    return false;
}

void encoder_close(encoder *e) {
    for (int i = 0; i < ENCODER_MAX_LAYERS; ++i) {
        encoder_layer *l = &e->layers[i];
        cl_mem *const all[] = {&l->attention,       &l->fc1,           &l->fc2,
                               &l->norms[0].weight, &l->norms[0].bias, &l->norms[1].weight,
                               &l->norms[1].bias,   &l->scales[0],     &l->scales[1]};
        for (size_t j = 0; j < sizeof(all) / sizeof(all[0]); ++j)
            release_buffer(all[j]);
    }
    for (int i = 0; i < N_PLACES; ++i)
        release_buffer(&e->places[i]);
    release_buffer(&e->workspace);
    for (int i = 0; i < N_LAYER_PLANS; ++i)
        mha_plan_destroy(&e->plans[i]);
    linear_close(&e->fc1);
    linear_close(&e->fc2);
    *e = (encoder){0};
}

/* ---- Weights ----------------------------------------------------------------------------------
 */

typedef char tensor_name[64];

static void name_tensor(const encoder *e, int layer, const char *what, tensor_name name) {
    snprintf(name, sizeof(tensor_name), "%s%d.%s", e->shape.prefix, layer, what);
}

static bool read_attention(encoder *e, int layer, const st_file *file, failure *f) {
    const int plan = plan_of(&e->shape, layer);
    const int64_t width = e->shape.width;
    mha_layer_weights w = MHA_LAYER_WEIGHTS_INIT;
    mha_memory packed = {0};
    mha_error error;
    const struct {
        const char *what;
        int64_t rows, columns;
        cl_mem *buffer;
    } wanted[] = {
        {.what = "qkv.weight", .rows = 3 * width, .columns = width, .buffer = &w.qkv.buffer},
        {.what = "qkv.bias", .rows = 3 * width, .buffer = &w.qkv_bias.buffer},
        {.what = "proj.weight", .rows = width, .columns = width, .buffer = &w.output.buffer},
        {.what = "proj.bias", .rows = width, .buffer = &w.output_bias.buffer},
    };
    const size_t n = sizeof(wanted) / sizeof(wanted[0]);
    bool ok = true;
    for (size_t i = 0; ok && i < n; ++i) {
        tensor_name name;
        name_tensor(e, layer, wanted[i].what, name);
        ok = weights_read(e->ops, file, name, wanted[i].rows, wanted[i].columns, wanted[i].buffer,
                          f);
    }
    ok = ok && make_buffer(e->ops->d->context, e->infos[plan].packed_bytes, NULL,
                           &e->layers[layer].attention, f);
    packed.buffer = e->layers[layer].attention;
    if (ok && mha_enqueue_layer_pack(e->plans[plan], e->ops->d->queue, &w, &packed, 0, NULL, NULL,
                                     &error) != MHA_SUCCESS)
        ok = fail_mha(f, e->engine, &error);
    for (size_t i = 0; i < n; ++i)
        release_buffer(wanted[i].buffer);
    return ok;
}

static bool read_vectors(encoder *e, int layer, const st_file *file, failure *f) {
    encoder_layer *l = &e->layers[layer];
    const struct {
        const char *what;
        bool wanted;
        cl_mem *buffer;
    } vectors[] = {
        {.what = "norm1.weight", .wanted = true, .buffer = &l->norms[0].weight},
        {.what = "norm1.bias", .wanted = true, .buffer = &l->norms[0].bias},
        {.what = "norm2.weight", .wanted = true, .buffer = &l->norms[1].weight},
        {.what = "norm2.bias", .wanted = true, .buffer = &l->norms[1].bias},
        {.what = "ls1", .wanted = e->shape.layer_scale, .buffer = &l->scales[0]},
        {.what = "ls2", .wanted = e->shape.layer_scale, .buffer = &l->scales[1]},
    };
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); ++i) {
        tensor_name name;
        name_tensor(e, layer, vectors[i].what, name);
        if (vectors[i].wanted &&
            !weights_read(e->ops, file, name, e->shape.width, 0, vectors[i].buffer, f))
            return false;
    }
    return true;
}

bool encoder_read(encoder *e, const st_file *file, failure *f) {
    for (int i = 0; i < e->shape.layers; ++i) {
        tensor_name fc1, fc2;
        name_tensor(e, i, "mlp.fc1", fc1);
        name_tensor(e, i, "mlp.fc2", fc2);
        if (!read_attention(e, i, file, f) || !read_vectors(e, i, file, f) ||
            !linear_read(&e->fc1, e->ops, file, fc1, &e->layers[i].fc1, f) ||
            !linear_read(&e->fc2, e->ops, file, fc2, &e->layers[i].fc2, f))
            return false;
    }
    return true;
}

/* ---- A run ------------------------------------------------------------------------------------
 */

/* fp32 elements of the attention weights of one layer. */
static size_t layer_weights(const encoder *e, const encoder_input *in) {
    return (size_t)(e->shape.heads * in->rows * in->tokens);
}

static bool attend(const encoder *e, int layer, const encoder_input *in, encoder_place from,
                   encoder_place to, const encoder_trace *trace, failure *f) {
    const encoder_shape *s = &e->shape;
    const int plan = plan_of(s, layer);
    const mha_tensor rows = {.stride_batch = s->ragged ? 0 : in->tokens * s->width,
                             .stride_token = s->width};
    mha_attention_args attention = MHA_ATTENTION_ARGS_INIT;
    mha_layer_args args = MHA_LAYER_ARGS_INIT;
    cl_event first = NULL, last = NULL;
    mha_error error;
    attention.batch = in->batch;
    attention.seqlen_q = attention.seqlen_kv = in->tokens;
    if (s->ragged) {
        attention.total_q = attention.total_kv = in->rows;
        attention.cu_seqlens_q.buffer = attention.cu_seqlens_kv.buffer = in->cu_seqlens;
    }
    if (plan == PLAN_WEIGHTS) {
        attention.scores.buffer = trace->weights;
        attention.scores.offset_bytes = (size_t)layer * layer_weights(e, in) * sizeof(float);
    }
    args.attention = &attention;
    args.query = args.y = rows;
    args.query.memory.buffer = e->places[from];
    args.y.memory.buffer = e->places[to];
    args.packed.buffer = e->layers[layer].attention;
    args.workspace.buffer = e->infos[plan].workspace_bytes ? e->workspace : NULL;
    args.first_event = e->ops->profile ? &first : NULL;
    if (mha_enqueue_layer(e->plans[plan], e->ops->d->queue, &args, 0, NULL,
                          e->ops->profile ? &last : NULL, &error) != MHA_SUCCESS)
        return fail_mha(f, e->engine, &error);
    return !e->ops->profile || profile_add(e->ops->profile, WORK_ATTENTION, first, last, f);
}

static bool run_step(const encoder *e, int layer, const encoder_input *in, const layer_step *step,
                     const encoder_trace *trace, failure *f) {
    const encoder_layer *l = &e->layers[layer];
    const cl_mem from = e->places[step->from], to = e->places[step->to];
    const size_t rows = (size_t)in->rows, width = (size_t)e->shape.width;
    linear_call call = {.workspace = e->workspace, .x = from, .y = to, .rows = rows};
    switch (step->what) {
    case NORM:
        return op_layer_norm(e->ops, from, to, &l->norms[step->which], rows, width,
                             e->shape.epsilon, f);
    case ATTEND:
        return attend(e, layer, in, step->from, step->to, trace, f);
    case SUM:
        return op_add(e->ops, to, from, l->scales[step->which], rows, width, f);
    case ACTIVATE:
        return op_gelu(e->ops, to, rows * (size_t)e->shape.inner, f);
    case FC1:
        call.packed = l->fc1;
        return linear_run(&e->fc1, e->ops, &call, WORK_MLP, f);
    case FC2:
        call.packed = l->fc2;
        return linear_run(&e->fc2, e->ops, &call, WORK_MLP, f);
    }
    return false;
}

static bool keep_state(const encoder *e, const encoder_input *in, int index,
                       const encoder_trace *trace, failure *f) {
    const size_t elements = (size_t)(in->rows * e->shape.width);
    return !trace->states || op_copy(e->ops, e->places[PLACE_X], 0, trace->states,
                                     (size_t)index * elements, elements, f);
}

bool encoder_run(const encoder *e, const encoder_input *in, const encoder_trace *trace,
                 failure *f) {
    const layer_step *steps = e->shape.pre_norm ? pre_norm_steps : post_norm_steps;
    if (!keep_state(e, in, 0, trace, f))
        return false;
    for (int layer = 0; layer < e->shape.layers; ++layer) {
        for (int i = 0; i < LAYER_STEPS; ++i)
            if (!run_step(e, layer, in, &steps[i], trace, f))
                return false;
        if (!keep_state(e, in, layer + 1, trace, f))
            return false;
    }
    return true;
}

/* ---- What it leaves ---------------------------------------------------------------------------
 */

static size_t all_states(const encoder *e, const encoder_input *in) {
    return (size_t)((e->shape.layers + 1) * in->rows * e->shape.width);
}

static size_t all_weights(const encoder *e, const encoder_input *in) {
    return (size_t)e->shape.layers * layer_weights(e, in);
}

bool encoder_trace_open(const encoder *e, const encoder_input *in, encoder_trace *trace,
                        failure *f) {
    const cl_context context = e->ops->d->context;
    *trace = (encoder_trace){0};
    return (!e->shape.keep_states ||
            make_buffer(context, all_states(e, in) * e->ops->element, NULL, &trace->states, f)) &&
           (!e->plans[PLAN_WEIGHTS] ||
            make_buffer(context, all_weights(e, in) * sizeof(float), NULL, &trace->weights, f));
}

void encoder_trace_close(encoder_trace *trace) {
    release_buffer(&trace->states);
    release_buffer(&trace->weights);
}

/* One layer after the other: the weights of layers that were not kept were never written. */
static bool read_weights(const encoder *e, const encoder_input *in, cl_mem weights, float *to,
                         failure *f) {
    const size_t elements = layer_weights(e, in), bytes = elements * sizeof(float);
    for (int i = 0; i < e->shape.layers; ++i)
        if (e->shape.keep_weights[i] && !read_buffer(e->ops->d, weights, (size_t)i * bytes, bytes,
                                                     to + (size_t)i * elements, f))
            return false;
    return true;
}

bool encoder_result_read(const encoder *e, const encoder_input *in, const encoder_trace *trace,
                         encoder_result *result, failure *f) {
    *result = (encoder_result){0};
    if (trace->states && !(result->states = op_read(e->ops, trace->states, all_states(e, in), f)))
        return false;
    if (!trace->weights)
        return true;
    result->weights = calloc(all_weights(e, in), sizeof(float));
    if (!result->weights)
        return fail_memory(f, all_weights(e, in) * sizeof(float));
    return read_weights(e, in, trace->weights, result->weights, f);
}

void encoder_result_free(encoder_result *result) {
    free(result->states);
    free(result->weights);
    *result = (encoder_result){0};
}
