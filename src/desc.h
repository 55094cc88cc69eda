/* The application's descriptor, checked and completed. */
#ifndef MHA_DESC_H
#define MHA_DESC_H

#include "status.h"

#include "../cl/arguments.h"

#include <stdbool.h>

enum operation {
    OPERATION_ATTENTION,
    OPERATION_LINEAR,
    OPERATION_LAYER,
    OPERATION_PROJECTED_ATTENTION /* of a layer: the projection to q, k and v too */
};

/* Columns of a projection that make one tensor: heads side by side. */
struct segment {
    int32_t heads, head_dim;
};

/* What a plan is for, with every default filled in. Sizes are maxima. Members of another operation
 * are zero. */
struct problem {
    enum operation operation;
    uint64_t flags; /* of the operation's descriptor */
    mha_dtype dtype;
    size_t workspace_limit_bytes; /* SIZE_MAX: none */
    char variant[32];             /* empty: selection chooses */

    /* Attention */
    mha_dtype bias_dtype;
    int32_t q_heads, kv_heads, head_dim_qk, head_dim_v;
    int32_t batch, seqlen_q, seqlen_kv;
    double scale, softcap;
    int32_t window_left, window_right; /* -1: no bound */
    mha_alignment alignment;
    mha_scores_stage scores_stage;

    /* Linear projection */
    mha_dtype weight_dtype;
    int32_t rows, in_features, out_features;
    struct segment segments[MHA_MAX_SEGMENTS]; /* unused ones: no heads */
    bool is_batch_invariant;                   /* of a layer with MHA_BATCH_INVARIANT */
    bool is_scattered;                         /* y is several tensors, in caches of any strides */
    bool is_packing;                           /* in a call: pack the weights, compute nothing */
};

/* Validates *desc. On failure *problem is undefined. */
mha_status mha_attention_problem_init(struct problem *problem, const mha_attention_desc *desc,
                                      mha_error *error);

/* The same for a linear projection to one segment. */
mha_status mha_linear_problem_init(struct problem *problem, const mha_linear_desc *desc,
                                   mha_error *error);

/* A size that a descriptor gives: minimum .. MHA_MAX_POSITION. */
mha_status mha_check_size(const char *name, int64_t value, int64_t minimum, mha_error *error);

/* A variant's name, or NULL, of a descriptor. */
mha_status mha_check_variant(const char *variant, mha_error *error);

size_t mha_dtype_bytes(mha_dtype dtype);
size_t mha_real_bytes(mha_dtype dtype); /* of what is accumulated in, and of scores */
bool mha_is_real(mha_dtype dtype);      /* whether what is stored is what is accumulated in */

/* Copies a versioned struct of at least least_bytes, its size in version 0.1: a shorter one than
 * dst leaves the tail of dst zero; a longer one must be zero beyond dst. `what` names it in
 * messages. */
mha_status mha_read_struct(void *dst, size_t dst_bytes, size_t least_bytes, const void *src,
                           const char *what, mha_error *error);

/* The way back: fills as much of dst as its struct_size allows, zero beyond src. */
mha_status mha_write_struct(void *dst, const void *src, size_t src_bytes, size_t least_bytes,
                            const char *what, mha_error *error);

/* result = a + b * c in 64 bits; false on overflow. Operands must not be negative. */
bool mha_add_product(int64_t *result, int64_t a, int64_t b, int64_t c);

#endif
