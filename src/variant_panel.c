/* panel and panel_split: fused kernels for CPU-like devices (panel_attend.cl). Head sizes and block
 * sizes are kernel arguments; only the register tile follows the shape, so that a few programs
 * serve all shapes of a storage type. */
#include "fused.h"
#include "tiles.h"
#include "variant_list.h"

#include <stdio.h>

static int clamp(int x, int low, int high) {
    return x < low ? low : x > high ? high : x;
}

static int d_v_of(const struct problem *p, const struct tuning *t) {
    return mha_round_up(p->head_dim_v, t->value[VEC] * t->value[MICRO_D]);
}

/* Mirrors carve() in panel_attend.cl. */
static size_t local_bytes(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const size_t keys = (size_t)mha_round_up(v[BLOCK_KV], v[VEC]);
    const size_t d_qk = (size_t)mha_round_up(p->head_dim_qk, v[VEC]), d_v = (size_t)d_v_of(p, t);
    const size_t queries = (size_t)v[BLOCK_Q], rows = (size_t)v[MICRO_Q];
    const size_t stats = 2 * queries / rows * (size_t)mha_round_up(v[MICRO_Q], v[VEC]);
    const size_t step = (size_t)(v[VEC] * v[MICRO_D]);
    const size_t copied = (size_t)p->head_dim_v % step ? step : 0; /* of a row of v */
    const size_t q = mha_is_real(p->dtype) ? 0 : rows * d_qk;      /* a copy */
    return (q + queries * d_v + keys * (d_qk + copied + rows) + stats) * mha_real_bytes(p->dtype);
}

/* As many vectors of value dims as keep the accumulators, but for those of a step, in registers,
 * and none left over. */
static int choose_micro_d(const struct problem *p, int vec, int most) {
    const int vectors = mha_round_up(p->head_dim_v, vec) / vec;
    while (most > 1 && vectors % most)
        --most;
    return most;
}

static void choose_registers(const struct problem *p, const struct device_caps *caps,
                             struct tuning *t) {
    const int width = clamp((int)caps->float_vector, 4, 16) / (p->dtype == MHA_F64 ? 2 : 1);
    const bool is_wide = caps->float_vector >= 16;
    static const int wide[] = {8, 6, 0}, narrow[] = {6, 0};
    const int *tiles = is_wide ? wide : narrow;
    t->value[VEC] = width;
    t->value[MICRO_Q] = mha_even_tile(p->flags & MHA_BATCH_INVARIANT ? 0 : p->seqlen_q, tiles);
    const int most = is_wide ? MHA_WIDE_SUMS / t->value[MICRO_Q] : 2;
    t->value[LANE_VECTORS] = most;
    t->value[MICRO_D] = choose_micro_d(p, width, most);
}

/* Weights are known when all keys are. */
static bool needs_one_tile(const struct problem *p) {
    return p->flags & MHA_SCORES;
}

static int most_keys(const struct problem *p, int wanted) {
    return !needs_one_tile(p) ? wanted : p->seqlen_kv > 1 ? p->seqlen_kv : 1;
}

/* Fewer queries where compute units would be idle; smaller tiles where local memory is short. Many
 * queries otherwise, since each tile of k is transposed for each block of them. */
static void choose_blocks(const struct problem *p, const struct device_caps *caps,
                          struct tuning *t) {
    const int rows = t->value[MICRO_Q], lanes = t->value[VEC];
    const int64_t heads = (int64_t)p->batch * p->q_heads;
    const bool is_invariant = p->flags & MHA_BATCH_INVARIANT;
    int most_q = is_invariant ? 208 : 512, most_kv = most_keys(p, 272);
    for (;;) {
        t->value[BLOCK_Q] = mha_even_block(is_invariant ? most_q : p->seqlen_q, most_q, rows);
        t->value[BLOCK_KV] = mha_even_block(p->seqlen_kv, most_kv, lanes);
        const int64_t units = caps->compute_units;
        const int64_t groups = heads * ((p->seqlen_q + t->value[BLOCK_Q] - 1) / t->value[BLOCK_Q]);
        const bool is_even = groups >= 2 * units && groups % units == 0;
        const bool is_idle = !is_invariant && groups < 4 * units && !is_even;
        const bool is_large = local_bytes(p, t) > caps->local_bytes;
        const bool can_narrow = most_kv > lanes && !needs_one_tile(p);
        if (is_idle && most_q > 32)
            most_q = most_q * 2 / 3;
        else if (is_large && most_q > rows && (most_q > most_kv || !can_narrow))
            most_q = most_q * 7 / 8;
        else if (is_large && can_narrow)
            most_kv = most_kv * 7 / 8;
        else
            return;
    }
}

static void heuristic(const struct problem *p, const struct device_caps *caps, struct tuning *t) {
    *t = (struct tuning){{0}};
    choose_registers(p, caps, t);
    choose_blocks(p, caps, t);
}

static void fit(const struct problem *p, struct tuning *t) {
    int *v = t->value;
    v[BLOCK_Q] = mha_even_block(p->seqlen_q, v[BLOCK_Q], v[MICRO_Q]);
    v[BLOCK_KV] = mha_even_block(p->seqlen_kv, most_keys(p, v[BLOCK_KV]), v[VEC]);
    v[SPLIT_KEYS] = mha_round_up(v[SPLIT_KEYS], v[BLOCK_KV]);
}

static void heuristic_split(const struct problem *p, const struct device_caps *caps,
                            struct tuning *t) {
    heuristic(p, caps, t);
    t->value[SPLIT_KEYS] = mha_split_keys(p, caps, t, mha_fused_groups(p, t));
}

static bool legal(const struct problem *p, const struct device_caps *caps, const struct tuning *t,
                  char *why, size_t why_bytes) {
    const int *v = t->value;
    if ((p->flags & MHA_SCORES) && p->scores_stage != MHA_STAGE_WEIGHTS) {
        snprintf(why, why_bytes, "gives weights, but no scores");
        return false;
    }
    if (needs_one_tile(p) && v[SPLIT_KEYS]) {
        snprintf(why, why_bytes, "gives no weights, since it shares out the keys");
        return false;
    }
    if (needs_one_tile(p) && v[BLOCK_KV] < p->seqlen_kv) {
        snprintf(why, why_bytes, "gives weights where BLOCK_KV %d is all of %d keys only",
                 v[BLOCK_KV], p->seqlen_kv);
        return false;
    }
    if (v[BLOCK_Q] % v[MICRO_Q]) {
        snprintf(why, why_bytes, "BLOCK_Q %d is not a multiple of MICRO_Q %d", v[BLOCK_Q],
                 v[MICRO_Q]);
        return false;
    }
    if (!mha_split_legal(t, why, why_bytes))
        return false;
    const size_t bytes = local_bytes(p, t);
    if (bytes > caps->local_bytes) {
        snprintf(why, why_bytes, "needs %zu bytes of local memory%s, the device has %llu", bytes,
                 needs_one_tile(p) ? " for weights of all keys" : "",
                 (unsigned long long)caps->local_bytes);
        return false;
    }
    return true;
}

static double loops(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const double keys = (double)p->seqlen_kv + 2 * v[VEC], queries = v[BLOCK_Q];
    const double d_qk = p->head_dim_qk, d_v = d_v_of(p, t);
    const double strips = queries / v[MICRO_Q];
    const double tiles = p->seqlen_kv > 0 ? mha_divide_up(p->seqlen_kv, v[BLOCK_KV]) : 1;
    const double copy = (keys + queries) * (d_qk + 2 * d_v) / v[VEC] + 2 * keys * v[VEC];
    const double copy_q = mha_is_real(p->dtype) ? 1 : d_qk / v[VEC] + v[VEC]; /* of a row */
    /* A tile may end in narrower register tiles, but in no more of them. */
    const double qk =
        tiles * mha_divide_up(mha_divide_up(v[BLOCK_KV], v[VEC]), v[LANE_VECTORS]) * d_qk;
    const double pv = keys * d_v / (v[VEC] * v[MICRO_D]);
    /* With a NaN in each step of v, the sums once more, one vector at a time. */
    const double again =
        v[MICRO_Q] * (d_v / v[VEC] + (p->head_dim_v % v[VEC] ? v[VEC] : 0)) * (keys + v[VEC]);
    /* A pass over single keys, five over vectors; cache lines of bias and mask. */
    const double passes = (1 + 5.0 / v[VEC] + 0.1) * keys + v[VEC];
    const double rows = v[MICRO_Q] * (passes + (4 + copy_q) * tiles);
    return copy + strips * (qk + pv + again + rows) + 2 * queries * d_v;
}

#define PANEL_FILES                                                                                \
    "arguments.h", "types.cl", "vectors.cl", "problem.cl", "mask.cl", "softmax.cl",                \
        "weighted_sums.cl", "exp2.cl", "panel_terms.cl", "panel_attend.cl", "panel.cl"
#define PANEL_TUNABLES                                                                             \
    {VEC, true, {2, 4, 8, 16}}, {LANE_VECTORS, true, {1, 2, 3, 4}},                                \
        {MICRO_Q, true, {1, 2, 4, 6, 8, 10, 12, 14}}, {MICRO_D, true, {1, 2, 3, 4}}, {             \
        BLOCK_Q, false, {                                                                          \
            16, 32, 64, 96, 128, 160, 208, 272, 512                                                \
        }                                                                                          \
    }

const struct variant mha_variant_panel = {
    .name = "panel",
    .files = {PANEL_FILES},
    .kernels = {{"panel", true}},
    .tunables = {PANEL_TUNABLES, {BLOCK_KV, false, {32, 64, 96, 128, 160, 208, 256, 272, 384}}},
    .heuristic = heuristic,
    .fit = fit,
    .legal = legal,
    .local_bytes = local_bytes,
    .workspace_bytes = mha_fused_workspace,
    .launch = mha_fused_launch,
    .loops = loops,
    .is_for_cpu = true,
    .efficiency = 0.2,
};

const struct variant mha_variant_panel_split = {
    .name = "panel_split",
    .files = {PANEL_FILES, "combine.cl"},
    .kernels = {{"panel", true}, {"combine", false}},
    .tunables = {PANEL_TUNABLES,
                 {BLOCK_KV, false, {32, 64, 96, 128, 160, 208, 256, 272, 384}},
                 {SPLIT_KEYS, false, {256, 512, 1024, 2048, 4096}}},
    .heuristic = heuristic_split,
    .fit = fit,
    .legal = legal,
    .local_bytes = local_bytes,
    .workspace_bytes = mha_fused_workspace,
    .launch = mha_fused_launch,
    .loops = loops,
    .is_for_cpu = true,
    .efficiency = 0.2,
};
