/* In: problem and tuning. Out: grids and splits of the fused variants. */
#include "fused.h"

#include <stdio.h>

/* Merging more parts than this costs more than it brings. */
#define MAX_SPLITS 64
#define MIN_SPLIT_KEYS 256
#define INVARIANT_SPLIT_KEYS 1024

static int64_t blocks_of(int64_t length, int64_t step) {
    return (length + step - 1) / step;
}

int mha_split_keys(const struct problem *p, const struct device_caps *caps, const struct tuning *t,
                   int64_t groups) {
    int64_t keys = INVARIANT_SPLIT_KEYS;
    if (!(p->flags & MHA_BATCH_INVARIANT)) {
        const int64_t wanted = 4 * (int64_t)caps->compute_units / (groups ? groups : 1) + 1;
        keys = blocks_of(p->seqlen_kv, wanted < MAX_SPLITS ? wanted : MAX_SPLITS);
        if (keys < MIN_SPLIT_KEYS)
            keys = MIN_SPLIT_KEYS;
    }
    const int block = t->value[BLOCK_KV];
    return (int)(blocks_of(keys, block) * block);
}

bool mha_split_legal(const struct tuning *t, char *why, size_t why_bytes) {
    if (t->value[SPLIT_KEYS] % t->value[BLOCK_KV] == 0)
        return true;
    snprintf(why, why_bytes, "SPLIT_KEYS %d is not a multiple of BLOCK_KV %d", t->value[SPLIT_KEYS],
             t->value[BLOCK_KV]);
    return false;
}

static bool is_split(const struct tuning *t) {
    return t->value[SPLIT_KEYS] > 0;
}

static int split_count(const struct problem *p, const struct tuning *t) {
    if (!is_split(t))
        return 1;
    const int64_t count = blocks_of(p->seqlen_kv, t->value[SPLIT_KEYS]);
    return count > 1 ? (int)count : 1;
}

int64_t mha_fused_groups(const struct problem *p, const struct tuning *t) {
    return (int64_t)p->batch * p->q_heads * blocks_of(p->seqlen_q, t->value[BLOCK_Q]);
}

static int64_t rows_of(const struct problem *p) {
    return (int64_t)p->batch * p->q_heads * p->seqlen_q;
}

size_t mha_fused_workspace(const struct problem *p, const struct device_caps *caps,
                           const struct tuning *t) {
    (void)caps;
    if (!is_split(t))
        return 0;
    return mha_size_product((size_t)rows_of(p), (size_t)split_count(p, t),
                            (size_t)p->head_dim_v + 2, mha_real_bytes(p->dtype));
}

size_t mha_fused_group(const struct tuning *t) {
    const int threads = t->value[THREADS_Q] * t->value[THREADS_KV];
    return threads ? (size_t)threads : 1;
}

bool mha_fused_launch(const struct problem *plan, const struct problem *call,
                      const struct device_caps *caps, const struct tuning *t, int64_t index,
                      struct launch *launch, union kernel_args *kernel_args) {
    struct mha_attention_kernel_args *args = &kernel_args->attention;
    (void)plan, (void)caps;
    const int64_t rows = rows_of(call);
    const int splits = split_count(call, t);
    args->block_q = t->value[BLOCK_Q];
    args->block_kv = t->value[BLOCK_KV];
    args->blocks_q = (mha_int)blocks_of(call->seqlen_q, t->value[BLOCK_Q]);
    args->splits = splits;
    if (is_split(t)) {
        args->split_keys = t->value[SPLIT_KEYS];
        args->split_rows = rows;
        args->scratch_stats_offset = args->scratch_offset + splits * rows * call->head_dim_v;
    }
    *launch = (struct launch){.kernel = (int)index, .local_size = mha_fused_group(t)};
    if (index == 0) {
        launch->blocks = splits * mha_fused_groups(call, t);
        launch->flops =
            2.0 * (double)rows * call->seqlen_kv * (call->head_dim_qk + call->head_dim_v);
    } else {
        launch->blocks = rows;
        launch->flops = 2.0 * (double)rows * splits * call->head_dim_v;
    }
    return index < (is_split(t) ? 2 : 1);
}
