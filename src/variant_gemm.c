/* gemm_reference, gemm_panel and gemm_tile: linear projections. */
#include "tiles.h"
#include "variant_list.h"

#include <limits.h>
#include <stdio.h>

static int64_t blocks_of(int64_t length, int64_t step) {
    return (length + step - 1) / step;
}

static int clamp(int x, int low, int high) {
    return x < low ? low : x > high ? high : x;
}

static int panel_columns(const struct tuning *t) {
    return t->value[VEC] * t->value[PANEL_VECTORS];
}

/* Weights that the caller has not packed are packed by each call, into workspace. */
static size_t panel_workspace(const struct problem *p, const struct device_caps *caps,
                              const struct tuning *t) {
    (void)caps;
    if (p->flags & MHA_LINEAR_PACKED)
        return 0;
    return mha_packed_bytes(p, &mha_variant_gemm_panel, t);
}

/* W is taken as it is. */
int mha_unpacked_columns(const struct tuning *t) {
    (void)t;
    return 1;
}

size_t mha_copy_group(const struct device_caps *caps) {
    size_t group = caps->is_cpu ? 1 : 64;
    while (group > caps->max_work_group || group > caps->max_work_item)
        group /= 2;
    return group;
}

static size_t no_workspace(const struct problem *p, const struct device_caps *caps,
                           const struct tuning *t) {
    (void)p, (void)caps, (void)t;
    return 0;
}

const char *mha_gemm_defines(const struct problem *p, char *text, size_t bytes) {
    snprintf(text, bytes, "#define WEIGHT_DTYPE %d\n", (int)p->weight_dtype);
    return text;
}

enum { MULTIPLY, PACK };

static void set_pack(const struct problem *call, int64_t blocks, size_t local_size,
                     struct launch *launch) {
    *launch = (struct launch){
        .kernel = PACK,
        .blocks = blocks,
        .local_size = local_size,
        .flops = 4.0 * call->in_features * call->out_features,
    };
}

static void set_multiply(const struct problem *call, int64_t block_m, int64_t block_n,
                         size_t local_size, struct launch *launch, struct mha_gemm_args *args) {
    args->block_m = (mha_int)block_m;
    args->block_n = (mha_int)block_n;
    args->blocks_n = (mha_int)blocks_of(call->out_features, block_n);
    *launch = (struct launch){
        .kernel = MULTIPLY,
        .blocks = blocks_of(call->rows, block_m) * args->blocks_n,
        .local_size = local_size,
        .flops = 2.0 * call->rows * call->in_features * call->out_features,
    };
}

static bool always_legal(const struct problem *p, const struct device_caps *caps,
                         const struct tuning *t, char *why, size_t why_bytes) {
    (void)p, (void)caps, (void)t, (void)why, (void)why_bytes;
    return true;
}

/* ---- Reference ------------------------------------------------------------------------------ */

#define REFERENCE_COLUMNS 16

static void reference_heuristic(const struct problem *p, const struct device_caps *caps,
                                struct tuning *t) {
    (void)p, (void)caps;
    *t = (struct tuning){{0}};
}

static bool reference_launch(const struct problem *plan, const struct problem *call,
                             const struct device_caps *caps, const struct tuning *t, int64_t index,
                             struct launch *launch, union kernel_args *args) {
    (void)plan, (void)t;
    if (call->is_packing)
        set_pack(call, call->out_features, mha_copy_group(caps), launch);
    else
        set_multiply(call, 1, REFERENCE_COLUMNS, 1, launch, &args->gemm);
    return index == 0;
}

static double reference_loops(const struct problem *p, const struct tuning *t) {
    (void)t;
    return REFERENCE_COLUMNS * (p->in_features + 1.0);
}

const struct variant mha_variant_gemm_reference = {
    .name = "gemm_reference",
    .operation = OPERATION_LINEAR,
    .files = {"arguments.h", "types.cl", "gemm.cl", "gemm_reference.cl", "gemm_copy.cl"},
    .kernels = {{"gemm_reference", false}, {"gemm_pack", false}},
    .defines = mha_gemm_defines,
    .heuristic = reference_heuristic,
    .legal = always_legal,
    .workspace_bytes = no_workspace,
    .launch = reference_launch,
    .panel_columns = mha_unpacked_columns,
    .loops = reference_loops,
    .efficiency = 0.01,
};

/* ---- Panel: CPUs ------------------------------------------------------------------------------
 */

/* Mirrors gemm_panel.cl: a slice of x if it must be made reals, and sums where there is more than
 * one slice; never nothing. */
static size_t panel_local(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const size_t rows = (size_t)mha_round_up(v[BLOCK_M], v[MICRO_M]);
    const size_t x = mha_is_real(p->dtype) ? 0 : (size_t)(v[BLOCK_K] + v[VEC]);
    const size_t sums = p->in_features > v[BLOCK_K] ? (size_t)v[BLOCK_N] : 0;
    return (rows * (x + sums) + (size_t)v[VEC]) * mha_real_bytes(p->dtype);
}

#define BLOCK_WEIGHT_BYTES (864 << 10) /* 288 columns of 768 in fp32 */

/* By columns alone: plans that differ in rows can share packed weights. */
static int choose_panel_vectors(const struct problem *p, bool is_wide, int vec) {
    const int columns[] = {3 * vec, 4 * vec, 2 * vec, 0};
    return is_wide ? mha_even_tile(p->out_features, columns) / vec : 2;
}

/* Whether panel_qkv may do the work of a projection to q, k and v. */
static bool may_merge(const struct problem *p) {
    return p->segments[2].heads > 0 && p->flags & MHA_LINEAR_PACKED && mha_is_real(p->dtype) &&
           !p->is_scattered && !p->is_batch_invariant;
}

/* Then as few heads as possible should be whole panels. Two vectors are no choice, since their
 * register tiles are slower. */
static int choose_head_vectors(const struct problem *p, int vec, int otherwise) {
    const struct segment *k = &p->segments[1], *v = &p->segments[2];
    int best = otherwise, fewest = INT_MAX;
    for (int vectors = 4; vectors > 2 && may_merge(p); --vectors) {
        const int heads = mha_whole_panel_heads(k->heads, k->head_dim, v->head_dim, vectors * vec);
        if (heads > 0 && heads < fewest) {
            fewest = heads;
            best = vectors;
        }
    }
    return best;
}

#define WIDE_BYTES 64 /* of a vector where there are registers for them */

/* 32 registers hold 24 sums with AVX-512, 16 hold 6 x 2 with AVX2. Of elements that must be
 * converted first a tile has more rows than columns; of rows that are read where they lie, each at
 * a pointer of its own, no more than pointers fit registers. */
static void choose_panel_registers(const struct problem *p, const struct device_caps *caps,
                                   struct tuning *t) {
    static const int converted[] = {12, 10, 8, 6, 0}, real[] = {8, 6, 0}, six[] = {6, 0};
    const bool has_32 = caps->float_vector >= 16;
    const bool is_real = mha_is_real(p->dtype) && mha_is_real(p->weight_dtype);
    const int vec = clamp((int)caps->float_vector, 4, 16) / (p->dtype == MHA_F64 ? 2 : 1);
    const bool is_wide = has_32 && is_real;
    int vectors = choose_panel_vectors(p, is_wide, vec);
    if (is_wide)
        vectors = choose_head_vectors(p, vec, vectors);
    const int *rows = !has_32 || vectors > 3 ? six : is_real ? real : converted;
    t->value[VEC] = vec;
    t->value[PANEL_VECTORS] = vectors;
    t->value[MICRO_M] = p->rows < 4 ? 1 : p->rows < 8 ? 4 : mha_even_tile(p->rows, rows);
}

static void panel_heuristic(const struct problem *p, const struct device_caps *caps,
                            struct tuning *t) {
    *t = (struct tuning){{0}};
    choose_panel_registers(p, caps, t);
    /* As long as local memory allows: sums that need not leave the registers. */
    t->value[BLOCK_K] = 768;
    /* As wide as leaves the block's weights in a second level cache; within what the tuner
     * tries. */
    const int depth = clamp(p->in_features, 1, t->value[BLOCK_K]);
    const int fitting = BLOCK_WEIGHT_BYTES / (depth * (int)mha_dtype_bytes(p->weight_dtype));
    int most_m = 48, most_n = fitting < 576 ? fitting : 576;
    for (;;) {
        t->value[BLOCK_M] = mha_even_block(p->rows, most_m, t->value[MICRO_M]);
        t->value[BLOCK_N] = mha_even_block(p->out_features, most_n, panel_columns(t));
        const int64_t blocks =
            blocks_of(p->rows, t->value[BLOCK_M]) * blocks_of(p->out_features, t->value[BLOCK_N]);
        const bool is_idle = blocks < 8 * (int64_t)caps->compute_units;
        const bool is_large = panel_local(p, t) > caps->local_bytes;
        const bool can_narrow = most_n > 2 * panel_columns(t);
        const bool can_flatten = most_m > t->value[MICRO_M];
        /* Of reals nothing is copied: there a slice takes no local memory. */
        if (is_large && !mha_is_real(p->dtype) &&
            t->value[BLOCK_K] > (can_narrow || can_flatten ? 192 : 48))
            t->value[BLOCK_K] /= 2;
        else if ((is_idle || is_large) && can_narrow)
            most_n /= 2;
        else if ((is_idle || is_large) && can_flatten)
            most_m /= 2;
        else
            return;
    }
}

/* Results of the tuner are of a projection alone: here, too, heads decide. */
static void fit_heads(const struct problem *p, int *v) {
    if (v[VEC] * (int)mha_real_bytes(p->dtype) < WIDE_BYTES || !mha_is_real(p->weight_dtype))
        return;
    const int vectors = choose_head_vectors(p, v[VEC], v[PANEL_VECTORS]);
    if (v[MICRO_M] * vectors > MHA_WIDE_SUMS && vectors != v[PANEL_VECTORS])
        v[MICRO_M] = MHA_WIDE_SUMS / vectors;
    v[PANEL_VECTORS] = vectors;
}

static void panel_fit(const struct problem *p, struct tuning *t) {
    int *v = t->value;
    fit_heads(p, v);
    v[BLOCK_M] = mha_even_block(p->rows, v[BLOCK_M], v[MICRO_M]);
    v[BLOCK_N] = mha_even_block(p->out_features, v[BLOCK_N], panel_columns(t));
}

static bool panel_legal(const struct problem *p, const struct device_caps *caps,
                        const struct tuning *t, char *why, size_t why_bytes) {
    const int *v = t->value;
    const size_t bytes = panel_local(p, t);
    if (v[BLOCK_M] % v[MICRO_M] || v[BLOCK_N] % panel_columns(t)) {
        snprintf(why, why_bytes,
                 "BLOCK_M %d, BLOCK_N %d are not multiples of MICRO_M %d, VEC * PANEL_VECTORS %d",
                 v[BLOCK_M], v[BLOCK_N], v[MICRO_M], panel_columns(t));
        return false;
    }
    if (bytes > caps->local_bytes) {
        snprintf(why, why_bytes, "needs %zu bytes of local memory, the device has %llu", bytes,
                 (unsigned long long)caps->local_bytes);
        return false;
    }
    return true;
}

static bool panel_launch(const struct problem *plan, const struct problem *call,
                         const struct device_caps *caps, const struct tuning *t, int64_t index,
                         struct launch *launch, union kernel_args *args) {
    (void)caps;
    const bool packs = call->is_packing || !(plan->flags & MHA_LINEAR_PACKED);
    if (packs && index == 0)
        set_pack(call, blocks_of(call->out_features, panel_columns(t)), 1, launch);
    else if (!call->is_packing)
        set_multiply(call, t->value[BLOCK_M], t->value[BLOCK_N], 1, launch, &args->gemm);
    return index < packs + !call->is_packing;
}

static double panel_loops(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const double depth = p->in_features, slices = depth / v[BLOCK_K] + 1;
    const double tiles = (double)v[BLOCK_M] / v[MICRO_M] * v[BLOCK_N] / panel_columns(t);
    const double copy = v[BLOCK_M] * (depth / v[VEC] + 2.0 * v[VEC]) * slices;
    const double pack = panel_columns(t) * (depth + 1);
    const double multiply = copy + tiles * (depth + slices + v[VEC] * (double)v[MICRO_M]);
    return multiply > pack ? multiply : pack;
}

const struct variant mha_variant_gemm_panel = {
    .name = "gemm_panel",
    .operation = OPERATION_LINEAR,
    .files = {"arguments.h", "types.cl", "gemm.cl", "panel_product.cl", "gemm_panel.cl"},
    .kernels = {{"gemm_panel", true}, {"gemm_pack", false}},
    .tunables = {{VEC, true, {2, 4, 8, 16}},
                 {PANEL_VECTORS, true, {1, 2, 3, 4}},
                 {MICRO_M, true, {1, 4, 6, 8, 10, 12, 14}},
                 {BLOCK_M, false, {12, 24, 48, 72, 96, 144, 192, 264}},
                 {BLOCK_N, false, {32, 64, 96, 128, 192, 288, 384, 576}},
                 {BLOCK_K, true, {48, 96, 192, 256, 384, 512, 768}}},
    .defines = mha_gemm_defines,
    .heuristic = panel_heuristic,
    .fit = panel_fit,
    .legal = panel_legal,
    .local_bytes = panel_local,
    .workspace_bytes = panel_workspace,
    .launch = panel_launch,
    .panel_columns = panel_columns,
    .loops = panel_loops,
    .is_for_cpu = true,
    .efficiency = 0.2,
};

/* ---- Tile: GPUs -------------------------------------------------------------------------------
 */

/* More would spill, and compilers take minutes to find that out. */
#define MAX_ACCUMULATORS 128

static size_t tile_local(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    return (size_t)v[BLOCK_K] * (size_t)(v[BLOCK_M] + v[BLOCK_N] + 2) * mha_real_bytes(p->dtype);
}

static size_t tile_group(const struct tuning *t) {
    return (size_t)(t->value[THREADS_M] * t->value[THREADS_N]);
}

static bool tile_legal(const struct problem *p, const struct device_caps *caps,
                       const struct tuning *t, char *why, size_t why_bytes) {
    const int *v = t->value;
    const size_t bytes = tile_local(p, t), group = tile_group(t);
    if (v[BLOCK_M] % v[THREADS_M] || v[BLOCK_N] % v[THREADS_N])
        snprintf(why, why_bytes, "%d x %d work-items don't divide a tile of %d x %d", v[THREADS_M],
                 v[THREADS_N], v[BLOCK_M], v[BLOCK_N]);
    else if (group % (size_t)v[BLOCK_K] || (size_t)(v[BLOCK_M] * v[BLOCK_K]) % group ||
             (size_t)(v[BLOCK_N] * v[BLOCK_K]) % group)
        snprintf(why, why_bytes, "%zu work-items don't share out slices of BLOCK_K %d", group,
                 v[BLOCK_K]);
    else if (v[UNROLL] == 1 && !caps->is_cpu)
        snprintf(why, why_bytes, "UNROLL 1 is for CPUs");
    else if (v[UNROLL] > 1 &&
             v[BLOCK_M] / v[THREADS_M] * (v[BLOCK_N] / v[THREADS_N]) > MAX_ACCUMULATORS)
        snprintf(why, why_bytes, "needs %d accumulators per work-item, more than %d",
                 v[BLOCK_M] / v[THREADS_M] * (v[BLOCK_N] / v[THREADS_N]), MAX_ACCUMULATORS);
    else if (group > caps->max_work_group || group > caps->max_work_item)
        snprintf(why, why_bytes, "needs work-groups of %zu, the device has %zu", group,
                 caps->max_work_group);
    else if (bytes > caps->local_bytes)
        snprintf(why, why_bytes, "needs %zu bytes of local memory, the device has %llu", bytes,
                 (unsigned long long)caps->local_bytes);
    else
        return true;
    return false;
}

/* From the largest tile down to what any device takes; the first legal one that keeps the device
 * busy, else the smallest. */
static void tile_heuristic(const struct problem *p, const struct device_caps *caps,
                           struct tuning *t) {
    static const struct {
        int block_m, block_n, threads_m, threads_n;
    } tiles[] = {
        {128, 128, 16, 16}, {64, 64, 16, 16}, {32, 64, 8, 16},
        {16, 64, 4, 16},    {8, 64, 2, 32},   {8, 16, 4, 8},
    };
    const size_t count = sizeof(tiles) / sizeof(*tiles);
    char why[160];
    for (size_t i = 0; i < count; ++i) {
        *t = (struct tuning){{0}};
        t->value[VEC] = 4;
        t->value[UNROLL] = caps->is_cpu ? 1 : 64;
        t->value[BLOCK_K] = 16;
        t->value[BLOCK_M] = tiles[i].block_m;
        t->value[BLOCK_N] = tiles[i].block_n;
        t->value[THREADS_M] = tiles[i].threads_m;
        t->value[THREADS_N] = tiles[i].threads_n;
        const int64_t blocks =
            blocks_of(p->rows, tiles[i].block_m) * blocks_of(p->out_features, tiles[i].block_n);
        const bool is_wasteful = i + 1 < count && (blocks < (int64_t)caps->compute_units ||
                                                   p->rows <= tiles[i].block_m / 2);
        if (!is_wasteful && tile_legal(p, caps, t, why, sizeof(why)))
            return;
    }
}

static bool tile_launch(const struct problem *plan, const struct problem *call,
                        const struct device_caps *caps, const struct tuning *t, int64_t index,
                        struct launch *launch, union kernel_args *args) {
    (void)plan;
    if (call->is_packing)
        set_pack(call, call->out_features, mha_copy_group(caps), launch);
    else
        set_multiply(call, t->value[BLOCK_M], t->value[BLOCK_N], tile_group(t), launch,
                     &args->gemm);
    return index == 0;
}

static double tile_loops(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const double rows = (double)v[BLOCK_M] / v[THREADS_M];
    const double columns = (double)v[BLOCK_N] / v[THREADS_N];
    const double copies = (v[BLOCK_M] + v[BLOCK_N]) * (double)v[BLOCK_K] / (double)tile_group(t);
    /* Not unrolled, a register tile is loops too. */
    const double rolled = v[UNROLL] == 1 ? rows + columns + rows * (columns + 1) : 0;
    const double slices = (double)p->in_features / v[BLOCK_K] + 1;
    return slices * (copies + 2 + v[BLOCK_K] * (1 + rolled)) + 2 * rows * (columns + 1) + columns;
}

const struct variant mha_variant_gemm_tile = {
    .name = "gemm_tile",
    .operation = OPERATION_LINEAR,
    .files = {"arguments.h", "types.cl", "gemm.cl", "gemm_tile.cl", "gemm_copy.cl"},
    .kernels = {{"gemm_tile", false}, {"gemm_pack", false}},
    .tunables = {{VEC, true, {4}},
                 {UNROLL, true, {1, 64}},
                 {BLOCK_M, true, {8, 16, 32, 64, 128}},
                 {BLOCK_N, true, {16, 32, 64, 128}},
                 {BLOCK_K, true, {8, 16, 32}},
                 {THREADS_M, true, {2, 4, 8, 16}},
                 {THREADS_N, true, {8, 16, 32}}},
    .defines = mha_gemm_defines,
    .heuristic = tile_heuristic,
    .legal = tile_legal,
    .local_bytes = tile_local,
    .workspace_bytes = no_workspace,
    .launch = tile_launch,
    .panel_columns = mha_unpacked_columns,
    .loops = tile_loops,
    .efficiency = 0.1,
};
