/* Register tiles of a linear projection on CPU-like devices: MICRO_M rows of x times one panel of
 * W, which is packed, [columns / PANEL][in_features][PANEL], so that a step is whole vectors of W
 * times one broadcast element of each row.
 *
 * In: gemm.cl; PANEL_VECTORS, MICRO_M, BLOCK_K. Out: PANEL, X_SPACE, begin_tile(), multiply_tile().
 */

#ifndef PANEL_VECTORS
#define PANEL_VECTORS 2
#endif
#ifndef MICRO_M
#define MICRO_M 6
#endif
#ifndef BLOCK_K
#define BLOCK_K 256 /* of a slice of x */
#endif
#define PANEL (VEC * PANEL_VECTORS)

/* Rows of x are read where they lie, unless they must be made reals first. */
#if IS_REAL
#define X_SPACE global
#else
#define X_SPACE local
#endif

static inline realv load_weight_v(global const weight_storage *p) {
    return load_v_as(WEIGHT_DTYPE, p);
}

/* The bias of panel number `panel`, or 0, as the sums of all rows. */
static inline void begin_tile(const struct mha_gemm_args *a, realv (*sum)[PANEL_VECTORS],
                              global const weight_storage *packed, int panel) {
    packed += a->packed_bias_offset + panel * PANEL;
#pragma unroll
    for (int v = 0; v < PANEL_VECTORS; ++v) {
        realv x = 0;
        if (a->flags & FLAG_LINEAR_BIAS)
            x = load_weight_v(packed + v * VEC);
#pragma unroll
        for (int r = 0; r < MICRO_M; ++r)
            sum[r][v] = x;
    }
}

/* Adds elements begin .. begin + depth of the inner dimension to the sums; x is at `begin` already.
 */
static inline void multiply_tile(const struct mha_gemm_args *a, realv (*sum)[PANEL_VECTORS],
                                 X_SPACE const real **x, global const weight_storage *packed,
                                 int panel, int begin, int depth) {
    packed += a->packed_offset + ((long)panel * a->in_features + begin) * PANEL;
    for (int k = 0; k < depth; ++k) {
        realv w[PANEL_VECTORS];
#pragma unroll
        for (int v = 0; v < PANEL_VECTORS; ++v)
            w[v] = load_weight_v(packed + k * PANEL + v * VEC);
#pragma unroll
        for (int r = 0; r < MICRO_M; ++r) {
            const realv y = x[r][k];
#pragma unroll
            for (int v = 0; v < PANEL_VECTORS; ++v)
                sum[r][v] += y * w[v];
        }
    }
}
