/* Bias, mask and the like on a row of plain products, and keys that a row doesn't see.
 *
 * In: mask.cl. Out: modify_row(), hide_keys(). */

/* apply_masks() on VEC visible keys at once, whose bias and mask lie side by side. */
static inline realv modify_vector(const struct mha_attention_kernel_args *a,
                                  const struct score_row *row, realv x, realv lane, int j,
                                  global const uchar *bias, global const uchar *mask) {
    intv is_masked = 0;
    if (a->flags & FLAG_BIAS) {
        const int bytes = a->bias_dtype == DTYPE_F32 ? 4 : 2;
        const realv t = load_v_as(a->bias_dtype, bias + (row->bias + j) * bytes);
        is_masked = t == NEG_INF;
        x += t;
    }
    if (a->flags & FLAG_ALIBI) {
        const realv distance = (real)(row->aligned - j) - lane;
        x -= row->slope * (distance < 0 ? -distance : distance);
    }
    if (a->flags & FLAG_MASK)
        is_masked |= CONVERT_INTV(VLOAD(mask + row->mask + j)) == 0;
    return is_masked ? (realv)NEG_INF : x;
}

/* The same on products lo .. hi of a tile that begins with key j0, which are scaled first. */
static inline void modify_row(const struct mha_attention_kernel_args *a,
                              const struct score_row *row, local real *scores, realv lane, int j0,
                              int lo, int hi, global const uchar *bias, global const uchar *mask) {
    const real scale = AS_REAL(a->scale_bits);
    const bool has_vectors = DTYPE != DTYPE_F64 && !(a->flags & FLAG_SOFTCAP) &&
                             (!(a->flags & FLAG_BIAS) || row->bias_key == 1) &&
                             (!(a->flags & FLAG_MASK) || row->mask_key == 1);
    for (int j = lo; j < hi;) {
        if (has_vectors && j % VEC == 0 && j + VEC <= hi) {
            const realv x = VLOAD(scores + j) * scale;
            STORE_LOCAL(modify_vector(a, row, x, lane, j0 + j, bias, mask), scores + j);
            j += VEC;
        } else {
            const real x = apply_softcap(a, scores[j] * scale);
            scores[j] = apply_masks(a, row, bias, mask, j0 + j, x);
            ++j;
        }
    }
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
