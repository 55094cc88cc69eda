/* clblast: linear projections by CLBlast's GEMM, over a copy of the bias, with the values of its
 * database or with tuned ones. */
#include "clblast_values.h"
#include "provider.h"
#include "variant_list.h"

#include <math.h>
#include <stdio.h>

#define BIAS_COLUMNS 64

enum { BIAS, PACK };

/* Results of a work-item, and multiply-adds of its unrolled inner loop: with more, compilers take
 * minutes, and registers run out long before. The direct kernel is in its program eight times over,
 * and compilers for CPUs are slow. */
#define MAX_RESULTS 256
#define MAX_RESULTS_DIRECT 64
#define MAX_RESULTS_DIRECT_CPU 16
#define MAX_UNROLLED 1024

/* Work-items of a kernel that a plan does not use, but which is compiled all the same. */
#define IDLE_GROUP 64

/* The vectors that CLBlast's own tuner tries; where the device has wider ones, they may be too. */
#define COMMON_LANES 8

static void heuristic(const struct problem *p, const struct device_caps *caps, struct tuning *t) {
    (void)p, (void)caps;
    *t = (struct tuning){{0}};
    for (int i = 0; mha_variant_clblast.tunables[i].values[0]; ++i)
        t->value[mha_variant_clblast.tunables[i].tunable] =
            mha_variant_clblast.tunables[i].values[0];
}

static bool uses(const struct tuning *t, enum tunable tunable) {
    switch (tunable) {
    case GEMM_KERNEL:
        return true;
    case NWG:
    case KWG:
    case STRM:
    case STRN:
    case SA:
    case SB:
        return t->value[GEMM_KERNEL] == CLBLAST_INDIRECT;
    default:
        return t->value[GEMM_KERNEL] > CLBLAST_OWN;
    }
}

/* One name for each tuning: what has no effect has its first value. */
static bool is_canonical(const struct tuning *t, char *why, size_t why_bytes) {
    for (int i = 0; mha_variant_clblast.tunables[i].values[0]; ++i) {
        const struct variant_tunable *tunable = &mha_variant_clblast.tunables[i];
        const int value = t->value[tunable->tunable];
        if (uses(t, tunable->tunable) || value == tunable->values[0])
            continue;
        snprintf(why, why_bytes, "%s %d has no effect with GEMM_KERNEL %d",
                 mha_tunable_names[tunable->tunable], value, t->value[GEMM_KERNEL]);
        return false;
    }
    return true;
}

/* Tiles are whole work-items of whole vectors. */
static bool are_tiles_legal(const struct device_caps *caps, const int *v, char *why,
                            size_t why_bytes) {
    const int columns = v[GEMM_KERNEL] == CLBLAST_INDIRECT ? v[NWG] : v[MWG];
    const int results = v[MWG] / v[MDIMC] * (columns / v[NDIMC]);
    const int most = v[GEMM_KERNEL] != CLBLAST_DIRECT ? MAX_RESULTS
                     : caps->is_cpu                   ? MAX_RESULTS_DIRECT_CPU
                                                      : MAX_RESULTS_DIRECT;
    if (v[MWG] % (v[MDIMC] * v[VWM]))
        snprintf(why, why_bytes, "MWG %d is not a multiple of MDIMC %d * VWM %d", v[MWG], v[MDIMC],
                 v[VWM]);
    else if (columns % (v[NDIMC] * v[VWN]))
        snprintf(why, why_bytes, "%d columns are not a multiple of NDIMC %d * VWN %d", columns,
                 v[NDIMC], v[VWN]);
    else if (results > most)
        snprintf(why, why_bytes, "a work-item has %d results, more than %d", results, most);
    else if (results * v[KWI] > MAX_UNROLLED)
        snprintf(why, why_bytes, "KWI %d unrolls too much", v[KWI]);
    else
        return true;
    return false;
}

/* What each kernel wants beyond even tiles. */
static bool is_kernel_legal(const int *v, char *why, size_t why_bytes) {
    switch (v[GEMM_KERNEL]) {
    case CLBLAST_DIRECT:
        if (v[MWG] % v[KWI] == 0)
            return true;
        snprintf(why, why_bytes, "MWG %d is not a multiple of KWI %d", v[MWG], v[KWI]);
        return false;
    case CLBLAST_INDIRECT_2:
        if (v[KWI] % v[VWN] == 0)
            return true;
        snprintf(why, why_bytes, "KWI %d is not a multiple of VWN %d", v[KWI], v[VWN]);
        return false;
    default:
        /* A staged tile is loaded by rows of as many work-items as the operand has, each row
         * taking its share of the inner dimension. */
        if (v[KWG] % v[KWI] || (v[SA] == 2 && v[KWG] % v[NDIMC]) ||
            (v[SB] == 2 && v[KWG] % v[MDIMC])) {
            snprintf(why, why_bytes, "KWG %d is not a multiple of KWI and staging's work-items",
                     v[KWG]);
            return false;
        }
        /* With one vector per work-item strides change nothing. */
        if ((v[STRM] == 2 && v[MWG] == v[MDIMC] * v[VWM]) ||
            (v[STRN] == 2 && v[NWG] == v[NDIMC] * v[VWN])) {
            snprintf(why, why_bytes, "a work-item has one vector: nothing to stride over");
            return false;
        }
        return true;
    }
}

static size_t local_elements(const int *v) {
    const size_t rows = (size_t)v[MWG], columns = (size_t)v[NWG], depth = (size_t)v[KWG];
    if (v[GEMM_KERNEL] == CLBLAST_DIRECT)
        return 2 * rows * (rows + 1);
    if (v[GEMM_KERNEL] == CLBLAST_INDIRECT_2)
        return 0;
    return (v[SA] == 2 ? depth * rows : 0) + (v[SB] == 2 ? depth * columns : 0);
}

static bool fits_device(const struct problem *p, const struct device_caps *caps, const int *v,
                        char *why, size_t why_bytes) {
    const size_t group = (size_t)(v[MDIMC] * v[NDIMC]);
    const size_t bytes = local_elements(v) * mha_dtype_bytes(p->dtype);
    const int lanes = v[VWM] > v[VWN] ? v[VWM] : v[VWN];
    if (group > caps->max_work_group || IDLE_GROUP > caps->max_work_group ||
        (size_t)v[MDIMC] > caps->max_work_item)
        snprintf(why, why_bytes, "work-groups of %zu, the device has %zu",
                 group > IDLE_GROUP ? group : IDLE_GROUP, caps->max_work_group);
    else if (lanes > COMMON_LANES && lanes > (int)caps->float_vector)
        snprintf(why, why_bytes, "vectors of %d, the device has %u", lanes, caps->float_vector);
    else if (bytes > caps->local_bytes)
        snprintf(why, why_bytes, "needs %zu bytes of local memory, the device has %llu", bytes,
                 (unsigned long long)caps->local_bytes);
    else
        return true;
    return false;
}

static bool is_tuning_legal(const struct problem *p, const struct device_caps *caps,
                            const struct tuning *t, char *why, size_t why_bytes) {
    const int *v = t->value;
    const double least = CLBLAST_LEAST_INDIRECT;
    if (!is_canonical(t, why, why_bytes))
        return false;
    if (v[GEMM_KERNEL] <= CLBLAST_OWN)
        return true;
    if (v[GEMM_KERNEL] != CLBLAST_DIRECT &&
        (double)mha_clblast_rows(p, caps) * p->in_features * p->out_features <
            least * least * least) {
        snprintf(why, why_bytes, "too small a product for an indirect kernel");
        return false;
    }
    return are_tiles_legal(caps, v, why, why_bytes) && is_kernel_legal(v, why, why_bytes) &&
           fits_device(p, caps, v, why, why_bytes);
}

static bool legal(const struct problem *p, const struct device_caps *caps, const struct tuning *t,
                  char *why, size_t why_bytes) {
    const bool is_single = p->dtype == MHA_F32 || p->dtype == MHA_F64;
    if (!mha_clblast_is_built)
        snprintf(why, why_bytes, "the library was built without CLBlast");
    /* Its half precision accumulates in half precision. */
    else if (!is_single || p->weight_dtype != p->dtype)
        snprintf(why, why_bytes, "takes fp32 or fp64 throughout");
    else if ((double)p->rows * p->in_features > INT32_MAX ||
             (double)p->rows * p->out_features > INT32_MAX ||
             (double)p->in_features * p->out_features > INT32_MAX)
        snprintf(why, why_bytes, "counts elements in 32 bits");
    else
        return is_tuning_legal(p, caps, t, why, why_bytes);
    return false;
}

int mha_clblast_rows(const struct problem *p, const struct device_caps *caps) {
    const double row_flops = 2.0 * p->in_features * p->out_features;
    const double rows = mha_flops_per_dispatch(caps, &mha_variant_clblast) / row_flops;
    const double tiles = floor(rows / MHA_CLBLAST_TILE);
    const int most = tiles < 1     ? MHA_CLBLAST_TILE
                     : tiles > 1e6 ? INT32_MAX
                                   : (int)tiles * MHA_CLBLAST_TILE;
    return p->rows < most ? (p->rows > 0 ? p->rows : 1) : most;
}

static size_t workspace_bytes(const struct problem *p, const struct device_caps *caps,
                              const struct tuning *t) {
    return mha_clblast_workspace(p, caps, t);
}

/* Columns from *column on that are one matrix in y: a head, a segment, or several segments. */
static int group_columns(const struct mha_gemm_args *a, int column, int *segment) {
    int s = 0;
    while (column >= a->segment_end[s])
        ++s;
    *segment = s;
    const int begin = s ? a->segment_end[s - 1] : 0;
    if (a->y[s].stride_head != a->head_dim[s])
        return a->head_dim[s] - (column - begin) % a->head_dim[s];
    return a->segment_end[s] - column;
}

/* Product `index` of a call: chunks of the rows of a batch entry, single rows where rows of x
 * overlap, and of each the groups of columns. */
static bool find_product(const struct mha_gemm_args *a, int most_rows, int64_t index,
                         struct launch *launch) {
    const int entry_rows = a->x_stride_token < a->in_features ? 1 : a->tokens;
    const int step = entry_rows < most_rows ? entry_rows : most_rows;
    const int chunks = (entry_rows + step - 1) / step;
    int64_t groups = 0;
    int column = 0, segment;
    do {
        column += group_columns(a, column, &segment);
        ++groups;
    } while (column < a->out_features);
    const int64_t chunk = index / groups, entry = chunk / chunks;
    const int row = (int)(entry * entry_rows + chunk % chunks * step);
    if (entry >= a->rows / entry_rows)
        return false;
    const int rest = (int)((entry + 1) * entry_rows - row);
    *launch = (struct launch){.kernel = KERNEL_CLBLAST, .blocks = 1, .local_size = 1};
    launch->product.idle_kernel = PACK;
    launch->product.row = row;
    launch->product.rows = rest < step ? rest : step;
    for (int64_t group = 0; group <= index % groups; ++group) {
        launch->product.column += launch->product.columns;
        launch->product.columns =
            group_columns(a, launch->product.column, &launch->product.segment);
    }
    return true;
}

static bool launch(const struct problem *plan, const struct problem *call,
                   const struct device_caps *caps, const struct tuning *t, int64_t index,
                   struct launch *launch, union kernel_args *args) {
    (void)t;
    const bool has_bias = plan->flags & MHA_LINEAR_BIAS;
    if (call->is_packing) {
        *launch = (struct launch){.kernel = PACK,
                                  .blocks = call->out_features,
                                  .local_size = mha_copy_group(caps),
                                  .flops = 4.0 * call->in_features * call->out_features};
        return index == 0;
    }
    if (index >= has_bias)
        return find_product(&args->gemm, mha_clblast_rows(plan, caps), index - has_bias, launch);
    args->gemm.block_n = BIAS_COLUMNS;
    args->gemm.blocks_n = (call->out_features + BIAS_COLUMNS - 1) / BIAS_COLUMNS;
    *launch = (struct launch){.kernel = BIAS,
                              .blocks = (int64_t)call->rows * args->gemm.blocks_n,
                              .local_size = mha_copy_group(caps),
                              .flops = 4.0 * call->rows * call->out_features};
    return true;
}

static double loops(const struct problem *p, const struct tuning *t) {
    (void)t;
    return p->in_features > BIAS_COLUMNS ? p->in_features : BIAS_COLUMNS;
}

const struct variant mha_variant_clblast = {
    .name = "clblast",
    .operation = OPERATION_LINEAR,
    .files = {"arguments.h", "types.cl", "gemm.cl", "gemm_bias.cl", "gemm_copy.cl"},
    .kernels = {{"gemm_bias", false}, {"gemm_pack", false}},
    /* The first values are legal with every kernel: a search gets from one to another in a step. */
    .tunables = {{GEMM_KERNEL,
                  false,
                  {CLBLAST_OWN, CLBLAST_DIRECT, CLBLAST_INDIRECT, CLBLAST_INDIRECT_2}},
                 {MWG, false, {8, 16, 32, 64, 128}},
                 {NWG, false, {8, 16, 32, 64, 128}},
                 {KWG, false, {16, 32}},
                 {KWI, false, {1, 2, 4, 8, 16}},
                 {MDIMC, false, {2, 4, 8, 16, 32}},
                 {NDIMC, false, {2, 4, 8, 16, 32}},
                 {VWM, false, {1, 2, 4, 8, 16}},
                 {VWN, false, {1, 2, 4, 8, 16}},
                 {STRM, false, {1, 2}},
                 {STRN, false, {1, 2}},
                 {SA, false, {1, 2}},
                 {SB, false, {1, 2}}},
    .defines = mha_gemm_defines,
    .heuristic = heuristic,
    .uses = uses,
    .legal = legal,
    .workspace_bytes = workspace_bytes,
    .launch = launch,
    .panel_columns = mha_unpacked_columns,
    .loops = loops,
    .accumulates = true,
    .counts_in_32_bits = true,
    .efficiency = 0.1,
};
