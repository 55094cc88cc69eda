/* Staged path, first: scores. A work-item computes BLOCK_Q x BLOCK_KV dot products, vectors along
 * the head dimension.
 *
 * In: staged.cl. Out: S as far as the key length, masked -inf; and the scores at the stage asked
 * for. Grid: one work-item per tile. */

static inline real sum_lanes(realv x) {
    real y[VEC];
    VSTORE(x, y);
    real sum = 0;
    for (int e = 0; e < VEC; ++e)
        sum += y[e];
    return sum;
}

kernel void qk(ATTENTION_BUFFERS, const struct mha_attention_kernel_args a) {
    if (get_group_id(0) + a.first_block >= a.blocks)
        return;
    const long per_row = (a.seqlen_kv + BLOCK_KV - 1) / BLOCK_KV;
    const struct staged_tile t =
        get_tile(&a, a.first_block * WORK_GROUP + get_global_id(0), max(per_row, 1L));
    if (t.pair >= a.chunk_pairs)
        return;
    const struct sequence s =
        get_sequence(&a, t.b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    const int j0 = (int)t.rest * BLOCK_KV;
    if (t.i >= s.q_len || j0 >= s.kv_len)
        return;
    q += s.q + t.h * a.q.stride_head;
    k += s.k + t.h / (a.q_heads / a.kv_heads) * a.k.stride_head;

    /* Rows beyond the end repeat the last one: nothing out of bounds is read. */
    long q_row[BLOCK_Q], k_row[BLOCK_KV];
    realv acc[BLOCK_Q][BLOCK_KV];
#pragma unroll
    for (int r = 0; r < BLOCK_Q; ++r)
        q_row[r] = min(t.i + r, s.q_len - 1) * a.q.stride_token;
#pragma unroll
    for (int c = 0; c < BLOCK_KV; ++c)
        k_row[c] = min(j0 + c, s.kv_len - 1) * a.k.stride_token;
#pragma unroll
    for (int r = 0; r < BLOCK_Q; ++r)
#pragma unroll
        for (int c = 0; c < BLOCK_KV; ++c)
            acc[r][c] = 0;
    int d = 0;
    for (; d + VEC <= a.head_dim_qk; d += VEC) {
        realv x[BLOCK_Q];
#pragma unroll
        for (int r = 0; r < BLOCK_Q; ++r)
            x[r] = load_v(q + q_row[r] + d);
#pragma unroll
        for (int c = 0; c < BLOCK_KV; ++c) {
            const realv y = load_v(k + k_row[c] + d);
#pragma unroll
            for (int r = 0; r < BLOCK_Q; ++r)
                acc[r][c] += x[r] * y;
        }
    }

    /* Unrolled, with the bounds inside: an accumulator indexed at run time would be memory. */
#pragma unroll
    for (int r = 0; r < BLOCK_Q; ++r) {
        global real *out = probability_row(&a, &s, t.pair, t.b, t.h, t.i + r, scores, scratch) + j0;
#pragma unroll
        for (int c = 0; c < BLOCK_KV; ++c)
            if (t.i + r < s.q_len && j0 + c < s.kv_len)
                out[c] = sum_lanes(acc[r][c]);
    }
    /* Rolled: the rest of the head dimension, and all features, once and not per accumulator. */
#pragma unroll 1
    for (int e = 0; e < BLOCK_Q * BLOCK_KV; ++e) {
        const int i = t.i + e / BLOCK_KV, j = j0 + e % BLOCK_KV;
        if (i >= s.q_len || j >= s.kv_len)
            continue;
        const struct score_row row = get_score_row(&a, &s, t.b, t.h, i, slopes);
        global real *out = probability_row(&a, &s, t.pair, t.b, t.h, i, scores, scratch) + j;
        real sum = *out;
        for (int rest = d; rest < a.head_dim_qk; ++rest)
            sum += load(q + i * a.q.stride_token + rest) * load(k + j * a.k.stride_token + rest);
        const real scaled = sum * AS_REAL(a.scale_bits);
        const real capped = apply_softcap(&a, scaled);
        const real masked = apply_masks(&a, &row, bias, mask, j, capped);
        *out = masked;
        if ((a.flags & FLAG_SCORES) && a.scores_stage != STAGE_WEIGHTS)
            scores[a.scores_offset + row_index(&a, &s, t.b, t.h, i) * a.seqlen_kv + j] =
                a.scores_stage == STAGE_SCALED    ? scaled
                : a.scores_stage == STAGE_SOFTCAP ? capped
                                                  : masked;
    }
}
