/* y = x W^T + b for GPU-like devices: work-groups of THREADS_M x THREADS_N work-items share a tile
 * of BLOCK_M rows and BLOCK_N columns, in slices of BLOCK_K through local memory. A work-item owns
 * rows THREADS_M and columns THREADS_N apart, so that neighbours read and write side by side.
 *
 * In: gemm.cl. Grid: one work-group per tile, columns first. */

#ifndef BLOCK_M
#define BLOCK_M 64
#endif
#ifndef BLOCK_N
#define BLOCK_N 64
#endif
#ifndef BLOCK_K
#define BLOCK_K 16
#endif
#ifndef THREADS_M
#define THREADS_M 16
#endif
#ifndef THREADS_N
#define THREADS_N 16
#endif
#ifndef UNROLL
#define UNROLL 64
#endif
#define THREADS (THREADS_M * THREADS_N)
#define ROWS (BLOCK_M / THREADS_M)
#define COLS (BLOCK_N / THREADS_N)
/* Rows of a slice that a work-item copies: BLOCK_K neighbours share one. */
#define COPY_ROWS (THREADS / BLOCK_K)
#define X_COPIES (BLOCK_M / COPY_ROWS)
#define W_COPIES (BLOCK_N / COPY_ROWS)
/* A slice lies transposed; one element more per row keeps its writes off a single bank. */
#define X_STRIDE (BLOCK_M + 1)
#define W_STRIDE (BLOCK_N + 1)

kernel __attribute__((reqd_work_group_size(THREADS, 1, 1))) void
gemm_tile(GEMM_BUFFERS, const struct mha_gemm_args a) {
    local real x_slice[BLOCK_K * X_STRIDE], w_slice[BLOCK_K * W_STRIDE];
    const long block = get_group_id(0) + a.first_block;
    /* Not a return: some drivers mistake one before a barrier. */
    const int depth = block < a.blocks ? a.in_features : 0;
    const int id = (int)get_local_id(0), tm = id / THREADS_N, tn = id % THREADS_N;
    const int first = (int)(block / a.blocks_n) * BLOCK_M;
    const int left = (int)(block % a.blocks_n) * BLOCK_N;
    real sum[ROWS][COLS];
#pragma unroll UNROLL
    for (int r = 0; r < ROWS; ++r)
#pragma unroll UNROLL
        for (int c = 0; c < COLS; ++c)
            sum[r][c] = 0;
    /* Rows and columns beyond the last repeat it: they are read but not stored. */
    const int copy_k = id % BLOCK_K, copy_row = id / BLOCK_K;
    long x_row[X_COPIES];
#pragma unroll UNROLL
    for (int e = 0; e < X_COPIES; ++e)
        x_row[e] = get_x(&a, min(first + copy_row + e * COPY_ROWS, a.rows - 1));
    weight += a.weight_offset;
    for (int begin = 0; begin < depth; begin += BLOCK_K) {
        /* Beyond the last element of a row there is a zero on both sides: the other side may be
         * anything there. All loads come before the first store, so that they overlap. */
        const int k = min(begin + copy_k, a.in_features - 1);
        const bool exists = begin + copy_k < a.in_features;
        real x_copy[X_COPIES], w_copy[W_COPIES];
#pragma unroll UNROLL
        for (int e = 0; e < X_COPIES; ++e)
            x_copy[e] = load(x + x_row[e] + k);
#pragma unroll UNROLL
        for (int e = 0; e < W_COPIES; ++e) {
            const int c = min(left + copy_row + e * COPY_ROWS, a.out_features - 1);
            w_copy[e] = load_weight(weight, (long)c * a.in_features + k);
        }
#pragma unroll UNROLL
        for (int e = 0; e < X_COPIES; ++e)
            x_slice[copy_k * X_STRIDE + copy_row + e * COPY_ROWS] = exists ? x_copy[e] : (real)0;
#pragma unroll UNROLL
        for (int e = 0; e < W_COPIES; ++e)
            w_slice[copy_k * W_STRIDE + copy_row + e * COPY_ROWS] = exists ? w_copy[e] : (real)0;
        barrier(CLK_LOCAL_MEM_FENCE); /* both slices are complete */
#pragma unroll 2
        for (int k = 0; k < BLOCK_K; ++k) {
            real x_k[ROWS], w_k[COLS];
#pragma unroll UNROLL
            for (int r = 0; r < ROWS; ++r)
                x_k[r] = x_slice[k * X_STRIDE + tm + r * THREADS_M];
#pragma unroll UNROLL
            for (int c = 0; c < COLS; ++c)
                w_k[c] = w_slice[k * W_STRIDE + tn + c * THREADS_N];
#pragma unroll UNROLL
            for (int r = 0; r < ROWS; ++r)
#pragma unroll UNROLL
                for (int c = 0; c < COLS; ++c)
                    sum[r][c] += x_k[r] * w_k[c];
        }
        barrier(CLK_LOCAL_MEM_FENCE); /* all have read the slices: the next may overwrite them */
    }
    /* Divided once a row, not once an element. */
    int entry[ROWS], token[ROWS];
#pragma unroll UNROLL
    for (int r = 0; r < ROWS; ++r) {
        const int i = first + tm + r * THREADS_M;
        entry[r] = i < a.tokens ? 0 : i / a.tokens;
        token[r] = i - entry[r] * a.tokens;
    }
#pragma unroll UNROLL
    for (int c = 0; c < COLS; ++c) {
        const int n = left + tn + c * THREADS_N;
        if (n >= a.out_features || block >= a.blocks)
            continue;
        const struct column column = get_column(&a, y0, y1, y2, n);
        const real b = a.flags & FLAG_LINEAR_BIAS ? load_weight(bias, a.bias_offset + n) : (real)0;
#pragma unroll UNROLL
        for (int r = 0; r < ROWS; ++r)
            if (first + tm + r * THREADS_M < a.rows)
                store(sum[r][c] + b,
                      column.y + entry[r] * column.stride_batch + token[r] * column.stride_token);
    }
}
