/* In: mha_attention_args. Out: struct call, or the first thing that is wrong with them. */
#include "args.h"

#include <string.h>

/* Of version 0.1: what every caller has. Never to change. */
#define FIRST_ARGS_BYTES (offsetof(mha_attention_args, first_event) + sizeof(cl_event *))

static mha_status check_sizes(const struct problem *p, const mha_attention_args *a,
                              mha_error *error) {
    const struct {
        const char *name;
        int64_t value, maximum;
    } sizes[] = {
        {"batch", a->batch, p->batch},
        {"seqlen_q", a->seqlen_q, p->seqlen_q},
        {"seqlen_kv", a->seqlen_kv, p->seqlen_kv},
        {"total_q", a->total_q, INT32_MAX},
        {"total_kv", a->total_kv, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); ++i) {
        if (sizes[i].value < 0)
            return mha_fail(error, MHA_ERR_SHAPE, "%s is %lld, less than 0", sizes[i].name,
                            (long long)sizes[i].value);
        if (sizes[i].value > sizes[i].maximum)
            return mha_fail(error, MHA_ERR_LIMIT, "%s is %lld, the plan's maximum is %lld",
                            sizes[i].name, (long long)sizes[i].value, (long long)sizes[i].maximum);
    }
    if (a->total_q && !(p->flags & MHA_RAGGED_Q))
        return mha_fail(error, MHA_ERR_FLAGS, "total_q is %lld but the plan has no MHA_RAGGED_Q",
                        (long long)a->total_q);
    if (a->total_kv && !(p->flags & MHA_RAGGED_KV))
        return mha_fail(error, MHA_ERR_FLAGS, "total_kv is %lld but the plan has no MHA_RAGGED_KV",
                        (long long)a->total_kv);
    if (a->total_q > a->batch * a->seqlen_q)
        return mha_fail(error, MHA_ERR_LIMIT,
                        "total_q is %lld, more than batch %lld * seqlen_q %lld",
                        (long long)a->total_q, (long long)a->batch, (long long)a->seqlen_q);
    if (a->position_offset && p->alignment != MHA_EXPLICIT)
        return mha_fail(error, MHA_ERR_FLAGS,
                        "position_offset is %lld but the plan's alignment is %d, not MHA_EXPLICIT",
                        (long long)a->position_offset, (int)p->alignment);
    if (a->position_offset > MHA_MAX_POSITION || a->position_offset < -MHA_MAX_POSITION)
        return mha_fail(error, MHA_ERR_VALUE, "position_offset is %lld, beyond +-%d",
                        (long long)a->position_offset, MHA_MAX_POSITION);
    return MHA_SUCCESS;
}

static mha_status add_score_tensor(const struct mha_plan *plan, const char *name,
                                   const mha_score_tensor *tensor, const mha_attention_args *a,
                                   size_t element_bytes, struct regions *regions,
                                   struct mha_score_args *args, mha_error *error) {
    const struct axis axes[] = {
        {a->batch, tensor->stride_batch, "batch"},
        {plan->problem.q_heads, tensor->stride_head, "head"},
        {a->seqlen_q, tensor->stride_query, "query"},
        {a->seqlen_kv, tensor->stride_key, "key"},
    };
    int64_t extent, offset = 0;
    mha_status status;
    if ((status = mha_get_extent(name, axes, 4, 1, &extent, error)) ||
        (status = mha_add_region(name, &tensor->memory, extent, element_bytes, ACCESS_READ, regions,
                                 &offset, error)))
        return status;
    *args = (struct mha_score_args){offset, tensor->stride_batch, tensor->stride_head,
                                    tensor->stride_query, tensor->stride_key};
    return MHA_SUCCESS;
}

bool mha_attention_has_work(const struct call *call) {
    return call->sizes.batch > 0 && call->sizes.seqlen_q > 0;
}

/* q, k, v, o and workspace. */
static mha_status add_tensors(const struct mha_plan *plan, const mha_attention_args *a,
                              struct call *call, struct regions *regions, mha_error *error) {
    const struct problem *p = &plan->problem;
    struct mha_attention_kernel_args *args = &call->args.attention;
    const bool ragged_q = p->flags & MHA_RAGGED_Q, ragged_kv = p->flags & MHA_RAGGED_KV;
    const struct extents q = {
        .batch = a->batch,
        .heads = p->q_heads,
        .tokens = ragged_q ? a->total_q : a->seqlen_q,
        .head_dim = p->head_dim_qk,
        .is_ragged = ragged_q,
    };
    const struct extents k = {
        .batch = a->batch,
        .heads = p->kv_heads,
        .tokens = ragged_kv ? a->total_kv : a->seqlen_kv,
        .head_dim = p->head_dim_qk,
        .is_ragged = ragged_kv,
    };
    struct extents v = k, o = q;
    v.head_dim = o.head_dim = p->head_dim_v;
    const struct {
        const char *name;
        const mha_tensor *tensor;
        const struct extents *extents;
        enum attention_buffer buffer;
        struct mha_tensor_args *args;
    } tensors[] = {
        {"q", &a->q, &q, BUFFER_Q, &args->q},
        {"k", &a->k, &k, BUFFER_K, &args->k},
        {"v", &a->v, &v, BUFFER_V, &args->v},
        {"o", &a->o, &o, BUFFER_O, &args->o},
    };
    mha_status status;
    for (size_t i = 0; i < sizeof(tensors) / sizeof(*tensors); ++i) {
        if ((status =
                 mha_add_tensor(tensors[i].name, tensors[i].tensor, tensors[i].extents, p->dtype,
                                tensors[i].buffer == BUFFER_O ? ACCESS_WRITE : ACCESS_READ, regions,
                                tensors[i].args, error)))
            return status;
        call->buffers[tensors[i].buffer] = tensors[i].tensor->memory.buffer;
    }
    call->buffers[BUFFER_SCRATCH] = a->workspace.buffer;
    return mha_add_workspace(&a->workspace, plan->workspace_bytes, mha_real_bytes(p->dtype),
                             regions, &args->scratch_offset, error);
}

static mha_status add_score_tensors(const struct mha_plan *plan, const mha_attention_args *a,
                                    struct call *call, struct regions *regions, mha_error *error) {
    const struct problem *p = &plan->problem;
    struct mha_attention_kernel_args *args = &call->args.attention;
    mha_status status;
    if ((p->flags & MHA_BIAS) &&
        (status = add_score_tensor(plan, "bias", &a->bias, a, mha_dtype_bytes(p->bias_dtype),
                                   regions, &args->bias, error)))
        return status;
    if ((p->flags & MHA_MASK) &&
        (status = add_score_tensor(plan, "mask", &a->mask, a, 1, regions, &args->mask, error)))
        return status;
    call->buffers[BUFFER_BIAS] = a->bias.memory.buffer;
    call->buffers[BUFFER_MASK] = a->mask.memory.buffer;
    return MHA_SUCCESS;
}

/* The one-dimensional buffers, each behind its flag. */
static mha_status add_vectors(const struct mha_plan *plan, const mha_attention_args *a,
                              struct call *call, struct regions *regions, mha_error *error) {
    const struct problem *p = &plan->problem;
    const size_t real = mha_real_bytes(p->dtype);
    const int64_t rows =
        p->flags & MHA_RAGGED_Q ? p->q_heads * a->total_q : a->batch * p->q_heads * a->seqlen_q;
    int64_t score_count;
    if (!mha_add_product(&score_count, 0, rows, a->seqlen_kv))
        return mha_fail(error, MHA_ERR_OVERFLOW, "%lld rows of %lld scores leave 64 bits",
                        (long long)rows, (long long)a->seqlen_kv);
    struct mha_attention_kernel_args *k = &call->args.attention;
    const struct {
        const char *name;
        uint64_t flag;
        const mha_memory *memory;
        enum attention_buffer buffer;
        int64_t elements;
        size_t element_bytes;
        enum access access;
        mha_long *offset;
    } vectors[] = {
        {"alibi_slopes", MHA_ALIBI, &a->alibi_slopes, BUFFER_SLOPES, p->q_heads, 4, ACCESS_READ,
         &k->alibi_offset},
        {"sinks", MHA_SINKS, &a->sinks, BUFFER_SINKS, p->q_heads, 4, ACCESS_READ, &k->sinks_offset},
        {"kv_lengths", MHA_KV_LENGTHS, &a->kv_lengths, BUFFER_KV_LENGTHS, a->batch, 4, ACCESS_READ,
         &k->kv_lengths_offset},
        {"cu_seqlens_q", MHA_RAGGED_Q, &a->cu_seqlens_q, BUFFER_CU_SEQLENS_Q, a->batch + 1, 4,
         ACCESS_READ, &k->cu_seqlens_q_offset},
        {"cu_seqlens_kv", MHA_RAGGED_KV, &a->cu_seqlens_kv, BUFFER_CU_SEQLENS_KV, a->batch + 1, 4,
         ACCESS_READ, &k->cu_seqlens_kv_offset},
        {"position_offsets", 0, &a->position_offsets, BUFFER_POSITIONS, a->batch, 4, ACCESS_READ,
         &k->positions_offset},
        {"lse", MHA_LSE, &a->lse, BUFFER_LSE, rows, 4, ACCESS_WRITE, &k->lse_offset},
        {"scores", MHA_SCORES, &a->scores, BUFFER_SCORES, score_count, real, ACCESS_WRITE,
         &k->scores_offset},
    };
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); ++i) {
        const bool is_on =
            vectors[i].flag ? p->flags & vectors[i].flag : p->alignment == MHA_EXPLICIT_PER_BATCH;
        if (!is_on)
            continue;
        int64_t offset = 0;
        const mha_status status =
            mha_add_region(vectors[i].name, vectors[i].memory, vectors[i].elements,
                           vectors[i].element_bytes, vectors[i].access, regions, &offset, error);
        if (status)
            return status;
        *vectors[i].offset = offset;
        call->buffers[vectors[i].buffer] = vectors[i].memory->buffer;
    }
    return MHA_SUCCESS;
}

/* A member whose flag is off would be silently ignored: say so instead. */
static mha_status check_unused(const struct problem *p, const mha_attention_args *a,
                               mha_error *error) {
    const struct {
        const char *name, *flag_name;
        uint64_t flag;
        bool is_set;
    } members[] = {
        {"bias", "MHA_BIAS", MHA_BIAS, mha_score_tensor_is_set(&a->bias)},
        {"mask", "MHA_MASK", MHA_MASK, mha_score_tensor_is_set(&a->mask)},
        {"alibi_slopes", "MHA_ALIBI", MHA_ALIBI, mha_memory_is_set(&a->alibi_slopes)},
        {"sinks", "MHA_SINKS", MHA_SINKS, mha_memory_is_set(&a->sinks)},
        {"kv_lengths", "MHA_KV_LENGTHS", MHA_KV_LENGTHS, mha_memory_is_set(&a->kv_lengths)},
        {"cu_seqlens_q", "MHA_RAGGED_Q", MHA_RAGGED_Q, mha_memory_is_set(&a->cu_seqlens_q)},
        {"cu_seqlens_kv", "MHA_RAGGED_KV", MHA_RAGGED_KV, mha_memory_is_set(&a->cu_seqlens_kv)},
        {"lse", "MHA_LSE", MHA_LSE, mha_memory_is_set(&a->lse)},
        {"scores", "MHA_SCORES", MHA_SCORES, mha_memory_is_set(&a->scores)},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); ++i)
        if (!(p->flags & members[i].flag) && members[i].is_set)
            return mha_fail(error, MHA_ERR_FLAGS, "%s is set but %s is off in the plan",
                            members[i].name, members[i].flag_name);
    if (p->alignment != MHA_EXPLICIT_PER_BATCH && mha_memory_is_set(&a->position_offsets))
        return mha_fail(error, MHA_ERR_FLAGS,
                        "position_offsets is set but the plan's alignment is %d, not "
                        "MHA_EXPLICIT_PER_BATCH",
                        (int)p->alignment);
    return MHA_SUCCESS;
}

mha_status mha_attention_read_args(mha_attention_args *a, const mha_attention_args *args,
                                   mha_error *error) {
    if (!args)
        return mha_fail(error, MHA_ERR_NULL, "args is NULL");
    return mha_read_struct(a, sizeof(*a), FIRST_ARGS_BYTES, args, "mha_attention_args", error);
}

mha_status mha_attention_check_args(const struct mha_plan *plan, const mha_attention_args *a,
                                    mha_error *error) {
    const mha_status status = check_sizes(&plan->problem, a, error);
    return status ? status : check_unused(&plan->problem, a, error);
}

mha_status mha_attention_call_init(const struct mha_plan *plan, const mha_attention_args *a,
                                   struct regions *tensors, struct regions *others,
                                   struct call *call, mha_error *error) {
    mha_status status;
    *call = (struct call){.sizes = plan->problem};
    call->sizes.batch = (int32_t)a->batch;
    call->sizes.seqlen_q = (int32_t)a->seqlen_q;
    call->sizes.seqlen_kv = (int32_t)a->seqlen_kv;
    if (!mha_attention_has_work(call))
        return MHA_SUCCESS;
    mha_kernel_args_init(&call->sizes, &call->args);
    call->args.attention.total_q = a->total_q;
    call->args.attention.total_kv = a->total_kv;
    call->args.attention.position_offset = (mha_int)a->position_offset;
    if ((status = add_tensors(plan, a, call, tensors, error)) ||
        (status = add_score_tensors(plan, a, call, others, error)) ||
        (status = add_vectors(plan, a, call, others, error)))
        return status;
    mha_call_fill_buffers(call);
    return MHA_SUCCESS;
}
