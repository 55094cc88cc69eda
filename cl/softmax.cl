/* Exponentials for the online softmax (Milakov and Gimelshein 2018, arXiv:1805.02867).
 *
 * In: arguments.h, types.cl. Out: exp_near_zero(), exp_v(), safe_max(), struct row_end, end_row().
 *
 * Vector arithmetic here and in the kernels is written with operators, not with built-ins: a * b +
 * c contracts to a fused multiply-add where there is one and ?: is a select, while some runtimes
 * take the built-ins of wide vectors apart lane by lane and spend seconds putting them together. */

#define LOG2_E ((real)1.44269504088896340736)
#define LN_2 ((real)0.69314718055994530942)
#if DTYPE == DTYPE_F64
#define ROUND_MAGIC 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define EXP_LOWEST -708.0
#define EXPONENT_BIAS 1023
#define MANTISSA_BITS 52
#define AS_REALV PASTE(as_double, VEC)
#else
#define ROUND_MAGIC 12582912.0f /* 1.5 * 2^23 */
#define LN2_HIGH 0.693359375f   /* few bits: n * LN2_HIGH is exact */
#define LN2_LOW -2.12194440e-4f
#define EXP_LOWEST -87.0f
#define EXPONENT_BIAS 127
#define MANTISSA_BITS 23
#define AS_REALV PASTE(as_float, VEC)
#endif

/* e^r on |r| <= ln 2 / 2 to the precision of real. */
static inline realv exp_near_zero(realv r) {
#if DTYPE == DTYPE_F64
    /* Taylor; the first term left out is below 2^-57. */
    realv p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
#else
    /* Minimax, relative error 2^-24 (the coefficients of Cephes' expf). */
    realv p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
#endif
    return p * (r * r) + r + (real)1;
}

/* e^x for x <= 0, NaN for NaN; 0 below the range of normal numbers. x = n ln 2 + r, and 2^n goes
 * through the exponent field; the product with it keeps a NaN that the integer steps would lose. */
static inline realv exp_v(realv x) {
    const realv n = (x * LOG2_E + ROUND_MAGIC) - ROUND_MAGIC;
    const realv r = (x - n * LN2_HIGH) - n * LN2_LOW;
    const intv bits = (CONVERT_INTV(n) + EXPONENT_BIAS) << MANTISSA_BITS;
    return x < EXP_LOWEST ? (realv)0 : exp_near_zero(r) * AS_REALV(bits);
}

/* What to subtract from a row's scores: 0 for a row with no key yet, so that -inf - -inf, a NaN,
 * is never computed. */
static inline realv safe_max(realv row_max) {
    return row_max == NEG_INF ? (realv)0 : row_max;
}

/* A row when all keys are done, its sink among them: the factor makes weights of exponentials that
 * were taken with the largest score before the sink. */
struct row_end {
    real max, sum, factor;
};

static inline struct row_end end_row(const struct mha_attention_kernel_args *a, real row_max,
                                     real sum, int h, global const float *sinks) {
    struct row_end end = {row_max, sum, sum == 0 ? (real)0 : 1 / sum};
    if (a->flags & FLAG_SINKS) {
        const real sink = (real)sinks[a->sinks_offset + h];
        end.max = sink > row_max ? sink : row_max;
        const real base = end.max == NEG_INF ? (real)0 : end.max;
        const real rescale = exp(row_max - base);
        end.sum = sum * rescale + exp(sink - base);
        end.factor = end.sum == 0 ? (real)0 : rescale / end.sum;
    }
    return end;
}
