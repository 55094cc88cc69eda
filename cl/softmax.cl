/* Exponentials for the online softmax (Milakov and Gimelshein 2018, arXiv:1805.02867).
 *
 * In: types.cl. Out: exp_v(), safe_max(). */

#if DTYPE == DTYPE_F64
#define exp_v exp
#else
#define LOG2_E 1.4426950408889634f
#define LN2_HIGH 0.693359375f /* few bits: n * LN2_HIGH is exact */
#define LN2_LOW -2.12194440e-4f

/* e^x for x <= 0, NaN for NaN, to about 1 ulp; 0 below the range of normal numbers. Cheaper than
 * the built-in: x = n ln 2 + r, e^r by its Taylor series with coefficients fitted on
 * |r| <= ln 2 / 2, 2^n through the exponent field. The product with 2^n keeps a NaN that the
 * integer steps would lose. */
static inline realv exp_v(realv x) {
    const realv n = rint(x * LOG2_E);
    realv r = fma(n, -LN2_HIGH, x);
    r = fma(n, -LN2_LOW, r);
    realv p = 1.9875691500e-4f;
    p = fma(p, r, 1.3981999507e-3f);
    p = fma(p, r, 8.3334519073e-3f);
    p = fma(p, r, 4.1665795894e-2f);
    p = fma(p, r, 1.6666665459e-1f);
    p = fma(p, r, 5.0000001201e-1f);
    p = fma(p * r, r, r + 1.0f);
    const intv bits = (CONVERT_INTV(n) + 127) << 23;
    /* Both selects keep a NaN: its comparison is false. */
    return select(p * PASTE(as_float, VEC)(bits), (realv)0, x < -87.0f);
}
#endif

/* What to subtract from a row's scores: 0 for a row with no key yet, so that -inf - -inf, a NaN,
 * is never computed. */
static inline realv safe_max(realv row_max) {
    return select(row_max, (realv)0, row_max == NEG_INF);
}
