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

/* What keeps the two apart. */
static const struct layer_case apart[] = {
    {.attention =
         {.name = "batch invariant", .q_heads = 2, .kv_heads = 2, .flags = MHA_BATCH_INVARIANT},
     .flags = BIASES},
    {.attention =
         {.name = "ragged", .q_heads = 2, .kv_heads = 2, .flags = MHA_RAGGED_Q | MHA_RAGGED_KV},
     .flags = BIASES},
    {.attention = {.name = "cache", .q_heads = 2, .kv_heads = 2},
     .flags = BIASES | MHA_LAYER_KV_CACHE},
    {.attention = {.name = "weights as they are", .q_heads = 2, .kv_heads = 2},
     .flags = BIASES & ~MHA_LAYER_PACKED},
    {.attention = {.name = "attention by name", .q_heads = 2, .kv_heads = 2, .variant = "panel"},
     .flags = BIASES},
    {.attention = {.name = "projection by name", .q_heads = 2, .kv_heads = 2},
     .flags = BIASES,
     .projection_variant = "gemm_panel"},
};

/* One of them, and what is expected of it where the device takes the two variants. */
struct merge_case {
    struct layer_case layer;
    bool is_apart, is_unbalanced;
};

static struct layer_case complete(const struct layer_case *set, size_t index, mha_dtype dtype,
                                  cl_uint units) {
    struct layer_case t = *set;
    struct test_case *a = &t.attention;
    a->dtype = dtype;
    a->bias_dtype = a->flags & MHA_BIAS ? dtype : MHA_F32;
    /* Whole rounds of work-groups, also of the plan's maxima. */
    a->batch = a->batch ? a->batch : units;
    a->seqlen_kv = a->seqlen_kv ? a->seqlen_kv : 50;
    a->seqlen_q = a->seqlen_kv;
    a->head_dim_qk = a->head_dim_qk ? a->head_dim_qk : 48;
    a->head_dim_v = a->head_dim_v ? a->head_dim_v : a->head_dim_qk;
    a->seed = 900 + index;
    t.weight_dtype = dtype == MHA_F64 ? MHA_F64 : (mha_dtype)(index % 3);
    t.embed_q = t.embed_q ? t.embed_q : 24;
    t.embed_out = t.flags & MHA_LAYER_OUTPUT ? 22 : 0;
    return t;
}

#define CASE_COUNT (sizeof(cases) / sizeof(*cases))
#define APART_COUNT (sizeof(apart) / sizeof(*apart))

/* Case number `index` of both tables; last one whose call's work-groups would leave most compute
 * units idle, those of a larger batch would not. */
static struct merge_case get_case(size_t index, mha_dtype dtype, cl_uint units) {
    const bool is_apart = index >= CASE_COUNT && index < CASE_COUNT + APART_COUNT;
    const struct layer_case unbalanced = {
        .attention = {.name = "unbalanced",
                      .batch = 1,
                      .q_heads = units + 1,
                      .kv_heads = units + 1,
                      .head_dim_qk = 64,
                      .slack = units - 1},
        .flags = MHA_LAYER_FUSED_QKV | MHA_LAYER_PACKED,
    };
    const struct layer_case *set = index < CASE_COUNT ? &cases[index]
                                   : is_apart         ? &apart[index - CASE_COUNT]
                                                      : &unbalanced;
    struct merge_case test = {.is_apart = is_apart,
                              .is_unbalanced = set == &unbalanced && units > 1};
    test.layer = complete(set, set == &unbalanced ? 0 : index, dtype, units);
    if (set != &unbalanced)
        test.layer.attention.slack = (test.layer.attention.slack + units - 1) / units * units;
    return test;
}

static bool has_variant(const mha_plan *plan, size_t stage, const char *variant,
                        mha_plan_info *info) {
    *info = (mha_plan_info)MHA_PLAN_INFO_INIT;
    return mha_plan_get_info(mha_plan_stage(plan, stage, NULL), info, NULL) == MHA_SUCCESS &&
           !strcmp(info->variant, variant);
}

/* Whether the plan is merged exactly where it can be. *most: tokens of calls that are. */
static bool check_plan(const mha_plan *plan, const struct merge_case *test, int *most,
                       char text[FAILURE_BYTES]) {
    mha_plan_info qkv, attention;
    const mha_dtype dtype = test->layer.attention.dtype;
    const bool can_merge = (dtype == MHA_F32 || dtype == MHA_F64) && !test->is_apart;
    const bool has_panels = has_variant(plan, 0, "gemm_panel", &qkv);
    const bool has_both = has_variant(plan, 1, "panel", &attention) && has_panels;
    const char *block = has_both && can_merge ? strstr(attention.parameters, "BLOCK_Q=") : NULL;
    *most = block ? atoi(block + strlen("BLOCK_Q=")) : 0;
    const bool is_merged = strstr(attention.reason, "panel_qkv projects");
    if (is_merged == (*most >= MIN_TOKENS))
        return true;
    snprintf(text, FAILURE_BYTES, "merged %d, of %d tokens: %.300s", is_merged, *most,
             attention.reason);
    return false;
}

/* Whether a call that is projection and attention is one launch, whose event is its first and its
 * last. */
static bool check_launches(const struct test_device *device, mha_plan *plan,
                           const struct merge_case *test, struct layer_data *data, int most,
                           char text[FAILURE_BYTES]) {
    const int64_t tokens = data->test.attention.seqlen_q;
    cl_event first = NULL, last = NULL;
    mha_error e;
    if (test->layer.flags & MHA_LAYER_OUTPUT)
        return true;
    data->args.first_event = &first;
    const mha_status status =
        mha_enqueue_layer(plan, device->queue, &data->args, 0, NULL, &last, &e);
    data->args.first_event = NULL;
    cr_assert_eq(status, MHA_SUCCESS, "%s", e.message);
    device_check(clFinish(device->queue), "clFinish");
    const bool is_one = first == last;
    const bool can_be_one = tokens >= MIN_TOKENS && tokens <= most && !test->is_unbalanced;
    clReleaseEvent(first);
    clReleaseEvent(last);
    if (is_one == can_be_one)
        return true;
    snprintf(text, FAILURE_BYTES, "one launch: %d, expected: %d", is_one, can_be_one);
    return false;
}

static bool run_plan(const struct test_device *device, mha_plan *plan,
                     const struct merge_case *test, struct layer_data *data,
                     char text[FAILURE_BYTES]) {
    struct layer_outputs first = {.y = NULL}, again = {.y = NULL};
    int most = 0;
    bool is_ok = check_plan(plan, test, &most, text) && layer_upload(data, device, plan, text) &&
                 layer_call(data, device, plan, &first, text) &&
                 layer_compare(data, &first, text) &&
                 check_launches(device, plan, test, data, most, text) &&
                 layer_call(data, device, plan, &again, text);
    if (is_ok && !layer_outputs_are_equal(data, &first, &again)) {
        snprintf(text, FAILURE_BYTES, "a second call gave other bits");
        is_ok = false;
    }
    layer_outputs_release(&first);
    layer_outputs_release(&again);
    return is_ok;
}

static enum outcome attempt(const struct test_device *device, const void *test,
                            char text[FAILURE_BYTES]) {
    static struct layer_data data;
    const struct merge_case *t = test;
    mha_plan *plan = NULL;
    mha_error e;
    enum outcome outcome = OUTCOME_FAILED;
    layer_init(&data, &t->layer);
    const mha_status status = mha_layer_plan_create(device->engine, &data.desc, &plan, &e);
    if (!status && run_plan(device, plan, t, &data, text))
        outcome = OUTCOME_PASSED;
    else if (status == MHA_ERR_VARIANT) /* by name */
        outcome = OUTCOME_SKIPPED;
    if (status)
        snprintf(text, FAILURE_BYTES, "%.300s", e.message);
    layer_release(&data);
    mha_plan_destroy(&plan);
    return outcome;
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
        for (size_t i = 0; i < CASE_COUNT + APART_COUNT + 1; ++i) {
            if (device_is_slow() && i % 4 != (size_t)dtype)
                continue;
            if (dtype == MHA_F64 && !device.has_fp64)
                continue;
            const struct merge_case test = get_case(i, (mha_dtype)dtype, units);
            harness_attempt(&device, test.layer.attention.name, (mha_dtype)dtype, attempt, &test,
                            &tally);
        }
    device_close(&device);
    tally_finish(&tally);
}
