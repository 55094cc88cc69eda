/* A multi-head attention layer: up to three projections, an attention, an output projection, each a
 * plan of its own; and a plan for two of them at once. */
#ifndef MHA_LAYER_H
#define MHA_LAYER_H

#include "plan.h"

/* In order of execution. */
enum layer_stage { LAYER_Q, LAYER_K, LAYER_V, LAYER_ATTENTION, LAYER_OUTPUT, LAYER_STAGES };

/* Parts of the workspace; offsets count from its start, in bytes. */
struct layer_memory {
    size_t q, k, v, o;
    size_t scratch; /* one for all stages: they run one after the other */
    size_t bytes;
};

struct layer {
    uint64_t flags; /* of the descriptor */
    int32_t embed[3], embed_out;
    struct mha_plan *stages[LAYER_STAGES]; /* NULL: the layer has no such stage */
    struct mha_plan *merged;               /* a fused projection and the attention; or NULL */
    size_t packed[LAYER_STAGES];           /* where a stage's packed weights begin, in bytes */
    struct layer_memory memory;
};

/* Elements from one token of q, k or v in workspace to the next. A fused projection without a cache
 * writes all three as one matrix. */
int64_t mha_layer_token_stride(const struct mha_plan *plan, enum layer_stage stage);

/* Makes layer->merged of the stages' plans where one kernel can do the work of both. A failure is
 * logged: the stages do without it. */
void mha_layer_merge(struct layer *layer);

/* Whether it is to do so in a call of these sizes of the attention. */
bool mha_layer_is_merged(const struct layer *layer, const struct problem *sizes);

void mha_layer_release(struct mha_plan *plan);

#endif
