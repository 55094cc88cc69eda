/* The projection to q, k and v and the attention of a layer as one kernel (panel_qkv), in calls
 * that suit it and in calls that do not. Where the device takes the two variants it is made of, the
 * plan must say so. */
#include "layer_case.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN (MHA_LAYER_FUSED_QKV | MHA_LAYER_OUTPUT | MHA_LAYER_PACKED)
#define BIASES (PLAIN | MHA_LAYER_QKV_BIAS | MHA_LAYER_OUTPUT_BIAS)

#define MIN_TOKENS 48 /* of calls that suit it */

/* Batch and storage type come later; two heads of 48 are whole panels of any vector. */
static const struct layer_case cases[] = {
    {.attention = {.name = "plain", .q_heads = 2, .kv_heads = 2}, .flags = PLAIN},
    {.attention = {.name = "biases", .q_heads = 2, .kv_heads = 2, .flags = MHA_LSE},
     .flags = BIASES,
     .is_padded = true},
    {.attention = {.name = "groups", .q_heads = 6, .kv_heads = 2, .head_dim_v = 96},
     .flags = BIASES,
     .embed_q = 401},
    {.attention = {.name = "shared panels", .q_heads = 12, .kv_heads = 6, .head_dim_qk = 16},
     .flags = BIASES},
    {.attention = {.name = "causal", .q_heads = 2, .kv_heads = 2, .flags = MHA_CAUSAL},
     .flags = PLAIN,
     .embed_q = 1},
    {.attention = {.name = "key lengths",
                   .q_heads = 2,
                   .kv_heads = 2,
                   .flags = MHA_KV_LENGTHS | MHA_WINDOW | MHA_LSE,
                   .window_left = 9,
                   .window_right = 4},
     .flags = BIASES},
    {.attention = {.name = "terms",
                   .q_heads = 2,
                   .kv_heads = 1,
                   .flags = MHA_BIAS | MHA_MASK | MHA_ALIBI | MHA_SOFTCAP,
                   .softcap = 2},
     .flags = PLAIN,
     .is_padded = true},
    {.attention = {.name = "weights", .q_heads = 2, .kv_heads = 2, .flags = MHA_SCORES | MHA_SINKS},
     .flags = PLAIN},
    {.attention = {.name = "without output",
                   .q_heads = 2,
                   .kv_heads = 2,
                   .seqlen_kv = 130,
                   .is_out_of_order = true},
     .flags = MHA_LAYER_FUSED_QKV | MHA_LAYER_PACKED},
    {.attention = {.name = "less than the plan's", .q_heads = 2, .kv_heads = 2, .slack = 7},
     .flags = BIASES},
    {.attention = {.name = "too short for it",
                   .q_heads = 2,
                   .kv_heads = 2,
                   .seqlen_kv = MIN_TOKENS - 1,
                   .slack = 20},
     .flags = MHA_LAYER_FUSED_QKV | MHA_LAYER_PACKED | MHA_LAYER_QKV_BIAS},
    {.attention = {.name = "just long enough",
                   .q_heads = 2,
                   .kv_heads = 2,
                   .seqlen_kv = MIN_TOKENS,
                   .slack = 20},
     .flags = MHA_LAYER_FUSED_QKV | MHA_LAYER_PACKED},
    {.attention = {.name = "two slices of x", .q_heads = 2, .kv_heads = 2},
     .flags = BIASES,
     .embed_q = 1030},
};

static struct layer_case complete(const struct layer_case *set, mha_dtype dtype, cl_uint units) {
    struct layer_case t = *set;
    struct test_case *a = &t.attention;
    a->dtype = dtype;
    a->bias_dtype = a->flags & MHA_BIAS ? dtype : MHA_F32;
    /* Whole rounds of work-groups, also of the plan's maxima. */
    a->batch = units;
    a->slack = (a->slack + units - 1) / units * units;
    a->seqlen_kv = a->seqlen_kv ? a->seqlen_kv : 50;
    a->seqlen_q = a->seqlen_kv;
    a->head_dim_qk = a->head_dim_qk ? a->head_dim_qk : 48;
    a->head_dim_v = a->head_dim_v ? a->head_dim_v : a->head_dim_qk;
    a->seed = 900 + (uint64_t)(set - cases);
    t.weight_dtype = dtype == MHA_F64 ? MHA_F64 : (mha_dtype)((set - cases) % 3);
    t.embed_q = t.embed_q ? t.embed_q : 24;
    t.embed_out = t.flags & MHA_LAYER_OUTPUT ? 22 : 0;
    return t;
}

static bool has_variant(const mha_plan *plan, size_t stage, const char *variant,
                        mha_plan_info *info) {
    *info = (mha_plan_info)MHA_PLAN_INFO_INIT;
    return mha_plan_get_info(mha_plan_stage(plan, stage, NULL), info, NULL) == MHA_SUCCESS &&
           !strcmp(info->variant, variant);
}

/* Whether the plan is merged exactly where it can be. *most: tokens of calls that are. */
static bool check_plan(const mha_plan *plan, mha_dtype dtype, int *most, char text[FAILURE_BYTES]) {
    mha_plan_info qkv, attention;
    const bool is_real = dtype == MHA_F32 || dtype == MHA_F64;
    const bool has_both = has_variant(plan, 0, "gemm_panel", &qkv) &&
                          has_variant(plan, 1, "panel", &attention) && is_real;
    const char *block = has_both ? strstr(attention.parameters, "BLOCK_Q=") : NULL;
    *most = block ? atoi(block + strlen("BLOCK_Q=")) : 0;
    const bool is_merged = has_both && strstr(attention.reason, "panel_qkv projects");
    if (is_merged == (*most >= MIN_TOKENS))
        return true;
    snprintf(text, FAILURE_BYTES, "merged %d, of %d tokens: %.300s", is_merged, *most,
             attention.reason);
    return false;
}

/* Whether a call that is projection and attention is one launch, whose event is its first and its
 * last. */
static bool check_launches(const struct test_device *device, mha_plan *plan,
                           struct layer_data *data, int most, char text[FAILURE_BYTES]) {
    const int64_t tokens = data->test.attention.seqlen_q;
    cl_event first = NULL, last = NULL;
    mha_error e;
    if (data->test.flags & MHA_LAYER_OUTPUT)
        return true;
    data->args.first_event = &first;
    const mha_status status =
        mha_enqueue_layer(plan, device->queue, &data->args, 0, NULL, &last, &e);
    data->args.first_event = NULL;
    cr_assert_eq(status, MHA_SUCCESS, "%s", e.message);
    device_check(clFinish(device->queue), "clFinish");
    const bool is_one = first == last, can_be_one = tokens >= MIN_TOKENS && tokens <= most;
    clReleaseEvent(first);
    clReleaseEvent(last);
    if (is_one == can_be_one)
        return true;
    snprintf(text, FAILURE_BYTES, "one launch: %d, expected: %d", is_one, can_be_one);
    return false;
}

static enum outcome attempt(const struct test_device *device, const void *test,
                            char text[FAILURE_BYTES]) {
    static struct layer_data data;
    const struct layer_case *t = test;
    struct layer_outputs first = {.y = NULL}, again = {.y = NULL};
    mha_plan *plan = NULL;
    mha_error e;
    int most = 0;
    layer_init(&data, t);
    bool is_ok = false;
    if (mha_layer_plan_create(device->engine, &data.desc, &plan, &e))
        snprintf(text, FAILURE_BYTES, "%.300s", e.message);
    else
        is_ok = check_plan(plan, t->attention.dtype, &most, text) &&
                layer_upload(&data, device, plan, text) &&
                layer_call(&data, device, plan, &first, text) &&
                layer_compare(&data, &first, text) &&
                check_launches(device, plan, &data, most, text) &&
                layer_call(&data, device, plan, &again, text);
    if (is_ok && !layer_outputs_are_equal(&data, &first, &again)) {
        snprintf(text, FAILURE_BYTES, "a second call gave other bits");
        is_ok = false;
    }
    layer_outputs_release(&first);
    layer_outputs_release(&again);
    layer_release(&data);
    mha_plan_destroy(&plan);
    return is_ok ? OUTCOME_PASSED : OUTCOME_FAILED;
}

Test(layer, merged, .timeout = 3600) {
    struct test_device device;
    device_open(&device);
    cl_uint units = 1;
    device_check(
        clGetDeviceInfo(device.id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof(units), &units, NULL),
        "clGetDeviceInfo");
    struct tally tally = {.suite = "layer", .title = "merged"};
    for (int dtype = 0; dtype < 4; ++dtype)
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); ++i) {
            if (device_is_slow() && i % 4 != (size_t)dtype)
                continue;
            if (dtype == MHA_F64 && !device.has_fp64)
                continue;
            const struct layer_case test = complete(&cases[i], (mha_dtype)dtype, units);
            harness_attempt(&device, test.attention.name, (mha_dtype)dtype, attempt, &test, &tally);
        }
    device_close(&device);
    tally_finish(&tally);
}
