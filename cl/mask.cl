/* What happens to one score between QK^T and softmax: softcap, bias, ALiBi, masks.
 *
 * In: problem.cl. Out: struct score_row, apply_softcap(), apply_masks(). A masked score is -inf. */

struct score_row {
    long bias, mask; /* elements of key 0 */
    long bias_key, mask_key;
    real slope; /* ALiBi */
    int aligned;
    struct key_range keys;
};

static inline struct score_row get_score_row(const struct mha_attention_kernel_args *a,
                                             const struct sequence *s, int b, int h, int i,
                                             global const float *slopes) {
    struct score_row r;
    r.bias = a->bias.offset + b * a->bias.stride_batch + h * a->bias.stride_head +
             i * a->bias.stride_query;
    r.mask = a->mask.offset + b * a->mask.stride_batch + h * a->mask.stride_head +
             i * a->mask.stride_query;
    r.bias_key = a->bias.stride_key;
    r.mask_key = a->mask.stride_key;
    r.slope = a->flags & FLAG_ALIBI ? (real)slopes[a->alibi_offset + h] : (real)0;
    r.aligned = i + s->position;
    r.keys = get_key_range(a, s, i);
    return r;
}

static inline real apply_softcap(const struct mha_attention_kernel_args *a, real s) {
    const real cap = AS_REAL(a->softcap_bits);
    return a->flags & FLAG_SOFTCAP ? cap * tanh(s / cap) : s;
}

/* Additive terms and masks on an already soft-capped score; -inf is selected, never added, so that
 * nothing brings a masked score back and a NaN under a mask does not show. */
static inline real apply_masks(const struct mha_attention_kernel_args *a, const struct score_row *r,
                               global const uchar *bias, global const uchar *mask, int j, real s) {
    bool keep = j >= r->keys.lo && j < r->keys.hi;
    /* A compiler may load before it asks whether to: the address is always a valid one. */
    const int address = r->keys.lo < r->keys.hi ? clamp(j, r->keys.lo, r->keys.hi - 1) : 0;
    if (keep && (a->flags & FLAG_MASK))
        keep = mask[r->mask + address * r->mask_key] != 0;
    if (keep && (a->flags & FLAG_BIAS)) {
        /* Its type is known at run time: one read per score is not worth a program. */
        const real t = load_as(a->bias_dtype, bias, r->bias + address * r->bias_key);
        keep = t != NEG_INF;
        s += t;
    }
    if (a->flags & FLAG_ALIBI)
        s -= r->slope * (real)abs(r->aligned - j);
    return keep ? s : NEG_INF;
}
