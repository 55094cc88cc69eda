/* In: q, k, v in host memory. Out: o, lse and, where asked for, the attention weights. */
#include "attend.h"

#include "calls.h"

#include <stdlib.h>

enum { Q, K, V, O, LSE, WEIGHTS, WORKSPACE, N_BUFFERS };

static size_t product(int64_t a, int64_t b, int64_t c, int64_t d) {
    return (size_t)a * (size_t)b * (size_t)c * (size_t)d;
}

size_t shape_q(const attention_shape *s) {
    return product(s->batch, s->q_heads, s->seqlen_q, s->head_dim_qk);
}

size_t shape_k(const attention_shape *s) {
    return product(s->batch, s->kv_heads, s->seqlen_kv, s->head_dim_qk);
}

size_t shape_v(const attention_shape *s) {
    return product(s->batch, s->kv_heads, s->seqlen_kv, s->head_dim_v);
}

size_t shape_o(const attention_shape *s) {
    return product(s->batch, s->q_heads, s->seqlen_q, s->head_dim_v);
}

size_t shape_lse(const attention_shape *s) {
    return product(s->batch, s->q_heads, s->seqlen_q, 1);
}

size_t shape_weights(const attention_shape *s) {
    return product(s->batch, s->q_heads, s->seqlen_q, s->seqlen_kv);
}

static bool make_buffers(const device *d, const attention_shape *shape,
                         const attention_inputs *inputs, bool with_weights, size_t workspace_bytes,
                         cl_mem buffers[N_BUFFERS], failure *f) {
    const struct {
        size_t bytes; /* 0: not needed */
        const void *host;
    } wanted[N_BUFFERS] = {
        [Q] = {.bytes = shape_q(shape) * sizeof(float), .host = inputs->q},
        [K] = {.bytes = shape_k(shape) * sizeof(float), .host = inputs->k},
        [V] = {.bytes = shape_v(shape) * sizeof(float), .host = inputs->v},
        [O] = {.bytes = shape_o(shape) * sizeof(float)},
        [LSE] = {.bytes = shape_lse(shape) * sizeof(float)},
        [WEIGHTS] = {.bytes = with_weights ? shape_weights(shape) * sizeof(float) : 0},
        [WORKSPACE] = {.bytes = workspace_bytes},
    };
    for (int i = 0; i < N_BUFFERS; ++i)
        if (wanted[i].bytes &&
            !make_buffer(d->context, wanted[i].bytes, wanted[i].host, &buffers[i], f))
            return false;
    return true;
}

/* *host is allocated here and filled after all that was enqueued before. */
static bool download(const device *d, cl_mem buffer, size_t elements, float **host, failure *f) {
    *host = malloc(elements * sizeof(float));
    if (!*host)
        return fail_memory(f, elements * sizeof(float));
    return read_buffer(d, buffer, 0, elements * sizeof(float), *host, f);
}

bool attend(mha_engine *engine, const device *d, const attention_shape *shape,
            const attention_inputs *inputs, const char *variant, bool with_weights,
            attention_result *result, failure *f) {
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    mha_attention_args args = MHA_ATTENTION_ARGS_INIT;
    cl_mem buffers[N_BUFFERS] = {NULL};
    cl_event first = NULL, last = NULL;
    mha_plan *plan = NULL;
    mha_error error;
    bool ok = false;

    *result = (attention_result){.plan.struct_size = sizeof(result->plan)};
    desc.flags = MHA_SCALE | MHA_LSE | (with_weights ? MHA_SCORES : 0);
    desc.dtype = MHA_F32;
    desc.q_heads = shape->q_heads;
    desc.kv_heads = shape->kv_heads;
    desc.head_dim_qk = shape->head_dim_qk;
    desc.head_dim_v = shape->head_dim_v;
    desc.max_batch = shape->batch;
    desc.max_seqlen_q = shape->seqlen_q;
    desc.max_seqlen_kv = shape->seqlen_kv;
    desc.scale = shape->scale;
    desc.scores_stage = MHA_STAGE_WEIGHTS;
    desc.variant = variant;
    if (mha_plan_create(engine, &desc, &plan, &error) != MHA_SUCCESS ||
        mha_plan_get_info(plan, &result->plan, &error) != MHA_SUCCESS) {
        fail_mha(f, engine, &error);
        goto done;
    }
    if (!make_buffers(d, shape, inputs, with_weights, result->plan.workspace_bytes, buffers, f))
        goto done;

    args.batch = shape->batch;
    args.seqlen_q = shape->seqlen_q;
    args.seqlen_kv = shape->seqlen_kv;
    args.q = mha_tensor_bhnd(buffers[Q], 0, shape->q_heads, shape->seqlen_q, shape->head_dim_qk);
    args.k = mha_tensor_bhnd(buffers[K], 0, shape->kv_heads, shape->seqlen_kv, shape->head_dim_qk);
    args.v = mha_tensor_bhnd(buffers[V], 0, shape->kv_heads, shape->seqlen_kv, shape->head_dim_v);
    args.o = mha_tensor_bhnd(buffers[O], 0, shape->q_heads, shape->seqlen_q, shape->head_dim_v);
    args.lse.buffer = buffers[LSE];
    args.scores.buffer = buffers[WEIGHTS];
    args.workspace.buffer = buffers[WORKSPACE];
    args.first_event = &first;
    if (mha_enqueue_attention(plan, d->queue, &args, 0, NULL, &last, &error) != MHA_SUCCESS) {
        fail_mha(f, engine, &error);
        goto done;
    }
    if (!download(d, buffers[O], shape_o(shape), &result->o, f) ||
        !download(d, buffers[LSE], shape_lse(shape), &result->lse, f) ||
        (with_weights && !download(d, buffers[WEIGHTS], shape_weights(shape), &result->weights, f)))
        goto done;
    result->milliseconds = first && last ? (double)mha_profile_span(first, last) * 1e-6 : 0;
    ok = true;
done:
    if (!ok)
        attention_result_free(result);
    if (first)
        clReleaseEvent(first);
    if (last)
        clReleaseEvent(last);
    for (int i = 0; i < N_BUFFERS; ++i)
        release_buffer(&buffers[i]);
    mha_plan_destroy(&plan);
    return ok;
}

void attention_result_free(attention_result *result) {
    free(result->o);
    free(result->lse);
    free(result->weights);
    result->o = result->lse = result->weights = NULL;
}
