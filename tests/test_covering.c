/* Every triple of (variant, storage type, feature group, layout, size class) in at least one case,
 * with a member of the group, head sizes and often a second feature drawn at random. */
#include "covering.h"
#include "feature_table.h"
#include "harness.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#define SEED 20170612

enum factor { VARIANT, DTYPE, GROUP, LAYOUT, SIZE, FACTORS };

static const struct {
    int64_t seqlen_q, seqlen_kv, heads;
} sizes[] = {
    {1, 1, 2},    {3, 1, 2},     {1, 63, 3},    {1, 1023, 2},    {3, 799, 1},   {7, 64, 2},
    {63, 65, 2},  {64, 64, 2},   {65, 63, 3},   {113, 203, 2},   {203, 113, 1}, {239, 239, 1},
    {799, 64, 1}, {799, 799, 1}, {65, 1023, 1}, {1023, 1023, 1},
};
#define SIZE_COUNT ((int)(sizeof(sizes) / sizeof(*sizes)))

static const int64_t head_dims[] = {1, 16, 21, 32, 64, 72, 80, 96, 128, 192, 203, 256};
#define HEAD_DIM_COUNT ((int)(sizeof(head_dims) / sizeof(*head_dims)))

/* What the double-precision reference does in a fraction of a second. */
#define MAX_SCORES 1100000
#define MAX_PRODUCTS (24 << 20)
#define MAX_REDUCED_SCORES 4200

/* Groups whose point is the sizes, which are a factor of their own here. */
static bool is_group_of_sizes(const char *name) {
    return !strncmp(name, "cross/", 6) || !strncmp(name, "empty/", 6) || !strncmp(name, "dims/", 5);
}

static int find_groups(size_t firsts[], size_t lengths[], int most) {
    int count = 0;
    for (size_t f = 0; f < feature_count && count < most; ++f) {
        if (is_group_of_sizes(features[f].name))
            continue;
        if (feature_begins_group(f)) {
            firsts[count] = f;
            lengths[count++] = 0;
        }
        ++lengths[count - 1];
    }
    return count;
}

/* flash and flash_split compile head sizes in, which takes seconds a program: there each storage
 * type gets one of the smaller sizes, another in the split form, and one of the larger. */
static int64_t draw_head_dim(const struct test_case *t, int64_t scores, struct random *random) {
    const bool is_compiled_in = t->variant && !strncmp(t->variant, "flash", 5);
    int n = (int)random_integer(random, 0, HEAD_DIM_COUNT - 1);
    if (is_compiled_in) {
        const int small = strcmp(t->variant, "flash") ? 4 : 0;
        return head_dims[(int)t->dtype + (n % 2 && scores * 256 <= MAX_PRODUCTS ? 8 : small)];
    }
    while (n > 0 && scores * head_dims[n] > MAX_PRODUCTS)
        --n;
    return head_dims[n];
}

/* Second features that would contradict the first: both choose the inputs or the scale. */
static bool can_add(const struct test_case *t, const struct feature *feature) {
    const struct test_case *set = &feature->set;
    const bool fills = t->fill != FILL_RANDOM || t->poison != POISON_NONE;
    return !is_group_of_sizes(feature->name) &&
           !(fills && (set->fill || set->poison || set->flags & MHA_SCALE)) &&
           !(t->flags & MHA_SCALE && set->fill) &&
           !(t->flags & MHA_SCORES && set->flags & MHA_SCORES);
}

static void make_case(struct test_case *t, const int row[], const struct feature *feature,
                      int number) {
    struct random random = {SEED + (uint64_t)number};
    const int size = row[SIZE];
    const struct feature *second = NULL;
    *t = (struct test_case){
        .variant = harness_variant((size_t)row[VARIANT]),
        .dtype = (mha_dtype)row[DTYPE],
        .batch = 1 + random_integer(&random, 0, 1),
        .q_heads = sizes[size].heads,
        .kv_heads = sizes[size].heads,
        .layout = (enum layout)row[LAYOUT],
        .seed = random_bits(&random),
    };
    feature_apply(t, feature);
    if (random_integer(&random, 0, 2)) {
        second = &features[random_integer(&random, 0, (int64_t)feature_count - 1)];
        if (can_add(t, second))
            feature_apply(t, second);
        else
            second = NULL;
    }
    t->seqlen_q = sizes[size].seqlen_q;
    t->seqlen_kv = sizes[size].seqlen_kv;
    const int64_t pair = t->q_heads * t->seqlen_q * t->seqlen_kv;
    while (t->batch > 1 && t->batch * pair > MAX_SCORES)
        --t->batch;
    t->head_dim_qk = t->head_dim_v = draw_head_dim(t, t->batch * pair, &random);
    if (random_integer(&random, 0, 3) == 0)
        t->head_dim_v = draw_head_dim(t, t->batch * pair, &random);
    snprintf(t->name, sizeof(t->name), "%s/%s/%s%s%s/%s/%lldx%lld_d%lldx%lld/#%d",
             harness_variant_title((size_t)row[VARIANT]), number_name((enum number)t->dtype),
             feature->name, second ? "+" : "", second ? second->name : "", layout_name(t->layout),
             (long long)t->seqlen_q, (long long)t->seqlen_kv, (long long)t->head_dim_qk,
             (long long)t->head_dim_v, number);
}

ParameterizedTestParameters(covering, triples) {
    static size_t variants[32];
    for (size_t n = 0; n < harness_variant_count(); ++n)
        variants[n] = n;
    return cr_make_param_array(size_t, variants, harness_variant_count());
}

ParameterizedTest(size_t *variant, covering, triples, .timeout = 3600) {
    struct test_device device;
    device_open(&device);
    struct tally tally = {.suite = "covering", .title = harness_variant_title(*variant)};
    size_t firsts[32], lengths[32];
    const int groups = find_groups(firsts, lengths, 32);
    const int levels[FACTORS] = {(int)harness_variant_count(), 4, groups, LAYOUT_COUNT, SIZE_COUNT};
    struct covering covering = covering_make(FACTORS, levels, SEED);
    cr_assert_not_null(covering.values);
    int reduced = 0;
    for (int n = 0; n < covering.rows; ++n) {
        const int *row = covering.values[n];
        if (row[VARIANT] != (int)*variant)
            continue;
        const int64_t scores = sizes[row[SIZE]].seqlen_q * sizes[row[SIZE]].seqlen_kv;
        if (device_is_slow() && (scores > MAX_REDUCED_SCORES || ++reduced % 10))
            continue;
        struct test_case test;
        const int group = row[GROUP];
        make_case(&test, row, &features[firsts[group] + (size_t)n % lengths[group]], n);
        harness_run(&device, &test, &tally);
    }
    fprintf(stderr, "covering/%s: of %d rows for %d triples\n", tally.title, covering.rows,
            covering.triples);
    covering_release(&covering);
    harness_release_plans();
    device_close(&device);
    tally_finish(&tally);
}
