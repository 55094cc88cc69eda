/* A table: what each feature sets in a test case. */
#include "feature_table.h"

#include <string.h>

/* clang-format off */
const struct feature features[] = {
    {"plain", {.flags = 0}},
    {"plain/lse", {.flags = MHA_LSE}},
    {"plain/batch_invariant", {.flags = MHA_BATCH_INVARIANT}},
    {"plain/out_of_order", {.is_out_of_order = true}},
    {"plain/slack", {.slack = 5, .flags = MHA_LSE}},

    {"heads/gqa", {.q_heads = 6, .kv_heads = 2}},
    {"heads/mqa", {.q_heads = 4, .kv_heads = 1, .flags = MHA_LSE}},
    {"dims/narrow_v", {.head_dim_v = 20}},
    {"dims/wide_v", {.head_dim_v = 48}},
    {"cross/more_keys", {.seqlen_q = 19, .seqlen_kv = 150}},
    {"cross/more_queries", {.seqlen_q = 150, .seqlen_kv = 19}},
    {"cross/decode", {.seqlen_q = 1, .seqlen_kv = 700, .flags = MHA_LSE}},
    {"cross/one_key", {.seqlen_q = 70, .seqlen_kv = 1}},

    {"scale/small", {.flags = MHA_SCALE, .scale = 0.07}},
    {"scale/negative", {.flags = MHA_SCALE, .scale = -0.3}},
    {"scale/zero", {.flags = MHA_SCALE | MHA_LSE}},
    {"softcap/tight", {.flags = MHA_SOFTCAP, .softcap = 1.5}},
    {"softcap/loose", {.flags = MHA_SOFTCAP | MHA_LSE, .softcap = 50}},

    {"bias/f32", {.flags = MHA_BIAS, .bias_dtype = MHA_F32}},
    {"bias/f16", {.flags = MHA_BIAS, .bias_dtype = MHA_F16}},
    {"bias/bf16", {.flags = MHA_BIAS, .bias_dtype = MHA_BF16}},
    {"bias/f64", {.flags = MHA_BIAS, .bias_dtype = MHA_F64}},
    {"bias/per_head_query_key", {.flags = MHA_BIAS, .bias_broadcast = AXIS_BATCH}},
    {"bias/per_batch_query_key", {.flags = MHA_BIAS, .bias_broadcast = AXIS_HEAD}},
    {"bias/per_batch_head_key", {.flags = MHA_BIAS, .bias_broadcast = AXIS_QUERY}},
    {"bias/per_batch_head_query", {.flags = MHA_BIAS, .bias_broadcast = AXIS_KEY}},
    {"bias/per_query_key", {.flags = MHA_BIAS, .bias_broadcast = AXIS_BATCH | AXIS_HEAD}},
    {"bias/per_key", {.flags = MHA_BIAS, .bias_broadcast = AXIS_BATCH | AXIS_HEAD | AXIS_QUERY}},
    {"bias/one", {.flags = MHA_BIAS,
                  .bias_broadcast = AXIS_BATCH | AXIS_HEAD | AXIS_QUERY | AXIS_KEY}},
    {"bias/sparse", {.flags = MHA_BIAS, .bias_pattern = PATTERN_SPARSE}},
    {"bias/empty_rows", {.flags = MHA_BIAS | MHA_LSE, .bias_pattern = PATTERN_EMPTY_ROWS}},
    {"bias/leading", {.flags = MHA_BIAS | MHA_LSE, .bias_pattern = PATTERN_LEADING}},

    {"mask/full", {.flags = MHA_MASK}},
    {"mask/per_head_query_key", {.flags = MHA_MASK, .mask_broadcast = AXIS_BATCH}},
    {"mask/per_batch_query_key", {.flags = MHA_MASK, .mask_broadcast = AXIS_HEAD}},
    {"mask/per_batch_head_key", {.flags = MHA_MASK, .mask_broadcast = AXIS_QUERY}},
    {"mask/per_batch_head_query", {.flags = MHA_MASK | MHA_LSE, .mask_broadcast = AXIS_KEY}},
    {"mask/per_query_key", {.flags = MHA_MASK, .mask_broadcast = AXIS_BATCH | AXIS_HEAD}},
    {"mask/per_key", {.flags = MHA_MASK, .mask_broadcast = AXIS_BATCH | AXIS_HEAD | AXIS_QUERY}},
    {"mask/empty_rows", {.flags = MHA_MASK | MHA_LSE, .mask_pattern = PATTERN_EMPTY_ROWS}},
    {"mask/leading", {.flags = MHA_MASK | MHA_LSE, .mask_pattern = PATTERN_LEADING}},

    {"alibi/top_left", {.flags = MHA_ALIBI}},
    {"alibi/bottom_right", {.flags = MHA_ALIBI | MHA_LSE, .alignment = MHA_BOTTOM_RIGHT}},
    {"alibi/explicit", {.flags = MHA_ALIBI, .alignment = MHA_EXPLICIT, .position = 40}},
    {"alibi/per_batch", {.flags = MHA_ALIBI, .alignment = MHA_EXPLICIT_PER_BATCH, .position = 40}},

    {"causal/top_left", {.flags = MHA_CAUSAL}},
    {"causal/bottom_right", {.flags = MHA_CAUSAL, .alignment = MHA_BOTTOM_RIGHT}},
    {"causal/explicit", {.flags = MHA_CAUSAL, .alignment = MHA_EXPLICIT, .position = 21}},
    {"causal/per_batch", {.flags = MHA_CAUSAL, .alignment = MHA_EXPLICIT_PER_BATCH,
                          .position = 21}},
    {"causal/few_keys", {.flags = MHA_CAUSAL | MHA_LSE, .alignment = MHA_BOTTOM_RIGHT,
                         .seqlen_q = 133, .seqlen_kv = 37}},
    {"causal/empty_rows", {.flags = MHA_CAUSAL | MHA_LSE, .alignment = MHA_EXPLICIT,
                           .position = -9}},
    {"causal/no_rows", {.flags = MHA_CAUSAL | MHA_LSE, .alignment = MHA_EXPLICIT,
                        .position = -100000}},

    {"window/both", {.flags = MHA_WINDOW, .window_left = 9, .window_right = 4}},
    {"window/left", {.flags = MHA_WINDOW, .window_left = 20, .window_right = -1}},
    {"window/right", {.flags = MHA_WINDOW, .window_left = -1, .window_right = 3}},
    {"window/diagonal", {.flags = MHA_WINDOW}},
    {"window/unbounded", {.flags = MHA_WINDOW, .window_left = -1, .window_right = -1}},
    {"window/huge", {.flags = MHA_WINDOW, .window_left = INT64_MAX, .window_right = INT64_MAX}},
    {"window/bottom_right", {.flags = MHA_WINDOW, .window_left = 9, .window_right = 4,
                             .alignment = MHA_BOTTOM_RIGHT}},
    {"window/explicit", {.flags = MHA_WINDOW, .window_left = 30, .window_right = 4,
                         .alignment = MHA_EXPLICIT, .position = 40}},
    {"window/per_batch", {.flags = MHA_WINDOW, .window_left = 30, .window_right = 4,
                          .alignment = MHA_EXPLICIT_PER_BATCH, .position = 40}},
    {"window/causal", {.flags = MHA_WINDOW | MHA_CAUSAL, .window_left = 12, .window_right = -1,
                       .alignment = MHA_BOTTOM_RIGHT}},
    {"window/empty_rows", {.flags = MHA_WINDOW | MHA_LSE, .window_left = 5, .window_right = 2,
                           .alignment = MHA_EXPLICIT, .position = 100}},
    {"window/no_rows", {.flags = MHA_WINDOW | MHA_LSE, .window_left = 5, .window_right = 2,
                        .alignment = MHA_EXPLICIT, .position = 100000}},

    {"sinks/plain", {.flags = MHA_SINKS}},
    {"sinks/lse", {.flags = MHA_SINKS | MHA_LSE}},
    {"sinks/empty_rows", {.flags = MHA_SINKS | MHA_LSE | MHA_MASK,
                          .mask_pattern = PATTERN_EMPTY_ROWS}},
    {"sinks/weights", {.flags = MHA_SINKS | MHA_SCORES}},

    {"kv_lengths/some", {.flags = MHA_KV_LENGTHS, .batch = 4}},
    {"kv_lengths/lse", {.flags = MHA_KV_LENGTHS | MHA_LSE, .batch = 4}},
    {"kv_lengths/zero", {.flags = MHA_KV_LENGTHS | MHA_LSE, .batch = 4, .has_zero_lengths = true}},
    {"kv_lengths/zero_sinks", {.flags = MHA_KV_LENGTHS | MHA_LSE | MHA_SINKS, .batch = 4,
                               .has_zero_lengths = true}},
    {"kv_lengths/causal", {.flags = MHA_KV_LENGTHS | MHA_CAUSAL, .batch = 4,
                           .alignment = MHA_BOTTOM_RIGHT}},
    {"kv_lengths/decode", {.flags = MHA_KV_LENGTHS | MHA_LSE, .batch = 4, .seqlen_q = 1,
                           .seqlen_kv = 500}},

    {"ragged/q", {.flags = MHA_RAGGED_Q, .batch = 4}},
    {"ragged/kv", {.flags = MHA_RAGGED_KV, .batch = 4}},
    {"ragged/both", {.flags = MHA_RAGGED_Q | MHA_RAGGED_KV | MHA_LSE, .batch = 4}},
    {"ragged/causal", {.flags = MHA_RAGGED_Q | MHA_RAGGED_KV | MHA_CAUSAL, .batch = 4,
                       .alignment = MHA_BOTTOM_RIGHT}},
    {"ragged/kv_lengths", {.flags = MHA_RAGGED_KV | MHA_KV_LENGTHS | MHA_LSE, .batch = 4}},
    {"ragged/weights", {.flags = MHA_RAGGED_Q | MHA_RAGGED_KV | MHA_SCORES, .batch = 4}},

    {"scores/weights", {.flags = MHA_SCORES}},
    {"scores/scaled", {.flags = MHA_SCORES, .scores_stage = MHA_STAGE_SCALED}},
    {"scores/softcap", {.flags = MHA_SCORES | MHA_SOFTCAP, .softcap = 3,
                        .scores_stage = MHA_STAGE_SOFTCAP}},
    {"scores/masked", {.flags = MHA_SCORES | MHA_BIAS | MHA_MASK | MHA_ALIBI,
                       .scores_stage = MHA_STAGE_MASKED}},
    {"scores/scaled_masked", {.flags = MHA_SCORES | MHA_MASK | MHA_CAUSAL,
                              .scores_stage = MHA_STAGE_SCALED}},
    {"scores/weights_causal", {.flags = MHA_SCORES | MHA_CAUSAL | MHA_LSE}},
    {"scores/weights_lengths", {.flags = MHA_SCORES | MHA_KV_LENGTHS, .batch = 4}},
    {"scores/masked_lengths", {.flags = MHA_SCORES | MHA_KV_LENGTHS | MHA_WINDOW, .batch = 4,
                               .window_left = 30, .window_right = 30,
                               .scores_stage = MHA_STAGE_MASKED}},
    {"scores/weights_empty_rows", {.flags = MHA_SCORES | MHA_MASK,
                                   .mask_pattern = PATTERN_EMPTY_ROWS}},

    {"logits/wide_88", {.fill = FILL_WIDE, .logits = 88, .flags = MHA_LSE}},
    {"logits/wide_250000", {.fill = FILL_WIDE, .logits = 2.5e5, .flags = MHA_LSE}},
    {"logits/shifted_88", {.fill = FILL_SHIFTED, .logits = 88, .flags = MHA_LSE | MHA_SCALE,
                           .scale = 0.125}},
    {"logits/shifted_250000", {.fill = FILL_SHIFTED, .logits = 2.5e5,
                               .flags = MHA_LSE | MHA_SCALE, .scale = 0.125}},

    {"logits/decode_88", {.fill = FILL_SHIFTED, .logits = 88, .seqlen_q = 1, .seqlen_kv = 1500,
                          .flags = MHA_LSE | MHA_SCALE, .scale = 0.125}},
    {"logits/decode_250000", {.fill = FILL_SHIFTED, .logits = 2.5e5, .seqlen_q = 1,
                              .seqlen_kv = 1500, .flags = MHA_LSE | MHA_SCALE, .scale = 0.125}},

    {"poison/nan_mask", {.poison = POISON_NAN, .flags = MHA_MASK | MHA_LSE,
                         .mask_pattern = PATTERN_LEADING}},
    {"poison/inf_mask", {.poison = POISON_INF, .flags = MHA_MASK, .mask_pattern = PATTERN_SPARSE}},
    {"poison/nan_bias", {.poison = POISON_NAN, .flags = MHA_BIAS, .bias_pattern = PATTERN_SPARSE}},
    {"poison/inf_bias", {.poison = POISON_INF, .flags = MHA_BIAS | MHA_LSE,
                         .bias_pattern = PATTERN_LEADING}},
    {"poison/nan_lengths", {.poison = POISON_NAN, .flags = MHA_KV_LENGTHS | MHA_LSE, .batch = 4}},
    {"poison/nan_causal", {.poison = POISON_NAN, .flags = MHA_CAUSAL}},
    {"poison/inf_causal", {.poison = POISON_INF, .flags = MHA_CAUSAL | MHA_LSE,
                           .alignment = MHA_BOTTOM_RIGHT}},
    {"poison/nan_window", {.poison = POISON_NAN, .flags = MHA_WINDOW, .window_left = 9,
                           .window_right = 4}},
    {"poison/nan_weights", {.poison = POISON_NAN, .flags = MHA_MASK | MHA_SCORES,
                            .mask_pattern = PATTERN_LEADING}},
    {"poison/nan_decode", {.poison = POISON_NAN, .flags = MHA_MASK | MHA_LSE, .seqlen_q = 1,
                           .seqlen_kv = 500, .mask_pattern = PATTERN_SPARSE}},

    {"empty/batch", {.batch = NO_SIZE}},
    {"empty/queries", {.seqlen_q = NO_SIZE}},
    {"empty/keys", {.seqlen_kv = NO_SIZE, .flags = MHA_LSE}},
    {"empty/keys_sinks", {.seqlen_kv = NO_SIZE, .flags = MHA_LSE | MHA_SINKS}},
    {"empty/keys_slack", {.seqlen_kv = NO_SIZE, .slack = 9, .flags = MHA_LSE}},
    {"empty/queries_slack", {.seqlen_q = NO_SIZE, .slack = 9, .flags = MHA_LSE}},

    /* Runtimes use a buffer as it lies where it begins and ends at multiples of 128 bytes: what
     * these queries, or else batches, make of two heads of each whatever the number of keys. */
    {"tight/bias_f32", {.is_tight = true, .flags = MHA_BIAS, .seqlen_q = 64}},
    {"tight/bias_f16", {.is_tight = true, .flags = MHA_BIAS, .seqlen_q = 64,
                        .bias_dtype = MHA_F16}},
    {"tight/mask", {.is_tight = true, .flags = MHA_MASK | MHA_LSE, .seqlen_q = 64}},
    {"tight/both_alibi", {.is_tight = true, .flags = MHA_BIAS | MHA_MASK | MHA_ALIBI,
                          .seqlen_q = 64, .bias_dtype = MHA_BF16}},
    {"tight/both_causal", {.is_tight = true, .flags = MHA_BIAS | MHA_MASK | MHA_CAUSAL,
                           .seqlen_q = 64, .seqlen_kv = 805, .alignment = MHA_BOTTOM_RIGHT}},
    {"tight/per_batch_head_key", {.is_tight = true, .flags = MHA_BIAS | MHA_MASK, .batch = 64,
                                  .seqlen_q = 3, .bias_broadcast = AXIS_QUERY,
                                  .mask_broadcast = AXIS_QUERY}},
    {"tight/decode", {.is_tight = true, .flags = MHA_BIAS | MHA_MASK, .batch = 64, .seqlen_q = 1,
                      .seqlen_kv = 805}},
};
/* clang-format on */

const size_t feature_count = sizeof(features) / sizeof(*features);

static void set_size(int64_t *size, int64_t value) {
    if (value)
        *size = value == NO_SIZE ? 0 : value;
}

#define SET_MEMBER(member)                                                                         \
    do {                                                                                           \
        if (set->member)                                                                           \
            test->member = set->member;                                                            \
    } while (0)

void feature_apply(struct test_case *test, const struct feature *feature) {
    const struct test_case *set = &feature->set;
    test->flags |= set->flags;
    set_size(&test->batch, set->batch);
    set_size(&test->seqlen_q, set->seqlen_q);
    set_size(&test->seqlen_kv, set->seqlen_kv);
    SET_MEMBER(q_heads);
    SET_MEMBER(kv_heads);
    SET_MEMBER(head_dim_v);
    SET_MEMBER(slack);
    SET_MEMBER(scale);
    SET_MEMBER(softcap);
    SET_MEMBER(window_left);
    SET_MEMBER(window_right);
    SET_MEMBER(alignment);
    SET_MEMBER(position);
    SET_MEMBER(scores_stage);
    SET_MEMBER(bias_dtype);
    SET_MEMBER(bias_broadcast);
    SET_MEMBER(mask_broadcast);
    SET_MEMBER(bias_pattern);
    SET_MEMBER(mask_pattern);
    SET_MEMBER(has_zero_lengths);
    SET_MEMBER(fill);
    SET_MEMBER(logits);
    SET_MEMBER(poison);
    SET_MEMBER(is_out_of_order);
    SET_MEMBER(is_tight);
    if (test->bias_dtype == MHA_F64 && test->dtype != MHA_F64)
        test->bias_dtype = MHA_F32;
}

static size_t group_length(const char *name) {
    return strcspn(name, "/");
}

bool feature_begins_group(size_t index) {
    const size_t length = group_length(features[index].name);
    return index == 0 || group_length(features[index - 1].name) != length ||
           strncmp(features[index - 1].name, features[index].name, length);
}

const char *layout_name(enum layout layout) {
    static const char *names[] = {
        [LAYOUT_BHND] = "bhnd",
        [LAYOUT_BNHD] = "bnhd",
        [LAYOUT_PADDED] = "padded",
        [LAYOUT_PACKED_QKV] = "packed",
        [LAYOUT_INTERLEAVED] = "interleaved",
        [LAYOUT_BROADCAST_KV] = "broadcast",
    };
    return names[layout];
}
