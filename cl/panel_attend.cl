/* Attention of a block of queries of one head, fused, for CPU-like devices: explicit vectors.
 *
 * The lanes of a vector are keys in QK^T and value dims in PV; a step of either product is vectors
 * of the tile of k or v times one element of each of MICRO_Q rows, broadcast. So k is transposed,
 * once per tile, and q, v, scores and o are used as rows, the way they lie in memory. There q and v
 * are read; only halves of q and what register tiles leave over of v are copied.
 *
 * Queries go in strips of MICRO_Q through the keys in tiles of BLOCK_KV: QK^T, softmax and PV of
 * one strip after the other, so that its scores stay in the first level cache. Register tiles:
 * MICRO_Q rows times LANE_VECTORS vectors of keys or MICRO_D vectors of value dims.
 *
 * Without bias and the like a row's softmax is that of plain products, and the scale a part of the
 * exponent: exp(scale (s - max)) = 2^(factor (s - max)). The difference comes first, since products
 * of some hundred thousand have no digits left behind the point.
 *
 * In: vectors.cl, softmax.cl, weighted_sums.cl, exp2.cl, panel_terms.cl. Out: attend(). */

#ifndef LANE_VECTORS
#define LANE_VECTORS 2
#endif
#define LEAST_FACTOR ((real)1e-30)
/* Largest scores and sums of a strip, a lane each. */
#define ROW_VECTORS ((MICRO_Q + VEC - 1) / VEC)
#define ROW_LANES (ROW_VECTORS * VEC)

/* Rows of q are read where they lie, unless they must be made reals first. */
#if IS_REAL
#define Q_SPACE global
#else
#define Q_SPACE local
#endif

/* Local memory, carved up; strides in reals. Mirrored by local_bytes() in variant_panel.c. */
struct panel_memory {
    local real *q;       /* [MICRO_Q][d_qk], of halves */
    local real *k;       /* [keys / VEC][d_qk][VEC] */
    local real *v;       /* [keys][V_STEP], the value dims beyond the last whole step */
    local real *s;       /* [MICRO_Q][keys] */
    local real *acc;     /* [BLOCK_Q][d_v] */
    local real *max;     /* [strips][ROW_LANES] */
    local real *sum;     /* [strips][ROW_LANES] */
    int d_qk, d_v, keys; /* rounded up so that whole vectors and register tiles fit */
};

static inline struct panel_memory carve(local realv *memory,
                                        const struct mha_attention_kernel_args *a) {
    struct panel_memory m;
    m.d_qk = round_up(a->head_dim_qk, VEC);
    m.d_v = round_up(a->head_dim_v, V_STEP);
    m.keys = round_up(a->block_kv, VEC);
    m.q = (local real *)memory;
    m.k = m.q + (IS_REAL ? 0 : MICRO_Q * m.d_qk);
    m.v = m.k + m.keys * m.d_qk;
    m.s = m.v + (a->head_dim_v % V_STEP ? m.keys * V_STEP : 0);
    m.acc = m.s + MICRO_Q * m.keys;
    m.max = m.acc + a->block_q * m.d_v;
    m.sum = m.max + a->block_q / MICRO_Q * ROW_LANES;
    return m;
}

/* ---- Tiles ----------------------------------------------------------------------------------- */

/* Rows of a strip of `count` queries, of which the last is repeated. */
static inline void get_q(Q_SPACE const real **row, local real *tile, int stride,
                         global const storage *q, long row_stride, int count, int dim) {
#pragma unroll
    for (int r = 0; r < MICRO_Q; ++r) {
        global const storage *from = q + min(r, count - 1) * row_stride;
#if IS_REAL
        row[r] = from;
#else
        for (int d = 0; d < stride; d += VEC)
            STORE_LOCAL(load_v_part(from + d, dim - d), tile + r * stride + d);
        row[r] = tile + r * stride;
#endif
    }
}

/* `count` keys as panels of [d][VEC], zero where there is no key. */
static inline void pack_k(local real *panel, int d_stride, global const storage *k, long row_stride,
                          int count, int dim) {
    for (int j = 0; j < count; j += VEC, panel += d_stride * VEC)
        for (int d = 0; d < d_stride; d += VEC) {
            global const storage *from = k + j * row_stride + d;
            realv x[VEC];
            if (j + VEC <= count && d + VEC <= dim) {
#pragma unroll
                for (int r = 0; r < VEC; ++r)
                    x[r] = load_v(from + r * row_stride);
            } else {
#pragma unroll 1
                for (int r = 0; r < VEC; ++r) {
                    x[r] = 0;
                    if (j + r < count)
                        x[r] = load_v_part(from + r * row_stride, dim - d);
                }
            }
            transpose(x);
#pragma unroll
            for (int r = 0; r < VEC; ++r)
                STORE_LOCAL(x[r], panel + (d + r) * VEC);
        }
}

/* The first `dim` elements, less than V_STEP, of `count` rows of v. */
static inline void copy_v(local real *tile, global const storage *v, long row_stride, int count,
                          int dim) {
    for (int j = 0; j < count; ++j)
#pragma unroll
        for (int d = 0; d < V_STEP; d += VEC)
            STORE_LOCAL(load_v_part(v + j * row_stride + d, dim - d), tile + j * V_STEP + d);
}

/* ---- A strip of MICRO_Q queries -------------------------------------------------------------- */

/* S of a strip and `vectors` vectors of keys from j on, a constant up to LANE_VECTORS; -inf for
 * keys outside of lo .. hi. And the largest of these scores of each row, lane by lane: a comparison
 * that is false for NaN keeps the number, the NaN then shows in the power. */
static inline ALWAYS_INLINE void multiply_keys(const struct panel_memory *m, Q_SPACE const real **q,
                                               int vectors, int j, int lo, int hi, int dim,
                                               real scale, realv lane, realv *most) {
    local const real *k = m->k + j * m->d_qk;
    realv sum[MICRO_Q][LANE_VECTORS], x[LANE_VECTORS];
#pragma unroll
    for (int r = 0; r < MICRO_Q; ++r)
#pragma unroll
        for (int c = 0; c < LANE_VECTORS; ++c)
            sum[r][c] = 0;
    for (int d = 0; d < dim; ++d) {
#pragma unroll
        for (int c = 0; c < LANE_VECTORS; ++c)
            if (c < vectors)
                x[c] = VLOAD(k + (c * m->d_qk + d) * VEC);
#pragma unroll
        for (int r = 0; r < MICRO_Q; ++r) {
            const realv y = q[r][d];
#pragma unroll
            for (int c = 0; c < LANE_VECTORS; ++c)
                if (c < vectors)
                    sum[r][c] += y * x[c];
        }
    }
    if (scale != 1) {
#pragma unroll
        for (int r = 0; r < MICRO_Q; ++r)
#pragma unroll
            for (int c = 0; c < LANE_VECTORS; ++c)
                sum[r][c] *= scale;
    }
#pragma unroll
    for (int c = 0; c < LANE_VECTORS; ++c)
        if (c < vectors) {
            const int first = j + c * VEC;
            if (first < lo || first + VEC > hi) {
                const intv is_out = (lane < (real)(lo - first)) | (lane >= (real)(hi - first));
#pragma unroll
                for (int r = 0; r < MICRO_Q; ++r)
                    sum[r][c] = is_out ? (realv)NEG_INF : sum[r][c];
            }
#pragma unroll
            for (int r = 0; r < MICRO_Q; ++r) {
                most[r] = sum[r][c] > most[r] ? sum[r][c] : most[r];
                STORE_LOCAL(sum[r][c], m->s + r * m->keys + first);
            }
        }
}

/* S of a strip and keys begin .. end, multiples of VEC, by multiply_keys(). */
static inline void multiply_qk(const struct panel_memory *m, Q_SPACE const real **q, int begin,
                               int end, int lo, int hi, int dim, real scale, realv lane,
                               realv *most) {
#pragma unroll
    for (int r = 0; r < ROW_LANES; ++r)
        most[r] = NEG_INF;
    /* MICRO_Q sums alone do not hide the latency of a multiply-add: of a single vector left over
     * and the tile before it, two narrower tiles. */
    const int left = (end - begin) / VEC;
    int wide = left / LANE_VECTORS;
    if (LANE_VECTORS > 2 && wide > 0 && left % LANE_VECTORS == 1)
        --wide;
    int j = begin;
    for (; wide > 0; --wide, j += LANE_VECTORS * VEC)
        multiply_keys(m, q, LANE_VECTORS, j, lo, hi, dim, scale, lane, most);
    for (; LANE_VECTORS > 3 && j + 3 * VEC <= end; j += 3 * VEC)
        multiply_keys(m, q, 3, j, lo, hi, dim, scale, lane, most);
    for (; LANE_VECTORS > 2 && j + 2 * VEC <= end; j += 2 * VEC)
        multiply_keys(m, q, 2, j, lo, hi, dim, scale, lane, most);
    for (; LANE_VECTORS > 1 && j < end; j += VEC)
        multiply_keys(m, q, 1, j, lo, hi, dim, scale, lane, most);
}

/* What multiply_qk() says of each row's largest score, of scores that were changed since. */
static inline void find_most(const struct panel_memory *m, int begin, int end, realv *most) {
#pragma unroll
    for (int r = 0; r < MICRO_Q; ++r) {
        most[r] = NEG_INF;
        for (int j = begin; j < end; j += VEC) {
            const realv x = VLOAD(m->s + r * m->keys + j);
            most[r] = x > most[r] ? x : most[r];
        }
    }
}

/* Online softmax of a strip and keys begin .. end: scores become 2^(factor (s - max)); the rows'
 * largest scores and sums move on; `correction` is what sums and outputs so far must be multiplied
 * by. `most` is used up. */
static inline void softmax_strip(const struct panel_memory *m, int begin, int end, real factor,
                                 realv *most, local real *row_max, local real *row_sum,
                                 real *correction) {
    realv x[ROW_LANES];
    real base[ROW_LANES];
#pragma unroll
    for (int g = 0; g < ROW_LANES; g += VEC) {
        const realv old_max = VLOAD(row_max + g), largest = reduce_lanes(most + g, true);
        const realv new_max = largest > old_max ? largest : old_max;
        VSTORE(safe_max(new_max), base + g);
        STORE_LOCAL(new_max, row_max + g);
        /* e^(-inf - base) is 0: nothing was accumulated before. */
        VSTORE(exp_v((old_max - safe_max(new_max)) * (factor * LN_2)), correction + g);
    }
#pragma unroll
    for (int r = 0; r < ROW_LANES; ++r)
        x[r] = 0;
#pragma unroll
    for (int r = 0; r < MICRO_Q; r += EXP2_ABREAST)
        for (int j = begin; j < end; j += VEC) {
            local real *s = m->s + r * m->keys + j;
            realv p[EXP2_ABREAST];
#pragma unroll
            for (int i = 0; i < EXP2_ABREAST; ++i)
                p[i] = (VLOAD(s + i * m->keys) - base[r + i]) * factor;
            exp2_vectors(p);
#pragma unroll
            for (int i = 0; i < EXP2_ABREAST; ++i) {
                STORE_LOCAL(p[i], s + i * m->keys);
                x[r + i] += p[i];
            }
        }
#pragma unroll
    for (int g = 0; g < ROW_LANES; g += VEC)
        STORE_LOCAL(VLOAD(row_sum + g) * VLOAD(correction + g) + reduce_lanes(x + g, false),
                    row_sum + g);
}

/* A row of weights: exponentials begin .. end, which are multiples of VEC, times the factor, and 0
 * for all other keys. A masked key keeps its 0 also in a row of NaN. */
static inline void write_weights(global real *out, int seqlen_kv, local const real *p, real factor,
                                 int begin, int end) {
    for (int j = 0; j < seqlen_kv; j += VEC) {
        realv x = 0;
        if (j >= begin && j < end)
            x = VLOAD(p + j);
        x = x == 0 ? x : x * factor;
        if (j + VEC <= seqlen_kv) {
            VSTORE(x, out + j);
            continue;
        }
        real rest[VEC];
        VSTORE(x, rest);
        for (int e = 0; j + e < seqlen_kv; ++e)
            out[j + e] = rest[e];
    }
}

/* MICRO_Q queries of one head, and what became of their keys. */
struct strip {
    int b, h, split, i, count;
    int begin, end;  /* keys of the tile whose scores, then exponentials, are in m.s */
    local real *max; /* [ROW_LANES] */
    local real *sum; /* [ROW_LANES] */
    local real *acc; /* [MICRO_Q][d_v] */
};

/* Bias and the like of a strip's scores, if it has_terms, and -inf where a row does not see what
 * another does: keys any_lo .. any_hi of the tile. */
static inline void modify_strip(const struct mha_attention_kernel_args *a, const struct sequence *s,
                                const struct panel_memory *m, const struct strip *strip, int tile,
                                int any_lo, int any_hi, bool has_terms, realv lane,
                                global const float *slopes, global const uchar *bias,
                                global const uchar *mask) {
    for (int r = 0; r < MICRO_Q; ++r) {
        /* Rows beyond the last query repeat it: nothing out of bounds is read. */
        const int i = strip->i + min(r, strip->count - 1);
        local real *scores = m->s + r * m->keys;
        const struct key_range keys = get_key_range(a, s, i);
        const int lo = clamp(keys.lo - tile, any_lo, any_hi);
        const int hi = clamp(keys.hi - tile, lo, any_hi);
        if (has_terms) {
            const struct score_row row = get_score_row(a, s, strip->b, strip->h, i, slopes);
            modify_row(a, &row, scores, lane, tile, lo, hi, count_readable(a, s, i) - tile, bias,
                       mask);
        }
        hide_keys(scores, lane, strip->begin, lo, hi, strip->end);
    }
}

/* Rows of o, and of the LSE and the weights if they are asked for: of one tile of keys then. Or
 * their parts. */
static inline void write_rows(const struct mha_attention_kernel_args *a, const struct sequence *s,
                              const struct panel_memory *m, const struct strip *strip, real unit,
                              global const float *sinks, global storage *o, global float *lse,
                              global real *scores, global real *scratch) {
    real factor[ROW_LANES];
#pragma unroll
    for (int g = 0; g < ROW_LANES; g += VEC) {
        const realv sum = VLOAD(strip->sum + g);
        VSTORE(sum == 0 ? (realv)0 : 1 / sum, factor + g);
    }
    for (int r = 0; r < strip->count; ++r) {
        const long index = row_index(a, s, strip->b, strip->h, strip->i + r);
        const real row_max = strip->max[r] * unit, sum = strip->sum[r];
        if (a->split_rows) {
            write_part(a, strip->split, index, strip->acc + r * m->d_v, row_max, sum, scratch);
            continue;
        }
        if (a->flags & (FLAG_SINKS | FLAG_LSE)) {
            const struct row_end end = end_row(a, row_max, sum, strip->h, sinks);
            if (a->flags & FLAG_SINKS)
                factor[r] = end.factor;
            if (a->flags & FLAG_LSE)
                lse[a->lse_offset + index] = get_lse(end.max, end.sum);
        }
        if (a->flags & FLAG_SCORES)
            write_weights(scores + a->scores_offset + index * a->seqlen_kv, a->seqlen_kv,
                          m->s + r * m->keys, factor[r], strip->begin, strip->end);
        global storage *out = o + r * a->o.stride_token;
        /* Without a key nothing was accumulated. */
        for (int d = 0; d < a->head_dim_v; d += VEC)
            store_v_part(sum == 0 ? (realv)0 : VLOAD(strip->acc + r * m->d_v + d) * factor[r],
                         out + d, a->head_dim_v - d);
    }
}

/* ---- A block of queries ---------------------------------------------------------------------- */

/* Block at->i of head at->h of batch entry at->b, which is *s; with a->split_rows part at->part of
 * its keys. Out: o, lse, weights; or partial results for combine.cl. */
static inline void attend(const struct mha_attention_kernel_args *a, const struct sequence *s,
                          const struct place *at, global const storage *restrict q,
                          global const storage *restrict k, global const storage *restrict v,
                          global storage *restrict o, global const uchar *restrict bias,
                          global const uchar *restrict mask, global const float *restrict slopes,
                          global const float *restrict sinks, global float *restrict lse,
                          global real *restrict scores, global real *restrict scratch,
                          local realv *memory) {
    const int b = at->b, h = at->h, split = at->part;
    const int i_begin = at->i * a->block_q, i_end = min(i_begin + a->block_q, s->q_len);
    if (i_begin >= i_end)
        return;
    const int h_kv = h / (a->q_heads / a->kv_heads);
    const real scale = AS_REAL(a->scale_bits);
    /* A scale that is negative, or so small that it may make a 0 of -inf, is a term like a bias. */
    const bool has_terms = a->flags & (FLAG_SOFTCAP | FLAG_BIAS | FLAG_MASK | FLAG_ALIBI) ||
                           !(scale > LEAST_FACTOR && scale < 1 / LEAST_FACTOR);
    const real unit = has_terms ? (real)1 : scale; /* of scores */
    /* Of whole rows, which lie side by side, a CPU foresees the next. */
    const bool fetches_terms = a->flags & (FLAG_BIAS | FLAG_MASK) && a->block_kv < a->seqlen_kv;
    const struct panel_memory m = carve(memory, a);
    const realv lane = number_lanes();
    q += s->q + h * a->q.stride_head;
    k += s->k + h_kv * a->k.stride_head;
    v += s->v + h_kv * a->v.stride_head;
    o += s->o + h * a->o.stride_head;
    const int strips = (i_end - i_begin + MICRO_Q - 1) / MICRO_Q;
    for (int i = 0; i < strips * ROW_LANES; i += VEC) {
        STORE_LOCAL((realv)NEG_INF, m.max + i);
        STORE_LOCAL((realv)0, m.sum + i);
    }

    /* Tiles begin at multiples of BLOCK_KV whatever the query: a row's sums are always formed in
     * the same order. */
    int j_begin = get_key_range(a, s, i_begin).lo, j_end = get_key_range(a, s, i_end - 1).hi;
    if (a->split_rows) {
        j_begin = max(j_begin, split * a->split_keys);
        j_end = min(j_end, (split + 1) * a->split_keys);
    }
    int tile = j_begin / a->block_kv * a->block_kv;
    bool is_last;
    do { /* once also without a key: rows of zeros */
        const int first = max(tile, j_begin) - tile, last = min(tile + a->block_kv, j_end) - tile;
        const int row = first / VEC * VEC; /* first row that is computed */
        is_last = tile + a->block_kv >= j_end;
        pack_k(m.k + row * m.d_qk, m.d_qk, k + (tile + row) * a->k.stride_token, a->k.stride_token,
               last - row, a->head_dim_qk);
        const int whole = a->head_dim_v / V_STEP * V_STEP;
        if (whole < a->head_dim_v)
            copy_v(m.v + row * V_STEP, v + (tile + row) * a->v.stride_token + whole,
                   a->v.stride_token, last - row, a->head_dim_v - whole);
        for (int p = 0; p < strips; ++p) {
            const int i = i_begin + p * MICRO_Q, i_last = min(i + MICRO_Q, i_end) - 1;
            const struct key_range top = get_key_range(a, s, i);
            const struct key_range bottom = get_key_range(a, s, i_last);
            /* Keys of this tile that any query of the strip sees. */
            const int any_lo = max(top.lo - tile, first), any_hi = min(bottom.hi - tile, last);
            struct strip strip = {.b = b,
                                  .h = h,
                                  .split = split,
                                  .i = i,
                                  .count = i_last + 1 - i,
                                  .max = m.max + p * ROW_LANES,
                                  .sum = m.sum + p * ROW_LANES,
                                  .acc = m.acc + p * MICRO_Q * m.d_v};
            if (any_lo < any_hi) {
                const int begin = any_lo / VEC * VEC, end = round_up(any_hi, VEC);
                /* Otherwise all rows see the same keys. */
                const bool is_cut = bottom.lo > tile + any_lo || top.hi < tile + any_hi;
                Q_SPACE const real *rows[MICRO_Q];
                real correction[ROW_LANES];
                realv most[ROW_LANES];
                for (int r = 0; fetches_terms && r < strip.count; ++r) {
                    const struct score_row score = get_score_row(a, s, b, h, i + r, slopes);
                    fetch_terms(a, &score, tile + any_lo, tile + any_hi, bias, mask);
                }
                get_q(rows, m.q, m.d_qk, q + i * a->q.stride_token, a->q.stride_token, strip.count,
                      a->head_dim_qk);
                multiply_qk(&m, rows, begin, end, any_lo, any_hi, a->head_dim_qk,
                            has_terms ? scale : 1, lane, most);
                strip.begin = begin;
                strip.end = end;
                if (has_terms || is_cut) {
                    modify_strip(a, s, &m, &strip, tile, any_lo, any_hi, has_terms, lane, slopes,
                                 bias, mask);
                    find_most(&m, begin, end, most);
                }
                softmax_strip(&m, begin, end, LOG2_E * unit, most, strip.max, strip.sum,
                              correction);
                const struct weighted_sums sums = {.p = m.s,
                                                   .p_stride = m.keys,
                                                   .acc = strip.acc,
                                                   .acc_stride = m.d_v,
                                                   .has_acc = tile > max(top.lo, j_begin),
                                                   .correction = correction};
                multiply_pv(&sums, v + tile * a->v.stride_token, a->v.stride_token, a->head_dim_v,
                            m.v, any_lo, any_hi);
            }
            if (is_last)
                write_rows(a, s, &m, &strip, unit, sinks, o + i * a->o.stride_token, lse, scores,
                           scratch);
        }
        tile += a->block_kv;
    } while (!is_last);
}
