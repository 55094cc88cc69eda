/* Packed weights of the variants that take W as it is: a copy of W, then one of b.
 *
 * In: gemm.cl. Grid: one work-group per row of W; neighbours copy side by side. */

kernel void gemm_pack(GEMM_BUFFERS, const struct mha_gemm_args a) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    for (int k = (int)get_local_id(0); k < a.in_features; k += (int)get_local_size(0))
        packed[a.packed_offset + block * a.in_features + k] =
            weight[a.weight_offset + block * a.in_features + k];
    if (get_local_id(0) == 0 && (a.flags & FLAG_LINEAR_BIAS))
        packed[a.packed_bias_offset + block] = bias[a.bias_offset + block];
}
