/* clblast: linear projections by CLBlast's GEMM, over a copy of the bias. */
#include "clblast.h"
#include "variant_list.h"

#include <math.h>
#include <stdio.h>

#define BIAS_COLUMNS 64

enum { BIAS, PACK };

static void heuristic(const struct problem *p, const struct device_caps *caps, struct tuning *t) {
    (void)p, (void)caps;
    *t = (struct tuning){{0}};
}

static bool legal(const struct problem *p, const struct device_caps *caps, const struct tuning *t,
                  char *why, size_t why_bytes) {
    (void)caps, (void)t;
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
        return true;
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
    (void)t;
    return mha_clblast_workspace(p, caps);
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
    .defines = mha_gemm_defines,
    .heuristic = heuristic,
    .legal = legal,
    .workspace_bytes = workspace_bytes,
    .launch = launch,
    .panel_columns = mha_unpacked_columns,
    .loops = loops,
    .accumulates = true,
    .counts_in_32_bits = true,
    .efficiency = 0.1,
};
