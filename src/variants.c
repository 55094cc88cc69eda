/* The table of variants, each defined in a variant_*.c of its own, and what they share. */
#include "variant_list.h"

#include <stdio.h>
#include <string.h>

const char *const mha_tunable_names[TUNABLE_COUNT] = {
    [VEC] = "VEC",
    [LANE_VECTORS] = "LANE_VECTORS",
    [MICRO_KV] = "MICRO_KV",
    [MICRO_D] = "MICRO_D",
    [BLOCK_Q] = "BLOCK_Q",
    [BLOCK_KV] = "BLOCK_KV",
    [THREADS_Q] = "THREADS_Q",
    [THREADS_KV] = "THREADS_KV",
    [STAGING] = "STAGING",
    [UNROLL] = "UNROLL",
    [WORK_GROUP] = "WORK_GROUP",
    [SPLIT_KEYS] = "SPLIT_KEYS",
    [MICRO_Q] = "MICRO_Q",
    [MICRO_M] = "MICRO_M",
    [PANEL_VECTORS] = "PANEL_VECTORS",
    [BLOCK_M] = "BLOCK_M",
    [BLOCK_N] = "BLOCK_N",
    [BLOCK_K] = "BLOCK_K",
    [THREADS_M] = "THREADS_M",
    [THREADS_N] = "THREADS_N",
    [GEMM_KERNEL] = "GEMM_KERNEL",
    [MWG] = "MWG",
    [NWG] = "NWG",
    [KWG] = "KWG",
    [KWI] = "KWI",
    [MDIMC] = "MDIMC",
    [NDIMC] = "NDIMC",
    [VWM] = "VWM",
    [VWN] = "VWN",
    [STRM] = "STRM",
    [STRN] = "STRN",
    [SA] = "SA",
    [SB] = "SB",
};

const struct variant *const mha_variants[] = {
    &mha_variant_reference,   &mha_variant_staged,      &mha_variant_panel,
    &mha_variant_panel_split, &mha_variant_decode,      &mha_variant_decode_split,
    &mha_variant_flash,       &mha_variant_flash_split, &mha_variant_gemm_reference,
    &mha_variant_gemm_panel,  &mha_variant_gemm_tile,   &mha_variant_clblast,
};
const size_t mha_variant_count = sizeof(mha_variants) / sizeof(*mha_variants);

size_t mha_size_product(size_t a, size_t b, size_t c, size_t d) {
    const size_t factors[] = {b, c, d};
    for (size_t i = 0; i < 3; ++i) {
        if (a && factors[i] > SIZE_MAX / a)
            return SIZE_MAX;
        a *= factors[i];
    }
    return a;
}

static size_t packed_rows(const struct problem *p, const struct variant *variant,
                          const struct tuning *tuning) {
    const size_t panel = (size_t)variant->panel_columns(tuning);
    return ((size_t)p->out_features + panel - 1) / panel * panel;
}

size_t mha_packed_elements(const struct problem *p, const struct variant *variant,
                           const struct tuning *tuning) {
    if (!variant->panel_columns)
        return 0;
    return mha_size_product(packed_rows(p, variant, tuning), (size_t)p->in_features, 1, 1);
}

size_t mha_packed_bytes(const struct problem *p, const struct variant *variant,
                        const struct tuning *tuning) {
    if (!variant->panel_columns)
        return 0;
    const size_t depth = (size_t)p->in_features + (p->flags & MHA_LINEAR_BIAS ? 1 : 0);
    return mha_size_product(packed_rows(p, variant, tuning), depth,
                            mha_dtype_bytes(p->weight_dtype), 1);
}

/* Fowler-Noll-Vo (FNV-1a) over what decides where an element lies. */
uint64_t mha_packed_layout(const struct problem *p, const struct variant *variant,
                           const struct tuning *tuning) {
    if (!variant->panel_columns)
        return 0;
    const int32_t values[] = {p->in_features, p->out_features, (int32_t)p->weight_dtype,
                              (p->flags & MHA_LINEAR_BIAS) != 0, variant->panel_columns(tuning)};
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); ++i)
        hash = (hash ^ (uint32_t)values[i]) * 0x100000001b3;
    return hash;
}

const struct variant *mha_variant_find(enum operation operation, const char *name) {
    for (size_t i = 0; i < mha_variant_count; ++i)
        if (mha_variants[i]->operation == operation && !strcmp(mha_variants[i]->name, name))
            return mha_variants[i];
    return NULL;
}

static const char *name_of(enum operation operation, size_t index) {
    for (size_t i = 0; i < mha_variant_count; ++i)
        if (mha_variants[i]->operation == operation && index-- == 0)
            return mha_variants[i]->name;
    return NULL;
}

const char *mha_variant_name(size_t index) {
    return name_of(OPERATION_ATTENTION, index);
}

const char *mha_linear_variant_name(size_t index) {
    return name_of(OPERATION_LINEAR, index);
}

void mha_tuning_fit(const struct variant *variant, const struct problem *problem,
                    struct tuning *tuning) {
    if (variant->fit)
        variant->fit(problem, tuning);
}

void mha_tuning_print(const struct variant *variant, const struct tuning *tuning, char *text,
                      size_t bytes) {
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i) {
        const enum tunable t = variant->tunables[i].tunable;
        if (variant->uses && !variant->uses(tuning, t))
            continue;
        const int n = snprintf(text + used, bytes - used, "%s%s=%d", used ? " " : "",
                               mha_tunable_names[t], tuning->value[t]);
        if (n < 0 || (size_t)n >= bytes - used)
            return;
        used += (size_t)n;
    }
}
