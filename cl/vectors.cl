/* Whole vectors of CPU-like devices: what is rounded up to them, and their lanes numbered, reduced
 * and transposed; memory that is asked for before it is needed.
 *
 * In: types.cl. Out: PREFETCH(), IS_PREFETCH_ONE_INSTRUCTION, FETCHED_BYTES, fetch_row(),
 * ALWAYS_INLINE, round_up(), number_lanes(), reduce_lanes(), transpose(). */

/* For functions with parameters that become constants: some compilers keep one for all calls. */
#define ALWAYS_INLINE __attribute__((always_inline))

/* PoCL, which compiles for the processor itself, does nothing for prefetch(). Translators to SPIR-V
 * and Oclgrind don't know the other one. */
#if defined(__has_builtin) && (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || \
                               defined(__arm__) || defined(__riscv) || defined(__powerpc64__))
#if __has_builtin(__builtin_prefetch)
#define PREFETCH(p) __builtin_prefetch((const void *)(size_t)(p))
#endif
#endif
#ifdef PREFETCH
#define IS_PREFETCH_ONE_INSTRUCTION 1
#else
#define IS_PREFETCH_ONE_INSTRUCTION 0 /* a call, on some: nothing for loops over few vectors */
#define PREFETCH(p) prefetch(p, 1)
#endif
#define FETCHED_BYTES 64 /* a cache line, of most CPUs */

/* Asks for `dim` elements of a row. */
static inline void fetch_row(global const storage *row, int dim) {
#pragma unroll 8
    for (int d = 0; d < dim; d += FETCHED_BYTES / (int)sizeof(storage))
        PREFETCH(row + d);
}

static inline int round_up(int x, int step) {
    return (x + step - 1) / step * step;
}

/* 0, 1, 2 ... */
static inline realv number_lanes(void) {
    real x[VEC];
    for (int e = 0; e < VEC; ++e)
        x[e] = e;
    return VLOAD(x);
}

/* The largest, or the sum, of the lanes of each vector, in the lane of its number. */
static inline realv reduce_lanes(realv *x, bool is_max) {
#pragma unroll
    for (int step = 1; step < VEC; step *= 2)
#pragma unroll
        for (int i = 0; i < VEC; i += 2 * step) {
            const realv a = x[i], b = x[i + step];
            if (is_max) {
                x[i].lo = a.even > a.odd ? a.even : a.odd;
                x[i].hi = b.even > b.odd ? b.even : b.odd;
            } else {
                x[i].lo = a.even + a.odd;
                x[i].hi = b.even + b.odd;
            }
        }
    return x[0];
}

/* Transposes the VEC x VEC matrix whose rows are x[0 .. VEC). Each stage rotates the bits of an
 * element's (row, column) address by one place: after log2(VEC) stages they have changed places. */
static inline void transpose(realv *x) {
#pragma unroll
    for (int stage = 1; stage < VEC; stage *= 2) {
        realv y[VEC];
#pragma unroll
        for (int r = 0; r < VEC / 2; ++r) {
            y[2 * r].even = x[r].lo;
            y[2 * r].odd = x[r + VEC / 2].lo;
            y[2 * r + 1].even = x[r].hi;
            y[2 * r + 1].odd = x[r + VEC / 2].hi;
        }
#pragma unroll
        for (int r = 0; r < VEC; ++r)
            x[r] = y[r];
    }
}
