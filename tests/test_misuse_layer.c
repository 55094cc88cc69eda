/* Every way to get a layer wrong has its own status, says what was wrong and leaves every buffer as
 * it was. */
#include "layer_case.h"
#include "misuse.h"

#include <criterion/criterion.h>
#include <string.h>

#define HUGE_SIZE ((int64_t)1 << 40)
#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

/* ---- Descriptors ---------------------------------------------------------------------------- */

/* Both descriptors: tables edit either. */
struct descs {
    mha_layer_desc layer;
    mha_attention_desc attention;
};

#define DESC(member, kind, v) EDIT(struct descs, member, kind, v)

static const struct misuse desc_misuses[] = {
    {"struct_size 0", MHA_ERR_STRUCT_SIZE, "0", {DESC(layer.struct_size, i64, 0)}},
    {"struct_size 24", MHA_ERR_STRUCT_SIZE, "24", {DESC(layer.struct_size, i64, 24)}},
    {"struct_size huge", MHA_ERR_STRUCT_SIZE, NULL, {DESC(layer.struct_size, i64, INT64_MAX)}},
    {"unknown flag", MHA_ERR_FLAGS, "0x44", {DESC(layer.flags, i64, 0x44)}},
    {"highest flag", MHA_ERR_FLAGS, NULL, {DESC(layer.flags, i64, INT64_MIN)}},
    {"attention's flag here", MHA_ERR_FLAGS, "attention", {DESC(layer.flags, i64, MHA_CAUSAL)}},
    {"its flag there", MHA_ERR_FLAGS, NULL, {DESC(attention.flags, i64, MHA_LAYER_OUTPUT)}},
    {"a projection's flag", MHA_ERR_FLAGS, NULL, {DESC(layer.flags, i64, MHA_LINEAR_BIAS)}},
    {"bias without output",
     MHA_ERR_FLAGS,
     "MHA_LAYER_OUTPUT",
     {DESC(layer.flags, i64, MHA_LAYER_OUTPUT_BIAS), DESC(layer.embed_out, i64, 0)}},
    {"embed_k with fused",
     MHA_ERR_FLAGS,
     "embed_k",
     {DESC(layer.flags, i64, MHA_LAYER_FUSED_QKV | MHA_LAYER_OUTPUT), DESC(layer.embed_v, i64, 0)}},
    {"embed_v with fused",
     MHA_ERR_FLAGS,
     "embed_v",
     {DESC(layer.flags, i64, MHA_LAYER_FUSED_QKV | MHA_LAYER_OUTPUT), DESC(layer.embed_k, i64, 0)}},
    {"embed_out without output", MHA_ERR_FLAGS, "embed_out", {DESC(layer.flags, i64, 0)}},
    {"fused, half ragged",
     MHA_ERR_FLAGS,
     "ragged",
     {DESC(layer.flags, i64, MHA_LAYER_FUSED_QKV | MHA_LAYER_OUTPUT), DESC(layer.embed_k, i64, 0),
      DESC(layer.embed_v, i64, 0), DESC(attention.flags, i64, MHA_RAGGED_Q)}},
    {"no attention", MHA_ERR_NULL, NULL, {DESC(layer.attention, pointer, NULL)}},
    {"attention's size", MHA_ERR_STRUCT_SIZE, "attention", {DESC(attention.struct_size, i64, 0)}},
    {"attention's flag", MHA_ERR_FLAGS, "0x4000", {DESC(attention.flags, i64, 1 << 14)}},
    {"attention's heads", MHA_ERR_SHAPE, "q_heads", {DESC(attention.q_heads, i64, 0)}},
    {"attention's scale", MHA_ERR_FLAGS, "scale", {DESC(attention.scale, f64, 1)}},
    {"attention's variant",
     MHA_ERR_VARIANT,
     "fastest",
     {DESC(attention.variant, pointer, "fastest")}},
    {"weight_dtype 4", MHA_ERR_DTYPE, "weight_dtype 4", {DESC(layer.weight_dtype, i32, 4)}},
    {"weights f64 for f32", MHA_ERR_DTYPE, "3", {DESC(layer.weight_dtype, i32, MHA_F64)}},
    {"weights f32 for f64", MHA_ERR_DTYPE, "3", {DESC(attention.dtype, i32, MHA_F64)}},
    {"embed_q 0", MHA_ERR_SHAPE, "embed_q is 0", {DESC(layer.embed_q, i64, 0)}},
    {"embed_k -1", MHA_ERR_SHAPE, "embed_k is -1", {DESC(layer.embed_k, i64, -1)}},
    {"embed_v 0", MHA_ERR_SHAPE, "embed_v", {DESC(layer.embed_v, i64, 0)}},
    {"embed_out 0", MHA_ERR_SHAPE, "embed_out", {DESC(layer.embed_out, i64, 0)}},
    {"embed_q huge", MHA_ERR_OVERFLOW, "embed_q", {DESC(layer.embed_q, i64, HUGE_SIZE)}},
    {"embed_out max", MHA_ERR_OVERFLOW, "embed_out", {DESC(layer.embed_out, i64, INT64_MAX)}},
    {"tokens of all",
     MHA_ERR_OVERFLOW,
     "tokens",
     {DESC(attention.max_batch, i64, 1 << 20), DESC(attention.max_seqlen_q, i64, 1 << 20),
      DESC(attention.max_seqlen_kv, i64, 1)}},
    {"projection's variant",
     MHA_ERR_VARIANT,
     "panel",
     {DESC(layer.projection_variant, pointer, "panel")}},
    {"empty variant", MHA_ERR_VARIANT, NULL, {DESC(layer.projection_variant, pointer, "")}},
};

static struct descs valid_descs(void) {
    struct descs descs = {
        .layer = {.struct_size = sizeof(mha_layer_desc),
                  .flags = MHA_LAYER_OUTPUT,
                  .embed_q = 12,
                  .embed_k = 8,
                  .embed_v = 10,
                  .embed_out = 14},
        .attention = {.struct_size = sizeof(mha_attention_desc),
                      .q_heads = 2,
                      .kv_heads = 2,
                      .head_dim_qk = 16,
                      .head_dim_v = 16,
                      .max_batch = 2,
                      .max_seqlen_q = 8,
                      .max_seqlen_kv = 8},
    };
    return descs;
}

/* supported() and plan_create() agree. */
static bool check_desc(struct test_device *device, const struct misuse *misuse,
                       const mha_layer_desc *desc) {
    mha_error error;
    mha_plan *plan = (mha_plan *)&error;
    memset(&error, 0x5a, sizeof(error));
    mha_status status = mha_layer_supported(device->engine, desc, &error);
    bool is_ok = misuse_check(misuse, "layer_supported", status, &error);
    memset(&error, 0x5a, sizeof(error));
    status = mha_layer_plan_create(device->engine, desc, &plan, &error);
    is_ok &= misuse_check(misuse, "layer_plan_create", status, &error);
    cr_expect_null(plan, "%s: a plan in spite of the failure", misuse->name);
    cr_expect_eq(mha_layer_plan_create(device->engine, desc, &plan, NULL), status);
    mha_plan_destroy(&plan);
    return is_ok;
}

Test(misuse, layer_descriptors) {
    struct test_device device;
    int failures = 0;
    device_open(&device);
    for (size_t n = 0; n < COUNT_OF(desc_misuses); ++n) {
        struct descs descs = valid_descs();
        descs.layer.attention = &descs.attention;
        misuse_apply(&desc_misuses[n], &descs);
        failures += !check_desc(&device, &desc_misuses[n], &descs.layer);
    }
    struct {
        mha_layer_desc layer;
        char unknown[16];
    } longer;
    struct descs descs = valid_descs();
    memset(&longer, 0, sizeof(longer));
    longer.layer = descs.layer;
    longer.layer.attention = &descs.attention;
    longer.layer.struct_size = sizeof(longer);
    cr_expect_eq(mha_layer_supported(device.engine, &longer.layer, NULL), MHA_SUCCESS);
    longer.unknown[3] = 1;
    cr_expect_eq(mha_layer_supported(device.engine, &longer.layer, NULL), MHA_ERR_UNSUPPORTED);
    device_close(&device);
    cr_assert_eq(failures, 0);
}

/* No device has 200 GB for one buffer, and an enqueue could not use less. */
Test(misuse, layer_too_large) {
    struct test_device device;
    struct descs descs = valid_descs();
    const struct misuse misuse = {"large workspace", MHA_ERR_UNSUPPORTED, "workspace", {{0}}};
    descs.layer.attention = &descs.attention;
    descs.attention.q_heads = descs.attention.kv_heads = 16;
    descs.attention.head_dim_qk = descs.attention.head_dim_v = 64;
    descs.attention.max_batch = descs.attention.max_seqlen_q = 4096;
    descs.attention.max_seqlen_kv = 4096;
    device_open(&device);
    cr_expect(check_desc(&device, &misuse, &descs.layer));
    device_close(&device);
}

/* ---- Queues, events, handles ----------------------------------------------------------------- */

static void expect(int *failures, const char *name, mha_status expected, mha_status status,
                   const mha_error *e) {
    const struct misuse misuse = {name, expected, NULL, {{0}}};
    *failures += !misuse_check(&misuse, "layer", status, e);
}

/* Each operation takes plans of its own kind only. */
Test(misuse, layer_objects) {
    struct test_device device, other;
    struct descs descs = valid_descs();
    mha_plan *plan = NULL, *attention = NULL, *none = NULL;
    int failures = 0;
    cl_int code;
    mha_error e;
    device_open(&device);
    device_open(&other);
    mha_engine *engine = device.engine;
    const mha_layer_desc *desc = &descs.layer;
    descs.layer.attention = &descs.attention;
    cr_assert_eq(mha_layer_plan_create(engine, desc, &plan, &e), MHA_SUCCESS, "%s", e.message);
    cr_assert_eq(mha_plan_create(engine, &descs.attention, &attention, &e), MHA_SUCCESS);
    cl_event foreign = clCreateUserEvent(other.context, &code);
    device_check(code, "clCreateUserEvent");
    const cl_command_queue queue = device.queue;
    const mha_layer_args args = MHA_LAYER_ARGS_INIT, *a = &args;
    const mha_attention_args attention_args = MHA_ATTENTION_ARGS_INIT;
    const mha_linear_args linear_args = MHA_LINEAR_ARGS_INIT;
    const mha_layer_weights weights = MHA_LAYER_WEIGHTS_INIT;
    const mha_memory packed = mha_buffer(NULL, 0);
    const mha_plan *stage = mha_plan_stage(plan, 0, NULL);
    cr_assert_not_null(stage);
#define CALL(plan, queue, args, n_wait, wait)                                                      \
    mha_enqueue_layer(plan, queue, args, n_wait, wait, NULL, &e)
#define PACK(plan, queue, n_wait, wait)                                                            \
    mha_enqueue_layer_pack(plan, queue, &weights, &packed, n_wait, wait, NULL, &e)
#define EXPECT(name, expected, status) expect(&failures, name, expected, status, &e)
    EXPECT("no engine", MHA_ERR_NULL, mha_layer_supported(NULL, desc, &e));
    EXPECT("no desc", MHA_ERR_NULL, mha_layer_supported(engine, NULL, &e));
    EXPECT("no engine", MHA_ERR_NULL, mha_layer_plan_create(NULL, desc, &none, &e));
    EXPECT("no desc", MHA_ERR_NULL, mha_layer_plan_create(engine, NULL, &none, &e));
    EXPECT("no result", MHA_ERR_NULL, mha_layer_plan_create(engine, desc, NULL, &e));
    EXPECT("no plan", MHA_ERR_NULL, CALL(NULL, queue, a, 0, NULL));
    EXPECT("an attention's plan", MHA_ERR_PLAN, CALL(attention, queue, a, 0, NULL));
    EXPECT("no queue", MHA_ERR_NULL, CALL(plan, NULL, a, 0, NULL));
    EXPECT("no args", MHA_ERR_NULL, CALL(plan, queue, NULL, 0, NULL));
    EXPECT("foreign queue", MHA_ERR_QUEUE, CALL(plan, other.queue, a, 0, NULL));
    EXPECT("no wait list", MHA_ERR_WAIT_LIST, CALL(plan, queue, a, 1, NULL));
    EXPECT("no count", MHA_ERR_WAIT_LIST, CALL(plan, queue, a, 0, &foreign));
    EXPECT("foreign event", MHA_ERR_WAIT_LIST, CALL(plan, queue, a, 1, &foreign));
    EXPECT("no plan", MHA_ERR_NULL, PACK(NULL, queue, 0, NULL));
    EXPECT("an attention's plan", MHA_ERR_PLAN, PACK(attention, queue, 0, NULL));
    EXPECT("no queue", MHA_ERR_NULL, PACK(plan, NULL, 0, NULL));
    EXPECT("foreign queue", MHA_ERR_QUEUE, PACK(plan, other.queue, 0, NULL));
    EXPECT("foreign event", MHA_ERR_WAIT_LIST, PACK(plan, queue, 1, &foreign));
    EXPECT("a layer's plan", MHA_ERR_PLAN,
           mha_enqueue_attention(plan, queue, &attention_args, 0, NULL, NULL, &e));
    EXPECT("a layer's plan", MHA_ERR_PLAN,
           mha_enqueue_linear(plan, queue, &linear_args, 0, NULL, NULL, &e));
    EXPECT("a layer's plan", MHA_ERR_PLAN,
           mha_enqueue_linear_pack(plan, queue, &packed, NULL, &packed, 0, NULL, NULL, &e));
    clSetUserEventStatus(foreign, CL_COMPLETE);
    clReleaseEvent(foreign);
    mha_plan_destroy(&attention);
    mha_plan_destroy(&plan);
    device_close(&other);
    device_close(&device);
    cr_assert_eq(failures, 0);
}
