/* In: mha_attention_desc or mha_linear_desc. Out: struct problem, or the first thing that is wrong
 * with it. */
#include "desc.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#define ALL_FLAGS ((MHA_BATCH_INVARIANT << 1) - 1)

/* Of version 0.1: what every caller has. Never to change. */
#define FIRST_DESC_BYTES (offsetof(mha_attention_desc, variant) + sizeof(char *))
#define FIRST_LINEAR_BYTES (offsetof(mha_linear_desc, variant) + sizeof(char *))

size_t mha_dtype_bytes(mha_dtype dtype) {
    static const size_t bytes[] = {[MHA_F32] = 4, [MHA_F16] = 2, [MHA_BF16] = 2, [MHA_F64] = 8};
    return bytes[dtype];
}

size_t mha_real_bytes(mha_dtype dtype) {
    return dtype == MHA_F64 ? 8 : 4;
}

bool mha_is_real(mha_dtype dtype) {
    return mha_dtype_bytes(dtype) == mha_real_bytes(dtype);
}

mha_status mha_read_struct(void *dst, size_t dst_bytes, size_t least_bytes, const void *src,
                           const char *what, mha_error *error) {
    size_t struct_size;
    memcpy(&struct_size, src, sizeof(struct_size));
    /* Nobody's struct is a megabyte: an uninitialised size is no reason to read that far. */
    if (struct_size < least_bytes || struct_size > 1 << 20)
        return mha_fail(error, MHA_ERR_STRUCT_SIZE,
                        "%s.struct_size is %zu, not %zu or a little more: initialise it with its "
                        "_INIT macro",
                        what, struct_size, least_bytes);
    const char *bytes = src;
    for (size_t i = dst_bytes; i < struct_size; ++i)
        if (bytes[i])
            return mha_fail(error, MHA_ERR_UNSUPPORTED,
                            "%s is %zu bytes of a newer version and sets a member beyond the %zu "
                            "bytes that this version knows",
                            what, struct_size, dst_bytes);
    memset(dst, 0, dst_bytes);
    memcpy(dst, src, struct_size < dst_bytes ? struct_size : dst_bytes);
    return MHA_SUCCESS;
}

bool mha_add_product(int64_t *result, int64_t a, int64_t b, int64_t c) {
    if (b && c > (INT64_MAX - a) / b)
        return false;
    *result = a + b * c;
    return true;
}

mha_status mha_check_size(const char *name, int64_t value, int64_t minimum, mha_error *error) {
    if (value < minimum)
        return mha_fail(error, MHA_ERR_SHAPE, "%s is %lld, less than %lld", name, (long long)value,
                        (long long)minimum);
    if (value > MHA_MAX_POSITION)
        return mha_fail(error, MHA_ERR_OVERFLOW, "%s is %lld, more than the %d this library takes",
                        name, (long long)value, MHA_MAX_POSITION);
    return MHA_SUCCESS;
}

static mha_status check_sizes(const mha_attention_desc *d, mha_error *error) {
    const struct {
        const char *name;
        int64_t value, minimum;
    } sizes[] = {
        {"q_heads", d->q_heads, 1},
        {"kv_heads", d->kv_heads, 1},
        {"head_dim_qk", d->head_dim_qk, 1},
        {"head_dim_v", d->head_dim_v, 1},
        {"max_batch", d->max_batch, 0},
        {"max_seqlen_q", d->max_seqlen_q, 0},
        {"max_seqlen_kv", d->max_seqlen_kv, 0},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); ++i) {
        const mha_status status =
            mha_check_size(sizes[i].name, sizes[i].value, sizes[i].minimum, error);
        if (status)
            return status;
    }
    if (d->q_heads % d->kv_heads)
        return mha_fail(error, MHA_ERR_SHAPE, "kv_heads %lld does not divide q_heads %lld",
                        (long long)d->kv_heads, (long long)d->q_heads);
    int64_t rows, elements;
    if (!mha_add_product(&rows, 0, d->q_heads, d->max_batch) ||
        !mha_add_product(&rows, 0, rows, d->max_seqlen_q) ||
        !mha_add_product(&elements, 0, rows, d->max_seqlen_kv) ||
        !mha_add_product(&elements, 0, rows, d->head_dim_qk) ||
        !mha_add_product(&elements, 0, rows, d->head_dim_v))
        return mha_fail(error, MHA_ERR_OVERFLOW,
                        "q_heads %lld * max_batch %lld * max_seqlen_q %lld rows are too many to "
                        "count in 64 bits",
                        (long long)d->q_heads, (long long)d->max_batch, (long long)d->max_seqlen_q);
    return MHA_SUCCESS;
}

mha_status mha_check_variant(const char *variant, mha_error *error) {
    if (variant && (!variant[0] || strlen(variant) >= sizeof(((struct problem *)0)->variant)))
        return mha_fail(error, MHA_ERR_VARIANT, "no variant is called \"%.64s\"", variant);
    return MHA_SUCCESS;
}

/* A member may be set only together with one of its bits. */
static mha_status check_flags(const mha_attention_desc *d, mha_error *error) {
    if (d->flags & ~ALL_FLAGS)
        return mha_fail(error, MHA_ERR_FLAGS, "flags 0x%llx has bits that this version lacks",
                        (unsigned long long)d->flags);
    const struct {
        uint64_t bits;
        bool is_set;
        const char *member, *names;
    } members[] = {
        {MHA_SCALE, d->scale != 0, "scale", "MHA_SCALE"},
        {MHA_SOFTCAP, d->softcap != 0, "softcap", "MHA_SOFTCAP"},
        {MHA_BIAS, d->bias_dtype != 0, "bias_dtype", "MHA_BIAS"},
        {MHA_WINDOW, d->window_left != 0, "window_left", "MHA_WINDOW"},
        {MHA_WINDOW, d->window_right != 0, "window_right", "MHA_WINDOW"},
        {MHA_CAUSAL | MHA_WINDOW | MHA_ALIBI, d->alignment != 0, "alignment",
         "MHA_CAUSAL, MHA_WINDOW or MHA_ALIBI"},
        {MHA_SCORES, d->scores_stage != 0, "scores_stage", "MHA_SCORES"},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); ++i)
        if (members[i].is_set && !(d->flags & members[i].bits))
            return mha_fail(error, MHA_ERR_FLAGS, "%s is set but flags 0x%llx has no %s",
                            members[i].member, (unsigned long long)d->flags, members[i].names);
    return MHA_SUCCESS;
}

static mha_status check_values(const mha_attention_desc *d, mha_error *error) {
    if ((unsigned)d->dtype > MHA_F64)
        return mha_fail(error, MHA_ERR_DTYPE, "dtype %d is no mha_dtype", (int)d->dtype);
    if ((unsigned)d->bias_dtype > MHA_F64 || (d->bias_dtype == MHA_F64 && d->dtype != MHA_F64))
        return mha_fail(error, MHA_ERR_DTYPE, "bias_dtype %d does not go with dtype %d",
                        (int)d->bias_dtype, (int)d->dtype);
    /* As the kernels will see them; some devices flush what is below the smallest normal. */
    const bool is_double = d->dtype == MHA_F64;
    const double scale = is_double ? d->scale : (double)(float)d->scale;
    const double softcap = is_double ? d->softcap : (double)(float)d->softcap;
    if ((d->flags & MHA_SCALE) && !isfinite(scale))
        return mha_fail(error, MHA_ERR_VALUE, "scale %g is not finite in %s", d->scale,
                        is_double ? "fp64" : "fp32");
    if ((d->flags & MHA_SOFTCAP) &&
        !(isfinite(softcap) && softcap >= (is_double ? DBL_MIN : (double)FLT_MIN)))
        return mha_fail(error, MHA_ERR_VALUE, "softcap %g is not finite and positive in %s",
                        d->softcap, is_double ? "fp64" : "fp32");
    if (d->window_left < -1 || d->window_right < -1)
        return mha_fail(error, MHA_ERR_VALUE,
                        "window_left %lld, window_right %lld: neither may be below -1",
                        (long long)d->window_left, (long long)d->window_right);
    if ((unsigned)d->alignment > MHA_EXPLICIT_PER_BATCH)
        return mha_fail(error, MHA_ERR_VALUE, "alignment %d is no mha_alignment",
                        (int)d->alignment);
    if ((unsigned)d->scores_stage > MHA_STAGE_MASKED)
        return mha_fail(error, MHA_ERR_VALUE, "scores_stage %d is no mha_scores_stage",
                        (int)d->scores_stage);
    return mha_check_variant(d->variant, error);
}

/* No query, aligned, is further than this from a key: a wider window is no bound at all. */
static int32_t window_bound(int64_t window) {
    return window >= 2 * MHA_MAX_POSITION ? -1 : (int32_t)window;
}

mha_status mha_write_struct(void *dst, const void *src, size_t src_bytes, size_t least_bytes,
                            const char *what, mha_error *error) {
    size_t struct_size;
    memcpy(&struct_size, dst, sizeof(struct_size));
    if (struct_size < least_bytes || struct_size > 1 << 20)
        return mha_fail(error, MHA_ERR_STRUCT_SIZE,
                        "%s.struct_size is %zu, not %zu or a little more: initialise it with its "
                        "_INIT macro",
                        what, struct_size, least_bytes);
    memset(dst, 0, struct_size);
    memcpy(dst, src, struct_size < src_bytes ? struct_size : src_bytes);
    memcpy(dst, &struct_size, sizeof(struct_size));
    return mha_succeed(error);
}

mha_status mha_attention_problem_init(struct problem *problem, const mha_attention_desc *desc,
                                      mha_error *error) {
    mha_attention_desc d;
    mha_status status;
    if (!desc)
        return mha_fail(error, MHA_ERR_NULL, "desc is NULL");
    if ((status =
             mha_read_struct(&d, sizeof(d), FIRST_DESC_BYTES, desc, "mha_attention_desc", error)) ||
        (status = check_values(&d, error)) || (status = check_flags(&d, error)) ||
        (status = check_sizes(&d, error)))
        return status;
    *problem = (struct problem){
        .operation = OPERATION_ATTENTION,
        .flags = d.flags,
        .dtype = d.dtype,
        .bias_dtype = d.bias_dtype,
        .q_heads = (int32_t)d.q_heads,
        .kv_heads = (int32_t)d.kv_heads,
        .head_dim_qk = (int32_t)d.head_dim_qk,
        .head_dim_v = (int32_t)d.head_dim_v,
        .batch = (int32_t)d.max_batch,
        .seqlen_q = (int32_t)d.max_seqlen_q,
        .seqlen_kv = (int32_t)d.max_seqlen_kv,
        .scale = d.flags & MHA_SCALE ? d.scale : 1 / sqrt((double)d.head_dim_qk),
        .softcap = d.softcap,
        .window_left = window_bound(d.window_left),
        .window_right = window_bound(d.window_right),
        .alignment = d.alignment,
        .scores_stage = d.scores_stage,
        .workspace_limit_bytes = d.workspace_limit_bytes ? d.workspace_limit_bytes : SIZE_MAX,
    };
    if (d.variant)
        strcpy(problem->variant, d.variant);
    return MHA_SUCCESS;
}

mha_status mha_linear_problem_init(struct problem *problem, const mha_linear_desc *desc,
                                   mha_error *error) {
    mha_linear_desc d;
    mha_status status;
    if (!desc)
        return mha_fail(error, MHA_ERR_NULL, "desc is NULL");
    if ((status =
             mha_read_struct(&d, sizeof(d), FIRST_LINEAR_BYTES, desc, "mha_linear_desc", error)))
        return status;
    if (d.flags & ~(MHA_LINEAR_BIAS | MHA_LINEAR_PACKED))
        return mha_fail(error, MHA_ERR_FLAGS, "flags 0x%llx has bits that this version lacks",
                        (unsigned long long)d.flags);
    if ((unsigned)d.dtype > MHA_F64)
        return mha_fail(error, MHA_ERR_DTYPE, "dtype %d is no mha_dtype", (int)d.dtype);
    if ((unsigned)d.weight_dtype > MHA_F64 || (d.weight_dtype == MHA_F64) != (d.dtype == MHA_F64))
        return mha_fail(error, MHA_ERR_DTYPE, "weight_dtype %d does not go with dtype %d",
                        (int)d.weight_dtype, (int)d.dtype);
    if ((status = mha_check_size("in_features", d.in_features, 1, error)) ||
        (status = mha_check_size("out_features", d.out_features, 1, error)) ||
        (status = mha_check_size("max_rows", d.max_rows, 0, error)) ||
        (status = mha_check_variant(d.variant, error)))
        return status;
    *problem = (struct problem){
        .operation = OPERATION_LINEAR,
        .flags = d.flags,
        .dtype = d.dtype,
        .weight_dtype = d.weight_dtype,
        .rows = (int32_t)d.max_rows,
        .in_features = (int32_t)d.in_features,
        .out_features = (int32_t)d.out_features,
        .segments = {{.heads = 1, .head_dim = (int32_t)d.out_features}},
        .workspace_limit_bytes = d.workspace_limit_bytes ? d.workspace_limit_bytes : SIZE_MAX,
    };
    if (d.variant)
        strcpy(problem->variant, d.variant);
    return MHA_SUCCESS;
}
