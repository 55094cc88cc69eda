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

/* Values are chosen, not indexed: Mesa's llvmpipe can't index arguments by what it computed. */
#define OF_SEGMENT(of_0, of_1, of_2) (s == 0 ? (of_0) : s == 1 ? (of_1) : (of_2))

static inline struct column get_column(const struct mha_gemm_args *a, global storage *y0,
                                       global storage *y1, global storage *y2, int c) {
    const int s = (c >= a->segment_end[0]) + (c >= a->segment_end[1]);
    const int begin = OF_SEGMENT(0, a->segment_end[0], a->segment_end[1]);
    const int end = OF_SEGMENT(a->segment_end[0], a->segment_end[1], a->segment_end[2]);
    const int head_dim = OF_SEGMENT(a->head_dim[0], a->head_dim[1], a->head_dim[2]);
    const long offset = OF_SEGMENT(a->y[0].offset, a->y[1].offset, a->y[2].offset);
    const long stride_head =
        OF_SEGMENT(a->y[0].stride_head, a->y[1].stride_head, a->y[2].stride_head);
    const int h = (c - begin) / head_dim, d = (c - begin) % head_dim;
    struct column column;
    column.y = OF_SEGMENT(y0, y1, y2) + offset + h * stride_head + d;
    column.stride_batch =
        OF_SEGMENT(a->y[0].stride_batch, a->y[1].stride_batch, a->y[2].stride_batch);
    column.stride_token =
        OF_SEGMENT(a->y[0].stride_token, a->y[1].stride_token, a->y[2].stride_token);
    column.contiguous = stride_head == head_dim ? end - c : head_dim - d;
    return column;
}

/* Row i of a column. */
static inline global storage *get_y(const struct mha_gemm_args *a, const struct column *column,
                                    int i) {
    return column->y + get_row(a->tokens, i, column->stride_batch, column->stride_token);
}
