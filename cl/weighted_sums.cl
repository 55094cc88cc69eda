/* P V on CPU-like devices: MICRO_Q rows times MICRO_D vectors of value dims in registers.
 *
 * In: vectors.cl; MICRO_Q, MICRO_D. Out: V_STEP, struct weighted_sums, multiply_pv(). */

#ifndef MICRO_Q
#define MICRO_Q 2
#endif
#ifndef MICRO_D
#define MICRO_D 2
#endif
#define V_STEP (VEC * MICRO_D)

/* MICRO_Q rows, and what becomes of them; strides in reals. */
struct weighted_sums {
    local const real *p; /* [MICRO_Q][p_stride], a column per key */
    int p_stride;
    local real *acc; /* [MICRO_Q][acc_stride], which is whole vectors, whole V_STEPs with a rest */
    int acc_stride;
    bool has_acc;           /* else it is to be taken for 0 */
    const real *correction; /* of what is in acc, a factor per row */
    /* Rows that are asked for meanwhile, one a key; none if there are 0 or less. */
    global const storage *next;
    long next_stride;
    int next_dim, next_count;
};

/* Whether there is no NaN or Inf; by their bits, since compilers may take x * 0 for 0. */
static inline bool are_finite(realv (*x)[MICRO_D]) {
    intv most = 0;
#pragma unroll
    for (int r = 0; r < MICRO_Q; ++r)
#pragma unroll
        for (int c = 0; c < MICRO_D; ++c)
            most = max(most, AS_INTV(x[r][c]) & MAGNITUDE_MASK);
    return !any(most >= INFINITY_BITS);
}

/* sum += y x of MICRO_Q rows, an element of each, and MICRO_D vectors. */
static inline void add_outer(realv (*sum)[MICRO_D], local const real *y, int stride,
                             const realv *x) {
#pragma unroll
    for (int r = 0; r < MICRO_Q; ++r)
#pragma unroll
        for (int c = 0; c < MICRO_D; ++c)
            sum[r][c] += y[r * stride] * x[c];
}

/* multiply_pv() of value dims d .. d + V_STEP, but keys of probability 0, where v may hold a NaN or
 * Inf, are left out: 0 * NaN would be NaN. */
static inline void multiply_visible(const struct weighted_sums *w, global const storage *v,
                                    long v_stride, int d, int dim, int lo, int hi) {
#pragma unroll 1
    for (int r = 0; r < MICRO_Q; ++r)
#pragma unroll 1
        for (int e = d; e < min(d + V_STEP, w->acc_stride); e += VEC) {
            realv sum = 0;
            if (w->has_acc)
                sum = VLOAD(w->acc + r * w->acc_stride + e) * w->correction[r];
            for (int j = lo; j < hi; ++j) {
                const real y = w->p[r * w->p_stride + j];
                if (y != 0)
                    sum += y * load_v_part(v + j * v_stride + e, dim - e);
            }
            STORE_LOCAL(sum, w->acc + r * w->acc_stride + e);
        }
}

/* acc = acc * correction + P V of keys lo .. hi. `rest`: the value dims beyond the last whole
 * V_STEP, [keys][V_STEP], zero after the last; 0: they are taken from v, which is slower. */
static inline void multiply_pv(const struct weighted_sums *w, global const storage *v,
                               long v_stride, int dim, local const real *rest, int lo, int hi) {
    for (int d = 0; d < dim; d += V_STEP) {
        const bool is_whole = d + V_STEP <= dim;
        if (!is_whole && !rest) {
            multiply_visible(w, v, v_stride, d, dim, lo, hi);
            continue;
        }
        realv sum[MICRO_Q][MICRO_D], x[MICRO_D];
#pragma unroll
        for (int r = 0; r < MICRO_Q; ++r)
#pragma unroll
            for (int c = 0; c < MICRO_D; ++c) {
                sum[r][c] = 0;
                if (w->has_acc)
                    sum[r][c] = VLOAD(w->acc + r * w->acc_stride + d + c * VEC) * w->correction[r];
            }
        if (is_whole)
            for (int j = lo; j < hi; ++j) {
                /* next_count > 0 first: where it is a constant 0, nothing is left of this. */
                if (w->next_count > 0 && d == 0 && j - lo < w->next_count)
                    fetch_row(w->next + (j - lo) * w->next_stride, w->next_dim);
#pragma unroll
                for (int c = 0; c < MICRO_D; ++c)
                    x[c] = load_v(v + j * v_stride + d + c * VEC);
                add_outer(sum, w->p + j, w->p_stride, x);
            }
        else
            for (int j = lo; j < hi; ++j) {
#pragma unroll
                for (int c = 0; c < MICRO_D; ++c)
                    x[c] = VLOAD(rest + j * V_STEP + c * VEC);
                add_outer(sum, w->p + j, w->p_stride, x);
            }
        if (!are_finite(sum)) {
            multiply_visible(w, v, v_stride, d, dim, lo, hi);
            continue;
        }
#pragma unroll
        for (int r = 0; r < MICRO_Q; ++r)
#pragma unroll
            for (int c = 0; c < MICRO_D; ++c)
                STORE_LOCAL(sum[r][c], w->acc + r * w->acc_stride + d + c * VEC);
    }
}
