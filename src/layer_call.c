/* In: a layer's plan and arguments. Out: its stages on the caller's queue. */
#include "args.h"
#include "layer.h"
#include "linear.h"

#include <string.h>

/* Of version 0.1: what every caller has. Never to change. */
#define FIRST_ARGS_BYTES (offsetof(mha_layer_args, first_event) + sizeof(cl_event *))
#define FIRST_WEIGHTS_BYTES (offsetof(mha_layer_weights, output_bias) + sizeof(mha_memory))

/* A call as its checks find it. */
struct layer_call {
    const struct mha_plan *plan;
    const struct layer *layer;
    const struct problem *attention;
    mha_layer_args args;
    mha_layer_weights weights;
    mha_attention_args attention_args; /* completed with what lies in workspace */
    struct regions regions;
    int64_t workspace_offset, packed_offset; /* in bytes */
    struct step steps[LAYER_STAGES];
    int first_step, step_count; /* those before the first are part of it */
};

static bool has_flag(const struct layer_call *c, uint64_t flag) {
    return c->layer->flags & flag;
}

static int64_t new_keys(const struct layer_call *c) {
    return c->attention_args.seqlen_kv - c->args.seqlen_past;
}

/* What a layer's tensors have in common: one head, tokens as the attention counts them. */
static struct extents get_extents(const struct layer_call *c, bool is_query, int64_t width) {
    const mha_attention_args *a = &c->attention_args;
    const bool is_ragged = c->attention->flags & (is_query ? MHA_RAGGED_Q : MHA_RAGGED_KV);
    return (struct extents){
        .batch = a->batch,
        .heads = 1,
        .tokens = is_ragged ? (is_query ? a->total_q : a->total_kv)
                            : (is_query ? a->seqlen_q : new_keys(c)),
        .head_dim = width,
        .is_ragged = is_ragged,
    };
}

static mha_status check_sizes(const struct layer_call *c, mha_error *error) {
    const mha_attention_args *a = &c->attention_args;
    const int64_t past = c->args.seqlen_past;
    if (past && !has_flag(c, MHA_LAYER_KV_CACHE))
        return mha_fail(error, MHA_ERR_FLAGS,
                        "seqlen_past is %lld but the plan has no MHA_LAYER_KV_CACHE",
                        (long long)past);
    if (past && (c->attention->flags & MHA_RAGGED_KV))
        return mha_fail(error, MHA_ERR_SHAPE, "seqlen_past is %lld, with MHA_RAGGED_KV it is 0",
                        (long long)past);
    if (past < 0 || past > a->seqlen_kv)
        return mha_fail(
            error, MHA_ERR_SHAPE,
            "seqlen_past is %lld, not in 0 .. seqlen_kv %lld, which counts the past too",
            (long long)past, (long long)a->seqlen_kv);
    /* Top-left would put the first new query beside the first key of the past. */
    if (past && c->attention->alignment == MHA_TOP_LEFT &&
        (c->attention->flags & (MHA_CAUSAL | MHA_WINDOW | MHA_ALIBI)))
        return mha_fail(
            error, MHA_ERR_VALUE,
            "seqlen_past is %lld but the plan's alignment is MHA_TOP_LEFT: with a past, "
            "causal, window and ALiBi need MHA_BOTTOM_RIGHT or an explicit offset",
            (long long)past);
    if (a->total_kv > a->batch * a->seqlen_kv)
        return mha_fail(error, MHA_ERR_LIMIT,
                        "total_kv is %lld, more than batch %lld * seqlen_kv %lld",
                        (long long)a->total_kv, (long long)a->batch, (long long)a->seqlen_kv);
    if (!has_flag(c, MHA_LAYER_FUSED_QKV))
        return MHA_SUCCESS;
    const struct extents q = get_extents(c, true, 1), k = get_extents(c, false, 1);
    if (q.tokens != k.tokens)
        return mha_fail(error, MHA_ERR_SHAPE,
                        "%lld queries but %lld new keys; MHA_LAYER_FUSED_QKV projects both from "
                        "the same tokens",
                        (long long)q.tokens, (long long)k.tokens);
    return MHA_SUCCESS;
}

/* Members that the layer sets itself, or whose flag is off. */
static mha_status check_unused(const struct layer_call *c, mha_error *error) {
    static const char own[] = "the layer sets it itself";
    const mha_attention_args *a = &c->attention_args;
    const mha_layer_args *l = &c->args;
    const bool is_fused = has_flag(c, MHA_LAYER_FUSED_QKV);
    const bool is_packed = has_flag(c, MHA_LAYER_PACKED);
    const bool has_cache = has_flag(c, MHA_LAYER_KV_CACHE);
    const struct {
        const char *name;
        bool is_set, is_used;
        const char *why;
    } members[] = {
        {"attention.q", mha_tensor_is_set(&a->q), false, own},
        {"attention.k", mha_tensor_is_set(&a->k), has_cache, "MHA_LAYER_KV_CACHE is off"},
        {"attention.v", mha_tensor_is_set(&a->v), has_cache, "MHA_LAYER_KV_CACHE is off"},
        {"attention.o", mha_tensor_is_set(&a->o), false, own},
        {"attention.workspace", mha_memory_is_set(&a->workspace), false, own},
        {"attention.first_event", a->first_event != NULL, false, own},
        {"key", mha_tensor_is_set(&l->key), !is_fused, "MHA_LAYER_FUSED_QKV projects query alone"},
        {"value", mha_tensor_is_set(&l->value), !is_fused,
         "MHA_LAYER_FUSED_QKV projects query alone"},
        {"packed", mha_memory_is_set(&l->packed), is_packed, "MHA_LAYER_PACKED is off"},
        {"weights", l->weights != NULL, !is_packed, "with MHA_LAYER_PACKED only packed is read"},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); ++i)
        if (!members[i].is_used && members[i].is_set)
            return mha_fail(error, MHA_ERR_FLAGS, "%s is set, but %s", members[i].name,
                            members[i].why);
    return MHA_SUCCESS;
}

struct projection_weights {
    const mha_memory *weight, *bias;
    const char *weight_name, *bias_name;
};

static struct projection_weights get_weights(const struct layer *layer, const mha_layer_weights *w,
                                             int stage) {
    const struct projection_weights fused = {&w->qkv, &w->qkv_bias, "weights.qkv",
                                             "weights.qkv_bias"};
    const struct projection_weights separate[LAYER_STAGES] = {
        [LAYER_Q] = {&w->q, &w->q_bias, "weights.q", "weights.q_bias"},
        [LAYER_K] = {&w->k, &w->k_bias, "weights.k", "weights.k_bias"},
        [LAYER_V] = {&w->v, &w->v_bias, "weights.v", "weights.v_bias"},
        [LAYER_OUTPUT] = {&w->output, &w->output_bias, "weights.output", "weights.output_bias"},
    };
    const bool is_fused = stage == LAYER_Q && layer->flags & MHA_LAYER_FUSED_QKV;
    return is_fused ? fused : separate[stage];
}

static mha_status add_weights(const struct layer *layer, const mha_layer_weights *weights,
                              int stage, struct regions *regions, struct call *call,
                              mha_error *error) {
    const struct projection_weights w = get_weights(layer, weights, stage);
    return mha_linear_add_weights(layer->stages[stage], w.weight_name, w.weight, w.bias_name,
                                  w.bias, regions, call, error);
}

/* Copies the caller's struct, whatever its version; members that the layer does not read must not
 * be set. */
static mha_status read_weights(const struct layer *layer, const mha_layer_weights *weights,
                               mha_layer_weights *w, mha_error *error) {
    const bool is_fused = layer->flags & MHA_LAYER_FUSED_QKV;
    const bool has_output = layer->flags & MHA_LAYER_OUTPUT;
    static const char fused[] = "MHA_LAYER_FUSED_QKV is off: the weights are q, k and v";
    static const char separate[] = "with MHA_LAYER_FUSED_QKV the weight is qkv";
    static const char output[] = "MHA_LAYER_OUTPUT is off";
    mha_status status;
    if (!weights)
        return mha_fail(error, MHA_ERR_NULL, "weights is NULL");
    if ((status = mha_read_struct(w, sizeof(*w), FIRST_WEIGHTS_BYTES, weights, "mha_layer_weights",
                                  error)))
        return status;
    const struct {
        const char *name;
        const mha_memory *memory;
        bool is_used;
        const char *why;
    } members[] = {
        {"qkv", &w->qkv, is_fused, fused},
        {"qkv_bias", &w->qkv_bias, is_fused, fused},
        {"q", &w->q, !is_fused, separate},
        {"k", &w->k, !is_fused, separate},
        {"v", &w->v, !is_fused, separate},
        {"q_bias", &w->q_bias, !is_fused, separate},
        {"k_bias", &w->k_bias, !is_fused, separate},
        {"v_bias", &w->v_bias, !is_fused, separate},
        {"output", &w->output, has_output, output},
        {"output_bias", &w->output_bias, has_output, output},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); ++i)
        if (!members[i].is_used && mha_memory_is_set(members[i].memory))
            return mha_fail(error, MHA_ERR_FLAGS, "weights.%s is set, but %s", members[i].name,
                            members[i].why);
    return MHA_SUCCESS;
}

/* `bytes` into the workspace, as a tensor [batch][token][heads][head_dim]. */
static mha_tensor get_part(const struct layer_call *c, size_t bytes, int64_t tokens,
                           int64_t token_stride, int64_t head_dim, bool is_ragged) {
    return (mha_tensor){
        .memory = {.kind = MHA_BUFFER,
                   .buffer = c->args.workspace.buffer,
                   .offset_bytes = (size_t)c->workspace_offset + bytes},
        .stride_batch = is_ragged ? 0 : tokens * token_stride,
        .stride_head = head_dim,
        .stride_token = token_stride,
    };
}

/* q, k, v, o and the workspace of the attention. */
static void complete_attention(struct layer_call *c) {
    const struct problem *p = c->attention;
    const struct layer_memory *m = &c->layer->memory;
    mha_attention_args *a = &c->attention_args;
    const bool ragged_q = p->flags & MHA_RAGGED_Q, ragged_kv = p->flags & MHA_RAGGED_KV;
    const struct mha_plan *plan = c->plan;
    a->q = get_part(c, m->q, a->seqlen_q, mha_layer_token_stride(plan, LAYER_Q), p->head_dim_qk,
                    ragged_q);
    if (!has_flag(c, MHA_LAYER_KV_CACHE)) {
        a->k = get_part(c, m->k, a->seqlen_kv, mha_layer_token_stride(plan, LAYER_K),
                        p->head_dim_qk, ragged_kv);
        a->v = get_part(c, m->v, a->seqlen_kv, mha_layer_token_stride(plan, LAYER_V), p->head_dim_v,
                        ragged_kv);
    }
    if (has_flag(c, MHA_LAYER_OUTPUT)) {
        a->o = get_part(c, m->o, a->seqlen_q, (int64_t)p->q_heads * p->head_dim_v, p->head_dim_v,
                        ragged_q);
    } else {
        a->o = c->args.y;
        a->o.stride_head = p->head_dim_v;
    }
    a->workspace = get_part(c, m->scratch, 0, 0, 0, false).memory;
}

static struct mha_tensor_args in_elements(const mha_tensor *tensor, mha_dtype dtype,
                                          int64_t first_token) {
    return (struct mha_tensor_args){
        .offset = (int64_t)(tensor->memory.offset_bytes / mha_dtype_bytes(dtype)) +
                  first_token * tensor->stride_token,
        .stride_batch = tensor->stride_batch,
        .stride_head = tensor->stride_head,
        .stride_token = tensor->stride_token,
    };
}

/* Weights from the caller, and the workspace. */
static mha_status set_weights(struct layer_call *c, enum layer_stage stage, struct call *call,
                              mha_error *error) {
    const struct mha_plan *plan = c->layer->stages[stage];
    const int64_t element = (int64_t)mha_dtype_bytes(plan->problem.weight_dtype);
    mha_linear_set_workspace(plan, c->args.workspace.buffer,
                             c->workspace_offset + (int64_t)c->layer->memory.scratch, call);
    if (!has_flag(c, MHA_LAYER_PACKED))
        return add_weights(c->layer, &c->weights, (int)stage, &c->regions, call, error);
    mha_linear_set_packed(plan, c->args.packed.buffer,
                          (c->packed_offset + (int64_t)c->layer->packed[stage]) / element, call);
    return MHA_SUCCESS;
}

/* One of the projections to q, k and v, or all three at once. */
static mha_status add_projection(struct layer_call *c, enum layer_stage stage, mha_error *error) {
    static const char *const names[] = {"query", "key", "value"};
    const mha_tensor *inputs[] = {&c->args.query, &c->args.key, &c->args.value};
    const mha_attention_args *a = &c->attention_args;
    const mha_tensor *outputs[] = {&a->q, &a->k, &a->v};
    struct mha_plan *plan = c->layer->stages[stage];
    struct step *step = &c->steps[c->step_count];
    const struct extents extents = get_extents(c, stage == LAYER_Q, c->layer->embed[stage]);
    const int64_t batch = extents.is_ragged ? 1 : extents.batch;
    struct mha_tensor_args x;
    mha_status status;
    step->plan = plan;
    mha_linear_call_init(plan, batch, extents.tokens, &step->call);
    if (!step->call.sizes.rows)
        return MHA_SUCCESS;
    if ((status = mha_add_tensor(names[stage], inputs[stage], &extents, c->attention->dtype,
                                 ACCESS_READ, &c->regions, &x, error)) ||
        (status = set_weights(c, stage, &step->call, error)))
        return status;
    mha_linear_set_x(&step->call, inputs[stage]->memory.buffer, &x);
    const int last = has_flag(c, MHA_LAYER_FUSED_QKV) ? LAYER_V : (int)stage;
    for (int s = (int)stage; s <= last; ++s) {
        const int64_t first = s == LAYER_Q ? 0 : c->args.seqlen_past;
        const struct mha_tensor_args y = in_elements(outputs[s], c->attention->dtype, first);
        mha_linear_set_y(&step->call, s - (int)stage, outputs[s]->memory.buffer, &y);
    }
    ++c->step_count;
    return mha_linear_finish(step->plan, &step->call, error);
}

static mha_status add_attention(struct layer_call *c, mha_error *error) {
    struct step *step = &c->steps[c->step_count];
    /* The parts of the workspace are no regions of their own: they lie in the workspace's. */
    struct regions parts = {.engine = c->plan->engine};
    step->plan = c->layer->stages[LAYER_ATTENTION];
    const mha_status status = mha_attention_call_init(step->plan, &c->attention_args, &parts,
                                                      &c->regions, &step->call, error);
    if (!status)
        c->step_count += mha_attention_has_work(&step->call);
    return status;
}

/* The fused projection and the attention become one step, if that is better: the attention's, which
 * is given what the projection reads too. */
static void merge_steps(struct layer_call *c) {
    struct step *projection = &c->steps[0], *attention = &c->steps[1];
    if (c->step_count < 2 || !mha_layer_is_merged(c->layer, &attention->call.sizes))
        return;
    attention->plan = c->layer->merged;
    attention->call.args.panel_qkv.gemm = projection->call.args.gemm;
    attention->call.buffers[PROJECTED_X] = projection->call.buffers[GEMM_X];
    attention->call.buffers[PROJECTED_PACKED] = projection->call.buffers[GEMM_PACKED];
    c->first_step = 1;
}

static mha_status add_output(struct layer_call *c, const struct mha_tensor_args *y,
                             mha_error *error) {
    struct step *step = &c->steps[c->step_count];
    const struct extents extents = get_extents(c, true, 1);
    const mha_tensor *o = &c->attention_args.o;
    const struct mha_tensor_args x = in_elements(o, c->attention->dtype, 0);
    step->plan = c->layer->stages[LAYER_OUTPUT];
    mha_linear_call_init(step->plan, extents.is_ragged ? 1 : extents.batch, extents.tokens,
                         &step->call);
    if (!step->call.sizes.rows)
        return MHA_SUCCESS;
    const mha_status status = set_weights(c, LAYER_OUTPUT, &step->call, error);
    if (status)
        return status;
    mha_linear_set_x(&step->call, o->memory.buffer, &x);
    mha_linear_set_y(&step->call, 0, c->args.y.memory.buffer, y);
    ++c->step_count;
    return mha_linear_finish(step->plan, &step->call, error);
}

/* The caller's memory that is not a projection's alone. */
static mha_status add_memory(struct layer_call *c, struct mha_tensor_args *y, mha_error *error) {
    const struct mha_plan *plan = c->plan;
    const struct problem *p = c->attention;
    const mha_attention_args *a = &c->attention_args;
    const size_t alignment = mha_real_bytes(p->dtype);
    const int64_t width =
        has_flag(c, MHA_LAYER_OUTPUT) ? c->layer->embed_out : (int64_t)p->q_heads * p->head_dim_v;
    const struct extents y_extents = get_extents(c, true, width);
    const enum access y_access = has_flag(c, MHA_LAYER_OUTPUT)
                                     ? mha_linear_y_access(c->layer->stages[LAYER_OUTPUT])
                                     : ACCESS_WRITE;
    struct mha_tensor_args unused;
    mha_status status;
    if ((status = mha_add_workspace(&c->args.workspace, plan->workspace_bytes, alignment,
                                    &c->regions, &c->workspace_offset, error)) ||
        (status = mha_add_tensor("y", &c->args.y, &y_extents, p->dtype, y_access, &c->regions, y,
                                 error)))
        return status;
    c->workspace_offset *= (int64_t)alignment;
    if (has_flag(c, MHA_LAYER_PACKED)) {
        const size_t element = mha_dtype_bytes(c->layer->stages[LAYER_Q]->problem.weight_dtype);
        if ((status =
                 mha_add_region("packed", &c->args.packed, (int64_t)(plan->packed_bytes / element),
                                element, ACCESS_READ, &c->regions, &c->packed_offset, error)))
            return status;
        c->packed_offset *= (int64_t)element;
    }
    if (!has_flag(c, MHA_LAYER_KV_CACHE))
        return MHA_SUCCESS;
    const bool is_ragged = p->flags & MHA_RAGGED_KV;
    struct extents cache = {
        .batch = a->batch,
        .heads = p->kv_heads,
        .tokens = is_ragged ? a->total_kv : a->seqlen_kv,
        .head_dim = p->head_dim_qk,
        .is_ragged = is_ragged,
    };
    if ((status = mha_add_tensor("attention.k", &a->k, &cache, p->dtype, ACCESS_READ_WRITE,
                                 &c->regions, &unused, error)))
        return status;
    cache.head_dim = p->head_dim_v;
    return mha_add_tensor("attention.v", &a->v, &cache, p->dtype, ACCESS_READ_WRITE, &c->regions,
                          &unused, error);
}

static mha_status init_call(const struct mha_plan *plan, const mha_layer_args *args,
                            struct layer_call *c, mha_error *error) {
    const struct layer *layer = plan->layer;
    const struct mha_plan *attention = layer->stages[LAYER_ATTENTION];
    struct mha_tensor_args y;
    mha_status status;
    *c = (struct layer_call){
        .plan = plan,
        .layer = layer,
        .attention = &attention->problem,
        .regions = {.engine = plan->engine},
    };
    if (!args)
        return mha_fail(error, MHA_ERR_NULL, "args is NULL");
    if ((status = mha_read_struct(&c->args, sizeof(c->args), FIRST_ARGS_BYTES, args,
                                  "mha_layer_args", error)) ||
        (!c->args.attention &&
         (status = mha_fail(error, MHA_ERR_NULL, "args.attention is NULL"))) ||
        (status = mha_attention_read_args(&c->attention_args, c->args.attention, error)) ||
        (status = mha_attention_check_args(attention, &c->attention_args, error)) ||
        (status = check_unused(c, error)) || (status = check_sizes(c, error)) ||
        (!has_flag(c, MHA_LAYER_PACKED) &&
         (status = read_weights(layer, c->args.weights, &c->weights, error))))
        return status;
    if (!c->attention_args.batch || (!c->attention_args.seqlen_q && !new_keys(c)))
        return MHA_SUCCESS;
    if ((status = add_memory(c, &y, error)))
        return status;
    complete_attention(c);
    for (int s = LAYER_Q; s <= LAYER_V; ++s)
        if (layer->stages[s] && (status = add_projection(c, (enum layer_stage)s, error)))
            return status;
    if ((status = add_attention(c, error)))
        return status;
    merge_steps(c);
    if (layer->stages[LAYER_OUTPUT] && (status = add_output(c, &y, error)))
        return status;
    return mha_check_aliases(&c->regions, error);
}

mha_status mha_enqueue_layer(mha_plan *plan, cl_command_queue queue, const mha_layer_args *args,
                             cl_uint n_wait, const cl_event *wait, cl_event *event,
                             mha_error *error) {
    struct request request = {.queue = queue, .n_wait = n_wait, .wait = wait, .event = event};
    struct layer_call call;
    mha_status status;
    if (event)
        *event = NULL;
    if (args && args->struct_size >= sizeof(mha_layer_args) && args->first_event) {
        request.first_event = args->first_event;
        *request.first_event = NULL;
    }
    if ((status = mha_plan_check(plan, OPERATION_LAYER, error)) ||
        (status = mha_request_check(&request, plan->engine, error)) ||
        (status = init_call(plan, args, &call, error)))
        return status;
    return mha_dispatch(plan, &request, call.steps + call.first_step,
                        call.step_count - call.first_step, error);
}

mha_status mha_enqueue_layer_pack(mha_plan *plan, cl_command_queue queue,
                                  const mha_layer_weights *weights, const mha_memory *packed,
                                  cl_uint n_wait, const cl_event *wait, cl_event *event,
                                  mha_error *error) {
    struct request request = {.queue = queue, .n_wait = n_wait, .wait = wait, .event = event};
    struct step steps[LAYER_STAGES];
    int count = 0;
    mha_status status;
    if (event)
        *event = NULL;
    if ((status = mha_plan_check(plan, OPERATION_LAYER, error)) ||
        (status = mha_request_check(&request, plan->engine, error)))
        return status;
    if (!packed)
        return mha_fail(error, MHA_ERR_NULL, "packed is NULL");
    const struct layer *layer = plan->layer;
    struct regions regions = {.engine = plan->engine};
    const size_t element = mha_dtype_bytes(layer->stages[LAYER_Q]->problem.weight_dtype);
    int64_t offset = 0;
    mha_layer_weights w;
    if ((status = read_weights(layer, weights, &w, error)) ||
        (status = mha_add_region("packed", packed, (int64_t)(plan->packed_bytes / element), element,
                                 ACCESS_WRITE, &regions, &offset, error)))
        return status;
    for (int s = 0; s < LAYER_STAGES; ++s) {
        if (!layer->stages[s] || s == LAYER_ATTENTION)
            continue;
        struct step *step = &steps[count++];
        step->plan = layer->stages[s];
        mha_linear_call_init(step->plan, 1, 1, &step->call);
        step->call.sizes.is_packing = true;
        if ((status = add_weights(layer, &w, s, &regions, &step->call, error)))
            return status;
        mha_linear_set_packed(step->plan, packed->buffer,
                              offset + (int64_t)(layer->packed[s] / element), &step->call);
        if ((status = mha_linear_finish(step->plan, &step->call, error)))
            return status;
    }
    if ((status = mha_check_aliases(&regions, error)))
        return status;
    return mha_dispatch(plan, &request, steps, count, error);
}
