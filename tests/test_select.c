/* Which results of tuning selection takes, and what it makes of their values. */
#include "select.h"
#include "tuning_files.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static struct config config_of(struct config_entry *entry) {
    return (struct config){.entries = entry, .count = 1, .capacity = 1};
}

static void set(struct config_entry *entry, enum tunable tunable, int value) {
    entry->tuning.value[tunable] = value;
}

static struct config_entry vit_entry(void) {
    struct config_entry entry = tuning_entry(63);
    entry.shape.head_dim_qk = entry.shape.head_dim_v = 64;
    set(&entry, VEC, 16);
    set(&entry, BLOCK_Q, 96);
    set(&entry, BLOCK_KV, 384);
    return entry;
}

Test(select, a_result_comes_before_the_heuristic) {
    struct config_entry entry = vit_entry();
    const struct config config = config_of(&entry);
    const struct device_caps caps = tuning_caps();
    const struct problem problem = tuning_problem(&entry.shape);
    struct selection tuned, untuned, next;
    mha_error error;
    cr_assert_eq(mha_select(&problem, &caps, &config, 0, &tuned, &error), MHA_SUCCESS);
    cr_expect_str_eq(tuned.source, "user table: same device");
    cr_expect_str_eq(tuned.reason, "measured fastest");
    cr_expect_eq(tuned.tuning.value[VEC], 16);
    /* 197 keys in one block, in steps of 16; 197 queries in three. */
    cr_expect_eq(tuned.tuning.value[BLOCK_KV], 208);
    cr_expect_eq(tuned.tuning.value[BLOCK_Q], 66);
    /* Where the result does not build, the heuristic follows. */
    cr_assert_eq(mha_select(&problem, &caps, &config, 1, &next, &error), MHA_SUCCESS);
    cr_assert_eq(mha_select(&problem, &caps, NULL, 0, &untuned, &error), MHA_SUCCESS);
    cr_expect_str_eq(next.source, "heuristic");
    cr_expect_arr_eq(&next.tuning, &untuned.tuning, sizeof(next.tuning));
}

Test(select, nothing_better_means_the_heuristic) {
    struct config_entry entry = vit_entry();
    entry.is_default = true;
    const struct config config = config_of(&entry);
    const struct device_caps caps = tuning_caps();
    const struct problem problem = tuning_problem(&entry.shape);
    struct selection selection;
    cr_assert_eq(mha_select(&problem, &caps, &config, 0, &selection, NULL), MHA_SUCCESS);
    cr_expect_str_eq(selection.source, "heuristic");
}

Test(select, a_name_keeps_out_other_variants) {
    struct config_entry entry = vit_entry();
    const struct config config = config_of(&entry);
    const struct device_caps caps = tuning_caps();
    struct problem problem = tuning_problem(&entry.shape);
    struct selection selection;
    strcpy(problem.variant, "flash");
    cr_assert_eq(mha_select(&problem, &caps, &config, 0, &selection, NULL), MHA_SUCCESS);
    cr_expect_str_eq(selection.variant->name, "flash");
    cr_expect_str_eq(selection.source, "heuristic");
    strcpy(problem.variant, "panel");
    cr_assert_eq(mha_select(&problem, &caps, &config, 0, &selection, NULL), MHA_SUCCESS);
    cr_expect_str_eq(selection.source, "user table: same device");
}

Test(select, a_result_that_needs_too_much_is_passed_over) {
    struct config_entry entry = vit_entry();
    entry.variant = mha_variant_find(OPERATION_ATTENTION, "panel_split");
    mha_kernel_hash(entry.variant, entry.kernel_hash);
    entry.shape.seqlen_q = 1;
    entry.shape.seqlen_kv = 4096;
    set(&entry, SPLIT_KEYS, 256);
    const struct config config = config_of(&entry);
    const struct device_caps caps = tuning_caps();
    struct problem problem = tuning_problem(&entry.shape);
    struct selection selection;
    cr_assert_eq(mha_select(&problem, &caps, &config, 0, &selection, NULL), MHA_SUCCESS);
    cr_expect_str_eq(selection.source, "user table: same device");
    problem.workspace_limit_bytes = 16;
    cr_assert_eq(mha_select(&problem, &caps, &config, 0, &selection, NULL), MHA_SUCCESS);
    cr_expect_str_eq(selection.source, "heuristic");
    cr_expect(strstr(selection.reason, "workspace_limit_bytes is 16"), "%s", selection.reason);
}

/* Of queries that share a head of k and v: few read it as it lies, more are worth panels. */
Test(select, few_queries_are_decoded_on_cpus) {
    static const struct {
        int32_t q_heads, kv_heads, seqlen_q, seqlen_kv;
        const char *variant;
    } cases[] = {
        {32, 32, 1, 4096, "decode"},      {32, 8, 1, 4096, "decode_split"},
        {32, 32, 8, 4096, "decode"},      {32, 32, 9, 4096, "panel"},
        {32, 8, 2, 4096, "decode_split"}, {32, 8, 3, 4096, "panel"},
        {4, 4, 1, 4096, "decode_split"},  {4, 4, 1, 100, "decode"},
    };
    struct device_caps caps = tuning_caps();
    struct selection selection;
    caps.compute_units = 2;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); ++i) {
        const struct shape shape = {.q_heads = cases[i].q_heads,
                                    .kv_heads = cases[i].kv_heads,
                                    .seqlen_q = cases[i].seqlen_q,
                                    .seqlen_kv = cases[i].seqlen_kv,
                                    .batch = 1,
                                    .head_dim_qk = 128,
                                    .head_dim_v = 128};
        struct problem problem = tuning_problem(&shape);
        cr_assert_eq(mha_select(&problem, &caps, NULL, 0, &selection, NULL), MHA_SUCCESS);
        cr_expect_str_eq(selection.variant->name, cases[i].variant, "%zu: %s", i,
                         selection.variant->name);
        /* Neither batch nor queries may decide. */
        problem.flags |= MHA_BATCH_INVARIANT;
        cr_assert_eq(mha_select(&problem, &caps, NULL, 0, &selection, NULL), MHA_SUCCESS);
        cr_expect_str_eq(selection.variant->name, "panel");
    }
}

/* Numerical Recipes' linear congruence. */
static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static struct problem random_problem(enum operation operation, uint32_t *state) {
    struct shape shape = {.operation = operation};
    if (operation == OPERATION_LINEAR) {
        shape.rows = 1 + (int)(next_random(state) % 3000);
        shape.in_features = 1 + (int)(next_random(state) % 3000);
        shape.out_features = 1 + (int)(next_random(state) % 3000);
    } else {
        shape.batch = 1 + (int)(next_random(state) % 4);
        shape.q_heads = shape.kv_heads = 1 + (int)(next_random(state) % 16);
        shape.head_dim_qk = shape.head_dim_v = 1 + (int)(next_random(state) % 200);
        shape.seqlen_q = 1 + (int)(next_random(state) % 3000);
        shape.seqlen_kv = 1 + (int)(next_random(state) % 3000);
    }
    return tuning_problem(&shape);
}

/* What a problem is stored with must serve the next one too: never more than the domain's bound
 * rounded up to whole register tiles, and the same when fitted again. */
Test(select, fitted_values_stay_within_their_bounds) {
    uint32_t state = 1;
    for (size_t v = 0; v < mha_variant_count; ++v)
        for (int n = 0; mha_variants[v]->fit && n < 2000; ++n) {
            const struct variant *variant = mha_variants[v];
            const struct problem problem = random_problem(variant->operation, &state);
            struct tuning domain = {{0}};
            for (size_t i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i) {
                int count = 0;
                while (count < MHA_MAX_VALUES && variant->tunables[i].values[count])
                    ++count;
                domain.value[variant->tunables[i].tunable] =
                    variant->tunables[i].values[next_random(&state) % (uint32_t)count];
            }
            struct tuning once = domain, twice;
            mha_tuning_fit(variant, &problem, &once);
            twice = once;
            mha_tuning_fit(variant, &problem, &twice);
            cr_assert_arr_eq(&once, &twice, sizeof(once), "%s", variant->name);
            for (size_t t = 0; t < TUNABLE_COUNT; ++t) {
                cr_assert_geq(once.value[t], domain.value[t] ? 1 : 0);
                cr_assert_lt(once.value[t], domain.value[t] + 512, "%s: %s %d of at most %d",
                             variant->name, mha_tunable_names[t], once.value[t], domain.value[t]);
            }
        }
}
