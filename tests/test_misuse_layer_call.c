/* Every way to get a layer's call wrong has its own status, says what was wrong and leaves every
 * buffer as it was. */
#include "layer_case.h"
#include "misuse.h"

#include <criterion/criterion.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

static const struct test_case plain = {
    .flags = MHA_LSE | MHA_SCORES | MHA_KV_LENGTHS,
    .batch = 2,
    .q_heads = 2,
    .kv_heads = 2,
    .seqlen_q = 8,
    .seqlen_kv = 8,
    .head_dim_qk = 16,
    .head_dim_v = 16,
    .seed = 9,
};

/* Arguments of a call and of a packing: tables edit any of them. */
struct all_args {
    mha_layer_args layer;
    mha_attention_args attention;
    mha_layer_weights weights;
    mha_memory packed;
    const mha_layer_weights *pack_weights;
    const mha_memory *pack_packed;
};

struct trial {
    struct test_device device, other;
    struct layer_data data;
    mha_plan *plan;
    cl_mem foreign, read_only, write_only;
    int failures;
};

static cl_mem make_buffer(const struct test_device *device, cl_mem_flags flags) {
    cl_int code;
    cl_mem buffer = clCreateBuffer(device->context, flags, 1 << 16, NULL, &code);
    device_check(code, "clCreateBuffer");
    return buffer;
}

static void trial_open(struct trial *trial, uint64_t flags, const struct test_case *attention) {
    const struct layer_case test = {
        .attention = *attention,
        .flags = flags,
        .embed_q = 12,
        .embed_k = 8,
        .embed_v = 10,
        .embed_out = 14,
        .past = flags & MHA_LAYER_KV_CACHE && attention == &plain ? 3 : 0,
    };
    char failure[FAILURE_BYTES] = "";
    mha_error e;
    memset(trial, 0, sizeof(*trial));
    device_open(&trial->device);
    device_open(&trial->other);
    layer_init(&trial->data, &test);
    cr_assert_eq(mha_layer_plan_create(trial->device.engine, &trial->data.desc, &trial->plan, &e),
                 MHA_SUCCESS, "%s", e.message);
    cr_assert(layer_upload(&trial->data, &trial->device, trial->plan, failure), "%s", failure);
    trial->foreign = make_buffer(&trial->other, CL_MEM_READ_WRITE);
    trial->read_only = make_buffer(&trial->device, CL_MEM_READ_ONLY);
    trial->write_only = make_buffer(&trial->device, CL_MEM_WRITE_ONLY);
}

/* Nothing was written, and the right call still works. */
static void trial_close(struct trial *trial) {
    struct layer_data *data = &trial->data;
    struct guarded *g = &data->guarded;
    struct layer_outputs outputs = {.y = NULL};
    char failure[FAILURE_BYTES] = "";
    clFinish(trial->device.queue);
    cr_expect(buffers_take(&trial->device, g->buffers, g->count, g->names, NULL, 0, failure) &&
                  buffers_take(&trial->device, data->attention.buffers,
                               data->attention.buffer_count, NULL, NULL, 0, failure),
              "a refused call wrote: %s", failure);
    cr_expect(layer_call(data, &trial->device, trial->plan, &outputs, failure) &&
                  layer_compare(data, &outputs, failure),
              "%s", failure);
    layer_outputs_release(&outputs);
    layer_release(data);
    clReleaseMemObject(trial->foreign);
    clReleaseMemObject(trial->read_only);
    clReleaseMemObject(trial->write_only);
    mha_plan_destroy(&trial->plan);
    device_close(&trial->other);
    device_close(&trial->device);
    cr_expect_eq(trial->failures, 0);
}

static struct all_args get_args(const struct trial *trial) {
    const struct layer_data *data = &trial->data;
    return (struct all_args){.layer = data->args,
                             .attention = data->attention_args,
                             .weights = data->call_weights,
                             .packed = view_memory(&data->packed)};
}

static void try_call(struct trial *trial, const struct misuse *misuse) {
    struct all_args args = get_args(trial);
    const cl_command_queue queue = trial->device.queue;
    cl_event event = (cl_event)&args;
    mha_error e;
    memset(&e, 0x5a, sizeof(e));
    args.layer.attention = &args.attention;
    args.layer.weights = args.layer.weights ? &args.weights : NULL;
    misuse_apply(misuse, &args);
    mha_status status = mha_enqueue_layer(trial->plan, queue, &args.layer, 0, NULL, &event, &e);
    trial->failures += !misuse_check(misuse, "enqueue_layer", status, &e);
    cr_expect_null(event, "%s: an event in spite of the failure", misuse->name);
    status = mha_enqueue_layer(trial->plan, queue, &args.layer, 0, NULL, NULL, NULL);
    cr_expect_eq(status, misuse->expected, "%s, with no error: %s", misuse->name,
                 mha_status_name(status));
}

static void try_pack(struct trial *trial, const struct misuse *misuse) {
    struct all_args args = get_args(trial);
    cl_event event = (cl_event)&args;
    mha_error e;
    memset(&e, 0x5a, sizeof(e));
    args.pack_weights = &args.weights;
    args.pack_packed = &args.packed;
    misuse_apply(misuse, &args);
    const mha_status status = mha_enqueue_layer_pack(
        trial->plan, trial->device.queue, args.pack_weights, args.pack_packed, 0, NULL, &event, &e);
    trial->failures += !misuse_check(misuse, "enqueue_layer_pack", status, &e);
    cr_expect_null(event, "%s: an event in spite of the failure", misuse->name);
}

#define ARGS(member, kind, v) EDIT(struct all_args, member, kind, v)
#define LAYER(member, kind, v) ARGS(layer.member, kind, v)
#define ATT(member, kind, v) ARGS(attention.member, kind, v)
/* `member` lies where `memory` does. */
#define AT(member, memory)                                                                         \
    ARGS(member.buffer, pointer, (memory).buffer),                                                 \
        ARGS(member.offset_bytes, i64, (int64_t)(memory).offset_bytes)
#define OFFSET(member, memory, more)                                                               \
    ARGS(member.offset_bytes, i64, (int64_t)(memory).offset_bytes + (more))
#define TRY_ALL(attempt, trial, misuses)                                                           \
    do {                                                                                           \
        for (size_t row = 0; row < COUNT_OF(misuses); ++row)                                       \
            attempt(trial, &misuses[row]);                                                         \
    } while (0)

#define BIASES (MHA_LAYER_QKV_BIAS | MHA_LAYER_OUTPUT | MHA_LAYER_OUTPUT_BIAS)

Test(misuse, layer_calls) {
    struct trial trial;
    trial_open(&trial, BIASES, &plain);
    const cl_mem q = trial.data.args.query.memory.buffer;
    const struct misuse misuses[] = {
        {"struct_size 0", MHA_ERR_STRUCT_SIZE, "mha_layer_args", {LAYER(struct_size, i64, 0)}},
        {"struct_size 32", MHA_ERR_STRUCT_SIZE, "32", {LAYER(struct_size, i64, 32)}},
        {"no attention", MHA_ERR_NULL, "attention", {LAYER(attention, pointer, NULL)}},
        {"no weights", MHA_ERR_NULL, "weights", {LAYER(weights, pointer, NULL)}},
        {"weights' size", MHA_ERR_STRUCT_SIZE, "weights", {ARGS(weights.struct_size, i64, 24)}},
        {"weights' size huge",
         MHA_ERR_STRUCT_SIZE,
         "weights",
         {ARGS(weights.struct_size, i64, INT64_MAX)}},
        {"attention's size", MHA_ERR_STRUCT_SIZE, "attention", {ATT(struct_size, i64, 0)}},
        {"batch 3", MHA_ERR_LIMIT, "batch is 3", {ATT(batch, i64, 3)}},
        {"batch -1", MHA_ERR_SHAPE, "batch is -1", {ATT(batch, i64, -1)}},
        {"seqlen_q 9", MHA_ERR_LIMIT, "seqlen_q is 9", {ATT(seqlen_q, i64, 9)}},
        {"seqlen_kv max", MHA_ERR_LIMIT, "seqlen_kv", {ATT(seqlen_kv, i64, INT64_MAX)}},
        {"total_q", MHA_ERR_FLAGS, "total_q", {ATT(total_q, i64, 4)}},
        {"position_offset", MHA_ERR_FLAGS, "position_offset", {ATT(position_offset, i64, 4)}},
        {"bias", MHA_ERR_FLAGS, "bias", {ATT(bias.memory.buffer, pointer, q)}},
        {"attention.q", MHA_ERR_FLAGS, "attention.q", {ATT(q.memory.buffer, pointer, q)}},
        {"attention.k", MHA_ERR_FLAGS, "attention.k", {ATT(k.stride_head, i64, 16)}},
        {"attention.v", MHA_ERR_FLAGS, "attention.v", {ATT(v.memory.offset_bytes, i64, 4)}},
        {"attention.o", MHA_ERR_FLAGS, "attention.o", {ATT(o.memory.buffer, pointer, q)}},
        {"workspace", MHA_ERR_FLAGS, "attention.workspace", {ATT(workspace.buffer, pointer, q)}},
        {"first_event", MHA_ERR_FLAGS, "first_event", {ATT(first_event, pointer, &trial)}},
        {"a past without a cache", MHA_ERR_FLAGS, "seqlen_past", {LAYER(seqlen_past, i64, 1)}},
        {"packed", MHA_ERR_FLAGS, "packed", {LAYER(packed.buffer, pointer, q)}},
        {"fused weight", MHA_ERR_FLAGS, "weights.qkv", {ARGS(weights.qkv.buffer, pointer, q)}},
        {"fused bias",
         MHA_ERR_FLAGS,
         "weights.qkv_bias",
         {ARGS(weights.qkv_bias.buffer, pointer, q)}},
        {"negative stride", MHA_ERR_STRIDE, "query", {LAYER(query.stride_token, i64, -1)}},
        {"negative y stride", MHA_ERR_STRIDE, "y.stride_batch", {LAYER(y.stride_batch, i64, -9)}},
        {"overlapping y", MHA_ERR_STRIDE, "13", {LAYER(y.stride_token, i64, 13)}},
        {"broadcast y", MHA_ERR_STRIDE, "y", {LAYER(y.stride_batch, i64, 0)}},
        {"overflowing key", MHA_ERR_OVERFLOW, "key", {LAYER(key.stride_batch, i64, INT64_MAX)}},
        {"value beyond", MHA_ERR_BUFFER_SIZE, "value", {LAYER(value.stride_batch, i64, 100000)}},
    };
    TRY_ALL(try_call, &trial, misuses);
    trial_close(&trial);
}

/* Each buffer in turn: missing, of another context, one that the device may not read or write,
 * misaligned, too small. */
Test(misuse, layer_buffers) {
    static const struct {
        const char *name;
        size_t offset;
        bool is_output;
    } members[] = {
#define MEMBER(name, member, is_output) {name, offsetof(struct all_args, member), is_output}
        MEMBER("query", layer.query.memory, false),
        MEMBER("key", layer.key.memory, false),
        MEMBER("value", layer.value.memory, false),
        MEMBER("y", layer.y.memory, true),
        MEMBER("weights.q", weights.q, false),
        MEMBER("weights.k", weights.k, false),
        MEMBER("weights.v", weights.v, false),
        MEMBER("weights.q_bias", weights.q_bias, false),
        MEMBER("weights.k_bias", weights.k_bias, false),
        MEMBER("weights.v_bias", weights.v_bias, false),
        MEMBER("weights.output", weights.output, false),
        MEMBER("weights.output_bias", weights.output_bias, false),
        MEMBER("workspace", layer.workspace, true),
        MEMBER("lse", attention.lse, true),
        MEMBER("scores", attention.scores, true),
        MEMBER("kv_lengths", attention.kv_lengths, false),
    };
    struct trial trial;
    trial_open(&trial, BIASES, &plain);
    const struct all_args args = get_args(&trial);
    for (size_t n = 0; n < COUNT_OF(members); ++n) {
        const char *name = members[n].name;
        const size_t at = members[n].offset, buffer_at = at + offsetof(mha_memory, buffer);
        const size_t offset_at = at + offsetof(mha_memory, offset_bytes);
        const bool is_workspace = !strcmp(name, "workspace");
        const mha_status missing = is_workspace ? MHA_ERR_WORKSPACE : MHA_ERR_NULL;
        const mha_status small = is_workspace ? MHA_ERR_WORKSPACE : MHA_ERR_BUFFER_SIZE;
        const cl_mem closed = members[n].is_output ? trial.read_only : trial.write_only;
        mha_memory memory;
        size_t size = 0;
        memcpy(&memory, (const char *)&args + at, sizeof(memory));
        clGetMemObjectInfo(memory.buffer, CL_MEM_SIZE, sizeof(size), &size, NULL);
        const int64_t end = (int64_t)(size / 4 * 4);
#define BUFFER_ROW(expected, value)                                                                \
    {                                                                                              \
        name, expected, name, {                                                                    \
            {                                                                                      \
                buffer_at, sizeof(cl_mem), {                                                       \
                    .pointer = (value)                                                             \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define OFFSET_ROW(expected, value)                                                                \
    {                                                                                              \
        name, expected, name, {                                                                    \
            {                                                                                      \
                offset_at, sizeof(size_t), {                                                       \
                    .i64 = (value)                                                                 \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
        const struct misuse misuses[] = {
            BUFFER_ROW(missing, NULL),
            BUFFER_ROW(MHA_ERR_CONTEXT, trial.foreign),
            BUFFER_ROW(MHA_ERR_CONTEXT, closed),
            OFFSET_ROW(small, end - 4),
            OFFSET_ROW(small, INT64_MAX / 8 * 8),
            OFFSET_ROW(MHA_ERR_MISALIGNED, (int64_t)memory.offset_bytes + 1),
            {name,
             MHA_ERR_UNSUPPORTED,
             name,
             {{at + offsetof(mha_memory, kind), sizeof(mha_memory_kind), {.i32 = 3}}}},
        };
        TRY_ALL(try_call, &trial, misuses);
    }
    trial_close(&trial);
}

Test(misuse, layer_aliases) {
    struct trial trial;
    trial_open(&trial, BIASES, &plain);
    const mha_layer_args *a = &trial.data.args;
    const mha_attention_args *b = &trial.data.attention_args;
    const struct misuse misuses[] = {
        {"y is query", MHA_ERR_ALIAS, "query", {AT(layer.y.memory, a->query.memory)}},
        {"key in y", MHA_ERR_ALIAS, "key", {AT(layer.key.memory, a->y.memory)}},
        {"value in y", MHA_ERR_ALIAS, "value", {AT(layer.value.memory, a->y.memory)}},
        {"weights in y", MHA_ERR_ALIAS, "weights.k", {AT(weights.k, a->y.memory)}},
        {"bias in y", MHA_ERR_ALIAS, "weights.v_bias", {AT(weights.v_bias, a->y.memory)}},
        {"output_bias in y",
         MHA_ERR_ALIAS,
         "weights.output_bias",
         {AT(weights.output_bias, a->y.memory)}},
        {"y is workspace", MHA_ERR_ALIAS, "workspace", {AT(layer.y.memory, a->workspace)}},
        {"query is workspace", MHA_ERR_ALIAS, "workspace", {AT(layer.query.memory, a->workspace)}},
        {"weights in workspace", MHA_ERR_ALIAS, "weights.q", {AT(weights.q, a->workspace)}},
        {"lse in y", MHA_ERR_ALIAS, "lse", {AT(attention.lse, a->y.memory)}},
        {"lse in query", MHA_ERR_ALIAS, "query", {AT(attention.lse, a->query.memory)}},
        {"lse in scores", MHA_ERR_ALIAS, "scores", {AT(attention.lse, b->scores)}},
        {"lse in workspace", MHA_ERR_ALIAS, "workspace", {AT(attention.lse, a->workspace)}},
        {"lengths in lse", MHA_ERR_ALIAS, "kv_lengths", {AT(attention.kv_lengths, b->lse)}},
    };
    TRY_ALL(try_call, &trial, misuses);
    trial_close(&trial);
}

/* Members of one way to have weights, in a plan of the other. */
Test(misuse, layer_packed) {
    struct trial trial;
    struct test_case same = plain;
    same.flags = 0;
    trial_open(&trial, BIASES | MHA_LAYER_FUSED_QKV | MHA_LAYER_PACKED, &same);
    const mha_layer_args *a = &trial.data.args;
    const mha_layer_weights *w = &trial.data.call_weights;
    const cl_mem q = a->query.memory.buffer;
    const struct misuse misuses[] = {
        {"key with fused", MHA_ERR_FLAGS, "key", {LAYER(key.memory.buffer, pointer, q)}},
        {"value with fused", MHA_ERR_FLAGS, "value", {LAYER(value.stride_token, i64, 1)}},
        {"fewer keys", MHA_ERR_SHAPE, "7 new keys", {ATT(seqlen_kv, i64, 7)}},
        {"fewer queries", MHA_ERR_SHAPE, "0 queries", {ATT(seqlen_q, i64, 0)}},
        {"weights beside packed", MHA_ERR_FLAGS, "weights", {LAYER(weights, pointer, w)}},
        {"no packed", MHA_ERR_NULL, "packed", {LAYER(packed.buffer, pointer, NULL)}},
        {"foreign packed",
         MHA_ERR_CONTEXT,
         "packed",
         {LAYER(packed.buffer, pointer, trial.foreign)}},
        {"packed misaligned", MHA_ERR_MISALIGNED, "packed", {OFFSET(layer.packed, a->packed, 2)}},
        /* One element more than the canaries behind it. */
        {"packed too small", MHA_ERR_BUFFER_SIZE, "packed", {OFFSET(layer.packed, a->packed, 132)}},
        {"kind of packed", MHA_ERR_UNSUPPORTED, "packed", {LAYER(packed.kind, i32, 1)}},
        {"y is packed", MHA_ERR_ALIAS, "packed", {AT(layer.y.memory, a->packed)}},
    };
    TRY_ALL(try_call, &trial, misuses);
    /* The smaller one laid over the larger: which that is depends on the variant. */
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_plan_get_info(trial.plan, &info, NULL);
    const struct misuse overlaps[] = {
        {"packed in workspace", MHA_ERR_ALIAS, "packed", {AT(layer.packed, a->workspace)}},
        {"workspace in packed", MHA_ERR_ALIAS, "packed", {AT(layer.workspace, a->packed)}},
    };
    try_call(&trial, &overlaps[info.packed_bytes >= info.workspace_bytes]);
    const struct misuse packs[] = {
        {"no weights", MHA_ERR_NULL, "weights", {ARGS(pack_weights, pointer, NULL)}},
        {"no packed", MHA_ERR_NULL, "packed", {ARGS(pack_packed, pointer, NULL)}},
        {"weights' size", MHA_ERR_STRUCT_SIZE, "weights", {ARGS(weights.struct_size, i64, 0)}},
        {"no qkv", MHA_ERR_NULL, "weights.qkv", {ARGS(weights.qkv.buffer, pointer, NULL)}},
        {"no bias",
         MHA_ERR_NULL,
         "weights.qkv_bias",
         {ARGS(weights.qkv_bias.buffer, pointer, NULL)}},
        {"no output", MHA_ERR_NULL, "weights.output", {ARGS(weights.output.buffer, pointer, NULL)}},
        {"separate q", MHA_ERR_FLAGS, "weights.q", {ARGS(weights.q.buffer, pointer, q)}},
        {"empty packed", MHA_ERR_NULL, "packed", {ARGS(packed.buffer, pointer, NULL)}},
        {"small packed", MHA_ERR_BUFFER_SIZE, "packed", {OFFSET(packed, a->packed, 132)}},
        {"odd packed", MHA_ERR_MISALIGNED, "packed", {OFFSET(packed, a->packed, 1)}},
        {"foreign packed",
         MHA_ERR_CONTEXT,
         "packed",
         {ARGS(packed.buffer, pointer, trial.foreign)}},
        {"kind of output",
         MHA_ERR_UNSUPPORTED,
         "weights.output",
         {ARGS(weights.output.kind, i32, 1)}},
        {"small weights",
         MHA_ERR_BUFFER_SIZE,
         "weights.output",
         {OFFSET(weights.output, w->output, 516)}},
        {"qkv in packed", MHA_ERR_ALIAS, "weights.qkv", {AT(weights.qkv, a->packed)}},
        {"bias in packed", MHA_ERR_ALIAS, "output_bias", {AT(weights.output_bias, a->packed)}},
    };
    TRY_ALL(try_pack, &trial, packs);
    trial_close(&trial);
}

Test(misuse, layer_cache) {
    struct trial trial;
    trial_open(&trial, MHA_LAYER_KV_CACHE | MHA_LAYER_OUTPUT, &plain);
    const mha_layer_args *a = &trial.data.args;
    const mha_attention_args *b = &trial.data.attention_args;
    const struct misuse misuses[] = {
        {"past -1", MHA_ERR_SHAPE, "seqlen_past is -1", {LAYER(seqlen_past, i64, -1)}},
        {"past beyond", MHA_ERR_SHAPE, "seqlen_past is 9", {LAYER(seqlen_past, i64, 9)}},
        {"past max", MHA_ERR_SHAPE, "seqlen_past", {LAYER(seqlen_past, i64, INT64_MAX)}},
        {"no k", MHA_ERR_NULL, "attention.k", {ATT(k.memory.buffer, pointer, NULL)}},
        {"no v", MHA_ERR_NULL, "attention.v", {ATT(v.memory.buffer, pointer, NULL)}},
        {"foreign k",
         MHA_ERR_CONTEXT,
         "attention.k",
         {ATT(k.memory.buffer, pointer, trial.foreign)}},
        {"k misaligned",
         MHA_ERR_MISALIGNED,
         "attention.k",
         {OFFSET(attention.k.memory, b->k.memory, 2)}},
        {"v too small",
         MHA_ERR_BUFFER_SIZE,
         "attention.v",
         {OFFSET(attention.v.memory, b->v.memory, 516)}},
        {"k read only",
         MHA_ERR_CONTEXT,
         "attention.k",
         {ATT(k.memory.buffer, pointer, trial.read_only)}},
        {"v write only",
         MHA_ERR_CONTEXT,
         "attention.v",
         {ATT(v.memory.buffer, pointer, trial.write_only)}},
        {"broadcast k", MHA_ERR_STRIDE, "attention.k", {ATT(k.stride_head, i64, 0)}},
        {"overlapping v", MHA_ERR_STRIDE, "attention.v", {ATT(v.stride_token, i64, 15)}},
        {"negative v", MHA_ERR_STRIDE, "attention.v", {ATT(v.stride_batch, i64, -1)}},
        {"k is v", MHA_ERR_ALIAS, "attention.v", {AT(attention.k.memory, b->v.memory)}},
        {"query in k", MHA_ERR_ALIAS, "query", {AT(layer.query.memory, b->k.memory)}},
        {"key in v", MHA_ERR_ALIAS, "key", {AT(layer.key.memory, b->v.memory)}},
        {"weights in k", MHA_ERR_ALIAS, "weights.v", {AT(weights.v, b->k.memory)}},
        {"y in v", MHA_ERR_ALIAS, "y", {AT(layer.y.memory, b->v.memory)}},
        {"lse in k", MHA_ERR_ALIAS, "lse", {AT(attention.lse, b->k.memory)}},
        {"v is workspace", MHA_ERR_ALIAS, "workspace", {AT(attention.v.memory, a->workspace)}},
        {"bias without flag", MHA_ERR_FLAGS, "weights.q_bias", {AT(weights.q_bias, a->weights->q)}},
        {"output_bias without flag",
         MHA_ERR_FLAGS,
         "weights.output_bias",
         {AT(weights.output_bias, a->weights->q)}},
    };
    TRY_ALL(try_call, &trial, misuses);
    trial_close(&trial);
}

/* The first new query would stand beside the first key of the past. */
Test(misuse, layer_top_left_past) {
    static const uint64_t flags[] = {MHA_CAUSAL, MHA_WINDOW, MHA_ALIBI};
    const struct misuse past = {
        "a past", MHA_ERR_VALUE, "MHA_TOP_LEFT", {LAYER(seqlen_past, i64, 3)}};
    for (size_t n = 0; n < COUNT_OF(flags); ++n) {
        struct trial trial;
        struct test_case test = plain;
        test.flags = flags[n];
        trial_open(&trial, MHA_LAYER_KV_CACHE, &test);
        try_call(&trial, &past);
        trial_close(&trial);
    }
}

Test(misuse, layer_ragged) {
    struct trial trial;
    struct test_case test = plain;
    test.flags = MHA_RAGGED_Q | MHA_RAGGED_KV;
    trial_open(&trial, MHA_LAYER_QKV_BIAS, &test);
    const mha_layer_args *a = &trial.data.args;
    const struct misuse misuses[] = {
        {"total_q -1", MHA_ERR_SHAPE, "total_q is -1", {ATT(total_q, i64, -1)}},
        {"total_q over all", MHA_ERR_LIMIT, "total_q is 17", {ATT(total_q, i64, 17)}},
        /* One row of the same element is enough for any number of tokens. */
        {"total_kv over all",
         MHA_ERR_LIMIT,
         "total_kv is 17",
         {ATT(total_kv, i64, 17), LAYER(key.stride_token, i64, 0),
          LAYER(value.stride_token, i64, 0)}},
        {"total_kv max", MHA_ERR_LIMIT, "total_kv", {ATT(total_kv, i64, INT64_MAX)}},
        {"batch stride", MHA_ERR_STRIDE, "query", {LAYER(query.stride_batch, i64, 12)}},
        {"batch stride of y", MHA_ERR_STRIDE, "y", {LAYER(y.stride_batch, i64, 32)}},
        {"a past", MHA_ERR_FLAGS, "seqlen_past", {LAYER(seqlen_past, i64, 2)}},
        {"output", MHA_ERR_FLAGS, "weights.output", {AT(weights.output, a->weights->q)}},
        {"no cu_seqlens", MHA_ERR_NULL, "cu_seqlens_q", {ATT(cu_seqlens_q.buffer, pointer, NULL)}},
        {"y is lengths",
         MHA_ERR_ALIAS,
         "cu_seqlens_kv",
         {AT(attention.cu_seqlens_kv, a->y.memory)}},
    };
    TRY_ALL(try_call, &trial, misuses);
    trial_close(&trial);
    trial_open(&trial, MHA_LAYER_KV_CACHE, &test);
    const struct misuse past = {
        "a ragged past", MHA_ERR_SHAPE, "seqlen_past", {LAYER(seqlen_past, i64, 2)}};
    try_call(&trial, &past);
    trial_close(&trial);
}
