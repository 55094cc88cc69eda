/* Staged path, third: O = P V. A work-item computes BLOCK_Q rows of MICRO_D vectors of value dims.
 *
 * In: staged.cl; P. Out: o. Grid: one work-item per tile. */

#define PV_WIDTH (MICRO_D * VEC)

kernel void pv(ATTENTION_BUFFERS, const struct mha_attention_kernel_args a) {
    if (get_group_id(0) + a.first_block >= a.blocks)
        return;
    const struct staged_tile t = get_tile(&a, a.first_block * WORK_GROUP + get_global_id(0),
                                          (a.head_dim_v + PV_WIDTH - 1) / PV_WIDTH);
    if (t.pair >= a.chunk_pairs)
        return;
    const struct sequence s =
        get_sequence(&a, t.b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    const int d0 = (int)t.rest * PV_WIDTH, count = min(BLOCK_Q, s.q_len - t.i);
    if (count <= 0)
        return;
    v += s.v + t.h / (a.q_heads / a.kv_heads) * a.v.stride_head + d0;
    o += s.o + t.h * a.o.stride_head + t.i * a.o.stride_token + d0;
    const int lo = get_key_range(&a, &s, t.i).lo;
    const int hi = get_key_range(&a, &s, t.i + count - 1).hi;
    global const real *p[BLOCK_Q];
    realv acc[BLOCK_Q][MICRO_D];
#pragma unroll
    for (int r = 0; r < BLOCK_Q; ++r) {
        p[r] =
            probability_row(&a, &s, t.pair, t.b, t.h, min(t.i + r, s.q_len - 1), scores, scratch);
#pragma unroll
        for (int c = 0; c < MICRO_D; ++c)
            acc[r][c] = 0;
    }
    for (int j = lo; j < hi; ++j) {
        global const storage *row = v + j * a.v.stride_token;
#pragma unroll
        for (int c = 0; c < MICRO_D; ++c) {
            const realv x = load_v_part(row + c * VEC, a.head_dim_v - d0 - c * VEC);
#pragma unroll
            for (int r = 0; r < BLOCK_Q; ++r) {
                /* Nothing of a key of weight 0, not even its NaN. */
                const real weight = p[r][j];
                if (weight != 0)
                    acc[r][c] += x * weight;
            }
        }
    }
#pragma unroll
    for (int r = 0; r < BLOCK_Q; ++r)
#pragma unroll
        for (int c = 0; c < MICRO_D; ++c)
            if (r < count && d0 + c * VEC < a.head_dim_v)
                store_v_part(acc[r][c], o + r * a.o.stride_token + c * VEC,
                             a.head_dim_v - d0 - c * VEC);
}
