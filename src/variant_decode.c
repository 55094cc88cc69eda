/* decode and decode_split: fused kernels of few queries for CPU-like devices (decode.cl). */
#include "fused.h"
#include "tiles.h"
#include "variant_list.h"

#include <math.h>
#include <stdio.h>

#define MAX_ROWS 8
#define KEYS 512
/* What the last cache of a CPU may hold; devices tell the size of one or another. */
#define CACHED_BYTES (32 << 20)

/* Of one head of k and v: the queries of all heads that share it. */
static int64_t rows_of(const struct problem *p) {
    return (int64_t)(p->q_heads / p->kv_heads) * p->seqlen_q;
}

static int rows_below(const struct problem *p, int most) {
    const int64_t rows = rows_of(p);
    return rows < 1 ? 1 : rows < most ? (int)rows : most;
}

/* Mirrors carve() in decode.cl. */
static size_t local_bytes(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const int reals = mha_round_up(p->head_dim_qk, v[VEC]) + mha_round_up(p->head_dim_v, v[VEC]) +
                      mha_round_up(v[BLOCK_KV], v[VEC]) + 2;
    return (size_t)mha_round_up(v[BLOCK_Q], v[MICRO_Q]) * (size_t)reals * mha_real_bytes(p->dtype);
}

static int64_t groups_of(const struct problem *p, const struct tuning *t) {
    const int block = t->value[BLOCK_Q];
    return (int64_t)p->batch * p->kv_heads * ((rows_of(p) + block - 1) / block);
}

/* As many vectors of value dims at once as registers allow beside the rows, and none left over. */
static int choose_micro_d(const struct problem *p, int vec, int accumulators) {
    static const int sizes[] = {8, 6, 5, 4, 3, 2};
    const int vectors = p->head_dim_v / vec;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); ++i)
        if (sizes[i] <= accumulators && vectors % sizes[i] == 0)
            return sizes[i];
    return 1;
}

static void heuristic(const struct problem *p, const struct device_caps *caps, struct tuning *t) {
    const int lanes = (int)caps->float_vector < 4    ? 4
                      : (int)caps->float_vector > 16 ? 16
                                                     : (int)caps->float_vector;
    const int vec = p->dtype == MHA_F64 ? lanes / 2 : lanes;
    *t = (struct tuning){{0}};
    t->value[VEC] = vec;
    t->value[BLOCK_Q] = rows_below(p, MAX_ROWS);
    /* More rows share what is converted. */
    t->value[MICRO_Q] = rows_below(p, 2);
    if (!mha_is_real(p->dtype) && t->value[BLOCK_Q] > 2)
        t->value[MICRO_Q] = 4;
    /* Keys side by side would be streams of their own, which prefetchers follow less well. */
    t->value[MICRO_KV] = 1;
    t->value[MICRO_D] = choose_micro_d(p, vec, (lanes < 16 ? 8 : 16) / t->value[MICRO_Q]);
    t->value[BLOCK_KV] = KEYS;
    while (local_bytes(p, t) > caps->local_bytes && t->value[BLOCK_KV] > KEYS / 8)
        t->value[BLOCK_KV] /= 2;
}

static void heuristic_split(const struct problem *p, const struct device_caps *caps,
                            struct tuning *t) {
    heuristic(p, caps, t);
    /* Parts may be smaller than a tile should be. */
    const int keys = t->value[BLOCK_KV];
    t->value[BLOCK_KV] = keys < KEYS / 2 ? keys : KEYS / 2;
    t->value[SPLIT_KEYS] = mha_split_keys(p, caps, t, groups_of(p, t));
    if (t->value[SPLIT_KEYS] % keys == 0)
        t->value[BLOCK_KV] = keys;
}

static void fit(const struct problem *p, struct tuning *t) {
    int *v = t->value;
    v[BLOCK_Q] = rows_below(p, v[BLOCK_Q]);
    v[SPLIT_KEYS] = mha_round_up(v[SPLIT_KEYS], v[BLOCK_KV]);
}

static bool legal(const struct problem *p, const struct device_caps *caps, const struct tuning *t,
                  char *why, size_t why_bytes) {
    const int *v = t->value;
    const size_t bytes = local_bytes(p, t);
    if (p->flags & MHA_SCORES)
        snprintf(why, why_bytes, "gives no scores or weights");
    else if (rows_of(p) > INT32_MAX)
        snprintf(why, why_bytes, "has %lld queries for a head of k, more than 32 bits count",
                 (long long)rows_of(p));
    else if (v[VEC] % v[MICRO_KV])
        snprintf(why, why_bytes, "MICRO_KV %d does not divide VEC %d", v[MICRO_KV], v[VEC]);
    else if (bytes > caps->local_bytes)
        snprintf(why, why_bytes, "needs %zu bytes of local memory, the device has %llu", bytes,
                 (unsigned long long)caps->local_bytes);
    else
        return mha_split_legal(t, why, why_bytes);
    return false;
}

/* Halves from memory: a CPU that converts them too sees too few rows ahead. From caches, asking
 * only costs time; so it does for wider types, which keep the memory busy by themselves. */
static bool is_worth_fetching(const struct problem *p, const struct mha_attention_kernel_args *a) {
    const double entries = a->k.stride_batch ? p->batch : 1;
    const double elements = entries * p->kv_heads * p->seqlen_kv;
    const double bytes =
        elements * (p->head_dim_qk + p->head_dim_v) * (double)mha_dtype_bytes(p->dtype);
    return p->dtype == MHA_F16 && bytes > CACHED_BYTES;
}

static bool launch(const struct problem *plan, const struct problem *call,
                   const struct device_caps *caps, const struct tuning *t, int64_t index,
                   struct launch *launch, union kernel_args *args) {
    const bool is_one = mha_fused_launch(plan, call, caps, t, index, launch, args);
    if (index == 0) {
        struct mha_attention_kernel_args *a = &args->attention;
        a->blocks_q = (mha_int)((rows_of(call) + a->block_q - 1) / a->block_q);
        launch->blocks = a->splits * groups_of(call, t);
        if (is_worth_fetching(call, a))
            a->flags |= FLAG_FETCH;
    }
    return is_one;
}

/* What lies beyond whole vectors goes lane by lane. */
static double lanes_beyond(int dim, int vec) {
    return dim % vec ? vec : 0;
}

static const char *defines(const struct problem *p, char *text, size_t bytes) {
    snprintf(text, bytes, "#define HEAD_DIM_QK %d\n", p->head_dim_qk);
    return text;
}

static double loops(const struct problem *p, const struct tuning *t) {
    const int *v = t->value;
    const double keys = (double)p->seqlen_kv + 2 * v[VEC];
    const double tiles = (double)p->seqlen_kv / v[BLOCK_KV] + 2;
    const int whole = p->head_dim_v / (v[MICRO_D] * v[VEC]);
    const double vectors = (double)mha_round_up(p->head_dim_v, v[VEC]) / v[VEC];
    /* Of MICRO_Q rows; then of each, with a NaN in each step of v: all sums once more. */
    const double qk = keys * ((ceil((double)p->head_dim_qk / v[VEC]) + 1) / v[MICRO_KV] +
                              1.0 / v[VEC] + lanes_beyond(p->head_dim_qk, v[VEC]));
    const double pv = (keys + tiles) * whole;
    const double row = (keys + tiles) * (vectors + 1 + lanes_beyond(p->head_dim_v, v[VEC])) +
                       2 * keys * (1 + 1.0 / v[VEC]) + tiles * (2.0 * v[VEC] + 1) +
                       2 * ((double)p->head_dim_qk + p->head_dim_v + 2 * v[VEC]);
    /* Rows of k and v that are asked for, a step a cache line. */
    const double lines = ((double)p->head_dim_qk + p->head_dim_v) / 32 + 2;
    const double fetch = p->dtype == MHA_F16 ? keys * lines : 0;
    const double groups = (double)mha_round_up(v[BLOCK_Q], v[MICRO_Q]) / v[MICRO_Q];
    return fetch + groups * (qk + pv + v[MICRO_Q] * row);
}

#define DECODE_FILES                                                                               \
    "arguments.h", "types.cl", "vectors.cl", "problem.cl", "mask.cl", "softmax.cl",                \
        "weighted_sums.cl", "decode.cl"
#define DECODE_TUNABLES                                                                            \
    {VEC, true, {2, 4, 8, 16}}, {MICRO_Q, true, {1, 2, 4}}, {MICRO_KV, true, {1, 2, 4}},           \
        {MICRO_D, true, {1, 2, 3, 4, 5, 6, 8}}, {BLOCK_Q, false, {1, 2, 4, 8, 16, 32}}, {          \
        BLOCK_KV, false, {                                                                         \
            32, 64, 128, 256, 512                                                                  \
        }                                                                                          \
    }

const struct variant mha_variant_decode = {
    .name = "decode",
    .files = {DECODE_FILES},
    .kernels = {{"decode", true}},
    .tunables = {DECODE_TUNABLES},
    .heuristic = heuristic,
    .fit = fit,
    .legal = legal,
    .local_bytes = local_bytes,
    .workspace_bytes = mha_fused_workspace,
    .launch = launch,
    .defines = defines,
    .loops = loops,
    .is_for_cpu = true,
    .efficiency = 0.03,
};

const struct variant mha_variant_decode_split = {
    .name = "decode_split",
    .files = {DECODE_FILES, "combine.cl"},
    .kernels = {{"decode", true}, {"combine", false}},
    .tunables = {DECODE_TUNABLES, {SPLIT_KEYS, false, {256, 512, 1024, 2048, 4096}}},
    .heuristic = heuristic_split,
    .fit = fit,
    .legal = legal,
    .local_bytes = local_bytes,
    .workspace_bytes = mha_fused_workspace,
    .launch = launch,
    .defines = defines,
    .loops = loops,
    .is_for_cpu = true,
    .efficiency = 0.03,
};
