/* staged: QK^T, softmax and PV as kernels of their own, the scores in workspace (or in the
 * caller's buffer, where the weights are asked for). Gives scores at every stage. */
#include "variant_list.h"

#include <stdio.h>

/* Enough to keep any device busy; more would only take memory from the application. */
#define PREFERRED_BYTES ((size_t)64 << 20)

static void heuristic(const struct problem *p, const struct device_caps *caps, struct tuning *t) {
    const int width = (int)caps->float_vector < 4 ? 4 : (int)caps->float_vector;
    const int lanes = caps->is_cpu ? (width > 16 ? 16 : width) : 4;
    *t = (struct tuning){{0}};
    t->value[VEC] = p->dtype == MHA_F64 ? lanes / 2 : lanes;
    t->value[WORK_GROUP] = caps->is_cpu || caps->max_work_group < 32 ? 1
                           : caps->max_work_group < 64               ? 32
                                                                     : 64;
    t->value[BLOCK_Q] = 4;
    t->value[BLOCK_KV] = 4;
    t->value[MICRO_D] = 1;
}

static bool legal(const struct problem *p, const struct device_caps *caps, const struct tuning *t,
                  char *why, size_t why_bytes) {
    (void)p;
    const size_t group = (size_t)t->value[WORK_GROUP];
    if (group > caps->max_work_group || group > caps->max_work_item) {
        snprintf(why, why_bytes, "WORK_GROUP %zu exceeds the device's %zu", group,
                 caps->max_work_group);
        return false;
    }
    return true;
}

static bool needs_scratch(const struct problem *p) {
    return !(p->flags & MHA_SCORES) || p->scores_stage != MHA_STAGE_WEIGHTS;
}

static size_t pair_bytes(const struct problem *p) {
    return mha_size_product((size_t)p->seqlen_q, (size_t)p->seqlen_kv, mha_real_bytes(p->dtype), 1);
}

static int64_t count_pairs(const struct problem *p) {
    return (int64_t)p->batch * p->q_heads;
}

/* (batch, head) pairs worked on at once, as many as the limits allow and the device needs. */
static int64_t chunk_pairs(const struct problem *plan, const struct device_caps *caps) {
    const int64_t pairs = count_pairs(plan);
    const size_t bytes = pair_bytes(plan);
    if (pairs == 0)
        return 1; /* a plan for no batch is still warmed up */
    if (!needs_scratch(plan) || !bytes)
        return pairs < INT32_MAX ? pairs : INT32_MAX;
    size_t limit = PREFERRED_BYTES;
    if (plan->workspace_limit_bytes < limit)
        limit = plan->workspace_limit_bytes;
    if (caps->max_alloc_bytes < limit)
        limit = (size_t)caps->max_alloc_bytes;
    const size_t fit = limit / bytes > 0 ? limit / bytes : 1;
    return (uint64_t)pairs < fit ? pairs : (int64_t)fit;
}

static size_t workspace_bytes(const struct problem *p, const struct device_caps *caps,
                              const struct tuning *t) {
    (void)t;
    if (!needs_scratch(p))
        return 0;
    return mha_size_product((size_t)chunk_pairs(p, caps), pair_bytes(p), 1, 1);
}

static int64_t tiles(int64_t length, int64_t step) {
    return (length + step - 1) / step;
}

enum { QK, SOFTMAX, PV, STAGES };

static bool launch(const struct problem *plan, const struct problem *call,
                   const struct device_caps *caps, const struct tuning *t, int64_t index,
                   struct launch *launch, union kernel_args *args) {
    const int64_t most = chunk_pairs(plan, caps), pairs = count_pairs(call);
    const int64_t first = index / STAGES * most;
    const int64_t count = pairs - first < most ? pairs - first : most;
    const int64_t rows = count * call->seqlen_q;
    const int64_t q_tiles = count * tiles(call->seqlen_q, t->value[BLOCK_Q]);
    const int64_t group = t->value[WORK_GROUP];
    const double scores = (double)rows * call->seqlen_kv;
    if (first >= pairs)
        return false;
    *launch = (struct launch){.kernel = (int)(index % STAGES), .local_size = (size_t)group};
    args->attention.first_pair = first;
    args->attention.chunk_pairs = (mha_int)count;
    switch (launch->kernel) {
    case QK:
        launch->blocks = tiles(q_tiles * tiles(call->seqlen_kv, t->value[BLOCK_KV]), group);
        launch->flops = 2 * scores * call->head_dim_qk;
        break;
    case SOFTMAX:
        launch->blocks = rows;
        launch->flops = 20 * scores;
        break;
    default:
        launch->blocks =
            tiles(q_tiles * tiles(call->head_dim_v, t->value[MICRO_D] * t->value[VEC]), group);
        launch->flops = 2 * scores * call->head_dim_v;
    }
    return true;
}

static double loops(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const double qk = (double)p->head_dim_qk / v[VEC] + v[BLOCK_Q] * v[BLOCK_KV] * 2.0 * v[VEC];
    const double rows = 4.0 * p->seqlen_kv / v[WORK_GROUP] + 8.0 * v[VEC];
    const double pv = (double)p->seqlen_kv * (1 + v[MICRO_D] * v[VEC]);
    return qk > rows ? qk + pv : rows + pv;
}

const struct variant mha_variant_staged = {
    .name = "staged",
    .files = {"arguments.h", "types.cl", "problem.cl", "mask.cl", "softmax.cl", "staged.cl",
              "qk.cl", "softmax_rows.cl", "pv.cl"},
    .kernels = {{"qk", false}, {"softmax_rows", false}, {"pv", false}},
    .tunables = {{VEC, true, {2, 4, 8, 16}},
                 {WORK_GROUP, true, {1, 32, 64, 128, 256}},
                 {BLOCK_Q, true, {1, 2, 4, 8}},
                 {BLOCK_KV, true, {1, 2, 4, 8}},
                 {MICRO_D, true, {1, 2, 4}}},
    .heuristic = heuristic,
    .legal = legal,
    .workspace_bytes = workspace_bytes,
    .launch = launch,
    .loops = loops,
    .efficiency = 0.05,
};
