/* In: struct problem, struct device_caps, struct config. Out: struct selection, or why there is
 * none. */
#include "select.h"

#include "provider.h"

#include <stdio.h>
#include <string.h>

/* A variant with the values of a tuning result, or without one those of its heuristic. */
struct choice {
    const struct variant *variant;
    const struct config_entry *entry;
    enum config_match match;
    const char *reason;
};

static void set_values(const struct choice *choice, const struct problem *problem,
                       const struct device_caps *caps, struct selection *selection) {
    const struct variant *variant = choice->variant;
    *selection = (struct selection){.variant = variant, .source = "heuristic"};
    if (!choice->entry) {
        variant->heuristic(problem, caps, &selection->tuning);
        return;
    }
    selection->tuning = choice->entry->tuning;
    mha_tuning_fit(variant, problem, &selection->tuning);
    snprintf(selection->source, sizeof(selection->source), "%s table: %s", choice->entry->layer,
             mha_config_match_name(choice->match));
}

/* Legal with its values, and within the workspace limit. */
static bool try_choice(const struct choice *choice, const struct problem *problem,
                       const struct device_caps *caps, struct selection *selection, char *why,
                       size_t why_bytes) {
    const struct variant *variant = choice->variant;
    set_values(choice, problem, caps, selection);
    if (!variant->legal(problem, caps, &selection->tuning, why, why_bytes))
        return false;
    const double loops = variant->loops(problem, &selection->tuning);
    if (loops > caps->max_loops) {
        snprintf(why, why_bytes, "loops %.0f times per work-item, the driver stops after %.0f",
                 loops, caps->max_loops);
        return false;
    }
    const size_t packed = mha_packed_bytes(problem, variant, &selection->tuning);
    if (packed > caps->max_alloc_bytes) {
        snprintf(why, why_bytes,
                 "needs %zu bytes of packed weights, the device's largest allocation is %llu",
                 packed, (unsigned long long)caps->max_alloc_bytes);
        return false;
    }
    const size_t workspace = variant->workspace_bytes(problem, caps, &selection->tuning);
    if (workspace > problem->workspace_limit_bytes || workspace > caps->max_alloc_bytes) {
        const bool is_limit = workspace > problem->workspace_limit_bytes;
        snprintf(why, why_bytes, "needs %zu bytes of workspace, %s is %llu", workspace,
                 is_limit ? "workspace_limit_bytes" : "the device's largest allocation",
                 (unsigned long long)(is_limit ? problem->workspace_limit_bytes
                                               : caps->max_alloc_bytes));
        return false;
    }
    return true;
}

struct preference {
    const char *name, *reason;
};

/* Few queries leave most compute units idle unless the keys are shared out. Batch invariance
 * forbids looking at batch and queries. */
static bool is_split_useful(const struct problem *p, const struct device_caps *caps,
                            int32_t heads) {
    return !(p->flags & MHA_BATCH_INVARIANT) && p->seqlen_q <= 16 && p->seqlen_kv >= 512 &&
           (int64_t)p->batch * heads < 8 * (int64_t)caps->compute_units;
}

/* So few queries share a head of k and v that reading it takes longer than the arithmetic. */
static bool is_decoding(const struct problem *p) {
    return !(p->flags & MHA_BATCH_INVARIANT) &&
           (int64_t)p->q_heads / p->kv_heads * p->seqlen_q <= 8;
}

#define MAX_PREFERENCES 6

/* The order in which variants are tried; those without a name are not. */
static void prefer_attention(const struct problem *problem, const struct device_caps *caps,
                             struct preference *order) {
    const bool split = is_split_useful(problem, caps, problem->q_heads);
    const bool decode_split = is_split_useful(problem, caps, problem->kv_heads);
    /* A CPU that reports no vectors has its driver vectorise across work-items, as a GPU does. */
    const bool is_panel = caps->is_cpu && caps->float_vector > 1;
    const bool is_decode = is_panel && is_decoding(problem);
    const struct preference preferences[] = {
        {is_decode ? decode_split ? "decode_split" : "decode" : NULL,
         "few queries, CPU: k and v are read once, as they lie"},
        {split && is_panel ? "panel_split" : NULL, "few queries, CPU: the keys are shared out"},
        {split && !is_panel ? "flash_split" : NULL, "few queries: the keys are shared out"},
        {is_panel ? "panel" : "flash",
         is_panel ? "CPU: explicit vectors, register tiles" : "work-group tiles in local memory"},
        {"staged", "the fused variants can't do this"},
        {"reference", "nothing faster can do this"},
    };
    memcpy(order, preferences, sizeof(preferences));
}

static void prefer_linear(const struct problem *problem, const struct device_caps *caps,
                          struct preference *order) {
    const bool is_panel = caps->is_cpu && caps->float_vector > 1;
    /* Few rows are a matter of bandwidth, which needs no tiles. */
    const bool is_large = !caps->is_cpu && problem->rows >= 128 && !problem->is_batch_invariant &&
                          !problem->is_scattered;
    const struct preference preferences[] = {
        {is_large && mha_clblast_is_built ? "clblast" : NULL, "GPU: tuned for many of them"},
        {is_panel ? "gemm_panel" : "gemm_tile",
         is_panel ? "CPU: explicit vectors, packed weights" : "work-group tiles in local memory"},
        {"gemm_reference", "nothing faster can do this"},
    };
    memcpy(order, preferences, sizeof(preferences));
}

/* One by name or by a tuning result, the values of the heuristic after it, then preferences. */
#define MAX_CHOICES (1 + MAX_PREFERENCES)

/* What is tried, in this order; returns how many, 0 for a name that no variant has. */
static int list_choices(const struct problem *problem, const struct device_caps *caps,
                        const struct config *config, struct choice *choices) {
    struct preference preferences[MAX_PREFERENCES] = {{NULL, NULL}};
    enum config_match match = MATCH_NONE;
    const struct config_entry *entry =
        config ? mha_config_find(config, problem, caps, &match) : NULL;
    int count = 0;
    if (entry && !entry->is_default)
        choices[count++] = (struct choice){entry->variant, entry, match, "measured fastest"};
    if (problem->variant[0])
        preferences[0] = (struct preference){problem->variant, "asked for by name"};
    else if (problem->operation == OPERATION_LINEAR)
        prefer_linear(problem, caps, preferences);
    else
        prefer_attention(problem, caps, preferences);
    for (int i = 0; i < MAX_PREFERENCES; ++i) {
        const struct variant *variant =
            preferences[i].name ? mha_variant_find(problem->operation, preferences[i].name) : NULL;
        if (variant)
            choices[count++] = (struct choice){variant, NULL, MATCH_NONE, preferences[i].reason};
    }
    return count;
}

mha_status mha_select(const struct problem *problem, const struct device_caps *caps,
                      const struct config *config, int skip, struct selection *selection,
                      mha_error *error) {
    if (problem->dtype == MHA_F64 && !caps->has_fp64)
        return mha_fail(error, MHA_ERR_UNSUPPORTED, "%s has no fp64 (cl_khr_fp64)", caps->name);
    struct choice choices[MAX_CHOICES];
    const int count = list_choices(problem, caps, config, choices);
    char whys[400] = "", why[160];
    if (!count)
        return mha_fail(error, MHA_ERR_VARIANT, "no variant of %s is called \"%s\"",
                        problem->operation == OPERATION_LINEAR ? "projections" : "attention",
                        problem->variant);
    for (int i = 0; i < count; ++i) {
        why[0] = 0;
        if (try_choice(&choices[i], problem, caps, selection, why, sizeof(why))) {
            if (skip-- > 0)
                continue;
            snprintf(selection->reason, sizeof(selection->reason), "%s%s%.170s", choices[i].reason,
                     whys[0] ? "; passed over: " : "", whys);
            return MHA_SUCCESS;
        }
        const size_t used = strlen(whys);
        snprintf(whys + used, sizeof(whys) - used, "%s%s %s", used ? "; " : "",
                 choices[i].variant->name, why);
    }
    if (problem->variant[0])
        return mha_fail(error, MHA_ERR_VARIANT, "variant %s can't do this: %s", problem->variant,
                        why);
    return mha_fail(error, MHA_ERR_UNSUPPORTED, "no variant can do this on %s: %s", caps->name,
                    whys);
}
