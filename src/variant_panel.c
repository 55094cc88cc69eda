/* panel and panel_split: fused kernels for CPU-like devices (panel.cl). Head sizes and block sizes
 * are kernel arguments: one program per storage type serves them all. */
#include "fused.h"
#include "variant_list.h"

#include <stdio.h>

static int round_up(int x, int step) {
    return (x + step - 1) / step * step;
}

static int clamp(int x, int low, int high) {
    return x < low ? low : x > high ? high : x;
}

/* Mirrors carve() in panel.cl. */
static size_t local_bytes(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const size_t lanes = (size_t)(v[VEC] * v[LANE_VECTORS]);
    const size_t rows = (size_t)round_up(v[BLOCK_KV], v[MICRO_KV]);
    const size_t d_qk = (size_t)round_up(p->head_dim_qk, v[VEC]);
    const size_t d_v = (size_t)round_up(p->head_dim_v, v[VEC] > v[MICRO_D] ? v[VEC] : v[MICRO_D]);
    const size_t queries = (size_t)v[BLOCK_Q];
    return (queries * (d_qk + d_v + 2) + rows * (d_qk + d_v + lanes)) * mha_real_bytes(p->dtype);
}

/* Register tiles by the number of lanes: with 16 lanes of fp32 (AVX-512) there are 32 registers and
 * broadcasts come free with the multiply-add; with 8 (AVX2) there are 16. */
static void choose_registers(const struct problem *p, const struct device_caps *caps,
                             struct tuning *t) {
    const int width = clamp((int)caps->float_vector, 4, 16) / (p->dtype == MHA_F64 ? 2 : 1);
    const bool is_wide = caps->float_vector >= 16;
    t->value[VEC] = width;
    t->value[LANE_VECTORS] = is_wide ? 1 : 2;
    t->value[MICRO_KV] = is_wide ? 12 : 6;
    t->value[MICRO_D] = is_wide ? 16 : 4;
}

/* Few, equal blocks: a last block that is nearly empty costs as much as a full one. */
static int even_block(int length, int most, int step) {
    const int parts = (length + most - 1) / most;
    return parts ? clamp(round_up((length + parts - 1) / parts, step), step, round_up(most, step))
                 : step;
}

static void choose_blocks(const struct problem *p, const struct device_caps *caps,
                          struct tuning *t) {
    const int lanes = t->value[VEC] * t->value[LANE_VECTORS];
    const int64_t heads = (int64_t)p->batch * p->q_heads;
    const bool is_invariant = p->flags & MHA_BATCH_INVARIANT;
    int most_q = 208, most_kv = 256;
    for (;;) {
        t->value[BLOCK_Q] = even_block(is_invariant ? most_q : p->seqlen_q, most_q, lanes);
        t->value[BLOCK_KV] = even_block(p->seqlen_kv, most_kv, 4);
        const int blocks_q = p->seqlen_q / t->value[BLOCK_Q] + 1;
        const bool is_idle = !is_invariant && heads * blocks_q < 4 * (int64_t)caps->compute_units;
        const bool is_large = local_bytes(p, t) > caps->local_bytes;
        if ((is_idle || is_large) && most_q > 2 * lanes && (most_q >= most_kv / 2 || !is_large))
            most_q = most_q * 2 / 3;
        else if (is_large && most_kv > 4)
            most_kv = most_kv * 2 / 3;
        else if (is_large && most_q > lanes)
            most_q = lanes;
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
    v[BLOCK_Q] = even_block(p->seqlen_q, v[BLOCK_Q], v[VEC] * v[LANE_VECTORS]);
    v[BLOCK_KV] = even_block(p->seqlen_kv, v[BLOCK_KV], 4);
    v[SPLIT_KEYS] = round_up(v[SPLIT_KEYS], v[BLOCK_KV]);
}

static void heuristic_split(const struct problem *p, const struct device_caps *caps,
                            struct tuning *t) {
    heuristic(p, caps, t);
    t->value[SPLIT_KEYS] = mha_split_keys(p, caps, t, mha_fused_groups(p, t));
}

static bool legal(const struct problem *p, const struct device_caps *caps, const struct tuning *t,
                  char *why, size_t why_bytes) {
    const int *v = t->value;
    if (p->flags & MHA_SCORES) {
        snprintf(why, why_bytes, "gives no scores or weights");
        return false;
    }
    if (v[BLOCK_Q] % (v[VEC] * v[LANE_VECTORS])) {
        snprintf(why, why_bytes, "BLOCK_Q %d is not a multiple of VEC %d * LANE_VECTORS %d",
                 v[BLOCK_Q], v[VEC], v[LANE_VECTORS]);
        return false;
    }
    if (!mha_split_legal(t, why, why_bytes))
        return false;
    const size_t bytes = local_bytes(p, t);
    if (bytes > caps->local_bytes) {
        snprintf(why, why_bytes, "needs %zu bytes of local memory, the device has %llu", bytes,
                 (unsigned long long)caps->local_bytes);
        return false;
    }
    return true;
}

static double loops(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const double keys = p->seqlen_kv, lanes = v[VEC] * v[LANE_VECTORS];
    const double panels = v[BLOCK_Q] / lanes, dims = (double)p->head_dim_qk + p->head_dim_v;
    const double copy = (keys + v[BLOCK_Q]) * (dims / v[VEC] + 2.0 * v[VEC]);
    const double products =
        panels * keys * ((double)p->head_dim_qk / v[MICRO_KV] + (double)p->head_dim_v / v[MICRO_D]);
    return copy + products + panels * (keys + 1) * (lanes + 3.0 * v[LANE_VECTORS]) +
           2 * panels * dims * v[VEC];
}

#define PANEL_FILES                                                                                \
    "arguments.h", "types.cl", "problem.cl", "mask.cl", "softmax.cl", "panel.cl", "combine.cl"
#define PANEL_TUNABLES                                                                             \
    {VEC, true, {2, 4, 8, 16}}, {LANE_VECTORS, true, {1, 2, 3, 4}},                                \
        {MICRO_KV, true, {1, 2, 4, 6, 8, 12, 14, 24}}, {MICRO_D, true, {4, 8, 16}}, {              \
        BLOCK_Q, false, {                                                                          \
            16, 32, 48, 64, 96, 128, 160, 192, 208                                                 \
        }                                                                                          \
    }

const struct variant mha_variant_panel = {
    .name = "panel",
    .files = {PANEL_FILES},
    .kernels = {{"panel", true}},
    .tunables = {PANEL_TUNABLES, {BLOCK_KV, false, {32, 64, 96, 128, 160, 192, 208, 256, 384}}},
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
    .files = {PANEL_FILES},
    .kernels = {{"panel", true}, {"combine", false}},
    .tunables = {PANEL_TUNABLES,
                 {BLOCK_KV, false, {32, 64, 96, 128, 160, 192, 208, 256, 384}},
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
