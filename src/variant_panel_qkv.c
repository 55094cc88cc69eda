/* panel_qkv: the projection to q, k and v and the attention of a layer as one kernel
 * (panel_qkv.cl). No problem of its own: layer_merge.c takes it for two that gemm_panel and panel
 * solve, with the values of both. */
#include "fused.h"
#include "variant_list.h"

int mha_whole_panel_heads(int kv_heads, int head_dim_qk, int head_dim_v, int columns) {
    for (int heads = 1; heads <= kv_heads; ++heads)
        if (kv_heads % heads == 0 && (int64_t)heads * head_dim_qk % columns == 0 &&
            (int64_t)heads * head_dim_v % columns == 0)
            return heads;
    return 0;
}

void mha_panel_qkv_take(const struct tuning *of_gemm_panel, struct tuning *tuning) {
    static const enum tunable taken[] = {PANEL_VECTORS, MICRO_M, BLOCK_K};
    for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); ++i)
        tuning->value[taken[i]] = of_gemm_panel->value[taken[i]];
}

int mha_panel_qkv_heads(const struct problem *p, const struct tuning *t) {
    return mha_whole_panel_heads(p->kv_heads, p->head_dim_qk, p->head_dim_v,
                                 t->value[VEC] * t->value[PANEL_VECTORS]);
}

static size_t local_bytes(const struct problem *p, const struct tuning *t) {
    return mha_variant_panel.local_bytes(p, t);
}

static bool launch(const struct problem *plan, const struct problem *call,
                   const struct device_caps *caps, const struct tuning *t, int64_t index,
                   struct launch *launch, union kernel_args *args) {
    struct mha_panel_qkv_args *a = &args->panel_qkv;
    if (!mha_fused_launch(plan, call, caps, t, index, launch, args))
        return false;
    const int heads = mha_panel_qkv_heads(plan, t);
    a->group_heads = heads > 0 ? heads : 1; /* no layer takes it for 0 */
    a->groups = plan->kv_heads / a->group_heads;
    launch->blocks = (int64_t)call->batch * a->groups;
    return true;
}

const struct variant mha_variant_panel_qkv = {
    .name = "panel_qkv",
    .operation = OPERATION_PROJECTED_ATTENTION,
    .files = {"arguments.h", "types.cl", "vectors.cl", "problem.cl", "mask.cl", "softmax.cl",
              "weighted_sums.cl", "exp2.cl", "panel_terms.cl", "panel_attend.cl", "gemm.cl",
              "panel_product.cl", "panel_qkv.cl"},
    .kernels = {{"panel_qkv", true}},
    /* The domains are those of gemm_panel and panel. */
    .tunables = {{VEC, true, {1}},
                 {LANE_VECTORS, true, {1}},
                 {MICRO_Q, true, {1}},
                 {MICRO_D, true, {1}},
                 {PANEL_VECTORS, true, {1}},
                 {MICRO_M, true, {1}},
                 {BLOCK_K, true, {1}},
                 {BLOCK_Q, false, {1}},
                 {BLOCK_KV, false, {1}}},
    .defines = mha_gemm_defines,
    .local_bytes = local_bytes,
    .workspace_bytes = mha_fused_workspace,
    .launch = launch,
    .is_for_cpu = true,
    .efficiency = 0.2,
};
