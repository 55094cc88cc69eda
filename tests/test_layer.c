/* The whole attention layer against its reference: every way to have weights, every feature of the
 * attention, every storage type and projection variant. */
#include "layer_case.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#define FUSED MHA_LAYER_FUSED_QKV
#define QKV_BIAS MHA_LAYER_QKV_BIAS
#define OUTPUT MHA_LAYER_OUTPUT
#define OUTPUT_BIAS (MHA_LAYER_OUTPUT | MHA_LAYER_OUTPUT_BIAS)
#define PACKED MHA_LAYER_PACKED
#define CACHE MHA_LAYER_KV_CACHE
#define RAGGED (MHA_RAGGED_Q | MHA_RAGGED_KV)
#define NONE (-1)

/* `set`: what differs from base_case(); a size of NONE means 0. is_basic: every projection variant
 * runs it. */
static const struct layer_feature {
    const char *name;
    bool is_basic;
    struct layer_case set;
} features[] = {
    {"fused/plain", true, {.flags = FUSED}},
    {"fused/biases", true, {.flags = FUSED | QKV_BIAS | OUTPUT_BIAS}},
    {"fused/packed", true, {.flags = FUSED | QKV_BIAS | OUTPUT_BIAS | PACKED}},
    {"fused/packed_plain", false, {.flags = FUSED | OUTPUT | PACKED}},
    {"fused/gqa",
     true,
     {.flags = FUSED | QKV_BIAS | OUTPUT_BIAS, .attention = {.q_heads = 4, .kv_heads = 2}}},
    {"fused/mqa_odd_dims",
     false,
     {.flags = FUSED | OUTPUT,
      .attention = {.q_heads = 3, .kv_heads = 1, .head_dim_qk = 7, .head_dim_v = 11}}},
    {"fused/padded", true, {.flags = FUSED | OUTPUT | PACKED, .is_padded = true}},
    {"fused/ragged", true, {.flags = FUSED | OUTPUT_BIAS, .attention = {.flags = RAGGED}}},
    {"fused/ragged_cache",
     false,
     {.flags = FUSED | OUTPUT_BIAS | CACHE,
      .attention = {.flags = RAGGED, .layout = LAYOUT_BNHD},
      .is_padded = true}},
    {"fused/out_of_order",
     true,
     {.flags = FUSED | QKV_BIAS | OUTPUT_BIAS, .attention = {.is_out_of_order = true}}},
    {"fused/slack", false, {.flags = FUSED | OUTPUT_BIAS, .attention = {.slack = 5}}},
    {"fused/wide", true, {.flags = FUSED | OUTPUT_BIAS, .embed_q = 900}},
    {"cross/plain", true, {.flags = 0}},
    {"cross/biases", true, {.flags = QKV_BIAS | OUTPUT_BIAS}},
    {"cross/packed", true, {.flags = QKV_BIAS | OUTPUT | PACKED}},
    {"cross/output_bias", false, {.flags = OUTPUT_BIAS | PACKED}},
    {"cross/gqa_dims",
     true,
     {.flags = QKV_BIAS | OUTPUT_BIAS,
      .attention = {.q_heads = 4, .kv_heads = 2, .head_dim_qk = 8, .head_dim_v = 24}}},
    {"cross/tiny",
     false,
     {.flags = OUTPUT,
      .attention = {.batch = 1,
                    .q_heads = 1,
                    .kv_heads = 1,
                    .seqlen_q = 1,
                    .seqlen_kv = 1,
                    .head_dim_qk = 1,
                    .head_dim_v = 1},
      .embed_q = 1,
      .embed_k = 1,
      .embed_v = 1,
      .embed_out = 1}},
    {"cross/padded", true, {.flags = QKV_BIAS | OUTPUT_BIAS, .is_padded = true}},
    {"cross/padded_merged", true, {.flags = QKV_BIAS, .is_padded = true}},
    {"cross/ragged", false, {.flags = OUTPUT, .attention = {.flags = RAGGED}, .is_padded = true}},
    {"cross/ragged_q", false, {.flags = OUTPUT_BIAS, .attention = {.flags = MHA_RAGGED_Q}}},
    {"cross/ragged_kv", false, {.flags = OUTPUT_BIAS, .attention = {.flags = MHA_RAGGED_KV}}},
    {"cross/out_of_order",
     false,
     {.flags = QKV_BIAS | OUTPUT_BIAS | PACKED, .attention = {.is_out_of_order = true}}},
    {"cross/no_keys", false, {.flags = OUTPUT_BIAS, .attention = {.seqlen_kv = NONE}}},
    {"cross/no_queries", false, {.flags = OUTPUT_BIAS, .attention = {.seqlen_q = NONE}}},
    {"cross/no_batch", false, {.flags = OUTPUT_BIAS, .attention = {.batch = NONE}}},
    {"cache/bhnd", true, {.flags = OUTPUT | CACHE, .past = 6}},
    {"cache/bnhd",
     true,
     {.flags = QKV_BIAS | OUTPUT | CACHE, .attention = {.layout = LAYOUT_BNHD}, .past = 18}},
    {"cache/padded",
     true,
     {.flags = QKV_BIAS | OUTPUT | CACHE | PACKED,
      .attention = {.layout = LAYOUT_PADDED},
      .past = 1,
      .is_padded = true}},
    {"cache/interleaved",
     false,
     {.flags = QKV_BIAS | CACHE, .attention = {.layout = LAYOUT_INTERLEAVED}, .past = 2}},
    {"cache/no_past", false, {.flags = QKV_BIAS | OUTPUT | CACHE}},
    {"cache/only_past", false, {.flags = QKV_BIAS | OUTPUT | CACHE, .past = 19}},
    {"cache/no_queries",
     false,
     {.flags = QKV_BIAS | OUTPUT | CACHE, .attention = {.seqlen_q = NONE}, .past = 3}},
    {"cache/fused",
     true,
     {.flags = FUSED | QKV_BIAS | OUTPUT_BIAS | CACHE, .attention = {.q_heads = 4}, .past = 6}},
    {"cache/fused_padded",
     true,
     {.flags = FUSED | QKV_BIAS | OUTPUT | CACHE | PACKED,
      .attention = {.layout = LAYOUT_PADDED, .head_dim_v = 5},
      .past = 6,
      .is_padded = true}},
    {"cache/fused_bottom_right",
     false,
     {.flags = FUSED | OUTPUT | CACHE,
      .attention = {.flags = MHA_CAUSAL,
                    .alignment = MHA_BOTTOM_RIGHT,
                    .layout = LAYOUT_INTERLEAVED},
      .past = 6}},
    {"cache/fused_explicit",
     false,
     {.flags = FUSED | OUTPUT | CACHE,
      .attention = {.flags = MHA_CAUSAL, .alignment = MHA_EXPLICIT, .position = 6},
      .past = 6}},
    {"attention/causal", false, {.flags = OUTPUT, .attention = {.flags = MHA_CAUSAL}}},
    {"attention/bottom_right",
     false,
     {.flags = OUTPUT, .attention = {.flags = MHA_CAUSAL, .alignment = MHA_BOTTOM_RIGHT}}},
    {"attention/kv_lengths",
     false,
     {.flags = QKV_BIAS | OUTPUT, .attention = {.flags = MHA_KV_LENGTHS | MHA_LSE}}},
    {"attention/cache_lengths",
     false,
     {.flags = OUTPUT | CACHE, .attention = {.flags = MHA_KV_LENGTHS}, .past = 6}},
    {"attention/mask",
     false,
     {.flags = OUTPUT, .attention = {.flags = MHA_MASK, .mask_broadcast = AXIS_HEAD}}},
    {"attention/bias", false, {.flags = OUTPUT, .attention = {.flags = MHA_BIAS}}},
    {"attention/empty_rows",
     false,
     {.flags = OUTPUT_BIAS,
      .attention = {.flags = MHA_BIAS | MHA_LSE, .bias_pattern = PATTERN_EMPTY_ROWS}}},
    {"attention/alibi_window",
     false,
     {.flags = OUTPUT,
      .attention = {.flags = MHA_ALIBI | MHA_WINDOW, .window_left = 5, .window_right = 3}}},
    {"attention/sinks_softcap",
     false,
     {.flags = OUTPUT,
      .attention = {.flags = MHA_SINKS | MHA_SOFTCAP | MHA_SCALE | MHA_LSE,
                    .softcap = 2,
                    .scale = 0.4}}},
    {"attention/positions",
     false,
     {.flags = FUSED | OUTPUT | CACHE,
      .attention = {.flags = MHA_CAUSAL, .alignment = MHA_EXPLICIT_PER_BATCH, .position = 6},
      .past = 6}},
    {"outputs/lse", true, {.flags = OUTPUT, .attention = {.flags = MHA_LSE}}},
    {"outputs/weights", true, {.flags = OUTPUT, .attention = {.flags = MHA_SCORES}}},
    {"outputs/all",
     false,
     {.flags = FUSED | QKV_BIAS | OUTPUT | CACHE,
      .attention = {.flags = MHA_SCORES | MHA_LSE | MHA_MASK},
      .past = 6}},
    {"outputs/scaled",
     false,
     {.flags = OUTPUT, .attention = {.flags = MHA_SCORES, .scores_stage = MHA_STAGE_SCALED}}},
    {"outputs/ragged_masked",
     false,
     {.flags = OUTPUT,
      .attention = {.flags = MHA_SCORES | MHA_LSE | MHA_BIAS | RAGGED,
                    .scores_stage = MHA_STAGE_MASKED}}},
};
#define FEATURE_COUNT (sizeof(features) / sizeof(*features))

static int64_t pick(int64_t set, int64_t otherwise) {
    return set == NONE ? 0 : set ? set : otherwise;
}

/* The feature's case: its own sizes, else small odd ones. */
static struct layer_case make_case(const struct layer_feature *feature, mha_dtype dtype,
                                   const char *projection_variant) {
    struct layer_case t = feature->set;
    struct test_case *a = &t.attention;
    const bool is_slow = device_is_slow(), is_fused = t.flags & FUSED;
    a->dtype = dtype;
    a->bias_dtype = a->flags & MHA_BIAS ? dtype : MHA_F32;
    a->batch = pick(a->batch, 2);
    a->q_heads = pick(a->q_heads, 2);
    a->kv_heads = pick(a->kv_heads, 2);
    a->seqlen_q = pick(a->seqlen_q, is_slow ? 5 : 13);
    a->seqlen_kv = pick(a->seqlen_kv, is_slow ? 9 : 19);
    if (is_slow && t.past > 10) /* as far from the end */
        t.past -= 10;
    if (is_fused) /* as many queries as new keys */
        a->seqlen_q = a->seqlen_kv - t.past;
    a->head_dim_qk = pick(a->head_dim_qk, 16);
    a->head_dim_v = pick(a->head_dim_v, 16);
    a->seed = 500 + (uint64_t)(feature - features);
    /* Any weights but double go with any storage but double; CLBlast takes only equal types. */
    t.weight_dtype = projection_variant ? dtype
                     : dtype == MHA_F64 ? MHA_F64
                                        : (mha_dtype)((feature - features + dtype) % 3);
    t.embed_q = pick(is_slow && t.embed_q > 100 ? 100 : t.embed_q, 24);
    t.embed_k = pick(t.embed_k, 20);
    t.embed_v = pick(t.embed_v, 31);
    t.embed_out = pick(t.embed_out, 22);
    t.projection_variant = projection_variant;
    return t;
}

static enum outcome run_plan(const struct test_device *device, mha_plan *plan,
                             struct layer_data *data, char text[FAILURE_BYTES]) {
    struct layer_outputs first = {.y = NULL}, again = {.y = NULL};
    bool is_ok = layer_upload(data, device, plan, text) &&
                 layer_call(data, device, plan, &first, text) && layer_compare(data, &first, text);
    if (is_ok && (is_ok = layer_call(data, device, plan, &again, text)) &&
        !layer_outputs_are_equal(data, &first, &again)) {
        snprintf(text, FAILURE_BYTES, "a second call gave other bits");
        is_ok = false;
    }
    layer_outputs_release(&first);
    layer_outputs_release(&again);
    return is_ok ? OUTCOME_PASSED : OUTCOME_FAILED;
}

static enum outcome attempt_layer(const struct test_device *device, const void *test,
                                  char text[FAILURE_BYTES]) {
    static struct layer_data data;
    const struct layer_case *t = test;
    mha_plan *plan = NULL;
    mha_error refusal, e;
    enum outcome outcome = OUTCOME_FAILED;
    layer_init(&data, t);
    const mha_status supported = mha_layer_supported(device->engine, &data.desc, &refusal);
    const mha_status created = mha_layer_plan_create(device->engine, &data.desc, &plan, &e);
    if (supported) {
        if (harness_may_refuse(device, t->projection_variant, t->attention.dtype, &refusal, created,
                               text))
            outcome = OUTCOME_SKIPPED;
    } else if (created) {
        snprintf(text, FAILURE_BYTES, "supported, but mha_layer_plan_create: %s: %.300s",
                 mha_status_name(created), e.message);
    } else {
        outcome = run_plan(device, plan, &data, text);
    }
    layer_release(&data);
    mha_plan_destroy(&plan);
    return outcome;
}

static const char *variant_title(size_t index) {
    return index ? mha_linear_variant_name(index - 1) : "auto";
}

static void run_features(const struct test_device *device, size_t variant, mha_dtype dtype,
                         struct tally *tally) {
    for (size_t f = 0; f < FEATURE_COUNT; ++f) {
        if (variant && (!features[f].is_basic || dtype > MHA_F16))
            continue;
        if (device_is_slow() && f % 4 != (size_t)dtype && !(variant && f % 2 == (size_t)dtype))
            continue;
        struct layer_case test =
            make_case(&features[f], dtype, variant ? mha_linear_variant_name(variant - 1) : NULL);
        snprintf(test.attention.name, sizeof(test.attention.name), "%s/%s/%s", tally->title,
                 number_name((enum number)dtype), features[f].name);
        harness_attempt(device, test.attention.name, dtype, attempt_layer, &test, tally);
    }
}

ParameterizedTestParameters(layer, features) {
    static size_t variants[16];
    size_t count = 0;
    while (variant_title(count)) {
        variants[count] = count;
        ++count;
    }
    return cr_make_param_array(size_t, variants, count);
}

ParameterizedTest(size_t *variant, layer, features, .timeout = 3600) {
    struct test_device device;
    device_open(&device);
    struct tally tally = {.suite = "layer", .title = variant_title(*variant)};
    for (int dtype = 0; dtype < 4; ++dtype)
        run_features(&device, *variant, (mha_dtype)dtype, &tally);
    device_close(&device);
    tally_finish(&tally);
}
