/* What the kernels of a linear projection, y = x W^T + b, share.
 *
 * In: types.cl; WEIGHT_DTYPE. Out: weight_storage, load_weight(), GEMM_BUFFERS, struct column,
 * get_column(), get_x(), get_y(). */

#ifndef WEIGHT_DTYPE
#define WEIGHT_DTYPE DTYPE
#endif

#if WEIGHT_DTYPE == DTYPE_F64
typedef double weight_storage;
#elif WEIGHT_DTYPE == DTYPE_F32
typedef float weight_storage;
#else
typedef ushort weight_storage;
#endif

/* Every kernel of a projection begins with these, so that the host sets them by one piece of code.
 * The segments of y may lie in one buffer. */
#define GEMM_BUFFERS                                                                               \
    global const storage *restrict x, global const weight_storage *restrict weight,                \
        global const weight_storage *restrict bias, global storage *y0, global storage *y1,        \
        global storage *y2, global weight_storage *restrict packed

static inline real load_weight(global const weight_storage *p, long index) {
    return load_as(WEIGHT_DTYPE, p, index);
}

/* Row i of a tensor [batch][token]. One batch entry, which is the common case, needs no division.
 */
static inline long get_row(int tokens, int i, long stride_batch, long stride_token) {
    if (i < tokens)
        return i * stride_token;
    return (i / tokens) * stride_batch + (i % tokens) * stride_token;
}

static inline long get_x(const struct mha_gemm_args *a, int i) {
    return a->x_offset + get_row(a->tokens, i, a->x_stride_batch, a->x_stride_token);
}

/* A column of y: where it lies in row 0 of its segment, and how far the rows are apart. */
struct column {
    global storage *y;
    long stride_batch, stride_token;
    int contiguous; /* columns from this one on that lie side by side */
};

static inline struct column get_column(const struct mha_gemm_args *a, global storage *y0,
                                       global storage *y1, global storage *y2, int c) {
    const int s = (c >= a->segment_end[0]) + (c >= a->segment_end[1]);
    const int begin = s == 0 ? 0 : a->segment_end[s - 1];
    const int h = (c - begin) / a->head_dim[s], d = (c - begin) % a->head_dim[s];
    struct column column;
    column.y = (s == 0 ? y0 : s == 1 ? y1 : y2) + a->y[s].offset + h * a->y[s].stride_head + d;
    column.stride_batch = a->y[s].stride_batch;
    column.stride_token = a->y[s].stride_token;
    column.contiguous =
        a->y[s].stride_head == a->head_dim[s] ? a->segment_end[s] - c : a->head_dim[s] - d;
    return column;
}

/* Row i of a column. */
static inline global storage *get_y(const struct mha_gemm_args *a, const struct column *column,
                                    int i) {
    return column->y + get_row(a->tokens, i, column->stride_batch, column->stride_token);
}
