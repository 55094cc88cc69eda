/* In: mha_attention_args. Out: struct call, or the first thing that is wrong with them. */
#include "args.h"

#include <string.h>

/* Of version 0.1: what every caller has. Never to change. */
#define FIRST_ARGS_BYTES (offsetof(mha_attention_args, first_event) + sizeof(cl_event *))

struct axis {
    int64_t count, stride;
    const char *name;
};

/* A part of a buffer that the call reads or writes, in bytes of the root buffer. */
struct region {
    const char *name;
    cl_mem root;
    uint64_t begin, end; /* empty where equal */
    bool is_output;
    struct axis axes[3]; /* of q, k, v and o, in bytes; the others are contiguous: row_bytes 0 */
    int64_t row_bytes;
};

struct regions {
    struct region list[BUFFER_COUNT];
    int count;
};

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

/* Resolves a memory reference of `elements` elements: context, alignment, size. */
static mha_status add_region(const struct mha_plan *plan, const char *name,
                             const mha_memory *memory, int64_t elements, size_t element_bytes,
                             bool is_output, struct regions *regions, int64_t *offset,
                             mha_error *error) {
    if (memory->kind != MHA_BUFFER)
        return mha_fail(error, MHA_ERR_UNSUPPORTED, "%s.kind is %d; only MHA_BUFFER is known", name,
                        (int)memory->kind);
    if (!memory->buffer) {
        if (elements == 0)
            return MHA_SUCCESS;
        return mha_fail(error, MHA_ERR_NULL, "%s has no buffer", name);
    }
    if (memory->offset_bytes % element_bytes)
        return mha_fail(error, MHA_ERR_MISALIGNED,
                        "%s.offset_bytes is %zu, not a multiple of its element's %zu bytes", name,
                        memory->offset_bytes, element_bytes);
    cl_context context = NULL;
    cl_mem parent = NULL;
    cl_mem_object_type type = 0;
    cl_mem_flags flags = 0;
    size_t size = 0, origin = 0;
    cl_int code;
    if ((code =
             clGetMemObjectInfo(memory->buffer, CL_MEM_CONTEXT, sizeof(context), &context, NULL)))
        return mha_fail_code(error, MHA_ERR_CONTEXT, code, "%s.buffer is no OpenCL buffer", name);
    if (context != plan->engine->context)
        return mha_fail(error, MHA_ERR_CONTEXT, "%s.buffer is of another context than the engine",
                        name);
    if ((code = clGetMemObjectInfo(memory->buffer, CL_MEM_TYPE, sizeof(type), &type, NULL)) ||
        (code = clGetMemObjectInfo(memory->buffer, CL_MEM_FLAGS, sizeof(flags), &flags, NULL)) ||
        (code = clGetMemObjectInfo(memory->buffer, CL_MEM_SIZE, sizeof(size), &size, NULL)) ||
        (code = clGetMemObjectInfo(memory->buffer, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof(parent),
                                   &parent, NULL)) ||
        (parent &&
         (code = clGetMemObjectInfo(memory->buffer, CL_MEM_OFFSET, sizeof(origin), &origin, NULL))))
        return mha_fail_cl(error, code, "clGetMemObjectInfo");
    if (type != CL_MEM_OBJECT_BUFFER)
        return mha_fail(error, MHA_ERR_CONTEXT, "%s.buffer is an image or pipe (type 0x%x)", name,
                        (unsigned)type);
    if (flags & (is_output ? CL_MEM_READ_ONLY : CL_MEM_WRITE_ONLY))
        return mha_fail(error, MHA_ERR_CONTEXT, "%s.buffer is %s for the device", name,
                        is_output ? "CL_MEM_READ_ONLY" : "CL_MEM_WRITE_ONLY");
    int64_t bytes;
    if (!mha_add_product(&bytes, 0, elements, (int64_t)element_bytes) ||
        memory->offset_bytes > size || (uint64_t)bytes > size - memory->offset_bytes)
        return mha_fail(error, MHA_ERR_BUFFER_SIZE,
                        "%s needs %lld elements of %zu bytes from byte %zu on; its buffer has %zu "
                        "bytes",
                        name, (long long)elements, element_bytes, memory->offset_bytes, size);
    *offset = (int64_t)(memory->offset_bytes / element_bytes);
    regions->list[regions->count++] = (struct region){
        .name = name,
        .root = parent ? parent : memory->buffer,
        .begin = origin + memory->offset_bytes,
        .end = origin + memory->offset_bytes + (uint64_t)bytes,
        .is_output = is_output,
    };
    return MHA_SUCCESS;
}

/* Elements from the first to the last, `dim` of them in each row; 0 where an axis is empty. */
static mha_status get_extent(const char *tensor, const struct axis *axes, int axis_count,
                             int64_t dim, int64_t *extent, mha_error *error) {
    *extent = dim;
    for (int i = 0; i < axis_count; ++i)
        if (axes[i].stride < 0)
            return mha_fail(error, MHA_ERR_STRIDE, "%s.stride_%s is %lld, less than 0", tensor,
                            axes[i].name, (long long)axes[i].stride);
    for (int i = 0; i < axis_count; ++i)
        if (axes[i].count == 0) {
            *extent = 0;
            return MHA_SUCCESS;
        }
    for (int i = 0; i < axis_count; ++i)
        if (!mha_add_product(extent, *extent, axes[i].count - 1, axes[i].stride))
            return mha_fail(
                error, MHA_ERR_OVERFLOW, "%s: %lld steps of stride_%s %lld leave 64 bits", tensor,
                (long long)(axes[i].count - 1), axes[i].name, (long long)axes[i].stride);
    return MHA_SUCCESS;
}

/* Rows of an output must not touch: each axis, taken by rising stride, must step over all that the
 * smaller ones reach. */
static mha_status check_output_strides(const struct axis *axes, int64_t dim, mha_error *error) {
    struct axis sorted[3] = {axes[0], axes[1], axes[2]};
    for (int i = 0; i < 3; ++i)
        for (int j = i + 1; j < 3; ++j)
            if (sorted[j].stride < sorted[i].stride) {
                const struct axis swap = sorted[i];
                sorted[i] = sorted[j];
                sorted[j] = swap;
            }
    int64_t reach = dim;
    for (int i = 0; i < 3; ++i) {
        if (sorted[i].count <= 1)
            continue;
        if (sorted[i].stride < reach)
            return mha_fail(
                error, MHA_ERR_STRIDE,
                "o.stride_%s is %lld: rows of o would overlap, it must be at least %lld",
                sorted[i].name, (long long)sorted[i].stride, (long long)reach);
        reach += (sorted[i].count - 1) * sorted[i].stride; /* within the extent: no overflow */
    }
    return MHA_SUCCESS;
}

static mha_status add_tensor(const struct mha_plan *plan, const char *name,
                             const mha_tensor *tensor, int64_t batch, int64_t heads, int64_t tokens,
                             int64_t dim, bool is_ragged, bool is_output, struct regions *regions,
                             struct mha_tensor_args *args, mha_error *error) {
    const struct axis axes[] = {
        {is_ragged ? 1 : batch, tensor->stride_batch, "batch"},
        {heads, tensor->stride_head, "head"},
        {tokens, tensor->stride_token, "token"},
    };
    const int count = regions->count;
    int64_t extent, offset = 0;
    mha_status status;
    if (is_ragged && tensor->stride_batch)
        return mha_fail(error, MHA_ERR_STRIDE, "%s is ragged but its stride_batch is %lld, not 0",
                        name, (long long)tensor->stride_batch);
    if ((status = get_extent(name, axes, 3, dim, &extent, error)) ||
        (is_output && extent && (status = check_output_strides(axes, dim, error))) ||
        (status =
             add_region(plan, name, &tensor->memory, extent, mha_dtype_bytes(plan->problem.dtype),
                        is_output, regions, &offset, error)))
        return status;
    if (regions->count > count) {
        struct region *region = &regions->list[count];
        const int64_t bytes = (int64_t)mha_dtype_bytes(plan->problem.dtype);
        region->row_bytes = dim * bytes;
        /* An axis of one element has no stride to speak of: the caller's may be anything. */
        for (int i = 0; i < 3; ++i)
            if (axes[i].count > 1)
                region->axes[i] = (struct axis){axes[i].count, axes[i].stride * bytes, NULL};
    }
    *args = (struct mha_tensor_args){offset, tensor->stride_batch, tensor->stride_head,
                                     tensor->stride_token};
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
    if ((status = get_extent(name, axes, 4, 1, &extent, error)) ||
        (status = add_region(plan, name, &tensor->memory, extent, element_bytes, false, regions,
                             &offset, error)))
        return status;
    *args = (struct mha_score_args){offset, tensor->stride_batch, tensor->stride_head,
                                    tensor->stride_query, tensor->stride_key};
    return MHA_SUCCESS;
}

/* Bytes that a tensor reaches within one step of `step` bytes: axes that move by whole steps do
 * not count. */
static int64_t reach_within(const struct region *r, int64_t step) {
    int64_t reach = r->row_bytes;
    for (int i = 0; i < 3; ++i)
        if (r->axes[i].count > 1 && r->axes[i].stride % step)
            reach += (r->axes[i].count - 1) * r->axes[i].stride;
    return reach;
}

/* Two tensors may lie interleaved in one buffer, as packed q, k and v do. They are disjoint if for
 * some stride of either both stay within their own part of each step. */
static bool are_interleaved(const struct region *a, const struct region *b) {
    if (!a->row_bytes || !b->row_bytes)
        return false;
    for (int i = 0; i < 6; ++i) {
        const int64_t step = i < 3 ? a->axes[i].stride : b->axes[i - 3].stride;
        if (step <= 0)
            continue;
        const int64_t a_reach = reach_within(a, step), b_reach = reach_within(b, step);
        const int64_t distance =
            (int64_t)((b->begin % (uint64_t)step + (uint64_t)step - a->begin % (uint64_t)step) %
                      (uint64_t)step);
        if (a_reach <= distance && b_reach <= step - distance)
            return true;
    }
    return false;
}

static mha_status check_aliases(const struct regions *regions, mha_error *error) {
    for (int i = 0; i < regions->count; ++i)
        for (int j = 0; j < regions->count; ++j) {
            const struct region *out = &regions->list[i], *other = &regions->list[j];
            if (i == j || !out->is_output || out->root != other->root || out->begin >= other->end ||
                other->begin >= out->end || are_interleaved(out, other))
                continue;
            return mha_fail(
                error, MHA_ERR_ALIAS, "%s (bytes %llu to %llu) overlaps %s (bytes %llu to %llu)",
                out->name, (unsigned long long)out->begin, (unsigned long long)out->end,
                other->name, (unsigned long long)other->begin, (unsigned long long)other->end);
        }
    return MHA_SUCCESS;
}

bool mha_call_has_work(const struct call *call) {
    return call->sizes.batch > 0 && call->sizes.seqlen_q > 0;
}

static mha_status add_tensors(const struct mha_plan *plan, const mha_attention_args *a,
                              struct call *call, struct regions *regions, mha_error *error) {
    const struct problem *p = &plan->problem;
    const bool ragged_q = p->flags & MHA_RAGGED_Q, ragged_kv = p->flags & MHA_RAGGED_KV;
    const int64_t q_tokens = ragged_q ? a->total_q : a->seqlen_q;
    const int64_t kv_tokens = ragged_kv ? a->total_kv : a->seqlen_kv;
    mha_status status;
    if ((status = add_tensor(plan, "q", &a->q, a->batch, p->q_heads, q_tokens, p->head_dim_qk,
                             ragged_q, false, regions, &call->args.q, error)) ||
        (status = add_tensor(plan, "k", &a->k, a->batch, p->kv_heads, kv_tokens, p->head_dim_qk,
                             ragged_kv, false, regions, &call->args.k, error)) ||
        (status = add_tensor(plan, "v", &a->v, a->batch, p->kv_heads, kv_tokens, p->head_dim_v,
                             ragged_kv, false, regions, &call->args.v, error)) ||
        (status = add_tensor(plan, "o", &a->o, a->batch, p->q_heads, q_tokens, p->head_dim_v,
                             ragged_q, true, regions, &call->args.o, error)))
        return status;
    if ((p->flags & MHA_BIAS) &&
        (status = add_score_tensor(plan, "bias", &a->bias, a, mha_dtype_bytes(p->bias_dtype),
                                   regions, &call->args.bias, error)))
        return status;
    if ((p->flags & MHA_MASK) &&
        (status = add_score_tensor(plan, "mask", &a->mask, a, 1, regions, &call->args.mask, error)))
        return status;
    call->buffers[BUFFER_Q] = a->q.memory.buffer;
    call->buffers[BUFFER_K] = a->k.memory.buffer;
    call->buffers[BUFFER_V] = a->v.memory.buffer;
    call->buffers[BUFFER_O] = a->o.memory.buffer;
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
    int64_t workspace_offset = 0;
    struct mha_kernel_args *k = &call->args;
    const struct {
        const char *name;
        uint64_t flag;
        const mha_memory *memory;
        enum attention_buffer buffer;
        int64_t elements;
        size_t element_bytes;
        bool is_output;
        mha_long *offset;
    } vectors[] = {
        {"alibi_slopes", MHA_ALIBI, &a->alibi_slopes, BUFFER_SLOPES, p->q_heads, 4, false,
         &k->alibi_offset},
        {"sinks", MHA_SINKS, &a->sinks, BUFFER_SINKS, p->q_heads, 4, false, &k->sinks_offset},
        {"kv_lengths", MHA_KV_LENGTHS, &a->kv_lengths, BUFFER_KV_LENGTHS, a->batch, 4, false,
         &k->kv_lengths_offset},
        {"cu_seqlens_q", MHA_RAGGED_Q, &a->cu_seqlens_q, BUFFER_CU_SEQLENS_Q, a->batch + 1, 4,
         false, &k->cu_seqlens_q_offset},
        {"cu_seqlens_kv", MHA_RAGGED_KV, &a->cu_seqlens_kv, BUFFER_CU_SEQLENS_KV, a->batch + 1, 4,
         false, &k->cu_seqlens_kv_offset},
        {"position_offsets", 0, &a->position_offsets, BUFFER_POSITIONS, a->batch, 4, false,
         &k->positions_offset},
        {"lse", MHA_LSE, &a->lse, BUFFER_LSE, rows, 4, true, &k->lse_offset},
        {"scores", MHA_SCORES, &a->scores, BUFFER_SCORES, score_count, real, true,
         &k->scores_offset},
    };
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); ++i) {
        const bool is_on =
            vectors[i].flag ? p->flags & vectors[i].flag : p->alignment == MHA_EXPLICIT_PER_BATCH;
        if (!is_on)
            continue;
        int64_t offset = 0;
        const mha_status status =
            add_region(plan, vectors[i].name, vectors[i].memory, vectors[i].elements,
                       vectors[i].element_bytes, vectors[i].is_output, regions, &offset, error);
        if (status)
            return status;
        *vectors[i].offset = offset;
        call->buffers[vectors[i].buffer] = vectors[i].memory->buffer;
    }
    if (!plan->workspace_bytes)
        return MHA_SUCCESS;
    mha_error found;
    mha_status status =
        add_region(plan, "workspace", &a->workspace, (int64_t)(plan->workspace_bytes / real), real,
                   true, regions, &workspace_offset, &found);
    if (status == MHA_ERR_NULL || status == MHA_ERR_BUFFER_SIZE)
        status = found.status = MHA_ERR_WORKSPACE;
    if (status && error)
        *error = found;
    k->scratch_offset = workspace_offset;
    call->buffers[BUFFER_SCRATCH] = a->workspace.buffer;
    return status;
}

static bool is_zero(const void *memory, size_t bytes) {
    const char *p = memory;
    for (size_t i = 0; i < bytes; ++i)
        if (p[i])
            return false;
    return true;
}

/* A member whose flag is off would be silently ignored: say so instead. */
static mha_status check_unused(const struct problem *p, const mha_attention_args *a,
                               mha_error *error) {
    const struct {
        const char *name;
        uint64_t flag;
        const void *member;
        size_t bytes;
    } members[] = {
        {"bias", MHA_BIAS, &a->bias, sizeof(a->bias)},
        {"mask", MHA_MASK, &a->mask, sizeof(a->mask)},
        {"alibi_slopes", MHA_ALIBI, &a->alibi_slopes, sizeof(a->alibi_slopes)},
        {"sinks", MHA_SINKS, &a->sinks, sizeof(a->sinks)},
        {"kv_lengths", MHA_KV_LENGTHS, &a->kv_lengths, sizeof(a->kv_lengths)},
        {"cu_seqlens_q", MHA_RAGGED_Q, &a->cu_seqlens_q, sizeof(a->cu_seqlens_q)},
        {"cu_seqlens_kv", MHA_RAGGED_KV, &a->cu_seqlens_kv, sizeof(a->cu_seqlens_kv)},
        {"lse", MHA_LSE, &a->lse, sizeof(a->lse)},
        {"scores", MHA_SCORES, &a->scores, sizeof(a->scores)},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); ++i)
        if (!(p->flags & members[i].flag) && !is_zero(members[i].member, members[i].bytes))
            return mha_fail(error, MHA_ERR_FLAGS,
                            "%s is set but its flag 0x%llx is off in the plan", members[i].name,
                            (unsigned long long)members[i].flag);
    if (p->alignment != MHA_EXPLICIT_PER_BATCH &&
        !is_zero(&a->position_offsets, sizeof(a->position_offsets)))
        return mha_fail(error, MHA_ERR_FLAGS,
                        "position_offsets is set but the plan's alignment is %d, not "
                        "MHA_EXPLICIT_PER_BATCH",
                        (int)p->alignment);
    return MHA_SUCCESS;
}

mha_status mha_call_init(const struct mha_plan *plan, const mha_attention_args *args,
                         struct call *call, mha_error *error) {
    mha_attention_args a;
    struct regions regions = {.count = 0};
    mha_status status;
    if (!args)
        return mha_fail(error, MHA_ERR_NULL, "args is NULL");
    if ((status =
             mha_read_struct(&a, sizeof(a), FIRST_ARGS_BYTES, args, "mha_attention_args", error)) ||
        (status = check_sizes(&plan->problem, &a, error)) ||
        (status = check_unused(&plan->problem, &a, error)))
        return status;
    *call = (struct call){.sizes = plan->problem};
    call->sizes.batch = (int32_t)a.batch;
    call->sizes.seqlen_q = (int32_t)a.seqlen_q;
    call->sizes.seqlen_kv = (int32_t)a.seqlen_kv;
    if (!mha_call_has_work(call))
        return MHA_SUCCESS;
    call->args = mha_kernel_args_init(&call->sizes);
    call->args.total_q = a.total_q;
    call->args.total_kv = a.total_kv;
    call->args.position_offset = (mha_int)a.position_offset;
    if ((status = add_tensors(plan, &a, call, &regions, error)) ||
        (status = add_vectors(plan, &a, call, &regions, error)) ||
        (status = check_aliases(&regions, error)))
        return status;
    /* Kernels take every buffer; those that this call does not use are never touched. With no
     * query token at all (ragged, total_q 0) there may be none to stand in. */
    cl_mem any = NULL;
    for (int i = 0; i < BUFFER_COUNT; ++i)
        any = any ? any : call->buffers[i];
    for (int i = 0; i < BUFFER_COUNT; ++i)
        if (!call->buffers[i])
            call->buffers[i] = any;
    return MHA_SUCCESS;
}
