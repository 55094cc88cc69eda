/* Fused attention for CPU-like devices: work-group size 1, explicit vectors, no barrier.
 *
 * The lanes of a vector are queries: S^T = K Q^T and O^T = V^T P^T. Then the softmax is vertical
 * (no reduction across lanes), the probabilities are already laid out for PV, and k and v are read
 * as rows, one element broadcast to all lanes, so that they need no transposition. Only q, once
 * per work-item, and o, once at the end, are transposed.
 *
 * A work-item takes BLOCK_Q queries of one head, in panels of LANES queries, through the keys in
 * tiles of BLOCK_KV. A tile of k and v is converted once into local memory and then shared by all
 * panels. Register tiles: MICRO_KV keys (QK^T) or MICRO_D value dims (PV) times LANES queries.
 *
 * In: mask.cl, softmax.cl. Out: o and lse; with a.split_rows partial results for combine.cl.
 * Grid: splits * batch * q_heads * blocks_q work-groups of one work-item. */

#ifndef LANE_VECTORS
#define LANE_VECTORS 2
#endif
#ifndef MICRO_KV
#define MICRO_KV 6
#endif
#ifndef MICRO_D
#define MICRO_D 4
#endif
#define LANES (VEC * LANE_VECTORS)

/* Local memory, carved up; strides in reals. Mirrored by local_bytes() in variant_panel.c. */
struct panel_memory {
    local real *q;   /* [panels][d_qk][LANES] */
    local real *k;   /* [BLOCK_KV, rounded up to MICRO_KV][d_qk] */
    local real *v;   /* [BLOCK_KV][d_v] */
    local real *s;   /* [BLOCK_KV, rounded up to MICRO_KV][LANES] */
    local real *acc; /* [panels][d_v][LANES] */
    local real *max; /* [panels][LANES] */
    local real *sum; /* [panels][LANES] */
    int d_qk, d_v;   /* head dims, rounded up so that whole vectors and register tiles fit */
};

static inline int round_up(int x, int step) {
    return (x + step - 1) / step * step;
}

static inline struct panel_memory carve(local realv *memory,
                                        const struct mha_attention_kernel_args *a) {
    struct panel_memory m;
    const int rows = round_up(a->block_kv, MICRO_KV);
    m.d_qk = round_up(a->head_dim_qk, VEC);
    m.d_v = round_up(a->head_dim_v, max(VEC, MICRO_D));
    m.q = (local real *)memory;
    m.k = m.q + a->block_q * m.d_qk;
    m.v = m.k + rows * m.d_qk;
    m.s = m.v + rows * m.d_v;
    m.acc = m.s + rows * LANES;
    m.max = m.acc + a->block_q * m.d_v;
    m.sum = m.max + a->block_q;
    return m;
}

/* Queries first .. first + count as panels of [d][LANES], zero where there is no query. */
static inline void pack_q(const struct mha_attention_kernel_args *a, local real *panel,
                          global const storage *q, int count, int d_stride) {
    for (int p = 0; p < count; p += LANES, panel += d_stride * LANES)
        for (int lane = 0; lane < LANES; lane += VEC)
            for (int d = 0; d < d_stride; d += VEC) {
                realv x[VEC];
#pragma unroll 1
                for (int r = 0; r < VEC; ++r) {
                    const int i = p + lane + r;
                    x[r] = 0;
                    if (i < count)
                        x[r] = load_v_part(q + i * a->q.stride_token + d, a->head_dim_qk - d);
                }
                transpose(x);
#pragma unroll
                for (int r = 0; r < VEC; ++r)
                    VSTORE(x[r], panel + (d + r) * LANES + lane);
            }
}

/* Rows of k or v as reals; returns the largest magnitude of each lane, as bits: an integer maximum
 * keeps an Inf or NaN that arithmetic could lose, since compilers may take x * 0 for 0. */
static inline intv copy_rows(local real *tile, int tile_stride, global const storage *rows,
                             long row_stride, int count, int dim) {
    intv most = 0;
    for (int j = 0; j < count; ++j) {
        global const storage *row = rows + j * row_stride;
        local real *out = tile + j * tile_stride;
        int d = 0;
        for (; d + VEC <= dim; d += VEC) {
            const realv x = load_v(row + d);
            VSTORE(x, out + d);
            most = max(most, AS_INTV(x) & MAGNITUDE_MASK);
        }
        for (; d < tile_stride; d += VEC) {
            const realv x = load_v_part(row + d, max(dim - d, 0));
            VSTORE(x, out + d);
            most = max(most, AS_INTV(x) & MAGNITUDE_MASK);
        }
    }
    return most;
}

static inline bool are_finite(intv magnitude) {
    return !any(magnitude >= INFINITY_BITS);
}

/* S^T for `count` keys of the tile, scaled, not yet masked; rows up to the next multiple of
 * MICRO_KV are written too. */
static inline void qk_tile(const struct panel_memory *m, local const real *q, int first, int count,
                           int dim, real scale) {
    for (int j = first; j < first + count; j += MICRO_KV) {
        local const real *k = m->k + j * m->d_qk;
        realv acc[MICRO_KV][LANE_VECTORS];
#pragma unroll
        for (int r = 0; r < MICRO_KV; ++r)
#pragma unroll
            for (int c = 0; c < LANE_VECTORS; ++c)
                acc[r][c] = 0;
        for (int d = 0; d < dim; ++d) {
            realv x[LANE_VECTORS];
#pragma unroll
            for (int c = 0; c < LANE_VECTORS; ++c)
                x[c] = VLOAD(q + d * LANES + c * VEC);
#pragma unroll
            for (int r = 0; r < MICRO_KV; ++r) {
                const realv y = k[r * m->d_qk + d];
#pragma unroll
                for (int c = 0; c < LANE_VECTORS; ++c)
                    acc[r][c] += y * x[c];
            }
        }
#pragma unroll
        for (int r = 0; r < MICRO_KV; ++r)
#pragma unroll
            for (int c = 0; c < LANE_VECTORS; ++c)
                VSTORE(acc[r][c] * scale, m->s + (j + r) * LANES + c * VEC);
    }
}

/* What comes after the plain product, one vector of queries by one key at a time. Branches are
 * uniform. What reads or computes element by element goes lane by lane; ALiBi and ranges of keys
 * alone, the common case, as vectors. */
static inline void modify_tile(const struct mha_attention_kernel_args *a, const struct sequence *s,
                               local real *tile, int b, int h, int i0, int j0, int count,
                               global const float *slopes, global const uchar *bias,
                               global const uchar *mask) {
    const bool has_elements = a->flags & (FLAG_SOFTCAP | FLAG_BIAS | FLAG_MASK);
    for (int c = 0; c < LANES; c += VEC) {
        struct score_row row[VEC];
        real lo[VEC], hi[VEC], aligned[VEC];
#pragma unroll 1
        for (int e = 0; e < VEC; ++e) {
            /* Lanes beyond the last query repeat it: nothing out of bounds is read. */
            row[e] = get_score_row(a, s, b, h, min(i0 + c + e, s->q_len - 1), slopes);
            /* Counted from the tile: a float holds no position beyond 2^24. */
            lo[e] = clamp(row[e].keys.lo - j0, 0, count);
            hi[e] = clamp(row[e].keys.hi - j0, 0, count);
            aligned[e] = row[e].aligned - j0;
        }
        const realv lo_v = VLOAD(lo), hi_v = VLOAD(hi), aligned_v = VLOAD(aligned);
        const real slope = row[0].slope;
        for (int j = 0; j < count; ++j) {
            local real *p = tile + j * LANES + c;
            if (has_elements) {
#pragma unroll 1
                for (int e = 0; e < VEC; ++e)
                    p[e] = apply_masks(a, &row[e], bias, mask, j0 + j, apply_softcap(a, p[e]));
                continue;
            }
            const realv distance = aligned_v - (real)j;
            const realv x = VLOAD(p) - slope * (distance < 0 ? -distance : distance);
            VSTORE((realv)j < lo_v || (realv)j >= hi_v ? (realv)NEG_INF : x, p);
        }
    }
}

/* Online softmax of `count` keys: scores become exp(s - max); the running max and sum of the panel
 * move on; `correction` is what sums and outputs so far must be multiplied by. */
static inline void softmax_tile(local real *tile, int count, local real *row_max,
                                local real *row_sum, realv *correction) {
#pragma unroll
    for (int c = 0; c < LANE_VECTORS; ++c) {
        local real *column = tile + c * VEC;
        const realv old_max = VLOAD(row_max + c * VEC);
        /* A comparison that is false for NaN keeps the old maximum: the NaN then shows in exp. */
        realv new_max = old_max;
        for (int j = 0; j < count; ++j) {
            const realv x = VLOAD(column + j * LANES);
            new_max = x > new_max ? x : new_max;
        }
        const realv base = safe_max(new_max);
        realv sum = 0;
        for (int j = 0; j < count; ++j) {
            const realv p = exp_v(VLOAD(column + j * LANES) - base);
            VSTORE(p, column + j * LANES);
            sum += p;
        }
        /* exp(-inf - base) is 0: nothing was accumulated before. */
        correction[c] = exp_v(old_max - base);
        VSTORE(new_max, row_max + c * VEC);
        VSTORE(VLOAD(row_sum + c * VEC) * correction[c] + sum, row_sum + c * VEC);
    }
}

/* acc = acc * correction + V^T P^T over `count` keys. Where the tile of v holds a NaN or Inf, keys
 * of probability 0 are left out one by one: 0 * NaN would be NaN. */
static inline void pv_tile(local real *acc, local const real *v, int v_stride, local const real *p,
                           int count, const realv *correction, bool is_finite) {
    for (int d = 0; d < v_stride; d += MICRO_D, acc += MICRO_D * LANES) {
        realv sum[MICRO_D][LANE_VECTORS];
#pragma unroll
        for (int r = 0; r < MICRO_D; ++r)
#pragma unroll
            for (int c = 0; c < LANE_VECTORS; ++c)
                sum[r][c] = VLOAD(acc + r * LANES + c * VEC) * correction[c];
        if (is_finite) {
            for (int j = 0; j < count; ++j) {
                realv x[LANE_VECTORS];
#pragma unroll
                for (int c = 0; c < LANE_VECTORS; ++c)
                    x[c] = VLOAD(p + j * LANES + c * VEC);
#pragma unroll
                for (int r = 0; r < MICRO_D; ++r) {
                    const realv y = v[j * v_stride + d + r];
#pragma unroll
                    for (int c = 0; c < LANE_VECTORS; ++c)
                        sum[r][c] += y * x[c];
                }
            }
        } else {
            for (int j = 0; j < count; ++j)
                for (int c = 0; c < LANE_VECTORS; ++c) {
                    const realv x = VLOAD(p + j * LANES + c * VEC);
                    for (int r = 0; r < MICRO_D; ++r) {
                        const realv y = v[j * v_stride + d + r];
                        sum[r][c] = x == 0 ? sum[r][c] : sum[r][c] + y * x;
                    }
                }
        }
#pragma unroll
        for (int r = 0; r < MICRO_D; ++r)
#pragma unroll
            for (int c = 0; c < LANE_VECTORS; ++c)
                VSTORE(sum[r][c], acc + r * LANES + c * VEC);
    }
}

/* One panel of O^T as rows: `count` queries, each lane times its factor. The rows go to o, or as
 * reals to a split's scratch. */
static inline void store_panel(const struct mha_attention_kernel_args *a, local const real *acc,
                               const realv *factor, int d_stride, int count, global storage *o,
                               global real *scratch) {
    for (int c = 0; c < LANE_VECTORS; ++c)
        for (int d = 0; d < d_stride; d += VEC) {
            realv x[VEC];
#pragma unroll
            for (int r = 0; r < VEC; ++r)
                x[r] = VLOAD(acc + (d + r) * LANES + c * VEC) * factor[c];
            transpose(x);
            const int width = a->head_dim_v - d;
#pragma unroll 1
            for (int r = 0; r < VEC; ++r) {
                const int i = c * VEC + r;
                if (i >= count || width <= 0)
                    continue;
                if (!a->split_rows) {
                    store_v_part(x[r], o + i * a->o.stride_token + d, width);
                    continue;
                }
                real y[VEC];
                VSTORE(x[r], y);
#pragma unroll 1
                for (int e = 0; e < min(width, VEC); ++e)
                    scratch[(long)i * a->head_dim_v + d + e] = y[e];
            }
        }
}

kernel void panel(ATTENTION_BUFFERS, const struct mha_attention_kernel_args a,
                  local realv *memory) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const struct place at = get_place(&a, block, a.q_heads, a.blocks_q);
    const int b = at.b, h = at.h, split = at.part;
    const struct sequence s =
        get_sequence(&a, b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    const int i_begin = at.i * a.block_q, i_end = min(i_begin + a.block_q, s.q_len);
    if (i_begin >= i_end)
        return;
    const int h_kv = h / (a.q_heads / a.kv_heads);
    const real scale = AS_REAL(a.scale_bits);
    const bool has_terms = a.flags & (FLAG_SOFTCAP | FLAG_BIAS | FLAG_MASK | FLAG_ALIBI);
    const struct panel_memory m = carve(memory, &a);
    k += s.k + h_kv * a.k.stride_head;
    v += s.v + h_kv * a.v.stride_head;
    pack_q(&a, m.q, q + s.q + h * a.q.stride_head + i_begin * a.q.stride_token, i_end - i_begin,
           m.d_qk);
    for (int i = 0; i < a.block_q; i += VEC) {
        VSTORE((realv)NEG_INF, m.max + i);
        VSTORE((realv)0, m.sum + i);
    }
    for (int e = 0; e < a.block_q * m.d_v; e += VEC)
        VSTORE((realv)0, m.acc + e);

    /* Tiles begin at multiples of BLOCK_KV whatever the query: a row's sums are always formed in
     * the same order. */
    int j_begin = get_key_range(&a, &s, i_begin).lo, j_end = get_key_range(&a, &s, i_end - 1).hi;
    if (a.split_rows) {
        j_begin = max(j_begin, split * a.split_keys);
        j_end = min(j_end, (split + 1) * a.split_keys);
    }
    for (int tile = j_begin / a.block_kv * a.block_kv; tile < j_end; tile += a.block_kv) {
        const int first = max(tile, j_begin), last = min(tile + a.block_kv, j_end);
        const int row = (first - tile) / MICRO_KV * MICRO_KV; /* first row that is computed */
        const int rows = last - tile - row;
        copy_rows(m.k + row * m.d_qk, m.d_qk, k + (tile + row) * a.k.stride_token, a.k.stride_token,
                  rows, a.head_dim_qk);
        const bool is_finite =
            are_finite(copy_rows(m.v + row * m.d_v, m.d_v, v + (tile + row) * a.v.stride_token,
                                 a.v.stride_token, rows, a.head_dim_v));
        /* The last register tile reads whole: rows beyond the keys are zero, not garbage. */
        for (int e = (row + rows) * m.d_qk; e < round_up(row + rows, MICRO_KV) * m.d_qk; e += VEC)
            VSTORE((realv)0, m.k + e);
        for (int i = i_begin; i < i_end; i += LANES) {
            const int p = i - i_begin, i_last = min(i + LANES, i_end) - 1;
            const struct key_range of_first = get_key_range(&a, &s, i);
            const struct key_range of_last = get_key_range(&a, &s, i_last);
            /* Keys of this tile that any query of the panel sees, and that all of them see. */
            const int any_lo = max(of_first.lo, first), any_hi = min(of_last.hi, last);
            if (any_lo >= any_hi)
                continue;
            const int begin = (any_lo - tile) / MICRO_KV * MICRO_KV, count = any_hi - tile - begin;
            local real *scores = m.s + begin * LANES;
            realv correction[LANE_VECTORS];
            qk_tile(&m, m.q + p * m.d_qk, begin, count, a.head_dim_qk, scale);
            if (has_terms || of_last.lo > tile + begin || of_first.hi < any_hi ||
                first > tile + begin)
                modify_tile(&a, &s, scores, b, h, i, tile + begin, count, slopes, bias, mask);
            softmax_tile(scores, count, m.max + p, m.sum + p, correction);
            pv_tile(m.acc + p * m.d_v, m.v + begin * m.d_v, m.d_v, scores, count, correction,
                    is_finite);
        }
    }

    for (int i = i_begin; i < i_end; i += LANES) {
        const int p = i - i_begin, count = min(LANES, i_end - i);
        const long index = row_index(&a, &s, b, h, i);
        realv factor[LANE_VECTORS];
        for (int c = 0; c < LANE_VECTORS; ++c) {
            realv row_max = VLOAD(m.max + p + c * VEC), sum = VLOAD(m.sum + p + c * VEC);
            realv rescale = 1;
            if ((a.flags & FLAG_SINKS) && !a.split_rows) {
                const realv sink = (real)sinks[a.sinks_offset + h];
                const realv all = sink > row_max ? sink : row_max, base = safe_max(all);
                rescale = exp_v(row_max - base);
                sum = sum * rescale + exp_v(sink - base);
                row_max = all;
            }
            factor[c] = sum == 0 ? (realv)0 : rescale / sum;
            VSTORE(row_max, m.max + p + c * VEC);
            VSTORE(sum, m.sum + p + c * VEC);
        }
#pragma unroll 1
        for (int e = 0; e < count && (a.split_rows || (a.flags & FLAG_LSE)); ++e) {
            const real sum = m.sum[p + e];
            const real row_lse = sum == 0 ? NEG_INF : m.max[p + e] + log(sum);
            if (a.split_rows) {
                global real *part =
                    scratch + a.scratch_stats_offset + 2 * (split * a.split_rows + index + e);
                part[0] = m.max[p + e];
                part[1] = sum;
            } else
                lse[a.lse_offset + index + e] = (float)row_lse;
        }
        store_panel(&a, m.acc + p * m.d_v, factor, m.d_v, count,
                    o + s.o + h * a.o.stride_head + i * a.o.stride_token,
                    scratch + a.scratch_offset + (split * a.split_rows + index) * a.head_dim_v);
    }
}
