/* Staged path, second: each row of S becomes a row of P, in place. A work-group takes a row.
 *
 * In: staged.cl, softmax.cl; S. Out: P, zero beyond the key length; lse; what lies beyond the key
 * length in the scores of another stage. Grid: chunk_pairs * seqlen_q work-groups. */

/* The largest, or the sum, of every work-item's x. Barriers: before them all have read what the
 * last reduction left in `shared`; after them it holds this one's. */
static inline real reduce(real x, bool is_max, local real *shared) {
    if (WORK_GROUP == 1)
        return x;
    const int own = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    shared[own] = x;
    for (int step = WORK_GROUP / 2; step > 0; step /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (own < step)
            shared[own] =
                is_max ? fmax(shared[own], shared[own + step]) : shared[own] + shared[own + step];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return shared[0];
}

kernel void softmax_rows(ATTENTION_BUFFERS, const struct mha_attention_kernel_args a) {
    local real shared[WORK_GROUP];
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const struct place at = get_place(&a, a.first_pair * a.seqlen_q + block, a.q_heads, a.seqlen_q);
    const int b = at.b, h = at.h, i = at.i, pair = (int)(block / a.seqlen_q);
    const struct sequence s =
        get_sequence(&a, b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    if (i >= s.q_len)
        return;
    const int step = WORK_GROUP * VEC, first = get_local_id(0) * VEC;
    global real *row = probability_row(&a, &s, pair, b, h, i, scores, scratch);
    const long index = row_index(&a, &s, b, h, i);
    const bool has_tail = first == s.kv_len / VEC * VEC % step; /* this item's are the last keys */
    const int tail = s.kv_len / VEC * VEC;

    real row_max = a.flags & FLAG_SINKS ? (real)sinks[a.sinks_offset + h] : NEG_INF;
    const real sink = row_max;
    for (int j = first; j + VEC <= s.kv_len; j += step) {
        real y[VEC];
        VSTORE(VLOAD(row + j), y);
        for (int e = 0; e < VEC; ++e)
            row_max = fmax(row_max, y[e]);
    }
    for (int j = tail; has_tail && j < s.kv_len; ++j)
        row_max = fmax(row_max, row[j]);
    row_max = reduce(row_max, true, shared);
    const real base = row_max == NEG_INF ? (real)0 : row_max;

    realv sums = 0;
    for (int j = first; j + VEC <= s.kv_len; j += step) {
        const realv p = exp_v(VLOAD(row + j) - base);
        VSTORE(p, row + j);
        sums += p;
    }
    real y[VEC], sum = 0;
    VSTORE(sums, y);
    for (int e = 0; e < VEC; ++e)
        sum += y[e];
    for (int j = tail; has_tail && j < s.kv_len; ++j) {
        row[j] = exp(row[j] - base);
        sum += row[j];
    }
    sum = reduce(sum, false, shared) + exp(sink - base);

    const real factor = sum == 0 ? (real)0 : 1 / sum;
    for (int j = first; j + VEC <= s.kv_len; j += step) {
        const realv p = VLOAD(row + j);
        /* A masked key keeps its zero also in a row of NaN. */
        VSTORE(p == 0 ? p : p * factor, row + j);
    }
    for (int j = tail; has_tail && j < s.kv_len; ++j)
        row[j] = row[j] == 0 ? (real)0 : row[j] * factor;
    if (a.flags & FLAG_SCORES) {
        const bool is_weights = a.scores_stage == STAGE_WEIGHTS;
        global real *out = scores + a.scores_offset + index * a.seqlen_kv;
        for (int j = s.kv_len + (int)get_local_id(0); j < a.seqlen_kv; j += WORK_GROUP)
            out[j] = is_weights ? (real)0 : NEG_INF;
    }
    if ((a.flags & FLAG_LSE) && get_local_id(0) == 0)
        lse[a.lse_offset + index] = get_lse(base, sum);
}
