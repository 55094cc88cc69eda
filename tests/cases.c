/* In: a test case. Out: seeded inputs in buffers with canaries around every tensor, and the same
 * inputs as the reference reads them. */
#include "cases.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int64_t max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

int64_t view_index(const struct test_view *view, int64_t x0, int64_t x1, int64_t x2, int64_t x3) {
    const int64_t *stride = view->tensor.stride;
    return view->offset + x0 * stride[0] + x1 * stride[1] + x2 * stride[2] + x3 * stride[3];
}

double view_get(const struct test_view *view, int64_t x0, int64_t x1, int64_t x2, int64_t x3) {
    return view->buffer->values[view_index(view, x0, x1, x2, x3)];
}

void view_put(const struct test_view *view, int64_t x0, int64_t x1, int64_t x2, int64_t x3,
              double value) {
    const int64_t index = view_index(view, x0, x1, x2, x3);
    view->buffer->values[index] = number_put(view->buffer->type, view->buffer->image, index, value);
}

size_t view_offset_bytes(const struct test_view *view) {
    return (size_t)view->offset * number_bytes(view->buffer->type);
}

void buffer_init(struct test_buffer *buffer, enum number type, int64_t elements) {
    *buffer = (struct test_buffer){.type = type, .bytes = (size_t)elements * number_bytes(type)};
    buffer->image = malloc(buffer->bytes);
    buffer->values = malloc((size_t)elements * sizeof(double));
    cr_assert(buffer->image && buffer->values, "no memory for %zu bytes", buffer->bytes);
    for (size_t i = 0; i < buffer->bytes; ++i)
        buffer->image[i] = (unsigned char)(i % 2 ? CANARY_BITS >> 8 : CANARY_BITS & 255);
}

static struct test_buffer *add_buffer(struct case_data *data, enum number type, int64_t elements) {
    cr_assert_lt(data->buffer_count, MAX_BUFFERS);
    struct test_buffer *buffer = &data->buffers[data->buffer_count++];
    buffer_init(buffer, type, elements);
    return buffer;
}

/* A view in a buffer of its own (shared is NULL) or at `part` elements into that of `shared`. The
 * buffer begins with the canaries and, for padded layouts, an odd number of elements more. */
static struct test_view make_view(struct case_data *data, enum number type, const int64_t extent[4],
                                  const int64_t stride[4], const struct test_view *shared,
                                  int64_t part, int64_t shared_elements) {
    struct test_view view = {0};
    int64_t last = 0;
    for (int axis = 0; axis < 4; ++axis) {
        view.extent[axis] = extent[axis];
        view.tensor.stride[axis] = stride[axis];
        last += max(extent[axis] - 1, 0) * stride[axis];
    }
    const int64_t shift = data->test.layout == LAYOUT_PADDED ? 1 + 2 * (data->buffer_count % 4) : 0;
    view.buffer = shared ? shared->buffer
                         : add_buffer(data, type,
                                      2 * CANARY_ELEMENTS + shift + max(last + 1, shared_elements));
    view.offset = shared ? shared->offset + part : CANARY_ELEMENTS + shift;
    view.tensor.data = view.buffer->values + view.offset;
    return view;
}

static struct test_view make_vector(struct case_data *data, enum number type, int64_t count) {
    return make_view(data, type, (int64_t[]){1, 1, 1, count}, (int64_t[]){0, 0, 0, 1}, NULL, 0, 0);
}

static struct test_view make_tokens(struct case_data *data, enum layout layout, bool is_ragged,
                                    int64_t heads, int64_t tokens, int64_t width) {
    const int64_t batch = is_ragged ? 1 : data->test.batch;
    const int64_t extent[4] = {batch, heads, tokens, width};
    int64_t stride[4] = {heads * tokens * width, tokens * width, width, 1};
    if (layout == LAYOUT_PADDED) {
        stride[2] = width + 3;
        stride[1] = tokens * stride[2] + 5;
        stride[0] = heads * stride[1] + 7;
    } else if (layout == LAYOUT_BROADCAST_KV) {
        stride[0] = stride[1] = 0;
    } else if (layout != LAYOUT_BHND) {
        stride[1] = width;
        stride[2] = heads * width;
    }
    if (is_ragged)
        stride[0] = 0;
    return make_view(data, (enum number)data->test.dtype, extent, stride, NULL, 0, 0);
}

/* Parts of one buffer [batch][tokens][row], each with heads * width of a row's elements. */
static struct test_view make_part(struct case_data *data, bool is_ragged, int64_t heads,
                                  int64_t tokens, int64_t width, int64_t row, int64_t part,
                                  const struct test_view *shared) {
    const int64_t batch = is_ragged ? 1 : data->test.batch;
    return make_view(data, (enum number)data->test.dtype, (int64_t[]){batch, heads, tokens, width},
                     (int64_t[]){is_ragged ? 0 : tokens * row, width, row, 1}, shared, part,
                     batch * tokens * row);
}

static void make_qkvo(struct case_data *data) {
    const struct test_case *t = &data->test;
    const bool ragged_q = t->flags & MHA_RAGGED_Q, ragged_kv = t->flags & MHA_RAGGED_KV;
    const int64_t tokens_q = ragged_q ? data->in.total_q : t->seqlen_q;
    const int64_t tokens_kv = ragged_kv ? data->in.total_kv : t->seqlen_kv;
    if (t->layout == LAYOUT_PACKED_QKV) {
        const int64_t width = t->q_heads * t->head_dim_qk;
        data->q =
            make_part(data, ragged_q, t->q_heads, tokens_q, t->head_dim_qk, 3 * width, 0, NULL);
        data->k = make_part(data, ragged_q, t->q_heads, tokens_q, t->head_dim_qk, 3 * width, width,
                            &data->q);
        data->v = make_part(data, ragged_q, t->q_heads, tokens_q, t->head_dim_qk, 3 * width,
                            2 * width, &data->q);
    } else if (t->layout == LAYOUT_INTERLEAVED) {
        const int64_t row = t->kv_heads * (t->head_dim_qk + t->head_dim_v);
        data->q = make_tokens(data, LAYOUT_BNHD, ragged_q, t->q_heads, tokens_q, t->head_dim_qk);
        data->k = make_part(data, ragged_kv, t->kv_heads, tokens_kv, t->head_dim_qk, row, 0, NULL);
        data->v = make_part(data, ragged_kv, t->kv_heads, tokens_kv, t->head_dim_v, row,
                            t->kv_heads * t->head_dim_qk, &data->k);
    } else {
        const enum layout layout_q = t->layout == LAYOUT_BROADCAST_KV ? LAYOUT_BNHD : t->layout;
        data->q = make_tokens(data, layout_q, ragged_q, t->q_heads, tokens_q, t->head_dim_qk);
        data->k = make_tokens(data, t->layout, ragged_kv, t->kv_heads, tokens_kv, t->head_dim_qk);
        data->v = make_tokens(data, t->layout, ragged_kv, t->kv_heads, tokens_kv, t->head_dim_v);
    }
    const bool is_like_q = t->layout == LAYOUT_BHND || t->layout == LAYOUT_PADDED;
    data->o = make_tokens(data, is_like_q ? t->layout : LAYOUT_BNHD, ragged_q, t->q_heads, tokens_q,
                          t->head_dim_v);
}

static struct test_view make_score_view(struct case_data *data, enum number type,
                                        unsigned broadcast) {
    const struct test_case *t = &data->test;
    const bool is_padded = t->layout == LAYOUT_PADDED;
    const int64_t size[4] = {t->batch, t->q_heads, t->seqlen_q, t->seqlen_kv};
    int64_t extent[4], stride[4], next = is_padded ? 2 : 1;
    for (int axis = 3; axis >= 0; --axis) {
        extent[axis] = broadcast >> axis & 1 ? 1 : size[axis];
        stride[axis] = broadcast >> axis & 1 ? 0 : next;
        next = next * extent[axis] + (is_padded ? 3 : 0);
    }
    const struct test_view view = make_view(data, type, extent, stride, NULL, 0, 0);
    if (t->is_tight) {
        view.buffer->is_tight = true;
        view.buffer->bytes -= CANARY_ELEMENTS * number_bytes(type);
    }
    return view;
}

/* ---- The case ------------------------------------------------------------------------------ */

void case_get_desc(const struct test_case *t, mha_attention_desc *desc) {
    *desc = (mha_attention_desc)MHA_ATTENTION_DESC_INIT;
    desc->flags = t->flags;
    desc->dtype = t->dtype;
    desc->bias_dtype = t->bias_dtype;
    desc->q_heads = t->q_heads;
    desc->kv_heads = t->kv_heads;
    desc->head_dim_qk = t->head_dim_qk;
    desc->head_dim_v = t->head_dim_v;
    desc->max_batch = t->batch + t->slack;
    desc->max_seqlen_q = t->seqlen_q + t->slack;
    desc->max_seqlen_kv = t->seqlen_kv + t->slack;
    desc->scale = t->scale;
    desc->softcap = t->softcap;
    desc->window_left = t->window_left;
    desc->window_right = t->window_right;
    desc->alignment = t->alignment;
    desc->scores_stage = t->scores_stage;
    desc->variant = t->variant;
}

/* Cumulative lengths: the first entry has the longest sequence, entry `empty` none at all. Where
 * there is room, two tokens stay behind the last sequence: nothing may be written there. */
static int64_t fill_cu_seqlens(const struct test_view *view, int64_t batch, int64_t longest,
                               int64_t empty, uint64_t seed) {
    struct random random = {seed};
    int64_t total = 0;
    view_put(view, 0, 0, 0, 0, 0);
    for (int64_t b = 0; b < batch; ++b) {
        int64_t length = b == 0 ? longest : random_integer(&random, 0, longest);
        if (b && b == empty)
            length = 0;
        total += length;
        view_put(view, 0, 0, 0, b + 1, (double)total);
    }
    return total + 2 < batch * longest ? total + 2 : batch * longest;
}

static void make_lengths(struct case_data *data) {
    const struct test_case *t = &data->test;
    const bool is_packed = t->layout == LAYOUT_PACKED_QKV;
    if (t->flags & MHA_RAGGED_Q) {
        data->cu_seqlens_q = make_vector(data, NUMBER_I32, t->batch + 1);
        data->in.total_q = fill_cu_seqlens(&data->cu_seqlens_q, t->batch, t->seqlen_q, 1, t->seed);
    }
    if (t->flags & MHA_RAGGED_KV) {
        data->cu_seqlens_kv = make_vector(data, NUMBER_I32, t->batch + 1);
        data->in.total_kv = fill_cu_seqlens(&data->cu_seqlens_kv, t->batch, t->seqlen_kv,
                                            is_packed ? 1 : 2, is_packed ? t->seed : t->seed + 1);
    }
}

static void make_outputs(struct case_data *data) {
    const struct reference_input *in = &data->in;
    const int64_t rows = reference_rows(in);
    if (in->flags & MHA_LSE)
        data->lse = make_vector(data, NUMBER_F32, rows);
    if (in->flags & MHA_SCORES)
        data->scores = make_view(data, in->dtype == MHA_F64 ? NUMBER_F64 : NUMBER_F32,
                                 (int64_t[]){1, 1, rows, in->seqlen_kv},
                                 (int64_t[]){0, 0, in->seqlen_kv, 1}, NULL, 0, 0);
}

static void normalise(struct test_case *t) {
    if (t->layout == LAYOUT_PACKED_QKV) {
        t->kv_heads = t->q_heads;
        t->head_dim_v = t->head_dim_qk;
        t->seqlen_kv = t->seqlen_q;
        if (t->flags & (MHA_RAGGED_Q | MHA_RAGGED_KV))
            t->flags |= MHA_RAGGED_Q | MHA_RAGGED_KV;
    }
}

void case_init(struct case_data *data, const struct test_case *test) {
    *data = (struct case_data){.test = *test};
    struct test_case *t = &data->test;
    normalise(t);
    case_get_desc(t, &data->desc);
    data->in = (struct reference_input){
        .flags = t->flags,
        .dtype = t->dtype,
        .batch = t->batch,
        .q_heads = t->q_heads,
        .kv_heads = t->kv_heads,
        .seqlen_q = t->seqlen_q,
        .seqlen_kv = t->seqlen_kv,
        .head_dim_qk = t->head_dim_qk,
        .head_dim_v = t->head_dim_v,
        .scale = t->scale,
        .softcap = t->softcap,
        .window_left = t->window_left,
        .window_right = t->window_right,
        .alignment = t->alignment,
        .scores_stage = t->scores_stage,
        .position_offset = t->alignment == MHA_EXPLICIT ? t->position : 0,
    };
    make_lengths(data);
    make_qkvo(data);
    if (t->flags & MHA_BIAS)
        data->bias = make_score_view(data, (enum number)t->bias_dtype, t->bias_broadcast);
    if (t->flags & MHA_MASK)
        data->mask = make_score_view(data, NUMBER_U8, t->mask_broadcast);
    if (t->flags & MHA_ALIBI)
        data->alibi_slopes = make_vector(data, NUMBER_F32, t->q_heads);
    if (t->flags & MHA_SINKS)
        data->sinks = make_vector(data, NUMBER_F32, t->q_heads);
    if (t->flags & MHA_KV_LENGTHS)
        data->kv_lengths = make_vector(data, NUMBER_I32, t->batch);
    if (t->alignment == MHA_EXPLICIT_PER_BATCH)
        data->position_offsets = make_vector(data, NUMBER_I32, t->batch);
    make_outputs(data);

    data->in.q = data->q.tensor;
    data->in.k = data->k.tensor;
    data->in.v = data->v.tensor;
    data->in.bias = data->bias.tensor;
    data->in.mask = data->mask.tensor;
    data->in.alibi_slopes = data->alibi_slopes.tensor.data;
    data->in.sinks = data->sinks.tensor.data;
    data->in.kv_lengths = data->kv_lengths.tensor.data;
    data->in.cu_seqlens_q = data->cu_seqlens_q.tensor.data;
    data->in.cu_seqlens_kv = data->cu_seqlens_kv.tensor.data;
    data->in.position_offsets = data->position_offsets.tensor.data;
    case_fill(data);
}

void case_release(struct case_data *data) {
    for (int n = 0; n < data->buffer_count; ++n) {
        free(data->buffers[n].image);
        free(data->buffers[n].values);
    }
    data->buffer_count = 0;
}

/* ---- Device buffers ------------------------------------------------------------------------ */

mha_memory view_memory(const struct test_view *view) {
    if (!view->buffer)
        return (mha_memory){0};
    return (mha_memory){.buffer = view->buffer->mem, .offset_bytes = view_offset_bytes(view)};
}

mha_tensor view_tensor(const struct test_view *view) {
    const int64_t *stride = view->tensor.stride;
    return (mha_tensor){view_memory(view), stride[0], stride[1], stride[2]};
}

/* All pages of a tight buffer's copy, and one behind them that nobody may touch. */
static size_t page_bytes(const struct test_buffer *buffer) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (buffer->bytes + page - 1) / page * page + page;
}

/* A copy of the image that ends where its pages do: a CPU that uses it as it lies then stops at a
 * read beyond it, which no sanitizer would see, since kernels are not instrumented. */
static unsigned char *map_tight(struct test_buffer *buffer) {
    const size_t bytes = page_bytes(buffer), page = (size_t)sysconf(_SC_PAGESIZE);
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(pages != MAP_FAILED, "no memory for %zu bytes", bytes);
    buffer->pages = pages;
    unsigned char *end = buffer->pages + bytes - page;
    cr_assert_eq(mprotect(end, page, PROT_NONE), 0);
    return memcpy(end - buffer->bytes, buffer->image, buffer->bytes);
}

void buffer_upload(struct test_buffer *buffer, const struct test_device *device) {
    cl_int code;
    /* A simulator knows itself where a buffer ends, and takes the host's memory for one that nobody
     * has written yet. */
    const bool is_mapped = buffer->is_tight && !device_is_slow();
    const cl_mem_flags use = is_mapped ? CL_MEM_USE_HOST_PTR : CL_MEM_COPY_HOST_PTR;
    buffer->mem = clCreateBuffer(device->context, CL_MEM_READ_WRITE | use, buffer->bytes,
                                 is_mapped ? map_tight(buffer) : buffer->image, &code);
    device_check(code, "clCreateBuffer");
}

void buffer_release_device(struct test_buffer *buffer) {
    if (buffer->mem)
        clReleaseMemObject(buffer->mem);
    if (buffer->pages)
        munmap(buffer->pages, page_bytes(buffer));
    buffer->mem = NULL;
    buffer->pages = NULL;
}

static mha_score_tensor get_score_tensor(const struct test_view *view) {
    const int64_t *stride = view->tensor.stride;
    return (mha_score_tensor){view_memory(view), stride[0], stride[1], stride[2], stride[3]};
}

void case_upload(struct case_data *data, const struct test_device *device, size_t workspace_bytes,
                 mha_attention_args *args) {
    if (workspace_bytes)
        data->workspace = make_vector(data, NUMBER_U8, (int64_t)workspace_bytes);
    /* Bytes are counted, but the workspace holds numbers of up to 8 bytes. */
    data->workspace.offset = CANARY_ELEMENTS;
    for (int n = 0; n < data->buffer_count; ++n)
        buffer_upload(&data->buffers[n], device);
    *args = (mha_attention_args){
        .struct_size = sizeof(*args),
        .batch = data->in.batch,
        .seqlen_q = data->in.seqlen_q,
        .seqlen_kv = data->in.seqlen_kv,
        .total_q = data->in.total_q,
        .total_kv = data->in.total_kv,
        .position_offset = data->in.position_offset,
        .q = view_tensor(&data->q),
        .k = view_tensor(&data->k),
        .v = view_tensor(&data->v),
        .o = view_tensor(&data->o),
        .bias = get_score_tensor(&data->bias),
        .mask = get_score_tensor(&data->mask),
        .alibi_slopes = view_memory(&data->alibi_slopes),
        .sinks = view_memory(&data->sinks),
        .kv_lengths = view_memory(&data->kv_lengths),
        .cu_seqlens_q = view_memory(&data->cu_seqlens_q),
        .cu_seqlens_kv = view_memory(&data->cu_seqlens_kv),
        .position_offsets = view_memory(&data->position_offsets),
        .lse = view_memory(&data->lse),
        .scores = view_memory(&data->scores),
        .workspace = view_memory(&data->workspace),
    };
}

void case_release_buffers(struct case_data *data) {
    for (int n = 0; n < data->buffer_count; ++n)
        buffer_release_device(&data->buffers[n]);
    if (data->workspace.buffer) { /* the last one added; another plan may need another size */
        free(data->workspace.buffer->image);
        free(data->workspace.buffer->values);
        data->workspace.buffer = NULL;
        --data->buffer_count;
    }
}
