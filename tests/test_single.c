/* Every variant, storage type and feature, one feature at a time, and every layout. */
#include "feature_table.h"
#include "harness.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>

static struct test_case base_case(size_t variant, mha_dtype dtype, size_t index) {
    const bool is_slow = device_is_slow();
    return (struct test_case){
        .variant = harness_variant(variant),
        .dtype = dtype,
        .batch = 2,
        .q_heads = 2,
        .kv_heads = 2,
        .seqlen_q = is_slow ? 5 : 70,
        .seqlen_kv = is_slow ? 19 : 133,
        .head_dim_qk = is_slow ? 16 : 32,
        .head_dim_v = is_slow ? 16 : 32,
        .seed = 1000 + index,
    };
}

/* Simulators take a second for what a device does in a microsecond. */
static void shrink(struct test_case *test) {
    if (test->seqlen_q > 9)
        test->seqlen_q = 9;
    if (test->seqlen_kv > 40)
        test->seqlen_kv = 40;
    if (test->batch > 3)
        test->batch = 3;
}

static void run_features(const struct test_device *device, size_t variant, mha_dtype dtype,
                         struct tally *tally) {
    for (size_t f = 0; f < feature_count; ++f) {
        struct test_case test = base_case(variant, dtype, f);
        feature_apply(&test, &features[f]);
        snprintf(test.name, sizeof(test.name), "%s/%s/%s", tally->title,
                 number_name((enum number)dtype), features[f].name);
        if (device_is_slow() && f % 4 != (size_t)dtype)
            continue;
        if (device_is_slow())
            shrink(&test);
        harness_run(device, &test, tally);
    }
}

static void run_layouts(const struct test_device *device, size_t variant, mha_dtype dtype,
                        struct tally *tally) {
    static const uint64_t flags[] = {0, MHA_RAGGED_Q | MHA_RAGGED_KV, MHA_BIAS | MHA_MASK};
    for (int layout = 0; layout < LAYOUT_COUNT; ++layout)
        for (size_t n = 0; n < sizeof(flags) / sizeof(*flags); ++n) {
            struct test_case test = base_case(variant, dtype, n);
            test.layout = (enum layout)layout;
            test.flags = flags[n];
            test.q_heads = layout == LAYOUT_PACKED_QKV ? 2 : 4;
            snprintf(test.name, sizeof(test.name), "%s/%s/layout/%s_%s", tally->title,
                     number_name((enum number)dtype), layout_name(test.layout),
                     n == 0   ? "plain"
                     : n == 1 ? "ragged"
                              : "scores");
            if (!device_is_slow() || layout % 4 == (int)dtype)
                harness_run(device, &test, tally);
        }
}

ParameterizedTestParameters(single, features) {
    static size_t variants[32];
    for (size_t n = 0; n < harness_variant_count(); ++n)
        variants[n] = n;
    return cr_make_param_array(size_t, variants, harness_variant_count());
}

ParameterizedTest(size_t *variant, single, features, .timeout = 3600) {
    struct test_device device;
    device_open(&device);
    struct tally tally = {.suite = "single", .title = harness_variant_title(*variant)};
    for (int dtype = 0; dtype < 4; ++dtype) {
        run_features(&device, *variant, (mha_dtype)dtype, &tally);
        run_layouts(&device, *variant, (mha_dtype)dtype, &tally);
    }
    harness_release_plans();
    device_close(&device);
    tally_finish(&tally);
}
