/* Packed weights of the variants that take W as it is: a copy of W, then one of b.
 *
 * In: gemm.cl. Grid: one work-group of one work-item per row of W. */

kernel void gemm_pack(GEMM_BUFFERS, const struct mha_gemm_args a) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    for (int k = 0; k < a.in_features; ++k)
        packed[a.packed_offset + block * a.in_features + k] =
            weight[a.weight_offset + block * a.in_features + k];
    if (a.flags & FLAG_LINEAR_BIAS)
        packed[a.packed_bias_offset + block] = bias[a.bias_offset + block];
}
