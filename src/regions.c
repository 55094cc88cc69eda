/* In: an application's references to device memory. Out: where they lie, or what is wrong with
 * them. */
#include "regions.h"

/* A buffer of this call is not asked for what is known of it: a query takes some runtimes as long
 * as all that the library does itself for an argument. */
static const struct buffer *find_known(const struct regions *regions, cl_mem handle) {
    for (int i = 0; i < regions->count; ++i)
        if (regions->list[i].buffer.handle == handle)
            return &regions->list[i].buffer;
    return NULL;
}

static mha_status query_buffer(const char *name, cl_mem handle, const mha_engine *engine,
                               struct buffer *found, mha_error *error) {
    cl_context context = NULL;
    cl_mem parent = NULL;
    cl_mem_object_type type = 0;
    cl_int code;
    *found = (struct buffer){.handle = handle};
    if ((code = clGetMemObjectInfo(handle, CL_MEM_CONTEXT, sizeof(context), &context, NULL)))
        return mha_fail_code(error, MHA_ERR_CONTEXT, code, "%s.buffer is no OpenCL buffer", name);
    if (context != engine->context)
        return mha_fail(error, MHA_ERR_CONTEXT, "%s.buffer is of another context than the engine",
                        name);
    if ((code = clGetMemObjectInfo(handle, CL_MEM_TYPE, sizeof(type), &type, NULL)) ||
        (code =
             clGetMemObjectInfo(handle, CL_MEM_FLAGS, sizeof(found->flags), &found->flags, NULL)) ||
        (code = clGetMemObjectInfo(handle, CL_MEM_SIZE, sizeof(found->size), &found->size, NULL)) ||
        (code = clGetMemObjectInfo(handle, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof(parent), &parent,
                                   NULL)) ||
        (parent && (code = clGetMemObjectInfo(handle, CL_MEM_OFFSET, sizeof(found->origin),
                                              &found->origin, NULL))))
        return mha_fail_cl(error, code, "clGetMemObjectInfo");
    if (type != CL_MEM_OBJECT_BUFFER)
        return mha_fail(error, MHA_ERR_CONTEXT, "%s.buffer is an image or pipe (type 0x%x)", name,
                        (unsigned)type);
    found->root = parent ? parent : handle;
    return MHA_SUCCESS;
}

mha_status mha_add_region(const char *name, const mha_memory *memory, int64_t elements,
                          size_t element_bytes, enum access access, struct regions *regions,
                          int64_t *offset, mha_error *error) {
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
    const struct buffer *known = find_known(regions, memory->buffer);
    struct buffer buffer;
    mha_status status;
    if (known)
        buffer = *known;
    else if ((status = query_buffer(name, memory->buffer, regions->engine, &buffer, error)))
        return status;
    const cl_mem_flags refused = (access & ACCESS_READ ? CL_MEM_WRITE_ONLY : 0) |
                                 (access & ACCESS_WRITE ? CL_MEM_READ_ONLY : 0);
    if (buffer.flags & refused)
        return mha_fail(error, MHA_ERR_CONTEXT, "%s.buffer is %s for the device", name,
                        buffer.flags & CL_MEM_READ_ONLY ? "CL_MEM_READ_ONLY" : "CL_MEM_WRITE_ONLY");
    int64_t bytes;
    if (!mha_add_product(&bytes, 0, elements, (int64_t)element_bytes) ||
        memory->offset_bytes > buffer.size || (uint64_t)bytes > buffer.size - memory->offset_bytes)
        return mha_fail(error, MHA_ERR_BUFFER_SIZE,
                        "%s needs %lld elements of %zu bytes from byte %zu on; its buffer has %zu "
                        "bytes",
                        name, (long long)elements, element_bytes, memory->offset_bytes,
                        buffer.size);
    *offset = (int64_t)(memory->offset_bytes / element_bytes);
    regions->list[regions->count++] = (struct region){
        .name = name,
        .buffer = buffer,
        .begin = buffer.origin + memory->offset_bytes,
        .end = buffer.origin + memory->offset_bytes + (uint64_t)bytes,
        .access = access,
    };
    return MHA_SUCCESS;
}

mha_status mha_add_workspace(const mha_memory *memory, size_t bytes, size_t element_bytes,
                             struct regions *regions, int64_t *offset, mha_error *error) {
    mha_error found;
    if (!bytes)
        return MHA_SUCCESS;
    mha_status status = mha_add_region("workspace", memory, (int64_t)(bytes / element_bytes),
                                       element_bytes, ACCESS_READ_WRITE, regions, offset, &found);
    if (status == MHA_ERR_NULL || status == MHA_ERR_BUFFER_SIZE)
        status = found.status = MHA_ERR_WORKSPACE;
    if (status && error)
        *error = found;
    return status;
}

mha_status mha_get_extent(const char *tensor, const struct axis *axes, int axis_count, int64_t dim,
                          int64_t *extent, mha_error *error) {
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
static mha_status check_output_strides(const char *name, const struct axis *axes, int64_t dim,
                                       mha_error *error) {
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
                "%s.stride_%s is %lld: rows of %s would overlap, it must be at least %lld", name,
                sorted[i].name, (long long)sorted[i].stride, name, (long long)reach);
        reach += (sorted[i].count - 1) * sorted[i].stride; /* within the extent: no overflow */
    }
    return MHA_SUCCESS;
}

mha_status mha_add_tensor(const char *name, const mha_tensor *tensor, const struct extents *e,
                          mha_dtype dtype, enum access access, struct regions *regions,
                          struct mha_tensor_args *args, mha_error *error) {
    const struct axis axes[] = {
        {e->is_ragged ? 1 : e->batch, tensor->stride_batch, "batch"},
        {e->heads, tensor->stride_head, "head"},
        {e->tokens, tensor->stride_token, e->token_axis ? e->token_axis : "token"},
    };
    const int count = regions->count;
    int64_t extent, offset = 0;
    mha_status status;
    if (e->is_ragged && tensor->stride_batch)
        return mha_fail(error, MHA_ERR_STRIDE,
                        "%s is ragged, [token][..], but its stride_batch is %lld, not 0", name,
                        (long long)tensor->stride_batch);
    if (!tensor->memory.buffer && axes[0].count && axes[1].count && axes[2].count)
        return mha_fail(error, MHA_ERR_NULL, "%s has no buffer", name);
    if ((status = mha_get_extent(name, axes, 3, e->head_dim, &extent, error)) ||
        ((access & ACCESS_WRITE) && extent &&
         (status = check_output_strides(name, axes, e->head_dim, error))) ||
        (status = mha_add_region(name, &tensor->memory, extent, mha_dtype_bytes(dtype), access,
                                 regions, &offset, error)))
        return status;
    if (regions->count > count) {
        struct region *region = &regions->list[count];
        const int64_t bytes = (int64_t)mha_dtype_bytes(dtype);
        region->row_bytes = e->head_dim * bytes;
        /* An axis of one element has no stride to speak of: the caller's may be anything. */
        for (int i = 0; i < 3; ++i)
            if (axes[i].count > 1)
                region->axes[i] = (struct axis){axes[i].count, axes[i].stride * bytes, NULL};
    }
    *args = (struct mha_tensor_args){offset, tensor->stride_batch, tensor->stride_head,
                                     tensor->stride_token};
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

mha_status mha_check_aliases(const struct regions *regions, mha_error *error) {
    for (int i = 0; i < regions->count; ++i)
        for (int j = 0; j < regions->count; ++j) {
            const struct region *out = &regions->list[i], *other = &regions->list[j];
            if (i == j || !(out->access & ACCESS_WRITE) || out->buffer.root != other->buffer.root ||
                out->begin >= other->end || other->begin >= out->end || are_interleaved(out, other))
                continue;
            return mha_fail(
                error, MHA_ERR_ALIAS, "%s (bytes %llu to %llu) overlaps %s (bytes %llu to %llu)",
                out->name, (unsigned long long)out->begin, (unsigned long long)out->end,
                other->name, (unsigned long long)other->begin, (unsigned long long)other->end);
        }
    return MHA_SUCCESS;
}

bool mha_memory_is_set(const mha_memory *m) {
    return m->kind || m->pointer || m->offset_bytes;
}

bool mha_tensor_is_set(const mha_tensor *t) {
    return mha_memory_is_set(&t->memory) || t->stride_batch || t->stride_head || t->stride_token;
}

bool mha_score_tensor_is_set(const mha_score_tensor *t) {
    return mha_memory_is_set(&t->memory) || t->stride_batch || t->stride_head || t->stride_query ||
           t->stride_key;
}
