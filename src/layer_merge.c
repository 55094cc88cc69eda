/* In: plans of a layer's stages. Out: one that does the work of two. */
#include "launch.h"
#include "layer.h"
#include "variant_list.h"

#include <stdio.h>
#include <string.h>

/* Fewer tokens would read the weights of their heads too often. */
#define MIN_TOKENS 48

/* Work-groups are as large as heads allow: the last ones should not leave compute units idle. */
static bool is_balanced(int64_t groups, int64_t units) {
    const int64_t rounds = (groups + units - 1) / units;
    return groups * 32 >= rounds * units * 31;
}

static bool suits_sizes(const struct mha_plan *merged, const struct problem *sizes) {
    const struct tuning *t = &merged->selection.tuning;
    const int heads = mha_panel_qkv_heads(&merged->problem, t);
    return heads && sizes->seqlen_q >= MIN_TOKENS && sizes->seqlen_q <= t->value[BLOCK_Q] &&
           is_balanced((int64_t)sizes->batch * (sizes->kv_heads / heads),
                       merged->engine->caps.compute_units);
}

bool mha_layer_is_merged(const struct layer *layer, const struct problem *sizes) {
    return layer->merged && suits_sizes(layer->merged, sizes);
}

/* Whether the two stages take their work apart alike, into heads of whole panels. Batch invariance
 * forbids a choice by batch. */
static bool can_merge(const struct layer *layer) {
    const struct mha_plan *qkv = layer->stages[LAYER_Q],
                          *attention = layer->stages[LAYER_ATTENTION];
    const uint64_t needed = MHA_LAYER_FUSED_QKV | MHA_LAYER_PACKED;
    return (layer->flags & (needed | MHA_LAYER_KV_CACHE)) == needed &&
           qkv->selection.variant == &mha_variant_gemm_panel &&
           attention->selection.variant == &mha_variant_panel &&
           mha_is_real(attention->problem.dtype) &&
           !(attention->problem.flags & (MHA_RAGGED_Q | MHA_RAGGED_KV | MHA_BATCH_INVARIANT)) &&
           qkv->selection.tuning.value[VEC] == attention->selection.tuning.value[VEC];
}

/* What the device can run. */
static bool is_possible(const struct mha_plan *merged) {
    const struct device_caps *caps = &merged->engine->caps;
    const struct tuning *t = &merged->selection.tuning;
    return mha_variant_panel_qkv.loops(&merged->problem, t) <= caps->max_loops &&
           caps->max_parameter_bytes >=
               sizeof(struct mha_panel_qkv_args) + (PROJECTED_BUFFER_COUNT + 1) * sizeof(void *);
}

/* The attention's plan says what became of it. */
static void append_note(struct selection *selection) {
    const size_t used = strlen(selection->reason);
    snprintf(selection->reason + used, sizeof(selection->reason) - used,
             "; with the projection as one kernel, %s, where the call's sizes suit it",
             mha_variant_panel_qkv.name);
}

mha_status mha_layer_merge(struct layer *layer, mha_error *error) {
    if (!can_merge(layer))
        return MHA_SUCCESS;
    const struct mha_plan *qkv = layer->stages[LAYER_Q];
    struct mha_plan *attention = layer->stages[LAYER_ATTENTION];
    mha_engine *engine = attention->engine;
    struct mha_plan wanted = {
        .engine = engine,
        .problem = attention->problem,
        .selection = attention->selection,
    };
    wanted.problem.operation = OPERATION_PROJECTED_ATTENTION;
    wanted.problem.weight_dtype = qkv->problem.weight_dtype;
    wanted.problem.in_features = qkv->problem.in_features;
    wanted.selection.variant = &mha_variant_panel_qkv;
    wanted.selection.tuning.value[MICRO_M] = qkv->selection.tuning.value[MICRO_M];
    wanted.selection.tuning.value[PANEL_VECTORS] = qkv->selection.tuning.value[PANEL_VECTORS];
    if (!suits_sizes(&wanted, &wanted.problem) || !is_possible(&wanted))
        return MHA_SUCCESS;
    mha_error reason;
    const mha_status status =
        mha_plan_make_selected(engine, &wanted.problem, &wanted.selection, &layer->merged, &reason);
    if (!status) {
        append_note(&attention->selection);
        return MHA_SUCCESS;
    }
    if (!mha_is_variants_fault(status)) {
        if (error)
            *error = reason;
        return status;
    }
    mha_log(&engine->log, MHA_LOG_WARNING, "variant %s is not usable on %s: %s",
            mha_variant_panel_qkv.name, engine->caps.name, reason.message);
    return MHA_SUCCESS;
}
