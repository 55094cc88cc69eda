/* Fused attention of few queries for CPU-like devices: work-group size 1, explicit vectors.
 *
 * The lanes of a vector are head dims: k and v are read once, as they lie, and nothing is copied.
 * A work-item takes one head of k and v with BLOCK_Q of the rows that use it - the queries of all
 * heads of its group - through the keys in tiles of BLOCK_KV: scores of all rows, softmax, weighted
 * sums of v. Register tiles: MICRO_Q rows times MICRO_KV keys (QK^T) or MICRO_D vectors of value
 * dims (PV).
 *
 * In: vectors.cl, mask.cl, softmax.cl, weighted_sums.cl; HEAD_DIM_QK. Out: o and lse; with
 * a.split_rows partial results for combine.cl. Grid: splits * batch * kv_heads * blocks_q
 * work-groups of one work-item. */

#ifndef MICRO_KV
#define MICRO_KV 1
#endif
#ifndef HEAD_DIM_QK
#define HEAD_DIM_QK 64
#endif
#define WHOLE_QK (HEAD_DIM_QK / VEC * VEC)
/* Steps of QK^T, which is rolled only for longer heads. */
#define QK_UNROLL 16

/* Local memory, carved up; strides in reals. Mirrored by local_bytes() in variant_decode.c. */
struct decode_memory {
    local real *q;       /* [rows][d_qk]; rows: BLOCK_Q, rounded up to MICRO_Q */
    local real *s;       /* [rows][keys] */
    local real *acc;     /* [rows][d_v] */
    local real *max;     /* [rows] */
    local real *sum;     /* [rows] */
    int d_qk, d_v, keys; /* rounded up so that whole vectors fit */
};

static inline struct decode_memory carve(local realv *memory,
                                         const struct mha_attention_kernel_args *a) {
    struct decode_memory m;
    const int rows = round_up(a->block_q, MICRO_Q);
    m.d_qk = round_up(HEAD_DIM_QK, VEC);
    m.d_v = round_up(a->head_dim_v, VEC);
    m.keys = round_up(a->block_kv, VEC);
    m.q = (local real *)memory;
    m.s = m.q + rows * m.d_qk;
    m.acc = m.s + rows * m.keys;
    m.max = m.acc + rows * m.d_v;
    m.sum = m.max + rows;
    return m;
}

/* Row r of a group of heads: the queries of its first head, then those of the second. */
struct row_place {
    int h, i;
};

static inline struct row_place get_row(const struct mha_attention_kernel_args *a,
                                       const struct sequence *s, int h_kv, int r) {
    const struct row_place row = {h_kv * (a->q_heads / a->kv_heads) + r / s->q_len, r % s->q_len};
    return row;
}

/* Scores of MICRO_Q rows and VEC keys, scaled; those beyond the last key repeat it. The rows of q
 * stay in registers where there are enough. The first fetched_dim value dims of the keys' rows of v
 * are asked for meanwhile. */
static inline void score_keys(local const real *q, int q_stride, global const storage *k,
                              long stride, int count, real scale, local real *scores,
                              int score_stride, global const storage *v, long v_stride,
                              int fetched_dim) {
    realv x[MICRO_Q][VEC];
#pragma unroll 1
    for (int e = 0; e < VEC; e += MICRO_KV) {
        global const storage *key[MICRO_KV];
        realv sum[MICRO_Q][MICRO_KV];
#pragma unroll
        for (int i = 0; i < MICRO_KV; ++i) {
            key[i] = k + min(e + i, count - 1) * stride;
            fetch_row(v + min(e + i, count - 1) * v_stride, fetched_dim);
#pragma unroll
            for (int r = 0; r < MICRO_Q; ++r)
                sum[r][i] = 0;
        }
#pragma unroll QK_UNROLL
        for (int d = 0; d < WHOLE_QK; d += VEC)
#pragma unroll
            for (int i = 0; i < MICRO_KV; ++i) {
                const realv y = load_v(key[i] + d);
#pragma unroll
                for (int r = 0; r < MICRO_Q; ++r)
                    sum[r][i] += y * VLOAD(q + r * q_stride + d);
            }
        if (WHOLE_QK < HEAD_DIM_QK) {
#pragma unroll
            for (int i = 0; i < MICRO_KV; ++i) {
                const realv y = load_v_part(key[i] + WHOLE_QK, HEAD_DIM_QK - WHOLE_QK);
#pragma unroll
                for (int r = 0; r < MICRO_Q; ++r)
                    sum[r][i] += y * VLOAD(q + r * q_stride + WHOLE_QK);
            }
        }
#pragma unroll
        for (int r = 0; r < MICRO_Q; ++r)
#pragma unroll
            for (int i = 0; i < MICRO_KV; ++i)
                x[r][e + i] = sum[r][i];
    }
#pragma unroll
    for (int r = 0; r < MICRO_Q; ++r)
        STORE_LOCAL(reduce_lanes(x[r], false) * scale, scores + r * score_stride);
}

/* What comes after the plain product, on scores of keys j0 + lo .. j0 + hi. */
static inline void modify_scores(const struct mha_attention_kernel_args *a,
                                 const struct score_row *row, local real *scores, int j0, int lo,
                                 int hi, global const uchar *bias, global const uchar *mask) {
#pragma unroll 1
    for (int j = lo; j < hi; ++j)
        scores[j] = apply_masks(a, row, bias, mask, j0 + j, apply_softcap(a, scores[j]));
}

/* Online softmax of whole vectors of scores, which become exp(s - max); the row's max and sum move
 * on; returns what sums and outputs so far must be multiplied by. */
static inline real softmax_row(local real *scores, int count, local real *row_max,
                               local real *row_sum) {
    realv most = NEG_INF, total = 0;
    real lanes[VEC];
    const real old_max = *row_max;
    real new_max = old_max, sum = 0;
    /* A comparison that is false for NaN keeps the maximum: the NaN then shows in exp. */
    for (int j = 0; j < count; j += VEC) {
        const realv x = VLOAD(scores + j);
        most = x > most ? x : most;
    }
    VSTORE(most, lanes);
    for (int e = 0; e < VEC; ++e)
        new_max = lanes[e] > new_max ? lanes[e] : new_max;
    const realv base = safe_max((realv)new_max);
    for (int j = 0; j < count; j += VEC) {
        const realv p = exp_v(VLOAD(scores + j) - base);
        STORE_LOCAL(p, scores + j);
        total += p;
    }
    VSTORE(total, lanes);
    for (int e = 0; e < VEC; ++e)
        sum += lanes[e];
    VSTORE(exp_v((realv)old_max - base), lanes);
    *row_max = new_max;
    *row_sum = *row_sum * lanes[0] + sum;
    return lanes[0];
}

kernel void decode(ATTENTION_BUFFERS, const struct mha_attention_kernel_args a,
                   local realv *memory) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const struct place at = get_place(&a, block, a.kv_heads, a.blocks_q);
    const int b = at.b, h_kv = at.h, split = at.part;
    const struct sequence s =
        get_sequence(&a, b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    const int first_row = at.i * a.block_q;
    const int rows = min(a.block_q, a.q_heads / a.kv_heads * s.q_len - first_row);
    if (rows <= 0)
        return;
    const real scale = AS_REAL(a.scale_bits);
    const bool has_terms = a.flags & (FLAG_SOFTCAP | FLAG_BIAS | FLAG_MASK | FLAG_ALIBI);
#if DTYPE == DTYPE_F16 && IS_PREFETCH_ONE_INSTRUCTION
    const bool fetches = a.flags & FLAG_FETCH;
#else
    const bool fetches = false;
#endif
    const struct decode_memory m = carve(memory, &a);
    k += s.k + h_kv * a.k.stride_head;
    v += s.v + h_kv * a.v.stride_head;
    int j_begin = s.kv_len, j_end = 0;
    for (int r = 0; r < round_up(rows, MICRO_Q); ++r) {
        const struct row_place row = get_row(&a, &s, h_kv, first_row + min(r, rows - 1));
        const struct key_range range = get_key_range(&a, &s, row.i);
        global const storage *from = q + s.q + row.h * a.q.stride_head + row.i * a.q.stride_token;
        for (int d = 0; d < m.d_qk; d += VEC)
            STORE_LOCAL(load_v_part(from + d, HEAD_DIM_QK - d), m.q + r * m.d_qk + d);
        for (int d = 0; d < m.d_v; d += VEC)
            STORE_LOCAL((realv)0, m.acc + r * m.d_v + d);
        m.max[r] = NEG_INF;
        m.sum[r] = 0;
        j_begin = min(j_begin, range.lo);
        j_end = max(j_end, range.hi);
    }
    if (a.split_rows) {
        j_begin = max(j_begin, split * a.split_keys);
        j_end = min(j_end, (split + 1) * a.split_keys);
    }
    /* Tiles begin at multiples of BLOCK_KV whatever the query: a row's sums are always formed in
     * the same order. */
    for (int tile = j_begin / a.block_kv * a.block_kv; tile < j_end; tile += a.block_kv) {
        const int first = max(tile, j_begin) - tile, last = min(tile + a.block_kv, j_end) - tile;
        const int begin = first / VEC * VEC, end = round_up(last, VEC);
        for (int j = begin; j < last; j += VEC)
            for (int r = 0; r < rows; r += MICRO_Q)
                score_keys(m.q + r * m.d_qk, m.d_qk, k + (tile + j) * a.k.stride_token,
                           a.k.stride_token, last - j, scale, m.s + r * m.keys + j, m.keys,
                           v + (tile + j) * a.v.stride_token, a.v.stride_token,
                           fetches && r == 0 ? a.head_dim_v : 0);
        const int next = tile + a.block_kv;
        for (int r0 = 0; r0 < rows; r0 += MICRO_Q) {
            real correction[MICRO_Q];
            int any_lo = last, any_hi = first;
            for (int r = 0; r < MICRO_Q; ++r) {
                /* Rows beyond the last repeat it: what comes of them is not stored. */
                const struct row_place row =
                    get_row(&a, &s, h_kv, first_row + min(r0 + r, rows - 1));
                const struct score_row score = get_score_row(&a, &s, b, row.h, row.i, slopes);
                const int lo = clamp(score.keys.lo - tile, first, last);
                const int hi = clamp(score.keys.hi - tile, lo, last);
                local real *scores = m.s + (r0 + r) * m.keys;
                if (has_terms)
                    modify_scores(&a, &score, scores, tile, lo, hi, bias, mask);
                for (int j = begin; j < lo; ++j)
                    scores[j] = NEG_INF;
                for (int j = hi; j < end; ++j)
                    scores[j] = NEG_INF;
                correction[r] =
                    softmax_row(scores + begin, end - begin, m.max + r0 + r, m.sum + r0 + r);
                any_lo = min(any_lo, lo);
                any_hi = max(any_hi, hi);
            }
            const struct weighted_sums sums = {.p = m.s + r0 * m.keys,
                                               .p_stride = m.keys,
                                               .acc = m.acc + r0 * m.d_v,
                                               .acc_stride = m.d_v,
                                               .has_acc = true,
                                               .correction = correction,
                                               .next = k + next * a.k.stride_token,
                                               .next_stride = a.k.stride_token,
                                               .next_dim = HEAD_DIM_QK,
                                               .next_count = fetches && r0 == 0 ? j_end - next : 0};
            multiply_pv(&sums, v + tile * a.v.stride_token, a.v.stride_token, a.head_dim_v, 0,
                        any_lo, any_hi);
        }
    }

    for (int r = 0; r < rows; ++r) {
        const struct row_place row = get_row(&a, &s, h_kv, first_row + r);
        const long index = row_index(&a, &s, b, row.h, row.i);
        local const real *acc = m.acc + r * m.d_v;
        const real row_max = m.max[r], sum = m.sum[r];
        if (a.split_rows) {
            write_part(&a, split, index, acc, row_max, sum, scratch);
            continue;
        }
        const struct row_end end = end_row(&a, row_max, sum, row.h, sinks);
        if (a.flags & FLAG_LSE)
            lse[a.lse_offset + index] = get_lse(end.max, end.sum);
        global storage *out = o + s.o + row.h * a.o.stride_head + row.i * a.o.stride_token;
        for (int d = 0; d < a.head_dim_v; d += VEC)
            store_v_part(VLOAD(acc + d) * end.factor, out + d, a.head_dim_v - d);
    }
}
