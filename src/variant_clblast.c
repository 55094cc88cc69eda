/* clblast: linear projections by CLBlast's GEMM, over a copy of the bias. */
#include "clblast.h"
#include "variant_list.h"

#include <stdio.h>

#define BIAS_COLUMNS 64

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
    else
        return true;
    return false;
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

/* Rows that are one matrix in both x and y: those of a batch entry, or a single one. */
static int group_rows(const struct mha_gemm_args *a) {
    return a->x_stride_token < a->in_features ? 1 : a->tokens;
}

static bool find_product(const struct mha_gemm_args *a, int64_t index, struct launch *launch) {
    const int step = group_rows(a);
    for (int row = 0; row < a->rows; row += step)
        for (int column = 0, columns, segment; column < a->out_features; column += columns) {
            columns = group_columns(a, column, &segment);
            if (index-- > 0)
                continue;
            *launch = (struct launch){
                .kernel = KERNEL_CLBLAST,
                .blocks = 1,
                .local_size = 1,
                .product = {.row = row,
                            .rows = step,
                            .column = column,
                            .columns = columns,
                            .segment = segment},
            };
            return true;
        }
    return false;
}

enum { BIAS, PACK };

static bool launch(const struct problem *plan, const struct problem *call,
                   const struct device_caps *caps, const struct tuning *t, int64_t index,
                   struct launch *launch, union kernel_args *args) {
    (void)caps, (void)t;
    const bool has_bias = plan->flags & MHA_LINEAR_BIAS;
    if (call->is_packing) {
        *launch = (struct launch){.kernel = PACK,
                                  .blocks = call->out_features,
                                  .local_size = 1,
                                  .flops = 4.0 * call->in_features * call->out_features};
        return index == 0;
    }
    if (index >= has_bias)
        return find_product(&args->gemm, index - has_bias, launch);
    args->gemm.block_n = BIAS_COLUMNS;
    args->gemm.blocks_n = (call->out_features + BIAS_COLUMNS - 1) / BIAS_COLUMNS;
    *launch = (struct launch){.kernel = BIAS,
                              .blocks = (int64_t)call->rows * args->gemm.blocks_n,
                              .local_size = 1,
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
    .efficiency = 0.1,
};
