/* Every way to get a linear projection wrong has its own status, says what was wrong and leaves
 * every buffer as it was. */
#include "guarded.h"
#include "misuse.h"

#include <criterion/criterion.h>
#include <string.h>

#define HUGE_SIZE ((int64_t)1 << 40)
#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

/* ---- Descriptors ---------------------------------------------------------------------------- */

#define DESC(member, kind, v) EDIT(mha_linear_desc, member, kind, v)

static const struct misuse desc_misuses[] = {
    {"struct_size 0", MHA_ERR_STRUCT_SIZE, "0", {DESC(struct_size, i64, 0)}},
    {"struct_size short", MHA_ERR_STRUCT_SIZE, "56", {DESC(struct_size, i64, 56)}},
    {"struct_size huge", MHA_ERR_STRUCT_SIZE, NULL, {DESC(struct_size, i64, INT64_MAX)}},
    {"unknown flag", MHA_ERR_FLAGS, "0x4", {DESC(flags, i64, 4)}},
    {"highest flag", MHA_ERR_FLAGS, NULL, {DESC(flags, i64, INT64_MIN)}},
    {"a layer's flag", MHA_ERR_FLAGS, NULL, {DESC(flags, i64, MHA_LAYER_PACKED)}},
    {"dtype 4", MHA_ERR_DTYPE, "4", {DESC(dtype, i32, 4)}},
    {"weight_dtype -1", MHA_ERR_DTYPE, "-1", {DESC(weight_dtype, i32, -1)}},
    {"weights f64 for f32", MHA_ERR_DTYPE, "weight_dtype 3", {DESC(weight_dtype, i32, MHA_F64)}},
    {"weights f32 for f64", MHA_ERR_DTYPE, "weight_dtype 0", {DESC(dtype, i32, MHA_F64)}},
    {"in_features 0", MHA_ERR_SHAPE, "in_features is 0", {DESC(in_features, i64, 0)}},
    {"out_features -3", MHA_ERR_SHAPE, "out_features is -3", {DESC(out_features, i64, -3)}},
    {"max_rows -1", MHA_ERR_SHAPE, "max_rows", {DESC(max_rows, i64, -1)}},
    {"in_features huge", MHA_ERR_OVERFLOW, "in_features", {DESC(in_features, i64, HUGE_SIZE)}},
    {"out_features max", MHA_ERR_OVERFLOW, "out_features", {DESC(out_features, i64, INT64_MAX)}},
    {"max_rows huge", MHA_ERR_OVERFLOW, "max_rows", {DESC(max_rows, i64, HUGE_SIZE)}},
    {"no such variant", MHA_ERR_VARIANT, "fastest", {DESC(variant, pointer, "fastest")}},
    {"an attention's variant", MHA_ERR_VARIANT, "flash", {DESC(variant, pointer, "flash")}},
    {"empty variant", MHA_ERR_VARIANT, NULL, {DESC(variant, pointer, "")}},
    {"variant for fp32 only",
     MHA_ERR_VARIANT,
     "clblast",
     {DESC(dtype, i32, MHA_F16), DESC(variant, pointer, "clblast")}},
};

static mha_linear_desc valid_desc(void) {
    mha_linear_desc desc = MHA_LINEAR_DESC_INIT;
    desc.flags = MHA_LINEAR_BIAS;
    desc.in_features = 12;
    desc.out_features = 10;
    desc.max_rows = 6;
    return desc;
}

Test(misuse, linear_descriptors) {
    struct test_device device;
    int failures = 0;
    device_open(&device);
    for (size_t n = 0; n < COUNT_OF(desc_misuses); ++n) {
        mha_linear_desc desc = valid_desc();
        mha_error error;
        mha_plan *plan = (mha_plan *)&desc;
        memset(&error, 0x5a, sizeof(error));
        misuse_apply(&desc_misuses[n], &desc);
        mha_status status = mha_linear_supported(device.engine, &desc, &error);
        failures += !misuse_check(&desc_misuses[n], "linear_supported", status, &error);
        memset(&error, 0x5a, sizeof(error));
        status = mha_linear_plan_create(device.engine, &desc, &plan, &error);
        failures += !misuse_check(&desc_misuses[n], "linear_plan_create", status, &error);
        cr_expect_null(plan, "%s: a plan in spite of the failure", desc_misuses[n].name);
        cr_expect_eq(mha_linear_plan_create(device.engine, &desc, &plan, NULL), status);
    }
    struct {
        mha_linear_desc desc;
        char unknown[16];
    } longer = {.desc = valid_desc()};
    longer.desc.struct_size = sizeof(longer);
    cr_expect_eq(mha_linear_supported(device.engine, &longer.desc, NULL), MHA_SUCCESS);
    longer.unknown[15] = 1;
    cr_expect_eq(mha_linear_supported(device.engine, &longer.desc, NULL), MHA_ERR_UNSUPPORTED);
    if (!device.has_fp64) {
        mha_linear_desc desc = valid_desc();
        desc.dtype = desc.weight_dtype = MHA_F64;
        cr_expect_eq(mha_linear_supported(device.engine, &desc, NULL), MHA_ERR_UNSUPPORTED);
    }
    device_close(&device);
    cr_assert_eq(failures, 0);
}

/* A limit that no workspace meets leaves the variants that need none. */
Test(misuse, linear_workspace_limit) {
    struct test_device device;
    device_open(&device);
    mha_linear_desc desc = valid_desc();
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_plan *plan = NULL;
    mha_error e;
    desc.workspace_limit_bytes = 1;
    cr_assert_eq(mha_linear_plan_create(device.engine, &desc, &plan, &e), MHA_SUCCESS, "%s",
                 e.message);
    mha_plan_get_info(plan, &info, NULL);
    cr_expect_eq(info.workspace_bytes, 0);
    mha_plan_destroy(&plan);
    const struct misuse misuse = {"limit", MHA_ERR_VARIANT, "workspace", {{0}}};
    desc.variant = "gemm_panel";
    /* The variant may also be one that this device can't run. */
    const mha_status status = mha_linear_supported(device.engine, &desc, &e);
    cr_expect(status == MHA_ERR_VARIANT || misuse_check(&misuse, "supported", status, &e));
    device_close(&device);
}

/* ---- Calls ---------------------------------------------------------------------------------- */

/* Packing takes its arguments one by one; here they are members too. */
struct pack_args {
    const mha_memory *weight, *bias, *packed;
    mha_memory weight_memory, bias_memory, packed_memory;
};

struct trial {
    struct test_device device, other;
    struct guarded guarded;
    struct test_view x, y, weight, bias, packed, workspace;
    mha_plan *plan, *packed_plan;
    mha_linear_args args, packed_args;
    struct pack_args pack;
    cl_mem foreign;
    int failures;
};

static mha_plan *make_plan(struct trial *trial, uint64_t flags) {
    mha_linear_desc desc = valid_desc();
    mha_plan *plan = NULL;
    mha_error e;
    desc.flags |= flags;
    /* One that needs a workspace and rearranges weights, where the device has it. */
    desc.variant = "gemm_panel";
    if (mha_linear_supported(trial->device.engine, &desc, NULL))
        desc.variant = NULL;
    cr_assert_eq(mha_linear_plan_create(trial->device.engine, &desc, &plan, &e), MHA_SUCCESS, "%s",
                 e.message);
    return plan;
}

static void trial_open(struct trial *trial) {
    const mha_linear_desc desc = valid_desc();
    const int64_t m = desc.max_rows, n = desc.out_features, k = desc.in_features;
    struct guarded *g = &trial->guarded;
    struct random random = {5};
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    cl_int code;
    memset(trial, 0, sizeof(*trial));
    device_open(&trial->device);
    device_open(&trial->other);
    trial->plan = make_plan(trial, 0);
    trial->packed_plan = make_plan(trial, MHA_LINEAR_PACKED);
    mha_plan_get_info(trial->plan, &info, NULL);
    trial->x = guarded_add(g, "x", NUMBER_F32, (int64_t[]){1, 1, m, k}, NULL, 0);
    trial->y = guarded_add(g, "y", NUMBER_F32, (int64_t[]){1, 1, m, n}, NULL, 0);
    trial->weight = guarded_add(g, "weight", NUMBER_F32, (int64_t[]){1, 1, n, k}, NULL, 0);
    trial->bias = guarded_add_vector(g, "bias", NUMBER_F32, n, 0);
    trial->packed = guarded_add_vector(g, "packed", NUMBER_U8, (int64_t)info.packed_bytes, 0);
    trial->workspace =
        guarded_add_vector(g, "workspace", NUMBER_U8, (int64_t)info.workspace_bytes, 0);
    view_fill(&trial->x, 1, &random);
    view_fill(&trial->weight, 1, &random);
    view_fill(&trial->bias, 1, &random);
    guarded_upload(g, &trial->device);
    trial->foreign = clCreateBuffer(trial->other.context, CL_MEM_READ_WRITE, 1 << 16, NULL, &code);
    device_check(code, "clCreateBuffer");
    trial->args = (mha_linear_args){
        .struct_size = sizeof(trial->args),
        .rows = m,
        .x = {view_memory(&trial->x), k},
        .y = {view_memory(&trial->y), n},
        .weight = view_memory(&trial->weight),
        .bias = view_memory(&trial->bias),
        .workspace = view_memory(&trial->workspace),
    };
    trial->packed_args = trial->args;
    trial->packed_args.weight = view_memory(&trial->packed);
    trial->packed_args.bias = (mha_memory){.offset_bytes = 0};
    trial->pack = (struct pack_args){.weight_memory = view_memory(&trial->weight),
                                     .bias_memory = view_memory(&trial->bias),
                                     .packed_memory = view_memory(&trial->packed)};
}

/* Nothing was written, and right calls still work. */
static void trial_close(struct trial *trial) {
    struct guarded *g = &trial->guarded;
    const cl_command_queue queue = trial->device.queue;
    char failure[FAILURE_BYTES] = "";
    mha_error e;
    clFinish(queue);
    cr_expect(buffers_take(&trial->device, g->buffers, g->count, g->names, NULL, 0, failure),
              "a refused call wrote: %s", failure);
    mha_status status = mha_enqueue_linear(trial->plan, queue, &trial->args, 0, NULL, NULL, &e);
    cr_expect_eq(status, MHA_SUCCESS, "%s", e.message);
    const struct pack_args *p = &trial->pack;
    status = mha_enqueue_linear_pack(trial->plan, queue, &p->weight_memory, &p->bias_memory,
                                     &p->packed_memory, 0, NULL, NULL, &e);
    cr_expect_eq(status, MHA_SUCCESS, "%s", e.message);
    status = mha_enqueue_linear(trial->packed_plan, queue, &trial->packed_args, 0, NULL, NULL, &e);
    cr_expect_eq(status, MHA_SUCCESS, "%s", e.message);
    clFinish(queue);
    guarded_release(g);
    clReleaseMemObject(trial->foreign);
    mha_plan_destroy(&trial->plan);
    mha_plan_destroy(&trial->packed_plan);
    device_close(&trial->other);
    device_close(&trial->device);
    cr_expect_eq(trial->failures, 0);
}

static void try_call(struct trial *trial, mha_plan *plan, const mha_linear_args *valid,
                     const struct misuse *misuse) {
    mha_linear_args args = *valid;
    cl_event event = (cl_event)&args;
    mha_error e;
    memset(&e, 0x5a, sizeof(e));
    misuse_apply(misuse, &args);
    mha_status status = mha_enqueue_linear(plan, trial->device.queue, &args, 0, NULL, &event, &e);
    trial->failures += !misuse_check(misuse, "enqueue_linear", status, &e);
    cr_expect_null(event, "%s: an event in spite of the failure", misuse->name);
    status = mha_enqueue_linear(plan, trial->device.queue, &args, 0, NULL, NULL, NULL);
    cr_expect_eq(status, misuse->expected, "%s, with no error: %s", misuse->name,
                 mha_status_name(status));
}

static void try_pack(struct trial *trial, const struct misuse *misuse) {
    struct pack_args args = trial->pack;
    cl_event event = (cl_event)&args;
    mha_error e;
    memset(&e, 0x5a, sizeof(e));
    args.weight = &args.weight_memory;
    args.bias = &args.bias_memory;
    args.packed = &args.packed_memory;
    misuse_apply(misuse, &args);
    const mha_status status = mha_enqueue_linear_pack(trial->plan, trial->device.queue, args.weight,
                                                      args.bias, args.packed, 0, NULL, &event, &e);
    trial->failures += !misuse_check(misuse, "enqueue_linear_pack", status, &e);
    cr_expect_null(event, "%s: an event in spite of the failure", misuse->name);
}

#define ARGS(member, kind, v) EDIT(mha_linear_args, member, kind, v)
#define BUFFER(member, memory) ARGS(member.buffer, pointer, (memory).buffer)
#define OFFSET(member, memory, more)                                                               \
    ARGS(member.offset_bytes, i64, (int64_t)(memory).offset_bytes + (more))
#define AT(member, memory) BUFFER(member, memory), OFFSET(member, memory, 0)

Test(misuse, linear_calls) {
    struct trial trial;
    trial_open(&trial);
    const mha_linear_args *a = &trial.args;
    const struct misuse misuses[] = {
        {"struct_size 0", MHA_ERR_STRUCT_SIZE, "0", {ARGS(struct_size, i64, 0)}},
        {"struct_size short", MHA_ERR_STRUCT_SIZE, "16", {ARGS(struct_size, i64, 16)}},
        {"rows -1", MHA_ERR_SHAPE, "rows is -1", {ARGS(rows, i64, -1)}},
        {"rows 7", MHA_ERR_LIMIT, "7", {ARGS(rows, i64, 7)}},
        {"rows max", MHA_ERR_LIMIT, "rows", {ARGS(rows, i64, INT64_MAX)}},
        {"negative x stride", MHA_ERR_STRIDE, "x.stride_row", {ARGS(x.stride_row, i64, -1)}},
        {"negative y stride", MHA_ERR_STRIDE, "y.stride_row", {ARGS(y.stride_row, i64, -12)}},
        {"overlapping y", MHA_ERR_STRIDE, "9", {ARGS(y.stride_row, i64, 9)}},
        {"repeated y", MHA_ERR_STRIDE, "y", {ARGS(y.stride_row, i64, 0)}},
        {"overflowing x", MHA_ERR_OVERFLOW, "x", {ARGS(x.stride_row, i64, INT64_MAX)}},
        {"overflowing bytes", MHA_ERR_BUFFER_SIZE, "x", {ARGS(x.stride_row, i64, INT64_MAX / 8)}},
        {"x beyond", MHA_ERR_BUFFER_SIZE, "x", {ARGS(x.stride_row, i64, 100000)}},
        {"no x", MHA_ERR_NULL, "x", {ARGS(x.memory.buffer, pointer, NULL)}},
        {"no y", MHA_ERR_NULL, "y", {ARGS(y.memory.buffer, pointer, NULL)}},
        {"no weight", MHA_ERR_NULL, "weight", {ARGS(weight.buffer, pointer, NULL)}},
        {"no bias", MHA_ERR_NULL, "bias", {ARGS(bias.buffer, pointer, NULL)}},
        {"foreign x", MHA_ERR_CONTEXT, "x", {ARGS(x.memory.buffer, pointer, trial.foreign)}},
        {"foreign y", MHA_ERR_CONTEXT, "y", {ARGS(y.memory.buffer, pointer, trial.foreign)}},
        {"foreign weight",
         MHA_ERR_CONTEXT,
         "weight",
         {ARGS(weight.buffer, pointer, trial.foreign)}},
        {"foreign bias", MHA_ERR_CONTEXT, "bias", {ARGS(bias.buffer, pointer, trial.foreign)}},
        {"kind of x", MHA_ERR_UNSUPPORTED, "x.kind is 1", {ARGS(x.memory.kind, i32, 1)}},
        {"kind of bias", MHA_ERR_UNSUPPORTED, "bias.kind is 9", {ARGS(bias.kind, i32, 9)}},
        {"x misaligned", MHA_ERR_MISALIGNED, "x", {OFFSET(x.memory, a->x.memory, 1)}},
        {"y misaligned", MHA_ERR_MISALIGNED, "y", {OFFSET(y.memory, a->y.memory, 2)}},
        {"weight misaligned", MHA_ERR_MISALIGNED, "weight", {OFFSET(weight, a->weight, 3)}},
        {"bias misaligned", MHA_ERR_MISALIGNED, "bias", {OFFSET(bias, a->bias, 2)}},
        {"weight too small", MHA_ERR_BUFFER_SIZE, "weight", {OFFSET(weight, a->weight, 516)}},
        {"bias too small", MHA_ERR_BUFFER_SIZE, "bias", {OFFSET(bias, a->bias, 520)}},
        {"y too small", MHA_ERR_BUFFER_SIZE, "y", {OFFSET(y.memory, a->y.memory, 520)}},
        {"y is x", MHA_ERR_ALIAS, "x", {AT(y.memory, a->x.memory)}},
        {"y in weight", MHA_ERR_ALIAS, "weight", {BUFFER(y.memory, a->weight)}},
        {"bias in y", MHA_ERR_ALIAS, "bias", {AT(bias, a->y.memory)}},
    };
    for (size_t n = 0; n < COUNT_OF(misuses); ++n)
        try_call(&trial, trial.plan, a, &misuses[n]);
    const struct misuse workspaces[] = {
        {"no workspace", MHA_ERR_WORKSPACE, "workspace", {ARGS(workspace.buffer, pointer, NULL)}},
        {"small workspace", MHA_ERR_WORKSPACE, "workspace", {OFFSET(workspace, a->workspace, 132)}},
        {"odd workspace", MHA_ERR_MISALIGNED, "workspace", {OFFSET(workspace, a->workspace, 1)}},
        {"workspace is y", MHA_ERR_ALIAS, "workspace", {AT(y.memory, a->workspace)}},
        {"workspace is x", MHA_ERR_ALIAS, "workspace", {AT(x.memory, a->workspace)}},
        {"workspace is weight", MHA_ERR_ALIAS, "workspace", {AT(weight, a->workspace)}},
    };
    for (size_t n = 0; n < COUNT_OF(workspaces) && view_count(&trial.workspace); ++n)
        try_call(&trial, trial.plan, a, &workspaces[n]);
    trial_close(&trial);
}

Test(misuse, linear_packed) {
    struct trial trial;
    trial_open(&trial);
    const mha_linear_args *a = &trial.packed_args;
    const struct misuse misuses[] = {
        {"bias beside packed", MHA_ERR_FLAGS, "bias", {BUFFER(bias, trial.args.bias)}},
        {"no packed", MHA_ERR_NULL, "weight", {ARGS(weight.buffer, pointer, NULL)}},
        /* One element more than the canaries behind it. */
        {"packed too small", MHA_ERR_BUFFER_SIZE, "weight", {OFFSET(weight, a->weight, 132)}},
        {"packed misaligned", MHA_ERR_MISALIGNED, "weight", {OFFSET(weight, a->weight, 2)}},
        {"y is packed", MHA_ERR_ALIAS, "weight", {AT(y.memory, a->weight)}},
    };
    for (size_t n = 0; n < COUNT_OF(misuses); ++n)
        try_call(&trial, trial.packed_plan, a, &misuses[n]);
#define PACK(member, kind, v) EDIT(struct pack_args, member, kind, v)
    const struct pack_args *p = &trial.pack;
    const struct misuse packs[] = {
        {"no weight", MHA_ERR_NULL, "weight", {PACK(weight, pointer, NULL)}},
        {"no bias", MHA_ERR_NULL, "bias", {PACK(bias, pointer, NULL)}},
        {"no packed", MHA_ERR_NULL, "packed", {PACK(packed, pointer, NULL)}},
        {"empty weight", MHA_ERR_NULL, "weight", {PACK(weight_memory.buffer, pointer, NULL)}},
        {"empty packed", MHA_ERR_NULL, "packed", {PACK(packed_memory.buffer, pointer, NULL)}},
        {"foreign packed",
         MHA_ERR_CONTEXT,
         "packed",
         {PACK(packed_memory.buffer, pointer, trial.foreign)}},
        {"packed too small",
         MHA_ERR_BUFFER_SIZE,
         "packed",
         {PACK(packed_memory.offset_bytes, i64, (int64_t)p->packed_memory.offset_bytes + 132)}},
        {"packed misaligned",
         MHA_ERR_MISALIGNED,
         "packed",
         {PACK(packed_memory.offset_bytes, i64, 1)}},
        {"kind of weight", MHA_ERR_UNSUPPORTED, "weight", {PACK(weight_memory.kind, i32, 2)}},
        {"packed is weight",
         MHA_ERR_ALIAS,
         "weight",
         {PACK(weight_memory.buffer, pointer, p->packed_memory.buffer)}},
    };
    for (size_t n = 0; n < COUNT_OF(packs); ++n)
        try_pack(&trial, &packs[n]);
    trial_close(&trial);
}

static void expect(struct trial *trial, const char *name, mha_status expected, mha_status status,
                   const mha_error *e) {
    const struct misuse misuse = {name, expected, NULL, {{0}}};
    trial->failures += !misuse_check(&misuse, "linear", status, e);
}

/* Plans of other operations, queues, events, handles. */
Test(misuse, linear_objects) {
    struct trial trial;
    cl_int code;
    mha_error e;
    trial_open(&trial);
    mha_engine *engine = trial.device.engine;
    mha_attention_desc attention_desc = MHA_ATTENTION_DESC_INIT;
    attention_desc.q_heads = attention_desc.kv_heads = 1;
    attention_desc.head_dim_qk = attention_desc.head_dim_v = 8;
    const mha_linear_desc desc = valid_desc();
    mha_plan *attention = NULL, *plan = trial.plan;
    cr_assert_eq(mha_plan_create(engine, &attention_desc, &attention, &e), MHA_SUCCESS);
    cl_event foreign = clCreateUserEvent(trial.other.context, &code);
    device_check(code, "clCreateUserEvent");
    const mha_linear_args *a = &trial.args;
    const struct pack_args *p = &trial.pack;
    const cl_command_queue queue = trial.device.queue;
    const mha_attention_args attention_args = MHA_ATTENTION_ARGS_INIT;
    const mha_layer_args layer_args = MHA_LAYER_ARGS_INIT;
#define CALL(plan, queue, args, n_wait, wait)                                                      \
    mha_enqueue_linear(plan, queue, args, n_wait, wait, NULL, &e)
#define PACK_CALL(plan, queue, n_wait, wait)                                                       \
    mha_enqueue_linear_pack(plan, queue, &p->weight_memory, &p->bias_memory, &p->packed_memory,    \
                            n_wait, wait, NULL, &e)
    expect(&trial, "no engine", MHA_ERR_NULL, mha_linear_supported(NULL, &desc, &e), &e);
    expect(&trial, "no desc", MHA_ERR_NULL, mha_linear_supported(engine, NULL, &e), &e);
    expect(&trial, "no engine", MHA_ERR_NULL, mha_linear_plan_create(NULL, &desc, &plan, &e), &e);
    expect(&trial, "no desc", MHA_ERR_NULL, mha_linear_plan_create(engine, NULL, &plan, &e), &e);
    expect(&trial, "no result", MHA_ERR_NULL, mha_linear_plan_create(engine, &desc, NULL, &e), &e);
    plan = trial.plan;
    expect(&trial, "no plan", MHA_ERR_NULL, CALL(NULL, queue, a, 0, NULL), &e);
    expect(&trial, "attention", MHA_ERR_PLAN, CALL(attention, queue, a, 0, NULL), &e);
    expect(&trial, "no queue", MHA_ERR_NULL, CALL(plan, NULL, a, 0, NULL), &e);
    expect(&trial, "no args", MHA_ERR_NULL, CALL(plan, queue, NULL, 0, NULL), &e);
    expect(&trial, "foreign queue", MHA_ERR_QUEUE, CALL(plan, trial.other.queue, a, 0, NULL), &e);
    expect(&trial, "no wait list", MHA_ERR_WAIT_LIST, CALL(plan, queue, a, 1, NULL), &e);
    expect(&trial, "foreign event", MHA_ERR_WAIT_LIST, CALL(plan, queue, a, 1, &foreign), &e);
    expect(&trial, "no plan", MHA_ERR_NULL, PACK_CALL(NULL, queue, 0, NULL), &e);
    expect(&trial, "attention", MHA_ERR_PLAN, PACK_CALL(attention, queue, 0, NULL), &e);
    expect(&trial, "no queue", MHA_ERR_NULL, PACK_CALL(plan, NULL, 0, NULL), &e);
    expect(&trial, "foreign queue", MHA_ERR_QUEUE, PACK_CALL(plan, trial.other.queue, 0, NULL), &e);
    expect(&trial, "foreign event", MHA_ERR_WAIT_LIST, PACK_CALL(plan, queue, 1, &foreign), &e);
    expect(&trial, "a projection's plan", MHA_ERR_PLAN,
           mha_enqueue_attention(plan, queue, &attention_args, 0, NULL, NULL, &e), &e);
    expect(&trial, "a projection's plan", MHA_ERR_PLAN,
           mha_enqueue_layer(plan, queue, &layer_args, 0, NULL, NULL, &e), &e);
    cr_expect_null(mha_linear_variant_name(SIZE_MAX));
    clSetUserEventStatus(foreign, CL_COMPLETE);
    clReleaseEvent(foreign);
    mha_plan_destroy(&attention);
    trial_close(&trial);
}
