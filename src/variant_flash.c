/* flash and flash_split: fused kernels for GPU-like devices (flash.cl). */
#include "fused.h"
#include "variant_list.h"

#include <stdio.h>

#define SLICE 16 /* of flash.cl */
/* Accumulators of o per work-item: more would spill on most GPUs. */
#define MAX_ACCUMULATORS 64

/* head_dim_v, rounded up to few sizes: each is a program. 0: larger than all. */
static int padded_head_dim(const struct problem *p) {
    static const int sizes[] = {16, 32, 64, 96, 128, 192, 256, 512};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); ++i)
        if (p->head_dim_v <= sizes[i])
            return sizes[i];
    return 0;
}

static const char *defines(const struct problem *p, char *text, size_t bytes) {
    snprintf(text, bytes, "#define DV %d\n", padded_head_dim(p));
    return text;
}

/* Mirrors the local arrays of flash.cl. */
static size_t local_bytes(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const size_t q_stride = (size_t)v[BLOCK_Q] + 1, kv_stride = (size_t)v[BLOCK_KV] + 1;
    const size_t qk = SLICE * (q_stride + kv_stride), pv = SLICE * (size_t)padded_head_dim(p);
    const size_t slices = v[STAGING] != 2 ? 1 : qk > pv ? qk : pv;
    const size_t reals =
        slices + (size_t)v[BLOCK_KV] * q_stride + (size_t)(v[BLOCK_Q] * v[THREADS_KV]);
    return reals * mha_real_bytes(p->dtype) + 2 * sizeof(cl_int);
}

static bool legal(const struct problem *p, const struct device_caps *caps, const struct tuning *t,
                  char *why, size_t why_bytes) {
    const int *v = t->value;
    const int dv = padded_head_dim(p), threads = v[THREADS_Q] * v[THREADS_KV];
    const size_t bytes = local_bytes(p, t);
    if (p->flags & MHA_SCORES)
        snprintf(why, why_bytes, "gives no scores or weights");
    else if (!dv)
        snprintf(why, why_bytes, "takes no head_dim_v as large as %d", p->head_dim_v);
    else if (v[BLOCK_Q] % v[THREADS_Q] || v[BLOCK_KV] % v[THREADS_KV] || v[BLOCK_KV] % SLICE ||
             dv % v[THREADS_KV])
        snprintf(why, why_bytes,
                 "%d x %d work-items don't divide a tile of BLOCK_Q %d, BLOCK_KV %d, head_dim_v %d",
                 v[THREADS_Q], v[THREADS_KV], v[BLOCK_Q], v[BLOCK_KV], dv);
    /* PoCL 3.1 drops the bounds test of a register tile that is a single row. */
    else if (v[BLOCK_Q] < 2 * v[THREADS_Q])
        snprintf(why, why_bytes,
                 "needs at least 2 rows of BLOCK_Q %d per work-item, THREADS_Q is %d", v[BLOCK_Q],
                 v[THREADS_Q]);
    else if (v[BLOCK_Q] / v[THREADS_Q] * (dv / v[THREADS_KV]) > MAX_ACCUMULATORS)
        snprintf(why, why_bytes, "needs %d accumulators per work-item, more than %d",
                 v[BLOCK_Q] / v[THREADS_Q] * (dv / v[THREADS_KV]), MAX_ACCUMULATORS);
    else if (v[UNROLL] == 1 && !caps->is_cpu)
        snprintf(why, why_bytes, "UNROLL 1 is for CPUs");
    else if ((size_t)threads > caps->max_work_group || (size_t)threads > caps->max_work_item)
        snprintf(why, why_bytes, "needs work-groups of %d, the device has %zu", threads,
                 caps->max_work_group);
    else if (bytes > caps->local_bytes)
        snprintf(why, why_bytes, "needs %zu bytes of local memory, the device has %llu", bytes,
                 (unsigned long long)caps->local_bytes);
    else
        return mha_split_legal(t, why, why_bytes);
    return false;
}

/* From the largest tile down to what any device takes; the first legal one. */
static void heuristic(const struct problem *p, const struct device_caps *caps, struct tuning *t) {
    static const struct {
        int block_q, block_kv, threads_q, threads_kv;
    } tiles[] = {
        {64, 64, 16, 16}, {32, 64, 16, 16}, {32, 32, 8, 16}, {32, 32, 8, 8}, {16, 32, 4, 16},
        {8, 32, 4, 16},   {4, 64, 2, 16},   {16, 16, 4, 8},  {8, 16, 4, 8},  {4, 16, 2, 8},
    };
    const size_t count = sizeof(tiles) / sizeof(*tiles);
    struct problem fused = *p;
    fused.flags &= ~MHA_SCORES; /* refused whatever the tile */
    char why[160];
    for (size_t i = 0; i < count; ++i) {
        *t = (struct tuning){{0}};
        t->value[VEC] = 4;
        t->value[STAGING] = caps->is_local_dedicated || caps->is_cpu ? 2 : 1;
        t->value[UNROLL] = caps->is_cpu ? 1 : 64;
        t->value[BLOCK_Q] = tiles[i].block_q;
        t->value[BLOCK_KV] = tiles[i].block_kv;
        t->value[THREADS_Q] = tiles[i].threads_q;
        t->value[THREADS_KV] = tiles[i].threads_kv;
        const bool is_wasteful = !(p->flags & MHA_BATCH_INVARIANT) && i + 1 < count &&
                                 tiles[i].block_q > 4 && p->seqlen_q <= tiles[i].block_q / 2;
        if (!is_wasteful && legal(&fused, caps, t, why, sizeof(why)))
            return;
    }
}

static void heuristic_split(const struct problem *p, const struct device_caps *caps,
                            struct tuning *t) {
    heuristic(p, caps, t);
    /* Few queries reuse little of what is staged: not where staging is a copy in global memory. */
    if (!caps->is_local_dedicated)
        t->value[STAGING] = 1;
    t->value[SPLIT_KEYS] = mha_split_keys(p, caps, t, mha_fused_groups(p, t));
}

static double loops(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const double rows = (double)v[BLOCK_Q] / v[THREADS_Q], dv = padded_head_dim(p);
    const double columns = (double)v[BLOCK_KV] / v[THREADS_KV], dims = dv / v[THREADS_KV];
    const double threads = (double)mha_fused_group(t), tile = rows * columns;
    const double slices = (p->head_dim_qk + SLICE - 1) / SLICE;
    /* Not unrolled, a register tile is loops too. */
    const bool is_rolled = v[UNROLL] == 1;
    const double qk = slices * (SLICE * (1 + (is_rolled ? rows + tile + columns : 0)) +
                                (v[BLOCK_Q] + v[BLOCK_KV]) * SLICE / threads + 2);
    const double softmax = 6 * tile + rows * (v[THREADS_KV] + dims + 4);
    const double pv =
        v[BLOCK_KV] * (1 + (is_rolled ? rows + dims * (rows + 1) : 0) + dv / threads + 1);
    const double tiles = (double)p->seqlen_kv / v[BLOCK_KV] + 1;
    return tiles * (qk + softmax + pv) + rows * (v[THREADS_KV] + dims + 2) * 2;
}

#define FLASH_TUNABLES                                                                             \
    {VEC, true, {4}}, {STAGING, true, {1, 2}}, {UNROLL, true, {1, 64}},                            \
        {BLOCK_Q, true, {4, 8, 16, 32, 64, 128}}, {BLOCK_KV, true, {16, 32, 64, 128}},             \
        {THREADS_Q, true, {2, 4, 8, 16, 32}}, {                                                    \
        THREADS_KV, true, {                                                                        \
            8, 16, 32                                                                              \
        }                                                                                          \
    }

const struct variant mha_variant_flash = {
    .name = "flash",
    .files = {"arguments.h", "types.cl", "problem.cl", "mask.cl", "flash.cl"},
    .kernels = {{"flash", false}},
    .tunables = {FLASH_TUNABLES},
    .defines = defines,
    .heuristic = heuristic,
    .legal = legal,
    .local_bytes = local_bytes,
    .workspace_bytes = mha_fused_workspace,
    .launch = mha_fused_launch,
    .loops = loops,
    .efficiency = 0.1,
};

const struct variant mha_variant_flash_split = {
    .name = "flash_split",
    .files = {"arguments.h", "types.cl", "problem.cl", "mask.cl", "flash.cl", "combine.cl"},
    .kernels = {{"flash", false}, {"combine", false}},
    .tunables = {FLASH_TUNABLES, {SPLIT_KEYS, false, {256, 512, 1024, 2048, 4096}}},
    .defines = defines,
    .heuristic = heuristic_split,
    .legal = legal,
    .local_bytes = local_bytes,
    .workspace_bytes = mha_fused_workspace,
    .launch = mha_fused_launch,
    .loops = loops,
    .efficiency = 0.1,
};
