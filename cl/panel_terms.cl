/* Bias, mask and the like on a row of scaled products, and keys that a row doesn't see.
 *
 * In: vectors.cl, mask.cl. Out: fetch_terms(), count_readable(), modify_row(), hide_keys(). */

/* The bias of key j, whose key stride is 1. */
static inline global const uchar *get_bias(const struct mha_attention_kernel_args *a,
                                           const struct score_row *row, global const uchar *bias,
                                           int j) {
    const int bytes = a->bias_dtype == DTYPE_F64 ? 8 : a->bias_dtype == DTYPE_F32 ? 4 : 2;
    return bias + (row->bias + j) * bytes;
}

/* Asks for bias and mask of a row's keys j .. end, which are used some thousand cycles later: they
 * come a few lines from each of many rows, which a CPU does not foresee. */
static inline void fetch_terms(const struct mha_attention_kernel_args *a,
                               const struct score_row *row, int j, int end,
                               global const uchar *bias, global const uchar *mask) {
    if (a->flags & FLAG_BIAS && row->bias_key == 1) {
        global const uchar *last = get_bias(a, row, bias, end);
        for (global const uchar *p = get_bias(a, row, bias, j); p < last; p += FETCHED_BYTES)
            PREFETCH(p);
    }
    if (a->flags & FLAG_MASK && row->mask_key == 1)
        for (int i = j; i < end; i += FETCHED_BYTES)
            PREFETCH(mask + row->mask + i);
}

/* Keys from the row's first on whose bias and mask may be read: as many as there are, and a vector
 * more if there is another row behind this one. */
static inline int count_readable(const struct mha_attention_kernel_args *a,
                                 const struct sequence *s, int i) {
    const bool is_followed = i + 1 < s->q_len &&
                             (!(a->flags & FLAG_BIAS) || a->bias.stride_query >= VEC) &&
                             (!(a->flags & FLAG_MASK) || a->mask.stride_query >= VEC);
    return s->kv_len + (is_followed ? VEC : 0);
}

/* A bias of -inf is selected, not added: it is a mask. */
static inline void add_bias(local real *score, realv t) {
    const realv x = VLOAD(score);
    STORE_LOCAL(t == NEG_INF ? (realv)NEG_INF : x + t, score);
}

/* Scores of keys lo .. hi of a tile that begins with key j0: softcap, bias, ALiBi and mask. Whole
 * vectors, a pass a term, where keys lie side by side; what these do outside of lo .. hi is for
 * hide_keys() to undo. `readable` keys of the tile, at least hi, have a bias and a mask that may be
 * read. */
static inline void modify_row(const struct mha_attention_kernel_args *a,
                              const struct score_row *row, local real *scores, realv lane, int j0,
                              int lo, int hi, int readable, global const uchar *bias,
                              global const uchar *mask) {
    const bool has_vectors = DTYPE != DTYPE_F64 && !(a->flags & FLAG_SOFTCAP) &&
                             (!(a->flags & FLAG_BIAS) || row->bias_key == 1) &&
                             (!(a->flags & FLAG_MASK) || row->mask_key == 1);
    const int begin = lo / VEC * VEC;
    const int end = has_vectors ? min(round_up(hi, VEC), readable / VEC * VEC) : begin;
    if (a->flags & FLAG_BIAS) {
        global const uchar *from = get_bias(a, row, bias, j0);
        /* Apart, so that the loop of the common type has no branch. */
        if (a->bias_dtype == DTYPE_F32)
            for (int j = begin; j < end; j += VEC)
                add_bias(scores + j, load_v_as(DTYPE_F32, (global const float *)from + j));
        else
            for (int j = begin; j < end; j += VEC)
                add_bias(scores + j, load_v_as(a->bias_dtype, (global const ushort *)from + j));
    }
    if (a->flags & FLAG_ALIBI)
        for (int j = begin; j < end; j += VEC) {
            const realv distance = (real)(row->aligned - j0 - j) - lane;
            const realv x = VLOAD(scores + j);
            const realv y = x - row->slope * (distance < 0 ? -distance : distance);
            STORE_LOCAL(x == NEG_INF ? (realv)NEG_INF : y, scores + j);
        }
    if (a->flags & FLAG_MASK) {
        global const uchar *from = mask + row->mask + j0;
        for (int j = begin; j < end; j += VEC) {
            const realv x = VLOAD(scores + j);
            STORE_LOCAL(CONVERT_INTV(VLOAD(from + j)) == 0 ? (realv)NEG_INF : x, scores + j);
        }
    }
    for (int j = max(lo, end); j < hi; ++j)
        scores[j] = apply_masks(a, row, bias, mask, j0 + j, apply_softcap(a, scores[j]));
}

/* -inf for keys begin .. lo and hi .. end; begin and end are multiples of VEC. Vectors, since the
 * scores are read as such right after. */
static inline void hide_keys(local real *scores, realv lane, int begin, int lo, int hi, int end) {
    for (int j = begin; j < lo; j += VEC) {
        const realv x = VLOAD(scores + j);
        STORE_LOCAL(lane < (real)(lo - j) ? (realv)NEG_INF : x, scores + j);
    }
    for (int j = hi / VEC * VEC; j < end; j += VEC) {
        const realv x = VLOAD(scores + j);
        STORE_LOCAL(lane >= (real)(hi - j) ? (realv)NEG_INF : x, scores + j);
    }
}
