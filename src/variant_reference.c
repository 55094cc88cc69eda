/* reference: the plain computation, one work-item per query row. It can do everything, anywhere. */
#include "variant_list.h"

static void heuristic(const struct problem *problem, const struct device_caps *caps,
                      struct tuning *tuning) {
    (void)problem, (void)caps;
    *tuning = (struct tuning){{0}};
}

static bool legal(const struct problem *problem, const struct device_caps *caps,
                  const struct tuning *tuning, char *why, size_t why_bytes) {
    (void)problem, (void)caps, (void)tuning, (void)why, (void)why_bytes;
    return true;
}

static size_t workspace_bytes(const struct problem *problem, const struct device_caps *caps,
                              const struct tuning *tuning) {
    (void)problem, (void)caps, (void)tuning;
    return 0;
}

static bool launch(const struct problem *plan, const struct problem *call,
                   const struct device_caps *caps, const struct tuning *tuning, int64_t index,
                   struct launch *launch, union kernel_args *args) {
    (void)plan, (void)caps, (void)tuning, (void)args;
    const double scores = (double)call->batch * call->q_heads * call->seqlen_q * call->seqlen_kv;
    *launch = (struct launch){
        .blocks = (int64_t)call->batch * call->q_heads * call->seqlen_q,
        .local_size = 1,
        /* Scores are computed twice, and once more for each 16 values. */
        .flops =
            scores * 2 * (call->head_dim_qk * (2 + call->head_dim_v / 16.0) + call->head_dim_v),
    };
    return index == 0;
}

static double loops(const struct problem *p, const struct tuning *t) {
    (void)t;
    const double passes = 3 + p->head_dim_v / 16.0 + 1;
    return p->seqlen_kv * (p->head_dim_qk + 20.0) * passes + 2.0 * p->head_dim_v;
}

const struct variant mha_variant_reference = {
    .name = "reference",
    .files = {"arguments.h", "types.cl", "problem.cl", "mask.cl", "reference.cl"},
    .kernels = {{"reference", false}},
    .heuristic = heuristic,
    .legal = legal,
    .workspace_bytes = workspace_bytes,
    .launch = launch,
    .loops = loops,
    .efficiency = 0.01,
};
