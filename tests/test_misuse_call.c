/* Every way to get a call wrong has its own status, says what was wrong and leaves every buffer as
 * it was. */
#include "harness.h"
#include "misuse.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call {
    struct test_device *device;
    struct case_data data;
    mha_plan *plan;
    mha_attention_args args;
    size_t workspace_bytes;
    int failures;
};

static void call_open(struct call *call, struct test_device *device, const struct test_case *test) {
    mha_error e;
    mha_plan_info info = {.struct_size = sizeof(info)};
    *call = (struct call){.device = device};
    case_init(&call->data, test);
    cr_assert_eq(mha_plan_create(device->engine, &call->data.desc, &call->plan, &e), MHA_SUCCESS,
                 "%s", e.message);
    mha_plan_get_info(call->plan, &info, NULL);
    call->workspace_bytes = info.workspace_bytes;
    case_upload(&call->data, device, info.workspace_bytes, &call->args);
}

/* The buffers must be untouched, whatever was tried; and the call, unchanged, must still work. */
static void call_close(struct call *call) {
    mha_error e;
    clFinish(call->device->queue);
    for (int n = 0; n < call->data.buffer_count; ++n) {
        const struct test_buffer *buffer = &call->data.buffers[n];
        unsigned char *bytes = malloc(buffer->bytes);
        cr_assert_not_null(bytes);
        device_check(clEnqueueReadBuffer(call->device->queue, buffer->mem, CL_TRUE, 0,
                                         buffer->bytes, bytes, 0, NULL, NULL),
                     "clEnqueueReadBuffer");
        cr_expect(!memcmp(bytes, buffer->image, buffer->bytes), "a refused call wrote to buffer %d",
                  n);
        free(bytes);
    }
    const mha_status status =
        mha_enqueue_attention(call->plan, call->device->queue, &call->args, 0, NULL, NULL, &e);
    cr_expect_eq(status, MHA_SUCCESS, "%s", e.message);
    clFinish(call->device->queue);
    case_release_buffers(&call->data);
    case_release(&call->data);
    mha_plan_destroy(&call->plan);
    cr_expect_eq(call->failures, 0);
}

static void try_args(struct call *call, const struct misuse *misuse) {
    mha_attention_args args = call->args;
    cl_event event = (cl_event)&args;
    mha_error e;
    memset(&e, 0x5a, sizeof(e));
    misuse_apply(misuse, &args);
    mha_status status =
        mha_enqueue_attention(call->plan, call->device->queue, &args, 0, NULL, &event, &e);
    call->failures += !misuse_check(misuse, "enqueue", status, &e);
    cr_expect_null(event, "%s: an event in spite of the failure", misuse->name);
    status = mha_enqueue_attention(call->plan, call->device->queue, &args, 0, NULL, NULL, NULL);
    cr_expect_eq(status, misuse->expected, "%s, with no error: %s", misuse->name,
                 mha_status_name(status));
}

#define ARGS(member, kind, v) EDIT(mha_attention_args, member, kind, v)
#define TRY_ALL(call, misuses)                                                                     \
    do {                                                                                           \
        for (size_t n = 0; n < sizeof(misuses) / sizeof(*misuses); ++n)                            \
            try_args(call, &misuses[n]);                                                           \
    } while (0)

static const struct test_case all_buffers = {
    .flags = MHA_BIAS | MHA_MASK | MHA_ALIBI | MHA_SINKS | MHA_KV_LENGTHS | MHA_LSE | MHA_SCORES,
    .alignment = MHA_EXPLICIT_PER_BATCH,
    .batch = 2,
    .q_heads = 2,
    .kv_heads = 2,
    .seqlen_q = 8,
    .seqlen_kv = 12,
    .head_dim_qk = 16,
    .head_dim_v = 16,
    .seed = 7,
};

/* No feature that would need a buffer, and a variant that needs a workspace. */
static struct test_case few_buffers(void) {
    struct test_case test = all_buffers;
    test.flags = 0;
    test.alignment = MHA_TOP_LEFT;
    test.variant = "staged";
    test.head_dim_v = 4; /* o is smaller than the workspace */
    return test;
}

Test(misuse, call_sizes) {
    static const struct misuse misuses[] = {
        {"struct_size 0", MHA_ERR_STRUCT_SIZE, "0", {ARGS(struct_size, i64, 0)}},
        {"struct_size huge", MHA_ERR_STRUCT_SIZE, NULL, {ARGS(struct_size, i64, INT64_MAX)}},
        {"batch -1", MHA_ERR_SHAPE, "batch is -1", {ARGS(batch, i64, -1)}},
        {"batch 3", MHA_ERR_LIMIT, "3", {ARGS(batch, i64, 3)}},
        {"seqlen_q -5", MHA_ERR_SHAPE, "-5", {ARGS(seqlen_q, i64, -5)}},
        {"seqlen_q 9", MHA_ERR_LIMIT, "9", {ARGS(seqlen_q, i64, 9)}},
        {"seqlen_kv -1", MHA_ERR_SHAPE, "seqlen_kv", {ARGS(seqlen_kv, i64, -1)}},
        {"seqlen_kv max", MHA_ERR_LIMIT, "seqlen_kv", {ARGS(seqlen_kv, i64, INT64_MAX)}},
        {"total_q", MHA_ERR_FLAGS, "total_q", {ARGS(total_q, i64, 4)}},
        {"total_kv", MHA_ERR_FLAGS, "total_kv", {ARGS(total_kv, i64, 4)}},
        {"position_offset", MHA_ERR_FLAGS, "position_offset", {ARGS(position_offset, i64, 1)}},
        {"negative batch stride",
         MHA_ERR_STRIDE,
         "q.stride_batch",
         {ARGS(q.stride_batch, i64, -1)}},
        {"negative head stride", MHA_ERR_STRIDE, "k.stride_head", {ARGS(k.stride_head, i64, -2)}},
        {"negative token stride",
         MHA_ERR_STRIDE,
         "v.stride_token",
         {ARGS(v.stride_token, i64, -3)}},
        {"negative o stride", MHA_ERR_STRIDE, "o.stride_token", {ARGS(o.stride_token, i64, -16)}},
        {"negative key stride",
         MHA_ERR_STRIDE,
         "bias.stride_key",
         {ARGS(bias.stride_key, i64, -1)}},
        {"negative query stride",
         MHA_ERR_STRIDE,
         "mask.stride_query",
         {ARGS(mask.stride_query, i64, INT64_MIN)}},
        {"broadcast o tokens", MHA_ERR_STRIDE, "o.stride_token", {ARGS(o.stride_token, i64, 0)}},
        {"broadcast o batch", MHA_ERR_STRIDE, "o.stride_batch", {ARGS(o.stride_batch, i64, 0)}},
        {"overlapping o rows", MHA_ERR_STRIDE, "15", {ARGS(o.stride_token, i64, 15)}},
        {"overflowing stride", MHA_ERR_OVERFLOW, "q", {ARGS(q.stride_batch, i64, INT64_MAX)}},
        {"overflowing bytes", MHA_ERR_BUFFER_SIZE, "k", {ARGS(k.stride_batch, i64, INT64_MAX / 2)}},
        {"overflowing bias", MHA_ERR_OVERFLOW, "bias", {ARGS(bias.stride_key, i64, INT64_MAX)}},
        {"stride beyond", MHA_ERR_BUFFER_SIZE, "v", {ARGS(v.stride_batch, i64, 100000)}},
        {"mask beyond", MHA_ERR_BUFFER_SIZE, "mask", {ARGS(mask.stride_head, i64, 100000)}},
        {"kind 1", MHA_ERR_UNSUPPORTED, "q.kind is 1", {ARGS(q.memory.kind, i32, 1)}},
        {"kind of sinks", MHA_ERR_UNSUPPORTED, "sinks", {ARGS(sinks.kind, i32, 7)}},
    };
    struct test_device device;
    struct call call;
    device_open(&device);
    call_open(&call, &device, &all_buffers);
    TRY_ALL(&call, misuses);
    call_close(&call);
    device_close(&device);
}

/* Each buffer in turn: missing, of another context, misaligned, too small. */
Test(misuse, call_buffers) {
    static const struct {
        const char *name;
        size_t offset, element;
    } members[] = {
        {"q", offsetof(mha_attention_args, q.memory), 4},
        {"k", offsetof(mha_attention_args, k.memory), 4},
        {"v", offsetof(mha_attention_args, v.memory), 4},
        {"o", offsetof(mha_attention_args, o.memory), 4},
        {"bias", offsetof(mha_attention_args, bias.memory), 4},
        {"mask", offsetof(mha_attention_args, mask.memory), 1},
        {"alibi_slopes", offsetof(mha_attention_args, alibi_slopes), 4},
        {"sinks", offsetof(mha_attention_args, sinks), 4},
        {"kv_lengths", offsetof(mha_attention_args, kv_lengths), 4},
        {"position_offsets", offsetof(mha_attention_args, position_offsets), 4},
        {"lse", offsetof(mha_attention_args, lse), 4},
        {"scores", offsetof(mha_attention_args, scores), 4},
    };
    struct test_device device, other;
    struct call call;
    cl_int code;
    device_open(&device);
    device_open(&other);
    call_open(&call, &device, &all_buffers);
    cl_mem foreign = clCreateBuffer(other.context, CL_MEM_READ_WRITE, 1 << 16, NULL, &code);
    device_check(code, "clCreateBuffer");
    for (size_t n = 0; n < sizeof(members) / sizeof(*members); ++n) {
        const size_t at = members[n].offset, element = members[n].element;
        const size_t buffer_at = at + offsetof(mha_memory, buffer);
        const size_t offset_at = at + offsetof(mha_memory, offset_bytes);
        mha_memory memory;
        size_t size = 0;
        memcpy(&memory, (char *)&call.args + at, sizeof(memory));
        clGetMemObjectInfo(memory.buffer, CL_MEM_SIZE, sizeof(size), &size, NULL);
        const struct misuse misuses[] = {
            {members[n].name,
             MHA_ERR_NULL,
             members[n].name,
             {{buffer_at, sizeof(cl_mem), {.pointer = NULL}}}},
            {members[n].name,
             MHA_ERR_CONTEXT,
             members[n].name,
             {{buffer_at, sizeof(cl_mem), {.pointer = foreign}}}},
            {members[n].name,
             MHA_ERR_BUFFER_SIZE,
             members[n].name,
             {{offset_at, sizeof(size_t), {.i64 = (int64_t)size}}}},
            {members[n].name,
             MHA_ERR_BUFFER_SIZE,
             members[n].name,
             {{offset_at, sizeof(size_t), {.i64 = (int64_t)(size - element)}}}},
            {members[n].name,
             MHA_ERR_BUFFER_SIZE,
             members[n].name,
             {{offset_at, sizeof(size_t), {.i64 = INT64_MAX / 8 * 8}}}},
            {members[n].name,
             MHA_ERR_MISALIGNED,
             members[n].name,
             {{offset_at, sizeof(size_t), {.i64 = (int64_t)memory.offset_bytes + 1}}}},
            {members[n].name,
             MHA_ERR_UNSUPPORTED,
             members[n].name,
             {{at + offsetof(mha_memory, kind), sizeof(mha_memory_kind), {.i32 = 3}}}},
        };
        for (size_t m = 0; m < sizeof(misuses) / sizeof(*misuses); ++m)
            if (element > 1 || misuses[m].expected != MHA_ERR_MISALIGNED)
                try_args(&call, &misuses[m]);
    }
    clReleaseMemObject(foreign);
    call_close(&call);
    device_close(&other);
    device_close(&device);
}

#define BUFFER(member, memory) ARGS(member.buffer, pointer, (memory).buffer)
#define OFFSET(member, memory, more)                                                               \
    ARGS(member.offset_bytes, i64, (int64_t)((memory).offset_bytes + (more)))

Test(misuse, call_aliases) {
    struct test_device device;
    struct call call;
    device_open(&device);
    call_open(&call, &device, &all_buffers);
    const mha_attention_args *a = &call.args;
    const struct misuse misuses[] = {
        {"o is q",
         MHA_ERR_ALIAS,
         "q",
         {BUFFER(o.memory, a->q.memory), OFFSET(o.memory, a->q.memory, 0)}},
        {"o in k",
         MHA_ERR_ALIAS,
         "k",
         {BUFFER(o.memory, a->k.memory), OFFSET(o.memory, a->k.memory, 64)}},
        {"o before v",
         MHA_ERR_ALIAS,
         "v",
         {BUFFER(o.memory, a->v.memory), OFFSET(o.memory, a->v.memory, -64)}},
        {"lse in o", MHA_ERR_ALIAS, "lse", {BUFFER(lse, a->o.memory), OFFSET(lse, a->o.memory, 8)}},
        {"lse in scores",
         MHA_ERR_ALIAS,
         "scores",
         {BUFFER(lse, a->scores), OFFSET(lse, a->scores, 0)}},
        {"lse in bias",
         MHA_ERR_ALIAS,
         "bias",
         {BUFFER(lse, a->bias.memory), OFFSET(lse, a->bias.memory, 0)}},
        {"lse in mask",
         MHA_ERR_ALIAS,
         "mask",
         {BUFFER(lse, a->mask.memory), OFFSET(lse, a->mask.memory, 0)}},
        {"sinks in lse", MHA_ERR_ALIAS, "sinks", {BUFFER(sinks, a->lse), OFFSET(sinks, a->lse, 0)}},
        {"lengths in scores",
         MHA_ERR_ALIAS,
         "kv_lengths",
         {BUFFER(kv_lengths, a->scores), OFFSET(kv_lengths, a->scores, 16)}},
    };
    TRY_ALL(&call, misuses);
    call_close(&call);

    const struct test_case few = few_buffers();
    call_open(&call, &device, &few);
    cr_assert_gt(call.workspace_bytes, 0);
    const struct misuse workspaces[] = {
        {"workspace is o",
         MHA_ERR_ALIAS,
         "workspace",
         {BUFFER(o.memory, a->workspace), OFFSET(o.memory, a->workspace, 0)}},
        {"q in workspace",
         MHA_ERR_ALIAS,
         "workspace",
         {BUFFER(q.memory, a->workspace), OFFSET(q.memory, a->workspace, 0),
          ARGS(q.stride_batch, i64, 0)}},
        {"no workspace", MHA_ERR_WORKSPACE, "workspace", {ARGS(workspace.buffer, pointer, NULL)}},
        {"workspace too small",
         MHA_ERR_WORKSPACE,
         "workspace",
         {OFFSET(workspace, a->workspace, 4096)}},
        {"workspace misaligned",
         MHA_ERR_MISALIGNED,
         "workspace",
         {OFFSET(workspace, a->workspace, 2)}},
        {"workspace of q",
         MHA_ERR_WORKSPACE,
         "workspace",
         {BUFFER(workspace, a->kv_lengths), ARGS(workspace.offset_bytes, i64, 0)}},
    };
    TRY_ALL(&call, workspaces);
    call_close(&call);
    device_close(&device);
}

/* Members whose flag is off must be zero. */
Test(misuse, call_unused_members) {
    struct test_device device;
    struct call call;
    device_open(&device);
    const struct test_case few = few_buffers();
    call_open(&call, &device, &few);
    cl_mem q = call.args.q.memory.buffer;
    const struct misuse misuses[] = {
        {"bias", MHA_ERR_FLAGS, "bias", {ARGS(bias.memory.buffer, pointer, q)}},
        {"bias stride", MHA_ERR_FLAGS, "bias", {ARGS(bias.stride_key, i64, 1)}},
        {"mask", MHA_ERR_FLAGS, "mask", {ARGS(mask.memory.buffer, pointer, q)}},
        {"mask stride", MHA_ERR_FLAGS, "mask", {ARGS(mask.stride_batch, i64, 1)}},
        {"alibi_slopes", MHA_ERR_FLAGS, "alibi_slopes", {ARGS(alibi_slopes.buffer, pointer, q)}},
        {"sinks", MHA_ERR_FLAGS, "sinks", {ARGS(sinks.buffer, pointer, q)}},
        {"sinks offset", MHA_ERR_FLAGS, "sinks", {ARGS(sinks.offset_bytes, i64, 4)}},
        {"kv_lengths", MHA_ERR_FLAGS, "kv_lengths", {ARGS(kv_lengths.buffer, pointer, q)}},
        {"cu_seqlens_q", MHA_ERR_FLAGS, "cu_seqlens_q", {ARGS(cu_seqlens_q.buffer, pointer, q)}},
        {"cu_seqlens_kv", MHA_ERR_FLAGS, "cu_seqlens_kv", {ARGS(cu_seqlens_kv.buffer, pointer, q)}},
        {"positions", MHA_ERR_FLAGS, "position", {ARGS(position_offsets.buffer, pointer, q)}},
        {"lse", MHA_ERR_FLAGS, "lse", {ARGS(lse.buffer, pointer, q)}},
        {"scores", MHA_ERR_FLAGS, "scores", {ARGS(scores.buffer, pointer, q)}},
    };
    TRY_ALL(&call, misuses);
    call_close(&call);
    device_close(&device);
}

Test(misuse, call_ragged) {
    struct test_device device;
    struct call call;
    struct test_case test = few_buffers();
    test.variant = NULL;
    test.flags = MHA_RAGGED_Q | MHA_RAGGED_KV | MHA_CAUSAL;
    test.alignment = MHA_EXPLICIT;
    device_open(&device);
    call_open(&call, &device, &test);
    const struct misuse misuses[] = {
        {"total_q -1", MHA_ERR_SHAPE, "-1", {ARGS(total_q, i64, -1)}},
        {"total_q over all", MHA_ERR_LIMIT, "17", {ARGS(total_q, i64, 17)}},
        {"total_kv max", MHA_ERR_LIMIT, "total_kv", {ARGS(total_kv, i64, INT64_MAX)}},
        {"q batch stride", MHA_ERR_STRIDE, "q", {ARGS(q.stride_batch, i64, 8)}},
        {"v batch stride", MHA_ERR_STRIDE, "v", {ARGS(v.stride_batch, i64, 8)}},
        {"o batch stride", MHA_ERR_STRIDE, "o", {ARGS(o.stride_batch, i64, 8)}},
        {"no cu_seqlens_q",
         MHA_ERR_NULL,
         "cu_seqlens_q",
         {ARGS(cu_seqlens_q.buffer, pointer, NULL)}},
        {"cu_seqlens_kv misaligned",
         MHA_ERR_MISALIGNED,
         "cu_seqlens_kv",
         {ARGS(cu_seqlens_kv.offset_bytes, i64, 3)}},
        {"cu_seqlens_kv beyond",
         MHA_ERR_BUFFER_SIZE,
         "cu_seqlens_kv",
         {ARGS(cu_seqlens_kv.offset_bytes, i64, 1 << 20)}},
        {"position_offset max", MHA_ERR_VALUE, NULL, {ARGS(position_offset, i64, INT64_MAX)}},
        {"position_offset min", MHA_ERR_VALUE, NULL, {ARGS(position_offset, i64, INT64_MIN)}},
    };
    TRY_ALL(&call, misuses);
    call_close(&call);
    device_close(&device);
}

/* ---- Queues, events, handles ----------------------------------------------------------------- */

static void expect(struct call *call, const char *name, mha_status expected, mha_status status,
                   const mha_error *e) {
    const struct misuse misuse = {name, expected, NULL, {{0}}};
    call->failures += !misuse_check(&misuse, "enqueue", status, e);
}

Test(misuse, call_objects) {
    struct test_device device, other;
    struct call call;
    cl_int code;
    mha_error e;
    device_open(&device);
    device_open(&other);
    call_open(&call, &device, &all_buffers);
    cl_event foreign = clCreateUserEvent(other.context, &code);
    device_check(code, "clCreateUserEvent");
    const cl_event none = NULL;
    const mha_attention_args *a = &call.args;
    cl_command_queue queue = device.queue;
    mha_plan *plan = call.plan;
#define CALL(plan, queue, args, n_wait, wait)                                                      \
    mha_enqueue_attention(plan, queue, args, n_wait, wait, NULL, &e)
    expect(&call, "no plan", MHA_ERR_NULL, CALL(NULL, queue, a, 0, NULL), &e);
    expect(&call, "no queue", MHA_ERR_NULL, CALL(plan, NULL, a, 0, NULL), &e);
    expect(&call, "no args", MHA_ERR_NULL, CALL(plan, queue, NULL, 0, NULL), &e);
    expect(&call, "foreign queue", MHA_ERR_QUEUE, CALL(plan, other.queue, a, 0, NULL), &e);
    expect(&call, "no wait list", MHA_ERR_WAIT_LIST, CALL(plan, queue, a, 1, NULL), &e);
    expect(&call, "no count", MHA_ERR_WAIT_LIST, CALL(plan, queue, a, 0, &foreign), &e);
    expect(&call, "NULL event", MHA_ERR_WAIT_LIST, CALL(plan, queue, a, 1, &none), &e);
    expect(&call, "foreign event", MHA_ERR_WAIT_LIST, CALL(plan, queue, a, 1, &foreign), &e);
    /* A part of a buffer, and a sub-buffer at the same place; then one sub-buffer twice. */
    cl_mem parent = clCreateBuffer(device.context, 0, 1 << 20, NULL, &code);
    device_check(code, "clCreateBuffer");
    const cl_buffer_region region = {1 << 16, 1 << 19};
    cl_mem part = clCreateSubBuffer(parent, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    device_check(code, "clCreateSubBuffer");
    mha_attention_args changed = *a;
    changed.q.memory = mha_buffer(parent, 1 << 16);
    changed.o.memory = mha_buffer(part, 0);
    expect(&call, "o over q", MHA_ERR_ALIAS, CALL(plan, queue, &changed, 0, NULL), &e);
    changed.q.memory = changed.k.memory = mha_buffer(part, 0);
    changed.o.memory = mha_buffer(parent, 1 << 16);
    expect(&call, "o over q and k", MHA_ERR_ALIAS, CALL(plan, queue, &changed, 0, NULL), &e);
    clReleaseMemObject(part);
    clReleaseMemObject(parent);
    const cl_image_format format = {CL_RGBA, CL_FLOAT};
    const cl_image_desc image_desc = {
        .image_type = CL_MEM_OBJECT_IMAGE2D, .image_width = 64, .image_height = 64};
    cl_mem image = clCreateImage(device.context, 0, &format, &image_desc, NULL, &code);
    if (!code) { /* not every device has images */
        changed = *a;
        changed.v.memory.buffer = image;
        expect(&call, "image", MHA_ERR_CONTEXT, CALL(plan, queue, &changed, 0, NULL), &e);
        clReleaseMemObject(image);
    }
#undef CALL
    clSetUserEventStatus(foreign, CL_COMPLETE);
    clReleaseEvent(foreign);
    call_close(&call);
    device_close(&other);
    device_close(&device);
}
