/* In: plans of a layer's stages. Out: one that does the work of two. */
#include "launch.h"
#include "layer.h"
#include "variant_list.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Fewer tokens would read the weights of their heads too often. */
#define MIN_TOKENS 48
/* Of so many rounds of work-groups the last may be nearly empty. */
#define MANY_ROUNDS 32

/* Work-groups are as large as heads allow: the last ones should not leave compute units idle. */
static bool is_balanced(int64_t groups, int64_t units) {
    const int64_t rounds = (groups + units - 1) / units;
    return groups * MANY_ROUNDS >= rounds * units * (MANY_ROUNDS - 1);
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

/* Whether any call could be of sizes that suit it. */
static bool has_suitable_sizes(const struct mha_plan *merged) {
    const struct problem *most = &merged->problem;
    const int64_t enough = MANY_ROUNDS * (int64_t)merged->engine->caps.compute_units;
    struct problem sizes = *most;
    if (most->seqlen_q < MIN_TOKENS)
        return false;
    sizes.seqlen_q = MIN_TOKENS;
    for (sizes.batch = 1; sizes.batch <= most->batch && sizes.batch <= enough; ++sizes.batch)
        if (suits_sizes(merged, &sizes))
            return true;
    return false;
}

/* Whether the two stages are the ones that it is made of. Batch invariance forbids a choice by
 * batch; who asks for a variant by name gets that. */
static bool can_merge(const struct layer *layer) {
    const struct mha_plan *qkv = layer->stages[LAYER_Q],
                          *attention = layer->stages[LAYER_ATTENTION];
    const uint64_t needed = MHA_LAYER_FUSED_QKV | MHA_LAYER_PACKED;
    return (layer->flags & (needed | MHA_LAYER_KV_CACHE)) == needed &&
           qkv->selection.variant == &mha_variant_gemm_panel &&
           attention->selection.variant == &mha_variant_panel && attention->engine->caps.is_cpu &&
           mha_is_real(attention->problem.dtype) && !qkv->problem.variant[0] &&
           !attention->problem.variant[0] &&
           !(attention->problem.flags & (MHA_RAGGED_Q | MHA_RAGGED_KV | MHA_BATCH_INVARIANT)) &&
           qkv->selection.tuning.value[VEC] == attention->selection.tuning.value[VEC];
}

/* What the device can run; a driver that stops long loops has no vectors worth while. */
static bool is_possible(const struct device_caps *caps) {
    return isinf(caps->max_loops) &&
           caps->max_parameter_bytes >=
               sizeof(struct mha_panel_qkv_args) + (PROJECTED_BUFFER_COUNT + 1) * sizeof(void *);
}

/* What the attention's plan says of it, before what it said. */
static void add_note(struct selection *selection, const char *note) {
    char text[sizeof(selection->reason)];
    const int used = snprintf(text, sizeof(text), "%.150s; ", note);
    snprintf(text + used, sizeof(text) - (size_t)used, "%.*s", (int)sizeof(text) - used - 1,
             selection->reason);
    strcpy(selection->reason, text);
}

void mha_layer_merge(struct layer *layer) {
    if (!can_merge(layer))
        return;
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
    mha_panel_qkv_take(&qkv->selection.tuning, &wanted.selection.tuning);
    if (!has_suitable_sizes(&wanted) || !is_possible(&engine->caps))
        return;
    mha_error error;
    char failure[160];
    if (mha_plan_make_selected(engine, &wanted.problem, &wanted.selection, &layer->merged,
                               &error)) {
        mha_log(&engine->log, MHA_LOG_WARNING, "variant panel_qkv is not used on %s: %s",
                engine->caps.name, error.message);
        snprintf(failure, sizeof(failure), "panel_qkv failed: %.100s", error.message);
        add_note(&attention->selection, failure);
        return;
    }
    add_note(&attention->selection,
             "panel_qkv projects q, k and v too where a call's sizes suit it");
}
