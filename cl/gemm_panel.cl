/* y = x W^T + b for CPU-like devices: work-group size 1, explicit vectors, no barrier.
 *
 * The lanes of a vector are columns of y. x is taken in slices of BLOCK_K, which are copied into
 * local memory only if they must be made reals first; between slices the sums of a block lie there.
 *
 * In: panel_product.cl. Out: y; gemm_pack: packed weights and bias, padded with zeros to whole
 * panels. Grid: work-groups of one work-item; gemm_panel one per block of BLOCK_M rows and BLOCK_N
 * columns, rows first, so that what is larger, the weights, is read once; gemm_pack one per panel.
 */

/* Rows of x a power of two apart would share few cache sets. */
#define X_STRIDE (BLOCK_K + VEC)

/* Row i of `rows` rows from `first` on. Rows below the last repeat it: nothing out of bounds is
 * read, and nothing of them stored. */
static inline global const storage *get_x_row(const struct mha_gemm_args *a,
                                              global const storage *x, int first, int i, int rows) {
    return x + get_x(a, first + min(i, rows - 1));
}

#if !IS_REAL
/* Columns begin .. begin + depth of the rows. */
static inline void copy_x(const struct mha_gemm_args *a, local real *tile, global const storage *x,
                          int first, int rows, int begin, int depth) {
    for (int i = 0; i < (rows + MICRO_M - 1) / MICRO_M * MICRO_M; ++i) {
        local real *out = tile + i * X_STRIDE;
        global const storage *row = get_x_row(a, x, first, i, rows) + begin;
        for (int k = 0; k < depth; k += VEC)
            STORE_LOCAL(load_v_part(row + k, depth - k), out + k);
    }
}
#endif

/* Columns c .. c + PANEL of rows i .. i + count to y. */
static inline void store_tile(const struct mha_gemm_args *a, realv (*sum)[PANEL_VECTORS], int i,
                              int count, int c, global storage *y0, global storage *y1,
                              global storage *y2) {
#pragma unroll
    for (int v = 0; v < PANEL_VECTORS; ++v) {
        int column = c + v * VEC;
        const int end = min(column + VEC, a->out_features);
        if (column >= end)
            continue;
        struct column at = get_column(a, y0, y1, y2, column);
        if (at.contiguous >= end - column) {
#pragma unroll
            for (int r = 0; r < MICRO_M; ++r)
                if (r < count)
                    store_v_part(sum[r][v], get_y(a, &at, i + r), end - column);
            continue;
        }
        real lanes[MICRO_M][VEC];
#pragma unroll
        for (int r = 0; r < MICRO_M; ++r)
            VSTORE(sum[r][v], lanes[r]);
        for (int e = 0; column + e < end; ++e) {
            at = get_column(a, y0, y1, y2, column + e);
            for (int r = 0; r < count; ++r)
                store(lanes[r][e], get_y(a, &at, i + r));
        }
    }
}

/* Sums of a tile from where they lie between slices, or to there. */
static inline void load_sums(realv (*sum)[PANEL_VECTORS], local const real *kept) {
#pragma unroll
    for (int r = 0; r < MICRO_M; ++r)
#pragma unroll
        for (int v = 0; v < PANEL_VECTORS; ++v)
            sum[r][v] = VLOAD(kept + (r * PANEL_VECTORS + v) * VEC);
}

static inline void keep_sums(realv (*sum)[PANEL_VECTORS], local real *kept) {
#pragma unroll
    for (int r = 0; r < MICRO_M; ++r)
#pragma unroll
        for (int v = 0; v < PANEL_VECTORS; ++v)
            STORE_LOCAL(sum[r][v], kept + (r * PANEL_VECTORS + v) * VEC);
}

kernel void gemm_panel(GEMM_BUFFERS, const struct mha_gemm_args a, local realv *memory) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const long blocks_m = a.blocks / a.blocks_n;
    const int first = (int)(block % blocks_m) * a.block_m;
    const int left = (int)(block / blocks_m) * a.block_n;
    const int rows = min(a.block_m, a.rows - first);
    const int columns = min(a.block_n, a.out_features - left);
    local real *sums = (local real *)memory;
#if !IS_REAL
    local real *x_tile = sums;
    sums += (a.block_m + MICRO_M - 1) / MICRO_M * MICRO_M * X_STRIDE;
#endif
    for (int begin = 0; begin < a.in_features; begin += BLOCK_K) {
        const int depth = min(BLOCK_K, a.in_features - begin);
        const bool is_last = begin + BLOCK_K >= a.in_features;
#if !IS_REAL
        copy_x(&a, x_tile, x, first, rows, begin, depth);
#endif
        for (int c = 0; c < columns; c += PANEL)
            for (int i = 0; i < rows; i += MICRO_M) {
                local real *kept = sums + (i * (a.block_n / PANEL) + c / PANEL * MICRO_M) * PANEL;
                const int panel = (left + c) / PANEL;
                X_SPACE const real *row[MICRO_M];
                realv sum[MICRO_M][PANEL_VECTORS];
#pragma unroll
                for (int r = 0; r < MICRO_M; ++r)
#if IS_REAL
                    row[r] = get_x_row(&a, x, first, i + r, rows) + begin;
#else
                    row[r] = x_tile + (i + r) * X_STRIDE;
#endif
                if (begin > 0)
                    load_sums(sum, kept);
                else
                    begin_tile(&a, sum, packed, panel);
                multiply_tile(&a, sum, row, packed, panel, begin, depth);
                if (is_last)
                    store_tile(&a, sum, first + i, min(MICRO_M, rows - i), left + c, y0, y1, y2);
                else
                    keep_sums(sum, kept);
            }
    }
}

kernel void gemm_pack(GEMM_BUFFERS, const struct mha_gemm_args a) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const int first = (int)block * PANEL;
    weight += a.weight_offset;
    global weight_storage *out = packed + a.packed_offset + block * a.in_features * PANEL;
    /* Lane by lane: reads run along a row of W, and the panel stays in cache. */
    for (int lane = 0; lane < PANEL; ++lane) {
        const bool exists = first + lane < a.out_features;
        global const weight_storage *row =
            weight + (long)(exists ? first + lane : 0) * a.in_features;
        for (int k = 0; k < a.in_features; ++k)
            out[(long)k * PANEL + lane] = exists ? row[k] : (weight_storage)0;
        if (a.flags & FLAG_LINEAR_BIAS)
            packed[a.packed_bias_offset + first + lane] =
                exists ? bias[a.bias_offset + first + lane] : (weight_storage)0;
    }
}
