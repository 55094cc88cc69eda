/* Powers of 2 of several vectors side by side.
 *
 * In: softmax.cl; MICRO_Q. Out: EXP2_ABREAST, exp2_vectors(). */

/* A divisor of MICRO_Q. */
#define EXP2_ABREAST (MICRO_Q % 4 == 0 ? 4 : MICRO_Q % 3 == 0 ? 3 : MICRO_Q % 2 == 0 ? 2 : 1)

#if DTYPE != DTYPE_F64
/* Minimax of (2^f - 1) / f on |f| <= 1/2 under the relative error of 2^f, which is 2^-28. */
#define EXP2_TERMS 6
constant real exp2_terms[EXP2_TERMS] = {1.559467760e-4f, 1.340664391e-3f, 9.617692975e-3f,
                                        5.550310551e-2f, 2.402265278e-1f, 6.931472150e-1f};
#endif

/* p = 2^f on |f| <= 1/2 to the precision of real, and 1 for 0. */
static inline void exp2_near_zero(realv *p, const realv *f) {
#if DTYPE == DTYPE_F64
#pragma unroll
    for (int i = 0; i < EXP2_ABREAST; ++i)
        p[i] = exp_near_zero(f[i] * LN_2);
#else
#pragma unroll
    for (int i = 0; i < EXP2_ABREAST; ++i)
        p[i] = exp2_terms[0];
#pragma unroll
    for (int t = 1; t < EXP2_TERMS; ++t)
#pragma unroll
        for (int i = 0; i < EXP2_ABREAST; ++i)
            p[i] = p[i] * f[i] + exp2_terms[t];
#pragma unroll
    for (int i = 0; i < EXP2_ABREAST; ++i)
        p[i] = p[i] * f[i] + (real)1;
#endif
}

/* x = 2^x for x <= 0, NaN for NaN; 0 below the range of normal numbers. Each step depends on the
 * one before it: a vector alone would mostly wait, and what waits fills a CPU's scheduler. The
 * exponent field of 2^n is what adding the magic number leaves in the low bits; it is 0, and so is
 * its number, for the lowest n. */
static inline void exp2_vectors(realv *x) {
    realv shifted[EXP2_ABREAST], p[EXP2_ABREAST];
#pragma unroll
    for (int i = 0; i < EXP2_ABREAST; ++i)
        x[i] = x[i] < -EXPONENT_BIAS ? (realv)-EXPONENT_BIAS : x[i];
#pragma unroll
    for (int i = 0; i < EXP2_ABREAST; ++i)
        shifted[i] = x[i] + (ROUND_MAGIC + EXPONENT_BIAS);
#pragma unroll
    for (int i = 0; i < EXP2_ABREAST; ++i)
        x[i] -= shifted[i] - (ROUND_MAGIC + EXPONENT_BIAS);
    exp2_near_zero(p, x);
#pragma unroll
    for (int i = 0; i < EXP2_ABREAST; ++i)
        x[i] = p[i] * AS_REALV(AS_INTV(shifted[i]) << MANTISSA_BITS);
}
