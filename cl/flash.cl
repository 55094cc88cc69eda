/* Fused attention for GPU-like devices (Dao et al. 2022, arXiv:2205.14135): a work-group takes
 * BLOCK_Q queries of one head through the keys in tiles of BLOCK_KV.
 *
 * Work-item (tq, tk) of THREADS_Q x THREADS_KV holds a register tile of S, ROWS queries by COLS
 * keys, and of O, ROWS queries by DIMS value dims. q, k and v pass through local memory in slices
 * of SLICE (of the head dimension for QK^T, of the keys for PV), so that its size depends on no
 * head size but that of v.
 *
 * In: mask.cl; DV, head_dim_v rounded up to a multiple of THREADS_KV. Out: o and lse; with
 * a.split_rows partial results for combine.cl.
 * Grid: splits * batch * q_heads * blocks_q work-groups. */

#ifndef BLOCK_Q
#define BLOCK_Q 64
#endif
#ifndef BLOCK_KV
#define BLOCK_KV 64
#endif
#ifndef THREADS_Q
#define THREADS_Q 16
#endif
#ifndef THREADS_KV
#define THREADS_KV 16
#endif
#ifndef DV
#define DV 64
#endif
/* How q, k and v reach the registers: 1 straight from global memory, 2 in slices through local
 * memory. Where local memory is global memory in disguise, the detour costs and brings nothing. */
#ifndef STAGING
#define STAGING 2
#endif
/* Of the register tiles. A CPU runtime keeps them in memory anyway, one array per work-item, and
 * takes half a minute to compile them unrolled. */
#ifndef UNROLL
#define UNROLL 64
#endif

#define THREADS (THREADS_Q * THREADS_KV)
#define ROWS (BLOCK_Q / THREADS_Q)
#define COLS (BLOCK_KV / THREADS_KV)
#define DIMS (DV / THREADS_KV)
#define SLICE 16
/* One more than a multiple of the banks: a column is read without conflict. */
#define Q_STRIDE (BLOCK_Q + 1)
#define KV_STRIDE (BLOCK_KV + 1)
#define QK_SLICE_REALS (SLICE * (Q_STRIDE + KV_STRIDE))
#define V_SLICE_REALS (SLICE * DV)
#define SLICE_REALS (QK_SLICE_REALS > V_SLICE_REALS ? QK_SLICE_REALS : V_SLICE_REALS)
#define STAGE_REALS (STAGING == 2 ? SLICE_REALS : 1)

/* A slice of rows, transposed: out[d][row] for `rows` rows from `first`, clamped to `last`; zero
 * where d is beyond the head. */
static inline void load_slice(local real *out, int out_stride, global const storage *rows,
                              long row_stride, int count, int first, int last, int d0, int dim) {
    for (int e = get_local_id(0); e < count * SLICE; e += THREADS) {
        const int row = e / SLICE, d = e % SLICE;
        const int index = min(first + row, last);
        const real x = load(rows + index * row_stride + min(d0 + d, dim - 1));
        out[d * out_stride + row] = d0 + d < dim ? x : (real)0;
    }
}

/* Adds SLICE keys to the register tile of O. Inlined twice, with select_keys constant: testing
 * every weight would double the instructions of the loop. */
static inline void pv_slice(real acc[ROWS][DIMS], local const real *p, local const real *v,
                            const bool select_keys) {
    for (int j = 0; j < SLICE; ++j) {
        real x[ROWS];
#pragma unroll UNROLL
        for (int r = 0; r < ROWS; ++r)
            x[r] = p[j * Q_STRIDE + r * THREADS_Q];
#pragma unroll UNROLL
        for (int d = 0; d < DIMS; ++d) {
            const real y = v[j * DV + d * THREADS_KV];
#pragma unroll UNROLL
            for (int r = 0; r < ROWS; ++r)
                if (!select_keys || x[r] != 0)
                    acc[r][d] += x[r] * y;
        }
    }
}

/* The same for `count` keys straight from global memory. Nobody has looked for a NaN there. */
static inline void pv_rows(real acc[ROWS][DIMS], local const real *p, global const storage *v,
                           long row_stride, int count, int tk, int head_dim_v) {
    for (int j = 0; j < count; ++j, v += row_stride) {
#pragma unroll UNROLL
        for (int d = 0; d < DIMS; ++d) {
            const real y = load(v + min(tk + d * THREADS_KV, head_dim_v - 1));
#pragma unroll UNROLL
            for (int r = 0; r < ROWS; ++r) {
                const real x = p[j * Q_STRIDE + r * THREADS_Q];
                if (x != 0)
                    acc[r][d] += x * y;
            }
        }
    }
}

kernel __attribute__((reqd_work_group_size(THREADS, 1, 1))) void
flash(ATTENTION_BUFFERS, const struct mha_attention_kernel_args a) {
    local real stage[STAGE_REALS];            /* slices of q and k, then of v */
    local real p_tile[BLOCK_KV * Q_STRIDE];   /* P, transposed: [key][query] */
    local real partial[BLOCK_Q * THREADS_KV]; /* row reductions */
    local int not_finite[2];                  /* v slice holds a NaN or Inf; by slice parity */
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const struct place at = get_place(&a, block, a.q_heads, a.blocks_q);
    const int b = at.b, h = at.h, split = at.part;
    const struct sequence s =
        get_sequence(&a, b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    const int i_begin = at.i * BLOCK_Q, i_last = min(i_begin + BLOCK_Q, s.q_len) - 1;
    if (i_last < i_begin)
        return;
    const int item = get_local_id(0), tq = item / THREADS_KV, tk = item % THREADS_KV;
    const int h_kv = h / (a.q_heads / a.kv_heads);
    const real scale = AS_REAL(a.scale_bits);
    const bool has_terms = a.flags & (FLAG_SOFTCAP | FLAG_BIAS | FLAG_MASK | FLAG_ALIBI);
    q += s.q + h * a.q.stride_head;
    k += s.k + h_kv * a.k.stride_head;
    v += s.v + h_kv * a.v.stride_head;
    o += s.o + h * a.o.stride_head;

    /* Query r of this item is i_begin + tq + r * THREADS_Q: neighbours read neighbours. */
    real acc[ROWS][DIMS], row_max[ROWS], row_sum[ROWS];
#pragma unroll UNROLL
    for (int r = 0; r < ROWS; ++r) {
        row_max[r] = NEG_INF;
        row_sum[r] = 0; /* of this item's own keys; summed over tk at the end */
#pragma unroll UNROLL
        for (int d = 0; d < DIMS; ++d)
            acc[r][d] = 0;
    }
    if (item == 0)
        not_finite[0] = not_finite[1] = 0; /* before the first barrier, read after it */
    int parity = 0;

    const struct key_range of_first = get_key_range(&a, &s, i_begin);
    const struct key_range of_last = get_key_range(&a, &s, i_last);
    int j_begin = of_first.lo, j_end = of_last.hi;
    if (a.split_rows) {
        j_begin = max(j_begin, split * a.split_keys);
        j_end = min(j_end, (split + 1) * a.split_keys);
    }
    for (int tile = j_begin / BLOCK_KV * BLOCK_KV; tile < j_end; tile += BLOCK_KV) {
        real score[ROWS][COLS];
#pragma unroll UNROLL
        for (int r = 0; r < ROWS; ++r)
#pragma unroll UNROLL
            for (int c = 0; c < COLS; ++c)
                score[r][c] = 0;
        for (int d0 = 0; d0 < a.head_dim_qk; d0 += SLICE) {
            local real *q_slice = stage, *k_slice = stage + SLICE * Q_STRIDE;
            if (STAGING == 2) {
                barrier(CLK_LOCAL_MEM_FENCE); /* all have read what the stage held */
                load_slice(q_slice, Q_STRIDE, q, a.q.stride_token, BLOCK_Q, i_begin, i_last, d0,
                           a.head_dim_qk);
                load_slice(k_slice, KV_STRIDE, k, a.k.stride_token, BLOCK_KV, tile, j_end - 1, d0,
                           a.head_dim_qk);
                barrier(CLK_LOCAL_MEM_FENCE); /* the slices are complete */
            }
            const int depth = min(SLICE, a.head_dim_qk - d0);
            for (int d = 0; d < depth; ++d) {
                real x[ROWS];
#pragma unroll UNROLL
                for (int r = 0; r < ROWS; ++r)
                    x[r] = STAGING == 2
                               ? q_slice[d * Q_STRIDE + tq + r * THREADS_Q]
                               : load(q +
                                      min(i_begin + tq + r * THREADS_Q, i_last) * a.q.stride_token +
                                      d0 + d);
#pragma unroll UNROLL
                for (int c = 0; c < COLS; ++c) {
                    const real y =
                        STAGING == 2
                            ? k_slice[d * KV_STRIDE + tk + c * THREADS_KV]
                            : load(k +
                                   min(tile + tk + c * THREADS_KV, j_end - 1) * a.k.stride_token +
                                   d0 + d);
#pragma unroll UNROLL
                    for (int r = 0; r < ROWS; ++r)
                        score[r][c] += x[r] * y;
                }
            }
        }
        if (STAGING != 2)
            barrier(CLK_LOCAL_MEM_FENCE); /* all have read the last tile's p and partial maxima */
        /* Whether any query of the block may not see some key of the tile. */
        const bool is_partial = of_last.lo > tile || of_first.hi < tile + BLOCK_KV ||
                                tile < j_begin || j_end < tile + BLOCK_KV;
#pragma unroll UNROLL
        for (int r = 0; r < ROWS; ++r)
#pragma unroll UNROLL
            for (int c = 0; c < COLS; ++c)
                p_tile[(tk + c * THREADS_KV) * Q_STRIDE + tq + r * THREADS_Q] = score[r][c] * scale;
        /* Rolled, on this item's own elements in local memory: all features inlined for every
         * register of the tile would be a kernel of hundreds of kilobytes. */
        if (has_terms || is_partial)
#pragma unroll 1
            for (int e = 0; e < ROWS * COLS; ++e) {
                const int row = tq + e / COLS * THREADS_Q, column = tk + e % COLS * THREADS_KV;
                const int i = min(i_begin + row, i_last);
                struct score_row r = get_score_row(&a, &s, b, h, i, slopes);
                local real *p = p_tile + column * Q_STRIDE + row;
                r.keys.lo = max(r.keys.lo, j_begin);
                r.keys.hi = min(r.keys.hi, j_end);
                *p = apply_masks(&a, &r, bias, mask, tile + column, apply_softcap(&a, *p));
            }
#pragma unroll UNROLL
        for (int r = 0; r < ROWS; ++r) {
            real most = NEG_INF;
#pragma unroll UNROLL
            for (int c = 0; c < COLS; ++c) {
                score[r][c] = p_tile[(tk + c * THREADS_KV) * Q_STRIDE + tq + r * THREADS_Q];
                most = fmax(most, score[r][c]);
            }
            partial[(tq + r * THREADS_Q) * THREADS_KV + tk] = most;
        }
        barrier(CLK_LOCAL_MEM_FENCE); /* partial maxima are complete */
#pragma unroll UNROLL
        for (int r = 0; r < ROWS; ++r) {
            local const real *row = partial + (tq + r * THREADS_Q) * THREADS_KV;
            real most = row_max[r];
            for (int t = 0; t < THREADS_KV; ++t)
                most = fmax(most, row[t]);
            const real base = most == NEG_INF ? (real)0 : most;
            const real correction = exp(row_max[r] - base);
            row_max[r] = most;
            row_sum[r] *= correction;
#pragma unroll UNROLL
            for (int c = 0; c < COLS; ++c) {
                const real p = exp(score[r][c] - base);
                row_sum[r] += p;
                p_tile[(tk + c * THREADS_KV) * Q_STRIDE + tq + r * THREADS_Q] = p;
            }
#pragma unroll UNROLL
            for (int d = 0; d < DIMS; ++d)
                acc[r][d] *= correction;
        }
        for (int first = 0; first < BLOCK_KV && tile + first < j_end; first += SLICE) {
            local const real *p = p_tile + first * Q_STRIDE + tq;
            if (STAGING == 2 || first == 0)
                barrier(CLK_LOCAL_MEM_FENCE); /* p is complete; all have read what the stage held */
            if (STAGING != 2) {
                pv_rows(acc, p, v + (tile + first) * a.v.stride_token, a.v.stride_token,
                        min(SLICE, j_end - tile - first), tk, a.head_dim_v);
                continue;
            }
            if (item == 0)
                not_finite[1 - parity] = 0; /* last read before this barrier */
            for (int e = item; e < SLICE * DV; e += THREADS) {
                const int j = min(tile + first + e / DV, j_end - 1), d = e % DV;
                const real x = load(v + j * a.v.stride_token + min(d, a.head_dim_v - 1));
                stage[e] = x;
                if (!isfinite(x))
                    atomic_or(&not_finite[parity], 1);
            }
            barrier(CLK_LOCAL_MEM_FENCE); /* the slice of v and its flag are complete */
            /* A key of weight 0 must not bring in its NaN. */
            const bool select_keys = not_finite[parity];
            parity = 1 - parity;
            if (select_keys)
                pv_slice(acc, p, stage + tk, true);
            else
                pv_slice(acc, p, stage + tk, false);
        }
    }

    barrier(CLK_LOCAL_MEM_FENCE); /* all have read the partial maxima */
#pragma unroll UNROLL
    for (int r = 0; r < ROWS; ++r)
        partial[(tq + r * THREADS_Q) * THREADS_KV + tk] = row_sum[r];
    barrier(CLK_LOCAL_MEM_FENCE); /* partial sums are complete */
#pragma unroll UNROLL
    for (int r = 0; r < ROWS; ++r) {
        const int i = i_begin + tq + r * THREADS_Q;
        if (i > i_last)
            continue;
        real sum = 0, rescale = 1;
        for (int t = 0; t < THREADS_KV; ++t)
            sum += partial[(tq + r * THREADS_Q) * THREADS_KV + t];
        if ((a.flags & FLAG_SINKS) && !a.split_rows) {
            const real sink = sinks[a.sinks_offset + h];
            const real all = fmax(row_max[r], sink), base = all == NEG_INF ? (real)0 : all;
            rescale = exp(row_max[r] - base);
            sum = sum * rescale + exp(sink - base);
            row_max[r] = all;
        }
        const real factor = sum == 0 ? (real)0 : rescale / sum;
        const long index = row_index(&a, &s, b, h, i);
        if (tk == 0 && a.split_rows) {
            global real *part =
                scratch + a.scratch_stats_offset + 2 * (split * a.split_rows + index);
            part[0] = row_max[r];
            part[1] = sum;
        } else if (tk == 0 && (a.flags & FLAG_LSE))
            lse[a.lse_offset + index] = get_lse(row_max[r], sum);
#pragma unroll UNROLL
        for (int d = 0; d < DIMS; ++d) {
            const int dim = tk + d * THREADS_KV;
            if (dim >= a.head_dim_v)
                continue;
            if (a.split_rows)
                scratch[a.scratch_offset + (split * a.split_rows + index) * a.head_dim_v + dim] =
                    acc[r][d] * factor;
            else
                store(acc[r][d] * factor, o + i * a.o.stride_token + dim);
        }
    }
}
