/* Register tiles of "panel", of which a machine's heuristic picks only some: keys and rows left
 * over of each. Values are pinned by a tuning result that an engine is made with. */
#include "config_json.h"
#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tile {
    const char *name;
    mha_dtype dtype;
    struct tuning tuning;
};

#define TUNING(vec, lane_vectors, micro_q, micro_d, block_q, block_kv)                             \
    {                                                                                              \
        {                                                                                          \
            [VEC] = vec, [LANE_VECTORS] = lane_vectors, [MICRO_Q] = micro_q, [MICRO_D] = micro_d,  \
            [BLOCK_Q] = block_q, [BLOCK_KV] = block_kv                                             \
        }                                                                                          \
    }

/* Each value of LANE_VECTORS, and groups of four, three, two and one row of the exponentials. */
static const struct tile tiles[] = {
    {"f32_14x1", MHA_F32, TUNING(16, 1, 14, 1, 32, 64)},
    {"f32_6x4", MHA_F32, TUNING(16, 4, 6, 4, 16, 160)},
    {"f32_1x3", MHA_F32, TUNING(8, 3, 1, 2, 16, 64)},
    {"f32_8x2", MHA_F32, TUNING(4, 2, 8, 3, 32, 32)},
    {"f16_8x3", MHA_F16, TUNING(16, 3, 8, 3, 32, 128)},
};

#define MOST_KEYS 401 /* several times the largest BLOCK_KV, no multiple of a vector */

/* Two strips and a row more; head sizes with a rest for every tile. */
static struct test_case base_case(const struct tile *tile) {
    return (struct test_case){
        .variant = "panel",
        .dtype = tile->dtype,
        .flags = MHA_LSE,
        .batch = 2,
        .q_heads = 2,
        .kv_heads = 1,
        .seqlen_q = 2 * tile->tuning.value[MICRO_Q] + 1,
        .head_dim_qk = 42,
        .head_dim_v = 90,
        .seed = 77,
    };
}

/* ---- Pinned values --------------------------------------------------------------------------- */

static json_t *make_entry(const struct tile *tile, const struct test_case *test,
                          const struct config_device *device) {
    struct config_entry entry = {
        .device = *device,
        .shape = {.operation = OPERATION_ATTENTION,
                  .dtype = test->dtype,
                  .is_causal = test->flags & MHA_CAUSAL,
                  .batch = (int32_t)test->batch,
                  .q_heads = (int32_t)test->q_heads,
                  .kv_heads = (int32_t)test->kv_heads,
                  .head_dim_qk = (int32_t)test->head_dim_qk,
                  .head_dim_v = (int32_t)test->head_dim_v,
                  .seqlen_q = (int32_t)test->seqlen_q,
                  .seqlen_kv = (int32_t)test->seqlen_kv},
        .variant = mha_variant_find(OPERATION_ATTENTION, test->variant),
        .tuning = tile->tuning,
        .ns = 1,
        .default_ns = 2,
        .rigor = "quick",
        .date = "2024-02-29",
        .library = "0.1.0",
    };
    mha_kernel_hash(entry.variant, entry.kernel_hash);
    return mha_config_write_entry(&entry);
}

/* For the cases' shapes; to be released with free(). */
static char *make_text(const struct tile *tile, const struct test_case *cases, size_t count,
                       const struct device_caps *caps) {
    const struct config_device device = mha_config_device(caps);
    json_t *entries = json_array();
    for (size_t n = 0; n < count; ++n)
        json_array_append_new(entries, make_entry(tile, &cases[n], &device));
    json_t *root =
        json_pack("{s:s, s:i, s:o, s:o}", "format", CONFIG_FORMAT, "schema", CONFIG_SCHEMA,
                  "device", mha_config_write_device(&device), "entries", entries);
    char *text = json_dumps(root, JSON_COMPACT);
    cr_assert_not_null(text);
    json_decref(root);
    return text;
}

static bool has_value(const mha_plan_info *info, const struct tuning *tuning,
                      enum tunable tunable) {
    char pair[40];
    snprintf(pair, sizeof(pair), "%s=%d ", mha_tunable_names[tunable], tuning->value[tunable]);
    return strstr(info->parameters, pair);
}

/* Where values can't be pinned, all this would test the heuristic's again. */
static void expect_pinned(const struct test_device *device, const struct tile *tile,
                          const struct test_case *test) {
    static const enum tunable compiled_in[] = {VEC, LANE_VECTORS, MICRO_Q, MICRO_D};
    mha_attention_desc desc;
    mha_error error;
    mha_plan_info info = {.struct_size = sizeof(info)};
    case_get_desc(test, &desc);
    mha_plan *plan = harness_get_plan(device, &desc, &error);
    cr_assert(plan, "%s: %s", test->name, error.message);
    mha_plan_get_info(plan, &info, NULL);
    for (size_t n = 0; n < sizeof(compiled_in) / sizeof(*compiled_in); ++n)
        cr_assert(has_value(&info, &tile->tuning, compiled_in[n]), "%s: %s has %s", test->name,
                  info.source, info.parameters);
}

/* ---- Cases ----------------------------------------------------------------------------------- */

#define MAX_CASES 40

/* Key counts of one vector to two register tiles and a vector, and those next to them. */
static size_t add_key_counts(const struct tile *tile, struct test_case *cases) {
    const int lanes = tile->tuning.value[VEC];
    const int vectors = 2 * tile->tuning.value[LANE_VECTORS] + 1;
    size_t count = 0;
    for (int n = 1; n <= vectors; ++n)
        for (int off = -1; off <= 1; ++off) {
            cases[count] = base_case(tile);
            cases[count++].seqlen_kv = n * lanes + off;
        }
    return count;
}

/* Several tiles of keys. */
static size_t add_terms(const struct tile *tile, struct test_case *cases) {
    static const struct test_case terms[] = {
        {.flags = 0},
        {.flags = MHA_BIAS | MHA_MASK | MHA_CAUSAL, .alignment = MHA_BOTTOM_RIGHT},
        {.flags = MHA_BIAS | MHA_MASK | MHA_CAUSAL,
         .bias_dtype = MHA_F16,
         .alignment = MHA_EXPLICIT,
         .position = 150},
        {.flags = MHA_ALIBI | MHA_MASK, .mask_pattern = PATTERN_EMPTY_ROWS},
    };
    const size_t count = sizeof(terms) / sizeof(*terms);
    for (size_t n = 0; n < count; ++n) {
        cases[n] = base_case(tile);
        cases[n].flags |= terms[n].flags;
        cases[n].bias_dtype = terms[n].bias_dtype;
        cases[n].alignment = terms[n].alignment;
        cases[n].position = terms[n].position;
        cases[n].mask_pattern = terms[n].mask_pattern;
        cases[n].seqlen_q = 5 * tile->tuning.value[MICRO_Q] + 1;
        cases[n].seqlen_kv = MOST_KEYS;
    }
    return count;
}

static void run_tile(struct test_device *device, const struct tile *tile,
                     const struct device_caps *caps, struct tally *tally) {
    struct test_case cases[MAX_CASES];
    size_t count = add_key_counts(tile, cases);
    count += add_terms(tile, cases + count);
    cr_assert_leq(count, MAX_CASES);
    mha_engine *const untuned = device->engine;
    char *text = make_text(tile, cases, count, caps);
    device->engine = device_make_tuned_engine(device, text);
    free(text);
    for (size_t n = 0; n < count; ++n) {
        snprintf(cases[n].name, sizeof(cases[n].name), "tiles/%s/%lldx%lld_#%zu", tile->name,
                 (long long)cases[n].seqlen_q, (long long)cases[n].seqlen_kv, n);
        expect_pinned(device, tile, &cases[n]);
        harness_run(device, &cases[n], tally);
    }
    harness_release_plans(); /* they are another engine's for the next tile */
    mha_engine_destroy(&device->engine);
    device->engine = untuned;
}

/* A suite that the sanitizers run too. */
Test(single, register_tiles, .timeout = 600) {
    static const struct allocator allocator;
    struct test_device device;
    struct device_caps caps;
    struct tally tally = {.suite = "single", .title = "register_tiles"};
    mha_error error;
    char *identity = NULL;
    if (device_is_slow())
        cr_skip_test("a simulator takes minutes");
    device_open(&device);
    cr_assert_eq(mha_device_query(device.id, &allocator, &caps, &identity, &error), MHA_SUCCESS,
                 "%s", error.message);
    free(identity);
    if (!caps.is_cpu)
        cr_skip_test("\"panel\" is for CPUs");
    for (size_t n = 0; n < sizeof(tiles) / sizeof(*tiles); ++n)
        run_tile(&device, &tiles[n], &caps, &tally);
    device_close(&device);
    tally_finish(&tally);
}
