/* Merges the partial results of a split KV sequence by their LSE.
 *
 * In: scratch, per split and row: o (normalised within the split), and the largest score and the
 * sum of exponentials that an LSE is made of. Not the LSE itself: rounded to fp32, one of 1000
 * would be off by more than a weight may be. Out: o and lse. Grid: batch * q_heads * seqlen_q
 * work-groups, a row each, its value dims shared out to the work-items. */

/* What split p counts for, relative to e^base. */
static inline real split_weight(global const real *parts, long stride, int p, real base) {
    global const real *part = parts + p * stride;
    return part[1] * exp(part[0] - base);
}

kernel void combine(ATTENTION_BUFFERS, const struct mha_attention_kernel_args a) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const struct place at = get_place(&a, block, a.q_heads, a.seqlen_q);
    const int b = at.b, h = at.h, i = at.i;
    const struct sequence s =
        get_sequence(&a, b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    if (i >= s.q_len)
        return;
    const long index = row_index(&a, &s, b, h, i);
    global const real *parts = scratch + a.scratch_stats_offset + 2 * index;
    const long stride = 2 * a.split_rows;
    global const real *part = scratch + a.scratch_offset + index * a.head_dim_v;
    o += s.o + h * a.o.stride_head + i * a.o.stride_token;

    const real sink = a.flags & FLAG_SINKS ? (real)sinks[a.sinks_offset + h] : NEG_INF;
    real all_max = sink;
    for (int p = 0; p < a.splits; ++p)
        all_max = fmax(all_max, parts[p * stride]);
    const real base = all_max == NEG_INF ? (real)0 : all_max;
    real sum = exp(sink - base);
    for (int p = 0; p < a.splits; ++p)
        sum += split_weight(parts, stride, p, base);
    for (int d = get_local_id(0); d < a.head_dim_v; d += get_local_size(0)) {
        real acc = 0;
        for (int p = 0; p < a.splits; ++p) {
            const real weight = split_weight(parts, stride, p, base);
            if (weight != 0)
                acc += weight * part[p * a.split_rows * a.head_dim_v + d];
        }
        store(sum == 0 ? (real)0 : acc / sum, o + d);
    }
    if ((a.flags & FLAG_LSE) && get_local_id(0) == 0)
        lse[a.lse_offset + index] = get_lse(base, sum);
}
