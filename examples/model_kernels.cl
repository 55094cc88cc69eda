/* What a transformer needs besides attention and projections. In: rows of `width` stored elements.
 * Out: the same. Stored as fp32, or as fp16 with STORE_HALF, which takes no extension; computed in
 * fp32. Work-groups: layer_norm has its own; all other kernels take any size and ignore the
 * work-items beyond their count.
 *
 * GROUP, a power of two, is how many work-items share a row of layer_norm; 1 is for CPUs. */
#ifdef STORE_HALF
typedef half stored;
#define LOAD(p, i) vload_half(i, p)
#define LOAD8(p, i) vload_half8(i, p)
#define STORE(v, p, i) vstore_half(v, i, p)
#define STORE8(v, p, i) vstore_half8(v, i, p)
#else
typedef float stored;
#define LOAD(p, i) ((p)[i])
#define LOAD8(p, i) vload8(i, p)
#define STORE(v, p, i) ((p)[i] = (v))
#define STORE8(v, p, i) vstore8(v, i, p)
#endif

/* ---- y = (x - mean) / sqrt(variance + epsilon) * weight + bias, row by row; y may be x ---- */

#if GROUP == 1

float sum8(float8 v) {
    float4 four = v.lo + v.hi;
    float2 two = four.lo + four.hi;
    return two.x + two.y;
}

kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
layer_norm(global const stored *x, global stored *y, global const stored *weight,
           global const stored *bias, int width, float epsilon) {
    size_t begin = get_global_id(0) * (size_t)width;
    int eights = width / 8;
    float8 sums = 0, squares = 0;
    float sum = 0, square = 0;
    x += begin;
    y += begin;
    for (int i = 0; i < eights; ++i)
        sums += LOAD8(x, i);
    for (int i = 8 * eights; i < width; ++i)
        sum += LOAD(x, i);
    float mean = (sum + sum8(sums)) / (float)width;
    for (int i = 0; i < eights; ++i) {
        float8 centred = LOAD8(x, i) - mean;
        squares += centred * centred;
    }
    for (int i = 8 * eights; i < width; ++i) {
        float centred = LOAD(x, i) - mean;
        square += centred * centred;
    }
    float factor = rsqrt((square + sum8(squares)) / (float)width + epsilon);
    for (int i = 0; i < eights; ++i)
        STORE8((LOAD8(x, i) - mean) * factor * LOAD8(weight, i) + LOAD8(bias, i), y, i);
    for (int i = 8 * eights; i < width; ++i)
        STORE((LOAD(x, i) - mean) * factor * LOAD(weight, i) + LOAD(bias, i), y, i);
}

#else

float group_sum(float value, local float *slots) {
    int item = (int)get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE); /* the slots' last use is over */
    slots[item] = value;
    for (int half_group = GROUP / 2; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < half_group)
            slots[item] += slots[item + half_group];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return slots[0];
}

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
layer_norm(global const stored *x, global stored *y, global const stored *weight,
           global const stored *bias, int width, float epsilon) {
    local float slots[GROUP];
    size_t begin = get_group_id(0) * (size_t)width;
    int item = (int)get_local_id(0);
    float sum = 0, square = 0;
    x += begin;
    y += begin;
    for (int i = item; i < width; i += GROUP)
        sum += LOAD(x, i);
    float mean = group_sum(sum, slots) / (float)width;
    for (int i = item; i < width; i += GROUP) {
        float centred = LOAD(x, i) - mean;
        square += centred * centred;
    }
    float factor = rsqrt(group_sum(square, slots) / (float)width + epsilon);
    for (int i = item; i < width; i += GROUP)
        STORE((LOAD(x, i) - mean) * factor * LOAD(weight, i) + LOAD(bias, i), y, i);
}

#endif

/* ---- Element by element, eight at a time ------------------------------------------------------
 */

/* x * (1 + erf(x / sqrt(2))) / 2 */
#define GELU(x) (0.5f * (x) * (1.0f + erf((x)*0.70710678118654752f)))

kernel void gelu(global stored *x, ulong count) {
    size_t item = get_global_id(0), begin = 8 * item;
    if (begin + 8 <= count) {
        float8 v = LOAD8(x, item);
        STORE8(GELU(v), x, item);
    } else {
        for (size_t i = begin; i < count; ++i) {
            float v = LOAD(x, i);
            STORE(GELU(v), x, i);
        }
    }
}

/* x += y */
kernel void add(global stored *x, global const stored *y, ulong count) {
    size_t item = get_global_id(0), begin = 8 * item;
    if (begin + 8 <= count)
        STORE8(LOAD8(x, item) + LOAD8(y, item), x, item);
    else
        for (size_t i = begin; i < count; ++i)
            STORE(LOAD(x, i) + LOAD(y, i), x, i);
}

/* x += y * scale, with a scale for each column */
kernel void add_scaled(global stored *x, global const stored *y, global const stored *scale,
                       ulong count, int width) {
    size_t item = get_global_id(0), begin = 8 * item;
    if (begin + 8 <= count && width % 8 == 0)
        STORE8(LOAD8(x, item) + LOAD8(y, item) * LOAD8(scale, item % (width / 8)), x, item);
    else
        for (size_t i = begin; i < count && i < begin + 8; ++i)
            STORE(LOAD(x, i) + LOAD(y, i) * LOAD(scale, i % width), x, i);
}

kernel void from_f32(global const float *x, global stored *y, ulong count) {
    size_t i = get_global_id(0);
    if (i < count)
        STORE(x[i], y, i);
}

kernel void to_f32(global const stored *x, global float *y, ulong count) {
    size_t i = get_global_id(0);
    if (i < count)
        y[i] = LOAD(x, i);
}

/* ---- Inputs -----------------------------------------------------------------------------------
 */

/* pixels [3][size][size] -> rows [patch][3][side][side], patches row by row (im2col): a convolution
 * whose stride is its kernel's side is then a linear projection of the rows. */
kernel void patches(global const float *pixels, global stored *rows, ulong count, int size,
                    int side) {
    size_t i = get_global_id(0);
    if (i >= count)
        return;
    int across = (int)(i % side), down = (int)(i / side % side);
    int channel = (int)(i / ((size_t)side * side) % 3), grid = size / side;
    int patch = (int)(i / ((size_t)side * side * 3));
    int row = patch / grid * side + down, column = patch % grid * side + across;
    STORE(pixels[((size_t)channel * size + row) * size + column], rows, i);
}

/* y[row] = words[id] + positions[position] + type, rows of `width` */
kernel void gather(global const int *ids, global const int *places, global const stored *words,
                   global const stored *positions, global const stored *type, global stored *y,
                   ulong count, int width) {
    size_t i = get_global_id(0);
    if (i >= count)
        return;
    size_t row = i / width, column = i % width;
    STORE(LOAD(words, (size_t)ids[row] * width + column) +
              LOAD(positions, (size_t)places[row] * width + column) + LOAD(type, column),
          y, i);
}
