/* Fused attention for CPU-like devices: work-group size 1, explicit vectors, no barrier.
 *
 * In: panel_attend.cl. Out: o, lse, weights; with a.split_rows partial results for combine.cl.
 * Grid: splits * batch * q_heads * blocks_q work-groups of one work-item, each of BLOCK_Q queries
 * of one head. */

kernel void panel(ATTENTION_BUFFERS, const struct mha_attention_kernel_args a,
                  local realv *memory) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const struct place at = get_place(&a, block, a.q_heads, a.blocks_q);
    const struct sequence s =
        get_sequence(&a, at.b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    attend(&a, &s, &at, q, k, v, o, bias, mask, slopes, sinks, lse, scores, scratch, memory);
}
