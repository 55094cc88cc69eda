/* y = x W^T + b for CPU-like devices: work-group size 1, explicit vectors, no barrier.
 *
 * The lanes of a vector are columns of y. W is packed into panels of PANEL columns,
 * [columns / PANEL][in_features][PANEL], so that a step of the inner loop is whole vectors of W
 * times one broadcast element of each row of x; a register tile is MICRO_M rows of one panel. x is
 * copied, as reals, into local memory in slices of BLOCK_K; between slices the sums of a block lie
 * there too.
 *
 * In: gemm.cl. Out: y; gemm_pack: packed weights and bias, padded with zeros to whole panels.
 * Grid: work-groups of one work-item; gemm_panel one per block of BLOCK_M rows and BLOCK_N columns,
 * rows first, so that what is larger, the weights, is read once; gemm_pack one per panel. */

#ifndef LANE_VECTORS
#define LANE_VECTORS 2
#endif
#ifndef MICRO_M
#define MICRO_M 6
#endif
#ifndef BLOCK_K
#define BLOCK_K 256
#endif
#define PANEL (VEC * LANE_VECTORS)
/* Rows of x a power of two apart would share few cache sets. */
#define X_STRIDE (BLOCK_K + VEC)

static inline realv load_weight_v(global const weight_storage *p) {
    return load_v_as(WEIGHT_DTYPE, p);
}

/* Columns begin .. begin + depth of `rows` rows of x; zero below the last. */
static inline void copy_x(const struct mha_gemm_args *a, local real *tile, global const storage *x,
                          int first, int rows, int begin, int depth) {
    for (int i = 0; i < (rows + MICRO_M - 1) / MICRO_M * MICRO_M; ++i) {
        local real *out = tile + i * X_STRIDE;
        /* Rows below the last repeat it: nothing out of bounds is read, and nothing of them stored.
         */
        global const storage *row = x + get_x(a, first + min(i, rows - 1)) + begin;
        for (int k = 0; k < depth; k += VEC)
            STORE_LOCAL(load_v_part(row + k, depth - k), out + k);
    }
}

/* Columns c .. c + PANEL of rows i .. i + count to y. */
static inline void store_tile(const struct mha_gemm_args *a, realv (*sum)[LANE_VECTORS], int i,
                              int count, int c, global storage *y0, global storage *y1,
                              global storage *y2) {
#pragma unroll
    for (int v = 0; v < LANE_VECTORS; ++v) {
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

kernel void gemm_panel(GEMM_BUFFERS, const struct mha_gemm_args a, local realv *memory) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const long blocks_m = a.blocks / a.blocks_n;
    const int first = (int)(block % blocks_m) * a.block_m;
    const int left = (int)(block / blocks_m) * a.block_n;
    const int rows = min(a.block_m, a.rows - first);
    const int columns = min(a.block_n, a.out_features - left);
    local real *x_tile = (local real *)memory;
    local real *sums = x_tile + (a.block_m + MICRO_M - 1) / MICRO_M * MICRO_M * X_STRIDE;
    for (int begin = 0; begin < a.in_features; begin += BLOCK_K) {
        const int depth = min(BLOCK_K, a.in_features - begin);
        const bool is_last = begin + BLOCK_K >= a.in_features;
        copy_x(&a, x_tile, x, first, rows, begin, depth);
        for (int c = 0; c < columns; c += PANEL) {
            global const weight_storage *panel =
                packed + a.packed_offset +
                ((long)((left + c) / PANEL) * a.in_features + begin) * PANEL;
            global const weight_storage *panel_bias = packed + a.packed_bias_offset + left + c;
            for (int i = 0; i < rows; i += MICRO_M) {
                local real *kept = sums + (i * (a.block_n / PANEL) + c / PANEL * MICRO_M) * PANEL;
                realv sum[MICRO_M][LANE_VECTORS];
#pragma unroll
                for (int r = 0; r < MICRO_M; ++r)
#pragma unroll
                    for (int v = 0; v < LANE_VECTORS; ++v) {
                        sum[r][v] = 0;
                        if (begin > 0)
                            sum[r][v] = VLOAD(kept + (r * LANE_VECTORS + v) * VEC);
                        else if (a.flags & FLAG_LINEAR_BIAS)
                            sum[r][v] = load_weight_v(panel_bias + v * VEC);
                    }
                local const real *x_row = x_tile + i * X_STRIDE;
                for (int k = 0; k < depth; ++k) {
                    realv w[LANE_VECTORS];
#pragma unroll
                    for (int v = 0; v < LANE_VECTORS; ++v)
                        w[v] = load_weight_v(panel + k * PANEL + v * VEC);
#pragma unroll
                    for (int r = 0; r < MICRO_M; ++r) {
                        const realv y = x_row[r * X_STRIDE + k];
#pragma unroll
                        for (int v = 0; v < LANE_VECTORS; ++v)
                            sum[r][v] += y * w[v];
                    }
                }
                if (is_last) {
                    store_tile(&a, sum, first + i, min(MICRO_M, rows - i), left + c, y0, y1, y2);
                    continue;
                }
#pragma unroll
                for (int r = 0; r < MICRO_M; ++r)
#pragma unroll
                    for (int v = 0; v < LANE_VECTORS; ++v)
                        STORE_LOCAL(sum[r][v], kept + (r * LANE_VECTORS + v) * VEC);
            }
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
