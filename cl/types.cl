/* Storage types, the real type that everything is computed in, loads and stores between them.
 *
 * In: DTYPE (storage), VEC (lanes of a vector, a power of two >= 2).
 * Out: IS_REAL, real, realv, intv; load_as(), load_v_as(), load(), load_v(), load_v_part();
 * store(), store_v(), store_v_part(), STORE_LOCAL(). */

#ifndef DTYPE
#define DTYPE DTYPE_F32
#endif
#ifndef VEC
#define VEC 8
#endif

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

/* Whether what is stored is what is computed in. */
#define IS_REAL (DTYPE == DTYPE_F32 || DTYPE == DTYPE_F64)

#if DTYPE == DTYPE_F64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
typedef double real;
typedef PASTE(double, VEC) realv;
typedef PASTE(long, VEC) intv; /* of the width that comparisons of realv give */
typedef double storage;
#define CONVERT_INTV PASTE(convert_long, VEC)
#define AS_REAL(bits) as_double(bits)
#define AS_INTV PASTE(as_long, VEC)
#define MAGNITUDE_MASK 0x7fffffffffffffffL
#define INFINITY_BITS 0x7ff0000000000000L
#else
typedef float real;
typedef PASTE(float, VEC) realv;
typedef PASTE(int, VEC) intv;
#if DTYPE == DTYPE_F32
typedef float storage;
#else
typedef ushort storage; /* half is no type of its own without cl_khr_fp16 */
#endif
#define CONVERT_INTV PASTE(convert_int, VEC)
#define AS_REAL(bits) as_float((int)(bits))
#define AS_INTV PASTE(as_int, VEC)
#define MAGNITUDE_MASK 0x7fffffff
#define INFINITY_BITS 0x7f800000
#endif

#define VLOAD(p) PASTE(vload, VEC)(0, p)
#define VSTORE(x, p) PASTE(vstore, VEC)(x, 0, p)
/* To local memory that is aligned to whole vectors: PoCL takes vstore16 apart into four stores. */
#define STORE_LOCAL(x, p) (*(local realv *)(p) = (x))
#define NEG_INF ((real)-INFINITY)

/* Element `index` of memory of any storage type. */
static inline real load_as(int dtype, global const void *p, long index) {
    if (dtype == DTYPE_F16)
        return vload_half(index, (global const half *)p);
    if (dtype == DTYPE_BF16)
        return as_float((uint)((global const ushort *)p)[index] << 16);
#if DTYPE == DTYPE_F64
    if (dtype == DTYPE_F64)
        return ((global const double *)p)[index];
#endif
    return ((global const float *)p)[index];
}

static inline real load(global const storage *p) {
    return load_as(DTYPE, p, 0);
}

#if DTYPE != DTYPE_F64
#if VEC >= 8
/* PoCL 3.1 takes what its vloads and vstores of halves are given for aligned to whole vectors,
 * which OpenCL does not ask for, and accesses of 16 bytes may fault: these go as integers. */
static inline float8 load_half8(global const ushort *p) {
    const ushort8 bits = vload8(0, p);
    return vload_half8(0, (const half *)&bits);
}

static inline void store_half8(float8 x, global ushort *p) {
    ushort8 bits;
    vstore_half8_rte(x, 0, (half *)&bits);
    vstore8(bits, 0, p);
}
#endif

static inline realv load_half_v(global const void *p) {
#if VEC < 8
    return PASTE(vload_half, VEC)(0, (global const half *)p);
#elif VEC == 8
    return load_half8(p);
#else
    realv x;
    x.lo = load_half8(p);
    x.hi = load_half8((global const ushort *)p + 8);
    return x;
#endif
}

static inline void store_half_v(realv x, global void *p) {
#if VEC < 8
    PASTE(PASTE(vstore_half, VEC), _rte)(x, 0, (global half *)p);
#elif VEC == 8
    store_half8(x, p);
#else
    store_half8(x.lo, p);
    store_half8(x.hi, (global ushort *)p + 8);
#endif
}
#endif

/* VEC elements; fp64 goes with fp64 only. */
static inline realv load_v_as(int dtype, global const void *p) {
#if DTYPE == DTYPE_F64
    return VLOAD((global const double *)p);
#else
    if (dtype == DTYPE_F16)
        return load_half_v(p);
    if (dtype == DTYPE_BF16)
        return PASTE(as_float, VEC)(PASTE(convert_uint, VEC)(VLOAD((global const ushort *)p))
                                    << 16);
    return VLOAD((global const float *)p);
#endif
}

static inline realv load_v(global const storage *p) {
    return load_v_as(DTYPE, p);
}

/* The first `count` lanes from p, zero in the others; count may exceed VEC. */
static inline realv load_v_part(global const storage *p, int count) {
    if (count >= VEC)
        return load_v(p);
    if (count <= 0)
        return 0;
    /* A compiler may load before it asks whether to: the address is always a valid one. */
    real x[VEC];
#pragma unroll 1
    for (int e = 0; e < VEC; ++e)
        x[e] = e < count ? load(p + min(e, count - 1)) : (real)0;
    return VLOAD(x);
}

/* To nearest even. A NaN is not rounded, which could carry it to Inf, but made quiet. */
#define ROUND_TO_BF16(bits) (((bits) + 0x7fff + (((bits) >> 16) & 1)) >> 16)
#define BF16_QUIET 0x40

static inline void store(real x, global storage *p) {
#if DTYPE == DTYPE_F16
    vstore_half_rte(x, 0, (global half *)p);
#elif DTYPE == DTYPE_BF16
    const uint bits = as_uint(x);
    *p = (ushort)(isnan(x) ? (bits >> 16) | BF16_QUIET : ROUND_TO_BF16(bits));
#else
    *p = x;
#endif
}

static inline void store_v(realv x, global storage *p) {
#if DTYPE == DTYPE_F16
    store_half_v(x, p);
#elif DTYPE == DTYPE_BF16
    const PASTE(uint, VEC) bits = PASTE(as_uint, VEC)(x);
    VSTORE(PASTE(convert_ushort,
                 VEC)(select(ROUND_TO_BF16(bits), (bits >> 16) | BF16_QUIET, isnan(x))),
           p);
#else
    VSTORE(x, p);
#endif
}

/* The first `count` lanes to p; count may exceed VEC. */
static inline void store_v_part(realv x, global storage *p, int count) {
    if (count >= VEC) {
        store_v(x, p);
        return;
    }
    real y[VEC];
    VSTORE(x, y);
#pragma unroll 1
    for (int e = 0; e < count; ++e)
        store(y[e], p + e);
}
