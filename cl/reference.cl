/* The plain computation, one work-item per query row: no local memory, no vectors, sizes at run
 * time. It runs everywhere and is what every other kernel is checked against on the device.
 *
 * In: mask.cl. Out: o, and lse and scores where asked for. Grid: batch * q_heads * seqlen_q
 * work-groups of one work-item. */

/* Values of v accumulated in one pass over the keys; scores are computed anew for each pass. */
#define REFERENCE_CHUNK 16

static inline real scaled_score(const struct mha_attention_kernel_args *a, global const storage *q,
                                global const storage *k) {
    real sum = 0;
    for (int d = 0; d < a->head_dim_qk; ++d)
        sum += load(q + d) * load(k + d);
    return sum * AS_REAL(a->scale_bits);
}

kernel void reference(ATTENTION_BUFFERS, const struct mha_attention_kernel_args a) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const struct place at = get_place(&a, block, a.q_heads, a.seqlen_q);
    const int b = at.b, h = at.h, i = at.i;
    const struct sequence s =
        get_sequence(&a, b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    if (i >= s.q_len)
        return;
    const int h_kv = h / (a.q_heads / a.kv_heads);
    const struct score_row row = get_score_row(&a, &s, b, h, i, slopes);
    const long index = row_index(&a, &s, b, h, i);
    q += s.q + h * a.q.stride_head + i * a.q.stride_token;
    o += s.o + h * a.o.stride_head + i * a.o.stride_token;
    k += s.k + h_kv * a.k.stride_head;
    v += s.v + h_kv * a.v.stride_head;
#define MASKED_SCORE(j)                                                                            \
    apply_masks(&a, &row, bias, mask, j,                                                           \
                apply_softcap(&a, scaled_score(&a, q, k + (j)*a.k.stride_token)))

    real row_max = NEG_INF;
    bool has_nan = false;
    for (int j = row.keys.lo; j < row.keys.hi; ++j) {
        const real score = MASKED_SCORE(j);
        has_nan |= isnan(score);
        row_max = fmax(row_max, score);
    }
    real sink = NEG_INF;
    if (a.flags & FLAG_SINKS)
        sink = sinks[a.sinks_offset + h];
    row_max = has_nan ? (real)NAN : fmax(row_max, sink);
    real sum = sink == NEG_INF ? (real)0 : exp(sink - row_max);
    for (int j = row.keys.lo; j < row.keys.hi; ++j) {
        const real score = MASKED_SCORE(j);
        sum += score == NEG_INF ? (real)0 : exp(score - row_max);
    }
    if (a.flags & FLAG_LSE)
        lse[a.lse_offset + index] = get_lse(row_max, sum);

    for (int first = 0; first < a.head_dim_v; first += REFERENCE_CHUNK) {
        const int count = min(REFERENCE_CHUNK, a.head_dim_v - first);
        real acc[REFERENCE_CHUNK];
        for (int d = 0; d < REFERENCE_CHUNK; ++d)
            acc[d] = 0;
        for (int j = row.keys.lo; j < row.keys.hi; ++j) {
            const real score = MASKED_SCORE(j);
            const real p = score == NEG_INF ? (real)0 : exp(score - row_max);
            if (p == 0) /* nothing of a masked key's v, not even its NaN */
                continue;
            for (int d = 0; d < count; ++d)
                acc[d] += p * load(v + j * a.v.stride_token + first + d);
        }
        for (int d = 0; d < count; ++d)
            store(sum == 0 ? (real)0 : acc[d] / sum, o + first + d);
    }

    if (a.flags & FLAG_SCORES) {
        scores += a.scores_offset + index * a.seqlen_kv;
        for (int j = 0; j < a.seqlen_kv; ++j) {
            real score = NEG_INF;
            if (j < s.kv_len) {
                score = scaled_score(&a, q, k + j * a.k.stride_token);
                if (a.scores_stage != STAGE_SCALED)
                    score = apply_softcap(&a, score);
                if (a.scores_stage == STAGE_WEIGHTS || a.scores_stage == STAGE_MASKED)
                    score = apply_masks(&a, &row, bias, mask, j, score);
            }
            if (a.scores_stage == STAGE_WEIGHTS)
                score = score == NEG_INF ? (real)0 : exp(score - row_max) / sum;
            scores[j] = score;
        }
    }
}
